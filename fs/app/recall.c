/* Recalls: promises and write leases are asked back before a change of what they are about (RULES
 * L3, L5, L7). One message per session and step, however many changes ask. */
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

static bool asked(const struct object *o, const struct session *s)
{
    for (size_t i = 0; i < o->asked.count; i++)
        if (o->asked.items[i] == s)
            return true;
    return false;
}

static void unask(struct object *o, const struct session *s)
{
    for (size_t i = 0; i < o->asked.count; i++) {
        if (o->asked.items[i] != s)
            continue;
        vec_remove(&o->asked, i);
        return;
    }
}

static void release_for(struct fs_app *app, struct session *s, uint64_t ino);

/* RULES L2: a silent holder's lease ends with its session. */
static void end_silent_holder(struct fs_app *app, struct session *s, const struct object *o)
{
    if (MUTANT(stale_epoch))
        release_for(app, s, object_ino(o));
    else
        session_propose_end(app, s);
}

void recall_ask(struct fs_app *app, struct session *s, struct object *o)
{
    if (asked(o, s))
        return;
    vec_push(&o->asked, s);
    if (s->expires <= app->now && object_kind(o) != OBJECT_LEASE) {
        /* its promises are over by its own clock as well */
        unask(o, s);
        object_unpromise(app, o, s);
        if (object_kind(o) == OBJECT_OPEN)
            vec_push(&o->open, s->id);
        return;
    }
    vec_push(&s->gathering, o);
    if (s->silent <= app->now)
        end_silent_holder(app, s, o);
}

static Fs__Object__Kind wire_kind(enum object_kind kind)
{
    switch (kind) {
    case OBJECT_NAMES:
        return FS__OBJECT__KIND__NAMES;
    case OBJECT_LEASE:
        return FS__OBJECT__KIND__LEASE;
    case OBJECT_OPEN:
        return FS__OBJECT__KIND__OPEN;
    case OBJECT_ATTR:
    case OBJECT_NAME:
    case OBJECT_LOCK:
        break;
    }
    return FS__OBJECT__KIND__ATTR;
}

static void recall_send(struct fs_app *app, const struct session *s, const struct recall *k)
{
    if (!s->client)
        return; /* sent when it comes back */
    Fs__Reply *reply = reply_new(app, 0);
    Fs__Recall *m = xmalloc(sizeof *m);
    fs__recall__init(m);
    m->n = k->n;
    m->n_objects = k->count;
    m->objects = xcalloc(k->count, sizeof(Fs__Object *));
    for (size_t i = 0; i < k->count; i++) {
        Fs__Object *object = xmalloc(sizeof *object);
        fs__object__init(object);
        object->kind = wire_kind(object_kind(k->objects[i]));
        object->ino = object_ino(k->objects[i]);
        m->objects[i] = object;
    }
    reply->body_case = FS__REPLY__BODY_RECALL;
    reply->recall = m;
    app_send(app, s->client, reply);
}

static void recall_flush(struct fs_app *app, struct session *s)
{
    if (!s->gathering.count)
        return;
    struct recall *k = xmalloc(sizeof *k + s->gathering.count * sizeof k->objects[0]);
    k->n = ++s->next_n;
    k->count = s->gathering.count;
    for (size_t i = 0; i < k->count; i++)
        k->objects[i] = s->gathering.items[i];
    vec_clear(&s->gathering);
    list_push_back(&s->recalls, &k->link);
    app->recalls_total++;
    app->recalls_out++;
    recall_send(app, s, k);
}

void recalls_flush(struct fs_app *app)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value))
        recall_flush(app, value);
}

void recalls_resend(struct fs_app *app, struct session *s)
{
    list_each(it, &s->recalls)
        recall_send(app, s, container_of(it, struct recall, link));
}

/* ---- answers --------------------------------------------------------------------------------- */

static void propose_release(struct fs_app *app, struct session *s, Fs__LeaseEnd **ends,
                            size_t count)
{
    Fs__Op *op = xmalloc(sizeof *op);
    fs__op__init(op);
    op->session = s->id;
    op->body_case = FS__OP__BODY_RELEASE;
    op->release = xmalloc(sizeof *op->release);
    fs__release__init(op->release);
    op->release->leases = xcalloc(count, sizeof(Fs__LeaseEnd *));
    op->release->n_leases = count;
    for (size_t i = 0; i < count; i++) {
        Fs__LeaseEnd *end = xmalloc(sizeof *end);
        fs__lease_end__init(end);
        end->ino = ends[i]->ino;
        end->epoch = ends[i]->epoch;
        end->last_c = ends[i]->last_c;
        op->release->leases[i] = end;
        object_get(app, OBJECT_LEASE, end->ino)->releasing = true;
    }
    (void)request_propose_own(app, op);
}

/* The mount says that it has no such lease, the state says that it does: the mount forgot, with
 * nothing left to commit. Released for it. */
static void release_for(struct fs_app *app, struct session *s, uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    if (fs_get_attr(app->config.state, ino, &attr) < 0 || attr.lease_session != s->id ||
        fs_lease_last_c(app->config.state, ino, &end.last_c) < 0)
        return;
    end.ino = ino;
    end.epoch = attr.lease_epoch;
    propose_release(app, s, ends, 1);
}

