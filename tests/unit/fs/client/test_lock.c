/* A mount's locks on their way: who waits, who gives up, who closes, who lost them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

static struct place f, g; /* one file, open at both mounts */

static void setup(void)
{
    two_mounts();
    f = create(0, "f");
    g = open_file(1, f.ino);
}

static struct client_op lock_op(struct place at, uint64_t owner, enum client_lock_type type,
                                bool wait)
{
    return (struct client_op){
        .kind = CLIENT_SETLK,
        .ino = at.ino,
        .fh = at.fh,
        .lock = {.owner = owner, .last = 99, .type = type, .wait = wait, .pid = 7}};
}

static int lock(int m, struct place at, uint64_t owner, enum client_lock_type type)
{
    return world_do(&w, m, lock_op(at, owner, type, false))->err;
}

static int close_by(int m, struct place at, uint64_t owner)
{
    return world_do(&w, m,
                    (struct client_op){
                        .kind = CLIENT_FLUSH, .ino = at.ino, .fh = at.fh, .lock = {.owner = owner}})
        ->err;
}

START_TEST(waits_until_it_is_free)
{
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), EAGAIN);
    uint64_t waits = world_start(&w, 1, lock_op(g, 1, CLIENT_LOCK_READ, true));
    world_pass(&w, 90 * TIME_S); /* longer than any deadline */
    ck_assert_ptr_null(world_find(&w, 1, waits));
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    world_settle(&w);
    ck_assert_ptr_nonnull(world_find(&w, 1, waits));
    ck_assert_int_eq(world_find(&w, 1, waits)->err, 0);
}
END_TEST

START_TEST(waits_on_under_a_new_leader)
{
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    uint64_t waits = world_start(&w, 1, lock_op(g, 1, CLIENT_LOCK_WRITE, true));
    world_settle(&w);
    world_new_leader(&w, 2, true);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 1, waits));
    ck_assert_int_eq(close_by(0, f, 1), 0);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 1, waits)->err, 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EAGAIN);
}
END_TEST

START_TEST(who_gave_up_stands_in_nobodys_way)
{
    /* Goal: the leader forgets who does not wait any more; else this were a deadlock. */
    struct place other = f;
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    struct client_op second = lock_op(g, 1, CLIENT_LOCK_WRITE, false);
    second.lock.first = 200;
    second.lock.last = 299;
    ck_assert_int_eq(world_do(&w, 1, second)->err, 0);
    uint64_t waits = world_start(&w, 1, lock_op(g, 1, CLIENT_LOCK_WRITE, true));
    world_settle(&w);
    world_cancel(&w, 1, waits);
    ck_assert_int_eq(world_find(&w, 1, waits)->err, EINTR);
    world_settle(&w);
    struct client_op back = lock_op(other, 1, CLIENT_LOCK_WRITE, true);
    back.lock.first = 200;
    back.lock.last = 299;
    uint64_t late = world_start(&w, 0, back);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, late)); /* waits, and rightly */
    uint64_t circle = world_start(&w, 1, lock_op(g, 1, CLIENT_LOCK_WRITE, true));
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 1, circle)->err, EDEADLK);
    second.lock.type = CLIENT_LOCK_NONE;
    ck_assert_int_eq(world_do(&w, 1, second)->err, 0);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, late)->err, 0);
}
END_TEST

START_TEST(granted_to_who_had_given_up)
{
    /* Goal: its caller was killed while the lock was on its way: nobody keeps it. */
    w.no_commit = true;
    uint64_t asked = world_start(&w, 0, lock_op(f, 1, CLIENT_LOCK_WRITE, true));
    world_settle(&w);
    world_cancel(&w, 0, asked);
    ck_assert_int_eq(world_find(&w, 0, asked)->err, EINTR);
    uint64_t closes = world_start(
        &w, 0,
        (struct client_op){.kind = CLIENT_FLUSH, .ino = f.ino, .fh = f.fh, .lock = {.owner = 1}});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, closes)); /* what it locked is not known yet */
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, closes)->err, 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
}
END_TEST

/* Owner 1 of mount 0 has asked for another range, and has given up before the answer comes. */
static void give_up_the_second_lock(void)
{
    struct client_op second = lock_op(f, 1, CLIENT_LOCK_WRITE, false);
    second.lock.first = 200;
    second.lock.last = 299;
    w.no_commit = true;
    uint64_t asked = world_start(&w, 0, second);
    world_settle(&w);
    world_cancel(&w, 0, asked);
    ck_assert_int_eq(world_find(&w, 0, asked)->err, EINTR);
}

