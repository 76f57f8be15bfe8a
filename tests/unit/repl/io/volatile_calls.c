/* The system calls by which files change, taken from the C library: the linker gives a program's
 * own definition to the shared libraries it uses, too. Those of volatile_disk.h do what they say by
 * syscall(). Labels, since headers may rename what is declared (large files, fortify). */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "tests/unit/repl/io/volatile_disk.h"

enum { CREATES = 0100, PUNCHES = 2, KEEPS_SIZE = 1, DSYNC = 2, PATH_SIZE = 4096 }; /* of Linux */

#define CALL(ret, name, args)                                                                      \
    ret call_##name args __asm__(#name);                                                           \
    ret call_##name args
#define SAME(ret, name, other, args)                                                               \
    ret call_##other args __asm__(#other) __attribute__((alias(#name)))

CALL(int, open, (const char *path, int flags, ...))
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & CREATES ? va_arg(args, mode_t) : 0;
    va_end(args);
    return disk_open(path, flags, mode);
}
SAME(int, open, open64, (const char *path, int flags, ...));
SAME(int, open, __open_2, (const char *path, int flags, ...));
SAME(int, open, __open64_2, (const char *path, int flags, ...));

CALL(int, close, (int fd))
{
    return disk_close(fd);
}

CALL(ssize_t, write, (int fd, const void *data, size_t size))
{
    return disk_write(fd, data, size, 0, false, false);
}

CALL(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t offset))
{
    return disk_write(fd, data, size, offset, true, false);
}
SAME(ssize_t, pwrite, pwrite64, (int fd, const void *data, size_t size, off_t offset));

/* As one write, since that is what the disk gets. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset, bool durably)
{
    size_t size = 0, at = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    char *whole = xmalloc(size);
    for (int i = 0; i < count; at += parts[i++].iov_len)
        memcpy(whole + at, parts[i].iov_base, parts[i].iov_len);
    ssize_t done = disk_write(fd, whole, size, offset, true, durably);
    free(whole);
    return done;
}

CALL(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t offset))
{
    return count == 1 ? disk_write(fd, parts->iov_base, parts->iov_len, offset, true, false)
                      : write_parts(fd, parts, count, offset, false);
}
SAME(ssize_t, pwritev, pwritev64, (int fd, const struct iovec *parts, int count, off_t offset));

CALL(ssize_t, pwritev2, (int fd, const struct iovec *parts, int count, off_t offset, int flags))
{
    return write_parts(fd, parts, count, offset, flags & DSYNC);
}
SAME(ssize_t, pwritev2, pwritev64v2,
     (int fd, const struct iovec *parts, int count, off_t offset, int flags));

CALL(int, fsync, (int fd))
{
    return disk_sync(fd);
}
SAME(int, fsync, fdatasync, (int fd));

CALL(int, sync_file_range, (int fd, off_t offset, off_t size, unsigned flags))
{
    (void)fd, (void)offset, (void)size, (void)flags; /* promises nothing */
    return 0;
}

CALL(int, ftruncate, (int fd, off_t size))
{
    return disk_truncate(fd, size);
}
SAME(int, ftruncate, ftruncate64, (int fd, off_t size));

CALL(int, fallocate, (int fd, int mode, off_t offset, off_t size))
{
    if (mode & PUNCHES)
        return disk_punch(fd, offset, size);
    if (!(mode & KEEPS_SIZE) && disk_has(fd)) {
        errno = EOPNOTSUPP; /* nobody does */
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
SAME(int, fallocate, fallocate64, (int fd, int mode, off_t offset, off_t size));

CALL(int, rename, (const char *from, const char *to))
{
    return disk_rename(from, to);
}

CALL(int, unlink, (const char *path))
{
    return disk_unlink(path, false);
}

CALL(int, rmdir, (const char *path))
{
    return disk_unlink(path, true);
}

CALL(int, remove, (const char *path))
{
    int rc = disk_unlink(path, false);
    return rc < 0 && errno == EISDIR ? disk_unlink(path, true) : rc;
}

CALL(int, unlinkat, (int dir, const char *name, int flags))
{
    char link[64], path[PATH_SIZE];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, path, sizeof path);
    if (n < 0 || (size_t)n + strlen(name) + 2 > sizeof path || flags) {
        errno = EINVAL;
        return -1;
    }
    (void)snprintf(path + n, sizeof path - (size_t)n, "/%s", name);
    return disk_unlink(path, false);
}

CALL(int, mkdir, (const char *path, mode_t mode))
{
    return disk_mkdir(path, mode);
}
