/* The order of what a node does in one turn. */
#include "tests/unit/lib/run.h"
#include "tests/unit/node/one.h"

static struct one o;

static void teardown(void)
{
    one_close(&o);
}

static struct entry *noop(uint64_t index)
{
    return entry_new(1, index, ENTRY_NOOP, NULL, NULL, 0, NULL);
}

START_TEST(a_follower_acknowledges_before_it_applies)
{
    /* Goal: the leader, and whoever called fsync, does not wait for what another copy applies. */
    one_open_writing(&o, 1);
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
    struct entry *entries[] = {noop(1), noop(2)};
    struct message m = {.kind = MESSAGE_APPEND};
    m.append.term = 1;
    m.append.commit = 1;
    m.append.entries = entries;
    m.append.entries_count = 2;
    one_message(&o, 2, &m);
    one_turns(&o);
    one_store(&o); /* when the disk is slow */
    ck_assert_uint_eq(o.told, 2);
    ck_assert_uint_eq(o.n->applied, 1);
    ck_assert_uint_eq(o.applied_when_told, 0);
    entry_unref(entries[0]);
    entry_unref(entries[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turn");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_follower_acknowledges_before_it_applies);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
