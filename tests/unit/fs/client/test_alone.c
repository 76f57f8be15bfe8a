/* Files that this mount did not make, changed and removed before the log has it, since the leader
 * says that nobody else knows them (RULES D1). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

/* ---- removed though this mount did not make it -------------------------------------------------
 */

static uint64_t theirs[4];

/* Mount 1 made files in `shared`, and is promised nothing of them any more. */
static void files_of_the_other(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "f%u", i);
        struct client_op op = make_op(name, S_IFREG | 0644);
        op.parent = shared;
        const struct world_answer *a = world_do(&w, 1, op);
        struct file f = {a->attr.ino, a->fh};
        theirs[i] = f.ino;
        (void)world_do(&w, 1, op_of(CLIENT_RELEASE, f));
    }
    world_pass(&w, 3 * TIME_S);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(world_do(&w, 0, chmod_op(theirs[i], 0600))->err, 0);
    home = shared;
}

/* And mount 0 listed them. */
static void made_by_the_other(unsigned count)
{
    files_of_the_other(count);
    ck_assert_uint_eq(world_do(&w, 0, list_op(0, 100))->entries, count);
}

START_TEST(removed_when_nobody_else_knows_it)
{
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    unsigned sent = w.mounts[0].sends;
    (void)at_once(named_op(CLIENT_UNLINK, "f1"));
    (void)at_once(named_op(CLIENT_UNLINK, "f2"));
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    home = WORLD_ROOT;
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "shared"))->err, 0);
    size_t leases = client_stats(w.mounts[0].client, w.now).leases;
    (void)at_once(named_op(CLIENT_RMDIR, "shared"));
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).leases, leases);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(looked_up(WORLD_ROOT, "shared"), 0);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).leases, leases - 1);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(removed_by_the_leader_when_others_know_it)
{
    /* Goal: whoever was promised its attributes hears of it before it is gone. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, named_op(CLIENT_UNLINK, "f1"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert(answered(id));
    ck_assert_int_ne(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
}
END_TEST

START_TEST(look_through_an_old_descriptor)
{
    /* Goal: another mount has had it open all the time, and asks when it is removed here and not
     * yet in the log. It is told that it has no name, and keeps it. */
    made_by_the_other(3);
    struct client_op open = op_of(CLIENT_OPEN, (struct file){theirs[1], 0});
    open.flags = O_RDONLY;
    struct file f = {theirs[1], world_do(&w, 1, open)->fh};
    ck_assert_int_eq(world_do(&w, 0, chmod_op(f.ino, 0640))->err, 0); /* it is promised nothing */
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    (void)at_once(named_op(CLIENT_UNLINK, "f1"));
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, f));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.nlink, 0);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_RELEASE, f))->err, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

static struct file open_by(int m, uint64_t ino)
{
    struct client_op open = op_of(CLIENT_OPEN, (struct file){ino, 0});
    open.flags = O_RDWR;
    return (struct file){ino, world_do(&w, m, open)->fh};
}

/* Both mounts have theirs[1] open, and mount 1 is promised nothing of it. */
static void both_have_it_open(struct file *ret_here, struct file *ret_there)
{
    made_by_the_other(3);
    *ret_there = open_by(1, theirs[1]);
    ck_assert_int_eq(world_do(&w, 0, chmod_op(theirs[1], 0640))->err, 0);
    *ret_here = open_by(0, theirs[1]);
}

static const struct {
    bool renamed, looked_at;
} before_it_is_written[] = {{false, false}, {true, false}, {false, true}};

