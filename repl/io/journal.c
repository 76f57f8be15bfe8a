#include "repl/io/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "repl/base/vec.h"
#include "repl/io/file.h"
#include "repl/io/journal_scan.h"
#include "repl/io/log.h"
#include "repl/io/record.h"
#include "repl/io/segment.h"

enum {
    FLUSH_SAMPLES = 1024,
    /* After this long without work the chain is closed by a mark (RULES S3). */
    IDLE_MARK_MS = 20,
    RETRY_MS = 500,
    SPARES_MAX = 2,
    /* What the loop's thread writes by itself: so much at a time. Its peers hear nothing meanwhile,
     * so a group that took longer leaves the next ones to the journal's thread, and more of them
     * each time that the first one after them is slow as well. */
    HERE_BYTES_MAX = 128 * 1024,
    HERE_SLOW_US = 2000,
    HERE_PAUSE_MIN = 8,
    HERE_PAUSE_MAX = 4096,
};

struct journal {
    struct journal_config config;
    char *dir;
    pthread_mutex_t lock;
    pthread_cond_t work;     /* for the journal thread: queue, stop */
    pthread_cond_t prepare;  /* for the preparing thread: next is wanted, something is released */
    pthread_cond_t prepared; /* for the journal thread: next is there */
    pthread_t writer, preparer;
    bool started, stop, stop_preparer;

    /* Under `lock`. */
    struct list queue;   /* items kicked */
    struct list written; /* items to report */
    bool writing, marking;
    unsigned pause, next_pause; /* so many groups are left to the thread: now, next time */
    uint64_t wrote_at;          /* when the last group was */
    segment_vec segments;       /* oldest first; the last one is being written */
    struct segment next;        /* prepared, generation 0: none */
    uint32_t next_size;         /* smallest size wanted for it */
    bool no_space;              /* the last preparation failed for want of space */
    uint32_t room;              /* left in the current segment */
    uint64_t queued;            /* bytes in `queue` and being written */
    bool waiting;               /* the writer needs a segment that is not there yet */
    lsn_no release;
    vec_of(uint32_t) spares;
    struct journal_stats stats;
    uint32_t samples[FLUSH_SAMPLES];

    /* Writer's thread only, after the start. */
    struct segment current;
    uint32_t offset; /* where the next group goes */
    uint64_t salt;
    lsn_no end;  /* of the last group */
    bool marked; /* the last group is a mark */
    struct journal_control control;
    struct bytes_writer headers;
    vec_of(struct iovec) parts;

    /* Loop's thread only. */
    struct list pending; /* appended, not kicked */
    lsn_no synced;
};

_Noreturn void journal_die(const char *what, int error)
{
    log_error("TALLY-3002", "log: %s failed: %s: ending, since what is on disk is unknown", what,
              strerror(-error));
    _exit(EXIT_FAILURE);
}

static uint64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, int ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += (long)ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(cond, lock, &t);
}

struct journal_item *journal_item_new(enum record_kind kind)
{
    struct journal_item *item = xcalloc(1, sizeof(*item));
    list_init(&item->link);
    item->kind = kind;
    return item;
}

void journal_item_free(struct journal_item *item)
{
    if (item == NULL)
        return;
    bytes_writer_done(&item->head);
    blob_unref(item->payload);
    blob_unref(item->tail);
    free(item);
}

/* ---- the preparing thread -------------------------------------------------------------------- */

/* Takes released segments off the list and recycles or removes them. Called and left with the lock.
 */
static void release_some(struct journal *j)
{
    while (j->segments.count > 1 && j->segments.items[0].generation < lsn_generation(j->release)) {
        struct segment old = j->segments.items[0];
        j->segments.count--;
        memmove(j->segments.items, j->segments.items + 1,
                j->segments.count * sizeof(*j->segments.items));
        bool keep =
            j->config.recycle && old.size == j->config.segment_size && j->spares.count < SPARES_MAX;
        (void)pthread_mutex_unlock(&j->lock);
        int rc = keep ? segment_set_aside(j->dir, old.generation)
                      : segment_remove(j->dir, old.generation);
        /* Oldest first, each durably: the log never has a gap (journal_scan). */
        if (rc == 0)
            rc = file_sync_dir(j->dir);
        if (rc < 0)
            journal_die("releasing a segment", rc);
        (void)pthread_mutex_lock(&j->lock);
        if (keep)
            vec_push(&j->spares, old.generation);
    }
}

