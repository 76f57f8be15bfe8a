/* Making the applied state durable; taking in a snapshot; space given back. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/file.h"
#include "repl/io/kv_rocks.h"
#include "repl/io/log.h"
#include "repl/io/store_internal.h"

void store_wake_nobody(void *ctx)
{
    (void)ctx;
}

/* A snapshot on its way to being the state. */
struct switching {
    struct pool_job job;
    struct store *store;
    uint64_t index, term;
    lsn_no scan_from;
    int status;
    store_done_fn *done;
    void *ctx;
};

/* ---- flushes --------------------------------------------------------------------------------- */

struct flush_job {
    struct pool_job job;
    struct store *store;
    struct kv *kv;
    uint64_t applied, epoch;
    lsn_no scan_from;
    int status;
};

static void flush_kv(struct pool_job *job)
{
    struct flush_job *f = container_of(job, struct flush_job, job);
    f->status = kv_flush(f->kv);
}

static void start_flush(struct store *s);

static void submit_switch(struct store *s)
{
    index_settle(&s->index);
    pool_submit(s->pool, &s->switching->job);
}

static void flush_again(struct store *s)
{
    if (!s->flush_next.count)
        return;
    for (size_t i = 0; i < s->flush_next.count; i++)
        vec_push(&s->flush_waiters, s->flush_next.items[i]);
    vec_clear(&s->flush_next);
    start_flush(s);
}

static void on_flushed(struct pool_job *job)
{
    struct flush_job *f = container_of(job, struct flush_job, job);
    struct store *s = f->store;
    s->flushing = false;
    if (f->status < 0) {
        log_error("TALLY-3014", "the applied state cannot be flushed: %s", strerror(-f->status));
    } else {
        s->durable_applied = f->applied;
        s->durable_scan_from = f->scan_from;
        blocks_reclaim(s->blocks, f->epoch);
        store_release(s);
    }
    for (size_t i = 0; i < s->flush_waiters.count; i++)
        store_soon(s, s->flush_waiters.items[i].done, s->flush_waiters.items[i].ctx, f->status);
    vec_clear(&s->flush_waiters);
    free(f);
    if (s->switching)
        submit_switch(s); /* it waited for us: we used the old state */
    else
        flush_again(s);
}

static void start_flush(struct store *s)
{
    struct flush_job *f = xcalloc(1, sizeof *f);
    f->store = s;
    f->kv = s->kv;
    index_settle(&s->index);
    /* what the key-value store says of itself: the state of the last transaction */
    index_get_state(&s->index, &f->applied, &f->scan_from);
    f->epoch = blocks_epoch(s->blocks);
    f->job.work = flush_kv;
    f->job.done = on_flushed;
    s->flushing = true;
    pool_submit(s->pool, &f->job);
}

void store_settle(struct store *s)
{
    if (kv_waiting(s->kv) >= STORE_SETTLE_OPS)
        index_settle(&s->index);
}

void store_flush(struct store *s, store_done_fn *done, void *ctx)
{
    if (s->config.kind != STORE_COPY) {
        store_soon(s, done, ctx, 0);
        return;
    }
    struct waiter w = {done, ctx};
    if (s->flushing || s->switching) {
        if (done)
            vec_push(&s->flush_next, w);
        return;
    }
    if (done)
        vec_push(&s->flush_waiters, w);
    start_flush(s);
}

uint64_t store_durable_applied(const struct store *s)
{
    return s->durable_applied;
}

static void on_flush_due(void *ctx, int status)
{
    struct store *s = ctx;
    (void)status;
    s->flush_due = false;
    store_flush(s, NULL, NULL);
}

void store_fill_txn(struct store *s, struct kv_txn *txn, uint64_t applied)
{
    s->applied = applied;
    index_put_state(&s->index, txn, applied, journal_synced(s->journal));
    if (s->flush_due || s->flushing ||
        journal_newest(s->journal) < lsn_generation(s->durable_scan_from) + STORE_FLUSH_SEGMENTS)
        return;
    /* Not now: what the transaction drops is given back already, and a flush that ends before it is
     * committed would let go of what the durable state still names (RULES S4). */
    s->flush_due = true;
    store_soon(s, on_flush_due, s, 0);
}

/* ---- snapshots (RULES B7) -------------------------------------------------------------------- */

int store_snapshot_begin(struct store *s)
{
    char error[256] = "";
    if (s->config.kv || s->config.kind != STORE_COPY)
        return -ENOTSUP;
    store_snapshot_abort(s);
    char *dir = store_kv_dir(s, s->control.kv_generation + 1);
    int rc = file_remove_tree(dir);
    if (rc == 0)
        rc = kv_rocks_open(dir, STORE_TABLES, true, &s->aside, error, sizeof error);
    if (rc < 0)
        log_warn("TALLY-3015", "a snapshot cannot be begun: %s", error[0] ? error : strerror(-rc));
    free(dir);
    return rc;
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
    assert(!s->switching);
    if (!s->aside)
        return;
    kv_close(s->aside);
    s->aside = NULL;
    vec_clear(&s->needed);
    char *dir = store_kv_dir(s, s->control.kv_generation + 1);
    (void)file_remove_tree(dir);
    free(dir);
}

static int compare_refs(const void *a, const void *b)
{
    const struct block_ref *x = a, *y = b;
    return block_name_compare(x->name, y->name);
}

/* The new state gets the old one's index, and what it needs beyond that is missing there. The old
 * one stays as it is, since a crash may still come back to it. */
