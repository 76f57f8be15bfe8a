/* A replica that leads: what counts as committed, what may be read, and what goes to whom when. */
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/lone.h"

enum { COPY = 1, WITNESS = 3 }; /* besides node 2, which leads */

static void hear_ballot_from(uint32_t from, enum ballot_message_kind kind, uint64_t term,
                             uint64_t ballot_term)
{
    struct message m = {.kind = MESSAGE_BALLOT};
    m.ballot = (struct ballot_message){.kind = kind,
                                       .from = from,
                                       .to = l.config.self,
                                       .term = term,
                                       .ballot = ballot_term,
                                       .granted = true};
    hear(from, &m);
}

static void hear_ballot(enum ballot_message_kind kind, uint64_t term, uint64_t ballot_term)
{
    hear_ballot_from(WITNESS, kind, term, ballot_term);
}

/* It has all up to `match`, and of rounds that `round` began. */
static void respond_round(uint32_t from, uint64_t match, uint64_t round)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = replica_term(l.r);
    m.append_resp.match = match;
    m.append_resp.read_round = round;
    hear(from, &m);
}

static void respond(uint32_t from, uint64_t match)
{
    respond_round(from, match, 0);
}

/* The same of one that was sent something just now, whose disk took `p99` for a flush. */
static void go_on_slow(uint32_t from, uint64_t match, time_us p99)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = replica_term(l.r);
    m.append_resp.match = match;
    m.append_resp.sent_at = l.now;
    m.append_resp.flush_p99_us = p99;
    hear(from, &m);
}

static void go_on(uint32_t from, uint64_t match)
{
    go_on_slow(from, match, 0);
}

/* Becomes leader of the term after its last with the vote of the witness. Its first entry is on its
 * way to the disk. */
static void elect(void)
{
    uint64_t before = replica_term(l.r);
    for (int i = 0; i < 200 && !find_message(MESSAGE_BALLOT); i++)
        tick(20 * TIME_MS);
    hear_ballot(BALLOT_MSG_PREVOTE_RESP, before, before + 1);
    for (int i = 0; i < 20 && !find(EFFECT_WRITE_VOTE); i++)
        tick(20 * TIME_MS);
    written(EFFECT_WRITE_VOTE);
    hear_ballot(BALLOT_MSG_VOTE_RESP, before + 1, before + 1);
    ck_assert_int_eq(replica_role(l.r), REPLICA_LEADER);
    ck_assert_uint_eq(replica_term(l.r), before + 1);
}

static void follower(void)
{
    lone_new(2);
    lone_start(2);
}

/* All have what it has, and the heartbeats of the beginning are over. */
static void leader(void)
{
    follower();
    elect();
    written_all();
    respond(COPY, 1);
    respond(WITNESS, 1);
    for (int i = 0; i < 4; i++)
        tick(0);
}

/* Without blocks; it becomes `index`. */
static void propose_plain(uint64_t index)
{
    propose(index, NULL, NULL, 0);
    expect_index(EFFECT_APPENDED, index);
}

static void expect_commit(uint64_t index)
{
    ck_assert_uint_eq(replica_commit(l.r), index);
}

/* ---- who has just been elected --------------------------------------------------------------- */

/* V8 (Ongaro 2014, figure 3.7): entries of earlier terms are committed only together with one of
 * its own, however many nodes hold them. */
START_TEST(old_entries_commit_with_a_new_one)
{
    hear_append(COPY, (struct append){2, .count = 3});
    written(EFFECT_WRITE_ENTRIES);
    elect();
    uint64_t own = write_of(EFFECT_WRITE_ENTRIES);
    ck_assert_uint_eq(replica_last_index(l.r), 4); /* with its first entry */
    respond(WITNESS, 3);
    respond(COPY, 3); /* all three hold entry 3 */
    expect_commit(0);
    respond(WITNESS, 4);
    expect_commit(0); /* one node besides a leader that has not written */
    written_to(own);
    expect_commit(4);
    expect_index(EFFECT_ADVANCE, 4);
}
END_TEST

static uint64_t round_begun(void)
{
    return find_message(MESSAGE_APPEND)->append.read_round;
}

/* E1: without a lease a read waits for a round begun after it came: an earlier one proves nothing.
 */
