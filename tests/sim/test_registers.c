/* Checkers of histories, of what is read: each is silent about what
 * may happen and objects to what may not. Bad histories are as short as they can be, and named
 * after the anomaly. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

/* ---- registers ---------------------------------------------------------------------------------
 */

START_TEST(linearizable_registers)
{
    put(1, 10, 20, 0, 2, 1);
    put(2, 15, 30, 1, 2, 2); /* concurrent in unit 1 */
    got(1, 31, 32, 0, 3, 1, 2, 2);
    put(1, 40, 60, 0, 1, 3);
    got(2, 41, 42, 0, 1, 3); /* as early as it likes */
    got(2, 43, 44, 0, 1, 3);
    truncated(1, 70, 80, 1);
    got(2, 75, 76, 0, 3, 3, 2, 2); /* the truncate comes behind */
    got(2, 81, 82, 0, 3, 3, 0, 0);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(stale_read)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2);
    got(1, 41, 42, 0, 1, 2);
    got(2, 50, 60, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "stale read");
}
END_TEST

START_TEST(lost_update)
{
    put(1, 10, 20, 0, 1, 1);
    put(2, 30, 40, 0, 1, 2); /* nobody ever saw it */
    got(1, 50, 60, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "lost update");
}
END_TEST

START_TEST(first_write_lost)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 30, 40, 0, 1, 0);
    check_registers(&h);
    expect_complaint("registers", "zeros read instead");
}
END_TEST

START_TEST(non_monotonic_read)
{
    put(1, 5, 8, 0, 1, 1);
    put(1, 10, 100, 0, 1, 2); /* still under way: either is fine, but not back */
    got(2, 20, 30, 0, 1, 2);
    got(2, 40, 50, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "stale read");
}
END_TEST

START_TEST(read_from_the_future)
{
    got(2, 10, 20, 0, 1, 1);
    put(1, 30, 40, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "read from the future");
}
END_TEST

START_TEST(torn_page)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 30, 40, 0, 1, 1)->stamps[0] = HISTORY_TORN;
    check_registers(&h);
    expect_complaint("registers", "torn page");
}
END_TEST

START_TEST(value_in_the_wrong_place)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 30, 40, 1, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "where nobody wrote it");
}
END_TEST

START_TEST(value_of_a_refused_write)
{
    put(1, 10, 20, 0, 1, 1)->err = ENOSPC;
    got(1, 15, 25, 0, 1, 1); /* the kernel has it in its pages until then (simulator seed 501295) */
    check_registers(&h);
    expect_silence();
    got(2, 30, 40, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "refused");
}
END_TEST

START_TEST(seen_before_it_was_written)
{
    /* the kernel's pages have it before the daemon hears of it */
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 90, 0, 1, 2);
    got(1, 40, 50, 0, 1, 2);
    got(2, 60, 70, 0, 1, 1);
    got(1, 60, 70, 0, 1, 1);
    put(1, 100, 200, 0, 1, 3)->err = ENOSPC;
    got(1, 110, 120, 0, 1, 3);
    check_registers(&h);
    expect_silence();
    got(2, 130, 140, 0, 1, 3); /* but not on another mount */
    check_registers(&h);
    expect_complaint("registers", "refused");
}
END_TEST

START_TEST(seen_before_its_write_was_over)
{
    put(1, 10, 20, 0, 1, 1);
    put(1, 30, 90, 0, 1, 2);
    got(1, 80, 95, 0, 1, 2); /* ended after it: from here on it is there */
    got(2, 100, 110, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "stale read");
}
END_TEST

START_TEST(lost_truncate)
{
    put(1, 10, 20, 0, 1, 1);
    truncated(2, 30, 40, 0);
    got(1, 50, 60, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "lost truncate");
}
END_TEST

/* A hole is zeros in its units, and in no others. */
START_TEST(holes_as_they_should_be)
{
    put(1, 10, 20, 0, 4, 1);
    struct history_op *hole = add(H_PUNCH, 2, 30, 40);
    hole->file = FILE_A;
    hole->page = 1;
    hole->pages = 2;
    got(1, 35, 45, 0, 4, 1, 1, 0, 1);
    got(2, 50, 60, 0, 4, 1, 0, 0, 1);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(lost_hole)
{
    put(1, 10, 20, 0, 4, 1);
    struct history_op *hole = add(H_PUNCH, 2, 30, 40);
    hole->file = FILE_A;
    hole->page = 1;
    hole->pages = 2;
    got(1, 50, 60, 0, 4, 1, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "lost truncate");
}
END_TEST

START_TEST(zeros_between_two_sights)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 30, 40, 0, 1, 1);
    truncated(1, 45, 95, 0)->err = ETIMEDOUT; /* may be, later: but not before the last read */
    got(2, 50, 60, 0, 1, 0);
    got(1, 70, 80, 0, 1, 1);
    check_registers(&h);
    expect_complaint("registers", "zeros read instead");
}
END_TEST

