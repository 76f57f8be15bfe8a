/* Pages that a mount keeps under a write lease once they are committed. */
#include <string.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

enum { PAGE = 4096 };

static uint8_t old[16 * PAGE], new[16 * PAGE];

static void setup(void)
{
    two_keeping_mounts();
    fill(old, sizeof old, 1);
    fill(new, sizeof new, 2);
}

static void put_synced(int m, struct place f, uint64_t offset, const void *p, size_t size)
{
    put_bytes(m, f, offset, p, size);
    ck_assert_int_eq(simple(m, CLIENT_FSYNC, f), 0);
}

static uint64_t start_read(int m, struct place f, uint64_t offset, uint64_t size)
{
    struct client_op op = op_of(CLIENT_READ, f);
    op.offset = offset;
    op.size = size;
    uint64_t id = world_start(&w, m, op);
    world_settle(&w);
    return id;
}

/* Is it answered while no copy is heard? */
static bool reads_alone(int m, struct place f, uint64_t offset, const void *p, size_t size)
{
    w.no_reads = true;
    const struct world_answer *a = world_find(&w, m, start_read(m, f, offset, size));
    w.no_reads = false;
    if (a == NULL) {
        world_pass(&w, 400 * TIME_MS); /* it asks again; unused, the lease would go after 2 s */
        return false;
    }
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->bytes->size, size);
    ck_assert_int_eq(memcmp(a->bytes->data, p, size), 0);
    return true;
}

START_TEST(own_commits_are_read_here)
{
    /* Goal: what a mount has committed under its lease it reads without a copy, and it writes parts
     * of those pages without one. */
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 3 * PAGE);
    ck_assert(reads_alone(0, f, 0, old, 3 * PAGE));
    w.no_reads = true;
    put_synced(0, f, PAGE + 10, new, 20);
    w.no_reads = false;
    memcpy(old + PAGE + 10, new, 20);
    ck_assert(reads_alone(0, f, 0, old, 3 * PAGE));
    expect_bytes(1, open_name(1, "a"), 0, old, 3 * PAGE);
}
END_TEST

START_TEST(reads_are_kept_too)
{
    /* Goal: so it does what it has read under its lease, a few pages at a time, and not what lay
     * beside it. */
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, sizeof old);
    put_synced(0, f, 16 * PAGE, old, sizeof old);
    put_synced(0, f, 32 * PAGE, new, 1);
    world_pass(&w, 10 * TIME_S); /* the lease went */
    put_synced(0, f, 15 * PAGE, new, PAGE);
    ck_assert(!reads_alone(0, f, 2 * PAGE, old + 2 * PAGE, 2 * PAGE));
    ck_assert(reads_alone(0, f, 2 * PAGE, old + 2 * PAGE, 2 * PAGE));
    ck_assert(!reads_alone(0, f, 4 * PAGE, old + 4 * PAGE, PAGE));
    ck_assert(reads_alone(0, f, 15 * PAGE, new, PAGE));
}
END_TEST

START_TEST(they_go_with_the_lease)
{
    /* Goal: RULES L4: another mount's writes are seen when the lease comes back. */
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 3 * PAGE);
    struct place g = open_name(1, "a");
    put_synced(1, g, PAGE, new, PAGE);
    put_synced(0, f, 0, new, 10);
    memcpy(old, new, 10);
    memcpy(old + PAGE, new, PAGE);
    expect_bytes(0, f, 0, old, 3 * PAGE);
    expect_bytes(1, g, 0, old, 3 * PAGE);
}
END_TEST

START_TEST(not_behind_a_smaller_end)
{
    /* Goal: what was cut off is zeros when the file grows again. */
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 3 * PAGE);
    ck_assert_int_eq(truncate_to(0, f, PAGE + 100), 0);
    ck_assert_int_eq(truncate_to(0, f, 3 * PAGE), 0);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    memset(old + PAGE + 100, 0, 2 * PAGE - 100);
    expect_bytes(0, f, 0, old, 3 * PAGE);
    put_synced(0, f, 2 * PAGE + 5, new, 5);
    memcpy(old + 2 * PAGE + 5, new, 5);
    expect_bytes(0, f, 0, old, 3 * PAGE);
    struct client_op op = op_of(CLIENT_ALLOCATE, f);
    op.flags = 3; /* KEEP_SIZE, PUNCH_HOLE */
    op.size = PAGE + 50;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    memset(old, 0, PAGE + 50);
    expect_bytes(0, f, 0, old, 3 * PAGE);
}
END_TEST

