/* The kernel's side of a mount: read(2) and the pages it fills (fs/fuse/file.c). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/kernel_internal.h"

enum {
    READ_AHEAD = 8,           /* pages */
    READ_AHEAD_PM = 300000,   /* how often */
    READER_FIRST_PM = 500000, /* a reader gets the page before an invalidation does */
};

/* ---- read ------------------------------------------------------------------------------------ */

uint64_t data_pages_of(uint64_t size)
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
    uint64_t all = data_pages_of(n->size);
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
        const struct open_file *f = call_file(c);
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
    for (uint64_t no = c->offset / PAGE; no < data_pages_of(end); no++) {
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
    start_missing(c, n, c->offset / PAGE, data_pages_of(end));
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
    call_update_attributes(c, c->ino, call_file(c)->fh, INVALID_SIZE, read_attributes);
}

void sys_read(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t size, sys_done *done,
              void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->offset = offset;
    c->size = size;
    assert(!call_file(c)->direct);
    call_wake(c, read_begin);
}
