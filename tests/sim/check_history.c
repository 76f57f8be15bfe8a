#include "tests/sim/check_history.h"

#include <errno.h>
#include <stdio.h>

#define XATTR_OF (UINT64_C(1) << 63)

enum { ONE_WRITE = 512 /* units: 256 pages */ };

/* ---- outcomes -------------------------------------------------------------------------------- */

bool op_unknown(const struct history_op *op)
{
    return op->end == 0 || op->err == EIO || op->err == ETIMEDOUT || op->err == EINTR ||
           op->err == ESTALE || op->err == EAGAIN;
}

uint32_t op_units(const struct history_op *op)
{
    if (op->end == 0 || op->err)
        return op->pages;
    uint64_t whole = op->bytes / HISTORY_UNIT;
    return whole < op->pages ? (uint32_t)whole : op->pages;
}

bool op_certain(const struct history_op *op)
{
    return !op_unknown(op) && op->err == 0 && op_units(op) == op->pages;
}

bool op_undivided(const struct history_op *op)
{
    return op->kind != H_WRITE || (!op->divided && op->page % 2 == 0 && op->pages <= ONE_WRITE);
}

const char *op_text(const struct history_op *op, char text[HISTORY_TEXT])
{
    static const char *const words[] = {
        "create",   "write",  "read",    "fsync", "close",        "truncate", "stat",    "append",
        "readall",  "unlink", "rename",  "link",  "mkdir",        "rmdir",    "list",    "setxattr",
        "getxattr", "killed", "started", "open",  "session-lost", "named",    "symlink", "readlink",
        "lock",     "unlock", "punch",   "copy",  "chmod",        "chown",    "utimens"};
    (void)snprintf(text, HISTORY_TEXT, "%s(%llu) m%u.%u/a%u %llu..%llu err=%d", words[op->kind],
                   (unsigned long long)op->stamp, op->mount, op->life, op->app,
                   (unsigned long long)op->start, (unsigned long long)op->end, op->err);
    return text;
}

static bool changes_bytes(const struct history_op *op)
{
    return op->kind == H_WRITE || op->kind == H_TRUNCATE || op->kind == H_APPEND ||
           op->kind == H_PUNCH;
}

static bool leaves_zeros(const struct history_op *op)
{
    return op->kind == H_TRUNCATE || op->kind == H_PUNCH;
}

static bool is_xattr(const struct history_op *op)
{
    return op->kind == H_SETXATTR || op->kind == H_GETXATTR;
}

static bool about_bytes(const struct history_op *op)
{
    return changes_bytes(op) || op->kind == H_READ || op->kind == H_FSYNC || op->kind == H_NAMED ||
           op->kind == H_CLOSE || op->kind == H_READ_ALL || is_xattr(op);
}

/* An extended attribute is a register too: the one unit of a file of its own. */
static uint64_t register_file(const struct history_op *op)
{
    return is_xattr(op) ? op->file | XATTR_OF : op->file;
}

static size_t index_of(const struct view *v, const struct history_op *op)
{
    return (size_t)(op - v->h->ops.items);
}

enum fate view_fate(const struct view *v, const struct history_op *op)
{
    return v->fates[index_of(v, op)];
}

time_us op_latest(const struct view *v, const struct history_op *op)
{
    return view_fate(v, op) == FATE_MAYBE || op_unknown(op) ? TIME_NEVER : op->end;
}

const struct history_op *view_writer(const struct view *v, uint64_t stamp)
{
    uintptr_t at = (uintptr_t)map_get(&v->by_stamp, stamp);
    return at ? &v->h->ops.items[at - 1] : NULL;
}

const struct loss *view_loss(const struct view *v, const struct history_op *op)
{
    uint32_t at = v->losses_of[index_of(v, op)];
    return at ? &v->losses.items[at - 1] : NULL;
}

/* `op` belongs to what the loss took, if nothing covers it. */
static bool in_loss(const struct loss *l, const struct history_op *op)
{
    return l->mount == op->mount && l->life == op->life && op->start <= l->at &&
           (l->session == 0 || op->session == 0 || l->session == op->session);
}

bool view_unsynced(const struct view *v, const struct history_op *op)
{
    return v->unsynced[index_of(v, op)];
}

