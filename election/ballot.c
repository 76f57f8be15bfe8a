#include "election/ballot.h"

#include <assert.h>
#include <string.h>

#include "election/ballot_impl.h"

enum {
    /* A node that must listen wakes at least this often, so that a pause of the whole process is
     * seen as lateness of a timer whenever it happens (RULES E5). */
    LISTEN_US = 100 * 1000,
    DELTA_MARGIN_US = 5 * 1000,
    /* A stalled disk must not postpone the next rank for seconds: the ballots of two ranks may then
     * overlap, which costs a retry and nothing else. */
    DELTA_US_MAX = 300 * 1000,
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct ballot_config ballot_config_default(uint32_t self, const struct member_set *members)
{
    return (struct ballot_config){
        .self = self,
        .members = *members,
        .detector = detector_config_default(),
        .promise_us = 150 * 1000,
        .delta_us_min = 15 * 1000,
        .transfer_us = 600 * 1000,
        .leader_lease = true,
        .strategy = &strategy_candidate,
    };
}

/* Lays the voters out in the order of standing. */
static void arrange_nodes(struct ballot *b)
{
    const struct member_set *members = &b->config.members;
    uint32_t copies = quorum_count(member_copies(members)), witnesses = 0;

    for (uint32_t id = 1; id <= NODE_ID_MAX; id++) {
        bool copy = member_kind_of(members, id) == MEMBER_COPY;

        b->node_kind[id] = MEMBER_NONE;
        if (!member_votes(members, id))
            continue;
        b->node_kind[id] = (uint8_t)member_kind_of(members, id);
        b->node_place[id] = copy ? member_position(members, id) : copies + witnesses++;
        b->node_at[b->node_place[id]] = id;
    }
    b->nodes = (struct strategy_nodes){.count = NODE_ID_MAX,
                                       .placed = copies + witnesses,
                                       .kind = b->node_kind,
                                       .place = b->node_place,
                                       .at = b->node_at};
}

void ballot_init(struct ballot *b, const struct ballot_config *config)
{
    assert(config->self != NODE_ID_NONE && config->self <= NODE_ID_MAX);
    assert(config->strategy != NULL && config->promise_us > 0 && config->delta_us_min > 0);
    memset(b, 0, sizeof *b);
    b->config = *config;
    arrange_nodes(b);
    detector_init(&b->detector, &config->detector);
    config->strategy->init(b->strategy_state);
    b->strategy_at = UINT64_MAX;
    b->wake_at = UINT64_MAX;
}

bool ballot_leads(const struct ballot *b)
{
    return b->role == BALLOT_LEADER || b->role == BALLOT_RESCUE_LEADER;
}

node_mask ballot_voters(const struct ballot *b)
{
    return member_voters(&b->config.members);
}

uint64_t ballot_durable_term(const struct ballot *b)
{
    return b->synced_term;
}

uint64_t ballot_delta(const struct ballot *b, uint64_t now)
{
    uint64_t rtt = detector_rtt_max(&b->detector, ballot_voters(b), now);
    uint64_t sync = detector_window_max(&b->sync_times, now);
    uint64_t delta = 2 * rtt + sync + DELTA_MARGIN_US;

    if (delta < b->config.delta_us_min)
        return b->config.delta_us_min;
    return min_u64(delta, DELTA_US_MAX);
}

/* When the silence of the node we listen to becomes suspicion, by the real clock. */
static uint64_t suspect_at(const struct ballot *b)
{
    return detector_suspect_at(&b->detector, b->expected, b->contact_at, b->now);
}

uint32_t ballot_sees_leader(const struct ballot *b, uint64_t now)
{
    if (ballot_leads(b))
        return b->config.self;
    if (b->leader == NODE_ID_NONE ||
        now >= detector_suspect_at(&b->detector, b->leader, b->contact_at, now))
        return NODE_ID_NONE;
    return b->leader;
}

/* ---- what the other sources use -------------------------------------------------------------- */

void ballot_note(struct ballot_update *out, struct ballot_note note)
{
    if (out->note_count < BALLOT_NOTES_MAX)
        out->notes[out->note_count++] = note;
}

/* Sends now. Only for messages that tell nothing that is not durable. */
void ballot_send(struct ballot *b, struct ballot_update *out, const struct ballot_message *m)
{
    struct ballot_message *sent;

    assert(out->message_count < BALLOT_MESSAGES_MAX);
    assert(m->to != b->config.self);
    sent = &out->messages[out->message_count++];
    *sent = *m;
    sent->from = b->config.self;
    sent->term = b->synced_term; /* PROTOCOL 1.9 E12: never a term that is not persisted */
}

void ballot_persist(struct ballot *b, struct ballot_update *out, uint64_t term, uint32_t voted_for)
{
    assert(term > b->term || (term == b->term && b->voted_for == NODE_ID_NONE));
    b->term = term;
    b->voted_for = voted_for;
    b->persist_at = b->now;
    out->persist = true;
}

bool ballot_is_aside(const struct ballot *b)
{
    return b->now < b->aside_until;
}

struct strategy_view ballot_view(const struct ballot *b)
{
    return (struct strategy_view){
        .now = b->now,
        .random = b->random,
        .self = b->config.self,
        .term = b->synced_term,
        .last = b->last,
        .leader = ballot_sees_leader(b, b->now),
        .delta_us = ballot_delta(b, b->now),
        .rtt_us = detector_rtt_max(&b->detector, ballot_voters(b), b->now),
        .calm = !b->suspect,
        .aside = ballot_is_aside(b),
        .nodes = &b->nodes,
    };
}

struct strategy_output ballot_strategy_output(struct ballot *b)
{
    return (struct strategy_output){.room = NODE_SLOTS, .messages = b->strategy_messages};
}

uint32_t ballot_position(const struct ballot *b, uint32_t id)
{
    struct strategy_view view = ballot_view(b);

    return b->config.strategy->position(b->strategy_state, &view, id);
}

/* Carries out what the strategy wants. A nomination of this node starts a ballot unless one is
 * running; the strategy never names a witness (RULES E3: it leads only to rescue). */
void ballot_run_strategy(struct ballot *b, struct ballot_update *out,
                         const struct strategy_output *so)
{
    b->strategy_at = so->wake_at;
    for (uint32_t i = 0; i < so->message_count; i++)
        ballot_send(b, out, &so->messages[i]);
    if (so->nominate != b->config.self || b->role != BALLOT_FOLLOWER)
        return;
    assert(!ballot_is_aside(b));
    assert(member_kind_of(&b->config.members, b->config.self) == MEMBER_COPY);
    ballot_begin_prevote(b, out, false);
}

/* The attempt is over; the strategy says when the next one is due. */
void ballot_retry(struct ballot *b, struct ballot_update *out, uint64_t hold_until, bool failed)
{
    struct strategy_view view = ballot_view(b);
    struct strategy_output so = ballot_strategy_output(b);

    b->config.strategy->on_retry(b->strategy_state, &view, hold_until, failed, &so);
    ballot_run_strategy(b, out, &so);
}

/* Suspicion ends: from now on we listen to `expected` (0: to anybody). */
void ballot_calm(struct ballot *b, uint32_t expected)
{
    b->suspect = false;
    b->strategy_at = UINT64_MAX;
    b->expected = expected;
    b->contact_at = detector_clock(&b->detector, b->now);
}

/* Leaves whatever role it is for FOLLOWER, in the same term. A candidate stays suspicious and tries
 * again later; a leader starts listening. */
void ballot_step_down(struct ballot *b, struct ballot_update *out)
{
    enum ballot_role old = b->role;

    if (old == BALLOT_FOLLOWER)
        return;
    b->role = BALLOT_FOLLOWER;
    if (old == BALLOT_PRECAND || old == BALLOT_CAND) {
        ballot_retry(b, out, b->round.hold_until, true);
        return;
    }
    if (b->transfer_to != NODE_ID_NONE)
        ballot_transfer_end(b, out, BALLOT_TRANSFER_ABORTED);
    b->leader = NODE_ID_NONE;
    ballot_calm(b, NODE_ID_NONE);
    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_STEP_DOWN, .term = b->term});
}

