/* Names and hashes of blocks: immutable runs of file data (RULES B1). Pure. */
#ifndef TALLY_REPL_BASE_BLOCK_H
#define TALLY_REPL_BASE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_PAGE_SIZE 4096u
#define BLOCK_SIZE_MAX  (1u << 20)
/* Hashes are kept per run, so that a small read of a large block can be verified. */
#define BLOCK_RUN_SIZE 16384u
#define BLOCK_RUNS_MAX (BLOCK_SIZE_MAX / BLOCK_RUN_SIZE)

/* Given by the mount that made it, never used again. */
struct block_name {
    uint64_t session;
    uint64_t n;
};

struct block_ref {
    struct block_name name;
    uint32_t size;   /* stored bytes, 1 .. BLOCK_SIZE_MAX; the rest of the last page is zeros */
    uint64_t digest; /* hash64 over the little-endian array of run hashes */
};

static inline uint32_t block_pages(uint32_t size)
{
    return (size + BLOCK_PAGE_SIZE - 1) / BLOCK_PAGE_SIZE;
}

static inline uint32_t block_runs(uint32_t size)
{
    return (size + BLOCK_RUN_SIZE - 1) / BLOCK_RUN_SIZE;
}

static inline bool block_name_equal(struct block_name a, struct block_name b)
{
    return a.session == b.session && a.n == b.n;
}

/* By session, then by number: -1, 0, 1. */
int block_name_compare(struct block_name a, struct block_name b);
/* For a `struct map`; two names may share a value. */
uint64_t block_name_hash(struct block_name name);

/* The hashes of the block_runs(size) runs of `data`; the last may be short. */
void block_run_hashes(const void *data, uint32_t size, uint64_t *ret_hashes);
uint64_t block_digest_of_runs(const uint64_t *hashes, uint32_t runs);
/* Both in one: the digest of a block's bytes. */
uint64_t block_digest(const void *data, uint32_t size);

#endif
