/* The blocks of the twin test: small ones and a few of many runs. */
#include <string.h>

#include "tests/sim/twin.h"

static uint32_t size_of(int n)
{
    return n % 4 == 0 ? 40000 + (uint32_t)n * 577 : 100 + (uint32_t)n * 50;
}

struct blob *twin_bytes(int n)
{
    struct blob *b = blob_new(size_of(n));
    for (uint32_t i = 0; i < b->size; i++)
        b->data[i] = (uint8_t)((uint32_t)n * 31 + i * 7 + (i >> 12));
    return b;
}

struct blob *twin_join(const int *n, uint32_t count, uint32_t size)
{
    struct blob *all = blob_new(size);
    for (uint32_t k = 0, at = 0; k < count; k++) {
        struct blob *b = twin_bytes(n[k]);
        memcpy(all->data + at, b->data, b->size);
        at += b->size;
        blob_unref(b);
    }
    return all;
}

struct block_ref twin_ref(int n)
{
    struct blob *b = twin_bytes(n);
    struct block_ref ref = {{5, (uint64_t)n}, b->size, block_digest(b->data, b->size)};
    blob_unref(b);
    return ref;
}
