/* Ring (the book's variant): a token goes from node to node and gathers who is best; back at its
 * start it names the leader.
 *
 * Every hop is confirmed, and a silent neighbour is skipped after a timeout. With ballots the best
 * node is told to stand and the first Append makes it known; without, a second lap does. A node
 * whose own token is under way stops those of later nodes (Chang and Roberts 1979), so that all
 * noticing at once does not cost n rounds. */
#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum {
    HOP_US = 3 * 1000, /* a lap is given up after this for every node, on top of an election */
    DOUBLINGS_MAX = 3,
};

enum phase {
    PHASE_IDLE = 0,
    PHASE_LAP,      /* our token is under way */
    PHASE_NAMED,    /* it found somebody who should lead soon */
    PHASE_STANDING, /* in our own ballot */
    PHASE_PAUSE,
};

/* A token that we sent on. */
struct hop {
    struct ballot_message token;
    uint32_t place; /* where it went */
    uint64_t due;   /* without a confirmation it goes one further; 0: confirmed */
};

struct ring {
    enum phase phase;
    uint32_t failed;
    uint64_t round; /* of our tokens */
    uint64_t due;
    struct hop own, foreign;
};
_Static_assert(sizeof(struct ring) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static bool waits(const struct ring *r)
{
    return r->phase != PHASE_IDLE && r->phase != PHASE_STANDING;
}

/* Tokens of others are handed on even by a node that suspects nobody. */
static void output_reset(const struct ring *r, const struct strategy_view *view,
                         struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = waits(r) && !view->calm ? r->due : UINT64_MAX;
    if (r->own.due != 0 && r->own.due < out->wake_at)
        out->wake_at = r->own.due;
    if (r->foreign.due != 0 && r->foreign.due < out->wake_at)
        out->wake_at = r->foreign.due;
    out->message_count = 0;
}

static void ring_init(void *state)
{
    memset(state, 0, sizeof(struct ring));
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* Sends the token to the place after `place`. One that comes back to ourselves without having met
 * anybody is as good as received: `true`, and nothing is sent. */
static bool pass(struct ring *r, const struct strategy_view *view, struct hop *hop, uint32_t place,
                 struct strategy_output *out)
{
    uint32_t to;
    struct ballot_message *m;

    hop->place = (place + 1) % view->nodes->placed;
    to = view->nodes->at[hop->place];
    hop->due = to == view->self ? 0 : view->now + strategy_answer_us(view, r->failed);
    output_reset(r, view, out);
    if (to == view->self)
        return true;
    m = strategy_push(out, view, hop->token.kind, to);
    m->subject = hop->token.subject;
    m->round = hop->token.round;
    m->leader = hop->token.leader;
    m->last = hop->token.last;
    return false;
}

/* A node whose ballot has just failed leaves this lap to others. */
static bool may_enter(const struct ring *r, const struct strategy_view *view)
{
    return strategy_may_lead(view, view->self) && !(r->phase == PHASE_PAUSE && r->failed > 0);
}

static void pause_from(struct ring *r, const struct strategy_view *view, uint64_t from)
{
    r->phase = PHASE_PAUSE;
    r->due = from + strategy_backoff_us(view, r->failed);
}

/* Time for a lap and an election; doubled by failed rounds, because a lap that is longer than we
 * think would never end well. */
static void wait_for_leader(struct ring *r, const struct strategy_view *view, enum phase phase)
{
    uint64_t once = strategy_lead_us(view) + view->nodes->placed * (uint64_t)HOP_US;

    r->phase = phase;
    r->due = view->now + (once << (r->failed < DOUBLINGS_MAX ? r->failed : DOUBLINGS_MAX)) +
             strategy_backoff_us(view, r->failed);
}

/* Our token is back and names the best of those that live. */
static void complete(struct ring *r, const struct strategy_view *view, struct strategy_output *out)
{
    uint32_t best = r->own.token.leader;

    if (best == NODE_ID_NONE) {
        r->failed++;
        pause_from(r, view, view->now);
        output_reset(r, view, out);
        return;
    }
    wait_for_leader(r, view, best == view->self ? PHASE_STANDING : PHASE_NAMED);
    output_reset(r, view, out);
    if (view->raw) {
        r->own.token.kind = BALLOT_MSG_COORDINATOR;
        (void)pass(r, view, &r->own, view->nodes->place[view->self], out);
    } else if (best != view->self) {
        strategy_push(out, view, BALLOT_MSG_NOMINATE, best);
    }
    if (best == view->self)
        out->nominate = best;
}

static void begin(struct ring *r, const struct strategy_view *view, struct strategy_output *out)
{
    uint32_t self = view->self;

    wait_for_leader(r, view, PHASE_LAP);
    r->own.token = (struct ballot_message){.kind = BALLOT_MSG_TOKEN,
                                           .subject = self,
                                           .round = ++r->round,
                                           .leader = strategy_may_lead(view, self) ? self : 0,
                                           .last = view->last};
    if (pass(r, view, &r->own, view->nodes->place[self], out))
        complete(r, view, out);
}

static void recv_own(struct ring *r, const struct strategy_view *view,
                     const struct ballot_message *m, struct strategy_output *out)
{
    if (m->kind != BALLOT_MSG_TOKEN || r->phase != PHASE_LAP || m->round != r->round)
        return;
    r->own.token = *m;
    r->own.due = 0;
    if (!strategy_may_lead(view, m->leader))
        r->own.token.leader = NODE_ID_NONE;
    complete(r, view, out);
}

/* Of two tokens in our hands at once the one of the earlier node goes on, as it would elsewhere. */
static bool is_stopped(const struct ring *r, const struct strategy_view *view,
                       const struct ballot_message *m)
{
    const uint32_t *place = view->nodes->place;

    if (m->kind != BALLOT_MSG_TOKEN)
        return false;
    if (r->phase == PHASE_LAP && place[view->self] < place[m->subject])
        return true;
    return r->foreign.due > view->now && place[r->foreign.token.subject] < place[m->subject];
}

static void recv_foreign(struct ring *r, const struct strategy_view *view,
                         const struct ballot_message *m, struct strategy_output *out)
{
    bool lap = m->kind == BALLOT_MSG_TOKEN;

    if (is_stopped(r, view, m))
        return;
    r->foreign.token = *m;
    if (lap && may_enter(r, view) &&
        strategy_higher(view, view->self, view->last, m->leader, m->last)) {
        r->foreign.token.leader = view->self;
        r->foreign.token.last = view->last;
    }
    (void)pass(r, view, &r->foreign, view->nodes->place[view->self], out);
    if (!lap && m->leader == view->self)
        out->nominate = view->self; /* the second lap says that we lead */
}

static void recv_token(struct ring *r, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out)
{
    if (m->subject == view->self)
        recv_own(r, view, m, out);
    else if (strategy_kind(view, m->subject) != MEMBER_NONE)
        recv_foreign(r, view, m, out);
    strategy_push(out, view, BALLOT_MSG_ALIVE, m->from)->subject = m->subject;
}

static void recv_alive(struct ring *r, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out)
{
    struct hop *hop = m->subject == view->self ? &r->own : &r->foreign;

    if (m->subject == hop->token.subject && m->from == view->nodes->at[hop->place])
        hop->due = 0;
    output_reset(r, view, out);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void ring_on_suspect(void *state, const struct strategy_view *view,
                            struct strategy_output *out)
{
    struct ring *r = state;

    if (waits(r) && view->now < r->due)
        output_reset(r, view, out);
    else
        begin(r, view, out);
}

static void ring_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                          bool failed, struct strategy_output *out)
{
    struct ring *r = state;

    r->failed += failed;
    pause_from(r, view, hold_until > view->now ? hold_until : view->now);
    output_reset(r, view, out);
}

static void ring_on_message(void *state, const struct strategy_view *view,
                            const struct ballot_message *m, struct strategy_output *out)
{
    struct ring *r = state;

    output_reset(r, view, out);
    if (m->kind == BALLOT_MSG_TOKEN || (m->kind == BALLOT_MSG_COORDINATOR && view->raw)) {
        recv_token(r, view, m, out);
    } else if (m->kind == BALLOT_MSG_ALIVE) {
        recv_alive(r, view, m, out);
    } else if (m->kind == BALLOT_MSG_NOMINATE && view->leader == NODE_ID_NONE &&
               strategy_may_lead(view, view->self)) {
        r->phase = PHASE_STANDING;
        output_reset(r, view, out);
        out->nominate = view->self;
    }
}

/* The neighbour is silent: the one after it. Between others, a token that nobody takes is lost; and
 * so is one whose own node is silent, for no other would ever take it out, and it would go round
 * and stop those of later nodes for good. */
static void hop_timed_out(struct ring *r, const struct strategy_view *view, struct hop *hop,
                          struct strategy_output *out)
{
    bool alone;

    if (view->nodes->at[hop->place] == hop->token.subject) {
        hop->due = 0;
        output_reset(r, view, out);
        return;
    }
    alone = pass(r, view, hop, hop->place, out);
    if (alone && hop == &r->own && hop->token.kind == BALLOT_MSG_TOKEN && r->phase == PHASE_LAP)
        complete(r, view, out);
}

static void ring_on_timer(void *state, const struct strategy_view *view,
                          struct strategy_output *out)
{
    struct ring *r = state;

    output_reset(r, view, out);
    if (r->own.due != 0 && view->now >= r->own.due) {
        hop_timed_out(r, view, &r->own, out);
    } else if (r->foreign.due != 0 && view->now >= r->foreign.due) {
        hop_timed_out(r, view, &r->foreign, out);
    } else if (!waits(r) || view->calm || view->now < r->due) {
        return;
    } else if (r->phase == PHASE_PAUSE) {
        begin(r, view, out);
    } else { /* the token is lost, or the node it named is */
        r->failed++;
        pause_from(r, view, view->now);
        output_reset(r, view, out);
    }
}

static void ring_on_leader(void *state, const struct strategy_view *view,
                           struct strategy_output *out)
{
    struct ring *r = state;

    r->phase = PHASE_IDLE;
    r->failed = 0;
    if (!view->raw)
        r->own.due = r->foreign.due = 0;
    output_reset(r, view, out);
}

/* Nothing: who started the token has sent it on its second lap. */
static void ring_announce(void *state, const struct strategy_view *view,
                          struct strategy_output *out)
{
    output_reset(state, view, out);
}

static void ring_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    (void)state, (void)ids, (void)count;
}

static uint32_t ring_position(const void *state, const struct strategy_view *view, uint32_t id)
{
    (void)state;
    return view->nodes->place[id];
}

const struct strategy_ops strategy_ring = {
    .name = "ring",
    .relays = true,
    .init = ring_init,
    .on_suspect = ring_on_suspect,
    .on_retry = ring_on_retry,
    .on_message = ring_on_message,
    .on_timer = ring_on_timer,
    .on_leader = ring_on_leader,
    .announce = ring_announce,
    .on_successors = ring_on_successors,
    .position = ring_position,
};
