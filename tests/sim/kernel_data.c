/* The kernel's side of a mount: open files, their pages, reads and writes (fs/fuse/file.c). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/state.h"
#include "tests/sim/kernel_internal.h"

enum {
    READ_AHEAD = 8,            /* pages */
    READ_AHEAD_PM = 300000,    /* how often */
    READER_FIRST_PM = 500000,  /* a reader gets the page before an invalidation does */
    ASK_CAPABILITY_PM = 50000, /* file_remove_privs(): each write in truth */
};

static struct open_file *file_of(struct call *c)
{
    struct open_file *f = map_get(&c->k->files, c->fd);
    assert(f);
    return f;
}

static struct knode *node_of(struct call *c)
{
    return node_find(c->k, file_of(c)->ino);
}

/* A call on a descriptor, whose inode it holds. */
static struct call *call_on_file(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    struct call *c = call_new(k, done, ctx);
    c->fd = fd;
    c->ino = file_of(c)->ino;
    file_of(c)->calls++;
    call_hold(c, node_of(c));
    c->result.ino = c->ino;
    return c;
}

/* ---- open, close ----------------------------------------------------------------------------- */

/* fuse_finish_open() */
struct open_file *data_new_file(struct call *c, uint64_t ino)
{
    struct kernel *k = c->k;
    struct knode *n = node_get(k, ino);
    struct open_file *f = xmalloc(sizeof *f);
    *f = (struct open_file){
        .fd = ++k->next_fd, .ino = ino, .fh = c->a.fh, .flags = c->flags, .direct = c->a.direct_io};
    (void)map_put(&k->files, f->fd, f);
    n->opens++;
    if (!c->done) { /* nobody will ever close it */
        f->doomed = true;
        f->calls = 1;
        c->fd = f->fd;
    }
    if (!c->a.keep_cache && !c->a.direct_io)
        node_drop_pages(n);
    c->result.value = f->fd;
    c->result.ino = ino;
    return f;
}

static void end_open(struct call *c)
{
    call_end(c, 0);
}

static void opened(struct call *c)
{
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    (void)data_new_file(c, c->ino);
    struct knode *n = node_find(c->k, c->ino);
    if (node_dropping(n))
        call_wait_pages(c, n, end_open);
    else
        end_open(c);
}

void data_open(struct call *c)
{
    call_hold(c, node_get(c->k, c->ino));
    struct client_op op = {
        .kind = CLIENT_OPEN, .ino = c->ino, .flags = (uint32_t)(c->flags & ~(O_CREAT | O_EXCL))};
    call_submit(c, &op, opened);
}

void data_close(struct kernel *k, struct open_file *f, bool flush)
{
    struct knode *n = node_find(k, f->ino);
    struct client_op op = {.kind = CLIENT_FLUSH, .ino = f->ino, .fh = f->fh};
    if (flush)
        kernel_submit_silent(k, &op);
    op.kind = CLIENT_RELEASE;
    kernel_submit_silent(k, &op);
    (void)map_del(&k->files, f->fd);
    free(f);
    n->opens--;
    node_settle(k, n);
}

static void flushed(struct call *c)
{
    int err = c->a.err;
    data_close(c->k, file_of(c), false);
    c->fd = 0;
    call_end(c, err);
}

void sys_close(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    struct client_op op = {.kind = CLIENT_FLUSH, .ino = c->ino, .fh = file_of(c)->fh};
    call_submit(c, &op, flushed);
}

/* ---- read ------------------------------------------------------------------------------------ */

static uint64_t pages_of(uint64_t size)
{
    return (size + PAGE - 1) / PAGE;
}

