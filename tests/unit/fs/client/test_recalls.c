/* Two mounts at the same names and files: what is recalled, and what is open when its name goes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

START_TEST(recall_while_dirty)
{
    /* Goal: RULES B10: another mount sees what was written and not synced, committed first. */
    struct place f = create(0, "a");
    put_text(0, f, 0, "dirty");
    ck_assert_uint_eq(w.commits_seen, 0);
    struct place g = open_name(1, "a");
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
    struct place f = create(0, "a");
    put_text(0, f, 0, "kept");
    struct place g = open_name(1, "a");
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

START_TEST(promised_without_a_lease)
{
    /* Goal: RULES L9: a promise that comes when the lease has lapsed is none, also once the lease
     * is back: the leader may have forgotten it in between (tally-sim seed 990001637). */
    struct place f = create(1, "a");
    ck_assert_int_eq(simple(1, CLIENT_RELEASE, f), 0);
    world_pass(&w, 3 * TIME_S); /* its lease is back */
    (void)lookup(0, "a");
    w.now += 2500 * TIME_MS; /* frozen: it relies on nothing, and its leader still waits for it */
    struct client_op get = {.kind = CLIENT_GETATTR, .ino = f.ino};
    uint64_t asked = world_start(&w, 0, get);
    ck_assert(world_step(&w));
    w.mounts[0].silent = true; /* the Renew behind it comes late */
    world_settle(&w);
    ck_assert_ptr_nonnull(world_find(&w, 0, asked));
    ck_assert(!client_stats(w.mounts[0].client, w.now).lease_valid);
    world_pass(&w, 2 * TIME_S);
    struct client_op chmod = {
        .kind = CLIENT_SETATTR, .ino = f.ino, .set = FS_SETATTR_MODE, .mode = 0600};
    ck_assert_int_eq(world_do(&w, 1, chmod)->err, 0);
    w.mounts[0].silent = false;
    world_settle(&w);
    ck_assert(client_stats(w.mounts[0].client, w.now).lease_valid);
    ck_assert_uint_eq(world_do(&w, 0, get)->attr.mode & 07777, 0600);
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
    struct place f = {a->attr.ino, a->fh};
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

/* Linux ignores the answer to a question that it sent before it took another answer, so none is
 * answered while another is on its way. */
static struct place theirs, ours; /* a file of 4 bytes: of mount 1, and as mount 0 has it open */
static uint64_t asked_first, asked_second;

static void write_theirs(void)
{
    theirs = create(1, "f");
    ours = open_file(0, theirs.ino);
    put_text(1, theirs, 0, "text"); /* its lease: attributes here are the leader's to tell */
}

/* What the leader says to the first is known here, and the second has not reached it. */
static void ask_twice(struct client_op first, struct client_op second)
{
    w.mounts[0].held = true;
    asked_first = world_start(&w, 0, first);
    world_pass(&w, 10 * TIME_MS);
    w.mounts[0].silent = true;
    asked_second = world_start(&w, 0, second);
    w.mounts[0].held = false;
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, asked_first));
}

START_TEST(asked_twice_answered_together)
{
    write_theirs();
    struct client_op get = op_of(CLIENT_GETATTR, ours);
    ask_twice(get, get);
    uint64_t third = world_start(&w, 0, get); /* under the promise that came with the first */
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, third));
    w.mounts[0].silent = false;
    world_settle(&w);
    ck_assert_uint_eq(world_find(&w, 0, asked_first)->attr.size, 4);
    ck_assert_uint_eq(world_find(&w, 0, asked_second)->attr.size, 4);
    ck_assert_uint_eq(world_find(&w, 0, third)->attr.size, 4);
}
END_TEST

