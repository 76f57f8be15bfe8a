/* Who is suspected, from silence, closed connections and round-trip times.
 *
 * Only a guess: ballots decide. The bound on silence starts at T_base and grows with what was
 * measured lately, so a slow network costs waiting instead of elections. Pure; times are
 * microseconds of one monotonic clock, given with every call. */
#ifndef ELECTION_DETECTOR_H
#define ELECTION_DETECTOR_H

#include "election/quorum.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    DETECTOR_WINDOW_SLOTS = 8,
};

/* The largest sample of the last DETECTOR_WINDOW_SLOTS seconds. A maximum over time rather than
 * over a number of samples, because a busy leader sends thousands of messages a second. */
struct detector_window {
    uint64_t slot;                           /* number of the newest slot */
    uint64_t largest[DETECTOR_WINDOW_SLOTS]; /* per slot, at index slot % DETECTOR_WINDOW_SLOTS */
};

struct detector_config {
    uint64_t base_us_min; /* T_base, RULES E1: 600 ms */
    uint64_t base_us_max; /* cap of the adaptive bound: 2 s */
    uint64_t late_us_min; /* a timer later than this extends suspicion, RULES E5: 50 ms */
};

enum detector_link {
    DETECTOR_LINK_UNKNOWN = 0, /* never opened since the start: silence counts, closing does not */
    DETECTOR_LINK_UP,
    DETECTOR_LINK_CLOSED,
};

struct detector_peer {
    enum detector_link link;
    uint64_t heard_at;           /* 0: never since the start */
    struct detector_window gaps; /* between two signs of life */
    struct detector_window rtts;
};

struct detector {
    struct detector_config config;
    uint64_t late_us; /* lateness of our own timers since the leader was last heard (E5) */
    struct detector_peer peers[NODE_SLOTS];
};

/* 600 ms, 2 s, 50 ms: RULES E1 and E5. */
struct detector_config detector_config_default(void);

void detector_init(struct detector *d, const struct detector_config *config);

/* A connection opened or closed. A closed one is suspicion at once (RULES E2). */
void detector_link(struct detector *d, uint32_t peer, bool up);

/* Peer gave a sign of life at `now`; also forgives our own lateness, as the silence is over. */
void detector_heard(struct detector *d, uint32_t peer, uint64_t now);

/* One measured round trip. */
void detector_rtt(struct detector *d, uint32_t peer, uint64_t now, uint64_t rtt_us);

/* A timer meant for `due` ran at `now`. More than late_us_min late, the whole lateness is added to
 * the suspicion deadline, as if our clock had stood still: while we slept we could not listen.
 * Source: RULES E5. Promises and leases never see this. Returns the lateness counted. */
uint64_t detector_late(struct detector *d, uint64_t due, uint64_t now);

/* How long `peer` may be silent: max(T_base, 5R, 2 x longest recent gap), at most base_us_max. */
uint64_t detector_bound(const struct detector *d, uint32_t peer, uint64_t now);

/* The moment at which silence of `peer` since `since` becomes suspicion: 0 (always past) when its
 * connection is closed, else since + bound + our own lateness. */
uint64_t detector_suspect_at(const struct detector *d, uint32_t peer, uint64_t since, uint64_t now);

/* True when the connection to `peer` was closed and not opened again. */
bool detector_closed(const struct detector *d, uint32_t peer);

/* Largest recent round trip to any of `peers`, 0 when none was measured. Stands for p99 RTT. */
uint64_t detector_rtt_max(const struct detector *d, node_mask peers, uint64_t now);

/* The window by itself; also used for the fsync time of votes. */
void detector_window_add(struct detector_window *w, uint64_t now, uint64_t sample);
uint64_t detector_window_max(const struct detector_window *w, uint64_t now);

#endif
