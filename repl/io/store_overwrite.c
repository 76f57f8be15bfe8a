/* Entries that others take the place of: their inline blocks were never part of any file, and go.
 * But what the others name without bytes of their own stays, for we said that we hold it; since the
 * old records are given up, it moves to a block segment. */
#include <errno.h>
#include <string.h>

#include "repl/io/store_internal.h"
#include "repl/wire/codec.h"

static bool names_block(struct entry *const *entries, uint32_t count, struct block_name name)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; !entries[i]->inline_bytes && k < entries[i]->blocks_count; k++)
            if (block_name_equal(entries[i]->blocks[k].name, name))
                return true;
    return false;
}

/* The entry when it has inline bytes that this store may still need it for, else NULL. */
static struct entry *load_inline(struct store *s, const struct log_entry *at)
{
    struct journal_record record;
    struct blob *raw = NULL;
    struct entry *e = NULL;
    if (!at->bytes || !at->lsn || journal_read(s->journal, at->lsn, &record, &raw) < 0)
        return NULL;
    if (record.tail_size)
        (void)entry_decode(record.head, record.head_size, record.tail, record.tail_size, &e);
    blob_unref(raw);
    if (e && e->inline_bytes)
        return e;
    entry_unref(e);
    return NULL;
}

static bool held_in(struct store *s, const struct log_entry *at, struct block_name name,
                    struct index_entry *ret)
{
    return index_get(&s->index, name, ret) && ret->kind == PLACE_LOG &&
           ret->number == lsn_generation(at->lsn);
}

static int keep_named(struct store *s, const struct log_entry *at, struct entry *const *entries,
                      uint32_t count)
{
    struct entry *e = load_inline(s, at);
    uint32_t offset = 0;
    int rc = 0;
    for (uint32_t i = 0; e && i < e->blocks_count && rc == 0; i++) {
        struct index_entry found;
        if (names_block(entries, count, e->blocks[i].name) &&
            held_in(s, at, e->blocks[i].name, &found))
            rc = store_keep(s, &found, e->inline_bytes->data + offset);
        offset += e->blocks[i].size;
    }
    entry_unref(e);
    return rc;
}

static void forget(struct store *s, const struct log_entry *at, struct entry *const *entries,
                   uint32_t count)
{
    struct entry *e = load_inline(s, at);
    for (uint32_t i = 0; e && i < e->blocks_count; i++) {
        struct index_entry found;
        struct block_name name = e->blocks[i].name;
        if (!names_block(entries, count, name) && held_in(s, at, name, &found))
            (void)index_del(&s->index, NULL, name, NULL);
    }
    entry_unref(e);
}

int store_overwrite(struct store *s, struct entry *const *entries, uint32_t count)
{
    uint64_t first = entries[0]->index;
    int rc = 0;
    for (uint64_t i = first; i <= log_last(s) && rc == 0; i++)
        rc = keep_named(s, log_at(s, i), entries, count);
    for (uint64_t i = first; i <= log_last(s) && rc == 0; i++)
        forget(s, log_at(s, i), entries, count);
    return rc;
}
