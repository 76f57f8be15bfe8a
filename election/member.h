/* Who belongs to the cluster: copies, witnesses and learners, with their ranks.
 *
 * Copies hold the bytes and may lead; witnesses hold the log, vote, and lead only to rescue
 * (RULES E3); learners receive but do not vote. A valid layout has f+1 copies and f witnesses, or
 * copies alone in an odd number. Pure data: copied by value, no allocation. */
#ifndef ELECTION_MEMBER_H
#define ELECTION_MEMBER_H

#include "election/quorum.h"

#include <stdbool.h>
#include <stdint.h>

enum member_kind {
    MEMBER_NONE = 0, /* the slot is empty */
    MEMBER_COPY,
    MEMBER_WITNESS,
    MEMBER_LEARNER,
};

struct member {
    enum member_kind kind;
    uint32_t
        rank; /* lower campaigns earlier; compared among copies only; ties go to the lower id */
};

/* Changed by member_set_put() only: the masks say the same as the kinds. */
struct member_set {
    struct member at[NODE_SLOTS]; /* indexed by node id */
    node_mask copies, witnesses, learners;
};

enum member_problem {
    MEMBER_OK = 0,
    MEMBER_NO_COPY,            /* nobody could serve */
    MEMBER_EVEN_VOTERS,        /* an even number of voters survives no more than one less */
    MEMBER_TOO_MANY_WITNESSES, /* a majority without any copy would be possible */
    MEMBER_WRONG_WITNESSES,    /* neither 0 nor f witnesses for n = 2f+1 voters */
};

/* Empties the set. */
void member_set_init(struct member_set *set);

/* Adds or replaces node `id` (1..31). MEMBER_NONE removes it. */
void member_set_put(struct member_set *set, uint32_t id, enum member_kind kind, uint32_t rank);

/* Kind of `id`; MEMBER_NONE for ids out of range, so bytes from the network may be asked about. */
enum member_kind member_kind_of(const struct member_set *set, uint32_t id);

node_mask member_copies(const struct member_set *set);
node_mask member_witnesses(const struct member_set *set);
node_mask member_voters(const struct member_set *set); /* copies and witnesses */
node_mask member_all(const struct member_set *set);    /* voters and learners */

/* True when `id` votes. */
bool member_votes(const struct member_set *set, uint32_t id);

/* Place of `id` among the copies in (rank, id) order, from 0. For a node that is no copy: the
 * number of copies, i.e. after all of them (PROTOCOL 1.4: "witness: delay(c) with c = number of
 * copies"). */
uint32_t member_position(const struct member_set *set, uint32_t id);

/* Whether the voters form an allowed layout: f+1 copies with f witnesses (2C+1W, 3C+2W ...), or an
 * odd number of copies alone (1C, 3C, 5C ...). With at most f witnesses every majority has a copy.
 * Source: RULES B3, DESIGN "f+1 copies, f witnesses". */
enum member_problem member_check(const struct member_set *set);

/* One line for people; never NULL. */
const char *member_problem_text(enum member_problem problem);

#endif
