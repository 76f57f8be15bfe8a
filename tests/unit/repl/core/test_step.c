/* A replica that follows: what it may say and write before something is durable, what it refuses,
 * what it forgets, and a snapshot that arrives in the middle of a write. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/lone.h"

enum { LEADER = 1, OTHER = 3 };

static void copy_in_term_4(void)
{
    lone_new(2);
    lone_start(4);
}

static void witness_in_term_4(void)
{
    lone_new(3);
    lone_start(4);
}

/* `count` entries of term 4 from its beginning, written. */
static void follow(uint32_t count, enum bytes_form bytes, uint64_t commit)
{
    hear_append(LEADER, (struct append){4, .count = count, .bytes = bytes, .commit = commit});
    written(EFFECT_WRITE_ENTRIES);
}

static void expect_rejected(uint64_t term)
{
    const struct message *answer = find_message(MESSAGE_APPEND_RESP);
    ck_assert(answer && answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.term, term);
}

static void expect_log(uint64_t last, uint64_t commit)
{
    ck_assert_uint_eq(replica_last_index(l.r), last);
    ck_assert_uint_eq(replica_commit(l.r), commit);
}

/* ---- before something is durable ------------------------------------------------------------- */

/* DESIGN D2: "a message that's only true once something is durable is emitted after WRITTEN". */
START_TEST(answers_wait_for_the_disk)
{
    lone_new(2);
    lone_start(0);
    hear_append(LEADER, (struct append){4, .count = 3, .bytes = BYTES_INLINE});
    uint64_t vote = write_of(EFFECT_WRITE_VOTE), log = write_of(EFFECT_WRITE_ENTRIES);
    ck_assert_uint_eq(find(EFFECT_WRITE_VOTE)->write_vote.term, 4);
    ck_assert_uint_lt(vote, log);
    expect_entries(1, 4, 3);
    ck_assert_ptr_null(find_message(MESSAGE_APPEND_RESP)); /* not even the term is durable */
    written_to(vote);
    expect_match_if_told(0);
    written_to(log);
    expect_match(3);
    expect_none(EFFECT_ADVANCE); /* durable, not committed */
    hear_append(LEADER, (struct append){4, .prev = 3, .commit = 2});
    expect_index(EFFECT_ADVANCE, 2);
}
END_TEST

/* RULES B3: an entry above the commit index is not even written before its bytes are here; one
 * below may be (its names go to `missing`). */
START_TEST(uncommitted_entries_wait_for_their_bytes)
{
    hear_append(LEADER, (struct append){4, .count = 2, .bytes = BYTES_BY_PARTS, .commit = 1});
    uint64_t ticket = ticket_of(EFFECT_ENSURE);
    ck_assert_uint_eq(find(EFFECT_ENSURE)->ensure.refs[0].name.n, 2);
    expect_entries(1, 4, 1);
    ck_assert_uint_eq(find(EFFECT_WRITE_ENTRIES)->write_entries.commit, 1);
    written(EFFECT_WRITE_ENTRIES);
    expect_none(EFFECT_WRITE_ENTRIES);
    expect_match(1);
    ensured(ticket + 100); /* some other one */
    expect_none(EFFECT_WRITE_ENTRIES);
    ensured(ticket);
    expect_entries(2, 4, 1);
}
END_TEST

/* The same entry becomes committed meanwhile: it waits no longer, and nobody fetches for it. */
START_TEST(commit_ends_the_wait_for_bytes)
{
    hear_append(LEADER, (struct append){4, .count = 1, .bytes = BYTES_BY_PARTS});
    uint64_t ticket = ticket_of(EFFECT_ENSURE);
    hear_append(LEADER, (struct append){4, .prev = 1, .commit = 1});
    ck_assert_uint_eq(ticket_of(EFFECT_ENSURE_END), ticket);
    ck_assert_uint_eq(find(EFFECT_WRITE_ENTRIES)->write_entries.commit, 1);
}
END_TEST

