/* The ballot layer: terms, votes, pre-votes, promises to leaders, the leader's lease, transfer.
 *
 * Raft's elections (Ongaro 2014, chapter 3, 4.2.3, 6.4.1, 9.6) with the repairs that years of field
 * reports asked for (PROTOCOL 1.3, V1-V8) and RULES E1-E5. Pure: one event in, one update out; no
 * clock, no I/O, no allocation.
 *
 * Duties of the caller:
 *  - feed every event with the same monotonic clock (BOOTTIME), input before timers (E5), and a
 *    TICK once `wake_at` has come. It may equal `now`: as soon as pending input is handled;
 *  - on `persist` write {term, voted_for} durably and then feed SYNCED with the same two values.
 *    All answers and votes that depend on it are held back here until then, so the order in which
 *    the caller carries out one update's effects does not matter;
 *  - accept and answer an Append of term t only after feeding LEADER_HEARD and only once
 *    ballot_durable_term() >= t; answer a lower-term Append with ballot_durable_term() so that a
 *    stuck leader steps down (V6), and feed HIGHER_TERM when any log message shows a higher term;
 *  - as LEADER: append a NOOP first, serve nothing before it is committed (V8), and read the lease
 *    *after* taking a read's snapshot (PROTOCOL 1.6). As RESCUE_LEADER: propose and serve nothing,
 *    hand entries to the best copy, then feed TRANSFER (E3). */
#ifndef ELECTION_BALLOT_H
#define ELECTION_BALLOT_H

#include "election/detector.h"
#include "election/member.h"
#include "election/message.h"
#include "election/quorum.h"
#include "election/strategy.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BALLOT_MESSAGES_MAX = 2 * NODE_SLOTS + 2,
    BALLOT_NOTES_MAX = 8,
};

enum ballot_role {
    BALLOT_FOLLOWER = 0,
    BALLOT_PRECAND,
    BALLOT_CAND,
    BALLOT_LEADER,
    BALLOT_RESCUE_LEADER, /* a witness that leads only to hand over its newer log (E3) */
};

struct ballot_config {
    uint32_t self;
    struct member_set members;
    struct detector_config detector;
    uint64_t promise_us;   /* T_promise, 150 ms (E1) */
    uint64_t delta_us_min; /* floor of delta, 15 ms */
    uint64_t transfer_us;  /* a transfer is given up after this, 600 ms */
    bool leader_lease;     /* off: the leader never has a lease, reads use ReadIndex (E1) */
    const struct strategy_ops *strategy;
};

enum ballot_event_kind {
    BALLOT_EV_START = 0,    /* first event: term, voted_for, last as read from disk */
    BALLOT_EV_TICK,         /* wake_at has come */
    BALLOT_EV_MESSAGE,      /* message */
    BALLOT_EV_LEADER_HEARD, /* peer, term: a valid Append or heartbeat of that term, term >= ours */
    BALLOT_EV_HIGHER_TERM,  /* term, seen in a log message */
    BALLOT_EV_ACK,        /* peer, term, sent_at: peer answered what we sent at sent_at as leader */
    BALLOT_EV_RTT,        /* peer, rtt_us: measured by the link */
    BALLOT_EV_LINK_UP,    /* peer */
    BALLOT_EV_LINK_DOWN,  /* peer: connection closed or reset */
    BALLOT_EV_SYNCED,     /* term, voted_for are durable */
    BALLOT_EV_LOG,        /* last: our durable-or-pending log ends there now */
    BALLOT_EV_SUCCESSORS, /* successors, from the leader's Append */
    BALLOT_EV_TRANSFER,   /* peer: leader, hand over to this copy; 0: to nobody, abort */
    BALLOT_EV_CAUGHT_UP,  /* peer, last: match(peer) == end of our log, while transferring */
    BALLOT_EV_MEMBERS,    /* members: a new configuration is in force */
    BALLOT_EV_ASIDE,      /* until: give way to others till then; 0: no longer */
};

