#include "election/member.h"

#include <assert.h>
#include <string.h>

void member_set_init(struct member_set *set)
{
    memset(set, 0, sizeof *set);
}

void member_set_put(struct member_set *set, uint32_t id, enum member_kind kind, uint32_t rank)
{
    node_mask bit = quorum_bit(id);

    assert(id != NODE_ID_NONE);
    set->copies = kind == MEMBER_COPY ? set->copies | bit : set->copies & ~bit;
    set->witnesses = kind == MEMBER_WITNESS ? set->witnesses | bit : set->witnesses & ~bit;
    set->learners = kind == MEMBER_LEARNER ? set->learners | bit : set->learners & ~bit;
    set->at[id] = (struct member){.kind = kind, .rank = kind == MEMBER_NONE ? 0 : rank};
}

enum member_kind member_kind_of(const struct member_set *set, uint32_t id)
{
    return id == NODE_ID_NONE || id > NODE_ID_MAX ? MEMBER_NONE : set->at[id].kind;
}

node_mask member_copies(const struct member_set *set)
{
    return set->copies;
}

node_mask member_witnesses(const struct member_set *set)
{
    return set->witnesses;
}

node_mask member_voters(const struct member_set *set)
{
    return set->copies | set->witnesses;
}

node_mask member_all(const struct member_set *set)
{
    return member_voters(set) | set->learners;
}

bool member_votes(const struct member_set *set, uint32_t id)
{
    enum member_kind kind = member_kind_of(set, id);

    return kind == MEMBER_COPY || kind == MEMBER_WITNESS;
}

static bool campaigns_before(const struct member_set *set, uint32_t a, uint32_t b)
{
    if (set->at[a].rank != set->at[b].rank)
        return set->at[a].rank < set->at[b].rank;
    return a < b;
}

uint32_t member_position(const struct member_set *set, uint32_t id)
{
    uint32_t position = 0;
    bool copy = member_kind_of(set, id) == MEMBER_COPY;

    quorum_each(other, set->copies & ~quorum_bit(id))
        position += !copy || campaigns_before(set, other, id);
    return position;
}

enum member_problem member_check(const struct member_set *set)
{
    uint32_t copies = quorum_count(member_copies(set));
    uint32_t witnesses = quorum_count(member_witnesses(set));
    uint32_t faults = quorum_faults(copies + witnesses);

    if (copies == 0)
        return MEMBER_NO_COPY;
    if ((copies + witnesses) % 2 == 0)
        return MEMBER_EVEN_VOTERS;
    if (witnesses > faults)
        return MEMBER_TOO_MANY_WITNESSES;
    if (witnesses != 0 && witnesses != faults)
        return MEMBER_WRONG_WITNESSES;
    return MEMBER_OK;
}

const char *member_problem_text(enum member_problem problem)
{
    switch (problem) {
    case MEMBER_OK:
        return "ok";
    case MEMBER_NO_COPY:
        return "no copy: nobody would hold the data";
    case MEMBER_EVEN_VOTERS:
        return "an even number of voters survives no more failures than one voter less";
    case MEMBER_TOO_MANY_WITNESSES:
        return "more witnesses than failures survived: a majority could hold no copy";
    case MEMBER_WRONG_WITNESSES:
        return "2f+1 voters need f witnesses or none";
    }
    return "unknown";
}
