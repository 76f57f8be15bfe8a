/* Modes, owners and times: of what is open, of what has a name, and of a file of the application's
 * own that loses its name while it is open. Who sets something looks at it soon after. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/state.h"

/* Times that are given: long past or far ahead, so that no clock here ever shows them, and each
 * with a second of its own. A few come again and again, as when a program puts times back. */
#define PAST   INT64_C(1000000000000000000)
#define AHEAD  INT64_C(4000000000000000000)
#define SECOND INT64_C(1000000000)
enum { SAME_TIMES = 2 };
/* Steps of own_file_step(): before the first look at the file, and while it is left alone. */
enum { IDLE_BEFORE = 7, IDLE_FROM = 20 };

static uint64_t attr_below(uint64_t n)
{
    return sim_below(RND_ATTRS, n);
}

static void on_set(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    app_finish(a, r)->file = r->ino;
    app_next(a);
}

static struct history_op *begin(struct app *a, enum history_kind kind, unsigned slot,
                                const char *path)
{
    return path ? app_begin_path(a, kind, path, NULL) : app_begin_fd(a, kind, slot);
}

static void send(struct app *a, const char *path, const struct sys_attr *attr)
{
    if (path)
        sys_setattr(app_kernel(a), path, attr, on_set, a);
    else
        sys_fsetattr(app_kernel(a), a->fds[a->slot].fd, attr, on_set, a);
}

/* ---- what is set ----------------------------------------------------------------------------- */

static int64_t any_time(void)
{
    switch (attr_below(4)) {
    case 0:
        return PAST + SECOND * (int64_t)attr_below(SAME_TIMES);
    case 1:
        return AHEAD + SECOND * (int64_t)app_new_stamp();
    default:
        return PAST + SECOND * (int64_t)(SAME_TIMES + app_new_stamp());
    }
}

static void set_times(struct app *a, unsigned slot, const char *path)
{
    struct history_op *op = begin(a, H_UTIMENS, slot, path);
    struct sys_attr attr = {0};
    op->sets = 1 + (uint32_t)attr_below(3); /* one of them, or both */
    if (op->sets & SETS_MTIME && attr_below(4)) {
        op->sets |= GIVEN_MTIME;
        op->mtime = attr.mtime = any_time();
    }
    if (op->sets & SETS_ATIME && attr_below(4)) {
        op->sets |= GIVEN_ATIME;
        op->atime = attr.atime = any_time();
    }
    if (op->sets & SETS_MTIME)
        attr.set |= op->sets & GIVEN_MTIME ? FS_SETATTR_MTIME : FS_SETATTR_MTIME_NOW;
    if (op->sets & SETS_ATIME)
        attr.set |= op->sets & GIVEN_ATIME ? FS_SETATTR_ATIME : FS_SETATTR_ATIME_NOW;
    send(a, path, &attr);
}

/* Who writes may not leave it. */
static uint32_t setuid_bit(void)
{
    return sim_swarm()->setid && sim_below(RND_SETID, 2) == 0 ? S_ISUID : 0;
}

void app_chmod(struct app *a, unsigned slot, const char *path)
{
    struct history_op *op = begin(a, H_CHMOD, slot, path);
    op->mode = (uint32_t)attr_below(01000) | setuid_bit();
    struct sys_attr attr = {.set = FS_SETATTR_MODE, .mode = op->mode};
    send(a, path, &attr);
}

static void set_owner(struct app *a, unsigned slot, const char *path)
{
    struct history_op *op = begin(a, H_CHOWN, slot, path);
    op->uid = (uint32_t)app_new_stamp();
    struct sys_attr attr = {.set = FS_SETATTR_UID, .uid = op->uid};
    send(a, path, &attr);
}

static void on_xattr(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    if (op->kind == H_GETXATTR && r->err == 0 && r->data && r->data->size == sizeof op->stamp)
        memcpy(&op->stamp, r->data->data, sizeof op->stamp);
    app_next(a);
}

static void xattr_of_fd(struct app *a, unsigned slot)
{
    uint64_t fd = a->fds[slot].fd;
    bool set = attr_below(2);
    struct history_op *op = app_begin_fd(a, set ? H_SETXATTR : H_GETXATTR, slot);
    if (!set) {
        sys_fgetxattr(app_kernel(a), fd, "user.stamp", on_xattr, a);
        return;
    }
    op->stamp = app_new_stamp();
    struct blob *value = blob_copy(&op->stamp, sizeof op->stamp);
    sys_fsetxattr(app_kernel(a), fd, "user.stamp", value, on_xattr, a);
    blob_unref(value);
}

/* `path` NULL: of what is open there. */
static void set_some(struct app *a, unsigned slot, const char *path)
{
    uint64_t what = attr_below(16);
    if (what < 5)
        app_chmod(a, slot, path);
    else if (what < 7)
        set_owner(a, slot, path);
    else if (what == 7 && !path)
        xattr_of_fd(a, slot);
    else
        set_times(a, slot, path);
}

/* ---- what is open, and what has a name ------------------------------------------------------- */

static void stat_fd(struct app *a)
{
    (void)app_begin_fd(a, H_STAT, a->slot);
    sys_fstat(app_kernel(a), a->fds[a->slot].fd, app_on_stat, a);
}

static void stat_path(struct app *a)
{
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s", workload.history->ops.items[a->last_op].path);
    (void)app_begin_path(a, H_STAT, path, NULL);
    sys_stat(app_kernel(a), path, app_on_stat, a);
}

