/* Leased directories: all names of one are known here, and files that have two (RULES D1). */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

/* ---- all names of a directory -----------------------------------------------------------------
 */

/* Mount 0 has the lease of a directory in which there are `count` files of mount 1. */
static void lease_of_shared(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "f%u", i);
        struct client_op op = make_op(name, S_IFREG | 0644);
        op.parent = shared;
        struct file f = {0};
        const struct world_answer *a = world_do(&w, 1, op);
        f.ino = a->attr.ino;
        f.fh = a->fh;
        (void)world_do(&w, 1, op_of(CLIENT_RELEASE, f));
    }
    world_pass(&w, 3 * TIME_S);
    home = shared;
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "new"))->err, ENOENT);
    ck_assert_int_eq(world_do(&w, 0, make_op("new", S_IFDIR | 0755))->err, 0);
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
}

static bool absent_at_once(const char *name)
{
    uint64_t id = world_start(&w, 0, named_op(CLIENT_LOOKUP, name));
    bool here = answered(id);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, id)->err, ENOENT);
    return here;
}

START_TEST(listed_under_its_lease)
{
    /* Goal: what the whole listing does not have is known not to be there; of a part of it nothing
     * follows. */
    lease_of_shared(3);
    ck_assert(!absent_at_once("x"));
    ck_assert_uint_eq(world_do(&w, 0, list_op(0, 2))->entries, 2);
    ck_assert(!absent_at_once("y"));
    ck_assert_uint_eq(world_do(&w, 0, list_op(0, 100))->entries, 4);
    ck_assert(absent_at_once("z"));
    (void)make("z");
    (void)at_once(named_op(CLIENT_LOOKUP, "z"));
}
END_TEST

START_TEST(listed_from_the_middle)
{
    lease_of_shared(3);
    ck_assert_uint_eq(world_do(&w, 0, list_op(FS_COOKIE_FIRST, 100))->entries, 3);
    ck_assert(!absent_at_once("x"));
}
END_TEST

START_TEST(listed_under_the_lease_before)
{
    /* Goal: what others made meanwhile is seen. */
    lease_of_shared(1);
    ck_assert_uint_eq(world_do(&w, 0, list_op(0, 100))->entries, 2);
    ck_assert(absent_at_once("x"));
    struct client_op op = make_op("y", S_IFDIR | 0755);
    ck_assert_int_eq(world_do(&w, 1, op)->err, 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, make_op("v", S_IFDIR | 0755))->err, 0);
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "y"))->err, 0);
    ck_assert(!absent_at_once("x2"));
}
END_TEST

START_TEST(looked_ahead_until_all_is_known)
{
    lease_of_shared(40);
    char name[] = "xa";
    unsigned asked = 0;
    for (; name[1] <= 'z'; name[1]++)
        asked += !absent_at_once(name);
    ck_assert_uint_le(asked, 6);
}
END_TEST

START_TEST(made_by_the_leader_with_its_lease)
{
    /* Goal: of a directory that the leader makes for this mount all names are known as well. */
    struct client_op op = make_op("d", S_IFDIR | 0755);
    op.parent = shared;
    uint64_t other = world_do(&w, 1, make_op("busy", S_IFDIR | 0755))->attr.ino;
    (void)other;
    world_pass(&w, 10 * TIME_MS);
    home = world_do(&w, 0, op)->attr.ino;
    ck_assert_uint_eq(home_lease(), client_stats(w.mounts[0].client, w.now).session);
    ck_assert(absent_at_once("x"));
    (void)make("x");
}
END_TEST

/* In some order: names made, renamed, linked and removed. */
static void fill_home(void)
{
    struct file f = make("a");
    (void)make("b");
    (void)at_once(make_op("d", S_IFDIR | 0755));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(link_op(f, home, "c"));
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    (void)at_once(rename_op("d", home, "e"));
    (void)make("a");
    (void)at_once(rename_op("c", home, "g"));
}

