/* The namespace state machine: log entries in, the same bytes on every copy out.
 *
 * State is a set of key-value pairs in one table of a `struct kv`; apply is deterministic and is
 * the only writer. Pure: no clock (time comes in the entry), no I/O beyond the kv it was given.
 * Sources: PROTOCOL 4.1, 4.3, 4.8; RULES B2, B12, B13, L1, L2, L7, L10. */
#ifndef TALLY_FS_CORE_STATE_H
#define TALLY_FS_CORE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/core/fs.pb-c.h"
#include "repl/base/block.h"
#include "repl/base/kv.h"
#include "repl/base/kv_txn.h"
#include "repl/base/mem.h"

#define FS_ROOT_INO    1u
#define FS_PAGE_SIZE   4096u
#define FS_NAME_MAX    255u
#define FS_SYMLINK_MAX 4095u
#define FS_XATTR_MAX   65536u
/* Of the names of one inode's attributes, each with its NUL: what listxattr(2) can return. One more
 * is refused with ENOSPC. */
#define FS_XATTR_NAMES_MAX 65536u
#define FS_NLINK_MAX       65000u
#define FS_ATIMES_MAX      256u   /* of one entry */
#define FS_INODES_MAX      65536u /* of one GrantInodes */
#define FS_RELEASE_MAX     512u   /* leases of one Release (RULES L1) */
/* What an operation of a session's queue takes of its reservation (RULES B13, D1), bytes. */
#define FS_QUEUED_COST 4096u
/* Smaller directory cookies are free for "." and "..". */
#define FS_COOKIE_FIRST 3u
/* Bits of Setattr.valid, in the order of fs.proto. */
#define FS_SETATTR_MODE      1u
#define FS_SETATTR_UID       2u
#define FS_SETATTR_GID       4u
#define FS_SETATTR_ATIME     8u
#define FS_SETATTR_MTIME     16u
#define FS_SETATTR_ATIME_NOW 32u
#define FS_SETATTR_MTIME_NOW 64u
#define FS_SETATTR_CTIME     128u
#define FS_SETATTR_SETID     512u /* as privs.h has it */
#define FS_SETATTR_CAPS      1024u
/* Of one COMMIT: 64 MiB, so that applying it takes no longer than one of as many edits. */
#define FS_REFERENCE_PAGES_MAX (UINT64_C(1) << 14)
/* Highest byte offset of a file: page numbers stay below 2^51. */
#define FS_SIZE_MAX ((uint64_t)INT64_MAX)

/* Bytes of the reservation that a REFERENCE of so many pages takes (RULES B13): its extents. */
static inline uint64_t fs_reference_cost(uint64_t pages)
{
    return pages * 64;
}

struct fs_state;

/* The state in `table` of `kv` (both borrowed, `kv` must outlive it). An empty table is given its
 * root directory by fs_state_format(). */
struct fs_state *fs_state_new(struct kv *kv, int table);
void fs_state_free(struct fs_state *s);

/* True when the table holds no file system yet. */
bool fs_state_empty(const struct fs_state *s);

/* Makes the root directory, in `txn`. Same bytes on every copy: index 0, time 0. */
void fs_state_format(struct fs_state *s, struct kv_txn *txn);

/* What one applied operation did besides changing the state. fs_result_init before, fs_result_done
 * after each fs_apply. */
struct fs_result {
    struct Fs__OpReply *reply; /* to answer and (seq != 0) stored for exactly-once; owned, freed by
                                  fs_result_done */
    bool duplicate;            /* (session, seq), the commit number or the uuid was seen before:
                                  `reply` is the first answer, for a COMMIT the inode as it is now */
    struct block_name *died;   /* blocks that no map names any more, RULES B12.
                                  One that a COMMIT brought and itself overwrote is among them too */
    size_t died_count;
    struct block_ref *named; /* blocks that a map began to name */
    size_t named_count;
    uint64_t ended_session; /* 0, or the session that ended: its unnamed blocks die */
};
void fs_result_init(struct fs_result *r);
void fs_result_done(struct fs_result *r);

