/* The figures of `tally elect`: each one from a history written by hand, with an answer that can be
 * worked out on paper; and the queue that the histories of simulations come from. */
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tools/elect/queue.h"
#include "tools/elect/stats.h"

static struct stats s;

/* Node 1 of five leads in term 1, all follow, and counting begins at 1,000 us. */
static void begin_led(void)
{
    stats_init(&s, 5);
    stats_begin(&s);
    stats_lead(&s, 0, 1, true, 1);
    for (uint32_t id = 2; id <= 5; id++)
        stats_follow(&s, 0, id, 1);
    ck_assert_uint_eq(s.current, 1);
    stats_watch(&s, 1000);
}

/* Goal: the way to a leader counts nothing; a quiet run has no election and no figure to divide. */
START_TEST(quiet_run)
{
    begin_led();
    stats_end(&s, 5000);
    struct stats_summary f = stats_summary(&s);
    ck_assert(f.messages_per_election < 0 && f.leader_ms_p50 < 0 && f.elections_per_failure < 0);
    ck_assert(f.leaderless_share == 0);
    ck_assert_uint_eq(s.elections, 0);
    ck_assert_uint_eq(s.splits, 0);
    stats_done(&s);
}
END_TEST

/* Goal: time to leader runs from the death until more than half of the living follow. */
START_TEST(time_to_leader)
{
    begin_led();
    stats_failure(&s);
    stats_alive(&s, 2000, 1, false);
    ck_assert_uint_eq(s.current, 0);
    stats_lead(&s, 2500, 2, true, 2);
    stats_follow(&s, 2600, 3, 2);
    ck_assert_uint_eq(s.current, 0); /* two of four living are not more than half */
    stats_follow(&s, 3000, 4, 2);
    ck_assert_uint_eq(s.current, 2);
    stats_end(&s, 11000);
    struct stats_summary f = stats_summary(&s);
    ck_assert_double_eq_tol(f.leader_ms_p50, 1.0, 1e-9);
    ck_assert_double_eq_tol(f.leader_ms_p99, 1.0, 1e-9);
    ck_assert_double_eq_tol(f.leaderless_share, 0.1, 1e-9); /* 1,000 of 10,000 us */
    ck_assert_double_eq_tol(f.elections_per_failure, 1.0, 1e-9);
    ck_assert_uint_eq(s.unresolved, 0);
    stats_done(&s);
}
END_TEST

/* Goal: a cluster that stays without a leader counts with the time it waited. */
START_TEST(never_led_again)
{
    begin_led();
    stats_failure(&s);
    stats_alive(&s, 2000, 1, false);
    stats_end(&s, 6000);
    ck_assert_uint_eq(s.unresolved, 1);
    ck_assert_double_eq_tol(stats_wait_ms(&s, 1), 4.0, 1e-9);
    ck_assert_double_eq_tol(stats_summary(&s).leaderless_share, 0.8, 1e-9);
    stats_done(&s);
}
END_TEST

/* Goal: whoever is followed but reaches no majority does not lead the cluster. */
START_TEST(cut_leader)
{
    begin_led();
    stats_cut(&s, 2000, 1, true);
    ck_assert_uint_eq(s.current, 0);
    stats_cut(&s, 3000, 1, false);
    ck_assert_uint_eq(s.current, 1);
    stats_end(&s, 4000);
    ck_assert_uint_eq(s.unled_us, 1000);
    ck_assert_uint_eq(s.elections, 1);
    stats_done(&s);
}
END_TEST

/* Goal: two who lead without terms are a split brain, for as long as both live and lead. */
START_TEST(split_brain_raw)
{
    stats_init(&s, 5);
    stats_begin(&s);
    stats_lead(&s, 0, 1, true, 0);
    stats_watch(&s, 0);
    stats_lead(&s, 1000, 2, true, 0); /* the split begins */
    stats_lead(&s, 1500, 3, true, 0); /* a third leader does not make a second split */
    stats_lead(&s, 2000, 1, false, 0);
    ck_assert(s.split);
    stats_alive(&s, 4000, 3, false); /* only node 2 is left */
    ck_assert(!s.split);
    stats_lead(&s, 5000, 4, true, 0); /* another one, not over when the run is */
    stats_end(&s, 5500);
    ck_assert_uint_eq(s.splits, 2);
    ck_assert_uint_eq(s.split_us, 3500);
    ck_assert_uint_eq(s.stales, 0);
    stats_done(&s);
}
END_TEST

