/* What a mount's client wants done, as in tools/cli/mount_effects.c. */
#include "repl/io/link.h"
#include "repl/wire/frame.h"
#include "tests/sim/check.h"
#include "tests/sim/mount_internal.h"
#include <stdlib.h>

#define KEEP_DELAY (100 * TIME_MS) /* tokens that change often are written so often at most */

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

void mount_trace_reply(const struct mount *m, uint32_t node, const Fs__Reply *r)
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
    *mount_file(m) = m->memory;
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
void mount_note_losses(struct mount *m)
{
    m->ended_dirty |= m->client->state != SESSION_LIVE || !list_empty(&m->client->commits) ||
                      !list_empty(&m->client->dirty_files) || !list_empty(&m->client->queued);
}

void mount_finish(struct mount *m)
{
    if (m->ended)
        return;
    m->ended = true;
    if (m->memory.session)
        *mount_file(m) = m->memory;
    process_at(m->process, sim_now(), end, m, 0);
}

void mount_carry_out(struct mount *m, const struct client_effect *e)
{
    switch (e->kind) {
    case CLIENT_SEND:
        if ((sim_swarm()->session_mounts >> mount_number(m) & 1) && e->request->follower)
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
    case CLIENT_NOTIFY_PRUNE: /* its kernel makes no fifos */
        break;
    case CLIENT_TOKEN:
        keep_token(m, e);
        break;
    case CLIENT_LOG:
        sim_trace("m%u log %s", m->process->id, e->text);
        break;
    case CLIENT_STOPPED:
        mount_note_losses(m);
        mount_finish(m);
        break;
    }
}
