/* Processes: the place a node or a mount runs in. A node's is that of tools/cli/cmd_node.c: one
 * turn follows the input that waits, one timer, one wake-up from the store. */
#include "tests/sim/process.h"

#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "node/internal.h"
#include "repl/base/vec.h"
#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/mount.h"
#include "tests/sim/net.h"
#include "tests/sim/sim_internal.h"

enum { PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1 };

struct host {
    jmp_buf fell;
    char last_words[256];
    bool store_planned, ended, powerless;
    time_us timer;                 /* by its clock; 0: none */
    time_us timer_planned;         /* true time of the earliest planned look at it; 0: none */
    vec_of(struct sim_event) held; /* while frozen */
    uint32_t mode_seen, draft_seen;
    uint64_t sessions_ended_seen;
    char name[8], address[16];
};

static struct process processes[PROCESSES];
static struct host hosts[PROCESSES];
static uint32_t current;

static struct host *host_of(const struct process *p)
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
static time_us true_time(const struct process *p, time_us clock)
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
    struct host *h = host_of(p);
    sim_trace("n%u fell: %s", p->id, h->last_words);
    if (!nemesis_explains_fall(p->id))
        sim_complain("fall", "n%u ended itself and no fault explains it: %s", p->id, h->last_words);
    p->node = NULL; /* its memory is in the state the fall left it in, so nobody frees it */
    process_kill(p, false);
}

