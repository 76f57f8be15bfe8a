#include "fs/core/known.h"

#include <stdlib.h>
#include <string.h>

/* Pages [number * STRETCH_PAGES, (number + 1) * STRETCH_PAGES) of a file. */
struct stretch {
    uint64_t ino; /* 0: none */
    uint64_t number;
    unsigned looks;
    bool whole;
    extents x; /* when `whole` */
};

/* No block of the session has a number above `last`. */
struct newest_name {
    uint64_t session; /* 0: none */
    uint64_t last;
};

struct known {
    struct stretch stretches[KNOWN_STRETCHES];
    struct newest_name names[KNOWN_SESSIONS];
};

struct known *known_new(void)
{
    return xcalloc(1, sizeof(struct known));
}

void known_free(struct known *k)
{
    for (size_t i = 0; k && i < KNOWN_STRETCHES; i++)
        vec_done(&k->stretches[i].x);
    free(k);
}

/* ---- maps ------------------------------------------------------------------------------------ */

static struct stretch *place_of(struct known *k, uint64_t ino, uint64_t number)
{
    uint64_t spread = ino * 0x9e3779b97f4a7c15u >> 32;
    return &k->stretches[(spread + number) % KNOWN_STRETCHES];
}

static bool in_one_stretch(uint64_t first, uint64_t end)
{
    return first < end && first / STRETCH_PAGES == (end - 1) / STRETCH_PAGES;
}

const extents *known_extents(struct known *k, uint64_t ino, uint64_t first, uint64_t end)
{
    uint64_t number = first / STRETCH_PAGES;
    const struct stretch *t = place_of(k, ino, number);
    bool it = t->ino == ino && t->number == number && t->whole && in_one_stretch(first, end);
    return it ? &t->x : NULL;
}

static void forget(struct stretch *t)
{
    t->whole = false;
    vec_done(&t->x);
}

static void load(struct fs_state *s, struct stretch *t)
{
    uint64_t first = t->number * STRETCH_PAGES;
    struct kv_iter *it = extent_iter(s, t->ino, first, first + STRETCH_PAGES);
    t->whole = true;
    for (; t->whole && kv_iter_valid(it); kv_iter_next(it)) {
        struct extent e;
        t->whole = extent_decode(kv_iter_key(it), kv_iter_value(it), &e) == 0;
        if (t->whole && e.first_page + e.pages > first)
            vec_push(&t->x, e);
    }
    kv_iter_free(it);
    if (!t->whole)
        forget(t);
}

/* Who shares its place with others in turn is never read: that would cost more than it saves. */
void known_look(struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end)
{
    if (!in_one_stretch(first, end))
        return;
    uint64_t number = first / STRETCH_PAGES;
    struct stretch *t = place_of(s->known, ino, number);
    if (t->ino != ino || t->number != number) {
        forget(t);
        *t = (struct stretch){.ino = ino, .number = number};
    }
    if (t->looks < KNOWN_LOOKS && ++t->looks == KNOWN_LOOKS)
        load(s, t);
}

/* All that reached into pages [first, end) is gone, and `new` is there now. */
static void replace(struct stretch *t, uint64_t first, uint64_t end, const extents *new)
{
    extents *x = &t->x;
    uint64_t begin = t->number * STRETCH_PAGES;
    size_t from = extents_reach(new, begin), until = from;
    while (until < new->count &&new->items[until].first_page < begin + STRETCH_PAGES)
        until++;
    size_t at = extents_reach(x, first), behind = at, count = until - from;
    while (behind < x->count && x->items[behind].first_page < end)
        behind++;
    size_t rest = x->count - behind;
    vec_reserve(x, at + count + rest);
    if (rest && at + count != behind)
        memmove(&x->items[at + count], &x->items[behind], rest * sizeof *x->items);
    if (count)
        memcpy(&x->items[at], &new->items[from], count * sizeof *new->items);
    x->count = at + count + rest;
}

static void widen(const extents *x, uint64_t *first, uint64_t *end)
{
    if (x->count == 0)
        return;
    const struct extent *head = &x->items[0], *tail = &x->items[x->count - 1];
    if (head->first_page < *first)
        *first = head->first_page;
    if (tail->first_page + tail->pages > *end)
        *end = tail->first_page + tail->pages;
}

/* Between the first and the last of both nothing else is left, nor was: extents do not overlap.
 * What an edit cut at its borders may reach into stretches that the edit itself did not. */
void known_edited(struct known *k, uint64_t ino, const extents *old, const extents *new)
{
    uint64_t first = UINT64_MAX, end = 0;
    widen(old, &first, &end);
    widen(new, &first, &end);
    if (first >= end)
        return; /* holes in the place of holes */
    if (end / STRETCH_PAGES - first / STRETCH_PAGES >= KNOWN_STRETCHES) {
        known_forget(k, ino, UINT64_MAX);
        return;
    }
    for (uint64_t n = first / STRETCH_PAGES; n <= (end - 1) / STRETCH_PAGES; n++) {
        struct stretch *t = place_of(k, ino, n);
        if (t->ino == ino && t->number == n && t->whole)
            replace(t, first, end, new);
    }
}

void known_forget(struct known *k, uint64_t ino, uint64_t end)
{
    uint64_t count = (end - 1) / STRETCH_PAGES + 1;
    for (uint64_t n = 0; end && n < count && n < KNOWN_STRETCHES; n++) {
        struct stretch *t = place_of(k, ino, n); /* each place, when there are more */
        if (t->ino == ino) {
            forget(t);
            t->ino = 0;
        }
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

static uint64_t last_name(const struct fs_state *s, uint64_t session)
{
    struct key low = key_of2(KEY_BLOCK, session, 0);
    struct key from = key_of2(KEY_BLOCK, session, UINT64_MAX);
    struct key to = key_of1(KEY_BLOCK, session + 1);
    struct kv_iter *it =
        kv_iter_floor(s->kv, s->table, (struct bytes){low.data, low.size},
                      (struct bytes){from.data, from.size}, (struct bytes){to.data, to.size});
    uint64_t last = kv_iter_valid(it) ? be64_get(kv_iter_key(it).data + 9) : 0;
    kv_iter_free(it);
    return last;
}

static struct newest_name *newest_of(struct fs_state *s, uint64_t session)
{
    return &s->known->names[session % KNOWN_SESSIONS];
}

bool known_name_is_new(struct fs_state *s, struct block_name name)
{
    struct newest_name *newest = newest_of(s, name.session);
    if (newest->session != name.session)
        *newest = (struct newest_name){name.session, last_name(s, name.session)};
    return name.n > newest->last;
}

void known_named(struct fs_state *s, struct block_name name)
{
    struct newest_name *newest = newest_of(s, name.session);
    if (newest->session == name.session && name.n > newest->last)
        newest->last = name.n;
}
