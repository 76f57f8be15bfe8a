/* A node's disk: opening, closing, death and time. The journal is in disk_log.c, blocks in
 * disk_blocks.c, applied state in disk_state.c. */
#include "tests/sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "repl/base/mutant.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/sim_internal.h"

enum { BYTES_PER_US = 200, RESERVE_SHARE = 16 };

static struct disk disks[SIM_NODES_MAX + 1];

struct disk *disk_of(uint32_t node)
{
    assert(node >= 1 && node <= SIM_NODES_MAX);
    disks[node].node = node;
    return &disks[node];
}

/* ---- time ------------------------------------------------------------------------------------ */

time_us disk_latency(const struct disk *d, uint64_t bytes)
{
    const struct sim_swarm *s = sim_swarm();
    time_us takes = sim_between(RND_DISK, s->disk_min_us, s->disk_max_us) + bytes / BYTES_PER_US;
    return takes * (d->slow ? d->slow : 1);
}

void disk_wake(struct store *s)
{
    if (!s->dead && s->config.wake)
        s->config.wake(s->config.wake_ctx);
}

/* The disk is through with a job; its owner hears of it in store_poll(). */
static void on_job(void *ctx, uint64_t id)
{
    struct disk *d = ctx;
    struct store *s = d->store;
    if (!s)
        return;
    for (struct disk_job **at = &s->jobs; *at; at = &(*at)->next) {
        struct disk_job *job = *at;
        if (job->id != id)
            continue;
        *at = job->next;
        job->next = NULL;
        *s->done_tail = job;
        s->done_tail = &job->next;
        disk_wake(s);
        return;
    }
}

struct disk_job *disk_job_new(struct store *s, void (*finish)(struct store *, struct disk_job *),
                              time_us takes)
{
    struct disk_job *job = xcalloc(1, sizeof *job);
    job->id = ++s->disk->last_job;
    job->finish = finish;
    job->next = s->jobs;
    s->jobs = job;
    sim_at(sim_now() + takes, on_job, s->disk, job->id);
    return job;
}

void store_poll(struct store *s)
{
    while (s->done) {
        struct disk_job *job = s->done;
        s->done = job->next;
        if (!s->done)
            s->done_tail = &s->done;
        job->finish(s, job);
        free(job);
    }
}

