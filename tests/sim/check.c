/* Hooks of the run handed on to the checkers that look into the nodes. */
#include "tests/sim/check.h"

#include "node/internal.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/check_mounts.h"

void checks_start(void)
{
    check_election_start();
    check_log_start();
    check_state_start();
    check_leases_start();
    check_mounts_start();
    check_queue_start();
    check_blocks_start();
}

void checks_end(void)
{
    checks_start(); /* gives the memory back */
}

void check_node_turn(struct process *p)
{
    if (!p->node || !p->node->replica || !p->node->replica->started)
        return;
    check_log_turn(p); /* first: the others ask it what is committed */
    check_election_turn(p);
    check_state_turn(p);
    check_leases_turn(p);
}

void check_node_opened(struct process *p)
{
    check_election_opened(p->id);
    check_log_opened(p->id);
    check_state_opened(p->id);
    check_blocks_opened(p);
}

void check_node_fell(struct process *p)
{
    if (p->node->replica && p->node->replica->started)
        check_election_promise(p);
}

void check_node_died(struct process *p)
{
    check_election_died(p->id);
}
