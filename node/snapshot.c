/* A copy that needs entries the log no longer has gets the whole state (RULES B7): the pairs of the
 * namespace in chunks, a few on their way at once; the blocks they name are fetched afterwards. */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/core/keys.h"
#include "repl/base/bytes.h"
#include "repl/base/mutant.h"
#include "repl/io/log.h"
#include "repl/wire/frame.h"

enum {
    CHUNK_BYTES = 256 * 1024,
    CHUNKS_UNDER_WAY = 4,
    PAIR_MAX = 4 << 20,
};
#define SILENCE_MAX (30 * TIME_S)

enum chunk_kind {
    CHUNK_BEGIN = 1, /* id, index, term */
    CHUNK_PAIRS,     /* id, number; bulk: sized key, sized value, ... */
    CHUNK_END,       /* id, number of chunks */
    CHUNK_REFUSED,   /* as an answer: it did not work out */
};

/* The iterator sees the state as it was when it was made, whatever is applied meanwhile. */
struct node_sending {
    uint64_t id, index, term;
    uint64_t sent, acked;
    uint64_t pairs;
    time_us heard; /* when the other one said something of it last */
    struct kv_iter *iter;
    bool ended;
};

/* Of now, not of the turn before: it may have come while this node was frozen. */
static time_us hear(const struct node *n)
{
    return n->host.clock(n->host.ctx);
}

