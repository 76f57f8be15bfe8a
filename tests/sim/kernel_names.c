/* The kernel's side of a mount: names in memory and the path walk (fs/fuse/dir.c, fs/namei.c). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "repl/base/hash.h"
#include "tests/sim/kernel_internal.h"

enum { EVICT_PM = 3000 /* a name is gone from memory when it is looked for */ };

/* ---- the name cache -------------------------------------------------------------------------- */

static uint64_t dentry_key(uint64_t dir, const char *name)
{
    return hash64_seed(name, strlen(name), dir);
}

struct dentry *dentry_find(const struct kernel *k, uint64_t dir, const char *name)
{
    struct dentry *d = map_get(&k->names, dentry_key(dir, name));
    assert(!d || (d->dir == dir && strcmp(d->name, name) == 0)); /* 64 bits don't collide here */
    return d;
}

static void unpin(struct kernel *k, uint64_t ino, bool as_parent)
{
    struct knode *n = ino ? node_find(k, ino) : NULL;
    if (!n)
        return;
    if (as_parent)
        n->busy--;
    else
        n->names--;
    node_settle(k, n);
}

void dentry_drop(struct kernel *k, uint64_t dir, const char *name)
{
    struct dentry *d = dentry_find(k, dir, name);
    if (!d)
        return;
    (void)map_del(&k->names, dentry_key(dir, name));
    uint64_t ino = d->ino;
    free(d);
    unpin(k, ino, false);
    unpin(k, dir, true);
}

void names_learn(struct kernel *k, uint64_t dir, const char *name, uint64_t ino, time_us valid,
                 uint64_t epoch)
{
    struct dentry *d = dentry_find(k, dir, name);
    if (!d) {
        d = xcalloc(1, sizeof *d);
        d->dir = dir;
        d->serial = ++k->next_dentry;
        (void)snprintf(d->name, sizeof d->name, "%s", name);
        (void)map_put(&k->names, dentry_key(dir, name), d);
        node_get(k, dir)->busy++;
    }
    uint64_t before = d->ino;
    if (ino)
        node_get(k, ino)->names++;
    d->ino = ino;
    d->valid_until = valid ? process_clock(k->process) + valid : 0;
    d->epoch = epoch;
    unpin(k, before, false);
}

void names_free(struct kernel *k)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&k->names, &cursor, NULL, &value))
        free(value);
    map_done(&k->names);
}

/* fuse_dir_changed() */
void names_dir_changed(struct kernel *k, uint64_t dir)
{
    struct knode *n = node_get(k, dir);
    n->invalid = INVALID_ALL;
}

/* An entry of an answer: one more look-up of its inode. */
struct knode *names_take_entry(struct call *c, const char *name, uint64_t version)
{
    struct kernel *k = c->k;
    struct knode *n = node_get(k, c->a.attr.ino);
    n->nlookup++;
    names_learn(k, c->dir, name, n->ino, c->a.entry_valid, c->epoch);
    node_change_attributes(k, n, &c->a.attr, c->a.attr_valid, version);
    return n;
}

/* ---- path walk ------------------------------------------------------------------------------- */

static void walked_last(struct call *c)
{
    c->walked(c);
}

/* The walk goes on with `n`, whose pages may have to go first. */
static void go_on_with(struct call *c, struct knode *n)
{
    c->ino = n->ino;
    call_hold(c, n);
    if (node_dropping(n))
        call_wait_pages(c, n, walked_last);
    else
        c->walked(c);
}

/* fuse_lookup(), under the directory's lock until the name is known: so no answer from before a
 * local change of the directory is taken in after it. */
static void looked_up(struct call *c)
{
    c->ino = 0;
    if (c->a.err == 0) {
        struct knode *n = names_take_entry(c, c->last, c->attr_version);
        call_unlock_shared(c);
        go_on_with(c, n);
    } else if (c->a.err == ENOENT) {
        names_learn(c->k, c->dir, c->last, 0, c->a.entry_valid, c->epoch);
        call_unlock_shared(c);
        c->walked(c);
    } else {
        call_end(c, c->a.err);
    }
}

static void submit_lookup(struct call *c, void (*step)(struct call *c))
{
    struct client_op op = {.kind = CLIENT_LOOKUP, .parent = c->dir, .name = c->last};
    call_hold(c, node_get(c->k, c->dir));
    call_submit(c, &op, step);
}

static void lookup_locked(struct call *c)
{
    submit_lookup(c, looked_up);
}

