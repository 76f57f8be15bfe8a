/* Links that are cut, nodes that crash, start and stand still. */
#include <stdlib.h>

#include "repl/wire/codec.h"
#include "tests/unit/repl/core/cluster_internal.h"

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

void link_settle(struct world *w, uint32_t a, uint32_t b)
{
    bool up = reachable(w, a, b);
    if (up) { /* a new connection: both ends lose the old one first */
        tell_link(w, a, b, false);
        tell_link(w, b, a, false);
    }
    tell_link(w, a, b, up && w->nodes[a].up);
    tell_link(w, b, a, up && w->nodes[b].up);
}

void node_start(struct world *w, uint32_t id)
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

void node_crash(struct world *w, uint32_t id)
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
void node_pause(struct world *w, uint32_t id, time_us length)
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

void happen_fault(struct world *w)
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