static void send_control(struct node *n, uint32_t to, uint8_t type, enum chunk_kind kind,
                         uint64_t id, uint64_t a, uint64_t b, struct blob *bulk)
{
    struct bytes_writer w = {0};
    bytes_put_u8(&w, (uint8_t)kind);
    bytes_put_u64(&w, id);
    bytes_put_u64(&w, a);
    bytes_put_u64(&w, b);
    if (n->peers[to].link)
        link_send(n->peers[to].link, type, w.data, w.size, &bulk, bulk != NULL);
    bytes_writer_done(&w);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Without a word to the replica. */
static void sending_free(struct node *n, uint32_t to, bool ok)
{
    struct node_sending *s = n->sending[to];
    log_info("snapshot-sent", "to=%s index=%llu pairs=%llu ok=%d", node_name_of(n, to),
             (unsigned long long)s->index, (unsigned long long)s->pairs, ok);
    kv_iter_free(s->iter);
    free(s);
    n->sending[to] = NULL;
}

static void tell_done(struct node *n, uint32_t to, bool ok)
{
    struct node_replica_event ev = {.event = {.kind = REPLICA_SNAPSHOT_DONE}};
    ev.event.snapshot_done.peer = to;
    ev.event.snapshot_done.ok = ok;
    node_queue_replica(n, &ev);
}

static void sending_end(struct node *n, uint32_t to, bool ok)
{
    if (!n->sending[to])
        return;
    sending_free(n, to, ok);
    tell_done(n, to, ok);
}

static void send_chunk(struct node *n, uint32_t to, struct node_sending *s)
{
    struct bytes_writer w = {0};
    for (; kv_iter_valid(s->iter) && w.size < CHUNK_BYTES; kv_iter_next(s->iter)) {
        struct bytes key = kv_iter_key(s->iter), value = kv_iter_value(s->iter);
        bytes_put_sized(&w, key.data, key.size);
        bytes_put_sized(&w, value.data, value.size);
        s->pairs++;
    }
    if (w.size) {
        struct blob *bulk = blob_copy(w.data, w.size);
        send_control(n, to, FRAME_SNAPSHOT_CHUNK, CHUNK_PAIRS, s->id, ++s->sent, 0, bulk);
        blob_unref(bulk);
    } else {
        s->ended = true;
        send_control(n, to, FRAME_SNAPSHOT_CHUNK, CHUNK_END, s->id, s->sent, 0, NULL);
    }
    bytes_writer_done(&w);
}

static void send_more(struct node *n, uint32_t to, struct node_sending *s)
{
    while (!s->ended && s->sent < s->acked + CHUNKS_UNDER_WAY)
        send_chunk(n, to, s);
}

/* The key-value store that it reads is about to be closed. Who gets it would wait for the rest and
 * apply nothing; one chunk too many says that it is not all here. */
static void stop_sending(struct node *n)
{
    for (uint32_t to = 0; to < NODE_IDS; to++) {
        const struct node_sending *s = n->sending[to];
        if (s && !s->ended)
            send_control(n, to, FRAME_SNAPSHOT_CHUNK, CHUNK_END, s->id, s->sent + 1, 0, NULL);
        if (s)
            sending_free(n, to, false);
    }
}

void node_snapshot_send(struct node *n, uint32_t to)
{
    if (n->sending[to]) /* of an earlier term: to tell its end now would end the one that begins */
        sending_free(n, to, false);
    if (!n->state) { /* elected while another one becomes it: the replica asks again */
        tell_done(n, to, false);
        return;
    }
    struct node_sending *s = xcalloc(1, sizeof *s);
    s->id = node_random(n);
    s->index = n->applied;
    s->term = n->applied_term;
    s->heard = n->now;
    s->iter = kv_iter(store_kv(n->store), STORE_TABLE_STATE, (struct bytes){0}, (struct bytes){0});
    n->sending[to] = s;
    log_info("snapshot-send", "to=%s index=%llu", node_name_of(n, to),
             (unsigned long long)s->index);
    send_control(n, to, FRAME_SNAPSHOT_CHUNK, CHUNK_BEGIN, s->id, s->index, s->term, NULL);
    send_more(n, to, s);
}

void node_snapshot_ack_frame(struct node *n, uint32_t from, struct link *link,
                             const uint8_t *control, size_t size)
{
    struct bytes_reader r;
    bytes_reader_init(&r, control, size);
    uint8_t kind = bytes_get_u8(&r);
    uint64_t id = bytes_get_u64(&r), number = bytes_get_u64(&r);
    (void)bytes_get_u64(&r);
    if (!bytes_reader_ended(&r)) {
        link_close(link, "a snapshot's answer that does not decode");
        return;
    }
    struct node_sending *s = n->sending[from];
    if (!s || s->id != id)
        return;
    if (kind == CHUNK_END || kind == CHUNK_REFUSED) {
        sending_end(n, from, kind == CHUNK_END);
        return;
    }
    s->heard = hear(n);
    if (number > s->acked && number <= s->sent)
        s->acked = number;
    send_more(n, from, s);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void install_abort(struct node *n, const char *why)
{
    if (!n->install.from || n->install.committing)
        return;
    log_warn("TALLY-3006", "snapshot from %s given up: %s", node_name_of(n, n->install.from), why);
    send_control(n, n->install.from, FRAME_SNAPSHOT_ACK, CHUNK_REFUSED, n->install.id, 0, 0, NULL);
    store_snapshot_abort(n->store);
    n->install.from = 0;
    n->install.whole = false;
    node_wake(n); /* what was committed meanwhile may be applied again */
}

static void install_begin(struct node *n, uint32_t from, uint64_t id, uint64_t index, uint64_t term)
{
    install_abort(n, "another one begins");
    /* One that is becoming the state cannot be given up any more. The sender is told, whoever it
     * is: it would wait for an answer as long as the link holds. */
    bool busy = n->install.from || !n->state;
    if (busy || n->role == REPLICA_LEADER ||
        index <= n->applied) { /* from a leader before it, or late */
        send_control(n, from, FRAME_SNAPSHOT_ACK, CHUNK_REFUSED, id, 0, 0, NULL);
        return;
    }
    int r = store_snapshot_begin(n->store);
    if (r < 0) {
        log_warn("TALLY-3006", "a snapshot cannot be taken in: %s", strerror(-r));
        send_control(n, from, FRAME_SNAPSHOT_ACK, CHUNK_REFUSED, id, 0, 0, NULL);
        return;
    }
    n->install = (struct node_install){
        .from = from, .id = id, .index = index, .term = term, .heard = hear(n)};
    log_info("snapshot-install", "from=%s index=%llu", node_name_of(n, from),
             (unsigned long long)index);
}

static void install_pairs(struct node *n, uint64_t number, const struct blob *bulk)
{
    struct kv_batch batch = {0};
    struct bytes_reader r;
    bytes_reader_init(&r, bulk ? bulk->data : NULL, bulk ? bulk->size : 0);
    while (bytes_left(&r) && !r.bad) {
        struct bytes key = bytes_get_sized(&r, PAIR_MAX), value = bytes_get_sized(&r, PAIR_MAX);
        if (!r.bad && !(MUTANT(replies_lost_in_snapshot) && key.data[0] == KEY_REPLY))
            kv_batch_put(&batch, STORE_TABLE_STATE, key.data, key.size, value.data, value.size);
    }
    bool ok = !r.bad && number == n->install.chunks + 1 &&
              kv_write(store_snapshot_kv(n->store), &batch) == 0;
    kv_batch_done(&batch);
    if (!ok) {
        install_abort(n, "a chunk is damaged or out of order");
        return;
    }
    n->install.chunks = number;
    n->install.heard = hear(n);
    send_control(n, n->install.from, FRAME_SNAPSHOT_ACK, CHUNK_PAIRS, n->install.id, number, 0,
                 NULL);
}

static bool need_block(void *ctx, const struct block_ref *ref)
{
    struct node *n = ctx;
    store_snapshot_need(n->store, ref);
    return true;
}

static void on_installed(void *ctx, int status)
{
    struct node *n = ctx;
    if (status < 0)
        node_die(n, "a snapshot cannot be made the state", status);
    struct node_install done = n->install;
    n->install = (struct node_install){0};
    node_apply_open(n);
    fs_app_set_state(n->app, n->state);
    n->applied = done.index;
    if (n->advance < done.index) /* more may have been committed meanwhile */
        n->advance = done.index;
    n->applied_term = done.term;
    n->whole_index = store_missing_count(n->store) ? 0 : done.index;
    n->swept = false; /* blocks of the state before that nothing names now */
    log_info("snapshot-installed", "index=%llu missing=%llu", (unsigned long long)done.index,
             (unsigned long long)store_missing_count(n->store));
    struct node_replica_event ev = {.event = {.kind = REPLICA_SNAPSHOT_INSTALLED}};
    ev.event.snapshot_installed.index = done.index;
    ev.event.snapshot_installed.term = done.term;
    node_queue_replica(n, &ev);
    struct node_app_event restored = {.event = {.kind = FS_APP_RESTORED, .index = done.index}};
    node_queue_app(n, &restored);
    if (n->role == REPLICA_LEADER) /* elected meanwhile */
        node_role_tell(n);
    send_control(n, done.from, FRAME_SNAPSHOT_ACK, CHUNK_END, done.id, done.chunks, 0, NULL);
    n->own_wake = n->now;
    n->tick_due = true;
    node_wake(n);
}

static void install_end(struct node *n, uint64_t chunks)
{
    if (chunks != n->install.chunks) {
        install_abort(n, "chunks are missing");
        return;
    }
    struct fs_state *state = fs_state_new(store_snapshot_kv(n->store), STORE_TABLE_STATE);
    struct fs_hash said = fs_state_hash(state), found = fs_state_rehash(state);
    bool same = said.lo == found.lo && said.hi == found.hi;
    if (!same && !MUTANT(replies_lost_in_snapshot)) {
        fs_state_free(state);
        install_abort(n, "its hash does not fit its contents");
        return;
    }
    if (!MUTANT(snapshot_without_missing))
        fs_each_block(state, need_block, n);
    fs_state_free(state);
    n->install.whole = true;
    node_wake(n);
}

void node_snapshot_leads(struct node *n)
{
    install_abort(n, "this node leads");
}

/* A node that was frozen as leader hears of its successor, takes in that one's snapshot and still
 * has its mounts' requests to answer, all in one turn: only when all input was fed does it know
 * that it leads no more, and may go without a state for a while. */
void node_snapshot_switch(struct node *n)
{
    if (!n->install.whole || n->install.committing)
        return;
    assert(n->role != REPLICA_LEADER);
    n->install.committing = true;
    stop_sending(n);
    node_apply_close(n); /* the key-value store is about to be another one */
    fs_app_set_state(n->app, NULL);
    store_snapshot_commit(n->store, n->install.index, n->install.term, on_installed, n);
}

void node_snapshot_chunk_frame(struct node *n, uint32_t from, struct link *link,
                               const uint8_t *control, size_t size, struct blob *bulk)
{
    struct bytes_reader r;
    bytes_reader_init(&r, control, size);
    uint8_t kind = bytes_get_u8(&r);
    uint64_t id = bytes_get_u64(&r), a = bytes_get_u64(&r), b = bytes_get_u64(&r);
    if (!bytes_reader_ended(&r) || kind < CHUNK_BEGIN || kind > CHUNK_END) {
        link_close(link, "a piece of a snapshot that does not decode");
        return;
    }
    if (kind == CHUNK_BEGIN) {
        install_begin(n, from, id, a, b);
        return;
    }
    if (n->install.from != from || n->install.id != id || n->install.whole)
        return; /* of one that was given up, or more than all of it */
    if (kind == CHUNK_PAIRS)
        install_pairs(n, a, bulk);
    else
        install_end(n, a);
}

void node_snapshot_link_down(struct node *n, uint32_t peer)
{
    sending_end(n, peer, false);
    if (n->install.from == peer)
        install_abort(n, "the link closed");
}

/* A node that is frozen keeps its link. Who waits for the rest of its snapshot applies nothing, so
 * that its log grows; who waits for its answer keeps a state from long ago on the disk. */
void node_snapshot_tick(struct node *n)
{
    if (n->install.from && !n->install.whole && time_since(n->now, n->install.heard) > SILENCE_MAX)
        install_abort(n, "nothing more comes");
    for (uint32_t to = 0; to < NODE_IDS; to++)
        if (n->sending[to] && time_since(n->now, n->sending[to]->heard) > SILENCE_MAX)
            sending_end(n, to, false);
}
