/* A mount's data on their way: what its COMMITs say, reads that wait for a copy, silence. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/commit.h"
#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

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

START_TEST(who_syncs_each_write_need_not_ask)
{
    /* Goal: the COMMIT of a file that is synced behind each write to it goes with the write, and
     * the fsync makes none of its own; who writes twice is known no more. */
    struct place f = create(0, "a");
    for (unsigned i = 0; i < SYNCED_EACH; i++) {
        unsigned commits = w.commits_seen;
        write_pages(0, f, i, 1, 'a');
        ck_assert_uint_eq(w.commits_seen, commits);
        sync_file(0, f);
        ck_assert_uint_eq(w.commits_seen, commits + 1);
    }
    unsigned commits = w.commits_seen;
    write_pages(0, f, SYNCED_EACH, 1, 'b');
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    w.no_commit = true;
    write_pages(0, f, 0, 1, 'c'); /* two at once: only the first goes */
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    uint64_t synced = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, synced));
    w.no_commit = false;
    world_pass(&w, 100 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, synced)->err, 0);
    ck_assert_uint_eq(w.commits_seen, commits + 2);
    write_pages(0, f, 1, 1, 'd');
    ck_assert_uint_eq(w.commits_seen, commits + 2);
    sync_file(0, f);
}
END_TEST

START_TEST(an_fsync_waits_for_what_went_before_it)
{
    /* Goal: RULES B9: that the COMMIT is on its way already makes nothing durable. */
    struct place f = create(0, "a");
    for (unsigned i = 0; i < SYNCED_EACH; i++) {
        write_pages(0, f, i, 1, 'a');
        sync_file(0, f);
    }
    w.no_commit = true;
    write_pages(0, f, 0, 1, 'b');
    uint64_t synced = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_pass(&w, 200 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 0, synced));
    w.no_commit = false;
    world_pass(&w, 100 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, synced)->err, 0);
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
     * with O_APPEND: with O_DSYNC it is answered when it is committed, or when it is lost. */
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
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO); /* it may have been a part of a write(2) */
    sync_file(0, f);
}
END_TEST

START_TEST(synced_when_it_appends_no_more)
{
    /* Goal: a descriptor that was opened with O_APPEND is written directly for good. */
    struct place f = create(0, "a");
    struct client_op open = {
        .kind = CLIENT_OPEN, .ino = f.ino, .flags = O_WRONLY | O_APPEND | O_DSYNC};
    put_text(0, f, 0, "safe"); /* space is reserved from here on */
    sync_file(0, f);
    f.fh = world_do(&w, 0, open)->fh;
    struct client_op op = write_op(f, 0, "text", 4);
    op.flags = O_WRONLY | O_DSYNC;
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, id));
    w.no_commit = false;
    world_settle(&w);
    ck_assert_ptr_nonnull(world_find(&w, 0, id));
    ck_assert_uint_eq(world_find(&w, 0, id)->written, 4);
}
END_TEST

START_TEST(a_synced_append_is_given_up)
{
    /* Goal: it is not undone, though its caller was killed: the kernel has to ask how far the file
     * goes. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    sync_file(0, f);
    (void)world_do(&w, 0, op_of(CLIENT_GETATTR, f)); /* news */
    world_pass(&w, 200 * TIME_MS);
    ck_assert_uint_ne(world_do(&w, 0, op_of(CLIENT_GETATTR, f))->attr_valid_us, 0);
    struct client_op op = write_op(f, 0, "more", 4);
    op.flags = O_WRONLY | O_APPEND | O_DSYNC;
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    unsigned notified = w.mounts[0].notified_attr;
    world_cancel(&w, 0, id);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EINTR);
    ck_assert_uint_eq(w.mounts[0].notified_attr, notified + 1);
    w.no_commit = false;
}
END_TEST

START_TEST(half_an_answer_is_none)
{
    /* Goal: RULES B8: when a piece of an answer does not fit its hash nothing of that answer
     * counts: the next one may be of a later version, in which a page that came whole is a hole. */
    no_mounts();
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_SESSION);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    struct place g = create(1, "a"), f = open_name(0, "a");
    for (uint32_t page = 0; page < 2; page++) { /* and nothing is promised to who has opened it */
        write_pages(1, g, page, 1, 'a');
        sync_file(1, g);
    }
    w.spared = w.corrupt = 1;
    w.mounts[0].held = true;
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = 2 * 4096;
    uint64_t read = world_start(&w, 0, op);
    world_settle(&w);
    struct client_op punch = op_of(CLIENT_ALLOCATE, g);
    punch.flags = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    punch.size = 4096;
    ck_assert_int_eq(world_do(&w, 1, punch)->err, 0);
    w.mounts[0].held = false;
    world_settle(&w);
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(w.corrupt, 0);
    ck_assert_uint_eq(a->bytes->size, 2 * 4096);
    ck_assert_int_eq(a->bytes->data[0], 0);
    ck_assert_int_eq(a->bytes->data[4096], 'a');
}
END_TEST

