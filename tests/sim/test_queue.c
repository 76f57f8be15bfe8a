/* Checker of what mounts did ahead of the log: it is silent about what may happen, also about what
 * may be lost, and objects to what may not. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

enum { SESSION = 11 /* of mount 1 */ };

static void setup_queue(void)
{
    setup();
    check_queue_start();
}

static void logged(uint64_t from, uint64_t to)
{
    for (uint64_t q = from; q <= to; q++)
        check_queue_entry(SESSION, q);
}

/* Mount 1 does it alone, of FILE_A. */
static struct history_op *ahead(enum history_kind kind, uint64_t q, time_us start, time_us end)
{
    struct history_op *op = add(kind, 1, start, end);
    op->file = FILE_A;
    op->q = q;
    op->q_session = SESSION;
    return op;
}

/* ---- the log and the state ---------------------------------------------------------------------
 */

START_TEST(in_order_and_counted)
{
    check_queue_state(SESSION, 1, 0);
    logged(1, 3);
    check_queue_state(SESSION, 4, 0);
    expect_silence();
}
END_TEST

START_TEST(in_the_log_and_not_counted)
{
    logged(1, 2);
    check_queue_state(SESSION, 2, 0);
    expect_complaint("queue", "operation 2 is in the log, the state waits for 2");
}
END_TEST

START_TEST(entry_behind_a_gap_does_not_count)
{
    check_queue_entry(SESSION, 1);
    check_queue_entry(SESSION, 3); /* refused: EAGAIN */
    check_queue_state(SESSION, 2, 0);
    check_queue_entry(SESSION, 2);
    check_queue_entry(SESSION, 3);
    check_queue_entry(SESSION, 2); /* sent once more */
    check_queue_state(SESSION, 4, 0);
    expect_silence();
}
END_TEST

START_TEST(entry_of_an_ended_session_does_not_count)
{
    logged(1, 1);
    check_queue_ended(SESSION);
    logged(2, 2);
    check_queue_state(SESSION, 2, 0);
    expect_silence();
}
END_TEST

START_TEST(refused)
{
    logged(1, 1);
    check_queue_state(SESSION, 2, ENOSPC);
    expect_complaint("queue", "operation 2 of session 11 was refused");
}
END_TEST

START_TEST(counted_by_a_snapshot)
{
    check_queue_state(SESSION, 8, 0);
    logged(8, 8);
    check_queue_state(SESSION, 8, 0);
    expect_complaint("queue", "operation 8 is in the log");
}
END_TEST

/* ---- what was lost ------------------------------------------------------------------------------
 */

START_TEST(all_in_the_log)
{
    ahead(H_CREATE, 1, 10, 20);
    logged(1, 1);
    check_queue(&h);
    expect_silence();
    ck_assert(!h.ops.items[0].reverted);
}
END_TEST

START_TEST(lost_though_nothing_happened)
{
    ahead(H_CREATE, 1, 10, 20);
    ahead(H_RENAME, 2, 30, 40);
    logged(1, 1);
    check_queue(&h);
    expect_complaint("queue", "its mount lives");
    ck_assert(!h.ops.items[0].reverted && h.ops.items[1].reverted);
}
END_TEST

START_TEST(lost_with_its_mount)
{
    ahead(H_RENAME, 1, 10, 20);
    killed(1, 30);
    check_queue(&h);
    expect_silence();
    ck_assert(h.ops.items[0].reverted);
}
END_TEST

START_TEST(another_mount_died)
{
    ahead(H_RENAME, 1, 10, 20);
    killed(2, 30);
    check_queue(&h);
    expect_complaint("queue", "its mount lives");
}
END_TEST

START_TEST(another_life_died)
{
    ahead(H_RENAME, 1, 10, 20);
    killed(1, 30);
    h.ops.items[1].life = 2;
    check_queue(&h);
    expect_complaint("queue", "its mount lives");
}
END_TEST

START_TEST(lost_with_its_session)
{
    ahead(H_RENAME, 1, 10, 20);
    add(H_SESSION_LOST, 1, 30, 30)->session = SESSION;
    check_queue(&h);
    expect_silence();
}
END_TEST

/* At its deadline, with nobody to commit to. */
START_TEST(lost_when_its_mount_ended)
{
    ahead(H_RENAME, 1, 10, 20);
    add(H_MOUNT_STARTED, 1, 30, 30)->life = 2;
    check_queue(&h);
    expect_silence();
    ck_assert(h.ops.items[0].reverted);
}
END_TEST

START_TEST(another_mount_ended)
{
    add(H_MOUNT_STARTED, 1, 1, 1);
    ahead(H_RENAME, 1, 10, 20);
    add(H_MOUNT_STARTED, 2, 30, 30)->life = 2;
    check_queue(&h);
    expect_complaint("queue", "its mount lives");
}
END_TEST

