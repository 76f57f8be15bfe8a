/* A replica that follows: what it may say and write before something is durable, what it refuses,
 * what it forgets, and a snapshot that arrives in the middle of a write. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/lone.h"

/* DESIGN D2: "a message that's only true once something is durable is emitted after WRITTEN". */
START_TEST(answers_wait_for_the_disk)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 0);
    struct message m = append(4, 0, 0, 4, 3, BYTES_INLINE, 0);
    hear(&l, 1, &m);
    struct replica_effect *vote = find(&l, EFFECT_WRITE_VOTE),
                          *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert(vote && log);
    ck_assert_uint_eq(vote->write_vote.term, 4);
    ck_assert_uint_lt(vote->write_vote.write_seq, log->write_entries.write_seq);
    uint64_t vote_seq = vote->write_vote.write_seq, log_seq = log->write_entries.write_seq;
    ck_assert_uint_eq(log->write_entries.count, 3);
    ck_assert_ptr_null(find_message(&l, MESSAGE_APPEND_RESP)); /* not even the term is durable */
    written(&l, vote_seq);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 0);
    written(&l, log_seq);
    answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->append_resp.match, 3);
    ck_assert_uint_eq(answer->append_resp.term, 4);
    ck_assert_ptr_null(find(&l, EFFECT_ADVANCE)); /* durable, not committed */
    m = append(4, 3, 4, 4, 0, BYTES_NONE, 2);
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 2);
    lone_free(&l);
}
END_TEST

/* RULES B3: an entry above the commit index is not even written before its bytes are here; one
 * below may be (its names go to `missing`). */
START_TEST(uncommitted_entries_wait_for_their_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 2, BYTES_BY_PARTS, 1);
    hear(&l, 1, &m);
    struct replica_effect *ensure = find(&l, EFFECT_ENSURE), *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert(ensure && log);
    ck_assert_uint_eq(log->write_entries.count, 1);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 1);
    ck_assert_uint_eq(log->write_entries.commit, 1);
    ck_assert_uint_eq(ensure->ensure.refs[0].name.n, 2);
    uint64_t ticket = ensure->ensure.ticket, seq = log->write_entries.write_seq;
    written(&l, seq);
    ck_assert_ptr_null(find(&l, EFFECT_WRITE_ENTRIES));
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 1);
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket + 100}});
    ck_assert_ptr_null(find(&l, EFFECT_WRITE_ENTRIES)); /* some other ticket */
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket}});
    log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 2);
    lone_free(&l);
}
END_TEST

/* The same entry becomes committed meanwhile: it waits no longer, and nobody fetches for it. */
START_TEST(commit_ends_the_wait_for_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 1, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    uint64_t ticket = find(&l, EFFECT_ENSURE)->ensure.ticket;
    m = append(4, 1, 4, 4, 0, BYTES_NONE, 1);
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_ENSURE_END)->ensure.ticket, ticket);
    ck_assert_uint_eq(find(&l, EFFECT_WRITE_ENTRIES)->write_entries.commit, 1);
    lone_free(&l);
}
END_TEST

static struct message want(uint64_t id)
{
    struct message m = {.kind = MESSAGE_WANT};
    m.want.term = 4;
    m.want.id = id;
    m.want.refs_count = 1;
    m.want.refs = calloc(1, sizeof *m.want.refs);
    m.want.refs[0] = (struct block_ref){.name = {9, id}, .size = 100};
    return m;
}

/* A leader says nothing when it gives up a proposal; it no longer asks. */
START_TEST(a_want_ends_when_the_leader_asks_no_more)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 1, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    m = want(1);
    hear(&l, 1, &m);
    uint64_t given_up = find(&l, EFFECT_ENSURE)->ensure.ticket;
    m = want(2);
    hear(&l, 1, &m);
    uint64_t waits = find(&l, EFFECT_ENSURE)->ensure.ticket;
    for (int i = 0; i < 20; i++) {
        l.now += WANT_AGAIN_US;
        m = want(2);
        hear(&l, 1, &m);
        ck_assert_ptr_null(find(&l, EFFECT_ENSURE));
        struct replica_effect *end = find(&l, EFFECT_ENSURE_END);
        if (end) {
            ck_assert_uint_eq(end->ensure.ticket, given_up);
            given_up = 0;
        }
    }
    ck_assert_uint_eq(given_up, 0); /* and the entry waits on */
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {waits}});
    ck_assert_ptr_nonnull(find_message(&l, MESSAGE_HELD));
    m = want(1);
    hear(&l, 1, &m);
    ck_assert_ptr_nonnull(find(&l, EFFECT_ENSURE)); /* it was only slow */
    lone_free(&l);
}
END_TEST

