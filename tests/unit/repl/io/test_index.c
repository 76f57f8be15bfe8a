/* The block index: what a put replaces, and that what was never held is not looked for. */
#include <string.h>

#include "repl/base/kv_mem.h"
#include "repl/io/index.h"
#include "repl/io/store.h"
#include "tests/unit/lib/run.h"

enum { SESSION = 7 };

/* A store that counts the look-ups in the one below it. */
struct counted {
    struct kv kv;
    struct kv *below;
    struct kv_ops ops;
    unsigned gets;
};

static struct counted counted;
static struct index ix;

static int counted_get(struct kv *kv, int table, const void *key, size_t size,
                       struct bytes_writer *ret)
{
    (void)kv;
    counted.gets++;
    return kv_get(counted.below, table, key, size, ret);
}

static int counted_write(struct kv *kv, const struct kv_batch *batch)
{
    (void)kv;
    return kv_write(counted.below, batch);
}

static struct kv_iter *counted_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                    struct bytes to)
{
    (void)kv;
    return kv_iter_floor(counted.below, table, low, from, to);
}

static void setup(void)
{
    counted = (struct counted){
        .below = kv_mem_new(),
        .ops = {.get = counted_get, .write = counted_write, .iter = counted_iter},
    };
    counted.kv.ops = &counted.ops;
    ck_assert_int_eq(index_init(&ix, &counted.kv), 0);
}

static void teardown(void)
{
    index_done(&ix);
    kv_close(counted.below);
}

static void restart(void)
{
    index_done(&ix);
    ck_assert_int_eq(index_init(&ix, &counted.kv), 0);
}

/* Puts a block of one run at `offset`; gives the offset of what it replaced, UINT32_MAX: nothing.
 */
static uint32_t put(uint64_t session, uint64_t n, uint32_t offset)
{
    struct index_entry e = {
        .ref = {.name = {.session = session, .n = n}, .size = 4096, .digest = n},
        .kind = PLACE_BLOCKS,
        .number = 1,
        .offset = offset,
    };
    struct index_entry old;
    return index_put(&ix, &e, &old) ? old.offset : UINT32_MAX;
}

static unsigned held_places(void)
{
    unsigned n = 0;
    struct kv_iter *it =
        kv_iter(counted.below, STORE_TABLE_LOCAL, (struct bytes){(const uint8_t *)"r", 1},
                (struct bytes){(const uint8_t *)"s", 1});
    for (; kv_iter_valid(it); kv_iter_next(it))
        n++;
    kv_iter_free(it);
    return n;
}

START_TEST(a_name_put_again_is_replaced)
{
    ck_assert_uint_eq(put(SESSION, 1, 100), UINT32_MAX);
    ck_assert_uint_eq(put(SESSION, 2, 200), UINT32_MAX);
    ck_assert_uint_eq(put(SESSION, 2, 300), 200);
    ck_assert_uint_eq(put(SESSION, 1, 400), 100);
    ck_assert_uint_eq(held_places(), 2);
}
END_TEST

START_TEST(a_name_of_before_the_restart_is_replaced)
{
    (void)put(SESSION - 1, 9, 50);
    (void)put(SESSION, 4, 100);
    (void)put(SESSION + 1, 9, 150);
    restart();
    ck_assert_uint_eq(put(SESSION, 3, 200), UINT32_MAX);
    ck_assert_uint_eq(put(SESSION, 4, 300), 100);
    restart();
    ck_assert_uint_eq(put(SESSION, 5, 400), UINT32_MAX);
    ck_assert_uint_eq(put(SESSION, 5, 500), 400);
    ck_assert_uint_eq(put(SESSION, 3, 600), 200);
    ck_assert_uint_eq(held_places(), 5);
}
END_TEST

/* Blocks that are fetched from others come in any order. */
START_TEST(names_may_come_in_any_order)
{
    static const uint64_t order[] = {5, 2, 9, 1, 7};
    for (uint32_t i = 0; i < 5; i++)
        ck_assert_uint_eq(put(SESSION, order[i], i), UINT32_MAX);
    for (uint32_t i = 0; i < 5; i++)
        ck_assert_uint_eq(put(SESSION, order[i], 100 + i), i);
}
END_TEST

START_TEST(the_largest_name_is_one_like_others)
{
    ck_assert_uint_eq(put(UINT64_MAX, UINT64_MAX, 1), UINT32_MAX);
    ck_assert_uint_eq(put(UINT64_MAX, UINT64_MAX, 2), 1);
    restart();
    ck_assert_uint_eq(put(UINT64_MAX, UINT64_MAX, 3), 2);
    ck_assert_uint_eq(put(UINT64_MAX, 0, 4), UINT32_MAX);
}
END_TEST

START_TEST(a_dropped_name_is_not_found)
{
    (void)put(SESSION, 1, 100);
    ck_assert(index_del(&ix, NULL, (struct block_name){.session = SESSION, .n = 1}, NULL));
    ck_assert_uint_eq(put(SESSION, 1, 200), UINT32_MAX);
    ck_assert_uint_eq(put(SESSION, 1, 300), 200);
}
END_TEST

START_TEST(what_was_never_held_is_not_looked_for)
{
    (void)put(SESSION, 1, 100);
    counted.gets = 0;
    for (uint64_t n = 2; n < 50; n++)
        (void)put(SESSION, n, (uint32_t)n);
    ck_assert_uint_eq(counted.gets, 0);
    (void)put(SESSION, 49, 1000);
    ck_assert_uint_eq(counted.gets, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("index");
    TCase *t = tcase_create("index");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_name_put_again_is_replaced);
    tcase_add_test(t, a_name_of_before_the_restart_is_replaced);
    tcase_add_test(t, names_may_come_in_any_order);
    tcase_add_test(t, the_largest_name_is_one_like_others);
    tcase_add_test(t, a_dropped_name_is_not_found);
    tcase_add_test(t, what_was_never_held_is_not_looked_for);
    suite_add_tcase(s, t);
    return run_suite(s);
}
