/* A follower takes the leader's log: consistency check, conflict, bytes, answer.
 * Sources: Ongaro 2014, Fig. 3.1 AppendEntries and 5.3; RULES B3, B4, E6; PROTOCOL V6. */
#include <assert.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

/* "Reply false if term < currentTerm": with our own durable term, so that a stuck leader steps
 * down (PROTOCOL V6, etcd-io/raft raft.go Step()). */
static void refuse_old_leader(struct replica *r, uint32_t from, const struct message_append *m)
{
    if (ballot_durable_term(&r->ballot) <= m->term) {
        return; /* the newer term is still on its way to the disk */
    }
    struct message *out = emit_message(r, from, MESSAGE_APPEND_RESP);
    out->append_resp.term = ballot_durable_term(&r->ballot);
    out->append_resp.reject = true;
    out->append_resp.reject_index = m->prev_index;
}

void matched_cut(struct replica *r, uint64_t index)
{
    assert(index > r->commit);
    for (uint64_t i = index; i <= r->log.last; i++) {
        slot_ensure_end(r, log_slot(&r->log, i));
    }
    if (index <= r->log.submitted) { /* else the journal knows nothing of what is cut */
        r->replaced_from = index;
    }
    log_cut(&r->log, index);
    write_cut(r, index);
}

/* A leader we have not heard in this term: its log equals ours up to what we know committed
 * (Leader Completeness), nothing more is known yet. */
static void new_leader(struct replica *r, uint32_t from, uint64_t term)
{
    r->matched_leader = from;
    r->matched_term = term;
    r->matched = MUTANT(old_log_matched) ? r->log.last : r->commit;
    r->answer = (struct answer){.to = from, .term = term};
    wants_drop(r);
}

static void refuse_prev(struct replica *r, const struct message_append *m)
{
    struct log *l = &r->log;
    uint64_t hint =
        m->prev_index > l->last ? l->last : log_find_conflict(l, m->prev_index - 1, m->prev_term);
    r->answer.owed = true;
    r->answer.reject = true;
    r->answer.reject_index = m->prev_index;
    r->answer.hint_index = hint > r->commit ? hint : r->commit;
    r->answer.hint_term = log_term(l, r->answer.hint_index);
}

/* RULES B3: an entry above the commit index of the same message needs its bytes before it counts.
 */
static bool counts_without_fetching(const struct entry *e, uint64_t commit)
{
    return e->blocks_count == 0 || e->inline_bytes != NULL || e->index <= commit ||
           MUTANT(ack_without_bytes);
}

static void take_new(struct replica *r, uint32_t from, struct entry *e, uint64_t commit)
{
    struct log_slot *s = log_append(&r->log, e, r->now);
    if (counts_without_fetching(e, commit)) {
        s->ensured = true;
    } else if (r->replaced_from != 0 && e->index > r->replaced_from) {
        s->late = true; /* the store may have the blocks with an entry that is about to go */
    } else {
        s->ensure = emit_ensure(r, e->blocks, e->blocks_count, quorum_bit(from), 0);
    }
}

/* The journal has the entry that took the place of others: their bytes are gone with them, so what
 * the store has now it keeps (RULES B3). */
void entries_replaced(struct replica *r)
{
    r->replaced_from = 0;
    for (uint64_t i = r->log.ensured + 1; i <= r->log.last; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        if (!s->late || s->ensured) {
            continue;
        }
        s->late = false;
        s->ensure = emit_ensure(r, s->entry->blocks, s->entry->blocks_count,
                                quorum_bit(r->matched_leader), 0);
    }
}

/* Same entry again; it may bring the bytes we lack. Only before it is written: afterwards it either
 * has its bytes or is committed, and missing bytes are the store's business (RULES B7). */
static void take_again(struct replica *r, struct entry *e)
{
    struct log_slot *s = log_slot(&r->log, e->index);
    if (s != NULL && !s->ensured && e->inline_bytes != NULL) {
        slot_ensure_end(r, s);
        log_fill(&r->log, e);
        s->ensured = true;
    }
}

/* False: no correct leader sends this. Nothing was changed then. */
static bool entries_valid(const struct replica *r, const struct message_append *m)
{
    uint64_t term = m->prev_term;
    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct entry *e = m->entries[i];
        if (e->index != m->prev_index + 1 + i || e->term < term || e->term > m->term) {
            return false;
        }
        if (e->index <= r->commit && log_has(&r->log, e->index) &&
            log_term(&r->log, e->index) != e->term) {
            return false; /* would overwrite what is committed */
        }
        term = e->term;
    }
    return true;
}

/* "If an existing entry conflicts with a new one (same index but different terms), delete the
 * existing entry and all that follow it; append any new entries not already in the log." */
static void take_entries(struct replica *r, uint32_t from, const struct message_append *m)
{
    for (uint32_t i = 0; i < m->entries_count; i++) {
        struct entry *e = m->entries[i];
        if (e->index <= r->log.base_index) {
            continue; /* part of our snapshot */
        }
        if (e->index <= r->log.last && log_term(&r->log, e->index) != e->term &&
            !MUTANT(conflict_kept)) {
            matched_cut(r, e->index);
        }
        if (e->index <= r->log.last) {
            take_again(r, e);
        } else {
            take_new(r, from, e, m->commit);
        }
    }
}

/* The leader's log begins above ours. A witness has no state, so it just goes on from there; the
 * entries in between are committed and held by the copies that committed them (PROTOCOL 4.4). */
