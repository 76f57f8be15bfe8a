/* What apply keeps in mind of the state so that it need not ask the key-value store: the maps of
 * files that are edited again and again, and which names of blocks are new.
 *
 * In memory only: it says what the store would say, or nothing. */
#ifndef TALLY_FS_CORE_KNOWN_H
#define TALLY_FS_CORE_KNOWN_H

#include "fs/core/extent.h"

enum {
    KNOWN_MAPS = 4,           /* one place for each inode number */
    KNOWN_EXTENTS_MAX = 8192, /* of a file, 32 bytes each; who has more is looked up */
    KNOWN_LOOKS = 8,          /* edits of one file until its map is read as a whole */
    KNOWN_SESSIONS = 16,      /* one place for each number */
};

struct known;
struct known *known_new(void);
void known_free(struct known *k); /* NULL is fine */

/* All extents of `ino` as committed, in order; NULL: not known. Good until the next call. */
const extents *known_map(const struct known *k, uint64_t ino);
/* An edit is about to look into the map of `ino`. */
void known_look(struct fs_state *s, uint64_t ino);
/* An edit that looked at pages from `first` on and found `old` has left `new` there. */
void known_edited(struct known *k, uint64_t ino, uint64_t first, const extents *old,
                  const extents *new);
void known_forget(struct known *k, uint64_t ino);

/* True: no block has this name. False: look. Sessions count their names up, and what is not there
 * is the dearest of look-ups. */
bool known_name_is_new(struct fs_state *s, struct block_name name);
/* There may be one now. */
void known_named(struct fs_state *s, struct block_name name);

#endif
