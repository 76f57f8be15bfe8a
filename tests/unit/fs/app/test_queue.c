/* What is done under directory leases at the leader: the queue of the session that has the lease,
 * and what others want of the directory (RULES D1). */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/app/service.h"
#include "tests/unit/lib/run.h"

enum { LINK_A = 1, LINK_B = 2 };

static struct service sv;
static uint64_t a, b, x; /* `a` has the lease of the root, `b` made the file "x" there before */
static uint64_t first;   /* of the numbers granted to `a` */

/* ---- short forms ----------------------------------------------------------------------------- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static void take_lease(void)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = FS_ROOT_INO;
    op.seq = 1;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    uint64_t n = service_recall(&sv, LINK_B);
    size_t i = sv.proposals.count;
    uint64_t id = service_send_op(&sv, LINK_A, a, &op);
    if (service_recall(&sv, LINK_B) != n) /* it was promised the attributes */
        service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0);
    ck_assert_uint_eq(sv.proposals.count, i + 1);
    service_append(&sv, i);
    service_apply(&sv, i);
    ck_assert_int_eq(service_answer(&sv, id)->op->err, 0);
}

static void setup(void)
{
    service_open(&sv);
    a = service_open_session(&sv, LINK_A);
    b = service_open_session(&sv, LINK_B);
    x = service_make(&sv, LINK_B, b, 1, "x");
    take_lease();
    Fs__Op op = FS__OP__INIT;
    Fs__GrantInodes grant = FS__GRANT_INODES__INIT;
    grant.count = 16;
    op.seq = 2;
    op.body_case = FS__OP__BODY_GRANT_INODES;
    op.grant_inodes = &grant;
    first = service_do(&sv, LINK_A, a, &op)->value;
}

static void teardown(void)
{
    service_close(&sv);
}

/* At place `q` of the queue of `a`: a file of this name, with number first + q - 1. */
static uint64_t send_make(uint64_t q, const char *name)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text(name);
    m.mode = S_IFREG | 0644;
    m.exclusive = true;
    m.lease = true;
    m.ino = first + q - 1;
    op.q = q;
    op.time = 1000 + (int64_t)q;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return service_send_op(&sv, LINK_A, a, &op);
}

static uint64_t send_rename(uint64_t client, uint64_t session, uint64_t q, const char *from,
                            const char *to, uint64_t victim)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Rename m = FS__RENAME__INIT;
    m.parent = m.newparent = FS_ROOT_INO;
    m.name = text(from);
    m.newname = text(to);
    m.open_ino = victim;
    op.q = q;
    op.seq = q ? 0 : 2;
    op.body_case = FS__OP__BODY_RENAME;
    op.rename = &m;
    return service_send_op(&sv, client, session, &op);
}

/* What is proposed now, from `from` on; not what comes of it. */
static void log_all(size_t from)
{
    const size_t end = sv.proposals.count;
    for (size_t i = from; i < end; i++)
        service_append(&sv, i);
    for (size_t i = from; i < end; i++)
        service_apply(&sv, i);
}

static int err_of(uint64_t id)
{
    const Fs__Reply *reply = service_answer(&sv, id);
    ck_assert(reply != NULL);
    return reply->err ? reply->err : reply->op->err;
}

static bool waits(uint64_t id)
{
    return service_answer(&sv, id) == NULL;
}

static uint64_t looked_up(const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return fs_lookup(sv.state, FS_ROOT_INO, name, strlen(name), &attr) == 0 ? attr.ino : 0;
}

/* The last recall of `a` asks for this. */
static bool asked(Fs__Object__Kind kind, uint64_t ino)
{
    for (size_t i = sv.answers.count; i-- > 0;) {
        const struct service_answer *answer = &sv.answers.items[i];
        if (answer->client != LINK_A || answer->reply->body_case != FS__REPLY__BODY_RECALL)
            continue;
        const Fs__Recall *m = answer->reply->recall;
        for (size_t k = 0; k < m->n_objects; k++)
            if (m->objects[k]->kind == kind && m->objects[k]->ino == ino)
                return true;
        return false;
    }
    return false;
}

