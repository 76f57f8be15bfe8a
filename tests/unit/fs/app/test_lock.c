/* Byte-range locks at the leader, and the write lease under which a mount keeps its own. */
#include <errno.h>
#include <string.h>

#include "tests/unit/fs/app/service.h"
#include "tests/unit/lib/run.h"

enum { LINK_A = 1, LINK_B = 2, LINK_B_NEW = 3 };

static struct service sv;
static uint64_t a, b, ino; /* `a` made the file, and has its write lease in epoch 1 */

static void setup(void)
{
    service_open(&sv);
    a = service_open_session(&sv, LINK_A);
    b = service_open_session(&sv, LINK_B);
    ino = service_make(&sv, LINK_A, a, 1, "f");
}

static void teardown(void)
{
    service_close(&sv);
}

static Fs__Lock lock_of(Fs__Lock__Type type)
{
    Fs__Lock l = FS__LOCK__INIT;
    l.owner = 1;
    l.last = 99;
    l.type = type;
    return l;
}

static uint64_t send_lock(uint64_t client, uint64_t session, uint64_t seq, Fs__Lock__Type type)
{
    Fs__Op op = FS__OP__INIT;
    Fs__SetLock m = FS__SET_LOCK__INIT;
    Fs__Lock l = lock_of(type);
    m.ino = ino;
    m.lock = &l;
    op.seq = seq;
    op.body_case = FS__OP__BODY_SET_LOCK;
    op.set_lock = &m;
    return service_send_op(&sv, client, session, &op);
}

static uint64_t ask(bool wait, uint64_t withdraw)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__LockQuery m = FS__LOCK_QUERY__INIT;
    Fs__Lock l = lock_of(FS__LOCK__TYPE__READ);
    m.ino = ino;
    m.lock = withdraw ? NULL : &l;
    m.wait = wait;
    m.withdraw = withdraw;
    req.body_case = FS__REQUEST__BODY_LOCK_QUERY;
    req.lock_query = &m;
    return service_send(&sv, LINK_B, b, &req);
}

static uint64_t send_lease(uint64_t seq)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Lease m = FS__LEASE__INIT;
    m.ino = ino;
    op.seq = seq;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &m;
    return service_send_op(&sv, LINK_A, a, &op);
}

/* What is proposed and not in the log goes through it. */
static void log_all(void)
{
    for (size_t i = 0; i < sv.proposals.count; i++) {
        if (sv.proposals.items[i].index != 0)
            continue;
        service_append(&sv, i);
        service_apply(&sv, i);
    }
}

static void give_lease_back(uint64_t epoch)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Release m = FS__RELEASE__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    end.ino = ino;
    end.epoch = epoch;
    m.leases = ends;
    m.n_leases = 1;
    op.body_case = FS__OP__BODY_RELEASE;
    op.release = &m;
    (void)service_do(&sv, LINK_A, a, &op);
}

static bool may_keep(uint64_t lease)
{
    const Fs__Reply *reply = service_answer(&sv, lease);
    ck_assert(reply != NULL);
    ck_assert_int_eq(reply->op->err, 0);
    return reply->locks_here;
}

static bool locked(uint64_t id)
{
    const Fs__Reply *reply = service_answer(&sv, id);
    return reply != NULL && reply->body_case == FS__REPLY__BODY_OP && reply->op->err == 0;
}

/* ---- before anybody else's ------------------------------------------------------------------- */

START_TEST(a_lock_waits_for_the_lease)
{
    size_t before = sv.proposals.count;
    uint64_t id = send_lock(LINK_B, b, 1, FS__LOCK__TYPE__READ);
    ck_assert_uint_eq(sv.proposals.count, before);
    ck_assert_uint_ne(service_recall(&sv, LINK_A), 0);
    uint64_t own = send_lock(LINK_A, a, 2, FS__LOCK__TYPE__WRITE); /* what it had here */
    ck_assert_uint_eq(sv.proposals.count, before + 1);
    log_all();
    ck_assert(locked(own));
    ck_assert(service_answer(&sv, id) == NULL);
    give_lease_back(1);
    log_all();
    ck_assert_int_eq(service_answer(&sv, id)->op->err, EAGAIN);
}
END_TEST

START_TEST(so_does_a_question)
{
    uint64_t id = ask(false, 0);
    ck_assert(service_answer(&sv, id) == NULL);
    ck_assert_uint_ne(service_recall(&sv, LINK_A), 0);
    (void)send_lock(LINK_A, a, 2, FS__LOCK__TYPE__WRITE);
    log_all();
    give_lease_back(1);
    const Fs__Reply *reply = service_answer(&sv, id);
    ck_assert(reply != NULL && reply->lock->blocker != NULL);
    ck_assert_uint_eq(reply->lock->blocker->session, a);
}
END_TEST

START_TEST(an_unlock_does_not)
{
    size_t before = sv.proposals.count;
    (void)send_lock(LINK_B, b, 1, FS__LOCK__TYPE__UNLOCK);
    ck_assert_uint_eq(sv.proposals.count, before + 1);
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
}
END_TEST

START_TEST(what_was_granted_needs_no_room)
{
    /* Goal: a lease always comes back, also when all that is free is promised. */
    service_room(&sv, 0);
    size_t before = sv.proposals.count;
    (void)send_lock(LINK_A, a, 2, FS__LOCK__TYPE__WRITE);
    ck_assert_uint_eq(sv.proposals.count, before + 1);
    give_lease_back(1);
    uint64_t id = send_lock(LINK_A, a, 3, FS__LOCK__TYPE__READ);
    ck_assert_int_eq(service_answer(&sv, id)->op->err, ENOSPC);
}
END_TEST

