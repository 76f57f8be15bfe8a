/* Being leader: the lease (RULES E1), check-quorum (V7) and transfer (PROTOCOL 1.5). */
#include "election/ballot_impl.h"
#include "election/mutant.h"

#include <assert.h>
#include <string.h>

enum {
    /* rho, the assumed bound on clock rate error, is 1/1000: (1 - rho) / (1 + rho) = 999/1001. */
    LEASE_NUMERATOR = 999,
    LEASE_DENOMINATOR = 1001,
};

void ballot_leader_begin(struct ballot *b)
{
    memset(b->acked_at, 0, sizeof b->acked_at);
    memset(b->heard_at, 0, sizeof b->heard_at);
    b->leader_since = b->now;
    b->lease_revoked = false;
    b->transfer_to = NODE_ID_NONE;
    b->transfer_sent = false;
}

/* Sending time of the youngest round that a majority, ourselves included, has acknowledged. */
static uint64_t acked_round(const struct ballot *b)
{
    uint64_t times[NODE_SLOTS];

    memcpy(times, b->acked_at, sizeof times);
    times[b->config.self] = b->now;
    return quorum_value(times, ballot_voters(b));
}

uint64_t ballot_lease_until(const struct ballot *b)
{
    uint64_t base;

    if (b->role != BALLOT_LEADER || !b->config.leader_lease ||
        (b->lease_revoked && !MUTANT(lease_after_timeout_now)))
        return 0;
    base = acked_round(b);
    return base == 0 ? 0 : base + b->config.promise_us * LEASE_NUMERATOR / LEASE_DENOMINATOR;
}

/* Until when a leader grants no vote: V3 applied to itself. Counted with the full T_promise, and
 * from its election at least, so that it outlasts the lease and a fresh leader is not deposed
 * before its first heartbeat is answered. */
uint64_t ballot_leader_promise(const struct ballot *b)
{
    uint64_t base = acked_round(b);

    assert(ballot_leads(b));
    if (base < b->leader_since)
        base = b->leader_since;
    return base + b->config.promise_us;
}

void ballot_recv_ack(struct ballot *b, uint32_t peer, uint64_t term, uint64_t sent_at)
{
    /* From the network in the end: what does not fit is dropped, not asserted. */
    if (!ballot_leads(b) || term != b->term || peer == b->config.self ||
        !member_votes(&b->config.members, peer) || sent_at > b->now || sent_at < b->leader_since)
        return;
    detector_heard(&b->detector, peer);
    b->heard_at[peer] = detector_clock(&b->detector, b->now);
    if (sent_at > b->acked_at[peer])
        b->acked_at[peer] = MUTANT(lease_from_answer) ? b->now : sent_at;
}

/* V7: "leader steps down if no f+1 acks (self included) within T_elect_min". The silence is that of
 * others, so it is measured by the detector's clock (E5), from the election at the earliest. */
static uint64_t quorum_deadline(const struct ballot *b)
{
    uint64_t times[NODE_SLOTS];
    uint64_t since = b->contact_at, base; /* set by the election */

    if (MUTANT(check_quorum_off))
        return UINT64_MAX;
    memcpy(times, b->heard_at, sizeof times);
    times[b->config.self] = detector_clock(&b->detector, b->now);
    base = quorum_value(times, ballot_voters(b));
    if (base < since)
        base = since;
    return base + b->detector.late_us + b->config.detector.base_us_min;
}

/* ---- transfer -------------------------------------------------------------------------------- */

static void tell_transfer(struct ballot *b, struct ballot_update *out, uint32_t to,
                          enum ballot_transfer how)
{
    out->transfer = how;
    out->transfer_to = to;
    ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_TRANSFER,
                                          .peer = to,
                                          .term = b->term,
                                          .value = (uint64_t)how});
}

void ballot_transfer_end(struct ballot *b, struct ballot_update *out, enum ballot_transfer how)
{
    uint32_t to = b->transfer_to;

    assert(to != NODE_ID_NONE);
    b->transfer_to = NODE_ID_NONE;
    b->transfer_sent = false;
    tell_transfer(b, out, to, how);
}

/* "(1) stop accepting proposals; (2) drop the read lease for the rest of this term" (PROTOCOL 1.5).
 * Only to copies: "pick only caught-up targets, skip witnesses". Node 0 ends a running transfer. */
