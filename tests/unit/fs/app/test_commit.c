/* The numbering of COMMITs at the leader (RULES B2, B12). */
#include <errno.h>

#include "tests/unit/fs/app/service.h"
#include "tests/unit/lib/run.h"

enum { LINK_A = 1, LINK_B = 2 };

static struct service sv;
static uint64_t a, b, ino;

static void setup(void)
{
    service_open(&sv);
    a = service_open_session(&sv, LINK_A);
    b = service_open_session(&sv, LINK_B);
    ino = service_make(&sv, LINK_A, a, 1, "f");
}

static void teardown(void)
{
    service_close(&sv);
}

/* ---- short forms ----------------------------------------------------------------------------- */

static uint64_t send_a(uint64_t c)
{
    return service_send_commit(&sv, LINK_A, a, ino, 1, c);
}

static uint64_t send_b(uint64_t c)
{
    return service_send_commit(&sv, LINK_B, b, ino, 3, c);
}

/* Of COMMIT `c` in lease epoch `epoch`: how often it was proposed; *ret_at is the last one. */
static unsigned proposed(uint64_t epoch, uint64_t c, size_t *ret_at)
{
    unsigned times = 0;
    for (size_t i = 0; i < sv.proposals.count; i++) {
        const Fs__Op *op = sv.proposals.items[i].op;
        if (op->body_case != FS__OP__BODY_COMMIT || op->commit->epoch != epoch ||
            op->commit->c != c)
            continue;
        times++;
        *ret_at = i;
    }
    return times;
}

static size_t proposed_once(uint64_t epoch, uint64_t c)
{
    size_t at = 0;
    ck_assert_uint_eq(proposed(epoch, c, &at), 1);
    return at;
}

static void not_proposed(uint64_t epoch, uint64_t c)
{
    size_t at;
    ck_assert_uint_eq(proposed(epoch, c, &at), 0);
}

static void done(uint64_t id)
{
    const Fs__Reply *reply = service_answer(&sv, id);
    ck_assert(reply != NULL && reply->body_case == FS__REPLY__BODY_OP);
    ck_assert_int_eq(reply->err, 0);
    ck_assert_int_eq(reply->op->err, 0);
}

/* The session of `a` ends, and with it the lease; the next one, of epoch 3, is `b`'s. */
static void lease_moves(void)
{
    Fs__Op op = FS__OP__INIT;
    Fs__EndSession end = FS__END_SESSION__INIT;
    end.session = a;
    op.body_case = FS__OP__BODY_END_SESSION;
    op.end_session = &end;
    (void)service_do(&sv, LINK_A, a, &op);
    Fs__Lease lease = FS__LEASE__INIT;
    lease.ino = ino;
    op = (Fs__Op)FS__OP__INIT;
    op.seq = 1;
    op.body_case = FS__OP__BODY_LEASE;
    op.lease = &lease;
    ck_assert_uint_eq(service_do(&sv, LINK_B, b, &op)->value, 3);
}

/* ---- one lease ------------------------------------------------------------------------------- */

START_TEST(one_after_another)
{
    /* Goal: they are proposed in their order, each when the one before it is in the log, and only
     * once. */
    uint64_t third = send_a(3), second = send_a(2), first = send_a(1);
    not_proposed(1, 2);
    service_append(&sv, proposed_once(1, 1));
    not_proposed(1, 3);
    service_append(&sv, proposed_once(1, 2));
    service_append(&sv, proposed_once(1, 3));
    uint64_t again = send_a(3);
    for (uint64_t c = 1; c <= 3; c++)
        service_apply(&sv, proposed_once(1, c));
    done(first);
    done(second);
    ck_assert(service_answer(&sv, third) == NULL); /* whoever asks last is answered */
    done(again);
    done(send_a(2));
    (void)proposed_once(1, 2);
}
END_TEST

START_TEST(gap_that_stays)
{
    /* Goal: who waits for a COMMIT that is dropped looks again, and is told when the file is gone:
     * nobody sends that COMMIT again. */
    (void)send_a(1);
    uint64_t second = send_a(2);
    size_t first = proposed_once(1, 1);
    Fs__Op op = FS__OP__INIT;
    Fs__Unlink unlink = FS__UNLINK__INIT;
    unlink.parent = FS_ROOT_INO;
    unlink.name = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "f"};
    unlink.open_ino = ino;
    op.seq = 2;
    op.body_case = FS__OP__BODY_UNLINK;
    op.unlink = &unlink;
    (void)service_send_op(&sv, LINK_A, a, &op);
    service_answer_recall(&sv, LINK_B, b, service_recall(&sv, LINK_B), 0);
    size_t removal = sv.proposals.count - 1;
    ck_assert_int_eq(sv.proposals.items[removal].op->body_case, FS__OP__BODY_UNLINK);
    service_append(&sv, removal);
    service_apply(&sv, removal);
    ck_assert(service_answer(&sv, second) == NULL);
    service_drop(&sv, first);
    ck_assert(service_answer(&sv, second) != NULL);
    ck_assert_int_eq(service_answer(&sv, second)->err, EIO);
}
END_TEST

