/* What a leader knows of one peer, and where it is in sending the log to it.
 *
 * Pure bookkeeping over plain numbers; which entries may be sent is decided in append_send.c.
 * Source: Ongaro 2014, 10.2.1 (pipelining); etcd-io/raft tracker/progress.go for the three states.
 */
#ifndef TALLY_REPL_CORE_PROGRESS_H
#define TALLY_REPL_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "repl/base/time.h"

enum progress_state {
    PROGRESS_PROBE = 0, /* where do the logs meet? one empty APPEND at a time */
    PROGRESS_REPLICATE, /* entries are sent without waiting for answers */
    PROGRESS_SNAPSHOT,  /* its next entry is gone here: it gets a snapshot */
};

struct progress {
    /* Of the link; kept over a change of leader. */
    bool link_up;
    uint64_t store_boot;
    uint64_t rtt_us;

    enum progress_state state;
    uint64_t next;  /* first index not sent yet */
    uint64_t match; /* durable there, uncommitted bytes included (RULES B3) */
    bool asked;     /* PROBE: the probe is out; a heartbeat repeats it */
    bool heartbeat; /* one is due */
    uint64_t commit_sent, round_sent;
    uint64_t round_acked;
    time_us watched_since;  /* lateness is counted from here at the earliest */
    time_us snapshot_after; /* ask for a snapshot again, not before */
    bool lacking;           /* down or behind since it last was caught up (RULES B4) */

    /* As last reported to this leader; nothing before the first answer. */
    bool reported;
    uint64_t applied, durable_applied, whole_index, free_bytes, flush_p99_us;
};

/* A new leadership: what was reported to an earlier leader is forgotten, the link is not. */
void progress_reset(struct progress *p, uint64_t next, time_us now);

/* Find out again where the logs meet, starting before `next`. */
void progress_probe(struct progress *p, uint64_t next);

/* The peer accepted an APPEND and durably matches up to `match`. */
void progress_accept(struct progress *p, uint64_t match);

/* It refused one whose prev_index was `refused`; the logs may meet at `meet` or below. False for an
 * answer that is overtaken by a later one. */
bool progress_refuse(struct progress *p, uint64_t refused, uint64_t meet);

#endif
