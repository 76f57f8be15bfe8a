/* A mount's names: files that have none yet, and those that are found when they were to be made. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* ---- short forms ----------------------------------------------------------------------------- */

static struct client_op op_tmpfile(void)
{
    return (struct client_op){.kind = CLIENT_MAKE,
                              .parent = WORLD_ROOT,
                              .name = "",
                              .mode = S_IFREG | 0644,
                              .open = true,
                              .nameless = true,
                              .flags = O_RDWR | O_TMPFILE};
}

static struct place nameless(int m)
{
    const struct world_answer *a = world_do(&w, m, op_tmpfile());
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.nlink, 0);
    ck_assert_uint_eq(a->entry_valid_us, 0);
    return (struct place){a->attr.ino, a->fh};
}

static int link_root(int m, uint64_t ino, const char *name)
{
    return world_do(&w, m,
                    (struct client_op){
                        .kind = CLIENT_LINK, .ino = ino, .newparent = WORLD_ROOT, .newname = name})
        ->err;
}

static uint64_t inodes(void)
{
    return fs_state_totals(w.state).inodes;
}

/* ---- without a name -------------------------------------------------------------------------- */

START_TEST(gone_when_it_is_closed)
{
    /* Goal: a nameless file lives while it is open, by whatever descriptor, and leaves nothing. */
    uint64_t before = inodes();
    struct place f = nameless(0);
    put_text(0, f, 0, "scratch");
    const struct world_answer *a =
        world_do(&w, 0, (struct client_op){.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDONLY});
    ck_assert_int_eq(a->err, 0); /* by /proc/self/fd */
    struct place again = {f.ino, a->fh};
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(inodes(), before + 1);
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, again), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(inodes(), before);
    ck_assert_uint_eq(fs_state_totals(w.state).bytes, 0);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}
END_TEST

START_TEST(named_with_what_was_written)
{
    /* Goal: RULES B11: who sees the name sees all that was written before; the file then lives and
     * dies as any other. */
    struct place f = nameless(0);
    put_text(0, f, 0, "whole");
    ck_assert_int_eq(lookup(1, "a")->err, ENOENT);
    ck_assert_int_eq(link_root(0, f.ino, "a"), 0);
    const struct world_answer *a = lookup(1, "a");
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.size, 5);
    ck_assert_uint_eq(a->attr.nlink, 1);
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(lookup(1, "a")->err, 0);
    uint64_t before = inodes();
    ck_assert_int_eq(
        world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(inodes(), before - 1);
}
END_TEST

START_TEST(named_while_it_is_closed)
{
    /* Goal: a close that overtakes the answer to the link takes nothing away. */
    struct place f = nameless(0);
    w.no_commit = true;
    uint64_t link = world_start(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_LINK, .ino = f.ino, .newparent = WORLD_ROOT, .newname = "a"});
    uint64_t release =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_RELEASE, .ino = f.ino, .fh = f.fh});
    world_settle(&w);
    ck_assert_ptr_nonnull(world_find(&w, 0, release));
    ck_assert_ptr_null(world_find(&w, 0, link));
    w.no_commit = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, link)->err, 0);
    ck_assert_int_eq(lookup(1, "a")->err, 0);
}
END_TEST

START_TEST(opener_killed)
{
    /* Goal: what nobody got is not left behind. */
    uint64_t before = inodes();
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, op_tmpfile());
    world_settle(&w);
    world_cancel(&w, 0, id);
    w.no_commit = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(inodes(), before);
}
END_TEST

START_TEST(gone_with_its_session)
{
    /* Goal: RULES L2, L7. */
    uint64_t before = inodes();
    struct place f = nameless(0);
    put_text(0, f, 0, "lost");
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(inodes(), before);
    ck_assert_int_eq(link_root(0, f.ino, "a"), ESTALE);
}
END_TEST

