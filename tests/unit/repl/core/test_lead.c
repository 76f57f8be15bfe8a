/* A replica that leads: what counts as committed, what may be read, and what goes to whom when. */
#include <stdlib.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/lone.h"

static void ballot(struct lone *l, uint32_t from, enum ballot_message_kind kind, uint64_t term,
                   uint64_t ballot_term)
{
    struct message m = {.kind = MESSAGE_BALLOT};
    m.ballot = (struct ballot_message){.kind = kind,
                                       .from = from,
                                       .to = l->config.self,
                                       .term = term,
                                       .ballot = ballot_term,
                                       .granted = true};
    hear(l, from, &m);
}

static void respond(struct lone *l, uint32_t from, uint64_t match, uint64_t read_round)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = replica_term(l->r);
    m.append_resp.match = match;
    m.append_resp.read_round = read_round;
    hear(l, from, &m);
}

/* Node 2 becomes leader of the term after its last with the votes of node 3. */
static void lone_elect(struct lone *l)
{
    uint64_t before = replica_term(l->r);
    for (int i = 0; i < 200 && !find_message(l, MESSAGE_BALLOT); i++) {
        l->now += 20 * TIME_MS;
        step(l, (struct replica_event){.kind = REPLICA_TICK});
    }
    ballot(l, 3, BALLOT_MSG_PREVOTE_RESP, before, before + 1);
    for (int i = 0; i < 20 && !find(l, EFFECT_WRITE_VOTE); i++) {
        l->now += 20 * TIME_MS;
        step(l, (struct replica_event){.kind = REPLICA_TICK});
    }
    written(l, find(l, EFFECT_WRITE_VOTE)->write_vote.write_seq);
    ballot(l, 3, BALLOT_MSG_VOTE_RESP, before + 1, before + 1);
    ck_assert_int_eq(replica_role(l->r), REPLICA_LEADER);
    ck_assert_uint_eq(replica_term(l->r), before + 1);
}

/* V8 (Ongaro 2014, figure 3.7): entries of earlier terms are committed only together with one of
 * its own, however many nodes hold them. */
START_TEST(old_entries_commit_with_a_new_one)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    struct message m = append(2, 0, 0, 2, 3, BYTES_NONE, 0);
    hear(&l, 1, &m);
    written(&l, find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq);
    lone_elect(&l);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    ck_assert_uint_eq(replica_last_index(l.r), 4); /* with its first entry */
    respond(&l, 3, 3, 0);
    respond(&l, 1, 3, 0); /* all three hold entry 3 */
    ck_assert_uint_eq(replica_commit(l.r), 0);
    respond(&l, 3, 4, 0);
    ck_assert_uint_eq(replica_commit(l.r), 0); /* one node besides a leader that has not written */
    written(&l, seq);
    ck_assert_uint_eq(replica_commit(l.r), 4);
    ck_assert_uint_eq(find(&l, EFFECT_ADVANCE)->at.index, 4);
    lone_free(&l);
}
END_TEST

static void ask_read(struct lone *l, uint64_t id)
{
    step(l, (struct replica_event){.kind = REPLICA_READ, .read = {.id = id}});
}

/* E1: without a lease a read waits for a round begun after it came: an earlier one proves nothing.
 */
START_TEST(read_needs_a_round_of_its_own)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    ask_read(&l, 71); /* before the first commit of the term: not even a round is begun */
    ck_assert_ptr_null(find(&l, EFFECT_READ_READY));
    written(&l, 100);
    respond(&l, 3, 1, 0);
    ck_assert_uint_eq(replica_commit(l.r), 1);
    uint64_t first = find_message(&l, MESSAGE_APPEND)->append.read_round;
    ck_assert_uint_gt(first, 0);
    ask_read(&l, 72);
    uint64_t second = find_message(&l, MESSAGE_APPEND)->append.read_round;
    ck_assert_uint_gt(second, first);
    respond(&l, 3, 1, first);
    ck_assert_uint_eq(find(&l, EFFECT_READ_READY)->at.ticket, 71);
    respond(&l, 1, 1, first);
    ck_assert_ptr_null(find(&l, EFFECT_READ_READY));
    respond(&l, 1, 1, second);
    ck_assert_uint_eq(find(&l, EFFECT_READ_READY)->at.ticket, 72);
    lone_free(&l);
}
END_TEST

/* RULES B3: what a new leader's log holds has its bytes: an entry that still waited for them, and
 * of which nobody was told, goes. */
