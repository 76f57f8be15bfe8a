/* Applications: each does one system call after another, with pauses, and writes down what it did
 * and saw. Names are few and shared by all mounts, so that leases and promises move. */
#include "tests/sim/workload.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/internal.h"
#include "repl/base/hash.h"
#include "tests/sim/kernel.h"
#include "tests/sim/mount.h"
#include "tests/sim/process.h"

enum {
    DIRS = 3,
    FILES = 6, /* names in each directory */
    PATH_SPACE = 48,
    FDS = 4,
    NEAR_UNITS = 24, /* where most writes go */
    FAR_UNITS = 128, /* 64 pages */
    BIG_UNITS = 512, /* 1 MiB */
    READ_CHUNK = 128 << 10,
    LOG_AGE = 20,      /* seconds; then another append-only file begins */
    EXCLUSIVE_AGE = 2, /* seconds for which all fight for one name */
    INTERRUPTED = 40,  /* one in so many calls gets a signal, if it takes that long */
    READER_APP = SIM_APPS_MAX + 1,
    SLOTS = SIM_APPS_MAX + 2,
};
enum walk { WALK_DIR = 1, WALK_LINK }; /* what STAT told the one who reads everything back */
#define NONE SIZE_MAX

struct fd {
    uint64_t fd, ino; /* fd 0: free */
    bool writable, log;
    char path[PATH_SPACE];
};

struct app {
    uint32_t mount, number;
    bool alive;
    uint64_t generation; /* what was planned before its death is dropped */
    size_t op, last_op;  /* under way, NONE; the one before */
    struct fd fds[FDS];
    struct fd opening;
    unsigned slot;      /* of the descriptor that the call is on */
    unsigned replacing; /* step of a replace by rename, 0: none */
    char target[PATH_SPACE];
    struct blob *read; /* READ_ALL so far */
    uint32_t reads;
    void (*then)(struct app *a); /* what follows at once */
    vec_of(char *) paths;        /* to be read back */
};

static struct {
    struct history *history;
    struct app apps[SIM_MOUNTS_MAX + 1][SLOTS];
    uint32_t life[SIM_MOUNTS_MAX + 1];
    uint64_t last_stamp, generation;
    bool draining, reading_back;
    unsigned readers;
    void (*read_back_done)(void);
    uint32_t weights[WORK_COUNT], weights_sum;
} work;

static const uint32_t usual_mix[WORK_COUNT] = {
    [WORK_CREATE] = 60, [WORK_WRITE] = 200,   [WORK_WRITE_BIG] = 6,  [WORK_READ] = 200,
    [WORK_FSYNC] = 40,  [WORK_CLOSE] = 60,    [WORK_TRUNCATE] = 25,  [WORK_STAT] = 80,
    [WORK_APPEND] = 60, [WORK_READ_LOG] = 10, [WORK_UNLINK] = 30,    [WORK_UNLINK_OPEN] = 10,
    [WORK_RENAME] = 40, [WORK_LINK] = 15,     [WORK_MKDIR] = 10,     [WORK_RMDIR] = 8,
    [WORK_LIST] = 20,   [WORK_XATTR] = 20,    [WORK_EXCLUSIVE] = 20,
};

static struct mount *mount_of(const struct app *a)
{
    struct process *p = process_of(process_nodes() + a->mount);
    return p->up ? p->mount : NULL;
}

static struct kernel *kernel_of(const struct app *a)
{
    return mount_kernel(mount_of(a));
}

static uint64_t below(uint64_t n)
{
    return sim_below(RND_WORK, n);
}

/* ---- the history ----------------------------------------------------------------------------- */

static struct history_op *new_op(enum history_kind kind, uint32_t mount)
{
    vec_push(
        &work.history->ops,
        (struct history_op){
            .kind = kind, .mount = mount, .life = work.life[mount], .start = sim_now(), .end = 0});
    return &work.history->ops.items[work.history->ops.count - 1];
}

static void on_signal(void *ctx, uint64_t op)
{
    struct app *a = ctx;
    if (a->alive && a->op == op && mount_of(a))
        sys_interrupt(kernel_of(a), a);
}