START_TEST(found_by_a_create_whose_answer_was_lost)
{
    /* Goal: an answer of CREATE that is given again says what was there then. A removal in between
     * asked this mount whether the file is open here (simulator seed 30000886): it may be. */
    struct client_op make = {.kind = CLIENT_MAKE,
                             .parent = WORLD_ROOT,
                             .name = "a",
                             .mode = S_IFREG | 0644,
                             .open = true,
                             .flags = O_RDWR | O_CREAT};
    const struct world_answer *a = world_do(&w, 0, make);
    struct place f = {a->attr.ino, a->fh};
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S); /* its lease is back */
    w.mounts[1].held = true;
    uint64_t create = world_start(&w, 1, make);
    world_settle(&w);
    world_link_down(&w, 1, 1);
    w.mounts[1].held = false;
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    uint64_t removal = world_start(&w, 0, unlink);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, removal));
    world_link_up(&w, 1, 1, 1);
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, removal)->err, 0);
    a = world_find(&w, 1, create);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    f = (struct place){a->attr.ino, a->fh};
    put_text(1, f, 0, "new");
    ck_assert_int_eq(simple(1, CLIENT_FSYNC, f), 0);
    expect_text(1, f, 0, "new");
    ck_assert_int_eq(lookup(0, "a")->err, ENOENT);
}
END_TEST

/* ---- directories that are gone --------------------------------------------------------------- */

START_TEST(a_directory_removed_elsewhere_is_empty)
{
    /* Goal: who has a directory open that another mount removes finds it without names and links,
     * as on a local disk, and not an error that no program expects; nothing is made in it. */
    struct client_op make = {
        .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "d", .mode = S_IFDIR | 0755};
    uint64_t ino = world_do(&w, 0, make)->attr.ino;
    ck_assert_int_eq(lookup(1, "d")->err, 0);
    struct client_op list = {.kind = CLIENT_READDIR, .ino = ino, .size = 10};
    ck_assert_int_eq(world_do(&w, 1, list)->err, 0);
    struct client_op remove = {.kind = CLIENT_RMDIR, .parent = WORLD_ROOT, .name = "d"};
    ck_assert_int_eq(world_do(&w, 0, remove)->err, 0);
    ck_assert_int_eq(world_do(&w, 1, list)->err, ENOENT); /* to readdir(3) the end */
    const struct world_answer *a =
        world_do(&w, 1, (struct client_op){.kind = CLIENT_GETATTR, .ino = ino});
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.nlink, 0);
    ck_assert(S_ISDIR(a->attr.mode));
    ck_assert_uint_eq(a->attr_valid_us, 0);
    make.parent = ino;
    ck_assert_int_eq(world_do(&w, 1, make)->err, ENOENT);
    make.mode = S_IFREG | 0644;
    ck_assert_int_eq(world_do(&w, 1, make)->err, ENOENT);
    ck_assert_int_eq(lookup(1, "d")->err, ENOENT);
}
END_TEST

/* ---- answers that are given once more -------------------------------------------------------- */

/* It is done, and mount 0 does not hear of that: its link to the leader went. */
static uint64_t done_unheard(struct client_op op)
{
    w.mounts[0].held = true;
    uint64_t id = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, id));
    world_link_down(&w, 0, 1);
    w.mounts[0].held = false;
    return id;
}

static const struct world_answer *heard_at_last(uint64_t id)
{
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 1 * TIME_S);
    const struct world_answer *a = world_find(&w, 0, id);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    return a;
}

static struct client_op op_unlink(const char *name)
{
    return (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = name};
}

START_TEST(removed_before_its_maker_knows)
{
    /* Goal: RULES L7: a file that is made is open from then on, also when the mount has not heard
     * of it yet and is asked; what it says too much is given back. */
    uint64_t before = inodes();
    uint64_t made = done_unheard((struct client_op){.kind = CLIENT_MAKE,
                                                    .parent = WORLD_ROOT,
                                                    .name = "a",
                                                    .mode = S_IFREG | 0644,
                                                    .open = true,
                                                    .flags = O_CREAT | (_i ? O_RDWR : O_RDONLY)});
    uint64_t unlink = world_start(&w, 1, op_unlink("a"));
    world_settle(&w);
    const struct world_answer *a = heard_at_last(made);
    struct place f = {a->attr.ino, a->fh};
    ck_assert_ptr_nonnull(world_find(&w, 1, unlink));
    put_text(0, f, 0, "kept");
    sync_file(0, f);
    expect_text(0, f, 0, "kept");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(inodes(), before);
}
END_TEST

START_TEST(held_before_its_maker_knows)
{
    /* Goal: the leader tells a mount what it holds, so that it gives back what it has not; not what
     * it has just made. */
    uint64_t made = done_unheard(op_tmpfile());
    world_pass(&w, 1500 * TIME_MS); /* it will renew first */
    const struct world_answer *a = heard_at_last(made);
    struct place f = {a->attr.ino, a->fh};
    put_text(0, f, 0, "kept");
    sync_file(0, f);
    expect_text(0, f, 0, "kept");
}
END_TEST

