/* The store on a real directory: what was acknowledged survives, what is damaged is told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/store.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/io/store_world.h"

/* ---- what is durable ------------------------------------------------------------------------- */

START_TEST(all_comes_back_after_a_restart)
{
    struct world w;
    struct block_ref small = ref_of(1, 5000), large = ref_of(2, 300000), lost = ref_of(3, 200000);
    world_open(&w, STORE_COPY);
    store_write_vote(w.store, ++w.ticket, 7, 2);
    ck_assert_int_eq(write_entry(&w, 1, 7, NULL, false, 0), 0);
    ck_assert_int_eq(write_entry(&w, 2, 7, &small, true, 0), 0);
    ck_assert_int_eq(write_entry(&w, 3, 7, &large, false, 0), -ENODATA); /* RULES B3 */
    put(&w, &large);
    ck_assert_int_eq(w.status, 0);
    ck_assert(store_has(w.store, &large));
    ck_assert_int_eq(write_entry(&w, 3, 7, &large, false, 0), 0);
    put(&w, &lost); /* nothing names it */
    store_drain(w.store);
    ck_assert_uint_eq(w.durable, w.ticket);
    for (int round = 0; round < 3; round++) {
        struct found f = {0};
        reopen(&w);
        ck_assert_uint_eq(w.info.term, 7);
        ck_assert_uint_eq(w.info.vote, 2);
        ck_assert_uint_eq(w.info.last_index, 3);
        ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
        ck_assert_uint_eq(f.count, 3);
        ck_assert(f.bytes[2] && !f.bytes[3]);
        ck_assert_int_eq(read_back(&w, &small), 0);
        ck_assert_int_eq(read_back(&w, &large), 0);
        ck_assert(!store_has(w.store, &lost));
        ck_assert_uint_eq(store_missing_count(w.store), 0);
    }
    world_close(&w);
}
END_TEST

