#include "repl/io/store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/journal_scan.h"
#include "repl/io/log.h"
#include "repl/io/store_internal.h"

enum {
    THREADS = 2,
    LOG_SEGMENT_COPY = 16 << 20,
    LOG_SEGMENT_MIN = 1 << 20, /* RULES S5 */
    BLOCK_SEGMENT_COPY = 64 << 20,
    BLOCK_SEGMENT_WITNESS = 4 << 20,
    SPACE_YOUNG_MS = 100,
    RESERVE_SHARE = 16,
    IDENTITY_MAX = 256,
};
#define RESERVE_MAX ((uint64_t)1 << 30)
#define SPACE_AMPLE ((uint64_t)1 << 30)

/* A completion without work behind it. */
struct soon {
    struct list link;
    store_done_fn *done;
    void *ctx;
    int status;
};

char *store_kv_dir(const struct store *s, uint32_t generation)
{
    return file_path(s->dir, "kv.%u", generation);
}

void store_soon(struct store *s, store_done_fn *done, void *ctx, int status)
{
    if (!done)
        return;
    struct soon *soon = xmalloc(sizeof *soon);
    *soon = (struct soon){.done = done, .ctx = ctx, .status = status};
    list_push_back(&s->soon, &soon->link);
    if (s->config.wake)
        s->config.wake(s->config.wake_ctx);
}

struct journal_item *store_control_item(struct store *s, enum record_kind kind)
{
    struct journal_item *item = journal_item_new(kind);
    control_put(&item->head, &s->control);
    item->control = s->control;
    item->control_put = true;
    return item;
}

/* ---- identity -------------------------------------------------------------------------------- */

static int fail(char *error, size_t size, int rc, const char *what)
{
    if (error[0] == '\0')
        (void)snprintf(error, size, "%s: %s", what, strerror(-rc));
    return rc;
}

static void identity_text(const struct store_config *c, char *text, size_t size)
{
    char hex[33];
    for (int i = 0; i < 16; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", c->cluster[i]);
    (void)snprintf(text, size, "tally store 1\ncluster %s\nnode %u\nkind %s\n", hex, c->node,
                   c->kind == STORE_COPY ? "copy" : "witness");
}

/* 1: it is ours; 0: there is none. */
static int identity_check(const struct store *s, char *error, size_t size)
{
    char want[IDENTITY_MAX], have[IDENTITY_MAX + 1] = "";
    char *path = file_path(s->dir, "identity");
    int rc = file_slurp(path, have, IDENTITY_MAX);
    free(path);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return fail(error, size, rc, "its identity cannot be read");
    identity_text(&s->config, want, sizeof want);
    if (strcmp(want, have) == 0)
        return 1;
    for (char *p = have; *p; p++)
        if (*p == '\n')
            *p = ' ';
    (void)snprintf(error, size, "it belongs to somebody else (it says: %s)", have);
    return -EPERM;
}

static int identity_write(const struct store *s)
{
    char text[IDENTITY_MAX];
    char *path = file_path(s->dir, "identity");
    identity_text(&s->config, text, sizeof text);
    int rc = file_sync_dir(s->dir); /* what an identity stands for has its names before it has */
    if (rc == 0)
        rc = file_replace(path, text, strlen(text));
    free(path);
    return rc;
}

/* ---- the directory --------------------------------------------------------------------------- */

static int make_dirs(const char *path)
{
    char *copy = xstrdup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(copy, 0755);
        *p = '/';
    }
    int rc = mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
    /* Its name must survive a power cut as well as what is in it: a store that vanished would be
     * made anew under its old id (RULES B7). */
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    if (rc == 0)
        rc = file_sync_dir(slash ? copy : ".");
    free(copy);
    return rc;
}

