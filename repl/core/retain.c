/* What may be forgotten: journal entries, a witness's bytes, bytes in memory; and snapshots, for
 * those who need what was. Sources: RULES B6, B7, E6; PROTOCOL 4.4. */
#include <assert.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of all f+1 copies; one that has not reported under this leader counts as 0, for what it once had
 * is not known to be there still. */
uint64_t least_whole_index(const struct replica *r)
{
    uint64_t index = r->whole_index;
    quorum_each(id, r->copies & ~quorum_bit(r->self)) {
        if (!MUTANT(demoted_early)) {
            index = least(index, r->peers[id].reported ? r->peers[id].whole_index : 0);
        }
    }
    return index;
}

uint64_t least_durable_applied(const struct replica *r)
{
    uint64_t index = r->durable_applied;
    quorum_each(id, r->copies & ~quorum_bit(r->self)) {
        index = least(index, r->peers[id].reported ? r->peers[id].durable_applied : 0);
    }
    return index;
}

static void truncate_to(struct replica *r, uint64_t index)
{
    log_forget(&r->log, index);
    emit_at(r, EFFECT_TRUNCATE, 0, index);
}

/* B6: up to where bytes may go, 0: nowhere. The store drops what no entry above names, and knows no
 * better of bytes whose entries have left the log: they were cut, or a leader whose log begins
 * later made ours begin there. Those go when every copy has whole all that is below our base. */
static uint64_t demotable(const struct replica *r, uint64_t known)
{
    uint64_t index = least(r->demote_index, known);
    return index >= r->log.base_index || MUTANT(demoted_below_base) ? index : 0;
}

/* E6: "A witness keeps entries above the slowest copy": it may be the only one to rescue them. */
static void retain_witness(struct replica *r)
{
    uint64_t known = least(r->commit, r->log.durable);
    uint64_t upto = least(r->keep_index, known);
    bool worth = upto >= r->log.base_index + WITNESS_KEEP ||
                 log_bytes(&r->log, r->log.base_index, r->log.last) > r->config.witness_log_bytes;
    if (worth && upto > r->log.base_index && !r->base_writing) {
        truncate_to(r, upto);
    }
    uint64_t demote = demotable(r, known);
    if (demote == 0 ? r->demote_told > 0 : demote > r->demote_told && !r->base_writing) {
        r->demote_told = demote;
        emit_at(r, EFFECT_DEMOTE, 0, demote);
    }
}

/* E6: a copy truncates freely what its durable state includes; late peers get a snapshot. Only when
 * a quarter more than the budget has gathered, so that it is rare. */
static void retain_copy(struct replica *r)
{
    const struct log *l = &r->log;
    uint64_t count = l->last - l->base_index;
    uint64_t bytes = log_bytes(l, l->base_index, l->last);
    uint64_t keep_entries = r->config.keep_entries, keep_bytes = r->config.keep_bytes;
    if (count <= keep_entries + keep_entries / 4 && bytes <= keep_bytes + keep_bytes / 4) {
        return;
    }
    uint64_t flushed = MUTANT(truncated_unflushed) ? r->applied : r->durable_applied;
    uint64_t limit = least(least(flushed, r->commit), l->durable);
    uint64_t upto = l->base_index;
    while (upto < limit &&
           (l->last - upto > keep_entries || log_bytes(l, upto, l->last) > keep_bytes)) {
        upto++;
    }
    if (upto > l->base_index) {
        truncate_to(r, upto);
    }
}

void retain_run(struct replica *r)
{
    if (r->witness) {
        retain_witness(r);
    } else {
        retain_copy(r);
    }
    log_drop_inline(&r->log, least(r->commit, r->log.durable), r->config.inline_bytes);
}

/* The driver switched to the snapshot with one synced record. Durable entries above it stay, there
 * and here, when the log contains its last entry: they may have been acknowledged. Else none of
 * ours above it were, or they contradict what is committed. */
void recv_snapshot_installed(struct replica *r, uint64_t index, uint64_t term)
{
    if (index <= r->log.base_index) {
        return;
    }
    if (term > r->ballot.term) {
        ballots_feed(r, (struct ballot_event){.kind = BALLOT_EV_HIGHER_TERM, .term = term});
    }
    replica_trace(r, "n%u snapshot installed index=%llu term=%llu last=%llu", r->self,
                  (unsigned long long)index, (unsigned long long)term,
                  (unsigned long long)r->log.last);
    if (log_has(&r->log, index) && log_term(&r->log, index) == term) {
        commit_to(r, index);
        if (index > r->log.durable) {
            /* What follows was acknowledged by nobody here, and whether the journal kept it when it
             * switched need not be known: it is written again. */
            write_cut(r, index + 1);
            r->log.durable = r->log.submitted = index;
        }
        log_forget(&r->log, index);
        if (r->replaced_from != 0 && r->replaced_from <= index) {
            entries_replaced(r); /* no write will tell: nothing of ours is left to be replaced */
        }
    } else {
        for (uint64_t i = r->log.base_index + 1; i <= r->log.last; i++) {
            slot_ensure_end(r, log_slot(&r->log, i));
        }
        write_cut(r, 1);
        log_reset(&r->log, index, term);
        r->replaced_from = 0;
        commit_to(r, index);
    }
    if (r->matched < index || r->matched > r->log.last) {
        r->matched = index; /* committed, hence in every leader's log */
    }
    if (r->advanced < index) {
        r->advanced = index;
    }
    if (r->applied < index) {
        r->applied = r->durable_applied = index;
    }
    r->answer.owed = true;
}

void recv_snapshot_done(struct replica *r, uint32_t peer, bool ok)
{
    struct progress *p = &r->peers[peer];
    if (leads(r) && p->state == PROGRESS_SNAPSHOT) {
        replica_trace(r, "n%u snapshot to=n%u %s", r->self, peer, ok ? "done" : "failed");
        progress_probe(p, ok && r->log.base_index + 1 > p->match ? r->log.base_index + 1
                                                                 : p->match + 1);
    }
}
