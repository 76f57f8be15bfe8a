/* Blocks of a simulated disk: bytes, the set of what is missing, and what may spoil them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "repl/base/mutant.h"
#include "tests/sim/check.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/nemesis.h"

/* ---- finding --------------------------------------------------------------------------------- */

uint64_t disk_key(struct block_name name)
{
    uint64_t both[2] = {name.session, name.n};
    return hash64(both, sizeof both);
}

bool disk_same_block(const struct block_ref *a, const struct block_ref *b)
{
    return a->size == b->size && a->digest == b->digest;
}

bool disk_held(const struct disk_block *b)
{
    return b && !b->dropped && b->state != BLOCK_WRITING;
}

struct disk_block *disk_find_block(const struct disk *d, struct block_name name)
{
    return map_get(&d->blocks, disk_key(name));
}

struct disk_missing *disk_find_missing(const struct disk *d, struct block_name name)
{
    struct disk_missing *m = map_get(&d->missing, disk_key(name));
    return m && !m->dropped ? m : NULL;
}

/* ---- what changes ---------------------------------------------------------------------------- */

void disk_forget_block(struct disk *d, uint64_t key)
{
    struct disk_block *b = map_del(&d->blocks, key);
    if (!b)
        return;
    d->block_bytes -= b->ref.size;
    blob_unref(b->bytes);
    free(b);
}

void disk_store_bytes(struct disk *d, const struct block_ref *ref, const uint8_t *bytes,
                      enum block_state state)
{
    struct disk_block *b = xcalloc(1, sizeof *b);
    const struct disk_block *old = disk_find_block(d, ref->name);
    if (old && old->state == BLOCK_DURABLE && old->dropped) {
        b->kept = true;
        b->drop_at = old->drop_at;
    }
    disk_forget_block(d, disk_key(ref->name));
    b->ref = *ref;
    b->state = state;
    b->bytes = blob_copy(bytes, ref->size);
    block_run_hashes(bytes, ref->size, b->hashes);
    d->block_bytes += ref->size;
    (void)map_put(&d->blocks, disk_key(ref->name), b);
}

void disk_note_missing(struct disk *d, const struct block_ref *ref, bool durable)
{
    struct disk_missing *m = map_get(&d->missing, disk_key(ref->name));
    if (!m) {
        m = xcalloc(1, sizeof *m);
        (void)map_put(&d->missing, disk_key(ref->name), m);
    }
    m->ref = *ref;
    m->durable |= durable;
    m->dropped = false;
}

void disk_block_durable(struct store *s, const struct block_ref *ref, bool tell)
{
    struct disk *d = s->disk;
    struct disk_block *b = disk_find_block(d, ref->name);
    bool was_missing = disk_find_missing(d, ref->name);
    if (!b)
        return;
    b->state = BLOCK_DURABLE;
    if (!b->spoilt)
        (void)map_del(&d->spoilt, disk_key(ref->name));
    free(map_del(&d->missing,
                 disk_key(ref->name))); /* also a dropped one: a crash brings none back */
    if (!was_missing)
        return;
    sim_count(COUNT_REPAIRS, 1);
    if (tell && s->on_missing)
        s->on_missing(s->on_missing_ctx, ref->name, false);
}

/* Drops up to the durable applied state are final. */
void disk_blocks_flushed(struct disk *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->dropped.count; i++) {
        uint64_t key = d->dropped.items[i];
        const struct disk_block *b = map_get(&d->blocks, key);
        const struct disk_missing *m = map_get(&d->missing, key);
        bool block_final = b && b->dropped && b->drop_at <= d->applied;
        bool missing_final = m && m->dropped && m->drop_at <= d->applied;
        bool wait = (b && b->dropped && !block_final) || (m && m->dropped && !missing_final);
        if (block_final)
            disk_forget_block(d, key);
        if (missing_final)
            free(map_del(&d->missing, key));
        if (wait)
            d->dropped.items[kept++] = key;
    }
    d->dropped.count = kept;
}