START_TEST(read_needs_a_round_of_its_own)
{
    elect();
    ask_read(71); /* before the first commit of the term: not even a round is begun */
    expect_none(EFFECT_READ_READY);
    written_all();
    respond(WITNESS, 1);
    expect_commit(1);
    uint64_t first = round_begun();
    ck_assert_uint_gt(first, 0);
    ask_read(72);
    uint64_t second = round_begun();
    ck_assert_uint_gt(second, first);
    respond_round(WITNESS, 1, first);
    expect_ticket(EFFECT_READ_READY, 71);
    respond_round(COPY, 1, first);
    expect_none(EFFECT_READ_READY);
    respond_round(COPY, 1, second);
    expect_ticket(EFFECT_READ_READY, 72);
}
END_TEST

/* RULES B3: what a new leader's log holds has its bytes: an entry that still waited for them, and
 * of which nobody was told, goes. */
START_TEST(new_leader_drops_what_lacks_bytes)
{
    hear_append(COPY, (struct append){2, .count = 2, .bytes = BYTES_BY_PARTS});
    ck_assert_uint_eq(replica_last_index(l.r), 2);
    elect();
    ck_assert_uint_eq(replica_last_index(l.r), 1);
    ck_assert_int_eq(replica_entry(l.r, 1)->kind, ENTRY_NOOP);
}
END_TEST

/* ---- what goes to whom when ------------------------------------------------------------------ */

/* A message for the commit index alone would wake the copy once more for every entry. */
START_TEST(commit_index_rides_with_the_next_entries)
{
    propose_plain(2);
    expect_append(COPY, 1, 1);
    written_all();
    respond(COPY, 2);
    expect_commit(2);
    expect_no_append(COPY);
    propose_plain(3);
    expect_append(COPY, 1, 2);
    written_all();
    respond(COPY, 3);
    expect_no_append(COPY);
    ck_assert_uint_le(l.u.wake_at, l.now + NEWS_US); /* no entries come: told by itself */
    tick(0);
    tick(0);
    expect_append(COPY, 0, 3);
    tick(0);
    expect_no_append(COPY); /* once */
}
END_TEST

/* Who asked the leader may ask a copy next, for what is committed now. */
START_TEST(commit_index_hurries_before_a_read)
{
    propose_plain(2);
    written_all();
    respond(COPY, 2);
    expect_no_append(COPY);
    ask_read(71);
    expect_append(COPY, 0, 2);
}
END_TEST

/* Mounts that do nothing renew their sessions every second: that alone must not make the leader
 * send heartbeats as if there was work. */
START_TEST(renewals_leave_the_leader_idle)
{
    tick(ACTIVE_US);
    time_us at = l.r->heartbeat_at;
    ck_assert_uint_eq(at, l.now + HEARTBEAT_IDLE_US);
    struct replica_event renewal = {.kind = REPLICA_READ, .read = {.id = 71, .aside = true}};
    step(renewal);
    respond_round(COPY, 1, append_to(COPY)->read_round);
    expect_ticket(EFFECT_READ_READY, 71);
    ck_assert_uint_eq(l.r->heartbeat_at, at);
    ask_read(72);
    ck_assert_uint_lt(l.r->heartbeat_at, at);
}
END_TEST

/* The copies are a majority: the witness's disk and links are left alone but for heartbeats. */
START_TEST(witness_gets_entries_with_heartbeats)
{
    propose_plain(2);
    expect_no_append(WITNESS);
    written_all();
    respond(COPY, 2);
    expect_no_append(WITNESS);
    propose_plain(3);
    expect_no_append(WITNESS);
    tick(HEARTBEAT_US);
    expect_append(WITNESS, 2, 2);
}
END_TEST

START_TEST(witness_gets_entries_at_once_when_a_copy_is_gone)
{
    propose_plain(2);
    expect_no_append(WITNESS);
    link_down(COPY);
    expect_append(WITNESS, 1, 1);
    propose_plain(3);
    expect_append(WITNESS, 1, 1);
}
END_TEST

static const struct block_ref ref = {.name = {9, 1}, .size = 10};

/* RULES B4: an undrafted witness gets nothing that names blocks before it is committed. */
START_TEST(undrafted_witness_gets_no_names)
{
    struct blob *bytes = blob_copy("0123456789", 10);
    ck_assert_uint_eq(replica_draft_mask(l.r), 0);
    propose(5, &ref, bytes, 0);
    blob_unref(bytes);
    expect_index(EFFECT_APPENDED, 2);
    expect_append(COPY, 1, 1);
    ck_assert(append_to(WITNESS) == NULL || append_to(WITNESS)->entries_count == 0);
    written(EFFECT_WRITE_ENTRIES);
    respond(COPY, 2);
    expect_commit(2);
    tick(HEARTBEAT_US);
    expect_append(WITNESS, 1, 2); /* now, without bytes */
    ck_assert_ptr_null(append_to(WITNESS)->entries[0]->inline_bytes);
}
END_TEST

