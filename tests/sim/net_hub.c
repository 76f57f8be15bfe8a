/* Hubs: who makes which connection, again and again with a growing back-off, and what becomes of
 * them when a process dies. */
#include "tests/sim/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MAX     (500 * TIME_MS)
#define HELLO_TIMEOUT (5 * TIME_S)
#define IN_THE_AIR    (5 * TIME_MS)

static void dial(void *ctx, uint64_t arg);

void net_retry_later(struct dialer *d)
{
    if (d->hub->closing)
        return;
    struct process *p = d->hub->process;
    time_us wait = d->wait / 2 + sim_below(RND_NET, d->wait / 2 + 1);
    process_at_clock(p, process_clock(p) + wait, dial, d, 0);
    d->wait = time_min(d->wait * 2, RETRY_MAX);
}

/* ---- making links ---------------------------------------------------------------------------- */

static void on_hello_late(void *ctx, uint64_t arg)
{
    struct connection *c = ctx;
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        struct link *l = &c->ends[i];
        if (l->state != LINK_HELLO)
            continue;
        if (l->hub->process->frozen) {
            c->refs++;
            sim_at(sim_now() + HELLO_TIMEOUT, on_hello_late, c, 0);
            break;
        }
        struct closing closing = {l, "no HELLO in time", false};
        (void)process_enter(l->hub->process, net_close_within, &closing, 0);
    }
    net_release(c);
}

static void init_end(struct connection *c, unsigned side, struct link_hub *hub)
{
    struct link *l = &c->ends[side];
    l->hub = hub;
    l->connection = c;
    l->side = side;
    l->state = LINK_HELLO;
    c->ids[side] = hub->process->id;
    c->refs++;
    list_push_back(&hub->links, &l->item);
}

static void connect_to(struct dialer *d, struct link_hub *other)
{
    struct connection *c = xcalloc(1, sizeof *c);
    list_push_back(&net.connections, &c->item);
    init_end(c, 0, d->hub);
    init_end(c, 1, other);
    c->ends[0].dialer = d;
    d->link = &c->ends[0];
    (void)snprintf(c->ends[0].peer.name, sizeof c->ends[0].peer.name, "%s", d->name);
    c->refs++;
    sim_at(sim_now() + HELLO_TIMEOUT, on_hello_late, c, 0);
    net_send_hello(&c->ends[0]);
}

/* The answer to our SYN, or the lack of one. */
static void on_connect(void *ctx, uint64_t arg)
{
    struct dialer *d = ctx;
    uint32_t a = d->hub->process->id, b = d->to;
    struct wire *there = &net.wires[a][b], *back = &net.wires[b][a];
    struct process *p = process_of(b);
    (void)arg;
    if (there->cut || there->clogged || back->cut || back->clogged || process_powerless(p))
        process_at(d->hub->process, sim_now() + RETRANSMIT, on_connect, d, 0);
    else if (!p->up || !net.hubs[b])
        net_retry_later(d); /* refused */
    else
        connect_to(d, net.hubs[b]);
}

static void dial(void *ctx, uint64_t arg)
{
    struct dialer *d = ctx;
    uint32_t a = d->hub->process->id;
    (void)arg;
    time_us trip = net.wires[a][d->to].latency + net.wires[d->to][a].latency;
    process_at(d->hub->process, sim_now() + trip, on_connect, d, 0);
}

/* ---- the hub --------------------------------------------------------------------------------- */

struct link_hub *link_hub_new(uv_loop_t *loop, const struct hello *self,
                              const struct link_callbacks *callbacks)
{
    struct link_hub *hub = xcalloc(1, sizeof *hub);
    hub->process = (struct process *)(void *)loop;
    hub->self = *self;
    hub->callbacks = *callbacks;
    list_init(&hub->links);
    list_init(&hub->dialers);
    list_push_back(&net.hubs_all, &hub->item);
    if (hub->process->kind == PROCESS_MOUNT)
        net.hubs[hub->process->id] = hub;
    return hub;
}

int link_hub_listen(struct link_hub *hub, const char *address)
{
    (void)address; /* it is the process's */
    net.hubs[hub->process->id] = hub;
    return 0;
}

int link_hub_connect(struct link_hub *hub, const char *name, const char *address)
{
    struct dialer *d = xcalloc(1, sizeof *d);
    d->hub = hub;
    d->wait = RETRY_MIN;
    d->to = (uint32_t)strtoul(address + strlen("sim:"), NULL, 10);
    assert(process_of(d->to));
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    list_push_back(&hub->dialers, &d->item);
    dial(d, 0);
    return 0;
}

void link_hub_set_session(struct link_hub *hub, uint64_t session)
{
    hub->self.session = session;
}

void link_hub_set_cuts(struct link_hub *hub, const char *const *names, size_t count)
{
    (void)hub; /* people's cuts: here the nemesis makes them */
    (void)names;
    (void)count;
}

/* Links send at once here. */
void link_hub_flush(struct link_hub *hub)
{
    (void)hub;
}

void net_free_hub(struct link_hub *hub)
{
    struct list *it;
    while ((it = list_pop_front(&hub->dialers)))
        free(list_entry(it, struct dialer, item));
    list_remove(&hub->item);
    free(hub);
}

/* Its process ends in this moment, so nothing planned for the dialers comes any more. */
void link_hub_close(struct link_hub *hub)
{
    hub->closing = true;
    while (!list_empty(&hub->links))
        link_close(list_first(&hub->links, struct link, item), "ending");
    if (net.hubs[hub->process->id] == hub)
        net.hubs[hub->process->id] = NULL;
    net_free_hub(hub);
}

const struct hello *link_peer(const struct link *l)
{
    return &l->peer;
}

void link_set_data(struct link *l, void *data)
{
    l->data = data;
}

void *link_data(const struct link *l)
{
    return l->data;
}

int link_connect_blocking(const char *address, int timeout_ms)
{
    (void)address;
    (void)timeout_ms;
    return -ENOTSUP;
}

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Without its machine a link's end says nothing; what had left is still delivered. */
static void silence(struct link *l)
{
    struct connection *c = l->connection;
    net_detach(l);
    net_drop_parcels(&c->streams[l->side], sim_now() + IN_THE_AIR);
    c->lost_machine = c->ids[l->side];
    net_release(c);
}

void net_process_down(struct process *p, bool silent)
{
    struct link_hub *hub = net.hubs[p->id];
    net.hubs[p->id] = NULL;
    if (!hub)
        return;
    hub->closing = true;
    while (!list_empty(&hub->links)) {
        struct link *l = list_first(&hub->links, struct link, item);
        if (silent)
            silence(l);
        else
            link_close(l, "ending");
    }
}

void net_machine_up(struct process *p)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        if (c->lost_machine != p->id)
            continue;
        unsigned side = c->ids[0] == p->id ? 0 : 1;
        c->lost_machine = 0;
        net_end_stream(c, side, "connection reset", false);
        c->streams[side].eof_at += sim_below(RND_NET, RETRANSMIT);
    }
}

void net_thawed(struct process *p)
{
    struct link_hub *hub = net.hubs[p->id];
    if (!hub)
        return;
    list_each(it, &hub->links) {
        struct link *l = list_entry(it, struct link, item);
        net_resume(l->connection, 1 - l->side, 0);
    }
}
