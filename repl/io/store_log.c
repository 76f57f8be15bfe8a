/* Entries, votes and the base of the log; what a witness forgets. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/log.h"
#include "repl/io/store_internal.h"
#include "repl/wire/codec.h"

/* ---- tickets --------------------------------------------------------------------------------- */

/* What a record owes when it is durable. */
struct written {
    struct store *store;
    struct entry *entry; /* NULL: a control record */
    uint64_t *runs;      /* of its inline blocks, one after another */
    uint64_t ticket;     /* 0: none */
    uint64_t base;       /* a CONTROL that moves the base there */
    uint32_t head_size;
    bool rebases; /* one of store.bases_queued */
};

static void report(struct store *s, uint64_t ticket)
{
    if (ticket && s->on_durable)
        s->on_durable(s->on_durable_ctx, ticket);
}

void store_index_inline(struct store *s, const struct entry *e, const uint64_t *runs, lsn_no lsn,
                        uint32_t head_size)
{
    uint32_t offset = lsn_offset(lsn) + journal_tail_offset(head_size);
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        struct index_entry at = {.ref = e->blocks[i],
                                 .kind = PLACE_LOG,
                                 .number = lsn_generation(lsn),
                                 .offset = offset};
        struct index_entry old;
        uint32_t count = block_runs(at.ref.size);
        memcpy(at.runs, runs, count * sizeof *runs);
        runs += count;
        offset += at.ref.size;
        bool was_missing = index_is_missing(&s->index, at.ref.name);
        if (index_put(&s->index, &at, &old))
            store_give_back(s, &old);
        pending_supersede(s, at.ref.name);
        if (was_missing && s->on_missing)
            s->on_missing(s->on_missing_ctx, at.ref.name, false);
    }
}

static void on_entry(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct written *w = ctx;
    struct store *s = w->store;
    const struct entry *e = w->entry;
    (void)item;
    bool current =
        e->index > s->base && e->index <= log_last(s) && log_at(s, e->index)->term == e->term;
    if (current) {
        struct log_entry *at = log_at(s, e->index);
        at->lsn = at->needs = lsn;
        if (e->inline_bytes)
            store_index_inline(s, e, w->runs, lsn, w->head_size);
    }
    uint64_t ticket = w->ticket;
    entry_unref(w->entry);
    free(w->runs);
    free(w);
    report(s, ticket);
}

static void on_control(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct written *w = ctx;
    struct store *s = w->store;
    (void)item, (void)lsn;
    if (w->base > s->base && w->base <= log_last(s)) {
        size_t gone = w->base - s->base;
        memmove(s->entries.items, s->entries.items + gone,
                (s->entries.count - gone) * sizeof *s->entries.items);
        s->entries.count -= gone;
        s->base = w->base;
        store_release(s);
    }
    if (w->rebases) {
        s->bases_queued--;
        store_release(s);
    }
    report(s, w->ticket);
    free(w);
}

static void written_cancel(void *ctx)
{
    struct written *w = ctx;
    entry_unref(w->entry);
    free(w->runs);
    free(w);
}

static struct written *written_new(struct store *s, uint64_t ticket)
{
    struct written *w = xcalloc(1, sizeof *w);
    w->store = s;
    w->ticket = ticket;
    return w;
}

/* ---- writing --------------------------------------------------------------------------------- */

void store_write_vote(struct store *s, uint64_t ticket, uint64_t term, uint32_t vote)
{
    s->control.term = term;
    s->control.vote = vote;
    struct journal_item *item = store_control_item(s, RECORD_VOTE);
    item->done = on_control;
    item->cancel = written_cancel;
    item->ctx = written_new(s, ticket);
    journal_append(s->journal, item);
    journal_kick(s->journal);
}

static uint64_t *inline_runs(const struct entry *e)
{
    uint32_t runs = 0, offset = 0;
    for (uint32_t i = 0; i < e->blocks_count; i++)
        runs += block_runs(e->blocks[i].size);
    uint64_t *all = xcalloc(runs + 1, sizeof *all), *at = all;
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        block_run_hashes(e->inline_bytes->data + offset, e->blocks[i].size, at);
        at += block_runs(e->blocks[i].size);
        offset += e->blocks[i].size;
    }
    return all;
}

