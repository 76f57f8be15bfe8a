#include "tools/elect/voter.h"

#include <assert.h>
#include <string.h>

#include "tools/elect/world.h"

enum { SYNC_US_MIN = 200, SYNC_US_MAX = 2000 };

static uint32_t slot_of(const struct world *w, uint32_t id)
{
    uint32_t place = world_place(w, id);

    return id == 0 ? 0 : place < w->config.voters ? place + 1 : SLOT_OUTSIDE;
}

static uint32_t id_of(const struct world *w, uint32_t slot)
{
    return slot == 0 ? 0 : world_ranked(w, slot - 1);
}

/* ---- the strategy that the ballot layer is given --------------------------------------------- */

/* It keeps nothing but the way to its node. */
static struct elect_node *node_of(const void *state)
{
    struct elect_node *n;

    memcpy(&n, state, sizeof n);
    return n;
}

/* What the ballot layer sees, told in ids of all nodes. */
static struct strategy_view wide_view(const struct elect_node *n, const struct strategy_view *view)
{
    struct strategy_view wide = *view;

    wide.self = n->id;
    wide.leader = id_of(n->world, view->leader);
    wide.nodes = &n->world->order;
    return wide;
}

static void hand_back(struct elect_node *n, struct strategy_output *out)
{
    const struct strategy_output *wide = &n->world->output;
    bool stands = elect_node_carry_out(n, wide) && n->world->warm;

    out->message_count = 0;
    out->wake_at = wide->wake_at;
    out->nominate = stands ? n->voter->slot : 0;
}

static void proxy_init(void *state)
{
    (void)state;
}

/* Before the first leader the cluster is not asked: the first in order stands, the others wait. */
static void proxy_on_suspect(void *state, const struct strategy_view *view,
                             struct strategy_output *out)
{
    struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    if (!n->world->warm) {
        out->message_count = 0;
        out->wake_at = UINT64_MAX;
        out->nominate = n->voter->slot == 1 ? 1 : 0;
        return;
    }
    n->world->config.strategy->on_suspect(n->strategy, &wide, &n->world->output);
    hand_back(n, out);
}

static void proxy_on_retry(void *state, const struct strategy_view *view, uint64_t hold_until,
                           bool failed, struct strategy_output *out)
{
    struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    n->world->config.strategy->on_retry(n->strategy, &wide, hold_until, failed, &n->world->output);
    hand_back(n, out);
}

static void proxy_on_message(void *state, const struct strategy_view *view,
                             const struct ballot_message *m, struct strategy_output *out)
{
    struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    assert(n->voter->incoming != NULL);
    n->world->config.strategy->on_message(n->strategy, &wide, n->voter->incoming,
                                          &n->world->output);
    hand_back(n, out);
}

static void proxy_on_timer(void *state, const struct strategy_view *view,
                           struct strategy_output *out)
{
    struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    n->world->config.strategy->on_timer(n->strategy, &wide, &n->world->output);
    hand_back(n, out);
}

static void proxy_on_leader(void *state, const struct strategy_view *view,
                            struct strategy_output *out)
{
    struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    n->world->config.strategy->on_leader(n->strategy, &wide, &n->world->output);
    hand_back(n, out);
}

static void proxy_on_successors(void *state, const uint8_t *ids, uint32_t count)
{
    (void)state, (void)ids, (void)count; /* the wide strategy gets the wide list */
}

static uint32_t proxy_position(const void *state, const struct strategy_view *view, uint32_t slot)
{
    const struct elect_node *n = node_of(state);
    struct strategy_view wide = wide_view(n, view);

    return n->world->config.strategy->position(n->strategy, &wide, id_of(n->world, slot));
}

static const struct strategy_ops proxy = {
    .name = "proxy",
    .init = proxy_init,
    .on_suspect = proxy_on_suspect,
    .on_retry = proxy_on_retry,
    .on_message = proxy_on_message,
    .on_timer = proxy_on_timer,
    .on_leader = proxy_on_leader,
    .on_successors = proxy_on_successors,
    .position = proxy_position,
};

/* ---- feeding the ballot layer ---------------------------------------------------------------- */

static void feed(struct elect_node *n, struct ballot_event ev);

