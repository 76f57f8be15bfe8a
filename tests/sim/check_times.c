/* Times: RULES L9, "mtime = max(old + 1 ns, ...)".
 *
 * Model. Where an application may have set the mtime between two STATs, they are not compared
 * (check_attrs.c judges that). Of others of one file, the second beginning after the first ended,
 * the second never has the lesser mtime, and it has a greater one when a WRITE of some bytes lies
 * wholly between them. What a mount saw of its own changes before it died or lost its
 * session may be gone after that: such a STAT bounds only those of its own life up to then. At
 * consistency=session STATs of different mounts are not compared. A STAT that meets a READ of the
 * file at its mount may be told a time some ns too early (docs/posix.md). */
#include "tests/sim/check_history.h"

struct stat_seen {
    const struct history_op *op;
    const struct loss *loss; /* what it saw may be gone from there on */
};

struct times {
    const struct view *view;
    vec_of(const struct history_op *) sets; /* UTIMENS of mtimes */
};

static const struct history_op *write_between(const struct view *v, const struct history_op *a,
                                              const struct history_op *b)
{
    uintptr_t at = (uintptr_t)map_get(&v->by_file, a->file);
    if (!at)
        return NULL;
    const struct file_ops *f = &v->files.items[at - 1];
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *w = &v->h->ops.items[f->ops.items[i]];
        if (w->start > b->start)
            return NULL;
        if (w->kind == H_WRITE && w->start > a->end && view_fate(v, w) == FATE_DONE && w->bytes &&
            w->end < b->start)
            return w;
    }
    return NULL;
}

static bool set_between(const struct times *t, const struct history_op *a,
                        const struct history_op *b)
{
    for (size_t i = 0; i < t->sets.count; i++) {
        const struct history_op *u = t->sets.items[i];
        bool gone = u->reverted || op_unknown(u) || view_later_loss(t->view, u);
        bool late = (history_late(t->view->h, a) && u->mount != a->mount) ||
                    (history_late(t->view->h, b) && u->mount != b->mount); /* comes when it comes */
        if ((u->file == b->file || u->file == 0) && u->start <= b->end &&
            (gone || late || u->end >= a->start))
            return true;
    }
    return false;
}

static bool comparable(const struct times *t, const struct stat_seen *a, const struct history_op *b)
{
    if ((history_late(t->view->h, b) && a->op->mount != b->mount) || set_between(t, a->op, b))
        return false;
    return !a->loss || (same_life(a->op, b) && b->end < a->loss->at && a->loss->killed);
}

enum { TOLD_EARLY_NS = 8 };

/* Is it told the time with which a read at this mount makes Linux drop its pages? */
static bool meets_read(const struct view *v, const struct history_op *stat)
{
    uintptr_t at = (uintptr_t)map_get(&v->by_file, stat->file);
    const struct file_ops *f = at ? &v->files.items[at - 1] : NULL;
    for (size_t i = 0; f && i < f->ops.count; i++) {
        const struct history_op *o = &v->h->ops.items[f->ops.items[i]];
        if (o->kind == H_READ && o->mount == stat->mount && o->start <= stat->end &&
            o->end >= stat->start)
            return true;
    }
    return false;
}

static void compare(const struct times *t, const struct history_op *a, const struct history_op *b)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    const struct history_op *w;
    if (a->mtime - b->mtime <= TOLD_EARLY_NS && meets_read(t->view, b))
        return;
    if (b->mtime < a->mtime)
        sim_complain("times", "mtime of file %llu goes back by %lld ns: %s, then %s",
                     (unsigned long long)a->file, (long long)(a->mtime - b->mtime),
                     op_text(a, text), op_text(b, other));
    else if (b->mtime == a->mtime && !history_late(t->view->h, b) &&
             (w = write_between(t->view, a, b)) != NULL)
        sim_complain("times", "mtime of file %llu stands still over %s: %s",
                     (unsigned long long)a->file, op_text(w, text), op_text(b, other));
}

/* Against the STAT with the greatest mtime that ended before: STATs of a file in start order. */
static void check_file(struct times *t, const struct stat_seen *stats, size_t count)
{
    for (size_t i = 1; i < count && !sim_failed(); i++) {
        const struct history_op *b = stats[i].op;
        const struct history_op *greatest = NULL;
        for (size_t k = i; k-- > 0;) {
            const struct history_op *a = stats[k].op;
            if (a->end < b->start && comparable(t, &stats[k], b) &&
                (!greatest || a->mtime > greatest->mtime))
                greatest = a;
        }
        if (greatest)
            compare(t, greatest, b);
    }
}

static int by_file(const void *a, const void *b)
{
    const struct stat_seen *x = a, *y = b;
    if (x->op->file != y->op->file)
        return x->op->file < y->op->file ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

void check_times(const struct history *h)
{
    struct view v;
    vec_of(struct stat_seen) stats = {0};
    view_init(&v, h);
    struct times t = {.view = &v};
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (op->kind == H_STAT && op_ok(op) && op->file && op->mtime)
            vec_push(&stats, (struct stat_seen){op, view_later_loss(&v, op)});
        if (op->kind == H_UTIMENS && op->sets & SETS_MTIME && (op_ok(op) || op_unknown(op)))
            vec_push(&t.sets, op);
    }
    if (stats.count)
        qsort(stats.items, stats.count, sizeof stats.items[0], by_file);
    for (size_t i = 0, begin = 0; i < stats.count; i++) {
        if (i + 1 < stats.count && stats.items[i + 1].op->file == stats.items[i].op->file)
            continue;
        check_file(&t, stats.items + begin, i + 1 - begin);
        begin = i + 1;
    }
    vec_done(&stats);
    vec_done(&t.sets);
    view_done(&v);
}
