/* Beginning, doing and ending a leadership. Sources: PROTOCOL V8, 1.8; RULES E1, E3. */
#include <assert.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

static bool may_propose(const struct replica *r)
{
    return is_leader(r) || MUTANT(rescue_proposes);
}

uint64_t lead_append(struct replica *r, enum entry_kind kind, struct blob *payload,
                     const struct block_ref *blocks, uint32_t blocks_count,
                     struct blob *inline_bytes, uint64_t ticket)
{
    assert(may_propose(r));
    struct entry *e =
        entry_new(r->role_term, r->log.last + 1, kind, payload, blocks, blocks_count, inline_bytes);
    struct log_slot *s = log_append(&r->log, e, r->now);
    s->ticket = ticket;
    s->ensured = true;
    entry_unref(e);
    log_move_ensured(&r->log);
    return r->log.last;
}

void lead_begin(struct replica *r)
{
    wants_drop(r);
    r->matched_leader = 0;
    r->matched = r->commit;
    r->answer.owed = false;
    r->ready = false;
    r->read_round = 0;
    r->led_since = r->now;
    mend_begin(r);
    r->heartbeat_at = r->now;
    r->news_at = 0;
    r->active_until = r->now + ACTIVE_US;
    r->transferring = false;
    r->transfer_at = 0;
    r->transfer_tried = 0;
    r->draft_mask = 0;
    for (uint32_t id = 1; id < NODE_SLOTS; id++) {
        progress_reset(&r->peers[id], r->log.last + 1, r->now);
        r->drafted_at[id] = 0;
    }
    r->peers[r->self].lacking = false;
    assert(!is_leader(r) || !r->witness);
    if (may_propose(r))
        r->noop_index = lead_append(r, ENTRY_NOOP, NULL, NULL, 0, NULL, 0);
}

/* Proposals in the log may still commit under the next leader; who asked must find out (B9). */
static void drop_tickets(struct replica *r)
{
    for (uint64_t i = r->commit + 1; i <= r->log.last; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        if (s->ticket != 0) {
            emit_at(r, EFFECT_DROPPED, s->ticket, i);
            s->ticket = 0;
        }
    }
}

void lead_end(struct replica *r)
{
    replica_trace(r, "n%u term=%llu leads no more commit=%llu last=%llu", r->self,
                  (unsigned long long)r->role_term, (unsigned long long)r->commit,
                  (unsigned long long)r->log.last);
    reads_fail(r);
    holds_drop(r);
    drop_tickets(r);
    r->ready = false;
    r->draft_mask = 0;
    r->transferring = false;
}

void lead_active(struct replica *r)
{
    if (r->now >= r->active_until) {
        r->heartbeat_at = r->now; /* idle till now: the lease has lapsed, take it up again */
    }
    r->active_until = r->now + ACTIVE_US;
}

void lead_tick(struct replica *r)
{
    if (!leads(r) || r->now < r->heartbeat_at) {
        return;
    }
    quorum_each(id, r->voters) {
        r->peers[id].heartbeat = true;
    }
    bool active = r->now < r->active_until || r->log.last > r->commit;
    r->heartbeat_at = r->now + (active ? HEARTBEAT_US : HEARTBEAT_IDLE_US);
}

void peer_link(struct replica *r, uint32_t peer, bool up, uint64_t store_boot)
{
    struct progress *p = &r->peers[peer];
    bool restarted = up && p->store_boot != store_boot;
    p->link_up = up;
    if (up) {
        p->store_boot = store_boot;
    }
    if (leads(r)) {
        /* What was under way on the old link is lost; its process may be another one. */
        progress_probe(p, p->match + 1);
        p->heartbeat = up;
        p->watched_since = r->now;
        p->lacking = p->lacking || !up;
        holds_link(r, peer, restarted);
    }
    ballots_feed(r, (struct ballot_event){.kind = up ? BALLOT_EV_LINK_UP : BALLOT_EV_LINK_DOWN,
                                          .peer = peer});
}

time_us lead_wake_at(const struct replica *r)
{
    if (!leads(r)) {
        return TIME_NEVER;
    }
    return r->news_at != 0 ? time_min(r->heartbeat_at, r->news_at) : r->heartbeat_at;
}
