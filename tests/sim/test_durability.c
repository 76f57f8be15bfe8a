/* Checkers of histories, of what must not be lost: each is silent about what
 * may happen and objects to what may not. Bad histories are as short as they can be, and named
 * after the anomaly. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

/* ---- durability, one commit ---------------------------------------------------------------------
 */

START_TEST(synced_write_survives)
{
    put(1, 10, 20, 0, 1, 1);
    synced(1, 25, 30);
    put(1, 40, 50, 0, 1, 2);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 1);
    check_durability(&h);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(synced_write_lost)
{
    put(1, 10, 20, 0, 1, 1);
    synced(1, 25, 30);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_durability(&h);
    expect_complaint("durability", "write lost");
}
END_TEST

START_TEST(synced_write_lost_to_an_older_one)
{
    put(1, 1, 2, 0, 1, 1);
    put(1, 10, 20, 0, 1, 2);
    synced(1, 25, 30);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 1);
    check_durability(&h);
    expect_complaint("durability", "write lost");
}
END_TEST

START_TEST(file_without_its_bytes_renamed_into_place)
{
    put(1, 10, 20, 0, 1, 1);
    add(H_NAMED, 1, 25, 30)->file = FILE_A;
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_durability(&h);
    expect_complaint("durability", "write lost");
}
END_TEST

START_TEST(closed_write_lost)
{
    put(1, 10, 20, 0, 1, 1);
    add(H_CLOSE, 1, 25, 30)->file = FILE_A;
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_durability(&h);
    expect_complaint("durability", "write lost");
    led_until = 75; /* the leader was lost while the read waited (simulator seed 2000741) */
    check_durability(&h);
    expect_silence();
    led_until = TIME_NEVER;
    led_since = 22; /* the leader that took the bytes was lost too (simulator seed 500775) */
    check_durability(&h);
    expect_silence();
}
END_TEST

START_TEST(failed_sync_promises_nothing)
{
    put(1, 10, 20, 0, 1, 1);
    synced(1, 25, 30)->err = EIO;
    synced(2, 31, 32); /* another mount's says nothing about this one's */
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_durability(&h);
    expect_silence();
}
END_TEST

START_TEST(sync_under_a_new_session)
{
    put(1, 10, 20, 0, 1, 1);
    add(H_SESSION_LOST, 1, 30, 30);
    synced(1, 40, 50)->session = 99;
    got(1, 60, 70, 0, 1, 0);
    check_durability(&h);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(session_lost_and_killed_later)
{
    put(1, 10, 20, 0, 1, 1);
    add(H_SESSION_LOST, 1, 30, 30);
    got(1, 40, 50, 0, 1, 0)->session = 99;
    killed(1, 60); /* what was lost before is not there until now */
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(begun_under_the_lost_session_done_under_the_next)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 29, 31, 1, 1, 2); /* waited for the new session */
    add(H_SESSION_LOST, 1, 30, 30);
    got(2, 40, 50, 0, 2, 0, 2);
    got(2, 51, 52, 0, 2, 0, 2);
    check_registers(&h);
    check_one_commit(&h);
    expect_silence();
}
END_TEST

START_TEST(half_of_a_divided_write)
{
    put(1, 10, 20, 1, 2, 1); /* from within a page: two requests */
    got(1, 21, 22, 1, 2, 1, 1);
    killed(1, 30);
    got(2, 40, 50, 1, 2, 1, 0);
    got(2, 51, 52, 1, 2, 1, 0);
    check_registers(&h);
    check_one_commit(&h);
    h.session_mounts = UINT32_MAX;
    check_sessions(&h);
    h.session_mounts = 0;
    expect_silence();
    got(2, 60, 70, 1, 2, 0, 0);
    check_registers(&h);
    expect_complaint("registers", "zeros read instead");
}
END_TEST

START_TEST(prefix_of_a_dead_mounts_writes)
{
    put(1, 10, 20, 0, 2, 1);
    put(1, 30, 40, 2, 2, 2);
    put(1, 50, 55, 0, 1, 3);
    killed(1, 60);
    got(2, 70, 80, 0, 4, 1, 1, 2, 2);
    got(2, 81, 82, 0, 4, 1, 1, 2, 2);
    check_one_commit(&h);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(mixture_of_two_commits)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 2, 1, 2);
    killed(1, 60);
    got(2, 70, 80, 2, 1, 2); /* the later write is there ... */
    got(2, 81, 82, 0, 1, 0); /* ... the earlier is not */
    check_one_commit(&h);
    expect_complaint("one_commit", "mixture of two commits");
}
END_TEST

START_TEST(write_over_the_end_of_a_session)
{
    /* Its first part came before the end, the second after it (simulator seed 6000759). */
    put(1, 10, 90, 0, 4, 1);
    got(2, 40, 50, 0, 1, 1);
    got(2, 51, 52, 2, 1, 0);
    add(H_SESSION_LOST, 1, 60, 60);
    check_one_commit(&h);
    expect_silence();
}
END_TEST

START_TEST(half_of_a_write_around_a_read_page)
{
    /* A page in its middle was being read (simulator seed 1060002329). */
    put(1, 10, 60, 0, 4, 1)->divided = true;
    killed(1, 70);
    got(2, 20, 30, 0, 1, 1);
    got(2, 31, 32, 2, 1, 0);
    check_one_commit(&h);
    expect_silence();
}
END_TEST

