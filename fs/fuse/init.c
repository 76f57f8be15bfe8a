/* INIT: what kernel and daemon agree on at the start.
 *
 * libfuse 3.14 leaves wanted flags out of its answer and hides the kernel's minor version, so the
 * descriptor is read and written through a hook (FUSE.md §0.3). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "fs/fuse/request.h"

enum {
    EPOCH_MINOR = 44,      /* FUSE_NOTIFY_INC_EPOCH came with FUSE 7.44 */
    READ_AHEAD_KIB = 4096, /* eight READs of 1 MiB under way: FUSE.md §3 */
    BACKGROUND_MAX = 64,
};

static ssize_t hook_read(int fd, void *buf, size_t size, void *userdata)
{
    struct kernel *k = userdata;
    ssize_t n = read(fd, buf, size);
    const struct fuse_in_header *in = buf;
    if (!k->init_done && n >= (ssize_t)(sizeof *in + offsetof(struct fuse_init_in, flags2)) &&
        in->opcode == FUSE_INIT) {
        const struct fuse_init_in *init = (const void *)(in + 1);
        k->init_unique = in->unique;
        k->init_flags = init->flags;
        k->init_minor = init->minor;
    }
    return n;
}

static ssize_t write_init(struct kernel *k, int fd, const struct iovec *iov)
{
    struct fuse_init_out out;
    memcpy(&out, iov[1].iov_base, sizeof out);
    out.flags |=
        k->init_flags & (FUSE_PARALLEL_DIROPS | FUSE_SETXATTR_EXT | FUSE_HANDLE_KILLPRIV_V2);
    struct iovec changed[2] = {iov[0], {.iov_base = &out, .iov_len = iov[1].iov_len}};
    ssize_t n = writev(fd, changed, 2);
    k->init_done = n > 0;
    return n;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct kernel *k = userdata;
    const struct fuse_out_header *head = iov[0].iov_base;
    if (!k->init_done && head->unique == k->init_unique && head->error == 0 && count == 2 &&
        iov[1].iov_len == sizeof(struct fuse_init_out))
        return write_init(k, fd, iov);
    return writev(fd, iov, count);
}

const struct fuse_custom_io init_hook_io = {.read = hook_read, .writev = hook_writev};

bool init_has_epoch(const struct kernel *k)
{
    return k->init_minor >= EPOCH_MINOR;
}

void init_negotiate(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_write = KERNEL_MAX_WRITE;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    conn->time_gran = 1;
    /* No writeback cache: the write buffer is fs/client's, under the lease (D10). O_TRUNC comes as
     * SETATTR. Splicing would copy through pipes what is wanted in memory. Set-id bits are cleared
     * here (FUSE_HANDLE_KILLPRIV_V2, write_init()), else each write(2) begins with a GETXATTR. */
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ATOMIC_O_TRUNC |
                              FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_EXPLICIT_INVAL_DATA);
    /* Permissions, ACLs among them, are checked by the kernel; what a new object gets of the umask
     * and of its directory's default ACL is decided when it is made. */
    conn->want |= conn->capable & (FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK);
    /* A symlink's target never changes and inode numbers are not used again, so it may be cached.
     */
    conn->want |=
        conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_AUTO_INVAL_DATA |
                         FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                         FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS);
    conn->want &= ~(unsigned)FUSE_CAP_NO_OPENDIR_SUPPORT; /* as told at op_opendir() */
}

/* The mount table writes blanks, line ends and backslashes of a path as three octal digits. */
static void decode(char *path)
{
    char *to = path;
    for (const char *p = path; *p != '\0';) {
        unsigned byte;
        if (sscanf(p, "\\%3o", &byte) == 1) {
            *to++ = (char)byte;
            p += 4;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
}

/* From the mount table: a stat() would be a request to ourselves. */
bool init_find_device(const char *mountpoint, char *ret, size_t size)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, device[32], point[4096];
    size_t room = 0;
    bool found = false;
    while (f && getline(&line, &room, f) > 0) {
        if (sscanf(line, "%*s %*s %31s %*s %4095s", device, point) != 2)
            continue;
        decode(point);
        if (strcmp(point, mountpoint) == 0) { /* the last one is on top */
            (void)snprintf(ret, size, "%s", device);
            found = true;
        }
    }
    free(line);
    if (f)
        (void)fclose(f);
    return found;
}

void init_set_read_ahead(const char *device)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/sys/class/bdi/%s/read_ahead_kb", device);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* not root, or no sysfs here */
    char text[16];
    int n = snprintf(text, sizeof text, "%d", READ_AHEAD_KIB);
    (void)!write(fd, text, (size_t)n);
    (void)close(fd);
}
