/* The hash map, the list and the array, against plain arrays. */
#include <string.h>

#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"
#include "tests/unit/lib/run.h"

enum { KEYS = 64, STEPS = 200000 };

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void compare_walk(const struct map *m, void *const expected[KEYS],
                         uint64_t (*key_of)(size_t))
{
    bool seen[KEYS] = {false};
    size_t cursor = 0, count = 0;
    uint64_t key;
    void *value;
    while (map_next(m, &cursor, &key, &value)) {
        size_t i = 0;
        while (i < KEYS && key_of(i) != key)
            i++;
        ck_assert_uint_lt(i, KEYS);
        ck_assert(!seen[i]);
        seen[i] = true;
        ck_assert_ptr_eq(value, expected[i]);
        count++;
    }
    ck_assert_uint_eq(count, m->count);
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_int_eq(seen[i], expected[i] != NULL);
}

static uint64_t small_key(size_t i)
{
    return i;
}

/* Far apart, 0 and the largest included. */
static uint64_t large_key(size_t i)
{
    return i == 1 ? UINT64_MAX : (uint64_t)i << 32;
}

/* Puts, deletions and look-ups at random; removal moves items back, so runs of neighbours matter.
 */
START_TEST(does_what_an_array_does)
{
    uint64_t (*const keys[])(size_t) = {small_key, large_key};
    static int values[KEYS * 2];
    uint64_t rng = 88172645463325252u;
    void *expected[KEYS] = {NULL};
    struct map m = {0};
    for (int step = 0; step < STEPS; step++) {
        size_t i = next(&rng) % KEYS;
        void *value = &values[i + (next(&rng) % 2) * KEYS];
        switch (next(&rng) % 4) {
        case 0:
        case 1:
            ck_assert_ptr_eq(map_put(&m, keys[_i](i), value), expected[i]);
            expected[i] = value;
            break;
        case 2:
            ck_assert_ptr_eq(map_del(&m, keys[_i](i)), expected[i]);
            expected[i] = NULL;
            break;
        case 3:
            ck_assert_ptr_eq(map_get(&m, keys[_i](i)), expected[i]);
            break;
        }
        if (step % 1000 == 0)
            compare_walk(&m, expected, keys[_i]);
    }
    map_done(&m);
}
END_TEST

START_TEST(grows_and_empties)
{
    struct map m;
    map_init(&m);
    ck_assert_ptr_null(map_get(&m, 7));
    ck_assert_ptr_null(map_del(&m, 7));
    for (uint64_t i = 0; i < 10000; i++)
        ck_assert_ptr_null(map_put(&m, i * 0x100000001, &m));
    ck_assert_uint_eq(m.count, 10000);
    for (uint64_t i = 0; i < 10000; i++)
        ck_assert_ptr_nonnull(map_get(&m, i * 0x100000001));
    ck_assert_ptr_null(map_get(&m, 1));
    map_clear(&m);
    ck_assert_uint_eq(m.count, 0);
    ck_assert_ptr_null(map_get(&m, 0));
    ck_assert_ptr_null(map_put(&m, 0, &m));
    for (uint64_t i = 1; i < 10000; i++)
        (void)map_put(&m, i, &m);
    for (uint64_t i = 0; i < 10000; i++)
        ck_assert_ptr_nonnull(map_del(&m, i));
    ck_assert_uint_eq(m.count, 0);
    map_done(&m);
}
END_TEST

struct item {
    int n;
    struct list link;
};

START_TEST(list_keeps_its_order_and_lets_go)
{
    struct list head;
    struct item items[5] = {0};
    int sum = 0, last = -1;
    list_init(&head);
    ck_assert_ptr_null(list_pop_front(&head));
    ck_assert_ptr_null(list_first(&head, struct item, link));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_push_back(&head, &items[i].link);
    }
    list_each(it, &head) {
        struct item *i = list_entry(it, struct item, link);
        ck_assert_int_eq(i->n, last + 1);
        last = i->n;
        if (i->n % 2 == 0)
            list_remove(it); /* the current one may go */
    }
    list_each(it, &head)
        sum += list_entry(it, struct item, link)->n;
    ck_assert_int_eq(sum, 1 + 3);
    ck_assert(!list_linked(&items[0].link) && list_linked(&items[1].link));
    list_remove(&items[0].link); /* twice is fine */
    list_push_front(&head, &items[4].link);
    ck_assert_int_eq(list_first(&head, struct item, link)->n, 4);
    ck_assert_int_eq(list_last(&head, struct item, link)->n, 3);
    while (list_pop_front(&head))
        sum--;
    ck_assert_int_eq(sum, 1);
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(array_grows_and_closes_gaps)
{
    vec_of(int) v = {0};
    for (int i = 0; i < 1000; i++)
        vec_push(&v, i);
    ck_assert_uint_eq(v.count, 1000);
    vec_remove(&v, 500);
    vec_remove(&v, 0);
    ck_assert_int_eq(v.items[0], 1);
    ck_assert_int_eq(v.items[498], 499);
    ck_assert_int_eq(v.items[499], 501);
    ck_assert_int_eq(vec_pop(&v), 999);
    ck_assert_uint_eq(v.count, 997);
    vec_clear(&v);
    vec_push(&v, 5);
    ck_assert_int_eq(v.items[0], 5);
    vec_done(&v);
    ck_assert_ptr_null(v.items);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/base/map");
    TCase *tc = tcase_create("map");
    tcase_add_loop_test(tc, does_what_an_array_does, 0, 2);
    tcase_add_test(tc, grows_and_empties);
    tcase_add_test(tc, list_keeps_its_order_and_lets_go);
    tcase_add_test(tc, array_grows_and_closes_gaps);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
