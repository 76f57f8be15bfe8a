/* Session guarantees at consistency=session (Terry et al. 1994; RULES L10; PROTOCOL 5.3).
 *
 * Model. A session is a mount, over all its lives: its token survives (`session.tok`). Reads come
 * from any copy that has applied what the token names, so a session may be late, and must not:
 *
 *   RYW  after a write of its own, read anything older in that unit;
 *   MR   after a read, read anything older in that unit;
 *   MW   after it read a mount's write, read anything older in a unit of that file that the same
 *        mount had written before that write (COMMITs of one file are in order, those of two files
 *        are not);
 *   WFR  after it read a mount's write, read anything older in a unit than what that mount had read
 *        there from another mount before it wrote. This goes on transitively.
 *
 * X is older than Y when X's write ended before Y's began: in the log it comes first, for the lease
 * has one holder at a time. Zeros are older when no truncate can have come behind Y. What was LOST
 * (check_history.h) demands nothing. How much of each mount a session has seen is a vector clock
 * over mounts: few. */
#include <string.h>

#include "tests/sim/check_history.h"

enum { MOUNTS = SIM_MOUNTS_MAX + 1 };

/* What a session has seen of each mount: everything of it that began at or before `seen`. */
struct clock {
    time_us seen[MOUNTS];
};

struct sessions {
    const struct view *view;
    struct clock *before; /* per operation: its session's clock when it began */
};

/* ---- vector clocks -----------------------------------------------------------------------------
 */

static void merge(struct clock *into, const struct clock *from)
{
    for (size_t i = 0; i < MOUNTS; i++)
        into->seen[i] = time_max(into->seen[i], from->seen[i]);
}

static size_t index_of(const struct sessions *s, const struct history_op *op)
{
    return (size_t)(op - s->view->h->ops.items);
}

struct moment {
    time_us at;
    size_t op;
    bool end;
};

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->end != y->end)
        return x->end ? 1 : -1; /* what shares a moment is concurrent */
    return x->op < y->op ? -1 : x->op > y->op;
}

/* A read takes over what the mounts whose writes it saw had seen when they wrote. */
static void absorb(struct sessions *s, struct clock *clock, const struct history_op *op)
{
    const struct history_op *last = NULL;
    for (size_t i = 0; (op->kind == H_READ || op->kind == H_READ_ALL) && i < op->stamps_count;
         i++) {
        const struct history_op *w = view_writer(s->view, op->stamps[i]);
        if (!w || w == last || w->mount == op->mount || w->mount >= MOUNTS)
            continue;
        last = w;
        merge(clock, &s->before[index_of(s, w)]);
        clock->seen[w->mount] = time_max(clock->seen[w->mount], w->start);
    }
}

static void run_clocks(struct sessions *s)
{
    const struct history *h = s->view->h;
    struct clock now[MOUNTS];
    vec_of(struct moment) moments = {0};
    memset(now, 0, sizeof now);
    for (size_t i = 0; i < h->ops.count; i++) {
        vec_push(&moments, (struct moment){h->ops.items[i].start, i, false});
        if (op_ok(&h->ops.items[i]))
            vec_push(&moments, (struct moment){h->ops.items[i].end, i, true});
    }
    if (moments.count)
        qsort(moments.items, moments.count, sizeof moments.items[0], by_time);
    for (size_t i = 0; i < moments.count; i++) {
        const struct history_op *op = &h->ops.items[moments.items[i].op];
        if (op->mount >= MOUNTS)
            continue;
        if (!moments.items[i].end) {
            s->before[moments.items[i].op] = now[op->mount];
            continue;
        }
        absorb(s, &now[op->mount], op);
    }
    vec_done(&moments);
}

/* ---- one unit ----------------------------------------------------------------------------------
 */

/* What the session of `read` must not be older than because of `e`; NULL: `e` demands nothing. */
static const struct history_op *demanded(const struct sessions *s, const struct event *read,
                                         const struct event *e, const char **ret_rule)
{
    const struct history_op *reader = read->op, *op = e->op;
    const struct clock *clock = &s->before[index_of(s, reader)];
    if (e->writer == NULL || e->fate == FATE_LOST || view_fate(s->view, e->writer) == FATE_LOST)
        return NULL;
    bool own = op->mount == reader->mount;
    if (own && e->end < reader->start) {
        *ret_rule = e->kind == EVENT_WRITE ? "read your writes" : "monotonic reads";
        /* its own unsynced bytes, read back in an earlier life, may be gone */
        return e->writer;
    }
    if (own || op->mount >= MOUNTS || e->end == TIME_NEVER)
        return NULL;
    /* `e` ended before the write of that mount that the reader has seen began */
    if (e->end >= clock->seen[op->mount])
        return NULL;
    if (e->kind == EVENT_READ && e->writer->mount != op->mount) {
        *ret_rule = "writes follow reads";
        return e->writer;
    }
    return NULL;
}

