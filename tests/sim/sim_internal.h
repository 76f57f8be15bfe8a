/* What run.c, sim.c, process.c, net.c and nemesis.c share and nobody else uses. */
#ifndef TALLY_TESTS_SIM_SIM_INTERNAL_H
#define TALLY_TESTS_SIM_SIM_INTERNAL_H

#include "tests/sim/process.h"

void sim_begin(const struct sim_options *options);
/* Until this moment is through, or `done` says so. */
void sim_run_until(time_us until, bool (*done)(void));
struct sim_result sim_end(void);

/* One planned moment. `process` NULL: the world's own. */
struct sim_event {
    sim_fn *fn;
    void *ctx;
    uint64_t arg;
    struct process *process;
    uint32_t life;
};

void sim_plan(time_us at, const struct sim_event *event);
/* Carries out an event of a process: in its present life, when it is not frozen, and ready for its
 * fall. */
void process_event(const struct sim_event *event);
/* Runs fn within the process, at once; it is up and not frozen. False: it fell. */
bool process_enter(struct process *p, sim_fn *fn, void *ctx, uint64_t arg);
/* Whose code runs; 0: the world's. */
uint32_t process_current(void);

void process_make_all(void);
/* What a node said last with log_error(): the reason of its fall. */
void process_last_words(const char *text);

/* Its machine has no power: nobody answers there. */
bool process_powerless(const struct process *p);

/* The node's process ends itself for what its disk said (a few microseconds later). */
void process_io_death(uint32_t node, const char *what);

/* A machine that was without power is back: peers' streams to its earlier life are reset. */
void net_machine_up(struct process *p);
/* A process was thawed: what waits for it comes. */
void net_thawed(struct process *p);

/* The nemesis did something by which a node may have to end itself. */
bool nemesis_explains_fall(uint32_t node);

#endif
