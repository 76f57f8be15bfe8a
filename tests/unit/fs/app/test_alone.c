/* Who is told that it alone knows a file, since it has the lease of the directory that has all the
 * file's names; and what others who know the file's number come for then (RULES D1). */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/app/service.h"
#include "tests/unit/lib/run.h"

enum { LINK_A = 1, LINK_B = 2 };

static struct service sv;
static uint64_t a, b, x; /* `a` made file "x" in the root; `b` knows its number */
static uint64_t seq;

/* ---- short forms ----------------------------------------------------------------------------- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static uint64_t make_by(uint64_t client, uint64_t session, const char *name, uint32_t mode)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text(name);
    m.mode = mode;
    op.seq = ++seq;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return service_do(&sv, client, session, &op)->attr->ino;
}

static uint64_t make(const char *name, uint32_t mode)
{
    return make_by(LINK_A, a, name, mode);
}

static uint64_t send_lease(uint64_t client, uint64_t session, uint64_t ino)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Lease m = FS__LEASE__INIT;
    m.ino = ino;
    op.seq = ++seq;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &m;
    return service_send_op(&sv, client, session, &op);
}

static uint64_t send_chmod(uint64_t client, uint64_t session)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = x;
    m.valid = FS_SETATTR_MODE;
    m.mode = 0600;
    op.seq = ++seq;
    op.body_case = FS__OP__BODY_SETATTR;
    op.setattr = &m;
    return service_send_op(&sv, client, session, &op);
}

static Fs__Op link_to(Fs__Link *m, uint64_t dir)
{
    Fs__Op op = FS__OP__INIT;
    fs__link__init(m);
    m->ino = x;
    m->parent = dir;
    m->name = text("y");
    op.seq = ++seq;
    op.body_case = FS__OP__BODY_LINK;
    op.link = m;
    return op;
}

static void log_from(size_t i)
{
    const size_t end = sv.proposals.count;
    for (size_t k = i; k < end; k++) {
        service_append(&sv, k);
        service_apply(&sv, k);
    }
}

/* The lease of the root; its epoch. */
static uint64_t take_lease(void)
{
    size_t i = sv.proposals.count;
    uint64_t id = send_lease(LINK_A, a, FS_ROOT_INO);
    log_from(i);
    ck_assert_int_eq(service_answer(&sv, id)->op->err, 0);
    return service_answer(&sv, id)->op->value;
}

static uint64_t send_getattr(uint64_t client, uint64_t session)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Getattr m = FS__GETATTR__INIT;
    m.ino = x;
    req.body_case = FS__REQUEST__BODY_GETATTR;
    req.getattr = &m;
    return service_send(&sv, client, session, &req);
}

static uint64_t told_by_lookup(void)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Lookup m = FS__LOOKUP__INIT;
    m.parent = FS_ROOT_INO;
    m.name = text("x");
    req.body_case = FS__REQUEST__BODY_LOOKUP;
    req.lookup = &m;
    const Fs__Reply *reply = service_answer(&sv, service_send(&sv, LINK_A, a, &req));
    ck_assert_uint_eq(reply->attr->ino, x);
    return reply->alone;
}

static uint64_t told_by_readdir(void)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Readdir m = FS__READDIR__INIT;
    m.ino = FS_ROOT_INO;
    m.max = 10;
    m.plus = true;
    req.body_case = FS__REQUEST__BODY_READDIR;
    req.readdir = &m;
    const Fs__Reply *reply = service_answer(&sv, service_send(&sv, LINK_A, a, &req));
    for (size_t i = 0; i < reply->readdir->n_entries; i++)
        if (reply->readdir->entries[i]->ino == x)
            return reply->readdir->entries[i]->alone;
    ck_abort_msg("x is not there");
}

static void expect_told(uint64_t epoch)
{
    ck_assert_uint_eq(told_by_lookup(), epoch);
    ck_assert_uint_eq(told_by_readdir(), epoch);
}

static void setup(void)
{
    service_open(&sv);
    seq = 0;
    a = service_open_session(&sv, LINK_A);
    b = service_open_session(&sv, LINK_B);
    x = make("x", S_IFREG | 0644);
}

static void teardown(void)
{
    service_close(&sv);
}

/* ---- who is told ----------------------------------------------------------------------------- */

