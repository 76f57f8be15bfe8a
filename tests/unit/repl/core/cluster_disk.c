/* Its disks: block stores and journals that lose what was not flushed. */
#include <inttypes.h>
#include <stdlib.h>

#include "tests/unit/repl/core/cluster_internal.h"

/* ---- block stores ---------------------------------------------------------------------------- */

struct held *store_find(struct node *n, uint64_t block)
{
    for (size_t i = n->store.count; i > 0; i--) { /* new ones are asked for most */
        if (n->store.items[i - 1].n == block) {
            return &n->store.items[i - 1];
        }
    }
    return NULL;
}

void store_put(struct node *n, uint64_t block, bool synced)
{
    struct held *h = store_find(n, block);
    if (h == NULL) {
        vec_push(&n->store, (struct held){.n = block, .synced = synced});
    } else {
        h->synced = h->synced || synced;
    }
}

bool reachable(const struct world *w, uint32_t a, uint32_t b)
{
    return w->nodes[a].up && w->nodes[b].up && !w->cut[a][b];
}

/* Gets a block from whoever has it and can be reached. */
bool fetch(struct world *w, uint32_t id, uint64_t block, bool synced)
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

void demote(struct node *n)
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

bool missing_del(struct node *n, uint64_t block)
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

struct entry *disk_entry(const struct node *n, uint64_t index)
{
    return index > n->base_index && index <= disk_last(n) ? n->log.items[index - n->base_index - 1]
                                                          : NULL;
}

void disk_cut(struct node *n, uint64_t from)
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

void disk_forget(struct node *n, uint64_t index)
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

void disk_restart_at(struct node *n, uint64_t index, uint64_t term)
{
    disk_cut(n, n->base_index + 1);
    n->base_index = index;
    n->base_term = term;
}

void missing_add(struct node *n, uint64_t block)
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

void record_done(struct record *r)
{
    struct replica_update u = {0};
    vec_of(struct replica_effect) one = {0};
    vec_push(&one, r->effect);
    u.effects = one.items;
    u.count = one.count;
    replica_update_done(&u);
}

void flush_begin(struct world *w, uint32_t id)
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
void flush_upto(struct world *w, uint32_t id, uint64_t seq)
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
