/* Byte-range locks of applications: each takes one at a descriptor, goes on with other things, some
 * of them on that descriptor, and gives it back. Blocking ones may close a circle. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { LOCK_UNITS = 8, LOCK_FILES = 2 };

static struct client_lock lock_of(const struct app *a, const struct history_op *op,
                                  enum client_lock_type type, bool wait)
{
    return (struct client_lock){.owner = a->number,
                                .first = (uint64_t)op->page * HISTORY_UNIT,
                                .last = (uint64_t)(op->page + op->pages) * HISTORY_UNIT - 1,
                                .type = type,
                                .wait = wait,
                                .pid = a->number};
}

static void on_unlock(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)app_finish(a, r);
    a->fds[a->slot].locked = false;
    app_next(a);
}

static void unlock(struct app *a, unsigned slot)
{
    struct history_op *op = app_begin_fd(a, H_UNLOCK, slot);
    op->page = a->fds[slot].lock_first;
    op->pages = a->fds[slot].lock_count;
    struct client_lock lock = lock_of(a, op, CLIENT_LOCK_NONE, false);
    sys_lock(app_kernel(a), a->fds[slot].fd, &lock, on_unlock, a);
}

static void on_lock(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    struct fd *f = &a->fds[a->slot];
    f->locked = r->err == 0;
    f->lock_first = op->page;
    f->lock_count = op->pages;
    app_next(a);
}

/* close(2) of one descriptor gives back what the process locked through another. */
static bool has_another(const struct app *a, unsigned slot)
{
    for (unsigned s = 0; s < FDS; s++)
        if (s != slot && a->fds[s].fd && a->fds[s].ino == a->fds[slot].ino)
            return true;
    return false;
}

/* A descriptor by which it may lock the file; FDS: none. */
static unsigned find_target(const struct app *a, const char *path)
{
    for (unsigned s = 0; s < FDS; s++)
        if (a->fds[s].fd && !a->fds[s].locked && strcmp(a->fds[s].path, path) == 0 &&
            !has_another(a, s))
            return s;
    return FDS;
}

static void lock(struct app *a, unsigned slot)
{
    struct history_op *op = app_begin_fd(a, H_LOCK, slot);
    op->page = (uint32_t)sim_below(RND_LOCKS, LOCK_UNITS);
    op->pages = 1 + (uint32_t)sim_below(RND_LOCKS, LOCK_UNITS);
    op->exclusive = a->fds[slot].writable && sim_below(RND_LOCKS, 3);
    struct client_lock lock = lock_of(a, op, op->exclusive ? CLIENT_LOCK_WRITE : CLIENT_LOCK_READ,
                                      sim_below(RND_LOCKS, 3) > 0);
    sys_lock(app_kernel(a), a->fds[slot].fd, &lock, on_lock, a);
}

void app_lock_step(struct app *a)
{
    char path[PATH_SPACE];
    unsigned locked = 0;
    (void)snprintf(path, sizeof path, "/f%u", (unsigned)sim_below(RND_LOCKS, LOCK_FILES));
    while (locked < FDS && !(a->fds[locked].fd && a->fds[locked].locked))
        locked++;
    if (locked < FDS && sim_below(RND_LOCKS, 2))
        unlock(a, locked);
    else if (find_target(a, path) < FDS)
        lock(a, find_target(a, path));
    else
        (void)app_open_path(a, path, O_RDWR | O_CREAT);
}
