/* Writes that wait in front of a key-value store: answers are as if they had been made, and what is
 * below is at any time what some write had left. */
#include "repl/base/kv_behind.h"

#include <errno.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/base/kv_below.h"

enum { TABLES = 2, KEYS = 300, STEPS = 20000 };

static struct kv_below *below;
static struct kv *memory, *behind;
static bool closed;

static void setup(void)
{
    memory = kv_mem_new();
    below = kv_below_new(memory, &closed);
    behind = kv_behind_new(&below->kv);
}

static void teardown(void)
{
    kv_close(behind);
    ck_assert(closed);
    kv_close(memory);
}

START_TEST(goes_below_as_one_batch)
{
    ck_assert_int_eq(kv_write_text(behind, "a", "1"), 0);
    ck_assert_int_eq(kv_write_text(behind, "b", "1"), 0);
    ck_assert_int_eq(kv_write_text(behind, "a", "2"), 0);
    ck_assert_int_eq(kv_write_text(behind, "b", NULL), 0);
    kv_expect_text(behind, "a", "2");
    kv_expect_text(behind, "b", NULL);
    kv_expect_text(memory, "a", NULL);
    ck_assert_uint_eq(below->writes, 0);
    ck_assert_uint_eq(kv_waiting(behind), 4);
    ck_assert_int_eq(kv_settle(behind), 0);
    ck_assert_int_eq(kv_settle(behind), 0);
    ck_assert_uint_eq(below->writes, 1);
    ck_assert_uint_eq(kv_waiting(behind), 0);
    kv_expect_text(memory, "a", "2");
    kv_expect_text(behind, "a", "2");
}
END_TEST

START_TEST(flushes_what_is_below)
{
    /* Goal: it may run on another thread, and leaves alone what waits. */
    ck_assert_int_eq(kv_write_text(behind, "a", "1"), 0);
    ck_assert_int_eq(kv_flush(behind), 0);
    ck_assert_uint_eq(below->flushes, 1);
    ck_assert_uint_eq(below->writes, 0);
    kv_expect_text(behind, "a", "1");
}
END_TEST

START_TEST(failures_are_told)
{
    ck_assert_int_eq(kv_write_text(behind, "a", "1"), 0);
    below->fails = -EIO;
    ck_assert_int_eq(kv_settle(behind), -EIO);
    below->fails = 0;
}
END_TEST

START_TEST(closing_writes)
{
    ck_assert_int_eq(kv_write_text(behind, "a", "1"), 0);
    kv_close(behind);
    kv_expect_text(memory, "a", "1");
    kv_close(memory);
    setup();
}
END_TEST

/* ---- against a store that puts off nothing --------------------------------------------------- */

static uint64_t rng = 1;

static uint32_t chance(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33) % n;
}

/* Of one batch all or nothing is below: it writes its number under two keys. */
static void add_number(struct kv_batch *b, uint32_t number)
{
    kv_batch_put(b, 0, "x", 1, &number, sizeof number);
    kv_batch_put(b, 1, "y", 1, &number, sizeof number);
}

static bool same_number_below(void)
{
    struct bytes_writer x = {0}, y = {0};
    bool same = kv_get(memory, 0, "x", 1, &x) == kv_get(memory, 1, "y", 1, &y) &&
                bytes_compare(x.data, x.size, y.data, y.size) == 0;
    bytes_writer_done(&x);
    bytes_writer_done(&y);
    return same;
}

static void random_batch(struct kv *twin, uint32_t step)
{
    static const uint32_t sizes[] = {1, 3, 10, KV_BEHIND_OPS_MAX - 2, KV_BEHIND_OPS_MAX + 1};
    struct kv_batch b = {0};
    for (uint32_t left = 1 + chance(sizes[chance(chance(20) ? 3 : 5)]); left; left--) {
        uint32_t key = chance(KEYS), value = chance(1000);
        int table = (int)chance(TABLES);
        if (chance(3))
            kv_batch_put(&b, table, &key, sizeof key, &value, chance(sizeof value + 1));
        else
            kv_batch_del(&b, table, &key, sizeof key);
    }
    add_number(&b, step);
    ck_assert_int_eq(kv_write(behind, &b), 0);
    ck_assert_int_eq(kv_write(twin, &b), 0);
    kv_batch_done(&b);
}

static bool same_range(struct kv *twin)
{
    uint32_t low = chance(KEYS), from = low + chance(KEYS), to = from + 1 + chance(KEYS);
    int table = (int)chance(TABLES);
    struct bytes l = {(uint8_t *)&low, sizeof low}, f = {(uint8_t *)&from, sizeof from},
                 t = {(uint8_t *)&to, sizeof to};
    if (bytes_compare(l.data, l.size, f.data, f.size) > 0)
        l = f;
    if (bytes_compare(f.data, f.size, t.data, t.size) >= 0)
        t.size = 0;
    struct kv_iter *a = kv_iter_floor(behind, table, l, f, t);
    struct kv_iter *b = kv_iter_floor(twin, table, l, f, t);
    bool same = true;
    for (; same && kv_iter_valid(a) && kv_iter_valid(b); kv_iter_next(a), kv_iter_next(b)) {
        struct bytes x = kv_iter_key(a), y = kv_iter_key(b);
        same = bytes_compare(x.data, x.size, y.data, y.size) == 0;
        x = kv_iter_value(a), y = kv_iter_value(b);
        same = same && bytes_compare(x.data, x.size, y.data, y.size) == 0;
    }
    same = same && kv_iter_valid(a) == kv_iter_valid(b);
    kv_iter_free(a);
    kv_iter_free(b);
    return same;
}

START_TEST(answers_as_if_all_were_written)
{
    struct kv *twin = kv_mem_new();
    struct bytes_writer x = {0}, y = {0};
    bool same = true;
    for (uint32_t step = 0; same && step < STEPS; step++) {
        if (chance(3) == 0)
            random_batch(twin, step);
        if (chance(20) == 0)
            same = same_range(twin);
        if (chance(20) == 0)
            ck_assert_int_eq(kv_settle(behind), 0);
        uint32_t key = chance(KEYS);
        int table = (int)chance(TABLES);
        same = same &&
               kv_get(behind, table, &key, sizeof key, &x) ==
                   kv_get(twin, table, &key, sizeof key, &y) &&
               bytes_compare(x.data, x.size, y.data, y.size) == 0 && same_number_below();
    }
    ck_assert(same);
    ck_assert_int_eq(kv_settle(behind), 0);
    for (int table = 0; table < TABLES; table++)
        ck_assert(kv_mem_equal(memory, twin, table));
    bytes_writer_done(&x);
    bytes_writer_done(&y);
    kv_close(twin);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv_behind");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, goes_below_as_one_batch);
    tcase_add_test(t, flushes_what_is_below);
    tcase_add_test(t, failures_are_told);
    tcase_add_test(t, closing_writes);
    tcase_add_test(t, answers_as_if_all_were_written);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
