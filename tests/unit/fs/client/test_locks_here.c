/* Locks that a mount keeps to itself under a write lease: that the log hears nothing of them, and
 * when it has to. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/internal.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "repl/base/kv_txn.h"
#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

static struct place f; /* made at mount 0, which has its write lease */

static void start_with(enum client_consistency consistency, bool local_names)
{
    world_open(&w);
    w.local_names = local_names;
    world_add_mount(&w, 0, consistency);
    world_add_mount(&w, 1, consistency);
    f = create(0, "f");
    world_pass(&w, 100 * TIME_MS); /* the session is renewed */
}

static void start(enum client_consistency consistency)
{
    start_with(consistency, false);
}

static void setup(void)
{
    start(CLIENT_LINEARIZABLE);
}

static struct client_op range_op(struct place at, uint64_t owner, enum client_lock_type type,
                                 uint64_t first, uint64_t last)
{
    return (struct client_op){.kind = CLIENT_SETLK,
                              .ino = at.ino,
                              .fh = at.fh,
                              .lock = {.owner = owner,
                                       .first = first,
                                       .last = last,
                                       .type = type,
                                       .pid = (uint32_t)(100 + owner)}};
}

static int lock(int m, struct place at, uint64_t owner, enum client_lock_type type)
{
    return world_do(&w, m, range_op(at, owner, type, 0, 99))->err;
}

static int lock_range(uint64_t owner, enum client_lock_type type, uint64_t first, uint64_t last)
{
    return world_do(&w, 0, range_op(f, owner, type, first, last))->err;
}

static uint64_t start_waiting(int m, struct place at, uint64_t owner, uint64_t first)
{
    struct client_op op = range_op(at, owner, CLIENT_LOCK_WRITE, first, first + 99);
    op.lock.wait = true;
    uint64_t id = world_start(&w, m, op);
    world_settle(&w);
    return id;
}

static struct client_op close_op(struct place at, uint64_t owner)
{
    return (struct client_op){
        .kind = CLIENT_FLUSH, .ino = at.ino, .fh = at.fh, .lock = {.owner = owner}};
}

static void write_by(int m, struct place at)
{
    struct blob *data = blob_copy("0123456789", 10);
    const struct world_answer *a = world_do(
        &w, m, (struct client_op){.kind = CLIENT_WRITE, .ino = at.ino, .fh = at.fh, .data = data});
    ck_assert_int_eq(a->err, 0);
}

static bool kept_here(void)
{
    return locks_here(w.mounts[0].client, f.ino);
}

static bool count_lock(void *ctx, const struct fs_lock *l)
{
    (void)l;
    ++*(unsigned *)ctx;
    return true;
}

static unsigned locks_in_log(void)
{
    unsigned count = 0;
    fs_each_lock(w.state, f.ino, count_lock, &count);
    return count;
}

/* ---- without the log ------------------------------------------------------------------------- */

START_TEST(the_log_hears_nothing)
{
    uint64_t before = w.last_index;
    ck_assert(kept_here());
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), 0);
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_READ), 0);
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_WRITE), EAGAIN);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EAGAIN);
    struct client_op ask = range_op(f, 1, CLIENT_LOCK_READ, 50, 60);
    ask.kind = CLIENT_GETLK;
    uint64_t asked = world_start(&w, 0, ask);
    ck_assert_ptr_nonnull(world_find(&w, 0, asked)); /* at once */
    ck_assert_int_eq(world_find(&w, 0, asked)->lock.type, CLIENT_LOCK_WRITE);
    ck_assert_uint_eq(world_find(&w, 0, asked)->lock.last, 99);
    ck_assert_uint_eq(world_find(&w, 0, asked)->lock.pid, 102);
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_NONE), 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(world_do(&w, 0, close_op(f, 1))->err, 0);
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(world_do(&w, 0, close_op(f, 2))->err, 0);
    ck_assert_uint_eq(w.last_index, before);
    ck_assert(kept_here());
}
END_TEST

START_TEST(nor_when_there_is_nothing_left)
{
    /* Goal: what was taken and given back is no entry when the lease goes either. */
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    uint64_t before = w.last_index;
    (void)open_file(1, f.ino); /* asks for the attributes, so the lease comes back */
    ck_assert(!kept_here());
    ck_assert_uint_eq(w.last_index, before + 1);
    ck_assert_uint_eq(locks_in_log(), 0);
}
END_TEST

