/* How much a mount lets come together before it sends it, and how much may be under way. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

enum {
    DELAY_MS = 4,
    BATCH = 64,
    WINDOW = 256,
    QUEUED_MAX = 4096,
    COMMIT_PAGES = 1024,
    WRITTEN = 512,
    PAGE = 4096
};

/* ---- names (RULES D1) ------------------------------------------------------------------------ */

static struct file changed;

/* False: it waits for something. */
static bool change(uint64_t *ret_id)
{
    static bool other;
    other = !other;
    uint64_t id = world_start(&w, 0, chmod_op(changed.ino, other ? 0600 : 0640));
    if (ret_id != NULL)
        *ret_id = id;
    return answered(id);
}

static void change_times(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ck_assert(change(NULL));
}

static struct client_op write_pages_op(struct file f, uint64_t first, uint64_t pages)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = first * PAGE;
    op.size = pages * PAGE;
    op.data = blob_new(op.size);
    memset(op.data->data, 'a', op.size);
    return op;
}

static void nothing_queued(void)
{
    changed = make("a");
    world_pass(&w, 2 * TIME_S);
}

START_TEST(a_change_waits_for_others_a_moment)
{
    nothing_queued();
    w.no_commit = true;
    change_times(BATCH - 1);
    world_pass(&w, DELAY_MS * TIME_MS - 1);
    ck_assert_uint_eq(w.pending.count, 0);
    world_pass(&w, 1);
    ck_assert_uint_eq(w.pending.count, BATCH - 1);
    w.no_commit = false;
}
END_TEST

START_TEST(many_changes_do_not_wait)
{
    nothing_queued();
    w.no_commit = true;
    change_times(BATCH - 1);
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, 0);
    change_times(1);
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, BATCH);
    w.no_commit = false;
}
END_TEST

START_TEST(so_many_changes_are_sent_before_one_is_answered)
{
    nothing_queued();
    w.no_commit = true;
    change_times(WINDOW + BATCH);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(w.pending.count, WINDOW);
    w.no_commit = false;
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(w.pending.count, 0);
}
END_TEST

/* Until one waits, which is told; how many did not. */
static unsigned fill_queue(uint64_t *ret_id)
{
    unsigned n = 0;
    w.no_commit = true;
    while (change(ret_id))
        ck_assert_uint_lt(++n, 2 * QUEUED_MAX);
    return n;
}

START_TEST(so_many_changes_may_be_on_their_way)
{
    /* Goal: it is the number that ends it and not the space (RULES B13), of which more than a chunk
     * is there: what is written over what is not committed yet asks for it and needs none. */
    enum { LEFT = WRITTEN / 2 };
    uint64_t id;
    nothing_queued();
    (void)at_once(write_pages_op(changed, 0, WRITTEN));
    change_times(QUEUED_MAX - WRITTEN - LEFT);
    ck_assert_int_eq(world_do(&w, 0, write_pages_op(changed, 0, WRITTEN))->err, 0);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(fill_queue(&id), QUEUED_MAX);
    world_settle(&w);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 100 * TIME_MS);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

/* ---- data ------------------------------------------------------------------------------------ */

START_TEST(much_that_is_written_is_committed_at_once)
{
    nothing_queued();
    unsigned puts = w.mounts[0].puts;
    for (uint64_t page = 0; page + 1 < COMMIT_PAGES; page += 93) /* 11 times to the last but one */
        (void)at_once(write_pages_op(changed, page, 93));
    world_settle(&w);
    ck_assert_uint_eq(w.mounts[0].puts, puts);
    (void)at_once(write_pages_op(changed, COMMIT_PAGES - 1, 1));
    world_settle(&w);
    ck_assert_uint_gt(w.mounts[0].puts, puts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client limits");
    TCase *t = tcase_create("limits");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, a_change_waits_for_others_a_moment);
    tcase_add_test(t, many_changes_do_not_wait);
    tcase_add_test(t, so_many_changes_are_sent_before_one_is_answered);
    tcase_add_test(t, so_many_changes_may_be_on_their_way);
    tcase_add_test(t, much_that_is_written_is_committed_at_once);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