START_TEST(under_the_lease_only)
{
    expect_told(0);
    uint64_t epoch = take_lease();
    ck_assert_uint_ne(epoch, 0);
    expect_told(epoch);
    size_t i = sv.proposals.count;
    (void)send_getattr(LINK_B, b);
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0);
    log_from(i);
    (void)send_chmod(LINK_A, a);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0);
    log_from(i + 1);
    expect_told(0);
    ck_assert_uint_eq(take_lease(), epoch + 2);
    expect_told(epoch + 2);
}
END_TEST

START_TEST(not_of_what_has_a_name_elsewhere)
{
    Fs__Link m;
    uint64_t dir = make("d", S_IFDIR | 0755);
    Fs__Op op = link_to(&m, dir);
    (void)take_lease();
    (void)service_do(&sv, LINK_A, a, &op);
    expect_told(0);
}
END_TEST

START_TEST(not_while_another_is_promised)
{
    /* Goal: nor does the other one need the lease: nobody knows the file alone. */
    ck_assert(service_answer(&sv, send_getattr(LINK_B, b))->grant_attr);
    uint64_t epoch = take_lease();
    expect_told(0);
    ck_assert(service_answer(&sv, send_getattr(LINK_B, b)) != NULL);
    ck_assert_uint_eq(service_recall(&sv, LINK_A), 0);
    size_t i = sv.proposals.count;
    (void)send_chmod(LINK_A, a);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0);
    expect_told(0); /* a change is under way */
    log_from(i);
    expect_told(epoch);
}
END_TEST

START_TEST(not_while_another_changes_it)
{
    /* Goal: a change that came before the lease was granted, and is applied after it. */
    ck_assert(service_answer(&sv, send_getattr(LINK_B, b))->grant_attr);
    size_t i = sv.proposals.count;
    uint64_t lease = send_lease(LINK_A, a, FS_ROOT_INO), change = send_chmod(LINK_B, b);
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0);
    service_answer_recall(&sv, LINK_B, b, 0, 0);
    ck_assert_uint_eq(sv.proposals.count, i + 2);
    service_append(&sv, i);
    service_append(&sv, i + 1);
    service_apply(&sv, i);
    ck_assert_int_eq(service_answer(&sv, lease)->op->err, 0);
    expect_told(0);
    service_apply(&sv, i + 1);
    ck_assert_int_eq(service_answer(&sv, change)->op->err, 0);
    expect_told(0); /* whose answer promised it */
}
END_TEST

/* ---- what others come for -------------------------------------------------------------------- */

/* `b` waits until the lease of the root is back, and asks for nothing else. */
static void waits_for_the_lease(uint64_t id, size_t proposals)
{
    ck_assert_ptr_null(service_answer(&sv, id));
    ck_assert_uint_eq(sv.proposals.count, proposals);
    const struct service_answer *last = &sv.answers.items[sv.answers.count - 1];
    ck_assert_uint_eq(last->client, LINK_A);
    ck_assert_int_eq(last->reply->body_case, FS__REPLY__BODY_RECALL);
    bool lease = false;
    for (size_t i = 0; i < last->reply->recall->n_objects; i++) {
        const Fs__Object *o = last->reply->recall->objects[i];
        lease |= o->kind == FS__OBJECT__KIND__LEASE && o->ino == FS_ROOT_INO;
    }
    ck_assert(lease);
    service_answer_recall(&sv, LINK_A, a, service_recall(&sv, LINK_A), 0);
    ck_assert_uint_eq(sv.proposals.count, proposals + 1);
    ck_assert_int_eq(sv.proposals.items[proposals].op->body_case, FS__OP__BODY_RELEASE);
    service_append(&sv, proposals);
    ck_assert_ptr_null(service_answer(&sv, id));
    service_apply(&sv, proposals);
}

