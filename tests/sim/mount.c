/* A mount as tools/cli/mount_*.c make it: events into the client core, its effects out, links,
 * wake-ups, and the token file. */
#include "tests/sim/mount.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/internal.h"
#include "node/internal.h"
#include "repl/io/link.h"
#include "repl/wire/frame.h"
#include "tests/sim/check.h"
#include "tests/sim/check_mounts.h"
#include "tests/sim/history.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/workload.h"

enum {
    PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1,
};
#define DEADLINE    (30 * TIME_S)       /* of an operation, and of the last flush */
#define KEEP_DELAY  (100 * TIME_MS)     /* tokens that change often are written so often at most */
#define PROBE_ID    (UINT64_C(1) << 63) /* the mount's own operations; the kernel's are below */
#define NO_EPOCH_PM 100000u             /* per million mounts on a kernel without epochs */

/* What the token file holds (tools/cli/mount_state.c). Written by rename: whole or not at all. */
struct memory {
    uint64_t session, token;
    uint8_t uuid[16];
};
static struct memory files[PROCESSES];

struct mount {
    struct process *process;
    struct client *client;
    struct kernel *kernel;
    struct link_hub *hub;
    struct link *links[NODE_IDS];
    struct client_out out;
    bool ended_dirty; /* commits are missing */
    bool feeding, ready, stopping, ended, keep_planned;
    vec_of(struct client_op) later; /* what arose while effects were carried out */
    time_us wake_planned;           /* by the process's clock; 0: none */
    struct memory memory;
    uint64_t token_then; /* that it started with */
};

static void feed(struct mount *m, struct client_event *ev);

/* Mounts are numbered from 1. */
static uint32_t number_of(const struct mount *m)
{
    return m->process->id - process_nodes();
}

/* ---- wake-ups -------------------------------------------------------------------------------- */

static void on_wake(void *ctx, uint64_t at)
{
    struct mount *m = ctx;
    if (m->wake_planned != at)
        return; /* an earlier one was planned since */
    m->wake_planned = 0;
    struct client_event ev = {.kind = CLIENT_EV_TICK};
    feed(m, &ev);
}

/* One planned moment at a time: one that comes too early makes a tick that finds nothing. */
static void set_wake(struct mount *m, time_us at)
{
    if (at == 0 || at == TIME_NEVER || m->ended)
        return;
    if (m->wake_planned != 0 && m->wake_planned <= at)
        return;
    m->wake_planned = at;
    process_at_clock(m->process, at, on_wake, m, at);
}

/* ---- effects --------------------------------------------------------------------------------- */

/* Leases asked for and given back: what is hardest to follow. */
static void trace_request(const struct mount *m, uint32_t node, const Fs__Request *q)
{
    if (q->body_case == FS__REQUEST__BODY_RECALL_ACK) {
        const Fs__RecallAck *a = q->recall_ack;
        sim_trace("m%u to n%u ack %llu", m->process->id, node, (unsigned long long)a->n);
        for (size_t i = 0; i < a->n_leases; i++)
            sim_trace("m%u gives back ino %llu epoch %llu last_c %llu", m->process->id,
                      (unsigned long long)a->leases[i]->ino,
                      (unsigned long long)a->leases[i]->epoch,
                      (unsigned long long)a->leases[i]->last_c);
    } else if (q->body_case == FS__REQUEST__BODY_OP && q->op->body_case == FS__OP__BODY_COMMIT) {
        const Fs__Commit *k = q->op->commit;
        sim_trace("m%u to n%u commit ino %llu epoch %llu c %llu", m->process->id, node,
                  (unsigned long long)k->ino, (unsigned long long)k->epoch,
                  (unsigned long long)k->c);
    } else if (q->body_case == FS__REQUEST__BODY_OP && q->op->body_case == FS__OP__BODY_LEASE) {
        sim_trace("m%u to n%u lease of ino %llu, request %llu", m->process->id, node,
                  (unsigned long long)q->op->lease->ino, (unsigned long long)q->id);
    }
}

static void trace_reply(const struct mount *m, uint32_t node, const Fs__Reply *r)
{
    if (r->body_case == FS__REPLY__BODY_RECALL)
        for (size_t i = 0; i < r->recall->n_objects; i++)
            sim_trace("m%u from n%u recall %llu kind %d ino %llu", m->process->id, node,
                      (unsigned long long)r->recall->n, r->recall->objects[i]->kind,
                      (unsigned long long)r->recall->objects[i]->ino);
    else if (r->body_case == FS__REPLY__BODY_OP && r->op->attr && r->op->attr->lease_session)
        sim_trace("m%u from n%u request %llu: ino %llu leased to %llu epoch %llu", m->process->id,
                  node, (unsigned long long)r->id, (unsigned long long)r->op->attr->ino,
                  (unsigned long long)r->op->attr->lease_session,
                  (unsigned long long)r->op->attr->lease_epoch);
}

