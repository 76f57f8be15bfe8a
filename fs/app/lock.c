/* Waiting for byte-range locks. A mount that is refused one asks to be told when nothing is in its
 * way, and then tries again: an entry of the log grants or refuses, and nobody waits in the state.
 * So a new leader needs no list of waiters; they ask it. Who waits for whom is known here alone,
 * and with it deadlocks (fcntl(2): EDEADLK; flock(2) has none). */
#include <errno.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

enum { OWNERS_MAX = 256 }; /* looked at for a deadlock; a longer chain is not seen */

struct owner {
    uint64_t session, owner;
};

typedef vec_of(struct owner) owner_list;

static struct fs_lock lock_of(const Fs__Lock *l, uint64_t session)
{
    return (struct fs_lock){.session = session,
                            .owner = l->owner,
                            .first = l->first,
                            .last = l->last,
                            .flock = l->kind == FS__LOCK__KIND__FLOCK,
                            .write = l->type == FS__LOCK__TYPE__WRITE,
                            .pid = l->pid};
}

static Fs__Lock *lock_new(const struct fs_lock *from)
{
    Fs__Lock *l = xmalloc(sizeof *l);
    fs__lock__init(l);
    l->session = from->session;
    l->owner = from->owner;
    l->first = from->first;
    l->last = from->last;
    l->kind = from->flock ? FS__LOCK__KIND__FLOCK : FS__LOCK__KIND__POSIX;
    l->type = from->write ? FS__LOCK__TYPE__WRITE : FS__LOCK__TYPE__READ;
    l->pid = from->pid;
    return l;
}

/* ---- who is in the way ----------------------------------------------------------------------- */

struct in_the_way {
    struct fs_lock want, first;
    owner_list *owners; /* of all; NULL: the first is enough */
    bool found;
};

static void add_owner(owner_list *owners, struct owner o)
{
    for (size_t i = 0; i < owners->count; i++)
        if (owners->items[i].session == o.session && owners->items[i].owner == o.owner)
            return;
    if (owners->count < OWNERS_MAX)
        vec_push(owners, o);
}

static bool see(void *ctx, const struct fs_lock *lock)
{
    struct in_the_way *w = ctx;
    if (!fs_lock_conflicts(lock, &w->want))
        return true;
    if (!w->found)
        w->first = *lock;
    w->found = true;
    if (w->owners)
        add_owner(w->owners, (struct owner){lock->session, lock->owner});
    return w->owners != NULL;
}

static bool is_in_the_way(const struct fs_app *app, uint64_t ino, const struct fs_lock *want,
                          struct fs_lock *ret_first, owner_list *owners)
{
    struct in_the_way w = {.want = *want, .owners = owners};
    fs_each_lock(app->config.state, ino, see, &w);
    if (w.found && ret_first)
        *ret_first = w.first;
    return w.found;
}

static bool waits_for_lock(const struct request *r)
{
    return r->waits == WAIT_OBJECT && r->waits_for && object_kind(r->waits_for) == OBJECT_LOCK;
}

static bool asks_for_lock(const struct request *r)
{
    return r->req && r->req->body_case == FS__REQUEST__BODY_LOCK_QUERY;
}

/* RULES L2: who has been silent for longer than its lease loses its locks to whoever wants them. */
static bool end_if_silent(struct fs_app *app, const struct fs_lock *blocker)
{
    struct session *s = session_find(app, blocker->session);
    if (!s || s->silent > app->now)
        return false;
    session_propose_end(app, s);
    return true;
}

/* A mount that has the file's write lease may keep its locks to itself: it writes them to the log
 * before it gives the lease back. So nobody else gets a lock, or is told of those there are, while
 * it is out. False: `r` waits for it. */
static bool lease_is_back(struct fs_app *app, struct request *r, const struct session *s,
                          uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (MUTANT(locks_around_lease) || fs_get_attr(app->config.state, ino, &attr) < 0 ||
        lease_is_free(app, s, &attr))
        return true;
    request_wait_object(app, r, object_get(app, OBJECT_LEASE, ino));
    return false;
}

/* Does somebody that `want` would have to wait for wait for its owner, over however many others? */
static bool closes_a_circle(struct fs_app *app, uint64_t ino, const struct fs_lock *want)
{
    owner_list owners = {0};
    bool circle = false;
    (void)is_in_the_way(app, ino, want, NULL, &owners);
    for (size_t i = 0; i < owners.count && !circle; i++) {
        struct owner o = owners.items[i];
        circle = o.session == want->session && o.owner == want->owner;
        list_each(it, &app->requests) {
            const struct request *r = container_of(it, struct request, all);
            if (circle || !waits_for_lock(r) || !asks_for_lock(r) || r->session != o.session ||
                r->req->lock_query->lock->owner != o.owner)
                continue;
            struct fs_lock its = lock_of(r->req->lock_query->lock, r->session);
            if (!its.flock)
                (void)is_in_the_way(app, r->req->lock_query->ino, &its, NULL, &owners);
        }
    }
    vec_done(&owners);
    return circle;
}

/* ---- questions ------------------------------------------------------------------------------- */