START_TEST(new_leader_drops_what_lacks_bytes)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    struct message m = append(2, 0, 0, 2, 2, BYTES_BY_PARTS, 0);
    hear(&l, 1, &m);
    ck_assert_uint_eq(replica_last_index(l.r), 2);
    lone_elect(&l);
    ck_assert_uint_eq(replica_last_index(l.r), 1);
    ck_assert_int_eq(replica_entry(l.r, 1)->kind, ENTRY_NOOP);
    lone_free(&l);
}
END_TEST

/* The APPEND to `to` in the last step, NULL: none. */
static const struct message_append *append_to(const struct lone *l, uint32_t to)
{
    for (size_t i = 0; i < l->u.count; i++) {
        const struct replica_effect *f = &l->u.effects[i];
        if (f->kind == EFFECT_SEND && f->send.to == to && f->send.message.kind == MESSAGE_APPEND)
            return &f->send.message.append;
    }
    return NULL;
}

/* Proposes without blocks; it becomes `index`, and is written here. */
static void propose_plain(struct lone *l, uint64_t index)
{
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = index;
    ev.propose.kind = ENTRY_OP;
    step(l, ev);
    ck_assert_uint_eq(find(l, EFFECT_APPENDED)->at.index, index);
}

/* Node 2 leads, 1 and 3 have all there is, and the heartbeats of the beginning are over. */
static void lone_lead(struct lone *l)
{
    lone_new(l, 2);
    lone_start(l, 2);
    lone_elect(l);
    written(l, 100);
    respond(l, 1, 1, 0);
    respond(l, 3, 1, 0);
    for (int i = 0; i < 4; i++)
        step(l, (struct replica_event){.kind = REPLICA_TICK});
}

/* A message for the commit index alone would wake the copy once more for every entry. */
START_TEST(commit_index_rides_with_the_next_entries)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_uint_eq(append_to(&l, 1)->entries_count, 1);
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_uint_eq(replica_commit(l.r), 2);
    ck_assert_ptr_null(append_to(&l, 1));
    propose_plain(&l, 3);
    ck_assert_uint_eq(append_to(&l, 1)->commit, 2);
    written(&l, 100);
    respond(&l, 1, 3, 0);
    ck_assert_ptr_null(append_to(&l, 1));
    ck_assert_uint_le(l.u.wake_at, l.now + NEWS_US); /* no entries come: told by itself */
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 1)->commit, 3);
    ck_assert_uint_eq(append_to(&l, 1)->entries_count, 0);
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_ptr_null(append_to(&l, 1)); /* once */
    lone_free(&l);
}
END_TEST

/* Who asked the leader may ask a copy next, for what is committed now. */
START_TEST(commit_index_hurries_before_a_read)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_ptr_null(append_to(&l, 1));
    ask_read(&l, 71);
    ck_assert_uint_eq(append_to(&l, 1)->commit, 2);
    lone_free(&l);
}
END_TEST

/* Mounts that do nothing renew their sessions every second: that alone must not make the leader
 * send heartbeats as if there was work. */
START_TEST(renewals_leave_the_leader_idle)
{
    struct lone l;
    lone_lead(&l);
    l.now += ACTIVE_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    time_us at = l.r->heartbeat_at;
    ck_assert_uint_eq(at, l.now + HEARTBEAT_IDLE_US);
    struct replica_event renewal = {.kind = REPLICA_READ, .read = {.id = 71, .aside = true}};
    step(&l, renewal);
    respond(&l, 1, 1, append_to(&l, 1)->read_round);
    ck_assert_ptr_nonnull(find(&l, EFFECT_READ_READY));
    ck_assert_uint_eq(l.r->heartbeat_at, at);
    ask_read(&l, 72);
    ck_assert_uint_lt(l.r->heartbeat_at, at);
    lone_free(&l);
}
END_TEST

/* The copies are a majority: the witness's disk and links are left alone but for heartbeats. */
START_TEST(witness_gets_entries_with_heartbeats)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_ptr_null(append_to(&l, 3));
    written(&l, 100);
    respond(&l, 1, 2, 0);
    ck_assert_ptr_null(append_to(&l, 3));
    propose_plain(&l, 3);
    ck_assert_ptr_null(append_to(&l, 3));
    l.now += HEARTBEAT_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 2);
    lone_free(&l);
}
END_TEST

START_TEST(witness_gets_entries_at_once_when_a_copy_is_gone)
{
    struct lone l;
    lone_lead(&l);
    propose_plain(&l, 2);
    ck_assert_ptr_null(append_to(&l, 3));
    struct replica_event down = {.kind = REPLICA_LINK_DOWN};
    down.link.peer = 1;
    step(&l, down);
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1);
    propose_plain(&l, 3);
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1);
    lone_free(&l);
}
END_TEST