static bool is_open(const Fs__RecallAck *ack, uint64_t ino)
{
    for (size_t i = 0; i < ack->n_open_inos; i++)
        if (ack->open_inos[i] == ino)
            return true;
    return false;
}

static void answered(struct fs_app *app, struct session *s, struct object *o,
                     const Fs__RecallAck *ack)
{
    unask(o, s);
    switch (object_kind(o)) {
    case OBJECT_ATTR:
    case OBJECT_NAMES:
    case OBJECT_NAME:
    case OBJECT_LOCK: /* neither is ever promised */
        object_unpromise(app, o, s);
        break;
    case OBJECT_OPEN:
        if (is_open(ack, object_ino(o)))
            vec_push(&o->open, s->id);
        break;
    case OBJECT_LEASE:
        if (!o->releasing)
            release_for(app, s, object_ino(o));
        break;
    }
    object_wake(app, o);
    object_settle(app, o);
}

void recall_on_ack(struct fs_app *app, struct session *s, const Fs__RecallAck *ack)
{
    for (size_t i = 0, count; i < ack->n_leases; i += count) {
        count = ack->n_leases - i < FS_RELEASE_MAX ? ack->n_leases - i : FS_RELEASE_MAX;
        propose_release(app, s, ack->leases + i, count);
    }
    list_each(it, &s->recalls) {
        struct recall *k = container_of(it, struct recall, link);
        if (ack->n == 0 || k->n != ack->n)
            continue;
        list_remove(&k->link);
        app->recalls_out--;
        for (size_t i = 0; i < k->count; i++)
            answered(app, s, k->objects[i], ack);
        free(k);
        break;
    }
}

/* ---- silence --------------------------------------------------------------------------------- */

static void unanswered(struct fs_app *app, struct session *s, struct object *o)
{
    if (object_kind(o) == OBJECT_LEASE && map_get(&app->sessions, s->id)) {
        end_silent_holder(app, s, o); /* the answer is its end in the log */
        return;
    }
    unask(o, s);
    object_unpromise(app, o, s);
    if (object_kind(o) == OBJECT_OPEN)
        vec_push(&o->open, s->id);
    object_wake(app, o);
    object_settle(app, o);
}

/* Leases stay asked for until the session's end is applied; then session_drop comes here again. */
void recalls_expire(struct fs_app *app, struct session *s)
{
    bool ended = !map_get(&app->sessions, s->id);
    recall_flush(app, s);
    list_each(it, &s->recalls) {
        struct recall *k = container_of(it, struct recall, link);
        size_t kept = 0;
        for (size_t i = 0; i < k->count; i++) {
            struct object *o = k->objects[i];
            if (object_kind(o) == OBJECT_LEASE && !ended)
                k->objects[kept++] = o;
            unanswered(app, s, o);
        }
        k->count = kept;
        if (kept)
            continue;
        list_remove(&k->link);
        app->recalls_out--;
        free(k);
    }
}

void recalls_free(struct fs_app *app, struct session *s)
{
    struct list *item;
    while ((item = list_pop_front(&s->recalls)) != NULL) {
        app->recalls_out--;
        free(container_of(item, struct recall, link));
    }
}

bool lease_is_free(struct fs_app *app, const struct session *s, const Fs__Attr *attr)
{
    if (!attr->lease_session || (s && attr->lease_session == s->id) || MUTANT(lease_read_around) ||
        MUTANT(lease_taken_away))
        return true;
    struct session *holder = session_find(app, attr->lease_session);
    if (!holder)
        return true; /* sessions and leases end together: not reached while serving */
    struct object *o = object_get(app, OBJECT_LEASE, attr->ino);
    if (!o->releasing && !holder->ending)
        recall_ask(app, holder, o);
    return false;
}

/* Who has the lease of a directory takes what it was told to know alone there for its own, and does
 * things to it before the log has them (knows_alone()). So the lease comes back before anybody else
 * is told of such an inode, or does anything to it, however he came to know its number; but for
 * those that have a promise of it: then nobody knows it alone. */
struct object *lease_in_the_way(struct fs_app *app, const struct session *s, const Fs__Attr *attr)
{
    Fs__Attr home = FS__ATTR__INIT;
    const struct object *o = attr->home ? object_find(app, OBJECT_ATTR, attr->ino) : NULL;
    bool shared = o && s && object_promised(o, s);
    if (attr->home && !shared && !MUTANT(home_read_around) &&
        fs_get_attr(app->config.state, attr->home, &home) == 0 && !lease_is_free(app, s, &home))
        return object_get(app, OBJECT_LEASE, attr->home);
    return lease_is_free(app, s, attr) ? NULL : object_get(app, OBJECT_LEASE, attr->ino);
}

/* Of what has all its names in a directory that `s` has the lease of. Whoever has a promise had it
 * before that lease, whatever is about to change it was let through before. */
bool knows_alone(struct fs_app *app, const struct session *s, uint64_t ino)
{
    const struct object *o = object_find(app, OBJECT_ATTR, ino);
    if (sessions_unsure(app, s) && !MUTANT(alone_after_election))
        return false;
    if (!o || MUTANT(alone_ignores_promises))
        return true;
    return object_calm(o) && o->promised.count == object_promised(o, s);
}
