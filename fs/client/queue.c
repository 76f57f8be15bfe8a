/* What was done under directory leases, on its way to the leader: in order, many at once, each
 * repeated until it is answered (RULES D1). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

/* ---- how far it is --------------------------------------------------------------------------- */

bool queue_reached(const struct client *c, uint64_t q)
{
    const struct queued *first = list_first(&c->queued, struct queued, link);
    return first == NULL || first->q > q;
}

bool queue_sent(const struct client *c, uint64_t q)
{
    return q + (c->queued_count - c->queue_sent) <= c->queue_last;
}

bool queue_wait(struct client *c, struct op *op, uint64_t q)
{
    if (queue_reached(c, q)) {
        return true;
    }
    op->queue_until = q;
    op->why = "what this mount did before it to be committed";
    list_remove(&op->wait);
    list_push_back(&c->queue_waiters, &op->wait);
    timer_clear(&c->queue_timer);
    queue_pump(c);
    return false;
}

bool queue_drained(struct client *c, struct op *op)
{
    if (!op->drained) {
        op->drained = true;
        op->queue_until = c->queue_last;
    }
    return queue_wait(c, op, op->queue_until);
}

void queue_wake(struct client *c)
{
    bool again = true;
    while (again) {
        again = false;
        list_each(it, &c->queue_waiters) {
            struct op *op = container_of(it, struct op, wait);
            if (!queue_reached(c, op->queue_until)) {
                continue;
            }
            list_remove(&op->wait);
            op_run(c, op);
            again = true; /* others may have come or gone */
            break;
        }
    }
}

/* ---- its entries ----------------------------------------------------------------------------- */

static void entry_free(struct client *c, struct queued *e)
{
    list_remove(&e->link);
    c->queued_count--;
    for (size_t k = 0; k < e->touched_count; k++) {
        e->touched[k]->queued--;
    }
    for (size_t k = 0; k < e->touched_count; k++) {
        bool again = false;
        for (size_t later = k + 1; later < e->touched_count; later++) {
            again |= e->touched[later] == e->touched[k];
        }
        if (again) {
            continue;
        }
        if (dir_leased(e->touched[k]) && e->touched[k]->dir->removed &&
            e->touched[k]->queued == 0) {
            dir_removed(c, e->touched[k]);
        } else {
            inode_settle(c, e->touched[k]);
        }
    }
    free(e);
}

/* The log has it: the versions are known now. What is newer here stays. */
static void learn(struct client *c, const struct Fs__Attr *attr)
{
    struct inode *i = attr != NULL ? inode_find(c, attr->ino) : NULL;
    if (i == NULL) {
        return;
    }
    uint64_t before = i->attr.data_version, version = i->attr.version;
    if (i->queued == 0) {
        (void)inode_learn(c, i, attr);
    } else if (attr->version > i->attr.version) {
        i->attr.version = attr->version;
        i->attr.data_version =
            attr->data_version > before ? attr->data_version : i->attr.data_version;
    }
    /* The kernel has what this mount wrote; that did not change by being numbered. */
    if (i->pages_version == before) {
        i->pages_version = i->attr.data_version;
    }
    if (i->sent_version == before) {
        i->sent_version = i->attr.data_version;
    }
    if (i->read_version == version) {
        i->read_version = i->attr.version;
    }
    if (i->file != NULL) {
        file_follow_attr(i->file);
    }
    file_drop_hold(c, i); /* it waited for this */
}

/* It can only be refused when this mount and the leader disagree on what there is. Nothing that was
 * done on top of it can be kept: the session ends, with all that it did not commit. */
static void refused(struct client *c, const struct queued *e, int err)
{
    client_log(c, "operation %llu of the queue was refused: %s; the session ends here",
               (unsigned long long)e->q, strerror(err));
    session_break(c);
}

