/* Linearizable read points: by lease, else by a round begun after the request.
 * Sources: RULES E1; PROTOCOL 4.2; Ongaro 2014, 6.4. */
#include "repl/base/mutant.h"
#include "repl/core/state.h"

void recv_read(struct replica *r, uint64_t id, bool aside)
{
    if (!is_leader(r)) {
        emit_at(r, EFFECT_READ_FAILED, id, 0);
        return;
    }
    if (!aside) {
        lead_active(r);
        if (r->news_at != 0) {
            r->news_at = r->now; /* who reads goes on to a copy, with this commit index */
        }
    }
    bool leased = r->now < ballot_lease_until(&r->ballot) || MUTANT(reads_unconfirmed);
    if ((r->ready || MUTANT(serves_before_noop)) && leased) {
        emit_at(r, EFFECT_READ_READY, id, r->commit);
        return;
    }
    vec_push(&r->reads, (struct pending_read){.id = id});
}

/* All reads that came since the last round share the next one. Before the first commit of the term
 * the leader does not know what is committed (PROTOCOL 4.2), so they wait for it. */
void reads_begin(struct replica *r)
{
    bool begun = false;
    bool ready = r->ready || MUTANT(serves_before_noop);
    for (size_t i = 0; ready && i < r->reads.count; i++) {
        struct pending_read *p = &r->reads.items[i];
        if (p->round == 0) {
            r->read_round += !begun;
            begun = true;
            p->round = r->read_round;
            p->index = r->commit;
        }
    }
}

void reads_answer(struct replica *r)
{
    if (r->reads.count == 0) {
        return;
    }
    uint64_t acked[NODE_SLOTS];
    quorum_each(id, r->voters) {
        acked[id] = r->peers[id].round_acked;
    }
    acked[r->self] = r->read_round;
    uint64_t confirmed = quorum_value(acked, r->voters);
    size_t kept = 0;
    for (size_t i = 0; i < r->reads.count; i++) {
        struct pending_read *p = &r->reads.items[i];
        if (p->round != 0 && p->round <= confirmed) {
            emit_at(r, EFFECT_READ_READY, p->id, p->index);
        } else {
            r->reads.items[kept++] = *p;
        }
    }
    r->reads.count = kept;
}

void reads_fail(struct replica *r)
{
    for (size_t i = 0; i < r->reads.count; i++) {
        emit_at(r, EFFECT_READ_FAILED, r->reads.items[i].id, 0);
    }
    vec_clear(&r->reads);
}
