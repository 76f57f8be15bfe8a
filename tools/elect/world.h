/* A simulated cluster: nodes, their network and what is counted. One seed is one run. */
#ifndef TALLY_TOOLS_ELECT_WORLD_H
#define TALLY_TOOLS_ELECT_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/elect/net.h"
#include "tools/elect/node.h"
#include "tools/elect/stats.h"
#include "tools/elect/sweep.h"

struct world {
    struct elect_config config;
    struct net net;
    struct stats stats;
    struct elect_node *nodes;                 /* [1..config.nodes] */
    struct detector *detectors;               /* by id */
    struct voter *voters;                     /* [1..config.voters] by slot; NULL raw */
    uint64_t (*states)[STRATEGY_STATE_WORDS]; /* of the strategies, by id */
    struct strategy_nodes order;              /* copies first, then the ordinary nodes */
    uint8_t *kinds;
    uint32_t *places, *ids;
    struct strategy_output output; /* of the call that is being made */
    bool warm;                     /* the first leader is settled: trouble may begin */
    uint32_t victim;               /* whom the profile hit last */
    uint64_t events;
};

void world_init(struct world *w, const struct elect_config *config);
void world_done(struct world *w);

/* One run of the profile: its figures are added to w->stats. */
void world_run(struct world *w, uint64_t seed);

static inline uint64_t world_now(const struct world *w)
{
    return w->net.queue.now;
}

/* The node at `place` in the order of standing for leader, from 0, and back. */
uint32_t world_ranked(const struct world *w, uint32_t place);
uint32_t world_place(const struct world *w, uint32_t id);

/* The node that leads the cluster (stats.h), or the first living one in order that believes to. */
uint32_t world_leader(const struct world *w);

/* The node dies and comes back with what it had on disk. `closed`: the others see its connections
 * close, as when only the process dies. A death of the leader counts as a failure. */
void world_crash(struct world *w, uint32_t id, bool closed);
void world_restart(struct world *w, uint32_t id);

#endif
