/* Mounts over the real service and namespace, in memory: the log is an array, a node is the service
 * on the one state that all share, links are queues, time is a number. */
#ifndef TALLY_TESTS_FS_CLIENT_WORLD_H
#define TALLY_TESTS_FS_CLIENT_WORLD_H

#include "fs/app/app.h"
#include "fs/client/client.h"
#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"

enum { WORLD_NODES = 2, WORLD_MOUNTS = 2, WORLD_ROOT = 1 };

struct world_answer {
    uint64_t op_id;
    int err;
    struct Fs__Attr attr;
    uint64_t fh, written, offset;
    struct client_lock lock;
    struct blob *bytes; /* of slices or data; NULL: none */
    size_t entries;
    uint64_t listing; /* hash of their names, inodes and cookies in order */
    time_us entry_valid_us, attr_valid_us;
    bool names_kept; /* some of a listing have a validity */
};

struct world_mount {
    struct client *client;
    time_us wake_at;
    uint64_t next_id;
    vec_of(struct world_answer) answers;
    uint32_t acked_recall; /* so it answered a recall last: the node */
    unsigned notified_attr, notified_data, notified_names, pruned, logs, puts, sends;
    bool stopped;
    bool held;    /* what nodes say does not arrive for now */
    bool silent;  /* what it says does not arrive for now */
    bool late;    /* answers to its operations do not arrive for now, while all else does */
    bool no_puts; /* BLOCK_PUTs get lost */
};

struct world_entry {
    uint64_t index;
    struct blob *payload;
};

struct world {
    time_us now;
    int64_t wall_ns;
    struct kv *kv;
    struct kv_txn *txn;
    struct fs_state *state;
    struct fs_app *apps[WORLD_NODES + 1]; /* by node id, from 1 */
    uint32_t leader;
    uint64_t term, last_index, applied;
    vec_of(struct world_entry) pending; /* appended, not applied */
    bool no_commit;                     /* nothing is applied for now */
    bool local_names;                   /* of mounts that are added from now on */
    uint64_t kept_bytes;                /* of these too */
    struct list messages;
    struct map blocks; /* hash of name -> struct blob */
    uint32_t mute;     /* what this node says arrives nowhere for now; 0: none */
    bool no_reads;     /* READ answers with bytes get lost */
    unsigned corrupt;  /* so many pieces of READ answers get a wrong bit ... */
    unsigned spared;   /* ... after so many */
    unsigned commits_seen;
    uint64_t link[WORLD_MOUNTS][WORLD_NODES + 1]; /* number of the link; 0: down */
    uint64_t next_link;
    struct world_mount mounts[WORLD_MOUNTS];
};

void world_open(struct world *w);
void world_close(struct world *w);
/* From now on the fullest node has so many bytes left; others have more. */
void world_set_room(struct world *w, uint64_t bytes);
void world_add_mount(struct world *w, int m, enum client_consistency consistency);
/* Everything that can happen without time passing. */
void world_settle(struct world *w);
/* The next message arrives; false: there is none. */
bool world_step(struct world *w);
void world_pass(struct world *w, time_us us);
void world_link_down(struct world *w, int m, uint32_t node);
void world_link_up(struct world *w, int m, uint32_t node, uint64_t store_boot);
/* `keep`: what was appended and not applied is in the new leader's log. */
void world_new_leader(struct world *w, uint32_t node, bool keep);
/* This node knows of a term that has no leader. */
void world_campaigns(struct world *w, uint32_t node, uint64_t term);
void world_stop(struct world *w, int m);
/* The caller of operation `id` was killed. */
void world_cancel(struct world *w, int m, uint64_t id);
/* Into the log, by nobody. */
void world_append(struct world *w, const Fs__Op *op);
void world_end_session(struct world *w, uint64_t session);

/* Starts an operation; its id. */
uint64_t world_start(struct world *w, int m, struct client_op op);
/* Its answer, or NULL while there is none; good until the next operation of the mount. */
const struct world_answer *world_find(struct world *w, int m, uint64_t id);
/* Both, and lets time pass until it is answered. */
const struct world_answer *world_do(struct world *w, int m, struct client_op op);

#endif
