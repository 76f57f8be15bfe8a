/* Blocks that mounts put into a node's store, before and after an entry names them. */
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

/* A mount sends block 7.1. */
static struct block_ref put(void)
{
    Fs__BlockPut m = FS__BLOCK_PUT__INIT;
    Fs__Block b = FS__BLOCK__INIT;
    uint64_t run;
    uint8_t packed[128];
    struct blob *bytes = blob_new(4096);
    memset(bytes->data, 'a', bytes->size);
    block_run_hashes(bytes->data, bytes->size, &run);
    b.session = 7;
    b.n = 1;
    b.size = bytes->size;
    b.runs = &run;
    b.n_runs = 1;
    m.block = &b;
    ck_assert_uint_le(fs__block_put__get_packed_size(&m), sizeof packed);
    one_frame(&o, ONE_MOUNT, FRAME_BLOCK_PUT, packed, fs__block_put__pack(&m, packed), bytes);
    one_turns(&o);
    struct block_ref ref = {{7, 1}, bytes->size, block_digest(bytes->data, bytes->size)};
    blob_unref(bytes);
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

int main(void)
{
    Suite *suite = suite_create("node blocks");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nobody_names_it);
    tcase_add_test(t, comes_again_when_named);
    tcase_add_test(t, named_when_it_comes_again);
    tcase_add_test(t, named_before_it_comes);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
