/* Committed entries into the namespace, in index order, each in one batch with the applied index. */
#include "tools/cli/node.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/log.h"

enum {
    APPLY_PER_TURN = 256,                 /* the loop stays answerable while a backlog is applied */
    FLUSH_LOG_BYTES = 32 << 20,           /* journal since the last flush of the state */
    FLUSH_IDLE_US = 10 * 1000000,         /* and at the latest */
};

/* Names that this entry's apply made live or dead, for the store: what is missing, what may go. */
static void tell_store(struct node *n, struct kv_txn *txn, const struct fs_result *result)
{
    for (size_t i = 0; i < result->died_count; i++)
        store_drop(n->store, txn, result->died[i]);
    if (result->ended_session)
        store_drop_unnamed(n->store, txn, result->ended_session, UINT64_MAX);
}

static void apply_op(struct node *n, const struct entry *e)
{
    struct fs_result result;
    fs_result_init(&result);
    Fs__Op *op = e->payload ? fs__op__unpack(NULL, e->payload->size, e->payload->data) : NULL;
    if (!op) /* proposed by our own fs/app, and hashed on its way: this is our mistake, not bad input */
        node_die(n, "a committed entry does not decode", -EBADMSG);
    struct kv_txn *txn = store_txn_begin(n->store);
    fs_apply(n->state, txn, e->index, op, &result);
    tell_store(n, txn, &result);
    store_txn_commit(n->store, txn, e->index, e->term);
    struct fs_app_event ev = {.kind = FS_APP_APPLIED, .index = e->index, .term = e->term,
                              .op = op, .result = &result};
    n->applied = e->index;
    n->app_behind = true;
    node_feed_app(n, &ev);
    fs__op__free_unpacked(op, NULL);
    fs_result_done(&result);
}

static void apply_plain(struct node *n, const struct entry *e)
{
    struct kv_txn *txn = store_txn_begin(n->store);
    store_txn_commit(n->store, txn, e->index, e->term);
    n->applied = e->index;
    n->app_behind = true;
}

bool node_apply_some(struct node *n)
{
    if (n->self->witness || n->installing)
        return false;
    for (int i = 0; i < APPLY_PER_TURN && n->applied < n->advance; i++) {
        struct entry *e = replica_entry(n->replica, n->applied + 1);
        if (!e)
            node_die(n, "a committed entry is not in the log", -ENODATA);
        entry_ref(e); /* feeding fs/app may step the replica */
        if (e->kind == ENTRY_OP)
            apply_op(n, e);
        else
            apply_plain(n, e);
        entry_unref(e);
    }
    if (n->app_behind) {
        struct fs_app_event ev = {.kind = FS_APP_ADVANCED, .index = n->applied};
        n->app_behind = false;
        node_feed_app(n, &ev);
        node_report_applied(n);
    }
    return n->applied < n->advance;
}

void node_report_applied(struct node *n)
{
    uint64_t total, free_bytes;
    store_space(n->store, &total, &free_bytes);
    n->missing_count = store_missing_count(n->store);
    if (n->missing_count == 0)
        n->whole_index = n->applied;
    struct node_replica_event ev = {.event = {.kind = REPLICA_APPLIED}};
    ev.event.applied.index = n->applied;
    ev.event.applied.durable_applied = n->durable_applied;
    ev.event.applied.whole_index = n->whole_index;
    ev.event.applied.free_bytes = free_bytes;
    node_queue_replica(n, &ev);
}
