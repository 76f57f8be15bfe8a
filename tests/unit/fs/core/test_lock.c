/* Byte-range locks as state: against a twin that knows each byte's locks, and what ends them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/lock_list.h"
#include "repl/base/kv_mem.h"
#include "repl/base/vec.h"
#include "tests/unit/lib/run.h"

enum { BYTES = 24, SESSIONS = 2, OWNERS = 2, STEPS = 6000 };

static struct kv *kv;
static struct kv_txn *txn;
static struct fs_state *state;
static uint64_t last_index, sessions[SESSIONS], file;

/* The errno; *ret (may be NULL) is the inode or session made. */
static int apply(Fs__Op *op, uint64_t *ret)
{
    struct fs_result result;
    fs_result_init(&result);
    fs_apply(state, txn, ++last_index, op, &result);
    ck_assert_int_eq(kv_txn_commit(txn), 0);
    struct fs_hash kept = fs_state_hash(state), found = fs_state_rehash(state);
    ck_assert(kept.lo == found.lo && kept.hi == found.hi);
    if (ret)
        *ret = result.reply->attr ? result.reply->attr->ino : result.reply->value;
    int err = result.reply->err;
    fs_result_done(&result);
    return err;
}

static uint64_t open_session(uint8_t id)
{
    uint8_t uuid[16] = {id};
    uint64_t session = 0;
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){16, uuid};
    m.name = (char *)"test";
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    ck_assert_int_eq(apply(&op, &session), 0);
    return session;
}

static void end_session(uint64_t session)
{
    Fs__Op op = FS__OP__INIT;
    Fs__EndSession m = FS__END_SESSION__INIT;
    m.session = session;
    op.body_case = FS__OP__BODY_END_SESSION;
    op.end_session = &m;
    ck_assert_int_eq(apply(&op, NULL), 0);
}

static void setup(void)
{
    kv = kv_mem_new();
    txn = kv_txn_new(kv);
    state = fs_state_new(kv, 0);
    last_index = 0;
    fs_state_format(state, txn);
    ck_assert_int_eq(kv_txn_commit(txn), 0);
    for (uint8_t i = 0; i < SESSIONS; i++)
        sessions[i] = open_session(i + 1);
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    op.session = sessions[0];
    op.seq = 1;
    m.parent = FS_ROOT_INO;
    m.name = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "f"};
    m.mode = S_IFREG | 0644;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    ck_assert_int_eq(apply(&op, &file), 0);
}

static void teardown(void)
{
    fs_state_free(state);
    kv_txn_free(txn);
    kv_close(kv);
}

static int set(uint64_t session, uint64_t owner, Fs__Lock__Kind kind, Fs__Lock__Type type,
               uint64_t first, uint64_t last)
{
    Fs__Op op = FS__OP__INIT;
    Fs__SetLock m = FS__SET_LOCK__INIT;
    Fs__Lock l = FS__LOCK__INIT;
    op.session = session;
    m.ino = file;
    l.owner = owner;
    l.kind = kind;
    l.type = type;
    l.first = first;
    l.last = last;
    m.lock = &l;
    op.body_case = FS__OP__BODY_SET_LOCK;
    op.set_lock = &m;
    return apply(&op, NULL);
}

static int posix(uint64_t session, uint64_t owner, char type, uint64_t first, uint64_t last)
{
    return set(session, owner, FS__LOCK__KIND__POSIX,
               type == 'w'   ? FS__LOCK__TYPE__WRITE
               : type == 'r' ? FS__LOCK__TYPE__READ
                             : FS__LOCK__TYPE__UNLOCK,
               first, last);
}

static bool note(void *ctx, const struct fs_lock *lock)
{
    fs_lock_list *list = ctx;
    vec_push(list, *lock);
    return true;
}

static fs_lock_list stored(void)
{
    fs_lock_list list = {0};
    fs_each_lock(state, file, note, &list);
    return list;
}

/* ---- against a twin -------------------------------------------------------------------------- */

static char twin[SESSIONS][OWNERS][BYTES]; /* 0, 'r', 'w' */

static bool twin_free(size_t s, size_t o, char type, uint64_t first, uint64_t last)
{
    for (size_t os = 0; os < SESSIONS; os++)
        for (size_t oo = 0; oo < OWNERS; oo++)
            for (uint64_t b = first; b <= last; b++)
                if ((os != s || oo != o) && twin[os][oo][b] &&
                    (type == 'w' || twin[os][oo][b] == 'w'))
                    return false;
    return true;
}