static void hear_want(uint64_t id)
{
    struct message m = {.kind = MESSAGE_WANT};
    m.want.term = 4;
    m.want.id = id;
    m.want.refs_count = 1;
    m.want.refs = calloc(1, sizeof *m.want.refs);
    m.want.refs[0] = (struct block_ref){.name = {9, id}, .size = 100};
    hear(LEADER, &m);
}

/* A leader says nothing when it gives up a proposal; it no longer asks. */
START_TEST(a_want_ends_when_the_leader_asks_no_more)
{
    hear_append(LEADER, (struct append){4, .count = 1, .bytes = BYTES_BY_PARTS});
    hear_want(1);
    uint64_t given_up = ticket_of(EFFECT_ENSURE);
    hear_want(2);
    uint64_t waits = ticket_of(EFFECT_ENSURE);
    for (int i = 0; i < 20; i++) {
        l.now += WANT_AGAIN_US;
        hear_want(2);
        expect_none(EFFECT_ENSURE);
        if (find(EFFECT_ENSURE_END)) {
            ck_assert_uint_eq(ticket_of(EFFECT_ENSURE_END), given_up);
            given_up = 0;
        }
    }
    ck_assert_uint_eq(given_up, 0); /* and the entry waits on */
    ensured(waits);
    ck_assert_ptr_nonnull(find_message(MESSAGE_HELD));
    hear_want(1);
    ck_assert_ptr_nonnull(find(EFFECT_ENSURE)); /* it was only slow */
}
END_TEST

/* ---- what does not fit ----------------------------------------------------------------------- */

static void expect_unchanged(struct message m)
{
    uint64_t last = replica_last_index(l.r), commit = replica_commit(l.r);
    hear(LEADER, &m);
    expect_log(last, commit);
    expect_none(EFFECT_WRITE_ENTRIES);
}

START_TEST(impossible_appends_change_nothing)
{
    struct append over_committed = {5, .prev = 1, .prev_term = 4, .count = 1, .commit = 2};
    struct append of_the_future = {5,          .prev = 3,  .prev_term = 4, .entry_term = 6,
                                   .count = 1, .commit = 2};
    struct append two = {5, .prev = 3, .prev_term = 4, .count = 2, .commit = 2};
    struct append knows_too_much = {5, .prev = 3, .prev_term = 4, .count = 1, .commit = 99};
    follow(3, BYTES_NONE, 2);
    expect_unchanged(append_message(over_committed));
    expect_unchanged(append_message(of_the_future));
    struct message m = append_message(two);
    struct entry *swap = m.append.entries[0];
    m.append.entries[0] = m.append.entries[1];
    m.append.entries[1] = swap; /* indexes out of order */
    expect_unchanged(m);
    hear_append(LEADER, knows_too_much); /* a commit index beyond what it sent */
    expect_log(4, 4);
}
END_TEST

/* Ongaro 2014, 3.5: an uncommitted suffix of an older leader gives way. */
START_TEST(conflicting_suffix_is_replaced)
{
    follow(5, BYTES_NONE, 2);
    hear_append(LEADER, (struct append){6, .prev = 4, .prev_term = 5, .count = 1, .commit = 2});
    written(EFFECT_WRITE_VOTE); /* it does not fit: our entry 4 is of term 4 */
    expect_rejected(6);
    ck_assert_uint_eq(find_message(MESSAGE_APPEND_RESP)->append_resp.hint_index, 3);
    hear_append(LEADER, (struct append){6, 2, 4, 5, .count = 1, .commit = 2});
    expect_entries(3, 5, 1);
    expect_log(3, 2);
    written(EFFECT_WRITE_ENTRIES);
    expect_match(3);
}
END_TEST

/* What the store has of the new suffix's blocks it may have with an entry that is about to go: they
 * are looked for when the one that takes its place is written (simulator seed 3000231). */
