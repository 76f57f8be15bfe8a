/* Faults: one after another at random, each mended after a while of its own. Those that overlap
 * mend each other's at times; that only makes more kinds of runs. */
#include <string.h>

#include "node/internal.h"
#include "tests/sim/disk.h"
#include "tests/sim/mount.h"
#include "tests/sim/nemesis_internal.h"
#include "tests/sim/net.h"
#include "tests/sim/sim_internal.h"

enum { PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1 };
#define QUIET_START (3 * TIME_S)    /* the first leader is found without faults */
#define WATCH       (500 * TIME_MS) /* what fell or ended is found so often */
#define EXPLAINED   (60 * TIME_S)   /* a fault may be the reason of a fall so long */

static struct {
    bool over;
    bool spoilt;       /* something was spoilt at rest */
    uint32_t left_out; /* mask: dead or frozen for good */
    bool restart_planned[PROCESSES];
    time_us explained_until[PROCESSES];
} nemesis;

/* ---- chance ---------------------------------------------------------------------------------- */

static uint64_t pick(const uint64_t *values, size_t count)
{
    return values[sim_below(RND_NEMESIS, count)];
}
#define PICK(...)                                                                                  \
    pick((const uint64_t[]){__VA_ARGS__},                                                          \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static bool one_in(uint64_t n)
{
    return sim_below(RND_NEMESIS, n) == 0;
}

static struct process *any_process(void)
{
    return process_of((uint32_t)sim_between(RND_NEMESIS, 1, process_count()));
}

static struct process *any_node(void)
{
    return process_of((uint32_t)sim_between(RND_NEMESIS, 1, process_nodes()));
}

/* Half the time one that sends a snapshot, if there is any: who takes it in has to go on without.
 */
static struct process *victim_node(void)
{
    for (uint32_t id = 1; one_in(2) && id <= process_nodes(); id++) {
        const struct process *p = process_of(id);
        if (p->up && p->node && p->node->install.from)
            return process_of(p->node->install.from);
    }
    return any_node();
}

static struct process *any_mount(void)
{
    return process_of((uint32_t)sim_between(RND_NEMESIS, process_nodes() + 1, process_count()));
}

static time_us duration(void)
{
    return sim_exp(RND_NEMESIS, PICK(100, 1000, 1000, 5000, 20000) * TIME_MS);
}

/* ---- the network ----------------------------------------------------------------------------- */

/* Faults of one direction: what mends them knows it by number. */
static uint64_t wire_arg(uint32_t a, uint32_t b)
{
    return (uint64_t)a << 8 | b;
}

static void mend_wire(void *ctx, uint64_t arg)
{
    uint32_t a = (uint32_t)(arg >> 8 & 255), b = (uint32_t)(arg & 255);
    (void)ctx;
    enum sim_fault kind = (enum sim_fault)(arg >> 16);
    if (kind == FAULT_DELAY)
        net_delay(a, b, 0);
    else if (kind == FAULT_LOSS)
        net_loss(a, b, 0);
    else if (kind == FAULT_REORDER)
        net_reorder(a, b, 0);
    else if (kind == FAULT_DUPLICATE)
        net_duplicate(a, b, 0);
    else if (kind == FAULT_CUT)
        net_cut(a, b, false);
    else
        net_clog(a, b, false);
}

static bool wire_fault(enum sim_fault kind)
{
    uint32_t a = any_process()->id, b = any_process()->id;
    if (a == b)
        return false;
    if (kind == FAULT_DELAY)
        net_delay(a, b, PICK(2, 20, 100, 500, 3000) * TIME_MS);
    else if (kind == FAULT_LOSS)
        net_loss(a, b, (uint32_t)PICK(1000, 10000, 50000));
    else if (kind == FAULT_REORDER)
        net_reorder(a, b, (uint32_t)PICK(300000, 1000000));
    else if (kind == FAULT_DUPLICATE)
        net_duplicate(a, b, (uint32_t)PICK(1000, 10000, 50000));
    else
        net_cut(a, b, true);
    sim_trace("fault %s %u to %u", sim_fault_name(kind), a, b);
    sim_at(sim_now() + duration(), mend_wire, NULL, (uint64_t)kind << 16 | wire_arg(a, b));
    if (kind == FAULT_DELAY || kind == FAULT_CUT)
        sim_count_fault(kind); /* the network counts what it does of the others */
    return true;
}

void cut_between(uint32_t a, uint32_t b, bool cut)
{
    for (uint32_t i = 1; i <= process_count(); i++)
        for (uint32_t j = 1; j <= process_count(); j++)
            if ((a >> i & 1) && (b >> j & 1)) {
                net_cut(i, j, cut);
                net_cut(j, i, cut);
            }
}

static void mend_between(void *ctx, uint64_t arg)
{
    (void)ctx;
    cut_between((uint32_t)(arg >> 32), (uint32_t)arg, false);
}

static bool split(uint32_t a, uint32_t b)
{
    if (!a || !b)
        return false;
    sim_trace("fault split %x from %x", a, b);
    cut_between(a, b, true);
    sim_at(sim_now() + duration(), mend_between, NULL, (uint64_t)a << 32 | b);
    return true;
}

static uint32_t all_mask(void)
{
    return (1u << (process_count() + 1)) - 2;
}

static bool partition(void)
{
    uint32_t a = (uint32_t)sim_random(RND_NEMESIS) & all_mask();
    return split(a, all_mask() & ~a);
}

static bool isolate(void)
{
    uint32_t a = 1u << any_process()->id;
    return split(a, all_mask() & ~a);
}

static bool bridge(void)
{
    uint32_t a = (uint32_t)sim_random(RND_NEMESIS) & all_mask(), both = 1u << any_node()->id;
    return split(a & ~both, all_mask() & ~a & ~both);
}

static void clog_wire(void *ctx, uint64_t arg)
{
    (void)ctx;
    if (!nemesis.over)
        net_clog((uint32_t)(arg >> 8 & 255), (uint32_t)(arg & 255), true);
}

/* Swizzle-clogging (FoundationDB): each at a moment of its own, mended in another order. */
static bool swizzle(void)
{
    uint32_t chosen = (uint32_t)sim_random(RND_NEMESIS) & all_mask();
    for (uint32_t i = 1; i <= process_count(); i++)
        for (uint32_t j = 1; j <= process_count(); j++) {
            if (i == j || !(chosen >> i & 1) || one_in(2))
                continue;
            sim_at(sim_now() + sim_below(RND_NEMESIS, 1 * TIME_S), clog_wire, NULL, wire_arg(i, j));
            sim_at(sim_now() + 1 * TIME_S + sim_below(RND_NEMESIS, 4 * TIME_S), mend_wire, NULL,
                   (uint64_t)FAULT_CLOG << 16 | wire_arg(i, j));
        }
    sim_trace("fault clog from %x", chosen);
    return chosen != 0;
}

static bool reset_link(void)
{
    uint32_t a = any_process()->id, b = any_process()->id;
    sim_trace("fault reset %u and %u", a, b);
    net_reset(a, b);
    return a != b;
}

/* ---- processes ------------------------------------------------------------------------------- */

static bool is_left_out(const struct process *p)
{
    return p->gone || (nemesis.left_out >> p->id & 1);
}

static void restart(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    nemesis.restart_planned[p->id] = false;
    if (!p->up && !is_left_out(p))
        process_start(p);
}

void restart_after(struct process *p, time_us wait)
{
    if (nemesis.restart_planned[p->id])
        return;
    nemesis.restart_planned[p->id] = true;
    sim_at(sim_now() + wait, restart, p, 0);
}

static time_us down_time(void)
{
    return PICK(5, 50, 500, 500, 3000, 3000, 15000, 40000) * TIME_MS +
           sim_below(RND_NEMESIS, 100 * TIME_MS);
}

/* Whoever ended by himself comes back as well. */
static void watch(void *ctx, uint64_t arg)
{
    (void)ctx;
    (void)arg;
    for (uint32_t id = 1; id <= process_count(); id++) {
        struct process *p = process_of(id);
        if (!p->up && !is_left_out(p))
            restart_after(p, nemesis.over ? 10 * TIME_MS : down_time());
    }
    sim_at(sim_now() + WATCH, watch, NULL, 0);
}

static bool spoil(struct process *p, bool flip);

static bool kill_process(struct process *p, bool power)
{
    if (!p->up)
        return false;
    process_kill(p, power);
    bool may_flip = sim_swarm()->faults >> FAULT_BIT_FLIP & 1;
    if (may_flip && p->kind == PROCESS_NODE && disk_has_uncommitted(disk_of(p->id)) && one_in(2))
        (void)spoil(p, true); /* bytes that perhaps nobody else holds */
    restart_after(p, down_time());
    return true;
}

static bool kill_all(void)
{
    bool power = one_in(2), any = false;
    for (uint32_t id = 1; id <= process_nodes(); id++)
        any |= kill_process(process_of(id), power || one_in(4));
    return any;
}

uint32_t nodes_mask(void)
{
    return (1u << (process_nodes() + 1)) - 2;
}

struct process *leading_node(void)
{
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        struct process *p = process_of(id);
        if (p->up && !p->frozen && p->node && p->node->leading)
            return p;
    }
    return NULL;
}

