/* The kernel's side of a mount: system calls under way, and the locks of inodes that they wait for.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/kernel_internal.h"

/* ---- callers --------------------------------------------------------------------------------- */

/* From the answer in the daemon's hands to the caller's next instruction: short, but a busy machine
 * may let it stand, and a notification overtakes the answer then. */
static time_us caller_delay(void)
{
    uint64_t kind = sim_below(RND_KERNEL, 1000);
    if (kind < 900)
        return 1 + sim_below(RND_KERNEL, 10);
    if (kind < 985)
        return sim_between(RND_KERNEL, 10, 200);
    return sim_between(RND_KERNEL, 200, kind < 998 ? 3000 : 50000);
}

static void on_caller(void *ctx, uint64_t id)
{
    struct kernel *k = kernel_of((uint32_t)(uintptr_t)ctx);
    struct pending *p = k ? map_get(&k->pending, id) : NULL;
    if (!p)
        return;
    (void)map_del(&k->pending, id);
    struct call *c = container_of(p, struct call, pending);
    c->step(c);
}

static void go_on_at(struct call *c, time_us at)
{
    struct kernel *k = c->k;
    c->pending.id = kernel_new_id(k);
    c->pending.sent = false;
    (void)map_put(&k->pending, c->pending.id, &c->pending);
    sim_at(at, on_caller, (void *)(uintptr_t)k->process->id, c->pending.id);
}

void call_go_on_later(struct call *c)
{
    go_on_at(c, sim_now() + caller_delay());
}

static struct blob *join_slices(const struct client_result *r)
{
    uint64_t size = 0, at = 0;
    for (size_t i = 0; i < r->slices_count; i++)
        size += r->slices[i].size;
    if (size == 0)
        return NULL;
    struct blob *b = blob_new(size);
    for (size_t i = 0; i < r->slices_count; i++) {
        const struct client_slice *s = &r->slices[i];
        if (s->blob)
            memcpy(b->data + at, s->blob->data + s->offset, s->size);
        else
            memset(b->data + at, 0, s->size);
        at += s->size;
    }
    return b;
}

static void answer_clear(struct answer *a)
{
    blob_unref(a->data);
    a->data = NULL;
    vec_clear(&a->entries);
}

void call_answered(struct kernel *k, struct pending *p, const struct client_result *r)
{
    struct call *c = container_of(p, struct call, pending);
    struct answer *a = &c->a;
    (void)k;
    a->err = r->err;
    a->attr = r->attr;
    a->attr_valid = r->attr_valid_us;
    a->entry_valid = r->entry_valid_us;
    a->fh = r->fh;
    a->written = r->written;
    a->nothing_done = r->nothing_done;
    if (r->q) {
        c->result.q = r->q;
        c->result.q_session = r->q_session;
    }
    a->keep_cache = r->keep_cache;
    a->direct_io = r->direct_io;
    a->data = r->data ? blob_ref(r->data) : join_slices(r);
    for (size_t i = 0; i < r->entries_count; i++) {
        const struct client_dirent *d = &r->entries[i];
        struct kentry e = {.ino = d->ino,
                           .cookie = d->cookie,
                           .has_attr = d->has_attr,
                           .attr = d->attr,
                           .attr_valid = d->attr_valid_us,
                           .entry_valid = d->entry_valid_us};
        (void)snprintf(e.name, sizeof e.name, "%s", d->name);
        vec_push(&a->entries, e);
    }
    call_go_on_later(c);
}

struct call *call_new(struct kernel *k, sys_done *done, void *ctx)
{
    struct call *c = xcalloc(1, sizeof *c);
    c->k = k;
    c->done = done;
    c->ctx = ctx;
    c->pending.answered = call_answered;
    list_init(&c->wait);
    return c;
}

void call_free(struct call *c)
{
    list_remove(&c->wait);
    answer_clear(&c->a);
    vec_done(&c->a.entries);
    blob_unref(c->data);
    blob_unref(c->chunk);
    blob_unref(c->result.data);
    for (size_t i = 0; i < c->names.count; i++)
        free(c->names.items[i]);
    vec_done(&c->names);
    free(c);
}