static void prepare_next(struct journal *j)
{
    uint32_t generation = j->segments.items[j->segments.count - 1].generation + 1;
    uint32_t size = j->next_size > j->config.segment_size ? j->next_size : j->config.segment_size;
    uint32_t spare = 0;
    if (size == j->config.segment_size && j->spares.count > 0)
        spare = vec_pop(&j->spares);
    (void)pthread_mutex_unlock(&j->lock);
    struct segment made;
    int rc = segment_make(&j->config, generation, size, spare, &made);
    if (rc < 0 && rc != -ENOSPC && rc != -EDQUOT)
        journal_die("making a segment", rc);
    (void)pthread_mutex_lock(&j->lock);
    if (rc == 0) {
        j->next = made;
        j->no_space = false;
        (void)pthread_cond_signal(&j->prepared);
        return;
    }
    if (!j->no_space)
        log_error("TALLY-3003", "log: no space for a new segment");
    j->no_space = true;
    (void)pthread_cond_signal(&j->prepared); /* who waits for it may have to give up */
    (void)wait_ms(&j->prepare, &j->lock, RETRY_MS);
}

static void *preparer_main(void *arg)
{
    struct journal *j = arg;
    (void)pthread_mutex_lock(&j->lock);
    while (!j->stop_preparer) {
        release_some(j);
        /* It let go of the lock: a signal may have come while nobody waited for it. */
        if (j->stop_preparer)
            break;
        if (j->next.generation == 0)
            prepare_next(j);
        else
            (void)pthread_cond_wait(&j->prepare, &j->lock);
    }
    release_some(j); /* what was released just before the end: a witness's bytes must go */
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- the writing thread ---------------------------------------------------------------------- */

static uint32_t item_size(const struct journal_item *item)
{
    size_t head = item->head.size + (item->payload ? item->payload->size : 0);
    return record_size((uint32_t)head, item->tail ? item->tail->size : 0);
}

/* The next prepared segment becomes the current one; at least `size` bytes fit into it. Waits for
 * space as long as it takes; false: the journal is to end, and there is none. */
static bool roll(struct journal *j, uint32_t size)
{
    uint32_t want = align_up(SEGMENT_HEADER_SIZE + size, GROUP_ALIGN);
    (void)pthread_mutex_lock(&j->lock);
    j->next_size = want;
    for (;;) {
        if (j->next.generation != 0 && j->next.size >= want)
            break;
        if (j->stop && j->no_space) {
            (void)pthread_mutex_unlock(&j->lock);
            return false;
        }
        if (j->next.generation != 0) {
            /* Too small for this one record: make another under the same generation. */
            (void)close(j->next.fd);
            int rc = segment_remove(j->dir, j->next.generation);
            if (rc < 0)
                journal_die("removing a segment", rc);
            j->next = (struct segment){0};
        }
        (void)pthread_cond_signal(&j->prepare);
        j->waiting = true;
        (void)pthread_cond_wait(&j->prepared, &j->lock);
        j->waiting = false;
    }
    j->segments.items[j->segments.count - 1].fd = -1;
    if (j->current.fd >= 0)
        (void)close(j->current.fd);
    j->current = j->next;
    vec_push(&j->segments, j->next);
    j->next = (struct segment){0};
    j->next_size = 0;
    (void)pthread_cond_signal(&j->prepare);
    (void)pthread_mutex_unlock(&j->lock);
    j->offset = SEGMENT_HEADER_SIZE;
    j->salt = segment_salt(j->config.cluster, j->config.node, j->current.generation);
    return true;
}

static void sync_blocks(struct journal *j, struct list *items)
{
    void *last = NULL;
    list_each(it, items) {
        struct journal_item *item = list_entry(it, struct journal_item, link);
        if (item->sync_first == NULL || item->sync_first == last)
            continue;
        last = item->sync_first;
        int rc = j->config.sync(j->config.ctx, last);
        if (rc < 0)
            journal_die("fdatasync of blocks", rc);
    }
}

static void part_add(struct journal *j, const void *data, size_t size)
{
    if (size > 0) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
        vec_push(&j->parts, part);
    }
}

