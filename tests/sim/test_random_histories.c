/* Histories made by a filesystem of which it is known that it is right: checkers must be silent.
 * The same with one answer made old: they must object more often than not.
 *
 * The model: files are arrays of stamps; a mount works on its own view of a file until another one
 * touches it or it syncs, then the view is committed; when it is killed, its views are gone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/test_run.h"
#include "tests/unit/lib/run.h"

enum { MOUNTS = 3, APPS = 3, FILES = 4, UNITS = 24, OPS = 3000, SEEDS = 40, RECORDS = 2000 };

struct file {
    uint64_t committed[UNITS], view[UNITS];
    uint64_t log[RECORDS]; /* an append-only file beside it */
    size_t log_committed, log_view;
    uint32_t holder;
};

struct app {
    uint32_t mount;
    time_us start, effect, end; /* of the operation under way; end 0: none */
    size_t op;
    bool done;
};

static struct {
    struct history h;
    struct file files[FILES];
    struct app apps[MOUNTS * APPS];
    uint32_t lives[MOUNTS + 1];
    uint64_t chance, stamp;
} w;

bool check_election_steady(time_us from, time_us to)
{
    return false;
}

static uint64_t below(uint64_t n)
{
    w.chance ^= w.chance << 13;
    w.chance ^= w.chance >> 7;
    w.chance ^= w.chance << 17;
    return w.chance % n;
}

static void start_op(struct app *a, time_us now)
{
    static const enum history_kind kinds[] = {H_WRITE, H_WRITE,    H_READ,   H_READ,    H_READ,
                                              H_FSYNC, H_TRUNCATE, H_APPEND, H_READ_ALL};
    struct history_op op = {.kind = kinds[below(9)], .mount = a->mount, .app = 1};
    uint64_t file = below(FILES);
    bool list = op.kind == H_APPEND || op.kind == H_READ_ALL;
    op.file = (list ? 100 : 1) + file;
    op.life = w.lives[a->mount];
    op.start = now;
    op.page = 2 * (uint32_t)below((UNITS - 6) / 2); /* undivided */
    op.pages = 1 + (uint32_t)below(6);
    op.bytes = op.pages * (uint64_t)HISTORY_UNIT;
    if (op.kind == H_WRITE || op.kind == H_APPEND)
        op.stamp = ++w.stamp;
    a->op = w.h.ops.count;
    a->done = false;
    a->start = now;
    a->effect = now + below(20);
    a->end = a->effect + 1 + below(20);
    vec_push(&w.h.ops, op);
}

static void take_file(struct file *f, uint32_t mount)
{
    if (f->holder == mount)
        return;
    memcpy(f->committed, f->view, sizeof f->view);
    f->log_committed = f->log_view;
    f->holder = mount;
}

static void effect(struct app *a)
{
    struct history_op *op = &w.h.ops.items[a->op];
    bool list = op->file >= 100;
    struct file *f = &w.files[op->file - (list ? 100 : 1)];
    a->done = true;
    take_file(f, op->mount);
    if (op->kind == H_WRITE) {
        for (uint32_t u = 0; u < op->pages; u++)
            f->view[op->page + u] = op->stamp;
    } else if (op->kind == H_TRUNCATE) {
        for (uint32_t u = op->pages; u < UNITS; u++)
            f->view[u] = 0;
    } else if (op->kind == H_FSYNC) {
        take_file(f, 0); /* both files of the pair */
    } else if (op->kind == H_APPEND && f->log_view < RECORDS) {
        f->log[f->log_view++] = op->stamp;
    } else if (op->kind == H_READ) {
        op->stamps_count = op->pages;
        op->stamps = xcalloc(op->pages, sizeof *op->stamps);
        memcpy(op->stamps, f->view + op->page, op->pages * sizeof *op->stamps);
    } else if (op->kind == H_READ_ALL) {
        op->stamps_count = f->log_view;
        op->pages = 2;
        op->stamps = xcalloc(f->log_view + 1, sizeof *op->stamps);
        memcpy(op->stamps, f->log, f->log_view * sizeof *op->stamps);
    }
}

static void kill_mount(uint32_t mount, time_us now)
{
    struct history_op op = {.kind = H_MOUNT_KILLED, .mount = mount, .start = now, .end = now};
    op.life = w.lives[mount]++;
    vec_push(&w.h.ops, op);
    for (size_t i = 0; i < MOUNTS * APPS; i++)
        if (w.apps[i].mount == mount)
            w.apps[i].end = 0;
    for (size_t i = 0; i < FILES; i++) {
        struct file *f = &w.files[i];
        if (f->holder != mount)
            continue;
        memcpy(f->view, f->committed, sizeof f->view);
        f->log_view = f->log_committed;
    }
}

static void make(uint64_t seed)
{
    history_done(&w.h);
    memset(&w, 0, sizeof w);
    w.chance = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < MOUNTS * APPS; i++)
        w.apps[i].mount = 1 + (uint32_t)(i / APPS);
    for (time_us now = 1; w.h.ops.count < OPS; now++) {
        for (size_t i = 0; i < MOUNTS * APPS; i++) {
            struct app *a = &w.apps[i];
            if (a->end && !a->done && a->effect <= now)
                effect(a);
            if (a->end && a->end <= now) {
                w.h.ops.items[a->op].end = now;
                a->end = 0;
            } else if (!a->end && below(10) == 0) {
                start_op(a, now);
            }
        }
        if (below(500) == 0)
            kill_mount(1 + (uint32_t)below(MOUNTS), now);
    }
}

static void check_all(void)
{
    check_registers(&w.h);
    check_durability(&w.h);
    check_one_commit(&w.h);
    check_appends(&w.h);
    w.h.session_mounts = UINT32_MAX;
    check_sessions(&w.h);
    check_durability(&w.h);
    check_one_commit(&w.h);
    check_appends(&w.h);
    w.h.session_mounts = 0;
}

START_TEST(right_histories)
{
    test_run_start();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        make(seed);
        check_all();
        ck_assert_msg(!sim_failed(), "seed %d: %s: %s", (int)seed, run.checker, run.detail);
    }
    history_done(&w.h);
}
END_TEST

/* A read late in the history is given what the first unit of its file showed long before. */
static bool make_old(void)
{
    for (size_t i = OPS - OPS / 4; i < w.h.ops.count; i++) {
        struct history_op *late = &w.h.ops.items[i];
        if (late->kind != H_READ || !late->end || !late->stamps_count)
            continue;
        for (size_t k = OPS / 4; k-- > 0;) {
            const struct history_op *old = &w.h.ops.items[k];
            if (old->kind != H_READ || old->file != late->file || old->page != late->page ||
                !old->end || !old->stamps_count || !old->stamps[0] ||
                old->stamps[0] == late->stamps[0])
                continue;
            late->stamps[0] = old->stamps[0];
            return true;
        }
    }
    return false;
}

START_TEST(old_answers)
{
    unsigned seen = 0, all = 0;
    test_run_start();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        make(seed);
        if (!make_old())
            continue;
        all++;
        check_registers(&w.h);
        seen += sim_failed();
        run.checker[0] = 0;
    }
    history_done(&w.h);
    ck_assert_uint_gt(all, SEEDS / 2);
    ck_assert_uint_eq(seen, all);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/random_histories");
    TCase *tc = tcase_create("random");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, right_histories);
    tcase_add_test(tc, old_answers);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
