/* What the store's files share. Behind store.h.
 *
 *     store.c           opening, identity, space, the end
 *     store_recover.c   the log's records after a restart
 *     store_log.c       entries, votes, truncation; a witness's demotion
 *     store_overwrite.c entries that others take the place of
 *     store_blocks.c    blocks in, out, missing, dropped
 *     store_state.c     flushes of the key-value store, snapshots, space given back */
#ifndef TALLY_REPL_IO_STORE_INTERNAL_H
#define TALLY_REPL_IO_STORE_INTERNAL_H

#include "repl/base/list.h"
#include "repl/base/vec.h"
#include "repl/io/blocks.h"
#include "repl/io/index.h"
#include "repl/io/journal.h"
#include "repl/io/pool.h"
#include "repl/io/record.h"
#include "repl/io/store.h"

enum { ENTRY_MOVED = 1 }; /* record flag: written again elsewhere, replaces only its own index */

/* Where an entry of the log lies. */
struct log_entry {
    uint64_t term;
    lsn_no lsn;   /* 0: on its way */
    lsn_no needs; /* the oldest record that belongs to it: its blocks' places */
    bool bytes;   /* inline bytes, or blocks by parts */
};

struct waiter {
    store_done_fn *done;
    void *ctx;
};

enum pending_state {
    PENDING_WRITING, /* a worker moves the bytes */
    PENDING_WRITTEN,
    PENDING_RECORDING, /* its BLOCK_AT is on its way to the log */
};

/* A block whose bytes are here and not durable yet. */
struct pending {
    struct name_node node;
    struct pool_job job;
    struct store *store;
    struct block_ref ref;
    uint64_t runs[BLOCK_RUNS_MAX];
    struct block_place place;
    struct block_segment *segment; /* pinned */
    enum pending_state state;
    bool dropped;
    struct blob *bytes; /* while writing */
    uint32_t offset;
    int status;
    vec_of(struct waiter) waiters;
};

struct store {
    struct store_config config;
    char *dir, *log_dir, *blocks_dir;
    int lock_fd;
    struct journal *journal;
    struct blocks *blocks;
    struct index index;
    struct pool *pool;
    struct kv *kv;
    bool own_kv;

    struct journal_control control; /* as of the last record queued */
    uint64_t base;                  /* entries at or below are forgotten */
    size_t bases_queued;            /* records that move it, not durable yet: nothing is released */
    vec_of(struct log_entry) entries; /* base + 1 ... */
    uint64_t applied;                 /* last one filled into a transaction */

    store_durable_fn *on_durable;
    void *on_durable_ctx;
    store_missing_fn *on_missing;
    void *on_missing_ctx;
    struct map pending;
    size_t pending_count;
    size_t moving_inline;          /* blocks on their way from the log to block segments ... */
    vec_of(struct moving *) moves; /* ... from moves_next on they wait for their turn */
    size_t moves_next;
    int moving_fd;        /* the log segment they come from */
    bool moving_progress; /* at least one of them has left it */

    /* a copy's flushes */
    bool flush_due; /* by the next poll */
    bool flushing;
    vec_of(struct waiter) flush_waiters, flush_next;
    uint64_t durable_applied;
    lsn_no durable_scan_from;

    bool moving; /* a witness's entries go to a fresh segment */
    /* A witness's index is in memory only: the oldest place of a block told in the log, 0 none, and
     * the oldest one told again by the move that is under way. */
    lsn_no first_place, moved_place;

    /* a snapshot being built */
    struct kv *aside;
    vec_of(struct block_ref) needed;
    struct switching *switching; /* it is becoming the state */
    bool switched;               /* since the start */

    /* completions that owe nothing to a thread: run by the next poll */
    struct list soon;

    uint64_t damaged, entries_damaged;
    struct log_file *log_file; /* open for reading, NULL: none */

    uint64_t disk_size, disk_left, disk_looked_ms; /* of the filesystem the store lies on */
};

static inline uint64_t log_last(const struct store *s)
{
    return s->base + s->entries.count;
}
static inline struct log_entry *log_at(struct store *s, uint64_t index)
{
    return &s->entries.items[index - s->base - 1];
}

/* ---- store.c --------------------------------------------------------------------------------- */
char *store_kv_dir(const struct store *s, uint32_t generation);
void store_soon(struct store *s, store_done_fn *done, void *ctx, int status);
/* For a block of `size` bytes, beside what is the log's alone. */
void store_damaged(struct store *s, const struct index_entry *e);
void store_forget_log_file(struct store *s); /* so that its space comes back with its name */
bool store_has_room(struct store *s, uint32_t size);
/* A record with the control values as they are now; the caller appends it. */
struct journal_item *store_control_item(struct store *s, enum record_kind kind);

/* ---- store_state.c --------------------------------------------------------------------------- */
void store_wake_nobody(void *ctx);

/* ---- store_recover.c ------------------------------------------------------------------------- */
/* Opens the journal and brings log, index and block places up to its end. */
int store_recover(struct store *s, bool create, char *error, size_t error_size);

/* ---- store_log.c ----------------------------------------------------------------------------- */
/* What the log still needs: segments wholly below may go. */
void store_release(struct store *s);
/* An entry's inline blocks are at `tail` in the record at `lsn`. */
void store_index_inline(struct store *s, const struct entry *e, const uint64_t *runs, lsn_no lsn,
                        uint32_t head_size);

/* ---- store_overwrite.c ----------------------------------------------------------------------- */
/* Before `entries` replace what is at and above the first one's index. 0; negative: bytes that they
 * name could not be kept, and everything is as before. */
int store_overwrite(struct store *s, struct entry *const *entries, uint32_t count);

/* ---- store_blocks.c -------------------------------------------------------------------------- */
struct pending *pending_find(const struct store *s, struct block_name name);
/* The place of a block is durable in the log at `lsn`. */
void store_note_place(struct store *s, lsn_no lsn);
/* Queues the BLOCK_AT of a written block. */
void pending_record(struct store *s, struct pending *p);
/* The log has the bytes of this name: what was put is not needed. */
void pending_supersede(struct store *s, struct block_name name);
void pending_free_all(struct store *s);
/* The bytes at a place of the index are not wanted any more. */
void store_give_back(struct store *s, const struct index_entry *e);
/* The same when the log names the place and is to forget it: by a record first, since else the
 * place would be found again after a power cut, and other bytes in it. */
void store_drop_place(struct store *s, const struct index_entry *e);
/* Queues a MISSING record; memory first. */
void store_note_missing(struct store *s, const struct block_ref *ref);
void store_block_at_head(struct bytes_writer *w, const struct block_ref *ref, const uint64_t *runs,
                         struct block_place place);
bool store_block_at_get(const struct journal_record *record, struct index_entry *ret);
/* Moves what is live in the oldest log segments to block segments, so that they can be released. */
void store_move_inline(struct store *s);
void store_moves_free(struct store *s);
/* The same of one whose record of the log is about to be given up: its new place is queued, and
 * till that is durable it is held where it was. 0 or a negative errno, -ENODATA: it is damaged. */
int store_keep(struct store *s, const struct index_entry *e, const uint8_t *bytes);

#endif
