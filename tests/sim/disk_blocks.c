/* Blocks of a simulated disk: bytes, the set of what is missing, and what may spoil them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "repl/base/mutant.h"
#include "tests/sim/check.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/nemesis.h"

enum { TELL_US_MAX = 1000 }; /* a turn of the loop */

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
    return map_get(&d->missing, disk_key(name));
}

/* ---- what changes ---------------------------------------------------------------------------- */

void disk_free_block(struct disk *d, struct disk_block *b)
{
    if (!b)
        return;
    d->block_bytes -= b->ref.size;
    blob_unref(b->bytes);
    free(b);
}

void disk_forget_block(struct disk *d, uint64_t key)
{
    disk_free_block(d, map_del(&d->blocks, key));
}

void disk_store_bytes(struct disk *d, const struct block_ref *ref, const uint8_t *bytes,
                      enum block_state state)
{
    struct disk_block *b = xcalloc(1, sizeof *b);
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
    free(map_del(&d->missing, disk_key(ref->name)));
    if (b->dropped)
        disk_drop(d, disk_key(ref->name), disk_next_batch(s));
    if (!was_missing)
        return;
    sim_count(COUNT_REPAIRS, 1);
    if (tell && s->on_missing)
        s->on_missing(s->on_missing_ctx, ref->name, false);
}

/* The node is dead: what no record names is lost, and drops that are not durable did not happen. */
void disk_blocks_crashed(struct disk *d)
{
    vec_of(uint64_t) gone = {0};
    size_t cursor = 0;
    uint64_t key;
    void *value;
    while (map_next(&d->blocks, &cursor, &key, &value))
        if (((struct disk_block *)value)->state != BLOCK_DURABLE)
            vec_push(&gone, key);
    for (size_t i = 0; i < gone.count; i++)
        disk_forget_block(d, gone.items[i]);
    vec_clear(&gone);
    cursor = 0;
    while (map_next(&d->missing, &cursor, &key, &value))
        if (!((struct disk_missing *)value)->durable)
            vec_push(&gone, key);
    for (size_t i = 0; i < gone.count; i++)
        free(map_del(&d->missing, gone.items[i]));
    vec_done(&gone);
    disk_drops_crashed(d);
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
    disk_drops_done(d);
    map_done(&d->blocks);
    map_done(&d->missing);
    map_done(&d->spoilt);
    d->block_bytes = 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void finish_soon(struct store *s, struct disk_job *job)
{
    (void)s;
    if (job->done)
        job->done(job->ctx, job->status);
}

/* What is in the store is told in a later look at it, as that of repl/io tells it. */
static void tell_put(struct store *s, const struct disk_job *job)
{
    struct disk_job *told = disk_job_new(s, finish_soon, 1 + job->id * 2654435761u % TELL_US_MAX);
    told->done = job->done;
    told->ctx = job->ctx;
    told->owes = true;
    told->status = job->status;
}

static void finish_put(struct store *s, struct disk_job *job)
{
    struct disk_block *b = disk_find_block(s->disk, job->ref.name);
    const struct disk_missing *m = disk_find_missing(s->disk, job->ref.name);
    if (b && b->state == BLOCK_WRITING) {
        b->state = BLOCK_WRITTEN;
        if (m && !disk_same_block(&m->ref, &job->ref))
            job->status = -EBADMSG; /* the committed entry that came meanwhile names other bytes */
        if (b->dropped || job->status < 0) {
            disk_forget_block(s->disk, disk_key(job->ref.name));
        } else if (m) {
            b->state = BLOCK_RECORDING;
            disk_append(s, &(struct disk_record){.kind = RECORD_BLOCK, .ref = job->ref});
        }
        if (s->config.kind == STORE_WITNESS)
            sim_count(COUNT_DRAFTED_BLOCKS, 1);
    }
    tell_put(s, job);
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
    if (b && b->dropped) {
        *status = -EAGAIN;
        return true;
    }
    if (b) {
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

void store_put(struct store *s, const struct block_ref *ref, struct blob *bytes, uint32_t offset,
               store_done_fn *done, void *ctx)
{
    int status = 0;
    bool refused = put_refused(s, ref, bytes, offset, &status);
    sim_trace("put of %llu.%llu: %d", (unsigned long long)ref->name.session,
              (unsigned long long)ref->name.n, status);
    const struct disk_block *b = disk_find_block(s->disk, ref->name);
    time_us takes = refused ? 1 : disk_latency(s->disk, ref->size);
    if (!refused && !b)
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

struct blob *store_read_now(struct store *s, struct block_name name, uint32_t offset, uint32_t size)
{
    (void)s, (void)name, (void)offset, (void)size;
    return NULL; /* every read takes its time here */
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
