/* What replicas say to each other. Plain data; the wire form is repl/wire/codec.h.
 *
 * The link tells who sent a message. Sources: PROTOCOL 1.2, RULES B3-B6, E1-E6. */
#ifndef TALLY_REPL_CORE_MESSAGE_H
#define TALLY_REPL_CORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "election/message.h"
#include "election/quorum.h"
#include "repl/base/block.h"
#include "repl/base/time.h"
#include "repl/core/entry.h"

#define MESSAGE_ENTRIES_MAX 1024u

enum message_kind {
    MESSAGE_BALLOT = 1,  /* votes, pre-votes, transfer: election/message.h */
    MESSAGE_APPEND,      /* leader: heartbeat, entries, or both */
    MESSAGE_APPEND_RESP, /* follower: what it durably holds */
    MESSAGE_WANT,        /* leader: get these blocks into your store (RULES B5) */
    MESSAGE_HELD,        /* "the blocks of your WANT are in my store" */
};

struct message_append {
    uint64_t term;
    uint64_t prev_index, prev_term; /* the entry just before entries[0] */
    uint64_t commit;
    uint64_t demote_index; /* witness: bytes of entries at or below may go (RULES B6) */
    uint64_t keep_index; /* witness: entries above stay, some copy may still need them (RULES E6) */
    uint64_t read_round; /* echoed: confirms leadership for reads (PROTOCOL 4.2) */
    time_us sent_at; /* leader's clock, echoed: its lease and the round trip are counted from it */
    uint32_t draft_mask; /* witnesses that hold bytes now (RULES B4) */
    bool rescue;         /* the sender only hands over (RULES E3) */
    bool rebase; /* to a witness whose log ends below the leader's: start again after prev_index,
                    all of it committed. Carries no state, for a witness has none (PROTOCOL 4.4) */
    uint32_t successors_count;
    uint8_t successors[NODE_SLOTS]; /* campaign order (PROTOCOL 1.5) */
    uint32_t entries_count;
    struct entry **entries; /* one reference each; the array is malloc'ed */
};

struct message_append_resp {
    uint64_t term;
    uint64_t match;        /* durable and equal to the leader's log up to here; bytes of uncommitted
                              entries included (RULES B3) */
    bool reject;           /* prev_index did not fit; the three fields below say where to go on */
    uint64_t reject_index; /* the prev_index refused */
    uint64_t hint_index, hint_term; /* highest index worth trying, and our term there */
    uint64_t read_round;
    time_us sent_at;
    uint64_t applied, durable_applied;
    uint64_t
        whole_index; /* applied index while no bytes are missing, else the last such (RULES B6) */
    uint64_t free_bytes;
    uint64_t flush_p99_us;
};

struct message_want {
    uint64_t term;
    uint64_t id;      /* the leader's number of the waiting proposal; echoed in HELD */
    uint32_t sources; /* nodes that hold the blocks, as far as the leader knows */
    uint32_t refs_count;
    struct block_ref *refs; /* malloc'ed */
};

struct message_held {
    uint64_t term;
    uint64_t id;
};

struct message {
    enum message_kind kind;
    union {
        struct ballot_message ballot;
        struct message_append append;
        struct message_append_resp append_resp;
        struct message_want want;
        struct message_held held;
    };
};

/* Gives back what the message owns. */
void message_done(struct message *m);

#endif
