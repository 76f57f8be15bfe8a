#include "fs/client/client.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

/* ---- timers ---------------------------------------------------------------------------------- */

void timer_init(struct timer *t)
{
    list_init(&t->link);
}

void timer_clear(struct timer *t)
{
    list_remove(&t->link);
}

/* Within a class delays are the same or nearly so: the place is found from the end. */
void timer_set(struct client *c, enum timer_class k, struct timer *t, time_us at,
               void (*fire)(struct client *, struct timer *))
{
    list_remove(&t->link);
    t->at = at;
    t->fire = fire;
    struct list *place = &c->timers[k];
    while (place->prev != &c->timers[k] && container_of(place->prev, struct timer, link)->at > at) {
        place = place->prev;
    }
    list_insert_before(place, &t->link);
}

static struct timer *timer_first(struct client *c)
{
    struct timer *first = NULL;
    for (int k = 0; k < TIMER_CLASSES; k++) {
        struct timer *t = list_first(&c->timers[k], struct timer, link);
        if (t != NULL && (first == NULL || t->at < first->at)) {
            first = t;
        }
    }
    return first;
}

/* A timer set in the past by a timer fires in the next step, so this ends. */
static void timers_run(struct client *c)
{
    for (unsigned turns = 0; turns < 10000; turns++) {
        struct timer *t = timer_first(c);
        if (t == NULL || t->at > c->now) {
            return;
        }
        timer_clear(t);
        t->fire(c, t);
    }
}

/* ---- effects --------------------------------------------------------------------------------- */

struct client_effect *effect_add(struct client *c, enum client_effect_kind kind)
{
    struct client_out *out = c->out;
    if (out->count == out->capacity) {
        out->capacity = out->capacity != 0 ? out->capacity * 2 : 16;
        out->effects = xreallocarray(out->effects, out->capacity, sizeof(*out->effects));
    }
    struct client_effect *e = &out->effects[out->count++];
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    return e;
}

static void result_clear(struct client_result *r)
{
    for (size_t i = 0; i < r->slices_count; i++) {
        blob_unref(r->slices[i].blob);
    }
    free(r->slices);
    for (size_t i = 0; i < r->entries_count; i++) {
        free((char *)(uintptr_t)r->entries[i].name);
    }
    free(r->entries);
    blob_unref(r->data);
}

void client_out_clear(struct client_out *out)
{
    for (size_t i = 0; i < out->count; i++) {
        struct client_effect *e = &out->effects[i];
        if (e->kind == CLIENT_SEND) {
            rpc_unref(e->hold);
        } else if (e->kind == CLIENT_PUT) {
            block_out_unref(e->hold);
        }
        for (size_t b = 0; b < e->blobs_count; b++) {
            blob_unref(e->blobs[b]);
        }
        free(e->blobs);
        free(e->text);
        result_clear(&e->result);
    }
    free(out->effects);
    *out = (struct client_out){0};
}

void client_log(struct client *c, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    effect_add(c, CLIENT_LOG)->text = xstrdup(text);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct client *client_new(const struct client_config *config)
{
    struct client *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    c->lease_us = config->lease_us != 0 ? config->lease_us : 4 * TIME_S;
    if (c->config.deadline_us == 0) {
        c->config.deadline_us = 30 * TIME_S;
    }
    if (c->config.buffer_bytes == 0) {
        c->config.buffer_bytes = UINT64_C(64) << 20;
    }
    if (c->config.inline_max == 0) {
        c->config.inline_max = 64u << 10;
    }
    for (int k = 0; k < TIMER_CLASSES; k++) {
        list_init(&c->timers[k]);
    }
    struct list *heads[] = {
        &c->ops,          &c->commit_waiters, &c->space_waiters, &c->buffer_waiters,
        &c->queue,        &c->queue_seq,      &c->sent,          &c->copies,
        &c->seqs,         &c->inode_lru,      &c->name_lru,      &c->recalled,
        &c->leases,       &c->dirty_files,    &c->commits,       &c->released_order,
        &c->recalls,      &c->renew_waiters,  &c->open_waiters,  &c->lock_waiters,
        &c->unlocking,    &c->queued,         &c->queue_waiters, &c->dir_leases,
        &c->held_commits, &c->atimes,         &c->kept_files,    &c->listings};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        list_init(heads[i]);
    }
    timer_init(&c->session_timer);
    timer_init(&c->probe_timer);
    timer_init(&c->stop_timer);
    timer_init(&c->atime_timer);
    timer_init(&c->queue_timer);
    c->next_id = 1;
    c->next_seq = 1;
    c->next_fh = 1;
    c->next_block = 1;
    c->token = c->saved_token = MUTANT(token_lost) ? 0 : config->token;
    c->probe_delay = BACKOFF_MIN;
    return c;
}

