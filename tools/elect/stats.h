/* What an election cost and what it led to, from the history of a run.
 *
 * The simulation tells what happens (a node leads, a node follows, a message is sent) and this
 * counts. The terms used in the tables:
 *  - the cluster *is led* while one living leader that can reach a majority is followed by more
 *    than half of the living nodes, itself included;
 *  - an *election* is the moment when the cluster comes to be led by somebody, anew or by another;
 *  - *time to leader* is how long it was not led, each time, detection included;
 *  - a *split brain* is an interval in which two living nodes lead with equal right: in the same
 *    term, or with no terms at all (the book's version without ballots, term 0 for everybody);
 *  - a *stale leader* is an interval in which two lead in different terms: the older one has not
 *    heard yet. It can neither commit nor answer reads, and so it does no harm. */
#ifndef TALLY_TOOLS_ELECT_STATS_H
#define TALLY_TOOLS_ELECT_STATS_H

#include <stdbool.h>
#include <stdint.h>

struct stats_node {
    bool alive;
    bool cut;   /* reaches no majority, whatever it believes */
    bool leads; /* believes so */
    uint64_t term;
    uint32_t follows; /* 0: nobody */
    uint32_t followers;
    uint64_t messages; /* sent and received, of elections only */
};

struct stats {
    uint32_t nodes;
    struct stats_node *node; /* [1..nodes] */
    uint32_t alive;
    uint32_t *leaders; /* those alive that lead, in no order */
    uint32_t leader_count;
    uint32_t current; /* who leads the cluster, 0: it is not led */

    /* This run. */
    bool counting;
    uint64_t began_at, unled_at, split_at, stale_at;
    bool split, stale;

    /* All runs. */
    uint32_t runs;
    uint64_t messages, busiest, elections, failures, unresolved;
    uint64_t observed_us, unled_us, split_us, stale_us;
    uint64_t splits, stales;
    uint64_t *waits; /* times to leader, microseconds */
    uint32_t wait_count, wait_room;
};

void stats_init(struct stats *s, uint32_t nodes);
void stats_done(struct stats *s);

/* A run begins with all nodes alive, connected and without a leader; nothing is counted yet. */
void stats_begin(struct stats *s);
/* Counting starts: the cluster is ready for its trouble. */
void stats_watch(struct stats *s, uint64_t now);
/* The run is over. A cluster still without a leader counts with its time until now. */
void stats_end(struct stats *s, uint64_t now);

void stats_alive(struct stats *s, uint64_t now, uint32_t node, bool alive);
void stats_cut(struct stats *s, uint64_t now, uint32_t node, bool cut);
void stats_lead(struct stats *s, uint64_t now, uint32_t node, bool leads, uint64_t term);
void stats_follow(struct stats *s, uint64_t now, uint32_t node, uint32_t leader);
/* Something went wrong that may cost a leader. */
void stats_failure(struct stats *s);

static inline void stats_sent(struct stats *s, uint32_t from)
{
    s->messages += s->counting;
    s->node[from].messages += s->counting;
}

static inline void stats_received(struct stats *s, uint32_t to)
{
    s->node[to].messages += s->counting;
}

/* Figures over all runs; negative where there is nothing to divide by. */
struct stats_summary {
    double messages_per_election;
    double busiest_node; /* messages sent and received by the busiest node of a run, per election */
    double leader_ms_p50, leader_ms_p99;
    double elections_per_failure;
    double leaderless_share;
};

/* The p-quantile (0 < p <= 1) of the times to leader: the smallest one that at least p of them do
 * not exceed. Negative when there are none. */
double stats_wait_ms(struct stats *s, double p);
struct stats_summary stats_summary(struct stats *s);

#endif
