/* Changes of the namespace: what they conflict with is recalled before they are proposed (RULES
 * L3), and kept from being promised again until they are applied (RULES L5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

enum {
    RENAME_FLAG_EXCHANGE = 2,
    NAME_ROOM = 4096, /* bytes that a new name may take in a store, and more in logs; an attribute
                         beside its value */
};

/* ---- what a change touches ------------------------------------------------------------------- */

static void pin(struct fs_app *app, struct request *r, enum object_kind kind, uint64_t ino)
{
    request_pin(r, object_get(app, kind, ino), false);
}

static void pin_name(struct fs_app *app, struct request *r, uint64_t dir, ProtobufCBinaryData name)
{
    request_pin(r, object_of_name(app, dir, name.data, name.len), true);
    pin(app, r, OBJECT_NAMES, dir);
    pin(app, r, OBJECT_ATTR, dir);
}

/* An inode whose attributes change: its write lease comes back first (RULES L4). */
static void pin_target(struct fs_app *app, struct request *r, uint64_t ino)
{
    pin(app, r, OBJECT_ATTR, ino);
    r->targets[r->targets_count++] = ino;
}

/* The inode that loses the name: others are asked whether they have it open (RULES L7). */
static void pin_victim(struct fs_app *app, struct request *r, const Fs__Attr *attr)
{
    pin_target(app, r, attr->ino);
    if (S_ISDIR(attr->mode))
        pin(app, r, OBJECT_NAMES, attr->ino);
    else {
        /* Alone: of two that remove names of one file the second has to know what the first was
         * told. */
        request_pin(r, object_get(app, OBJECT_OPEN, attr->ino), true);
        r->victim = attr->ino;
    }
}

static bool find(const struct fs_app *app, uint64_t dir, ProtobufCBinaryData name, Fs__Attr *ret)
{
    fs__attr__init(ret);
    return fs_lookup(app->config.state, dir, name.data, name.len, ret) == 0;
}

static void pin_rename(struct fs_app *app, struct request *r, const Fs__Rename *m)
{
    Fs__Attr attr;
    pin_name(app, r, m->parent, m->name);
    pin_name(app, r, m->newparent, m->newname);
    if (find(app, m->parent, m->name, &attr))
        pin_target(app, r, attr.ino);
    if (!find(app, m->newparent, m->newname, &attr))
        return;
    if (m->flags & RENAME_FLAG_EXCHANGE)
        pin_target(app, r, attr.ino);
    else
        pin_victim(app, r, &attr);
}

/* The names are looked up in the applied state. That is what the log's tail leaves of them as well:
 * whoever changes a name has it pinned until it is applied, and then this does not get its pins; or
 * has the lease of the directory, which came back before, and can't be had again while it is
 * pinned.
 */
static void pin_all(struct fs_app *app, struct request *r)
{
    Fs__Attr attr;
    const Fs__Op *op = r->op;
    r->targets_count = 0;
    r->victim = 0;
    switch (op->body_case) {
    case FS__OP__BODY_MAKE:
        if (op->make->nameless)
            break; /* nobody else can see it */
        pin_name(app, r, op->make->parent, op->make->name);
        if (!op->make->exclusive && find(app, op->make->parent, op->make->name, &attr))
            pin_target(app, r, attr.ino); /* its attributes are the answer */
        break;
    case FS__OP__BODY_UNLINK:
        pin_name(app, r, op->unlink->parent, op->unlink->name);
        if (find(app, op->unlink->parent, op->unlink->name, &attr))
            pin_victim(app, r, &attr);
        break;
    case FS__OP__BODY_RENAME:
        pin_rename(app, r, op->rename);
        break;
    case FS__OP__BODY_LINK:
        pin_name(app, r, op->link->parent, op->link->name);
        pin_target(app, r, op->link->ino);
        break;
    case FS__OP__BODY_SETATTR:
        pin_target(app, r, op->setattr->ino);
        break;
    case FS__OP__BODY_SETXATTR:
        pin_target(app, r, op->setxattr->ino);
        break;
    case FS__OP__BODY_REMOVEXATTR:
        pin_target(app, r, op->removexattr->ino);
        break;
    case FS__OP__BODY_LEASE:
        pin_target(app, r, op->lease->ino);
        request_pin(r, object_get(app, OBJECT_ATTR, op->lease->ino), true);
        request_pin(r, object_get(app, OBJECT_NAMES, op->lease->ino), true);
        break;
    case FS__OP__BODY_OPEN_SESSION:
    case FS__OP__BODY_END_SESSION:
    case FS__OP__BODY_RELEASE:
    case FS__OP__BODY_COMMIT:
    case FS__OP__BODY_RESERVE:
    case FS__OP__BODY_DROP_HOLDS:
    case FS__OP__BODY_SET_LOCK:
    case FS__OP__BODY_ATIMES: /* who has cached attributes keeps them */
    case FS__OP__BODY_GRANT_INODES:
    case FS__OP__BODY__NOT_SET:
    case _FS__OP__BODY__CASE_IS_INT_SIZE:
        break;
    }
}

