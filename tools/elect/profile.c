#include "tools/elect/profile.h"

#include <string.h>

#include "tools/elect/world.h"

enum {
    SECOND_US = 1000 * 1000,
    AFTER_US = 8 * SECOND_US, /* how long the consequences are watched */
    TROUBLE_US = 6 * SECOND_US,
    DOWN_US = SECOND_US,
    UP_US = 2 * SECOND_US,
    FLAPS = 5,
    ROLLING_MAX = 7, /* thousands, one after the other, would only repeat the first few */
    SLOW_US_MAX = 1800 * 1000,
    LOSS_PERMILLE = 10,
};

static const struct {
    const char *name;
    const char *text;
} profiles[PROFILE_COUNT] = {
    [PROFILE_CRASH] = {"crash", "the leader's machine dies and its silence tells"},
    [PROFILE_TOP_K] = {"top-k", "the leader and those next in order die together"},
    [PROFILE_FLAP] = {"flap", "the leader's process dies and returns, five times"},
    [PROFILE_PARTITION] = {"partition", "the leader is cut off with just under half of all"},
    [PROFILE_BRIDGE] = {"bridge", "one node reaches all, all others reach only that one"},
    [PROFILE_DELAY] = {"delay", "messages take up to three times the detector's patience"},
    [PROFILE_LOSS] = {"loss", "1 % of all messages are lost and the leader's machine dies"},
    [PROFILE_ALL_AT_ONCE] = {"all-at-once", "the leader's process dies and all see it at once"},
    [PROFILE_ROLLING] = {"rolling", "the first nodes in order are restarted one by one"},
};

const char *profile_name(enum profile p)
{
    return profiles[p].name;
}

const char *profile_text(enum profile p)
{
    return profiles[p].text;
}

bool profile_find(const char *name, enum profile *ret_p)
{
    for (enum profile p = PROFILE_CRASH; p < PROFILE_COUNT; p++)
        if (strcmp(profiles[p].name, name) == 0) {
            *ret_p = p;
            return true;
        }
    return false;
}

static uint64_t crash_leader(struct world *w, bool closed)
{
    w->victim = world_leader(w);
    if (w->victim != 0)
        world_crash(w, w->victim, closed);
    return AFTER_US;
}

/* As many of the first in order as the ballots survive, and one candidate stays. */
static uint64_t crash_first(struct world *w)
{
    uint32_t count = (w->config.voters - 1) / 2;

    if (count >= w->config.candidates)
        count = w->config.candidates - 1;
    for (uint32_t place = 0; place < count || place == 0; place++)
        world_crash(w, world_ranked(w, place), false);
    return AFTER_US;
}

static uint64_t flap(struct world *w, uint32_t step)
{
    if (step == 2 * FLAPS)
        return 0;
    if (step % 2 == 1) {
        if (w->victim != 0)
            world_restart(w, w->victim);
        return UP_US;
    }
    crash_leader(w, true);
    return DOWN_US;
}

/* Of those who decide (the voters; raw, everybody): can `id` talk to more than half? */
static bool reaches_majority(const struct world *w, uint32_t id)
{
    uint32_t all = w->config.raw ? w->config.nodes : w->config.voters, reached = 0;

    for (uint32_t place = 0; place < all; place++) {
        uint32_t other = world_ranked(w, place);

        reached += other == id || net_reaches(&w->net, id, other);
    }
    return 2 * reached > all;
}

/* What was set up takes effect. A leader that reaches too few is one no more, whatever it and those
 * around it believe. */
static uint64_t cut(struct world *w, enum net_cut how)
{
    w->net.cut = how;
    w->victim = world_leader(w);
    stats_failure(&w->stats);
    if (w->victim != 0 && !reaches_majority(w, w->victim))
        stats_cut(&w->stats, world_now(w), w->victim, true);
    return TROUBLE_US;
}

static uint64_t mend(struct world *w)
{
    w->net.cut = CUT_NONE;
    if (w->victim != 0)
        stats_cut(&w->stats, world_now(w), w->victim, false);
    return TROUBLE_US;
}

/* The leader's side gets just under half of the voters and just under half of all, the last in
 * order of each. */
static uint64_t partition(struct world *w)
{
    uint32_t leader = world_leader(w), voters = w->config.voters;
    uint32_t voters_left = (voters - 1) / 2 - 1;
    uint32_t others_left = (w->config.nodes - 1) / 2 - (voters - 1) / 2;

    for (uint32_t place = w->config.nodes; place-- > 0;) {
        uint32_t id = world_ranked(w, place);
        uint32_t *left = place < voters ? &voters_left : &others_left;
        bool taken = id != leader && *left > 0;

        *left -= taken;
        w->net.ports[id].side = taken || id == leader;
    }
    return cut(w, CUT_SIDES);
}

/* The last candidate in order is the only one that everybody reaches. */
static uint64_t bridge(struct world *w)
{
    uint32_t place = w->config.candidates - 1;

    w->net.hub = world_ranked(w, place);
    if (w->net.hub == world_leader(w))
        w->net.hub = world_ranked(w, place == 0 ? 1 : place - 1);
    return cut(w, CUT_STAR);
}

static uint64_t rolling(struct world *w, uint32_t step)
{
    uint32_t count = w->config.nodes < ROLLING_MAX ? w->config.nodes : ROLLING_MAX;

    if (step == 2 * count)
        return 0;
    if (step % 2 == 1) {
        world_restart(w, world_ranked(w, step / 2));
        return UP_US;
    }
    world_crash(w, world_ranked(w, step / 2), true);
    return DOWN_US;
}

uint64_t profile_step(struct world *w, enum profile p, uint32_t step)
{
    switch (p) {
    case PROFILE_CRASH:
        return step == 0 ? crash_leader(w, false) : 0;
    case PROFILE_TOP_K:
        return step == 0 ? crash_first(w) : 0;
    case PROFILE_FLAP:
        return flap(w, step);
    case PROFILE_PARTITION:
        return step == 0 ? partition(w) : step == 1 ? mend(w) : 0;
    case PROFILE_BRIDGE:
        return step == 0 ? bridge(w) : step == 1 ? mend(w) : 0;
    case PROFILE_DELAY:
        if (step == 0)
            stats_failure(&w->stats);
        w->net.delay_us_max = step == 0 ? SLOW_US_MAX : DELAY_US_MAX;
        return step < 2 ? TROUBLE_US : 0;
    case PROFILE_LOSS:
        w->net.loss_permille = LOSS_PERMILLE;
        return step == 0 ? crash_leader(w, false) : 0;
    case PROFILE_ALL_AT_ONCE:
        return step == 0 ? crash_leader(w, true) : 0;
    case PROFILE_ROLLING:
        return rolling(w, step);
    case PROFILE_COUNT:
        break;
    }
    return 0;
}
