/* Locks that this mount keeps to itself while it has the file's write lease.
 *
 * The lease came with word that no other session has a lock of the file; and before another gets
 * one, or is told of ours, the leader asks the lease back (fs/app/lock.c). So in between it is
 * decided here who gets what, by the rules of the log (fs/core/lock_list.h), and the log need not
 * hear of a lock that is given back as soon as it came. Before the lease goes, the log gets the
 * difference between what it has and what is held, which is nothing as a rule.
 *
 * Who has to wait for a lock waits at the leader, so from then on, until the next lease, all locks
 * of the file go through the log as they do without one. */
#include <errno.h>
#include <stdlib.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/core/lock_list.h"
#include "repl/base/mutant.h"

struct locks {
    uint64_t ino;
    fs_lock_list logged; /* what the log has of this session */
    fs_lock_list held;   /* what programs here have */
    struct list writes;  /* struct lock_write: on their way to make these the same */
};

struct lock_write {
    struct list link;
    struct locks *of;
    struct fs_lock lock;
    bool unlock;
    struct rpc *rpc;
};

/* ---- the two lists --------------------------------------------------------------------------- */

static struct locks *locks_find(const struct client *c, uint64_t ino)
{
    return map_get(&c->locks, ino);
}

static struct locks *locks_get(struct client *c, uint64_t ino)
{
    struct locks *l = locks_find(c, ino);
    if (l == NULL) {
        l = xcalloc(1, sizeof(*l));
        l->ino = ino;
        list_init(&l->writes);
        (void)map_put(&c->locks, ino, l);
    }
    return l;
}

static void locks_free_one(struct locks *l)
{
    while (!list_empty(&l->writes)) {
        free(container_of(list_pop_front(&l->writes), struct lock_write, link));
    }
    vec_done(&l->logged);
    vec_done(&l->held);
    free(l);
}

static void locks_settle(struct client *c, struct locks *l)
{
    if (l->logged.count == 0 && l->held.count == 0 && list_empty(&l->writes)) {
        (void)map_del(&c->locks, l->ino);
        locks_free_one(l);
    }
}

static struct fs_lock lock_from(const struct client_lock *from)
{
    return (struct fs_lock){.owner = from->owner,
                            .first = from->first,
                            .last = from->last,
                            .flock = from->flock,
                            .write = from->type == CLIENT_LOCK_WRITE,
                            .pid = from->pid};
}

static struct client_lock lock_to(const struct fs_lock *from, bool unlock)
{
    return (struct client_lock){.owner = from->owner,
                                .first = from->first,
                                .last = from->last,
                                .flock = from->flock,
                                .type = unlock        ? CLIENT_LOCK_NONE
                                        : from->write ? CLIENT_LOCK_WRITE
                                                      : CLIENT_LOCK_READ,
                                .pid = from->pid};
}

static void change(fs_lock_list *list, const struct client_lock *lock)
{
    struct fs_lock want = lock_from(lock);
    (void)fs_locks_change(list, &want, lock->type == CLIENT_LOCK_NONE);
}

/* The log has it, and so has who asked for it. */
void locks_logged(struct client *c, uint64_t ino, const struct client_lock *lock)
{
    struct locks *l = locks_get(c, ino);
    change(&l->logged, lock);
    change(&l->held, lock);
    locks_settle(c, l);
}

/* ---- deciding here --------------------------------------------------------------------------- */

bool locks_here(const struct client *c, uint64_t ino)
{
    const struct inode *i = inode_find(c, ino);
    return i != NULL && i->file != NULL && i->file->lease == LEASE_HELD && i->file->locks_here;
}

void locks_granted_here(struct client *c, struct file *f)
{
    f->locks_here = true;
    list_each(it, &c->ops) {
        const struct op *op = container_of(it, struct op, link);
        if (op->a.kind == CLIENT_SETLK && op->a.ino == f->inode->ino && op->rpc != NULL &&
            op->rpc->patient) {
            f->locks_here = false; /* it waits at the leader, who has to see every unlock */
        }
    }
}

/* Both lists fit into one inode's, whatever the way from one to the other. */
bool locks_fit_here(const struct client *c, uint64_t ino)
{
    const struct locks *l = locks_find(c, ino);
    return l == NULL || l->held.count + l->logged.count < FS_LOCKS_MAX / 2;
}

bool locks_decided_here(const struct client *c, uint64_t ino)
{
    return locks_here(c, ino) && inode_find(c, ino)->file->recalls.count == 0 &&
           session_lease_valid(c) && !c->breaking && !c->ending && locks_fit_here(c, ino);
}

bool locks_blocker(const struct client *c, uint64_t ino, const struct client_lock *lock,
                   struct client_lock *ret)
{
    const struct locks *l = locks_find(c, ino);
    struct fs_lock want = lock_from(lock);
    const struct fs_lock *blocker = l != NULL ? fs_locks_in_the_way(&l->held, &want) : NULL;
    if (blocker != NULL && ret != NULL) {
        *ret = lock_to(blocker, false);
    }
    return blocker != NULL;
}

void locks_set_here(struct client *c, uint64_t ino, const struct client_lock *lock)
{
    struct locks *l = locks_get(c, ino);
    change(&l->held, lock);
    locks_settle(c, l);
    if (locks_here(c, ino)) {
        file_touch(c, inode_find(c, ino)->file);
    }
}

