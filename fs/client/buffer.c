#include "fs/client/buffer.h"

#include <assert.h>
#include <string.h>

#include "repl/base/mutant.h"

void layer_init(struct layer *l)
{
    *l = (struct layer){.cut_from = PAGE_NONE};
}

void layer_done(struct layer *l)
{
    for (size_t i = 0; i < l->pages.count; i++) {
        blob_unref(l->pages.items[i].blob);
    }
    vec_done(&l->pages);
    vec_done(&l->holes);
    l->cut_from = PAGE_NONE;
}

bool layer_empty(const struct layer *l)
{
    return l->pages.count == 0 && l->holes.count == 0 && l->cut_from == PAGE_NONE;
}

/* Index of the first page at or behind `no`. Appending is the usual case, so the end is tried
 * first. */
static size_t lower_bound(const struct layer *l, uint64_t no)
{
    size_t low = 0, high = l->pages.count;
    if (high == 0 || l->pages.items[high - 1].no < no) {
        return high;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->pages.items[middle].no < no) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct page *layer_find(const struct layer *l, uint64_t no)
{
    size_t i = lower_bound(l, no);
    return i < l->pages.count && l->pages.items[i].no == no ? &l->pages.items[i] : NULL;
}

/* Index of the first hole that ends behind page `no`. */
static size_t hole_behind(const struct layer *l, uint64_t no)
{
    size_t low = 0, high = l->holes.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->holes.items[middle].end <= no) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool layer_hides(const struct layer *l, uint64_t no)
{
    size_t h = hole_behind(l, no);
    return no >= l->cut_from || (h < l->holes.count && l->holes.items[h].first <= no);
}

void layer_count(const struct layer *l, uint64_t no, uint64_t *below, uint64_t *behind)
{
    size_t at = lower_bound(l, no);
    *below += at;
    *behind += l->pages.count - at;
}

int layer_data_at(const struct layer *l, uint64_t no, uint64_t *ret_end)
{
    size_t i = lower_bound(l, no);
    const struct page *p = i < l->pages.count ? &l->pages.items[i] : NULL;
    if (p != NULL && p->no == no) {
        *ret_end = no + 1;
        return p->blob != NULL && p->size != 0;
    }
    if (p != NULL && p->no < *ret_end) {
        *ret_end = p->no;
    }
    size_t h = hole_behind(l, no);
    uint64_t begin = h < l->holes.count ? l->holes.items[h].first : PAGE_NONE;
    if (no >= l->cut_from) {
        return 0;
    }
    bool hole = begin <= no;
    uint64_t end = hole ? l->holes.items[h].end : begin < l->cut_from ? begin : l->cut_from;
    *ret_end = end < *ret_end ? end : *ret_end;
    return hole ? 0 : -1;
}

/* The entry of `no`, made (without bytes) when missing. */
static struct page *find_or_add(struct layer *l, uint64_t no)
{
    size_t i = lower_bound(l, no);
    if (i == l->pages.count || l->pages.items[i].no != no) {
        vec_push(&l->pages, (struct page){0});
        memmove(&l->pages.items[i + 1], &l->pages.items[i],
                (l->pages.count - 1 - i) * sizeof(struct page));
        l->pages.items[i] = (struct page){.no = no};
    }
    return &l->pages.items[i];
}

void layer_put(struct layer *l, const struct page *page)
{
    struct page *p = find_or_add(l, page->no);
    struct blob *before = p->blob;
    *p = *page;
    (void)blob_ref(p->blob);
    blob_unref(before);
}

/* A blob of its own with the page's bytes and room for all of it. */
static void make_private(struct page *p)
{
    bool alone = p->blob != NULL && (p->blob->refs == 1 || MUTANT(named_block_changes));
    if (alone && p->blob->size - p->offset >= FS_PAGE) {
        return;
    }
    struct blob *own = blob_new(FS_PAGE);
    if (p->size != 0) {
        memcpy(own->data, p->blob->data + p->offset, p->size);
    }
    blob_unref(p->blob);
    p->blob = own;
    p->offset = 0;
}

void layer_write(struct layer *l, uint64_t no, uint32_t at, struct blob *blob, uint32_t offset,
                 uint32_t size, const struct page *below)
{
    assert(size > 0 && at + size <= FS_PAGE && offset + size <= blob->size);
    struct page *p = layer_find(l, no);
    uint32_t kept = p != NULL ? p->size : below != NULL ? below->size : 0;
    if (at == 0 && size >= kept) {
        layer_put(l, &(struct page){.no = no, .blob = blob, .offset = offset, .size = size});
        return;
    }
    if (p == NULL) {
        struct page base = below != NULL ? *below : (struct page){0};
        base.no = no;
        layer_put(l, &base);
        p = layer_find(l, no);
    }
    make_private(p);
    uint8_t *bytes = p->blob->data + p->offset;
    if (at > p->size) {
        memset(bytes + p->size, 0, at - p->size);
    }
    memcpy(bytes + at, blob->data + offset, size);
    p->size = at + size > p->size ? at + size : p->size;
}

static void drop_pages(struct layer *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        blob_unref(l->pages.items[i].blob);
    }
    if (to < l->pages.count) {
        memmove(&l->pages.items[from], &l->pages.items[to],
                (l->pages.count - to) * sizeof(struct page));
    }
    l->pages.count -= to - from;
}

void layer_forget(struct layer *l, uint64_t first, uint64_t end)
{
    drop_pages(l, lower_bound(l, first), lower_bound(l, end));
}

void layer_hole(struct layer *l, uint64_t first, uint64_t end)
{
    assert(first < end);
    drop_pages(l, lower_bound(l, first), lower_bound(l, end));
    if (end > l->cut_from) {
        end = l->cut_from;
    }
    if (first >= end) {
        return;
    }
    struct page_range hole = {first, end};
    size_t at = hole_behind(l, first != 0 ? first - 1 : 0), to = at; /* those it meets go into it */
    for (; to < l->holes.count && l->holes.items[to].first <= end; to++) {
        const struct page_range *old = &l->holes.items[to];
        hole.first = old->first < hole.first ? old->first : hole.first;
        hole.end = old->end > hole.end ? old->end : hole.end;
    }
    if (at == to) {
        vec_push(&l->holes, hole);
        memmove(&l->holes.items[at + 1], &l->holes.items[at],
                (l->holes.count - 1 - at) * sizeof hole);
    } else if (to < l->holes.count) {
        memmove(&l->holes.items[at + 1], &l->holes.items[to], (l->holes.count - to) * sizeof hole);
    }
    if (at != to) {
        l->holes.count -= to - at - 1;
    }
    l->holes.items[at] = hole;
}

void layer_cut(struct layer *l, uint64_t no)
{
    drop_pages(l, lower_bound(l, no), l->pages.count);
    while (l->holes.count != 0 && l->holes.items[l->holes.count - 1].first >= no) {
        l->holes.count--;
    }
    if (l->holes.count != 0 && l->holes.items[l->holes.count - 1].end > no) {
        l->holes.items[l->holes.count - 1].end = no;
    }
    if (no < l->cut_from) {
        l->cut_from = no;
    }
}
