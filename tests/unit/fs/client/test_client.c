/* A mount's core against the real service: what programs see, over recalls, elections and lost
 * sessions. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/world.h"
#include "tests/unit/lib/run.h"

static struct world w;

static void setup(void)
{
    world_open(&w);
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
}

static void teardown(void)
{
    world_close(&w);
}

/* ---- short forms ----------------------------------------------------------------------------- */

struct file {
    uint64_t ino, fh;
};

static struct file create(int m, const char *name)
{
    const struct world_answer *a = world_do(&w, m,
                                            (struct client_op){.kind = CLIENT_MAKE,
                                                               .parent = WORLD_ROOT,
                                                               .name = name,
                                                               .mode = S_IFREG | 0644,
                                                               .open = true,
                                                               .flags = O_RDWR | O_CREAT});
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_ne(a->fh, 0);
    return (struct file){a->attr.ino, a->fh};
}

static struct client_op op_write(struct file f, uint64_t offset, const void *p, size_t size)
{
    return (struct client_op){.kind = CLIENT_WRITE,
                              .ino = f.ino,
                              .fh = f.fh,
                              .offset = offset,
                              .size = size,
                              .data = blob_copy(p, size)};
}

static void put_bytes(int m, struct file f, uint64_t offset, const void *p, size_t size)
{
    const struct world_answer *a = world_do(&w, m, op_write(f, offset, p, size));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->written, size);
}

static void put_text(int m, struct file f, uint64_t offset, const char *text)
{
    put_bytes(m, f, offset, text, strlen(text));
}

static int simple(int m, enum client_op_kind kind, struct file f)
{
    return world_do(&w, m, (struct client_op){.kind = kind, .ino = f.ino, .fh = f.fh})->err;
}

static const struct world_answer *lookup(int m, const char *name)
{
    return world_do(&w, m,
                    (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = name});
}

static struct file open_name(int m, const char *name)
{
    const struct world_answer *a = lookup(m, name);
    ck_assert_int_eq(a->err, 0);
    uint64_t ino = a->attr.ino;
    a = world_do(&w, m, (struct client_op){.kind = CLIENT_OPEN, .ino = ino, .flags = O_RDWR});
    ck_assert_int_eq(a->err, 0);
    return (struct file){ino, a->fh};
}

static struct blob *get_bytes(int m, struct file f, uint64_t offset, uint64_t size)
{
    const struct world_answer *a = world_do(
        &w, m,
        (struct client_op){
            .kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .offset = offset, .size = size});
    ck_assert_int_eq(a->err, 0);
    return a->bytes;
}

static void expect_bytes(int m, struct file f, uint64_t offset, const void *p, size_t size)
{
    const struct blob *b = get_bytes(m, f, offset, size + 100);
    ck_assert_uint_eq(b->size, size);
    ck_assert_int_eq(memcmp(b->data, p, size), 0);
}

static void expect_text(int m, struct file f, uint64_t offset, const char *text)
{
    expect_bytes(m, f, offset, text, strlen(text));
}

static uint64_t size_of(int m, struct file f)
{
    const struct world_answer *a =
        world_do(&w, m, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    ck_assert_int_eq(a->err, 0);
    return a->attr.size;
}

static int truncate_to(int m, struct file f, uint64_t size)
{
    return world_do(&w, m,
                    (struct client_op){
                        .kind = CLIENT_SETATTR, .ino = f.ino, .set = CLIENT_SET_SIZE, .size = size})
        ->err;
}

static void fill(uint8_t *p, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = (uint8_t)(seed >> 16);
    }
}

/* ---- names and attributes -------------------------------------------------------------------- */

START_TEST(names_come_and_go)
{
    /* Goal: both mounts agree on names at any time, and what is promised is answered without
     * asking. */
    ck_assert_int_eq(lookup(1, "a")->err, ENOENT);
    struct file f = create(0, "a");
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
    struct file f = create(0, "a");
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
    struct file f = create(0, "a");
    struct file g = open_name(1, "a");
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
    struct file f = create(0, "a");
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
    struct file f = create(0, "a");
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
    struct file f = create(0, "a");
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
    struct file f = create(0, "a");
    uint8_t page[6000];
    fill(page, sizeof page, 1);
    put_bytes(0, f, 0, page, sizeof page);
    struct file g = open_name(1, "a");
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
    struct file f = create(0, "a");
    for (size_t at = 0; at < size; at += 1 << 20)
        put_bytes(0, f, at, bytes + at, 1 << 20);
    put_bytes(0, f, 100000, bytes, 5000); /* odd, into a page run of a kept blob */
    memmove(bytes + 100000, bytes, 5000);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_gt(w.mounts[0].puts, 0);
    struct file g = open_name(1, "a");
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
    struct file f = create(0, "a");
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
    struct file g = create(0, "b");
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
    struct file f = create(0, "log");
    struct file g = open_name(1, "log");
    for (int i = 0; i < 10; i++) {
        struct client_op op = op_write(i & 1 ? g : f, 0, i & 1 ? "bb" : "a", i & 1 ? 2 : 1);
        op.flags = O_APPEND;
        ck_assert_int_eq(world_do(&w, i & 1, op)->err, 0);
    }
    expect_text(0, f, 0, "abbabbabbabbabb");
    expect_text(1, g, 0, "abbabbabbabbabb");
}
END_TEST

/* Elections that lose or keep what is not committed, links that break: all in the middle of
 * something. */
