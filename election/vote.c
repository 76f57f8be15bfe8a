/* Answering pre-votes and votes: rules V1-V5 of PROTOCOL 1.3 and E1-E3 of RULES. */
#include "election/ballot_impl.h"
#include "election/mutant.h"

#include <assert.h>

/* What is left of the promises that forbid a vote for `asker`, and which one is the longest.
 *
 * V3: no vote within T_promise of the last heartbeat acknowledged or vote granted; V4: nor within
 * T_promise of a start, when earlier promises are forgotten. A promise to the asker itself does not
 * bind: whoever asks for a vote in a higher term leads in no lower one, so the lease that the
 * promise protects is over. A leader applies the rule to itself (braft #463). */
uint64_t ballot_promise_left(const struct ballot *b, uint32_t asker, enum ballot_reason *ret_why)
{
    uint64_t until = 0;

    *ret_why = BALLOT_PROMISE;
    if (b->promised_to != asker && !MUTANT(vote_within_promise))
        until = b->promise_until;
    if (ballot_leads(b) && ballot_leader_promise(b) > until)
        until = ballot_leader_promise(b);
    if (b->boot_until > until && b->boot_until > b->now && !MUTANT(no_boot_grace)) {
        until = b->boot_until;
        *ret_why = BALLOT_BOOT;
    }
    return until > b->now ? until - b->now : 0;
}

/* When a peer's promise with `wait_us` left will surely have run out: its clock may run slower than
 * ours by 2 rho = 2e-3 (RULES E1), so 1/256 is on the safe side. Too early would only cost a
 * refusal. */
uint64_t ballot_promise_end(uint64_t now, uint64_t wait_us)
{
    return wait_us == 0 ? now : now + wait_us + wait_us / 256 + 1;
}

static bool is_log_behind(const struct ballot *b, const struct ballot_message *m)
{
    if (MUTANT(rank_above_log) && ballot_position(b, m->from) < ballot_position(b, b->config.self))
        return false;
    return log_position_compare(m->last, b->last) < 0;
}

static struct ballot_message answer_to(const struct ballot *b, const struct ballot_message *m,
                                       enum ballot_message_kind kind, enum ballot_reason reason,
                                       uint64_t wait_us)
{
    return (struct ballot_message){
        .kind = kind,
        .from = b->config.self,
        .to = m->from,
        .ballot = m->ballot, /* V5: "a grant echoes the request's term" */
        .last = b->last,
        .wait_us = wait_us,
        .granted = reason == BALLOT_OK,
        .reason = reason,
    };
}

static void note_answer(struct ballot_update *out, const struct ballot_message *m,
                        enum ballot_reason reason, uint64_t wait_us)
{
    ballot_note(out, (struct ballot_note){
                         .kind = reason == BALLOT_OK ? BALLOT_NOTE_GRANTED : BALLOT_NOTE_REFUSED,
                         .peer = m->from,
                         .message = m->kind,
                         .reason = reason,
                         .term = m->ballot,
                         .value = wait_us,
                     });
}

/* ---- pre-votes ------------------------------------------------------------------------------- */

static bool both_vote(const struct ballot *b, uint32_t from)
{
    return member_votes(&b->config.members, b->config.self) &&
           member_votes(&b->config.members, from);
}

/* V5: "same log check as the real vote". E2: refused "while its own connection to the leader is
 * open and it heard it within T_base"; T_promise does not count here, its rest travels in the
 * answer instead, so that the candidate sends real votes at the first moment they can be granted.
 */
