#include "repl/io/blocks.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repl/base/block.h"
#include "repl/base/list.h"
#include "repl/base/mem.h"
#include "repl/base/vec.h"
#include "repl/io/file.h"
#include "repl/io/log.h"

/* Blocks this large go past the page cache: copying them into it costs more than all else that is
 * done with them, they would push out what is read, and what waits in it to be written back holds
 * up a vote (RULES S1). */
#define DIRECT_MIN BLOB_ALIGN_MIN

/* Not worth copying out: smaller segments than this just wait until they are empty. */
#define SPARSE_MIN (256u * 1024u)

enum { IDLE_MAX = 64 }; /* closed segments nobody uses just now whose files stay open */

struct range {
    uint32_t offset, size; /* whole pages */
    uint64_t epoch;        /* given back in; 0 in `live` */
};
typedef vec_of(struct range) range_vec;

struct block_segment {
    struct list link;
    struct list idle; /* in blocks.idle while its file is open for nobody */
    uint32_t number;
    uint32_t end;     /* where the next block would go */
    uint32_t live;    /* bytes wanted */
    uint32_t on_disk; /* bytes not punched out */
    uint32_t pins;
    bool closed;
    int fd;
    int direct_fd;     /* while it is written to; -1: the file system has no O_DIRECT */
    atomic_bool dirty; /* written since the last sync */
    range_vec dead;    /* given back, not punched yet */
    range_vec found;   /* recovery only: live ones, to know the gaps */
};

struct blocks {
    char *dir;
    uint32_t segment_size;
    uint32_t next_number;
    uint64_t epoch;
    struct list segments;
    struct list idle; /* least recently used first */
    size_t idle_count;
    struct block_segment *open;
    uint64_t on_disk, live;
};

static uint32_t pages_size(uint32_t size)
{
    return block_pages(size) * BLOCK_PAGE_SIZE;
}

static char *segment_file(const struct blocks *b, uint32_t number)
{
    return file_path(b->dir, "%08x.blk", number);
}

static struct block_segment *segment_add(struct blocks *b, uint32_t number)
{
    struct block_segment *s = xcalloc(1, sizeof(*s));
    s->number = number;
    s->fd = s->direct_fd = -1;
    list_init(&s->idle);
    list_push_back(&b->segments, &s->link);
    return s;
}

static void idle_end(struct blocks *b, struct block_segment *s)
{
    if (list_linked(&s->idle)) {
        list_remove(&s->idle);
        b->idle_count--;
    }
}

static void direct_end(struct block_segment *s)
{
    if (s->direct_fd >= 0)
        (void)close(s->direct_fd);
    s->direct_fd = -1;
}

static void segment_free(struct blocks *b, struct block_segment *s)
{
    direct_end(s);
    idle_end(b, s);
    list_remove(&s->link);
    if (s->fd >= 0)
        (void)close(s->fd);
    vec_done(&s->dead);
    vec_done(&s->found);
    free(s);
}

static struct block_segment *segment_find(const struct blocks *b, uint32_t number)
{
    list_each(it, &b->segments) {
        struct block_segment *s = list_entry(it, struct block_segment, link);
        if (s->number == number)
            return s;
    }
    return NULL;
}

int blocks_open(const char *dir, uint32_t segment_size, struct blocks **ret)
{
    assert(segment_size >= BLOCK_SIZE_MAX && segment_size % BLOCK_PAGE_SIZE == 0);
    DIR *d = opendir(dir);
    if (d == NULL)
        return -errno;
    struct blocks *b = xcalloc(1, sizeof(*b));
    b->dir = xstrdup(dir);
    b->segment_size = segment_size;
    b->next_number = 1;
    b->epoch = 1;
    list_init(&b->segments);
    list_init(&b->idle);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        uint32_t number;
        struct stat st;
        if (sscanf(e->d_name, "%8x.blk", &number) != 1 || number == 0 ||
            fstatat(dirfd(d), e->d_name, &st, 0) < 0 || st.st_size > (off_t)INT32_MAX)
            continue;
        struct block_segment *s = segment_add(b, number);
        s->end = (uint32_t)st.st_size / BLOCK_PAGE_SIZE * BLOCK_PAGE_SIZE +
                 (st.st_size % BLOCK_PAGE_SIZE ? BLOCK_PAGE_SIZE : 0);
        s->closed = true;
        s->on_disk = s->end;
        b->on_disk += s->end;
        if (number >= b->next_number)
            b->next_number = number + 1;
    }
    (void)closedir(d);
    *ret = b;
    return 0;
}

void blocks_free(struct blocks *b)
{
    if (b == NULL)
        return;
    while (!list_empty(&b->segments))
        segment_free(b, list_first(&b->segments, struct block_segment, link));
    free(b->dir);
    free(b);
}

