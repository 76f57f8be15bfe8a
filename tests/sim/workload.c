/* Applications: each does one system call after another, with pauses, and writes down what it did
 * and saw. Names are few and shared by all mounts, so that leases and promises move. */
#include "tests/sim/workload_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct workload workload;

static const uint32_t usual_mix[WORK_COUNT] = {
    [WORK_CREATE] = 60, [WORK_WRITE] = 200,   [WORK_WRITE_BIG] = 6,  [WORK_READ] = 200,
    [WORK_FSYNC] = 40,  [WORK_CLOSE] = 60,    [WORK_TRUNCATE] = 25,  [WORK_STAT] = 80,
    [WORK_APPEND] = 60, [WORK_READ_LOG] = 10, [WORK_UNLINK] = 30,    [WORK_UNLINK_OPEN] = 10,
    [WORK_RENAME] = 40, [WORK_LINK] = 15,     [WORK_MKDIR] = 10,     [WORK_RMDIR] = 8,
    [WORK_LIST] = 20,   [WORK_XATTR] = 20,    [WORK_EXCLUSIVE] = 20,
};

/* ---- turns ----------------------------------------------------------------------------------- */

static void rest(struct app *a)
{
    time_us pause = workload.draining ? 1 : sim_exp(RND_WORK, sim_swarm()->think_us);
    if (!workload.draining && work_below(4) == 0)
        pause = 1 + work_below(50); /* bursts */
    sim_at(sim_now() + pause, app_turn, a, a->generation);
}

/* The call is over: what belongs to it follows, or a pause. */
void app_next(struct app *a)
{
    if (sim_tracing() && workload.history->ops.count)
        app_trace_op(&workload.history->ops.items[a->last_op]);
    void (*then)(struct app *) = a->then;
    a->then = NULL;
    if (then)
        then(a);
    else
        rest(a);
}

void app_on_simple(void *ctx, const struct sys_result *r)
{
    struct app *a = ctx;
    (void)app_finish(a, r);
    app_next(a);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void app_begin(uint32_t mount, uint32_t number)
{
    struct app *a = &workload.apps[mount][number];
    *a = (struct app){.mount = mount,
                      .number = number,
                      .alive = true,
                      .generation = ++workload.generation,
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
    struct history_op *op = app_new_op(kind, mount);
    op->end = op->start;
    op->session = session;
    sim_trace("app m%u %s session=%llu", mount, app_kind_names[kind], (unsigned long long)session);
}

void workload_start(struct history *h)
{
    uint32_t given = 0;
    memset(&workload, 0, sizeof workload);
    workload.history = h;
    h->session_mounts = sim_swarm()->session_mounts;
    for (unsigned w = 0; w < WORK_COUNT; w++)
        given += sim_swarm()->mix[w];
    for (unsigned w = 0; w < WORK_COUNT; w++) {
        workload.weights[w] = given ? sim_swarm()->mix[w] : usual_mix[w];
        workload.weights_sum += workload.weights[w];
    }
}

void workload_mount_up(uint32_t mount)
{
    uint32_t life = process_of(process_nodes() + mount)->life;
    if (!workload.history || workload.apps[mount][1].alive)
        return;
    workload.life[mount] = life;
    event(mount, H_MOUNT_STARTED, 0);
    for (uint32_t i = 1; i <= sim_swarm()->apps; i++) {
        app_begin(mount, i);
        rest(&workload.apps[mount][i]);
    }
}

void workload_mount_down(uint32_t mount)
{
    for (uint32_t i = 1; i < SLOTS; i++)
        if (workload.apps[mount][i].alive)
            app_end(&workload.apps[mount][i]);
}

void workload_mount_killed(uint32_t mount)
{
    if (workload.history)
        event(mount, H_MOUNT_KILLED, 0);
}

void workload_session_lost(uint32_t mount, uint64_t session)
{
    if (workload.history)
        event(mount, H_SESSION_LOST, session);
}

bool workload_drained(void)
{
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        for (uint32_t i = 1; i < READER_APP; i++) {
            const struct app *a = &workload.apps[m][i];
            if (!a->alive)
                continue;
            if (a->op != NONE || a->then || a->asking)
                return false;
            for (unsigned s = 0; s < FDS; s++)
                if (a->fds[s].fd)
                    return false;
        }
    return true;
}

void workload_drain(void)
{
    workload.draining = true;
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        for (uint32_t i = 1; i < READER_APP; i++)
            if (workload.apps[m][i].alive)
                sim_at(sim_now(), app_turn, &workload.apps[m][i], workload.apps[m][i].generation);
}

/* ---- reading everything back ----------------------------------------------------------------- */

static void read_back_close(struct app *a)
{
    a->then = app_read_back_next;
    app_close_fd(a, a->slot);
}

static void read_back_file(struct app *a)
{
    a->then = read_back_close;
    if (a->fds[a->slot].log) {
        app_read_all(a);
    } else {
        app_read_units(a, a->slot, 0, BIG_UNITS + 16);
    }
}

static void read_back_open(struct app *a)
{
    const struct history_op *op = &workload.history->ops.items[a->last_op];
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s", op->path);
    if (op->err) {
        app_read_back_next(a);
    } else if (op->bytes == WALK_LINK) {
        a->then = app_read_back_next;
        app_read_link(a, path);
    } else if (op->bytes) {
        a->then = app_read_back_next;
        app_list(a, path);
    } else {
        a->then = read_back_file;
        (void)app_open_path(a, path, O_RDONLY);
    }
}

static void read_back_stat(struct app *a)
{
    const struct history_op *op = &workload.history->ops.items[a->last_op];
    char path[PATH_SPACE];
    (void)snprintf(path, sizeof path, "%s", op->path);
    a->then = read_back_open;
    (void)app_begin_path(a, H_STAT, path, NULL);
    sys_stat(app_kernel(a), path, app_on_stat, a);
}

void app_read_back_next(struct app *a)
{
    if (a->paths.count == 0) {
        app_end(a);
        if (--workload.readers == 0)
            workload.read_back_done();
        return;
    }
    char *path = vec_pop(&a->paths);
    a->then = read_back_stat;
    app_xattr(a, path, false);
    free(path);
}

void workload_read_back(void (*done)(void))
{
    workload.read_back_done = done;
    workload.reading_back = true;
    for (uint32_t m = 1; m <= sim_swarm()->mounts; m++) {
        struct process *p = process_of(process_nodes() + m);
        if (!p->up || p->frozen || !p->mount)
            continue;
        workload.readers++;
        app_begin(m, READER_APP);
    }
    unsigned readers = workload.readers;
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++) {
        struct app *a = &workload.apps[m][READER_APP];
        if (!a->alive)
            continue;
        a->then = app_read_back_next;
        app_list(a, "/");
    }
    if (readers == 0)
        done();
}

void workload_free(void)
{
    for (uint32_t m = 1; m <= SIM_MOUNTS_MAX; m++)
        workload_mount_down(m);
    workload.history = NULL;
}
