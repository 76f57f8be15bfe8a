/* Where directories are in Linux's tree: which node is found where, and when it is another one. */
#include "fs/fuse/places.h"

#include "tests/unit/lib/run.h"

enum { ROOT = 1, A = 10, B, C, X, Y, ONE = 100, OTHER };

static struct places p;
static uint64_t now_ms;
static bool is_new;

static void some_directories(void)
{
    now_ms = 1000000;
    for (uint64_t ino = A; ino <= C; ino++)
        ck_assert_uint_eq(places_found(&p, ino, ROOT, ONE, now_ms, &is_new), ino);
    ck_assert_uint_eq(places_found(&p, X, A, ONE, now_ms, &is_new), X);
    now_ms += PLACES_AGAIN_MS;
}

static void no_directories(void)
{
    places_done(&p);
}

static uint64_t found(uint64_t ino, uint64_t parent, pid_t thread)
{
    return places_found(&p, ino, parent, thread, now_ms, &is_new);
}

START_TEST(the_same_where_it_was)
{
    /* Goal: nothing is special about what stays, however often it is looked up, or about files. */
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(found(X, A, ONE), X);
        ck_assert(!is_new);
    }
    ck_assert_uint_eq(places_listed(&p, X, A), X);
    ck_assert_uint_eq(places_ino(&p, X), X);
    ck_assert_uint_eq(places_ino(&p, 77), 77);
    ck_assert_ptr_null(places_of(&p, 77));
    ck_assert(!places_many(&p, X) && !places_many(&p, 77));
}
END_TEST

START_TEST(who_walks_again_gets_another_node)
{
    /* Goal: a moved directory is the same to a first walk, which Linux can do most of the time;
     * to the second walk of that thread it is another, and then to all. */
    ck_assert_uint_eq(found(X, B, ONE), X);
    ck_assert(!is_new);
    ck_assert_uint_eq(found(X, B, OTHER), X); /* its first */
    uint64_t node = found(X, B, ONE);
    ck_assert_uint_ne(node, X);
    ck_assert(is_new);
    ck_assert_uint_eq(places_ino(&p, node), X);
    ck_assert(places_many(&p, X));
    ck_assert_uint_eq(found(X, B, OTHER), node);
    ck_assert(!is_new);
    ck_assert_uint_eq(places_listed(&p, X, B), node);
}
END_TEST

START_TEST(a_later_walk_is_a_first_one)
{
    /* Goal: looking twice at what was moved is no sign of a walk that failed. */
    ck_assert_uint_eq(found(X, B, ONE), X);
    now_ms += PLACES_AGAIN_MS;
    ck_assert_uint_eq(found(X, B, ONE), X);
    ck_assert(!is_new && !places_many(&p, X));
}
END_TEST

START_TEST(a_second_walk_that_finds_another_directory)
{
    /* Goal: Linux walks once more and no further, so in a second walk nothing is moved, whatever
     * made the first one fail. */
    ck_assert_uint_eq(found(Y, A, ONE), Y);
    ck_assert_uint_eq(found(X, B, ONE), X);
    ck_assert_uint_ne(found(Y, C, ONE), Y);
    ck_assert(is_new);
    places_walk_again(&p, OTHER, now_ms);
    ck_assert_uint_ne(found(X, C, OTHER), X);
    ck_assert(is_new);
}
END_TEST

START_TEST(what_this_mount_renames_is_where_it_puts_it)
{
    /* Goal: Linux moves that itself. What was not there before it, is not moved by it. */
    places_renamed(&p, X, A, B);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(found(X, B, ONE), X);
    ck_assert(!places_many(&p, X));
    places_renamed(&p, X, A, C);
    ck_assert_uint_eq(places_listed(&p, X, B), X);
    places_renamed(&p, 77, A, C);
    ck_assert_uint_eq(found(X, C, ONE), X);
    places_renamed(&p, X, C, A); /* it was moved, then */
    ck_assert_uint_eq(places_listed(&p, X, A), X);
}
END_TEST

START_TEST(a_listing_moves_nothing)
{
    ck_assert_uint_eq(places_listed(&p, X, B), 0);
    ck_assert_uint_eq(places_listed(&p, Y, B), Y);
    places_count_listed(&p, Y, B);
    ck_assert_uint_eq(places_listed(&p, Y, A), 0);
    ck_assert_uint_eq(found(Y, B, ONE), Y);
    ck_assert(!is_new);
    ck_assert_uint_eq(found(X, B, ONE), X);
    ck_assert_uint_eq(places_listed(&p, X, B), 0); /* it may not be there */
}
END_TEST

START_TEST(what_linux_has_above_is_not_moved_below)
{
    /* Goal: A was in the root and X in A; another mount moves X to the root and A into it. Who
     * looks from X finds A, which to Linux is still above. */
    uint64_t node = found(A, X, OTHER);
    ck_assert(is_new);
    ck_assert_uint_eq(places_ino(&p, node), A);
    ck_assert_uint_eq(found(X, A, OTHER), X); /* a way round: it must come to an end */
    ck_assert_uint_eq(found(Y, node, OTHER), Y);
}
END_TEST

START_TEST(forgotten)
{
    /* Goal: each node ends with its look-ups, in any order, and is a single one again. */
    ck_assert_uint_eq(found(X, B, ONE), X);
    uint64_t second = found(X, B, ONE);
    uint64_t third = found(X, C, ONE);
    ck_assert_uint_eq(found(X, C, OTHER), third);
    ck_assert_uint_ne(third, second);
    ck_assert_uint_ne(third, 0);
    ck_assert_ptr_nonnull(places_of(&p, X)->older->older);
    places_forget(&p, second, 1);
    ck_assert_ptr_null(places_of(&p, X)->older->older);
    places_forget(&p, X, 1);
    ck_assert(places_many(&p, X));
    places_forget(&p, X, 1);
    ck_assert(!places_many(&p, X));
    ck_assert_uint_eq(places_ino(&p, third), X);
    ck_assert_uint_eq(found(X, C, ONE), third);
    places_forget(&p, third, 3);
    ck_assert_ptr_null(places_of(&p, X));
    ck_assert_uint_eq(found(X, C, ONE), X);
    places_forget(&p, 77, 1); /* a file */
}
END_TEST

START_TEST(many_moves)
{
    /* Goal: numbers of nodes come round without meeting one that lives. */
    uint64_t at[2] = {B, C};
    for (int i = 0; i < 70000; i++) {
        uint64_t before = places_of(&p, X)->node;
        (void)found(X, at[i % 2], ONE);
        uint64_t node = found(X, at[i % 2], ONE);
        ck_assert_uint_eq(places_ino(&p, node), X);
        if (node != before && before != X)
            places_forget(&p, before, UINT64_MAX);
    }
    ck_assert_uint_eq(places_ino(&p, X), X);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/fuse places");
    TCase *t = tcase_create("places");
    tcase_add_checked_fixture(t, some_directories, no_directories);
    tcase_add_test(t, the_same_where_it_was);
    tcase_add_test(t, who_walks_again_gets_another_node);
    tcase_add_test(t, a_later_walk_is_a_first_one);
    tcase_add_test(t, a_second_walk_that_finds_another_directory);
    tcase_add_test(t, what_this_mount_renames_is_where_it_puts_it);
    tcase_add_test(t, a_listing_moves_nothing);
    tcase_add_test(t, what_linux_has_above_is_not_moved_below);
    tcase_add_test(t, forgotten);
    tcase_add_test(t, many_moves);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
