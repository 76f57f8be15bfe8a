/* What a power cut at one spot takes, found by test_store_power and told here step by step. All
 * that no sync covered is lost, unless a test says otherwise. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/io/store_world.h"
#include "tests/unit/repl/io/volatile_disk.h"

static void make(struct world *w, enum store_kind kind)
{
    world_make(w, kind);
    disk_watch(w->dir);
}

static void end(struct world *w)
{
    close_store(w);
    disk_unwatch();
    world_close(w);
}

/* What happens in closing is of no use any more. */
static void cut_power_keeping(struct world *w, uint64_t seed)
{
    disk_cut();
    close_store(w);
    disk_power_on(seed);
    w->started = false;
    ck_assert_msg(open_store(w) == 0, "%s", w->error);
}

static void cut_power(struct world *w)
{
    cut_power_keeping(w, DISK_LOSES_ALL);
}

static void write_durably(struct world *w, uint64_t index, uint64_t term,
                          const struct block_ref *ref, bool inl, uint64_t commit)
{
    ck_assert_int_eq(write_entry(w, index, term, ref, inl, commit), 0);
    store_drain(w->store);
    ck_assert_uint_eq(w->durable, w->ticket);
}

static void apply_dropping(struct world *w, uint64_t index, const struct block_ref *ref)
{
    store_drop(w->store, w->txn, ref->name);
    apply(w, index);
}

/* Until `status` is told; nothing goes to the log. */
static void wait_status(struct world *w, int want)
{
    for (;;) {
        unsigned seen = w->wakes;
        store_poll(w->store);
        if (w->status != 1)
            break;
        wait_wake(w, seen);
    }
    ck_assert_int_eq(w->status, want);
}

