/* Changes of the namespace at the leader: asking who has a file open, and what is sent again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/app/service.h"
#include "tests/unit/lib/run.h"

enum { LINK_A = 1, LINK_B = 2, LINK_C = 3, LINK_A_NEW = 4, LINK_D = 5 };

static struct service sv;
static uint64_t a, b, c, ino; /* `a` made the file "f" */

static void setup(void)
{
    service_open(&sv);
    a = service_open_session(&sv, LINK_A);
    b = service_open_session(&sv, LINK_B);
    c = service_open_session(&sv, LINK_C);
    ino = service_make(&sv, LINK_A, a, 1, "f");
}

static void teardown(void)
{
    service_close(&sv);
}

/* ---- short forms ----------------------------------------------------------------------------- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static uint64_t send_unlink(uint64_t client, uint64_t session, uint64_t seq, const char *name,
                            bool open)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Unlink m = FS__UNLINK__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text(name);
    m.open_ino = ino;
    m.open = open;
    op.seq = seq;
    op.body_case = FS__OP__BODY_UNLINK;
    op.unlink = &m;
    return service_send_op(&sv, client, session, &op);
}

/* The removal of `name`, proposed once; its place. */
static size_t removal_of(const char *name)
{
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < sv.proposals.count; i++) {
        const Fs__Op *op = sv.proposals.items[i].op;
        if (op->body_case != FS__OP__BODY_UNLINK || op->unlink->name.len != strlen(name) ||
            memcmp(op->unlink->name.data, name, strlen(name)) != 0)
            continue;
        ck_assert_uint_eq(at, SIZE_MAX);
        at = i;
    }
    ck_assert_uint_ne(at, SIZE_MAX);
    return at;
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

/* ---- who has it open ------------------------------------------------------------------------- */

START_TEST(removals_ask_in_turn)
{
    /* Goal: of two that remove names of one file, the first still knows what it was told when the
     * second comes (RULES L7): the one whose entry is the last frees the file. */
    Fs__Op op = FS__OP__INIT;
    Fs__Link link = FS__LINK__INIT;
    link.ino = ino;
    link.parent = FS_ROOT_INO;
    link.name = text("g");
    op.seq = 2;
    op.body_case = FS__OP__BODY_LINK;
    op.link = &link;
    (void)service_do(&sv, LINK_A, a, &op);
    (void)send_unlink(LINK_A, a, 3, "f", false);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), ino);
    (void)send_unlink(LINK_B, b, 1, "g", true); /* while the first still waits for `c` */
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0);
    service_answer_recall(&sv, LINK_C, c, service_recall(&sv, LINK_C), 0);
    const Fs__Unlink *first = sv.proposals.items[removal_of("f")].op->unlink;
    ck_assert_uint_eq(first->n_holders, 1);
    ck_assert_uint_eq(first->holders[0], b);
}
END_TEST

static uint64_t send_open(uint64_t client, uint64_t session)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Getattr m = FS__GETATTR__INIT;
    m.ino = ino;
    m.open = true;
    req.body_case = FS__REQUEST__BODY_GETATTR;
    req.getattr = &m;
    return service_send(&sv, client, session, &req);
}

START_TEST(asked_by_one_that_gave_up)
{
    /* Goal: what a mount answers to a removal counts for the next one when the first is gone by
     * then. So an open waits for that answer, though nothing is being removed. */
    (void)send_unlink(LINK_A, a, 2, "f", false);
    Fs__Op op = FS__OP__INIT;
    Fs__EndSession end = FS__END_SESSION__INIT;
    end.session = a;
    op.body_case = FS__OP__BODY_END_SESSION;
    op.end_session = &end;
    (void)service_do(&sv, LINK_A, a, &op);
    service_answer_recall(&sv, LINK_C, c, service_recall(&sv, LINK_C), 0);
    uint64_t open = send_open(LINK_B, b);
    ck_assert_ptr_null(service_answer(&sv, open));
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), ino);
    ck_assert_ptr_nonnull(service_answer(&sv, open));
    ck_assert_int_eq(service_answer(&sv, open)->err, 0);
}
END_TEST