/* `a` answers its last recall: the lease of `ino` is back, `open` is open (0: nothing is). */
static void give_back(uint64_t ino, uint64_t open)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__RecallAck ack = FS__RECALL_ACK__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    end.ino = ino;
    end.epoch = 1;
    ack.n = service_recall(&sv, LINK_A);
    ack.leases = ends;
    ack.n_leases = 1;
    ack.open_inos = &open;
    ack.n_open_inos = open != 0;
    req.body_case = FS__REQUEST__BODY_RECALL_ACK;
    req.recall_ack = &ack;
    (void)service_send(&sv, LINK_A, a, &req);
}

/* The request of `b` waits until the lease of the root is back, in the log as well. */
static void waits_for_the_lease(uint64_t id, size_t proposals)
{
    ck_assert(waits(id));
    ck_assert_uint_eq(sv.proposals.count, proposals);
    ck_assert(asked(FS__OBJECT__KIND__LEASE, FS_ROOT_INO));
    give_back(FS_ROOT_INO, 0);
    ck_assert(waits(id));
    ck_assert_uint_eq(sv.proposals.count, proposals + 1);
    ck_assert_int_eq(sv.proposals.items[proposals].op->body_case, FS__OP__BODY_RELEASE);
    service_append(&sv, proposals);
    ck_assert(waits(id));
    service_apply(&sv, proposals);
}

/* ---- the queue ------------------------------------------------------------------------------- */

START_TEST(in_order_however_they_come)
{
    size_t i = sv.proposals.count;
    uint64_t third = send_make(3, "h"), second = send_make(2, "g");
    ck_assert_uint_eq(sv.proposals.count, i);
    uint64_t one = send_make(1, "f");
    ck_assert_uint_eq(sv.proposals.count, i + 3);
    for (uint64_t q = 1; q <= 3; q++)
        ck_assert_uint_eq(sv.proposals.items[i + q - 1].op->q, q);
    log_all(i);
    ck_assert_int_eq(err_of(one), 0);
    ck_assert_int_eq(err_of(second), 0);
    ck_assert_int_eq(err_of(third), 0);
    ck_assert_uint_eq(looked_up("h"), first + 2);
}
END_TEST

START_TEST(time_is_the_mounts)
{
    size_t i = sv.proposals.count;
    uint64_t id = send_make(1, "f");
    ck_assert_int_eq(sv.proposals.items[i].op->time, 1001);
    log_all(i);
    ck_assert_int_eq(service_answer(&sv, id)->op->attr->mtime, 1001);
}
END_TEST

START_TEST(sent_again_while_it_waits)
{
    /* Goal: the newest request is answered, and the log has it once. */
    size_t i = sv.proposals.count;
    uint64_t old = send_make(1, "f"), newer = send_make(1, "f");
    ck_assert_uint_eq(sv.proposals.count, i + 1);
    log_all(i);
    ck_assert(waits(old));
    ck_assert_int_eq(err_of(newer), 0);
}
END_TEST

START_TEST(sent_again_when_it_is_applied)
{
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    log_all(i);
    size_t after = sv.proposals.count;
    uint64_t again = send_make(1, "f");
    ck_assert_int_eq(err_of(again), 0);
    ck_assert_uint_eq(service_answer(&sv, again)->op->attr->ino, first);
    ck_assert_uint_eq(sv.proposals.count, after);
}
END_TEST

START_TEST(dropped_ones_come_again)
{
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    (void)send_make(2, "g");
    service_drop(&sv, i);
    service_drop(&sv, i + 1);
    uint64_t second = send_make(2, "g");
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    uint64_t one = send_make(1, "f");
    ck_assert_uint_eq(sv.proposals.count, i + 4);
    log_all(i + 2);
    ck_assert_int_eq(err_of(one), 0);
    ck_assert_int_eq(err_of(second), 0);
}
END_TEST

START_TEST(only_the_first_was_dropped)
{
    /* Goal: those behind it get into the log without effect; then all are proposed anew, in order,
     * in whatever order they come again. */
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    uint64_t second = send_make(2, "g"), third = send_make(3, "h");
    service_drop(&sv, i);
    log_all(i + 1);
    ck_assert_int_eq(err_of(second), EAGAIN);
    ck_assert_int_eq(err_of(third), EAGAIN);
    ck_assert_uint_eq(looked_up("g"), 0);
    size_t again = sv.proposals.count;
    third = send_make(3, "h");
    ck_assert_uint_eq(sv.proposals.count, again);
    uint64_t one = send_make(1, "f");
    second = send_make(2, "g");
    ck_assert_uint_eq(sv.proposals.count, again + 3);
    log_all(again);
    ck_assert_int_eq(err_of(one), 0);
    ck_assert_int_eq(err_of(second), 0);
    ck_assert_int_eq(err_of(third), 0);
}
END_TEST

