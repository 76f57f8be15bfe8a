#include "fs/client/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/atime.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "repl/base/mutant.h"

#define RESERVE_CHUNK  (16u << 20) /* RULES B13 */
#define LEADER_SILENCE (300 * TIME_MS)

bool session_leader_usable(const struct client *c)
{
    return c->leader != 0 && c->leader < NODES_MAX && c->links[c->leader].up;
}

bool session_lease_valid(const struct client *c)
{
    return c->state == SESSION_LIVE && c->now < c->lease_until;
}

/* ---- who leads ------------------------------------------------------------------------------- */

static void on_probe_timer(struct client *c, struct timer *t);

static void on_probe_answer(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                            struct blob *bulk)
{
    (void)r, (void)bulk;
    c->probe = NULL;
    if (reply != NULL && reply->err == 0 && reply->term >= c->term) {
        c->leader = c->probe_node;
        rpc_pump(c);
    } else if (reply != NULL && reply->err == ESTALE && reply->leader == c->probe_node &&
               reply->term >= c->term && c->leader == 0) {
        c->leader =
            c->probe_node; /* leads, but does not know our session: the next request tells */
        rpc_pump(c);
    }
    if (!session_leader_usable(c)) {
        session_find_leader(c);
    }
}

/* Asks the next reachable node but the present leader; its answer names the leader and the term. */
static void probe(struct client *c)
{
    c->probed_at = c->now; /* also when there is nobody to ask: not again at once */
    if (c->probe != NULL) {
        if (time_since(c->now, c->probe->sent_at) < LEADER_SILENCE) {
            return;
        }
        struct rpc *old = c->probe;
        c->probe = NULL;
        rpc_cancel(c, old);
    }
    uint32_t nodes = c->config.copies | c->config.witnesses;
    for (uint32_t step = 1; step <= NODES_MAX; step++) {
        uint32_t node = (c->probe_node + step) % NODES_MAX;
        bool usable = (nodes >> node & 1) != 0 && c->links[node].up;
        if (!usable || (session_leader_usable(c) && node == c->leader)) {
            continue;
        }
        c->probe_node = node;
        struct rpc *r = rpc_new(RPC_PROBE, NULL, on_probe_answer);
        r->session = c->state == SESSION_LIVE ? c->session : 0;
        r->req->body_case = FS__REQUEST__BODY_RENEW;
        r->req->renew = xmalloc(sizeof(*r->req->renew));
        fs__renew__init(r->req->renew);
        c->probe = r;
        rpc_start(c, r);
        return;
    }
}

void session_find_leader(struct client *c)
{
    if (c->leaderless_since == 0 && !session_leader_usable(c)) {
        c->leaderless_since = c->now;
    }
    if (timer_running(&c->probe_timer) || c->stopped) {
        return;
    }
    timer_set(c, TIMER_RETRY, &c->probe_timer, c->now + c->probe_delay, on_probe_timer);
    c->probe_delay = time_min(c->probe_delay * 2, BACKOFF_MAX);
}

static void on_probe_timer(struct client *c, struct timer *t)
{
    (void)t;
    if (session_leader_usable(c)) {
        c->bounces = 0;
        rpc_pump(c);
        return;
    }
    probe(c);
    session_find_leader(c); /* and again if that one says nothing */
}

static void new_term(struct client *c, uint64_t term, uint32_t leader)
{
    trace_printf(&c->config.trace, "mount term=%llu leader=n%u", (unsigned long long)term, leader);
    bool first = c->term == 0;
    c->term = term;
    c->leader = leader;
    c->bounces = 0;
    c->probe_delay = BACKOFF_MIN;
    if (!first && !MUTANT(promises_kept_after_election)) {
        /* RULES L8: first drop, then renew in the new term, which says that nothing is held. */
        cache_drop_all(c);
        recall_forget(c);
    }
    c->renew_at = c->now;
    rpc_new_leader(c);
}

void session_note_reply(struct client *c, uint32_t node, const struct Fs__Reply *reply)
{
    c->links[node].silent_until = 0;
    /* A term without a leader may be one node's alone, and the next leader's may be lower. */
    if (reply->term > c->term && reply->leader != 0) {
        new_term(c, reply->term, reply->leader);
    } else if (reply->term == c->term && reply->leader != 0 && !session_leader_usable(c)) {
        c->leader = reply->leader;
        rpc_pump(c);
    }
    if (node == c->leader && reply->term == c->term) {
        c->heard_at = c->now;
        c->leaderless_since = 0;
        if (reply->targets != 0 && reply->targets != c->targets) {
            c->targets = reply->targets;
            commit_on_targets(c);
        }
    }
    if (reply->err != ESTALE && reply->err != EAGAIN && reply->index > c->token &&
        !MUTANT(token_not_raised)) {
        c->token = reply->index;
    }
}