/* ---- getting the way free -------------------------------------------------------------------- */

static void ask_holders(struct fs_app *app, struct object *o, const struct session *s)
{
    for (size_t i = o->promised.count; i-- > 0;) /* asking one whose time is over takes it out */
        if (o->promised.items[i] != s)
            recall_ask(app, o->promised.items[i], o);
}

static bool said_open(const struct object *o, uint64_t session)
{
    for (size_t i = 0; i < o->open.count; i++)
        if (o->open.items[i] == session)
            return true;
    return false;
}

static void ask_who_has_it_open(struct fs_app *app, struct object *o, const struct session *s)
{
    size_t cursor = 0;
    void *value;
    vec_clear(&o->open);
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        struct session *other = value;
        if (other != s && !MUTANT(unlink_asks_nobody))
            recall_ask(app, other, o);
    }
}

/* Once, right after the pins are taken: what is pinned is not promised anew. */
static void ask_everybody(struct fs_app *app, struct request *r, const struct session *s)
{
    for (size_t i = 0; i < r->pins_count; i++) {
        struct object *o = r->pins[i].object;
        if (object_kind(o) == OBJECT_OPEN)
            ask_who_has_it_open(app, o, s);
        else
            ask_holders(app, o, s);
    }
}

static bool inode_is_free(struct fs_app *app, struct request *r, const struct session *s,
                          uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (!ino || fs_get_attr(app->config.state, ino, &attr) < 0)
        return true;
    struct object *o = lease_in_the_way(app, s, &attr);
    if (o)
        request_wait_object(app, r, o);
    return !o;
}

/* RULES D1: what is there in the directory is known when its lease has come back, so before
 * anything is looked up. */
static bool dirs_are_free(struct fs_app *app, struct request *r, const struct session *s)
{
    const Fs__Op *op = r->op;
    switch ((int)op->body_case) {
    case FS__OP__BODY_MAKE:
        return inode_is_free(app, r, s, op->make->parent);
    case FS__OP__BODY_UNLINK:
        return inode_is_free(app, r, s, op->unlink->parent);
    case FS__OP__BODY_LINK:
        return inode_is_free(app, r, s, op->link->parent);
    case FS__OP__BODY_RENAME:
        return inode_is_free(app, r, s, op->rename->parent) &&
               inode_is_free(app, r, s, op->rename->newparent);
    default:
        return true;
    }
}

/* Nothing is left that others were promised; else the request waits. */
static bool way_is_free(struct fs_app *app, struct request *r, const struct session *s)
{
    for (size_t i = 0; i < r->targets_count; i++)
        if (!inode_is_free(app, r, s, r->targets[i]))
            return false;
    for (size_t i = 0; i < r->pins_count; i++) {
        if (!r->pins[i].object->asked.count || MUTANT(recall_after_append))
            continue;
        request_wait_object(app, r, r->pins[i].object);
        return false;
    }
    return true;
}

/* ---- proposing ------------------------------------------------------------------------------- */