static void trouble(unsigned r)
{
    int m = r & 1;
    uint32_t node = r & 2 ? 2 : 1;
    switch ((r >> 2) % 4) {
    case 0:
        w.no_commit = true;
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_settle(&w);
        world_new_leader(&w, 3 - w.leader, (r & 16) != 0);
        w.no_commit = false;
        break;
    case 1:
        w.mounts[m].held = true;
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_settle(&w);
        w.mounts[m].held = false;
        world_link_down(&w, m, node);
        world_link_up(&w, m, node, node);
        break;
    case 2:
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_link_down(&w, m, node);
        world_settle(&w);
        world_link_up(&w, m, node, node);
        break;
    default:
        world_new_leader(&w, r & 32 ? w.leader : 3 - w.leader, true);
        break;
    }
}

static void random_changes(unsigned seed, bool troubled)
{
    enum { SIZE = 40000, STEPS = 400 };
    static uint8_t model[SIZE], bytes[SIZE];
    size_t length = 0;
    memset(model, 0, sizeof model);
    struct file f[2];
    f[0] = create(0, "r");
    f[1] = open_name(1, "r");
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1103515245u + 12345u;
        unsigned r = seed >> 8;
        int m = (r >> 4) % 8 == 0;
        size_t at = (r >> 7) % (SIZE - 1), n = 1 + (seed >> 5) % (r & 1 ? 9000 : 300);
        n = n < SIZE - at ? n : SIZE - at;
        switch (r % 8) {
        case 0:
            ck_assert_int_eq(truncate_to(m, f[m], at), 0);
            if (at < length)
                memset(model + at, 0, length - at);
            length = at;
            break;
        case 1:
            ck_assert_int_eq(simple(m, r & 16 ? CLIENT_FSYNC : CLIENT_FLUSH, f[m]), 0);
            break;
        case 2:
        case 3:
            n = at < length ? length - at : 0;
            expect_bytes(m, f[m], at, model + at, n);
            ck_assert_uint_eq(size_of(m, f[m]), length);
            break;
        default:
            fill(bytes, n, seed);
            put_bytes(m, f[m], at, bytes, n);
            memcpy(model + at, bytes, n);
            length = at + n > length ? at + n : length;
            break;
        }
        if (r % 64 == 5)
            world_pass(&w, 1500 * TIME_MS);
        if (troubled && (r >> 12) % 8 == 0)
            trouble(r >> 16 ^ seed);
    }
    expect_bytes(1, f[1], 0, model, length);
    ck_assert_uint_eq(w.mounts[0].logs + w.mounts[1].logs, 0); /* nothing lost, nothing refused */
}

START_TEST(random_changes_match_a_model)
{
    /* Goal: any order of writes, truncates, reads, syncs and readers elsewhere gives what an array
     * gives. */
    random_changes((unsigned)_i * 7919 + 1, false);
}
END_TEST

START_TEST(random_changes_in_trouble)
{
    /* Goal: the same, while leaders change and links break. */
    random_changes((unsigned)_i * 7919 + 1, true);
}
END_TEST

/* ---- many things at once --------------------------------------------------------------------- */

enum { CROWD_NAMES = 5, CROWD_STEPS = 600, CROWD_HANDLES = 64 };

struct crowd {
    unsigned seed;
    uint64_t ids[2][CROWD_STEPS * 2];
    size_t count[2];
    struct file open[2][CROWD_HANDLES];
    size_t open_count[2];
};

static unsigned roll(struct crowd *c, unsigned sides)
{
    c->seed = c->seed * 1103515245u + 12345u;
    return (c->seed >> 12) % sides;
}

static void begin(struct crowd *c, int m, struct client_op op)
{
    c->ids[m][c->count[m]++] = world_start(&w, m, op);
}

static const char *crowd_name(struct crowd *c)
{
    static const char *const names[CROWD_NAMES] = {"a", "b", "c", "d", "e"};
    return names[roll(c, CROWD_NAMES)];
}

/* What was opened by now may be used. */
static void collect(struct crowd *c, int m)
{
    for (size_t i = 0; i < c->count[m]; i++) {
        const struct world_answer *a = world_find(&w, m, c->ids[m][i]);
        if (!a || !a->fh)
            continue;
        bool known = false;
        for (size_t j = 0; j < c->open_count[m]; j++)
            known |= c->open[m][j].fh == a->fh;
        if (!known && c->open_count[m] < CROWD_HANDLES)
            c->open[m][c->open_count[m]++] = (struct file){a->attr.ino, a->fh};
    }
}

static void crowd_data(struct crowd *c, int m)
{
    if (c->open_count[m] == 0)
        return;
    struct file f = c->open[m][roll(c, (unsigned)c->open_count[m])];
    static uint8_t bytes[80000];
    struct client_op op = {
        .ino = f.ino, .fh = f.fh, .offset = roll(c, 50000), .size = 1 + roll(c, 70000)};
    switch (roll(c, 6)) {
    case 0:
        op.kind = CLIENT_READ;
        break;
    case 1:
        op.kind = CLIENT_FSYNC;
        break;
    case 2:
        op.kind = CLIENT_FLUSH;
        break;
    case 3:
        op.kind = CLIENT_SETATTR;
        op.set = CLIENT_SET_SIZE | 8u;
        break;
    default:
        fill(bytes, op.size, c->seed);
        op.kind = CLIENT_WRITE;
        op.data = blob_copy(bytes, op.size);
        op.flags = roll(c, 4) == 0 ? O_APPEND : 0;
        break;
    }
    begin(c, m, op);
}

