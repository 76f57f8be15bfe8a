/* One entry of the replicated log: immutable once made, shared by reference count.
 *
 * The log carries names and data (DESIGN D5): `payload` is the application's operation, opaque
 * here; `blocks` are the blocks it names. The bytes of an entry are those blocks. They travel
 * either wholly inside the entry (`inline_bytes`, up to 64 KiB) or wholly by parts, ahead of it
 * (RULES B5). */
#ifndef TALLY_REPL_CORE_ENTRY_H
#define TALLY_REPL_CORE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/mem.h"

#define ENTRY_INLINE_BYTES_MAX  (64u * 1024u)
#define ENTRY_PAYLOAD_BYTES_MAX (1u << 20)
#define ENTRY_BLOCKS_MAX        4096u

enum entry_kind {
    ENTRY_NOOP = 1, /* first act of a leader (PROTOCOL V8) */
    ENTRY_CONFIG, /* membership; the format is reserved, single changes come later (PROTOCOL 4.5) */
    ENTRY_OP,     /* an operation of the application */
};

struct entry {
    uint32_t refs;
    enum entry_kind kind;
    uint64_t term;
    uint64_t index;            /* 1 is the first */
    struct blob *payload;      /* NULL when empty */
    struct blob *inline_bytes; /* bytes of all `blocks`, one after another; NULL: they travel by
                                  parts, or were left out */
    uint32_t blocks_count;
    struct block_ref blocks[];
};

/* A new entry with one reference. Copies `blocks`; takes new references of `payload` and
 * `inline_bytes` (NULL ok), the caller keeps its own. */
struct entry *entry_new(uint64_t term, uint64_t index, enum entry_kind kind, struct blob *payload,
                        const struct block_ref *blocks, uint32_t blocks_count,
                        struct blob *inline_bytes);
struct entry *entry_ref(struct entry *e);
void entry_unref(struct entry *e); /* NULL ok */

/* A new reference to the same entry without its inline bytes: `e` itself when it has none. */
struct entry *entry_without_bytes(struct entry *e);

/* Bytes of all blocks the entry names. */
uint64_t entry_blocks_size(const struct entry *e);

/* Bytes this entry takes in memory and (closely) on the wire or in the journal. */
uint64_t entry_size(const struct entry *e);

#endif
