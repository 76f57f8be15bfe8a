/* What a node may forget: RULES B6, B7, B12, S4.
 *
 * The state of a copy names blocks. Each is held, or the copy knows that it is missing and fetches
 * it: when the copy is opened, for drops that are not durable must not have taken anything from the
 * state that is; and at the end. Blocks dropped outside of apply are named by nothing, neither by
 * the state nor by an entry that is still to be applied. What a witness demotes every copy has, or
 * knows to be dead. */
#include "node/internal.h"
#include "repl/base/map.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/disk.h"

static struct map
    dead_names; /* hashes of the names of blocks that some copy, by applying, saw die */

void check_blocks_start(void)
{
    map_done(&dead_names);
    map_init(&dead_names);
}

static unsigned long long n_of(uint64_t number)
{
    return (unsigned long long)number;
}

/* ---- facts ----------------------------------------------------------------------------------- */

void check_blocks_named(uint32_t node, struct block_name name, bool held, bool missing)
{
    if (!held && !missing)
        sim_complain("blocks",
                     "n%u's state names block %llu.%llu, which it neither holds nor "
                     "misses (RULES B7, S4)",
                     node, n_of(name.session), n_of(name.n));
}

void check_blocks_freed(uint32_t node, struct block_name name, bool named, uint64_t entry)
{
    if (named || entry)
        sim_complain("blocks", "n%u drops block %llu.%llu, which %s %llu names (RULES B12)", node,
                     n_of(name.session), n_of(name.n), named ? "a file at index" : "entry",
                     n_of(entry));
}

void check_blocks_demoted(uint32_t witness, struct block_name name, uint32_t copy, bool held,
                          bool dead)
{
    if (!held && !dead)
        sim_complain("blocks", "n%u demotes block %llu.%llu, which n%u lacks (RULES B6)", witness,
                     n_of(name.session), n_of(name.n), copy);
}

/* ---- what a node shows ----------------------------------------------------------------------- */

static bool see_named(void *ctx, const struct block_ref *ref)
{
    struct process *p = ctx;
    check_blocks_named(p->id, ref->name, disk_written_block(disk_of(p->id), ref),
                       store_is_missing(p->node->store, ref->name));
    return !sim_failed();
}

static void see_state(struct process *p)
{
    if (p->node && p->node->state)
        fs_each_block(p->node->state, see_named, p);
}

void check_blocks_opened(struct process *p)
{
    see_state(p);
}

void check_blocks_rest(void)
{
    for (uint32_t id = 1; id <= process_nodes(); id++)
        if (process_of(id)->up)
            see_state(process_of(id));
}

/* The entry above the applied index that names it, 0: none. */
static uint64_t entry_naming(const struct node *n, struct block_name name)
{
    for (uint64_t i = n->applied + 1; i <= replica_last_index(n->replica); i++) {
        const struct entry *e = replica_entry(n->replica, i);
        for (uint32_t k = 0; e && k < e->blocks_count; k++)
            if (block_name_equal(e->blocks[k].name, name))
                return i;
    }
    return 0;
}

void check_blocks_died(struct block_name name)
{
    (void)map_put(&dead_names, block_name_hash(name), &dead_names);
}

void check_blocks_drop(uint32_t node, struct block_name name)
{
    const struct node *n = process_of(node)->node;
    if (!n || !n->state || !n->replica || !n->replica_wake)
        return;
    bool named = fs_block_named(n->state, name, NULL);
    check_blocks_freed(node, name, named, named ? n->applied : entry_naming(n, name));
}

/* Some copy has seen its death, be it in an earlier life. One that lost that with a crash does not
 * need the bytes either: it applies the death again before it serves (RULES B7). */
static bool is_dead(struct block_name name, uint64_t index)
{
    if (map_get(&dead_names, block_name_hash(name)))
        return true;
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        const struct node *n = process_of(id)->node;
        if (n && n->state && n->applied >= index && !fs_block_named(n->state, name, NULL))
            return true;
    }
    return false;
}

void check_blocks_demote(uint32_t witness, const struct block_ref *ref, uint64_t index)
{
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        const struct process *p = process_of(id);
        if (p->gone || !p->node || !p->node->state || disk_spoilt(disk_of(id), ref->name))
            continue;
        bool held = disk_written_block(disk_of(id), ref);
        check_blocks_demoted(witness, ref->name, id, held, held || is_dead(ref->name, index));
    }
}