START_TEST(at_consistency_session_too)
{
    world_close(&w);
    start(CLIENT_SESSION);
    uint64_t before = w.last_index;
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_uint_eq(w.last_index, before);
    struct place g = open_file(1, f.ino);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), EAGAIN);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), 0);
}
END_TEST

START_TEST(of_a_file_that_was_made_under_a_directory_lease)
{
    world_close(&w);
    start_with(CLIENT_LINEARIZABLE, true);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0); /* waits until the file is in the log */
    ck_assert(kept_here());
    ck_assert_uint_eq(locks_in_log(), 0);
    struct place g = open_file(1, f.ino);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), EAGAIN);
}
END_TEST

START_TEST(without_a_leader_as_long_as_the_session)
{
    /* Goal: a mount whose session may have ended by its own clock decides nothing. */
    world_link_down(&w, 0, 1);
    world_link_down(&w, 0, 2);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    world_pass(&w, 6 * TIME_S);
    uint64_t late = world_start(&w, 0, range_op(f, 2, CLIENT_LOCK_WRITE, 200, 299));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, late));
    world_link_up(&w, 0, 1, 1);
    world_link_up(&w, 0, 2, 1);
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, late)->err, 0);
    ck_assert_uint_eq(locks_in_log(), 2); /* first what was decided here */
}
END_TEST

/* ---- when another comes ---------------------------------------------------------------------- */

START_TEST(another_mount_meets_them)
{
    struct place g = open_file(1, f.ino);
    write_by(0, f); /* the lease again */
    ck_assert(kept_here());
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_uint_eq(locks_in_log(), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), EAGAIN);
    ck_assert_uint_eq(locks_in_log(), 1);
    uint64_t waits = start_waiting(1, g, 1, 0);
    ck_assert_ptr_null(world_find(&w, 1, waits));
    ck_assert_int_eq(read_by(0, f), 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 1, waits)->err, 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EAGAIN);
}
END_TEST

START_TEST(who_asks_is_told_of_them)
{
    struct place g = open_file(1, f.ino);
    write_by(0, f);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    struct client_op ask = range_op(g, 1, CLIENT_LOCK_READ, 50, 60);
    ask.kind = CLIENT_GETLK;
    const struct world_answer *answer = world_do(&w, 1, ask);
    ck_assert_int_eq(answer->err, 0);
    ck_assert_int_eq(answer->lock.type, CLIENT_LOCK_WRITE);
    ck_assert_uint_eq(answer->lock.pid, 101);
    ck_assert(!kept_here());
    ck_assert_uint_eq(locks_in_log(), 1);
}
END_TEST

START_TEST(not_while_another_has_one)
{
    struct place g = open_file(1, f.ino);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), 0);
    write_by(0, f);
    ck_assert(!kept_here());
    uint64_t before = w.last_index;
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), 0);
    ck_assert_uint_gt(w.last_index, before);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), EAGAIN);
}
END_TEST

START_TEST(under_a_new_leader)
{
    struct place g = open_file(1, f.ino);
    write_by(0, f);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    world_new_leader(&w, 2, true);
    world_pass(&w, 100 * TIME_MS);
    ck_assert(kept_here());
    ck_assert_int_eq(lock(0, f, 2, CLIENT_LOCK_READ), EAGAIN);
    ck_assert_uint_eq(locks_in_log(), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), EAGAIN);
    ck_assert_uint_eq(locks_in_log(), 1);
}
END_TEST

START_TEST(given_back_while_they_are_written)
{
    /* Goal: an unlock that comes while the lock is on its way to the log ends it there as well; a
     * close does not wait for that. */
    struct place g = open_file(1, f.ino);
    write_by(0, f);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(world_do(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino})->err,
                     0);
    w.no_commit = true;
    uint64_t waits = start_waiting(1, g, 1, 0);
    ck_assert(!kept_here());
    uint64_t closes = world_start(&w, 0, close_op(f, 1));
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, closes)->err, 0);
    ck_assert_ptr_null(world_find(&w, 1, waits));
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, waits)->err, 0);
    ck_assert_uint_eq(locks_in_log(), 1);
}
END_TEST

START_TEST(the_idle_lease_takes_them_along)
{
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    world_pass(&w, 10 * TIME_S);
    ck_assert(!kept_here());
    ck_assert_uint_eq(locks_in_log(), 1);
    uint64_t before = w.last_index;
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    ck_assert_uint_gt(w.last_index, before);
    ck_assert_uint_eq(locks_in_log(), 0);
}
END_TEST