static void append_entry(struct store *s, struct entry *e, uint64_t ticket, bool moved)
{
    struct journal_item *item = journal_item_new(RECORD_ENTRY);
    struct written *w = written_new(s, ticket);
    entry_encode(e, &item->head);
    item->tail = blob_ref(e->inline_bytes);
    item->flags = moved ? ENTRY_MOVED : 0;
    w->entry = entry_ref(e);
    w->runs = e->inline_bytes ? inline_runs(e) : NULL;
    w->head_size = (uint32_t)item->head.size;
    item->done = on_entry;
    item->cancel = written_cancel;
    item->ctx = w;
    journal_append(s->journal, item);
}

/* Held, if only in memory: its place is on its way to the log, or goes there now. */
static bool make_durable(struct store *s, const struct block_ref *ref)
{
    struct pending *p = pending_find(s, ref->name);
    if (!store_has(s, ref))
        return false;
    if (p && p->state == PENDING_WRITTEN)
        pending_record(s, p);
    return true;
}

static bool lacks_bytes(struct store *s, const struct entry *e)
{
    for (uint32_t i = 0; !e->inline_bytes && i < e->blocks_count; i++)
        if (!store_has(s, &e->blocks[i]))
            return true;
    return false;
}

/* What a snapshot that was just switched to makes of entries the replica wrote before it heard of
 * it: those the snapshot includes are skipped, and what follows an entry that contradicts it is
 * void (of an old leader: its term is lower). The number of entries to skip. */
static uint32_t skip_void(const struct store *s, struct entry *const *entries, uint32_t count)
{
    uint32_t skip = 0;
    while (skip < count && entries[skip]->index <= s->base)
        skip++;
    if (skip < count &&
        (entries[skip]->index > log_last(s) + 1 ||
         (entries[skip]->index == s->base + 1 && entries[skip]->term < s->control.base_term)))
        return count;
    return skip;
}

static void append_nothing(struct store *s, uint64_t ticket)
{
    struct journal_item *item = journal_item_new(RECORD_MARK);
    item->done = on_control;
    item->cancel = written_cancel;
    item->ctx = written_new(s, ticket);
    journal_append(s->journal, item);
    journal_kick(s->journal);
}

/* Other bytes under this name: a committed entry says which are the right ones (RULES B1). */
static void forget_other(struct store *s, const struct block_ref *ref)
{
    struct block_ref held;
    if (store_block_get(s, ref->name, &held, NULL) && !store_has(s, ref))
        store_drop(s, NULL, ref->name);
}

int store_write_entries(struct store *s, uint64_t ticket, struct entry *const *entries,
                        uint32_t count, uint64_t commit)
{
    uint64_t size = 0;
    assert(count > 0);
    if (s->switched) {
        uint32_t skip = skip_void(s, entries, count);
        entries += skip;
        count -= skip;
        if (count == 0) {
            append_nothing(s, ticket);
            return 0;
        }
    }
    assert(entries[0]->index > s->base && entries[0]->index <= log_last(s) + 1);
    for (uint32_t i = 0; i < count; i++)
        size += entry_size(entries[i]);
    if (journal_full(s->journal, size))
        return -ENOSPC;
    for (uint32_t i = 0; i < count; i++)
        if (entries[i]->index > commit && lacks_bytes(s, entries[i]))
            return -ENODATA;
    int rc = store_overwrite(s, entries, count);
    if (rc < 0)
        return rc;
    s->entries.count = entries[0]->index - s->base - 1;
    for (uint32_t i = 0; i < count; i++) {
        struct entry *e = entries[i];
        for (uint32_t k = 0; !e->inline_bytes && k < e->blocks_count; k++)
            if (!make_durable(s, &e->blocks[k]) && s->config.kind == STORE_COPY) {
                forget_other(s, &e->blocks[k]);
                store_note_missing(s, &e->blocks[k]);
            }
        struct log_entry at = {.term = e->term, .bytes = e->blocks_count > 0};
        vec_push(&s->entries, at);
        append_entry(s, e, i + 1 == count ? ticket : 0, false);
    }
    journal_kick(s->journal);
    return 0;
}

