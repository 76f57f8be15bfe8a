#include "election/quorum.h"

uint32_t quorum_count(node_mask set)
{
    return (uint32_t)__builtin_popcount(set);
}

uint32_t quorum_faults(uint32_t voters)
{
    return voters == 0 ? 0 : (voters - 1) / 2;
}

uint32_t quorum_majority(uint32_t voters)
{
    return voters / 2 + 1;
}

bool quorum_reached(node_mask acks, node_mask members)
{
    return quorum_count(acks & members) >= quorum_majority(quorum_count(members));
}

bool quorum_lost(node_mask refusals, node_mask members)
{
    return !quorum_reached(members & ~refusals, members);
}

/* Collects the values of `members` in descending order; returns how many. Insertion sort: at most
 * 31 values, nearly always three or five. */
static uint32_t sorted_descending(uint64_t out[NODE_SLOTS], const uint64_t values[NODE_SLOTS],
                                  node_mask members)
{
    uint32_t count = 0;

    quorum_each(id, members) {
        uint32_t at;

        for (at = count; at > 0 && out[at - 1] < values[id]; at--)
            out[at] = out[at - 1];
        out[at] = values[id];
        count++;
    }
    return count;
}

uint64_t quorum_value(const uint64_t values[NODE_SLOTS], node_mask members)
{
    uint64_t sorted[NODE_SLOTS];
    uint32_t count = sorted_descending(sorted, values, members);

    return count == 0 ? 0 : sorted[quorum_majority(count) - 1];
}

uint64_t quorum_ready_at(const uint64_t at[NODE_SLOTS], node_mask ready, node_mask members)
{
    uint64_t sorted[NODE_SLOTS];
    uint32_t needed = quorum_majority(quorum_count(members));
    uint32_t count = sorted_descending(sorted, at, ready & members);

    /* The needed-th smallest of `count` values, which are sorted from the largest. */
    return count < needed ? UINT64_MAX : sorted[count - needed];
}