/* The node is dead: drops that are not durable did not happen, nor did what no record names. */
void disk_blocks_crashed(struct disk *d)
{
    vec_of(uint64_t) gone = {0};
    size_t cursor = 0;
    uint64_t key;
    void *value;
    while (map_next(&d->blocks, &cursor, &key, &value)) {
        struct disk_block *b = value;
        b->dropped = b->dropped && b->drop_at <= d->applied;
        if (b->kept && b->drop_at > d->applied)
            b->state = BLOCK_DURABLE;
        b->kept = false;
        if (b->dropped || b->state != BLOCK_DURABLE)
            vec_push(&gone, key);
    }
    for (size_t i = 0; i < gone.count; i++)
        disk_forget_block(d, gone.items[i]);
    vec_clear(&gone);
    cursor = 0;
    while (map_next(&d->missing, &cursor, &key, &value)) {
        struct disk_missing *m = value;
        m->dropped = m->dropped && m->drop_at <= d->applied;
        if (m->dropped || !m->durable)
            vec_push(&gone, key);
    }
    for (size_t i = 0; i < gone.count; i++)
        free(map_del(&d->missing, gone.items[i]));
    vec_done(&gone);
    vec_clear(&d->dropped);
}

void disk_blocks_done(struct disk *d)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&d->blocks, &cursor, NULL, &value)) {
        blob_unref(((struct disk_block *)value)->bytes);
        free(value);
    }
    cursor = 0;
    while (map_next(&d->missing, &cursor, NULL, &value))
        free(value);
    map_done(&d->blocks);
    map_done(&d->missing);
    map_done(&d->spoilt);
    vec_done(&d->dropped);
    d->block_bytes = 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void finish_put(struct store *s, struct disk_job *job)
{
    struct disk_block *b = disk_find_block(s->disk, job->ref.name);
    const struct disk_missing *m = disk_find_missing(s->disk, job->ref.name);
    if (b && b->state == BLOCK_WRITING) {
        b->state = BLOCK_WRITTEN;
        if (m && disk_same_block(&m->ref, &job->ref)) {
            b->state = BLOCK_RECORDING;
            disk_append(s, &(struct disk_record){.kind = RECORD_BLOCK, .ref = job->ref});
        }
        if (s->config.kind == STORE_WITNESS)
            sim_count(COUNT_DRAFTED_BLOCKS, 1);
    }
    job->done(job->ctx, job->status);
}

static void finish_soon(struct store *s, struct disk_job *job)
{
    (void)s;
    if (job->done)
        job->done(job->ctx, job->status);
}

static bool put_refused(const struct store *s, const struct block_ref *ref,
                        const struct blob *bytes, uint32_t offset, int *status)
{
    const struct disk_block *b = disk_find_block(s->disk, ref->name);
    const struct disk_missing *m = disk_find_missing(s->disk, ref->name);
    uint64_t runs[BLOCK_RUNS_MAX];
    *status = 0;
    if (ref->size == 0 || ref->size > BLOCK_SIZE_MAX || offset > bytes->size ||
        bytes->size - offset < ref->size || (m && !disk_same_block(&m->ref, ref))) {
        *status = -EBADMSG;
        return true;
    }
    if (b && !b->dropped) {
        *status = disk_same_block(&b->ref, ref) ? 0 : -EEXIST;
        return b->state != BLOCK_WRITING || *status; /* else it waits with the first */
    }
    if (!disk_has_room(s, ref->size))
        *status = -ENOSPC;
    block_run_hashes(bytes->data + offset, ref->size, runs);
    if (block_digest_of_runs(runs, block_runs(ref->size)) != ref->digest)
        *status = -EBADMSG;
    return *status != 0;
}

/* Dropped, and the drop is not durable: the bytes are still there. */
static bool take_back(struct disk *d, const struct block_ref *ref)
{
    struct disk_block *b = disk_find_block(d, ref->name);
    if (!b || !b->dropped || b->state != BLOCK_DURABLE || b->spoilt ||
        !disk_same_block(&b->ref, ref))
        return false;
    b->dropped = false;
    return true;
}

