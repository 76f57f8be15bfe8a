#include "repl/base/hash.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct hash_stream), "room for the state of XXH3");
_Static_assert(_Alignof(XXH3_state_t) <= _Alignof(struct hash_stream), "alignment for XXH3");

uint64_t hash64(const void *p, size_t size)
{
    return XXH3_64bits(p, size);
}

uint64_t hash64_seed(const void *p, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, size, seed);
}

void hash_stream_init(struct hash_stream *s)
{
    /* XXH3 reads its seed from the state even before a reset. */
    XXH3_INITSTATE((XXH3_state_t *)(void *)s);
    (void)XXH3_64bits_reset((XXH3_state_t *)(void *)s);
}

void hash_stream_add(struct hash_stream *s, const void *p, size_t size)
{
    if (size != 0) {
        (void)XXH3_64bits_update((XXH3_state_t *)(void *)s, p, size);
    }
}

uint64_t hash_stream_end(const struct hash_stream *s)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)s);
}
