/* What can happen to a replica. Plain data; nothing here is kept after the step except by a new
 * reference of an entry or blob. */
#ifndef TALLY_REPL_CORE_EVENT_H
#define TALLY_REPL_CORE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/base/block.h"
#include "repl/base/mem.h"
#include "repl/base/time.h"
#include "repl/core/message.h"

enum replica_event_kind {
    REPLICA_START = 1, /* once, after replica_load_entry() for every entry of the journal */
    REPLICA_TICK,      /* wake_at has come (earlier or later is fine) */
    REPLICA_MESSAGE,   /* `message` came from `from` */
    REPLICA_LINK_UP,   /* a link to `from` works; `store_boot` from its HELLO */
    REPLICA_LINK_DOWN, /* it closed: suspicion at once (RULES E2) */
    REPLICA_WRITTEN,   /* everything up to `write_seq` is durable */
    REPLICA_ENSURED,   /* the blocks of ENSURE `ticket` are in the local store (maybe not synced) */
    REPLICA_APPLIED,   /* applied state moved, or its durability, or what is missing */
    REPLICA_PROPOSE,   /* leader: put this operation in the log */
    REPLICA_READ,      /* a linearizable read point is asked for */
    REPLICA_STOP,      /* SIGTERM: hand leadership over; answered by STOPPED_LEADING */
    REPLICA_SNAPSHOT_DONE,      /* the snapshot sent to `from` ended, well or not (`ok`) */
    REPLICA_SNAPSHOT_INSTALLED, /* our state is now that of `index`, `term`, durably (RULES B7) */
    REPLICA_PAUSED,             /* the loop ran `late_us` late (RULES E5) */
};

struct replica_event {
    enum replica_event_kind kind;
    time_us now;
    uint64_t random; /* one fresh random word per event */
    bool more; /* another event follows at once: entries gather for one WRITE and one APPEND per
                  peer */
    union {
        struct {
            uint64_t term;    /* last durable vote record */
            uint32_t vote;    /* 0: none */
            uint64_t commit;  /* hint, a durably known committed index; 0 is fine */
            uint64_t applied; /* applied and durable */
            uint64_t whole_index;
            uint64_t free_bytes;
        } start;
        struct {
            uint32_t from;
            const struct message *message;
        } message;
        struct {
            uint32_t peer;
            uint64_t store_boot;
        } link;
        struct {
            uint64_t write_seq;
        } written;
        struct {
            uint64_t ticket;
        } ensured;
        struct {
            uint64_t index, durable_applied, whole_index, free_bytes;
        } applied;
        struct {
            uint64_t ticket; /* not 0; the caller's, returned in APPENDED and DROPPED */
            enum entry_kind kind;
            struct blob *payload;
            const struct block_ref *blocks;
            uint32_t blocks_count;
            struct blob *inline_bytes; /* all the blocks' bytes (at most ENTRY_INLINE_BYTES_MAX), or
                                          NULL: by parts */
            uint32_t holders;          /* nodes that hold the blocks, as the mount says */
        } propose;
        struct {
            uint64_t id;
            bool aside; /* nobody waits for it: an idle leader stays idle */
        } read;
        struct {
            uint32_t peer;
            bool ok;
        } snapshot_done;
        struct {
            uint64_t index, term;
        } snapshot_installed;
        struct {
            uint64_t late_us;
        } paused;
    };
};

#endif
