#include "repl/io/journal_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/log.h"
#include "repl/io/record.h"

/* One segment in memory. */
struct image {
    uint32_t generation;
    uint32_t size;
    uint64_t salt;
    uint8_t *data;
};

struct scan {
    const struct journal_config *config;
    uint32_t *generations;
    int count;
    struct image image;
    struct group_header last; /* the last good group */
    struct journal_control *control;
    journal_visit_fn *visit;
    void *ctx;
    char *error;
    size_t error_size;
};

static int image_load(struct scan *s, uint32_t generation)
{
    if (s->image.data != NULL && s->image.generation == generation)
        return 0;
    free(s->image.data);
    s->image = (struct image){.generation = generation};
    char *path = segment_path(s->config->dir, generation);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    struct stat st;
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0 && st.st_size > (off_t)INT32_MAX)
        rc = -EBADMSG;
    if (rc == 0) {
        s->image.size = (uint32_t)st.st_size;
        s->image.salt = segment_salt(s->config->cluster, s->config->node, generation);
        s->image.data = xmalloc(s->image.size);
        rc = file_read_at(fd, s->image.data, s->image.size, 0);
    }
    if (fd >= 0)
        (void)close(fd);
    if (rc < 0)
        (void)snprintf(s->error, s->error_size, "log segment %08x: cannot read it", generation);
    return rc;
}

enum group_state {
    GROUP_NONE,         /* no group header here */
    GROUP_BAD,          /* a header, but a record is cut off or damaged */
    GROUP_DAMAGED_TAIL, /* only inline bytes are damaged; the names are known */
    GROUP_GOOD,
};

static enum group_state group_check(const struct image *m, uint32_t offset,
                                    struct group_header *ret)
{
    lsn_no lsn = lsn_make(m->generation, offset);
    if (offset > m->size || m->size - offset < GROUP_HEADER_SIZE ||
        !group_header_get(m->data + offset, lsn, m->salt, ret))
        return GROUP_NONE;
    if (ret->size > m->size - offset)
        return GROUP_BAD;
    enum group_state state = GROUP_GOOD;
    uint32_t at = GROUP_HEADER_SIZE;
    for (uint32_t i = 0; i < ret->records; i++) {
        struct journal_record record;
        if (at > ret->size ||
            !record_get(m->data + offset + at, ret->size - at, lsn + at, m->salt, &record))
            return GROUP_BAD;
        if (record.tail_damaged)
            state = GROUP_DAMAGED_TAIL;
        at += record_size(record.head_size, record.tail_size);
    }
    return state;
}

static lsn_no group_end(const struct group_header *g)
{
    return g->lsn + align_up(g->size, GROUP_ALIGN);
}

/* The first good group at or behind `offset` of segment number `k`. 1 found, 0 none, or an error.
 */
static int find_next(struct scan *s, int *k, uint32_t *offset, struct group_header *ret)
{
    for (; *k < s->count; (*k)++, *offset = SEGMENT_HEADER_SIZE) {
        int rc = image_load(s, s->generations[*k]);
        if (rc < 0)
            return rc;
        for (; *offset < s->image.size; *offset += GROUP_ALIGN) {
            enum group_state state = group_check(&s->image, *offset, ret);
            if (state == GROUP_GOOD || state == GROUP_DAMAGED_TAIL)
                return 1;
        }
    }
    return 0;
}

static int visit_group(struct scan *s, const struct group_header *g)
{
    uint32_t at = GROUP_HEADER_SIZE;
    uint32_t offset = lsn_offset(g->lsn);
    for (uint32_t i = 0; i < g->records; i++) {
        struct journal_record record;
        if (!record_get(s->image.data + offset + at, g->size - at, g->lsn + at, s->image.salt,
                        &record))
            return -EBADMSG; /* group_check has seen it good */
        if (record.kind == RECORD_CONTROL && !control_get(&record, s->control))
            return -EBADMSG;
        int rc = s->visit(s->ctx, &record);
        if (rc < 0)
            return rc;
        at += record_size(record.head_size, record.tail_size);
    }
    return 0;
}

static int damaged(struct scan *s, lsn_no from, lsn_no later)
{
    (void)snprintf(s->error, s->error_size,
                   "the log is damaged at %08x:%08x, below a later valid group at %08x:%08x",
                   lsn_generation(from), lsn_offset(from), lsn_generation(later),
                   lsn_offset(later));
    return -EBADMSG;
}

/* Follows the chain. A group that is bad or not there ends the log unless a later one is valid:
 * that one was written after everything it chains from was synced, so it must chain from where we
 * are. */
