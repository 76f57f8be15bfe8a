/* A small world of replicas for tests: virtual clock, network through the real codec, journals that
 * lose what was not flushed, block stores, applied state as a list of operation ids.
 *
 * Fault model. Links: delay, cut with or without notice, loss and reordering. Nodes: crash at any
 * moment (unflushed records and blocks are lost, or a prefix of them survives), restart, stop and
 * go on (SIGSTOP). Clocks: set apart, and run apart by up to 1/1000. Disks: slow flushes. Not
 * modelled: damaged bytes, lost stores.
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
    bool trace;        /* to stderr */
};

struct cluster_result {
    const char *complaint; /* NULL: every check held; else the first that did not */
    char detail[256];
    uint64_t committed, proposals, dropped, reads, snapshots, rescues, drafts, elections, steps;
    uint64_t trace_hash; /* equal for equal seeds */
};

/* One run: faults, then everything healed and progress required. */
struct cluster_result cluster_run(const struct cluster_options *options);

#endif