bool view_earlier_life(const struct view *v, const struct history_op *reader,
                       const struct history_op *write)
{
    return write->mount == reader->mount && write->life != reader->life && view_unsynced(v, write);
}

const struct loss *view_later_loss(const struct view *v, const struct history_op *op)
{
    for (size_t i = 0; i < v->losses.count; i++)
        if (in_loss(&v->losses.items[i], op))
            return &v->losses.items[i];
    return NULL;
}

/* ---- gathering ------------------------------------------------------------------------------- */

static struct file_ops *file_of(struct view *v, uint64_t file)
{
    uintptr_t at = (uintptr_t)map_get(&v->by_file, file);
    if (at)
        return &v->files.items[at - 1];
    vec_push(&v->files, (struct file_ops){.file = file});
    (void)map_put(&v->by_file, file, (void *)v->files.count);
    return &v->files.items[v->files.count - 1];
}

static void gather(struct view *v)
{
    for (size_t i = 0; i < v->h->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[i];
        if (op->kind == H_MOUNT_KILLED || op->kind == H_SESSION_LOST)
            vec_push(&v->losses,
                     (struct loss){.mount = op->mount,
                                   .life = op->life,
                                   .session = op->kind == H_SESSION_LOST ? op->session : 0,
                                   .at = op->start,
                                   .killed = op->kind == H_MOUNT_KILLED});
        if (!about_bytes(op) || (op->file == 0 && op->kind != H_SETXATTR))
            continue;
        struct file_ops *f = file_of(v, register_file(op));
        vec_push(&f->ops, (uint32_t)i);
        if (is_xattr(op))
            f->units = 1;
        if ((op->kind == H_READ || op->kind == H_WRITE || op->kind == H_PUNCH) &&
            op->page + op->pages > f->units)
            f->units = op->page + op->pages;
        if (op->kind == H_WRITE || op->kind == H_APPEND || op->kind == H_SETXATTR)
            (void)map_put(&v->by_stamp, op->stamp, (void *)(uintptr_t)(i + 1));
    }
}

/* Before losses are looked at. */
static void first_fates(struct view *v)
{
    for (size_t i = 0; i < v->h->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[i];
        if (op_unknown(op))
            v->fates[i] = FATE_MAYBE;
        else if (op->err)
            v->fates[i] = FATE_NEVER;
        else
            v->fates[i] = FATE_DONE;
    }
}

/* ---- what survives a loss ----------------------------------------------------------------------
 */

/* Marks what was read elsewhere: `seen`, per operation. */
static void mark_seen(const struct view *v, const struct file_ops *f, bool *seen)
{
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *r = &v->h->ops.items[f->ops.items[i]];
        if ((r->kind != H_READ && r->kind != H_READ_ALL) || !op_ok(r))
            continue;
        for (size_t k = 0; k < r->stamps_count; k++) {
            if (k && r->stamps[k] == r->stamps[k - 1])
                continue;
            const struct history_op *w = view_writer(v, r->stamps[k]);
            if (w && !same_life(w, r))
                seen[index_of(v, w)] = true;
        }
    }
}

/* What began before something covered of the same loss, and ended before that, is covered too. */
static void settle_loss(struct view *v, const struct file_ops *f, size_t loss, const bool *seen)
{
    const struct loss *l = &v->losses.items[loss];
    time_us upto = 0, synced = 0;
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[f->ops.items[i]];
        bool before = l->killed || (op->end && op->end <= l->at); /* else of the next session */
        bool sync = (op->kind == H_FSYNC || (op->kind == H_NAMED && !op->reverted)) && op_ok(op);
        if (in_loss(l, op) && before && (sync || seen[f->ops.items[i]]))
            upto = time_max(upto, op->start);
        if (in_loss(l, op) && before && sync)
            synced = time_max(synced, op->start);
    }
    for (size_t i = 0; i < f->ops.count; i++) {
        uint32_t at = f->ops.items[i];
        const struct history_op *op = &v->h->ops.items[at];
        if (in_loss(l, op) && op->end > synced)
            v->unsynced[at] = true;
        if (!changes_bytes(op) || v->losses_of[at] || v->fates[at] == FATE_NEVER ||
            (seen[at] && op_undivided(op)) || !in_loss(l, op) ||
            (op->end <= upto && !op_unknown(op)))
            continue;
        v->fates[at] = leaves_zeros(op) || seen[at] ? FATE_MAYBE : FATE_LOST;
        v->losses_of[at] = (uint32_t)loss + 1;
    }
}