/* ---- what is sent again ---------------------------------------------------------------------- */

START_TEST(lease_of_long_ago)
{
    /* Goal: a request for a lease that comes again after that lease ended is not answered as if it
     * was held: what is written under it would be lost. */
    give_lease_back(1);
    Fs__Op op = FS__OP__INIT;
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = ino;
    op.seq = 2;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    ck_assert_uint_eq(service_do(&sv, LINK_A, a, &op)->value, 3);
    ck_assert_uint_eq(service_do(&sv, LINK_A, a, &op)->value, 3); /* still held */
    give_lease_back(3);
    uint64_t again = service_send_op(&sv, LINK_A, a, &op);
    ck_assert(service_answer(&sv, again) != NULL);
    ck_assert_int_eq(service_answer(&sv, again)->op->err, EAGAIN);
    op.seq = 3;
    ck_assert_uint_eq(service_do(&sv, LINK_A, a, &op)->value, 5);
}
END_TEST

START_TEST(make_of_long_ago)
{
    /* Goal: the same for a new file, whose first answer had the lease with it. */
    give_lease_back(1);
    ck_assert_uint_eq(service_make(&sv, LINK_A, a, 1, "f"), ino);
    const struct service_answer *last = &sv.answers.items[sv.answers.count - 1];
    ck_assert_uint_eq(last->reply->op->attr->lease_session, 0);
}
END_TEST

START_TEST(lease_on_its_way_out)
{
    /* Goal: a lease whose end is proposed is not granted again by a request from before. */
    Fs__Op op = FS__OP__INIT;
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = ino;
    op.seq = 2;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    size_t asked = sv.proposals.count;
    uint64_t id = service_send_op(&sv, LINK_A, a, &op);
    Fs__Request req = FS__REQUEST__INIT;
    Fs__RecallAck ack = FS__RECALL_ACK__INIT;
    Fs__LeaseEnd end = FS__LEASE_END__INIT, *ends[1] = {&end};
    end.ino = ino;
    end.epoch = 1;
    ack.leases = ends;
    ack.n_leases = 1;
    req.body_case = FS__REQUEST__BODY_RECALL_ACK;
    req.recall_ack = &ack;
    (void)service_send(&sv, LINK_A, a, &req);
    ck_assert_uint_eq(sv.proposals.count, asked + 2);
    service_append(&sv, asked);
    service_append(&sv, asked + 1);
    service_apply(&sv, asked);
    ck_assert(service_answer(&sv, id) != NULL);
    ck_assert_int_eq(service_answer(&sv, id)->op->err, EAGAIN);
    service_apply(&sv, asked + 1);
}
END_TEST

static uint64_t send_lease(uint64_t client, uint64_t session, uint64_t seq, uint64_t file)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = file;
    op.seq = seq;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    return service_send_op(&sv, client, session, &op);
}

static void send_chmod(uint64_t client, uint64_t session, uint64_t seq)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = ino;
    m.valid = FS_SETATTR_MODE;
    m.mode = 0600;
    op.seq = seq;
    op.body_case = FS__OP__BODY_SETATTR;
    op.setattr = &m;
    (void)service_send_op(&sv, client, session, &op);
}

static Fs__Op__BodyCase proposed(size_t i)
{
    ck_assert_uint_lt(i, sv.proposals.count);
    return sv.proposals.items[i].op->body_case;
}

