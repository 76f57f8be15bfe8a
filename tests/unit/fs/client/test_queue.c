/* Names that change here before the log has them, under directory leases (RULES D1). */
#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

enum { RENAME_FLAG_EXCHANGE = 2 };

/* ---- here first ------------------------------------------------------------------------------ */

START_TEST(answered_at_once)
{
    unsigned sent = w.mounts[0].sends;
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(chmod_op(f.ino, 0600));
    (void)at_once(op_of(CLIENT_FLUSH, f));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(rename_op("a", home, "b"));
    (void)at_once(make_op("d", S_IFDIR | 0755));
    (void)at_once(rename_op("d", home, "e"));
    (void)at_once(named_op(CLIENT_RMDIR, "e"));
    ck_assert_uint_eq(at_once(named_op(CLIENT_LOOKUP, "b"))->attr.mode, S_IFREG | 0600);
    (void)at_once(named_op(CLIENT_UNLINK, "b"));
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(looked_up(home, "a") + looked_up(home, "b"), 0);
    ck_assert_uint_eq(looked_up(home, "d") + looked_up(home, "e"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(sent_in_order)
{
    const Fs__Op__BodyCase expected[] = {FS__OP__BODY_MAKE, FS__OP__BODY_SETATTR,
                                         FS__OP__BODY_RENAME, FS__OP__BODY_MAKE,
                                         FS__OP__BODY_UNLINK};
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(chmod_op(f.ino, 0600));
    (void)at_once(rename_op("a", home, "b"));
    (void)at_once(make_op("d", S_IFDIR | 0755));
    (void)at_once(named_op(CLIENT_RMDIR, "d"));
    world_pass(&w, 20 * TIME_MS);
    Fs__Op__BodyCase kinds[32];
    ck_assert_uint_eq(kinds_pending(kinds, 32), 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(kinds[i], expected[i]);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
}
END_TEST

START_TEST(nothing_looks_different_afterwards)
{
    /* Goal: what was answered here is what apply makes of it. */
    struct file f = make("a");
    (void)at_once(chmod_op(f.ino, 0600));
    Fs__Attr here = at_once(rename_op("a", home, "b"))->attr, there = FS__ATTR__INIT;
    here = at_once(named_op(CLIENT_LOOKUP, "b"))->attr;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &there), 0);
    ck_assert_uint_eq(here.ino, there.ino);
    ck_assert_uint_eq(here.mode, there.mode);
    ck_assert_uint_eq(here.nlink, there.nlink);
    ck_assert_int_eq(here.mtime, there.mtime);
    ck_assert_int_eq(here.ctime, there.ctime);
    ck_assert_int_eq(here.btime, there.btime);
}
END_TEST

START_TEST(times_are_newer_than_what_a_read_tells)
{
    /* Goal: bytes that are read come with the attributes of the log, which does not know yet what
     * time was set here. */
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    w.no_commit = true;
    struct client_op op = op_of(CLIENT_SETATTR, f);
    op.set = FS_SETATTR_ATIME | FS_SETATTR_MTIME;
    op.atime = INT64_C(9000000000000000000);
    op.mtime = 7;
    (void)at_once(op);
    struct client_op read = op_of(CLIENT_READ, f);
    read.size = 100;
    ck_assert_int_eq(world_do(&w, 0, read)->err, 0);
    ck_assert_int_ne(applied_attr(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).atime, op.atime);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(applied_attr(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).atime, op.atime);
}
END_TEST

START_TEST(changes_of_what_has_no_name_are_the_leaders)
{
    /* Goal: who holds the last name's file open may change it, but not ahead of the log: the file
     * ends with its last close, and a change that comes behind that would be refused, and with it
     * all that was done after (tests/posix, data.unlinked_fifo). */
    struct file f = make("a");
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "a"))->err, 0);
    uint64_t id = world_start(&w, 0, chmod_op(f.ino, 0600));
    ck_assert(!answered(id));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, f))->err, 0);
    (void)make("b");
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_ne(looked_up(home, "b"), 0);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).session, session);
}
END_TEST

START_TEST(removed_directory_that_is_open)
{
    /* Goal: fstat(2) of a directory that was removed here goes on, whatever the log knows. */
    uint64_t ino = at_once(make_op("d", S_IFDIR | 0755))->attr.ino;
    (void)at_once(named_op(CLIENT_RMDIR, "d"));
    ck_assert_uint_eq(attr_here(ino).nlink, 0);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(attr_here(ino).nlink, 0);
}
END_TEST