/* The leader ends it, and the mount hears of that. */
static void lose_session(int m)
{
    uint64_t session = client_stats(w.mounts[m].client, w.now).session;
    world_end_session(&w, session);
    world_settle(&w);
    (void)world_do(&w, m, (struct client_op){.kind = CLIENT_STATFS});
    ck_assert_uint_ne(client_stats(w.mounts[m].client, w.now).session, session);
}

START_TEST(read_of_what_was_lost_meanwhile)
{
    /* Goal: RULES L6: a READ that found a page in the buffer, and waits for another one, is not
     * answered with it when it was lost and the file goes on without, under the next lease. */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 1, 'a');
    sync_file(0, f);
    write_pages(0, f, 5, 1, 'b');
    w.no_reads = true;
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = 6 * 4096;
    uint64_t read = world_start(&w, 0, op);
    world_settle(&w);
    lose_session(0);
    ck_assert_int_eq(world_do(&w, 0, write_op(f, 0, "x", 1))->err, EIO); /* told once */
    write_pages(0, f, 9, 1, 'c');
    w.no_reads = false;
    world_pass(&w, 700 * TIME_MS);
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(a->bytes->size, 6 * 4096);
    ck_assert_int_eq(a->bytes->data[0], 'a');
    ck_assert_int_eq(a->bytes->data[5 * 4096], 0);
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

START_TEST(session_lost_while_the_page_is_read)
{
    /* Goal: the lease that was to stay a moment is gone: the write asks for the next one. */
    struct place f = create(0, "a");
    struct place g = open_file(1, f.ino);
    write_pages(0, f, 0, 1, 'a');
    sync_file(0, f);
    w.no_reads = true;
    uint64_t small = start_small_write(1, g);
    world_settle(&w);
    ck_assert(has_lease(1, f.ino));
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = 4096;
    op.data = blob_new(4096);
    memset(op.data->data, 'b', 4096);
    uint64_t whole = world_start(&w, 0, op);
    world_settle(&w);
    lose_session(1);
    w.no_reads = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, whole));
    ck_assert_ptr_nonnull(world_find(&w, 1, small));
    ck_assert_int_eq(world_find(&w, 1, small)->err, 0);
}
END_TEST

/* ---- space ----------------------------------------------------------------------------------- */

START_TEST(no_room_for_who_gave_up)
{
    /* Goal: RULES B13: that no more can be reserved is told to the write that needs it, and not to
     * the next one, which has what it needs. */
    enum { LARGE = 17 << 20 }; /* more than is reserved at once */
    struct place f = create(0, "a");
    write_pages(0, f, 0, 1, 'a');
    sync_file(0, f);
    world_set_room(&w, 0);
    w.no_reads = w.mounts[0].held = true;
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.size = LARGE;
    op.data = blob_new(LARGE);
    uint64_t large = world_start(&w, 0, op);
    uint64_t small = start_small_write(0, f);
    world_settle(&w);
    world_cancel(&w, 0, large);
    w.mounts[0].held = false;
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, small));
    w.no_reads = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, small));
    ck_assert_int_eq(world_find(&w, 0, small)->err, 0);
}
END_TEST

/* ---- silence --------------------------------------------------------------------------------- */

START_TEST(nothing_is_written_into_its_end)
{
    /* Goal: a WRITE that is answered is committed or told to be lost, so none is when the session's
     * end is on its way: the mount waits for no COMMIT any more. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    sync_file(0, f);
    world_stop(&w, 0);
    w.no_commit = true;
    world_settle(&w);
    ck_assert(!w.mounts[0].stopped);
    uint64_t id = world_start(&w, 0, write_op(f, 0, "TEXT", 4));
    ck_assert_ptr_null(world_find(&w, 0, id));
    w.no_commit = false;
    world_settle(&w);
    ck_assert(w.mounts[0].stopped);
}
END_TEST

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

int main(void)
{
    Suite *suite = suite_create("client data");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, lowest_block_is_wanted);
    tcase_add_test(t, ends_with_commits_under_way);
    tcase_add_test(t, who_syncs_each_write_need_not_ask);
    tcase_add_test(t, an_fsync_waits_for_what_went_before_it);
    tcase_add_test(t, read_that_outlives_the_lease);
    tcase_add_test(t, a_synced_append_is_committed);
    tcase_add_test(t, synced_when_it_appends_no_more);
    tcase_add_test(t, a_synced_append_is_given_up);
    tcase_add_test(t, half_an_answer_is_none);
    tcase_add_test(t, read_of_what_was_lost_meanwhile);
    tcase_add_test(t, lease_stays_while_the_page_is_read);
    tcase_add_test(t, lease_does_not_stay_for_ever);
    tcase_add_test(t, session_lost_while_the_page_is_read);
    tcase_add_test(t, no_room_for_who_gave_up);
    tcase_add_test(t, nothing_is_written_into_its_end);
    tcase_add_test(t, nobody_else_to_ask);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
