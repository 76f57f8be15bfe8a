/* Looking at a replica from outside, and checking it. */
#include <assert.h>
#include <string.h>

#include "repl/core/state.h"

struct entry *replica_entry(const struct replica *r, uint64_t index)
{
    return log_entry(&r->log, index);
}

uint64_t replica_term(const struct replica *r)
{
    return r->ballot.term;
}

uint32_t replica_leader(const struct replica *r)
{
    return r->ballot.leader;
}

enum replica_role replica_role(const struct replica *r)
{
    return r->role;
}

uint64_t replica_commit(const struct replica *r)
{
    return r->commit;
}

uint64_t replica_last_index(const struct replica *r)
{
    return r->log.last;
}

uint32_t replica_draft_mask(const struct replica *r)
{
    return r->draft_mask;
}

static enum replica_lag lag_of(const struct replica *r, uint32_t id)
{
    const struct progress *p = &r->peers[id];
    if (!leads(r)) {
        return REPLICA_LAG_NONE;
    }
    if (!p->link_up) {
        return REPLICA_LAG_LINK;
    }
    if (p->state == PROGRESS_SNAPSHOT) {
        return REPLICA_LAG_SNAPSHOT;
    }
    bool copy = (r->copies & quorum_bit(id)) != 0;
    if (copy && peer_behind(r, id)) {
        return REPLICA_LAG_SLOW;
    }
    return copy && p->whole_index < p->applied ? REPLICA_LAG_BYTES : REPLICA_LAG_NONE;
}

void replica_status(const struct replica *r, struct replica_status *ret)
{
    *ret = (struct replica_status){
        .role = r->role,
        .ready = r->ready,
        .stopping = r->stopping,
        .term = r->ballot.term,
        .leader = r->ballot.leader,
        .first_index = r->log.base_index + 1,
        .last_index = r->log.last,
        .durable_index = r->log.durable,
        .commit = r->commit,
        .applied = r->applied,
        .log_bytes = log_bytes(&r->log, r->log.base_index, r->log.last),
        .draft_mask = r->draft_mask,
        .holds = (uint32_t)r->holds.count,
        .lacks = mend_first(r),
        .aside = r->aside_until != 0,
        .demote_index = is_leader(r) ? least_whole_index(r) : r->demote_index,
        .keep_index = is_leader(r) ? least_durable_applied(r) : r->keep_index,
    };
    ret->log_over_budget = r->witness && ret->log_bytes > r->config.witness_log_bytes;
    for (uint32_t id = 1; id < NODE_SLOTS; id++) {
        if (id == r->self || (r->voters & quorum_bit(id)) == 0) {
            continue;
        }
        const struct progress *p = &r->peers[id];
        ret->peers[ret->peers_count++] = (struct replica_peer_status){
            .id = id,
            .kind = member_kind_of(&r->config.members, id),
            .link_up = p->link_up,
            .match = p->match,
            .applied = p->applied,
            .durable_applied = p->durable_applied,
            .whole_index = p->whole_index,
            .reported = p->reported,
            .free_bytes = p->free_bytes,
            .rtt_us = p->rtt_us,
            .flush_p99_us = p->flush_p99_us,
            .lag = lag_of(r, id),
        };
    }
}

static void check_leader(const struct replica *r)
{
    assert((r->role == REPLICA_LEADER) == ((r->copies & quorum_bit(r->self)) != 0));
    for (uint32_t id = 1; id < NODE_SLOTS; id++) {
        const struct progress *p = &r->peers[id];
        assert(p->match <= r->log.last);
        assert(id == r->self || (r->voters & quorum_bit(id)) == 0 || p->next > p->match);
        assert(p->next <= r->log.last + 1);
    }
    /* 1.9 E8: a rescue leader never proposes or serves. */
    assert(is_leader(r) || (r->holds.count == 0 && r->reads.count == 0 && !r->ready));
    assert(is_leader(r) || log_term(&r->log, r->log.last) < r->role_term);
}

void replica_check(const struct replica *r)
{
    log_check(&r->log);
    assert(r->log.base_index <= r->commit); /* 1.9 E6 */
    assert(r->commit <= r->log.last);
    assert(r->advanced <= r->commit);
    assert(r->demote_told <= r->commit);
    assert(log_term(&r->log, r->log.last) <= r->ballot.term);
    assert(ballot_durable_term(&r->ballot) <= r->ballot.term); /* 1.9 E2 */
    assert((r->draft_mask & ~r->witnesses) == 0);
    for (uint64_t i = r->log.base_index + 1; i <= r->commit; i++) {
        assert(log_slot(&r->log, i)->ensured);
    }
    uint32_t mending = 0;
    for (uint64_t i = r->log.base_index + 1; i <= r->log.last; i++) {
        mending += log_slot(&r->log, i)->mend != 0;
    }
    assert(mending == r->mending);
    if (leads(r)) {
        check_leader(r);
    } else {
        assert(r->holds.count == 0);
        assert(r->reads.count == 0);
        assert(r->matched <= r->log.last);
    }
}
