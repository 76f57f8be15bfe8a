/* MUTANT(name): a planted bug. False in every build that ships. The mutation build defines it
 * before this (tests/sim/mutants.h) and so finds out whether the simulator would notice. What each
 * name stands for is in tests/sim/mutants.def. */
#ifndef TALLY_REPL_BASE_MUTANT_H
#define TALLY_REPL_BASE_MUTANT_H

#include <stdbool.h>

#ifndef MUTANT
#define MUTANT(name) false
#endif

#endif