void client_free(struct client *c)
{
    if (c == NULL) {
        return;
    }
    struct client_out out = {0};
    c->out = &out;
    c->stopped = true;
    while (!list_empty(&c->ops)) {
        op_give_up(c, list_first(&c->ops, struct op, link), ESHUTDOWN);
        struct op *op = list_first(&c->ops, struct op, link);
        if (op != NULL && op->answered) { /* its change was sent: nobody waits for it any more */
            if (op->rpc != NULL) {
                rpc_cancel(c, op->rpc);
            }
            op_fail(c, op, ESHUTDOWN);
        }
    }
    queue_free(c);
    listings_free(c);
    cache_free(c); /* commits under way cancel their own requests */
    struct list *lists[] = {&c->queue, &c->queue_seq, &c->sent, &c->copies};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (!list_empty(lists[i])) {
            rpc_cancel(c, list_first(lists[i], struct rpc, link));
        }
    }
    recall_free(c);
    locks_free(c);
    locks_here_free(c);
    vec_done(&c->drop_inos);
    vec_done(&c->around);
    map_done(&c->ops_by_id);
    map_done(&c->rpcs);
    map_done(&c->handles);
    map_done(&c->blocks);
    client_out_clear(&out);
    free(c);
}

/* ---- the step -------------------------------------------------------------------------------- */

static void on_link_up(struct client *c, uint32_t node, uint64_t boot)
{
    if (node >= NODES_MAX) {
        return;
    }
    bool new_store = c->links[node].boot != boot;
    c->links[node].up = true;
    c->links[node].silent_until = 0;
    c->links[node].boot = boot;
    commit_on_link_up(c, node, new_store);
    rpc_on_link_up(c, node);
}

static void on_link_down(struct client *c, uint32_t node)
{
    if (node >= NODES_MAX) {
        return;
    }
    c->links[node].up = false;
    rpc_on_link_down(c, node);
}

static void dispatch(struct client *c, const struct client_event *ev)
{
    switch (ev->kind) {
    case CLIENT_EV_OP:
        op_start(c, ev->op);
        break;
    case CLIENT_EV_CANCEL: {
        struct op *op = op_find(c, ev->op_id);
        if (op != NULL && !op->answered) {
            op_give_up(c, op, EINTR);
        }
        break;
    }
    case CLIENT_EV_INTERRUPT: {
        struct op *op = op_find(c, ev->op_id);
        if (op != NULL) {
            op_interrupt(c, op);
        }
        break;
    }
    case CLIENT_EV_LINK_UP:
        on_link_up(c, ev->node, ev->store_boot);
        break;
    case CLIENT_EV_LINK_DOWN:
        on_link_down(c, ev->node);
        break;
    case CLIENT_EV_REPLY:
        rpc_on_reply(c, ev->node, ev->reply, ev->bulk);
        break;
    case CLIENT_EV_PUT_REPLY:
        commit_on_put_reply(c, ev->node, ev->put_reply);
        break;
    case CLIENT_EV_TICK:
        break;
    case CLIENT_EV_STOP:
        session_stop(c);
        break;
    }
}

void client_step(struct client *c, const struct client_event *ev, struct client_out *out)
{
    c->out = out;
    c->now = ev->now > c->now ? ev->now : c->now;
    c->wall_ns = ev->wall_ns;
    /* RULES L9: a loop that comes more than T/4 late, or past the lease, relies on nothing. */
    bool late = c->wake_at != 0 && c->now > c->wake_at + c->lease_us / 4;
    if (c->lease_until != 0 && (late || c->now >= c->lease_until)) {
        session_lapse(c);
    }
    if (c->wake_at != 0 && c->now > c->wake_at + NEWS_TAKEN_IN / 2) {
        listings_await(c);
    }
    if (!c->stopped) {
        dispatch(c, ev);
        timers_run(c);
        session_schedule(c);
    }
    struct timer *first = c->stopped ? NULL : timer_first(c);
    /* What was due before it was set, as a renewal after a long silence, makes nobody late.
     */
    out->wake_at = c->wake_at = first != NULL ? time_max(first->at, c->now) : 0;
    c->out = NULL;
}

/* ---- what it tells --------------------------------------------------------------------------- */

static size_t length_of(const struct list *head)
{
    size_t n = 0;
    for (const struct list *it = head->next; it != head; it = it->next) {
        n++;
    }
    return n;
}

