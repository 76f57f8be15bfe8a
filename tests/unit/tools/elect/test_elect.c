/* `tally elect` as a whole: the strategies and ballots that ship, in simulated clusters. */
#include <string.h>

#include "tests/unit/lib/run.h"
#include "tools/elect/sweep.h"

static const char *const all[] = {"candidate", "bully", "successor", "invitation", "ring"};
enum { ALL = sizeof all / sizeof *all };

static struct elect_config config_of(const char *strategy, uint32_t nodes, enum profile profile,
                                     bool raw)
{
    struct elect_config config = {
        .strategy = strategy_find(strategy),
        .profile = profile,
        .nodes = nodes,
        .candidates = raw ? nodes : elect_voters_default(nodes),
        .voters = elect_voters_default(nodes),
        .raw = raw,
        .runs = 1,
        .seed = 1,
    };

    ck_assert_ptr_nonnull(config.strategy);
    return config;
}

static struct elect_row sweep(const struct elect_config *config)
{
    struct elect_row row;

    elect_sweep(config, NULL, NULL, &row);
    return row;
}

/* Messages of one raw election after the first in order died, noticed by `initiator` (0: by all).
 */
static double messages(const char *strategy, uint32_t nodes, uint32_t initiator)
{
    struct elect_config config = config_of(strategy, nodes, PROFILE_CRASH, true);

    config.initiator = initiator;
    struct elect_row row = sweep(&config);
    ck_assert_uint_eq(row.elections, 1);
    ck_assert_uint_eq(row.unresolved, 0);
    return row.figures.messages_per_election;
}

static const uint32_t sizes[] = {3, 4, 5, 7, 10, 25, 100, 1000};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* PROTOCOL 2.2: (n-1)^2 + n-2 when the lowest begins and when all notice; n-1 when the highest
 * living one does. */
START_TEST(bully_formula)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i];
        double worst = (double)(n - 1) * (n - 1) + n - 2;

        ck_assert_double_eq(messages("bully", n, n), worst);
        ck_assert_double_eq(messages("bully", n, 0), worst);
        ck_assert_double_eq(messages("bully", n, 2), n - 1);
    }
}
END_TEST

/* n-1 announcements when a candidate notices; c queries, a answers and a nomination more when an
 * ordinary node does: all of c candidates but the dead leader answer. */
START_TEST(candidate_formula)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i], c = n < 10 ? 2 : 5;
        struct elect_config config = config_of("candidate", n, PROFILE_CRASH, true);

        ck_assert_double_eq(messages("candidate", n, 2), n - 1);
        ck_assert_double_eq(messages("candidate", n, 0), n - 1);
        config.candidates = c;
        config.initiator = n;
        ck_assert_double_eq(sweep(&config).figures.messages_per_election,
                            c + (c - 1) + 1 + (n - 1));
    }
}
END_TEST

/* k+1 questions, one answer and n-2 announcements, with k silent ones before the first that lives;
 * here k = 0. Whoever is first in line asks nobody. */
START_TEST(successor_formula)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i];

        ck_assert_double_eq(messages("successor", n, n), 1 + 1 + n - 2);
        ck_assert_double_eq(messages("successor", n, 2), n - 2);
    }
}
END_TEST

/* 2n for one initiator: two laps, and in each the dead leader is tried. Every token that arrives
 * is confirmed, which the formula leaves out: n-1 more per lap. */
START_TEST(ring_formula)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i];

        ck_assert_double_eq(messages("ring", n, n), 2 * n + 2 * (n - 1));
        ck_assert_double_eq(messages("ring", n, 2), 2 * n + 2 * (n - 1));
    }
}
END_TEST

/* Ballots add 2(v-1) pre-vote and 2(v-1) vote messages, less what the dead leader did not answer,
 * and n-1 first Appends in place of the announcements (PROTOCOL 2.2). */
START_TEST(ballots_formula)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t n = sizes[i], v = elect_voters_default(n);
        struct elect_config config = config_of("candidate", n, PROFILE_CRASH, false);

        config.initiator = 2;
        ck_assert_double_eq(sweep(&config).figures.messages_per_election,
                            4 * (v - 1) - 2 + (n - 1));
    }
}
END_TEST

/* With ballots no strategy ever has two leaders in a term, whatever goes wrong, and the cluster is
 * led again in the end. */
START_TEST(ballots_never_split)
{
    for (size_t s = 0; s < ALL; s++)
        for (enum profile p = PROFILE_CRASH; p < PROFILE_COUNT; p++) {
            struct elect_config config = config_of(all[s], 5, p, false);

            config.runs = 10;
            struct elect_row row = sweep(&config);
            ck_assert_uint_eq(row.split_brains, 0);
            ck_assert_msg(row.unresolved == 0, "%s %s", all[s], profile_name(p));
        }
}
END_TEST

/* The negative control (PROTOCOL 2.3): the book's versions split where the book's assumption, that
 * silence means death, does not hold. */
START_TEST(raw_splits)
{
    for (size_t s = 0; s < ALL; s++) {
        struct elect_config config = config_of(all[s], 7, PROFILE_PARTITION, true);

        config.runs = 5;
        ck_assert_msg(sweep(&config).split_brains >= 5, "%s", all[s]);
    }
    for (size_t s = 0; s < 2; s++) { /* candidate: delta < round trip; bully: delay > T_ok */
        struct elect_config config = config_of(all[s], 7, PROFILE_DELAY, true);

        config.runs = 5;
        ck_assert_msg(sweep(&config).split_brains > 0, "%s", all[s]);
    }
}
END_TEST

/* Same seed, same row; another seed, another one. */
START_TEST(deterministic)
{
    for (size_t s = 0; s < ALL; s++) {
        struct elect_config config = config_of(all[s], 25, PROFILE_DELAY, s % 2 == 0);

        config.runs = 2;
        struct elect_row a = sweep(&config), b = sweep(&config);
        ck_assert(memcmp(&a.figures, &b.figures, sizeof a.figures) == 0);
        ck_assert_uint_eq(a.events, b.events);
        config.seed = 2;
        ck_assert_uint_ne(sweep(&config).events, a.events);
    }
}
END_TEST

/* Every node votes: the largest cluster the ballot layer has room for. */
START_TEST(all_vote)
{
    for (size_t s = 0; s < ALL; s++) {
        struct elect_config config = config_of(all[s], 31, PROFILE_TOP_K, false);

        config.voters = config.candidates = 31;
        struct elect_row row = sweep(&config);
        ck_assert_uint_eq(row.unresolved, 0);
        ck_assert_uint_ge(row.elections, 1);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elect");
    TCase *tc = tcase_create("elect");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, bully_formula);
    tcase_add_test(tc, candidate_formula);
    tcase_add_test(tc, successor_formula);
    tcase_add_test(tc, ring_formula);
    tcase_add_test(tc, ballots_formula);
    tcase_add_test(tc, ballots_never_split);
    tcase_add_test(tc, raw_splits);
    tcase_add_test(tc, deterministic);
    tcase_add_test(tc, all_vote);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