START_TEST(first_comes_again_before_the_second_fails)
{
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    uint64_t second = send_make(2, "g");
    service_drop(&sv, i);
    service_append(&sv, i + 1);
    uint64_t one = send_make(1, "f");
    service_apply(&sv, i + 1);
    ck_assert_int_eq(err_of(second), EAGAIN);
    second = send_make(2, "g");
    ck_assert_uint_eq(sv.proposals.count, i + 4);
    log_all(i + 2);
    ck_assert_int_eq(err_of(one), 0);
    ck_assert_int_eq(err_of(second), 0);
}
END_TEST

START_TEST(victim_is_asked_about)
{
    /* Goal: RULES L7: others may have open what loses its name. What comes behind it waits too. */
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    log_all(i);
    i = sv.proposals.count;
    uint64_t before = service_recall(&sv, LINK_B);
    (void)send_rename(LINK_A, a, 2, "f", "x", x);
    (void)send_make(3, "g");
    ck_assert_uint_eq(sv.proposals.count, i);
    ck_assert_uint_ne(service_recall(&sv, LINK_B), before);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), x);
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    const Fs__Op *op = sv.proposals.items[i].op;
    ck_assert_int_eq(op->body_case, FS__OP__BODY_RENAME);
    ck_assert_uint_eq(op->rename->n_holders, 1);
    ck_assert_uint_eq(op->rename->holders[0], b);
    ck_assert_uint_eq(sv.proposals.items[i + 1].op->q, 3);
}
END_TEST

/* The first `c`s of the file that place 1 of the queue makes. */
static uint64_t send_commit(uint64_t c, uint64_t after_q)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Commit commit = FS__COMMIT__INIT;
    commit.ino = first;
    commit.epoch = 1;
    commit.c = c;
    commit.size = 1000 * c;
    commit.after_q = after_q;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &commit;
    return service_send_op(&sv, LINK_A, a, &op);
}

START_TEST(bytes_go_with_the_name)
{
    /* Goal: one flush for both, though nobody knows the file when its bytes come. */
    size_t i = sv.proposals.count;
    uint64_t name = send_make(1, "f"), bytes = send_commit(1, 1), more = send_commit(2, 1);
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    service_append(&sv, i);
    service_append(&sv, i + 1);
    ck_assert_uint_eq(sv.proposals.count, i + 3);
    service_append(&sv, i + 2);
    for (size_t k = i; k < i + 3; k++)
        service_apply(&sv, k);
    ck_assert_int_eq(err_of(name), 0);
    ck_assert_int_eq(err_of(bytes), 0);
    ck_assert_int_eq(err_of(more), 0);
    ck_assert_uint_eq(service_answer(&sv, more)->op->attr->size, 2000);
}
END_TEST

START_TEST(bytes_do_not_overtake_the_name)
{
    size_t i = sv.proposals.count;
    uint64_t bytes = send_commit(1, 2), second = send_make(2, "g");
    ck_assert_uint_eq(sv.proposals.count, i);
    (void)send_make(1, "f");
    ck_assert_uint_eq(sv.proposals.count, i + 3);
    ck_assert_uint_eq(sv.proposals.items[i + 1].op->q, 2);
    log_all(i);
    ck_assert_int_eq(err_of(second), 0);
    ck_assert_int_eq(err_of(bytes), 0);
}
END_TEST

START_TEST(bytes_without_their_name_come_again)
{
    /* Goal: a leader that was to hand over dropped the first, and goes on with the others. */
    size_t i = sv.proposals.count;
    (void)send_make(1, "f");
    (void)send_commit(1, 1);
    service_drop(&sv, i);
    service_append(&sv, i + 1);
    uint64_t name = send_make(1, "f"), more = send_commit(2, 1);
    ck_assert_uint_eq(sv.proposals.count, i + 4);
    for (size_t k = i + 1; k < i + 4; k++) {
        if (k > i + 1)
            service_append(&sv, k);
        service_apply(&sv, k);
    }
    ck_assert_int_eq(err_of(name), 0);
    ck_assert_int_eq(service_answer(&sv, more)->err, EAGAIN);
    more = send_commit(2, 1);
    ck_assert_uint_eq(sv.proposals.count, i + 4);
    uint64_t bytes = send_commit(1, 1);
    service_append(&sv, i + 4);
    service_append(&sv, i + 5);
    service_apply(&sv, i + 4);
    service_apply(&sv, i + 5);
    ck_assert_int_eq(err_of(bytes), 0);
    ck_assert_int_eq(err_of(more), 0);
    ck_assert_uint_eq(service_answer(&sv, more)->op->attr->size, 2000);
}
END_TEST

