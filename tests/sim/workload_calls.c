/* System calls of applications, and what their answers add to the history. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "repl/base/hash.h"

/* ---- names ----------------------------------------------------------------------------------- */

void app_any_dir(char path[PATH_SPACE])
{
    (void)snprintf(path, PATH_SPACE, "/d%u", (unsigned)work_below(DIRS));
}

void app_any_path(char path[PATH_SPACE])
{
    unsigned dir = (unsigned)work_below(DIRS + 3), file = (unsigned)work_below(FILES);
    if (dir < DIRS)
        (void)snprintf(path, PATH_SPACE, "/d%u/f%u", dir, file);
    else
        (void)snprintf(path, PATH_SPACE, "/f%u", file);
}

void app_log_path(char path[PATH_SPACE])
{
    (void)snprintf(path, PATH_SPACE, "/log%u", (unsigned)(sim_now() / (LOG_AGE * TIME_S)));
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static unsigned free_slot(const struct app *a)
{
    unsigned s = 0;
    while (s < FDS && a->fds[s].fd)
        s++;
    return s;
}

/* Any open one of the kind; FDS: none. */
unsigned app_any_fd(const struct app *a, bool log, bool writable)
{
    unsigned from = (unsigned)work_below(FDS);
    for (unsigned i = 0; i < FDS; i++) {
        unsigned s = (from + i) % FDS;
        const struct fd *f = &a->fds[s];
        if (f->fd && f->log == log && (!writable || f->writable))
            return s;
    }
    return FDS;
}

static void on_close(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)app_finish(a, r);
    a->fds[a->slot].fd = 0;
    app_next(a);
}

void app_close_fd(struct app *a, unsigned slot)
{
    (void)app_begin_fd(a, H_CLOSE, slot);
    sys_close(app_kernel(a), a->fds[slot].fd, on_close, a);
}

static void on_open(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    if (r->err == 0) {
        op->file = r->ino;
        a->opening.fd = r->value;
        a->opening.ino = r->ino;
        a->slot = free_slot(a);
        a->fds[a->slot] = a->opening;
    } else {
        a->then = a->number == READER_APP ? app_read_back_next : NULL;
        a->replacing = a->copying = a->linking = a->setting = a->knowing = 0;
    }
    app_next(a);
}

/* False: all slots are taken, and one is being closed instead. */
bool app_open_path(struct app *a, const char *path, int flags)
{
    if (free_slot(a) == FDS) {
        a->then = NULL;
        a->copying = a->linking = a->setting = 0;
        app_close_fd(a, (unsigned)work_below(FDS));
        return false;
    }
    struct history_op *op = app_begin_path(a, flags & O_CREAT ? H_CREATE : H_OPEN, path, NULL);
    op->exclusive = (flags & O_EXCL) != 0;
    a->opening = (struct fd){.writable = (flags & O_ACCMODE) != O_RDONLY,
                             .log = strncmp(path, "/log", 4) == 0};
    (void)snprintf(a->opening.path, sizeof a->opening.path, "%s", path);
    sys_open(app_kernel(a), path, flags, 0644, on_open, a);
    return true;
}

/* ---- data ------------------------------------------------------------------------------------ */

static void on_write(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    op->bytes = r->value;
    op->divided = r->divided;
    app_next(a);
}

void app_write_units(struct app *a, unsigned slot, uint32_t first, uint32_t count)
{
    struct history_op *op = app_begin_fd(a, H_WRITE, slot);
    op->page = first;
    op->pages = count;
    op->stamp = app_new_stamp();
    struct blob *data = history_units(op->stamp, first, count);
    sys_write(app_kernel(a), a->fds[slot].fd, (uint64_t)first * HISTORY_UNIT, data, on_write, a);
    blob_unref(data);
}

