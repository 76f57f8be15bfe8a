/* The log on disk: what was reported comes back in order, a torn end is an end, anything else that
 * is unreadable is told (RULES S2, S3). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/base/vec.h"
#include "repl/io/file.h"
#include "repl/io/journal.h"
#include "repl/io/record.h"
#include "repl/io/segment.h"
#include "tests/unit/lib/run.h"

enum { SEGMENT = 64 * 1024 };

struct seen {
    uint32_t number;
    lsn_no lsn;
    bool tail_damaged;
};

struct world {
    char dir[64];
    struct journal *journal;
    struct journal_control control;
    char error[256];
    bool recycle, started;       /* the config's */
    vec_of(struct seen) written; /* reported as durable */
    vec_of(struct seen) found;   /* by the scan of the last opening */
    uint32_t next;
    size_t group_first; /* of `written`: the first record of the last group */
};

static void wake_nobody(void *ctx)
{
    (void)ctx;
}

static struct journal_config config_of(const struct world *w)
{
    return (struct journal_config){.dir = w->dir,
                                   .cluster = {1, 2},
                                   .node = 3,
                                   .segment_size = SEGMENT,
                                   .recycle = w->recycle,
                                   .started = w->started,
                                   .wake = wake_nobody};
}

/* Head: a number; tail: a number of bytes that depends on it. */
static uint32_t tail_size_of(uint32_t number)
{
    return number % 5 * 1500;
}

static int on_record(void *ctx, const struct journal_record *record)
{
    struct world *w = ctx;
    if (record->kind != RECORD_ENTRY)
        return 0;
    ck_assert_uint_eq(record->head_size, 12);
    struct seen s = {le32_get(record->head), record->lsn, record->tail_damaged};
    ck_assert_int_eq(memcmp(record->head + 4, "8 bytes.", 8), 0);
    ck_assert_uint_eq(record->tail_size, tail_size_of(s.number));
    for (uint32_t i = 0; !s.tail_damaged && i < record->tail_size; i++)
        if (record->tail[i] != (uint8_t)(s.number + i)) /* ck_assert writes a file each time */
            ck_abort_msg("byte %u of record %u", (unsigned)i, (unsigned)s.number);
    vec_push(&w->found, s);
    return 0;
}

static int open_journal(struct world *w, bool create)
{
    struct journal_config c = config_of(w);
    vec_clear(&w->found);
    w->control = (struct journal_control){.kv_generation = 1};
    return journal_open(&c, create, &w->control, on_record, w, &w->journal, w->error,
                        sizeof w->error);
}

static void close_journal(struct world *w)
{
    while (journal_busy(w->journal))
        journal_poll(w->journal);
    journal_stop(w->journal);
    journal_free(w->journal);
    w->journal = NULL;
}

static void world_open_started(struct world *w, bool started)
{
    *w = (struct world){.dir = "/tmp/tally-journal-XXXXXX", .recycle = true, .started = started};
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    ck_assert_int_eq(open_journal(w, true), 0);
}

static void world_open(struct world *w)
{
    world_open_started(w, false);
}

static void world_close(struct world *w)
{
    if (w->journal)
        close_journal(w);
    vec_done(&w->written);
    vec_done(&w->found);
    ck_assert_int_eq(file_remove_tree(w->dir), 0);
}

static void on_written(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct world *w = ctx;
    struct seen s = {(uint32_t)item->a, lsn, false};
    vec_push(&w->written, s);
}

static void append(struct world *w)
{
    struct journal_item *item = journal_item_new(RECORD_ENTRY);
    uint32_t number = w->next++, size = tail_size_of(number);
    bytes_put_u32(&item->head, number);
    item->payload = blob_copy("8 bytes.", 8);
    if (size > 0) {
        item->tail = blob_new(size);
        for (uint32_t i = 0; i < size; i++)
            item->tail->data[i] = (uint8_t)(number + i);
    }
    item->a = number;
    item->done = on_written;
    item->ctx = w;
    journal_append(w->journal, item);
}

