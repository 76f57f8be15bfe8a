/* What nodes say to each other about who leads. Plain data, one struct for all kinds, so the wire
 * layer needs one encoder; fields a kind does not use are zero. */
#ifndef ELECTION_MESSAGE_H
#define ELECTION_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Where a log ends. Compared by term first, then index (Ongaro 2014, 3.6.1). */
struct log_position {
    uint64_t term;
    uint64_t index;
};

/* <0, 0, >0 as `a` is older than, the same as, newer than `b`. */
int log_position_compare(struct log_position a, struct log_position b);

enum ballot_message_kind {
    BALLOT_MSG_NONE = 0,
    BALLOT_MSG_PREVOTE,        /* would you vote for me in `ballot`? changes nobody's term */
    BALLOT_MSG_PREVOTE_RESP,   /* granted?, reason, wait_us, leader, last */
    BALLOT_MSG_VOTE,           /* vote for me in `ballot`; transfer_id != 0 after TimeoutNow */
    BALLOT_MSG_VOTE_RESP,      /* granted?, reason, wait_us, last */
    BALLOT_MSG_TIMEOUT_NOW,    /* leader of `term`: campaign at once if your log ends at `last` */
    BALLOT_MSG_NOMINATE_QUERY, /* ordinary node to copies: how far is your log, do you see a leader?
                                */
    BALLOT_MSG_NOMINATE_ANSWER, /* last, leader (0: sees none) */
    BALLOT_MSG_NOMINATE,        /* ordinary node to the best copy: please stand */
    BALLOT_MSG_ELECTION,        /* bully: to all higher nodes, is one of you there? */
    BALLOT_MSG_ELECTION_OK,     /* bully: I am, and take over */
    BALLOT_MSG_COORDINATOR,     /* without ballots: `subject` leads. Ring: passed on by each node */
    BALLOT_MSG_PROBE,           /* successor: the leader is gone and you are next */
    BALLOT_MSG_ALIVE,           /* answer to PROBE and TOKEN: got it */
    BALLOT_MSG_TOKEN,  /* ring: the best so far is `leader` with `last`; `round` of `subject` */
    BALLOT_MSG_INVITE, /* invitation: join the group of `subject`, in its `round` */
    BALLOT_MSG_ACCEPT, /* I do */
    BALLOT_MSG_JOINED, /* you have */
    BALLOT_MSG_KINDS,
};

/* Why a vote, pre-vote, TimeoutNow or nomination was refused. Travels in answers; values are
 * fixed. */
enum ballot_reason {
    BALLOT_OK = 0,
    BALLOT_LOWER_TERM = 1,  /* the ballot is not above the responder's term */
    BALLOT_LOG_BEHIND = 2,  /* the asker's log is older */
    BALLOT_VOTED = 3,       /* voted for another in this term, or this term has a leader */
    BALLOT_PROMISE = 4,     /* promise to a leader still runs: ask again after wait_us (E1, V3) */
    BALLOT_BOOT = 5,        /* started less than T_promise ago: ask again after wait_us (V4) */
    BALLOT_SEES_LEADER = 6, /* pre-vote: connection to the leader is open and it was heard (E2) */
    BALLOT_NOT_MEMBER = 7,  /* asker or responder does not vote */
    BALLOT_STALE = 8,       /* TimeoutNow whose term or log position is not ours any more */
    BALLOT_REASONS,
};

struct ballot_message {
    enum ballot_message_kind kind;
    uint32_t from;
    uint32_t to;
    uint64_t term;            /* sender's durable term */
    uint64_t ballot;          /* term asked for; a response echoes the request's (V5) */
    struct log_position last; /* end of the sender's log; TIMEOUT_NOW: what the target must have */
    uint64_t transfer_id;     /* VOTE, TIMEOUT_NOW */
    uint64_t wait_us;         /* *_RESP: what is left of the responder's promise, also on a grant */
    uint32_t leader;          /* PREVOTE_RESP, strategies: leader the sender sees, or 0 */
    uint32_t subject;         /* strategies: the node it is about, or 0 */
    uint64_t round;           /* strategies: which attempt of `subject` */
    bool granted;             /* *_RESP */
    enum ballot_reason reason; /* *_RESP */
};

/* Beyond it whoever sends a term is broken: one a second lasts 136 years. A term that cannot be
 * followed by another one would end all elections for ever, and what a leader asks mounts for is
 * numbered within 32 bits behind its term (RULES L5, fs/app/session.c). */
#define BALLOT_TERM_MAX UINT64_C(0xfffffffe)

/* Checks a message that came from outside: kind, ids, terms and reason in range. Bytes from the
 * network are refused, not asserted. */
bool ballot_message_valid(const struct ballot_message *m);

const char *ballot_message_text(enum ballot_message_kind kind);
const char *ballot_reason_text(enum ballot_reason reason); /* "log_behind" ... for trace lines */

#endif
