/* The session with the nodes: its lease (RULES L9), its reservation of space (RULES B13), its end.
 */
#ifndef TALLY_FS_CLIENT_SESSION_H
#define TALLY_FS_CLIENT_SESSION_H

#include "fs/client/internal.h"

void session_start(struct client *c);
/* May promises and leases be relied on now (RULES L9)? */
bool session_lease_valid(const struct client *c);
void session_lost(struct client *c, uint64_t session);
void session_lapse(struct client *c);
/* Ends it: what was done in it can't be relied on any more. */
void session_break(struct client *c);
void session_note_reply(struct client *c, uint32_t node, const struct Fs__Reply *reply);
void session_find_leader(struct client *c);
void session_schedule(struct client *c);
void session_save_token(struct client *c);
bool session_leader_usable(const struct client *c);
/* RULES B13. Takes `bytes` of the reservation; false: not there, ask for more with session_reserve.
 */
bool session_take_space(struct client *c, uint64_t bytes);
void session_reserve(struct client *c, uint64_t bytes);
void session_drop_holds(struct client *c, uint64_t ino);
/* It is being given back: who opens it now comes too late. */
bool session_drops_hold(const struct client *c, uint64_t ino);
void session_stop(struct client *c);
/* Called when something a stop waits for may be done. */
void session_stop_next(struct client *c);

#endif