/* Leftovers of a creation that never finished may be cleared away; anything else may not. */
static bool only_leftovers(const char *dir)
{
    DIR *d = opendir(dir);
    bool ours = d != NULL;
    for (struct dirent *e = d ? readdir(d) : NULL; e && ours; e = readdir(d)) {
        const char *n = e->d_name;
        ours = strcmp(n, ".") == 0 || strcmp(n, "..") == 0 || strcmp(n, "lock") == 0 ||
               strcmp(n, "log") == 0 || strcmp(n, "blocks") == 0 || strncmp(n, "kv.", 3) == 0 ||
               strcmp(n, "lost+found") == 0 || strncmp(n, "identity.", 9) == 0;
    }
    if (d)
        (void)closedir(d);
    return ours;
}

static int take_lock(struct store *s, char *error, size_t size)
{
    char *path = file_path(s->dir, "lock");
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (s->lock_fd < 0)
        return fail(error, size, -errno, "its lock cannot be made");
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    (void)snprintf(error, size, "another process has it open; is this node running already?");
    return -EBUSY;
}

static int promises_something(void *ctx, const struct journal_record *record)
{
    (void)ctx;
    return record->kind == RECORD_CONTROL || record->kind == RECORD_MARK ? 0 : -EEXIST;
}

/* A directory without an identity may be cleared when a creation never finished: the identity is
 * its last act, so nobody was answered before it. A log that says more than a creation writes has
 * lost its identity, and must not begin again under its old id (RULES B7). */
static int check_unfinished(const struct store *s, char *error, size_t size)
{
    struct journal_config jc = {.dir = s->log_dir, .node = s->config.node};
    struct journal_control control = {0};
    segment_vec segments = {0};
    uint32_t *generations = NULL;
    char why[256];
    lsn_no end;
    memcpy(jc.cluster, s->config.cluster, sizeof jc.cluster);
    int count = segment_list(s->log_dir, &generations);
    if (count == 0 || count == -ENOENT)
        return 0;
    if (count < 0)
        return fail(error, size, count, "its log cannot be listed");
    bool young = generations[0] == 1 && count <= 2; /* the second one is made ahead of use */
    free(generations);
    int rc =
        journal_scan(&jc, &control, promises_something, NULL, &segments, &end, why, sizeof why);
    bool unfinished = young && (rc == -ESTALE || (rc == 0 && segments.count == 1));
    vec_done(&segments);
    if (unfinished)
        return 0;
    (void)snprintf(error, size,
                   "it has a log but no identity: it must not begin again under its old id");
    return -ESTALE;
}

/* 1: a new store is to be made; 0: one is there. */
static int open_dir(struct store *s, char *error, size_t size)
{
    struct stat st;
    if (stat(s->dir, &st) < 0) {
        if (errno != ENOENT || !s->config.create)
            return fail(error, size, -errno, "it cannot be opened");
        int rc = make_dirs(s->dir);
        if (rc < 0)
            return fail(error, size, rc, "it cannot be made");
    }
    if (!only_leftovers(s->dir)) {
        char *path = file_path(s->dir, "identity");
        bool store = access(path, F_OK) == 0;
        free(path);
        if (!store) {
            (void)snprintf(error, size, "it is no store, and not empty");
            return -EEXIST;
        }
    }
    int rc = take_lock(s, error, size);
    if (rc < 0)
        return rc;
    rc = identity_check(s, error, size);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (!s->config.create) {
        (void)snprintf(error, size, "there is no store in it");
        return -ENOENT;
    }
    rc = check_unfinished(s, error, size);
    if (rc < 0)
        return rc;
    char *kv = store_kv_dir(s, 1);
    rc = file_remove_tree(s->log_dir);
    if (rc == 0)
        rc = file_remove_tree(s->blocks_dir);
    if (rc == 0)
        rc = file_remove_tree(kv);
    free(kv);
    if (rc == 0 && (mkdir(s->log_dir, 0700) < 0 || mkdir(s->blocks_dir, 0700) < 0))
        rc = -errno;
    return rc < 0 ? fail(error, size, rc, "it cannot be made") : 1;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static uint32_t log_segment_size(const struct store_config *c)
{
    if (c->log_segment_size)
        return c->log_segment_size;
    if (c->kind == STORE_WITNESS)
        return LOG_SEGMENT_MIN;
    /* what is written between two flushes fits into a quarter of the reserve */
    uint64_t share = c->capacity ? c->capacity / 256 : LOG_SEGMENT_COPY;
    if (share > LOG_SEGMENT_COPY)
        share = LOG_SEGMENT_COPY;
    if (share < LOG_SEGMENT_MIN)
        share = LOG_SEGMENT_MIN;
    return (uint32_t)share / 4096 * 4096;
}

static struct store *store_new(const struct store_config *config)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->config = *config;
    s->dir = xstrdup(config->dir);
    s->config.dir = s->dir;
    s->config.log_segment_size = log_segment_size(config);
    if (!s->config.block_segment_size)
        s->config.block_segment_size =
            config->kind == STORE_COPY ? BLOCK_SEGMENT_COPY : BLOCK_SEGMENT_WITNESS;
    s->log_dir = file_path(s->dir, "log");
    s->blocks_dir = file_path(s->dir, "blocks");
    s->lock_fd = s->moving_fd = -1;
    list_init(&s->soon);
    return s;
}