static void flush(struct world *w)
{
    w->status = 1;
    store_flush(w->store, on_status, w);
    wait_status(w, 0);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Whether it was done before. */
static bool creation_cut(enum store_kind kind, unsigned calls)
{
    struct world w;
    make(&w, kind);
    disk_cut_after(calls);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    bool done = !disk_is_cut();
    disk_cut();
    close_store(&w);
    disk_power_on(DISK_LOSES_ALL);
    ck_assert_msg(open_store(&w) == 0, "cut before call %u: %s", calls, w.error);
    ck_assert(!done || !w.info.created);
    end(&w);
    return done;
}

START_TEST(a_creation_cut_anywhere)
{
    enum { SPARSE = 40 };
    unsigned calls = 1;
    while (!creation_cut(_i, calls))
        calls += SPARSE;
}
END_TEST

/* The identity may be there after the cut or not, and of all other names those that no sync
 * covered. */
START_TEST(an_identity_outlives_no_name_that_it_stands_for)
{
    enum { SEEDS = 24 };
    unsigned made = 0, lost = 0;
    for (uint64_t seed = DISK_KEEPS_ALL + 1; seed <= SEEDS; seed++) {
        struct world w;
        make(&w, _i);
        disk_cut_when_named("/identity");
        ck_assert_msg(open_store(&w) == 0, "%s", w.error);
        ck_assert(disk_is_cut());
        close_store(&w);
        disk_power_on(seed);
        ck_assert_msg(open_store(&w) == 0, "seed %u: %s", (unsigned)seed, w.error);
        made += !w.info.created;
        lost += w.info.created;
        end(&w);
    }
    ck_assert_uint_gt(made, 0);
    ck_assert_uint_gt(lost, 0);
}
END_TEST

/* Two segments lie above the end of the log, which go before it begins again. */
START_TEST(segments_above_the_end_go_without_a_gap)
{
    struct world w;
    unsigned calls = 0;
    for (bool all = false; !all; calls++) {
        make(&w, STORE_WITNESS);
        ck_assert_int_eq(open_store(&w), 0);
        write_durably(&w, 1, 1, NULL, false, 0);
        close_store(&w);
        char *above[] = {file_path(w.dir, "log/%08x.log", 2), file_path(w.dir, "log/%08x.log", 3)};
        ck_assert_int_eq(file_replace(above[0], "", 0), 0);
        ck_assert_int_eq(file_replace(above[1], "", 0), 0);
        disk_cut_after(calls + 1);
        ck_assert_msg(open_store(&w) == 0, "%s", w.error);
        all = !disk_is_cut();
        disk_cut();
        close_store(&w);
        disk_power_on(DISK_KEEPS_ALL);
        ck_assert_msg(open_store(&w) == 0, "cut before call %u: %s", calls, w.error);
        ck_assert_uint_eq(w.info.last_index, 1);
        free(above[0]);
        free(above[1]);
        end(&w);
    }
}
END_TEST

enum { SNAPSHOT_INDEX = 50 };

static void begin_snapshot(struct world *w)
{
    struct kv_batch batch = {0};
    ck_assert_int_eq(store_snapshot_begin(w->store), 0);
    kv_batch_put(&batch, STORE_TABLE_STATE, "k", 1, "v", 1);
    ck_assert_int_eq(kv_write(store_snapshot_kv(w->store), &batch), 0);
    kv_batch_done(&batch);
}

/* Of an entry that the log does not have: it is empty then. */
static void switch_snapshot(struct world *w)
{
    kv_txn_free(w->txn);
    w->txn = NULL;
    w->status = 1;
    store_snapshot_commit(w->store, SNAPSHOT_INDEX, 3, on_status, w);
    store_drain(w->store);
    ck_assert_int_eq(w->status, 0);
}

START_TEST(a_snapshots_directory_has_its_name)
{
    struct world w;
    make(&w, STORE_COPY);
    ck_assert_int_eq(open_store(&w), 0);
    begin_snapshot(&w);
    switch_snapshot(&w);
    cut_power(&w);
    ck_assert_uint_eq(w.info.applied, SNAPSHOT_INDEX);
    end(&w);
}
END_TEST

/* ---- places ---------------------------------------------------------------------------------- */

static void leave_it(const char *path, void *ctx)
{
    (void)path, (void)ctx;
}

/* The state that still names them is durable, the one that drops them is not, and the log segments
 * that they were in are gone. */
START_TEST(a_place_in_a_log_segment_that_is_gone_is_missing)
{
    enum { ENTRIES = 60 };
    struct world w;
    make(&w, STORE_COPY);
    ck_assert_int_eq(open_store(&w), 0);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct block_ref inl = ref_of(i, 60000);
        write_durably(&w, i, 1, &inl, true, i);
        apply(&w, i);
    }
    flush(&w);
    for (uint64_t i = ENTRIES + 1; i <= 2 * ENTRIES; i++) {
        struct block_ref dead = ref_of(i - ENTRIES, 60000);
        write_durably(&w, i, 1, NULL, false, i);
        apply_dropping(&w, i, &dead);
    }
    store_truncate(w.store, ENTRIES);
    store_drain(w.store);
    for (;;) { /* the first is gone durably when the second goes */
        unsigned seen = disk_calls();
        if (!each_file(&w, "log", "00000002.log", leave_it, NULL))
            break;
        disk_wait_call(seen);
    }
    cut_power(&w);
    ck_assert_uint_eq(w.info.applied, ENTRIES);
    ck_assert_uint_gt(store_missing_count(w.store), 0);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct block_ref dead = ref_of(i, 60000);
        ck_assert(store_has(w.store, &dead) != store_is_missing(w.store, dead.name));
        if (store_has(w.store, &dead))
            ck_assert_int_eq(read_back(&w, &dead), 0);
    }
    /* and that is not forgotten */
    uint64_t missing = store_missing_count(w.store);
    disk_cut();
    close_store(&w);
    disk_power_on(DISK_LOSES_ALL);
    w.started = true; /* nothing goes to the log */
    ck_assert_int_eq(open_store(&w), 0);
    flush(&w);
    cut_power(&w);
    ck_assert_uint_eq(store_missing_count(w.store), missing);
    end(&w);
}
END_TEST

