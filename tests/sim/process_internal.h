/* What the sources of processes share. */
#ifndef TALLY_TESTS_SIM_PROCESS_INTERNAL_H
#define TALLY_TESTS_SIM_PROCESS_INTERNAL_H

#include <setjmp.h>

#include "repl/base/vec.h"
#include "tests/sim/sim_internal.h"

enum { PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1 };

/* What a process needs of its machine. */
struct host {
    jmp_buf fell;
    char last_words[256];
    bool store_planned, ended, powerless;
    time_us timer;                 /* by its clock; 0: none */
    time_us timer_planned;         /* true time of the earliest planned look at it; 0: none */
    vec_of(struct sim_event) held; /* while frozen */
    uint32_t mode_seen, draft_seen;
    uint64_t applied_seen;
    uint64_t sessions_ended_seen;
    char name[8], address[16];
};

struct host *process_host(const struct process *p);
/* The true time at which its clock will show this, as it runs now. */
time_us process_true_time(const struct process *p, time_us clock);
/* A loop's timers count milliseconds. */
time_us process_rounded(const struct process *p, time_us clock);

/* process_node.c: opens the shipping node in it, with a driver's host. */
void process_start_node(struct process *p);

#endif
