/* The candidate strategy: who stands when (PROTOCOL 1.4, 1.5). 3 copies and 2 witnesses. */
#include "election/strategy.h"
#include "tests/unit/lib/run.h"

#include <string.h>

enum { DELTA = 20000, NOW = 5000000 };

static uint64_t state[STRATEGY_STATE_WORDS];
static const uint8_t kinds[] = {MEMBER_NONE, MEMBER_COPY,    MEMBER_COPY,
                                MEMBER_COPY, MEMBER_WITNESS, MEMBER_WITNESS};
static const uint32_t places[] = {0, 0, 1, 2, 3, 4}, ids[] = {1, 2, 3, 4, 5};
static const struct strategy_nodes nodes = {
    .count = 5, .placed = 5, .kind = kinds, .place = places, .at = ids};
static struct ballot_message messages[8];
static struct strategy_output out;
static const struct strategy_ops *const ops = &strategy_candidate;

static void setup(void)
{
    memset(state, 0xff, sizeof state);
    out = (struct strategy_output){.room = 8, .messages = messages};
    ops->init(state);
}

static struct strategy_view view(uint32_t self, uint64_t now)
{
    return (struct strategy_view){.now = now,
                                  .random = 0,
                                  .self = self,
                                  .term = 4,
                                  .last = {4, 9},
                                  .delta_us = DELTA,
                                  .rtt_us = 1000,
                                  .nodes = &nodes};
}

static uint64_t delay_of(uint32_t self)
{
    struct strategy_view v = view(self, NOW);
    ops->on_suspect(state, &v, &out);
    ck_assert_uint_eq(out.nominate, 0);
    return out.wake_at - NOW;
}

/* A whole ballot between two copies, witnesses behind all. */
START_TEST(copies_stand_one_after_the_other)
{
    ck_assert_uint_eq(delay_of(1), 0);
    ck_assert_uint_eq(delay_of(2), DELTA);
    ck_assert_uint_eq(delay_of(3), 2 * DELTA);
    ck_assert_uint_eq(delay_of(4), 3 * DELTA);
    ck_assert_uint_eq(delay_of(5), 3 * DELTA);
}
END_TEST

/* "Position = campaign order": the list of the last leader beats the ranks; who led comes last. */
START_TEST(published_list_is_the_order)
{
    static const uint8_t list[] = {3, 1};
    ops->on_successors(state, list, 2);
    ck_assert_uint_eq(delay_of(3), 0);
    ck_assert_uint_eq(delay_of(1), DELTA);
    ck_assert_uint_eq(delay_of(2), 2 * DELTA);
}
END_TEST

START_TEST(copy_nominates_itself_when_its_time_has_come)
{
    uint64_t at = NOW + delay_of(2);
    struct strategy_view v = view(2, at - 1);
    ops->on_timer(state, &v, &out);
    ck_assert_uint_eq(out.nominate, 0);
    v.now = at;
    ops->on_timer(state, &v, &out);
    ck_assert_uint_eq(out.nominate, 2);
    ck_assert_uint_eq(out.message_count, 0);
    ck_assert_uint_eq(out.wake_at, UINT64_MAX);
}
END_TEST

/* "After k failed rounds p := floor(p * 0.8^k), otherwise a dead high rank starves the group". */
START_TEST(rank_decays_with_failed_rounds)
{
    struct strategy_view v = view(3, NOW);
    uint64_t first = delay_of(3), delay = 0;
    for (int round = 1; round <= 6; round++)
        ops->on_retry(state, &v, 0, true, &out);
    delay = delay_of(3);
    ck_assert_uint_lt(delay, first);
    ck_assert_uint_eq(delay, 0); /* the random word is 0: no jitter */
    ops->on_leader(state, &v, &out);
    ck_assert_uint_eq(out.wake_at, UINT64_MAX);
    ck_assert_uint_eq(delay_of(3), first); /* forgotten with a leader */
}
END_TEST

/* Making way for a better candidate is no failed round, and however often it is done, the turn
 * stays: before it nothing, after it no more waiting than asked for. */
