/* One simulated node: a shipping strategy over all nodes, a detector, and for a voter the shipping
 * ballot layer. Raw, whoever the strategy nominates leads at once, as in the book.
 *
 * The ballot layer knows at most 31 nodes, the strategies any number. So only the first nodes in
 * order are voters and the ballots run among them; a voter's ballot layer is given a strategy that
 * hands everything on to the real one, which talks to all n (voter.c). The other nodes are the
 * book's ordinary nodes: they can start an election and name a candidate, but never lead. */
#ifndef TALLY_TOOLS_ELECT_NODE_H
#define TALLY_TOOLS_ELECT_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "election/detector.h"
#include "election/strategy.h"
#include "tools/elect/net.h"

struct world;
struct voter;

enum {
    BEAT_US = 200 * 1000,     /* RULES E1: an idle leader's heartbeats */
    DETECTOR_LEADER = 1,      /* slot of the detector that stands for whoever leads */
    TIMER_LATE_US_MAX = 1000, /* a process is not woken on the microsecond */
    DELTA_US_MIN = 15 * 1000, /* of nodes without a ballot layer; see ballot_delta */
    DELTA_US_MAX = 300 * 1000,
    DELTA_MARGIN_US = 5 * 1000,
};

struct elect_node {
    struct world *world;
    uint32_t id;
    bool alive;
    uint32_t life;       /* counts the starts */
    struct voter *voter; /* NULL: no ballots here */

    bool leads;
    uint64_t term;
    struct log_position last;
    uint64_t beat_at; /* leader: the next heartbeat */

    uint32_t leader; /* whom it follows, 0: nobody */
    uint64_t leader_term;
    uint64_t contact_at; /* start of the leader's silence */
    bool suspect;
    struct detector *detector; /* of a voter: unused, its ballot layer has one */

    void *strategy;
    uint64_t strategy_at; /* when it wants on_timer */
    uint64_t wake_at;     /* the timer that counts */
};

/* Starts a node that has been down. `leader` and `leads` are for the beginning of a raw run. */
void elect_node_start(struct elect_node *n, uint32_t leader);
void elect_node_stop(struct elect_node *n);
void elect_node_packet(struct elect_node *n, const struct packet *p);
void elect_node_timer(struct elect_node *n);

/* ---- for voter.c ----------------------------------------------------------------------------- */

/* Carries out what the strategy wants, except for a nomination, which it returns: true when this
 * node is to stand. */
bool elect_node_carry_out(struct elect_node *n, const struct strategy_output *out);
void elect_node_send(struct elect_node *n, uint32_t to, struct packet *p, bool counts);
void elect_node_broadcast(struct elect_node *n, struct packet *p, bool counts);
void elect_node_begin_leading(struct elect_node *n, uint64_t term);
void elect_node_stop_leading(struct elect_node *n);
void elect_node_follow(struct elect_node *n, uint32_t leader);
/* Looks again at what is due when. */
void elect_node_schedule(struct elect_node *n);

#endif
