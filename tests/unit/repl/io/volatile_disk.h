/* A disk that forgets: what a directory may hold after the power was cut.
 *
 * Every call with which this process changes something below the watched directory goes through
 * here (volatile_calls.c defines open, pwrite, rename and so on, so that shared libraries are seen
 * too). It is carried out, and noted as volatile until a sync covers it. At the cut each volatile
 * change was kept, lost or torn, and the directory is made anew as that would leave it.
 *
 * The fault model is what POSIX and fsync promise, and no more:
 *  - fsync and fdatasync of a file keep what was done to this file before they began, size and
 *    holes included; RWF_DSYNC keeps this write. Not the file's name.
 *  - fsync of a directory keeps the names made, changed and removed in it before it began. Not
 *    what is in the files, nor the name of the directory itself.
 *  - A write is kept, lost, or each 512 bytes of it for itself. Writes are kept in any choice;
 * where they overlap, the later one lies above.
 *  - The file's size may be kept where the bytes are lost: zeros, or bytes of another file.
 *  - Truncations and holes are kept or lost; so is each change of a directory, rename as one.
 * Either all in the order they were made in, as journaling file systems do, or any choice of them.
 * RocksDB is taken as it is, and counts on what ext4 and its like give beyond POSIX: in its
 * directories (kv.*) names are kept in order, and of a file that grows a first part is kept.
 * What a sync covered stays. */
#ifndef TESTS_UNIT_REPL_IO_VOLATILE_DISK_H
#define TESTS_UNIT_REPL_IO_VOLATILE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* `root` exists and is empty; borrowed. */
void disk_watch(const char *root);
void disk_unwatch(void);

/* The power goes before the `calls`-th call from now; 0: it stays. */
void disk_cut_after(unsigned calls);
/* Or as soon as a file is renamed to a path that ends so. Borrowed; NULL: it stays. */
void disk_cut_when_named(const char *ending);
void disk_cut(void); /* now */
bool disk_is_cut(void);
/* How many there were below the root, and until there was one more and it is done. */
unsigned disk_calls(void);
void disk_wait_call(unsigned seen);
/* What is done between these is done before the cut. False: it is cut already, nothing was begun.
 */
bool disk_hold(void);
void disk_let_go(void);
/* As seeds: of what no sync covered nothing is left, or all of it. */
enum { DISK_LOSES_ALL = 0, DISK_KEEPS_ALL = 1 };
/* Nobody has a file open: makes the directory anew as the cut may have left it. */
void disk_power_on(uint64_t seed);

/* For the proof that a test can fail: syncs of what has this in its path do nothing. NULL: none. */
void disk_lie(const char *in_path);

struct disk_stats {
    unsigned calls, cuts;
    unsigned writes_kept, writes_lost, writes_torn; /* of those not covered by a sync */
    unsigned cuts_kept, cuts_lost;                  /* other changes of files: sizes, holes */
    unsigned names_kept, names_lost;
    unsigned in_order; /* cuts that kept names in order */
};
extern struct disk_stats disk_stats;

uint64_t disk_random(uint64_t *state);

/* ---- for volatile_calls.c: each does the call ------------------------------------------------ */

bool disk_watches(const char *path);
int disk_open(const char *path, int flags, mode_t mode);
int disk_close(int fd);
ssize_t disk_write(int fd, const void *data, size_t size, off_t offset, bool at, bool durably);
int disk_truncate(int fd, off_t size);
int disk_punch(int fd, off_t offset, off_t size);
int disk_sync(int fd);
int disk_rename(const char *from, const char *to);
int disk_unlink(const char *path, bool directory);
int disk_mkdir(const char *path, mode_t mode);
bool disk_has(int fd); /* a file that is watched */

#endif
