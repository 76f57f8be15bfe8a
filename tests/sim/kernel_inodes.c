/* The kernel's side of a mount: inodes, their pages in memory, their attributes
 * (fs/fuse/inode.c, dir.c). */
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/sim/kernel_internal.h"

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

void node_free(struct kernel *k, struct knode *n)
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
        call_go_on_later(c);
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

void node_take_attributes(struct kernel *k, struct knode *n, const struct Fs__Attr *attr,
                          time_us valid)
{
    n->mtime = attr->mtime;
    n->atime = attr->atime;
    n->nlink = attr->nlink;
    n->mode = attr->mode;
    n->uid = attr->uid;
    n->invalid = 0;
    n->valid_until = valid ? process_clock(k->process) + valid : 0;
}

void node_change_attributes(struct kernel *k, struct knode *n, const struct Fs__Attr *attr,
                            time_us valid, uint64_t version)
{
    if (version != 0 && n->attr_version > version)
        return;
    bool stale = n->size != attr->size || n->mtime != attr->mtime;
    n->size = attr->size;
    node_take_attributes(k, n, attr, valid);
    n->attr_version = ++k->attr_version;
    if (stale && S_ISREG(n->mode))
        node_drop_pages(n);
}

void call_tell_attributes(struct call *c)
{
    const struct knode *n = node_find(c->k, c->ino);
    const struct Fs__Attr *a = c->update_applied ? &c->a.attr : NULL;
    c->result.ino = c->ino;
    c->result.size = a ? a->size : n->size;
    c->result.nlink = a ? a->nlink : n->nlink;
    c->result.mtime = a ? a->mtime : n->mtime;
    c->result.atime = a ? a->atime : n->atime;
    c->result.mode = a ? a->mode : n->mode;
    c->result.uid = a ? a->uid : n->uid;
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
