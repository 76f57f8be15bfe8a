/* After a restart: the log's records in order, entries into memory, block places into the index
 * from scan_from on (RULES S2). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "repl/io/file.h"
#include "repl/io/kv_rocks.h"
#include "repl/io/log.h"
#include "repl/io/store_internal.h"
#include "repl/wire/codec.h"

enum found_kind { FOUND_PLACE, FOUND_MISSING, FOUND_DROP };

/* A change of the index that a record tells. */
struct found {
    enum found_kind kind;
    lsn_no lsn;
    struct block_ref ref;
    enum place_kind place;
    uint32_t number, offset;
    size_t runs; /* first of them in scan.runs */
};

struct scan {
    struct store *s;
    uint64_t start; /* index before the first entry in s->entries */
    lsn_no needs;   /* the first block record since the last entry */
    /* entries below `start` that a move told again: front + 1 ... */
    uint64_t front;
    vec_of(struct log_entry) moved;
    vec_of(struct found) found;
    vec_of(uint64_t) runs;
};

/* ---- records --------------------------------------------------------------------------------- */

static void add_found(struct scan *scan, enum found_kind kind, lsn_no lsn,
                      const struct index_entry *e)
{
    struct found f = {.kind = kind,
                      .lsn = lsn,
                      .ref = e->ref,
                      .place = e->kind,
                      .number = e->number,
                      .offset = e->offset,
                      .runs = scan->runs.count};
    for (uint32_t i = 0; kind == FOUND_PLACE && i < block_runs(e->ref.size); i++)
        vec_push(&scan->runs, e->runs[i]);
    vec_push(&scan->found, f);
}

/* Bytes that do not hash to their names are missing: the names are known (RULES S3). */
static void find_inline(struct scan *scan, const struct entry *e,
                        const struct journal_record *record)
{
    uint32_t at = 0;
    bool damaged = false;
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        struct index_entry place = {.ref = e->blocks[i],
                                    .kind = PLACE_LOG,
                                    .number = lsn_generation(record->lsn),
                                    .offset = lsn_offset(record->lsn) +
                                              journal_tail_offset(record->head_size) + at};
        block_run_hashes(record->tail + at, place.ref.size, place.runs);
        bool good =
            block_digest_of_runs(place.runs, block_runs(place.ref.size)) == place.ref.digest;
        add_found(scan, good ? FOUND_PLACE : FOUND_MISSING, record->lsn, &place);
        damaged |= !good;
        at += place.ref.size;
    }
    scan->s->entries_damaged += damaged;
}

/* A move tells all entries again, in order, before the segments they were in go, the oldest first
 * (RULES S5). A crash between two of those leaves the log without its beginning: what was moved
 * fills it. */
static void add_moved(struct scan *scan, uint64_t index, const struct log_entry *at)
{
    struct store *s = scan->s;
    uint64_t last = scan->start + s->entries.count;
    if (index > scan->start && index <= last) {
        if (s->entries.items[index - scan->start - 1].term == at->term)
            s->entries.items[index - scan->start - 1] = *at;
        return;
    }
    if (index > last) {
        if (index == last + 1)
            vec_push(&s->entries, *at);
        return;
    }
    if (index != scan->front + scan->moved.count + 1) {
        scan->front = index - 1;
        vec_clear(&scan->moved);
    }
    vec_push(&scan->moved, *at);
    if (index < scan->start)
        return;
    size_t count = scan->moved.count;
    for (size_t i = 0; i < s->entries.count; i++)
        vec_push(&scan->moved, s->entries.items[i]);
    vec_clear(&s->entries);
    for (size_t i = 0; i < scan->moved.count; i++)
        vec_push(&s->entries, scan->moved.items[i]);
    vec_clear(&scan->moved);
    scan->start -= count;
}

/* Entries from `index` on are overwritten: their inline blocks go (store_overwrite). */
static void void_places(struct scan *scan, uint64_t index)
{
    struct store *s = scan->s;
    for (size_t i = index - scan->start - 1; i < s->entries.count; i++)
        for (size_t k = scan->found.count; s->entries.items[i].bytes && k-- > 0;) {
            struct found *f = &scan->found.items[k];
            if (f->lsn < s->entries.items[i].lsn)
                break;
            if (f->lsn == s->entries.items[i].lsn)
                f->kind = FOUND_DROP;
        }
}

static int on_entry_record(struct scan *scan, const struct journal_record *record)
{
    struct store *s = scan->s;
    struct entry *e = NULL;
    if (entry_decode(record->head, record->head_size, record->tail, record->tail_size, &e) < 0)
        return -EBADMSG;
    struct log_entry at = {.term = e->term,
                           .lsn = record->lsn,
                           .needs = scan->needs ? scan->needs : record->lsn,
                           .bytes = e->blocks_count > 0};
    uint64_t last = scan->start + s->entries.count;
    if ((record->flags & ENTRY_MOVED) && s->entries.count) {
        add_moved(scan, e->index, &at);
    } else {
        if (e->index > scan->start && e->index <= last) {
            void_places(scan, e->index);
            s->entries.count = e->index - scan->start - 1;
        } else if (e->index != last + 1)
            s->entries.count = 0; /* what was before is below a base that a later record tells */
        if (s->entries.count == 0)
            scan->start = e->index - 1;
        vec_push(&s->entries, at);
    }
    if (e->inline_bytes)
        find_inline(scan, e, record);
    scan->needs = 0;
    entry_unref(e);
    return 0;
}

