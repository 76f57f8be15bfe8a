/* A mount with consistency=session beside one that has leases of directories: what a copy tells it
 * must not be what the other takes for its own (RULES D1). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/world.h"
#include "tests/unit/lib/run.h"

static struct world w;
static uint64_t home; /* a directory that mount 0 made, with its lease */
static uint64_t f;    /* a pipe that it made there: nobody has a lease of that one */

static struct client_op op_make(uint64_t dir, const char *name, uint32_t mode)
{
    return (struct client_op){
        .kind = CLIENT_MAKE, .parent = dir, .name = name, .mode = mode, .flags = O_RDWR | O_CREAT};
}

static uint64_t session_of(int m)
{
    return client_stats(w.mounts[m].client, w.now).session;
}

static Fs__Attr applied(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, ino, &attr), 0);
    return attr;
}

/* By mount 0, without asking anybody. */
static const struct world_answer *at_once(struct client_op op)
{
    uint64_t id = world_start(&w, 0, op);
    const struct world_answer *a = world_find(&w, 0, id);
    ck_assert_msg(a != NULL, "operation of kind %d awaits something", (int)op.kind);
    ck_assert_int_eq(a->err, 0);
    return a;
}

static struct client_op op_lookup(uint64_t dir, const char *name)
{
    return (struct client_op){.kind = CLIENT_LOOKUP, .parent = dir, .name = name};
}

/* A directory in the root that mount 0 makes by itself. */
static uint64_t make_dir(const char *name)
{
    ck_assert_int_eq(world_do(&w, 0, op_lookup(WORLD_ROOT, name))->err, ENOENT);
    return at_once(op_make(WORLD_ROOT, name, S_IFDIR | 0755))->attr.ino;
}

static void setup(void)
{
    world_open(&w);
    world_add_mount(&w, 1, CLIENT_SESSION);
    w.local_names = true;
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    for (const char *name = "abcd"; *name; name++) { /* it gets a lease, space and numbers */
        char one[2] = {*name};
        (void)world_do(&w, 0, op_lookup(WORLD_ROOT, one));
        (void)world_do(&w, 0, op_make(WORLD_ROOT, one, S_IFDIR | 0755));
        world_pass(&w, 20 * TIME_MS);
    }
    home = make_dir("home");
    f = at_once(op_make(home, "f", S_IFIFO | 0644))->attr.ino;
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(applied(home).lease_session, session_of(0));
}

static void teardown(void)
{
    world_close(&w);
}

static struct client_op op_list(uint64_t dir)
{
    return (struct client_op){.kind = CLIENT_READDIR, .ino = dir, .size = 100};
}

static struct client_op op_chmod(uint64_t ino, uint32_t mode)
{
    return (struct client_op){
        .kind = CLIENT_SETATTR, .ino = ino, .set = FS_SETATTR_MODE, .mode = mode};
}

/* Mount 1 changes the file by its number; mount 0 must see it. */
static void expect_seen(void)
{
    ck_assert_int_eq(world_do(&w, 1, op_chmod(f, 0600))->err, 0);
    struct client_op get = {.kind = CLIENT_GETATTR, .ino = f};
    ck_assert_uint_eq(world_do(&w, 0, get)->attr.mode & 07777, 0600);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}

START_TEST(lookup_is_the_leaders)
{
    const struct world_answer *a = world_do(&w, 1, op_lookup(home, "f"));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, f);
    ck_assert_uint_eq(applied(home).lease_session, 0);
    expect_seen();
}
END_TEST

START_TEST(listing_is_the_leaders)
{
    ck_assert_uint_eq(world_do(&w, 1, op_list(home))->entries, 1);
    ck_assert_uint_eq(applied(home).lease_session, 0);
    expect_seen();
}
END_TEST

START_TEST(absence_is_anybodys)
{
    ck_assert_int_eq(world_do(&w, 1, op_lookup(home, "none"))->err, ENOENT);
    ck_assert_uint_eq(applied(home).lease_session, session_of(0));
}
END_TEST

