/* What sessions did under their directory leases, as the log applies it (RULES D1). */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"

enum { ROOT = FS_ROOT_INO, COUNT = 4 /* of a grant */ };

static struct {
    struct kv *kv;
    struct kv_txn *txn;
    struct fs_state *state;
    uint64_t index;
    struct fs_result result;
    int64_t time; /* of the next entry */
} w;
static uint64_t a, b;      /* sessions; `a` has the lease of the root */
static uint64_t seqs[100]; /* by session, which is an index of the log */

/* ---- short forms ----------------------------------------------------------------------------- */

static int apply(Fs__Op *op)
{
    fs_result_done(&w.result);
    fs_result_init(&w.result);
    op->time = w.time ? w.time : (int64_t)(w.index + 1) * 1000000;
    fs_apply(w.state, w.txn, ++w.index, op, &w.result);
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    struct fs_hash kept = fs_state_hash(w.state), found = fs_state_rehash(w.state);
    ck_assert(kept.lo == found.lo && kept.hi == found.hi);
    return w.result.reply->err;
}

/* At place `q` of the session's queue; 0: as others do it. */
static Fs__Op op_of(uint64_t session, uint64_t q)
{
    Fs__Op op = FS__OP__INIT;
    op.session = session;
    op.q = q;
    op.seq = q ? 0 : ++seqs[session];
    return op;
}

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static uint64_t open_session(uint8_t id)
{
    uint8_t uuid[16] = {id, 1};
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){sizeof uuid, uuid};
    m.name = (char *)"test";
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    ck_assert_int_eq(apply(&op), 0);
    return w.result.reply->value;
}

static int lease(uint64_t session, uint64_t ino)
{
    Fs__Op op = op_of(session, 0);
    Fs__Lease m = FS__LEASE__INIT;
    m.ino = ino;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &m;
    return apply(&op);
}

static int make(uint64_t session, uint64_t q, uint64_t dir, const char *name, uint32_t mode,
                uint64_t ino)
{
    Fs__Op op = op_of(session, q);
    Fs__Make m = FS__MAKE__INIT;
    m.parent = dir;
    m.name = text(name);
    m.mode = mode;
    m.exclusive = true;
    m.lease = q != 0;
    m.ino = ino;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return apply(&op);
}

static int make_file(uint64_t q, const char *name, uint64_t ino)
{
    return make(a, q, ROOT, name, S_IFREG | 0644, ino);
}

static int unlink_at(uint64_t session, uint64_t q, uint64_t dir, const char *name)
{
    Fs__Op op = op_of(session, q);
    Fs__Unlink m = FS__UNLINK__INIT;
    m.parent = dir;
    m.name = text(name);
    op.body_case = FS__OP__BODY_UNLINK;
    op.unlink = &m;
    return apply(&op);
}

static int rename_at(uint64_t q, uint64_t dir, const char *name, uint64_t newdir,
                     const char *newname)
{
    Fs__Op op = op_of(a, q);
    Fs__Rename m = FS__RENAME__INIT;
    m.parent = dir;
    m.name = text(name);
    m.newparent = newdir;
    m.newname = text(newname);
    op.body_case = FS__OP__BODY_RENAME;
    op.rename = &m;
    return apply(&op);
}

/* The first of `count` numbers. */
static uint64_t grant(uint64_t session, uint32_t count)
{
    Fs__Op op = op_of(session, 0);
    Fs__GrantInodes m = FS__GRANT_INODES__INIT;
    m.count = count;
    op.body_case = FS__OP__BODY_GRANT_INODES;
    op.grant_inodes = &m;
    ck_assert_int_eq(apply(&op), 0);
    return w.result.reply->value;
}

static void reserve(uint64_t bytes)
{
    Fs__Op op = op_of(a, 0);
    Fs__Reserve m = FS__RESERVE__INIT;
    m.bytes = bytes;
    op.body_case = FS__OP__BODY_RESERVE;
    op.reserve = &m;
    ck_assert_int_eq(apply(&op), 0);
}

static struct fs_session session(void)
{
    struct fs_session s;
    ck_assert(fs_session_get(w.state, a, &s));
    return s;
}

