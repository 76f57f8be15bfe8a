#include "tests/unit/election/cluster.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void complain(struct cluster *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct cluster *c, const char *format, ...)
{
    va_list args;

    if (c->complaint[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(c->complaint, sizeof c->complaint, format, args);
    va_end(args);
}

uint64_t cluster_random(struct cluster *c, uint64_t below)
{
    uint64_t z = c->rng += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return below == 0 ? z : z % below;
}

static uint64_t clock_of(const struct sim_node *n, uint64_t now)
{
    return n->clock_offset + now + (uint64_t)((int64_t)now * n->clock_ppm / 1000000);
}

/* The first true time at which the node's clock shows `local`. */
static uint64_t true_time(const struct sim_node *n, uint64_t local)
{
    uint64_t at = (local - n->clock_offset) * 1000000 / (uint64_t)(1000000 + n->clock_ppm);

    while (clock_of(n, at) < local)
        at++;
    return at;
}

/* ---- the event queue: a binary heap by (at, order) ------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void queue_push(struct cluster *c, struct sim_event ev)
{
    uint32_t i = c->event_count++;

    assert(i < CLUSTER_EVENTS_MAX);
    ev.order = c->order++;
    for (; i > 0 && earlier(&ev, &c->events[(i - 1) / 2]); i = (i - 1) / 2)
        c->events[i] = c->events[(i - 1) / 2];
    c->events[i] = ev;
}

static struct sim_event queue_pop(struct cluster *c)
{
    struct sim_event top = c->events[0], last = c->events[--c->event_count];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < c->event_count) {
        if (child + 1 < c->event_count && earlier(&c->events[child + 1], &c->events[child]))
            child++;
        if (!earlier(&c->events[child], &last))
            break;
        c->events[i] = c->events[child];
        i = child;
    }
    if (c->event_count > 0)
        c->events[i] = last;
    return top;
}

static void net_send(struct cluster *c, const struct packet *p)
{
    uint64_t delay = 50 + cluster_random(c, c->delay_us_max);

    if (c->silent[p->from][p->to] || cluster_random(c, 1000) < c->loss_permille)
        return;
    queue_push(c, (struct sim_event){
                      .kind = SIM_PACKET, .at = c->now + delay, .node = p->to, .packet = *p});
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool holds_lease(const struct cluster *c, const struct sim_node *n)
{
    return n->alive && ballot_lease_until(&n->ballot) > clock_of(n, c->now);
}

/* Leases never overlap, and a leader is not elected while one of an earlier term runs. (A candidate
 * that slept through a later term's election may wake up leading an older term, without a lease.)
 */
static void check_leases(struct cluster *c, uint32_t id, bool elected)
{
    const struct sim_node *n = &c->nodes[id];

    if (!elected && !holds_lease(c, n))
        return;
    for (uint32_t other = 1; other <= NODE_ID_MAX; other++)
        if (other != id && c->nodes[other].exists && holds_lease(c, &c->nodes[other]) &&
            (holds_lease(c, n) || n->ballot.term > c->nodes[other].ballot.term))
            complain(c, "t=%llu n%u %s while n%u holds a lease", (unsigned long long)c->now, id,
                     elected ? "is elected" : "has a lease", other);
}

static void check_elected(struct cluster *c, uint32_t id)
{
    const struct sim_node *n = &c->nodes[id];
    uint64_t term = n->ballot.term;

    assert(term < CLUSTER_TERMS_MAX);
    if (c->leader_of[term] != 0 && c->leader_of[term] != id)
        complain(c, "term %llu has two leaders, n%u and n%u", (unsigned long long)term,
                 c->leader_of[term], id);
    c->leader_of[term] = id;
    /* "Every later leader": one that slept through its own election may wake up in an older term.
     */
    if (term > c->committed.term && log_position_compare(n->last, c->committed) < 0)
        complain(c, "n%u leads term %llu without a committed entry", id, (unsigned long long)term);
    check_leases(c, id, true);
}

static void check_vote(struct cluster *c, const struct ballot_message *m)
{
    uint8_t *vote;

    if (m->kind != BALLOT_MSG_VOTE_RESP || !m->granted)
        return;
    assert(m->ballot < CLUSTER_TERMS_MAX);
    vote = &c->vote_of[m->ballot][m->from];
    if (*vote != 0 && *vote != m->to)
        complain(c, "n%u votes for n%u and n%u in term %llu", m->from, *vote, m->to,
                 (unsigned long long)m->ballot);
    *vote = (uint8_t)m->to;
}

/* ---- one node -------------------------------------------------------------------------------- */

static void send_heartbeats(struct cluster *c, uint32_t id)
{
    struct sim_node *n = &c->nodes[id];

    n->heartbeat_at = c->now + c->heartbeat_us;
    for (uint32_t to = 1; to <= NODE_ID_MAX; to++) {
        struct packet p = {.kind = PACKET_APPEND,
                           .from = id,
                           .to = to,
                           .term = n->ballot.term,
                           .sent_at = clock_of(n, c->now),
                           .last = n->last};

        if (to != id && (c->all & quorum_bit(to)))
            net_send(c, &p);
    }
}

static void set_last(struct cluster *c, uint32_t id, struct log_position last)
{
    c->nodes[id].last = last;
    cluster_feed(c, id, (struct ballot_event){.kind = BALLOT_EV_LOG, .last = last});
}

static void begin_leading(struct cluster *c, uint32_t id)
{
    struct sim_node *n = &c->nodes[id];

    n->elected_at = c->now;
    memset(n->match, 0, sizeof n->match);
    check_elected(c, id);
    c->elections++;
    if (n->ballot.role == BALLOT_RESCUE_LEADER)
        c->rescues++;
    else /* "First act of a leader: append NOOP" (V8); a rescue leader appends nothing */
        set_last(c, id, (struct log_position){n->ballot.term, n->last.index + 1});
    send_heartbeats(c, id);
}

static void begin_write(struct cluster *c, uint32_t id, uint64_t term, uint32_t vote)
{
    struct sim_node *n = &c->nodes[id];
    uint64_t at = c->now + 200 + cluster_random(c, 2000);

    if (cluster_random(c, 50) == 0)
        at += 20000; /* a slow disk now and then */
    if (c->flaw == FLAW_ACK_UNWRITTEN)
        at += cluster_random(c, 300000);
    if (at <= n->synced_until)
        at = n->synced_until + 1;
    n->synced_until = at;
    queue_push(
        c,
        (struct sim_event){
            .kind = SIM_SYNCED, .at = at, .node = id, .life = n->life, .term = term, .vote = vote});
}

void cluster_feed(struct cluster *c, uint32_t id, struct ballot_event ev)
{
    struct sim_node *n = &c->nodes[id];
    struct ballot_update *out = &n->out;
    bool begins, write;
    uint64_t term;
    uint32_t vote;

    ev.now = clock_of(n, c->now);
    ev.random = cluster_random(c, 0);
    if (c->flaw == FLAW_NO_PROMISE)
        n->ballot.promise_until = 0;
    ballot_step(&n->ballot, &ev, out);
    for (uint32_t i = 0; i < out->message_count; i++)
        check_vote(c, &out->messages[i]);
    for (uint32_t i = 0; i < out->message_count; i++)
        net_send(c, &(struct packet){.kind = PACKET_BALLOT,
                                     .from = id,
                                     .to = out->messages[i].to,
                                     .ballot = out->messages[i]});
    for (uint32_t i = 0; i < out->note_count; i++)
        n->refusals[out->notes[i].reason]++;
    if (out->transfer == BALLOT_TRANSFER_DONE)
        c->transfers_done++;
    n->tick_at = out->wake_at == UINT64_MAX ? UINT64_MAX
                                            : true_time(n, out->wake_at) + cluster_random(c, 300);
    begins = out->role_changed && (out->role == BALLOT_LEADER || out->role == BALLOT_RESCUE_LEADER);
    write = out->persist;
    term = out->term;
    vote = out->voted_for;
    check_leases(c, id, false);
    /* `out` is overwritten from here on. */
    if (write) {
        begin_write(c, id, term, vote);
        if (c->flaw == FLAW_ACK_UNWRITTEN)
            cluster_feed(
                c, id,
                (struct ballot_event){.kind = BALLOT_EV_SYNCED, .term = term, .voted_for = vote});
    }
    if (begins)
        begin_leading(c, id);
}

static void recv_append(struct cluster *c, const struct packet *p)
{
    struct sim_node *n = &c->nodes[p->to];
    struct packet answer = {
        .kind = PACKET_APPEND_RESP, .from = p->to, .to = p->from, .sent_at = p->sent_at};

    if (p->term >= n->ballot.term) {
        cluster_feed(c, p->to,
                     (struct ballot_event){
                         .kind = BALLOT_EV_LEADER_HEARD, .peer = p->from, .term = p->term});
        if (n->ballot.leader != p->from || ballot_durable_term(&n->ballot) != p->term)
            return;
        /* The whole log is taken over, except from a heartbeat overtaken by a later one. */
        if (n->last.term != p->term || p->last.index > n->last.index)
            set_last(c, p->to, p->last);
    }
    answer.term = ballot_durable_term(&n->ballot); /* V6 for the lower term */
    answer.last = n->last;
    net_send(c, &answer);
}

static void count_commit(struct cluster *c, struct sim_node *n, uint32_t id)
{
    uint64_t indexes[NODE_SLOTS] = {0};
    uint64_t index;

    if (n->ballot.role != BALLOT_LEADER)
        return;
    for (uint32_t peer = 1; peer <= NODE_ID_MAX; peer++)
        if (n->match[peer].term == n->ballot.term) /* V8: "term(i) == current term" */
            indexes[peer] = n->match[peer].index;
    indexes[id] = n->last.index;
    index = quorum_value(indexes, c->all);
    if (index != 0 &&
        log_position_compare((struct log_position){n->ballot.term, index}, c->committed) > 0)
        c->committed = (struct log_position){n->ballot.term, index};
}

static void maybe_transfer(struct cluster *c, uint32_t id, uint32_t peer)
{
    struct sim_node *n = &c->nodes[id];
    bool equal = log_position_compare(n->match[peer], n->last) == 0;
    bool rescue = n->ballot.role == BALLOT_RESCUE_LEADER;

    if (n->ballot.role != BALLOT_LEADER && !rescue)
        return;
    if (n->ballot.transfer_to == 0 && equal && member_kind_of(&c->members, peer) == MEMBER_COPY &&
        (rescue || (c->transfers && cluster_random(c, 200) == 0)))
        cluster_feed(c, id, (struct ballot_event){.kind = BALLOT_EV_TRANSFER, .peer = peer});
    if (n->ballot.transfer_to == peer && !n->ballot.transfer_sent && equal)
        cluster_feed(
            c, id,
            (struct ballot_event){.kind = BALLOT_EV_CAUGHT_UP, .peer = peer, .last = n->last});
}

static void recv_append_resp(struct cluster *c, const struct packet *p)
{
    struct sim_node *n = &c->nodes[p->to];

    if (p->term > n->ballot.term) {
        cluster_feed(
            c, p->to,
            (struct ballot_event){.kind = BALLOT_EV_HIGHER_TERM, .peer = p->from, .term = p->term});
        return;
    }
    if (p->term != n->ballot.term || n->ballot.leader != p->to)
        return;
    cluster_feed(
        c, p->to,
        (struct ballot_event){
            .kind = BALLOT_EV_ACK, .peer = p->from, .term = p->term, .sent_at = p->sent_at});
    cluster_feed(c, p->to,
                 (struct ballot_event){.kind = BALLOT_EV_RTT,
                                       .peer = p->from,
                                       .rtt_us = clock_of(n, c->now) - p->sent_at});
    if (log_position_compare(p->last, n->match[p->from]) > 0)
        n->match[p->from] = p->last;
    count_commit(c, n, p->to);
    maybe_transfer(c, p->to, p->from);
}

static void recv_packet(struct cluster *c, const struct packet *p)
{
    if (!c->nodes[p->to].alive)
        return;
    switch (p->kind) {
    case PACKET_BALLOT:
        cluster_feed(c, p->to,
                     (struct ballot_event){
                         .kind = BALLOT_EV_MESSAGE, .peer = p->from, .message = p->ballot});
        break;
    case PACKET_APPEND:
        recv_append(c, p);
        break;
    case PACKET_APPEND_RESP:
        recv_append_resp(c, p);
        break;
    }
}

static void write_durable(struct cluster *c, const struct sim_event *ev)
{
    struct sim_node *n = &c->nodes[ev->node];

    if (ev->term < n->term || (ev->term == n->term && n->vote != 0 && ev->vote != n->vote))
        complain(c, "n%u writes term %llu vote n%u over term %llu vote n%u", ev->node,
                 (unsigned long long)ev->term, ev->vote, (unsigned long long)n->term, n->vote);
    n->term = ev->term;
    n->vote = ev->vote;
}

static void run_event(struct cluster *c, const struct sim_event *ev)
{
    struct sim_node *n = &c->nodes[ev->node];

    switch (ev->kind) {
    case SIM_PACKET:
        recv_packet(c, &ev->packet);
        break;
    case SIM_SYNCED:
        if (!n->alive || n->life != ev->life)
            break;
        write_durable(c, ev);
        if (c->flaw != FLAW_ACK_UNWRITTEN)
            cluster_feed(c, ev->node,
                         (struct ballot_event){
                             .kind = BALLOT_EV_SYNCED, .term = ev->term, .voted_for = ev->vote});
        break;
    case SIM_LINK:
        if (!n->alive || (ev->up && !c->nodes[ev->peer].alive))
            break;
        cluster_feed(c, ev->node,
                     (struct ballot_event){.kind = ev->up ? BALLOT_EV_LINK_UP : BALLOT_EV_LINK_DOWN,
                                           .peer = ev->peer});
        break;
    }
}

/* ---- the world ------------------------------------------------------------------------------- */

static void init(struct cluster *c, const struct strategy_ops *strategy, uint64_t seed,
                 uint32_t copies, uint32_t witnesses, enum cluster_flaw flaw)
{
    memset(c, 0, sizeof *c);
    c->strategy = strategy;
    c->rng = seed * 0x2545f4914f6cdd1du + 1;
    c->flaw = flaw;
    c->now = 1000;
    c->delay_us_max = 1000;
    c->heartbeat_us = 40000;
    member_set_init(&c->members);
    for (uint32_t id = 1; id <= copies + witnesses; id++) {
        struct sim_node *n = &c->nodes[id];

        member_set_put(&c->members, id, id <= copies ? MEMBER_COPY : MEMBER_WITNESS, id);
        n->exists = true;
        n->clock_offset = 1 + cluster_random(c, 100000000);
        n->clock_ppm = (int64_t)cluster_random(c, 2001) - 1000;
    }
    c->all = member_all(&c->members);
    for (uint32_t id = 1; id <= copies + witnesses; id++)
        cluster_start(c, id);
}

void cluster_init(struct cluster *c, uint64_t seed, uint32_t copies, uint32_t witnesses,
                  enum cluster_flaw flaw)
{
    init(c, &strategy_candidate, seed, copies, witnesses, flaw);
}

void cluster_init_with(struct cluster *c, const struct strategy_ops *strategy, uint64_t seed,
                       uint32_t copies, uint32_t witnesses)
{
    init(c, strategy, seed, copies, witnesses, FLAW_NONE);
}

void cluster_start(struct cluster *c, uint32_t id)
{
    struct sim_node *n = &c->nodes[id];
    struct ballot_config config = ballot_config_default(id, &c->members);
    uint64_t term = n->term;
    uint32_t vote = n->vote;

    assert(n->exists && !n->alive);
    n->alive = true;
    n->life++;
    n->paused_until = 0;
    n->synced_until = c->now;
    n->tick_at = UINT64_MAX;
    if (c->flaw == FLAW_FORGET_VOTE || c->flaw == FLAW_FORGET_TERM)
        vote = n->vote = 0;
    if (c->flaw == FLAW_FORGET_TERM)
        term = n->term = 0;
    config.strategy = c->strategy;
    ballot_init(&n->ballot, &config);
    cluster_feed(c, id,
                 (struct ballot_event){
                     .kind = BALLOT_EV_START, .term = term, .voted_for = vote, .last = n->last});
    for (uint32_t peer = 1; peer <= NODE_ID_MAX; peer++) {
        if (peer == id || !c->nodes[peer].alive)
            continue;
        queue_push(
            c, (struct sim_event){
                   .kind = SIM_LINK, .at = c->now + 1000, .node = id, .peer = peer, .up = true});
        queue_push(
            c, (struct sim_event){
                   .kind = SIM_LINK, .at = c->now + 1000, .node = peer, .peer = id, .up = true});
    }
}

void cluster_crash(struct cluster *c, uint32_t id, bool closed)
{
    assert(c->nodes[id].alive);
    c->nodes[id].alive = false;
    for (uint32_t peer = 1; closed && peer <= NODE_ID_MAX; peer++)
        if (peer != id && c->nodes[peer].alive)
            queue_push(c, (struct sim_event){.kind = SIM_LINK,
                                             .at = c->now + 50 + cluster_random(c, c->delay_us_max),
                                             .node = peer,
                                             .peer = id});
}

void cluster_reset_link(struct cluster *c, uint32_t a, uint32_t b, uint64_t down_us)
{
    uint32_t ends[2] = {a, b};

    for (uint32_t i = 0; i < 2; i++) {
        struct sim_event ev = {.kind = SIM_LINK, .node = ends[i], .peer = ends[1 - i]};

        ev.at = c->now + cluster_random(c, 500);
        queue_push(c, ev);
        ev.at = c->now + 1000 + down_us;
        ev.up = true;
        queue_push(c, ev);
    }
}

void cluster_pause(struct cluster *c, uint32_t id, uint64_t pause_us)
{
    c->nodes[id].paused_until = c->now + pause_us;
}

void cluster_heal(struct cluster *c)
{
    memset(c->silent, 0, sizeof c->silent);
    c->loss_permille = 0;
    c->delay_us_max = 1000;
    c->transfers = false;
    for (uint32_t id = 1; id <= NODE_ID_MAX; id++)
        if (c->nodes[id].exists && !c->nodes[id].alive)
            cluster_start(c, id);
}

/* Timers of living nodes that are due; input of the same moment was handled before. */
static void run_timers(struct cluster *c)
{
    for (uint32_t id = 1; id <= NODE_ID_MAX; id++) {
        struct sim_node *n = &c->nodes[id];

        if (!n->alive || c->now < n->paused_until)
            continue;
        if (c->now >= n->tick_at)
            cluster_feed(c, id, (struct ballot_event){.kind = BALLOT_EV_TICK});
        if (n->ballot.leader == id && c->now >= n->heartbeat_at) {
            if (n->out.accepts && cluster_random(c, 2) == 0)
                set_last(c, id, (struct log_position){n->ballot.term, n->last.index + 1});
            send_heartbeats(c, id);
        }
    }
}

static uint64_t next_at(const struct cluster *c)
{
    uint64_t at = c->event_count > 0 ? c->events[0].at : UINT64_MAX;

    for (uint32_t id = 1; id <= NODE_ID_MAX; id++) {
        const struct sim_node *n = &c->nodes[id];
        uint64_t own = n->tick_at;

        if (!n->alive)
            continue;
        if (n->ballot.leader == id && n->heartbeat_at < own)
            own = n->heartbeat_at;
        if (own < n->paused_until)
            own = n->paused_until;
        if (own < at)
            at = own;
    }
    return at;
}

void cluster_run(struct cluster *c, uint64_t for_us)
{
    uint64_t end = c->now + for_us;

    while (c->complaint[0] == '\0' && next_at(c) <= end) {
        uint64_t at = next_at(c);

        if (at > c->now)
            c->now = at;
        while (c->event_count > 0 && c->events[0].at <= c->now) {
            struct sim_event ev = queue_pop(c);
            struct sim_node *n = &c->nodes[ev.node];

            if (n->alive && c->now < n->paused_until) {
                ev.at = n->paused_until; /* waits in its socket until the node runs again */
                queue_push(c, ev);
                continue;
            }
            run_event(c, &ev);
        }
        run_timers(c);
    }
    if (c->now < end)
        c->now = end;
}

uint32_t cluster_leader(const struct cluster *c)
{
    uint32_t leader = 0;

    for (uint32_t id = 1; id <= NODE_ID_MAX; id++)
        if (c->nodes[id].alive && c->nodes[id].ballot.role == BALLOT_LEADER &&
            (leader == 0 || c->nodes[id].ballot.term > c->nodes[leader].ballot.term))
            leader = id;
    return leader;
}

bool cluster_settle(struct cluster *c, uint64_t limit_us)
{
    for (uint64_t end = c->now + limit_us; c->now < end && c->complaint[0] == '\0';) {
        uint32_t leader = cluster_leader(c);
        bool settled = leader != 0;

        for (uint32_t id = 1; id <= NODE_ID_MAX; id++)
            if (c->nodes[id].alive && c->nodes[id].ballot.leader != leader)
                settled = false;
        if (settled)
            return true;
        cluster_run(c, 1000);
    }
    return false;
}