START_TEST(a_lease_gets_its_turn)
{
    /* Goal: who wants to write gets the lease however many others change the file's attributes, one
     * always beginning before another ends. */
    give_lease_back(1);
    size_t at = sv.proposals.count;
    send_chmod(LINK_C, c, 1);
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0); /* what was promised */
    ck_assert_uint_eq(sv.proposals.count, at + 1);
    uint64_t lease = send_lease(LINK_B, b, 1, ino);
    send_chmod(LINK_C, c, 2);
    send_chmod(LINK_A, a, 2);
    ck_assert_uint_eq(sv.proposals.count, at + 1);
    service_append(&sv, at);
    service_apply(&sv, at);
    service_answer_recall(&sv, LINK_C, c, service_recall(&sv, LINK_C), 0);
    ck_assert_uint_eq(sv.proposals.count, at + 2);
    ck_assert_int_eq(proposed(at + 1), FS__OP__BODY_LEASE);
    service_append(&sv, at + 1);
    service_apply(&sv, at + 1);
    ck_assert_int_eq(service_answer(&sv, lease)->op->err, 0);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0); /* it forgot the lease */
    ck_assert_int_eq(proposed(at + 2), FS__OP__BODY_RELEASE);
    service_append(&sv, at + 2);
    service_apply(&sv, at + 2);
    ck_assert_uint_eq(sv.proposals.count, at + 5); /* both together */
}
END_TEST

static void renew(uint64_t client, uint64_t session)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Renew m = FS__RENEW__INIT;
    req.body_case = FS__REQUEST__BODY_RENEW;
    req.renew = &m;
    (void)service_send(&sv, client, session, &req);
}

START_TEST(lease_wanted_while_its_holder_ends)
{
    /* Goal: two files of a silent session: the end of the session, proposed for the first, lets
     * go on who came for the second meanwhile. */
    uint64_t second = service_make(&sv, LINK_A, a, 2, "g");
    service_pass(&sv, 30 * TIME_S);
    renew(LINK_B, b);
    renew(LINK_C, c);
    (void)send_lease(LINK_B, b, 1, ino);
    size_t end = sv.proposals.count - 1;
    ck_assert_int_eq(sv.proposals.items[end].op->body_case, FS__OP__BODY_END_SESSION);
    (void)send_lease(LINK_C, c, 1, second);
    ck_assert_uint_eq(sv.proposals.count, end + 1);
    service_append(&sv, end);
    service_apply(&sv, end);
    ck_assert_uint_eq(sv.proposals.count, end + 3);
}
END_TEST

START_TEST(many_leases_come_back_at_once)
{
    /* Goal: one recall may ask for more than an entry may end: when a new leader begins to serve,
     * all that waits asks in one step. */
    enum { MANY = FS_RELEASE_MAX + 100 };
    static Fs__LeaseEnd ends[MANY];
    static Fs__LeaseEnd *list[MANY];
    char name[16];
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "g%u", i);
        fs__lease_end__init(&ends[i]);
        ends[i].ino = service_make(&sv, LINK_A, a, 2 + i, name);
        ends[i].epoch = 1;
        list[i] = &ends[i];
    }
    Fs__Request req = FS__REQUEST__INIT;
    Fs__RecallAck ack = FS__RECALL_ACK__INIT;
    ack.leases = list;
    ack.n_leases = MANY;
    req.body_case = FS__REQUEST__BODY_RECALL_ACK;
    req.recall_ack = &ack;
    size_t at = sv.proposals.count;
    (void)service_send(&sv, LINK_A, a, &req);
    for (size_t i = at; i < sv.proposals.count; i++) {
        service_append(&sv, i);
        service_apply(&sv, i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        Fs__Attr attr = FS__ATTR__INIT;
        ck_assert_int_eq(fs_get_attr(sv.state, ends[i].ino, &attr), 0);
        ck_assert_uint_eq(attr.lease_session, 0);
    }
}
END_TEST

static bool ends_somebody(void)
{
    for (size_t i = 0; i < sv.proposals.count; i++)
        if (sv.proposals.items[i].op->body_case == FS__OP__BODY_END_SESSION)
            return true;
    return false;
}

START_TEST(a_new_session_is_not_silent)
{
    /* Goal: a mount that has not renewed yet, since it has just come, has as long to answer as the
     * others before its session ends and its writes are lost. */
    uint64_t d = service_join(&sv, LINK_D);
    uint64_t its = service_make(&sv, LINK_D, d, 1, "g");
    (void)send_lease(LINK_B, b, 1, its);
    ck_assert_uint_ne(service_recall(&sv, LINK_D), 0);
    service_pass(&sv, 3 * TIME_S);
    ck_assert(!ends_somebody());
    service_pass(&sv, 2 * TIME_S);
    ck_assert(ends_somebody());
}
END_TEST

