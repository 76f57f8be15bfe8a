/* Leaders that change and sessions that end in the middle of something. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* ---- elections ------------------------------------------------------------------------------- */

static void election(bool keep)
{
    struct place f = create(0, "a");
    put_text(0, f, 0, "one");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    uint32_t before = w.commits_seen;
    w.no_commit = true;
    put_text(0, f, 3, " two");
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), 0); /* accepted is enough for close */
    put_text(0, f, 7, " three");
    uint64_t sync =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino, .fh = f.fh});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, sync));
    ck_assert_uint_eq(w.commits_seen, before);
    world_new_leader(&w, 2, keep);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, sync));
    ck_assert_int_eq(world_find(&w, 0, sync)->err, 0);
    expect_text(1, open_name(1, "a"), 0, "one two three");
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}

START_TEST(commits_over_an_election_lost)
{
    /* Goal: RULES B9: accepted and not committed is sent again, under the same numbers. */
    election(false);
}
END_TEST

START_TEST(commits_over_an_election_kept)
{
    election(true);
}
END_TEST

START_TEST(make_over_an_election)
{
    /* Goal: exactly once: the new leader answers with what the old one's entry did. */
    for (int keep = 0; keep < 2; keep++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", keep);
        w.no_commit = true;
        uint64_t id = world_start(
            &w, 0,
            (struct client_op){
                .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755});
        world_settle(&w);
        world_new_leader(&w, keep ? 1 : 2, keep);
        w.no_commit = false;
        world_pass(&w, 1 * TIME_S);
        ck_assert_ptr_nonnull(world_find(&w, 0, id));
        ck_assert_int_eq(world_find(&w, 0, id)->err, 0); /* and not EEXIST */
        ck_assert_int_eq(lookup(1, name)->err, 0);
    }
}
END_TEST

/* A node that campaigned alone in a high term died with it; the others elected in a lower one. */
START_TEST(leader_of_a_lower_term_than_heard_of)
{
    struct place f = create(0, "a");
    world_link_down(&w, 0, 1);
    world_campaigns(&w, 2, w.term + 7);
    world_pass(&w, 2 * TIME_S);
    world_link_down(&w, 0, 2);
    world_new_leader(&w, 1, true);
    world_link_up(&w, 0, 1, 1);
    put_text(0, f, 0, "x");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
}
END_TEST

START_TEST(an_answer_that_did_not_renew)
{
    /* Goal: RULES L8, L9: a Renew of the term before, answered by the same node in its next one,
     * says nothing about the lease, though the mount has heard of that term meanwhile (tally-sim
     * seed 800001931). */
    w.mounts[0].silent = true;
    world_pass(&w, 1200 * TIME_MS); /* it renews: at most 1.2 s ago, and 1 s after the last time */
    world_new_leader(&w, 1, true);
    world_settle(&w); /* it hears of that */
    w.mounts[0].held = true;
    w.mounts[0].silent = false;
    world_settle(&w); /* its Renew is answered */
    w.mounts[0].held = false;
    w.mounts[0].silent = true;
    world_pass(&w, 3001 * TIME_MS); /* the lease of 4 s, from the last time */
    ck_assert(!client_stats(w.mounts[0].client, w.now).lease_valid);
    w.mounts[0].silent = false;
    world_pass(&w, 100 * TIME_MS); /* and the next one */
    ck_assert(client_stats(w.mounts[0].client, w.now).lease_valid);
}
END_TEST

START_TEST(renewed_after_a_long_silence)
{
    /* Goal: RULES L9: a renewal that was overdue does not make the loop late, which would throw
     * away what was promised right behind it. */
    world_link_down(&w, 0, 1);
    world_pass(&w, 6 * TIME_S);
    uint64_t id = world_start(
        &w, 0, (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "a"});
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, ENOENT);
    ck_assert_uint_ne(world_find(&w, 0, id)->entry_valid_us, 0);
}
END_TEST

