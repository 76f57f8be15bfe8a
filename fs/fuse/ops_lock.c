/* Locks: fcntl(2) and OFD ranges come as SETLK, flock(2) as one over the whole file. On the last
 * close fs/client gives back what was locked through the descriptor. */
#include <fcntl.h>
#include <sys/file.h>

#include "fs/core/state.h"
#include "fs/fuse/request.h"

static enum client_lock_type lock_type(short type)
{
    return type == F_WRLCK   ? CLIENT_LOCK_WRITE
           : type == F_RDLCK ? CLIENT_LOCK_READ
                             : CLIENT_LOCK_NONE;
}

static struct client_op op_of(enum client_op_kind kind, fuse_ino_t ino,
                              const struct fuse_file_info *fi, const struct flock *lock)
{
    uint64_t first = (uint64_t)lock->l_start, length = (uint64_t)lock->l_len;
    return (struct client_op){.kind = kind,
                              .ino = ino,
                              .fh = fi->fh,
                              .lock = {.owner = fi->lock_owner,
                                       .first = first,
                                       .last = length ? first + length - 1 : FS_LOCK_END,
                                       .type = lock_type(lock->l_type),
                                       .pid = (uint32_t)lock->l_pid}};
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct client_op op = op_of(CLIENT_GETLK, ino, fi, lock);
    request_submit(req, &op, REPLY_LOCK, 0);
}

static void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                     int sleep)
{
    struct client_op op = op_of(CLIENT_SETLK, ino, fi, lock);
    op.lock.wait = sleep != 0;
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int how)
{
    int what = how & (LOCK_SH | LOCK_EX | LOCK_UN);
    struct client_op op = {.kind = CLIENT_SETLK,
                           .ino = ino,
                           .fh = fi->fh,
                           .lock = {.owner = fi->lock_owner,
                                    .last = FS_LOCK_END,
                                    .type = what == LOCK_EX   ? CLIENT_LOCK_WRITE
                                            : what == LOCK_SH ? CLIENT_LOCK_READ
                                                              : CLIENT_LOCK_NONE,
                                    .flock = true,
                                    .wait = !(how & LOCK_NB),
                                    .pid = (uint32_t)fuse_req_ctx(req)->pid}};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

void ops_fill_lock(struct fuse_lowlevel_ops *ops)
{
    ops->getlk = op_getlk;
    ops->setlk = op_setlk;
    ops->flock = op_flock;
}