void store_put(struct store *s, const struct block_ref *ref, struct blob *bytes, uint32_t offset,
               store_done_fn *done, void *ctx)
{
    int status = 0;
    bool refused = take_back(s->disk, ref) || put_refused(s, ref, bytes, offset, &status);
    sim_trace("put of %llu.%llu: %d", (unsigned long long)ref->name.session,
              (unsigned long long)ref->name.n, status);
    struct disk_block *b = disk_find_block(s->disk, ref->name);
    time_us takes = refused ? 1 : disk_latency(s->disk, ref->size);
    if (!refused && !(b && !b->dropped))
        disk_store_bytes(s->disk, ref, bytes->data + offset, BLOCK_WRITING);
    struct disk_job *job = disk_job_new(s, refused ? finish_soon : finish_put, takes);
    job->done = done;
    job->ctx = ctx;
    job->owes = true;
    job->status = status;
    job->ref = *ref;
}

bool store_has(struct store *s, const struct block_ref *ref)
{
    const struct disk_block *b = disk_find_block(s->disk, ref->name);
    return disk_held(b) && disk_same_block(&b->ref, ref);
}

bool store_block_get(struct store *s, struct block_name name, struct block_ref *ret_ref,
                     uint64_t *ret_hashes)
{
    const struct disk_block *b = disk_find_block(s->disk, name);
    if (!disk_held(b))
        return false;
    *ret_ref = b->ref;
    if (ret_hashes)
        memcpy(ret_hashes, b->hashes, block_runs(b->ref.size) * sizeof *ret_hashes);
    return true;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* RULES S3: found by its hash. The bytes are worth nothing any more. */
static void found_damaged(struct store *s, const struct block_ref *ref)
{
    struct block_ref copy = *ref;
    disk_forget_block(s->disk, disk_key(copy.name));
    if (s->config.kind == STORE_WITNESS)
        return;
    disk_note_missing(s->disk, &copy, true);
    if (s->on_missing)
        s->on_missing(s->on_missing_ctx, copy.name, true);
}

static void finish_read(struct store *s, struct disk_job *job)
{
    const struct disk_block *b = disk_find_block(s->disk, job->ref.name);
    int status = 0;
    if (sim_now() < s->disk->reads_fail_until)
        status = -EIO;
    else if (!disk_held(b))
        status = -ENOENT;
    else if (job->offset % BLOCK_RUN_SIZE != 0 || job->offset >= b->ref.size)
        status = -EINVAL;
    else if (b->spoilt) {
        status = -EBADMSG;
        found_damaged(s, &b->ref);
    }
    if (status < 0) {
        job->read_done(job->ctx, status, NULL);
        return;
    }
    uint32_t left = b->ref.size - job->offset;
    uint32_t size = (job->size + BLOCK_RUN_SIZE - 1) / BLOCK_RUN_SIZE * BLOCK_RUN_SIZE;
    size = size < left ? size : left;
    struct blob *bytes = blob_copy(b->bytes->data + job->offset, size);
    job->read_done(job->ctx, 0, bytes);
    blob_unref(bytes);
}

void store_read(struct store *s, struct block_name name, uint32_t offset, uint32_t size,
                store_read_fn *done, void *ctx)
{
    struct disk_job *job = disk_job_new(s, finish_read, disk_latency(s->disk, size) / 2);
    job->read_done = done;
    job->ctx = ctx;
    job->owes = true;
    job->ref.name = name;
    job->offset = offset;
    job->size = size;
}

void store_drop(struct store *s, struct kv_txn *txn, struct block_name name)
{
    struct disk *d = s->disk;
    uint64_t key = disk_key(name);
    struct disk_block *b = map_get(&d->blocks, key);
    struct disk_missing *m = map_get(&d->missing, key);
    bool was_missing = m && !m->dropped;
    if (!txn)
        check_blocks_drop(d->node, name);
    if (s->config.kind == STORE_WITNESS || MUTANT(freed_before_flush)) {
        if (b && b->kept && b->drop_at > d->applied)
            b->dropped = true, vec_push(&d->dropped, key);
        else if (b && b->state != BLOCK_WRITING)
            disk_forget_block(d, key);
        free(map_del(&d->missing, key));
        return;
    }
    /* Durable with the next state; until then a crash brings it back. */
    if (b)
        b->dropped = true, b->drop_at = UINT64_MAX;
    if (m)
        m->dropped = true, m->drop_at = UINT64_MAX;
    if (b || m)
        vec_push(&d->dropped, key);
    if (was_missing && s->on_missing)
        s->on_missing(s->on_missing_ctx, name, false);
}
