/* Blocks of a disk: the sets that a node asks for, what the nemesis spoils, what checkers look at.
 */
#include <stdlib.h>

#include "repl/base/hash.h"
#include "repl/base/mutant.h"
#include "tests/sim/check.h"
#include "tests/sim/disk_internal.h"
#include "tests/sim/nemesis.h"

/* ---- sets ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    const struct block_ref *x = a, *y = b;
    return block_name_compare(x->name, y->name);
}

void store_each_block(struct store *s, store_block_fn *each, void *ctx)
{
    vec_of(struct block_ref) refs = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&s->disk->blocks, &cursor, NULL, &value))
        if (disk_held(value))
            vec_push(&refs, ((struct disk_block *)value)->ref);
    if (refs.count)
        qsort(refs.items, refs.count, sizeof *refs.items, by_name);
    for (size_t i = 0; i < refs.count && each(ctx, &refs.items[i]); i++)
        ;
    vec_done(&refs);
}

void store_each_missing(struct store *s, store_block_fn *each, void *ctx)
{
    vec_of(struct block_ref) refs = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&s->disk->missing, &cursor, NULL, &value))
        vec_push(&refs, ((struct disk_missing *)value)->ref);
    if (refs.count)
        qsort(refs.items, refs.count, sizeof *refs.items, by_name);
    for (size_t i = 0; i < refs.count && each(ctx, &refs.items[i]); i++)
        ;
    vec_done(&refs);
}

uint64_t store_missing_count(const struct store *s)
{
    return s->disk->missing.count;
}

bool store_is_missing(const struct store *s, struct block_name name)
{
    return disk_find_missing(s->disk, name);
}

void store_add_missing(struct store *s, const struct block_ref *ref)
{
    disk_note_missing(s->disk, ref, false);
    disk_append(s, &(struct disk_record){.kind = RECORD_MISSING, .ref = *ref});
}

void store_on_missing(struct store *s, store_missing_fn *fn, void *ctx)
{
    s->on_missing = fn;
    s->on_missing_ctx = ctx;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static bool may_spoil(const struct disk *d, const struct disk_block *b)
{
    return b && b->state == BLOCK_DURABLE && !b->dropped && !b->spoilt &&
           nemesis_may_spoil(d->node, b->ref.name);
}

/* Of an entry that may not be committed: nobody else need have its bytes (repl/core/mend.c). */
static struct disk_block *find_uncommitted(const struct disk *d)
{
    for (size_t i = d->log.count; i-- > 0 && d->log.items[i]->index > check_log_last();)
        for (uint32_t k = 0; k < d->log.items[i]->blocks_count; k++) {
            struct disk_block *b = disk_find_block(d, d->log.items[i]->blocks[k].name);
            if (may_spoil(d, b))
                return b;
        }
    return NULL;
}

/* Spoils one durable block that the atlas allows: the rarest kind if there is one, else chosen by
 * chance: from a random point on, the first that fits in the order of the table. */
static bool spoil(struct disk *d)
{
    size_t count = d->blocks.count, skip = count ? sim_below(RND_NEMESIS, count) : 0;
    struct disk_block *chosen = find_uncommitted(d);
    size_t cursor = 0, tries = 0;
    void *value;
    while (!chosen && map_next(&d->blocks, &cursor, NULL, &value)) {
        struct disk_block *b = value;
        if (skip > 0) {
            skip--;
            continue;
        }
        if (b->state != BLOCK_DURABLE || b->dropped || b->spoilt)
            continue;
        if (tries++ > 20)
            break;
        if (nemesis_may_spoil(d->node, b->ref.name))
            chosen = b;
    }
    if (!chosen)
        return false;
    chosen->spoilt = true;
    (void)map_put(&d->spoilt, disk_key(chosen->ref.name), d);
    return true;
}

bool disk_flip_bit(struct disk *d)
{
    return spoil(d);
}

bool disk_lose_write(struct disk *d)
{
    return spoil(d);
}

/* ---- for checkers ---------------------------------------------------------------------------- */

bool disk_durable_block(const struct disk *d, const struct block_ref *ref)
{
    const struct disk_block *b = disk_find_block(d, ref->name);
    for (size_t i = 0; !b && i < d->dropped.count; i++) /* a crash would bring it back */
        if (d->dropped.items[i].block &&
            block_name_equal(d->dropped.items[i].block->ref.name, ref->name))
            b = d->dropped.items[i].block;
    return b && b->state == BLOCK_DURABLE && disk_same_block(&b->ref, ref);
}

bool disk_written_block(const struct disk *d, const struct block_ref *ref)
{
    const struct disk_block *b = disk_find_block(d, ref->name);
    return disk_held(b) && disk_same_block(&b->ref, ref);
}

bool disk_has_uncommitted(const struct disk *d)
{
    return find_uncommitted(d);
}

bool disk_damaged(const struct disk *d, struct block_name name)
{
    return map_get(&d->spoilt, disk_key(name)) || disk_find_missing(d, name);
}

bool disk_spoilt(const struct disk *d, struct block_name name)
{
    return map_get(&d->spoilt, disk_key(name));
}