START_TEST(a_leader_that_stood_still)
{
    /* Goal: a node that was stopped, perhaps with the machine and all mounts on it, does not call
     * them silent before it has listened, as long as it lets any other be silent. */
    service_stand_still(&sv, 100 * TIME_S);
    (void)send_lease(LINK_B, b, 1, ino);
    ck_assert_uint_ne(service_recall(&sv, LINK_A), 0);
    service_pass(&sv, 3 * TIME_S);
    ck_assert(!ends_somebody());
    service_pass(&sv, 2 * TIME_S);
    ck_assert(ends_somebody()); /* who is wanted */
    size_t ended = fs_app_stats(sv.app).sessions_ended;
    ck_assert_uint_eq(ended, 1);
    service_pass(&sv, 60 * TIME_S);
    ck_assert_uint_eq(fs_app_stats(sv.app).sessions_ended, 3);
}
END_TEST

START_TEST(promises_end_while_the_leader_stands_still)
{
    /* Goal: what was promised is over by the mount's own clock, and nobody waits for it. */
    give_lease_back(1);
    service_stand_still(&sv, 100 * TIME_S);
    size_t at = sv.proposals.count;
    send_chmod(LINK_C, c, 1); /* `a` was promised the attributes */
    ck_assert_uint_eq(sv.proposals.count, at + 1);
}
END_TEST

/* ---- holds ----------------------------------------------------------------------------------- */

static void make_nameless(uint64_t seq)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.mode = S_IFREG | 0600;
    m.nameless = true;
    op.seq = seq;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    (void)service_do(&sv, LINK_A, a, &op);
}

START_TEST(all_holds_are_told)
{
    /* Goal: a mount hears of each file that is kept for it, however many of them it has open. */
    const uint64_t count = 300;
    for (uint64_t i = 0; i < count; i++)
        make_nameless(2 + i);
    uint64_t first = ino + 1, told = 0;
    bool seen[300] = {false};
    for (int round = 0; round < 3; round++) {
        const Fs__Reply *reply = service_answer(&sv, service_send_renew(&sv, LINK_A, a, 1));
        for (size_t i = 0; i < reply->renew->n_holds; i++) {
            uint64_t at = reply->renew->holds[i] - first;
            ck_assert_uint_lt(at, count);
            told += !seen[at];
            seen[at] = true;
        }
    }
    ck_assert_uint_eq(told, count);
}
END_TEST

/* ---- space ----------------------------------------------------------------------------------- */

static Fs__Op op_of(Fs__Op__BodyCase kind)
{
    static uint64_t seq = 100;
    Fs__Op op = FS__OP__INIT;
    op.seq = ++seq;
    op.body_case = kind;
    return op;
}

static void reserve(uint64_t bytes)
{
    Fs__Op op = op_of(FS__OP__BODY_RESERVE);
    Fs__Reserve m = FS__RESERVE__INIT;
    m.bytes = bytes;
    op.reserve = &m;
    (void)service_do(&sv, LINK_A, a, &op);
}

static bool refused(Fs__Op *op)
{
    size_t before = sv.proposals.count;
    uint64_t id = service_send_op(&sv, LINK_A, a, op);
    const Fs__Reply *reply = service_answer(&sv, id);
    bool no_room = reply && reply->op && reply->op->err == ENOSPC;
    ck_assert_uint_eq(sv.proposals.count, before + !no_room);
    if (!no_room) {
        service_append(&sv, before);
        service_apply(&sv, before);
    }
    return no_room;
}

static bool rename_refused(const char *from, const char *to)
{
    Fs__Op op = op_of(FS__OP__BODY_RENAME);
    Fs__Rename m = FS__RENAME__INIT;
    m.parent = m.newparent = FS_ROOT_INO;
    m.name = text(from);
    m.newname = text(to);
    op.rename = &m;
    return refused(&op);
}

