/* Maps of files against a table of pages: what COMMITs make of them, and what reads find. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/known.h"
#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "tests/unit/lib/run.h"

enum { FILES = 2, PAGES = STRETCH_PAGES + 90, STEPS = 400, EDITS = 4 };

/* A page of the model: which page of which block it is; 0: a hole. */
typedef uint64_t model_page;

struct world {
    struct kv *kv;
    struct kv_txn *txn;
    struct fs_state *state;
    uint64_t index, session, seq, next_block;
    struct fs_result result;
    struct {
        uint64_t ino, epoch, c, size;
        model_page pages[PAGES];
    } files[FILES];
    uint32_t seed;
};

static struct world w;

static uint32_t below(uint32_t n)
{
    w.seed = w.seed * 1103515245u + 12345u;
    return (w.seed >> 16) % n;
}

static int apply(Fs__Op *op)
{
    fs_result_done(&w.result);
    fs_result_init(&w.result);
    op->session = w.session;
    op->time = (int64_t)(w.index + 1) * 1000000;
    fs_apply(w.state, w.txn, ++w.index, op, &w.result);
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    struct fs_hash kept = fs_state_hash(w.state), found = fs_state_rehash(w.state);
    ck_assert(kept.lo == found.lo && kept.hi == found.hi);
    return w.result.reply->err;
}

static void make_file(size_t k)
{
    char name[2] = {(char)('a' + k), '\0'};
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    op.seq = ++w.seq;
    m.parent = FS_ROOT_INO;
    m.name = (ProtobufCBinaryData){1, (uint8_t *)name};
    m.mode = S_IFREG | 0644;
    m.lease = true;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    ck_assert_int_eq(apply(&op), 0);
    w.files[k].ino = w.result.reply->attr->ino;
    w.files[k].epoch = w.result.reply->attr->lease_epoch;
}

static void remove_file(size_t k)
{
    char name[2] = {(char)('a' + k), '\0'};
    Fs__Op op = FS__OP__INIT;
    Fs__Unlink m = FS__UNLINK__INIT;
    op.seq = ++w.seq;
    m.parent = FS_ROOT_INO;
    m.name = (ProtobufCBinaryData){1, (uint8_t *)name};
    op.body_case = FS__OP__BODY_UNLINK;
    op.unlink = &m;
    ck_assert_int_eq(apply(&op), 0);
}

static void setup(void)
{
    memset(&w, 0, sizeof w);
    w.kv = kv_mem_new();
    w.txn = kv_txn_new(w.kv);
    w.state = fs_state_new(w.kv, 0);
    fs_state_format(w.state, w.txn);
    ck_assert_int_eq(kv_txn_commit(w.txn), 0);
    uint8_t uuid[16] = {1};
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){16, uuid};
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    ck_assert_int_eq(apply(&op), 0);
    w.session = w.result.reply->value;
    for (size_t k = 0; k < FILES; k++)
        make_file(k);
}

static void teardown(void)
{
    fs_result_done(&w.result);
    fs_state_free(w.state);
    kv_txn_free(w.txn);
    kv_close(w.kv);
}

/* ---- COMMITs --------------------------------------------------------------------------------- */

struct draft { /* one COMMIT in the making */
    Fs__Commit m;
    Fs__Edit edits[EDITS], *edit_pointers[EDITS];
    Fs__Block blocks[EDITS], *block_pointers[EDITS];
    uint64_t runs[EDITS][BLOCK_RUNS_MAX];
};

static void draft_begin(struct draft *d, size_t k)
{
    memset(d, 0, sizeof *d);
    fs__commit__init(&d->m);
    d->m.ino = w.files[k].ino;
    d->m.epoch = w.files[k].epoch;
    d->m.c = w.files[k].c + 1;
    d->m.size = w.files[k].size;
    d->m.edits = d->edit_pointers;
    d->m.blocks = d->block_pointers;
}

static Fs__Edit *draft_edit(struct draft *d, Fs__Edit__Kind kind, uint64_t first, uint64_t pages)
{
    Fs__Edit *e = &d->edits[d->m.n_edits];
    d->edit_pointers[d->m.n_edits++] = e;
    fs__edit__init(e);
    e->kind = kind;
    e->first_page = first;
    e->pages = pages;
    return e;
}

