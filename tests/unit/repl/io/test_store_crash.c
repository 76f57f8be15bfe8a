/* Where the store is cut off or refused something: a crash in the middle of a switch or a move, a
 * lost identity, no space, no file descriptors. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/io/store_world.h"

/* ---- snapshots (RULES B7) -------------------------------------------------------------------- */

static void fill_snapshot(struct world *w, const char *value)
{
    struct kv_batch batch = {0};
    ck_assert_int_eq(store_snapshot_begin(w->store), 0);
    kv_batch_put(&batch, STORE_TABLE_STATE, "k", 1, value, strlen(value));
    ck_assert_int_eq(kv_write(store_snapshot_kv(w->store), &batch), 0);
    kv_batch_done(&batch);
}

static void commit_snapshot(struct world *w, uint64_t index, uint64_t term)
{
    w->status = 1;
    kv_txn_free(w->txn);
    w->txn = NULL;
    store_snapshot_commit(w->store, index, term, on_status, w);
}

static void end_snapshot(struct world *w)
{
    store_drain(w->store);
    ck_assert_int_eq(w->status, 0);
    w->txn = kv_txn_new(store_kv(w->store));
}

/* A crash between the commit and the switch comes back to the old state, with its blocks. */
START_TEST(a_switch_cut_off_leaves_the_old_blocks)
{
    struct world w;
    struct block_ref inl = ref_of(1, 5000), part = ref_of(2, 200000), lacking = ref_of(3, 5000);
    world_make(&w, STORE_COPY);
    pid_t child = fork();
    if (child == 0) {
        if (open_store(&w) < 0)
            _exit(1);
        put(&w, &part);
        (void)write_entry(&w, 1, 1, &inl, true, 1);
        (void)write_entry(&w, 2, 1, &part, false, 2);
        (void)write_entry(&w, 3, 1, &lacking, false, 3);
        store_drain(w.store);
        apply(&w, 3);
        fill_snapshot(&w, "new");
        commit_snapshot(&w, 50, 3);
        (void)kv_flush(store_kv(w.store));
        (void)kill(getpid(), SIGKILL);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert_uint_eq(w.info.last_index, 3);
    ck_assert_int_eq(read_back(&w, &inl), 0);
    ck_assert_int_eq(read_back(&w, &part), 0);
    ck_assert_uint_eq(store_missing_count(w.store), 1);
    world_close(&w);
}
END_TEST

/* The replica keeps entries above a snapshot that its log contains: they may be acknowledged. */
START_TEST(entries_above_a_snapshot_stay)
{
    struct world w;
    struct block_ref above = ref_of(5, 5000);
    struct found f = {0};
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 5; i++)
        ck_assert_int_eq(write_entry(&w, i, 1, i == 5 ? &above : NULL, true, 0), 0);
    store_drain(w.store);
    fill_snapshot(&w, "new");
    commit_snapshot(&w, 3, 1);
    end_snapshot(&w);
    ck_assert_int_eq(write_entry(&w, 6, 1, NULL, false, 0), 0);
    store_drain(w.store);
    ck_assert_uint_eq(w.durable, w.ticket);
    ck_assert_int_eq(read_back(&w, &above), 0);
    reopen(&w);
    ck_assert_uint_eq(w.info.base_index, 3);
    ck_assert_uint_eq(w.info.last_index, 6);
    ck_assert_uint_eq(w.info.applied, 3);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_uint_eq(f.count, 3);
    ck_assert_int_eq(read_back(&w, &above), 0);
    world_close(&w);
}
END_TEST

/* Entries the replica writes before it hears of the switch are reported; those the snapshot
 * includes or contradicts leave nothing behind, those that follow it stay. */
