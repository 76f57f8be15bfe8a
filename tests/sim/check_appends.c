/* Files that are only appended to: no record lost, torn, doubled, or out of order.
 *
 * Model. An append-only file is a list. APPEND adds its record, whose stamp is unique, at the end;
 * READ_ALL gives the list. Both take effect at one moment between start and end; an APPEND of
 * unknown outcome at any moment after its start, once, or never. READ_ALL is several read(2), so
 * what is appended meanwhile may be in its answer.
 *
 * Since records are unique and only added, the lists that were read must be prefixes of one order
 * (that of Elle's list-append: Kingsbury and Alvaro 2020). A LOST record (check_history.h) is left
 * out of the lists of its own life; nobody else may have it. */
#include "tests/sim/check_history.h"

struct appends {
    const struct view *view;
    uint64_t file;
    vec_of(uint64_t) order;                  /* the longest list so far */
    vec_of(const struct history_op *) lists; /* READ_ALL, in the order of their ends */
    vec_of(
        const struct history_op *) records; /* acknowledged APPENDs, in the order of their ends */
    vec_of(uint64_t) list;                  /* of the READ_ALL looked at, LOST ones left out */
    struct map place;                       /* stamp -> place in `order` + 1 */
};

static int by_end(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x < y ? -1 : x > y;
}

static void complain(const struct appends *a, const char *what, uint64_t stamp,
                     const struct history_op *op)
{
    char text[HISTORY_TEXT];
    sim_complain("appends", "%s: record %llu of file %llu, %s", what, (unsigned long long)stamp,
                 (unsigned long long)a->file, op_text(op, text));
}

/* ---- one list on its own -----------------------------------------------------------------------
 */

/* False: complained. */
static bool take_list(struct appends *a, const struct history_op *r)
{
    vec_clear(&a->list);
    if (r->torn || (r->stamps_count && r->stamps[r->stamps_count - 1] == HISTORY_TORN)) {
        complain(a, "torn record", 0, r);
        return false;
    }
    for (size_t i = 0; i < r->stamps_count; i++) {
        const struct history_op *w = view_writer(a->view, r->stamps[i]);
        if (!w || w->file != a->file || view_fate(a->view, w) == FATE_NEVER)
            complain(a, "nobody appended it", r->stamps[i], r);
        else if (r->end < w->start)
            complain(a, "read from the future", r->stamps[i], r);
        else if (view_fate(a->view, w) != FATE_LOST)
            vec_push(&a->list, r->stamps[i]);
    }
    return !sim_failed();
}

/* ---- against the lists before ------------------------------------------------------------------
 */

static void extend(struct appends *a, const struct history_op *r)
{
    for (size_t i = a->order.count; i < a->list.count; i++) {
        if (map_get(&a->place, a->list.items[i])) {
            complain(a, "doubled record", a->list.items[i], r);
            return;
        }
        vec_push(&a->order, a->list.items[i]);
        (void)map_put(&a->place, a->list.items[i], (void *)a->order.count);
    }
}

static void check_prefix(struct appends *a, const struct history_op *r)
{
    for (size_t i = 0; i < a->list.count && i < a->order.count; i++) {
        if (a->list.items[i] == a->order.items[i])
            continue;
        uintptr_t at = (uintptr_t)map_get(&a->place, a->list.items[i]);
        complain(a,
                 at && at <= i ? "doubled record"
                 : at          ? "lost record"
                               : "order of records differs",
                 at > i ? a->order.items[i] : a->list.items[i], r);
        return;
    }
    extend(a, r);
}

/* ---- real time ---------------------------------------------------------------------------------
 */

/* The order respects real time: a record that was acknowledged before another was begun is before
 * it. From the back: the least end of what follows. */
static void check_order(struct appends *a)
{
    const struct history_op *first = NULL; /* of those behind: the one with the least end */
    for (size_t i = a->order.count; i-- > 0;) {
        const struct history_op *w = view_writer(a->view, a->order.items[i]);
        if (first && op_latest(a->view, first) < w->start) {
            complain(a, "records not in the order of time", a->order.items[i], first);
            return;
        }
        if (!first || op_latest(a->view, w) < op_latest(a->view, first))
            first = w;
    }
}

/* What was acknowledged before the reading began is in the list. Of the records acknowledged by
 * then, the one furthest back in the order decides; one in no list at all is lost at once. */
