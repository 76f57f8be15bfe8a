/* Modes, owners and times that applications set (CHMOD, CHOWN, UTIMENS).
 *
 * Model. Each of mode, setuid, owner, mtime and atime of a file is a register; setuid goes with
 * whatever changes bytes, also when that fails later. A STAT shows what it was
 * made with, or what a change gave it that began before the STAT ended; and nothing that is older
 * than
 *   - a change that ended with 0 before the STAT began;
 *   - what an earlier STAT showed.
 * X is older than Y when X took effect before Y began. Times are told apart by their values: what
 * UTIMENS gives lies far from all clocks, so of any other time it is only known that it was not
 * given. Such an mtime comes from the file's making, from a change of its bytes or from UTIMENS
 * with the time of day, such an atime from a read. A WRITE moves an mtime on that was given before
 * (RULES L9): to its own time when the given one has passed, else by nanoseconds. By how much other
 * mtimes move is check_times.c's. An atime of its own reads a mount shows until it has told them,
 * whatever others have set since (docs/posix.md): only what it set itself comes behind them.
 *
 * What was done ahead of the log and never got there (`reverted`), or was to go with a COMMIT of
 * a mount that died or lost its session with no FSYNC between, demands nothing but of the mount
 * that did it, before it died. At consistency=session only what the STAT's own mount did and saw
 * demands something. When all has settled, all mounts show the same, whatever it is. */
#include <sys/stat.h>

#include "tests/sim/check_history.h"

enum reg { REG_MODE, REG_UID, REG_MTIME, REG_ATIME, REG_SETUID, REGS };

static const char *const reg_names[] = {"mode", "owner", "mtime", "atime", "setuid"};

enum { MADE_MODE = 0644 };
#define SOME_TIME UINT64_C(0) /* one that nobody gave */
/* Clocks show what is between. */
#define PASSED INT64_C(1500000000000000000)
#define AHEAD  INT64_C(3000000000000000000)
#define SECOND INT64_C(1000000000)

struct change {
    const struct history_op *op;
    const struct loss *loss; /* nothing is left of it behind that, perhaps */
    time_us latest;
    uint64_t value;
    bool sets;  /* CHMOD, CHOWN, UTIMENS */
    bool moves; /* a WRITE that is there for good */
};

typedef vec_of(const struct history_op *) op_list;

struct attrs {
    const struct view *view;
    op_list fsyncs; /* that returned 0, by file */
};

/* Of one file: all that is about one register, in the order of their starts. */
struct file_attrs {
    const struct view *view;
    uint64_t file;
    enum reg reg;
    vec_of(struct change) changes;
    vec_of(const struct history_op *) stats;
    vec_of(time_us) oldest; /* per STAT: when the oldest change that it may show began */
};

/* ---- what operations do to a register -------------------------------------------------------- */

static uint64_t time_shown(int64_t time)
{
    if (time > PASSED && time < AHEAD)
        return SOME_TIME;
    return (uint64_t)(time < AHEAD ? time : time - time % SECOND);
}

static uint64_t shown(enum reg reg, const struct history_op *stat)
{
    switch (reg) {
    case REG_MODE:
        return stat->mode & 0777;
    case REG_SETUID:
        return (stat->mode & S_ISUID) != 0;
    case REG_UID:
        return stat->uid;
    case REG_MTIME:
        return time_shown(stat->mtime);
    case REG_ATIME:
    case REGS:
        break;
    }
    return time_shown(stat->atime);
}

static uint64_t made_with(enum reg reg)
{
    return reg == REG_MODE ? MADE_MODE : reg == REG_UID ? 0 : SOME_TIME;
}

static bool changes_bytes(const struct history_op *op)
{
    return op->kind == H_WRITE || op->kind == H_APPEND || op->kind == H_TRUNCATE ||
           op->kind == H_PUNCH;
}

