/* A snapshot on its way into a copy, and who leads meanwhile. Node 2 has led and sends it to node
 * 1, whose log has the same entries. */
#include <stdlib.h>
#include <string.h>

#include "repl/base/kv_mem.h"
#include "repl/core/state.h"
#include "repl/wire/frame.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/node/one.h"

enum { ENTRIES = 3, CHUNK_BEGIN = 1, CHUNK_PAIRS, CHUNK_END, CHUNK_REFUSED };

static struct one o;

/* Entries that do nothing; those up to `commit` are committed. */
static void append(uint64_t commit)
{
    struct message m = {.kind = MESSAGE_APPEND};
    struct entry *entries[ENTRIES];
    m.append.term = 1;
    m.append.commit = commit;
    m.append.entries_count = ENTRIES;
    m.append.entries = entries;
    for (uint64_t i = 0; i < ENTRIES; i++)
        entries[i] = entry_new(1, i + 1, ENTRY_NOOP, NULL, NULL, 0, NULL);
    one_message(&o, 2, &m);
    one_turns(&o);
    for (int i = 0; i < ENTRIES; i++)
        entry_unref(entries[i]);
}

static void setup(void)
{
    one_open(&o, 1);
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
    one_link_up(&o, ONE_MOUNT);
    append(0);
    one_store(&o);
    ck_assert_uint_eq(o.n->leader, 2);
    ck_assert_uint_eq(o.n->applied, 0);
}

static void teardown(void)
{
    one_close(&o);
}

/* ---- short forms ----------------------------------------------------------------------------- */

static void chunk(uint8_t kind, uint64_t a, uint64_t b, struct blob *bulk)
{
    struct bytes_writer w = {0};
    bytes_put_u8(&w, kind);
    bytes_put_u64(&w, 77);
    bytes_put_u64(&w, a);
    bytes_put_u64(&w, b);
    one_frame(&o, 2, FRAME_SNAPSHOT_CHUNK, w.data, w.size, bulk);
    bytes_writer_done(&w);
}

/* All but its end: an empty root directory, as of entry `index`. */
static void most_of_a_snapshot(uint64_t index)
{
    struct kv *kv = kv_mem_new();
    struct kv_txn *txn = kv_txn_new(kv);
    struct fs_state *state = fs_state_new(kv, 0);
    fs_state_format(state, txn);
    ck_assert_int_eq(kv_txn_commit(txn), 0);
    struct bytes_writer w = {0};
    struct kv_iter *it = kv_iter(kv, 0, (struct bytes){0}, (struct bytes){0});
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        bytes_put_sized(&w, kv_iter_key(it).data, kv_iter_key(it).size);
        bytes_put_sized(&w, kv_iter_value(it).data, kv_iter_value(it).size);
    }
    kv_iter_free(it);
    struct blob *bulk = blob_copy(w.data, w.size);
    chunk(CHUNK_BEGIN, index, 1, NULL);
    chunk(CHUNK_PAIRS, 1, 0, bulk);
    blob_unref(bulk);
    bytes_writer_done(&w);
    fs_state_free(state);
    kv_txn_free(txn);
    kv_close(kv);
    one_turns(&o);
    ck_assert_uint_eq(o.n->install.from, 2);
}

static void end_of_a_snapshot(void)
{
    chunk(CHUNK_END, 1, 0, NULL);
}

/* A mount asks a copy for the root directory. */
static void ask(void)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Getattr m = FS__GETATTR__INIT;
    uint8_t packed[64];
    m.ino = FS_ROOT_INO;
    req.id = 1;
    req.follower = true;
    req.body_case = FS__REQUEST__BODY_GETATTR;
    req.getattr = &m;
    one_frame(&o, ONE_MOUNT, FRAME_CLIENT_REQUEST, packed, fs__request__pack(&req, packed), NULL);
}

/* Until it has asked for votes: its own is written, the others' are on their way. */
static void stand(void)
{
    o.votes = o.acks = true;
    for (int i = 0; i < 100 && o.n->role != REPLICA_CANDIDATE; i++)
        one_pass(&o, 50 * TIME_MS);
    one_pass(&o, 5 * TIME_MS); /* what its pre-votes were granted is looked at */
    o.held = true;
    one_store(&o);
    ck_assert_uint_gt(o.to_deliver.count, 0);
    ck_assert_int_eq(o.n->role, REPLICA_CANDIDATE);
}

static void be_elected(void)
{
    o.held = false;
    one_turns(&o);
    ck_assert_int_eq(o.n->role, REPLICA_LEADER);
}