START_TEST(asked_twice_and_one_reads)
{
    /* Goal: of other data under the same size and time both are told the time that drops the pages
     * when either asks before it reads, which names a descriptor as stat(2) does not. */
    write_theirs();
    struct client_op reads = op_of(CLIENT_GETATTR, ours), stats = reads;
    stats.fh = 0;
    int64_t mtime = world_do(&w, 0, reads)->attr.mtime;
    put_text(1, theirs, 0, "TEXT");
    struct client_op touch = op_of(CLIENT_SETATTR, theirs);
    touch.set = FS_SETATTR_MTIME;
    touch.mtime = mtime;
    ck_assert_int_eq(world_do(&w, 1, touch)->err, 0);
    ask_twice(_i ? stats : reads, _i ? reads : stats);
    w.mounts[0].silent = false;
    world_settle(&w);
    ck_assert_int_eq(world_find(&w, 0, asked_first)->attr.mtime, mtime - 1);
    ck_assert_int_eq(world_find(&w, 0, asked_second)->attr.mtime, mtime - 1);
    ck_assert_uint_eq(w.mounts[0].notified_data, 0); /* which would make Linux ignore them */
}
END_TEST

START_TEST(never_disguised_as_the_time_before)
{
    /* Goal: Linux ignores the answer to a look-up that it sent before it took the one to utimens,
     * so what drops its pages is another time than both (tally-sim seed 137537931478826). */
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    struct client_op touch = op_of(CLIENT_SETATTR, f);
    touch.set = FS_SETATTR_MTIME;
    touch.mtime = 1000000000000000000;
    int64_t first = world_do(&w, 0, touch)->attr.mtime;
    ck_assert_int_eq(lookup(0, "a")->attr.mtime, touch.mtime);
    sync_file(0, f);
    int64_t second = world_do(&w, 0, op_of(CLIENT_GETATTR, f))->attr.mtime;
    ck_assert_int_ne(second, touch.mtime);
    ck_assert_int_ne(second, first);
}
END_TEST

START_TEST(asked_twice_and_one_given_up)
{
    write_theirs();
    ask_twice(op_of(CLIENT_GETATTR, ours), op_of(CLIENT_GETATTR, ours));
    world_cancel(&w, 0, asked_second);
    world_settle(&w);
    ck_assert_uint_eq(world_find(&w, 0, asked_first)->attr.size, 4);
    w.mounts[0].silent = false;
}
END_TEST

/* Linux takes the end of the file from a READ that ends before it, and ignores the answers to what
 * it had sent before it took that. */
static uint64_t reading;

/* A READ of all of a file that mount 1 has made shorter than mount 0 knows: what the copy says has
 * not arrived. */
static void read_what_is_cut_off(uint64_t to)
{
    theirs = create(1, "f");
    ours = open_file(0, theirs.ino);
    write_pages(1, theirs, 0, 3, 'x');
    sync_file(1, theirs);
    world_new_leader(&w, 2, true);
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(size_of(0, ours), 3 * 4096);
    ck_assert_int_eq(truncate_to(1, theirs, to), 0);
    w.mute = 1;
    struct client_op op = op_of(CLIENT_READ, ours);
    op.size = 3 * 4096;
    reading = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, reading));
}

/* The file has changed again, and the kernel asks; then the copy's answer to the READ comes. */
static void ask_beside_the_read(void)
{
    write_pages(1, theirs, 1, 1, 'y'); /* no part of a page, so no copy is asked */
    w.mounts[0].silent = true;
    asked_first = world_start(&w, 0, op_of(CLIENT_GETATTR, ours));
    w.mute = 0;
    world_settle(&w);
}

START_TEST(cut_off_while_attributes_are_asked_for)
{
    /* Goal: the answer to the GETATTR is taken in before the READ is answered (tally-sim seed
     * 107917864763200). */
    read_what_is_cut_off(_i ? 2 * 4096 + 10 : 10); /* in the last page of the READ, or before it */
    ask_beside_the_read();
    ck_assert_ptr_null(world_find(&w, 0, reading));
    w.mounts[0].silent = false;
    world_settle(&w);
    uint64_t size = world_find(&w, 0, asked_first)->attr.size;
    ck_assert_uint_eq(size, _i ? 2 * 4096 + 10 : 2 * 4096);
    ck_assert_ptr_null(world_find(&w, 0, reading));
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(world_find(&w, 0, reading)->bytes->size, size);
}
END_TEST

