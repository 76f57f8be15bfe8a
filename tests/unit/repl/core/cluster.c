#include "tests/unit/repl/core/cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "repl/base/vec.h"
#include "repl/wire/codec.h"

#define NODES_MAX   6
#define BLOCK_SMALL 100u /* bytes of every block here */

/* ---- the world ------------------------------------------------------------------------------- */

/* A block in a store. Its bytes follow from its name, so only presence is kept. */
struct held {
    uint64_t n;
    uint64_t index; /* highest entry that named it here; 0: none yet */
    bool synced;
};

struct record {
    uint64_t seq;
    struct replica_effect effect; /* WRITE_*; owns the entries */
    bool unheard; /* given before the replica heard of a snapshot that was just switched to */
};

struct ensure {
    uint64_t ticket;
    uint32_t count;
    struct block_ref *refs;
};

struct node {
    struct replica *replica;
    struct replica_config config;
    struct ballot_config ballot;
    bool up, witness;
    uint64_t life; /* events of an earlier life are void */
    time_us wake_at, paused_until;
    time_us clock_offset;
    int64_t clock_ppm;
    enum replica_role role;
    uint64_t led_term;

    /* Disk. */
    uint64_t term, commit_hint;
    uint32_t vote;
    uint64_t base_index, base_term;
    uint64_t switching; /* to the snapshot of this index; the replica has not heard of it yet */
    uint64_t switched_seq;
    vec_of(struct entry *) log;
    vec_of(struct record) pending; /* not flushed yet */
    bool flushing;
    uint64_t flushing_seq;
    time_us flush_us;
    vec_of(struct held) store;
    vec_of(uint64_t) missing; /* block numbers */
    uint64_t demoted, whole_index;
    vec_of(uint64_t) applied; /* operation ids; item i is index i + 1 */
    uint64_t durable_applied;

    vec_of(struct ensure) ensures;
    uint64_t advance_to;
};

enum what {
    WHAT_TICK,
    WHAT_MESSAGE,
    WHAT_LINK,
    WHAT_FLUSHED,
    WHAT_APPLY,
    WHAT_ENSURE,
    WHAT_PULL,
    WHAT_SNAPSHOT,
    WHAT_INSTALLED,
    WHAT_PROPOSE,
    WHAT_FAULT,
    WHAT_RESTART,
    WHAT_WAKE,
};

struct happening {
    time_us at;
    uint64_t order; /* ties */
    enum what what;
    uint32_t node, peer;
    uint64_t life, number, link_epoch;
    bool flag;
    struct bytes_writer control;
    struct blob *bulk;
};

struct asked_read {
    uint64_t id, at_least;
};

struct world {
    struct cluster_options options;
    struct cluster_result result;
    uint32_t nodes_count, faults; /* f */
    struct node nodes[NODES_MAX + 1];
    bool cut[NODES_MAX + 1][NODES_MAX + 1];
    bool told_up[NODES_MAX + 1][NODES_MAX + 1];
    uint64_t link_epoch[NODES_MAX + 1][NODES_MAX + 1];
    time_us link_free_at[NODES_MAX + 1][NODES_MAX + 1];
    time_us now;
    uint64_t rng, order, next_id, next_block, next_ticket;
    vec_of(struct happening) heap;
    struct replica_update update;
    bool healed, quiet, lossy, reordering;
    uint32_t leader_of_term[4096];

    vec_of(struct entry *) committed; /* item i is index i + 1 */
    vec_of(uint64_t) dead_ids;        /* dropped before they were in any log */
    vec_of(uint64_t) ticket_ids;      /* ticket -> operation id */
    vec_of(struct asked_read) reads;
    uint64_t acknowledged; /* highest index a leader knew committed */
};

/* What the node's clock shows now: clocks differ, and run apart within the rho of RULES E1. */
static time_us clock_of(const struct node *n, time_us now)
{
    return n->clock_offset + now + (uint64_t)((int64_t)now * n->clock_ppm / 1000000);
}

/* The first true time at which it shows `local`. */
static time_us true_time(const struct node *n, time_us local)
{
    time_us at = (local - n->clock_offset) * 1000000 / (uint64_t)(1000000 + n->clock_ppm);
    while (clock_of(n, at) < local) {
        at++;
    }
    return at;
}

static uint64_t rnd(struct world *w)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return w->rng * 0x2545f4914f6cdd1du;
}

static uint64_t below(struct world *w, uint64_t n)
{
    return (rnd(w) >> 11) % n;
}

static bool chance(struct world *w, uint32_t percent)
{
    return below(w, 100) < percent;
}

__attribute__((format(printf, 3, 4))) static void complain(struct world *w, const char *what,
                                                           const char *format, ...)
{
    if (w->result.complaint != NULL) {
        return;
    }
    w->result.complaint = what;
    va_list ap;
    va_start(ap, format);
    vsnprintf(w->result.detail, sizeof(w->result.detail), format, ap);
    va_end(ap);
}

static void trace_line(void *ctx, const char *text)
{
    struct world *w = ctx;
    w->result.trace_hash = hash64_seed(text, strlen(text), w->result.trace_hash);
    if (strstr(text, "rescue") != NULL) {
        w->result.rescues++;
    }
    if (w->options.trace) {
        fprintf(stderr, "%9" PRIu64 " %s\n", w->now, text);
    }
}

/* ---- what happens next: a binary heap by (time, order) --------------------------------------- */

