/* Faults that aim at one rule each: several things in a row that chance hardly brings together. */
#include "node/internal.h"
#include "tests/sim/nemesis_internal.h"
#include "tests/sim/net.h"
#include "tests/sim/sim_internal.h"

static time_us between_ms(uint64_t low, uint64_t high)
{
    return sim_between(RND_NEMESIS, low * 1000, high * 1000);
}

static void mend(void *ctx, uint64_t arg)
{
    (void)ctx;
    cut_between((uint32_t)(arg >> 32), (uint32_t)arg, false);
}

static void cut_for(uint32_t a, uint32_t b, time_us length)
{
    if (nemesis_is_over())
        return;
    cut_between(a, b, true);
    sim_at(sim_now() + length, mend, NULL, (uint64_t)a << 32 | b);
}

static void delay(uint32_t from, uint32_t to, time_us extra)
{
    for (uint32_t i = 1; i <= process_count(); i++)
        for (uint32_t j = 1; j <= process_count(); j++)
            if ((from >> i & 1) && (to >> j & 1))
                net_delay(i, j, extra);
}

/* ---- a leader's lease (RULES V3, V4, E1) ----------------------------------------------------- */

/* A copy has long lost the leader; the others keep it from being elected by their promises. Now
 * they lose the leader too, and were restarted, or their last answers reached it late. */
static void turn_hinge(void *ctx, uint64_t arg)
{
    uint32_t leader = (uint32_t)(arg >> 32), others = (uint32_t)arg;
    bool kill = ctx != NULL;
    cut_for(1u << leader, others, between_ms(500, 3000));
    for (uint32_t id = 1; kill && id <= process_nodes(); id++) {
        struct process *p = process_of(id);
        if (!(others >> id & 1) || !p->up)
            continue;
        process_kill(p, false);
        restart_after(p, between_ms(1, 30));
    }
}

static void end_delay(void *ctx, uint64_t arg)
{
    (void)ctx;
    delay((uint32_t)arg, (uint32_t)(arg >> 32), 0);
}

bool nemesis_hinge(void)
{
    const struct process *leader = leading_node();
    uint32_t copies = sim_swarm()->copies;
    if (!leader || copies < 2)
        return false;
    uint32_t heir = (uint32_t)sim_between(RND_NEMESIS, 1, copies), l = 1u << leader->id;
    if (heir == leader->id)
        heir = heir % copies + 1;
    uint32_t others = nodes_mask() & ~l & ~(1u << heir);
    bool kill = sim_below(RND_NEMESIS, 2);
    time_us turn = sim_now() + between_ms(300, 1200);
    sim_trace("fault hinge: n%u lost n%u, %s", heir, leader->id, kill ? "restarts" : "delays");
    cut_for(l, 1u << heir, between_ms(2000, 5000));
    if (!kill) {
        delay(others, l, between_ms(50, 600));
        sim_at(turn + 3 * TIME_S, end_delay, NULL, (uint64_t)l << 32 | others);
    }
    sim_at(turn, turn_hinge, kill ? &mend : NULL, (uint64_t)leader->id << 32 | others);
    return true;
}

static void cut_from_nodes(void *ctx, uint64_t node)
{
    (void)ctx;
    cut_for(1u << node, nodes_mask() & ~(1u << node), between_ms(300, 3000));
}

/* SIGTERM: it hands over, and does not hear that it worked. */
bool nemesis_handover_cut(void)
{
    struct process *leader = leading_node();
    if (!leader || process_nodes() < 3)
        return false;
    sim_trace("fault n%u hands over and is cut off", leader->id);
    process_stop(leader);
    sim_at(sim_now() + sim_below(RND_NEMESIS, 10 * TIME_MS), cut_from_nodes, NULL, leader->id);
    return true;
}

