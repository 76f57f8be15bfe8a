#include "fs/core/lock_list.h"

#include <errno.h>
#include <stdlib.h>

#include "repl/base/mutant.h"

static bool same_owner(const struct fs_lock *a, const struct fs_lock *b)
{
    return a->flock == b->flock && a->session == b->session && a->owner == b->owner;
}

bool fs_lock_conflicts(const struct fs_lock *a, const struct fs_lock *b)
{
    return a->flock == b->flock && !same_owner(a, b) && (a->write || b->write) &&
           a->first <= b->last && b->first <= a->last;
}

const struct fs_lock *fs_locks_in_the_way(const fs_lock_list *locks, const struct fs_lock *want)
{
    for (size_t i = 0; i < locks->count; i++)
        if (fs_lock_conflicts(&locks->items[i], want))
            return &locks->items[i];
    return NULL;
}

/* ---- changing it ----------------------------------------------------------------------------- */

static int compare(const void *x, const void *y)
{
    const struct fs_lock *a = x, *b = y;
    if (a->flock != b->flock)
        return a->flock ? 1 : -1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    return a->owner < b->owner ? -1 : a->owner > b->owner;
}

/* What is left of `l` outside of [first, last] stays. */
static void keep_outside(fs_lock_list *to, const struct fs_lock *l, uint64_t first, uint64_t last)
{
    struct fs_lock part = *l;
    if (l->first < first) {
        part.last = first - 1 < l->last ? first - 1 : l->last;
        vec_push(to, part);
    }
    if (l->last > last) {
        part = *l;
        part.first = last + 1 > l->first ? last + 1 : l->first;
        vec_push(to, part);
    }
}

/* Adjacent ranges of one owner and type are one lock, as F_GETLK shows them. */
static void put_merged(fs_lock_list *to, struct fs_lock l)
{
    for (size_t i = 0; i < to->count;) {
        const struct fs_lock *o = &to->items[i];
        bool touch = o->first <= l.last + 1 && l.first <= o->last + 1;
        if (!touch || !same_owner(o, &l) || o->write != l.write) {
            i++;
            continue;
        }
        l.first = o->first < l.first ? o->first : l.first;
        l.last = o->last > l.last ? o->last : l.last;
        to->items[i] = to->items[--to->count];
        i = 0; /* it may touch those before now */
    }
    vec_push(to, l);
}

int fs_locks_change(fs_lock_list *locks, const struct fs_lock *want, bool unlock)
{
    fs_lock_list new = {0};
    if (!unlock && fs_locks_in_the_way(locks, want) && !MUTANT(locks_not_exclusive))
        return EAGAIN;
    for (size_t i = 0; i < locks->count; i++) {
        const struct fs_lock *l = &locks->items[i];
        if (same_owner(l, want))
            keep_outside(&new, l, want->first, want->last);
        else
            vec_push(&new, *l);
    }
    if (!unlock)
        put_merged(&new, *want);
    bool more = !unlock || new.count > locks->count; /* what was let grow before can still shrink */
    if (more && new.count > FS_LOCKS_MAX) {
        vec_done(&new);
        return ENOLCK;
    }
    if (new.count > 1)
        qsort(new.items, new.count, sizeof *new.items, compare);
    vec_done(locks);
    *locks = new;
    return 0;
}

/* ---- comparing two --------------------------------------------------------------------------- */

static void subtract_one(const struct fs_lock *l, const fs_lock_list *b, fs_lock_list *ret)
{
    fs_lock_list parts = {0}, left = {0};
    vec_push(&parts, *l);
    for (size_t k = 0; k < b->count; k++) {
        const struct fs_lock *o = &b->items[k];
        if (!same_owner(l, o) || l->write != o->write)
            continue;
        for (size_t i = 0; i < parts.count; i++)
            keep_outside(&left, &parts.items[i], o->first, o->last);
        fs_lock_list used = parts;
        parts = left;
        left = used;
        vec_clear(&left);
    }
    for (size_t i = 0; i < parts.count; i++)
        vec_push(ret, parts.items[i]);
    vec_done(&parts);
    vec_done(&left);
}

void fs_locks_subtract(const fs_lock_list *a, const fs_lock_list *b, fs_lock_list *ret)
{
    for (size_t i = 0; i < a->count; i++)
        subtract_one(&a->items[i], b, ret);
}