void call_hold(struct call *c, struct knode *n)
{
    size_t i = 0;
    while (c->held[i] != 0)
        if (c->held[i++] == n->ino)
            return;
    assert(i < sizeof c->held / sizeof *c->held);
    c->held[i] = n->ino;
    n->busy++;
}

void call_end(struct call *c, int err)
{
    struct kernel *k = c->k;
    if (err == ESTALE && c->restart && !c->reval) {
        call_unlock(c);
        c->reval = true; /* retry_estale() */
        c->restart(c);
        return;
    }
    call_unlock(c);
    struct open_file *f = c->fd ? map_get(&k->files, c->fd) : NULL;
    if (f && --f->calls == 0 && f->doomed)
        data_close(k, f, true);
    for (size_t i = 0; i < sizeof c->held / sizeof *c->held && c->held[i]; i++) {
        struct knode *n = node_find(k, c->held[i]);
        n->busy--;
        node_settle(k, n);
    }
    c->result.err = err;
    c->result.names = (const char *const *)c->names.items;
    c->result.names_count = c->names.count;
    if (c->done)
        c->done(c->ctx, &c->result);
    call_free(c);
}

void call_submit(struct call *c, const struct client_op *op, void (*step)(struct call *c))
{
    answer_clear(&c->a);
    c->step = step;
    c->attr_version = c->k->attr_version;
    c->epoch = c->k->epoch;
    pending_submit(c->k, &c->pending, op);
}

void call_wake(struct call *c, void (*step)(struct call *c))
{
    c->step = step;
    call_go_on_later(c);
}

void call_wake_at(struct call *c, time_us at, void (*step)(struct call *c))
{
    c->step = step;
    go_on_at(c, at);
}

/* ---- the inode lock -------------------------------------------------------------------------- */

static bool lock_free(const struct knode *n, bool shared)
{
    return !n->owner && (shared || !n->sharers);
}

static void lock_give(struct knode *n, struct call *c)
{
    if (c->wants_shared) {
        n->sharers++;
        c->locked_shared = n->ino;
    } else {
        n->owner = c;
        c->locked[c->locked[0] ? 1 : 0] = n->ino;
    }
}

/* An rwsem: whoever comes later waits behind those that wait. */
static void lock(struct call *c, uint64_t ino, bool shared, void (*step)(struct call *c))
{
    struct knode *n = node_get(c->k, ino);
    call_hold(c, n);
    if (n->owner == c) {
        step(c);
        return;
    }
    c->wants_shared = shared;
    if (!list_empty(&n->lock_waiters) || !lock_free(n, shared)) {
        c->step = step;
        list_push_back(&n->lock_waiters, &c->wait);
        return;
    }
    lock_give(n, c);
    step(c);
}

void call_lock(struct call *c, uint64_t ino, void (*step)(struct call *c))
{
    lock(c, ino, false, step);
}

bool call_lock_now(struct call *c, uint64_t ino)
{
    struct knode *n = node_get(c->k, ino);
    if (!list_empty(&n->lock_waiters) || !lock_free(n, false))
        return false;
    call_hold(c, n);
    c->wants_shared = false;
    lock_give(n, c);
    return true;
}

void call_lock_shared(struct call *c, uint64_t ino, void (*step)(struct call *c))
{
    lock(c, ino, true, step);
}

static void lock_pass_on(struct knode *n)
{
    while (!list_empty(&n->lock_waiters)) {
        struct call *next = container_of(n->lock_waiters.next, struct call, wait);
        if (!lock_free(n, next->wants_shared))
            return;
        list_remove(&next->wait);
        lock_give(n, next);
        call_go_on_later(next);
    }
}

void call_unlock_shared(struct call *c)
{
    struct knode *n = c->locked_shared ? node_find(c->k, c->locked_shared) : NULL;
    c->locked_shared = 0;
    if (!n)
        return;
    n->sharers--;
    lock_pass_on(n);
}

void call_unlock(struct call *c)
{
    call_unlock_shared(c);
    for (size_t i = 0; i < 2; i++) {
        struct knode *n = c->locked[i] ? node_find(c->k, c->locked[i]) : NULL;
        c->locked[i] = 0;
        if (!n)
            continue;
        n->owner = NULL;
        lock_pass_on(n);
    }
}

bool call_owns(const struct call *c, uint64_t ino)
{
    return c->locked[0] == ino || c->locked[1] == ino;
}