/* The part of an answer that is one page; bytes behind its end are zeros. */
static void fill_page(struct kpage *p, const struct client_result *r, uint64_t at)
{
    uint64_t start = 0;
    for (size_t i = 0; i < r->slices_count && p->size < PAGE; i++) {
        const struct client_slice *s = &r->slices[i];
        uint64_t from = at + p->size;
        if (from < start + s->size && from >= start) {
            uint32_t skip = (uint32_t)(from - start), n = s->size - skip;
            n = n < PAGE - p->size ? n : PAGE - p->size;
            if (p->size == 0 && (n == PAGE || start + s->size <= from + n)) {
                p->blob = blob_ref(s->blob);
                p->offset = s->blob ? s->offset + skip : 0;
                p->size = n;
                if (i + 1 == r->slices_count || n == PAGE)
                    return;
            } else {
                struct blob *b = blob_new(PAGE);
                if (p->blob)
                    memcpy(b->data, p->blob->data + p->offset, p->size);
                else
                    memset(b->data, 0, p->size);
                if (s->blob)
                    memcpy(b->data + p->size, s->blob->data + s->offset + skip, n);
                else
                    memset(b->data + p->size, 0, n);
                blob_unref(p->blob);
                p->blob = b;
                p->offset = 0;
                p->size += n;
            }
        }
        start += s->size;
    }
}

/* fuse_short_read(): the file ends before the kernel thought. */
static void note_end(struct kernel *k, struct io *io, uint64_t got)
{
    struct knode *n = io->node;
    uint64_t end = io->first * PAGE + got;
    if (got < (uint64_t)io->pages * PAGE && io->attr_version >= n->attr_version && end < n->size) {
        n->attr_version = ++k->attr_version;
        n->size = end;
    }
}

static void read_pages(struct call *c);
static bool read_ready(struct call *c);
static void read_end(struct call *c);

/* fuse_readpages_end() */
static void read_answered(struct kernel *k, struct pending *p, const struct client_result *r)
{
    struct io *io = container_of(p, struct io, pending);
    struct knode *n = io->node;
    uint64_t got = 0;
    for (size_t i = 0; i < r->slices_count; i++)
        got += r->slices[i].size;
    list_remove(&io->link);
    for (uint64_t no = io->first; no < io->first + io->pages; no++) {
        struct kpage *page = map_get(&n->pages, no);
        assert(page && page->state == PAGE_READING);
        if (r->err) {
            page_free(n, page);
            continue;
        }
        page->state = PAGE_READY;
        fill_page(page, r, (no - io->first) * PAGE);
    }
    if (!r->err)
        note_end(k, io, got);
    n->invalid |= INVALID_OTHER; /* fuse_invalidate_atime() */
    bool reader_first = !io->drop || sim_chance(RND_KERNEL, READER_FIRST_PM);
    list_each(it, &n->waiters) {
        struct call *c = container_of(it, struct call, wait);
        if (c->step != read_pages)
            continue;
        if (r->err)
            c->read_err = r->err;
        else if (reader_first && read_ready(c))
            c->step = read_end;
    }
    for (uint64_t no = io->first; io->drop && no < io->first + io->pages; no++) {
        struct kpage *page = map_get(&n->pages, no);
        if (page)
            page_free(n, page);
    }
    free(io);
    node_wake_waiters(k, n);
    node_settle(k, n);
}

static void start_io(struct kernel *k, struct knode *n, uint64_t first, uint64_t pages)
{
    struct io *io = xcalloc(1, sizeof *io);
    io->node = n;
    io->first = first;
    io->pages = (uint32_t)pages;
    io->attr_version = k->attr_version;
    io->pending.answered = read_answered;
    list_push_back(&n->ios, &io->link);
    for (uint64_t no = first; no < first + pages; no++) {
        struct kpage *p = xcalloc(1, sizeof *p);
        p->no = no;
        p->state = PAGE_READING;
        (void)map_put(&n->pages, no, p);
    }
}

