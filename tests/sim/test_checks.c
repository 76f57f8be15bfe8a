/* Checkers that look into the nodes: each is silent about what may happen and objects to what may
 * not. Most are told facts; what is read out of a node is shown on nodes filled in by hand. */
#include <stdlib.h>
#include <string.h>

#include "fs/app/internal.h"
#include "fs/core/inode.h"
#include "fs/core/keys.h"
#include "node/internal.h"
#include "repl/base/kv_mem.h"
#include "repl/core/state.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/check_mounts.h"
#include "tests/sim/test_run.h"
#include "tests/unit/lib/run.h"

enum { PROMISE = 150 * 1000 };

/* ---- nodes filled in by hand
 * --------------------------------------------------------------------- */

struct hand_made {
    struct node node;
    struct replica replica;
    struct node_member member;
    struct fs_app app;
};
static struct hand_made made[4];

static void setup(void)
{
    test_run_start();
    checks_start();
    run.kv = kv_mem_new();
    memset(made, 0, sizeof made);
    for (uint32_t id = 1; id <= 3; id++) {
        struct hand_made *m = &made[id];
        m->replica.self = m->member.id = id;
        m->replica.witness = m->member.witness = id == 3;
        m->replica.started = true;
        m->replica.role = REPLICA_FOLLOWER;
        m->replica.voters = 1u << 1 | 1u << 2 | 1u << 3;
        m->replica.ballot.config.leader_lease = true;
        m->replica.ballot.config.promise_us = PROMISE;
        member_set_init(&m->replica.ballot.config.members);
        for (uint32_t peer = 1; peer <= 3; peer++)
            member_set_put(&m->replica.ballot.config.members, peer,
                           peer == 3 ? MEMBER_WITNESS : MEMBER_COPY, peer);
        log_init(&m->replica.log, 0, 0);
        m->node.replica = &m->replica;
        m->node.self = &m->member;
        m->node.app = &m->app;
        list_init(&m->app.requests);
        run.processes[id].node = &m->node;
        run.durable_last[id] = 0; /* a new store */
        check_node_opened(&run.processes[id]);
        run.durable_last[id] = UINT64_MAX;
    }
}

static void teardown(void)
{
    checks_end();
    kv_close(run.kv);
    for (uint32_t id = 1; id <= 3; id++)
        log_done(&made[id].replica.log);
}

/* Appends and makes durable an entry with so many blocks. */
static void append(uint32_t node, uint64_t term, const char *payload, uint32_t blocks)
{
    struct replica *r = &made[node].replica;
    struct block_ref refs[2] = {{.name = {9, 1}, .size = 4096}, {.name = {9, 2}, .size = 4096}};
    struct blob *b = blob_copy(payload, strlen(payload));
    struct entry *e = entry_new(term, r->log.last + 1, ENTRY_NOOP, b, refs, blocks, NULL);
    (void)log_append(&r->log, e, 0);
    r->log.ensured = r->log.submitted = r->log.durable = r->log.last;
    entry_unref(e);
    blob_unref(b);
}

static void turn(uint32_t node)
{
    check_node_turn(&run.processes[node]);
}

static void lead(uint32_t node, uint64_t term)
{
    struct replica *r = &made[node].replica;
    r->role = REPLICA_LEADER;
    r->role_term = r->ballot.term = term;
    r->ballot.role = BALLOT_LEADER;
    r->ballot.leader = node;
    r->ready = true;
}

static void commit(uint32_t node, uint64_t index)
{
    made[node].replica.commit = index;
    turn(node);
}

/* ---- log ---------------------------------------------------------------------------------------
 */

START_TEST(equal_logs)
{
    for (uint32_t id = 1; id <= 3; id++) {
        append(id, 1, "a", 1);
        append(id, 1, "b", 0);
    }
    lead(1, 1);
    commit(1, 2);
    commit(2, 1);
    commit(3, 2);
    commit(2, 2);
    expect_silence();
    ck_assert_uint_eq(check_log_last(), 2);
}
END_TEST

START_TEST(another_entry_committed)
{
    append(1, 1, "a", 0);
    append(2, 1, "b", 0);
    commit(1, 1);
    commit(2, 1);
    expect_complaint("log", "another entry");
}
END_TEST