/* An extent of a new block, not always from its first page on. */
static void draft_extent(struct draft *d, model_page *model, uint64_t first, uint64_t pages)
{
    size_t at = d->m.n_blocks;
    Fs__Block *b = &d->blocks[at];
    Fs__Edit *e = draft_edit(d, FS__EDIT__KIND__EXTENT, first, pages);
    e->block = (uint32_t)at;
    e->block_page = below(2);
    d->block_pointers[d->m.n_blocks++] = b;
    fs__block__init(b);
    b->session = w.session;
    b->n = ++w.next_block;
    b->size = (e->block_page + (uint32_t)pages) * FS_PAGE_SIZE;
    b->runs = d->runs[at];
    b->n_runs = block_runs(b->size);
    b->runs[0] = b->n;
    for (uint64_t p = 0; p < pages; p++)
        model[first + p] = b->n << 16 | (e->block_page + p + 1);
}

static int draft_apply(struct draft *d)
{
    Fs__Op op = FS__OP__INIT;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &d->m;
    return apply(&op);
}

/* ---- what reads find ------------------------------------------------------------------------- */

static void check_extents(size_t k)
{
    struct fs_extent x[PAGES + 1];
    model_page found[PAGES] = {0};
    int n = fs_read_map(w.state, w.files[k].ino, 0, PAGES, x, PAGES + 1);
    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++)
        for (uint32_t p = 0; p < x[i].pages; p++)
            found[x[i].first_page + p] = x[i].block.name.n << 16 | (x[i].block_page + p + 1);
    ck_assert_int_eq(memcmp(found, w.files[k].pages, sizeof found), 0);
}

/* All ranges, a few at a time, as a mount asks for them. */
static void check_ranges(size_t k)
{
    uint64_t from = below(PAGES), until = 0, pages = 0;
    size_t max = 1 + below(4);
    bool found[PAGES] = {0};
    for (uint64_t at = from; at < PAGES; at = until) {
        struct fs_range r[4];
        int n = fs_data_ranges(w.state, w.files[k].ino, at, r, max, &until);
        ck_assert_int_ge(n, 0);
        ck_assert_uint_gt(until, at);
        for (int i = 0; i < n; i++) {
            ck_assert(r[i].first_page >= at && r[i].first_page + r[i].pages <= until);
            ck_assert(i == 0 || r[i].first_page > r[i - 1].first_page + r[i - 1].pages);
            for (uint64_t p = 0; p < r[i].pages; p++)
                found[r[i].first_page + p] = true;
        }
    }
    Fs__Attr attr = FS__ATTR__INIT;
    ck_assert_int_eq(fs_get_attr(w.state, w.files[k].ino, &attr), 0);
    for (uint64_t p = 0; p < PAGES; p++) {
        ck_assert_int_eq(found[p], p >= from && w.files[k].pages[p]);
        pages += w.files[k].pages[p] != 0;
    }
    ck_assert_uint_eq(attr.pages, pages);
    ck_assert_uint_eq(attr.size, w.files[k].size);
}

/* A block lives as long as a page of any file is left of it. */
static void check_blocks(void)
{
    bool *live = calloc(w.next_block + 1, sizeof *live);
    uint64_t count = 0;
    for (size_t k = 0; k < FILES; k++)
        for (size_t p = 0; p < PAGES; p++)
            live[w.files[k].pages[p] >> 16] = true;
    for (uint64_t n = 1; n <= w.next_block; n++) {
        count += live[n];
        ck_assert_int_eq(fs_block_named(w.state, (struct block_name){w.session, n}, NULL), live[n]);
    }
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, count);
    free(live);
}

static void reopen(void)
{
    fs_state_free(w.state);
    w.state = fs_state_new(w.kv, 0);
}

/* ---- random edits ---------------------------------------------------------------------------- */

static void random_range(uint64_t *first, uint64_t *pages)
{
    *first = below(PAGES);
    *pages = 1 + below(below(3) ? 9 : 40);
    if (*first + *pages > PAGES)
        *pages = PAGES - *first;
}

static void zero(model_page *model, uint64_t first, uint64_t end)
{
    for (uint64_t p = first; p < end && p < PAGES; p++)
        model[p] = 0;
}

static void random_edit(struct draft *d, model_page *model)
{
    uint64_t first, pages;
    random_range(&first, &pages);
    switch (below(5)) {
    case 0:
        (void)draft_edit(d, FS__EDIT__KIND__HOLE, first, pages);
        zero(model, first, first + pages);
        break;
    case 1:
        (void)draft_edit(d, FS__EDIT__KIND__CUT, first + PAGES / 2, 0);
        zero(model, first + PAGES / 2, PAGES);
        break;
    default:
        draft_extent(d, model, first, pages);
        break;
    }
}

