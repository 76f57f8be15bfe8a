/* Byte-range locks: fcntl(2), OFD and flock(2), held by this mount's session (RULES L2).
 *
 * An entry of the log grants or refuses, or this mount itself as long as it may (locks_here.c); who
 * has to wait asks the leader when nothing is in the way, and tries again. A descriptor remembers
 * who locked through it, so that close gives back what it must, and so that it fails after the
 * session ended with its locks: whoever relied on one must not go on (PROTOCOL 4.5). */
#include <errno.h>
#include <stdlib.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/core/state.h"
#include "repl/base/mutant.h"

static bool is_owner(const struct lock_owner *o, uint64_t owner, bool flock)
{
    return o->owner == owner && o->flock == flock;
}

static bool handle_has(const struct handle *h, uint64_t owner, bool flock)
{
    for (size_t k = 0; k < h->lock_owners.count; k++) {
        if (is_owner(&h->lock_owners.items[k], owner, flock)) {
            return true;
        }
    }
    return false;
}

static bool inode_has(const struct inode *i, uint64_t owner, bool flock)
{
    if (i == NULL || i->file == NULL) {
        return false;
    }
    list_each(it, &i->file->handles) {
        if (handle_has(container_of(it, struct handle, link), owner, flock)) {
            return true;
        }
    }
    return false;
}

static void forget_owner(struct inode *i, uint64_t owner, bool flock)
{
    if (i == NULL || i->file == NULL) {
        return;
    }
    list_each(it, &i->file->handles) {
        struct handle *h = container_of(it, struct handle, link);
        for (size_t k = h->lock_owners.count; k-- > 0;) {
            if (is_owner(&h->lock_owners.items[k], owner, flock)) {
                vec_remove(&h->lock_owners, k);
            }
        }
    }
}

bool handle_lost_locks(const struct client *c, uint64_t fh)
{
    const struct handle *h = fh != 0 ? handle_find(c, fh) : NULL;
    return h != NULL && h->locks_lost && !MUTANT(lost_locks_relied_on);
}

bool handle_locks_hold(const struct client *c, uint64_t fh)
{
    const struct handle *h = fh != 0 ? handle_find(c, fh) : NULL;
    return h == NULL || h->lock_owners.count == 0 || session_lease_valid(c) ||
           MUTANT(lost_locks_relied_on);
}

/* Who locked through it is remembered until he closes: what else he has locked, or others have, is
 * in the log, and has to be given back. */
static void lose_locks(struct client *c, struct handle *h)
{
    h->locks_lost = true;
    h->inode->locks_lost++;
    inode_invalidate_kernel(c, h->inode); /* cached pages must not be read through it either */
}

void handles_lose_locks(struct client *c, uint64_t ino, uint64_t owner, bool flock)
{
    const struct inode *i = inode_find(c, ino);
    if (i == NULL || i->file == NULL) {
        return;
    }
    list_each(it, &i->file->handles) {
        struct handle *h = container_of(it, struct handle, link);
        if (handle_has(h, owner, flock) && !h->locks_lost) {
            lose_locks(c, h);
        }
    }
}

void locks_lost(struct client *c)
{
    locks_all_gone(c);
    size_t cursor = 0, lost = 0;
    void *value;
    while (map_next(&c->handles, &cursor, NULL, &value)) {
        struct handle *h = value;
        if (h->lock_owners.count != 0) {
            if (!h->locks_lost) {
                lose_locks(c, h);
            }
            vec_clear(&h->lock_owners); /* nothing of theirs is left */
            lost++;
        }
    }
    if (lost != 0) {
        client_log(c, "the locks of %zu open files ended with the session: these fail with EIO now",
                   lost);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct Fs__Lock *lock_new(const struct client_lock *from)
{
    struct Fs__Lock *l = xmalloc(sizeof(*l));
    fs__lock__init(l);
    l->owner = from->owner;
    l->first = from->first;
    l->last = from->last;
    l->kind = from->flock ? FS__LOCK__KIND__FLOCK : FS__LOCK__KIND__POSIX;
    l->type = from->type == CLIENT_LOCK_READ    ? FS__LOCK__TYPE__READ
              : from->type == CLIENT_LOCK_WRITE ? FS__LOCK__TYPE__WRITE
                                                : FS__LOCK__TYPE__UNLOCK;
    l->pid = from->pid;
    return l;
}

struct rpc *lock_rpc(struct op *op, uint64_t ino, const struct client_lock *lock,
                     void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                  struct blob *))
{
    struct rpc *r = rpc_new_op(op, true, done);
    struct Fs__SetLock *m = xmalloc(sizeof(*m));
    fs__set_lock__init(m);
    m->ino = ino;
    m->lock = lock_new(lock);
    r->req->op->body_case = FS__OP__BODY_SET_LOCK;
    r->req->op->set_lock = m;
    return r;
}

static struct rpc *ask(struct op *op, bool wait,
                       void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                    struct blob *))
{
    struct rpc *r = rpc_new(RPC_LEADER, op, done);
    struct Fs__LockQuery *m = xmalloc(sizeof(*m));
    fs__lock_query__init(m);
    m->ino = op->a.ino;
    m->lock = lock_new(&op->a.lock);
    m->wait = wait;
    r->req->body_case = FS__REQUEST__BODY_LOCK_QUERY;
    r->req->lock_query = m;
    r->patient = wait;
    return r;
}

