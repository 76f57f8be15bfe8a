/* A mount's data on their way: what its COMMITs say, what is under way when it ends, silence. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/buffer.h"
#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* ---- short forms ----------------------------------------------------------------------------- */

/* `pages` pages of `byte`, in one write. */
static void write_pages(int m, struct place f, uint64_t first_page, uint32_t pages, int byte)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = first_page * 4096;
    op.size = pages * 4096;
    op.data = blob_new(pages * 4096);
    memset(op.data->data, byte, pages * 4096);
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

static void sync_file(int m, struct place f)
{
    ck_assert_int_eq(world_do(&w, m, op_of(CLIENT_FSYNC, f))->err, 0);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

START_TEST(lowest_block_is_wanted)
{
    /* Goal: RULES B12: no block that a COMMIT names is below the lowest that it says is wanted. The
     * first page shares a block that is numbered when it is full or the last: behind the large
     * ones. */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 1, 'a');
    write_pages(0, f, 1, 20, 'b');
    write_pages(0, f, 21, 20, 'c');
    w.no_commit = true;
    (void)world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, 1);
    const struct blob *payload = w.pending.items[0].payload;
    Fs__Op *op = fs__op__unpack(NULL, payload->size, payload->data);
    ck_assert_int_eq(op->body_case, FS__OP__BODY_COMMIT);
    ck_assert_uint_eq(op->commit->n_blocks, 3);
    for (size_t i = 0; i < op->commit->n_blocks; i++)
        ck_assert_uint_le(op->commit->lowest_wanted, op->commit->blocks[i]->n);
    fs__op__free_unpacked(op, NULL);
    w.no_commit = false;
}
END_TEST

START_TEST(ends_with_commits_under_way)
{
    /* Goal: a mount may end at any time: what it waits for is freed once. Sent and not answered,
     * not sent yet, and waiting for copies. */
    struct place f = create(0, "a"), g = create(0, "b"), h = create(0, "c");
    write_pages(0, f, 0, 1, 'a');
    write_pages(0, g, 0, 40, 'b');
    write_pages(0, h, 0, 1, 'c');
    w.no_commit = true;
    w.mounts[0].no_puts = true;
    (void)world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    (void)world_start(&w, 0, op_of(CLIENT_FSYNC, g));
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, 1);
    world_link_down(&w, 0, 1);
    uint64_t last = world_start(&w, 0, op_of(CLIENT_FSYNC, h));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, last));
    client_free(w.mounts[0].client);
    w.mounts[0].client = NULL;
}
END_TEST

/* ---- reads ----------------------------------------------------------------------------------- */

START_TEST(read_that_outlives_the_lease)
{
    /* Goal: which pages a READ asks for, and how far the file goes, is as old as its bytes: here
     * its first copy is silent, and the lease is given back before the second is asked. */
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    write_pages(0, f, 0, 2, 'a');
    sync_file(0, f);
    world_new_leader(&w, 2, true);
    world_pass(&w, 100 * TIME_MS);
    w.mute = 1;
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = 8 * 4096;
    uint64_t read = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, read));
    write_pages(1, g, 0, 4, 'b');
    sync_file(1, g);
    ck_assert_ptr_null(world_find(&w, 0, read));
    world_pass(&w, 1 * TIME_S);
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_int_eq(a->bytes->data[0], 'b');
    ck_assert_uint_eq(a->bytes->size, 4 * 4096);
    w.mute = 0;
}
END_TEST

START_TEST(a_synced_append_is_committed)
{
    /* Goal: Linux sends no FSYNC behind a write that it hands over directly, as all of a descriptor
     * with O_APPEND: with O_DSYNC it is answered when it is committed; and told once when it is
     * lost. */
    struct place f = create(0, "a");
    for (int lose = 0; lose < 2; lose++) {
        struct client_op op = op_of(CLIENT_WRITE, f);
        op.flags = O_WRONLY | O_APPEND | O_DSYNC;
        op.size = 10;
        op.data = blob_new(10);
        memset(op.data->data, 'a', 10);
        w.no_commit = !lose;
        w.mounts[0].silent = lose;
        uint64_t id = world_start(&w, 0, op);
        world_settle(&w);
        ck_assert_ptr_null(world_find(&w, 0, id));
        if (lose)
            world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
        w.mounts[0].silent = w.no_commit = false;
        world_pass(&w, lose ? 5 * TIME_S : 100 * TIME_MS); /* and the lease stays here */
        ck_assert_ptr_nonnull(world_find(&w, 0, id));
        ck_assert_int_eq(world_find(&w, 0, id)->err, lose ? EIO : 0);
        ck_assert_uint_eq(world_find(&w, 0, id)->written, lose ? 0 : 10);
    }
    sync_file(0, f);
}
END_TEST

