/* Copies by reference (copy_file_range): what is dirty, what changes meanwhile, borders. */
#include <errno.h>
#include <string.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

static struct client_op copy_of(struct place from, uint64_t offset, struct place to,
                                uint64_t to_offset, uint64_t size)
{
    struct client_op op = op_of(CLIENT_COPY, from);
    op.offset = offset;
    op.size = size;
    op.to_ino = to.ino;
    op.to_fh = to.fh;
    op.to_offset = to_offset;
    return op;
}

/* A file of `size` bytes that are nowhere alike, dirty; `ret` holds them. */
static struct place make_bytes(int m, const char *name, uint8_t *ret, uint32_t size)
{
    struct place f = create(m, name);
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = size;
    op.data = blob_new(size);
    for (uint32_t i = 0; i < size; i++)
        op.data->data[i] = (uint8_t)(i * 31 + i / 256 * 7 + (uint8_t)name[0]);
    memcpy(ret, op.data->data, size);
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
    return f;
}

START_TEST(a_whole_file_by_reference)
{
    /* Goal: pages that are dirty, here or at the other mount, are committed first; then no byte is
     * sent, whatever the last page holds; each file goes its own way afterwards. */
    uint8_t want[10 * 4096 + 100];
    struct place f = make_bytes(0, "a", want, sizeof want);
    struct place g = create(1, "b"), far = open_file(1, f.ino);
    ck_assert_uint_eq(world_do(&w, 1, copy_of(far, 0, g, 0, 1 << 30))->written, sizeof want);
    expect_bytes(1, g, 0, want, sizeof want);
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 1);
    struct place h = create(0, "c");
    unsigned puts = w.mounts[0].puts, commits = w.commits_seen;
    ck_assert_uint_eq(world_do(&w, 0, copy_of(f, 4096, h, 8192, sizeof want - 4096))->written,
                      sizeof want - 4096);
    ck_assert_uint_eq(w.mounts[0].puts, puts);
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 1);
    ck_assert_uint_eq(pages_of(0, h), 10);
    ck_assert_uint_eq(seek(0, h, false, 0), 2);
    write_pages(0, f, 2, 1, 'x');
    sync_file(0, f);
    expect_bytes(1, g, 0, want, sizeof want);
    memset(want + 4096, 'y', 4096);
    write_pages(1, g, 1, 1, 'y');
    sync_file(1, g);
    expect_bytes(0, open_file(0, g.ino), 0, want, sizeof want);
}
END_TEST

START_TEST(borders_are_copied)
{
    /* Goal: head and tail that are parts of pages go by bytes, with what lies around them; all of
     * it is in one answer. The same within one file. */
    static uint8_t from[40 * 4096], to[40 * 4096];
    struct place f = make_bytes(0, "a", from, sizeof from);
    struct place g = make_bytes(0, "b", to, sizeof to);
    uint64_t at = 3 * 4096 + 1000, size = 5 * 4096 + 500;
    ck_assert_uint_eq(world_do(&w, 0, copy_of(f, at, g, at + 8192, size))->written, size);
    memcpy(to + at + 8192, from + at, size);
    expect_bytes(0, g, 0, to, sizeof to);
    expect_bytes(1, open_file(1, g.ino), 0, to, sizeof to);
    ck_assert_uint_eq(world_do(&w, 0, copy_of(f, 100, g, 4096 + 100, 50))->written, 50);
    memcpy(to + 4096 + 100, from + 100, 50);
    expect_bytes(0, g, 0, to, sizeof to);
    ck_assert_uint_eq(world_do(&w, 0, copy_of(g, 7, g, 20 * 4096 + 7, 9000))->written, 9000);
    memcpy(to + 20 * 4096 + 7, to + 7, 9000);
    expect_bytes(0, g, 0, to, sizeof to);
    expect_bytes(0, f, 0, from, sizeof from);
}
END_TEST