static struct history_op *begin(struct app *a, enum history_kind kind)
{
    assert(a->op == NONE);
    struct history_op *op = new_op(kind, a->mount);
    op->app = a->number;
    op->session = mount_session(mount_of(a));
    a->op = work.history->ops.count - 1;
    if (!work.reading_back && below(INTERRUPTED) == 0)
        sim_at(sim_now() + 1 + below(below(2) ? 5 * TIME_MS : 3 * TIME_S), on_signal, a, a->op);
    return op;
}

static struct history_op *begin_fd(struct app *a, enum history_kind kind, unsigned slot)
{
    struct history_op *op = begin(a, kind);
    a->slot = slot;
    op->file = a->fds[slot].ino;
    return op;
}

static struct history_op *begin_path(struct app *a, enum history_kind kind, const char *path,
                                     const char *path2)
{
    struct history_op *op = begin(a, kind);
    op->path = xstrdup(path);
    op->path2 = path2 ? xstrdup(path2) : NULL;
    return op;
}

static const char *const kind_names[] = {
    "create",   "write",  "read",    "fsync", "close", "truncate", "stat",    "append",
    "readall",  "unlink", "rename",  "link",  "mkdir", "rmdir",    "list",    "setxattr",
    "getxattr", "killed", "started", "open",  "lost",  "named",    "symlink", "readlink"};

/* "7*3 0*2": runs of equal stamps. */
static void stamps_text(const struct history_op *op, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0, run; i < op->stamps_count && used + 48 < size; i += run) {
        run = 1;
        while (i + run < op->stamps_count && op->stamps[i + run] == op->stamps[i])
            run++;
        used += (size_t)snprintf(text + used, size - used, "%s%llu*%zu", i ? " " : "",
                                 (unsigned long long)op->stamps[i], run);
    }
}

static void trace_op(const struct history_op *op)
{
    char seen[512];
    stamps_text(op, seen, sizeof seen);
    sim_trace("app m%u.%u %s %s%s%s file=%llu page=%u+%u stamp=%llu bytes=%llu size=%llu err=%d "
              "from=%llu saw %s",
              op->mount, op->app, kind_names[op->kind], op->path ? op->path : "",
              op->path2 ? " " : "", op->path2 ? op->path2 : "", (unsigned long long)op->file,
              op->page, op->pages, (unsigned long long)op->stamp, (unsigned long long)op->bytes,
              (unsigned long long)op->size, op->err, (unsigned long long)op->start, seen);
}

static struct history_op *finish(struct app *a, const struct sys_result *r)
{
    struct history_op *op = &work.history->ops.items[a->op];
    op->end = sim_now();
    op->err = r->err;
    a->last_op = a->op;
    a->op = NONE;
    sim_count(COUNT_OPS, 1);
    return op;
}

