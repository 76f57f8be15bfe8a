/* Checkers that look into the nodes, fed while a run goes on. Each complains by sim_complain().
 * Rules and sources stand at each in its file. */
#ifndef TALLY_TESTS_SIM_CHECK_H
#define TALLY_TESTS_SIM_CHECK_H

#include "repl/core/entry.h"
#include "repl/core/replica.h"
#include "tests/sim/process.h"

/* All of them, at the start and the end of a run. */
void checks_start(void);
void checks_end(void);

/* After each turn of a node: whatever changed there. Calls the ones below. */
void check_node_turn(struct process *p);
/* A node is about to be opened, was opened (its recovered log is whole), died. */
void check_node_opened(struct process *p);
void check_node_died(struct process *p);

/* check_election.c: PROTOCOL 1.9 and RULES E1-E3. At most one leader per term; one vote per term
 * and node, also over crashes; leases never overlap; a leader holds every committed entry; a rescue
 * leader proposes nothing. */
void check_election_turn(struct process *p);
void check_election_vote(uint32_t node, uint64_t term, uint32_t vote); /* durable now */

/* check_log.c: equal index, equal entry, for committed entries; commit never goes back; an entry is
 * committed when f + 1 stores hold it and its bytes durably (RULES B3); nobody acknowledges what is
 * not durable; an undrafted witness never holds an uncommitted entry with blocks (RULES B4). */
void check_log_turn(struct process *p);

/* check_state.c: equal applied index, equal state hash; applied never above what is synced here
 * (RULES S2). */
void check_state_turn(struct process *p);

/* check_blocks.c: every block that a committed map names is held by f + 1 byte holders or missing
 * and recoverable; no live block is dropped (RULES B12); a witness drops only what all copies have
 * (RULES B6). */
void check_blocks_turn(struct process *p);
void check_blocks_dropped(uint32_t node, struct block_name name);

/* check_leases.c: RULES B2, L2-L5: one write lease holder per file and epoch; a COMMIT of a stale
 * epoch changes nothing; promises that conflict are never out together. */
void check_leases_turn(struct process *p);

/* check_progress.c: the healed majority elects, commits, repairs, goes quiet within its budget. */
void check_progress_healed(time_us since);

#endif