START_TEST(a_new_suffix_replaces_the_old)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000), b = ref_of(2, 6000);
    struct found f = {0};
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_int_eq(write_entry(&w, i, 1, i == 4 ? &a : NULL, true, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(write_entry(&w, 3, 2, &b, true, 0), 0);
    store_drain(w.store);
    ck_assert(!store_has(w.store, &a));
    reopen(&w);
    ck_assert_uint_eq(w.info.last_index, 3);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_uint_eq(f.terms[3], 2);
    ck_assert_uint_eq(f.terms[2], 1);
    ck_assert_int_eq(read_back(&w, &b), 0);
    world_close(&w);
}
END_TEST

/* The leader knows that we hold the bytes, so the entry that takes the place of the one that
 * brought them comes without. */
START_TEST(a_replaced_entry_leaves_the_bytes_its_successor_names)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_int_eq(write_entry(&w, i, 1, i == 4 ? &a : NULL, true, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(write_entry(&w, 3, 2, &a, false, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(read_back(&w, &a), 0);
    reopen(&w);
    ck_assert_uint_eq(w.info.last_index, 3);
    ck_assert_int_eq(read_back(&w, &a), 0);
    world_close(&w);
}
END_TEST

/* Put by the mount, and brought by the entry as well before that was recorded. */
START_TEST(bytes_that_came_twice_take_their_space_once)
{
    struct world w;
    struct store_stats stats;
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 20; i++) {
        struct block_ref a = ref_of(i, 50000);
        put(&w, &a);
        ck_assert_int_eq(write_entry(&w, i, 1, &a, true, i), 0);
        store_drain(w.store);
        ck_assert_int_eq(read_back(&w, &a), 0);
        apply(&w, i);
    }
    store_flush(w.store, on_status, &w);
    store_drain(w.store);
    store_flush(w.store, on_status, &w);
    store_drain(w.store);
    store_stats(w.store, &stats);
    ck_assert_uint_lt(stats.block_bytes, 10 * 50000);
    reopen(&w);
    for (uint64_t i = 1; i <= 20; i++) {
        struct block_ref a = ref_of(i, 50000);
        ck_assert_int_eq(read_back(&w, &a), 0);
    }
    world_close(&w);
}
END_TEST

/* RULES B7: committed entries may come without bytes; the names wait in a durable set. */
START_TEST(missing_names_are_remembered)
{
    struct world w;
    struct block_ref a = ref_of(1, 100000);
    world_open(&w, STORE_COPY);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, false, 1), 0);
    store_drain(w.store);
    ck_assert(store_is_missing(w.store, a.name));
    reopen(&w);
    ck_assert_uint_eq(store_missing_count(w.store), 1);
    ck_assert_int_eq(read_back(&w, &a), -ENOENT);
    put(&w, &a);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    reopen(&w);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    ck_assert_int_eq(read_back(&w, &a), 0);
    world_close(&w);
}
END_TEST

START_TEST(wrong_bytes_are_refused)
{
    struct world w;
    struct block_ref a = ref_of(1, 50000);
    world_open(&w, STORE_COPY);
    a.digest ^= 1;
    put(&w, &a);
    ck_assert_int_eq(w.status, -EBADMSG);
    ck_assert(!store_has(w.store, &a));
    world_close(&w);
}
END_TEST

/* What was just written is in memory: reading it needs no thread. */
START_TEST(what_is_in_memory_is_read_at_once)
{
    struct world w;
    struct block_ref small = ref_of(1, 5000), large = ref_of(2, 300000);
    world_open(&w, STORE_COPY);
    put(&w, &large);
    ck_assert_int_eq(write_entry(&w, 1, 7, &small, true, 0), 0);
    ck_assert_int_eq(write_entry(&w, 2, 7, &large, false, 0), 0);
    store_drain(w.store);
    reads_at_once = 0;
    ck_assert_int_eq(read_back(&w, &small), 0); /* in the log */
    ck_assert_int_eq(read_back(&w, &large), 0);
    ck_assert_uint_eq(reads_at_once, 2);
    ck_assert_ptr_null(store_read_now(w.store, (struct block_name){9, 9}, 0, 4096));
    world_close(&w);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

START_TEST(a_flipped_bit_is_found_and_mended)
{
    struct world w;
    struct block_ref a = ref_of(1, 100000);
    off_t at = 20000;
    world_open(&w, STORE_COPY);
    put(&w, &a);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, false, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(each_file(&w, "blocks", ".blk", flip, &at), 1);
    ck_assert_int_eq(read_back(&w, &a), -EBADMSG);
    ck_assert(store_is_missing(w.store, a.name));
    put(&w, &a);
    ck_assert_int_eq(read_back(&w, &a), 0);
    world_close(&w);
}
END_TEST

/* Its index is made of its log at each start: what the log does not say comes back, though its
 * bytes are given away by then. */
START_TEST(a_witness_does_not_forget_damage)
{
    struct world w;
    struct block_ref a = ref_of(1, 8192), b = ref_of(2, 8192);
    off_t at = 100;
    world_open(&w, STORE_WITNESS);
    put(&w, &a);
    put(&w, &b);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, false, 0), 0);
    ck_assert_int_eq(write_entry(&w, 2, 1, &b, false, 0), 0);
    store_drain(w.store);
    ck_assert_int_eq(each_file(&w, "blocks", ".blk", flip, &at), 1);
    ck_assert_int_eq(read_back(&w, &a), -EBADMSG);
    ck_assert(!store_has(w.store, &a));
    reopen(&w);
    ck_assert(!store_has(w.store, &a));
    ck_assert_int_eq(read_back(&w, &b), 0);
    world_close(&w);
}
END_TEST

static void note_number(const char *path, void *ctx)
{
    unsigned *number = ctx;
    ck_assert_int_eq(sscanf(strrchr(path, '/'), "/%x.blk", number), 1);
}

/* Places in a file that is gone are still told by the log. In the next file of that number each
 * would be the place of another block, and be given back once more: when the record that says so
 * was not durable yet, as that of damage need not be. */
START_TEST(the_number_of_a_file_is_used_once)
{
    struct world w;
    struct block_ref a = ref_of(1, 8192), b = ref_of(2, 8192);
    unsigned first, second;
    world_open(&w, STORE_COPY);
    store_add_missing(w.store, &a);
    put(&w, &a);
    ck_assert_int_eq(each_file(&w, "blocks", ".blk", note_number, &first), 1);
    store_drop(w.store, NULL, a.name);
    store_drain(w.store);
    store_flush(w.store, NULL, NULL);
    store_drain(w.store);
    ck_assert_uint_eq(store_block_bytes(w.store), 0);
    reopen(&w);
    put(&w, &b);
    ck_assert_int_eq(each_file(&w, "blocks", ".blk", note_number, &second), 1);
    ck_assert_uint_gt(second, first);
    world_close(&w);
}
END_TEST

