/* Changes at random, one by one against a model and many at once, in peace and in trouble. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/fs/client/forms.h"
#include "tests/unit/lib/run.h"

/* Elections that lose or keep what is not committed, links that break: all in the middle of
 * something. */
static void trouble(unsigned r)
{
    int m = r & 1;
    uint32_t node = r & 2 ? 2 : 1;
    switch ((r >> 2) % 4) {
    case 0:
        w.no_commit = true;
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_settle(&w);
        world_new_leader(&w, 3 - w.leader, (r & 16) != 0);
        w.no_commit = false;
        break;
    case 1:
        w.mounts[m].held = true;
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_settle(&w);
        w.mounts[m].held = false;
        world_link_down(&w, m, node);
        world_link_up(&w, m, node, node);
        break;
    case 2:
        (void)world_start(&w, m, (struct client_op){.kind = CLIENT_SYNC_ALL});
        world_link_down(&w, m, node);
        world_settle(&w);
        world_link_up(&w, m, node, node);
        break;
    default:
        world_new_leader(&w, r & 32 ? w.leader : 3 - w.leader, true);
        break;
    }
}

static void random_changes(unsigned seed, bool troubled)
{
    enum { SIZE = 40000, STEPS = 400 };
    static uint8_t model[SIZE], bytes[SIZE];
    size_t length = 0;
    memset(model, 0, sizeof model);
    struct place f[2];
    f[0] = create(0, "r");
    f[1] = open_name(1, "r");
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1103515245u + 12345u;
        unsigned r = seed >> 8;
        int m = (r >> 4) % 8 == 0;
        size_t at = (r >> 7) % (SIZE - 1), n = 1 + (seed >> 5) % (r & 1 ? 9000 : 300);
        n = n < SIZE - at ? n : SIZE - at;
        switch (r % 8) {
        case 0:
            ck_assert_int_eq(truncate_to(m, f[m], at), 0);
            if (at < length)
                memset(model + at, 0, length - at);
            length = at;
            break;
        case 1:
            ck_assert_int_eq(simple(m, r & 16 ? CLIENT_FSYNC : CLIENT_FLUSH, f[m]), 0);
            break;
        case 2:
        case 3:
            n = at < length ? length - at : 0;
            expect_bytes(m, f[m], at, model + at, n);
            ck_assert_uint_eq(size_of(m, f[m]), length);
            break;
        default:
            fill(bytes, n, seed);
            put_bytes(m, f[m], at, bytes, n);
            memcpy(model + at, bytes, n);
            length = at + n > length ? at + n : length;
            break;
        }
        if (r % 64 == 5)
            world_pass(&w, 1500 * TIME_MS);
        if (troubled && (r >> 12) % 8 == 0)
            trouble(r >> 16 ^ seed);
    }
    expect_bytes(1, f[1], 0, model, length);
    ck_assert_uint_eq(w.mounts[0].logs + w.mounts[1].logs, 0); /* nothing lost, nothing refused */
}

START_TEST(random_changes_match_a_model)
{
    /* Goal: any order of writes, truncates, reads, syncs and readers elsewhere gives what an array
     * gives. */
    random_changes((unsigned)_i * 7919 + 1, false);
}
END_TEST

START_TEST(random_changes_in_trouble)
{
    /* Goal: the same, while leaders change and links break. */
    random_changes((unsigned)_i * 7919 + 1, true);
}
END_TEST

/* ---- many things at once --------------------------------------------------------------------- */

enum { CROWD_NAMES = 5, CROWD_STEPS = 600, CROWD_HANDLES = 64 };

struct crowd {
    unsigned seed;
    uint64_t ids[2][CROWD_STEPS * 2];
    size_t count[2];
    struct place open[2][CROWD_HANDLES];
    size_t open_count[2];
};

static unsigned roll(struct crowd *c, unsigned sides)
{
    c->seed = c->seed * 1103515245u + 12345u;
    return (c->seed >> 12) % sides;
}

static void begin(struct crowd *c, int m, struct client_op op)
{
    c->ids[m][c->count[m]++] = world_start(&w, m, op);
}

