/* Hash map from a 64-bit number to a pointer. Pure; the hash has no seed, so that a run repeats,
 * but nothing may depend on the order of a walk. */
#ifndef TALLY_REPL_BASE_MAP_H
#define TALLY_REPL_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key;
    void *value; /* NULL: empty */
};

/* Zero-initialised is empty. */
struct map {
    struct map_slot *slots;
    size_t count;
    size_t capacity; /* power of two, or 0 */
};

void map_init(struct map *m);
/* Frees the map, not what it points to. */
void map_done(struct map *m);
/* NULL when there is none. */
void *map_get(const struct map *m, uint64_t key);
/* Adds or replaces; `value` is not NULL. Returns the value replaced, or NULL. */
void *map_put(struct map *m, uint64_t key, void *value);
/* Returns the value taken out, or NULL. */
void *map_del(struct map *m, uint64_t key);
/* Empties it and keeps the memory. */
void map_clear(struct map *m);

/* Walks all pairs: start with *cursor = 0, ends with false. The map must not change in between:
 * collect first, then change. `ret_key` may be NULL. */
bool map_next(const struct map *m, size_t *cursor, uint64_t *ret_key, void **ret_value);

#endif
