/* Growing arrays of any type: `vec_of(struct x) v = {0};`, then v.items[0 .. v.count - 1].
 * Items move when the array grows, so keep indexes and not pointers. */
#ifndef TALLY_REPL_BASE_VEC_H
#define TALLY_REPL_BASE_VEC_H

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

#define vec_of(type)                                                                               \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count;                                                                              \
        size_t capacity;                                                                           \
    }

/* Room for `wanted` items in all. */
#define vec_reserve(v, wanted)                                                                     \
    ((void)((v)->capacity < (wanted) &&                                                            \
            ((v)->capacity = (v)->capacity * 2 > (wanted) ? (v)->capacity * 2 : (wanted) + 4,      \
             (v)->items = xreallocarray((v)->items, (v)->capacity, sizeof(*(v)->items)), 1)))

#define vec_push(v, ...)                                                                           \
    (vec_reserve((v), (v)->count + 1), (void)((v)->items[(v)->count++] = (__VA_ARGS__)))

/* The last item, taken off; the array must not be empty. */
#define vec_pop(v) (assert((v)->count > 0), (v)->items[--(v)->count])

/* Takes item `i` out, keeping the order of the rest. */
#define vec_remove(v, i)                                                                           \
    ((void)memmove(&(v)->items[i], &(v)->items[(i) + 1],                                           \
                   ((v)->count - (i)-1) * sizeof(*(v)->items)),                                    \
     (void)(v)->count--)

/* Empties it and keeps the memory. */
#define vec_clear(v) ((void)((v)->count = 0))

/* Gives the memory back; empty and usable afterwards. */
#define vec_done(v)                                                                                \
    (free((v)->items), (v)->items = NULL, (void)((v)->count = 0), (void)((v)->capacity = 0))

#endif