static void leads_with_a_state(void)
{
    ck_assert_int_eq(o.n->role, REPLICA_LEADER);
    ck_assert(o.n->leading);
    ck_assert_ptr_nonnull(o.n->state);
    ck_assert_uint_eq(o.n->install.from, 0);
    ck_assert_uint_eq(o.n->applied, ENTRIES + 1); /* and the entry that a leader begins with */
}

/* ---- nobody is elected ----------------------------------------------------------------------- */

START_TEST(becomes_the_state)
{
    /* Goal: it is taken in while nothing is applied, and is the state then. */
    most_of_a_snapshot(ENTRIES);
    end_of_a_snapshot();
    one_turns(&o);
    ck_assert(o.n->install.committing);
    ck_assert_ptr_null(o.n->state);
    one_store(&o);
    ck_assert_ptr_nonnull(o.n->state);
    ck_assert_uint_eq(o.n->install.from, 0);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
}
END_TEST

START_TEST(input_of_its_turn_comes_first)
{
    /* Goal: what came in before it was whole, and is fed in the same turn, still finds a state: a
     * leader may learn only in that turn that it leads no more. */
    most_of_a_snapshot(ENTRIES);
    ask();
    end_of_a_snapshot();
    ck_assert_ptr_nonnull(o.n->state);
    ck_assert(!o.n->install.committing);
    one_turns(&o);
    ck_assert(o.n->install.committing);
    ask(); /* and what comes now is refused */
    one_turns(&o);
    one_store(&o);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
}
END_TEST

START_TEST(commits_while_it_becomes_the_state)
{
    /* Goal: what is committed at the moment when there is no state is applied when there is one. */
    most_of_a_snapshot(ENTRIES - 1);
    end_of_a_snapshot();
    one_turns(&o);
    append(ENTRIES);
    ck_assert(o.n->install.committing);
    one_store(&o);
    ck_assert_uint_eq(o.n->install.from, 0);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
}
END_TEST

START_TEST(put_while_it_becomes_the_state)
{
    /* Goal: a block from before the last start that its mount sends again is not what the sweep
     * looks for, also when there is no state at that moment (tally-sim seed 850000375). */
    struct block_ref ref = one_put(&o, 1);
    one_store(&o);
    free(map_del(&o.n->unnamed, block_name_hash(ref.name))); /* as after a start */
    most_of_a_snapshot(ENTRIES);
    end_of_a_snapshot();
    one_turns(&o);
    ck_assert_ptr_null(o.n->state);
    (void)one_put(&o, 1);
    one_store(&o);
    append(ENTRIES);
    one_pass(&o, 5 * TIME_S);
    ck_assert(o.n->swept);
    ck_assert(store_has(o.n->store, &ref));
}
END_TEST

START_TEST(another_begins_while_it_becomes_the_state)
{
    /* Goal: a new leader that sends its own snapshot meanwhile hears that this one has no time for
     * it, and sends it again later: it would wait for ever. */
    most_of_a_snapshot(ENTRIES);
    end_of_a_snapshot();
    one_turns(&o);
    ck_assert(o.n->install.committing);
    chunk(CHUNK_BEGIN, ENTRIES + 9, 1, NULL);
    one_turns(&o);
    ck_assert_uint_eq(o.snapshot_ack, CHUNK_REFUSED);
    one_store(&o);
    ck_assert_uint_eq(o.snapshot_ack, CHUNK_END);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
    chunk(CHUNK_BEGIN, ENTRIES + 9, 1, NULL);
    one_turns(&o);
    ck_assert_uint_eq(o.n->install.from, 2);
}
END_TEST

START_TEST(one_on_its_way_out_ends)
{
    /* Goal: a node that led, was sending its own state and needs another one's by now looks at the
     * old state no more when that is closed. Who was getting it gives it up. */
    node_snapshot_send(o.n, 3);
    ck_assert_ptr_nonnull(o.n->sending[3]);
    most_of_a_snapshot(ENTRIES);
    end_of_a_snapshot();
    one_turns(&o);
    ck_assert(o.n->install.committing);
    ck_assert_ptr_null(o.n->sending[3]);
    one_store(&o);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
}
END_TEST

/* ---- the other one is frozen ------------------------------------------------------------------
 */

