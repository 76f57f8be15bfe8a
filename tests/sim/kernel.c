/* The kernel's side of a mount: requests and their answers, inodes, attributes, invalidations. */
#include "tests/sim/kernel.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/kernel_internal.h"
#include "tests/sim/mount.h"

enum {
    REQUEST_DELAY = 2, /* us from a system call to the daemon */
    PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1,
    NOTIFIER_DELAY_MAX = 300, /* us until the helper thread runs */
};

/* Callers go on in moments of their own: a kernel that died meanwhile is not here any more, and
 * the ids of its next life are others. */
static struct kernel *kernels[PROCESSES];

/* ---- requests -------------------------------------------------------------------------------- */

static void call_answered(struct kernel *k, struct pending *p, const struct client_result *r);

static uint64_t new_id(struct kernel *k)
{
    return (uint64_t)k->process->life << 40 | ++k->next_id;
}

static void deliver(void *ctx, uint64_t arg)
{
    struct kernel *k = ctx;
    (void)arg;
    assert(k->queue.count > 0);
    uint64_t id = k->queue.items[0];
    vec_remove(&k->queue, 0);
    struct pending *p = map_get(&k->pending, id);
    if (!p)
        return; /* its caller was killed before the daemon saw it */
    struct client_op op = p->op;
    bool answered = op.kind != CLIENT_FORGET;
    mount_op(k->mount, &op);
    if (!answered) {
        (void)map_del(&k->pending, id);
        free(p);
    }
}

/* /dev/fuse is a queue: while the daemon stands still it fills. */
void pending_submit(struct kernel *k, struct pending *p, const struct client_op *op)
{
    p->id = new_id(k);
    p->op = *op;
    p->op.id = p->id;
    p->sent = true;
    if (op->name) {
        (void)snprintf(p->name, sizeof p->name, "%s", op->name);
        p->op.name = p->name;
    }
    if (op->newname) {
        (void)snprintf(p->newname, sizeof p->newname, "%s", op->newname);
        p->op.newname = p->newname;
    }
    (void)map_put(&k->pending, p->id, p);
    vec_push(&k->queue, p->id);
    process_at(k->process, sim_now() + REQUEST_DELAY, deliver, k, 0);
}

static void deliver_interrupt(void *ctx, uint64_t id)
{
    struct kernel *k = ctx;
    struct pending *p = map_get(&k->pending, id);
    if (p && p->sent)
        mount_cancel(k->mount, id);
}

/* FUSE_INTERRUPT, behind the request itself. What waits for pages or locks goes on. */
void sys_interrupt(struct kernel *k, const void *ctx)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&k->pending, &cursor, NULL, &value)) {
        struct pending *p = value;
        if (p->answered != call_answered || !p->sent ||
            container_of(p, struct call, pending)->ctx != ctx)
            continue;
        process_at(k->process, sim_now() + REQUEST_DELAY, deliver_interrupt, k, p->id);
        return; /* a caller has one call at a time */
    }
}

void kernel_submit_silent(struct kernel *k, const struct client_op *op)
{
    struct pending *p = xcalloc(1, sizeof *p);
    pending_submit(k, p, op);
}

void kernel_reply(struct kernel *k, uint64_t op_id, const struct client_result *result)
{
    struct pending *p = map_get(&k->pending, op_id);
    if (!p)
        return;
    sim_mix(op_id, (uint64_t)result->err);
    sim_trace("m%u answer kind %d ino %llu %s err %d attr ino %llu size %llu mtime %lld valid %llu",
              k->process->id, p->op.kind, (unsigned long long)p->op.ino, p->name, result->err,
              (unsigned long long)result->attr.ino, (unsigned long long)result->attr.size,
              (long long)result->attr.mtime, (unsigned long long)result->attr_valid_us);
    (void)map_del(&k->pending, op_id);
    if (p->answered)
        p->answered(k, p, result);
    else
        free(p);
}

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
    struct kernel *k = kernels[(uintptr_t)ctx];
    struct pending *p = k ? map_get(&k->pending, id) : NULL;
    if (!p)
        return;
    (void)map_del(&k->pending, id);
    struct call *c = container_of(p, struct call, pending);
    c->step(c);
}