/* RULES S3: below a later valid group it is no torn end. */
START_TEST(damage_below_the_end_is_refused)
{
    struct world w;
    off_t at = 3 * 4096 + 60; /* in an early group */
    world_open(&w, STORE_WITNESS);
    for (uint64_t i = 1; i <= 20; i++) {
        ck_assert_int_eq(write_entry(&w, i, 1, NULL, false, 0), 0);
        store_drain(w.store);
    }
    close_store(&w);
    (void)each_file(&w, "log", "", flip, &at);
    int rc = open_store(&w);
    ck_assert_msg(rc == -EBADMSG || rc == -ESTALE, "%d %s", rc, w.error);
    ck_assert_uint_gt(strlen(w.error), 10);
    world_close(&w);
}
END_TEST

START_TEST(strangers_are_refused)
{
    struct world w;
    struct store *other;
    struct store_recovered info;
    world_open(&w, STORE_COPY);
    struct store_config c = {
        .dir = w.dir, .kind = STORE_COPY, .cluster = {1}, .node = 1, .create = true};
    ck_assert_int_eq(store_open(&c, &other, &info, w.error, sizeof w.error), -EBUSY);
    close_store(&w);
    c.node = 2;
    ck_assert_int_eq(store_open(&c, &other, &info, w.error, sizeof w.error), -EPERM);
    c.node = 1;
    c.cluster[0] = 9;
    ck_assert_int_eq(store_open(&c, &other, &info, w.error, sizeof w.error), -EPERM);
    c.dir = "/usr";
    ck_assert_int_eq(store_open(&c, &other, &info, w.error, sizeof w.error), -EEXIST);
    char *log = file_path(w.dir, "log");
    ck_assert_int_eq(file_remove_tree(log), 0);
    ck_assert_int_eq(mkdir(log, 0700), 0);
    free(log);
    ck_assert_int_eq(open_store(&w), -ESTALE); /* RULES B7: not under its old id */
    world_close(&w);
}
END_TEST

/* ---- SIGKILL in the middle ------------------------------------------------------------------- */

/* A child writes as fast as it can and tells what is durable; it is killed; everything it told is
 * there. */
START_TEST(what_was_told_survives_sigkill)
{
    struct world w;
    int pipes[2];
    uint64_t told = 0;
    struct found f = {0};
    world_open(&w, STORE_COPY);
    close_store(&w);
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)close(pipes[0]);
        if (open_store(&w) < 0)
            _exit(1);
        uint64_t reported = 0;
        for (uint64_t i = 1;; i++) {
            struct block_ref ref = ref_of(i, i % 3 == 0 ? 90000 : 3000);
            if (i % 3 == 0)
                put(&w, &ref);
            if (write_entry(&w, i, 1, &ref, i % 3 != 0, 0) < 0)
                _exit(2);
            store_poll(w.store);
            if (w.durable > reported) {
                reported = w.durable;
                if (write(pipes[1], &reported, sizeof reported) != sizeof reported)
                    _exit(3);
            }
        }
    }
    (void)close(pipes[1]);
    while (told < 60 + (uint64_t)_i * 37 && read(pipes[0], &told, sizeof told) == sizeof told) {
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    while (read(pipes[0], &told, sizeof told) == sizeof told) {
    }
    (void)close(pipes[0]);
    ck_assert_uint_ge(told, 60);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert_uint_ge(w.info.last_index, told);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_uint_eq(f.last, w.info.last_index);
    for (uint64_t i = 1; i <= told; i++) {
        struct block_ref ref = ref_of(i, i % 3 == 0 ? 90000 : 3000);
        ck_assert_int_eq(read_back(&w, &ref), 0);
    }
    world_close(&w);
}
END_TEST

/* RULES S2: state and applied index come back as of one entry, wherever a flush was when it died.
 */
