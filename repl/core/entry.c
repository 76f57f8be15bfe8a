#include "repl/core/entry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct entry *entry_new(uint64_t term, uint64_t index, enum entry_kind kind, struct blob *payload,
                        const struct block_ref *blocks, uint32_t blocks_count,
                        struct blob *inline_bytes)
{
    assert(blocks_count <= ENTRY_BLOCKS_MAX);
    struct entry *e = xmalloc(sizeof(*e) + blocks_count * sizeof(e->blocks[0]));
    e->refs = 1;
    e->kind = kind;
    e->term = term;
    e->index = index;
    e->payload = blob_ref(payload);
    e->inline_bytes = blob_ref(inline_bytes);
    e->blocks_count = blocks_count;
    if (blocks_count > 0) {
        memcpy(e->blocks, blocks, blocks_count * sizeof(e->blocks[0]));
    }
    assert(inline_bytes == NULL || inline_bytes->size == entry_blocks_size(e));
    return e;
}

/* Atomic, because the journal's thread drops its references when a group is written. */
struct entry *entry_ref(struct entry *e)
{
    __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void entry_unref(struct entry *e)
{
    if (e == NULL || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    blob_unref(e->payload);
    blob_unref(e->inline_bytes);
    free(e);
}

struct entry *entry_without_bytes(struct entry *e)
{
    if (e->inline_bytes == NULL) {
        return entry_ref(e);
    }
    return entry_new(e->term, e->index, e->kind, e->payload, e->blocks, e->blocks_count, NULL);
}

uint64_t entry_blocks_size(const struct entry *e)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        size += e->blocks[i].size;
    }
    return size;
}

uint64_t entry_size(const struct entry *e)
{
    return sizeof(*e) + e->blocks_count * sizeof(e->blocks[0]) +
           (e->payload != NULL ? e->payload->size : 0) +
           (e->inline_bytes != NULL ? e->inline_bytes->size : 0);
}
