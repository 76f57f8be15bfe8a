/* Where directories are in Linux's own tree. Pure: numbers and a time come in.
 *
 * Linux has one inode for each number, and a directory's inode is in one place of its tree. When a
 * LOOKUP finds it in another (another mount moved it), Linux moves it there, which takes locks that
 * it may only try for: of the place where it was, and the one that whoever renames from directory
 * to directory holds. With one of them taken the walk gets ESTALE; Linux walks once more and then
 * gives up. A rename of the moved directory itself holds that lock, so there both walks fail.
 *
 * So a caller who walks again gets another number for the same directory, its *node*: to Linux an
 * inode of its own, which is nowhere yet. Nobody loses the first one: who has it open or stands in
 * it goes on with it. Nodes are inode numbers with a count in the high bits; a node that is its
 * inode number is the usual case. As Linux caches by inode, names in a directory that has several
 * nodes, and its attributes, must be kept nowhere: places_many(). */
#ifndef TALLY_FS_FUSE_PLACES_H
#define TALLY_FS_FUSE_PLACES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "repl/base/map.h"

/* A caller that walks again asks again within this. Longer costs a node too many now and then;
 * shorter costs it an error when a leader is elected in between. */
#define PLACES_AGAIN_MS 3000u

enum { PLACES_WALKERS = 64 };

struct place { /* of a directory that Linux knows, by one of its nodes */
    uint64_t node, ino;
    uint64_t parent; /* node */
    uint64_t nlookup;
    bool moving;         /* Linux was told of this parent, and may have failed to move it there */
    struct place *older; /* another node of the same inode */
};

struct places {         /* zero-initialised is empty */
    struct map by_node; /* -> struct place */
    struct map by_ino;  /* -> the newest */
    /* Threads whose walk may have failed. */
    struct {
        pid_t thread;
        uint64_t at_ms;
    } walkers[PLACES_WALKERS];
    unsigned walkers_next;
};

void places_done(struct places *p);

/* The inode number of any node, of files too. */
uint64_t places_ino(const struct places *p, uint64_t node);
/* The nodes that Linux has of a directory, newest first; NULL: none, or it is no directory. */
const struct place *places_of(const struct places *p, uint64_t ino);
/* More than one. */
bool places_many(const struct places *p, uint64_t ino);

/* The node to answer with to a thread that finds the directory `ino` in `parent`; counts as one
 * look-up. Sets *ret_new when Linux has others: what it remembers of the directory must go. */
uint64_t places_found(struct places *p, uint64_t ino, uint64_t parent, pid_t thread,
                      uint64_t now_ms, bool *ret_new);
/* The node for a listing of `parent`; 0: Linux has it elsewhere, and is to look it up. */
uint64_t places_listed(const struct places *p, uint64_t ino, uint64_t parent);
/* Linux got that: one look-up. */
void places_count_listed(struct places *p, uint64_t ino, uint64_t parent);
/* The thread is answered ESTALE, so it will walk again. */
void places_walk_again(struct places *p, pid_t thread, uint64_t now_ms);
/* Renamed at this mount: Linux moved it. */
void places_renamed(struct places *p, uint64_t ino, uint64_t parent, uint64_t newparent);
/* Also of files, which changes nothing. */
void places_forget(struct places *p, uint64_t node, uint64_t nlookup);

#endif
