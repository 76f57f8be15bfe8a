/* The log: what is committed is the same everywhere for ever, and its bytes are on f+1 stores.
 *
 * The first node that counts an index as committed makes it true for the rest of the run. At that
 * moment f+1 stores must hold the entry and every byte it names as a power cut would leave them
 * (RULES B3). A store that the nemesis has destroyed since, or a block that it spoilt, counts as
 * held: the fault atlas keeps such losses below f+1.
 * Sources: Ongaro 2014, Fig. 3.2 (Log Matching, State Machine Safety); PROTOCOL 1.9 E3, E4, E6. */
#include <string.h>

#include "node/internal.h"
#include "repl/base/hash.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/disk.h"

#define DRAFT_MEMORY (20 * TIME_S) /* what a draft sent may be under way for so long */

struct committed {
    uint64_t term, hash;
    uint64_t by; /* term of the leader that committed it */
};

/* As of the node's last turn. */
struct log_seen {
    uint64_t base, commit, durable, last;
    uint64_t led_term;           /* 0: it did not lead */
    uint64_t match[CHECK_NODES]; /* of this leadership */
    uint64_t match_term;
    uint32_t draft_mask;
};

static struct {
    vec_of(struct committed) committed; /* of index i: items[i - 1] */
    struct log_seen nodes[CHECK_NODES];
    time_us drafted_at[CHECK_NODES]; /* a leader had this witness drafted then */
} state;

void check_log_start(void)
{
    vec_done(&state.committed);
    memset(&state, 0, sizeof state);
}

void check_log_opened(uint32_t node)
{
    memset(&state.nodes[node], 0, sizeof state.nodes[node]);
    state.nodes[node].last = disk_durable_last(disk_of(node)); /* of an earlier life: seen then */
}

uint64_t check_log_last(void)
{
    return state.committed.count;
}

/* ---- facts ----------------------------------------------------------------------------------- */

void check_log_committed(uint32_t node, uint64_t index, uint64_t term, uint64_t hash,
                         uint32_t holders, uint64_t by)
{
    if (index <= state.committed.count) {
        const struct committed *c = &state.committed.items[index - 1];
        if (c->term != term || c->hash != hash)
            sim_complain(
                "log", "n%u has another entry of term %llu committed at %llu, was term %llu", node,
                (unsigned long long)term, (unsigned long long)index, (unsigned long long)c->term);
        return;
    }
    if (index != state.committed.count + 1) {
        sim_complain("log", "n%u commits %llu, and nobody committed %llu", node,
                     (unsigned long long)index, (unsigned long long)index - 1);
        return;
    }
    uint32_t voters = sim_swarm()->copies + sim_swarm()->witnesses;
    if (quorum_count(holders) < quorum_majority(voters))
        sim_complain("log", "n%u commits %llu held with its bytes by %#x alone (RULES B3)", node,
                     (unsigned long long)index, holders);
    vec_push(&state.committed, (struct committed){.term = term, .hash = hash, .by = by});
}

void check_log_acknowledged(uint32_t follower, uint64_t index, bool durable)
{
    if (!durable)
        sim_complain("log", "n%u acknowledged %llu, which is not durable there (RULES B3)",
                     follower, (unsigned long long)index);
}

void check_log_uncommitted(uint32_t node, uint64_t index, bool bytes_held)
{
    if (!bytes_held)
        sim_complain("log", "n%u has the uncommitted entry %llu without its bytes (RULES B3)", node,
                     (unsigned long long)index);
}

void check_log_undrafted(uint32_t witness, uint64_t index)
{
    sim_complain("log", "n%u, not drafted, got the uncommitted entry %llu with blocks (RULES B4)",
                 witness, (unsigned long long)index);
}

/* "Only log entries from the leader's current term are committed by counting replicas" (Ongaro
 * 2014, 3.6.2; V8): those before one follow it. */
void check_log_counted(uint32_t node, uint64_t index, uint64_t term, uint64_t by)
{
    if (term != by)
        sim_complain("log", "n%u, leader of term %llu, commits up to %llu, of term %llu (V8)", node,
                     (unsigned long long)by, (unsigned long long)index, (unsigned long long)term);
}

/* Leader Completeness (PROTOCOL 1.9 E4): every entry committed in an earlier term. What a leader of
 * a later term committed meanwhile says nothing about this one: it is deposed already. */
void check_log_elected(uint32_t node, uint64_t term, const struct replica *r)
{
    uint64_t upto = state.committed.count;
    while (upto && state.committed.items[upto - 1].by >= term)
        upto--;
    uint64_t from = r->commit > r->log.base_index ? r->commit : r->log.base_index;
    for (uint64_t i = from + 1; i <= upto; i++)
        if (log_term(&r->log, i) != state.committed.items[i - 1].term) {
            sim_complain("log", "n%u leads term %llu without the committed entry %llu", node,
                         (unsigned long long)term, (unsigned long long)i);
            return;
        }
}

/* ---- what a node shows ------------------------------------------------------------------------
 */

static uint64_t entry_hash(const struct entry *e)
{
    uint64_t seed = e->kind ^ (e->payload ? hash64(e->payload->data, e->payload->size) : 0);
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        const struct block_ref *b = &e->blocks[i];
        uint64_t words[4] = {b->name.session, b->name.n, b->size, b->digest};
        seed = hash64_seed(words, sizeof words, seed);
    }
    return seed;
}

