/* Quorum arithmetic and member sets against their definitions, over all small sets. */
#include "election/member.h"
#include "election/quorum.h"
#include "tests/unit/lib/run.h"

enum { NODES = 8, SETS = 1 << NODES };

/* All pairs: a majority is more than half of the members, counted one by one. */
START_TEST(majority_is_more_than_half)
{
    for (uint32_t m = 0; m < SETS; m++) {
        for (uint32_t a = 0; a < SETS; a++) {
            node_mask members = m << 1, acks = a << 1;
            uint32_t in = 0, all = 0;
            for (uint32_t id = 1; id <= NODES; id++) {
                all += (members >> id) & 1;
                in += (members & acks) >> id & 1;
            }
            ck_assert_int_eq(quorum_reached(acks, members), 2 * in > all);
            ck_assert_int_eq(quorum_lost(acks, members), 2 * (all - in) <= all);
        }
    }
}
END_TEST

/* What everything rests on: two quorums of the same members share a node. */
START_TEST(two_majorities_meet)
{
    for (uint32_t a = 0; a < SETS; a++)
        for (uint32_t b = 0; b < SETS; b++)
            if (quorum_reached(a << 1, 0xff << 1) && quorum_reached(b << 1, 0xff << 1))
                ck_assert_uint_ne(a & b, 0);
    for (uint32_t f = 0; f <= 15; f++) {
        ck_assert_uint_eq(quorum_faults(2 * f + 1), f);
        ck_assert_uint_eq(quorum_majority(2 * f + 1), f + 1);
    }
    ck_assert_uint_eq(quorum_faults(0), 0);
    ck_assert(!quorum_reached(~0u, 0));
}
END_TEST

/* The largest value that a majority has reached: tried one value after the other. */
START_TEST(value_is_what_a_majority_reached)
{
    uint64_t rng = 5;
    for (int run = 0; run < 20000; run++) {
        uint64_t values[NODE_SLOTS] = {0}, best = 0;
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        node_mask members = (node_mask)(rng >> 40) & (0xff << 1);
        for (uint32_t id = 1; id <= NODES; id++)
            values[id] = rng >> (3 * id) & 7;
        for (uint64_t v = 0; v < 8; v++) {
            node_mask reached = 0;
            for (uint32_t id = 1; id <= NODES; id++)
                if (values[id] >= v)
                    reached |= quorum_bit(id);
            if (quorum_reached(reached, members))
                best = v;
        }
        ck_assert_uint_eq(quorum_value(values, members), best);
    }
}
END_TEST

START_TEST(ready_when_the_fastest_majority_is)
{
    const uint64_t at[NODE_SLOTS] = {0, 50, 10, 30, 20, 40};
    node_mask five = 0x3e;
    ck_assert_uint_eq(quorum_ready_at(at, five, five), 30);
    ck_assert_uint_eq(quorum_ready_at(at, quorum_bit(1) | quorum_bit(2) | quorum_bit(5), five), 50);
    ck_assert_uint_eq(quorum_ready_at(at, quorum_bit(1) | quorum_bit(2), five), UINT64_MAX);
    ck_assert_uint_eq(quorum_ready_at(at, five | 0x40, 0), UINT64_MAX);
}
END_TEST

static struct member_set layout(uint32_t copies, uint32_t witnesses)
{
    struct member_set set;
    member_set_init(&set);
    for (uint32_t id = 1; id <= copies + witnesses; id++)
        member_set_put(&set, id, id <= copies ? MEMBER_COPY : MEMBER_WITNESS, 10 - id);
    return set;
}

/* Every layout up to 9 nodes: allowed exactly when any majority holds a copy and no node is in
 * vain. */
/* Each member once, in order, from the lowest id to the highest. */
START_TEST(each_member_comes_once)
{
    for (uint32_t i = 0; i < SETS; i++) {
        node_mask set = (i & 0x7f) << 1 | (i >> 7) << NODE_ID_MAX, seen = 0;
        quorum_each(id, set) {
            ck_assert_uint_eq(seen >> id, 0);
            seen |= quorum_bit(id);
        }
        ck_assert_uint_eq(seen, set);
    }
}
END_TEST

START_TEST(layouts)
{
    for (uint32_t copies = 0; copies <= 9; copies++) {
        for (uint32_t witnesses = 0; copies + witnesses <= 9; witnesses++) {
            struct member_set set = layout(copies, witnesses);
            uint32_t n = copies + witnesses;
            bool fine = n % 2 == 1 && (witnesses == 0 || witnesses == (n - 1) / 2);
            ck_assert_int_eq(member_check(&set) == MEMBER_OK, fine);
            for (uint32_t acks = 0; fine && acks < 1u << n; acks++)
                if (quorum_reached(acks << 1, member_voters(&set)))
                    ck_assert_uint_ne((acks << 1) & member_copies(&set), 0);
        }
    }
}
END_TEST

START_TEST(members_have_kinds_and_places)
{
    struct member_set set = layout(3, 2);
    member_set_put(&set, 7, MEMBER_LEARNER, 0);
    ck_assert_uint_eq(member_voters(&set), 0x3e);
    ck_assert_uint_eq(member_all(&set), 0xbe);
    ck_assert(member_votes(&set, 5) && !member_votes(&set, 7) && !member_votes(&set, 6));
    ck_assert_int_eq(member_kind_of(&set, 0), MEMBER_NONE);
    ck_assert_int_eq(member_kind_of(&set, 4000), MEMBER_NONE);
    ck_assert_uint_eq(member_position(&set, 3), 0); /* the lowest rank */
    ck_assert_uint_eq(member_position(&set, 1), 2);
    ck_assert_uint_eq(member_position(&set, 4), 3); /* witnesses come after all copies */
    member_set_put(&set, 1, MEMBER_COPY, 7);        /* a tie goes to the lower id */
    ck_assert_uint_eq(member_position(&set, 1), 0);
    ck_assert_uint_eq(member_position(&set, 3), 1);
    member_set_put(&set, 1, MEMBER_NONE, 7);
    ck_assert_uint_eq(member_copies(&set), 0x0c);
    member_set_put(&set, 7, MEMBER_WITNESS, 0); /* the learner becomes one */
    ck_assert_uint_eq(member_witnesses(&set), 0xb0);
    ck_assert_uint_eq(member_all(&set), 0xbc);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("election/quorum");
    TCase *tc = tcase_create("quorum");
    tcase_add_test(tc, majority_is_more_than_half);
    tcase_add_test(tc, two_majorities_meet);
    tcase_add_test(tc, value_is_what_a_majority_reached);
    tcase_add_test(tc, ready_when_the_fastest_majority_is);
    tcase_add_test(tc, each_member_comes_once);
    tcase_add_test(tc, layouts);
    tcase_add_test(tc, members_have_kinds_and_places);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
