/* A process beside the daemon that ends the FUSE connection when the daemon dies.
 *
 * Linux does so by itself when the last descriptor of /dev/fuse goes. But a daemon that is killed
 * while its notifier waits for a page of a READ under way (notify.h) keeps that descriptor: only
 * the daemon would have answered the READ, and neither it nor the reader can be killed any more. */
#ifndef TALLY_FS_FUSE_KEEPER_H
#define TALLY_FS_FUSE_KEEPER_H

/* For the connection with device number `device` ("MAJOR:MINOR" of mountinfo). On the thread whose
 * end is the daemon's; it may have others. Without the rights to end connections there is none. */
void keeper_start(const char *device);

#endif