START_TEST(another_term_committed)
{
    append(1, 1, "a", 0);
    append(2, 2, "a", 0);
    commit(1, 1);
    commit(2, 1);
    expect_complaint("log", "another entry");
}
END_TEST

START_TEST(commit_goes_back)
{
    append(1, 1, "a", 0);
    append(1, 1, "b", 0);
    commit(1, 2);
    commit(1, 1);
    expect_complaint("log", "goes back");
}
END_TEST

START_TEST(commit_of_nothing)
{
    commit(1, 3);
    expect_complaint("log", "nobody committed");
}
END_TEST

START_TEST(committed_on_one_store)
{
    append(1, 1, "a", 0);
    run.durable_entry = 1u << 1;
    commit(1, 1);
    expect_complaint("log", "B3");
}
END_TEST

START_TEST(committed_without_its_bytes)
{
    append(1, 1, "a", 1);
    run.durable_block = 1u << 1; /* the witness counted its header */
    commit(1, 1);
    expect_complaint("log", "B3");
}
END_TEST

START_TEST(destroyed_stores_count_as_holders)
{
    append(1, 1, "a", 1);
    run.durable_block = run.durable_entry = 1u << 1;
    run.processes[2].gone = true;
    commit(1, 1);
    expect_silence();
}
END_TEST

START_TEST(uncommitted_entry_without_bytes)
{
    append(2, 1, "a", 1);
    run.durable_block = 0;
    turn(2);
    expect_complaint("log", "without its bytes");
}
END_TEST

START_TEST(undrafted_witness_with_an_uncommitted_entry)
{
    append(3, 1, "a", 1);
    turn(3);
    expect_complaint("log", "B4");
}
END_TEST

START_TEST(drafted_witness_may)
{
    made[3].replica.draft_mask = 1u << 3;
    append(3, 1, "a", 1);
    turn(3);
    made[3].replica.draft_mask = 0;
    turn(3);
    expect_silence();
}
END_TEST

START_TEST(acknowledged_and_not_durable)
{
    append(1, 1, "a", 0);
    lead(1, 1);
    made[1].replica.peers[2].match = 1;
    run.durable_last[2] = 0;
    turn(1);
    expect_complaint("log", "not durable");
}
END_TEST

START_TEST(leader_lacks_a_committed_entry)
{
    append(1, 1, "a", 0);
    lead(1, 1);
    commit(1, 1);
    lead(2, 2);
    turn(2);
    expect_complaint("log", "without the committed entry");
}
END_TEST

START_TEST(deposed_leader_need_not_know)
{
    append(2, 1, "a", 0);
    append(2, 3, "b", 0);
    lead(2, 3);
    commit(2, 2);
    append(1, 1, "a", 0);
    lead(1, 2); /* votes for term 2 came late */
    turn(1);
    expect_silence();
}
END_TEST

START_TEST(entry_of_an_older_term_counted)
{
    append(1, 1, "a", 0);
    append(1, 3, "b", 0);
    lead(1, 3);
    turn(1);
    commit(1, 1); /* must follow the second one */
    expect_complaint("log", "V8");
}
END_TEST

START_TEST(snapshot_under_a_leader)
{
    /* It was elected while one became its state (simulator seed 300004113). */
    append(2, 1, "a", 0);
    lead(2, 1);
    commit(2, 1);
    append(1, 1, "a", 0);
    append(1, 3, "b", 0);
    lead(1, 3);
    turn(1);
    log_forget(&made[1].replica.log, 1);
    commit(1, 1);
    expect_silence();
}
END_TEST

START_TEST(entry_of_an_older_term_follows)
{
    append(1, 1, "a", 0);
    append(1, 3, "b", 0);
    lead(1, 3);
    turn(1);
    commit(1, 2);
    expect_silence();
}
END_TEST

/* ---- elections ---------------------------------------------------------------------------------
 */

START_TEST(leaders_one_after_another)
{
    check_election_vote(1, 1, 1);
    check_election_vote(2, 1, 1);
    lead(1, 1);
    turn(1);
    check_election_ack(2, 1, 100);
    run.now = 2 * PROMISE;
    check_election_vote(2, 2, 2);
    check_election_leads(2, 2, false);
    expect_silence();
}
END_TEST

START_TEST(two_leaders_in_a_term)
{
    lead(1, 5);
    turn(1);
    lead(2, 5);
    turn(2);
    expect_complaint("election", "two leaders in term 5");
}
END_TEST

