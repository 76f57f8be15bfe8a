/* The cache in front of a key-value store: never another answer than the store's own, and fewer
 * questions to it. */
#include "repl/base/kv_cache.h"

#include <errno.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/base/kv_below.h"

enum { TABLES = 2, KEYS = 3 * KV_CACHE_SLOTS, STEPS = 50000 };

static struct kv_below *below;
static struct kv *memory, *cache;
static bool closed;

static void setup(void)
{
    memory = kv_mem_new();
    below = kv_below_new(memory, &closed);
    cache = kv_cache_new(&below->kv);
}

static void teardown(void)
{
    kv_close(cache);
    ck_assert(closed);
    kv_close(memory);
}

START_TEST(asks_once)
{
    kv_expect_text(cache, "a", NULL);
    kv_expect_text(cache, "a", NULL);
    ck_assert_uint_eq(below->gets, 1);
    ck_assert_int_eq(kv_write_text(cache, "a", "1"), 0);
    kv_expect_text(cache, "a", "1");
    ck_assert_int_eq(kv_write_text(cache, "a", NULL), 0);
    kv_expect_text(cache, "a", NULL);
    ck_assert_int_eq(kv_write_text(cache, "a", ""), 0);
    kv_expect_text(cache, "a", "");
    ck_assert_uint_eq(below->gets, 1);
}
END_TEST

START_TEST(long_values_are_not_kept)
{
    /* Goal: nor is the short one that was there before. */
    char text[KV_CACHE_PAIR_MAX + 1];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ck_assert_int_eq(kv_write_text(cache, "a", "1"), 0);
    ck_assert_int_eq(kv_write_text(cache, "a", text), 0);
    kv_expect_text(cache, "a", text);
    kv_expect_text(cache, "a", text);
    ck_assert_uint_eq(below->gets, 2);
    ck_assert_int_eq(kv_write_text(cache, "a", text + 1), 0); /* just short enough */
    kv_expect_text(cache, "a", text + 1);
    ck_assert_uint_eq(below->gets, 2);
}
END_TEST

START_TEST(failures_are_told_and_not_kept)
{
    struct bytes_writer got = {0};
    ck_assert_int_eq(kv_write_text(cache, "a", "1"), 0);
    below->fails = -EIO;
    ck_assert_int_eq(kv_write_text(cache, "a", "2"), -EIO);
    ck_assert_int_eq(kv_get(cache, 0, "a", 1, &got), -EIO);
    ck_assert_int_eq(kv_flush(cache), -EIO);
    below->fails = 0;
    kv_expect_text(cache, "a", "2"); /* what is below counts */
    bytes_writer_done(&got);
}
END_TEST

START_TEST(answers_as_the_store_does)
{
    /* Goal: with three keys for each place, in two tables, through all that may follow on each
     * other. */
    uint64_t rng = 1;
    struct bytes_writer got = {0}, wanted = {0};
    bool same = true;
    for (int step = 0; step < STEPS; step++) {
        uint8_t value[2 * KV_CACHE_PAIR_MAX];
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        uint32_t key = (uint32_t)(rng >> 33) % KEYS, size = (uint32_t)(rng >> 20) % sizeof value;
        int table = (int)((rng >> 17) % TABLES);
        struct kv_batch b = {0};
        switch (rng >> 62) {
        case 0:
            kv_batch_del(&b, table, &key, sizeof key);
            break;
        case 1:
            memset(value, (int)step, sizeof value);
            kv_batch_put(&b, table, &key, sizeof key, value, size % 8 ? size % 100 : size);
            break;
        }
        same = same && (!b.count || kv_write(cache, &b) == 0);
        kv_batch_done(&b);
        int r = kv_get(below->memory, table, &key, sizeof key, &wanted);
        for (int twice = 0; twice < 2; twice++)
            same = same && kv_get(cache, table, &key, sizeof key, &got) == r &&
                   (r < 0 || bytes_compare(got.data, got.size, wanted.data, wanted.size) == 0);
    }
    ck_assert(same);
    bytes_writer_done(&got);
    bytes_writer_done(&wanted);
}
END_TEST

START_TEST(ranges_are_those_below)
{
    ck_assert_int_eq(kv_write_text(cache, "a", "1"), 0);
    ck_assert_int_eq(kv_write_text(cache, "c", "1"), 0);
    struct bytes from = {(const uint8_t *)"b", 1}, none = {0};
    struct kv_iter *it = kv_iter_floor(cache, 0, none, from, none);
    ck_assert(kv_iter_valid(it));
    ck_assert_mem_eq(kv_iter_key(it).data, "a", 1);
    kv_iter_next(it);
    ck_assert_mem_eq(kv_iter_key(it).data, "c", 1);
    kv_iter_free(it);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv_cache");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, asks_once);
    tcase_add_test(t, long_values_are_not_kept);
    tcase_add_test(t, failures_are_told_and_not_kept);
    tcase_add_test(t, answers_as_the_store_does);
    tcase_add_test(t, ranges_are_those_below);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