/* A COMMIT of references, and of holes between them; of a version that is over it is refused. */
static void random_references(size_t k)
{
    struct draft d;
    model_page before[FILES][PAGES], after[PAGES];
    bool stale = below(6) == 0;
    for (size_t i = 0; i < FILES; i++)
        memcpy(before[i], w.files[i].pages, sizeof before[i]);
    memcpy(after, before[k], sizeof after);
    draft_begin(&d, k);
    for (unsigned n = 1 + below(EDITS); n > 0; n--) {
        uint64_t first, pages, source_page;
        random_range(&first, &pages);
        if (d.m.n_edits && below(3) == 0) {
            (void)draft_edit(&d, FS__EDIT__KIND__HOLE, first, pages);
            zero(after, first, first + pages);
            continue;
        }
        size_t source = below(FILES);
        Fs__Attr attr = FS__ATTR__INIT;
        ck_assert_int_eq(fs_get_attr(w.state, w.files[source].ino, &attr), 0);
        source_page = below(PAGES - (uint32_t)pages + 1);
        Fs__Edit *e = draft_edit(&d, FS__EDIT__KIND__REFERENCE, first, pages);
        e->source_ino = w.files[source].ino;
        e->source_page = source_page;
        e->source_version = attr.data_version - (stale && n == 1);
        memcpy(after + first, before[source] + source_page, pages * sizeof *after);
    }
    stale = stale && d.edits[d.m.n_edits - 1].kind == FS__EDIT__KIND__REFERENCE;
    ck_assert_int_eq(draft_apply(&d), stale ? EAGAIN : 0);
    if (stale)
        return;
    memcpy(w.files[k].pages, after, sizeof after);
    w.files[k].c++;
}

static void random_commit(size_t k)
{
    struct draft d;
    draft_begin(&d, k);
    for (unsigned e = 1 + below(EDITS); e > 0; e--)
        random_edit(&d, w.files[k].pages);
    d.m.size = below(8) ? PAGES * FS_PAGE_SIZE : below(PAGES * FS_PAGE_SIZE);
    if (d.m.size < w.files[k].size)
        zero(w.files[k].pages, (d.m.size + FS_PAGE_SIZE - 1) / FS_PAGE_SIZE, PAGES);
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[k].c++;
    w.files[k].size = d.m.size;
}

START_TEST(maps_agree_with_a_table)
{
    w.seed = (uint32_t)_i + 7;
    for (unsigned step = 0; step < STEPS; step++) {
        size_t k = below(FILES);
        if (below(3) == 0)
            random_references(k);
        else
            random_commit(k);
        for (size_t i = 0; i < FILES; i++) {
            check_extents(i);
            check_ranges(i);
        }
        check_blocks();
        if (below(40) == 0)
            reopen();
    }
    for (size_t k = 0; k < FILES; k++)
        remove_file(k);
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 0);
    ck_assert_uint_eq(fs_state_totals(w.state).bytes, 0);
}
END_TEST

/* RULES B12, B13: what a reference may say, and what it takes of the reservation. */
START_TEST(references_are_checked)
{
    struct draft d;
    Fs__Edit *e;
    Fs__Attr attr = FS__ATTR__INIT;
    draft_begin(&d, 0);
    draft_extent(&d, w.files[0].pages, 0, 8);
    d.m.size = 8 * FS_PAGE_SIZE;
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[0].c++;
    w.files[0].size = d.m.size;
    ck_assert_int_eq(fs_get_attr(w.state, w.files[0].ino, &attr), 0);
    const struct {
        uint64_t source, page, pages, version;
        int err;
    } cases[] = {
        {w.files[0].ino, 0, 8, attr.data_version, 0},
        {w.files[0].ino, 4, 8, attr.data_version, 0}, /* behind the end: holes */
        {w.files[0].ino, 0, 8, attr.data_version + 1, EAGAIN},
        {4711, 0, 8, attr.data_version, EAGAIN},
        {FS_ROOT_INO, 0, 8, 0, EAGAIN},
        {w.files[0].ino, 0, 0, attr.data_version, EINVAL},
        {w.files[0].ino, 0, FS_REFERENCE_PAGES_MAX + 1, attr.data_version, EINVAL},
        {w.files[0].ino, UINT64_MAX, 8, attr.data_version, EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        draft_begin(&d, 1);
        e = draft_edit(&d, FS__EDIT__KIND__REFERENCE, 0, cases[i].pages);
        e->source_ino = cases[i].source;
        e->source_page = cases[i].page;
        e->source_version = cases[i].version;
        d.m.size = 8 * FS_PAGE_SIZE;
        ck_assert_int_eq(draft_apply(&d), cases[i].err);
        w.files[1].c += cases[i].err == 0;
        w.files[1].size = d.m.size;
        ck_assert_uint_eq(w.result.died_count + w.result.named_count, 0);
    }
    memcpy(w.files[1].pages, w.files[0].pages + 4, 4 * sizeof(model_page));
    check_extents(1);
    draft_begin(&d, 1); /* bytes go by COMMITs of their own */
    draft_extent(&d, w.files[1].pages, 20, 1);
    e = draft_edit(&d, FS__EDIT__KIND__REFERENCE, 0, 1);
    e->source_ino = w.files[0].ino;
    e->source_version = attr.data_version;
    ck_assert_int_eq(draft_apply(&d), EINVAL);
    remove_file(0); /* what the other one names stays */
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 1);
    remove_file(1);
    ck_assert_uint_eq(fs_state_totals(w.state).blocks, 0);
}
END_TEST