START_TEST(bytes_of_a_file_that_nothing_makes)
{
    ck_assert_int_eq(service_answer(&sv, send_commit(1, 0))->err, EIO);
    (void)send_make(1, "f");
    log_all(sv.proposals.count - 1);
    ck_assert_int_eq(service_answer(&sv, send_commit(1, 1)) == NULL, true);
}
END_TEST

START_TEST(not_everything_can_be_queued)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = x;
    op.q = 1;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    size_t i = sv.proposals.count;
    ck_assert_int_eq(err_of(service_send_op(&sv, LINK_A, a, &op)), EINVAL);
    ck_assert_uint_eq(sv.proposals.count, i);
}
END_TEST

/* ---- others ---------------------------------------------------------------------------------- */

static uint64_t send_lookup(uint64_t client, uint64_t session, const char *name)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Lookup m = FS__LOOKUP__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text(name);
    req.body_case = FS__REQUEST__BODY_LOOKUP;
    req.lookup = &m;
    return service_send(&sv, client, session, &req);
}

START_TEST(lookup_waits)
{
    size_t i = sv.proposals.count;
    uint64_t id = send_lookup(LINK_B, b, "none");
    waits_for_the_lease(id, i);
    ck_assert_int_eq(service_answer(&sv, id)->err, ENOENT);
}
END_TEST

START_TEST(lookup_of_the_holder_does_not)
{
    uint64_t id = send_lookup(LINK_A, a, "none");
    ck_assert_int_eq(service_answer(&sv, id)->err, ENOENT);
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
}
END_TEST

START_TEST(readdir_waits)
{
    size_t i = sv.proposals.count;
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Readdir m = FS__READDIR__INIT;
    m.ino = FS_ROOT_INO;
    m.max = 10;
    req.body_case = FS__REQUEST__BODY_READDIR;
    req.readdir = &m;
    uint64_t id = service_send(&sv, LINK_B, b, &req);
    waits_for_the_lease(id, i);
    ck_assert_uint_eq(service_answer(&sv, id)->readdir->n_entries, 1);
}
END_TEST

/* What a copy says of a name of the root. */
static const Fs__Reply *told_by_copy(uint64_t session, const char *name, bool leaderless)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Lookup m = FS__LOOKUP__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text(name);
    req.body_case = FS__REQUEST__BODY_LOOKUP;
    req.lookup = &m;
    req.follower = true;
    req.leaderless = leaderless;
    return service_answer(&sv, service_send(&sv, LINK_B, session, &req));
}

START_TEST(a_copy_tells_no_inode_of_a_leased_directory)
{
    /* Goal: nor recalls the lease; unless nobody leads, or the holder asks. */
    ck_assert_int_eq(told_by_copy(b, "x", false)->err, EAGAIN);
    ck_assert(told_by_copy(b, "x", false)->leader_only);
    ck_assert_ptr_null(told_by_copy(b, "x", false)->attr);
    ck_assert_int_eq(told_by_copy(b, "none", false)->err, ENOENT);
    ck_assert_uint_eq(told_by_copy(b, "x", true)->attr->ino, x);
    ck_assert_uint_eq(told_by_copy(a, "x", false)->attr->ino, x);
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
}
END_TEST

START_TEST(a_copy_does_not_list_a_leased_directory)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Readdir m = FS__READDIR__INIT;
    m.ino = FS_ROOT_INO;
    m.max = 10;
    req.body_case = FS__REQUEST__BODY_READDIR;
    req.readdir = &m;
    req.follower = true;
    const Fs__Reply *reply = service_answer(&sv, service_send(&sv, LINK_B, b, &req));
    ck_assert_int_eq(reply->err, EAGAIN);
    ck_assert(reply->leader_only);
    req.leaderless = true;
    reply = service_answer(&sv, service_send(&sv, LINK_B, b, &req));
    ck_assert_uint_eq(reply->readdir->n_entries, 1);
}
END_TEST

