/* Drops of a simulated disk. A name is gone for the node at once, and for the disk with the flush
 * or the record that tells it: until then a crash brings back what was durable. */
#include <stdlib.h>

#include "repl/base/mutant.h"
#include "tests/sim/check.h"
#include "tests/sim/disk_internal.h"

static void keep(struct disk *d, struct disk_block *b, struct disk_missing *m, uint64_t batch)
{
    vec_push(&d->dropped, ((struct disk_drop){b, m, batch}));
}

void disk_drop(struct disk *d, uint64_t key, uint64_t batch)
{
    struct disk_block *b = map_get(&d->blocks, key);
    struct disk_missing *m = map_del(&d->missing, key);
    if (m && m->durable)
        keep(d, NULL, m, batch);
    else
        free(m);
    if (!b)
        return;
    if (b->state == BLOCK_WRITING || b->state == BLOCK_RECORDING) {
        b->dropped = true; /* goes when that ends */
        return;
    }
    (void)map_del(&d->blocks, key);
    b->dropped = false;
    if (b->state == BLOCK_DURABLE)
        keep(d, b, NULL, batch);
    else
        disk_free_block(d, b);
}

static void drop_done(struct disk *d, struct disk_drop *drop)
{
    disk_free_block(d, drop->block);
    free(drop->missing);
}

void disk_drops_flushed(struct disk *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->dropped.count; i++)
        if (d->dropped.items[i].batch <= d->flushed)
            drop_done(d, &d->dropped.items[i]);
        else
            d->dropped.items[kept++] = d->dropped.items[i];
    d->dropped.count = kept;
}

static uint64_t key_of(const struct disk_drop *drop)
{
    return disk_key(drop->block ? drop->block->ref.name : drop->missing->ref.name);
}

void disk_drop_recorded(struct disk *d, uint64_t key)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->dropped.count; i++)
        if (key_of(&d->dropped.items[i]) == key)
            drop_done(d, &d->dropped.items[i]);
        else
            d->dropped.items[kept++] = d->dropped.items[i];
    d->dropped.count = kept;
}

/* The newest that is on the disk counts. */
void disk_drops_crashed(struct disk *d)
{
    while (d->dropped.count) {
        struct disk_drop drop = vec_pop(&d->dropped);
        uint64_t key = key_of(&drop);
        if (map_get(&d->blocks, key) || map_get(&d->missing, key))
            drop_done(d, &drop);
        else if (drop.block)
            (void)map_put(&d->blocks, key, drop.block);
        else
            (void)map_put(&d->missing, key, drop.missing);
    }
}

void disk_drops_done(struct disk *d)
{
    for (size_t i = 0; i < d->dropped.count; i++)
        drop_done(d, &d->dropped.items[i]);
    vec_done(&d->dropped);
}

/* ---- store.h --------------------------------------------------------------------------------- */

void store_drop(struct store *s, struct kv_txn *txn, struct block_name name)
{
    struct disk *d = s->disk;
    const struct disk_block *b = disk_find_block(d, name);
    const struct disk_missing *m = disk_find_missing(d, name);
    bool was_missing = m;
    struct disk_record r = {.kind = RECORD_DROP};
    if (b)
        r.ref = b->ref;
    else if (m)
        r.ref = m->ref;
    bool durable = (b && b->state == BLOCK_DURABLE) || m;
    if (txn)
        check_blocks_died(name);
    else
        check_blocks_drop(d->node, name);
    disk_drop(d, disk_key(name), disk_next_batch(s));
    if (MUTANT(freed_before_flush))
        disk_drop_recorded(d, disk_key(name));
    if (!txn && durable) {
        disk_add_batch(s);
        disk_append(s, &r);
    }
    if (was_missing && s->on_missing)
        s->on_missing(s->on_missing_ctx, name, false);
}