struct unlocking { /* a lock on its way back, whoever gives up waiting for that */
    struct list link;
    uint64_t ino;
    struct client_lock lock;
};

static void unlock(struct client *c, uint64_t ino, uint64_t owner, bool flock, uint64_t first,
                   uint64_t last);

static void on_unlocked(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                        struct blob *bulk)
{
    struct unlocking *u = r->owner;
    (void)bulk;
    if (rpc_error(r, reply) == ENOLCK) { /* it would leave too many parts: then none is left */
        handles_lose_locks(c, u->ino, u->lock.owner, u->lock.flock);
        unlock(c, u->ino, u->lock.owner, u->lock.flock, 0, FS_LOCK_END);
    } else if (reply != NULL) { /* else the session ended, and the lock with it */
        locks_logged(c, u->ino, &u->lock);
    }
    list_remove(&u->link);
    free(u);
    c->locking--;
    lock_wake(c);
}

static void unlock(struct client *c, uint64_t ino, uint64_t owner, bool flock, uint64_t first,
                   uint64_t last)
{
    struct client_lock lock = {
        .owner = owner, .flock = flock, .type = CLIENT_LOCK_NONE, .first = first, .last = last};
    if (locks_here(c, ino) || locks_writing(c, ino)) {
        locks_set_here(c, ino, &lock);
        return;
    }
    struct unlocking *u = xcalloc(1, sizeof(*u));
    u->ino = ino;
    u->lock = lock;
    list_init(&u->link);
    list_push_back(&c->unlocking, &u->link);
    c->locking++;
    struct rpc *r = lock_rpc(NULL, ino, &lock, on_unlocked);
    r->owner = u;
    rpc_start(c, r);
}

void locks_free(struct client *c)
{
    while (!list_empty(&c->unlocking)) {
        struct unlocking *u = list_first(&c->unlocking, struct unlocking, link);
        list_remove(&u->link);
        free(u);
    }
}

void op_withdraw_lock(struct client *c, const struct op *op)
{
    const struct rpc *r = op->rpc;
    if (r == NULL || !r->patient || r->id == 0 || !session_leader_usable(c)) {
        return; /* who leads next knows of no question */
    }
    struct Fs__Request *req = xmalloc(sizeof(*req));
    fs__request__init(req);
    req->body_case = FS__REQUEST__BODY_LOCK_QUERY;
    req->lock_query = xmalloc(sizeof(*req->lock_query));
    fs__lock_query__init(req->lock_query);
    req->lock_query->withdraw = r->id;
    rpc_post(c, c->leader, req);
}

/* ---- locking --------------------------------------------------------------------------------- */

static void on_free(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_LOCK || reply->lock == NULL)) {
        err = EIO;
    }
    if (err == 0 && reply->lock->deadlock) {
        err = EDEADLK;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    op_setlk(c, op); /* others may be faster: then it asks again */
}

static void wait_for_it(struct client *c, struct op *op)
{
    op->why = "a lock that another has";
    (void)locks_written(c, op->a.ino); /* from here on the leader hears of every unlock */
    rpc_start(c, ask(op, true, on_free));
}

static void ask_log(struct client *c, struct op *op, const struct client_lock *lock,
                    void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                 struct blob *))
{
    op->why = "the leader, who orders locks";
    op->locking = true;
    c->locking++;
    rpc_start(c, lock_rpc(op, op->a.ino, lock, done));
}

static void log_answered(struct client *c, struct op *op)
{
    op->locking = false;
    c->locking--;
}

/* flock(2): a lock that is changed is given up first, so that of two that both want more one gets
 * it. */
