#include "fs/client/op.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

#define NAME_BYTES_MAX 255u

struct op *op_find(struct client *c, uint64_t id)
{
    return map_get(&c->ops_by_id, id);
}

/* Operations on an inode that only the leader can do, and so behind what was done here. */
static bool waits_for_queue(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    enum client_op_kind kind = op->a.kind;
    bool asks = kind == CLIENT_READLINK || kind == CLIENT_SEEK || kind == CLIENT_SETLK ||
                kind == CLIENT_GETLK;
    return asks && i != NULL && !queue_wait(c, op, i->last_q);
}

void op_run(struct client *c, struct op *op)
{
    if (waits_for_queue(c, op)) {
        return;
    }
    switch (op->a.kind) {
    case CLIENT_LOOKUP:
        op_lookup(c, op);
        break;
    case CLIENT_FORGET:
        op_forget(c, op);
        break;
    case CLIENT_GETATTR:
        op_getattr(c, op);
        break;
    case CLIENT_SETATTR:
        op_setattr(c, op);
        break;
    case CLIENT_READLINK:
        op_readlink(c, op);
        break;
    case CLIENT_MAKE:
        op_make(c, op);
        break;
    case CLIENT_UNLINK:
    case CLIENT_RMDIR:
        op_unlink(c, op);
        break;
    case CLIENT_RENAME:
        op_rename(c, op);
        break;
    case CLIENT_LINK:
        op_link(c, op);
        break;
    case CLIENT_OPEN:
        op_open(c, op);
        break;
    case CLIENT_RELEASE:
        op_release(c, op);
        break;
    case CLIENT_READ:
        op_read(c, op);
        break;
    case CLIENT_WRITE:
        op_write(c, op);
        break;
    case CLIENT_ALLOCATE:
        op_allocate(c, op);
        break;
    case CLIENT_COPY:
        op_copy(c, op);
        break;
    case CLIENT_SEEK:
        op_seek(c, op);
        break;
    case CLIENT_FLUSH:
        op_flush(c, op);
        break;
    case CLIENT_FSYNC:
        op_fsync(c, op);
        break;
    case CLIENT_FSYNCDIR:
        op_fsyncdir(c, op);
        break;
    case CLIENT_READDIR:
        op_readdir(c, op);
        break;
    case CLIENT_RELEASEDIR:
        op_releasedir(c, op);
        break;
    case CLIENT_STATFS:
        op_statfs(c, op);
        break;
    case CLIENT_SETXATTR:
        op_setxattr(c, op);
        break;
    case CLIENT_GETXATTR:
        op_getxattr(c, op);
        break;
    case CLIENT_LISTXATTR:
        op_listxattr(c, op);
        break;
    case CLIENT_REMOVEXATTR:
        op_removexattr(c, op);
        break;
    case CLIENT_SETLK:
        op_setlk(c, op);
        break;
    case CLIENT_GETLK:
        op_getlk(c, op);
        break;
    case CLIENT_SYNC_ALL:
        op_sync_all(c, op);
        break;
    }
}

static void on_deadline(struct client *c, struct timer *t)
{
    struct op *op = container_of(t, struct op, deadline);
    client_log(c, "operation %llu on ino %llu timed out: %s", (unsigned long long)op->a.id,
               (unsigned long long)(op->a.ino != 0 ? op->a.ino : op->a.parent),
               op->why != NULL ? op->why : "no answer");
    op_give_up(c, op, ETIMEDOUT);
}

/* RELEASE and FORGET have nobody who waits, and who waits for a lock said that it may take for
 * ever: they never time out. */
static bool has_deadline(const struct client_op *a)
{
    return a->kind != CLIENT_FORGET && a->kind != CLIENT_RELEASE &&
           !(a->kind == CLIENT_SETLK && a->lock.wait);
}

/* What `df` and `ls -l` of the mount point ask. */
static bool answers_without_leader(const struct client_op *a)
{
    return a->kind == CLIENT_STATFS ||
           (a->ino == ROOT_INO && (a->kind == CLIENT_GETATTR || a->kind == CLIENT_READDIR ||
                                   a->kind == CLIENT_GETXATTR || a->kind == CLIENT_LISTXATTR));
}

static int check(const struct client *c, const struct client_op *a)
{
    if ((a->name != NULL && strlen(a->name) > NAME_BYTES_MAX && a->kind != CLIENT_SETXATTR &&
         a->kind != CLIENT_GETXATTR && a->kind != CLIENT_REMOVEXATTR) ||
        (a->newname != NULL && strlen(a->newname) > NAME_BYTES_MAX)) {
        return ENAMETOOLONG;
    }
    bool changes = a->kind == CLIENT_SETATTR || a->kind == CLIENT_MAKE ||
                   a->kind == CLIENT_UNLINK || a->kind == CLIENT_RMDIR ||
                   a->kind == CLIENT_RENAME || a->kind == CLIENT_LINK || a->kind == CLIENT_WRITE ||
                   a->kind == CLIENT_SETXATTR || a->kind == CLIENT_REMOVEXATTR ||
                   a->kind == CLIENT_ALLOCATE || a->kind == CLIENT_COPY;
    return changes && c->config.read_only ? EROFS : 0;
}