START_TEST(entries_during_a_switch)
{
    struct world w;
    const uint64_t old_term = 1, base_term = 3;
    world_open(&w, STORE_COPY);
    for (uint64_t i = 1; i <= 4; i++)
        ck_assert_int_eq(write_entry(&w, i, old_term, NULL, false, 0), 0);
    store_drain(w.store);
    fill_snapshot(&w, "new");
    commit_snapshot(&w, 6, base_term);
    ck_assert_int_eq(write_entry(&w, 5, old_term, NULL, false, 0), 0); /* before the record */
    end_snapshot(&w);
    ck_assert_int_eq(write_entry(&w, 6, old_term, NULL, false, 0), 0); /* contradicted */
    ck_assert_int_eq(write_entry(&w, 7, old_term, NULL, false, 0), 0);
    ck_assert_int_eq(write_entry(&w, 8, old_term, NULL, false, 0), 0);
    store_drain(w.store);
    ck_assert_uint_eq(w.durable, w.ticket);
    reopen(&w);
    ck_assert_uint_eq(w.info.base_index, 6);
    ck_assert_uint_eq(w.info.last_index, 6);
    fill_snapshot(&w, "newer");
    commit_snapshot(&w, 9, base_term);
    end_snapshot(&w);
    struct entry *batch[] = {entry_of(9, base_term, NULL, false),
                             entry_of(10, base_term, NULL, false)};
    ck_assert_int_eq(store_write_entries(w.store, ++w.ticket, batch, 2, 0), 0);
    entry_unref(batch[0]);
    entry_unref(batch[1]);
    store_drain(w.store);
    ck_assert_uint_eq(w.durable, w.ticket);
    reopen(&w);
    ck_assert_uint_eq(w.info.base_index, 9);
    ck_assert_uint_eq(w.info.last_index, 10);
    world_close(&w);
}
END_TEST

/* The state that is flushed must not be closed under the flush. */
START_TEST(a_switch_waits_for_a_flush)
{
    struct world w;
    world_open(&w, STORE_COPY);
    ck_assert_int_eq(write_entry(&w, 1, 1, NULL, false, 1), 0);
    store_drain(w.store);
    for (uint64_t i = 0; i < 20000; i++)
        kv_txn_put(w.txn, STORE_TABLE_STATE, &i, sizeof i, w.dir, sizeof w.dir);
    apply(&w, 1);
    fill_snapshot(&w, "new");
    store_flush(w.store, on_status, &w);
    struct world second = {.status = 1};
    commit_snapshot(&w, 50, 3);
    store_flush(w.store, on_status, &second);
    end_snapshot(&w);
    ck_assert_int_eq(second.status, 0);
    ck_assert_uint_eq(store_durable_applied(w.store), 50);
    world_close(&w);
}
END_TEST

/* ---- a witness's move (RULES S5) ------------------------------------------------------------- */

struct copies {
    char dir[64];
    int count;
};

static void link_aside(const char *path, void *ctx)
{
    struct copies *c = ctx;
    char *to = file_path(c->dir, "%s", strrchr(path, '/') + 1);
    ck_assert_int_eq(link(path, to), 0);
    free(to);
    c->count++;
}

static void link_back(const char *path, void *ctx)
{
    const struct world *w = ctx;
    char *to = file_path(w->dir, "log/%s", strrchr(path, '/') + 1);
    (void)link(path, to); /* those still there stay */
    free(to);
}

