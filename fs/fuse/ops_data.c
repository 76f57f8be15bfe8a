/* Open files: open, read, write, flush, fsync, release. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs/fuse/request.h"
#include "repl/base/mem.h"

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct client_op op = {.kind = CLIENT_OPEN, .ino = ino, .flags = (uint32_t)fi->flags};
    request_submit(req, &op, REPLY_OPEN, 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct client_op op = {.kind = CLIENT_RELEASE, .ino = ino, .fh = fi->fh};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct client_op op = {.kind = CLIENT_READ,
                           .ino = ino,
                           .fh = fi->fh,
                           .flags = (uint32_t)fi->flags,
                           .offset = (uint64_t)offset,
                           .size = size};
    request_submit(req, &op, REPLY_SLICES, size);
}

/* The bytes lie in the one receive buffer, which the next request overwrites: copied out here,
 * once. Pages written back from a mapping go where they are, whatever the file was opened with. */
static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset,
                         struct fuse_file_info *fi)
{
    const struct kernel *k = fuse_req_userdata(req);
    assert(in->count == 1 && !(in->buf[0].flags & FUSE_BUF_IS_FD)); /* splicing is off */
    struct blob *data = blob_copy(in->buf[0].mem, in->buf[0].size);
    struct client_op op = {.kind = CLIENT_WRITE,
                           .ino = ino,
                           .fh = fi->fh,
                           .flags = (uint32_t)(fi->writepage ? fi->flags & ~O_APPEND : fi->flags),
                           .offset = (uint64_t)offset,
                           .size = data->size,
                           .kill_setid = k->kills_setid,
                           .written_back = fi->writepage,
                           .data = data};
    request_submit(req, &op, REPLY_WRITTEN, data->size);
    blob_unref(data);
}

/* FALLOCATE and COPY_FILE_RANGE do not say whether the caller has CAP_FSETID. */
static bool kills_setid(fuse_req_t req)
{
    return fuse_req_ctx(req)->uid != 0;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct client_op op = {.kind = CLIENT_ALLOCATE,
                           .ino = ino,
                           .fh = fi->fh,
                           .flags = (uint32_t)mode,
                           .offset = (uint64_t)offset,
                           .size = (uint64_t)length,
                           .kill_setid = kills_setid(req)};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset,
                               struct fuse_file_info *fi, fuse_ino_t to_ino, off_t to_offset,
                               struct fuse_file_info *to_fi, size_t size, int flags)
{
    (void)flags; /* none are known */
    struct client_op op = {.kind = CLIENT_COPY,
                           .ino = ino,
                           .fh = fi->fh,
                           .offset = (uint64_t)offset,
                           .size = size,
                           .to_ino = to_ino,
                           .to_fh = to_fi->fh,
                           .to_offset = (uint64_t)to_offset,
                           .kill_setid = kills_setid(req)};
    request_submit(req, &op, REPLY_WRITTEN, size);
}

/* Only SEEK_DATA and SEEK_HOLE come here; negative offsets do not. */
static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *fi)
{
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    struct client_op op = {.kind = CLIENT_SEEK,
                           .ino = ino,
                           .fh = fi->fh,
                           .offset = (uint64_t)offset,
                           .hole = whence == SEEK_HOLE};
    request_submit(req, &op, REPLY_OFFSET, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct client_op op = {
        .kind = CLIENT_FLUSH, .ino = ino, .fh = fi->fh, .lock = {.owner = fi->lock_owner}};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync; /* size and mtime ride in the same COMMIT: nothing could be left out */
    struct client_op op = {.kind = CLIENT_FSYNC, .ino = ino, .fh = fi->fh};
    request_submit(req, &op, REPLY_NOTHING, 0);
}

void ops_fill_data(struct fuse_lowlevel_ops *ops)
{
    ops->open = op_open;
    ops->release = op_release;
    ops->read = op_read;
    ops->write_buf = op_write_buf;
    ops->fallocate = op_fallocate;
    ops->copy_file_range = op_copy_file_range;
    ops->lseek = op_lseek;
    ops->flush = op_flush;
    ops->fsync = op_fsync;
}
