/* Listings whose names the kernel may not have taken in. */
#ifndef TALLY_FS_CLIENT_LISTING_H
#define TALLY_FS_CLIENT_LISTING_H

#include "fs/client/internal.h"

/* A page of a listing goes out; what may not be kept of it is without a validity then. */
void listing_answered(struct client *c, const struct op *op, struct client_result *ret);
/* The reader `fh` asks for more, or closes: it has taken in what it was given. */
void listing_goes_on(struct client *c, uint64_t fh);
/* False: nothing that the kernel may keep can be given back now. recall_go_on() follows. */
bool listings_taken_in(const struct client *c);
/* All names are dropped, and no recall asked for it: they are dropped again once they are taken in.
 */
void listings_void(struct client *c);
/* The machine stood still: so did the readers. */
void listings_await(struct client *c);
/* False: `r`, a Renew, would tell the next leader that nothing is kept, which is not so yet. */
bool listings_let(const struct client *c, const struct rpc *r);
void listings_free(struct client *c);

#endif