static void store_free(struct store *s)
{
    pool_free(s->pool);
    store_forget_log_file(s);
    journal_free(s->journal);
    pending_free_all(s);
    index_done(&s->index);
    kv_close(s->aside); /* only when the end came in the middle of a switch */
    free(s->switching);
    if (s->own_kv)
        kv_close(s->kv);
    if (s->moving_fd >= 0)
        (void)close(s->moving_fd);
    store_moves_free(s);
    blocks_free(s->blocks);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    vec_done(&s->entries);
    vec_done(&s->flush_waiters);
    vec_done(&s->flush_next);
    vec_done(&s->needed);
    map_done(&s->pending);
    free(s->blocks_dir);
    free(s->log_dir);
    free(s->dir);
    free(s);
}

static void recovered_info(const struct store *s, bool created, struct store_recovered *info)
{
    *info = (struct store_recovered){.created = created,
                                     .term = s->control.term,
                                     .vote = s->control.vote,
                                     .base_index = s->base,
                                     .base_term = s->control.base_term,
                                     .last_index = log_last(s),
                                     .applied = s->applied,
                                     .whole_index = s->control.whole_index,
                                     .entries_damaged = s->entries_damaged};
    if (getrandom(&info->store_boot, sizeof info->store_boot, 0) != sizeof info->store_boot)
        info->store_boot = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
}

int store_open(const struct store_config *config, struct store **ret, struct store_recovered *info,
               char *error, size_t error_size)
{
    struct store *s = store_new(config);
    error[0] = '\0';
    int rc = open_dir(s, error, error_size);
    bool create = rc == 1;
    if (rc >= 0)
        rc = blocks_open(s->blocks_dir, s->config.block_segment_size, &s->blocks);
    if (rc >= 0) {
        s->pool = pool_new(THREADS, s->config.wake ? s->config.wake : store_wake_nobody,
                           s->config.wake_ctx);
        rc = store_recover(s, create, error, error_size);
    }
    if (rc >= 0 && create)
        rc = identity_write(s);
    if (rc < 0) {
        (void)fail(error, error_size, rc, "it cannot be opened");
        store_free(s);
        return rc;
    }
    recovered_info(s, create, info);
    *ret = s;
    return 0;
}

void store_on_durable(struct store *s, store_durable_fn *fn, void *ctx)
{
    s->on_durable = fn;
    s->on_durable_ctx = ctx;
}

static void run_soon(struct store *s)
{
    struct list *item;
    while ((item = list_pop_front(&s->soon)) != NULL) {
        struct soon *soon = container_of(item, struct soon, link);
        soon->done(soon->ctx, soon->status);
        free(soon);
    }
}

