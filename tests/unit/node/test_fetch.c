/* Blocks that a copy fetches from the other nodes: those that entries of its log wait for (RULES
 * B3), and those that it misses (RULES B7). Node 2 leads, and nobody has any of them. */
#include <sys/stat.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/node/one.h"

enum { MANY = 200 }; /* more than are asked for at once */

static struct one o;

static void setup(void)
{
    one_open(&o, 1);
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
}

static void teardown(void)
{
    one_close(&o);
}

/* Node 2 sends entries, consecutive ones; takes them. */
static void append(uint64_t term, struct entry **entries, uint32_t count, uint64_t commit)
{
    struct message m = {.kind = MESSAGE_APPEND};
    m.append.term = term;
    m.append.prev_index = entries[0]->index - 1;
    m.append.prev_term = m.append.prev_index ? 1 : 0;
    m.append.commit = commit;
    m.append.entries_count = count;
    m.append.entries = entries;
    one_message(&o, 2, &m);
    one_turns(&o);
    for (uint32_t i = 0; i < count; i++)
        entry_unref(entries[i]);
}

static struct entry *entry_of(uint64_t index, const Fs__Op *op, const struct block_ref *ref)
{
    struct blob *payload = blob_new((uint32_t)fs__op__get_packed_size(op));
    (void)fs__op__pack(op, payload->data);
    struct entry *e = entry_new(1, index, ENTRY_OP, payload, ref, ref != NULL, NULL);
    blob_unref(payload);
    return e;
}

/* Session 1 opens. */
static struct entry *open_session(void)
{
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    uint8_t uuid[16] = {1};
    m.uuid = (ProtobufCBinaryData){sizeof uuid, uuid};
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    op.time = 1;
    return entry_of(1, &op, NULL);
}

/* It makes a file. */
static struct entry *make(void)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.name = (ProtobufCBinaryData){1, (uint8_t *)"a"};
    m.mode = S_IFREG | 0644;
    m.lease = true;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    op.session = op.seq = 1;
    op.time = 1;
    return entry_of(2, &op, NULL);
}

/* Its page is block 1.1. */
static struct entry *write_page(void)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Commit m = FS__COMMIT__INIT;
    Fs__Edit edit = FS__EDIT__INIT, *edits = &edit;
    Fs__Block block = FS__BLOCK__INIT, *blocks = &block;
    struct Fs__Attr attr;
    uint64_t run = 5;
    ck_assert_int_eq(fs_lookup(o.n->state, FS_ROOT_INO, "a", 1, &attr), 0);
    edit.kind = FS__EDIT__KIND__EXTENT;
    edit.pages = 1;
    block.session = block.n = 1;
    block.size = 4096;
    block.runs = &run;
    block.n_runs = 1;
    m.ino = attr.ino;
    m.epoch = attr.lease_epoch;
    m.c = 1;
    m.size = 4096;
    m.edits = &edits;
    m.blocks = &blocks;
    m.n_edits = m.n_blocks = 1;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &m;
    op.session = 1;
    op.time = 1;
    struct block_ref ref = {{1, 1}, 4096, block_digest_of_runs(&run, 1)};
    return entry_of(3, &op, &ref);
}

/* An entry that names the blocks SESSION.1 to SESSION.MANY. */
static struct entry *naming_many(uint64_t index, uint64_t session)
{
    struct block_ref refs[MANY];
    for (uint32_t i = 0; i < MANY; i++)
        refs[i] = (struct block_ref){{session, i + 1}, 4096, 1};
    return entry_new(1, index, ENTRY_OP, NULL, refs, MANY, NULL);
}

/* Questions for blocks of `session` since the last time. */
static size_t asked(uint64_t session)
{
    size_t count = 0;
    for (size_t i = 0; i < o.asked.count; i++)
        count += o.asked.items[i].session == session;
    return count;
}

START_TEST(repaired_while_entries_wait)
{
    /* Goal: blocks that entries wait for, and that nobody has, do not keep a copy from fetching
     * what it misses (simulator seed 40000524). */
    append(1, (struct entry *[]){open_session(), make()}, 2, 2);
    one_store(&o);
    append(1, (struct entry *[]){write_page(), naming_many(4, 9)}, 2, 3);
    ck_assert_uint_ge(o.n->fetches.count, MANY);
    one_store(&o);
    ck_assert_uint_eq(o.n->applied, 3);
    ck_assert_uint_eq(store_missing_count(o.n->store), 1);
    ck_assert(fs_block_named(o.n->state, (struct block_name){1, 1}, NULL));
    one_pass(&o, 1 * TIME_S);
    ck_assert_uint_gt(asked(9), 0);
    ck_assert_uint_gt(asked(1), 0);
}
END_TEST