START_TEST(yielding_keeps_the_turn)
{
    struct strategy_view v = view(2, NOW);
    (void)delay_of(2);
    for (int i = 0; i < 10; i++)
        ops->on_retry(state, &v, NOW + 500, false, &out);
    ck_assert_uint_eq(out.wake_at, NOW + DELTA);
    for (int i = 0; i < 10; i++)
        ops->on_retry(state, &v, NOW + 3 * DELTA, false, &out);
    ck_assert_uint_eq(out.wake_at, NOW + 3 * DELTA);
}
END_TEST

static void answer(uint32_t from, uint64_t term, uint64_t index, uint32_t leader)
{
    struct strategy_view v = view(4, NOW + 3 * DELTA + 100);
    struct ballot_message m = {.kind = BALLOT_MSG_NOMINATE_ANSWER,
                               .from = from,
                               .to = 4,
                               .last = {term, index},
                               .leader = leader};
    ops->on_message(state, &v, &m, &out);
}

/* "choose max by (lastTerm, lastIdx, -rank) among those not seeing a leader, send Nominate". */
START_TEST(witness_nominates_the_best_copy)
{
    struct strategy_view v = view(4, NOW + delay_of(4));
    ops->on_timer(state, &v, &out);
    ck_assert_uint_eq(out.message_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_int_eq(out.messages[i].kind, BALLOT_MSG_NOMINATE_QUERY);
    ck_assert_uint_eq(out.nominate, 0);
    answer(1, 4, 7, 0);
    answer(3, 4, 9, 0);
    answer(2, 4, 9, 0);  /* as good, and before it in the order */
    answer(5, 9, 99, 0); /* no copy */
    answer(1, 5, 1, 2);  /* sees a leader */
    v.now = out.wake_at;
    ops->on_timer(state, &v, &out);
    ck_assert_uint_eq(out.message_count, 1);
    ck_assert_int_eq(out.messages[0].kind, BALLOT_MSG_NOMINATE);
    ck_assert_uint_eq(out.messages[0].to, 2);
    ck_assert_uint_eq(out.nominate, 2);
    ck_assert_uint_gt(out.wake_at, v.now); /* and all over again if that leads to nothing */
}
END_TEST

START_TEST(nominated_copy_stands_unless_it_sees_a_leader)
{
    struct strategy_view v = view(3, NOW);
    struct ballot_message m = {.kind = BALLOT_MSG_NOMINATE, .from = 4, .to = 3};
    v.leader = 1;
    ops->on_message(state, &v, &m, &out);
    ck_assert_uint_eq(out.nominate, 0);
    v.leader = 0;
    ops->on_message(state, &v, &m, &out);
    ck_assert_uint_eq(out.nominate, 3);
    v.self = 5; /* a witness never stands because of a strategy (RULES E3) */
    ops->on_message(state, &v, &m, &out);
    ck_assert_uint_eq(out.nominate, 0);
}
END_TEST

START_TEST(query_is_answered_truly)
{
    struct strategy_view v = view(3, NOW);
    struct ballot_message m = {.kind = BALLOT_MSG_NOMINATE_QUERY, .from = 4, .to = 3};
    v.leader = 2;
    ops->on_message(state, &v, &m, &out);
    ck_assert_uint_eq(out.message_count, 1);
    ck_assert_int_eq(out.messages[0].kind, BALLOT_MSG_NOMINATE_ANSWER);
    ck_assert_uint_eq(out.messages[0].to, 4);
    ck_assert_uint_eq(out.messages[0].leader, 2);
    ck_assert_uint_eq(out.messages[0].last.index, 9);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("election/candidate");
    TCase *tc = tcase_create("candidate");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, copies_stand_one_after_the_other);
    tcase_add_test(tc, published_list_is_the_order);
    tcase_add_test(tc, copy_nominates_itself_when_its_time_has_come);
    tcase_add_test(tc, rank_decays_with_failed_rounds);
    tcase_add_test(tc, yielding_keeps_the_turn);
    tcase_add_test(tc, witness_nominates_the_best_copy);
    tcase_add_test(tc, nominated_copy_stands_unless_it_sees_a_leader);
    tcase_add_test(tc, query_is_answered_truly);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