struct client_stats client_stats(const struct client *c, time_us now)
{
    struct client_stats s = {
        .session = c->state == SESSION_LIVE ? c->session : 0,
        .token = c->token,
        .term = c->term,
        .leader = c->leader,
        .dirty_bytes = c->dirty_bytes,
        .inflight_bytes = c->inflight_bytes,
        .uncommitted = c->queued_count + length_of(&c->dirty_files) + length_of(&c->commits),
        .leases = c->leases_count + c->dir_leases_count,
        .cached_attrs = c->inodes.count,
        .cached_names = c->names_count,
        .open_files = c->handles.count,
        .lease_valid = c->lease_until > now,
    };
    list_each(it, &c->ops) {
        const struct op *op = container_of(it, struct op, link);
        s.ops_waiting += !op->answered;
        if (!op->answered && time_since(now, op->since) > s.oldest_wait_us) {
            s.oldest_wait_us = time_since(now, op->since);
        }
    }
    return s;
}

static const char *op_verb(enum client_op_kind kind)
{
    static const char *const verbs[] = {
        [CLIENT_LOOKUP] = "lookup",       [CLIENT_FORGET] = "forget",
        [CLIENT_GETATTR] = "getattr",     [CLIENT_SETATTR] = "setattr",
        [CLIENT_READLINK] = "readlink",   [CLIENT_MAKE] = "create",
        [CLIENT_UNLINK] = "unlink",       [CLIENT_RMDIR] = "rmdir",
        [CLIENT_RENAME] = "rename",       [CLIENT_LINK] = "link",
        [CLIENT_OPEN] = "open",           [CLIENT_RELEASE] = "release",
        [CLIENT_READ] = "read",           [CLIENT_WRITE] = "write",
        [CLIENT_ALLOCATE] = "fallocate",  [CLIENT_COPY] = "copy",
        [CLIENT_SEEK] = "seek",           [CLIENT_FLUSH] = "close",
        [CLIENT_FSYNC] = "fsync",         [CLIENT_FSYNCDIR] = "fsyncdir",
        [CLIENT_READDIR] = "readdir",     [CLIENT_STATFS] = "statfs",
        [CLIENT_SETXATTR] = "setxattr",   [CLIENT_GETXATTR] = "getxattr",
        [CLIENT_LISTXATTR] = "listxattr", [CLIENT_REMOVEXATTR] = "removexattr",
        [CLIENT_SETLK] = "lock",          [CLIENT_GETLK] = "look for locks",
        [CLIENT_SYNC_ALL] = "sync",       [CLIENT_RELEASEDIR] = "close",
    };
    return verbs[kind];
}

/* "; no leader; reachable n1 n3; last answer from n2 4.1 s ago" */
static void describe_nodes(const struct client *c, time_us now, char *text, size_t size)
{
    int n = snprintf(text, size, "%s; reachable", c->leader == 0 ? "; no leader" : "");
    uint32_t nodes = c->config.copies | c->config.witnesses;
    bool any = false;
    for (uint32_t node = 1; node < NODES_MAX && n > 0 && (size_t)n < size; node++) {
        if ((nodes >> node & 1) != 0 && c->links[node].up) {
            n += snprintf(text + n, size - (size_t)n, " n%u", node);
            any = true;
        }
    }
    if (!any && n > 0 && (size_t)n < size) {
        n += snprintf(text + n, size - (size_t)n, " nobody");
    }
    if (c->heard_at != 0 && n > 0 && (size_t)n < size) {
        (void)snprintf(text + n, size - (size_t)n, "; last answer %.1f s ago",
                       (double)(time_since(now, c->heard_at) / 100000) / 10);
    }
}

void client_explain(const struct client *c, time_us now, uint64_t ino,
                    void (*line)(void *ctx, const char *text), void *ctx)
{
    list_each(it, &c->ops) {
        const struct op *op = container_of(it, struct op, link);
        if (op->answered || (ino != 0 && op->a.ino != ino && op->a.parent != ino)) {
            continue;
        }
        char nodes[160], text[512], until[32] = "", sent[128] = "";
        describe_nodes(c, now, nodes, sizeof(nodes));
        const struct rpc *r = op->rpc != NULL ? op->rpc : op->job != NULL ? op->job->rpc : NULL;
        if (r != NULL && r->node != 0) {
            (void)snprintf(sent, sizeof(sent), " (asked n%u%s%s)", r->node,
                           r->why[0] != 0 ? ": " : "", r->why);
        }
        if (timer_running(&op->deadline)) {
            (void)snprintf(until, sizeof(until), " of %.0f s",
                           (double)(c->config.deadline_us / TIME_S));
        }
        const char *name = op->a.name != NULL ? op->a.name : "";
        (void)snprintf(
            text, sizeof(text), "%s ino %llu%s%s waits %.1f s%s: %s%s%s", op_verb(op->a.kind),
            (unsigned long long)(op->a.ino != 0 ? op->a.ino : op->a.parent),
            name[0] != 0 ? " " : "", name, (double)(time_since(now, op->since) / 100000) / 10,
            until, op->why != NULL ? op->why : "an answer", sent, nodes);
        line(ctx, text);
    }
}