START_TEST(many_bytes_replace_them)
{
    /* Goal: a COMMIT of many bytes keeps none and leaves none that were there, also where there is
     * room. */
    no_mounts();
    world_open(&w);
    w.kept_bytes = 1 << 20;
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 3 * PAGE);
    put_bytes(0, f, 0, new, sizeof new);
    put_bytes(0, f, sizeof new, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert(!reads_alone(0, f, 0, new, 3 * PAGE));
    expect_bytes(1, open_name(1, "a"), sizeof new, old, sizeof old);
    ck_assert_int_eq(memcmp(get_bytes(0, f, 0, sizeof new)->data, new, sizeof new), 0);
}
END_TEST

START_TEST(the_oldest_go_first)
{
    /* Goal: there are never more than the mount may keep; those used last stay. */
    struct place f[40];
    char name[] = "f00";
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        name[1] = (char)('0' + i / 10);
        name[2] = (char)('0' + i % 10);
        f[i] = create(0, name);
        put_synced(0, f[i], 0, old + i, PAGE);
    }
    ck_assert(!reads_alone(0, f[0], 0, old, PAGE)); /* read now, it is the newest */
    ck_assert(reads_alone(0, f[0], 0, old, PAGE));
    ck_assert(reads_alone(0, f[39], 0, old + 39, PAGE));
    ck_assert(!reads_alone(0, f[5], 0, old + 5, PAGE));
}
END_TEST

START_TEST(not_when_the_session_may_be_over)
{
    /* Goal: RULES L2, L9: with consistency=session a mount that hears of no leader goes on reading;
     * but by then another may have taken its lease. */
    no_mounts();
    world_open(&w);
    w.kept_bytes = 64 << 10;
    world_add_mount(&w, 0, CLIENT_SESSION);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 2 * PAGE);
    world_link_down(&w, 0, 1); /* the leader; the other copy answers */
    world_pass(&w, 5 * TIME_S);
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    struct place g = open_name(1, "a");
    put_synced(1, g, 0, new, PAGE);
    memcpy(old, new, PAGE);
    expect_bytes(0, f, 0, old, 2 * PAGE);
}
END_TEST

/* A READ of two pages whose second a silent copy was asked for, while the first changes and is
 * committed. */
static void change_while_reading(void)
{
    struct place f = create(0, "a");
    put_synced(0, f, 0, old, 2 * PAGE);
    world_new_leader(&w, 2, true);
    world_pass(&w, 3 * TIME_S);
    put_bytes(0, f, 0, new, PAGE); /* dirty, and known so */
    w.mute = 1;
    uint64_t read = start_read(0, f, 0, 2 * PAGE);
    ck_assert_ptr_null(world_find(&w, 0, read));
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_synced(0, f, 0, new + PAGE, PAGE);
    ck_assert_ptr_null(world_find(&w, 0, read));
    world_pass(&w, TIME_S);
    w.mute = 0;
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_int_eq(memcmp(a->bytes->data, new + PAGE, PAGE), 0);
    ck_assert_int_eq(memcmp(a->bytes->data + PAGE, old + PAGE, PAGE), 0);
}

START_TEST(committed_while_being_read)
{
    /* Goal: RULES L6: a READ that found a page in the buffer and waits for another one is not
     * answered with less than a WRITE that was answered and committed meanwhile. */
    change_while_reading();
}
END_TEST

START_TEST(committed_and_not_kept_while_being_read)
{
    /* Goal: the same when nothing of the page is known here any more. */
    no_mounts();
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    change_while_reading();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kept");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, no_mounts);
    tcase_add_test(t, own_commits_are_read_here);
    tcase_add_test(t, reads_are_kept_too);
    tcase_add_test(t, they_go_with_the_lease);
    tcase_add_test(t, not_behind_a_smaller_end);
    tcase_add_test(t, many_bytes_replace_them);
    tcase_add_test(t, the_oldest_go_first);
    tcase_add_test(t, not_when_the_session_may_be_over);
    tcase_add_test(t, committed_while_being_read);
    tcase_add_test(t, committed_and_not_kept_while_being_read);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
