/* Blocks that mounts put into a node's store, before and after an entry names them. */
#include <stdlib.h>
#include <string.h>

#include "repl/wire/frame.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/node/one.h"

static struct one o;

static void setup(void)
{
    one_open(&o, 3);
    one_link_up(&o, ONE_MOUNT);
}

static void teardown(void)
{
    one_close(&o);
}

static struct block_ref put(void)
{
    return one_put(&o, 1);
}

/* Node 2 leads, and sends entry `index` that names the block; all copies have it whole, and what is
 * before it, up to `demote`. */
static void append_naming(uint64_t index, const struct block_ref *ref, uint64_t demote)
{
    struct message m = {.kind = MESSAGE_APPEND};
    struct entry *e = entry_new(1, index, ENTRY_OP, NULL, ref, 1, NULL);
    m.append.term = 1;
    m.append.prev_index = index - 1;
    m.append.prev_term = index > 1;
    m.append.commit = m.append.demote_index = demote;
    m.append.entries_count = 1;
    m.append.entries = &e;
    one_message(&o, 2, &m);
    one_turns(&o);
    entry_unref(e);
}

/* Block 7.`n` is held, entry `n` names it, and then all copies have it. */
static struct block_ref hold_and_demote(uint64_t n)
{
    struct block_ref ref = one_put(&o, n);
    one_store(&o);
    append_naming(n, &ref, 0);
    one_store(&o);
    ck_assert(store_has(o.n->store, &ref));
    append_naming(n, &ref, n);
    return ref;
}

START_TEST(nobody_names_it)
{
    /* Goal: a witness does not keep a block for ever that no entry came for. */
    struct block_ref ref = put();
    one_store(&o);
    ck_assert(store_has(o.n->store, &ref));
    one_pass(&o, 5 * TIME_S);
    ck_assert(!store_has(o.n->store, &ref));
}
END_TEST

START_TEST(comes_again_when_named)
{
    /* Goal: a block that an entry in the log names stays, also when a mount sends it again (RULES
     * B3). */
    struct block_ref ref = put();
    one_store(&o);
    node_blocks_named(o.n, &ref);
    (void)put();
    one_store(&o);
    one_pass(&o, 5 * TIME_S);
    ck_assert(store_has(o.n->store, &ref));
}
END_TEST

START_TEST(named_when_it_comes_again)
{
    /* Goal: the same when its entry is written while the second one is on its way into the store.
     */
    struct block_ref ref = put();
    one_store(&o);
    (void)put();
    node_blocks_named(o.n, &ref);
    one_store(&o);
    one_pass(&o, 5 * TIME_S);
    ck_assert(store_has(o.n->store, &ref));
}
END_TEST

START_TEST(named_between_written_and_told)
{
    /* Goal: the same when the bytes are in the store already, and that it has them is not told yet:
     * the entry counts with them, so they stay (RULES B3). */
    one_link_up(&o, 2);
    struct block_ref ref = put();
    while (!store_has(o.n->store, &ref))
        node_poll_store(o.n);
    append_naming(1, &ref, 0);
    one_store(&o);
    ck_assert_uint_eq(o.acked, 1);
    ck_assert(store_has(o.n->store, &ref));
    ck_assert_uint_eq(o.n->unnamed.count, 0);
}
END_TEST

START_TEST(named_before_it_comes)
{
    /* Goal: bytes that come after the entry that names them are of no use to a witness, which did
     * not answer for them: they go at once, also when they come twice. */
    struct block_ref ref = put();
    node_blocks_named(o.n, &ref);
    (void)put();
    one_store(&o);
    ck_assert(!store_has(o.n->store, &ref));
    ck_assert_uint_eq(o.n->unnamed.count, 0);
}
END_TEST

START_TEST(demoted_after_a_slow_one)
{
    /* Goal: a demotion that took long puts off the next one, but not for ever. */
    one_link_up(&o, 2);
    struct block_ref first = hold_and_demote(1);
    o.slow = 2 * TIME_S;
    one_pass(&o, 100 * TIME_MS);
    o.slow = 0;
    one_store(&o);
    ck_assert(!store_has(o.n->store, &first));
    struct block_ref second = hold_and_demote(2);
    one_pass(&o, 10 * TIME_S);
    ck_assert(store_has(o.n->store, &second));
    one_pass(&o, 30 * TIME_S);
    ck_assert(!store_has(o.n->store, &second));
}
END_TEST