/* RULES B4: an undrafted witness gets nothing that names blocks before it is committed. */
START_TEST(undrafted_witness_gets_no_names)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    written(&l, 100);
    respond(&l, 1, 1, 0);
    respond(&l, 3, 1, 0);
    ck_assert_uint_eq(replica_draft_mask(l.r), 0);
    struct block_ref ref = {.name = {9, 1}, .size = 10};
    struct blob *bytes = blob_copy("0123456789", 10);
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 5;
    ev.propose.kind = ENTRY_OP;
    ev.propose.blocks = &ref;
    ev.propose.blocks_count = 1;
    ev.propose.inline_bytes = bytes;
    step(&l, ev);
    ck_assert_uint_eq(find(&l, EFFECT_APPENDED)->at.index, 2);
    uint64_t seq = find(&l, EFFECT_WRITE_ENTRIES)->write_entries.write_seq;
    bool to_copy = false;
    for (size_t i = 0; i < l.u.count; i++) {
        const struct replica_effect *f = &l.u.effects[i];
        if (f->kind != EFFECT_SEND || f->send.message.kind != MESSAGE_APPEND)
            continue;
        to_copy = to_copy || (f->send.to == 1 && f->send.message.append.entries_count == 1);
        ck_assert(f->send.to != 3 || f->send.message.append.entries_count == 0);
    }
    ck_assert(to_copy);
    written(&l, seq);
    respond(&l, 1, 2, 0);
    ck_assert_uint_eq(replica_commit(l.r), 2);
    l.now += HEARTBEAT_US;
    step(&l, (struct replica_event){.kind = REPLICA_TICK});
    ck_assert_uint_eq(append_to(&l, 3)->entries_count, 1); /* now, without bytes */
    ck_assert_ptr_null(append_to(&l, 3)->entries[0]->inline_bytes);
    blob_unref(bytes);
    lone_free(&l);
}
END_TEST

/* A store that was restarted may have lost what a mount had sent it (RULES B9). */
START_TEST(restarted_store_holds_nothing_for_sure)
{
    struct lone l;
    lone_new(&l, 2);
    lone_start(&l, 2);
    lone_elect(&l);
    written(&l, 100);
    respond(&l, 1, 1, 0);
    struct block_ref ref = {.name = {9, 1}, .size = 10};
    struct replica_event ev = {.kind = REPLICA_PROPOSE};
    ev.propose.ticket = 5;
    ev.propose.kind = ENTRY_OP;
    ev.propose.blocks = &ref;
    ev.propose.blocks_count = 1;
    ev.propose.holders = 1u << 1 | 1u << 2;
    step(&l, ev);
    uint64_t ticket = find(&l, EFFECT_ENSURE)->ensure.ticket;
    struct replica_event link = {.kind = REPLICA_LINK_DOWN};
    link.link.peer = 1;
    step(&l, link);
    link.kind = REPLICA_LINK_UP;
    link.link.store_boot = 8;
    step(&l, link);
    step(&l, (struct replica_event){.kind = REPLICA_ENSURED, .ensured = {ticket}});
    ck_assert_ptr_null(find(&l, EFFECT_APPENDED)); /* its own store alone is no f+1 */
    ck_assert(replica_holds_block(l.r, ref.name)); /* so that it stays (simulator seed 600859) */
    ck_assert(!replica_holds_block(l.r, (struct block_name){9, 2}));
    struct message *want = find_message(&l, MESSAGE_WANT);
    ck_assert_ptr_nonnull(want);
    struct message held = {.kind = MESSAGE_HELD};
    held.held.term = replica_term(l.r);
    held.held.id = want->want.id;
    hear(&l, 1, &held);
    ck_assert_uint_eq(find(&l, EFFECT_APPENDED)->at.ticket, 5);
    ck_assert(!replica_holds_block(l.r, ref.name)); /* its entry names it now */
    lone_free(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/lead");
    TCase *tc = tcase_create("lead");
    tcase_add_test(tc, old_entries_commit_with_a_new_one);
    tcase_add_test(tc, read_needs_a_round_of_its_own);
    tcase_add_test(tc, new_leader_drops_what_lacks_bytes);
    tcase_add_test(tc, commit_index_rides_with_the_next_entries);
    tcase_add_test(tc, commit_index_hurries_before_a_read);
    tcase_add_test(tc, renewals_leave_the_leader_idle);
    tcase_add_test(tc, witness_gets_entries_with_heartbeats);
    tcase_add_test(tc, witness_gets_entries_at_once_when_a_copy_is_gone);
    tcase_add_test(tc, undrafted_witness_gets_no_names);
    tcase_add_test(tc, restarted_store_holds_nothing_for_sure);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