static void expect_twin(void)
{
    char seen[SESSIONS][OWNERS][BYTES] = {0};
    fs_lock_list list = stored();
    for (size_t i = 0; i < list.count; i++) {
        const struct fs_lock *l = &list.items[i];
        size_t s = l->session == sessions[0] ? 0 : 1;
        for (uint64_t b = l->first; b <= l->last; b++) {
            ck_assert_int_eq(seen[s][l->owner][b], 0); /* no byte twice */
            seen[s][l->owner][b] = l->write ? 'w' : 'r';
        }
        for (size_t k = 0; k < i; k++) { /* what touches is one */
            const struct fs_lock *o = &list.items[k];
            ck_assert(o->session != l->session || o->owner != l->owner || o->write != l->write ||
                      o->last + 1 < l->first || l->last + 1 < o->first);
        }
    }
    vec_done(&list);
    ck_assert_int_eq(memcmp(seen, twin, sizeof seen), 0);
}

START_TEST(random_ranges_are_those_of_the_twin)
{
    unsigned seed = 7;
    memset(twin, 0, sizeof twin);
    for (int i = 0; i < STEPS; i++) {
        size_t s = (size_t)rand_r(&seed) % SESSIONS, o = (size_t)rand_r(&seed) % OWNERS;
        char type = "rwu"[rand_r(&seed) % 3];
        uint64_t first = (uint64_t)rand_r(&seed) % BYTES;
        uint64_t last = first + (uint64_t)rand_r(&seed) % (BYTES - first);
        bool ok = type == 'u' || twin_free(s, o, type, first, last);
        ck_assert_int_eq(posix(sessions[s], o, type, first, last), ok ? 0 : EAGAIN);
        for (uint64_t b = first; b <= last && ok; b++)
            twin[s][o][b] = type == 'u' ? 0 : type;
        expect_twin();
    }
}
END_TEST

/* ---- from one list to another ---------------------------------------------------------------- */

static struct fs_lock random_lock(unsigned *seed)
{
    uint64_t first = (uint64_t)rand_r(seed) % BYTES;
    return (struct fs_lock){.owner = (uint64_t)rand_r(seed) % 3,
                            .flock = rand_r(seed) % 4 == 0,
                            .write = rand_r(seed) % 2 == 0,
                            .first = first,
                            .last = first + (uint64_t)rand_r(seed) % (BYTES - first)};
}

static void change_at_random(fs_lock_list *list, unsigned *seed)
{
    for (int i = 0; i < 8; i++) {
        struct fs_lock l = random_lock(seed);
        (void)fs_locks_change(list, &l, rand_r(seed) % 3 == 0);
    }
}

static void change_all(fs_lock_list *list, const fs_lock_list *changes, bool unlock)
{
    for (size_t i = 0; i < changes->count; i++)
        ck_assert_int_eq(fs_locks_change(list, &changes->items[i], unlock), 0);
}

START_TEST(what_is_missing_never_meets_what_is_there)
{
    /* Goal: unlocking what the second has not and setting what the first has not leads from one to
     * the other, and no step of it is refused. */
    unsigned seed = 11;
    fs_lock_list from = {0}, to = {0}, less = {0}, more = {0};
    for (int i = 0; i < STEPS; i++) {
        change_at_random(&to, &seed);
        fs_locks_subtract(&from, &to, &less);
        change_all(&from, &less, true);
        fs_locks_subtract(&to, &from, &more);
        change_all(&from, &more, false);
        ck_assert_uint_eq(from.count, to.count);
        for (size_t k = 0; k < to.count; k++) {
            const struct fs_lock *a = &from.items[k], *b = &to.items[k];
            ck_assert(a->owner == b->owner && a->flock == b->flock && a->write == b->write &&
                      a->first == b->first && a->last == b->last);
        }
        vec_clear(&less);
        vec_clear(&more);
    }
    vec_done(&from);
    vec_done(&to);
    vec_done(&less);
    vec_done(&more);
}
END_TEST

/* ---- edges ----------------------------------------------------------------------------------- */