static void send_frame(struct mount *m, const struct client_effect *e)
{
    struct link *link = m->links[e->node];
    if (!link)
        return; /* the core has heard it, or is about to */
    bool put = e->kind == CLIENT_PUT;
    if (!put && sim_tracing())
        trace_request(m, e->node, e->request);
    size_t size =
        put ? fs__block_put__get_packed_size(e->put) : fs__request__get_packed_size(e->request);
    uint8_t stack[4096], *packed = size <= sizeof stack ? stack : xmalloc(size);
    (void)(put ? fs__block_put__pack(e->put, packed) : fs__request__pack(e->request, packed));
    link_send(link, put ? FRAME_BLOCK_PUT : FRAME_CLIENT_REQUEST, packed, size, e->blobs,
              e->blobs_count);
    if (packed != stack)
        free(packed);
}

static void probe_root(struct mount *m)
{
    struct client_op op = {.id = PROBE_ID, .kind = CLIENT_GETATTR, .ino = 1};
    vec_push(&m->later, op);
}

/* A start that failed is tried again by whoever mounts; here it goes on waiting. */
static void on_probe(struct mount *m, const struct client_result *result)
{
    if (m->ready)
        return;
    m->ready = result->err == 0;
    if (!m->ready) {
        probe_root(m);
        return;
    }
    struct client_op list = {.id = PROBE_ID, .kind = CLIENT_READDIR, .ino = 1, .size = 4096};
    vec_push(&m->later, list);
}

static void on_keep(void *ctx, uint64_t arg)
{
    struct mount *m = ctx;
    (void)arg;
    m->keep_planned = false;
    files[m->process->id] = m->memory;
}

/* A new session is kept at once: the next life must be able to name it. */
static void keep_token(struct mount *m, const struct client_effect *e)
{
    uint64_t before = m->memory.session;
    m->memory.session = e->session;
    m->memory.token = e->token;
    if (before != e->session) {
        link_hub_set_session(m->hub, e->session);
        on_keep(m, 0);
    } else if (!m->keep_planned) {
        m->keep_planned = true;
        process_at_clock(m->process, process_clock(m->process) + KEEP_DELAY, on_keep, m, 0);
    }
}

static void end(void *ctx, uint64_t arg)
{
    struct mount *m = ctx;
    (void)arg;
    process_kill(m->process, false);
}

/* It ends without its session, or without having committed everything: as with a SIGKILL. */
static void note_what_is_lost(struct mount *m)
{
    m->ended_dirty |= m->client->state != SESSION_LIVE || !list_empty(&m->client->commits) ||
                      !list_empty(&m->client->dirty_files);
}

static void finish(struct mount *m)
{
    if (m->ended)
        return;
    m->ended = true;
    if (m->memory.session)
        files[m->process->id] = m->memory;
    process_at(m->process, sim_now(), end, m, 0);
}

