/* The host of a node, as in tools/cli/cmd_node.c: one turn follows the input that waits, one timer,
 * one wake-up from the store. */
#include "tests/sim/process_internal.h"

#include <assert.h>
#include <stdio.h>

#include "node/internal.h"
#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/mount.h"
#include "tests/sim/net.h"

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

/* A mount that cannot be reached may die before it hears that its session has ended. */
static void show_mounts(struct process *p)
{
    struct host *h = process_host(p);
    if (!p->node->state || p->node->applied == h->applied_seen)
        return;
    h->applied_seen = p->node->applied;
    for (uint32_t id = process_nodes() + 1; id <= process_count(); id++)
        if (process_of(id)->mount)
            mount_see_state(process_of(id)->mount, p->node);
}

static void count_what_happened(struct process *p)
{
    const struct node *n = p->node;
    struct host *h = process_host(p);
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
    show_mounts(p);
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
    struct host *h = process_host(p);
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
    struct host *h = process_host(p);
    time_us at = process_true_time(p, h->timer);
    if (h->timer_planned && h->timer_planned <= at)
        return; /* it will look and plan again */
    h->timer_planned = at;
    process_at(p, at, look_at_timer, p, at);
}

static void host_wake_at(void *ctx, time_us at)
{
    struct process *p = ctx;
    process_host(p)->timer = at ? process_rounded(p, at) : 0;
    if (at && p->up)
        plan_timer(p);
}

static void poll_store(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    process_host(p)->store_planned = false;
    node_poll_store(p->node);
}

static void host_store_ready(void *ctx)
{
    struct process *p = ctx;
    if (!p->up || !p->node || process_host(p)->store_planned)
        return;
    process_host(p)->store_planned = true;
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
    if (process_host(p)->ended)
        return;
    process_host(p)->ended = true;
    sim_at(sim_now(), end_node, p, p->life);
}

static void host_fall(void *ctx)
{
    struct process *p = ctx;
    assert(process_current() == p->id); /* else nobody waits for the fall */
    _longjmp(process_host(p)->fell, 1);
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
                                               .name = process_host(process_of(id))->name,
                                               .address = process_host(process_of(id))->address};
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

void process_start_node(struct process *p)
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
                     process_host(p)->last_words);
    p->up = false;
    p->life++;
    net_process_down(p, false);
    disk_killed(disk_of(p->id), false);
}
