/* A mount's core against the real service: names, attributes, data and its limits, as programs see
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* ---- names and attributes -------------------------------------------------------------------- */

START_TEST(names_come_and_go)
{
    /* Goal: both mounts agree on names at any time, and what is promised is answered without
     * asking. */
    ck_assert_int_eq(lookup(1, "a")->err, ENOENT);
    struct place f = create(0, "a");
    ck_assert_int_eq(lookup(1, "a")->err, 0);
    ck_assert_uint_eq(lookup(1, "a")->attr.ino, f.ino);
    /* Its creator may write it: once that is over nobody has to be asked. */
    world_pass(&w, 4 * TIME_S);
    (void)lookup(1, "a");
    unsigned sent = w.mounts[1].sends;
    ck_assert_int_eq(lookup(1, "a")->err, 0);
    ck_assert_uint_eq(w.mounts[1].sends, sent);
    ck_assert_int_eq(
        world_do(&w, 0,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    ck_assert_int_eq(lookup(1, "a")->err, ENOENT);
    ck_assert_int_eq(lookup(0, "a")->err, ENOENT);
}
END_TEST

START_TEST(directories_and_listings)
{
    const struct world_answer *a = world_do(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "d", .mode = S_IFDIR | 0755});
    ck_assert_int_eq(a->err, 0);
    uint64_t d = a->attr.ino;
    for (int i = 0; i < 10; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        ck_assert_int_eq(
            world_do(&w, i & 1,
                     (struct client_op){
                         .kind = CLIENT_MAKE, .parent = d, .name = name, .mode = S_IFREG | 0644})
                ->err,
            0);
    }
    a = world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_READDIR, .ino = d, .size = 100, .plus = true});
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->entries, 10);
    ck_assert_int_eq(
        world_do(&w, 0, (struct client_op){.kind = CLIENT_RMDIR, .parent = WORLD_ROOT, .name = "d"})
            ->err,
        ENOTEMPTY);
    ck_assert_int_eq(world_do(&w, 0,
                              (struct client_op){.kind = CLIENT_RENAME,
                                                 .parent = d,
                                                 .name = "f1",
                                                 .newparent = WORLD_ROOT,
                                                 .newname = "g"})
                         ->err,
                     0);
    ck_assert_int_eq(lookup(1, "g")->err, 0);
    a = world_do(&w, 1, (struct client_op){.kind = CLIENT_LOOKUP, .parent = d, .name = "f1"});
    ck_assert_int_eq(a->err, ENOENT);
}
END_TEST

/* The kernel keeps its pages when it takes the attributes of a SETATTR, with those that others have
 * changed since among them: what it hears next must be new to it. */
START_TEST(pages_go_after_a_setattr)
{
    struct place f = create(0, "a");
    struct client_op ask = {.kind = CLIENT_GETATTR, .ino = f.ino};
    struct client_op cut = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = CLIENT_SET_SIZE, .size = 4096};
    const struct world_answer *a = world_do(&w, 0, cut);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->attr_valid_us, 0);
    int64_t told = a->attr.mtime;
    int64_t before = world_do(&w, 0, ask)->attr.mtime;
    ck_assert_int_ne(before, told);
    struct client_op chmod = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_MODE, .mode = 0600};
    ck_assert_int_ne(world_do(&w, 0, chmod)->attr.mtime, before);
    ck_assert_int_eq(world_do(&w, 0, ask)->attr.mtime, before);
}
END_TEST

/* A notification would make the kernel ignore the answer that tells what is new, so until that must
 * have been taken in no answer needs one. */
START_TEST(news_are_taken_in_first)
{
    struct place f = create(0, "a");
    struct place g = open_name(1, "a");
    struct client_op ask = {.kind = CLIENT_GETATTR, .ino = g.ino};
    (void)world_do(&w, 1, ask);
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    for (int i = 0; i < 2; i++) {
        const struct world_answer *a = world_do(&w, 1, ask);
        ck_assert_uint_eq(a->attr.size, 4);
        ck_assert_uint_eq(a->attr_valid_us, 0);
    }
    world_pass(&w, 200 * TIME_MS);
    ck_assert_uint_gt(world_do(&w, 1, ask)->attr_valid_us, 0);
}
END_TEST