void store_poll(struct store *s)
{
    run_soon(s);
    journal_poll(s->journal);
    pool_poll(s->pool);
    journal_kick(s->journal); /* records that completions asked for */
}

bool store_start(struct store *s)
{
    return s->config.started && journal_start(s->journal);
}

/* False: what is left waits for space that is not there. */
static bool drain(struct store *s, bool give_up)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000};
    journal_kick(s->journal);
    while (pool_busy(s->pool) || journal_busy(s->journal) || !list_empty(&s->soon)) {
        store_poll(s);
        (void)store_start(s);
        if (give_up && !pool_busy(s->pool) && list_empty(&s->soon) && journal_stuck(s->journal))
            return false;
        (void)nanosleep(&pause, NULL); /* tests and shutdown only: nobody waits for a wakeup here */
    }
    return true;
}

void store_drain(struct store *s)
{
    (void)drain(s, false);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (!drain(s, true))
        log_warn("TALLY-3016", "no space for the end of the log: what is not durable is given up");
    if (!s->switching) /* else its record is what waits: the next start removes what was built */
        store_snapshot_abort(s);
    index_settle(&s->index);
    if (s->config.kind == STORE_COPY && kv_flush(s->kv) < 0)
        log_warn("TALLY-3012", "the applied state could not be flushed; the log has it");
    journal_stop(s->journal);
    store_free(s);
}

struct kv *store_kv(struct store *s)
{
    return s->kv;
}

/* ---- space ----------------------------------------------------------------------------------- */

struct space {
    uint64_t total, room, reserve; /* the reserve is part of `room` */
};

static uint64_t coarse_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Space is asked for with every entry that is applied. A disk with so much left does not fill up
 * while an answer is this young. */
static void look_at_disk(struct store *s)
{
    struct statvfs v;
    uint64_t now = coarse_ms();
    if (s->disk_left > SPACE_AMPLE && now - s->disk_looked_ms < SPACE_YOUNG_MS)
        return;
    s->disk_looked_ms = now;
    s->disk_size = s->disk_left = UINT64_MAX;
    if (statvfs(s->dir, &v) == 0) {
        s->disk_size = (uint64_t)v.f_blocks * v.f_frsize;
        s->disk_left = (uint64_t)v.f_bavail * v.f_frsize;
    }
}

static struct space space_of(struct store *s)
{
    look_at_disk(s);
    uint64_t disk = s->disk_size, left = s->disk_left;
    uint64_t total = s->config.capacity && s->config.capacity < disk ? s->config.capacity : disk;
    uint64_t reserve = s->config.reserve ? s->config.reserve : total / RESERVE_SHARE;
    if (!s->config.reserve && reserve > RESERVE_MAX)
        reserve = RESERVE_MAX;
    uint64_t used = blocks_size(s->blocks) + journal_size(s->journal);
    uint64_t room = total > used ? total - used : 0;
    if (s->config.capacity == 0 || left < room)
        room = left;
    return (struct space){total, room, reserve};
}

void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_free)
{
    struct space p = space_of(s);
    *ret_total = p.total > p.reserve ? p.total - p.reserve : 0;
    *ret_free = p.room > p.reserve ? p.room - p.reserve : 0;
}

bool store_has_room(struct store *s, uint32_t size)
{
    struct space p = space_of(s);
    return p.room >= p.reserve / 2 + size;
}

uint64_t store_block_bytes(const struct store *s)
{
    return blocks_size(s->blocks);
}

void store_stats(struct store *s, struct store_stats *ret)
{
    struct journal_stats j;
    journal_stats(s->journal, &j);
    *ret = (struct store_stats){.log_bytes = journal_size(s->journal),
                                .block_bytes = blocks_size(s->blocks),
                                .blocks_pending = s->pending_count,
                                .groups = j.groups,
                                .records = j.records,
                                .flush_p50_us = j.flush_p50_us,
                                .flush_p99_us = j.flush_p99_us,
                                .damaged = s->damaged};
}
