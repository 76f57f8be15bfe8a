/* What the loop's thread writes to the log by itself, and when it leaves that to the journal's:
 * after a group that took long. The clock stands still but for what the disk is said to take. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/journal.h"
#include "tests/unit/lib/run.h"

enum {
    SLOW_US = 3000,
    FAST_US = 1000,
    FIRST_PAUSE = 8,
    LAST_PAUSE = 4096,
    /* What all pauses leave to the thread, the last one twice, and what the caller writes. */
    GROUPS_MAX = 2 * LAST_PAUSE - FIRST_PAUSE + LAST_PAUSE + 100,
    GROUP_BYTES = 4096, /* of a small one */
};

static atomic_ullong now_us;      /* 0: as it is */
static atomic_uint sync_takes_us; /* each */

/* Takes the place of the C library's. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_MONOTONIC || now_us == 0)
        return (int)syscall(SYS_clock_gettime, clock, ret);
    *ret = (struct timespec){.tv_sec = (time_t)(now_us / 1000000),
                             .tv_nsec = (long)(now_us % 1000000) * 1000};
    return 0;
}

/* The same: nobody looks at the disk afterwards, and what it takes is said by hand. */
int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

/* So far ahead that nobody's wait ends by itself. */
static void stop_clock(void)
{
    struct timespec t;
    ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    now_us = ((unsigned long long)t.tv_sec + 36000) * 1000000;
}

static int on_disk(void *ctx, enum file_call call, int fd)
{
    (void)ctx, (void)fd;
    if (call == FILE_SYNC)
        now_us += sync_takes_us;
    return 0;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static unsigned wakes;

static void on_wake(void *ctx)
{
    (void)ctx;
    (void)pthread_mutex_lock(&lock);
    wakes++;
    (void)pthread_cond_signal(&woken);
    (void)pthread_mutex_unlock(&lock);
}

static int on_record(void *ctx, const struct journal_record *record)
{
    (void)ctx, (void)record;
    return 0;
}

struct world {
    char dir[64];
    struct journal *journal;
};

static void setup(struct world *w)
{
    char error[256];
    *w = (struct world){.dir = "/tmp/tally-here-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    struct journal_config c = {.dir = w->dir,
                               .cluster = {1},
                               .node = 1,
                               .segment_size = GROUPS_MAX * GROUP_BYTES, /* all fits into it */
                               .started = true,
                               .wake = on_wake};
    struct journal_control control = {.kv_generation = 1};
    stop_clock();
    sync_takes_us = FAST_US;
    file_fault_set(on_disk, NULL);
    ck_assert_int_eq(
        journal_open(&c, true, &control, on_record, NULL, &w->journal, error, sizeof error), 0);
}

static void teardown(struct world *w)
{
    journal_stop(w->journal);
    journal_free(w->journal);
    file_fault_set(NULL, NULL);
    now_us = 0;
    ck_assert_int_eq(file_remove_tree(w->dir), 0);
}

static void append(struct world *w, uint32_t size)
{
    struct journal_item *item = journal_item_new(RECORD_ENTRY);
    item->tail = blob_new(size);
    memset(item->tail->data, 1, size);
    journal_append(w->journal, item);
    journal_kick(w->journal);
}

/* True: the caller has written it. Else the thread has when this returns. */
static bool write_one(struct world *w, uint32_t size)
{
    (void)pthread_mutex_lock(&lock);
    unsigned before = wakes;
    (void)pthread_mutex_unlock(&lock);
    append(w, size);
    bool here = journal_start(w->journal);
    (void)pthread_mutex_lock(&lock);
    while (!here && wakes == before)
        (void)pthread_cond_wait(&woken, &lock);
    (void)pthread_mutex_unlock(&lock);
    journal_poll(w->journal);
    ck_assert(!journal_busy(w->journal));
    return here;
}

/* How many are left to the thread until the caller writes one again. */
static unsigned left_to_thread(struct world *w)
{
    unsigned n = 0;
    while (!write_one(w, 100))
        n++;
    return n;
}

static void slow_next(struct world *w)
{
    sync_takes_us = SLOW_US;
    ck_assert(write_one(w, 100));
    sync_takes_us = FAST_US;
}

START_TEST(a_slow_disk_is_left_to_the_thread)
{
    struct world w;
    setup(&w);
    for (int i = 0; i < 20; i++)
        ck_assert(write_one(&w, 100));
    slow_next(&w);
    ck_assert_uint_eq(left_to_thread(&w), FIRST_PAUSE);
    slow_next(&w); /* one was fast between */
    ck_assert_uint_eq(left_to_thread(&w), FIRST_PAUSE);
    teardown(&w);
}
END_TEST

/* The first after the pause is slow again. */
static void expect_pause(struct world *w, unsigned pause)
{
    sync_takes_us = SLOW_US;
    ck_assert(write_one(w, 100));
    for (unsigned i = 0; i < pause; i++)
        if (write_one(w, 100)) /* ck_assert writes a file each time */
            ck_abort_msg("%u of %u were left to the thread", i, pause);
}

START_TEST(a_disk_that_stays_slow_is_left_longer_each_time)
{
    struct world w;
    setup(&w);
    for (unsigned pause = FIRST_PAUSE; pause < LAST_PAUSE; pause *= 2)
        expect_pause(&w, pause);
    for (int i = 0; i < 2; i++) /* but not for ever */
        expect_pause(&w, LAST_PAUSE);
    sync_takes_us = FAST_US;
    ck_assert(write_one(&w, 100));
    slow_next(&w);
    ck_assert_uint_eq(left_to_thread(&w), FIRST_PAUSE);
    teardown(&w);
}
END_TEST

/* Peers hear nothing while the loop writes. */
START_TEST(much_is_left_to_the_thread)
{
    struct world w;
    setup(&w);
    ck_assert(write_one(&w, 100 * 1024));
    ck_assert(!write_one(&w, 200 * 1024));
    ck_assert(write_one(&w, 100));
    teardown(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/journal_here");
    TCase *tc = tcase_create("here");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_slow_disk_is_left_to_the_thread);
    tcase_add_test(tc, a_disk_that_stays_slow_is_left_longer_each_time);
    tcase_add_test(tc, much_is_left_to_the_thread);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