/* Who was just elected dies, several times in a row: entries of many terms on few nodes. */
static void watch_reign(void *ctx, uint64_t arg)
{
    uint64_t polls = arg >> 8, kills = arg & 255;
    (void)ctx;
    if (polls == 0 || kills == 0 || nemesis_is_over())
        return;
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        struct process *p = process_of(id);
        if (!p->up || !p->node || p->node->role != REPLICA_LEADER)
            continue;
        if (sim_below(RND_NEMESIS, 4) != 0) { /* else a moment later */
            process_kill(p, sim_below(RND_NEMESIS, 2));
            restart_after(p, sim_exp(RND_NEMESIS, 400 * TIME_MS));
            kills--;
        }
        break;
    }
    sim_at(sim_now() + 400, watch_reign, NULL, (polls - 1) << 8 | kills);
}

bool nemesis_short_reigns(void)
{
    if (!leading_node() || process_nodes() < 3)
        return false;
    sim_trace("fault short reigns");
    watch_reign(NULL, UINT64_C(12500) << 8 | sim_between(RND_NEMESIS, 2, 5)); /* 5 s */
    return true;
}

/* ---- a snapshot (RULES B7) ------------------------------------------------------------------- */

static void end_sender(void *ctx, uint64_t sender)
{
    struct process *p = process_of((uint32_t)sender);
    (void)ctx;
    if (nemesis_is_over() || !p->up)
        return;
    sim_trace("fault n%u dies, whose snapshot is becoming a state", p->id);
    sim_count_fault(FAULT_HEIR);
    process_kill(p, sim_below(RND_HEIR, 2));
    restart_after(p, sim_between(RND_HEIR, 1000, 10000) * TIME_MS);
}

/* What a node took in becomes its state, which takes it a while: its sender dies meanwhile. With a
 * witness that has the log the node is the heir, and is elected without a state. */
time_us nemesis_heir(uint32_t node)
{
    const struct process *p = process_of(node);
    bool aimed = sim_swarm()->faults >> FAULT_HEIR & 1;
    if (!aimed || nemesis_is_over() || !p->node || sim_below(RND_HEIR, 4) == 0)
        return 0;
    sim_at(sim_now() + sim_below(RND_HEIR, 100 * TIME_MS), end_sender, NULL, p->node->install.from);
    return sim_between(RND_HEIR, 200, 3000) * TIME_MS;
}

/* ---- a mount's lease (RULES L8, L9) ---------------------------------------------------------- */

static uint32_t any_mount_id(void)
{
    return (uint32_t)sim_between(RND_NEMESIS, process_nodes() + 1, process_count());
}

static void cut_mount(void *ctx, uint64_t mount)
{
    (void)ctx;
    delay(nodes_mask(), 1u << mount, 0);
    cut_for(1u << mount, nodes_mask(), between_ms(2000, 10000));
}

/* What nodes say takes seconds to reach a mount, which then hears nothing for a while. */
bool nemesis_late_answers(void)
{
    uint32_t mount = any_mount_id();
    sim_trace("fault late answers to %u", mount);
    delay(nodes_mask(), 1u << mount, between_ms(500, 5000));
    sim_at(sim_now() + between_ms(2000, 9000), cut_mount, NULL, mount);
    return true;
}

/* A leader alone with a mount: it must not keep that one's promises alive. */
bool nemesis_old_leader(void)
{
    const struct process *leader = leading_node();
    if (!leader || process_nodes() < 3)
        return false;
    uint32_t two = 1u << leader->id | 1u << any_mount_id();
    uint32_t rest = ((1u << (process_count() + 1)) - 2) & ~two;
    sim_trace("fault split %x from %x: a leader alone with a mount", two, rest);
    cut_for(two, rest, between_ms(2000, 12000));
    return true;
}

void nemesis_unheard(uint32_t mount)
{
    struct process *leader = leading_node();
    bool aimed = sim_swarm()->faults >> FAULT_UNHEARD & 1;
    if (!aimed || nemesis_is_over() || !leader || process_nodes() < 3 ||
        sim_below(RND_UNHEARD, 3) != 0)
        return;
    sim_trace("fault n%u dies, %u is cut off from the next leader", leader->id, mount);
    sim_count_fault(FAULT_UNHEARD);
    cut_for(1u << mount, nodes_mask(), sim_between(RND_UNHEARD, 500, 5000) * TIME_MS);
    process_kill(leader, false);
    restart_after(leader, sim_between(RND_UNHEARD, 500, 3000) * TIME_MS);
}
