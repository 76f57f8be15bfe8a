/* Events into the client core, its effects out. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "repl/io/log.h"
#include "repl/wire/frame.h"
#include "tools/cli/mount.h"
#include "tools/cli/text.h"

enum {
    KEEP_DELAY_MS = 100, /* tokens that change often are written so often at most */
    PACK_STACK = 4096,
};
#define PROBE_ID KERNEL_OP_ID_END /* of the daemon's own operation */

time_us mount_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (time_us)t.tv_sec * TIME_S + (time_us)t.tv_nsec / 1000;
}

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- effects ----------------------------------------------------------------------------------
 */

/* A node without a link: dropped. The core heard LINK_DOWN, or is about to, and sends it again
 * elsewhere. */
static void send_request(struct mount *m, const struct client_effect *e)
{
    struct link *link = m->links[e->node];
    if (!link)
        return;
    size_t size = fs__request__get_packed_size(e->request);
    uint8_t stack[PACK_STACK], *packed = size <= sizeof stack ? stack : xmalloc(size);
    (void)fs__request__pack(e->request, packed);
    link_send(link, FRAME_CLIENT_REQUEST, packed, size, e->blobs, e->blobs_count);
    if (packed != stack)
        free(packed);
}

static void send_put(struct mount *m, const struct client_effect *e)
{
    struct link *link = m->links[e->node];
    if (!link)
        return;
    size_t size = fs__block_put__get_packed_size(e->put);
    uint8_t *packed = xmalloc(size);
    (void)fs__block_put__pack(e->put, packed);
    link_send(link, FRAME_BLOCK_PUT, packed, size, e->blobs, e->blobs_count);
    free(packed);
}

static void on_probe(struct mount *m, const struct client_result *result)
{
    if (m->phase != MOUNT_STARTING)
        return;
    if (result->err == 0) {
        m->phase = MOUNT_RUNNING;
        m->answered = true;
        log_info("ready", "mount=%s point=%s", m->name, m->point);
        m->waiter.ready(m->waiter.ctx);
        /* so that `ls` of the mount point has something to say without a leader too */
        struct client_op list = {.id = PROBE_ID, .kind = CLIENT_READDIR, .ino = 1, .size = 4096};
        vec_push(&m->later, list);
        return;
    }
    char nodes[512], why[1024];
    mount_links_describe(m, nodes, sizeof nodes);
    text_format(why, sizeof why,
                "the cluster does not answer for %s: %s (%s). See: tally status --config %s",
                m->point, strerror(result->err), nodes, m->options->config);
    mount_finish(m, MOUNT_FAILED, why);
}

static void on_keep(uv_timer_t *timer)
{
    struct mount *m = timer->data;
    int r = mount_state_keep(&m->state, &m->memory);
    if (r < 0)
        log_warn("TALLY-5002", "cannot keep the session in %s: %s", m->state.dir, strerror(-r));
}

/* A new session is kept at once: the next life must be able to name it. */
static void keep_token(struct mount *m, const struct client_effect *e)
{
    bool new_session = m->memory.session != e->session;
    m->memory.session = e->session;
    m->memory.token = e->token;
    if (new_session) {
        link_hub_set_session(m->hub, e->session);
        on_keep(&m->keep_timer);
    } else if (!uv_is_active((uv_handle_t *)&m->keep_timer)) {
        (void)uv_timer_start(&m->keep_timer, on_keep, KEEP_DELAY_MS, 0);
    }
}

static void carry_out(struct mount *m, const struct client_effect *e)
{
    switch (e->kind) {
    case CLIENT_SEND:
        send_request(m, e);
        break;
    case CLIENT_PUT:
        send_put(m, e);
        break;
    case CLIENT_REPLY:
        if (e->op_id == PROBE_ID)
            on_probe(m, &e->result);
        else
            kernel_reply(m->kernel, e->op_id, &e->result);
        break;
    case CLIENT_NOTIFY_ATTR:
        kernel_notify_attr(m->kernel, e->ino);
        break;
    case CLIENT_NOTIFY_DATA:
        kernel_notify_data(m->kernel, e->ino);
        break;
    case CLIENT_NOTIFY_NAMES:
        kernel_notify_names(m->kernel);
        break;
    case CLIENT_NOTIFY_PRUNE:
        kernel_notify_prune(m->kernel, e->ino);
        break;
    case CLIENT_TOKEN:
        keep_token(m, e);
        break;
    case CLIENT_LOG:
        log_warn("TALLY-5001", "%s", e->text);
        break;
    case CLIENT_STOPPED:
        mount_stopped(m);
        break;
    }
}

/* ---- events -----------------------------------------------------------------------------------
 */

static void feed_one(struct mount *m, struct client_event *ev)
{
    ev->now = mount_now();
    ev->wall_ns = wall_ns();
    client_step(m->client, ev, &m->out);
    for (size_t i = 0; i < m->out.count; i++)
        carry_out(m, &m->out.effects[i]);
    time_us wake = m->out.wake_at;
    client_out_clear(&m->out);
    mount_set_timer(m, wake);
}

void mount_feed(struct mount *m, struct client_event *ev)
{
    assert(!m->feeding);
    if (!m->client)
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

void mount_feed_kind(struct mount *m, enum client_event_kind kind)
{
    struct client_event ev = {.kind = kind};
    mount_feed(m, &ev);
}

/* While effects are carried out an answer may turn out to be unwanted; what takes it back waits its
 * turn. */
void mount_on_op(void *ctx, const struct client_op *op)
{
    struct mount *m = ctx;
    if (m->feeding) {
        assert(op->kind == CLIENT_RELEASE || op->kind == CLIENT_FORGET); /* nothing borrowed */
        vec_push(&m->later, *op);
        return;
    }
    struct client_event ev = {.kind = CLIENT_EV_OP, .op = op};
    mount_feed(m, &ev);
}

void mount_on_cancel(void *ctx, uint64_t op_id)
{
    struct client_event ev = {.kind = CLIENT_EV_CANCEL, .op_id = op_id};
    mount_feed(ctx, &ev);
}

void mount_on_interrupt(void *ctx, uint64_t op_id)
{
    struct client_event ev = {.kind = CLIENT_EV_INTERRUPT, .op_id = op_id};
    mount_feed(ctx, &ev);
}

void mount_probe_root(struct mount *m)
{
    struct client_op op = {.id = PROBE_ID, .kind = CLIENT_GETATTR, .ino = 1};
    mount_on_op(m, &op);
}
