#include "repl/base/kv_behind.h"

#include <stdlib.h>

#include "repl/base/kv_txn.h"
#include "repl/base/mem.h"

struct kv_behind {
    struct kv kv;
    struct kv *below;
    struct kv_txn *waiting;
    size_t count; /* operations in it */
};

static int behind_settle(struct kv *kv)
{
    struct kv_behind *b = (struct kv_behind *)kv;
    int r = b->count ? kv_txn_commit(b->waiting) : 0;
    b->count = 0;
    return r;
}

static size_t behind_waiting(const struct kv *kv)
{
    return ((const struct kv_behind *)kv)->count;
}

static int behind_get(struct kv *kv, int table, const void *key, size_t key_size,
                      struct bytes_writer *ret)
{
    struct kv_behind *b = (struct kv_behind *)kv;
    return b->count ? kv_txn_get(b->waiting, table, key, key_size, ret)
                    : kv_get(b->below, table, key, key_size, ret);
}

static int behind_write(struct kv *kv, const struct kv_batch *batch)
{
    struct kv_behind *b = (struct kv_behind *)kv;
    int r = b->count + batch->count > KV_BEHIND_OPS_MAX ? behind_settle(kv) : 0;
    if (r < 0)
        return r;
    if (batch->count > KV_BEHIND_OPS_MAX)
        return kv_write(b->below, batch);
    size_t at = 0;
    struct kv_op op;
    while (kv_batch_next(batch, &at, &op)) {
        if (op.del)
            kv_txn_del(b->waiting, op.table, op.key.data, op.key.size);
        else
            kv_txn_put(b->waiting, op.table, op.key.data, op.key.size, op.value.data,
                       op.value.size);
    }
    b->count += batch->count;
    return 0;
}

/* Without what waits it would show something that never was; and an iterator has no way to say that
 * it could not be written. */
static struct kv_iter *behind_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                   struct bytes to)
{
    if (behind_settle(kv) < 0)
        abort();
    return kv_iter_floor(((struct kv_behind *)kv)->below, table, low, from, to);
}

static int behind_flush(struct kv *kv)
{
    return kv_flush(((struct kv_behind *)kv)->below);
}

static void behind_close(struct kv *kv)
{
    struct kv_behind *b = (struct kv_behind *)kv;
    (void)behind_settle(kv); /* of what was not flushed nothing is promised */
    kv_txn_free(b->waiting);
    kv_close(b->below);
    free(b);
}

struct kv *kv_behind_new(struct kv *below)
{
    static const struct kv_ops ops = {.get = behind_get,
                                      .write = behind_write,
                                      .iter = behind_iter,
                                      .flush = behind_flush,
                                      .close = behind_close,
                                      .settle = behind_settle,
                                      .waiting = behind_waiting};
    struct kv_behind *b = xcalloc(1, sizeof *b);
    b->kv.ops = &ops;
    b->below = below;
    b->waiting = kv_txn_new(below);
    return &b->kv;
}
