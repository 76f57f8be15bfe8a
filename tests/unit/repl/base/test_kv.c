/* The key-value interface over its in-memory body: against a plain table, and its transactions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "repl/base/kv_txn.h"
#include "tests/unit/lib/run.h"

enum { TABLE = 1, KEYS = 40 };

static void put(struct kv *kv, int table, const char *key, const char *value)
{
    struct kv_batch b = {0};
    kv_batch_put(&b, table, key, strlen(key), value, strlen(value));
    ck_assert_int_eq(kv_write(kv, &b), 0);
    kv_batch_done(&b);
}

static struct bytes text(const char *s)
{
    return (struct bytes){.data = (const uint8_t *)s, .size = strlen(s)};
}

static void expect(struct kv *kv, int table, const char *key, const char *value)
{
    struct bytes_writer got = {0};
    bytes_put(&got, "rest", 4);
    int r = kv_get(kv, table, key, strlen(key), &got);
    ck_assert_int_eq(r, value ? 0 : -ENOENT);
    if (value) {
        ck_assert_uint_eq(got.size, strlen(value));
        ck_assert_mem_eq(got.data, value, got.size);
    }
    bytes_writer_done(&got);
}

/* The keys in [from, to), each followed by a space. */
static void expect_range(struct kv *kv, const char *from, const char *to, const char *keys)
{
    char found[400] = "";
    struct kv_iter *it = kv_iter(kv, TABLE, text(from), text(to));
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes k = kv_iter_key(it);
        (void)snprintf(found + strlen(found), sizeof found - strlen(found), "%.*s ", (int)k.size,
                       (const char *)k.data);
    }
    kv_iter_free(it);
    ck_assert_str_eq(found, keys);
}

START_TEST(ranges_end_where_they_should)
{
    struct kv *kv = kv_mem_new();
    put(kv, TABLE, "b", "1");
    put(kv, TABLE, "a", "2");
    put(kv, TABLE, "ba", "3");
    put(kv, TABLE, "c", "4");
    put(kv, TABLE + 1, "aa", "5"); /* another table */
    expect_range(kv, "", "", "a b ba c ");
    expect_range(kv, "b", "c", "b ba ");
    expect_range(kv, "aa", "b", "");
    expect_range(kv, "b", "b", "");
    expect_range(kv, "d", "", "");
    kv_close(kv);
    kv_close(NULL);
}
END_TEST

static void expect_floor(struct kv *kv, const char *low, const char *from, const char *key)
{
    struct kv_iter *it = kv_iter_floor(kv, TABLE, text(low), text(from), text(""));
    ck_assert_int_eq(kv_iter_valid(it), key != NULL);
    if (key)
        ck_assert_mem_eq(kv_iter_key(it).data, key, strlen(key));
    kv_iter_free(it);
}

START_TEST(begins_below)
{
    struct kv *kv = kv_mem_new();
    put(kv, TABLE, "b", "1");
    put(kv, TABLE, "d", "2");
    put(kv, TABLE + 1, "c", "3");
    expect_floor(kv, "a", "c", "b");
    expect_floor(kv, "b", "c", "b");
    expect_floor(kv, "ba", "c", "d"); /* what is below `low` does not count */
    expect_floor(kv, "a", "d", "d");
    expect_floor(kv, "a", "e", "d");
    expect_floor(kv, "e", "f", NULL);
    expect_floor(kv, "", "a", "b");
    kv_close(kv);
}
END_TEST

/* All keys of up to ten bytes with two different ones, of which the lower is 0: short keys come
 * before longer ones that begin like them, and no byte is taken for an end. */