/* Raft's "if a term in a message is larger, adopt it and become follower" (Ongaro 2014, 3.3). */
void ballot_adopt_term(struct ballot *b, struct ballot_update *out, uint64_t term)
{
    assert(term > b->term);
    ballot_persist(b, out, term, NODE_ID_NONE);
    b->leader = NODE_ID_NONE;
    if (b->role != BALLOT_FOLLOWER)
        ballot_step_down(b, out);
    else if (!b->suspect)
        ballot_calm(b, NODE_ID_NONE);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void recv_start(struct ballot *b, struct ballot_update *out, const struct ballot_event *ev)
{
    uint32_t self = b->config.self;

    b->started = true;
    b->term = b->synced_term = ev->term;
    b->voted_for = b->synced_vote = ev->voted_for;
    b->last = ev->last;
    b->boot_until = b->now + b->config.promise_us;
    ballot_calm(b, NODE_ID_NONE);
    /* "A sole voter ignores priority" (PROTOCOL 1.4), and has nobody to wait for. */
    if (ballot_voters(b) == quorum_bit(self) &&
        member_kind_of(&b->config.members, self) == MEMBER_COPY)
        ballot_begin_vote(b, out, 0);
}

static void recv_leader_heard(struct ballot *b, struct ballot_update *out, uint32_t from,
                              uint64_t term)
{
    bool first;

    if (from == NODE_ID_NONE || from > NODE_ID_MAX || from == b->config.self || term < b->term)
        return;
    if (term > b->term)
        ballot_adopt_term(b, out, term);
    if (ballot_leads(b) || (b->leader != NODE_ID_NONE && b->leader != from)) {
        /* Two leaders in one term. Votes make that impossible, so it is a foreign node's doing. */
        ballot_note(
            out, (struct ballot_note){.kind = BALLOT_NOTE_BAD_MESSAGE, .peer = from, .term = term});
        return;
    }
    first = b->leader != from || b->suspect;
    b->role = BALLOT_FOLLOWER;
    b->leader = from;
    detector_beat(&b->detector, from, first, b->now);
    b->late_rounds = 0;
    ballot_calm(b, from);
    /* V3 and E1: the answer to this heartbeat is a promise, counted from its receipt. */
    b->promised_to = from;
    b->promise_until = b->now + b->config.promise_us;
    if (first) {
        struct strategy_view view = ballot_view(b);
        struct strategy_output so = ballot_strategy_output(b);

        b->config.strategy->on_leader(b->strategy_state, &view, &so);
        ballot_run_strategy(b, out, &so);
    }
}

static void recv_synced(struct ballot *b, struct ballot_update *out, uint64_t term,
                        uint32_t voted_for)
{
    assert(term >= b->synced_term && term <= b->term);
    b->synced_term = term;
    b->synced_vote = voted_for;
    if (term != b->term || voted_for != b->voted_for || b->persist_at == 0)
        return; /* an older write; the one that counts is still under way */
    detector_window_add(&b->sync_times, b->now, b->now - b->persist_at);
    b->persist_at = 0;
    ballot_flush_answers(b, out);
    if (b->role == BALLOT_CAND)
        ballot_own_vote_synced(b, out);
}

static void recv_members(struct ballot *b, struct ballot_update *out,
                         const struct member_set *members)
{
    enum member_kind kind;

    assert(members != NULL);
    b->config.members = *members;
    arrange_nodes(b);
    kind = member_kind_of(members, b->config.self);
    /* A copy that became a witness, or left, must not go on in a role it may not have. */
    if ((b->role == BALLOT_LEADER && kind != MEMBER_COPY) ||
        (b->role == BALLOT_RESCUE_LEADER && kind != MEMBER_WITNESS) ||
        ((b->role == BALLOT_PRECAND || b->role == BALLOT_CAND) &&
         kind != (b->round.rescue ? MEMBER_WITNESS : MEMBER_COPY)))
        ballot_step_down(b, out);
}

/* Who stands is a matter of time alone, so giving way can lose nothing: votes, promises and the
 * position of the log stay what they are. */
static void recv_aside(struct ballot *b, struct ballot_update *out, uint64_t until)
{
    b->aside_until = until;
    if (ballot_is_aside(b) && ballot_leads(b))
        ballot_step_down(b, out);
}

static void recv_strategy_message(struct ballot *b, struct ballot_update *out,
                                  const struct ballot_message *m)
{
    struct strategy_view view = ballot_view(b);
    struct strategy_output so = ballot_strategy_output(b);

    if (!member_votes(&b->config.members, b->config.self) || ballot_leads(b))
        return;
    if (m->kind == BALLOT_MSG_NOMINATE && b->role != BALLOT_FOLLOWER)
        return; /* already at it */
    b->config.strategy->on_message(b->strategy_state, &view, m, &so);
    ballot_run_strategy(b, out, &so);
}

static void recv_message(struct ballot *b, struct ballot_update *out,
                         const struct ballot_message *m)
{
    if (!ballot_message_valid(m) || m->to != b->config.self) {
        ballot_note(out, (struct ballot_note){
                             .kind = BALLOT_NOTE_BAD_MESSAGE, .peer = m->from, .term = m->term});
        return;
    }
    detector_heard(&b->detector, m->from);
    switch (m->kind) {
    case BALLOT_MSG_PREVOTE:
        ballot_recv_prevote(b, out, m);
        break;
    case BALLOT_MSG_PREVOTE_RESP:
        ballot_recv_prevote_resp(b, out, m);
        break;
    case BALLOT_MSG_VOTE:
        ballot_recv_vote(b, out, m);
        break;
    case BALLOT_MSG_VOTE_RESP:
        ballot_recv_vote_resp(b, out, m);
        break;
    case BALLOT_MSG_TIMEOUT_NOW:
        ballot_recv_timeout_now(b, out, m);
        break;
    case BALLOT_MSG_NOMINATE_QUERY:
    case BALLOT_MSG_NOMINATE_ANSWER:
    case BALLOT_MSG_NOMINATE:
    case BALLOT_MSG_ELECTION:
    case BALLOT_MSG_ELECTION_OK:
    case BALLOT_MSG_COORDINATOR:
    case BALLOT_MSG_PROBE:
    case BALLOT_MSG_ALIVE:
    case BALLOT_MSG_TOKEN:
    case BALLOT_MSG_INVITE:
    case BALLOT_MSG_ACCEPT:
    case BALLOT_MSG_JOINED:
        recv_strategy_message(b, out, m);
        break;
    case BALLOT_MSG_NONE:
    case BALLOT_MSG_KINDS:
        break;
    }
}

static void begin_suspicion(struct ballot *b, struct ballot_update *out)
{
    struct strategy_view view = ballot_view(b);
    struct strategy_output so = ballot_strategy_output(b);
    bool cut = detector_cut(&b->detector, b->expected);
    uint64_t silence = cut ? 0 : detector_clock(&b->detector, b->now) - b->contact_at;

    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_SUSPECT,
                                          .peer = b->expected,
                                          .term = b->term,
                                          .value = silence});
    b->suspect = true;
    b->config.strategy->on_suspect(b->strategy_state, &view, &so);
    ballot_run_strategy(b, out, &so);
}

