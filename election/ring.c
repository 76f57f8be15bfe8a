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

enum { HOP_US = 3 * 1000 }; /* a lap is given up after this for every node, on top of an election */

enum phase {
    PHASE_IDLE = 0,
    PHASE_LAP,      /* our token is under way */
    PHASE_NAMED,    /* it found somebody who should lead soon */
    PHASE_STANDING, /* in our own ballot */
    PHASE_PAUSE,
};

struct ring {
    enum phase phase;
    uint32_t failed;
    uint64_t round; /* of our tokens */
    uint64_t due;
    struct ballot_message token; /* passed on last */
    uint32_t hop;                /* place it went to */
    uint64_t hop_due;            /* without a confirmation it goes one further; 0: confirmed */
};
_Static_assert(sizeof(struct ring) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static bool waits(const struct ring *r)
{
    return r->phase != PHASE_IDLE && r->phase != PHASE_STANDING;
}

static void output_reset(const struct ring *r, struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = waits(r) ? r->due : UINT64_MAX;
    if (r->hop_due != 0 && r->hop_due < out->wake_at)
        out->wake_at = r->hop_due;
    out->message_count = 0;
}

static void ring_init(void *state)
{
    memset(state, 0, sizeof(struct ring));
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* Sends r->token to the place after `place`. One that comes back to ourselves without having met
 * anybody is as good as received: `true`, and nothing is sent. */
static bool pass(struct ring *r, const struct strategy_view *view, uint32_t place,
                 struct strategy_output *out)
{
    uint32_t hop = (place + 1) % view->nodes->placed, to = view->nodes->at[hop];
    struct ballot_message *m;

    r->hop = hop;
    r->hop_due = to == view->self ? 0 : view->now + strategy_answer_us(view, r->failed);
    output_reset(r, out);
    if (to == view->self)
        return true;
    m = strategy_push(out, view, r->token.kind, to);
    m->subject = r->token.subject;
    m->round = r->token.round;
    m->leader = r->token.leader;
    m->last = r->token.last;
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

static void wait_for_leader(struct ring *r, const struct strategy_view *view, enum phase phase)
{
    r->phase = phase;
    r->due = view->now + strategy_lead_us(view) + view->nodes->placed * (uint64_t)HOP_US +
             strategy_backoff_us(view, r->failed);
}

/* Our token is back and names the best of those that live. */
static void complete(struct ring *r, const struct strategy_view *view, struct strategy_output *out)
{
    uint32_t best = r->token.leader;

    if (best == NODE_ID_NONE) {
        r->failed++;
        pause_from(r, view, view->now);
        output_reset(r, out);
        return;
    }
    wait_for_leader(r, view, best == view->self ? PHASE_STANDING : PHASE_NAMED);
    output_reset(r, out);
    if (view->raw) {
        r->token.kind = BALLOT_MSG_COORDINATOR;
        (void)pass(r, view, view->nodes->place[view->self], out);
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
    r->token = (struct ballot_message){.kind = BALLOT_MSG_TOKEN,
                                       .subject = self,
                                       .round = ++r->round,
                                       .leader = strategy_may_lead(view, self) ? self : 0,
                                       .last = view->last};
    if (pass(r, view, view->nodes->place[self], out))
        complete(r, view, out);
}

static void recv_own(struct ring *r, const struct strategy_view *view,
                     const struct ballot_message *m, struct strategy_output *out)
{
    if (m->kind != BALLOT_MSG_TOKEN || r->phase != PHASE_LAP || m->round != r->round)
        return;
    r->token = *m;
    r->hop_due = 0;
    if (!strategy_may_lead(view, m->leader))
        r->token.leader = NODE_ID_NONE;
    complete(r, view, out);
}

static void recv_foreign(struct ring *r, const struct strategy_view *view,
                         const struct ballot_message *m, struct strategy_output *out)
{
    uint32_t place = view->nodes->place[view->self];
    bool lap = m->kind == BALLOT_MSG_TOKEN;

    if (lap && r->phase == PHASE_LAP && place < view->nodes->place[m->subject])
        return; /* stopped: our own token serves both */
    r->token = *m;
    if (lap && may_enter(r, view) &&
        strategy_higher(view, view->self, view->last, m->leader, m->last)) {
        r->token.leader = view->self;
        r->token.last = view->last;
    }
    (void)pass(r, view, place, out);
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
    strategy_push(out, view, BALLOT_MSG_ALIVE, m->from);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void ring_on_suspect(void *state, const struct strategy_view *view,
                            struct strategy_output *out)
{
    struct ring *r = state;

    if (waits(r) && view->now < r->due)
        output_reset(r, out);
    else
        begin(r, view, out);
}

static void ring_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                          bool failed, struct strategy_output *out)
{
    struct ring *r = state;

    r->failed += failed;
    pause_from(r, view, hold_until > view->now ? hold_until : view->now);
    output_reset(r, out);
}

static void ring_on_message(void *state, const struct strategy_view *view,
                            const struct ballot_message *m, struct strategy_output *out)
{
    struct ring *r = state;

    output_reset(r, out);
    if (m->kind == BALLOT_MSG_TOKEN || (m->kind == BALLOT_MSG_COORDINATOR && view->raw)) {
        recv_token(r, view, m, out);
    } else if (m->kind == BALLOT_MSG_ALIVE && m->from == view->nodes->at[r->hop]) {
        r->hop_due = 0;
        output_reset(r, out);
    } else if (m->kind == BALLOT_MSG_NOMINATE && view->leader == NODE_ID_NONE &&
               strategy_may_lead(view, view->self)) {
        r->phase = PHASE_STANDING;
        output_reset(r, out);
        out->nominate = view->self;
    }
}

static void hop_timed_out(struct ring *r, const struct strategy_view *view,
                          struct strategy_output *out)
{
    bool alone = pass(r, view, r->hop, out);
    bool own = r->token.subject == view->self && r->token.kind == BALLOT_MSG_TOKEN;

    if (alone && own && r->phase == PHASE_LAP)
        complete(r, view, out);
}

static void ring_on_timer(void *state, const struct strategy_view *view,
                          struct strategy_output *out)
{
    struct ring *r = state;

    output_reset(r, out);
    if (r->hop_due != 0 && view->now >= r->hop_due) {
        hop_timed_out(r, view, out);
    } else if (r->phase == PHASE_PAUSE && view->now >= r->due) {
        begin(r, view, out);
    } else if (waits(r) && view->now >= r->due) { /* the token is lost, or who it named */
        r->failed++;
        pause_from(r, view, view->now);
        output_reset(r, out);
    }
}

static void ring_on_leader(void *state, const struct strategy_view *view,
                           struct strategy_output *out)
{
    struct ring *r = state;

    r->phase = PHASE_IDLE;
    r->failed = 0;
    if (!view->raw)
        r->hop_due = 0;
    output_reset(r, out);
}

/* Nothing: who started the token has sent it on its second lap. */
static void ring_announce(void *state, const struct strategy_view *view,
                          struct strategy_output *out)
{
    (void)view;
    output_reset(state, out);
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
