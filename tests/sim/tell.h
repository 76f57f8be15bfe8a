/* What tally-sim prints: violations, the command that repeats a run, and sums over all runs. */
#ifndef TALLY_TESTS_SIM_TELL_H
#define TALLY_TESTS_SIM_TELL_H

#include "tests/sim/farm.h"

/* The command that runs this again; valid until the next call. */
const char *tell_replay(const struct sim_options *o);
void tell_violation(const struct farm_run *run, bool json);
void tell_hash(const struct farm_run *run);

struct totals {
    uint64_t seeds, violations, virtual_us, events;
    struct sim_result sum;
};
void tell_add(struct totals *t, const struct sim_result *r);
void tell_counts(const struct totals *t);
void tell_totals(const struct totals *t, double took); /* seconds of real time */

#endif