static void set_holders(const struct fs_app *app, const struct request *r, size_t *ret_count,
                        uint64_t **ret_holders, bool self_open)
{
    const struct object *o = object_find(app, OBJECT_OPEN, r->victim);
    size_t count = o ? o->open.count : 0, n = 0;
    uint64_t *holders = xcalloc(count + 1, sizeof *holders);
    for (size_t i = 0; i < count; i++)
        holders[n++] = o->open.items[i];
    if (self_open && !(o && said_open(o, r->session)))
        holders[n++] = r->session;
    free(*ret_holders);
    *ret_holders = holders;
    *ret_count = n;
}

static void fill_in_holders(struct fs_app *app, struct request *r)
{
    if (!r->victim)
        return;
    if (r->op->body_case == FS__OP__BODY_UNLINK) {
        Fs__Unlink *m = r->op->unlink;
        set_holders(app, r, &m->n_holders, &m->holders, m->open || m->open_ino != r->victim);
    } else if (r->op->body_case == FS__OP__BODY_RENAME) {
        Fs__Rename *m = r->op->rename;
        set_holders(app, r, &m->n_holders, &m->holders, m->open || m->open_ino != r->victim);
    }
}

bool change_asks_open(struct fs_app *app, struct request *r, const struct session *s)
{
    struct object *o = object_get(app, OBJECT_OPEN, r->victim);
    if (!r->pinned) {
        request_pin(r, o, true);
        if (!request_take_pins(app, r))
            return false;
        ask_who_has_it_open(app, o, s);
    }
    if (o->asked.count) {
        request_wait_object(app, r, o);
        return false;
    }
    fill_in_holders(app, r);
    return true;
}

/* A lock that the holder of the file's write lease writes to the log was granted before. */
static bool locks_anew(const struct fs_app *app, const Fs__Op *op)
{
    const Fs__SetLock *m = op->set_lock;
    Fs__Attr attr = FS__ATTR__INIT;
    bool unlocks = m->lock && m->lock->type == FS__LOCK__TYPE__UNLOCK;
    return !unlocks && !(fs_get_attr(app->config.state, m->ino, &attr) == 0 &&
                         attr.lease_session == op->session);
}

/* What nobody reserved space for must leave what is promised alone: a log that cannot be cut, since
 * a copy is lost, takes in any number of entries. What gives space back, or ends something, goes
 * on (0), and so do leases: a mount reserves before it asks for one. */
