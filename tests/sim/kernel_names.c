/* The kernel's side of a mount: path walk, names, directories (fs/fuse/dir.c, readdir.c). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "repl/base/hash.h"
#include "tests/sim/kernel_internal.h"

#define RENAME_NOREPLACE_FLAG 1u

enum {
    EVICT_PM = 3000, /* a name is gone from memory when it is looked for */
    XATTR_SPACE = 256,
};

/* ---- the name cache -------------------------------------------------------------------------- */

static uint64_t dentry_key(uint64_t dir, const char *name)
{
    return hash64_seed(name, strlen(name), dir);
}

static struct dentry *dentry_find(const struct kernel *k, uint64_t dir, const char *name)
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

static void dentry_drop(struct kernel *k, uint64_t dir, const char *name)
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
static void dir_changed(struct kernel *k, uint64_t dir)
{
    struct knode *n = node_get(k, dir);
    n->invalid = INVALID_ALL;
}

/* An entry of an answer: one more look-up of its inode. */
static struct knode *take_entry(struct call *c, const char *name, uint64_t version)
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
        struct knode *n = take_entry(c, c->last, c->attr_version);
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

static struct call *call_on_path(struct kernel *k, const char *path, const char *path2,
                                 sys_done *done, void *ctx, void (*begin)(struct call *c))
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

/* ---- making things --------------------------------------------------------------------------- */

static void lock_dir_then(struct call *c, void (*step)(struct call *c))
{
    call_lock(c, c->dir, step);
}

/* create_new_entry(), fuse_create_open(): these attributes count whatever was notified meanwhile.
 */
static void made(struct call *c)
{
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    struct knode *n = take_entry(c, c->last, 0);
    dir_changed(c->k, c->dir);
    c->result.ino = n->ino;
    if (c->mode && S_ISREG(c->mode))
        (void)data_new_file(c, n->ino);
    call_end(c, 0);
}

static void make(struct call *c)
{
    struct client_op op = {.kind = CLIENT_MAKE,
                           .parent = c->dir,
                           .name = c->last,
                           .mode = c->mode,
                           .flags = (uint32_t)c->flags,
                           .open = S_ISREG(c->mode),
                           .data = c->data};
    call_submit(c, &op, made);
}

static void make_looked(struct call *c)
{
    if (c->ino == 0) {
        make(c);
    } else if (!S_ISREG(c->mode) || (c->flags & O_EXCL)) {
        call_end(c, EEXIST);
    } else {
        call_unlock(c);
        data_open(c);
    }
}

static void make_locked(struct call *c)
{
    c->reval_last = !S_ISREG(c->mode) || (c->flags & O_EXCL);
    names_last(c, make_looked);
}

static void make_in(struct call *c)
{
    lock_dir_then(c, make_locked);
}

static void make_begin(struct call *c)
{
    c->reval_last = false;
    names_parent(c, c->path, make_in);
}

static void open_walked(struct call *c)
{
    if (c->ino == 0)
        call_end(c, ENOENT);
    else
        data_open(c);
}

static void open_begin(struct call *c)
{
    names_walk(c, c->path, open_walked);
}

void sys_open(struct kernel *k, const char *path, int flags, uint32_t mode, sys_done *done,
              void *ctx)
{
    struct call *c =
        call_on_path(k, path, NULL, done, ctx, flags & O_CREAT ? make_begin : open_begin);
    c->flags = flags;
    c->mode = S_IFREG | mode;
}

void sys_mkdir(struct kernel *k, const char *path, uint32_t mode, sys_done *done, void *ctx)
{
    call_on_path(k, path, NULL, done, ctx, make_begin)->mode = S_IFDIR | mode;
}

void sys_symlink(struct kernel *k, const char *target, const char *path, sys_done *done, void *ctx)
{
    struct call *c = call_on_path(k, path, NULL, done, ctx, make_begin);
    c->mode = S_IFLNK | 0777;
    c->data = blob_copy(target, strlen(target));
}

/* ---- removing -------------------------------------------------------------------------------- */

/* fuse_entry_unlinked() */
static void entry_unlinked(struct kernel *k, uint64_t dir, const char *name, uint64_t ino)
{
    struct knode *n = node_find(k, ino);
    if (n) {
        node_changed_here(k, n);
        n->nlink -= n->nlink > 0;
        n->invalid |= INVALID_OTHER;
    }
    dentry_drop(k, dir, name);
}

static void removed(struct call *c)
{
    int err = c->a.err;
    if (err == 0) {
        dir_changed(c->k, c->dir);
        entry_unlinked(c->k, c->dir, c->last, c->ino);
    } else if (err == EINTR || err == ENOENT) {
        dentry_drop(c->k, c->dir, c->last);
    }
    call_end(c, err);
}