/* One event. `now` and `random` count for every kind; other fields as told above. */
struct ballot_event {
    enum ballot_event_kind kind;
    uint64_t now;
    uint64_t random;
    uint32_t peer;
    uint64_t term;
    uint32_t voted_for;
    struct log_position last;
    uint64_t sent_at;
    uint64_t rtt_us;
    uint64_t until;
    uint32_t successor_count;
    uint8_t successors[NODE_SLOTS];
    struct ballot_message message;
    const struct member_set *members; /* MEMBERS only; copied */
};

enum ballot_transfer {
    BALLOT_TRANSFER_NONE = 0, /* nothing happened in this step */
    BALLOT_TRANSFER_STARTED,  /* stop proposing; feed CAUGHT_UP when the target has everything */
    BALLOT_TRANSFER_SENT,     /* TimeoutNow is under way */
    BALLOT_TRANSFER_DONE,     /* the target's ballot came: we follow now */
    BALLOT_TRANSFER_ABORTED,  /* propose again, without a lease for the rest of the term */
    BALLOT_TRANSFER_REFUSED,  /* not leader, or the target is no copy */
};

/* What a trace line tells. */
enum ballot_note_kind {
    BALLOT_NOTE_REFUSED = 1,  /* peer, message, reason, term = ballot, value = wait_us */
    BALLOT_NOTE_GRANTED,      /* peer, message, term = ballot */
    BALLOT_NOTE_SUSPECT,      /* peer = leader or 0, value = silence_us (0: closed connection) */
    BALLOT_NOTE_PREVOTE,      /* pre-vote round begun; term = ballot */
    BALLOT_NOTE_CAMPAIGN,     /* own vote asked for; term */
    BALLOT_NOTE_ROUND_FAILED, /* term = ballot */
    BALLOT_NOTE_YIELD,        /* peer: a better candidate is at it */
    BALLOT_NOTE_RESCUE,       /* peer = whose pre-vote was refused */
    BALLOT_NOTE_ELECTED,      /* term */
    BALLOT_NOTE_STEP_DOWN,    /* leads no more; term = the new one */
    BALLOT_NOTE_NO_QUORUM,    /* check-quorum: value = age of the last quorum */
    BALLOT_NOTE_LATE,         /* value = lateness of our timer (E5) */
    BALLOT_NOTE_TRANSFER,     /* peer = target, value = enum ballot_transfer */
    BALLOT_NOTE_BAD_MESSAGE,  /* a message that no correct node sends */
};

struct ballot_note {
    enum ballot_note_kind kind;
    uint32_t peer;
    enum ballot_message_kind message;
    enum ballot_reason reason;
    uint64_t term;
    uint64_t value;
};

/* What one step wants done. Overwritten by every step. */
struct ballot_update {
    bool persist;        /* write term and voted_for below, then feed SYNCED */
    bool role_changed;   /* `role` differs from the step before, or it is a role of a new term */
    bool leader_changed; /* `leader` differs from the step before */
    bool term_changed;

    /* State after the step, valid whether or not it changed. */
    enum ballot_role role;
    uint64_t term;
    uint32_t voted_for;
    uint32_t leader; /* leader of `term` as far as known, self included; 0: none */
    uint64_t
        lease_until;  /* leader may answer reads before this moment without a round; 0: no lease */
    bool accepts;     /* LEADER and not transferring: new proposals are welcome */
    uint64_t wake_at; /* next TICK, UINT64_MAX: none */

    enum ballot_transfer transfer;
    uint32_t transfer_to;

    uint32_t message_count;
    struct ballot_message messages[BALLOT_MESSAGES_MAX];
    uint32_t note_count; /* notes beyond BALLOT_NOTES_MAX in one step are dropped */
    struct ballot_note notes[BALLOT_NOTES_MAX];
};

/* A round of asking, by pre-vote or vote. */
struct ballot_round {
    uint64_t ballot;   /* term asked for */
    node_mask granted; /* self included */
    node_mask refused;
    uint64_t ready_at[NODE_SLOTS]; /* PRECAND: when each granter's promise will have run out */
    uint64_t retry_at[NODE_SLOTS]; /* CAND: ask this voter again then; 0: not */
    uint64_t began_at;
    uint64_t deadline;
    uint64_t hold_until; /* hint from refusals: another round is useless before */
    uint64_t transfer_id;
    bool rescue;
};