/* Goal: leaders of different terms are a stale leader and no split brain; of one term they are. */
START_TEST(split_brain_in_a_term)
{
    begin_led();
    stats_lead(&s, 2000, 2, true, 2);
    stats_lead(&s, 3000, 1, false, 2);
    ck_assert_uint_eq(s.stales, 1);
    ck_assert_uint_eq(s.stale_us, 1000);
    ck_assert_uint_eq(s.splits, 0);
    stats_lead(&s, 4000, 3, true, 2);
    stats_lead(&s, 4700, 3, false, 2);
    stats_end(&s, 5000);
    ck_assert_uint_eq(s.splits, 1);
    ck_assert_uint_eq(s.split_us, 700);
    stats_done(&s);
}
END_TEST

/* Goal: messages per election over all runs, and the busiest node of each run; none before the
 * trouble begins. */
START_TEST(messages)
{
    stats_init(&s, 3);
    for (uint64_t run = 0; run < 2; run++) {
        stats_begin(&s);
        stats_sent(&s, 1); /* not counted yet */
        stats_lead(&s, 0, 1, true, 0);
        stats_watch(&s, 0);
        stats_alive(&s, 10, 1, false);
        for (uint64_t i = 0; i < 4 + run; i++) {
            stats_sent(&s, 2);
            stats_received(&s, 3);
        }
        stats_sent(&s, 3);
        stats_lead(&s, 20, 3, true, 0);
        stats_follow(&s, 20, 2, 3);
        stats_end(&s, 30);
    }
    ck_assert_uint_eq(s.messages, 5 + 6);
    ck_assert_uint_eq(s.elections, 2);
    struct stats_summary f = stats_summary(&s);
    ck_assert_double_eq_tol(f.messages_per_election, 5.5, 1e-9);
    ck_assert_double_eq_tol(f.busiest_node, (5 + 6) / 2.0, 1e-9); /* node 3: all but its own loss */
    stats_done(&s);
}
END_TEST

/* Goal: quantiles are samples: of 100 waits of 1..100 ms the 50th and the 99th. */
START_TEST(quantiles)
{
    stats_init(&s, 3);
    for (uint64_t ms = 100; ms > 0; ms--) {
        stats_begin(&s);
        stats_watch(&s, 0);
        stats_lead(&s, ms * 1000, 1, true, 0);
        stats_follow(&s, ms * 1000, 2, 1);
        stats_end(&s, 200 * 1000);
    }
    ck_assert_double_eq_tol(stats_wait_ms(&s, 0.5), 50, 1e-9);
    ck_assert_double_eq_tol(stats_wait_ms(&s, 0.99), 99, 1e-9);
    ck_assert_double_eq_tol(stats_wait_ms(&s, 1), 100, 1e-9);
    stats_done(&s);
}
END_TEST

/* Goal: events come out by time, those of one moment in the order they went in, near and far ones
 * alike, also when new ones are put in on the way. */
START_TEST(queue_order)
{
    struct queue q;
    struct event ev;
    uint64_t rng = 1, at = 0, taken = 0, put = 0, *times;
    uint64_t last_value = 0;

    queue_init(&q);
    times = calloc(40000, sizeof *times);
    while (put < 40000 || q.count > 0) {
        for (int i = 0; i < 3 && put < 40000; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            uint64_t far = (rng >> 60) == 0 ? 40u * QUEUE_SLOTS : (rng >> 62) * 700;
            times[put] = q.now + (rng >> 33) % (far + 3);
            queue_push(&q, times[put], (struct event){1, 2, put});
            put++;
        }
        if (!queue_pop(&q, &ev))
            break;
        ck_assert_uint_eq(q.now, times[ev.value]);
        ck_assert_uint_ge(q.now, at);
        ck_assert(q.now > at || taken == 0 || ev.value > last_value);
        at = q.now;
        last_value = ev.value;
        taken++;
    }
    ck_assert_uint_eq(taken, 40000);
    free(times);
    queue_done(&q);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elect/stats");
    TCase *tc = tcase_create("figures");

    tcase_add_test(tc, quiet_run);
    tcase_add_test(tc, time_to_leader);
    tcase_add_test(tc, never_led_again);
    tcase_add_test(tc, cut_leader);
    tcase_add_test(tc, split_brain_raw);
    tcase_add_test(tc, split_brain_in_a_term);
    tcase_add_test(tc, messages);
    tcase_add_test(tc, quantiles);
    tcase_add_test(tc, queue_order);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