static const struct kv_ops *plain;
static unsigned iterators;

static struct kv_iter *counted_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                    struct bytes to)
{
    iterators++;
    return plain->iter(kv, table, low, from, to);
}

static void count_iterators(void)
{
    static struct kv_ops counted;
    plain = w.kv->ops;
    counted = *plain;
    counted.iter = counted_iter;
    w.kv->ops = &counted;
}

static unsigned iterators_of_write(size_t k, uint64_t first, uint64_t pages)
{
    struct draft d;
    draft_begin(&d, k);
    draft_extent(&d, w.files[k].pages, first, pages);
    d.m.size = w.files[k].size = PAGES * FS_PAGE_SIZE;
    iterators = 0;
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[k].c++;
    unsigned count = iterators - 1; /* that of the check of all */
    check_extents(k);
    check_ranges(k);
    return count;
}

START_TEST(what_is_written_again_is_found_at_once)
{
    /* Goal: no iterator, which costs ten times as much, for a page whose extent is known. */
    count_iterators();
    ck_assert_uint_eq(iterators_of_write(1, 0, 1), 1); /* the names of the session's blocks */
    ck_assert_uint_eq(iterators_of_write(0, 8, 8), 0); /* the file was empty */
    ck_assert_uint_eq(iterators_of_write(0, 8, 8), 0);
    ck_assert_uint_eq(iterators_of_write(0, 8, 1), 0);
    ck_assert_uint_eq(iterators_of_write(0, 9, 7), 0); /* what was left of it */
    ck_assert_uint_eq(iterators_of_write(0, 8, 2), 1); /* more than the one that begins there */
    ck_assert_uint_eq(iterators_of_write(0, 12, 1), 1);
    ck_assert_uint_eq(iterators_of_write(0, 16, 1), 0); /* behind all */
    ck_assert_uint_eq(iterators_of_write(0, 20, 4), 0);
    ck_assert_uint_eq(iterators_of_write(0, 18, 1), 1); /* in between */
    ck_assert_uint_eq(iterators_of_write(0, 22, 4), 1);
    ck_assert_uint_eq(iterators_of_write(0, 26, 1), 0);
    reopen(); /* who comes back has to look */
    ck_assert_uint_eq(iterators_of_write(0, 27, 1), 2);
}
END_TEST

START_TEST(the_map_of_a_file_written_often_is_known)
{
    /* Goal: after some edits of a file no look-up in its map needs an iterator, and the map that is
     * kept is the file's, also when another file comes in between and when the node starts anew. */
    const uint64_t pages = 96; /* in one stretch */
    count_iterators();
    (void)iterators_of_write(0, 0, pages);
    unsigned edits = 0, asked = 0;
    for (uint64_t p = 1; asked < 2 * KNOWN_LOOKS; p += 3, asked++)
        edits += iterators_of_write(0, p % pages, 2);
    ck_assert_uint_ge(edits, 2);
    ck_assert_uint_le(edits, KNOWN_LOOKS);
    for (uint64_t p = 2; p < pages - 4; p += 5)
        ck_assert_uint_eq(iterators_of_write(0, p, 4), 0);
    (void)iterators_of_write(1, 5, 40);
    (void)iterators_of_write(1, 7, 2);
    ck_assert_uint_eq(iterators_of_write(0, 3, 50), 0);
    reopen();
    ck_assert_uint_ge(iterators_of_write(0, 4, 1), 1);
}
END_TEST

