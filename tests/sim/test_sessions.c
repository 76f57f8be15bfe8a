/* Checkers of histories, of sessions and times: each is silent about what
 * may happen and objects to what may not. Bad histories are as short as they can be, and named
 * after the anomaly. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

/* ---- sessions ----------------------------------------------------------------------------------
 */

START_TEST(late_reads_are_fine)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2);
    got(2, 50, 60, 0, 1, 0);
    got(2, 61, 62, 0, 1, 1);
    got(1, 63, 64, 0, 1, 2);
    got(2, 65, 66, 0, 1, 2);
    check_registers(&h);
    check_sessions(&h);
    expect_silence();
}
END_TEST

START_TEST(late_reads_of_one_of_two_mounts)
{
    h.session_mounts = 1u << 2;
    put(1, 10, 20, 0, 1, 1);
    appended(1, 10, 20, 7)->file = FILE_B;
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = FILE_A;
    got(2, 50, 60, 0, 1, 0);
    records(2, 50, 60, 0)->file = FILE_B;
    on_path(H_STAT, 2, 50, 60, "/a", ENOENT);
    check_registers(&h);
    check_appends(&h);
    check_names(&h);
    check_sessions(&h);
    expect_silence();
    got(1, 70, 80, 0, 1, 0);
    check_registers(&h);
    expect_complaint("registers", "zeros read");
}
END_TEST

START_TEST(late_list_of_records_at_the_other_mount)
{
    h.session_mounts = 1u << 2;
    appended(1, 10, 20, 7);
    records(2, 30, 40, 0);
    records(1, 30, 40, 0);
    check_appends(&h);
    expect_complaint("appends", "lost record");
}
END_TEST

START_TEST(late_name_at_the_other_mount)
{
    h.session_mounts = 1u << 2;
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = FILE_A;
    on_path(H_STAT, 2, 30, 40, "/a", ENOENT);
    on_path(H_STAT, 3, 30, 40, "/a", ENOENT);
    check_names(&h);
    expect_complaint("names", "");
}
END_TEST

START_TEST(own_write_not_read_beside_others)
{
    h.session_mounts = 1u << 2;
    put(2, 10, 20, 0, 1, 1);
    got(2, 30, 40, 0, 1, 0);
    check_registers(&h);
    check_sessions(&h);
    expect_complaint("sessions", "read your writes");
}
END_TEST

START_TEST(own_write_not_read)
{
    put(1, 10, 20, 0, 1, 1);
    got(1, 30, 40, 0, 1, 0);
    check_sessions(&h);
    expect_complaint("sessions", "read your writes");
}
END_TEST

START_TEST(reads_go_back)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2);
    got(2, 50, 60, 0, 1, 2);
    got(2, 61, 62, 0, 1, 1);
    check_sessions(&h);
    expect_complaint("sessions", "monotonic reads");
}
END_TEST

START_TEST(token_lost_on_restart)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 50, 60, 0, 1, 1);
    killed(2, 70);
    got(2, 80, 90, 0, 1, 0)->life = 2;
    check_sessions(&h);
    expect_complaint("sessions", "monotonic reads");
}
END_TEST

START_TEST(unsynced_write_of_an_earlier_life_comes_late)
{
    /* Its COMMIT was under way when the mount died (simulator seed 400828). */
    put(1, 10, 20, 0, 1, 1);
    got(1, 21, 22, 0, 1, 1);
    killed(1, 30);
    got(1, 40, 50, 0, 1, 0)->life = 2;
    got(1, 60, 70, 0, 1, 1)->life = 2;
    check_sessions(&h);
    expect_silence();
    got(1, 80, 90, 0, 1, 0)->life = 2;
    check_sessions(&h);
    expect_complaint("sessions", "monotonic reads");
}
END_TEST

START_TEST(unsynced_record_of_an_earlier_life_comes_late)
{
    /* simulator seed 2003564 */
    appended(1, 10, 20, 1);
    synced(1, 21, 22);
    appended(1, 23, 24, 2);
    records(1, 25, 26, 2, 1, 2);
    killed(1, 30);
    records(1, 40, 50, 1, 1)->life = 2;
    records(1, 60, 70, 2, 1, 2)->life = 2;
    check_appends(&h);
    expect_silence();
    records(1, 80, 90, 1, 1)->life = 2;
    check_appends(&h);
    expect_complaint("appends", "gone");
}
END_TEST

START_TEST(synced_write_of_an_earlier_life)
{
    put(1, 10, 20, 0, 1, 1);
    synced(1, 21, 22);
    killed(1, 30);
    got(1, 40, 50, 0, 1, 0)->life = 2;
    check_sessions(&h);
    expect_complaint("sessions", "read your writes");
}
END_TEST

START_TEST(writes_out_of_order)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 1, 1, 2);
    got(2, 50, 60, 1, 1, 2);
    got(2, 61, 62, 0, 1, 0);
    check_sessions(&h);
    expect_complaint("sessions", "monotonic writes");
}
END_TEST

