/* Starts and ends of the checkers, for check.c. */
#ifndef TALLY_TESTS_SIM_CHECK_INTERNAL_H
#define TALLY_TESTS_SIM_CHECK_INTERNAL_H

#include "tests/sim/check.h"

/* Nodes are numbered from 1. */
enum { CHECK_NODES = SIM_NODES_MAX + 1 };

/* Each forgets the run before. `_opened`: a new life of a node begins. */
void check_election_start(void);
void check_election_opened(uint32_t node);
void check_election_died(uint32_t node);
void check_log_start(void);
void check_log_opened(uint32_t node);
void check_state_start(void);
void check_state_opened(uint32_t node);
void check_blocks_opened(struct process *p);
void check_leases_start(void);
void check_blocks_start(void);

#endif