/* Old segments go oldest first; a crash may leave any number of the newer ones. */
START_TEST(a_release_cut_off_loses_no_entry)
{
    struct world w;
    struct copies aside = {.dir = "/tmp/tally-aside-XXXXXX"};
    struct found f = {0};
    world_open(&w, STORE_WITNESS);
    ck_assert_ptr_nonnull(mkdtemp(aside.dir));
    for (uint64_t i = 1; i <= 50; i++) {
        struct block_ref inl = ref_of(i, 60000);
        ck_assert_int_eq(write_entry(&w, i, 1, &inl, true, 0), 0);
        store_drain(w.store);
    }
    ck_assert_int_ge(each_file(&w, "log", ".log", link_aside, &aside), 3);
    store_demote(w.store, 45);
    store_drain(w.store);
    close_store(&w);
    struct world there = {0};
    (void)snprintf(there.dir, sizeof there.dir, "%s", aside.dir);
    /* all old ones, then without the oldest, and so on */
    for (int left = aside.count; left > 0; left--) {
        memset(&f, 0, sizeof f);
        (void)each_file(&there, "", ".log", link_back, &w);
        ck_assert_msg(open_store(&w) == 0, "%d left: %s", left, w.error);
        ck_assert_uint_eq(w.info.base_index, 0);
        ck_assert_uint_eq(w.info.last_index, 50);
        ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
        ck_assert_uint_eq(f.count, 50);
        ck_assert(!f.bytes[45] && f.bytes[46]);
        close_store(&w);
        char first[64] = "~";
        DIR *d = opendir(aside.dir);
        for (struct dirent *e = readdir(d); e; e = readdir(d))
            if (e->d_name[0] != '.' && strcmp(e->d_name, first) < 0)
                (void)snprintf(first, sizeof first, "%.60s", e->d_name);
        (void)closedir(d);
        char *gone[] = {file_path(aside.dir, "%s", first), file_path(w.dir, "log/%s", first)};
        (void)unlink(gone[0]);
        (void)unlink(gone[1]);
        free(gone[0]);
        free(gone[1]);
    }
    ck_assert_int_eq(file_remove_tree(aside.dir), 0);
    world_close(&w);
}
END_TEST

/* The space of what it drops is given back before the old segments go: what they say of it must not
 * count any more. */
START_TEST(a_release_cut_off_brings_no_place_back)
{
    struct world w;
    struct copies aside = {.dir = "/tmp/tally-aside-XXXXXX"};
    struct block_ref gone = ref_of(1, 200000), stays = ref_of(2, 200000);
    world_open(&w, STORE_WITNESS);
    ck_assert_ptr_nonnull(mkdtemp(aside.dir));
    put(&w, &gone);
    put(&w, &stays);
    ck_assert_int_eq(write_entry(&w, 1, 1, &gone, false, 0), 0);
    ck_assert_int_eq(write_entry(&w, 2, 1, &stays, false, 0), 0);
    store_drain(w.store);
    (void)each_file(&w, "log", ".log", link_aside, &aside);
    store_demote(w.store, 1);
    store_drain(w.store);
    close_store(&w);
    struct world there = {0};
    (void)snprintf(there.dir, sizeof there.dir, "%s", aside.dir);
    (void)each_file(&there, "", ".log", link_back, &w);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert(!store_has(w.store, &gone));
    ck_assert_int_eq(read_back(&w, &stays), 0);
    ck_assert_int_eq(file_remove_tree(aside.dir), 0);
    world_close(&w);
}
END_TEST

/* ---- identity (RULES B7) --------------------------------------------------------------------- */

START_TEST(a_log_without_identity_is_not_made_anew)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, _i ? STORE_COPY : STORE_WITNESS);
    store_write_vote(w.store, ++w.ticket, 7, 2);
    ck_assert_int_eq(write_entry(&w, 1, 7, &a, true, 0), 0);
    close_store(&w);
    char *identity = file_path(w.dir, "identity"), *aside = file_path(w.dir, "identity.bak");
    ck_assert_int_eq(rename(identity, aside), 0);
    ck_assert_int_eq(open_store(&w), -ESTALE);
    ck_assert_ptr_nonnull(strstr(w.error, "old id"));
    ck_assert_int_eq(rename(aside, identity), 0); /* and nothing was cleared away */
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert_uint_eq(w.info.term, 7);
    ck_assert_int_eq(read_back(&w, &a), 0);
    free(identity);
    free(aside);
    world_close(&w);
}
END_TEST

