/* A cluster of ballot layers in virtual time: delayed, lost and reordered messages, links that
 * close or go silent, crashes with durable {term, vote, log end}, pauses, and clocks that run at
 * different rates (within the rho = 1/1000 of RULES E1). One seed is one run.
 *
 * What is checked all the time (PROTOCOL 1.9): at most one leader per term (E1), terms and votes
 * never regress over a restart and no node votes twice in a term (E2), every leader has all that
 * was committed (E4), leases of different leaders never overlap in true time and no leader is
 * elected while another one's lease runs (E7). The first complaint is kept in `complaint`; the
 * tests look at it. */
#ifndef TESTS_ELECTION_CLUSTER_H
#define TESTS_ELECTION_CLUSTER_H

#include "election/ballot.h"

enum {
    CLUSTER_EVENTS_MAX = 4096,
    CLUSTER_TERMS_MAX = 4096,
    CLUSTER_SYNCS_MAX = 64,
};

/* Mistakes put in on purpose, to see that the checks object. */
enum cluster_flaw {
    FLAW_NONE = 0,
    FLAW_FORGET_VOTE,   /* a restart loses voted_for */
    FLAW_FORGET_TERM,   /* a restart loses the term too */
    FLAW_ACK_UNWRITTEN, /* SYNCED is reported at once, the write comes later */
    FLAW_NO_PROMISE,    /* followers forget what they promised while the leader counts on it */
};

struct packet {
    enum packet_kind {
        PACKET_BALLOT,
        PACKET_APPEND,
        PACKET_APPEND_RESP,
    } kind;
    uint32_t from, to;
    uint64_t term;
    uint64_t sent_at; /* leader's clock, echoed */
    struct log_position last;
    struct ballot_message ballot;
};

struct sim_event {
    enum sim_event_kind {
        SIM_PACKET,
        SIM_SYNCED,
        SIM_LINK,
    } kind;
    uint64_t at;
    uint64_t order; /* ties are broken by the order of creation */
    uint32_t node, peer;
    uint64_t life; /* the node's incarnation this belongs to */
    uint64_t term;
    uint32_t vote;
    bool up;
    struct packet packet;
};

struct sim_node {
    bool exists, alive;
    uint64_t life;
    struct ballot ballot;
    struct ballot_update out;
    uint64_t term; /* durable */
    uint32_t vote;
    struct log_position last;
    struct log_position match[NODE_SLOTS];
    uint64_t synced_until; /* writes complete in order */
    uint64_t heartbeat_at, tick_at, paused_until;
    uint64_t clock_offset;
    int64_t clock_ppm;
    uint64_t elected_at; /* true time of the last election */
    uint64_t refusals[BALLOT_REASONS];
};

struct cluster {
    uint64_t rng, now, order;
    const struct strategy_ops *strategy;
    struct member_set members;
    node_mask all;
    enum cluster_flaw flaw;
    uint32_t loss_permille, delay_us_max;
    uint64_t heartbeat_us;
    bool transfers;
    struct sim_node nodes[NODE_SLOTS];
    bool silent[NODE_SLOTS][NODE_SLOTS]; /* messages from..to vanish */
    uint32_t event_count;
    struct sim_event events[CLUSTER_EVENTS_MAX];
    uint32_t leader_of[CLUSTER_TERMS_MAX];
    uint8_t vote_of[CLUSTER_TERMS_MAX][NODE_SLOTS]; /* whom a node granted its vote in a term */
    struct log_position committed;
    uint64_t elections, rescues, transfers_done;
    char complaint[160]; /* empty: all is well */
};

/* With the candidate strategy. */
void cluster_init(struct cluster *c, uint64_t seed, uint32_t copies, uint32_t witnesses,
                  enum cluster_flaw flaw);
void cluster_init_with(struct cluster *c, const struct strategy_ops *strategy, uint64_t seed,
                       uint32_t copies, uint32_t witnesses);
uint64_t cluster_random(struct cluster *c, uint64_t below);
void cluster_start(struct cluster *c, uint32_t id);
/* The process dies. `closed`: its peers see the connections close, as after SIGKILL. */
void cluster_crash(struct cluster *c, uint32_t id, bool closed);
/* The connection between two nodes is reset and comes back after `down_us`. */
void cluster_reset_link(struct cluster *c, uint32_t a, uint32_t b, uint64_t down_us);
void cluster_pause(struct cluster *c, uint32_t id, uint64_t pause_us);
void cluster_heal(struct cluster *c);
void cluster_run(struct cluster *c, uint64_t for_us);
/* Runs until some node is LEADER and all living voters follow it; false after `limit_us`. */
bool cluster_settle(struct cluster *c, uint64_t limit_us);
uint32_t cluster_leader(const struct cluster *c); /* LEADER of the highest term, or 0 */
void cluster_feed(struct cluster *c, uint32_t id, struct ballot_event ev);

#endif
