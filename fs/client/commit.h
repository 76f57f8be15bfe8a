/* COMMITs: their way to the stores and to the leader, and who waits for them (RULES B1, B2, B5,
 * B9). */
#ifndef TALLY_FS_CLIENT_COMMIT_H
#define TALLY_FS_CLIENT_COMMIT_H

#include "fs/client/buffer.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"

struct block_out {
    uint32_t refs; /* the commit and the effects that name `put` */
    struct Fs__Block pb;
    struct Fs__BlockPut put;
    uint64_t runs[BLOCK_RUNS_MAX];
    struct blob *bytes;
    uint32_t acked, asked; /* masks of nodes */
    struct commit *commit;
};

struct commit {
    struct list all, in_file;
    struct file *file;
    uint64_t serial; /* over all files of this client */
    uint64_t epoch, no_c;
    struct layer layer;
    uint64_t size;
    int64_t mtime, atime;
    struct block_out **blocks;
    size_t blocks_count;
    uint64_t bytes, space; /* of the buffer; of the reservation */
    uint64_t cost;         /* what apply will take of the reservation */
    bool inline_bytes, accepted;
    bool tell_accepted; /* somebody goes on then already */
    bool refers;
    struct reference reference;
    uint64_t after_q;           /* RULES B2: what was done to the inode before it goes first ... */
    struct list held;           /* ... and it waits for that: client.held_commits, in order */
    struct Fs__Commit *message; /* until the request has it */
    struct timer put_timer;
    time_us put_delay;
    struct rpc *rpc;
};

/* Names the blocks and sends them, or everything. */
void commit_start(struct client *c, struct commit *k);
/* Out of all tables. */
void commit_free(struct client *c, struct commit *k);
void commit_on_put_reply(struct client *c, uint32_t node, const struct Fs__BlockPutReply *reply);
void commit_on_link_up(struct client *c, uint32_t node, bool new_store);
void commit_on_targets(struct client *c);
/* More of the queue is sent or committed: sends what waited for it. */
void commit_release_held(struct client *c);
/* Answers the operations whose commits are done. */
void commit_wake(struct client *c);
/* Are the commits that `op` waits for done (for FLUSH: accepted)? */
bool commit_reached(const struct client *c, const struct op *op);
/* Waits for them, then the operation runs again. */
void commit_wait(struct client *c, struct op *op, uint64_t ino, uint64_t until);
void block_out_unref(struct block_out *b);

#endif