START_TEST(state_and_applied_index_flush_together)
{
    struct world w;
    struct bytes_writer value = {0};
    world_make(&w, STORE_COPY);
    pid_t child = fork(); /* before RocksDB has threads here */
    if (child == 0) {
        if (open_store(&w) < 0)
            _exit(1);
        for (uint64_t i = 1; i <= 200; i++) {
            if (write_entry(&w, i, 1, NULL, false, i) < 0)
                _exit(2);
            kv_txn_put(w.txn, STORE_TABLE_STATE, "n", 1, &i, sizeof i);
            apply(&w, i);
            if (i == 100 + (uint64_t)_i)
                store_flush(w.store, on_status, &w);
            if (i == 120 + (uint64_t)_i)
                store_drain(w.store);
        }
        (void)kill(getpid(), SIGKILL);
    }
    (void)waitpid(child, NULL, 0);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    uint64_t n = 0;
    ck_assert_int_eq(kv_get(store_kv(w.store), STORE_TABLE_STATE, "n", 1, &value), 0);
    memcpy(&n, value.data, sizeof n);
    ck_assert_uint_ge(n, 100);
    ck_assert_uint_eq(n, w.info.applied);
    bytes_writer_done(&value);
    world_close(&w);
}
END_TEST

/* ---- space ----------------------------------------------------------------------------------- */

START_TEST(truncation_and_drops_give_space_back)
{
    struct world w;
    struct store_stats full, after;
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 60; i++) {
        struct block_ref inl = ref_of(2 * i, 60000), part = ref_of(2 * i + 1, 200000);
        put(&w, &part);
        ck_assert_int_eq(write_entry(&w, i, 1, i % 2 ? &inl : &part, i % 2, i), 0);
        store_drain(w.store);
        apply(&w, i);
    }
    store_stats(w.store, &full);
    for (uint64_t i = 1; i <= 120; i++)
        store_drop(w.store, NULL, (struct block_name){5, i});
    store_flush(w.store, on_status, &w);
    store_drain(w.store);
    ck_assert_uint_eq(store_durable_applied(w.store), 60);
    store_truncate(w.store, 59);
    store_drain(w.store);
    store_flush(w.store, on_status, &w);
    store_drain(w.store);
    store_stats(w.store, &after);
    ck_assert_uint_lt(after.block_bytes, full.block_bytes / 2);
    ck_assert_uint_le(after.log_bytes, full.log_bytes + (2 << 20));
    reopen(&w);
    ck_assert_uint_ge(w.info.base_index, 1);
    ck_assert_uint_eq(w.info.last_index, 60);
    ck_assert_uint_eq(w.info.applied, 60);
    world_close(&w);
}
END_TEST

/* RULES B6, S5: a witness keeps the entries and not the bytes. */
START_TEST(a_demoted_witness_holds_no_bytes)
{
    struct world w;
    struct found f = {0};
    struct store_stats stats;
    world_open(&w, STORE_WITNESS);
    struct block_ref kept = ref_of(99, 5000);
    for (uint64_t i = 1; i <= 20; i++) {
        struct block_ref inl = ref_of(i, 50000), part = ref_of(i, 300000);
        if (i % 2)
            put(&w, &part);
        ck_assert_int_eq(write_entry(&w, i, 1, i % 2 ? &part : &inl, i % 2 == 0, 0), 0);
    }
    ck_assert_int_eq(write_entry(&w, 21, 1, &kept, true, 0), 0);
    store_drain(w.store);
    store_demote(w.store, 20);
    store_drain(w.store);
    struct block_ref gone = ref_of(2, 50000);
    ck_assert(!store_has(w.store, &gone));
    ck_assert_int_eq(read_back(&w, &kept), 0);
    store_stats(w.store, &stats);
    ck_assert_uint_eq(stats.block_bytes, 0);
    reopen(&w);
    ck_assert_uint_eq(w.info.last_index, 21);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_uint_eq(f.count, 21);
    ck_assert(!f.bytes[2] && f.bytes[21]);
    ck_assert(!store_has(w.store, &gone));
    ck_assert_int_eq(read_back(&w, &kept), 0);
    world_close(&w);
}
END_TEST

/* A drafted witness is sent blocks that no entry of its log names any more: dropped, their space
 * comes back too. */
START_TEST(blocks_that_came_late_leave_no_space_behind)
{
    struct world w;
    struct store_stats stats;
    world_open(&w, STORE_WITNESS);
    ck_assert_int_eq(write_entry(&w, 1, 1, NULL, false, 0), 0);
    for (uint64_t i = 1; i <= 20; i++) {
        struct block_ref late = ref_of(i, 300000);
        put(&w, &late);
    }
    for (uint64_t i = 1; i <= 20; i++)
        store_drop(w.store, NULL, ref_of(i, 300000).name);
    store_drain(w.store);
    store_demote(w.store, 1);
    store_drain(w.store);
    store_stats(w.store, &stats);
    ck_assert_uint_eq(stats.block_bytes, 0);
    reopen(&w);
    ck_assert_uint_eq(w.info.last_index, 1);
    world_close(&w);
}
END_TEST

