/* The log on disk: small prewritten segments, one write and one fdatasync per group of records
 * (RULES S1, S3). Behind store.h; knows records, not blocks or entries.
 *
 * Positions are LSNs: segment generation in the upper 32 bits, byte offset in the lower. They only
 * grow. A group is valid as a whole or not at all, and names the LSN where the group before it
 * ended and was synced: so a hole in the chain below a valid group is damage, and a bad group at
 * the very end is a torn write (docs/ondisk.md). */
#ifndef TALLY_REPL_IO_JOURNAL_H
#define TALLY_REPL_IO_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/bytes.h"
#include "repl/base/list.h"
#include "repl/base/mem.h"

typedef uint64_t lsn_no;

static inline lsn_no lsn_make(uint32_t generation, uint32_t offset)
{
    return (uint64_t)generation << 32 | offset;
}

static inline uint32_t lsn_generation(lsn_no lsn)
{
    return (uint32_t)(lsn >> 32);
}

static inline uint32_t lsn_offset(lsn_no lsn)
{
    return (uint32_t)lsn;
}

enum record_kind {
    RECORD_CONTROL = 1, /* struct journal_control; first in every segment */
    RECORD_ENTRY,       /* an entry of the replicated log; the tail may be inline bytes */
    RECORD_VOTE,        /* term, voted_for */
    RECORD_BASE,        /* all entries void; the log starts again after index, term */
    RECORD_BLOCK_AT,    /* a block's bytes are durable at a place in a block segment */
    RECORD_MISSING,     /* a name whose bytes are lacking */
    RECORD_DROP,        /* a name is dead: undoes an earlier BLOCK_AT or MISSING */
    RECORD_MARK,        /* nothing: closes the chain when idle */
};

/* What every segment begins with, so that the segments before may go (RULES S2). */
struct journal_control {
    uint64_t term;
    uint32_t vote;
    uint32_t kv_generation;         /* the directory kv.N that holds the state */
    uint64_t base_index, base_term; /* entries at or below are void */
    uint64_t whole_index;
};

struct journal;
struct journal_item;

/* Runs on the loop's thread, in the order of appending. The item is freed after it. */
typedef void journal_done_fn(void *ctx, struct journal_item *item, lsn_no lsn);

/* One record on its way. Made by journal_item_new, given away by journal_append. */
struct journal_item {
    struct list link;
    enum record_kind kind;
    uint32_t flags;           /* of the record; see record.h */
    struct bytes_writer head; /* small fields, then */
    struct blob *payload;     /* NULL or more of the head, not copied */
    struct blob *tail;        /* NULL or bytes which may be damaged on their own */
    bool roll;                /* begins a new segment */
    void *sync_first;         /* handed to `sync` of the config before this is written; NULL none */
    struct journal_control
        control;               /* VOTE, BASE, CONTROL: which fields count depends on the kind */
    bool control_put;          /* `control` replaces the journal's idea of it, as of this record */
    journal_done_fn *done;     /* NULL ok */
    void (*cancel)(void *ctx); /* instead of `done` when the journal ends before; NULL ok */
    void *ctx;
    uint64_t a, b; /* the caller's own */
    lsn_no lsn;    /* set when written */
};
struct journal_item *journal_item_new(enum record_kind kind);
void journal_item_free(struct journal_item *item);
/* RULES S3: after a failed write or fsync nobody knows what is on the disk, and the process ends.
 */
_Noreturn void journal_die(const char *what, int error);

struct journal_config {
    const char *dir; /* of the segments; exists */
    uint8_t cluster[16];
    uint32_t node;
    uint32_t segment_size;
    bool recycle;            /* keep released segments as spares; else delete (RULES S5) */
    void (*wake)(void *ctx); /* completions are waiting; called on the journal's thread */
    int (*sync)(void *ctx, void *sync_first); /* journal's thread: make it durable; 0 or -errno */
    bool started; /* nothing is written before journal_start: the loop may do it itself */
    void *ctx;
};

/* A record found by the scan. `head` holds fields and payload. `tail_size` bytes follow it on disk;
 * `tail_damaged` when they fail their hash. All borrowed for the call. */
struct journal_record {
    enum record_kind kind;
    uint32_t flags;
    lsn_no lsn;
    const uint8_t *head;
    uint32_t head_size;
    const uint8_t *tail;
    uint32_t tail_size;
    bool tail_damaged;
};
/* A negative result ends the scan with it. */
typedef int journal_visit_fn(void *ctx, const struct journal_record *record);

/* Scans all segments from the oldest (control records included), then starts the thread and opens a
 * new segment behind the end. With `create` the directory must be empty, and `control` is what it
 * starts with; else `control` is filled with the newest state found.
 * -ESTALE no valid segment, or one missing in between; -EBADMSG damage below the end. */
int journal_open(const struct journal_config *config, bool create, struct journal_control *control,
                 journal_visit_fn *visit, void *visit_ctx, struct journal **ret, char *error,
                 size_t error_size);
/* Writes what is queued, a closing mark, and ends the thread. Poll once before the call for what is
 * done. When there is no space left, what is queued is given up unreported: it never was durable.
 */
void journal_stop(struct journal *j);
void journal_free(struct journal *j); /* after stop; NULL ok */

/* Queues a record; the journal takes the item. It is written after the next journal_kick at the
 * latest: one call that appends much makes one group. */
void journal_append(struct journal *j, struct journal_item *item);
void journal_kick(struct journal *j);
/* With `started` in the config: begins with what was kicked. True: it is durable by now, written by
 * the caller's own thread, since there was little of it and the disk was fast lately. */
bool journal_start(struct journal *j);
/* Runs `done` of what became durable. */
void journal_poll(struct journal *j);
/* True while items are queued or being written, or completions wait for journal_poll. */
bool journal_busy(struct journal *j);
/* End of what is durable and has been reported by journal_poll. */
lsn_no journal_synced(const struct journal *j);
/* No room for `size` more bytes of entries; the rest is kept for votes (RULES B13). */
bool journal_full(struct journal *j, uint64_t size);
/* The next group waits for space that is not there: nothing queued is reported until there is. */
bool journal_stuck(struct journal *j);

/* Segments wholly below `lsn` are recycled or deleted; the current one never. */
void journal_release(struct journal *j, lsn_no lsn);
/* Oldest segment kept, and the one being written. */
uint32_t journal_oldest(struct journal *j);
uint32_t journal_newest(struct journal *j);
uint64_t journal_size(struct journal *j);

/* Reads a record again, of which `lsn` was reported. `ret` has head and tail one after another in
 * one blob, and `record` points into it. -EBADMSG when the head is damaged, -ENOENT when released.
 * Any thread. */
int journal_read(struct journal *j, lsn_no lsn, struct journal_record *record, struct blob **ret);
/* The same for who reads many records in order: whole segments are read, and the last one kept in
 * `reader`, which starts out as zeros. `record` points into it until the next call. */
struct journal_reader {
    uint32_t generation;
    struct blob *bytes;
};
int journal_read_next(struct journal *j, struct journal_reader *reader, lsn_no lsn,
                      struct journal_record *record);
void journal_reader_done(struct journal_reader *reader);
/* Where the tail of a record starts, relative to its LSN. */
uint32_t journal_tail_offset(uint32_t head_size);
/* An open descriptor of a segment, to pread from and close. -ENOENT when released. Any thread. */
int journal_open_segment(struct journal *j, uint32_t generation);

struct journal_stats {
    uint64_t groups, records, flush_p50_us, flush_p99_us;
};
void journal_stats(struct journal *j, struct journal_stats *ret);

#endif