static bool sooner(const struct happening *a, const struct happening *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_raise(struct world *w, size_t i)
{
    while (i > 0 && sooner(&w->heap.items[i], &w->heap.items[(i - 1) / 2])) {
        struct happening t = w->heap.items[i];
        w->heap.items[i] = w->heap.items[(i - 1) / 2];
        w->heap.items[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void plan(struct world *w, struct happening h)
{
    h.order = ++w->order;
    vec_push(&w->heap, h);
    heap_raise(w, w->heap.count - 1);
}

/* After times were changed. */
static void heap_rebuild(struct world *w)
{
    for (size_t i = 1; i < w->heap.count; i++) {
        heap_raise(w, i);
    }
}

static struct happening next_happening(struct world *w)
{
    struct happening first = w->heap.items[0];
    struct happening last = vec_pop(&w->heap);
    size_t i = 0, n = w->heap.count;
    if (n == 0) {
        return first;
    }
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n) {
            break;
        }
        if (c + 1 < n && sooner(&w->heap.items[c + 1], &w->heap.items[c])) {
            c++;
        }
        if (!sooner(&w->heap.items[c], &last)) {
            break;
        }
        w->heap.items[i] = w->heap.items[c];
        i = c;
    }
    w->heap.items[i] = last;
    return first;
}

/* ---- block stores ---------------------------------------------------------------------------- */

static struct held *store_find(struct node *n, uint64_t block)
{
    for (size_t i = n->store.count; i > 0; i--) { /* new ones are asked for most */
        if (n->store.items[i - 1].n == block) {
            return &n->store.items[i - 1];
        }
    }
    return NULL;
}

static void store_put(struct node *n, uint64_t block, bool synced)
{
    struct held *h = store_find(n, block);
    if (h == NULL) {
        vec_push(&n->store, (struct held){.n = block, .synced = synced});
    } else {
        h->synced = h->synced || synced;
    }
}

static bool reachable(const struct world *w, uint32_t a, uint32_t b)
{
    return w->nodes[a].up && w->nodes[b].up && !w->cut[a][b];
}

/* Gets a block from whoever has it and can be reached. */
static bool fetch(struct world *w, uint32_t id, uint64_t block, bool synced)
{
    if (store_find(&w->nodes[id], block) != NULL) {
        return true;
    }
    for (uint32_t p = 1; p <= w->nodes_count; p++) {
        if (p != id && reachable(w, id, p) && store_find(&w->nodes[p], block) != NULL) {
            store_put(&w->nodes[id], block, synced);
            return true;
        }
    }
    return false;
}

static void demote(struct node *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->store.count; i++) {
        struct held h = n->store.items[i];
        if (h.index == 0 || h.index > n->demoted) {
            n->store.items[kept++] = h;
        }
    }
    n->store.count = kept;
}

/* ---- journals -------------------------------------------------------------------------------- */

static bool missing_del(struct node *n, uint64_t block)
{
    for (size_t i = 0; i < n->missing.count; i++) {
        if (n->missing.items[i] == block) {
            vec_remove(&n->missing, i);
            return true;
        }
    }
    return false;
}

static uint64_t disk_last(const struct node *n)
{
    return n->base_index + n->log.count;
}

static struct entry *disk_entry(const struct node *n, uint64_t index)
{
    return index > n->base_index && index <= disk_last(n) ? n->log.items[index - n->base_index - 1]
                                                          : NULL;
}

static void disk_cut(struct node *n, uint64_t from)
{
    while (disk_last(n) >= from && n->log.count > 0) {
        entry_unref(vec_pop(&n->log));
    }
}

/* The names of an overwritten entry are wanted no more (RULES B12). */
static void disk_overwrite(struct node *n, uint64_t from)
{
    for (uint64_t i = from; i <= disk_last(n); i++) {
        const struct entry *e = disk_entry(n, i);
        for (uint32_t k = 0; k < e->blocks_count; k++) {
            (void)missing_del(n, e->blocks[k].name.n);
        }
    }
    disk_cut(n, from);
}

static void disk_forget(struct node *n, uint64_t index)
{
    uint64_t drop = index > n->base_index ? index - n->base_index : 0;
    if (drop == 0 || drop > n->log.count) {
        return;
    }
    n->base_term = n->log.items[drop - 1]->term;
    n->base_index = index;
    for (uint64_t i = 0; i < drop; i++) {
        entry_unref(n->log.items[i]);
    }
    memmove(n->log.items, n->log.items + drop, (n->log.count - drop) * sizeof(*n->log.items));
    n->log.count -= drop;
}

static void disk_restart_at(struct node *n, uint64_t index, uint64_t term)
{
    disk_cut(n, n->base_index + 1);
    n->base_index = index;
    n->base_term = term;
}

static void missing_add(struct node *n, uint64_t block)
{
    for (size_t i = 0; i < n->missing.count; i++) {
        if (n->missing.items[i] == block) {
            return;
        }
    }
    vec_push(&n->missing, block);
}

/* Of an unheard record: true for an entry that follows what contradicts the snapshot. */
static bool is_void(const struct node *n, const struct entry *e, bool unheard)
{
    return unheard && (e->index > disk_last(n) + 1 || e->term < n->base_term);
}

static void write_entry(struct world *w, uint32_t id, struct entry *e, uint64_t commit,
                        bool unheard)
{
    struct node *n = &w->nodes[id];
    if (e->index <= n->base_index || is_void(n, e, unheard)) {
        return;
    }
    disk_overwrite(n, e->index);
    if (e->index != disk_last(n) + 1) {
        complain(w, "gap in a journal", "n%u index=%" PRIu64, id, e->index);
        return;
    }
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        uint64_t block = e->blocks[i].name.n;
        bool stale_witness_bytes = n->witness && e->index <= commit;
        if (e->inline_bytes != NULL && !stale_witness_bytes) {
            store_put(n, block, true);
        }
        struct held *h = store_find(n, block);
        if (h != NULL) {
            h->index = e->index;
        } else if (e->index > commit && w->options.bug != BUG_LYING_ENSURE) {
            complain(w, "uncommitted entry written without its bytes (B3)",
                     "n%u index=%" PRIu64 " commit=%" PRIu64, id, e->index, commit);
        } else if (!n->witness) {
            missing_add(n, block);
        }
    }
    vec_push(&n->log, entry_ref(e));
}

static void write_record(struct world *w, uint32_t id, const struct record *rec)
{
    const struct replica_effect *f = &rec->effect;
    struct node *n = &w->nodes[id];
    if (f->kind == EFFECT_WRITE_VOTE) {
        n->term = f->write_vote.term;
        n->vote = f->write_vote.vote;
    } else if (f->kind == EFFECT_WRITE_BASE) {
        disk_restart_at(n, f->write_base.index, f->write_base.term);
    } else {
        for (uint32_t i = 0; i < f->write_entries.count; i++) {
            write_entry(w, id, f->write_entries.entries[i], f->write_entries.commit, rec->unheard);
        }
        n->commit_hint = f->write_entries.commit;
    }
}

static void record_done(struct record *r)
{
    struct replica_update u = {0};
    vec_of(struct replica_effect) one = {0};
    vec_push(&one, r->effect);
    u.effects = one.items;
    u.count = one.count;
    replica_update_done(&u);
}

static void flush_begin(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    if (n->flushing || n->pending.count == 0) {
        return;
    }
    n->flushing = true;
    n->flushing_seq = n->pending.items[n->pending.count - 1].seq;
    plan(w, (struct happening){.at = w->now + n->flush_us / 2 + below(w, n->flush_us),
                               .what = WHAT_FLUSHED,
                               .node = id,
                               .life = n->life});
}