START_TEST(lists_its_own_directory_itself)
{
    /* Goal: in the order of the log, and the leader goes on with it anywhere. */
    fill_home();
    unsigned sent = w.mounts[0].sends;
    uint64_t all = at_once(list_op(0, 100))->listing;
    uint64_t rest = at_once(list_op(FS_COOKIE_FIRST + 2, 100))->listing;
    ck_assert_uint_eq(at_once(list_op(0, 100))->entries, 4);
    ck_assert_uint_eq(at_once(list_op(0, 3))->entries, 3);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    ck_assert_uint_eq(world_do(&w, 1, list_op(0, 100))->listing, all);
    ck_assert_uint_eq(world_do(&w, 1, list_op(FS_COOKIE_FIRST + 2, 100))->listing, rest);
    ck_assert_uint_eq(home_lease(), 0);
    ck_assert_uint_eq(world_do(&w, 0, list_op(0, 100))->listing, all);
}
END_TEST

START_TEST(lists_what_it_replaced)
{
    /* Goal: a name that is replaced keeps its place, here as in the log. */
    fill_home();
    struct file f = make("t");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(rename_op("t", home, "g"));
    (void)make("z");
    uint64_t all = at_once(list_op(0, 100))->listing;
    ck_assert_uint_eq(world_do(&w, 1, list_op(0, 100))->listing, all);
}
END_TEST

START_TEST(lists_itself_what_it_forgot)
{
    /* Goal: of more names than a mount keeps the oldest are forgotten, and so are their cookies:
     * who lists them again must not miss any. */
    enum { NAMES_KEPT = 131072 };
    struct world_mount *m = &w.mounts[0];
    fill_home();
    world_pass(&w, 20 * TIME_MS);
    uint64_t all = world_do(&w, 0, list_op(0, 100))->listing;
    for (unsigned i = 0; i < NAMES_KEPT; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u", i);
        struct client_op op = named_op(CLIENT_LOOKUP, name);
        op.parent = shared;
        (void)world_start(&w, 0, op);
        world_settle(&w);
        while (m->answers.count != 0)
            blob_unref(vec_pop(&m->answers).bytes);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(world_do(&w, 0, list_op(0, 100))->listing, all);
}
END_TEST

START_TEST(lists_itself_no_more_after_the_leader)
{
    /* Goal: where a name came by way of the leader its cookie is not known. */
    fill_home();
    struct client_op fifo = make_op("x", S_IFREG | 0644);
    fifo.parent = shared;
    struct file f = {world_do(&w, 1, fifo)->attr.ino, 0};
    ck_assert_int_eq(world_do(&w, 0, link_op(f, home, "x"))->err, 0);
    (void)make("y");
    uint64_t here = world_do(&w, 0, list_op(0, 100))->listing;
    ck_assert_uint_eq(world_do(&w, 1, list_op(0, 100))->listing, here);
}
END_TEST

/* ---- two names of a file ----------------------------------------------------------------------
 */

START_TEST(linked_and_unlinked_at_once)
{
    /* Goal: at each step it is here what apply makes of it. */
    unsigned sent = w.mounts[0].sends;
    struct file f = make("a");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    ck_assert_uint_eq(at_once(link_op(f, home, "b"))->attr.nlink, 2);
    ck_assert_uint_eq(w.mounts[0].sends, sent);
    Fs__Attr two = attr_here(f.ino), dir = attr_here(home);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&two, &there);
    there = applied_attr(home);
    expect_same(&dir, &there);
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    Fs__Attr one = attr_here(f.ino);
    ck_assert_uint_eq(one.nlink, 1);
    world_pass(&w, 20 * TIME_MS);
    there = applied_attr(f.ino);
    expect_same(&one, &there);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    (void)at_once(named_op(CLIENT_UNLINK, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), 0);
    ck_assert_int_ne(fs_get_attr(w.state, f.ino, &there), 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(link_follows_the_bytes)
{
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(link_op(f, home, "b"));
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_LINK), 0);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "b"), f.ino);
    ck_assert_uint_eq(applied_attr(f.ino).size, 5);
}
END_TEST

START_TEST(one_of_two_names_goes_while_it_is_open)
{
    /* Goal: it stays open, and nobody is asked; the last one goes by way of the leader. */
    struct file f = make("a");
    (void)at_once(link_op(f, home, "b"));
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, named_op(CLIENT_UNLINK, "b"));
    ck_assert(!answered(id));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
    (void)at_once(write_op(f, "bytes"));
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_FSYNC, f))->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).nlink, 0);
}
END_TEST

