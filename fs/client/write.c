/* Changes of a file's data, in the order they came: write and truncate, into the dirty layer under
 * the write lease (RULES L1, B13). */
#include "fs/client/write.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

#define COMMIT_BYTES (4u << 20)

/* ---- what a change needs first --------------------------------------------------------------- */

/* RULES B13: before the lease is pinned; recalls and flushes never reserve. */
bool change_space_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes)
{
    op->lacks_space = false;
    if (op->space >= bytes) {
        return true;
    }
    if (session_take_space(c, bytes - op->space)) {
        op->space = bytes;
        return true;
    }
    op->why = "a reservation of space";
    op->lacks_space = true;
    if (!list_linked(&f->space_link)) {
        list_push_back(&c->space_waiters, &f->space_link);
    }
    session_reserve(c, bytes);
    return false;
}

/* Back-pressure: what does not fit waits until older data are committed. */
bool change_room_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes)
{
    uint64_t used = c->dirty_bytes + c->inflight_bytes;
    if (used == 0 || used + bytes <= c->config.buffer_bytes) {
        return true;
    }
    op->why = "room in the write buffer";
    if (!list_linked(&f->buffer_link)) {
        list_push_back(&c->buffer_waiters, &f->buffer_link);
    }
    file_freeze_all(c);
    return false;
}

static void drop_base(struct op *op)
{
    while (op->base_count != 0) {
        blob_unref(op->base[--op->base_count].blob);
    }
}

/* Read under an earlier lease: another mount may have changed or cut it in between. */
void change_drop_old_base(const struct file *f, struct op *op)
{
    if (op->base_epoch != f->epoch) {
        drop_base(op);
    }
}

/* What page `no` holds now. False: not known yet. */
bool change_current_page(const struct client *c, const struct file *f, const struct op *op,
                         uint64_t no, struct page *ret)
{
    if (file_find_page(f, no, ret) || kept_find(c, f, no, ret)) {
        return true;
    }
    for (size_t i = 0; i < op->base_count; i++) {
        if (op->base[i].no == no) {
            *ret = op->base[i];
            return true;
        }
    }
    return false;
}

/* The end of the file may move while an appending write waits: then other pages are wanted than
 * those read before, of which the oldest makes room. */
static void keep_base(struct op *op, const struct page *page)
{
    const size_t room = sizeof op->base / sizeof op->base[0];
    if (op->base_count == room) {
        blob_unref(op->base[0].blob);
        memmove(&op->base[0], &op->base[1], (room - 1) * sizeof op->base[0]);
        op->base_count--;
    }
    op->base[op->base_count] = *page;
    (void)blob_ref(op->base[op->base_count++].blob);
}

static void on_base(struct client *c, struct op *op, int err)
{
    struct read_job *job = op->job;
    struct file *f = op->queue_of;
    if (err != 0) {
        op_fail(c, op, err); /* and goes on with the queue */
        return;
    }
    keep_base(op, &job->over[0]);
    op->job = NULL;
    read_free(c, job);
    file_pump(c, f);
}

/* The committed content of page `no`, when a change keeps part of it. False: it is being read. */
bool change_base_ready(struct client *c, struct file *f, struct op *op, uint64_t no)
{
    struct page page;
    if (change_current_page(c, f, op, no, &page)) {
        return true;
    }
    op->base_epoch = f->epoch;
    op->why = "the rest of a page that is written in part";
    read_start(c, op, f->inode, no, 1, read_min_index(c, f->inode), on_base);
    return op->job == NULL; /* at once: there is nothing of it to be read */
}

/* ---- write ----------------------------------------------------------------------------------- */

/* Is there anything in page `no` of the file outside [from, to) of the page? */
static bool keeps_some(const struct file *f, uint64_t no, uint64_t from, uint64_t to)
{
    uint64_t start = no * FS_PAGE;
    if (start >= f->size) {
        return false;
    }
    uint64_t valid = f->size - start < FS_PAGE ? f->size - start : FS_PAGE;
    return from > 0 || to < valid;
}

bool change_edges_ready(struct client *c, struct file *f, struct op *op, uint64_t offset,
                        uint64_t size)
{
    uint64_t end = offset + size, first = offset / FS_PAGE, last = (end - 1) / FS_PAGE;
    uint64_t first_to = last > first ? FS_PAGE : end - first * FS_PAGE;
    if (keeps_some(f, first, offset % FS_PAGE, first_to) && !change_base_ready(c, f, op, first)) {
        return false;
    }
    return last == first || !keeps_some(f, last, 0, end - last * FS_PAGE) ||
           change_base_ready(c, f, op, last);
}

static void write_pages(const struct client *c, struct file *f, struct op *op, uint64_t offset,
                        uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t no = (offset + done) / FS_PAGE;
        uint32_t at = (uint32_t)((offset + done) % FS_PAGE);
        uint32_t n = size - done < FS_PAGE - at ? (uint32_t)(size - done) : FS_PAGE - at;
        struct page below;
        bool known = change_current_page(c, f, op, no, &below);
        layer_write(&f->dirty, no, at, op->a.data, (uint32_t)done, n, known ? &below : NULL);
        done += n;
    }
}

/* Behind a write that goes through its pages Linux sends an FSYNC by itself; not behind one that it
 * hands over directly (fuse_direct_write_iter()), which is settled when the file is opened: later
 * O_APPEND may be taken away (fcntl(2)). */
