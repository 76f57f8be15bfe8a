/* What kind of run a seed is: every property drawn by itself, so that over many seeds all
 * combinations come (swarm testing: Groce et al., ISSTA 2012). A run with few kinds of faults goes
 * deeper into each than one with all of them. */
#include <string.h>

#include "tests/sim/sim.h"
#include "tests/sim/workload.h"

static const char *const fault_names[FAULT_COUNT] = {
    [FAULT_DELAY] = "delay",
    [FAULT_LOSS] = "loss",
    [FAULT_REORDER] = "reorder",
    [FAULT_DUPLICATE] = "duplicate",
    [FAULT_CUT] = "cut",
    [FAULT_RESET] = "reset",
    [FAULT_PARTITION] = "partition",
    [FAULT_ISOLATE] = "isolate",
    [FAULT_BRIDGE] = "bridge",
    [FAULT_CLOG] = "clog",
    [FAULT_KILL] = "kill",
    [FAULT_POWER] = "power",
    [FAULT_KILL_ALL] = "kill-all",
    [FAULT_MOUNT_KILL] = "mount-kill",
    [FAULT_FREEZE] = "freeze",
    [FAULT_STOP] = "stop",
    [FAULT_CLOCK_RATE] = "clock-rate",
    [FAULT_CLOCK_JUMP] = "clock-jump",
    [FAULT_SLOW_DISK] = "slow-disk",
    [FAULT_FULL_DISK] = "full-disk",
    [FAULT_BIT_FLIP] = "bit-flip",
    [FAULT_LOST_WRITE] = "lost-write",
    [FAULT_READ_ERROR] = "read-error",
    [FAULT_WRITE_ERROR] = "write-error",
    [FAULT_WIPE] = "wipe",
    [FAULT_HINGE] = "hinge",
    [FAULT_HANDOVER_CUT] = "handover-cut",
    [FAULT_LATE_ANSWERS] = "late-answers",
    [FAULT_OLD_LEADER] = "old-leader",
    [FAULT_SHORT_REIGNS] = "short-reigns",
    [FAULT_HEIR] = "heir",
    [FAULT_UNHEARD] = "unheard",
    [FAULT_MISDIRECTED] = "misdirected",
};

const char *sim_fault_name(enum sim_fault kind)
{
    return fault_names[kind];
}

