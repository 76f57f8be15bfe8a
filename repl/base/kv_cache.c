#include "repl/base/kv_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "repl/base/mem.h"

/* A key has one place only; who comes to it later takes it. */
struct slot {
    uint64_t hash;
    uint8_t *pair; /* key, then value; NULL: never used */
    uint16_t room, key_size, value_size;
    uint8_t table;
    bool used;
    bool absent; /* there is no such key below */
};

struct kv_cache {
    struct kv kv;
    struct kv *below;
    struct slot slots[KV_CACHE_SLOTS];
};

static uint64_t hash_of(int table, const void *key, size_t key_size)
{
    return hash64_seed(key, key_size, (uint64_t)table);
}

static struct slot *place_of(struct kv_cache *c, uint64_t hash)
{
    return &c->slots[hash % KV_CACHE_SLOTS];
}

static bool is_of(const struct slot *s, int table, const void *key, size_t key_size, uint64_t hash)
{
    return s->used && s->hash == hash && s->table == table && s->key_size == key_size &&
           memcmp(s->pair, key, key_size) == 0;
}

/* `value` NULL: it is not there. What is too long leaves the place empty, so that nothing older is
 * found in it. */
static void remember(struct slot *s, int table, struct bytes key, const struct bytes *value,
                     uint64_t hash)
{
    size_t size = key.size + (value ? value->size : 0);
    s->used = size <= KV_CACHE_PAIR_MAX;
    if (!s->used)
        return;
    if (!s->pair || s->room < size) {
        s->room = (uint16_t)((size + 31) / 32 * 32 + 32);
        free(s->pair);
        s->pair = xmalloc(s->room);
    }
    s->hash = hash;
    s->table = (uint8_t)table;
    s->key_size = (uint16_t)key.size;
    s->absent = !value;
    s->value_size = value ? (uint16_t)value->size : 0;
    if (key.size)
        memcpy(s->pair, key.data, key.size);
    if (s->value_size)
        memcpy(s->pair + key.size, value->data, value->size);
}

static int cache_get(struct kv *kv, int table, const void *key, size_t key_size,
                     struct bytes_writer *ret)
{
    struct kv_cache *c = (struct kv_cache *)kv;
    uint64_t hash = hash_of(table, key, key_size);
    struct slot *s = place_of(c, hash);
    if (is_of(s, table, key, key_size, hash)) {
        bytes_writer_clear(ret);
        if (s->absent)
            return -ENOENT;
        bytes_put(ret, s->pair + s->key_size, s->value_size);
        return 0;
    }
    int r = kv_get(c->below, table, key, key_size, ret);
    struct bytes value = {ret->data, ret->size};
    if (r == 0 || r == -ENOENT)
        remember(s, table, (struct bytes){key, key_size}, r == 0 ? &value : NULL, hash);
    return r;
}

static int cache_write(struct kv *kv, const struct kv_batch *batch)
{
    struct kv_cache *c = (struct kv_cache *)kv;
    int r = kv_write(c->below, batch);
    size_t at = 0;
    struct kv_op op;
    while (kv_batch_next(batch, &at, &op)) {
        uint64_t hash = hash_of(op.table, op.key.data, op.key.size);
        struct slot *s = place_of(c, hash);
        if (r < 0)
            s->used = false; /* who knows what is there now */
        else
            remember(s, op.table, op.key, op.del ? NULL : &op.value, hash);
    }
    return r;
}

static struct kv_iter *cache_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                  struct bytes to)
{
    return kv_iter_floor(((struct kv_cache *)kv)->below, table, low, from, to);
}

static int cache_flush(struct kv *kv)
{
    return kv_flush(((struct kv_cache *)kv)->below);
}

static void cache_close(struct kv *kv)
{
    struct kv_cache *c = (struct kv_cache *)kv;
    kv_close(c->below);
    for (size_t i = 0; i < KV_CACHE_SLOTS; i++)
        free(c->slots[i].pair);
    free(c);
}

struct kv *kv_cache_new(struct kv *below)
{
    static const struct kv_ops ops = {.get = cache_get,
                                      .write = cache_write,
                                      .iter = cache_iter,
                                      .flush = cache_flush,
                                      .close = cache_close};
    struct kv_cache *c = xcalloc(1, sizeof *c);
    c->kv.ops = &ops;
    c->below = below;
    return &c->kv;
}
