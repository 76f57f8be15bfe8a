#include "fs/core/keys.h"

#include <assert.h>
#include <string.h>

#include "repl/base/bytes.h"

struct key key_of(enum key_tag tag)
{
    struct key k = {.size = 1};
    k.data[0] = (uint8_t)tag;
    return k;
}

struct key key_of1(enum key_tag tag, uint64_t a)
{
    struct key k = key_of(tag);
    be64_put(k.data + 1, a);
    k.size = 9;
    return k;
}

struct key key_of2(enum key_tag tag, uint64_t a, uint64_t b)
{
    struct key k = key_of1(tag, a);
    be64_put(k.data + 9, b);
    k.size = 17;
    return k;
}

struct key key_of_name(enum key_tag tag, uint64_t a, const void *name, size_t size)
{
    struct key k = key_of1(tag, a);
    assert(size <= KEY_SIZE_MAX - k.size);
    memcpy(k.data + k.size, name, size);
    k.size += size;
    return k;
}

struct key key_of_uuid(const uint8_t uuid[16])
{
    struct key k = key_of(KEY_UUID);
    memcpy(k.data + 1, uuid, 16);
    k.size = 17;
    return k;
}