START_TEST(copies_that_are_none)
{
    uint8_t want[3 * 4096];
    struct place f = make_bytes(0, "a", want, sizeof want);
    struct place g = create(0, "b");
    ck_assert_int_eq(world_do(&w, 0, copy_of(f, 0, g, 1, 4096))->err, EOPNOTSUPP);
    ck_assert_int_eq(world_do(&w, 0, copy_of(f, 0, f, 4096, 8192))->err, EINVAL);
    ck_assert_int_eq(world_do(&w, 0, copy_of(f, 0, g, (uint64_t)INT64_MAX - 4095, 8192))->err,
                     EFBIG);
    const struct world_answer *a = world_do(&w, 0, copy_of(f, sizeof want, g, 0, 4096));
    ck_assert(a->err == 0 && a->written == 0);
    ck_assert_uint_eq(world_do(&w, 0, op_of(CLIENT_GETATTR, g))->attr.size, 0);
}
END_TEST

/* Nothing is applied from here on. */
static uint64_t start_referring(int m, struct client_op op)
{
    w.no_commit = true;
    uint64_t id = world_start(&w, m, op);
    world_settle(&w);
    return id;
}

START_TEST(a_source_that_changes)
{
    /* Goal: RULES B12: a reference to what the source is not any more is refused, and the copy is
     * of what it has become; its end, too, which was in the middle of a page. */
    uint8_t want[2 * 4096 + 100];
    struct place f = make_bytes(1, "a", want, 2 * 4096 + 50);
    struct place g = create(1, "b"), near = open_file(0, f.ino), to = open_file(0, g.ino);
    (void)world_do(&w, 0, op_of(CLIENT_GETATTR, near));
    uint64_t copy = start_referring(0, copy_of(near, 0, to, 0, 1 << 20)); /* asks for the lease */
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = 2 * 4096 + 50;
    op.size = 50;
    op.data = blob_new(50);
    memset(op.data->data, 'n', 50);
    memset(want + 2 * 4096 + 50, 'n', 50);
    uint64_t write = world_start(&w, 1, op);
    world_settle(&w);
    w.mounts[0].held = true;
    w.no_commit = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 1, write)->err, 0);
    sync_file(1, f);
    ck_assert_ptr_null(world_find(&w, 0, copy));
    unsigned commits = w.commits_seen;
    w.mounts[0].held = false;
    world_pass(&w, 1 * TIME_S);
    const struct world_answer *a = world_find(&w, 0, copy);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(w.commits_seen, commits + 2); /* one was refused */
    ck_assert_uint_eq(a->written, sizeof want);
    expect_bytes(0, to, 0, want, sizeof want);
    struct client_op grow = op_of(CLIENT_SETATTR, to);
    grow.set = CLIENT_SET_SIZE;
    grow.size = 3 * 4096;
    ck_assert_int_eq(world_do(&w, 0, grow)->err, 0);
    uint8_t grown[3 * 4096] = {0};
    memcpy(grown, want, sizeof want);
    expect_bytes(1, g, 0, grown, sizeof grown);
}
END_TEST

START_TEST(a_source_that_shrinks)
{
    /* Goal: the same of a part of a page that is being read: no zeros are copied that were never
     * there. */
    uint8_t want[4096];
    struct place f = make_bytes(_i, "a", want, sizeof want);
    struct place g = create(0, "b"), near = _i ? open_file(0, f.ino) : f;
    sync_file(_i, f);
    write_pages(0, g, 0, 2, 'g');
    w.no_reads = true;
    uint64_t copy = world_start(&w, 0, copy_of(near, 100, g, 100, 50));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, copy));
    ck_assert_int_eq(truncate_to(_i, f, 0), 0);
    w.no_reads = false;
    world_pass(&w, 1 * TIME_S);
    const struct world_answer *a = world_find(&w, 0, copy);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->written, 0);
    ck_assert_int_eq(get_bytes(0, g, 100, 50)->data[0], 'g');
}
END_TEST

START_TEST(a_part_is_done)
{
    /* Goal: who is told of an error takes nothing for copied, and Linux keeps its pages: it is told
     * that they are old. */
    uint8_t want[4 * 4096];
    struct place f = make_bytes(0, "a", want, sizeof want);
    struct place g = create(0, "b");
    write_pages(0, g, 0, 8, 'g');
    sync_file(0, f);
    sync_file(0, g);
    (void)world_do(&w, 0, op_of(CLIENT_GETATTR, g)); /* news */
    world_pass(&w, 200 * TIME_MS);
    ck_assert_uint_ne(world_do(&w, 0, op_of(CLIENT_GETATTR, g))->attr_valid_us, 0);
    uint64_t copy = start_referring(0, copy_of(f, 100, g, 100, sizeof want - 100));
    unsigned attr = w.mounts[0].notified_attr, data = w.mounts[0].notified_data;
    world_cancel(&w, 0, copy); /* the first bytes are in the buffer, the others on their way */
    ck_assert_int_eq(world_find(&w, 0, copy)->err, EINTR);
    ck_assert_uint_eq(w.mounts[0].notified_attr, attr + 1);
    ck_assert_uint_eq(w.mounts[0].notified_data, data + 1);
    w.no_commit = false;
    world_settle(&w);
    const struct blob *b = get_bytes(0, g, 100, sizeof want - 100);
    ck_assert_int_eq(memcmp(b->data, want + 100, sizeof want - 100), 0);
}
END_TEST

