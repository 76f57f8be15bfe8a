/* The world: its clocks, its chance, what happens next, and a whole run. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "tests/unit/repl/core/cluster_internal.h"

/* What the node's clock shows now: clocks differ, and run apart within the rho of RULES E1. */
time_us clock_of(const struct node *n, time_us now)
{
    return n->clock_offset + now + (uint64_t)((int64_t)now * n->clock_ppm / 1000000);
}

/* The first true time at which it shows `local`. */
time_us true_time(const struct node *n, time_us local)
{
    time_us at = (local - n->clock_offset) * 1000000 / (uint64_t)(1000000 + n->clock_ppm);
    while (clock_of(n, at) < local) {
        at++;
    }
    return at;
}

uint64_t rnd(struct world *w)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return w->rng * 0x2545f4914f6cdd1du;
}

uint64_t below(struct world *w, uint64_t n)
{
    return (rnd(w) >> 11) % n;
}

bool chance(struct world *w, uint32_t percent)
{
    return below(w, 100) < percent;
}

void complain(struct world *w, const char *what, const char *format, ...)
{
    if (w->result.complaint != NULL) {
        return;
    }
    w->result.complaint = what;
    va_list ap;
    va_start(ap, format);
    vsnprintf(w->result.detail, sizeof(w->result.detail), format, ap);
    va_end(ap);
}

static void trace_line(void *ctx, const char *text)
{
    struct world *w = ctx;
    w->result.trace_hash = hash64_seed(text, strlen(text), w->result.trace_hash);
    if (strstr(text, "rescue") != NULL) {
        w->result.rescues++;
    }
    if (w->options.trace) {
        fprintf(stderr, "%9" PRIu64 " %s\n", w->now, text);
    }
}

/* ---- what happens next: a binary heap by (time, order) --------------------------------------- */

static bool sooner(const struct happening *a, const struct happening *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_raise(struct world *w, size_t i)
{
    while (i > 0 && sooner(&w->heap.items[i], &w->heap.items[(i - 1) / 2])) {
        struct happening t = w->heap.items[i];
        w->heap.items[i] = w->heap.items[(i - 1) / 2];
        w->heap.items[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

void plan(struct world *w, struct happening h)
{
    h.order = ++w->order;
    vec_push(&w->heap, h);
    heap_raise(w, w->heap.count - 1);
}

/* After times were changed. */
void heap_rebuild(struct world *w)
{
    for (size_t i = 1; i < w->heap.count; i++) {
        heap_raise(w, i);
    }
}

static struct happening next_happening(struct world *w)
{
    struct happening first = w->heap.items[0];
    struct happening last = vec_pop(&w->heap);
    size_t i = 0, n = w->heap.count;
    if (n == 0) {
        return first;
    }
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n) {
            break;
        }
        if (c + 1 < n && sooner(&w->heap.items[c + 1], &w->heap.items[c])) {
            c++;
        }
        if (!sooner(&w->heap.items[c], &last)) {
            break;
        }
        w->heap.items[i] = w->heap.items[c];
        i = c;
    }
    w->heap.items[i] = last;
    return first;
}

static void happen(struct world *w, struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    bool mine = h->life == n->life && n->up;
    switch (h->what) {
    case WHAT_TICK:
        if (mine && n->wake_at == h->at) {
            n->wake_at = 0;
            step(w, h->node, (struct replica_event){.kind = REPLICA_TICK});
        }
        break;
    case WHAT_MESSAGE:
        if (mine) {
            happen_message(w, h);
        }
        break;
    case WHAT_LINK:
        if (h->flag || (mine && !reachable(w, h->node, h->peer))) {
            link_settle(w, h->node, h->peer);
        }
        break;
    case WHAT_FLUSHED:
        if (mine) {
            uint64_t seq = n->flushing_seq;
            n->flushing = false;
            if (w->options.bug != BUG_FORGETS_SYNC || w->healed || chance(w, 50)) {
                flush_upto(w, h->node, seq);
            }
            step(w, h->node, (struct replica_event){.kind = REPLICA_WRITTEN, .written = {seq}});
            if (n->pending.count > 0 && n->pending.items[n->pending.count - 1].seq > seq) {
                flush_begin(w, h->node);
            }
        }
        break;
    case WHAT_APPLY:
        if (mine) {
            happen_apply(w, h->node);
        }
        break;
    case WHAT_ENSURE:
        if (mine) {
            happen_ensure(w, h);
        }
        break;
    case WHAT_PULL:
        if (mine) {
            happen_pull(w, h->node);
        }
        break;
    case WHAT_SNAPSHOT:
        happen_snapshot(w, h);
        break;
    case WHAT_INSTALLED:
        if (mine) {
            happen_installed(w, h->node, h->number);
        }
        break;
    case WHAT_PROPOSE:
        happen_propose(w);
        break;
    case WHAT_FAULT:
        if (!w->healed) {
            happen_fault(w);
            check_leaders(w);
        }
        break;
    case WHAT_RESTART:
        if (!n->up) {
            node_start(w, h->node);
        }
        break;
    case WHAT_WAKE:
        if (mine) {
            happen_wake(w, h->node);
        }
        break;
    }
}

/* What a stopped node would have to do itself waits until it runs again; timers come after input
 * (RULES E5). */
static bool put_off(struct world *w, struct happening *h)
{
    struct node *n = &w->nodes[h->node];
    bool own = h->what == WHAT_TICK || h->what == WHAT_MESSAGE || h->what == WHAT_FLUSHED ||
               h->what == WHAT_APPLY || h->what == WHAT_ENSURE || h->what == WHAT_PULL ||
               h->what == WHAT_INSTALLED;
    if (!own || !n->up || w->now >= n->paused_until) {
        return false;
    }
    h->at = n->paused_until + (h->what == WHAT_TICK);
    if (h->what == WHAT_TICK && h->life == n->life && n->wake_at != 0) {
        n->wake_at = h->at;
    }
    plan(w, *h);
    return true;
}

void run_until(struct world *w, time_us until)
{
    while (w->result.complaint == NULL && w->heap.count > 0 && w->heap.items[0].at <= until) {
        struct happening h = next_happening(w);
        w->now = h.at;
        if (put_off(w, &h)) {
            continue;
        }
        happen(w, &h);
        bytes_writer_done(&h.control);
        blob_unref(h.bulk);
    }
    w->now = until;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void world_init(struct world *w, const struct cluster_options *options)
{
    w->options = *options;
    w->nodes_count = options->copies + options->witnesses;
    w->faults = (w->nodes_count - 1) / 2;
    w->rng = options->seed * 0x9e3779b97f4a7c15u + 1;
    w->now = 1000000;
    w->lossy = chance(w, 30);
    w->reordering = chance(w, 20);
    struct member_set members;
    member_set_init(&members);
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        member_set_put(&members, id, id <= options->copies ? MEMBER_COPY : MEMBER_WITNESS, id);
    }
    bool short_logs = chance(w, 40), lease = chance(w, 70);
    if (options->scripted) {
        w->lossy = w->reordering = short_logs = false;
        lease = true;
    }
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        n->ballot = ballot_config_default(id, &members);
        n->ballot.leader_lease = lease;
        n->config = (struct replica_config){.self = id,
                                            .members = members,
                                            .ballot = &n->ballot,
                                            .keep_entries = short_logs ? 30 : 0,
                                            .peer_bytes = 2000,
                                            .append_bytes = 1000,
                                            .inline_bytes = 500,
                                            .trace = {.line = trace_line, .ctx = w}};
        n->witness = id > options->copies;
        n->flush_us = 400;
        n->clock_offset = below(w, 100 * TIME_S);
        n->clock_ppm = (int64_t)below(w, 2001) - 1000;
    }
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        node_start(w, id);
    }
    if (!options->scripted) {
        plan(w, (struct happening){.at = w->now + 500000, .what = WHAT_PROPOSE});
        plan(w, (struct happening){.at = w->now + 1000000, .what = WHAT_FAULT});
    }
}