START_TEST(read_through_an_old_descriptor)
{
    /* Goal: what was written here and not sent yet when the last name went is not lost to who has
     * the file open elsewhere: whatever else was done here since the leader said that nobody else
     * knows it. */
    struct file here, there;
    both_have_it_open(&here, &there);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    if (before_it_is_written[_i].renamed)
        (void)at_once(rename_op("f1", home, "f9"));
    if (before_it_is_written[_i].looked_at)
        ck_assert_uint_eq(at_once(named_op(CLIENT_LOOKUP, "f1"))->attr.ino, theirs[1]);
    ck_assert_int_eq(world_do(&w, 0, write_op(here, "0123456789"))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, here))->err, 0);
    (void)at_once(named_op(CLIENT_UNLINK, before_it_is_written[_i].renamed ? "f9" : "f1"));
    struct client_op read = op_of(CLIENT_READ, there);
    read.size = 100;
    const struct world_answer *a = world_do(&w, 1, read);
    ck_assert_int_eq(a->err, 0);
    ck_assert(a->bytes != NULL && a->bytes->size == 10);
    ck_assert_mem_eq(a->bytes->data, "0123456789", 10);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

static struct client_op lock_op(struct file f, enum client_op_kind kind, enum client_lock_type type)
{
    struct client_op op = op_of(kind, f);
    op.lock = (struct client_lock){.owner = 1, .last = 99, .type = type};
    return op;
}

START_TEST(locked_through_an_old_descriptor)
{
    /* Goal: the log has a lock, the unlock was kept here, and the last name goes: who has the file
     * open elsewhere gets the lock (tally-sim seed 800003737). */
    struct file here, there;
    both_have_it_open(&here, &there);
    ck_assert_int_eq(world_do(&w, 0, lock_op(here, CLIENT_SETLK, CLIENT_LOCK_WRITE))->err, 0);
    ck_assert_int_eq(world_do(&w, 1, lock_op(there, CLIENT_SETLK, CLIENT_LOCK_WRITE))->err, EAGAIN);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, write_op(here, "0123456789"))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, here))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, lock_op(here, CLIENT_FLUSH, CLIENT_LOCK_NONE))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, here))->err, 0);
    (void)at_once(named_op(CLIENT_UNLINK, "f1"));
    ck_assert_int_eq(world_do(&w, 1, lock_op(there, CLIENT_SETLK, CLIENT_LOCK_WRITE))->err, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(look_under_a_new_leader)
{
    /* Goal: the new leader knows nothing of what the old one told; the lease is in the log. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    w.no_commit = true;
    (void)at_once(named_op(CLIENT_UNLINK, "f1"));
    world_new_leader(&w, 2, false);
    w.no_commit = false;
    w.mounts[0].silent = true;
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}));
    world_pass(&w, 500 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.mounts[0].silent = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert(world_find(&w, 1, id) != NULL);
    ck_assert_int_ne(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(looked_up(shared, "f1"), 0);
}
END_TEST

START_TEST(not_alone_while_a_mount_is_unsure)
{
    /* Goal: RULES L8: the new leader does not know what the old one promised to a mount that it has
     * not heard of yet, and that goes on relying on it until its lease is over. */
    made_by_the_other(3);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    world_link_down(&w, 1, 1);
    world_link_down(&w, 1, 2);
    world_new_leader(&w, 2, true);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "f1"))->err, 0);
    uint64_t id = world_start(&w, 0, named_op(CLIENT_UNLINK, "f1"));
    world_pass(&w, 500 * TIME_MS);
    ck_assert(!answered(id));
    world_pass(&w, 5 * TIME_S);
    ck_assert(answered(id));
}
END_TEST

START_TEST(look_at_a_removed_directory)
{
    /* Goal: its lease stays until its removal is committed. */
    made_by_the_other(1);
    uint64_t session = session_here();
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    home = WORLD_ROOT;
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "shared"))->err, 0);
    w.no_commit = true;
    (void)at_once(named_op(CLIENT_RMDIR, "shared"));
    uint64_t id = world_start(&w, 1, op_of(CLIENT_GETATTR, (struct file){shared, 0}));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(world_find(&w, 1, id) == NULL);
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    ck_assert_uint_eq(world_find(&w, 1, id)->attr.nlink, 0);
    ck_assert_uint_eq(session_here(), session);
}
END_TEST