/* First the blocks, then the records that count on them (RULES S1). */
static void flush_upto(struct world *w, uint32_t id, uint64_t seq)
{
    struct node *n = &w->nodes[id];
    for (size_t i = 0; i < n->store.count; i++) {
        n->store.items[i].synced = true;
    }
    while (n->pending.count > 0 && n->pending.items[0].seq <= seq) {
        write_record(w, id, &n->pending.items[0]);
        record_done(&n->pending.items[0]);
        vec_remove(&n->pending, 0);
    }
    demote(n);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void carry_out(struct world *w, uint32_t id);
static void check_commits(struct world *w, uint32_t id);

static void step(struct world *w, uint32_t id, struct replica_event ev)
{
    struct node *n = &w->nodes[id];
    if (!n->up) {
        return;
    }
    ev.now = clock_of(n, w->now);
    ev.random = rnd(w);
    replica_step(n->replica, &ev, &w->update);
    replica_check(n->replica);
    w->result.steps++;
    time_us wake_at = w->update.wake_at != 0 ? true_time(n, w->update.wake_at) : 0;
    carry_out(w, id);
    check_commits(w, id);
    if (wake_at != 0 && (n->wake_at == 0 || wake_at < n->wake_at || n->wake_at <= w->now)) {
        n->wake_at = wake_at > w->now ? wake_at : w->now + 1;
        plan(w,
             (struct happening){.at = n->wake_at, .what = WHAT_TICK, .node = id, .life = n->life});
    }
}

static void send(struct world *w, uint32_t from, uint32_t to, const struct message *m)
{
    if (to == 0 || to > w->nodes_count || !reachable(w, from, to) || !w->told_up[from][to]) {
        return;
    }
    if (w->lossy && !w->healed && chance(w, 3)) {
        return;
    }
    struct happening h = {.what = WHAT_MESSAGE,
                          .node = to,
                          .peer = from,
                          .life = w->nodes[to].life,
                          .link_epoch = w->link_epoch[from][to]};
    struct codec_bulk bulk = {0};
    message_encode(m, &h.control, &bulk);
    size_t size = 0;
    for (size_t i = 0; i < bulk.count; i++) {
        size += bulk.items[i]->size;
    }
    h.bulk = blob_new(size);
    size = 0;
    for (size_t i = 0; i < bulk.count; i++) {
        memcpy(h.bulk->data + size, bulk.items[i]->data, bulk.items[i]->size);
        size += bulk.items[i]->size;
    }
    codec_bulk_done(&bulk);
    h.at = w->now + 50 + below(w, chance(w, 5) ? 8000 : 300);
    if (!w->reordering || w->healed) { /* a stream keeps its order */
        if (h.at < w->link_free_at[from][to]) {
            h.at = w->link_free_at[from][to];
        }
        w->link_free_at[from][to] = h.at;
    }
    plan(w, h);
}

static uint64_t entry_id(const struct entry *e)
{
    return e->payload != NULL ? le64_get(e->payload->data) : 0;
}

static void note_role(struct world *w, uint32_t id, const struct replica_effect *f)
{
    struct node *n = &w->nodes[id];
    bool leads = f->role.role == REPLICA_LEADER || f->role.role == REPLICA_RESCUE_LEADER;
    n->role = f->role.role;
    if (!leads || f->role.term >= 4096) {
        return;
    }
    uint32_t *slot = &w->leader_of_term[f->role.term];
    if (*slot != 0 && *slot != id) {
        complain(w, "two leaders in a term", "term=%" PRIu64 " n%u n%u", f->role.term, *slot, id);
    }
    w->result.elections += *slot == 0;
    *slot = id;
    if (n->witness != (f->role.role == REPLICA_RESCUE_LEADER)) {
        complain(w, "a witness leads, or a copy only rescues", "n%u", id);
    }
}

static void note_read(struct world *w, uint64_t id, uint64_t index)
{
    for (size_t i = 0; i < w->reads.count; i++) {
        if (w->reads.items[i].id == id) {
            if (index < w->reads.items[i].at_least) {
                complain(w, "stale read", "index=%" PRIu64 " acknowledged=%" PRIu64, index,
                         w->reads.items[i].at_least);
            }
            vec_remove(&w->reads, i);
            return;
        }
    }
}

static void carry_out_one(struct world *w, uint32_t id, struct replica_effect *f)
{
    struct node *n = &w->nodes[id];
    switch (f->kind) {
    case EFFECT_SEND:
        send(w, id, f->send.to, &f->send.message);
        break;
    case EFFECT_WRITE_VOTE:
    case EFFECT_WRITE_ENTRIES:
    case EFFECT_WRITE_BASE: {
        struct record rec = {.effect = *f, .unheard = n->switching != 0};
        rec.seq = f->kind == EFFECT_WRITE_VOTE   ? f->write_vote.write_seq
                  : f->kind == EFFECT_WRITE_BASE ? f->write_base.write_seq
                                                 : f->write_entries.write_seq;
        if (f->kind == EFFECT_WRITE_ENTRIES) {
            f->write_entries.entries = NULL;
        }
        vec_push(&n->pending, rec);
        flush_begin(w, id);
        break;
    }
    case EFFECT_ENSURE:
        vec_push(&n->ensures, (struct ensure){.ticket = f->ensure.ticket,
                                              .count = f->ensure.refs_count,
                                              .refs = f->ensure.refs});
        f->ensure.refs = NULL;
        plan(w, (struct happening){.at = w->now + 100 + below(w, 3000),
                                   .what = WHAT_ENSURE,
                                   .node = id,
                                   .life = n->life,
                                   .number = f->ensure.ticket});
        break;
    case EFFECT_ENSURE_END:
        for (size_t i = 0; i < n->ensures.count; i++) {
            if (n->ensures.items[i].ticket == f->ensure.ticket) {
                free(n->ensures.items[i].refs);
                vec_remove(&n->ensures, i);
                break;
            }
        }
        break;
    case EFFECT_ADVANCE:
        n->advance_to = f->at.index;
        plan(w,
             (struct happening){
                 .at = w->now + below(w, 3000), .what = WHAT_APPLY, .node = id, .life = n->life});
        break;
    case EFFECT_APPENDED:
        break;
    case EFFECT_DROPPED:
        w->result.dropped++;
        if (f->at.index == 0) {
            vec_push(&w->dead_ids, w->ticket_ids.items[f->at.ticket - 1]);
        }
        break;
    case EFFECT_READ_READY:
        w->result.reads++;
        note_read(w, f->at.ticket, f->at.index);
        break;
    case EFFECT_READ_FAILED:
        w->result.reads_failed++;
        note_read(w, f->at.ticket, UINT64_MAX);
        break;
    case EFFECT_ROLE:
        note_role(w, id, f);
        break;
    case EFFECT_SNAPSHOT_SEND:
        w->result.snapshots++;
        plan(w, (struct happening){.at = w->now + 5000 + below(w, 30000),
                                   .what = WHAT_SNAPSHOT,
                                   .node = f->snapshot_send.to,
                                   .peer = id,
                                   .life = w->nodes[f->snapshot_send.to].life,
                                   .number = n->life});
        break;
    case EFFECT_DRAFT:
        w->result.drafts += f->draft.mask != 0;
        break;
    case EFFECT_DEMOTE:
        n->demoted = f->at.index;
        demote(n);
        break;
    case EFFECT_TRUNCATE:
        disk_forget(n, f->at.index);
        break;
    case EFFECT_STOPPED_LEADING:
        w->result.stopped++;
        break;
    }
}

static void carry_out(struct world *w, uint32_t id)
{
    struct replica_update u = w->update; /* a nested step must not refill it */
    memset(&w->update, 0, sizeof(w->update));
    for (size_t i = 0; i < u.count; i++) {
        carry_out_one(w, id, &u.effects[i]);
    }
    replica_update_clear(&u);
    if (w->update.effects == NULL) {
        w->update = u;
    } else {
        replica_update_done(&u);
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool holds_entry(struct node *n, const struct entry *e)
{
    struct entry *mine = disk_entry(n, e->index);
    bool in_log = mine != NULL ? mine->term == e->term : e->index <= n->base_index;
    if (!in_log) {
        return false;
    }
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        struct held *h = store_find(n, e->blocks[i].name.n);
        if (h == NULL || !h->synced) {
            return false;
        }
    }
    return true;
}

/* B3: committed means that f+1 stores durably have the entry and its bytes, so any f may be lost.
 */
static void check_durable(struct world *w, const struct entry *e, const char *when)
{
    uint32_t holders = 0;
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        holders += holds_entry(&w->nodes[id], e);
    }
    if (holders < w->faults + 1) {
        complain(w, "a committed entry is held by too few stores (B3)",
                 "%s: index=%" PRIu64 " holders=%u", when, e->index, holders);
    }
}

static void check_commits(struct world *w, uint32_t id)
{
    struct replica *r = w->nodes[id].replica;
    uint64_t commit = replica_commit(r);
    if (commit > w->committed.count) {
        for (uint64_t i = w->committed.count + 1; i <= commit; i++) {
            struct entry *e = replica_entry(r, i);
            if (e == NULL) {
                complain(w, "committed entry unknown", "n%u index=%" PRIu64, id, i);
                return;
            }
            vec_push(&w->committed, entry_ref(e));
            check_durable(w, e, "at commit");
            for (size_t d = 0; d < w->dead_ids.count; d++) {
                if (w->dead_ids.items[d] == entry_id(e) && entry_id(e) != 0) {
                    complain(w, "a refused proposal was committed", "index=%" PRIu64, i);
                }
            }
        }
    }
    struct entry *mine = commit > 0 ? replica_entry(r, commit) : NULL;
    if (mine != NULL && (mine->term != w->committed.items[commit - 1]->term ||
                         entry_id(mine) != entry_id(w->committed.items[commit - 1]))) {
        complain(w, "two nodes committed different entries", "n%u index=%" PRIu64, id, commit);
    }
    if (replica_role(r) == REPLICA_LEADER && commit > w->acknowledged) {
        w->acknowledged = commit;
    }
}

/* A leader has everything ever committed (Leader Completeness, 1.9 E4). */
static void check_leaders(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        struct replica_status s;
        if (!n->up || replica_role(n->replica) != REPLICA_LEADER) {
            continue;
        }
        replica_status(n->replica, &s);
        for (uint64_t i = s.first_index; i <= w->committed.count; i++) {
            const struct entry *c = w->committed.items[i - 1], *e = replica_entry(n->replica, i);
            if (c->term <= s.term && (e == NULL || e->term != c->term)) {
                complain(w, "a leader lacks a committed entry",
                         "n%u term=%" PRIu64 " index=%" PRIu64, id, s.term, i);
                return;
            }
        }
    }
}

