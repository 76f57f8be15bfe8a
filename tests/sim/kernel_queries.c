/* The kernel's side of a mount: stat(2), links, extended attributes, listings
 * (fs/fuse/dir.c, readdir.c). */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/sim/kernel_internal.h"

enum { XATTR_SPACE = 256 };

/* ---- asking ---------------------------------------------------------------------------------- */

static void stat_end(struct call *c)
{
    call_tell_attributes(c);
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

/* ---- directories that somebody stands in ----------------------------------------------------- */

static void stand_walked(struct call *c)
{
    struct knode *n = c->ino ? node_find(c->k, c->ino) : NULL;
    bool there = n && S_ISDIR(n->mode);
    if (there && c->done) {
        n->busy++;
        vec_push(&c->k->stood_in, n->ino);
        c->result.ino = n->ino;
    }
    call_end(c, there ? 0 : n ? ENOTDIR : ENOENT);
}

static void stand_begin(struct call *c)
{
    names_walk(c, c->path, stand_walked);
}

void sys_stand(struct kernel *k, const char *path, sys_done *done, void *ctx)
{
    (void)call_on_path(k, path, NULL, done, ctx, stand_begin);
}

static void stat_here(struct call *c)
{
    call_update_attributes(c, c->ino, 0, INVALID_ALL, stat_end);
}

void sys_stat_here(struct kernel *k, uint64_t ino, sys_done *done, void *ctx)
{
    struct call *c = call_new(k, done, ctx);
    c->ino = ino;
    call_hold(c, node_find(k, ino));
    call_wake(c, stat_here);
}

void sys_leave(struct kernel *k, uint64_t ino)
{
    for (size_t i = 0; i < k->stood_in.count; i++) {
        if (k->stood_in.items[i] != ino)
            continue;
        vec_remove(&k->stood_in, i);
        struct knode *n = node_find(k, ino);
        n->busy--;
        node_settle(k, n);
        return;
    }
}

/* ---- extended attributes, links -------------------------------------------------------------- */

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

static struct call *ask_file(struct kernel *k, uint64_t fd, const char *name, sys_done *done,
                             void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    (void)snprintf(c->path2, sizeof c->path2, "%s", name);
    call_wake(c, ask_walked);
    return c;
}

void sys_fsetxattr(struct kernel *k, uint64_t fd, const char *name, struct blob *data,
                   sys_done *done, void *ctx)
{
    ask_file(k, fd, name, done, ctx)->data = blob_ref(data);
}

void sys_fgetxattr(struct kernel *k, uint64_t fd, const char *name, sys_done *done, void *ctx)
{
    (void)ask_file(k, fd, name, done, ctx);
}

/* ---- listings -------------------------------------------------------------------------------- */

enum { LATE_MAX = 40000 }; /* us */

/* The kernel keeps no listings (fs/fuse/ops_dir.c). */
static void list_page(struct call *c);

/* fuse_direntplus_link() */
static void link_entry(struct call *c, const struct kentry *e)
{
    struct kernel *k = c->k;
    struct knode *n = node_get(k, e->ino);
    n->nlookup++;
    names_learn(k, c->ino, e->name, e->ino, e->entry_valid,
                k->epoch); /* of now, not of when it asked */
    node_change_attributes(k, n, &e->attr, e->attr_valid, c->attr_version);
}

/* close(2) */
static void list_end(struct call *c, int err)
{
    struct client_op op = {.kind = CLIENT_RELEASEDIR, .fh = c->listing};
    kernel_submit_silent(c->k, &op);
    call_end(c, err);
}

/* Between two pages, or before it closes, the program may do something else. */
static void list_next(struct call *c)
{
    if (c->a.entries.count)
        list_page(c);
    else
        list_end(c, 0);
}

static void listed(struct call *c)
{
    if (c->a.err) {
        list_end(c, c->a.err);
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
    if (sim_swarm()->late_lists && sim_below(RND_LISTS, 8) == 0)
        call_wake_at(c, sim_now() + sim_between(RND_LISTS, 1000, LATE_MAX), list_next);
    else
        list_next(c);
}

/* Whoever lists may have to wait for a processor with the answer in hand. */
static void list_answered(struct call *c)
{
    if (sim_swarm()->late_lists && sim_below(RND_LISTS, 8) == 0)
        call_wake_at(c, sim_now() + sim_between(RND_LISTS, 1000, LATE_MAX), listed);
    else
        listed(c);
}

static void list_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_READDIR,
                           .ino = c->ino,
                           .fh = c->listing,
                           .offset = c->cookie,
                           .size = sim_between(RND_KERNEL, 3, 40),
                           .plus = sim_chance(RND_KERNEL, 500000)};
    call_submit(c, &op, list_answered);
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
    c->listing = ++c->k->next_listing;
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