/* All state of one node's ballot layer. Look, but change it only through ballot_step. */
struct ballot {
    struct ballot_config config;
    struct detector detector;
    bool started;

    /* Durable part, in memory and as last confirmed by SYNCED. */
    uint64_t term;
    uint32_t voted_for;
    uint64_t synced_term;
    uint32_t synced_vote;
    uint64_t persist_at; /* when the outstanding write was asked for; 0: none */
    struct detector_window sync_times;

    enum ballot_role role;
    uint32_t leader;
    uint32_t expected;   /* whose silence we measure: the leader, or the candidate we voted for */
    uint64_t contact_at; /* start of that silence, by the detector's clock */
    bool suspect;
    struct log_position last;

    uint64_t aside_until; /* it does not stand before then; it votes as ever */

    uint32_t promised_to; /* 0 after a start: unknown */
    uint64_t promise_until;
    uint64_t boot_until;

    struct ballot_round round;
    uint32_t late_rounds; /* in a row that ended before a majority had answered */
    node_mask held;       /* vote answers waiting for SYNCED */
    struct ballot_message held_answers[NODE_SLOTS];

    /* Leader only. */
    uint64_t acked_at[NODE_SLOTS]; /* sending time of the youngest acknowledged message */
    uint64_t heard_at[NODE_SLOTS]; /* when its last acknowledgement came, by the detector's clock */
    uint64_t leader_since;
    bool lease_revoked; /* a TimeoutNow may exist in this term */
    uint32_t transfer_to;
    uint64_t transfer_id;
    bool transfer_sent;
    uint64_t transfer_deadline;
    uint64_t transfer_resend_at;
    struct log_position transfer_last;

    uint64_t now; /* of the event being handled, and its random word */
    uint64_t random;
    uint64_t wake_at;     /* as last told to the caller; lateness is measured against it */
    uint64_t strategy_at; /* when the strategy wants on_timer; UINT64_MAX: never */
    uint64_t strategy_state[STRATEGY_STATE_WORDS];

    /* The members as strategies see them, and room for what they say. */
    struct strategy_nodes nodes;
    uint8_t node_kind[NODE_SLOTS];
    uint32_t node_place[NODE_SLOTS], node_at[NODE_SLOTS];
    struct ballot_message strategy_messages[NODE_SLOTS];
};

/* T_promise 150 ms, T_base 600 ms..2 s, delta floor 15 ms, lease on, candidate strategy.
 * Source: RULES E1, PROTOCOL 1.4. */
struct ballot_config ballot_config_default(uint32_t self, const struct member_set *members);

/* Prepares `b`; nothing happens before BALLOT_EV_START. `config` is copied; the strategy's ops must
 * outlive `b`. */
void ballot_init(struct ballot *b, const struct ballot_config *config);

/* Takes one event and fills `*out` completely. `event->now` is above 0 and
 * never goes backwards. */
void ballot_step(struct ballot *b, const struct ballot_event *event, struct ballot_update *out);

/* Highest term that is durable here: the only term that may stand in an answer to anybody. */
uint64_t ballot_durable_term(const struct ballot *b);

/* Until when a leader may answer from its own state: sending time of the youngest round that f+1
 * nodes acknowledged, plus T_promise(1-rho)/(1+rho). 0 unless LEADER with leases on and no
 * TimeoutNow in this term. Source: RULES E1. The moment itself is outside the lease. */
uint64_t ballot_lease_until(const struct ballot *b);

/* The leader this node would name to others: known, link not cut, heard within the bound (for
 * the leader itself: itself). 0 otherwise. Source: RULES E2. */
uint32_t ballot_sees_leader(const struct ballot *b, uint64_t now);

/* delta: longer than one whole ballot, max(floor, 2R + S + margin). Source: PROTOCOL 1.4. */
uint64_t ballot_delta(const struct ballot *b, uint64_t now);

/* Asserts what must hold after every step; ballot_step calls it. */
void ballot_check(const struct ballot *b);

const char *ballot_role_text(enum ballot_role role);
const char *ballot_note_text(enum ballot_note_kind kind);
const char *ballot_transfer_text(enum ballot_transfer transfer);

#endif