START_TEST(a_creation_cut_off_is_made_again)
{
    struct world w;
    world_open(&w, STORE_COPY);
    close_store(&w);
    char *identity = file_path(w.dir, "identity");
    ck_assert_int_eq(unlink(identity), 0);
    free(identity);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert(w.info.created);
    world_close(&w);
}
END_TEST

/* ---- other bytes under a name (RULES B1) ----------------------------------------------------- */

START_TEST(other_bytes_under_a_name_count_as_missing)
{
    struct world w;
    struct block_ref right = ref_of(1, 50000), wrong = ref_of(2, 50000);
    world_open(&w, STORE_COPY);
    struct blob *bytes = bytes_of(2, 50000);
    wrong.name = right.name;
    store_put(w.store, &wrong, bytes, 0, on_status, &w);
    if (_i)
        store_drain(w.store); /* else it is still being written */
    ck_assert_int_eq(write_entry(&w, 1, 1, &right, false, 0), -ENODATA);
    ck_assert_int_eq(write_entry(&w, 1, 1, &right, false, 1), 0);
    store_drain(w.store);
    ck_assert(store_is_missing(w.store, right.name));
    ck_assert(!store_has(w.store, &wrong));
    store_put(w.store, &wrong, bytes, 0, on_status, &w);
    store_drain(w.store);
    ck_assert_int_eq(w.status, -EBADMSG);
    put(&w, &right);
    ck_assert_int_eq(w.status, 0);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    reopen(&w);
    ck_assert_int_eq(read_back(&w, &right), 0);
    blob_unref(bytes);
    world_close(&w);
}
END_TEST

/* ---- no file descriptors --------------------------------------------------------------------- */

static struct rlimit limit_files(rlim_t more)
{
    struct rlimit old, low;
    int fd = dup(0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)fd + more;
    (void)close(fd);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    return old;
}

/* Nothing is wrong with the bytes: they must not become missing. */
START_TEST(too_many_open_files_are_no_damage)
{
    struct world w;
    struct block_ref a = ref_of(1, 5000);
    world_open(&w, STORE_COPY);
    ck_assert_int_eq(write_entry(&w, 1, 1, &a, true, 0), 0);
    store_drain(w.store);
    struct rlimit old = limit_files(0);
    ck_assert_int_eq(read_back(&w, &a), -EIO);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_uint_eq(store_missing_count(w.store), 0);
    ck_assert_int_eq(read_back(&w, &a), 0);
    world_close(&w);
}
END_TEST

/* Entries 1 to `count`, each with a small block in the log. */
static void write_small(struct world *w, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        struct block_ref small = ref_of(i, 1500);
        ck_assert_int_eq(write_entry(w, i, 1, &small, true, i), 0);
        if (i % 50 == 0)
            store_drain(w->store);
    }
}

/* The log gives up what it can of them. */
static void release_small(struct world *w, uint64_t count)
{
    for (int round = 0; round < 8; round++) {
        store_flush(w->store, on_status, w);
        store_drain(w->store);
        store_truncate(w->store, count - 1);
        store_drain(w->store);
    }
}

/* Small files' bytes leave a log segment a thousand at a time. */
START_TEST(moving_out_of_the_log_needs_few_files)
{
    enum { ENTRIES = 2000, LIVE = 600 };
    struct world w;
    struct store_stats before, after;
    world_open(&w, STORE_COPY);
    struct rlimit old = limit_files(64);
    write_small(&w, ENTRIES);
    store_drain(w.store);
    apply(&w, ENTRIES);
    store_stats(w.store, &before);
    release_small(&w, ENTRIES);
    store_stats(w.store, &after);
    ck_assert_uint_gt(after.block_bytes, 0);
    ck_assert_uint_eq(after.damaged, 0);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct block_ref small = ref_of(i, 1500);
        if (i % (ENTRIES / LIVE) == 0)
            ck_assert_int_eq(read_back(&w, &small), 0);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    reopen(&w);
    for (uint64_t i = 1; i <= ENTRIES; i += 97) {
        struct block_ref small = ref_of(i, 1500);
        ck_assert_int_eq(read_back(&w, &small), 0);
    }
    world_close(&w);
}
END_TEST