START_TEST(cut_off_when_attributes_were_told)
{
    /* Goal: nor does it follow them so soon that their caller has not taken them in. */
    read_what_is_cut_off(2 * 4096 + 10);
    ck_assert_uint_eq(size_of(0, ours), 2 * 4096 + 10);
    w.mute = 0;
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, reading));
    world_pass(&w, 100 * TIME_MS);
    ck_assert_uint_eq(world_find(&w, 0, reading)->bytes->size, 2 * 4096 + 10);
}
END_TEST

START_TEST(cut_off_and_the_question_given_up)
{
    read_what_is_cut_off(10);
    ask_beside_the_read();
    ck_assert_ptr_null(world_find(&w, 0, reading));
    world_cancel(&w, 0, asked_first);
    ck_assert_uint_eq(world_find(&w, 0, reading)->bytes->size, 10);
    w.mounts[0].silent = false;
}
END_TEST

START_TEST(cut_off_twice_and_the_question_given_up)
{
    /* Goal: two READs that waited for it do not go on to wait for each other. */
    read_what_is_cut_off(10);
    struct client_op op = op_of(CLIENT_READ, ours);
    op.size = 3 * 4096;
    uint64_t second = world_start(&w, 0, op);
    world_settle(&w);
    ask_beside_the_read();
    ck_assert_ptr_null(world_find(&w, 0, reading));
    ck_assert_ptr_null(world_find(&w, 0, second));
    world_cancel(&w, 0, asked_first);
    world_pass(&w, 200 * TIME_MS);
    ck_assert_ptr_nonnull(world_find(&w, 0, reading));
    ck_assert_ptr_nonnull(world_find(&w, 0, second));
    w.mounts[0].silent = false;
}
END_TEST

START_TEST(answered_to_who_asked)
{
    /* Goal: a request that the leader dropped leaves the mount without one for a moment; what is
     * asked back is given back then, too, and not asked for again. */
    struct place f = create(1, "a");
    write_pages(1, f, 0, 1, 'a');
    sync_file(1, f);
    struct place g = open_file(0, f.ino);
    w.no_reads = true;
    uint64_t writing = world_start(&w, 0, write_op(g, 5, "bytes", 5));
    world_settle(&w);
    uint64_t looking = world_start(&w, 1, op_of(CLIENT_GETATTR, f));
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 1, looking)); /* the first write is waited for */
    w.leader = 2;                                   /* so that node 1 drops what it is given */
    (void)world_start(
        &w, 0,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = "d", .mode = S_IFDIR | 0755});
    world_settle(&w);
    w.leader = 1;
    w.mounts[0].held = true;
    w.mounts[0].acked_recall = 0;
    world_pass(&w, 1500 * TIME_MS);
    ck_assert_uint_eq(w.mounts[0].acked_recall, 1);
    w.mounts[0].held = w.no_reads = false;
    world_pass(&w, 2 * TIME_S);
    ck_assert_ptr_nonnull(world_find(&w, 0, writing));
    ck_assert_ptr_nonnull(world_find(&w, 1, looking));
}
END_TEST

START_TEST(cut_off_and_the_read_given_up)
{
    read_what_is_cut_off(10);
    ask_beside_the_read();
    if (_i) {
        w.mounts[0].silent = false;
        world_settle(&w); /* it waits for its time */
    }
    world_cancel(&w, 0, reading);
    w.mounts[0].silent = false;
    world_settle(&w);
    ck_assert_uint_eq(world_find(&w, 0, asked_first)->attr.size, 2 * 4096);
    world_pass(&w, 1 * TIME_S);
}
END_TEST

START_TEST(a_read_that_cuts_nothing_off_waits_for_nothing)
{
    read_what_is_cut_off(10);
    w.mute = 0;
    world_settle(&w); /* nothing is asked */
    ck_assert_uint_eq(world_find(&w, 0, reading)->bytes->size, 10);
    ck_assert_uint_eq(size_of(0, ours), 10);
    ck_assert_ptr_nonnull(get_bytes(0, ours, 0, 4096)); /* one of now, and the last page of it */
    world_pass(&w, 100 * TIME_MS);
    w.mute = 1;
    struct client_op op = op_of(CLIENT_READ, ours);
    op.size = 4096;
    reading = world_start(&w, 0, op);
    world_settle(&w);
    ask_beside_the_read();
    ck_assert_ptr_nonnull(world_find(&w, 0, reading));
    w.mounts[0].silent = false;
}
END_TEST

