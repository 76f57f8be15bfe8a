/* Checkers that look into the nodes, fed while a run goes on. Each complains by sim_complain().
 * Rules and sources stand at each in its file.
 *
 * A checker has two layers: a `_turn` that reads what is new out of a node, and functions that
 * judge facts and know nothing of nodes. Tests feed bad facts to the latter. */
#ifndef TALLY_TESTS_SIM_CHECK_H
#define TALLY_TESTS_SIM_CHECK_H

#include "repl/base/kv.h"
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
void check_node_fell(struct process *p); /* in the middle of a turn: it may have answered in it */
void check_node_died(struct process *p);

/* ---- check_election.c: PROTOCOL 1.9 and RULES E1-E3 ---------------------------------------------
 * At most one leader per term; one vote per term and node, also over crashes, and durable before it
 * counts; no vote inside a promise; leases never overlap; a leader holds every committed entry; a
 * rescue leader proposes nothing. */
void check_election_turn(struct process *p);
void check_election_promise(struct process *p);
void check_election_vote(uint32_t node, uint64_t term, uint32_t vote); /* durable now */
/* Facts. */
void check_election_term(uint32_t node, uint64_t term); /* it runs in this term */
void check_election_leads(uint32_t node, uint64_t term, bool rescue);
/* `leader` was elected in `term` by a vote of `voter`. */
void check_election_granted(uint32_t leader, uint64_t term, uint32_t voter);
void check_election_proposed(uint64_t term); /* an entry of this term exists */
/* Node leads `term` and believes in its lease until the true time `until`; 0: it has none. */
void check_election_lease(uint32_t node, uint64_t term, time_us until);
/* `voter` acknowledged what the leader of `term` sent at the true time `sent`. */
void check_election_ack(uint32_t voter, uint64_t term, time_us sent);
/* `voter` promises now that it elects nobody else for a while. */
void check_election_promised(uint32_t voter);
/* `leader` counts an answer of `voter` from the true time `sent`. */
void check_election_counted(uint32_t leader, uint32_t voter, time_us sent);
/* It leads, and a majority answered it or it began to run freely (again) just now. */
void check_election_quorum(uint32_t node);
/* It still leads. */
void check_election_still_leads(uint32_t node);
/* One node led, ready and alive, from `from` to `to`. */
bool check_election_steady(time_us from, time_us to);
/* When the first leader of a term above this one was elected; TIME_NEVER: none yet. */
time_us check_election_deposed(uint64_t term);
/* The leader of `term` sent TimeoutNow: promises to it are off (PROTOCOL 1.5). */
void check_election_revoked(uint64_t term);

/* ---- check_log.c: RULES B3, B4 ------------------------------------------------------------------
 * Equal index, equal entry, for committed entries; commit never goes back; an entry is committed
 * when f + 1 stores hold it and its bytes durably; nobody acknowledges what is not durable; an
 * undrafted witness never holds an uncommitted entry with blocks. */
void check_log_turn(struct process *p);
/* Facts. `holders`: mask of the nodes whose stores hold entry and bytes durably, looked at when
 * the first node counts the entry as committed; `by`: the term of that node. */
void check_log_committed(uint32_t node, uint64_t index, uint64_t term, uint64_t hash,
                         uint32_t holders, uint64_t by);
void check_log_acknowledged(uint32_t follower, uint64_t index, bool durable);
void check_log_uncommitted(uint32_t node, uint64_t index, bool bytes_held);
void check_log_undrafted(uint32_t witness,
                         uint64_t index); /* got an uncommitted entry with blocks */
/* The leader of `by` counted an entry of `term` as committed, and all before it. */
void check_log_counted(uint32_t node, uint64_t index, uint64_t term, uint64_t by);
void check_log_elected(uint32_t node, uint64_t term, const struct replica *r);
uint64_t check_log_last(void); /* highest index committed anywhere */

/* ---- check_state.c: RULES S2, PROTOCOL 1.9 E5 ---------------------------------------------------
 * Equal applied index, equal state hash; applied never above what is synced here, never above what
 * is committed, never back. */
void check_state_turn(struct process *p);
void check_state_applied(uint32_t node, uint64_t index, uint64_t lo, uint64_t hi);
void check_state_synced(uint32_t node, uint64_t applied, uint64_t synced);