/* Block 1 is written, and its BLOCK_AT waits for a start of the node. */
static void put_late(struct world *w, const struct block_ref *late)
{
    struct blob *b = bytes_of(1, 5000);
    w->status = 1;
    store_put(w->store, late, b, 0, on_status, w);
    blob_unref(b);
    wait_status(w, 0);
}

/* The state to switch to is scanned from before the place, and has no use for it. */
START_TEST(a_place_that_comes_during_a_switch_is_dropped_with_its_name)
{
    struct world w;
    struct block_ref late = ref_of(1, 5000);
    make(&w, STORE_COPY);
    w.started = true;
    ck_assert_int_eq(open_store(&w), 0);
    write_durably(&w, 1, 1, &late, false, 1);
    begin_snapshot(&w);
    put_late(&w, &late);
    switch_snapshot(&w);
    ck_assert(!store_has(w.store, &late));
    flush(&w);
    cut_power(&w);
    ck_assert_uint_eq(w.info.applied, SNAPSHOT_INDEX);
    ck_assert(!store_has(w.store, &late));
    end(&w);
}
END_TEST

static void on_read(void *ctx, int status, struct blob *bytes)
{
    (void)bytes;
    on_status(ctx, status);
}

/* The index forgets the place before the log says that the name is missing. */
START_TEST(damage_is_not_forgotten)
{
    struct world w;
    struct block_ref part = ref_of(1, 5000);
    off_t at = 100;
    make(&w, STORE_COPY);
    w.started = true;
    ck_assert_int_eq(open_store(&w), 0);
    put(&w, &part);
    write_durably(&w, 1, 1, &part, false, 1);
    apply(&w, 1);
    flush(&w);
    ck_assert_int_eq(each_file(&w, "blocks", ".blk", flip, &at), 1);
    w.status = 1;
    store_read(w.store, part.name, 0, part.size, on_read, &w);
    wait_status(&w, -EBADMSG);
    ck_assert(store_is_missing(w.store, part.name));
    flush(&w);
    cut_power(&w);
    ck_assert(store_is_missing(w.store, part.name));
    end(&w);
}
END_TEST

/* Its place goes to the log after the state that drops it: scanned from there, it would be back. */
START_TEST(dropped_while_its_place_is_on_its_way)
{
    struct world w;
    struct block_ref late = ref_of(1, 5000);
    make(&w, STORE_COPY);
    w.started = true;
    ck_assert_int_eq(open_store(&w), 0);
    write_durably(&w, 1, 1, &late, false, 1);
    write_durably(&w, 2, 1, NULL, false, 2);
    apply(&w, 1);
    ck_assert(store_is_missing(w.store, late.name));
    put_late(&w, &late);
    ck_assert(store_has(w.store, &late));
    apply_dropping(&w, 2, &late);
    store_drain(w.store);
    flush(&w);
    cut_power(&w);
    ck_assert_uint_eq(w.info.applied, 2);
    ck_assert(!store_has(w.store, &late));
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    end(&w);
}
END_TEST

/* The same for what moves out of the log. */
START_TEST(dropped_while_it_moves_out_of_the_log)
{
    enum { ENTRIES = 60 };
    struct world w;
    struct block_ref inl = ref_of(1, 5000), none;
    struct store_stats stats = {0};
    make(&w, STORE_COPY);
    w.started = true;
    ck_assert_int_eq(open_store(&w), 0);
    write_durably(&w, 1, 1, &inl, true, 1);
    for (uint64_t i = 2; i <= ENTRIES; i++) {
        none = ref_of(1000 + i, 60000);
        write_durably(&w, i, 1, &none, true, i);
        apply_dropping(&w, i, &none);
    }
    flush(&w);
    store_truncate(w.store, ENTRIES - 1);
    while (stats.block_bytes == 0) { /* until the move has begun */
        (void)store_start(w.store);
        store_poll(w.store);
        store_stats(w.store, &stats);
    }
    flush(&w); /* the threads take what comes in order: meanwhile they moved it, */
    flush(&w); /* and its BLOCK_AT waits for a start */
    apply_dropping(&w, ENTRIES, &inl);
    store_drain(w.store);
    flush(&w);
    cut_power(&w);
    ck_assert(!store_has(w.store, &inl));
    end(&w);
}
END_TEST