/* ---- snapshots ------------------------------------------------------------------------------- */

START_TEST(a_snapshot_replaces_state_and_log)
{
    struct world w;
    struct block_ref old = ref_of(1, 5000), both = ref_of(2, 5000), needed = ref_of(3, 5000);
    struct bytes_writer value = {0};
    struct kv_batch batch = {0};
    world_open(&w, STORE_COPY);
    ck_assert_int_eq(write_entry(&w, 1, 1, &old, true, 1), 0);
    ck_assert_int_eq(write_entry(&w, 2, 1, &both, true, 2), 0);
    store_drain(w.store);
    kv_txn_put(w.txn, STORE_TABLE_STATE, "k", 1, "old", 3);
    apply(&w, 2);
    ck_assert_int_eq(store_snapshot_begin(w.store), 0);
    kv_batch_put(&batch, STORE_TABLE_STATE, "k", 1, "new", 3);
    ck_assert_int_eq(kv_write(store_snapshot_kv(w.store), &batch), 0);
    kv_batch_done(&batch);
    reopen(&w); /* before the switch: all as it was */
    ck_assert_uint_eq(w.info.last_index, 2);
    ck_assert_int_eq(kv_get(store_kv(w.store), STORE_TABLE_STATE, "k", 1, &value), 0);
    ck_assert_int_eq(memcmp(value.data, "old", 3), 0);
    ck_assert_int_eq(store_snapshot_begin(w.store), 0);
    kv_batch_put(&batch, STORE_TABLE_STATE, "k", 1, "new", 3);
    ck_assert_int_eq(kv_write(store_snapshot_kv(w.store), &batch), 0);
    store_snapshot_need(w.store, &both);
    store_snapshot_need(w.store, &needed);
    w.status = 1;
    kv_txn_free(w.txn);
    store_snapshot_commit(w.store, 50, 3, on_status, &w);
    store_drain(w.store);
    ck_assert_int_eq(w.status, 0);
    w.txn = kv_txn_new(store_kv(w.store));
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(kv_get(store_kv(w.store), STORE_TABLE_STATE, "k", 1, &value), 0);
        ck_assert_int_eq(memcmp(value.data, "new", 3), 0);
        ck_assert(!store_has(w.store, &old));
        ck_assert_int_eq(read_back(&w, &both), 0);
        ck_assert_uint_eq(store_missing_count(w.store), 1);
        ck_assert(store_is_missing(w.store, needed.name));
        reopen(&w);
        ck_assert_uint_eq(w.info.base_index, 50);
        ck_assert_uint_eq(w.info.base_term, 3);
        ck_assert_uint_eq(w.info.applied, 50);
    }
    ck_assert_int_eq(write_entry(&w, 51, 3, NULL, false, 0), 0);
    store_drain(w.store);
    bytes_writer_done(&value);
    kv_batch_done(&batch);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/store");
    TCase *tc = tcase_create("store");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, all_comes_back_after_a_restart);
    tcase_add_test(tc, a_new_suffix_replaces_the_old);
    tcase_add_test(tc, a_replaced_entry_leaves_the_bytes_its_successor_names);
    tcase_add_test(tc, bytes_that_came_twice_take_their_space_once);
    tcase_add_test(tc, missing_names_are_remembered);
    tcase_add_test(tc, wrong_bytes_are_refused);
    tcase_add_test(tc, a_flipped_bit_is_found_and_mended);
    tcase_add_test(tc, what_is_in_memory_is_read_at_once);
    tcase_add_test(tc, a_witness_does_not_forget_damage);
    tcase_add_test(tc, the_number_of_a_file_is_used_once);
    tcase_add_test(tc, damage_below_the_end_is_refused);
    tcase_add_test(tc, strangers_are_refused);
    tcase_add_loop_test(tc, what_was_told_survives_sigkill, 0, 4);
    tcase_add_loop_test(tc, state_and_applied_index_flush_together, 0, 3);
    tcase_add_test(tc, truncation_and_drops_give_space_back);
    tcase_add_test(tc, a_demoted_witness_holds_no_bytes);
    tcase_add_test(tc, blocks_that_came_late_leave_no_space_behind);
    tcase_add_test(tc, a_snapshot_replaces_state_and_log);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
