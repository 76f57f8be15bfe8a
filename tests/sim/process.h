/* Processes of a run: nodes and mounts. Each has a clock, can be frozen, killed, started again. */
#ifndef TALLY_TESTS_SIM_PROCESS_H
#define TALLY_TESTS_SIM_PROCESS_H

#include "tests/sim/sim.h"

struct node; /* node/internal.h */
struct client;
struct store;

enum process_kind { PROCESS_NODE, PROCESS_MOUNT };

/* Processes are numbered: nodes 1 .. copies + witnesses (copies first), then mounts. */
struct process {
    uint32_t id;
    enum process_kind kind;
    bool up;       /* runs (or is frozen) */
    bool frozen;   /* nothing of it runs; what arrives waits */
    bool gone;     /* its store is lost for good: it may not come back */
    bool full;     /* its disk has been filled by the nemesis */
    uint32_t life; /* counts its starts: what was planned for an earlier life is dropped */
    /* its clock: boot + (true - since) * (1000000 + rate) / 1000000 */
    time_us clock_base, clock_since;
    int32_t clock_rate_ppm;
    int64_t wall_offset_ns;
    struct node *node;   /* NODE; NULL: down */
    struct mount *mount; /* MOUNT; NULL: down (tests/sim/mount.h) */
};

/* The cluster of all of them: first bytes, the rest is zero. */
#define PROCESS_CLUSTER                                                                            \
    {                                                                                              \
        0x51, 0x4d                                                                                 \
    }

struct process *process_of(uint32_t id); /* NULL: no such process */
uint32_t process_count(void);
uint32_t process_nodes(void);                     /* ids 1 .. this are nodes */
time_us process_clock(const struct process *p);   /* BOOTTIME */
int64_t process_wall_ns(const struct process *p); /* CLOCK_REALTIME */

/* Plans fn(ctx, arg) in this life of the process: dropped when it dies first, late when it is
 * frozen. */
void process_at(struct process *p, time_us at, sim_fn *fn, void *ctx, uint64_t arg);
/* The same by the process's own clock. */
void process_at_clock(struct process *p, time_us clock, sim_fn *fn, void *ctx, uint64_t arg);

void process_start(struct process *p);
void process_kill(struct process *p, bool power); /* power: what is not synced may be lost too */
void process_stop(struct process *p);             /* SIGTERM */
void process_freeze(struct process *p);
void process_thaw(struct process *p);
/* After the run: all of them. */
void process_free_all(void);

#endif
