/* Reads of maps and blocks. */
#include <errno.h>
#include <string.h>

#include "fs/core/extent.h"

bool fs_block_named(const struct fs_state *s, struct block_name name, struct block_ref *ret_ref)
{
    struct bytes_writer v = {0};
    struct key k = key_of2(KEY_BLOCK, name.session, name.n);
    struct block b;
    bool found =
        kv_get(s->kv, s->table, k.data, k.size, &v) == 0 && block_decode(v.data, v.size, &b) == 0;
    bytes_writer_done(&v);
    if (found && ret_ref)
        *ret_ref = block_ref_of(name, &b);
    return found;
}

int fs_block_runs(const struct fs_state *s, struct block_name name,
                  uint64_t ret_runs[BLOCK_RUNS_MAX])
{
    struct bytes_writer v = {0};
    struct key k = key_of2(KEY_BLOCK, name.session, name.n);
    struct block b;
    int r = kv_get(s->kv, s->table, k.data, k.size, &v);
    if (r == 0)
        r = block_decode(v.data, v.size, &b);
    bytes_writer_done(&v);
    if (r < 0)
        return r;
    memcpy(ret_runs, b.runs, b.runs_count * sizeof *b.runs);
    return (int)b.runs_count;
}

void fs_each_block(const struct fs_state *s, fs_block_fn *each, void *ctx)
{
    struct key prefix = key_of(KEY_BLOCK);
    struct kv_iter *it = state_iter(s, &prefix);
    for (bool more = true; more && kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes k = kv_iter_key(it), v = kv_iter_value(it);
        struct block b;
        if (block_decode(v.data, v.size, &b) == 0) {
            struct block_name name = {be64_get(k.data + 1), be64_get(k.data + 9)};
            struct block_ref ref = block_ref_of(name, &b);
            more = each(ctx, &ref);
        }
    }
    kv_iter_free(it);
}

int fs_read_map(const struct fs_state *s, uint64_t ino, uint64_t first_page, uint64_t pages,
                struct fs_extent *ret, size_t max)
{
    extents x = {0};
    uint64_t end = pages > PAGES_MAX ? UINT64_MAX : first_page + pages;
    int r = extents_load(s, ino, first_page, end, &x);
    size_t n = 0;
    for (size_t i = 0; r == 0 && i < x.count && n < max; i++) {
        struct extent e = x.items[i];
        struct fs_extent *to = &ret[n++];
        uint64_t e_end = e.first_page + e.pages;
        uint64_t from = e.first_page > first_page ? e.first_page : first_page;
        uint64_t until = e_end < end ? e_end : end;
        to->first_page = from;
        to->pages = (uint32_t)(until - from);
        to->block_page = e.block_page + (uint32_t)(from - e.first_page);
        if (!fs_block_named(s, e.block, &to->block))
            r = -EIO;
    }
    vec_done(&x);
    return r < 0 ? r : (int)n;
}

enum { EXTENTS_LOOKED_AT_MAX = 1 << 16 }; /* for one answer */

int fs_data_ranges(const struct fs_state *s, uint64_t ino, uint64_t first_page,
                   struct fs_range *ret, size_t max, uint64_t *ret_until)
{
    struct kv_iter *it = extent_iter(s, ino, first_page, UINT64_MAX);
    size_t n = 0, looked_at = 0;
    int r = 0;
    *ret_until = UINT64_MAX;
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct extent e;
        r = extent_decode(kv_iter_key(it), kv_iter_value(it), &e);
        if (r < 0)
            break;
        uint64_t end = e.first_page + e.pages;
        uint64_t begin = e.first_page > first_page ? e.first_page : first_page;
        if (end <= first_page)
            continue;
        bool joins = n && ret[n - 1].first_page + ret[n - 1].pages == begin;
        if ((n == max && !joins) || ++looked_at > EXTENTS_LOOKED_AT_MAX) {
            *ret_until = begin;
            break;
        }
        if (joins)
            ret[n - 1].pages += end - begin;
        else
            ret[n++] = (struct fs_range){begin, end - begin};
    }
    kv_iter_free(it);
    return r < 0 ? r : (int)n;
}
