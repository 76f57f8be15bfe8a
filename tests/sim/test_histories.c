/* Checkers of histories: each is silent about what may happen and objects to what may not. Bad
 * histories are as short as they can be, and named after the anomaly. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/test_run.h"
#include "tests/unit/lib/run.h"

enum { FILE_A = 5, FILE_B = 6, NEVER = 0 };

static struct history h;
static bool steady; /* one leader leads all the time */

static void setup(void)
{
    test_run_start();
}

static void teardown(void)
{
    history_done(&h);
}

bool check_election_steady(time_us from, time_us to)
{
    return steady;
}

/* ---- building ----------------------------------------------------------------------------------
 */

/* Mount m; times in any unit. */
static struct history_op *add(enum history_kind kind, uint32_t mount, time_us start, time_us end)
{
    struct history_op op = {
        .kind = kind, .mount = mount, .app = 1, .life = 1, .session = 10 + mount};
    op.start = start;
    op.end = end;
    vec_push(&h.ops, op);
    return &h.ops.items[h.ops.count - 1];
}

static struct history_op *put(uint32_t mount, time_us start, time_us end, uint32_t unit,
                              uint32_t units, uint64_t stamp)
{
    struct history_op *op = add(H_WRITE, mount, start, end);
    op->file = FILE_A;
    op->page = unit;
    op->pages = units;
    op->stamp = stamp;
    op->bytes = (uint64_t)units * HISTORY_UNIT;
    return op;
}

static struct history_op *truncated(uint32_t mount, time_us start, time_us end, uint32_t units)
{
    struct history_op *op = add(H_TRUNCATE, mount, start, end);
    op->file = FILE_A;
    op->pages = units;
    return op;
}

static struct history_op *synced(uint32_t mount, time_us start, time_us end)
{
    struct history_op *op = add(H_FSYNC, mount, start, end);
    op->file = FILE_A;
    return op;
}

static struct history_op *with_stamps(struct history_op *op, uint32_t count, va_list values)
{
    op->stamps = xcalloc(count + 1, sizeof *op->stamps);
    op->stamps_count = count;
    for (uint32_t i = 0; i < count; i++)
        op->stamps[i] = (uint64_t)va_arg(values, int);
    return op;
}

/* Reads units unit .. unit + count - 1, with their values as ints. */
static struct history_op *got(uint32_t mount, time_us start, time_us end, uint32_t unit,
                              uint32_t count, ...)
{
    va_list values;
    struct history_op *op = add(H_READ, mount, start, end);
    op->file = FILE_A;
    op->page = unit;
    op->pages = count;
    va_start(values, count);
    with_stamps(op, count, values);
    va_end(values);
    return op;
}

static struct history_op *appended(uint32_t mount, time_us start, time_us end, uint64_t stamp)
{
    struct history_op *op = add(H_APPEND, mount, start, end);
    op->file = FILE_A;
    op->stamp = stamp;
    op->bytes = HISTORY_RECORD;
    return op;
}

static struct history_op *records(uint32_t mount, time_us start, time_us end, uint32_t count, ...)
{
    va_list values;
    struct history_op *op = add(H_READ_ALL, mount, start, end);
    op->file = FILE_A;
    op->pages = 2;
    va_start(values, count);
    with_stamps(op, count, values);
    va_end(values);
    return op;
}

static struct history_op *on_path(enum history_kind kind, uint32_t mount, time_us start,
                                  time_us end, const char *path, int err)
{
    struct history_op *op = add(kind, mount, start, end);
    op->path = xstrdup(path);
    op->err = err;
    op->exclusive = kind == H_CREATE;
    return op;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Listing of the root, with `count` names of files. */
static struct history_op *listed(uint32_t mount, time_us start, time_us end, uint32_t count, ...)
{
    va_list values;
    struct history_op *op = on_path(H_LIST, mount, start, end, "/", 0);
    op->stamps = xcalloc(count + 1, sizeof *op->stamps);
    op->stamps_count = count;
    va_start(values, count);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = va_arg(values, const char *);
        op->stamps[i] = hash64(name, strlen(name));
    }
    va_end(values);
    qsort(op->stamps, count, sizeof *op->stamps, compare);
    return op;
}