static void rebase(struct replica *r, const struct message_append *m)
{
    replica_trace(r, "n%u rebase last=%llu base=%llu", r->self, (unsigned long long)r->log.last,
                  (unsigned long long)m->prev_index);
    for (uint64_t i = r->log.base_index + 1; i <= r->log.last; i++) {
        slot_ensure_end(r, log_slot(&r->log, i));
    }
    write_cut(r, 1);
    log_reset(&r->log, m->prev_index, m->prev_term);
    r->replaced_from = 0;
    uint64_t seq = write_begin(r, EFFECT_WRITE_BASE, m->prev_term, 0, m->prev_index);
    struct replica_effect *f = emit(r, EFFECT_WRITE_BASE);
    f->write_base.write_seq = seq;
    f->write_base.index = m->prev_index;
    f->write_base.term = m->prev_term;
    r->base_writing = seq;
    r->matched = m->prev_index;
    commit_to(r, m->prev_index);
}

static bool prev_fits(struct replica *r, const struct message_append *m)
{
    if (m->prev_index < r->log.base_index) {
        return true; /* our base is committed: it equals the leader's log (Leader Completeness) */
    }
    return log_has(&r->log, m->prev_index) && log_term(&r->log, m->prev_index) == m->prev_term;
}

static void learn(struct replica *r, const struct message_append *m)
{
    r->draft_mask = m->draft_mask & r->witnesses;
    if (!m->rescue) {
        r->keep_index = m->keep_index;
        if (m->demote_index > r->demote_index) {
            r->demote_index = m->demote_index;
        }
    }
}

static void echo(struct replica *r, const struct message_append *m, bool at_once)
{
    r->answer.read_round = m->read_round;
    r->answer.sent_at = m->sent_at;
    r->answer.owed = r->answer.owed || at_once;
}

void recv_append(struct replica *r, uint32_t from, const struct message_append *m)
{
    if (m->term < r->ballot.term) {
        refuse_old_leader(r, from, m);
        return;
    }
    ballots_feed(
        r, (struct ballot_event){.kind = BALLOT_EV_LEADER_HEARD, .peer = from, .term = m->term});
    if (r->ballot.term != m->term || r->ballot.leader != from || leads(r)) {
        return;
    }
    struct ballot_event succ = {.kind = BALLOT_EV_SUCCESSORS, .peer = from, .term = m->term};
    succ.successor_count = m->successors_count;
    for (uint32_t i = 0; i < m->successors_count; i++) {
        succ.successors[i] = m->successors[i];
    }
    ballots_feed(r, succ);

    if (r->matched_leader != from || r->matched_term != m->term) {
        new_leader(r, from, m->term);
    }
    learn(r, m);
    bool new_round = m->read_round > r->answer.read_round;
    if (!entries_valid(r, m)) {
        replica_trace(r, "n%u term=%llu append refused from=n%u reason=garbage", r->self,
                      (unsigned long long)m->term, from);
        return;
    }
    if (!prev_fits(r, m)) {
        if (!(m->rebase && r->witness && m->prev_index <= m->commit && m->prev_index > r->commit)) {
            refuse_prev(r, m);
            echo(r, m, true);
            return;
        }
        rebase(r, m);
    }
    uint64_t before = r->log.last;
    take_entries(r, from, m);
    uint64_t end = m->prev_index + m->entries_count;
    if (end > r->matched) {
        r->matched = end < r->log.last ? end : r->log.last;
    }
    uint64_t known = MUTANT(commit_unmatched) ? r->log.last : r->matched;
    commit_to(r, m->commit < known ? m->commit : known);
    /* Entries are answered when they are durable; all else at once, so that leases and read rounds
     * never wait for a disk. */
    r->answer.reject = false;
    echo(r, m, m->entries_count == 0 || new_round || r->log.last == before);
}

void entry_ensured(struct replica *r, uint64_t ticket, bool *ret_found)
{
    for (uint64_t i = r->log.ensured + 1; i <= r->log.last; i++) {
        struct log_slot *s = log_slot(&r->log, i);
        if (s->ensure == ticket) {
            s->ensure = 0;
            s->ensured = true;
            *ret_found = true;
            return;
        }
    }
}

/* The answer says only what is durable: our term, and the entries (DESIGN D2, RULES B3). */
void answer_send(struct replica *r)
{
    struct answer *a = &r->answer;
    if (!a->owed || leads(r) || a->to != r->ballot.leader || a->term != r->ballot.term ||
        ballot_durable_term(&r->ballot) != a->term) {
        return;
    }
    uint64_t match = r->base_writing              ? 0
                     : MUTANT(ack_before_durable) ? r->log.last
                                                  : r->log.durable;
    struct message_append_resp *m = &emit_message(r, a->to, MESSAGE_APPEND_RESP)->append_resp;
    *m = (struct message_append_resp){
        .term = a->term,
        .match = match < r->matched ? match : r->matched,
        .reject = a->reject,
        .reject_index = a->reject_index,
        .hint_index = a->hint_index,
        .hint_term = a->hint_term,
        .read_round = a->read_round,
        .sent_at = a->sent_at,
        .applied = r->applied,
        .durable_applied = r->durable_applied,
        .whole_index = r->whole_index,
        .free_bytes = r->free_bytes,
        .flush_p99_us = flush_p99(r),
    };
    a->owed = false;
    a->reject = false;
    a->sent_at = 0; /* echoed once: a later answer would make the round trip look long */
}