static uint64_t new_stamp(void)
{
    return ++work.last_stamp;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void turn(void *ctx, uint64_t generation);
static void read_back_next(struct app *a);

static void rest(struct app *a)
{
    time_us pause = work.draining ? 1 : sim_exp(RND_WORK, sim_swarm()->think_us);
    if (!work.draining && below(4) == 0)
        pause = 1 + below(50); /* bursts */
    sim_at(sim_now() + pause, turn, a, a->generation);
}

/* The call is over: what belongs to it follows, or a pause. */
static void next(struct app *a)
{
    if (sim_tracing() && work.history->ops.count)
        trace_op(&work.history->ops.items[a->last_op]);
    void (*then)(struct app *) = a->then;
    a->then = NULL;
    if (then)
        then(a);
    else
        rest(a);
}

static void on_simple(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)finish(a, r);
    next(a);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void any_dir(char path[PATH_SPACE])
{
    (void)snprintf(path, PATH_SPACE, "/d%u", (unsigned)below(DIRS));
}

static void any_path(char path[PATH_SPACE])
{
    unsigned dir = (unsigned)below(DIRS + 3), file = (unsigned)below(FILES);
    if (dir < DIRS)
        (void)snprintf(path, PATH_SPACE, "/d%u/f%u", dir, file);
    else
        (void)snprintf(path, PATH_SPACE, "/f%u", file);
}

static void log_path(char path[PATH_SPACE])
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
static unsigned any_fd(const struct app *a, bool log, bool writable)
{
    unsigned from = (unsigned)below(FDS);
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
    (void)finish(a, r);
    a->fds[a->slot].fd = 0;
    next(a);
}

static void close_fd(struct app *a, unsigned slot)
{
    (void)begin_fd(a, H_CLOSE, slot);
    sys_close(kernel_of(a), a->fds[slot].fd, on_close, a);
}

static void on_open(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    if (r->err == 0) {
        op->file = r->ino;
        a->opening.fd = r->value;
        a->opening.ino = r->ino;
        a->slot = free_slot(a);
        a->fds[a->slot] = a->opening;
    } else {
        a->then = a->number == READER_APP ? read_back_next : NULL;
        a->replacing = 0;
    }
    next(a);
}

/* False: all slots are taken, and one is being closed instead. */
static bool open_path(struct app *a, const char *path, int flags)
{
    if (free_slot(a) == FDS) {
        a->then = NULL;
        close_fd(a, (unsigned)below(FDS));
        return false;
    }
    struct history_op *op = begin_path(a, flags & O_CREAT ? H_CREATE : H_OPEN, path, NULL);
    op->exclusive = (flags & O_EXCL) != 0;
    a->opening = (struct fd){.writable = (flags & O_ACCMODE) != O_RDONLY,
                             .log = strncmp(path, "/log", 4) == 0};
    (void)snprintf(a->opening.path, sizeof a->opening.path, "%s", path);
    sys_open(kernel_of(a), path, flags, 0644, on_open, a);
    return true;
}

/* ---- data ------------------------------------------------------------------------------------ */

static void on_write(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    finish(a, r)->bytes = r->value;
    next(a);
}

static void write_units(struct app *a, unsigned slot, uint32_t first, uint32_t count)
{
    struct history_op *op = begin_fd(a, H_WRITE, slot);
    op->page = first;
    op->pages = count;
    op->stamp = new_stamp();
    struct blob *data = history_units(op->stamp, first, count);
    sys_write(kernel_of(a), a->fds[slot].fd, (uint64_t)first * HISTORY_UNIT, data, on_write, a);
    blob_unref(data);
}

static void on_read(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    if (r->err == 0) {
        op->bytes = r->value;
        op->stamps = history_stamps(r->data, op->page, op->pages);
        op->stamps_count = op->pages;
        for (uint32_t i = 0; i < op->pages; i++) {
            op->torn |= op->stamps[i] == HISTORY_TORN;
            sim_mix(op->stamps[i], op->page + i);
        }
    }
    next(a);
}

static void read_units(struct app *a, unsigned slot, uint32_t first, uint32_t count)
{
    struct history_op *op = begin_fd(a, H_READ, slot);
    op->page = first;
    op->pages = count;
    sys_read(kernel_of(a), a->fds[slot].fd, (uint64_t)first * HISTORY_UNIT,
             (uint64_t)count * HISTORY_UNIT, on_read, a);
}

static void on_stat(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    if (r->err == 0) {
        op->file = r->ino;
        op->size = r->size;
        op->nlink = r->nlink;
        op->mtime = r->mtime;
        sim_mix(r->size, (uint64_t)r->mtime);
        if (work.reading_back && (S_ISDIR(r->mode) || S_ISLNK(r->mode)))
            op->bytes = S_ISDIR(r->mode) ? WALK_DIR : WALK_LINK;
    }
    next(a);
}

/* ---- append-only files ----------------------------------------------------------------------- */

static void append_record(struct app *a, unsigned slot)
{
    struct history_op *op = begin_fd(a, H_APPEND, slot);
    op->stamp = new_stamp();
    op->bytes = HISTORY_RECORD + 8 * below(below(8) == 0 ? 1600 : 60);
    struct blob *data = history_record(op->stamp, (uint32_t)op->bytes);
    sys_write(kernel_of(a), a->fds[slot].fd, 0, data, on_simple, a);
    blob_unref(data);
}

static void close_current(struct app *a)
{
    close_fd(a, a->slot);
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
        sys_read(kernel_of(a), a->fds[a->slot].fd, all->size, READ_CHUNK, on_read_all, a);
        return;
    }
    struct history_op *op = finish(a, r);
    op->pages = a->reads;
    if (r->err == 0 && a->read) {
        op->bytes = a->read->size;
        op->stamps_count = history_records(a->read->data, a->read->size, &op->stamps, &op->torn);
    }
    blob_unref(a->read);
    a->read = NULL;
    if (!work.reading_back)
        a->then = close_current;
    next(a);
}

