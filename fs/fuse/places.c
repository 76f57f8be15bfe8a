#include "fs/fuse/places.h"

#include <stdlib.h>

#include "repl/base/mem.h"

enum {
    INO_BITS = 48, /* numbers are given in turn, so none gets there */
    COUNT_MAX = 0xffff,
    DEPTH_MAX = 4096, /* of what is taken for a chain of parents, which may be a circle by now */
};

void places_done(struct places *p)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&p->by_node, &cursor, NULL, &value))
        free(value);
    map_done(&p->by_node);
    map_done(&p->by_ino);
    *p = (struct places){0};
}

uint64_t places_ino(const struct places *p, uint64_t node)
{
    if (node >> INO_BITS == 0)
        return node;
    const struct place *at = map_get(&p->by_node, node);
    return at ? at->ino : node;
}

static struct place *newest(const struct places *p, uint64_t ino)
{
    return map_get(&p->by_ino, ino);
}

const struct place *places_of(const struct places *p, uint64_t ino)
{
    return newest(p, ino);
}

bool places_many(const struct places *p, uint64_t ino)
{
    const struct place *at = newest(p, ino);
    return at && at->older;
}

/* ---- who walks again --------------------------------------------------------------------------
 */

void places_walk_again(struct places *p, pid_t thread, uint64_t now_ms)
{
    unsigned i = 0;
    while (i < PLACES_WALKERS && p->walkers[i].thread != thread)
        i++;
    if (i == PLACES_WALKERS)
        i = p->walkers_next++ % PLACES_WALKERS;
    p->walkers[i].thread = thread;
    p->walkers[i].at_ms = now_ms;
}

static bool walks_again(const struct places *p, pid_t thread, uint64_t now_ms)
{
    for (unsigned i = 0; i < PLACES_WALKERS; i++)
        if (p->walkers[i].thread == thread)
            return now_ms - p->walkers[i].at_ms < PLACES_AGAIN_MS;
    return false;
}

/* ---- nodes ------------------------------------------------------------------------------------
 */

static struct place *add(struct places *p, uint64_t ino, uint64_t node, uint64_t parent)
{
    struct place *at = xcalloc(1, sizeof *at);
    *at = (struct place){.node = node, .ino = ino, .parent = parent, .older = newest(p, ino)};
    (void)map_put(&p->by_node, node, at);
    (void)map_put(&p->by_ino, ino, at);
    return at;
}

/* 0: there is none to be had. */
static uint64_t free_node(const struct places *p, uint64_t ino)
{
    const struct place *last = newest(p, ino);
    uint64_t count = last ? last->node >> INO_BITS : 0;
    if (ino >> INO_BITS != 0)
        return last ? 0 : ino;
    for (unsigned tries = 0; last && tries < COUNT_MAX; tries++) {
        count = count == COUNT_MAX ? 0 : count + 1;
        uint64_t node = ino | count << INO_BITS;
        if (!map_get(&p->by_node, node))
            return node;
    }
    return last ? 0 : ino;
}

static struct place *find_in(const struct places *p, uint64_t ino, uint64_t parent)
{
    struct place *at = newest(p, ino);
    while (at && at->parent != parent)
        at = at->older;
    return at;
}

/* In Linux's tree `node` may be above `parent`, and then it can't be moved into it (ELOOP). */
static bool is_above(const struct places *p, uint64_t node, uint64_t parent)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        if (parent == node)
            return true;
        const struct place *at = map_get(&p->by_node, parent);
        if (!at)
            return false;
        parent = at->parent;
    }
    return true;
}

/* Where the one that may not have been moved is now, is not known. */
static void leave(struct place *at)
{
    if (at && at->moving)
        at->parent = 0;
}

uint64_t places_found(struct places *p, uint64_t ino, uint64_t parent, pid_t thread,
                      uint64_t now_ms, bool *ret_new)
{
    *ret_new = false;
    struct place *at = find_in(p, ino, parent);
    if (!at && !newest(p, ino))
        at = add(p, ino, free_node(p, ino), parent);
    if (!at || at->moving) {
        struct place *moves = at ? at : newest(p, ino);
        uint64_t other = walks_again(p, thread, now_ms) || is_above(p, moves->node, parent)
                             ? free_node(p, ino)
                             : 0;
        places_walk_again(p, thread, now_ms);
        if (other) {
            leave(at);
            at = add(p, ino, other, parent);
            *ret_new = true;
        } else {
            at = moves;
            at->parent = parent;
            at->moving = true;
        }
    }
    at->nlookup++;
    return at->node;
}

uint64_t places_listed(const struct places *p, uint64_t ino, uint64_t parent)
{
    const struct place *at = find_in(p, ino, parent);
    if (!at)
        return newest(p, ino) ? 0 : ino;
    return at->moving ? 0 : at->node;
}

void places_count_listed(struct places *p, uint64_t ino, uint64_t parent)
{
    struct place *at = find_in(p, ino, parent);
    if (!at)
        at = add(p, ino, ino, parent);
    at->nlookup++;
}

void places_renamed(struct places *p, uint64_t ino, uint64_t parent, uint64_t newparent)
{
    struct place *at = find_in(p, ino, parent);
    if (!at)
        return;
    at->parent = newparent;
    at->moving = false; /* it was found there to be renamed */
}

void places_forget(struct places *p, uint64_t node, uint64_t nlookup)
{
    struct place *at = map_get(&p->by_node, node);
    if (!at)
        return;
    at->nlookup -= nlookup < at->nlookup ? nlookup : at->nlookup;
    if (at->nlookup)
        return;
    struct place *first = newest(p, at->ino);
    if (first == at && at->older) {
        (void)map_put(&p->by_ino, at->ino, at->older);
    } else if (first == at) {
        (void)map_del(&p->by_ino, at->ino);
    } else {
        while (first->older != at)
            first = first->older;
        first->older = at->older;
    }
    (void)map_del(&p->by_node, at->node);
    free(at);
}