/* When the strategy is called next. A node that suspects nobody must not begin an election because
 * of a plan from before (RULES E2). */
static uint64_t strategy_at(const struct ballot *b)
{
    return b->suspect || b->config.strategy->relays ? b->strategy_at : UINT64_MAX;
}

/* Everything that happens because time passed. */
static void recv_tick(struct ballot *b, struct ballot_update *out)
{
    if (!member_votes(&b->config.members, b->config.self))
        return;
    if (ballot_leads(b)) {
        ballot_leader_timers(b, out);
        return;
    }
    if (!b->suspect && b->role == BALLOT_FOLLOWER && b->now >= suspect_at(b))
        begin_suspicion(b, out);
    if (b->role == BALLOT_FOLLOWER && b->now >= strategy_at(b)) {
        struct strategy_view view = ballot_view(b);
        struct strategy_output so = ballot_strategy_output(b);

        b->config.strategy->on_timer(b->strategy_state, &view, &so);
        ballot_run_strategy(b, out, &so);
    }
    ballot_round_timers(b, out);
}

static void dispatch(struct ballot *b, struct ballot_update *out, const struct ballot_event *ev)
{
    switch (ev->kind) {
    case BALLOT_EV_START:
        recv_start(b, out, ev);
        break;
    case BALLOT_EV_TICK:
        recv_tick(b, out);
        break;
    case BALLOT_EV_MESSAGE:
        recv_message(b, out, &ev->message);
        break;
    case BALLOT_EV_LEADER_HEARD:
        recv_leader_heard(b, out, ev->peer, ev->term);
        break;
    case BALLOT_EV_HIGHER_TERM:
        if (ev->term > b->term)
            ballot_adopt_term(b, out, ev->term);
        break;
    case BALLOT_EV_ACK:
        ballot_recv_ack(b, ev->peer, ev->term, ev->sent_at);
        break;
    case BALLOT_EV_RTT:
        detector_rtt(&b->detector, ev->peer, b->now, ev->rtt_us);
        break;
    case BALLOT_EV_LINK_UP:
        detector_link(&b->detector, ev->peer, true);
        ballot_ask_again(b, out, ev->peer); /* what was under way on the old one is lost */
        break;
    case BALLOT_EV_LINK_DOWN:
        detector_link(&b->detector, ev->peer, false);
        break;
    case BALLOT_EV_SYNCED:
        recv_synced(b, out, ev->term, ev->voted_for);
        break;
    case BALLOT_EV_LOG:
        b->last = ev->last;
        break;
    case BALLOT_EV_SUCCESSORS:
        b->config.strategy->on_successors(b->strategy_state, ev->successors, ev->successor_count);
        break;
    case BALLOT_EV_TRANSFER:
        ballot_transfer_begin(b, out, ev->peer);
        break;
    case BALLOT_EV_CAUGHT_UP:
        ballot_caught_up(b, out, ev->peer, ev->last);
        break;
    case BALLOT_EV_MEMBERS:
        recv_members(b, out, ev->members);
        break;
    case BALLOT_EV_ASIDE:
        recv_aside(b, out, ev->until);
        break;
    }
}