/* Lays out one record at `at` bytes into the group; `header` is room for its header. */
static void put_record(struct journal *j, struct journal_item *item, uint32_t at, uint8_t *header)
{
    static const uint8_t zeros[RECORD_ALIGN];
    struct bytes head = {item->head.data, item->head.size};
    struct bytes payload = {0}, tail = {0};
    if (item->payload)
        payload = (struct bytes){item->payload->data, item->payload->size};
    if (item->tail)
        tail = (struct bytes){item->tail->data, item->tail->size};
    item->lsn = lsn_make(j->current.generation, j->offset + at);
    record_header_put(header, item->kind, item->flags, item->lsn, head, payload, tail, j->salt);
    part_add(j, header, RECORD_HEADER_SIZE);
    part_add(j, head.data, head.size);
    part_add(j, payload.data, payload.size);
    part_add(j, tail.data, tail.size);
    part_add(j, zeros, item_size(item) - RECORD_HEADER_SIZE - head.size - payload.size - tail.size);
}

/* Writes `items` as one group and syncs it. A group that begins a segment starts with a control
 * record of what holds before it (RULES S2). False: no space, and the journal is to end. */
static bool write_group(struct journal *j, struct list *items, uint32_t size, uint32_t count)
{
    static const uint8_t zeros[GROUP_ALIGN];
    struct journal_item *first = list_first(items, struct journal_item, link);
    struct journal_item *control = NULL;
    uint32_t control_size = record_size(CONTROL_HEAD_SIZE, 0);
    size += GROUP_HEADER_SIZE;
    bool fits = align_up(size, GROUP_ALIGN) <= j->current.size - j->offset;
    if (((first && first->roll) || !fits) && !roll(j, size + control_size))
        return false;
    if (j->offset == SEGMENT_HEADER_SIZE) {
        control = journal_item_new(RECORD_CONTROL);
        control_put(&control->head, &j->control);
        size += control_size;
        count++;
    }
    bytes_writer_clear(&j->headers);
    uint8_t *headers = bytes_put_room(&j->headers, GROUP_HEADER_SIZE + count * RECORD_HEADER_SIZE);
    struct group_header g = {
        .lsn = lsn_make(j->current.generation, j->offset),
        .prev_end = j->end,
        .size = size,
        .records = count,
    };
    group_header_put(headers, &g, j->salt);
    j->parts.count = 0;
    part_add(j, headers, GROUP_HEADER_SIZE);
    headers += GROUP_HEADER_SIZE;
    uint32_t at = GROUP_HEADER_SIZE;
    if (control != NULL) {
        put_record(j, control, at, headers);
        at += control_size;
        headers += RECORD_HEADER_SIZE;
    }
    list_each(it, items) {
        struct journal_item *item = list_entry(it, struct journal_item, link);
        put_record(j, item, at, headers);
        at += item_size(item);
        headers += RECORD_HEADER_SIZE;
        if (item->control_put)
            j->control = item->control;
    }
    assert(at == size);
    part_add(j, zeros, align_up(size, GROUP_ALIGN) - size);
    int rc = file_writev_durably_at(j->current.fd, j->parts.items, (int)j->parts.count, j->offset);
    if (rc < 0)
        journal_die("write or flush", rc);
    journal_item_free(control);
    j->offset += align_up(size, GROUP_ALIGN);
    j->end = lsn_make(j->current.generation, j->offset);
    return true;
}