static int visit(void *ctx, const struct journal_record *record)
{
    struct scan *scan = ctx;
    struct index_entry e;
    memset(&e, 0, sizeof e);
    switch (record->kind) {
    case RECORD_ENTRY:
        return on_entry_record(scan, record);
    case RECORD_CONTROL:
    case RECORD_VOTE:
        return control_get(record, &scan->s->control) ? 0 : -EBADMSG;
    case RECORD_BASE:
        scan->s->entries.count = 0;
        scan->start = 0;
        return control_get(record, &scan->s->control) ? 0 : -EBADMSG;
    case RECORD_BLOCK_AT:
    case RECORD_MISSING:
    case RECORD_DROP:
        if (!store_block_at_get(record, &e))
            return -EBADMSG;
        if (!scan->needs)
            scan->needs = record->lsn;
        if (record->kind == RECORD_BLOCK_AT)
            store_note_place(scan->s, record->lsn);
        add_found(scan,
                  record->kind == RECORD_BLOCK_AT  ? FOUND_PLACE
                  : record->kind == RECORD_MISSING ? FOUND_MISSING
                                                   : FOUND_DROP,
                  record->lsn, &e);
        return 0;
    case RECORD_MARK:
        return 0;
    }
    return -EBADMSG;
}

/* ---- the index ------------------------------------------------------------------------------- */

/* At once and without a record: a state that does not know it yet finds it out again. */
static void note_lost(struct store *s, const struct block_ref *ref)
{
    (void)index_del(&s->index, NULL, ref->name, NULL);
    if (s->config.kind == STORE_COPY) {
        index_missing_note(&s->index, ref);
        index_missing_save(&s->index, ref->name);
    }
}

static void apply_found(struct store *s, const struct scan *scan, const struct found *f)
{
    switch (f->kind) {
    case FOUND_PLACE: {
        struct index_entry e = {
            .ref = f->ref, .kind = f->place, .number = f->number, .offset = f->offset};
        memcpy(e.runs, scan->runs.items + f->runs, block_runs(f->ref.size) * sizeof e.runs[0]);
        (void)index_put(&s->index, &e, NULL);
        break;
    }
    case FOUND_MISSING:
        note_lost(s, &f->ref);
        break;
    case FOUND_DROP:
        (void)index_del(&s->index, NULL, f->ref.name, NULL);
        break;
    }
}

/* What an entry takes the place of leaves the index before it is durable, and a flush may have come
 * in between. When the cut took the new entry, the old one is still what this node has answered
 * for, with its bytes: it is not applied, so nothing else has dropped them. */
static void put_back(struct store *s, const struct scan *scan)
{
    const struct found *f = scan->found.items, *end = f + scan->found.count;
    uint64_t from = s->applied > s->base ? s->applied : s->base;
    for (uint64_t i = from + 1; i <= log_last(s); i++) {
        while (f < end && f->lsn < log_at(s, i)->lsn)
            f++;
        for (; f < end && f->lsn == log_at(s, i)->lsn; f++)
            if (f->kind == FOUND_PLACE && !index_get(&s->index, f->ref.name, NULL) &&
                !index_is_missing(&s->index, f->ref.name))
                apply_found(s, scan, f);
    }
}

struct live {
    struct store *s;
    vec_of(struct block_ref) lost;
};

static bool mark_live(void *ctx, const struct index_entry *e)
{
    struct live *l = ctx;
    struct block_place at = {e->number, e->offset};
    if (e->kind == PLACE_BLOCKS)
        blocks_number_seen(l->s->blocks, e->number);
    bool there = e->kind == PLACE_BLOCKS ? blocks_mark_live(l->s->blocks, at, e->ref.size) == 0
                                         : e->number >= journal_oldest(l->s->journal);
    if (!there)
        vec_push(&l->lost, e->ref);
    return true;
}

static int open_kv(struct store *s, bool create, char *error, size_t size)
{
    if (s->config.kv) {
        s->kv = s->config.kv;
        return 0;
    }
    s->own_kv = true;
    if (s->config.kind == STORE_WITNESS) {
        s->kv = kv_mem_new();
        return 0;
    }
    for (uint32_t g = s->control.kv_generation > 3 ? s->control.kv_generation - 3 : 1;
         g <= s->control.kv_generation + 3; g++) {
        if (g == s->control.kv_generation)
            continue;
        char *other = store_kv_dir(s, g); /* of a snapshot that was not finished, or before one */
        (void)file_remove_tree(other);
        free(other);
    }
    char *dir = store_kv_dir(s, s->control.kv_generation);
    int rc = kv_rocks_open(dir, STORE_TABLES, create, &s->kv, error, size);
    free(dir);
    return rc == -ENOENT ? -ESTALE : rc;
}