/* ---- parts of pages -------------------------------------------------------------------------- */

/* A write of some bytes within the first page. */
static uint64_t start_small_write(int m, struct place f)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = 10;
    op.size = 10;
    op.data = blob_new(10);
    memset(op.data->data, 'x', 10);
    return world_start(&w, m, op);
}

static bool has_lease(int m, uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, ino, &attr), 0);
    return attr.lease_session == client_stats(w.mounts[m].client, w.now).session;
}

START_TEST(lease_stays_while_the_page_is_read)
{
    /* Goal: what is read under one lease is void under the next, so two mounts that write parts of
     * a page could take the lease from one another for ever (tally-sim --seed 5095). Here the first
     * copy is silent, and the other mount wants the lease meanwhile. */
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    write_pages(0, f, 0, 1, 'a');
    sync_file(0, f);
    world_new_leader(&w, 2, true);
    world_pass(&w, 100 * TIME_MS);
    w.mute = 1;
    uint64_t second = start_small_write(1, g);
    world_settle(&w);
    ck_assert(has_lease(1, f.ino));
    uint64_t first = start_small_write(0, f);
    world_pass(&w, 15 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 1, second));
    ck_assert(has_lease(1, f.ino));
    world_pass(&w, 300 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 1, second));
    ck_assert_int_eq(world_find(&w, 1, second)->err, 0);
    w.mute = 0;
    world_pass(&w, 300 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 0, first));
    ck_assert_int_eq(world_find(&w, 0, first)->err, 0);
}
END_TEST

START_TEST(lease_does_not_stay_for_ever)
{
    /* Goal: the same while no copy answers: the other mount waits for a second, no longer. */
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    write_pages(0, f, 0, 1, 'a');
    sync_file(0, f);
    w.no_reads = true;
    (void)start_small_write(1, g);
    world_settle(&w);
    ck_assert(has_lease(1, f.ino));
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = 4096;
    op.data = blob_new(4096);
    memset(op.data->data, 'b', 4096);
    uint64_t id = world_start(&w, 0, op);
    world_pass(&w, 800 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 0, id));
    world_pass(&w, 400 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 0, id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    w.no_reads = false;
}
END_TEST

/* ---- holes ----------------------------------------------------------------------------------- */

/* SEEK_DATA or SEEK_HOLE from `page`; UINT64_MAX: ENXIO. */
static uint64_t seek(int m, struct place f, bool hole, uint64_t page)
{
    struct client_op op = op_of(CLIENT_SEEK, f);
    op.offset = page * 4096;
    op.hole = hole;
    const struct world_answer *a = world_do(&w, m, op);
    if (a->err == ENXIO)
        return UINT64_MAX;
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->offset % 4096, 0);
    return a->offset / 4096;
}

static uint64_t pages_of(int m, struct place f)
{
    const struct world_answer *a = world_do(&w, m, op_of(CLIENT_GETATTR, f));
    ck_assert_int_eq(a->err, 0);
    return a->attr.pages;
}

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

/* ---- by reference ---------------------------------------------------------------------------- */

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
    write_pages(0, g, 0, 1, 'z'); /* told once */
}
END_TEST

/* ---- layers ---------------------------------------------------------------------------------- */

enum { LAYER_PAGES = 64 };

static bool layer_is(const struct layer *l, const int *want)
{
    bool good = true;
    for (uint64_t no = 0; no < LAYER_PAGES; no++) {
        uint64_t end = PAGE_NONE;
        good &= layer_data_at(l, no, &end) == want[no] && end > no;
        for (uint64_t k = no; k < end && k < LAYER_PAGES; k++)
            good &= want[k] == want[no];
        good &= (layer_find(l, no) != NULL) == (want[no] == 1);
        good &= want[no] == 1 || layer_hides(l, no) == (want[no] == 0);
    }
    for (size_t h = 1; h < l->holes.count; h++)
        good &= l->holes.items[h].first > l->holes.items[h - 1].end;
    return good;
}

