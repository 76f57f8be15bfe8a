/* Set-id bits and file capabilities go before bytes by who may not keep them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* ---- short forms ----------------------------------------------------------------------------- */

static void change_mode(int m, struct place f, uint32_t mode)
{
    struct client_op op = op_of(CLIENT_SETATTR, f);
    op.set = FS_SETATTR_MODE;
    op.mode = mode;
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

static void set_xattr(int m, struct place f, const char *name)
{
    struct client_op op = op_of(CLIENT_SETXATTR, f);
    op.name = name;
    op.data = blob_copy("value", 5);
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

static struct client_op user_write(struct place f, const char *text)
{
    struct client_op op = write_op(f, 0, text, strlen(text));
    op.kill_setid = true;
    return op;
}

static Fs__Attr applied(struct place f)
{
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, f.ino, &attr), 0);
    return attr;
}

/* What is on its way into the log. */
static size_t pending(Fs__Op__BodyCase kind)
{
    size_t found = 0;
    for (size_t i = 0; i < w.pending.count; i++) {
        const struct blob *payload = w.pending.items[i].payload;
        Fs__Op *op = fs__op__unpack(NULL, payload->size, payload->data);
        found += op->body_case == kind;
        fs__op__free_unpacked(op, NULL);
    }
    return found;
}

static void expect_mode(struct place f, uint32_t mode)
{
    for (int m = 0; m < WORLD_MOUNTS; m++) {
        struct client_op op = {.kind = CLIENT_GETATTR, .ino = f.ino};
        ck_assert_uint_eq(world_do(&w, m, op)->attr.mode, S_IFREG | mode);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(the_bits_go_before_the_bytes)
{
    /* Goal: nobody sees new bytes with old powers, whatever falls in between: the write is not even
     * taken before the log has dropped them. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    change_mode(0, f, 06777);
    (void)world_do(&w, 0, op_of(CLIENT_GETATTR, f)); /* the kernel is told of the new bytes */
    world_pass(&w, 200 * TIME_MS);
    ck_assert_uint_ne(world_do(&w, 0, op_of(CLIENT_GETATTR, f))->attr_valid_us, 0);
    unsigned told = w.mounts[0].notified_attr; /* the kernel caches the mode with them */
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, user_write(f, "TEXT"));
    world_pass(&w, 2 * TIME_S);
    ck_assert_ptr_null(world_find(&w, 0, id));
    ck_assert_uint_eq(pending(FS__OP__BODY_SETATTR), 1);
    ck_assert_uint_eq(pending(FS__OP__BODY_COMMIT), 0);
    w.no_commit = false;
    world_settle(&w);
    ck_assert_uint_eq(world_find(&w, 0, id)->written, 4);
    ck_assert_uint_eq(applied(f).mode, S_IFREG | 0777);
    ck_assert_uint_gt(w.mounts[0].notified_attr, told);
    expect_mode(f, 0777);
    expect_text(1, f, 0, "TEXT");
}
END_TEST

START_TEST(an_ordinary_file_costs_nothing)
{
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    set_xattr(0, f, "user.x");
    change_mode(0, f, 02644); /* a sign of mandatory locking */
    put_text(0, f, 0, "text");
    Fs__Attr before = applied(f);
    unsigned sends = w.mounts[0].sends;
    uint64_t id = world_start(&w, 0, user_write(f, "TEXT"));
    ck_assert_uint_eq(world_find(&w, 0, id)->written, 4);
    ck_assert_uint_eq(w.mounts[0].sends, sends);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(applied(f).mode, before.mode);
}
END_TEST

START_TEST(powers_that_another_mount_gives)
{
    /* Goal: however often this mount has written: its lease came back, so it looks again. */
    struct place f = create(0, "a"), g = open_file(1, f.ino);
    for (int round = 0; round < 3; round++) {
        ck_assert_uint_eq(world_do(&w, 0, user_write(f, "text"))->written, 4);
        change_mode(1, g, 04755);
        set_xattr(1, g, "security.capability");
        set_xattr(1, g, "security.x");
        struct client_op op = write_op(f, 0, "pages", 5);
        op.written_back = true;
        ck_assert_uint_eq(world_do(&w, 0, op)->written, 5);
        ck_assert(applied(f).has_capability); /* of a mapping: by nobody in particular */
        expect_mode(f, 04755);
        put_text(0, f, 0, "by root");
        ck_assert(!applied(f).has_capability);
        expect_mode(f, 04755);
        set_xattr(1, g, "security.capability");
        ck_assert_uint_eq(world_do(&w, 0, user_write(f, "by user"))->written, 7);
        ck_assert(!applied(f).has_capability && applied(f).has_xattrs);
        expect_mode(f, 0755);
        expect_text(1, g, 0, "by user");
    }
}
END_TEST

static struct client_op change_of(int kind, struct place f, struct place source)
{
    struct client_op op = op_of(CLIENT_SETATTR, f);
    if (kind == 0) {
        op.set = CLIENT_SET_SIZE;
        op.size = 2;
    } else if (kind == 1) {
        op.set = FS_SETATTR_UID;
        op.uid = 12001;
    } else if (kind == 2) { /* of nothing: chown(-1, -1) */
        op.set = 0;
    } else if (kind == 3) {
        op = op_of(CLIENT_ALLOCATE, f);
        op.size = 10000;
    } else if (kind == 4) {
        op = op_of(CLIENT_ALLOCATE, f);
        op.size = 10000;
        op.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    } else {
        op = op_of(CLIENT_COPY, source);
        op.size = 100;
        op.to_ino = f.ino;
        op.to_fh = f.fh;
    }
    op.kill_setid = true;
    return op;
}

START_TEST(every_change_of_data_or_owner)
{
    /* Goal: also behind writes that are not committed, which keep their order; once. */
    struct place source = create(0, "source"), f = create(0, "a"), g = open_file(1, f.ino);
    put_text(0, source, 0, "the source");
    put_text(0, f, 0, "text");
    for (int by = 0; by < 2; by++) { /* who gives them */
        change_mode(by, by ? g : f, 06777);
        set_xattr(by, by ? g : f, "security.capability");
        if (_i < 1 || _i > 2)
            put_text(0, f, 0, "more"); /* by root, so the capability goes */
        ck_assert_int_eq(world_do(&w, 0, change_of(_i, f, source))->err, 0);
        expect_mode(f, 0777);
        if (_i != 1 && _i != 2) /* there the kernel takes it away itself */
            ck_assert(!applied(f).has_capability);
        uint64_t version = applied(f).version;
        struct client_op op = user_write(f, "last");
        ck_assert_uint_eq(world_do(&w, 0, op)->written, 4);
        ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
        ck_assert_uint_gt(applied(f).version, version);
        ck_assert_uint_eq(size_of(1, g), size_of(0, f));
    }
}
END_TEST

START_TEST(given_up_while_they_are_dropped)
{
    /* Goal: its caller is killed: it is answered once, its bytes never come, and what waits behind
     * it goes on. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    change_mode(0, f, 04777);
    w.no_commit = true;
    uint64_t killed = world_start(&w, 0, user_write(f, "NEVER"));
    world_pass(&w, 20 * TIME_MS);
    uint64_t next = world_start(&w, 0, user_write(f, "T"));
    world_cancel(&w, 0, killed);
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, killed)->err, EINTR);
    w.no_commit = false;
    world_pass(&w, 20 * TIME_MS);
    ck_assert_uint_eq(world_find(&w, 0, next)->written, 1);
    expect_mode(f, 0777);
    expect_text(1, f, 0, "Text");
}
END_TEST

START_TEST(others_write_while_they_are_dropped)
{
    /* Goal: a write of a part of a page that had read the rest of it, and then had to leave its
     * place to those behind it, reads it again: here what they wrote is committed, and known so,
     * before it comes back. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "some text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.no_reads = true;
    uint64_t first = world_start(&w, 0, user_write(f, "S"));
    world_settle(&w);
    change_mode(0, f, 04777);
    w.no_reads = false;
    w.no_commit = true;
    world_pass(&w, 700 * TIME_MS); /* another copy is asked */
    ck_assert_uint_eq(pending(FS__OP__BODY_SETATTR), 1);
    put_text(0, f, 5, "words");
    uint64_t sync = world_start(&w, 0, op_of(CLIENT_FSYNC, f));
    world_settle(&w);
    w.mounts[0].held = true;
    w.no_commit = false;
    world_settle(&w);
    world_link_down(&w, 0, 1);
    w.mounts[0].held = false;
    world_link_up(&w, 0, 1, 1); /* both are sent again, the COMMIT first */
    world_pass(&w, 700 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, sync)->err, 0);
    ck_assert_uint_eq(world_find(&w, 0, first)->written, 1);
    expect_text(1, open_name(1, "a"), 0, "Some words");
}
END_TEST