static uint64_t looked_up(uint64_t dir, const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_lookup(w.state, dir, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

static uint64_t first; /* of the numbers granted to `a` */

static void setup(void)
{
    memset(&w, 0, sizeof w);
    memset(seqs, 0, sizeof seqs);
    w.kv = kv_mem_new();
    w.txn = kv_txn_new(w.kv);
    w.state = fs_state_new(w.kv, 0);
    fs_state_format(w.state, w.txn);
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    fs_result_init(&w.result);
    a = open_session(1);
    b = open_session(2);
    ck_assert_int_eq(lease(a, ROOT), 0);
    first = grant(a, COUNT);
}

static void teardown(void)
{
    fs_result_done(&w.result);
    fs_state_free(w.state);
    kv_txn_free(w.txn);
    kv_close(w.kv);
}

/* ---- order ----------------------------------------------------------------------------------- */

START_TEST(in_order_and_each_once)
{
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(unlink_at(a, 2, ROOT, "f"), 0);
    ck_assert_int_eq(make_file(3, "f", first + 1), 0);
    ck_assert_uint_eq(session().q_next, 4);
    ck_assert_int_eq(unlink_at(a, 2, ROOT, "f"), 0); /* again: its time is over */
    ck_assert(w.result.duplicate);
    ck_assert_uint_eq(looked_up(ROOT, "f"), first + 1);
    ck_assert_uint_eq(session().q_next, 4);
}
END_TEST

START_TEST(nothing_overtakes)
{
    ck_assert_int_eq(make_file(2, "g", first + 1), EAGAIN);
    ck_assert_uint_eq(looked_up(ROOT, "g"), 0);
    ck_assert_uint_eq(session().q_next, 1);
    ck_assert_uint_eq(session().q_error, 0); /* it is not refused for good */
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(make_file(2, "g", first + 1), 0);
}
END_TEST

START_TEST(nothing_behind_a_refusal)
{
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(make_file(2, "f", first + 1), EEXIST);
    struct fs_hash before = fs_state_hash(w.state);
    struct fs_totals totals = fs_state_totals(w.state);
    ck_assert_int_eq(make_file(3, "g", first + 2), EIO);
    ck_assert_int_eq(make_file(2, "h", first + 1), EIO); /* nor another in its place */
    ck_assert_int_eq(make_file(4, "i", first + 3), EIO);
    struct fs_hash after = fs_state_hash(w.state);
    ck_assert(before.lo == after.lo && before.hi == after.hi);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, totals.inodes);
    ck_assert_uint_eq(session().q_next, 2);
    ck_assert_uint_eq(session().q_error, EEXIST);
    ck_assert_int_eq(make_file(1, "f", first), 0); /* what was done before is still answered */
    ck_assert(w.result.duplicate);
}
END_TEST

/* The place is kept, nothing else of it. */
START_TEST(refusal_leaves_the_rest_alone)
{
    struct fs_totals totals = fs_state_totals(w.state);
    ck_assert_int_eq(unlink_at(a, 1, ROOT, "none"), ENOENT);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, totals.inodes);
    ck_assert_uint_eq(session().q_error, ENOENT);
    ck_assert_int_eq(make(a, 0, ROOT, "f", S_IFREG | 0644, 0), 0); /* not of the queue */
}
END_TEST

START_TEST(no_session)
{
    ck_assert_int_eq(make(99, 1, ROOT, "f", S_IFREG | 0644, first), ESTALE);
    ck_assert_uint_eq(looked_up(ROOT, "f"), 0);
}
END_TEST

START_TEST(queues_of_sessions_are_apart)
{
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(make_file(2, "d", first + 9), EIO); /* no number of its own */
    uint64_t d = 0, ino = grant(b, COUNT);
    ck_assert_int_eq(make(b, 0, ROOT, "d", S_IFDIR | 0755, 0), 0);
    d = w.result.reply->attr->ino;
    ck_assert_int_eq(lease(b, d), 0);
    ck_assert_int_eq(make(b, 1, d, "f", S_IFREG | 0644, ino), 0);
}
END_TEST

/* ---- leases ---------------------------------------------------------------------------------- */

START_TEST(only_under_the_lease)
{
    uint64_t ino = grant(b, COUNT);
    ck_assert_int_eq(make(b, 1, ROOT, "f", S_IFREG | 0644, ino), EIO);
    ck_assert_uint_eq(looked_up(ROOT, "f"), 0);
}
END_TEST

START_TEST(nobody_has_the_lease)
{
    ck_assert_int_eq(make(a, 0, ROOT, "d", S_IFDIR | 0755, 0), 0);
    uint64_t d = w.result.reply->attr->ino;
    ck_assert_int_eq(make(a, 1, d, "f", S_IFREG | 0644, first), EIO);
}
END_TEST

START_TEST(rename_needs_both_leases)
{
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(make(a, 0, ROOT, "d", S_IFDIR | 0755, 0), 0);
    uint64_t d = w.result.reply->attr->ino;
    ck_assert_int_eq(lease(a, d), 0);
    ck_assert_int_eq(rename_at(2, ROOT, "f", d, "g"), 0);
    ck_assert_uint_eq(looked_up(d, "g"), first);
    ck_assert_int_eq(make(b, 0, ROOT, "e", S_IFDIR | 0755, 0), 0);
    uint64_t e = w.result.reply->attr->ino;
    ck_assert_int_eq(rename_at(3, d, "g", e, "g"), EIO);
    ck_assert_uint_eq(looked_up(d, "g"), first);
}
END_TEST

START_TEST(directory_made_with_its_lease)
{
    ck_assert_int_eq(make(a, 1, ROOT, "d", S_IFDIR | 0755, first), 0);
    ck_assert_uint_eq(w.result.reply->attr->lease_session, a);
    ck_assert_uint_eq(w.result.reply->attr->lease_epoch, 1);
    ck_assert_int_eq(make(a, 2, first, "f", S_IFREG | 0644, first + 1), 0);
    ck_assert_uint_eq(looked_up(first, "f"), first + 1);
    ck_assert_int_eq(lease(b, first), EAGAIN);
}
END_TEST

