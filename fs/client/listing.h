/* Listings whose names the kernel may not have taken in, and the recalls that wait for that. */
#ifndef TALLY_FS_CLIENT_LISTING_H
#define TALLY_FS_CLIENT_LISTING_H

#include "fs/client/internal.h"

/* Names of `dir` go to the reader `fh` to be kept. */
void listing_given(struct client *c, struct inode *dir, uint64_t fh);
/* The reader asks for more: it has taken in what it was given. */
void listing_goes_on(struct client *c, uint64_t ino, uint64_t fh);
/* True: what is asked back has to wait; recall_go_on() is called then. */
bool listing_holds(struct client *c, struct recall *k, const struct Fs__Object *o);
/* Does a recall wait? Then no names of `dir` are given to keep. */
bool listing_awaited(const struct client *c, const struct inode *dir);
/* All names are dropped, and nothing can wait: they are dropped again once they are taken in. */
void listings_void(struct client *c);
void listings_free(struct client *c);

#endif