static void fit_index(struct store *s)
{
    if (s->needed.count)
        qsort(s->needed.items, s->needed.count, sizeof *s->needed.items, compare_refs);
    s->index.aside = s->aside;
    index_copy(&s->index);
    for (size_t i = 0; i < s->needed.count; i++) {
        const struct block_ref *ref = &s->needed.items[i];
        struct index_entry e;
        if (!index_get(&s->index, ref->name, &e) || e.ref.size != ref->size ||
            e.ref.digest != ref->digest)
            index_aside_missing(&s->index, ref);
    }
}

static bool is_needed(const struct store *s, const struct block_ref *ref)
{
    return s->needed.count &&
           bsearch(ref, s->needed.items, s->needed.count, sizeof *ref, compare_refs);
}

struct unneeded {
    const struct store *s;
    vec_of(struct block_name) names;
};

static bool find_unneeded_missing(void *ctx, const struct block_ref *ref)
{
    struct unneeded *u = ctx;
    if (!is_needed(u->s, ref))
        vec_push(&u->names, ref->name);
    return true;
}

static bool find_unneeded(void *ctx, const struct index_entry *e)
{
    return find_unneeded_missing(ctx, &e->ref);
}

/* With an empty log nothing but the snapshot names blocks. Else entries above it may, and what is
 * dead is left to the owner's comparison of names after the next start. */
static void drop_unneeded(struct store *s)
{
    struct unneeded u = {.s = s};
    if (s->entries.count)
        return;
    index_each(&s->index, find_unneeded, &u);
    index_each_missing(&s->index, find_unneeded_missing, &u);
    for (size_t i = 0; i < u.names.count; i++) {
        struct index_entry old;
        if (index_del(&s->index, NULL, u.names.items[i], &old))
            store_give_back(s, &old);
    }
    /* A place recorded since the snapshot was begun must not be found again. */
    if (u.names.count)
        index_put_state(&s->index, NULL, s->applied, journal_synced(s->journal));
    vec_done(&u.names);
}

/* Blocks that came while the state was switched and were not known to be missing. */
static void record_arrived(struct store *s)
{
    for (size_t i = 0; i < s->needed.count; i++) {
        struct block_name name = s->needed.items[i].name;
        struct pending *p = pending_find(s, name);
        if (p && p->state == PENDING_WRITTEN && !p->dropped && index_is_missing(&s->index, name))
            pending_record(s, p);
    }
}

static void flush_aside(struct pool_job *job)
{
    struct switching *w = container_of(job, struct switching, job);
    w->status = kv_flush(w->store->aside);
    if (w->status == 0) /* RocksDB syncs what is in its directory, not the directory's name */
        w->status = file_sync_dir(w->store->dir);
}

static void on_switched(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct switching *w = ctx;
    struct store *s = w->store;
    (void)item, (void)lsn;
    struct kv *old = s->kv;
    s->kv = s->aside;
    s->aside = NULL;
    index_switch(&s->index);
    s->applied = s->durable_applied = w->index;
    s->durable_scan_from = w->scan_from;
    kv_close(old);
    char *dir = store_kv_dir(s, s->control.kv_generation - 1);
    (void)file_remove_tree(dir);
    free(dir);
    drop_unneeded(s);
    record_arrived(s);
    vec_clear(&s->needed);
    s->switching = NULL;
    s->bases_queued--;
    store_release(s);
    w->done(w->ctx, 0);
    free(w);
    flush_again(s);
}

/* The log from now on: entries above the snapshot stay when the log has the snapshot's last entry,
 * since they may have been acknowledged; else they contradict it, or there are none. */
static enum record_kind rebase(struct store *s, uint64_t index, uint64_t term)
{
    bool keep = index > s->base && index <= log_last(s) && log_at(s, index)->term == term;
    size_t gone = keep ? index - s->base : s->entries.count;
    if (s->entries.count > gone)
        memmove(s->entries.items, s->entries.items + gone,
                (s->entries.count - gone) * sizeof *s->entries.items);
    s->entries.count -= gone;
    s->base = s->control.base_index = index;
    s->control.base_term = term;
    s->switched = true;
    return keep ? RECORD_CONTROL : RECORD_BASE;
}

static void on_aside_flushed(struct pool_job *job)
{
    struct switching *w = container_of(job, struct switching, job);
    struct store *s = w->store;
    if (w->status < 0) {
        s->index.aside = NULL;
        s->switching = NULL;
        store_snapshot_abort(s);
        w->done(w->ctx, w->status);
        free(w);
        flush_again(s);
        return;
    }
    s->control.kv_generation++;
    s->bases_queued++;
    struct journal_item *item = store_control_item(s, rebase(s, w->index, w->term));
    item->done = on_switched;
    item->ctx = w;
    journal_append(s->journal, item);
    journal_kick(s->journal);
}

void store_snapshot_commit(struct store *s, uint64_t index, uint64_t term, store_done_fn *done,
                           void *ctx)
{
    struct switching *w = xcalloc(1, sizeof *w);
    struct index aside = {.kv = s->aside};
    assert(s->aside && !s->switching);
    *w = (struct switching){.store = s, .index = index, .term = term, .done = done, .ctx = ctx};
    w->scan_from = journal_synced(s->journal);
    fit_index(s);
    index_put_state(&aside, NULL, index, w->scan_from);
    kv_batch_done(&aside.batch);
    w->job.work = flush_aside;
    w->job.done = on_aside_flushed;
    s->switching = w;
    if (!s->flushing) /* else when that ends: it uses the state that is about to be closed */
        submit_switch(s);
}
