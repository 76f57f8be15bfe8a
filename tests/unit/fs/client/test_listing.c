/* Listings that the kernel has not taken in when their names are asked back. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

enum { READER = 7, OTHER_READER = 8 };

static struct client_op list_plus(uint64_t dir, uint64_t reader, uint64_t after)
{
    return (struct client_op){.kind = CLIENT_READDIR,
                              .ino = dir,
                              .fh = reader,
                              .offset = after,
                              .size = 100,
                              .plus = true};
}

static void list_here(int m, uint64_t dir, uint64_t reader, size_t names)
{
    const struct world_answer *a = world_do(&w, m, list_plus(dir, reader, 0));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->entries, names);
    ck_assert(a->names_kept);
}

static uint64_t make_in(int m, uint64_t dir, const char *name)
{
    struct client_op op = make_op(name, S_IFREG | 0644);
    op.parent = dir;
    const struct world_answer *a = world_do(&w, m, op);
    ck_assert_int_eq(a->err, 0);
    return a->attr.ino;
}

/* `shared` holds a file "a" that nobody has the lease of, and mount 0 has been told its names. */
static void given_to_mount_0(void)
{
    (void)make_in(1, shared, "a");
    world_pass(&w, 3 * TIME_S); /* leases go back */
    list_here(0, shared, READER, 1);
}

static uint64_t remove_a(int m, uint64_t dir)
{
    return world_start(&w, m,
                       (struct client_op){.kind = CLIENT_UNLINK, .parent = dir, .name = "a"});
}

static void expect_done(int m, uint64_t id)
{
    world_settle(&w);
    const struct world_answer *a = world_find(&w, m, id);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
}

static void expect_waiting(int m, uint64_t id)
{
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, m, id));
}

START_TEST(names_are_dropped_when_the_listing_is_taken_in)
{
    /* Goal: Linux ties listed names to the epoch of when it takes them in, so a new epoch before
     * that does not reach them: they would be seen for seconds after another mount removed them. */
    given_to_mount_0();
    unsigned names = w.mounts[0].notified_names;
    uint64_t id = remove_a(1, shared);
    expect_waiting(1, id);
    ck_assert_uint_eq(w.mounts[0].notified_names, names);
    struct client_op look = {.kind = CLIENT_LOOKUP, .parent = shared, .name = "a"};
    ck_assert_int_eq(world_do(&w, 0, look)->err, 0);
    (void)world_start(&w, 0, list_plus(shared, READER, 1000));
    expect_done(1, id);
    ck_assert_uint_gt(w.mounts[0].notified_names, names);
    ck_assert_int_eq(world_do(&w, 0, look)->err, ENOENT);
}
END_TEST

START_TEST(another_reader_says_nothing_of_the_first)
{
    given_to_mount_0();
    list_here(0, shared, OTHER_READER, 1);
    uint64_t id = remove_a(1, shared);
    (void)world_start(&w, 0, list_plus(shared, OTHER_READER, 1000));
    expect_waiting(1, id);
    (void)world_start(&w, 0, list_plus(shared, READER, 1000));
    expect_done(1, id);
}
END_TEST

START_TEST(attributes_are_dropped_when_the_listing_is_taken_in)
{
    /* Goal: the same of what is listed: an inode that is new to Linux is made with the attributes
     * of the listing, and a notification of before that finds nothing. */
    given_to_mount_0();
    uint64_t ino = looked_up(shared, "a");
    list_here(0, shared, READER, 1);
    unsigned attrs = w.mounts[0].notified_attr;
    uint64_t id = world_start(&w, 1, chmod_op(ino, 0600));
    expect_waiting(1, id);
    ck_assert_uint_eq(w.mounts[0].notified_attr, attrs);
    (void)world_start(&w, 0, (struct client_op){.kind = CLIENT_RELEASEDIR, .fh = READER});
    expect_done(1, id);
    ck_assert_uint_gt(w.mounts[0].notified_attr, attrs);
}
END_TEST

