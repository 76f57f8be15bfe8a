/* The order of what a node does in one turn. */
#include "repl/base/kv_behind.h"
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

static const struct kv_ops *plain;
static unsigned settled;
static bool told_before = true;

static int counted_settle(struct kv *kv)
{
    settled++;
    told_before = told_before && o.told == o.acked;
    return plain->settle(kv);
}

/* The leader sends entry `index`, and says that those before it are committed. */
static void append_one(uint64_t index)
{
    struct entry *e = noop(index);
    struct message m = {.kind = MESSAGE_APPEND};
    m.append.term = 1;
    m.append.prev_index = index - 1;
    m.append.prev_term = index > 1;
    m.append.commit = index - 1;
    m.append.entries = &e;
    m.append.entries_count = 1;
    one_message(&o, 2, &m);
    one_turns(&o);
    one_store(&o);
    ck_assert_uint_eq(o.told, index);
    ck_assert_uint_eq(o.n->applied, index - 1);
    entry_unref(e);
}

START_TEST(what_was_applied_is_written_when_the_answers_are_gone)
{
    /* Goal: nobody waits for the key-value store; and what it is to be given does not pile up. */
    static struct kv_ops counted;
    one_open_writing(&o, 1);
    plain = store_kv(o.n->store)->ops;
    counted = *plain;
    counted.settle = counted_settle;
    store_kv(o.n->store)->ops = &counted;
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
    size_t most = 0;
    for (uint64_t index = 1; settled < 2; index++) {
        ck_assert_uint_lt(index, 1000);
        append_one(index);
        most = kv_waiting(store_kv(o.n->store)) > most ? kv_waiting(store_kv(o.n->store)) : most;
    }
    ck_assert_uint_gt(most, 8); /* several entries' at once */
    ck_assert_uint_lt(most, KV_BEHIND_OPS_MAX);
    ck_assert(told_before);
}
END_TEST

static void one_heartbeat(uint32_t from)
{
    struct message m = {.kind = MESSAGE_APPEND};
    m.append.term = 1;
    one_message(&o, from, &m); /* a heartbeat: it is answered */
    one_turns(&o);
}

START_TEST(who_reads_nothing_is_let_go)
{
    /* Goal: what is sent to a frozen node, whose link stays, does not pile up without an end; one
     * that is slow, and speaks, keeps its link. */
    one_open(&o, 1);
    for (uint32_t id = 2; id <= ONE_NODES; id++)
        one_link_up(&o, id);
    o.links[2].backlog = 64 << 20;
    o.links[2].may_close = true;
    for (int i = 0; i < 40; i++) {
        one_pass(&o, TIME_S);
        one_heartbeat(2);
    }
    ck_assert(o.links[2].up);
    one_pass(&o, 40 * TIME_S); /* it stands for election all the time */
    ck_assert(!o.links[2].up);
    ck_assert_ptr_null(o.n->peers[2].link);
    ck_assert(o.links[3].up);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turn");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, a_follower_acknowledges_before_it_applies);
    tcase_add_test(t, who_reads_nothing_is_let_go);
    tcase_add_test(t, what_was_applied_is_written_when_the_answers_are_gone);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