static bool sets(enum reg reg, const struct history_op *op, uint64_t *ret_value)
{
    switch (reg) {
    case REG_MODE:
        *ret_value = op->mode & 0777;
        return op->kind == H_CHMOD;
    case REG_UID:
        *ret_value = op->uid;
        return op->kind == H_CHOWN;
    case REG_MTIME:
        *ret_value = op->sets & GIVEN_MTIME ? (uint64_t)op->mtime : SOME_TIME;
        return op->kind == H_UTIMENS && op->sets & SETS_MTIME;
    case REG_ATIME:
        *ret_value = op->sets & GIVEN_ATIME ? (uint64_t)op->atime : SOME_TIME;
        return op->kind == H_UTIMENS && op->sets & SETS_ATIME;
    case REG_SETUID:
        *ret_value = op->kind == H_CHMOD && (op->mode & S_ISUID);
        return op->kind == H_CHMOD || changes_bytes(op);
    case REGS:
        break;
    }
    return false;
}

static bool reads(const struct history_op *op)
{
    return op->kind == H_READ || op->kind == H_READ_ALL || op->kind == H_COPY ||
           op->kind == H_OPEN || op->kind == H_CREATE;
}

static size_t first_of_file(const op_list *l, uint64_t file)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (l->items[mid]->file < file)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* An FSYNC covers it, so a COMMIT that it went with was there before the loss. */
static bool synced(const struct attrs *a, const struct history_op *op, const struct loss *l)
{
    for (size_t i = first_of_file(&a->fsyncs, op->file);
         i < a->fsyncs.count && a->fsyncs.items[i]->file == op->file; i++) {
        const struct history_op *s = a->fsyncs.items[i];
        if (same_life(s, op) && s->start >= op->end && s->end <= l->at && s->session == op->session)
            return true;
    }
    return false;
}

static const struct loss *loss_of(const struct attrs *a, const struct history_op *op)
{
    if (op->q) /* check_queue.c knows it for certain */
        return op->reverted ? view_later_loss(a->view, op) : NULL;
    if (op->kind == H_CHMOD || op->kind == H_CHOWN)
        return NULL; /* it is in the log */
    const struct loss *l = view_later_loss(a->view, op);
    return l && synced(a, op, l) ? NULL : l;
}

static bool change_of(const struct attrs *a, enum reg reg, const struct history_op *op,
                      struct change *ret)
{
    const struct view *v = a->view;
    *ret = (struct change){.op = op, .latest = op_unknown(op) ? TIME_NEVER : op->end};
    if (sets(reg, op, &ret->value)) {
        ret->sets = true;
        ret->loss = loss_of(a, op);
        if (reg == REG_SETUID && changes_bytes(op) && !(op_ok(op) && op->bytes))
            ret->latest = TIME_NEVER; /* it may have been given up behind that */
        return op_unknown(op) || op_ok(op) || (reg == REG_SETUID && changes_bytes(op));
    }
    ret->value = SOME_TIME;
    if (reg == REG_MTIME && changes_bytes(op)) {
        ret->latest = op_latest(v, op);
        ret->moves = op->kind == H_WRITE && op->bytes && op_certain(op) &&
                     view_fate(v, op) == FATE_DONE && !view_unsynced(v, op);
        return true;
    }
    return reg == REG_ATIME && reads(op);
}

/* ---- one STAT -------------------------------------------------------------------------------- */

static bool before_loss(const struct loss *l, const struct history_op *op,
                        const struct history_op *stat)
{
    return same_life(op, stat) && l->killed && stat->end < l->at;
}

static bool own(const struct file_attrs *f, const struct history_op *op,
                const struct history_op *stat)
{
    return !history_late(f->view->h, stat) || op->mount == stat->mount;
}

/* The STAT must not show anything older. */
static bool demands(const struct file_attrs *f, const struct change *c,
                    const struct history_op *stat)
{
    if (!c->sets || c->latest >= stat->start || !own(f, c->op, stat))
        return false;
    if (c->op->reverted && !c->loss)
        return false;
    return !c->loss || before_loss(c->loss, c->op, stat);
}