static void expect_unchanged(struct lone *l, struct message m)
{
    struct replica_status before, after;
    replica_status(l->r, &before);
    hear(l, 1, &m);
    replica_status(l->r, &after);
    ck_assert_uint_eq(after.last_index, before.last_index);
    ck_assert_uint_eq(after.commit, before.commit);
    ck_assert_ptr_null(find(l, EFFECT_WRITE_ENTRIES));
}

START_TEST(impossible_appends_change_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 3, BYTES_NONE, 2);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    expect_unchanged(&l, append(5, 1, 4, 5, 1, BYTES_NONE, 2)); /* over a committed entry */
    expect_unchanged(&l, append(5, 3, 4, 6, 1, BYTES_NONE, 2)); /* an entry of a future term */
    m = append(5, 3, 4, 5, 2, BYTES_NONE, 2);
    struct entry *swap = m.append.entries[0];
    m.append.entries[0] = m.append.entries[1];
    m.append.entries[1] = swap; /* indexes out of order */
    expect_unchanged(&l, m);
    m = append(5, 3, 4, 5, 1, BYTES_NONE, 99); /* a commit index beyond what it sent */
    hear(&l, 1, &m);
    ck_assert_uint_eq(replica_commit(l.r), 4);
    ck_assert_uint_eq(replica_last_index(l.r), 4);
    lone_free(&l);
}
END_TEST

/* Ongaro 2014, 3.5: an uncommitted suffix of an older leader gives way. */
START_TEST(conflicting_suffix_is_replaced)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_NONE, 2);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(6, 4, 5, 6, 1, BYTES_NONE, 2); /* does not fit: our entry 4 is of term 4 */
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert(answer && answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.hint_index, 3);
    m = append(6, 2, 4, 5, 1, BYTES_NONE, 2);
    hear(&l, 1, &m);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 3);
    ck_assert_uint_eq(log->write_entries.entries[0]->term, 5);
    ck_assert_uint_eq(replica_last_index(l.r), 3);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 3);
    lone_free(&l);
}
END_TEST

/* What the store has of the new suffix's blocks it may have with an entry that is about to go: they
 * are looked for when the one that takes its place is written (simulator seed 3000231). */
START_TEST(blocks_of_a_replaced_entry_count_no_more)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 3, BYTES_INLINE, 1);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(6, 1, 4, 5, 1, BYTES_NONE, 1);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    m = append(6, 1, 4, 5, 1, BYTES_NONE, 1); /* in the place of entries 2 and 3 */
    hear(&l, 1, &m);
    m = append(6, 2, 5, 6, 2, BYTES_BY_PARTS, 1);
    hear(&l, 1, &m);
    ck_assert_ptr_null(find(&l, EFFECT_ENSURE));
    written(&l, l.r->write_seq);
    ck_assert_ptr_nonnull(find(&l, EFFECT_ENSURE));
    ck_assert_uint_eq(find(&l, EFFECT_ENSURE)->ensure.refs_count, 1);
    lone_free(&l);
}
END_TEST

/* A write of entries that were replaced meanwhile ends: it proves nothing about the new ones. */
START_TEST(write_of_replaced_entries_proves_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_NONE, 0);
    hear(&l, 1, &m);
    uint64_t old_seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    m = append(5, 2, 4, 5, 3, BYTES_NONE, 0);
    hear(&l, 3, &m);
    written(&l, find(&l, EFFECT_WRITE_VOTE)->write_vote.write_seq); /* the old entries with it */
    ck_assert_uint_eq(l.r->log.durable, 2);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_eq(answer->append_resp.match, 2);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_gt(log->write_entries.write_seq, old_seq);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 3);
    ck_assert_uint_eq(log->write_entries.entries[0]->term, 5);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 5);
    lone_free(&l);
}
END_TEST

/* ---- odds and ends --------------------------------------------------------------------------- */

/* PROTOCOL V6: a leader of the past is told so. */
START_TEST(old_leader_is_told_the_term)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 9);
    struct message m = append(8, 0, 0, 8, 1, BYTES_NONE, 0);
    hear(&l, 1, &m);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    ck_assert(answer && answer->append_resp.reject);
    ck_assert_uint_eq(answer->append_resp.term, 9);
    ck_assert_uint_eq(replica_last_index(l.r), 0);
    lone_free(&l);
}
END_TEST

