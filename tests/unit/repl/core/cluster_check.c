/* What must hold at any moment, and at the end. */
#include <inttypes.h>

#include "tests/unit/repl/core/cluster_internal.h"

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

void check_commits(struct world *w, uint32_t id)
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
void check_leaders(struct world *w)
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

void check_all_durable(struct world *w, const char *when)
{
    for (size_t i = 0; i < w->committed.count; i++) {
        check_durable(w, w->committed.items[i], when);
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
void check_applied(struct world *w)
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

void check_everything(struct world *w)
{
    if (w->result.complaint == NULL) {
        check_settled(w);
        check_all_durable(w, "at the end");
        check_applied(w);
        check_leaders(w);
    }
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