/* ---- the step -------------------------------------------------------------------------------- */

static uint64_t wake_at(const struct ballot *b)
{
    uint64_t at = UINT64_MAX;

    if (!member_votes(&b->config.members, b->config.self))
        return UINT64_MAX;
    if (ballot_leads(b))
        at = ballot_leader_wake_at(b);
    else if (b->role == BALLOT_PRECAND || b->role == BALLOT_CAND)
        at = ballot_round_wake_at(b);
    else
        at = b->suspect ? b->strategy_at : min_u64(suspect_at(b), strategy_at(b));
    if (quorum_count(ballot_voters(b)) > 1)
        at = min_u64(at, b->now + LISTEN_US);
    return at > b->now ? at : b->now;
}

void ballot_step(struct ballot *b, const struct ballot_event *ev, struct ballot_update *out)
{
    enum ballot_role old_role = b->role;
    uint32_t old_leader = b->leader;
    uint64_t old_term = b->term, late;

    assert(b->started == (ev->kind != BALLOT_EV_START));
    assert(ev->now > 0 && ev->now >= b->now); /* 0 stands for "never" in what is remembered */
    out->persist = false;
    out->transfer = BALLOT_TRANSFER_NONE;
    out->transfer_to = NODE_ID_NONE;
    out->message_count = 0;
    out->note_count = 0;

    b->now = ev->now;
    b->random = ev->random;
    late = detector_late(&b->detector, b->wake_at, b->now);
    if (late != 0)
        ballot_note(out,
                    (struct ballot_note){.kind = BALLOT_NOTE_LATE, .term = b->term, .value = late});
    dispatch(b, out, ev);
    b->wake_at = wake_at(b);

    out->term_changed = b->term != old_term;
    out->role_changed = b->role != old_role || (out->term_changed && b->role != BALLOT_FOLLOWER);
    out->leader_changed = b->leader != old_leader;
    out->role = b->role;
    out->term = b->term;
    out->voted_for = b->voted_for;
    out->leader = b->leader;
    out->lease_until = ballot_lease_until(b);
    out->accepts = b->role == BALLOT_LEADER && b->transfer_to == NODE_ID_NONE;
    out->wake_at = b->wake_at;
    ballot_check(b);
}

