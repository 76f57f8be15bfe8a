/* What an application does next: drawn by weight, on names and descriptors drawn evenly. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---- one step -------------------------------------------------------------------------------- */

static enum work draw_work(void)
{
    uint64_t at = work_below(workload.weights_sum);
    for (unsigned w = 0; w < WORK_COUNT; w++) {
        if (at < workload.weights[w])
            return (enum work)w;
        at -= workload.weights[w];
    }
    return WORK_READ;
}

static void open_some(struct app *a, bool writable)
{
    char path[PATH_SPACE];
    app_any_path(path);
    (void)app_open_path(a, path,
                        (writable || work_below(2) ? O_RDWR : O_RDONLY) |
                            (work_below(3) == 0 ? O_CREAT : 0));
}

static void do_write(struct app *a, bool big)
{
    unsigned s = app_any_fd(a, false, true);
    if (s == FDS) {
        open_some(a, true);
    } else if (big) {
        uint32_t count = 33 + (uint32_t)work_below(work_below(10) == 0 ? BIG_UNITS - 33 : 48);
        app_write_units(a, s, (uint32_t)work_below(8), count);
    } else {
        uint32_t count = 1 + (uint32_t)work_below(work_below(4) == 0 ? 40 : 6);
        app_write_units(a, s, (uint32_t)work_below(work_below(4) == 0 ? FAR_UNITS : NEAR_UNITS),
                        count);
    }
}

static void do_read(struct app *a)
{
    unsigned s = app_any_fd(a, false, false);
    if (s == FDS)
        open_some(a, false);
    else if (work_below(5) == 0)
        app_read_units(a, s, 0, FAR_UNITS);
    else
        app_read_units(a, s, (uint32_t)work_below(NEAR_UNITS), 1 + (uint32_t)work_below(12));
}

static void do_stat(struct app *a)
{
    unsigned s = app_any_fd(a, work_below(6) == 0, false);
    if (s != FDS && work_below(2)) {
        (void)app_begin_fd(a, H_STAT, s);
        sys_fstat(app_kernel(a), a->fds[s].fd, app_on_stat, a);
        return;
    }
    char path[PATH_SPACE];
    app_any_path(path);
    (void)app_begin_path(a, H_STAT, path, NULL);
    sys_stat(app_kernel(a), path, app_on_stat, a);
}

static void do_append(struct app *a)
{
    unsigned s = app_any_fd(a, true, true);
    char path[PATH_SPACE];
    app_log_path(path);
    if (s == FDS)
        (void)app_open_path(a, path, O_WRONLY | O_APPEND | O_CREAT);
    else if (strcmp(a->fds[s].path, path) != 0 && work_below(8) == 0)
        app_close_fd(a, s);
    else
        app_append_record(a, s);
}

static void do_read_log(struct app *a)
{
    char path[PATH_SPACE];
    app_log_path(path);
    a->then = app_read_all;
    (void)app_open_path(a, path, O_RDONLY);
}

static void do_truncate(struct app *a)
{
    unsigned s = app_any_fd(a, false, true);
    if (s == FDS) {
        open_some(a, true);
        return;
    }
    struct history_op *op = app_begin_fd(a, H_TRUNCATE, s);
    op->pages =
        work_below(3) == 0 ? 0 : (uint32_t)work_below(work_below(4) == 0 ? FAR_UNITS : NEAR_UNITS);
    sys_ftruncate(app_kernel(a), a->fds[s].fd, (uint64_t)op->pages * HISTORY_UNIT, app_on_simple,
                  a);
}

static void do_unlink(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_UNLINK, path, NULL);
    sys_unlink(app_kernel(a), path, app_on_simple, a);
}

static void do_rename(struct app *a)
{
    char from[PATH_SPACE], to[PATH_SPACE];
    app_any_path(from);
    app_any_path(to);
    if (work_below(2)) {
        (void)snprintf(a->target, sizeof a->target, "%s", to);
        a->replacing = 0;
        app_replace_step(a);
    } else if (work_below(12) == 0) { /* whole directories */
        app_any_dir(from);
        app_any_dir(to);
        app_rename_path(a, from, to, work_below(2));
    } else {
        app_rename_path(a, from, to, work_below(4) == 0);
    }
}

static void do_link(struct app *a)
{
    char from[PATH_SPACE], to[PATH_SPACE];
    app_any_path(from);
    app_any_path(to);
    (void)app_begin_path(a, H_LINK, from, to);
    sys_link(app_kernel(a), from, to, app_on_simple, a);
}

static void do_dir(struct app *a, enum work what)
{
    char path[PATH_SPACE];
    app_any_dir(path);
    if (what == WORK_LIST) {
        app_list(a, work_below(2) ? "/" : path);
    } else if (what == WORK_MKDIR) {
        (void)app_begin_path(a, H_MKDIR, path, NULL);
        sys_mkdir(app_kernel(a), path, 0755, app_on_simple, a);
    } else {
        (void)app_begin_path(a, H_RMDIR, path, NULL);
        sys_rmdir(app_kernel(a), path, app_on_simple, a);
    }
}

