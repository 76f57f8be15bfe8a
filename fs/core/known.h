/* What apply keeps in mind of the state so that it need not ask the key-value store: parts of maps
 * that are edited again and again, and which names of blocks are new.
 *
 * In memory only: it says what the store would say, or nothing. */
#ifndef TALLY_FS_CORE_KNOWN_H
#define TALLY_FS_CORE_KNOWN_H

#include "fs/core/extent.h"

enum {
    STRETCH_PAGES = 512,   /* of a file; its extents are 16 KiB at most */
    KNOWN_STRETCHES = 512, /* places; those of one file follow one another */
    KNOWN_LOOKS = 8,       /* edits in one stretch until it is read as a whole */
    KNOWN_SESSIONS = 16,   /* one place for each number */
};

struct known;
struct known *known_new(void);
void known_free(struct known *k); /* NULL is fine */

/* All extents, as committed and in order, that reach into a stretch with pages [first, end) of
 * `ino`; NULL: not known. Good until the next call. */
const extents *known_extents(struct known *k, uint64_t ino, uint64_t first, uint64_t end);
/* An edit is about to look at pages [first, end) of `ino`. */
void known_look(struct fs_state *s, uint64_t ino, uint64_t first, uint64_t end);
/* An edit has put `new` in the place of `old`, which were all that reached into its pages. */
void known_edited(struct known *k, uint64_t ino, const extents *old, const extents *new);
/* What reaches into pages below `end`. */
void known_forget(struct known *k, uint64_t ino, uint64_t end);

/* True: no block has this name. False: look. Sessions count their names up, and what is not there
 * is the dearest of look-ups. */
bool known_name_is_new(struct fs_state *s, struct block_name name);
/* There may be one now. */
void known_named(struct fs_state *s, struct block_name name);

#endif
