/* One node's replica: the log, who leads, what is committed, who holds which bytes.
 *
 * Pure: an event and the time go in, effects come out. Everything a node answers for is durable
 * before the answer is emitted. Rules: RULES B1-B7, E1-E6; PROTOCOL 1.3, 1.5, 1.8. */
#ifndef TALLY_REPL_CORE_REPLICA_H
#define TALLY_REPL_CORE_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "election/ballot.h"
#include "election/member.h"
#include "repl/base/trace.h"
#include "repl/core/effect.h"
#include "repl/core/event.h"

struct replica;

struct replica_config {
    uint32_t self;
    struct member_set members;
    const struct ballot_config
        *ballot; /* NULL: ballot_config_default(); read by replica_new only. Its
                    leader_lease=off makes reads use ReadIndex alone (RULES E1) */
    /* 0 means the default written behind each. */
    uint64_t keep_entries;      /* log headers kept for late peers: 65,536 */
    uint64_t keep_bytes;        /* and their bytes: 64 MiB */
    uint64_t inline_bytes;      /* inline bytes of committed entries kept in memory: 16 MiB */
    uint64_t witness_log_bytes; /* log_budget of a witness, RULES E6: 256 MiB */
    uint64_t peer_bytes;        /* sent and unacknowledged per peer: 4 MiB */
    uint32_t peer_entries;      /* 4,096 */
    uint64_t append_bytes;      /* one APPEND carries at most about this: 512 KiB */
    struct trace trace;
};

/* The snapshot base is the last entry that the state includes when the journal has no older ones:
 * 0, 0 for a new store. */
struct replica *replica_new(const struct replica_config *config, uint64_t base_index,
                            uint64_t base_term);
void replica_free(struct replica *r); /* NULL ok */

/* Before START: the next entry of the recovered journal (base_index + 1 first). Takes a reference.
 * 0, or -EINVAL when the index or term does not continue the log. */
int replica_load_entry(struct replica *r, struct entry *e);

/* One step. Clears and refills `out`. */
void replica_step(struct replica *r, const struct replica_event *ev, struct replica_update *out);

/* Entry at `index` or NULL when the log does not have it (any more). Borrowed until the next step.
 */
struct entry *replica_entry(const struct replica *r, uint64_t index);

enum replica_lag {
    REPLICA_LAG_NONE,
    REPLICA_LAG_LINK,     /* no link to it */
    REPLICA_LAG_SLOW,     /* has not acknowledged for longer than max(50 ms, 4 x p99 flush) */
    REPLICA_LAG_SNAPSHOT, /* gets a snapshot */
    REPLICA_LAG_BYTES,    /* has the log, but bytes are missing */
};

struct replica_peer_status {
    uint32_t id;
    enum member_kind kind;
    bool link_up;
    bool reported; /* to this leader; what follows is from there */
    uint64_t match, applied, durable_applied, whole_index; /* as last reported to this leader */
    uint64_t free_bytes, rtt_us, flush_p99_us;
    enum replica_lag lag; /* leader only */
};

struct replica_status {
    enum replica_role role;
    bool ready; /* leader that may propose and serve */
    bool stopping;
    uint64_t term;
    uint32_t leader;
    uint64_t first_index, last_index, durable_index, commit, applied;
    uint64_t log_bytes;   /* in memory */
    bool log_over_budget; /* witness: keeps more than log_budget because a copy is far behind */
    uint32_t draft_mask;
    uint32_t holds; /* proposals that wait for blocks */
    uint64_t lacks; /* uncommitted entry whose bytes this store has lost; 0: none is known */
    bool aside;     /* gives way because of it: others stand */
    uint64_t demote_index, keep_index;
    uint32_t peers_count;
    struct replica_peer_status peers[NODE_SLOTS];
};
void replica_status(const struct replica *r, struct replica_status *ret);

uint64_t replica_term(const struct replica *r);
uint32_t replica_leader(const struct replica *r); /* 0: unknown */
enum replica_role replica_role(const struct replica *r);
uint64_t replica_commit(const struct replica *r);
uint64_t replica_last_index(const struct replica *r);
/* A proposal that waits for other nodes names the block: it will be an entry (RULES B5). */
bool replica_holds_block(const struct replica *r, struct block_name name);
uint32_t replica_draft_mask(const struct replica *r);

/* Asserts what must hold on one node after every step (PROTOCOL 1.9). */
void replica_check(const struct replica *r);

#endif
