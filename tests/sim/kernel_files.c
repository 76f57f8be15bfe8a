/* The kernel's side of a mount: open files (fs/fuse/file.c). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/core/state.h"
#include "tests/sim/kernel_internal.h"

/* ---- descriptors ------------------------------------------------------------------------------
 */

struct open_file *call_file(struct call *c)
{
    struct open_file *f = map_get(&c->k->files, c->fd);
    assert(f);
    return f;
}

static struct knode *node_of(struct call *c)
{
    return node_find(c->k, call_file(c)->ino);
}

/* A call on a descriptor, whose inode it holds. */
struct call *call_on_file(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    struct call *c = call_new(k, done, ctx);
    c->fd = fd;
    c->ino = call_file(c)->ino;
    call_file(c)->calls++;
    call_hold(c, node_of(c));
    c->result.ino = c->ino;
    return c;
}

/* ---- open, close ----------------------------------------------------------------------------- */

/* fuse_finish_open() */
struct open_file *data_new_file(struct call *c, uint64_t ino)
{
    struct kernel *k = c->k;
    struct knode *n = node_get(k, ino);
    struct open_file *f = xmalloc(sizeof *f);
    *f = (struct open_file){
        .fd = ++k->next_fd, .ino = ino, .fh = c->a.fh, .flags = c->flags, .direct = c->a.direct_io};
    (void)map_put(&k->files, f->fd, f);
    n->opens++;
    if (!c->done) { /* nobody will ever close it */
        f->doomed = true;
        f->calls = 1;
        c->fd = f->fd;
    }
    if (!c->a.keep_cache && !c->a.direct_io)
        node_drop_pages(n);
    c->result.value = f->fd;
    c->result.ino = ino;
    return f;
}

static void end_open(struct call *c)
{
    call_end(c, 0);
}

static void opened(struct call *c)
{
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    (void)data_new_file(c, c->ino);
    struct knode *n = node_find(c->k, c->ino);
    if (node_dropping(n))
        call_wait_pages(c, n, end_open);
    else
        end_open(c);
}

void data_open(struct call *c)
{
    call_hold(c, node_get(c->k, c->ino));
    struct client_op op = {
        .kind = CLIENT_OPEN, .ino = c->ino, .flags = (uint32_t)(c->flags & ~(O_CREAT | O_EXCL))};
    call_submit(c, &op, opened);
}

void data_close(struct kernel *k, struct open_file *f, bool flush)
{
    struct knode *n = node_find(k, f->ino);
    struct client_op op = {
        .kind = CLIENT_FLUSH, .ino = f->ino, .fh = f->fh, .lock = {.owner = f->lock_owner}};
    if (flush)
        kernel_submit_silent(k, &op);
    op.kind = CLIENT_RELEASE;
    kernel_submit_silent(k, &op);
    (void)map_del(&k->files, f->fd);
    free(f);
    n->opens--;
    node_settle(k, n);
}

static void flushed(struct call *c)
{
    int err = c->a.err;
    data_close(c->k, call_file(c), false);
    c->fd = 0;
    call_end(c, err);
}

void sys_close(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    const struct open_file *f = call_file(c);
    struct client_op op = {
        .kind = CLIENT_FLUSH, .ino = c->ino, .fh = f->fh, .lock = {.owner = f->lock_owner}};
    call_submit(c, &op, flushed);
}

/* ---- fsync, truncate, fstat ------------------------------------------------------------------ */

static void end_with_answer(struct call *c)
{
    call_end(c, c->a.err);
}

static void fsync_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_FSYNC, .ino = c->ino, .fh = call_file(c)->fh};
    call_submit(c, &op, end_with_answer);
}

static void fsync_lock(struct call *c)
{
    call_lock(c, c->ino, fsync_locked);
}

void sys_fsync(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    call_wake(call_on_file(k, fd, done, ctx), fsync_lock);
}

static void end_ok(struct call *c)
{
    call_end(c, 0);
}

/* fuse_do_setattr(): its attributes count whatever was notified meanwhile. */
static void attributes_set(struct call *c)
{
    struct knode *n = node_find(c->k, c->ino);
    if (c->a.err) {
        call_end(c, c->a.err);
        return;
    }
    uint64_t before = n->size;
    node_take_attributes(c->k, n, &c->a.attr, c->a.attr_valid);
    node_changed_here(c->k, n);
    n->size = c->a.attr.size;
    if (before != n->size)
        node_drop_pages(n);
    if (node_dropping(n))
        call_wait_pages(c, n, end_ok);
    else
        end_ok(c);
}

static void truncate_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_SETATTR,
                           .ino = c->ino,
                           .fh = call_file(c)->fh,
                           .set = CLIENT_SET_SIZE | FS_SETATTR_MTIME_NOW,
                           .kill_setid = true,
                           .size = c->size};
    call_submit(c, &op, attributes_set);
}

static void truncate_lock(struct call *c)
{
    call_lock(c, c->ino, truncate_locked);
}

void sys_ftruncate(struct kernel *k, uint64_t fd, uint64_t size, sys_done *done, void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->size = size;
    call_wake(c, truncate_lock);
}

/* notify_change(). fchmod(2) names no descriptor: ATTR_FILE is ftruncate(2)'s. */
static void set_locked(struct call *c)
{
    struct client_op op = {.kind = CLIENT_SETATTR,
                           .ino = c->ino,
                           .set = c->attr.set,
                           .mode = c->attr.mode,
                           .uid = c->attr.uid,
                           .atime = c->attr.atime,
                           .mtime = c->attr.mtime};
    c->result.ino = c->ino;
    call_submit(c, &op, attributes_set);
}

static void set_lock(struct call *c)
{
    if (c->ino == 0)
        call_end(c, ENOENT);
    else
        call_lock(c, c->ino, set_locked);
}

static void set_begin(struct call *c)
{
    names_walk(c, c->path, set_lock);
}

void sys_fsetattr(struct kernel *k, uint64_t fd, const struct sys_attr *attr, sys_done *done,
                  void *ctx)
{
    struct call *c = call_on_file(k, fd, done, ctx);
    c->attr = *attr;
    call_wake(c, set_lock);
}

void sys_setattr(struct kernel *k, const char *path, const struct sys_attr *attr, sys_done *done,
                 void *ctx)
{
    call_on_path(k, path, NULL, done, ctx, set_begin)->attr = *attr;
}

static void fstat_end(struct call *c)
{
    call_tell_attributes(c);
    call_end(c, c->a.err);
}

static void fstat_begin(struct call *c)
{
    call_update_attributes(c, c->ino, 0, INVALID_ALL, fstat_end);
}

void sys_fstat(struct kernel *k, uint64_t fd, sys_done *done, void *ctx)
{
    call_wake(call_on_file(k, fd, done, ctx), fstat_begin);
}
