/* Giving leadership away: a rescue leader does nothing else, a stopping leader does it last.
 * Sources: RULES E3; PROTOCOL 1.5, 1.8. */
#include "repl/core/state.h"

/* True when `a` should campaign before `b`: more log, then rank, then id. */
static bool before(const struct replica *r, uint32_t a, uint32_t b)
{
    if (r->peers[a].match != r->peers[b].match) {
        return r->peers[a].match > r->peers[b].match;
    }
    return member_position(&r->config.members, a) < member_position(&r->config.members, b);
}

/* PROTOCOL 1.5: copies without ourselves, sorted. At most 31, nearly always one or two. */
uint32_t handover_successors(const struct replica *r, uint8_t *ret_ids)
{
    uint32_t count = 0;
    quorum_each(id, r->copies & ~quorum_bit(r->self)) {
        uint32_t at = count++;
        while (at > 0 && before(r, id, ret_ids[at - 1])) {
            ret_ids[at] = ret_ids[at - 1];
            at--;
        }
        ret_ids[at] = (uint8_t)id;
    }
    return count;
}

static bool has_everything(const struct replica *r, uint32_t id)
{
    return r->peers[id].match == r->log.last && r->log.durable == r->log.last;
}

/* "Pick only caught-up targets and give up early" (PROTOCOL 1.5). A rescue leader waits until a
 * copy has all, however long that takes; a stopping one takes the best that answers. Who was told
 * last comes last: one that has stopped keeps its links, and what it had said (simulator seed
 * 1170000292). */
static uint32_t pick_target(const struct replica *r)
{
    uint8_t ids[NODE_SLOTS];
    uint32_t count = handover_successors(r, ids), first = 0;
    for (uint32_t i = 0; i < count; i++) {
        first = ids[i] == r->transfer_tried ? i + 1 : first;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = ids[(first + i) % count];
        const struct progress *p = &r->peers[id];
        bool fit = p->link_up && p->reported && p->state == PROGRESS_REPLICATE;
        if (fit && (is_leader(r) || has_everything(r, id))) {
            return id;
        }
    }
    return 0;
}

static void try_transfer(struct replica *r)
{
    if (!r->transferring && r->now >= r->transfer_at) {
        uint32_t target = pick_target(r);
        if (target != 0) {
            ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_TRANSFER, .peer = target});
        }
    }
    uint32_t target = r->ballot.transfer_to;
    if (leads(r) && r->transferring && target != 0 && !r->ballot.transfer_sent &&
        has_everything(r, target)) {
        ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_CAUGHT_UP,
                                              .peer = target,
                                              .last = log_position(&r->log)});
    }
}

void handover_note(struct replica *r, enum ballot_transfer what)
{
    switch (what) {
    case BALLOT_TRANSFER_STARTED:
        r->transferring = true;
        break;
    case BALLOT_TRANSFER_ABORTED:
    case BALLOT_TRANSFER_REFUSED:
        r->transferring = false;
        r->transfer_at = r->now + TRANSFER_AGAIN_US;
        break;
    case BALLOT_TRANSFER_SENT:
        r->transfer_tried = r->ballot.transfer_to;
        break;
    case BALLOT_TRANSFER_NONE:
    case BALLOT_TRANSFER_DONE:
        break;
    }
}

void recv_stop(struct replica *r)
{
    r->stopping = true;
    r->stop_by = r->now + STOP_US_MAX;
    holds_drop(r);
}

static bool stop_settled(const struct replica *r)
{
    bool alone = (r->copies & ~quorum_bit(r->self)) == 0 && r->commit == r->log.last;
    return !leads(r) || alone || r->now >= r->stop_by;
}

void handover_run(struct replica *r)
{
    if (leads(r) && (r->stopping || r->role == REPLICA_RESCUE_LEADER)) {
        try_transfer(r);
    }
    if (r->stopping && !r->stop_answered && stop_settled(r)) {
        r->stop_answered = true;
        emit(r, EFFECT_STOPPED_LEADING);
    }
}

time_us handover_wake_at(const struct replica *r)
{
    time_us at = r->stopping && !r->stop_answered ? r->stop_by : TIME_NEVER;
    if (leads(r) && !r->transferring && r->transfer_at > r->now) {
        at = time_min(at, r->transfer_at);
    }
    return at;
}