/* Moves items from the queue until the group is big enough. With the lock. */
static uint32_t gather(struct journal *j, struct list *items, uint32_t *ret_count)
{
    uint32_t size = 0, count = 0;
    while (!list_empty(&j->queue)) {
        struct journal_item *item = list_first(&j->queue, struct journal_item, link);
        if (count > 0 && (item->roll || size + item_size(item) > j->config.segment_size / 4))
            break;
        list_remove(&item->link);
        list_push_back(items, &item->link);
        size += item_size(item);
        count++;
    }
    *ret_count = count;
    return size;
}

static void write_mark(struct journal *j)
{
    struct list items;
    list_init(&items);
    struct journal_item *mark = journal_item_new(RECORD_MARK);
    list_push_back(&items, &mark->link);
    (void)write_group(j, &items, item_size(mark), 1); /* without space there is no closing mark */
    list_remove(&mark->link);
    journal_item_free(mark);
    j->marked = true;
}

static void note_took(struct journal *j, uint64_t start)
{
    j->wrote_at = now_us();
    uint64_t took = j->wrote_at - start;
    j->samples[j->stats.groups++ % FLUSH_SAMPLES] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    if (j->pause > 0)
        j->pause--;
    else if (took <= HERE_SLOW_US)
        j->next_pause = HERE_PAUSE_MIN;
    else {
        j->pause = j->next_pause;
        j->next_pause = j->pause < HERE_PAUSE_MAX ? 2 * j->pause : HERE_PAUSE_MAX;
    }
}

/* One group, from the queue to `written`. Called and left with the lock. False: no space, and the
 * journal is to end; what was queued is never reported. */
static bool write_some(struct journal *j)
{
    struct list items;
    list_init(&items);
    uint32_t count;
    uint32_t size = gather(j, &items, &count);
    j->writing = true;
    (void)pthread_mutex_unlock(&j->lock);
    uint64_t start = now_us();
    sync_blocks(j, &items);
    bool done = write_group(j, &items, size, count);
    (void)pthread_mutex_lock(&j->lock);
    if (!done) {
        while (!list_empty(&items)) {
            struct list *it = items.prev;
            list_remove(it);
            list_push_front(&j->queue, it);
        }
        j->writing = false;
        return false;
    }
    j->marked = false;
    j->queued -= size;
    note_took(j, start);
    j->stats.records += count;
    j->room = j->current.size - j->offset;
    for (struct list *it = list_pop_front(&items); it != NULL; it = list_pop_front(&items))
        list_push_back(&j->written, it);
    j->writing = false;
    return true;
}

static void *writer_main(void *arg)
{
    struct journal *j = arg;
    (void)pthread_mutex_lock(&j->lock);
    for (;;) {
        if (j->writing) { /* the loop does, and signals nobody; a mark may be due behind it */
            (void)wait_ms(&j->work, &j->lock, IDLE_MARK_MS);
            continue;
        }
        if (!list_empty(&j->queue)) {
            if (!write_some(j))
                break;
            (void)pthread_mutex_unlock(&j->lock);
            j->config.wake(j->config.ctx);
            (void)pthread_mutex_lock(&j->lock);
            continue;
        }
        if (j->marked && j->stop)
            break;
        if (j->marked) {
            (void)pthread_cond_wait(&j->work, &j->lock);
            continue;
        }
        if (!j->stop && wait_ms(&j->work, &j->lock, IDLE_MARK_MS) != ETIMEDOUT)
            continue;
        bool idle = j->stop || now_us() - j->wrote_at >= IDLE_MARK_MS * 1000;
        if (!list_empty(&j->queue) || j->writing || !idle)
            continue;
        if (j->no_space && j->next.generation == 0) {
            j->marked = true; /* what room is left is for votes */
            continue;
        }
        j->marking = true;
        (void)pthread_mutex_unlock(&j->lock);
        write_mark(j);
        (void)pthread_mutex_lock(&j->lock);
        j->marking = false;
        j->room = j->current.size - j->offset;
    }
    (void)pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* ---- opening --------------------------------------------------------------------------------- */

static struct journal *journal_new(const struct journal_config *config)
{
    struct journal *j = xcalloc(1, sizeof(*j));
    j->dir = xstrdup(config->dir);
    j->config = *config;
    j->config.dir = j->dir;
    j->current.fd = -1;
    j->next_pause = HERE_PAUSE_MIN;
    list_init(&j->queue);
    list_init(&j->written);
    list_init(&j->pending);
    (void)pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&j->work, &attr);
    (void)pthread_cond_init(&j->prepare, &attr);
    (void)pthread_cond_init(&j->prepared, &attr);
    (void)pthread_condattr_destroy(&attr);
    return j;
}

