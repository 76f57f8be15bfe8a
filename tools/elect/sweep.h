/* Many runs of one strategy in one setting, summed up in one row of the table. */
#ifndef TALLY_TOOLS_ELECT_SWEEP_H
#define TALLY_TOOLS_ELECT_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "election/strategy.h"
#include "tools/elect/profile.h"
#include "tools/elect/stats.h"

enum {
    ELECT_NODES_MIN = 3,
    ELECT_NODES_MAX = 4096,
    ELECT_VOTERS_MAX = 29, /* the ballot layer has room for 31 ids; one stands for all non-voters */
    ELECT_RUNS_MAX = 100000,
};

struct elect_config {
    const struct strategy_ops *strategy;
    enum profile profile;
    uint32_t nodes;
    uint32_t candidates; /* who may lead; the first in order */
    uint32_t voters;     /* who decides, with ballots; the first in order */
    bool raw;            /* the book's version: whoever is nominated leads at once, no ballots */
    uint32_t runs;
    uint64_t events_max; /* no further run once a row has taken this many; 0: no limit */
    uint64_t seed;
    uint32_t initiator; /* the only node that notices the leader's death by itself; 0: all do */
};

struct elect_row {
    struct elect_config config;
    struct stats_summary figures;
    uint32_t runs; /* done */
    uint64_t elections, failures;
    uint64_t split_brains, stale_leaders; /* intervals, all runs together */
    double split_ms;                      /* how long they lasted, all runs together */
    uint64_t unresolved;                  /* runs that ended without a leader */
    uint64_t events;
};

/* The voters if nobody says otherwise: an odd number, at most 7. */
uint32_t elect_voters_default(uint32_t nodes);

/* Told after each run; may be NULL. */
typedef void elect_progress(void *ctx, const struct elect_config *config, uint32_t runs_done);

/* Runs them all. The same config gives the same row. */
void elect_sweep(const struct elect_config *config, elect_progress *progress, void *ctx,
                 struct elect_row *ret_row);

#endif