static uint64_t room_for(const struct fs_app *app, const Fs__Op *op)
{
    switch (op->body_case) {
    case FS__OP__BODY_MAKE:
        return NAME_ROOM + op->make->target.len;
    case FS__OP__BODY_SETXATTR:
        return NAME_ROOM + op->setxattr->value.len;
    case FS__OP__BODY_LINK:
    case FS__OP__BODY_RENAME:
    case FS__OP__BODY_SETATTR:
    case FS__OP__BODY_ATIMES:
        return NAME_ROOM;
    case FS__OP__BODY_SET_LOCK:
        return locks_anew(app, op) ? NAME_ROOM : 0;
    case FS__OP__BODY_UNLINK:
    case FS__OP__BODY_REMOVEXATTR:
    case FS__OP__BODY_LEASE:
    case FS__OP__BODY_RELEASE:
    case FS__OP__BODY_COMMIT:
    case FS__OP__BODY_RESERVE: /* by what it asks for */
    case FS__OP__BODY_OPEN_SESSION:
    case FS__OP__BODY_END_SESSION:
    case FS__OP__BODY_DROP_HOLDS:
    case FS__OP__BODY_GRANT_INODES:
    case FS__OP__BODY__NOT_SET:
    case _FS__OP__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return 0;
}

/* What it takes is not free any more, though the nodes do not tell yet. */
static void propose(struct fs_app *app, struct request *r)
{
    r->reserving = room_for(app, r->op);
    app->reserving += r->reserving;
    request_propose(app, r, NULL, 0, NULL, 0);
}

static void run_conflicting(struct fs_app *app, struct request *r, struct session *s)
{
    if (!r->pinned) {
        if (!dirs_are_free(app, r, s))
            return;
        pin_all(app, r);
        if (!request_take_pins(app, r))
            return;
        ask_everybody(app, r, s);
    }
    if (sessions_unsure(app, s) && !MUTANT(election_forgets_promises)) {
        request_wait(app, r, WAIT_SESSIONS, &app->session_waiters);
        return;
    }
    if (!way_is_free(app, r, s))
        return;
    fill_in_holders(app, r);
    propose(app, r);
}

/* RULES B13: what is promised here is kept by every node, also by a witness that is drafted before
 * it is used up. Small blocks are in the log and among the blocks for a while, so no more than half
 * of what is free is promised. */
static bool has_room(const struct fs_app *app, uint64_t bytes)
{
    uint64_t taken = fs_state_totals(app->config.state).reserved + app->reserving;
    uint64_t room = app->room_bytes / 2;
    return (bytes <= room && taken <= room - bytes) || MUTANT(reserve_unlimited);
}

static void refuse_room(struct fs_app *app, struct request *r)
{
    Fs__Reply *reply = reply_error(app, r->id, 0, "the fullest node has no room left");
    reply_op(reply)->err = ENOSPC;
    request_answer(app, r, reply);
}

static void run_reserve(struct fs_app *app, struct request *r)
{
    uint64_t bytes = r->op->reserve->bytes;
    if (!has_room(app, bytes)) {
        refuse_room(app, r);
        return;
    }
    r->reserving = bytes;
    app->reserving += bytes;
    request_propose(app, r, NULL, 0, NULL, 0);
}

void change_run(struct fs_app *app, struct request *r, struct session *s)
{
    const uint64_t room = room_for(app, r->op);
    if (room && !has_room(app, room)) {
        refuse_room(app, r);
        return;
    }
    switch (r->op->body_case) {
    case FS__OP__BODY_MAKE:
    case FS__OP__BODY_LINK:
    case FS__OP__BODY_SETXATTR:
    case FS__OP__BODY_UNLINK:
    case FS__OP__BODY_RENAME:
    case FS__OP__BODY_SETATTR:
    case FS__OP__BODY_REMOVEXATTR:
    case FS__OP__BODY_LEASE:
        run_conflicting(app, r, s);
        return;
    case FS__OP__BODY_SET_LOCK:
        if (!lock_way_is_free(app, r, s))
            return;
        break;
    case FS__OP__BODY_RESERVE:
        run_reserve(app, r);
        return;
    case FS__OP__BODY_END_SESSION:
        if (r->op->end_session->session == r->session)
            break;
        request_fail(app, r, EPERM, "a mount ends its own session only");
        return;
    case FS__OP__BODY_OPEN_SESSION:
    case FS__OP__BODY_RELEASE:
    case FS__OP__BODY_DROP_HOLDS:
    case FS__OP__BODY_ATIMES:
    case FS__OP__BODY_GRANT_INODES:
        break;
    case FS__OP__BODY_COMMIT:
    case FS__OP__BODY__NOT_SET:
    case _FS__OP__BODY__CASE_IS_INT_SIZE:
        request_fail(app, r, EINVAL, "an operation that this node does not know");
        return;
    }
    propose(app, r);
}

/* ---- applied --------------------------------------------------------------------------------- */

static bool promise_after(struct fs_app *app, struct session *s, enum object_kind kind,
                          uint64_t ino)
{
    struct object *o = object_get(app, kind, ino);
    bool calm = object_calm(o) && session_may_hold(app, s);
    if (calm)
        object_promise(app, o, s);
    object_settle(app, o);
    return calm;
}

/* The answer carries the newest attributes, so it may promise them, and its own name of the
 * directory when the directory's names were promised already. */
static void grant_after(struct fs_app *app, const struct request *r, Fs__Reply *reply)
{
    struct session *s = session_find(app, r->session);
    const Fs__Attr *attr = reply->op->attr;
    if (!s || reply->op->err || !attr)
        return;
    if (attr->lease_session && attr->lease_session != s->id)
        return;
    if (!promise_after(app, s, OBJECT_ATTR, attr->ino))
        return;
    reply->grant_attr = true;
    reply->grant = ++s->next_n;
}

static bool has_lease(const struct fs_app *app, uint64_t session, uint64_t ino, uint64_t epoch)
{
    Fs__Attr attr = FS__ATTR__INIT;
    const struct object *o = object_find(app, OBJECT_LEASE, ino);
    return fs_get_attr(app->config.state, ino, &attr) == 0 && attr.lease_session == session &&
           attr.lease_epoch == epoch && !(o && o->releasing);
}

/* A request for a lease, or for a new file with one, that is sent again is answered as it was the
 * first time (RULES B2: the epoch says which lease), and that lease may have ended since, or is
 * being ended because the mount did not know of it. */
void change_check_lease(const struct fs_app *app, const struct request *r, Fs__OpReply *reply)
{
    if (reply->err)
        return;
    if (r->op->body_case == FS__OP__BODY_LEASE &&
        !has_lease(app, r->session, r->op->lease->ino, reply->value))
        reply->err = EAGAIN; /* the mount asks anew */
    if (r->op->body_case == FS__OP__BODY_MAKE && reply->attr &&
        reply->attr->lease_session == r->session &&
        !has_lease(app, r->session, reply->attr->ino, reply->attr->lease_epoch))
        reply->attr->lease_session = 0;
}

void change_tell_locks(const struct fs_app *app, const struct request *r, Fs__Reply *reply)
{
    const Fs__OpReply *op = reply->op;
    const Fs__Attr *attr = op->attr;
    bool tells = r->op->body_case == FS__OP__BODY_LEASE || r->op->body_case == FS__OP__BODY_MAKE;
    if (!tells || op->err || !attr || attr->lease_session != r->session)
        return;
    reply->locks_here = has_lease(app, r->session, attr->ino, attr->lease_epoch) &&
                        locks_may_be_kept(app, r->session, attr->ino);
}

void change_applied(struct fs_app *app, struct request *r, const Fs__OpReply *result)
{
    if (!r->req) { /* the service's own */
        request_end(app, r);
        return;
    }
    if (result->err == ESTALE && r->op->body_case != FS__OP__BODY_OPEN_SESSION &&
        !session_find(app, r->session)) {
        request_unknown_session(app, r);
        return;
    }
    if (r->op->body_case == FS__OP__BODY_COMMIT && !commit_applied(app, r, result))
        return;
    Fs__Reply *reply = reply_new(app, r->id);
    reply->body_case = FS__REPLY__BODY_OP;
    reply->op = op_reply_copy(result);
    change_check_lease(app, r, reply->op);
    change_tell_locks(app, r, reply);
    request_unpin(app, r); /* so that the answer may promise what nobody else is changing */
    grant_after(app, r, reply);
    request_answer(app, r, reply);
}

static void lease_ended(struct fs_app *app, uint64_t ino)
{
    struct object *o = object_find(app, OBJECT_LEASE, ino);
    if (!o)
        return;
    o->releasing = false;
    object_wake(app, o);
    object_settle(app, o);
}

void change_noticed(struct fs_app *app, const Fs__Op *op, const struct fs_result *result)
{
    if (!app->leading)
        return;
    struct session *ended = session_find(app, result->ended_session);
    if (ended)
        session_drop(app, ended);
    if (result->ended_session)
        locks_of_session_ended(app);
    if (op->body_case == FS__OP__BODY_SET_LOCK && result->reply->err == 0)
        locks_changed(app, op->set_lock->ino);
    if (app->serving && op->body_case == FS__OP__BODY_OPEN_SESSION && result->reply->err == 0 &&
        !session_find(app, result->reply->value))
        (void)session_add(app, result->reply->value, false); /* it was never promised anything */
    if (op->body_case == FS__OP__BODY_ATIMES && result->reply->err == 0)
        atimes_tell(app, op->atimes);
    if (op->body_case == FS__OP__BODY_RELEASE)
        for (size_t i = 0; i < op->release->n_leases; i++)
            lease_ended(app, op->release->leases[i]->ino);
}
