/* Messages through the codec: every field of every kind of ballot message arrives, and what no
 * correct node sends is refused. */
#include "repl/wire/codec.h"
#include "tests/unit/lib/run.h"

#include <errno.h>

static struct ballot_message sample(enum ballot_message_kind kind)
{
    return (struct ballot_message){.kind = kind,
                                   .from = 1,
                                   .to = 31,
                                   .term = 7,
                                   .ballot = 8,
                                   .last = {6, UINT64_C(1) << 40},
                                   .transfer_id = 9,
                                   .wait_us = 150000,
                                   .leader = 3,
                                   .subject = 30,
                                   .round = UINT64_C(1) << 50,
                                   .granted = true,
                                   .reason = BALLOT_PROMISE};
}

static int pass(const struct message *out, struct message *ret)
{
    struct bytes_writer control = {0};
    struct codec_bulk bulk = {0};
    int rc;

    message_encode(out, &control, &bulk);
    rc = message_decode(control.data, control.size, NULL, ret);
    bytes_writer_done(&control);
    codec_bulk_done(&bulk);
    return rc;
}

static int through(const struct ballot_message *m, struct message *ret)
{
    return pass(&(struct message){.kind = MESSAGE_BALLOT, .ballot = *m}, ret);
}

START_TEST(every_field_arrives)
{
    for (uint32_t kind = BALLOT_MSG_NONE + 1; kind < BALLOT_MSG_KINDS; kind++) {
        struct ballot_message sent = sample((enum ballot_message_kind)kind);
        struct message got;

        ck_assert_int_eq(through(&sent, &got), 0);
        ck_assert_int_eq(got.kind, MESSAGE_BALLOT);
        ck_assert_int_eq(got.ballot.kind, sent.kind);
        ck_assert_uint_eq(got.ballot.from, sent.from);
        ck_assert_uint_eq(got.ballot.to, sent.to);
        ck_assert_uint_eq(got.ballot.term, sent.term);
        ck_assert_uint_eq(got.ballot.ballot, sent.ballot);
        ck_assert_int_eq(log_position_compare(got.ballot.last, sent.last), 0);
        ck_assert_uint_eq(got.ballot.transfer_id, sent.transfer_id);
        ck_assert_uint_eq(got.ballot.wait_us, sent.wait_us);
        ck_assert_uint_eq(got.ballot.leader, sent.leader);
        ck_assert_uint_eq(got.ballot.subject, sent.subject);
        ck_assert_uint_eq(got.ballot.round, sent.round);
        ck_assert(got.ballot.granted);
        ck_assert_int_eq(got.ballot.reason, sent.reason);
        message_done(&got);
    }
}
END_TEST

static void refused(struct ballot_message m)
{
    struct message got;

    ck_assert_int_eq(through(&m, &got), -EBADMSG);
}

START_TEST(senseless_messages_are_refused)
{
    struct ballot_message m = sample(BALLOT_MSG_TOKEN);

    m.subject = NODE_ID_MAX + 1;
    refused(m);
    m = sample(BALLOT_MSG_TOKEN);
    m.leader = NODE_ID_MAX + 1;
    refused(m);
    m = sample(BALLOT_MSG_INVITE);
    m.from = m.to;
    refused(m);
    m = sample(BALLOT_MSG_ELECTION);
    m.term = UINT64_MAX;
    refused(m);
    refused(sample(BALLOT_MSG_NONE));
    refused(sample(BALLOT_MSG_KINDS));
}
END_TEST

static int passes(struct message m)
{
    struct message got;
    int rc = pass(&m, &got);

    if (rc == 0)
        message_done(&got);
    return rc;
}

static struct message append(uint64_t term, uint64_t prev_term)
{
    return (struct message){.kind = MESSAGE_APPEND,
                            .append = {.term = term, .prev_term = prev_term, .prev_index = 1}};
}

static struct message append_resp(uint64_t term)
{
    return (struct message){.kind = MESSAGE_APPEND_RESP, .append_resp = {.term = term}};
}

START_TEST(terms_that_no_election_comes_to_are_refused)
{
    /* Goal: whoever takes a term over from a peer can still follow it with another one. */
    const uint64_t last = BALLOT_TERM_MAX;
    struct ballot_message m = sample(BALLOT_MSG_VOTE);

    ck_assert_int_eq(passes(append(last, last)), 0);
    ck_assert_int_eq(passes(append(last + 1, 1)), -EBADMSG);
    ck_assert_int_eq(passes(append(UINT64_MAX, 1)), -EBADMSG);
    ck_assert_int_eq(passes(append(0, 0)), -EBADMSG);
    ck_assert_int_eq(passes(append(7, 8)), -EBADMSG); /* no leader's log has newer entries */
    ck_assert_int_eq(passes(append_resp(last)), 0);
    ck_assert_int_eq(passes(append_resp(last + 1)), -EBADMSG);
    m.ballot = last + 1;
    refused(m);
    m = sample(BALLOT_MSG_VOTE);
    m.last.term = last + 1;
    refused(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/wire/codec");
    TCase *tc = tcase_create("codec");

    tcase_add_test(tc, every_field_arrives);
    tcase_add_test(tc, senseless_messages_are_refused);
    tcase_add_test(tc, terms_that_no_election_comes_to_are_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