START_TEST(what_was_locked_before_is_given_back)
{
    /* Goal: a process that has locks is killed while it waits for the answer to one more. Its
     * descriptor fails from then on, and its locks still end with it. */
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), EAGAIN); /* from now on the log has them */
    give_up_the_second_lock();
    uint64_t closes = world_start(
        &w, 0,
        (struct client_op){.kind = CLIENT_FLUSH, .ino = f.ino, .fh = f.fh, .lock = {.owner = 1}});
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, closes)->err, 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
}
END_TEST

START_TEST(what_others_locked_there_is_given_back)
{
    /* Goal: the descriptor was passed on by fork(2), and the other process has locks of its own. */
    struct client_op child = lock_op(f, 2, CLIENT_LOCK_WRITE, false);
    child.lock.first = 400;
    child.lock.last = 499;
    struct client_op unlock = child, other = child;
    unlock.lock.type = CLIENT_LOCK_NONE;
    other.fh = g.fh;
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), 0);
    ck_assert_int_eq(world_do(&w, 0, child)->err, 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), EAGAIN);
    give_up_the_second_lock();
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(read_by(0, f), EIO);
    ck_assert_int_eq(world_do(&w, 1, other)->err, EAGAIN);
    ck_assert_int_eq(world_do(&w, 0, unlock)->err, 0);
    ck_assert_int_eq(world_do(&w, 1, other)->err, 0);
    ck_assert_int_eq(close_by(0, f, 1), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
}
END_TEST

START_TEST(what_has_too_many_parts_is_given_back_whole)
{
    /* Goal: the log has as many parts as it takes, and refuses to take one more out of what came
     * when its caller had given up. Then nothing of it stays. */
    struct client_op part = lock_op(f, 1, CLIENT_LOCK_WRITE, false);
    part.lock.first = 0;
    part.lock.last = FS_LOCK_END;
    ck_assert_int_eq(world_do(&w, 0, part)->err, 0);
    part.lock.type = CLIENT_LOCK_NONE;
    for (uint64_t i = 1; i < FS_LOCKS_MAX; i++) {
        part.lock.first = part.lock.last = 2 * i;
        ck_assert_int_eq(world_do(&w, 0, part)->err, 0);
    }
    part.lock.type = CLIENT_LOCK_WRITE; /* of what it has */
    part.lock.first = part.lock.last = 4 * FS_LOCKS_MAX;
    w.no_commit = true;
    uint64_t asked = world_start(&w, 0, part);
    world_settle(&w);
    world_cancel(&w, 0, asked);
    ck_assert_int_eq(world_find(&w, 0, asked)->err, EINTR);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(read_by(0, f), EIO);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
}
END_TEST

START_TEST(a_close_that_is_given_up_gives_the_lock_back)
{
    /* Goal: whose close(2) is interrupted, or runs into its deadline, while nobody leads, has lost
     * its locks all the same (simulator seed 5000312). */
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    world_link_down(&w, 0, 1);
    world_link_down(&w, 0, 2);
    uint64_t closes = world_start(
        &w, 0,
        (struct client_op){.kind = CLIENT_FLUSH, .ino = f.ino, .fh = f.fh, .lock = {.owner = 1}});
    world_settle(&w);
    world_cancel(&w, 0, closes);
    ck_assert_int_eq(world_find(&w, 0, closes)->err, EINTR);
    world_link_up(&w, 0, 1, 1);
    world_link_up(&w, 0, 2, 1);
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
}
END_TEST

START_TEST(a_session_that_ended_fails_its_descriptors)
{
    struct place unlocked = open_file(0, f.ino);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(read_by(0, f), 0);
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 6 * TIME_S); /* longer than its lease */
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(read_by(0, f), EIO);
    ck_assert_int_eq(read_by(0, f), EIO); /* not once: nothing tells it that the lock is back */
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EIO);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    ck_assert_int_eq(read_by(0, unlocked), 0);
    ck_assert_int_eq(lock(0, unlocked, 1, CLIENT_LOCK_READ), EAGAIN);
    ck_assert_int_eq(close_by(1, g, 1), 0);
    ck_assert_int_eq(lock(0, unlocked, 1, CLIENT_LOCK_READ), 0);
}
END_TEST

/* Mount 0 is silent until its lock is mount 1's. */
static void lose_the_lock(void)
{
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 6 * TIME_S);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
    w.mounts[0].silent = w.mounts[0].held = false;
}