static void crowd_step(struct crowd *c, int m)
{
    switch (roll(c, 12)) {
    case 0:
    case 1:
        begin(c, m,
              (struct client_op){.kind = CLIENT_MAKE,
                                 .parent = WORLD_ROOT,
                                 .name = crowd_name(c),
                                 .mode = S_IFREG | 0644,
                                 .open = true,
                                 .flags = O_RDWR | O_CREAT});
        break;
    case 2:
        begin(
            c, m,
            (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = crowd_name(c)});
        break;
    case 3:
        begin(c, m,
              (struct client_op){.kind = CLIENT_RENAME,
                                 .parent = WORLD_ROOT,
                                 .name = crowd_name(c),
                                 .newparent = WORLD_ROOT,
                                 .newname = crowd_name(c)});
        break;
    case 4:
        begin(
            c, m,
            (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = crowd_name(c)});
        break;
    case 5:
        begin(c, m,
              (struct client_op){
                  .kind = CLIENT_READDIR, .ino = WORLD_ROOT, .size = 50, .plus = true});
        break;
    case 6:
        if (c->open_count[m] != 0) {
            size_t i = roll(c, (unsigned)c->open_count[m]);
            struct file f = c->open[m][i];
            begin(c, m,
                  (struct client_op){.kind = CLIENT_LINK,
                                     .ino = f.ino,
                                     .newparent = WORLD_ROOT,
                                     .newname = crowd_name(c)});
        }
        break;
    default:
        crowd_data(c, m);
        break;
    }
}

static void all_answered(const struct crowd *c, bool sessions_end)
{
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < c->count[m]; i++) {
            const struct world_answer *a = world_find(&w, m, c->ids[m][i]);
            ck_assert_msg(a != NULL, "operation %zu of mount %d was not answered", i, m);
            ck_assert_int_ne(a->err, ETIMEDOUT);
            if (!sessions_end)
                ck_assert_int_ne(a->err, EIO);
        }
}

static void crowd(unsigned seed, bool troubled, bool sessions_end)
{
    static struct crowd c;
    c = (struct crowd){.seed = seed};
    for (int step = 0; step < CROWD_STEPS; step++) {
        int m = (int)roll(&c, 2);
        crowd_step(&c, m);
        if (roll(&c, 4) == 0)
            world_settle(&w);
        if (roll(&c, 16) == 0)
            world_pass(&w, roll(&c, 50) * TIME_MS);
        if (roll(&c, 200) == 0)
            world_pass(&w, 3 * TIME_S);
        if (troubled && roll(&c, 20) == 0)
            trouble(c.seed >> 9);
        if (sessions_end && roll(&c, 60) == 0)
            world_end_session(&w, client_stats(w.mounts[m].client, w.now).session);
        collect(&c, m);
    }
    world_pass(&w, 10 * TIME_S);
    all_answered(&c, sessions_end);
    if (!sessions_end)
        ck_assert_uint_eq(w.mounts[0].logs + w.mounts[1].logs, 0);
    /* Both see the same names, sizes and bytes. */
    static const char *const names[CROWD_NAMES] = {"a", "b", "c", "d", "e"};
    uint64_t named[CROWD_NAMES] = {0}, count = 0;
    for (int i = 0; i < CROWD_NAMES; i++) {
        const struct world_answer *a = lookup(0, names[i]);
        struct world_answer mine = *a, theirs = *lookup(1, names[i]);
        ck_assert_int_eq(mine.err, theirs.err);
        ck_assert_uint_eq(mine.attr.ino, theirs.attr.ino);
        ck_assert_uint_eq(mine.attr.size, theirs.attr.size);
        bool again = false;
        for (int j = 0; j < i; j++)
            again |= named[j] == mine.attr.ino;
        named[i] = mine.attr.ino;
        count += mine.err == 0 && !again;
        if (mine.err != 0)
            continue;
        struct file f = open_name(0, names[i]), g = open_name(1, names[i]);
        struct blob *b = blob_ref(get_bytes(0, f, 0, mine.attr.size + 1));
        expect_bytes(1, g, 0, b->data, b->size);
        blob_unref(b);
        (void)simple(0, CLIENT_RELEASE, f);
        (void)simple(1, CLIENT_RELEASE, g);
    }
    /* And nothing stays of what has no name once nobody has it open. */
    for (int m = 0; m < 2; m++) {
        for (size_t i = 0; i < c.count[m]; i++) {
            const struct world_answer *a = world_find(&w, m, c.ids[m][i]);
            if (a->fh)
                (void)simple(m, CLIENT_RELEASE, (struct file){a->attr.ino, a->fh});
        }
    }
    world_pass(&w, 3 * TIME_S);
    struct client_stats s = client_stats(w.mounts[0].client, w.now);
    ck_assert_uint_eq(s.dirty_bytes + s.inflight_bytes + s.open_files, 0);
    /* A session that has not renewed yet counts as having everything open (RULES L7), and isn't
     * told: what it holds so goes with it. */
    if (!sessions_end)
        ck_assert_uint_eq(fs_state_totals(w.state).inodes, count + 1);
}

START_TEST(crowd_in_peace)
{
    crowd((unsigned)_i * 104729 + 3, false, false);
}
END_TEST

START_TEST(crowd_in_trouble)
{
    crowd((unsigned)_i * 104729 + 3, true, false);
}
END_TEST

START_TEST(crowd_losing_sessions)
{
    crowd((unsigned)_i * 104729 + 3, true, true);
}
END_TEST

/* ---- recalls --------------------------------------------------------------------------------- */

START_TEST(recall_while_dirty)
{
    /* Goal: RULES B10: another mount sees what was written and not synced, committed first. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "dirty");
    ck_assert_uint_eq(w.commits_seen, 0);
    struct file g = open_name(1, "a");
    ck_assert_uint_eq(w.commits_seen, 1);
    expect_text(1, g, 0, "dirty");
    put_text(0, f, 5, " again"); /* asks for the lease again */
    ck_assert_uint_eq(size_of(1, g), 11);
    expect_text(1, g, 0, "dirty again");
}
END_TEST