START_TEST(keys_are_ordered_as_bytes)
{
    struct kv *kv = kv_mem_new();
    struct kv_batch b = {0};
    unsigned count = 0;
    for (size_t size = 0; size <= 10; size++)
        for (unsigned bits = 0; bits < 1u << size; bits++) {
            uint8_t key[10];
            for (size_t i = 0; i < size; i++)
                key[i] = bits >> i & 1 ? 0x81 : 0;
            kv_batch_put(&b, TABLE, key, size, &bits, sizeof bits);
        }
    ck_assert_int_eq(kv_write(kv, &b), 0);
    kv_batch_done(&b);
    struct kv_iter *it = kv_iter(kv, TABLE, text(""), text(""));
    struct bytes before = {0};
    for (; kv_iter_valid(it); kv_iter_next(it), count++) {
        struct bytes key = kv_iter_key(it);
        ck_assert(count == 0 || bytes_compare(before.data, before.size, key.data, key.size) < 0);
        before = key;
    }
    ck_assert_uint_eq(count, (1u << 11) - 1);
    kv_iter_free(it);
    kv_close(kv);
}
END_TEST

/* "A stable view: later writes do not show." */
START_TEST(iterator_does_not_see_later_writes)
{
    struct kv *kv = kv_mem_new();
    put(kv, TABLE, "a", "1");
    put(kv, TABLE, "c", "1");
    struct kv_iter *it = kv_iter(kv, TABLE, text(""), text(""));
    struct kv_batch b = {0};
    kv_batch_del(&b, TABLE, "c", 1);
    kv_batch_put(&b, TABLE, "b", 1, "2", 1);
    kv_batch_put(&b, TABLE, "a", 1, "2", 1);
    ck_assert_int_eq(kv_write(kv, &b), 0);
    kv_batch_done(&b);
    ck_assert_mem_eq(kv_iter_value(it).data, "1", 1);
    kv_iter_next(it);
    ck_assert(kv_iter_valid(it));
    ck_assert_mem_eq(kv_iter_key(it).data, "c", 1);
    kv_iter_next(it);
    ck_assert(!kv_iter_valid(it));
    kv_iter_free(it);
    expect_range(kv, "", "", "a b ");
    kv_close(kv);
}
END_TEST

START_TEST(does_what_a_table_does)
{
    struct kv *kv = kv_mem_new();
    char key[KEYS][16], value[KEYS][32] = {{0}};
    uint64_t rng = 7;
    for (int i = 0; i < KEYS; i++)
        (void)snprintf(key[i], sizeof key[i], "%02d", i);
    for (int step = 0; step < 5000; step++) {
        struct kv_batch b = {0};
        for (int k = 0; k < 3; k++) { /* the last op on a key wins */
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            int i = (int)(rng >> 33) % KEYS;
            if (rng >> 62 == 0) {
                kv_batch_del(&b, TABLE, key[i], 2);
                value[i][0] = '\0';
            } else {
                (void)snprintf(value[i], sizeof value[i], "v%d.%d", step, k);
                kv_batch_put(&b, TABLE, key[i], 2, value[i], strlen(value[i]));
            }
        }
        ck_assert_int_eq(kv_write(kv, &b), 0);
        kv_batch_done(&b);
    }
    struct bytes_writer all = {0};
    for (int i = 0; i < KEYS; i++) {
        expect(kv, TABLE, key[i], value[i][0] ? value[i] : NULL);
        if (value[i][0]) {
            bytes_put(&all, key[i], 2);
            bytes_put_u8(&all, ' ');
        }
    }
    bytes_put_u8(&all, 0);
    expect_range(kv, "", "", (const char *)all.data);
    bytes_writer_done(&all);
    kv_close(kv);
}
END_TEST

START_TEST(equality_notices_every_difference)
{
    struct kv *a = kv_mem_new(), *b = kv_mem_new();
    ck_assert(kv_mem_equal(a, b, TABLE));
    put(a, TABLE, "x", "1");
    ck_assert(!kv_mem_equal(a, b, TABLE));
    ck_assert(!kv_mem_equal(b, a, TABLE));
    put(b, TABLE, "x", "2");
    ck_assert(!kv_mem_equal(a, b, TABLE));
    put(b, TABLE, "x", "1");
    put(b, TABLE + 1, "y", "1");
    ck_assert(kv_mem_equal(a, b, TABLE));
    kv_close(a);
    kv_close(b);
}
END_TEST

