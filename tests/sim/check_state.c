/* The namespace on the copies: PROTOCOL 1.9 E5, E6 and RULES S2.
 *
 * The hash of the state is a running sum (fs_state_hash), so it is asked after every turn that
 * applied something. Copies apply in batches of different sizes; often enough they stop at the same
 * index. */
#include <string.h>

#include "node/internal.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/disk.h"

struct hash_at {
    uint64_t lo, hi;
    uint32_t node; /* who had it first; 0: nobody yet */
};

static struct {
    vec_of(struct hash_at) hashes; /* by applied index */
    uint64_t applied[CHECK_NODES]; /* of this life */
} state;

void check_state_start(void)
{
    vec_done(&state.hashes);
    memset(&state, 0, sizeof state);
}

void check_state_opened(uint32_t node)
{
    state.applied[node] = 0;
}

void check_state_applied(uint32_t node, uint64_t index, uint64_t lo, uint64_t hi)
{
    while (state.hashes.count <= index)
        vec_push(&state.hashes, (struct hash_at){0});
    struct hash_at *h = &state.hashes.items[index];
    if (!h->node)
        *h = (struct hash_at){.lo = lo, .hi = hi, .node = node};
    else if (h->lo != lo || h->hi != hi)
        sim_complain("state", "n%u and n%u differ after index %llu", h->node, node,
                     (unsigned long long)index);
}

void check_state_synced(uint32_t node, uint64_t applied, uint64_t synced)
{
    if (applied > synced)
        sim_complain("state", "n%u applied %llu, synced is %llu (RULES S2)", node,
                     (unsigned long long)applied, (unsigned long long)synced);
}

void check_state_turn(struct process *p)
{
    const struct node *n = p->node;
    if (!n->state || n->install.from || n->applied == state.applied[p->id])
        return;
    if (n->applied < state.applied[p->id])
        sim_complain("state", "n%u: applied goes back from %llu to %llu", p->id,
                     (unsigned long long)state.applied[p->id], (unsigned long long)n->applied);
    if (n->applied > check_log_last())
        sim_complain("state", "n%u applied %llu, committed is %llu", p->id,
                     (unsigned long long)n->applied, (unsigned long long)check_log_last());
    state.applied[p->id] = n->applied;
    check_state_synced(p->id, n->applied, disk_durable_last(disk_of(p->id)));
    struct fs_hash hash = fs_state_hash(n->state);
    check_state_applied(p->id, n->applied, hash.lo, hash.hi);
}