START_TEST(unknown_outcomes_may_be_late_or_never)
{
    put(1, 10, 20, 0, 1, 1);
    put(2, 30, 31, 0, 1, 2)->err = ETIMEDOUT;
    put(2, 32, NEVER, 0, 1, 3);
    got(1, 40, 50, 0, 1, 1);
    got(1, 60, 70, 0, 1, 2);
    put(1, 72, 74, 0, 1, 4);
    got(1, 76, 78, 0, 1, 4);
    check_registers(&h);
    expect_silence();
    got(1, 80, 90, 0, 1, 2); /* but only once */
    check_registers(&h);
    expect_complaint("registers", "stale read");
}
END_TEST

START_TEST(unsynced_writes_of_a_dead_mount_may_vanish)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 21, 22, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2);
    put(1, 42, 44, 0, 1, 3);
    got(1, 46, 48, 0, 1, 3); /* its own application saw it */
    truncated(1, 50, 52, 0);
    got(1, 54, 56, 0, 1, 0);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 1);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(vanished_writes_do_not_come_back)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 21, 22, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2);
    killed(1, 60);
    got(2, 70, 80, 0, 1, 1);
    got(2, 90, 95, 0, 1, 2);
    check_registers(&h);
    expect_complaint("registers", "stale read");
}
END_TEST

START_TEST(stale_read_before_the_death)
{
    put(1, 10, 20, 0, 1, 1);
    got(2, 21, 22, 0, 1, 1);
    put(1, 30, 40, 0, 1, 2); /* vanishes later, but is there until then */
    got(1, 50, 55, 0, 1, 1);
    killed(1, 60);
    check_registers(&h);
    expect_complaint("registers", "lost update");
}
END_TEST

START_TEST(short_write_is_sure_of_its_whole_units)
{
    put(1, 10, 20, 0, 2, 1)->bytes = HISTORY_UNIT;
    got(2, 30, 40, 0, 2, 1, 0);
    check_registers(&h);
    expect_silence();
    got(2, 50, 60, 0, 1, 0);
    check_registers(&h);
    expect_complaint("registers", "zeros read instead");
}
END_TEST

/* ---- sizes -------------------------------------------------------------------------------------
 */

static void sized(uint32_t mount, time_us start, time_us end, uint32_t units)
{
    stat_of(mount, start, end, 100)->size = (uint64_t)units * HISTORY_UNIT;
}

START_TEST(sizes_as_they_should_be)
{
    put(1, 10, 20, 0, 2, 1);
    sized(2, 21, 22, 2);
    put(1, 30, 40, 3, 1, 2);
    sized(2, 31, 32, 2);
    sized(2, 33, 34, 4);
    truncated(1, 50, 60, 1);
    sized(2, 55, 56, 4);
    sized(2, 61, 62, 1);
    put(1, 70, 75, 5, 1, 3);
    killed(1, 80);
    sized(2, 90, 91, 1);
    check_sizes(&h);
    expect_silence();
}
END_TEST

/* The write was under way when its mount was killed, and is in the log only after the next life
 * has asked a late copy for the size. */
static void write_that_comes_after_the_kill(bool with_fsync)
{
    put(1, 10, 20, 0, 2, 1);
    if (with_fsync)
        synced(1, 21, 25);
    killed(1, 30);
    struct history_op *stat = stat_of(1, 40, 41, 100);
    stat->life = 2;
    stat->size = 0;
    got(2, 50, 60, 0, 2, 1, 1);
    check_sizes(&h);
}

START_TEST(size_without_what_an_earlier_life_had_under_way)
{
    h.session_mounts = 1u << 1;
    write_that_comes_after_the_kill(false);
    expect_silence();
}
END_TEST

START_TEST(size_without_what_an_earlier_life_had_synced)
{
    h.session_mounts = 1u << 1;
    write_that_comes_after_the_kill(true);
    expect_complaint("sizes", "time before");
}
END_TEST