/* lookup_slow(); whoever changes the directory owns its lock already. */
static void lookup_slow(struct call *c)
{
    if (call_owns(c, c->dir))
        lookup_locked(c);
    else
        call_lock_shared(c, c->dir, lookup_locked);
}

/* fuse_dentry_revalidate(), without a lock: a name that is gone or another one by now does not come
 * back by the answer. */
static void revalidated(struct call *c)
{
    struct kernel *k = c->k;
    struct dentry *d = dentry_find(k, c->dir, c->last);
    bool same = d && d->serial == c->dentry;
    if (c->a.err == EINTR) {
        call_end(c, EINTR);
        return;
    }
    if (c->a.err || (same && c->a.attr.ino != d->ino)) {
        if (!c->a.err) { /* fuse_queue_forget() */
            struct client_op op = {.kind = CLIENT_FORGET, .ino = c->a.attr.ino, .nlookup = 1};
            kernel_submit_silent(k, &op);
        }
        if (same)
            dentry_drop(k, c->dir, c->last);
        lookup_slow(c);
        return;
    }
    struct knode *n = node_get(k, c->a.attr.ino);
    n->nlookup++;
    node_change_attributes(k, n, &c->a.attr, c->a.attr_valid, c->attr_version);
    if (same)
        d->valid_until = c->a.entry_valid ? process_clock(k->process) + c->a.entry_valid : 0;
    go_on_with(c, n);
}

/* The name as it may be used, or asked for; NULL: it is not in memory. */
static const struct dentry *in_memory(struct call *c, bool again)
{
    struct kernel *k = c->k;
    const struct dentry *d = dentry_find(k, c->dir, c->last);
    if (!d)
        return NULL;
    bool valid = !again && process_clock(k->process) < d->valid_until;
    if (d->epoch >= k->epoch && (valid || d->ino) && !sim_chance(RND_KERNEL, EVICT_PM))
        return d;
    dentry_drop(k, c->dir, c->last);
    return NULL;
}

/* lookup_fast(), lookup_slow() */
void names_last(struct call *c, void (*walked)(struct call *c))
{
    struct kernel *k = c->k;
    bool again = c->reval || c->reval_last;
    c->walked = walked;
    const struct dentry *d = in_memory(c, again);
    if (!d) {
        lookup_slow(c);
    } else if (again || process_clock(k->process) >= d->valid_until) {
        c->dentry = d->serial;
        submit_lookup(c, revalidated);
    } else {
        c->ino = d->ino;
        if (d->ino)
            call_hold(c, node_find(k, d->ino));
        walked(c);
    }
}

/* Splits the next component off; false: it was the last one. */
static bool next_component(struct call *c)
{
    while (*c->rest == '/')
        c->rest++;
    size_t n = strcspn(c->rest, "/");
    assert(n < sizeof c->last);
    memcpy(c->last, c->rest, n);
    c->last[n] = '\0';
    c->rest += n;
    return *c->rest != '\0';
}

static void parent_next(struct call *c);

static void parent_found(struct call *c)
{
    if (c->ino == 0) {
        call_end(c, ENOENT);
        return;
    }
    if (!S_ISDIR(node_find(c->k, c->ino)->mode)) {
        call_end(c, ENOTDIR);
        return;
    }
    c->dir = c->ino;
    parent_next(c);
}

static void parent_next(struct call *c)
{
    if (next_component(c))
        names_last(c, parent_found);
    else
        c->parent_walked(c);
}

void names_parent(struct call *c, const char *path, void (*walked)(struct call *c))
{
    c->rest = path;
    c->dir = ROOT;
    c->parent_walked = walked;
    parent_next(c);
}

static void walk_last(struct call *c)
{
    if (c->last[0]) {
        names_last(c, c->whole_walked);
        return;
    }
    c->ino = ROOT; /* "/" */
    c->whole_walked(c);
}

void names_walk(struct call *c, const char *path, void (*walked)(struct call *c))
{
    c->whole_walked = walked;
    names_parent(c, path, walk_last);
}

struct call *call_on_path(struct kernel *k, const char *path, const char *path2, sys_done *done,
                          void *ctx, void (*begin)(struct call *c))
{
    struct call *c = call_new(k, done, ctx);
    assert(strlen(path) < sizeof c->path && (!path2 || strlen(path2) < sizeof c->path2));
    (void)snprintf(c->path, sizeof c->path, "%s", path);
    if (path2)
        (void)snprintf(c->path2, sizeof c->path2, "%s", path2);
    c->restart = begin;
    call_wake(c, begin);
    return c;
}