static void on_read(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    if (r->err == 0) {
        op->bytes = r->value;
        op->stamps = history_stamps(r->data, op->page, op->pages);
        op->stamps_count = op->pages;
        for (uint32_t i = 0; i < op->pages; i++) {
            op->torn |= op->stamps[i] == HISTORY_TORN;
            sim_mix(op->stamps[i], op->page + i);
        }
    }
    app_next(a);
}

void app_read_units(struct app *a, unsigned slot, uint32_t first, uint32_t count)
{
    struct history_op *op = app_begin_fd(a, H_READ, slot);
    op->page = first;
    op->pages = count;
    sys_read(app_kernel(a), a->fds[slot].fd, (uint64_t)first * HISTORY_UNIT,
             (uint64_t)count * HISTORY_UNIT, on_read, a);
}

void app_on_stat(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    if (r->err == 0) {
        op->file = r->ino;
        op->size = r->size;
        op->nlink = r->nlink;
        op->mtime = r->mtime;
        op->atime = r->atime;
        op->mode = r->mode & 07777;
        op->uid = r->uid;
        sim_mix(r->size, (uint64_t)r->mtime);
        if (workload.reading_back && (S_ISDIR(r->mode) || S_ISLNK(r->mode)))
            op->bytes = S_ISDIR(r->mode) ? WALK_DIR : WALK_LINK;
    }
    app_next(a);
}

/* ---- append-only files ----------------------------------------------------------------------- */

void app_append_record(struct app *a, unsigned slot)
{
    struct history_op *op = app_begin_fd(a, H_APPEND, slot);
    op->stamp = app_new_stamp();
    op->bytes = HISTORY_RECORD + 8 * work_below(work_below(8) == 0 ? 1600 : 60);
    struct blob *data = history_record(op->stamp, (uint32_t)op->bytes);
    sys_write(app_kernel(a), a->fds[slot].fd, 0, data, app_on_simple, a);
    blob_unref(data);
}

static void close_current(struct app *a)
{
    app_close_fd(a, a->slot);
}

static void on_read_all(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    a->reads++;
    if (r->err == 0 && r->value) {
        size_t before = a->read ? a->read->size : 0;
        struct blob *all = blob_new(before + r->value);
        if (before)
            memcpy(all->data, a->read->data, before);
        memcpy(all->data + before, r->data->data, r->value);
        blob_unref(a->read);
        a->read = all;
        sys_read(app_kernel(a), a->fds[a->slot].fd, all->size, READ_CHUNK, on_read_all, a);
        return;
    }
    struct history_op *op = app_finish(a, r);
    op->pages = a->reads;
    if (r->err == 0 && a->read) {
        op->bytes = a->read->size;
        op->stamps_count = history_records(a->read->data, a->read->size, &op->stamps, &op->torn);
    }
    blob_unref(a->read);
    a->read = NULL;
    if (!workload.reading_back)
        a->then = close_current;
    app_next(a);
}

void app_read_all(struct app *a)
{
    (void)app_begin_fd(a, H_READ_ALL, a->slot);
    a->reads = 0;
    sys_read(app_kernel(a), a->fds[a->slot].fd, 0, READ_CHUNK, on_read_all, a);
}

/* ---- names and directories ------------------------------------------------------------------- */