/* In groups of one to three records. */
static void write_some(struct world *w, uint32_t count)
{
    while (count > 0) {
        uint32_t group = w->next % 3 + 1 < count ? w->next % 3 + 1 : count;
        w->group_first = w->written.count;
        for (uint32_t i = 0; i < group; i++)
            append(w);
        count -= group;
        journal_kick(w->journal);
        if (w->started)
            (void)journal_start(w->journal);
        while (journal_busy(w->journal))
            journal_poll(w->journal);
    }
}

static void check_found(const struct world *w, size_t count)
{
    ck_assert_uint_eq(w->found.count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(w->found.items[i].number, w->written.items[i].number);
        ck_assert_uint_eq(w->found.items[i].lsn, w->written.items[i].lsn);
        ck_assert(!w->found.items[i].tail_damaged);
    }
}

START_TEST(records_come_back_in_order)
{
    struct world w;
    world_open_started(&w, _i == 1);
    for (int round = 0; round < 4; round++) {
        write_some(&w, 60);
        ck_assert_uint_eq(journal_synced(w.journal) > w.written.items[w.written.count - 1].lsn, 1);
        close_journal(&w);
        ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
        check_found(&w, w.written.count);
    }
    for (size_t i = 0; i < w.written.count; i += 7) {
        struct journal_record record;
        struct blob *raw;
        ck_assert_int_eq(journal_read(w.journal, w.written.items[i].lsn, &record, &raw), 0);
        ck_assert_uint_eq(le32_get(record.head), w.written.items[i].number);
        blob_unref(raw);
    }
    world_close(&w);
}
END_TEST

/* Nothing is written before the start; what is written by the caller is durable when it returns;
 * what is large, or when the thread is writing, goes to the thread. */
START_TEST(small_groups_are_written_by_the_caller)
{
    struct world w;
    bool here = false;
    world_open_started(&w, true);
    ck_assert(!journal_start(w.journal));
    for (int round = 0; round < 200; round++) {
        size_t before = w.written.count;
        append(&w);
        append(&w);
        journal_kick(w.journal);
        journal_poll(w.journal);
        ck_assert_uint_eq(w.written.count, before);
        if (journal_start(w.journal)) {
            here = true;
            journal_poll(w.journal);
            ck_assert_uint_eq(w.written.count, before + 2);
        }
        while (journal_busy(w.journal))
            journal_poll(w.journal);
    }
    if (!here)
        printf("# figure: no group of 200 took less than 2 ms\n");
    for (int i = 0; i < 100; i++) /* too much for one */
        append(&w);
    journal_kick(w.journal);
    ck_assert(!journal_start(w.journal));
    close_journal(&w);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    check_found(&w, 500);
    world_close(&w);
}
END_TEST

