/* Invitation (Garcia-Molina 1982): made for networks in which silence proves nothing.
 *
 * Whoever misses the leader becomes the coordinator of a group of one. Coordinators look for others
 * and invite them; an invited one hands the invitation on to its members, and all join the new
 * group. Several leaders at once are no accident here but the design, so with ballots a coordinator
 * stands only when its group holds a majority (PROTOCOL 2.1). Without, it leads whatever it has. */
#include "election/strategy.h"

#include <assert.h>
#include <string.h>

enum phase {
    PHASE_IDLE = 0, /* no election: in the leader's group */
    PHASE_WAIT,     /* coordinator; for our turn to look for others */
    PHASE_MERGE,    /* coordinator; inviting those that answer */
    PHASE_MEMBER,   /* of another's group */
    PHASE_STANDING, /* in our own ballot */
};

struct invitation {
    enum phase phase;
    uint32_t lost;  /* the leader we had: its turn does not count */
    uint32_t group; /* our coordinator */
    uint32_t failed;
    uint64_t round; /* of our own group: an answer to an earlier one is too late */
    uint64_t due;
    uint32_t size;                             /* of our own group, ourselves included */
    uint64_t members[STRATEGY_NODES_MAX / 64]; /* the others in it, by place */
};
_Static_assert(sizeof(struct invitation) <= STRATEGY_STATE_WORDS * sizeof(uint64_t),
               "the blob must hold the state");

static bool waits(const struct invitation *v)
{
    return v->phase != PHASE_IDLE && v->phase != PHASE_STANDING;
}

static void output_reset(const struct invitation *v, struct strategy_output *out)
{
    out->nominate = NODE_ID_NONE;
    out->wake_at = waits(v) ? v->due : UINT64_MAX;
    out->message_count = 0;
}

static void invitation_init(void *state)
{
    memset(state, 0, sizeof(struct invitation));
}

/* ---- our own group --------------------------------------------------------------------------- */

static bool coordinates(const struct invitation *v)
{
    return v->phase == PHASE_WAIT || v->phase == PHASE_MERGE;
}

static bool has_member(const struct invitation *v, uint32_t place)
{
    return v->members[place / 64] >> (place % 64) & 1;
}

static void add_member(struct invitation *v, uint32_t place)
{
    v->size += !has_member(v, place);
    v->members[place / 64] |= UINT64_C(1) << (place % 64);
}

/* `kind` to every member, on behalf of `subject`. */
static void tell_members(const struct invitation *v, const struct strategy_view *view,
                         enum ballot_message_kind kind, uint32_t subject, uint64_t round,
                         struct strategy_output *out)
{
    for (uint32_t place = 0; place < view->nodes->placed; place++) {
        struct ballot_message *m;

        if (!has_member(v, place))
            continue;
        m = strategy_push(out, view, kind, view->nodes->at[place]);
        m->subject = subject;
        m->round = round;
    }
}

/* Earlier nodes look first: so there is one large merge instead of many small ones. */
static void wait_turn(struct invitation *v, const struct strategy_view *view, uint64_t from)
{
    uint32_t turn = view->nodes->place[view->self];

    if (strategy_kind(view, v->lost) != MEMBER_NONE && view->nodes->place[v->lost] < turn)
        turn--;
    v->phase = PHASE_WAIT;
    v->due = from + strategy_decayed(turn, v->failed) * view->delta_us +
             strategy_backoff_us(view, v->failed);
}

static void found_group(struct invitation *v, const struct strategy_view *view, uint64_t from)
{
    v->group = view->self;
    v->round++;
    v->size = 1;
    memset(v->members, 0, sizeof v->members);
    wait_turn(v, view, from);
}

static void look_for_others(struct invitation *v, const struct strategy_view *view,
                            struct strategy_output *out)
{
    v->phase = PHASE_MERGE;
    v->due = view->now + 3 * strategy_answer_us(view, v->failed); /* two round trips and a margin */
    output_reset(v, out);
    for (uint32_t place = 0; place < view->nodes->placed; place++)
        if (view->nodes->at[place] != view->self)
            strategy_push(out, view, BALLOT_MSG_PROBE, view->nodes->at[place]);
}

static void stand(struct invitation *v, const struct strategy_view *view,
                  struct strategy_output *out)
{
    v->phase = PHASE_STANDING;
    out->wake_at = UINT64_MAX;
    out->nominate = view->self;
}

/* Who may not lead has no group that could stand: it names the copies one after the other. */
static void name_a_copy(struct invitation *v, const struct strategy_view *view,
                        struct strategy_output *out)
{
    uint32_t copies = strategy_copies(view);
    uint32_t copy = view->nodes->at[copies == 0 ? 0 : v->failed % copies];