static bool touches(const struct view *v, const struct file_ops *f, const struct loss *l)
{
    for (size_t i = 0; i < f->ops.count; i++)
        if (in_loss(l, &v->h->ops.items[f->ops.items[i]]))
            return true;
    return false;
}

static void settle_losses(struct view *v)
{
    bool *seen = xcalloc(v->h->ops.count + 1, sizeof *seen);
    for (size_t k = 0; v->losses.count && k < v->files.count; k++) {
        mark_seen(v, &v->files.items[k], seen);
        for (size_t i = 0; i < v->losses.count; i++)
            if (touches(v, &v->files.items[k], &v->losses.items[i]))
                settle_loss(v, &v->files.items[k], i, seen);
    }
    free(seen);
}

void view_init(struct view *v, const struct history *h)
{
    *v = (struct view){.h = h};
    v->fates = xcalloc(h->ops.count + 1, sizeof *v->fates);
    v->losses_of = xcalloc(h->ops.count + 1, sizeof *v->losses_of);
    v->unsynced = xcalloc(h->ops.count + 1, sizeof *v->unsynced);
    gather(v);
    first_fates(v);
    settle_losses(v);
}

void view_done(struct view *v)
{
    for (size_t i = 0; i < v->files.count; i++)
        vec_done(&v->files.items[i].ops);
    vec_done(&v->files);
    vec_done(&v->losses);
    map_done(&v->by_file);
    map_done(&v->by_stamp);
    free(v->fates);
    free(v->losses_of);
    free(v->unsynced);
}

/* ---- units ----------------------------------------------------------------------------------- */

/* Units [first, first + count) of the file that `op` is about; false: none of this file's bytes. */
static bool range_of(const struct view *v, const struct file_ops *f, const struct history_op *op,
                     uint32_t *first, uint32_t *count)
{
    *first = op->page;
    switch ((int)op->kind) {
    case H_WRITE:
    case H_PUNCH:
        *count = op->pages;
        return view_fate(v, op) != FATE_NEVER && *count;
    case H_READ:
        *count = (uint32_t)op->stamps_count;
        return op_ok(op) && *count;
    case H_TRUNCATE:
        *first = op->pages;
        *count = f->units > op->pages ? f->units - op->pages : 0;
        return view_fate(v, op) != FATE_NEVER && *count;
    case H_SETXATTR:
        *first = 0;
        *count = 1;
        return view_fate(v, op) != FATE_NEVER;
    case H_GETXATTR:
        *first = 0;
        *count = 1;
        return op->end && (op->err == 0 || op->err == ENODATA);
    default:
        return false;
    }
}

static bool wrote_there(const struct history_op *w, const struct history_op *r, uint32_t unit)
{
    if (w->kind == H_SETXATTR && r->kind == H_GETXATTR)
        return w->file == r->file || w->file == 0; /* its mount died before it told which */
    return w->kind == H_WRITE && r->kind == H_READ && w->file == r->file && unit >= w->page &&
           unit - w->page < w->pages;
}

/* Linux puts what is written into its pages before the daemon is sent the WRITE
 * (fuse_perform_write()), so a read of the same mount may show it before it takes effect anywhere
 * (docs/consistency.md, exception iii). Ended after the write, the read may have come behind it. */
static bool too_early(const struct history_op *r, const struct history_op *w)
{
    return w->kind == H_WRITE && same_life(r, w) && w->start <= r->end &&
           (w->end == 0 || r->end < w->end);
}

/* The write a read's value comes from; false: there is none, which was complained about, or none
 * that counts. */