static void read_all(struct app *a)
{
    (void)begin_fd(a, H_READ_ALL, a->slot);
    a->reads = 0;
    sys_read(kernel_of(a), a->fds[a->slot].fd, 0, READ_CHUNK, on_read_all, a);
}

/* ---- names and directories ------------------------------------------------------------------- */

static int compare_stamps(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void on_list(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    op->pages = (uint32_t)r->value;
    if (r->err == 0) {
        op->stamps = xcalloc(r->names_count + 1, sizeof *op->stamps);
        op->stamps_count = r->names_count;
        for (size_t i = 0; i < r->names_count; i++)
            op->stamps[i] = hash64(r->names[i], strlen(r->names[i]));
        qsort(op->stamps, op->stamps_count, sizeof *op->stamps, compare_stamps);
        for (size_t i = 0; work.reading_back && i < r->names_count; i++) {
            char path[2 * PATH_SPACE];
            (void)snprintf(path, sizeof path, "%s/%s", strcmp(op->path, "/") == 0 ? "" : op->path,
                           r->names[i]);
            vec_push(&a->paths, xstrdup(path));
        }
    }
    next(a);
}

static void list(struct app *a, const char *path)
{
    begin_path(a, H_LIST, path, NULL)->leaderless =
        mount_client(mount_of(a))->leaderless_since != 0;
    sys_readdir(kernel_of(a), path, on_list, a);
}

static void on_xattr(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    if (r->err == 0 && r->data && r->data->size == sizeof op->stamp)
        memcpy(&op->stamp, r->data->data, sizeof op->stamp);
    op->file = r->ino;
    next(a);
}

static void xattr(struct app *a, const char *path, bool set)
{
    struct history_op *op = begin_path(a, set ? H_SETXATTR : H_GETXATTR, path, NULL);
    if (!set) {
        sys_getxattr(kernel_of(a), path, "user.stamp", on_xattr, a);
        return;
    }
    op->stamp = new_stamp();
    struct blob *value = blob_copy(&op->stamp, sizeof op->stamp);
    sys_setxattr(kernel_of(a), path, "user.stamp", value, on_xattr, a);
    blob_unref(value);
}

static void rename_path(struct app *a, const char *from, const char *to, bool exclusive)
{
    begin_path(a, H_RENAME, from, to)->exclusive = exclusive;
    sys_rename(kernel_of(a), from, to, exclusive ? 1 : 0, on_simple, a);
}

/* The rename of the file in the slot is over. */
static void note_named(struct app *a)
{
    const struct history_op rename = work.history->ops.items[a->last_op];
    if (rename.kind != H_RENAME || rename.end == 0 || rename.err)
        return;
    struct history_op *op = new_op(H_NAMED, a->mount);
    op->app = a->number;
    op->session = rename.session;
    op->file = a->fds[a->slot].ino;
    op->start = rename.start;
    op->end = rename.end;
}

/* Replace by rename, as editors do: write a new file, sync it or not, rename it over the old. */
static void replace_step(struct app *a)
{
    char temp[PATH_SPACE];
    (void)snprintf(temp, sizeof temp, "/t%u-%u", a->mount, a->number);
    unsigned step = a->replacing++;
    if (step == 2 && below(2))
        step = a->replacing++;
    a->then = replace_step;
    switch (step) {
    case 0:
        if (!open_path(a, temp, O_RDWR | O_CREAT | O_EXCL))
            a->replacing = 0;
        break;
    case 1:
        write_units(a, a->slot, 0, 1 + (uint32_t)below(8));
        break;
    case 2:
        (void)begin_fd(a, H_FSYNC, a->slot);
        sys_fsync(kernel_of(a), a->fds[a->slot].fd, on_simple, a);
        break;
    case 3:
        (void)snprintf(a->fds[a->slot].path, PATH_SPACE, "%s", a->target);
        rename_path(a, temp, a->target, false);
        break;
    default:
        note_named(a);
        a->then = NULL;
        a->replacing = 0;
        close_fd(a, a->slot);
        break;
    }
}

/* ---- one step -------------------------------------------------------------------------------- */

static enum work draw_work(void)
{
    uint64_t at = below(work.weights_sum);
    for (unsigned w = 0; w < WORK_COUNT; w++) {
        if (at < work.weights[w])
            return (enum work)w;
        at -= work.weights[w];
    }
    return WORK_READ;
}

static void open_some(struct app *a, bool writable)
{
    char path[PATH_SPACE];
    any_path(path);
    (void)open_path(a, path,
                    (writable || below(2) ? O_RDWR : O_RDONLY) | (below(3) == 0 ? O_CREAT : 0));
}

static void do_write(struct app *a, bool big)
{
    unsigned s = any_fd(a, false, true);
    if (s == FDS) {
        open_some(a, true);
    } else if (big) {
        uint32_t count = 33 + (uint32_t)below(below(10) == 0 ? BIG_UNITS - 33 : 48);
        write_units(a, s, (uint32_t)below(8), count);
    } else {
        uint32_t count = 1 + (uint32_t)below(below(4) == 0 ? 40 : 6);
        write_units(a, s, (uint32_t)below(below(4) == 0 ? FAR_UNITS : NEAR_UNITS), count);
    }
}

static void do_read(struct app *a)
{
    unsigned s = any_fd(a, false, false);
    if (s == FDS)
        open_some(a, false);
    else if (below(5) == 0)
        read_units(a, s, 0, FAR_UNITS);
    else
        read_units(a, s, (uint32_t)below(NEAR_UNITS), 1 + (uint32_t)below(12));
}

static void do_stat(struct app *a)
{
    unsigned s = any_fd(a, below(6) == 0, false);
    if (s != FDS && below(2)) {
        (void)begin_fd(a, H_STAT, s);
        sys_fstat(kernel_of(a), a->fds[s].fd, on_stat, a);
        return;
    }
    char path[PATH_SPACE];
    any_path(path);
    (void)begin_path(a, H_STAT, path, NULL);
    sys_stat(kernel_of(a), path, on_stat, a);
}

static void do_append(struct app *a)
{
    unsigned s = any_fd(a, true, true);
    char path[PATH_SPACE];
    log_path(path);
    if (s == FDS)
        (void)open_path(a, path, O_WRONLY | O_APPEND | O_CREAT);
    else if (strcmp(a->fds[s].path, path) != 0 && below(8) == 0)
        close_fd(a, s);
    else
        append_record(a, s);
}

static void do_read_log(struct app *a)
{
    char path[PATH_SPACE];
    log_path(path);
    a->then = read_all;
    (void)open_path(a, path, O_RDONLY);
}

static void do_truncate(struct app *a)
{
    unsigned s = any_fd(a, false, true);
    if (s == FDS) {
        open_some(a, true);
        return;
    }
    struct history_op *op = begin_fd(a, H_TRUNCATE, s);
    op->pages = below(3) == 0 ? 0 : (uint32_t)below(below(4) == 0 ? FAR_UNITS : NEAR_UNITS);
    sys_ftruncate(kernel_of(a), a->fds[s].fd, (uint64_t)op->pages * HISTORY_UNIT, on_simple, a);
}

static void do_unlink(struct app *a, const char *path)
{
    (void)begin_path(a, H_UNLINK, path, NULL);
    sys_unlink(kernel_of(a), path, on_simple, a);
}

static void do_rename(struct app *a)
{
    char from[PATH_SPACE], to[PATH_SPACE];
    any_path(from);
    any_path(to);
    if (below(2)) {
        (void)snprintf(a->target, sizeof a->target, "%s", to);
        a->replacing = 0;
        replace_step(a);
    } else if (below(12) == 0) { /* whole directories */
        any_dir(from);
        any_dir(to);
        rename_path(a, from, to, below(2));
    } else {
        rename_path(a, from, to, below(4) == 0);
    }
}

static void do_link(struct app *a)
{
    char from[PATH_SPACE], to[PATH_SPACE];
    any_path(from);
    any_path(to);
    (void)begin_path(a, H_LINK, from, to);
    sys_link(kernel_of(a), from, to, on_simple, a);
}

static void do_dir(struct app *a, enum work what)
{
    char path[PATH_SPACE];
    any_dir(path);
    if (what == WORK_LIST) {
        list(a, below(2) ? "/" : path);
    } else if (what == WORK_MKDIR) {
        (void)begin_path(a, H_MKDIR, path, NULL);
        sys_mkdir(kernel_of(a), path, 0755, on_simple, a);
    } else {
        (void)begin_path(a, H_RMDIR, path, NULL);
        sys_rmdir(kernel_of(a), path, on_simple, a);
    }
}

static void on_symlink(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    finish(a, r)->file = r->ino;
    next(a);
}

static void on_readlink(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    struct history_op *op = finish(a, r);
    op->file = r->ino;
    for (size_t i = 0; r->err == 0 && r->data && i < r->data->size; i++)
        op->stamp = op->stamp * 10 + r->data->data[i] - '0';
    next(a);
}

static void read_link(struct app *a, const char *path)
{
    (void)begin_path(a, H_READLINK, path, NULL);
    sys_readlink(kernel_of(a), path, on_readlink, a);
}

/* Links are made, read and removed under names of their own; nobody follows them. */
static void do_symlink(struct app *a)
{
    char path[PATH_SPACE], target[24];
    uint64_t what = below(5);
    (void)snprintf(path, sizeof path, "/s%u", (unsigned)below(4));
    if (what == 0) {
        do_unlink(a, path);
    } else if (what < 4) {
        read_link(a, path);
    } else {
        struct history_op *op = begin_path(a, H_SYMLINK, path, NULL);
        op->stamp = new_stamp();
        op->exclusive = true;
        (void)snprintf(target, sizeof target, "%llu", (unsigned long long)op->stamp);
        sys_symlink(kernel_of(a), target, path, on_symlink, a);
    }
}

static void do_exclusive(struct app *a)
{
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "/x%u",
                   (unsigned)(sim_now() / (EXCLUSIVE_AGE * TIME_S)) % 32);
    if (below(3) == 0)
        do_symlink(a);
    else if (below(4) == 0)
        do_unlink(a, path);
    else
        (void)open_path(a, path, O_RDWR | O_CREAT | O_EXCL);
}

