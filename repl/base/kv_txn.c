#include "repl/base/kv_txn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/arena.h"
#include "repl/base/hash.h"
#include "repl/base/mem.h"

/* Pending keys hang in a small hash table by (table, key); the newest value of a key replaces the
 * older. */
struct pending {
    struct pending *next;  /* in its bucket */
    struct pending *after; /* in the order of first writing: the batch's order */
    uint64_t hash;
    int table;
    bool del;
    uint8_t *key, *value; /* in the arena, as this is */
    size_t key_size, value_size, value_room;
};

enum { BUCKETS = 256 }; /* operations touch about ten keys; large ones walk chains */

struct kv_txn {
    struct kv *kv;
    struct pending *buckets[BUCKETS];
    struct pending *first, **last;
    struct arena arena;
    struct kv_batch batch;
};

struct kv_txn *kv_txn_new(struct kv *kv)
{
    struct kv_txn *t = xcalloc(1, sizeof *t);
    t->kv = kv;
    t->last = &t->first;
    return t;
}

struct kv *kv_txn_kv(const struct kv_txn *t)
{
    return t->kv;
}

static struct pending *find(struct kv_txn *t, int table, const void *key, size_t key_size,
                            uint64_t hash)
{
    for (struct pending *p = t->buckets[hash % BUCKETS]; p; p = p->next)
        if (p->hash == hash && p->table == table && p->key_size == key_size &&
            memcmp(p->key, key, key_size) == 0)
            return p;
    return NULL;
}

static uint64_t hash_of(int table, const void *key, size_t key_size)
{
    return hash64_seed(key, key_size, (uint64_t)table);
}

int kv_txn_get(struct kv_txn *t, int table, const void *key, size_t key_size,
               struct bytes_writer *ret)
{
    struct pending *p = find(t, table, key, key_size, hash_of(table, key, key_size));
    if (!p)
        return kv_get(t->kv, table, key, key_size, ret);
    bytes_writer_clear(ret);
    if (p->del)
        return -ENOENT;
    bytes_put(ret, p->value, p->value_size);
    return 0;
}

static struct pending *pending_for(struct kv_txn *t, int table, const void *key, size_t key_size)
{
    uint64_t hash = hash_of(table, key, key_size);
    struct pending *p = find(t, table, key, key_size, hash);
    if (p)
        return p;
    p = arena_take(&t->arena, sizeof *p);
    *p = (struct pending){.next = t->buckets[hash % BUCKETS],
                          .hash = hash,
                          .table = table,
                          .key = arena_take(&t->arena, key_size),
                          .key_size = key_size};
    if (key_size)
        memcpy(p->key, key, key_size);
    t->buckets[hash % BUCKETS] = p;
    *t->last = p;
    t->last = &p->after;
    return p;
}

void kv_txn_put(struct kv_txn *t, int table, const void *key, size_t key_size, const void *value,
                size_t value_size)
{
    struct pending *p = pending_for(t, table, key, key_size);
    if (value_size > p->value_room) {
        p->value = arena_take(&t->arena, value_size);
        p->value_room = value_size;
    }
    p->del = false;
    p->value_size = value_size;
    if (value_size)
        memcpy(p->value, value, value_size);
}

void kv_txn_del(struct kv_txn *t, int table, const void *key, size_t key_size)
{
    pending_for(t, table, key, key_size)->del = true;
}

void kv_txn_abort(struct kv_txn *t)
{
    arena_clear(&t->arena);
    memset(t->buckets, 0, sizeof t->buckets);
    t->first = NULL;
    t->last = &t->first;
}

int kv_txn_commit(struct kv_txn *t)
{
    for (struct pending *p = t->first; p; p = p->after) {
        if (p->del)
            kv_batch_del(&t->batch, p->table, p->key, p->key_size);
        else
            kv_batch_put(&t->batch, p->table, p->key, p->key_size, p->value, p->value_size);
    }
    int r = t->batch.count ? kv_write(t->kv, &t->batch) : 0;
    kv_batch_clear(&t->batch);
    kv_txn_abort(t);
    return r;
}

void kv_txn_free(struct kv_txn *t)
{
    if (!t)
        return;
    kv_txn_abort(t);
    arena_done(&t->arena);
    kv_batch_done(&t->batch);
    free(t);
}
