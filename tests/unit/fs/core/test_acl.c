/* ACLs: their arithmetic, and what they do to modes and new objects in the state. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/acl.h"
#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"

enum { ONE = 12001, GROUP = 12003 };

/* ---- arithmetic ------------------------------------------------------------------------------ */

#define FULL                                                                                       \
    {ACL_TAG_USER_OBJ, 7, 0}, {ACL_TAG_USER, 6, ONE}, {ACL_TAG_GROUP_OBJ, 5, 0},                   \
        {ACL_TAG_GROUP, 4, GROUP}, {ACL_TAG_MASK, 6, 0},                                           \
    {                                                                                              \
        ACL_TAG_OTHER, 1, 0                                                                        \
    }
#define MINIMAL                                                                                    \
    {ACL_TAG_USER_OBJ, 6, 0}, {ACL_TAG_GROUP_OBJ, 4, 0},                                           \
    {                                                                                              \
        ACL_TAG_OTHER, 0, 0                                                                        \
    }

static const struct acl full = {6, {FULL}}, minimal = {3, {MINIMAL}};

static int decoded(const struct acl *acl, struct acl *ret)
{
    struct bytes_writer w = {0};
    acl_encode(acl, &w);
    int err = acl_decode(w.data, w.size, ret);
    bytes_writer_done(&w);
    return err;
}

static int checked(struct acl acl)
{
    struct acl ignored;
    return decoded(&acl, &ignored);
}

START_TEST(bytes_are_as_linux_has_them)
{
    const uint8_t want[] = {2, 0, 0, 0, 1, 0, 6,  0, 0, 0, 0, 0, 4, 0,
                            4, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0};
    struct bytes_writer w = {0};
    acl_encode(&minimal, &w);
    ck_assert_uint_eq(w.size, sizeof want);
    ck_assert(memcmp(w.data, want, sizeof want) == 0);
    bytes_writer_done(&w);
    struct acl got;
    ck_assert_int_eq(decoded(&full, &got), 0);
    ck_assert_uint_eq(got.count, full.count);
    ck_assert(memcmp(got.entries, full.entries, full.count * sizeof full.entries[0]) == 0);
}
END_TEST

START_TEST(what_is_no_acl_is_refused)
{
    struct acl got;
    uint8_t bytes[4 + 8 * (ACL_ENTRIES_MAX + 1)] = {2};
    ck_assert_int_eq(acl_decode(bytes, 0, &got), EINVAL);
    ck_assert_int_eq(acl_decode(bytes, 4, &got), EINVAL);
    ck_assert_int_eq(acl_decode(bytes, 11, &got), EINVAL);
    ck_assert_int_eq(acl_decode(bytes, sizeof bytes, &got), EINVAL);
    bytes[0] = 1;
    ck_assert_int_eq(acl_decode(bytes, 4 + 24, &got), EINVAL);
    for (size_t lacks = 0; lacks < full.count; lacks++) {
        struct acl a = full;
        a.count--;
        memmove(&a.entries[lacks], &a.entries[lacks + 1], (a.count - lacks) * sizeof a.entries[0]);
        bool named = full.entries[lacks].tag & (ACL_TAG_USER | ACL_TAG_GROUP);
        ck_assert_int_eq(checked(a), named ? 0 : EINVAL);
    }
    for (size_t i = 0; i + 1 < full.count; i++) { /* two change places */
        struct acl a = full;
        a.entries[i] = full.entries[i + 1];
        a.entries[i + 1] = full.entries[i];
        ck_assert_int_eq(checked(a), EINVAL);
    }
    ck_assert_int_eq(checked((struct acl){4, {MINIMAL, {ACL_TAG_OTHER, 0, 0}}}), EINVAL);
    ck_assert_int_eq(checked((struct acl){3, {MINIMAL}}), 0);
    struct acl a = minimal;
    a.entries[1].perm = 8;
    ck_assert_int_eq(checked(a), EINVAL);
    a.entries[1] = (struct acl_entry){3, 4, 0};
    ck_assert_int_eq(checked(a), EINVAL);
}
END_TEST

START_TEST(modes_and_acls_are_in_step)
{
    ck_assert(acl_is_minimal(&minimal) && !acl_is_minimal(&full));
    ck_assert_uint_eq(acl_mode(&minimal), 0640);
    ck_assert_uint_eq(acl_mode(&full), 0761); /* the group's bits are the mask's */
    for (uint32_t mode = 0; mode <= 0777; mode++) {
        struct acl a = full, b = minimal;
        acl_chmod(&a, mode | S_ISUID);
        acl_chmod(&b, mode);
        ck_assert_uint_eq(acl_mode(&a), mode);
        ck_assert_uint_eq(acl_mode(&b), mode);
        ck_assert_uint_eq(a.entries[1].perm, 6); /* named ones stay, under another mask */
        ck_assert_uint_eq(a.entries[2].perm, 5);
        ck_assert_uint_eq(b.entries[1].perm, mode >> 3 & 7);
        a = full;
        ck_assert_uint_eq(acl_inherit(&a, S_IFREG | S_ISGID | mode),
                          S_IFREG | S_ISGID | (mode & 0761));
        ck_assert_uint_eq(acl_mode(&a), mode & 0761);
    }
}
END_TEST