/* ---- writing them to the log ----------------------------------------------------------------- */

bool locks_writing(const struct client *c, uint64_t ino)
{
    const struct locks *l = locks_find(c, ino);
    return l != NULL && !list_empty(&l->writes);
}

/* Whoever relies on one of them must not go on; the log is told that they are over. */
static void lose_owner(struct client *c, struct locks *l, uint64_t owner, bool flock)
{
    change(&l->held, &(struct client_lock){.owner = owner, .flock = flock, .last = FS_LOCK_END});
    handles_lose_locks(c, l->ino, owner, flock);
}

static void write_next(struct client *c, struct locks *l);

static void on_written(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct lock_write *w = r->owner;
    struct locks *l = w->of;
    uint64_t ino = l->ino;
    int err = rpc_error(r, reply);
    struct client_lock lock = lock_to(&w->lock, w->unlock);
    list_remove(&w->link);
    free(w);
    if (err == 0 ||
        lock.type == CLIENT_LOCK_NONE) { /* what is gone with its file is unlocked too */
        change(&l->logged, &lock);
    } else {
        client_log(c, "ino %llu: a lock that was granted here was refused by the leader",
                   (unsigned long long)ino);
        lose_owner(c, l, lock.owner, lock.flock);
    }
    if (!list_empty(&l->writes)) {
        return;
    }
    write_next(c, l);
    if (locks_writing(c, ino)) {
        return;
    }
    lock_wake(c);
    struct inode *i = inode_find(c, ino);
    if (i != NULL && i->file != NULL) {
        struct file *f = i->file;
        f->pins++;
        recall_try_release(c, f);
        f->pins--;
        file_settle(c, f);
    }
}

static void write_all(struct client *c, struct locks *l, const fs_lock_list *locks, bool unlock)
{
    for (size_t i = 0; i < locks->count; i++) {
        struct lock_write *w = xcalloc(1, sizeof(*w));
        w->of = l;
        w->lock = locks->items[i];
        w->unlock = unlock;
        list_init(&w->link);
        list_push_back(&l->writes, &w->link);
        struct client_lock lock = lock_to(&w->lock, unlock);
        w->rpc = lock_rpc(NULL, l->ino, &lock, on_written);
        w->rpc->owner = w;
        w->rpc->urgent = true;
    }
    list_each(it, &l->writes) {
        rpc_start(c, container_of(it, struct lock_write, link)->rpc);
    }
}

/* First what goes, so that what comes meets nothing. In between the log shows less than is held,
 * which nobody can see before the lease goes. */
static void write_next(struct client *c, struct locks *l)
{
    fs_lock_list less = {0}, more = {0};
    fs_locks_subtract(&l->logged, &l->held, &less);
    fs_locks_subtract(&l->held, &l->logged, &more);
    if (less.count != 0) {
        write_all(c, l, &less, true);
    } else if (more.count != 0) {
        write_all(c, l, &more, false);
    } else {
        locks_settle(c, l);
    }
    vec_done(&less);
    vec_done(&more);
}

bool locks_written(struct client *c, uint64_t ino)
{
    const struct inode *i = inode_find(c, ino);
    struct locks *l = locks_find(c, ino);
    if (i != NULL && i->file != NULL) {
        i->file->locks_here = false;
    }
    if (l != NULL && list_empty(&l->writes) && !MUTANT(lease_back_before_locks)) {
        write_next(c, l);
    }
    return !locks_writing(c, ino);
}

/* ---- losing them ----------------------------------------------------------------------------- */

static bool all_logged(const struct locks *l)
{
    fs_lock_list more = {0};
    fs_locks_subtract(&l->held, &l->logged, &more);
    bool none = more.count == 0;
    vec_done(&more);
    return none;
}

void locks_lease_lost(struct client *c, struct file *f)
{
    struct locks *l = locks_find(c, f->inode->ino);
    bool kept = f->locks_here || locks_writing(c, f->inode->ino);
    f->locks_here = false;
    if (!kept || l == NULL || c->state != SESSION_LIVE) {
        return; /* they are in the log, or ended with the session */
    }
    while (!all_logged(l)) {
        const struct fs_lock *first = &l->held.items[0];
        lose_owner(c, l, first->owner, first->flock);
    }
    if (list_empty(&l->writes)) {
        write_next(c, l);
    }
}

void locks_closed(struct client *c, uint64_t ino)
{
    struct locks *l = locks_find(c, ino);
    if (l == NULL) {
        return;
    }
    vec_clear(&l->held);
    if (list_empty(&l->writes)) {
        write_next(c, l);
    }
}

void locks_all_gone(struct client *c)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&c->locks, &cursor, NULL, &value)) {
        struct locks *l = value;
        list_each(it, &l->writes) {
            rpc_cancel(c, container_of(it, struct lock_write, link)->rpc);
        }
        locks_free_one(l);
    }
    map_clear(&c->locks);
}

void locks_here_free(struct client *c)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&c->locks, &cursor, NULL, &value)) {
        locks_free_one(value); /* their requests are gone */
    }
    map_done(&c->locks);
}
