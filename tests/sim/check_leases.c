/* Write leases and promises: RULES B2, L2-L5.
 *
 * Leases are part of the namespace state. The first copy that has applied an index shows what
 * became of the inodes its entries are about; each copy has the same state (check_state.c).
 * Promises are volatile and the leader's: those of the inodes just applied are looked at after each
 * turn, all of them now and then. */
#include <string.h>

#include "fs/app/internal.h"
#include "node/internal.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"

enum { SWEEP_TURNS = 256 }; /* all promises of a leader are looked at so often */

struct lease {
    uint64_t epoch, holder, index;
};

/* A lease operation of the turn under way. */
struct touched {
    uint64_t ino, session, index;
    bool grants; /* Lease or Make: `session` may hold it from here on */
};

static struct {
    struct map leases; /* inode -> struct lease, owned */
    uint64_t applied;  /* everything up to here was looked at */
    vec_of(struct touched) touched;
    uint32_t turns;
} state;

void check_leases_start(void)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&state.leases, &cursor, NULL, &value))
        free(value);
    map_done(&state.leases);
    vec_done(&state.touched);
    memset(&state, 0, sizeof state);
}

/* ---- facts ----------------------------------------------------------------------------------- */

/* RULES B2: "grant, release, downgrade and session end each raise the epoch", so an epoch has one
 * holder: whoever holds it when it begins. */
void check_leases_seen(uint64_t ino, uint64_t epoch, uint64_t holder, uint64_t index)
{
    struct lease *l = map_get(&state.leases, ino);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        (void)map_put(&state.leases, ino, l);
    } else if (epoch < l->epoch) {
        sim_complain("leases", "inode %llu: epoch goes back from %llu to %llu at %llu",
                     (unsigned long long)ino, (unsigned long long)l->epoch,
                     (unsigned long long)epoch, (unsigned long long)index);
    } else if (epoch == l->epoch && holder != l->holder) {
        sim_complain("leases", "inode %llu: epoch %llu held by %llu and by %llu (RULES B2)",
                     (unsigned long long)ino, (unsigned long long)epoch,
                     (unsigned long long)l->holder, (unsigned long long)holder);
    }
    *l = (struct lease){.epoch = epoch, .holder = holder, .index = index};
}

static bool granted_meanwhile(uint64_t ino, uint64_t session)
{
    for (size_t i = 0; i < state.touched.count; i++)
        if (state.touched.items[i].grants && state.touched.items[i].session == session &&
            (state.touched.items[i].ino == ino || state.touched.items[i].ino == 0))
            return true;
    return false;
}

/* "Fence: apply needs the inode's lease holder to be the session and the epoch to be equal." */
void check_leases_commit(uint64_t ino, uint64_t epoch, uint64_t session, uint64_t index,
                         bool took_effect)
{
    const struct lease *l = map_get(&state.leases, ino);
    if (!took_effect || granted_meanwhile(ino, session))
        return;
    if (l && (l->holder != session || l->epoch != epoch))
        sim_complain(
            "leases",
            "COMMIT %llu of session %llu, epoch %llu, changed inode %llu, whose holder was "
            "%llu, epoch %llu (RULES B2)",
            (unsigned long long)index, (unsigned long long)session, (unsigned long long)epoch,
            (unsigned long long)ino, (unsigned long long)l->holder, (unsigned long long)l->epoch);
}

/* RULES L3: "while the lease is out no promise on that file's data or attributes is granted". */
void check_leases_promise(uint32_t node, uint64_t ino, uint64_t session, uint64_t holder)
{
    if (holder && holder != session)
        sim_complain("leases",
                     "n%u promised inode %llu to session %llu, session %llu has its write lease "
                     "(RULES L3)",
                     node, (unsigned long long)ino, (unsigned long long)session,
                     (unsigned long long)holder);
}

/* ---- what a node shows ------------------------------------------------------------------------
 */

static void touch(uint64_t ino, const Fs__Op *op, uint64_t index, bool grants)
{
    vec_push(
        &state.touched,
        (struct touched){.ino = ino, .session = op->session, .index = index, .grants = grants});
}

static void see_touched(const struct node *n, const struct touched *t)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (!t->ino || fs_get_attr(n->state, t->ino, &attr) < 0)
        return;
    check_leases_seen(t->ino, attr.lease_epoch, attr.lease_session, n->applied);
    if (attr.version == t->index)
        check_promises_changed(t->ino, t->session, t->index);
}

static void see_commit(const struct node *n, uint64_t index, const Fs__Op *op)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (fs_get_attr(n->state, op->commit->ino, &attr) == 0)
        check_leases_commit(op->commit->ino, op->commit->epoch, op->session, index,
                            attr.data_version == index);
}

struct owner_of {
    uint64_t session;
    bool has;
};

static bool see_lock(void *ctx, const struct fs_lock *lock)
{
    struct owner_of *o = ctx;
    o->has |= lock->session == o->session;
    return !o->has;
}

static void see_set_lock(const struct node *n, uint64_t index, const Fs__Op *op)
{
    struct owner_of author = {.session = op->session};
    fs_each_lock(n->state, op->set_lock->ino, see_lock, &author);
    if (author.has)
        check_promises_locked(op->set_lock->ino, op->session, index);
}

