/* The journal of a simulated disk: records queued, then written and synced as a group. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "tests/sim/check.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/sim_internal.h"

/* ---- records become what is there ------------------------------------------------------------ */

static uint64_t last_index(const struct disk *d)
{
    return d->base_index + d->log.count;
}

static void pop_entry(struct disk *d)
{
    struct entry *e = vec_pop(&d->log);
    d->log_bytes -= entry_size(e);
    entry_unref(e);
}

void disk_cut_log(struct disk *d, size_t count)
{
    while (d->log.count > count)
        pop_entry(d);
}

static bool names(const struct disk_record *r, size_t count, struct block_name name)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; r[i].entry && k < r[i].entry->blocks_count; k++)
            if (block_name_equal(r[i].entry->blocks[k].name, name))
                return true;
    return false;
}

/* An overwritten entry's inline blocks were never part of any file; but what comes may name them.
 */
static void overwrite_from(struct store *s, uint64_t index)
{
    struct disk *d = s->disk;
    while (last_index(d) >= index && d->log.count) {
        const struct entry *e = d->log.items[d->log.count - 1];
        for (uint32_t i = 0; e->inline_bytes && i < e->blocks_count; i++)
            if (!names(s->group.items, s->group.count, e->blocks[i].name) &&
                !names(s->queue.items, s->queue.count, e->blocks[i].name))
                disk_forget_block(d, disk_key(e->blocks[i].name));
        pop_entry(d);
    }
}

static void apply_blocks(struct store *s, const struct entry *e, bool miss, bool tell)
{
    struct disk *d = s->disk;
    uint32_t offset = 0;
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        const struct block_ref *ref = &e->blocks[i];
        const struct disk_block *b = map_get(&d->blocks, disk_key(ref->name));
        bool held = disk_held(b);
        if (e->inline_bytes && !(held && b->state == BLOCK_DURABLE)) {
            disk_store_bytes(d, ref, e->inline_bytes->data + offset, BLOCK_DURABLE);
            if (s->config.kind == STORE_WITNESS && tell)
                sim_count(COUNT_DRAFTED_BLOCKS, 1);
            held = true;
        }
        if (held)
            disk_block_durable(s, ref, tell);
        else if (miss)
            disk_note_missing(d, ref, true);
        offset += ref->size;
    }
}

/* What a snapshot that came meanwhile includes or contradicts is void (store.h). */
static void apply_entry(struct store *s, struct disk_record *r, bool tell)
{
    struct disk *d = s->disk;
    struct entry *e = r->entry;
    if (e->index <= d->base_index || e->index > last_index(d) + 1 || e->term < d->base_term)
        return;
    overwrite_from(s, e->index);
    sim_trace("n%u has entry %llu", d->node, (unsigned long long)e->index);
    vec_push(&d->log, entry_ref(e));
    d->log_bytes += entry_size(e);
    d->log_written += entry_size(e);
    apply_blocks(s, e, r->miss, tell);
}

static void apply_record(struct store *s, struct disk_record *r, bool tell)
{
    struct disk *d = s->disk;
    switch (r->kind) {
    case RECORD_VOTE:
        d->term = r->term;
        d->vote = r->vote;
        check_election_vote(d->node, d->term, d->vote);
        break;
    case RECORD_ENTRY:
        apply_entry(s, r, tell);
        break;
    case RECORD_BASE:
        while (d->log.count)
            pop_entry(d);
        d->base_index = r->index;
        d->base_term = r->term;
        break;
    case RECORD_BLOCK:
        disk_block_durable(s, &r->ref, tell);
        break;
    case RECORD_MISSING:
        if (disk_find_missing(d, r->ref.name))
            disk_note_missing(d, &r->ref, true);
        break;
    case RECORD_DROP:
        disk_drop_recorded(d, disk_key(r->ref.name));
        break;
    }
}

void disk_record_done(struct disk_record *r)
{
    entry_unref(r->entry);
    r->entry = NULL;
}