static void on_given_up(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                        struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    log_answered(c, op);
    if (err == 0) {
        struct client_lock none = op->a.lock;
        none.type = CLIENT_LOCK_NONE;
        locks_logged(c, op->a.ino, &none);
        forget_owner(inode_find(c, op->a.ino), op->a.lock.owner, true);
    }
    if (err == 0 && (!op->a.lock.wait || op->interrupted)) {
        err = op->interrupted ? EINTR : EAGAIN;
    }
    if (err != 0 || op->answered) {
        op_fail(c, op, err);
    } else {
        wait_for_it(c, op);
    }
    lock_wake(c);
}

static void refused(struct client *c, struct op *op)
{
    const struct client_lock *lock = &op->a.lock;
    struct inode *i = inode_find(c, op->a.ino);
    if (op->answered || (op->interrupted && lock->wait)) {
        op_fail(c, op, EINTR);
    } else if (lock->flock && inode_has(i, lock->owner, true)) {
        struct client_lock none = *lock;
        none.type = CLIENT_LOCK_NONE;
        ask_log(c, op, &none, on_given_up);
    } else if (lock->wait) {
        wait_for_it(c, op);
    } else {
        op_fail(c, op, EAGAIN);
    }
}

static void granted(struct client *c, struct op *op)
{
    const struct client_lock *lock = &op->a.lock;
    struct handle *h = handle_find(c, op->a.fh);
    if (op->answered || h == NULL) { /* its caller was told that it failed, or is gone */
        unlock(c, op->a.ino, lock->owner, lock->flock, lock->first, lock->last);
        if (h != NULL && inode_has(h->inode, lock->owner, lock->flock) && !h->locks_lost) {
            lose_locks(c, h); /* what it had of the range before is not known here */
            client_log(c, "ino %llu: a lock came after its caller had given up: I/O fails with EIO",
                       (unsigned long long)op->a.ino);
        }
    } else if (!handle_has(h, lock->owner, lock->flock)) {
        vec_push(&h->lock_owners, (struct lock_owner){lock->owner, lock->flock});
    }
    op_fail(c, op, 0);
}

static void on_set(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                   struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    log_answered(c, op);
    if (err == 0) {
        locks_logged(c, op->a.ino, &op->a.lock);
    }
    if (err == EAGAIN) {
        refused(c, op);
    } else if (err == 0 && op->a.lock.type != CLIENT_LOCK_NONE) {
        granted(c, op);
    } else {
        op_fail(c, op, err);
    }
    lock_wake(c);
}

/* Is a lock of `owner` (NULL: of anybody) on its way to the log? */
static bool being_locked(const struct client *c, uint64_t ino, const uint64_t *owner)
{
    if (c->locking == 0) {
        return false;
    }
    list_each(it, &c->ops) {
        const struct op *op = container_of(it, struct op, link);
        if (op->locking && op->a.ino == ino && (owner == NULL || op->a.lock.owner == *owner)) {
            return true;
        }
    }
    list_each(it, &c->unlocking) {
        const struct unlocking *u = container_of(it, struct unlocking, link);
        if (u->ino == ino && (owner == NULL || u->lock.owner == *owner)) {
            return true;
        }
    }
    return false;
}

static void wait_for_others(struct client *c, struct op *op)
{
    op->why = "a lock that was asked for before"; /* one after another, in their order */
    list_push_back(&c->lock_waiters, &op->wait);
}

enum answer_here { HERE_ANSWERED, HERE_WAITS, HERE_UNKNOWN };

/* HERE_UNKNOWN: the log decides, and has all there is. */
static enum answer_here ask_here(struct client *c, struct op *op, struct client_result *ret)
{
    const struct client_lock *lock = &op->a.lock;
    const uint64_t ino = op->a.ino;
    bool sets = op->a.kind == CLIENT_SETLK, unlocks = sets && lock->type == CLIENT_LOCK_NONE;
    if (locks_here(c, ino) && !unlocks && being_locked(c, ino, NULL)) {
        return HERE_WAITS; /* it may be granted */
    }
    if (!locks_here(c, ino)) {
        return locks_writing(c, ino) ? HERE_WAITS : HERE_UNKNOWN;
    }
    if (unlocks && locks_fit_here(c, ino)) {
        return HERE_ANSWERED;
    }
    if (locks_decided_here(c, ino)) {
        bool gives_up = lock->flock && inode_has(inode_find(c, ino), lock->owner, true);
        bool blocked = locks_blocker(c, ino, lock, &ret->lock);
        ret->err = blocked && sets ? EAGAIN : 0;
        if (!blocked || !sets || (!lock->wait && !gives_up)) {
            return HERE_ANSWERED;
        }
    }
    return locks_written(c, ino) ? HERE_UNKNOWN : HERE_WAITS;
}

