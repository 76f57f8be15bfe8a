/* Committed entries into the namespace, in index order, each in one batch with the applied index.
 */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mutant.h"
#include "repl/io/log.h"

enum {
    APPLY_PER_TURN = 256, /* the loop stays answerable while a backlog is applied */
    FLUSH_DEAD_BYTES = 4 << 20,
    FLUSH_DEAD_SHARE = 16, /* of the store */
};
#define FLUSH_URGENT (50 * TIME_MS) /* more is dead than free */
#define FLUSH_PAUSE  (1 * TIME_S)
#define FLUSH_IDLE   (10 * TIME_S)

static void commit_txn(struct node *n, uint64_t index)
{
    store_fill_txn(n->store, n->txn, index);
    int r = kv_txn_commit(n->txn);
    if (r < 0)
        node_die(n, "the applied state cannot be written", r);
}

void node_apply_open(struct node *n)
{
    if (n->self->witness)
        return;
    struct kv *kv = store_kv(n->store);
    n->txn = kv_txn_new(kv);
    n->state = fs_state_new(kv, STORE_TABLE_STATE);
    if (fs_state_empty(n->state)) {
        fs_state_format(n->state, n->txn);
        commit_txn(n, 0);
    }
}

void node_apply_close(struct node *n)
{
    if (n->state)
        fs_state_free(n->state);
    kv_txn_free(n->txn);
    arena_done(&n->op_memory);
    n->state = NULL;
    n->txn = NULL;
}

/* What becomes of the blocks: those no map names any more go, with them those that a refused COMMIT
 * brought (RULES B12). */
static void settle_blocks(struct node *n, const struct entry *e, const struct fs_result *result)
{
    for (size_t i = 0; i < result->died_count; i++)
        store_drop(n->store, n->txn, result->died[i]);
    for (uint32_t i = 0; i < e->blocks_count; i++) {
        const struct block_ref *ref = &e->blocks[i];
        bool named = false;
        for (size_t k = 0; k < result->named_count && !named; k++)
            named = block_name_equal(result->named[k].name, ref->name);
        if (!named && !fs_block_named(n->state, ref->name, NULL))
            store_drop(n->store, n->txn, ref->name);
        node_blocks_named(n, ref);
    }
}

static void *take(void *memory, size_t size)
{
    return arena_take(memory, size);
}

static void give_back(void *memory, void *p)
{
    (void)memory, (void)p; /* all goes together */
}

static void apply_op(struct node *n, const struct entry *e)
{
    struct fs_result result;
    ProtobufCAllocator memory = {take, give_back, &n->op_memory};
    Fs__Op *op = e->payload ? fs__op__unpack(&memory, e->payload->size, e->payload->data) : NULL;
    if (!op) /* made by some leader's own service, and hashed on its way: not bad input */
        node_die(n, "a committed entry does not decode", -EBADMSG);
    fs_result_init(&result);
    fs_apply(n->state, n->txn, e->index, op, &result);
    settle_blocks(n, e, &result);
    commit_txn(n, e->index);
    n->applied = e->index;
    n->applied_term = e->term;
    struct fs_app_event ev = {
        .kind = FS_APP_APPLIED, .index = e->index, .term = e->term, .op = op, .result = &result};
    node_feed_app(n, &ev);
    fs_result_done(&result);
    arena_clear(&n->op_memory);
}

static void apply_plain(struct node *n, const struct entry *e)
{
    commit_txn(n, e->index);
    n->applied = e->index;
    n->applied_term = e->term;
}

bool node_apply_some(struct node *n)
{
    if (n->self->witness || n->install.from)
        return false;
    uint64_t before = n->applied;
    for (int i = 0; i < APPLY_PER_TURN && n->applied < n->advance; i++) {
        struct entry *e = replica_entry(n->replica, n->applied + 1);
        if (!e)
            node_die(n, "a committed entry is not in the log", -ENODATA);
        if (e->kind == ENTRY_OP)
            apply_op(n, e);
        else
            apply_plain(n, e);
    }
    if (n->applied != before) {
        struct fs_app_event ev = {.kind = FS_APP_ADVANCED, .index = n->applied};
        node_feed_app(n, &ev);
        node_report_applied(n);
        if (time_since(n->now, n->space_reported) > 20 * TIME_MS) {
            node_report_space(n);
            node_flush_when_due(n);
        }
    }
    return n->applied < n->advance;
}

static void on_flushed(void *ctx, int status)
{
    struct node *n = ctx;
    n->flushing = false;
    if (status < 0)
        node_die(n, "the applied state cannot be made durable", status);
    node_report_applied(n); /* the log may be truncated, space was given back */
    node_report_space(n);
}

/* The store flushes by itself when the log grows. Dead blocks give their space back only below a
 * durable state (RULES S4): on a store that fills up that must not wait for the log. */
void node_flush_when_due(struct node *n)
{
    if (!n->state || n->flushing || n->install.from || n->applied == n->durable_applied)
        return;
    time_us since = time_since(n->now, n->flushed_at);
    if (since < FLUSH_URGENT)
        return;
    uint64_t total, free_bytes, live = fs_state_totals(n->state).bytes;
    uint64_t bytes = store_block_bytes(n->store);
    store_space(n->store, &total, &free_bytes);
    uint64_t dead = bytes > live ? bytes - live : 0;
    bool wanted = dead > FLUSH_DEAD_BYTES && dead > free_bytes / FLUSH_DEAD_SHARE;
    if (since < (!wanted ? FLUSH_IDLE : dead > free_bytes ? FLUSH_URGENT : FLUSH_PAUSE))
        return;
    n->flushing = true;
    n->flushed_at = n->now;
    store_flush(n->store, on_flushed, n);
}

void node_report_applied(struct node *n)
{
    uint64_t total, free_bytes;
    store_space(n->store, &total, &free_bytes);
    n->durable_applied = n->self->witness ? 0 : store_durable_applied(n->store);
    bool whole = store_missing_count(n->store) == 0 || MUTANT(whole_while_missing);
    if (!n->self->witness && whole && n->whole_index != n->applied) {
        n->whole_index = n->applied;
        store_note_whole(n->store, n->whole_index);
    }
    struct node_replica_event ev = {.event = {.kind = REPLICA_APPLIED}};
    ev.event.applied.index = n->applied;
    ev.event.applied.durable_applied = n->durable_applied;
    ev.event.applied.whole_index = n->whole_index;
    ev.event.applied.free_bytes = free_bytes;
    node_queue_replica(n, &ev);
}
