/* RULES B2: "After any crash the file is exactly as of one commit, never a mixture."
 *
 * Model. A mount died, or lost its session. Its changes to one file were committed in the order in
 * which it made them, several at a time, and a WRITE
 * request is never divided. So once any of them was seen
 * from outside that life, every change that ended before that one began, and every unit of that one
 * itself, is in the file: a read from outside that begins after the first such sight ended shows
 * nothing older. (At consistency=session: a later read on the mount that had the sight.)
 *
 * check_registers would object too; this checker has fewer assumptions, judges both consistency
 * levels, and says what broke. */
#include "tests/sim/check_history.h"

enum { SIGHTS_MAX = 8 };

/* A mount saw something of the dying life's changes to a file. */
struct sight {
    const struct loss *loss;
    uint32_t mount;                /* who saw it */
    time_us at;                    /* when the read ended */
    const struct history_op *seen; /* the WRITE with the greatest start so far */
};

struct one_commit {
    const struct view *view;
    uint64_t file;
    vec_of(struct sight) sights; /* of `file`, in the order of `at` */
};

static int by_at(const void *a, const void *b)
{
    const struct sight *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void see(struct one_commit *c, const struct history_op *r)
{
    for (size_t i = 0; i < r->stamps_count; i++) {
        if (i && r->stamps[i] == r->stamps[i - 1])
            continue;
        const struct history_op *w = view_writer(c->view, r->stamps[i]);
        const struct loss *l = w && !same_life(w, r) ? view_later_loss(c->view, w) : NULL;
        if (l)
            vec_push(&c->sights, (struct sight){l, r->mount, r->end, w});
    }
}

/* Of each loss and mount the last few sights that show more than all before them: what comes behind
 * bears on them all, and each costs a look at every event. */
static void thin_out(struct one_commit *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->sights.count; i++) {
        struct sight s = c->sights.items[i];
        size_t same = 0, oldest = 0;
        bool more = true;
        for (size_t k = kept; k-- > 0 && more;) {
            const struct sight *before = &c->sights.items[k];
            if (before->loss != s.loss || before->mount != s.mount)
                continue;
            more = before->seen->start < s.seen->start;
            same++;
            oldest = k;
        }
        if (!more)
            continue;
        if (same == SIGHTS_MAX) {
            for (size_t k = oldest; k + 1 < kept; k++)
                c->sights.items[k] = c->sights.items[k + 1];
            kept--;
        }
        c->sights.items[kept++] = s;
    }
    c->sights.count = kept;
}

static void find_sights(struct one_commit *c, uint64_t file)
{
    const struct view *v = c->view;
    const struct file_ops *f = &v->files.items[(uintptr_t)map_get(&v->by_file, file) - 1];
    c->file = file;
    vec_clear(&c->sights);
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[f->ops.items[i]];
        if (op->kind == H_READ && op_ok(op))
            see(c, op);
    }
    if (c->sights.count)
        qsort(c->sights.items, c->sights.count, sizeof c->sights.items[0], by_at);
    thin_out(c);
}

/* The kernel may divide a write(2) in two; one that was under way at the loss and succeeded all the
 * same sent its second part under the next session. */
static bool whole(const struct sight *s, const struct history_op *w)
{
    return op_undivided(w) && w->end <= s->loss->at;
}

/* Of the same life and loss as the sight: must be in the file when the sight is. */
static bool implied(const struct sight *s, const struct event *w)
{
    return w->kind == EVENT_WRITE && same_life(w->op, s->seen) &&
           ((w->op == s->seen && whole(s, w->op)) ||
            (w->fate == FATE_DONE && w->end < s->seen->start));
}

static const struct event *newest_implied(const struct unit *u, const struct sight *s)
{
    const struct event *newest = NULL;
    for (size_t i = 0; i < u->count && u->events[i].start <= s->seen->start; i++)
        if (implied(s, &u->events[i]))
            newest = &u->events[i];
    return newest;
}

static void check_sight(struct one_commit *c, const struct unit *u, const struct sight *s)
{
    const struct event *w = newest_implied(u, s);
    char text[HISTORY_TEXT], other[HISTORY_TEXT], seen[HISTORY_TEXT];
    for (size_t i = 0; w && i < u->count; i++) {
        const struct event *r = &u->events[i];
        if (r->kind != EVENT_READ || r->start <= s->at || same_life(r->op, w->op) ||
            (history_late(c->view->h, r->op) && r->op->mount != s->mount))
            continue;
        if (!unit_older(u, r, w->op))
            continue;
        sim_complain("one_commit",
                     "mixture of two commits: file %llu shows %s, and in unit %u not %s, at %s",
                     (unsigned long long)u->file, op_text(s->seen, seen), u->number,
                     op_text(w->op, text), op_text(r->op, other));
        return;
    }
}

static void check_unit(void *ctx, const struct unit *u)
{
    struct one_commit *c = ctx;
    if (c->file != u->file)
        find_sights(c, u->file);
    for (size_t i = 0; i < c->sights.count && !sim_failed(); i++)
        check_sight(c, u, &c->sights.items[i]);
}

void check_one_commit(const struct history *h)
{
    struct view v;
    view_init(&v, h);
    struct one_commit c = {.view = &v};
    if (v.losses.count)
        view_each_unit(&v, "one_commit", check_unit, &c);
    vec_done(&c.sights);
    view_done(&v);
}