START_TEST(unlinked_while_open_elsewhere)
{
    /* Goal: RULES L7: the data of a removed file live while somebody has it open, anywhere. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "kept");
    struct file g = open_name(1, "a");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    ck_assert_int_eq(
        world_do(&w, 0,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    expect_text(1, g, 0, "kept");
    uint64_t inodes = fs_state_totals(w.state).inodes;
    ck_assert_int_eq(simple(1, CLIENT_RELEASE, g), 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 1);
    ck_assert_uint_eq(w.mounts[0].logs + w.mounts[1].logs, 0);
}
END_TEST

START_TEST(attributes_overtaken_by_a_notification)
{
    /* Goal: what the kernel takes in although a notification came first has no validity, or is told
     * again: an inode new to it is not there when the notification comes. */
    struct client_op make = {.kind = CLIENT_MAKE,
                             .parent = WORLD_ROOT,
                             .name = "a",
                             .mode = S_IFREG | 0644,
                             .open = true,
                             .flags = O_RDWR | O_CREAT};
    const struct world_answer *a = world_do(&w, 0, make);
    struct file f = {a->attr.ino, a->fh};
    ck_assert_uint_eq(a->attr_valid_us, 0);
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S); /* its lease is back */
    struct client_op chmod = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_MODE, .mode = 0600};
    ck_assert_uint_eq(world_do(&w, 0, chmod)->attr_valid_us, 0);
    (void)lookup(1, "a");
    ck_assert_uint_gt(lookup(1, "a")->attr_valid_us, 0);
    struct client_op forget = {.kind = CLIENT_FORGET, .ino = f.ino, .nlookup = 2};
    (void)world_start(&w, 1, forget);
    ck_assert_uint_gt(lookup(1, "a")->attr_valid_us, 0); /* new to the kernel again */
    unsigned attrs = w.mounts[1].notified_attr, names = w.mounts[1].notified_names;
    ck_assert_int_eq(world_do(&w, 0, chmod)->err, 0);
    ck_assert_uint_eq(w.mounts[1].notified_attr, attrs + 1);
    ck_assert_uint_eq(w.mounts[1].notified_names, names + 1);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDWR};
    ck_assert_int_eq(world_do(&w, 1, open)->err, 0);
    ck_assert_uint_eq(w.mounts[1].notified_attr, attrs + 2);
    ck_assert_int_eq(world_do(&w, 1, open)->err, 0);
    ck_assert_uint_eq(w.mounts[1].notified_attr, attrs + 2);
    /* but not when it asks for just that: it would ignore the answer */
    (void)world_start(&w, 1, (struct client_op){.kind = CLIENT_FORGET, .ino = f.ino, .nlookup = 1});
    ck_assert_uint_gt(lookup(1, "a")->attr_valid_us, 0);
    ck_assert_int_eq(world_do(&w, 0, chmod)->err, 0);
    attrs = w.mounts[1].notified_attr;
    struct client_op ask = {.kind = CLIENT_GETATTR, .ino = f.ino};
    ck_assert_int_eq(world_do(&w, 1, ask)->err, 0);
    ck_assert_int_eq(world_do(&w, 1, open)->err, 0);
    ck_assert_uint_eq(w.mounts[1].notified_attr, attrs);
}
END_TEST

START_TEST(opened_after_it_was_removed)
{
    /* Goal: an open that comes behind the removal of the last name fails, though somebody else
     * still holds the file: nobody would keep it for this one (simulator seed 17). */
    struct file f = create(0, "a");
    put_text(0, f, 0, "kept");
    struct client_op lookup = {.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 1, lookup)->err, 0);
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 0, unlink)->err, 0);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDONLY};
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
    expect_text(0, f, 0, "kept");
    open.ino = f.ino; /* who holds it may open it again */
    ck_assert_int_eq(world_do(&w, 0, open)->err, 0);
}
END_TEST

START_TEST(opened_after_its_own_removal)
{
    /* Goal: a path walk of the same mount ends behind the removal of the last name; what the mount
     * may rely on about the file does not mean that the file is there (simulator seed 909). */
    struct file f = create(0, "a");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    struct client_op lookup = {.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 1, lookup)->err, 0);
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 1, unlink)->err, 0);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDONLY};
    ck_assert_int_eq(world_do(&w, 1, open)->err, ESTALE);
}
END_TEST

START_TEST(opened_while_it_removes_the_name)
{
    /* Goal: a removal that was told that the file is not open here stays true: whoever opens it
     * meanwhile waits, also when the removal is asked for anew (simulator seed 300230). */
    struct file f = create(0, "a");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_int_eq(lookup(0, "a")->err, 0);
    w.no_commit = true;
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    uint64_t removal = world_start(&w, 0, unlink);
    world_settle(&w);
    struct client_op open = {.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDONLY};
    uint64_t late = world_start(&w, 0, open);
    world_new_leader(&w, 2, false);
    world_settle(&w);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, removal)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, late)->err, ESTALE);
}
END_TEST