/* ---- check_blocks.c: RULES B6, B7, B12, S4 ------------------------------------------------------
 * Every block that a copy's state names is held or known to be missing; no live block is dropped; a
 * witness demotes only what all copies have. */
void check_blocks_rest(void); /* at the end of the healed phase */
/* The disk's side: dropped outside of apply; demoted, named by the entry of this index. */
void check_blocks_drop(uint32_t node, struct block_name name);
void check_blocks_died(struct block_name name); /* dropped by apply */
void check_blocks_demote(uint32_t witness, const struct block_ref *ref, uint64_t index);
/* Facts. */
void check_blocks_named(uint32_t node, struct block_name name, bool held, bool missing);
void check_blocks_freed(uint32_t node, struct block_name name, bool named, uint64_t entry);
void check_blocks_demoted(uint32_t witness, struct block_name name, uint32_t copy, bool held,
                          bool dead);

/* ---- check_leases.c: RULES B2, L2-L5 ------------------------------------------------------------
 * One write lease holder per file and epoch; epochs grow; a COMMIT of a stale epoch changes
 * nothing; promises that conflict are never out together. */
void check_leases_turn(struct process *p);
/* Does the leader of `term` know that it promised the inode's attributes to the session? True as
 * well when there is no such leader, session or inode (any more). */
bool check_leases_recorded(uint64_t term, uint64_t session, uint64_t ino);
/* Facts, in the order of the log. */
void check_leases_seen(uint64_t ino, uint64_t epoch, uint64_t holder, uint64_t index);
void check_leases_commit(uint64_t ino, uint64_t epoch, uint64_t session, uint64_t index,
                         bool took_effect);
/* `session` is promised the attributes and data of `ino`, whose write lease `holder` has. */
void check_leases_promise(uint32_t node, uint64_t ino, uint64_t session, uint64_t holder);

/* ---- check_queue.c: RULES D1 --------------------------------------------------------------------
 */
void check_queue_start(void);
/* Facts, in the order of the log. */
void check_queue_entry(uint64_t session, uint64_t q);
void check_queue_ended(uint64_t session);
/* The directory's lease ends by itself; operation `q` under it is on its way, as its mount says. */
void check_queue_released(uint64_t session, uint64_t dir, uint64_t q);
/* The state of a node, as of the last entry. */
void check_queue_state(uint64_t session, uint64_t next, uint32_t error);

/* ---- check_promises.c: RULES L3, L5, L8, L9
 * ------------------------------------------------------ Entry `index` of session `author` was
 * applied first just now, and changed this inode: no mount relies on what it was before. */
void check_promises_changed(uint64_t ino, uint64_t author, uint64_t index);
/* Fact: this mount believes in a promise of the inode as of `version`. */
void check_promises_relied(uint32_t mount, uint64_t session, uint64_t author, uint64_t ino,
                           uint64_t version, uint64_t index);

/* Entry `index` gave session `author` a lock of the inode: no other mount decides its locks of it
 * by itself. */
void check_promises_locked(uint64_t ino, uint64_t author, uint64_t index);
/* Fact: this mount does. */
void check_promises_kept_locks(uint32_t mount, uint64_t session, uint64_t author, uint64_t ino,
                               uint64_t index);

/* The session's lease of the inode was given back: nothing that was done under it is still on its
 * way to the log. */
void check_promises_released(uint64_t ino, uint64_t session);

/* A mount relies on nothing that its leader does not know of. */
void check_promises_sweep(const struct process *p, const struct client *c);
void check_promises_recorded(uint32_t mount, uint64_t ino, bool recorded);
/* `mount` takes the inode for its own, under a directory's lease (D1). */
void check_promises_alone(uint32_t mount, uint64_t ino, uint32_t other, bool promised);
/* RULES L10: a mount that started with the token `kept` asks a copy for `min_index` at least. */
void check_promises_token(uint32_t mount, uint64_t min_index, uint64_t kept);

/* ---- check_rest.c: RULES L2, L7 -----------------------------------------------------------------
 * When all has come to rest, the pairs of the state fit each other. */
void check_rest(uint32_t node, struct kv *kv, int table);

/* ---- check_progress.c ---------------------------------------------------------------------------
 * Called once at the end of the healed phase, which began at `since`: among the nodes that are up
 * and not frozen there is one ready leader, everything committed is applied on every copy, nothing
 * is missing, no request waits. */
void check_progress_healed(time_us since);

#endif