START_TEST(the_lease_goes_while_they_are_dropped)
{
    /* Goal: another mount writes in between, and gives new powers: those go too. */
    struct place f = create(0, "a"), g = open_file(1, f.ino);
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    change_mode(0, f, 04777);
    w.no_commit = true;
    uint64_t id = world_start(&w, 0, user_write(f, "0"));
    world_settle(&w);
    struct client_op op = op_of(CLIENT_SETATTR, g);
    op.set = FS_SETATTR_MODE;
    op.mode = 06775;
    uint64_t other = world_start(&w, 1, op);
    world_settle(&w);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, other)->err, 0);
    ck_assert_uint_eq(world_find(&w, 0, id)->written, 1);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    /* In whichever order the two were: a set-id file was not written to. */
    uint32_t left = applied(f).mode & 07777;
    ck_assert(left == 0775 || left == 06775);
    ck_assert_uint_eq(world_do(&w, 0, user_write(f, "1"))->written, 1);
    expect_mode(f, 0775);
    expect_text(1, g, 0, "1ext");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/client/privs");
    TCase *tc = tcase_create("privs");
    tcase_add_checked_fixture(tc, two_mounts, no_mounts);
    tcase_add_test(tc, the_bits_go_before_the_bytes);
    tcase_add_test(tc, an_ordinary_file_costs_nothing);
    tcase_add_test(tc, powers_that_another_mount_gives);
    tcase_add_loop_test(tc, every_change_of_data_or_owner, 0, 6);
    tcase_add_test(tc, given_up_while_they_are_dropped);
    tcase_add_test(tc, others_write_while_they_are_dropped);
    tcase_add_test(tc, the_lease_goes_while_they_are_dropped);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
