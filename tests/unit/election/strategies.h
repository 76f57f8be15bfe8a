/* Nodes that run one strategy without ballots, as in the book: no faults but one dead leader, every
 * message takes one step, every answer that is waited for comes or its time runs out. Counts what
 * is sent, to hold against the formulas of PROTOCOL 2.2. */
#ifndef TESTS_ELECTION_STRATEGIES_H
#define TESTS_ELECTION_STRATEGIES_H

#include "election/strategy.h"

enum { BOOK_NODES_MAX = 1000 };

/* Node 1, the first in order, led. It has died and all know it; the next few may be dead as well.
 */
struct book {
    const struct strategy_ops *ops;
    uint32_t nodes, dead;
    uint64_t now;
    uint32_t leader;  /* 0: none yet */
    uint32_t leaders; /* who took the lead, one after the other; more than one is a split brain */
    uint64_t sent[BALLOT_MSG_KINDS];
    uint32_t followers; /* who has heard of the leader */
};

/* The first `dead` nodes are dead. An election that node `initiator` begins, or all living nodes at
 * once when it is 0. `candidates` may lead, the later nodes are ordinary. */
void book_elect(struct book *b, const struct strategy_ops *ops, uint32_t nodes, uint32_t candidates,
                uint32_t dead, uint32_t initiator);
uint64_t book_total(const struct book *b);

#endif
