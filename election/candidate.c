/* Candidate/ordinary: copies stand one after the other, ordinary nodes nominate.
 *
 * A copy waits position x delta after the suspicion, so that the one before it has had time for a
 * whole ballot; a witness waits behind all copies, asks them how far they are and nominates the
 * best. Rank decays with failed rounds: otherwise a dead first rank, or one that cannot win, would
 * starve the group (NuRaft, jraft, Redpanda: PROTOCOL 1.4). */
#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum {
    COLLECT_MARGIN_US = 5 * 1000,
    RETRY_US_MAX = 200 * 1000, /* a pre-vote is cheap; waiting longer would cost failover time */
    JITTER_DELTAS_MAX = 4,
};

enum phase {
    PHASE_IDLE = 0, /* no suspicion, or our own ballot is running */
    PHASE_WAIT,     /* for our turn */
    PHASE_COLLECT,  /* witness: for the answers of the copies */
};

struct candidate {
    enum phase phase;
    uint32_t failed; /* rounds in a row */
    uint64_t due;
    uint32_t order_count; /* successor list of the last leader */
    uint8_t order[NODE_SLOTS];
    uint32_t best; /* best answer so far, 0: none */
    struct log_position best_last;
};
_Static_assert(sizeof(struct candidate) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static void output_reset(const struct candidate *c, struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = c->phase == PHASE_IDLE ? UINT64_MAX : c->due;
    out->message_count = 0;
}

static void candidate_init(void *state)
{
    memset(state, 0, sizeof(struct candidate));
}

/* Index of `id` in the published list, or its length. */
static uint32_t listed_at(const struct candidate *c, uint32_t id)
{
    uint32_t at = 0;

    while (at < c->order_count && c->order[at] != id)
        at++;
    return at;
}

static uint32_t candidate_position(const void *state, const struct strategy_view *view, uint32_t id)
{
    const struct candidate *c = state;
    uint32_t at = listed_at(c, id);

    if (!strategy_may_lead(view, id))
        return strategy_copies(view);
    if (at < c->order_count)
        return at;
    /* Not in the list: no list yet, or `id` was the leader. It comes after those listed. */
    if (c->order_count == 0)
        return view->nodes->place[id];
    for (uint32_t place = 0; place < view->nodes->place[id]; place++)
        if (listed_at(c, view->nodes->at[place]) == c->order_count)
            at++;
    return at;
}

/* position x delta + jitter: U(0, delta/4) at first, as PROTOCOL 1.4 says, but none for the first
 * in order, who has nobody to be told apart from; up to several deltas after failed rounds, because
 * decay has by then put different ranks at the same moment. */
static uint64_t delay_us(const struct candidate *c, const struct strategy_view *view)
{
    uint32_t position = strategy_decayed(candidate_position(c, view, view->self), c->failed);
    uint32_t deltas = c->failed < JITTER_DELTAS_MAX ? c->failed : JITTER_DELTAS_MAX;
    uint64_t jitter = view->delta_us * deltas;

    if (c->failed == 0 && position != 0)
        jitter = view->delta_us / 4;
    return position * view->delta_us + view->random % (jitter + 1);
}

static uint64_t retry_gap_us(const struct candidate *c, const struct strategy_view *view)
{
    uint64_t gap = view->delta_us * (c->failed < RETRY_US_MAX ? c->failed : RETRY_US_MAX);
    uint64_t cap = view->delta_us > RETRY_US_MAX ? view->delta_us : RETRY_US_MAX;

    return gap < cap ? gap : cap;
}

static void candidate_on_suspect(void *state, const struct strategy_view *view,
                                 struct strategy_output *out)
{
    struct candidate *c = state;

    c->phase = PHASE_WAIT;
    c->due = view->now + delay_us(c, view);
    output_reset(c, out);
}

static void candidate_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                               bool failed, struct strategy_output *out)
{
    struct candidate *c = state;
    uint64_t from = hold_until > view->now ? hold_until : view->now;

    c->phase = PHASE_WAIT;
    if (failed) {
        c->failed++;
        c->due = from + delay_us(c, view) + retry_gap_us(c, view);
    } else if (c->due < from) {
        /* It made way, and keeps its turn. To count its place again each time would let several
         * that nobody else hears, so that they cannot win, put off the one that all hear. */
        c->due = from;
    }
    output_reset(c, out);
}