/* Applies `op`, the payload of the entry at `index`, through `txn` (opened by the caller over the
 * same kv; the caller commits it in one batch together with the applied index). Never fails: a
 * refusal is a reply with errno, the same on every copy, and changes nothing but the stored reply.
 *
 * ONE ENTRY, ONE TRANSACTION: commit `txn` before the next fs_apply. Ranges are walked on what the
 * kv has committed, so a second entry in the same transaction would not see the first one's.
 *
 * Refusals by rule: EIO a COMMIT or release of a lease that is not held (fence, RULES B2) and every
 * operation that meets a record which does not decode; ESTALE an unknown session or inode; EAGAIN
 * a lease that another session has. */
void fs_apply(struct fs_state *s, struct kv_txn *txn, uint64_t index, const struct Fs__Op *op,
              struct fs_result *result);

/* 128-bit incremental hash of the state: the sum of the hashes of all its pairs, so that two copies
 * at the same index hold the same state exactly when the sums agree. fs_state_rehash computes it
 * from all pairs; both must agree (checked by tests and by `tally lab settle`). */
struct fs_hash {
    uint64_t lo, hi;
};
struct fs_hash fs_state_hash(const struct fs_state *s);
struct fs_hash fs_state_rehash(const struct fs_state *s);

/* ---- reads; all answer from what has been applied and committed to the kv -------------------- */

/* Errors of all: -ENOENT (no such name, inode or attribute), -ENOTDIR, -EIO (undecodable record).
 */
int fs_get_attr(const struct fs_state *s, uint64_t ino, struct Fs__Attr *ret_attr);
int fs_lookup(const struct fs_state *s, uint64_t parent, const void *name, size_t name_len,
              struct Fs__Attr *ret_attr);
int fs_readlink(const struct fs_state *s, uint64_t ino, struct blob **ret_target);
int fs_getxattr(const struct fs_state *s, uint64_t ino, const char *name, struct blob **ret_value);
/* Also -E2BIG, of what was set before there was a limit. */
int fs_listxattr(const struct fs_state *s, uint64_t ino, struct blob **ret_names);

/* Calls `each` for the entries of `dir` whose cookie is above `after`, in cookie order, until it
 * gives false. "." and ".." are not stored; cookies begin at FS_COOKIE_FIRST, which leaves 1 and 2
 * for them. With attr the attributes come whoever holds the write lease: RULES L4 is the caller's.
 * The Entry (name, attr) is borrowed for the call. Returns 1 when the end was reached, 0 when
 * `each` stopped it, or a negative errno. */
typedef bool fs_entry_fn(void *ctx, const struct Fs__Entry *entry);
int fs_readdir(const struct fs_state *s, uint64_t dir, uint64_t after, bool with_attr,
               fs_entry_fn *each, void *ctx);
/* The directory that holds directory `ino` (root: itself). */
int fs_parent(const struct fs_state *s, uint64_t ino, uint64_t *ret_parent);

/* The extents of pages [first, first + pages), in order, clipped to the range; what lies between
 * them are holes. `ret` holds up to `max`; returns the count, or a negative errno. When the count
 * is `max` the range may go on behind the last one. */
struct fs_extent {
    uint64_t first_page;
    uint32_t pages;
    uint32_t block_page; /* first page within the block */
    struct block_ref block;
};
int fs_read_map(const struct fs_state *s, uint64_t ino, uint64_t first_page, uint64_t pages,
                struct fs_extent *ret, size_t max);

/* Runs of pages that have data, from `first_page` on, in order, neighbours joined: up to `max` of
 * them. Returns the count, or a negative errno; *ret_until: below this page there are no others. */
struct fs_range {
    uint64_t first_page, pages;
};
int fs_data_ranges(const struct fs_state *s, uint64_t ino, uint64_t first_page,
                   struct fs_range *ret, size_t max, uint64_t *ret_until);