/* By reference, to another version of the source than it has: it will be refused. */
static uint64_t send_reference(uint64_t link, uint64_t session, uint64_t epoch, uint64_t c,
                               uint64_t term)
{
    Fs__Edit edit = FS__EDIT__INIT, *edits[] = {&edit};
    Fs__Commit commit = FS__COMMIT__INIT;
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Op op = FS__OP__INIT;
    edit.kind = FS__EDIT__KIND__REFERENCE;
    edit.pages = 1;
    edit.source_ino = FS_ROOT_INO;
    commit.ino = ino;
    commit.epoch = epoch;
    commit.c = c;
    commit.size = 4096;
    commit.edits = edits;
    commit.n_edits = 1;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &commit;
    req.body_case = FS__REQUEST__BODY_OP;
    req.op = &op;
    req.term = term;
    return service_send(&sv, link, session, &req);
}

START_TEST(refused_and_late)
{
    /* Goal: RULES B12: a COMMIT by reference that was refused leaves its number to the next one. A
     * copy of it that was on its way to a leader which leads again only now is no predecessor of
     * that one, nor the same. */
    uint64_t refused = send_reference(LINK_A, a, 1, 1, sv.term);
    size_t at = proposed_once(1, 1);
    service_append(&sv, at);
    service_apply(&sv, at);
    ck_assert_int_eq(service_answer(&sv, refused)->op->err, EAGAIN);
    uint64_t old_term = sv.term;
    service_reign(&sv, old_term + 2);
    service_pass(&sv, TIME_MS);
    uint64_t late = send_reference(LINK_A, a, 1, 1, old_term), next = send_a(1);
    const Fs__Reply *answer = service_answer(&sv, late);
    ck_assert(answer != NULL && answer->err == ESTALE);
    ck_assert_uint_eq(proposed(1, 1, &at), 2);
    service_append(&sv, at);
    service_apply(&sv, at);
    done(next);
}
END_TEST

/* ---- two leases ------------------------------------------------------------------------------ */

START_TEST(ended_lease_holds_up_nobody)
{
    /* Goal: what an ended lease left on its way to the log, maybe for ever, is no predecessor of
     * the next lease's COMMITs. */
    uint64_t old[3];
    for (uint64_t c = 1; c <= 3; c++)
        old[c - 1] = send_a(c);
    (void)proposed_once(1, 1); /* its bytes fit nowhere */
    lease_moves();
    ck_assert_int_eq(service_answer(&sv, old[1])->err, ESTALE);
    ck_assert_int_eq(service_answer(&sv, old[2])->err, ESTALE);
    uint64_t id = send_b(1);
    service_append(&sv, proposed_once(3, 1));
    service_apply(&sv, proposed_once(3, 1));
    done(id);
}
END_TEST

START_TEST(ended_lease_leaves_without_a_gap)
{
    /* Goal: when such a one is dropped, the next lease's COMMITs wait for each other as before. */
    for (uint64_t c = 1; c <= 2; c++) {
        (void)send_a(c);
        service_append(&sv, proposed_once(1, c));
        service_apply(&sv, proposed_once(1, c));
    }
    (void)send_a(3);
    size_t old = proposed_once(1, 3);
    lease_moves();
    (void)send_b(1);
    service_append(&sv, proposed_once(3, 1));
    uint64_t second = send_b(2);
    size_t at = proposed_once(3, 2);
    service_drop(&sv, old);
    uint64_t third = send_b(3);
    not_proposed(3, 3); /* the second is not in the log */
    service_append(&sv, at);
    service_append(&sv, proposed_once(3, 3));
    for (uint64_t c = 1; c <= 3; c++)
        service_apply(&sv, proposed_once(3, c));
    done(second);
    done(third);
}
END_TEST

START_TEST(ended_lease_comes_late)
{
    /* Goal: when such a one gets into the log after all, the next lease's COMMITs still wait for
     * their own, and the late one is refused. */
    uint64_t late = send_a(1);
    size_t old = proposed_once(1, 1);
    lease_moves();
    (void)send_b(1);
    (void)send_b(2);
    size_t at = proposed_once(3, 1);
    service_append(&sv, old);
    not_proposed(3, 2);
    service_append(&sv, at);
    service_append(&sv, proposed_once(3, 2));
    service_apply(&sv, old);
    ck_assert_int_eq(service_answer(&sv, late)->err, ESTALE);
    service_apply(&sv, at);
}
END_TEST

