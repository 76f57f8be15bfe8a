/* Pieces of memory that go together. */
#include <stdint.h>
#include <string.h>

#include "repl/base/arena.h"
#include "tests/unit/lib/run.h"

START_TEST(pieces_are_apart)
{
    struct arena a = {0};
    uint8_t *pieces[500];
    size_t sizes[500];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 500; i++) {
            sizes[i] = i % 100 == 99 ? 20000 : i % 67;
            pieces[i] = arena_take(&a, sizes[i]);
            ck_assert_uint_eq((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
            memset(pieces[i], (int)(i % 251), sizes[i]);
        }
        for (unsigned i = 0; i < 500; i++)
            for (size_t k = 0; k < sizes[i]; k++)
                ck_assert_msg(pieces[i][k] == i % 251, "piece %u was written over", i);
        arena_clear(&a);
    }
    arena_done(&a);
}
END_TEST

START_TEST(memory_is_kept)
{
    struct arena a = {0};
    const void *first = arena_take(&a, 100);
    arena_clear(&a);
    ck_assert_ptr_eq(arena_take(&a, 100), first);
    (void)arena_take(&a, 100000);
    arena_clear(&a);
    ck_assert_ptr_eq(arena_take(&a, 100), first);
    arena_done(&a);
    ck_assert_ptr_null(a.chunks);
}
END_TEST

START_TEST(large_memory_is_not_kept)
{
    struct arena a = {0};
    (void)arena_take(&a, 100000);
    arena_clear(&a);
    ck_assert_ptr_null(a.chunks);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *t = tcase_create("pieces");
    tcase_add_test(t, pieces_are_apart);
#ifndef __SANITIZE_ADDRESS__ /* with it nothing is */
    tcase_add_test(t, memory_is_kept);
#else
    (void)memory_is_kept;
#endif
    tcase_add_test(t, large_memory_is_not_kept);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
