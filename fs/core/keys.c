#include "fs/core/keys.h"

#include <assert.h>
#include <string.h>

struct key key_0(enum key_tag tag)
{
    struct key k;
    k.size = 1;
    k.data[0] = (uint8_t)tag;
    return k;
}

struct key key_1(enum key_tag tag, uint64_t a)
{
    struct key k = key_0(tag);
    be64_put(k.data + 1, a);
    k.size = 9;
    return k;
}

struct key key_2(enum key_tag tag, uint64_t a, uint64_t b)
{
    struct key k = key_1(tag, a);
    be64_put(k.data + 9, b);
    k.size = 17;
    return k;
}

struct key key_name(enum key_tag tag, uint64_t a, const void *name, size_t size)
{
    assert(size <= KEY_NAME_MAX);
    struct key k = key_1(tag, a);
    if (size)
        memcpy(k.data + 9, name, size);
    k.size = (uint16_t)(9 + size);
    return k;
}

struct key key_uuid(const uint8_t uuid[16])
{
    struct key k = key_0(KEY_UUID);
    memcpy(k.data + 1, uuid, 16);
    k.size = 17;
    return k;
}

uint64_t key_number(struct bytes key, size_t i)
{
    return key.size < 9 + 8 * i ? 0 : be64_get(key.data + 1 + 8 * i);
}

struct kv_iter *key_walk(struct kv *kv, int table, const struct key *from, size_t prefix_size)
{
    assert(prefix_size <= from->size);
    struct bytes_writer end = {0};
    struct bytes to = kv_prefix_end(&end, from->data, prefix_size);
    struct kv_iter *it = kv_iter(kv, table, (struct bytes){from->data, from->size}, to);
    bytes_writer_done(&end);
    return it;
}