static void carry_out(struct mount *m, const struct client_effect *e)
{
    switch (e->kind) {
    case CLIENT_SEND:
        if (sim_swarm()->session_consistency && e->request->follower)
            check_promises_token(m->process->id, e->request->min_index, m->token_then);
        send_frame(m, e);
        break;
    case CLIENT_PUT:
        send_frame(m, e);
        break;
    case CLIENT_REPLY:
        if (e->op_id == PROBE_ID)
            on_probe(m, &e->result);
        else
            kernel_reply(m->kernel, e->op_id, &e->result);
        break;
    case CLIENT_NOTIFY_ATTR:
        sim_count(COUNT_RECALLS, 1);
        kernel_notify_attr(m->kernel, e->ino);
        break;
    case CLIENT_NOTIFY_DATA:
        kernel_notify_data(m->kernel, e->ino);
        break;
    case CLIENT_NOTIFY_NAMES:
        kernel_notify_names(m->kernel);
        break;
    case CLIENT_TOKEN:
        keep_token(m, e);
        break;
    case CLIENT_LOG:
        sim_trace("m%u log %s", m->process->id, e->text);
        break;
    case CLIENT_STOPPED:
        note_what_is_lost(m);
        finish(m);
        break;
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static void feed_one(struct mount *m, struct client_event *ev)
{
    ev->now = process_clock(m->process);
    ev->wall_ns = process_wall_ns(m->process);
    uint64_t session = m->client->session, redone = m->client->reads_redone;
    check_mounts_before(m->client, ev);
    client_step(m->client, ev, &m->out);
    check_mounts_after(m->process, m->client, ev, &m->out);
    sim_count(COUNT_READS_REDONE, m->client->reads_redone - redone);
    if (session != 0 && m->client->session != session)
        workload_session_lost(number_of(m), session);
    for (size_t i = 0; i < m->out.count; i++)
        carry_out(m, &m->out.effects[i]);
    time_us wake = m->out.wake_at;
    client_out_clear(&m->out);
    set_wake(m, wake);
}

static void feed(struct mount *m, struct client_event *ev)
{
    assert(!m->feeding);
    if (m->ended)
        return;
    m->feeding = true;
    feed_one(m, ev);
    for (size_t i = 0; i < m->later.count; i++) { /* it may grow meanwhile */
        struct client_op op = m->later.items[i];
        struct client_event next = {.kind = CLIENT_EV_OP, .op = &op};
        feed_one(m, &next);
    }
    vec_clear(&m->later);
    m->feeding = false;
}

void mount_op(struct mount *m, const struct client_op *op)
{
    if (m->feeding) {
        assert(op->kind == CLIENT_RELEASE || op->kind == CLIENT_FORGET); /* nothing borrowed */
        vec_push(&m->later, *op);
        return;
    }
    struct client_event ev = {.kind = CLIENT_EV_OP, .op = op};
    feed(m, &ev);
}

void mount_cancel(struct mount *m, uint64_t op_id)
{
    struct client_event ev = {.kind = CLIENT_EV_CANCEL, .op_id = op_id};
    feed(m, &ev);
}

/* ---- links ----------------------------------------------------------------------------------- */

static void on_up(void *ctx, struct link *link, const struct hello *peer)
{
    struct mount *m = ctx;
    assert(peer->kind == HELLO_NODE && peer->node_id < NODE_IDS);
    m->links[peer->node_id] = link;
    struct client_event ev = {
        .kind = CLIENT_EV_LINK_UP, .node = peer->node_id, .store_boot = peer->store_boot};
    feed(m, &ev);
}

static void on_down(void *ctx, struct link *link, const char *reason)
{
    struct mount *m = ctx;
    uint32_t id = link_peer(link)->node_id;
    (void)reason;
    if (m->links[id] != link)
        return; /* an older link of a node that has a newer one */
    m->links[id] = NULL;
    struct client_event ev = {.kind = CLIENT_EV_LINK_DOWN, .node = id};
    feed(m, &ev);
}

static void on_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size,
                     struct blob *bulk)
{
    Fs__Reply *reply = fs__reply__unpack(NULL, size, control);
    assert(reply);
    if (sim_tracing())
        trace_reply(m, link_peer(link)->node_id, reply);
    struct client_event ev = {
        .kind = CLIENT_EV_REPLY, .node = link_peer(link)->node_id, .reply = reply, .bulk = bulk};
    feed(m, &ev);
    fs__reply__free_unpacked(reply, NULL);
}

static void on_put_reply(struct mount *m, struct link *link, const uint8_t *control, size_t size)
{
    Fs__BlockPutReply *reply = fs__block_put_reply__unpack(NULL, size, control);
    assert(reply);
    struct client_event ev = {
        .kind = CLIENT_EV_PUT_REPLY, .node = link_peer(link)->node_id, .put_reply = reply};
    feed(m, &ev);
    fs__block_put_reply__free_unpacked(reply, NULL);
}

static void on_frame(void *ctx, struct link *link, uint8_t type, const uint8_t *control,
                     size_t size, struct blob *bulk)
{
    if (type == FRAME_CLIENT_REPLY)
        on_reply(ctx, link, control, size, bulk);
    else if (type == FRAME_BLOCK_PUT_REPLY)
        on_put_reply(ctx, link, control, size);
    else
        sim_complain("frames", "a mount was sent a frame of type %u", type);
}

static void connect_nodes(struct mount *m)
{
    struct hello self = {.kind = HELLO_MOUNT, .cluster = PROCESS_CLUSTER};
    struct link_callbacks callbacks = {
        .ctx = m, .on_up = on_up, .on_down = on_down, .on_frame = on_frame};
    (void)snprintf(self.name, sizeof self.name, "m%u", number_of(m));
    m->hub = link_hub_new((uv_loop_t *)(void *)m->process, &self, &callbacks);
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        char name[16], address[16];
        (void)snprintf(name, sizeof name, "n%u", id);
        (void)snprintf(address, sizeof address, "sim:%u", id);
        int r = link_hub_connect(m->hub, name, address);
        assert(r == 0);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void trace_line(void *ctx, const char *text)
{
    const struct mount *m = ctx;
    sim_trace("m%u %s", m->process->id, text);
}

/* Copies in an order of the mount's own: each is nearest to somebody. */
static void set_nodes(const struct mount *m, struct client_config *c)
{
    const struct sim_swarm *s = sim_swarm();
    for (uint32_t i = 0; i < s->copies; i++) {
        uint32_t id = 1 + (i + m->process->id) % s->copies;
        c->copies |= 1u << id;
        c->read_order[c->read_order_count++] = id;
    }
    for (uint32_t i = 1; i <= s->witnesses; i++)
        c->witnesses |= 1u << (s->copies + i);
}

static struct client *new_client(struct mount *m)
{
    const struct sim_swarm *s = sim_swarm();
    struct client_config c = {.consistency =
                                  s->session_consistency ? CLIENT_SESSION : CLIENT_LINEARIZABLE,
                              .name_cache = !sim_chance(RND_KERNEL, NO_EPOCH_PM),
                              .deadline_us = DEADLINE,
                              .lease_us = 4 * TIME_S,
                              .buffer_bytes = s->buffer_bytes,
                              .inline_max = 64 << 10,
                              .old_session = m->memory.session,
                              .token = m->memory.token};
    (void)snprintf(c.name, sizeof c.name, "sim:/m%u", m->process->id);
    set_nodes(m, &c);
    memcpy(c.old_uuid, m->memory.uuid, sizeof c.old_uuid);
    for (size_t i = 0; i < sizeof c.uuid; i++)
        c.uuid[i] = (uint8_t)sim_below(RND_KERNEL, 256);
    /* The old pair stays in the file until the new session is known. */
    memcpy(m->memory.uuid, c.uuid, sizeof c.uuid);
    m->memory.session = 0;
    if (sim_tracing())
        c.trace = (struct trace){.line = trace_line, .ctx = m};
    return client_new(&c);
}

struct mount *mount_start(struct process *p)
{
    assert(p->id < PROCESSES);
    if (p->life <= 1)
        files[p->id] = (struct memory){0}; /* a run before this one in the same program */
    struct mount *m = xcalloc(1, sizeof *m);
    m->process = p;
    m->memory = files[p->id];
    m->token_then = m->memory.token;
    m->kernel = kernel_new(m);
    m->client = new_client(m);
    connect_nodes(m);
    struct client_op root = {.id = PROBE_ID, .kind = CLIENT_GETATTR, .ino = 1};
    mount_op(m, &root);
    workload_mount_up(number_of(m));
    return m;
}

/* Has the cluster ended its session (RULES L2) and it dies before it heard of that? */
static bool session_over(const struct mount *m)
{
    const struct node *newest = NULL;
    struct fs_session session;
    for (uint32_t id = 1; id <= process_nodes(); id++) {
        const struct node *n = process_of(id)->node;
        if (n && n->state && (!newest || n->applied > newest->applied))
            newest = n;
    }
    return m->client->session != 0 && newest && newest->applied >= m->memory.token &&
           !fs_session_get(newest->state, m->client->session, &session);
}

void mount_killed(struct mount *m)
{
    assert(!m->feeding);
    workload_mount_down(number_of(m));
    bool lossy = !m->ended || m->ended_dirty;
    if (lossy && session_over(m))
        workload_session_lost(number_of(m), m->client->session);
    if (lossy)
        workload_mount_killed(number_of(m));
    m->ended = true;
    kernel_free(m->kernel);
    link_hub_close(m->hub);
    client_free(m->client);
    client_out_clear(&m->out);
    vec_done(&m->later);
    free(m);
}

/* The cluster took no more commits in time: what is not committed is lost, as with a SIGKILL. */
static void on_flush_limit(void *ctx, uint64_t arg)
{
    struct mount *m = ctx;
    (void)arg;
    if (m->ended)
        return;
    note_what_is_lost(m);
    finish(m);
}

static void on_detached(void *ctx, uint64_t arg)
{
    struct mount *m = ctx;
    (void)arg;
    process_at_clock(m->process, process_clock(m->process) + DEADLINE, on_flush_limit, m, 0);
    struct client_event ev = {.kind = CLIENT_EV_STOP};
    feed(m, &ev);
}

/* Its applications end first: their descriptors are closed. Then everything is committed. */
void mount_stop(struct mount *m)
{
    if (m->stopping)
        return;
    m->stopping = true;
    workload_mount_down(number_of(m));
    kernel_close_all(m->kernel);
    process_at(m->process, sim_now() + 10 * TIME_MS, on_detached, m, 0);
}

struct kernel *mount_kernel(struct mount *m)
{
    return m->kernel;
}

struct client *mount_client(struct mount *m)
{
    return m->client;
}

uint64_t mount_session(const struct mount *m)
{
    return m->memory.session;
}

struct process *mount_process(struct mount *m)
{
    return m->process;
}