START_TEST(removed_directory_takes_no_names_along)
{
    /* Goal: there is but one notification for names, and the kernel drops all that it has by it:
     * rm -r looked each file up again. */
    uint64_t parent = home;
    home = at_once(make_op("d", S_IFDIR | 0755))->attr.ino;
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "absent"))->err, ENOENT);
    home = parent;
    unsigned told = w.mounts[0].notified_names;
    (void)at_once(named_op(CLIENT_RMDIR, "d"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(looked_up(parent, "d"), 0);
    ck_assert_uint_eq(w.mounts[0].notified_names, told);
}
END_TEST

START_TEST(set_id_bits_fall_ahead_of_the_log)
{
    /* Goal: before the bytes here, and before them in the log. */
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    world_pass(&w, 2 * TIME_S);
    w.no_commit = true;
    unsigned sent = w.mounts[0].sends;
    (void)at_once(chmod_op(f.ino, 06777));
    struct client_op op = write_op(f, "by a user");
    op.kill_setid = true;
    ck_assert_uint_eq(at_once(op)->written, 9);
    ck_assert_uint_eq(attr_here(f.ino).mode, S_IFREG | 0777);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    w.no_commit = false;
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    Fs__Attr here = attr_here(f.ino), there = applied_attr(f.ino);
    expect_same(&here, &there);
    ck_assert_uint_eq(there.size, 9);

    (void)at_once(chmod_op(f.ino, 06767));
    op = op_of(CLIENT_SETATTR, f);
    op.set = CLIENT_SET_SIZE;
    op.size = 3;
    op.kill_setid = true;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_uint_eq(attr_here(f.ino).mode, S_IFREG | 02767);
    (void)at_once(chmod_op(f.ino, 06777));
    op.set = FS_SETATTR_UID;
    op.uid = 12001;
    ck_assert_uint_eq(at_once(op)->attr.mode, S_IFREG | 0777);
    world_pass(&w, 20 * TIME_MS);
    here = attr_here(f.ino);
    there = applied_attr(f.ino);
    expect_same(&here, &there);
    ck_assert_uint_eq(there.uid, 12001);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(set_id_bits_fall_first_in_the_log)
{
    struct file f = make("a");
    world_pass(&w, 2 * TIME_S);
    w.no_commit = true;
    (void)at_once(chmod_op(f.ino, 06777));
    struct client_op op = write_op(f, "by a user");
    op.kill_setid = true;
    (void)at_once(op);
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_pass(&w, 20 * TIME_MS);
    Fs__Op__BodyCase kinds[4];
    ck_assert_uint_eq(kinds_pending(kinds, 4), 3);
    ck_assert_int_eq(kinds[0], FS__OP__BODY_SETATTR);
    ck_assert_int_eq(kinds[1], FS__OP__BODY_SETATTR);
    ck_assert_int_eq(kinds[2], FS__OP__BODY_COMMIT);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).mode, S_IFREG | 0777);
    ck_assert_uint_eq(applied_attr(f.ino).size, 9);
}
END_TEST

START_TEST(minimal_acl_is_a_mode)
{
    /* Goal: what cp -a does to each file. user::rw-, group::r--, other::r-- */
    static const uint8_t bytes[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 4,   0,
                                    4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};
    struct file f = make("a");
    (void)at_once(chmod_op(f.ino, 04777));
    struct client_op op = op_of(CLIENT_SETXATTR, f);
    op.name = "system.posix_acl_access";
    op.data = blob_copy(bytes, sizeof bytes);
    (void)at_once(op);
    Fs__Attr here = attr_here(f.ino);
    ck_assert_uint_eq(here.mode, S_IFREG | 04644);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&here, &there);
    struct client_op removal = op_of(CLIENT_REMOVEXATTR, (struct file){home, 0});
    removal.name = "system.posix_acl_default";
    w.mounts[0].silent = false;
    uint64_t d = at_once(make_op("d", S_IFDIR | 0755))->attr.ino;
    removal.ino = d;
    (void)at_once(removal);
    here = attr_here(d);
    world_pass(&w, 20 * TIME_MS);
    there = applied_attr(d);
    expect_same(&here, &there);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(more_than_a_mode_is_the_leaders)
{
    struct file f = make("a");
    struct client_op op = op_of(CLIENT_SETXATTR, f);
    op.name = "user.x";
    op.data = blob_copy("y", 1);
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert(applied_attr(f.ino).has_xattrs);
}
END_TEST

