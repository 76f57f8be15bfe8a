/* Asking for pre-votes and votes.
 *
 * Timing after the death of a leader: pre-votes go out at once and are granted while promises to
 * the dead leader still run; each grant tells what is left. The candidate then sleeps until its own
 * promise and those of the fastest majority have run out, and only then raises its term, so
 * failover takes T_promise since the last heartbeat, two round trips and two flushes, in one term.
 */
#include "election/ballot_impl.h"
#include "election/mutant.h"

#include <assert.h>
#include <string.h>

enum {
    LATE_ROUNDS_MAX = 8,
    ROUND_US_MAX = 2 * 1000 * 1000,
};

static struct ballot_message request(const struct ballot *b, uint32_t to)
{
    return (struct ballot_message){
        .kind = b->role == BALLOT_PRECAND ? BALLOT_MSG_PREVOTE : BALLOT_MSG_VOTE,
        .to = to,
        .ballot = b->round.ballot,
        .last = b->last,
        .transfer_id = b->round.transfer_id,
    };
}

static void ask(struct ballot *b, struct ballot_update *out, uint32_t to)
{
    struct ballot_message m = request(b, to);

    ballot_send(b, out, &m);
}

static void ask_all(struct ballot *b, struct ballot_update *out)
{
    node_mask others = ballot_voters(b) & ~quorum_bit(b->config.self);

    quorum_each(id, others)
        ask(b, out, id);
}

static void round_begin(struct ballot *b, uint64_t ballot, uint64_t transfer_id, bool rescue)
{
    memset(&b->round, 0, sizeof b->round);
    b->round.ballot = ballot;
    b->round.transfer_id = transfer_id;
    b->round.rescue = rescue;
    b->round.began_at = b->now;
    b->round.deadline = UINT64_MAX;
}

/* How long a round waits for answers. Round trips are measured between a leader and its followers
 * alone, so before the first leader nobody knows R of PROTOCOL 1.4, and a round shorter than a trip
 * never ends well: each that ends unanswered doubles the wait of the next. */
static uint64_t round_limit(const struct ballot *b)
{
    uint64_t limit = ballot_delta(b, b->now)
                     << (b->late_rounds < LATE_ROUNDS_MAX ? b->late_rounds : LATE_ROUNDS_MAX);

    return limit < ROUND_US_MAX ? limit : ROUND_US_MAX;
}

/* Starts a pre-vote round (V5). Rescue campaigns use it too (RULES E2). */
void ballot_begin_prevote(struct ballot *b, struct ballot_update *out, bool rescue)
{
    enum ballot_reason why;
    uint32_t self = b->config.self;

    assert(b->role == BALLOT_FOLLOWER);
    b->role = BALLOT_PRECAND;
    b->leader = NODE_ID_NONE; /* V5: "a pre-candidate forgets its leader so it can grant others" */
    b->suspect = true;
    b->strategy_at = UINT64_MAX;
    round_begin(b, b->term + 1, 0, rescue);
    b->round.granted = quorum_bit(self);
    b->round.ready_at[self] = b->now + ballot_promise_left(b, self, &why);
    b->round.deadline = b->now + round_limit(b);
    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_PREVOTE, .term = b->round.ballot});
    ask_all(b, out);
}

/* Raises the term and votes for itself; votes are asked for when that is durable.
 *
 * A vote for oneself starts no promise: the only lease it could protect is one's own, and a leader
 * guards that by itself (ballot_leader_promise). */
void ballot_begin_vote(struct ballot *b, struct ballot_update *out, uint64_t transfer_id)
{
    bool rescue = b->role == BALLOT_PRECAND && b->round.rescue;

    assert(!ballot_leads(b));
    b->role = BALLOT_CAND;
    b->leader = NODE_ID_NONE;
    b->suspect = true;
    b->strategy_at = UINT64_MAX;
    ballot_persist(b, out, b->term + 1, b->config.self);
    round_begin(b, b->term, transfer_id, rescue);
    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_CAMPAIGN, .term = b->term});
}

static void round_fail(struct ballot *b, struct ballot_update *out)
{
    ballot_note(out,
                (struct ballot_note){.kind = BALLOT_NOTE_ROUND_FAILED, .term = b->round.ballot});
    ballot_step_down(b, out);
}

static void round_late(struct ballot *b, struct ballot_update *out)
{
    b->late_rounds++;
    round_fail(b, out);
}

static void become_leader(struct ballot *b, struct ballot_update *out)
{
    struct strategy_view view;
    struct strategy_output so = ballot_strategy_output(b);

    b->role = b->round.rescue ? BALLOT_RESCUE_LEADER : BALLOT_LEADER;
    b->leader = b->config.self;
    b->late_rounds = 0;
    ballot_calm(b, NODE_ID_NONE);
    ballot_leader_begin(b);
    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_ELECTED, .term = b->term});
    view = ballot_view(b);
    b->config.strategy->on_leader(b->strategy_state, &view, &so);
    ballot_run_strategy(b, out, &so);
}

/* Our own vote is durable, so it counts, and we may ask for others (D2: nothing earlier). */
void ballot_own_vote_synced(struct ballot *b, struct ballot_update *out)
{
    assert(b->role == BALLOT_CAND && b->synced_vote == b->config.self);
    b->round.granted |= quorum_bit(b->config.self);
    b->round.deadline = b->now + round_limit(b);
    if (quorum_reached(b->round.granted, ballot_voters(b))) {
        become_leader(b, out);
        return;
    }
    ask_all(b, out);
}

