/* When files were last read: seen at once here, told to others late and for many at a time. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

#define S_NS INT64_C(1000000000)

/* ---- short forms ----------------------------------------------------------------------------- */

static struct place create_full(int m, const char *name)
{
    struct place f = create(m, name);
    put_text(m, f, 0, "data");
    ck_assert_int_eq(simple(m, CLIENT_FSYNC, f), 0);
    return f;
}

static void get(int m, struct place f, uint32_t flags)
{
    struct client_op op = {
        .kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .flags = flags, .size = 4096};
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

static struct Fs__Attr attr(int m, struct place f)
{
    const struct world_answer *a =
        world_do(&w, m, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    ck_assert_int_eq(a->err, 0);
    return a->attr;
}

static void set_atime(int m, struct place f, int64_t atime)
{
    struct client_op op = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_ATIME, .atime = atime};
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

/* As every copy has it. */
static int64_t told(struct place f)
{
    struct Fs__Attr a = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &a), 0);
    return a.atime;
}

/* ---- reads ----------------------------------------------------------------------------------- */

START_TEST(read_here_told_later)
{
    /* Goal: a read takes no message and recalls nobody; half a minute later all know of
     * it, without having lost what they had cached. */
    struct place f = create_full(0, "a");
    ck_assert_int_le(attr(1, f).atime, attr(1, f).mtime); /* cached there from now on */
    world_pass(&w, 1 * TIME_S);
    uint64_t index = w.last_index;
    get(0, f, 0);
    int64_t first = attr(0, f).atime;
    ck_assert_int_gt(first, attr(0, f).mtime);
    ck_assert_int_gt(first, attr(0, f).ctime);
    world_pass(&w, 1 * TIME_S);
    get(0, f, 0);
    ck_assert_int_eq(attr(0, f).atime, first); /* relatime */
    ck_assert_uint_eq(w.last_index, index);
    ck_assert_int_lt(told(f), first);
    uint64_t version = attr(0, f).version;
    world_pass(&w, 31 * TIME_S);
    ck_assert_int_eq(told(f), first);
    ck_assert_int_eq(attr(0, f).atime, first);
    ck_assert_uint_eq(attr(0, f).version, version);
    unsigned sends = w.mounts[1].sends;
    ck_assert_int_eq(attr(1, f).atime, first); /* told there as well, and asks nobody */
    ck_assert_uint_eq(w.mounts[1].sends, sends);
}
END_TEST

START_TEST(read_again_after_a_change_or_a_day)
{
    struct place f = create_full(0, "a");
    get(0, f, 0);
    int64_t first = attr(0, f).atime;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(
        world_do(&w, 0,
                 (struct client_op){
                     .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_MODE, .mode = 0600})
            ->err,
        0);
    get(0, f, 0);
    ck_assert_int_gt(attr(0, f).atime, first);
    set_atime(0, f, w.wall_ns - 86399 * S_NS);
    ck_assert_int_eq(attr(0, f).atime, w.wall_ns - 86399 * S_NS);
    get(0, f, O_NOATIME);
    ck_assert_int_eq(attr(0, f).atime, w.wall_ns - 86399 * S_NS);
    set_atime(0, f, w.wall_ns + 86399 * S_NS);
    get(0, f, 0);
    ck_assert_int_eq(attr(0, f).atime, w.wall_ns + 86399 * S_NS);
}
END_TEST

START_TEST(set_by_hand_stands)
{
    /* Goal: what was read before a time was set by hand, here or elsewhere, does not change it. */
    struct place f = create_full(0, "a"), g = create_full(0, "b");
    get(0, f, 0);
    set_atime(0, f, 5);
    get(0, g, 0);
    set_atime(1, g, 6);
    world_pass(&w, 61 * TIME_S);
    ck_assert_int_eq(told(f), 5);
    ck_assert_int_eq(told(g), 6);
    ck_assert_int_eq(attr(0, f).atime, 5);
    ck_assert_int_eq(attr(0, g).atime, 6);
    get(0, g, 0);
    world_pass(&w, 31 * TIME_S);
    ck_assert_int_gt(told(g), 6);
}
END_TEST

/* Starts a READ that is answered once the world reads again. */
static uint64_t start_read(struct place f)
{
    struct client_op op = {.kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .size = 4096};
    w.no_reads = true;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, id));
    return id;
}

static void end_read(uint64_t id)
{
    w.no_reads = false;
    world_pass(&w, 30 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}

START_TEST(set_by_hand_comes_behind_what_is_being_read)
{
    /* Goal: a page that Linux reads ahead, and that comes late, does not change a time that was set
     * since. */
    struct place f = create_full(1, "a"), here = open_file(0, f.ino);
    uint64_t read = start_read(here);
    set_atime(0, here, 5);
    end_read(read);
    ck_assert_int_eq(attr(0, here).atime, 5);
}
END_TEST

START_TEST(read_while_a_time_is_being_set)
{
    /* Goal: the same when the page comes while the leader is changing the time. */
    struct place f = create_full(1, "a"), here = open_file(0, f.ino);
    w.no_commit = true;
    uint64_t sets =
        world_start(&w, 0,
                    (struct client_op){
                        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_ATIME, .atime = 5});
    get(0, here, 0);
    ck_assert_ptr_null(world_find(&w, 0, sets));
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, sets)->err, 0);
    ck_assert_int_eq(attr(0, here).atime, 5);
    get(0, here, 0);
    ck_assert_int_gt(attr(0, here).atime, 5);
}
END_TEST

START_TEST(many_in_one_message)
{
    enum { FILES = FS_ATIMES_MAX + 10 };
    static struct place files[FILES];
    char name[16];
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        files[i] = create_full(0, name);
    }
    world_pass(&w, 5 * TIME_S); /* leases are back */
    uint64_t index = w.last_index;
    for (int i = 0; i < FILES; i++)
        get(0, files[i], 0);
    world_pass(&w, 31 * TIME_S);
    for (int i = 0; i < FILES; i++)
        ck_assert_int_gt(told(files[i]), attr(0, files[i]).mtime);
    ck_assert_uint_eq(w.last_index, index + 2);
}
END_TEST

START_TEST(told_before_it_stops)
{
    struct place f = create_full(0, "a");
    get(0, f, 0);
    int64_t first = attr(0, f).atime;
    world_stop(&w, 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert(w.mounts[0].stopped);
    ck_assert_int_eq(told(f), first);
}
END_TEST

START_TEST(kept_over_a_lost_session)
{
    struct place f = create_full(0, "a");
    get(0, f, 0);
    int64_t first = attr(0, f).atime;
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_pass(&w, 61 * TIME_S);
    ck_assert_int_eq(told(f), first);
}
END_TEST

START_TEST(gone_before_it_is_told)
{
    struct place f = create_full(0, "a");
    get(0, f, 0);
    ck_assert_int_eq(
        world_do(&w, 0, (struct client_op){.kind = CLIENT_RELEASE, .ino = f.ino, .fh = f.fh})->err,
        0);
    ck_assert_int_eq(
        world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    world_pass(&w, 61 * TIME_S);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client atime");
    TCase *t = tcase_create("reads");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, read_here_told_later);
    tcase_add_test(t, read_again_after_a_change_or_a_day);
    tcase_add_test(t, set_by_hand_stands);
    tcase_add_test(t, set_by_hand_comes_behind_what_is_being_read);
    tcase_add_test(t, read_while_a_time_is_being_set);
    tcase_add_test(t, many_in_one_message);
    tcase_add_test(t, told_before_it_stops);
    tcase_add_test(t, kept_over_a_lost_session);
    tcase_add_test(t, gone_before_it_is_told);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
