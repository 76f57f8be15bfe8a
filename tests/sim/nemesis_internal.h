/* What the nemesis's sources share. */
#ifndef TALLY_TESTS_SIM_NEMESIS_INTERNAL_H
#define TALLY_TESTS_SIM_NEMESIS_INTERNAL_H

#include "tests/sim/nemesis.h"

/* nemesis.c */
/* Between all of mask `a` and all of mask `b`, both ways. */
void cut_between(uint32_t a, uint32_t b, bool cut);
void restart_after(struct process *p, time_us wait);
uint32_t nodes_mask(void);
/* A copy that leads and runs; NULL: there is none. */
struct process *leading_node(void);
bool nemesis_is_over(void);

/* nemesis_aimed.c; false: not now */
bool nemesis_hinge(void);
bool nemesis_handover_cut(void);
bool nemesis_late_answers(void);
bool nemesis_old_leader(void);
bool nemesis_short_reigns(void);
time_us nemesis_heir(uint32_t node);

#endif
