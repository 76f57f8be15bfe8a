#include <assert.h>
#include <string.h>

#include "repl/core/state.h"

/* A fresh word for every feed out of the one the event brought (splitmix64). */
static uint64_t next_random(struct replica *r)
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static enum replica_role role_of(enum ballot_role role)
{
    switch (role) {
    case BALLOT_FOLLOWER:
        return REPLICA_FOLLOWER;
    case BALLOT_PRECAND:
    case BALLOT_CAND:
        return REPLICA_CANDIDATE;
    case BALLOT_LEADER:
        return REPLICA_LEADER;
    case BALLOT_RESCUE_LEADER:
        return REPLICA_RESCUE_LEADER;
    }
    return REPLICA_FOLLOWER;
}

static void trace_notes(struct replica *r, const struct ballot_update *u)
{
    for (uint32_t i = 0; i < u->note_count && trace_on(&r->config.trace); i++) {
        const struct ballot_note *n = &u->notes[i];
        replica_trace(r, "n%u term=%llu %s peer=n%u message=%s reason=%s value=%llu", r->self,
                      (unsigned long long)n->term, ballot_note_text(n->kind), n->peer,
                      ballot_message_text(n->message), ballot_reason_text(n->reason),
                      (unsigned long long)n->value);
    }
}

/* A new term: what of the old one was neither written nor known committed was acknowledged by
 * nobody here. It must not grow the log we vote with afterwards, and it may lack bytes, which an
 * elected leader's log must not (RULES B3). */
static void cut_unwritten(struct replica *r)
{
    uint64_t keep = r->log.submitted > r->commit ? r->log.submitted : r->commit;
    if (keep < r->log.last) {
        matched_cut(r, keep + 1);
    }
    if (r->matched > r->log.last) {
        r->matched = r->log.last;
    }
}

void ballots_feed(struct replica *r, struct ballot_event ev)
{
    struct ballot_update *u = &r->ballot_out;
    ev.now = r->now;
    ev.random = next_random(r);
    ballot_step(&r->ballot, &ev, u);

    for (uint32_t i = 0; i < u->message_count; i++) {
        emit_message(r, u->messages[i].to, MESSAGE_BALLOT)->ballot = u->messages[i];
    }
    trace_notes(r, u);
    if (u->persist) {
        uint64_t seq = write_begin(r, EFFECT_WRITE_VOTE, u->term, u->voted_for, 0);
        struct replica_effect *f = emit(r, EFFECT_WRITE_VOTE);
        f->write_vote.write_seq = seq;
        f->write_vote.term = u->term;
        f->write_vote.vote = u->voted_for;
    }

    /* `u` is overwritten by nested feeds: nothing of it is used behind these calls. */
    enum replica_role role = role_of(u->role);
    enum ballot_transfer transfer = u->transfer;
    uint64_t term = u->term;
    bool led = leads(r);
    if (led && (role != r->role || term != r->role_term)) {
        lead_end(r);
    }
    bool begins = (role == REPLICA_LEADER || role == REPLICA_RESCUE_LEADER) &&
                  (role != r->role || term != r->role_term);
    if (term != r->role_term) {
        cut_unwritten(r);
    }
    r->role = role;
    r->role_term = term;
    if (begins) {
        lead_begin(r);
    }
    if (transfer != BALLOT_TRANSFER_NONE) {
        handover_note(r, transfer);
    }
}

void ballots_feed_position(struct replica *r)
{
    struct log_position p = log_position(&r->log);
    if (log_position_compare(p, r->position) == 0) {
        return;
    }
    r->position = p;
    ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = p});
}
