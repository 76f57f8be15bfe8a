/* One node with its real store, and nobody else: its links end in the test, which plays the other
 * nodes and a mount. Time is a number; nothing comes back from the store but in one_store(). */
#ifndef TALLY_TESTS_NODE_ONE_H
#define TALLY_TESTS_NODE_ONE_H

#include "node/internal.h"
#include "repl/wire/hello.h"

enum { ONE_COPIES = 2, ONE_NODES = 3, ONE_MOUNT = 0 }; /* node 3 is a witness */

struct link {
    struct hello peer;
    void *data;
    size_t backlog; /* what the node is told of it */
    bool up;
    bool may_close;
};

struct one_message {
    uint32_t from;
    struct message message;
};

struct one {
    char dir[64];
    struct node *n;
    struct link_callbacks callbacks;
    struct link links[ONE_NODES + 1]; /* by node id; ONE_MOUNT: the mount's */
    time_us now, wake_at;
    time_us slow; /* so long takes what it does between two looks at the clock */
    bool woken;
    bool votes;                            /* the other nodes vote for this one */
    bool acks;                             /* ... and acknowledge what it sends */
    bool held;                             /* what they answer waits */
    uint64_t acked, told;                  /* the highest entry it acknowledged; that went out */
    uint64_t applied_when_told;            /* what it had applied then */
    uint8_t snapshot_ack;                  /* kind of the last answer to a piece of a snapshot */
    vec_of(struct block_name) asked;       /* for, of the other nodes */
    uint32_t asked_last;                   /* of this one, last */
    vec_of(struct one_message) to_deliver; /* what they answer */
};

void one_open(struct one *o, uint32_t self);
/* One whose loop writes its log. */
void one_open_writing(struct one *o, uint32_t self);
void one_close(struct one *o);
void one_link_up(struct one *o, uint32_t id);
/* Something comes over the link of `id`; it is fed in the next turn. */
void one_frame(struct one *o, uint32_t id, uint8_t type, const void *control, size_t size,
               struct blob *bulk);
void one_message(struct one *o, uint32_t from, const struct message *m);
/* The mount sends block 7.`n`. */
struct block_ref one_put(struct one *o, uint64_t n);
/* Turns until nothing is left to do, with what the other nodes answer. */
void one_turns(struct one *o);
/* What the store was asked to do so far is done and told. */
void one_store(struct one *o);
/* Time passes, without the store. */
void one_pass(struct one *o, time_us us);

#endif
