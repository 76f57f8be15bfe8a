/* Leases of directories: taken when something is made in one, kept until another mount comes, given
 * back when everything done under it is committed (RULES D1, L1, B10). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/look_ahead.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

/* ---- life ------------------------------------------------------------------------------------ */

static struct dir *dir_get(struct client *c, struct inode *i)
{
    (void)c;
    if (i->dir == NULL) {
        i->dir = xcalloc(1, sizeof(*i->dir));
        i->dir->inode = i;
        list_init(&i->dir->lru);
        list_init(&i->dir->waiters);
        list_init(&i->dir->private_told);
        timer_init(&i->dir->hold_timer);
    }
    return i->dir;
}

void dir_free(struct client *c, struct inode *i)
{
    struct dir *d = i->dir;
    if (d == NULL) {
        return;
    }
    if (list_linked(&d->lru)) {
        list_remove(&d->lru);
        c->dir_leases_count--;
    }
    timer_clear(&d->hold_timer);
    vec_done(&d->recalls);
    list_clear(&d->private_told);
    free(d);
    i->dir = NULL;
}

static void settle(struct client *c, struct inode *i)
{
    if (i->dir != NULL && i->dir->lease == LEASE_NONE && list_empty(&i->dir->waiters) &&
        i->dir->recalls.count == 0) {
        dir_free(c, i);
    }
    inode_settle(c, i);
}

static void granted(struct client *c, struct dir *d, uint64_t epoch)
{
    d->lease = LEASE_HELD;
    d->epoch = epoch;
    d->next_cookie = 0;
    d->since = d->used_at = c->now;
    d->used = d->removed = false;
    d->inode->ahead = (struct look_ahead){.asked = d->inode->ahead.asked}; /* with new questions */
    list_push_back(&c->dir_leases, &d->lru);
    c->dir_leases_count++;
}

/* The names here are facts no longer, unless they are promised as well. */
static void names_over(struct client *c, struct inode *i)
{
    cache_drop_names(c, i->ino);
    if (!i->promised) {
        inode_invalidate_kernel(c, i);
    }
}

static void take_back(struct client *c, struct inode *i)
{
    if (!inode_asked_back(i)) {
        inode_invalidate_kernel(c, i);
        if (i->kernel_until != 0) { /* a listing may bring it: again with the lease */
            return;
        }
    }
    list_remove(&i->private_link);
}

static void take_all_back(struct client *c, struct dir *d)
{
    list_each(it, &d->private_told) {
        take_back(c, container_of(it, struct inode, private_link));
    }
}

static void over(struct client *c, struct inode *i)
{
    struct dir *d = i->dir;
    d->lease = LEASE_NONE;
    d->removed = false;
    dir_forgets(i);
    list_remove(&d->lru);
    c->dir_leases_count--;
    timer_clear(&d->hold_timer);
    if (!MUTANT(private_not_taken_back)) {
        take_all_back(c, d);
    }
    list_clear(&d->private_told);
    names_over(c, i);
}

static bool same_lease(const struct client *c, uint64_t ino, uint64_t epoch, uint32_t strangers)
{
    const struct inode *dir = ino != 0 ? inode_find(c, ino) : NULL;
    return dir != NULL && dir_leased(dir) && dir->dir->epoch == epoch &&
           dir->dir->strangers == strangers;
}

/* The lease of the directory that it came from waits for all changes of it: once that is asked back
 * there are no more of them, or it might never go. That of its home is not used for changes then
 * (dir_ready()). */
static bool from_stays(const struct client *c, const struct inode *i)
{
    return i->from == 0 || (same_lease(c, i->from, i->from_epoch, i->from_strangers) &&
                            inode_find(c, i->from)->dir->recalls.count == 0);
}

bool inode_private(const struct client *c, const struct inode *i)
{
    return same_lease(c, i->home, i->home_epoch, i->home_strangers) && from_stays(c, i);
}

bool inode_may_move(const struct inode *i, const struct inode *to)
{
    return i->from == 0 || i->home == to->ino || i->from == to->ino;
}

void inode_private_told(const struct client *c, struct inode *i)
{
    if (i->from == 0 && !list_linked(&i->private_link)) {
        list_push_back(&inode_find(c, i->home)->dir->private_told, &i->private_link);
    }
}

