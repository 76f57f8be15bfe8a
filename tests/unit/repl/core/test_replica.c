/* Whole clusters of replicas under faults: nothing committed is lost, copies agree, a healed
 * majority goes on; and the checks object when a bug is planted. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/cluster.h"

enum { SEEDS = 40, SEEDS_NIGHTLY = 2000 };

static const struct layout {
    uint32_t copies, witnesses;
} layouts[] = {{1, 0}, {2, 1}, {3, 0}, {3, 2}};

static uint64_t seeds(void)
{
    const char *nightly = getenv("TALLY_NIGHTLY");
    return nightly && nightly[0] ? SEEDS_NIGHTLY : SEEDS;
}

static struct cluster_result run(const struct layout *l, uint64_t seed, enum planted_bug bug)
{
    struct cluster_options options = {.copies = l->copies,
                                      .witnesses = l->witnesses,
                                      .seed = seed,
                                      .bug = bug,
                                      .faults_us = 20 * TIME_S,
                                      .trace = getenv("TALLY_TRACE") != NULL};
    return cluster_run(&options);
}

/* TALLY_SEED=N runs that one alone. */
START_TEST(faults_lose_nothing_and_healing_helps)
{
    const struct layout *l = &layouts[_i];
    const char *only = getenv("TALLY_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, last = only ? first : seeds();
    uint64_t committed = 0, elections = 0, drafts = 0, rescues = 0, snapshots = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct cluster_result r = run(l, seed, BUG_NONE);
        ck_assert_msg(!r.complaint, "%uC+%uW seed %llu: %s: %s", l->copies, l->witnesses,
                      (unsigned long long)seed, r.complaint, r.detail);
        committed += r.committed;
        elections += r.elections;
        drafts += r.drafts;
        rescues += r.rescues;
        snapshots += r.snapshots;
    }
    printf(
        "# %uC+%uW: seeds %llu to %llu, committed %llu, elections %llu, drafts %llu, rescues %llu, "
        "snapshots %llu\n",
        l->copies, l->witnesses, (unsigned long long)first, (unsigned long long)last,
        (unsigned long long)committed, (unsigned long long)elections, (unsigned long long)drafts,
        (unsigned long long)rescues, (unsigned long long)snapshots);
    ck_assert_uint_gt(committed, 0);
}
END_TEST

START_TEST(checks_object_to_planted_bugs)
{
    static const enum planted_bug bugs[] = {BUG_FORGETS_SYNC, BUG_LYING_ENSURE, BUG_WHOLE_TOO_SOON};
    for (uint64_t seed = 1; seed <= 60; seed++)
        if (run(&layouts[1], seed, bugs[_i]).complaint)
            return;
    ck_abort_msg("60 seeds and no check noticed planted bug %d", (int)bugs[_i]);
}
END_TEST

START_TEST(one_seed_is_one_run)
{
    ck_assert_uint_eq(run(&layouts[1], 7, BUG_NONE).trace_hash,
                      run(&layouts[1], 7, BUG_NONE).trace_hash);
    ck_assert_uint_ne(run(&layouts[1], 7, BUG_NONE).trace_hash,
                      run(&layouts[1], 8, BUG_NONE).trace_hash);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core");
    TCase *tc = tcase_create("replica");
    tcase_set_timeout(tc, 3600);
    tcase_add_loop_test(tc, faults_lose_nothing_and_healing_helps, 0, 4);
    tcase_add_loop_test(tc, checks_object_to_planted_bugs, 0, 3);
    tcase_add_test(tc, one_seed_is_one_run);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
