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

enum { FLUSH_AFTER_SEGMENTS = 4 }; /* of the log, written since the last flush began */

void store_wake_nobody(void *ctx)
{
    (void)ctx;
}

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
    if (s->flush_next.count) {
        for (size_t i = 0; i < s->flush_next.count; i++)
            vec_push(&s->flush_waiters, s->flush_next.items[i]);
        vec_clear(&s->flush_next);
        start_flush(s);
    }
}

static void start_flush(struct store *s)
{
    struct flush_job *f = xcalloc(1, sizeof *f);
    f->store = s;
    f->kv = s->kv;
    /* what the key-value store says of itself: the state of the last transaction */
    index_get_state(&s->index, &f->applied, &f->scan_from);
    f->epoch = blocks_epoch(s->blocks);
    f->job.work = flush_kv;
    f->job.done = on_flushed;
    s->flushing = true;
    pool_submit(s->pool, &f->job);
}

void store_flush(struct store *s, store_done_fn *done, void *ctx)
{
    if (s->config.kind != STORE_COPY || s->aside) {
        store_soon(s, done, ctx, 0);
        return;
    }
    struct waiter w = {done, ctx};
    if (s->flushing) {
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

void store_fill_txn(struct store *s, struct kv_txn *txn, uint64_t applied)
{
    s->applied = applied;
    index_put_state(&s->index, txn, applied, journal_synced(s->journal));
    if (!s->flushing &&
        journal_newest(s->journal) >= lsn_generation(s->durable_scan_from) + FLUSH_AFTER_SEGMENTS)
        store_flush(s, NULL, NULL);
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
    if (!s->aside)
        return;
    kv_close(s->aside);
    s->aside = NULL;
    vec_clear(&s->needed);
    char *dir = store_kv_dir(s, s->control.kv_generation + 1);
    (void)file_remove_tree(dir);
    free(dir);
}

struct switching {
    struct pool_job job;
    struct store *store;
    uint64_t index, term;
    lsn_no scan_from;
    int status;
    store_done_fn *done;
    void *ctx;
};

static int compare_refs(const void *a, const void *b)
{
    const struct block_ref *x = a, *y = b;
    return block_name_compare(x->name, y->name);
}

struct unneeded {
    const struct store *s;
    vec_of(struct block_name) names;
};

static bool find_unneeded(void *ctx, const struct index_entry *e)
{
    struct unneeded *u = ctx;
    if (!u->s->needed.count ||
        !bsearch(&e->ref, u->s->needed.items, u->s->needed.count, sizeof e->ref, compare_refs))
        vec_push(&u->names, e->ref.name);
    return true;
}

static bool collect_name(void *ctx, const struct block_ref *ref)
{
    struct unneeded *u = ctx;
    if (!u->s->needed.count ||
        !bsearch(ref, u->s->needed.items, u->s->needed.count, sizeof *ref, compare_refs))
        vec_push(&u->names, ref->name);
    return true;
}

/* The index goes over to the new state: what it needs and is not here is missing, the rest is dead.
 */
static void fit_index(struct store *s)
{
    struct unneeded u = {.s = s};
    if (s->needed.count)
        qsort(s->needed.items, s->needed.count, sizeof *s->needed.items, compare_refs);
    s->index.aside = s->aside;
    index_copy(&s->index);
    index_each(&s->index, find_unneeded, &u);
    index_each_missing(&s->index, collect_name, &u);
    for (size_t i = 0; i < u.names.count; i++) {
        struct index_entry old;
        if (index_del(&s->index, NULL, u.names.items[i], &old))
            store_give_back(s, &old);
    }
    vec_done(&u.names);
    for (size_t i = 0; i < s->needed.count; i++) {
        const struct block_ref *ref = &s->needed.items[i];
        struct pending *p = pending_find(s, ref->name);
        if (index_get(&s->index, ref->name, NULL))
            continue;
        index_missing_note(&s->index, ref);
        index_missing_save(&s->index, ref->name);
        if (p && p->state == PENDING_WRITTEN && !p->dropped)
            pending_record(s, p);
    }
    vec_clear(&s->needed);
}

static void flush_aside(struct pool_job *job)
{
    struct switching *w = container_of(job, struct switching, job);
    w->status = kv_flush(w->store->aside);
}

static void on_switched(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct switching *w = ctx;
    struct store *s = w->store;
    (void)item, (void)lsn;
    struct kv *old = s->kv;
    s->kv = s->aside;
    s->aside = NULL;
    s->index.kv = s->kv;
    s->index.aside = NULL;
    s->base = w->index;
    s->entries.count = 0;
    s->applied = s->durable_applied = w->index;
    s->durable_scan_from = w->scan_from;
    kv_close(old);
    char *dir = store_kv_dir(s, s->control.kv_generation - 1);
    (void)file_remove_tree(dir);
    free(dir);
    store_release(s);
    w->done(w->ctx, 0);
    free(w);
}

static void on_aside_flushed(struct pool_job *job)
{
    struct switching *w = container_of(job, struct switching, job);
    struct store *s = w->store;
    if (w->status < 0) {
        s->index.aside = NULL;
        store_snapshot_abort(s);
        w->done(w->ctx, w->status);
        free(w);
        return;
    }
    s->control.kv_generation++;
    s->control.base_index = w->index;
    s->control.base_term = w->term;
    struct journal_item *item = store_control_item(s, RECORD_BASE);
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
    assert(s->aside);
    *w = (struct switching){.store = s, .index = index, .term = term, .done = done, .ctx = ctx};
    w->scan_from = journal_synced(s->journal);
    fit_index(s);
    index_put_state(&aside, NULL, index, w->scan_from);
    kv_batch_done(&aside.batch);
    w->job.work = flush_aside;
    w->job.done = on_aside_flushed;
    journal_kick(s->journal);
    pool_submit(s->pool, &w->job);
}
