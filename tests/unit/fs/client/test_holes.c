/* Where a file has data: seeking, counting, and ranges that are allocated, zeroed or taken out. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

START_TEST(seeks_see_what_is_buffered)
{
    /* Goal: pages that are dirty or on their way count as data, here and, recalled, at the other
     * mount; holes between them are found though nobody asks the map twice for nothing. */
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    write_pages(0, f, 10, 2, 'a');
    sync_file(0, f);
    write_pages(0, f, 20, 1, 'b');
    for (int m = 0; m < 2; m++) {
        struct place h = m == 0 ? f : g;
        ck_assert_uint_eq(seek(m, h, false, 0), 10);
        ck_assert_uint_eq(seek(m, h, false, 11), 11);
        ck_assert_uint_eq(seek(m, h, true, 0), 0);
        ck_assert_uint_eq(seek(m, h, true, 10), 12);
        ck_assert_uint_eq(seek(m, h, false, 12), 20);
        ck_assert_uint_eq(seek(m, h, true, 20), 21);
        ck_assert_uint_eq(seek(m, h, false, 21), UINT64_MAX);
        ck_assert_uint_eq(seek(m, h, true, 21), UINT64_MAX);
        ck_assert_uint_eq(pages_of(m, h), 3);
    }
}
END_TEST

START_TEST(blocks_of_a_sparse_file)
{
    /* Goal: st_blocks before a commit: new pages count at once, those written over do not when the
     * file has no hole, and what is cut off is gone. */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 4, 'a');
    ck_assert_uint_eq(pages_of(0, f), 4);
    sync_file(0, f);
    write_pages(0, f, 1, 2, 'b');
    ck_assert_uint_eq(pages_of(0, f), 4);
    write_pages(0, f, 1000, 3, 'c');
    ck_assert_uint_eq(pages_of(0, f), 7);
    sync_file(0, f);
    ck_assert_uint_eq(pages_of(0, f), 7);
    struct client_op op = op_of(CLIENT_SETATTR, f);
    op.set = CLIENT_SET_SIZE;
    op.size = 2 * 4096;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_uint_eq(pages_of(0, f), 2);
}
END_TEST

/* fallocate(2) of bytes. */
static int allocate(int m, struct place f, uint32_t mode, uint64_t offset, uint64_t size)
{
    struct client_op op = op_of(CLIENT_ALLOCATE, f);
    op.flags = mode;
    op.offset = offset;
    op.size = size;
    return world_do(&w, m, op)->err;
}

enum { PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ZERO = FALLOC_FL_ZERO_RANGE };

START_TEST(holes_over_dirty_pages)
{
    /* Goal: whatever is dirty, on its way or committed, zeros take the place of the bytes of the
     * range and of no others; whole pages become holes; a write after it counts. */
    uint8_t want[10 * 4096];
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    memset(want, 'a', sizeof want);
    write_pages(0, f, 0, 10, 'a');
    sync_file(0, f);
    write_pages(0, f, 2, 3, 'b');
    memset(want + 2 * 4096, 'b', 3 * 4096);
    ck_assert_int_eq(allocate(0, f, PUNCH, 4096 + 100, 2 * 4096), 0);
    memset(want + 4096 + 100, 0, 2 * 4096);
    expect_bytes(0, f, 0, want, sizeof want);
    ck_assert_uint_eq(pages_of(0, f), 9);
    write_pages(0, f, 2, 1, 'c');
    memset(want + 2 * 4096, 'c', 4096);
    ck_assert_int_eq(allocate(0, f, PUNCH, 5 * 4096, 3 * 4096), 0);
    memset(want + 5 * 4096, 0, 3 * 4096);
    ck_assert_uint_eq(pages_of(0, f), 7);
    expect_bytes(0, f, 0, want, sizeof want);
    expect_bytes(1, g, 0, want, sizeof want);
    ck_assert_uint_eq(pages_of(1, g), 7);
    ck_assert_int_eq(allocate(1, g, PUNCH, 9 * 4096 + 10, 20 * 4096), 0); /* over the end */
    memset(want + 9 * 4096 + 10, 0, 4096 - 10);
    expect_bytes(0, f, 0, want, sizeof want);
    ck_assert_int_eq(allocate(1, g, PUNCH, 0, sizeof want), 0);
    memset(want, 0, sizeof want);
    expect_bytes(0, f, 0, want, sizeof want);
    ck_assert_uint_eq(pages_of(0, f), 0);
    ck_assert_uint_eq(seek(1, g, false, 0), UINT64_MAX);
}
END_TEST