/* The hashes of all runs of a named block: their count (block_runs of its size), or -ENOENT, -EIO.
 */
int fs_block_runs(const struct fs_state *s, struct block_name name,
                  uint64_t ret_runs[BLOCK_RUNS_MAX]);
/* Is `name` named by some map? On true *ret_ref (may be NULL) is its size and digest. */
bool fs_block_named(const struct fs_state *s, struct block_name name, struct block_ref *ret_ref);
/* Calls `each` for every named block in key order until it gives false. */
typedef bool fs_block_fn(void *ctx, const struct block_ref *ref);
void fs_each_block(const struct fs_state *s, fs_block_fn *each, void *ctx);

/* Numbers [first, end) for inodes that a session makes under its directory leases. */
struct fs_inodes {
    uint64_t first, end;
};

/* Sessions. */
struct fs_session {
    uint64_t id;
    uint8_t uuid[16];
    uint64_t seq_max;       /* highest seq applied */
    uint64_t ack_below;     /* replies below it are forgotten */
    uint64_t lowest_wanted; /* RULES B12 */
    uint64_t reserved;      /* bytes, RULES B13 */
    uint64_t q_next;  /* RULES D1: the next of its queue; what was refused stays the next ... */
    uint32_t q_error; /* ... with this errno, and refuses all behind it */
    struct fs_inodes inodes[2]; /* numbers it may give to what it makes; the newer grant first */
    char name[128];
};
bool fs_session_get(const struct fs_state *s, uint64_t id, struct fs_session *ret);
typedef bool fs_session_fn(void *ctx, const struct fs_session *session);
void fs_each_session(const struct fs_state *s, fs_session_fn *each, void *ctx);
/* The stored reply of (session, seq), to be freed with fs__op_reply__free_unpacked; NULL when none.
 */
struct Fs__OpReply *fs_session_reply(const struct fs_state *s, uint64_t id, uint64_t seq);
/* Session `id` holds `ino`, which has lost its last name, open (RULES L7). */
bool fs_holds(const struct fs_state *s, uint64_t ino, uint64_t id);
/* The last c applied for the inode's current lease epoch (0: none); -ENOENT. */
int fs_lease_last_c(const struct fs_state *s, uint64_t ino, uint64_t *ret_last_c);
/* Unlinked inodes that are kept because session `id` has them open, or was silent when asked (RULES
 * L7): at most `max`, in order, those above `after`. Returns how many. */
size_t fs_session_holds(const struct fs_state *s, uint64_t id, uint64_t after, uint64_t *ret_inos,
                        size_t max);
/* Write leases held by session `id`: calls `each` with the inode and the epoch. */
typedef bool fs_lease_fn(void *ctx, uint64_t ino, uint64_t epoch);
void fs_each_lease(const struct fs_state *s, uint64_t id, fs_lease_fn *each, void *ctx);

/* Byte-range locks, as fcntl(2) and flock(2) have them. */
#define FS_LOCK_END  ((uint64_t)INT64_MAX) /* `last` of a lock to the end of every file */
#define FS_LOCKS_MAX 1024u                 /* of one inode, then ENOLCK */
struct fs_lock {
    uint64_t session, owner;
    uint64_t first, last; /* bytes, both included */
    bool flock, write;
    uint32_t pid;
};
/* Two of different owners that cannot be held at once. */
bool fs_lock_conflicts(const struct fs_lock *a, const struct fs_lock *b);
/* Calls `each` for the locks of `ino` until it gives false. */
typedef bool fs_lock_fn(void *ctx, const struct fs_lock *lock);
void fs_each_lock(const struct fs_state *s, uint64_t ino, fs_lock_fn *each, void *ctx);

struct fs_totals {
    uint64_t inodes;
    uint64_t bytes;    /* of named blocks, whole pages */
    uint64_t reserved; /* sum over sessions */
    uint64_t blocks;
};
struct fs_totals fs_state_totals(const struct fs_state *s);

#endif
