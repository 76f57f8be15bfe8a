/* The kernel's side of a mount: its requests and their answers, notifications, life. */
#include "tests/sim/kernel.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

struct kernel *kernel_of(uint32_t process)
{
    return kernels[process];
}

/* ---- requests -------------------------------------------------------------------------------- */

uint64_t kernel_new_id(struct kernel *k)
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
    p->id = kernel_new_id(k);
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
    if (!p || !p->sent)
        return;
    if (p->op.kind == CLIENT_SETLK)
        mount_interrupt(k->mount, id);
    else
        mount_cancel(k->mount, id);
}

static void deliver_kill(void *ctx, uint64_t id)
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
        if (p->answered == call_answered && p->sent && p->op.kind == CLIENT_SETLK)
            process_at(k->process, sim_now() + REQUEST_DELAY, deliver_kill, k, p->id);
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
    while (k->stood_in.count)
        sys_leave(k, k->stood_in.items[0]);
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
    vec_done(&k->stood_in);
    vec_done(&k->notify_data);
    free(k);
}