START_TEST(small_copies_are_written)
{
    /* Goal: a copy to a file that nobody asked to be safe does not wait for its name. */
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    struct file g = make("b");
    struct client_op op = op_of(CLIENT_COPY, f);
    op.size = 1 << 20;
    op.to_ino = g.ino;
    op.to_fh = g.fh;
    unsigned sent = w.mounts[0].sends;
    uint64_t id = world_start(&w, 0, op);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, EOPNOTSUPP);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0); /* that is committed */
    ck_assert_uint_eq(applied_attr(g.ino).size, 5);
}
END_TEST

/* ---- what waits ------------------------------------------------------------------------------ */

START_TEST(fsync_waits_for_name_and_bytes)
{
    /* Goal: both are on their way at once, the name in front. */
    Fs__Op__BodyCase kinds[4];
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    ck_assert_uint_eq(kinds_pending(kinds, 4), 2);
    ck_assert_int_eq(kinds[0], FS__OP__BODY_MAKE);
    ck_assert_int_eq(kinds[1], FS__OP__BODY_COMMIT);
    unsigned commits = w.commits_seen;
    w.no_commit = false;
    world_settle(&w);
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

START_TEST(answers_in_the_other_order)
{
    /* Goal: over a new link; the time of the write counts, not the one that was set before it. */
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    w.no_commit = true;
    struct client_op times = op_of(CLIENT_SETATTR, f);
    times.set = FS_SETATTR_ATIME | FS_SETATTR_MTIME;
    times.atime = times.mtime = 7;
    (void)at_once(times);
    (void)at_once(write_op(f, "more bytes"));
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(w.pending.count, 2);
    w.mute = w.leader;
    w.no_commit = false;
    world_settle(&w);
    ck_assert_uint_eq(w.pending.count, 0);
    w.mute = 0;
    world_link_down(&w, 0, w.leader);
    world_link_up(&w, 0, w.leader, 1);
    while (w.messages.next->next != &w.messages) /* the leader says that it leads */
        ck_assert(world_step(&w));
    ck_assert(world_step(&w)); /* and so both are sent again */
    list_push_back(&w.messages, list_pop_front(&w.messages));
    unsigned commits = w.commits_seen;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(w.commits_seen, commits);
    ck_assert_int_ne(applied_attr(f.ino).mtime, 7);
    ck_assert_int_eq(attr_here(f.ino).mtime, applied_attr(f.ino).mtime);
}
END_TEST

START_TEST(fsync_of_a_directory_waits)
{
    w.no_commit = true;
    (void)make("a");
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNCDIR, (struct file){home, 0}));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_ne(looked_up(home, "a"), 0);
}
END_TEST

START_TEST(rename_follows_the_bytes)
{
    /* Goal: RULES B11: whoever sees the new name sees what had been written before. */
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(rename_op("a", home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RENAME), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
}
END_TEST

START_TEST(rename_follows_the_bytes_of_what_is_gone)
{
    /* Goal: whatever the log has when this mount dies, a file has under its new name what was
     * written before, though here it is removed already. */
    unsigned commits = w.commits_seen;
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(rename_op("a", home, "b"));
    (void)at_once(named_op(CLIENT_UNLINK, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RENAME), 0);
    w.no_commit = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_eq(w.commits_seen, commits + 1);
    ck_assert_uint_eq(looked_up(home, "a") + looked_up(home, "b"), 0);
    struct client_stats s = client_stats(w.mounts[0].client, w.now);
    ck_assert_uint_eq(s.dirty_bytes + s.inflight_bytes, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(recall_waits_for_the_queue)
{
    w.no_commit = true;
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    uint64_t id = world_start(&w, 1, named_op(CLIENT_LOOKUP, "a"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RELEASE), 0);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.ino, f.ino);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(recall_waits_for_attributes)
{
    /* Goal: who looks a name up finds the attributes that were set ahead of the log. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "a"), f.ino);
    (void)at_once(chmod_op(f.ino, 0600));
    const struct world_answer *a = world_do(&w, 1, named_op(CLIENT_LOOKUP, "a"));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.mode, S_IFREG | 0600);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(recall_does_not_wait_for_a_subdirectory)
{
    /* Goal: the lease of a directory goes back however busy this mount is below it, in directories
     * that have leases of their own. */
    uint64_t sub = at_once(make_op("sub", S_IFDIR | 0755))->attr.ino, top = home;
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    home = sub;
    (void)at_once(op_of(CLIENT_RELEASE, make("a")));
    home = top;
    uint64_t id = world_start(&w, 1, named_op(CLIENT_LOOKUP, "none"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_RELEASE), 1);
    struct client_op look = named_op(CLIENT_LOOKUP, "a"); /* that one waits */
    look.parent = sub;
    uint64_t below = world_start(&w, 1, look);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, id)->err, ENOENT);
    ck_assert_int_eq(world_find(&w, 1, below)->err, 0);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(leader_comes_after_the_queue)
{
    /* Goal: what only the leader can do is not in the log before what was done before it. */
    w.no_commit = true;
    struct file f = make("a");
    uint64_t id = world_start(&w, 0, link_op(f, shared, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert(!answered(id));
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_LINK), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "b"), f.ino);
}
END_TEST

START_TEST(end_waits_for_the_queue)
{
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_stop(&w, 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert(w.mounts[0].stopped);
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_uint_eq(looked_up(home, "a"), f.ino);
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &attr), 0);
    ck_assert_uint_eq(attr.size, 5);
}
END_TEST

