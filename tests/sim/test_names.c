/* Checkers of histories, of names and errors: each is silent about what
 * may happen and objects to what may not. Bad histories are as short as they can be, and named
 * after the anomaly. */
#include <errno.h>
#include <stdlib.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

/* ---- names -------------------------------------------------------------------------------------
 */

START_TEST(links_keep_their_targets)
{
    struct history_op *made = on_path(H_SYMLINK, 1, 10, 20, "/a", 0);
    made->file = 7;
    made->stamp = 3;
    made->exclusive = true;
    struct history_op *read = on_path(H_READLINK, 2, 30, 40, "/a", 0);
    read->file = 7;
    read->stamp = 3;
    check_names(&h);
    expect_silence();
    read = on_path(H_READLINK, 2, 50, 60, "/a", 0);
    read->file = 7;
    read->stamp = 4;
    check_names(&h);
    expect_complaint("names", "target of another link");
}
END_TEST

START_TEST(names_as_they_should_be)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 2, 15, 25, "/a", EEXIST);
    on_path(H_STAT, 2, 26, 27, "/a", 0)->file = 7;
    on_path(H_RENAME, 1, 30, 40, "/a", 0)->path2 = xstrdup("/b");
    on_path(H_STAT, 2, 35, 36, "/a", 0)->file = 7;
    on_path(H_STAT, 2, 41, 42, "/a", ENOENT);
    on_path(H_OPEN, 2, 43, 44, "/b", 0)->file = 7;
    on_path(H_UNLINK, 2, 50, 51, "/b", ETIMEDOUT); /* may come late */
    listed(1, 52, 53, 1, "b");
    listed(1, 60, 61, 0);
    on_path(H_UNLINK, 1, 62, 63, "/b", ENOENT);
    check_names(&h);
    expect_silence();
}
END_TEST

START_TEST(seen_late_beside_a_change_of_the_same_mount)
{
    on_path(H_CREATE, 1, 10, 40, "/a", 0)->file = 7;
    on_path(H_STAT, 2, 20, 21, "/a", 0)->file = 7;
    struct history_op *beside = on_path(H_STAT, 1, 30, 31, "/a", ENOENT);
    beside->app = 2;
    check_names(&h);
    expect_silence();
    on_path(H_STAT, 1, 41, 42, "/a", ENOENT);
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(renamed_into_a_directory_that_moves)
{
    on_path(H_MKDIR, 1, 1, 2, "/d", 0)->file = 5;
    on_path(H_CREATE, 1, 3, 4, "/f", 0)->file = 7;
    on_path(H_RENAME, 1, 10, 40, "/f", 0)->path2 = xstrdup("/d/x"); /* walked through /d at 11 */
    on_path(H_RENAME, 2, 20, 30, "/d", 0)->path2 = xstrdup("/e");
    on_path(H_STAT, 2, 31, 32, "/e/x", ENOENT);
    struct history_op *list = listed(2, 50, 60, 1, "x");
    free(list->path);
    list->path = xstrdup("/e");
    check_names(&h);
    expect_silence();
}
END_TEST

START_TEST(removed_in_a_directory_that_moves)
{
    /* Simulator seed 300002377: seen after the move, removed by what had walked before it. */
    on_path(H_MKDIR, 1, 1, 2, "/d", 0)->file = 5;
    on_path(H_CREATE, 1, 3, 4, "/d/x", 0)->file = 7;
    on_path(H_UNLINK, 1, 10, 60, "/d/x", 0); /* walked through /d at 11 */
    on_path(H_RENAME, 2, 20, 30, "/d", 0)->path2 = xstrdup("/e");
    on_path(H_STAT, 2, 40, 41, "/e/x", 0)->file = 7;
    on_path(H_STAT, 2, 70, 71, "/e/x", ENOENT);
    check_names(&h);
    expect_silence();
    on_path(H_CREATE, 2, 72, 73, "/e/x", 0)->file = 8;
    on_path(H_STAT, 2, 80, 81, "/e/x", ENOENT);
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(two_winners)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 2, 15, 25, "/a", 0)->file = 8;
    check_names(&h);
    expect_complaint("names", "made, and was there");
}
END_TEST

