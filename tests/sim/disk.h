/* The disks of a run: repl/io/store.h in memory, with what a disk may do to it.
 *
 * Fault model (docs/simulator.md has it in full). The journal is a sequence of records, each
 * queued, written (survives SIGKILL) or synced (survives power loss). A power cut keeps a prefix of
 * what is written and not synced; a record it tears is recovered as the end of the log. Block bytes
 * are written before the record that names them is synced. Applied state is durable as of the last
 * flush. */
#ifndef TALLY_TESTS_SIM_DISK_H
#define TALLY_TESTS_SIM_DISK_H

#include "repl/base/block.h"
#include "repl/core/entry.h"
#include "tests/sim/process.h"

struct disk;

/* One per node, made before the node first starts; survives its lives. */
struct disk *disk_of(uint32_t node);

void disk_free_all(void);

/* What death does to it. */
void disk_killed(struct disk *d, bool power);
void disk_wipe(struct disk *d);
void disk_set_slow(struct disk *d, uint32_t factor); /* 1: as drawn */
void disk_set_full(struct disk *d, bool full);
/* Spoils something at rest that another node can mend (the atlas decides); false: nothing to spoil.
 */
bool disk_flip_bit(struct disk *d);
bool disk_lose_write(struct disk *d);
void disk_fail_reads(struct disk *d, time_us until);
void disk_fail_next_write(struct disk *d);
/* Asked when a snapshot that a node took in begins to become its state: that takes so much longer.
 */
void disk_on_switch(time_us (*longer)(uint32_t node));

/* For checkers: what would be there after a power cut now. */
bool disk_durable_entry(const struct disk *d, uint64_t index, uint64_t term);
bool disk_durable_block(const struct disk *d, const struct block_ref *ref);
bool disk_written_block(const struct disk *d, const struct block_ref *ref);
uint64_t disk_durable_last(const struct disk *d);
void disk_durable_vote(const struct disk *d, uint64_t *ret_term, uint32_t *ret_vote);
/* Holds bytes that may be spoilt of an entry that nobody has committed. */
bool disk_has_uncommitted(const struct disk *d);
bool disk_damaged(const struct disk *d, struct block_name name); /* spoilt, or missing */
bool disk_spoilt(const struct disk *d, struct block_name name);  /* by the nemesis */

#endif