START_TEST(two_leaders_one_after_another)
{
    lead(1, 5);
    turn(1);
    check_node_died(&run.processes[1]);
    lead(2, 5);
    turn(2);
    expect_complaint("election", "two leaders in term 5");
}
END_TEST

START_TEST(two_votes_in_a_term)
{
    check_election_vote(1, 4, 2);
    check_node_died(&run.processes[1]);
    check_node_opened(&run.processes[1]);
    check_election_vote(1, 4, 3);
    expect_complaint("election", "votes twice");
}
END_TEST

START_TEST(vote_counted_before_it_is_durable)
{
    check_election_vote(1, 4, 1);
    check_election_vote(2, 4, 1);
    check_election_vote(3, 5, 2);
    lead(1, 4);
    made[1].replica.ballot.round.granted = 1u << 1 | 1u << 2 | 1u << 3;
    turn(1);
    expect_silence(); /* n3 may have voted in term 4 before */
    made[2].replica.ballot.round.granted = 1u << 1 | 1u << 2;
    check_election_vote(2, 6, 2);
    lead(2, 6);
    turn(2);
    expect_complaint("election", "not durable");
}
END_TEST

START_TEST(term_forgotten)
{
    check_election_vote(1, 4, 2);
    check_election_vote(1, 3, 2);
    expect_complaint("election", "goes back");
}
END_TEST

START_TEST(vote_forgotten_by_a_restart)
{
    check_election_vote(1, 4, 2);
    made[1].replica.ballot.term = 3;
    turn(1);
    expect_complaint("election", "durable term is 4");
}
END_TEST

START_TEST(vote_inside_a_promise)
{
    check_election_ack(2, 3, run.now - 1000);
    check_election_vote(2, 4, 1);
    expect_complaint("election", "acknowledged");
}
END_TEST

START_TEST(vote_inside_a_promise_heard_of_later)
{
    check_election_vote(2, 4, 1);
    check_election_ack(2, 3, run.now - 1000);
    expect_complaint("election", "acknowledged");
}
END_TEST

START_TEST(promise_ends_with_timeout_now)
{
    check_election_ack(2, 3, run.now - 1000);
    check_election_revoked(3);
    check_election_vote(2, 4, 1);
    expect_silence();
}
END_TEST

START_TEST(promise_of_an_older_term_ends_with_timeout_now)
{
    check_election_ack(2, 3, run.now - 1000);
    check_election_ack(3, 5, run.now - 1000);
    check_election_revoked(4);
    check_election_vote(2, 5, 1);
    expect_silence();
    check_election_vote(3, 6, 1);
    expect_complaint("election", "acknowledged");
}
END_TEST

START_TEST(answer_counted_from_its_arrival)
{
    check_election_promised(2);
    check_election_counted(1, 2, run.now);
    expect_silence();
    check_election_counted(1, 2, run.now + 1);
    expect_complaint("election", "after the promise began");
}
END_TEST

START_TEST(leases_overlap)
{
    check_election_lease(1, 3, run.now + 1000);
    check_election_lease(2, 4, run.now + 500);
    expect_complaint("election", "leases overlap");
}
END_TEST

START_TEST(leases_read_from_ballots)
{
    for (uint32_t id = 1; id <= 2; id++) {
        lead(id, 2 + id);
        made[id].replica.ballot.now = run.now;
        check_election_promised(2);
        check_election_promised(3);
        made[id].replica.ballot.acked_at[2] = made[id].replica.ballot.acked_at[3] = run.now - 100;
        turn(id);
    }
    expect_complaint("election", "leases overlap");
}
END_TEST

START_TEST(a_lease_that_ran_out)
{
    check_election_lease(1, 3, run.now + 1000);
    run.now += 1000;
    check_election_lease(2, 4, run.now + 500);
    check_node_died(&run.processes[2]);
    check_election_lease(1, 5, run.now + 1000);
    expect_silence();
}
END_TEST

START_TEST(rescue_leader_proposes)
{
    struct replica *r = &made[3].replica;
    r->role = REPLICA_RESCUE_LEADER;
    r->role_term = r->ballot.term = 3;
    turn(3);
    expect_silence();
    append(3, 3, "x", 0);
    turn(3);
    expect_complaint("election", "E3");
}
END_TEST