static void check_all_durable(struct world *w, const char *when)
{
    for (size_t i = 0; i < w->committed.count; i++) {
        check_durable(w, w->committed.items[i], when);
    }
}

/* ---- happenings ------------------------------------------------------------------------------ */

static void report_applied(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    bool whole = n->missing.count == 0 || w->options.bug == BUG_WHOLE_TOO_SOON;
    if (whole) {
        n->whole_index = n->applied.count;
    }
    struct replica_event ev = {.kind = REPLICA_APPLIED};
    ev.applied.index = n->applied.count;
    ev.applied.durable_applied = n->durable_applied;
    ev.applied.whole_index = n->whole_index;
    ev.applied.free_bytes = 1u << 30;
    step(w, id, ev);
}

static void happen_apply(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    if (n->witness || n->switching != 0) {
        return;
    }
    while (n->applied.count < n->advance_to) {
        uint64_t index = n->applied.count + 1;
        struct entry *e = disk_entry(n, index);
        if (e == NULL || e->term != w->committed.items[index - 1]->term) {
            complain(w, "ADVANCE beyond the durable log", "n%u index=%" PRIu64, id, index);
            return;
        }
        vec_push(&n->applied, entry_id(e));
    }
    if (chance(w, 20)) {
        n->durable_applied = n->applied.count;
    }
    report_applied(w, id);
}

static void happen_ensure(struct world *w, const struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    size_t at = 0;
    while (at < n->ensures.count && n->ensures.items[at].ticket != h->number) {
        at++;
    }
    if (at == n->ensures.count) {
        return; /* ended */
    }
    bool all = true;
    for (uint32_t i = 0; i < n->ensures.items[at].count; i++) {
        uint64_t block = n->ensures.items[at].refs[i].name.n;
        bool here = fetch(w, h->node, block, false);
        if (here && missing_del(n, block)) {
            store_put(n, block, true); /* what was missing becomes durable (repl/io/store.h) */
        }
        all = all && here;
    }
    if (!all && !(w->options.bug == BUG_LYING_ENSURE && chance(w, 50))) {
        struct happening again = *h;
        again.at = w->now + 20000;
        plan(w, again);
        return;
    }
    free(n->ensures.items[at].refs);
    vec_remove(&n->ensures, at);
    step(w, h->node, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {h->number}});
}

/* B7: what is missing is fetched in the background. */
static void happen_pull(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    size_t kept = 0, before = n->missing.count;
    for (size_t i = 0; i < before; i++) {
        uint64_t block = n->missing.items[i];
        if (!fetch(w, id, block, true)) {
            n->missing.items[kept++] = block;
        } else {
            store_put(n, block, true);
        }
    }
    n->missing.count = kept;
    n->durable_applied = n->applied.count;
    if (!n->witness && n->switching == 0) {
        report_applied(w, id);
    }
    plan(w, (struct happening){.at = w->now + 100000 + below(w, 50000),
                               .what = WHAT_PULL,
                               .node = id,
                               .life = n->life});
}

/* One synced record switches to the snapshot; everything given to the journal before lies before
 * it, with the blocks it counts on (RULES B7, S1). */
