/* Where the bytes of each block lie, and which are missing: the store's own table of the key-value
 * store (RULES S2). Knows no files. One thread.
 *
 *     'b' session n          -> place, size, digest, run hashes
 *     'r' kind number offset -> session n, size: the same from the other side
 *     'm' session n          -> size, digest: missing
 *     's'                    -> applied index, scan_from
 *
 * Keys are big-endian, values little-endian; docs/ondisk.md. */
#ifndef TALLY_REPL_IO_INDEX_H
#define TALLY_REPL_IO_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/kv.h"
#include "repl/base/kv_txn.h"
#include "repl/base/map.h"

/* Table by name; nodes are embedded in what is listed. */
struct name_node {
    struct block_name name;
    struct name_node *next; /* same hash */
};
struct name_node *name_map_get(const struct map *m, struct block_name name);
/* The name must not be there. */
void name_map_put(struct map *m, struct name_node *node);
void name_map_del(struct map *m, struct name_node *node);

enum place_kind {
    PLACE_BLOCKS = 1, /* `number` is a block segment */
    PLACE_LOG,        /* `number` is the generation of a journal segment */
};

struct index_entry {
    struct block_ref ref;
    enum place_kind kind;
    uint32_t number;
    uint32_t offset;
    uint64_t runs[BLOCK_RUNS_MAX]; /* the first block_runs(ref.size) count */
};

struct index {
    struct kv *kv;    /* borrowed */
    struct kv *aside; /* the same is written here while a snapshot is switched; NULL else */
    struct map missing;
    uint64_t missing_count;
    struct map names; /* by session: the last name that may be held */
    struct kv_batch batch;
    struct bytes_writer value, key;
};

/* Loads the missing set. 0 or -EIO. */
int index_init(struct index *ix, struct kv *kv);
void index_done(struct index *ix);
/* What the key-value stores put off is written now. */
void index_settle(struct index *ix);

/* False: not there (a record nobody can read counts as not there). `ret` may be NULL. */
bool index_get(struct index *ix, struct block_name name, struct index_entry *ret);
/* Adds or replaces; the name stops being missing. True when something was replaced: then
 * *ret_old is what (may be NULL). */
bool index_put(struct index *ix, const struct index_entry *e, struct index_entry *ret_old);
/* Forgets the name, missing or held. In `txn`, or on its own when NULL. As index_put. */
bool index_del(struct index *ix, struct kv_txn *txn, struct block_name name,
               struct index_entry *ret_old);

bool index_is_missing(const struct index *ix, struct block_name name);
/* NULL: not missing. Good until the next change. */
const struct block_ref *index_missing_get(const struct index *ix, struct block_name name);
/* Memory first: the durable record of it is on its way. */
void index_missing_note(struct index *ix, const struct block_ref *ref);
/* Writes it to the table, if it is still missing. */
void index_missing_save(struct index *ix, struct block_name name);

/* Each missing name, until `each` gives false. */
void index_each_missing(const struct index *ix,
                        bool (*each)(void *ctx, const struct block_ref *ref), void *ctx);

/* Each held block in key order, or each with bytes in one file; false from `each` ends it. */
typedef bool index_fn(void *ctx, const struct index_entry *e);
void index_each(struct index *ix, index_fn *each, void *ctx);
void index_each_at(struct index *ix, enum place_kind kind, uint32_t number, index_fn *each,
                   void *ctx);
/* Smallest journal generation that holds a block, 0 none. */
uint32_t index_first_log_generation(struct index *ix);

/* 0, 0 when there is none yet. */
void index_get_state(struct index *ix, uint64_t *ret_applied, uint64_t *ret_scan_from);
void index_put_state(struct index *ix, struct kv_txn *txn, uint64_t applied, uint64_t scan_from);

/* Copies everything but 's' into `aside`. */
void index_copy(struct index *ix);
/* The name is missing in `aside` alone, whatever is held here. */
void index_aside_missing(struct index *ix, const struct block_ref *ref);
/* `aside` is the table from now on, with what it says is missing. */
void index_switch(struct index *ix);

#endif