static void begin_write(struct elect_node *n, uint64_t term, uint32_t vote)
{
    struct voter *v = n->voter;
    uint64_t now = world_now(n->world);
    uint64_t at = now + SYNC_US_MIN + net_random(&n->world->net, SYNC_US_MAX - SYNC_US_MIN);
    struct packet p;

    if (at <= v->synced_until)
        at = v->synced_until + 1;
    v->synced_until = at;
    memset(&p, 0, sizeof p);
    p.kind = PACKET_SYNCED;
    p.synced.term = term;
    p.synced.vote = vote;
    p.synced.life = n->life;
    net_hand(&n->world->net, at, n->id, &p);
}

static void send_ballot(struct elect_node *n, const struct ballot_message *m)
{
    struct packet p;

    memset(&p, 0, sizeof p);
    p.kind = PACKET_BALLOT;
    p.ballot = *m;
    elect_node_send(n, id_of(n->world, m->to), &p, true);
}

/* Leases of two leaders never run at once (PROTOCOL 1.9, E7). All clocks are the same one here. */
static void check_leases(const struct elect_node *n)
{
    const struct world *w = n->world;

    if (ballot_lease_until(&n->voter->ballot) <= world_now(w))
        return;
    for (uint32_t slot = 1; slot <= w->config.voters; slot++) {
        const struct elect_node *other = &w->nodes[id_of(w, slot)];

        assert(other == n || !other->alive ||
               ballot_lease_until(&other->voter->ballot) <= world_now(w));
    }
}

/* What the node believes after a step, told to the outside. */
static void take_over_state(struct elect_node *n)
{
    const struct ballot_update *out = &n->voter->out;
    bool leads = out->role == BALLOT_LEADER;
    uint32_t leader = id_of(n->world, out->leader);
    uint64_t term = out->term;

    if (n->leads && (!leads || n->term != term))
        elect_node_stop_leading(n);
    if (leads && !n->leads)
        elect_node_begin_leading(n, term);
    else if (!leads && leader != 0 && leader != n->leader)
        elect_node_follow(n, leader);
    n->leader = leader != 0 ? leader : n->leader;
    n->term = term;
}

static void feed(struct elect_node *n, struct ballot_event ev)
{
    struct voter *v = n->voter;
    struct ballot_update *out = &v->out;

    ev.now = world_now(n->world) + 1; /* the ballot layer's time begins after 0 */
    ev.random = net_random(&n->world->net, 0);
    ballot_step(&v->ballot, &ev, out);
    for (uint32_t i = 0; i < out->message_count; i++)
        send_ballot(n, &out->messages[i]);
    if (out->persist)
        begin_write(n, out->term, out->voted_for);
    check_leases(n);
    if (!n->leads && out->role == BALLOT_LEADER) {
        struct log_position first = {out->term, n->last.index + 1};

        take_over_state(n);
        feed(n, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = first});
        return;
    }
    take_over_state(n);
}

void voter_reset(struct voter *v, uint32_t slot)
{
    memset(v, 0, sizeof *v);
    v->slot = slot;
}

void voter_start(struct elect_node *n)
{
    struct voter *v = n->voter;
    struct member_set members;
    const struct world *w = n->world;

    member_set_init(&members);
    for (uint32_t slot = 1; slot <= w->config.voters; slot++)
        member_set_put(&members, slot, slot <= w->config.candidates ? MEMBER_COPY : MEMBER_WITNESS,
                       slot);
    struct ballot_config config = ballot_config_default(v->slot, &members);
    config.strategy = &proxy;
    ballot_init(&v->ballot, &config);
    memcpy(v->ballot.strategy_state, &n, sizeof n);
    v->synced_until = world_now(w);
    feed(n, (struct ballot_event){.kind = BALLOT_EV_START,
                                  .term = v->durable_term,
                                  .voted_for = v->durable_vote,
                                  .last = n->last});
}

/* ---- what comes in --------------------------------------------------------------------------- */