/* ---- opening and renewing -------------------------------------------------------------------- */

static void on_opened(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    c->opening = NULL;
    int err = rpc_error(r, reply);
    if (err != 0 || reply->body_case != FS__REPLY__BODY_OP || reply->op->value == 0) {
        client_log(c, "opening a session failed: %s", err != 0 ? "refused" : "no session id");
        c->state = SESSION_NONE;
        c->bounces = 4;
        session_find_leader(c); /* pumps, and so opens again, after a pause */
        return;
    }
    c->state = SESSION_LIVE;
    atime_schedule(c);
    c->session = reply->op->value;
    c->lease_until = 0; /* until a Renew tells the leader that we hold nothing */
    c->renew_at = c->now;
    session_save_token(c);
    session_schedule(c);
    rpc_pump(c);
}

void session_start(struct client *c)
{
    if (c->state != SESSION_NONE || c->stopped) {
        return;
    }
    c->state = SESSION_OPENING;
    struct rpc *r = rpc_new_op(NULL, false, on_opened);
    r->needs_session = false;
    struct Fs__OpenSession *open = xmalloc(sizeof(*open));
    fs__open_session__init(open);
    open->uuid.data = xmemdup(c->config.uuid, sizeof(c->config.uuid));
    open->uuid.len = sizeof(c->config.uuid);
    open->name = xstrdup(c->config.name);
    open->replaces = c->config.old_session;
    if (open->replaces != 0) {
        open->replaces_uuid.data = xmemdup(c->config.old_uuid, sizeof(c->config.old_uuid));
        open->replaces_uuid.len = sizeof(c->config.old_uuid);
    }
    r->req->op->body_case = FS__OP__BODY_OPEN_SESSION;
    r->req->op->open_session = open;
    c->opening = r;
    rpc_start(c, r);
}

/* Files counted as open here while we were silent, or whose answer got lost. */
static void learn_holds(struct client *c, const struct Fs__RenewReply *renew)
{
    if (op_makes_unheard(c)) {
        return; /* it may be among them: the next answer has them again */
    }
    for (size_t k = 0; k < renew->n_holds; k++) {
        struct inode *i = inode_find(c, renew->holds[k]);
        if (i == NULL) {
            session_drop_holds(c, renew->holds[k]);
        } else {
            i->orphan = true;
            file_drop_hold(c, i); /* at once, or when it is closed */
            if (inode_opened_unseen(
                    i)) { /* its name was removed elsewhere: Linux may keep it long */
                effect_add(c, CLIENT_NOTIFY_PRUNE)->ino = i->ino;
            }
        }
    }
}

static void on_renewed(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    c->renew = NULL;
    if (rpc_error(r, reply) != 0 || reply->term != c->term || r->session != c->session) {
        c->renew_at = c->now + BACKOFF_MAX;
        return;
    }
    /* RULES L8: one that was sent in an earlier term renewed nothing. The term of the answer is
     * ours all the same when the leader follows itself, or when we hear of its term by this answer.
     */
    if (reply->body_case != FS__REPLY__BODY_RENEW) {
        c->renew_at = c->now;
        return;
    }
    if (reply->renew->statfs != NULL) {
        client_learn_space(c, reply->renew->statfs);
    }
    if (reply->renew->lease_us != 0) {
        c->lease_us = reply->renew->lease_us;
    }
    learn_holds(c, reply->renew);
    if (reply->renew->targets != 0 && reply->renew->targets != c->targets) {
        c->targets = reply->renew->targets;
        commit_on_targets(c);
    }
    c->lease_until = (MUTANT(lease_from_arrival) ? c->now : r->sent_at) +
                     c->lease_us; /* RULES L9: from our own sending */
    file_pump_renewed(c);
}

static void renew(struct client *c)
{
    c->renew_at = c->now + c->lease_us / 4;
    struct rpc *r = rpc_new(RPC_LEADER, NULL, on_renewed);
    r->req->body_case = FS__REQUEST__BODY_RENEW;
    r->req->renew = xmalloc(sizeof(*r->req->renew));
    fs__renew__init(r->req->renew);
    c->renew = r;
    rpc_start(c, r);
}

static void on_session_timer(struct client *c, struct timer *t)
{
    (void)t;
    if (c->state != SESSION_LIVE) {
        return;
    }
    if (c->renew == NULL) {
        bool regular = c->now >= c->renew_at;
        renew(c);
        if (regular) {
            file_release_idle(c);
            dirs_release_idle(c);
            if (c->token != c->saved_token) {
                session_save_token(c);
            }
        }
    } else if (c->renew->node != 0 && time_since(c->now, c->renew->sent_at) >= LEADER_SILENCE) {
        if (c->leaderless_since == 0) {
            c->leaderless_since = c->now;
        }
        probe(c); /* the leader is silent: somebody may know a newer one */
    }
}