START_TEST(prefix_ends)
{
    struct bytes_writer w = {0};
    struct bytes end = kv_prefix_end(&w, "ab", 2);
    ck_assert_uint_eq(end.size, 2);
    ck_assert_mem_eq(end.data, "ac", 2);
    end = kv_prefix_end(&w, "a\xff\xff", 3);
    ck_assert_uint_eq(end.size, 1);
    ck_assert_mem_eq(end.data, "b", 1);
    ck_assert_uint_eq(kv_prefix_end(&w, "\xff", 1).size, 0); /* nothing lies behind */
    ck_assert_uint_eq(kv_prefix_end(&w, "", 0).size, 0);
    bytes_writer_done(&w);
}
END_TEST

static void expect_txn(struct kv_txn *t, const char *key, const char *value)
{
    struct bytes_writer got = {0};
    ck_assert_int_eq(kv_txn_get(t, TABLE, key, strlen(key), &got), value ? 0 : -ENOENT);
    if (value) {
        ck_assert_uint_eq(got.size, strlen(value));
        ck_assert_mem_eq(got.data, value, got.size);
    }
    bytes_writer_done(&got);
}

START_TEST(transaction_sees_itself_and_nobody_else_does)
{
    struct kv *kv = kv_mem_new();
    struct kv_txn *t = kv_txn_new(kv);
    put(kv, TABLE, "old", "1");
    kv_txn_put(t, TABLE, "new", 3, "2", 1);
    kv_txn_put(t, TABLE, "new", 3, "33", 2);
    kv_txn_del(t, TABLE, "old", 3);
    expect_txn(t, "new", "33");
    expect_txn(t, "old", NULL);
    expect(kv, TABLE, "new", NULL);
    expect(kv, TABLE, "old", "1");
    kv_txn_abort(t);
    expect_txn(t, "new", NULL);
    expect_txn(t, "old", "1");
    kv_txn_del(t, TABLE, "old", 3);
    kv_txn_put(t, TABLE, "old", 3, "again", 5);
    kv_txn_put(t, TABLE, "gone", 4, "1", 1);
    kv_txn_del(t, TABLE, "gone", 4);
    ck_assert_int_eq(kv_txn_commit(t), 0);
    expect(kv, TABLE, "old", "again");
    expect(kv, TABLE, "gone", NULL);
    ck_assert_int_eq(kv_txn_commit(t), 0); /* empty again */
    expect_range(kv, "", "", "old ");
    kv_txn_free(t);
    kv_txn_free(NULL);
    kv_close(kv);
}
END_TEST

/* More keys than buckets, across tables. */
START_TEST(large_transaction)
{
    struct kv *kv = kv_mem_new();
    struct kv_txn *t = kv_txn_new(kv);
    for (uint32_t i = 0; i < 3000; i++) {
        uint8_t key[4];
        be32_put(key, i / 3);
        kv_txn_put(t, (int)(i % 3), key, 4, &i, sizeof i);
    }
    ck_assert_int_eq(kv_txn_commit(t), 0);
    struct bytes_writer got = {0};
    for (uint32_t i = 0; i < 3000; i++) {
        uint8_t key[4];
        be32_put(key, i / 3);
        ck_assert_int_eq(kv_get(kv, (int)(i % 3), key, 4, &got), 0);
        ck_assert_mem_eq(got.data, &i, sizeof i);
    }
    bytes_writer_done(&got);
    kv_txn_free(t);
    kv_close(kv);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/base/kv");
    TCase *tc = tcase_create("kv");
    tcase_add_test(tc, ranges_end_where_they_should);
    tcase_add_test(tc, begins_below);
    tcase_add_test(tc, keys_are_ordered_as_bytes);
    tcase_add_test(tc, iterator_does_not_see_later_writes);
    tcase_add_test(tc, does_what_a_table_does);
    tcase_add_test(tc, equality_notices_every_difference);
    tcase_add_test(tc, prefix_ends);
    tcase_add_test(tc, transaction_sees_itself_and_nobody_else_does);
    tcase_add_test(tc, large_transaction);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
