#include "fs/client/rpc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/around.h"
#include "fs/client/atime.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/op.h"
#include "fs/client/recall.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

#define SILENT_COPY (5 * TIME_S)
/* A copy that says nothing for so long: ask the next one too. */
#define HEDGE_DELAY (300 * TIME_MS)

struct rpc *rpc_new(enum rpc_to to, struct op *op,
                    void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                 struct blob *))
{
    struct rpc *r = xcalloc(1, sizeof(*r));
    r->refs = 1;
    list_init(&r->link);
    list_init(&r->seq_link);
    timer_init(&r->timer);
    r->req = xmalloc(sizeof(*r->req));
    fs__request__init(r->req);
    r->to = to;
    r->needs_session = to == RPC_LEADER;
    r->op = op;
    r->done = done;
    if (op != NULL) {
        assert(op->rpc == NULL);
        op->rpc = r;
    }
    return r;
}

struct rpc *rpc_new_op(struct op *op, bool needs_seq,
                       void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                    struct blob *))
{
    struct rpc *r = rpc_new(RPC_LEADER, op, done);
    r->req->body_case = FS__REQUEST__BODY_OP;
    r->req->op = xmalloc(sizeof(*r->req->op));
    fs__op__init(r->req->op);
    r->needs_seq = needs_seq;
    r->changes = true;
    return r;
}

void rpc_unref(struct rpc *r)
{
    if (r == NULL || --r->refs != 0) {
        return;
    }
    fs__request__free_unpacked(r->req, NULL);
    for (size_t i = 0; i < r->blobs_count; i++) {
        blob_unref(r->blobs[i]);
    }
    free(r->blobs);
    free(r);
}

static void forget_ids(struct client *c, struct rpc *r)
{
    if (r->id != 0) {
        (void)map_del(&c->rpcs, r->id);
    }
    if (r->older_id != 0) {
        (void)map_del(&c->rpcs, r->older_id);
    }
    r->id = r->older_id = 0;
    r->node = r->older_node = 0;
}

/* Out of all tables; the owner's pointer to it is the caller's business, but for an op's. */
static void take_out(struct client *c, struct rpc *r)
{
    forget_ids(c, r);
    list_remove(&r->link);
    list_remove(&r->seq_link);
    timer_clear(&r->timer);
    if (r->op != NULL && r->op->rpc == r) {
        r->op->rpc = NULL;
    }
}

void rpc_cancel(struct client *c, struct rpc *r)
{
    take_out(c, r);
    rpc_unref(r);
}

static void finish(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                   struct blob *bulk)
{
    take_out(c, r);
    r->done(c, r, reply, bulk);
    rpc_unref(r);
}

const struct rpc *rpc_oldest(const struct client *c)
{
    list_each(it, &c->sent) {
        const struct rpc *r = container_of(it, struct rpc, link);
        if (!r->patient) {
            return r;
        }
    }
    return NULL;
}

uint64_t rpc_oldest_id(const struct client *c)
{
    const struct rpc *r = rpc_oldest(c);
    return r != NULL ? r->id : c->next_id;
}

static void emit(struct client *c, struct rpc *r)
{
    r->req->term = c->term;
    struct client_effect *e = effect_add(c, CLIENT_SEND);
    e->node = r->node;
    e->request = r->req;
    e->hold = r;
    r->refs++;
    if (r->blobs_count != 0) {
        e->blobs = xcalloc(r->blobs_count, sizeof(struct blob *));
        for (size_t i = 0; i < r->blobs_count; i++) {
            e->blobs[i] = blob_ref(r->blobs[i]);
        }
        e->blobs_count = r->blobs_count;
    }
}

static void send_to(struct client *c, struct rpc *r, uint32_t node)
{
    r->node = node;
    r->id = c->next_id++;
    (void)map_put(&c->rpcs, r->id, r);
    r->sent_at = c->now;
    r->sent_once = true;
    r->cache_epoch = c->cache_epoch;
    if (c->state == SESSION_LIVE) {
        r->session = c->session;
    }
    r->req->id = r->id;
    r->req->session = r->session;
    if (r->req->body_case == FS__REQUEST__BODY_OP && r->needs_session) {
        struct Fs__Op *op = r->req->op;
        op->session = r->session;
        if (r->needs_seq && op->seq == 0) {
            op->seq = c->next_seq++;
            list_push_back(&c->seqs, &r->seq_link);
        }
        const struct rpc *oldest = list_first(&c->seqs, struct rpc, seq_link);
        op->ack_below = oldest != NULL ? oldest->req->op->seq : c->next_seq;
    }
    if (r->prepare != NULL) {
        r->prepare(c, r);
    }
    emit(c, r);
}

