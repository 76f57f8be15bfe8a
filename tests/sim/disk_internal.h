/* The inside of a simulated disk, for the disk*.c of this folder. */
#ifndef TALLY_TESTS_SIM_DISK_INTERNAL_H
#define TALLY_TESTS_SIM_DISK_INTERNAL_H

#include "repl/base/map.h"
#include "repl/base/vec.h"
#include "repl/io/store.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

/* Bytes of a block on this node. WRITTEN ones survive nothing by themselves: only what a synced
 * record names does (store.h). */
enum block_state { BLOCK_WRITING, BLOCK_WRITTEN, BLOCK_RECORDING, BLOCK_DURABLE };

struct disk_block {
    struct block_ref ref;
    struct blob *bytes;
    uint64_t hashes[BLOCK_RUNS_MAX];
    enum block_state state;
    bool spoilt;  /* reading finds other bytes than its hash says */
    bool dropped; /* gone for the node, and still being written or recorded */
};

struct disk_missing {
    struct block_ref ref;
    bool durable;
};

/* What is gone for the node and not on the disk: a crash brings it back. */
struct disk_drop {
    struct disk_block *block;     /* or */
    struct disk_missing *missing; /* owned */
    uint64_t batch;               /* of the key-value store: durable with it */
};

/* One record on its way to the log. */
enum record { RECORD_VOTE, RECORD_ENTRY, RECORD_BASE, RECORD_BLOCK, RECORD_MISSING, RECORD_DROP };

struct disk_record {
    enum record kind;
    uint64_t ticket; /* 0: none */
    uint64_t index, term;
    uint32_t vote;
    bool miss;           /* ENTRY: names not held become missing */
    struct entry *entry; /* ENTRY: owned */
    struct block_ref ref;
};

struct disk_job;

/* One opening of a disk. */
struct store {
    struct disk *disk;
    struct store_config config;
    bool dead, writing, flushing, switched;
    time_us written_at; /* of the group being written */
    vec_of(struct disk_record) queue, group;
    uint64_t durable_ticket, told_ticket;
    struct disk_job *jobs; /* under way, newest first */
    struct disk_job *done, **done_tail;
    struct kv *kv;    /* the view: what is durable and all batches since */
    struct kv *inner; /* the memory behind it */
    vec_of(struct kv_batch) batches;
    struct kv *aside; /* a snapshot on its way in */
    vec_of(struct block_ref) needed;
    uint64_t truncate_to, flushed_log_bytes;
    store_durable_fn *on_durable;
    void *on_durable_ctx;
    store_missing_fn *on_missing;
    void *on_missing_ctx;
};

/* What survives. */
struct disk {
    uint32_t node;
    bool made;
    uint64_t term;
    uint32_t vote;
    uint64_t base_index, base_term, whole_index;
    vec_of(struct entry *) log;
    struct map blocks, missing; /* by hash of the name */
    struct map spoilt;          /* names whose bytes the nemesis has spoilt and nobody mended */
    vec_of(struct disk_drop) dropped; /* oldest first */
    struct kv *kv;
    uint64_t flushed; /* batches, ever */
    uint64_t applied;
    uint64_t block_bytes, log_bytes, log_written;
    /* faults */
    uint32_t slow;
    bool full, fail_write, fail_flush, unclean;
    time_us reads_fail_until;

    struct store *store; /* NULL: not open */
    uint64_t last_job;
};

/* Something that takes time. `finish` runs in store_poll(). */
struct disk_job {
    struct disk_job *next;
    uint64_t id;
    void (*finish)(struct store *s, struct disk_job *job);
    store_done_fn *done;
    store_read_fn *read_done;
    void *ctx;
    bool owes; /* the waiter keeps memory until it hears of the end */
    int status;
    struct block_ref ref;
    uint32_t offset, size;
    uint64_t index, term, batches;
};

/* disk.c */
time_us disk_latency(const struct disk *d, uint64_t bytes);
struct disk_job *disk_job_new(struct store *s, void (*finish)(struct store *, struct disk_job *),
                              time_us takes);
void disk_wake(struct store *s);
/* For a block of `size` bytes, beside what is the log's alone. */
bool disk_has_room(const struct store *s, uint32_t size);
/* disk_log.c */
void disk_append(struct store *s, const struct disk_record *r);
void disk_apply_group(struct store *s, size_t count, bool tell);
void disk_release_log(struct disk *d, uint64_t index);
void disk_cut_log(struct disk *d, size_t count); /* keeps so many */
void disk_record_done(struct disk_record *r);
/* disk_blocks.c */
uint64_t disk_key(struct block_name name);
bool disk_held(const struct disk_block *b);
bool disk_same_block(const struct block_ref *a, const struct block_ref *b);
struct disk_block *disk_find_block(const struct disk *d, struct block_name name);
struct disk_missing *disk_find_missing(const struct disk *d, struct block_name name);
void disk_store_bytes(struct disk *d, const struct block_ref *ref, const uint8_t *bytes,
                      enum block_state state);
void disk_block_durable(struct store *s, const struct block_ref *ref, bool tell);
void disk_note_missing(struct disk *d, const struct block_ref *ref, bool durable);
void disk_forget_block(struct disk *d, uint64_t key);
void disk_free_block(struct disk *d, struct disk_block *b);
void disk_blocks_crashed(struct disk *d);
void disk_blocks_done(struct disk *d);
/* disk_drops.c */
/* The name is neither held nor missing any more; durable with the next batch. */
void disk_drop(struct disk *d, uint64_t key, uint64_t batch);
void disk_drops_flushed(struct disk *d);
void disk_drop_recorded(struct disk *d, uint64_t key);
void disk_drops_crashed(struct disk *d);
void disk_drops_done(struct disk *d);
/* disk_state.c */
uint64_t disk_next_batch(const struct store *s);
void disk_add_batch(struct store *s); /* an empty one */
void disk_open_kv(struct store *s);
void disk_close_kv(struct store *s);
void disk_flush_now(struct store *s, size_t batches);
void disk_flush_if_long(struct store *s);

#endif