START_TEST(a_read_that_finds_the_session_ended)
{
    /* Goal: the question that tells the mount of the end is asked again under the new session, and
     * its answer is none for who relies on the lock. */
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    lose_the_lock();
    ck_assert_int_eq(read_by(0, f), EIO);
}
END_TEST

START_TEST(a_copy_that_finds_the_session_ended)
{
    /* Goal: the file that a copy goes to was locked, and is another mount's when the copy has
     * learned what there is to copy: it changes nothing. */
    struct place from = create(0, "from");
    put_text(0, from, 0, "copied");
    sync_file(0, from);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    lose_the_lock();
    struct client_op copy = op_of(CLIENT_COPY, from);
    copy.size = 6;
    copy.to_ino = f.ino;
    copy.to_fh = f.fh;
    ck_assert_int_eq(world_do(&w, 0, copy)->err, EIO);
    ck_assert_uint_eq(size_of(1, g), 0);
}
END_TEST

START_TEST(a_follower_does_not_know_who_has_the_lock)
{
    /* Goal: at consistency=session reads need no leader, unless they rely on a lock: a mount that
     * was stopped for long has lost it, and no follower tells. */
    world_close(&w);
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_SESSION);
    world_add_mount(&w, 1, CLIENT_SESSION);
    const struct world_answer *a = world_do(&w, 0,
                                            (struct client_op){.kind = CLIENT_MAKE,
                                                               .parent = WORLD_ROOT,
                                                               .name = "f",
                                                               .mode = S_IFREG | 0644,
                                                               .open = true,
                                                               .flags = O_RDWR | O_CREAT});
    f = (struct place){a->attr.ino, a->fh};
    ck_assert_int_eq(close_by(0, f, 1), 0);
    world_pass(&w, 60 * TIME_S); /* the write lease goes back */
    g = open_file(1, f.ino);
    struct place unlocked = open_file(0, f.ino);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    lose_the_lock();
    if (_i == 0)
        w.mute = w.leader;
    else
        world_link_down(&w, 0, w.leader);
    struct client_op get = {.kind = CLIENT_GETATTR, .ino = f.ino, .fh = f.fh};
    struct client_op get_unlocked = {.kind = CLIENT_GETATTR, .ino = f.ino, .fh = unlocked.fh};
    struct client_op read = {.kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .size = 10};
    uint64_t attr = world_start(&w, 0, get), data = world_start(&w, 0, read);
    ck_assert_int_eq(world_do(&w, 0, get_unlocked)->err, 0);
    world_pass(&w, 2 * TIME_S);
    ck_assert_ptr_null(world_find(&w, 0, attr));
    ck_assert_ptr_null(world_find(&w, 0, data));
    w.mute = 0;
    if (_i != 0)
        world_link_up(&w, 0, w.leader, 1);
    world_pass(&w, 5 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, attr)->err, EIO);
    ck_assert_int_eq(world_find(&w, 0, data)->err, EIO);
}
END_TEST

START_TEST(the_last_close_ends_what_belongs_to_the_open_file)
{
    struct client_op op = lock_op(f, 5, CLIENT_LOCK_WRITE, false);
    op.lock.flock = true;
    op.lock.last = INT64_MAX;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_int_eq(close_by(0, f, 1), 0); /* a close(2) of a copy of the descriptor */
    struct client_op other = op;
    other.fh = g.fh;
    ck_assert_int_eq(world_do(&w, 1, other)->err, EAGAIN);
    (void)world_start(&w, 0, (struct client_op){.kind = CLIENT_RELEASE, .ino = f.ino, .fh = f.fh});
    world_settle(&w);
    ck_assert_int_eq(world_do(&w, 1, other)->err, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client locks");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, no_mounts);
    tcase_add_test(t, waits_until_it_is_free);
    tcase_add_test(t, waits_on_under_a_new_leader);
    tcase_add_test(t, who_gave_up_stands_in_nobodys_way);
    tcase_add_test(t, granted_to_who_had_given_up);
    tcase_add_test(t, what_was_locked_before_is_given_back);
    tcase_add_test(t, what_others_locked_there_is_given_back);
    tcase_add_test(t, what_has_too_many_parts_is_given_back_whole);
    tcase_add_test(t, a_close_that_is_given_up_gives_the_lock_back);
    tcase_add_test(t, a_session_that_ended_fails_its_descriptors);
    tcase_add_test(t, a_read_that_finds_the_session_ended);
    tcase_add_test(t, a_copy_that_finds_the_session_ended);
    tcase_add_loop_test(t, a_follower_does_not_know_who_has_the_lock, 0, 2);
    tcase_add_test(t, the_last_close_ends_what_belongs_to_the_open_file);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
