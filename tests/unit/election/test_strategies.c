/* The strategies as the book has them: exact message counts of PROTOCOL 2.2, and who leads. */
#include "tests/unit/election/strategies.h"
#include "tests/unit/lib/run.h"

#include <string.h>

static const uint32_t sizes[] = {3, 5, 10, 100, 1000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static struct book book;

/* Everybody alive but the leader itself follows `leader`, and there was no other. */
static void check_leader(uint32_t leader)
{
    ck_assert_uint_eq(book.leader, leader);
    ck_assert_uint_eq(book.leaders, 1);
    ck_assert_uint_eq(book.followers, book.nodes - book.dead);
}

static void check_bully(uint64_t n)
{
    check_leader(2);
    ck_assert_uint_eq(book.sent[BALLOT_MSG_ELECTION], n * (n - 1) / 2);
    ck_assert_uint_eq(book.sent[BALLOT_MSG_ELECTION_OK], (n - 1) * (n - 2) / 2);
    ck_assert_uint_eq(book.sent[BALLOT_MSG_COORDINATOR], n - 2);
    ck_assert_uint_eq(book_total(&book), (n - 1) * (n - 1) + n - 2);
}

/* "The lowest node starts or all detect at once": 5, 19, 89, 9,899 and 998,999 messages. */
START_TEST(bully_counts)
{
    static const uint64_t totals[SIZES] = {5, 19, 89, 9899, 998999};
    uint32_t n = sizes[_i];

    book_elect(&book, &strategy_bully, n, n, 1, n);
    check_bully(n);
    ck_assert_uint_eq(book_total(&book), totals[_i]);
    book_elect(&book, &strategy_bully, n, n, 1, 0);
    check_bully(n);
    book_elect(&book, &strategy_bully, n, n, 1, 2); /* "best case: next-highest starts" */
    check_leader(2);
    ck_assert_uint_eq(book_total(&book), n - 1);
}
END_TEST

/* "k dead successors first: (k+1) probes + 1 ack + (n-2) announcements". */
START_TEST(successor_counts)
{
    uint32_t n = sizes[_i];

    for (uint32_t k = 0; k + 3 <= n && k <= 5; k++) {
        book_elect(&book, &strategy_successor, n, n, 1 + k, n);
        check_leader(2 + k);
        if (2 + k == n)
            continue; /* the initiator itself is the last one in line */
        ck_assert_uint_eq(book.sent[BALLOT_MSG_PROBE], k + 1);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_ALIVE], 1);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_COORDINATOR], n - 2);
        ck_assert_uint_eq(book_total(&book), k + 1 + 1 + n - 2);
    }
}
END_TEST

/* "c candidates (a alive), one initiator: c queries + a answers + 1 nomination + (n-1)". */
START_TEST(candidate_counts)
{
    uint32_t n = sizes[_i], c = n / 2 + 1;

    book_elect(&book, &strategy_candidate, n, c, 1, n);
    check_leader(2);
    ck_assert_uint_eq(book.sent[BALLOT_MSG_NOMINATE_QUERY], c);
    ck_assert_uint_eq(book.sent[BALLOT_MSG_NOMINATE_ANSWER], c - 1);
    ck_assert_uint_eq(book_total(&book), c + (c - 1) + 1 + n - 1);
}
END_TEST

/* "2n for one initiator": a lap for the token and one for the announcement, the try at the dead
 * node included. Each hop that arrives is confirmed. */
START_TEST(ring_counts)
{
    uint32_t n = sizes[_i];

    for (uint32_t initiator = 2; initiator <= n; initiator += n / 3 + 1) {
        book_elect(&book, &strategy_ring, n, n, 1, initiator);
        check_leader(2);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_TOKEN], n);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_COORDINATOR], n);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_ALIVE], 2 * (n - 1));
        ck_assert_uint_eq(book_total(&book), 2 * n + 2 * (n - 1));
    }
}
END_TEST

