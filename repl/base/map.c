#include "repl/base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

/* Open addressing with linear probing, at most 3/4 full. A removal moves later items back instead
 * of leaving a mark, so that a map with much coming and going never slows down. */

/* The finaliser of splitmix64: consecutive numbers (inodes, indexes) must not cluster. */
static size_t home(const struct map *m, uint64_t key)
{
    key = (key ^ (key >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    key = (key ^ (key >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (size_t)(key ^ (key >> 31)) & (m->capacity - 1);
}

/* The slot of `key`, or the empty slot where it belongs. Needs capacity > count. */
static struct map_slot *probe(const struct map *m, uint64_t key)
{
    size_t i = home(m, key);
    while (m->slots[i].value != NULL && m->slots[i].key != key) {
        i = (i + 1) & (m->capacity - 1);
    }
    return &m->slots[i];
}

static void grow(struct map *m)
{
    struct map bigger = {.capacity = m->capacity != 0 ? m->capacity * 2 : 16, .count = m->count};
    bigger.slots = xcalloc(bigger.capacity, sizeof(*bigger.slots));
    for (size_t i = 0; i < m->capacity; i++) {
        if (m->slots[i].value != NULL) {
            *probe(&bigger, m->slots[i].key) = m->slots[i];
        }
    }
    free(m->slots);
    *m = bigger;
}

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_done(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->count != 0 ? probe(m, key)->value : NULL;
}

void *map_put(struct map *m, uint64_t key, void *value)
{
    assert(value != NULL);
    if ((m->count + 1) * 4 > m->capacity * 3) {
        grow(m);
    }
    struct map_slot *slot = probe(m, key);
    void *before = slot->value;
    *slot = (struct map_slot){.key = key, .value = value};
    m->count += before == NULL;
    return before;
}

void *map_del(struct map *m, uint64_t key)
{
    if (m->count == 0) {
        return NULL;
    }
    struct map_slot *slot = probe(m, key);
    void *before = slot->value;
    if (before == NULL) {
        return NULL;
    }
    size_t mask = m->capacity - 1;
    size_t hole = (size_t)(slot - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        /* May move back only as far as its home: the hole must lie between home and here. */
        if (((i - home(m, m->slots[i].key)) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    m->count--;
    return before;
}

void map_clear(struct map *m)
{
    if (m->count != 0) {
        memset(m->slots, 0, m->capacity * sizeof(*m->slots));
        m->count = 0;
    }
}

bool map_next(const struct map *m, size_t *cursor, uint64_t *ret_key, void **ret_value)
{
    while (*cursor < m->capacity) {
        const struct map_slot *slot = &m->slots[(*cursor)++];
        if (slot->value != NULL) {
            if (ret_key != NULL) {
                *ret_key = slot->key;
            }
            *ret_value = slot->value;
            return true;
        }
    }
    return false;
}