START_TEST(opened_after_it_was_removed)
{
    /* Goal: an open that comes behind the removal of the last name fails, though somebody else
     * still holds the file: nobody would keep it for this one (simulator seed 17). */
    struct place f = create(0, "a");
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
    struct place f = create(0, "a");
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
    struct place f = create(0, "a");
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
    struct place f = create(0, "a");
    uint8_t old[8192], zeros[8192] = {0};
    fill(old, sizeof old, 1);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct place g = open_name(1, "a");
    put_bytes(0, f, 0, old, 4096);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    w.mounts[0].silent = true;
    uint64_t write = world_start(&w, 0, write_op(f, 4096 + 100, "new", 3));
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
    struct place f = create(0, "a");
    put_text(0, f, 0, "text");
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    struct place g = open_name(1, "a");
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
    struct place f = create(0, "a");
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
    uint64_t write = world_start(&w, 0, write_op(f, 4096, new, sizeof new));
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

START_TEST(committed_while_being_read)
{
    /* Goal: RULES L6: the same when the READ found a page in the buffer, and the WRITE changed it
     * and is committed: then nothing of the page is known here any more. A copy is silent. */
    struct place f = create(0, "a");
    uint8_t old[2 * 4096], new[2 * 4096];
    fill(old, sizeof old, 1);
    fill(new, sizeof new, 2);
    put_bytes(0, f, 0, old, sizeof old);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    world_new_leader(&w, 2, true);
    world_pass(&w, 3 * TIME_S);
    put_bytes(0, f, 0, new, 4096);
    w.mute = 1;
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = sizeof old;
    uint64_t read = world_start(&w, 0, op);
    world_settle(&w);
    ck_assert_ptr_null(world_find(&w, 0, read));
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    put_bytes(0, f, 0, new + 4096, 4096);
    ck_assert_int_eq(simple(0, CLIENT_FSYNC, f), 0);
    ck_assert_ptr_null(world_find(&w, 0, read));
    world_pass(&w, TIME_S);
    w.mute = 0;
    const struct world_answer *a = world_find(&w, 0, read);
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(a->err, 0);
    ck_assert_int_eq(memcmp(a->bytes->data, new + 4096, 4096), 0);
    ck_assert_int_eq(memcmp(a->bytes->data + 4096, old + 4096, 4096), 0);
}
END_TEST

START_TEST(unlinked_and_written_by_two)
{
    /* Goal: whoever has a removed file open sees what others wrote to it and closed, and is not
     * kept waiting for the write lease of a descriptor that is gone. */
    struct place f = create(0, "a");
    struct place g = open_name(1, "a");
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
    struct place f = create(0, "a");
    ck_assert_int_eq(lookup(0, "b")->err, ENOENT);
    struct place g = open_name(1, "a");
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

static uint64_t make_dir(int m, const char *name)
{
    const struct world_answer *a = world_do(
        &w, m,
        (struct client_op){
            .kind = CLIENT_MAKE, .parent = WORLD_ROOT, .name = name, .mode = S_IFDIR | 0755});
    ck_assert_int_eq(a->err, 0);
    return a->attr.ino;
}

static const struct world_answer *lookup_in(int m, uint64_t dir, const char *name)
{
    return world_do(&w, m, (struct client_op){.kind = CLIENT_LOOKUP, .parent = dir, .name = name});
}

static int rename_to(int m, uint64_t from, const char *name, uint64_t to, const char *newname)
{
    return world_do(&w, m,
                    (struct client_op){.kind = CLIENT_RENAME,
                                       .parent = from,
                                       .name = name,
                                       .newparent = to,
                                       .newname = newname})
        ->err;
}

START_TEST(a_name_moves_with_how_long_it_is_remembered)
{
    /* Goal: Linux takes what it may remember of a name along into another directory. So it forgets
     * the name at once when the mount would not hear of changes there, and else when they come. */
    uint64_t from = make_dir(0, "from"), to = make_dir(0, "to");
    (void)create(0, "f");
    (void)create(0, "g");
    ck_assert_int_eq(rename_to(0, WORLD_ROOT, "f", from, "f"), 0);
    ck_assert_int_eq(rename_to(0, WORLD_ROOT, "g", from, "g"), 0);
    ck_assert_uint_ne(lookup_in(1, from, "f")->entry_valid_us, 0);
    ck_assert_uint_ne(lookup_in(1, from, "g")->entry_valid_us, 0);
    unsigned before = w.mounts[1].notified_names;
    ck_assert_int_eq(rename_to(1, from, "f", to, "f"), 0); /* no name of `to` is promised to it */
    ck_assert_uint_gt(w.mounts[1].notified_names, before);
    /* They are now; but what it found there is forgotten before what comes there. */
    ck_assert_int_eq(lookup_in(1, to, "g")->err, ENOENT);
    world_pass(&w, 6 * TIME_S);
    uint64_t g = lookup_in(1, from, "g")->attr.ino;
    ck_assert_int_eq(simple(1, CLIENT_GETATTR, (struct place){.ino = g}), 0); /* it knows it */
    before = w.mounts[1].notified_names;
    ck_assert_int_eq(rename_to(1, from, "g", to, "g"), 0);
    ck_assert_uint_eq(w.mounts[1].notified_names, before);
    ck_assert_int_eq(
        world_do(&w, 0, (struct client_op){.kind = CLIENT_UNLINK, .parent = to, .name = "g"})->err,
        0);
    ck_assert_uint_gt(w.mounts[1].notified_names, before);
}
END_TEST

START_TEST(both_names_removed_at_once)
{
    /* Goal: two mounts remove the two names of a file that one of them has open: whichever comes
     * second in the log knows of the open file. */
    struct place f = create(0, "a");
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
    struct place opened = create(0, "opened"), closed = create(0, "closed");
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
    struct place f = create(0, "a");
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
    struct place f = create(0, "a");
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

int main(void)
{
    Suite *suite = suite_create("recalls");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, two_mounts, no_mounts);
    tcase_add_test(t, recall_while_dirty);
    tcase_add_test(t, unlinked_while_open_elsewhere);
    tcase_add_test(t, promised_without_a_lease);
    tcase_add_test(t, attributes_overtaken_by_a_notification);
    tcase_add_test(t, asked_twice_answered_together);
    tcase_add_loop_test(t, asked_twice_and_one_reads, 0, 2);
    tcase_add_test(t, never_disguised_as_the_time_before);
    tcase_add_test(t, asked_twice_and_one_given_up);
    tcase_add_loop_test(t, cut_off_while_attributes_are_asked_for, 0, 2);
    tcase_add_test(t, cut_off_when_attributes_were_told);
    tcase_add_test(t, cut_off_and_the_question_given_up);
    tcase_add_test(t, cut_off_twice_and_the_question_given_up);
    tcase_add_test(t, answered_to_who_asked);
    tcase_add_loop_test(t, cut_off_and_the_read_given_up, 0, 2);
    tcase_add_test(t, a_read_that_cuts_nothing_off_waits_for_nothing);
    tcase_add_test(t, opened_after_it_was_removed);
    tcase_add_test(t, opened_after_its_own_removal);
    tcase_add_test(t, opened_while_it_removes_the_name);
    tcase_add_test(t, cut_while_part_of_a_page_is_written);
    tcase_add_test(t, silent_copy);
    tcase_add_test(t, written_while_being_read);
    tcase_add_test(t, committed_while_being_read);
    tcase_add_test(t, unlinked_and_written_by_two);
    tcase_add_test(t, renamed_onto_a_name_it_was_given_meanwhile);
    tcase_add_test(t, a_name_moves_with_how_long_it_is_remembered);
    tcase_add_test(t, both_names_removed_at_once);
    tcase_add_test(t, unlinked_while_silent);
    tcase_add_test(t, opened_while_its_hold_is_given_back);
    tcase_add_test(t, unlinked_with_dirty_data);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