/* A new segment behind the end, beginning with a synced control record: from now on a torn group
 * that was at the end is known to have been the end, since this group chains from before it. */
static int start_segment(struct journal *j, uint32_t generation)
{
    int rc = segment_make(&j->config, generation, j->config.segment_size, 0, &j->current);
    if (rc < 0)
        return rc;
    vec_push(&j->segments, j->current);
    j->offset = SEGMENT_HEADER_SIZE;
    j->salt = segment_salt(j->config.cluster, j->config.node, generation);
    struct list none;
    list_init(&none);
    (void)write_group(j, &none, 0, 0); /* it fits: no roll */
    j->marked = true;
    j->synced = j->end;
    j->room = j->current.size - j->offset;
    return 0;
}

int journal_open(const struct journal_config *config, bool create, struct journal_control *control,
                 journal_visit_fn *visit, void *visit_ctx, struct journal **ret, char *error,
                 size_t error_size)
{
    assert(config->segment_size % GROUP_ALIGN == 0 && config->segment_size >= 8 * GROUP_ALIGN);
    struct journal *j = journal_new(config);
    int rc = 0;
    if (!create) {
        rc = journal_scan(&j->config, control, visit, visit_ctx, &j->segments, &j->end, error,
                          error_size);
        if (rc < 0)
            goto out;
    }
    j->control = *control;
    rc = start_segment(j, create ? 1 : lsn_generation(j->end) + 1);
    if (rc < 0) {
        (void)snprintf(error, error_size, "cannot make a log segment: %s", strerror(-rc));
        goto out;
    }
    if (pthread_create(&j->writer, NULL, writer_main, j) != 0 ||
        pthread_create(&j->preparer, NULL, preparer_main, j) != 0)
        abort();
    j->started = true;
    *ret = j;
    return 0;
out:
    journal_free(j);
    return rc;
}

void journal_stop(struct journal *j)
{
    if (!j->started)
        return;
    journal_kick(j);
    (void)pthread_mutex_lock(&j->lock);
    j->stop = true;
    (void)pthread_cond_signal(&j->work);
    (void)pthread_cond_signal(&j->prepared);
    (void)pthread_mutex_unlock(&j->lock);
    (void)pthread_join(j->writer, NULL);
    (void)pthread_mutex_lock(&j->lock);
    j->stop_preparer = true;
    (void)pthread_cond_signal(&j->prepare);
    (void)pthread_mutex_unlock(&j->lock);
    (void)pthread_join(j->preparer, NULL);
    j->started = false;
}

static void cancel_item(struct journal_item *item)
{
    if (item->cancel)
        item->cancel(item->ctx);
    journal_item_free(item);
}

static void free_items(struct list *items)
{
    for (struct list *it = list_pop_front(items); it != NULL; it = list_pop_front(items))
        cancel_item(list_entry(it, struct journal_item, link));
}

void journal_free(struct journal *j)
{
    if (j == NULL)
        return;
    journal_stop(j);
    free_items(&j->queue);
    free_items(&j->written);
    free_items(&j->pending);
    if (j->current.fd >= 0)
        (void)close(j->current.fd);
    if (j->next.generation != 0)
        (void)close(j->next.fd);
    vec_done(&j->segments);
    vec_done(&j->spares);
    vec_done(&j->parts);
    bytes_writer_done(&j->headers);
    (void)pthread_mutex_destroy(&j->lock);
    (void)pthread_cond_destroy(&j->work);
    (void)pthread_cond_destroy(&j->prepare);
    (void)pthread_cond_destroy(&j->prepared);
    free(j->dir);
    free(j);
}

/* ---- the loop's side ------------------------------------------------------------------------- */

