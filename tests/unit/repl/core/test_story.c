/* What a cluster of replicas does in the situations that the design promises something about: told
 * one by one, each with many seeds, with the times of RULES E4 where it gives some. */
#include <stdio.h>

#include "tests/unit/lib/run.h"
#include "tests/unit/repl/core/cluster.h"

enum { SEEDS = 60 };

static struct world *begin(uint32_t copies, uint32_t witnesses, uint64_t seed, uint32_t *ret_leader)
{
    struct world *w = cluster_new(copies, witnesses, seed);
    *ret_leader = cluster_await_leader(w, 0, 3 * TIME_S);
    ck_assert_uint_ne(*ret_leader, 0);
    cluster_pass(w, 500 * TIME_MS);
    return w;
}

static void end(struct world *w, uint64_t seed)
{
    struct cluster_result r = cluster_end(w);
    ck_assert_msg(!r.complaint, "seed %llu: %s: %s", (unsigned long long)seed, r.complaint,
                  r.detail);
}

static uint64_t must_commit(struct world *w, uint32_t leader, enum cluster_form form, time_us limit)
{
    uint64_t op = cluster_propose(w, leader, form);
    ck_assert_msg(cluster_await_commit(w, op, limit), "no commit within %llu us",
                  (unsigned long long)limit);
    return op;
}

/* 1C: no peer to wait for, neither to lead nor to commit. */
START_TEST(lone_copy_commits_at_once)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = cluster_new(1, 0, seed);
        ck_assert_uint_eq(cluster_await_leader(w, 0, 10 * TIME_MS), 1);
        for (int form = FORM_PLAIN; form <= FORM_BY_PARTS; form++)
            (void)must_commit(w, 1, (enum cluster_form)form, 10 * TIME_MS);
        end(w, seed);
    }
}
END_TEST

/* RULES B4, E4: "copy SIGKILL: within 80 ms (draft)"; the witness is emptied again afterwards. */
START_TEST(copy_dies_and_witness_is_drafted)
{
    time_us slowest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        (void)must_commit(w, leader, FORM_BY_PARTS, 50 * TIME_MS);
        ck_assert_uint_eq(cluster_blocks_held(w, 3), 0);
        cluster_crash(w, 3 - leader);
        time_us killed = cluster_now(w);
        for (int form = FORM_PLAIN; form <= FORM_BY_PARTS; form++)
            (void)must_commit(w, leader, (enum cluster_form)form, 80 * TIME_MS);
        if (cluster_now(w) - killed > slowest)
            slowest = cluster_now(w) - killed;
        ck_assert_uint_eq(replica_draft_mask(cluster_replica(w, leader)), 1u << 3);
        ck_assert_uint_gt(cluster_blocks_held(w, 3), 0);
        ck_assert_ptr_null(cluster_check(w));
        ck_assert_uint_eq(cluster_leader(w), leader);
        cluster_start(w, 3 - leader);
        cluster_pass(w, 8 * TIME_S);
        ck_assert_uint_eq(replica_draft_mask(cluster_replica(w, leader)), 0);
        ck_assert_uint_eq(cluster_blocks_held(w, 3), 0);
        end(w, seed);
    }
    printf("# copy killed: three commits within %llu ms at worst\n",
           (unsigned long long)(slowest / TIME_MS));
}
END_TEST

/* RULES B4, E4: "freeze or silent cut: within 1 s", also when the witness that is drafted first
 * stands still together with the copy. */
START_TEST(frozen_witness_is_no_help)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(3, 2, seed, &leader);
        uint32_t copy = leader == 1 ? 2 : 1;
        (void)must_commit(w, leader, FORM_BY_PARTS, 50 * TIME_MS);
        cluster_freeze(w, copy);
        cluster_freeze(w, 4);
        for (int form = FORM_PLAIN; form <= FORM_BY_PARTS; form++)
            (void)must_commit(w, leader, (enum cluster_form)form, 1 * TIME_S);
        ck_assert_uint_eq(cluster_leader(w), leader);
        cluster_pass(w, 6 * TIME_S);
        (void)must_commit(w, leader, FORM_BY_PARTS, 100 * TIME_MS);
        cluster_thaw(w, copy);
        cluster_thaw(w, 4);
        end(w, seed);
    }
}
END_TEST

/* The drafted witness stands still while all that waits is a proposal whose blocks it lacks: no
 * entry shows that it is behind (simulator seed 500554). */