static void killed(uint32_t mount, time_us at)
{
    add(H_MOUNT_KILLED, mount, at, at)->session = 0;
}

static struct history_op *stat_of(uint32_t mount, time_us start, time_us end, int64_t mtime)
{
    struct history_op *op = add(H_STAT, mount, start, end);
    op->file = FILE_A;
    op->mtime = mtime;
    return op;
}

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
    steady = true;
    check_durability(&h);
    expect_complaint("durability", "write lost");
    steady = false; /* the leader was lost too */
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
    h.session_consistency = true;
    check_sessions(&h);
    h.session_consistency = false;
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

/* ---- names -------------------------------------------------------------------------------------
 */

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

START_TEST(time_stands_still)
{
    stat_of(1, 10, 20, 100);
    put(2, 30, 40, 0, 1, 1);
    stat_of(1, 50, 60, 100);
    check_times(&h);
    expect_complaint("times", "stands still");
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

/* ---- sessions ----------------------------------------------------------------------------------
 */

static void setup_session(void)
{
    setup();
    h.session_consistency = true;
}

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

int main(void)
{
    Suite *suite = suite_create("sim/histories");
    TCase *tc = tcase_create("linearizable");
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
    tcase_add_test(tc, zeros_between_two_sights);
    tcase_add_test(tc, unknown_outcomes_may_be_late_or_never);
    tcase_add_test(tc, unsynced_writes_of_a_dead_mount_may_vanish);
    tcase_add_test(tc, vanished_writes_do_not_come_back);
    tcase_add_test(tc, stale_read_before_the_death);
    tcase_add_test(tc, short_write_is_sure_of_its_whole_units);
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
    tcase_add_test(tc, half_of_a_write);
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
    tcase_add_test(tc, names_as_they_should_be);
    tcase_add_test(tc, two_winners);
    tcase_add_test(tc, eexist_of_its_own_success);
    tcase_add_test(tc, enoent_of_its_own_success);
    tcase_add_test(tc, removed_twice);
    tcase_add_test(tc, stale_name);
    tcase_add_test(tc, stale_absence);
    tcase_add_test(tc, another_files_name);
    tcase_add_test(tc, half_a_rename);
    tcase_add_test(tc, listing_lacks_a_name);
    tcase_add_test(tc, listing_has_a_ghost);
    tcase_add_test(tc, root_listed_without_a_leader);
    tcase_add_test(tc, listing_has_a_name_twice);
    tcase_add_test(tc, listing_has_a_name_of_nobody);
    tcase_add_test(tc, moved_directories_tell_nothing);
    tcase_add_test(tc, linked_while_replaced);
    tcase_add_test(tc, renamed_link_may_stay);
    tcase_add_test(tc, times_that_go_on);
    tcase_add_test(tc, time_goes_back);
    tcase_add_test(tc, time_stands_still);
    tcase_add_test(tc, sizes_as_they_should_be);
    tcase_add_test(tc, size_before_the_write);
    tcase_add_test(tc, size_of_nobodys_writing);
    tcase_add_test(tc, errors_with_a_reason);
    tcase_add_test(tc, open_file_gone);
    tcase_add_test(tc, senseless_error);
    tcase_add_test(tc, attributes_as_they_should_be);
    tcase_add_test(tc, stale_attribute);
    tcase_add_test(tc, lost_attribute);
    suite_add_tcase(suite, tc);
    tc = tcase_create("session");
    tcase_add_checked_fixture(tc, setup_session, teardown);
    tcase_add_test(tc, late_reads_are_fine);
    tcase_add_test(tc, own_write_not_read);
    tcase_add_test(tc, reads_go_back);
    tcase_add_test(tc, token_lost_on_restart);
    tcase_add_test(tc, writes_out_of_order);
    tcase_add_test(tc, answer_before_the_question);
    tcase_add_test(tc, two_files_need_no_order);
    tcase_add_test(tc, late_lookups_are_fine);
    tcase_add_test(tc, own_names_are_found);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
