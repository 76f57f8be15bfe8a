/* The checker of modes, owners and times: silent about what may happen, and objects to what may
 * not. */
#include <errno.h>

#include "tests/sim/test_history.h"
#include "tests/unit/lib/run.h"

#define PAST  INT64_C(1000000000000000000)
#define NOW   INT64_C(1800000000000000000)
#define AHEAD INT64_C(4000000000000000000)

static struct history_op *chmod_to(uint32_t mount, time_us start, time_us end, uint32_t mode)
{
    struct history_op *op = add(H_CHMOD, mount, start, end);
    op->file = FILE_A;
    op->mode = mode;
    return op;
}

/* 0: the time of day */
static struct history_op *mtime_to(uint32_t mount, time_us start, time_us end, int64_t mtime)
{
    struct history_op *op = add(H_UTIMENS, mount, start, end);
    op->file = FILE_A;
    op->sets = mtime ? SETS_MTIME | GIVEN_MTIME : SETS_MTIME;
    op->mtime = mtime;
    return op;
}

static struct history_op *saw_mode(uint32_t mount, time_us start, time_us end, uint32_t mode)
{
    struct history_op *op = stat_of(mount, start, end, NOW);
    op->mode = mode;
    return op;
}

static struct history_op *saw_mtime(uint32_t mount, time_us start, time_us end, int64_t mtime)
{
    struct history_op *op = stat_of(mount, start, end, mtime);
    op->mode = 0644;
    return op;
}

static void judge(void)
{
    check_attrs(&h);
    check_times(&h);
}

/* ---- modes and owners ------------------------------------------------------------------------ */

START_TEST(modes_as_they_should_be)
{
    saw_mode(1, 1, 2, 0644);
    chmod_to(1, 10, 20, 0600);
    saw_mode(2, 15, 16, 0600); /* under way */
    saw_mode(2, 21, 22, 0600);
    chmod_to(2, 30, 0, 0640)->err = ETIMEDOUT;
    saw_mode(1, 31, 32, 0600); /* of unknown outcome */
    saw_mode(1, 33, 34, 0640);
    chmod_to(1, 40, 50, 0600);
    saw_mode(2, 60, 61, 0600);
    saw_mode(2, 62, 63, 0640); /* it was under way until now */
    judge();
    expect_silence();
}
END_TEST

