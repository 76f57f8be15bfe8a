#include "tools/elect/node.h"

#include <assert.h>
#include <string.h>

#include "tools/elect/voter.h"
#include "tools/elect/world.h"

static uint64_t now_of(const struct elect_node *n)
{
    return world_now(n->world);
}

/* ---- sending --------------------------------------------------------------------------------- */

void elect_node_send(struct elect_node *n, uint32_t to, struct packet *p, bool counts)
{
    p->from = n->id;
    if (counts)
        stats_sent(&n->world->stats, n->id);
    net_send(&n->world->net, to, p);
}

void elect_node_broadcast(struct elect_node *n, struct packet *p, bool counts)
{
    for (uint32_t to = 1; to <= n->world->config.nodes; to++)
        if (to != n->id)
            elect_node_send(n, to, p, counts);
}

/* With ballots the first heartbeat of a term is the announcement of its leader, and counts as one
 * (PROTOCOL 2.2: "(n-1) first Append"). The book's announcements are the strategy's. */
static void send_beats(struct elect_node *n, bool first)
{
    struct packet p;

    memset(&p, 0, sizeof p);
    p.kind = PACKET_BEAT;
    p.beat.term = n->term;
    p.beat.sent_at = now_of(n);
    p.beat.last = n->last;
    p.beat.first = first && !n->world->config.raw;
    n->beat_at = now_of(n) + BEAT_US;
    elect_node_broadcast(n, &p, p.beat.first);
}

/* ---- leading and following ------------------------------------------------------------------- */

void elect_node_begin_leading(struct elect_node *n, uint64_t term)
{
    n->leads = true;
    n->term = term;
    n->leader = n->id;
    n->suspect = false;
    n->last = (struct log_position){term, n->last.index + 1}; /* the leader's first entry */
    stats_lead(&n->world->stats, now_of(n), n->id, true, term);
    send_beats(n, true);
}

void elect_node_stop_leading(struct elect_node *n)
{
    n->leads = false;
    stats_lead(&n->world->stats, now_of(n), n->id, false, n->term);
}

void elect_node_follow(struct elect_node *n, uint32_t leader)
{
    n->leader = leader;
    stats_follow(&n->world->stats, now_of(n), n->id, leader);
}

/* ---- the strategy ---------------------------------------------------------------------------- */

static uint64_t suspect_at(const struct elect_node *n)
{
    return detector_suspect_at(n->detector, DETECTOR_LEADER, n->contact_at, now_of(n));
}

static struct strategy_view view_of(struct elect_node *n)
{
    uint64_t now = now_of(n);
    uint64_t rtt = detector_window_max(&n->detector->peers[DETECTOR_LEADER].rtts, now);
    uint64_t delta = 2 * rtt + DELTA_MARGIN_US;
    bool sees = n->leads || (n->leader != 0 && now < suspect_at(n));

    if (n->world->config.initiator != 0 && n->leader != 0) /* all know, one begins */
        sees = n->world->nodes[n->leader].alive;

    delta = delta < DELTA_US_MIN ? DELTA_US_MIN : delta > DELTA_US_MAX ? DELTA_US_MAX : delta;
    return (struct strategy_view){
        .now = now,
        .random = net_random(&n->world->net, 0),
        .self = n->id,
        .term = n->term,
        .last = n->last,
        .leader = sees ? n->leader : 0,
        .delta_us = delta,
        .rtt_us = rtt,
        .nodes = &n->world->order,
        .raw = n->world->config.raw,
    };
}

bool elect_node_carry_out(struct elect_node *n, const struct strategy_output *out)
{
    for (uint32_t i = 0; i < out->message_count; i++) {
        struct packet p;

        memset(&p, 0, sizeof p);
        p.kind = PACKET_STRATEGY;
        p.ballot = out->messages[i];
        p.ballot.to = 0; /* so that the net keeps one of what goes to many */
        elect_node_send(n, out->messages[i].to, &p, true);
    }
    n->strategy_at = out->wake_at;
    return out->nominate == n->id;
}

/* Raw: "whoever the strategy nominates leads at once". */
static void lead_raw(struct elect_node *n)
{
    const struct strategy_ops *ops = n->world->config.strategy;
    struct strategy_output *out = &n->world->output;
    struct strategy_view view;

    if (n->leads)
        return;
    view = view_of(n);
    view.leader = n->id;
    ops->announce(n->strategy, &view, out);
    (void)elect_node_carry_out(n, out);
    elect_node_begin_leading(n, 0);
    view = view_of(n);
    ops->on_leader(n->strategy, &view, out);
    (void)elect_node_carry_out(n, out);
}

static void carry_out(struct elect_node *n)
{
    if (elect_node_carry_out(n, &n->world->output) && n->world->config.raw)
        lead_raw(n);
}

/* A leader was heard. `anew`: it is another one, or was suspected. */
static void heard_leader(struct elect_node *n, uint32_t leader, uint64_t term)
{
    bool anew = n->leader != leader || n->suspect || n->leader_term != term;
    struct detector_peer *peer = &n->detector->peers[DETECTOR_LEADER];

    if (n->leads)
        elect_node_stop_leading(n);
    if (anew)
        peer->link = DETECTOR_LINK_UP;
    detector_beat(n->detector, DETECTOR_LEADER, anew, now_of(n));
    n->contact_at = now_of(n);
    n->suspect = false;
    n->leader_term = term;
    if (!anew)
        return;
    elect_node_follow(n, leader);
    struct strategy_view view = view_of(n);
    n->world->config.strategy->on_leader(n->strategy, &view, &n->world->output);
    carry_out(n);
}