START_TEST(sent_to_its_leader_of_before)
{
    /* Goal: what a node gets in its next term was sent to it in an earlier one: it is sent again at
     * once, is done once, and the session lives on. */
    struct place f = create(0, "a");
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    w.mounts[0].silent = true;
    struct client_op op = op_of(CLIENT_SETATTR, f);
    op.set = FS_SETATTR_MODE;
    op.mode = 0600;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    world_new_leader(&w, 1, true);
    uint64_t before = w.last_index;
    w.mounts[0].silent = false;
    world_pass(&w, 50 * TIME_MS); /* both renew */
    ck_assert_ptr_nonnull(world_find(&w, 0, id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 0, id)->attr.mode & 07777, 0600);
    ck_assert_uint_eq(w.last_index, before + 1);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).session, session);
}
END_TEST

START_TEST(links_break)
{
    /* Goal: what was under way is sent again over the next link, and nothing is done twice. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "x");
    w.mounts[0].held = true;
    uint64_t sync =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino, .fh = f.fh});
    uint64_t made = world_start(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "b", .mode = S_IFREG | 0644});
    world_settle(&w);
    world_link_down(&w, 0, 1);
    w.mounts[0].held = false;
    world_pass(&w, 500 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 0, sync));
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, sync)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, made)->err, 0);
    ck_assert_uint_eq(w.commits_seen, 1);
}
END_TEST

START_TEST(answered_in_another_order)
{
    /* Goal: RULES B2: a large COMMIT is sent behind the small one that follows it, since its blocks
     * go first. When both are done and the answers got lost with a link, those that come over the
     * next one come in that order: from the first one on, what is read is as of the second. */
    static uint8_t large[20 * 4096], small[4096];
    struct place f = create(0, "a");
    fill(large, sizeof large, 1);
    fill(small, sizeof small, 2);
    put_text(0, f, 0, "x"); /* space is reserved */
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    uint64_t syncs[2];
    (void)world_start(&w, 0, write_op(f, 0, large, sizeof large));
    syncs[0] = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    (void)world_start(&w, 0, write_op(f, 0, small, sizeof small));
    syncs[1] = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    w.no_commit = true;
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, 2);
    w.mounts[0].held = true;
    w.no_commit = false;
    world_settle(&w);
    world_link_down(&w, 0, 1);
    w.mounts[0].held = false;
    world_link_up(&w, 0, 1, 1);
    uint64_t bytes = client_stats(w.mounts[0].client, w.now).inflight_bytes;
    while (client_stats(w.mounts[0].client, w.now).inflight_bytes == bytes)
        ck_assert(world_step(&w));
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = sizeof small;
    uint64_t read = world_start(&w, 0, op);
    (void)world_start(&w, 0, write_op(f, 10, large, 10)); /* the rest of the page stays */
    world_pass(&w, 500 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, syncs[0])->err, 0);
    ck_assert_int_eq(world_find(&w, 0, syncs[1])->err, 0);
    ck_assert_uint_eq(world_find(&w, 0, read)->bytes->size, sizeof small);
    ck_assert_int_eq(memcmp(world_find(&w, 0, read)->bytes->data, small, sizeof small), 0);
    memcpy(small + 10, large, 10);
    memcpy(large, small, sizeof small);
    expect_bytes(1, open_name(1, "a"), 0, large, sizeof large);
}
END_TEST

START_TEST(accepted_by_a_leader_that_is_gone)
{
    /* Goal: RULES B9: acceptance is volatile. Who closes once the leader is lost that had accepted
     * the COMMIT waits for the next one to do so: else the bytes would be here alone. */
    struct place f = create(0, "a"), other = open_file(0, f.ino);
    put_text(0, f, 0, "text");
    w.no_commit = true;
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), 0);
    world_link_down(&w, 0, 1);
    uint64_t closed = world_start(&w, 0, op_of(CLIENT_FLUSH, other));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, closed));
    world_new_leader(&w, 2, false);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 0, closed));
    ck_assert_uint_eq(w.commits_seen, 0);
    w.no_commit = false;
    world_link_up(&w, 0, 1, 1);
    expect_text(1, open_name(1, "a"), 0, "text");
}
END_TEST

/* ---- sessions -------------------------------------------------------------------------------- */