static void check_whole(struct appends *a)
{
    size_t next = 0, least = 0;
    const struct history_op *last = NULL, *missing = NULL;
    vec_of(const struct history_op *) reads = {0};
    for (size_t i = 0; i < a->lists.count; i++)
        if (!history_late(a->view->h, a->lists.items[i]))
            vec_push(&reads, a->lists.items[i]);
    /* by their starts: the order of the history */
    for (size_t i = 1; i < reads.count; i++)
        for (size_t k = i; k > 0 && reads.items[k - 1]->start > reads.items[k]->start; k--) {
            const struct history_op *swap = reads.items[k];
            reads.items[k] = reads.items[k - 1];
            reads.items[k - 1] = swap;
        }
    for (size_t i = 0; i < reads.count && !sim_failed(); i++) {
        const struct history_op *r = reads.items[i];
        for (; next < a->records.count && a->records.items[next]->end < r->start; next++) {
            const struct history_op *w = a->records.items[next];
            uintptr_t at = (uintptr_t)map_get(&a->place, w->stamp);
            if (!at && !missing)
                missing = w;
            if (at > least) {
                least = at;
                last = w;
            }
        }
        if (missing) {
            complain(a, "lost record", missing->stamp, r);
        } else if (take_list(a, r) && a->list.count < least) {
            complain(a, "lost record", last->stamp, r);
        }
    }
    vec_done(&reads);
}

/* How many records of `before` a later list of the same mount must have: what an earlier life had
 * not synced may come when the next one has read (check_sessions.c). */
static size_t must_stay(const struct appends *a, const struct history_op *before, size_t had,
                        const struct history_op *r)
{
    while (had > 0 && history_late(a->view->h, r) && before->life != r->life) {
        const struct history_op *w = view_writer(a->view, before->stamps[had - 1]);
        if (!w || w->mount != r->mount || w->life == r->life || !view_unsynced(a->view, w))
            break;
        had--;
    }
    return had;
}

/* A list never gets shorter: on one mount, at consistency=session. */
static void check_growth(struct appends *a)
{
    for (size_t i = 1; i < a->lists.count && !sim_failed(); i++) {
        const struct history_op *r = a->lists.items[i];
        for (size_t k = i; k-- > 0 && !sim_failed();) {
            const struct history_op *before = a->lists.items[k];
            if (before->end >= r->start ||
                (history_late(a->view->h, r) && before->mount != r->mount))
                continue;
            (void)take_list(a, before);
            size_t had = must_stay(a, before, a->list.count, r);
            if (take_list(a, r) && a->list.count < had)
                complain(a, "a record that was there is gone", before->stamps[had - 1], r);
            break;
        }
    }
}

/* Between two read(2) of it the mount's session ended: the first showed bytes that are gone. */
static bool lost_meanwhile(const struct view *v, const struct history_op *r)
{
    const struct loss *l = view_later_loss(v, r);
    return l && !l->killed && r->pages > 2;
}

static void check_file(struct appends *a, const struct file_ops *f)
{
    a->file = f->file;
    vec_clear(&a->order);
    vec_clear(&a->lists);
    vec_clear(&a->records);
    map_clear(&a->place);
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *op = &a->view->h->ops.items[f->ops.items[i]];
        if (op->kind == H_READ_ALL && op_ok(op) && !lost_meanwhile(a->view, op))
            vec_push(&a->lists, op);
        else if (op->kind == H_APPEND && view_fate(a->view, op) == FATE_DONE)
            vec_push(&a->records, op);
    }
    if (!a->lists.count)
        return;
    qsort(a->lists.items, a->lists.count, sizeof a->lists.items[0], by_end);
    if (a->records.count)
        qsort(a->records.items, a->records.count, sizeof a->records.items[0], by_end);
    for (size_t i = 0; i < a->lists.count && !sim_failed(); i++)
        if (take_list(a, a->lists.items[i]))
            check_prefix(a, a->lists.items[i]);
    if (!sim_failed())
        check_order(a);
    if (!sim_failed())
        check_whole(a);
    if (!sim_failed())
        check_growth(a);
}

void check_appends(const struct history *h)
{
    struct view v;
    view_init(&v, h);
    struct appends a = {.view = &v};
    for (size_t i = 0; i < v.files.count && !sim_failed(); i++)
        check_file(&a, &v.files.items[i]);
    vec_done(&a.order);
    vec_done(&a.lists);
    vec_done(&a.records);
    vec_done(&a.list);
    map_done(&a.place);
    view_done(&v);
}
