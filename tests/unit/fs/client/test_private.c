/* Attributes that the kernel keeps of what is private to the lease of a directory (RULES D1, L6):
 * nobody asks for them back by the inode, so the mount sees to it when the inode is private no
 * more.
 */
#include <errno.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/dir_forms.h"
#include "tests/unit/lib/run.h"

static bool kept(uint64_t ino)
{
    return at_once(op_of(CLIENT_GETATTR, (struct file){ino, 0}))->attr_valid_us != 0;
}

/* A file in `home`, closed, whose own lease went back as idle, and which the kernel knows. */
static uint64_t idle_file(const char *name)
{
    struct client_op op = make_op(name, S_IFREG | 0644);
    const struct world_answer *a = world_do(&w, 0, op);
    struct file f = {a->attr.ino, a->fh};
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, f))->err, 0);
    size_t leases = client_stats(w.mounts[0].client, w.now).leases;
    world_pass(&w, 4 * TIME_S);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).leases, leases - 1);
    ck_assert_uint_eq(home_lease(), session_here());
    ck_assert(kept(f.ino));
    return f.ino;
}

START_TEST(kept_without_a_lease_of_its_own)
{
    /* Goal: looking again at what was made here asks nobody, not even the mount. */
    struct file f = make("a");
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, f))->err, 0);
    world_pass(&w, 2 * TIME_S);
    ck_assert(kept(f.ino));
    unsigned told = w.mounts[0].notified_attr;
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(w.mounts[0].notified_attr, told); /* though its lease is back */
    ck_assert(kept(f.ino));
}
END_TEST

START_TEST(taken_back_with_the_directory)
{
    /* Goal: a mount that looks for its name may change it at once. */
    uint64_t ino = idle_file("a");
    unsigned told = w.mounts[0].notified_attr;
    ck_assert_int_eq(world_do(&w, 1, named_op(CLIENT_LOOKUP, "a"))->err, 0);
    ck_assert_uint_gt(w.mounts[0].notified_attr, told);
    ck_assert_int_eq(world_do(&w, 1, chmod_op(ino, 0600))->err, 0);
    struct client_op ask = op_of(CLIENT_GETATTR, (struct file){ino, 0});
    ck_assert_uint_eq(world_do(&w, 0, ask)->attr.mode & 07777, 0600);
}
END_TEST

START_TEST(taken_back_by_its_number)
{
    /* Goal: another mount has had it open all the time, which the leader knows and we do not. */
    struct client_op op = make_op("f", S_IFREG | 0644);
    op.parent = home = shared;
    struct world_answer a = *world_do(&w, 1, op);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_FSYNC, (struct file){a.attr.ino, a.fh}))->err, 0);
    world_pass(&w, 4 * TIME_S);
    ck_assert_int_eq(world_do(&w, 0, chmod_op(a.attr.ino, 0640))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, make_op("mine", S_IFREG | 0644))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, named_op(CLIENT_LOOKUP, "f"))->err, 0);
    ck_assert(kept(a.attr.ino));
    unsigned told = w.mounts[0].notified_attr;
    struct client_op write = write_op((struct file){a.attr.ino, a.fh}, "0123456789");
    ck_assert_int_eq(world_do(&w, 1, write)->err, 0);
    ck_assert_uint_gt(w.mounts[0].notified_attr, told);
    struct client_op ask = op_of(CLIENT_GETATTR, (struct file){a.attr.ino, 0});
    ck_assert_uint_eq(world_do(&w, 0, ask)->attr.size, 10);
}
END_TEST

START_TEST(taken_back_when_it_may_have_left)
{
    /* Goal: what the leader is asked to move by a name that is not known here may be any of them.
     */
    (void)idle_file("mine");
    unsigned told = w.mounts[0].notified_attr;
    ck_assert_int_eq(world_do(&w, 0, rename_op("forgotten", WORLD_ROOT, "z"))->err, ENOENT);
    ck_assert_uint_eq(home_lease(), session_here());
    ck_assert_uint_gt(w.mounts[0].notified_attr, told);
}
END_TEST

START_TEST(not_kept_when_it_is_private_to_two)
{
    /* Goal: the lease of the directory that it was moved from may go first. */
    uint64_t ino = idle_file("a"), from = home;
    warm_up();
    uint64_t to = home;
    home = from;
    ck_assert(kept(ino));
    unsigned told = w.mounts[0].notified_attr;
    (void)at_once(rename_op("a", to, "b"));
    ck_assert_uint_eq(w.mounts[0].notified_attr, told + 1);
    world_pass(&w, 50 * TIME_MS);
    ck_assert(!kept(ino));
}
END_TEST

START_TEST(not_taken_back_when_its_name_goes)
{
    /* Goal: rm -r of what was made here tells the kernel nothing, and nobody comes to know it. */
    (void)idle_file("a");
    unsigned told = w.mounts[0].notified_attr;
    (void)at_once(named_op(CLIENT_UNLINK, "a"));
    ck_assert_uint_eq(w.mounts[0].notified_attr, told);
    world_pass(&w, 50 * TIME_MS);
    ck_assert_uint_eq(looked_up(home, "a"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client private");
    TCase *t = tcase_create("attributes");
    tcase_add_checked_fixture(t, dirs_setup, dirs_teardown);
    tcase_add_test(t, kept_without_a_lease_of_its_own);
    tcase_add_test(t, taken_back_with_the_directory);
    tcase_add_test(t, taken_back_by_its_number);
    tcase_add_test(t, taken_back_when_it_may_have_left);
    tcase_add_test(t, not_kept_when_it_is_private_to_two);
    tcase_add_test(t, not_taken_back_when_its_name_goes);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