START_TEST(kinds_do_not_meet_and_nonsense_is_refused)
{
    ck_assert_int_eq(posix(sessions[0], 1, 'w', 0, FS_LOCK_END), 0);
    ck_assert_int_eq(
        set(sessions[1], 1, FS__LOCK__KIND__FLOCK, FS__LOCK__TYPE__WRITE, 0, FS_LOCK_END), 0);
    ck_assert_int_eq(posix(sessions[1], 1, 'r', FS_LOCK_END, FS_LOCK_END), EAGAIN);
    ck_assert_int_eq(posix(sessions[0], 1, 'u', FS_LOCK_END, FS_LOCK_END), 0);
    ck_assert_int_eq(posix(sessions[1], 1, 'r', FS_LOCK_END, FS_LOCK_END), 0);
    ck_assert_int_eq(posix(sessions[0], 1, 'w', 5, 4), EINVAL);
    ck_assert_int_eq(posix(sessions[0], 1, 'w', 0, FS_LOCK_END + 1), EINVAL);
    ck_assert_int_eq(set(sessions[0], 1, (Fs__Lock__Kind)7, FS__LOCK__TYPE__READ, 0, 1), EINVAL);
    ck_assert_int_eq(set(sessions[0], 1, FS__LOCK__KIND__POSIX, (Fs__Lock__Type)7, 0, 1), EINVAL);
    ck_assert_int_eq(posix(99, 1, 'w', 0, 1), ESTALE);
}
END_TEST

START_TEST(no_more_than_so_many)
{
    for (uint64_t i = 0; i < FS_LOCKS_MAX; i++)
        ck_assert_int_eq(posix(sessions[0], 1, 'r', 2 * i, 2 * i), 0);
    ck_assert_int_eq(posix(sessions[0], 1, 'r', 2 * FS_LOCKS_MAX, 2 * FS_LOCKS_MAX), ENOLCK);
    ck_assert_int_eq(posix(sessions[0], 1, 'r', 0, FS_LOCK_END), 0);
    fs_lock_list list = stored();
    ck_assert_uint_eq(list.count, 1);
    vec_done(&list);
}
END_TEST

START_TEST(nor_by_unlocking)
{
    /* Goal: what is unlocked bit by bit does not grow without a limit; all of it can always go. */
    ck_assert_int_eq(posix(sessions[0], 1, 'w', 0, FS_LOCK_END), 0);
    for (uint64_t i = 1; i < FS_LOCKS_MAX; i++)
        ck_assert_int_eq(posix(sessions[0], 1, 'u', 2 * i, 2 * i), 0);
    ck_assert_int_eq(posix(sessions[0], 1, 'u', 2 * FS_LOCKS_MAX, 2 * FS_LOCKS_MAX), ENOLCK);
    ck_assert_int_eq(posix(sessions[1], 1, 'w', 2 * FS_LOCKS_MAX, 2 * FS_LOCKS_MAX), EAGAIN);
    ck_assert_int_eq(posix(sessions[0], 1, 'u', 3, 3), 0); /* one less */
    ck_assert_int_eq(posix(sessions[0], 1, 'u', 2 * FS_LOCKS_MAX, 2 * FS_LOCKS_MAX), 0);
    ck_assert_int_eq(posix(sessions[0], 1, 'u', 0, FS_LOCK_END), 0);
    fs_lock_list list = stored();
    ck_assert_uint_eq(list.count, 0);
    vec_done(&list);
}
END_TEST

START_TEST(a_session_takes_its_locks_along)
{
    /* RULES L2; and nothing of them stays behind in the state. */
    fs_lock_list none = stored();
    struct fs_hash before;
    end_session(sessions[1]);
    before = fs_state_hash(state);
    sessions[1] = open_session(9);
    ck_assert_int_eq(posix(sessions[0], 1, 'r', 0, 9), 0);
    ck_assert_int_eq(posix(sessions[1], 1, 'r', 5, 14), 0);
    ck_assert_int_eq(posix(sessions[1], 2, 'w', 20, 30), 0);
    end_session(sessions[1]);
    fs_lock_list left = stored();
    ck_assert_uint_eq(left.count, none.count + 1);
    ck_assert_uint_eq(left.items[0].session, sessions[0]);
    vec_done(&left);
    vec_done(&none);
    ck_assert_int_eq(posix(sessions[0], 1, 'u', 0, FS_LOCK_END), 0);
    struct fs_hash after = fs_state_hash(state);
    ck_assert(before.lo == after.lo && before.hi == after.hi);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/core/lock");
    TCase *tc = tcase_create("locks");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, random_ranges_are_those_of_the_twin);
    tcase_add_test(tc, what_is_missing_never_meets_what_is_there);
    tcase_add_test(tc, kinds_do_not_meet_and_nonsense_is_refused);
    tcase_add_test(tc, no_more_than_so_many);
    tcase_add_test(tc, nor_by_unlocking);
    tcase_add_test(tc, a_session_takes_its_locks_along);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