bool nemesis_is_over(void)
{
    return nemesis.over;
}

static void end_stranding(void *ctx, uint64_t leader)
{
    (void)ctx;
    (void)kill_all();
    cut_between(1u << leader, nodes_mask() & ~(1u << leader), false);
}

/* The leader speaks to mounts alone for a moment, then all nodes die: its disk has entries that no
 * other has. */
static bool strand_leader(void)
{
    const struct process *p = leading_node();
    if (!p)
        return false;
    sim_trace("fault n%u alone, then all killed", p->id);
    cut_between(1u << p->id, nodes_mask() & ~(1u << p->id), true);
    sim_at(sim_now() + sim_between(RND_NEMESIS, 2, 300) * TIME_MS, end_stranding, NULL, p->id);
    return true;
}

static bool stop_process(struct process *p)
{
    if (!p->up)
        return false;
    sim_trace("fault stop %u", p->id);
    process_stop(p);
    return true;
}

static bool session_known(uint64_t session)
{
    struct fs_session s;
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        const struct process *p = process_of(id);
        if (p->node && p->node->state && fs_session_get(p->node->state, session, &s))
            return true;
    }
    return false;
}

static void thaw(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    if (!p->up || !p->frozen || is_left_out(p))
        return;
    uint64_t session = p->mount ? mount_session(p->mount) : 0;
    if (session && !session_known(session))
        sim_count(COUNT_HOLDERS_BACK, 1);
    process_thaw(p);
}