START_TEST(leader_that_nobody_answers)
{
    lead(1, 3);
    for (int i = 0; i < 20; i++) {
        run.now += 200 * TIME_MS;
        turn(1);
    }
    run.now += 60 * TIME_S; /* stood still: begins anew */
    turn(1);
    expect_silence();
    for (int i = 0; i < 40; i++) {
        run.now += 200 * TIME_MS;
        turn(1);
    }
    expect_complaint("election", "no majority answered");
}
END_TEST

START_TEST(steady_leaders)
{
    lead(1, 3);
    turn(1);
    time_us from = run.now;
    run.now += 1000;
    turn(1);
    ck_assert(check_election_steady(from, from + 1000));
    ck_assert(!check_election_steady(from, from + 1001));
    check_node_died(&run.processes[1]);
    run.now += 1000;
    turn(1);
    ck_assert(!check_election_steady(from, from + 2000));
}
END_TEST

/* ---- state -------------------------------------------------------------------------------------
 */

START_TEST(equal_states)
{
    check_state_applied(1, 5, 7, 8);
    check_state_applied(2, 6, 9, 9);
    check_state_applied(2, 5, 7, 8);
    check_state_synced(1, 5, 5);
    expect_silence();
}
END_TEST

START_TEST(states_differ)
{
    check_state_applied(1, 5, 7, 8);
    check_state_applied(2, 5, 7, 9);
    expect_complaint("state", "differ after index 5");
}
END_TEST

START_TEST(applied_before_it_was_synced)
{
    check_state_synced(1, 6, 5);
    expect_complaint("state", "S2");
}
END_TEST

/* ---- leases ------------------------------------------------------------------------------------
 */

START_TEST(lease_goes_from_hand_to_hand)
{
    check_leases_seen(4, 1, 11, 1);
    check_leases_commit(4, 1, 11, 2, true);
    check_leases_seen(4, 2, 0, 3);
    check_leases_seen(4, 3, 12, 4);
    check_leases_commit(4, 1, 11, 5, false); /* fenced */
    check_leases_promise(1, 4, 12, 12);
    check_leases_promise(1, 4, 12, 0);
    expect_silence();
}
END_TEST

START_TEST(two_holders)
{
    check_leases_seen(4, 1, 11, 1);
    check_leases_seen(4, 1, 12, 2);
    expect_complaint("leases", "held by 11 and by 12");
}
END_TEST

START_TEST(epoch_goes_back)
{
    check_leases_seen(4, 2, 11, 1);
    check_leases_seen(4, 1, 12, 2);
    expect_complaint("leases", "goes back");
}
END_TEST

START_TEST(stale_epoch_took_effect)
{
    check_leases_seen(4, 1, 11, 1);
    check_leases_seen(4, 3, 12, 2);
    check_leases_commit(4, 1, 11, 3, true);
    expect_complaint("leases", "B2");
}
END_TEST

START_TEST(promise_beside_a_write_lease)
{
    check_leases_promise(1, 4, 11, 12);
    expect_complaint("leases", "L3");
}
END_TEST

START_TEST(facts_of_mounts)
{
    check_mounts_read(4, 7, 20, 20);
    check_mounts_lease(4, 1000, 1000);
    check_mounts_renewed(4, 3, run.now, check_election_deposed(3));
    check_mounts_holder(4, 2, 5, true);
    expect_silence();
    check_mounts_named(4, 7);
    expect_complaint("mounts", "B11");
    check_mounts_read(4, 7, 19, 20);
    expect_complaint("mounts", "L6");
    check_mounts_lease(4, 1001, 1000);
    expect_complaint("mounts", "L9");
    check_mounts_holder(4, 2, 5, false);
    expect_complaint("mounts", "B9");
    check_election_leads(1, 4, false);
    check_mounts_renewed(4, 3, run.now, check_election_deposed(3));
    check_mounts_renewed(4, 4, run.now + 1, check_election_deposed(4));
    expect_silence();
    check_mounts_renewed(4, 3, run.now + 1, check_election_deposed(3));
    expect_complaint("mounts", "E1");
}
END_TEST

START_TEST(token_outlives_the_mount)
{
    check_promises_token(4, 20, 20);
    expect_silence();
    check_promises_token(4, 19, 20);
    expect_complaint("promises", "L10");
}
END_TEST