/* READs for what is missing of [first, end), and maybe for some behind it. */
static void start_missing(struct call *c, struct knode *n, uint64_t first, uint64_t end)
{
    struct kernel *k = c->k;
    uint64_t all = pages_of(n->size);
    if (sim_chance(RND_KERNEL, READ_AHEAD_PM))
        end = end + READ_AHEAD < all ? end + READ_AHEAD : all;
    for (uint64_t no = first; no < end;) {
        uint64_t run = 0;
        while (no + run < end && run < REQUEST_PAGES && !map_get(&n->pages, no + run))
            run++;
        if (run == 0) {
            no++;
            continue;
        }
        start_io(k, n, no, run);
        struct io *io = container_of(n->ios.prev, struct io, link);
        const struct open_file *f = file_of(c);
        struct client_op op = {.kind = CLIENT_READ,
                               .ino = n->ino,
                               .fh = f->fh,
                               .flags = (uint32_t)f->flags,
                               .offset = no * PAGE,
                               .size = run * PAGE};
        pending_submit(k, &io->pending, &op);
        no += run;
    }
}

/* The bytes, when all pages are there. */
static bool read_ready(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    uint64_t end = c->offset + c->size < n->size ? c->offset + c->size : n->size;
    if (c->offset >= end) {
        c->result.value = 0;
        return true;
    }
    for (uint64_t no = c->offset / PAGE; no < pages_of(end); no++) {
        const struct kpage *p = map_get(&n->pages, no);
        if (!p || p->state != PAGE_READY)
            return false;
    }
    struct blob *b = blob_new(end - c->offset);
    for (uint64_t at = c->offset; at < end;) {
        const struct kpage *p = map_get(&n->pages, at / PAGE);
        uint32_t in = (uint32_t)(at % PAGE);
        uint32_t size = end - at < PAGE - in ? (uint32_t)(end - at) : PAGE - in;
        uint32_t stored = p->blob && p->size > in ? p->size - in : 0;
        stored = stored < size ? stored : size;
        if (stored)
            memcpy(b->data + (at - c->offset), p->blob->data + p->offset + in, stored);
        memset(b->data + (at - c->offset) + stored, 0, size - stored);
        at += size;
    }
    blob_unref(c->result.data);
    c->result.data = b;
    c->result.value = b->size;
    return true;
}

static void read_end(struct call *c)
{
    call_end(c, 0);
}

static void read_pages(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (c->read_err) {
        call_end(c, c->read_err);
        return;
    }
    if (read_ready(c)) {
        read_end(c);
        return;
    }
    uint64_t end = c->offset + c->size < n->size ? c->offset + c->size : n->size;
    start_missing(c, n, c->offset / PAGE, pages_of(end));
    call_wait_pages(c, n, read_pages);
}

static void read_attributes(struct call *c)
{
    if (c->a.err)
        call_end(c, c->a.err);
    else
        read_pages(c);
}

/* fuse_cache_read_iter(): AUTO_INVAL_DATA looks at the attributes first. */
static void read_begin(struct call *c)
{
    call_update_attributes(c, c->ino, file_of(c)->fh, INVALID_SIZE, read_attributes);
}

void sys_read(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t size, sys_done *done,
              void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->offset = offset;
    c->size = size;
    assert(!file_of(c)->direct);
    call_wake(c, read_begin);
}

/* ---- write ----------------------------------------------------------------------------------- */

/* fuse_write_update_attr() */
static void written(struct call *c, int err)
{
    struct knode *n = node_find(c->k, c->ino);
    node_changed_here(c->k, n);
    if (c->progress && c->offset + c->progress > n->size)
        n->size = c->offset + c->progress;
    n->invalid |= INVALID_SIZE;
    c->result.value = c->progress;
    call_end(c, c->progress ? 0 : err);
}

static void write_next(struct call *c);

/* Before a direct write its pages go (since Linux 6.7), and again when it is answered (6.18), for
 * they may have been read meanwhile; false: one is locked. */