void ballot_transfer_begin(struct ballot *b, struct ballot_update *out, uint32_t to)
{
    if (to == NODE_ID_NONE) {
        if (b->transfer_to != NODE_ID_NONE)
            ballot_transfer_end(b, out, BALLOT_TRANSFER_ABORTED);
        return;
    }
    if (!ballot_leads(b) || to == b->config.self ||
        member_kind_of(&b->config.members, to) != MEMBER_COPY) {
        tell_transfer(b, out, to, BALLOT_TRANSFER_REFUSED);
        return;
    }
    b->transfer_to = to;
    b->transfer_id = b->random | 1; /* never 0, which means "no transfer" */
    b->transfer_sent = false;
    b->transfer_deadline = b->now + b->config.transfer_us;
    b->lease_revoked = true;
    tell_transfer(b, out, to, BALLOT_TRANSFER_STARTED);
}

static void send_timeout_now(struct ballot *b, struct ballot_update *out)
{
    struct ballot_message m = {
        .kind = BALLOT_MSG_TIMEOUT_NOW,
        .to = b->transfer_to,
        .ballot = b->term + 1,
        .last = b->transfer_last,
        .transfer_id = b->transfer_id,
    };

    b->transfer_resend_at = b->now + 2 * ballot_delta(b, b->now);
    ballot_send(b, out, &m);
}

/* "(3) wait match(target) == last; (4) TimeoutNow{term, last, transfer_id}". */
void ballot_caught_up(struct ballot *b, struct ballot_update *out, uint32_t peer,
                      struct log_position last)
{
    if (!ballot_leads(b) || b->transfer_to != peer || peer == NODE_ID_NONE || b->transfer_sent)
        return;
    b->transfer_last = last;
    b->transfer_sent = true;
    send_timeout_now(b, out);
    tell_transfer(b, out, peer, BALLOT_TRANSFER_SENT);
}

/* A log that is not ours any more makes a TimeoutNow stale: the leader went on. One that is newer
 * only by what an earlier term left in it does not: a rescue leader writes nothing, so it never
 * learns of that suffix, and the copy that has it is just the one that must lead (RULES E3). */
static bool log_fits(const struct ballot *b, const struct ballot_message *m)
{
    int order = log_position_compare(b->last, m->last);
    return order == 0 || (order > 0 && b->last.term < m->term);
}

/* "(5) target campaigns at once, skipping pre-vote". A delayed TimeoutNow may come long after the
 * leader gave up: "target drops it unless term and last still match its log" (raft-rs #234). */
void ballot_recv_timeout_now(struct ballot *b, struct ballot_update *out,
                             const struct ballot_message *m)
{
    bool copy = member_kind_of(&b->config.members, b->config.self) == MEMBER_COPY;
    bool idle = b->role == BALLOT_FOLLOWER || b->role == BALLOT_PRECAND;
    bool from_leader = b->leader == m->from || b->leader == NODE_ID_NONE;

    if (!copy || !idle || !from_leader || m->transfer_id == 0 || m->term != b->term ||
        m->term != b->synced_term || !log_fits(b, m)) {
        ballot_note(out, (struct ballot_note){.kind = BALLOT_NOTE_REFUSED,
                                              .peer = m->from,
                                              .message = m->kind,
                                              .reason = copy ? BALLOT_STALE : BALLOT_NOT_MEMBER,
                                              .term = m->term});
        return;
    }
    ballot_begin_vote(b, out, m->transfer_id);
}

/* ---- timers ---------------------------------------------------------------------------------- */

void ballot_leader_timers(struct ballot *b, struct ballot_update *out)
{
    uint64_t deadline = quorum_deadline(b);

    if (b->now >= deadline) {
        ballot_note(
            out, (struct ballot_note){.kind = BALLOT_NOTE_NO_QUORUM,
                                      .term = b->term,
                                      .value = b->now - deadline + b->config.detector.base_us_min});
        ballot_step_down(b, out);
        return;
    }
    if (b->transfer_to == NODE_ID_NONE)
        return;
    if (b->now >= b->transfer_deadline) /* "(6) on timeout resume proposals (but no lease)" */
        ballot_transfer_end(b, out, BALLOT_TRANSFER_ABORTED);
    else if (b->transfer_sent && b->now >= b->transfer_resend_at)
        send_timeout_now(b, out);
}

uint64_t ballot_leader_wake_at(const struct ballot *b)
{
    uint64_t at;

    if (ballot_voters(b) == quorum_bit(b->config.self))
        return UINT64_MAX;
    at = quorum_deadline(b);
    if (b->transfer_to != NODE_ID_NONE && b->transfer_deadline < at)
        at = b->transfer_deadline;
    if (b->transfer_sent && b->transfer_resend_at < at)
        at = b->transfer_resend_at;
    return at;
}
