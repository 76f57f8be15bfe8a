/* Names that change hands: entries replaced by others, bytes that come twice, names given up. */
#include "repl/io/store_internal.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/io/store_world.h"

static const enum store_kind kinds[] = {STORE_COPY, STORE_WITNESS};

/* What an entry names without bytes of its own was held when it was queued: it still is when the
 * entry that brought the bytes is the one it replaces. */
START_TEST(what_the_new_entry_names_stays)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000), b = ref_of(2, 6000);
    world_open(&w, kinds[_i]);
    ck_assert_int_eq(write_entry(&w, 1, 1, &b, true, 0), 0);
    ck_assert_int_eq(write_entry(&w, 2, 1, &a, true, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(write_entry(&w, 2, 2, &a, false, 0), 0);
    store_drain(w.store);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    ck_assert_int_eq(read_back(&w, &a), 0);
    store_demote(w.store, 1);
    store_drain(w.store);
    reopen(&w);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    ck_assert_int_eq(read_back(&w, &a), 0);
    ck_assert_int_eq(store_has(w.store, &b), w.kind == STORE_COPY);
    world_close(&w);
}
END_TEST

/* What was asked of the log is durable and told; the threads that write blocks are not heard. */
static void poll_log(struct world *w)
{
    while (w->durable < w->ticket) {
        unsigned seen = w->wakes;
        journal_poll(w->store->journal);
        if (w->durable < w->ticket)
            wait_wake(w, seen);
    }
}

/* The same while the bytes are being put once more: that may come to nothing. */
START_TEST(what_the_new_entry_names_stays_while_it_is_put)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    struct blob *bytes = bytes_of(1, 5000);
    world_open(&w, kinds[_i]);
    store_put(w.store, &a, bytes, 0, on_status, &w);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, true, 0), 0);
    poll_log(&w);
    ck_assert_int_eq(write_entry(&w, 1, 2, &a, false, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(read_back(&w, &a), 0);
    reopen(&w);
    ck_assert_int_eq(read_back(&w, &a), 0);
    world_close(&w);
    blob_unref(bytes);
}
END_TEST

START_TEST(what_was_overwritten_does_not_come_back)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, kinds[_i]);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, true, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(write_entry(&w, 1, 2, NULL, false, 0), 0);
    store_drain(w.store);
    ck_assert(!store_has(w.store, &a));
    reopen(&w);
    ck_assert(!store_has(w.store, &a));
    world_close(&w);
}
END_TEST

/* RULES B6: bytes that were put, and came once more with their entry, are held once. */
START_TEST(bytes_that_came_twice_go_at_once)
{
    struct world w;
    struct store_stats stats;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, kinds[_i]);
    put(&w, &a);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, true, 0), 0);
    store_drain(w.store);
    store_stats(w.store, &stats);
    ck_assert_uint_eq(stats.blocks_pending, 0);
    ck_assert_int_eq(read_back(&w, &a), 0);
    store_demote(w.store, 1);
    store_drain(w.store);
    ck_assert_int_eq(store_has(w.store, &a), w.kind == STORE_COPY);
    world_close(&w);
}
END_TEST

START_TEST(a_missing_name_that_was_dropped_stays_away)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, STORE_COPY);
    store_add_missing(w.store, &a);
    store_drain(w.store);
    store_drop(w.store, NULL, a.name);
    store_drain(w.store);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    reopen(&w);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/store_overwrite");
    TCase *tc = tcase_create("store_overwrite");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, what_the_new_entry_names_stays, 0, 2);
    tcase_add_loop_test(tc, what_the_new_entry_names_stays_while_it_is_put, 0, 2);
    tcase_add_loop_test(tc, what_was_overwritten_does_not_come_back, 0, 2);
    tcase_add_loop_test(tc, bytes_that_came_twice_go_at_once, 0, 2);
    tcase_add_test(tc, a_missing_name_that_was_dropped_stays_away);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
