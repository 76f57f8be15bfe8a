/* Applied state of a simulated disk: what is durable, and the batches since; snapshots. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/bytes.h"
#include "repl/base/kv_behind.h"
#include "repl/base/kv_cache.h"
#include "repl/base/kv_mem.h"
#include "repl/base/list.h"
#include "repl/base/mutant.h"
#include "tests/sim/check_mounts.h"
#include "tests/sim/disk_internal.h"

static const char applied_key[] = "applied";

/* ---- the view: memory that notes each batch -------------------------------------------------- */

struct view {
    struct kv kv;
    struct store *store;
};

static struct store *store_of(struct kv *kv)
{
    return container_of(kv, struct view, kv)->store;
}

static int view_get(struct kv *kv, int table, const void *key, size_t size,
                    struct bytes_writer *ret)
{
    return kv_get(store_of(kv)->inner, table, key, size, ret);
}

static struct kv_batch copy_batch(const struct kv_batch *b)
{
    struct kv_batch copy = {.count = b->count};
    bytes_put(&copy.ops, b->ops.data, b->ops.size);
    return copy;
}

static int view_write(struct kv *kv, const struct kv_batch *batch)
{
    struct store *s = store_of(kv);
    vec_push(&s->batches, copy_batch(batch));
    return kv_write(s->inner, batch);
}

static struct kv_iter *view_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                 struct bytes to)
{
    return kv_iter_floor(store_of(kv)->inner, table, low, from, to);
}

static int view_flush(struct kv *kv)
{
    (void)kv;
    return 0;
}

static void view_close(struct kv *kv)
{
    free(container_of(kv, struct view, kv));
}

static const struct kv_ops view_ops = {.get = view_get,
                                       .write = view_write,
                                       .iter = view_iter,
                                       .flush = view_flush,
                                       .close = view_close};

static struct kv *copy_kv(struct kv *from)
{
    struct kv *to = kv_mem_new();
    for (int table = 0; table < STORE_TABLES; table++) {
        struct kv_batch batch = {0};
        struct bytes none = {0};
        struct kv_iter *it = kv_iter(from, table, none, none);
        for (; kv_iter_valid(it); kv_iter_next(it)) {
            struct bytes k = kv_iter_key(it), v = kv_iter_value(it);
            kv_batch_put(&batch, table, k.data, k.size, v.data, v.size);
        }
        kv_iter_free(it);
        (void)kv_write(to, &batch);
        kv_batch_done(&batch);
    }
    return to;
}

static void open_view(struct store *s)
{
    struct view *v = xcalloc(1, sizeof *v);
    v->kv.ops = &view_ops;
    v->store = s;
    s->kv = kv_behind_new(kv_cache_new(&v->kv));
}

void disk_open_kv(struct store *s)
{
    open_view(s);
    s->inner = s->disk->kv ? copy_kv(s->disk->kv) : kv_mem_new();
}

static void drop_batches(struct store *s)
{
    for (size_t i = 0; i < s->batches.count; i++)
        kv_batch_done(&s->batches.items[i]);
    vec_clear(&s->batches);
}

void disk_close_kv(struct store *s)
{
    kv_close(s->kv); /* writes what it has put off */
    drop_batches(s);
    vec_done(&s->batches);
    vec_done(&s->needed);
    kv_close(s->inner);
    kv_close(s->aside);
}

struct kv *store_kv(struct store *s)
{
    return s->kv;
}

uint64_t disk_next_batch(const struct store *s)
{
    return s->disk->flushed + s->batches.count + 1;
}

void disk_add_batch(struct store *s)
{
    (void)kv_settle(s->kv); /* it comes before */
    vec_push(&s->batches, (struct kv_batch){0});
}

/* ---- flushes --------------------------------------------------------------------------------- */

static uint64_t applied_of(struct kv *kv)
{
    struct bytes_writer w;
    uint64_t applied = 0;
    bytes_writer_init(&w);
    if (kv_get(kv, STORE_TABLE_LOCAL, applied_key, sizeof applied_key, &w) == 0)
        memcpy(&applied, w.data, sizeof applied);
    bytes_writer_done(&w);
    return applied;
}

/* The first so many batches are durable. */
void disk_flush_now(struct store *s, size_t batches)
{
    struct disk *d = s->disk;
    if (!d->kv || !batches)
        return;
    for (size_t i = 0; i < batches; i++) {
        (void)kv_write(d->kv, &s->batches.items[i]);
        kv_batch_done(&s->batches.items[i]);
    }
    memmove(s->batches.items, s->batches.items + batches,
            (s->batches.count - batches) * sizeof *s->batches.items);
    s->batches.count -= batches;
    d->flushed += batches;
    if (!MUTANT(applied_index_apart))
        d->applied = applied_of(d->kv);
    disk_drops_flushed(d);
    disk_release_log(d, s->truncate_to);
}

static void finish_flush(struct store *s, struct disk_job *job)
{
    int status = s->disk->fail_flush ? -EIO : 0;
    s->disk->fail_flush = false;
    s->flushing = false;
    if (status == 0 && job->batches > s->disk->flushed)
        disk_flush_now(s, job->batches - s->disk->flushed);
    if (job->done)
        job->done(job->ctx, status);
}

void store_settle(struct store *s)
{
    if (kv_waiting(s->kv) >= STORE_SETTLE_OPS)
        (void)kv_settle(s->kv);
}

