/* An ordered key-value store, as the namespace and the block index see it: an interface with two
 * bodies, RocksDB (repl/io/kv_rocks.h) in the program and kv_mem.h in tests and in the simulator.
 *
 * A store has a few tables. Keys and values are bytes; keys order by memcmp, the shorter first. A
 * batch is applied as a whole; what one batch wrote to several tables stays together through a
 * crash (RULES S2). Durable only after kv_settle and kv_flush. */
#ifndef TALLY_REPL_BASE_KV_H
#define TALLY_REPL_BASE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/bytes.h"

enum { KV_TABLES_MAX = 4 };

struct kv;
struct kv_iter;

/* Puts and deletes, in order. Zero-initialised is empty. */
struct kv_batch {
    struct bytes_writer ops;
    size_t count;
};
void kv_batch_put(struct kv_batch *b, int table, const void *key, size_t key_size,
                  const void *value, size_t value_size);
void kv_batch_del(struct kv_batch *b, int table, const void *key, size_t key_size);
void kv_batch_clear(struct kv_batch *b);
void kv_batch_done(struct kv_batch *b);

/* Walks a batch: zero-initialise `at`, call until false. */
struct kv_op {
    int table;
    bool del;
    struct bytes key, value;
};
bool kv_batch_next(const struct kv_batch *b, size_t *at, struct kv_op *ret);

/* What a body provides. All but `flush` and `checkpoint` are called on one thread. */
struct kv_ops {
    /* Replaces the content of `ret` by the value. 0, -ENOENT, or -EIO when the store cannot read
     * it. */
    int (*get)(struct kv *kv, int table, const void *key, size_t key_size,
               struct bytes_writer *ret);
    /* All of it or nothing. 0 or -EIO. */
    int (*write)(struct kv *kv, const struct kv_batch *batch);
    /* Keys up to `to`, without it; an empty `to` means no end. The first is the last key at or
     * below `from` that is not below `low`, when there is one; else the first above `from`. A
     * stable view: later writes do not show. */
    struct kv_iter *(*iter)(struct kv *kv, int table, struct bytes low, struct bytes from,
                            struct bytes to);
    /* Everything written and settled before the call is durable after it. May be called on a worker
     * thread. 0 or -EIO. */
    int (*flush)(struct kv *kv);
    void (*close)(struct kv *kv);
    /* Writes that were put off are made now. 0 or -EIO; NULL: none ever are. */
    int (*settle)(struct kv *kv);
    /* So many puts and deletes are put off. NULL: none ever are. */
    size_t (*waiting)(const struct kv *kv);
};
struct kv {
    const struct kv_ops *ops;
};

/* One position; key and value are borrowed until the next call on the iterator. */
struct kv_iter_ops {
    bool (*valid)(const struct kv_iter *it);
    void (*next)(struct kv_iter *it);
    struct bytes (*key)(const struct kv_iter *it);
    struct bytes (*value)(const struct kv_iter *it);
    void (*free)(struct kv_iter *it);
};
struct kv_iter {
    const struct kv_iter_ops *ops;
};

static inline int kv_get(struct kv *kv, int table, const void *key, size_t key_size,
                         struct bytes_writer *ret)
{
    return kv->ops->get(kv, table, key, key_size, ret);
}

static inline int kv_write(struct kv *kv, const struct kv_batch *batch)
{
    return kv->ops->write(kv, batch);
}

/* Keys in [from, to); an empty `to` means no end. */
static inline struct kv_iter *kv_iter(struct kv *kv, int table, struct bytes from, struct bytes to)
{
    return kv->ops->iter(kv, table, from, from, to);
}

/* As kv_iter, but begins with the last key in [low, from] when there is one. `from` is below `to`.
 */
static inline struct kv_iter *kv_iter_floor(struct kv *kv, int table, struct bytes low,
                                            struct bytes from, struct bytes to)
{
    return kv->ops->iter(kv, table, low, from, to);
}

static inline int kv_flush(struct kv *kv)
{
    return kv->ops->flush(kv);
}

static inline int kv_settle(struct kv *kv)
{
    return kv->ops->settle ? kv->ops->settle(kv) : 0;
}

static inline size_t kv_waiting(const struct kv *kv)
{
    return kv->ops->waiting ? kv->ops->waiting(kv) : 0;
}

/* NULL is fine. */
static inline void kv_close(struct kv *kv)
{
    if (kv)
        kv->ops->close(kv);
}

static inline bool kv_iter_valid(const struct kv_iter *it)
{
    return it->ops->valid(it);
}

static inline void kv_iter_next(struct kv_iter *it)
{
    it->ops->next(it);
}

static inline struct bytes kv_iter_key(const struct kv_iter *it)
{
    return it->ops->key(it);
}

static inline struct bytes kv_iter_value(const struct kv_iter *it)
{
    return it->ops->value(it);
}

static inline void kv_iter_free(struct kv_iter *it)
{
    if (it)
        it->ops->free(it);
}

/* Writes into `ret` the smallest key above all keys that begin with `prefix`; empty when there is
 * none. Returns the bytes, good while `ret` is. */
struct bytes kv_prefix_end(struct bytes_writer *ret, const void *prefix, size_t size);

#endif
