/* One replica of 2C+1W (nodes 1 and 2 are the copies, 3 is the witness), stepped by hand: what it
 * is told, and what the effects of the last step must be. */
#ifndef TALLY_TEST_LONE_H
#define TALLY_TEST_LONE_H

#include "repl/core/replica.h"
#include "repl/core/state.h"

struct lone {
    struct replica_config config;
    struct replica *r;
    struct replica_update u;
    time_us now;
};

extern struct lone l;

/* Node `self`, which may still be given entries of a journal. */
void lone_new(uint32_t self);
/* It starts in `term`, linked to both others. */
void lone_start(uint64_t term);
void lone_free(void);

/* ---- events ---------------------------------------------------------------------------------- */

void step(struct replica_event ev);
/* A TICK after so long. */
void tick(time_us us);
void link_down(uint32_t peer);
void link_up(uint32_t peer, uint64_t store_boot);
void hear(uint32_t from, struct message *m);
void ensured(uint64_t ticket);
/* What the last step wrote is durable, and all before it. */
void written(enum replica_effect_kind write);
/* By its number; all there are. */
void written_to(uint64_t seq);
void written_all(void);
void propose(uint64_t ticket, const struct block_ref *ref, struct blob *inline_bytes,
             uint32_t holders);
void ask_read(uint64_t id);

enum bytes_form { BYTES_NONE, BYTES_INLINE, BYTES_BY_PARTS };

/* Entries prev + 1 .. prev + count. Terms that are 0 are the leader's; of index 0 there is none. */
struct append {
    uint64_t term;
    uint64_t prev, prev_term;
    uint64_t entry_term;
    uint32_t count;
    enum bytes_form bytes;
    uint64_t commit, demote, keep;
    bool rebase;
};

struct message append_message(struct append a);
void hear_append(uint32_t from, struct append a);

/* ---- effects of the last step ---------------------------------------------------------------- */

/* NULL: there is none. */
struct replica_effect *find(enum replica_effect_kind kind);
struct message *find_message(enum message_kind kind);
const struct message_append *append_to(uint32_t to);

/* These fail when it is not there. */
uint64_t write_of(enum replica_effect_kind kind);  /* its number */
uint64_t ticket_of(enum replica_effect_kind kind); /* of an ENSURE or its end */
void expect_index(enum replica_effect_kind kind, uint64_t index);
void expect_ticket(enum replica_effect_kind kind, uint64_t ticket);
/* Entries are written: the first one's index and term, and how many. */
void expect_entries(uint64_t first, uint64_t term, uint32_t count);
/* The leader is told that so much is durable and as its own. */
void expect_match(uint64_t index);
/* An APPEND goes to `to`. */
void expect_append(uint32_t to, uint32_t entries, uint64_t commit);

void expect_none(enum replica_effect_kind kind);
void expect_no_append(uint32_t to);
/* If it is told anything. */
void expect_match_if_told(uint64_t index);

#endif