static void remove_looked(struct call *c)
{
    bool rmdir = c->flags != 0;
    const struct knode *n = c->ino ? node_find(c->k, c->ino) : NULL;
    if (!n || S_ISDIR(n->mode) != rmdir) {
        call_end(c, !n ? ENOENT : rmdir ? ENOTDIR : EISDIR);
        return;
    }
    c->result.ino = c->ino;
    struct client_op op = {
        .kind = rmdir ? CLIENT_RMDIR : CLIENT_UNLINK, .parent = c->dir, .name = c->last};
    call_submit(c, &op, removed);
}

static void remove_locked(struct call *c)
{
    names_last(c, remove_looked);
}

static void remove_in(struct call *c)
{
    lock_dir_then(c, remove_locked);
}

static void remove_begin(struct call *c)
{
    names_parent(c, c->path, remove_in);
}

void sys_unlink(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, NULL, done, ctx, remove_begin);
}

void sys_rmdir(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    call_on_path(k, path, NULL, done, ctx, remove_begin)->flags = 1;
}

/* ---- rename, link ---------------------------------------------------------------------------- */

/* d_move() takes the validity along. */
static void move_dentry(struct call *c)
{
    struct kernel *k = c->k;
    const struct dentry *d = dentry_find(k, c->from_dir, c->from_last);
    time_us now = process_clock(k->process);
    time_us valid = d && d->valid_until > now ? d->valid_until - now : 0;
    uint64_t epoch = d ? d->epoch : 0;
    names_learn(k, c->dir, c->last, c->from_ino, valid, epoch);
    dentry_drop(k, c->from_dir, c->from_last);
}

static void renamed(struct call *c)
{
    struct kernel *k = c->k;
    int err = c->a.err;
    if (err == 0) {
        struct knode *n = node_find(k, c->from_ino);
        n->invalid |= INVALID_OTHER;
        dir_changed(k, c->from_dir);
        dir_changed(k, c->dir);
        if (c->ino)
            entry_unlinked(k, c->dir, c->last, c->ino);
        move_dentry(c);
    } else if (err == EINTR || err == ENOENT) {
        dentry_drop(k, c->from_dir, c->from_last);
        dentry_drop(k, c->dir, c->last);
    }
    call_end(c, err);
}

static int rename_refused(const struct call *c)
{
    if (c->ino == 0)
        return 0;
    bool dir = S_ISDIR(node_find(c->k, c->from_ino)->mode);
    bool onto_dir = S_ISDIR(node_find(c->k, c->ino)->mode);
    if (c->flags & (int)RENAME_NOREPLACE_FLAG)
        return EEXIST;
    return dir && !onto_dir ? ENOTDIR : !dir && onto_dir ? EISDIR : 0;
}

static void rename_looked(struct call *c)
{
    int err = rename_refused(c);
    if (err || c->ino == c->from_ino) {
        call_end(c, err);
        return;
    }
    c->result.ino = c->from_ino;
    struct client_op op = {.kind = CLIENT_RENAME,
                           .parent = c->from_dir,
                           .name = c->from_last,
                           .newparent = c->dir,
                           .newname = c->last,
                           .flags = (uint32_t)c->flags};
    call_submit(c, &op, renamed);
}

/* The first name is known; c->dir and c->last are to be those of the second. */
static void rename_second(struct call *c)
{
    if (c->ino == 0) {
        call_end(c, ENOENT);
        return;
    }
    c->from_ino = c->ino;
    (void)snprintf(c->last, sizeof c->last, "%s", c->to_last);
    c->dir = c->to_dir;
    c->reval_last = true;
    names_last(c, rename_looked);
}

static void rename_locked(struct call *c)
{
    (void)snprintf(c->last, sizeof c->last, "%s", c->from_last);
    c->dir = c->from_dir;
    names_last(c, rename_second);
}

static void rename_lock_second(struct call *c)
{
    call_lock(c, c->from_dir > c->to_dir ? c->from_dir : c->to_dir, rename_locked);
}

static void rename_in(struct call *c)
{
    c->to_dir = c->dir;
    (void)snprintf(c->to_last, sizeof c->to_last, "%s", c->last);
    call_lock(c, c->from_dir < c->to_dir ? c->from_dir : c->to_dir, rename_lock_second);
}

static void rename_from(struct call *c)
{
    c->from_dir = c->dir;
    (void)snprintf(c->from_last, sizeof c->from_last, "%s", c->last);
    call_hold(c, node_find(c->k, c->dir));
    names_parent(c, c->path2, rename_in);
}

static void rename_begin(struct call *c)
{
    c->reval_last = false;
    names_parent(c, c->path, rename_from);
}

void sys_rename(struct kernel *k, const char *from, const char *to, uint32_t flags, sys_done *done,
                void *ctx)
{
    call_on_path(k, from, to, done, ctx, rename_begin)->flags = (int)flags;
}

static void link_looked(struct call *c)
{
    if (c->ino) {
        call_end(c, EEXIST);
        return;
    }
    struct client_op op = {
        .kind = CLIENT_LINK, .ino = c->from_ino, .newparent = c->dir, .newname = c->last};
    call_submit(c, &op, made);
}

