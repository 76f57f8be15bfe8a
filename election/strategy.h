/* The nomination interface: who should stand for leader, and when.
 *
 * A strategy only proposes. When it nominates its own node the ballot layer runs pre-vote and vote,
 * so a wrong or stale nomination costs time and never safety (PROTOCOL 2.1). State lives in a blob
 * owned by the caller; time and randomness are passed in; nothing allocates. The ballot layer has
 * 31 nodes at most, `tally elect` runs the same code with thousands. */
#ifndef ELECTION_STRATEGY_H
#define ELECTION_STRATEGY_H

#include "election/member.h"
#include "election/message.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    STRATEGY_STATE_WORDS = 128, /* room for the state of any strategy, in 8-byte words */
    STRATEGY_NODES_MAX = 4096,
};

/* The voters by id, and in the order of standing when nothing else is known: copies by (rank, id),
 * then witnesses by id. "Higher" in the book is "earlier in order" here. */
struct strategy_nodes {
    uint32_t count;        /* ids are 1..count; a gap has MEMBER_NONE */
    uint32_t placed;       /* how many there are */
    const uint8_t *kind;   /* [id]: enum member_kind */
    const uint32_t *place; /* [id]: from 0 */
    const uint32_t *at;    /* [place]: id */
};

/* What a strategy may know at the moment it is asked. */
struct strategy_view {
    uint64_t now;
    uint64_t random; /* one random word per event */
    uint32_t self;
    uint64_t term; /* durable */
    struct log_position last;
    uint32_t leader;   /* leader this node sees (heard within its bound, link not closed), or 0 */
    uint64_t delta_us; /* longer than one whole ballot: max(floor, 2R + S + margin), PROTOCOL 1.4 */
    uint64_t rtt_us;   /* R */
    bool calm;         /* no suspicion here: only what others have begun is to be served */
    bool aside;        /* this copy gives way: it takes the part of an ordinary node */
    bool raw;          /* no ballots follow: the book's version, in `tally elect --raw` only */
    const struct strategy_nodes *nodes;
};

/* The caller sets `messages` and `room`: a message to each node and one more. */
struct strategy_output {
    uint32_t nominate; /* node to stand now, or 0. Only the node itself runs its ballot */
    uint64_t wake_at;  /* call on_timer then; UINT64_MAX: no timer. Set by every call */
    uint32_t message_count, room;
    struct ballot_message *messages;
};

struct strategy_ops {
    const char *name;
    bool relays; /* hands on what others began, so on_timer is wanted without suspicion as well */
    /* Starts with no leader, no suspicion and no successor list. */
    void (*init)(void *state);
    /* The failure detector says that the leader is gone. Called once per suspicion. */
    void (*on_suspect)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* This node's attempt ended without a leader: try again, not before `hold_until`. `failed` is
     * false when it only made way for a better candidate, which must not count as a failed round.
     */
    void (*on_retry)(void *state, const struct strategy_view *view, uint64_t hold_until,
                     bool failed, struct strategy_output *out);
    /* Any message of a strategy (message.h) from another node, whether or not there is suspicion.
     */
    void (*on_message)(void *state, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out);
    void (*on_timer)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* A leader was heard: suspicion and failed rounds are forgotten. */
    void (*on_leader)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* The messages by which the book's new leader makes itself known. For runs without ballots:
     * with them the first Append does it. */
    void (*announce)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* The leader published whom it would like to follow it, best first (PROTOCOL 1.5). */
    void (*on_successors)(void *state, const uint8_t *ids, uint32_t count);
    /* Place of `id` in the order of campaigns, from 0: the published list, else the rank. */
    uint32_t (*position)(const void *state, const struct strategy_view *view, uint32_t id);
};

/* Candidate/ordinary: copies stand in the order of the successor list, each a whole ballot after
 * the one before; a witness nominates the best copy it can find. Source: PROTOCOL 1.4, 1.5. */
extern const struct strategy_ops strategy_candidate;

/* Bully: whoever misses the leader asks all higher nodes and stands when none answers.
 * Source: Garcia-Molina 1982, PROTOCOL 2.1. */
extern const struct strategy_ops strategy_bully;

/* Next-in-line: the first of the successors that answers stands. Source: Gholipour et al. 2009,
 * PROTOCOL 1.5, 2.1. */
extern const struct strategy_ops strategy_successor;

/* Invitation: groups merge until one holds a majority, whose coordinator stands.
 * Source: Garcia-Molina 1982, PROTOCOL 2.1. */
extern const struct strategy_ops strategy_invitation;

/* Ring: a token goes round and finds the best living node. Source: PROTOCOL 2.1; the rule that
 * stops all but one token: Chang and Roberts 1979. */
extern const struct strategy_ops strategy_ring;

/* The strategy called `name`; NULL when there is none. */
const struct strategy_ops *strategy_find(const char *name);

/* ---- for strategies -------------------------------------------------------------------------- */

enum member_kind strategy_kind(const struct strategy_view *view, uint32_t id);
/* Is a copy, and not this node while it gives way. */
bool strategy_may_lead(const struct strategy_view *view, uint32_t id);
uint32_t strategy_copies(const struct strategy_view *view);

/* True when `a`, whose log ends at `a_last`, would rather lead than `b`: a copy first, then the
 * newer log, then the order. Source: PROTOCOL 2.1, "log-aware". */
bool strategy_higher(const struct strategy_view *view, uint32_t a, struct log_position a_last,
                     uint32_t b, struct log_position b_last);

/* position * 0.8^failed, rounded down: after failed rounds later nodes get their chance. Source:
 * PROTOCOL 1.4. */
uint32_t strategy_decayed(uint32_t position, uint32_t failed);

/* How long to wait for an answer: a round trip and a margin, doubled by every failed round because
 * before the first leader nobody has measured R. */
uint64_t strategy_answer_us(const struct strategy_view *view, uint32_t failed);
/* How long a node that was named may take until it leads: promise, ballot, and a margin. */
uint64_t strategy_lead_us(const struct strategy_view *view);
/* Pause after `failed` rounds in a row. */
uint64_t strategy_backoff_us(const struct strategy_view *view, uint32_t failed);

/* One more message, with what every message of a strategy tells of its sender. */
struct ballot_message *strategy_push(struct strategy_output *out, const struct strategy_view *view,
                                     enum ballot_message_kind kind, uint32_t to);

#endif
