/* Which witnesses hold bytes: as many as copies are down or behind (RULES B4). */
#include "repl/core/state.h"

/* When the oldest entry that `id` has not acknowledged becomes too old, or the oldest proposal that
 * waits for bytes it was asked to hold. A disk that hung once is not waited for so long again. */
static time_us behind_at(const struct replica *r, uint32_t id)
{
    const struct progress *p = &r->peers[id];
    uint64_t match = id == r->self ? r->log.durable : p->match;
    if (match >= r->log.last) {
        return holds_lacking_since(r, id) + HOLD_BEHIND_US;
    }
    uint64_t p99 = id == r->self ? flush_p99(r) : p->flush_p99_us;
    const struct log_slot *s = log_slot(&r->log, match + 1);
    time_us since =
        time_max(s != NULL ? s->appended_at : 0, id == r->self ? r->led_since : p->watched_since);
    time_us patience = time_min(time_max(BEHIND_US_MIN, 4 * p99), BEHIND_US_MAX);
    return time_min(since + patience, holds_lacking_since(r, id) + HOLD_BEHIND_US);
}

bool peer_behind(const struct replica *r, uint32_t id)
{
    return r->peers[id].state == PROGRESS_SNAPSHOT || r->now >= behind_at(r, id);
}

static bool caught_up(const struct replica *r, uint32_t id)
{
    const struct progress *p = &r->peers[id];
    if (id == r->self) {
        return !peer_behind(r, id);
    }
    return p->link_up && p->reported && p->state == PROGRESS_REPLICATE && p->match >= r->commit &&
           !peer_behind(r, id);
}

/* "... until that copy has caught up": a copy that lacks stays so until it is. */
static uint32_t count_lacking(struct replica *r)
{
    uint32_t lacking = 0;
    quorum_each(id, r->copies) {
        struct progress *p = &r->peers[id];
        bool down = id != r->self && !p->link_up;
        if (down || peer_behind(r, id)) {
            p->lacking = true;
        } else if (p->lacking && caught_up(r, id)) {
            p->lacking = false;
        }
        lacking += p->lacking;
    }
    return lacking;
}

/* A drafted witness that cannot be reached helps nobody: another takes its place. */
static void drop_unreachable(struct replica *r)
{
    quorum_each(id, r->draft_mask) {
        if (!r->peers[id].link_up) {
            r->draft_mask &= ~quorum_bit(id);
        }
    }
}

/* One that is reached and says nothing (frozen, or its disk hangs) helps no more than that. */
static uint32_t count_helping(const struct replica *r)
{
    uint32_t helping = 0;
    quorum_each(id, r->draft_mask) {
        helping += !peer_behind(r, id);
    }
    return helping;
}

void draft_run(struct replica *r)
{
    if (!is_leader(r)) {
        return;
    }
    uint32_t wanted = count_lacking(r);
    drop_unreachable(r);
    uint32_t helping = count_helping(r);
    quorum_each(id, r->witnesses) {
        node_mask bit = quorum_bit(id);
        if (!r->peers[id].link_up) {
            continue;
        }
        if ((r->draft_mask & bit) == 0 && helping < wanted) {
            r->draft_mask |= bit;
            r->drafted_at[id] = r->now;
            r->peers[id].watched_since = r->now;
            helping++;
        } else if ((r->draft_mask & bit) != 0 && r->now >= r->drafted_at[id] + DRAFT_US_MIN) {
            bool helps = !peer_behind(r, id);
            if (helping >= wanted + helps) {
                r->draft_mask &= ~bit;
                helping -= helps;
            }
        }
    }
}

void draft_tell(struct replica *r)
{
    if (r->draft_mask == r->draft_told) {
        return;
    }
    r->draft_told = r->draft_mask;
    r->holds_moved = true;
    replica_trace(r, "n%u term=%llu draft mask=%#x", r->self, (unsigned long long)r->role_term,
                  r->draft_mask);
    emit(r, EFFECT_DRAFT)->draft.mask = r->draft_mask;
}

time_us draft_wake_at(const struct replica *r)
{
    time_us at = TIME_NEVER;
    if (!is_leader(r)) {
        return at;
    }
    quorum_each(id, r->copies) {
        if (!r->peers[id].lacking) {
            at = time_min(at, behind_at(r, id));
        }
    }
    quorum_each(id, r->draft_mask) {
        if (r->drafted_at[id] + DRAFT_US_MIN > r->now) {
            at = time_min(at, r->drafted_at[id] + DRAFT_US_MIN);
        }
        if (!peer_behind(r, id)) {
            at = time_min(at, behind_at(r, id));
        }
    }
    return at;
}