static void recv_beat(struct elect_node *n, const struct packet *p)
{
    struct voter *v = n->voter;
    uint32_t slot = slot_of(n->world, p->from);
    struct packet answer;

    if (p->beat.first)
        stats_received(&n->world->stats, n->id);
    if (p->beat.term >= v->ballot.term) {
        feed(n, (struct ballot_event){
                    .kind = BALLOT_EV_LEADER_HEARD, .peer = slot, .term = p->beat.term});
        feed(n, (struct ballot_event){.kind = BALLOT_EV_RTT,
                                      .peer = slot,
                                      .rtt_us = 2 * (world_now(n->world) - p->beat.sent_at)});
        if (v->ballot.leader != slot || ballot_durable_term(&v->ballot) != p->beat.term)
            return; /* an answer has to wait for the term to be durable; the next beat gets one */
        if (log_position_compare(n->last, p->beat.last) != 0) {
            n->last = p->beat.last;
            feed(n, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = n->last});
        }
    }
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_ACK;
    answer.beat.term = ballot_durable_term(&v->ballot);
    answer.beat.sent_at = p->beat.sent_at;
    elect_node_send(n, p->from, &answer, false);
}

static void recv_ack(struct elect_node *n, const struct packet *p)
{
    struct voter *v = n->voter;
    uint32_t slot = slot_of(n->world, p->from);

    if (p->beat.term > v->ballot.term) {
        feed(n, (struct ballot_event){
                    .kind = BALLOT_EV_HIGHER_TERM, .peer = slot, .term = p->beat.term});
        return;
    }
    if (p->beat.term != v->ballot.term || !n->leads)
        return;
    feed(n, (struct ballot_event){.kind = BALLOT_EV_RTT,
                                  .peer = slot,
                                  .rtt_us = world_now(n->world) - p->beat.sent_at});
    feed(n, (struct ballot_event){.kind = BALLOT_EV_ACK,
                                  .peer = slot,
                                  .term = p->beat.term,
                                  .sent_at = p->beat.sent_at + 1});
}

/* A strategy's message reaches the strategy through the ballot layer, which has its own rules on
 * when to listen. */
static void recv_strategy(struct elect_node *n, const struct packet *p)
{
    struct ballot_message m = p->ballot;
    struct ballot_event ev = {.kind = BALLOT_EV_MESSAGE};

    stats_received(&n->world->stats, n->id);
    m.to = n->id;
    n->voter->incoming = &m;
    ev.message = (struct ballot_message){.kind = m.kind,
                                         .from = slot_of(n->world, p->from),
                                         .to = n->voter->slot,
                                         .term = m.term,
                                         .last = m.last};
    feed(n, ev);
    n->voter->incoming = NULL;
}

static void recv_synced(struct elect_node *n, const struct packet *p)
{
    if (p->synced.life != n->life)
        return;
    n->voter->durable_term = p->synced.term;
    n->voter->durable_vote = p->synced.vote;
    feed(n, (struct ballot_event){
                .kind = BALLOT_EV_SYNCED, .term = p->synced.term, .voted_for = p->synced.vote});
}

void voter_packet(struct elect_node *n, const struct packet *p)
{
    struct ballot_event ev = {.kind = BALLOT_EV_MESSAGE};

    switch (p->kind) {
    case PACKET_STRATEGY:
        recv_strategy(n, p);
        break;
    case PACKET_BALLOT:
        stats_received(&n->world->stats, n->id);
        ev.message = p->ballot;
        feed(n, ev);
        break;
    case PACKET_BEAT:
        recv_beat(n, p);
        break;
    case PACKET_ACK:
        recv_ack(n, p);
        break;
    case PACKET_SYNCED:
        recv_synced(n, p);
        break;
    case PACKET_LINK:
        if (world_place(n->world, p->link.peer) >= n->world->config.voters)
            break;
        ev.kind = p->link.up ? BALLOT_EV_LINK_UP : BALLOT_EV_LINK_DOWN;
        ev.peer = slot_of(n->world, p->link.peer);
        feed(n, ev);
        break;
    case PACKET_NONE:
        break;
    }
}

uint64_t voter_wake_at(const struct elect_node *n)
{
    uint64_t at = n->voter->out.wake_at;

    return at == UINT64_MAX || at == 0 ? at : at - 1;
}

void voter_timer(struct elect_node *n)
{
    if (world_now(n->world) + 1 >= n->voter->out.wake_at)
        feed(n, (struct ballot_event){.kind = BALLOT_EV_TICK});
}