/* A store that was restarted may have lost what a mount had sent it (RULES B9). */
START_TEST(restarted_store_holds_nothing_for_sure)
{
    propose(5, &ref, NULL, 1u << COPY | 1u << 2);
    uint64_t ticket = ticket_of(EFFECT_ENSURE);
    link_down(COPY);
    link_up(COPY, 8);
    ensured(ticket);
    expect_none(EFFECT_APPENDED);                  /* its own store alone is no f+1 */
    ck_assert(replica_holds_block(l.r, ref.name)); /* so that it stays (simulator seed 600859) */
    ck_assert(!replica_holds_block(l.r, (struct block_name){9, 2}));
    const struct message *want = find_message(MESSAGE_WANT);
    ck_assert_ptr_nonnull(want);
    struct message held = {.kind = MESSAGE_HELD};
    held.held.term = replica_term(l.r);
    held.held.id = want->want.id;
    hear(COPY, &held);
    expect_ticket(EFFECT_APPENDED, 5);
    ck_assert(!replica_holds_block(l.r, ref.name)); /* its entry names it now */
}
END_TEST

/* B4: a disk that hung once is not waited for four times as long when its copy stops. */
START_TEST(one_long_flush_does_not_keep_the_witness_out)
{
    struct blob *bytes = blob_copy("0123456789", 10);
    go_on_slow(COPY, 1, 8 * TIME_S);
    propose(5, &ref, bytes, 0);
    blob_unref(bytes);
    written_all();
    for (int i = 0; i < 15; i++) {
        tick(100 * TIME_MS);
        go_on(WITNESS, replica_draft_mask(l.r) ? 2 : 1);
    }
    ck_assert_uint_eq(replica_draft_mask(l.r), 1u << WITNESS);
    expect_commit(2);
}
END_TEST

/* Its heartbeats need no disk: without this it would lead for as long as that hangs, and answer
 * nobody, since it applies no more than what it has itself. */
START_TEST(gives_way_when_its_disk_hangs)
{
    time_us since = l.now;
    propose_plain(2);
    go_on(COPY, 2);
    for (int i = 0; i < 50 && replica_role(l.r) == REPLICA_LEADER; i++) {
        tick(100 * TIME_MS);
        go_on(COPY, 2);
        go_on(WITNESS, append_to(WITNESS) ? 2 : 1);
        if (l.now > since + 1 * TIME_S)
            go_on(WITNESS, 2);
    }
    expect_commit(2);
    ck_assert_int_eq(replica_role(l.r), REPLICA_FOLLOWER);
    ck_assert_uint_ge(l.now, since + 2 * TIME_S);
    ck_assert_uint_le(l.now, since + 3 * TIME_S);
    for (int i = 0; i < 40; i++) { /* and leaves standing to others */
        tick(100 * TIME_MS);
        ck_assert_int_eq(replica_role(l.r), REPLICA_FOLLOWER);
    }
}
END_TEST

/* A disk that is slow while nobody commits without it is what everybody waits for. */
START_TEST(leads_on_when_all_wait_for_its_disk)
{
    propose_plain(2);
    for (int i = 0; i < 50; i++) {
        tick(100 * TIME_MS);
        go_on(COPY, 2);
        go_on(WITNESS, 1);
    }
    expect_commit(1);
    ck_assert_int_eq(replica_role(l.r), REPLICA_LEADER);
}
END_TEST

/* ---- a witness that rescues ------------------------------------------------------------------ */

enum { OTHER_COPY = 2, COPY_4 = 4, WITNESS_5 = 5, BASE = 9 };