static bool syncs(const struct client *c, const struct op *op)
{
    const struct handle *h = handle_find(c, op->a.fh);
    bool direct = handle_is_direct(op->a.flags) || (h != NULL && handle_is_direct(h->flags));
    return direct && (op->a.flags & O_DSYNC) != 0;
}

void op_write(struct client *c, struct op *op)
{
    if (!op->frozen) {
        file_enqueue(c, file_get(c, inode_get(c, op->a.ino)), op);
    } else if (op->lost != 0) {
        (void)handle_tell_error(c, op->a.fh); /* it is told here */
        op_fail(c, op, op->lost);
    } else {
        op_finish(c, op, &(struct client_result){.written = op->a.data->size});
    }
}

static bool write_step(struct client *c, struct file *f, struct op *op)
{
    uint64_t size = op->a.data != NULL ? op->a.data->size : 0;
    int err = handle_tell_error(c, op->a.fh);
    if (err == 0 && (op->a.offset > SIZE_MAX_BYTES || size > SIZE_MAX_BYTES - op->a.offset)) {
        err = EFBIG;
    }
    if (err != 0 || size == 0) {
        op_fail(c, op, err);
        return true;
    }
    uint64_t worst = (size / FS_PAGE + 2) * FS_PAGE + COMMIT_OVERHEAD;
    if (!change_space_ready(c, f, op, worst) || !change_room_ready(c, f, op, size) ||
        !file_lease_ready(c, f, op)) {
        return false;
    }
    change_drop_old_base(f, op);
    /* FUSE.md 4: the kernel's idea of the end is stale. */
    uint64_t offset = op->a.flags & O_APPEND ? f->size : op->a.offset;
    if (size > SIZE_MAX_BYTES - offset) {
        op_fail(c, op, EFBIG);
        return true;
    }
    if (!change_edges_ready(c, f, op, offset, size)) {
        return false;
    }
    bool was_dirty = file_dirty(f);
    size_t pages_before = f->dirty.pages.count;
    write_pages(c, f, op, offset, size);
    if (offset + size > f->size) {
        f->size = offset + size;
    }
    f->mtime = file_next_mtime(c, f);
    file_changed(c, f, op, pages_before, was_dirty);
    if (syncs(c, op)) {
        change_commit(c, f, op);
        return true;
    }
    /* Else the COMMIT waits until the answer has reached the program, and its fsync the mount. */
    if (file_fsync_is_near(f) || f->dirty.pages.count * FS_PAGE >= COMMIT_BYTES) {
        (void)file_freeze(c, f);
    }
    op_finish(c, op, &(struct client_result){.written = size});
    return true;
}

void change_commit(struct client *c, struct file *f, struct op *op)
{
    op->queue_of = NULL;
    list_remove(&op->wait);
    op->frozen = true;
    commit_wait(c, op, f->inode->ino, file_freeze(c, f));
}

/* ---- truncate -------------------------------------------------------------------------------- */

/* The page that the new end cuts keeps its head; what was behind must read as zeros ever after. */
static void shrink(const struct client *c, struct file *f, const struct op *op, uint64_t size)
{
    uint64_t no = size / FS_PAGE;
    uint32_t keep = (uint32_t)(size % FS_PAGE);
    struct page page = {0};
    bool known = keep != 0 && change_current_page(c, f, op, no, &page);
    if (known) {
        (void)blob_ref(page.blob); /* the layer may hold the only one */
    }
    layer_cut(&f->dirty, keep != 0 ? no + 1 : no);
    if (known && page.blob != NULL && page.size > keep && !MUTANT(truncate_keeps_tail)) {
        page.no = no;
        page.size = keep;
        layer_put(&f->dirty, &page);
    }
    blob_unref(page.blob);
}

static bool truncate_step(struct client *c, struct file *f, struct op *op)
{
    uint64_t size = op->a.size;
    if (size > SIZE_MAX_BYTES) {
        op_fail(c, op, EFBIG);
        return true;
    }
    if (!change_space_ready(c, f, op, 2 * FS_PAGE + COMMIT_OVERHEAD) ||
        !file_lease_ready(c, f, op)) {
        return false;
    }
    change_drop_old_base(f, op);
    if (size < f->size && size % FS_PAGE != 0 && !change_base_ready(c, f, op, size / FS_PAGE)) {
        return false;
    }
    bool was_dirty = file_dirty(f);
    size_t pages_before = f->dirty.pages.count;
    if (size < f->size) {
        shrink(c, f, op, size);
    }
    f->size = size;
    f->mtime = file_next_mtime(c, f);
    file_changed(c, f, op, pages_before, was_dirty);
    change_commit(c, f, op);
    return true;
}

bool op_data_step(struct client *c, struct file *f, struct op *op)
{
    if (op->job != NULL) {
        return false; /* still reading */
    }
    if (handle_lost_locks(c, op->a.fh) || handle_lost_locks(c, op->a.to_fh)) {
        op_fail(c, op, EIO);
        return true;
    }
    if (file_refers(f)) {
        op->why = "the commit of a copy by reference";
        return false;
    }
    if (privs_drop_first(c, f, op)) {
        return true;
    }
    if (op->a.kind == CLIENT_COPY) {
        return copy_step(c, f, op);
    }
    if (op->a.kind == CLIENT_ALLOCATE) {
        return allocate_step(c, f, op);
    }
    return op->a.kind == CLIENT_WRITE ? write_step(c, f, op) : truncate_step(c, f, op);
}
