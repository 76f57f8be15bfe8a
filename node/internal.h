/* The inside of a node, for the sources of this folder.
 *
 * One turn: input is gathered as events (links, journal, block pool, timer); then node_turn() feeds
 * the events to the cores, one after another, and carries out the effects, until nothing is left.
 * So all input of a turn shares one journal write and one APPEND per peer, and no core is ever
 * entered from within an effect.
 *
 *     node.c      life cycle, recovery, queues, the turn
 *     replica.c   effects of repl/core
 *     apply.c     committed entries into the namespace; flushes; truncation
 *     service.c   mounts' requests: fs/app, data reads
 *     blocks.c    blocks in and out: puts, fetches, what is missing, garbage
 *     snapshot.c  a copy that fell behind: sending and installing state
 *     status.c    questions of people */
#ifndef TALLY_NODE_INTERNAL_H
#define TALLY_NODE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/app/app.h"
#include "fs/core/state.h"
#include "node/node.h"
#include "repl/base/arena.h"
#include "repl/base/kv_txn.h"
#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/time.h"
#include "repl/base/vec.h"
#include "repl/core/replica.h"
#include "repl/io/link.h"
#include "repl/io/store.h"

enum { NODE_IDS = 32 };

struct node_peer {
    const struct node_member *member; /* NULL: no such node */
    struct link *link;                /* NULL: down */
    uint64_t store_boot;
    time_us up_since, heard;
};

struct node_client {
    uint64_t number; /* fs/app knows it by this; never reused */
    struct link *link;
    char name[64];
};

/* An event for the replica, with what it borrows kept alive until it was fed. */
struct node_replica_event {
    struct replica_event event;
    struct message *message;             /* owned */
    struct block_ref *blocks;            /* owned: PROPOSE */
    struct blob *payload, *inline_bytes; /* owned references: PROPOSE */
};

/* An event for fs/app. A REQUEST's request goes over to it, its bulk is kept until then. */
struct node_app_event {
    struct fs_app_event event;
    struct blob *bulk; /* owned reference */
};

struct node_fetch; /* a block on its way in: node_blocks.c */
struct node_ensure;
struct node_sending; /* a snapshot on its way out: node_snapshot.c */

/* One on its way in. */
struct node_install {
    uint32_t from; /* 0: none */
    uint64_t id, index, term, chunks;
    time_us heard;          /* when a piece of it came last */
    bool whole, committing; /* all of it is here; it is being made the state */
};

struct node {
    struct node_config config;
    struct node_host host;
    const struct node_member *self;
    struct link_hub *hub;
    struct store *store;
    uint64_t store_boot;
    struct fs_state *state; /* NULL on a witness */
    struct kv_txn *txn;     /* over the same key-value store */
    struct arena op_memory; /* of the operation that is being applied */
    struct fs_app *app;
    struct replica *replica;
    struct trace trace;

    /* time: read once per turn */
    time_us now;
    int64_t wall_ns;
    uint64_t random_state;
    uint64_t loop_max_us; /* longest turn so far */

    /* queues of the turn, and who drains them */
    vec_of(struct node_replica_event) replica_queue;
    vec_of(struct node_app_event) app_queue;
    time_us replica_wake, app_wake, own_wake, timer_wake;
    bool tick_due, pumping, woken;
    struct replica_update update;
    struct fs_app_out app_out;

    struct node_peer peers[NODE_IDS];
    uint32_t copies, witnesses; /* masks */
    struct map clients;         /* number -> struct node_client */
    uint64_t next_client;

    /* replication */
    enum replica_role role;
    bool ready;   /* as leader */
    bool leading; /* leader, ready, with a state */
    uint64_t term;
    uint32_t leader;
    time_us leader_since;
    uint32_t draft_mask;
    uint64_t demote_index; /* witness */
    time_us demote_after;  /* and not before that */

    /* apply */
    uint64_t advance; /* apply up to here */
    uint64_t applied, applied_term, durable_applied, whole_index;
    time_us space_reported;
    bool flushing; /* the state is being made durable */
    time_us flushed_at;

    /* blocks */
    struct map fetches; /* hash of the name -> struct node_fetch */
    struct map ensures; /* ticket -> struct node_ensure */
    struct map unnamed; /* blocks put here that no entry named yet -> struct node_unnamed */
    size_t fetching;
    uint32_t mute; /* nodes that did not answer when they were asked for a block last */
    bool swept;    /* what a crash left unnamed is gone */

