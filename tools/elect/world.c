#include "tools/elect/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"
#include "tools/elect/voter.h"

enum {
    WARM_US = 2000 * 1000, /* a first leader is there and has been heard several times */
    LINK_US = 1000,        /* until a connection is open, or its end is noticed */
};

uint32_t world_ranked(const struct world *w, uint32_t place)
{
    assert(place < w->config.nodes);
    return w->ids[place];
}

uint32_t world_place(const struct world *w, uint32_t id)
{
    assert(id > 0 && id <= w->config.nodes);
    return w->places[id];
}

/* Node 1 is the first in order. The first `candidates` are the book's candidates (copies). */
static void init_order(struct world *w)
{
    uint32_t count = w->config.nodes;

    w->kinds = xcalloc(count + 1, sizeof *w->kinds);
    w->places = xcalloc(count + 1, sizeof *w->places);
    w->ids = xcalloc(count, sizeof *w->ids);
    for (uint32_t place = 0; place < count; place++) {
        w->ids[place] = place + 1;
        w->places[place + 1] = place;
        w->kinds[place + 1] = place < w->config.candidates ? MEMBER_COPY : MEMBER_WITNESS;
    }
    w->order = (struct strategy_nodes){
        .count = count, .placed = count, .kind = w->kinds, .place = w->places, .at = w->ids};
}

void world_init(struct world *w, const struct elect_config *config)
{
    memset(w, 0, sizeof *w);
    w->config = *config;
    net_init(&w->net, config->nodes);
    stats_init(&w->stats, config->nodes);
    init_order(w);
    w->nodes = xcalloc(config->nodes + 1, sizeof *w->nodes);
    w->states = xcalloc(config->nodes + 1, sizeof *w->states);
    w->output.room = config->nodes + 1; /* one to everybody, and an answer */
    w->output.messages = xcalloc(w->output.room, sizeof *w->output.messages);
    w->detectors = xcalloc(config->nodes + 1, sizeof *w->detectors);
    if (!config->raw)
        w->voters = xcalloc(config->voters + 1, sizeof *w->voters);
}

void world_done(struct world *w)
{
    net_done(&w->net);
    stats_done(&w->stats);
    free(w->nodes);
    free(w->voters);
    free(w->detectors);
    free(w->states);
    free(w->output.messages);
    free(w->kinds);
    free(w->places);
    free(w->ids);
    memset(w, 0, sizeof *w);
}

uint32_t world_leader(const struct world *w)
{
    if (w->stats.current != 0)
        return w->stats.current;
    for (uint32_t place = 0; place < w->config.nodes; place++) {
        const struct elect_node *n = &w->nodes[world_ranked(w, place)];

        if (n->alive && n->leads)
            return n->id;
    }
    return 0;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void tell_link(struct world *w, uint64_t at, uint32_t node, uint32_t peer, bool up)
{
    struct packet p;

    memset(&p, 0, sizeof p);
    p.kind = PACKET_LINK;
    p.link.peer = peer;
    p.link.up = up;
    net_hand(&w->net, at, node, &p);
}

static bool are_linked(const struct world *w, uint32_t id, uint32_t peer)
{
    return id != peer && w->nodes[id].alive && w->nodes[peer].alive;
}

void world_crash(struct world *w, uint32_t id, bool closed)
{
    if (!w->nodes[id].alive)
        return;
    for (uint32_t peer = 1; closed && peer <= w->config.nodes; peer++)
        if (are_linked(w, id, peer))
            tell_link(w, world_now(w) + DELAY_US_MIN + net_random(&w->net, LINK_US), peer, id,
                      false);
    if (w->stats.current == id)
        stats_failure(&w->stats);
    elect_node_stop(&w->nodes[id]);
}

void world_restart(struct world *w, uint32_t id)
{
    if (w->nodes[id].alive)
        return;
    stats_alive(&w->stats, world_now(w), id, true);
    elect_node_start(&w->nodes[id], 0);
    for (uint32_t peer = 1; peer <= w->config.nodes; peer++) {
        if (!are_linked(w, id, peer))
            continue;
        tell_link(w, world_now(w), peer, id, false); /* if it had not been noticed */
        tell_link(w, world_now(w) + LINK_US, peer, id, true);
        tell_link(w, world_now(w) + LINK_US, id, peer, true);
    }
}

/* ---- one run --------------------------------------------------------------------------------- */

/* Raw, the first in order leads from the beginning and all know it; with ballots it is elected. */
static void start_all(struct world *w)
{
    uint32_t leader = w->config.raw ? world_ranked(w, 0) : 0;

    for (uint32_t id = 1; id <= w->config.nodes; id++) {
        struct elect_node *n = &w->nodes[id];
        uint32_t place = world_place(w, id);

        memset(n, 0, sizeof *n);
        n->world = w;
        n->id = id;
        n->strategy = w->states[id];
        n->detector = &w->detectors[id];
        if (!w->config.raw && place < w->config.voters) {
            n->voter = &w->voters[place + 1];
            voter_reset(n->voter, place + 1);
        }
    }
    for (uint32_t id = 1; id <= w->config.nodes; id++)
        elect_node_start(&w->nodes[id], leader);
    for (uint32_t a = 1; !w->config.raw && a <= w->config.voters; a++)
        for (uint32_t b = 1; b <= w->config.voters; b++)
            if (a != b)
                tell_link(w, LINK_US, world_ranked(w, a - 1), world_ranked(w, b - 1), true);
}

/* Everybody follows the first leader. Counting starts here, not with its election. */
static void warm_up_ends(struct world *w)
{
    w->warm = true;
    stats_watch(&w->stats, world_now(w));
    for (uint32_t id = 1; id <= w->config.nodes; id++)
        elect_node_schedule(&w->nodes[id]);
}

static void push_step(struct world *w, uint64_t at, uint64_t step)
{
    queue_push(&w->net.queue, at, (struct event){EVENT_STEP, 0, step});
}

/* The profile's next step. False when it was the last. */
static bool run_step(struct world *w, uint64_t step)
{
    uint64_t pause;

    if (step == 0)
        warm_up_ends(w);
    pause = profile_step(w, w->config.profile, (uint32_t)step);
    if (pause != 0)
        push_step(w, world_now(w) + pause, step + 1);
    return pause != 0;
}

void world_run(struct world *w, uint64_t seed)
{
    struct event ev;
    struct packet p;
    bool goes_on = true;

    net_reset(&w->net, seed);
    stats_begin(&w->stats);
    w->warm = false;
    w->victim = 0;
    start_all(w);
    /* At any moment between two heartbeats. */
    push_step(w, WARM_US + net_random(&w->net, BEAT_US), 0);
    while (goes_on && net_next(&w->net, &ev, &p)) {
        w->events++;
        if (ev.kind == EVENT_STEP)
            goes_on = run_step(w, ev.value);
        else if (ev.kind == EVENT_TIMER)
            elect_node_timer(&w->nodes[ev.node]);
        else
            elect_node_packet(&w->nodes[ev.node], &p);
    }
    stats_end(&w->stats, world_now(w));
    /* PROTOCOL 1.9, E1: with ballots a term has at most one leader. */
    assert(w->config.raw || w->stats.splits == 0);
}