START_TEST(made_again_before_its_remover_knows)
{
    /* Goal: an answer that is given once more says what was true the first time. Meanwhile the
     * promise was over, another mount made the name again, and here the next promise came first. */
    struct place f = create(1, "a");
    ck_assert_int_eq(simple(1, CLIENT_RELEASE, f), 0);
    ck_assert_int_eq(lookup(0, "a")->err, 0);
    uint64_t removed = done_unheard(op_unlink("a"));
    world_cancel(&w, 0, removed); /* so that other names can be looked up */
    world_pass(&w, 5 * TIME_S);
    uint64_t made = create(1, "a").ino;
    uint64_t other = world_start(
        &w, 0, (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "z"});
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 0, other));
    const struct world_answer *a = lookup(0, "a");
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, made);
}
END_TEST

/* ---- known by a hint ------------------------------------------------------------------------- */

static Fs__Op__BodyCase only_pending(void)
{
    ck_assert_uint_eq(w.pending.count, 1);
    const struct blob *payload = w.pending.items[0].payload;
    Fs__Op *op = fs__op__unpack(NULL, payload->size, payload->data);
    Fs__Op__BodyCase kind = op->body_case;
    fs__op__free_unpacked(op, NULL);
    return kind;
}

START_TEST(found_while_its_directory_changes)
{
    /* Goal: RULES B11 also of a name that was found while this mount changed its directory, so that
     * nothing was promised of it: a rename has what was written committed first. */
    struct place there = create(1, "a");
    put_text(1, there, 0, "old");
    sync_file(1, there);
    world_pass(&w, 10 * TIME_S);                      /* its write lease goes back */
    ck_assert_int_eq(lookup(0, "none")->err, ENOENT); /* the names are promised from here on */
    w.no_commit = true;
    uint64_t makes = world_start(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "b", .mode = S_IFDIR | 0755});
    world_settle(&w);
    const struct world_answer *a = lookup(0, "a");
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr.ino, there.ino);
    ck_assert_ptr_null(world_find(&w, 0, makes));
    w.no_commit = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, makes)->err, 0);
    struct place f = open_file(0, there.ino);
    put_text(0, f, 0, "new");
    w.no_commit = true;
    uint64_t id = world_start(&w, 0,
                              (struct client_op){.kind = CLIENT_RENAME,
                                                 .parent = WORLD_ROOT,
                                                 .name = "a",
                                                 .newparent = WORLD_ROOT,
                                                 .newname = "c"});
    world_settle(&w);
    ck_assert_int_eq(only_pending(), FS__OP__BODY_COMMIT);
    w.no_commit = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, id)->err, 0);
}
END_TEST

/* ---- many at once ---------------------------------------------------------------------------- */

START_TEST(more_than_the_window_holds)
{
    /* Goal: of many that make a name at once only so many are asked for at a time; the others
     * follow as answers come, though nobody begins anything new. */
    enum { MANY = 100 };
    uint64_t ids[MANY];
    char name[16];
    (void)create(0, "first"); /* the session begins */
    w.no_commit = true;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many%u", i);
        ids[i] = world_start(
            &w, 0,
            (struct client_op){
                .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755});
    }
    world_settle(&w);
    w.no_commit = false;
    world_settle(&w); /* no time passes */
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_ptr_nonnull(world_find(&w, 0, ids[i]));
        ck_assert_int_eq(world_find(&w, 0, ids[i])->err, 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client names");
    TCase *t = tcase_create("nameless");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, gone_when_it_is_closed);
    tcase_add_test(t, named_with_what_was_written);
    tcase_add_test(t, named_while_it_is_closed);
    tcase_add_test(t, opener_killed);
    tcase_add_test(t, gone_with_its_session);
    suite_add_tcase(suite, t);
    t = tcase_create("found");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, found_by_a_create_whose_answer_was_lost);
    suite_add_tcase(suite, t);
    t = tcase_create("answered again");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_loop_test(t, removed_before_its_maker_knows, 0, 2);
    tcase_add_test(t, held_before_its_maker_knows);
    tcase_add_test(t, made_again_before_its_remover_knows);
    suite_add_tcase(suite, t);
    t = tcase_create("removed");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, a_directory_removed_elsewhere_is_empty);
    suite_add_tcase(suite, t);
    t = tcase_create("known by a hint");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, found_while_its_directory_changes);
    suite_add_tcase(suite, t);
    t = tcase_create("many at once");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, more_than_the_window_holds);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