START_TEST(blocks_of_a_replaced_entry_count_no_more)
{
    const struct append in_the_place_of_2 = {6, 1, 4, 5, .count = 1, .commit = 1};
    follow(3, BYTES_INLINE, 1);
    hear_append(LEADER, in_the_place_of_2);
    written(EFFECT_WRITE_VOTE);
    hear_append(LEADER, in_the_place_of_2); /* and of 3 */
    hear_append(LEADER, (struct append){6, 2, 5, .count = 2, .bytes = BYTES_BY_PARTS, .commit = 1});
    expect_none(EFFECT_ENSURE);
    written_all();
    ck_assert_uint_ne(ticket_of(EFFECT_ENSURE), 0);
    ck_assert_uint_eq(find(EFFECT_ENSURE)->ensure.refs_count, 1);
}
END_TEST

/* The new suffix is cut itself while it is being written: what was to wait for its first entry
 * waits for the one that takes the place of what the journal gets last. */
START_TEST(blocks_of_an_entry_replaced_twice_count_no_more)
{
    const struct append in_the_place_of_2 = {6, 1, 4, 5, .count = 2, .bytes = BYTES_INLINE};
    follow(3, BYTES_INLINE, 1);
    hear_append(LEADER, in_the_place_of_2);
    uint64_t first = write_of(EFFECT_WRITE_ENTRIES);
    hear_append(OTHER, (struct append){7, .prev = 2, .prev_term = 5, .count = 1});
    hear_append(OTHER, (struct append){7, .prev = 3, .count = 1, .bytes = BYTES_BY_PARTS});
    expect_none(EFFECT_ENSURE);
    written_to(first); /* the journal has the old 3 of term 5 */
    expect_none(EFFECT_ENSURE);
    expect_entries(3, 7, 1);
    written(EFFECT_WRITE_ENTRIES);
    ck_assert_uint_ne(ticket_of(EFFECT_ENSURE), 0);
}
END_TEST

/* A write of entries that were replaced meanwhile ends: it proves nothing about the new ones. */
START_TEST(write_of_replaced_entries_proves_nothing)
{
    hear_append(LEADER, (struct append){4, .count = 5});
    uint64_t old = write_of(EFFECT_WRITE_ENTRIES);
    hear_append(OTHER, (struct append){5, .prev = 2, .prev_term = 4, .count = 3});
    written(EFFECT_WRITE_VOTE); /* the old entries with it */
    ck_assert_uint_eq(l.r->log.durable, 2);
    expect_match(2);
    expect_entries(3, 5, 3);
    ck_assert_uint_gt(write_of(EFFECT_WRITE_ENTRIES), old);
    written(EFFECT_WRITE_ENTRIES);
    expect_match(5);
}
END_TEST

/* ---- odds and ends --------------------------------------------------------------------------- */

/* PROTOCOL V6: a leader of the past is told so. */
START_TEST(old_leader_is_told_the_term)
{
    lone_new(2);
    lone_start(9);
    hear_append(LEADER, (struct append){8, .count = 1});
    expect_rejected(9);
    expect_log(0, 0);
}
END_TEST

/* Proposals and reads at a follower come to an end at once, and so does what is malformed. */
START_TEST(follower_drops_proposals_and_reads)
{
    propose(31, NULL, NULL, 0);
    expect_ticket(EFFECT_DROPPED, 31);
    expect_index(EFFECT_DROPPED, 0);
    ask_read(32);
    expect_ticket(EFFECT_READ_FAILED, 32);
}
END_TEST

static int load(uint64_t term, uint64_t index)
{
    struct entry *e = entry_new(term, index, ENTRY_NOOP, NULL, NULL, 0, NULL);
    int rc = replica_load_entry(l.r, e);
    entry_unref(e);
    return rc;
}