static uint64_t pick(const uint64_t *values, size_t count)
{
    return values[sim_below(RND_SWARM, count)];
}
#define PICK(...)                                                                                  \
    pick((const uint64_t[]){__VA_ARGS__},                                                          \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static bool one_in(uint64_t n)
{
    return sim_below(RND_SWARM, n) == 0;
}

static void draw_layout(struct sim_swarm *s)
{
    static const struct {
        uint8_t copies, witnesses, weight;
    } layouts[] = {{1, 0, 5}, {2, 1, 60}, {3, 0, 15}, {3, 2, 12}, {5, 0, 8}};
    uint64_t at = sim_below(RND_SWARM, 100);
    size_t i = 0;
    while (at >= layouts[i].weight)
        at -= layouts[i++].weight;
    s->copies = layouts[i].copies;
    s->witnesses = layouts[i].witnesses;
    s->mounts = (uint32_t)PICK(1, 2, 2, 2, 2, 3);
    s->apps = (uint32_t)PICK(1, 2, 2, 3);
}

static void draw_faults(struct sim_swarm *s)
{
    uint64_t style = sim_below(RND_SWARM, 8);
    for (unsigned kind = 0; kind < FAULT_DRAWN; kind++)
        if (style == 0 || (style < 5 ? one_in(4) : one_in(2)))
            s->faults |= FAULT_BIT(kind);
    /* What was spoilt must stay recoverable without the store that is lost: mostly one of them. */
    uint64_t spoiling = FAULT_BIT(FAULT_BIT_FLIP) | FAULT_BIT(FAULT_LOST_WRITE);
    if ((s->faults >> FAULT_WIPE & 1) && !one_in(3))
        s->faults &= ~spoiling;
    s->fault_gap_us = PICK(500, 1000, 2000, 2000, 4000, 8000, 20000) * TIME_MS;
}

static void draw_election(struct sim_swarm *s)
{
    static const char *const others[] = {"bully", "successor", "invitation", "ring"};
    (void)strcpy(s->election, one_in(2) ? "candidate" : others[sim_below(RND_SWARM, 4)]);
}

static void draw_mix(struct sim_swarm *s)
{
    if (one_in(2))
        return; /* the usual one */
    for (unsigned w = 0; w < WORK_COUNT; w++)
        s->mix[w] = (uint32_t)PICK(0, 5, 20, 60, 200);
    s->mix[WORK_WRITE_BIG] /= 8; /* costs the most */
    s->mix[WORK_CREATE] += 20;
    s->mix[WORK_WRITE] += 20;
}

void sim_draw_swarm(uint64_t seed, struct sim_swarm *ret)
{
    (void)seed; /* the stream is seeded */
    memset(ret, 0, sizeof *ret);
    draw_layout(ret);
    ret->session_mounts = one_in(4) ? UINT32_MAX : 0;
    ret->leader_lease = !one_in(5);
    draw_faults(ret);
    ret->think_us = PICK(30, 100, 200, 200, 500, 1000, 2000) * TIME_MS;
    ret->buffer_bytes = PICK(64 << 10, 1 << 20, 8 << 20, 64 << 20);
    ret->disk_bytes = PICK(32 << 20, 96 << 20, 256 << 20, UINT64_C(1) << 30, UINT64_C(1) << 30,
                           UINT64_C(1) << 30);
    ret->log_segment = (uint32_t)PICK(64 << 10, 256 << 10, 1 << 20, 16 << 20);
    ret->keep_entries = PICK(0, 64, 64, 300, 1000);
    ret->net_min_us = PICK(20, 100, 100, 1000);
    ret->net_max_us = ret->net_min_us * PICK(1, 3, 10, 30);
    ret->disk_min_us = PICK(20, 100, 500);
    ret->disk_max_us = ret->disk_min_us * PICK(2, 10, 40);
    draw_mix(ret);
    draw_election(ret);
    ret->locks = sim_below(RND_LOCKS, 2) == 0; /* of a stream of their own */
    if (sim_below(RND_HEIR, 3) == 0)
        ret->faults |= FAULT_BIT(FAULT_HEIR);
    ret->ranges = sim_below(RND_RANGES, 2) == 0;
    ret->hot_ranges = ret->ranges && sim_below(RND_RANGES, 4) == 0;
    ret->local_names = sim_below(RND_NAMES, 2) == 0;
    ret->attrs = sim_below(RND_ATTRS, 2) == 0;
    if (sim_below(RND_UNHEARD, 3) == 0)
        ret->faults |= FAULT_BIT(FAULT_UNHEARD);
    if (ret->mounts > 1 && sim_below(RND_MIX, 4) == 0) /* numbered from 1 */
        ret->mixed_mounts = (1 + (uint32_t)sim_below(RND_MIX, (1u << ret->mounts) - 2)) << 1;
    ret->known_bytes = sim_below(RND_KNOWN, 2) == 0;
    ret->setid = sim_below(RND_SETID, 2) == 0;
    if (sim_below(RND_MISDIRECTED, 2) == 0)
        ret->faults |= FAULT_BIT(FAULT_MISDIRECTED);
    ret->late_lists = sim_below(RND_LISTS, 2) == 0;
    ret->idle_files = sim_below(RND_IDLE, 2) == 0;
    static const uint64_t kept[] = {0, 32 << 10, 8 << 20, 8 << 20};
    ret->kept_bytes = kept[sim_below(RND_KEPT, sizeof kept / sizeof *kept)];
}