static void go_on_later(struct call *c)
{
    struct kernel *k = c->k;
    c->pending.id = new_id(k);
    c->pending.sent = false;
    (void)map_put(&k->pending, c->pending.id, &c->pending);
    sim_at(sim_now() + caller_delay(), on_caller, (void *)(uintptr_t)k->process->id, c->pending.id);
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

static void call_answered(struct kernel *k, struct pending *p, const struct client_result *r)
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
    go_on_later(c);
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

static void call_free(struct call *c)
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
    go_on_later(c);
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
        go_on_later(next);
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

/* ---- inodes ---------------------------------------------------------------------------------- */

struct knode *node_find(struct kernel *k, uint64_t ino)
{
    return map_get(&k->nodes, ino);
}

struct knode *node_get(struct kernel *k, uint64_t ino)
{
    struct knode *n = map_get(&k->nodes, ino);
    if (n)
        return n;
    n = xcalloc(1, sizeof *n);
    n->ino = ino;
    n->invalid = INVALID_ALL;
    map_init(&n->pages);
    list_init(&n->ios);
    list_init(&n->waiters);
    list_init(&n->lock_waiters);
    (void)map_put(&k->nodes, ino, n);
    return n;
}

void page_free(struct knode *n, struct kpage *p)
{
    (void)map_del(&n->pages, p->no);
    blob_unref(p->blob);
    free(p);
}

static void node_free(struct kernel *k, struct knode *n)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&n->pages, &cursor, NULL, &value)) {
        struct kpage *p = value;
        blob_unref(p->blob);
        free(p);
    }
    map_done(&n->pages);
    (void)map_del(&k->nodes, n->ino);
    free(n);
}

void node_settle(struct kernel *k, struct knode *n)
{
    if (n->ino == ROOT || n->opens || n->names || n->busy || n->owner || !list_empty(&n->ios) ||
        !list_empty(&n->lock_waiters) || !list_empty(&n->waiters))
        return;
    if (n->nlookup) {
        struct client_op op = {.kind = CLIENT_FORGET, .ino = n->ino, .nlookup = n->nlookup};
        kernel_submit_silent(k, &op);
    }
    node_free(k, n);
}

/* ---- pages ----------------------------------------------------------------------------------- */

void node_drop_pages(struct knode *n)
{
    vec_of(struct kpage *) ready = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&n->pages, &cursor, NULL, &value)) {
        struct kpage *p = value;
        if (p->state == PAGE_READY)
            vec_push(&ready, p);
    }
    for (size_t i = 0; i < ready.count; i++)
        page_free(n, ready.items[i]);
    vec_done(&ready);
    list_each(it, &n->ios)
        container_of(it, struct io, link)->drop = true;
}

bool node_dropping(const struct knode *n)
{
    list_each(it, &n->ios)
        if (container_of(it, struct io, link)->drop)
            return true;
    return false;
}

void call_wait_pages(struct call *c, struct knode *n, void (*step)(struct call *c))
{
    call_hold(c, n);
    c->step = step;
    list_push_back(&n->waiters, &c->wait);
}

void node_wake_waiters(struct kernel *k, struct knode *n)
{
    while (!list_empty(&n->waiters)) {
        struct call *c = container_of(n->waiters.next, struct call, wait);
        list_remove(&c->wait);
        go_on_later(c);
    }
    if (k->notify_data.count && !k->notifier_planned)
        kernel_notify_data(k, 0);
}

/* ---- attributes ------------------------------------------------------------------------------ */

bool node_attr_valid(const struct kernel *k, const struct knode *n, uint32_t mask)
{
    return !(n->invalid & mask) && process_clock(k->process) < n->valid_until;
}

void node_changed_here(struct kernel *k, struct knode *n)
{
    n->attr_version = n->own_version = ++k->attr_version;
}

void node_change_attributes(struct kernel *k, struct knode *n, const struct Fs__Attr *attr,
                            time_us valid, uint64_t version)
{
    if (version != 0 && n->attr_version > version)
        return;
    bool stale = n->size != attr->size || n->mtime != attr->mtime;
    n->size = attr->size;
    n->mtime = attr->mtime;
    n->nlink = attr->nlink;
    n->mode = attr->mode;
    n->invalid = 0;
    n->valid_until = valid ? process_clock(k->process) + valid : 0;
    n->attr_version = ++k->attr_version;
    if (stale && S_ISREG(n->mode))
        node_drop_pages(n);
}

static void on_attributes(struct call *c);

static void ask_attributes(struct call *c)
{
    struct client_op op = {.kind = CLIENT_GETATTR, .ino = c->update_ino, .fh = c->update_fh};
    call_submit(c, &op, on_attributes);
}

static void on_attributes(struct call *c)
{
    struct knode *n = node_find(c->k, c->update_ino);
    if (c->a.err == 0 && !c->update_applied && n->own_version > c->attr_version) {
        ask_attributes(c);
        return;
    }
    if (c->a.err == 0 && !c->update_applied) {
        c->update_applied = true;
        node_change_attributes(c->k, n, &c->a.attr, c->a.attr_valid, c->attr_version);
    }
    if (c->a.err == 0 && node_dropping(n)) {
        call_wait_pages(c, n, on_attributes);
        return;
    }
    c->updated(c);
}

void call_update_attributes(struct call *c, uint64_t ino, uint64_t fh, uint32_t mask,
                            void (*step)(struct call *c))
{
    struct knode *n = node_get(c->k, ino);
    call_hold(c, n);
    c->a.err = 0;
    if (node_attr_valid(c->k, n, mask)) {
        c->update_applied = false;
        step(c);
        return;
    }
    c->update_ino = ino;
    c->update_applied = false;
    c->updated = step;
    c->update_fh = fh;
    ask_attributes(c);
}

