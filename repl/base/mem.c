#include "repl/base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHED_MAX 1032u /* the largest piece that the cache of a thread has */

static void *checked(void *p, size_t size)
{
    if (p == NULL) {
        (void)fprintf(stderr, "tally: out of memory asking for %zu bytes\n", size);
        abort();
    }
    return p;
}

void *xmalloc(size_t size)
{
    /* malloc(0) may give NULL, which would look like a failure. */
    return checked(malloc(size != 0 ? size : 1), size);
}

void *xcalloc(size_t count, size_t size)
{
    /* calloc() of glibc before 2.41 passes a thread's own cache by, where malloc() would find a
     * small piece. */
    size_t bytes = 0;
    if (!__builtin_mul_overflow(count, size, &bytes) && bytes != 0 && bytes <= CACHED_MAX) {
        return memset(xmalloc(bytes), 0, bytes);
    }
    return checked(calloc(count != 0 ? count : 1, size != 0 ? size : 1), size);
}

void *xrealloc(void *p, size_t size)
{
    return checked(realloc(p, size != 0 ? size : 1), size);
}

void *xreallocarray(void *p, size_t count, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return checked(NULL, SIZE_MAX);
    }
    return xrealloc(p, bytes);
}

char *xstrdup(const char *s)
{
    return xmemdup(s, strlen(s) + 1);
}

void *xmemdup(const void *p, size_t size)
{
    void *copy = xmalloc(size);
    if (size != 0) {
        memcpy(copy, p, size);
    }
    return copy;
}

static uint64_t blob_bytes;

uint64_t blob_bytes_made(void)
{
    return __atomic_load_n(&blob_bytes, __ATOMIC_RELAXED);
}

struct blob *blob_new(size_t size)
{
    assert(size <= UINT32_MAX);
    size_t spare = size >= BLOB_ALIGN_MIN ? BLOB_ALIGN - 1 : 0, lead = 0;
    (void)__atomic_fetch_add(&blob_bytes, size, __ATOMIC_RELAXED);
    uint8_t *memory = xmalloc(sizeof(struct blob) + size + spare);
    if (spare != 0) { /* malloc's alignment is a divisor of BLOB_ALIGN */
        lead = (BLOB_ALIGN - ((uintptr_t)memory + sizeof(struct blob)) % BLOB_ALIGN) % BLOB_ALIGN;
    }
    struct blob *b = (struct blob *)(void *)(memory + lead);
    *b = (struct blob){.refs = 1, .size = (uint32_t)size, .lead = (uint32_t)lead};
    return b;
}

struct blob *blob_copy(const void *p, size_t size)
{
    struct blob *b = blob_new(size);
    if (size != 0) {
        memcpy(b->data, p, size);
    }
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    if (b != NULL) {
        uint32_t before = __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
        assert(before > 0);
    }
    return b;
}

void blob_unref(struct blob *b)
{
    if (b == NULL) {
        return;
    }
    /* Release and acquire: what other holders read happened before the memory is given back. */
    uint32_t before = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before == 1) {
        free((uint8_t *)b - b->lead);
    }
}
