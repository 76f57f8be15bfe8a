/* A mount's life: start, ready, stop. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "repl/io/log.h"
#include "tools/cli/mount.h"
#include "tools/cli/text.h"

enum {
    DETACH_PATIENCE_MS =
        5000, /* mapped pages are written back first; a stuck cluster must not hold the end up */
};

/* ---- ticks ------------------------------------------------------------------------------------
 */

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_timer(uv_timer_t *timer)
{
    struct mount *m = timer->data;
    m->tick_due = true;
    (void)uv_idle_start(&m->idle, on_idle);
}

/* After this turn's input: what arrived while we slept must not count as silence (RULES E5, L9). */
static void on_check(uv_check_t *check)
{
    struct mount *m = check->data;
    if (!m->tick_due)
        return;
    m->tick_due = false;
    (void)uv_idle_stop(&m->idle);
    mount_feed_kind(m, CLIENT_EV_TICK);
}

void mount_set_timer(struct mount *m, time_us at)
{
    if (m->phase == MOUNT_OVER)
        return;
    if (at == 0 || at == TIME_NEVER) {
        (void)uv_timer_stop(&m->timer);
        return;
    }
    time_us now = mount_now();
    uv_update_time(&m->loop);
    (void)uv_timer_start(&m->timer, on_timer, at > now ? (at - now + 999) / 1000 : 0, 0);
}

/* ---- starting ---------------------------------------------------------------------------------
 */

static void trace_line(void *ctx, const char *text)
{
    (void)ctx;
    log_info("trace", "%s", text);
}

static bool is_near(const struct mount *m, const struct config_node *n)
{
    return m->options->nearest[0] ? strcmp(m->options->nearest, n->name) == 0
                                  : strncmp(n->address, "unix:", 5) == 0;
}

static void set_nodes(const struct mount *m, struct client_config *c)
{
    for (int near = 1; near >= 0; near--) {
        for (size_t i = 0; i < m->config->nodes_count; i++) {
            const struct config_node *n = &m->config->nodes[i];
            if (is_near(m, n) != near)
                continue;
            if (n->witness) {
                c->witnesses |= 1u << n->id;
                continue;
            }
            c->copies |= 1u << n->id;
            c->read_order[c->read_order_count++] = n->id;
        }
    }
}

static struct client *new_client(struct mount *m)
{
    struct client_config c = {.consistency = m->options->consistency,
                              .read_only = m->options->read_only,
                              .atime = m->options->atime,
                              .nodiratime = m->options->nodiratime,
                              .local_names = m->options->local_names,
                              .name_cache = m->epoch,
                              .deadline_us = m->options->timeout_us,
                              .lease_us = 4 * TIME_S,
                              .buffer_bytes = m->options->buffer_bytes,
                              .kept_bytes = m->options->kept_bytes,
                              .inline_max = 64 << 10,
                              .old_session = m->memory.session,
                              .token = m->memory.token};
    char host[64] = "";
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(c.name, sizeof c.name, "%.40s:%.80s", host, m->point);
    set_nodes(m, &c);
    memcpy(c.old_uuid, m->memory.uuid, sizeof c.old_uuid);
    if (getrandom(c.uuid, sizeof c.uuid, 0) != (ssize_t)sizeof c.uuid)
        abort();
    /* The old pair stays in the file until the new session is known: mount_effects.c. */
    memcpy(m->memory.uuid, c.uuid, sizeof c.uuid);
    m->memory.session = 0;
    if (getenv("TALLY_TRACE"))
        c.trace.line = trace_line;
    return client_new(&c);
}

static void on_init(void *ctx, bool epoch)
{
    struct mount *m = ctx;
    m->epoch = epoch;
    m->client = new_client(m);
    int r = mount_links_connect(m);
    if (r < 0) {
        mount_finish(m, MOUNT_USAGE, "an address in the configuration is of no known kind");
        return;
    }
    mount_probe_root(m);
}

/* ---- ending -----------------------------------------------------------------------------------
 */

void mount_finish(struct mount *m, enum mount_exit code, const char *why)
{
    if (m->phase == MOUNT_OVER)
        return;
    m->phase = MOUNT_OVER;
    m->code = code;
    if (!m->answered && m->waiter.failed) {
        m->answered = true;
        m->waiter.failed(m->waiter.ctx, code ? code : MOUNT_FAILED, why);
    } else if (code) {
        log_error("TALLY-5003", "%s", why);
    }
    uv_stop(&m->loop);
}

static void give_up(struct mount *m, const char *why)
{
    struct client_stats s = client_stats(m->client, mount_now());
    char text[256];
    (void)snprintf(text, sizeof text,
                   "%s: %zu changes of names and files, not synced, with %llu bytes that programs "
                   "had written, are not committed and are lost",
                   why, s.uncommitted, (unsigned long long)(s.dirty_bytes + s.inflight_bytes));
    mount_finish(m, s.uncommitted > 0 ? MOUNT_SYSTEM : MOUNT_DONE, text);
}

static void on_flush_limit(uv_timer_t *timer)
{
    give_up(timer->data, "the cluster took no more commits in time");
}