START_TEST(session_end_loses_the_buffer)
{
    /* Goal: RULES L2: dirty data get EIO once, then everything goes on in a new session. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_eq(size_of(0, f), 4);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_uint_eq(size_of(0, f), 4); /* the kernel may use that for a while */
    put_text(0, f, 0, "lost");
    uint64_t old = client_stats(w.mounts[0].client, w.now).session;
    world_end_session(&w, old);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_ne(client_stats(w.mounts[0].client, w.now).session, old);
    ck_assert_uint_ne(client_stats(w.mounts[0].client, w.now).session, 0);
    ck_assert_uint_gt(w.mounts[0].logs, 0);
    ck_assert_uint_gt(w.mounts[0].notified_data, 0);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "safe");
    put_text(0, f, 0, "more");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(1, open_name(1, "a"), 0, "more");
}
END_TEST

START_TEST(session_end_between_parts_of_a_write)
{
    /* Goal: Linux gives the error of the second part of a write(2) to nobody, since the first was
     * written: whoever closes or syncs is told then (tally-sim seed 1010001385). */
    struct place f = create(0, "a");
    put_text(0, f, 0, "part");
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, write_op(f, 4096, "rest", 4))->err, EIO);
    put_text(0, f, 4096, "more"); /* once at a write */
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), EIO);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), 0);
}
END_TEST

START_TEST(session_end_while_a_write_waits)
{
    /* Goal: RULES B13: the space that a write has taken goes with the session that it was reserved
     * for, though the write goes on in the next one. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.no_reads = true;
    uint64_t waits = world_start(&w, 0, write_op(f, 2, "l", 1)); /* for the rest of the page */
    world_settle(&w);
    world_set_room(&w, 0);
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.no_reads = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, waits));
    ck_assert_int_eq(world_find(&w, 0, waits)->err, ENOSPC);
    expect_text(1, open_name(1, "a"), 0, "safe");
}
END_TEST

START_TEST(times_that_are_set_when_the_session_may_be_over)
{
    /* Goal: times of a file with buffered data are buffered with them, but not when another mount
     * may have taken the file already: as a write, utimensat(2) waits to hear. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "lost");
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    struct client_op times = op_of(CLIENT_SETATTR, f);
    times.set = FS_SETATTR_MTIME;
    times.mtime = 7;
    uint64_t id = world_start(&w, 0, times);
    ck_assert_ptr_null(world_find(&w, 0, id));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
}
END_TEST

START_TEST(write_that_waits_for_a_recall_of_before)
{
    /* Goal: a write waits since another mount wants the lease. The next leader hears nothing of
     * that, for who wanted it has given up: the write goes on. */
    struct place f = create(0, "a"), g = open_file(1, f.ino);
    put_text(0, f, 0, "a");
    w.no_commit = true;
    uint64_t wants =
        world_start(&w, 1, (struct client_op){.kind = CLIENT_GETATTR, .ino = g.ino, .fh = g.fh});
    world_pass(&w, 20 * TIME_MS); /* the lease was young */
    uint64_t waits = world_start(&w, 0, write_op(f, 1, "b", 1));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, waits));
    world_cancel(&w, 1, wants);
    ck_assert_int_eq(world_find(&w, 1, wants)->err, EINTR);
    w.no_commit = false;
    world_new_leader(&w, 2, false);
    world_pass(&w, 3 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, waits));
    ck_assert_int_eq(world_find(&w, 0, waits)->err, 0);
    sync_file(0, f);
    expect_text(1, g, 0, "ab");
}
END_TEST

START_TEST(session_end_while_attributes_are_asked)
{
    /* Goal: the kernel ignores an answer that a notification overtook and reads on with the size it
     * had, so none is sent to one that asks (simulator seed 300126). */
    struct place f = create(0, "a");
    put_text(0, f, 0, "lost");
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    uint64_t asked =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino, .fh = f.fh});
    ck_assert_ptr_null(world_find(&w, 0, asked));
    unsigned attrs = w.mounts[0].notified_attr;
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(world_find(&w, 0, asked)->attr.size, 0);
    ck_assert_uint_eq(w.mounts[0].notified_attr, attrs);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
}
END_TEST

