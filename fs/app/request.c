/* Life of a request at the leader: it runs from its beginning each time something it waited for
 * changed, until it can answer or propose. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

enum { HOLDS_TOLD_MAX = 256 }; /* in one answer; the next has more */

struct request *request_new(struct fs_app *app)
{
    struct request *r = xcalloc(1, sizeof *r);
    r->since = app->now;
    list_init(&r->wait);
    list_push_back(&app->requests, &r->all);
    return r;
}

void request_end(struct fs_app *app, struct request *r)
{
    request_unpin(app, r);
    list_remove(&r->wait); /* perhaps of the COMMITs before it, which may go with it */
    commit_leave(app, r);
    queued_leave(app, r);
    list_remove(&r->all);
    if (r->waits_for)
        object_settle(app, r->waits_for);
    if (r->ticket && map_get(&app->tickets, r->ticket) == r)
        (void)map_del(&app->tickets, r->ticket);
    if (r->index && map_get(&app->indexes, r->index) == r)
        (void)map_del(&app->indexes, r->index);
    app->reserving -= r->reserving;
    struct session *s = session_find(app, r->session);
    if (s && r->op && r->op->seq && map_get(&s->pending, r->op->seq) == r)
        (void)map_del(&s->pending, r->op->seq);
    if (r->req)
        fs__request__free_unpacked(r->req, NULL);
    else if (r->op)
        fs__op__free_unpacked(r->op, NULL);
    blob_unref(r->bulk);
    free(r);
}

/* ---- answering ------------------------------------------------------------------------------- */

void request_answer(struct fs_app *app, struct request *r, Fs__Reply *reply)
{
    app_send(app, r->client, reply);
    request_end(app, r);
}

void request_fail(struct fs_app *app, struct request *r, int err, const char *why)
{
    request_answer(app, r, reply_error(app, r->id, err, why));
}

/* ESTALE from the leader itself: "I lead, and do not know your session". */
void request_unknown_session(struct fs_app *app, struct request *r)
{
    request_fail(app, r, ESTALE, "the session ended");
}