START_TEST(answer_before_the_question)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 30, 40, 0, 1, 1); /* mount 2 read it ... */
    struct history_op *answer = put(2, 50, 60, 0, 1, 2);
    answer->file = FILE_B; /* ... then wrote elsewhere ... */
    got(3, 70, 80, 0, 1, 2)->file = FILE_B;
    got(3, 90, 95, 0, 1, 0); /* ... which mount 3 has seen */
    check_sessions(&h);
    expect_complaint("sessions", "writes follow reads");
}
END_TEST

START_TEST(late_lookups_are_fine)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    h.ops.items[0].exclusive = false; /* made or opened: nobody knows */
    on_path(H_STAT, 2, 21, 22, "/a", ENOENT);
    on_path(H_UNLINK, 2, 23, 24, "/a", ENOENT);
    on_path(H_UNLINK, 1, 30, 40, "/a", 0);
    check_names(&h);
    expect_silence();
    on_path(H_UNLINK, 2, 50, 60, "/a", 0); /* but changes happen at the leader */
    check_names(&h);
    expect_complaint("names", "removed, and was not there");
}
END_TEST

START_TEST(own_names_are_found)
{
    on_path(H_CREATE, 1, 10, 20, "/a", 0)->file = 7;
    on_path(H_CREATE, 1, 11, 20, "/b", 0)->file = 8;
    on_path(H_STAT, 2, 21, 22, "/a", ENOENT); /* another mount may be late */
    on_path(H_UNLINK, 2, 23, 40, "/b", 0);
    on_path(H_STAT, 1, 30, 35, "/b", ENOENT); /* that may be why */
    on_path(H_STAT, 1, 36, 38, "/b", 0)->file = 8;
    on_path(H_UNLINK, 1, 50, 60, "/a", 0);
    check_names(&h);
    expect_silence();
    on_path(H_STAT, 1, 70, 80, "/a", 0)->file = 7;
    check_names(&h);
    expect_complaint("names", "read your writes");
}
END_TEST

START_TEST(two_files_need_no_order)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2)->file = FILE_B;
    got(2, 50, 60, 0, 1, 2)->file = FILE_B;
    got(2, 61, 62, 0, 1, 0);
    check_sessions(&h);
    expect_silence();
}
END_TEST

/* ---- times -------------------------------------------------------------------------------------
 */

START_TEST(times_that_go_on)
{
    stat_of(1, 10, 20, 100);
    put(2, 30, 40, 0, 1, 1);
    stat_of(2, 35, 36, 100);
    stat_of(2, 41, 42, 101);
    killed(2, 50);
    stat_of(1, 60, 61, 100); /* it was lost with its writer */
    check_times(&h);
    expect_silence();
}
END_TEST

START_TEST(time_goes_back)
{
    stat_of(1, 10, 20, 100);
    stat_of(2, 21, 22, 99);
    check_times(&h);
    expect_complaint("times", "goes back");
}
END_TEST

START_TEST(time_is_told_early)
{
    /* Goal: beside a read at the same mount, by a few ns. */
    stat_of(1, 10, 20, 100);
    got(2, 21, 25, 0, 1, 0);
    stat_of(2, 22, 23, 96);
    check_times(&h);
    expect_silence();
    stat_of(2, 24, 26, 90);
    check_times(&h);
    expect_complaint("times", "goes back");
}
END_TEST

START_TEST(time_is_told_early_at_the_other_mount)
{
    stat_of(1, 10, 20, 100);
    got(2, 21, 25, 0, 1, 0);
    stat_of(1, 22, 23, 96);
    check_times(&h);
    expect_complaint("times", "goes back");
}
END_TEST

START_TEST(time_stands_still)
{
    stat_of(1, 10, 20, 100);
    put(2, 30, 40, 0, 1, 1);
    stat_of(1, 50, 60, 100);
    check_times(&h);
    expect_complaint("times", "stands still");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/sessions");
    TCase *tc = tcase_create("sessions");
    tcase_add_checked_fixture(tc, setup_session, teardown);
    tcase_add_test(tc, late_reads_are_fine);
    tcase_add_test(tc, late_reads_of_one_of_two_mounts);
    tcase_add_test(tc, late_list_of_records_at_the_other_mount);
    tcase_add_test(tc, late_name_at_the_other_mount);
    tcase_add_test(tc, own_write_not_read_beside_others);
    tcase_add_test(tc, own_write_not_read);
    tcase_add_test(tc, reads_go_back);
    tcase_add_test(tc, token_lost_on_restart);
    tcase_add_test(tc, unsynced_write_of_an_earlier_life_comes_late);
    tcase_add_test(tc, synced_write_of_an_earlier_life);
    tcase_add_test(tc, unsynced_record_of_an_earlier_life_comes_late);
    tcase_add_test(tc, writes_out_of_order);
    tcase_add_test(tc, answer_before_the_question);
    tcase_add_test(tc, late_lookups_are_fine);
    tcase_add_test(tc, own_names_are_found);
    tcase_add_test(tc, two_files_need_no_order);
    suite_add_tcase(suite, tc);
    tc = tcase_create("times");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, times_that_go_on);
    tcase_add_test(tc, time_goes_back);
    tcase_add_test(tc, time_is_told_early);
    tcase_add_test(tc, time_is_told_early_at_the_other_mount);
    tcase_add_test(tc, time_stands_still);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