/* Sends the running round's request to `peer` again, if it has not granted it. */
void ballot_ask_again(struct ballot *b, struct ballot_update *out, uint32_t peer)
{
    bool asked = b->role == BALLOT_PRECAND ||
                 (b->role == BALLOT_CAND && (b->round.granted & quorum_bit(b->config.self)));

    if (asked && member_votes(&b->config.members, peer) && !(b->round.granted & quorum_bit(peer)))
        ask(b, out, peer);
}

/* An answer to the running round, from a voter? A higher term in it ends the round first: V5, "the
 * pre-candidate adopts a higher term found there" (openraft #1796). */
static bool answers_round(struct ballot *b, struct ballot_update *out,
                          const struct ballot_message *m, enum ballot_role role)
{
    if (!member_votes(&b->config.members, m->from))
        return false;
    if (m->term > b->term && !MUTANT(prevote_term_ignored)) {
        ballot_adopt_term(b, out, m->term);
        return false;
    }
    return b->role == role && m->ballot == b->round.ballot;
}

static uint64_t bounded_wait(const struct ballot *b, const struct ballot_message *m)
{
    return m->wait_us < b->config.promise_us ? m->wait_us : b->config.promise_us;
}

static void count_refusal(struct ballot *b, struct ballot_update *out,
                          const struct ballot_message *m)
{
    uint64_t now = b->now, hold = now;

    if (m->reason == BALLOT_BOOT)
        hold = ballot_promise_end(now, bounded_wait(b, m));
    else if (m->reason == BALLOT_LOG_BEHIND)
        hold = now + 4 * ballot_delta(b, now); /* let the node with the newer log go first */
    if (hold > b->round.hold_until)
        b->round.hold_until = hold;
    b->round.refused |= quorum_bit(m->from) & ~b->round.granted;
    if (quorum_lost(b->round.refused, ballot_voters(b)))
        round_fail(b, out);
}

void ballot_recv_prevote_resp(struct ballot *b, struct ballot_update *out,
                              const struct ballot_message *m)
{
    if (!answers_round(b, out, m, BALLOT_PRECAND))
        return;
    if (!m->granted) {
        count_refusal(b, out, m);
        return;
    }
    b->round.granted |= quorum_bit(m->from);
    b->round.refused &= ~quorum_bit(m->from);
    b->round.ready_at[m->from] = ballot_promise_end(b->now, bounded_wait(b, m));
}

void ballot_recv_vote_resp(struct ballot *b, struct ballot_update *out,
                           const struct ballot_message *m)
{
    bool later = m->reason == BALLOT_PROMISE || m->reason == BALLOT_BOOT;

    if (!answers_round(b, out, m, BALLOT_CAND) || !(b->round.granted & quorum_bit(b->config.self)))
        return;
    if (m->granted) {
        b->round.granted |= quorum_bit(m->from);
        b->round.retry_at[m->from] = 0;
        if (quorum_reached(b->round.granted, ballot_voters(b)))
            become_leader(b, out);
        return;
    }
    /* A promise runs out: the same vote in the same term may then be granted. But only so long,
     * because a voter that keeps promising follows a live leader. */
    if (later && b->now < b->round.began_at + 2 * b->config.promise_us) {
        uint64_t at = ballot_promise_end(b->now, bounded_wait(b, m));
        uint64_t deadline = at + ballot_delta(b, b->now);

        b->round.retry_at[m->from] = at;
        if (deadline > b->round.deadline)
            b->round.deadline = deadline;
        return;
    }
    count_refusal(b, out, m);
}

/* When the pre-candidate may ask for real votes: its own promise and those of a majority are over.
 * UINT64_MAX without a majority. */
static uint64_t vote_at(const struct ballot *b)
{
    uint64_t own = b->round.ready_at[b->config.self];
    uint64_t all = quorum_ready_at(b->round.ready_at, b->round.granted, ballot_voters(b));

    return all > own ? all : own;
}

void ballot_round_timers(struct ballot *b, struct ballot_update *out)
{
    if (b->role == BALLOT_PRECAND) {
        uint64_t at = vote_at(b);

        if (b->now >= at)
            ballot_begin_vote(b, out, 0);
        else if (at == UINT64_MAX && b->now >= b->round.deadline)
            round_late(b, out);
        return;
    }
    if (b->role != BALLOT_CAND)
        return;
    for (uint32_t id = 1; id <= NODE_ID_MAX; id++) {
        if (b->round.retry_at[id] == 0 || b->now < b->round.retry_at[id])
            continue;
        b->round.retry_at[id] = 0;
        ask(b, out, id);
    }
    if (b->now >= b->round.deadline)
        round_late(b, out);
}

uint64_t ballot_round_wake_at(const struct ballot *b)
{
    uint64_t at = b->round.deadline;

    if (b->role == BALLOT_PRECAND)
        return vote_at(b) != UINT64_MAX ? vote_at(b) : at;
    for (uint32_t id = 1; id <= NODE_ID_MAX; id++)
        if (b->round.retry_at[id] != 0 && b->round.retry_at[id] < at)
            at = b->round.retry_at[id];
    return at;
}