static void do_sync_or_close(struct app *a, enum work what)
{
    unsigned s = any_fd(a, below(5) == 0, false);
    if (s == FDS) {
        open_some(a, true);
    } else if (what == WORK_CLOSE) {
        close_fd(a, s);
    } else {
        (void)begin_fd(a, H_FSYNC, s);
        sys_fsync(kernel_of(a), a->fds[s].fd, on_simple, a);
    }
}

static void do_work(struct app *a, enum work what)
{
    char path[PATH_SPACE];
    any_path(path);
    switch (what) {
    case WORK_CREATE:
        (void)open_path(a, path, O_RDWR | O_CREAT | (below(2) ? O_EXCL : 0));
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
        unsigned s = any_fd(a, false, false);
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
        xattr(a, path, below(2));
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
            close_fd(a, s);
            return true;
        }
    }
    return false;
}

static void turn(void *ctx, uint64_t generation)
{
    struct app *a = ctx;
    if (!a->alive || a->generation != generation || a->op != NONE)
        return;
    if (!work.draining)
        do_work(a, draw_work());
    else
        (void)close_next(a);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void app_begin(uint32_t mount, uint32_t number)
{
    struct app *a = &work.apps[mount][number];
    *a = (struct app){.mount = mount,
                      .number = number,
                      .alive = true,
                      .generation = ++work.generation,
                      .op = NONE};
}

static void app_end(struct app *a)
{
    a->alive = false;
    a->op = NONE;
    blob_unref(a->read);
    a->read = NULL;
    for (size_t i = 0; i < a->paths.count; i++)
        free(a->paths.items[i]);
    vec_done(&a->paths);
}

static void event(uint32_t mount, enum history_kind kind, uint64_t session)
{
    struct history_op *op = new_op(kind, mount);
    op->end = op->start;
    op->session = session;
    sim_trace("app m%u %s session=%llu", mount, kind_names[kind], (unsigned long long)session);
}

void workload_start(struct history *h)
{
    uint32_t given = 0;
    memset(&work, 0, sizeof work);
    work.history = h;
    h->session_consistency = sim_swarm()->session_consistency;
    for (unsigned w = 0; w < WORK_COUNT; w++)
        given += sim_swarm()->mix[w];
    for (unsigned w = 0; w < WORK_COUNT; w++) {
        work.weights[w] = given ? sim_swarm()->mix[w] : usual_mix[w];
        work.weights_sum += work.weights[w];
    }
}

void workload_mount_up(uint32_t mount)
{
    uint32_t life = process_of(process_nodes() + mount)->life;
    if (!work.history || work.apps[mount][1].alive)
        return;
    work.life[mount] = life;
    event(mount, H_MOUNT_STARTED, 0);
    for (uint32_t i = 1; i <= sim_swarm()->apps; i++) {
        app_begin(mount, i);
        rest(&work.apps[mount][i]);
    }
}

void workload_mount_down(uint32_t mount)
{
    for (uint32_t i = 1; i < SLOTS; i++)
        if (work.apps[mount][i].alive)
            app_end(&work.apps[mount][i]);
}

void workload_mount_killed(uint32_t mount)
{
    if (work.history)
        event(mount, H_MOUNT_KILLED, 0);
}

void workload_session_lost(uint32_t mount, uint64_t session)
{
    if (work.history)
        event(mount, H_SESSION_LOST, session);
}

bool workload_drained(void)
{
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        for (uint32_t i = 1; i < READER_APP; i++) {
            const struct app *a = &work.apps[m][i];
            if (!a->alive)
                continue;
            if (a->op != NONE || a->then)
                return false;
            for (unsigned s = 0; s < FDS; s++)
                if (a->fds[s].fd)
                    return false;
        }
    return true;
}

void workload_drain(void)
{
    work.draining = true;
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        for (uint32_t i = 1; i < READER_APP; i++)
            if (work.apps[m][i].alive)
                sim_at(sim_now(), turn, &work.apps[m][i], work.apps[m][i].generation);
}

/* ---- reading everything back ----------------------------------------------------------------- */

static void read_back_close(struct app *a)
{
    a->then = read_back_next;
    close_fd(a, a->slot);
}

static void read_back_file(struct app *a)
{
    a->then = read_back_close;
    if (a->fds[a->slot].log) {
        read_all(a);
    } else {
        read_units(a, a->slot, 0, BIG_UNITS + 16);
    }
}

static void read_back_open(struct app *a)
{
    const struct history_op *op = &work.history->ops.items[a->last_op];
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s", op->path);
    if (op->err) {
        read_back_next(a);
    } else if (op->bytes == WALK_LINK) {
        a->then = read_back_next;
        read_link(a, path);
    } else if (op->bytes) {
        a->then = read_back_next;
        list(a, path);
    } else {
        a->then = read_back_file;
        (void)open_path(a, path, O_RDONLY);
    }
}

static void read_back_stat(struct app *a)
{
    const struct history_op *op = &work.history->ops.items[a->last_op];
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s", op->path);
    a->then = read_back_open;
    (void)begin_path(a, H_STAT, path, NULL);
    sys_stat(kernel_of(a), path, on_stat, a);
}

static void read_back_next(struct app *a)
{
    if (a->paths.count == 0) {
        app_end(a);
        if (--work.readers == 0)
            work.read_back_done();
        return;
    }
    char *path = vec_pop(&a->paths);
    a->then = read_back_stat;
    xattr(a, path, false);
    free(path);
}

void workload_read_back(void (*done)(void))
{
    work.read_back_done = done;
    work.reading_back = true;
    for (uint32_t m = 1; m <= sim_swarm()->mounts; m++) {
        struct process *p = process_of(process_nodes() + m);
        if (!p->up || p->frozen || !p->mount)
            continue;
        work.readers++;
        app_begin(m, READER_APP);
    }
    unsigned readers = work.readers;
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++) {
        struct app *a = &work.apps[m][READER_APP];
        if (!a->alive)
            continue;
        a->then = read_back_next;
        list(a, "/");
    }
    if (readers == 0)
        done();
}

void workload_free(void)
{
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        workload_mount_down(m);
    work.history = NULL;
}
