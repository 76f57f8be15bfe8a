/* Everything one node keeps on its disk: the log, the blocks, and the key-value store (RULES
 * S1-S5).
 *
 * One directory, one process, one thread: all calls here are made on the loop's thread, and all
 * callbacks run inside store_poll() on that thread. Behind it work a journal thread (group commit)
 * and a few block threads. They ask for a store_poll() by the `wake` callback.
 *
 *     DIR/identity        who this store belongs to; written once
 *     DIR/lock            held while a process has the store open
 *     DIR/log/            journal segments: entries, votes, control records, small blocks
 * (journal.h) DIR/blocks/         block segments: bytes of blocks, 4 KiB aligned (blocks.h)
 *     DIR/kv.N/           RocksDB with WAL off, copies only: applied state and block index
 *
 * docs/ondisk.md has every format. */
#ifndef TALLY_REPL_IO_STORE_H
#define TALLY_REPL_IO_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/kv.h"
#include "repl/base/kv_txn.h"
#include "repl/base/mem.h"
#include "repl/core/entry.h"

enum store_kind {
    STORE_COPY = 1,
    STORE_WITNESS = 2,
};

/* Tables of store_kv(). STORE_TABLE_STATE belongs to the application, the other to the store. */
enum {
    STORE_TABLE_STATE = 0,
    STORE_TABLE_LOCAL = 1,
    STORE_TABLES = 2,
};

/* When the applied state is written; the simulated disk keeps to the same. */
enum {
    STORE_FLUSH_SEGMENTS = 4, /* of the log, written since the last flush began */
    STORE_SETTLE_OPS = 64,    /* waiting writes: every COMMIT writes its inode, its session and the
                                 sums again */
};

struct store_config {
    const char *dir;
    enum store_kind kind;
    uint8_t cluster[16]; /* uuid; not all zeros */
    uint32_t node;       /* 1 .. 31 */
    uint64_t capacity;   /* bytes this store may take; 0: what the filesystem has */
    bool create;         /* make it when the directory is missing or empty; else it must exist */

    /* Called on any thread when store_poll() has something to do. May be called more often than
     * needed; uv_async_send fits. NULL: the owner polls by itself. */
    void (*wake)(void *ctx);
    void *wake_ctx;
    bool started; /* the owner calls store_start() when a turn is over */

    /* 0: the default behind each. */
    uint32_t log_segment_size;   /* 16 MiB on copies, 1 MiB on witnesses; multiple of 4096 */
    uint32_t block_segment_size; /* 64 MiB; 4 MiB on witnesses */
    uint64_t reserve;            /* kept out of `free` for repair and the log: 1/16 of the total, at
                                    most 1 GiB (RULES B13) */
    /* A key-value store to use instead of kv.N/, borrowed: tests. NULL: RocksDB on a copy, memory
     * on a witness. Snapshots need the directory. */
    struct kv *kv;
};

struct store;

/* What an opened store remembers. */
struct store_recovered {
    bool created;                   /* a new, empty store */
    uint64_t store_boot;            /* fresh random number of this opening (RULES B9) */
    uint64_t term;                  /* last durable vote record */
    uint32_t vote;                  /* 0: none */
    uint64_t base_index, base_term; /* the entry just before the first one kept */
    uint64_t last_index;            /* last entry kept; base_index when none */
    uint64_t applied;               /* in the key-value store, durable; 0 on a witness */
    uint64_t whole_index;           /* last one noted with store_note_whole() */
    uint64_t entries_damaged; /* entries whose bytes are unreadable: their names are missing */
};

/* Opens or makes the store in config->dir. On failure `error` says why in one line, and:
 * -ENOENT    no store there and `create` not set
 * -EEXIST    not a store, and not empty
 * -EBUSY     another process has it open
 * -EPERM     it belongs to another cluster, node or kind (RULES B7)
 * -ESTALE    identity or head of the log is lost: it must not return under its old id (RULES B7)
 * -EBADMSG   the log is damaged below its end (RULES S3)
 * -EIO, -ENOSPC, ... from the filesystem */
int store_open(const struct store_config *config, struct store **ret, struct store_recovered *info,
               char *error, size_t error_size);

/* Calls `each` for the recovered entries base_index + 1 .. last_index, in order; the entry is
 * borrowed for the call. Inline bytes are left out where only older than the newest 64 MiB of them
 * and applied. Once, after store_open. Stops at the first negative result and returns it. */
typedef int store_entry_fn(void *ctx, struct entry *e);
int store_load_entries(struct store *s, store_entry_fn *each, void *ctx);