bool store_start(struct store *s)
{
    (void)s;
    return false; /* jobs begin when they are asked for */
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Bytes in the log that do not fit their hash any more: the entry is kept without them. */
static uint64_t find_damaged_entries(struct disk *d, bool copy)
{
    uint64_t damaged = 0;
    for (size_t i = 0; i < d->log.count; i++) {
        struct entry *e = d->log.items[i];
        bool bad = false;
        for (uint32_t k = 0; e->inline_bytes && k < e->blocks_count; k++) {
            const struct disk_block *b = map_get(&d->blocks, disk_key(e->blocks[k].name));
            if (!b || !b->spoilt)
                continue;
            bad = true;
            disk_forget_block(d, disk_key(e->blocks[k].name));
            if (copy)
                disk_note_missing(d, &e->blocks[k], true);
        }
        if (!bad)
            continue;
        if (MUTANT(corruption_taken_for_end)) {
            disk_cut_log(d, i);
            break;
        }
        d->log_bytes -= entry_size(e);
        d->log.items[i] = entry_without_bytes(e);
        d->log_bytes += entry_size(d->log.items[i]);
        entry_unref(e);
        damaged++;
    }
    return damaged;
}

int store_open(const struct store_config *config, struct store **ret, struct store_recovered *info,
               char *error, size_t error_size)
{
    struct disk *d = disk_of(config->node);
    memset(info, 0, sizeof *info);
    assert(!d->store);
    if (!d->made && !config->create) {
        (void)snprintf(error, error_size, "no store there");
        return -ENOENT;
    }
    if (sim_now() < d->reads_fail_until && sim_chance(RND_DISK, 300000)) {
        (void)snprintf(error, error_size, "it cannot be read");
        return -EIO;
    }
    if (!d->made && config->kind == STORE_COPY)
        d->kv = kv_mem_new();
    info->created = !d->made;
    d->made = true;
    struct store *s = xcalloc(1, sizeof *s);
    s->disk = d;
    s->config = *config;
    s->done_tail = &s->done;
    d->store = s;
    disk_open_kv(s);
    info->entries_damaged = find_damaged_entries(d, config->kind == STORE_COPY);
    info->store_boot = sim_random(RND_DISK);
    info->term = d->term;
    info->vote = d->vote;
    info->base_index = d->base_index;
    info->base_term = d->base_term;
    info->last_index = d->base_index + d->log.count;
    info->applied = d->applied;
    info->whole_index = d->whole_index;
    *ret = s;
    return 0;
}

int store_load_entries(struct store *s, store_entry_fn *each, void *ctx)
{
    int r = 0;
    for (size_t i = 0; i < s->disk->log.count && r >= 0; i++)
        r = each(ctx, s->disk->log.items[i]);
    return r < 0 ? r : 0;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void detach(struct store *s)
{
    struct disk *d = s->disk;
    for (size_t i = 0; i < s->queue.count; i++)
        disk_record_done(&s->queue.items[i]);
    vec_clear(&s->queue);
    disk_apply_group(s, 0, false);
    disk_blocks_crashed(d);
    s->dead = true;
    d->store = NULL;
}

void disk_killed(struct disk *d, bool power)
{
    struct store *s = d->store;
    if (!s)
        return;
    size_t kept = 0;
    if (s->writing && (power || d->unclean)) /* torn somewhere: its records are a chain */
        kept = sim_below(RND_DISK, s->group.count + 1);
    else if (s->writing && sim_now() >= s->written_at)
        kept = s->group.count;
    d->unclean = false;
    sim_mix(d->node, kept);
    disk_apply_group(s, kept, false);
    detach(s);
}

/* Nobody waits any more; what the waiters keep is theirs to free. */
static void end_jobs(struct disk_job *job)
{
    while (job) {
        struct disk_job *next = job->next;
        if (job->read_done)
            job->read_done(job->ctx, -EIO, NULL);
        else if (job->owes)
            job->done(job->ctx, -EIO);
        free(job);
        job = next;
    }
}

void store_drain(struct store *s)
{
    store_poll(s);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (!s->dead) {
        for (size_t i = 0; i < s->queue.count; i++)
            vec_push(&s->group, s->queue.items[i]);
        vec_clear(&s->queue);
        disk_apply_group(s, s->group.count, false);
        (void)kv_settle(s->kv);
        disk_flush_now(s, s->batches.count);
        detach(s);
    }
    end_jobs(s->jobs);
    end_jobs(s->done);
    disk_close_kv(s);
    vec_done(&s->queue);
    vec_done(&s->group);
    free(s);
}

static void empty(struct disk *d)
{
    disk_blocks_done(d);
    for (size_t i = 0; i < d->log.count; i++)
        entry_unref(d->log.items[i]);
    vec_done(&d->log);
    kv_close(d->kv);
    uint64_t last_job = d->last_job;
    *d = (struct disk){.node = d->node, .last_job = last_job};
}

void disk_wipe(struct disk *d)
{
    assert(!d->store);
    empty(d);
}

void disk_free_all(void)
{
    for (uint32_t id = 1; id <= SIM_NODES_MAX; id++) {
        disks[id].store = NULL; /* of a process that fell: nobody frees it */
        empty(&disks[id]);
        disks[id] = (struct disk){.node = id};
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

void disk_set_slow(struct disk *d, uint32_t factor)
{
    d->slow = factor;
}

void disk_set_full(struct disk *d, bool full)
{
    d->full = full;
}

void disk_fail_reads(struct disk *d, time_us until)
{
    d->reads_fail_until = until;
}

void disk_fail_next_write(struct disk *d)
{
    if (d->kv && sim_chance(RND_NEMESIS, 300000))
        d->fail_flush = true;
    else
        d->fail_write = true;
}

/* ---- state of affairs ------------------------------------------------------------------------ */

void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_free)
{
    const struct disk *d = s->disk;
    uint64_t reserve = s->config.capacity / RESERVE_SHARE;
    uint64_t used = d->block_bytes + d->log_bytes + reserve;
    *ret_total = s->config.capacity - reserve;
    *ret_free = d->full || used > s->config.capacity ? 0 : s->config.capacity - used;
}

bool disk_has_room(const struct store *s, uint32_t size)
{
    const struct disk *d = s->disk;
    uint64_t used = d->block_bytes + d->log_bytes, reserve = s->config.capacity / RESERVE_SHARE;
    return !d->full && used + size + reserve / 2 <= s->config.capacity;
}

uint64_t store_block_bytes(const struct store *s)
{
    return s->disk->block_bytes;
}

void store_stats(struct store *s, struct store_stats *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->log_bytes = s->disk->log_bytes;
    ret->block_bytes = s->disk->block_bytes;
}
