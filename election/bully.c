/* Bully (Garcia-Molina 1982): the highest living node leads.
 *
 * Who misses the leader asks all higher nodes, that is those earlier in order. One that lives
 * answers and takes over; when none answers in time, the asker is the highest and stands. A ballot
 * can still refuse it because its log is behind. Then it asks everybody, and those with a newer log
 * count as higher (PROTOCOL 2.1, the log-aware variant); while it pauses it claims nothing, so that
 * the next one gets its chance. */
#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum { PATIENT_ROUNDS = 2 }; /* higher nodes that answer but do not lead are waited for so often */

enum phase {
    PHASE_IDLE = 0, /* no election */
    PHASE_ASKED,    /* the higher nodes; no answer yet */
    PHASE_ANSWERED, /* a higher node took over */
    PHASE_STANDING, /* in our own ballot */
    PHASE_PAUSE,    /* after it failed, or made way for a better candidate's */
};

struct bully {
    enum phase phase;
    uint32_t failed; /* rounds in a row */
    bool refused;    /* by a ballot: places alone do not tell who is higher */
    uint64_t due;
};
_Static_assert(sizeof(struct bully) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static bool waits(const struct bully *b)
{
    return b->phase != PHASE_IDLE && b->phase != PHASE_STANDING;
}

static void output_reset(const struct bully *b, struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = waits(b) ? b->due : UINT64_MAX;
    out->message_count = 0;
}

static void bully_init(void *state)
{
    memset(state, 0, sizeof(struct bully));
}

static void pause_from(struct bully *b, const struct strategy_view *view, uint64_t from)
{
    b->phase = PHASE_PAUSE;
    b->due = from + strategy_backoff_us(view, b->failed);
}

/* Nobody is higher. A witness cannot lead and asks again later: it has told the copies. */
static void stand(struct bully *b, const struct strategy_view *view, struct strategy_output *out)
{
    bool leads = strategy_may_lead(view, view->self);

    if (leads) {
        b->phase = PHASE_STANDING;
    } else {
        b->failed++;
        pause_from(b, view, view->now + strategy_lead_us(view));
    }
    output_reset(b, out);
    out->nominate = leads ? view->self : NODE_ID_NONE;
}

static void begin(struct bully *b, const struct strategy_view *view, struct strategy_output *out)
{
    const struct strategy_nodes *nodes = view->nodes;
    uint32_t copies = strategy_copies(view), place = nodes->place[view->self];
    uint32_t end = b->refused || place > copies ? copies : place;

    b->phase = PHASE_ASKED;
    b->due = view->now + strategy_answer_us(view, b->failed);
    output_reset(b, out);
    for (uint32_t p = 0; p < end; p++)
        if (p != place)
            strategy_push(out, view, BALLOT_MSG_ELECTION, nodes->at[p]);
    if (out->message_count == 0)
        stand(b, view, out);
}

static void bully_on_suspect(void *state, const struct strategy_view *view,
                             struct strategy_output *out)
{
    struct bully *b = state;

    if (waits(b) && view->now < b->due)
        output_reset(b, out);
    else
        begin(b, view, out);
}

static void bully_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                           bool failed, struct strategy_output *out)
{
    struct bully *b = state;

    if (failed) {
        b->failed++;
        b->refused = true;
    }
    pause_from(b, view, hold_until > view->now ? hold_until : view->now);
    output_reset(b, out);
}

/* Whether this node tells the asker that it takes over. One that sees a leader does too, without
 * an election of its own: the asker waits and will hear that leader (RULES E2). */
static bool takes_over(const struct bully *b, const struct strategy_view *view,
                       const struct ballot_message *m)
{
    bool failed = b->phase == PHASE_PAUSE && b->failed > 0;

    return !failed && strategy_higher(view, view->self, view->last, m->from, m->last);
}

static void bully_on_message(void *state, const struct strategy_view *view,
                             const struct ballot_message *m, struct strategy_output *out)
{
    struct bully *b = state;
    /* A witness with a newer log must not keep the copies from standing: refusing one of their
     * pre-votes is what makes it rescue its entries (RULES E3). */
    bool witness_asks = m->kind == BALLOT_MSG_ELECTION && !strategy_may_lead(view, m->from);

    output_reset(b, out);
    if (m->kind == BALLOT_MSG_ELECTION && (witness_asks || takes_over(b, view, m))) {
        if (!strategy_may_lead(view, view->self))
            return;
        if (b->phase == PHASE_IDLE && view->leader == NODE_ID_NONE)
            begin(b, view, out);
        strategy_push(out, view, BALLOT_MSG_ELECTION_OK, m->from);
    } else if (m->kind == BALLOT_MSG_ELECTION_OK && b->phase == PHASE_ASKED) {
        b->phase = PHASE_ANSWERED;
        b->due = view->now + strategy_lead_us(view) + strategy_backoff_us(view, b->failed);
        output_reset(b, out);
    }
}

static void bully_on_timer(void *state, const struct strategy_view *view,
                           struct strategy_output *out)
{
    struct bully *b = state;

    output_reset(b, out);
    if (!waits(b) || view->now < b->due)
        return;
    if (b->phase == PHASE_ANSWERED && ++b->failed < PATIENT_ROUNDS)
        begin(b, view, out);
    else if (b->phase == PHASE_PAUSE)
        begin(b, view, out);
    else
        stand(b, view, out);
}

static void bully_on_leader(void *state, const struct strategy_view *view,
                            struct strategy_output *out)
{
    (void)view;
    bully_init(state);
    output_reset(state, out);
}

/* The highest tells all lower ones. */
static void bully_announce(void *state, const struct strategy_view *view,
                           struct strategy_output *out)
{
    const struct strategy_nodes *nodes = view->nodes;

    output_reset(state, out);
    for (uint32_t p = nodes->place[view->self] + 1; p < nodes->placed; p++)
        strategy_push(out, view, BALLOT_MSG_COORDINATOR, nodes->at[p])->subject = view->self;
}

static void bully_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    (void)state, (void)ids, (void)count;
}

static uint32_t bully_position(const void *state, const struct strategy_view *view, uint32_t id)
{
    (void)state;
    return view->nodes->place[id];
}

const struct strategy_ops strategy_bully = {
    .name = "bully",
    .init = bully_init,
    .on_suspect = bully_on_suspect,
    .on_retry = bully_on_retry,
    .on_message = bully_on_message,
    .on_timer = bully_on_timer,
    .on_leader = bully_on_leader,
    .announce = bully_announce,
    .on_successors = bully_on_successors,
    .position = bully_position,
};