/* Waits for everything queued, marks the log as closed, flushes the key-value store, frees all.
 * Callbacks still due run with their result before it returns. NULL ok. */
void store_close(struct store *s);

/* Runs completions. Call it after `wake`. */
void store_poll(struct store *s);
/* With `started` in the config: what was asked for since goes to the log now. True: it is durable
 * already, and store_poll() tells. Takes as long as a small write to a disk that was fast lately.
 */
bool store_start(struct store *s);

/* Blocks until everything started so far is done and reported: tests and shutdown. */
void store_drain(struct store *s);

/* ---- the log ------------------------------------------------------------------------------------
 */

/* status: 0 or a negative errno. */
typedef void store_done_fn(void *ctx, int status);

/* Called (in store_poll) when everything queued with a ticket up to `ticket` is durable. Tickets
 * are given by the caller, ascending: replica write_seq. Set once, before the first write. */
typedef void store_durable_fn(void *ctx, uint64_t ticket);
void store_on_durable(struct store *s, store_durable_fn *fn, void *ctx);

/* EFFECT_WRITE_VOTE. Queued; never waits for block write-back other than what earlier tickets need.
 */
void store_write_vote(struct store *s, uint64_t ticket, uint64_t term, uint32_t vote);

/* EFFECT_WRITE_ENTRIES: consecutive entries, the first replaces everything at and above its index.
 * Takes references of its own. Blocks named without inline bytes that are held are made durable
 * first (RULES S1). Those not held become missing, in the same record, when the entry is at or
 * below `commit`; on a witness they are just lacking (RULES B3, B7). -ENODATA: an entry above
 * `commit` names a block that is not held; nothing was queued, and nothing must be acknowledged.
 * What is held only by an entry that is replaced counts, and stays.
 * -ENOSPC: no room for the log (RULES B13); nothing was queued. */
int store_write_entries(struct store *s, uint64_t ticket, struct entry *const *entries,
                        uint32_t count, uint64_t commit);

/* EFFECT_WRITE_BASE: forgets all entries; the log starts again after `index`, `term`. */
void store_write_base(struct store *s, uint64_t ticket, uint64_t index, uint64_t term);

/* EFFECT_TRUNCATE: entries at or below `index` are not needed any more by the replica. They go when
 * the applied state that includes them is durable too. */
void store_truncate(struct store *s, uint64_t index);

/* EFFECT_DEMOTE, witness only: the bytes of entries at or below `index` go, from the raw files too
 * (RULES B6, S5). The live entries move to fresh segments. May be put off to gather work, but ends
 * without further calls. `index` must be durable here, and not below the log's base: bytes that no
 * entry of the log names go, too. Bytes put after their entry was written are none of the log's:
 * the caller drops them. */
void store_demote(struct store *s, uint64_t index);

/* Notes the replica's whole_index and the highest index known to be committed, to ride with the
 * next control record. */
void store_note_whole(struct store *s, uint64_t whole_index);

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Takes the bytes of a block: `bytes` at `offset`, ref->size of them, referenced until done. `done`
 * comes when they are written: they survive SIGKILL, not yet power loss. (After a restart only
 * blocks that an entry of the log names are still held; mounts resend, RULES B9.) A name already
 * held with the same digest, or on its way, is done at once without writing. A name that was
 * missing is made durable and stops being missing. -EBADMSG bytes do not match the digest, -ENOSPC,
 * -EEXIST held with another digest, -EAGAIN on its way out. `done` is always called from
 * store_poll, never inside this call. */
void store_put(struct store *s, const struct block_ref *ref, struct blob *bytes, uint32_t offset,
               store_done_fn *done, void *ctx);

/* True when the bytes are here, written or durable, and have this size and digest. */
bool store_has(struct store *s, const struct block_ref *ref);

/* Size, digest and run hashes (block_runs(size) of them; `ret_hashes` may be NULL, room for
 * BLOCK_RUNS_MAX) of a block held here. False: not held. */
bool store_block_get(struct store *s, struct block_name name, struct block_ref *ret_ref,
                     uint64_t *ret_hashes);

/* Reads `size` bytes at `offset`, which is at a run boundary; cut off at the block's end. The range
 * is rounded up to whole runs and each is verified. `bytes` is borrowed for the call, NULL on
 * failure. -ENOENT not held, -EBADMSG damaged: the name is missing from now on, -EIO not readable
 * now, -EINVAL bad range.
 * Reading and space reclaim do not disturb each other (RULES S4). */