START_TEST(mounts_rely_on_what_is_promised)
{
    check_promises_relied(4, 11, 12, 7, 20, 20);
    check_promises_relied(4, 12, 12, 7, 19, 20);
    expect_silence();
    check_promises_relied(4, 11, 12, 7, 19, 20);
    expect_complaint("promises", "L3");
    check_promises_recorded(4, 7, true);
    expect_silence();
    check_promises_recorded(4, 7, false);
    expect_complaint("promises", "L5");
    check_promises_alone(4, 7, 5, false);
    expect_silence();
    check_promises_alone(4, 7, 5, true);
    expect_complaint("promises", "mount 4 takes inode 7 for its own");
}
END_TEST

START_TEST(locks_are_decided_in_one_place)
{
    check_promises_kept_locks(4, 11, 11, 7, 20);
    expect_silence();
    check_promises_kept_locks(4, 11, 12, 7, 20);
    expect_complaint("promises", "L2");
}
END_TEST

/* ---- at rest -----------------------------------------------------------------------------------
 */

/* A file with one name; bits of `what` spoil it. */
enum { NO_NAME = 1, HELD = 2, ENDED_HOLDS = 4, ENDED_LEASES = 8, NO_INODE = 16, ENDED_LOCKS = 32 };

static void put_pair(struct kv_batch *b, struct key k, struct bytes_writer *value)
{
    kv_batch_put(b, 0, k.data, k.size, value->data, value->size);
    bytes_writer_done(value);
    *value = (struct bytes_writer){0};
}

static void check_file(unsigned what)
{
    struct kv *kv = kv_mem_new();
    struct kv_batch b = {0};
    struct bytes_writer w = {0};
    struct inode file = {.ino = 7, .mode = S_IFREG | 0644, .nlink = what & NO_NAME ? 0 : 1};
    file.lease_session = what & ENDED_LEASES ? 12 : 11;
    if (!(what & NO_INODE)) {
        inode_encode(&file, &w);
        put_pair(&b, key_of1(KEY_INODE, 7), &w);
    }
    bytes_put_u64(&w, 7);
    if (!(what & NO_NAME))
        put_pair(&b, key_of_name(KEY_ENTRY, 1, "a", 1), &w);
    struct inode root = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
    bytes_writer_done(&w);
    w = (struct bytes_writer){0};
    inode_encode(&root, &w);
    put_pair(&b, key_of1(KEY_INODE, 1), &w);
    put_pair(&b, key_of1(KEY_SESSION, 11), &w);
    if (what & (HELD | ENDED_HOLDS))
        put_pair(&b, key_of2(KEY_HOLD, 7, what & HELD ? 11 : 12), &w);
    if (what & ENDED_LOCKS)
        put_pair(&b, key_of2(KEY_LOCK_OF, 12, 7), &w);
    if (!(what & NO_INODE))
        put_pair(&b, key_of2(KEY_LEASE, file.lease_session, 7), &w);
    ck_assert_int_eq(kv_write(kv, &b), 0);
    kv_batch_done(&b);
    check_rest(1, kv, 0);
    kv_close(kv);
}

START_TEST(state_at_rest)
{
    check_file(0);
    check_file(NO_NAME | HELD);
    expect_silence();
    check_file(NO_NAME);
    expect_complaint("rest", "nobody holds it");
    check_file(NO_NAME | ENDED_HOLDS);
    expect_complaint("rest", "has ended and holds");
    check_file(ENDED_LEASES);
    expect_complaint("rest", "has ended and has the lease");
    check_file(ENDED_LOCKS);
    expect_complaint("rest", "has ended and has locks");
    check_file(NO_INODE);
    expect_complaint("rest", "is not there");
}
END_TEST

/* ---- progress ----------------------------------------------------------------------------------
 */

static void settled(void)
{
    for (uint32_t id = 1; id <= 3; id++)
        made[id].replica.ballot.leader = 1;
    lead(1, 1);
}

START_TEST(healed_and_quiet)
{
    settled();
    run.processes[2].frozen = true;
    made[2].replica.ballot.leader = 0;
    check_progress_healed(0);
    expect_silence();
}
END_TEST

START_TEST(nobody_leads)
{
    check_progress_healed(0);
    expect_complaint("progress", "no leader");
}
END_TEST

START_TEST(two_lead)
{
    settled();
    lead(2, 2);
    check_progress_healed(0);
    expect_complaint("progress", "both lead");
}
END_TEST

