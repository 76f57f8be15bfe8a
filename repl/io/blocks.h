/* Block segment files: where the bytes of blocks lie, 4 KiB aligned, and how space comes back
 * (RULES S1, S4). Behind store.h; knows places, not names.
 *
 * Places are given out on the loop's thread; bytes move on worker threads. A segment is open for
 * appending, then closed, then gone when nothing in it is live. */
#ifndef TALLY_REPL_IO_BLOCKS_H
#define TALLY_REPL_IO_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blocks;
struct block_segment;

struct block_place {
    uint32_t segment; /* number of the file; 0: none */
    uint32_t offset;  /* multiple of BLOCK_PAGE_SIZE */
};

/* The directory exists. All files in it are found and closed for appending. */
int blocks_open(const char *dir, uint32_t segment_size, struct blocks **ret);
void blocks_free(struct blocks *b);

/* Loop's thread ------------------------------------------------------------------------------- */

/* Room for `size` bytes at the end of the open segment, counted as live. Pins the segment. -ENOSPC
 * and the like when a new file cannot be made. */
int blocks_take(struct blocks *b, uint32_t size, struct block_place *ret,
                struct block_segment **ret_segment);
/* Recovery: something on the disk names a place in the file of this number, whether there is one or
 * not. No other file will have it: the place would be found again in that. */
void blocks_number_seen(struct blocks *b, uint32_t number);
/* Recovery: bytes at `place` are live. -EINVAL when no such place exists. */
int blocks_mark_live(struct blocks *b, struct block_place place, uint32_t size);
/* Recovery is over: what was not marked live is given back. */
void blocks_recovered(struct blocks *b);
/* Bytes at `place` are not wanted any more. They stay readable until blocks_reclaim. */
void blocks_give_back(struct blocks *b, struct block_place place, uint32_t size);

/* Pinned segments are neither punched nor removed. NULL and errno: ENOENT when there is no such
 * segment, else why it cannot be opened. */
struct block_segment *blocks_pin(struct blocks *b, uint32_t segment);
void blocks_unpin(struct blocks *b, struct block_segment *segment);

/* From now on what was given back so far is below the durable scan_from: punch it out as soon as
 * pins allow, remove empty closed segments (RULES S4). `epoch` is what blocks_epoch said when the
 * flush began. */
uint64_t blocks_epoch(struct blocks *b);
void blocks_reclaim(struct blocks *b, uint64_t epoch);
/* blocks_reclaim has something to do once the scan_from allows. */
bool blocks_reclaimable(const struct blocks *b);
/* A closed segment less than a quarter live and worth copying out, 0 when there is none. */
uint32_t blocks_find_sparse(struct blocks *b);
/* Closes the open segment, so that its space can be reclaimed. */
void blocks_close_open(struct blocks *b);

/* Bytes on disk, as far as known here: live ones and those not punched out yet. */
uint64_t blocks_size(const struct blocks *b);
uint64_t blocks_live(const struct blocks *b);

/* Any thread, on a pinned segment ---------------------------------------------------------------
 */

/* 0 or a negative errno; starts write-back at once, so that a later sync has little to do. */
int blocks_write(struct block_segment *segment, uint32_t offset, const void *data, uint32_t size);
/* The same of what stays in memory, without a start. */
int blocks_write_cached(struct block_segment *segment, uint32_t offset, const void *data,
                        uint32_t size);
/* -EIO when the disk says so, -EBADMSG when the file is too short. */
int blocks_read(struct block_segment *segment, uint32_t offset, void *data, uint32_t size);
/* The same when nothing has to wait for the disk; false: it has to, or fails. */
bool blocks_read_now(struct block_segment *segment, uint32_t offset, void *data, uint32_t size);
/* Does what blocks_sync would find to do, and leaves it the rest: which writes are durable is only
 * for one thread to say, that of the log. 0 or a negative errno, as there. */
int blocks_write_back(struct block_segment *segment);
/* Everything written before is durable after. 0 or a negative errno, after which nothing about the
 * segment is known (RULES S3). */
int blocks_sync(struct block_segment *segment);

#endif