typedef void store_read_fn(void *ctx, int status, struct blob *bytes);
void store_read(struct store *s, struct block_name name, uint32_t offset, uint32_t size,
                store_read_fn *done, void *ctx);
/* The same bytes when the system has them in memory, so that no thread has to wait for a disk;
 * else, or when something is wrong with them, NULL: store_read() tells. */
struct blob *store_read_now(struct store *s, struct block_name name, uint32_t offset,
                            uint32_t size);

/* In the transaction that applies the entry which made `name` dead (RULES B12), or any other: the
 * name is not held and not missing any more. Its space comes back later, below a durable scan_from
 * (RULES S4). Unknown names are fine. `txn` NULL: on its own, for names no map ever named, durable
 * with the next group. The transaction must be committed before the next store call other than
 * store_drop and store_fill_txn. */
void store_drop(struct store *s, struct kv_txn *txn, struct block_name name);

/* Each name held, in key order, those not durable yet last; until `each` gives false. Do not change
 * the store in between. */
typedef bool store_block_fn(void *ctx, const struct block_ref *ref);
void store_each_block(struct store *s, store_block_fn *each, void *ctx);

/* The durable set of names whose bytes this copy lacks (RULES B7). */
uint64_t store_missing_count(const struct store *s);
bool store_is_missing(const struct store *s, struct block_name name);
void store_each_missing(struct store *s, store_block_fn *each, void *ctx);
/* Adds a name by hand (a scrub, a comparison of copies). Durable with the next group. */
void store_add_missing(struct store *s, const struct block_ref *ref);
/* Called when a name stopped being missing, or became missing by damage. Set once. */
typedef void store_missing_fn(void *ctx, struct block_name name, bool missing);
void store_on_missing(struct store *s, store_missing_fn *fn, void *ctx);

/* ---- applied state (copies) ---------------------------------------------------------------------
 */

/* The key-value store. Valid until a snapshot is committed: ask again then. */
struct kv *store_kv(struct store *s);

/* Adds the applied index and the position from where a restart must scan the log to the transaction
 * that applies the entry at `applied` (RULES S2). */
void store_fill_txn(struct store *s, struct kv_txn *txn, uint64_t applied);

/* What was written to store_kv() and put off goes there, if it is much. For the end of a turn that
 * applied something: nobody waits for it any more. */
void store_settle(struct store *s);

/* Starts making the applied state durable on a worker; by itself the store does so often enough to
 * release log segments. `done` may be NULL. */
void store_flush(struct store *s, store_done_fn *done, void *ctx);
/* Applied and durable. */
uint64_t store_durable_applied(const struct store *s);

/* A snapshot of another copy's state, built aside (RULES B7): begin, fill STORE_TABLE_STATE of
 * store_snapshot_kv() by batches, name the blocks it needs, commit. A crash leaves exactly the old
 * or the new state. Nothing is applied between commit and its `done`. After `done` the state is
 * that of `index`, `term`, and the log starts after it: entries above stay when the log had the
 * entry `index`, `term`; else it is empty. Entries that come before the replica knows are skipped
 * where the snapshot includes or contradicts them, and reported. 0 or a negative errno. */
int store_snapshot_begin(struct store *s);
struct kv *store_snapshot_kv(struct store *s);
/* Names not held become missing with the switch. */
void store_snapshot_need(struct store *s, const struct block_ref *ref);
void store_snapshot_commit(struct store *s, uint64_t index, uint64_t term, store_done_fn *done,
                           void *ctx);
/* Removes what was built. Fine when nothing was begun. */
void store_snapshot_abort(struct store *s);

/* ---- state of affairs ---------------------------------------------------------------------------
 */

/* For writers: repair and the log keep a reserve out of both numbers (RULES B13). Blocks that come
 * all the same are taken into half of it; the rest is the log's, for a node that cannot write its
 * log is down. */
void store_space(struct store *s, uint64_t *ret_total, uint64_t *ret_free);

struct store_stats {
    uint64_t log_bytes, block_bytes;     /* on disk */
    uint64_t blocks_pending;             /* written or being written, not durable yet */
    uint64_t groups, records;            /* journal groups written */
    uint64_t flush_p50_us, flush_p99_us; /* time of a group: block sync, write, fdatasync */
    uint64_t damaged;                    /* unreadable blocks found since the start */
};
void store_stats(struct store *s, struct store_stats *ret);

/* Of those only the bytes that blocks take on disk: without a look at anything. */
uint64_t store_block_bytes(const struct store *s);

#endif
