/* Faults: drawn by the seed, healed again, never more than the cluster must bear for good.
 *
 * The fault atlas: stores lost or spoilt beyond repair stay below f + 1, and a block's bytes are
 * spoilt on one node at a time, so any loss is a bug. Crashes, cuts and pauses are not limited. */
#ifndef TALLY_TESTS_SIM_NEMESIS_H
#define TALLY_TESTS_SIM_NEMESIS_H

#include "repl/base/block.h"
#include "tests/sim/process.h"

void nemesis_start(void);
/* No more faults; everything but a minority (it stays frozen or dead) is healed. */
void nemesis_heal(void);
/* A mount knows what another one is about to be told of: perhaps the leader dies now, and the next
 * one cannot ask it. */
void nemesis_unheard(uint32_t mount);
/* May this block's bytes be spoilt on this node? */
bool nemesis_may_spoil(uint32_t node, struct block_name name);

#endif