void op_start(struct client *c, const struct client_op *a)
{
    struct op *op = xcalloc(1, sizeof(*op));
    op->a = *a;
    op->a.name = a->name != NULL ? xstrdup(a->name) : NULL;
    op->a.newname = a->newname != NULL ? xstrdup(a->newname) : NULL;
    op->a.data = blob_ref(a->data);
    op->since = c->now;
    list_init(&op->wait);
    list_init(&op->ask);
    timer_init(&op->deadline);
    timer_init(&op->root);
    timer_init(&op->taken);
    list_push_back(&c->ops, &op->link);
    void *before = map_put(&c->ops_by_id, a->id, op);
    assert(before == NULL);
    if (has_deadline(a)) {
        timer_set(c, TIMER_OP, &op->deadline, c->now + c->config.deadline_us, on_deadline);
    }
    if (answers_without_leader(a)) {
        time_us from = c->leaderless_since != 0 ? c->leaderless_since : c->now;
        timer_set(c, TIMER_ROOT, &op->root, time_max(c->now, from + STALE_ROOT_DELAY),
                  op_root_timeout);
    }
    inode_confirm(c, a->ino, a->kind == CLIENT_GETATTR);
    inode_confirm(c, a->parent, false);
    inode_confirm(c, a->newparent, false);
    inode_confirm(c, a->to_ino, false);
    int err = check(c, a);
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    op_run(c, op);
}

void op_busy(struct op *op, struct inode *i, enum busy_kind kind)
{
    if (i == NULL) {
        return;
    }
    assert(op->busy_count < OP_BUSY_MAX);
    op->busy[op->busy_count].inode = i;
    op->busy[op->busy_count++].kind = kind;
    i->busy[kind]++;
    if (kind == BUSY_NAMES && i->dir != NULL && !MUTANT(cookies_counted_on)) {
        i->dir->next_cookie = 0;
    }
}

size_t op_idle(struct op *op, struct inode *ret_inodes[OP_BUSY_MAX])
{
    size_t count = op->busy_count;
    for (size_t b = 0; b < count; b++) {
        op->busy[b].inode->busy[op->busy[b].kind]--;
        ret_inodes[b] = op->busy[b].inode;
    }
    op->busy_count = 0;
    return count;
}

bool op_says_open(struct client *c, struct op *op, uint64_t ino)
{
    if (ino == 0) {
        return false; /* it isn't known here what it is, and the leader is told so */
    }
    struct inode *i = inode_get(c, ino);
    if (inode_wanted(c, i)) {
        return true;
    }
    op->denied = i;
    i->denied++;
    return false;
}

bool op_makes_unheard(const struct client *c)
{
    list_each(it, &c->ops) {
        const struct op *op = container_of(it, struct op, link);
        if (op->a.kind == CLIENT_MAKE && op->a.open && op->rpc != NULL && op->rpc->again) {
            return true;
        }
    }
    return false;
}

bool op_open_waits(struct client *c, struct op *op, struct inode *i, const struct Fs__Attr *seen)
{
    if (i->denied != 0) {
        op->why = "the removal of the file by this mount";
        op->wait_ino = i->ino;
        list_push_back(&c->open_waiters, &op->wait);
        return true;
    }
    if (seen != NULL && seen->nlink != 0 && i->attr.nlink == 0) { /* it was overtaken by one */
        op_run(c, op);
        return true;
    }
    return false;
}

static void open_wake(struct client *c)
{
    bool again = true;
    while (again) {
        again = false;
        list_each(it, &c->open_waiters) {
            struct op *op = container_of(it, struct op, wait);
            const struct inode *i = inode_find(c, op->wait_ino);
            if (i != NULL && i->denied != 0) {
                continue;
            }
            list_remove(&op->wait);
            op->wait_ino = 0;
            op_run(c, op);
            again = true; /* others may have come or gone */
            break;
        }
    }
}