static int fill_index(struct store *s, const struct scan *scan)
{
    struct live live = {.s = s};
    uint64_t scan_from = 0;
    int rc = index_init(&s->index, s->kv);
    if (rc < 0)
        return rc;
    index_get_state(&s->index, &s->applied, &scan_from);
    s->durable_applied = s->applied;
    s->durable_scan_from = scan_from;
    for (size_t i = 0; i < scan->found.count; i++) {
        const struct found *f = &scan->found.items[i];
        if (f->kind == FOUND_PLACE && f->place == PLACE_BLOCKS)
            blocks_number_seen(s->blocks, f->number);
        if (f->lsn >= scan_from)
            apply_found(s, scan, f);
    }
    if (s->config.kind == STORE_COPY) /* a witness has applied all that was found */
        put_back(s, scan);
    index_each(&s->index, mark_live, &live);
    for (size_t i = 0; i < live.lost.count; i++) {
        log_warn("TALLY-3013", "block %llu.%llu: its place is not on the disk any more",
                 (unsigned long long)live.lost.items[i].name.session,
                 (unsigned long long)live.lost.items[i].name.n);
        note_lost(s, &live.lost.items[i]);
    }
    vec_done(&live.lost);
    blocks_recovered(s->blocks);
    blocks_reclaim(s->blocks, blocks_epoch(s->blocks));
    return 0;
}

/* The log from the base that the newest control record tells. */
static int cut_at_base(struct store *s, uint64_t start, char *error, size_t size)
{
    uint64_t base = s->control.base_index, last = start + s->entries.count;
    s->base = base;
    if (s->entries.count == 0 || last <= base) {
        s->entries.count = 0;
        return 0;
    }
    if (start > base) {
        (void)snprintf(error, size, "the log lacks entries %llu to %llu",
                       (unsigned long long)base + 1, (unsigned long long)start);
        return -EBADMSG;
    }
    size_t gone = base - start;
    memmove(s->entries.items, s->entries.items + gone,
            (s->entries.count - gone) * sizeof *s->entries.items);
    s->entries.count -= gone;
    return 0;
}

static int sync_blocks(void *ctx, void *segment)
{
    (void)ctx;
    return blocks_sync(segment);
}

int store_recover(struct store *s, bool create, char *error, size_t error_size)
{
    struct scan scan = {.s = s};
    struct journal_config jc = {.dir = s->log_dir,
                                .node = s->config.node,
                                .segment_size = s->config.log_segment_size,
                                .recycle = s->config.kind == STORE_COPY,
                                .wake = s->config.wake ? s->config.wake : store_wake_nobody,
                                .sync = sync_blocks,
                                .started = s->config.started,
                                .ctx = s->config.wake_ctx};
    memcpy(jc.cluster, s->config.cluster, sizeof jc.cluster);
    s->control.kv_generation = 1;
    int rc = journal_open(&jc, create, &s->control, visit, &scan, &s->journal, error, error_size);
    if (rc == 0)
        rc = cut_at_base(s, scan.start, error, error_size);
    if (rc == 0)
        rc = open_kv(s, create, error, error_size);
    if (rc == 0)
        rc = fill_index(s, &scan);
    if (rc == 0 && s->config.kind == STORE_COPY && s->applied < s->base) {
        (void)snprintf(error, error_size,
                       "the applied state (entry %llu) is older than the log (from entry %llu)",
                       (unsigned long long)s->applied, (unsigned long long)s->base + 1);
        rc = -ESTALE;
    }
    vec_done(&scan.moved);
    vec_done(&scan.found);
    vec_done(&scan.runs);
    return rc;
}

/* ---- the entries ----------------------------------------------------------------------------- */

enum { INLINE_KEPT = 64 << 20 };

int store_load_entries(struct store *s, store_entry_fn *each, void *ctx)
{
    uint64_t bytes = 0, from = log_last(s) + 1;
    struct journal_record record;
    struct blob *raw;
    while (from > s->base + 1 && bytes < INLINE_KEPT) /* roughly: record sizes are not known here */
        bytes += log_at(s, --from)->bytes ? ENTRY_INLINE_BYTES_MAX : 0;
    for (uint64_t i = s->base + 1; i <= log_last(s); i++) {
        struct entry *e = NULL;
        int rc = journal_read(s->journal, log_at(s, i)->lsn, &record, &raw);
        if (rc < 0)
            return rc;
        rc = entry_decode(record.head, record.head_size, record.tail, record.tail_size, &e);
        bool bare = record.tail_damaged || (i < from && i <= s->applied);
        blob_unref(raw);
        if (rc < 0)
            return rc;
        struct entry *given = bare ? entry_without_bytes(e) : entry_ref(e);
        rc = each(ctx, given);
        entry_unref(given);
        entry_unref(e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