static void link_locked(struct call *c)
{
    c->reval_last = true;
    names_last(c, link_looked);
}

static void link_in(struct call *c)
{
    lock_dir_then(c, link_locked);
}

static void link_walked(struct call *c)
{
    if (c->ino == 0 || S_ISDIR(node_find(c->k, c->ino)->mode)) {
        call_end(c, c->ino ? EPERM : ENOENT);
        return;
    }
    c->from_ino = c->ino;
    names_parent(c, c->path2, link_in);
}

static void link_begin(struct call *c)
{
    c->reval_last = false;
    names_walk(c, c->path, link_walked);
}

void sys_link(struct kernel *k, const char *from, const char *to, sys_done *done, void *ctx)
{
    (void)call_on_path(k, from, to, done, ctx, link_begin);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void stat_end(struct call *c)
{
    const struct knode *n = node_find(c->k, c->ino);
    bool asked = c->update_applied;
    c->result.ino = c->ino;
    c->result.size = asked ? c->a.attr.size : n->size;
    c->result.nlink = asked ? c->a.attr.nlink : n->nlink;
    c->result.mtime = asked ? c->a.attr.mtime : n->mtime;
    c->result.mode = asked ? c->a.attr.mode : n->mode;
    call_end(c, c->a.err);
}

static void stat_walked(struct call *c)
{
    if (c->ino == 0)
        call_end(c, ENOENT);
    else
        call_update_attributes(c, c->ino, 0, INVALID_ALL, stat_end);
}

static void stat_begin(struct call *c)
{
    names_walk(c, c->path, stat_walked);
}

void sys_stat(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, NULL, done, ctx, stat_begin);
}

static void end_with_data(struct call *c)
{
    c->result.data = blob_ref(c->a.data);
    c->result.ino = c->ino;
    if (c->a.err == 0 && c->data)
        node_find(c->k, c->ino)->invalid |= INVALID_OTHER; /* SETXATTR: fuse_update_ctime() */
    call_end(c, c->a.err);
}

static void ask_walked(struct call *c)
{
    if (c->ino == 0) {
        call_end(c, ENOENT);
        return;
    }
    struct client_op op = {.kind = c->data       ? CLIENT_SETXATTR
                                   : c->path2[0] ? CLIENT_GETXATTR
                                                 : CLIENT_READLINK,
                           .ino = c->ino,
                           .name = c->path2[0] ? c->path2 : NULL,
                           .data = c->data,
                           .size = c->data ? c->data->size : XATTR_SPACE};
    call_submit(c, &op, end_with_data);
}

static void ask_begin(struct call *c)
{
    names_walk(c, c->path, ask_walked);
}

void sys_readlink(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, NULL, done, ctx, ask_begin);
}

void sys_setxattr(struct kernel *k, const char *path, const char *name, struct blob *data,
                  sys_done *done, void *ctx)
{
    call_on_path(k, path, name, done, ctx, ask_begin)->data = blob_ref(data);
}

void sys_getxattr(struct kernel *k, const char *path, const char *name, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, name, done, ctx, ask_begin);
}

/* ---- listings -------------------------------------------------------------------------------- */

/* The kernel keeps no listings (fs/fuse/ops_dir.c). */
static void list_page(struct call *c);

/* fuse_direntplus_link() */
static void link_entry(struct call *c, const struct kentry *e)
{
    struct kernel *k = c->k;
    struct knode *n = node_get(k, e->ino);
    n->nlookup++;
    names_learn(k, c->ino, e->name, e->ino, e->entry_valid, c->epoch);
    node_change_attributes(k, n, &e->attr, e->attr_valid, c->attr_version);
}

static void listed(struct call *c)
{
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    c->result.value++;
    for (size_t i = 0; i < c->a.entries.count; i++) {
        const struct kentry *e = &c->a.entries.items[i];
        vec_push(&c->names, xstrdup(e->name));
        c->cookie = e->cookie;
        if (e->has_attr)
            link_entry(c, e);
    }
    call_unlock_shared(c);
    if (c->a.entries.count) {
        list_page(c);
        return;
    }
    call_end(c, 0);
}

static void list_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_READDIR,
                           .ino = c->ino,
                           .offset = c->cookie,
                           .size = sim_between(RND_KERNEL, 3, 40),
                           .plus = sim_chance(RND_KERNEL, 500000)};
    call_submit(c, &op, listed);
}

/* iterate_shared() */
static void list_page(struct call *c)
{
    call_lock_shared(c, c->ino, list_locked);
}

static void list_walked(struct call *c)
{
    if (c->ino == 0) {
        call_end(c, ENOENT);
        return;
    }
    c->cookie = 0;
    list_page(c);
}

static void list_begin(struct call *c)
{
    names_walk(c, c->path, list_walked);
}

void sys_readdir(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, NULL, done, ctx, list_begin);
}