START_TEST(frozen_witness_lacks_the_blocks_of_a_proposal)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(3, 2, seed, &leader);
        cluster_crash(w, leader == 1 ? 2 : 1);
        (void)must_commit(w, leader, FORM_BY_PARTS, 1 * TIME_S);
        cluster_pass(w, 1 * TIME_S);
        cluster_freeze(w, 4);
        (void)must_commit(w, leader, FORM_BY_PARTS, 2 * TIME_S);
        ck_assert_uint_eq(cluster_leader(w), leader);
        cluster_thaw(w, 4);
        cluster_start(w, leader == 1 ? 2 : 1);
        end(w, seed);
    }
}
END_TEST

/* RULES E4: "leader SIGKILL to next commit within 250 ms". */
START_TEST(leader_dies_and_the_other_copy_commits)
{
    time_us slowest = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        uint64_t before = must_commit(w, leader, FORM_INLINE, 50 * TIME_MS);
        cluster_crash(w, leader);
        time_us killed = cluster_now(w);
        uint32_t next = cluster_await_leader(w, leader, 1 * TIME_S);
        ck_assert_uint_eq(next, 3 - leader);
        (void)must_commit(w, next, FORM_BY_PARTS, 100 * TIME_MS);
        if (cluster_now(w) - killed > slowest)
            slowest = cluster_now(w) - killed;
        cluster_pass(w, 100 * TIME_MS);
        ck_assert(cluster_applied(w, next, before));
        cluster_start(w, leader);
        end(w, seed);
    }
    printf("# leader killed: next commit after %llu ms at worst\n",
           (unsigned long long)(slowest / TIME_MS));
    ck_assert_uint_le(slowest, 250 * TIME_MS);
}
END_TEST

START_TEST(both_copies_die_and_come_back)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        uint64_t a = must_commit(w, leader, FORM_INLINE, 50 * TIME_MS);
        uint64_t b = must_commit(w, leader, FORM_BY_PARTS, 50 * TIME_MS);
        cluster_crash(w, 1);
        cluster_crash(w, 2);
        cluster_pass(w, 2 * TIME_S);
        ck_assert_uint_eq(cluster_leader(w), 0); /* a witness leads nothing */
        cluster_start(w, 1 + (uint32_t)(seed % 2));
        ck_assert_uint_ne(cluster_await_leader(w, 0, 2 * TIME_S), 0); /* with the witness */
        cluster_start(w, 2 - (uint32_t)(seed % 2));
        cluster_pass(w, 1 * TIME_S);
        uint32_t now = cluster_leader(w);
        ck_assert_uint_ne(now, 0);
        (void)must_commit(w, now, FORM_BY_PARTS, 100 * TIME_MS);
        cluster_pass(w, 200 * TIME_MS);
        for (uint32_t id = 1; id <= 2; id++)
            ck_assert(cluster_applied(w, id, a) && cluster_applied(w, id, b));
        end(w, seed);
    }
}
END_TEST

/* RULES E3: {A, W} committed what B lacks, A dies: W leads only to hand over, B has it all. */
START_TEST(witness_hands_over_what_a_copy_lacks)
{
    uint64_t rescues = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader, other;
        struct world *w = begin(2, 1, seed, &leader);
        other = 3 - leader;
        cluster_cut(w, leader, other, seed % 2 == 0);
        cluster_cut(w, 3, other, seed % 2 == 0);
        uint64_t inlined = must_commit(w, leader, FORM_INLINE, 200 * TIME_MS);
        uint64_t parts = must_commit(w, leader, FORM_BY_PARTS, 200 * TIME_MS);
        cluster_crash(w, leader);
        cluster_join(w, 3, other);
        ck_assert_uint_eq(cluster_await_leader(w, leader, 4 * TIME_S), other);
        cluster_pass(w, 500 * TIME_MS);
        ck_assert(cluster_applied(w, other, inlined) && cluster_applied(w, other, parts));
        ck_assert_uint_eq(cluster_blocks_missing(w, other), 0);
        (void)must_commit(w, other, FORM_BY_PARTS, 200 * TIME_MS);
        cluster_start(w, leader);
        struct cluster_result r = cluster_end(w);
        ck_assert_msg(!r.complaint, "seed %llu: %s: %s", (unsigned long long)seed, r.complaint,
                      r.detail);
        rescues += r.rescues;
    }
    ck_assert_uint_ge(rescues, SEEDS);
}
END_TEST

/* RULES B6: while a copy lacks bytes the witness keeps them; every moment of its return is looked
 * at. */
