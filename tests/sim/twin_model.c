/* The simulator's disk, and as much of a run as it needs: moments in their order, no chance, no
 * checkers. */
#include <stdlib.h>

#include "tests/sim/check.h"
#include "tests/sim/check_mounts.h"
#include "tests/sim/disk.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/sim_internal.h"
#include "tests/sim/twin.h"

struct moment {
    time_us at;
    sim_fn *fn;
    void *ctx;
    uint64_t arg;
};

static struct moment moments[256];
static size_t count;
static time_us now = 1;

void sim_at(time_us at, sim_fn *fn, void *ctx, uint64_t arg)
{
    size_t i = count++;
    if (count > sizeof moments / sizeof *moments)
        abort();
    /* The next is the last; of two at the same time the one that was planned first. */
    for (; i > 0 && moments[i - 1].at <= at; i--)
        moments[i] = moments[i - 1];
    moments[i] = (struct moment){at, fn, ctx, arg};
}

void twin_wait(struct store *s)
{
    while (count) {
        struct moment m = moments[--count];
        now = m.at;
        m.fn(m.ctx, m.arg);
        store_poll(s);
    }
}

const char *twin_dir(void)
{
    return "";
}

void twin_crash(struct store *s, char **argv, const void *state, size_t size)
{
    (void)argv, (void)state, (void)size;
    disk_killed(disk_of(1), true);
    store_close(s);
}

bool twin_again(void *state, size_t size)
{
    (void)state, (void)size;
    return false;
}

void twin_end(void)
{
    disk_free_all();
}

/* ---- the run ----------------------------------------------------------------------------------
 */

time_us sim_now(void)
{
    return now;
}

uint64_t sim_random(enum sim_stream stream)
{
    (void)stream;
    return 1;
}

uint64_t sim_below(enum sim_stream stream, uint64_t n)
{
    (void)stream, (void)n;
    return 0;
}

uint64_t sim_between(enum sim_stream stream, uint64_t low, uint64_t high)
{
    (void)stream, (void)high;
    return low;
}

bool sim_chance(enum sim_stream stream, uint32_t per_million)
{
    (void)stream, (void)per_million;
    return false;
}

const struct sim_swarm *sim_swarm(void)
{
    /* Slower than it takes to tell of a put: the real one is told before its record is durable. */
    static const struct sim_swarm swarm = {
        .disk_min_us = 2000, .disk_max_us = 2000, .log_segment = 1 << 20};
    return &swarm;
}

bool sim_tracing(void)
{
    return false;
}

void sim_trace(const char *format, ...)
{
    (void)format;
}

void sim_mix(uint64_t a, uint64_t b)
{
    (void)a, (void)b;
}

void sim_count(enum sim_counter counter, uint64_t n)
{
    (void)counter, (void)n;
}

void process_io_death(uint32_t node, const char *what)
{
    (void)node, (void)what;
    abort();
}

bool nemesis_may_spoil(uint32_t node, struct block_name name)
{
    (void)node, (void)name;
    return false;
}

void check_election_vote(uint32_t node, uint64_t term, uint32_t vote)
{
    (void)node, (void)term, (void)vote;
}

uint64_t check_log_last(void)
{
    return 0;
}

void check_blocks_died(struct block_name name)
{
    (void)name;
}

void check_blocks_drop(uint32_t node, struct block_name name)
{
    (void)node, (void)name;
}

void check_blocks_demote(uint32_t witness, const struct block_ref *ref, uint64_t index)
{
    (void)witness, (void)ref, (void)index;
}

void check_mounts_switched(uint32_t node)
{
    (void)node;
}
