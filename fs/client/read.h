/* Pages of a file as they are read: what is not committed yet over what is kept here (kept.c) over
 * what a copy answers (read.c). */
#ifndef TALLY_FS_CLIENT_READ_H
#define TALLY_FS_CLIENT_READ_H

#include "fs/client/internal.h"

/* Reads pages for `op`: layers as they are now over the committed base. When it has them, `done`
 * gets one slice list covering exactly `pages` pages (err != 0: none). */
struct read_job {
    struct op *op;
    uint64_t ino;
    struct rpc *rpc;
    uint64_t first;
    uint32_t pages;
    struct page *over;     /* `pages` entries; blob NULL: zeros */
    bool *missing;         /* pages only the committed file knows */
    bool own;              /* under the own write lease: size is the local one ... */
    uint64_t epoch;        /* ... and this lease */
    uint64_t size;         /* of the file as it was read */
    uint64_t data_version; /* of the committed part; 0: none was needed */
    unsigned bad;          /* answers that did not fit their hashes */
    void (*done)(struct client *c, struct op *op, int err);
};

/* `done` is called once, maybe before this returns; what was read is in op->job until then. */
void read_start(struct client *c, struct op *op, struct inode *i, uint64_t first, uint32_t pages,
                uint64_t min_index, void (*done)(struct client *, struct op *, int));
/* May what was read be answered? With the own changes made meanwhile; false: read again. */
bool read_is_new(const struct client *c, struct read_job *job);
void read_free(struct client *c, struct read_job *job);
/* What a copy must have applied to answer for `i`: RULES B8, L10. */
uint64_t read_min_index(const struct client *c, const struct inode *i);

/* ---- kept.c: committed pages under a write lease ----------------------------------------------
 */

/* The COMMIT is done, and those before it are (file_committed()). */
void kept_committed(struct client *c, const struct commit *k);
/* So was the READ, which may be answered. */
void kept_read(struct client *c, struct inode *i, const struct read_job *job);
/* What page `no` of the committed file is. False: not known here. */
bool kept_find(const struct client *c, const struct file *f, uint64_t no, struct page *ret);
void kept_drop(struct client *c, struct file *f);

#endif
