/* How extents and blocks are written down (docs/state.md). */
#include "fs/core/extent.h"

#include <errno.h>

#include "fs/core/known.h"

/* ---- extents as pairs ------------------------------------------------------------------------ */

int extent_decode(struct bytes key, struct bytes value, struct extent *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, value.data, value.size);
    ret->first_page = be64_get(key.data + 9);
    ret->pages = bytes_get_u32(&r);
    ret->block_page = bytes_get_u32(&r);
    ret->block.session = bytes_get_u64(&r);
    ret->block.n = bytes_get_u64(&r);
    return bytes_reader_ended(&r) && key.size == 17 && ret->pages ? 0 : -EIO;
}

typedef void pair_fn(struct apply *a, const struct key *k, const void *value, size_t size);

static void with_pair(struct apply *a, uint64_t ino, const struct extent *e, pair_fn *fn)
{
    struct bytes_writer w = {0};
    struct key k = key_of2(KEY_EXTENT, ino, e->first_page);
    bytes_put_u32(&w, e->pages);
    bytes_put_u32(&w, e->block_page);
    bytes_put_u64(&w, e->block.session);
    bytes_put_u64(&w, e->block.n);
    fn(a, &k, w.data, w.size);
    bytes_writer_done(&w);
}

void extent_put(struct apply *a, uint64_t ino, const struct extent *e)
{
    with_pair(a, ino, e, state_put_new);
}

void extent_del(struct apply *a, uint64_t ino, const struct extent *e)
{
    with_pair(a, ino, e, state_del_known);
}

/* Extents of a file do not overlap: of those that begin before `first` only the last may reach
 * there. */
struct kv_iter *extent_iter(const struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end)
{
    struct key low = key_of1(KEY_EXTENT, ino), from = key_of2(KEY_EXTENT, ino, first);
    struct key to =
        end == UINT64_MAX ? key_of1(KEY_EXTENT, ino + 1) : key_of2(KEY_EXTENT, ino, end);
    return kv_iter_floor(s->kv, s->table, (struct bytes){low.data, low.size},
                         (struct bytes){from.data, from.size}, (struct bytes){to.data, to.size});
}

/* The extent that begins at `first`. A look-up costs a tenth of an iterator. */
static bool load_one(const struct fs_state *s, uint64_t ino, uint64_t first, extents *ret)
{
    struct bytes_writer value = {0};
    struct key k = key_of2(KEY_EXTENT, ino, first);
    struct extent e;
    bool found = kv_get(s->kv, s->table, k.data, k.size, &value) == 0 &&
                 extent_decode((struct bytes){k.data, k.size},
                               (struct bytes){value.data, value.size}, &e) == 0;
    bytes_writer_done(&value);
    if (found)
        vec_push(ret, e);
    return found;
}

/* Most pages are written again as they were written before: then the extent that begins at `first`
 * is all there is, since extents do not overlap. */
static bool load_whole(const struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end,
                       extents *ret)
{
    if (!load_one(s, ino, first, ret))
        return false;
    bool whole = ret->items[ret->count - 1].pages >= end - first;
    ret->count -= !whole;
    return whole;
}

size_t extents_reach(const extents *x, uint64_t first)
{
    size_t from = 0, to = x->count;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (x->items[mid].first_page + x->items[mid].pages > first)
            to = mid;
        else
            from = mid + 1;
    }
    return from;
}

int extents_load(const struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end, extents *ret)
{
    const extents *known = known_extents(s->known, ino, first, end);
    if (known) {
        size_t i = extents_reach(known, first);
        for (; i < known->count && known->items[i].first_page < end; i++)
            vec_push(ret, known->items[i]);
        return 0;
    }
    if (end != UINT64_MAX && load_whole(s, ino, first, end, ret))
        return 0;
    struct kv_iter *it = extent_iter(s, ino, first, end);
    int r = 0;
    for (; r == 0 && kv_iter_valid(it); kv_iter_next(it)) {
        struct extent e;
        r = extent_decode(kv_iter_key(it), kv_iter_value(it), &e);
        if (r == 0 && e.first_page + e.pages > first)
            vec_push(ret, e);
    }
    kv_iter_free(it);
    return r;
}

enum { LOOKED_UP_MAX = 8 }; /* more of them cost as much as an iterator */

/* Most files are a few extents without holes between them. */
int extents_load_all(const struct fs_state *s, uint64_t ino, uint64_t pages, extents *ret)
{
    uint64_t at = 0;
    while (at < pages && ret->count < LOOKED_UP_MAX && load_one(s, ino, at, ret))
        at += ret->items[ret->count - 1].pages;
    if (at == pages)
        return 0;
    vec_clear(ret);
    return extents_load(s, ino, 0, UINT64_MAX, ret);
}

/* ---- blocks as pairs ------------------------------------------------------------------------- */

int block_decode(const void *p, size_t size, struct block *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, p, size);
    ret->size = bytes_get_u32(&r);
    ret->refs = bytes_get_u64(&r);
    if (r.bad || ret->size == 0 || ret->size > BLOCK_SIZE_MAX)
        return -EIO;
    ret->runs_count = block_runs(ret->size);
    for (uint32_t i = 0; i < ret->runs_count; i++)
        ret->runs[i] = bytes_get_u64(&r);
    return bytes_reader_ended(&r) ? 0 : -EIO;
}

struct block_ref block_ref_of(struct block_name name, const struct block *b)
{
    return (struct block_ref){name, b->size, block_digest_of_runs(b->runs, b->runs_count)};
}

void block_put(struct apply *a, struct block_name name, const struct block *b, bool is_new)
{
    struct bytes_writer w = {0};
    struct key k = key_of2(KEY_BLOCK, name.session, name.n);
    bytes_put_u32(&w, b->size);
    bytes_put_u64(&w, b->refs);
    for (uint32_t i = 0; i < b->runs_count; i++)
        bytes_put_u64(&w, b->runs[i]);
    (is_new ? state_put_new : state_put)(a, &k, w.data, w.size);
    bytes_writer_done(&w);
}
