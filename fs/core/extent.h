/* Extents and blocks of files as pairs of the state. */
#ifndef TALLY_FS_CORE_EXTENT_H
#define TALLY_FS_CORE_EXTENT_H

#include "fs/core/internal.h"
#include "repl/base/vec.h"

enum { EXTENT_PAGES_MAX = BLOCK_SIZE_MAX / BLOCK_PAGE_SIZE };
#define PAGES_MAX ((uint64_t)1 << 51)

struct extent {
    uint64_t first_page;
    uint32_t pages;
    uint32_t block_page;
    struct block_name block;
};

typedef vec_of(struct extent) extents;

/* 0 or -EIO. */
int extent_decode(struct bytes key, struct bytes value, struct extent *ret);
/* None begins there. */
void extent_put(struct apply *a, uint64_t ino, const struct extent *e);
/* It is there as `e` says. */
void extent_del(struct apply *a, uint64_t ino, const struct extent *e);
/* Pairs of the extents of `ino` that begin in pages [first, end), and before them the last one that
 * begins earlier, if there is one. */
struct kv_iter *extent_iter(const struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end);
/* Extents of `ino` that reach into pages [first, end), in order, as committed before this
 * operation. 0 or a negative errno. */
int extents_load(const struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end,
                 extents *ret);
/* All of them; in all they have `pages` pages. */
int extents_load_all(const struct fs_state *s, uint64_t ino, uint64_t pages, extents *ret);
/* The first of `x` that reaches to page `first` or behind it. */
size_t extents_reach(const extents *x, uint64_t first);

struct block {
    uint32_t size;
    uint64_t refs; /* extents that name it */
    uint32_t runs_count;
    uint64_t runs[BLOCK_RUNS_MAX];
};

/* 0 or -EIO. */
int block_decode(const void *p, size_t size, struct block *ret);
/* `is_new`: there is none of this name. */
void block_put(struct apply *a, struct block_name name, const struct block *b, bool is_new);
struct block_ref block_ref_of(struct block_name name, const struct block *b);

#endif
