/* The store on a disk that loses power: random operations, cut anywhere, again and again.
 *
 * volatile_disk.h says what a cut may do, power_model.h what must hold after it. The threads of the
 * store and of RocksDB run as they like, so a seed does not give the same run each time; one that
 * failed fails again within a few runs:
 *
 *     build/tests/unit/test_store_power SEED [COUNT]
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "repl/io/store_internal.h"
#include "tests/unit/lib/run.h"
#include "tests/unit/repl/io/power_model.h"
#include "tests/unit/repl/io/volatile_disk.h"

enum {
    LIVES = 12,
    SEEDS = 2, /* of each kind */
    SEEDS_NIGHTLY = 300,
    LIE_SEEDS = 60,
    OPERATIONS_MAX = 400,
    EARLY_CALLS = 60, /* as many as an opening takes */
    CALLS_MAX = 900,
};

struct drop {
    uint64_t name, ticket;
};

struct run {
    char root[64], dir[80];
    struct model *m;
    struct store *store;
    struct store_recovered info;
    struct kv_txn *txn;
    uint64_t random, seed;
    uint64_t ticket, log_term, commit, told, applied;
    bool started, switching, flushing;
    unsigned puts, life;
    bool used[NAMES_MAX]; /* an entry or a snapshot named it, or it was dropped */
    bool late[NAMES_MAX]; /* dropped while its place was on its way to the log: a DROP follows it */
    vec_of(struct drop) drops;
    char error[512];
    const char *bad;
};

static uint64_t below(struct run *r, uint64_t n)
{
    return disk_random(&r->random) % n;
}

static bool one_in(struct run *r, unsigned n)
{
    return below(r, n) == 0;
}

static void bad(struct run *r, const char *what)
{
    if (!r->bad)
        r->bad = what;
}

/* ---- what the store tells -------------------------------------------------------------------- */

static void on_durable(void *ctx, uint64_t ticket)
{
    struct run *r = ctx;
    if (!disk_hold())
        return;
    model_acked(r->m, ticket);
    for (size_t i = 0; i < r->drops.count; i++)
        if (r->drops.items[i].ticket <= ticket)
            r->m->gone[r->drops.items[i].name] = true;
    disk_let_go();
}

static void on_missing(void *ctx, struct block_name name, bool missing)
{
    struct run *r = ctx;
    struct block_ref ref = r->m->refs[name.n];
    if (missing)
        bad(r, "a block was found damaged");
    if (missing || !store_has(r->store, &ref) || !disk_hold())
        return; /* it was dropped */
    r->m->promised[name.n] = true;
    disk_let_go();
}

static void on_put(void *ctx, int status)
{
    struct run *r = ctx;
    r->puts--;
    if (status < 0)
        bad(r, "a block was refused");
}

static void on_flushed(void *ctx, int status)
{
    struct run *r = ctx;
    r->flushing = false;
    if (status < 0 || !disk_hold())
        return;
    uint64_t applied = store_durable_applied(r->store);
    if (applied > r->m->applied_min)
        r->m->applied_min = applied;
    disk_let_go();
}

static void on_switched(void *ctx, int status)
{
    struct run *r = ctx;
    r->switching = false;
    r->txn = kv_txn_new(store_kv(r->store));
    if (status < 0)
        bad(r, "a snapshot was refused");
    if (!disk_hold())
        return;
    model_acked_all(r->m);
    r->m->applied_min = r->m->applied_max;
    disk_let_go();
}

struct read {
    struct run *r;
    uint64_t name;
};

