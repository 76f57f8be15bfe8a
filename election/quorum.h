/* Quorum arithmetic over small member sets. Pure: no allocation, no I/O.
 *
 * A set is a mask: bit (1 << id) for node id 1..31. With n = 2f+1 voters every quorum here is
 * f+1 of them, which is both the majority that elects and the number of byte-holding nodes that
 * commits (RULES B3): any two such sets share a node. */
#ifndef ELECTION_QUORUM_H
#define ELECTION_QUORUM_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    NODE_ID_NONE = 0,
    NODE_ID_MAX = 31,
    NODE_SLOTS = NODE_ID_MAX + 1, /* size of an array indexed by node id; slot 0 is unused */
};

/* A set of nodes. Bit 0 is never set, because id 0 means "nobody". */
typedef uint32_t node_mask;

/* The set holding only `id`; the empty set for NODE_ID_NONE. */
static inline node_mask quorum_bit(uint32_t id)
{
    assert(id <= NODE_ID_MAX);
    return id == NODE_ID_NONE ? 0 : (node_mask)1 << id;
}

/* The lowest member of `set` above `after`, NODE_ID_NONE behind the last one. */
static inline uint32_t quorum_next(node_mask set, uint32_t after)
{
    node_mask above = after < NODE_ID_MAX ? set >> (after + 1) : 0;
    return above ? after + 1 + (uint32_t)__builtin_ctz(above) : NODE_ID_NONE;
}

/* Each member of `set`, in ascending order; `set` is looked at anew for each. */
#define quorum_each(id, set)                                                                       \
    for (uint32_t id = quorum_next(set, NODE_ID_NONE); id != NODE_ID_NONE;                         \
         id = quorum_next(set, id))

/* How many nodes are in `set`. */
uint32_t quorum_count(node_mask set);

/* f, the number of failures that `voters` members survive: floor((voters - 1) / 2), 0 for none. */
uint32_t quorum_faults(uint32_t voters);

/* Size of a strict majority: floor(voters / 2) + 1. A set of no voters has no majority, so the
 * answer 1 can never be reached by it. */
uint32_t quorum_majority(uint32_t voters);

/* True when `acks` holds a strict majority of `members`.
 * Bits of `acks` outside `members` are ignored: a removed member must not help.
 * An empty member set decides nothing. For a data quorum (RULES B3) `acks` are the byte-holders,
 * with undrafted witnesses left out by the caller (B4).
 * Source: Ongaro 2014, 3.4 (winning an election) and 3.5 (committing). */
bool quorum_reached(node_mask acks, node_mask members);

/* True when so many members have said no that the others are no majority any more, so a candidate
 * may give up this round instead of waiting for its deadline. */
bool quorum_lost(node_mask refusals, node_mask members);

/* The highest value that a majority of `members` has reached: `values[id]` is what node id has.
 * Values are log indexes (then it is the index that may be committed, Ongaro 2014, 3.5 and 3.6.2)
 * or times (then it is the youngest moment that a majority is not older than: the base of the
 * leader lease and of check-quorum, RULES E1, PROTOCOL V7).
 * 0 when `members` is empty. Source: etcd-io/raft quorum/majority.go, CommittedIndex. */
uint64_t quorum_value(const uint64_t values[NODE_SLOTS], node_mask members);

/* The earliest moment by which a majority of `members` is ready, where a member outside `ready`
 * never is and `at[id]` is the moment of one inside. UINT64_MAX when no majority is in `ready`. */
uint64_t quorum_ready_at(const uint64_t at[NODE_SLOTS], node_mask ready, node_mask members);

#endif