/* ESTALE that points elsewhere, or nowhere yet. */
void request_not_leader(struct fs_app *app, struct request *r)
{
    Fs__Reply *reply = reply_error(app, r->id, ESTALE, "this node does not lead");
    if (reply->leader == app->config.self)
        reply->leader = 0;
    request_answer(app, r, reply);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void unwait(struct fs_app *app, struct request *r)
{
    struct object *o = r->waits_for;
    list_remove(&r->wait);
    r->waits = WAIT_NONE;
    r->waits_for = NULL;
    r->wants_alone = false;
    if (o)
        object_settle(app, o);
}

void request_wait(struct fs_app *app, struct request *r, enum request_wait what, struct list *queue)
{
    unwait(app, r);
    r->waits = what;
    if (queue)
        list_push_back(queue, &r->wait);
}

void request_wait_object(struct fs_app *app, struct request *r, struct object *o)
{
    unwait(app, r);
    r->waits = WAIT_OBJECT;
    r->waits_for = o;
    list_push_back(&o->waiters, &r->wait);
}

void request_ready(struct fs_app *app, struct request *r)
{
    list_remove(&r->wait);
    r->waits = WAIT_NONE;
    r->wants_alone = false;
    r->waits_for = NULL; /* whoever wakes its waiters settles the object */
    list_push_back(&app->ready, &r->wait);
}

void requests_ready(struct fs_app *app, struct list *queue)
{
    while (!list_empty(queue))
        request_ready(app, container_of(queue->next, struct request, wait));
}

void requests_run(struct fs_app *app)
{
    struct list *item;
    while ((item = list_pop_front(&app->ready)) != NULL) {
        struct request *r = container_of(item, struct request, wait);
        unwait(app, r);
        request_run(app, r);
    }
}

bool request_has_point(struct fs_app *app, struct request *r)
{
    if (!r->point) {
        r->ticket = ++app->next_ticket;
        (void)map_put(&app->tickets, r->ticket, r);
        request_wait(app, r, WAIT_POINT, NULL);
        struct fs_app_effect *e = app_effect(app, FS_APP_READ_INDEX);
        e->ticket = r->ticket;
        e->aside = r->req->body_case == FS__REQUEST__BODY_RENEW;
        return false;
    }
    if (r->min_index > app->applied) {
        request_wait(app, r, WAIT_APPLIED, &app->applied_waiters);
        return false;
    }
    return true;
}

/* ---- running --------------------------------------------------------------------------------- */

/* A session that was silent when an unlink asked counted as having the file open: it is told, so
 * that it gives back what it does not need (RULES L7). Of many some with each answer, in turn: it
 * may have the first ones open for ever. */
static void tell_holds(const struct fs_app *app, struct session *s, Fs__RenewReply *renew)
{
    uint64_t inos[HOLDS_TOLD_MAX];
    renew->n_holds =
        fs_session_holds(app->config.state, s->id, s->holds_told, inos, HOLDS_TOLD_MAX);
    s->holds_told = renew->n_holds == HOLDS_TOLD_MAX ? inos[HOLDS_TOLD_MAX - 1] : 0;
    if (renew->n_holds)
        renew->holds = xmemdup(inos, renew->n_holds * sizeof *inos);
}

static void run_renew(struct fs_app *app, struct request *r, struct session *s)
{
    if (!MUTANT(renewed_by_deposed) && !request_has_point(app, r))
        return;
    Fs__Reply *reply = reply_new(app, r->id);
    if (r->req->term == app->term) {
        struct fs_session stored;
        session_renewed(app, s);
        reply->body_case = FS__REPLY__BODY_RENEW;
        reply->renew = xmalloc(sizeof *reply->renew);
        fs__renew_reply__init(reply->renew);
        reply->renew->lease_us = app->config.lease_us;
        reply->renew->targets = app->targets;
        reply->renew->commit = app->applied;
        reply->renew->statfs = statfs_reply(app);
        if (fs_session_get(app->config.state, s->id, &stored))
            reply->renew->reserved = stored.reserved;
        tell_holds(app, s, reply->renew);
    } /* else the answer's term tells it to drop what it holds and to renew in this one */
    request_answer(app, r, reply);
}

static bool opens_or_ends_session(const struct request *r)
{
    return r->op && (r->op->body_case == FS__OP__BODY_OPEN_SESSION ||
                     r->op->body_case == FS__OP__BODY_END_SESSION);
}

/* An answer stored by apply, or a request that is under way already: exactly once (PROTOCOL 4.3).
 */
static bool seen_before(struct fs_app *app, struct request *r, struct session *s)
{
    if (!r->op || !r->op->seq)
        return false;
    struct request *first = map_get(&s->pending, r->op->seq);
    if (first == r)
        return false;
    if (first) {
        first->client = r->client;
        first->id = r->id;
        request_end(app, r);
        return true;
    }
    Fs__OpReply *stored = fs_session_reply(app->config.state, s->id, r->op->seq);
    if (!stored) {
        (void)map_put(&s->pending, r->op->seq, r);
        return false;
    }
    Fs__Reply *reply = reply_new(app, r->id);
    reply->body_case = FS__REPLY__BODY_OP;
    reply->op = stored;
    change_check_lease(app, r, stored);
    change_tell_locks(app, r, reply);
    request_answer(app, r, reply);
    return true;
}

void request_run(struct fs_app *app, struct request *r)
{
    if (!app->serving) {
        request_wait(app, r, WAIT_START, &app->starting);
        return;
    }
    struct session *s = session_find(app, r->session);
    if (!s && !opens_or_ends_session(r)) {
        request_unknown_session(app, r);
        return;
    }
    if (s && s->ending && r->req->body_case != FS__REQUEST__BODY_RECALL_ACK) {
        request_wait(app, r, WAIT_SESSIONS, &app->session_waiters);
        return;
    }
    if (s && seen_before(app, r, s))
        return;
    switch (r->req->body_case) {
    case FS__REQUEST__BODY_RENEW:
        run_renew(app, r, s);
        return;
    case FS__REQUEST__BODY_RECALL_ACK:
        recall_on_ack(app, s, r->req->recall_ack);
        request_end(app, r); /* one way */
        return;
    case FS__REQUEST__BODY_OP:
        if (r->op->q)
            queued_run(app, r, s);
        else if (r->op->body_case == FS__OP__BODY_COMMIT)
            commit_run(app, r, s);
        else
            change_run(app, r, s);
        return;
    case FS__REQUEST__BODY_LOOKUP:
    case FS__REQUEST__BODY_GETATTR:
    case FS__REQUEST__BODY_READDIR:
    case FS__REQUEST__BODY_READLINK:
    case FS__REQUEST__BODY_GETXATTR:
    case FS__REQUEST__BODY_LISTXATTR:
    case FS__REQUEST__BODY_STATFS:
    case FS__REQUEST__BODY_READ:
    case FS__REQUEST__BODY_EXTENTS:
        read_run(app, r, s);
        return;
    case FS__REQUEST__BODY_LOCK_QUERY:
        lock_query_run(app, r, s);
        return;
    case FS__REQUEST__BODY__NOT_SET:
    case _FS__REQUEST__BODY__CASE_IS_INT_SIZE:
        break;
    }
    request_fail(app, r, EINVAL, "a request that this node does not know");
}

/* A COMMIT that may be refused, and then the next one has its number (RULES B12). */
static bool refers(const Fs__Op *op)
{
    bool some = false;
    for (size_t i = 0; op->body_case == FS__OP__BODY_COMMIT && i < op->commit->n_edits; i++)
        some |= op->commit->edits[i]->kind == FS__EDIT__KIND__REFERENCE;
    return some;
}

/* PROTOCOL 4.3: one of the leaders since may have refused it, which nothing in the log tells. Who
 * still waits for it sends it again. Other COMMITs and the session's queue have numbers that do
 * tell. */
static bool is_late(const struct fs_app *app, const struct request *r)
{
    return r->op && (r->op->seq || refers(r->op)) && r->req->term < app->term;
}

void requests_drop_questions(struct fs_app *app, uint64_t client)
{
    list_each(it, &app->requests) {
        struct request *r = container_of(it, struct request, all);
        if (r->client == client && r->req && r->req->body_case != FS__REQUEST__BODY_OP)
            request_end(app, r);
    }
}

void request_start(struct fs_app *app, uint64_t client, Fs__Request *req, struct blob *bulk)
{
    struct request *r = request_new(app);
    r->client = client;
    r->id = req->id;
    r->session = req->session;
    r->req = req;
    r->bulk = blob_ref(bulk);
    if (req->body_case == FS__REQUEST__BODY_OP) {
        r->op = req->op;
        r->op->session = req->session;
    }
    app->requests_total++;
    if (!app->leading || req->term > app->term) { /* it does not know yet that it was deposed */
        request_not_leader(app, r);
        return;
    }
    struct session *s = session_find(app, req->session);
    if (s && client < s->newest) {
        request_end(app, r); /* late on a link that the mount gave up: its answers stand */
        return;
    }
    if (s && s->newest != client)
        requests_drop_questions(app, s->newest);
    if (s)
        session_bind(app, s, client);
    if (is_late(app, r))
        request_fail(app, r, ESTALE, "sent to the leader of an earlier term");
    else
        request_run(app, r);
}

/* ---- pins: what a change under way keeps others from ----------------------------------------- */

void request_pin(struct request *r, struct object *o, bool exclusive)
{
    for (size_t i = 0; i < r->pins_count; i++) {
        if (r->pins[i].object != o)
            continue;
        r->pins[i].exclusive |= exclusive;
        return;
    }
    assert(r->pins_count < PINS_MAX);
    r->pins[r->pins_count++] = (struct pin){o, exclusive};
}

/* Who shares it with others comes behind who waits to have it alone: else there might be one of
 * them at any time. Those that have it now end, and wake all that wait. */
static bool is_wanted_alone(const struct object *o)
{
    list_each(it, &o->waiters)
        if (container_of(it, struct request, wait)->wants_alone)
            return true;
    return false;
}

static bool may_pin(const struct pin *p)
{
    const struct object *o = p->object;
    if (o->exclusive)
        return false;
    return !o->shared || (!p->exclusive && !is_wanted_alone(o));
}

bool request_take_pins(struct fs_app *app, struct request *r)
{
    struct object *in_the_way = NULL;
    bool alone = false;
    for (size_t i = 0; i < r->pins_count && !in_the_way; i++) {
        if (may_pin(&r->pins[i]))
            continue;
        in_the_way = r->pins[i].object;
        alone = r->pins[i].exclusive;
    }
    if (in_the_way) {
        request_wait_object(app, r, in_the_way);
        r->wants_alone = alone;
    }
    for (size_t i = 0; i < r->pins_count; i++) {
        struct object *o = r->pins[i].object;
        if (in_the_way)
            object_settle(app, o);
        else if (r->pins[i].exclusive)
            o->exclusive = true;
        else
            o->shared++;
    }
    if (in_the_way)
        r->pins_count = 0;
    r->pinned = !in_the_way;
    return r->pinned;
}

void request_unpin(struct fs_app *app, struct request *r)
{
    if (!r->pinned)
        return;
    r->pinned = false;
    for (size_t i = 0; i < r->pins_count; i++) {
        struct object *o = r->pins[i].object;
        if (r->pins[i].exclusive)
            o->exclusive = false;
        else
            o->shared--;
        if (object_kind(o) == OBJECT_OPEN && !o->shared)
            vec_clear(&o->open);
        object_wake(app, o);
        object_settle(app, o);
    }
    r->pins_count = 0;
}

/* ---- proposals ------------------------------------------------------------------------------- */

void request_propose(struct fs_app *app, struct request *r, struct block_ref *blocks, size_t count,
                     struct blob *inline_bytes, uint32_t holders)
{
    if (!r->op->q) /* else it is done already, and its time was told */
        r->op->time = app->wall_ns;
    r->ticket = ++app->next_ticket;
    (void)map_put(&app->tickets, r->ticket, r);
    request_wait(app, r, WAIT_LOG, NULL);
    struct blob *payload = blob_new(fs__op__get_packed_size(r->op));
    (void)fs__op__pack(r->op, payload->data);
    struct fs_app_effect *e = app_effect(app, FS_APP_PROPOSE);
    e->ticket = r->ticket;
    e->payload = payload;
    e->blocks = blocks;
    e->blocks_count = count;
    e->inline_bytes = blob_ref(inline_bytes);
    e->holders = holders;
}

struct request *request_propose_own(struct fs_app *app, Fs__Op *op)
{
    struct request *r = request_new(app);
    r->op = op;
    request_propose(app, r, NULL, 0, NULL, 0);
    return r;
}

void requests_appended(struct fs_app *app, uint64_t ticket, uint64_t index)
{
    struct request *r = map_get(&app->tickets, ticket);
    if (!r)
        return;
    (void)map_del(&app->tickets, ticket);
    r->ticket = 0;
    r->index = index;
    r->appended = true;
    (void)map_put(&app->indexes, index, r);
    if (r->tail)
        commit_appended(app, r);
}

/* Whoever asked asks again: with the same numbers, so that it is done once whatever became of it.
 */
void requests_dropped(struct fs_app *app, uint64_t ticket)
{
    struct request *r = map_get(&app->tickets, ticket);
    if (!r)
        return;
    if (!r->req && r->op->body_case == FS__OP__BODY_RELEASE)
        for (size_t i = 0; i < r->op->release->n_leases; i++) {
            struct object *o = object_find(app, OBJECT_LEASE, r->op->release->leases[i]->ino);
            if (!o)
                continue;
            o->releasing = false;
            object_wake(app, o);
            object_settle(app, o);
        }
    if (!r->req && r->op->body_case == FS__OP__BODY_END_SESSION) {
        struct session *s = session_find(app, r->op->end_session->session);
        if (s)
            s->ending = false;
    }
    request_not_leader(app, r);
}

/* ---- for people ------------------------------------------------------------------------------ */

static const char *what_is_asked(const struct request *r)
{
    if (r->op)
        switch (r->op->body_case) {
        case FS__OP__BODY_OPEN_SESSION:
            return "open session";
        case FS__OP__BODY_END_SESSION:
            return "end session";
        case FS__OP__BODY_MAKE:
            return "make";
        case FS__OP__BODY_UNLINK:
            return "unlink";
        case FS__OP__BODY_RENAME:
            return "rename";
        case FS__OP__BODY_LINK:
            return "link";
        case FS__OP__BODY_SETATTR:
            return "setattr";
        case FS__OP__BODY_SETXATTR:
            return "setxattr";
        case FS__OP__BODY_REMOVEXATTR:
            return "removexattr";
        case FS__OP__BODY_LEASE:
            return "write lease";
        case FS__OP__BODY_RELEASE:
            return "release";
        case FS__OP__BODY_COMMIT:
            return "commit";
        case FS__OP__BODY_RESERVE:
            return "reserve";
        case FS__OP__BODY_DROP_HOLDS:
            return "drop holds";
        case FS__OP__BODY_SET_LOCK:
            return "lock";
        case FS__OP__BODY_ATIMES:
            return "times of reads";
        case FS__OP__BODY_GRANT_INODES:
            return "grant inode numbers";
        case FS__OP__BODY__NOT_SET:
        case _FS__OP__BODY__CASE_IS_INT_SIZE:
            return "?";
        }
    return r->req && r->req->body_case == FS__REQUEST__BODY_LOCK_QUERY ? "lock" : "read";
}

static const char *what_it_waits_for(const struct request *r)
{
    switch (r->waits) {
    case WAIT_NONE:
        return "nothing";
    case WAIT_START:
        return "this leader to apply what came before it";
    case WAIT_POINT:
        return "a majority to confirm the leader";
    case WAIT_APPLIED:
        return "the state to be applied";
    case WAIT_OBJECT:
        return object_kind(r->waits_for) == OBJECT_LOCK ? "a lock that another has"
                                                        : "another change of the same object";
    case WAIT_SESSIONS:
        return "mounts to say what they hold after the election";
    case WAIT_GAP:
        return "an earlier commit of the file, or change of the mount";
    case WAIT_LOG:
        return "the log: enough nodes that hold the entry and its bytes";
    }
    return "?";
}

void request_describe(const struct fs_app *app, const struct request *r, char *text, size_t size)
{
    const struct session *s = map_get(&app->sessions, r->session ? r->session : UINT64_MAX);
    const char *who = s && s->name[0] ? s->name : "the service";
    unsigned long long ms = (unsigned long long)(time_since(app->now, r->since) / TIME_MS);
    if (r->waits_for && r->waits_for->asked.count) {
        const struct session *holder = r->waits_for->asked.items[0];
        (void)snprintf(text, size,
                       "%s: %s waits %llu ms for %s of inode %llu from %s (heard %llu ms ago)", who,
                       what_is_asked(r), ms,
                       object_kind(r->waits_for) == OBJECT_LEASE ? "the write lease" : "a recall",
                       (unsigned long long)object_ino(r->waits_for), holder->name,
                       (unsigned long long)(time_since(app->now, holder->heard) / TIME_MS));
    } else
        (void)snprintf(text, size, "%s: %s waits %llu ms for %s", who, what_is_asked(r), ms,
                       what_it_waits_for(r));
}