static void on_read(void *ctx, int status, struct blob *bytes)
{
    struct read *d = ctx;
    struct blob *want = model_bytes(d->r->m, d->name);
    if (status == 0 && memcmp(bytes->data, want->data, want->size) != 0)
        bad(d->r, "a block was read with other bytes");
    if (status < 0)
        bad(d->r, "a block that is held cannot be read");
    blob_unref(want);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Named by the log as it stands, and not killed in it. */
static void alive_names(struct run *r, bool *alive)
{
    const struct state *s = &r->m->now;
    memset(alive, 0, NAMES_MAX);
    for (uint64_t i = 1; i <= s->last; i++) {
        const struct past *p = s->at[i];
        for (unsigned k = 0; p && k < p->count; k++)
            alive[p->names[k]] = true;
        for (size_t k = 0; p && k < p->needs.count; k++)
            alive[p->needs.items[k]] = true;
        for (size_t k = 0; p && k < p->kills.count; k++)
            alive[p->kills.items[k]] = false;
    }
}

static uint64_t pick(struct run *r, const bool *from)
{
    uint64_t n = r->m->names ? 1 + below(r, r->m->names) : 0;
    for (unsigned i = 0; n && i < 40; i++, n = 1 + below(r, r->m->names))
        if (from[n])
            return n;
    return 0;
}

/* A block that is here and that no entry names, nor has: those that others took the place of may.
 */
static uint64_t pick_loose(struct run *r)
{
    const struct state *s = &r->m->now;
    bool named[NAMES_MAX] = {0};
    for (uint64_t i = 1; i <= s->last; i++) {
        const struct past *p = s->at[i];
        for (unsigned k = 0; p && k < p->count; k++)
            named[p->names[k]] = true;
        for (size_t k = 0; p && k < p->needs.count; k++)
            named[p->needs.items[k]] = true;
        for (size_t k = 0; p && k < p->kills.count; k++)
            named[p->kills.items[k]] = true;
    }
    for (unsigned i = 0; r->m->names && i < 20; i++) {
        uint64_t n = r->m->names - below(r, r->m->names < 40 ? r->m->names : 40);
        if (!named[n] && !r->m->gone[n] && store_has(r->store, &r->m->refs[n]))
            return n;
    }
    return 0;
}

/* ---- operations ------------------------------------------------------------------------------ */

static void poll(struct run *r)
{
    (void)store_start(r->store);
    store_poll(r->store);
}

static void put(struct run *r, uint64_t n)
{
    struct blob *b = model_bytes(r->m, n);
    r->puts++;
    store_put(r->store, &r->m->refs[n], b, 0, on_put, r);
    blob_unref(b);
}

static void do_put(struct run *r)
{
    bool alive[NAMES_MAX];
    uint64_t n = 0;
    alive_names(r, alive);
    if (one_in(r, 2) && (n = pick(r, alive)) != 0 &&
        !store_is_missing(r->store, r->m->refs[n].name))
        n = 0;
    put(r, n ? n : model_name_new(r->m, &r->random));
}

static void choose_blocks(struct run *r, struct past *p, bool *alive)
{
    unsigned how = (unsigned)below(r, 10), count = 1 + (unsigned)below(r, PAST_BLOCKS);
    uint32_t size = 0;
    for (unsigned i = 0; how < 7 && i < count; i++) {
        uint64_t n = how < 5 ? 0 : pick_loose(r);
        bool lacking = how == 6;
        if (n && alive[n])
            n = 0; /* chosen a moment ago */
        if (how >= 5 && n == 0 && !lacking)
            continue;
        if (n == 0)
            n = model_name_new(r->m, &r->random);
        size += r->m->refs[n].size;
        if (how < 5 && size > ENTRY_INLINE_BYTES_MAX)
            break;
        p->held[p->count] = how < 5 || store_has(r->store, &r->m->refs[n]);
        p->names[p->count++] = n;
        alive[n] = r->used[n] = true;
    }
    p->inl = how < 5 && p->count;
}

static void choose_kills(struct run *r, struct past *p, bool *alive)
{
    for (unsigned i = (unsigned)below(r, PAST_KILLS); i > 0; i--) {
        uint64_t n = pick(r, alive);
        bool own = false;
        for (unsigned k = 0; k < p->count; k++)
            own |= p->names[k] == n;
        if (n == 0 || own)
            continue;
        alive[n] = false;
        vec_push(&p->kills, n);
    }
}

/* What is not named any more may be there or not. */
static void leave_above(struct run *r, uint64_t index)
{
    struct state *s = &r->m->now;
    for (uint64_t i = index; i <= s->last; i++)
        for (unsigned k = 0; s->at[i] && k < s->at[i]->count; k++)
            r->m->left[s->at[i]->names[k]] = true;
}

static void do_entries(struct run *r)
{
    struct state *s = &r->m->now;
    struct entry *entries[3];
    bool alive[NAMES_MAX];
    uint32_t count = 1 + (uint32_t)below(r, 3);
    uint64_t first = s->last + 1, low = r->told > s->base ? r->told : s->base;
    if (s->last > low && one_in(r, 8)) {
        first = low + 1 + below(r, s->last - low);
        r->log_term++;
        leave_above(r, first);
    }
    uint64_t ticket = ++r->ticket;
    for (uint32_t i = 0; i < count; i++) {
        struct past *p = model_past_new(r->m, first + i, r->log_term);
        if (i == 0) { /* the names it takes the place of are loose */
            struct step cut = {.kind = STEP_ENTRY, .past = p};
            model_step(r->m, cut);
            alive_names(r, alive);
            r->m->steps.count--;
        }
        choose_blocks(r, p, alive);
        choose_kills(r, p, alive);
        for (unsigned k = 0; k < p->count; k++)
            if (!p->held[k])
                r->told = p->index;
        entries[i] = model_entry(r->m, p);
        struct step step = {.kind = STEP_ENTRY, .past = p, .ticket = i + 1 == count ? ticket : 0};
        model_step(r->m, step);
    }
    uint64_t commit = r->told > r->commit ? r->told : r->commit;
    if (store_write_entries(r->store, ticket, entries, count, commit) < 0)
        bad(r, "entries were refused");
    for (uint32_t i = 0; i < count; i++)
        entry_unref(entries[i]);
}

static void do_vote(struct run *r)
{
    struct step step = {.kind = STEP_VOTE,
                        .term = r->m->now.term + below(r, 2),
                        .vote = (uint32_t)below(r, 4),
                        .ticket = ++r->ticket};
    model_step(r->m, step);
    store_write_vote(r->store, step.ticket, step.term, step.vote);
}

static void do_commit(struct run *r)
{
    const struct state *sure = &r->m->surely, *now = &r->m->now;
    uint64_t to = sure->last < now->last ? sure->last : now->last;
    if (to <= r->commit)
        return;
    to = r->commit + 1 + below(r, to - r->commit);
    for (uint64_t i = r->commit + 1; i <= to && sure->at[i] == now->at[i]; i++)
        r->commit = i;
    if (r->commit > r->told)
        r->told = r->commit;
}

/* A cut between the two records brings the name back, with its bytes, until the node compares names
 * at its start. */
static bool place_on_its_way(struct run *r, struct block_name name)
{
    const struct pending *p = pending_find(r->store, name);
    return (p && p->state == PENDING_RECORDING) || r->store->moving_inline > 0;
}

static void apply_one(struct run *r)
{
    const struct past *p = r->m->now.at[r->applied + 1];
    uint64_t index = ++r->applied;
    struct kv_batch batch = {0};
    size_t at = 0;
    struct kv_op op;
    r->m->applied_max = index;
    model_apply_keys(&batch, index);
    while (kv_batch_next(&batch, &at, &op))
        kv_txn_put(r->txn, op.table, op.key.data, op.key.size, op.value.data, op.value.size);
    kv_batch_done(&batch);
    for (size_t k = 0; p && k < p->kills.count; k++) {
        uint64_t n = p->kills.items[k];
        r->late[n] |= place_on_its_way(r, r->m->refs[n].name);
        store_drop(r->store, r->txn, r->m->refs[n].name);
    }
    store_fill_txn(r->store, r->txn, index);
    if (kv_txn_commit(r->txn) < 0)
        bad(r, "an entry cannot be applied");
}

static void do_apply(struct run *r)
{
    for (uint64_t n = 1 + below(r, 8); n > 0 && r->applied < r->commit; n--)
        apply_one(r);
}

static void do_flush(struct run *r)
{
    if (r->flushing)
        return;
    r->flushing = true;
    store_flush(r->store, on_flushed, r);
}

static void do_truncate(struct run *r)
{
    uint64_t most = r->m->kind == STORE_COPY ? r->applied : r->commit;
    if (most == 0)
        return;
    uint64_t index = most - below(r, most < 8 ? most : 8);
    if (index > r->m->truncated)
        r->m->truncated = index;
    store_truncate(r->store, index);
}

static void do_drop(struct run *r)
{
    uint64_t n = pick_loose(r);
    if (n == 0 || r->used[n])
        return;
    struct drop d = {n, r->ticket + 1};
    r->used[n] = true;
    vec_push(&r->drops, d);
    store_drop(r->store, NULL, r->m->refs[n].name);
}

static void do_read(struct run *r)
{
    bool alive[NAMES_MAX];
    alive_names(r, alive);
    struct read d = {r, pick(r, alive)};
    if (d.name == 0 || !store_has(r->store, &r->m->refs[d.name]))
        return;
    store_read(r->store, r->m->refs[d.name].name, 0, r->m->refs[d.name].size, on_read, &d);
    store_drain(r->store);
}

static void do_whole(struct run *r)
{
    r->m->whole_max = r->m->whole_max > r->applied ? r->m->whole_max : r->applied;
    store_note_whole(r->store, r->m->whole_max);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void fill_snapshot(struct run *r, uint64_t index)
{
    struct kv_batch batch = {0};
    model_apply_keys(&batch, index);
    if (kv_write(store_snapshot_kv(r->store), &batch) < 0)
        bad(r, "a snapshot cannot be filled");
    kv_batch_done(&batch);
}

/* Of an entry that the log has: what is above stays. */
static struct step snapshot_inside(struct run *r, uint64_t index)
{
    const struct state *s = &r->m->now;
    bool dead[NAMES_MAX];
    model_dead(s, index, dead);
    for (uint64_t i = 1; i <= index; i++) {
        const struct past *p = s->at[i];
        for (size_t k = 0; p && k < p->count + p->needs.count; k++) {
            uint64_t n = k < p->count ? p->names[k] : p->needs.items[k - p->count];
            if (!dead[n])
                store_snapshot_need(r->store, &r->m->refs[n]);
        }
    }
    for (uint64_t n = 1; n <= r->m->names; n++)
        r->m->left[n] |= dead[n];
    return (struct step){
        .kind = STEP_SWITCH, .index = index, .term = s->at[index]->term, .keeps = true};
}

/* Of an entry that the log does not have. */
static struct step snapshot_beyond(struct run *r)
{
    bool alive[NAMES_MAX];
    alive_names(r, alive);
    struct past *p = model_past_new(r->m, r->m->now.last + 1 + below(r, 5), ++r->log_term);
    p->snapshot = true;
    for (uint64_t k = below(r, 3); k > 0; k--)
        alive[model_name_new(r->m, &r->random)] = true;
    for (uint64_t n = 1; n <= r->m->names; n++) {
        r->used[n] |= alive[n];
        if (alive[n] && !one_in(r, 3)) {
            vec_push(&p->needs, n);
            store_snapshot_need(r->store, &r->m->refs[n]);
        } else {
            r->m->left[n] = true;
            vec_push(&p->kills, n);
        }
    }
    return (struct step){.kind = STEP_SWITCH, .past = p, .index = p->index, .term = p->term};
}

static void do_snapshot(struct run *r)
{
    const struct state *s = &r->m->now;
    if (!one_in(r, 6) || r->m->steps.count)
        return; /* what is on its way to the log becomes missing, or not */
    if (store_snapshot_begin(r->store) < 0) {
        bad(r, "a snapshot cannot be begun");
        return;
    }
    if (one_in(r, 6)) {
        store_snapshot_abort(r->store);
        return;
    }
    struct step step;
    uint64_t low = r->applied > s->base ? r->applied : s->base;
    if (r->commit > low && !s->at[r->commit]->snapshot && one_in(r, 2))
        step = snapshot_inside(r, low + 1 + below(r, r->commit - low));
    else
        step = snapshot_beyond(r);
    fill_snapshot(r, step.index);
    model_step(r->m, step);
    r->m->applied_max = r->applied = step.index;
    r->commit = step.keeps ? r->commit : step.index;
    r->told = r->told > r->commit ? r->told : r->commit;
    kv_txn_free(r->txn);
    r->txn = NULL;
    r->switching = true;
    store_snapshot_commit(r->store, step.index, step.term, on_switched, r);
}

/* ---- a witness's ----------------------------------------------------------------------------- */

static void do_demote(struct run *r)
{
    uint64_t base = r->m->now.base > r->m->truncated ? r->m->now.base : r->m->truncated;
    if (r->commit <= base)
        return;
    uint64_t index = base + 1 + below(r, r->commit - base);
    if (index > r->m->demoted)
        r->m->demoted = index;
    store_demote(r->store, index);
}

static void do_base(struct run *r)
{
    if (!one_in(r, 10))
        return;
    leave_above(r, 1);
    struct step step = {.kind = STEP_BASE,
                        .index = r->m->now.last + 1 + below(r, 5),
                        .term = ++r->log_term,
                        .ticket = ++r->ticket};
    model_step(r->m, step);
    r->commit = r->told = step.index;
    store_write_base(r->store, step.ticket, step.index, step.term);
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void do_wait(struct run *r)
{
    (void)usleep(one_in(r, 20) ? 25000 : (useconds_t)below(r, 1500)); /* lets threads go on */
    poll(r);
}

static void do_drain(struct run *r)
{
    store_drain(r->store);
    if (!disk_hold())
        return;
    memset(r->late, 0, sizeof r->late);
    disk_let_go();
}

typedef void operation_fn(struct run *r);

static operation_fn *const of_both[] = {do_put,   do_put,    do_entries, do_entries, do_entries,
                                        do_vote,  do_commit, do_commit,  poll,       do_wait,
                                        do_drain, do_drop,   do_read,    do_whole,   do_truncate};
static operation_fn *const of_copies[] = {do_apply, do_apply, do_apply, do_flush, do_snapshot};
static operation_fn *const of_witnesses[] = {do_demote, do_demote, do_base};
static operation_fn *const while_switching[] = {do_put, poll, do_wait, do_flush, do_read};

#define PICK(r, from) (from)[below(r, sizeof(from) / sizeof *(from))]

static void operate(struct run *r)
{
    if (r->switching)
        PICK(r, while_switching)(r);
    else if (!one_in(r, 4))
        PICK(r, of_both)(r);
    else if (r->m->kind == STORE_COPY)
        PICK(r, of_copies)(r);
    else
        PICK(r, of_witnesses)(r);
}

static int open_store(struct run *r)
{
    struct store_config c = {.dir = r->dir,
                             .kind = r->m->kind,
                             .cluster = {1},
                             .node = 1,
                             .create = true,
                             .started = r->started,
                             .log_segment_size = r->seed % 3 == 0 ? 256 << 10 : 96 << 10,
                             .block_segment_size = r->seed % 2 == 0 ? 1 << 20 : 2 << 20};
    int rc = store_open(&c, &r->store, &r->info, r->error, sizeof r->error);
    if (rc < 0)
        return rc;
    store_on_durable(r->store, on_durable, r);
    store_on_missing(r->store, on_missing, r);
    return 0;
}

static void begin_life(struct run *r)
{
    struct model *m = r->m;
    r->drops.count = 0;
    r->puts = 0;
    r->flushing = r->switching = false;
    r->applied = r->info.applied;
    r->ticket += 10; /* of another life: never acknowledged in this one */
    if (r->applied > r->commit)
        r->commit = r->applied;
    if (r->info.base_index > r->commit)
        r->commit = r->info.base_index;
    if (r->commit > m->now.last)
        r->commit = m->now.last; /* it was a base's that was not acknowledged */
    r->told = r->told > m->now.last ? m->now.last : r->told;
    r->told = r->told > r->commit ? r->told : r->commit;
    r->log_term++;
    if (m->kind == STORE_COPY)
        r->txn = kv_txn_new(store_kv(r->store));
}

static bool room(const struct run *r)
{
    return r->m->names < NAMES_MAX - 64 && r->m->now.last < INDEX_MAX - 64;
}

static void live(struct run *r)
{
    uint64_t most = one_in(r, 4) ? EARLY_CALLS : CALLS_MAX;
    disk_cut_after(1 + (unsigned)below(r, most));
    r->started = one_in(r, 2);
    r->error[0] = '\0';
    if (open_store(r) < 0) {
        bad(r, r->error);
        return;
    }
    bool settled = !disk_is_cut();
    const char *what = model_check(r->m, r->store, &r->info, settled);
    if (what[0])
        bad(r, what);
    if (settled && !r->bad)
        begin_life(r);
    for (unsigned i = 0; settled && i < OPERATIONS_MAX && !r->bad && room(r) && !disk_is_cut(); i++)
        operate(r);
    disk_cut();
    for (uint64_t n = 1; n <= r->m->names; n++)
        r->m->left[n] |= r->late[n];
    memset(r->late, 0, sizeof r->late);
    store_drain(r->store);
    kv_txn_free(r->txn);
    r->txn = NULL;
    store_close(r->store);
    r->store = NULL;
}

/* NULL, or what was wrong; the text is good until the next run. */
static const char *run_seed(enum store_kind kind, uint64_t seed)
{
    static char text[640];
    struct run *r = xcalloc(1, sizeof *r);
    *r = (struct run){.root = "/dev/shm/tally-power-XXXXXX", .random = seed, .seed = seed};
    if (!mkdtemp(r->root))
        abort(); /* also where nobody counts assertions */
    (void)snprintf(r->dir, sizeof r->dir, "%s/store", r->root);
    r->m = model_new(kind);
    r->log_term = 1;
    disk_watch(r->root);
    for (r->life = 0; r->life < LIVES && !r->bad && room(r); r->life++) {
        live(r);
        if (!r->bad)
            disk_power_on(disk_random(&r->random));
    }
    disk_unwatch();
    if (r->bad)
        (void)snprintf(text, sizeof text, "seed %llu, %s, life %u: %s (%s)",
                       (unsigned long long)seed, kind == STORE_COPY ? "copy" : "witness", r->life,
                       r->bad, r->root);
    bool failed = r->bad != NULL;
    if (!failed || !getenv("TALLY_POWER_KEEP"))
        (void)file_remove_tree(r->root);
    vec_done(&r->drops);
    model_free(r->m);
    free(r);
    return failed ? text : NULL;
}

static int sweep(uint64_t first, uint64_t count)
{
    int failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        for (int kind = STORE_COPY; kind <= STORE_WITNESS; kind++) {
            const char *what = run_seed(kind, seed);
            failed += what != NULL;
            if (what)
                (void)printf("FAILED %s\n", what);
            (void)fflush(stdout);
        }
    }
    const struct disk_stats *s = &disk_stats;
    (void)printf("%u cuts (%u with names in order), %u calls; writes kept %u, lost %u, torn %u; "
                 "sizes and holes kept %u, lost %u; names kept %u, lost %u; %d failed\n",
                 s->cuts, s->in_order, s->calls, s->writes_kept, s->writes_lost, s->writes_torn,
                 s->cuts_kept, s->cuts_lost, s->names_kept, s->names_lost, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- suite ----------------------------------------------------------------------------------- */

static bool nightly(void)
{
    const char *set = getenv("TALLY_NIGHTLY");
    return set && set[0];
}

START_TEST(promises_outlive_power_cuts)
{
    for (uint64_t seed = 1; seed <= (nightly() ? SEEDS_NIGHTLY : SEEDS); seed++) {
        const char *what = run_seed(_i, seed);
        ck_assert_msg(what == NULL, "%s", what);
    }
    ck_assert_uint_gt(disk_stats.cuts, 0);
    if (nightly()) { /* a few seeds need not meet each */
        ck_assert_uint_gt(disk_stats.writes_kept, 0);
        ck_assert_uint_gt(disk_stats.writes_lost, 0);
        ck_assert_uint_gt(disk_stats.writes_torn, 0);
        ck_assert_uint_gt(disk_stats.names_lost, 0);
    }
}
END_TEST

/* A sync that does nothing; what is made of it may well end the process. */
static bool found_out(const char *in_path, uint64_t seed)
{
    int status;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        (void)freopen("/dev/null", "w", stderr);
        disk_lie(in_path);
        _exit(run_seed(seed % 2 ? STORE_COPY : STORE_WITNESS, seed) ? 1 : 0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status != 0;
}

static const char *const lies[] = {
    "/log/", /* what is in the log */
    "/store/log" /* and its names */,
    ".blk",
    ".sst",
    "MANIFEST",
};

START_TEST(a_disk_that_lies_is_found_out)
{
    uint64_t seed = 1;
    while (seed <= LIE_SEEDS && !found_out(lies[_i], seed))
        seed++;
    ck_assert_msg(seed <= LIE_SEEDS, "unsynced %s went unnoticed", lies[_i]);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc > 1)
        return sweep(strtoull(argv[1], NULL, 10), argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    Suite *suite = suite_create("repl/io/store_power");
    TCase *tc = tcase_create("power");
    tcase_set_timeout(tc, 10000);
    tcase_add_loop_test(tc, promises_outlive_power_cuts, STORE_COPY, STORE_WITNESS + 1);
    tcase_add_loop_test(tc, a_disk_that_lies_is_found_out, 0, sizeof lies / sizeof *lies);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