START_TEST(end_without_a_leader)
{
    /* Goal: who stops the mount is told of names that were not committed, as of bytes. */
    w.mounts[0].silent = true;
    (void)make("a");
    world_stop(&w, 0);
    world_pass(&w, 40 * TIME_S); /* longer than it tries */
    ck_assert(w.mounts[0].stopped);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).uncommitted, 1);
}
END_TEST

START_TEST(new_leader_gets_the_queue)
{
    w.no_commit = true;
    (void)make("a");
    (void)make("b");
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_MAKE), 2);
    world_new_leader(&w, 2, false); /* it has none of them */
    w.no_commit = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_ne(looked_up(home, "a"), 0);
    ck_assert_uint_ne(looked_up(home, "b"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(lease_that_ended_before_its_answer_and_an_election)
{
    /* Goal: a lease that was asked back before the mount knew of it does not come to life by the
     * late answer, though the same node has led another term since (tally-sim seed 3106). */
    uint64_t session = session_here();
    struct client_op ours = make_op("a", S_IFREG | 0644), theirs = make_op("b", S_IFREG | 0644);
    ours.parent = theirs.parent = shared;
    w.mounts[0].late = true;
    uint64_t id = world_start(&w, 0, ours);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, id));
    ck_assert_uint_eq(applied_attr(shared).lease_session, session);
    ck_assert_int_eq(world_do(&w, 1, theirs)->err, 0);
    ck_assert_uint_eq(applied_attr(shared).lease_session, 0);
    ck_assert_uint_eq(w.leader, 1);
    world_new_leader(&w, 1, true);
    world_pass(&w, 2 * TIME_S);
    w.mounts[0].late = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    struct client_op look = named_op(CLIENT_LOOKUP, "c");
    look.parent = shared;
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
    ours.name = "c";
    ck_assert_int_eq(world_do(&w, 0, ours)->err, 0);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(session_here(), session);
    ck_assert_int_eq(world_do(&w, 1, look)->err, 0);
}
END_TEST

START_TEST(idle_lease_stays_until_its_file_is_in_the_log)
{
    /* Goal: what was made ahead of the log is written to without asking a leader that has not
     * heard of it, however long there was none. */
    w.no_commit = true;
    struct file f = make("a");
    world_pass(&w, 10 * TIME_S);
    world_new_leader(&w, 2, false);
    world_pass(&w, 20 * TIME_MS);
    uint64_t id = world_start(&w, 0, write_op(f, "bytes"));
    world_settle(&w);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    w.no_commit = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_eq(applied_attr(f.ino).size, 5);
}
END_TEST

START_TEST(idle_lease_goes_back_once_its_file_is_in_the_log)
{
    w.no_commit = true;
    struct file f = make("a");
    world_pass(&w, 10 * TIME_S);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).lease_session, session_here());
    world_pass(&w, 10 * TIME_S);
    ck_assert_uint_eq(applied_attr(f.ino).lease_session, 0);
}
END_TEST

/* ---- what others know, and what is lost ------------------------------------------------------ */

START_TEST(renamed_by_the_leader_is_private_no_more)
{
    /* Goal: what got a name in a directory of which the lease is not here may be known to others:
     * its changes are the leader's (tally-sim --seed 113). */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    ck_assert_int_eq(world_do(&w, 0, rename_op("a", shared, "a"))->err, 0);
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(shared, "a"), f.ino);
    uint64_t session = client_stats(w.mounts[0].client, w.now).session;
    ck_assert_uint_eq(home_lease(), session); /* still */
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, chmod_op(f.ino, 0600));
    world_settle(&w);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

