/* Requests the kernel waits for: numbered, handed on, cancelled when their caller is being killed.
 */
#include "fs/fuse/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fuse/interrupt.h"
#include "repl/base/mem.h"

enum {
    INTERRUPT_CHECK_MS = 50,
    /* A handled signal (SIGALRM) must not end an operation that is about to finish: FUSE.md §6. One
     * that has waited so long is stuck with the cluster. */
    INTERRUPT_PATIENCE_MS = 1000,
};

static void on_interrupt_timer(uv_timer_t *timer);

/* Called by libfuse with the request's lock held, so it only takes note. */
static void on_interrupt(fuse_req_t req, void *data)
{
    struct request *r = data;
    struct kernel *k = r->kernel;
    (void)req;
    if (list_linked(&r->interrupted))
        return;
    list_push_back(&k->interrupted, &r->interrupted);
    /* The first look comes at once, in this turn or the next. */
    (void)uv_timer_start(&k->interrupt_timer, on_interrupt_timer, 0, INTERRUPT_CHECK_MS);
}

static void on_interrupt_timer(uv_timer_t *timer)
{
    struct kernel *k = timer->data;
    uint64_t ids[64], signalled[64];
    size_t count = 0, signalled_count = 0;
    list_each(it, &k->interrupted) {
        struct request *r = list_entry(it, struct request, interrupted);
        if (r->locks && !r->signalled && signalled_count < sizeof signalled / sizeof *signalled) {
            r->signalled = true;
            signalled[signalled_count++] = r->id;
        }
        /* A lock that is on its way may be granted: its caller must not be told otherwise. */
        bool over = !r->locks && uv_now(k->loop) - r->since_ms >= INTERRUPT_PATIENCE_MS;
        if (r->cancelled || count == sizeof ids / sizeof *ids ||
            !(over || interrupt_caller_killed(r->pid)))
            continue;
        r->cancelled = true;
        ids[count++] = r->id;
    }
    /* Cancelling answers, and answering frees requests: not while walking them. */
    for (size_t i = 0; i < signalled_count; i++)
        k->callbacks.on_interrupt(k->callbacks.ctx, signalled[i]);
    for (size_t i = 0; i < count; i++)
        k->callbacks.on_cancel(k->callbacks.ctx, ids[i]);
    if (list_empty(&k->interrupted))
        (void)uv_timer_stop(&k->interrupt_timer);
}

void requests_init(struct kernel *k)
{
    map_init(&k->requests);
    list_init(&k->interrupted);
    (void)uv_timer_init(k->loop, &k->interrupt_timer);
    k->interrupt_timer.data = k;
}

/* The connection is gone and with it the callers: nobody is left to be answered. */
void requests_close(struct kernel *k)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&k->requests, &cursor, NULL, &value)) {
        struct request *r = value;
        fuse_reply_none(r->req);
        free(r);
    }
    map_done(&k->requests);
    map_init(&k->requests);
    list_init(&k->interrupted);
    places_done(&k->places);
}

void request_free(struct request *r)
{
    (void)map_del(&r->kernel->requests, r->id);
    list_remove(&r->interrupted);
    free(r);
}

void request_submit(fuse_req_t req, struct client_op *op, enum reply_form form, size_t size)
{
    request_submit_listing(req, op, form, size, 0);
}

/* The kernel speaks of nodes. */
static void turn_nodes_to_inos(const struct kernel *k, struct client_op *op)
{
    op->ino = places_ino(&k->places, op->ino);
    op->parent = places_ino(&k->places, op->parent);
    op->newparent = places_ino(&k->places, op->newparent);
    op->to_ino = places_ino(&k->places, op->to_ino);
}

void request_submit_listing(fuse_req_t req, struct client_op *op, enum reply_form form, size_t size,
                            off_t offset)
{
    struct kernel *k = fuse_req_userdata(req);
    uint64_t dir = op->kind == CLIENT_READDIR ? op->ino
                   : op->kind == CLIENT_LINK  ? op->newparent
                                              : op->parent;
    uint64_t newdir = op->newparent;
    turn_nodes_to_inos(k, op);
    struct request *r = xmalloc(sizeof *r);
    *r = (struct request){.id = ++k->last_id,
                          .req = req,
                          .kernel = k,
                          .form = form,
                          .ino = op->ino,
                          .dir = dir,
                          .newdir = newdir,
                          .size = size,
                          .offset = offset,
                          .pid = fuse_req_ctx(req)->pid,
                          .uid = fuse_req_ctx(req)->uid,
                          .locks = op->kind == CLIENT_SETLK,
                          .since_ms = uv_now(k->loop)};
    list_init(&r->interrupted);
    (void)map_put(&k->requests, r->id, r);
    fuse_req_interrupt_func(req, on_interrupt, r);
    op->id = r->id;
    k->callbacks.on_op(k->callbacks.ctx, op);
}

void request_submit_silent(struct kernel *k, struct client_op *op)
{
    op->id = ++k->last_id;
    k->callbacks.on_op(k->callbacks.ctx, op);
}

bool request_refuse_name(fuse_req_t req, const char *name)
{
    if (strlen(name) <= KERNEL_NAME_MAX)
        return false;
    fuse_reply_err(req, ENAMETOOLONG);
    return true;
}

void kernel_reply(struct kernel *k, uint64_t op_id, const struct client_result *result)
{
    struct request *r = map_get(&k->requests, op_id);
    if (!r)
        return; /* one that nobody waits for: RELEASE of a lost open, or the connection is gone */
    reply_send(r, result);
    request_free(r);
}

size_t kernel_waiting(const struct kernel *k)
{
    return k->requests.count;
}