START_TEST(eexist_of_its_own_success)
{
    on_path(H_CREATE, 1, 10, 20, "/a", EEXIST);
    on_path(H_STAT, 1, 30, 40, "/a", 0)->file = 7;
    check_names(&h);
    expect_complaint("names", "EEXIST, and nobody else made it");
}
END_TEST

START_TEST(enoent_of_its_own_success)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_UNLINK, 1, 30, 40, "/a", ENOENT);
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(removed_twice)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_UNLINK, 1, 30, 40, "/a", 0);
    on_path(H_UNLINK, 2, 35, 45, "/a", 0);
    check_names(&h);
    expect_complaint("names", "removed, and was not there");
}
END_TEST

START_TEST(stale_name)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_UNLINK, 1, 30, 40, "/a", 0);
    on_path(H_OPEN, 2, 50, 60, "/a", 0)->file = 7;
    check_names(&h);
    expect_complaint("names", "stale name");
}
END_TEST

START_TEST(stale_absence)
{
    on_path(H_STAT, 2, 1, 2, "/a", ENOENT);
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_STAT, 2, 50, 60, "/a", ENOENT);
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(another_files_name)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_STAT, 2, 50, 60, "/a", 0)->file = 8;
    check_names(&h);
    expect_complaint("names", "stale name");
}
END_TEST

START_TEST(half_a_rename)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_RENAME, 1, 30, 40, "/a", 0)->path2 = xstrdup("/b");
    on_path(H_STAT, 2, 50, 60, "/b", ENOENT);
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(listing_lacks_a_name)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 1, 21, 22, "/b", 0)->file = 8;
    listed(2, 30, 40, 1, "b");
    check_names(&h);
    expect_complaint("names", "not listed, and was there");
}
END_TEST

START_TEST(listing_has_a_ghost)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_UNLINK, 1, 21, 22, "/a", 0);
    listed(2, 30, 40, 1, "a");
    check_names(&h);
    expect_complaint("names", "listed, and was not there");
}
END_TEST

START_TEST(root_listed_without_a_leader)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    listed(2, 30, 40, 0)->leaderless = true;
    listed(2, 30, 30 + 1 * TIME_S, 0);
    check_names(&h);
    expect_silence();
}
END_TEST

START_TEST(listing_has_a_name_twice)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    listed(2, 30, 40, 2, "a", "a");
    check_names(&h);
    expect_complaint("names", "2 times");
}
END_TEST

START_TEST(session_lists_over_a_change)
{
    /* The change was before the listing, and between two pages of it for a session that is late
     * (simulator seed 500109). */
    h.session_mounts = UINT32_MAX;
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 1, 10, 20, "/b", 0)->file = 8;
    on_path(H_RENAME, 1, 25, 28, "/b", 0)->path2 = xstrdup("/a");
    listed(2, 30, 40, 2, "a", "a");
    check_names(&h);
    expect_silence();
    on_path(H_CREATE, 1, 50, 60, "/c", 0)->file = 9;
    listed(2, 70, 80, 2, "c", "c");
    check_names(&h);
    expect_complaint("names", "2 times");
}
END_TEST

START_TEST(rename_of_one_file_under_two_names)
{
    /* The kernel looks both up, one after the other, and does nothing (simulator seed 501485). */
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    struct history_op *first = on_path(H_RENAME, 1, 30, 50, "/a", 0);
    first->path2 = xstrdup("/b");
    first->file = 7;
    struct history_op *second = on_path(H_RENAME, 2, 40, 60, "/a", 0);
    second->path2 = xstrdup("/b");
    second->idle = true;
    check_names(&h);
    expect_silence();
    on_path(H_RENAME, 2, 70, 80, "/a", 0)->path2 = xstrdup("/b");
    check_names(&h);
    expect_complaint("names", "was not there");
}
END_TEST

START_TEST(listing_has_a_name_of_nobody)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    listed(2, 30, 40, 2, "a", "z");
    check_names(&h);
    expect_complaint("names", "ever made");
}
END_TEST