START_TEST(getattr_waits)
{
    size_t i = sv.proposals.count;
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Getattr m = FS__GETATTR__INIT;
    m.ino = FS_ROOT_INO;
    req.body_case = FS__REQUEST__BODY_GETATTR;
    req.getattr = &m;
    waits_for_the_lease(service_send(&sv, LINK_B, b, &req), i);
}
END_TEST

START_TEST(make_waits)
{
    size_t i = sv.proposals.count;
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text("f");
    m.mode = S_IFREG | 0644;
    m.exclusive = true;
    op.seq = 2;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    uint64_t id = service_send_op(&sv, LINK_B, b, &op);
    waits_for_the_lease(id, i);
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0); /* what was promised */
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    log_all(i + 1);
    ck_assert_int_eq(err_of(id), 0);
}
END_TEST

START_TEST(what_the_holder_did_before_is_seen)
{
    size_t i = sv.proposals.count;
    uint64_t id = send_lookup(LINK_B, b, "f");
    (void)send_make(1, "f"); /* done before it was asked */
    log_all(i);
    ck_assert(waits(id));
    give_back(FS_ROOT_INO, 0);
    log_all(i + 1);
    ck_assert(waits(id)); /* its file is leased as well */
    ck_assert(asked(FS__OBJECT__KIND__LEASE, first));
    give_back(first, 0);
    log_all(i + 2);
    ck_assert_uint_eq(service_answer(&sv, id)->attr->ino, first);
}
END_TEST

START_TEST(rename_looks_names_up_when_the_lease_is_back)
{
    /* Goal: RULES L7: the holder makes, meanwhile, what the rename replaces; so it is asked whether
     * it has it open. */
    size_t i = sv.proposals.count;
    uint64_t id = send_rename(LINK_B, b, 0, "x", "f", 0);
    ck_assert(asked(FS__OBJECT__KIND__LEASE, FS_ROOT_INO));
    (void)send_make(1, "f");
    log_all(i);
    give_back(FS_ROOT_INO, 0);
    log_all(i + 1);
    ck_assert(waits(id));
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    ck_assert(asked(FS__OBJECT__KIND__OPEN, first));
    give_back(first, first);
    log_all(i + 2);
    ck_assert_uint_eq(sv.proposals.count, i + 4);
    log_all(i + 3);
    const Fs__Op *op = sv.proposals.items[sv.proposals.count - 1].op;
    ck_assert_int_eq(op->body_case, FS__OP__BODY_RENAME);
    ck_assert_uint_eq(op->rename->n_holders, 2); /* `b` knew of no file there: it counts as well */
    ck_assert_uint_eq(op->rename->holders[0], a);
    ck_assert_int_eq(err_of(id), 0);
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(sv.state, first, &attr), 0); /* it stays for `a` */
    ck_assert_uint_eq(attr.nlink, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *t = tcase_create("the queue");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, in_order_however_they_come);
    tcase_add_test(t, time_is_the_mounts);
    tcase_add_test(t, sent_again_while_it_waits);
    tcase_add_test(t, sent_again_when_it_is_applied);
    tcase_add_test(t, dropped_ones_come_again);
    tcase_add_test(t, only_the_first_was_dropped);
    tcase_add_test(t, first_comes_again_before_the_second_fails);
    tcase_add_test(t, victim_is_asked_about);
    tcase_add_test(t, bytes_go_with_the_name);
    tcase_add_test(t, bytes_do_not_overtake_the_name);
    tcase_add_test(t, bytes_without_their_name_come_again);
    tcase_add_test(t, bytes_of_a_file_that_nothing_makes);
    tcase_add_test(t, not_everything_can_be_queued);
    suite_add_tcase(suite, t);
    t = tcase_create("others");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lookup_waits);
    tcase_add_test(t, lookup_of_the_holder_does_not);
    tcase_add_test(t, readdir_waits);
    tcase_add_test(t, a_copy_tells_no_inode_of_a_leased_directory);
    tcase_add_test(t, a_copy_does_not_list_a_leased_directory);
    tcase_add_test(t, getattr_waits);
    tcase_add_test(t, make_waits);
    tcase_add_test(t, what_the_holder_did_before_is_seen);
    tcase_add_test(t, rename_looks_names_up_when_the_lease_is_back);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