static int open_new(struct blocks *b)
{
    char *path = segment_file(b, b->next_number);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : 0;
    /* The name must be durable before a record points into the file; fdatasync of the file alone
     * does not promise that. */
    if (rc == 0)
        rc = file_sync_dir(b->dir);
    if (rc == 0) {
        b->open = segment_add(b, b->next_number++);
        b->open->fd = fd;
        b->open->direct_fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
    } else if (fd >= 0) {
        (void)close(fd);
        (void)unlink(path);
    }
    free(path);
    return rc;
}

/* The next read is often of the same segment, so that some files stay open. */
static void fd_idle(struct blocks *b, struct block_segment *s)
{
    if (!s->closed || s->pins != 0)
        return;
    direct_end(s); /* nobody writes to it any more */
    if (s->fd < 0 || atomic_load(&s->dirty))
        return;
    idle_end(b, s);
    list_push_back(&b->idle, &s->idle);
    if (++b->idle_count <= IDLE_MAX)
        return;
    struct block_segment *oldest = list_first(&b->idle, struct block_segment, idle);
    idle_end(b, oldest);
    (void)close(oldest->fd);
    oldest->fd = -1;
}

void blocks_close_open(struct blocks *b)
{
    if (b->open == NULL)
        return;
    b->open->closed = true;
    fd_idle(b, b->open);
    b->open = NULL;
}

int blocks_take(struct blocks *b, uint32_t size, struct block_place *ret,
                struct block_segment **ret_segment)
{
    uint32_t room = pages_size(size);
    if (b->open != NULL && b->segment_size - b->open->end < room)
        blocks_close_open(b);
    if (b->open == NULL) {
        int rc = open_new(b);
        if (rc < 0)
            return rc;
    }
    struct block_segment *s = b->open;
    *ret = (struct block_place){.segment = s->number, .offset = s->end};
    s->end += room;
    s->live += room;
    s->on_disk += room;
    b->live += room;
    b->on_disk += room;
    s->pins++;
    *ret_segment = s;
    return 0;
}

void blocks_number_seen(struct blocks *b, uint32_t number)
{
    if (number >= b->next_number)
        b->next_number = number + 1;
}

int blocks_mark_live(struct blocks *b, struct block_place place, uint32_t size)
{
    struct block_segment *s = segment_find(b, place.segment);
    uint32_t room = pages_size(size);
    if (s == NULL || place.offset % BLOCK_PAGE_SIZE != 0 || place.offset > s->end ||
        s->end - place.offset < room)
        return -EINVAL;
    struct range r = {.offset = place.offset, .size = room};
    vec_push(&s->found, r);
    s->live += room;
    b->live += room;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

void blocks_recovered(struct blocks *b)
{
    list_each(it, &b->segments) {
        struct block_segment *s = list_entry(it, struct block_segment, link);
        if (s->found.count > 0)
            qsort(s->found.items, s->found.count, sizeof(*s->found.items), compare_ranges);
        uint32_t at = 0;
        for (size_t i = 0; i <= s->found.count; i++) {
            uint32_t until = i < s->found.count ? s->found.items[i].offset : s->end;
            if (until > at) {
                struct range gap = {.offset = at, .size = until - at, .epoch = b->epoch};
                vec_push(&s->dead, gap);
            }
            if (i < s->found.count && s->found.items[i].offset + s->found.items[i].size > at)
                at = s->found.items[i].offset + s->found.items[i].size;
        }
        vec_done(&s->found);
    }
}

void blocks_give_back(struct blocks *b, struct block_place place, uint32_t size)
{
    struct block_segment *s = segment_find(b, place.segment);
    assert(s != NULL);
    struct range r = {.offset = place.offset, .size = pages_size(size), .epoch = b->epoch};
    assert(s->live >= r.size);
    vec_push(&s->dead, r);
    s->live -= r.size;
    b->live -= r.size;
}

struct block_segment *blocks_pin(struct blocks *b, uint32_t segment)
{
    struct block_segment *s = segment_find(b, segment);
    if (s == NULL) {
        errno = ENOENT;
        return NULL;
    }
    if (s->fd < 0) {
        char *path = segment_file(b, segment);
        s->fd = open(path, O_RDWR | O_CLOEXEC);
        int error = errno;
        free(path);
        errno = error;
        if (s->fd < 0)
            return NULL;
    }
    idle_end(b, s);
    s->pins++;
    return s;
}

void blocks_unpin(struct blocks *b, struct block_segment *s)
{
    assert(s->pins > 0);
    s->pins--;
    fd_idle(b, s);
}

uint64_t blocks_epoch(struct blocks *b)
{
    return b->epoch++;
}

/* Punches what was given back up to `epoch`, neighbours merged into one hole. */
static void punch(struct blocks *b, struct block_segment *s, uint64_t epoch)
{
    qsort(s->dead.items, s->dead.count, sizeof(*s->dead.items), compare_ranges);
    size_t kept = 0;
    for (size_t i = 0; i < s->dead.count;) {
        struct range r = s->dead.items[i++];
        if (r.epoch > epoch) {
            s->dead.items[kept++] = r;
            continue;
        }
        while (i < s->dead.count && s->dead.items[i].epoch <= epoch &&
               s->dead.items[i].offset == r.offset + r.size)
            r.size += s->dead.items[i++].size;
        if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r.offset,
                      (off_t)r.size) < 0 &&
            errno != EOPNOTSUPP) {
            log_warn("TALLY-3011", "block segment %08x: punching failed: %s", s->number,
                     strerror(errno));
            r.epoch = 0;
            s->dead.items[kept++] = r;
            continue;
        }
        s->on_disk -= r.size;
        b->on_disk -= r.size;
    }
    s->dead.count = kept;
}

