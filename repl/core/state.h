/* The inside of a replica, shared by the files of this folder; nobody else includes it.
 *
 * One file per concern. A handler changes state and marks what is owed; replica_finish() then looks
 * at the whole state once and emits what follows from it (writes, appends, answers). */
#ifndef TALLY_REPL_CORE_STATE_H
#define TALLY_REPL_CORE_STATE_H

#include "election/ballot.h"
#include "repl/base/vec.h"
#include "repl/core/log.h"
#include "repl/core/progress.h"
#include "repl/core/replica.h"

#define HEARTBEAT_US      (40 * TIME_MS)  /* RULES E1: 30-50 ms */
#define HEARTBEAT_IDLE_US (200 * TIME_MS) /* RULES E1 */
#define ACTIVE_US         (1 * TIME_S)    /* a leader is idle when nobody asked for so long */
#define NEWS_US           (2 * TIME_MS) /* a new commit index waits so long for entries to go with */
#define BEHIND_US_MIN     (50 * TIME_MS) /* RULES B4 */
#define BEHIND_US_MAX     (1 * TIME_S)
#define DRAFT_US_MIN      (5 * TIME_S) /* RULES B4 */
#define WANT_AGAIN_US     (1 * TIME_S)
#define WANT_US_MAX       (5 * WANT_AGAIN_US)
#define HOLD_BEHIND_US    (1 * TIME_S) /* blocks take longer than entries */
#define HOLD_US_MAX       (10 * TIME_S)
#define SNAPSHOT_AGAIN_US (1 * TIME_S)
#define STOP_US_MAX       (2 * TIME_S)
#define TRANSFER_AGAIN_US (200 * TIME_MS)
#define FLUSHES_KEPT      64u
#define WITNESS_KEEP      1024u /* entries forgotten at once by a witness at the least */

/* A WRITE under way. */
struct write {
    uint64_t seq;
    enum replica_effect_kind kind;
    uint64_t term;
    uint32_t vote;
    uint64_t last; /* ENTRIES: durable up to here when it ends, as far as not cut meanwhile */
    time_us issued_at;
};

/* The answer a follower owes its leader. */
struct answer {
    bool owed;
    uint32_t to;
    uint64_t term;
    bool reject;
    uint64_t reject_index, hint_index, hint_term;
    uint64_t read_round;
    time_us sent_at; /* 0: nothing to echo */
};

struct pending_read {
    uint64_t id;
    uint64_t round; /* 0: waits for the first commit of this term */
    uint64_t index;
};

/* A proposal that is not in the log yet (RULES B5). */
struct hold {
    uint64_t id; /* in WANT and HELD; also the ENSURE ticket of our own store */
    uint64_t ticket;
    enum entry_kind kind;
    struct blob *payload;
    struct blob *inline_bytes;
    struct block_ref *refs;
    uint32_t refs_count;
    node_mask holders;
    bool own;        /* our own store holds the blocks */
    bool by_parts;   /* needs holders at all */
    node_mask asked; /* WANT sent */
    time_us own_since, ask_again_at, drop_at;
};

/* A WANT of our leader that our store is working on. */
struct want {
    uint64_t ticket; /* ENSURE */
    uint64_t id;
    time_us heard_at;
};

struct replica {
    struct replica_config config;
    uint32_t self;
    bool witness, started;
    node_mask copies, witnesses, voters;

    struct ballot ballot;
    struct ballot_update ballot_out; /* scratch: too large for the stack of nested feeds */
    struct log_position position;    /* as last told to the ballot */
    enum replica_role role;
    uint64_t role_term;
    struct replica_effect role_told;

    /* This step. */
    time_us now;
    uint64_t random;
    struct replica_update *out;

    struct log log;
    uint64_t commit, advanced;
    uint64_t applied, durable_applied, whole_index, free_bytes;
    uint64_t next_ticket; /* of ENSUREs and holds */

    uint64_t write_seq;
    vec_of(struct write) writes;
    uint64_t base_writing; /* write of a rebase that is not durable yet: nothing may be
                              acknowledged; 0: none */
    uint64_t flush_us[FLUSHES_KEPT];
    uint32_t flush_at;

    /* Follower. */
    uint32_t matched_leader;
    uint64_t matched_term;
    uint64_t matched; /* our log equals the log of that leader up to here */
    struct answer answer;
    uint64_t replaced_from; /* the log was cut here, and the journal does not know yet; 0: no */
    vec_of(struct want) wants;
    uint64_t demote_index, keep_index; /* witness: as told by the leader */

    /* Leader. */
    struct progress peers[NODE_SLOTS];
    uint64_t noop_index;
    bool ready;
    time_us heartbeat_at, active_until, led_since;
    time_us
        news_at; /* peers that were sent nothing meanwhile are told the commit index; 0: all know */
    uint64_t read_round;
    vec_of(struct pending_read) reads;
    vec_of(struct hold) holds;
    bool holds_moved;
    uint64_t drafted_at[NODE_SLOTS];
    time_us transfer_at; /* rescue or stop: try (again) to hand over then */
    bool transferring;
    uint32_t transfer_tried; /* the last that was told to stand; 0: none yet */

    /* mend.c */
    uint64_t headway; /* how far this leadership has come, and since when no further */
    time_us headway_at, asked_at;
    uint32_t mending;    /* slots with `mend` */
    time_us aside_until; /* 0: not aside */

