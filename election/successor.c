/* Next-in-line (Gholipour et al. 2009): the leader has named who follows it, best first.
 *
 * Whoever misses the leader asks the first of them; when that one is silent too, the next. The one
 * that is asked and lives stands. The line comes from the leader, so a stale one costs time only:
 * behind it stand the other copies in order, and after its end it begins anew. */
#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum phase {
    PHASE_IDLE = 0,
    PHASE_ASKED,    /* the node at `line`; no answer yet */
    PHASE_TOLD,     /* it answered and should lead soon */
    PHASE_STANDING, /* in our own ballot */
    PHASE_PAUSE,    /* before the node at `line` is asked */
};

struct successor {
    enum phase phase;
    uint32_t line; /* index in the line */
    uint32_t lost; /* the leader we had: not asked before everybody else has been */
    uint32_t failed;
    uint64_t due;
    uint32_t order_count; /* the published list */
    uint8_t order[NODE_SLOTS];
};
_Static_assert(sizeof(struct successor) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static bool waits(const struct successor *s)
{
    return s->phase != PHASE_IDLE && s->phase != PHASE_STANDING;
}

static void output_reset(const struct successor *s, struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = waits(s) ? s->due : UINT64_MAX;
    out->message_count = 0;
}

static void successor_init(void *state)
{
    memset(state, 0, sizeof(struct successor));
}

/* ---- the line -------------------------------------------------------------------------------- */

static uint32_t listed_at(const struct successor *s, uint32_t id)
{
    uint32_t at = 0;

    while (at < s->order_count && s->order[at] != id)
        at++;
    return at;
}

/* The published list, then all nodes in order. NODE_ID_NONE: nobody to ask at this index. */
static uint32_t in_line(const struct successor *s, const struct strategy_view *view, uint32_t line)
{
    uint32_t id = line < s->order_count ? s->order[line] : view->nodes->at[line - s->order_count];

    if (line >= s->order_count && listed_at(s, id) < s->order_count)
        return NODE_ID_NONE;
    return id != s->lost && strategy_may_lead(view, id) ? id : NODE_ID_NONE;
}

static uint32_t successor_position(const void *state, const struct strategy_view *view, uint32_t id)
{
    const struct successor *s = state;
    uint32_t at = listed_at(s, id);

    return at < s->order_count ? at : s->order_count + view->nodes->place[id];
}

/* Nobody in the line leads: after a pause all over again, with the leader we had as well. */
static void start_over(struct successor *s, const struct strategy_view *view)
{
    s->lost = NODE_ID_NONE;
    s->line = 0;
    s->failed++;
    s->phase = PHASE_PAUSE;
    s->due = view->now + strategy_backoff_us(view, s->failed);
}

/* Asks the first one from `line` on, or stands if that is this node. */
static void ask_from(struct successor *s, const struct strategy_view *view, uint32_t line,
                     struct strategy_output *out)
{
    uint32_t end = s->order_count + view->nodes->placed, id = NODE_ID_NONE;

    while (line < end && (id = in_line(s, view, line)) == NODE_ID_NONE)
        line++;
    if (line >= end) {
        start_over(s, view);
        output_reset(s, out);
        return;
    }
    s->line = line;
    s->phase = id == view->self ? PHASE_STANDING : PHASE_ASKED;
    s->due = view->now + strategy_answer_us(view, s->failed);
    output_reset(s, out);
    if (id == view->self)
        out->nominate = id;
    else
        strategy_push(out, view, BALLOT_MSG_PROBE, id);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void successor_on_suspect(void *state, const struct strategy_view *view,
                                 struct strategy_output *out)
{
    struct successor *s = state;

    if (waits(s) && view->now < s->due)
        output_reset(s, out);
    else
        ask_from(s, view, 0, out);
}

/* Whom a ballot refused would be refused again: it is the turn of the next in line. */
static void successor_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                               bool failed, struct strategy_output *out)
{
    struct successor *s = state;
    uint64_t from = hold_until > view->now ? hold_until : view->now;

    s->failed += failed;
    s->line = failed ? successor_position(s, view, view->self) + 1 : 0;
    s->phase = PHASE_PAUSE;
    s->due = from + strategy_backoff_us(view, s->failed);
    output_reset(s, out);
}

/* Whether to stand because the leader is said to be gone. Not while we see one (RULES E2), and not
 * before a copy that has a newer log: it stands itself when it reads our answer. */
static bool accepts(const struct strategy_view *view, const struct ballot_message *m)
{
    return view->leader == NODE_ID_NONE && strategy_may_lead(view, view->self) &&
           (!strategy_may_lead(view, m->from) || log_position_compare(m->last, view->last) <= 0);
}

static void recv_probe(struct successor *s, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out)
{
    bool stands = accepts(view, m) && s->phase != PHASE_STANDING;

    if (!strategy_may_lead(view, view->self) || (s->phase == PHASE_PAUSE && s->failed > 0))
        return; /* we give way, or our ballot has just failed: the next in line shall be asked */
    if (stands)
        s->phase = PHASE_STANDING;
    output_reset(s, out);
    strategy_push(out, view, BALLOT_MSG_ALIVE, m->from);
    out->nominate = stands ? view->self : NODE_ID_NONE;
}

static void recv_alive(struct successor *s, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out)
{
    bool behind = log_position_compare(m->last, view->last) < 0;

    if (s->phase != PHASE_ASKED || m->from != in_line(s, view, s->line))
        return;
    if (behind && m->leader == NODE_ID_NONE && strategy_may_lead(view, view->self)) {
        ask_from(s, view, s->line + 1, out);
        return;
    }
    s->phase = PHASE_TOLD;
    s->due = view->now + strategy_lead_us(view) + strategy_backoff_us(view, s->failed);
    output_reset(s, out);
}

static void successor_on_message(void *state, const struct strategy_view *view,
                                 const struct ballot_message *m, struct strategy_output *out)
{
    struct successor *s = state;

    output_reset(s, out);
    if (m->kind == BALLOT_MSG_PROBE)
        recv_probe(s, view, m, out);
    else if (m->kind == BALLOT_MSG_ALIVE)
        recv_alive(s, view, m, out);
}

static void successor_on_timer(void *state, const struct strategy_view *view,
                               struct strategy_output *out)
{
    struct successor *s = state;

    if (!waits(s) || view->now < s->due)
        output_reset(s, out);
    else
        ask_from(s, view, s->phase == PHASE_PAUSE ? s->line : s->line + 1, out);
}

static void successor_on_leader(void *state, const struct strategy_view *view,
                                struct strategy_output *out)
{
    struct successor *s = state;

    s->phase = PHASE_IDLE;
    s->failed = 0;
    s->lost = view->leader;
    output_reset(s, out);
}

static void successor_announce(void *state, const struct strategy_view *view,
                               struct strategy_output *out)
{
    const struct successor *s = state;

    output_reset(s, out);
    for (uint32_t p = 0; p < view->nodes->placed; p++)
        if (view->nodes->at[p] != view->self && view->nodes->at[p] != s->lost)
            strategy_push(out, view, BALLOT_MSG_COORDINATOR, view->nodes->at[p])->subject =
                view->self;
}

static void successor_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    struct successor *s = state;

    assert(count <= NODE_SLOTS);
    memcpy(s->order, ids, count);
    s->order_count = count;
}

const struct strategy_ops strategy_successor = {
    .name = "successor",
    .init = successor_init,
    .on_suspect = successor_on_suspect,
    .on_retry = successor_on_retry,
    .on_message = successor_on_message,
    .on_timer = successor_on_timer,
    .on_leader = successor_on_leader,
    .announce = successor_announce,
    .on_successors = successor_on_successors,
    .position = successor_position,
};