static enum ballot_reason judge_prevote(const struct ballot *b, const struct ballot_message *m,
                                        uint64_t *ret_wait_us)
{
    enum ballot_reason why;
    uint32_t leader = ballot_sees_leader(b, b->now);
    uint64_t wait_us = ballot_promise_left(b, m->from, &why);

    if (!both_vote(b, m->from))
        return BALLOT_NOT_MEMBER;
    if (m->ballot <= b->term)
        return BALLOT_LOWER_TERM;
    if (leader != NODE_ID_NONE && leader != m->from) /* who asks leads no more */
        return BALLOT_SEES_LEADER;
    if (is_log_behind(b, m))
        return BALLOT_LOG_BEHIND;
    *ret_wait_us = wait_us;
    return why == BALLOT_BOOT ? BALLOT_BOOT : BALLOT_OK;
}

/* E3: "a witness that refuses a pre-vote because its log is newer, and sees no leader, campaigns at
 * once". judge_prevote has made sure of both. */
static void maybe_rescue(struct ballot *b, struct ballot_update *out, uint32_t from)
{
    if (b->role != BALLOT_FOLLOWER || ballot_is_aside(b) ||
        member_kind_of(&b->config.members, b->config.self) != MEMBER_WITNESS ||
        member_kind_of(&b->config.members, from) != MEMBER_COPY)
        return;
    ballot_note(
        out, (struct ballot_note){.kind = BALLOT_NOTE_RESCUE, .peer = from, .term = b->term + 1});
    ballot_begin_prevote(b, out, true);
}

/* Two nodes that both want to stand would ask for votes at the same moment, when the promises to
 * the old leader run out, and split them. So the one with the older log or the later place in the
 * order makes way, and the other one reminds it if it has not yet been told. Only a matter of time:
 * it tries again when a whole ballot after the promises brought no leader, and a random time later:
 * if each makes way for the other, since their lists of successors differ, they must not meet again
 * and again. */
static void settle_rivalry(struct ballot *b, struct ballot_update *out,
                           const struct ballot_message *m)
{
    enum ballot_reason why;
    uint32_t self = b->config.self;
    int newer = log_position_compare(m->last, b->last);
    bool better =
        newer > 0 || (newer == 0 && ballot_position(b, m->from) < ballot_position(b, self));
    uint64_t left = ballot_promise_left(b, m->from, &why), delta = ballot_delta(b, b->now);

    if (!b->suspect || b->role == BALLOT_CAND)
        return;
    if (!better) {
        ballot_ask_again(b, out, m->from);
        return;
    }
    b->role = BALLOT_FOLLOWER;
    ballot_note(
        out, (struct ballot_note){.kind = BALLOT_NOTE_YIELD, .peer = m->from, .term = m->ballot});
    ballot_retry(b, out, b->now + left + 2 * delta + b->random % (delta + 1), false);
}

/* V5: never changes the responder's term; lower terms are answered, not dropped (etcd #8243). */
void ballot_recv_prevote(struct ballot *b, struct ballot_update *out,
                         const struct ballot_message *m)
{
    uint64_t wait_us = 0;
    enum ballot_reason reason = judge_prevote(b, m, &wait_us);
    struct ballot_message answer = answer_to(b, m, BALLOT_MSG_PREVOTE_RESP, reason, wait_us);

    answer.leader = ballot_sees_leader(b, b->now);
    ballot_send(b, out, &answer);
    note_answer(out, m, reason, wait_us);
    if (reason == BALLOT_LOG_BEHIND)
        maybe_rescue(b, out, m->from);
    if (reason == BALLOT_OK)
        settle_rivalry(b, out, m);
}

/* ---- votes ----------------------------------------------------------------------------------- */

static enum ballot_reason judge_vote(const struct ballot *b, const struct ballot_message *m)
{
    /* V1: "grant iff msg.term > term or (== and voted_for in {none, msg.from}), and candidate log
     * up to date". A term that already has a leader is as good as voted. */
    if (b->voted_for != NODE_ID_NONE && b->voted_for != m->from && !MUTANT(two_votes_in_a_term))
        return BALLOT_VOTED;
    if (b->leader != NODE_ID_NONE)
        return BALLOT_VOTED;
    return is_log_behind(b, m) ? BALLOT_LOG_BEHIND : BALLOT_OK;
}

