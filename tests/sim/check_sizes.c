/* Sizes: what STAT says of a file is neither too small nor too large for what was written to it.
 *
 * Model. A file's size is the highest end of what was written since it was last cut. So a STAT
 * never shows less than the end of a WRITE that finished before the STAT began, unless a TRUNCATE
 * can have come behind that WRITE; and never more than the highest end that any WRITE or TRUNCATE
 * begun before the STAT ended can have given it. Changes that are LOST (check_history.h) count only
 * for the second. At consistency=session only what the STAT's own mount wrote counts for the first,
 * in an earlier life only what it had synced: the rest may still have been under way.
 */
#include "tests/sim/check_history.h"

static uint64_t end_of(const struct history_op *op)
{
    return (uint64_t)(op->kind == H_WRITE ? op->page + op->pages : op->pages) * HISTORY_UNIT;
}

static bool may_be_cut(const struct view *v, const struct file_ops *f, const struct history_op *w,
                       const struct history_op *stat)
{
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *z = &v->h->ops.items[f->ops.items[i]];
        if (z->start > stat->end)
            return false;
        if (z->kind == H_TRUNCATE && view_fate(v, z) != FATE_NEVER && op_latest(v, z) >= w->start &&
            end_of(z) < end_of(w))
            return true;
    }
    return false;
}

static bool demanded(const struct view *v, const struct history_op *w,
                     const struct history_op *stat)
{
    if (!history_late(v->h, stat))
        return true;
    return w->mount == stat->mount && !view_earlier_life(v, stat, w);
}

static void complain(const char *what, const struct history_op *stat, const struct history_op *op)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    sim_complain("sizes", "%s: file %llu has %llu bytes at %s%s%s", what,
                 (unsigned long long)stat->file, (unsigned long long)stat->size,
                 op_text(stat, text), op ? ", after " : "", op ? op_text(op, other) : "");
}

static void check_stat(const struct view *v, const struct file_ops *f,
                       const struct history_op *stat)
{
    uint64_t most = 0;
    for (size_t i = 0; i < f->ops.count && !sim_failed(); i++) {
        const struct history_op *op = &v->h->ops.items[f->ops.items[i]];
        if (op->start > stat->end)
            break;
        if ((op->kind != H_WRITE && op->kind != H_TRUNCATE) || view_fate(v, op) == FATE_NEVER)
            continue;
        if (end_of(op) > most)
            most = end_of(op);
        if (op->kind == H_WRITE && view_fate(v, op) == FATE_DONE && op_certain(op) &&
            op->end < stat->start && stat->size < end_of(op) && demanded(v, op, stat) &&
            !may_be_cut(v, f, op, stat))
            complain("size of a time before", stat, op);
    }
    if (stat->size > most && !sim_failed())
        complain("size of nobody's writing", stat, NULL);
}

static bool appended_to(const struct view *v, const struct file_ops *f)
{
    for (size_t i = 0; i < f->ops.count; i++) {
        enum history_kind kind = v->h->ops.items[f->ops.items[i]].kind;
        if (kind == H_APPEND || kind == H_READ_ALL || kind == H_SETXATTR || kind == H_GETXATTR)
            return true;
    }
    return false;
}

/* STATs tell files from directories by nothing but their bytes: only files that were written. */
void check_sizes(const struct history *h)
{
    struct view v;
    view_init(&v, h);
    for (size_t i = 0; i < h->ops.count && !sim_failed(); i++) {
        const struct history_op *op = &h->ops.items[i];
        uintptr_t at =
            op->kind == H_STAT && op_ok(op) ? (uintptr_t)map_get(&v.by_file, op->file) : 0;
        const struct file_ops *f = at ? &v.files.items[at - 1] : NULL;
        if (f && f->units && !appended_to(&v, f))
            check_stat(&v, f, op);
    }
    view_done(&v);
}
