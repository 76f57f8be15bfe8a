/* Reads, which the leader is told of later and many at once. */
#ifndef TALLY_FS_CLIENT_ATIME_H
#define TALLY_FS_CLIENT_ATIME_H

#include "fs/client/internal.h"

/* A program read from it, by a descriptor with `flags`. */
void atime_read(struct client *c, struct inode *i, uint32_t flags);
/* READ begins, and ends well. Linux reads ahead, and the program may long have gone on: when the
 * access time was set by hand in between, that comes behind the read. */
void atime_read_begins(struct op *op, const struct inode *i);
void atime_read_ends(struct client *c, const struct op *op, struct inode *i);
/* It was opened, and the kernel will answer reads from its own pages: taken for the first of them.
 */
void atime_open(struct client *c, struct inode *i, uint32_t flags);
/* Programs at other mounts read. */
void atime_heard(struct client *c, const struct Fs__Atimes *m);
/* The access time is being set by hand, or was: what was read before does not count. */
void atime_set(struct client *c, uint64_t ino);
/* Tells the leader when there is something to tell and time. */
void atime_schedule(struct client *c);
/* Tells the leader now; true: nothing is on its way. */
bool atime_flush(struct client *c);

#endif