START_TEST(journal_that_does_not_continue_is_refused)
{
    lone_new(2);
    ck_assert_int_eq(load(3, 3), -EINVAL);
    ck_assert_int_eq(load(3, 1), 0);
    ck_assert_int_eq(load(3, 3), -EINVAL);
    ck_assert_int_eq(load(2, 2), -EINVAL);
    lone_start(3);
    expect_log(1, 0);
}
END_TEST

/* ---- snapshots ------------------------------------------------------------------------------- */

static void install(uint64_t index, uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_SNAPSHOT_INSTALLED};
    ev.snapshot_installed.index = index;
    ev.snapshot_installed.term = term;
    step(ev);
}

/* A slow disk: entries are known committed beyond the snapshot that now comes, but not written yet.
 * They stay, and are written again behind it; the write under way proves nothing any more. */
START_TEST(snapshot_in_the_middle_of_a_write)
{
    hear_append(LEADER, (struct append){4, .count = 8, .commit = 7});
    uint64_t under_way = write_of(EFFECT_WRITE_ENTRIES);
    expect_log(8, 7);
    install(5, 4);
    expect_log(8, 7);
    ck_assert_uint_eq(l.r->log.base_index, 5);
    expect_match_if_told(5);
    written_to(under_way);
    ck_assert_uint_eq(l.r->log.durable, 5);
    expect_entries(6, 4, 3);
    written(EFFECT_WRITE_ENTRIES);
    expect_match(8);
    expect_index(EFFECT_ADVANCE, 7);
}
END_TEST

/* Its last entry contradicts ours, or lies beyond our log: ours is void. */
START_TEST(snapshot_that_contradicts_the_log)
{
    const uint64_t index = _i ? 20 : 3;
    follow(8, BYTES_NONE, 1);
    install(index, 6);
    expect_log(index, index);
    ck_assert_uint_eq(replica_term(l.r), 6); /* whatever term we thought it was */
}
END_TEST

/* The entry for whose write others wait is part of it, and is never written. */
START_TEST(snapshot_in_the_place_of_replaced_entries)
{
    const struct append in_the_place_of_2 = {
        6, 1, 4, 5, .count = 1, .bytes = BYTES_BY_PARTS, .commit = 1};
    follow(3, BYTES_INLINE, 1);
    hear_append(LEADER, in_the_place_of_2);
    hear_append(LEADER, (struct append){6, 2, 5, .count = 2, .bytes = BYTES_BY_PARTS, .commit = 1});
    written_all();
    expect_none(EFFECT_ENSURE);
    install(3, 6);
    expect_log(4, 3);
    ck_assert_uint_eq(find(EFFECT_ENSURE) ? find(EFFECT_ENSURE)->ensure.refs[0].name.n : 0, 4);
    ensured(ticket_of(EFFECT_ENSURE));
    expect_entries(4, 6, 1);
}
END_TEST

/* The memory of events handed in stays the caller's, of effects the caller's to clear: ASan looks
 * on while every effect is dropped unseen. */
START_TEST(unseen_effects_leak_nothing)
{
    for (uint64_t i = 0; i < 40; i++)
        hear_append(LEADER, (struct append){4, .prev = i * 3, .count = 3,
                                            .bytes = (enum bytes_form)(i % 3), .commit = i * 2});
    ck_assert_uint_eq(replica_last_index(l.r), 120);
}
END_TEST

/* ---- the witness ----------------------------------------------------------------------------- */

/* A witness behind a slow disk is told twice where the leader's log begins: the first write proves
 * nothing of the second (RULES B3). */
START_TEST(rebase_after_a_rebase_waits_for_its_own_write)
{
    hear_append(LEADER, (struct append){4, .prev = 20, .commit = 20, .rebase = true});
    uint64_t first = write_of(EFFECT_WRITE_BASE);
    hear_append(LEADER, (struct append){4, .prev = 30, .commit = 30, .rebase = true});
    uint64_t second = write_of(EFFECT_WRITE_BASE);
    written_to(first);
    expect_match_if_told(0);
    written_to(second);
    expect_match(30);
}
END_TEST

