/* copy_file_range(2): whole pages by reference, in a COMMIT that moves no bytes (RULES B12), those
 * at the borders through the write buffer.
 *
 * One part after another: the source's newest version is made sure of, then the part takes its turn
 * in the queue of the file it goes to. Where references can't be had the answer is EOPNOTSUPP, and
 * the kernel reads and writes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"
#include "fs/client/write.h"
#include "fs/core/state.h"

#define WRITTEN_MAX  (64u << 10)
#define REFUSALS_MAX 3u /* the source changes faster than it can be referred to */

static void finish(struct client *c, struct op *op)
{
    op_finish(c, op, &(struct client_result){.written = op->copied});
}

/* The rest can't be done this way; what is done is told. */
static void give_in(struct client *c, struct op *op)
{
    if (op->copied != 0) {
        finish(c, op);
    } else {
        op_fail(c, op, EOPNOTSUPP);
    }
}

static void leave_queue(struct op *op)
{
    op->queue_of = NULL;
    list_remove(&op->wait);
}

/* ---- the source ------------------------------------------------------------------------------ */

static void enqueue(struct client *c, struct op *op, const struct inode *source)
{
    op->source_version = source->attr.data_version;
    op->source_size = source->attr.size;
    if (op->a.offset + op->copied >= op->source_size) {
        finish(c, op);
        return;
    }
    file_enqueue(c, file_get(c, inode_get(c, op->a.to_ino)), op);
}

static void on_attr(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_ATTR || reply->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    enqueue(c, op, op_learn(c, r, reply, reply->attr));
}

/* RULES L4: what others wrote comes by recall, what this mount wrote is committed, once; what is
 * written meanwhile need not be in the copy. */
static void next_part(struct client *c, struct op *op)
{
    if (op->copied == op->a.size ||
        (op->copied != 0 && op->a.offset + op->copied >= op->source_size)) {
        finish(c, op);
        return;
    }
    struct inode *i = inode_get(c, op->a.ino);
    bool own = i->file != NULL && i->file->lease == LEASE_HELD;
    if (own && file_busy(i->file) && !op->settled) {
        op->settled = true;
        commit_wait(c, op, i->ino, file_freeze(c, i->file));
        return;
    }
    op->settled = false;
    if (inode_data_fresh(c, i)) {
        enqueue(c, op, i);
        return;
    }
    op->why = "the leader, for the source's newest version";
    struct rpc *r = rpc_new(RPC_LEADER, op, on_attr);
    r->req->body_case = FS__REQUEST__BODY_GETATTR;
    r->req->getattr = xmalloc(sizeof(*r->req->getattr));
    fs__getattr__init(r->req->getattr);
    r->req->getattr->ino = op->a.ino;
    rpc_start(c, r);
}

/* ---- a part of a page ------------------------------------------------------------------------ */

static void on_source(struct client *c, struct op *op, int err)
{
    struct read_job *job = op->job;
    struct file *f = op->queue_of;
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    op->source = job->over[0];
    (void)blob_ref(op->source.blob);
    op->source_known = true;
    op->source_shrank = !read_is_new(c, job) || job->size < op->source_size;
    op->job = NULL;
    read_free(c, job);
    file_pump(c, f);
}

static bool source_ready(struct client *c, struct op *op, uint64_t no)
{
    if (!op->source_known) {
        struct inode *i = inode_get(c, op->a.ino);
        uint64_t min_index = read_min_index(c, i);
        min_index = op->source_version > min_index ? op->source_version : min_index;
        op->why = "a copy that has the bytes";
        read_start(c, op, i, no, 1, min_index, on_source);
    }
    return op->job == NULL;
}

static struct blob *source_bytes(const struct op *op, uint32_t at, uint32_t size)
{
    struct blob *b = blob_new(size);
    uint32_t stored = op->source.blob != NULL && op->source.size > at ? op->source.size - at : 0;
    stored = stored < size ? stored : size;
    if (stored != 0) {
        memcpy(b->data, op->source.blob->data + op->source.offset + at, stored);
    }
    memset(b->data + stored, 0, size - stored);
    return b;
}

static void drop_source(struct op *op)
{
    blob_unref(op->source.blob);
    op->source = (struct page){0};
    op->source_known = op->source_shrank = false;
}

static bool bytes_step(struct client *c, struct file *f, struct op *op, uint32_t size)
{
    uint64_t from = op->a.offset + op->copied, to = op->a.to_offset + op->copied;
    if (!source_ready(c, op, from / FS_PAGE)) {
        return false;
    }
    if (op->source_shrank) { /* while it was read: perhaps there are no such bytes */
        drop_source(op);
        leave_queue(op);
        next_part(c, op);
        return true;
    }
    if (!change_space_ready(c, f, op, 3 * FS_PAGE + COMMIT_OVERHEAD) ||
        !change_room_ready(c, f, op, FS_PAGE) || !file_lease_ready(c, f, op)) {
        return false;
    }
    change_drop_old_base(f, op);
    if (!change_edges_ready(c, f, op, to, size)) {
        return false;
    }
    bool was_dirty = file_dirty(f);
    size_t pages_before = f->dirty.pages.count;
    struct blob *bytes = source_bytes(op, (uint32_t)(from % FS_PAGE), size);
    struct page below;
    bool known = change_current_page(c, f, op, to / FS_PAGE, &below);
    layer_write(&f->dirty, to / FS_PAGE, (uint32_t)(to % FS_PAGE), bytes, 0, size,
                known ? &below : NULL);
    blob_unref(bytes);
    drop_source(op);
    f->size = to + size > f->size ? to + size : f->size;
    f->mtime = file_next_mtime(c, f);
    file_changed(c, f, op, pages_before, was_dirty);
    op->copied += size;
    leave_queue(op);
    next_part(c, op);
    return true;
}

