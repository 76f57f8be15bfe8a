/* Memory for what goes together: pieces are taken one by one and given back all at once. */
#ifndef TALLY_REPL_BASE_ARENA_H
#define TALLY_REPL_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

/* Zero-initialised is empty. */
struct arena {
    struct arena_chunk *chunks; /* the newest first */
};

/* `size` bytes, aligned for any type, with anything in them; until arena_clear. */
void *arena_take(struct arena *a, size_t size);
/* All pieces are given back. The memory of a usual amount is kept for the next. */
void arena_clear(struct arena *a);
void arena_done(struct arena *a);

#endif