void inode_ends_private(struct client *c, struct inode *i)
{
    i->home = 0;
    if (list_linked(&i->private_link)) {
        take_back(c, i);
    }
}

void inode_make_private(struct client *c, struct inode *i, const struct inode *dir)
{
    if (i->home != dir->ino && list_linked(&i->private_link)) {
        take_back(c, i);
        list_remove(&i->private_link);
    }
    if (i->home != 0 && i->home != dir->ino) {
        i->from = i->home;
        i->from_epoch = i->home_epoch;
        i->from_strangers = i->home_strangers;
    }
    i->home = dir->ino;
    i->home_epoch = dir->dir->epoch;
    i->home_strangers = dir->dir->strangers;
}

/* The epoch ties it to the lease that it was told under, whichever leader did: the lease is in the
 * log, and while it lasts nobody else comes to know the inode. What was changed here since the
 * answer was made is still under way when it comes, since answers come in the order in which they
 * were given and none comes of a leader that was left; it may have taken the inode elsewhere. */
void inode_told_alone(struct client *c, struct inode *i, const struct inode *dir, uint64_t epoch)
{
    bool changing = dir->busy[BUSY_NAMES] != 0 || i->busy[BUSY_ATTR] != 0 || i->queued != 0;
    if (epoch == 0 || !dir_leased(dir) || dir->dir->epoch != epoch || changing ||
        inode_private(c, i)) {
        return;
    }
    inode_ends_private(c, i);
    i->from = 0;
    i->told_alone = true;
    inode_make_private(c, i, dir);
}

void inode_changes_inside(struct client *c, const struct inode *i, uint64_t q)
{
    if (dir_leased(i)) {
        return; /* who finds it comes for its own lease, and waits for this there */
    }
    const uint64_t dirs[] = {i->home, i->from};
    for (size_t k = 0; k < 2; k++) {
        const struct inode *dir = dirs[k] != 0 ? inode_find(c, dirs[k]) : NULL;
        if (dir != NULL && dir->dir != NULL) {
            dir->dir->inside_q = q;
        }
    }
}

void inode_goes_public(struct client *c, uint64_t ino, const char *name)
{
    const struct name *n = name_find(c, ino, name);
    struct inode *i = n != NULL && n->ino != 0 ? inode_find(c, n->ino) : NULL;
    struct inode *dir = inode_find(c, ino);
    if (i != NULL && !MUTANT(nameless_ahead)) {
        inode_ends_private(c, i);
    } else if (n == NULL && dir != NULL && dir_leased(dir)) {
        dir->dir->strangers++; /* its name was forgotten here: it may be any */
        take_all_back(c, dir->dir);
    }
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void run_waiters(struct client *c, struct dir *d)
{
    struct list all;
    list_init(&all);
    struct list *item;
    while ((item = list_pop_front(&d->waiters)) != NULL) {
        list_push_back(&all, item);
    }
    while ((item = list_pop_front(&all)) != NULL) {
        op_run(c, container_of(item, struct op, wait));
    }
}

static void on_granted(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct inode *i = r->owner;
    struct dir *d = i->dir;
    int err = rpc_error(r, reply);
    i->opening++; /* stays meanwhile */
    d->lease = LEASE_NONE;
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err == 0) {
        (void)op_learn(c, r, reply, reply->op->attr);
        bool good = !recall_voids_lease(c, i->ino, r->req->id) &&
                    !recall_release_again(c, i->ino, reply->op->value);
        if (good) {
            granted(c, d, reply->op->value);
        } else {
            err = EAGAIN;
        }
    }
    if (err != 0) { /* somebody was quicker, or it is no directory any more: the leader decides */
        i->dir_banned = c->now + DIR_BAN;
    }
    run_waiters(c, d);
    i->opening--;
    settle(c, i);
}

static void ask_lease(struct client *c, struct inode *i)
{
    struct dir *d = dir_get(c, i);
    d->lease = LEASE_ASKING;
    struct rpc *r = rpc_new_op(NULL, true, on_granted);
    r->owner = i;
    r->req->op->body_case = FS__OP__BODY_LEASE;
    r->req->op->lease = xmalloc(sizeof(*r->req->op->lease));
    fs__lease__init(r->req->op->lease);
    r->req->op->lease->ino = i->ino;
    rpc_start(c, r);
}

