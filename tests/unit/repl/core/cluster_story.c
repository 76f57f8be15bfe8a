/* The same world, moved by hand. */
#include <stdlib.h>

#include "tests/unit/repl/core/cluster_internal.h"

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