/* Filling it into the transaction that drops it begins a flush, which may be over before the
 * transaction is committed: it must not give back the space of what the durable state names. */
START_TEST(dropped_in_a_transaction_that_a_flush_overtakes)
{
    enum { ENTRIES = 100 }; /* so many log segments that a flush is due */
    struct world w;
    struct block_ref dead = ref_of(1, 200000), stays = ref_of(2, 200000);
    make(&w, STORE_COPY);
    ck_assert_int_eq(open_store(&w), 0);
    put(&w, &dead);
    put(&w, &stays);
    write_durably(&w, 1, 1, &dead, false, 1);
    write_durably(&w, 2, 1, &stays, false, 2);
    apply(&w, 2);
    reopen(&w); /* their segment is closed */
    for (uint64_t i = 3; i <= ENTRIES; i++) {
        struct block_ref inl = ref_of(i, 60000);
        write_durably(&w, i, 1, &inl, true, i);
    }
    unsigned seen = w.wakes;
    store_drop(w.store, w.txn, dead.name);
    store_fill_txn(w.store, w.txn, 3);
    wait_wake(&w, seen); /* for a poll: a flush is over, or due */
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    store_drain(w.store);
    cut_power_keeping(&w, DISK_KEEPS_ALL); /* the hole too */
    if (store_has(w.store, &dead))
        ck_assert_int_eq(read_back(&w, &dead), 0);
    ck_assert_int_eq(read_back(&w, &stays), 0);
    ck_assert_uint_eq(w.info.applied, 3); /* the flush took it along */
    ck_assert(!store_has(w.store, &dead));
    end(&w);
}
END_TEST

/* The old entry is what this node has answered for (RULES B3). False: the new one was not lost, as
 * the journal's thread came to write it; then there is nothing to see. */
static bool successor_is_lost(void)
{
    struct world w;
    struct found f = {0};
    struct block_ref inl = ref_of(2, 5000);
    make(&w, STORE_COPY);
    w.started = true;
    ck_assert_int_eq(open_store(&w), 0);
    write_durably(&w, 1, 1, NULL, false, 1);
    write_durably(&w, 2, 1, &inl, true, 1);
    apply(&w, 1);
    ck_assert_int_eq(write_entry(&w, 2, 2, NULL, false, 1), 0); /* not started */
    flush(&w);
    cut_power(&w);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_uint_eq(f.last, 2);
    bool lost = f.terms[2] == 1;
    if (lost) {
        ck_assert(store_has(w.store, &inl));
        ck_assert_int_eq(read_back(&w, &inl), 0);
    }
    end(&w);
    return lost;
}

START_TEST(an_entry_whose_successor_is_lost_has_its_bytes)
{
    while (!successor_is_lost())
        ;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/store_cut");
    TCase *tc = tcase_create("cut");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_creation_cut_anywhere, STORE_COPY, STORE_WITNESS + 1);
    tcase_add_loop_test(tc, an_identity_outlives_no_name_that_it_stands_for, STORE_COPY,
                        STORE_WITNESS + 1);
    tcase_add_test(tc, segments_above_the_end_go_without_a_gap);
    tcase_add_test(tc, a_snapshots_directory_has_its_name);
    tcase_add_test(tc, a_place_in_a_log_segment_that_is_gone_is_missing);
    tcase_add_test(tc, a_place_that_comes_during_a_switch_is_dropped_with_its_name);
    tcase_add_test(tc, damage_is_not_forgotten);
    tcase_add_test(tc, dropped_while_its_place_is_on_its_way);
    tcase_add_test(tc, dropped_while_it_moves_out_of_the_log);
    tcase_add_test(tc, dropped_in_a_transaction_that_a_flush_overtakes);
    tcase_add_test(tc, an_entry_whose_successor_is_lost_has_its_bytes);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
