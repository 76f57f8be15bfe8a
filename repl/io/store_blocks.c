/* Blocks of the store: bytes first into block segments, then their place into the log, then into
 * the index (RULES S1). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/log.h"
#include "repl/io/store_internal.h"

static bool same_block(const struct block_ref *a, const struct block_ref *b)
{
    return a->size == b->size && a->digest == b->digest;
}

struct pending *pending_find(const struct store *s, struct block_name name)
{
    struct name_node *node = name_map_get(&s->pending, name);
    return node ? container_of(node, struct pending, node) : NULL;
}

static void pending_free(struct pending *p)
{
    blob_unref(p->bytes);
    vec_done(&p->waiters);
    free(p);
}

static void pending_remove(struct store *s, struct pending *p)
{
    name_map_del(&s->pending, &p->node);
    s->pending_count--;
    if (p->segment)
        blocks_unpin(s->blocks, p->segment);
    pending_free(p);
}

void pending_supersede(struct store *s, struct block_name name)
{
    struct pending *p = pending_find(s, name);
    if (!p || p->state != PENDING_WRITTEN)
        return; /* it will see when it is written */
    blocks_give_back(s->blocks, p->place, p->ref.size);
    pending_remove(s, p);
}

void pending_free_all(struct store *s)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&s->pending, &cursor, NULL, &value))
        for (struct name_node *n = value, *next; n; n = next) {
            next = n->next;
            pending_free(container_of(n, struct pending, node));
        }
    map_clear(&s->pending);
}

void store_give_back(struct store *s, const struct index_entry *e)
{
    if (e->kind == PLACE_BLOCKS)
        blocks_give_back(s->blocks, (struct block_place){e->number, e->offset}, e->ref.size);
    /* bytes in the log go with their segment */
}

/* ---- DROP ------------------------------------------------------------------------------------ */

static void ref_put(struct bytes_writer *w, const struct block_ref *ref)
{
    bytes_put_u64(w, ref->name.session);
    bytes_put_u64(w, ref->name.n);
    bytes_put_u32(w, ref->size);
    bytes_put_u64(w, ref->digest);
}

static struct journal_item *drop_item(const struct block_ref *ref)
{
    struct journal_item *item = journal_item_new(RECORD_DROP);
    ref_put(&item->head, ref);
    return item;
}

/* A place whose DROP is on its way. */
struct dropping {
    struct store *store;
    struct index_entry e;
};

static void on_dropped(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct dropping *d = ctx;
    (void)item, (void)lsn;
    store_give_back(d->store, &d->e);
    free(d);
}

void store_drop_place(struct store *s, const struct index_entry *e)
{
    struct journal_item *item = drop_item(&e->ref);
    struct dropping *d = xmalloc(sizeof *d);
    *d = (struct dropping){s, *e};
    item->done = on_dropped;
    item->cancel = free;
    item->ctx = d;
    journal_append(s->journal, item);
}

/* A place came into the log whose name was dropped meanwhile, so that it never was in the index.
 * The state that dropped it may be scanned from before the place: unless a later record tells of
 * the name, one must say that it is dead. */
static void unplace(struct store *s, const struct index_entry *e)
{
    const struct pending *p = pending_find(s, e->ref.name);
    bool told = index_get(&s->index, e->ref.name, NULL) ||
                index_is_missing(&s->index, e->ref.name) || (p && p->state == PENDING_RECORDING);
    if (told)
        store_give_back(s, e);
    else
        store_drop_place(s, e);
}

/* ---- BLOCK_AT -------------------------------------------------------------------------------- */

void store_block_at_head(struct bytes_writer *w, const struct block_ref *ref, const uint64_t *runs,
                         struct block_place place)
{
    ref_put(w, ref);
    bytes_put_u32(w, place.segment);
    bytes_put_u32(w, place.offset);
    for (uint32_t i = 0; i < block_runs(ref->size); i++)
        bytes_put_u64(w, runs[i]);
}

