/* What others know by its number only: files that they have open and directories that they stand
 * in. The mount whose directory it is comes by name: it lists it, changes and removes what is
 * there. The others never look for a name while they have it, and so do not come for the
 * directory's lease. */
#include "tests/sim/nemesis.h"
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>

static uint64_t known_below(uint64_t n)
{
    return sim_below(RND_NAMES, n);
}

static bool with_bytes(void)
{
    return sim_swarm()->known_bytes && sim_below(RND_KNOWN, 2) == 0;
}

static uint32_t some_units(void)
{
    return (uint32_t)sim_below(RND_KNOWN, 6);
}

static void unlink_path(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_UNLINK, path, NULL);
    sys_unlink(app_kernel(a), path, app_on_simple, a);
}

static void make_dir(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_MKDIR, path, NULL);
    sys_mkdir(app_kernel(a), path, 0755, app_on_simple, a);
}

/* Whoever stands in a directory, at whichever mount, looks at once whether it is there, which is
 * when it matters. The checkers see what his mount is told. */
static void on_dir_removed(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)app_finish(a, r);
    for (uint32_t m = 1; m <= sim_swarm()->mounts && r->err == 0; m++)
        for (uint32_t i = 1; i <= sim_swarm()->apps; i++) {
            const struct app *other = &workload.apps[m][i];
            if (other->alive && other->stands_in)
                sys_stat_here(app_kernel(other), other->stands_in, NULL, NULL);
        }
    app_next(a);
}

static void remove_dir(struct app *a, const char *path)
{
    (void)app_begin_path(a, H_RMDIR, path, NULL);
    sys_rmdir(app_kernel(a), path, on_dir_removed, a);
}

/* ---- whose it is ----------------------------------------------------------------------------- */

/* It gets another name, another mode, or goes. */
static void change_file(struct app *a, const char *file, const char *other)
{
    switch (known_below(5)) {
    case 0:
        app_rename_path(a, file, other, false);
        break;
    case 1:
        (void)app_begin_path(a, H_LINK, file, other);
        sys_link(app_kernel(a), file, other, app_on_simple, a);
        break;
    case 2:
        app_chmod(a, FDS, file);
        break;
    default:
        unlink_path(a, file);
        break;
    }
}

/* One of another's files that is open here; FDS: none. */
static unsigned known_fd(const struct app *a)
{
    for (unsigned s = 0; s < FDS; s++)
        if (a->fds[s].fd && a->fds[s].path[1] == 'o' && a->fds[s].path[4] == 'k')
            return s;
    return FDS;
}

/* Another mount has one of this mount's files open, and may have been promised its attributes. */
static void lose_who_knows(const struct app *a)
{
    for (uint32_t m = 1; m <= sim_swarm()->mounts; m++)
        for (uint32_t i = 1; i <= sim_swarm()->apps; i++) {
            const struct app *other = &workload.apps[m][i];
            unsigned s = known_fd(other);
            if (m != a->mount && other->alive && s < FDS &&
                other->fds[s].path[2] == (char)('0' + a->mount)) {
                nemesis_unheard(process_nodes() + m);
                return;
            }
        }
}

/* So that the directory's lease is taken again, and what others know there stays as it is. */
static void touch_dir(struct app *a)
{
    char other[PATH_SPACE];
    (void)snprintf(other, sizeof other, "/o%u/t%u", a->mount, a->number);
    if (known_below(2))
        make_dir(a, other);
    else
        remove_dir(a, other);
}

/* Before its name goes it may be written once more, and closed. False: it is not. */
static bool write_step(struct app *a, const char *file, unsigned step)
{
    switch (step) {
    case 0:
        if (!with_bytes())
            return false;
        if (!app_open_path(a, file, O_RDWR))
            a->knowing = 0;
        return true;
    case 1:
        app_write_units(a, a->slot, some_units(), 1 + some_units());
        return true;
    case 2:
        app_close_fd(a, a->slot);
        return true;
    default:
        return false;
    }
}