START_TEST(lost_bytes_look_like_what_was_there)
{
    /* Goal: the kernel has pages with the lost bytes, and size and time are what it knows: who asks
     * before a read must not get those pages (simulator seed 500820), and no notification may make
     * the kernel ignore the answer (seed 207336437819290). */
    struct place f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct client_op stat = {.kind = CLIENT_GETATTR, .ino = f.ino};
    int64_t mtime = world_do(&w, 0, stat)->attr.mtime;
    put_text(0, f, 0, "lost");
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S); /* the lease is over, and no attributes are valid */
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    struct client_op read = {.kind = CLIENT_GETATTR, .ino = f.ino, .fh = f.fh};
    unsigned notified = w.mounts[0].notified_data;
    ck_assert_int_ne(world_do(&w, 0, read)->attr.mtime, mtime);
    ck_assert_uint_eq(w.mounts[0].notified_data, notified);
    ck_assert_int_eq(world_do(&w, 0, stat)->attr.mtime, mtime);
}
END_TEST

START_TEST(lost_bytes_while_they_are_read)
{
    /* Goal: the kernel has asked for the bytes, and knows the end of the file with them. A shorter
     * answer than that would not cut it, behind a notification: zeros would be read where lost
     * bytes were (simulator seed 940001203). */
    struct place f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_text(0, f, 4, "lost");
    ck_assert_uint_eq(size_of(0, f), 8);
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = 4096;
    uint64_t read = world_start(&w, 0, op);
    ck_assert_ptr_null(world_find(&w, 0, read));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, read)->err, EIO);
    op.size = 4; /* behind it nothing was lost */
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_uint_eq(size_of(0, f), 4); /* now it knows */
    expect_text(0, f, 0, "safe");
}
END_TEST

START_TEST(silent_holder_is_fenced)
{
    /* Goal: RULES L2, B2: a holder nobody hears from loses its lease after T; waking up it finds
     * out. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "before");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.mounts[0].silent = w.mounts[0].held = true;
    put_text(0, f, 0, "ghost!");
    struct place g = open_name(1, "a");
    put_text(1, g, 0, "after!");
    ck_assert_int_eq(simple(1, CLIENT_FSYNC, g), 0);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
    expect_text(0, f, 0, "after!");
    expect_text(1, g, 0, "after!");
}
END_TEST

START_TEST(no_answer_from_old_knowledge)
{
    /* Goal: RULES L9: cut off for longer than T nothing is answered from promises. */
    struct place f = create(1, "a");
    put_text(1, f, 0, "x");
    ck_assert_uint_eq(size_of(0, f), 1);
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    uint64_t id = world_start(&w, 0, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_null(world_find(&w, 0, id));
    put_text(1, f, 1, "y");
    world_pass(&w, 30 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, ETIMEDOUT);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(size_of(0, f), 2);
}
END_TEST

START_TEST(stop_commits_everything)
{
    struct place f = create(0, "a");
    put_text(0, f, 0, "kept");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_stop(&w, 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert(w.mounts[0].stopped);
    expect_text(1, open_name(1, "a"), 0, "kept");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elections");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, commits_over_an_election_lost);
    tcase_add_test(t, commits_over_an_election_kept);
    tcase_add_test(t, make_over_an_election);
    tcase_add_test(t, leader_of_a_lower_term_than_heard_of);
    tcase_add_test(t, an_answer_that_did_not_renew);
    tcase_add_test(t, renewed_after_a_long_silence);
    tcase_add_test(t, sent_to_its_leader_of_before);
    tcase_add_test(t, links_break);
    tcase_add_test(t, answered_in_another_order);
    tcase_add_test(t, accepted_by_a_leader_that_is_gone);
    tcase_add_test(t, session_end_loses_the_buffer);
    tcase_add_test(t, session_end_between_parts_of_a_write);
    tcase_add_test(t, session_end_while_a_write_waits);
    tcase_add_test(t, times_that_are_set_when_the_session_may_be_over);
    tcase_add_test(t, write_that_waits_for_a_recall_of_before);
    tcase_add_test(t, session_end_while_attributes_are_asked);
    tcase_add_test(t, lost_bytes_look_like_what_was_there);
    tcase_add_test(t, lost_bytes_while_they_are_read);
    tcase_add_test(t, silent_holder_is_fenced);
    tcase_add_test(t, no_answer_from_old_knowledge);
    tcase_add_test(t, stop_commits_everything);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
