/* The same calls of repl/io/store.h, drawn from a seed, on the store that ships or on the
 * simulator's: what they answer and what is held and missing after each goes to stdout, and must be
 * the same (test_twin.py).
 *
 * twin SEED [lie]: with "lie" one thing told is not so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/twin.h"

enum { OPS = 120, NAMES = 200, LOG = 1024, DEAD = -1 };

static struct {
    struct store *store;
    struct store_config config;
    uint64_t random, term, last, commit, applied, base, truncated, demoted, ticket;
    uint64_t durable;
    uint64_t terms[LOG];
    int owner[NAMES]; /* entry that names it; 0: none; DEAD */
    int known;        /* names used so far */
    int step;
    uint32_t opened;
    bool quiet;
} w;

static uint64_t draw(uint64_t n)
{
    w.random = w.random * 6364136223846793005u + 1442695040888963407u;
    return (w.random >> 33) % n;
}

/* A name that no entry has, new or not. */
static int free_name(void)
{
    int n = 1 + (int)draw((uint64_t)w.known + 1);
    while (n < w.known && w.owner[n])
        n++;
    if (n > w.known || w.owner[n])
        n = ++w.known;
    if (n >= NAMES)
        abort();
    return n;
}

/* ---- what is told ---------------------------------------------------------------------------- */

static void on_durable(void *ctx, uint64_t ticket)
{
    (void)ctx;
    w.durable = ticket;
}

static void on_missing(void *ctx, struct block_name name, bool missing)
{
    (void)ctx;
    if (!w.quiet)
        printf("  %llu %s missing\n", (unsigned long long)name.n, missing ? "becomes" : "is not");
}

static void on_status(void *ctx, int status)
{
    printf("  %s: %d\n", (const char *)ctx, status);
}

static void on_read(void *ctx, int status, struct blob *bytes)
{
    (void)ctx;
    printf("  read: %d, %u bytes %016llx\n", status, bytes ? bytes->size : 0,
           bytes ? (unsigned long long)block_digest(bytes->data, bytes->size) : 0);
}

static bool note_name(void *ctx, const struct block_ref *ref)
{
    ((char *)ctx)[ref->name.n]++;
    return true;
}

static void tell_state(bool lie)
{
    static char held[NAMES], missing[NAMES], value[32];
    struct bytes_writer text;
    memset(held, 0, sizeof held);
    memset(missing, 0, sizeof missing);
    store_each_block(w.store, note_name, held);
    store_each_missing(w.store, note_name, missing);
    printf("  durable %d, missing %llu, applied %llu: ", w.durable == w.ticket,
           (unsigned long long)store_missing_count(w.store),
           (unsigned long long)store_durable_applied(w.store));
    for (int n = 1; n <= w.known; n++) {
        struct block_ref ref = twin_ref(n), got;
        bool has = store_has(w.store, &ref) && store_block_get(w.store, ref.name, &got, NULL) &&
                   got.size == ref.size;
        if (has != held[n] || store_is_missing(w.store, ref.name) != missing[n])
            printf("?%d ", n);
        if (has != lie || missing[n])
            printf("%s%d ", missing[n] ? "-" : "", n);
    }
    bytes_writer_init(&text);
    if (w.config.kind == STORE_COPY && kv_get(store_kv(w.store), 0, "k", 1, &text) == 0)
        memcpy(value, text.data, text.size);
    printf("state %s\n", value);
    bytes_writer_done(&text);
}

/* Names that no entry has and no state: a restart may bring them back or not. The owner drops them
 * (node/blocks.c), so what the store is left with must be the same. */
static void sweep(void)
{
    w.quiet = true;
    for (int n = 1; n <= w.known; n++)
        if (w.owner[n] <= 0)
            store_drop(w.store, NULL, twin_ref(n).name);
    twin_wait(w.store);
    store_demote(w.store, w.demoted); /* the files of the one before may not have gone yet */
    twin_wait(w.store);
    w.quiet = false;
}

static void set_key(struct kv_txn *txn, uint64_t index)
{
    char value[32] = "";
    (void)snprintf(value, sizeof value, "as of %llu", (unsigned long long)index);
    kv_txn_put(txn, STORE_TABLE_STATE, "k", 1, value, sizeof value);
}

/* Now and then, lest the store does it by itself, whenever it suits it. */
static void flush_all(void)
{
    if (w.config.kind != STORE_COPY)
        return;
    struct kv_txn *txn = kv_txn_new(store_kv(w.store));
    set_key(txn, w.applied);
    store_fill_txn(w.store, txn, w.applied);
    (void)kv_txn_commit(txn);
    kv_txn_free(txn);
    store_flush(w.store, NULL, NULL);
    twin_wait(w.store);
}

