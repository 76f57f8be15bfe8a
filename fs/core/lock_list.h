/* The byte-range locks of one inode as a list of ranges: what is in the way of one more, and what
 * it makes of the list. Pure. The log decides by it (lock.c), and so does a mount that keeps its
 * locks to itself for a while (fs/client/locks_here.c). */
#ifndef TALLY_FS_CORE_LOCK_LIST_H
#define TALLY_FS_CORE_LOCK_LIST_H

#include "fs/core/state.h"
#include "repl/base/vec.h"

typedef vec_of(struct fs_lock) fs_lock_list;

/* The first that cannot be held beside `want`; NULL: it may be had. Good until the list changes. */
const struct fs_lock *fs_locks_in_the_way(const fs_lock_list *locks, const struct fs_lock *want);
/* Sets or unlocks the range of `want`: what its owner had of it is replaced. 0, EAGAIN when
 * another's is in the way, or ENOLCK beyond FS_LOCKS_MAX, also when unlocking the middle of one
 * leaves one more; then the list is as it was. */
int fs_locks_change(fs_lock_list *locks, const struct fs_lock *want, bool unlock);
/* Adds to `ret` those parts of `a`'s ranges that `b` does not lock for the same owner in the same
 * way. */
void fs_locks_subtract(const fs_lock_list *a, const fs_lock_list *b, fs_lock_list *ret);

#endif