START_TEST(layers_agree_with_a_table)
{
    /* Goal: pages, holes and a cut of a layer, in any order. -1: older layers, 0: zeros, 1: data.
     */
    uint32_t seed = (uint32_t)_i + 3;
    int want[LAYER_PAGES];
    struct layer l;
    layer_init(&l);
    memset(want, -1, sizeof want);
    struct blob *bytes = blob_new(4096);
    for (int step = 0; step < 2000; step++) {
        seed = seed * 1103515245u + 12345u;
        uint64_t first = (seed >> 16) % LAYER_PAGES, n = 1 + (seed >> 24) % 9;
        uint64_t end = first + n < LAYER_PAGES ? first + n : LAYER_PAGES;
        unsigned what = (seed >> 10) % 32;
        if (what == 0) {
            layer_cut(&l, first);
            for (uint64_t no = first; no < LAYER_PAGES; no++)
                want[no] = 0;
        } else if (what == 1) {
            layer_done(&l);
            layer_init(&l);
            memset(want, -1, sizeof want);
        } else if (what < 16) {
            layer_hole(&l, first, end);
            for (uint64_t no = first; no < end; no++)
                want[no] = 0;
        } else {
            layer_write(&l, first, 0, bytes, 0, 4096, NULL);
            want[first] = 1;
        }
        if (!layer_is(&l, want)) /* ck_assert writes a file each time */
            ck_abort_msg("wrong after step %d", step);
    }
    blob_unref(bytes);
    layer_done(&l);
}
END_TEST

/* ---- silence --------------------------------------------------------------------------------- */

START_TEST(nobody_else_to_ask)
{
    /* Goal: a mount whose leader is silent and that reaches no other node waits before it looks
     * again who else there is. */
    world_link_down(&w, 0, 2);
    world_settle(&w);
    w.mounts[0].held = true;
    for (int i = 0; i < 50; i++) {
        world_pass(&w, 100 * TIME_MS);
        ck_assert_uint_gt(w.mounts[0].wake_at, w.now);
    }
    w.mounts[0].held = false;
    (void)create(0, "a");
}
END_TEST

/* ---- what has lost its last name ------------------------------------------------------------- */

static int remove_name(int m, const char *name)
{
    return world_do(&w, m,
                    (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = name})
        ->err;
}

static uint64_t make_fifo(int m, const char *name)
{
    const struct world_answer *a = world_do(
        &w, m,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFIFO | 0644});
    ck_assert_int_eq(a->err, 0);
    return a->attr.ino;
}

static bool exists(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_get_attr(w.state, ino, &attr) == 0;
}

START_TEST(second_walk_finds_it_still_there)
{
    /* Goal: Linux walks a path once more after ESTALE and not again. What that walk finds is kept
     * for the open that follows, also when its name is taken away in between; and no longer. */
    struct place old = create(0, "a"), new = create(0, "b");
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, old))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, new))->err, 0);
    ck_assert_int_eq(lookup(1, "a")->err, 0);
    ck_assert_int_eq(remove_name(0, "a"), 0);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = old.ino, .flags = O_RDWR};
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
    ck_assert_int_eq(lookup(1, "b")->err, 0);
    ck_assert_int_eq(remove_name(0, "b"), 0);
    ck_assert(exists(new.ino));
    struct place f = open_file(1, new.ino);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_RELEASE, f))->err, 0);
    world_settle(&w);
    ck_assert(!exists(new.ino));

    struct place last = create(0, "c");
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, last))->err, 0);
    open.ino = old.ino;
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
    ck_assert_int_eq(lookup(1, "c")->err, 0);
    ck_assert_int_eq(remove_name(0, "c"), 0);
    world_pass(&w, 5 * TIME_S);
    ck_assert(!exists(last.ino)); /* nobody came */
}
END_TEST

START_TEST(second_walk_meets_a_removal_under_way)
{
    /* Goal: what is being removed when the second walk comes, by another mount or by this one, is
     * no answer for it: who removes has been told that it is not open here, so it would be gone
     * when the open comes. It waits, and looks again. */
    for (int remover = 0; remover < WORLD_MOUNTS; remover++) {
        struct place old = create(0, "a"), new = create(0, "b");
        ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, old))->err, 0);
        ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, new))->err, 0);
        ck_assert_int_eq(lookup(1, "b")->err, 0);
        ck_assert_int_eq(remove_name(0, "a"), 0);
        w.no_commit = true;
        struct client_op remove = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "b"};
        uint64_t removal = world_start(&w, remover, remove);
        world_settle(&w);
        struct client_op open = {.kind = CLIENT_OPEN, .ino = old.ino, .flags = O_RDWR};
        ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
        struct client_op find = {.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "b"};
        uint64_t walk = world_start(&w, 1, find);
        world_settle(&w);
        ck_assert_ptr_null(world_find(&w, remover, removal));
        ck_assert_ptr_null(world_find(&w, 1, walk));
        w.no_commit = false;
        world_settle(&w);
        ck_assert_int_eq(world_find(&w, remover, removal)->err, 0);
        ck_assert_int_eq(world_find(&w, 1, walk)->err, ENOENT);
        world_pass(&w, 5 * TIME_S); /* no walk is a second one any more */
    }
}
END_TEST