static bool usable(const struct client *c)
{
    return c->config.local_names && c->config.consistency == CLIENT_LINEARIZABLE &&
           c->state == SESSION_LIVE && !c->stopping && !c->breaking && session_lease_valid(c);
}

enum dir_answer dir_ready(struct client *c, struct inode *i, struct op *op, bool ask)
{
    struct dir *d = i->dir;
    if (!usable(c)) {
        return DIR_SHARED;
    }
    if (d != NULL && d->lease == LEASE_HELD) {
        if (d->recalls.count != 0 && d->used) {
            return DIR_SHARED; /* it is on its way back: through the leader, behind what is queued
                                */
        }
        d->used = true;
        d->used_at = c->now;
        list_remove(&d->lru);
        list_push_back(&c->dir_leases, &d->lru);
        return DIR_LEASED;
    }
    bool asking = d != NULL && d->lease == LEASE_ASKING;
    if (!asking) {
        if (!ask || i->dir_banned > c->now || c->dir_leases_count >= LEASES_MAX) {
            return DIR_SHARED;
        }
        if (!queue_wait(c, op, i->last_q)) {
            return DIR_WAITS;
        }
        ask_lease(c, i);
        d = i->dir;
    }
    if (d->lease == LEASE_ASKING) {
        op->why = "the directory's lease";
        list_remove(&op->wait);
        list_push_back(&d->waiters, &op->wait);
        return DIR_WAITS;
    }
    return d->lease == LEASE_HELD ? DIR_LEASED : DIR_SHARED;
}

/* A list of its names was read, which `rm -r` does, or this is not the first that goes. */
bool dir_worth_leasing(const struct inode *i)
{
    return i->listed || i->removals >= 2;
}

void dir_page_came(struct client *c, struct inode *i)
{
    if (i->dir != NULL && i->dir->lease != LEASE_ASKING) {
        run_waiters(c, i->dir);
        settle(c, i);
    }
}

bool dir_page_awaited(struct client *c, struct inode *i, struct op *op)
{
    if (i->dir->complete || !look_ahead_for_removal(c, i)) {
        return false;
    }
    op->why = "the leader, for the directory's names";
    list_remove(&op->wait);
    list_push_back(&i->dir->waiters, &op->wait);
    return true;
}

static void made(struct client *c, struct inode *i, uint64_t epoch)
{
    struct dir *d = dir_get(c, i);
    granted(c, d, epoch);
    d->used = true;
    d->complete = true;
    d->next_cookie = FS_COOKIE_FIRST;
}

void dir_made(struct client *c, struct inode *i)
{
    made(c, i, 1);
}

bool dir_wanted(const struct client *c)
{
    return usable(c) && c->dir_leases_count < LEASES_MAX;
}

void dir_granted(struct client *c, const struct rpc *r, struct inode *i,
                 const struct Fs__Attr *attr)
{
    if (i->dir == NULL && attr->lease_session == c->session && c->state == SESSION_LIVE &&
        !recall_voids_lease(c, i->ino, r->req->id)) {
        made(c, i, attr->lease_epoch);
    }
}

/* ---- all its names --------------------------------------------------------------------------- */

/* Answers come in the order in which the leader gave them. So what this mount did there after the
 * page was made is known here as not committed yet when it comes, or is told later; and others do
 * nothing there. */
void dir_listed(struct inode *i, uint64_t after, const struct Fs__ReaddirReply *page)
{
    struct dir *d = i->dir;
    if (!dir_leased(i) || after > d->listed) {
        return;
    }
    if (page->n_entries != 0 && page->entries[page->n_entries - 1]->cookie > d->listed) {
        d->listed = page->entries[page->n_entries - 1]->cookie;
    }
    d->complete |= page->end;
}

void dir_forgets(struct inode *i)
{
    if (i->dir != NULL) {
        i->dir->complete = false;
        i->dir->listed = 0;
        i->dir->next_cookie = 0; /* of a name that is learned again the cookie is not known */
    }
}