/* ---- to the leader --------------------------------------------------------------------------- */

static struct list *queue_of(struct client *c, const struct rpc *r)
{
    return r->needs_seq && !r->urgent ? &c->queue_seq : &c->queue;
}

static bool window_open(const struct client *c, const struct rpc *r)
{
    if (r->req->op->seq != 0) {
        return true; /* a repetition */
    }
    const struct rpc *oldest = list_first(&c->seqs, struct rpc, seq_link);
    return oldest == NULL || c->next_seq - oldest->req->op->seq < SEQ_WINDOW;
}

static void send_leader(struct client *c, struct rpc *r)
{
    list_remove(&r->link);
    r->queued = false;
    list_push_back(&c->sent, &r->link);
    send_to(c, r, c->leader);
}

static void send_copy(struct client *c, struct rpc *r);

static bool opens(const struct rpc *r)
{
    return r->req->body_case == FS__REQUEST__BODY_GETATTR && r->req->getattr->open;
}

/* A session goes on reading while nobody leads (RULES L10): an open that was to ask the leader
 * asks a copy, and so does what a copy left to the leader. */
static void ask_copies_instead(struct client *c)
{
    list_each(it, &c->queue) {
        struct rpc *r = container_of(it, struct rpc, link);
        if (!opens(r) && !r->leader_only) {
            continue;
        }
        list_remove(&r->link);
        r->queued = false;
        r->to = RPC_COPY;
        r->needs_session = false;
        r->req->follower = true;
        r->req->leaderless = r->leader_only;
        r->req->min_index = c->token;
        list_push_back(&c->copies, &r->link);
        send_copy(c, r);
    }
}

static void ask_leader_instead(struct client *c, struct rpc *r)
{
    forget_ids(c, r);
    timer_clear(&r->timer);
    list_remove(&r->link);
    r->to = RPC_LEADER;
    r->needs_session = r->leader_only = r->queued = true;
    r->req->follower = false;
    list_push_back(queue_of(c, r), &r->link);
    rpc_pump(c);
}

void rpc_pump(struct client *c)
{
    if (c->pumping) {
        return;
    }
    if (!session_leader_usable(c)) {
        if (c->config.consistency == CLIENT_SESSION) {
            ask_copies_instead(c);
        }
        if (!list_empty(&c->queue) || !list_empty(&c->queue_seq)) {
            session_find_leader(c);
        }
        return;
    }
    around_settle(c);
    c->pumping = true;
    list_each(it, &c->queue) {
        struct rpc *r = container_of(it, struct rpc, link);
        if ((!r->needs_session || c->state == SESSION_LIVE) && around_lets(c, r) &&
            listings_let(c, r)) {
            send_leader(c, r);
        }
    }
    while (c->state == SESSION_LIVE && around_settled(c) && !list_empty(&c->queue_seq)) {
        struct rpc *r = list_first(&c->queue_seq, struct rpc, link);
        if (!window_open(c, r)) {
            break;
        }
        send_leader(c, r);
    }
    c->pumping = false;
    if (c->state == SESSION_NONE) {
        session_start(c);
    }
}

/* Back into the queue, before everything that was never sent. */
static void requeue(struct client *c, struct rpc *r)
{
    forget_ids(c, r);
    list_remove(&r->link);
    r->queued = r->again = true;
    struct list *queue = queue_of(c, r);
    struct list *place = queue->next;
    while (place != queue && container_of(place, struct rpc, link)->sent_once) {
        place = place->next;
    }
    list_insert_before(place, &r->link);
}

/* RULES B9: acceptance is volatile, so COMMITs go to the next leader like everything else. */
static bool goes_on(const struct rpc *r)
{
    return r->accepted == NULL || !MUTANT(commits_not_resent);
}

static void requeue_all(struct client *c, uint32_t except_node)
{
    list_each(it, &c->sent) {
        struct rpc *r = container_of(it, struct rpc, link);
        if (r->node != except_node && goes_on(r)) {
            requeue(c, r);
        }
    }
}

void rpc_new_leader(struct client *c)
{
    requeue_all(c, c->leader);
    rpc_pump(c);
}

/* ---- to copies: the nearest first, the next one when it can't or says nothing ---------------- */

static void on_hedge(struct client *c, struct timer *t);
static void on_copy_retry(struct client *c, struct timer *t);

/* The next reachable copy in order, wrapping, those that lately said nothing last; 0: none. */
static uint32_t next_copy(struct client *c, struct rpc *r)
{
    uint32_t count = c->config.read_order_count;
    for (uint32_t tries = 0; tries < 2 * count; tries++) {
        uint32_t node = c->config.read_order[(r->position + tries) % count];
        bool silent_too = tries >= count;
        if (node < NODES_MAX && c->links[node].up && node != r->older_node &&
            (silent_too || c->links[node].silent_until <= c->now)) {
            r->position += tries % count + 1;
            return node;
        }
    }
    return 0;
}