START_TEST(cut_while_part_of_a_page_is_written)
{
    /* Goal: what was read to complete a page does not outlive the write lease: another mount cuts
     * the file before the write gets its turn. */
    struct file f = create(0, "a");
    uint8_t old[8192], zeros[8192] = {0};
    fill(old, sizeof old, 1);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct file g = open_name(1, "a");
    put_bytes(0, f, 0, old, 4096);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.mounts[0].silent = true;
    uint64_t write = world_start(&w, 0, op_write(f, 4096 + 100, "new", 3));
    uint64_t cut = world_start(
        &w, 1, (struct client_op){.kind = CLIENT_SETATTR, .ino = g.ino, .set = CLIENT_SET_SIZE});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, write));
    ck_assert_ptr_null(world_find(&w, 1, cut));
    w.mounts[0].silent = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, cut)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, write)->err, 0);
    ck_assert_uint_eq(size_of(1, g), 4096 + 103);
    const struct blob *b = get_bytes(1, g, 0, 8192);
    ck_assert_uint_eq(b->size, 4096 + 103);
    ck_assert_int_eq(memcmp(b->data, zeros, 4096 + 100), 0);
    ck_assert_int_eq(memcmp(b->data + 4096 + 100, "new", 3), 0);
}
END_TEST

START_TEST(silent_copy)
{
    /* Goal: a copy that says nothing costs the first who asks it a pause, not everybody. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct file g = open_name(1, "a");
    world_new_leader(&w, 2, true);
    world_settle(&w);
    w.mute = 1;
    expect_text(1, g, 0, "text");
    world_pass(&w, 1 * TIME_S);
    time_us before = w.now;
    for (int i = 0; i < 3; i++)
        expect_text(1, g, 0, "text");
    ck_assert_uint_eq(w.now, before);
    w.mute = 0;
}
END_TEST

START_TEST(written_while_being_read)
{
    /* Goal: RULES L6: a READ that waits for a copy is not answered with less than a WRITE that was
     * answered meanwhile; the kernel would keep it. */
    struct file f = create(0, "a");
    uint8_t old[4 * 4096], new[4 * 4096];
    fill(old, sizeof old, 1);
    fill(new, sizeof new, 2);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.mounts[0].held = true;
    uint64_t read = world_start(
        &w, 0, (struct client_op){.kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .size = 8 * 4096});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, read));
    uint64_t write = world_start(&w, 0, op_write(f, 4096, new, sizeof new));
    ck_assert_ptr_nonnull(world_find(&w, 0, write));
    w.mounts[0].held = false;
    world_settle(&w);
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_ge(a->bytes->size, 4 * 4096);
    ck_assert_int_eq(memcmp(a->bytes->data, old, 4096), 0);
    ck_assert_int_eq(memcmp(a->bytes->data + 4096, new, a->bytes->size - 4096), 0);
}
END_TEST

START_TEST(unlinked_and_written_by_two)
{
    /* Goal: whoever has a removed file open sees what others wrote to it and closed, and is not
     * kept waiting for the write lease of a descriptor that is gone. */
    struct file f = create(0, "a");
    struct file g = open_name(1, "a");
    put_text(0, f, 0, "old");
    ck_assert_int_eq(
        world_do(&w, 1,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_text(0, f, 0, "new");
    w.no_commit = true;
    uint64_t read = world_start(
        &w, 1,
        (struct client_op){.kind = CLIENT_READ, .ino = g.ino, .fh = g.fh, .offset = 0, .size = 9});
    world_settle(&w); /* the lease is asked back, what is dirty is on its way */
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    const struct world_answer *a = world_find(&w, 1, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->bytes->size, 3);
    ck_assert_int_eq(memcmp(a->bytes->data, "new", 3), 0);
    uint64_t inodes = fs_state_totals(w.state).inodes;
    ck_assert_int_eq(simple(1, CLIENT_RELEASE, g), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 1);
}
END_TEST

START_TEST(renamed_onto_a_name_it_was_given_meanwhile)
{
    /* Goal: a mount renames a file to a name that another mount has just given to the same file.
     * Nothing is done then (rename(2)), and the old name is still there for everybody. */
    struct file f = create(0, "a");
    ck_assert_int_eq(lookup(0, "b")->err, ENOENT);
    struct file g = open_name(1, "a");
    ck_assert_int_eq(
        world_do(&w, 1,
                 (struct client_op){
                     .kind = CLIENT_LINK, .ino = g.ino, .newparent = WORLD_ROOT, .newname = "b"})
            ->err,
        0);
    ck_assert_int_eq(lookup(0, "c")->err, ENOENT); /* the directory is promised to it again */
    ck_assert_int_eq(world_do(&w, 0,
                              (struct client_op){.kind = CLIENT_RENAME,
                                                 .parent = WORLD_ROOT,
                                                 .name = "a",
                                                 .newparent = WORLD_ROOT,
                                                 .newname = "b"})
                         ->err,
                     0);
    ck_assert_int_eq(lookup(0, "a")->err, 0);
    ck_assert_uint_eq(lookup(0, "a")->attr.ino, f.ino);
    ck_assert_uint_eq(lookup(0, "b")->attr.ino, f.ino);
    ck_assert_int_eq(lookup(1, "a")->err, 0);
}
END_TEST

START_TEST(both_names_removed_at_once)
{
    /* Goal: two mounts remove the two names of a file that one of them has open: whichever comes
     * second in the log knows of the open file. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "kept");
    ck_assert_int_eq(
        world_do(&w, 0,
                 (struct client_op){
                     .kind = CLIENT_LINK, .ino = f.ino, .newparent = WORLD_ROOT, .newname = "b"})
            ->err,
        0);
    uint64_t there = world_start(
        &w, 1, (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"});
    uint64_t here = world_start(
        &w, 0, (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "b"});
    world_pass(&w, 1 * TIME_S);
    ck_assert_int_eq(world_find(&w, 1, there)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, here)->err, 0);
    put_text(0, f, 4, " and written");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "kept and written");
    uint64_t inodes = fs_state_totals(w.state).inodes;
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 1);
}
END_TEST

START_TEST(unlinked_while_silent)
{
    /* Goal: a mount that could not be asked counts as having the file open; when it is back it
     * gives back what it does not need, and what it has open lives until its close. */
    struct file opened = create(0, "opened"), closed = create(0, "closed");
    put_text(0, opened, 0, "kept");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, opened), 0);
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, closed), 0);
    world_pass(&w, 3 * TIME_S); /* the leases are back */
    uint64_t inodes = fs_state_totals(w.state).inodes;
    w.mounts[0].silent = w.mounts[0].held = true;
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "opened"};
    ck_assert_int_eq(world_do(&w, 1, unlink)->err, 0);
    unlink.name = "closed";
    ck_assert_int_eq(world_do(&w, 1, unlink)->err, 0);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 1);
    expect_text(0, opened, 0, "kept");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, opened), 0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 2);
}
END_TEST