static bool freeze(void)
{
    struct process *p = any_process();
    if (!p->up || p->frozen)
        return false;
    uint64_t ms = p->kind == PROCESS_MOUNT ? PICK(30, 1000, 3900, 4100, 6000, 6000, 15000, 65000)
                                           : PICK(20, 200, 1000, 3000, 6000, 20000);
    process_freeze(p);
    sim_at(sim_now() + ms * TIME_MS + sim_below(RND_NEMESIS, 200 * TIME_MS), thaw, p, 0);
    return true;
}

/* ---- clocks ---------------------------------------------------------------------------------- */

static bool clock_rate(void)
{
    struct process *p = any_process();
    p->clock_base = process_clock(p);
    p->clock_since = sim_now();
    p->clock_rate_ppm = (int32_t)sim_below(RND_NEMESIS, 2001) - 1000;
    sim_trace("fault clock of %u runs at %d ppm", p->id, p->clock_rate_ppm);
    return true;
}

static bool clock_jump(void)
{
    struct process *p = any_process();
    int64_t by = (int64_t)sim_exp(RND_NEMESIS, PICK(10, 1000, 100000, 10000000) * TIME_MS) * 1000;
    p->wall_offset_ns += one_in(2) ? by : -by;
    sim_trace("fault clock of %u jumps", p->id);
    return true;
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void explain(uint32_t node, time_us until)
{
    nemesis.explained_until[node] = time_max(nemesis.explained_until[node], until);
}

bool nemesis_explains_fall(uint32_t node)
{
    return sim_now() < nemesis.explained_until[node];
}

static void mend_slow(void *ctx, uint64_t arg)
{
    (void)ctx;
    disk_set_slow(disk_of((uint32_t)arg), 1);
}

static bool slow_disk(void)
{
    uint32_t id = any_node()->id;
    disk_set_slow(disk_of(id), (uint32_t)PICK(5, 20, 100, 400));
    sim_trace("fault slow disk of n%u", id);
    sim_at(sim_now() + duration(), mend_slow, NULL, id);
    return true;
}

static void mend_full(void *ctx, uint64_t arg)
{
    struct process *p = ctx;
    (void)arg;
    p->full = false;
    disk_set_full(disk_of(p->id), false);
}

static bool full_disk(void)
{
    struct process *p = any_node();
    time_us until = sim_now() + duration();
    p->full = true;
    disk_set_full(disk_of(p->id), true);
    sim_trace("fault full disk of n%u", p->id);
    explain(p->id, until + EXPLAINED);
    sim_at(until, mend_full, p, 0);
    return true;
}

static bool read_errors(void)
{
    uint32_t id = any_node()->id;
    time_us until = sim_now() + duration();
    disk_fail_reads(disk_of(id), until);
    sim_trace("fault read errors of n%u", id);
    explain(id, until + EXPLAINED);
    return true;
}

static bool write_error(void)
{
    struct process *p = any_node();
    if (!p->up)
        return false;
    sim_trace("fault write error of n%u", p->id);
    explain(p->id, TIME_NEVER);
    disk_fail_next_write(disk_of(p->id));
    return true;
}

/* ---- the atlas ------------------------------------------------------------------------------- */

static uint32_t failures_borne(void)
{
    return (process_nodes() - 1) / 2;
}

static uint32_t stores_gone(void)
{
    uint32_t gone = 0;
    for (uint32_t id = 1; id <= process_nodes(); id++)
        gone += process_of(id)->gone;
    return gone;
}

bool nemesis_may_spoil(uint32_t node, struct block_name name)
{
    if (stores_gone() + 1 > failures_borne())
        return false;
    for (uint32_t id = 1; id <= process_nodes(); id++)
        if (id != node && disk_damaged(disk_of(id), name))
            return false;
    return true;
}

static bool spoil(struct process *p, bool flip)
{
    if (stores_gone() + 1 > failures_borne())
        return false;
    if (!(flip ? disk_flip_bit(disk_of(p->id)) : disk_lose_write(disk_of(p->id))))
        return false;
    sim_trace("fault %s on n%u", flip ? "bit flip" : "lost write", p->id);
    nemesis.spoilt = true;
    explain(p->id, sim_now() + EXPLAINED);
    return true;
}

/* Its bytes may lie in another block's place. */
static bool lose_write(struct process *p)
{
    if (!spoil(p, false))
        return false;
    bool elsewhere = sim_swarm()->faults >> FAULT_MISDIRECTED & 1 && sim_below(RND_MISDIRECTED, 2);
    if (elsewhere && spoil(p, false))
        sim_count_fault(FAULT_MISDIRECTED);
    return true;
}

/* It must not come back under its old id, and shows so by not starting (RULES B7). */
static bool wipe(void)
{
    struct process *p = any_node();
    if (p->gone || stores_gone() + 1 + (nemesis.spoilt ? 1 : 0) > failures_borne() || !one_in(4))
        return false;
    sim_trace("fault wipe of n%u", p->id);
    process_kill(p, one_in(2));
    disk_wipe(disk_of(p->id));
    p->gone = true;
    process_start(p);
    if (p->up)
        sim_complain("wiped", "n%u came back under its old id without its store", p->id);
    return true;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool inject(enum sim_fault kind)
{
    switch (kind) {
    case FAULT_DELAY:
    case FAULT_LOSS:
    case FAULT_REORDER:
    case FAULT_DUPLICATE:
    case FAULT_CUT:
        (void)wire_fault(kind);
        return false; /* counted where it happens */
    case FAULT_RESET:
        return reset_link();
    case FAULT_PARTITION:
        return partition();
    case FAULT_ISOLATE:
        return isolate();
    case FAULT_BRIDGE:
        return bridge();
    case FAULT_CLOG:
        return swizzle();
    case FAULT_KILL:
        return kill_process(victim_node(), false);
    case FAULT_POWER:
        return kill_process(victim_node(), true);
    case FAULT_KILL_ALL:
        return one_in(3) && (one_in(2) ? strand_leader() : kill_all());
    case FAULT_MOUNT_KILL:
        return kill_process(any_mount(), false);
    case FAULT_FREEZE:
        return freeze();
    case FAULT_STOP:
        return stop_process(one_in(3) ? any_mount() : any_node());
    case FAULT_CLOCK_RATE:
        return clock_rate();
    case FAULT_CLOCK_JUMP:
        return clock_jump();
    case FAULT_SLOW_DISK:
        return slow_disk();
    case FAULT_FULL_DISK:
        return full_disk();
    case FAULT_BIT_FLIP:
        return spoil(any_node(), true);
    case FAULT_LOST_WRITE:
        return lose_write(any_node());
    case FAULT_READ_ERROR:
        return read_errors();
    case FAULT_WRITE_ERROR:
        return write_error();
    case FAULT_WIPE:
        return wipe();
    case FAULT_HINGE:
        return nemesis_hinge();
    case FAULT_HANDOVER_CUT:
        return nemesis_handover_cut();
    case FAULT_LATE_ANSWERS:
        return nemesis_late_answers();
    case FAULT_OLD_LEADER:
        return nemesis_old_leader();
    case FAULT_SHORT_REIGNS:
        return nemesis_short_reigns();
    case FAULT_HEIR:        /* when there is a snapshot */
    case FAULT_UNHEARD:     /* when it may matter to the workload */
    case FAULT_MISDIRECTED: /* with a lost write */
    case FAULT_COUNT:
        break;
    }
    return false;
}

static void next_fault(void *ctx, uint64_t arg)
{
    uint32_t kinds[FAULT_COUNT], count = 0;
    (void)ctx;
    (void)arg;
    if (nemesis.over)
        return;
    for (uint32_t kind = 0; kind < FAULT_DRAWN; kind++)
        if (sim_swarm()->faults >> kind & 1)
            kinds[count++] = kind;
    if (!count)
        return;
    enum sim_fault kind = (enum sim_fault)kinds[sim_below(RND_NEMESIS, count)];
    if (inject(kind))
        sim_count_fault(kind);
    sim_at(sim_now() + sim_exp(RND_NEMESIS, sim_swarm()->fault_gap_us), next_fault, NULL, 0);
}

void nemesis_start(void)
{
    memset(&nemesis, 0, sizeof nemesis);
    disk_on_switch(nemesis_heir);
    sim_at(sim_now() + QUIET_START, next_fault, NULL, 0);
    sim_at(sim_now() + WATCH, watch, NULL, 0);
}

/* ---- healing --------------------------------------------------------------------------------- */

static void heal_disks(void)
{
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        process_of(id)->full = false;
        disk_set_slow(disk_of(id), 1);
        disk_set_full(disk_of(id), false);
        disk_fail_reads(disk_of(id), 0);
    }
}

/* A minority that the rest must do without, in some runs: never so many that, with the stores that
 * are lost or spoilt, bytes could be missing. */
static void leave_out(void)
{
    uint32_t borne = failures_borne(), lost = stores_gone() + (nemesis.spoilt ? 1 : 0);
    if (lost >= borne || !one_in(3))
        return;
    for (uint32_t left = borne - lost; left > 0; left--) {
        struct process *p = any_node();
        if (p->gone)
            continue;
        nemesis.left_out |= 1u << p->id;
        if (one_in(2))
            process_kill(p, one_in(2));
        else
            process_freeze(p);
    }
}

void nemesis_heal(void)
{
    nemesis.over = true;
    memset(nemesis.restart_planned, 0, sizeof nemesis.restart_planned); /* from now on sooner */
    leave_out();
    sim_trace("healed, left out: %x", nemesis.left_out);
    net_heal_all();
    heal_disks();
    for (uint32_t id = 1; id <= process_count(); id++) {
        struct process *p = process_of(id);
        thaw(p, 0);
        if (!p->up && !is_left_out(p))
            process_start(p);
    }
}
