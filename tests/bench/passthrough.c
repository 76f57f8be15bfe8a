/* A directory shown through FUSE and nothing else: what the kernel's part of a FUSE mount costs, to
 * compare with. passthrough DIRECTORY MOUNTPOINT (libfuse's options follow). */
#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int top; /* the directory shown */

/* Paths come with a leading slash; `top` itself is ".". */
static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int result(int r)
{
    return r < 0 ? -errno : 0;
}

static void *start(struct fuse_conn_info *conn, struct fuse_config *config)
{
    (void)conn;
    config->use_ino = 1;
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 1;
    return NULL;
}

static int get_attr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    return result(fi ? fstat((int)fi->fh, st) : fstatat(top, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int read_link(const char *path, char *text, size_t size)
{
    ssize_t n = readlinkat(top, below(path), text, size - 1);
    if (n < 0)
        return -errno;
    text[n] = 0;
    return 0;
}

static int make_node(const char *path, mode_t mode, dev_t dev)
{
    return result(mknodat(top, below(path), mode, dev));
}

static int make_dir(const char *path, mode_t mode)
{
    return result(mkdirat(top, below(path), mode));
}

static int remove_file(const char *path)
{
    return result(unlinkat(top, below(path), 0));
}

static int remove_dir(const char *path)
{
    return result(unlinkat(top, below(path), AT_REMOVEDIR));
}

static int make_symlink(const char *target, const char *path)
{
    return result(symlinkat(target, top, below(path)));
}

static int move(const char *from, const char *to, unsigned flags)
{
    return result(renameat2(top, below(from), top, below(to), flags));
}

static int make_link(const char *from, const char *to)
{
    return result(linkat(top, below(from), top, below(to), 0));
}

static int set_mode(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    return result(fi ? fchmod((int)fi->fh, mode) : fchmodat(top, below(path), mode, 0));
}

static int set_owner(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    (void)fi;
    return result(fchownat(top, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int set_times(const char *path, const struct timespec t[2], struct fuse_file_info *fi)
{
    (void)fi;
    return result(utimensat(top, below(path), t, AT_SYMLINK_NOFOLLOW));
}

static int set_size(const char *path, off_t size, struct fuse_file_info *fi)
{
    if (fi)
        return result(ftruncate((int)fi->fh, size));
    int fd = openat(top, below(path), O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : result(ftruncate(fd, size));
    if (fd >= 0)
        (void)close(fd);
    return r;
}

static int open_file(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(top, below(path), fi->flags & ~(O_CREAT | O_EXCL));
    fi->fh = (uint64_t)fd;
    return result(fd);
}

static int create_file(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int fd = openat(top, below(path), fi->flags | O_CREAT, mode);
    fi->fh = (uint64_t)fd;
    return result(fd);
}

static int read_file(const char *path, char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    (void)path;
    ssize_t n = pread((int)fi->fh, data, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int write_file(const char *path, const char *data, size_t size, off_t offset,
                      struct fuse_file_info *fi)
{
    (void)path;
    ssize_t n = pwrite((int)fi->fh, data, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int sync_file(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path;
    return result(data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int close_file(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return result(close((int)fi->fh));
}

static int list_dir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
                    struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    (void)offset, (void)fi, (void)flags;
    int fd = openat(top, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return -errno;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct stat st = {.st_ino = e->d_ino, .st_mode = (mode_t)e->d_type << 12};
        if (fill(buf, e->d_name, &st, 0, 0))
            break;
    }
    (void)closedir(d);
    return 0;
}

static int stat_fs(const char *path, struct statvfs *st)
{
    (void)path;
    return result(fstatvfs(top, st));
}

static const struct fuse_operations operations = {
    .init = start,
    .getattr = get_attr,
    .readlink = read_link,
    .mknod = make_node,
    .mkdir = make_dir,
    .unlink = remove_file,
    .rmdir = remove_dir,
    .symlink = make_symlink,
    .rename = move,
    .link = make_link,
    .chmod = set_mode,
    .chown = set_owner,
    .utimens = set_times,
    .truncate = set_size,
    .open = open_file,
    .create = create_file,
    .read = read_file,
    .write = write_file,
    .fsync = sync_file,
    .release = close_file,
    .readdir = list_dir,
    .statfs = stat_fs,
};

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: passthrough DIRECTORY MOUNTPOINT [FUSE OPTIONS]\n");
        return 2;
    }
    top = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) {
        fprintf(stderr, "passthrough: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    argv[1] = argv[0];
    return fuse_main(argc - 1, argv + 1, &operations, NULL);
}
