/* What writers may use, of what the nodes' stores have free (RULES B13). */
#ifndef TALLY_NODE_SPACE_H
#define TALLY_NODE_SPACE_H

#include <stdint.h>

#include "repl/core/replica.h"

struct node_space {
    uint64_t free_bytes; /* of the nodes that store data now */
    uint64_t room_bytes; /* of all nodes that may have to take what is promised */
};

/* `own` is free on the node itself. */
struct node_space node_space_least(const struct replica_status *s, uint64_t own);

#endif