START_TEST(an_extent_over_a_border_is_known_at_both_sides)
{
    /* Goal: who cuts it on one side has cut what is known of the other. */
    const uint64_t border = STRETCH_PAGES;
    count_iterators();
    (void)iterators_of_write(0, border - 20, 40);
    for (unsigned i = 0; i <= KNOWN_LOOKS; i++) { /* the first is behind the end of the file */
        (void)iterators_of_write(0, border - 30, 2);
        (void)iterators_of_write(0, border + 30, 2);
    }
    ck_assert_uint_eq(iterators_of_write(0, border - 2, 1), 0);
    ck_assert_uint_eq(iterators_of_write(0, border + 2, 1), 0);
    (void)iterators_of_write(0, border - 1, 2); /* looked up: in two of them */
    ck_assert_uint_eq(iterators_of_write(0, border - 1, 1), 0);
    ck_assert_uint_eq(iterators_of_write(0, border, 3), 0);
}
END_TEST

static void write_far(uint64_t first)
{
    model_page ignored[1];
    struct draft d;
    draft_begin(&d, 0);
    draft_extent(&d, ignored, 0, 1);
    d.edits[0].first_page = first;
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[0].c++;
}

START_TEST(a_place_may_be_another_s)
{
    /* Goal: stretches that take turns in a place are looked up, and none is taken for the other. */
    const uint64_t far = (uint64_t)STRETCH_PAGES * KNOWN_STRETCHES;
    struct fs_extent x[3];
    struct draft d;
    count_iterators();
    write_far(far + PAGES);
    w.files[0].size = (far + PAGES) * FS_PAGE_SIZE;
    for (unsigned i = 0; i < 2 * KNOWN_LOOKS; i++) {
        draft_begin(&d, 0);
        draft_extent(&d, w.files[0].pages, 3 * i, 2);
        iterators = 0;
        ck_assert_int_eq(draft_apply(&d), 0);
        w.files[0].c++;
        if (i > 1)
            ck_assert_uint_eq(iterators, 2); /* one is that of the check of all */
        write_far(far + 3 * (2 * KNOWN_LOOKS - i));
        check_extents(0);
    }
    for (unsigned i = 0; i <= KNOWN_LOOKS; i++) {
        draft_begin(&d, 0);
        draft_extent(&d, w.files[0].pages, 4 + i, 2);
        iterators = 0;
        ck_assert_int_eq(draft_apply(&d), 0);
        w.files[0].c++;
    }
    ck_assert_uint_eq(iterators, 1);
    check_extents(0);
    ck_assert_int_eq(fs_read_map(w.state, w.files[0].ino, far + 3, 4, x, 3), 2);
    write_far(far + 3);
    check_extents(0);
}
END_TEST

static unsigned gets;

static int counted_get(struct kv *kv, int table, const void *key, size_t size,
                       struct bytes_writer *ret)
{
    gets += *(const uint8_t *)key == KEY_BLOCK;
    return plain->get(kv, table, key, size, ret);
}

START_TEST(a_new_name_is_not_looked_for)
{
    /* Goal: sessions count up; and a number below is looked for, and refused when it is taken. */
    static struct kv_ops counted;
    struct draft d;
    plain = w.kv->ops;
    counted = *plain;
    counted.get = counted_get;
    w.kv->ops = &counted;
    (void)iterators_of_write(0, 0, 4);
    for (int i = 0; i < 3; i++) {
        gets = 0;
        draft_begin(&d, 1);
        draft_extent(&d, w.files[1].pages, 4 * (uint64_t)i, 4);
        ck_assert_int_eq(draft_apply(&d), 0);
        w.files[1].c++;
        ck_assert_uint_eq(gets, 0);
        if (i == 1)
            reopen();
    }
    for (unsigned back = 1; back <= 2; back++) { /* the last again, and the one before it */
        w.next_block -= back;
        draft_begin(&d, 1);
        draft_extent(&d, w.files[1].pages, 4, 4);
        ck_assert_int_eq(draft_apply(&d), EINVAL);
        w.next_block += back - 1;
    }
    w.next_block += 3; /* some are left out, and named later */
    draft_begin(&d, 1);
    draft_extent(&d, w.files[1].pages, 4, 4);
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[1].c++;
    w.next_block -= 3;
    draft_begin(&d, 1);
    draft_extent(&d, w.files[1].pages, 4, 4);
    ck_assert_int_eq(draft_apply(&d), 0);
    w.files[1].c++;
    check_extents(1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs/core map");
    TCase *tc = tcase_create("map");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, maps_agree_with_a_table, 0, 6);
    tcase_add_test(tc, references_are_checked);
    tcase_add_test(tc, what_is_written_again_is_found_at_once);
    tcase_add_test(tc, the_map_of_a_file_written_often_is_known);
    tcase_add_test(tc, an_extent_over_a_border_is_known_at_both_sides);
    tcase_add_test(tc, a_place_may_be_another_s);
    tcase_add_test(tc, a_new_name_is_not_looked_for);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
