/* A leader that gets nowhere because its own disk has lost bytes that its log names.
 *
 * An entry that is durable here and not committed may name blocks which this store has lost since
 * (a flipped bit, a lost write), and perhaps nobody else holds them. Then nobody can take the entry
 * from this leader (RULES B3), and a leader does not overwrite its own log (Ongaro 2014, 3.5): it
 * would stay without a commit for ever. So a leader that has made no headway for a while asks its
 * store for the bytes of those entries, and the store asks everybody. What does not come is a
 * reason to give way: to lead no more, and for a while to leave standing to others. If the entry
 * may be committed, f+1 nodes held it with its bytes, so one of any majority without us still does,
 * and that one has the newer log; if none of such a majority has it, the next leader overwrites it.
 *
 * A leader whose disk hangs gives way in the same way, once the others have committed without it.
 *
 * Only who stands, and when, depends on this. Votes, log positions and what counts as held stay as
 * they are, so Raft's proofs do, too: damage counts as the loss of a store until it is mended. */
#include "repl/base/mutant.h"
#include "repl/core/state.h"

#define STUCK_US        (1 * TIME_S) /* without a commit, before the store is asked; then again */
#define STUCK_RESCUE_US (5 * TIME_S) /* a copy that must fetch large blocks needs its time */
#define HANGS_US        (2 * TIME_S) /* a write to the log, before others should lead */
#define ASIDE_US        (5 * TIME_S) /* longer than others need to miss us and to elect one */

void slot_ensure_end(struct replica *r, struct log_slot *s)
{
    if (s->ensure != 0) {
        emit(r, EFFECT_ENSURE_END)->ensure.ticket = s->ensure;
        s->ensure = 0;
    }
    if (s->mend != 0) {
        emit(r, EFFECT_ENSURE_END)->ensure.ticket = s->mend;
        s->mend = 0;
        r->mending--;
    }
}

void mend_ensured(struct replica *r, uint64_t ticket, bool *ret_found)
{
    for (uint64_t i = r->commit + 1; r->mending > 0 && i <= r->log.last; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        if (s->mend == ticket) {
            s->mend = 0;
            r->mending--;
            *ret_found = true;
            return;
        }
    }
}

uint64_t mend_first(const struct replica *r)
{
    for (uint64_t i = r->commit + 1; r->mending > 0 && i <= r->log.last; i++) {
        if (log_slot(&r->log, i)->mend != 0) {
            return i;
        }
    }
    return 0;
}

/* What is durable has its bytes in the store, so the answer comes at once unless they are lost. */
static void ask_store(struct replica *r)
{
    for (uint64_t i = r->commit + 1; i <= r->log.durable; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        const struct entry *e = s->entry;
        if (e->blocks_count > 0 && s->mend == 0) {
            s->mend = emit_ensure(r, e->blocks, e->blocks_count, r->copies | r->draft_mask, 0);
            r->mending++;
        }
    }
}

/* How far it has come: a leader with commits, a rescue leader with what the copies hold. */
static uint64_t headway(const struct replica *r)
{
    uint64_t held = 0;
    quorum_each(id, r->copies) {
        held += r->peers[id].match;
    }
    return is_leader(r) ? r->commit : held;
}

/* A rescue leader waits for any copy as long as it takes, and tries one that answers. */
static bool has_work(const struct replica *r)
{
    bool answers = false;
    for (uint32_t id = 1; id < NODE_SLOTS; id++) {
        const struct progress *p = &r->peers[id];
        answers = answers || ((r->copies & quorum_bit(id)) != 0 && p->link_up && p->reported);
    }
    return is_leader(r) ? r->commit < r->log.last : answers && !r->transferring;
}

static void give_way(struct replica *r)
{
    replica_trace(r, "n%u term=%llu gives way commit=%llu lacks=%llu", r->self,
                  (unsigned long long)r->role_term, (unsigned long long)r->commit,
                  (unsigned long long)mend_first(r));
    r->aside_until = r->now + ASIDE_US;
    ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_ASIDE, .until = r->aside_until});
}

void mend_begin(struct replica *r)
{
    r->headway = 0;
    r->headway_at = r->now;
    r->asked_at = 0;
}

/* The others go on without this disk, and nobody is answered: a leader applies what it has itself.
 * Its heartbeats need no disk, so nobody suspects it. */
static bool disk_hangs(const struct replica *r)
{
    return r->writes.count > 0 && r->now >= r->writes.items[0].issued_at + HANGS_US;
}

static void watch(struct replica *r)
{
    uint64_t now = headway(r);
    if (is_leader(r) && r->commit > r->log.durable && disk_hangs(r)) {
        give_way(r);
    } else if (now != r->headway || !has_work(r)) {
        r->headway = now;
        r->headway_at = r->now;
        r->asked_at = 0;
    } else if (!is_leader(r)) {
        if (r->now >= r->headway_at + STUCK_RESCUE_US) {
            give_way(r);
        }
    } else if (r->now >= time_max(r->headway_at, r->asked_at) + STUCK_US) {
        if (r->asked_at != 0 && r->mending > 0) {
            give_way(r);
        } else {
            r->asked_at = r->now;
            ask_store(r);
        }
    }
}

void mend_run(struct replica *r)
{
    bool mended = r->mending == 0 && !r->witness && !disk_hangs(r);
    if (r->aside_until != 0 && (mended || leads(r) || r->now >= r->aside_until)) {
        r->aside_until = 0;
        ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_ASIDE});
    }
    if (leads(r) && !MUTANT(never_gives_way)) {
        watch(r);
    }
}