static bool drop_range(struct knode *n, uint64_t pos, uint64_t size)
{
    bool all = true;
    for (uint64_t no = pos / PAGE; no < pages_of(pos + size); no++) {
        struct kpage *p = map_get(&n->pages, no);
        if (p && p->state == PAGE_READY)
            page_free(n, p);
        else if (p)
            all = false;
    }
    return all;
}

static void write_settled(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (file_of(c)->direct && !drop_range(n, c->offset + c->progress, c->chunk_size)) {
        call_wait_pages(c, n, write_settled);
        return;
    }
    c->progress += c->chunk_size;
    if (c->progress < c->size)
        write_next(c);
    else
        written(c, 0);
}

static void write_answered(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    uint64_t from = c->offset + c->progress, to = from + c->chunk_size;
    int err = c->a.err;
    if (!err && c->a.written != c->chunk_size)
        err = EIO;
    for (uint64_t no = from / PAGE; no < pages_of(to); no++) {
        struct kpage *p = map_get(&n->pages, no);
        if (p && (p->state == PAGE_WRITING || (err && p->state == PAGE_READY)))
            page_free(n, p);
    }
    node_wake_waiters(c->k, n);
    if (err)
        written(c, err);
    else
        write_settled(c);
}

static void set_page(struct knode *n, uint64_t no, struct blob *blob, uint64_t offset)
{
    struct kpage *p = map_get(&n->pages, no);
    if (!p) {
        p = xcalloc(1, sizeof *p);
        p->no = no;
        (void)map_put(&n->pages, no, p);
    }
    (void)blob_ref(blob);
    blob_unref(p->blob);
    p->blob = blob;
    p->offset = (uint32_t)offset;
    p->size = blob ? PAGE : 0;
}

/* A part of a page that is there. */
static void patch_page(struct kpage *p, uint32_t in, const uint8_t *from, uint32_t size)
{
    struct blob *b = blob_new(PAGE);
    memset(b->data, 0, PAGE);
    if (p->blob)
        memcpy(b->data, p->blob->data + p->offset, p->size);
    memcpy(b->data + in, from, size);
    blob_unref(p->blob);
    p->blob = b;
    p->offset = 0;
    p->size = PAGE;
}

/* fuse_fill_write_pages(): how much the next WRITE takes, now in the cache. 0: a page is locked. */
static uint64_t fill_pages(struct call *c, struct knode *n)
{
    uint64_t pos = c->offset + c->progress, end = c->offset + c->size, at = pos;
    for (unsigned count = 0; at < end && count < REQUEST_PAGES; count++) {
        uint32_t in = (uint32_t)(at % PAGE);
        uint32_t size = end - at < PAGE - in ? (uint32_t)(end - at) : PAGE - in;
        struct kpage *p = map_get(&n->pages, at / PAGE);
        if (p && p->state != PAGE_READY)
            break;
        if (size == PAGE) {
            set_page(n, at / PAGE, c->data, at - c->offset);
        } else if (p) {
            patch_page(p, in, c->data->data + (at - c->offset), size);
        } else {
            set_page(n, at / PAGE, NULL, 0);
            ((struct kpage *)map_get(&n->pages, at / PAGE))->state = PAGE_WRITING;
            at += size;
            break;
        }
        at += size;
    }
    return at - pos;
}

/* fuse_perform_write(), or the direct way (fuse_direct_io()). */
static void write_next(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    const struct open_file *f = file_of(c);
    uint64_t pos = c->offset + c->progress;
    uint64_t size = c->size - c->progress;
    if (!f->direct) {
        size = fill_pages(c, n);
        if (size == 0) {
            call_wait_pages(c, n, write_next);
            return;
        }
    } else {
        size = size > REQUEST_PAGES * PAGE ? REQUEST_PAGES * PAGE : size;
        if (!drop_range(n, pos, size)) {
            call_wait_pages(c, n, write_next);
            return;
        }
    }
    blob_unref(c->chunk);
    c->chunk =
        size == c->data->size ? blob_ref(c->data) : blob_copy(c->data->data + c->progress, size);
    c->chunk_size = size;
    struct client_op op = {.kind = CLIENT_WRITE,
                           .ino = c->ino,
                           .fh = f->fh,
                           .flags = (uint32_t)f->flags,
                           .offset = pos,
                           .size = size,
                           .data = c->chunk};
    call_submit(c, &op, write_answered);
}

