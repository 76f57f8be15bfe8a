/* Lookups that are answered from pages of listings. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

static const struct world_answer *look_up(int m, uint64_t dir, const char *name)
{
    return world_do(&w, m, (struct client_op){.kind = CLIENT_LOOKUP, .parent = dir, .name = name});
}

static uint64_t make_dir(int m, const char *name)
{
    return world_do(
               &w, m,
               (struct client_op){
                   .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755})
        ->attr.ino;
}

static void fill_dir(int m, uint64_t dir, int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        ck_assert_int_eq(
            world_do(&w, m,
                     (struct client_op){
                         .kind = CLIENT_MAKE, .parent = dir, .name = name, .mode = S_IFREG | 0644})
                ->err,
            0);
    }
}

START_TEST(lookups_in_a_row_are_answered_from_pages)
{
    /* Goal: a stat() of every file of a directory costs few questions, and is as true as if each
     * had been asked for: a change by another mount is seen at once. */
    uint64_t dir = make_dir(0, "d");
    fill_dir(0, dir, 200);
    world_pass(&w, 100 * TIME_MS);
    unsigned before = w.mounts[1].sends;
    for (int i = 0; i < 200; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        const struct world_answer *a = look_up(1, dir, name);
        ck_assert_int_eq(a->err, 0);
        ck_assert_uint_ne(a->entry_valid_us, 0);
        ck_assert_uint_ne(a->attr_valid_us, 0);
    }
    ck_assert_uint_le(w.mounts[1].sends - before, 16);
    ck_assert_int_eq(
        world_do(&w, 0, (struct client_op){.kind = CLIENT_UNLINK, .parent = dir, .name = "f150"})
            ->err,
        0);
    ck_assert_int_eq(look_up(1, dir, "f150")->err, ENOENT);
    ck_assert_int_eq(look_up(1, dir, "f151")->err, 0);
}
END_TEST

START_TEST(lookups_here_and_there_fetch_no_pages)
{
    /* Goal: names from all over a large directory do not fetch all of it. */
    uint64_t dir = make_dir(0, "d");
    fill_dir(0, dir, 1500);
    world_pass(&w, 100 * TIME_MS);
    unsigned before = w.mounts[1].sends;
    for (int i = 0; i < 30; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", 1499 - 40 * i);
        ck_assert_int_eq(look_up(1, dir, name)->err, 0);
    }
    ck_assert_uint_le(w.mounts[1].sends - before, 30 + 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("look_ahead");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, lookups_in_a_row_are_answered_from_pages);
    tcase_add_test(t, lookups_here_and_there_fetch_no_pages);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