START_TEST(opened_while_its_hold_is_given_back)
{
    struct file f = create(0, "a");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S);
    w.mounts[0].silent = w.mounts[0].held = true;
    struct client_op unlink = {.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"};
    ck_assert_int_eq(world_do(&w, 1, unlink)->err, 0);
    w.mounts[0].silent = w.mounts[0].held = false;
    w.no_commit = true;
    world_pass(&w, 3 * TIME_S); /* it has heard, and says that it does not need the file */
    struct client_op open = {.kind = CLIENT_OPEN, .ino = f.ino, .flags = O_RDWR};
    uint64_t late = world_start(&w, 0, open);
    world_pass(&w, 10 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, late)->err, ESTALE);
    w.no_commit = false;
}
END_TEST

START_TEST(unlinked_with_dirty_data)
{
    /* Goal: removing a closed file with buffered data loses them silently, and frees it. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "never read");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    uint64_t inodes = fs_state_totals(w.state).inodes;
    ck_assert_int_eq(
        world_do(&w, 0,
                 (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = "a"})
            ->err,
        0);
    world_pass(&w, 3 * TIME_S);
    ck_assert_uint_eq(fs_state_totals(w.state).inodes, inodes - 1);
    ck_assert_uint_eq(w.mounts[0].logs, 0);
    ck_assert_uint_eq(client_stats(w.mounts[0].client, w.now).dirty_bytes, 0);
}
END_TEST

/* ---- looking ahead --------------------------------------------------------------------------- */

static const struct world_answer *look_up(int m, uint64_t dir, const char *name)
{
    return world_do(&w, m, (struct client_op){.kind = CLIENT_LOOKUP, .parent = dir, .name = name});
}

static uint64_t make_dir(int m, const char *name)
{
    return world_do(
               &w, m,
               (struct client_op){
                   .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755})
        ->attr.ino;
}

static void fill_dir(int m, uint64_t dir, int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        ck_assert_int_eq(
            world_do(&w, m,
                     (struct client_op){
                         .kind = CLIENT_MAKE, .parent = dir, .name = name, .mode = S_IFREG | 0644})
                ->err,
            0);
    }
}

START_TEST(lookups_in_a_row_are_answered_from_pages)
{
    /* Goal: a stat() of every file of a directory costs few questions, and is as true as if each
     * had been asked for: a change by another mount is seen at once. */
    uint64_t dir = make_dir(0, "d");
    fill_dir(0, dir, 200);
    world_pass(&w, 100 * TIME_MS);
    unsigned before = w.mounts[1].sends;
    for (int i = 0; i < 200; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        const struct world_answer *a = look_up(1, dir, name);
        ck_assert_int_eq(a->err, 0);
        ck_assert_uint_ne(a->entry_valid_us, 0);
        ck_assert_uint_ne(a->attr_valid_us, 0);
    }
    ck_assert_uint_le(w.mounts[1].sends - before, 16);
    ck_assert_int_eq(
        world_do(&w, 0, (struct client_op){.kind = CLIENT_UNLINK, .parent = dir, .name = "f150"})
            ->err,
        0);
    ck_assert_int_eq(look_up(1, dir, "f150")->err, ENOENT);
    ck_assert_int_eq(look_up(1, dir, "f151")->err, 0);
}
END_TEST

START_TEST(lookups_here_and_there_fetch_no_pages)
{
    /* Goal: names from all over a large directory do not fetch all of it. */
    uint64_t dir = make_dir(0, "d");
    fill_dir(0, dir, 1500);
    world_pass(&w, 100 * TIME_MS);
    unsigned before = w.mounts[1].sends;
    for (int i = 0; i < 30; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", 1499 - 40 * i);
        ck_assert_int_eq(look_up(1, dir, name)->err, 0);
    }
    ck_assert_uint_le(w.mounts[1].sends - before, 30 + 3);
}
END_TEST

/* ---- elections ------------------------------------------------------------------------------- */

static void election(bool keep)
{
    struct file f = create(0, "a");
    put_text(0, f, 0, "one");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    uint32_t before = w.commits_seen;
    w.no_commit = true;
    put_text(0, f, 3, " two");
    ck_assert_int_eq(simple(0, CLIENT_FLUSH, f), 0); /* accepted is enough for close */
    put_text(0, f, 7, " three");
    uint64_t sync =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino, .fh = f.fh});
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, sync));
    ck_assert_uint_eq(w.commits_seen, before);
    world_new_leader(&w, 2, keep);
    w.no_commit = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, sync));
    ck_assert_int_eq(world_find(&w, 0, sync)->err, 0);
    expect_text(1, open_name(1, "a"), 0, "one two three");
    ck_assert_uint_eq(w.mounts[0].logs, 0);
}

START_TEST(commits_over_an_election_lost)
{
    /* Goal: RULES B9: accepted and not committed is sent again, under the same numbers. */
    election(false);
}
END_TEST

