/* Suspicion from silence, closed connections and our own lateness (RULES E1, E2, E5). */
#include "election/detector.h"
#include "tests/unit/lib/run.h"

enum { MS = 1000, S = 1000 * 1000 };

static struct detector fresh(void)
{
    struct detector d;
    struct detector_config config = detector_config_default();
    detector_init(&d, &config);
    return d;
}

START_TEST(silence_is_borne_for_the_bound)
{
    struct detector d = fresh();
    uint64_t now = 10 * S;
    ck_assert_uint_eq(detector_bound(&d, 1, now), 600 * MS);
    ck_assert_uint_eq(detector_suspect_at(&d, 1, now, now), now + 600 * MS);
}
END_TEST

/* An idle leader beats every 200 ms, a slow network has long round trips; both have an end. */
START_TEST(bound_grows_with_what_was_measured)
{
    struct detector d = fresh();
    uint64_t now = 10 * S;
    detector_rtt(&d, 1, now, 150 * MS);
    ck_assert_uint_eq(detector_bound(&d, 1, now), 750 * MS);
    detector_rtt(&d, 1, now, 500 * MS);
    ck_assert_uint_eq(detector_bound(&d, 1, now), 2 * S);
    ck_assert_uint_eq(detector_bound(&d, 2, now), 600 * MS); /* another peer */
    d = fresh();
    detector_beat(&d, 1, true, now);
    detector_beat(&d, 1, false, now + 400 * MS);
    ck_assert_uint_eq(detector_bound(&d, 1, now + 400 * MS), 800 * MS);
    detector_beat(&d, 1, true, now + 1500 * MS); /* the first of another leadership */
    ck_assert_uint_eq(detector_bound(&d, 1, now + 1500 * MS), 800 * MS);
    ck_assert_uint_eq(detector_bound(&d, 1, now + 20 * S), 600 * MS); /* forgotten */
}
END_TEST

/* A round trip over a pause, ours or the peer's, is no distance: the next silence is borne as
 * before. */
START_TEST(pauses_are_no_round_trips)
{
    struct detector d = fresh();
    uint64_t now = 10 * S;
    detector_rtt(&d, 1, now, 3 * S); /* the peer's */
    ck_assert_uint_eq(detector_bound(&d, 1, now), 600 * MS);
    (void)detector_late(&d, now, now + 400 * MS);
    detector_rtt(&d, 1, now + 410 * MS, 410 * MS); /* ours */
    ck_assert_uint_eq(detector_bound(&d, 1, now + 410 * MS), 600 * MS);
    detector_rtt(&d, 1, now + 700 * MS, 200 * MS); /* begun after it */
    ck_assert_uint_eq(detector_bound(&d, 1, now + 700 * MS), 1000 * MS);
}
END_TEST

START_TEST(window_keeps_the_largest_for_some_seconds)
{
    struct detector_window w = {0};
    detector_window_add(&w, 10 * S, 5);
    detector_window_add(&w, 11 * S, 9);
    detector_window_add(&w, 12 * S, 1);
    ck_assert_uint_eq(detector_window_max(&w, 12 * S), 9);
    ck_assert_uint_eq(detector_window_max(&w, (11 + DETECTOR_WINDOW_SLOTS - 1) * S), 9);
    ck_assert_uint_eq(detector_window_max(&w, (11 + DETECTOR_WINDOW_SLOTS) * S), 1);
    ck_assert_uint_eq(detector_window_max(&w, 100 * S), 0);
    detector_window_add(&w, 100 * S, 2); /* nothing old comes back with a new slot */
    ck_assert_uint_eq(detector_window_max(&w, 100 * S), 2);
}
END_TEST

/* E2: "a closed connection is suspicion at once", and reopening alone does not end it. */
START_TEST(closed_connection_is_suspicion_at_once)
{
    struct detector d = fresh();
    uint64_t now = 10 * S;
    ck_assert(!detector_cut(&d, 1));
    detector_link(&d, 1, true);
    ck_assert(!detector_cut(&d, 1));
    detector_link(&d, 1, false);
    ck_assert(detector_cut(&d, 1));
    ck_assert_uint_eq(detector_suspect_at(&d, 1, now, now), 0);
    detector_heard(&d, 1); /* was in our hands already */
    ck_assert(detector_cut(&d, 1));
    detector_link(&d, 1, true);
    ck_assert(detector_cut(&d, 1));
    detector_heard(&d, 1);
    ck_assert(!detector_cut(&d, 1));
}
END_TEST

/* E5: the clock of silence stands still while we could not listen. */
START_TEST(own_lateness_is_not_silence)
{
    struct detector d = fresh();
    uint64_t now = 10 * S;
    ck_assert_uint_eq(detector_late(&d, now, now + 50 * MS), 0);
    ck_assert_uint_eq(detector_late(&d, now + 1, now), 0); /* early */
    ck_assert_uint_eq(detector_late(&d, now, now + 3 * S), 3 * S);
    ck_assert_uint_eq(detector_clock(&d, now + 3 * S), now);
    ck_assert_uint_eq(detector_suspect_at(&d, 1, now, now + 3 * S), now + 3600 * MS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("election/detector");
    TCase *tc = tcase_create("detector");
    tcase_add_test(tc, silence_is_borne_for_the_bound);
    tcase_add_test(tc, bound_grows_with_what_was_measured);
    tcase_add_test(tc, pauses_are_no_round_trips);
    tcase_add_test(tc, window_keeps_the_largest_for_some_seconds);
    tcase_add_test(tc, closed_connection_is_suspicion_at_once);
    tcase_add_test(tc, own_lateness_is_not_silence);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