START_TEST(refused_beside_an_ended_lease)
{
    /* Goal: RULES B12: nor does one of an ended lease, which is still on its way, keep the number
     * of a refused COMMIT by reference taken. */
    (void)send_a(1);
    lease_moves();
    uint64_t refused = send_reference(LINK_B, b, 3, 1, sv.term);
    size_t at = proposed_once(3, 1);
    service_append(&sv, at);
    service_apply(&sv, at);
    ck_assert_int_eq(service_answer(&sv, refused)->op->err, EAGAIN);
    uint64_t next = send_b(1);
    ck_assert_uint_eq(proposed(3, 1, &at), 2);
    service_append(&sv, at);
    service_apply(&sv, at);
    done(next);
}
END_TEST

START_TEST(ended_lease_is_not_joined)
{
    /* Goal: a COMMIT that is sent again is answered with its own, not with one of the same number
     * that an ended lease left. */
    (void)send_a(1);
    lease_moves();
    (void)send_b(1);
    uint64_t again = send_b(1);
    service_append(&sv, proposed_once(3, 1));
    service_apply(&sv, proposed_once(3, 1));
    done(again);
}
END_TEST

/* ---- what a COMMIT brings -------------------------------------------------------------------- */

enum { BLOCKS = 16, BLOCK_SIZE = 1 << 20, RUNS = BLOCK_SIZE / BLOCK_RUN_SIZE };

/* COMMIT 1: so many pages of the file, each in a run of its own. */
static uint64_t send_scattered(uint32_t pages, uint32_t blocks, uint64_t first_block,
                               uint64_t step_block)
{
    static uint64_t runs[RUNS];
    Fs__Op op = FS__OP__INIT;
    Fs__Commit m = FS__COMMIT__INIT;
    Fs__Block block[BLOCKS], *list[BLOCKS];
    Fs__Edit edit[BLOCKS * RUNS], *edits[BLOCKS * RUNS];
    for (uint32_t i = 0; i < blocks; i++) {
        block[i] = (Fs__Block)FS__BLOCK__INIT;
        block[i].session = a;
        block[i].n = first_block + i * step_block;
        block[i].size = BLOCK_SIZE;
        block[i].runs = runs;
        block[i].n_runs = RUNS;
        list[i] = &block[i];
    }
    for (uint32_t i = 0; i < pages; i++) {
        edit[i] = (Fs__Edit)FS__EDIT__INIT;
        edit[i].kind = FS__EDIT__KIND__EXTENT;
        edit[i].first_page = i;
        edit[i].pages = 1;
        edit[i].block = i / RUNS;
        edit[i].block_page = i % RUNS * (BLOCK_RUN_SIZE / BLOCK_PAGE_SIZE);
        edits[i] = &edit[i];
    }
    m.ino = ino;
    m.epoch = m.c = 1;
    m.size = (uint64_t)pages * BLOCK_PAGE_SIZE;
    m.blocks = list;
    m.n_blocks = blocks;
    m.edits = edits;
    m.n_edits = pages;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &m;
    return service_send_op(&sv, LINK_A, a, &op);
}

static const Fs__Reply *read_pages(uint32_t pages)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Read m = FS__READ__INIT;
    m.ino = ino;
    m.pages = pages;
    req.body_case = FS__REQUEST__BODY_READ;
    req.read = &m;
    return service_answer(&sv, service_send(&sv, LINK_A, a, &req));
}

START_TEST(name_is_there_once)
{
    /* Goal: one that names a block twice is refused: whoever drops it would give its place back
     * twice, and with it that of another block. */
    ck_assert_int_eq(service_answer(&sv, send_scattered(2, 2, 5, 0))->err, EINVAL);
    not_proposed(1, 1);
    uint64_t id = send_scattered(2, 2, 5, 1);
    service_append(&sv, proposed_once(1, 1));
    service_apply(&sv, proposed_once(1, 1));
    done(id);
}
END_TEST

START_TEST(answer_fits_a_frame)
{
    /* Goal: RULES B8: a READ is answered with whole runs; where they are more than a frame takes it
     * is refused, and not cut short, which would show zeros. */
    const uint32_t most = FS_APP_READ_BYTES_MAX / BLOCK_RUN_SIZE;
    (void)send_scattered(BLOCKS * RUNS, BLOCKS, 1, 1);
    service_append(&sv, proposed_once(1, 1));
    service_apply(&sv, proposed_once(1, 1));
    ck_assert_int_eq(read_pages(most)->err, 0);
    ck_assert_uint_eq(read_pages(most)->read->n_pieces, most);
    ck_assert_int_eq(read_pages(most + 1)->err, EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("commit");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_after_another);
    tcase_add_test(t, gap_that_stays);
    tcase_add_test(t, refused_and_late);
    tcase_add_test(t, ended_lease_holds_up_nobody);
    tcase_add_test(t, ended_lease_leaves_without_a_gap);
    tcase_add_test(t, ended_lease_comes_late);
    tcase_add_test(t, refused_beside_an_ended_lease);
    tcase_add_test(t, ended_lease_is_not_joined);
    tcase_add_test(t, name_is_there_once);
    tcase_add_test(t, answer_fits_a_frame);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