static void flush_all(struct mount *m)
{
    if (m->phase >= MOUNT_FLUSHING)
        return;
    m->phase = MOUNT_FLUSHING;
    if (!m->client) {
        mount_finish(m, MOUNT_DONE, "stopped before it was ready");
        return;
    }
    (void)uv_timer_start(&m->stop_timer, on_flush_limit, m->options->timeout_us / 1000, 0);
    mount_feed_kind(m, CLIENT_EV_STOP);
}

void mount_stopped(struct mount *m)
{
    if (client_stats(m->client, mount_now()).uncommitted > 0)
        give_up(m, "the cluster took no more commits in time"); /* its own deadline came first */
    else
        mount_finish(m, MOUNT_DONE, "stopped before it was ready");
}

static void on_detached(void *ctx, int error)
{
    (void)error; /* EINVAL: somebody was quicker */
    flush_all(ctx);
}

static void on_detach_limit(uv_timer_t *timer)
{
    flush_all(timer->data);
}

/* First the mount point goes, so that mapped pages are written back and nothing new begins;
 * requests are still answered. Then everything is committed. */
void mount_stop(struct mount *m, const char *reason)
{
    log_info("stop", "reason=\"%s\"", reason);
    if (m->phase >= MOUNT_DETACHING) {
        if (m->client)
            give_up(m, "stopped twice");
        return;
    }
    m->phase = MOUNT_DETACHING;
    (void)uv_timer_start(&m->stop_timer, on_detach_limit, DETACH_PATIENCE_MS, 0);
    kernel_detach(m->kernel, on_detached);
}

/* Unmounted from outside, or by ourselves. */
static void on_end(void *ctx)
{
    struct mount *m = ctx;
    m->kernel_ended = true;
    if (m->phase < MOUNT_DETACHING)
        log_info("stop", "reason=\"unmounted\"");
    flush_all(m);
}

static void on_signal(uv_signal_t *signal, int number)
{
    mount_stop(signal->data, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* ---- all ----------------------------------------------------------------------------------------
 */

static void init_handles(struct mount *m)
{
    (void)uv_loop_init(&m->loop);
    (void)uv_timer_init(&m->loop, &m->timer);
    (void)uv_timer_init(&m->loop, &m->stop_timer);
    (void)uv_timer_init(&m->loop, &m->keep_timer);
    daemon_memory_start(&m->memory_use, &m->loop);
    (void)uv_check_init(&m->loop, &m->check);
    (void)uv_idle_init(&m->loop, &m->idle);
    (void)uv_signal_init(&m->loop, &m->sigterm);
    (void)uv_signal_init(&m->loop, &m->sigint);
    m->timer.data = m->stop_timer.data = m->keep_timer.data = m->check.data = m;
    m->sigterm.data = m->sigint.data = m;
    (void)uv_check_start(&m->check, on_check);
    (void)uv_signal_start(&m->sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&m->sigint, on_signal, SIGINT);
}

static void close_handles(struct mount *m)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&m->timer,      (uv_handle_t *)&m->stop_timer,
                              (uv_handle_t *)&m->keep_timer, (uv_handle_t *)&m->check,
                              (uv_handle_t *)&m->idle,       (uv_handle_t *)&m->sigterm,
                              (uv_handle_t *)&m->sigint};
    if (m->kernel)
        kernel_close(m->kernel);
    if (m->hub)
        link_hub_close(m->hub);
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        uv_close(handles[i], NULL);
    daemon_memory_stop(&m->memory_use);
    (void)uv_run(&m->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&m->loop);
}

static int start(struct mount *m)
{
    char why[1024], detail[512];
    int r = mount_links_listen(m);
    if (r < 0) {
        text_format(why, sizeof why, "cannot listen on %s: %s%s", m->socket, strerror(-r),
                    r == -EADDRINUSE
                        ? "; a mount of this name runs already (-o socket=PATH, --name NAME)"
                        : "; another place: -o socket=PATH");
        mount_finish(m, MOUNT_SYSTEM, why);
        return r;
    }
    struct kernel_config kc = {
        .loop = &m->loop,
        .mountpoint = m->point,
        .source = m->socket,
        .options = m->options->kernel,
        .attr_valid_max = m->options->attr_valid_max,
        .entry_valid_max = m->options->entry_valid_max,
        .callbacks = {.ctx = m,
                      .on_init = on_init,
                      .on_op = mount_on_op,
                      .on_cancel = mount_on_cancel,
                      .on_interrupt = mount_on_interrupt,
                      .on_end = on_end},
    };
    r = kernel_mount(&kc, &m->kernel, detail, sizeof detail);
    if (r < 0) {
        text_format(why, sizeof why, "cannot mount on %s: %s", m->point, detail);
        mount_finish(m, MOUNT_FAILED, why);
    }
    return r;
}

enum mount_exit mount_run(struct mount *m)
{
    init_handles(m);
    if (start(m) == 0)
        (void)uv_run(&m->loop, UV_RUN_DEFAULT);
    assert(m->phase == MOUNT_OVER);
    if (m->client && m->memory.session)
        (void)mount_state_keep(&m->state, &m->memory);
    close_handles(m);
    kernel_free(m->kernel);
    if (m->client)
        client_free(m->client);
    vec_done(&m->later);
    log_info("end", "code=%d", (int)m->code);
    return m->code;
}