/* Node 3 of 3C+2W, whose log begins behind entry 9, leads in term 3 to hand it over. */
static void rescuer(void)
{
    lone_new(WITNESS);
    replica_free(l.r);
    member_set_put(&l.config.members, COPY_4, MEMBER_COPY, 4);
    member_set_put(&l.config.members, WITNESS_5, MEMBER_WITNESS, 5);
    l.r = replica_new(&l.config, BASE, 2);
    lone_start(2);
    link_up(COPY_4, 7);
    link_up(WITNESS_5, 7);
    hear_ballot_from(COPY, BALLOT_MSG_PREVOTE, 2, 3); /* its log is older */
    hear_ballot_from(COPY, BALLOT_MSG_PREVOTE_RESP, 2, 3);
    hear_ballot_from(OTHER_COPY, BALLOT_MSG_PREVOTE_RESP, 2, 3);
    for (int i = 0; i < 20 && !find(EFFECT_WRITE_VOTE); i++)
        tick(20 * TIME_MS);
    written(EFFECT_WRITE_VOTE);
    hear_ballot_from(COPY, BALLOT_MSG_VOTE_RESP, 3, 3);
    hear_ballot_from(OTHER_COPY, BALLOT_MSG_VOTE_RESP, 3, 3);
    ck_assert_int_eq(replica_role(l.r), REPLICA_RESCUE_LEADER);
}

/* Whose log ends before its own begins gets nothing from it: to ask where they meet, and be told,
 * for as long as it leads, would keep both busy. */
START_TEST(rescuer_asks_not_again_and_again)
{
    struct message refused = {.kind = MESSAGE_APPEND_RESP};
    uint32_t late = _i ? OTHER_COPY : WITNESS_5;
    refused.append_resp = (struct message_append_resp){
        .term = 3, .reject = true, .reject_index = BASE, .hint_index = 4, .hint_term = 2};
    expect_append(late, 0, BASE);
    hear(late, &refused);
    expect_no_append(late);
    tick(HEARTBEAT_US);
    expect_append(late, 0, BASE);
    ck_assert_uint_eq(append_to(late)->prev_index, 0); /* which fits every log */
    respond(late, 4);
    expect_no_append(late);
}
END_TEST

static uint32_t told_to_stand(void)
{
    for (size_t i = 0; i < l.u.count; i++) {
        const struct replica_effect *f = &l.u.effects[i];
        if (f->kind == EFFECT_SEND && f->send.message.kind == MESSAGE_BALLOT &&
            f->send.message.ballot.kind == BALLOT_MSG_TIMEOUT_NOW)
            return 1u << f->send.to;
    }
    return 0;
}

/* A copy that has stopped keeps its link, and has said that it has all: the other one leads. */
START_TEST(rescuer_asks_the_next_one_too)
{
    uint32_t told = 0;
    respond(COPY, BASE);
    for (int i = 0; i < 100 && told != (1u << COPY | 1u << OTHER_COPY); i++) {
        told |= told_to_stand();
        go_on(OTHER_COPY, BASE);
        told |= told_to_stand();
        go_on(WITNESS_5, BASE);
        tick(20 * TIME_MS);
    }
    ck_assert_uint_eq(told, 1u << COPY | 1u << OTHER_COPY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/lead");
    TCase *tc = tcase_create("elected");
    tcase_add_checked_fixture(tc, follower, lone_free);
    tcase_add_test(tc, old_entries_commit_with_a_new_one);
    tcase_add_test(tc, read_needs_a_round_of_its_own);
    tcase_add_test(tc, new_leader_drops_what_lacks_bytes);
    suite_add_tcase(suite, tc);
    tc = tcase_create("leading");
    tcase_add_checked_fixture(tc, leader, lone_free);
    tcase_add_test(tc, commit_index_rides_with_the_next_entries);
    tcase_add_test(tc, commit_index_hurries_before_a_read);
    tcase_add_test(tc, renewals_leave_the_leader_idle);
    tcase_add_test(tc, witness_gets_entries_with_heartbeats);
    tcase_add_test(tc, witness_gets_entries_at_once_when_a_copy_is_gone);
    tcase_add_test(tc, undrafted_witness_gets_no_names);
    tcase_add_test(tc, restarted_store_holds_nothing_for_sure);
    tcase_add_test(tc, one_long_flush_does_not_keep_the_witness_out);
    tcase_add_test(tc, gives_way_when_its_disk_hangs);
    tcase_add_test(tc, leads_on_when_all_wait_for_its_disk);
    suite_add_tcase(suite, tc);
    tc = tcase_create("rescuing");
    tcase_add_checked_fixture(tc, rescuer, lone_free);
    tcase_add_loop_test(tc, rescuer_asks_not_again_and_again, 0, 2);
    tcase_add_test(tc, rescuer_asks_the_next_one_too);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
