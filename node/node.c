/* Life cycle of a node: start and recovery, the queues and the turn that feeds them, the end. */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "repl/io/log.h"
#include "repl/wire/frame.h"

enum {
    LATE_US = 50 * 1000,         /* RULES E5: a timer this late extends suspicion */
    LOG_KEEP_MAX = 64 << 20,     /* of the log, for late peers: so many bytes ... */
    LOG_SENT_MAX = 4 << 20,      /* ... and so many on their way to one; ... */
    LOG_SHARE = 128,             /* ... or that part of the store: the reserve has room for both */
    OWN_TICK_US = 200 * 1000,    /* space, repair, flush: looked at so often while there is work */
    IDLE_TICK_US = 2 * 1000000,  /* and so often when there is none */
    STOP_LIMIT_US = 3 * 1000000, /* handing over must not keep a node from ending */
};

/* ---- time and chance ------------------------------------------------------------------------- */

static time_us clock_us(const struct node *n)
{
    return n->host.clock(n->host.ctx);
}

static void read_clocks(struct node *n)
{
    n->now = clock_us(n);
    n->wall_ns = n->host.wall_ns(n->host.ctx);
}

/* splitmix64, seeded from the system: cores take their chance from outside. */
uint64_t node_random(struct node *n)
{
    uint64_t z = (n->random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

const char *node_name_of(const struct node *n, uint32_t id)
{
    return id && id < NODE_IDS && n->peers[id].member ? n->peers[id].member->name : "none";
}

void node_die(struct node *n, const char *what, int error)
{
    log_error("TALLY-9001", "%s: %s; %s ends itself, the other nodes go on", what,
              strerror(error < 0 ? -error : error), n->self->name);
    n->host.fall(n->host.ctx);
    abort();
}

/* ---- queues ---------------------------------------------------------------------------------- */

void node_wake(struct node *n)
{
    if (!n->pumping && !n->woken) {
        n->woken = true;
        n->host.wake(n->host.ctx);
    }
}

void node_queue_replica(struct node *n, const struct node_replica_event *ev)
{
    vec_push(&n->replica_queue, *ev);
    node_wake(n);
}

void node_queue_replica_kind(struct node *n, enum replica_event_kind kind)
{
    struct node_replica_event ev = {.event = {.kind = kind}};
    node_queue_replica(n, &ev);
}

void node_queue_app(struct node *n, const struct node_app_event *ev)
{
    vec_push(&n->app_queue, *ev);
    node_wake(n);
}

void node_feed_app(struct node *n, const struct fs_app_event *ev)
{
    struct fs_app_event timed = *ev;
    timed.now = n->now;
    timed.wall_ns = n->wall_ns;
    fs_app_step(n->app, &timed, &n->app_out);
    node_carry_out_app(n, &n->app_out);
}

static void drop_replica_event(struct node_replica_event *ev)
{
    if (ev->message) {
        message_done(ev->message);
        free(ev->message);
    }
    free(ev->blocks);
    blob_unref(ev->payload);
    blob_unref(ev->inline_bytes);
}

static void feed_replica_queue(struct node *n)
{
    for (size_t i = 0; i < n->replica_queue.count; i++) { /* it may grow meanwhile */
        struct node_replica_event ev = n->replica_queue.items[i];
        node_replica_feed(n, &ev, i + 1 < n->replica_queue.count);
        drop_replica_event(&ev);
    }
    vec_clear(&n->replica_queue);
}

static void feed_app_queue(struct node *n)
{
    for (size_t i = 0; i < n->app_queue.count; i++) {
        struct node_app_event ev = n->app_queue.items[i];
        ev.event.bulk = ev.bulk;
        node_feed_app(n, &ev.event);
        blob_unref(ev.bulk);
    }
    vec_clear(&n->app_queue);
}

static void feed_queues(struct node *n)
{
    while (n->replica_queue.count || n->app_queue.count) {
        feed_replica_queue(n);
        feed_app_queue(n);
    }
}

/* ---- timers ---------------------------------------------------------------------------------- */

void node_timer_due(struct node *n)
{
    n->tick_due = true; /* fed after this turn's input: RULES E5 */
    node_wake(n);
}

static time_us sooner(time_us a, time_us b)
{
    return a == 0 ? b : b == 0 ? a : time_min(a, b);
}

static void set_timer(struct node *n)
{
    time_us wake = sooner(sooner(n->replica_wake, n->app_wake), n->own_wake);
    n->timer_wake = wake;
    n->host.wake_at(n->host.ctx, wake);
}

/* What the driver itself looks at now and then. */
static void own_tick(struct node *n)
{
    node_blocks_tick(n);
    node_snapshot_tick(n);
    node_flush_when_due(n);
    node_report_space(n);
    if (!n->install.from)
        node_report_applied(n);
    bool work = n->fetching || n->applied != n->durable_applied || n->unnamed.count;
    n->own_wake = n->now + (work ? OWN_TICK_US : IDLE_TICK_US);
}

static void feed_ticks(struct node *n)
{
    n->tick_due = false;
    if (n->timer_wake && n->now > n->timer_wake + LATE_US) {
        struct node_replica_event late = {.event = {.kind = REPLICA_PAUSED}};
        late.event.paused.late_us = n->now - n->timer_wake;
        log_info("late", "by_ms=%llu", (unsigned long long)late.event.paused.late_us / 1000);
        node_queue_replica(n, &late);
    }
    if (n->replica_wake && n->now >= n->replica_wake)
        node_queue_replica_kind(n, REPLICA_TICK);
    if (n->app_wake && n->now >= n->app_wake) {
        struct node_app_event tick = {.event = {.kind = FS_APP_TICK}};
        node_queue_app(n, &tick);
    }
    if (n->own_wake && n->now >= n->own_wake)
        own_tick(n);
}

/* ---- the turn -------------------------------------------------------------------------------- */

static void end_when_handed_over(struct node *n);

/* The others write theirs while this node does. True when something became durable, which is queued
 * now. */
static bool write_log(struct node *n)
{
    if (!n->store || !n->host.writes_log)
        return false;
    link_hub_flush(n->hub);
    if (!store_start(n->store))
        return false;
    store_poll(n->store);
    return true;
}

/* A leader waits for what a follower has written and nobody for what it applies, so that comes
 * last. With a leader it is the other way round: applying is what answers the mounts. */
static void acknowledge(struct node *n)
{
    feed_queues(n);
    if (!write_log(n))
        return;
    read_clocks(n);
    feed_queues(n);
    link_hub_flush(n->hub);
}

void node_turn(struct node *n)
{
    n->woken = false;
    read_clocks(n);
    time_us begun = n->now;
    uint64_t applied = n->applied;
    n->pumping = true;
    bool apply_more;
    if (n->role != REPLICA_LEADER)
        acknowledge(n);
    do {
        feed_queues(n);
        if (n->tick_due)
            feed_ticks(n);
        apply_more = node_apply_some(n);
    } while (n->replica_queue.count || n->app_queue.count);
    node_snapshot_switch(n);
    n->pumping = false;
    if (apply_more)
        node_wake(n);
    (void)write_log(n); /* what became durable is fed in the next turn */
    if (n->applied != applied)
        store_settle(n->store); /* the answers are on their way */
    set_timer(n);
    time_us took = time_since(clock_us(n), begun);
    if (took > n->loop_max_us)
        n->loop_max_us = took;
    if (n->stopping)
        end_when_handed_over(n);
}

/* ---- links ----------------------------------------------------------------------------------- */

static void peer_up(struct node *n, struct link *link, const struct hello *hello)
{
    uint32_t id = hello->node_id;
    if (id == 0 || id >= NODE_IDS || !n->peers[id].member || id == n->self->id) {
        link_close(link, "claims to be a node that the configuration does not know");
        return;
    }
    struct node_peer *p = &n->peers[id];
    p->link = link;
    p->store_boot = hello->store_boot;
    p->up_since = p->heard = n->now;
    log_info("link-up", "peer=%s", p->member->name);
    struct node_replica_event ev = {.event = {.kind = REPLICA_LINK_UP}};
    ev.event.link.peer = id;
    ev.event.link.store_boot = hello->store_boot;
    node_queue_replica(n, &ev);
    node_blocks_link_changed(n, id);
}

static void on_up(void *ctx, struct link *link, const struct hello *hello)
{
    struct node *n = ctx;
    if (hello->kind == HELLO_NODE)
        peer_up(n, link, hello);
    else if (hello->kind == HELLO_MOUNT)
        node_client_up(n, link, hello->name);
}

static void on_down(void *ctx, struct link *link, const char *reason)
{
    struct node *n = ctx;
    const struct hello *hello = link_peer(link);
    if (hello->kind == HELLO_MOUNT)
        node_client_down(n, link);
    uint32_t id = hello->kind == HELLO_NODE && hello->node_id < NODE_IDS ? hello->node_id : 0;
    if (id == 0 || n->peers[id].link != link)
        return; /* an older link of a peer that has a newer one */
    n->peers[id].link = NULL;
    log_info("link-down", "peer=%s reason=\"%s\"", n->peers[id].member->name, reason);
    struct node_replica_event ev = {.event = {.kind = REPLICA_LINK_DOWN}};
    ev.event.link.peer = id;
    node_queue_replica(n, &ev);
    node_blocks_link_changed(n, id);
    node_snapshot_link_down(n, id);
}

static void node_frame(struct node *n, struct link *link, uint32_t from, uint8_t type,
                       const uint8_t *control, size_t size, struct blob *bulk)
{
    switch (type) {
    case FRAME_REPL:
        node_replica_frame(n, link, from, control, size, bulk);
        break;
    case FRAME_BLOCK_GET:
        node_blocks_get_frame(n, link, control, size);
        break;
    case FRAME_BLOCK_DATA:
        node_blocks_data_frame(n, from, link, control, size, bulk);
        break;
    case FRAME_SNAPSHOT_CHUNK:
        node_snapshot_chunk_frame(n, from, link, control, size, bulk);
        break;
    case FRAME_SNAPSHOT_ACK:
        node_snapshot_ack_frame(n, from, link, control, size);
        break;
    default:
        link_close(link, "a frame that nodes do not send each other");
    }
}

static void on_frame(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t size, struct blob *bulk)
{
    struct node *n = ctx;
    const struct hello *hello = link_peer(link);
    if (hello->kind == HELLO_NODE)
        n->peers[hello->node_id].heard = n->now;
    if (hello->kind == HELLO_ADMIN && type == FRAME_ADMIN_REQUEST)
        node_admin_frame(n, link, control, size);
    else if (hello->kind == HELLO_NODE)
        node_frame(n, link, hello->node_id, type, control, size, bulk);
    else if (hello->kind == HELLO_MOUNT && type == FRAME_CLIENT_REQUEST)
        node_client_frame(n, link_data(link), control, size, bulk);
    else if (hello->kind == HELLO_MOUNT && type == FRAME_BLOCK_PUT)
        node_blocks_put_frame(n, link, control, size, bulk);
    else
        link_close(link, "a frame that this kind of peer does not send");
}

/* ---- ending ---------------------------------------------------------------------------------- */

void node_stop(struct node *n)
{
    if (n->stopping)
        return;
    n->stopping = true;
    n->stop_limit = clock_us(n) + STOP_LIMIT_US;
    n->own_wake = n->stop_limit;
    node_queue_replica_kind(n, REPLICA_STOP);
}

static void end_when_handed_over(struct node *n)
{
    if (n->handed_over || n->now >= n->stop_limit)
        n->host.ended(n->host.ctx);
}

/* ---- the store ---------------------------------------------------------------------------------
 */

static void wake_from_store(void *ctx) /* on any thread */
{
    struct node *n = ctx;
    n->host.store_ready(n->host.ctx);
}

void node_poll_store(struct node *n)
{
    if (n->store)
        store_poll(n->store);
}

static void on_durable(void *ctx, uint64_t ticket)
{
    struct node_replica_event ev = {.event = {.kind = REPLICA_WRITTEN}};
    ev.event.written.write_seq = ticket;
    node_queue_replica(ctx, &ev);
}

static void on_missing(void *ctx, struct block_name name, bool missing)
{
    struct node *n = ctx;
    if (missing)
        log_warn("TALLY-3004", "block %llu.%llu is damaged here; it is fetched from another copy",
                 (unsigned long long)name.session, (unsigned long long)name.n);
    if (missing)
        node_blocks_damaged(n, name);
    n->own_wake = n->now; /* look at what is missing now */
    n->tick_due = true;
    node_wake(n);
}

/* ---- starting -------------------------------------------------------------------------------- */

static int open_hub(struct node *n)
{
    struct hello self = {.kind = HELLO_NODE, .node_id = n->self->id, .store_boot = n->store_boot};
    memcpy(self.cluster, n->config.cluster, sizeof self.cluster);
    (void)snprintf(self.name, sizeof self.name, "%s", n->self->name);
    struct link_callbacks callbacks = {
        .ctx = n, .on_up = on_up, .on_down = on_down, .on_frame = on_frame};
    n->hub = link_hub_new(n->host.loop, &self, &callbacks);
    int r = link_hub_listen(n->hub, n->self->address);
    if (r < 0) {
        log_error("TALLY-2001", "cannot listen on %s: %s%s", n->self->address, strerror(-r),
                  r == -EADDRINUSE ? "; is this node running already?" : "");
        return r;
    }
    /* of two nodes the one with the higher id calls: one link for each pair */
    for (uint32_t id = 1; id < n->self->id && r == 0; id++) {
        const struct node_member *peer = n->peers[id].member;
        if (peer)
            r = link_hub_connect(n->hub, peer->name, peer->address);
    }
    return r;
}

static void set_members(struct node *n, struct member_set *members)
{
    uint32_t rank = 0;
    member_set_init(members);
    for (size_t i = 0; i < n->config.members_count; i++) {
        const struct node_member *m = &n->config.members[i];
        n->peers[m->id].member = m;
        if (m->id == n->config.self)
            n->self = m;
        *(m->witness ? &n->witnesses : &n->copies) |= 1u << m->id;
        member_set_put(members, m->id, m->witness ? MEMBER_WITNESS : MEMBER_COPY, rank++);
    }
}

static int load_entry(void *ctx, struct entry *e)
{
    struct node *n = ctx;
    if (e->index == n->applied)
        n->applied_term = e->term;
    return replica_load_entry(n->replica, e);
}

static int open_store(struct node *n, struct store_recovered *info)
{
    const char *dir = n->config.store_dir;
    char error[512];
    struct store_config sc = {.dir = dir,
                              .kind = n->self->witness ? STORE_WITNESS : STORE_COPY,
                              .node = n->self->id,
                              .capacity = n->config.capacity_bytes,
                              .create = n->config.create || MUTANT(wiped_store_returns),
                              .wake = wake_from_store,
                              .wake_ctx = n,
                              .started = n->host.writes_log};
    memcpy(sc.cluster, n->config.cluster, sizeof sc.cluster);
    int r = store_open(&sc, &n->store, info, error, sizeof error);
    if (r < 0) {
        log_error("TALLY-3001", "store %s: %s%s", dir, error,
                  r == -ENOENT ? "; if this is the node's first start, add --create" : "");
        return r;
    }
    store_on_durable(n->store, on_durable, n);
    store_on_missing(n->store, on_missing, n);
    n->store_boot = info->store_boot;
    n->applied = n->advance = info->applied;
    n->applied_term = info->base_term;
    n->whole_index = info->whole_index;
    return 0;
}

/* The store's memory into the replica. */
static int recover(struct node *n, const struct replica_config *rc)
{
    struct store_recovered info;
    int r = open_store(n, &info);
    if (r < 0)
        return r;
    uint64_t total, free_bytes;
    store_space(n->store, &total, &free_bytes);
    struct replica_config sized = *rc;
    sized.keep_bytes = smaller_of(total / LOG_SHARE, LOG_KEEP_MAX);
    sized.peer_bytes = smaller_of(total / LOG_SHARE, LOG_SENT_MAX);
    n->replica = replica_new(&sized, info.base_index, info.base_term);
    r = store_load_entries(n->store, load_entry, n);
    if (r < 0) {
        log_error("TALLY-3002", "store %s: the log does not fit together: %s", n->config.store_dir,
                  strerror(-r));
        return r;
    }
    node_apply_open(n);
    store_space(n->store, &total, &free_bytes);
    struct node_replica_event ev = {.event = {.kind = REPLICA_START}};
    ev.event.start.term = info.term;
    ev.event.start.vote = info.vote;
    ev.event.start.commit = info.applied;
    ev.event.start.applied = info.applied;
    ev.event.start.whole_index = info.whole_index;
    ev.event.start.free_bytes = free_bytes;
    node_queue_replica(n, &ev);
    log_info("recovered", "log=%llu..%llu applied=%llu term=%llu missing=%llu",
             (unsigned long long)info.base_index + 1, (unsigned long long)info.last_index,
             (unsigned long long)info.applied, (unsigned long long)info.term,
             (unsigned long long)store_missing_count(n->store));
    if (info.entries_damaged)
        log_warn("TALLY-3003",
                 "%llu entries have unreadable bytes; they are fetched from other copies",
                 (unsigned long long)info.entries_damaged);
    return 0;
}

static void open_app(struct node *n)
{
    struct fs_app_config ac = {.self = n->self->id,
                               .witness = n->self->witness,
                               .state = n->state,
                               .lease_us = 4 * TIME_S,
                               .session_timeout_us = 60 * TIME_S,
                               .trace = n->trace};
    n->app = fs_app_new(&ac);
    struct node_app_event ev = {.event = {.kind = FS_APP_RESTORED, .index = n->applied}};
    node_queue_app(n, &ev);
}

static int start(struct node *n)
{
    struct replica_config rc = {
        .self = n->config.self, .keep_entries = n->config.log_keep_entries, .trace = n->trace};
    read_clocks(n);
    set_members(n, &rc.members);
    assert(n->self);
    struct ballot_config bc = ballot_config_default(n->config.self, &rc.members);
    bc.leader_lease = n->config.leader_lease;
    if (n->config.election)
        bc.strategy = n->config.election;
    n->config.election = bc.strategy;
    rc.ballot = &bc;
    int r = recover(n, &rc);
    if (r < 0)
        return r;
    open_app(n);
    r = open_hub(n);
    if (r < 0)
        return r;
    n->own_wake = n->now + OWN_TICK_US;
    set_timer(n);
    log_info("start", "node=%s role=%s store=%s", n->self->name,
             n->self->witness ? "witness" : "copy", n->config.store_dir);
    return 0;
}

struct node *node_open(const struct node_config *config, const struct node_host *host)
{
    struct node *n = xcalloc(1, sizeof *n);
    n->config = *config;
    n->host = *host;
    n->random_state = config->random_seed;
    n->trace = config->trace;
    if (start(n) == 0)
        return n;
    node_close(n);
    return NULL;
}

static void drop_queues(struct node *n)
{
    for (size_t i = 0; i < n->replica_queue.count; i++)
        drop_replica_event(&n->replica_queue.items[i]);
    for (size_t i = 0; i < n->app_queue.count; i++) {
        blob_unref(n->app_queue.items[i].bulk);
        if (n->app_queue.items[i].event.kind == FS_APP_REQUEST)
            fs__request__free_unpacked(n->app_queue.items[i].event.request, NULL);
    }
    vec_done(&n->replica_queue);
    vec_done(&n->app_queue);
}

static void forget_links(struct node *n)
{
    size_t cursor = 0;
    void *client;
    for (uint32_t id = 0; id < NODE_IDS; id++) {
        n->peers[id].link = NULL;
        node_snapshot_link_down(n, id);
    }
    if (n->hub)
        link_hub_close(n->hub);
    while (map_next(&n->clients, &cursor, NULL, &client))
        free(client);
    map_done(&n->clients);
}

void node_close(struct node *n)
{
    forget_links(n);
    fs_app_free(n->app);
    node_apply_close(n);
    store_close(n->store); /* reports what was under way: queued, and fed to nobody any more */
    node_blocks_close(n);
    drop_queues(n);
    free(n->app_out.effects);
    replica_update_done(&n->update);
    replica_free(n->replica);
    free(n);
}