static void copy_backoff(struct client *c, struct rpc *r)
{
    time_us delay = BACKOFF_MIN << (r->failures < 5 ? r->failures : 5);
    timer_set(c, TIMER_RETRY, &r->timer, c->now + time_min(delay, BACKOFF_MAX), on_copy_retry);
}

static void send_copy(struct client *c, struct rpc *r)
{
    uint32_t node = next_copy(c, r);
    if (node == 0) {
        if (r->older_id == 0) {
            copy_backoff(c, r);
        }
        return;
    }
    send_to(c, r, node);
    timer_set(c, TIMER_HEDGE, &r->timer, c->now + HEDGE_DELAY, on_hedge);
}

static void on_copy_retry(struct client *c, struct timer *t)
{
    send_copy(c, container_of(t, struct rpc, timer));
}

/* The first question stays good; whoever answers first wins. */
static void on_hedge(struct client *c, struct timer *t)
{
    struct rpc *r = container_of(t, struct rpc, timer);
    c->links[r->node].silent_until = c->now + SILENT_COPY;
    if (r->older_id != 0) {
        (void)map_del(&c->rpcs, r->older_id);
    }
    r->older_id = r->id;
    r->older_node = r->node;
    r->id = 0;
    r->node = 0;
    send_copy(c, r);
    if (r->id == 0) { /* nobody else there: go on waiting for this one, look again later */
        r->id = r->older_id;
        r->node = r->older_node;
        r->older_id = r->older_node = 0;
        timer_set(c, TIMER_HEDGE, &r->timer, c->now + HEDGE_DELAY, on_hedge);
    }
}

/* This node can't answer: ask the next, after a pause when all were asked. */
static void copy_failed(struct client *c, struct rpc *r, uint32_t node)
{
    if (r->older_node == node && r->older_id != 0) {
        (void)map_del(&c->rpcs, r->older_id);
        r->older_id = r->older_node = 0;
        return; /* the younger question is still open */
    }
    if (r->id != 0) {
        (void)map_del(&c->rpcs, r->id);
        r->id = r->node = 0;
    }
    if (r->older_id != 0) {
        r->id = r->older_id;
        r->node = r->older_node;
        r->older_id = r->older_node = 0;
        return;
    }
    if (++r->failures % (c->config.read_order_count != 0 ? c->config.read_order_count : 1) == 0) {
        copy_backoff(c, r);
    } else {
        send_copy(c, r);
    }
}

void rpc_start(struct client *c, struct rpc *r)
{
    r->since = c->now;
    r->live = true;
    switch (r->to) {
    case RPC_LEADER:
        r->queued = true;
        list_push_back(queue_of(c, r), &r->link);
        rpc_pump(c);
        break;
    case RPC_COPY:
        r->req->follower = true;
        list_push_back(&c->copies, &r->link);
        send_copy(c, r);
        break;
    case RPC_PROBE:
        list_push_back(&c->copies, &r->link);
        send_to(c, r, c->probe_node);
        break;
    }
}

void rpc_post(struct client *c, uint32_t node, struct Fs__Request *req)
{
    struct rpc *r = xcalloc(1, sizeof(*r));
    r->refs = 1;
    r->req = req;
    r->node = node;
    req->id = c->next_id++;
    req->session = c->session;
    emit(c, r);
    rpc_unref(r);
}

/* ---- answers --------------------------------------------------------------------------------- */

int rpc_error(const struct rpc *r, const struct Fs__Reply *reply)
{
    if (reply == NULL) {
        return r->err;
    }
    if (reply->err != 0) {
        return reply->err;
    }
    return reply->body_case == FS__REPLY__BODY_OP ? reply->op->err : 0;
}

/* Not the leader: where it points to, or search with pauses when nodes point at one another. */
static void not_leader(struct client *c, struct rpc *r, uint32_t node, uint32_t hint)
{
    requeue(c, r);
    if (c->leader == node) {
        c->leader = 0;
    }
    if (hint != 0 && hint < NODES_MAX && hint != node && ++c->bounces <= 3) {
        c->leader = hint;
        requeue_all(c, hint);
    }
    rpc_pump(c);
}