/* Term and vote are durable, as far as they are known in memory. */
static bool durable(const struct ballot *b)
{
    return b->persist_at == 0 || MUTANT(vote_not_synced);
}

/* Keeps the answer until term and vote are durable; the newest per asker wins. */
static void hold_answer(struct ballot *b, struct ballot_update *out,
                        const struct ballot_message *answer)
{
    b->held_answers[answer->to] = *answer;
    b->held |= quorum_bit(answer->to);
    if (durable(b))
        ballot_flush_answers(b, out);
}

static void refuse_vote(struct ballot *b, struct ballot_update *out, const struct ballot_message *m,
                        enum ballot_reason reason, uint64_t wait_us)
{
    struct ballot_message answer = answer_to(b, m, BALLOT_MSG_VOTE_RESP, reason, wait_us);

    note_answer(out, m, reason, wait_us);
    hold_answer(b, out, &answer);
}

static void grant_vote(struct ballot *b, struct ballot_update *out, const struct ballot_message *m)
{
    struct ballot_message answer = answer_to(b, m, BALLOT_MSG_VOTE_RESP, BALLOT_OK, 0);

    if (b->voted_for == NODE_ID_NONE)
        ballot_persist(b, out, b->term, m->from);
    /* V3: "granting a vote also starts the promise timer" (braft #405). */
    b->promised_to = m->from;
    b->promise_until = b->now + b->config.promise_us;
    if (b->role == BALLOT_PRECAND) /* V5: it forgot its leader so that it can grant others */
        b->role = BALLOT_FOLLOWER;
    ballot_calm(b, m->from);
    note_answer(out, m, BALLOT_OK, 0);
    hold_answer(b, out, &answer);
}

/* A vote asked for by the target of a transfer passes V3: its leader gave up the lease before it
 * sent TimeoutNow (PROTOCOL 1.5), and all older leases ended before that leader was elected. */
void ballot_recv_vote(struct ballot *b, struct ballot_update *out, const struct ballot_message *m)
{
    enum ballot_reason why, reason;
    uint64_t left = m->transfer_id != 0 ? 0 : ballot_promise_left(b, m->from, &why);

    if (!both_vote(b, m->from)) {
        refuse_vote(b, out, m, BALLOT_NOT_MEMBER, 0);
        return;
    }
    if (m->ballot < b->term) {
        refuse_vote(b, out, m, BALLOT_LOWER_TERM, 0);
        return;
    }
    if (left != 0 && !(m->ballot == b->term && b->voted_for == m->from)) {
        /* V3: ignored as for the term too, else any voter could depose a live leader. */
        refuse_vote(b, out, m, why, left);
        return;
    }
    if (m->ballot > b->term) {
        bool handed_over = ballot_leads(b) && b->transfer_sent && b->transfer_to == m->from &&
                           b->transfer_id == m->transfer_id;

        if (handed_over)
            ballot_transfer_end(b, out, BALLOT_TRANSFER_DONE);
        /* V2: "always adopt a higher term from a real Vote even when the log check rejects it". */
        ballot_adopt_term(b, out, m->ballot);
    }
    reason = judge_vote(b, m);
    if (reason == BALLOT_OK)
        grant_vote(b, out, m);
    else
        refuse_vote(b, out, m, reason, 0);
}

/* Term and vote are durable: the answers that waited for it may go. One that was overtaken by a
 * higher term is a refusal by now, and says so. */
void ballot_flush_answers(struct ballot *b, struct ballot_update *out)
{
    assert(durable(b));
    quorum_each(id, b->held) {
        struct ballot_message *answer = &b->held_answers[id];

        if (answer->granted && !MUTANT(two_votes_in_a_term) &&
            (answer->ballot != b->term || b->voted_for != id)) {
            answer->granted = false;
            answer->reason = BALLOT_LOWER_TERM;
        }
        ballot_send(b, out, answer);
    }
    b->held = 0;
}
