/* Invalidations of the kernel's caches that may block: one thread that writes them, one queue of
 * inodes.
 *
 * off=0 waits for pages under I/O, and that I/O may wait for us: written from the loop it can hang
 * for ever (FUSE.md §1, shown). Nobody waits for this thread; but a daemon that is killed while it
 * waits for a READ under way keeps its descriptor: keeper.h. */
#ifndef TALLY_FS_FUSE_NOTIFY_H
#define TALLY_FS_FUSE_NOTIFY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "repl/base/vec.h"

struct fuse_session;

struct notifier {
    struct fuse_session *session;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    vec_of(uint64_t) queue;
    pthread_t thread;
    bool running, stop;
};

/* 0 or a negative errno. */
int notifier_start(struct notifier *n, struct fuse_session *session);
void notifier_push(struct notifier *n, uint64_t ino);
/* Ends the thread. One stuck in the kernel is left behind: false, and `n` must stay where it is. */
bool notifier_stop(struct notifier *n);

#endif