/* ---- notifications --------------------------------------------------------------------------- */

void kernel_notify_attr(struct kernel *k, uint64_t ino)
{
    struct knode *n = node_find(k, ino);
    sim_mix(ino, 1);
    sim_trace("m%u notify attr %llu%s", k->process->id, (unsigned long long)ino,
              n ? "" : " ENOENT");
    if (!n)
        return; /* ENOENT */
    n->attr_version = ++k->attr_version;
    n->invalid = INVALID_ALL;
}

/* fuse_reverse_inval_inode() with off=0, on the helper thread: it waits for locked pages, and the
 * inodes behind in its queue wait with it. */
static void notifier_run(void *ctx, uint64_t arg)
{
    struct kernel *k = ctx;
    (void)arg;
    k->notifier_planned = false;
    while (k->notify_data.count) {
        struct knode *n = node_find(k, k->notify_data.items[0]);
        if (n && !k->notifier_began) {
            k->notifier_began = true;
            kernel_notify_attr(k, n->ino);
            node_drop_pages(n);
        }
        if (n && node_dropping(n))
            return; /* the end of the READ wakes it */
        k->notifier_began = false;
        vec_remove(&k->notify_data, 0);
    }
}

/* The helper is a thread of the daemon: it stands still when that does. 0: it goes on. */
void kernel_notify_data(struct kernel *k, uint64_t ino)
{
    if (ino)
        vec_push(&k->notify_data, ino);
    if (k->notifier_planned)
        return;
    k->notifier_planned = true;
    process_at(k->process, sim_now() + 1 + sim_below(RND_KERNEL, NOTIFIER_DELAY_MAX), notifier_run,
               k, 0);
}

void kernel_notify_names(struct kernel *k)
{
    if (k->has_epoch)
        k->epoch++;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct kernel *kernel_new(struct mount *m)
{
    struct kernel *k = xcalloc(1, sizeof *k);
    k->mount = m;
    k->process = mount_process(m);
    k->attr_version = 1;
    k->has_epoch = true;
    map_init(&k->pending);
    map_init(&k->nodes);
    map_init(&k->files);
    map_init(&k->names);
    (void)node_get(k, ROOT);
    kernels[k->process->id] = k;
    return k;
}

/* Whoever has something open or under way is killed: nobody is called back, descriptors are
 * closed. */
void kernel_close_all(struct kernel *k)
{
    size_t cursor = 0;
    void *value;
    vec_of(struct open_file *) files = {0};
    while (map_next(&k->pending, &cursor, NULL, &value)) {
        struct pending *p = value;
        if (p->answered == call_answered)
            container_of(p, struct call, pending)->done = NULL;
    }
    cursor = 0;
    while (map_next(&k->nodes, &cursor, NULL, &value)) {
        struct knode *n = value;
        list_each(it, &n->waiters)
            container_of(it, struct call, wait)->done = NULL;
        list_each(it, &n->lock_waiters)
            container_of(it, struct call, wait)->done = NULL;
    }
    cursor = 0;
    while (map_next(&k->files, &cursor, NULL, &value))
        vec_push(&files, value);
    for (size_t i = 0; i < files.count; i++) {
        files.items[i]->doomed = true;
        if (files.items[i]->calls == 0)
            data_close(k, files.items[i], true);
    }
    vec_done(&files);
}

/* Calls under way: each in `pending` or in an inode's queue, never in both. */
static void free_calls(struct list *head)
{
    while (!list_empty(head))
        call_free(container_of(head->next, struct call, wait));
}

void kernel_free(struct kernel *k)
{
    kernels[k->process->id] = NULL;
    size_t cursor = 0;
    void *value;
    while (map_next(&k->pending, &cursor, NULL, &value)) {
        struct pending *p = value;
        if (p->answered == call_answered)
            call_free(container_of(p, struct call, pending));
        else if (p->answered)
            free(container_of(p, struct io, pending));
        else
            free(p);
    }
    map_done(&k->pending);
    cursor = 0;
    while (map_next(&k->nodes, &cursor, NULL, &value)) {
        free_calls(&((struct knode *)value)->waiters);
        free_calls(&((struct knode *)value)->lock_waiters);
    }
    while (k->nodes.count) {
        cursor = 0;
        (void)map_next(&k->nodes, &cursor, NULL, &value);
        node_free(k, value);
    }
    map_done(&k->nodes);
    names_free(k);
    cursor = 0;
    while (map_next(&k->files, &cursor, NULL, &value))
        free(value);
    map_done(&k->files);
    vec_done(&k->queue);
    vec_done(&k->notify_data);
    free(k);
}