/* One timer: the next renewal, or the moment when the leader's silence becomes suspicious. */
void session_schedule(struct client *c)
{
    time_us at = TIME_NEVER;
    if (c->state == SESSION_LIVE && c->renew == NULL) {
        at = c->renew_at;
        const struct rpc *oldest = rpc_oldest(c);
        if (oldest != NULL) {
            at = time_min(at, time_max(oldest->sent_at, c->heard_at) + LEADER_SILENCE);
        }
    } else if (c->state == SESSION_LIVE && c->renew->node != 0) {
        at = time_max(c->renew->sent_at + LEADER_SILENCE, c->probed_at + LEADER_SILENCE);
    }
    if (at == TIME_NEVER) {
        timer_clear(&c->session_timer);
    } else if (!timer_running(&c->session_timer) || c->session_timer.at != at) {
        timer_set(c, TIMER_SESSION, &c->session_timer, at, on_session_timer);
    }
}

void session_lapse(struct client *c)
{
    c->lease_until = 0;
    c->renew_at = c->now;
    cache_drop_all(c);
}

void session_save_token(struct client *c)
{
    struct client_effect *e = effect_add(c, CLIENT_TOKEN);
    e->session = c->session;
    e->token = c->saved_token = c->token;
}

/* ---- losing it ------------------------------------------------------------------------------- */

void session_lost(struct client *c, uint64_t session)
{
    if (c->state != SESSION_LIVE || session != c->session) {
        return;
    }
    c->state = SESSION_NONE;
    c->breaking = false;
    c->lease_until = 0;
    recall_forget(c);
    queue_lost(c);
    dirs_lost(c);
    vec_of(struct file *) files = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        struct inode *i = value;
        if (i->file != NULL) {
            i->file->pins++;
            vec_push(&files, i->file);
        }
    }
    client_log(c, "session %llu ended: its write leases and buffered data are gone",
               (unsigned long long)session);
    uint64_t lost = 0;
    for (size_t i = 0; i < files.count; i++) {
        lost += file_lost(c, files.items[i], EIO);
    }
    if (lost != 0) {
        client_log(c, "session %llu: %llu bytes in all were not committed and are lost",
                   (unsigned long long)session, (unsigned long long)lost);
    }
    locks_lost(c);
    cache_drop_all(c); /* after the losses, whose pages go from the kernel as well */
    rpc_session_lost(c, session);
    recall_free(c);
    c->space = 0;
    list_each(it, &c->ops) {
        container_of(it, struct op, link)->space = 0; /* it was of that session, too */
    }
    c->next_seq = 1;
    c->session = 0;
    commit_wake(c);
    queue_wake(c);
    lock_wake(c);
    for (size_t i = 0; i < files.count; i++) {
        files.items[i]->pins--;
        file_pump(c, files.items[i]);
    }
    vec_done(&files);
    session_start(c);
    file_pump_buffer(c);
    session_stop_next(c);
}

static void on_broken(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)reply, (void)bulk;
    session_lost(c, r->session); /* nothing is to be done when it ended otherwise */
}

void session_break(struct client *c)
{
    if (c->breaking || c->state != SESSION_LIVE) {
        return;
    }
    c->breaking = true;
    struct rpc *r = rpc_new_op(NULL, false, on_broken);
    r->req->op->body_case = FS__OP__BODY_END_SESSION;
    r->req->op->end_session = xmalloc(sizeof(*r->req->op->end_session));
    fs__end_session__init(r->req->op->end_session);
    r->req->op->end_session->session = c->session;
    rpc_start(c, r);
}

/* ---- space ----------------------------------------------------------------------------------- */

bool session_take_space(struct client *c, uint64_t bytes)
{
    if (c->space < bytes) {
        return false;
    }
    c->space -= bytes;
    return true;
}

static void ask_space(struct client *c, uint64_t bytes);

static void on_reserved(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                        struct blob *bulk)
{
    (void)bulk;
    c->reserving = NULL;
    int err = rpc_error(r, reply);
    uint64_t need = c->reserve_need, asked = c->reserve_asked;
    c->reserve_need = 0;
    if (err == 0) {
        c->space += asked;
        file_pump_space(c, 0);
    } else if (reply == NULL && !c->stopped) {
        file_pump_space(c, 0); /* the session ended: they ask again in the new one */
    } else if (err == ENOSPC && asked > need && need > 0) {
        c->reserve_need = need;
        ask_space(c, need); /* not even a chunk is left: just what is needed now */
    } else {
        file_pump_space(c, err);
    }
}