void disk_apply_group(struct store *s, size_t count, bool tell)
{
    for (size_t i = 0; i < s->group.count; i++) {
        struct disk_record *r = &s->group.items[i];
        if (i < count) {
            apply_record(s, r, tell);
            if (r->ticket)
                s->durable_ticket = r->ticket;
        }
        disk_record_done(r);
    }
    vec_clear(&s->group);
    disk_release_log(s->disk, s->truncate_to);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void start_group(struct store *s);

static void finish_group(struct store *s, struct disk_job *job)
{
    (void)job;
    s->writing = false;
    disk_apply_group(s, s->group.count, true);
    if (s->durable_ticket > s->told_ticket) {
        s->told_ticket = s->durable_ticket;
        s->on_durable(s->on_durable_ctx, s->told_ticket);
    }
    start_group(s);
    disk_flush_if_long(s);
}

static void start_group(struct store *s)
{
    struct disk *d = s->disk;
    uint64_t bytes = 0;
    if (s->writing || !s->queue.count)
        return;
    for (size_t i = 0; i < s->queue.count; i++) {
        vec_push(&s->group, s->queue.items[i]);
        if (s->queue.items[i].entry)
            bytes += entry_size(s->queue.items[i].entry);
    }
    vec_clear(&s->queue);
    s->writing = true;
    time_us write = disk_latency(d, bytes) / 4;
    s->written_at = sim_now() + write;
    sim_mix(d->node, bytes);
    (void)disk_job_new(s, finish_group, write + disk_latency(d, 0));
    if (d->fail_write) { /* RULES S3: nobody knows what is on the disk; the process ends */
        d->fail_write = false;
        d->unclean = true;
        process_io_death(d->node, "write");
    }
}

static void on_kick(struct store *s, struct disk_job *job)
{
    (void)job;
    start_group(s);
}

/* All records of one turn share a group. */
void disk_append(struct store *s, const struct disk_record *r)
{
    vec_push(&s->queue, *r);
    if (!s->writing && s->queue.count == 1)
        (void)disk_job_new(s, on_kick, 1);
}

/* ---- store.h --------------------------------------------------------------------------------- */

void store_on_durable(struct store *s, store_durable_fn *fn, void *ctx)
{
    s->on_durable = fn;
    s->on_durable_ctx = ctx;
}

void store_write_vote(struct store *s, uint64_t ticket, uint64_t term, uint32_t vote)
{
    disk_append(s, &(struct disk_record){
                       .kind = RECORD_VOTE, .ticket = ticket, .term = term, .vote = vote});
}

static bool lacks_bytes(struct store *s, const struct entry *e)
{
    for (uint32_t i = 0; !e->inline_bytes && i < e->blocks_count; i++)
        if (!store_has(s, &e->blocks[i]))
            return true;
    return false;
}

int store_write_entries(struct store *s, uint64_t ticket, struct entry *const *entries,
                        uint32_t count, uint64_t commit)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += entry_size(entries[i]);
        if (entries[i]->index > commit && lacks_bytes(s, entries[i]))
            return -ENODATA;
    }
    if (s->disk->block_bytes + s->disk->log_bytes + bytes > s->config.capacity)
        return -ENOSPC;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; sim_tracing() && k < entries[i]->blocks_count; k++)
            sim_trace("entry %llu names %llu.%llu", (unsigned long long)entries[i]->index,
                      (unsigned long long)entries[i]->blocks[k].name.session,
                      (unsigned long long)entries[i]->blocks[k].name.n);
        struct disk_record r = {.kind = RECORD_ENTRY,
                                .ticket = i + 1 == count ? ticket : 0,
                                .entry = entry_ref(entries[i]),
                                .miss =
                                    s->config.kind == STORE_COPY && entries[i]->index <= commit};
        for (uint32_t k = 0; r.miss && !r.entry->inline_bytes && k < r.entry->blocks_count; k++)
            if (!store_has(s, &r.entry->blocks[k]))
                disk_note_missing(s->disk, &r.entry->blocks[k], false);
        disk_append(s, &r);
    }
    return 0;
}

void store_write_base(struct store *s, uint64_t ticket, uint64_t index, uint64_t term)
{
    disk_append(s, &(struct disk_record){
                       .kind = RECORD_BASE, .ticket = ticket, .index = index, .term = term});
}