START_TEST(commits_over_an_election_kept)
{
    election(true);
}
END_TEST

START_TEST(make_over_an_election)
{
    /* Goal: exactly once: the new leader answers with what the old one's entry did. */
    for (int keep = 0; keep < 2; keep++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", keep);
        w.no_commit = true;
        uint64_t id = world_start(
            &w, 0,
            (struct client_op){
                .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755});
        world_settle(&w);
        world_new_leader(&w, keep ? 1 : 2, keep);
        w.no_commit = false;
        world_pass(&w, 1 * TIME_S);
        ck_assert_ptr_nonnull(world_find(&w, 0, id));
        ck_assert_int_eq(world_find(&w, 0, id)->err, 0); /* and not EEXIST */
        ck_assert_int_eq(lookup(1, name)->err, 0);
    }
}
END_TEST

/* A node that campaigned alone in a high term died with it; the others elected in a lower one. */
START_TEST(leader_of_a_lower_term_than_heard_of)
{
    struct file f = create(0, "a");
    world_link_down(&w, 0, 1);
    world_campaigns(&w, 2, w.term + 7);
    world_pass(&w, 2 * TIME_S);
    world_link_down(&w, 0, 2);
    world_new_leader(&w, 1, true);
    world_link_up(&w, 0, 1, 1);
    put_text(0, f, 0, "x");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
}
END_TEST

START_TEST(links_break)
{
    /* Goal: what was under way is sent again over the next link, and nothing is done twice. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "x");
    w.mounts[0].held = true;
    uint64_t sync =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_FSYNC, .ino = f.ino, .fh = f.fh});
    uint64_t made = world_start(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "b", .mode = S_IFREG | 0644});
    world_settle(&w);
    world_link_down(&w, 0, 1);
    w.mounts[0].held = false;
    world_pass(&w, 500 * TIME_MS);
    ck_assert_ptr_null(world_find(&w, 0, sync));
    world_link_up(&w, 0, 1, 1);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_int_eq(world_find(&w, 0, sync)->err, 0);
    ck_assert_int_eq(world_find(&w, 0, made)->err, 0);
    ck_assert_uint_eq(w.commits_seen, 1);
}
END_TEST

/* ---- sessions -------------------------------------------------------------------------------- */

START_TEST(session_end_loses_the_buffer)
{
    /* Goal: RULES L2: dirty data get EIO once, then everything goes on in a new session. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_uint_eq(size_of(0, f), 4);
    world_pass(&w, 500 * TIME_MS);
    ck_assert_uint_eq(size_of(0, f), 4); /* the kernel may use that for a while */
    put_text(0, f, 0, "lost");
    uint64_t old = client_stats(w.mounts[0].client, w.now).session;
    world_end_session(&w, old);
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_ne(client_stats(w.mounts[0].client, w.now).session, old);
    ck_assert_uint_ne(client_stats(w.mounts[0].client, w.now).session, 0);
    ck_assert_uint_gt(w.mounts[0].logs, 0);
    ck_assert_uint_gt(w.mounts[0].notified_data, 0);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "safe");
    put_text(0, f, 0, "more");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(1, open_name(1, "a"), 0, "more");
}
END_TEST

START_TEST(session_end_while_attributes_are_asked)
{
    /* Goal: the kernel ignores an answer that a notification overtook and reads on with the size it
     * had, so none is sent to one that asks (simulator seed 300126). */
    struct file f = create(0, "a");
    put_text(0, f, 0, "lost");
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    uint64_t asked =
        world_start(&w, 0, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino, .fh = f.fh});
    ck_assert_ptr_null(world_find(&w, 0, asked));
    unsigned attrs = w.mounts[0].notified_attr;
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_uint_eq(world_find(&w, 0, asked)->attr.size, 0);
    ck_assert_uint_eq(w.mounts[0].notified_attr, attrs);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
}
END_TEST

START_TEST(lost_bytes_look_like_what_was_there)
{
    /* Goal: the kernel has pages with the lost bytes, and size and time are what it knows: who asks
     * before a read must not get those pages (simulator seed 500820), and no notification may make
     * the kernel ignore the answer (seed 207336437819290). */
    struct file f = create(0, "a");
    put_text(0, f, 0, "safe");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct client_op stat = {.kind = CLIENT_GETATTR, .ino = f.ino};
    int64_t mtime = world_do(&w, 0, stat)->attr.mtime;
    put_text(0, f, 0, "lost");
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S); /* the lease is over, and no attributes are valid */
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    struct client_op read = {.kind = CLIENT_GETATTR, .ino = f.ino, .fh = f.fh};
    unsigned notified = w.mounts[0].notified_data;
    ck_assert_int_ne(world_do(&w, 0, read)->attr.mtime, mtime);
    ck_assert_uint_eq(w.mounts[0].notified_data, notified);
    ck_assert_int_eq(world_do(&w, 0, stat)->attr.mtime, mtime);
}
END_TEST

START_TEST(silent_holder_is_fenced)
{
    /* Goal: RULES L2, B2: a holder nobody hears from loses its lease after T; waking up it finds
     * out. */
    struct file f = create(0, "a");
    put_text(0, f, 0, "before");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.mounts[0].silent = w.mounts[0].held = true;
    put_text(0, f, 0, "ghost!");
    struct file g = open_name(1, "a");
    put_text(1, g, 0, "after!");
    ck_assert_int_eq(simple(1, CLIENT_FSYNC, g), 0);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), EIO);
    expect_text(0, f, 0, "after!");
    expect_text(1, g, 0, "after!");
}
END_TEST

