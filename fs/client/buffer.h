/* Dirty pages of a file, and what one COMMIT froze of them: a layer over older layers over the
 * committed file. Pure.
 *
 * A page is a slice of a counted blob; bytes of a page behind the slice are zeros. Writing whole
 * pages keeps the kernel's blob, so their bytes are not copied; a page that changes again is
 * changed in place only while nobody else holds its blob (a frozen COMMIT, an answer under way):
 * RULES B1. */
#ifndef TALLY_FS_CLIENT_BUFFER_H
#define TALLY_FS_CLIENT_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/base/mem.h"
#include "repl/base/vec.h"

#define FS_PAGE   4096u
#define PAGE_NONE UINT64_MAX

struct page {
    uint64_t no;
    struct blob *blob; /* NULL: zeros */
    uint32_t offset, size;
};

struct page_range {
    uint64_t first, end;
};

struct layer {
    vec_of(struct page) pages;       /* by number */
    vec_of(struct page_range) holes; /* hide older layers; in order, apart from one another */
    uint64_t cut_from;               /* older layers end at this page; PAGE_NONE: they don't */
};

void layer_init(struct layer *l);
void layer_done(struct layer *l);
bool layer_empty(const struct layer *l);
/* The page, or NULL. Good until the layer changes. */
struct page *layer_find(const struct layer *l, uint64_t no);
/* Adds how many of its pages have data below page `no`, and from it on. */
void layer_count(const struct layer *l, uint64_t no, uint64_t *below, uint64_t *behind);
/* Is page `no` in it, as data (1) or zeros (0)? -1: older layers know. The same holds of the pages
 * up to *ret_end, which is lowered to where it ends. */
int layer_data_at(const struct layer *l, uint64_t no, uint64_t *ret_end);
/* Puts bytes [at, at + size) of page `no`. `below` is what the page holds so far if this layer has
 * nothing (NULL: zeros). The slice of `blob` is kept instead of copied when it is all there is to
 * know. */
void layer_write(struct layer *l, uint64_t no, uint32_t at, struct blob *blob, uint32_t offset,
                 uint32_t size, const struct page *below);
/* Drops pages from `no` on, and those of older layers. */
void layer_cut(struct layer *l, uint64_t no);
/* Zeros in pages [first, end), whatever they were. */
void layer_hole(struct layer *l, uint64_t first, uint64_t end);
/* Says nothing of pages [first, end) any more. */
void layer_forget(struct layer *l, uint64_t first, uint64_t end);
/* It says that page `no` is zeros: its own page, if it has one, is not asked for. */
bool layer_hides(const struct layer *l, uint64_t no);
/* Puts a page as it is; takes a reference. */
void layer_put(struct layer *l, const struct page *page);

#endif
