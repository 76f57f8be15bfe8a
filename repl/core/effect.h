/* What a replica wants done. Effects are free of order among each other (DESIGN D2), with one
 * exception by nature: WRITEs go to the journal in the order of write_seq. Messages and answers
 * that hold only once something is durable are emitted after its WRITTEN. */
#ifndef TALLY_REPL_CORE_EFFECT_H
#define TALLY_REPL_CORE_EFFECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "repl/base/time.h"
#include "repl/core/entry.h"
#include "repl/core/message.h"

enum replica_role {
    REPLICA_FOLLOWER = 1,
    REPLICA_CANDIDATE, /* asking for pre-votes or votes */
    REPLICA_LEADER,
    REPLICA_RESCUE_LEADER, /* a witness that only hands over (RULES E3) */
};

enum replica_effect_kind {
    EFFECT_SEND = 1,      /* `message` to `to`; dropped when the link is down */
    EFFECT_WRITE_VOTE,    /* journal: term and vote */
    EFFECT_WRITE_ENTRIES, /* journal: entries; the first replaces everything at and above its index.
                             The names that the store lacks of entries at or below `commit` go to
                             the durable `missing` set in the same record (a witness just lacks
                             them); of entries above it none is lacking. Before the record: the
                             block store's fdatasync (RULES S1, B3) */
    EFFECT_WRITE_BASE,    /* journal: forget all entries; the log starts again after `index`, `term`
                             (witness) */
    EFFECT_ENSURE,        /* get these blocks into the local store, from `sources` first; then
                             ENSURED(ticket) */
    EFFECT_ENSURE_END,    /* ENSURE `ticket` is no longer wanted: no answer needed */
    EFFECT_ADVANCE,  /* entries up to `index` are committed and durable here: apply them (RULES S2)
                      */
    EFFECT_APPENDED, /* proposal `ticket` is in our log at `index` */
    EFFECT_DROPPED,  /* proposal `ticket` is ours no more. index 0: never in any log. Else deposed
                        with it in the  log at `index`: the outcome is unknown (a later leader may
                        commit or overwrite it) */
    EFFECT_READ_READY, /* answer read `ticket` from state with `index` applied */
    EFFECT_READ_FAILED,
    EFFECT_ROLE,          /* role, term, leader changed, or a leader became ready */
    EFFECT_SNAPSHOT_SEND, /* copy `to` needs entries we no longer have: send it a snapshot; then
                             SNAPSHOT_DONE */
    EFFECT_DRAFT,  /* `mask`: the witnesses that hold bytes now; mounts send large blocks there too
                    */
    EFFECT_DEMOTE, /* witness: bytes of entries at or below `index` may be dropped (RULES B6), 0: no
                      more, for that would be before the log's base */
    EFFECT_TRUNCATE,        /* the journal may forget entries at or below `index` (RULES E6) */
    EFFECT_STOPPED_LEADING, /* answer to STOP: leadership handed over, or given up, or we had none
                             */
};

struct replica_effect {
    enum replica_effect_kind kind;
    union {
        struct {
            uint32_t to;
            struct message message; /* owned by the effect */
        } send;
        struct {
            uint64_t write_seq, term;
            uint32_t vote;
        } write_vote;
        struct {
            uint64_t write_seq;
            uint64_t commit;
            uint32_t count;
            struct entry **entries; /* one reference each */
        } write_entries;
        struct {
            uint64_t write_seq, index, term;
        } write_base;
        struct {
            uint64_t ticket;
            uint32_t sources;    /* mask of nodes believed to hold them */
            uint32_t refs_count; /* 0 in ENSURE_END */
            struct block_ref *refs;
        } ensure;
        struct {
            uint64_t ticket, index; /* ADVANCE, APPENDED, DROPPED, READ_*, DEMOTE, TRUNCATE */
        } at;
        struct {
            enum replica_role role;
            bool
                ready; /* leader: its first entry is committed, so it may propose and serve reads */
            uint64_t term;
            uint32_t leader; /* 0: unknown */
        } role;
        struct {
            uint32_t to;
        } snapshot_send;
        struct {
            uint32_t mask;
        } draft;
    };
};

/* The result of one step. Zero-initialise once; replica_step() empties and refills it. */
struct replica_update {
    struct replica_effect *effects;
    size_t count, capacity;
    time_us wake_at; /* send TICK then; 0: nothing to wait for */
};

/* Gives back everything the effects own; the array itself stays for the next step. The driver may
 * take a pointer out of an effect by setting it to NULL there. */
void replica_update_clear(struct replica_update *u);
void replica_update_done(struct replica_update *u);

#endif
