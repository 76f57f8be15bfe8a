/* A mount as tools/cli/mount_*.c make it: events into the client core, its effects out, links,
 * wake-ups, and the token file. */
#include "tests/sim/mount_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/link.h"
#include "tests/sim/check_mounts.h"
#include "tests/sim/workload.h"

enum {
    PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1,
};
#define NO_EPOCH_PM 100000u /* per million mounts on a kernel without epochs */

static struct memory files[PROCESSES];

struct memory *mount_file(const struct mount *m)
{
    return &files[m->process->id];
}

/* Mounts are numbered from 1. */

/* ---- whose it is ----------------------------------------------------------------------------- */

uint32_t mount_number(const struct mount *m)
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
    mount_feed(m, &ev);
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
        workload_session_lost(mount_number(m), session);
    for (size_t i = 0; i < m->out.count; i++)
        mount_carry_out(m, &m->out.effects[i]);
    time_us wake = m->out.wake_at;
    client_out_clear(&m->out);
    set_wake(m, wake);
}

void mount_feed(struct mount *m, struct client_event *ev)
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
        assert(op->kind == CLIENT_RELEASE || op->kind == CLIENT_RELEASEDIR ||
               op->kind == CLIENT_FORGET); /* nothing borrowed */
        vec_push(&m->later, *op);
        return;
    }
    struct client_event ev = {.kind = CLIENT_EV_OP, .op = op};
    mount_feed(m, &ev);
}

void mount_cancel(struct mount *m, uint64_t op_id)
{
    struct client_event ev = {.kind = CLIENT_EV_CANCEL, .op_id = op_id};
    mount_feed(m, &ev);
}

void mount_interrupt(struct mount *m, uint64_t op_id)
{
    struct client_event ev = {.kind = CLIENT_EV_INTERRUPT, .op_id = op_id};
    mount_feed(m, &ev);
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
    struct client_config c = {.consistency = s->session_mounts >> mount_number(m) & 1
                                                 ? CLIENT_SESSION
                                                 : CLIENT_LINEARIZABLE,
                              .local_names = s->local_names,
                              .name_cache = !sim_chance(RND_KERNEL, NO_EPOCH_PM),
                              .deadline_us = DEADLINE,
                              .lease_us = 4 * TIME_S,
                              .buffer_bytes = s->buffer_bytes,
                              .kept_bytes = s->kept_bytes,
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
    mount_connect(m);
    struct client_op root = {.id = PROBE_ID, .kind = CLIENT_GETATTR, .ino = 1};
    mount_op(m, &root);
    workload_mount_up(mount_number(m));
    return m;
}

/* Has the cluster ended its session (RULES L2)? A session's number is the index of its entry. */
void mount_see_state(struct mount *m, const struct node *n)
{
    struct fs_session session;
    uint64_t id = m->client->session;
    if (id != 0 && id <= n->applied && !fs_session_get(n->state, id, &session))
        m->session_over = id;
}

void mount_killed(struct mount *m)
{
    assert(!m->feeding);
    workload_mount_down(mount_number(m));
    bool lossy = !m->ended || m->ended_dirty;
    if (lossy && m->client->session != 0 && m->session_over == m->client->session)
        workload_session_lost(mount_number(m), m->client->session);
    if (lossy)
        workload_mount_killed(mount_number(m));
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
    mount_note_losses(m);
    mount_finish(m);
}

static void on_detached(void *ctx, uint64_t arg)
{
    struct mount *m = ctx;
    (void)arg;
    process_at_clock(m->process, process_clock(m->process) + DEADLINE, on_flush_limit, m, 0);
    struct client_event ev = {.kind = CLIENT_EV_STOP};
    mount_feed(m, &ev);
}

/* Its applications end first: their descriptors are closed. Then everything is committed. */
void mount_stop(struct mount *m)
{
    if (m->stopping)
        return;
    m->stopping = true;
    workload_mount_down(mount_number(m));
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
    return m->client->session; /* 0: none now */
}

struct process *mount_process(struct mount *m)
{
    return m->process;
}