START_TEST(reads_on_without_a_leader)
{
    /* Goal: the leader recalls the lease before it is asked for anything else. */
    world_link_down(&w, 1, w.leader);
    ck_assert_uint_eq(world_do(&w, 1, op_lookup(home, "f"))->attr.ino, f);
    ck_assert_uint_eq(world_do(&w, 1, op_list(home))->entries, 1);
    ck_assert_uint_eq(applied(home).lease_session, session_of(0));
    world_link_up(&w, 1, w.leader, 1);
    expect_seen();
    ck_assert_uint_eq(applied(home).lease_session, 0);
}
END_TEST

START_TEST(nothing_overtakes_the_recall)
{
    world_link_down(&w, 1, w.leader);
    ck_assert_uint_eq(world_do(&w, 1, op_lookup(home, "f"))->attr.ino, f);
    world_link_up(&w, 1, w.leader, 1);
    w.mounts[0].silent = true; /* the lease is not given back for now */
    uint64_t id = world_start(&w, 1, op_chmod(f, 0611));
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_null(world_find(&w, 1, id));
    w.mounts[0].silent = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, id)->err, 0);
    expect_seen();
}
END_TEST

START_TEST(moved_and_changed_while_nobody_led)
{
    /* Goal: nor does what the owner did before come behind it in the log. */
    uint64_t other = make_dir("other");
    world_pass(&w, 1 * TIME_S);
    world_link_down(&w, 1, w.leader);
    ck_assert_uint_eq(world_do(&w, 1, op_lookup(home, "f"))->attr.ino, f);
    (void)at_once((struct client_op){
        .kind = CLIENT_RENAME, .parent = home, .name = "f", .newparent = other, .newname = "g"});
    world_pass(&w, 1 * TIME_S);
    (void)at_once(op_chmod(f, 0644));
    world_link_up(&w, 1, w.leader, 1);
    expect_seen();
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(applied(f).mode, S_IFIFO | 0600);
}
END_TEST

START_TEST(moved_while_nobody_led)
{
    /* Goal: nor does its owner take it for its own where it is now. */
    uint64_t other = make_dir("other");
    uint64_t third = make_dir("third");
    world_pass(&w, 1 * TIME_S);
    world_link_down(&w, 1, w.leader);
    ck_assert_uint_eq(world_do(&w, 1, op_lookup(home, "f"))->attr.ino, f);
    struct client_op op = {
        .kind = CLIENT_RENAME, .parent = home, .name = "f", .newparent = other, .newname = "g"};
    (void)at_once(op);
    (void)at_once(op_chmod(f, 0644));
    op = (struct client_op){
        .kind = CLIENT_RENAME, .parent = other, .name = "g", .newparent = third, .newname = "h"};
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    world_pass(&w, 1 * TIME_S);
    world_link_up(&w, 1, w.leader, 1);
    expect_seen();
    ck_assert_uint_eq(applied(third).lease_session, 0); /* all its names are there */
}
END_TEST

START_TEST(moved_once_while_nobody_led)
{
    uint64_t other = make_dir("other");
    world_pass(&w, 1 * TIME_S);
    world_link_down(&w, 1, w.leader);
    ck_assert_uint_eq(world_do(&w, 1, op_lookup(home, "f"))->attr.ino, f);
    (void)at_once((struct client_op){
        .kind = CLIENT_RENAME, .parent = home, .name = "f", .newparent = other, .newname = "g"});
    (void)at_once(op_chmod(f, 0644));
    world_pass(&w, 1 * TIME_S);
    world_link_up(&w, 1, w.leader, 1);
    expect_seen();
    ck_assert_uint_eq(applied(other).lease_session, 0); /* all its names are there */
}
END_TEST

START_TEST(asked_back_is_private_no_more)
{
    /* Goal: whoever asks for the file knows it, however that came. */
    f = at_once(op_make(home, "g", S_IFREG | 0644))->attr.ino;
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(applied(f).lease_session, session_of(0));
    expect_seen();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client reads around a lease");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lookup_is_the_leaders);
    tcase_add_test(t, listing_is_the_leaders);
    tcase_add_test(t, absence_is_anybodys);
    tcase_add_test(t, reads_on_without_a_leader);
    tcase_add_test(t, nothing_overtakes_the_recall);
    tcase_add_test(t, moved_once_while_nobody_led);
    tcase_add_test(t, moved_and_changed_while_nobody_led);
    tcase_add_test(t, moved_while_nobody_led);
    tcase_add_test(t, asked_back_is_private_no_more);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