static bool any_dead(const struct block_segment *s, uint64_t epoch)
{
    for (size_t i = 0; i < s->dead.count; i++) {
        if (s->dead.items[i].epoch <= epoch)
            return true;
    }
    return false;
}

static bool all_dead(const struct block_segment *s, uint64_t epoch)
{
    for (size_t i = 0; i < s->dead.count; i++) {
        if (s->dead.items[i].epoch > epoch)
            return false;
    }
    return s->live == 0;
}

static bool may_shrink(const struct block_segment *s)
{
    /* A hole in the open segment would do no harm, but it is most often about to be closed. */
    return s->pins == 0 &&
           (s->closed ? s->live == 0 || s->dead.count > 0 : s->live == 0 && s->dead.count > 0);
}

bool blocks_reclaimable(const struct blocks *b)
{
    list_each(it, &b->segments) {
        if (may_shrink(list_entry(it, struct block_segment, link)))
            return true;
    }
    return false;
}

void blocks_reclaim(struct blocks *b, uint64_t epoch)
{
    list_each(it, &b->segments) {
        struct block_segment *s = list_entry(it, struct block_segment, link);
        if (!may_shrink(s))
            continue;
        if (all_dead(s, epoch)) {
            char *path = segment_file(b, s->number);
            if (unlink(path) < 0 && errno != ENOENT)
                log_warn("TALLY-3011", "block segment %08x: cannot remove: %s", s->number,
                         strerror(errno));
            free(path);
            b->on_disk -= s->on_disk;
            if (s == b->open)
                b->open = NULL;
            segment_free(b, s);
        } else if (any_dead(s, epoch) && blocks_pin(b, s->number) != NULL) {
            punch(b, s, epoch);
            blocks_unpin(b, s);
        }
    }
}

uint32_t blocks_find_sparse(struct blocks *b)
{
    list_each(it, &b->segments) {
        const struct block_segment *s = list_entry(it, struct block_segment, link);
        if (s->closed && s->live > 0 && s->end >= SPARSE_MIN && s->live < s->end / 4)
            return s->number;
    }
    return 0;
}

uint64_t blocks_size(const struct blocks *b)
{
    return b->on_disk;
}

uint64_t blocks_live(const struct blocks *b)
{
    return b->live;
}

static bool goes_direct(const struct block_segment *s, const void *data, uint32_t size)
{
    return s->direct_fd >= 0 && size >= DIRECT_MIN && size % BLOCK_PAGE_SIZE == 0 &&
           (uintptr_t)data % BLOCK_PAGE_SIZE == 0;
}

int blocks_write_cached(struct block_segment *s, uint32_t offset, const void *data, uint32_t size)
{
    int rc = file_write_at(s->fd, data, size, offset);
    if (rc == 0)
        atomic_store(&s->dirty, true);
    return rc;
}

int blocks_write(struct block_segment *s, uint32_t offset, const void *data, uint32_t size)
{
    int rc = -EINVAL; /* said by file systems that take O_DIRECT and want other alignments */
    if (goes_direct(s, data, size))
        rc = file_write_at(s->direct_fd, data, size, offset);
    if (rc != -EINVAL) {
        if (rc == 0)
            atomic_store(&s->dirty, true); /* the file's size, its map and the disk's cache */
        return rc;
    }
    rc = blocks_write_cached(s, offset, data, size);
    if (rc < 0)
        return rc;
    /* Starts write-back now, at the pace of arrival, so that the fdatasync before the log's group
     * finds little to do and no vote waits for bulk (RULES S1). Only a hint: errors show up in
     * fdatasync. */
    (void)sync_file_range(s->fd, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
    return 0;
}

int blocks_read(struct block_segment *s, uint32_t offset, void *data, uint32_t size)
{
    return file_read_at(s->fd, data, size, offset);
}

bool blocks_read_now(struct block_segment *s, uint32_t offset, void *data, uint32_t size)
{
    return file_read_now_at(s->fd, data, size, offset);
}

int blocks_write_back(struct block_segment *s)
{
    return file_sync(s->fd);
}

int blocks_sync(struct block_segment *s)
{
    /* Cleared first: what is written meanwhile is then dirty again. */
    if (!atomic_exchange(&s->dirty, false))
        return 0;
    return file_sync(s->fd);
}