struct spoiling {
    const struct block_ref *ref;
    bool done;
};

/* Turns a bit of a block's bytes in this file, if they are there: once, others look the same. */
static void spoil(const char *path, void *ctx)
{
    struct spoiling *what = ctx;
    struct blob *bytes = bytes_of(what->ref->name.n, what->ref->size);
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    static char all[1 << 20];
    size_t size = fread(all, 1, sizeof all, f);
    (void)fclose(f);
    const char *found = memmem(all, size, bytes->data, bytes->size);
    off_t at = found ? found - all + 700 : 0;
    blob_unref(bytes);
    if (found && !what->done)
        flip(path, &at);
    what->done |= found != NULL;
}

START_TEST(one_damaged_block_moves_alone)
{
    /* Goal: of those that leave the log at once only the damaged one counts as missing. */
    enum { ENTRIES = 2000, BAD = 100 };
    struct world w;
    struct store_stats stats;
    struct block_ref bad = ref_of(BAD, 1500);
    world_open(&w, STORE_COPY);
    write_small(&w, ENTRIES);
    apply(&w, ENTRIES);
    struct spoiling what = {&bad, false};
    (void)each_file(&w, "log", ".log", spoil, &what);
    release_small(&w, ENTRIES);
    store_stats(w.store, &stats);
    ck_assert_uint_gt(stats.block_bytes, 0);
    ck_assert_uint_eq(stats.damaged, 1);
    unsigned missing = 0;
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct block_ref small = ref_of(i, 1500);
        missing += store_is_missing(w.store, small.name);
        ck_assert_int_eq(read_back(&w, &small),
                         store_is_missing(w.store, small.name) ? -ENOENT : 0);
    }
    ck_assert_uint_eq(missing, 1);
    world_close(&w);
}
END_TEST

/* ---- no space (RULES B13) -------------------------------------------------------------------- */

struct full {
    atomic_bool full;
    atomic_uint segments; /* so many were refused, ... */
    struct world *world;  /* which is woken by that */
};

/* A disk on which new log segments and block files cannot grow; what is prewritten can be used. */
static int full_disk(void *ctx, enum file_call call, int fd)
{
    struct full *disk = ctx;
    char link[64], path[256];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (!disk->full || call != FILE_WRITE || n < 0)
        return 0;
    path[n] = '\0';
    const char *end = strrchr(path, '/');
    bool segment = strcmp(end, "/new") == 0 || strstr(end, ".spare");
    if (segment) {
        disk->segments++;
        wake(disk->world);
    }
    return segment || strstr(end, ".blk") ? -ENOSPC : 0;
}

/* Until all is durable; or, true, so many more segments were refused. */
static bool settle_or_refused(struct full *disk, unsigned segments)
{
    struct world *w = disk->world;
    unsigned refused = disk->segments;
    for (;;) {
        unsigned seen = w->wakes;
        store_poll(w->store);
        if (w->durable == w->ticket)
            return false;
        if (disk->segments - refused >= segments)
            return true;
        wait_wake(w, seen);
    }
}

static void settle(struct full *disk)
{
    (void)settle_or_refused(disk, UINT_MAX);
}

/* Until nothing finds room any more. */
static void fill_log(struct full *disk)
{
    struct world *w = disk->world;
    do {
        w->ticket++;
        store_write_vote(w->store, w->ticket, w->ticket, 2);
        /* The first may have been under way when the vote came. */
    } while (!settle_or_refused(disk, 2));
}

