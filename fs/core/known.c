#include "fs/core/known.h"

#include <stdlib.h>
#include <string.h>

struct file_map {
    uint64_t ino; /* 0: none */
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
    struct file_map maps[KNOWN_MAPS];
    struct newest_name names[KNOWN_SESSIONS];
};

struct known *known_new(void)
{
    return xcalloc(1, sizeof(struct known));
}

void known_free(struct known *k)
{
    for (size_t i = 0; k && i < KNOWN_MAPS; i++)
        vec_done(&k->maps[i].x);
    free(k);
}

/* ---- maps ------------------------------------------------------------------------------------ */

const extents *known_map(const struct known *k, uint64_t ino)
{
    const struct file_map *m = &k->maps[ino % KNOWN_MAPS];
    return m->ino == ino && m->whole ? &m->x : NULL;
}

static void forget(struct file_map *m)
{
    m->whole = false;
    vec_done(&m->x); /* it may have been long */
}

static void load(struct fs_state *s, struct file_map *m)
{
    struct kv_iter *it = extent_iter(s, m->ino, 0, UINT64_MAX);
    m->whole = true;
    for (; m->whole && kv_iter_valid(it); kv_iter_next(it)) {
        struct extent e;
        m->whole = m->x.count < KNOWN_EXTENTS_MAX &&
                   extent_decode(kv_iter_key(it), kv_iter_value(it), &e) == 0;
        if (m->whole)
            vec_push(&m->x, e);
    }
    kv_iter_free(it);
    if (!m->whole)
        forget(m);
}

/* Who shares its place with others in turn is never read: that would cost more than it saves. */
void known_look(struct fs_state *s, uint64_t ino)
{
    struct file_map *m = &s->known->maps[ino % KNOWN_MAPS];
    if (m->ino != ino) {
        forget(m);
        m->ino = ino;
        m->looks = 0;
    }
    if (m->looks < KNOWN_LOOKS && ++m->looks == KNOWN_LOOKS)
        load(s, m);
}

void known_edited(struct known *k, uint64_t ino, uint64_t first, const extents *old,
                  const extents *new)
{
    struct file_map *m = &k->maps[ino % KNOWN_MAPS];
    extents *x = &m->x;
    if (!known_map(k, ino))
        return;
    size_t at = extents_reach(x, first), behind = at + old->count, count = x->count;
    if (count - old->count + new->count > KNOWN_EXTENTS_MAX) {
        forget(m);
        return;
    }
    vec_reserve(x, count - old->count + new->count);
    if (count > behind && new->count != old->count)
        memmove(&x->items[at + new->count], &x->items[behind], (count - behind) * sizeof *x->items);
    if (new->count)
        memcpy(&x->items[at], new->items, new->count * sizeof *new->items);
    x->count = count - old->count + new->count;
}

void known_forget(struct known *k, uint64_t ino)
{
    struct file_map *m = &k->maps[ino % KNOWN_MAPS];
    if (m->ino != ino)
        return;
    forget(m);
    m->ino = 0;
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