START_TEST(a_notification_in_passing_is_not_the_last)
{
    /* Goal: a time of reading that another mount tells is no recall and waits for nothing; what is
     * recalled afterwards is told to Linux all the same, which has made the inode meanwhile. */
    struct client_op read = {.kind = CLIENT_READDIR, .ino = shared, .size = 10};
    given_to_mount_0();
    uint64_t ino = looked_up(shared, "a");
    world_pass(&w, 5 * TIME_S);
    (void)world_start(&w, 0, (struct client_op){.kind = CLIENT_FORGET, .ino = ino, .nlookup = 9});
    (void)world_do(&w, 1, read);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = ino};
    struct client_op read_file = {
        .kind = CLIENT_READ, .ino = ino, .fh = world_do(&w, 1, open)->fh, .size = 10};
    ck_assert_int_eq(world_do(&w, 1, read_file)->err, 0);
    world_pass(&w, 29 * TIME_S);
    unsigned attrs = w.mounts[0].notified_attr;
    for (int i = 0; i < 100 && w.mounts[0].notified_attr == attrs; i++) {
        list_here(0, shared, READER, 1);
        world_pass(&w, 50 * TIME_MS);
    }
    ck_assert_uint_eq(w.mounts[0].notified_attr, attrs + 1); /* of the time, in passing */
    attrs = w.mounts[0].notified_attr;
    (void)world_start(&w, 0, (struct client_op){.kind = CLIENT_RELEASEDIR, .fh = READER});
    ck_assert_int_eq(world_do(&w, 1, chmod_op(ino, 0600))->err, 0);
    ck_assert_uint_gt(w.mounts[0].notified_attr, attrs);
}
END_TEST

START_TEST(nothing_is_given_to_keep_while_a_recall_waits)
{
    /* Goal: new readers do not hold a recall up. */
    given_to_mount_0();
    uint64_t id = remove_a(1, shared);
    expect_waiting(1, id);
    const struct world_answer *a = world_do(&w, 0, list_plus(shared, OTHER_READER, 0));
    ck_assert_uint_eq(a->entries, 1);
    ck_assert(!a->names_kept);
    (void)world_start(&w, 0, list_plus(shared, READER, 1000));
    expect_done(1, id);
}
END_TEST

