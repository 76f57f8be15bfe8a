/* Linearizability of file contents.
 *
 * Model. Each unit of each file is a register, at first zeros. WRITE puts its stamp, which is
 * unique, into the units of its range; TRUNCATE puts zeros into the units from its size on; READ
 * gives one value per unit. Each takes effect at one moment between its start and its end, an
 * operation of unknown outcome at any moment after its start or never (Herlihy and Wing 1990).
 * Registers are judged one by one: linearizability is local (ibid., theorem 1).
 *
 * Since stamps are unique each read names its write, and the question has an answer in O(n log n)
 * (Gibbons and Korach 1997, section 4.1; the interval method). A write and its reads are a cluster.
 * Its zone lies between f, the least end, and s, the greatest start, of its operations. With f < s
 * the register holds that value from f to s for certain: a forward zone. Otherwise all of them may
 * share one moment in [s, f]: a backward zone. The history is linearizable if and only if no two
 * forward zones overlap and no backward zone lies inside a forward one (and no read ended before
 * its write began, which check_history.c sees).
 *
 * Zeros are written by more than one operation, so the reads of zeros are not mapped. Two necessary
 * conditions stand in: a read of zeros, or a truncate, is a zone of its own (it must not lie
 * inside a forward zone); and after an operation that shows the unit written, zeros are read only
 * if some truncate can lie between.
 *
 * Losses. A change that is LOST (check_history.h) was never seen from outside its mount's life, so
 * the history without it, and without that life's own reads of it, must be linearizable. And until
 * the mount was killed nothing was lost, so the history up to that moment, with those changes, must
 * be linearizable as well. */
#include "tests/sim/check_history.h"

struct zone {
    time_us low, high; /* forward: f, s; backward: s, f */
    const struct event *event;
    size_t reads;
};

struct registers {
    const struct view *view;
    vec_of(struct zone) forward, backward;
    vec_of(struct zone) clusters;      /* one per write of the unit */
    vec_of(const struct event *) lost; /* changes of the unit that view_loss() knows */
    vec_of(struct event) events;       /* those of the unit that count */
};

/* ---- zones ----------------------------------------------------------------------------------- */

static int by_low(const void *a, const void *b)
{
    const struct zone *x = a, *y = b;
    return x->low < y->low ? -1 : x->low > y->low;
}

static void add_cluster(struct registers *r, const struct event *e)
{
    time_us end = e->fate == FATE_MAYBE ? TIME_NEVER : e->end;
    vec_push(&r->clusters, (struct zone){.low = end, .high = e->start, .event = e});
}

/* Clusters stand in the order of their writes' starts. */
static struct zone *cluster_of(struct registers *r, const struct history_op *writer)
{
    size_t low = 0, high = r->clusters.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r->clusters.items[middle].event->start < writer->start)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < r->clusters.count && r->clusters.items[low].event->start == writer->start; low++)
        if (r->clusters.items[low].event->op == writer)
            return &r->clusters.items[low];
    return NULL;
}

static void add_backward(struct registers *r, const struct event *e)
{
    vec_push(&r->backward, (struct zone){.low = e->start, .high = e->end, .event = e});
}