/* ---- in the state ---------------------------------------------------------------------------- */

static struct kv *kv;
static struct kv_txn *txn;
static struct fs_state *state;
static uint64_t last_index, session, last_seq;
static struct fs_result result;

static int apply(Fs__Op *op)
{
    fs_result_done(&result);
    op->session = session;
    op->seq = session ? ++last_seq : 0;
    fs_apply(state, txn, ++last_index, op, &result);
    ck_assert_int_eq(kv_txn_commit(txn), 0);
    struct fs_hash kept = fs_state_hash(state), found = fs_state_rehash(state);
    ck_assert(kept.lo == found.lo && kept.hi == found.hi);
    return result.reply->err;
}

static void setup(void)
{
    kv = kv_mem_new();
    txn = kv_txn_new(kv);
    state = fs_state_new(kv, 0);
    last_index = session = last_seq = 0;
    fs_result_init(&result);
    fs_state_format(state, txn);
    ck_assert_int_eq(kv_txn_commit(txn), 0);
    uint8_t uuid[16] = {1};
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){16, uuid};
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    ck_assert_int_eq(apply(&op), 0);
    session = result.reply->value;
}

static void teardown(void)
{
    fs_result_done(&result);
    fs_state_free(state);
    kv_txn_free(txn);
    kv_close(kv);
}

static uint64_t made(uint64_t parent, const char *name, uint32_t mode, uint32_t umask)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = parent;
    m.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
    m.mode = mode;
    m.umask = umask;
    m.exclusive = true;
    if (S_ISLNK(mode))
        m.target = m.name;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    ck_assert_int_eq(apply(&op), 0);
    return result.reply->attr->ino;
}

static int set(uint64_t ino, const char *name, const struct acl *acl, bool kill_sgid)
{
    struct bytes_writer w = {0};
    Fs__Op op = FS__OP__INIT;
    Fs__Setxattr m = FS__SETXATTR__INIT;
    acl_encode(acl, &w);
    m.ino = ino;
    m.name = (char *)(uintptr_t)name;
    m.value = (ProtobufCBinaryData){w.size, w.data};
    m.kill_sgid = kill_sgid;
    op.body_case = FS__OP__BODY_SETXATTR;
    op.setxattr = &m;
    int err = apply(&op);
    bytes_writer_done(&w);
    return err;
}

static int removed(uint64_t ino, const char *name)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Removexattr m = FS__REMOVEXATTR__INIT;
    m.ino = ino;
    m.name = (char *)(uintptr_t)name;
    op.body_case = FS__OP__BODY_REMOVEXATTR;
    op.removexattr = &m;
    return apply(&op);
}

static void change_mode(uint64_t ino, uint32_t mode)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Setattr m = FS__SETATTR__INIT;
    m.ino = ino;
    m.valid = FS_SETATTR_MODE;
    m.mode = mode;
    op.body_case = FS__OP__BODY_SETATTR;
    op.setattr = &m;
    ck_assert_int_eq(apply(&op), 0);
}

static uint32_t mode_of(uint64_t ino)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(state, ino, &attr), 0);
    return attr.mode;
}

/* 0 with the stored one, or -ENODATA. */
static int stored(uint64_t ino, const char *name, struct acl *ret)
{
    struct blob *value = NULL;
    Fs__Attr attr = FS__ATTR__INIT;
    int r = fs_getxattr(state, ino, name, &value);
    ck_assert_int_eq(fs_get_attr(state, ino, &attr), 0);
    if (r == 0) {
        ck_assert(attr.has_xattrs);
        ck_assert_int_eq(acl_decode(value->data, value->size, ret), 0);
        blob_unref(value);
    }
    return r;
}

