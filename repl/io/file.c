#include "repl/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repl/base/mem.h"

enum { WRITEV_MAX = 512 }; /* parts of one call */

/* Set by a test while the store's threads run. */
static _Atomic(file_fault_fn *) fault;
static _Atomic(void *) fault_ctx;

void file_fault_set(file_fault_fn *fn, void *ctx)
{
    fault_ctx = ctx; /* before the function that is given it */
    fault = fn;
}

static int fault_ask(enum file_call call, int fd)
{
    file_fault_fn *fn = fault;
    return fn ? fn(fault_ctx, call, fd) : 0;
}

int file_read_at(int fd, void *data, size_t size, uint64_t offset)
{
    uint8_t *p = data;
    while (size > 0) {
        ssize_t n = pread(fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EBADMSG;
        p += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

bool file_read_now_at(int fd, void *data, size_t size, uint64_t offset)
{
    struct iovec part = {.iov_base = data, .iov_len = size};
    return preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT) == (ssize_t)size;
}

int file_write_at(int fd, const void *data, size_t size, uint64_t offset)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return file_writev_at(fd, &part, 1, offset);
}

static int writev_at(int fd, struct iovec *parts, int count, uint64_t offset, int flags)
{
    while (count > 0) {
        int now = count < WRITEV_MAX ? count : WRITEV_MAX;
        ssize_t n = flags ? pwritev2(fd, parts, now, (off_t)offset, flags)
                          : pwritev(fd, parts, now, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        offset += (uint64_t)n;
        while (count > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return 0;
}

int file_writev_at(int fd, struct iovec *parts, int count, uint64_t offset)
{
    int rc = fault_ask(FILE_WRITE, fd);
    return rc < 0 ? rc : writev_at(fd, parts, count, offset, 0);
}

/* More than one call takes would flush more than once; and a test that makes the flush fail wants
 * the bytes written. */
int file_writev_durably_at(int fd, struct iovec *parts, int count, uint64_t offset)
{
    if (count <= WRITEV_MAX && fault == NULL)
        return writev_at(fd, parts, count, offset, RWF_DSYNC);
    int rc = file_writev_at(fd, parts, count, offset);
    return rc < 0 ? rc : file_sync(fd);
}

int file_write_zeros(int fd, uint64_t offset, uint64_t size)
{
    static const uint8_t zeros[1 << 16];
    while (size > 0) {
        size_t n = size < sizeof(zeros) ? (size_t)size : sizeof(zeros);
        int rc = file_write_at(fd, zeros, n, offset);
        if (rc < 0)
            return rc;
        offset += n;
        size -= n;
    }
    return 0;
}

int file_sync(int fd)
{
    int rc = fault_ask(FILE_SYNC, fd);
    if (rc < 0)
        return rc;
    return fdatasync(fd) < 0 ? -errno : 0;
}

int file_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return rc;
}

int file_replace(const char *path, const void *data, size_t size)
{
    char *dir = xstrdup(path);
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    size_t length = strlen(path) + sizeof(".new");
    char *aside = xmalloc(length);
    (void)snprintf(aside, length, "%s.new", path);
    int rc = 0;
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        rc = -errno;
    if (rc == 0)
        rc = file_write_at(fd, data, size, 0);
    if (rc == 0)
        rc = file_sync(fd);
    if (fd >= 0)
        (void)close(fd);
    if (rc == 0 && rename(aside, path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = file_sync_dir(slash ? dir : ".");
    free(aside);
    free(dir);
    return rc;
}

int file_slurp(const char *path, void *data, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, data, max);
    int rc = n < 0 ? -errno : (int)n;
    (void)close(fd);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int file_remove_tree(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -errno;
}

char *file_path(const char *dir, const char *format, ...)
{
    char name[64];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    size_t size = strlen(dir) + strlen(name) + 2;
    char *path = xmalloc(size);
    (void)snprintf(path, size, "%s/%s", dir, name);
    return path;
}
