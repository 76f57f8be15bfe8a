/* The phases of a run: faults while applications work; then a healed majority that must come to
 * rest; then everything is read back and judged. */
#include <errno.h>
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/net.h"
#include "tests/sim/sim_internal.h"
#include "tests/sim/workload.h"

#define WORK_ON   (5 * TIME_S)   /* healed, and applications still work */
#define DRAIN_MAX (150 * TIME_S) /* operations under way must have ended: deadlines are 30 s */
#define SETTLE                                                                                     \
    (35 * TIME_S) /* and what is in the background, too: times of reads come after 30 s */
#define READ_MAX (120 * TIME_S)

static bool read_back;

static void on_read_back(void)
{
    read_back = true;
}

static bool is_read_back(void)
{
    return read_back;
}

static void start(void *ctx, uint64_t arg)
{
    (void)arg;
    process_start(ctx);
}

static void start_all(struct history *h)
{
    process_make_all();
    net_start();
    checks_start();
    workload_start(h);
    for (uint32_t id = 1; id <= process_count(); id++)
        sim_at(sim_now() + sim_below(RND_PROCESS, 200 * TIME_MS), start, process_of(id), 0);
    nemesis_start();
}

static void heal_and_settle(void)
{
    nemesis_heal();
    time_us since = sim_now();
    sim_run_until(since + WORK_ON, NULL);
    workload_drain();
    sim_run_until(sim_now() + DRAIN_MAX, workload_drained);
    if (sim_failed())
        return;
    if (!workload_drained())
        sim_complain("progress", "an application still waits %llu s after healing",
                     (unsigned long long)((sim_now() - since) / TIME_S));
    sim_run_until(sim_now() + SETTLE, NULL);
    if (!sim_failed())
        check_progress_healed(since);
    if (!sim_failed())
        check_blocks_rest();
}

static void read_everything_back(void)
{
    read_back = false;
    workload_read_back(on_read_back);
    sim_run_until(sim_now() + READ_MAX, is_read_back);
    if (!sim_failed() && !read_back)
        sim_complain("progress", "reading everything back does not end");
}

/* Behind the healed phase there is nothing left to wait for. */
static void check_reads_succeed(const struct history *h, time_us since)
{
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (op->start >= since && op->end && (op->err == ETIMEDOUT || op->err == EIO))
            sim_complain("progress", "m%u.%u: %s in the healed cluster, on file %llu %s", op->mount,
                         op->app, op->err == EIO ? "EIO" : "ETIMEDOUT",
                         (unsigned long long)op->file, op->path ? op->path : "");
    }
}

static void judge(struct history *h)
{
    sim_count(COUNT_COMMITS, check_log_last());
    check_queue(h);
    check_registers(h);
    check_one_commit(h);
    check_durability(h);
    check_appends(h);
    check_names(h);
    check_sessions(h);
    check_times(h);
    check_sizes(h);
    check_attrs(h);
    check_errors(h);
    check_locks(h);
}

struct sim_result sim_run(const struct sim_options *options)
{
    struct history history = {0};
    sim_begin(options);
    history.session_mounts = sim_swarm()->session_mounts;
    start_all(&history);
    sim_run_until(sim_now() + options->length, NULL);
    if (!sim_failed())
        heal_and_settle();
    history.settled = sim_now();
    if (!sim_failed())
        read_everything_back();
    check_reads_succeed(&history, history.settled);
    if (!sim_failed())
        judge(&history);
    process_free_all();
    net_free();
    disk_free_all();
    workload_free();
    checks_end();
    history_done(&history);
    return sim_end();
}
