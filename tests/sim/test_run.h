/* A run for the tests of checkers: time that is set by hand, nodes that are filled in by hand,
 * disks that say what the test wants, and the first complaint kept. */
#ifndef TALLY_TESTS_SIM_TEST_RUN_H
#define TALLY_TESTS_SIM_TEST_RUN_H

#include "tests/sim/process.h"

struct test_run {
    time_us now;
    struct sim_swarm swarm;
    struct process processes[SIM_NODES_MAX + 1];
    uint32_t nodes;
    char checker[32], detail[512]; /* of the first complaint; empty: none */
    /* What every disk says. */
    uint32_t durable_entry, durable_block; /* masks of nodes */
    uint64_t durable_last[SIM_NODES_MAX + 1];
    uint64_t missing;           /* blocks 11.1 and so on */
    const struct store *holder; /* of them all; NULL: none */
    struct kv *kv;              /* of every store */
};
extern struct test_run run;

/* 2C+1W, all disks hold everything. */
void test_run_start(void);
/* The complaint was made by this checker and has these words; then it is forgotten. */
void expect_complaint(const char *checker, const char *words);
void expect_silence(void);

#endif
