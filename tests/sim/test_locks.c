/* The checker of byte-range locks: silent about what may happen, objects to what may not. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

static struct history_op *locked(uint32_t mount, time_us start, time_us end, uint32_t unit,
                                 uint32_t units, bool exclusive)
{
    struct history_op *op = add(H_LOCK, mount, start, end);
    op->file = FILE_A;
    op->app = 1;
    op->page = unit;
    op->pages = units;
    op->exclusive = exclusive;
    return op;
}

/* A read through the descriptor that was locked by: the lock was held after it began. */
static void relied_on(uint32_t mount, time_us start, time_us end)
{
    struct history_op *op = got(mount, start, end, 0, 1, 0);
    op->app = 1;
    op->guarded = true;
}

static void unlocked(uint32_t mount, time_us start, time_us end)
{
    struct history_op *op = add(H_UNLOCK, mount, start, end);
    op->file = FILE_A;
    op->app = 1;
    op->pages = 16;
}

START_TEST(one_after_the_other)
{
    (void)locked(1, 10, 20, 0, 4, true);
    relied_on(1, 30, 40);
    unlocked(1, 50, 60);
    (void)locked(2, 15, 55, 0, 4, true); /* granted while the unlock is under way */
    relied_on(2, 70, 80);
    check_locks(&h);
    expect_silence();
}
END_TEST

START_TEST(readers_and_other_ranges_share)
{
    (void)locked(1, 10, 20, 0, 4, false);
    (void)locked(2, 11, 21, 2, 4, false);
    (void)locked(3, 12, 22, 6, 4, true);
    for (uint32_t m = 1; m <= 3; m++)
        relied_on(m, 30 + m, 40 + m);
    check_locks(&h);
    expect_silence();
}
END_TEST

START_TEST(held_by_two)
{
    (void)locked(1, 10, 20, 0, 4, true);
    (void)locked(2, 25, 30, 3, 1, false);
    relied_on(2, 40, 41);
    relied_on(1, 42, 43);
    check_locks(&h);
    expect_complaint("locks", "held by two");
}
END_TEST

START_TEST(a_lost_lock_is_no_longer_relied_on)
{
    (void)locked(1, 10, 20, 0, 4, true);
    relied_on(1, 25, 26);
    (void)locked(2, 30, 40, 0, 4, true); /* the session of mount 1 has ended */
    relied_on(2, 50, 51);
    struct history_op *op = got(1, 60, 61, 0, 1, 0);
    op->app = 1;
    op->guarded = true;
    op->err = EIO;
    check_locks(&h);
    expect_silence();
    relied_on(1, 70, 71);
    check_locks(&h);
    expect_complaint("locks", "held by two");
}
END_TEST

START_TEST(held_by_two_of_one_mount)
{
    /* No entry of the log tells of locks under a write lease: what programs did is all there is. */
    locked(1, 10, 20, 0, 4, true)->app = 2;
    got(1, 30, 40, 0, 1, 0)->app = 2;
    h.ops.items[h.ops.count - 1].guarded = true;
    (void)locked(1, 50, 60, 4, 4, true);
    relied_on(1, 70, 80);
    got(1, 90, 95, 0, 1, 0)->app = 2;
    h.ops.items[h.ops.count - 1].guarded = true;
    check_locks(&h);
    expect_silence();
    (void)locked(1, 100, 110, 2, 1, false);
    relied_on(1, 120, 130);
    got(1, 140, 150, 0, 1, 0)->app = 2;
    h.ops.items[h.ops.count - 1].guarded = true;
    check_locks(&h);
    expect_complaint("locks", "held by two");
}
END_TEST

START_TEST(handed_over_without_being_told)
{
    /* A lock under a lease that went back without it: its holder goes on, another has it. */
    (void)locked(1, 10, 20, 0, 4, true);
    relied_on(1, 30, 31);
    (void)locked(2, 40, 50, 0, 4, true);
    relied_on(2, 60, 61);
    check_locks(&h);
    expect_silence(); /* its session may have ended */
    relied_on(1, 70, 80);
    check_locks(&h);
    expect_complaint("locks", "held by two");
}
END_TEST

START_TEST(refused_with_a_reason)
{
    (void)locked(1, 10, 20, 0, 4, true);
    unlocked(1, 30, 40);
    locked(2, 35, 36, 0, 1, true)->err = EAGAIN;
    locked(3, 100, NEVER, 0, 4, true)->err = 0; /* who knows */
    locked(2, 110, 111, 0, 1, false)->err = EAGAIN;
    check_locks(&h);
    expect_silence();
}
END_TEST

START_TEST(refused_for_what_an_unlock_left)
{
    /* The first unlock may not have been done, and the second is of other units (seed 40003440). */
    (void)locked(1, 10, 20, 4, 3, true);
    unlocked(1, 30, 40);
    h.ops.items[h.ops.count - 1].err = ETIMEDOUT;
    (void)locked(1, 50, 60, 2, 4, true);
    unlocked(1, 70, 80);
    h.ops.items[h.ops.count - 1].page = 2;
    h.ops.items[h.ops.count - 1].pages = 4;
    locked(2, 90, 91, 0, 7, true)->err = EAGAIN;
    check_locks(&h);
    expect_silence();
}
END_TEST

START_TEST(refused_without_one)
{
    (void)locked(1, 10, 20, 0, 4, true);
    unlocked(1, 30, 40);
    locked(2, 50, 60, 0, 1, true)->err = EAGAIN;
    check_locks(&h);
    expect_complaint("locks", "nobody had any");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/locks");
    TCase *tc = tcase_create("locks");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_after_the_other);
    tcase_add_test(tc, readers_and_other_ranges_share);
    tcase_add_test(tc, held_by_two);
    tcase_add_test(tc, a_lost_lock_is_no_longer_relied_on);
    tcase_add_test(tc, held_by_two_of_one_mount);
    tcase_add_test(tc, handed_over_without_being_told);
    tcase_add_test(tc, refused_with_a_reason);
    tcase_add_test(tc, refused_for_what_an_unlock_left);
    tcase_add_test(tc, refused_without_one);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