START_TEST(entries_that_live_are_waited_for)
{
    /* Goal: as long as an entry is in the log its blocks are asked for again and again (RULES B3).
     */
    append(1, (struct entry *[]){naming_many(1, 9)}, 1, 0);
    for (int i = 0; i < 60; i++) {
        o.asked.count = 0;
        one_pass(&o, 5 * TIME_S);
        ck_assert_uint_ge(asked(9), MANY);
    }
}
END_TEST

START_TEST(entries_that_are_gone_are_not)
{
    /* Goal: when another leader's entries take the place of one, its blocks are not asked for any
     * more, except those that an entry names which stays (simulator seed 40000524). */
    append(1, (struct entry *[]){naming_many(1, 8), naming_many(2, 9)}, 2, 0);
    one_pass(&o, 1 * TIME_S);
    ck_assert_uint_gt(asked(9), 0);
    struct entry *other = entry_new(2, 2, ENTRY_NOOP, NULL, NULL, 0, NULL);
    append(2, (struct entry *[]){naming_many(1, 8), other}, 2, 0);
    one_pass(&o, 1 * TIME_S);
    o.asked.count = 0;
    one_pass(&o, 5 * TIME_S);
    ck_assert_uint_eq(asked(9), 0);
    ck_assert_uint_ge(asked(8), MANY);
    ck_assert_uint_eq(o.n->fetches.count, MANY);
}
END_TEST

START_TEST(committed_ones_are_missed)
{
    /* Goal: an entry that is committed meanwhile waits no longer, and its blocks are asked for
     * until they are here: what all maps name is not given up (RULES B7). */
    append(1, (struct entry *[]){open_session(), make()}, 2, 2);
    one_store(&o);
    append(1, (struct entry *[]){write_page(), naming_many(4, 9)}, 2, 2);
    one_pass(&o, 1 * TIME_S);
    ck_assert_uint_gt(asked(1), 0);
    append(1, (struct entry *[]){naming_many(4, 9)}, 1, 3);
    one_store(&o);
    ck_assert_uint_eq(o.n->applied, 3);
    ck_assert_uint_eq(o.n->ensures.count, 1);
    o.asked.count = 0;
    one_pass(&o, 5 * TIME_S);
    ck_assert_uint_gt(asked(1), 0);
    ck_assert_uint_ge(asked(9), MANY);
}
END_TEST

START_TEST(other_bytes_under_its_name)
{
    /* Goal: a mount that puts other bytes under a name than its entry tells makes nobody take the
     * entry for one that is held (RULES B3): the node would end itself. */
    struct block_ref ref = {{7, 1}, 4096, 1};
    append(1, (struct entry *[]){entry_new(1, 1, ENTRY_OP, NULL, &ref, 1, NULL)}, 1, 0);
    ck_assert_uint_eq(o.n->fetches.count, 1);
    one_link_up(&o, ONE_MOUNT);
    ck_assert_uint_ne(one_put(&o, 1).digest, ref.digest);
    one_store(&o);
    ck_assert_uint_eq(o.n->fetches.count, 1);
    ck_assert_uint_eq(o.acked, 0);
}
END_TEST

START_TEST(who_does_not_answer_comes_last)
{
    /* Goal: a copy that stopped, with its link up, does not hold up each block anew. */
    append(1, (struct entry *[]){naming_many(1, 9)}, 1, 0);
    one_pass(&o, 100 * TIME_MS);
    ck_assert_uint_eq(o.asked_last, 2); /* a copy first */
    for (int i = 0; i < 100 && o.asked_last == 2; i++)
        one_pass(&o, 10 * TIME_MS);
    ck_assert_uint_eq(o.asked_last, 3);
    append(1, (struct entry *[]){naming_many(2, 8)}, 1, 0);
    one_pass(&o, 100 * TIME_MS);
    ck_assert_uint_gt(asked(8), 0);
    ck_assert_uint_eq(o.asked_last, 3);
    ck_assert_uint_eq(o.n->mute, 1u << 2);
    one_link_up(&o, 2); /* which is new */
    ck_assert_uint_eq(o.n->mute, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node fetch");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, repaired_while_entries_wait);
    tcase_add_test(t, entries_that_live_are_waited_for);
    tcase_add_test(t, entries_that_are_gone_are_not);
    tcase_add_test(t, committed_ones_are_missed);
    tcase_add_test(t, other_bytes_under_its_name);
    tcase_add_test(t, who_does_not_answer_comes_last);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