void dir_removed(struct client *c, struct inode *i)
{
    while (i->dir->recalls.count != 0) {
        recall_done(c, vec_pop(&i->dir->recalls), NULL);
    }
    i->names_until = 0; /* the kernel has none of it, and would drop those of all directories */
    over(c, i);
    settle(c, i);
}

/* ---- giving it back -------------------------------------------------------------------------- */

static void let_go(struct client *c, struct inode *i, struct Fs__LeaseEnd *ret_end)
{
    fs__lease_end__init(ret_end);
    ret_end->ino = i->ino;
    ret_end->epoch = i->dir->epoch;
    recall_note_end(c, ret_end);
    over(c, i);
}

static void on_hold_over(struct client *c, struct timer *t)
{
    (void)t;
    dirs_release(c);
}

/* Of the directory, and of what others find in it. */
static bool all_committed(const struct client *c, const struct dir *d)
{
    return queue_reached(c, d->inode->last_q) && queue_reached(c, d->inside_q);
}

static bool may_go(struct client *c, struct dir *d)
{
    /* RULES L1: what it was taken for is done first, if it comes soon. */
    if (!d->used && c->now < d->since + LEASE_HOLD_MIN) {
        timer_set(c, TIMER_HOLD, &d->hold_timer, d->since + LEASE_HOLD_MIN, on_hold_over);
        return false;
    }
    return all_committed(c, d) || MUTANT(dir_lease_back_early);
}

static void try_release(struct client *c, struct inode *i)
{
    struct dir *d = i->dir;
    struct Fs__LeaseEnd end;
    if (d == NULL || d->lease != LEASE_HELD || d->recalls.count == 0) {
        return;
    }
    if (!may_go(c, d)) {
        timer_clear(&c->queue_timer);
        queue_pump(c);
        return;
    }
    i->dir_banned = c->now + DIR_BAN;
    let_go(c, i, &end);
    while (d->recalls.count != 0) {
        recall_done(c, vec_pop(&d->recalls), &end);
    }
    settle(c, i);
}

void dir_recalled(struct client *c, struct inode *i, struct recall *k)
{
    vec_push(&i->dir->recalls, k);
    c->dirs_recalled = true;
    try_release(c, i);
}

void dirs_release(struct client *c)
{
    if (!c->dirs_recalled) {
        return;
    }
    c->dirs_recalled = false;
    list_each(it, &c->dir_leases) {
        struct dir *d = container_of(it, struct dir, lru);
        c->dirs_recalled |= d->recalls.count != 0;
        try_release(c, d->inode); /* perhaps it is the last we see of it */
    }
}

void dirs_release_idle(struct client *c)
{
    struct Fs__LeaseEnd ends[LEASES_PER_RELEASE];
    size_t count = 0;
    if (c->state != SESSION_LIVE || !session_leader_usable(c) || !listings_taken_in(c)) {
        return;
    }
    list_each(it, &c->dir_leases) {
        struct dir *d = container_of(it, struct dir, lru);
        struct inode *i = d->inode;
        bool too_many = c->dir_leases_count > LEASES_MAX / 2;
        if (count == LEASES_PER_RELEASE ||
            (!too_many && time_since(c->now, d->used_at) < DIR_IDLE)) {
            break;
        }
        if (!all_committed(c, d) || d->recalls.count != 0) {
            continue;
        }
        let_go(c, i, &ends[count++]);
        settle(c, i);
    }
    if (count != 0) {
        recall_post_ends(c, ends, count);
    }
}

/* ---- losing them ----------------------------------------------------------------------------- */

void dirs_tell_loss(struct client *c)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        const struct inode *i = value;
        if (i->dir == NULL) {
            continue;
        }
        list_each(it, &i->dir->waiters) {
            container_of(it, struct op, wait)->lost = EIO;
        }
    }
}

void dirs_lost(struct client *c)
{
    while (!list_empty(&c->dir_leases)) {
        struct inode *i = list_first(&c->dir_leases, struct dir, lru)->inode;
        over(c, i);
        vec_clear(&i->dir->recalls);
        settle(c, i);
    }
}

void dirs_forget_recalls(struct client *c)
{
    list_each(it, &c->dir_leases) {
        vec_clear(&container_of(it, struct dir, lru)->recalls);
    }
    c->dirs_recalled = false;
}
