/* fallocate(2): holes and zeros in a file, and its end moved on. Space is looked at, not set aside
 * (docs/decisions.md). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/client/write.h"

#define KNOWN_MODES ((uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))

static bool zeroes(const struct op *op)
{
    return (op->a.flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
}

static bool extends(const struct op *op)
{
    return (op->a.flags & FALLOC_FL_KEEP_SIZE) == 0;
}

/* ---- zeros ----------------------------------------------------------------------------------- */

/* What of the range lies below the end of the file, as pages: those at its borders that keep some
 * of their bytes, and the whole ones between them. */
struct zeroed {
    uint64_t offset, end;
    uint64_t head, tail;       /* pages; PAGE_NONE: none */
    uint64_t first, end_whole; /* whole pages */
};

static struct zeroed zeroed_of(const struct file *f, const struct op *op)
{
    struct zeroed z = {op->a.offset, op->a.offset + op->a.size, PAGE_NONE, PAGE_NONE, 0, 0};
    if (z.offset >= f->size) {
        return z;
    }
    bool to_end = z.end >= f->size; /* behind the end there are zeros anyway */
    z.end = to_end ? f->size : z.end;
    z.first = z.offset / FS_PAGE + (z.offset % FS_PAGE != 0);
    z.end_whole = z.end / FS_PAGE + (to_end && z.end % FS_PAGE != 0);
    if (z.offset % FS_PAGE != 0) {
        z.head = z.offset / FS_PAGE;
    }
    if (!to_end && z.end % FS_PAGE != 0 && z.end / FS_PAGE != z.head) {
        z.tail = z.end / FS_PAGE;
    }
    return z;
}

/* Zeros in bytes [offset, end) of one page, which keeps others. */
static void zero_part(const struct client *c, struct file *f, const struct op *op, uint64_t no,
                      uint64_t offset, uint64_t end)
{
    struct page page = {0};
    uint32_t from = offset > no * FS_PAGE ? (uint32_t)(offset - no * FS_PAGE) : 0;
    uint32_t to = end < (no + 1) * FS_PAGE ? (uint32_t)(end - no * FS_PAGE) : FS_PAGE;
    if (!change_current_page(c, f, op, no, &page) || page.blob == NULL || page.size <= from) {
        return; /* zeros already */
    }
    if (from == 0 && page.size <= to) {
        layer_hole(&f->dirty, no, no + 1);
        return;
    }
    struct blob *zeros = blob_new(FS_PAGE);
    memset(zeros->data, 0, FS_PAGE);
    layer_write(&f->dirty, no, from, zeros, 0, to - from, &page);
    blob_unref(zeros);
}

static bool borders_ready(struct client *c, struct file *f, struct op *op, const struct zeroed *z)
{
    return (z->head == PAGE_NONE || change_base_ready(c, f, op, z->head)) &&
           (z->tail == PAGE_NONE || change_base_ready(c, f, op, z->tail));
}

static bool zero_step(struct client *c, struct file *f, struct op *op)
{
    if (!change_space_ready(c, f, op, 2 * FS_PAGE + COMMIT_OVERHEAD) ||
        !file_lease_ready(c, f, op)) {
        return false;
    }
    change_drop_old_base(f, op);
    struct zeroed z = zeroed_of(f, op);
    if (!borders_ready(c, f, op, &z)) {
        return false;
    }
    bool was_dirty = file_dirty(f);
    size_t pages_before = f->dirty.pages.count;
    if (z.head != PAGE_NONE) {
        zero_part(c, f, op, z.head, z.offset, z.end);
    }
    if (z.tail != PAGE_NONE) {
        zero_part(c, f, op, z.tail, z.offset, z.end);
    }
    if (z.first < z.end_whole) {
        layer_hole(&f->dirty, z.first, z.end_whole);
    }
    if (extends(op) && op->a.offset + op->a.size > f->size) {
        f->size = op->a.offset + op->a.size;
    }
    f->mtime = file_next_mtime(c, f);
    file_changed(c, f, op, pages_before, was_dirty);
    change_commit(c, f, op); /* so that st_blocks is true when it is answered */
    return true;
}

/* ---- space ----------------------------------------------------------------------------------- */

/* How many bytes the range lacks at least: all behind the end, and what of the rest cannot be there
 * already. */
static uint64_t lacking(const struct client *c, const struct file *f, const struct op *op)
{
    struct Fs__Attr now = inode_now(c, f->inode);
    uint64_t first = op->a.offset / FS_PAGE, end = (op->a.offset + op->a.size - 1) / FS_PAGE + 1;
    uint64_t there = now.size / FS_PAGE + (now.size % FS_PAGE != 0);
    uint64_t behind = end > there ? end - (first > there ? first : there) : 0;
    uint64_t below = end - first - behind;
    return (behind + (below > now.pages ? below - now.pages : 0)) * FS_PAGE;
}

static bool space_step(struct client *c, struct file *f, struct op *op)
{
    uint64_t end = op->a.offset + op->a.size;
    if (!change_space_ready(c, f, op, COMMIT_OVERHEAD) || !file_lease_ready(c, f, op)) {
        return false;
    }
    if (lacking(c, f, op) > c->free_bytes) {
        op_fail(c, op, ENOSPC);
        return true;
    }
    if (extends(op) && end > f->size) {
        bool was_dirty = file_dirty(f);
        f->size = end;
        f->mtime = file_next_mtime(c, f);
        file_changed(c, f, op, f->dirty.pages.count, was_dirty);
    }
    op_finish(c, op, NULL);
    return true;
}

static void on_space(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                     struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && reply->body_case != FS__REPLY__BODY_STATFS) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    client_learn_space(c, reply->statfs);
    op->asked = true;
    op_allocate(c, op);
}

static void ask_space(struct client *c, struct op *op)
{
    op->why = "the leader, for the free space";
    struct rpc *r = rpc_new(RPC_LEADER, op, on_space);
    r->req->body_case = FS__REQUEST__BODY_STATFS;
    r->req->statfs = xmalloc(sizeof(*r->req->statfs));
    fs__statfs__init(r->req->statfs);
    rpc_start(c, r);
}

/* ---- both ------------------------------------------------------------------------------------ */

bool allocate_step(struct client *c, struct file *f, struct op *op)
{
    return zeroes(op) ? zero_step(c, f, op) : space_step(c, f, op);
}

static int check(const struct op *op)
{
    uint32_t mode = op->a.flags, both = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if ((mode & ~KNOWN_MODES) != 0 || (mode & both) == both ||
        ((mode & FALLOC_FL_PUNCH_HOLE) != 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0)) {
        return EOPNOTSUPP;
    }
    if (op->a.size == 0) {
        return EINVAL;
    }
    return op->a.offset > SIZE_MAX_BYTES || op->a.size > SIZE_MAX_BYTES - op->a.offset ? EFBIG : 0;
}

void op_allocate(struct client *c, struct op *op)
{
    int err = op->lost != 0 ? op->lost : check(op);
    if (err != 0 || op->frozen) { /* refused, or committed */
        op_fail(c, op, err);
    } else if (!zeroes(op) && !op->asked) {
        ask_space(c, op);
    } else {
        file_enqueue(c, file_get(c, inode_get(c, op->a.ino)), op);
    }
}
