/* The kernel's side of a mount: fallocate(2) and copy_file_range(2) (fs/fuse/file.c:
 * fuse_file_fallocate(), __fuse_copy_file_range()). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/sim/kernel_internal.h"

/* ---- fallocate ------------------------------------------------------------------------------- */

static void zero_in_page(struct kpage *p, uint32_t from, uint32_t to)
{
    struct blob *b = blob_new(PAGE);
    memset(b->data, 0, PAGE);
    if (p->blob)
        memcpy(b->data, p->blob->data + p->offset, p->size);
    memset(b->data + from, 0, to - from);
    blob_unref(p->blob);
    p->blob = b;
    p->offset = 0;
    p->size = PAGE;
}

/* truncate_pagecache_range(): whole pages go, the others get zeros; locked ones are waited for. */
static bool truncate_pages(struct knode *n, uint64_t from, uint64_t to)
{
    bool all = true;
    for (uint64_t no = from / PAGE; no < data_pages_of(to); no++) {
        struct kpage *p = map_get(&n->pages, no);
        uint64_t start = no * PAGE, end = start + PAGE;
        if (!p)
            continue;
        if (p->state != PAGE_READY)
            all = false;
        else if (from <= start && to >= end)
            page_free(n, p);
        else
            zero_in_page(p, from > start ? (uint32_t)(from - start) : 0,
                         to < end ? (uint32_t)(to - start) : PAGE);
    }
    return all;
}

static void punch_pages(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (!truncate_pages(n, c->offset, c->offset + c->size)) {
        call_wait_pages(c, n, punch_pages);
        return;
    }
    n->invalid |= INVALID_SIZE;
    call_end(c, 0);
}

static void punched(struct call *c)
{
    if (c->a.err)
        call_end(c, c->a.err);
    else
        punch_pages(c);
}

static void punch_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_ALLOCATE,
                           .kill_setid = true,
                           .ino = c->ino,
                           .fh = call_file(c)->fh,
                           .flags = (uint32_t)c->flags,
                           .offset = c->offset,
                           .size = c->size};
    call_submit(c, &op, punched);
}

static void punch_lock(struct call *c)
{
    call_lock(c, c->ino, punch_locked);
}

void sys_punch(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t size, bool zero,
               sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->offset = offset;
    c->size = size;
    c->flags = FALLOC_FL_KEEP_SIZE | (zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
    call_wake(c, punch_lock);
}

/* ---- copy_file_range ------------------------------------------------------------------------- */

/* truncate_inode_pages_range() of whole pages, fuse_write_update_attr() */
static void copy_pages(struct call *c)
{
    struct knode *n = node_find(c->k, c->to_ino);
    uint64_t from = c->to_offset / PAGE * PAGE;
    uint64_t to = data_pages_of(c->to_offset + c->a.written) * PAGE;
    if (!truncate_pages(n, from, to)) {
        call_wait_pages(c, n, copy_pages);
        return;
    }
    node_changed_here(c->k, n);
    if (c->to_offset + c->a.written > n->size)
        n->size = c->to_offset + c->a.written;
    n->invalid |= INVALID_SIZE;
    c->result.value = c->a.written;
    call_end(c, 0);
}

/* On EOPNOTSUPP Linux reads and writes itself; here the caller hears it. */
static void copied(struct call *c)
{
    if (c->a.err || c->a.written == 0)
        call_end(c, c->a.err);
    else
        copy_pages(c);
}

static void copy_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_COPY,
                           .ino = c->ino,
                           .fh = call_file(c)->fh,
                           .offset = c->offset,
                           .size = c->size,
                           .to_ino = c->to_ino,
                           .to_fh = c->to_fh,
                           .to_offset = c->to_offset};
    call_submit(c, &op, copied);
}

/* generic_copy_file_checks(): the source ends where the kernel thinks. */
static void copy_begin(struct call *c)
{
    const struct knode *n = node_find(c->k, c->ino);
    uint64_t left = c->offset < n->size ? n->size - c->offset : 0;
    c->size = c->size < left ? c->size : left;
    if (c->size == 0)
        call_end(c, 0);
    else
        call_lock(c, c->to_ino, copy_locked);
}

void sys_copy(struct kernel *k, uint64_t fd, uint64_t offset, uint64_t to_fd, uint64_t to_offset,
              uint64_t size, sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    const struct open_file *to = map_get(&k->files, to_fd);
    c->offset = offset;
    c->size = size;
    c->to_ino = to->ino;
    c->to_fh = to->fh;
    c->to_offset = to_offset;
    call_hold(c, node_find(k, to->ino));
    call_wake(c, copy_begin);
}