static int tell_entry(void *ctx, struct entry *e)
{
    (void)ctx;
    if (e->index <= w.truncated)
        return 0;
    printf("  entry %llu of %llu%s:", (unsigned long long)e->index, (unsigned long long)e->term,
           e->inline_bytes && e->index > w.demoted ? " with bytes" : "");
    for (uint32_t i = 0; i < e->blocks_count; i++)
        printf(" %llu", (unsigned long long)e->blocks[i].name.n);
    printf("\n");
    return 0;
}

static void open_store(void)
{
    struct store_recovered info;
    char error[256] = "";
    w.config.dir = twin_dir();
    int rc = store_open(&w.config, &w.store, &info, error, sizeof error);
    if (rc < 0) {
        printf("open: %d %s\n", rc, error);
        exit(EXIT_FAILURE);
    }
    store_on_durable(w.store, on_durable, NULL);
    store_on_missing(w.store, on_missing, NULL);
    w.ticket = w.durable = 0;
    w.applied = info.applied;
    /* Entries not needed any more go whenever it suits the store. */
    w.base = info.base_index > w.truncated ? info.base_index : w.truncated;
    printf("open: %d vote %llu %u, log %llu to %llu, applied %llu, damaged %llu\n", info.created,
           (unsigned long long)info.term, info.vote, (unsigned long long)w.base,
           (unsigned long long)info.last_index, (unsigned long long)info.applied,
           (unsigned long long)info.entries_damaged);
    if (store_load_entries(w.store, tell_entry, NULL) < 0)
        printf("  entries cannot be read\n");
    twin_wait(w.store);
    sweep();
    if (++w.opened % 2 == 0)
        flush_all();
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void put(void)
{
    int n = 1 + (int)draw((uint64_t)w.known + 1);
    bool other = draw(8) == 0; /* other bytes than its name says */
    if (n > w.known)
        n = ++w.known;
    struct block_ref ref = twin_ref(n);
    struct blob *b = twin_bytes(n);
    ref.digest += other;
    printf("put %d%s\n", n, other ? " wrong" : "");
    store_put(w.store, &ref, b, 0, on_status, "put");
    blob_unref(b);
}

static void free_names_above(uint64_t index)
{
    for (int n = 1; n <= w.known; n++)
        if (w.owner[n] > (int)index)
            w.owner[n] = 0;
}

static void append(void)
{
    struct entry *e[3];
    uint32_t count = 1 + (uint32_t)draw(3);
    uint64_t first = draw(5) == 0 ? w.commit + 1 + draw(w.last - w.commit + 1) : w.last + 1;
    int owner[NAMES];
    memcpy(owner, w.owner, sizeof owner);
    free_names_above(first - 1);
    w.term += first <= w.last;
    printf("append %llu..%llu of %llu\n", (unsigned long long)first,
           (unsigned long long)(first + count - 1), (unsigned long long)w.term);
    for (uint32_t i = 0; i < count; i++) {
        struct block_ref refs[2];
        struct blob *bytes = NULL;
        uint32_t blocks = (uint32_t)draw(3), size = 0;
        int n[2];
        for (uint32_t k = 0; k < blocks; k++) {
            n[k] = free_name();
            w.owner[n[k]] = (int)(first + i);
            refs[k] = twin_ref(n[k]);
            size += refs[k].size;
        }
        if (blocks && size <= ENTRY_INLINE_BYTES_MAX && draw(3) > 0)
            bytes = twin_join(n, blocks, size);
        e[i] = entry_new(w.term, first + i, ENTRY_OP, NULL, refs, blocks, bytes);
        blob_unref(bytes);
        (void)tell_entry(NULL, e[i]);
    }
    uint64_t commit = draw(2) ? first + count - 1 : w.commit;
    int rc = store_write_entries(w.store, w.ticket + 1, e, count, commit);
    printf("  commit %llu: %d\n", (unsigned long long)commit, rc);
    for (uint32_t i = 0; i < count; i++) {
        w.terms[first + i] = rc == 0 ? w.term : w.terms[first + i];
        entry_unref(e[i]);
    }
    if (rc < 0) {
        memcpy(w.owner, owner, sizeof owner);
        return;
    }
    w.ticket++;
    w.last = first + count - 1;
    w.commit = commit;
}

/* Every third entry ends the names of the one five before it. */
static void apply(void)
{
    if (w.config.kind != STORE_COPY || w.applied >= w.commit)
        return;
    struct kv_txn *txn = kv_txn_new(store_kv(w.store));
    uint64_t index = ++w.applied;
    printf("apply %llu\n", (unsigned long long)index);
    for (int n = 1; n <= w.known && index % 3 == 0; n++)
        if (w.owner[n] > 0 && (uint64_t)w.owner[n] + 5 == index)
            store_drop(w.store, txn, twin_ref(n).name);
    set_key(txn, index);
    store_fill_txn(w.store, txn, index);
    (void)kv_txn_commit(txn);
    kv_txn_free(txn);
}

static void forget(void)
{
    if (w.config.kind == STORE_COPY) {
        w.truncated = w.applied > w.truncated ? w.applied : w.truncated;
        printf("truncate %llu\n", (unsigned long long)w.truncated);
        store_truncate(w.store, w.truncated);
        store_flush(w.store, on_status, "flush");
        return;
    }
    printf("demote %llu\n", (unsigned long long)w.commit);
    store_demote(w.store, w.commit);
    w.demoted = w.commit;
    if (draw(2)) {
        twin_wait(w.store);
        w.truncated = w.commit;
        store_truncate(w.store, w.truncated);
    }
}

static void drop_or_miss(void)
{
    int n = free_name();
    struct block_ref ref = twin_ref(n);
    if (draw(3) > 0 || w.config.kind == STORE_WITNESS) {
        printf("drop %d\n", n);
        store_drop(w.store, NULL, ref.name);
    } else {
        printf("miss %d\n", n);
        store_add_missing(w.store, &ref);
    }
}

static void take_snapshot(void)
{
    if (w.config.kind != STORE_COPY) {
        printf("no snapshot: %d\n", store_snapshot_begin(w.store));
        return;
    }
    uint64_t index = w.commit + 1 + draw(4);
    bool keeps = index <= w.last && draw(2);
    uint64_t term = keeps ? w.terms[index] : ++w.term;
    printf("snapshot %llu of %llu: %d\n", (unsigned long long)index, (unsigned long long)term,
           store_snapshot_begin(w.store));
    struct kv_txn *txn = kv_txn_new(store_snapshot_kv(w.store));
    set_key(txn, index);
    (void)kv_txn_commit(txn);
    kv_txn_free(txn);
    if (!keeps)
        free_names_above(w.commit);
    for (int n = 1; n <= w.known; n++) {
        struct block_ref ref = twin_ref(n);
        if (w.owner[n] == DEAD || w.owner[n] > (int)index)
            continue;
        if (draw(2))
            w.owner[n] = 1, store_snapshot_need(w.store, &ref);
        else if (w.owner[n])
            w.owner[n] = DEAD;
    }
    store_snapshot_commit(w.store, index, term, on_status, "snapshot");
    w.commit = w.applied = w.truncated = index;
    w.last = keeps ? w.last : index;
    w.terms[index] = term;
    twin_wait(w.store);
    sweep();
}

static void step(char **argv)
{
    uint64_t which = draw(100);
    if (which < 25)
        put();
    else if (which < 55)
        append();
    else if (which < 72)
        apply();
    else if (which < 76)
        forget();
    else if (which < 82)
        drop_or_miss();
    else if (which < 84)
        take_snapshot();
    else if (which < 94) {
        int n = 1 + (int)draw((uint64_t)w.known + 1);
        uint32_t offset = (uint32_t)draw(4) * 8192;
        printf("read %d from %u\n", n, offset);
        store_read(w.store, (struct block_name){5, (uint64_t)n}, offset, 30000, on_read, NULL);
    } else if (which < 96)
        store_write_vote(w.store, ++w.ticket, ++w.term, 1 + (uint32_t)draw(3));
    else if (which < 98) {
        printf("close\n");
        store_close(w.store);
        open_store();
    } else {
        printf("crash\n");
        twin_crash(w.store, argv, &w, sizeof w);
        open_store();
    }
}

static void begin(const char *seed)
{
    w.random = strtoull(seed, NULL, 10);
    w.config = (struct store_config){.kind = w.random % 3 ? STORE_COPY : STORE_WITNESS,
                                     .cluster = {1},
                                     .node = 1,
                                     .capacity = 1u << 30,
                                     .create = true,
                                     .log_segment_size = 1 << 20,
                                     .block_segment_size = 4 << 20};
    w.term = 1;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return EXIT_FAILURE;
    bool again = twin_again(&w, sizeof w); /* in the middle of a step: the crash */
    if (!again)
        begin(argv[1]);
    open_store();
    for (; w.step < OPS && w.last + 8 < LOG && w.known + 8 < NAMES; w.step++) {
        if (!again)
            step(argv);
        again = false;
        twin_wait(w.store);
        tell_state(argc > 2 && w.step == OPS / 2);
    }
    store_close(w.store);
    twin_end();
    return EXIT_SUCCESS;
}
