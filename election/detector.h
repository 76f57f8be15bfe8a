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
    DETECTOR_LINK_UNKNOWN = 0, /* never opened since the start: silence counts, nothing else */
    DETECTOR_LINK_UP,
    DETECTOR_LINK_CLOSED,
    DETECTOR_LINK_REOPENED, /* open again, but nothing was heard on it yet */
};

struct detector_peer {
    enum detector_link link;
    uint64_t beat_at;            /* detector clock of the last heartbeat; 0: none to measure from */
    struct detector_window gaps; /* between two heartbeats */
    struct detector_window rtts;
};

struct detector {
    struct detector_config config;
    uint64_t late_us; /* lateness of our own timers since the start, summed up (E5) */
    uint64_t late_at; /* when the last of it was noticed; 0: never */
    struct detector_peer peers[NODE_SLOTS];
};

/* 600 ms, 2 s, 50 ms: RULES E1 and E5. */
struct detector_config detector_config_default(void);

void detector_init(struct detector *d, const struct detector_config *config);

/* The clock by which silence is measured: `now` less all our own lateness, as if it had stood still
 * while we could not listen. Promises and leases never use it. Source: RULES E5. */
uint64_t detector_clock(const struct detector *d, uint64_t now);

/* A timer meant for `due` ran at `now`. More than late_us_min late, the whole lateness stops the
 * detector clock. Returns the lateness counted, 0 for a punctual timer. Source: RULES E5. */
uint64_t detector_late(struct detector *d, uint64_t due, uint64_t now);

/* A connection opened or closed. */
void detector_link(struct detector *d, uint32_t peer, bool up);

/* Anything at all came from `peer`, so its connection works. */
void detector_heard(struct detector *d, uint32_t peer);

/* A heartbeat (or Append) of the leader. `first`: the first of its leadership, so the time since
 * the one before says nothing about its rhythm. */
void detector_beat(struct detector *d, uint32_t peer, bool first, uint64_t now);

/* One measured round trip. */
void detector_rtt(struct detector *d, uint32_t peer, uint64_t now, uint64_t rtt_us);

/* True when the connection to `peer` was closed and nothing was heard from it since. Opening alone
 * does not restore trust: a leader killed and started again connects at once, but leads no more.
 * Source: RULES E2. */
bool detector_cut(const struct detector *d, uint32_t peer);

/* How long `peer` may be silent: max(T_base, 5R, 2 x longest recent gap), at most base_us_max.
 * Source: PROTOCOL 1.4 and RULES E1. */
uint64_t detector_bound(const struct detector *d, uint32_t peer, uint64_t now);

/* The moment (by the real clock) at which silence of `peer` since `since` (detector clock) becomes
 * suspicion: 0, always past, when its connection was cut. */
uint64_t detector_suspect_at(const struct detector *d, uint32_t peer, uint64_t since, uint64_t now);

/* Largest recent round trip to any of `peers`, 0 when none was measured. Stands for p99 RTT. */
uint64_t detector_rtt_max(const struct detector *d, node_mask peers, uint64_t now);

/* The window by itself; also used for the fsync time of votes. */
void detector_window_add(struct detector_window *w, uint64_t now, uint64_t sample);
uint64_t detector_window_max(const struct detector_window *w, uint64_t now);

#endif