/* ---- numbers, space, time -------------------------------------------------------------------- */

START_TEST(numbers_of_the_two_newest_grants)
{
    uint64_t second = grant(a, COUNT);
    ck_assert_uint_ge(second, first + COUNT);
    ck_assert_int_eq(make_file(1, "a", first + COUNT - 1), 0);
    ck_assert_int_eq(make_file(2, "b", second), 0);
    ck_assert_uint_eq(w.result.reply->attr->ino, second);
    (void)grant(a, COUNT);
    ck_assert_int_eq(make_file(3, "c", second + 1), 0);
    ck_assert_int_eq(make_file(4, "d", first), EIO); /* that grant is forgotten */
}
END_TEST

START_TEST(number_behind_the_grant)
{
    ck_assert_int_eq(make_file(1, "f", first + COUNT), EIO);
}
END_TEST

START_TEST(number_of_another_session)
{
    uint64_t others = grant(b, COUNT);
    ck_assert_int_eq(make_file(1, "f", others), EIO);
}
END_TEST

START_TEST(number_in_use)
{
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_int_eq(make_file(2, "g", first), EIO);
    ck_assert_uint_eq(looked_up(ROOT, "g"), 0);
}
END_TEST

START_TEST(no_number)
{
    ck_assert_int_eq(make_file(1, "f", 0), EIO);
}
END_TEST

/* What the log numbers itself keeps away from what was granted. */
START_TEST(granted_numbers_are_not_given_to_others)
{
    ck_assert_int_eq(make(b, 0, ROOT, "f", S_IFREG | 0644, first), 0);
    ck_assert_uint_ge(w.result.reply->attr->ino, first + COUNT);
}
END_TEST

START_TEST(grant_out_of_bounds)
{
    Fs__Op op = op_of(a, 0);
    Fs__GrantInodes m = FS__GRANT_INODES__INIT;
    op.body_case = FS__OP__BODY_GRANT_INODES;
    op.grant_inodes = &m;
    ck_assert_int_eq(apply(&op), EINVAL);
    op = op_of(a, 0);
    m.count = FS_INODES_MAX + 1;
    op.body_case = FS__OP__BODY_GRANT_INODES;
    op.grant_inodes = &m;
    ck_assert_int_eq(apply(&op), EINVAL);
    ck_assert_uint_eq(session().inodes[0].first, first);
}
END_TEST

START_TEST(each_takes_of_the_reservation)
{
    reserve(2 * FS_QUEUED_COST + 1000);
    ck_assert_int_eq(make_file(1, "f", first), 0);
    ck_assert_uint_eq(session().reserved, FS_QUEUED_COST + 1000);
    ck_assert_uint_eq(fs_state_totals(w.state).reserved, FS_QUEUED_COST + 1000);
    ck_assert_int_eq(make_file(1, "f", first), 0); /* again */
    ck_assert_int_eq(make_file(3, "h", first + 2), EAGAIN);
    ck_assert_uint_eq(session().reserved, FS_QUEUED_COST + 1000);
    ck_assert_int_eq(make_file(2, "g", first + 1), 0);
    ck_assert_int_eq(unlink_at(a, 3, ROOT, "g"), 0); /* no more than there is */
    ck_assert_uint_eq(session().reserved, 0);
    ck_assert_uint_eq(fs_state_totals(w.state).reserved, 0);
}
END_TEST

START_TEST(time_is_that_of_the_entry)
{
    w.time = 1234567;
    ck_assert_int_eq(make_file(1, "f", first), 0);
    const Fs__Attr *attr = w.result.reply->attr;
    ck_assert_int_eq(attr->btime, 1234567);
    ck_assert_int_eq(attr->mtime, 1234567);
    ck_assert_int_eq(attr->ctime, 1234567);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/core/queue");
    TCase *tc = tcase_create("order");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, in_order_and_each_once);
    tcase_add_test(tc, nothing_overtakes);
    tcase_add_test(tc, nothing_behind_a_refusal);
    tcase_add_test(tc, refusal_leaves_the_rest_alone);
    tcase_add_test(tc, no_session);
    tcase_add_test(tc, queues_of_sessions_are_apart);
    suite_add_tcase(suite, tc);
    tc = tcase_create("leases");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, only_under_the_lease);
    tcase_add_test(tc, nobody_has_the_lease);
    tcase_add_test(tc, rename_needs_both_leases);
    tcase_add_test(tc, directory_made_with_its_lease);
    suite_add_tcase(suite, tc);
    tc = tcase_create("numbers, space, time");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, numbers_of_the_two_newest_grants);
    tcase_add_test(tc, number_behind_the_grant);
    tcase_add_test(tc, number_of_another_session);
    tcase_add_test(tc, number_in_use);
    tcase_add_test(tc, no_number);
    tcase_add_test(tc, granted_numbers_are_not_given_to_others);
    tcase_add_test(tc, grant_out_of_bounds);
    tcase_add_test(tc, each_takes_of_the_reservation);
    tcase_add_test(tc, time_is_that_of_the_entry);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