static void snapshot_switch(struct world *w, uint32_t id, const struct node *from)
{
    struct node *n = &w->nodes[id];
    uint64_t index = from->applied.count, term = w->committed.items[index - 1]->term;
    if (n->pending.count > 0) {
        n->switched_seq = n->pending.items[n->pending.count - 1].seq;
    }
    flush_upto(w, id, UINT64_MAX);
    for (uint64_t i = n->applied.count; i < index; i++) {
        const struct entry *e = w->committed.items[i];
        vec_push(&n->applied, from->applied.items[i]);
        for (uint32_t b = 0; b < e->blocks_count; b++) {
            if (store_find(n, e->blocks[b].name.n) == NULL) {
                missing_add(n, e->blocks[b].name.n);
            }
        }
    }
    n->durable_applied = index;
    struct entry *e = disk_entry(n, index);
    if (e != NULL && e->term == term) {
        disk_forget(n, index);
    } else {
        disk_restart_at(n, index, term);
    }
    n->switching = index;
    plan(w, (struct happening){.at = w->now + below(w, 5000),
                               .what = WHAT_INSTALLED,
                               .node = id,
                               .life = n->life,
                               .number = term});
}

static void happen_installed(struct world *w, uint32_t id, uint64_t term)
{
    struct node *n = &w->nodes[id];
    struct replica_event ev = {.kind = REPLICA_SNAPSHOT_INSTALLED};
    ev.snapshot_installed.index = n->switching;
    ev.snapshot_installed.term = term;
    n->switching = 0;
    step(w, id, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {n->switched_seq}});
    step(w, id, ev);
    report_applied(w, id);
}

static void happen_snapshot(struct world *w, const struct happening *h)
{
    struct node *to = &w->nodes[h->node], *from = &w->nodes[h->peer];
    bool ok = reachable(w, h->node, h->peer) && from->life == h->number && to->life == h->life;
    if (ok && to->switching == 0 && from->applied.count > to->applied.count) {
        snapshot_switch(w, h->node, from);
    }
    if (from->life == h->number) {
        struct replica_event ev = {.kind = REPLICA_SNAPSHOT_DONE};
        ev.snapshot_done.peer = h->node;
        ev.snapshot_done.ok = ok;
        step(w, h->peer, ev);
    }
}

static void happen_message(struct world *w, struct happening *h)
{
    struct message m;
    if (h->link_epoch == w->link_epoch[h->peer][h->node] && reachable(w, h->node, h->peer) &&
        w->told_up[h->node][h->peer]) {
        if (message_decode(h->control.data, h->control.size, h->bulk, &m) < 0) {
            complain(w, "codec refused an honest message", "to=n%u", h->node);
        } else {
            struct replica_event ev = {.kind = REPLICA_MESSAGE};
            ev.message.from = h->peer;
            ev.message.message = &m;
            step(w, h->node, ev);
            message_done(&m);
        }
    }
}

/* ---- links, crashes -------------------------------------------------------------------------- */

static void tell_link(struct world *w, uint32_t a, uint32_t b, bool up)
{
    if (w->told_up[a][b] == up) {
        return;
    }
    w->told_up[a][b] = up;
    w->link_epoch[a][b]++;
    w->link_epoch[b][a]++;
    struct replica_event ev = {.kind = up ? REPLICA_LINK_UP : REPLICA_LINK_DOWN};
    ev.link.peer = b;
    ev.link.store_boot = w->nodes[b].life;
    step(w, a, ev);
}

static void link_settle(struct world *w, uint32_t a, uint32_t b)
{
    bool up = reachable(w, a, b);
    if (up) { /* a new connection: both ends lose the old one first */
        tell_link(w, a, b, false);
        tell_link(w, b, a, false);
    }
    tell_link(w, a, b, up && w->nodes[a].up);
    tell_link(w, b, a, up && w->nodes[b].up);
}

static void node_start(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    n->up = true;
    n->life++;
    n->wake_at = n->paused_until = 0;
    n->switching = n->switched_seq = 0;
    n->role = REPLICA_FOLLOWER;
    n->replica = replica_new(&n->config, n->base_index, n->base_term);
    for (size_t i = 0; i < n->log.count; i++) {
        struct bytes_writer bytes = {0}; /* through the journal's form */
        struct entry *e = NULL;
        entry_encode(n->log.items[i], &bytes);
        struct blob *b = n->log.items[i]->inline_bytes;
        if (entry_decode(bytes.data, bytes.size, b != NULL ? b->data : NULL,
                         b != NULL ? b->size : 0, &e) < 0 ||
            replica_load_entry(n->replica, e) < 0) {
            complain(w, "a journal cannot be loaded", "n%u entry %zu", id, i);
        }
        entry_unref(e);
        bytes_writer_done(&bytes);
    }
    n->applied.count = n->durable_applied;
    if (n->missing.count == 0 && !n->witness) {
        n->whole_index = n->applied.count;
    }
    struct replica_event ev = {.kind = REPLICA_START};
    ev.start.term = n->term;
    ev.start.vote = n->vote;
    ev.start.commit = chance(w, 50) ? n->commit_hint : 0;
    ev.start.applied = n->witness ? 0 : n->durable_applied;
    ev.start.whole_index = n->whole_index;
    n->advance_to = 0;
    step(w, id, ev);
    for (uint32_t p = 1; p <= w->nodes_count; p++) {
        if (p != id && reachable(w, id, p)) {
            link_settle(w, id, p);
        }
    }
    plan(w, (struct happening){
                .at = w->now + below(w, 100000), .what = WHAT_PULL, .node = id, .life = n->life});
}

static void node_crash(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    if (!n->up) {
        return;
    }
    if (n->pending.count > 0 && chance(w, 50) && w->options.bug != BUG_FORGETS_SYNC) {
        uint64_t first = n->pending.items[0].seq;
        flush_upto(w, id, first + below(w, n->pending.count + 1) - 1);
    }
    while (n->pending.count > 0) {
        struct record r = vec_pop(&n->pending);
        record_done(&r);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n->store.count; i++) {
        if (n->store.items[i].synced || chance(w, 50)) {
            n->store.items[kept] = n->store.items[i];
            n->store.items[kept++].synced = true;
        }
    }
    n->store.count = kept;
    while (n->ensures.count > 0) {
        free(vec_pop(&n->ensures).refs);
    }
    n->up = false;
    n->life++;
    n->flushing = false;
    replica_free(n->replica);
    n->replica = NULL;
    for (uint32_t p = 1; p <= w->nodes_count; p++) {
        if (p != id) {
            w->told_up[id][p] = false;
            w->link_epoch[id][p]++;
            w->link_epoch[p][id]++;
            plan(w, (struct happening){.at = w->now + 100,
                                       .what = WHAT_LINK,
                                       .node = p,
                                       .peer = id,
                                       .life = w->nodes[p].life});
        }
    }
}

/* The process is stopped: its input waits, its peers see open links and silence. */
static void node_pause(struct world *w, uint32_t id, time_us length)
{
    struct node *n = &w->nodes[id];
    if (!n->up || w->now < n->paused_until) {
        return;
    }
    n->paused_until = w->now + length;
    plan(w,
         (struct happening){.at = n->paused_until, .what = WHAT_WAKE, .node = id, .life = n->life});
}

