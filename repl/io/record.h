/* Bytes of the journal: segment header, group header, record header. Pure; docs/ondisk.md shows
 * them. */
#ifndef TALLY_REPL_IO_RECORD_H
#define TALLY_REPL_IO_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/io/journal.h"

enum {
    SEGMENT_HEADER_SIZE = 4096, /* groups start on multiples of this too */
    GROUP_ALIGN = 4096,
    GROUP_HEADER_SIZE = 40,
    RECORD_HEADER_SIZE = 40,
    RECORD_ALIGN = 8,
    CONTROL_HEAD_SIZE = 48,
    SEGMENT_VERSION = 1,
};

static inline uint32_t align_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

/* Bytes of one record with its header and padding. */
static inline uint32_t record_size(uint32_t head_size, uint32_t tail_size)
{
    return align_up(RECORD_HEADER_SIZE + head_size + tail_size, RECORD_ALIGN);
}

/* Every hash in a segment is seeded with its owner and generation, so that what a recycled file
 * held before does not verify any more. */
uint64_t segment_salt(const uint8_t cluster[16], uint32_t node, uint32_t generation);

void segment_header_put(uint8_t out[SEGMENT_HEADER_SIZE], const uint8_t cluster[16], uint32_t node,
                        uint32_t generation, uint32_t size);
bool segment_header_check(const uint8_t in[SEGMENT_HEADER_SIZE], const uint8_t cluster[16],
                          uint32_t node, uint32_t generation);

struct group_header {
    lsn_no lsn;
    lsn_no
        prev_end;  /* where the group before ended; all below was synced before this was written */
    uint32_t size; /* with this header, without padding */
    uint32_t records;
};
void group_header_put(uint8_t out[GROUP_HEADER_SIZE], const struct group_header *g, uint64_t salt);
/* False when these bytes are no group header of this place. */
bool group_header_get(const uint8_t *in, lsn_no lsn, uint64_t salt, struct group_header *ret);

/* `head` is two parts, either may be empty. */
void record_header_put(uint8_t out[RECORD_HEADER_SIZE], enum record_kind kind, uint32_t flags,
                       lsn_no lsn, struct bytes head, struct bytes payload, struct bytes tail,
                       uint64_t salt);
/* Reads a record of which `available` bytes are at `in`. False when the head is damaged; a damaged
 * tail is told in `ret`. `ret` points into `in`. */
bool record_get(const uint8_t *in, uint64_t available, lsn_no lsn, uint64_t salt,
                struct journal_record *ret);
/* Only sizes, from the header alone; unverified. */
void record_sizes(const uint8_t in[RECORD_HEADER_SIZE], uint32_t *ret_head, uint32_t *ret_tail);

void control_put(struct bytes_writer *w, const struct journal_control *c);
bool control_get(const struct journal_record *record, struct journal_control *ret);

#endif