static const char *crowd_name(struct crowd *c)
{
    static const char *const names[CROWD_NAMES] = {"a", "b", "c", "d", "e"};
    return names[roll(c, CROWD_NAMES)];
}

/* What was opened by now may be used. */
static void collect(struct crowd *c, int m)
{
    for (size_t i = 0; i < c->count[m]; i++) {
        const struct world_answer *a = world_find(&w, m, c->ids[m][i]);
        if (!a || !a->fh)
            continue;
        bool known = false;
        for (size_t j = 0; j < c->open_count[m]; j++)
            known |= c->open[m][j].fh == a->fh;
        if (!known && c->open_count[m] < CROWD_HANDLES)
            c->open[m][c->open_count[m]++] = (struct place){a->attr.ino, a->fh};
    }
}

static void crowd_data(struct crowd *c, int m)
{
    if (c->open_count[m] == 0)
        return;
    struct place f = c->open[m][roll(c, (unsigned)c->open_count[m])];
    static uint8_t bytes[80000];
    struct client_op op = {
        .ino = f.ino, .fh = f.fh, .offset = roll(c, 50000), .size = 1 + roll(c, 70000)};
    switch (roll(c, 6)) {
    case 0:
        op.kind = CLIENT_READ;
        break;
    case 1:
        op.kind = CLIENT_FSYNC;
        break;
    case 2:
        op.kind = CLIENT_FLUSH;
        break;
    case 3:
        op.kind = CLIENT_SETATTR;
        op.set = CLIENT_SET_SIZE | 8u;
        break;
    default:
        fill(bytes, op.size, c->seed);
        op.kind = CLIENT_WRITE;
        op.data = blob_copy(bytes, op.size);
        op.flags = roll(c, 4) == 0 ? O_APPEND : 0;
        break;
    }
    begin(c, m, op);
}

static void crowd_step(struct crowd *c, int m)
{
    switch (roll(c, 12)) {
    case 0:
    case 1:
        begin(c, m,
              (struct client_op){.kind = CLIENT_MAKE,
                                 .parent = WORLD_ROOT,
                                 .name = crowd_name(c),
                                 .mode = S_IFREG | 0644,
                                 .open = true,
                                 .flags = O_RDWR | O_CREAT});
        break;
    case 2:
        begin(
            c, m,
            (struct client_op){.kind = CLIENT_UNLINK, .parent = WORLD_ROOT, .name = crowd_name(c)});
        break;
    case 3:
        begin(c, m,
              (struct client_op){.kind = CLIENT_RENAME,
                                 .parent = WORLD_ROOT,
                                 .name = crowd_name(c),
                                 .newparent = WORLD_ROOT,
                                 .newname = crowd_name(c)});
        break;
    case 4:
        begin(
            c, m,
            (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = crowd_name(c)});
        break;
    case 5:
        begin(c, m,
              (struct client_op){
                  .kind = CLIENT_READDIR, .ino = WORLD_ROOT, .size = 50, .plus = true});
        break;
    case 6:
        if (c->open_count[m] != 0) {
            size_t i = roll(c, (unsigned)c->open_count[m]);
            struct place f = c->open[m][i];
            begin(c, m,
                  (struct client_op){.kind = CLIENT_LINK,
                                     .ino = f.ino,
                                     .newparent = WORLD_ROOT,
                                     .newname = crowd_name(c)});
        }
        break;
    default:
        crowd_data(c, m);
        break;
    }
}

static void all_answered(const struct crowd *c, bool sessions_end)
{
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < c->count[m]; i++) {
            const struct world_answer *a = world_find(&w, m, c->ids[m][i]);
            ck_assert_msg(a != NULL, "operation %zu of mount %d was not answered", i, m);
            ck_assert_int_ne(a->err, ETIMEDOUT);
            if (!sessions_end)
                ck_assert_int_ne(a->err, EIO);
        }
}