START_TEST(witness_drops_bytes_only_when_all_copies_are_whole)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        cluster_crash(w, 3 - leader);
        for (int i = 0; i < 10; i++)
            (void)must_commit(w, leader, FORM_BY_PARTS, 100 * TIME_MS);
        size_t held = cluster_blocks_held(w, 3);
        ck_assert_uint_ge(held, 10);
        cluster_pass(w, 10 * TIME_S); /* longer than a draft lasts */
        ck_assert_uint_eq(cluster_blocks_held(w, 3), held);
        cluster_start(w, 3 - leader);
        time_us limit = cluster_now(w) + 8 * TIME_S;
        bool was_missing = false;
        while (cluster_blocks_held(w, 3) > 0 && cluster_now(w) < limit) {
            was_missing = was_missing || cluster_blocks_missing(w, 3 - leader) > 0;
            cluster_pass(w, 500);
            if (cluster_blocks_missing(w, 3 - leader) > 0)
                ck_assert_uint_eq(cluster_blocks_held(w, 3), held);
            ck_assert_ptr_null(cluster_check(w));
        }
        ck_assert(was_missing); /* else this tests nothing */
        ck_assert_uint_eq(cluster_blocks_held(w, 3), 0);
        end(w, seed);
    }
}
END_TEST

/* A leader that was stopped finds, when it goes on, first what mounts ask of it. Its lease has run
 * out by its own clock (RULES E1, L9), so it answers no read; what it appends commits nowhere. */
START_TEST(frozen_leader_wakes_up_harmless)
{
    static const uint32_t layouts[][2] = {{2, 1}, {3, 0}, {3, 2}};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t old;
        const uint32_t *l = layouts[seed % 3];
        struct world *w = begin(l[0], l[1], seed, &old);
        uint64_t read = cluster_read(w, old);
        ck_assert(!cluster_read_waits(w, read)); /* by lease, at once */
        cluster_freeze(w, old);
        uint32_t now = cluster_await_leader(w, old, 1 * TIME_S);
        ck_assert_uint_ne(now, 0);
        uint64_t after = must_commit(w, now, FORM_PLAIN, 300 * TIME_MS);
        cluster_pass(w, seed * 37 * TIME_MS);
        ck_assert_int_eq(replica_role(cluster_replica(w, old)), REPLICA_LEADER); /* it believes */
        cluster_thaw(w, old);
        uint64_t stale = cluster_read(w, old), lost = cluster_propose(w, old, FORM_INLINE);
        uint64_t lost_too = cluster_propose(w, old, FORM_PLAIN);
        ck_assert(cluster_read_waits(w, stale));
        cluster_pass(w, 1 * TIME_S);
        ck_assert(!cluster_read_waits(w, stale)); /* failed by now: a stale answer is a complaint */
        ck_assert(!cluster_committed(w, lost) && !cluster_committed(w, lost_too));
        ck_assert_int_eq(replica_role(cluster_replica(w, old)), REPLICA_FOLLOWER);
        ck_assert_uint_eq(replica_leader(cluster_replica(w, old)), now);
        ck_assert(cluster_applied(w, old, after)); /* it follows in earnest */
        struct cluster_result r = cluster_end(w);
        ck_assert_msg(!r.complaint, "seed %llu: %s: %s", (unsigned long long)seed, r.complaint,
                      r.detail);
        ck_assert_uint_eq(r.reads, 1);
        ck_assert_uint_eq(r.reads_failed, 1);
    }
}
END_TEST

/* The lease against true time: a leader cut off silently answers by lease for T_promise at most,
 * and the other side has no leader before that. */
START_TEST(lease_ends_before_the_next_leader)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t old;
        struct world *w = begin(2, 1, seed, &old);
        cluster_cut(w, old, 3 - old, true);
        cluster_cut(w, old, 3, true);
        time_us cut = cluster_now(w), last_answer = cut;
        while (cluster_leader(w) == old && cluster_now(w) < cut + 2 * TIME_S) {
            if (replica_role(cluster_replica(w, old)) == REPLICA_LEADER &&
                !cluster_read_waits(w, cluster_read(w, old)))
                last_answer = cluster_now(w);
            cluster_pass(w, 1 * TIME_MS);
        }
        ck_assert_uint_gt(last_answer, cut);
        ck_assert_uint_le(last_answer, cut + 151 * TIME_MS);
        ck_assert_uint_gt(cluster_now(w), last_answer);
        end(w, seed);
    }
}
END_TEST

/* Crashes of the leader, or of everybody, at every moment of a commit: the logs agree afterwards
 * and what was committed stays. */
