/* What the sources of the network share: connections with their two ends and two streams, the hubs
 * that hold the ends, and the wires they go over.
 *
 *     net_stream.c  frames on their way in one direction
 *     net_link.c    an end: sending, delivery, closing; what the wire does to it
 *     net_hub.c     who connects to whom, and what a death does
 *     net.c         the wires and their faults */
#ifndef TALLY_TESTS_SIM_NET_INTERNAL_H
#define TALLY_TESTS_SIM_NET_INTERNAL_H

#include "repl/base/list.h"
#include "repl/io/link.h"
#include "tests/sim/net.h"
#include "tests/sim/sim_internal.h"

enum { NET_PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1 };
#define RETRY_MIN  (10 * TIME_MS)
#define RETRANSMIT (1 * TIME_S) /* what TCP waits before it tries anew */

/* One frame on its way; control bytes and bulk references follow in the same memory. */
struct parcel {
    struct parcel *next;
    time_us at;
    uint8_t type;
    size_t control_size, bulk_size, bulks_count;
    uint8_t *control;
    struct blob *bulks[];
};

struct queue {
    struct parcel *head, *last;
};

/* One direction of a connection. */
struct stream {
    struct queue urgent, bulk;
    size_t bytes;
    uint64_t sequence;
    struct frame_parser parser;
    time_us last_urgent, last_bulk, wire_free, planned; /* planned 0: no event */
    const char *eof;                                    /* the sender has closed, and why */
    time_us eof_at;
};

enum link_state { LINK_HELLO, LINK_UP, LINK_CLOSED };

struct link {
    struct list item; /* in hub->links */
    struct link_hub *hub;
    struct dialer *dialer;
    struct connection *connection;
    unsigned side;
    enum link_state state;
    struct hello peer;
    void *data;
};

struct connection {
    struct list item;
    uint32_t ids[2]; /* of the processes */
    struct link ends[2];
    struct stream streams[2]; /* [i]: from ends[i] to the other */
    uint32_t refs;            /* open ends, planned events, deliveries under way */
    uint32_t lost_machine;    /* its end there ended without a word; 0: none */
};

struct dialer {
    struct list item;
    struct link_hub *hub;
    char name[HELLO_NAME_MAX + 1];
    uint32_t to;
    struct link *link; /* NULL: waiting to try again */
    time_us wait;
};

struct link_hub {
    struct list item; /* in net.hubs_all */
    struct process *process;
    struct hello self;
    struct link_callbacks callbacks;
    struct list links, dialers;
    bool closing;
};

/* From one process to another. */
struct wire {
    time_us latency, extra;
    uint32_t loss, reorder, duplicate;
    bool cut, clogged;
};

struct net {
    struct wire wires[NET_PROCESSES][NET_PROCESSES];
    struct link_hub *hubs[NET_PROCESSES];
    struct list hubs_all, connections;
};
extern struct net net;

static inline struct wire *net_wire_of(const struct connection *c, unsigned from)
{
    return &net.wires[c->ids[from]][c->ids[1 - from]];
}

/* ---- net_stream.c ---------------------------------------------------------------------------- */

size_t net_parcel_bytes(const struct parcel *f);
void net_free_parcel(struct parcel *f);
void net_push(struct queue *q, struct parcel *f);
struct parcel *net_pop(struct stream *s, struct queue *q);
/* What comes later than `from` is lost. */
void net_drop_parcels(struct stream *s, time_us from);
/* The queue whose first frame arrives next; NULL: nothing is on its way. */
struct queue *net_next_queue(struct stream *s);
void net_plan_at(struct connection *c, unsigned from, time_us at);
void net_plan_next(struct connection *c, unsigned from);
void net_end_stream(struct connection *c, unsigned from, const char *reason, bool keep);
/* Something that was silent goes on: now, or within this time. */
void net_resume(struct connection *c, unsigned from, time_us within);
/* One reference less; without any the connection is gone. */
void net_release(struct connection *c);

/* ---- net_link.c ------------------------------------------------------------------------------ */

void net_on_arrival(void *ctx, uint64_t arg);
void net_send_hello(struct link *l);
/* The end goes; whether and when the other side hears of it is the caller's business. */
void net_detach(struct link *l);
struct closing {
    struct link *link;
    const char *reason;
    bool keep; /* what it sent still arrives */
};
/* Closes it; `ctx` is a struct closing. To be run within the link's process. */
void net_close_within(void *ctx, uint64_t arg);
/* Both sides hear by themselves that the connection broke. */
void net_break(struct connection *c, const char *reason);

/* ---- net_hub.c ------------------------------------------------------------------------------- */

void net_retry_later(struct dialer *d);
void net_free_hub(struct link_hub *hub);

#endif
