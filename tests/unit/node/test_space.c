/* Whose free space bounds what writers are promised. */
#include "node/space.h"
#include "tests/unit/lib/run.h"

enum { OWN = 90, COPY = 80, WITNESS = 3 };

static struct replica_status status;

static struct replica_peer_status peer(uint32_t id, enum member_kind kind, uint64_t free_bytes)
{
    return (struct replica_peer_status){
        .id = id, .kind = kind, .link_up = true, .reported = true, .free_bytes = free_bytes};
}

/* Node 1 leads; 2 is a copy, 3 a witness. */
static void setup(void)
{
    status = (struct replica_status){.role = REPLICA_LEADER, .peers_count = 2};
    status.peers[0] = peer(2, MEMBER_COPY, COPY);
    status.peers[1] = peer(3, MEMBER_WITNESS, WITNESS);
}

static uint64_t room(void)
{
    return node_space_least(&status, OWN).room_bytes;
}

static uint64_t free_space(void)
{
    return node_space_least(&status, OWN).free_bytes;
}

START_TEST(of_all_that_are_up)
{
    /* Goal: a witness that is not drafted bounds what is promised, not what is free. */
    ck_assert_uint_eq(room(), WITNESS);
    ck_assert_uint_eq(free_space(), COPY);
    status.draft_mask = 1u << 3;
    ck_assert_uint_eq(free_space(), WITNESS);
    ck_assert_uint_eq(node_space_least(&status, 1).room_bytes, 1);
}
END_TEST

START_TEST(who_is_down_keeps_nobody_from_writing)
{
    /* Goal: with a majority up, a full node that is down counts as down. */
    status.peers[1].link_up = false;
    ck_assert_uint_eq(room(), COPY);
}
END_TEST

START_TEST(alone_it_promises_what_others_had)
{
    /* Goal: a copy is lost, and the link to the witness that stands in for it breaks: nothing is
     * committed before the witness is back, with no more space than it had. */
    status.peers[0].link_up = status.peers[0].reported = false;
    status.peers[1].link_up = false;
    ck_assert_uint_eq(room(), WITNESS);
    ck_assert_uint_eq(free_space(), OWN);
    status.peers[1].reported = false; /* a new leadership: it serves nobody yet */
    ck_assert_uint_eq(room(), OWN);
}
END_TEST

START_TEST(two_of_five)
{
    /* Goal: a majority is f + 1 of 2f + 1, the leader included. */
    status.peers_count = 4;
    status.peers[2] = peer(4, MEMBER_COPY, COPY - 1);
    status.peers[3] = peer(5, MEMBER_COPY, COPY - 2);
    status.peers[1].link_up = status.peers[2].link_up = false;
    ck_assert_uint_eq(room(), COPY - 2);
    status.peers[3].link_up = false;
    ck_assert_uint_eq(room(), WITNESS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("space");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, of_all_that_are_up);
    tcase_add_test(t, who_is_down_keeps_nobody_from_writing);
    tcase_add_test(t, alone_it_promises_what_others_had);
    tcase_add_test(t, two_of_five);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
