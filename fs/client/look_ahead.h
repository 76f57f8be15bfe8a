/* Names are asked for before somebody looks them up. */
#ifndef TALLY_FS_CLIENT_LOOK_AHEAD_H
#define TALLY_FS_CLIENT_LOOK_AHEAD_H

#include "fs/client/internal.h"

/* Of a directory whose names are promised, since then. */
struct look_ahead {
    uint64_t after;      /* the cookie up to which entries came */
    uint32_t page;       /* so many were asked for last */
    uint32_t came, hits; /* entries; look-ups answered without a question */
    uint32_t misses;     /* and those that were not */
    bool asked, over;    /* under way; there are no more, or none that count */
};

/* A look-up in the directory had to ask. */
void look_ahead(struct client *c, uint64_t dir);
/* Names go from a directory that is leased here: true when a page of them is under way. */
bool look_ahead_for_removal(struct client *c, struct inode *dir);

#endif
