/* RULES B6, B12: what a node may forget. */
#include "tests/sim/check.h"

void check_blocks_turn(struct process *p)
{
    (void)p;
}

void check_blocks_dropped(uint32_t node, struct block_name name)
{
    (void)node;
    (void)name;
}