bool store_block_at_get(const struct journal_record *record, struct index_entry *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, record->head, record->head_size);
    ret->ref.name.session = bytes_get_u64(&r);
    ret->ref.name.n = bytes_get_u64(&r);
    ret->ref.size = bytes_get_u32(&r);
    ret->ref.digest = bytes_get_u64(&r);
    if (r.bad || ret->ref.size == 0 || ret->ref.size > BLOCK_SIZE_MAX)
        return false;
    if (record->kind != RECORD_BLOCK_AT)
        return bytes_reader_ended(&r);
    ret->kind = PLACE_BLOCKS;
    ret->number = bytes_get_u32(&r);
    ret->offset = bytes_get_u32(&r);
    for (uint32_t i = 0; i < block_runs(ret->ref.size); i++)
        ret->runs[i] = bytes_get_u64(&r);
    return bytes_reader_ended(&r);
}

/* The place is durable in the log: the index may have it (RULES S2). */
static void index_place(struct store *s, const struct index_entry *e)
{
    struct index_entry old;
    bool was_missing = index_is_missing(&s->index, e->ref.name);
    if (index_put(&s->index, e, &old))
        store_give_back(s, &old);
    if (was_missing && s->on_missing)
        s->on_missing(s->on_missing_ctx, e->ref.name, false);
}

static void on_recorded(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct pending *p = ctx;
    struct store *s = p->store;
    (void)item;
    store_note_place(s, lsn);
    struct index_entry e = {
        .ref = p->ref, .kind = PLACE_BLOCKS, .number = p->place.segment, .offset = p->place.offset};
    memcpy(e.runs, p->runs, sizeof e.runs);
    bool dropped = p->dropped;
    pending_remove(s, p);
    if (dropped)
        unplace(s, &e);
    else
        index_place(s, &e);
}

void pending_record(struct store *s, struct pending *p)
{
    struct journal_item *item = journal_item_new(RECORD_BLOCK_AT);
    store_block_at_head(&item->head, &p->ref, p->runs, p->place);
    item->sync_first = p->segment;
    item->done = on_recorded;
    item->ctx = p;
    p->state = PENDING_RECORDING;
    journal_append(s->journal, item);
}

/* ---- in -------------------------------------------------------------------------------------- */

static void write_block(struct pool_job *job)
{
    struct pending *p = container_of(job, struct pending, job);
    const uint8_t *data = p->bytes->data + p->offset;
    block_run_hashes(data, p->ref.size, p->runs);
    if (block_digest_of_runs(p->runs, block_runs(p->ref.size)) != p->ref.digest)
        p->status = -EBADMSG;
    else
        p->status = blocks_write(p->segment, p->place.offset, data, p->ref.size);
}

static void on_block_written(struct pool_job *job)
{
    struct pending *p = container_of(job, struct pending, job);
    struct store *s = p->store;
    const struct block_ref *missing = index_missing_get(&s->index, p->ref.name);
    int status = p->status;
    if (status == 0 && missing && !same_block(missing, &p->ref))
        status = -EBADMSG; /* the committed entry that came meanwhile names other bytes */
    blob_unref(p->bytes);
    p->bytes = NULL;
    p->state = PENDING_WRITTEN;
    for (size_t i = 0; i < p->waiters.count; i++)
        store_soon(s, p->waiters.items[i].done, p->waiters.items[i].ctx, status);
    vec_clear(&p->waiters);
    if (status < 0 || p->dropped || index_get(&s->index, p->ref.name, NULL)) {
        blocks_give_back(s->blocks, p->place, p->ref.size);
        pending_remove(s, p);
    } else if (missing) {
        pending_record(s, p);
        journal_kick(s->journal);
    }
}