void store_write_base(struct store *s, uint64_t ticket, uint64_t index, uint64_t term)
{
    s->control.base_index = index;
    s->control.base_term = term;
    s->base = index;
    s->entries.count = 0;
    struct journal_item *item = store_control_item(s, RECORD_BASE);
    struct written *w = written_new(s, ticket);
    w->rebases = true;
    s->bases_queued++;
    item->done = on_control;
    item->cancel = written_cancel;
    item->ctx = w;
    journal_append(s->journal, item);
    journal_kick(s->journal);
}

void store_note_whole(struct store *s, uint64_t whole_index)
{
    s->control.whole_index = whole_index;
}

/* ---- forgetting ------------------------------------------------------------------------------ */

/* A copy's index is durable up to durable_scan_from, and its entries lie in order. A witness's
 * index is in memory only, and an entry that could not be read when it was to be moved lies where
 * it was: all of them count. */
static lsn_no oldest_needed(const struct store *s)
{
    lsn_no until = journal_synced(s->journal);
    size_t count = s->config.kind == STORE_COPY && s->entries.count ? 1 : s->entries.count;
    for (size_t i = 0; i < count; i++)
        if (s->entries.items[i].needs && s->entries.items[i].needs < until)
            until = s->entries.items[i].needs;
    if (s->config.kind == STORE_COPY && s->durable_scan_from < until)
        until = s->durable_scan_from;
    if (s->config.kind == STORE_WITNESS && s->first_place && blocks_live(s->blocks) > 0 &&
        s->first_place < until)
        until = s->first_place;
    return until;
}

void store_release(struct store *s)
{
    if (s->moving || s->bases_queued)
        return; /* what takes the place of the old records is not durable yet */
    lsn_no until = oldest_needed(s);
    if (lsn_generation(until) <= journal_oldest(s->journal))
        return;
    uint32_t first = index_first_log_generation(&s->index);
    if (first && first < lsn_generation(until)) {
        until = lsn_make(first, 0);
        if (s->config.kind == STORE_COPY)
            store_move_inline(s);
    }
    store_forget_log_file(s);
    journal_release(s->journal, until);
}

/* Only worth a record when a segment can go. */
void store_truncate(struct store *s, uint64_t index)
{
    if (s->config.kind == STORE_COPY && index > s->durable_applied)
        index = s->durable_applied;
    for (uint64_t i = s->base + 1;
         s->config.kind == STORE_WITNESS && i <= index && i <= log_last(s); i++)
        if (log_at(s, i)->bytes)
            index = i - 1; /* some copy may still need them: demotion comes first */
    if (index <= s->control.base_index || index > log_last(s) || !log_at(s, index)->lsn)
        return;
    lsn_no keeps = index < log_last(s) ? log_at(s, index + 1)->needs : journal_synced(s->journal);
    if (!keeps || lsn_generation(keeps) <= journal_oldest(s->journal))
        return;
    s->control.base_term = log_at(s, index)->term;
    s->control.base_index = index;
    struct journal_item *item = store_control_item(s, RECORD_CONTROL);
    struct written *w = written_new(s, 0);
    w->base = index;
    item->done = on_control;
    item->cancel = written_cancel;
    item->ctx = w;
    journal_append(s->journal, item);
    journal_kick(s->journal);
}

/* ---- a witness's demotion (RULES B6, S5) ----------------------------------------------------- */

static struct entry *load(struct store *s, struct journal_reader *reader, uint64_t index)
{
    struct journal_record record;
    struct entry *e = NULL;
    if (!log_at(s, index)->lsn ||
        journal_read_next(s->journal, reader, log_at(s, index)->lsn, &record) < 0)
        return NULL;
    (void)entry_decode(record.head, record.head_size, record.tail, record.tail_size, &e);
    return e;
}

struct dead {
    vec_of(struct block_name) wanted; /* by entries above */
    vec_of(struct index_entry) gone;
};

static bool find_dead(void *ctx, const struct index_entry *e)
{
    struct dead *d = ctx;
    for (size_t i = 0; i < d->wanted.count; i++)
        if (block_name_equal(d->wanted.items[i], e->ref.name))
            return true;
    vec_push(&d->gone, *e);
    return true;
}

void store_note_place(struct store *s, lsn_no lsn)
{
    if (!s->first_place)
        s->first_place = lsn;
    if (s->moving && !s->moved_place)
        s->moved_place = lsn;
}

static void on_place_told(void *ctx, struct journal_item *item, lsn_no lsn)
{
    (void)item;
    store_note_place(ctx, lsn);
}

