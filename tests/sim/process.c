/* Processes: the place a node or a mount runs in. */
#include "tests/sim/process_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/node.h"
#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/mount.h"
#include "tests/sim/net.h"

static struct process processes[PROCESSES];
static struct host hosts[PROCESSES];
static uint32_t current;

struct host *process_host(const struct process *p)
{
    return &hosts[p->id];
}

struct process *process_of(uint32_t id)
{
    return id >= 1 && id <= process_count() ? &processes[id] : NULL;
}

uint32_t process_nodes(void)
{
    return sim_swarm()->copies + sim_swarm()->witnesses;
}

uint32_t process_count(void)
{
    return process_nodes() + sim_swarm()->mounts;
}

uint32_t process_current(void)
{
    return current;
}

bool process_powerless(const struct process *p)
{
    return hosts[p->id].powerless;
}

/* ---- clocks ---------------------------------------------------------------------------------- */

time_us process_clock(const struct process *p)
{
    int64_t passed = (int64_t)(sim_now() - p->clock_since);
    return p->clock_base + (time_us)(passed + passed * p->clock_rate_ppm / 1000000);
}

int64_t process_wall_ns(const struct process *p)
{
    return INT64_C(1800000000000000000) + (int64_t)process_clock(p) * 1000 + p->wall_offset_ns;
}

/* The true time at which its clock will show this, as it runs now. */
time_us process_true_time(const struct process *p, time_us clock)
{
    time_us now = process_clock(p);
    if (clock <= now)
        return sim_now();
    uint64_t rate = (uint64_t)(1000000 + p->clock_rate_ppm);
    return sim_now() + (time_us)(((unsigned __int128)(clock - now) * 1000000 + rate - 1) / rate);
}

/* ---- running --------------------------------------------------------------------------------- */

void process_last_words(const char *text)
{
    (void)snprintf(hosts[current].last_words, sizeof hosts[current].last_words, "%s", text);
}

static void fall(struct process *p)
{
    struct host *h = process_host(p);
    sim_trace("n%u fell: %s", p->id, h->last_words);
    if (!nemesis_explains_fall(p->id))
        sim_complain("fall", "n%u ended itself and no fault explains it: %s", p->id, h->last_words);
    check_node_fell(p);
    p->node = NULL; /* its memory is in the state the fall left it in, so nobody frees it */
    process_kill(p, false);
}

bool process_enter(struct process *p, sim_fn *fn, void *ctx, uint64_t arg)
{
    assert(p->up && !p->frozen && !current);
    current = p->id;
    if (p->kind == PROCESS_NODE && _setjmp(process_host(p)->fell) != 0) {
        current = 0;
        fall(p);
        return false;
    }
    fn(ctx, arg);
    current = 0;
    return true;
}

void process_event(const struct sim_event *e)
{
    struct process *p = e->process;
    if (!p->up || p->life != e->life)
        return;
    if (p->frozen)
        vec_push(&process_host(p)->held, *e);
    else
        (void)process_enter(p, e->fn, e->ctx, e->arg);
}

void process_at(struct process *p, time_us at, sim_fn *fn, void *ctx, uint64_t arg)
{
    struct sim_event e = {.fn = fn, .ctx = ctx, .arg = arg, .process = p, .life = p->life};
    sim_plan(at, &e);
}

/* A loop's timers count milliseconds. */
time_us process_rounded(const struct process *p, time_us clock)
{
    time_us now = process_clock(p);
    return clock <= now ? now : now + (clock - now + 999) / 1000 * 1000;
}

void process_at_clock(struct process *p, time_us clock, sim_fn *fn, void *ctx, uint64_t arg)
{
    process_at(p, process_true_time(p, process_rounded(p, clock)), fn, ctx, arg);
}

/* ---- starting -------------------------------------------------------------------------------- */

void process_start(struct process *p)
{
    struct host *h = process_host(p);
    assert(!p->up);
    p->up = true;
    p->frozen = false;
    p->life++;
    sim_trace("%s %u starts, life %u", p->kind == PROCESS_NODE ? "node" : "mount", p->id, p->life);
    h->store_planned = h->ended = false;
    h->timer = h->timer_planned = 0;
    h->mode_seen = h->draft_seen = 0;
    h->sessions_ended_seen = 0;
    h->last_words[0] = '\0';
    if (h->powerless)
        net_machine_up(p);
    h->powerless = false;
    if (p->kind == PROCESS_NODE)
        process_start_node(p);
    else
        p->mount = mount_start(p);
}

/* ---- ending ---------------------------------------------------------------------------------- */

void process_kill(struct process *p, bool power)
{
    if (!p->up)
        return;
    sim_trace("%s %u dies%s", p->kind == PROCESS_NODE ? "node" : "mount", p->id,
              power ? " by power loss" : "");
    struct node *n = p->node;
    process_host(p)->powerless = power;
    vec_clear(&process_host(p)->held);
    if (p->mount)
        mount_killed(p->mount);
    p->mount = NULL;
    p->up = p->frozen = false;
    p->life++;
    p->node = NULL;
    net_process_down(p, power);
    if (p->kind == PROCESS_NODE) {
        disk_killed(disk_of(p->id), power);
        if (n)
            node_close(n); /* of the dead: its store and links know */
        check_node_died(p);
    }
}

static void stop(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    if (p->kind == PROCESS_NODE)
        node_stop(p->node);
    else
        mount_stop(p->mount);
}

void process_stop(struct process *p)
{
    if (p->up)
        process_at(p, sim_now(), stop, p, 0);
}

void process_freeze(struct process *p)
{
    if (!p->up || p->frozen)
        return;
    sim_trace("%u freezes", p->id);
    p->frozen = true;
}

void process_thaw(struct process *p)
{
    struct host *h = process_host(p);
    if (!p->up || !p->frozen)
        return;
    sim_trace("%u thaws", p->id);
    p->frozen = false;
    for (size_t i = 0; i < h->held.count; i++)
        sim_plan(sim_now(), &h->held.items[i]);
    vec_clear(&h->held);
    net_thawed(p);
}

/* ---- all of them ----------------------------------------------------------------------------- */

void process_make_all(void)
{
    memset(processes, 0, sizeof processes);
    memset(hosts, 0, sizeof hosts);
    current = 0;
    for (uint32_t id = 1; id <= process_count(); id++) {
        struct process *p = &processes[id];
        p->id = id;
        p->kind = id <= process_nodes() ? PROCESS_NODE : PROCESS_MOUNT;
        p->clock_base = sim_between(RND_PROCESS, 1 * TIME_S, 1000000 * TIME_S);
        p->clock_since = sim_now();
        p->wall_offset_ns =
            (int64_t)sim_below(RND_PROCESS, 2000) * 1000000 - (int64_t)p->clock_base * 1000;
        (void)snprintf(hosts[id].name, sizeof hosts[id].name, "n%u", id);
        (void)snprintf(hosts[id].address, sizeof hosts[id].address, "sim:%u", id);
    }
}

void process_free_all(void)
{
    for (uint32_t id = process_count(); id >= 1; id--)
        process_kill(&processes[id], false);
    for (uint32_t id = 1; id <= process_count(); id++)
        vec_done(&hosts[id].held);
}