/* What was made came with its write lease, which is in the log now. */
static void learn_locks(struct client *c, const struct Fs__Reply *reply)
{
    const struct Fs__Attr *made = reply->op->attr;
    const struct inode *i = made != NULL ? inode_find(c, made->ino) : NULL;
    if (reply->locks_here && i != NULL && i->file != NULL && i->file->lease == LEASE_HELD &&
        i->file->epoch == made->lease_epoch) {
        locks_granted_here(c, i->file);
    }
}

static void on_queued(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    struct queued *e = r->owner;
    e->rpc = NULL;
    c->queue_sent--;
    int err = rpc_error(r, reply);
    if (err == 0 && reply->body_case != FS__REPLY__BODY_OP) {
        err = EIO;
    }
    if (err != 0) {
        refused(c, e, err);
        return;
    }
    const struct Fs__OpReply *done = reply->op;
    entry_free(c, e);
    learn(c, done->attr);
    learn(c, done->parent);
    learn(c, done->newparent);
    learn_locks(c, reply);
    queue_pump(c);
    commit_release_held(c);
    queue_wake(c);
    dirs_release(c);
    session_stop_next(c);
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool commits_done(const struct client *c, const struct queued *e)
{
    const struct inode *i = e->until != 0 ? inode_find(c, e->ino) : NULL;
    if (i == NULL || i->file == NULL || MUTANT(rename_before_commit)) {
        return true;
    }
    const struct commit *oldest = list_first(&i->file->commits, struct commit, in_file);
    return oldest == NULL || oldest->serial > e->until;
}

bool queue_names(const struct client *c, const struct inode *i)
{
    if (i->file == NULL || list_empty(&i->file->commits)) {
        return false;
    }
    list_each(it, &c->queued) {
        const struct queued *e = container_of(it, struct queued, link);
        if (e->ino == i->ino && !commits_done(c, e)) {
            return true;
        }
    }
    return false;
}

void queue_pump(struct client *c)
{
    if (timer_running(&c->queue_timer) || c->state != SESSION_LIVE || c->breaking) {
        return;
    }
    list_each(it, &c->queued) {
        struct queued *e = container_of(it, struct queued, link);
        if (e->sent) {
            continue;
        }
        if (c->queue_sent >= QUEUE_WINDOW || !commits_done(c, e)) {
            break;
        }
        e->sent = true;
        c->queue_sent++;
        rpc_start(c, e->rpc);
    }
    commit_release_held(c);
}

static void on_queue_timer(struct client *c, struct timer *t)
{
    (void)t;
    queue_pump(c);
}

struct rpc *queue_rpc(struct client *c)
{
    struct rpc *r = rpc_new_op(NULL, false, on_queued);
    r->req->op->time = c->wall_ns;
    return r;
}

uint64_t queue_add(struct client *c, struct rpc *r, struct inode *const *touched, size_t count,
                   uint64_t ino, uint64_t until)
{
    struct queued *e = xcalloc(1, sizeof(*e));
    assert(count <= sizeof(e->touched) / sizeof(e->touched[0]));
    e->q = ++c->queue_last;
    e->rpc = r;
    e->ino = ino;
    e->until = until;
    r->owner = e;
    r->req->op->q = e->q - c->queue_base;
    for (size_t k = 0; k < count; k++) {
        e->touched[e->touched_count++] = touched[k];
        touched[k]->queued++;
        touched[k]->last_q = e->q;
        inode_changes_inside(c, touched[k], e->q);
        inode_settle(c, touched[k]);
    }
    list_push_back(&c->queued, &e->link);
    c->queued_count++;
    if (!timer_running(&c->queue_timer)) {
        timer_set(c, TIMER_QUEUE, &c->queue_timer, c->now + QUEUE_DELAY, on_queue_timer);
    } else if (c->queued_count - c->queue_sent >= QUEUE_BATCH) {
        timer_clear(&c->queue_timer);
        queue_pump(c);
    }
    return e->q;
}

/* ---- what one more takes --------------------------------------------------------------------- */

enum dir_answer queue_ready(struct client *c, struct op *op)
{
    if (c->queued_count >= QUEUE_MAX) {
        return queue_wait(c, op, c->queue_last - QUEUE_MAX / 2) ? DIR_LEASED : DIR_WAITS;
    }
    if (!session_take_space(c, FS_QUEUED_COST)) { /* RULES B13: it must not fail later */
        session_reserve(c, FS_QUEUED_COST);
        return DIR_SHARED;
    }
    return DIR_LEASED;
}

static void on_inodes(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    c->granting = NULL;
    if (rpc_error(r, reply) != 0 || reply->body_case != FS__REPLY__BODY_OP) {
        return; /* asked again when one is needed */
    }
    c->inodes_later =
        (struct fs_inodes){reply->op->value, reply->op->value + r->req->op->grant_inodes->count};
}

/* One grant ahead, since it takes a flush to get one. */
static void ask_inodes(struct client *c)
{
    if (c->granting != NULL || c->inodes_later.first != c->inodes_later.end) {
        return;
    }
    struct rpc *r = rpc_new_op(NULL, true, on_inodes);
    r->req->op->body_case = FS__OP__BODY_GRANT_INODES;
    r->req->op->grant_inodes = xmalloc(sizeof(*r->req->op->grant_inodes));
    fs__grant_inodes__init(r->req->op->grant_inodes);
    r->req->op->grant_inodes->count = INODES_WANTED;
    c->granting = r;
    rpc_start(c, r);
}

uint64_t queue_inode(struct client *c)
{
    if (c->inodes_now.first == c->inodes_now.end) {
        c->inodes_now = c->inodes_later;
        c->inodes_later = (struct fs_inodes){0};
        c->inodes_old_q = c->queue_last;
    }
    /* The grant before the last is forgotten by the state: the next one is asked for only when
     * nothing is on its way any more that could use it. */
    uint64_t left = c->inodes_now.end - c->inodes_now.first;
    if (left < INODES_WANTED / 2 && queue_reached(c, c->inodes_old_q)) {
        ask_inodes(c);
    }
    return left != 0 ? c->inodes_now.first++ : 0;
}

/* ---- losing it ------------------------------------------------------------------------------- */

static void tell_loss(struct client *c, struct inode *i)
{
    if (i->file != NULL) {
        list_each(it, &i->file->handles) {
            container_of(it, struct handle, link)->error = EIO;
        }
    }
    if (i->file == NULL || list_empty(&i->file->handles)) {
        i->lost = EIO; /* else those tell it */
    }
    i->promised = false;
    inode_ends_private(c, i);
    i->last_q = i->times_q = 0;
    if (i->attr.version == 0) { /* the log never had it */
        i->known = false;
        i->made_q = 0;
    }
    inode_invalidate_kernel(c, i);
}

void queue_lost(struct client *c)
{
    size_t count = c->queued_count;
    list_each(it, &c->queue_waiters) {
        container_of(it, struct op, wait)->lost = EIO;
    }
    if (count != 0) {
        dirs_tell_loss(c);
    }
    while (!list_empty(&c->queued)) {
        struct queued *e = list_first(&c->queued, struct queued, link);
        if (e->rpc != NULL && e->sent) {
            rpc_cancel(c, e->rpc);
        } else {
            rpc_unref(e->rpc);
        }
        for (size_t k = 0; k < e->touched_count; k++) {
            tell_loss(c, e->touched[k]);
        }
        entry_free(c, e);
    }
    timer_clear(&c->queue_timer);
    c->queue_base = c->queue_last;
    c->queue_sent = 0;
    c->inodes_now = c->inodes_later = (struct fs_inodes){0};
    if (count != 0) {
        client_log(c, "%zu changes of names that were not committed are lost", count);
    }
}

void queue_free(struct client *c)
{
    queue_lost(c);
}
