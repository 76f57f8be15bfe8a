/* Locks of this mount's programs, in the log or under a write lease. */
#ifndef TALLY_FS_CLIENT_LOCKS_H
#define TALLY_FS_CLIENT_LOCKS_H

#include "fs/client/internal.h"

/* Its question to the leader is of no interest any more. */
void op_withdraw_lock(struct client *c, const struct op *op);
/* FLUSH: true when it has to wait until the locks of its process are given back. */
bool op_closes_locks(struct client *c, struct op *op);
void handle_close_locks(struct client *c, struct handle *h);
bool handle_lost_locks(const struct client *c, uint64_t fh);
/* No lock was taken through it, or none was given to others yet: the session lives. Else the leader
 * has to be asked before an answer that relies on the lock. */
bool handle_locks_hold(const struct client *c, uint64_t fh);
/* The session that had them ended. */
void locks_lost(struct client *c);
/* So did those of one owner. */
void handles_lose_locks(struct client *c, uint64_t ino, uint64_t owner, bool flock);
void locks_free(struct client *c);
/* What waits for locks under way runs again. */
void lock_wake(struct client *c);
/* A request that sets or gives back a lock. */
struct rpc *lock_rpc(struct op *op, uint64_t ino, const struct client_lock *lock,
                     void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                  struct blob *));

/* ---- locks_here.c: those that are not in the log, under a write lease ------------------------ */

/* The lease of `f` that was just granted came with word that nobody else has a lock of it. */
void locks_granted_here(struct client *c, struct file *f);
/* Are they kept here now? Then whatever gives one back does that here. */
bool locks_here(const struct client *c, uint64_t ino);
/* And may one more be granted or refused here? */
bool locks_decided_here(const struct client *c, uint64_t ino);
/* Not so many parts yet that the log might not take them. */
bool locks_fit_here(const struct client *c, uint64_t ino);
/* Is one of this mount's in its way? That one in `ret`. */
bool locks_blocker(const struct client *c, uint64_t ino, const struct client_lock *lock,
                   struct client_lock *ret);
/* Sets it, or gives it back. */
void locks_set_here(struct client *c, uint64_t ino, const struct client_lock *lock);
/* The log did. */
void locks_logged(struct client *c, uint64_t ino, const struct client_lock *lock);
/* From now on, until the next lease, none is kept here. True: the log has them all; else they are
 * on their way, and then who waits for locks goes on, and a recall of the lease. */
bool locks_written(struct client *c, uint64_t ino);
bool locks_writing(const struct client *c, uint64_t ino);
/* The lease went without that: so did those that are not in the log. */
void locks_lease_lost(struct client *c, struct file *f);
/* The file has no name and is not open here, so none is held: what the log still has is given back,
 * since elsewhere it may be open. */
void locks_closed(struct client *c, uint64_t ino);
/* They ended with the session. */
void locks_all_gone(struct client *c);
void locks_here_free(struct client *c);

#endif