START_TEST(no_answer_from_old_knowledge)
{
    /* Goal: RULES L9: cut off for longer than T nothing is answered from promises. */
    struct file f = create(1, "a");
    put_text(1, f, 0, "x");
    ck_assert_uint_eq(size_of(0, f), 1);
    w.mounts[0].silent = w.mounts[0].held = true;
    world_pass(&w, 5 * TIME_S);
    uint64_t id = world_start(&w, 0, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    world_pass(&w, 1 * TIME_S);
    ck_assert_ptr_null(world_find(&w, 0, id));
    put_text(1, f, 1, "y");
    world_pass(&w, 30 * TIME_S);
    ck_assert_int_eq(world_find(&w, 0, id)->err, ETIMEDOUT);
    w.mounts[0].silent = w.mounts[0].held = false;
    world_pass(&w, 1 * TIME_S);
    ck_assert_uint_eq(size_of(0, f), 2);
}
END_TEST

START_TEST(stop_commits_everything)
{
    struct file f = create(0, "a");
    put_text(0, f, 0, "kept");
    ck_assert_int_eq(simple(0, CLIENT_RELEASE, f), 0);
    world_stop(&w, 0);
    world_pass(&w, 1 * TIME_S);
    ck_assert(w.mounts[0].stopped);
    expect_text(1, open_name(1, "a"), 0, "kept");
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

START_TEST(buffer_has_a_cap)
{
    /* Goal: without commits writers wait at the cap, and go on afterwards. */
    enum { MIB = 1 << 20 };
    uint8_t *bytes = calloc(1, MIB);
    struct file f = create(0, "a");
    put_text(0, f, 0, "x"); /* the reservation */
    w.no_commit = true;
    uint64_t last = 0;
    for (int i = 0; i < 12; i++) {
        last = world_start(&w, 0, op_write(f, (uint64_t)i * MIB, bytes, MIB));
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
    struct file f = create(0, "a");
    put_text(0, f, 0, "small");
    world_set_room(&w, 4 << 20);
    struct client_op big = op_write(f, 0, much, sizeof much);
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
    struct file f = create(0, "a");
    put_text(0, f, 0, "mine");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    expect_text(0, f, 0, "mine");
    struct file g = open_name(1, "a");
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
    struct file f = create(0, "a");
    uint8_t old[8192], ours[8192];
    fill(old, sizeof old, 1);
    fill(ours, sizeof ours, 2);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_bytes(0, f, 0, ours, 4096);
    world_link_down(&w, 0, 1); /* the leader; the other copies answer */
    world_end_session(&w, client_stats(w.mounts[0].client, w.now).session);
    struct file g = open_name(1, "a");
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
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, names_come_and_go);
    tcase_add_test(t, directories_and_listings);
    tcase_add_test(t, pages_go_after_a_setattr);
    tcase_add_test(t, news_are_taken_in_first);
    tcase_add_test(t, caller_killed);
    tcase_add_test(t, attributes_and_xattrs);
    tcase_add_test(t, times_of_the_epoch);
    tcase_add_test(t, own_writes_are_seen_at_once);
    tcase_add_test(t, part_of_a_committed_page);
    tcase_add_test(t, large_files_go_straight_to_the_copies);
    tcase_add_test(t, truncate_hides_what_was_behind);
    tcase_add_test(t, appends_of_two_mounts);
    tcase_add_loop_test(t, random_changes_match_a_model, 0, 10);
    tcase_add_loop_test(t, random_changes_in_trouble, 0, 20);
    tcase_add_loop_test(t, crowd_in_peace, 0, 10);
    tcase_add_loop_test(t, crowd_in_trouble, 0, 10);
    tcase_add_loop_test(t, crowd_losing_sessions, 0, 10);
    tcase_add_test(t, recall_while_dirty);
    tcase_add_test(t, unlinked_while_open_elsewhere);
    tcase_add_test(t, opened_after_it_was_removed);
    tcase_add_test(t, opened_after_its_own_removal);
    tcase_add_test(t, opened_while_it_removes_the_name);
    tcase_add_test(t, attributes_overtaken_by_a_notification);
    tcase_add_test(t, cut_while_part_of_a_page_is_written);
    tcase_add_test(t, silent_copy);
    tcase_add_test(t, written_while_being_read);
    tcase_add_test(t, unlinked_and_written_by_two);
    tcase_add_test(t, renamed_onto_a_name_it_was_given_meanwhile);
    tcase_add_test(t, both_names_removed_at_once);
    tcase_add_test(t, unlinked_while_silent);
    tcase_add_test(t, opened_while_its_hold_is_given_back);
    tcase_add_test(t, unlinked_with_dirty_data);
    tcase_add_test(t, lookups_in_a_row_are_answered_from_pages);
    tcase_add_test(t, lookups_here_and_there_fetch_no_pages);
    tcase_add_test(t, commits_over_an_election_lost);
    tcase_add_test(t, commits_over_an_election_kept);
    tcase_add_test(t, make_over_an_election);
    tcase_add_test(t, leader_of_a_lower_term_than_heard_of);
    tcase_add_test(t, links_break);
    tcase_add_test(t, session_end_loses_the_buffer);
    tcase_add_test(t, session_end_while_attributes_are_asked);
    tcase_add_test(t, lost_bytes_look_like_what_was_there);
    tcase_add_test(t, silent_holder_is_fenced);
    tcase_add_test(t, no_answer_from_old_knowledge);
    tcase_add_test(t, stop_commits_everything);
    tcase_add_test(t, buffer_has_a_cap);
    tcase_add_test(t, fullest_node_has_no_room);
    tcase_add_test(t, session_consistency);
    tcase_add_test(t, session_reads_what_its_ended_lease_hides);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