static uint32_t any_leader(const struct world *w, uint32_t otherwise)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        if (w->nodes[id].up && w->nodes[id].role == REPLICA_LEADER) {
            return id;
        }
    }
    return otherwise;
}

static void happen_fault(struct world *w)
{
    uint32_t a = 1 + (uint32_t)below(w, w->nodes_count);
    uint32_t b = 1 + (uint32_t)below(w, w->nodes_count);
    switch (below(w, 7)) {
    case 0:
    case 1:
        node_crash(w, a);
        plan(w, (struct happening){
                    .at = w->now + 5000 + below(w, 1500000), .what = WHAT_RESTART, .node = a});
        break;
    case 2:
    case 3:
        if (a != b) {
            w->cut[a][b] = w->cut[b][a] = !w->cut[a][b];
            bool silent = w->cut[a][b] && chance(w, 30); /* noticed only after a while */
            time_us delay = silent ? 1000000 : 100;
            plan(w,
                 (struct happening){
                     .at = w->now + delay, .what = WHAT_LINK, .node = a, .peer = b, .flag = true});
        }
        break;
    case 4:
        w->nodes[a].flush_us = chance(w, 50) ? 400 : 150000;
        break;
    case 5:
        if (w->nodes[a].up && w->nodes[a].role == REPLICA_LEADER && chance(w, 30)) {
            step(w, a, (struct replica_event){.kind = REPLICA_STOP});
        }
        break;
    case 6:
        node_pause(w, chance(w, 50) ? any_leader(w, a) : a, below(w, 1500000));
        break;
    }
    plan(w, (struct happening){.at = w->now + 10000 + below(w, 400000), .what = WHAT_FAULT});
}

/* The mount: sends large blocks to whom it reaches, then proposes to whom it takes for the leader.
 */
static uint64_t propose_form(struct world *w, uint32_t id, enum cluster_form form)
{
    struct node *n = &w->nodes[id];
    struct block_ref refs[2];
    struct blob *payload = blob_new(8), *bytes = NULL;
    uint32_t count = form == FORM_PLAIN ? 0 : 1 + (uint32_t)below(w, 2);
    uint64_t op = ++w->next_id;
    le64_put(payload->data, op);
    for (uint32_t i = 0; i < count; i++) {
        refs[i] =
            (struct block_ref){.name = {.session = 1, .n = ++w->next_block}, .size = BLOCK_SMALL};
    }
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = ++w->next_ticket;
    vec_push(&w->ticket_ids, op);
    ev.propose.kind = ENTRY_OP;
    ev.propose.payload = payload;
    ev.propose.blocks = refs;
    ev.propose.blocks_count = count;
    if (form == FORM_INLINE) {
        bytes = blob_new(count * BLOCK_SMALL);
        memset(bytes->data, (int)op, bytes->size);
        ev.propose.inline_bytes = bytes;
    } else if (form == FORM_BY_PARTS) {
        uint32_t targets = replica_draft_mask(n->replica);
        for (uint32_t p = 1; p <= w->nodes_count; p++) {
            bool target = !w->nodes[p].witness || (targets & (1u << p)) != 0;
            bool takes = w->nodes[p].up && w->nodes[p].paused_until <= w->now;
            if (target && takes && (w->options.scripted || !chance(w, 20))) {
                for (uint32_t i = 0; i < count; i++) {
                    store_put(&w->nodes[p], refs[i].name.n, false);
                }
                ev.propose.holders |= 1u << p;
            }
        }
    }
    ev.more = !w->options.scripted && chance(w, 30);
    w->result.proposals++;
    step(w, id, ev);
    if (ev.more) {
        step(w, id, (struct replica_event){.kind = REPLICA_TICK});
    }
    blob_unref(payload);
    blob_unref(bytes);
    return op;
}

static void propose_to(struct world *w, uint32_t id)
{
    (void)propose_form(w, id, (enum cluster_form)below(w, 3));
}

static uint64_t read_from(struct world *w, uint32_t id)
{
    uint64_t read = ++w->next_id;
    vec_push(&w->reads, (struct asked_read){.id = read, .at_least = w->acknowledged});
    step(w, id, (struct replica_event){.kind = REPLICA_READ, .read = {.id = read}});
    return read;
}

/* The first thing a stopped node finds is what mounts asked; its peers' news come behind. */
static void happen_wake(struct world *w, uint32_t id)
{
    if (w->nodes[id].role == REPLICA_LEADER && !w->quiet && !w->options.scripted) {
        (void)read_from(w, id);
        propose_to(w, id);
        (void)read_from(w, id);
    }
}

static void happen_propose(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        bool runs = n->up && w->now >= n->paused_until;
        if (runs && n->role == REPLICA_LEADER && !w->quiet) {
            if (chance(w, 30)) {
                (void)read_from(w, id);
            }
            propose_to(w, id);
        }
    }
    time_us gap = w->healed ? 150000 : 500 + below(w, 30000);
    plan(w, (struct happening){.at = w->now + gap, .what = WHAT_PROPOSE});
}

static void happen(struct world *w, struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    bool mine = h->life == n->life && n->up;
    switch (h->what) {
    case WHAT_TICK:
        if (mine && n->wake_at == h->at) {
            n->wake_at = 0;
            step(w, h->node, (struct replica_event){.kind = REPLICA_TICK});
        }
        break;
    case WHAT_MESSAGE:
        if (mine) {
            happen_message(w, h);
        }
        break;
    case WHAT_LINK:
        if (h->flag || (mine && !reachable(w, h->node, h->peer))) {
            link_settle(w, h->node, h->peer);
        }
        break;
    case WHAT_FLUSHED:
        if (mine) {
            uint64_t seq = n->flushing_seq;
            n->flushing = false;
            if (w->options.bug != BUG_FORGETS_SYNC || w->healed || chance(w, 50)) {
                flush_upto(w, h->node, seq);
            }
            step(w, h->node, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {seq}});
            if (n->pending.count > 0 && n->pending.items[n->pending.count - 1].seq > seq) {
                flush_begin(w, h->node);
            }
        }
        break;
    case WHAT_APPLY:
        if (mine) {
            happen_apply(w, h->node);
        }
        break;
    case WHAT_ENSURE:
        if (mine) {
            happen_ensure(w, h);
        }
        break;
    case WHAT_PULL:
        if (mine) {
            happen_pull(w, h->node);
        }
        break;
    case WHAT_SNAPSHOT:
        happen_snapshot(w, h);
        break;
    case WHAT_INSTALLED:
        if (mine) {
            happen_installed(w, h->node, h->number);
        }
        break;
    case WHAT_PROPOSE:
        happen_propose(w);
        break;
    case WHAT_FAULT:
        if (!w->healed) {
            happen_fault(w);
            check_leaders(w);
        }
        break;
    case WHAT_RESTART:
        if (!n->up) {
            node_start(w, h->node);
        }
        break;
    case WHAT_WAKE:
        if (mine) {
            happen_wake(w, h->node);
        }
        break;
    }
}