static int follow(struct scan *s, lsn_no *ret_end)
{
    struct group_header g;
    uint32_t offset = SEGMENT_HEADER_SIZE;
    int k = 0;
    int rc = image_load(s, s->generations[0]);
    if (rc < 0)
        return rc;
    /* The head of the log: without it nobody knows what this node has promised (RULES B7). */
    enum group_state state = group_check(&s->image, offset, &g);
    if (state == GROUP_NONE || state == GROUP_BAD) {
        (void)snprintf(s->error, s->error_size,
                       "the head of the log (segment %08x) is lost: this store must not return "
                       "under its old id",
                       s->generations[0]);
        return -ESTALE;
    }
    lsn_no end = g.prev_end;
    for (;;) {
        int found_k = k;
        uint32_t found_offset = offset;
        rc = find_next(s, &found_k, &found_offset, &g);
        if (rc <= 0)
            break;
        if (g.prev_end != end)
            return damaged(s, end, g.lsn);
        if (group_check(&s->image, found_offset, &g) == GROUP_DAMAGED_TAIL) {
            /* Torn or damaged? Damaged only if something later chains from its end. */
            struct group_header later = {0};
            int k2 = found_k;
            uint32_t offset2 = found_offset + align_up(g.size, GROUP_ALIGN);
            rc = find_next(s, &k2, &offset2, &later);
            if (rc < 0)
                return rc;
            if (rc > 0 && later.prev_end != group_end(&g) && later.prev_end != end)
                return damaged(s, g.lsn, later.lsn);
            if (rc == 0 || later.prev_end != group_end(&g)) {
                k = found_k;
                offset = found_offset + GROUP_ALIGN;
                if (rc == 0)
                    break;
                continue;
            }
            rc = image_load(s, s->generations[found_k]);
            if (rc < 0)
                return rc;
        }
        rc = visit_group(s, &g);
        if (rc < 0) {
            if (s->error[0] == '\0')
                (void)snprintf(s->error, s->error_size, "log group at %08x:%08x is unreadable",
                               lsn_generation(g.lsn), lsn_offset(g.lsn));
            return rc;
        }
        s->last = g;
        end = group_end(&g);
        k = found_k;
        offset = lsn_offset(end);
    }
    if (rc < 0)
        return rc;
    *ret_end = end;
    return 0;
}

/* Every group was synced before the next one was written, but the last one may lie in the page
 * cache only: the process died between its write and its sync, or of a sync that failed. From now
 * on this node answers for it, so it must survive a power cut too (RULES S1). It is written once
 * more, since after a failed sync Linux takes what it could not write for clean. */
static int sync_end(struct scan *s)
{
    uint32_t generation = lsn_generation(s->last.lsn), offset = lsn_offset(s->last.lsn);
    int rc = image_load(s, generation);
    if (rc < 0)
        return rc;
    char *path = segment_path(s->config->dir, generation);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    rc = fd < 0 ? -errno : file_write_at(fd, s->image.data + offset, s->last.size, offset);
    if (rc == 0)
        rc = file_sync(fd);
    if (fd >= 0)
        (void)close(fd);
    free(path);
    if (rc < 0)
        (void)snprintf(s->error, s->error_size, "log segment %08x: cannot write its end again",
                       generation);
    return rc;
}

/* Segments made ahead and never used, or holding only a torn first group. Not recycled under the
 * same generation: what they hold would verify there. The newest first, each durably: the log never
 * has a gap. */
static int remove_above(struct scan *s, uint32_t generation)
{
    int rc = 0;
    while (rc == 0 && s->generations[s->count - 1] > generation) {
        rc = segment_remove(s->config->dir, s->generations[--s->count]);
        if (rc == 0)
            rc = file_sync_dir(s->config->dir);
    }
    return rc;
}

int journal_scan(const struct journal_config *config, struct journal_control *control,
                 journal_visit_fn *visit, void *ctx, segment_vec *ret_segments, lsn_no *ret_end,
                 char *error, size_t error_size)
{
    struct scan s = {
        .config = config,
        .control = control,
        .visit = visit,
        .ctx = ctx,
        .error = error,
        .error_size = error_size,
    };
    error[0] = '\0';
    int rc = segment_list(config->dir, &s.generations);
    s.count = rc;
    if (rc == 0) {
        (void)snprintf(error, error_size,
                       "the log has no segments: this store must not return under its old id");
        rc = -ESTALE;
        goto out;
    }
    if (rc < 0) {
        (void)snprintf(error, error_size, "cannot list the log's directory");
        goto out;
    }
    for (int i = 1; i < s.count; i++) {
        if (s.generations[i] != s.generations[i - 1] + 1) {
            (void)snprintf(error, error_size, "log segment %08x is missing",
                           s.generations[i - 1] + 1);
            rc = -ESTALE;
            goto out;
        }
    }
    lsn_no end = 0;
    rc = follow(&s, &end);
    if (rc == 0)
        rc = sync_end(&s);
    if (rc < 0)
        goto out;
    rc = remove_above(&s, lsn_generation(end));
    for (int i = 0; rc == 0 && i < s.count; i++) {
        rc = image_load(&s, s.generations[i]);
        if (rc < 0)
            goto out;
        if (!segment_header_check(s.image.data, config->cluster, config->node, s.generations[i]))
            log_warn("TALLY-3010", "log segment %08x: header damaged, contents good",
                     s.generations[i]);
        struct segment segment = {.generation = s.generations[i], .size = s.image.size, .fd = -1};
        vec_push(ret_segments, segment);
    }
    *ret_end = end;
out:
    free(s.image.data);
    free(s.generations);
    return rc;
}