START_TEST(its_entry_waits_for_another)
{
    /* Goal: a block stays while an entry that names it waits for another one, however long that
     * takes, also on a witness that is not drafted any more (RULES B3). */
    one_link_up(&o, 2);
    struct block_ref refs[] = {one_put(&o, 1), one_put(&o, 2)};
    one_store(&o);
    one_pass(&o, 5 * TIME_S);
    ck_assert(!store_has(o.n->store, &refs[0]) && !store_has(o.n->store, &refs[1]));
    struct message m = {.kind = MESSAGE_APPEND};
    struct entry *e = entry_new(1, 1, ENTRY_OP, NULL, refs, 2, NULL);
    m.append.term = 1;
    m.append.entries_count = 1;
    m.append.entries = &e;
    one_message(&o, 2, &m);
    one_turns(&o);
    entry_unref(e);
    (void)one_put(&o, 1);
    one_store(&o);
    one_pass(&o, 120 * TIME_S);
    ck_assert(store_has(o.n->store, &refs[0]));
    (void)one_put(&o, 2);
    one_store(&o);
    one_pass(&o, 120 * TIME_S);
    ck_assert(store_has(o.n->store, &refs[0]) && store_has(o.n->store, &refs[1]));
    ck_assert_uint_eq(o.n->unnamed.count, 0);
}
END_TEST

START_TEST(fetched_in_vain)
{
    /* Goal: what is fetched for an entry that dies, or that comes without needing its bytes, does
     * not stay when it arrives (tests/mount/test_data.py on a busy machine: settle waited for it
     * for ever). */
    struct block_ref ref = put();
    Fs__BlockData m = FS__BLOCK_DATA__INIT;
    Fs__Block b = FS__BLOCK__INIT;
    uint64_t run;
    uint8_t packed[128];
    struct blob *bytes = blob_new(4096);
    one_store(&o);
    one_pass(&o, 5 * TIME_S);
    ck_assert(!store_has(o.n->store, &ref));
    one_link_up(&o, 2);
    node_blocks_ensure(o.n, 5, 1u << 2, &ref, 1);
    memset(bytes->data, 'a', bytes->size);
    block_run_hashes(bytes->data, bytes->size, &run);
    b.session = ref.name.session;
    b.n = ref.name.n;
    b.size = bytes->size;
    b.runs = &run;
    b.n_runs = 1;
    m.block = &b;
    one_frame(&o, 2, FRAME_BLOCK_DATA, packed, fs__block_data__pack(&m, packed), bytes);
    blob_unref(bytes);
    one_turns(&o);
    node_blocks_ensure_end(o.n, 5);
    one_store(&o);
    ck_assert(store_has(o.n->store, &ref));
    one_pass(&o, 5 * TIME_S);
    ck_assert(!store_has(o.n->store, &ref));
}
END_TEST

/* ---- a copy that leads ----------------------------------------------------------------------- */

static void setup_leader(void)
{
    one_open(&o, 1);
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
    one_link_up(&o, ONE_MOUNT);
    o.votes = o.acks = true;
    for (int i = 0; i < 100 && !o.n->leading; i++) {
        one_pass(&o, 50 * TIME_MS);
        one_store(&o);
    }
    ck_assert(o.n->leading);
}

START_TEST(proposed_when_a_start_is_swept)
{
    /* Goal: what is left of before the last start and named by no entry stays when a proposal names
     * it, which waits for other nodes to hold it, too: the entry would be one without its bytes. */
    struct block_ref ref = put();
    one_store(&o);
    free(map_del(&o.n->unnamed, block_name_hash(ref.name))); /* as after a start */
    o.n->swept = false;
    struct node_replica_event ev = {.event = {.kind = REPLICA_PROPOSE}};
    ev.event.propose.ticket = 1;
    ev.event.propose.kind = ENTRY_OP;
    ev.event.propose.blocks = ev.blocks = xmemdup(&ref, sizeof ref);
    ev.event.propose.blocks_count = 1;
    node_queue_replica(o.n, &ev);
    one_pass(&o, 3 * TIME_S);
    ck_assert(o.n->swept);
    ck_assert(replica_holds_block(o.n->replica, ref.name));
    ck_assert(store_has(o.n->store, &ref));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node blocks");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nobody_names_it);
    tcase_add_test(t, comes_again_when_named);
    tcase_add_test(t, named_when_it_comes_again);
    tcase_add_test(t, named_between_written_and_told);
    tcase_add_test(t, named_before_it_comes);
    tcase_add_test(t, demoted_after_a_slow_one);
    tcase_add_test(t, its_entry_waits_for_another);
    tcase_add_test(t, fetched_in_vain);
    suite_add_tcase(suite, t);
    TCase *leader = tcase_create("leader");
    tcase_add_checked_fixture(leader, setup_leader, teardown);
    tcase_add_test(leader, proposed_when_a_start_is_swept);
    suite_add_tcase(suite, leader);
    return run_suite(suite);
}
