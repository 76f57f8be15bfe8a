/* Planted bugs of the mutation build. This header is forced into every source of that build
 * (-include), so that it defines MUTANT() before election/mutant.h and repl/base/mutant.h would
 * define it as false. One mutation is active at a time, or none. */
#ifndef TALLY_TESTS_SIM_MUTANTS_H
#define TALLY_TESTS_SIM_MUTANTS_H

enum mutant {
    MUTANT_none,
#define M(name, rule, text) MUTANT_##name,
#include "tests/sim/mutants.def"
#undef M
    MUTANT_COUNT
};

extern enum mutant mutant_active;

#define MUTANT(name) (mutant_active == MUTANT_##name)

#endif