START_TEST(a_full_disk_gives_errors_and_no_loss)
{
    struct world w;
    struct full disk = {.world = &w};
    struct block_ref held = ref_of(1000, 300000), refused = ref_of(1001, 300000);
    uint64_t written = 0, term = 1;
    struct found f = {0};
    int rc = 0;
    world_open(&w, STORE_COPY);
    put(&w, &held);
    ck_assert_int_eq(write_entry(&w, 1, 1, &held, false, 0), 0);
    store_drain(w.store);
    file_fault_set(full_disk, &disk);
    disk.full = true;
    put(&w, &refused);
    ck_assert_int_eq(w.status, -ENOSPC);
    ck_assert(!store_has(w.store, &refused));
    for (written = 1; rc == 0 && written < 500;) {
        struct block_ref inl = ref_of(written + 1, 40000);
        rc = write_entry(&w, written + 1, 1, &inl, true, 0);
        written += rc == 0;
        w.ticket -= rc < 0;
        settle(&disk);
    }
    ck_assert_int_eq(rc, -ENOSPC);
    ck_assert_uint_gt(written, 10);
    for (; term <= 20; term++) { /* votes still find room */
        store_write_vote(w.store, ++w.ticket, term, 2);
        settle(&disk);
    }
    if (_i) /* until nothing finds room any more: closing does not hang */
        fill_log(&disk);
    close_store(&w);
    disk.full = false;
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert_uint_ge(w.info.term, 20);
    ck_assert_uint_eq(w.info.last_index, written);
    ck_assert_int_eq(store_load_entries(w.store, load_found, &f), 0);
    ck_assert_int_eq(read_back(&w, &held), 0);
    for (uint64_t i = 2; i <= written; i++) {
        struct block_ref inl = ref_of(i, 40000);
        ck_assert_int_eq(read_back(&w, &inl), 0);
    }
    put(&w, &refused); /* and it goes on when there is space again */
    ck_assert_int_eq(w.status, 0);
    ck_assert_int_eq(write_entry(&w, written + 1, 30, &refused, false, 0), 0);
    store_drain(w.store);
    ck_assert_uint_eq(w.durable, w.ticket);
    file_fault_set(NULL, NULL);
    world_close(&w);
}
END_TEST

/* The record that switches waits for room that is not there: the old state is what is left. */
START_TEST(a_full_disk_ends_a_switch)
{
    struct world w;
    struct full disk = {.world = &w, .full = true};
    world_open(&w, STORE_COPY);
    ck_assert_int_eq(write_entry(&w, 1, 1, NULL, false, 0), 0);
    store_drain(w.store);
    file_fault_set(full_disk, &disk);
    fill_log(&disk);
    fill_snapshot(&w, "new");
    commit_snapshot(&w, 6, 2);
    close_store(&w);
    file_fault_set(NULL, NULL);
    ck_assert_msg(open_store(&w) == 0, "%s", w.error);
    ck_assert_uint_eq(w.info.base_index, 0);
    ck_assert_uint_eq(w.info.last_index, 1);
    world_close(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/store_crash");
    TCase *tc = tcase_create("crash");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_switch_cut_off_leaves_the_old_blocks);
    tcase_add_test(tc, entries_above_a_snapshot_stay);
    tcase_add_test(tc, entries_during_a_switch);
    tcase_add_test(tc, a_switch_waits_for_a_flush);
    tcase_add_test(tc, a_release_cut_off_loses_no_entry);
    tcase_add_test(tc, a_release_cut_off_brings_no_place_back);
    tcase_add_loop_test(tc, a_log_without_identity_is_not_made_anew, 0, 2);
    tcase_add_test(tc, a_creation_cut_off_is_made_again);
    tcase_add_loop_test(tc, other_bytes_under_a_name_count_as_missing, 0, 2);
    tcase_add_test(tc, too_many_open_files_are_no_damage);
    tcase_add_test(tc, moving_out_of_the_log_needs_few_files);
    tcase_add_test(tc, one_damaged_block_moves_alone);
    tcase_add_loop_test(tc, a_full_disk_gives_errors_and_no_loss, 0, 2);
    tcase_add_test(tc, a_full_disk_ends_a_switch);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