START_TEST(zeros_may_extend)
{
    uint8_t want[3 * 4096] = {0};
    struct place f = create(0, "a");
    write_pages(0, f, 0, 1, 'a');
    memset(want, 'a', 4096);
    ck_assert_int_eq(allocate(0, f, ZERO | FALLOC_FL_KEEP_SIZE, 2000, 8192), 0);
    memset(want + 2000, 0, 2096);
    expect_bytes(0, f, 0, want, 4096);
    ck_assert_int_eq(allocate(0, f, ZERO, 1000, 3 * 4096 - 1000), 0);
    memset(want + 1000, 0, 1000);
    expect_bytes(0, f, 0, want, sizeof want);
    ck_assert_int_eq(allocate(0, f, FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
    expect_bytes(0, f, 0, want, sizeof want);
    ck_assert_int_eq(allocate(0, f, 0, 4096, 4 * 4096), 0);
    const struct world_answer *a = world_do(&w, 1, op_of(CLIENT_GETATTR, f));
    ck_assert_uint_eq(a->attr.size, 5 * 4096);
    ck_assert_uint_eq(a->attr.pages, 1);
}
END_TEST

START_TEST(allocation_looks_at_the_space)
{
    /* Goal: what cannot be there is refused, whatever the mode says of the size; what is there
     * already needs nothing. And what no file system does, or the kernel keeps away, is refused. */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 4, 'a');
    ck_assert_int_eq(allocate(0, f, 0, 0, UINT64_C(1) << 40), ENOSPC);
    ck_assert_int_eq(allocate(0, f, FALLOC_FL_KEEP_SIZE, 8192, UINT64_C(1) << 40), ENOSPC);
    ck_assert_int_eq(allocate(0, f, 0, INT64_MAX, 1), EFBIG);
    ck_assert_int_eq(allocate(0, f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
    ck_assert_int_eq(allocate(0, f, FALLOC_FL_INSERT_RANGE, 0, 4096), EOPNOTSUPP);
    ck_assert_int_eq(allocate(0, f, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
    ck_assert_int_eq(allocate(0, f, 0, 0, 0), EINVAL);
    ck_assert_uint_eq(world_do(&w, 0, op_of(CLIENT_GETATTR, f))->attr.size, 4 * 4096);
    ck_assert_int_eq(allocate(0, f, 0, 0, 4 * 4096), 0);
}
END_TEST

START_TEST(a_hole_after_loss)
{
    /* Goal: who waits for a hole's commit is told when it is lost with the session; and the next
     * fsync, once, though a forked child, or who knows, has closed the descriptor before. */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 4, 'a');
    sync_file(0, f);
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    w.mounts[0].silent = true;
    struct client_op op = op_of(CLIENT_ALLOCATE, f);
    op.flags = PUNCH;
    op.size = 4096;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    world_end_session(&w, session);
    w.mounts[0].silent = false;
    world_pass(&w, 10 * TIME_S);
    const struct world_answer *a = world_find(&w, 0, id);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, EIO);
    static const struct {
        enum client_op_kind kind;
        int err;
    } then[] = {{CLIENT_FLUSH, EIO},
                {CLIENT_FLUSH, EIO},
                {CLIENT_FSYNC, EIO},
                {CLIENT_FSYNC, 0},
                {CLIENT_FLUSH, 0}};
    for (size_t i = 0; i < sizeof then / sizeof *then; i++)
        ck_assert_int_eq(world_do(&w, 0, op_of(then[i].kind, f))->err, then[i].err);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client holes");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, seeks_see_what_is_buffered);
    tcase_add_test(t, blocks_of_a_sparse_file);
    tcase_add_test(t, holes_over_dirty_pages);
    tcase_add_test(t, zeros_may_extend);
    tcase_add_test(t, allocation_looks_at_the_space);
    tcase_add_test(t, a_hole_after_loss);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