START_TEST(fifo_removed_while_it_may_be_open)
{
    /* Goal: Linux opens a fifo without asking. It lives on without a name as long as some mount's
     * kernel knows it: its own, and another's. */
    for (int remover = 0; remover < WORLD_MOUNTS; remover++) {
        uint64_t ino = make_fifo(0, "p");
        ck_assert_int_eq(lookup(1, "p")->err, 0);
        ck_assert_int_eq(remove_name(remover, "p"), 0);
        for (int m = 0; m < WORLD_MOUNTS; m++) {
            struct client_op ask = {.kind = CLIENT_GETATTR, .ino = ino};
            ck_assert_int_eq(world_do(&w, m, ask)->err, 0);
            struct client_op forget = {.kind = CLIENT_FORGET, .ino = ino, .nlookup = 1};
            (void)world_start(&w, m, forget);
            w.mounts[1].pruned = 0;
            world_pass(&w, 5 * TIME_S);
            ck_assert_int_eq(exists(ino), m == 0);
            ck_assert_int_eq(w.mounts[1].pruned != 0, m == 0); /* its kernel is asked to forget */
        }
    }
}
END_TEST

static int create_over(uint32_t flags, uint32_t uid)
{
    struct client_op op = {.kind = CLIENT_MAKE,
                           .parent = WORLD_ROOT,
                           .name = "f",
                           .mode = S_IFREG | 0644,
                           .open = true,
                           .flags = flags,
                           .uid = uid};
    return world_do(&w, 1, op)->err;
}

START_TEST(created_over_a_file)
{
    /* Goal: Linux does not check what CREATE answers, as it takes it for new: so it has to look
     * again where the caller may be forbidden to open it. */
    struct client_op op = {
        .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "f", .mode = S_IFREG | 0600, .uid = 7};
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_int_eq(create_over(O_RDWR, 7), 0);
    ck_assert_int_eq(create_over(O_RDWR, 0), 0);
    ck_assert_int_eq(create_over(O_RDWR | O_TRUNC, 7), 0);
    ck_assert_int_eq(create_over(O_RDONLY, 8), ESTALE);
    op.name = "readable";
    op.mode = S_IFREG | 0400;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    op = (struct client_op){.kind = CLIENT_MAKE,
                            .parent = WORLD_ROOT,
                            .name = "readable",
                            .mode = S_IFREG | 0644,
                            .open = true,
                            .flags = O_RDONLY,
                            .uid = 7};
    ck_assert_int_eq(world_do(&w, 1, op)->err, 0);
    op.flags = O_WRONLY;
    ck_assert_int_eq(world_do(&w, 1, op)->err, ESTALE);
}
END_TEST

START_TEST(created_over_a_fifo)
{
    /* Goal: open(O_CREAT) of a name that Linux took to be free and that another mount has given to
     * something else than a file is sent to look again: CREATE can't answer with it. */
    (void)make_fifo(0, "p");
    const struct world_answer *a = world_do(&w, 1,
                                            (struct client_op){.kind = CLIENT_MAKE,
                                                               .parent = WORLD_ROOT,
                                                               .name = "p",
                                                               .mode = S_IFREG | 0644,
                                                               .open = true,
                                                               .flags = O_RDWR | O_CREAT});
    ck_assert_int_eq(a->err, ESTALE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client data");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, lowest_block_is_wanted);
    tcase_add_test(t, ends_with_commits_under_way);
    tcase_add_test(t, read_that_outlives_the_lease);
    tcase_add_test(t, a_synced_append_is_committed);
    tcase_add_test(t, lease_stays_while_the_page_is_read);
    tcase_add_test(t, lease_does_not_stay_for_ever);
    tcase_add_test(t, seeks_see_what_is_buffered);
    tcase_add_test(t, blocks_of_a_sparse_file);
    tcase_add_test(t, holes_over_dirty_pages);
    tcase_add_test(t, zeros_may_extend);
    tcase_add_test(t, allocation_looks_at_the_space);
    tcase_add_test(t, a_hole_after_loss);
    tcase_add_test(t, a_whole_file_by_reference);
    tcase_add_test(t, borders_are_copied);
    tcase_add_test(t, copies_that_are_none);
    tcase_add_test(t, a_source_that_changes);
    tcase_add_test(t, writes_wait_for_a_reference);
    tcase_add_test(t, a_reference_over_an_election);
    tcase_add_loop_test(t, layers_agree_with_a_table, 0, 3);
    tcase_add_test(t, nobody_else_to_ask);
    tcase_add_test(t, second_walk_finds_it_still_there);
    tcase_add_test(t, second_walk_meets_a_removal_under_way);
    tcase_add_test(t, fifo_removed_while_it_may_be_open);
    tcase_add_test(t, created_over_a_file);
    tcase_add_test(t, created_over_a_fifo);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