    node_mask draft_mask, draft_told;
    uint64_t demote_told;

    bool stopping, stop_answered;
    time_us stop_by;
};

/* ---- replica.c ------------------------------------------------------------------------------- */
struct replica_effect *emit(struct replica *r, enum replica_effect_kind kind);
void emit_at(struct replica *r, enum replica_effect_kind kind, uint64_t ticket, uint64_t index);
struct message *emit_message(struct replica *r, uint32_t to, enum message_kind kind);
uint64_t emit_ensure(struct replica *r, const struct block_ref *refs, uint32_t count,
                     node_mask sources, uint64_t ticket);
void commit_to(struct replica *r, uint64_t index); /* moves commit forward; never back */
bool is_leader(const struct replica *r);           /* LEADER proper */
bool leads(const struct replica *r);               /* LEADER or RESCUE_LEADER */
#define replica_trace(r, ...) trace_printf(&(r)->config.trace, __VA_ARGS__)

/* ---- ballots.c: the ballot layer fed and its wishes carried out ------------------------------ */
void ballots_feed(struct replica *r, struct ballot_event ev);
void ballots_feed_position(struct replica *r);

/* ---- write.c: the journal -------------------------------------------------------------------- */
uint64_t write_begin(struct replica *r, enum replica_effect_kind kind, uint64_t term, uint32_t vote,
                     uint64_t last);
void write_entries(struct replica *r);
void write_cut(struct replica *r, uint64_t index); /* writes under way no longer prove `index`.. */
void recv_written(struct replica *r, uint64_t seq);
uint64_t flush_p99(const struct replica *r);

/* ---- append_recv.c: follower ----------------------------------------------------------------- */
void recv_append(struct replica *r, uint32_t from, const struct message_append *m);
void answer_send(struct replica *r);
void matched_cut(struct replica *r, uint64_t index);
void entries_replaced(struct replica *r);
void entry_ensured(struct replica *r, uint64_t ticket, bool *ret_found);

/* ---- append_send.c, append_resp.c: leader ---------------------------------------------------- */
void append_send_all(struct replica *r);
void recv_append_resp(struct replica *r, uint32_t from, const struct message_append_resp *m);
void commit_by_quorum(struct replica *r);

/* ---- lead.c ---------------------------------------------------------------------------------- */
void lead_begin(struct replica *r);
void lead_end(struct replica *r);
void lead_tick(struct replica *r);
void lead_active(struct replica *r);
uint64_t lead_append(struct replica *r, enum entry_kind kind, struct blob *payload,
                     const struct block_ref *blocks, uint32_t blocks_count,
                     struct blob *inline_bytes, uint64_t ticket);
void peer_link(struct replica *r, uint32_t peer, bool up, uint64_t store_boot);
time_us lead_wake_at(const struct replica *r);

/* ---- mend.c ---------------------------------------------------------------------------------- */
void mend_begin(struct replica *r);
void mend_run(struct replica *r);
void mend_ensured(struct replica *r, uint64_t ticket, bool *ret_found);
uint64_t mend_first(const struct replica *r); /* lowest index whose bytes are asked for; 0: none */
void slot_ensure_end(struct replica *r, struct log_slot *s); /* nobody waits for its bytes */

/* ---- draft.c --------------------------------------------------------------------------------- */
void draft_run(struct replica *r);
time_us draft_wake_at(const struct replica *r);
bool peer_behind(const struct replica *r, uint32_t id);
void draft_tell(struct replica *r);

/* ---- hold.c ---------------------------------------------------------------------------------- */
void recv_propose(struct replica *r, const struct replica_event *ev);
void holds_run(struct replica *r);
void holds_drop(struct replica *r);
void holds_link(struct replica *r, uint32_t peer, bool store_restarted);
time_us holds_wake_at(const struct replica *r);
time_us holds_lacking_since(const struct replica *r, uint32_t id);
void hold_ensured(struct replica *r, uint64_t ticket, bool *ret_found);
void hold_done(struct hold *h);
void recv_held(struct replica *r, uint32_t from, const struct message_held *m);
void recv_want(struct replica *r, uint32_t from, const struct message_want *m);
void want_ensured(struct replica *r, uint64_t ticket, bool *ret_found);
void wants_run(struct replica *r);
void wants_drop(struct replica *r);

/* ---- read_index.c ---------------------------------------------------------------------------- */
void recv_read(struct replica *r, uint64_t id, bool aside);
void reads_begin(struct replica *r);
void reads_answer(struct replica *r);
void reads_fail(struct replica *r);

/* ---- retain.c: truncation, demotion, snapshots ----------------------------------------------- */
void retain_run(struct replica *r);
uint64_t least_whole_index(const struct replica *r);
uint64_t least_durable_applied(const struct replica *r);
void recv_snapshot_installed(struct replica *r, uint64_t index, uint64_t term);
void recv_snapshot_done(struct replica *r, uint32_t peer, bool ok);

/* ---- handover.c: rescue, transfer, SIGTERM --------------------------------------------------- */
void recv_stop(struct replica *r);
void handover_run(struct replica *r);
void handover_note(struct replica *r, enum ballot_transfer what);
time_us handover_wake_at(const struct replica *r);
uint32_t handover_successors(const struct replica *r, uint8_t *ret_ids);

#endif
