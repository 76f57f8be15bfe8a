/* What a node does for mounts: requests in, proposals, recalls and answers out.
 *
 * On the leader: sessions, read promises, write leases, opens, locks, space, COMMIT acceptance
 * (RULES L1-L9, B2, B9, B11-B13). On every copy: reads by wanted index (RULES B8, L10). Pure; reads
 * the namespace state through fs/core/state.h, changes it only by proposals. */
#ifndef TALLY_FS_APP_H
#define TALLY_FS_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/core/fs.pb-c.h"
#include "fs/core/state.h"
#include "repl/base/block.h"
#include "repl/base/mem.h"
#include "repl/base/time.h"
#include "repl/base/trace.h"

/* The bytes of one answer to a READ, as whole runs: a frame takes no more. A READ of 512 pages or
 * less never needs that much. */
enum { FS_APP_READ_BYTES_MAX = 8 << 20 };

struct fs_app;

struct fs_app_config {
    uint32_t self;              /* node id */
    bool witness;               /* answers nothing but ESTALE with the leader's id */
    struct fs_state *state;     /* NULL on a witness */
    time_us lease_us;           /* T of RULES L1: 4 s */
    time_us session_timeout_us; /* silent so long: ended although nobody waits (60 s) */
    struct trace trace;
};

struct fs_app *fs_app_new(const struct fs_app_config *config);
void fs_app_free(struct fs_app *app);
/* The state is another one now (a snapshot was taken in); NULL while there is none. RESTORED
 * follows. */
void fs_app_set_state(struct fs_app *app, struct fs_state *state);

enum fs_app_event_kind {
    FS_APP_ROLE,        /* leadership changed: leading, leader, term */
    FS_APP_CLIENT_UP,   /* a mount's link came up */
    FS_APP_CLIENT_DOWN, /* its link closed; says nothing about the session */
    FS_APP_REQUEST,     /* a mount asks: request, bulk */
    FS_APP_APPENDED,    /* proposal `ticket` is in the log at `index` */
    FS_APP_DROPPED,     /* proposal `ticket` will not commit under this leader */
    FS_APP_APPLIED,     /* the entry at `index` was applied: op, result */
    FS_APP_ADVANCED,   /* everything up to `index` is applied (after the last APPLIED of a batch) */
    FS_APP_READ_READY, /* linearizable read point: answer once `index` is applied */
    FS_APP_READ_FAILED, /* not the leader (any more) */
    FS_APP_SPACE,       /* least free bytes; mask of the nodes that large blocks go to */
    FS_APP_RESTORED,    /* the whole state was replaced by a snapshot at `index` */
    FS_APP_TICK,
};

struct fs_app_event {
    enum fs_app_event_kind kind;
    time_us now;
    int64_t wall_ns;
    uint64_t client; /* CLIENT_*, REQUEST: the driver's number of the link, never reused */
    struct Fs__Request *request; /* REQUEST: taken, freed with fs__request__free_unpacked */
    struct blob *bulk;           /* REQUEST: borrowed; the app takes a reference when it keeps it */
    uint64_t ticket;             /* APPENDED, DROPPED, READ_* */
    uint64_t index, term;
    bool leading;                     /* ROLE */
    uint32_t leader;                  /* ROLE: node id, 0 unknown */
    const struct Fs__Op *op;          /* APPLIED: borrowed; NULL for entries without an op */
    const struct fs_result *result;   /* APPLIED: borrowed */
    uint64_t free_bytes, total_bytes; /* SPACE: of the nodes that store data now */
    uint64_t room_bytes;              /* SPACE: of all nodes; no more may be promised at once */
    uint32_t targets;                 /* SPACE: mask */
};

enum fs_app_effect_kind {
    FS_APP_REPLY,       /* send `reply` to `client` */
    FS_APP_PROPOSE,     /* payload, blocks, inline bytes, holders; answered by APPENDED or
                           DROPPED(ticket) */
    FS_APP_READ_INDEX,  /* ask for a linearizable read point; answered by READ_*(ticket) */
    FS_APP_READ_BLOCKS, /* read the pieces' bytes from the block store, complete reply->read's
                           pieces (runs, run_first, bytes), then send `reply` with them as bulk to
                           `client`; bytes that this node lacks: EAGAIN, so that the mount asks
                           another copy */
};

struct fs_app_effect {
    enum fs_app_effect_kind kind;
    uint64_t client;
    struct Fs__Reply *reply; /* owned by the effect: freed by fs_app_out_clear with
                                fs__reply__free_unpacked (allocated with malloc) */
    uint64_t ticket;
    bool aside;               /* READ_INDEX: for a renewal, which alone is no work */
    struct blob *payload;     /* PROPOSE: packed Fs__Op; owned by the effect */
    struct block_ref *blocks; /* PROPOSE: owned */
    size_t blocks_count;
    struct blob
        *inline_bytes; /* PROPOSE: all blocks' bytes one after another, or NULL; owned reference */
    uint32_t holders;  /* PROPOSE: nodes that hold the blocks, as the mount says */
};

struct fs_app_out {
    struct fs_app_effect *effects;
    size_t count, capacity;
    time_us wake_at; /* 0: none */
};
void fs_app_out_clear(struct fs_app_out *out);

/* One step. `out` is appended to. */
void fs_app_step(struct fs_app *app, const struct fs_app_event *ev, struct fs_app_out *out);

/* For status and explain. */
struct fs_app_stats {
    size_t clients, sessions, promises, waiting_requests, recalls_out;
    uint64_t requests, recalls, sessions_ended;
};
struct fs_app_stats fs_app_stats(const struct fs_app *app);
/* One line per request that waits: "m1 unlink ino=12: recall of m2 (silent 2.1 s)". */
void fs_app_explain(const struct fs_app *app, time_us now,
                    void (*line)(void *ctx, const char *text), void *ctx);

#endif