START_TEST(an_access_acl_sets_the_mode_and_chmod_the_acl)
{
    struct acl got;
    uint64_t f = made(FS_ROOT_INO, "f", S_IFREG | S_ISGID | 0666, 0);
    ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, &full, false), 0);
    ck_assert_uint_eq(mode_of(f), S_IFREG | S_ISGID | 0761);
    ck_assert_int_eq(stored(f, ACL_XATTR_ACCESS, &got), 0);
    ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, &full, true), 0);
    ck_assert_uint_eq(mode_of(f), S_IFREG | 0761);
    change_mode(f, S_ISUID | 0604);
    ck_assert_uint_eq(mode_of(f), S_IFREG | S_ISUID | 0604);
    ck_assert_int_eq(stored(f, ACL_XATTR_ACCESS, &got), 0);
    ck_assert_uint_eq(acl_mode(&got), 0604);
    ck_assert_uint_eq(got.entries[1].perm, 6);
    ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, &minimal, false), 0); /* a mode says as much */
    ck_assert_uint_eq(mode_of(f), S_IFREG | S_ISUID | 0640);
    ck_assert_int_eq(stored(f, ACL_XATTR_ACCESS, &got), -ENODATA);
    ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, &full, false), 0);
    ck_assert_int_eq(removed(f, ACL_XATTR_ACCESS), 0);
    ck_assert_uint_eq(mode_of(f), S_IFREG | S_ISUID | 0761);
    ck_assert_int_eq(removed(f, ACL_XATTR_ACCESS), 0);
    ck_assert_int_eq(removed(f, "user.none"), ENODATA);
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(state, f, &attr), 0);
    ck_assert(!attr.has_xattrs);
}
END_TEST

START_TEST(a_default_acl_is_handed_down_and_the_umask_is_not)
{
    static const uint32_t kinds[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    struct acl got;
    uint64_t dir = made(FS_ROOT_INO, "dir", S_IFDIR | 0777, 022);
    ck_assert_uint_eq(mode_of(dir), S_IFDIR | 0755);
    ck_assert_int_eq(set(dir, ACL_XATTR_DEFAULT, &full, false), 0);
    ck_assert_uint_eq(mode_of(dir), S_IFDIR | 0755); /* says nothing of the directory itself */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char name[] = {'a' + (char)i, 0};
        uint64_t ino = made(dir, name, kinds[i] | 0666, 077);
        ck_assert_uint_eq(mode_of(ino), kinds[i] | 0660);
        ck_assert_int_eq(stored(ino, ACL_XATTR_ACCESS, &got), 0);
        ck_assert_uint_eq(got.entries[1].perm, 6);
        ck_assert_int_eq(stored(ino, ACL_XATTR_DEFAULT, &got), -ENODATA);
    }
    uint64_t link = made(dir, "link", S_IFLNK | 0777, 077);
    ck_assert_uint_eq(mode_of(link), S_IFLNK | 0777);
    ck_assert_int_eq(stored(link, ACL_XATTR_ACCESS, &got), -ENODATA);
    uint64_t sub = made(dir, "sub", S_IFDIR | 0777, 077);
    ck_assert_uint_eq(mode_of(sub), S_IFDIR | 0761);
    ck_assert_int_eq(stored(sub, ACL_XATTR_ACCESS, &got), 0);
    ck_assert_int_eq(stored(sub, ACL_XATTR_DEFAULT, &got), 0);
    ck_assert_uint_eq(acl_mode(&got), 0761);
    ck_assert_int_eq(set(sub, ACL_XATTR_DEFAULT, &minimal, false), 0); /* kept: it is no mode */
    ck_assert_int_eq(stored(sub, ACL_XATTR_DEFAULT, &got), 0);
    uint64_t plain = made(sub, "plain", S_IFREG | 0666, 077);
    ck_assert_uint_eq(mode_of(plain), S_IFREG | 0640);
    ck_assert_int_eq(stored(plain, ACL_XATTR_ACCESS, &got), -ENODATA);
    ck_assert_int_eq(removed(sub, ACL_XATTR_DEFAULT), 0);
    ck_assert_uint_eq(mode_of(made(sub, "umask", S_IFREG | 0666, 077)), S_IFREG | 0600);
}
END_TEST

START_TEST(refusals_change_nothing)
{
    uint64_t f = made(FS_ROOT_INO, "f", S_IFREG | 0666, 0);
    uint64_t link = made(FS_ROOT_INO, "link", S_IFLNK | 0777, 0);
    struct acl bad = full;
    bad.count--;
    ck_assert_int_eq(set(f, ACL_XATTR_ACCESS, &bad, false), EINVAL);
    ck_assert_int_eq(set(f, ACL_XATTR_DEFAULT, &full, false), EACCES);
    ck_assert_int_eq(set(link, ACL_XATTR_ACCESS, &full, false), EOPNOTSUPP);
    ck_assert_uint_eq(mode_of(f), S_IFREG | 0666);
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(state, f, &attr), 0);
    ck_assert(!attr.has_xattrs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/core/acl");
    TCase *sums = tcase_create("arithmetic"), *tc = tcase_create("state");
    tcase_add_test(sums, bytes_are_as_linux_has_them);
    tcase_add_test(sums, what_is_no_acl_is_refused);
    tcase_add_test(sums, modes_and_acls_are_in_step);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_access_acl_sets_the_mode_and_chmod_the_acl);
    tcase_add_test(tc, a_default_acl_is_handed_down_and_the_umask_is_not);
    tcase_add_test(tc, refusals_change_nothing);
    suite_add_tcase(suite, sums);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
