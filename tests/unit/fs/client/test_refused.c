/* COMMITs that the log refuses, and names that follow them. */
#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

/* The log ends the write lease, and the mount is not told: no correct leader does that. */
static void end_lease(uint64_t ino)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Release release = FS__RELEASE__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends = &end;
    end.ino = ino;
    end.epoch = applied_attr(ino).lease_epoch;
    ck_assert_int_eq(fs_lease_last_c(w.state, ino, &end.last_c), 0);
    release.n_leases = 1;
    release.leases = &ends;
    op.session = session_here();
    op.body_case = FS__OP__BODY_RELEASE;
    op.release = &release;
    world_append(&w, &op);
}

START_TEST(name_does_not_go_without_its_bytes)
{
    /* Goal: RULES B11: what was there under that name stays, and whoever relied on it is told. */
    struct file old = make("target");
    (void)at_once(write_op(old, "old"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, old))->err, 0);
    (void)at_once(op_of(CLIENT_RELEASE, old));
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    end_lease(f.ino);
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(rename_op("a", home, "target"));
    (void)at_once(make_op("behind", S_IFDIR | 0755));
    uint64_t session = session_here();
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = false;
    world_pass(&w, 5 * TIME_S);
    ck_assert_uint_eq(looked_up(home, "target"), old.ino);
    ck_assert_uint_eq(looked_up(home, "a"), f.ino);
    ck_assert_uint_eq(looked_up(home, "behind"), 0);
    ck_assert_uint_ne(session_here(), session);
    ck_assert_uint_ge(w.mounts[0].logs, 1);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, EIO);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "a"))->err, 0);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
}
END_TEST

START_TEST(names_of_others_go_on)
{
    /* Goal: a file that is lost by itself takes nothing else along. */
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    uint64_t session = session_here();
    w.no_commit = true;
    end_lease(f.ino);
    (void)at_once(write_op(f, "bytes"));
    uint64_t id = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    struct file g = make("b");
    (void)at_once(rename_op("b", home, "c"));
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EIO);
    ck_assert_uint_eq(looked_up(home, "c"), g.ino);
    ck_assert_uint_eq(session_here(), session);
}
END_TEST

START_TEST(nothing_is_lost_of_what_was_removed)
{
    /* Goal: the log has the bytes and the removal, and a leader that knows no more of the COMMIT
     * refuses it: that is no loss. */
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.mounts[0].late = true;
    (void)at_once(write_op(f, "bytes"));
    (void)world_start(&w, 0, op_of(CLIENT_FLUSH, f));
    world_settle(&w);
    ck_assert_uint_eq(applied_attr(f.ino).size, 5);
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    uint64_t id = world_start(&w, 0, (struct client_op){.kind = CLIENT_SYNC_ALL});
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert(!answered(id));
    world_link_down(&w, 0, 1); /* what it said is lost */
    world_new_leader(&w, 2, true);
    w.mounts[0].late = false;
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 2 * TIME_S);
    ck_assert(answered(id));
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
    struct client_stats s = client_stats(w.mounts[0].client, w.now);
    ck_assert_uint_eq(s.dirty_bytes + s.inflight_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client refused");
    TCase *t = tcase_create("commits");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, name_does_not_go_without_its_bytes);
    tcase_add_test(t, names_of_others_go_on);
    tcase_add_test(t, nothing_is_lost_of_what_was_removed);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