void journal_append(struct journal *j, struct journal_item *item)
{
    list_push_back(&j->pending, &item->link);
}

void journal_kick(struct journal *j)
{
    if (list_empty(&j->pending))
        return;
    (void)pthread_mutex_lock(&j->lock);
    for (struct list *it = list_pop_front(&j->pending); it != NULL;
         it = list_pop_front(&j->pending)) {
        j->queued += item_size(list_entry(it, struct journal_item, link));
        list_push_back(&j->queue, it);
    }
    (void)pthread_mutex_unlock(&j->lock);
    if (!j->config.started)
        (void)pthread_cond_signal(&j->work); /* after it: who wakes up must not find it locked */
}

/* With the lock. What rolls needs a segment that may have to be made first, and blocks to be synced
 * may be many. */
static bool may_write_here(const struct journal *j)
{
    if (j->writing || j->marking || j->stop || j->pause > 0 || j->queued > HERE_BYTES_MAX ||
        align_up(GROUP_HEADER_SIZE + (uint32_t)j->queued, GROUP_ALIGN) > j->room)
        return false;
    list_each(it, &j->queue) {
        const struct journal_item *item = list_entry(it, struct journal_item, link);
        if (item->roll || item->sync_first)
            return false;
    }
    return true;
}

bool journal_start(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    bool some = !list_empty(&j->queue), here = some && may_write_here(j), asleep = j->marked;
    if (here)
        (void)write_some(j); /* there is room */
    (void)pthread_mutex_unlock(&j->lock);
    /* After this one the thread is to close the chain when nothing follows. */
    if (some && (!here || asleep))
        (void)pthread_cond_signal(&j->work);
    return here;
}

void journal_poll(struct journal *j)
{
    for (;;) {
        (void)pthread_mutex_lock(&j->lock);
        struct list *it = list_pop_front(&j->written);
        (void)pthread_mutex_unlock(&j->lock);
        if (it == NULL)
            return;
        struct journal_item *item = list_entry(it, struct journal_item, link);
        /* Everything after this record has a higher LSN, and everything before was reported. */
        j->synced = item->lsn + item_size(item);
        if (item->done)
            item->done(item->ctx, item, item->lsn);
        journal_item_free(item);
    }
}

bool journal_busy(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    bool busy = !list_empty(&j->pending) || !list_empty(&j->queue) || j->writing ||
                !list_empty(&j->written);
    (void)pthread_mutex_unlock(&j->lock);
    return busy;
}

lsn_no journal_synced(const struct journal *j)
{
    return j->synced;
}

bool journal_stuck(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    bool stuck = j->waiting && j->no_space && list_empty(&j->written);
    (void)pthread_mutex_unlock(&j->lock);
    return stuck;
}

bool journal_full(struct journal *j, uint64_t size)
{
    (void)pthread_mutex_lock(&j->lock);
    bool full = j->no_space && j->next.generation == 0 &&
                j->room < j->config.segment_size / 2 + j->queued + size;
    (void)pthread_mutex_unlock(&j->lock);
    return full;
}

void journal_release(struct journal *j, lsn_no lsn)
{
    (void)pthread_mutex_lock(&j->lock);
    if (lsn > j->release) {
        j->release = lsn;
        (void)pthread_cond_signal(&j->prepare);
    }
    (void)pthread_mutex_unlock(&j->lock);
}

uint32_t journal_oldest(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    uint32_t generation = j->segments.items[0].generation;
    if (generation < lsn_generation(j->release))
        generation = lsn_generation(j->release);
    (void)pthread_mutex_unlock(&j->lock);
    return generation;
}

uint32_t journal_newest(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    uint32_t generation = j->segments.items[j->segments.count - 1].generation;
    (void)pthread_mutex_unlock(&j->lock);
    return generation;
}

uint64_t journal_size(struct journal *j)
{
    (void)pthread_mutex_lock(&j->lock);
    uint64_t size = j->spares.count * (uint64_t)j->config.segment_size;
    for (size_t i = 0; i < j->segments.count; i++)
        size += j->segments.items[i].size;
    if (j->next.generation != 0)
        size += j->next.size;
    (void)pthread_mutex_unlock(&j->lock);
    return size;
}