bool process_enter(struct process *p, sim_fn *fn, void *ctx, uint64_t arg)
{
    assert(p->up && !p->frozen && !current);
    current = p->id;
    if (p->kind == PROCESS_NODE && _setjmp(host_of(p)->fell) != 0) {
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
        vec_push(&host_of(p)->held, *e);
    else
        (void)process_enter(p, e->fn, e->ctx, e->arg);
}

void process_at(struct process *p, time_us at, sim_fn *fn, void *ctx, uint64_t arg)
{
    struct sim_event e = {.fn = fn, .ctx = ctx, .arg = arg, .process = p, .life = p->life};
    sim_plan(at, &e);
}

/* A loop's timers count milliseconds. */
static time_us rounded(const struct process *p, time_us clock)
{
    time_us now = process_clock(p);
    return clock <= now ? now : now + (clock - now + 999) / 1000 * 1000;
}

void process_at_clock(struct process *p, time_us clock, sim_fn *fn, void *ctx, uint64_t arg)
{
    process_at(p, true_time(p, rounded(p, clock)), fn, ctx, arg);
}

/* ---- the host of a node ---------------------------------------------------------------------- */

static time_us host_clock(void *ctx)
{
    return process_clock(ctx);
}

static int64_t host_wall_ns(void *ctx)
{
    return process_wall_ns(ctx);
}

enum { BEHIND = 100 /* entries */ };

/* Catching up, snapshot and missing blocks say how far the node is, drafted what a witness holds.
 */
static uint32_t mode_of(const struct node *n)
{
    enum { PLAIN, DRAFTED, CATCHING_UP, SNAPSHOT, MISSING };
    bool witness = n->self->witness;
    if (n->install.from)
        return SNAPSHOT;
    if (!witness && store_missing_count(n->store))
        return MISSING;
    if (replica_commit(n->replica) + BEHIND < check_log_last())
        return CATCHING_UP;
    return n->draft_mask ? DRAFTED : PLAIN;
}

static void count_what_happened(struct process *p)
{
    const struct node *n = p->node;
    struct host *h = host_of(p);
    uint32_t role = (uint32_t)n->role % 4 + (n->self->witness ? 4 : 0), mode = mode_of(n);
    if (h->mode_seen != (role << 8 | mode | 1u << 31))
        sim_count_mode(role, mode);
    h->mode_seen = role << 8 | mode | 1u << 31;
    if (n->leading && n->draft_mask & ~h->draft_seen)
        sim_count(COUNT_DRAFTS, 1);
    h->draft_seen = n->draft_mask;
    if (n->leading) {
        uint64_t ended = fs_app_stats(n->app).sessions_ended;
        sim_count(COUNT_SESSIONS_ENDED, ended - h->sessions_ended_seen);
        h->sessions_ended_seen = ended;
    }
}

static void turn(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    node_turn(p->node);
    count_what_happened(p);
    check_node_turn(p);
}

static void host_wake(void *ctx)
{
    struct process *p = ctx;
    if (p->up)
        process_at(p, sim_now(), turn, p, 0);
}

static void plan_timer(struct process *p);

static void look_at_timer(void *ctx, uint64_t planned)
{
    struct process *p = ctx;
    struct host *h = host_of(p);
    if (h->timer_planned != planned)
        return; /* an earlier look was planned since */
    h->timer_planned = 0;
    if (h->timer == 0)
        return;
    if (process_clock(p) < h->timer) {
        plan_timer(p);
        return;
    }
    h->timer = 0;
    node_timer_due(p->node);
}

static void plan_timer(struct process *p)
{
    struct host *h = host_of(p);
    time_us at = true_time(p, h->timer);
    if (h->timer_planned && h->timer_planned <= at)
        return; /* it will look and plan again */
    h->timer_planned = at;
    process_at(p, at, look_at_timer, p, at);
}

static void host_wake_at(void *ctx, time_us at)
{
    struct process *p = ctx;
    host_of(p)->timer = at ? rounded(p, at) : 0;
    if (at && p->up)
        plan_timer(p);
}

static void poll_store(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    host_of(p)->store_planned = false;
    node_poll_store(p->node);
}

static void host_store_ready(void *ctx)
{
    struct process *p = ctx;
    if (!p->up || !p->node || host_of(p)->store_planned)
        return;
    host_of(p)->store_planned = true;
    process_at(p, sim_now(), poll_store, p, 0);
}

/* SIGTERM is through: the store is closed in order. */
static void end_node(void *ctx, uint64_t life)
{
    struct process *p = ctx;
    if (!p->up || p->life != life)
        return;
    struct node *n = p->node;
    sim_trace("n%u ends", p->id);
    p->up = p->frozen = false;
    p->life++;
    p->node = NULL;
    node_close(n);
    net_process_down(p, false);
    check_node_died(p);
}

static void host_ended(void *ctx)
{
    struct process *p = ctx;
    if (host_of(p)->ended)
        return;
    host_of(p)->ended = true;
    sim_at(sim_now(), end_node, p, p->life);
}

static void host_fall(void *ctx)
{
    struct process *p = ctx;
    assert(current == p->id); /* else nobody waits for the fall */
    _longjmp(host_of(p)->fell, 1);
}

static void die_of_disk(void *ctx, uint64_t life)
{
    struct process *p = ctx;
    if (p->up && p->life == life)
        process_kill(p, false);
}

void process_io_death(uint32_t node, const char *what)
{
    struct process *p = process_of(node);
    sim_trace("n%u: its disk failed a %s", node, what);
    sim_at(sim_now(), die_of_disk, p, p->life);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void trace_line(void *ctx, const char *text)
{
    (void)ctx;
    sim_trace("%s", text);
}

static void name_members(struct node_member *members)
{
    for (uint32_t id = 1; id <= process_nodes(); id++)
        members[id - 1] = (struct node_member){.id = id,
                                               .witness = id > sim_swarm()->copies,
                                               .name = hosts[id].name,
                                               .address = hosts[id].address};
}

static void open_node(void *ctx, uint64_t arg)
{
    static struct node_member members[SIM_NODES_MAX]; /* the same in each life */
    static char dirs[PROCESSES][8];
    struct process *p = ctx;
    (void)arg;
    name_members(members);
    (void)snprintf(dirs[p->id], sizeof dirs[0], "%u", p->id);
    struct node_config c = {.cluster = PROCESS_CLUSTER,
                            .self = p->id,
                            .members = members,
                            .members_count = process_nodes(),
                            .store_dir = dirs[p->id],
                            .capacity_bytes = sim_swarm()->disk_bytes,
                            .create = p->life == 1,
                            .log_keep_entries = sim_swarm()->keep_entries,
                            .leader_lease = sim_swarm()->leader_lease,
                            .election = strategy_find(sim_swarm()->election),
                            .random_seed = sim_random(RND_PROCESS)};
    struct node_host host = {.ctx = p,
                             .loop = (uv_loop_t *)(void *)p,
                             .clock = host_clock,
                             .wall_ns = host_wall_ns,
                             .wake = host_wake,
                             .wake_at = host_wake_at,
                             .store_ready = host_store_ready,
                             .ended = host_ended,
                             .fall = host_fall};
    if (sim_tracing())
        c.trace = (struct trace){.line = trace_line};
    p->node = node_open(&c, &host);
}

static void start_node(struct process *p)
{
    if (!process_enter(p, open_node, p, 0))
        return;
    if (p->node) {
        check_node_opened(p);
        return;
    }
    sim_trace("n%u does not start", p->id);
    if (p->gone)
        sim_count(COUNT_REFUSED_STORES, 1);
    else if (!nemesis_explains_fall(p->id))
        sim_complain("start", "n%u does not start and no fault explains it: %s", p->id,
                     host_of(p)->last_words);
    p->up = false;
    p->life++;
    net_process_down(p, false);
    disk_killed(disk_of(p->id), false);
}

void process_start(struct process *p)
{
    struct host *h = host_of(p);
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
        start_node(p);
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
    host_of(p)->powerless = power;
    vec_clear(&host_of(p)->held);
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
    struct host *h = host_of(p);
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