static void ask_copies(struct candidate *c, const struct strategy_view *view,
                       struct strategy_output *out)
{
    uint32_t copies = strategy_copies(view);

    c->phase = PHASE_COLLECT;
    c->due = view->now + view->rtt_us + COLLECT_MARGIN_US;
    c->best = NODE_ID_NONE;
    output_reset(c, out);
    for (uint32_t place = 0; place < copies; place++)
        if (view->nodes->at[place] != view->self)
            strategy_push(out, view, BALLOT_MSG_NOMINATE_QUERY, view->nodes->at[place]);
}

/* Names the best copy that answered, and waits before doing it all again. */
static void nominate_best(struct candidate *c, const struct strategy_view *view,
                          struct strategy_output *out)
{
    uint32_t best = c->best;

    c->failed++;
    c->phase = PHASE_WAIT;
    c->due = view->now + delay_us(c, view) + retry_gap_us(c, view);
    output_reset(c, out);
    if (best == NODE_ID_NONE)
        return;
    strategy_push(out, view, BALLOT_MSG_NOMINATE, best);
    out->nominate = best;
}

static void candidate_on_timer(void *state, const struct strategy_view *view,
                               struct strategy_output *out)
{
    struct candidate *c = state;

    output_reset(c, out);
    if (c->phase == PHASE_IDLE || view->now < c->due)
        return;
    if (c->phase == PHASE_COLLECT) {
        nominate_best(c, view, out);
        return;
    }
    if (!strategy_may_lead(view, view->self)) {
        ask_copies(c, view, out);
        return;
    }
    c->phase = PHASE_IDLE;
    output_reset(c, out);
    out->nominate = view->self;
}

/* Best = max by (lastTerm, lastIdx, -rank) among those that see no leader (PROTOCOL 1.4). */
static void on_answer(struct candidate *c, const struct strategy_view *view,
                      const struct ballot_message *m)
{
    int newer;

    if (c->phase != PHASE_COLLECT || m->leader != NODE_ID_NONE || !strategy_may_lead(view, m->from))
        return;
    newer = log_position_compare(m->last, c->best_last);
    if (c->best == NODE_ID_NONE || newer > 0 ||
        (newer == 0 &&
         candidate_position(c, view, m->from) < candidate_position(c, view, c->best))) {
        c->best = m->from;
        c->best_last = m->last;
    }
}

static void candidate_on_message(void *state, const struct strategy_view *view,
                                 const struct ballot_message *m, struct strategy_output *out)
{
    struct candidate *c = state;

    output_reset(c, out);
    if (m->kind == BALLOT_MSG_NOMINATE_QUERY) {
        strategy_push(out, view, BALLOT_MSG_NOMINATE_ANSWER, m->from);
    } else if (m->kind == BALLOT_MSG_NOMINATE_ANSWER) {
        on_answer(c, view, m);
    } else if (m->kind == BALLOT_MSG_NOMINATE && view->leader == NODE_ID_NONE &&
               strategy_may_lead(view, view->self)) {
        c->phase = PHASE_IDLE;
        output_reset(c, out);
        out->nominate = view->self;
    }
}

static void candidate_on_leader(void *state, const struct strategy_view *view,
                                struct strategy_output *out)
{
    struct candidate *c = state;

    c->phase = PHASE_IDLE;
    c->failed = 0;
    output_reset(c, out);
}

static void candidate_announce(void *state, const struct strategy_view *view,
                               struct strategy_output *out)
{
    output_reset(state, out);
    for (uint32_t place = 0; place < view->nodes->placed; place++)
        if (view->nodes->at[place] != view->self)
            strategy_push(out, view, BALLOT_MSG_COORDINATOR, view->nodes->at[place]);
}

static void candidate_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    struct candidate *c = state;

    assert(count <= NODE_SLOTS);
    memcpy(c->order, ids, count);
    c->order_count = count;
}

const struct strategy_ops strategy_candidate = {
    .name = "candidate",
    .init = candidate_init,
    .on_suspect = candidate_on_suspect,
    .on_retry = candidate_on_retry,
    .on_message = candidate_on_message,
    .on_timer = candidate_on_timer,
    .on_leader = candidate_on_leader,
    .announce = candidate_announce,
    .on_successors = candidate_on_successors,
    .position = candidate_position,
};
