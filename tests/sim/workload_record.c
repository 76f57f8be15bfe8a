/* What applications write into the history, and signals that interrupt their calls. */
#include "tests/sim/workload_internal.h"

#include <assert.h>
#include <stdio.h>

/* ---- whose it is ----------------------------------------------------------------------------- */

struct mount *app_mount(const struct app *a)
{
    struct process *p = process_of(process_nodes() + a->mount);
    return p->up ? p->mount : NULL;
}

struct kernel *app_kernel(const struct app *a)
{
    return mount_kernel(app_mount(a));
}

uint64_t work_below(uint64_t n)
{
    return sim_below(RND_WORK, n);
}

/* ---- the history ----------------------------------------------------------------------------- */

struct history_op *app_new_op(enum history_kind kind, uint32_t mount)
{
    vec_push(&workload.history->ops, (struct history_op){.kind = kind,
                                                         .mount = mount,
                                                         .life = workload.life[mount],
                                                         .start = sim_now(),
                                                         .end = 0});
    return &workload.history->ops.items[workload.history->ops.count - 1];
}

static void on_signal(void *ctx, uint64_t op)
{
    struct app *a = ctx;
    if (a->alive && a->op == op && app_mount(a))
        sys_interrupt(app_kernel(a), a);
}

static struct history_op *begin(struct app *a, enum history_kind kind)
{
    assert(a->op == NONE);
    struct history_op *op = app_new_op(kind, a->mount);
    op->app = a->number;
    op->session = mount_session(app_mount(a));
    a->op = workload.history->ops.count - 1;
    if (!workload.reading_back && work_below(INTERRUPTED) == 0)
        sim_at(sim_now() + 1 + work_below(work_below(2) ? 5 * TIME_MS : 3 * TIME_S), on_signal, a,
               a->op);
    return op;
}

struct history_op *app_begin_fd(struct app *a, enum history_kind kind, unsigned slot)
{
    struct history_op *op = begin(a, kind);
    a->slot = slot;
    op->file = a->fds[slot].ino;
    op->guarded = a->fds[slot].locked;
    return op;
}

struct history_op *app_begin_path(struct app *a, enum history_kind kind, const char *path,
                                  const char *path2)
{
    struct history_op *op = begin(a, kind);
    op->path = xstrdup(path);
    op->path2 = path2 ? xstrdup(path2) : NULL;
    return op;
}

const char *const app_kind_names[] = {
    "create",   "write",  "read",    "fsync", "close", "truncate", "stat",    "append",
    "readall",  "unlink", "rename",  "link",  "mkdir", "rmdir",    "list",    "setxattr",
    "getxattr", "killed", "started", "open",  "lost",  "named",    "symlink", "readlink",
    "lock",     "unlock", "punch",   "copy",  "chmod", "chown",    "utimens"};

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

void app_trace_op(const struct history_op *op)
{
    char seen[512];
    stamps_text(op, seen, sizeof seen);
    sim_trace("app m%u.%u %s %s%s%s file=%llu page=%u+%u stamp=%llu bytes=%llu size=%llu err=%d "
              "from=%llu saw %s",
              op->mount, op->app, app_kind_names[op->kind], op->path ? op->path : "",
              op->path2 ? " " : "", op->path2 ? op->path2 : "", (unsigned long long)op->file,
              op->page, op->pages, (unsigned long long)op->stamp, (unsigned long long)op->bytes,
              (unsigned long long)op->size, op->err, (unsigned long long)op->start, seen);
}

struct history_op *app_finish(struct app *a, const struct sys_result *r)
{
    struct history_op *op = &workload.history->ops.items[a->op];
    op->end = sim_now();
    op->err = r->err;
    op->q = r->q;
    op->q_session = r->q_session;
    a->last_op = a->op;
    a->op = NONE;
    sim_count(COUNT_OPS, 1);
    return op;
}

uint64_t app_new_stamp(void)
{
    return ++workload.last_stamp;
}