START_TEST(another_session_lost)
{
    ahead(H_RENAME, 1, 10, 20);
    add(H_SESSION_LOST, 1, 30, 30)->session = SESSION + 100;
    check_queue(&h);
    expect_complaint("queue", "its mount lives");
}
END_TEST

START_TEST(synced_and_lost)
{
    ahead(H_RENAME, 1, 10, 20);
    synced(1, 20, 30);
    killed(1, 40);
    check_queue(&h);
    expect_complaint("queue", "covered");
}
END_TEST

/* None of these answers for the operation. */
START_TEST(syncs_that_do_not_cover)
{
    ahead(H_RENAME, 1, 10, 20);
    synced(1, 19, 30); /* began before it was done */
    synced(1, 20, 30)->err = EIO;
    synced(1, 20, NEVER);
    synced(1, 20, 30)->session = SESSION + 100;
    synced(1, 20, 30)->file = FILE_B;
    synced(2, 20, 30);
    killed(1, 40);
    check_queue(&h);
    expect_silence();
}
END_TEST

/* A close is answered at once, before what it waits for is in the log; an operation that never
 * ended may have got nowhere. */
START_TEST(nobody_was_told_of_them)
{
    ahead(H_CLOSE, 1, 10, 20);
    ahead(H_CREATE, 1, 30, NEVER);
    check_queue(&h);
    expect_silence();
    ck_assert(!h.ops.items[0].reverted && !h.ops.items[1].reverted);
}
END_TEST

/* ---- what it says to others ---------------------------------------------------------------------
 */

START_TEST(rename_that_took_place_is_a_sync)
{
    put(1, 10, 20, 0, 1, 1);
    ahead(H_NAMED, 1, 25, 30);
    logged(1, 1);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_queue(&h);
    check_durability(&h);
    expect_complaint("durability", "write lost");
}
END_TEST

START_TEST(reverted_rename_is_no_sync)
{
    put(1, 10, 20, 0, 1, 1);
    ahead(H_NAMED, 1, 25, 30);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_queue(&h);
    check_durability(&h);
    expect_silence();
}
END_TEST

START_TEST(early_close_is_no_sync)
{
    put(1, 10, 20, 0, 1, 1);
    ahead(H_CLOSE, 1, 25, 30);
    logged(1, 1);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_queue(&h);
    check_durability(&h);
    expect_silence();
}
END_TEST

START_TEST(close_that_waited_is_one)
{
    put(1, 10, 20, 0, 1, 1);
    add(H_CLOSE, 1, 25, 30)->file = FILE_A;
    killed(1, 60);
    got(2, 70, 80, 0, 1, 0);
    check_queue(&h);
    check_durability(&h);
    expect_complaint("durability", "write lost");
}
END_TEST

START_TEST(lease_back_too_early)
{
    logged(1, 1);
    check_queue_released(SESSION, 7, 1);
    expect_silence();
    check_queue_released(SESSION, 7, 2);
    expect_complaint("queue", "gave the lease of directory 7 back");
}
END_TEST

START_TEST(lease_that_ends_with_its_session)
{
    check_queue_ended(SESSION);
    check_queue_released(SESSION, 7, 1);
    expect_silence();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/queue");
    TCase *tc = tcase_create("the log and the state");
    tcase_add_checked_fixture(tc, setup_queue, teardown);
    tcase_add_test(tc, in_order_and_counted);
    tcase_add_test(tc, in_the_log_and_not_counted);
    tcase_add_test(tc, entry_behind_a_gap_does_not_count);
    tcase_add_test(tc, entry_of_an_ended_session_does_not_count);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, counted_by_a_snapshot);
    tcase_add_test(tc, lease_back_too_early);
    tcase_add_test(tc, lease_that_ends_with_its_session);
    suite_add_tcase(suite, tc);
    tc = tcase_create("what was lost");
    tcase_add_checked_fixture(tc, setup_queue, teardown);
    tcase_add_test(tc, all_in_the_log);
    tcase_add_test(tc, lost_though_nothing_happened);
    tcase_add_test(tc, lost_with_its_mount);
    tcase_add_test(tc, another_mount_died);
    tcase_add_test(tc, another_life_died);
    tcase_add_test(tc, lost_with_its_session);
    tcase_add_test(tc, lost_when_its_mount_ended);
    tcase_add_test(tc, another_mount_ended);
    tcase_add_test(tc, another_session_lost);
    tcase_add_test(tc, synced_and_lost);
    tcase_add_test(tc, syncs_that_do_not_cover);
    tcase_add_test(tc, nobody_was_told_of_them);
    suite_add_tcase(suite, tc);
    tc = tcase_create("what it says to others");
    tcase_add_checked_fixture(tc, setup_queue, teardown);
    tcase_add_test(tc, rename_that_took_place_is_a_sync);
    tcase_add_test(tc, reverted_rename_is_no_sync);
    tcase_add_test(tc, early_close_is_no_sync);
    tcase_add_test(tc, close_that_waited_is_one);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
