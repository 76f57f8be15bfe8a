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

/* Of each mount: its newest write to a file that a session has read. */
struct sights {
    const struct history_op *of[MOUNTS];
};

struct sessions {
    const struct view *view;
    struct sights *sights; /* per READ: those of its session and file when it began */
    struct clock *before;  /* per operation: its session's clock when it began */
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
static void absorb(struct sessions *s, struct clock *clock, struct sights *sights,
                   const struct history_op *op)
{
    for (size_t i = 0; i < op->stamps_count; i++) {
        if (i && op->stamps[i] == op->stamps[i - 1])
            continue;
        const struct history_op *w = view_writer(s->view, op->stamps[i]);
        if (!w || w->mount >= MOUNTS)
            continue;
        if (op->kind == H_READ && (!sights->of[w->mount] || sights->of[w->mount]->start < w->start))
            sights->of[w->mount] = w;
        if (w->mount == op->mount)
            continue;
        merge(clock, &s->before[index_of(s, w)]);
        clock->seen[w->mount] = time_max(clock->seen[w->mount], w->start);
    }
}

/* Through starts and ends in the order of time. */
static void run_moments(struct sessions *s, const struct moment *moments, size_t count)
{
    struct clock now[MOUNTS];
    struct sights *files = xcalloc(s->view->files.count * MOUNTS + 1, sizeof *files);
    memset(now, 0, sizeof now);
    for (size_t i = 0; i < count; i++) {
        size_t at = moments[i].op;
        const struct history_op *op = &s->view->h->ops.items[at];
        uintptr_t file = (uintptr_t)map_get(&s->view->by_file, op->file);
        bool reads = file && (op->kind == H_READ || op->kind == H_READ_ALL);
        struct sights *mine = reads ? &files[(file - 1) * MOUNTS + op->mount] : NULL;
        if (moments[i].end && reads)
            absorb(s, &now[op->mount], mine, op);
        if (!moments[i].end)
            s->before[at] = now[op->mount];
        if (!moments[i].end && reads)
            s->sights[at] = *mine;
    }
    free(files);
}

static void run_clocks(struct sessions *s)
{
    const struct history *h = s->view->h;
    vec_of(struct moment) moments = {0};
    for (size_t i = 0; i < h->ops.count; i++) {
        if (h->ops.items[i].mount >= MOUNTS)
            continue;
        vec_push(&moments, (struct moment){h->ops.items[i].start, i, false});
        if (op_ok(&h->ops.items[i]))
            vec_push(&moments, (struct moment){h->ops.items[i].end, i, true});
    }
    if (moments.count)
        qsort(moments.items, moments.count, sizeof moments.items[0], by_time);
    run_moments(s, moments.items, moments.count);
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
    if (e->writer == NULL || view_loss(s->view, e->writer))
        return NULL;
    bool own = op->mount == reader->mount;
    if (own && e->end < reader->start) {
        *ret_rule = e->kind == EVENT_WRITE ? "read your writes" : "monotonic reads";
        return same_life(e->writer, op) && view_earlier_life(s->view, reader, e->writer)
                   ? NULL
                   : e->writer;
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

/* Of all that is demanded the newest write decides. */
static void check_read(const struct sessions *s, const struct unit *u, size_t at)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    const struct event *read = &u->events[at];
    const char *rule = NULL, *newest_rule = NULL;
    const struct history_op *newest = NULL;
    for (size_t i = 0; i < at; i++) {
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

/* The newest write of the mount of `seen` to this unit that ended before `seen` began. Whatever is
 * older than an earlier one is older than that. */
static const struct event *write_before(const struct unit *u, size_t from,
                                        const struct history_op *seen)
{
    for (size_t i = from; i-- > 0;) {
        const struct event *w = &u->events[i];
        if (w->kind == EVENT_WRITE && w->fate == FATE_DONE && same_life(w->op, seen) &&
            w->end < seen->start)
            return w;
    }
    return NULL;
}

static void check_order(const struct sessions *s, const struct unit *u, size_t at)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    const struct event *read = &u->events[at];
    const struct sights *sights = &s->sights[index_of(s, read->op)];
    for (uint32_t mount = 1; mount < MOUNTS; mount++) {
        const struct history_op *seen = sights->of[mount];
        if (!seen || seen == read->writer || view_earlier_life(s->view, read->op, seen))
            continue;
        const struct event *w = write_before(u, at, seen);
        if (w && unit_older(u, read, w->op))
            sim_complain("sessions",
                         "monotonic writes: unit %u of file %llu has %llu, not %s, at %s",
                         u->number, (unsigned long long)u->file, (unsigned long long)read->value,
                         op_text(w->op, text), op_text(read->op, other));
    }
}

static void check_unit(void *ctx, const struct unit *u)
{
    const struct sessions *s = ctx;
    for (size_t i = 0; i < u->count && !sim_failed(); i++) {
        if (u->events[i].kind != EVENT_READ || !history_late(s->view->h, u->events[i].op))
            continue;
        check_read(s, u, i);
        check_order(s, u, i);
    }
}

void check_sessions(const struct history *h)
{
    if (!h->session_mounts)
        return;
    struct view v;
    view_init(&v, h);
    struct sessions s = {.view = &v};
    s.sights = xcalloc(h->ops.count + 1, sizeof *s.sights);
    s.before = xcalloc(h->ops.count + 1, sizeof *s.before);
    run_clocks(&s);
    view_each_unit(&v, "sessions", check_unit, &s);
    free(s.sights);
    free(s.before);
    view_done(&v);
}
