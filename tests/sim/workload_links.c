/* A file under a temporary name, linked to the one it is to have, as git makes its objects. The
 * directory is the mount's own, and the two names the application's, so that it knows how many the
 * file has. Others come by only when it links or renames it to where all go. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>

static uint64_t link_below(uint64_t n)
{
    return sim_below(RND_NAMES, n);
}

static bool last_failed(const struct app *a)
{
    const struct history_op *op = &workload.history->ops.items[a->last_op];
    return op->end == 0 || op->err;
}

static void unlink_path(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_UNLINK, path, NULL);
    sys_unlink(app_kernel(a), path, app_on_simple, a);
}

static void link_paths(struct app *a, const char *from, const char *to)
{
    (void)app_begin_path(a, H_LINK, from, to);
    sys_link(app_kernel(a), from, to, app_on_simple, a);
}

static void stat_fd(struct app *a)
{
    struct history_op *op = app_begin_fd(a, H_STAT, a->slot);
    op->links = a->links;
    sys_fstat(app_kernel(a), a->fds[a->slot].fd, app_on_stat, a);
}

static void sync_fd(struct app *a)
{
    (void)app_begin_fd(a, H_FSYNC, a->slot);
    sys_fsync(app_kernel(a), a->fds[a->slot].fd, app_on_simple, a);
}

/* Its second name: mostly beside the first. */
static void link_second(struct app *a, const char *first, const char *second)
{
    char path[PATH_SPACE];
    bool out = link_below(4) == 0;
    app_any_path(path);
    a->links = out ? 0 : 2;
    link_paths(a, first, out ? path : second);
}

static void lose_one(struct app *a, const char *first, const char *second)
{
    a->links = last_failed(a) || !a->links ? 0 : 1;
    switch (link_below(4)) {
    case 0:
        unlink_path(a, second);
        break;
    case 1: /* of two names of one file neither goes */
        a->links *= 2;
        app_rename_path(a, first, second, false);
        break;
    default:
        unlink_path(a, first);
        break;
    }
}

static void go_on(struct app *a, const char *first, const char *second)
{
    char path[PATH_SPACE];
    app_any_path(path);
    switch (link_below(4)) {
    case 0:
        app_rename_path(a, second, path, false);
        break;
    case 1:
        app_rename_path(a, second, first, false);
        break;
    default:
        link_paths(a, second, path);
        break;
    }
}

void app_link_step(struct app *a)
{
    char dir[PATH_SPACE], first[PATH_SPACE], second[PATH_SPACE];
    (void)snprintf(dir, sizeof dir, "/o%u", a->mount);
    (void)snprintf(first, sizeof first, "/o%u/a%u", a->mount, a->number);
    (void)snprintf(second, sizeof second, "/o%u/b%u", a->mount, a->number);
    a->then = app_link_step;
    switch (a->linking++) {
    case 0:
        a->links = 0;
        (void)app_begin_path(a, H_MKDIR, dir, NULL);
        sys_mkdir(app_kernel(a), dir, 0755, app_on_simple, a);
        break;
    case 1:
        unlink_path(a, first);
        break;
    case 2:
        unlink_path(a, second);
        break;
    case 3:
        if (!app_open_path(a, first, O_RDWR | O_CREAT | O_EXCL))
            a->linking = 0;
        break;
    case 4:
        app_write_units(a, a->slot, 0, 1 + (uint32_t)link_below(4));
        break;
    case 5:
        if (link_below(4))
            link_second(a, first, second);
        else
            sync_fd(a);
        break;
    case 6:
        if (last_failed(a))
            a->links = 0;
        stat_fd(a);
        break;
    case 7:
        lose_one(a, first, second);
        break;
    case 8:
        if (last_failed(a))
            a->links = 0;
        stat_fd(a);
        break;
    case 9:
        go_on(a, first, second);
        break;
    case 10:
        app_list(a, dir);
        break;
    default:
        a->then = NULL;
        a->linking = 0;
        app_close_fd(a, a->slot);
        break;
    }
}
