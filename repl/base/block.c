#include "repl/base/block.h"

#include <assert.h>

#include "repl/base/bytes.h"
#include "repl/base/hash.h"

int block_name_compare(struct block_name a, struct block_name b)
{
    if (a.session != b.session) {
        return a.session < b.session ? -1 : 1;
    }
    return (a.n > b.n) - (a.n < b.n);
}

uint64_t block_name_hash(struct block_name name)
{
    uint8_t raw[16];
    le64_put(raw, name.session);
    le64_put(raw + 8, name.n);
    return hash64(raw, sizeof(raw));
}

void block_run_hashes(const void *data, uint32_t size, uint64_t *ret_hashes)
{
    assert(size <= BLOCK_SIZE_MAX);
    const uint8_t *p = data;
    for (uint32_t run = 0; run < block_runs(size); run++) {
        uint32_t start = run * BLOCK_RUN_SIZE;
        uint32_t length = size - start < BLOCK_RUN_SIZE ? size - start : BLOCK_RUN_SIZE;
        ret_hashes[run] = hash64(p + start, length);
    }
}

uint64_t block_digest_of_runs(const uint64_t *hashes, uint32_t runs)
{
    assert(runs <= BLOCK_RUNS_MAX);
    uint8_t raw[BLOCK_RUNS_MAX * 8];
    for (uint32_t run = 0; run < runs; run++) {
        le64_put(raw + run * 8, hashes[run]);
    }
    return hash64(raw, runs * 8);
}

uint64_t block_digest(const void *data, uint32_t size)
{
    uint64_t hashes[BLOCK_RUNS_MAX];
    block_run_hashes(data, size, hashes);
    return block_digest_of_runs(hashes, block_runs(size));
}
