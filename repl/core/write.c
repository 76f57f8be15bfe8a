#include <assert.h>

#include "repl/base/mutant.h"
#include "repl/core/state.h"

uint64_t write_begin(struct replica *r, enum replica_effect_kind kind, uint64_t term, uint32_t vote,
                     uint64_t last)
{
    uint64_t seq = ++r->write_seq;
    vec_push(&r->writes, (struct write){.seq = seq,
                                        .kind = kind,
                                        .term = term,
                                        .vote = vote,
                                        .last = last,
                                        .issued_at = r->now});
    return seq;
}

static bool entries_under_way(const struct replica *r)
{
    for (size_t i = 0; i < r->writes.count; i++) {
        if (r->writes.items[i].kind == EFFECT_WRITE_ENTRIES) {
            return true;
        }
    }
    return false;
}

/* Group commit: one WRITE of entries at a time, what comes meanwhile gathers for the next (DESIGN
 * D12). Entries whose blocks are still on their way stop the group: nothing unensured is ever
 * written (RULES B3). */
void write_entries(struct replica *r)
{
    struct log *l = &r->log;
    if (l->submitted == l->ensured || entries_under_way(r)) {
        return;
    }
    uint32_t count = (uint32_t)(l->ensured - l->submitted);
    struct entry **entries = xcalloc(count, sizeof(*entries));
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = entry_ref(log_entry(l, l->submitted + 1 + i));
    }
    uint64_t seq = write_begin(r, EFFECT_WRITE_ENTRIES, 0, 0, l->ensured);
    struct replica_effect *f = emit(r, EFFECT_WRITE_ENTRIES);
    f->write_entries.write_seq = seq;
    f->write_entries.commit = MUTANT(ack_without_bytes) ? l->ensured : r->commit;
    f->write_entries.count = count;
    f->write_entries.entries = entries;
    l->submitted = l->ensured;
}

void write_cut(struct replica *r, uint64_t index)
{
    for (size_t i = 0; i < r->writes.count; i++) {
        struct write *w = &r->writes.items[i];
        if (w->kind == EFFECT_WRITE_ENTRIES && w->last >= index) {
            w->last = index - 1;
        }
    }
}

static void flush_note(struct replica *r, time_us issued_at)
{
    r->flush_us[r->flush_at++ % FLUSHES_KEPT] = time_since(r->now, issued_at);
}

/* Close enough to the 99th percentile: the slowest of the last 64. */
uint64_t flush_p99(const struct replica *r)
{
    uint64_t slowest = 0;
    for (uint32_t i = 0; i < FLUSHES_KEPT; i++) {
        slowest = time_max(slowest, r->flush_us[i]);
    }
    return slowest;
}

static void write_end(struct replica *r, const struct write *w)
{
    struct log *l = &r->log;
    flush_note(r, w->issued_at);
    if (w->kind == EFFECT_WRITE_VOTE) {
        ballots_feed(r, (struct ballot_event){
                            .kind = BALLOT_EV_SYNCED, .term = w->term, .voted_for = w->vote});
    } else if (w->kind == EFFECT_WRITE_BASE) {
        if (r->base_writing == w->seq)
            r->base_writing = 0;
        r->answer.owed = true;
    } else if (w->last > l->durable) {
        assert(w->last <= l->submitted);
        l->durable = w->last;
        r->answer.owed = true;
    }
    if (w->kind == EFFECT_WRITE_ENTRIES && r->replaced_from != 0 && w->last >= r->replaced_from) {
        entries_replaced(r);
    }
}

void recv_written(struct replica *r, uint64_t seq)
{
    while (r->writes.count > 0 && r->writes.items[0].seq <= seq) {
        struct write w = r->writes.items[0];
        vec_remove(&r->writes, 0);
        write_end(r, &w);
    }
}
