#include "tools/elect/sweep.h"

#include "tools/elect/world.h"

uint32_t elect_voters_default(uint32_t nodes)
{
    uint32_t voters = nodes < 7 ? nodes : 7;

    return voters - (voters % 2 == 0);
}

/* Strategies meet the same luck: the seed of a run does not depend on the strategy. */
static uint64_t run_seed(const struct elect_config *config, uint32_t run)
{
    uint64_t z = config->seed * 0x9e3779b97f4a7c15u + config->nodes * 0xd1b54a32d192ed03u +
                 (uint64_t)config->profile * 0x8cb92ba72f3d8dd7u + run;

    z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
    return z ^ (z >> 32);
}

void elect_sweep(const struct elect_config *config, elect_progress *progress, void *ctx,
                 struct elect_row *ret_row)
{
    struct world w;

    world_init(&w, config);
    for (uint32_t run = 0; run < config->runs; run++) {
        if (run > 0 && config->events_max != 0 && w.events >= config->events_max)
            break;
        world_run(&w, run_seed(config, run));
        if (progress)
            progress(ctx, config, run + 1);
    }
    *ret_row = (struct elect_row){
        .config = *config,
        .figures = stats_summary(&w.stats),
        .runs = w.stats.runs,
        .elections = w.stats.elections,
        .failures = w.stats.failures,
        .split_brains = w.stats.splits,
        .stale_leaders = w.stats.stales,
        .split_ms = (double)w.stats.split_us / 1000,
        .unresolved = w.stats.unresolved,
        .events = w.events,
    };
    world_done(&w);
}
