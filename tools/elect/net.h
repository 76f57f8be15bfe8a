/* The network of a simulated cluster: delays, losses, cuts, and the time a message costs.
 *
 * Every message takes MESSAGE_COST_US of its sender and of its receiver, one after the other, so a
 * node that has to talk to thousands is busy for as long as a real one would be. What a node says
 * to many is kept once and counted. */
#ifndef TALLY_TOOLS_ELECT_NET_H
#define TALLY_TOOLS_ELECT_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "election/message.h"
#include "election/strategy.h"
#include "tools/elect/queue.h"

enum {
    MESSAGE_COST_US = 2, /* half a million messages a second */
    DELAY_US_MIN = 100,
    DELAY_US_MAX = 1000,
};

enum event_kind {
    EVENT_ARRIVE = 1, /* a packet reached `node`: value is its number */
    EVENT_TAKE,       /* `node` gets round to it */
    EVENT_TIMER,      /* something of `node` may be due */
    EVENT_STEP,       /* the profile goes on with step `value` */
};

enum packet_kind {
    PACKET_NONE = 0,
    PACKET_STRATEGY,
    PACKET_BALLOT,
    PACKET_BEAT,   /* heartbeat of a leader; the first one of a term announces it */
    PACKET_ACK,    /* a voter's answer to it */
    PACKET_SYNCED, /* to oneself: term and vote are durable */
    PACKET_LINK,   /* to oneself: a connection opened or closed */
};

struct packet {
    enum packet_kind kind;
    uint32_t from;
    union {
        struct ballot_message ballot; /* STRATEGY, with ids of all nodes; BALLOT, with slots */
        struct {
            uint64_t term;
            uint64_t sent_at;
            struct log_position last;
            bool first;
        } beat; /* BEAT, ACK */
        struct {
            uint64_t term;
            uint32_t vote;
            uint32_t life;
        } synced;
        struct {
            uint32_t peer;
            bool up;
        } link;
    };
};

/* Who can reach whom. */
enum net_cut {
    CUT_NONE = 0,
    CUT_SIDES, /* only nodes of the same side */
    CUT_STAR,  /* only to and from `hub` */
};

struct net_packet;

struct net_port {
    uint64_t out_free, in_free; /* when this node has sent and read all it has to */
    uint32_t latest;            /* the packet it sent last, for what it says to many; 0: none */
    uint32_t side;
};

struct net {
    struct queue queue;
    uint64_t rng;
    uint32_t nodes;
    struct net_port *ports;     /* [1..nodes] */
    struct net_packet *packets; /* [0] is unused */
    uint32_t packet_count, packet_room, *free, free_count, free_room;

    uint32_t message_cost_us;
    uint64_t delay_us_max;
    uint32_t loss_permille;
    enum net_cut cut;
    uint32_t hub;
};

void net_init(struct net *net, uint32_t nodes);
void net_done(struct net *net);
/* An empty, healthy network at time 0. */
void net_reset(struct net *net, uint64_t seed);

uint64_t net_random(struct net *net, uint64_t below); /* 0: the whole word */
bool net_reaches(const struct net *net, uint32_t from, uint32_t to);

/* Sends a copy of `p` from p->from. It may be lost. */
void net_send(struct net *net, uint32_t to, const struct packet *p);
/* Hands a copy of `p` to `node` at `at`, free of charge. */
void net_hand(struct net *net, uint64_t at, uint32_t node, const struct packet *p);
void net_timer(struct net *net, uint64_t at, uint32_t node);

/* The next event: EVENT_TAKE with the packet in `ret_packet`, EVENT_TIMER or EVENT_STEP. The packet
 * is a copy. False when nothing will ever happen again. */
bool net_next(struct net *net, struct event *ret_ev, struct packet *ret_packet);

#endif
