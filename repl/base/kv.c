#include "repl/base/kv.h"

#include <assert.h>
#include <string.h>

enum { OP_PUT = 1, OP_DEL = 2 };

static void add_op(struct kv_batch *b, uint8_t kind, int table, const void *key, size_t key_size)
{
    assert(table >= 0 && table < KV_TABLES_MAX);
    bytes_put_u8(&b->ops, kind);
    bytes_put_u8(&b->ops, (uint8_t)table);
    bytes_put_sized(&b->ops, key, key_size);
    b->count++;
}

void kv_batch_put(struct kv_batch *b, int table, const void *key, size_t key_size,
                  const void *value, size_t value_size)
{
    add_op(b, OP_PUT, table, key, key_size);
    bytes_put_sized(&b->ops, value, value_size);
}

void kv_batch_del(struct kv_batch *b, int table, const void *key, size_t key_size)
{
    add_op(b, OP_DEL, table, key, key_size);
}

void kv_batch_clear(struct kv_batch *b)
{
    bytes_writer_clear(&b->ops);
    b->count = 0;
}

void kv_batch_done(struct kv_batch *b)
{
    bytes_writer_done(&b->ops);
    b->count = 0;
}

bool kv_batch_next(const struct kv_batch *b, size_t *at, struct kv_op *ret)
{
    struct bytes_reader r;
    if (*at >= b->ops.size)
        return false;
    bytes_reader_init(&r, b->ops.data + *at, b->ops.size - *at);
    uint8_t kind = bytes_get_u8(&r);
    ret->table = bytes_get_u8(&r);
    ret->del = kind == OP_DEL;
    ret->key = bytes_get_sized(&r, UINT32_MAX);
    ret->value = (struct bytes){NULL, 0};
    if (kind == OP_PUT)
        ret->value = bytes_get_sized(&r, UINT32_MAX);
    assert(!r.bad); /* only kv_batch_put and _del write it */
    *at = (size_t)(r.at - b->ops.data);
    return true;
}

struct bytes kv_prefix_end(struct bytes_writer *ret, const void *prefix, size_t size)
{
    bytes_writer_clear(ret);
    bytes_put(ret, prefix, size);
    while (ret->size && ret->data[ret->size - 1] == 0xff)
        ret->size--;
    if (ret->size)
        ret->data[ret->size - 1]++;
    return (struct bytes){ret->data, ret->size};
}
