/* The network of a run, and its faults. */
#include "tests/sim/net_internal.h"

#include <stdlib.h>
#include <string.h>

struct net net;

/* ---- faults ---------------------------------------------------------------------------------- */

/* After a silence a sender tries again a while later, or has given up. */
static void mend(uint32_t a, uint32_t b, bool may_reset)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        for (unsigned from = 0; from < 2; from++) {
            if (c->ids[from] != a || c->ids[1 - from] != b)
                continue;
            if (may_reset && net_next_queue(&c->streams[from]) && sim_chance(RND_NET, 500000))
                net_break(c, "connection timed out");
            else
                net_resume(c, from, RETRANSMIT);
        }
    }
}

void net_cut(uint32_t a, uint32_t b, bool cut)
{
    struct wire *w = &net.wires[a][b];
    if (w->cut && !cut) {
        w->cut = false;
        mend(a, b, true);
    }
    w->cut = cut;
}

void net_clog(uint32_t a, uint32_t b, bool clogged)
{
    struct wire *w = &net.wires[a][b];
    if (w->clogged && !clogged) {
        w->clogged = false;
        mend(a, b, false);
    }
    w->clogged = clogged;
}

void net_delay(uint32_t a, uint32_t b, time_us extra)
{
    net.wires[a][b].extra = extra;
}

void net_loss(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].loss = per_million;
}

void net_reorder(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].reorder = per_million;
}

void net_duplicate(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].duplicate = per_million;
}

void net_reset(uint32_t a, uint32_t b)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        if ((c->ids[0] == a && c->ids[1] == b) || (c->ids[0] == b && c->ids[1] == a))
            net_break(c, "connection reset");
    }
}

void net_heal_all(void)
{
    for (uint32_t a = 1; a <= process_count(); a++)
        for (uint32_t b = 1; b <= process_count(); b++) {
            struct wire *w = &net.wires[a][b];
            w->extra = 0;
            w->loss = w->reorder = w->duplicate = 0;
            net_cut(a, b, false);
            net_clog(a, b, false);
        }
}

/* ---- the run --------------------------------------------------------------------------------- */

void net_start(void)
{
    memset(&net, 0, sizeof net);
    list_init(&net.hubs_all);
    list_init(&net.connections);
    const struct sim_swarm *s = sim_swarm();
    for (uint32_t a = 1; a <= process_count(); a++)
        for (uint32_t b = 1; b <= process_count(); b++)
            net.wires[a][b].latency = sim_between(RND_NET, s->net_min_us, s->net_max_us);
}

/* Planned events are dropped with the run, and with them their references. */
void net_free(void)
{
    while (!list_empty(&net.connections)) {
        struct connection *c = list_first(&net.connections, struct connection, item);
        c->refs = 1;
        net_release(c);
    }
    while (!list_empty(&net.hubs_all))
        net_free_hub(list_first(&net.hubs_all, struct link_hub, item));
}