static Fs__Request question(Fs__Request__BodyCase kind)
{
    static Fs__Getattr attr;
    static Fs__Getxattr xattr;
    static Fs__Listxattr list;
    static Fs__Read read;
    static Fs__Extents extents;
    Fs__Request req = FS__REQUEST__INIT;
    req.body_case = kind;
    switch ((int)kind) {
    case FS__REQUEST__BODY_GETATTR:
        fs__getattr__init(&attr);
        attr.ino = x;
        attr.open = true;
        req.getattr = &attr;
        break;
    case FS__REQUEST__BODY_GETXATTR:
        fs__getxattr__init(&xattr);
        xattr.ino = x;
        xattr.name = (char *)(uintptr_t) "user.a";
        req.getxattr = &xattr;
        break;
    case FS__REQUEST__BODY_LISTXATTR:
        fs__listxattr__init(&list);
        list.ino = x;
        req.listxattr = &list;
        break;
    case FS__REQUEST__BODY_READ:
        fs__read__init(&read);
        read.ino = x;
        read.pages = 1;
        req.read = &read;
        break;
    default:
        fs__extents__init(&extents);
        extents.ino = x;
        req.extents = &extents;
        break;
    }
    return req;
}

START_TEST(who_asks_by_number)
{
    const Fs__Request__BodyCase kinds[] = {FS__REQUEST__BODY_GETATTR, FS__REQUEST__BODY_GETXATTR,
                                           FS__REQUEST__BODY_LISTXATTR, FS__REQUEST__BODY_READ,
                                           FS__REQUEST__BODY_EXTENTS};
    (void)take_lease();
    ck_assert_uint_ne(told_by_lookup(), 0);
    size_t i = sv.proposals.count;
    Fs__Request req = question(kinds[_i]);
    uint64_t id = service_send(&sv, LINK_B, b, &req);
    waits_for_the_lease(id, i);
    ck_assert_ptr_nonnull(service_answer(&sv, id));
}
END_TEST

START_TEST(who_changes_it_by_number)
{
    Fs__Link m;
    Fs__Setxattr attr = FS__SETXATTR__INIT;
    uint64_t dir = make("d", S_IFDIR | 0755);
    (void)take_lease();
    ck_assert_uint_ne(told_by_lookup(), 0);
    size_t i = sv.proposals.count;
    Fs__Op op = link_to(&m, dir);
    if (_i == 1) {
        attr.ino = x;
        attr.name = (char *)(uintptr_t) "user.a";
        attr.value = text("v");
        op.body_case = FS__OP__BODY_SETXATTR;
        op.setxattr = &attr;
    }
    uint64_t id = _i < 2    ? service_send_op(&sv, LINK_B, b, &op)
                  : _i == 2 ? send_chmod(LINK_B, b)
                            : send_lease(LINK_B, b, x);
    waits_for_the_lease(id, i);
    log_from(i + 1);
    ck_assert_int_eq(service_answer(&sv, id)->op->err, 0);
}
END_TEST

START_TEST(time_of_a_read_is_told)
{
    /* Goal: nothing is recalled for it, so who knows the file alone hears of it, also when it was
     * never promised anything. */
    Fs__Op op = FS__OP__INIT;
    Fs__Atimes m = FS__ATIMES__INIT;
    Fs__Atime time = FS__ATIME__INIT, *times[1] = {&time};
    Fs__Attr attr = FS__ATTR__INIT;
    uint64_t file = make_by(LINK_B, b, "y", S_IFREG | 0644);
    (void)take_lease();
    ck_assert_int_eq(fs_get_attr(sv.state, file, &attr), 0);
    size_t before = sv.answers.count;
    time.ino = file;
    time.atime = attr.atime + 5;
    time.version = attr.version;
    m.atimes = times;
    m.n_atimes = 1;
    op.body_case = FS__OP__BODY_ATIMES;
    op.atimes = &m;
    size_t i = sv.proposals.count;
    (void)service_send_op(&sv, LINK_B, b, &op);
    log_from(i);
    bool heard = false;
    for (size_t k = before; k < sv.answers.count; k++)
        heard |= sv.answers.items[k].client == LINK_A &&
                 sv.answers.items[k].reply->body_case == FS__REPLY__BODY_ATIMES;
    ck_assert(heard);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/app alone");
    TCase *t = tcase_create("who is told");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, under_the_lease_only);
    tcase_add_test(t, not_of_what_has_a_name_elsewhere);
    tcase_add_test(t, not_while_another_is_promised);
    tcase_add_test(t, not_while_another_changes_it);
    suite_add_tcase(suite, t);
    t = tcase_create("what others come for");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, who_asks_by_number, 0, 5);
    tcase_add_loop_test(t, who_changes_it_by_number, 0, 4);
    tcase_add_test(t, time_of_a_read_is_told);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