/* What a stopped node would have to do itself waits until it runs again; timers come after input
 * (RULES E5). */
static bool put_off(struct world *w, struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    bool own = h->what == WHAT_TICK || h->what == WHAT_MESSAGE || h->what == WHAT_FLUSHED ||
               h->what == WHAT_APPLY || h->what == WHAT_ENSURE || h->what == WHAT_PULL ||
               h->what == WHAT_INSTALLED;
    if (!own || !n->up || w->now >= n->paused_until) {
        return false;
    }
    h->at = n->paused_until + (h->what == WHAT_TICK);
    if (h->what == WHAT_TICK && h->life == n->life && n->wake_at != 0) {
        n->wake_at = h->at;
    }
    plan(w, *h);
    return true;
}

static void run_until(struct world *w, time_us until)
{
    while (w->result.complaint == NULL && w->heap.count > 0 && w->heap.items[0].at <= until) {
        struct happening h = next_happening(w);
        w->now = h.at;
        if (put_off(w, &h)) {
            continue;
        }
        happen(w, &h);
        bytes_writer_done(&h.control);
        blob_unref(h.bulk);
    }
    w->now = until;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void world_init(struct world *w, const struct cluster_options *options)
{
    w->options = *options;
    w->nodes_count = options->copies + options->witnesses;
    w->faults = (w->nodes_count - 1) / 2;
    w->rng = options->seed * 0x9e3779b97f4a7c15u + 1;
    w->now = 1000000;
    w->lossy = chance(w, 30);
    w->reordering = chance(w, 20);
    struct member_set members;
    member_set_init(&members);
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        member_set_put(&members, id, id <= options->copies ? MEMBER_COPY : MEMBER_WITNESS, id);
    }
    bool short_logs = chance(w, 40), lease = chance(w, 70);
    if (options->scripted) {
        w->lossy = w->reordering = short_logs = false;
        lease = true;
    }
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        n->ballot = ballot_config_default(id, &members);
        n->ballot.leader_lease = lease;
        n->config = (struct replica_config){.self = id,
                                            .members = members,
                                            .ballot = &n->ballot,
                                            .keep_entries = short_logs ? 30 : 0,
                                            .peer_bytes = 2000,
                                            .append_bytes = 1000,
                                            .inline_bytes = 500,
                                            .trace = {.line = trace_line, .ctx = w}};
        n->witness = id > options->copies;
        n->flush_us = 400;
        n->clock_offset = below(w, 100 * TIME_S);
        n->clock_ppm = (int64_t)below(w, 2001) - 1000;
    }
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        node_start(w, id);
    }
    if (!options->scripted) {
        plan(w, (struct happening){.at = w->now + 500000, .what = WHAT_PROPOSE});
        plan(w, (struct happening){.at = w->now + 1000000, .what = WHAT_FAULT});
    }
}

static void heal(struct world *w)
{
    w->healed = true;
    memset(w->cut, 0, sizeof(w->cut));
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        w->nodes[id].flush_us = 400;
        struct replica_status s;
        if (w->nodes[id].up) {
            replica_status(w->nodes[id].replica, &s);
            if (s.stopping) {
                node_crash(w, id); /* SIGTERM ends in an exit */
            }
        }
        if (!w->nodes[id].up) {
            node_start(w, id);
        }
    }
    for (uint32_t a = 1; a <= w->nodes_count; a++) {
        for (uint32_t b = a + 1; b <= w->nodes_count; b++) {
            if (!w->told_up[a][b] || !w->told_up[b][a]) {
                link_settle(w, a, b);
            }
        }
    }
}

/* Everything healed: one leader, all copies equal and whole, witnesses empty. */
static void check_settled(struct world *w)
{
    uint32_t leaders = 0;
    uint64_t commit = 0;
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        leaders += replica_role(w->nodes[id].replica) == REPLICA_LEADER;
        commit = commit > replica_commit(w->nodes[id].replica)
                     ? commit
                     : replica_commit(w->nodes[id].replica);
    }
    if (leaders != 1) {
        complain(w, "no single leader after healing", "leaders=%u", leaders);
    }
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        if (n->witness) {
            for (size_t i = 0; i < n->store.count; i++) {
                uint64_t index = n->store.items[i].index;
                if (index != 0 &&
                    index <= commit) { /* above it: of an entry that was overwritten */
                    complain(w, "a witness keeps bytes although all copies are whole (B6)",
                             "n%u index=%" PRIu64 " commit=%" PRIu64, id, index, commit);
                }
            }
            continue;
        }
        if (n->applied.count != commit) {
            complain(w, "a copy does not catch up", "n%u applied=%zu commit=%" PRIu64, id,
                     n->applied.count, commit);
        }
        if (n->missing.count > 0) {
            complain(w, "bytes stay missing", "n%u missing=%zu", id, n->missing.count);
        }
    }
}

/* The state machines agree: every applied list is a prefix of what was committed. */
static void check_applied(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        for (size_t i = 0; i < w->nodes[id].applied.count; i++) {
            if (i >= w->committed.count ||
                w->nodes[id].applied.items[i] != entry_id(w->committed.items[i])) {
                complain(w, "applied states differ", "n%u index=%zu", id, i + 1);
                return;
            }
        }
    }
}

static void world_done(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        node_crash(w, id);
        disk_cut(n, n->base_index + 1);
        vec_done(&n->log);
        vec_done(&n->pending);
        vec_done(&n->store);
        vec_done(&n->missing);
        vec_done(&n->applied);
        vec_done(&n->ensures);
    }
    while (w->heap.count > 0) {
        struct happening h = vec_pop(&w->heap);
        bytes_writer_done(&h.control);
        blob_unref(h.bulk);
    }
    while (w->committed.count > 0) {
        entry_unref(vec_pop(&w->committed));
    }
    vec_done(&w->heap);
    vec_done(&w->committed);
    vec_done(&w->dead_ids);
    vec_done(&w->ticket_ids);
    vec_done(&w->reads);
    replica_update_done(&w->update);
}

static struct world *world_new(const struct cluster_options *options)
{
    struct world *w = xcalloc(1, sizeof(*w));
    world_init(w, options);
    return w;
}

static void check_everything(struct world *w)
{
    if (w->result.complaint == NULL) {
        check_settled(w);
        check_all_durable(w, "at the end");
        check_applied(w);
        check_leaders(w);
    }
}

static struct cluster_result world_end(struct world *w)
{
    w->result.committed = w->committed.count;
    struct cluster_result result = w->result;
    world_done(w);
    free(w);
    return result;
}

