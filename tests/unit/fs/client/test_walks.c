/* What a path walk comes upon that is being removed, or that another mount made first. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

static int remove_name(int m, const char *name)
{
    return world_do(&w, m,
                    (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = name})
        ->err;
}

static uint64_t make_fifo(int m, const char *name)
{
    const struct world_answer *a = world_do(
        &w, m,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFIFO | 0644});
    ck_assert_int_eq(a->err, 0);
    return a->attr.ino;
}

static bool exists(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_get_attr(w.state, ino, &attr) == 0;
}

START_TEST(second_walk_finds_it_still_there)
{
    /* Goal: Linux walks a path once more after ESTALE and not again. What that walk finds is kept
     * for the open that follows, also when its name is taken away in between; and no longer. */
    struct place old = create(0, "a"), new = create(0, "b");
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, old))->err, 0);
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, new))->err, 0);
    ck_assert_int_eq(lookup(1, "a")->err, 0);
    ck_assert_int_eq(remove_name(0, "a"), 0);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = old.ino, .flags = O_RDWR};
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
    ck_assert_int_eq(lookup(1, "b")->err, 0);
    ck_assert_int_eq(remove_name(0, "b"), 0);
    ck_assert(exists(new.ino));
    struct place f = open_file(1, new.ino);
    ck_assert_int_eq(world_do(&w, 1, op_of(CLIENT_RELEASE, f))->err, 0);
    world_settle(&w);
    ck_assert(!exists(new.ino));

    struct place last = create(0, "c");
    ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, last))->err, 0);
    open.ino = old.ino;
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
    ck_assert_int_eq(lookup(1, "c")->err, 0);
    ck_assert_int_eq(remove_name(0, "c"), 0);
    world_pass(&w, 5 * TIME_S);
    ck_assert(!exists(last.ino)); /* nobody came */
}
END_TEST

START_TEST(second_walk_meets_a_removal_under_way)
{
    /* Goal: what is being removed when the second walk comes, by another mount or by this one, is
     * no answer for it: who removes has been told that it is not open here, so it would be gone
     * when the open comes. It waits, and looks again. */
    for (int remover = 0; remover < WORLD_MOUNTS; remover++) {
        struct place old = create(0, "a"), new = create(0, "b");
        ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, old))->err, 0);
        ck_assert_int_eq(world_do(&w, 0, op_of(CLIENT_RELEASE, new))->err, 0);
        ck_assert_int_eq(lookup(1, "b")->err, 0);
        ck_assert_int_eq(remove_name(0, "a"), 0);
        w.no_commit = true;
        struct client_op remove = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "b"};
        uint64_t removal = world_start(&w, remover, remove);
        world_settle(&w);
        struct client_op open = {.kind = CLIENT_OPEN, .ino = old.ino, .flags = O_RDWR};
        ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
        struct client_op find = {.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "b"};
        uint64_t walk = world_start(&w, 1, find);
        world_settle(&w);
        ck_assert_ptr_null(world_find(&w, remover, removal));
        ck_assert_ptr_null(world_find(&w, 1, walk));
        w.no_commit = false;
        world_settle(&w);
        ck_assert_int_eq(world_find(&w, remover, removal)->err, 0);
        ck_assert_int_eq(world_find(&w, 1, walk)->err, ENOENT);
        world_pass(&w, 5 * TIME_S); /* no walk is a second one any more */
    }
}
END_TEST

START_TEST(fifo_removed_while_it_may_be_open)
{
    /* Goal: Linux opens a fifo without asking. It lives on without a name as long as some mount's
     * kernel knows it: its own, and another's. */
    for (int remover = 0; remover < WORLD_MOUNTS; remover++) {
        uint64_t ino = make_fifo(0, "p");
        ck_assert_int_eq(lookup(1, "p")->err, 0);
        ck_assert_int_eq(remove_name(remover, "p"), 0);
        for (int m = 0; m < WORLD_MOUNTS; m++) {
            struct client_op ask = {.kind = CLIENT_GETATTR, .ino = ino};
            ck_assert_int_eq(world_do(&w, m, ask)->err, 0);
            struct client_op forget = {.kind = CLIENT_FORGET, .ino = ino, .nlookup = 1};
            (void)world_start(&w, m, forget);
            w.mounts[1].pruned = 0;
            world_pass(&w, 5 * TIME_S);
            ck_assert_int_eq(exists(ino), m == 0);
            ck_assert_int_eq(w.mounts[1].pruned != 0, m == 0); /* its kernel is asked to forget */
        }
    }
}
END_TEST