static struct pending *pending_new(struct store *s, const struct block_ref *ref, struct blob *bytes,
                                   uint32_t offset)
{
    struct pending *p = xcalloc(1, sizeof *p);
    p->node.name = ref->name;
    p->store = s;
    p->ref = *ref;
    p->bytes = blob_ref(bytes);
    p->offset = offset;
    p->job.work = write_block;
    p->job.done = on_block_written;
    return p;
}

void store_put(struct store *s, const struct block_ref *ref, struct blob *bytes, uint32_t offset,
               store_done_fn *done, void *ctx)
{
    struct pending *p = pending_find(s, ref->name);
    const struct block_ref *missing = index_missing_get(&s->index, ref->name);
    struct index_entry e;
    if (ref->size == 0 || ref->size > BLOCK_SIZE_MAX || offset > bytes->size ||
        bytes->size - offset < ref->size || (missing && !same_block(missing, ref))) {
        store_soon(s, done, ctx, -EBADMSG);
    } else if (p && !p->dropped) {
        if (!same_block(&p->ref, ref))
            store_soon(s, done, ctx, -EEXIST);
        else if (p->state == PENDING_WRITING)
            vec_push(&p->waiters, ((struct waiter){done, ctx}));
        else
            store_soon(s, done, ctx, 0);
    } else if (p) {
        store_soon(s, done, ctx, -EAGAIN); /* on its way out: asked for again in a moment */
    } else if (index_get(&s->index, ref->name, &e)) {
        store_soon(s, done, ctx, same_block(&e.ref, ref) ? 0 : -EEXIST);
    } else if (!store_has_room(s, ref->size)) {
        store_soon(s, done, ctx, -ENOSPC);
    } else {
        p = pending_new(s, ref, bytes, offset);
        int rc = blocks_take(s->blocks, ref->size, &p->place, &p->segment);
        if (rc < 0) {
            pending_free(p);
            store_soon(s, done, ctx, rc);
            return;
        }
        vec_push(&p->waiters, ((struct waiter){done, ctx}));
        name_map_put(&s->pending, &p->node);
        s->pending_count++;
        pool_submit(s->pool, &p->job);
    }
}

bool store_has(struct store *s, const struct block_ref *ref)
{
    const struct pending *p = pending_find(s, ref->name);
    struct index_entry e;
    if (p && p->state != PENDING_WRITING && !p->dropped)
        return same_block(&p->ref, ref);
    return index_get(&s->index, ref->name, &e) && same_block(&e.ref, ref);
}

bool store_block_get(struct store *s, struct block_name name, struct block_ref *ret_ref,
                     uint64_t *ret_hashes)
{
    const struct pending *p = pending_find(s, name);
    struct index_entry e;
    if (p && p->state != PENDING_WRITING && !p->dropped) {
        *ret_ref = p->ref;
        if (ret_hashes)
            memcpy(ret_hashes, p->runs, block_runs(p->ref.size) * sizeof *ret_hashes);
        return true;
    }
    if (!index_get(&s->index, name, &e))
        return false;
    *ret_ref = e.ref;
    if (ret_hashes)
        memcpy(ret_hashes, e.runs, block_runs(e.ref.size) * sizeof *ret_hashes);
    return true;
}

/* ---- damaged ------------------------------------------------------------------------------- */

void store_damaged(struct store *s, const struct index_entry *e)
{
    struct index_entry old;
    s->damaged++;
    bool held = index_del(&s->index, NULL, e->ref.name, &old);
    if (s->config.kind == STORE_WITNESS) { /* it just lacks the bytes, also after the next start */
        if (held)
            store_drop_place(s, &old);
        journal_kick(s->journal);
        return;
    }
    if (held)
        store_give_back(s, &old);
    store_note_missing(s, &e->ref);
    index_missing_save(&s->index, e->ref.name); /* else a flush before the record would lose it */
    journal_kick(s->journal);
    if (s->on_missing)
        s->on_missing(s->on_missing_ctx, e->ref.name, true);
}

/* ---- dropped --------------------------------------------------------------------------------- */

