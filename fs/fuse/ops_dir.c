/* Listings. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "fs/fuse/dir_offset.h"
#include "fs/fuse/request.h"

/* Bytes an entry takes in the answer, with a name of usual length. Asking for a few too many costs
 * little: those that do not fit are asked for again. */
enum { ENTRY_BYTES = 24 + 16, ENTRY_PLUS_BYTES = 128 + ENTRY_BYTES };

enum { LISTING_SHIFT = 32 };

/* No FOPEN_CACHE_DIR, and no ENOSYS either, which would mean the same for good. The kernel compares
 * mtimes to tell whether its listing still holds, and it drops the answer to that question when a
 * notification overtakes it (fuse_change_attributes()): then it lists what was there before, though
 * the change was answered for long ago. */
static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct kernel *k = fuse_req_userdata(req);
    /* All that a listing needs of its flags, beside a number of its own. */
    fi->fh = (uint64_t)++k->last_listing << LISTING_SHIFT | ((uint64_t)fi->flags & O_NOATIME);
    fi->keep_cache = fi->cache_readdir = 0;
    (void)fuse_reply_open(req, fi);
}

static void list_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                     const struct fuse_file_info *fi, bool plus)
{
    struct client_op op = {.kind = CLIENT_READDIR,
                           .ino = ino,
                           .fh = fi->fh,
                           .flags = (uint32_t)fi->fh,
                           .offset = dir_offset_to_cookie(offset),
                           .size = size / (plus ? ENTRY_PLUS_BYTES : ENTRY_BYTES) + 1,
                           .plus = plus};
    request_submit_listing(req, &op, plus ? REPLY_DIRPLUS : REPLY_DIR, size, offset);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    list_dir(req, ino, size, offset, fi, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    list_dir(req, ino, size, offset, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    struct client_op op = {.kind = CLIENT_RELEASEDIR, .fh = fi->fh};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync, (void)fi;
    struct client_op op = {.kind = CLIENT_FSYNCDIR, .ino = ino};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

void ops_fill_dir(struct fuse_lowlevel_ops *ops)
{
    ops->opendir = op_opendir;
    ops->readdir = op_readdir;
    ops->readdirplus = op_readdirplus;
    ops->releasedir = op_releasedir;
    ops->fsyncdir = op_fsyncdir;
}
