/* What happens next, in virtual microseconds.
 *
 * A wheel with one slot per microsecond for the near future and a heap for what is further away, so
 * that an event costs the same with ten in flight as with the ten million of a bully election among
 * 4,000 nodes. Events of one moment come out in the order in which they were put in. */
#ifndef TALLY_TOOLS_ELECT_QUEUE_H
#define TALLY_TOOLS_ELECT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

enum { QUEUE_SLOTS = 1 << 17 }; /* 131 ms */

struct event {
    uint32_t kind;
    uint32_t node;
    uint64_t value;
};

struct queue_entry;
struct queue_far;

struct queue {
    uint64_t now; /* of the event taken last */
    uint64_t count;

    struct queue_entry *entries; /* all events; free ones are chained */
    uint32_t entry_count, entry_room, free;

    uint32_t *first, *last; /* per slot: the chain of its events */
    uint64_t *busy;         /* one bit per slot: it has events */
    uint32_t near;          /* events in the wheel */

    struct queue_far *far; /* binary heap by (at, order) */
    uint32_t far_count, far_room;
    uint64_t order;
};

void queue_init(struct queue *q);
void queue_done(struct queue *q);

/* Forgets all events and starts at 0 again; keeps the memory. */
void queue_reset(struct queue *q);

/* `at` is not before q->now. */
void queue_push(struct queue *q, uint64_t at, struct event ev);

/* Takes the earliest event and moves q->now to it. False when there is none. */
bool queue_pop(struct queue *q, struct event *ret_ev);

#endif