START_TEST(crash_in_the_middle_leaves_logs_consistent)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        uint32_t leader;
        struct world *w = begin(seed % 2 ? 2 : 3, seed % 2, seed, &leader);
        uint64_t first = must_commit(w, leader, FORM_INLINE, 50 * TIME_MS);
        for (int i = 0; i < 5; i++) {
            (void)cluster_propose(w, leader, (enum cluster_form)(i % 3));
            cluster_pass(w, 100);
        }
        cluster_pass(w, seed * 20);
        cluster_crash(w, leader);
        for (uint32_t id = 1; id <= 3 && seed % 3 == 0; id++)
            if (id != leader)
                cluster_crash(w, id);
        ck_assert_ptr_null(cluster_check(w));
        for (uint32_t id = 1; id <= 3; id++)
            if (!cluster_replica(w, id))
                cluster_start(w, id);
        uint32_t now = cluster_await_leader(w, 0, 3 * TIME_S);
        ck_assert_uint_ne(now, 0);
        (void)must_commit(w, now, FORM_BY_PARTS, 300 * TIME_MS);
        ck_assert(cluster_committed(w, first));
        end(w, seed);
    }
}
END_TEST

/* SIGTERM: leadership is handed over without waiting for anybody's suspicion. */
START_TEST(stopping_leader_hands_over)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        uint64_t before = must_commit(w, leader, FORM_INLINE, 50 * TIME_MS);
        cluster_ask_to_stop(w, leader);
        time_us asked = cluster_now(w);
        ck_assert_uint_eq(cluster_await_leader(w, leader, 1 * TIME_S), 3 - leader);
        ck_assert_uint_le(cluster_now(w) - asked, 100 * TIME_MS);
        cluster_pass(w, 100 * TIME_MS);
        ck_assert(cluster_applied(w, 3 - leader, before));
        struct cluster_result r = cluster_end(w);
        ck_assert_msg(!r.complaint, "seed %llu: %s: %s", (unsigned long long)seed, r.complaint,
                      r.detail);
        ck_assert_uint_eq(r.stopped, 1);
    }
}
END_TEST

/* RULES B4: one slow disk must not slow everybody: the witness takes the copy's place. */
START_TEST(slow_copy_is_replaced_by_the_witness)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        cluster_slow_disk(w, 3 - leader, 3 * TIME_S);
        for (int i = 0; i < 20; i++)
            (void)must_commit(w, leader, (enum cluster_form)(i % 3), 100 * TIME_MS);
        ck_assert_uint_eq(replica_draft_mask(cluster_replica(w, leader)), 1u << 3);
        ck_assert_ptr_null(cluster_check(w));
        end(w, seed);
    }
}
END_TEST

static uint64_t gave_way(struct world *w, uint32_t id, time_us limit)
{
    struct replica_status s;
    time_us end = cluster_now(w) + limit;
    uint64_t times = 0;
    for (bool was = false; cluster_now(w) < end && !cluster_leader(w);) {
        cluster_pass(w, 1 * TIME_MS);
        replica_status(cluster_replica(w, id), &s);
        times += s.aside && !was;
        was = s.aside;
    }
    return times;
}

static void crash_all(struct world *w, uint32_t nodes)
{
    for (uint32_t id = 1; id <= nodes; id++)
        cluster_crash(w, id);
}

/* Only the leader has the entry, on its disk, and that disk loses the bytes. Nobody can take the
 * entry from it: it must make way for a copy that does not have it. By parts, another copy holds
 * the bytes in some runs: then they are fetched. */
START_TEST(leader_without_the_bytes_of_its_own_entry_gives_way)
{
    uint64_t times = 0;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        uint32_t leader, copies = seed % 4 < 2 ? 2 : 3, nodes = 2 * copies - 1;
        struct world *w = begin(copies, copies - 1, seed, &leader);
        uint64_t before = must_commit(w, leader, FORM_INLINE, 50 * TIME_MS);
        for (uint32_t id = 1; id <= nodes; id++)
            if (id != leader)
                cluster_cut(w, leader, id, true);
        (void)cluster_propose(w, leader, seed % 2 ? FORM_INLINE : FORM_BY_PARTS);
        cluster_pass(w, 10 * TIME_MS);
        crash_all(w, nodes);
        ck_assert(cluster_lose_bytes(w, leader));
        for (uint32_t id = 1; id <= nodes; id++) {
            cluster_start(w, id);
            if (id != leader)
                cluster_join(w, leader, id);
        }
        times += gave_way(w, leader, 6 * TIME_S);
        uint32_t now = cluster_leader(w);
        ck_assert_msg(now != 0, "seed %llu: no leader", (unsigned long long)seed);
        uint64_t after = must_commit(w, now, FORM_BY_PARTS, 300 * TIME_MS);
        cluster_pass(w, 500 * TIME_MS);
        ck_assert(cluster_applied(w, leader, before) && cluster_applied(w, leader, after));
        end(w, seed);
    }
    printf("# %llu of %u gave way\n", (unsigned long long)times, 2 * SEEDS);
    ck_assert_uint_ge(times, SEEDS / 2);
}
END_TEST