/* ---- by reference ---------------------------------------------------------------------------- */

static bool reference_step(struct client *c, struct file *f, struct op *op, uint64_t bytes)
{
    uint64_t from = op->a.offset + op->copied, to = op->a.to_offset + op->copied;
    uint64_t pages = bytes / FS_PAGE + (bytes % FS_PAGE != 0);
    uint64_t space = COMMIT_OVERHEAD + fs_reference_cost(pages);
    if (!change_space_ready(c, f, op, space) || !file_lease_ready(c, f, op)) {
        return false;
    }
    leave_queue(op);
    if (op->a.ino == op->a.to_ino && file_busy(f)) { /* it would be another version by then */
        next_part(c, op);
        return true;
    }
    op->space -= space;
    op->referring = bytes;
    op->refused = false;
    struct reference ref = {op->a.ino, from / FS_PAGE, op->source_version, to / FS_PAGE, pages};
    uint64_t size = to + bytes > f->size ? to + bytes : f->size;
    commit_wait(c, op, op->a.to_ino, file_refer(c, f, &ref, size, space));
    return true;
}

/* How many of `size` bytes can be referred to at once; 0: the next ones are part of a page. The
 * last page of the source may go as a whole when nothing of the other file lies behind its end:
 * what is behind the end of a file is zeros. */
static uint64_t whole_pages(const struct file *f, const struct op *op, uint64_t size)
{
    uint64_t from = op->a.offset + op->copied, to = op->a.to_offset + op->copied;
    if (from % FS_PAGE != 0) {
        return 0;
    }
    if (size > FS_REFERENCE_PAGES_MAX * FS_PAGE) {
        return FS_REFERENCE_PAGES_MAX * FS_PAGE;
    }
    bool to_ends = from + size == op->source_size && to + size >= f->size;
    return to_ends ? size : size - size % FS_PAGE;
}

bool copy_step(struct client *c, struct file *f, struct op *op)
{
    uint64_t from = op->a.offset + op->copied, size = op->a.size - op->copied;
    size = size < op->source_size - from ? size : op->source_size - from;
    int err = handle_tell_error(c, op->a.to_fh);
    if (err == 0 && size > SIZE_MAX_BYTES - (op->a.to_offset + op->copied)) {
        err = EFBIG;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return true;
    }
    if (f->lease != LEASE_HELD && !file_lease_ready(c, f, op)) {
        return false; /* where it ends is known under the lease */
    }
    file_follow_attr(f);
    uint64_t whole = whole_pages(f, op, size);
    if (whole != 0) {
        return reference_step(c, f, op, whole);
    }
    uint64_t to_border = FS_PAGE - from % FS_PAGE;
    return bytes_step(c, f, op, (uint32_t)(size < to_border ? size : to_border));
}

/* ---- all ------------------------------------------------------------------------------------- */

static int check(const struct client *c, const struct op *op)
{
    uint64_t apart = op->a.offset > op->a.to_offset ? op->a.offset - op->a.to_offset
                                                    : op->a.to_offset - op->a.offset;
    if (handle_lost_locks(c, op->a.fh) || handle_lost_locks(c, op->a.to_fh)) {
        return EIO;
    }
    if (op->a.offset > SIZE_MAX_BYTES || op->a.to_offset > SIZE_MAX_BYTES) {
        return EINVAL;
    }
    if (op->a.ino == op->a.to_ino && apart < op->a.size) {
        return EINVAL;
    }
    return apart % FS_PAGE != 0 ? EOPNOTSUPP : 0; /* no page of the one is a page of the other */
}

/* RULES D1. A reference is committed before the call returns, so it would wait for the name of the
 * file that it goes to, which nobody asked to be safe yet: a few bytes are better read and written,
 * and follow that name. */
static bool better_written(const struct client *c, const struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino), *to = inode_find(c, op->a.to_ino);
    if (i == NULL || to == NULL || to->made_q == 0 || queue_reached(c, to->made_q) ||
        op->copied != 0 || !i->known) {
        return false;
    }
    uint64_t size = inode_now(c, i).size;
    uint64_t rest = size > op->a.offset ? size - op->a.offset : 0;
    return (rest < op->a.size ? rest : op->a.size) <= WRITTEN_MAX;
}

void op_copy(struct client *c, struct op *op)
{
    int err = op->lost;
    if (err != 0) {
        (void)handle_tell_error(c, op->a.to_fh); /* it is told here */
    } else {
        err = check(c, op);
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    if (!op->drained && better_written(c, op)) {
        op_fail(c, op, EOPNOTSUPP);
        return;
    }
    if (!queue_drained(c, op)) {
        return;
    }
    if (op->referring != 0) {
        op->copied += op->refused ? 0 : op->referring;
        op->refusals += op->refused;
        op->referring = 0;
    }
    if (op->refusals >= REFUSALS_MAX) {
        give_in(c, op);
    } else {
        next_part(c, op);
    }
}