static void on_symlink(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    app_finish(a, r)->file = r->ino;
    app_next(a);
}

static void on_readlink(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    op->file = r->ino;
    for (size_t i = 0; r->err == 0 && r->data && i < r->data->size; i++)
        op->stamp = op->stamp * 10 + r->data->data[i] - '0';
    app_next(a);
}

void app_read_link(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_READLINK, path, NULL);
    sys_readlink(app_kernel(a), path, on_readlink, a);
}

/* Links are made, read and removed under names of their own; nobody follows them. */
static void do_symlink(struct app *a)
{
    char path[PATH_SPACE], target[24];
    uint64_t what = work_below(5);
    (void)snprintf(path, sizeof path, "/s%u", (unsigned)work_below(4));
    if (what == 0) {
        do_unlink(a, path);
    } else if (what < 4) {
        app_read_link(a, path);
    } else {
        struct history_op *op = app_begin_path(a, H_SYMLINK, path, NULL);
        op->stamp = app_new_stamp();
        op->exclusive = true;
        (void)snprintf(target, sizeof target, "%llu", (unsigned long long)op->stamp);
        sys_symlink(app_kernel(a), target, path, on_symlink, a);
    }
}

static void do_exclusive(struct app *a)
{
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "/x%u",
                   (unsigned)(sim_now() / (EXCLUSIVE_AGE * TIME_S)) % 32);
    if (work_below(3) == 0)
        do_symlink(a);
    else if (work_below(4) == 0)
        do_unlink(a, path);
    else
        (void)app_open_path(a, path, O_RDWR | O_CREAT | O_EXCL);
}

static void do_sync_or_close(struct app *a, enum work what)
{
    unsigned s = app_any_fd(a, work_below(5) == 0, false);
    if (s == FDS) {
        open_some(a, true);
    } else if (what == WORK_CLOSE) {
        app_close_fd(a, s);
    } else {
        (void)app_begin_fd(a, H_FSYNC, s);
        sys_fsync(app_kernel(a), a->fds[s].fd, app_on_simple, a);
    }
}

static void do_work(struct app *a, enum work what)
{
    char path[PATH_SPACE];
    app_any_path(path);
    switch (what) {
    case WORK_CREATE:
        (void)app_open_path(a, path, O_RDWR | O_CREAT | (work_below(2) ? O_EXCL : 0));
        break;
    case WORK_WRITE:
    case WORK_WRITE_BIG:
        do_write(a, what == WORK_WRITE_BIG);
        break;
    case WORK_READ:
        do_read(a);
        break;
    case WORK_FSYNC:
    case WORK_CLOSE:
        do_sync_or_close(a, what);
        break;
    case WORK_TRUNCATE:
        do_truncate(a);
        break;
    case WORK_STAT:
        do_stat(a);
        break;
    case WORK_APPEND:
        do_append(a);
        break;
    case WORK_READ_LOG:
        do_read_log(a);
        break;
    case WORK_UNLINK_OPEN: {
        unsigned s = app_any_fd(a, false, false);
        do_unlink(a, s == FDS ? path : a->fds[s].path);
        break;
    }
    case WORK_UNLINK:
        do_unlink(a, path);
        break;
    case WORK_RENAME:
        do_rename(a);
        break;
    case WORK_LINK:
        do_link(a);
        break;
    case WORK_MKDIR:
    case WORK_RMDIR:
    case WORK_LIST:
        do_dir(a, what);
        break;
    case WORK_XATTR:
        app_xattr(a, path, work_below(2));
        break;
    case WORK_EXCLUSIVE:
        do_exclusive(a);
        break;
    case WORK_COUNT:
        break;
    }
}

/* While draining, descriptors are closed and nothing new begins. */
static bool close_next(struct app *a)
{
    for (unsigned s = 0; s < FDS; s++) {
        if (a->fds[s].fd) {
            app_close_fd(a, s);
            return true;
        }
    }
    return false;
}

void app_turn(void *ctx, uint64_t generation)
{
    struct app *a = ctx;
    if (!a->alive || a->generation != generation || a->op != NONE || a->asking)
        return;
    if (workload.draining)
        (void)close_next(a);
    else if (sim_swarm()->locks && sim_below(RND_LOCKS, 6) == 0)
        app_lock_step(a);
    else if (sim_swarm()->ranges && sim_below(RND_RANGES, sim_swarm()->hot_ranges ? 2 : 8) == 0)
        app_range_step(a);
    else if (sim_swarm()->local_names && sim_below(RND_NAMES, 10) == 0)
        app_link_step(a);
    else if (sim_swarm()->local_names && sim_below(RND_NAMES, 10) == 0)
        app_known_step(a);
    else if (sim_swarm()->idle_files && sim_below(RND_IDLE, 12) == 0)
        app_idle_step(a);
    else if (sim_swarm()->attrs && sim_below(RND_ATTRS, 8) == 0)
        app_attr_step(a);
    else
        do_work(a, draw_work());
}
