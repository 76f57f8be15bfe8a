/* What was read around another mount's lease, while nobody led. */
#ifndef TALLY_FS_CLIENT_AROUND_H
#define TALLY_FS_CLIENT_AROUND_H

#include "fs/client/internal.h"

/* A copy answered `req` in the leader's stead. */
void around_note(struct client *c, const struct Fs__Request *req);
/* There is a leader: it is asked first for what was noted. */
void around_settle(struct client *c);
bool around_settled(const struct client *c);
/* Is `r` one that does not have to wait for that? */
bool around_lets(const struct client *c, const struct rpc *r);

#endif