static bool setattr_refused(void)
{
    Fs__Op op = op_of(FS__OP__BODY_SETATTR);
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = ino;
    m.valid = 1;
    m.mode = 0600;
    op.setattr = &m;
    return refused(&op);
}

static bool lock_refused(Fs__Lock__Type type)
{
    Fs__Op op = op_of(FS__OP__BODY_SET_LOCK);
    Fs__SetLock m = FS__SET_LOCK__INIT;
    Fs__Lock lock = FS__LOCK__INIT;
    lock.owner = 1;
    lock.last = 99;
    lock.type = type;
    m.ino = ino;
    m.lock = &lock;
    op.set_lock = &m;
    return refused(&op);
}

static bool lease_refused(void)
{
    Fs__Op op = op_of(FS__OP__BODY_LEASE);
    Fs__Lease m = FS__LEASE__INIT;
    m.ino = ino;
    op.lease = &m;
    return refused(&op);
}

static uint64_t send_setxattr(size_t size)
{
    Fs__Op op = op_of(FS__OP__BODY_SETXATTR);
    Fs__Setxattr m = FS__SETXATTR__INIT;
    uint8_t value[FS_XATTR_MAX] = {0};
    m.ino = ino;
    m.name = (char *)"user.large";
    m.value = (ProtobufCBinaryData){size, value};
    op.setxattr = &m;
    return service_send_op(&sv, LINK_A, a, &op);
}

START_TEST(a_large_attribute_needs_room)
{
    /* Goal: what nobody reserved counts with its size, and from when it is proposed. */
    const uint64_t promised = 1 << 20, left = 16 << 10;
    give_lease_back(1);
    reserve(promised);
    service_room(&sv, 2 * (promised + left));
    size_t at = sv.proposals.count;
    ck_assert_int_eq(service_answer(&sv, send_setxattr(left))->op->err, ENOSPC);
    (void)send_setxattr(left / 2);
    ck_assert_uint_eq(sv.proposals.count, at + 1);
    ck_assert_int_eq(service_answer(&sv, send_setxattr(left / 2))->op->err, ENOSPC);
    service_append(&sv, at);
    service_apply(&sv, at);
    (void)send_setxattr(left / 2);
    ck_assert_uint_eq(sv.proposals.count, at + 2);
}
END_TEST

START_TEST(what_is_promised_is_left_alone)
{
    /* Goal: once all that is free is promised, what nobody reserved space for is refused, and not
     * put into a log that perhaps cannot be cut: also names that change and attributes. Leases, for
     * which space was reserved, and what ends something go on. */
    const uint64_t promised = 1 << 20;
    give_lease_back(1);
    reserve(promised);
    ck_assert(!lock_refused(FS__LOCK__TYPE__WRITE));
    ck_assert(!rename_refused("f", "g"));
    service_room(&sv, 2 * promised);
    ck_assert(rename_refused("g", "h"));
    ck_assert(setattr_refused());
    ck_assert(lock_refused(FS__LOCK__TYPE__READ));
    ck_assert(!lock_refused(FS__LOCK__TYPE__UNLOCK));
    ck_assert(!lease_refused());
    service_room(&sv, 3 * promised);
    ck_assert(!rename_refused("g", "h"));
    ck_assert(!setattr_refused());
}
END_TEST

/* What is answered to a recall of an earlier term says nothing of what is asked in this one, though
 * the same node leads again over the same link. */