void op_setlk(struct client *c, struct op *op)
{
    const struct client_lock *lock = &op->a.lock;
    const struct inode *i = inode_find(c, op->a.ino);
    struct client_result result = {0};
    bool unlocks = lock->type == CLIENT_LOCK_NONE;
    if (unlocks && !inode_has(i, lock->owner, lock->flock)) {
        op_fail(c, op, 0); /* also of those that were lost */
        return;
    }
    if (!unlocks && handle_lost_locks(c, op->a.fh)) {
        op_fail(c, op, EIO);
        return;
    }
    if (being_locked(c, op->a.ino, &lock->owner)) {
        wait_for_others(c, op);
        return;
    }
    switch (ask_here(c, op, &result)) {
    case HERE_ANSWERED:
        if (result.err == 0) {
            locks_set_here(c, op->a.ino, lock);
        }
        if (result.err == 0 && !unlocks) {
            granted(c, op);
        } else {
            op_fail(c, op, result.err);
        }
        break;
    case HERE_WAITS:
        wait_for_others(c, op);
        break;
    case HERE_UNKNOWN:
        ask_log(c, op, lock, on_set);
        break;
    }
}

/* A signal, not a deadly one: what is on its way is awaited, since it may be granted. */
void op_interrupt(struct client *c, struct op *op)
{
    if (op->a.kind != CLIENT_SETLK || !op->a.lock.wait || op->answered) {
        return;
    }
    op->interrupted = true;
    if (!op->locking && (op->rpc == NULL || op->rpc->patient)) {
        op_give_up(c, op, EINTR);
    }
}

/* ---- what is in the way ---------------------------------------------------------------------- */

static void on_blocker(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_LOCK || reply->lock == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    struct client_result result = {.lock = op->a.lock};
    const struct Fs__Lock *b = reply->lock->blocker;
    result.lock.type = CLIENT_LOCK_NONE;
    if (b != NULL) {
        result.lock.type = b->type == FS__LOCK__TYPE__WRITE ? CLIENT_LOCK_WRITE : CLIENT_LOCK_READ;
        result.lock.first = b->first;
        result.lock.last = b->last;
        result.lock.pid = b->pid;
    }
    op_finish(c, op, &result);
}

void op_getlk(struct client *c, struct op *op)
{
    struct client_result result = {.lock = op->a.lock};
    result.lock.type = CLIENT_LOCK_NONE;
    switch (ask_here(c, op, &result)) {
    case HERE_ANSWERED:
        op_finish(c, op, &result);
        break;
    case HERE_WAITS:
        wait_for_others(c, op);
        break;
    case HERE_UNKNOWN:
        op->why = "the leader, who knows the locks";
        rpc_start(c, ask(op, false, on_blocker));
        break;
    }
}

/* ---- close ----------------------------------------------------------------------------------- */

void lock_wake(struct client *c)
{
    struct list waiters;
    list_init(&waiters);
    while (!list_empty(&c->lock_waiters)) {
        list_push_back(&waiters, list_pop_front(&c->lock_waiters));
    }
    while (!list_empty(&waiters)) {
        op_run(c, container_of(list_pop_front(&waiters), struct op, wait));
    }
}

/* close(2) of any descriptor gives back all POSIX locks of its process on the file. */
bool op_closes_locks(struct client *c, struct op *op)
{
    uint64_t owner = op->a.lock.owner;
    struct inode *i = inode_find(c, op->a.ino);
    if (inode_has(i, owner, false) && !being_locked(c, op->a.ino, &owner)) {
        forget_owner(i, owner, false);
        unlock(c, op->a.ino, owner, false, 0, FS_LOCK_END);
    }
    if (!being_locked(c, op->a.ino, &owner)) {
        return false;
    }
    op->why = "the leader, who ends the locks of who closes";
    list_push_back(&c->lock_waiters, &op->wait);
    return true;
}

/* The last close: flock(2) and OFD locks belong to the open file. */
void handle_close_locks(struct client *c, struct handle *h)
{
    for (size_t k = 0; k < h->lock_owners.count; k++) {
        const struct lock_owner *o = &h->lock_owners.items[k];
        unlock(c, h->inode->ino, o->owner, o->flock, 0, FS_LOCK_END);
    }
    vec_done(&h->lock_owners);
    if (h->locks_lost) {
        h->inode->locks_lost--;
    }
}
