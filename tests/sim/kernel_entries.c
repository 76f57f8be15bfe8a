/* The kernel's side of a mount: system calls that make, remove and rename (fs/fuse/dir.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/kernel_internal.h"

#define RENAME_NOREPLACE_FLAG 1u

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
    struct knode *n = names_take_entry(c, c->last, 0);
    names_dir_changed(c->k, c->dir);
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
        names_dir_changed(c->k, c->dir);
        entry_unlinked(c->k, c->dir, c->last, c->ino);
    } else if (err == EINTR || err == ENOENT) {
        dentry_drop(c->k, c->dir, c->last);
    }
    call_end(c, err);
}

static void remove_again(struct call *c);

static void remove_looked(struct call *c)
{
    bool rmdir = c->flags != 0;
    const struct knode *n = c->ino ? node_find(c->k, c->ino) : NULL;
    if (!n || S_ISDIR(n->mode) != rmdir) {
        call_end(c, !n ? ENOENT : rmdir ? ENOTDIR : EISDIR);
        return;
    }
    if (rmdir && !call_lock_now(c, c->ino)) {
        call_unlock(c);
        call_lock(c, c->ino, remove_again);
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

/* vfs_rmdir() owns its victim's lock too: nothing is made, linked or moved there meanwhile. Here it
 * waits for that without the directory's, and looks again. */
static void remove_again(struct call *c)
{
    call_unlock(c);
    remove_in(c);
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
        names_dir_changed(k, c->from_dir);
        names_dir_changed(k, c->dir);
        if (c->ino)
            entry_unlinked(k, c->dir, c->last, c->ino);
        move_dentry(c);
        c->result.value = c->a.nothing_done;
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
        c->result.value = err == 0; /* nothing was done */
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