START_TEST(size_without_what_another_mount_has_brought_in)
{
    write_that_comes_after_the_kill(false); /* linearizable: who asks waits for it, or it is lost */
    expect_complaint("sizes", "time before");
}
END_TEST

START_TEST(size_before_the_write)
{
    put(1, 10, 20, 0, 2, 1);
    sized(2, 21, 22, 1);
    check_sizes(&h);
    expect_complaint("sizes", "time before");
}
END_TEST

START_TEST(size_of_nobodys_writing)
{
    put(1, 10, 20, 0, 2, 1);
    sized(2, 21, 22, 3);
    put(1, 30, 40, 0, 3, 2);
    check_sizes(&h);
    expect_complaint("sizes", "nobody");
}
END_TEST

/* ---- attributes --------------------------------------------------------------------------------
 */

static struct history_op *attribute(enum history_kind kind, uint32_t mount, time_us start,
                                    time_us end, uint64_t stamp)
{
    struct history_op *op = add(kind, mount, start, end);
    op->file = FILE_A;
    op->stamp = stamp;
    op->err = kind == H_GETXATTR && !stamp ? ENODATA : 0;
    return op;
}

START_TEST(attributes_as_they_should_be)
{
    attribute(H_GETXATTR, 2, 1, 2, 0);
    attribute(H_SETXATTR, 1, 10, 20, 1);
    attribute(H_GETXATTR, 2, 11, 12, 0);
    attribute(H_GETXATTR, 2, 21, 22, 1);
    attribute(H_SETXATTR, 1, 30, NEVER, 2)->file = 0;
    attribute(H_GETXATTR, 2, 31, 32, 1);
    attribute(H_GETXATTR, 2, 33, 34, 2);
    check_registers(&h);
    expect_silence();
}
END_TEST

START_TEST(stale_attribute)
{
    attribute(H_SETXATTR, 1, 10, 20, 1);
    attribute(H_SETXATTR, 1, 30, 40, 2);
    attribute(H_GETXATTR, 2, 50, 60, 1);
    check_registers(&h);
    expect_complaint("registers", "lost update");
}
END_TEST

START_TEST(lost_attribute)
{
    attribute(H_SETXATTR, 1, 10, 20, 1);
    killed(1, 25);
    attribute(H_GETXATTR, 2, 30, 40, 0);
    check_registers(&h);
    expect_complaint("registers", "zeros read instead");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/registers");
    TCase *tc = tcase_create("registers");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, linearizable_registers);
    tcase_add_test(tc, stale_read);
    tcase_add_test(tc, lost_update);
    tcase_add_test(tc, first_write_lost);
    tcase_add_test(tc, non_monotonic_read);
    tcase_add_test(tc, read_from_the_future);
    tcase_add_test(tc, torn_page);
    tcase_add_test(tc, value_in_the_wrong_place);
    tcase_add_test(tc, value_of_a_refused_write);
    tcase_add_test(tc, seen_before_it_was_written);
    tcase_add_test(tc, seen_before_its_write_was_over);
    tcase_add_test(tc, lost_truncate);
    tcase_add_test(tc, holes_as_they_should_be);
    tcase_add_test(tc, lost_hole);
    tcase_add_test(tc, zeros_between_two_sights);
    tcase_add_test(tc, unknown_outcomes_may_be_late_or_never);
    tcase_add_test(tc, unsynced_writes_of_a_dead_mount_may_vanish);
    tcase_add_test(tc, vanished_writes_do_not_come_back);
    tcase_add_test(tc, stale_read_before_the_death);
    tcase_add_test(tc, short_write_is_sure_of_its_whole_units);
    suite_add_tcase(suite, tc);
    tc = tcase_create("sizes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sizes_as_they_should_be);
    tcase_add_test(tc, size_without_what_an_earlier_life_had_under_way);
    tcase_add_test(tc, size_without_what_an_earlier_life_had_synced);
    tcase_add_test(tc, size_without_what_another_mount_has_brought_in);
    tcase_add_test(tc, size_before_the_write);
    tcase_add_test(tc, size_of_nobodys_writing);
    suite_add_tcase(suite, tc);
    tc = tcase_create("attributes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, attributes_as_they_should_be);
    tcase_add_test(tc, stale_attribute);
    tcase_add_test(tc, lost_attribute);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