static void see_release(uint64_t ino, const Fs__Op *op, uint64_t at)
{
    check_promises_released(ino, op->session);
    touch(ino, op, at, false);
}

static void see_entry(const struct node *n, const struct entry *e)
{
    Fs__Op *op = fs__op__unpack(NULL, e->payload->size, e->payload->data);
    if (!op)
        return;
    uint64_t at = e->index;
    if (op->q)
        check_queue_entry(op->session, op->q);
    switch ((int)op->body_case) {
    case FS__OP__BODY_LEASE:
        touch(op->lease->ino, op, at, true);
        break;
    case FS__OP__BODY_MAKE:
        /* Without a place in the queue the new inode's number is not in the entry. */
        touch(op->q ? op->make->ino : 0, op, at, op->make->lease);
        touch(op->make->parent, op, at, false);
        break;
    case FS__OP__BODY_UNLINK:
        touch(op->unlink->parent, op, at, false);
        break;
    case FS__OP__BODY_RENAME:
        touch(op->rename->parent, op, at, false);
        touch(op->rename->newparent, op, at, false);
        break;
    case FS__OP__BODY_LINK:
        touch(op->link->ino, op, at, false);
        touch(op->link->parent, op, at, false);
        break;
    case FS__OP__BODY_SETATTR:
        touch(op->setattr->ino, op, at, false);
        break;
    case FS__OP__BODY_SETXATTR:
        touch(op->setxattr->ino, op, at, false);
        break;
    case FS__OP__BODY_RELEASE:
        for (size_t i = 0; i < op->release->n_leases; i++)
            see_release(op->release->leases[i]->ino, op, at);
        break;
    case FS__OP__BODY_COMMIT:
        see_commit(n, at, op);
        touch(op->commit->ino, op, at, false);
        break;
    case FS__OP__BODY_SET_LOCK:
        see_set_lock(n, at, op);
        break;
    case FS__OP__BODY_END_SESSION:
        check_queue_ended(op->end_session->session);
        break;
    case FS__OP__BODY_OPEN_SESSION:
        check_queue_ended(op->open_session->replaces);
        break;
    default:
        break;
    }
    fs__op__free_unpacked(op, NULL);
}

/* RULES L3 for one inode, at a leader. */
static void see_promises(const struct node *n, const struct object *o)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (!o || !o->promised.count || fs_get_attr(n->state, object_ino(o), &attr) < 0)
        return;
    for (size_t i = 0; i < o->promised.count; i++)
        if (o->promised.items[i]->expires > n->app->now)
            check_leases_promise(n->self->id, object_ino(o), o->promised.items[i]->id,
                                 attr.lease_session);
}

static void sweep_promises(const struct node *n)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&n->app->objects, &cursor, NULL, &value))
        if (object_kind(value) == OBJECT_ATTR)
            see_promises(n, value);
}

static bool holds_or_is_asked(const struct object *o, const struct session *s)
{
    for (size_t i = 0; o && i < o->promised.count; i++)
        if (o->promised.items[i] == s)
            return true;
    for (size_t i = 0; o && i < o->asked.count; i++)
        if (o->asked.items[i] == s)
            return true;
    return false;
}

bool check_leases_recorded(uint64_t term, uint64_t session, uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        const struct process *p = process_of(id);
        const struct node *n = p->up ? p->node : NULL;
        if (!n || !n->state || !n->leading || !n->app->serving || n->app->term != term ||
            fs_get_attr(n->state, ino, &attr) < 0)
            continue;
        const struct session *s = map_get(&n->app->sessions, session);
        if (s && !s->unsure && !s->ending && s->expires > process_clock(p))
            return holds_or_is_asked(object_find(n->app, OBJECT_ATTR, ino), s);
    }
    return true;
}

static bool see_session(void *ctx, const struct fs_session *s)
{
    (void)ctx;
    check_queue_state(s->id, s->q_next, s->q_error);
    return true;
}

static void see_applied(const struct node *n)
{
    const struct replica *r = n->replica;
    vec_clear(&state.touched);
    uint64_t from = state.applied > r->log.base_index ? state.applied : r->log.base_index;
    for (uint64_t i = from + 1; i <= n->applied; i++) {
        const struct entry *e = log_entry(&r->log, i);
        if (e && e->kind == ENTRY_OP && e->payload)
            see_entry(n, e);
    }
    state.applied = n->applied;
    for (size_t i = 0; i < state.touched.count; i++)
        see_touched(n, &state.touched.items[i]);
    fs_each_session(n->state, see_session, NULL);
}

void check_leases_turn(struct process *p)
{
    const struct node *n = p->node;
    if (!n->state || n->install.from)
        return;
    if (n->applied > state.applied) {
        see_applied(n);
        for (size_t i = 0; n->leading && n->app->serving && i < state.touched.count; i++)
            see_promises(n, object_find(n->app, OBJECT_ATTR, state.touched.items[i].ino));
    }
    if (n->leading && n->app->serving && ++state.turns % SWEEP_TURNS == 0)
        sweep_promises(n);
}