START_TEST(writes_wait_for_a_reference)
{
    /* Goal: what comes while a reference is on its way is done on top of it: a write of a part of a
     * page, a truncate, and times, also when the caller of the copy is gone. */
    uint8_t want[4 * 4096];
    struct place f = make_bytes(0, "a", want, sizeof want);
    struct place g = create(0, "b");
    write_pages(0, g, 0, 4, 'g');
    sync_file(0, f);
    sync_file(0, g);
    unsigned notified = w.mounts[0].notified_data;
    uint64_t copy = start_referring(0, copy_of(f, 0, g, 0, sizeof want));
    world_cancel(&w, 0, copy);
    ck_assert_int_eq(world_find(&w, 0, copy)->err, EINTR);
    struct client_op op = op_of(CLIENT_WRITE, g);
    op.offset = 100;
    op.size = 10;
    op.data = blob_new(10);
    memset(op.data->data, 'w', 10);
    uint64_t write = world_start(&w, 0, op);
    struct client_op times = op_of(CLIENT_SETATTR, g);
    times.set = FS_SETATTR_MTIME;
    times.mtime = 12345;
    uint64_t touch = world_start(&w, 0, times);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, write));
    w.no_commit = false;
    world_pass(&w, 100 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, write)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, touch)->err, 0);
    memset(want + 100, 'w', 10);
    expect_bytes(0, g, 0, want, sizeof want);
    expect_bytes(1, open_file(1, g.ino), 0, want, sizeof want);
    ck_assert_uint_gt(w.mounts[0].notified_data, notified); /* the kernel's pages are not of it */
}
END_TEST

START_TEST(a_reference_over_an_election)
{
    /* Goal: sent again to the next leader it is done once, and lost with the session it is told. */
    uint8_t want[4 * 4096];
    struct place f = make_bytes(0, "a", want, sizeof want);
    struct place g = create(0, "b"), h = create(0, "c");
    sync_file(0, f);
    for (int keep = 0; keep < 2; keep++) {
        struct place to = keep ? h : g;
        uint64_t copy = start_referring(0, copy_of(f, 0, to, 0, sizeof want));
        ck_assert_uint_ge(w.pending.count, 1);
        w.no_commit = false;
        world_new_leader(&w, keep ? 1 : 2, keep);
        world_pass(&w, 2 * TIME_S);
        ck_assert_ptr_nonnull(world_find(&w, 0, copy));
        ck_assert_uint_eq(world_find(&w, 0, copy)->written, sizeof want);
        expect_bytes(0, to, 0, want, sizeof want);
    }
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    write_pages(0, g, 0, 1, 'x');
    w.mounts[0].silent = true;
    uint64_t copy = world_start(&w, 0, copy_of(f, 0, g, 8 * 4096, sizeof want));
    world_settle(&w);
    world_end_session(&w, session);
    w.mounts[0].silent = false;
    world_pass(&w, 10 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, copy));
    ck_assert_int_eq(world_find(&w, 0, copy)->err, EIO);
    write_pages(0, g, 0, 1, 'z');                      /* told once */
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, g), EIO); /* and left for the next fsync */
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, g), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client copies");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, a_whole_file_by_reference);
    tcase_add_test(t, borders_are_copied);
    tcase_add_test(t, copies_that_are_none);
    tcase_add_test(t, a_source_that_changes);
    tcase_add_loop_test(t, a_source_that_shrinks, 0, 2);
    tcase_add_test(t, a_part_is_done);
    tcase_add_test(t, writes_wait_for_a_reference);
    tcase_add_test(t, a_reference_over_an_election);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
