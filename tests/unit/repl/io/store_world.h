/* A store in a directory of its own, entries and blocks with known contents: what the store's test
 * programs share. */
#ifndef TESTS_UNIT_REPL_IO_STORE_WORLD_H
#define TESTS_UNIT_REPL_IO_STORE_WORLD_H

#include <check.h>
#include <stdatomic.h>

#include "repl/io/store.h"

struct world {
    char dir[64];
    struct store *store;
    struct store_recovered info;
    enum store_kind kind;
    bool started;      /* nothing goes to the log before store_start */
    atomic_uint wakes; /* how often it asked to be polled */
    struct kv_txn *txn;
    uint64_t durable, ticket;
    char error[256];
    int status;
};

/* What store_load_entries gave, by index modulo 64. */
struct found {
    uint64_t last, count;
    uint64_t terms[64];
    bool bytes[64];
};

int open_store(struct world *w);
void close_store(struct world *w);
void reopen(struct world *w);
/* The directory; and the store in it too. */
void world_make(struct world *w, enum store_kind kind);
void world_open(struct world *w, enum store_kind kind);
/* Removes all. */
void world_close(struct world *w);

struct blob *bytes_of(uint64_t n, uint32_t size);
struct block_ref ref_of(uint64_t n, uint32_t size);
struct entry *entry_of(uint64_t index, uint64_t term, const struct block_ref *ref, bool inl);
int write_entry(struct world *w, uint64_t index, uint64_t term, const struct block_ref *ref,
                bool inl, uint64_t commit);
void wait_wake(struct world *w, unsigned seen); /* until it asks to be polled once more than that */
void wake(void *world);                         /* as if it did, from any thread */
void on_status(void *ctx, int status);          /* into world.status */
/* Until it is written; world.status says how it went. */
void put(struct world *w, const struct block_ref *ref);
void apply(struct world *w, uint64_t index);
int load_found(void *ctx, struct entry *e);
/* The status; the bytes are compared. */
int read_back(struct world *w, const struct block_ref *ref);
extern unsigned reads_at_once; /* of those, how many needed no thread */

/* Each file of a subdirectory whose name ends so; their number. */
int each_file(const struct world *w, const char *sub, const char *ending,
              void (*fn)(const char *path, void *ctx), void *ctx);
void flip(const char *path, void *ctx); /* a bit at *(off_t *)ctx */

#endif