void store_drop(struct store *s, struct kv_txn *txn, struct block_name name)
{
    struct pending *p = pending_find(s, name);
    struct index_entry old;
    if (p && p->state == PENDING_WRITTEN) {
        blocks_give_back(s->blocks, p->place, p->ref.size);
        pending_remove(s, p);
    } else if (p)
        p->dropped = true;
    const struct block_ref *missing = index_missing_get(&s->index, name);
    struct block_ref ref = missing ? *missing : (struct block_ref){.name = name};
    bool held = index_del(&s->index, txn, name, &old);
    if (held && txn)
        store_give_back(s, &old); /* the transaction says so, and from where the log is scanned */
    else if (held)
        store_drop_place(s, &old);
    else if (missing && !txn)
        journal_append(s->journal, drop_item(&ref));
    if (!txn)
        journal_kick(s->journal);
    if (missing && s->on_missing)
        s->on_missing(s->on_missing_ctx, name, false);
}

struct each {
    store_block_fn *fn;
    void *ctx;
    bool stopped;
};

static bool each_indexed(void *ctx, const struct index_entry *e)
{
    struct each *each = ctx;
    each->stopped = !each->fn(each->ctx, &e->ref);
    return !each->stopped;
}

void store_each_block(struct store *s, store_block_fn *fn, void *ctx)
{
    struct each each = {fn, ctx, false};
    size_t cursor = 0;
    void *value;
    index_each(&s->index, each_indexed, &each);
    while (!each.stopped && map_next(&s->pending, &cursor, NULL, &value))
        for (struct name_node *n = value; n && !each.stopped; n = n->next) {
            const struct pending *p = container_of(n, struct pending, node);
            if (p->state != PENDING_WRITING && !p->dropped &&
                !index_get(&s->index, p->ref.name, NULL))
                each.stopped = !fn(ctx, &p->ref);
        }
}

/* ---- missing --------------------------------------------------------------------------------- */

struct missing_record {
    struct store *store;
    struct block_name name;
};

static void on_missing_recorded(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct missing_record *m = ctx;
    (void)item, (void)lsn;
    index_missing_save(&m->store->index, m->name);
    free(m);
}

void store_note_missing(struct store *s, const struct block_ref *ref)
{
    struct journal_item *item = journal_item_new(RECORD_MISSING);
    struct missing_record *m = xmalloc(sizeof *m);
    *m = (struct missing_record){s, ref->name};
    index_missing_note(&s->index, ref);
    ref_put(&item->head, ref);
    item->done = on_missing_recorded;
    item->cancel = free;
    item->ctx = m;
    journal_append(s->journal, item);
}

void store_add_missing(struct store *s, const struct block_ref *ref)
{
    store_note_missing(s, ref);
    journal_kick(s->journal);
}

uint64_t store_missing_count(const struct store *s)
{
    return s->index.missing_count;
}

bool store_is_missing(const struct store *s, struct block_name name)
{
    return index_is_missing(&s->index, name);
}

void store_each_missing(struct store *s, store_block_fn *each, void *ctx)
{
    index_each_missing(&s->index, each, ctx);
}

void store_on_missing(struct store *s, store_missing_fn *fn, void *ctx)
{
    s->on_missing = fn;
    s->on_missing_ctx = ctx;
}

/* ---- out of the log -------------------------------------------------------------------------- */

/* One inline block that moves from the log to a block segment. It is still held where it was until
 * the new place is durable. */
struct moving {
    struct store *store;
    struct index_entry e;
    struct block_place place;
    struct block_segment *segment;
    int status;
};

/* Many at once: one by one, each few of them held up a group of the log with a flush. */
struct move_batch {
    struct pool_job job;
    struct store *store;
    vec_of(struct moving *) blocks;
};
enum { MOVE_BATCH_BYTES = 1 << 20 };

static uint32_t room_of(const struct moving *m)
{
    return align_up(m->e.ref.size, BLOCK_PAGE_SIZE);
}