/* A file that is open, has lost its last name, and a change of it is not sent yet. */
static struct file nameless(void)
{
    struct file f = make("a");
    world_pass(&w, 20 * TIME_MS);
    w.no_commit = true;
    (void)at_once(chmod_op(f.ino, 0600));
    uint64_t unlink = world_start(&w, 0, named_op(CLIENT_UNLINK, "a")); /* behind that one */
    (void)at_once(chmod_op(f.ino, 0640));
    w.no_commit = false;
    world_settle(&w);
    ck_assert(answered(unlink));
    ck_assert_uint_eq(applied_attr(f.ino).nlink, 0);
    ck_assert_uint_eq(applied_attr(f.ino).mode & 0777, 0600);
    return f;
}

START_TEST(changed_when_its_last_name_is_gone)
{
    /* Goal: by way of the leader, though it has not told of all changes yet (simulator seed
     * 970002248). */
    struct file f = nameless();
    uint64_t chmod = world_start(&w, 0, chmod_op(f.ino, 0644));
    ck_assert(!answered(chmod));
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, chmod)->err, 0);
    ck_assert_uint_eq(applied_attr(f.ino).mode & 0777, 0644);
}
END_TEST

START_TEST(closed_behind_its_last_name)
{
    /* Goal: what is on its way arrives before the file's end. */
    uint64_t session = session_here();
    struct file f = nameless();
    (void)at_once(op_of(CLIENT_RELEASE, f));
    world_pass(&w, 2 * TIME_S);
    Fs__Attr gone;
    ck_assert_int_ne(fs_get_attr(w.state, f.ino, &gone), 0);
    ck_assert_uint_eq(session_here(), session);
}
END_TEST

START_TEST(renamed_among_its_own_names)
{
    struct file f = make("a"), g = make("c");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    (void)at_once(link_op(f, home, "b"));
    (void)at_once(rename_op("a", home, "b")); /* of one file: neither goes */
    ck_assert_uint_eq(attr_here(f.ino).nlink, 2);
    (void)at_once(rename_op("b", home, "d"));
    (void)at_once(rename_op("c", home, "a")); /* over one of two */
    Fs__Attr here = attr_here(f.ino);
    ck_assert_uint_eq(here.nlink, 1);
    world_pass(&w, 20 * TIME_MS);
    Fs__Attr there = applied_attr(f.ino);
    expect_same(&here, &there);
    ck_assert_uint_eq(looked_up(home, "a"), g.ino);
    ck_assert_uint_eq(looked_up(home, "b") + looked_up(home, "c"), 0);
    ck_assert_uint_eq(looked_up(home, "d"), f.ino);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(names_in_two_directories_are_the_leaders)
{
    /* Goal: whoever looks for the other name does not come by its first directory. */
    struct file f = make("a"), g = make("b");
    uint64_t other = at_once(make_op("d", S_IFDIR | 0755))->attr.ino;
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(op_of(CLIENT_RELEASE, g));
    (void)at_once(link_op(g, home, "c"));
    w.no_commit = true;
    uint64_t link = world_start(&w, 0, link_op(f, other, "a"));
    uint64_t rename = world_start(&w, 0, rename_op("b", other, "b"));
    world_settle(&w);
    ck_assert(!answered(link) && !answered(rename));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, link)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, rename)->err, 0);
    ck_assert_uint_eq(looked_up(other, "a"), f.ino);
    ck_assert_uint_eq(looked_up(other, "b"), g.ino);
    ck_assert_uint_eq(looked_up(home, "c"), g.ino);
    w.no_commit = true;
    uint64_t first = world_start(&w, 0, chmod_op(f.ino, 0600));
    uint64_t second = world_start(&w, 0, chmod_op(g.ino, 0600));
    world_settle(&w);
    ck_assert(!answered(first) && !answered(second));
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
}
END_TEST

START_TEST(names_that_are_there_are_kept)
{
    struct file f = make("a"), g = make("b");
    ck_assert_int_eq(world_do(&w, 0, link_op(f, home, "b"))->err, EEXIST);
    ck_assert_uint_eq(looked_up(home, "b"), g.ino);
    ck_assert_uint_eq(applied_attr(f.ino).nlink, 1);
}
END_TEST