START_TEST(two_that_change_places)
{
    /* Goal: the way from what the log has to what is held never meets itself: each of the two
     * wants, for reading, what the log still shows the other to have for writing. */
    struct place g = open_file(1, f.ino);
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_WRITE, 0, 9), 0);
    ck_assert_int_eq(lock_range(2, CLIENT_LOCK_WRITE, 10, 19), 0);
    ck_assert_uint_eq(locks_in_log(), 2);
    write_by(0, f);
    ck_assert(kept_here());
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_READ, 0, 9), 0);
    ck_assert_int_eq(lock_range(2, CLIENT_LOCK_READ, 10, 19), 0);
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_READ, 0, 19), 0);
    ck_assert_int_eq(lock_range(2, CLIENT_LOCK_READ, 0, 19), 0);
    ck_assert_int_eq(lock_range(2, CLIENT_LOCK_NONE, 5, 6), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_READ), 0);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), EAGAIN);
    ck_assert_uint_eq(locks_in_log(), 4);
    ck_assert_int_eq(read_by(0, f), 0);
}
END_TEST

START_TEST(two_that_ask_one_another_for_much)
{
    /* Goal: RULES B2: what gives a lease back is not held up by what waits for the other's. */
    enum { MANY = SEQ_WINDOW + 6 };
    uint64_t ids[2][MANY];
    struct place f1 = open_file(1, f.ino), g1 = create(1, "g"), g0 = open_file(0, g1.ino);
    write_by(0, f);
    write_by(1, g1);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock(1, g1, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert(kept_here() && locks_here(w.mounts[1].client, g1.ino));
    for (uint64_t i = 0; i < MANY; i++) {
        ids[0][i] = world_start(&w, 0, range_op(g0, 10 + i, CLIENT_LOCK_READ, 0, 99));
        ids[1][i] = world_start(&w, 1, range_op(f1, 10 + i, CLIENT_LOCK_READ, 0, 99));
    }
    world_pass(&w, 1 * TIME_S);
    for (int m = 0; m < 2; m++) {
        for (size_t i = 0; i < MANY; i++) {
            ck_assert_ptr_nonnull(world_find(&w, m, ids[m][i]));
            ck_assert_int_eq(world_find(&w, m, ids[m][i])->err, EAGAIN);
        }
    }
}
END_TEST

/* ---- waiting --------------------------------------------------------------------------------- */

START_TEST(who_waits_waits_at_the_leader)
{
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    uint64_t waits = start_waiting(0, f, 2, 0);
    ck_assert_ptr_null(world_find(&w, 0, waits));
    ck_assert(!kept_here());
    ck_assert_uint_eq(locks_in_log(), 1);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_NONE), 0);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, waits)->err, 0);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EAGAIN);
}
END_TEST

START_TEST(a_circle_of_two_here)
{
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(lock_range(2, CLIENT_LOCK_WRITE, 200, 299), 0);
    uint64_t first = start_waiting(0, f, 1, 200), second = start_waiting(0, f, 2, 0);
    ck_assert_ptr_null(world_find(&w, 0, first));
    ck_assert_int_eq(world_find(&w, 0, second)->err, EDEADLK);
}
END_TEST

START_TEST(flock_that_wants_more)
{
    /* Goal: it is given up before it is refused, as everywhere. */
    struct client_op op = range_op(f, 1, CLIENT_LOCK_READ, 0, INT64_MAX);
    op.lock.flock = true;
    struct client_op other = op;
    other.fh = open_file(0, f.ino).fh;
    other.lock.owner = 2;
    ck_assert_int_eq(world_do(&w, 0, op)->err, 0);
    ck_assert_int_eq(world_do(&w, 0, other)->err, 0);
    op.lock.type = CLIENT_LOCK_WRITE;
    ck_assert_int_eq(world_do(&w, 0, op)->err, EAGAIN);
    other.lock.type = CLIENT_LOCK_WRITE;
    ck_assert_int_eq(world_do(&w, 0, other)->err, 0);
}
END_TEST

/* ---- losing them ----------------------------------------------------------------------------- */