/* Clusters hold (f, s); a write that may never have happened counts only when it was read. */
static void make_zones(struct registers *r)
{
    vec_clear(&r->clusters);
    vec_clear(&r->forward);
    vec_clear(&r->backward);
    for (size_t i = 0; i < r->events.count; i++)
        if (r->events.items[i].kind == EVENT_WRITE)
            add_cluster(r, &r->events.items[i]);
    for (size_t i = 0; i < r->events.count; i++) {
        const struct event *e = &r->events.items[i];
        struct zone *z = e->kind == EVENT_READ && e->writer ? cluster_of(r, e->writer) : NULL;
        if (z) {
            z->low = time_min(z->low, e->end);
            z->high = time_max(z->high, e->start);
            z->reads++;
        } else if (e->kind != EVENT_WRITE && e->fate == FATE_DONE && e->end != TIME_NEVER) {
            add_backward(r, e);
        }
    }
    for (size_t i = 0; i < r->clusters.count; i++) {
        struct zone z = r->clusters.items[i];
        if (z.event->fate == FATE_MAYBE && !z.reads)
            continue;
        if (z.low < z.high)
            vec_push(&r->forward, z);
        else
            vec_push(&r->backward, ((struct zone){z.high, z.low, z.event, z.reads}));
    }
    if (r->forward.count)
        qsort(r->forward.items, r->forward.count, sizeof(struct zone), by_low);
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static void complain(const struct unit *u, const char *what, const struct event *a,
                     const struct event *b)
{
    char first[HISTORY_TEXT], second[HISTORY_TEXT];
    sim_complain("registers", "%s: unit %u of file %llu, %s while the value is that of %s", what,
                 u->number, (unsigned long long)u->file, op_text(a->op, first),
                 op_text(b->op, second));
}

static const char *anomaly(const struct zone *z)
{
    if (z->event->kind == EVENT_READ)
        return "zeros read instead of what was written";
    if (z->event->kind == EVENT_ZERO)
        return "lost truncate";
    return z->reads ? "stale read" : "lost update";
}

static void check_forward(struct registers *r, const struct unit *u)
{
    for (size_t i = 1; i < r->forward.count; i++) {
        struct zone *a = &r->forward.items[i - 1], *b = &r->forward.items[i];
        if (b->low < a->high) {
            complain(u, "stale read", b->event, a->event);
            return;
        }
    }
}

/* Forward zones do not overlap here, so the last one that begins before decides. */
static void check_backward(struct registers *r, const struct unit *u)
{
    for (size_t i = 0; i < r->backward.count; i++) {
        const struct zone *z = &r->backward.items[i];
        size_t low = 0, high = r->forward.count;
        while (low < high) {
            size_t middle = (low + high) / 2;
            if (r->forward.items[middle].low < z->low)
                low = middle + 1;
            else
                high = middle;
        }
        if (low && z->high < r->forward.items[low - 1].high) {
            complain(u, anomaly(z), z->event, r->forward.items[low - 1].event);
            return;
        }
    }
}

static int by_end(const void *a, const void *b)
{
    const struct event *x = *(const struct event *const *)a, *y = *(const struct event *const *)b;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Reads of zeros come in the order of their starts; `done` are the events that show the unit
 * written, in the order of their ends. */
static void check_zeros(struct registers *r, const struct unit *u)
{
    struct unit mine = {u->file, u->number, r->events.items, r->events.count};
    vec_of(const struct event *) done = {0};
    bool zeros = false;
    for (size_t i = 0; i < r->events.count; i++) {
        const struct event *e = &r->events.items[i];
        zeros = zeros || (e->kind == EVENT_READ && !e->writer);
        if (e->writer && e->end != TIME_NEVER)
            vec_push(&done, e);
    }
    if (zeros && done.count)
        qsort(done.items, done.count, sizeof done.items[0], by_end);
    const struct event *newest = NULL;
    for (size_t i = 0, k = 0; zeros && i < r->events.count && !sim_failed(); i++) {
        const struct event *e = &r->events.items[i];
        if (e->kind != EVENT_READ || e->writer)
            continue;
        for (; k < done.count && done.items[k]->end < e->start; k++)
            if (!newest || done.items[k]->start > newest->start)
                newest = done.items[k];
        if (newest && !unit_zeroed(&mine, newest->start, e->end))
            complain(u, "zeros read instead of what was written", e, newest);
    }
    vec_done(&done);
}

static void judge(struct registers *r, const struct unit *u)
{
    make_zones(r);
    check_forward(r, u);
    check_backward(r, u);
    check_zeros(r, u);
}

/* ---- losses ------------------------------------------------------------------------------------
 */

/* What this life saw of its own that was lost: its reads of LOST writes, and its reads of zeros
 * once a truncate of its own that was LOST may have taken effect. */
static bool saw_lost(const struct registers *r, const struct event *read)
{
    for (size_t i = 0; i < r->lost.count; i++) {
        const struct event *e = r->lost.items[i];
        if (same_life(e->op, read->op) &&
            (e->op == read->writer ||
             (e->kind == EVENT_ZERO && !read->writer && e->start <= read->end)))
            return true;
    }
    return false;
}

static void find_lost(struct registers *r, const struct unit *u)
{
    vec_clear(&r->lost);
    for (size_t i = 0; r->view->losses.count && i < u->count; i++)
        if (u->events[i].kind != EVENT_READ && view_loss(r->view, u->events[i].op))
            vec_push(&r->lost, &u->events[i]);
}

/* What mounts at consistency=session read says nothing here. */
static bool counts(const struct registers *r, const struct event *e)
{
    return e->kind != EVENT_READ || !history_late(r->view->h, e->op);
}

static void without_lost(struct registers *r, const struct unit *u)
{
    vec_clear(&r->events);
    for (size_t i = 0; i < u->count; i++) {
        const struct event *e = &u->events[i];
        if (counts(r, e) && e->fate != FATE_LOST && !(e->kind == EVENT_READ && saw_lost(r, e)))
            vec_push(&r->events, *e);
    }
}

/* The history up to the death of a mount, as if nothing of it were lost. Earlier losses are. */
static void upto_death(struct registers *r, const struct unit *u, const struct loss *l)
{
    vec_clear(&r->events);
    for (size_t i = 0; i < u->count && u->events[i].start < l->at; i++) {
        struct event e = u->events[i];
        if (!counts(r, &e))
            continue;
        const struct loss *own =
            e.kind == EVENT_READ ? view_later_loss(r->view, e.op) : view_loss(r->view, e.op);
        bool kept = !own || (own->killed && own->at >= l->at);
        if (e.kind == EVENT_READ && (e.end >= l->at || (!kept && saw_lost(r, &e))))
            continue;
        if (!kept && e.fate == FATE_LOST)
            continue;
        if (e.kind != EVENT_READ) {
            bool open = op_unknown(e.op) || e.end >= l->at || !kept;
            e.end = open ? TIME_NEVER : e.op->end;
            e.fate = open ? FATE_MAYBE : FATE_DONE;
        }
        vec_push(&r->events, e);
    }
}

static bool lost_here(const struct registers *r, const struct loss *l)
{
    for (size_t i = 0; i < r->lost.count; i++)
        if (view_loss(r->view, r->lost.items[i]->op) == l)
            return true;
    return false;
}

static void check_unit(void *ctx, const struct unit *u)
{
    struct registers *r = ctx;
    find_lost(r, u);
    without_lost(r, u);
    judge(r, u);
    for (size_t i = 0; r->lost.count && i < r->view->losses.count && !sim_failed(); i++) {
        const struct loss *l = &r->view->losses.items[i];
        if (!l->killed || !lost_here(r, l))
            continue;
        upto_death(r, u, l);
        judge(r, u);
    }
}

void check_registers(const struct history *h)
{
    if (h->session_mounts == UINT32_MAX)
        return;
    struct view v;
    view_init(&v, h);
    struct registers r = {.view = &v};
    view_each_unit(&v, "registers", check_unit, &r);
    vec_done(&r.forward);
    vec_done(&r.backward);
    vec_done(&r.clusters);
    vec_done(&r.events);
    vec_done(&r.lost);
    view_done(&v);
}