/* Entries at or below `index` go, as far as the durable state includes them. */
void disk_release_log(struct disk *d, uint64_t index)
{
    if (d->kv && index > d->applied && !MUTANT(truncated_unflushed))
        index = d->applied;
    if (index > last_index(d))
        index = last_index(d);
    if (index <= d->base_index)
        return;
    size_t gone = index - d->base_index;
    d->base_term = d->log.items[gone - 1]->term;
    d->base_index = index;
    for (size_t i = 0; i < gone; i++) {
        d->log_bytes -= entry_size(d->log.items[i]);
        entry_unref(d->log.items[i]);
    }
    memmove(d->log.items, d->log.items + gone, (d->log.count - gone) * sizeof(struct entry *));
    d->log.count -= gone;
}

void store_truncate(struct store *s, uint64_t index)
{
    if (index > s->truncate_to)
        s->truncate_to = index;
    disk_release_log(s->disk, s->truncate_to);
}

/* An entry, or a block of one, is on its way to the log. */
static bool entries_on_their_way(const struct store *s)
{
    for (size_t i = 0; i < s->queue.count; i++)
        if (s->queue.items[i].entry)
            return true;
    for (size_t i = 0; i < s->group.count; i++)
        if (s->group.items[i].entry)
            return true;
    return false;
}

/* By name, the last entry of the log that names it. */
static void note_entries(struct disk *d, struct map *ret_named)
{
    for (size_t i = 0; i < d->log.count; i++)
        for (uint32_t k = 0; k < d->log.items[i]->blocks_count; k++)
            (void)map_put(ret_named, disk_key(d->log.items[i]->blocks[k].name), d->log.items[i]);
}

/* What no entry above names goes, if the log has it. Bytes that came later than their entry are not
 * in the log: the node drops them. */
static void demote_blocks(struct disk *d, uint64_t index)
{
    vec_of(uint64_t) gone = {0};
    struct map named = {0};
    size_t cursor = 0;
    uint64_t key;
    void *value;
    note_entries(d, &named);
    while (map_next(&d->blocks, &cursor, &key, &value)) {
        const struct disk_block *b = value;
        const struct entry *e = map_get(&named, key);
        if (b->state != BLOCK_DURABLE || (e && e->index > index))
            continue;
        if (disk_held(b)) /* its entry may have left the log */
            check_blocks_demote(d->node, &b->ref, e ? e->index : d->base_index);
        vec_push(&gone, key);
    }
    for (size_t i = 0; i < gone.count; i++)
        disk_forget_block(d, gone.items[i]);
    vec_done(&gone);
    map_done(&named);
}

/* RULES B6: bytes up to `index` go, unless an entry above names them too. */
void store_demote(struct store *s, uint64_t index)
{
    struct disk *d = s->disk;
    if (s->config.kind != STORE_WITNESS || entries_on_their_way(s))
        return; /* asked for again */
    sim_count(COUNT_DEMOTIONS, 1);
    demote_blocks(d, index);
    for (size_t i = 0; i < d->log.count; i++) {
        struct entry *e = d->log.items[i];
        if (e->index > index)
            break;
        if (!e->inline_bytes)
            continue;
        d->log_bytes -= entry_size(e);
        d->log.items[i] = entry_without_bytes(e);
        d->log_bytes += entry_size(d->log.items[i]);
        entry_unref(e);
    }
}

/* Rides with the next record; at the latest it is noted when the store closes. */
void store_note_whole(struct store *s, uint64_t whole_index)
{
    s->disk->whole_index = whole_index;
}

/* ---- for checkers ---------------------------------------------------------------------------- */

bool disk_durable_entry(const struct disk *d, uint64_t index, uint64_t term)
{
    if (index <= d->base_index)
        return true;
    return index <= last_index(d) && d->log.items[index - d->base_index - 1]->term == term;
}

uint64_t disk_durable_last(const struct disk *d)
{
    return last_index(d);
}

void disk_durable_vote(const struct disk *d, uint64_t *ret_term, uint32_t *ret_vote)
{
    *ret_term = d->term;
    *ret_vote = d->vote;
}