START_TEST(old_mode)
{
    chmod_to(1, 10, 20, 0600);
    saw_mode(2, 30, 40, 0644);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

START_TEST(mode_goes_back)
{
    chmod_to(1, 10, 20, 0600);
    chmod_to(1, 30, 60, 0640);
    saw_mode(2, 40, 41, 0640);
    saw_mode(1, 42, 43, 0600);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

START_TEST(mode_of_nobody)
{
    chmod_to(1, 10, 20, 0600);
    saw_mode(1, 30, 40, 0601);
    judge();
    expect_complaint("attrs", "what nobody set: mode");
}
END_TEST

START_TEST(old_owner)
{
    struct history_op *op = add(H_CHOWN, 1, 10, 20);
    op->file = FILE_A;
    op->uid = 7;
    saw_mode(2, 30, 40, 0644);
    judge();
    expect_complaint("attrs", "what was before: owner");
}
END_TEST

START_TEST(of_one_session_only_its_own)
{
    chmod_to(1, 10, 20, 0600);
    saw_mode(2, 30, 40, 0644);
    saw_mode(2, 41, 42, 0600);
    judge();
    expect_silence();
    saw_mode(2, 43, 44, 0644);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

START_TEST(one_of_two_mounts_is_late)
{
    h.session_mounts = 1u << 2;
    chmod_to(3, 10, 20, 0600);
    saw_mode(2, 30, 40, 0644);
    judge();
    expect_silence();
    saw_mode(1, 30, 40, 0644);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

START_TEST(own_mode_of_a_session)
{
    chmod_to(1, 10, 20, 0600);
    saw_mode(1, 30, 40, 0644);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

/* Ahead of the log, and never there. */
static void revert(struct history_op *op)
{
    op->q = 3;
    op->q_session = op->session;
    op->reverted = true;
}

START_TEST(lost_with_its_mount)
{
    revert(chmod_to(1, 10, 20, 0600));
    saw_mode(1, 30, 31, 0600);
    killed(1, 40);
    saw_mode(2, 50, 51, 0644);
    judge();
    expect_silence();
}
END_TEST

START_TEST(gone_before_its_mount_died)
{
    revert(chmod_to(1, 10, 20, 0600));
    saw_mode(1, 30, 31, 0644);
    killed(1, 40);
    judge();
    expect_complaint("attrs", "what was before: mode");
}
END_TEST

START_TEST(seen_elsewhere_and_never_there)
{
    revert(chmod_to(1, 10, 20, 0600));
    saw_mode(2, 30, 31, 0600);
    killed(1, 40);
    judge();
    expect_complaint("attrs", "what nobody set: mode");
}
END_TEST

START_TEST(mounts_that_do_not_agree)
{
    h.settled = 50;
    chmod_to(1, 10, 0, 0600); /* it may come whenever it likes, but not at one mount alone */
    saw_mode(1, 60, 61, 0600);
    saw_mode(2, 60, 61, 0644);
    judge();
    expect_complaint("attrs", "do not agree");
}
END_TEST

/* ---- times ----------------------------------------------------------------------------------- */

START_TEST(times_as_they_should_be)
{
    saw_mtime(1, 1, 2, NOW);
    mtime_to(1, 10, 20, PAST);
    saw_mtime(2, 21, 22, PAST);
    put(2, 30, 40, 0, 1, 1);
    saw_mtime(1, 35, 36, PAST);
    saw_mtime(1, 41, 42, NOW - 5); /* another clock */
    mtime_to(1, 50, 60, AHEAD);
    put(2, 61, 62, 0, 1, 2);
    saw_mtime(1, 63, 64, AHEAD + 1);
    mtime_to(1, 70, 80, 0);
    saw_mtime(1, 81, 82, NOW - 9);
    judge();
    expect_silence();
}
END_TEST

START_TEST(times_that_come_late)
{
    /* At consistency=session a copy may not have it yet (simulator seed 300000968). */
    mtime_to(1, 10, 20, AHEAD);
    saw_mtime(2, 21, 22, AHEAD);
    mtime_to(1, 30, 40, PAST);
    saw_mtime(2, 50, 51, AHEAD);
    saw_mtime(2, 60, 61, PAST);
    judge();
    expect_silence();
    saw_mtime(1, 70, 71, AHEAD);
    judge();
    expect_complaint("attrs", "what was before: mtime");
}
END_TEST

START_TEST(old_time)
{
    mtime_to(1, 10, 20, PAST);
    saw_mtime(2, 30, 40, NOW);
    judge();
    expect_complaint("attrs", "what was before: mtime");
}
END_TEST

START_TEST(time_put_back_by_a_read)
{
    put(1, 1, 2, 0, 1, 1);
    mtime_to(1, 10, 20, PAST);
    got(1, 21, 22, 0, 1, 1);
    saw_mtime(1, 23, 24, NOW);
    judge();
    expect_complaint("attrs", "what was before: mtime");
}
END_TEST

START_TEST(atime_put_back)
{
    struct history_op *op = add(H_UTIMENS, 1, 10, 20);
    op->file = FILE_A;
    op->sets = SETS_ATIME | GIVEN_ATIME;
    op->atime = AHEAD;
    got(2, 15, 25, 0, 1, 0);
    saw_mtime(1, 30, 31, NOW)->atime = NOW; /* of that read */
    judge();
    expect_silence();
    saw_mtime(1, 32, 33, NOW)->atime = AHEAD;
    saw_mtime(1, 34, 35, NOW)->atime = NOW;
    judge();
    expect_silence(); /* nor does anybody know when the read came */
    op = add(H_UTIMENS, 1, 40, 50);
    op->file = FILE_A;
    op->sets = SETS_ATIME | GIVEN_ATIME;
    op->atime = PAST;
    saw_mtime(1, 60, 61, NOW)->atime = NOW;
    judge();
    expect_complaint("attrs", "what was before: atime");
}
END_TEST

START_TEST(reads_that_are_not_told_yet)
{
    got(2, 1, 2, 0, 1, 0);
    struct history_op *op = add(H_UTIMENS, 1, 10, 20);
    op->file = FILE_A;
    op->sets = SETS_ATIME | GIVEN_ATIME;
    op->atime = PAST;
    saw_mtime(2, 30, 31, NOW)->atime = NOW; /* of its own read */
    saw_mtime(1, 32, 33, NOW)->atime = PAST;
    judge();
    expect_silence();
    op = add(H_UTIMENS, 2, 40, 50);
    op->file = FILE_A;
    op->sets = SETS_ATIME | GIVEN_ATIME;
    op->atime = AHEAD;
    saw_mtime(2, 60, 61, NOW)->atime = NOW;
    judge();
    expect_complaint("attrs", "what was before: atime");
}
END_TEST

START_TEST(write_leaves_the_time)
{
    mtime_to(1, 10, 20, PAST);
    put(1, 30, 40, 0, 1, 1);
    saw_mtime(2, 50, 60, PAST);
    judge();
    expect_complaint("attrs", "did not move it on");
}
END_TEST

START_TEST(write_leaves_a_time_to_come)
{
    mtime_to(1, 10, 20, AHEAD);
    put(1, 30, 40, 0, 1, 1);
    saw_mtime(2, 50, 60, AHEAD);
    judge();
    expect_complaint("attrs", "did not move it on");
}
END_TEST

START_TEST(moved_by_nobody)
{
    mtime_to(1, 10, 20, AHEAD);
    saw_mtime(2, 50, 60, AHEAD + 1);
    judge();
    expect_complaint("attrs", "what nobody set: mtime");
}
END_TEST

START_TEST(lost_with_a_commit)
{
    mtime_to(1, 10, 20, PAST);
    saw_mtime(1, 21, 22, PAST);
    killed(1, 30);
    saw_mtime(2, 40, 50, NOW);
    judge();
    expect_silence();
}
END_TEST

START_TEST(lost_though_synced)
{
    mtime_to(1, 10, 20, PAST);
    synced(1, 21, 22);
    killed(1, 30);
    saw_mtime(2, 40, 50, NOW);
    judge();
    expect_complaint("attrs", "what was before: mtime");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/attrs");
    TCase *tc = tcase_create("modes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, modes_as_they_should_be);
    tcase_add_test(tc, old_mode);
    tcase_add_test(tc, mode_goes_back);
    tcase_add_test(tc, mode_of_nobody);
    tcase_add_test(tc, old_owner);
    tcase_add_test(tc, lost_with_its_mount);
    tcase_add_test(tc, gone_before_its_mount_died);
    tcase_add_test(tc, seen_elsewhere_and_never_there);
    tcase_add_test(tc, mounts_that_do_not_agree);
    suite_add_tcase(suite, tc);
    tc = tcase_create("sessions");
    tcase_add_checked_fixture(tc, setup_session, teardown);
    tcase_add_test(tc, of_one_session_only_its_own);
    tcase_add_test(tc, one_of_two_mounts_is_late);
    tcase_add_test(tc, own_mode_of_a_session);
    tcase_add_test(tc, times_that_come_late);
    suite_add_tcase(suite, tc);
    tc = tcase_create("times");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, times_as_they_should_be);
    tcase_add_test(tc, old_time);
    tcase_add_test(tc, time_put_back_by_a_read);
    tcase_add_test(tc, atime_put_back);
    tcase_add_test(tc, reads_that_are_not_told_yet);
    tcase_add_test(tc, write_leaves_the_time);
    tcase_add_test(tc, write_leaves_a_time_to_come);
    tcase_add_test(tc, moved_by_nobody);
    tcase_add_test(tc, lost_with_a_commit);
    tcase_add_test(tc, lost_though_synced);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