START_TEST(own_commits_are_no_news)
{
    /* Goal: what the kernel wrote itself it has, in pages that were the file's before: who looks at
     * a file just written asks once. */
    struct place f = create(0, "a");
    struct client_op ask = {.kind = CLIENT_GETATTR, .ino = f.ino};
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "text");
    (void)world_do(&w, 0, ask);
    world_pass(&w, 200 * TIME_MS);
    put_text(0, f, 4, " and more");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    const struct world_answer *a = world_do(&w, 0, ask);
    ck_assert_uint_eq(a->attr.size, 13);
    ck_assert_uint_gt(a->attr_valid_us, 0);
}
END_TEST

/* The answer to a SETATTR tells what is new, and Linux keeps its pages all the same: it is the next
 * one that must be taken in, however much later (tally-sim seed 860000318). */
START_TEST(news_that_left_the_pages)
{
    struct place f = create(0, "a");
    struct place g = open_name(1, "a");
    struct client_op ask = {.kind = CLIENT_GETATTR, .ino = g.ino};
    struct client_op chmod = {
        .kind = CLIENT_SETATTR, .ino = g.ino, .set = FS_SETATTR_MODE, .mode = 0600};
    (void)world_do(&w, 1, ask);
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_eq(world_do(&w, 1, chmod)->attr_valid_us, 0);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_uint_eq(world_do(&w, 1, ask)->attr_valid_us, 0);
    world_pass(&w, 200 * TIME_MS);
    ck_assert_uint_gt(world_do(&w, 1, ask)->attr_valid_us, 0);
}
END_TEST

/* A change whose caller was killed happens all the same: the kernel, which takes it for not done,
 * must ask again. */
START_TEST(caller_killed)
{
    ck_assert_int_eq(lookup(0, "a")->err, ENOENT);
    ck_assert_uint_gt(lookup(0, "a")->entry_valid_us, 0);
    unsigned names = w.mounts[0].notified_names;
    w.mounts[0].held = true;
    uint64_t id = world_start(&w, 0,
                              (struct client_op){.kind = CLIENT_MAKE,
                                                 .parent = WORLD_ROOT,
                                                 .name = "a",
                                                 .mode = S_IFREG | 0644,
                                                 .open = true,
                                                 .flags = O_RDWR | O_CREAT});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, id));
    world_cancel(&w, 0, id);
    ck_assert_int_eq(world_find(&w, 0, id)->err, EINTR);
    ck_assert_uint_eq(w.mounts[0].notified_names, names + 1);
    w.mounts[0].held = false;
    ck_assert_int_eq(lookup(0, "a")->err, 0);
}
END_TEST

START_TEST(attributes_and_xattrs)
{
    struct place f = create(0, "a");
    const struct world_answer *a = world_do(
        &w, 1,
        (struct client_op){.kind = CLIENT_SETATTR, .ino = f.ino, .set = 1, .mode = S_IFREG | 0600});
    ck_assert_int_eq(a->err, 0);
    a = world_do(&w, 0, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    ck_assert_uint_eq(a->attr.mode & 07777, 0600);
    ck_assert_int_eq(world_do(&w, 0,
                              (struct client_op){.kind = CLIENT_SETXATTR,
                                                 .ino = f.ino,
                                                 .name = "user.x",
                                                 .data = blob_copy("v", 1)})
                         ->err,
                     0);
    a = world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_GETXATTR, .ino = f.ino, .name = "user.x"});
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->bytes->size, 1);
    ck_assert_int_eq(
        world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_REMOVEXATTR, .ino = f.ino, .name = "user.x"})
            ->err,
        0);
    a = world_do(&w, 0,
                 (struct client_op){.kind = CLIENT_GETXATTR, .ino = f.ino, .name = "user.x"});
    ck_assert_int_eq(a->err, ENODATA);
}
END_TEST

/* ---- data ------------------------------------------------------------------------------------ */

