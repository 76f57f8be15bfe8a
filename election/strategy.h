/* The nomination interface: who should stand for leader, and when.
 *
 * A strategy only proposes. When it nominates its own node the ballot layer runs pre-vote and vote,
 * so a wrong or stale nomination costs time and never safety (PROTOCOL 2.1). State lives in a blob
 * owned by the caller; time and randomness are passed in; nothing allocates. */
#ifndef ELECTION_STRATEGY_H
#define ELECTION_STRATEGY_H

#include "election/member.h"
#include "election/message.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    STRATEGY_MESSAGES_MAX = NODE_SLOTS,
    STRATEGY_STATE_WORDS = 256, /* room for the state of any strategy, in 8-byte words */
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
    const struct member_set *members;
};

struct strategy_output {
    uint32_t nominate; /* node to stand now, or 0. Only the node itself runs its ballot */
    uint64_t wake_at;  /* call on_timer then; UINT64_MAX: no timer. Set by every call */
    uint32_t message_count;
    struct ballot_message messages[STRATEGY_MESSAGES_MAX];
};

struct strategy_ops {
    const char *name;
    /* Starts with no leader, no suspicion and no successor list. */
    void (*init)(void *state);
    /* The failure detector says that the leader is gone. Called once per suspicion. */
    void (*on_suspect)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* This node's attempt ended without a leader: try again, not before `hold_until`. `failed` is
     * false when it only made way for a better candidate, which must not count as a failed round.
     */
    void (*on_retry)(void *state, const struct strategy_view *view, uint64_t hold_until,
                     bool failed, struct strategy_output *out);
    /* NOMINATE_QUERY, NOMINATE_ANSWER or NOMINATE from another node. */
    void (*on_message)(void *state, const struct strategy_view *view,
                       const struct ballot_message *m, struct strategy_output *out);
    void (*on_timer)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* A leader was heard: suspicion and failed rounds are forgotten. */
    void (*on_leader)(void *state, const struct strategy_view *view, struct strategy_output *out);
    /* The leader published whom it would like to follow it, best first (PROTOCOL 1.5). */
    void (*on_successors)(void *state, const uint8_t *ids, uint32_t count);
    /* Place of `id` in the order of campaigns, from 0: the published list, else the rank. */
    uint32_t (*position)(const void *state, const struct strategy_view *view, uint32_t id);
};

/* Candidate/ordinary: copies stand in the order of the successor list, each a whole ballot after
 * the one before; a witness nominates the best copy it can find. Source: PROTOCOL 1.4, 1.5. */
extern const struct strategy_ops strategy_candidate;

#endif
