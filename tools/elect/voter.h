/* A node that votes: the shipping ballot layer under a small id of its own ("slot"), with a
 * strategy that hands every event on to the one over all nodes. */
#ifndef TALLY_TOOLS_ELECT_VOTER_H
#define TALLY_TOOLS_ELECT_VOTER_H

#include "election/ballot.h"
#include "tools/elect/node.h"

enum { SLOT_OUTSIDE = NODE_ID_MAX }; /* stands for all nodes that do not vote */

struct voter {
    uint32_t slot; /* 1..voters, the first in order is 1 */
    struct ballot ballot;
    struct ballot_update out;
    uint64_t durable_term;
    uint32_t durable_vote;                 /* a slot */
    uint64_t synced_until;                 /* writes complete in order */
    const struct ballot_message *incoming; /* while the ballot layer is given it */
};

/* Forgets what was durable: a new run. */
void voter_reset(struct voter *v, uint32_t slot);
void voter_start(struct elect_node *n);
void voter_packet(struct elect_node *n, const struct packet *p);
void voter_timer(struct elect_node *n);
uint64_t voter_wake_at(const struct elect_node *n);

#endif
