/* RULES B9, B11: what fsync answered for, or what had been written to a file that got a name,
 * survives everything.
 *
 * Model. When an FSYNC of a file returned 0 at a mount, all that this mount's applications had
 * finished writing to the file before the FSYNC began is durable. From the FSYNC's end on no read
 * shows anything older: a value whose write ended before the durable one began, or zeros when no
 * truncate can have come behind it. At consistency=session a read elsewhere may be late for other
 * reasons, so there only reads on the same mount count, in any of its lives (RULES L10, RYW). A
 * rename that gives the file a name counts as an FSYNC, if it took place.
 *
 * The same holds after a CLOSE for as long as one and the same leader leads: "Data closed but not
 * fsynced survive the loss of the leader or the mount, not of both." */
#include "tests/sim/check.h"
#include "tests/sim/check_history.h"

struct sync {
    uint32_t mount, life;
    time_us start, end;
    bool close;
};

/* A write, and from when on it is durable. */
struct durable {
    const struct event *write;
    time_us since;
    /* CLOSE: if one leader led from here on, for the one that took the bytes may be an earlier one
     * than that of the CLOSE; 0: whatever happens */
    time_us led_from;
};

struct durability {
    const struct view *view;
    uint64_t file;
    vec_of(struct sync) syncs; /* of `file`, in the order of their ends */
    vec_of(struct durable) writes;
};

static int by_end(const void *a, const void *b)
{
    const struct sync *x = a, *y = b;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_since(const void *a, const void *b)
{
    const struct durable *x = a, *y = b;
    return x->since < y->since ? -1 : x->since > y->since;
}

static void find_syncs(struct durability *d, uint64_t file)
{
    const struct view *v = d->view;
    const struct file_ops *f = &v->files.items[(uintptr_t)map_get(&v->by_file, file) - 1];
    d->file = file;
    vec_clear(&d->syncs);
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[f->ops.items[i]];
        bool early = op->kind == H_CLOSE && op->q; /* of a new file: answered before all else */
        if ((op->kind == H_FSYNC || op->kind == H_NAMED || op->kind == H_CLOSE) && op_ok(op) &&
            !op->reverted && !early)
            vec_push(&d->syncs,
                     ((struct sync){op->mount, op->life, op->start, op->end, op->kind == H_CLOSE}));
    }
    if (d->syncs.count)
        qsort(d->syncs.items, d->syncs.count, sizeof d->syncs.items[0], by_end);
}

/* The first FSYNC or CLOSE that covers the write; NULL: none. What the loss of a session took is
 * not there any more for those that come behind. */
static const struct sync *first_sync(const struct durability *d, const struct event *w, bool close)
{
    const struct loss *loss = view_later_loss(d->view, w->op);
    for (size_t i = 0; i < d->syncs.count; i++) {
        const struct sync *s = &d->syncs.items[i];
        if (s->close == close && s->mount == w->op->mount && s->life == w->op->life &&
            s->start >= w->end && !(loss && loss->at <= s->end))
            return s;
    }
    return NULL;
}

static void find_durable(struct durability *d, const struct unit *u)
{
    vec_clear(&d->writes);
    for (size_t i = 0; i < u->count; i++) {
        const struct event *e = &u->events[i];
        if (e->kind != EVENT_WRITE || e->end == TIME_NEVER)
            continue;
        const struct sync *sync = first_sync(d, e, false), *close = first_sync(d, e, true);
        if (sync)
            vec_push(&d->writes, ((struct durable){e, sync->end, 0}));
        if (close)
            vec_push(&d->writes, ((struct durable){e, close->end, e->end}));
    }
    if (d->writes.count)
        qsort(d->writes.items, d->writes.count, sizeof d->writes.items[0], by_since);
}

static void check_read(struct durability *d, const struct unit *u, const struct event *read)
{
    const struct event *newest = NULL;
    for (size_t i = 0; i < d->writes.count && d->writes.items[i].since < read->start; i++) {
        const struct event *w = d->writes.items[i].write;
        time_us led_from = d->writes.items[i].led_from;
        if (newest && w->start <= newest->start)
            continue;
        if (led_from && !check_election_steady(led_from, read->end))
            continue;
        if (history_late(d->view->h, read->op) && w->op->mount != read->op->mount)
            continue;
        newest = w;
    }
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    if (newest && unit_older(u, read, newest->op))
        sim_complain("durability",
                     "synced or closed write lost: unit %u of file %llu has %llu, not %s, at %s",
                     u->number, (unsigned long long)u->file, (unsigned long long)read->value,
                     op_text(newest->op, text), op_text(read->op, other));
}

static void check_unit(void *ctx, const struct unit *u)
{
    struct durability *d = ctx;
    if (d->file != u->file)
        find_syncs(d, u->file);
    if (!d->syncs.count)
        return;
    find_durable(d, u);
    for (size_t i = 0; d->writes.count && i < u->count && !sim_failed(); i++)
        if (u->events[i].kind == EVENT_READ)
            check_read(d, u, &u->events[i]);
}

void check_durability(const struct history *h)
{
    struct view v;
    view_init(&v, h);
    struct durability d = {.view = &v};
    view_each_unit(&v, "durability", check_unit, &d);
    vec_done(&d.syncs);
    vec_done(&d.writes);
    view_done(&v);
}