static void withdraw(struct fs_app *app, const struct request *by)
{
    list_each(it, &app->requests) {
        struct request *r = container_of(it, struct request, all);
        if (!asks_for_lock(r) || r->client != by->client || r->id != by->req->lock_query->withdraw)
            continue;
        request_end(app, r);
        return;
    }
}

static void answer(struct fs_app *app, struct request *r, const struct fs_lock *blocker,
                   bool deadlock)
{
    Fs__Reply *reply = reply_new(app, r->id);
    reply->body_case = FS__REPLY__BODY_LOCK;
    reply->lock = xmalloc(sizeof *reply->lock);
    fs__lock_reply__init(reply->lock);
    reply->lock->blocker = blocker ? lock_new(blocker) : NULL;
    reply->lock->deadlock = deadlock;
    request_answer(app, r, reply);
}

void lock_query_run(struct fs_app *app, struct request *r, struct session *s)
{
    const Fs__LockQuery *m = r->req->lock_query;
    if (m->withdraw) {
        withdraw(app, r);
        request_end(app, r); /* one way */
        return;
    }
    if (!m->lock) {
        request_fail(app, r, EINVAL, "a question about no lock");
        return;
    }
    if (!request_has_point(app, r) || !lease_is_back(app, r, s, m->ino))
        return;
    struct fs_lock want = lock_of(m->lock, s->id), blocker;
    if (!is_in_the_way(app, m->ino, &want, &blocker, NULL)) {
        answer(app, r, NULL, false);
        return;
    }
    bool circle = m->wait && !want.flock && !MUTANT(deadlocks_not_seen) &&
                  closes_a_circle(app, m->ino, &want);
    if (!m->wait || circle) {
        answer(app, r, &blocker, circle);
        return;
    }
    request_wait_object(app, r, object_get(app, OBJECT_LOCK, m->ino));
    (void)end_if_silent(app, &blocker);
}

bool lock_way_is_free(struct fs_app *app, struct request *r, const struct session *s)
{
    const Fs__SetLock *m = r->op->set_lock;
    struct fs_lock blocker;
    if (!m->lock || m->lock->type == FS__LOCK__TYPE__UNLOCK)
        return true;
    if (!lease_is_back(app, r, s, m->ino))
        return false;
    struct fs_lock want = lock_of(m->lock, r->session);
    if (!is_in_the_way(app, m->ino, &want, &blocker, NULL) || !end_if_silent(app, &blocker))
        return true;
    request_wait_object(app, r, object_get(app, OBJECT_LOCK, m->ino));
    return false;
}

/* ---- who may keep its own -------------------------------------------------------------------- */

struct others {
    uint64_t session;
    bool some;
};

static bool see_other(void *ctx, const struct fs_lock *lock)
{
    struct others *o = ctx;
    o->some = lock->session != o->session;
    return !o->some;
}

/* On its way to the log it may be behind the lease; who waits has to hear of every unlock. */
static bool is_coming(const struct request *r, uint64_t session, uint64_t ino)
{
    if (asks_for_lock(r))
        return r->req->lock_query->wait && r->req->lock_query->ino == ino;
    return r->op && r->op->body_case == FS__OP__BODY_SET_LOCK && r->op->set_lock->ino == ino &&
           r->session != session;
}

bool locks_may_be_kept(const struct fs_app *app, uint64_t session, uint64_t ino)
{
    struct others others = {.session = session};
    fs_each_lock(app->config.state, ino, see_other, &others);
    if (others.some)
        return false;
    list_each(it, &app->requests)
        if (is_coming(container_of(it, struct request, all), session, ino))
            return false;
    return true;
}

void locks_tick(struct fs_app *app)
{
    list_each(it, &app->requests) {
        const struct request *r = container_of(it, struct request, all);
        struct fs_lock blocker;
        if (!waits_for_lock(r) || !asks_for_lock(r))
            continue;
        const Fs__LockQuery *m = r->req->lock_query;
        struct fs_lock want = lock_of(m->lock, r->session);
        Fs__Attr attr = FS__ATTR__INIT;
        if (fs_get_attr(app->config.state, m->ino, &attr) == -ENOENT)
            locks_changed(app, m->ino); /* they went with the file */
        else if (is_in_the_way(app, m->ino, &want, &blocker, NULL))
            (void)end_if_silent(app, &blocker);
    }
}

/* ---- changes --------------------------------------------------------------------------------- */

void locks_changed(struct fs_app *app, uint64_t ino)
{
    struct object *o = object_find(app, OBJECT_LOCK, ino);
    if (!o || MUTANT(lock_waiters_not_woken))
        return;
    object_wake(app, o);
    object_settle(app, o);
}

void locks_of_session_ended(struct fs_app *app)
{
    vec_of(uint64_t) inos = {0};
    list_each(it, &app->requests) {
        const struct request *r = container_of(it, struct request, all);
        if (waits_for_lock(r))
            vec_push(&inos, object_ino(r->waits_for));
    }
    for (size_t i = 0; i < inos.count; i++)
        locks_changed(app, inos.items[i]);
    vec_done(&inos);
}
