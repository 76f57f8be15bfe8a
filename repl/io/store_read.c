/* Blocks of the store read again, verified: on a thread of the pool, or at once from memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/store_internal.h"

/* ---- segments of the log --------------------------------------------------------------------- */

/* A segment of the log that is read from. The last one stays open: small files that were written
 * together are read together. */
struct log_file {
    uint32_t generation;
    unsigned users;
    int fd;
};

static void log_file_put(struct log_file *f)
{
    if (f == NULL || --f->users > 0)
        return;
    (void)close(f->fd);
    free(f);
}

void store_forget_log_file(struct store *s)
{
    log_file_put(s->log_file);
    s->log_file = NULL;
}

static int log_file_get(struct store *s, uint32_t generation, struct log_file **ret)
{
    if (s->log_file == NULL || s->log_file->generation != generation) {
        int fd = journal_open_segment(s->journal, generation);
        if (fd < 0)
            return fd;
        store_forget_log_file(s);
        s->log_file = xmalloc(sizeof *s->log_file);
        *s->log_file = (struct log_file){.generation = generation, .users = 1, .fd = fd};
    }
    s->log_file->users++;
    *ret = s->log_file;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

struct read_job {
    struct pool_job job;
    struct store *store;
    struct index_entry e;
    struct block_segment *segment; /* pinned, or */
    struct log_file *log;
    uint32_t offset, size; /* within the block, whole runs */
    struct blob *bytes;
    int status;
    store_read_fn *done;
    void *ctx;
};

static bool read_verified(const struct read_job *r)
{
    uint64_t runs[BLOCK_RUNS_MAX];
    uint32_t first = r->offset / BLOCK_RUN_SIZE;
    block_run_hashes(r->bytes->data, r->size, runs);
    return memcmp(runs, r->e.runs + first, block_runs(r->size) * sizeof *runs) == 0;
}

static void read_block(struct pool_job *job)
{
    struct read_job *r = container_of(job, struct read_job, job);
    uint32_t at = r->e.offset + r->offset;
    r->bytes = blob_new(r->size);
    r->status = r->segment ? blocks_read(r->segment, at, r->bytes->data, r->size)
                           : file_read_at(r->log->fd, r->bytes->data, r->size, at);
    if (r->status < 0 || !read_verified(r))
        r->status = -EBADMSG;
}

/* 0, -ENOENT not held (any more), -EBADMSG its file is gone, -EIO it cannot be opened now. */
static int read_find(struct store *s, struct read_job *r, struct block_name name)
{
    const struct pending *p = pending_find(s, name);
    r->segment = NULL;
    r->log = NULL;
    if (p && p->state != PENDING_WRITING && !p->dropped) {
        r->e = (struct index_entry){.ref = p->ref,
                                    .kind = PLACE_BLOCKS,
                                    .number = p->place.segment,
                                    .offset = p->place.offset};
        memcpy(r->e.runs, p->runs, sizeof r->e.runs);
    } else if (!index_get(&s->index, name, &r->e))
        return -ENOENT;
    int error = 0;
    if (r->e.kind == PLACE_BLOCKS) {
        r->segment = blocks_pin(s->blocks, r->e.number);
        error = r->segment ? 0 : -errno;
    } else {
        error = log_file_get(s, r->e.number, &r->log);
    }
    if (error == 0)
        return 0;
    return error == -ENOENT ? -EBADMSG : -EIO; /* too many open files is no damage */
}

static void read_let_go(struct read_job *r)
{
    if (r->segment)
        blocks_unpin(r->store->blocks, r->segment);
    log_file_put(r->log);
    r->segment = NULL;
    r->log = NULL;
}

static void on_block_read(struct pool_job *job)
{
    struct read_job *r = container_of(job, struct read_job, job);
    struct store *s = r->store;
    struct index_entry now;
    read_let_go(r);
    if (r->status == -EBADMSG) {
        blob_unref(r->bytes);
        r->bytes = NULL;
        /* dropped or moved while it was read, or really damaged? */
        if (!index_get(&s->index, r->e.ref.name, &now))
            r->status = -ENOENT;
        else if (now.kind != r->e.kind || now.number != r->e.number || now.offset != r->e.offset) {
            r->status = read_find(s, r, r->e.ref.name);
            if (r->status == 0) {
                pool_submit(s->pool, &r->job);
                return;
            }
        } else
            store_damaged(s, &now);
    }
    r->done(r->ctx, r->status, r->bytes);
    blob_unref(r->bytes);
    free(r);
}

static void read_nothing(struct pool_job *job)
{
    (void)job; /* the answer is known; it only has to come from the next poll */
}

/* False: the block has no such range. */
static bool read_cut(struct read_job *r, uint32_t offset, uint32_t size)
{
    if (offset % BLOCK_RUN_SIZE || offset >= r->e.ref.size || size == 0)
        return false;
    uint32_t left = r->e.ref.size - offset;
    r->offset = offset;
    r->size = (size + BLOCK_RUN_SIZE - 1) / BLOCK_RUN_SIZE * BLOCK_RUN_SIZE;
    if (r->size > left)
        r->size = left;
    return true;
}

void store_read(struct store *s, struct block_name name, uint32_t offset, uint32_t size,
                store_read_fn *done, void *ctx)
{
    struct read_job *r = xcalloc(1, sizeof *r);
    r->store = s;
    r->done = done;
    r->ctx = ctx;
    r->job.work = read_nothing;
    r->job.done = on_block_read;
    r->status = read_find(s, r, name);
    if (r->status == -EBADMSG)
        store_damaged(s, &r->e);
    if (r->status == 0 && !read_cut(r, offset, size))
        r->status = -EINVAL;
    else if (r->status == 0)
        r->job.work = read_block;
    pool_submit(s->pool, &r->job);
}

struct blob *store_read_now(struct store *s, struct block_name name, uint32_t offset, uint32_t size)
{
    struct read_job r = {.store = s};
    if (read_find(s, &r, name) < 0)
        return NULL;
    bool there = false;
    if (read_cut(&r, offset, size)) {
        uint32_t at = r.e.offset + r.offset;
        r.bytes = blob_new(r.size);
        there = r.segment ? blocks_read_now(r.segment, at, r.bytes->data, r.size)
                          : file_read_now_at(r.log->fd, r.bytes->data, r.size, at);
        there = there && read_verified(&r);
    }
    read_let_go(&r);
    if (!there) {
        blob_unref(r.bytes);
        return NULL;
    }
    return r.bytes;
}