static bool find_writer(const struct view *v, const char *checker, const struct history_op *r,
                        uint32_t unit, uint64_t value, const struct history_op **ret)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    *ret = NULL;
    if (value == 0)
        return true;
    if (value == HISTORY_TORN) {
        sim_complain(checker, "torn page: unit %u of file %llu at %s", unit,
                     (unsigned long long)r->file, op_text(r, text));
        return false;
    }
    const struct history_op *w = view_writer(v, value);
    if (!w || !wrote_there(w, r, unit)) {
        sim_complain(checker, "value %llu in unit %u of file %llu, where nobody wrote it: %s",
                     (unsigned long long)value, unit, (unsigned long long)r->file,
                     op_text(r, text));
        return false;
    }
    if (too_early(r, w))
        return false;
    if (view_fate(v, w) == FATE_NEVER) {
        /* The kernel has put it into pages that others of the mount read before it is refused. */
        if (same_life(r, w) && r->start < w->end)
            return false;
        sim_complain(checker, "value of a write that was refused: %s reads %s", op_text(r, text),
                     op_text(w, other));
        return false;
    }
    if (r->end < w->start) {
        sim_complain(checker, "read from the future: %s reads %s", op_text(r, text),
                     op_text(w, other));
        return false;
    }
    *ret = w;
    return true;
}

/* False: it says nothing. */
static bool event_of(const struct view *v, const char *checker, const struct history_op *op,
                     uint32_t unit, struct event *ret)
{
    *ret = (struct event){.start = op->start, .end = op->end, .op = op, .fate = FATE_DONE};
    if (op->kind == H_READ || op->kind == H_GETXATTR) {
        ret->kind = EVENT_READ;
        ret->value = op->kind == H_READ ? op->stamps[unit - op->page] : op->err ? 0 : op->stamp;
        return find_writer(v, checker, op, unit, ret->value, &ret->writer);
    }
    ret->kind = leaves_zeros(op) ? EVENT_ZERO : EVENT_WRITE;
    ret->value = leaves_zeros(op) ? 0 : op->stamp;
    ret->writer = leaves_zeros(op) ? NULL : op;
    ret->fate = view_fate(v, op);
    ret->end = op_latest(v, op);
    if (op->kind == H_WRITE && unit - op->page >= op_units(op)) { /* behind a short write's end */
        ret->fate = FATE_MAYBE;
        ret->end = TIME_NEVER;
    }
    return true;
}

/* Sorted by counting: how many events each unit has, then each into its place. */
static void each_unit(const struct view *v, const struct file_ops *f, const char *checker,
                      unit_fn *each, void *ctx)
{
    uint32_t first, count;
    size_t *begins = xcalloc(f->units + 1, sizeof *begins), total = 0;
    size_t *ends = xcalloc(f->units + 1, sizeof *ends);
    for (size_t i = 0; i < f->ops.count; i++)
        if (range_of(v, f, &v->h->ops.items[f->ops.items[i]], &first, &count))
            for (uint32_t u = first; u < first + count; u++)
                ends[u]++;
    for (uint32_t u = 0; u < f->units; u++) {
        begins[u] = total;
        total += ends[u];
        ends[u] = begins[u];
    }
    struct event *events = xcalloc(total + 1, sizeof *events);
    for (size_t i = 0; i < f->ops.count; i++) {
        const struct history_op *op = &v->h->ops.items[f->ops.items[i]];
        if (range_of(v, f, op, &first, &count))
            for (uint32_t u = first; u < first + count; u++)
                if (event_of(v, checker, op, u, &events[ends[u]]))
                    ends[u]++;
    }
    for (uint32_t u = 0; u < f->units && !sim_failed(); u++) {
        struct unit unit = {f->file, u, events + begins[u], ends[u] - begins[u]};
        each(ctx, &unit);
    }
    free(events);
    free(begins);
    free(ends);
}

void view_each_unit(const struct view *v, const char *checker, unit_fn *each, void *ctx)
{
    for (size_t i = 0; i < v->files.count && !sim_failed(); i++)
        each_unit(v, &v->files.items[i], checker, each, ctx);
}

bool unit_zeroed(const struct unit *u, time_us after, time_us before)
{
    for (size_t i = 0; i < u->count && u->events[i].start <= before; i++)
        if (u->events[i].kind == EVENT_ZERO && u->events[i].end >= after)
            return true;
    return false;
}

bool unit_older(const struct unit *u, const struct event *read, const struct history_op *write)
{
    if (!read->writer)
        return !unit_zeroed(u, write->start, read->end);
    return read->writer != write && op_certain(read->writer) && read->writer->end < write->start;
}