uint32_t journal_tail_offset(uint32_t head_size)
{
    return RECORD_HEADER_SIZE + head_size;
}

int journal_open_segment(struct journal *j, uint32_t generation)
{
    char *path = segment_path(j->dir, generation);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fd = -errno;
    free(path);
    return fd;
}

int journal_read(struct journal *j, lsn_no lsn, struct journal_record *record, struct blob **ret)
{
    int fd = journal_open_segment(j, lsn_generation(lsn));
    if (fd < 0)
        return fd;
    uint8_t header[RECORD_HEADER_SIZE];
    uint32_t head_size, tail_size;
    struct blob *b = NULL;
    int rc = file_read_at(fd, header, sizeof(header), lsn_offset(lsn));
    if (rc < 0)
        goto out;
    record_sizes(header, &head_size, &tail_size);
    off_t file_size = lseek(fd, 0, SEEK_END);
    uint64_t size = (uint64_t)RECORD_HEADER_SIZE + head_size + tail_size;
    if (file_size < 0 || lsn_offset(lsn) + size > (uint64_t)file_size) {
        rc = -EBADMSG;
        goto out;
    }
    b = blob_new(size);
    rc = file_read_at(fd, b->data, size, lsn_offset(lsn));
    uint64_t salt = segment_salt(j->config.cluster, j->config.node, lsn_generation(lsn));
    if (rc == 0 && !record_get(b->data, size, lsn, salt, record))
        rc = -EBADMSG;
out:
    (void)close(fd);
    if (rc == 0)
        *ret = b;
    else
        blob_unref(b);
    return rc;
}

void journal_reader_done(struct journal_reader *reader)
{
    blob_unref(reader->bytes);
    *reader = (struct journal_reader){0};
}

static int read_segment(struct journal *j, struct journal_reader *reader, uint32_t generation)
{
    journal_reader_done(reader);
    int fd = journal_open_segment(j, generation);
    if (fd < 0)
        return fd;
    off_t size = lseek(fd, 0, SEEK_END);
    int rc = size < 0 ? -errno : 0;
    if (rc == 0) {
        reader->bytes = blob_new((size_t)size);
        rc = file_read_at(fd, reader->bytes->data, (size_t)size, 0);
    }
    (void)close(fd);
    if (rc == 0)
        reader->generation = generation;
    else
        journal_reader_done(reader);
    return rc;
}

int journal_read_next(struct journal *j, struct journal_reader *reader, lsn_no lsn,
                      struct journal_record *record)
{
    uint32_t generation = lsn_generation(lsn), offset = lsn_offset(lsn), head_size, tail_size;
    int rc = reader->generation == generation ? 0 : read_segment(j, reader, generation);
    if (rc < 0)
        return rc;
    uint32_t left = reader->bytes->size > offset ? reader->bytes->size - offset : 0;
    if (left < RECORD_HEADER_SIZE)
        return -EBADMSG;
    record_sizes(reader->bytes->data + offset, &head_size, &tail_size);
    uint64_t size = (uint64_t)RECORD_HEADER_SIZE + head_size + tail_size;
    uint64_t salt = segment_salt(j->config.cluster, j->config.node, generation);
    if (size > left || !record_get(reader->bytes->data + offset, (size_t)size, lsn, salt, record))
        return -EBADMSG;
    return 0;
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void journal_stats(struct journal *j, struct journal_stats *ret)
{
    uint32_t samples[FLUSH_SAMPLES];
    (void)pthread_mutex_lock(&j->lock);
    *ret = j->stats;
    size_t count = j->stats.groups < FLUSH_SAMPLES ? (size_t)j->stats.groups : FLUSH_SAMPLES;
    memcpy(samples, j->samples, count * sizeof(*samples));
    (void)pthread_mutex_unlock(&j->lock);
    if (count == 0)
        return;
    qsort(samples, count, sizeof(*samples), compare_samples);
    ret->flush_p50_us = samples[count / 2];
    ret->flush_p99_us = samples[count * 99 / 100];
}