    /* snapshots */
    struct node_sending *sending[NODE_IDS];
    struct node_install install;

    /* ending */
    bool stopping, handed_over;
    time_us stop_limit;
};

static inline uint64_t smaller_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- node.c ---------------------------------------------------------------------------------- */
void node_queue_replica(struct node *n, const struct node_replica_event *ev);
void node_queue_replica_kind(struct node *n, enum replica_event_kind kind);
void node_queue_app(struct node *n, const struct node_app_event *ev);
/* Sees to it that node_turn() runs in this turn. */
void node_wake(struct node *n);
/* Feeds one event to fs/app at once and carries out what it wants. */
void node_feed_app(struct node *n, const struct fs_app_event *ev);
uint64_t node_random(struct node *n);
const char *node_name_of(const struct node *n, uint32_t id);
/* Ends the node with a reason, for what leaves no other choice (RULES S3). */
_Noreturn void node_die(struct node *n, const char *what, int error);

/* ---- replica.c ------------------------------------------------------------------------------- */
void node_replica_feed(struct node *n, struct node_replica_event *ev, bool more);
void node_replica_frame(struct node *n, struct link *link, uint32_t from, const uint8_t *control,
                        size_t size, struct blob *bulk);

void node_role_tell(struct node *n);

/* ---- apply.c --------------------------------------------------------------------------------- */
/* The namespace in the store's key-value store, formatted when it is new. */
void node_apply_open(struct node *n);
void node_apply_close(struct node *n);
/* Applies some committed entries; true when there is more to do. */
bool node_apply_some(struct node *n);
void node_report_applied(struct node *n);
/* Makes the applied state durable when that gives space back, or now and then. */
void node_flush_when_due(struct node *n);

/* ---- service.c ------------------------------------------------------------------------------- */
void node_client_up(struct node *n, struct link *link, const char *name);
void node_client_down(struct node *n, struct link *link);
void node_client_frame(struct node *n, struct node_client *client, const uint8_t *control,
                       size_t size, struct blob *bulk);
void node_carry_out_app(struct node *n, struct fs_app_out *out);

/* ---- space.c --------------------------------------------------------------------------------- */
void node_report_space(struct node *n);

/* ---- blocks.c -------------------------------------------------------------------------------- */
void node_blocks_ensure(struct node *n, uint64_t ticket, uint32_t sources,
                        const struct block_ref *refs, size_t count);
void node_blocks_ensure_end(struct node *n, uint64_t ticket);
void node_blocks_put_frame(struct node *n, struct link *link, const uint8_t *control, size_t size,
                           struct blob *bulk);
void node_blocks_get_frame(struct node *n, struct link *link, const uint8_t *control, size_t size);
void node_blocks_data_frame(struct node *n, uint32_t from, struct link *link,
                            const uint8_t *control, size_t size, struct blob *bulk);
/* Asks for some of the blocks the store knows as missing. */
void node_blocks_repair(struct node *n);
void node_blocks_link_changed(struct node *n, uint32_t peer);
/* An entry that names `ref` was applied or, on a witness, written. */
void node_blocks_named(struct node *n, const struct block_ref *ref);
/* The bytes of `name` are lost here. */
void node_blocks_damaged(struct node *n, struct block_name name);
void node_blocks_tick(struct node *n);
void node_blocks_close(struct node *n);

/* ---- snapshot.c ------------------------------------------------------------------------------ */
void node_snapshot_send(struct node *n, uint32_t to);
void node_snapshot_chunk_frame(struct node *n, uint32_t from, struct link *link,
                               const uint8_t *control, size_t size, struct blob *bulk);
void node_snapshot_ack_frame(struct node *n, uint32_t from, struct link *link,
                             const uint8_t *control, size_t size);
/* At the end of a turn: one that is whole becomes the state. */
void node_snapshot_switch(struct node *n);
/* It was elected with what its log has: a snapshot on its way in is not needed any more. */
void node_snapshot_leads(struct node *n);
void node_snapshot_link_down(struct node *n, uint32_t peer);
void node_snapshot_tick(struct node *n);

/* ---- status.c -------------------------------------------------------------------------------- */
void node_admin_frame(struct node *n, struct link *link, const uint8_t *control, size_t size);

#endif
