/* Holes, and copies by reference: a part of any file goes to a file of the application's own, is
 * read there, and counts as a READ of the source at the time of the copy. Behind what was copied
 * there must be zeros, whatever the source has there. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum {
    RANGE_UNITS = 24,
    COPY_UNITS = 40,
    BEHIND = 5,   /* units read behind the copy */
    COPY_OVER = 7 /* the step that closes */
};

static uint32_t range_below(uint32_t n)
{
    return (uint32_t)sim_below(RND_RANGES, n);
}

static void open_any(struct app *a)
{
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "/f%u", range_below(FILES));
    (void)app_open_path(a, path, O_RDWR | O_CREAT);
}

static unsigned any_fd(const struct app *a, bool writable)
{
    unsigned from = range_below(FDS);
    for (unsigned i = 0; i < FDS; i++) {
        const struct fd *f = &a->fds[(from + i) % FDS];
        if (f->fd && !f->log && (!writable || f->writable))
            return (from + i) % FDS;
    }
    return FDS;
}

static void punch(struct app *a)
{
    unsigned s = any_fd(a, true);
    if (s == FDS) {
        open_any(a);
        return;
    }
    struct history_op *op = app_begin_fd(a, H_PUNCH, s);
    op->page = range_below(RANGE_UNITS);
    op->pages = 1 + range_below(range_below(4) ? 6 : COPY_UNITS);
    sys_punch(app_kernel(a), a->fds[s].fd, (uint64_t)op->page * HISTORY_UNIT,
              (uint64_t)op->pages * HISTORY_UNIT, range_below(2), app_on_simple, a);
}

/* ---- a file that grows and shrinks by half a page ---------------------------------------------
 */

/* A copy that takes its last page when it has become more shows it behind its end. */
static const char hot_path[] = "/g0";

static unsigned hot_fd(const struct app *a)
{
    unsigned s = 0;
    while (s < FDS && !(a->fds[s].fd && strcmp(a->fds[s].path, hot_path) == 0))
        s++;
    return s;
}

/* To half a page, to a whole one, and that committed; in a row, so that it meets copies. */
static void grow(struct app *a)
{
    unsigned s = hot_fd(a);
    if (s == FDS) {
        a->then = NULL;
        (void)app_open_path(a, hot_path, O_RDWR | O_CREAT);
        return;
    }
    a->then = range_below(10) ? grow : NULL;
    a->growing = (a->growing + 1) % 3;
    if (a->growing == 0) {
        struct history_op *op = app_begin_fd(a, H_TRUNCATE, s);
        op->pages = 1;
        sys_ftruncate(app_kernel(a), a->fds[s].fd, HISTORY_UNIT, app_on_simple, a);
    } else if (a->growing == 1) {
        app_write_units(a, s, range_below(4) ? 1 : 0, 1);
    } else {
        (void)app_begin_fd(a, H_FSYNC, s);
        sys_fsync(app_kernel(a), a->fds[s].fd, app_on_simple, a);
    }
}

/* ---- copies ---------------------------------------------------------------------------------- */

static void copy_step(struct app *a);

static struct history_op *copy_op(const struct app *a)
{
    return &workload.history->ops.items[a->copy_op];
}

static void on_copied(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    op->bytes = r->err ? 0 : r->value;
    op->pages = (uint32_t)(op->bytes / HISTORY_UNIT);
    a->copy_op = a->last_op;
    a->copying = op->pages ? a->copying : COPY_OVER;
    app_next(a);
}

/* What the application's own file holds: first what it copied, then zeros. Buffered parts of it are
 * gone with the session, and say nothing. */
static void on_copy_read(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r), *copy = copy_op(a);
    if (r->err == 0 && copy->session == mount_session(app_mount(a))) {
        uint32_t first = op->page, units = op->pages;
        uint64_t *stamps = history_stamps(r->data, first, units);
        copy->kind = H_READ;
        copy->stamps = xmemdup(stamps, copy->pages * sizeof *stamps);
        copy->stamps_count = copy->pages;
        op->page += copy->pages;
        op->pages -= copy->pages;
        op->stamps = xmemdup(stamps + copy->pages, op->pages * sizeof *stamps);
        op->stamps_count = op->pages;
        for (uint32_t i = 0; i < units; i++) {
            *(i < copy->pages ? &copy->torn : &op->torn) |= stamps[i] == HISTORY_TORN;
            sim_mix(stamps[i], first + i);
        }
        free(stamps);
    }
    app_next(a);
}