static void ask_space(struct client *c, uint64_t bytes)
{
    c->reserve_asked = bytes;
    struct rpc *r = rpc_new_op(NULL, true, on_reserved);
    r->req->op->body_case = FS__OP__BODY_RESERVE;
    r->req->op->reserve = xmalloc(sizeof(*r->req->op->reserve));
    fs__reserve__init(r->req->op->reserve);
    r->req->op->reserve->bytes = bytes;
    c->reserving = r;
    rpc_start(c, r);
}

void session_reserve(struct client *c, uint64_t bytes)
{
    if (bytes > c->reserve_need) {
        c->reserve_need = bytes;
    }
    if (c->reserving == NULL) {
        ask_space(c, bytes > RESERVE_CHUNK ? bytes : RESERVE_CHUNK);
    }
}

/* ---- holds of unlinked files ----------------------------------------------------------------- */

static void send_drop_holds(struct client *c);

static void on_dropped(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)r, (void)reply, (void)bulk;
    c->holding = NULL;
    if (c->drop_inos.count != 0) {
        send_drop_holds(c);
    }
}

static void send_drop_holds(struct client *c)
{
    struct rpc *r = rpc_new_op(NULL, true, on_dropped);
    struct Fs__DropHolds *drop = xmalloc(sizeof(*drop));
    fs__drop_holds__init(drop);
    drop->n_inos = c->drop_inos.count;
    drop->inos = xmemdup(c->drop_inos.items, c->drop_inos.count * sizeof(uint64_t));
    vec_clear(&c->drop_inos);
    r->req->op->body_case = FS__OP__BODY_DROP_HOLDS;
    r->req->op->drop_holds = drop;
    c->holding = r;
    rpc_start(c, r);
}

bool session_drops_hold(const struct client *c, uint64_t ino)
{
    const struct Fs__DropHolds *sent = c->holding != NULL ? c->holding->req->op->drop_holds : NULL;
    for (size_t k = 0; sent != NULL && k < sent->n_inos; k++) {
        if (sent->inos[k] == ino) {
            return true;
        }
    }
    for (size_t k = 0; k < c->drop_inos.count; k++) {
        if (c->drop_inos.items[k] == ino) {
            return true;
        }
    }
    return false;
}

/* One request at a time; what comes meanwhile goes with the next. */
void session_drop_holds(struct client *c, uint64_t ino)
{
    vec_push(&c->drop_inos, ino);
    if (c->holding == NULL) {
        send_drop_holds(c);
    }
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void stopped(struct client *c)
{
    session_save_token(c);
    c->stopped = true;
    (void)effect_add(c, CLIENT_STOPPED);
}

static void on_ended(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                     struct blob *bulk)
{
    (void)r, (void)reply, (void)bulk;
    if (!c->stopped) {
        timer_clear(&c->stop_timer);
        stopped(c);
    }
}

void session_stop_next(struct client *c)
{
    if (!c->stopping || c->ending || c->stopped || !list_empty(&c->commits) ||
        !list_empty(&c->dirty_files) || !list_empty(&c->queued) || !atime_flush(c)) {
        return;
    }
    c->ending = true;
    if (c->state != SESSION_LIVE) {
        stopped(c);
        return;
    }
    /* RULES L2: the end of the session releases all its leases at one point of the order. */
    struct rpc *r = rpc_new_op(NULL, false, on_ended);
    r->req->op->body_case = FS__OP__BODY_END_SESSION;
    r->req->op->end_session = xmalloc(sizeof(*r->req->op->end_session));
    fs__end_session__init(r->req->op->end_session);
    r->req->op->end_session->session = c->session;
    rpc_start(c, r);
}

static void on_stop_deadline(struct client *c, struct timer *t)
{
    (void)t;
    size_t cursor = 0;
    void *value;
    if (c->queued_count != 0) {
        client_log(c, "stopping: %zu changes of names could not be committed and are lost",
                   c->queued_count);
    }
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        const struct inode *i = value;
        if (i->file != NULL && (file_dirty(i->file) || !list_empty(&i->file->commits))) {
            client_log(c, "stopping: data of ino %llu could not be committed and are lost",
                       (unsigned long long)i->ino);
        }
    }
    stopped(c);
}

void session_stop(struct client *c)
{
    if (c->stopping) {
        return;
    }
    c->stopping = true;
    timer_clear(&c->queue_timer);
    queue_pump(c);
    timer_set(c, TIMER_OP, &c->stop_timer, c->now + c->config.deadline_us, on_stop_deadline);
    file_freeze_all(c);
    session_stop_next(c);
}