START_TEST(look_for_the_second_name)
{
    /* Goal: from elsewhere it comes with all that was done before. */
    struct file f = make("a");
    (void)at_once(write_op(f, "bytes"));
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(link_op(f, home, "b"));
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    const struct world_answer *a = world_do(&w, 1, named_op(CLIENT_LOOKUP, "b"));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, f.ino);
    ck_assert_uint_eq(a->attr.nlink, 1);
    ck_assert_uint_eq(a->attr.size, 5);
    ck_assert_int_eq(world_do(&w, 1, named_op(CLIENT_LOOKUP, "a"))->err, ENOENT);
}
END_TEST

/* ---- a name that moves ----------------------------------------------------------------------- */

START_TEST(moved_name_is_forgotten_with_the_lease)
{
    /* Goal: Linux keeps what it may remember of a name when that is renamed to another directory,
     * and forgets it when the lease of that one goes back, though it never asked for names there.
     */
    uint64_t sub = at_once(make_op("sub", S_IFDIR | 0755))->attr.ino;
    struct file f = make("f");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    ck_assert_uint_ne(at_once(named_op(CLIENT_LOOKUP, "f"))->entry_valid_us, 0);
    (void)at_once(op_of(CLIENT_GETATTR, f)); /* it knows both */
    (void)at_once(op_of(CLIENT_GETATTR, (struct file){.ino = sub}));
    ck_assert_int_eq(at_once(rename_op("f", sub, "g"))->err, 0);
    world_pass(&w, 100 * TIME_MS); /* the log has it */
    unsigned before = w.mounts[0].notified_names;
    struct client_op op = named_op(CLIENT_LOOKUP, "g");
    op.parent = sub; /* by its number, so nobody comes for `home` */
    const struct world_answer *a = world_do(&w, 1, op);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, f.ino);
    ck_assert_uint_gt(w.mounts[0].notified_names, before);
}
END_TEST

START_TEST(moved_file_keeps_no_lease)
{
    /* Goal: the lease of the directory that a file came from goes back when another mount asks for
     * it, however busy this one is with the file. */
    uint64_t sub = at_once(make_op("sub", S_IFDIR | 0755))->attr.ino;
    struct file f = make("f");
    (void)at_once(op_of(CLIENT_RELEASE, f));
    (void)at_once(rename_op("f", sub, "f"));
    (void)at_once(chmod_op(f.ino, 0600)); /* nobody asks for any of it yet */
    w.no_commit = true;
    (void)at_once(chmod_op(f.ino, 0640));
    uint64_t look = world_start(&w, 1, named_op(CLIENT_LOOKUP, "none"));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 1, look));
    uint64_t change = world_start(&w, 0, chmod_op(f.ino, 0644));
    ck_assert(!answered(change));
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, look)->err, ENOENT);
    ck_assert_int_eq(world_find(&w, 0, change)->err, 0);
    ck_assert_uint_eq(home_lease(), 0);
    ck_assert_uint_eq(applied_attr(f.ino).mode, S_IFREG | 0644);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client directory names");
    TCase *t = tcase_create("all names of a directory");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, listed_under_its_lease);
    tcase_add_test(t, listed_from_the_middle);
    tcase_add_test(t, listed_under_the_lease_before);
    tcase_add_test(t, looked_ahead_until_all_is_known);
    tcase_add_test(t, made_by_the_leader_with_its_lease);
    tcase_add_test(t, lists_its_own_directory_itself);
    tcase_add_test(t, lists_what_it_replaced);
    tcase_add_test(t, lists_itself_what_it_forgot);
    tcase_add_test(t, lists_itself_no_more_after_the_leader);
    suite_add_tcase(suite, t);
    t = tcase_create("two names of a file");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, linked_and_unlinked_at_once);
    tcase_add_test(t, link_follows_the_bytes);
    tcase_add_test(t, one_of_two_names_goes_while_it_is_open);
    tcase_add_test(t, changed_when_its_last_name_is_gone);
    tcase_add_test(t, closed_behind_its_last_name);
    tcase_add_test(t, renamed_among_its_own_names);
    tcase_add_test(t, names_in_two_directories_are_the_leaders);
    tcase_add_test(t, names_that_are_there_are_kept);
    tcase_add_test(t, look_for_the_second_name);
    suite_add_tcase(suite, t);
    t = tcase_create("a name that moves");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, moved_name_is_forgotten_with_the_lease);
    tcase_add_test(t, moved_file_keeps_no_lease);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