static void answer(struct client *c, struct op *op, struct client_result *result, int err)
{
    if (op->answered || op->a.kind == CLIENT_FORGET) {
        if (result != NULL) { /* nobody wants it: let an effect that is not a reply own it */
            struct client_out none = {0};
            struct client_out *out = c->out;
            c->out = &none;
            effect_add(c, CLIENT_REPLY)->result = *result;
            c->out = out;
            client_out_clear(&none);
        }
        return;
    }
    struct inode *to = op->copied != 0 ? inode_find(c, op->a.to_ino) : NULL;
    if (result == NULL && to != NULL) { /* it fails, and the kernel keeps its pages of all of it */
        inode_invalidate_kernel(c, to);
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = to->ino;
    }
    if ((result != NULL ? result->err : err) == ESTALE) {
        c->walk_again_until = c->now + WALK_AGAIN;
    }
    struct client_effect *e = effect_add(c, CLIENT_REPLY);
    e->op_id = op->a.id;
    if (result != NULL) {
        e->result = *result;
    } else {
        e->result.err = err;
    }
    e->result.q = op->q != 0 ? op->q - c->queue_base : 0;
    e->result.q_session = op->q != 0 ? c->session : 0;
    op->answered = true;
}

static void op_free(struct client *c, struct op *op)
{
    list_remove(&op->link);
    list_remove(&op->wait);
    list_remove(&op->ask);
    timer_clear(&op->deadline);
    timer_clear(&op->root);
    timer_clear(&op->taken);
    if (map_get(&c->ops_by_id, op->a.id) == op) {
        (void)map_del(&c->ops_by_id, op->a.id);
    }
    if (op->job != NULL) {
        read_free(c, op->job);
    }
    if (op->rpc != NULL) {
        op_withdraw_lock(c, op);
        rpc_cancel(c, op->rpc);
    }
    if (op->locking) {
        c->locking--; /* it was never sent */
    }
    c->space += op->space;
    for (size_t b = 0; b < op->base_count; b++) {
        blob_unref(op->base[b].blob);
    }
    blob_unref(op->source.blob);
    for (size_t b = 0; b < op->busy_count; b++) {
        op->busy[b].inode->busy[op->busy[b].kind]--;
    }
    for (size_t b = 0; b < op->busy_count; b++) {
        bool again = false;
        for (size_t later = b + 1; later < op->busy_count; later++) {
            again |= op->busy[later].inode == op->busy[b].inode;
        }
        if (!again && op->busy[b].inode != op->opening) {
            inode_settle(c, op->busy[b].inode);
        }
    }
    if (op->opening != NULL) {
        op->opening->opening--;
        inode_settle(c, op->opening);
    }
    if (op->denied != NULL) {
        op->denied->denied--;
        inode_settle(c, op->denied);
    }
    free((char *)(uintptr_t)op->a.name);
    free((char *)(uintptr_t)op->a.newname);
    blob_unref(op->a.data);
    free(op);
}

static void end(struct client *c, struct op *op)
{
    struct file *f = op->queue_of;
    bool denied = op->denied != NULL, locking = op->locking;
    bool together = list_linked(&op->ask);
    uint64_t ino = op->a.ino;
    op_free(c, op);
    if (together) {
        op_answer_getattrs(c, ino);
    }
    if (locking) {
        lock_wake(c);
    }
    if (denied) {
        open_wake(c);
    }
    if (f != NULL) {
        file_pump(c, f);
    }
    session_stop_next(c);
}

void op_finish(struct client *c, struct op *op, struct client_result *result)
{
    answer(c, op, result, 0);
    end(c, op);
}

void op_fail(struct client *c, struct op *op, int err)
{
    answer(c, op, NULL, err);
    end(c, op);
}

/* What it changes may happen at any moment from now on, and the kernel takes it for not done: it
 * has to ask again. While the operation is under way it gets nothing to keep. */
static void doubt(struct client *c, const struct op *op)
{
    for (size_t b = 0; b < op->busy_count; b++) {
        if (op->busy[b].kind == BUSY_NAMES) {
            cache_drop_names(c, op->busy[b].inode->ino);
        } else {
            inode_invalidate_kernel(c, op->busy[b].inode);
        }
    }
    struct inode *i = inode_find(c, op->a.ino);
    if ((op->a.kind == CLIENT_SETATTR || op->a.kind == CLIENT_WRITE) && op->frozen && i != NULL) {
        inode_invalidate_kernel(c, i); /* it is cut off, or written, and not committed yet */
    }
    if (op->a.kind == CLIENT_ALLOCATE && op->frozen && i != NULL) {
        inode_invalidate_kernel(c, i); /* likewise, and the kernel keeps its pages of the range */
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = i->ino;
    }
}

void op_give_up(struct client *c, struct op *op, int err)
{
    doubt(c, op);
    answer(c, op, NULL, err);
    timer_clear(&op->deadline);
    timer_clear(&op->root);
    /* The driver may use the id again. */
    if (map_get(&c->ops_by_id, op->a.id) == op) {
        (void)map_del(&c->ops_by_id, op->a.id);
    }
    if (op->rpc != NULL && op->rpc->changes && op->rpc->sent_once) {
        return;
    }
    end(c, op);
}