void heal(struct world *w)
{
    w->healed = true;
    memset(w->cut, 0, sizeof(w->cut));
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        w->nodes[id].flush_us = 400;
        struct replica_status s;
        if (w->nodes[id].up) {
            replica_status(w->nodes[id].replica, &s);
            if (s.stopping) {
                node_crash(w, id); /* SIGTERM ends in an exit */
            }
        }
        if (!w->nodes[id].up) {
            node_start(w, id);
        }
    }
    for (uint32_t a = 1; a <= w->nodes_count; a++) {
        for (uint32_t b = a + 1; b <= w->nodes_count; b++) {
            if (!w->told_up[a][b] || !w->told_up[b][a]) {
                link_settle(w, a, b);
            }
        }
    }
}

static void world_done(struct world *w)
{
    for (uint32_t id = 1; id <= w->nodes_count; id++) {
        struct node *n = &w->nodes[id];
        node_crash(w, id);
        disk_cut(n, n->base_index + 1);
        vec_done(&n->log);
        vec_done(&n->pending);
        vec_done(&n->store);
        vec_done(&n->missing);
        vec_done(&n->applied);
        vec_done(&n->ensures);
    }
    while (w->heap.count > 0) {
        struct happening h = vec_pop(&w->heap);
        bytes_writer_done(&h.control);
        blob_unref(h.bulk);
    }
    while (w->committed.count > 0) {
        entry_unref(vec_pop(&w->committed));
    }
    vec_done(&w->heap);
    vec_done(&w->committed);
    vec_done(&w->dead_ids);
    vec_done(&w->ticket_ids);
    vec_done(&w->reads);
    replica_update_done(&w->update);
}

struct world *world_new(const struct cluster_options *options)
{
    struct world *w = xcalloc(1, sizeof(*w));
    world_init(w, options);
    return w;
}

struct cluster_result world_end(struct world *w)
{
    w->result.committed = w->committed.count;
    struct cluster_result result = w->result;
    world_done(w);
    free(w);
    return result;
}

struct cluster_result cluster_run(const struct cluster_options *options)
{
    struct world *w = world_new(options);
    for (uint32_t part = 0; part < 4; part++) {
        run_until(w, w->now + options->faults_us / 4);
        check_all_durable(w, "during faults");
    }
    heal(w);
    run_until(w, w->now + 4000000);
    uint64_t before = w->committed.count;
    run_until(w, w->now + 4000000);
    w->quiet = true;
    run_until(w, w->now + 2000000);
    if (w->committed.count < before + 3) {
        complain(w, "no progress after healing", "committed=%zu", w->committed.count);
    }
    check_everything(w);
    return world_end(w);
}
