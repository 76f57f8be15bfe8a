/* The two bodies of the key-value interface say the same: RocksDB, which ships, and the one in
 * memory, which tests and the simulator run. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/base/kv_mem.h"
#include "repl/io/kv_rocks.h"
#include "tests/unit/lib/run.h"

enum { TABLES = 3, STEPS = 4000, FLUSH_EVERY = 500 };

static char dir[64];
static struct kv *rocks, *mem;
static uint64_t rng;

static void setup(void)
{
    char error[256];
    (void)snprintf(dir, sizeof dir, "/tmp/tally-kv-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_msg(kv_rocks_open(dir, TABLES, true, &rocks, error, sizeof error) == 0, "%s", error);
    mem = kv_mem_new();
    rng = 7;
}

static void teardown(void)
{
    char command[96];
    kv_close(mem);
    kv_close(rocks);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static uint32_t below(uint32_t n)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng >> 33) % n;
}

/* Of one to three bytes, few different ones, 0 and 255 among them. */
static struct bytes random_key(uint8_t *p)
{
    static const uint8_t some[] = {0, 1, 'a', 'b', 254, 255};
    size_t size = 1 + below(3);
    for (size_t i = 0; i < size; i++)
        p[i] = some[below(sizeof some)];
    return (struct bytes){p, size};
}

static void change_both(void)
{
    struct kv_batch b = {0};
    uint8_t p[3];
    for (uint32_t left = 1 + below(4); left; left--) {
        struct bytes key = random_key(p);
        uint8_t value = (uint8_t)below(256);
        int table = (int)below(TABLES);
        if (below(2))
            kv_batch_put(&b, table, key.data, key.size, &value, 1);
        else
            kv_batch_del(&b, table, key.data, key.size);
    }
    ck_assert_int_eq(kv_write(rocks, &b), 0);
    ck_assert_int_eq(kv_write(mem, &b), 0);
    kv_batch_done(&b);
}

static void expect_same_walk(struct kv_iter *a, struct kv_iter *b)
{
    for (; kv_iter_valid(a) && kv_iter_valid(b); kv_iter_next(a), kv_iter_next(b)) {
        struct bytes x = kv_iter_key(a), y = kv_iter_key(b);
        ck_assert_int_eq(bytes_compare(x.data, x.size, y.data, y.size), 0);
        x = kv_iter_value(a), y = kv_iter_value(b);
        ck_assert_int_eq(bytes_compare(x.data, x.size, y.data, y.size), 0);
    }
    ck_assert_int_eq(kv_iter_valid(a), kv_iter_valid(b));
    kv_iter_free(a);
    kv_iter_free(b);
}

static void expect_same_value(int table, struct bytes key)
{
    struct bytes_writer x = {0}, y = {0};
    ck_assert_int_eq(kv_get(rocks, table, key.data, key.size, &x),
                     kv_get(mem, table, key.data, key.size, &y));
    ck_assert_int_eq(bytes_compare(x.data, x.size, y.data, y.size), 0);
    bytes_writer_done(&x);
    bytes_writer_done(&y);
}

START_TEST(both_say_the_same)
{
    for (int step = 0; step < STEPS; step++) {
        uint8_t p[3], q[3], r[3];
        change_both();
        struct bytes low = random_key(p), from = random_key(q), to = random_key(r);
        int table = (int)below(TABLES);
        if (below(4) == 0)
            to.size = 0; /* no end */
        if (bytes_compare(low.data, low.size, from.data, from.size) > 0)
            low = from;
        if (step % FLUSH_EVERY == 0)
            ck_assert_int_eq(kv_flush(rocks), 0);
        expect_same_value(table, from);
        expect_same_walk(kv_iter(rocks, table, from, to), kv_iter(mem, table, from, to));
        if (to.size && bytes_compare(from.data, from.size, to.data, to.size) >= 0)
            continue;
        expect_same_walk(kv_iter_floor(rocks, table, low, from, to),
                         kv_iter_floor(mem, table, low, from, to));
    }
}
END_TEST

/* ---- what it cannot read ----------------------------------------------------------------------
 */

enum { PAIRS = 200, OPENS_NOT = 7 };

/* In a process of its own; `how` it reads decides what comes to the damage. */
static void in_child(int how)
{
    struct bytes_writer value = {0};
    struct kv_batch b = {0};
    struct kv *kv;
    char error[256];
    const uint8_t low = 0, high = 1, *p = &low;
    bool make = how < 0;
    if (kv_rocks_open(dir, TABLES, make, &kv, error, sizeof error) < 0)
        _exit(OPENS_NOT);
    for (uint8_t i = 0; make && i < PAIRS; i++)
        kv_batch_put(&b, 1, &i, 1, error, sizeof error);
    if (make)
        _exit(kv_write(kv, &b) < 0 || kv_settle(kv) < 0 || kv_flush(kv) < 0);
    if (how == 0)
        (void)kv_get(kv, 1, p, 1, &value);
    else if (how == 1)
        (void)kv_iter_valid(kv_iter(kv, 1, (struct bytes){p, 1}, (struct bytes){0}));
    else
        (void)kv_iter_valid(kv_iter_floor(kv, 1, (struct bytes){p, 1}, (struct bytes){&high, 1},
                                          (struct bytes){0}));
    _exit(EXIT_SUCCESS);
}

static int child_status(int how)
{
    int status;
    pid_t child = fork(); /* RocksDB has no threads here */
    ck_assert_int_ge(child, 0);
    if (child == 0)
        in_child(how);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void damage_tables(void)
{
    DIR *d = opendir(dir);
    int damaged = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (!strstr(e->d_name, ".sst"))
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
        char page[1024] = {0}; /* of the data, which comes first */
        ck_assert_int_eq(pwrite(fd, page, sizeof page, 16), sizeof page);
        (void)close(fd);
        damaged++;
    }
    (void)closedir(d);
    ck_assert_int_gt(damaged, 0);
}

/* It must not pass for what is not there. */
START_TEST(what_cannot_be_read_ends_the_process)
{
    char command[96];
    (void)snprintf(dir, sizeof dir, "/tmp/tally-kv-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(child_status(-1), 0);
    ck_assert_int_eq(child_status(_i), EXIT_SUCCESS);
    damage_tables();
    ck_assert_int_eq(child_status(_i), EXIT_FAILURE);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv rocks");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, both_say_the_same);
    suite_add_tcase(suite, t);
    t = tcase_create("damage");
    tcase_add_loop_test(t, what_cannot_be_read_ends_the_process, 0, 3);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
