/* The log in memory: entries above a base, and how far each stage of their life has come.
 *
 *     base <= durable <= submitted <= ensured <= last
 *
 * `ensured`: the bytes are in the local store, or the entry is committed (RULES B3). `submitted`:
 * given to the journal. `durable`: the journal has reported it. Only durable entries are
 * acknowledged, voted with, or applied; only ensured ones are ever written. */
#ifndef TALLY_REPL_CORE_LOG_H
#define TALLY_REPL_CORE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "election/message.h"
#include "repl/base/time.h"
#include "repl/core/entry.h"

struct log_slot {
    struct entry *entry;
    uint64_t size_end;   /* bytes of all entries ever appended, this one included: a prefix sum */
    time_us appended_at; /* 0: before this start */
    uint64_t ticket;     /* proposal on this leader that waits for the commit; 0: none */
    uint64_t ensure;     /* ENSURE under way for its blocks; 0: none */
    uint64_t mend;       /* the same for one that is durable, whose bytes may be lost since */
    bool ensured;
    bool late; /* its blocks are looked for once what replaces a suffix is written */
};

struct log {
    uint64_t base_index, base_term; /* the entry just before the first one here */
    uint64_t base_size;             /* prefix sum at the base */
    uint64_t durable, submitted, ensured, last;
    uint64_t inline_bytes;  /* held in memory */
    uint64_t inline_floor;  /* entries at or below hold none */
    struct log_slot *slots; /* ring: slot of index i is i % capacity */
    uint64_t capacity;      /* a power of two */
};

void log_init(struct log *l, uint64_t base_index, uint64_t base_term);
void log_done(struct log *l);

/* Starts again after `index`; everything before counts as durable. */
void log_reset(struct log *l, uint64_t index, uint64_t term);

/* Slot of `index`, NULL when it is not in memory. */
struct log_slot *log_slot(const struct log *l, uint64_t index);
struct entry *log_entry(const struct log *l, uint64_t index);

/* True when the term at `index` is known: base_index .. last. */
bool log_has(const struct log *l, uint64_t index);
/* Term at `index`, 0 when unknown (and at index 0). */
uint64_t log_term(const struct log *l, uint64_t index);

/* Where the log given to the journal ends: what this node votes and campaigns with. A vote record
 * follows these entries in the same journal, so once a vote is durable they are. The tail behind,
 * still being fetched or gathered, must not count: nobody was told of it, and an elected leader
 * must not hold an uncommitted entry without its bytes (RULES B3). */
struct log_position log_position(const struct log *l);

/* Appends; takes a reference. The entry's index is last + 1. */
struct log_slot *log_append(struct log *l, struct entry *e, time_us now);

/* Puts `e`, the same entry with its bytes, into its slot. */
void log_fill(struct log *l, struct entry *e);

/* Drops the entries from `index` on. */
void log_cut(struct log *l, uint64_t index);

/* Drops the entries up to and including `index`, which must be durable. */
void log_forget(struct log *l, uint64_t index);

/* Moves `ensured` over every slot that is. */
void log_move_ensured(struct log *l);

/* Bytes of the entries in (after, upto]. */
uint64_t log_bytes(const struct log *l, uint64_t after, uint64_t upto);

/* Drops inline bytes from memory, oldest first, of entries at or below `upto`, until at most
 * `budget` are held. */
void log_drop_inline(struct log *l, uint64_t upto, uint64_t budget);

/* Largest index <= `index` in memory whose term is at most `term`: where a conflict may end
 * (Ongaro 2014, 5.3 by way of etcd-io/raft findConflictByTerm). */
uint64_t log_find_conflict(const struct log *l, uint64_t index, uint64_t term);

void log_check(const struct log *l);

#endif