START_TEST(nothing_is_given_to_keep_while_a_lease_goes_back)
{
    /* Goal: a lease that waits for its last commit ends with that, and no listing is on its way
     * then. */
    (void)make_in(0, home, "a");
    world_pass(&w, 50 * TIME_MS);
    w.no_commit = true;
    (void)make_in(0, home, "b");
    uint64_t id = remove_a(1, home);
    expect_waiting(1, id);
    const struct world_answer *a = world_do(&w, 0, list_plus(home, READER, 0));
    ck_assert_uint_eq(a->entries, 2);
    ck_assert(!a->names_kept);
    w.no_commit = false;
    expect_done(1, id);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(a_reader_who_stops_is_not_waited_for)
{
    /* Goal: who reads one page and no more holds nobody up for longer than it may take Linux. */
    given_to_mount_0();
    unsigned names = w.mounts[0].notified_names;
    uint64_t id = remove_a(1, shared);
    world_pass(&w, 99 * TIME_MS);
    expect_waiting(1, id);
    ck_assert_uint_eq(w.mounts[0].notified_names, names);
    world_pass(&w, 2 * TIME_MS);
    expect_done(1, id);
    ck_assert_uint_gt(w.mounts[0].notified_names, names);
}
END_TEST

START_TEST(a_reader_who_stood_still_is_waited_for)
{
    /* Goal: when the machine stood still its readers did too, and have their time again. */
    given_to_mount_0();
    uint64_t id = remove_a(1, shared);
    w.now += 300 * TIME_MS;
    expect_waiting(1, id);
    (void)world_start(&w, 0, list_plus(shared, READER, 1000));
    expect_done(1, id);
}
END_TEST

START_TEST(a_listing_without_attributes_is_not_waited_for)
{
    (void)make_in(1, shared, "a");
    world_pass(&w, 3 * TIME_S);
    struct client_op list = list_plus(shared, READER, 0);
    list.plus = false;
    ck_assert_uint_eq(world_do(&w, 0, list)->entries, 1);
    expect_done(1, remove_a(1, shared));
}
END_TEST

START_TEST(a_lease_goes_back_when_the_listing_is_taken_in)
{
    /* Goal: the same of names that the directory's lease alone keeps from changing. */
    (void)make_in(0, home, "a");
    world_pass(&w, 50 * TIME_MS);
    list_here(0, home, READER, 1);
    ck_assert_uint_ne(home_lease(), 0);
    unsigned names = w.mounts[0].notified_names;
    uint64_t id = remove_a(1, home);
    expect_waiting(1, id);
    ck_assert_uint_eq(w.mounts[0].notified_names, names);
    (void)world_start(&w, 0, list_plus(home, READER, 1000));
    expect_done(1, id);
    ck_assert_uint_eq(w.mounts[0].notified_names, names + 1);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(a_lease_stays_while_a_listing_is_on_its_way)
{
    /* Goal: nor is it given back unasked meanwhile. */
    (void)make_in(0, home, "a");
    world_pass(&w, 100 * TIME_S);
    ck_assert_uint_eq(home_lease(), 0);
    (void)make_in(0, home, "b");
    for (int i = 0; i < 2000; i++) {
        list_here(0, home, READER, 2);
        world_pass(&w, 50 * TIME_MS);
    }
    ck_assert_uint_ne(home_lease(), 0);
    world_pass(&w, 100 * TIME_S);
    ck_assert_uint_eq(home_lease(), 0);
}
END_TEST

START_TEST(the_lease_of_a_file_stays_while_a_listing_is_on_its_way)
{
    /* Goal: the same of a file's, which keeps its attributes from changing. */
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(applied_attr(f.ino).lease_session, session_here());
    for (int i = 0; i < 200; i++) {
        list_here(0, home, READER, 1);
        world_pass(&w, 50 * TIME_MS);
    }
    ck_assert_uint_eq(applied_attr(f.ino).lease_session, session_here());
    world_pass(&w, 10 * TIME_S);
    ck_assert_uint_eq(applied_attr(f.ino).lease_session, 0);
}
END_TEST

START_TEST(an_election_drops_them_twice)
{
    /* Goal: what is on its way when there is a new leader is dropped once more when it is there,
     * before that leader hears that nothing is kept. */
    given_to_mount_0();
    uint64_t id = remove_a(1, shared);
    expect_waiting(1, id);
    unsigned names = w.mounts[0].notified_names;
    world_new_leader(&w, 2, true);
    world_settle(&w);
    ck_assert_uint_gt(w.mounts[0].notified_names, names);
    names = w.mounts[0].notified_names;
    world_pass(&w, 50 * TIME_MS);
    expect_waiting(1, id); /* for mount 0 to say that it keeps nothing */
    (void)world_start(&w, 0, list_plus(shared, READER, 1000));
    ck_assert_uint_eq(w.mounts[0].notified_names, names + 1);
    expect_done(1, id);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listing");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, names_are_dropped_when_the_listing_is_taken_in);
    tcase_add_test(t, another_reader_says_nothing_of_the_first);
    tcase_add_test(t, attributes_are_dropped_when_the_listing_is_taken_in);
    tcase_add_test(t, a_notification_in_passing_is_not_the_last);
    tcase_add_test(t, nothing_is_given_to_keep_while_a_recall_waits);
    tcase_add_test(t, nothing_is_given_to_keep_while_a_lease_goes_back);
    tcase_add_test(t, a_reader_who_stops_is_not_waited_for);
    tcase_add_test(t, a_reader_who_stood_still_is_waited_for);
    tcase_add_test(t, a_listing_without_attributes_is_not_waited_for);
    tcase_add_test(t, a_lease_goes_back_when_the_listing_is_taken_in);
    tcase_add_test(t, a_lease_stays_while_a_listing_is_on_its_way);
    tcase_add_test(t, the_lease_of_a_file_stays_while_a_listing_is_on_its_way);
    tcase_add_test(t, an_election_drops_them_twice);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