/* One larger than a segment gets a segment of its own size. */
START_TEST(a_large_record_gets_room)
{
    struct world w;
    world_open(&w);
    write_some(&w, 3);
    struct journal_item *item = journal_item_new(RECORD_MARK);
    item->tail = blob_new(5 * SEGMENT);
    memset(item->tail->data, 7, item->tail->size);
    journal_append(w.journal, item);
    write_some(&w, 3);
    close_journal(&w);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    check_found(&w, 6);
    world_close(&w);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

static char *segment_of(const struct world *w, lsn_no lsn)
{
    return segment_path(w->dir, lsn_generation(lsn));
}

static void flip_at(const struct world *w, lsn_no lsn)
{
    uint8_t byte;
    char *path = segment_of(w, lsn);
    int fd = open(path, O_RDWR);
    ck_assert_int_eq(pread(fd, &byte, 1, lsn_offset(lsn)), 1);
    byte ^= 0x10;
    ck_assert_int_eq(pwrite(fd, &byte, 1, lsn_offset(lsn)), 1);
    (void)close(fd);
    free(path);
}

/* As if nothing had reached the disk from there on. */
static void cut_at(const struct world *w, lsn_no lsn)
{
    char *path = segment_of(w, lsn);
    int fd = open(path, O_RDWR);
    struct stat st;
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_eq(file_write_zeros(fd, lsn_offset(lsn), (uint64_t)st.st_size - lsn_offset(lsn)),
                     0);
    (void)close(fd);
    free(path);
    for (uint32_t g = lsn_generation(lsn) + 1; segment_remove(w->dir, g) == 0; g++) {
    }
}

static lsn_no group_of(lsn_no lsn)
{
    return lsn / GROUP_ALIGN * GROUP_ALIGN;
}

/* A power cut at each page: exactly the records of the groups wholly before it come back, again and
 * again, and what is written then comes back too. */
START_TEST(a_torn_end_is_an_end)
{
    struct world w;
    world_open(&w);
    write_some(&w, 4 + (uint32_t)_i % 4);
    close_journal(&w);
    size_t count = w.written.count, before = w.group_first;
    lsn_no group = group_of(w.written.items[before].lsn);
    lsn_no end = w.written.items[count - 1].lsn +
                 record_size(12, tail_size_of(w.written.items[count - 1].number));
    lsn_no cut = group + (lsn_no)_i / 4 * GROUP_ALIGN;
    if (cut >= end) {
        world_close(&w);
        return;
    }
    cut_at(&w, cut);
    w.written.count = before;
    for (int round = 0; round < 3; round++) {
        ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
        check_found(&w, w.written.count);
        write_some(&w, 2);
        close_journal(&w);
    }
    world_close(&w);
}
END_TEST

/* RULES S3: with a later mark it is corruption, whichever byte of the head it is. */
START_TEST(damage_in_the_middle_is_refused)
{
    struct world w;
    world_open(&w);
    write_some(&w, 12);
    close_journal(&w);
    lsn_no at = w.written.items[_i].lsn;
    flip_at(&w, _i % 2 ? at + 1 : at + RECORD_HEADER_SIZE + 5);
    ck_assert_int_eq(open_journal(&w, false), -EBADMSG);
    ck_assert_msg(strstr(w.error, "damaged at"), "%s", w.error);
    world_close(&w);
}
END_TEST

/* The closing mark makes even the last record's damage known. */
START_TEST(the_mark_closes_the_chain)
{
    struct world w;
    world_open(&w);
    write_some(&w, 5);
    close_journal(&w);
    flip_at(&w, w.written.items[4].lsn);
    ck_assert_int_eq(open_journal(&w, false), -EBADMSG);
    world_close(&w);
}
END_TEST

/* Inline bytes may be damaged on their own: the record is there and says so. */
START_TEST(a_damaged_tail_is_told)
{
    struct world w;
    world_open(&w);
    write_some(&w, 12);
    close_journal(&w);
    ck_assert_uint_eq(w.written.items[4].number, 4);
    flip_at(&w, w.written.items[4].lsn + journal_tail_offset(12) + 3000);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    ck_assert_uint_eq(w.found.count, 12);
    for (size_t i = 0; i < 12; i++)
        ck_assert(w.found.items[i].tail_damaged == (i == 4));
    world_close(&w);
}
END_TEST

START_TEST(lost_segments_are_told)
{
    struct world w;
    world_open(&w);
    write_some(&w, 100);
    close_journal(&w);
    uint32_t last = lsn_generation(w.written.items[99].lsn);
    ck_assert_uint_ge(last, 4);
    uint32_t lost = _i == 0 ? 1 : _i == 1 ? 2 : last;
    if (_i < 3)
        ck_assert_int_eq(segment_remove(w.dir, lost), 0);
    else
        flip_at(&w, lsn_make(1, SEGMENT_HEADER_SIZE + 8)); /* the head of the log */
    int rc = open_journal(&w, false);
    if (_i == 0) /* as after a release: the owner finds its entries missing */
        ck_assert_int_eq(rc, 0);
    else if (_i == 1 || _i == 3)
        ck_assert_int_eq(rc, -ESTALE);
    else /* the end is gone with its marks: a segment made ahead may lie behind it */
        ck_assert(rc == 0 || rc == -ESTALE);
    world_close(&w);
}
END_TEST

START_TEST(an_empty_directory_is_no_log)
{
    struct world w;
    world_open(&w);
    close_journal(&w);
    ck_assert_int_eq(file_remove_tree(w.dir), 0);
    ck_assert_int_eq(mkdir(w.dir, 0700), 0);
    ck_assert_int_eq(open_journal(&w, false), -ESTALE);
    world_close(&w);
}
END_TEST

/* ---- synced ---------------------------------------------------------------------------------- */

static int fail_first_sync(void *ctx, enum file_call call, int fd)
{
    (void)fd;
    int *asked = ctx;
    return call == FILE_SYNC && (*asked)++ == 0 ? -EIO : 0;
}

/* After SIGKILL the last group may be in the page cache alone. It is synced before anybody builds
 * on it; when that fails nobody does. */
START_TEST(what_the_scan_found_is_synced_first)
{
    struct world w;
    int asked = 0;
    world_open(&w);
    write_some(&w, 5);
    close_journal(&w);
    file_fault_set(fail_first_sync, &asked);
    ck_assert_int_eq(open_journal(&w, false), -EIO);
    file_fault_set(NULL, NULL);
    ck_assert_int_eq(open_journal(&w, false), 0);
    check_found(&w, 5);
    world_close(&w);
}
END_TEST

struct fuse {
    int left;
    enum file_call call;
};

static int fail_nth(void *ctx, enum file_call call, int fd)
{
    struct fuse *f = ctx;
    (void)fd;
    return call == f->call && __atomic_sub_fetch(&f->left, 1, __ATOMIC_SEQ_CST) == 0 ? -EIO : 0;
}

/* RULES S3: a failed write or sync ends the process, and nothing is reported after it. */
START_TEST(a_failed_sync_ends_the_process)
{
    struct world w;
    int pipes[2], status;
    world_open(&w);
    close_journal(&w);
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        struct fuse fuse = {.left = 3 + _i / 2, .call = _i % 2 ? FILE_SYNC : FILE_WRITE};
        if (open_journal(&w, false) < 0)
            _exit(7);
        file_fault_set(fail_nth, &fuse);
        for (int i = 0; i < 200; i++) {
            write_some(&w, 1);
            uint32_t told = (uint32_t)w.written.count;
            if (write(pipes[1], &told, sizeof told) != sizeof told)
                _exit(8);
        }
        _exit(9);
    }
    (void)close(pipes[1]);
    uint32_t told = 0;
    while (read(pipes[0], &told, sizeof told) == sizeof told) {
    }
    (void)close(pipes[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    ck_assert_uint_ge(w.found.count, told);
    for (size_t i = 0; i < w.found.count; i++)
        ck_assert_uint_eq(w.found.items[i].number, i);
    world_close(&w);
}
END_TEST

/* What was written to one file, and whether it was synced afterwards. */
struct noted {
    ino_t file;
    int written, synced; /* the number of the last such call; 0: none */
    int calls;
};

static int note_call(void *ctx, enum file_call call, int fd)
{
    struct noted *n = ctx;
    struct stat st;
    n->calls++;
    if (fstat(fd, &st) == 0 && st.st_ino == n->file)
        *(call == FILE_WRITE ? &n->written : &n->synced) = n->calls;
    return 0;
}

/* A sync that failed leaves the last group in the page cache, where Linux takes it for clean. What
 * is found there and counts from now on must be on the disk. */
START_TEST(the_end_is_written_again)
{
    struct world w;
    struct stat st;
    world_open(&w);
    write_some(&w, 3);
    close_journal(&w);
    char *path = segment_of(&w, w.written.items[2].lsn);
    ck_assert_int_eq(stat(path, &st), 0);
    free(path);
    struct noted noted = {.file = st.st_ino};
    file_fault_set(note_call, &noted);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    file_fault_set(NULL, NULL);
    ck_assert_uint_eq(w.found.count, 3);
    ck_assert_int_gt(noted.written, 0);
    ck_assert_int_gt(noted.synced, noted.written);
    close_journal(&w);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    ck_assert_uint_eq(w.found.count, 3);
    world_close(&w);
}
END_TEST

/* ---- space ----------------------------------------------------------------------------------- */

/* Until no older one is there. */
static void wait_oldest(struct world *w, uint32_t generation)
{
    char *path = segment_path(w->dir, generation - 1), events[4096];
    int fd = inotify_init1(IN_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(inotify_add_watch(fd, w->dir, IN_DELETE | IN_MOVED_FROM), 0);
    while (access(path, F_OK) == 0)
        ck_assert_int_gt(read(fd, events, sizeof events), 0);
    (void)close(fd);
    free(path);
}

/* Released segments go or are used again; what they held never comes back. */
START_TEST(releases_give_space_back)
{
    struct world w;
    uint64_t most = 0;
    world_open(&w);
    close_journal(&w);
    w.recycle = _i;
    ck_assert_int_eq(open_journal(&w, false), 0);
    for (int round = 0; round < 12; round++) {
        write_some(&w, 40);
        lsn_no from = w.written.items[w.written.count - 10].lsn;
        journal_release(w.journal, from);
        wait_oldest(&w, lsn_generation(from));
        if (round > 3)
            ck_assert_uint_le(journal_size(w.journal), most);
        else if (journal_size(w.journal) + SEGMENT > most)
            most = journal_size(w.journal) + SEGMENT;
        if (round % 4 != 3)
            continue;
        close_journal(&w);
        ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
        size_t skipped = w.written.count - w.found.count;
        for (size_t i = 0; i < w.found.count; i++)
            ck_assert_uint_eq(w.found.items[i].lsn, w.written.items[skipped + i].lsn);
        ck_assert_uint_ge(w.found.count, 10);
        ck_assert_uint_lt(w.found.count, 80);
    }
    world_close(&w);
}
END_TEST

/* RULES S2: each segment begins with what holds, so the ones before may go. */
START_TEST(control_values_survive_releases)
{
    struct world w;
    world_open(&w);
    struct journal_item *vote = journal_item_new(RECORD_VOTE);
    vote->control = (struct journal_control){.term = 9,
                                             .vote = 2,
                                             .kv_generation = 4,
                                             .base_index = 5,
                                             .base_term = 6,
                                             .whole_index = 3};
    vote->control_put = true;
    control_put(&vote->head, &vote->control);
    journal_append(w.journal, vote);
    write_some(&w, 80);
    lsn_no from = w.written.items[79].lsn;
    journal_release(w.journal, from);
    wait_oldest(&w, lsn_generation(from));
    close_journal(&w);
    ck_assert_msg(open_journal(&w, false) == 0, "%s", w.error);
    ck_assert_uint_eq(w.control.term, 9);
    ck_assert_uint_eq(w.control.vote, 2);
    ck_assert_uint_eq(w.control.kv_generation, 4);
    ck_assert_uint_eq(w.control.base_index, 5);
    ck_assert_uint_eq(w.control.base_term, 6);
    ck_assert_uint_eq(w.control.whole_index, 3);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/journal");
    TCase *tc = tcase_create("journal");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, records_come_back_in_order, 0, 2);
    tcase_add_test(tc, small_groups_are_written_by_the_caller);
    tcase_add_test(tc, a_large_record_gets_room);
    tcase_add_loop_test(tc, a_torn_end_is_an_end, 0, 24);
    tcase_add_loop_test(tc, damage_in_the_middle_is_refused, 0, 12);
    tcase_add_test(tc, the_mark_closes_the_chain);
    tcase_add_test(tc, a_damaged_tail_is_told);
    tcase_add_loop_test(tc, lost_segments_are_told, 0, 4);
    tcase_add_test(tc, an_empty_directory_is_no_log);
    tcase_add_test(tc, what_the_scan_found_is_synced_first);
    tcase_add_loop_test(tc, a_failed_sync_ends_the_process, 0, 12);
    tcase_add_test(tc, the_end_is_written_again);
    tcase_add_loop_test(tc, releases_give_space_back, 0, 2);
    tcase_add_test(tc, control_values_survive_releases);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