/* `here`: only what the STAT's own mount did in this life. */
static time_us changed_before(const struct file_attrs *f, const struct history_op *stat, bool here)
{
    time_us floor = 0;
    for (size_t i = 0; i < f->changes.count && f->changes.items[i].op->start < stat->start; i++) {
        const struct change *c = &f->changes.items[i];
        if (demands(f, c, stat) && (!here || same_life(c->op, stat)))
            floor = time_max(floor, c->op->start);
    }
    return floor;
}

static time_us floor_of(const struct file_attrs *f, size_t at)
{
    const struct history_op *stat = f->stats.items[at];
    time_us floor = changed_before(f, stat, false);
    for (size_t i = 0; i < at; i++) {
        const struct history_op *s = f->stats.items[i];
        const struct loss *l = view_later_loss(f->view, s);
        if (s->end < stat->start && own(f, s, stat) && (!l || before_loss(l, s, stat)))
            floor = time_max(floor, f->oldest.items[i]);
    }
    return floor;
}

/* mtime: when the last WRITE began that the STAT must know of. */
static time_us last_write(const struct file_attrs *f, const struct history_op *stat)
{
    time_us last = 0;
    for (size_t i = 0; i < f->changes.count; i++) {
        const struct change *c = &f->changes.items[i];
        if (c->moves && c->latest < stat->start && own(f, c->op, stat))
            last = time_max(last, c->op->start);
    }
    return last;
}

/* mtime: something may have moved it on since the change. */
static bool may_move(const struct file_attrs *f, const struct change *from,
                     const struct history_op *stat)
{
    for (size_t i = 0; i < f->changes.count; i++) {
        const struct change *c = &f->changes.items[i];
        if (changes_bytes(c->op) && c->latest >= from->op->start && c->op->start <= stat->end)
            return true;
    }
    return false;
}

static bool may_show(const struct file_attrs *f, const struct change *c,
                     const struct history_op *stat)
{
    if (c->value != shown(f->reg, stat) || c->op->start > stat->end ||
        (c->op->reverted && !same_life(c->op, stat)))
        return false;
    return f->reg != REG_MTIME || c->value == SOME_TIME || (uint64_t)stat->mtime == c->value ||
           may_move(f, c, stat);
}

static void complain(const struct file_attrs *f, const char *what, const struct history_op *stat)
{
    char text[HISTORY_TEXT];
    sim_complain("attrs", "%s: %s of file %llu: mode %o owner %u mtime %lld atime %lld at %s", what,
                 reg_names[f->reg], (unsigned long long)f->file, stat->mode, stat->uid,
                 (long long)stat->mtime, (long long)stat->atime, op_text(stat, text));
}

static void check_stat(struct file_attrs *f, size_t at)
{
    const struct history_op *stat = f->stats.items[at];
    time_us floor = floor_of(f, at), write = last_write(f, stat);
    bool made = shown(f->reg, stat) == made_with(f->reg), known = made, new = made &&floor == 0;
    bool moved = new;
    time_us here = f->reg == REG_ATIME ? changed_before(f, stat, true) : floor;
    time_us oldest = made ? 0 : TIME_NEVER;
    for (size_t i = 0; i < f->changes.count; i++) {
        const struct change *c = &f->changes.items[i];
        if (!may_show(f, c, stat))
            continue;
        known = true;
        oldest = c->op->start < oldest ? c->op->start : oldest;
        bool untold = reads(c->op) && same_life(c->op, stat);
        bool late = c->latest >= (untold ? here : floor);
        new |= late;
        moved |= late &&
                 (c->value == SOME_TIME || c->latest >= write || (uint64_t)stat->mtime != c->value);
    }
    vec_push(&f->oldest, oldest);
    if (!known)
        complain(f, "what nobody set", stat);
    else if (!new)
        complain(f, "what was before", stat);
    else if (f->reg == REG_MTIME && !moved)
        complain(f, "a write did not move it on", stat);
}

/* ---- one file -------------------------------------------------------------------------------- */