START_TEST(fifo_found_while_it_is_removed)
{
    /* Goal: a mount that did not know the fifo when it was asked whether it has it open, and finds
     * it before it is gone, opens it without asking anybody. It is told that it is gone. */
    for (int remover = 0; remover < WORLD_MOUNTS; remover++) {
        (void)make_fifo(0, "p");
        w.no_commit = true;
        struct client_op remove = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "p"};
        uint64_t removal = world_start(&w, remover, remove);
        world_settle(&w);
        struct client_op find = {.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "p"};
        uint64_t walk = world_start(&w, 1, find);
        world_settle(&w);
        ck_assert_ptr_null(world_find(&w, 1, walk));
        w.no_commit = false;
        world_settle(&w);
        ck_assert_int_eq(world_find(&w, remover, removal)->err, 0);
        ck_assert_int_eq(world_find(&w, 1, walk)->err, ENOENT);
    }
}
END_TEST

static int create_over(uint32_t flags, uint32_t uid)
{
    struct client_op op = {.kind = CLIENT_MAKE,
                           .parent = WORLD_ROOT,
                           .name = "f",
                           .mode = S_IFREG | 0644,
                           .open = true,
                           .flags = flags,
                           .uid = uid};
    return world_do(&w, 1, op)->err;
}

START_TEST(created_over_a_file)
{
    /* Goal: Linux does not check what CREATE answers, as it takes it for new: so it has to look
     * again where the caller may be forbidden to open it. */
    struct client_op op = {
        .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "f", .mode = S_IFREG | 0600, .uid = 7};
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_int_eq(create_over(O_RDWR, 7), 0);
    ck_assert_int_eq(create_over(O_RDWR, 0), 0);
    ck_assert_int_eq(create_over(O_RDWR | O_TRUNC, 7), 0);
    ck_assert_int_eq(create_over(O_RDONLY, 8), ESTALE);
    op.name = "readable";
    op.mode = S_IFREG | 0400;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    op = (struct client_op){.kind = CLIENT_MAKE,
                            .parent = WORLD_ROOT,
                            .name = "readable",
                            .mode = S_IFREG | 0644,
                            .open = true,
                            .flags = O_RDONLY,
                            .uid = 7};
    ck_assert_int_eq(world_do(&w, 1, op)->err, 0);
    op.flags = O_WRONLY;
    ck_assert_int_eq(world_do(&w, 1, op)->err, ESTALE);
}
END_TEST

START_TEST(created_over_a_fifo)
{
    /* Goal: open(O_CREAT) of a name that Linux took to be free and that another mount has given to
     * something else than a file is sent to look again: CREATE can't answer with it. */
    (void)make_fifo(0, "p");
    const struct world_answer *a = world_do(&w, 1,
                                            (struct client_op){.kind = CLIENT_MAKE,
                                                               .parent = WORLD_ROOT,
                                                               .name = "p",
                                                               .mode = S_IFREG | 0644,
                                                               .open = true,
                                                               .flags = O_RDWR | O_CREAT});
    ck_assert_int_eq(a->err, ESTALE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client walks");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, second_walk_finds_it_still_there);
    tcase_add_test(t, second_walk_meets_a_removal_under_way);
    tcase_add_test(t, fifo_removed_while_it_may_be_open);
    tcase_add_test(t, fifo_found_while_it_is_removed);
    tcase_add_test(t, created_over_a_file);
    tcase_add_test(t, created_over_a_fifo);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