START_TEST(one_lags)
{
    settled();
    made[1].replica.commit = 7;
    made[2].replica.commit = 6;
    check_progress_healed(0);
    expect_complaint("progress", "caught up");
}
END_TEST

START_TEST(a_request_waits)
{
    struct request r = {.session = 11, .since = run.now};
    settled();
    list_push_back(&made[1].app.requests, &r.all);
    check_progress_healed(0);
    expect_silence();
    run.now += 3 * TIME_S;
    check_progress_healed(0);
    expect_complaint("progress", "waits at n1");
}
END_TEST

START_TEST(blocks_stay_missing)
{
    settled();
    made[2].node.state = (struct fs_state *)&made[2]; /* a copy; nobody looks into it */
    run.missing = 2;
    check_progress_healed(0);
    expect_complaint("progress", "misses 2 blocks; 11.1 is held by nobody");
    made[3].node.store = (struct store *)&made[3];
    run.holder = made[3].node.store;
    check_progress_healed(0);
    expect_complaint("progress", "11.1 is held by n3");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/checks");
    TCase *tc = tcase_create("checks");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, equal_logs);
    tcase_add_test(tc, another_entry_committed);
    tcase_add_test(tc, another_term_committed);
    tcase_add_test(tc, commit_goes_back);
    tcase_add_test(tc, commit_of_nothing);
    tcase_add_test(tc, committed_on_one_store);
    tcase_add_test(tc, committed_without_its_bytes);
    tcase_add_test(tc, destroyed_stores_count_as_holders);
    tcase_add_test(tc, uncommitted_entry_without_bytes);
    tcase_add_test(tc, undrafted_witness_with_an_uncommitted_entry);
    tcase_add_test(tc, drafted_witness_may);
    tcase_add_test(tc, acknowledged_and_not_durable);
    tcase_add_test(tc, leader_lacks_a_committed_entry);
    tcase_add_test(tc, deposed_leader_need_not_know);
    tcase_add_test(tc, entry_of_an_older_term_counted);
    tcase_add_test(tc, snapshot_under_a_leader);
    tcase_add_test(tc, entry_of_an_older_term_follows);
    tcase_add_test(tc, leaders_one_after_another);
    tcase_add_test(tc, two_leaders_in_a_term);
    tcase_add_test(tc, two_leaders_one_after_another);
    tcase_add_test(tc, two_votes_in_a_term);
    tcase_add_test(tc, vote_counted_before_it_is_durable);
    tcase_add_test(tc, term_forgotten);
    tcase_add_test(tc, vote_forgotten_by_a_restart);
    tcase_add_test(tc, vote_inside_a_promise);
    tcase_add_test(tc, vote_inside_a_promise_heard_of_later);
    tcase_add_test(tc, promise_ends_with_timeout_now);
    tcase_add_test(tc, promise_of_an_older_term_ends_with_timeout_now);
    tcase_add_test(tc, answer_counted_from_its_arrival);
    tcase_add_test(tc, leases_overlap);
    tcase_add_test(tc, leases_read_from_ballots);
    tcase_add_test(tc, a_lease_that_ran_out);
    tcase_add_test(tc, rescue_leader_proposes);
    tcase_add_test(tc, leader_that_nobody_answers);
    tcase_add_test(tc, steady_leaders);
    tcase_add_test(tc, equal_states);
    tcase_add_test(tc, states_differ);
    tcase_add_test(tc, applied_before_it_was_synced);
    tcase_add_test(tc, lease_goes_from_hand_to_hand);
    tcase_add_test(tc, two_holders);
    tcase_add_test(tc, epoch_goes_back);
    tcase_add_test(tc, stale_epoch_took_effect);
    tcase_add_test(tc, promise_beside_a_write_lease);
    tcase_add_test(tc, facts_of_mounts);
    tcase_add_test(tc, token_outlives_the_mount);
    tcase_add_test(tc, mounts_rely_on_what_is_promised);
    tcase_add_test(tc, locks_are_decided_in_one_place);
    tcase_add_test(tc, state_at_rest);
    tcase_add_test(tc, healed_and_quiet);
    tcase_add_test(tc, nobody_leads);
    tcase_add_test(tc, two_lead);
    tcase_add_test(tc, one_lags);
    tcase_add_test(tc, a_request_waits);
    tcase_add_test(tc, blocks_stay_missing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