START_TEST(changed_while_the_end_of_its_name_waits)
{
    /* Goal: Linux keeps them apart unless the caller was killed, so this does: a change of a file
     * that was answered before its last name goes comes before that in the log (tally-sim seed
     * 1010001322). */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    struct client_op op = make_op("b", S_IFREG | 0644);
    op.parent = shared;
    const struct world_answer *made = world_do(&w, 0, op);
    struct file g = {made->attr.ino, made->fh};
    ck_assert_int_eq(world_do(&w, 0, write_op(g, "text"))->err, 0);
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true; /* of its bytes, which come before its name */
    op = rename_op("b", home, "a");
    op.parent = shared;
    uint64_t id = world_start(&w, 0, op), session = session_here();
    world_settle(&w);
    ck_assert(!answered(id));
    ck_assert_int_eq(at_once(chmod_op(f.ino, 0600))->err, 0);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(looked_up(home, "a"), g.ino);
    ck_assert_uint_eq(session_here(), session);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(exchanged_by_the_leader_is_private_no_more)
{
    struct file f = make("a"), g = make("b");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    struct client_op op = rename_op("a", home, "b");
    op.flags = RENAME_FLAG_EXCHANGE;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    w.no_commit = true;
    uint64_t first = world_start(&w, 0, chmod_op(f.ino, 0600));
    uint64_t second = world_start(&w, 0, chmod_op(g.ino, 0600));
    ck_assert(!answered(first) && !answered(second));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(lost_with_the_session)
{
    /* Goal: who asks is told once, and the log says it. */
    struct file f = make("kept");
    world_pass(&w, 20 * TIME_MS);
    w.mounts[0].silent = true;
    struct file g = make("a");
    (void)at_once(chmod_op(f.ino, 0600));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_settle(&w);
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_ge(w.mounts[0].logs, 1);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, g))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    struct client_op dir = op_of(CLIENT_FSYNCDIR, (struct file){home, 0});
    ck_assert_int_eq(world_do(&w, 0, dir)->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, dir)->err, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "a"))->err, ENOENT);
    const struct world_answer *a = world_do(&w, 0, named_op(CLIENT_LOOKUP, "kept"));
    ck_assert_uint_eq(a->attr.mode, S_IFREG | 0644);
}
END_TEST

START_TEST(lost_of_a_file_that_is_closed)
{
    /* Goal: a file that nobody had open then tells it at the next fsync as well, once. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 20 * TIME_MS);
    w.mounts[0].silent = true;
    (void)at_once(chmod_op(f.ino, 0600));
    world_end_session(&w, session_here());
    world_settle(&w);
    w.mounts[0].silent = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_eq(applied_attr(f.ino).mode, S_IFREG | 0644);
    f.fh = world_do(&w, 0, op_of(CLIENT_OPEN, f))->fh;
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
}
END_TEST

START_TEST(fsync_that_waits_when_it_is_lost)
{
    w.mounts[0].silent = true;
    struct file f = make("a");
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_settle(&w);
    ck_assert(!answered(id));
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
}
END_TEST

START_TEST(change_that_waits_when_it_is_lost)
{
    /* Goal: what goes through the leader comes behind what was done before it, so it is not done
     * when that is lost: here an old file goes once the new one is there. */
    struct client_op old = make_op("old", S_IFREG | 0644);
    old.parent = shared;
    ck_assert_int_eq(world_do(&w, 1, old)->err, 0);
    world_pass(&w, 10 * TIME_S); /* its write lease goes back */
    struct client_op look = named_op(CLIENT_LOOKUP, "old"), unlink = look;
    look.parent = unlink.parent = shared;
    unlink.kind = CLIENT_UNLINK;
    ck_assert_int_eq(world_do(&w, 0, look)->err, 0);
    w.mounts[0].silent = true;
    (void)make("new");
    uint64_t id = world_start(&w, 0, unlink);
    world_end_session(&w, session_here());
    world_settle(&w);
    ck_assert(!answered(id));
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
    ck_assert_uint_eq(looked_up(home, "new"), 0);
    ck_assert_uint_ne(looked_up(shared, "old"), 0);
}
END_TEST