void store_flush(struct store *s, store_done_fn *done, void *ctx)
{
    bool copy = s->config.kind == STORE_COPY;
    (void)kv_settle(s->kv);
    s->flushing = copy;
    s->flushed_log_bytes = s->disk->log_written;
    struct disk_job *job =
        disk_job_new(s, finish_flush, copy ? 2 * disk_latency(s->disk, 64 << 10) : 1);
    job->batches = s->disk->flushed + s->batches.count;
    job->done = done;
    job->ctx = ctx;
}

void disk_flush_if_long(struct store *s)
{
    uint64_t segment = sim_swarm()->log_segment;
    if (segment > s->config.capacity / 256)
        segment = s->config.capacity / 256;
    uint64_t limit = STORE_FLUSH_SEGMENTS * segment;
    if (s->config.kind == STORE_COPY && !s->flushing &&
        s->disk->log_written - s->flushed_log_bytes > limit)
        store_flush(s, NULL, NULL);
}

uint64_t store_durable_applied(const struct store *s)
{
    return s->disk->applied;
}

void store_fill_txn(struct store *s, struct kv_txn *txn, uint64_t applied)
{
    kv_txn_put(txn, STORE_TABLE_LOCAL, applied_key, sizeof applied_key, &applied, sizeof applied);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

int store_snapshot_begin(struct store *s)
{
    if (s->config.kind != STORE_COPY)
        return -ENOTSUP;
    store_snapshot_abort(s);
    s->aside = kv_mem_new();
    return 0;
}

struct kv *store_snapshot_kv(struct store *s)
{
    return s->aside;
}

void store_snapshot_need(struct store *s, const struct block_ref *ref)
{
    vec_push(&s->needed, *ref);
}

void store_snapshot_abort(struct store *s)
{
    kv_close(s->aside);
    s->aside = NULL;
    vec_clear(&s->needed);
}

/* What nobody needs goes; with entries left above the snapshot, they may. */
static void drop_unneeded(struct store *s)
{
    struct disk *d = s->disk;
    struct map needed = {0};
    vec_of(uint64_t) gone = {0};
    size_t cursor = 0;
    uint64_t key;
    void *value;
    for (size_t i = 0; i < s->needed.count; i++)
        (void)map_put(&needed, disk_key(s->needed.items[i].name), d);
    while (!d->log.count && map_next(&d->missing, &cursor, &key, &value))
        if (!map_get(&needed, key))
            vec_push(&gone, key);
    cursor = 0;
    while (!d->log.count && map_next(&d->blocks, &cursor, &key, &value))
        if (((struct disk_block *)value)->state == BLOCK_DURABLE && !map_get(&needed, key))
            vec_push(&gone, key);
    for (size_t i = 0; i < gone.count; i++)
        disk_drop(d, gone.items[i], disk_next_batch(s));
    if (gone.count)
        disk_add_batch(s);
    vec_done(&gone);
    map_done(&needed);
}

/* What is needed and not durable is missing, until the record of what came meanwhile is durable. */
static void miss_needed(struct store *s)
{
    struct disk *d = s->disk;
    for (size_t i = 0; i < s->needed.count; i++) {
        const struct block_ref *ref = &s->needed.items[i];
        struct disk_block *b = disk_find_block(d, ref->name);
        if (b && b->state == BLOCK_DURABLE)
            continue;
        disk_note_missing(d, ref, true);
        if (!b || b->state != BLOCK_WRITTEN)
            continue;
        b->state = BLOCK_RECORDING;
        disk_append(s, &(struct disk_record){.kind = RECORD_BLOCK, .ref = *ref});
    }
}

static void rebase(struct disk *d, uint64_t index, uint64_t term)
{
    uint64_t last = d->base_index + d->log.count;
    bool keep = index > d->base_index && index <= last &&
                d->log.items[index - d->base_index - 1]->term == term;
    size_t gone = keep ? index - d->base_index : d->log.count;
    for (size_t i = 0; i < gone; i++) {
        d->log_bytes -= entry_size(d->log.items[i]);
        entry_unref(d->log.items[i]);
    }
    memmove(d->log.items, d->log.items + gone, (d->log.count - gone) * sizeof(struct entry *));
    d->log.count -= gone;
    d->base_index = index;
    d->base_term = term;
}

static void finish_switch(struct store *s, struct disk_job *job)
{
    struct disk *d = s->disk;
    (void)kv_settle(s->kv);
    d->flushed += s->batches.count;
    drop_batches(s);
    kv_close(d->kv);
    d->kv = s->aside;
    s->aside = NULL;
    kv_close(s->kv);
    kv_close(s->inner);
    s->inner = copy_kv(d->kv);
    open_view(s);
    d->applied = job->index;
    rebase(d, job->index, job->term);
    disk_drops_flushed(d);
    miss_needed(s);
    drop_unneeded(s);
    vec_clear(&s->needed);
    sim_count(COUNT_SNAPSHOTS, 1);
    check_mounts_switched(d->node);
    job->done(job->ctx, 0);
}

static time_us (*switch_longer)(uint32_t node);

void disk_on_switch(time_us (*longer)(uint32_t node))
{
    switch_longer = longer;
}

void store_snapshot_commit(struct store *s, uint64_t index, uint64_t term, store_done_fn *done,
                           void *ctx)
{
    struct kv_batch batch = {0};
    assert(s->aside);
    kv_batch_put(&batch, STORE_TABLE_LOCAL, applied_key, sizeof applied_key, &index, sizeof index);
    (void)kv_write(s->aside, &batch);
    kv_batch_done(&batch);
    time_us takes = 4 * disk_latency(s->disk, 1 << 20);
    if (switch_longer)
        takes += switch_longer(s->disk->node);
    struct disk_job *job = disk_job_new(s, finish_switch, takes);
    job->index = index;
    job->term = term;
    job->done = done;
    job->ctx = ctx;
}
