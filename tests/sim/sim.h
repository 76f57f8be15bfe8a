/* One run: a seed, virtual time, and everything that happens in it.
 *
 * A single thread and one heap of moments. What shares a moment happens in the order in which it
 * was planned, so a seed gives one run, always the same. Processes (nodes and mounts) have clocks
 * of their own, which may run fast, slow or jump; sim_now() is the true time, known to the network,
 * the disks and the checkers alone.
 *
 *     sim.c       heap, chance, counters, complaints
 *     heap.c      malloc(), faster than the system's
 *     net_*.c     links of repl/io/link.h over a network that loses, delays, cuts
 *     disk*.c     stores of repl/io/store.h on disks that crash, rot and fill up
 *     process*.c  nodes: start, crash, freeze, clocks
 *     mount*.c    mounts: the client core, its links, its token file
 *     kernel_*.c  the kernel's side of a mount: pages, attributes, names, requests
 *     workload*.c applications: file operations drawn by the seed, their history
 *     swarm.c     what kind of run the seed draws
 *     nemesis.c   faults, and their healing; nemesis_aimed.c: those that aim at one rule
 *     check_*.c   what must hold */
#ifndef TALLY_TESTS_SIM_SIM_H
#define TALLY_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/time.h"

enum { SIM_NODES_MAX = 5, SIM_MOUNTS_MAX = 3, SIM_APPS_MAX = 3 /* per mount */ };

/* ---- what kind of run ------------------------------------------------------------------------ */

/* Kinds of faults; a run has those of its mask. Names: sim_fault_name(). */
enum sim_fault {
    FAULT_DELAY,      /* a link slow in one direction for a while */
    FAULT_LOSS,       /* messages lost (the link is reset: streams don't skip) */
    FAULT_REORDER,    /* bulk frames overtaken, links racing each other */
    FAULT_DUPLICATE,  /* a request arrives twice, over an old and a new link */
    FAULT_CUT,        /* one direction silent, no close seen */
    FAULT_RESET,      /* a link closed */
    FAULT_PARTITION,  /* uniform split in two */
    FAULT_ISOLATE,    /* one process alone */
    FAULT_BRIDGE,     /* two halves and one node that both reach */
    FAULT_CLOG,       /* swizzle: links clogged one after another, mended in another order */
    FAULT_KILL,       /* node SIGKILL: what was written survives */
    FAULT_POWER,      /* node power cut: unsynced records and blocks kept, lost or torn */
    FAULT_KILL_ALL,   /* all nodes at once */
    FAULT_MOUNT_KILL, /* SIGKILL of a mount */
    FAULT_FREEZE,     /* SIGSTOP: a process stands still, its clock goes on */
    FAULT_STOP,       /* SIGTERM: hands over, comes back later */
    FAULT_CLOCK_RATE, /* a clock runs wrong by up to 1/1000 */
    FAULT_CLOCK_JUMP, /* wall clock jumps; BOOTTIME never does */
    FAULT_SLOW_DISK,
    FAULT_FULL_DISK,   /* ENOSPC */
    FAULT_BIT_FLIP,    /* of block bytes or inline bytes at rest */
    FAULT_LOST_WRITE,  /* a block write that was acknowledged by the disk and is not there */
    FAULT_READ_ERROR,  /* EIO now, fine later */
    FAULT_WRITE_ERROR, /* EIO of a write or flush: the node ends itself (RULES S3) */
    FAULT_WIPE,        /* a node's store is gone: it must not return under its old id (RULES B7) */
    /* nemesis_aimed.c */
    FAULT_HINGE, /* voters forget or delay what keeps the leader's rival from being elected */
    FAULT_HANDOVER_CUT, /* a leader that hands over does not hear that it did */
    FAULT_LATE_ANSWERS, /* of all nodes to a mount, then silence */
    FAULT_OLD_LEADER,   /* alone with a mount */
    FAULT_SHORT_REIGNS, /* leaders die when elected, several in a row */
    FAULT_DRAWN,        /* how many are drawn together; the others have streams of their own */
    /* Whoever sent a snapshot dies while it becomes the state of who took it in. */
    FAULT_HEIR = FAULT_DRAWN,
    FAULT_UNHEARD,     /* the leader dies, the next one cannot hear what a mount was promised */
    FAULT_MISDIRECTED, /* a lost write went to another block's place, and that one is gone too */
    FAULT_COUNT
};
#define FAULT_BIT(kind) (UINT64_C(1) << (kind))
#define FAULTS_ALL      (FAULT_BIT(FAULT_COUNT) - 1)
const char *sim_fault_name(enum sim_fault kind);

struct sim_options {
    uint64_t seed;
    time_us length;      /* of the phase with faults; the healed phase comes behind */
    uint64_t faults_off; /* mask: kinds never injected (the shrinker, people) */
    uint32_t mounts_max; /* 0: as drawn */
    bool no_locks;       /* applications lock nothing: as seeds from before there were locks */
    bool no_ranges;      /* ... punch no holes and copy nothing by reference */
    bool no_attrs;       /* ... set no modes, owners and times */
    bool no_mix;         /* all mounts are at one consistency */
    bool no_setid;       /* no file is made setuid */
    bool no_known_bytes; /* nobody reads or writes what it knows by number */
    bool no_kept;        /* mounts keep no committed pages */
    bool no_late_lists;  /* listings are taken in as soon as all else is */
    bool no_idle_files;  /* no file is left alone for a while */
    uint32_t apps_max;   /* 0: as drawn */
    bool trace;          /* to stderr: faults, log lines of all processes, operations */
};