static void own_file(struct app *a)
{
    char dir[PATH_SPACE], file[PATH_SPACE], other[PATH_SPACE];
    (void)snprintf(dir, sizeof dir, "/o%u", a->mount);
    (void)snprintf(file, sizeof file, "/o%u/k%u", a->mount, a->number);
    (void)snprintf(other, sizeof other, "/o%u/l%u", a->mount, a->number);
    a->then = own_file;
    switch (a->knowing++) {
    case 0:
        make_dir(a, dir);
        break;
    case 1:
        if (!app_open_path(a, file, O_RDWR | O_CREAT))
            a->knowing = 0;
        break;
    case 2:
        app_close_fd(a, a->slot);
        break;
    case 3: /* nobody else is promised its attributes any more */
    case 5:
        if (sim_swarm()->faults >> FAULT_UNHEARD & 1)
            touch_dir(a); /* or they still are */
        else
            app_chmod(a, FDS, file);
        break;
    case 6:
        lose_who_knows(a);
        app_list(a, dir);
        break;
    case 4:
        app_list(a, dir);
        break;
    case 7:
    case 8:
        change_file(a, file, other);
        break;
    default:
        if (write_step(a, file, a->knowing - 10))
            break;
        a->then = NULL;
        a->knowing = 0;
        unlink_path(a, known_below(2) ? file : other);
        break;
    }
}

static void own_dir(struct app *a)
{
    char dir[PATH_SPACE], inner[PATH_SPACE], file[PATH_SPACE];
    (void)snprintf(dir, sizeof dir, "/o%u", a->mount);
    (void)snprintf(inner, sizeof inner, "/o%u/e%u", a->mount, a->number);
    (void)snprintf(file, sizeof file, "/o%u/e%u/x", a->mount, a->number);
    a->then = own_dir;
    switch (a->knowing++) {
    case 0:
        make_dir(a, dir);
        break;
    case 1:
        make_dir(a, inner);
        break;
    case 2:
        if (!app_open_path(a, file, O_RDWR | O_CREAT))
            a->knowing = 0;
        break;
    case 3:
        app_close_fd(a, a->slot);
        break;
    case 4:
        app_list(a, inner);
        a->then = NULL; /* others come meanwhile */
        break;
    case 5:
        app_list(a, inner);
        break;
    case 6:
        unlink_path(a, file);
        break;
    default:
        a->then = NULL;
        a->knowing = 0;
        remove_dir(a, inner);
        break;
    }
}

/* ---- the others ------------------------------------------------------------------------------ */

static void on_stood(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    a->stands_in = r->err ? 0 : r->ino;
    a->asking = false;
    app_next(a);
}

static void leave(struct app *a)
{
    if (known_below(4) == 0)
        sys_stat_here(app_kernel(a), a->stands_in, NULL, NULL);
    sys_leave(app_kernel(a), a->stands_in);
    a->stands_in = 0;
    app_next(a);
}

static void set_or_ask(struct app *a)
{
    if (with_bytes()) {
        app_read_units(a, a->slot, some_units(), 1 + some_units());
        return;
    }
    if (known_below(2)) {
        app_chmod(a, a->slot, NULL);
        return;
    }
    (void)app_begin_fd(a, H_STAT, a->slot);
    sys_fstat(app_kernel(a), a->fds[a->slot].fd, app_on_stat, a);
}

static void visit(struct app *a)
{
    char path[PATH_SPACE];
    unsigned mount = 1 + (unsigned)known_below(sim_swarm()->mounts);
    unsigned app = 1 + (unsigned)known_below(sim_swarm()->apps), s = known_fd(a);
    if (a->stands_in && known_below(8) == 0) {
        leave(a);
    } else if (s < FDS) {
        a->slot = s;
        set_or_ask(a);
    } else if (a->stands_in || known_below(2)) {
        (void)snprintf(path, sizeof path, "/o%u/k%u", mount, app);
        (void)app_open_path(a, path, O_RDWR);
    } else {
        (void)snprintf(path, sizeof path, "/o%u/e%u", mount, app);
        a->asking = true;
        sys_stand(app_kernel(a), path, on_stood, a);
    }
}

void app_known_step(struct app *a)
{
    if (a->knowing)
        own_dir(a);
    else if (known_below(2))
        visit(a);
    else if (known_below(2))
        own_file(a);
    else
        own_dir(a);
}