    v->failed++;
    wait_turn(v, view, view->now + strategy_lead_us(view));
    output_reset(v, out);
    if (copy != view->self)
        strategy_push(out, view, BALLOT_MSG_NOMINATE, copy);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Whether we would rather be in that coordinator's group than in our own. Nobody leaves a leader it
 * sees (RULES E2). */
static bool yields_to(const struct invitation *v, const struct strategy_view *view,
                      const struct ballot_message *m)
{
    return view->leader == NODE_ID_NONE && v->phase != PHASE_STANDING &&
           strategy_may_lead(view, m->from) &&
           strategy_higher(view, m->from, m->last, view->self, view->last);
}

/* A witness with a newer log joins too: its refusal in the ballot starts the rescue (RULES E3). */
static bool answers_probe(const struct invitation *v, const struct strategy_view *view,
                          const struct ballot_message *m)
{
    return v->phase != PHASE_MEMBER && yields_to(v, view, m);
}

static void join(struct invitation *v, const struct strategy_view *view,
                 const struct ballot_message *m, struct strategy_output *out)
{
    struct ballot_message *accept;

    v->phase = PHASE_MEMBER;
    v->group = m->subject;
    v->due = view->now + strategy_lead_us(view) + strategy_backoff_us(view, v->failed);
    output_reset(v, out);
    accept = strategy_push(out, view, BALLOT_MSG_ACCEPT, m->subject);
    accept->subject = m->subject;
    accept->round = m->round;
}

static void recv_invite(struct invitation *v, const struct strategy_view *view,
                        const struct ballot_message *m, struct strategy_output *out)
{
    bool from_coordinator = m->from == m->subject && yields_to(v, view, m);
    bool handed_on = v->phase == PHASE_MEMBER && m->from == v->group &&
                     strategy_may_lead(view, m->subject) && m->subject != view->self;
    bool leads_group = coordinates(v);

    if (!from_coordinator && !handed_on)
        return;
    join(v, view, m, out);
    if (leads_group)
        tell_members(v, view, BALLOT_MSG_INVITE, m->subject, m->round, out);
}

static void recv_accept(struct invitation *v, const struct strategy_view *view,
                        const struct ballot_message *m, struct strategy_output *out)
{
    struct ballot_message *joined;

    if (!coordinates(v) || m->round != v->round || strategy_kind(view, m->from) == MEMBER_NONE)
        return;
    add_member(v, view->nodes->place[m->from]);
    joined = strategy_push(out, view, BALLOT_MSG_JOINED, m->from);
    joined->subject = view->self;
    joined->round = v->round;
    if (!view->raw && 2 * v->size > view->nodes->placed)
        stand(v, view, out);
}

static void invitation_on_message(void *state, const struct strategy_view *view,
                                  const struct ballot_message *m, struct strategy_output *out)
{
    struct invitation *v = state;

    output_reset(v, out);
    if (m->kind == BALLOT_MSG_PROBE && answers_probe(v, view, m)) {
        strategy_push(out, view, BALLOT_MSG_ALIVE, m->from);
    } else if (m->kind == BALLOT_MSG_ALIVE && v->phase == PHASE_MERGE) {
        struct ballot_message *invite = strategy_push(out, view, BALLOT_MSG_INVITE, m->from);

        invite->subject = view->self;
        invite->round = v->round;
    } else if (m->kind == BALLOT_MSG_INVITE) {
        recv_invite(v, view, m, out);
    } else if (m->kind == BALLOT_MSG_ACCEPT) {
        recv_accept(v, view, m, out);
    } else if (m->kind == BALLOT_MSG_NOMINATE && view->leader == NODE_ID_NONE &&
               strategy_may_lead(view, view->self) && v->phase != PHASE_MEMBER) {
        stand(v, view, out);
    }
}

/* ---- the other events ------------------------------------------------------------------------ */

static void invitation_on_suspect(void *state, const struct strategy_view *view,
                                  struct strategy_output *out)
{
    struct invitation *v = state;

    if (!waits(v) || view->now >= v->due)
        found_group(v, view, view->now);
    output_reset(v, out);
}

static void invitation_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                                bool failed, struct strategy_output *out)
{
    struct invitation *v = state;

    v->failed += failed;
    found_group(v, view, hold_until > view->now ? hold_until : view->now);
    output_reset(v, out);
}

static void invitation_on_timer(void *state, const struct strategy_view *view,
                                struct strategy_output *out)
{
    struct invitation *v = state;
    bool leads = strategy_may_lead(view, view->self);

    output_reset(v, out);
    if (!waits(v) || view->now < v->due)
        return;
    if (v->phase == PHASE_WAIT && leads) {
        look_for_others(v, view, out);
    } else if (v->phase == PHASE_WAIT) {
        name_a_copy(v, view, out);
    } else if (v->phase == PHASE_MERGE && view->raw) {
        stand(v, view, out);
    } else { /* no majority yet, or the group we joined has no leader: look on */
        v->failed++;
        if (v->phase == PHASE_MEMBER)
            found_group(v, view, view->now);
        else
            wait_turn(v, view, view->now);
        output_reset(v, out);
    }
}

static void invitation_on_leader(void *state, const struct strategy_view *view,
                                 struct strategy_output *out)
{
    struct invitation *v = state;

    v->phase = PHASE_IDLE;
    v->failed = 0;
    v->group = NODE_ID_NONE;
    v->lost = view->leader;
    output_reset(v, out);
}

static void invitation_announce(void *state, const struct strategy_view *view,
                                struct strategy_output *out)
{
    const struct invitation *v = state;

    output_reset(v, out);
    tell_members(v, view, BALLOT_MSG_COORDINATOR, view->self, v->round, out);
}

static void invitation_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    (void)state, (void)ids, (void)count;
}

static uint32_t invitation_position(const void *state, const struct strategy_view *view,
                                    uint32_t id)
{
    (void)state;
    return view->nodes->place[id];
}

const struct strategy_ops strategy_invitation = {
    .name = "invitation",
    .init = invitation_init,
    .on_suspect = invitation_on_suspect,
    .on_retry = invitation_on_retry,
    .on_message = invitation_on_message,
    .on_timer = invitation_on_timer,
    .on_leader = invitation_on_leader,
    .announce = invitation_announce,
    .on_successors = invitation_on_successors,
    .position = invitation_position,
};