/* Drawn from the seed by swarm.c, before anything else happens. */
struct sim_swarm {
    uint32_t copies, witnesses, mounts, apps; /* apps per mount */
    uint32_t session_mounts;                  /* mask: mounts at consistency=session */
    uint32_t mixed_mounts; /* the same when there are some of both; 0: all are at one */
    bool locks;            /* applications lock ranges of files */
    bool ranges;           /* ... punch holes, and copy by reference */
    bool hot_ranges;       /* ... mostly of one file that changes all the time */
    bool local_names;      /* mounts change names ahead of the log */
    bool attrs;            /* applications set modes, owners and times */
    bool setid;            /* ... make files setuid */
    bool known_bytes;      /* ... write and read what others know by number */
    bool late_lists;       /* kernels take some listings in late */
    bool idle_files;       /* applications leave some of their own files alone for a while */
    bool leader_lease;
    char election[16];     /* strategy of election/ */
    uint64_t faults;       /* mask of enum sim_fault */
    uint64_t fault_gap_us; /* mean time between two faults */
    uint64_t think_us;     /* mean pause of an application */
    uint64_t buffer_bytes; /* write buffer of the mounts */
    uint64_t kept_bytes;   /* committed pages that they keep under write leases; 0: none */
    uint64_t disk_bytes;   /* of each store; small in some runs */
    uint32_t log_segment;  /* bytes; small: truncation and snapshots are frequent */
    uint64_t keep_entries; /* of the replica's log for late peers */
    uint64_t net_min_us, net_max_us, disk_min_us, disk_max_us;
    uint32_t mix[32]; /* weights of the workload's operations, see workload.h */
};

/* ---- chance, time, events -------------------------------------------------------------------- */

/* One stream per concern, so that a change in one leaves the others' draws alone. */
enum sim_stream {
    RND_SWARM,
    RND_NET,
    RND_DISK,
    RND_NEMESIS,
    RND_WORK,
    RND_KERNEL,
    RND_PROCESS,
    RND_LOCKS,
    RND_HEIR,
    RND_RANGES,
    RND_NAMES,
    RND_ATTRS,
    RND_UNHEARD,
    RND_MIX,
    RND_KNOWN,
    RND_SETID,
    RND_KEPT,
    RND_MISDIRECTED,
    RND_LISTS,
    RND_IDLE,
    RND_COUNT
};

extern struct sim *sim; /* the run under way: there is one per process */

time_us sim_now(void);
uint64_t sim_random(enum sim_stream stream);
uint64_t sim_below(enum sim_stream stream, uint64_t n);                    /* 0 .. n - 1 */
uint64_t sim_between(enum sim_stream stream, uint64_t low, uint64_t high); /* both included */
bool sim_chance(enum sim_stream stream, uint32_t per_million);
/* Exponential with this mean, at least 1. */
time_us sim_exp(enum sim_stream stream, time_us mean);

typedef void sim_fn(void *ctx, uint64_t arg);
/* Plans `fn` for the true time `at` (now at the earliest). */
void sim_at(time_us at, sim_fn *fn, void *ctx, uint64_t arg);

/* ---- verdicts -------------------------------------------------------------------------------- */

/* The first violation of a run; later ones are ignored. The run ends at the next event. */
void sim_complain(const char *checker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool sim_failed(void);

/* A line of the trace: printed with --trace, else dropped before it is formatted. */
bool sim_tracing(void);
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Into the hash that must be equal for equal seeds: every delivery, write, answer. */
void sim_mix(uint64_t a, uint64_t b);

/* ---- counters -------------------------------------------------------------------------------- */

enum sim_counter {
    COUNT_EVENTS,
    COUNT_OPS,       /* operations of applications that were checked */
    COUNT_ELECTIONS, /* leaders that became ready */
    COUNT_RESCUES,   /* rescue leaders */
    COUNT_GIVEN_WAY, /* leaders that lacked bytes of their own log (repl/core/mend.c) */
    COUNT_SESSIONS_ENDED,
    COUNT_HOLDERS_BACK, /* paused holders that woke up after their session had ended */
    COUNT_DRAFTS,
    COUNT_DEMOTIONS,
    COUNT_DRAFTED_BLOCKS, /* blocks a witness took */
    COUNT_REPAIRS,        /* missing blocks fetched from another node */
    COUNT_SNAPSHOTS,
    COUNT_RECALLS,
    COUNT_COMMITS,
    COUNT_READS_REDONE,
    COUNT_NAMES_GIVEN_UP, /* paths that check_names.c could not judge to the end */
    COUNT_REFUSED_STORES, /* wiped or unreadable stores that rightly did not come back */
    COUNT_MAX = 32
};
void sim_count(enum sim_counter counter, uint64_t n);
void sim_count_fault(enum sim_fault kind);
/* (role, mode) pairs hit: role of enum replica_role and witness or copy; mode: plain, drafted,
 * catching up, snapshot, missing blocks. */
void sim_count_mode(uint32_t role, uint32_t mode);

struct sim_result {
    bool failed;
    char checker[32], detail[512];
    uint64_t trace_hash;
    time_us virtual_us;
    struct sim_swarm swarm; /* what kind of run it was */
    uint64_t counts[COUNT_MAX];
    uint64_t faults[FAULT_COUNT];
    uint64_t modes[8][8];
};

/* One run from its seed to its verdict. */
struct sim_result sim_run(const struct sim_options *options);
void sim_draw_swarm(uint64_t seed, struct sim_swarm *ret);
const struct sim_swarm *sim_swarm(void);

#endif