struct cluster_result cluster_run(const struct cluster_options *options)
{
    struct world *w = world_new(options);
    for (uint32_t part = 0; part < 4; part++) {
        run_until(w, w->now + options->faults_us / 4);
        check_all_durable(w, "during faults");
    }
    heal(w);
    run_until(w, w->now + 4000000);
    uint64_t before = w->committed.count;
    run_until(w, w->now + 4000000);
    w->quiet = true;
    run_until(w, w->now + 2000000);
    if (w->committed.count < before + 3) {
        complain(w, "no progress after healing", "committed=%zu", w->committed.count);
    }
    check_everything(w);
    return world_end(w);
}

/* ---- stories --------------------------------------------------------------------------------- */

struct world *cluster_new(uint32_t copies, uint32_t witnesses, uint64_t seed)
{
    struct cluster_options options = {.copies = copies,
                                      .witnesses = witnesses,
                                      .seed = seed,
                                      .scripted = true,
                                      .trace = getenv("TALLY_TRACE") != NULL};
    return world_new(&options);
}

struct cluster_result cluster_end(struct world *w)
{
    heal(w);
    run_until(w, w->now + 8 * TIME_S); /* longer than a draft lasts (RULES B4) */
    check_everything(w);
    return world_end(w);
}

void cluster_pass(struct world *w, time_us length)
{
    run_until(w, w->now + length);
}

time_us cluster_now(const struct world *w)
{
    return w->now;
}

uint32_t cluster_leader(const struct world *w)
{
    uint32_t leader = 0;
    uint64_t term = 0;
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct replica_status s;
        if (!w->nodes[id].up) {
            continue;
        }
        replica_status(w->nodes[id].replica, &s);
        if (s.ready && s.term > term) {
            leader = id;
            term = s.term;
        }
    }
    return leader;
}

uint32_t cluster_await_leader(struct world *w, uint32_t other_than, time_us limit)
{
    time_us end = w->now + limit;
    while (w->now < end && w->result.complaint == NULL) {
        uint32_t leader = cluster_leader(w);
        if (leader != 0 && leader != other_than) {
            return leader;
        }
        cluster_pass(w, 1 * TIME_MS);
    }
    return 0;
}

uint64_t cluster_propose(struct world *w, uint32_t id, enum cluster_form form)
{
    return propose_form(w, id, form);
}

bool cluster_committed(const struct world *w, uint64_t op)
{
    for (size_t i = 0; i < w->committed.count; i++) {
        if (entry_id(w->committed.items[i]) == op) {
            return true;
        }
    }
    return false;
}

bool cluster_await_commit(struct world *w, uint64_t op, time_us limit)
{
    time_us end = w->now + limit;
    while (w->now < end && w->result.complaint == NULL && !cluster_committed(w, op)) {
        cluster_pass(w, 100);
    }
    return cluster_committed(w, op);
}

bool cluster_applied(const struct world *w, uint32_t id, uint64_t op)
{
    const struct node *n = &w->nodes[id];
    for (size_t i = 0; i < n->applied.count; i++) {
        if (n->applied.items[i] == op) {
            return true;
        }
    }
    return false;
}

uint64_t cluster_read(struct world *w, uint32_t id)
{
    return read_from(w, id);
}

bool cluster_read_waits(const struct world *w, uint64_t read)
{
    for (size_t i = 0; i < w->reads.count; i++) {
        if (w->reads.items[i].id == read) {
            return true;
        }
    }
    return false;
}

void cluster_ask_to_stop(struct world *w, uint32_t id)
{
    step(w, id, (struct replica_event){.kind = REPLICA_STOP});
}

void cluster_crash(struct world *w, uint32_t id)
{
    node_crash(w, id);
}

void cluster_start(struct world *w, uint32_t id)
{
    node_start(w, id);
}

void cluster_freeze(struct world *w, uint32_t id)
{
    node_pause(w, id, 3600 * TIME_S);
}

/* What waited for it comes next, one moment later. */
void cluster_thaw(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    n->paused_until = w->now;
    for (size_t i = 0; i < w->heap.count; i++) {
        struct happening *h = &w->heap.items[i];
        if (h->node == id && h->life == n->life && h->at >= w->now + 1800 * TIME_S) {
            h->at = w->now + (h->what == WHAT_TICK ? 2 : 1);
            if (h->what == WHAT_TICK) {
                n->wake_at = h->at;
            }
        }
    }
    heap_rebuild(w);
}

void cluster_cut(struct world *w, uint32_t a, uint32_t b, bool silent)
{
    w->cut[a][b] = w->cut[b][a] = true;
    if (!silent) {
        link_settle(w, a, b);
    }
}

void cluster_join(struct world *w, uint32_t a, uint32_t b)
{
    w->cut[a][b] = w->cut[b][a] = false;
    link_settle(w, a, b);
}

void cluster_slow_disk(struct world *w, uint32_t id, time_us flush)
{
    w->nodes[id].flush_us = flush;
}

bool cluster_lose_bytes(struct world *w, uint32_t id)
{
    struct node *n = &w->nodes[id];
    struct entry *e = n->log.count > 0 ? n->log.items[n->log.count - 1] : NULL;
    if (e == NULL || e->blocks_count == 0) {
        return false;
    }
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        struct held *h = store_find(n, e->blocks[i].name.n);
        if (h != NULL) {
            vec_remove(&n->store, (size_t)(h - n->store.items));
        }
        if (!n->witness) {
            missing_add(n, e->blocks[i].name.n);
        }
    }
    n->log.items[n->log.count - 1] = entry_without_bytes(e);
    entry_unref(e);
    return true;
}

const struct replica *cluster_replica(const struct world *w, uint32_t id)
{
    return w->nodes[id].replica;
}

size_t cluster_blocks_held(const struct world *w, uint32_t id)
{
    return w->nodes[id].store.count;
}

size_t cluster_blocks_missing(const struct world *w, uint32_t id)
{
    return w->nodes[id].missing.count;
}

const char *cluster_check(struct world *w)
{
    check_all_durable(w, "in a story");
    check_applied(w);
    check_leaders(w);
    return w->result.complaint;
}

void cluster_damage(struct world *w, enum cluster_damage damage)
{
    struct node *n = &w->nodes[1];
    switch (damage) {
    case DAMAGE_BLOCK_LOST:
        n->store.count = 0;
        break;
    case DAMAGE_LOG_LOST:
        disk_cut(n, n->base_index + 1);
        break;
    case DAMAGE_APPLIED_DIFFERS:
        n->applied.items[n->applied.count - 1]++;
        break;
    case DAMAGE_COMMIT_DIFFERS:
        entry_unref(w->committed.items[0]);
        w->committed.items[0] = entry_new(77, 1, ENTRY_NOOP, NULL, NULL, 0, NULL);
        break;
    case DAMAGE_READ_IS_STALE:
        w->acknowledged += 1000;
        break;
    }
}