static int move_read(const struct moving *m, uint8_t *ret)
{
    uint64_t runs[BLOCK_RUNS_MAX];
    if (file_read_at(m->store->moving_fd, ret, m->e.ref.size, m->e.offset) < 0)
        return -EBADMSG; /* damaged: trying again would not help */
    block_run_hashes(ret, m->e.ref.size, runs);
    bool same = memcmp(runs, m->e.runs, block_runs(m->e.ref.size) * sizeof *runs) == 0;
    return same ? 0 : -EBADMSG;
}

static bool lies_behind(const struct moving *m, const struct moving *before)
{
    return m->segment == before->segment &&
           m->place.offset == before->place.offset + room_of(before);
}

/* The blocks from `first` on that lie behind one another go to the disk. How many they are. */
static size_t move_run(struct move_batch *b, size_t first)
{
    struct moving *const *blocks = b->blocks.items;
    size_t end = first;
    uint32_t size = 0;
    do
        size += room_of(blocks[end++]);
    while (end < b->blocks.count && lies_behind(blocks[end], blocks[end - 1]));
    uint8_t *bytes = xcalloc(size, 1), *at = bytes;
    for (size_t i = first; i < end; at += room_of(blocks[i++]))
        blocks[i]->status = move_read(blocks[i], at);
    struct block_segment *segment = blocks[first]->segment;
    int rc = blocks_write_cached(segment, blocks[first]->place.offset, bytes, size);
    free(bytes);
    for (size_t i = first; i < end; i++)
        blocks[i]->status = blocks[i]->status < 0 ? blocks[i]->status : rc;
    rc = rc < 0 ? 0 : blocks_write_back(segment);
    if (rc < 0)
        journal_die("fdatasync of moved blocks", rc);
    return end - first;
}

static void move_some(struct pool_job *job)
{
    struct move_batch *b = container_of(job, struct move_batch, job);
    for (size_t i = 0; i < b->blocks.count;)
        i += move_run(b, i);
}

static bool still_there(struct store *s, const struct index_entry *e)
{
    struct index_entry now;
    return index_get(&s->index, e->ref.name, &now) && now.kind == e->kind &&
           now.number == e->number && now.offset == e->offset;
}

static void moving_end(struct moving *m)
{
    struct store *s = m->store;
    if (m->segment)
        blocks_unpin(s->blocks, m->segment);
    s->moving_progress |= m->status == 0 || m->status == -EBADMSG;
    s->moving_inline--;
    free(m);
}

static void moves_over(struct store *s)
{
    if (s->moving_inline > 0 || s->moving_fd < 0)
        return;
    (void)close(s->moving_fd);
    s->moving_fd = -1;
    vec_clear(&s->moves);
    if (s->moving_progress) /* else the disk is full: tried again by the next release */
        store_release(s);
}

static void move_place(struct moving *m, lsn_no lsn)
{
    struct index_entry e = m->e;
    e.kind = PLACE_BLOCKS;
    e.number = m->place.segment;
    e.offset = m->place.offset;
    store_note_place(m->store, lsn);
    if (still_there(m->store, &m->e))
        index_place(m->store, &e);
    else
        unplace(m->store, &e);
}

static void on_moved(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct moving *m = ctx;
    struct store *s = m->store;
    (void)item;
    move_place(m, lsn);
    moving_end(m);
    moves_over(s);
}

static void record_move(struct moving *m, journal_done_fn *done)
{
    struct journal_item *item = journal_item_new(RECORD_BLOCK_AT);
    store_block_at_head(&item->head, &m->e.ref, m->e.runs, m->place);
    item->sync_first = m->segment;
    item->done = done;
    item->cancel = free;
    item->ctx = m;
    journal_append(m->store->journal, item);
}