/* The question leaves, and its answer comes later. */
static void list_with_attributes(void)
{
    struct client_op op = list_op(0, 100);
    op.plus = true;
    ck_assert(!answered(world_start(&w, 0, op)));
}

/* Of what the other mount may know by now; it waits for the log. */
static void expect_asked(uint64_t ino)
{
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, chmod_op(ino, 0640));
    world_pass(&w, 50 * TIME_MS);
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}

START_TEST(told_when_it_gets_a_name_elsewhere)
{
    /* Goal: the answer that nobody else knows it is older than the link that is under way. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    list_with_attributes();
    uint64_t id = world_start(&w, 0, link_op((struct file){theirs[1], 0}, WORLD_ROOT, "z"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_when_it_goes_elsewhere)
{
    /* Goal: ... or than its rename, by a name that was not known here. */
    files_of_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, make_op("mine", S_IFREG | 0644))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(home_lease(), session_here());
    list_with_attributes();
    uint64_t id = world_start(&w, 0, rename_op("f1", WORLD_ROOT, "z"));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_when_it_is_gone)
{
    /* Goal: what is done to it after that must not come behind its end. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    list_with_attributes();
    (void)at_once(named_op(CLIENT_UNLINK, "f1"));
    world_settle(&w);
    ck_assert_int_ne(world_do(&w, 0, chmod_op(theirs[1], 0640))->err, 0);
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(told_under_an_earlier_lease)
{
    /* Goal: what was told ends with the lease, and the next one of the directory says nothing. */
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    (void)at_once(chmod_op(theirs[1], 0604));
    ck_assert_int_eq(world_do(&w, 1, named_op(CLIENT_LOOKUP, "f1"))->err, 0);
    ck_assert_uint_eq(home_lease(), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, make_op("mine", S_IFREG | 0644))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(told_in_an_earlier_session)
{
    made_by_the_other(2);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "f0"))->err, 0);
    (void)at_once(chmod_op(theirs[1], 0604));
    world_pass(&w, 50 * TIME_MS);
    world_end_session(&w, session_here());
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_GETATTR, (struct file){theirs[1], 0}))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, make_op("mine", S_IFREG | 0644))->err, 0);
    ck_assert_uint_eq(home_lease(), session_here());
    expect_asked(theirs[1]);
}
END_TEST

START_TEST(all_names_in_one_directory)
{
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).home, home);
    (void)at_once(link_op(f, home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).home, home);
    ck_assert_int_eq(world_do(&w, 0, link_op(f, shared, "c"))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "b"))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_UNLINK, "a"))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, 0);
    struct client_op rename = rename_op("c", shared, "d");
    rename.parent = shared;
    ck_assert_int_eq(world_do(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).home, shared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client alone");
    TCase *t = tcase_create("made by another");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, removed_when_nobody_else_knows_it);
    tcase_add_test(t, removed_by_the_leader_when_others_know_it);
    tcase_add_test(t, look_through_an_old_descriptor);
    tcase_add_loop_test(t, read_through_an_old_descriptor, 0,
                        sizeof before_it_is_written / sizeof *before_it_is_written);
    tcase_add_test(t, locked_through_an_old_descriptor);
    tcase_add_test(t, look_under_a_new_leader);
    tcase_add_test(t, not_alone_while_a_mount_is_unsure);
    tcase_add_test(t, look_at_a_removed_directory);
    tcase_add_test(t, told_when_it_gets_a_name_elsewhere);
    tcase_add_test(t, told_when_it_goes_elsewhere);
    tcase_add_test(t, told_when_it_is_gone);
    tcase_add_test(t, told_under_an_earlier_lease);
    tcase_add_test(t, told_in_an_earlier_session);
    tcase_add_test(t, all_names_in_one_directory);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
