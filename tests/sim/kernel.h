/* The kernel's side of one mount, as much of it as decides what an application sees (FUSE.md):
 * cached pages and attributes with their validity, names with theirs, requests in flight, the rule
 * that a page read in flight while its invalidation comes is not kept, O_APPEND and O_DIRECT.
 *
 * Applications call it as system calls; each ends in a callback, in a moment of its own. Pages hold
 * the bytes that came, by reference. */
#ifndef TALLY_TESTS_SIM_KERNEL_H
#define TALLY_TESTS_SIM_KERNEL_H

#include "fs/client/client.h"
#include "tests/sim/sim.h"

struct kernel;
struct mount;

struct sys_result {
    int err;                          /* 0 or a positive errno */
    uint64_t ino, size, nlink, value; /* value: bytes read or written, fd, entries */
    int64_t mtime, atime;
    uint64_t q, q_session; /* as in struct client_result */
    uint32_t mode, uid;
    bool divided;             /* WRITE: into more than one request */
    struct blob *data;        /* READ, READLINK, GETXATTR: borrowed for the callback */
    const char *const *names; /* READDIR: borrowed for the callback */
    size_t names_count;
};
typedef void sys_done(void *ctx, const struct sys_result *result);

/* What is set: mask FS_SETATTR_*. */
struct sys_attr {
    uint32_t set, mode, uid;
    int64_t atime, mtime;
};

struct kernel *kernel_new(struct mount *m);
void kernel_free(struct kernel *k); /* calls nobody back */
/* All applications of the mount are killed: nobody is called back, their descriptors are closed. */
void kernel_close_all(struct kernel *k);

/* System calls; paths are "/a/b". Open files are numbers from 1. */
void sys_open(struct kernel *k, const char *path, int flags, uint32_t mode, sys_done *done,
              void *ctx);
void sys_close(struct kernel *k, uint64_t fd, sys_done *done, void *ctx);
void sys_read(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t size, sys_done *done,
              void *ctx);
void sys_write(struct kernel *k, uint64_t fd, uint64_t offset, struct blob *data, sys_done *done,
               void *ctx);
void sys_fsync(struct kernel *k, uint64_t fd, sys_done *done, void *ctx);
void sys_fstat(struct kernel *k, uint64_t fd, sys_done *done, void *ctx);
void sys_ftruncate(struct kernel *k, uint64_t fd, uint64_t size, sys_done *done, void *ctx);
/* fchmod(2), chmod(2) and their kin. */
void sys_fsetattr(struct kernel *k, uint64_t fd, const struct sys_attr *attr, sys_done *done,
                  void *ctx);
void sys_setattr(struct kernel *k, const char *path, const struct sys_attr *attr, sys_done *done,
                 void *ctx);
/* fallocate(2): a hole, or zeros that keep the size. */
void sys_punch(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t size, bool zero,
               sys_done *done, void *ctx);
/* copy_file_range(2) */
void sys_copy(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t to_fd, uint64_t to_offset,
              uint64_t size, sys_done *done, void *ctx);
/* fcntl(2): F_SETLK or, when it waits, F_SETLKW. */
void sys_lock(struct kernel *k, uint64_t fd, const struct client_lock *lock, sys_done *done,
              void *ctx);
void sys_stat(struct kernel *k, const char *path, sys_done *done, void *ctx);
void sys_mkdir(struct kernel *k, const char *path, uint32_t mode, sys_done *done, void *ctx);
void sys_rmdir(struct kernel *k, const char *path, sys_done *done, void *ctx);
void sys_unlink(struct kernel *k, const char *path, sys_done *done, void *ctx);
void sys_rename(struct kernel *k, const char *from, const char *to, uint32_t flags, sys_done *done,
                void *ctx);
void sys_link(struct kernel *k, const char *from, const char *to, sys_done *done, void *ctx);
void sys_symlink(struct kernel *k, const char *target, const char *path, sys_done *done, void *ctx);
void sys_readlink(struct kernel *k, const char *path, sys_done *done, void *ctx);
void sys_readdir(struct kernel *k, const char *path, sys_done *done, void *ctx); /* whole listing */
void sys_setxattr(struct kernel *k, const char *path, const char *name, struct blob *data,
                  sys_done *done, void *ctx);
void sys_getxattr(struct kernel *k, const char *path, const char *name, sys_done *done, void *ctx);
void sys_fsetxattr(struct kernel *k, uint64_t fd, const char *name, struct blob *data,
                   sys_done *done, void *ctx);
void sys_fgetxattr(struct kernel *k, uint64_t fd, const char *name, sys_done *done, void *ctx);
/* Somebody stands in the directory from now on, as in a working directory: the result's inode. He
 * asks for its attributes by that, and leaves. */
void sys_stand(struct kernel *k, const char *path, sys_done *done, void *ctx);
void sys_stat_here(struct kernel *k, uint64_t ino, sys_done *done, void *ctx);
void sys_leave(struct kernel *k, uint64_t ino);
/* A signal for whoever made the call with this `ctx`: if it waits for the daemon, it ends with
 * EINTR.
 */
void sys_interrupt(struct kernel *k, const void *ctx);

/* From the mount: answers and notifications of the client core, in their order. */
void kernel_reply(struct kernel *k, uint64_t op_id, const struct client_result *result);
void kernel_notify_attr(struct kernel *k, uint64_t ino);
void kernel_notify_data(struct kernel *k, uint64_t ino);
void kernel_notify_names(struct kernel *k);

#endif