START_TEST(answers_to_an_earlier_term)
{
    (void)send_unlink(LINK_B, b, 1, "f", false); /* `a` has the lease of the file */
    uint64_t earlier = service_recall(&sv, LINK_A);
    ck_assert_uint_ne(earlier, 0);
    service_reign(&sv, 2);
    service_renew(&sv, LINK_A, a, 2);
    service_renew(&sv, LINK_B, b, 2);
    service_renew(&sv, LINK_C, c, 2);
    (void)send_unlink(LINK_B, b, 1, "f", false);
    uint64_t now = service_recall(&sv, LINK_A);
    ck_assert_uint_gt(now, earlier);
    size_t before = sv.proposals.count;
    service_answer_recall(&sv, LINK_A, a, earlier, 0);
    ck_assert_uint_eq(sv.proposals.count, before);
    service_answer_recall(&sv, LINK_A, a, now, 0); /* it has no such lease, then */
    ck_assert_uint_eq(sv.proposals.count, before + 1);
}
END_TEST

START_TEST(late_on_a_link_given_up)
{
    /* Goal: once a mount has spoken on a newer link, what comes on the older one is not done, and
     * the newer one stays its link. */
    service_link_up(&sv, LINK_A_NEW);
    service_renew(&sv, LINK_A_NEW, a, 1);
    size_t before = sv.proposals.count;
    uint64_t late = send_unlink(LINK_A, a, 2, "f", false);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0);
    service_answer_recall(&sv, LINK_C, c, service_recall(&sv, LINK_C), 0);
    ck_assert_uint_eq(sv.proposals.count, before);
    ck_assert(service_answer(&sv, late) == NULL);
    (void)send_unlink(LINK_B, b, 1, "f", false); /* asks the holder of the lease */
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
    ck_assert_uint_ne(service_recall(&sv, LINK_A_NEW), 0);
}
END_TEST

static uint64_t send_mode_on(uint64_t client, uint64_t seq, uint64_t term)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Op op = FS__OP__INIT;
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = ino;
    m.valid = FS_SETATTR_MODE;
    m.mode = 0600;
    op.seq = seq;
    op.body_case = FS__OP__BODY_SETATTR;
    op.setattr = &m;
    req.term = term;
    req.body_case = FS__REQUEST__BODY_OP;
    req.op = &op;
    return service_send(&sv, client, a, &req);
}

static uint64_t send_mode(uint64_t seq, uint64_t term)
{
    return send_mode_on(LINK_A, seq, term);
}

START_TEST(late_on_a_link_that_was_replaced)
{
    /* Goal: the same when the newer link is down by then: what was asked may have been refused
     * there. */
    service_link_up(&sv, LINK_A_NEW);
    service_renew(&sv, LINK_A_NEW, a, 1);
    service_link_down(&sv, LINK_A_NEW);
    size_t before = sv.proposals.count;
    uint64_t late = send_mode(2, 1);
    ck_assert_uint_eq(sv.proposals.count, before);
    ck_assert(service_answer(&sv, late) == NULL);
}
END_TEST

/* ---- before it serves -------------------------------------------------------------------------
 */

static void elected_and_heard_of(void)
{
    service_reign_behind(&sv, 2);
    (void)service_send_renew(&sv, LINK_A, a, 2);
    (void)service_send_renew(&sv, LINK_B, b, 2);
    (void)service_send_renew(&sv, LINK_C, c, 2);
}

START_TEST(heard_before_it_serves)
{
    /* Goal: a mount that spoke to a new leader while that was still applying is recalled from at
     * once, and not when it speaks again. */
    elected_and_heard_of();
    service_catch_up(&sv);
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
    (void)send_unlink(LINK_B, b, 1, "f", false);
    ck_assert_uint_ne(service_recall(&sv, LINK_A), 0);
}
END_TEST

START_TEST(late_before_it_serves)
{
    /* Goal: also then nothing is done, or answered, that comes late on a link given up. */
    elected_and_heard_of();
    service_link_up(&sv, LINK_A_NEW);
    uint64_t asked = send_mode_on(LINK_A_NEW, 2, 2), late = send_mode_on(LINK_A, 2, 2);
    size_t at = sv.proposals.count;
    service_catch_up(&sv);
    ck_assert_uint_eq(sv.proposals.count, at + 1);
    service_append(&sv, at);
    service_apply(&sv, at);
    ck_assert(service_answer(&sv, asked) != NULL);
    ck_assert(service_answer(&sv, late) == NULL);
}
END_TEST