/* Proposals and reads at a follower come to an end at once, and so does what is malformed. */
START_TEST(follower_drops_proposals_and_reads)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 31;
    ev.propose.kind = ENTRY_OP;
    step(&l, ev);
    ck_assert_uint_eq(find(&l, EFFECT_DROPPED)->at.ticket, 31);
    ck_assert_uint_eq(find(&l, EFFECT_DROPPED)->at.index, 0);
    step(&l, (struct replica_event){.kind = REPLICA_READ, .read = {.id = 32}});
    ck_assert_uint_eq(find(&l, EFFECT_READ_FAILED)->at.ticket, 32);
    lone_free(&l);
}
END_TEST

START_TEST(journal_that_does_not_continue_is_refused)
{
    struct lone l;
    lone_new(&l, 2);
    struct entry *one = entry_new(3, 1, ENTRY_NOOP, NULL, NULL, 0, NULL);
    struct entry *three = entry_new(3, 3, ENTRY_NOOP, NULL, NULL, 0, NULL);
    struct entry *older = entry_new(2, 2, ENTRY_NOOP, NULL, NULL, 0, NULL);
    ck_assert_int_eq(replica_load_entry(l.r, three), -EINVAL);
    ck_assert_int_eq(replica_load_entry(l.r, one), 0);
    ck_assert_int_eq(replica_load_entry(l.r, three), -EINVAL);
    ck_assert_int_eq(replica_load_entry(l.r, older), -EINVAL);
    lone_start(&l, 3);
    ck_assert_uint_eq(replica_last_index(l.r), 1);
    entry_unref(one);
    entry_unref(three);
    entry_unref(older);
    lone_free(&l);
}
END_TEST

static void install(struct lone *l, uint64_t index, uint64_t term)
{
    struct replica_event ev = {.kind = REPLICA_SNAPSHOT_INSTALLED};
    ev.snapshot_installed.index = index;
    ev.snapshot_installed.term = term;
    step(l, ev);
}

/* A slow disk: entries are known committed beyond the snapshot that now comes, but not written yet.
 * They stay, and are written again behind it; the write under way proves nothing any more. */
START_TEST(snapshot_in_the_middle_of_a_write)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 8, BYTES_NONE, 7);
    hear(&l, 1, &m);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    ck_assert_uint_eq(replica_commit(l.r), 7);
    install(&l, 5, 4);
    ck_assert_uint_eq(replica_commit(l.r), 7);
    ck_assert_uint_eq(replica_last_index(l.r), 8);
    ck_assert_uint_eq(l.r->log.base_index, 5);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 5);
    written(&l, seq);
    ck_assert_uint_eq(l.r->log.durable, 5);
    struct replica_effect *log = find(&l, EFFECT_WRITE_ENTRIES);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_eq(log->write_entries.entries[0]->index, 6);
    ck_assert_uint_eq(log->write_entries.count, 3);
    written(&l, log->write_entries.write_seq);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 8);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 7);
    lone_free(&l);
}
END_TEST

/* A witness behind a slow disk is told twice where the leader's log begins: the first write proves
 * nothing of the second (RULES B3). */
START_TEST(rebase_after_a_rebase_waits_for_its_own_write)
{
    struct lone l;
    lone_new(&l, 3);
    lone_start(&l, 4);
    struct message m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.rebase = true;
    hear(&l, 1, &m);
    uint64_t first = find(&l, EFFECT_WRITE_BASE)->write_base.write_seq;
    m = append(4, 30, 4, 4, 0, BYTES_NONE, 30);
    m.append.rebase = true;
    hear(&l, 1, &m);
    uint64_t second = find(&l, EFFECT_WRITE_BASE)->write_base.write_seq;
    written(&l, first);
    struct message *answer = find_message(&l, MESSAGE_APPEND_RESP);
    if (answer)
        ck_assert_uint_eq(answer->append_resp.match, 0);
    written(&l, second);
    ck_assert_uint_eq(find_message(&l, MESSAGE_APPEND_RESP)->append_resp.match, 30);
    lone_free(&l);
}
END_TEST

/* Bytes whose entries have left a witness's log may be all that is left of them: they go when every
 * copy has whole what the log begins above, and not with any demotion (RULES B6). Where it begins
 * moves with a leader whose own log begins later, and when it is cut. */
