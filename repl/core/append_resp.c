/* A leader hears what a follower durably holds, and commits. Sources: PROTOCOL V8, RULES B3. */
#include <assert.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

/* V8: an entry of this term that f+1 nodes hold durably. Every node counted holds the bytes: copies
 * and drafted witnesses acknowledge nothing uncommitted without them (B3), undrafted witnesses were
 * sent only entries that name none (B4). So headers never count. */
void commit_by_quorum(struct replica *r)
{
    if (!is_leader(r)) {
        return; /* a rescue leader has no entry of its own term to commit (RULES E3) */
    }
    uint64_t held[NODE_SLOTS];
    quorum_each(id, r->voters) {
        held[id] = MUTANT(header_counted) ? r->peers[id].next - 1 : r->peers[id].match;
    }
    held[r->self] = MUTANT(own_log_unsynced) ? r->log.last : r->log.durable;
    uint64_t index = quorum_value(held, r->voters);
    bool own_term = log_term(&r->log, index) == r->role_term || MUTANT(old_term_commit);
    if (index > r->commit && own_term) {
        commit_to(r, index);
    }
    if (!r->ready && r->commit >= r->noop_index) {
        r->ready = true;
        r->holds_moved = true;
        replica_trace(r, "n%u term=%llu ready commit=%llu", r->self,
                      (unsigned long long)r->role_term, (unsigned long long)r->commit);
    }
}

static void note_report(struct progress *p, const struct message_append_resp *m)
{
    p->reported = true;
    p->applied = m->applied;
    p->durable_applied = m->durable_applied;
    p->whole_index = m->whole_index;
    p->free_bytes = m->free_bytes;
    p->flush_p99_us = m->flush_p99_us;
    if (m->read_round > p->round_acked) {
        p->round_acked = m->read_round;
    }
}

static void note_echo(struct replica *r, uint32_t from, const struct message_append_resp *m)
{
    if (m->sent_at == 0 || m->sent_at > r->now) {
        return;
    }
    ballots_feed(r,
                 (struct ballot_event){
                     .kind = BALLOT_EV_ACK, .peer = from, .term = m->term, .sent_at = m->sent_at});
    r->peers[from].rtt_us = r->now - m->sent_at;
    ballots_feed(r, (struct ballot_event){
                        .kind = BALLOT_EV_RTT, .peer = from, .rtt_us = r->now - m->sent_at});
}

void recv_append_resp(struct replica *r, uint32_t from, const struct message_append_resp *m)
{
    if (m->term > r->ballot.term) {
        ballots_feed(
            r, (struct ballot_event){.kind = BALLOT_EV_HIGHER_TERM, .peer = from, .term = m->term});
        return;
    }
    struct progress *p = &r->peers[from];
    if (!leads(r) || m->term != r->role_term || m->match > r->log.last ||
        m->read_round > r->read_round) {
        return; /* late, or nonsense */
    }
    note_echo(r, from, m);
    if (!leads(r) || m->term != r->role_term) {
        return;
    }
    note_report(p, m);
    if (m->reject) {
        uint64_t meet = log_find_conflict(&r->log, m->hint_index, m->hint_term);
        /* Below the base nothing is known: go on at the follower's own end. */
        meet = m->hint_index < r->log.base_index ? m->hint_index : meet;
        progress_refuse(p, m->reject_index, meet);
        return;
    }
    if (p->state == PROGRESS_SNAPSHOT) {
        if (m->match < r->log.base_index) {
            return;
        }
        progress_probe(p, (m->match > p->match ? m->match : p->match) + 1);
    }
    progress_accept(p, m->match);
    commit_by_quorum(r);
}