static void write_begin(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (file_of(c)->flags & O_APPEND)
        c->offset = n->size;
    write_next(c);
}

/* file_remove_privs(): does the file have capabilities to lose? */
static void write_locked(struct call *c)
{
    if (!sim_chance(RND_KERNEL, ASK_CAPABILITY_PM)) {
        write_begin(c);
        return;
    }
    struct client_op op = {.kind = CLIENT_GETXATTR, .ino = c->ino, .name = "security.capability"};
    call_submit(c, &op, write_begin);
}

static void write_lock(struct call *c)
{
    call_lock(c, c->ino, write_locked);
}

void sys_write(struct kernel *k, uint64_t fd, uint64_t offset, struct blob *data, sys_done *done,
               void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->offset = offset;
    c->data = blob_ref(data);
    c->size = data->size;
    call_wake(c, write_lock);
}

/* ---- fsync, truncate, fstat ------------------------------------------------------------------ */

static void end_with_answer(struct call *c)
{
    call_end(c, c->a.err);
}

static void fsync_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_FSYNC, .ino = c->ino, .fh = file_of(c)->fh};
    call_submit(c, &op, end_with_answer);
}

static void fsync_lock(struct call *c)
{
    call_lock(c, c->ino, fsync_locked);
}

void sys_fsync(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    call_wake(call_on_file(k, fd, done, ctx), fsync_lock);
}

static void end_ok(struct call *c)
{
    call_end(c, 0);
}

/* fuse_do_setattr(): its attributes count whatever was notified meanwhile. */
static void truncated(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    uint64_t before = n->size;
    const struct Fs__Attr *a = &c->a.attr;
    n->mtime = a->mtime;
    n->nlink = a->nlink;
    n->mode = a->mode;
    n->invalid = 0;
    n->valid_until = c->a.attr_valid ? process_clock(c->k->process) + c->a.attr_valid : 0;
    node_changed_here(c->k, n);
    n->size = a->size;
    if (before != n->size)
        node_drop_pages(n);
    if (node_dropping(n))
        call_wait_pages(c, n, end_ok);
    else
        end_ok(c);
}

static void truncate_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_SETATTR,
                           .ino = c->ino,
                           .fh = file_of(c)->fh,
                           .set = CLIENT_SET_SIZE | FS_SETATTR_MTIME_NOW,
                           .size = c->size};
    call_submit(c, &op, truncated);
}

static void truncate_lock(struct call *c)
{
    call_lock(c, c->ino, truncate_locked);
}

void sys_ftruncate(struct kernel *k, uint64_t fd, uint64_t size, sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->size = size;
    call_wake(c, truncate_lock);
}

static void fstat_end(struct call *c)
{
    const struct knode *n = node_find(c->k, c->ino);
    bool asked = c->update_applied; /* the caller gets what the answer says */
    c->result.size = asked ? c->a.attr.size : n->size;
    c->result.nlink = asked ? c->a.attr.nlink : n->nlink;
    c->result.mtime = asked ? c->a.attr.mtime : n->mtime;
    c->result.mode = asked ? c->a.attr.mode : n->mode;
    call_end(c, c->a.err);
}

static void fstat_begin(struct call *c)
{
    call_update_attributes(c, c->ino, file_of(c)->fh, INVALID_ALL, fstat_end);
}

void sys_fstat(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    call_wake(call_on_file(k, fd, done, ctx), fstat_begin);
}