/* Copies are left alone: the history has no changes of them. */
static unsigned any_fd(const struct app *a)
{
    unsigned from = (unsigned)attr_below(FDS);
    for (unsigned i = 0; i < FDS; i++) {
        const struct fd *f = &a->fds[(from + i) % FDS];
        if (f->fd && f->path[1] != 'c')
            return (from + i) % FDS;
    }
    return FDS;
}

static void any_path(char path[PATH_SPACE])
{
    unsigned dir = (unsigned)attr_below(2 * DIRS + 2), file = (unsigned)attr_below(FILES);
    if (dir >= 2 * DIRS) /* some mount's own: its lease comes back */
        (void)snprintf(path, PATH_SPACE, "/o%u/s%u", 1 + file % sim_swarm()->mounts,
                       1 + file % sim_swarm()->apps);
    else if (dir < DIRS)
        (void)snprintf(path, PATH_SPACE, "/d%u/f%u", dir, file);
    else
        (void)snprintf(path, PATH_SPACE, "/f%u", file);
}

/* ---- a file that loses its name -------------------------------------------------------------- */

static void unlink_path(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_UNLINK, path, NULL);
    sys_unlink(app_kernel(a), path, app_on_simple, a);
}

static void sync_fd(struct app *a)
{
    (void)app_begin_fd(a, H_FSYNC, a->slot);
    sys_fsync(app_kernel(a), a->fds[a->slot].fd, app_on_simple, a);
}

static void own_file_step(struct app *a);

static void lose_name(struct app *a, const char *path)
{
    char other[PATH_SPACE];
    app_any_path(other);
    switch (attr_below(4)) {
    case 0:
        app_rename_path(a, path, other, false);
        break;
    case 1:
        set_some(a, a->slot, NULL);
        break;
    default:
        unlink_path(a, path);
        break;
    }
}

static void go_on(void *ctx, uint64_t generation)
{
    struct app *a = ctx;
    if (!a->alive || a->generation != generation)
        return;
    a->asking = false;
    own_file_step(a);
}

static void leave_alone(struct app *a, time_us pause)
{
    a->asking = true;
    sim_at(sim_now() + pause, go_on, a, a->generation);
}

/* The file's own lease goes back, that of its directory stays; then others find the file. */
static void idle_step(struct app *a, const char *path)
{
    switch (a->setting) {
    case IDLE_FROM:
        leave_alone(a, 4 * TIME_S);
        break;
    case IDLE_FROM + 1:
    case IDLE_FROM + 3:
        stat_fd(a);
        break;
    case IDLE_FROM + 2:
        (void)snprintf(workload.idle, sizeof workload.idle, "%s", path);
        leave_alone(a, 1 * TIME_S);
        break;
    default:
        break;
    }
    if (++a->setting == IDLE_FROM + 4) {
        workload.idle[0] = '\0';
        a->idling = false;
        a->setting = IDLE_BEFORE;
    }
}

/* In a directory of the mount's own, so that much of it happens ahead of the log. */
static void own_file_step(struct app *a)
{
    char dir[PATH_SPACE], path[PATH_SPACE];
    (void)snprintf(dir, sizeof dir, "/o%u", a->mount);
    (void)snprintf(path, sizeof path, "/o%u/s%u", a->mount, a->number);
    a->then = own_file_step;
    if (a->idling && a->setting == IDLE_BEFORE)
        a->setting = IDLE_FROM;
    if (a->setting >= IDLE_FROM) {
        idle_step(a, path);
        return;
    }
    switch (a->setting++) {
    case 0:
        (void)app_begin_path(a, H_MKDIR, dir, NULL);
        sys_mkdir(app_kernel(a), dir, 0755, app_on_simple, a);
        break;
    case 1:
        unlink_path(a, path);
        break;
    case 2:
        if (!app_open_path(a, path, O_RDWR | O_CREAT | O_EXCL))
            a->setting = 0;
        break;
    case 3:
        app_write_units(a, a->slot, 0, 1 + (uint32_t)attr_below(4));
        break;
    case 4:
        if (attr_below(3))
            sync_fd(a);
        else
            set_some(a, a->slot, NULL);
        break;
    case 5:
        set_some(a, a->slot, NULL);
        break;
    case 6:
        if (attr_below(3))
            app_read_units(a, a->slot, 0, 4);
        else
            app_write_units(a, a->slot, 0, 1);
        break;
    case 7:
        stat_fd(a);
        break;
    case 8:
        lose_name(a, path);
        break;
    case 9:
        set_some(a, a->slot, NULL);
        break;
    case 10:
        stat_fd(a);
        break;
    default:
        a->then = NULL;
        a->setting = 0;
        app_close_fd(a, a->slot);
        break;
    }
}

void app_attr_step(struct app *a)
{
    char path[PATH_SPACE];
    unsigned s = any_fd(a);
    uint64_t what = attr_below(8);
    any_path(path);
    if (what == 0) {
        a->idling = false;
        own_file_step(a);
    } else if (what < 3) {
        a->then = attr_below(2) ? stat_path : NULL;
        set_some(a, FDS, path);
    } else if (s < FDS) {
        a->then = attr_below(2) ? stat_fd : NULL;
        set_some(a, s, NULL);
    } else {
        (void)app_open_path(a, path, O_RDWR | O_CREAT);
    }
}

void app_idle_step(struct app *a)
{
    if (workload.idle[0]) {
        app_chmod(a, FDS, workload.idle);
    } else {
        a->idling = true;
        own_file_step(a);
    }
}