/* Two leaders know nothing of terms, raw: the one that is earlier in order stays, and whoever hears
 * both follows that one. */
static bool accepts_beat(const struct elect_node *n, const struct packet *p)
{
    if (!n->world->config.raw)
        return p->beat.term >= n->leader_term;
    if (n->leader == 0 || n->leader == p->from || n->suspect)
        return true;
    return world_place(n->world, p->from) < world_place(n->world, n->leader);
}

static void recv_beat(struct elect_node *n, const struct packet *p)
{
    uint64_t rtt = 2 * (now_of(n) - p->beat.sent_at);

    if (p->beat.first)
        stats_received(&n->world->stats, n->id);
    if (!accepts_beat(n, p))
        return;
    n->last = p->beat.last;
    n->term = n->world->config.raw ? 0 : p->beat.term;
    detector_rtt(n->detector, DETECTOR_LEADER, now_of(n), rtt);
    heard_leader(n, p->from, p->beat.term);
}

static void recv_strategy(struct elect_node *n, const struct packet *p)
{
    struct ballot_message m = p->ballot;
    struct strategy_view view;

    stats_received(&n->world->stats, n->id);
    m.to = n->id;
    if (n->world->config.raw && m.kind == BALLOT_MSG_COORDINATOR && m.leader != n->id)
        heard_leader(n, m.leader != 0 ? m.leader : p->from, 0);
    view = view_of(n);
    n->world->config.strategy->on_message(n->strategy, &view, &m, &n->world->output);
    carry_out(n);
}

static void recv_link(struct elect_node *n, uint32_t peer, bool up)
{
    if (peer == n->leader && !n->leads && !up)
        detector_link(n->detector, DETECTOR_LEADER, false);
}

void elect_node_packet(struct elect_node *n, const struct packet *p)
{
    if (!n->alive)
        return;
    if (n->voter) {
        voter_packet(n, p);
    } else {
        switch (p->kind) {
        case PACKET_BEAT:
            recv_beat(n, p);
            break;
        case PACKET_STRATEGY:
            recv_strategy(n, p);
            break;
        case PACKET_LINK:
            recv_link(n, p->link.peer, p->link.up);
            break;
        case PACKET_NONE:
        case PACKET_BALLOT:
        case PACKET_ACK:
        case PACKET_SYNCED:
            break;
        }
    }
    elect_node_schedule(n);
}

/* ---- timers ---------------------------------------------------------------------------------- */

/* Nobody suspects before there has been a leader. */
static bool may_suspect(const struct elect_node *n)
{
    uint32_t only = n->world->config.initiator;

    return !n->suspect && !n->leads && n->world->warm && (only == 0 || only == n->id);
}

void elect_node_schedule(struct elect_node *n)
{
    uint64_t now = now_of(n), at = UINT64_MAX;

    if (!n->alive)
        return;
    if (n->voter)
        at = voter_wake_at(n);
    else if (may_suspect(n))
        at = suspect_at(n);
    else if (!n->leads)
        at = n->strategy_at;
    if (!n->voter && n->strategy_at < at)
        at = n->strategy_at;
    if (at != UINT64_MAX)
        at = (at > now ? at : now) + net_random(&n->world->net, TIMER_LATE_US_MAX);
    if (n->leads && n->beat_at < at)
        at = n->beat_at;
    if (at == UINT64_MAX || (n->wake_at > now && n->wake_at <= at))
        return; /* a timer that comes earlier will look again */
    n->wake_at = at > now ? at : now + 1;
    net_timer(&n->world->net, n->wake_at, n->id);
}

static void run_timers(struct elect_node *n)
{
    struct strategy_view view;
    const struct strategy_ops *ops = n->world->config.strategy;

    if (may_suspect(n) && now_of(n) >= suspect_at(n)) {
        n->suspect = true;
        view = view_of(n);
        ops->on_suspect(n->strategy, &view, &n->world->output);
        carry_out(n);
    } else if (now_of(n) >= n->strategy_at) {
        view = view_of(n);
        ops->on_timer(n->strategy, &view, &n->world->output);
        carry_out(n);
    }
}

void elect_node_timer(struct elect_node *n)
{
    if (!n->alive || n->wake_at != now_of(n))
        return; /* of an earlier life, or an earlier plan */
    n->wake_at = 0;
    if (n->voter)
        voter_timer(n);
    else
        run_timers(n);
    if (n->leads && now_of(n) >= n->beat_at)
        send_beats(n, false);
    elect_node_schedule(n);
}

/* ---- life and death -------------------------------------------------------------------------- */

void elect_node_start(struct elect_node *n, uint32_t leader)
{
    const struct detector_config config = detector_config_default();

    assert(!n->alive);
    n->alive = true;
    n->life++;
    n->leads = n->suspect = false;
    n->leader = 0;
    n->leader_term = 0;
    n->contact_at = now_of(n);
    n->strategy_at = n->beat_at = UINT64_MAX;
    n->wake_at = 0;
    detector_init(n->detector, &config);
    n->world->config.strategy->init(n->strategy);
    if (n->voter)
        voter_start(n);
    else if (leader == n->id)
        elect_node_begin_leading(n, 0);
    else if (leader != 0)
        heard_leader(n, leader, 0);
    elect_node_schedule(n);
}

void elect_node_stop(struct elect_node *n)
{
    assert(n->alive);
    n->alive = n->leads = false;
    stats_alive(&n->world->stats, now_of(n), n->id, false);
}