/* "At most 2n i for i initiators". */
START_TEST(ring_all_at_once)
{
    uint32_t n = sizes[_i];

    book_elect(&book, &strategy_ring, n, n, 1, 0);
    check_leader(2);
    ck_assert_uint_le(book.sent[BALLOT_MSG_TOKEN] + book.sent[BALLOT_MSG_COORDINATOR],
                      2 * n * (n - 1));
}
END_TEST

/* Node 1 sent its token and died: the token ends there, or it would go round and stop those of
 * later nodes for good (simulator seed 400560). Node 4 hands it on. */
START_TEST(ring_token_of_a_dead_node)
{
    uint8_t kinds[] = {0, MEMBER_COPY, MEMBER_COPY, MEMBER_COPY, MEMBER_COPY};
    uint32_t places[] = {0, 0, 1, 2, 3}, ids[] = {1, 2, 3, 4};
    struct strategy_nodes nodes = {
        .count = 4, .placed = 4, .kind = kinds, .place = places, .at = ids};
    struct strategy_view view = {
        .now = 1000, .self = 4, .term = 1, .last = {1, 1}, .rtt_us = 100, .nodes = &nodes};
    struct ballot_message messages[8], token = {.kind = BALLOT_MSG_TOKEN,
                                                .from = 3,
                                                .to = 4,
                                                .subject = 1,
                                                .round = 1,
                                                .leader = 1,
                                                .last = {1, 1}};
    struct strategy_output out = {.room = 8, .messages = messages};
    uint64_t state[STRATEGY_STATE_WORDS];

    strategy_ring.init(state);
    strategy_ring.on_message(state, &view, &token, &out);
    ck_assert_uint_eq(out.message_count, 2);
    ck_assert_int_eq(messages[0].kind, BALLOT_MSG_TOKEN);
    ck_assert_uint_eq(messages[0].to, 1);
    view.now = out.wake_at;
    strategy_ring.on_timer(state, &view, &out);
    ck_assert_uint_eq(out.message_count, 0);
    ck_assert_uint_eq(out.wake_at, UINT64_MAX);
}
END_TEST

/* One merge costs n-1 probes and, for a group of g nodes, an answer, an invitation, g-1 of it
 * handed on, g acceptances and g confirmations: n-1 + 1 + 3g. Here n-2 groups of one join the first
 * coordinator, which then makes itself known. */
START_TEST(invitation_counts)
{
    uint32_t n = sizes[_i];

    for (uint32_t initiator = 0; initiator <= 2; initiator += 2) {
        book_elect(&book, &strategy_invitation, n, n, 1, initiator);
        check_leader(2);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_PROBE], n - 1);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_ALIVE], n - 2);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_INVITE], n - 2);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_ACCEPT], n - 2);
        ck_assert_uint_eq(book.sent[BALLOT_MSG_JOINED], n - 2);
        ck_assert_uint_eq(book_total(&book), (n - 1) + 4 * (n - 2) + (n - 2));
    }
}
END_TEST

START_TEST(strategies_are_found_by_name)
{
    static const struct strategy_ops *const all[] = {&strategy_candidate, &strategy_bully,
                                                     &strategy_successor, &strategy_invitation,
                                                     &strategy_ring};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ck_assert_ptr_eq(strategy_find(all[i]->name), all[i]);
    ck_assert_ptr_null(strategy_find("paxos"));
    ck_assert_ptr_null(strategy_find(""));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("election/strategies");
    TCase *tc = tcase_create("strategies");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, bully_counts, 0, SIZES);
    tcase_add_loop_test(tc, successor_counts, 0, SIZES);
    tcase_add_loop_test(tc, candidate_counts, 0, SIZES);
    tcase_add_loop_test(tc, ring_counts, 0, SIZES);
    tcase_add_loop_test(tc, ring_all_at_once, 0, SIZES);
    tcase_add_test(tc, ring_token_of_a_dead_node);
    tcase_add_loop_test(tc, invitation_counts, 0, SIZES);
    tcase_add_test(tc, strategies_are_found_by_name);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