static int compare_stamps(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void note_path(struct app *a, const char *dir, const char *name)
{
    char path[2 * PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
    vec_push(&a->paths, xstrdup(path));
}

/* As `ls -l` does: the files that are listed are looked at. */
static void look_next(struct app *a)
{
    if (a->paths.count == 0 || workload.reading_back) {
        app_next(a);
        return;
    }
    char *path = vec_pop(&a->paths);
    a->then = look_next;
    (void)app_begin_path(a, H_STAT, path, NULL);
    sys_stat(app_kernel(a), path, app_on_stat, a);
    free(path);
}

static void on_list(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    op->pages = (uint32_t)r->value;
    if (r->err == 0) {
        op->stamps = xcalloc(r->names_count + 1, sizeof *op->stamps);
        op->stamps_count = r->names_count;
        for (size_t i = 0; i < r->names_count; i++)
            op->stamps[i] = hash64(r->names[i], strlen(r->names[i]));
        qsort(op->stamps, op->stamps_count, sizeof *op->stamps, compare_stamps);
        bool looks = sim_swarm()->late_lists && !a->then;
        for (size_t i = 0; (workload.reading_back || looks) && i < r->names_count; i++) {
            char first = r->names[i][0]; /* copies: what they hold was written elsewhere */
            if (workload.reading_back ? first != 'c' : first == 'f')
                note_path(a, op->path, r->names[i]);
        }
        if (looks && !workload.reading_back)
            a->then = look_next;
    }
    app_next(a);
}

void app_list(struct app *a, const char *path)
{
    app_begin_path(a, H_LIST, path, NULL)->leaderless =
        mount_client(app_mount(a))->leaderless_since != 0;
    sys_readdir(app_kernel(a), path, on_list, a);
}

static void on_xattr(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = app_finish(a, r);
    if (r->err == 0 && r->data && r->data->size == sizeof op->stamp)
        memcpy(&op->stamp, r->data->data, sizeof op->stamp);
    op->file = r->ino;
    app_next(a);
}

void app_xattr(struct app *a, const char *path, bool set)
{
    struct history_op *op = app_begin_path(a, set ? H_SETXATTR : H_GETXATTR, path, NULL);
    if (!set) {
        sys_getxattr(app_kernel(a), path, "user.stamp", on_xattr, a);
        return;
    }
    op->stamp = app_new_stamp();
    struct blob *value = blob_copy(&op->stamp, sizeof op->stamp);
    sys_setxattr(app_kernel(a), path, "user.stamp", value, on_xattr, a);
    blob_unref(value);
}

static void on_renamed(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    app_finish(a, r)->idle = r->value != 0;
    app_next(a);
}

void app_rename_path(struct app *a, const char *from, const char *to, bool exclusive)
{
    app_begin_path(a, H_RENAME, from, to)->exclusive = exclusive;
    sys_rename(app_kernel(a), from, to, exclusive ? 1 : 0, on_renamed, a);
}

/* The rename of the file in the slot is over. */
static void note_named(struct app *a)
{
    const struct history_op rename = workload.history->ops.items[a->last_op];
    if (rename.kind != H_RENAME || rename.end == 0 || rename.err)
        return;
    struct history_op *op = app_new_op(H_NAMED, a->mount);
    op->app = a->number;
    op->session = rename.session;
    op->q = rename.q;
    op->q_session = rename.q_session;
    op->file = a->fds[a->slot].ino;
    op->start = rename.start;
    op->end = rename.end;
}

/* Replace by rename, as editors do: write a new file, sync it or not, rename it over the old. */
void app_replace_step(struct app *a)
{
    char temp[PATH_SPACE];
    (void)snprintf(temp, sizeof temp, "/t%u-%u", a->mount, a->number);
    unsigned step = a->replacing++;
    if (step == 2 && work_below(2))
        step = a->replacing++;
    a->then = app_replace_step;
    switch (step) {
    case 0:
        if (!app_open_path(a, temp, O_RDWR | O_CREAT | O_EXCL))
            a->replacing = 0;
        break;
    case 1:
        app_write_units(a, a->slot, 0, 1 + (uint32_t)work_below(8));
        break;
    case 2:
        (void)app_begin_fd(a, H_FSYNC, a->slot);
        sys_fsync(app_kernel(a), a->fds[a->slot].fd, app_on_simple, a);
        break;
    case 3:
        (void)snprintf(a->fds[a->slot].path, PATH_SPACE, "%s", a->target);
        app_rename_path(a, temp, a->target, false);
        break;
    default:
        note_named(a);
        a->then = NULL;
        a->replacing = 0;
        app_close_fd(a, a->slot);
        break;
    }
}