START_TEST(half_of_a_write)
{
    put(1, 10, 20, 0, 4, 1);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 1);
    got(2, 81, 82, 2, 1, 0);
    check_one_commit(&h);
    expect_complaint("one_commit", "mixture of two commits");
}
END_TEST

/* ---- appends -----------------------------------------------------------------------------------
 */

START_TEST(appends_in_order)
{
    appended(1, 10, 20, 1);
    appended(2, 15, 25, 2); /* concurrent */
    records(1, 30, 35, 2, 2, 1);
    appended(1, 40, 41, 3)->err = ETIMEDOUT;
    appended(2, 42, 43, 4);
    records(2, 50, 55, 3, 2, 1, 4);
    records(1, 60, 65, 4, 2, 1, 4, 3);
    check_appends(&h);
    expect_silence();
}
END_TEST

START_TEST(lost_record)
{
    appended(1, 10, 20, 1);
    appended(2, 21, 25, 2);
    records(1, 30, 35, 1, 2);
    check_appends(&h);
    expect_complaint("appends", "lost record");
}
END_TEST

START_TEST(lost_record_at_the_end)
{
    appended(1, 10, 20, 1);
    appended(2, 21, 25, 2);
    records(1, 30, 35, 1, 1);
    records(1, 40, 45, 2, 1, 2);
    check_appends(&h);
    expect_complaint("appends", "lost record");
}
END_TEST

START_TEST(doubled_record)
{
    appended(1, 10, 20, 1)->err = ETIMEDOUT;
    records(1, 30, 35, 2, 1, 1);
    check_appends(&h);
    expect_complaint("appends", "doubled record");
}
END_TEST

START_TEST(torn_record)
{
    appended(1, 10, 20, 1);
    records(1, 30, 35, 1, 1)->torn = true;
    check_appends(&h);
    expect_complaint("appends", "torn record");
}
END_TEST

START_TEST(records_that_change_places)
{
    appended(1, 10, 20, 1);
    appended(2, 10, 20, 2);
    records(1, 30, 35, 2, 1, 2);
    records(2, 40, 45, 2, 2, 1);
    check_appends(&h);
    expect_complaint("appends", "record");
}
END_TEST

START_TEST(records_against_real_time)
{
    appended(1, 10, 20, 1);
    appended(2, 30, 40, 2);
    records(1, 50, 55, 2, 2, 1);
    check_appends(&h);
    expect_complaint("appends", "not in the order of time");
}
END_TEST

START_TEST(record_seen_and_gone)
{
    appended(1, 10, NEVER, 1);
    records(1, 30, 35, 1, 1);
    records(1, 40, 45, 0);
    check_appends(&h);
    expect_complaint("appends", "is gone");
}
END_TEST

START_TEST(record_of_the_future)
{
    records(1, 10, 20, 1, 1);
    appended(1, 30, 40, 1);
    check_appends(&h);
    expect_complaint("appends", "future");
}
END_TEST

START_TEST(record_of_nobody)
{
    records(1, 10, 20, 1, 1);
    check_appends(&h);
    expect_complaint("appends", "nobody appended it");
}
END_TEST

START_TEST(unsynced_records_of_a_dead_mount_may_vanish)
{
    appended(1, 10, 20, 1);
    synced(1, 21, 22);
    appended(1, 30, 40, 2);
    records(1, 41, 42, 2, 1, 2);
    killed(1, 50);
    appended(2, 60, 70, 3);
    records(2, 80, 90, 2, 1, 3);
    check_appends(&h);
    expect_silence();
}
END_TEST

START_TEST(synced_record_lost)
{
    appended(1, 10, 20, 1);
    synced(1, 21, 22);
    killed(1, 50);
    records(2, 80, 90, 0);
    check_appends(&h);
    expect_complaint("appends", "lost record");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/durability");
    TCase *tc = tcase_create("durability, one commit");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, synced_write_survives);
    tcase_add_test(tc, synced_write_lost);
    tcase_add_test(tc, synced_write_lost_to_an_older_one);
    tcase_add_test(tc, file_without_its_bytes_renamed_into_place);
    tcase_add_test(tc, closed_write_lost);
    tcase_add_test(tc, failed_sync_promises_nothing);
    tcase_add_test(tc, sync_under_a_new_session);
    tcase_add_test(tc, session_lost_and_killed_later);
    tcase_add_test(tc, begun_under_the_lost_session_done_under_the_next);
    tcase_add_test(tc, half_of_a_divided_write);
    tcase_add_test(tc, prefix_of_a_dead_mounts_writes);
    tcase_add_test(tc, mixture_of_two_commits);
    tcase_add_test(tc, write_over_the_end_of_a_session);
    tcase_add_test(tc, half_of_a_write_around_a_read_page);
    tcase_add_test(tc, half_of_a_write);
    suite_add_tcase(suite, tc);
    tc = tcase_create("appends");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, appends_in_order);
    tcase_add_test(tc, lost_record);
    tcase_add_test(tc, lost_record_at_the_end);
    tcase_add_test(tc, doubled_record);
    tcase_add_test(tc, torn_record);
    tcase_add_test(tc, records_that_change_places);
    tcase_add_test(tc, records_against_real_time);
    tcase_add_test(tc, record_seen_and_gone);
    tcase_add_test(tc, record_of_the_future);
    tcase_add_test(tc, record_of_nobody);
    tcase_add_test(tc, unsynced_records_of_a_dead_mount_may_vanish);
    tcase_add_test(tc, synced_record_lost);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
