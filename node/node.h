/* One node of the cluster: the driver that joins links, store, replica, namespace and service.
 *
 * The cores compute, the driver carries out. It has no clock, no loop and no thread of its own:
 * whoever runs it (a process over libuv, or the simulator over virtual time) hands these in as a
 * node_host, and calls node_turn() when the driver asked for it. Links and store are reached
 * through repl/io/link.h and repl/io/store.h alone. */
#ifndef TALLY_NODE_NODE_H
#define TALLY_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "election/strategy.h"
#include "repl/base/time.h"
#include "repl/base/trace.h"

struct node_member {
    uint32_t id; /* 1..31 */
    bool witness;
    const char *name, *address;
};

/* What is borrowed must outlive the node. */
struct node_config {
    uint8_t cluster[16];
    uint32_t self;                     /* one of the members */
    const struct node_member *members; /* in the order of their ranks */
    size_t members_count;
    const char *store_dir;
    uint64_t capacity_bytes;             /* 0: as much as the disk has */
    bool create;                         /* the node's first start: make the store */
    bool leader_lease;                   /* RULES E1: on; off uses ReadIndex alone */
    const struct strategy_ops *election; /* NULL: the default of election/ */
    uint64_t log_keep_entries;           /* kept for late peers; 0: the default of repl/core */
    uint64_t random_seed;
    struct trace trace;
};

/* The place a node runs in. */
struct node_host {
    void *ctx;
    uv_loop_t *loop;                        /* for the links */
    time_us (*clock)(void *ctx);            /* CLOCK_BOOTTIME */
    int64_t (*wall_ns)(void *ctx);          /* CLOCK_REALTIME */
    void (*wake)(void *ctx);                /* node_turn() after the input that waits already */
    void (*wake_at)(void *ctx, time_us at); /* node_timer_due() then; replaces; 0: no timer */
    void (*store_ready)(void *ctx);         /* any thread: node_poll_store() soon */
    bool writes_log;          /* a small write to the log may take place in node_turn() */
    void (*ended)(void *ctx); /* node_stop() is through: call node_close() */
    void (*fall)(void *ctx);  /* it cannot go on; the reason is logged. Does
                                           not return */
};

struct node;

/* Opens the store, recovers, listens. NULL: the reason is logged. `config` and `host` are copied.
 */
struct node *node_open(const struct node_config *config, const struct node_host *host);
/* One turn: all input that was queued, until nothing is left to do. */
void node_turn(struct node *n);
void node_timer_due(struct node *n);
void node_poll_store(struct node *n);
/* Hands over leadership, then host->ended: at once when there is none, at the latest in 3 s. */
void node_stop(struct node *n);
/* Closes links and store and frees all. */
void node_close(struct node *n);

#endif