START_TEST(late_from_an_earlier_term)
{
    /* Goal: what was sent in an earlier term is not carried out: its mount may have been told since
     * that there is no room, which is not in the log (tally-sim seed 154435527648039). Whoever
     * waits for it is told to send it again. */
    service_reign(&sv, 2);
    service_renew(&sv, LINK_A, a, 2);
    service_renew(&sv, LINK_B, b, 2);
    service_renew(&sv, LINK_C, c, 2);
    size_t before = sv.proposals.count;
    const Fs__Reply *told = service_answer(&sv, send_mode(2, 1));
    ck_assert_uint_eq(sv.proposals.count, before);
    ck_assert(told != NULL);
    ck_assert_int_eq(told->err, ESTALE);
    ck_assert_uint_eq(told->leader, 1);
    ck_assert_uint_eq(told->term, 2);
    (void)send_mode(2, 2);
    ck_assert_uint_eq(sv.proposals.count, before + 1);
}
END_TEST

/* "Ask who leads", which says nothing of what was asked. */
static void expect_sent_on(uint64_t id)
{
    const Fs__Reply *told = service_answer(&sv, id);
    ck_assert(told != NULL);
    ck_assert_int_eq(told->err, ESTALE);
    ck_assert_uint_eq(told->leader, 0);
}

START_TEST(sent_in_a_later_term)
{
    /* Goal: who was deposed and does not know refuses nothing: the next leader may have done it. */
    service_room(&sv, 0);
    expect_sent_on(send_mode(2, 2));
    ck_assert_int_eq(service_answer(&sv, send_mode(2, 1))->op->err, ENOSPC);
}
END_TEST

START_TEST(given_in_a_later_term)
{
    /* Goal: nor does it call a session unknown that the next leader may have opened, nor a COMMIT
     * fenced under a lease which that one may have given. */
    const uint64_t epoch = 99, session = 99;
    sv.term = 2; /* of somebody else */
    expect_sent_on(send_lease(LINK_A, session, 1, ino));
    expect_sent_on(service_send_commit(&sv, LINK_A, a, ino, epoch, 1));
    sv.term = 1;
    uint64_t unknown = send_lease(LINK_A, session, 1, ino);
    ck_assert_int_eq(service_answer(&sv, unknown)->err, ESTALE);
    ck_assert_uint_eq(service_answer(&sv, unknown)->leader, 1); /* "I lead, and do not know it" */
    uint64_t fenced = service_send_commit(&sv, LINK_A, a, ino, epoch, 1);
    ck_assert_int_eq(service_answer(&sv, fenced)->err, EIO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("change");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, removals_ask_in_turn);
    tcase_add_test(t, asked_by_one_that_gave_up);
    tcase_add_test(t, lease_of_long_ago);
    tcase_add_test(t, make_of_long_ago);
    tcase_add_test(t, lease_on_its_way_out);
    tcase_add_test(t, a_lease_gets_its_turn);
    tcase_add_test(t, lease_wanted_while_its_holder_ends);
    tcase_add_test(t, many_leases_come_back_at_once);
    tcase_add_test(t, a_new_session_is_not_silent);
    tcase_add_test(t, a_leader_that_stood_still);
    tcase_add_test(t, promises_end_while_the_leader_stands_still);
    tcase_add_test(t, all_holds_are_told);
    tcase_add_test(t, what_is_promised_is_left_alone);
    tcase_add_test(t, a_large_attribute_needs_room);
    tcase_add_test(t, answers_to_an_earlier_term);
    tcase_add_test(t, late_on_a_link_given_up);
    tcase_add_test(t, late_on_a_link_that_was_replaced);
    tcase_add_test(t, heard_before_it_serves);
    tcase_add_test(t, late_before_it_serves);
    tcase_add_test(t, late_from_an_earlier_term);
    tcase_add_test(t, sent_in_a_later_term);
    tcase_add_test(t, given_in_a_later_term);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