static void leader_answer(struct client *c, struct rpc *r, uint32_t node,
                          const struct Fs__Reply *reply, struct blob *bulk)
{
    if (reply->err == ESTALE && reply->leader != node) {
        not_leader(c, r, node, reply->leader);
        return;
    }
    if (reply->err == ESTALE && r->req->term < reply->term) { /* it leads since then */
        requeue(c, r);
        rpc_pump(c);
        return;
    }
    if (reply->err == ESTALE && r->req->session != 0 && r->needs_session) {
        session_lost(c, r->req->session); /* the leader does not know it */
        return;
    }
    if (reply->err == EAGAIN) {
        requeue(c, r);
        (void)snprintf(r->why, sizeof(r->why), "%s", reply->why);
        c->bounces = 4;
        session_find_leader(c); /* pumps again after a pause */
        return;
    }
    c->bounces = 0;
    if (reply->accepted) {
        if (r->accepted != NULL) {
            r->accepted(c, r);
        }
        return;
    }
    finish(c, r, reply, bulk);
}

void rpc_on_reply(struct client *c, uint32_t node, const struct Fs__Reply *reply, struct blob *bulk)
{
    if (node >= NODES_MAX) {
        return;
    }
    session_note_reply(c, node, reply);
    if (reply->id == 0) {
        if (reply->body_case == FS__REPLY__BODY_RECALL && reply->term == c->term) {
            recall_on(c, reply->recall);
        } else if (reply->body_case == FS__REPLY__BODY_ATIMES) {
            atime_heard(c, reply->atimes);
        }
        return;
    }
    struct rpc *r = map_get(&c->rpcs, reply->id);
    if (r == NULL) {
        return; /* of a send that another one replaced */
    }
    if (reply->why != NULL && reply->why[0] != 0) {
        (void)snprintf(r->why, sizeof(r->why), "%s", reply->why);
    }
    switch (r->to) {
    case RPC_LEADER:
        leader_answer(c, r, node, reply, bulk);
        break;
    case RPC_COPY:
        if (reply->leader_only && !r->req->leaderless) {
            ask_leader_instead(c, r);
        } else if (reply->err == EAGAIN || reply->err == EIO ||
                   (reply->err == ESTALE && reply->leader != node)) {
            copy_failed(c, r, node);
        } else {
            if (r->req->leaderless) {
                around_note(c, r->req);
            }
            finish(c, r, reply, bulk);
        }
        break;
    case RPC_PROBE:
        finish(c, r, reply, bulk);
        break;
    }
    if (!list_empty(&c->queue_seq)) {
        rpc_pump(c); /* there may be room in the window now */
    }
    recall_expire(c);
}

/* ---- links and sessions ---------------------------------------------------------------------- */

void rpc_on_link_down(struct client *c, uint32_t node)
{
    list_each(it, &c->sent) {
        struct rpc *r = container_of(it, struct rpc, link);
        if (r->node == node && goes_on(r)) {
            requeue(c, r);
        }
    }
    /* Failing one may answer operations and start others: look again from the beginning. */
    bool again = true;
    while (again) {
        again = false;
        list_each(it, &c->copies) {
            struct rpc *r = container_of(it, struct rpc, link);
            if (r->node != node && r->older_node != node) {
                continue;
            }
            if (r->to == RPC_PROBE) {
                r->err = ENOTCONN;
                finish(c, r, NULL, NULL);
            } else {
                copy_failed(c, r, node);
            }
            again = true;
            break;
        }
    }
    if (c->leader == node) {
        c->leader = 0;
        c->cache_epoch++; /* RULES L5: grants not received yet must not count later */
    }
    if (!session_leader_usable(c) && c->leaderless_since == 0) {
        c->leaderless_since = c->now;
    }
    rpc_pump(c);
}

void rpc_on_link_up(struct client *c, uint32_t node)
{
    list_each(it, &c->copies) {
        struct rpc *r = container_of(it, struct rpc, link);
        if (r->to == RPC_COPY && r->id == 0 && timer_running(&r->timer)) {
            send_copy(c, r);
        }
    }
    if (!session_leader_usable(c)) {
        c->probe_delay = BACKOFF_MIN;
        session_find_leader(c);
    }
    rpc_pump(c);
}

void rpc_session_lost(struct client *c, uint64_t session)
{
    struct list *lists[] = {&c->sent, &c->queue, &c->queue_seq};
    struct list failed;
    list_init(&failed);
    for (size_t l = 0; l < 3; l++) {
        list_each(it, lists[l]) {
            struct rpc *r = container_of(it, struct rpc, link);
            if (!r->needs_session || r->session != session || !r->sent_once) {
                continue;
            }
            if (!r->changes) {
                if (!r->queued) {
                    requeue(c, r);
                }
                continue;
            }
            list_remove(&r->link);
            list_push_back(&failed, &r->link);
        }
    }
    while (!list_empty(&failed)) {
        struct rpc *r = list_first(&failed, struct rpc, link);
        r->err = EIO;
        finish(c, r, NULL, NULL);
    }
}
