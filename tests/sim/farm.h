/* Runs many seeds in forked workers. A worker that dies (an assertion, a hang) fails its seed and
 * no other. */
#ifndef TALLY_TESTS_SIM_FARM_H
#define TALLY_TESTS_SIM_FARM_H

#include "repl/base/vec.h"
#include "tests/sim/sim.h"

enum { FARM_JOBS_MAX = 64 };

struct farm_run {
    struct sim_options options;
    bool twice; /* the second time must give the same trace hash */
    struct sim_result result;
};

struct farm {
    vec_of(struct farm_run) runs;
};

void farm_add(struct farm *farm, const struct sim_options *options, bool twice);
/* Runs all with `jobs` workers; `each` is called in the order in which they end. */
void farm_work(struct farm *farm, unsigned jobs, void (*each)(void *ctx, const struct farm_run *),
               void *ctx);
void farm_run_one(struct farm_run *run);
void farm_done(struct farm *farm);

#endif
