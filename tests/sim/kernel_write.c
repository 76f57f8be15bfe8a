/* The kernel's side of a mount: write(2) (fs/fuse/file.c). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/sim/kernel_internal.h"

enum { ASK_CAPABILITY_PM = 50000 /* file_remove_privs(): each write in truth */ };

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
    for (uint64_t no = pos / PAGE; no < data_pages_of(pos + size); no++) {
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
    if (call_file(c)->direct && !drop_range(n, c->offset + c->progress, c->chunk_size)) {
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
    for (uint64_t no = from / PAGE; no < data_pages_of(to); no++) {
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
    const struct open_file *f = call_file(c);
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
    c->result.divided = size < c->size;
    struct client_op op = {.kind = CLIENT_WRITE,
                           .ino = c->ino,
                           .fh = f->fh,
                           .flags = (uint32_t)f->flags,
                           .offset = pos,
                           .size = size,
                           .kill_setid = true,
                           .data = c->chunk};
    call_submit(c, &op, write_answered);
}

static void write_begin(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (call_file(c)->flags & O_APPEND)
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