static void crowd(unsigned seed, bool troubled, bool sessions_end)
{
    static struct crowd c;
    c = (struct crowd){.seed = seed};
    for (int step = 0; step < CROWD_STEPS; step++) {
        int m = (int)roll(&c, 2);
        crowd_step(&c, m);
        if (roll(&c, 4) == 0)
            world_settle(&w);
        if (roll(&c, 16) == 0)
            world_pass(&w, roll(&c, 50) * TIME_MS);
        if (roll(&c, 200) == 0)
            world_pass(&w, 3 * TIME_S);
        if (troubled && roll(&c, 20) == 0)
            trouble(c.seed >> 9);
        if (sessions_end && roll(&c, 60) == 0)
            world_end_session(&w, client_stats(w.mounts[m].client, w.now).session);
        collect(&c, m);
    }
    world_pass(&w, 10 * TIME_S);
    all_answered(&c, sessions_end);
    if (!sessions_end)
        ck_assert_uint_eq(w.mounts[0].logs + w.mounts[1].logs, 0);
    /* Both see the same names, sizes and bytes. */
    static const char *const names[CROWD_NAMES] = {"a", "b", "c", "d", "e"};
    uint64_t named[CROWD_NAMES] = {0}, count = 0;
    for (int i = 0; i < CROWD_NAMES; i++) {
        const struct world_answer *a = lookup(0, names[i]);
        struct world_answer mine = *a, theirs = *lookup(1, names[i]);
        ck_assert_int_eq(mine.err, theirs.err);
        ck_assert_uint_eq(mine.attr.ino, theirs.attr.ino);
        ck_assert_uint_eq(mine.attr.size, theirs.attr.size);
        bool again = false;
        for (int j = 0; j < i; j++)
            again |= named[j] == mine.attr.ino;
        named[i] = mine.attr.ino;
        count += mine.err == 0 && !again;
        if (mine.err != 0)
            continue;
        struct place f = open_name(0, names[i]), g = open_name(1, names[i]);
        struct blob *b = blob_ref(get_bytes(0, f, 0, mine.attr.size + 1));
        expect_bytes(1, g, 0, b->data, b->size);
        blob_unref(b);
        (void)simple(0, CLIENT_RELEASE, f);
        (void)simple(1, CLIENT_RELEASE, g);
    }
    /* And nothing stays of what has no name once nobody has it open. */
    for (int m = 0; m < 2; m++) {
        for (size_t i = 0; i < c.count[m]; i++) {
            const struct world_answer *a = world_find(&w, m, c.ids[m][i]);
            if (a->fh)
                (void)simple(m, CLIENT_RELEASE, (struct place){a->attr.ino, a->fh});
        }
    }
    world_pass(&w, 3 * TIME_S);
    struct client_stats s = client_stats(w.mounts[0].client, w.now);
    ck_assert_uint_eq(s.dirty_bytes + s.inflight_bytes + s.open_files, 0);
    /* A session that has not renewed yet counts as having everything open (RULES L7), and isn't
     * told: what it holds so goes with it. */
    if (!sessions_end)
        ck_assert_uint_eq(fs_state_totals(w.state).inodes, count + 1);
}

START_TEST(crowd_in_peace)
{
    crowd((unsigned)_i * 104729 + 3, false, false);
}
END_TEST

START_TEST(crowd_in_trouble)
{
    crowd((unsigned)_i * 104729 + 3, true, false);
}
END_TEST

START_TEST(crowd_losing_sessions)
{
    crowd((unsigned)_i * 104729 + 3, true, true);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    TCase *t[] = {tcase_create("all"), tcase_create("keeping")};
    tcase_add_checked_fixture(t[0], two_mounts, no_mounts);
    tcase_add_checked_fixture(t[1], two_keeping_mounts, no_mounts);
    for (int i = 0; i < 2; i++) { /* half of the numbers each */
        tcase_set_timeout(t[i], 60);
        tcase_add_loop_test(t[i], random_changes_match_a_model, 5 * i, 5 + 5 * i);
        tcase_add_loop_test(t[i], random_changes_in_trouble, 10 * i, 10 + 10 * i);
        tcase_add_loop_test(t[i], crowd_in_peace, 5 * i, 5 + 5 * i);
        tcase_add_loop_test(t[i], crowd_in_trouble, 5 * i, 5 + 5 * i);
        tcase_add_loop_test(t[i], crowd_losing_sessions, 5 * i, 5 + 5 * i);
        suite_add_tcase(suite, t[i]);
    }
    return run_suite(suite);
}