/* Places of blocks that stay and lie in block segments are told again, since the old records go. */
static void append_places(struct store *s, const struct entry *e)
{
    for (uint32_t i = 0; !e->inline_bytes && i < e->blocks_count; i++) {
        struct index_entry at;
        if (!index_get(&s->index, e->blocks[i].name, &at) || at.kind != PLACE_BLOCKS)
            continue;
        struct journal_item *item = journal_item_new(RECORD_BLOCK_AT);
        store_block_at_head(&item->head, &at.ref, at.runs,
                            (struct block_place){at.number, at.offset});
        item->done = on_place_told;
        item->ctx = s;
        journal_append(s->journal, item);
    }
}

static void give_space_back(struct store *s)
{
    store_release(s);
    blocks_reclaim(s->blocks, blocks_epoch(s->blocks));
}

static void on_moved(void *ctx, struct journal_item *item, lsn_no lsn)
{
    struct store *s = ctx;
    (void)item, (void)lsn;
    s->moving = false;
    s->first_place = s->moved_place;
    give_space_back(s);
}

static void append_mark(struct store *s, bool roll, journal_done_fn *done)
{
    struct journal_item *mark = journal_item_new(RECORD_MARK);
    mark->roll = roll;
    mark->done = done;
    mark->ctx = s;
    journal_append(s->journal, mark);
}

/* True when some entry at or below `index` may still have bytes here. */
static bool holds_bytes(struct store *s, uint64_t index)
{
    for (uint64_t i = s->base + 1; i <= index; i++)
        if (log_at(s, i)->bytes)
            return true;
    return false;
}

static bool any_block(void *ctx, const struct index_entry *e)
{
    (void)e;
    *(bool *)ctx = true;
    return false;
}

/* The live entries go to a fresh segment, those at or below `index` without their bytes; when they
 * are durable there the old segments go. */
static void move_entries(struct store *s, struct journal_reader *reader, uint64_t index)
{
    s->moving = true;
    s->moved_place = 0;
    append_mark(s, true, NULL);
    for (uint64_t i = s->base + 1; i <= log_last(s); i++) {
        struct entry *e = load(s, reader, i);
        if (!e)
            continue; /* unreadable: its segment stays (oldest_needed) */
        if (i <= index && e->inline_bytes) {
            struct entry *bare = entry_without_bytes(e);
            entry_unref(e);
            e = bare;
        }
        log_at(s, i)->bytes = i > index && e->blocks_count > 0;
        if (i > index)
            append_places(s, e);
        append_entry(s, e, 0, true);
        entry_unref(e);
    }
    append_mark(s, false, on_moved);
    journal_kick(s->journal);
}

void store_demote(struct store *s, uint64_t index)
{
    bool held = false;
    if (s->config.kind != STORE_WITNESS || s->moving || index == 0)
        return;
    index_each(&s->index, any_block, &held);
    if (index > log_last(s))
        index = log_last(s);
    if (!held && !holds_bytes(s, index) && !blocks_reclaimable(s->blocks))
        return;
    for (uint64_t i = s->base + 1; i <= log_last(s); i++)
        if (!log_at(s, i)->lsn)
            return; /* asked for again when what is on its way is durable */
    struct dead d = {0};
    struct journal_reader reader = {0};
    for (uint64_t i = index + 1; i <= log_last(s); i++) {
        struct entry *e = log_at(s, i)->bytes ? load(s, &reader, i) : NULL;
        for (uint32_t k = 0; e && k < e->blocks_count; k++)
            vec_push(&d.wanted, e->blocks[k].name);
        entry_unref(e);
    }
    index_each(&s->index, find_dead, &d);
    for (size_t i = 0; i < d.gone.count; i++) {
        (void)index_del(&s->index, NULL, d.gone.items[i].ref.name, NULL);
        store_drop_place(s, &d.gone.items[i]);
    }
    /* Blocks that came late and were dropped unnamed leave dead space too. */
    if (d.gone.count || holds_bytes(s, index) || blocks_reclaimable(s->blocks))
        move_entries(s, &reader, index);
    journal_reader_done(&reader);
    if (!s->moving)
        give_space_back(s);
    vec_done(&d.wanted);
    vec_done(&d.gone);
}