/* ---- who may keep its own -------------------------------------------------------------------- */

START_TEST(the_first_of_a_new_file)
{
    ck_assert(sv.answers.items[sv.answers.count - 1].reply->locks_here);
}
END_TEST

START_TEST(nobody_beside_another)
{
    give_lease_back(1);
    (void)send_lock(LINK_A, a, 2, FS__LOCK__TYPE__READ); /* its own does not matter */
    uint64_t theirs = send_lock(LINK_B, b, 1, FS__LOCK__TYPE__READ);
    log_all();
    ck_assert(locked(theirs));
    uint64_t lease = send_lease(3);
    log_all();
    ck_assert(!may_keep(lease));
    give_lease_back(3);
    (void)send_lock(LINK_B, b, 2, FS__LOCK__TYPE__UNLOCK);
    log_all();
    lease = send_lease(4);
    log_all();
    ck_assert(may_keep(lease));
    ck_assert(may_keep(send_lease(4))); /* the same request once more */
}
END_TEST

START_TEST(nor_before_one_in_the_log)
{
    /* Goal: a lock that was proposed behind the lease found it not held yet. */
    give_lease_back(1);
    size_t at = sv.proposals.count;
    uint64_t lease = send_lease(2), lock = send_lock(LINK_B, b, 1, FS__LOCK__TYPE__WRITE);
    ck_assert_uint_eq(sv.proposals.count, at + 2);
    service_append(&sv, at);
    service_append(&sv, at + 1);
    service_apply(&sv, at);
    ck_assert(!may_keep(lease));
    service_apply(&sv, at + 1);
    ck_assert(locked(lock));
}
END_TEST

START_TEST(nor_while_one_waits)
{
    give_lease_back(1);
    (void)send_lock(LINK_A, a, 2, FS__LOCK__TYPE__WRITE);
    log_all();
    uint64_t waits = ask(true, 0);
    ck_assert(service_answer(&sv, waits) == NULL);
    uint64_t lease = send_lease(3);
    log_all();
    ck_assert(!may_keep(lease));
    give_lease_back(3);
    (void)ask(false, waits);
    lease = send_lease(4);
    log_all();
    ck_assert(may_keep(lease));
}
END_TEST

/* ---- who waits for whom ---------------------------------------------------------------------- */

static Fs__Lock byte(uint64_t first)
{
    Fs__Lock l = FS__LOCK__INIT;
    l.owner = 1;
    l.first = l.last = first;
    l.type = FS__LOCK__TYPE__WRITE;
    return l;
}

static void lock_byte(uint64_t client, uint64_t session, uint64_t seq, uint64_t first)
{
    Fs__Op op = FS__OP__INIT;
    Fs__SetLock m = FS__SET_LOCK__INIT;
    Fs__Lock l = byte(first);
    m.ino = ino;
    m.lock = &l;
    op.seq = seq;
    op.body_case = FS__OP__BODY_SET_LOCK;
    op.set_lock = &m;
    (void)service_do(&sv, client, session, &op);
}

static uint64_t wait_for_byte(uint64_t client, uint64_t session, uint64_t first)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__LockQuery m = FS__LOCK_QUERY__INIT;
    Fs__Lock l = byte(first);
    m.ino = ino;
    m.lock = &l;
    m.wait = true;
    req.body_case = FS__REQUEST__BODY_LOCK_QUERY;
    req.lock_query = &m;
    return service_send(&sv, client, session, &req);
}

static void each_has_a_byte(void)
{
    give_lease_back(1);
    lock_byte(LINK_A, a, 2, 0);
    lock_byte(LINK_B, b, 1, 1);
}

START_TEST(a_circle)
{
    each_has_a_byte();
    uint64_t first = wait_for_byte(LINK_B, b, 0), second = wait_for_byte(LINK_A, a, 1);
    ck_assert(service_answer(&sv, first) == NULL);
    ck_assert(service_answer(&sv, second)->lock->deadlock);
}
END_TEST

START_TEST(nobody_waits_on_a_link_given_up)
{
    /* Goal: a signal has ended the waiting while the mount had no link, so there is no circle; that
     * the old link is down is not known yet. */
    each_has_a_byte();
    (void)wait_for_byte(LINK_B, b, 0);
    service_link_up(&sv, LINK_B_NEW);
    service_renew(&sv, LINK_B_NEW, b, 1);
    ck_assert(service_answer(&sv, wait_for_byte(LINK_A, a, 1)) == NULL);
}
END_TEST

START_TEST(nor_on_one_given_up_before_it_served)
{
    /* Goal: the same at a new leader that has to catch up first. */
    each_has_a_byte();
    service_reign_behind(&sv, 2);
    (void)wait_for_byte(LINK_B, b, 0);
    service_link_up(&sv, LINK_B_NEW);
    (void)service_send_renew(&sv, LINK_B_NEW, b, 2);
    (void)service_send_renew(&sv, LINK_A, a, 2);
    service_catch_up(&sv);
    ck_assert(service_answer(&sv, wait_for_byte(LINK_A, a, 1)) == NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("app locks");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_lock_waits_for_the_lease);
    tcase_add_test(t, so_does_a_question);
    tcase_add_test(t, an_unlock_does_not);
    tcase_add_test(t, what_was_granted_needs_no_room);
    tcase_add_test(t, the_first_of_a_new_file);
    tcase_add_test(t, nobody_beside_another);
    tcase_add_test(t, nor_before_one_in_the_log);
    tcase_add_test(t, nor_while_one_waits);
    tcase_add_test(t, a_circle);
    tcase_add_test(t, nobody_waits_on_a_link_given_up);
    tcase_add_test(t, nor_on_one_given_up_before_it_served);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
