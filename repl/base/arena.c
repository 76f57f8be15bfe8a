#include "repl/base/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "repl/base/mem.h"

#define CHUNK_SIZE 8192u

#ifdef __SANITIZE_ADDRESS__
#define KEEPS_CHUNK false /* so that a piece used after its time is seen */
#else
#define KEEPS_CHUNK true
#endif

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used;
    _Alignas(max_align_t) uint8_t bytes[];
};

static void add_chunk(struct arena *a, size_t size)
{
    size_t wanted = size > CHUNK_SIZE ? size : CHUNK_SIZE;
    struct arena_chunk *c = xmalloc(sizeof(*c) + wanted);
    *c = (struct arena_chunk){.next = a->chunks, .size = wanted};
    a->chunks = c;
}

void *arena_take(struct arena *a, size_t size)
{
    size_t unit = _Alignof(max_align_t);
    size_t rounded = (size + unit - 1) / unit * unit;
    if (a->chunks == NULL || rounded > a->chunks->size - a->chunks->used) {
        add_chunk(a, rounded);
    }
    void *piece = a->chunks->bytes + a->chunks->used;
    a->chunks->used += rounded;
    return piece;
}

static void drop_newest(struct arena *a)
{
    struct arena_chunk *c = a->chunks;
    a->chunks = c->next;
    free(c);
}

void arena_clear(struct arena *a)
{
    while (a->chunks != NULL &&
           (a->chunks->next != NULL || a->chunks->size > CHUNK_SIZE || !KEEPS_CHUNK)) {
        drop_newest(a);
    }
    if (a->chunks != NULL) {
        a->chunks->used = 0;
    }
}

void arena_done(struct arena *a)
{
    while (a->chunks != NULL) {
        drop_newest(a);
    }
}