static bool holds_bytes(const struct disk *d, const struct entry *e)
{
    for (uint32_t i = 0; i < e->blocks_count; i++)
        if (!disk_durable_block(d, &e->blocks[i]) && !disk_damaged(d, e->blocks[i].name))
            return false;
    return true;
}

/* Committed and applied in one turn with what makes its blocks dead again (RULES B12). */
static bool dead_already(const struct node *n, const struct entry *e)
{
    for (uint32_t i = 0; i < e->blocks_count; i++)
        if (!n || !n->state || n->applied < e->index ||
            fs_block_named(n->state, e->blocks[i].name, NULL))
            return false;
    return true;
}

static uint32_t holders_of(const struct entry *e)
{
    uint32_t holders = 0;
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        const struct disk *d = disk_of(id);
        if (process_of(id)->gone || (disk_durable_entry(d, e->index, e->term) &&
                                     (holds_bytes(d, e) || dead_already(process_of(id)->node, e))))
            holders |= 1u << id;
    }
    return holders;
}

static void see_commits(uint32_t node, struct log_seen *seen, const struct replica *r)
{
    if (r->commit < seen->commit)
        sim_complain("log", "n%u: commit goes back from %llu to %llu", node,
                     (unsigned long long)seen->commit, (unsigned long long)r->commit);
    bool led = r->role == REPLICA_LEADER && seen->led_term == r->role_term;
    seen->led_term = r->role == REPLICA_LEADER ? r->role_term : 0;
    if (r->commit == seen->commit)
        return;
    bool installed = r->log.base_index > seen->base && r->commit == r->log.base_index;
    if (led && !installed) /* a snapshot tells of commits that another leader made */
        check_log_counted(node, r->commit, log_term(&r->log, r->commit), r->role_term);
    uint64_t from = seen->commit > r->log.base_index ? seen->commit : r->log.base_index;
    for (uint64_t i = from + 1; i <= r->commit && !sim_failed(); i++) {
        const struct entry *e = log_entry(&r->log, i);
        if (e)
            check_log_committed(node, i, e->term, entry_hash(e),
                                i > state.committed.count ? holders_of(e) : 0, r->ballot.term);
    }
    if (r->commit > state.committed.count && !sim_failed())
        sim_complain("log", "n%u counts %llu as committed, nobody committed more than %llu", node,
                     (unsigned long long)r->commit, (unsigned long long)state.committed.count);
    seen->commit = r->commit;
}

/* Entries durable since the last turn and not known to be committed. */
static void see_durable(uint32_t node, struct log_seen *seen, const struct replica *r)
{
    uint64_t from = seen->durable > state.committed.count ? seen->durable : state.committed.count;
    for (uint64_t i = from + 1; i <= r->log.durable; i++) {
        const struct entry *e = log_entry(&r->log, i);
        if (e && e->blocks_count)
            check_log_uncommitted(node, i, holds_bytes(disk_of(node), e));
    }
    seen->durable = r->log.durable;
}

/* RULES B4. What a leader that had it drafted sent may arrive when it is drafted no more. */
static void see_undrafted(uint32_t node, struct log_seen *seen, const struct replica *r)
{
    uint32_t self = 1u << node;
    bool drafted = ((seen->draft_mask | r->draft_mask) & self) ||
                   (state.drafted_at[node] && sim_now() < state.drafted_at[node] + DRAFT_MEMORY);
    uint64_t from = seen->last > state.committed.count ? seen->last : state.committed.count;
    for (uint64_t i = from + 1; !drafted && i <= r->log.last; i++) {
        const struct entry *e = log_entry(&r->log, i);
        if (e && e->blocks_count)
            check_log_undrafted(node, i);
    }
    seen->draft_mask = r->draft_mask;
}

/* An acknowledgement overtaken by a newer term may tell of entries replaced since. */
static void see_match(const struct log_seen *seen, const struct replica *r, uint32_t follower)
{
    uint64_t match = r->peers[follower].match, term;
    uint32_t vote;
    const struct disk *d = disk_of(follower);
    if (match == seen->match[follower] || process_of(follower)->gone)
        return;
    disk_durable_vote(d, &term, &vote);
    if (term > r->role_term)
        return;
    bool durable = disk_durable_last(d) >= match;
    if (durable && match > state.committed.count && match > r->log.base_index)
        durable = disk_durable_entry(d, match, log_term(&r->log, match));
    check_log_acknowledged(follower, match, durable);
}

static void see_matches(struct log_seen *seen, const struct replica *r)
{
    if (seen->match_term != r->role_term) {
        memset(seen->match, 0, sizeof seen->match);
        seen->match_term = r->role_term;
    }
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        if (id == r->self)
            continue;
        see_match(seen, r, id);
        seen->match[id] = r->peers[id].match;
        if (r->draft_mask & 1u << id)
            state.drafted_at[id] = sim_now();
    }
}

void check_log_turn(struct process *p)
{
    const struct replica *r = p->node->replica;
    struct log_seen *seen = &state.nodes[p->id];
    see_commits(p->id, seen, r);
    see_durable(p->id, seen, r);
    if (r->witness && r->role == REPLICA_FOLLOWER)
        see_undrafted(p->id, seen, r);
    if (r->role == REPLICA_LEADER || r->role == REPLICA_RESCUE_LEADER)
        see_matches(seen, r);
    seen->base = r->log.base_index;
    seen->last = r->log.last;
}