/* The same for a witness: it refuses the copies because of an entry that it alone has, and whose
 * bytes it has lost, so it can neither hand it over nor let go of it by itself. */
START_TEST(witness_without_the_bytes_of_its_own_entry_gives_way)
{
    uint64_t times = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t leader;
        struct world *w = begin(2, 1, seed, &leader);
        cluster_crash(w, 3 - leader);
        (void)must_commit(w, leader, FORM_INLINE, 100 * TIME_MS);
        cluster_slow_disk(w, leader, 3 * TIME_S);
        (void)cluster_propose(w, leader, FORM_INLINE);
        cluster_pass(w, 20 * TIME_MS);
        cluster_crash(w, leader);
        cluster_crash(w, 3);
        cluster_slow_disk(w, leader, 400);
        ck_assert(cluster_lose_bytes(w, 3));
        for (uint32_t id = 1; id <= 3; id++)
            cluster_start(w, id);
        if (replica_last_index(cluster_replica(w, leader)) ==
            replica_last_index(cluster_replica(w, 3))) { /* it was written there, too */
            (void)cluster_end(w);
            continue;
        }
        times += gave_way(w, 3, 12 * TIME_S);
        uint32_t now = cluster_leader(w);
        ck_assert_msg(now != 0, "seed %llu: no leader", (unsigned long long)seed);
        (void)must_commit(w, now, FORM_BY_PARTS, 300 * TIME_MS);
        end(w, seed);
    }
    printf("# %llu of %u gave way\n", (unsigned long long)times, SEEDS);
    ck_assert_uint_ge(times, SEEDS / 4);
}
END_TEST

/* "Each checker has a test that feeds it a bad history and expects a complaint." */
START_TEST(checks_object_to_a_bad_history)
{
    static const enum cluster_damage damages[] = {DAMAGE_BLOCK_LOST, DAMAGE_LOG_LOST,
                                                  DAMAGE_APPLIED_DIFFERS, DAMAGE_COMMIT_DIFFERS,
                                                  DAMAGE_READ_IS_STALE};
    uint32_t leader;
    struct world *w = begin(2, 1, 5, &leader);
    (void)must_commit(w, leader, FORM_BY_PARTS, 100 * TIME_MS);
    cluster_pass(w, 200 * TIME_MS);
    ck_assert_ptr_null(cluster_check(w)); /* nothing to object to yet */
    cluster_damage(w, damages[_i]);
    (void)cluster_read(w, leader);
    ck_assert_ptr_nonnull(cluster_check(w));
    struct cluster_result r = cluster_end(w);
    printf("# damage %d: %s: %s\n", _i, r.complaint, r.detail);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/core/story");
    TCase *tc = tcase_create("story");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, lone_copy_commits_at_once);
    tcase_add_test(tc, copy_dies_and_witness_is_drafted);
    tcase_add_test(tc, frozen_witness_is_no_help);
    tcase_add_test(tc, frozen_witness_lacks_the_blocks_of_a_proposal);
    tcase_add_test(tc, leader_dies_and_the_other_copy_commits);
    tcase_add_test(tc, both_copies_die_and_come_back);
    tcase_add_test(tc, witness_hands_over_what_a_copy_lacks);
    tcase_add_test(tc, witness_drops_bytes_only_when_all_copies_are_whole);
    tcase_add_test(tc, frozen_leader_wakes_up_harmless);
    tcase_add_test(tc, lease_ends_before_the_next_leader);
    tcase_add_test(tc, crash_in_the_middle_leaves_logs_consistent);
    tcase_add_test(tc, stopping_leader_hands_over);
    tcase_add_test(tc, slow_copy_is_replaced_by_the_witness);
    tcase_add_test(tc, leader_without_the_bytes_of_its_own_entry_gives_way);
    tcase_add_test(tc, witness_without_the_bytes_of_its_own_entry_gives_way);
    tcase_add_loop_test(tc, checks_object_to_a_bad_history, 0, 5);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