void ballot_check(const struct ballot *b)
{
    uint32_t self = b->config.self;
    enum member_kind kind = member_kind_of(&b->config.members, self);

    assert(b->synced_term <= b->term); /* 1.9 E2 */
    assert(b->persist_at != 0 || (b->synced_term == b->term && b->synced_vote == b->voted_for));
    assert(b->promise_until <= b->now + b->config.promise_us);
    assert((b->held & (quorum_bit(self) | 1)) == 0);
    assert(b->nodes.at == b->node_at); /* not moved since ballot_init */
    if (b->role == BALLOT_PRECAND)
        assert(b->leader == NODE_ID_NONE && b->suspect); /* V5 */
    if (b->role == BALLOT_CAND)
        assert(b->voted_for == self && b->leader == NODE_ID_NONE);
    if (ballot_leads(b)) {
        assert(b->leader == self && b->voted_for == self && !b->suspect);
        assert(b->synced_term == b->term && b->synced_vote == self);
        assert(kind == (b->role == BALLOT_LEADER ? MEMBER_COPY : MEMBER_WITNESS)); /* 1.9 E8 */
    } else {
        assert(b->leader != self);
        assert(b->transfer_to == NODE_ID_NONE);
    }
    if (b->transfer_to != NODE_ID_NONE)
        assert(b->lease_revoked && b->transfer_id != 0);
}