START_TEST(times_of_the_epoch)
{
    /* Goal: 0 is a time, also for a file with data not committed yet. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "x");
    struct client_op set = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_ATIME | FS_SETATTR_MTIME};
    ck_assert_int_eq(world_do(&w, 0, set)->err, 0);
    world_pass(&w, 3 * TIME_S);
    struct client_op stat = {.kind = CLIENT_GETATTR, .ino = f.ino};
    for (int m = 0; m < 2; m++) {
        const struct Fs__Attr *attr = &world_do(&w, m, stat)->attr;
        ck_assert_int_eq(attr->atime, 0);
        ck_assert_int_eq(attr->mtime, 0);
    }
    expect_text(1, open_name(1, "a"), 0, "x");
}
END_TEST

START_TEST(own_writes_are_seen_at_once)
{
    /* Goal: a read lays what is buffered over what is committed, in every state of a page. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "hello");
    expect_text(0, f, 0, "hello");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "hello");
    put_text(0, f, 1, "E");
    expect_text(0, f, 0, "hEllo");
    put_text(0, f, 4090, "over the edge");
    ck_assert_uint_eq(size_of(0, f), 4103);
    expect_text(0, f, 4090, "over the edge");
    const struct blob *b = get_bytes(0, f, 5, 10);
    static const uint8_t zeros[10];
    ck_assert_int_eq(memcmp(b->data, zeros, 10), 0);
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), 0);
    expect_text(1, open_name(1, "a"), 4090, "over the edge");
}
END_TEST

START_TEST(part_of_a_committed_page)
{
    /* Goal: after the lease came and went, a write of part of a page keeps the rest of it. */
    struct place f = create(0, "a");
    uint8_t page[6000];
    fill(page, sizeof page, 1);
    put_bytes(0, f, 0, page, sizeof page);
    struct place g = open_name(1, "a");
    memcpy(page + 4090, "0123456789", 10);
    put_text(1, g, 4090, "0123456789"); /* over a border, both pages kept in part */
    memcpy(page + 5995, "tail", 4);
    put_text(1, g, 5995, "tail");
    expect_bytes(1, g, 0, page, sizeof page);
    expect_bytes(0, f, 0, page, sizeof page);
}
END_TEST

START_TEST(large_files_go_straight_to_the_copies)
{
    size_t size = 3 << 20;
    uint8_t *bytes = malloc(size);
    fill(bytes, size, 7);
    struct place f = create(0, "a");
    for (size_t at = 0; at < size; at += 1 << 20)
        put_bytes(0, f, at, bytes + at, 1 << 20);
    put_bytes(0, f, 100000, bytes, 5000); /* odd, into a page run of a kept blob */
    memmove(bytes + 100000, bytes, 5000);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_gt(w.mounts[0].puts, 0);
    struct place g = open_name(1, "a");
    expect_bytes(1, g, 0, bytes, size);
    expect_bytes(0, f, 12345, bytes + 12345, size - 12345);
    w.corrupt = 1; /* one answer is damaged: another copy is asked */
    expect_bytes(1, g, 8192, bytes + 8192, size - 8192);
    ck_assert_uint_gt(w.mounts[1].logs, 0);
    free(bytes);
}
END_TEST

START_TEST(truncate_hides_what_was_behind)
{
    /* Goal: bytes behind a new end never come back when the file grows again. */
    struct place f = create(0, "a");
    uint8_t bytes[10000];
    fill(bytes, sizeof bytes, 3);
    put_bytes(0, f, 0, bytes, sizeof bytes);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_int_eq(truncate_to(0, f, 5000), 0);
    ck_assert_uint_eq(size_of(1, f), 5000);
    ck_assert_int_eq(truncate_to(1, f, 9000), 0);
    memset(bytes + 5000, 0, 4000);
    expect_bytes(1, f, 0, bytes, 9000);
    expect_bytes(0, f, 0, bytes, 9000);
    /* The same in the buffer, before anything is committed. */
    struct place g = create(0, "b");
    put_text(0, g, 0, "0123456789");
    ck_assert_int_eq(truncate_to(0, g, 4), 0);
    put_text(0, g, 8, "x");
    expect_bytes(0, g, 0, "0123\0\0\0\0x", 9);
    expect_bytes(1, g, 0, "0123\0\0\0\0x", 9);
    ck_assert_int_eq(truncate_to(0, g, 0), 0);
    ck_assert_uint_eq(size_of(1, g), 0);
}
END_TEST

