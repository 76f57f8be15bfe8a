/* A small world of replicas for tests: virtual clock, network through the real codec, journals that
 * lose what was not flushed, block stores, applied state as a list of operation ids.
 *
 * Fault model. Links: delay, cut with or without notice, loss and reordering. Nodes: crash at any
 * moment (unflushed records and blocks are lost, or a prefix of them survives), restart, stop and
 * go on (SIGSTOP). Clocks: set apart, and run apart by up to 1/1000. Disks: slow flushes; in
 * stories also bytes that are lost. Not modelled: lost stores.
 *
 * One seed draws the shape of the traffic and all faults; the same seed gives the same run. */
#ifndef TALLY_TEST_CLUSTER_H
#define TALLY_TEST_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/core/replica.h"

enum planted_bug {
    BUG_NONE = 0,
    BUG_FORGETS_SYNC,   /* the journal reports WRITTEN and loses the records in a crash */
    BUG_LYING_ENSURE,   /* ENSURED although the store lacks the blocks */
    BUG_WHOLE_TOO_SOON, /* a copy reports its applied index as whole while bytes are missing */
};

struct cluster_options {
    uint32_t copies, witnesses;
    uint64_t seed;
    enum planted_bug bug;
    time_us faults_us; /* length of the safety phase */
    bool scripted;     /* no traffic and no faults but what a story makes */
    bool trace;        /* to stderr */
};

struct cluster_result {
    const char *complaint; /* NULL: every check held; else the first that did not */
    char detail[256];
    uint64_t committed, proposals, dropped, reads, reads_failed, stopped, snapshots, rescues,
        drafts, elections, steps;
    uint64_t trace_hash; /* equal for equal seeds */
};

/* One run: faults, then everything healed and progress required. */
struct cluster_result cluster_run(const struct cluster_options *options);

/* ---- stories: the same world, moved by hand -------------------------------------------------- */

struct world;

enum cluster_form {
    FORM_PLAIN,    /* names no blocks */
    FORM_INLINE,   /* bytes in the entry */
    FORM_BY_PARTS, /* bytes sent ahead to all copies and drafted witnesses that are up */
};

/* Leases on, no loss, disks of 0.4 ms, links of some 0.2 ms. Nodes 1.. are the copies, the
 * witnesses come behind; all are up. */
struct world *cluster_new(uint32_t copies, uint32_t witnesses, uint64_t seed);
/* Heals everything, waits, checks all, frees. */
struct cluster_result cluster_end(struct world *w);

void cluster_pass(struct world *w, time_us length);
time_us cluster_now(const struct world *w);
/* The ready leader of the highest term, 0: none. */
uint32_t cluster_leader(const struct world *w);
/* Waits for a ready leader other than that; 0 after `limit`. */
uint32_t cluster_await_leader(struct world *w, uint32_t other_than, time_us limit);
/* Returns the operation's number. */
uint64_t cluster_propose(struct world *w, uint32_t id, enum cluster_form form);
bool cluster_committed(const struct world *w, uint64_t op);
bool cluster_await_commit(struct world *w, uint64_t op, time_us limit);
bool cluster_applied(const struct world *w, uint32_t id, uint64_t op);
/* Asks for a read point; a stale answer is a complaint. */
uint64_t cluster_read(struct world *w, uint32_t id);
bool cluster_read_waits(const struct world *w, uint64_t read);

void cluster_ask_to_stop(struct world *w, uint32_t id); /* SIGTERM */
void cluster_crash(struct world *w, uint32_t id);       /* SIGKILL and loss of what is unsynced */
void cluster_start(struct world *w, uint32_t id);
void cluster_freeze(struct world *w, uint32_t id); /* SIGSTOP */
/* SIGCONT. What waited for it is handled one moment later, so a story may come first. */
void cluster_thaw(struct world *w, uint32_t id);
void cluster_cut(struct world *w, uint32_t a, uint32_t b, bool silent);
void cluster_join(struct world *w, uint32_t a, uint32_t b);
/* The disk of a node that is down loses the bytes of its last entry, and only these; false: that
 * one has none. */
bool cluster_lose_bytes(struct world *w, uint32_t id);
void cluster_slow_disk(struct world *w, uint32_t id, time_us flush);

const struct replica *cluster_replica(const struct world *w, uint32_t id);
size_t cluster_blocks_held(const struct world *w, uint32_t id);
size_t cluster_blocks_missing(const struct world *w, uint32_t id);

/* The checks that hold at any moment. NULL: no complaint so far. */
const char *cluster_check(struct world *w);

/* Bad histories, to see that the checks object. */
enum cluster_damage {
    DAMAGE_BLOCK_LOST,      /* node 1 loses its blocks */
    DAMAGE_LOG_LOST,        /* and its log */
    DAMAGE_APPLIED_DIFFERS, /* its last applied operation is another one */
    DAMAGE_COMMIT_DIFFERS,  /* the first commit was another entry */
    DAMAGE_READ_IS_STALE,   /* more was acknowledged than the next read will see */
};
void cluster_damage(struct world *w, enum cluster_damage damage);

#endif