static void move_written(struct store *s, struct moving *m)
{
    if (m->status == 0 && still_there(s, &m->e)) {
        record_move(m, on_moved);
        return;
    }
    if (m->status == -EBADMSG && still_there(s, &m->e))
        store_damaged(s, &m->e);
    blocks_give_back(s->blocks, m->place, m->e.ref.size);
    moving_end(m);
}

static void move_next(struct store *s);

static void on_batch_written(struct pool_job *job)
{
    struct move_batch *b = container_of(job, struct move_batch, job);
    struct store *s = b->store;
    for (size_t i = 0; i < b->blocks.count; i++)
        move_written(s, b->blocks.items[i]);
    vec_done(&b->blocks);
    free(b);
    journal_kick(s->journal);
    move_next(s);
    moves_over(s);
}

/* The next batch; what has gone meanwhile is passed over. */
static void move_next(struct store *s)
{
    struct move_batch *b = xcalloc(1, sizeof *b);
    b->store = s;
    b->job.work = move_some;
    b->job.done = on_batch_written;
    bool full = false;
    uint32_t bytes = 0;
    while (s->moves_next < s->moves.count && bytes < MOVE_BATCH_BYTES) {
        struct moving *m = s->moves.items[s->moves_next++];
        full = full || (still_there(s, &m->e) &&
                        blocks_take(s->blocks, m->e.ref.size, &m->place, &m->segment) < 0);
        if (m->segment) {
            vec_push(&b->blocks, m);
            bytes += room_of(m);
        } else {
            m->status = full ? -ENOSPC : 0; /* full: the log keeps it */
            moving_end(m);
        }
    }
    if (b->blocks.count != 0) {
        pool_submit(s->pool, &b->job);
    } else {
        free(b);
    }
}

static bool move_one(void *ctx, const struct index_entry *e)
{
    struct store *s = ctx;
    struct moving *m = xcalloc(1, sizeof *m);
    m->store = s;
    m->e = *e;
    s->moving_inline++;
    vec_push(&s->moves, m);
    return true;
}

void store_move_inline(struct store *s)
{
    uint32_t generation = index_first_log_generation(&s->index);
    if (s->moving_inline || generation == 0)
        return;
    s->moving_fd = journal_open_segment(s->journal, generation);
    if (s->moving_fd < 0)
        return;
    s->moving_progress = false;
    s->moves_next = 0;
    index_each_at(&s->index, PLACE_LOG, generation, move_one, s);
    move_next(s);
    if (s->moving_inline == 0) { /* nothing could be moved; not at once again */
        s->moving_progress = false;
        moves_over(s);
    }
}

void store_moves_free(struct store *s)
{
    while (s->moves_next < s->moves.count)
        free(s->moves.items[s->moves_next++]);
    vec_done(&s->moves);
}

static void on_kept(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct moving *m = ctx;
    (void)item;
    move_place(m, lsn);
    blocks_unpin(m->store->blocks, m->segment);
    free(m);
}

int store_keep(struct store *s, const struct index_entry *e, const uint8_t *bytes)
{
    const struct pending *p = pending_find(s, e->ref.name);
    uint64_t runs[BLOCK_RUNS_MAX];
    if (p && p->state == PENDING_RECORDING && !p->dropped)
        return 0; /* one that is still being put may come to nothing */
    block_run_hashes(bytes, e->ref.size, runs);
    if (memcmp(runs, e->runs, block_runs(e->ref.size) * sizeof *runs) != 0)
        return -ENODATA;
    struct moving *m = xcalloc(1, sizeof *m);
    m->store = s;
    m->e = *e;
    int rc = blocks_take(s->blocks, e->ref.size, &m->place, &m->segment);
    if (rc < 0) {
        free(m);
        return rc;
    }
    rc = blocks_write(m->segment, m->place.offset, bytes, e->ref.size); /* small, and rare */
    if (rc < 0) {
        blocks_give_back(s->blocks, m->place, e->ref.size);
        blocks_unpin(s->blocks, m->segment);
        free(m);
        return rc;
    }
    record_move(m, on_kept);
    return 0;
}