START_TEST(a_session_that_ended_takes_them_along)
{
    struct place unlocked = open_file(0, f.ino);
    struct place g = open_file(1, f.ino);
    write_by(0, f);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_WRITE), 0);
    ck_assert_int_eq(world_do(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino})->err,
                     0);
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 6 * TIME_S);
    ck_assert_int_eq(lock(1, g, 1, CLIENT_LOCK_WRITE), 0);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(read_by(0, f), EIO);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EIO);
    (void)size_of(0, unlocked); /* as before each read(2) */
    ck_assert_int_eq(read_by(0, unlocked), 0);
    ck_assert_int_eq(lock(0, unlocked, 1, CLIENT_LOCK_READ), EAGAIN);
}
END_TEST

/* As if the leader had ended it, which it never does. */
static void take_the_lease_away(void)
{
    Fs__Attr attr = FS__ATTR__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    Fs__Release m = FS__RELEASE__INIT;
    Fs__Op op = FS__OP__INIT;
    struct fs_result result;
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &attr), 0);
    ck_assert_int_eq(fs_lease_last_c(w.state, f.ino, &end.last_c), 0);
    end.ino = f.ino;
    end.epoch = attr.lease_epoch;
    m.leases = ends;
    m.n_leases = 1;
    op.session = attr.lease_session;
    op.body_case = FS__OP__BODY_RELEASE;
    op.release = &m;
    fs_result_init(&result);
    w.applied = ++w.last_index;
    fs_apply(w.state, w.txn, w.last_index, &op, &result);
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    ck_assert_uint_eq(result.reply->value, 1);
    fs_result_done(&result);
}

START_TEST(a_lease_that_ended_takes_them_along)
{
    /* Goal: who has a lock that the log has not is told when its mount lost what it rested on. */
    struct place unlocked = open_file(0, f.ino);
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_WRITE, 0, 9), 0);
    write_by(0, f);
    take_the_lease_away();
    ck_assert_int_eq(world_do(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino})->err,
                     EIO);
    ck_assert_int_eq(read_by(0, f), EIO);
    ck_assert_int_eq(lock(0, f, 1, CLIENT_LOCK_READ), EIO);
    (void)size_of(0, unlocked); /* as before each read(2) */
    ck_assert_int_eq(read_by(0, unlocked), 0);
    ck_assert_int_eq(lock(0, unlocked, 2, CLIENT_LOCK_WRITE), 0);
    ck_assert_uint_eq(locks_in_log(), 1);
}
END_TEST

START_TEST(parts_that_do_not_fit)
{
    /* Goal: a lock that is given back bit by bit is told to the log before the parts become more
     * than that takes, and then the program hears that it still has the rest. */
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_WRITE, 0, FS_LOCK_END), 0);
    int err = 0;
    for (uint64_t i = 1; i <= FS_LOCKS_MAX && err == 0; i++)
        err = lock_range(1, CLIENT_LOCK_NONE, 2 * i, 2 * i);
    ck_assert_int_eq(err, ENOLCK);
    ck_assert_uint_eq(locks_in_log(), FS_LOCKS_MAX);
    ck_assert_int_eq(lock_range(1, CLIENT_LOCK_NONE, 0, FS_LOCK_END), 0);
    ck_assert_uint_eq(locks_in_log(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client locks here");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, no_mounts);
    tcase_add_test(t, the_log_hears_nothing);
    tcase_add_test(t, nor_when_there_is_nothing_left);
    tcase_add_test(t, at_consistency_session_too);
    tcase_add_test(t, of_a_file_that_was_made_under_a_directory_lease);
    tcase_add_test(t, without_a_leader_as_long_as_the_session);
    tcase_add_test(t, another_mount_meets_them);
    tcase_add_test(t, who_asks_is_told_of_them);
    tcase_add_test(t, not_while_another_has_one);
    tcase_add_test(t, under_a_new_leader);
    tcase_add_test(t, given_back_while_they_are_written);
    tcase_add_test(t, the_idle_lease_takes_them_along);
    tcase_add_test(t, two_that_change_places);
    tcase_add_test(t, two_that_ask_one_another_for_much);
    tcase_add_test(t, who_waits_waits_at_the_leader);
    tcase_add_test(t, a_circle_of_two_here);
    tcase_add_test(t, flock_that_wants_more);
    tcase_add_test(t, a_session_that_ended_takes_them_along);
    tcase_add_test(t, a_lease_that_ended_takes_them_along);
    tcase_add_test(t, parts_that_do_not_fit);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
