/* One replica, stepped by hand. */
#ifndef TALLY_TEST_LONE_H
#define TALLY_TEST_LONE_H

#include "repl/core/replica.h"
#include "repl/core/state.h"

/* Node 2 of 2C+1W: nodes 1 and 2 are the copies, 3 is the witness. */
struct lone {
    struct replica_config config;
    struct replica *r;
    struct replica_update u;
    time_us now;
};

enum bytes_form { BYTES_NONE, BYTES_INLINE, BYTES_BY_PARTS };

void lone_new(struct lone *l, uint32_t self);
void step(struct lone *l, struct replica_event ev);
void lone_start(struct lone *l, uint64_t term);
void lone_free(struct lone *l);
struct replica_effect *find(struct lone *l, enum replica_effect_kind kind);
struct message *find_message(struct lone *l, enum message_kind kind);
void hear(struct lone *l, uint32_t from, struct message *m);
void written(struct lone *l, uint64_t seq);
/* Entries prev + 1 .. prev + count of `entry_term` from the leader of `term`. */
struct message append(uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t entry_term,
                      uint32_t count, enum bytes_form form, uint64_t commit);

#endif