START_TEST(make_that_waits_for_a_lease_when_it_is_lost)
{
    /* Goal: likewise of what waits for the lease of its directory. */
    struct client_op op = make_op("done", S_IFDIR | 0755);
    op.parent = shared;
    w.mounts[0].silent = true;
    (void)make("new");
    uint64_t id = world_start(&w, 0, op);
    world_end_session(&w, session_here());
    world_settle(&w);
    ck_assert(!answered(id));
    w.mounts[0].silent = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
    ck_assert_uint_eq(looked_up(home, "new"), 0);
    ck_assert_uint_eq(looked_up(shared, "done"), 0);
}
END_TEST

START_TEST(names_of_the_session_before)
{
    /* Goal: places count from 1 in each session; a name that was changed at a higher place in the
     * one before is not on its way (tally-sim --seed 23675). */
    uint64_t old = home;
    for (char name[] = "a"; name[0] < 'k'; name[0]++)
        (void)at_once(op_of(CLIENT_RELEASE, make(name)));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "j"))->err, 0);
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 1, named_op(CLIENT_UNLINK, "j"))->err, 0);
    warm_up();
    w.no_commit = true;
    (void)make("new");
    struct client_op look = named_op(CLIENT_LOOKUP, "j");
    look.parent = old;
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(rename_that_waits_for_a_lease_is_done_once)
{
    /* Goal: while the lease of the new directory is asked for, the leader is not asked as well. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 20 * TIME_MS);
    struct client_op op = make_op("b", S_IFREG | 0644), look = named_op(CLIENT_LOOKUP, "a");
    op.parent = look.parent = shared;
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
    w.no_commit = true;
    uint64_t making = world_start(&w, 0, op);
    uint64_t rename = world_start(&w, 0, rename_op("a", shared, "a"));
    world_settle(&w);
    ck_assert(!answered(making) && !answered(rename));
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, making)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "a"), f.ino);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client queue");
    TCase *t = tcase_create("here first");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, answered_at_once);
    tcase_add_test(t, sent_in_order);
    tcase_add_test(t, nothing_looks_different_afterwards);
    tcase_add_test(t, times_are_newer_than_what_a_read_tells);
    tcase_add_test(t, changes_of_what_has_no_name_are_the_leaders);
    tcase_add_test(t, removed_directory_that_is_open);
    tcase_add_test(t, removed_directory_takes_no_names_along);
    tcase_add_test(t, set_id_bits_fall_ahead_of_the_log);
    tcase_add_test(t, set_id_bits_fall_first_in_the_log);
    tcase_add_test(t, minimal_acl_is_a_mode);
    tcase_add_test(t, more_than_a_mode_is_the_leaders);
    tcase_add_test(t, small_copies_are_written);
    suite_add_tcase(suite, t);
    t = tcase_create("what waits");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, fsync_waits_for_name_and_bytes);
    tcase_add_test(t, answers_in_the_other_order);
    tcase_add_test(t, fsync_of_a_directory_waits);
    tcase_add_test(t, rename_follows_the_bytes);
    tcase_add_test(t, rename_follows_the_bytes_of_what_is_gone);
    tcase_add_test(t, recall_waits_for_the_queue);
    tcase_add_test(t, recall_waits_for_attributes);
    tcase_add_test(t, recall_does_not_wait_for_a_subdirectory);
    tcase_add_test(t, leader_comes_after_the_queue);
    tcase_add_test(t, end_waits_for_the_queue);
    tcase_add_test(t, end_without_a_leader);
    tcase_add_test(t, new_leader_gets_the_queue);
    tcase_add_test(t, lease_that_ended_before_its_answer_and_an_election);
    tcase_add_test(t, idle_lease_stays_until_its_file_is_in_the_log);
    tcase_add_test(t, idle_lease_goes_back_once_its_file_is_in_the_log);
    suite_add_tcase(suite, t);
    t = tcase_create("what others know, and what is lost");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, renamed_by_the_leader_is_private_no_more);
    tcase_add_test(t, changed_while_the_end_of_its_name_waits);
    tcase_add_test(t, exchanged_by_the_leader_is_private_no_more);
    tcase_add_test(t, lost_with_the_session);
    tcase_add_test(t, lost_of_a_file_that_is_closed);
    tcase_add_test(t, fsync_that_waits_when_it_is_lost);
    tcase_add_test(t, change_that_waits_when_it_is_lost);
    tcase_add_test(t, make_that_waits_for_a_lease_when_it_is_lost);
    tcase_add_test(t, names_of_the_session_before);
    tcase_add_test(t, rename_that_waits_for_a_lease_is_done_once);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
