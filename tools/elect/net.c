#include "tools/elect/net.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

struct net_packet {
    struct packet packet;
    uint32_t refs; /* events that carry it, and the port that may send it again */
};

void net_init(struct net *net, uint32_t nodes)
{
    memset(net, 0, sizeof *net);
    queue_init(&net->queue);
    net->nodes = nodes;
    net->ports = xcalloc(nodes + 1, sizeof *net->ports);
}

void net_done(struct net *net)
{
    queue_done(&net->queue);
    free(net->ports);
    free(net->packets);
    free(net->free);
    memset(net, 0, sizeof *net);
}

void net_reset(struct net *net, uint64_t seed)
{
    queue_reset(&net->queue);
    memset(net->ports, 0, (net->nodes + 1) * sizeof *net->ports);
    net->rng = seed;
    net->packet_count = 1;
    net->free_count = 0;
    net->message_cost_us = MESSAGE_COST_US;
    net->delay_us_max = DELAY_US_MAX;
    net->loss_permille = 0;
    net->cut = CUT_NONE;
}

uint64_t net_random(struct net *net, uint64_t below)
{
    uint64_t z = net->rng += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return below == 0 ? z : z % below;
}

bool net_reaches(const struct net *net, uint32_t from, uint32_t to)
{
    switch (net->cut) {
    case CUT_NONE:
        return true;
    case CUT_SIDES:
        return net->ports[from].side == net->ports[to].side;
    case CUT_STAR:
        return from == net->hub || to == net->hub;
    }
    return true;
}

/* ---- packets --------------------------------------------------------------------------------- */

static uint32_t packet_take(struct net *net, const struct packet *p)
{
    uint32_t number;

    if (net->free_count > 0) {
        number = net->free[--net->free_count];
    } else {
        number = net->packet_count++;
        if (number >= net->packet_room) {
            net->packet_room = net->packet_room ? 2 * net->packet_room : 256;
            net->packets = xreallocarray(net->packets, net->packet_room, sizeof *net->packets);
        }
    }
    memcpy(&net->packets[number].packet, p, sizeof *p);
    net->packets[number].refs = 1;
    return number;
}

static void packet_drop(struct net *net, uint32_t number)
{
    assert(net->packets[number].refs > 0);
    if (--net->packets[number].refs > 0)
        return;
    if (net->free_count == net->free_room) {
        net->free_room = net->free_room ? 2 * net->free_room : 256;
        net->free = xreallocarray(net->free, net->free_room, sizeof *net->free);
    }
    net->free[net->free_count++] = number;
}

/* The number of `p` among the packets, once more if its sender has just sent the same. Bytes that
 * differ in padding only cost a copy. */
static uint32_t packet_share(struct net *net, const struct packet *p)
{
    struct net_port *port = &net->ports[p->from];

    if (port->latest != 0 && memcmp(&net->packets[port->latest].packet, p, sizeof *p) == 0) {
        net->packets[port->latest].refs++;
        return port->latest;
    }
    if (port->latest != 0)
        packet_drop(net, port->latest);
    port->latest = packet_take(net, p);
    net->packets[port->latest].refs++;
    return port->latest;
}

/* ---- sending and receiving ------------------------------------------------------------------- */

void net_send(struct net *net, uint32_t to, const struct packet *p)
{
    struct net_port *port = &net->ports[p->from];
    uint64_t now = net->queue.now;
    uint64_t delay = DELAY_US_MIN + net_random(net, net->delay_us_max - DELAY_US_MIN);

    port->out_free = (port->out_free > now ? port->out_free : now) + net->message_cost_us;
    if (!net_reaches(net, p->from, to))
        return;
    if (net->loss_permille > 0 && net_random(net, 1000) < net->loss_permille)
        return;
    queue_push(&net->queue, port->out_free + delay,
               (struct event){EVENT_ARRIVE, to, packet_share(net, p)});
}

void net_hand(struct net *net, uint64_t at, uint32_t node, const struct packet *p)
{
    queue_push(&net->queue, at, (struct event){EVENT_TAKE, node, packet_take(net, p)});
}

void net_timer(struct net *net, uint64_t at, uint32_t node)
{
    queue_push(&net->queue, at, (struct event){EVENT_TIMER, node, 0});
}

bool net_next(struct net *net, struct event *ret_ev, struct packet *ret_packet)
{
    while (queue_pop(&net->queue, ret_ev)) {
        struct net_port *port = &net->ports[ret_ev->node];
        uint64_t now = net->queue.now;

        if (ret_ev->kind == EVENT_ARRIVE) {
            uint64_t at = port->in_free > now ? port->in_free : now;

            port->in_free = at + net->message_cost_us;
            ret_ev->kind = EVENT_TAKE;
            if (at > now) {
                queue_push(&net->queue, at, *ret_ev);
                continue;
            }
        }
        if (ret_ev->kind == EVENT_TAKE) {
            uint32_t number = (uint32_t)ret_ev->value;

            *ret_packet = net->packets[number].packet;
            packet_drop(net, number);
        }
        return true;
    }
    return false;
}