START_TEST(nothing_more_of_it_comes)
{
    /* Goal: who sends it is frozen, and its link stays: what is committed under another leader is
     * applied all the same after a while, and not only when that node is there again. */
    most_of_a_snapshot(ENTRIES - 1);
    append(ENTRIES);
    one_store(&o);
    one_pass(&o, 20 * TIME_S);
    chunk(CHUNK_PAIRS, 2, 0, NULL); /* it comes slowly */
    one_pass(&o, 20 * TIME_S);
    ck_assert_uint_eq(o.n->install.from, 2);
    ck_assert_uint_eq(o.n->applied, 0);
    one_pass(&o, 20 * TIME_S);
    ck_assert_uint_eq(o.n->install.from, 0);
    ck_assert_uint_eq(o.snapshot_ack, CHUNK_REFUSED);
    ck_assert_uint_eq(o.n->applied, ENTRIES);
}
END_TEST

START_TEST(nobody_takes_it_in)
{
    /* Goal: one that is sent to a frozen node ends: it would keep the state of today on the disk.
     */
    node_snapshot_send(o.n, 3);
    ck_assert_ptr_nonnull(o.n->sending[3]);
    one_pass(&o, 40 * TIME_S);
    ck_assert_ptr_null(o.n->sending[3]);
}
END_TEST

/* ---- it is elected --------------------------------------------------------------------------- */

START_TEST(leader_gives_it_up)
{
    /* Goal: who is elected with what its log has needs no snapshot, and applies its log. */
    most_of_a_snapshot(ENTRIES);
    stand();
    be_elected();
    ck_assert_uint_eq(o.n->install.from, 0);
    one_store(&o);
    leads_with_a_state();
    end_of_a_snapshot(); /* late */
    one_turns(&o);
    chunk(CHUNK_BEGIN, ENTRIES + 9, 1, NULL);
    one_turns(&o);
    one_store(&o);
    leads_with_a_state();
}
END_TEST

START_TEST(elected_while_it_becomes_the_state)
{
    /* Goal: who has no state at the moment when it is elected leads when it has one. */
    most_of_a_snapshot(ENTRIES);
    stand();
    end_of_a_snapshot();
    one_turns(&o);
    ck_assert(o.n->install.committing);
    be_elected();
    ck_assert_ptr_null(o.n->state);
    ck_assert(!o.n->leading);
    ask();
    node_snapshot_send(o.n, 2); /* of which state? */
    ck_assert_ptr_null(o.n->sending[2]);
    one_pass(&o, 100 * TIME_MS);
    ck_assert(!o.n->leading);
    one_store(&o);
    leads_with_a_state();
}
END_TEST

/* ---- it sends one ---------------------------------------------------------------------------- */

/* Node 2 tells the leader that its log is empty. */
static void refuse(void)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = o.n->term;
    m.append_resp.reject = true;
    m.append_resp.reject_index = o.n->replica->peers[2].next - 1;
    one_message(&o, 2, &m);
    one_turns(&o);
}

static void be_deposed(void)
{
    struct message m = {.kind = MESSAGE_APPEND_RESP};
    m.append_resp.term = o.n->term + 1;
    one_message(&o, 3, &m);
    one_turns(&o);
    one_store(&o);
    ck_assert_int_eq(o.n->role, REPLICA_FOLLOWER);
}

START_TEST(leads_again_while_it_sends_one)
{
    /* Goal: a leader that sent one in an earlier term sends another, and goes on with that: it
     * would begin again every second, and a large one would never end. */
    o.n->replica->config.keep_entries = 1;
    stand();
    be_elected();
    one_store(&o);
    one_pass(&o, 11 * TIME_S); /* the state becomes durable: its log goes */
    one_store(&o);
    ck_assert_uint_gt(o.n->replica->log.base_index, 0);
    for (int term = 0; term < 2; term++) {
        be_deposed();
        stand();
        o.acks = false;
        be_elected();
        refuse();
        ck_assert_ptr_nonnull(o.n->sending[2]);
        ck_assert_int_eq(o.n->replica->peers[2].state, PROGRESS_SNAPSHOT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node snapshot");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, put_while_it_becomes_the_state);
    tcase_add_test(t, one_on_its_way_out_ends);
    tcase_add_test(t, another_begins_while_it_becomes_the_state);
    tcase_add_test(t, becomes_the_state);
    tcase_add_test(t, input_of_its_turn_comes_first);
    tcase_add_test(t, commits_while_it_becomes_the_state);
    tcase_add_test(t, nothing_more_of_it_comes);
    tcase_add_test(t, nobody_takes_it_in);
    tcase_add_test(t, leader_gives_it_up);
    tcase_add_test(t, elected_while_it_becomes_the_state);
    tcase_add_test(t, leads_again_while_it_sends_one);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