const char *ballot_role_text(enum ballot_role role)
{
    switch (role) {
    case BALLOT_FOLLOWER:
        return "follower";
    case BALLOT_PRECAND:
        return "precandidate";
    case BALLOT_CAND:
        return "candidate";
    case BALLOT_LEADER:
        return "leader";
    case BALLOT_RESCUE_LEADER:
        return "rescue_leader";
    }
    return "unknown";
}

const char *ballot_note_text(enum ballot_note_kind kind)
{
    switch (kind) {
    case BALLOT_NOTE_REFUSED:
        return "refused";
    case BALLOT_NOTE_GRANTED:
        return "granted";
    case BALLOT_NOTE_SUSPECT:
        return "suspect";
    case BALLOT_NOTE_PREVOTE:
        return "prevote_round";
    case BALLOT_NOTE_CAMPAIGN:
        return "campaign";
    case BALLOT_NOTE_ROUND_FAILED:
        return "round_failed";
    case BALLOT_NOTE_YIELD:
        return "yield";
    case BALLOT_NOTE_RESCUE:
        return "rescue";
    case BALLOT_NOTE_ELECTED:
        return "elected";
    case BALLOT_NOTE_STEP_DOWN:
        return "step_down";
    case BALLOT_NOTE_NO_QUORUM:
        return "no_quorum";
    case BALLOT_NOTE_LATE:
        return "late";
    case BALLOT_NOTE_TRANSFER:
        return "transfer";
    case BALLOT_NOTE_BAD_MESSAGE:
        return "bad_message";
    }
    return "unknown";
}

const char *ballot_transfer_text(enum ballot_transfer transfer)
{
    switch (transfer) {
    case BALLOT_TRANSFER_NONE:
        return "none";
    case BALLOT_TRANSFER_STARTED:
        return "started";
    case BALLOT_TRANSFER_SENT:
        return "sent";
    case BALLOT_TRANSFER_DONE:
        return "done";
    case BALLOT_TRANSFER_ABORTED:
        return "aborted";
    case BALLOT_TRANSFER_REFUSED:
        return "refused";
    }
    return "unknown";
}