static void check_read(const struct sessions *s, const struct unit *u, const struct event *read)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    const char *rule = NULL, *newest_rule = NULL;
    const struct history_op *newest = NULL;
    for (size_t i = 0; i < u->count && u->events[i].start < read->start; i++) {
        const struct history_op *w = demanded(s, read, &u->events[i], &rule);
        if (!w || (newest && newest->start >= w->start))
            continue;
        newest = w;
        newest_rule = rule;
    }
    if (newest && unit_older(u, read, newest))
        sim_complain("sessions", "%s: unit %u of file %llu has %llu, not %s, at %s", newest_rule,
                     u->number, (unsigned long long)u->file, (unsigned long long)read->value,
                     op_text(newest, text), op_text(read->op, other));
}

static void check_unit(void *ctx, const struct unit *u)
{
    const struct sessions *s = ctx;
    for (size_t i = 0; i < u->count && !sim_failed(); i++)
        if (u->events[i].kind == EVENT_READ)
            check_read(s, u, &u->events[i]);
}

/* ---- one file: MW ------------------------------------------------------------------------------
 */

/* The write of `mount` with the greatest start that reads of mount `by` of this file showed and
 * that ended before `before`. */
static const struct history_op *last_seen(const struct sessions *s, const struct file_ops *f,
                                          const struct history_op *reader, uint32_t mount)
{
    const struct history_op *newest = NULL;
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *r = &s->view->h->ops.items[f->ops.items[i]];
        if (r->start > reader->start)
            break;
        if (r->kind != H_READ || !op_ok(r) || r->mount != reader->mount || r->end >= reader->start)
            continue;
        const struct history_op *last = NULL;
        for (size_t k = 0; k < r->stamps_count; k++) {
            const struct history_op *w = view_writer(s->view, r->stamps[k]);
            if (w == last)
                continue;
            last = w;
            if (w && w->mount == mount && (!newest || w->start > newest->start))
                newest = w;
        }
    }
    return newest;
}

struct writes_seen {
    const struct sessions *s;
    const struct file_ops *f;
    const struct history_op *reader;
    const struct history_op *seen[MOUNTS];
};

static void check_order(struct writes_seen *m, const struct unit *u, const struct event *read)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    if (m->reader != read->op) {
        m->reader = read->op;
        for (uint32_t mount = 1; mount < MOUNTS; mount++)
            m->seen[mount] = last_seen(m->s, m->f, read->op, mount);
    }
    for (size_t i = 0; i < u->count && u->events[i].start < read->start; i++) {
        const struct event *w = &u->events[i];
        const struct history_op *seen = w->op->mount < MOUNTS ? m->seen[w->op->mount] : NULL;
        if (w->kind != EVENT_WRITE || w->fate != FATE_DONE || !seen || !same_life(seen, w->op) ||
            w->end >= seen->start || !unit_older(u, read, w->op))
            continue;
        sim_complain("sessions", "monotonic writes: unit %u of file %llu has %llu, not %s, at %s",
                     u->number, (unsigned long long)u->file, (unsigned long long)read->value,
                     op_text(w->op, text), op_text(read->op, other));
        return;
    }
}

static void check_writes_unit(void *ctx, const struct unit *u)
{
    struct writes_seen *m = ctx;
    if (!m->f || m->f->file != u->file) {
        uintptr_t at = (uintptr_t)map_get(&m->s->view->by_file, u->file);
        m->f = &m->s->view->files.items[at - 1];
        m->reader = NULL;
    }
    for (size_t i = 0; i < u->count && !sim_failed(); i++)
        if (u->events[i].kind == EVENT_READ)
            check_order(m, u, &u->events[i]);
}

void check_sessions(const struct history *h)
{
    if (!h->session_consistency)
        return;
    struct view v;
    view_init(&v, h);
    struct sessions s = {.view = &v};
    s.before = xcalloc(h->ops.count + 1, sizeof *s.before);
    run_clocks(&s);
    view_each_unit(&v, "sessions", check_unit, &s);
    struct writes_seen m = {.s = &s};
    if (!sim_failed())
        view_each_unit(&v, "sessions", check_writes_unit, &m);
    free(s.before);
    view_done(&v);
}