static void check_register(const struct attrs *a, uint64_t file, enum reg reg,
                           const struct history_op *const *ops, size_t count)
{
    struct file_attrs f = {.view = a->view, .file = file, .reg = reg};
    struct change c;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->kind == H_STAT)
            vec_push(&f.stats, ops[i]);
        else if (change_of(a, reg, ops[i], &c))
            vec_push(&f.changes, c);
    }
    for (size_t i = 0; i < f.stats.count && !sim_failed(); i++)
        check_stat(&f, i);
    vec_done(&f.changes);
    vec_done(&f.stats);
    vec_done(&f.oldest);
}

static void check_settled(const struct view *v, const struct history_op *const *ops, size_t count)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    const struct history_op *first = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct history_op *s = ops[i];
        if (s->kind != H_STAT || v->h->settled == 0 || s->start < v->h->settled)
            continue;
        if (!first)
            first = s;
        if (s->mode != first->mode || s->uid != first->uid || s->mtime != first->mtime ||
            s->size != first->size)
            sim_complain("attrs",
                         "two mounts do not agree on file %llu: %s mode %o owner %u mtime %lld, "
                         "%s mode %o owner %u mtime %lld",
                         (unsigned long long)s->file, op_text(first, text), first->mode, first->uid,
                         (long long)first->mtime, op_text(s, other), s->mode, s->uid,
                         (long long)s->mtime);
    }
}

static bool concerns(const struct history_op *op)
{
    bool set = op->kind == H_CHMOD || op->kind == H_CHOWN || op->kind == H_UTIMENS;
    if (op->kind == H_STAT)
        return op_ok(op) && op->file;
    return set || (op->file && (changes_bytes(op) || reads(op)));
}

/* What never told which file it was about may have been about any. */
static int by_file(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int by_start(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    return x < y ? -1 : x > y;
}

static bool is_set(enum reg reg, const struct history_op *const *ops, size_t count)
{
    uint64_t value;
    for (size_t i = 0; i < count; i++)
        if (sets(reg, ops[i], &value) && (op_unknown(ops[i]) || op_ok(ops[i])) &&
            !changes_bytes(ops[i]))
            return true;
    return false;
}

static void check_file(const struct attrs *a, const struct history_op *const *ops, size_t count,
                       const op_list *strays)
{
    op_list all = {0};
    for (enum reg reg = 0; reg < REGS && !sim_failed(); reg++) {
        if (!is_set(reg, ops, count)) /* like most files */
            continue;
        if (!all.count) {
            for (size_t i = 0; i < count; i++)
                vec_push(&all, ops[i]);
            for (size_t i = 0; i < strays->count; i++)
                vec_push(&all, strays->items[i]);
            qsort(all.items, all.count, sizeof all.items[0], by_start);
        }
        check_register(a, ops[0]->file, reg, all.items, all.count);
    }
    if (!sim_failed())
        check_settled(a->view, ops, count);
    vec_done(&all);
}

void check_attrs(const struct history *h)
{
    struct view v;
    struct attrs a = {.view = &v};
    op_list ops = {0}, strays = {0};
    view_init(&v, h);
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (op->kind == H_FSYNC && op_ok(op))
            vec_push(&a.fsyncs, op);
        if (!concerns(op))
            continue;
        if (op->file)
            vec_push(&ops, op);
        else
            vec_push(&strays, op);
    }
    if (a.fsyncs.count)
        qsort(a.fsyncs.items, a.fsyncs.count, sizeof a.fsyncs.items[0], by_file);
    if (ops.count)
        qsort(ops.items, ops.count, sizeof ops.items[0], by_file);
    for (size_t i = 0, begin = 0; i < ops.count && !sim_failed(); i++) {
        if (i + 1 < ops.count && ops.items[i + 1]->file == ops.items[i]->file)
            continue;
        check_file(&a, ops.items + begin, i + 1 - begin, &strays);
        begin = i + 1;
    }
    vec_done(&ops);
    vec_done(&strays);
    vec_done(&a.fsyncs);
    view_done(&v);
}