START_TEST(bytes_of_entries_before_the_log_outlast_a_demotion)
{
    struct lone l;
    lone_new(&l, 3);
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 5, BYTES_INLINE, 5);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(4, 5, 4, 4, 0, BYTES_NONE, 5);
    m.append.demote_index = 2;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 2);
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.rebase = true;
    m.append.demote_index = 2;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 0); /* the store is told ever again */
    written(&l, find(&l, EFFECT_WRITE_BASE)->write_base.write_seq);
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.demote_index = 19;
    hear(&l, 1, &m);
    ck_assert_ptr_null(find(&l, EFFECT_DEMOTE));
    m = append(4, 20, 4, 4, 0, BYTES_NONE, 20);
    m.append.demote_index = 20;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 20);
    lone_free(&l);
}
END_TEST

START_TEST(bytes_of_entries_cut_from_the_log_outlast_a_demotion)
{
    struct lone l;
    lone_new(&l, 3);
    l.r->config.witness_log_bytes = 1;
    lone_start(&l, 4);
    struct message m = append(4, 0, 0, 4, 10, BYTES_INLINE, 10);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    m = append(4, 10, 4, 4, 0, BYTES_NONE, 10);
    m.append.keep_index = 8; /* all copies have applied that, and one of them lacks bytes */
    m.append.demote_index = 3;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_TRUNCATE)->at.index, 8);
    ck_assert_ptr_null(find(&l, EFFECT_DEMOTE));
    m = append(4, 10, 4, 4, 0, BYTES_NONE, 10);
    m.append.keep_index = 8;
    m.append.demote_index = 9;
    hear(&l, 1, &m);
    ck_assert_uint_eq(find(&l, EFFECT_DEMOTE)->at.index, 9);
    lone_free(&l);
}
END_TEST

/* Its last entry contradicts ours, or lies beyond our log: ours is void. */
START_TEST(snapshot_that_contradicts_the_log)
{
    for (uint64_t index = 3; index <= 20; index += 17) {
        struct lone l;
        lone_new(&l, 2);
        lone_start(&l, 4);
        struct message m = append(4, 0, 0, 4, 8, BYTES_NONE, 1);
        hear(&l, 1, &m);
        written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
        install(&l, index, 6);
        ck_assert_uint_eq(replica_last_index(l.r), index);
        ck_assert_uint_eq(replica_commit(l.r), index);
        ck_assert_uint_eq(replica_term(l.r), 6); /* whatever term we thought it was */
        lone_free(&l);
    }
}
END_TEST

/* The memory of events handed in stays the caller's, of effects the caller's to clear: ASan looks
 * on while every effect is dropped unseen. */
START_TEST(unseen_effects_leak_nothing)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 4);
    for (uint64_t i = 0; i < 40; i++) {
        struct message m = append(4, i * 3, i ? 4 : 0, 4, 3, (enum bytes_form)(i % 3), i * 2);
        hear(&l, 1, &m);
    }
    ck_assert_uint_eq(replica_last_index(l.r), 120);
    lone_free(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/step");
    TCase *tc = tcase_create("step");
    tcase_add_test(tc, answers_wait_for_the_disk);
    tcase_add_test(tc, uncommitted_entries_wait_for_their_bytes);
    tcase_add_test(tc, commit_ends_the_wait_for_bytes);
    tcase_add_test(tc, a_want_ends_when_the_leader_asks_no_more);
    tcase_add_test(tc, impossible_appends_change_nothing);
    tcase_add_test(tc, conflicting_suffix_is_replaced);
    tcase_add_test(tc, blocks_of_a_replaced_entry_count_no_more);
    tcase_add_test(tc, write_of_replaced_entries_proves_nothing);
    tcase_add_test(tc, old_leader_is_told_the_term);
    tcase_add_test(tc, follower_drops_proposals_and_reads);
    tcase_add_test(tc, journal_that_does_not_continue_is_refused);
    tcase_add_test(tc, snapshot_in_the_middle_of_a_write);
    tcase_add_test(tc, rebase_after_a_rebase_waits_for_its_own_write);
    tcase_add_test(tc, bytes_of_entries_before_the_log_outlast_a_demotion);
    tcase_add_test(tc, bytes_of_entries_cut_from_the_log_outlast_a_demotion);
    tcase_add_test(tc, snapshot_that_contradicts_the_log);
    tcase_add_test(tc, unseen_effects_leak_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
