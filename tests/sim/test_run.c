#include "tests/sim/test_run.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "repl/io/store.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/disk.h"
#include "tests/sim/mount.h"

struct test_run run;

void test_run_start(void)
{
    run = (struct test_run){
        .now = 1 * TIME_S, .nodes = 3, .durable_entry = ~0u, .durable_block = ~0u};
    run.swarm.copies = 2;
    run.swarm.witnesses = 1;
    run.swarm.leader_lease = true;
    for (uint32_t id = 1; id <= run.nodes; id++) {
        run.processes[id] = (struct process){.id = id, .kind = PROCESS_NODE, .up = true};
        run.durable_last[id] = UINT64_MAX;
    }
}

void expect_complaint(const char *checker, const char *words)
{
    ck_assert_msg(run.checker[0] != 0, "no complaint, wanted %s: %s", checker, words);
    ck_assert_str_eq(run.checker, checker);
    ck_assert_msg(strstr(run.detail, words) != NULL, "complaint \"%s\" lacks \"%s\"", run.detail,
                  words);
    run.checker[0] = 0;
}

void expect_silence(void)
{
    ck_assert_msg(run.checker[0] == 0, "%s: %s", run.checker, run.detail);
}

/* ---- the run's side ----------------------------------------------------------------------------
 */

void sim_complain(const char *checker, const char *format, ...)
{
    va_list args;
    if (run.checker[0])
        return;
    (void)snprintf(run.checker, sizeof run.checker, "%s", checker);
    va_start(args, format);
    (void)vsnprintf(run.detail, sizeof run.detail, format, args);
    va_end(args);
}

bool sim_failed(void)
{
    return run.checker[0] != 0;
}

time_us sim_now(void)
{
    return run.now;
}

const struct sim_swarm *sim_swarm(void)
{
    return &run.swarm;
}

void sim_count(enum sim_counter counter, uint64_t n)
{
}

struct process *process_of(uint32_t id)
{
    return id && id <= run.nodes ? &run.processes[id] : NULL;
}

uint32_t process_nodes(void)
{
    return run.nodes;
}

uint32_t process_count(void)
{
    return run.nodes; /* no mounts */
}

struct client *mount_client(struct mount *m)
{
    return NULL;
}

time_us process_clock(const struct process *p)
{
    return run.now + p->clock_base;
}

/* ---- disks -------------------------------------------------------------------------------------
 */

struct disk {
    uint32_t node;
};

struct disk *disk_of(uint32_t node)
{
    static struct disk disks[SIM_NODES_MAX + 1];
    disks[node].node = node;
    return &disks[node];
}

bool disk_durable_entry(const struct disk *d, uint64_t index, uint64_t term)
{
    return run.durable_entry & 1u << d->node;
}

bool disk_durable_block(const struct disk *d, const struct block_ref *ref)
{
    return run.durable_block & 1u << d->node;
}

__attribute__((weak)) bool disk_written_block(const struct disk *d, const struct block_ref *ref)
{
    return disk_durable_block(d, ref);
}

bool disk_damaged(const struct disk *d, struct block_name name)
{
    return false;
}

uint64_t disk_durable_last(const struct disk *d)
{
    return run.durable_last[d->node];
}

void disk_durable_vote(const struct disk *d, uint64_t *ret_term, uint32_t *ret_vote)
{
    *ret_term = *ret_vote = 0;
}

uint64_t store_missing_count(const struct store *s)
{
    return run.missing;
}

void store_each_missing(struct store *s, store_block_fn *each, void *ctx)
{
    for (uint64_t n = 1; n <= run.missing; n++)
        if (!each(ctx, &(struct block_ref){{11, n}, 4096, n}))
            return;
}

bool store_has(struct store *s, const struct block_ref *ref)
{
    return run.holder && s == run.holder;
}

struct kv *store_kv(struct store *s)
{
    return run.kv;
}

/* Has a test of its own. */
__attribute__((weak)) void check_blocks_start(void)
{
}

__attribute__((weak)) void check_blocks_opened(struct process *p)
{
}