START_TEST(moved_directories_tell_nothing)
{
    on_path(H_MKDIR, 1, 1, 2, "/d", 0);
    on_path(H_CREATE, 1, 10, 20, "/d/a", 0)->file = 7;
    on_path(H_RENAME, 1, 30, 40, "/d", 0)->path2 = xstrdup("/e");
    on_path(H_STAT, 2, 41, 42, "/d/a", ENOENT);
    on_path(H_STAT, 2, 43, 44, "/e/a", 0)->file = 7;
    check_names(&h);
    expect_silence();
    on_path(H_STAT, 2, 45, 46, "/e/a", ENOENT); /* but what was seen since does */
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(linked_while_replaced)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 1, 21, 22, "/b", 0)->file = 8;
    on_path(H_RENAME, 1, 30, 40, "/b", 0)->path2 = xstrdup("/a");
    on_path(H_LINK, 2, 31, 41, "/a", ENOENT)->path2 = xstrdup("/c");
    check_names(&h);
    expect_silence();
    on_path(H_LINK, 2, 51, 61, "/a", ENOENT)->path2 = xstrdup("/c");
    check_names(&h);
    expect_complaint("names", "ENOENT, and it was there");
}
END_TEST

START_TEST(renamed_link_may_stay)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_LINK, 1, 21, 22, "/a", 0)->path2 = xstrdup("/b");
    on_path(H_RENAME, 1, 30, 40, "/a", 0)->path2 = xstrdup("/b");
    on_path(H_STAT, 2, 41, 42, "/a", 0)->file = 7;
    check_names(&h);
    expect_silence();
}
END_TEST

START_TEST(counted_names)
{
    struct history_op *op = add(H_STAT, 1, 20, 22);
    op->nlink = op->links = 2;
    add(H_STAT, 1, 30, 32)->nlink = 1; /* whose names others make, too */
    check_names(&h);
    expect_silence();
    op = add(H_STAT, 1, 40, 42);
    op->links = 2;
    op->nlink = 1;
    check_names(&h);
    expect_complaint("names", "1 names of a file that has 2");
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------
 */

START_TEST(errors_with_a_reason)
{
    put(1, 10, 20, 0, 1, 1)->err = ENOSPC;
    synced(1, 30, 40)->err = EIO;
    add(H_SESSION_LOST, 1, 41, 41);
    put(1, 45, 46, 0, 1, 2)->err = ETIMEDOUT;
    on_path(H_STAT, 2, 50, 60, "/a", ENOENT);
    check_errors(&h);
    expect_silence();
}
END_TEST

START_TEST(open_file_gone)
{
    got(1, 10, 20, 0, 0)->err = ESTALE;
    check_errors(&h);
    expect_complaint("errors", "open file is gone");
}
END_TEST

START_TEST(senseless_error)
{
    on_path(H_STAT, 2, 50, 60, "/a", EBADMSG);
    check_errors(&h);
    expect_complaint("errors", "makes no sense");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/names");
    TCase *tc = tcase_create("names");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, links_keep_their_targets);
    tcase_add_test(tc, names_as_they_should_be);
    tcase_add_test(tc, seen_late_beside_a_change_of_the_same_mount);
    tcase_add_test(tc, renamed_into_a_directory_that_moves);
    tcase_add_test(tc, two_winners);
    tcase_add_test(tc, eexist_of_its_own_success);
    tcase_add_test(tc, enoent_of_its_own_success);
    tcase_add_test(tc, removed_in_a_directory_that_moves);
    tcase_add_test(tc, removed_twice);
    tcase_add_test(tc, stale_name);
    tcase_add_test(tc, stale_absence);
    tcase_add_test(tc, another_files_name);
    tcase_add_test(tc, half_a_rename);
    tcase_add_test(tc, listing_lacks_a_name);
    tcase_add_test(tc, listing_has_a_ghost);
    tcase_add_test(tc, root_listed_without_a_leader);
    tcase_add_test(tc, listing_has_a_name_twice);
    tcase_add_test(tc, rename_of_one_file_under_two_names);
    tcase_add_test(tc, session_lists_over_a_change);
    tcase_add_test(tc, listing_has_a_name_of_nobody);
    tcase_add_test(tc, moved_directories_tell_nothing);
    tcase_add_test(tc, linked_while_replaced);
    tcase_add_test(tc, renamed_link_may_stay);
    tcase_add_test(tc, counted_names);
    suite_add_tcase(suite, tc);
    tc = tcase_create("errors");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, errors_with_a_reason);
    tcase_add_test(tc, open_file_gone);
    tcase_add_test(tc, senseless_error);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