/* Bytes whose entries have left a witness's log may be all that is left of them: they go when every
 * copy has whole what the log begins above, and not with any demotion (RULES B6). Where it begins
 * moves with a leader whose own log begins later, and when it is cut. */
START_TEST(bytes_of_entries_before_the_log_outlast_a_demotion)
{
    follow(5, BYTES_INLINE, 5);
    hear_append(LEADER, (struct append){4, .prev = 5, .commit = 5, .demote = 2});
    expect_index(EFFECT_DEMOTE, 2);
    hear_append(LEADER, (struct append){4, .prev = 20, .commit = 20, .rebase = true, .demote = 2});
    expect_index(EFFECT_DEMOTE, 0); /* the store is told ever again */
    written(EFFECT_WRITE_BASE);
    hear_append(LEADER, (struct append){4, .prev = 20, .commit = 20, .demote = 19});
    expect_none(EFFECT_DEMOTE);
    hear_append(LEADER, (struct append){4, .prev = 20, .commit = 20, .demote = 20});
    expect_index(EFFECT_DEMOTE, 20);
}
END_TEST

START_TEST(bytes_of_entries_cut_from_the_log_outlast_a_demotion)
{
    l.r->config.witness_log_bytes = 1;
    follow(10, BYTES_INLINE, 10);
    /* All copies have applied 8, and one of them lacks bytes. */
    hear_append(LEADER, (struct append){4, .prev = 10, .commit = 10, .keep = 8, .demote = 3});
    expect_index(EFFECT_TRUNCATE, 8);
    expect_none(EFFECT_DEMOTE);
    hear_append(LEADER, (struct append){4, .prev = 10, .commit = 10, .keep = 8, .demote = 9});
    expect_index(EFFECT_DEMOTE, 9);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/step");
    TCase *tc = tcase_create("another start");
    tcase_add_checked_fixture(tc, NULL, lone_free);
    tcase_add_test(tc, answers_wait_for_the_disk);
    tcase_add_test(tc, old_leader_is_told_the_term);
    tcase_add_test(tc, journal_that_does_not_continue_is_refused);
    suite_add_tcase(suite, tc);
    tc = tcase_create("copy");
    tcase_add_checked_fixture(tc, copy_in_term_4, lone_free);
    tcase_add_test(tc, uncommitted_entries_wait_for_their_bytes);
    tcase_add_test(tc, commit_ends_the_wait_for_bytes);
    tcase_add_test(tc, a_want_ends_when_the_leader_asks_no_more);
    tcase_add_test(tc, impossible_appends_change_nothing);
    tcase_add_test(tc, conflicting_suffix_is_replaced);
    tcase_add_test(tc, blocks_of_a_replaced_entry_count_no_more);
    tcase_add_test(tc, blocks_of_an_entry_replaced_twice_count_no_more);
    tcase_add_test(tc, write_of_replaced_entries_proves_nothing);
    tcase_add_test(tc, follower_drops_proposals_and_reads);
    tcase_add_test(tc, snapshot_in_the_middle_of_a_write);
    tcase_add_test(tc, snapshot_in_the_place_of_replaced_entries);
    tcase_add_loop_test(tc, snapshot_that_contradicts_the_log, 0, 2);
    tcase_add_test(tc, unseen_effects_leak_nothing);
    suite_add_tcase(suite, tc);
    tc = tcase_create("witness");
    tcase_add_checked_fixture(tc, witness_in_term_4, lone_free);
    tcase_add_test(tc, rebase_after_a_rebase_waits_for_its_own_write);
    tcase_add_test(tc, bytes_of_entries_before_the_log_outlast_a_demotion);
    tcase_add_test(tc, bytes_of_entries_cut_from_the_log_outlast_a_demotion);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