static void on_stretched(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)app_finish(a, r);
    a->copying = r->err ? COPY_OVER : a->copying;
    app_next(a);
}

static void begin_copy(struct app *a, unsigned to)
{
    const struct fd *from = &a->fds[a->copy_from];
    struct history_op *op = app_begin_fd(a, H_COPY, a->copy_from);
    a->slot = to;
    bool hot = strcmp(from->path, hot_path) == 0;
    op->page = hot || range_below(3) ? 0 : range_below(RANGE_UNITS);
    op->pages = 1 + range_below(COPY_UNITS);
    sys_copy(app_kernel(a), from->fd, (uint64_t)op->page * HISTORY_UNIT, a->fds[to].fd,
             (uint64_t)op->page * HISTORY_UNIT, (uint64_t)op->pages * HISTORY_UNIT, on_copied, a);
}

static void stretch(struct app *a)
{
    const struct history_op *copy = copy_op(a);
    uint32_t units = copy->page + copy->pages + BEHIND;
    struct history_op *op = app_begin_fd(a, H_TRUNCATE, a->slot);
    op->pages = units;
    sys_ftruncate(app_kernel(a), a->fds[a->slot].fd, (uint64_t)units * HISTORY_UNIT, on_stretched,
                  a);
}

static void read_copy(struct app *a)
{
    uint32_t first = copy_op(a)->page, units = copy_op(a)->pages + BEHIND;
    struct history_op *op = app_begin_fd(a, H_READ, a->slot);
    op->page = first;
    op->pages = units;
    op->bytes = (uint64_t)units * HISTORY_UNIT;
    sys_read(app_kernel(a), a->fds[a->slot].fd, (uint64_t)first * HISTORY_UNIT,
             (uint64_t)units * HISTORY_UNIT, on_copy_read, a);
}

/* By now the lease of what it copies to may have gone back, and has to be asked for again. */
static void on_pause_over(void *ctx, uint64_t generation)
{
    struct app *a = ctx;
    if (!a->alive || a->generation != generation || a->op != NONE)
        return;
    if (workload.draining) {
        a->copying = 0;
        app_turn(a, generation);
        return;
    }
    copy_step(a);
}

/* copy_file_range(2) goes as far as the kernel thinks the source goes: it is asked before. */
static void copy_step(struct app *a)
{
    char own[PATH_SPACE];
    (void)snprintf(own, sizeof own, "/c%u-%u", a->mount, a->number);
    a->then = copy_step;
    switch (a->copying++) {
    case 0:
        (void)app_begin_path(a, H_UNLINK, own, NULL);
        sys_unlink(app_kernel(a), own, app_on_simple, a);
        break;
    case 1:
        (void)app_open_path(a, own, O_RDWR | O_CREAT | O_EXCL);
        break;
    case 2: {
        bool pause = sim_swarm()->hot_ranges || range_below(2);
        a->then = NULL;
        sim_at(sim_now() + 1 + (pause ? 2 * TIME_S + range_below(2 * TIME_S) : 0), on_pause_over, a,
               a->generation);
        break;
    }
    case 3: {
        unsigned to = a->slot;
        (void)app_begin_fd(a, H_STAT, a->copy_from);
        a->slot = to;
        sys_fstat(app_kernel(a), a->fds[a->copy_from].fd, app_on_stat, a);
        break;
    }
    case 4:
        begin_copy(a, a->slot);
        break;
    case 5:
        stretch(a);
        break;
    case 6:
        read_copy(a);
        break;
    default:
        a->then = NULL;
        a->copying = 0;
        app_close_fd(a, a->slot);
        break;
    }
}

static void copy(struct app *a)
{
    a->copy_from = sim_swarm()->hot_ranges || range_below(2) ? hot_fd(a) : FDS;
    if (a->copy_from == FDS)
        a->copy_from = any_fd(a, false);
    a->copying = 0;
    if (a->copy_from == FDS)
        open_any(a);
    else
        copy_step(a);
}

void app_range_step(struct app *a)
{
    uint32_t what = range_below(4);
    if (what == 0 && !sim_swarm()->hot_ranges)
        punch(a);
    else if (what < 2)
        grow(a);
    else
        copy(a);
}