START_TEST(appends_of_two_mounts)
{
    /* Goal: O_APPEND writes at the end as it is, whatever offset the kernel believes in. */
    struct place f = create(0, "log");
    struct place g = open_name(1, "log");
    for (int i = 0; i < 10; i++) {
        struct client_op op = write_op(i & 1 ? g : f, 0, i & 1 ? "bb" : "a", i & 1 ? 2 : 1);
        op.flags = O_APPEND;
        ck_assert_int_eq(world_do(&w, i & 1, op)->err, 0);
    }
    expect_text(0, f, 0, "abbabbabbabbabb");
    expect_text(1, g, 0, "abbabbabbabbabb");
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

START_TEST(buffer_has_a_cap)
{
    /* Goal: without commits writers wait at the cap, and go on afterwards. */
    enum { MIB = 1 << 20 };
    uint8_t *bytes = calloc(1, MIB);
    struct place f = create(0, "a");
    put_text(0, f, 0, "x"); /* the reservation */
    w.no_commit = true;
    uint64_t last = 0;
    for (int i = 0; i < 12; i++) {
        last = world_start(&w, 0, write_op(f, (uint64_t)i * MIB, bytes, MIB));
        world_settle(&w);
    }
    ck_assert_ptr_null(world_find(&w, 0, last));
    struct client_stats s = client_stats(w.mounts[0].client, w.now);
    ck_assert_uint_le(s.dirty_bytes + s.inflight_bytes, 9u << 20);
    w.no_commit = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, last)->err, 0);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_eq(size_of(1, f), 12u * MIB);
    free(bytes);
}
END_TEST

/* RULES B13: what no node could keep is refused when it is written, not when it is committed. */
START_TEST(fullest_node_has_no_room)
{
    static char much[20 << 20]; /* more than a mount asks for in advance */
    struct place f = create(0, "a");
    put_text(0, f, 0, "small");
    world_set_room(&w, 4 << 20);
    struct client_op big = write_op(f, 0, much, sizeof much);
    ck_assert_int_eq(world_do(&w, 0, big)->err, ENOSPC);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(1, open_name(1, "a"), 0, "small");

    world_set_room(&w, 0);
    struct client_op make = {.kind = CLIENT_MAKE,
                             .parent = WORLD_ROOT,
                             .name = "b",
                             .mode = S_IFREG | 0644,
                             .flags = O_RDWR | O_CREAT};
    ck_assert_int_eq(world_do(&w, 0, make)->err, ENOSPC);
    struct client_op gone = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 1, gone)->err, 0);
}
END_TEST

START_TEST(session_consistency)
{
    /* Goal: own writes are read back from any copy. */
    world_close(&w);
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_SESSION);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    struct place f = create(0, "a");
    put_text(0, f, 0, "mine");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "mine");
    struct place g = open_name(1, "a");
    put_text(1, g, 0, "your");
    ck_assert_int_eq(simple(1, CLIENT_FSYNC, g), 0);
    world_pass(&w, 5 * TIME_S);
    expect_text(0, f, 0, "your");
    ck_assert_uint_eq(lookup(0, "a")->entry_valid_us, 0);
}
END_TEST

START_TEST(session_reads_what_its_ended_lease_hides)
{
    /* Goal: a mount that does not know yet that its session was ended shows no mixture of what it
     * has buffered and what another wrote since (simulator seed 155). */
    world_close(&w);
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_SESSION);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
    struct place f = create(0, "a");
    uint8_t old[8192], ours[8192];
    fill(old, sizeof old, 1);
    fill(ours, sizeof ours, 2);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_bytes(0, f, 0, ours, 4096);
    world_link_down(&w, 0, 1); /* the leader; the other copies answer */
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    struct place g = open_name(1, "a");
    put_text(1, g, 4096, "other");
    ck_assert_int_eq(simple(1, CLIENT_FSYNC, g), 0);
    const struct blob *b = get_bytes(0, f, 0, 8192);
    ck_assert_int_eq(memcmp(b->data + 4096, "other", 5), 0);
    ck_assert_int_eq(memcmp(b->data, old, 4096), 0);
    world_link_up(&w, 0, 1, 1);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, names_come_and_go);
    tcase_add_test(t, directories_and_listings);
    tcase_add_test(t, pages_go_after_a_setattr);
    tcase_add_test(t, news_are_taken_in_first);
    tcase_add_test(t, own_commits_are_no_news);
    tcase_add_test(t, news_that_left_the_pages);
    tcase_add_test(t, caller_killed);
    tcase_add_test(t, attributes_and_xattrs);
    tcase_add_test(t, times_of_the_epoch);
    tcase_add_test(t, own_writes_are_seen_at_once);
    tcase_add_test(t, part_of_a_committed_page);
    tcase_add_test(t, large_files_go_straight_to_the_copies);
    tcase_add_test(t, truncate_hides_what_was_behind);
    tcase_add_test(t, appends_of_two_mounts);
    tcase_add_test(t, buffer_has_a_cap);
    tcase_add_test(t, fullest_node_has_no_room);
    tcase_add_test(t, session_consistency);
    tcase_add_test(t, session_reads_what_its_ended_lease_hides);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
