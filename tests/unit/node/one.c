#include "tests/unit/node/one.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/file.h"
#include "repl/wire/codec.h"
#include "repl/wire/frame.h"

static struct one *world; /* the links know no other way to it */

/* ---- the other nodes ------------------------------------------------------------------------- */

static void answer(struct one *o, uint32_t from, const struct message *m)
{
    struct message a = {.kind = m->kind};
    if (m->kind == MESSAGE_BALLOT) {
        bool pre = m->ballot.kind == BALLOT_MSG_PREVOTE;
        if (!o->votes || (!pre && m->ballot.kind != BALLOT_MSG_VOTE))
            return;
        a.ballot = (struct ballot_message){
            .kind = pre ? BALLOT_MSG_PREVOTE_RESP : BALLOT_MSG_VOTE_RESP,
            .from = from,
            .to = o->n->self->id,
            .term = pre ? m->ballot.term : m->ballot.ballot,
            .ballot = m->ballot.ballot,
            .granted = true,
        };
    } else if (m->kind == MESSAGE_APPEND && o->acks) {
        a.kind = MESSAGE_APPEND_RESP;
        a.append_resp = (struct message_append_resp){
            .term = m->append.term,
            .match = m->append.prev_index + m->append.entries_count,
            .read_round = m->append.read_round,
            .sent_at = m->append.sent_at,
        };
    } else
        return;
    vec_push(&o->to_deliver, (struct one_message){from, a});
}

void one_frame(struct one *o, uint32_t id, uint8_t type, const void *control, size_t size,
               struct blob *bulk)
{
    ck_assert(o->links[id].up);
    o->callbacks.on_frame(o->callbacks.ctx, &o->links[id], type, control, size, bulk);
}

void one_message(struct one *o, uint32_t from, const struct message *m)
{
    struct bytes_writer control = {0};
    struct codec_bulk bulk = {0};
    message_encode(m, &control, &bulk);
    ck_assert_uint_eq(bulk.count, 0);
    one_frame(o, from, FRAME_REPL, control.data, control.size, NULL);
    bytes_writer_done(&control);
    codec_bulk_done(&bulk);
}

/* ---- its links, in place of repl/io/link.c --------------------------------------------------- */

struct link_hub *link_hub_new(uv_loop_t *loop, const struct hello *self,
                              const struct link_callbacks *callbacks)
{
    (void)loop, (void)self;
    world->callbacks = *callbacks;
    return (struct link_hub *)world; /* never looked into */
}

void link_hub_flush(struct link_hub *hub)
{
    (void)hub;
    if (world->told < world->acked)
        world->applied_when_told = world->n->applied;
    world->told = world->acked;
}

void link_hub_close(struct link_hub *hub)
{
    (void)hub;
}

int link_hub_listen(struct link_hub *hub, const char *address)
{
    (void)hub, (void)address;
    return 0;
}

int link_hub_connect(struct link_hub *hub, const char *name, const char *address)
{
    (void)hub, (void)name, (void)address;
    return 0;
}

void link_hub_set_cuts(struct link_hub *hub, const char *const *names, size_t count)
{
    (void)hub, (void)names, (void)count;
}

static void note_asked(struct one *o, const void *control, size_t size)
{
    Fs__BlockGet *m = fs__block_get__unpack(NULL, size, control);
    ck_assert_ptr_nonnull(m);
    vec_push(&o->asked, (struct block_name){m->session, m->n});
    fs__block_get__free_unpacked(m, NULL);
}

void link_send(struct link *link, uint8_t type, const void *control, size_t control_size,
               struct blob *const *bulks, size_t bulks_count)
{
    struct message m;
    (void)bulks;
    if (type == FRAME_SNAPSHOT_ACK)
        world->snapshot_ack = *(const uint8_t *)control;
    if (type == FRAME_BLOCK_GET) {
        note_asked(world, control, control_size);
        world->asked_last = link->peer.node_id;
    }
    if (type != FRAME_REPL || bulks_count)
        return;
    ck_assert_int_eq(message_decode(control, control_size, NULL, &m), 0);
    if (m.kind == MESSAGE_APPEND_RESP && m.append_resp.match > world->acked)
        world->acked = m.append_resp.match;
    answer(world, link->peer.node_id, &m);
    message_done(&m);
}

size_t link_backlog(const struct link *link)
{
    return link->backlog;
}

void link_close(struct link *link, const char *reason)
{
    if (link->may_close) {
        link->up = false;
        world->callbacks.on_down(world->callbacks.ctx, link, reason);
        return;
    }
    ck_abort_msg("the link of node %u is closed: %s", link->peer.node_id, reason);
}

const struct hello *link_peer(const struct link *link)
{
    return &link->peer;
}

void link_set_data(struct link *link, void *data)
{
    link->data = data;
}

void *link_data(const struct link *link)
{
    return link->data;
}

/* ---- its host -------------------------------------------------------------------------------- */

static time_us host_clock(void *ctx)
{
    struct one *o = ctx;
    return o->now += o->slow;
}

static int64_t host_wall_ns(void *ctx)
{
    return (int64_t)((struct one *)ctx)->now * 1000;
}

static void host_wake(void *ctx)
{
    ((struct one *)ctx)->woken = true;
}

static void host_wake_at(void *ctx, time_us at)
{
    ((struct one *)ctx)->wake_at = at;
}

static void host_store_ready(void *ctx)
{
    (void)ctx; /* on another thread; one_store() looks */
}

static void host_ended(void *ctx)
{
    (void)ctx;
}

static void host_fall(void *ctx)
{
    (void)ctx;
    ck_abort_msg("the node cannot go on");
}

/* ---- the world ------------------------------------------------------------------------------- */

static void open_one(struct one *o, uint32_t self, bool writes_log)
{
    static const struct node_member members[ONE_NODES] = {
        {.id = 1, .name = "n1", .address = "-"},
        {.id = 2, .name = "n2", .address = "-"},
        {.id = 3, .witness = true, .name = "n3", .address = "-"},
    };
    *o = (struct one){.dir = "/tmp/tally-node-XXXXXX", .now = 100 * TIME_S};
    world = o;
    ck_assert_ptr_nonnull(mkdtemp(o->dir));
    for (uint32_t id = 1; id <= ONE_NODES; id++)
        o->links[id].peer = (struct hello){.kind = HELLO_NODE, .node_id = id, .store_boot = id};
    o->links[ONE_MOUNT].peer = (struct hello){.kind = HELLO_MOUNT, .name = "test:mount"};
    struct node_config config = {.cluster = {1},
                                 .self = self,
                                 .members = members,
                                 .members_count = ONE_NODES,
                                 .store_dir = o->dir,
                                 .create = true,
                                 .leader_lease = true,
                                 .random_seed = 1};
    struct node_host host = {.ctx = o,
                             .clock = host_clock,
                             .wall_ns = host_wall_ns,
                             .wake = host_wake,
                             .wake_at = host_wake_at,
                             .store_ready = host_store_ready,
                             .writes_log = writes_log,
                             .ended = host_ended,
                             .fall = host_fall};
    o->n = node_open(&config, &host);
    ck_assert_ptr_nonnull(o->n);
    o->woken = true;
    one_turns(o);
    one_store(o);
}

void one_open(struct one *o, uint32_t self)
{
    open_one(o, self, false);
}

void one_open_writing(struct one *o, uint32_t self)
{
    open_one(o, self, true);
}

void one_close(struct one *o)
{
    node_close(o->n);
    vec_done(&o->to_deliver);
    vec_done(&o->asked);
    ck_assert_int_eq(file_remove_tree(o->dir), 0);
}

void one_link_up(struct one *o, uint32_t id)
{
    o->links[id].up = true;
    o->callbacks.on_up(o->callbacks.ctx, &o->links[id], &o->links[id].peer);
    one_turns(o);
}

void one_turns(struct one *o)
{
    for (int turns = 0; turns < 1000; turns++) {
        for (size_t i = 0; i < o->to_deliver.count && !o->held; i++)
            one_message(o, o->to_deliver.items[i].from, &o->to_deliver.items[i].message);
        if (!o->held)
            vec_clear(&o->to_deliver);
        if (!o->woken)
            return;
        o->woken = false;
        node_turn(o->n);
    }
    ck_abort_msg("it never settles");
}

void one_store(struct one *o)
{
    for (int i = 0; i < 10; i++) { /* what comes of it is written as well */
        store_drain(o->n->store);
        one_turns(o);
    }
}

void one_pass(struct one *o, time_us us)
{
    for (time_us until = o->now + us; o->now < until;) {
        o->now = time_min(until, o->now + 5 * TIME_MS);
        if (o->wake_at && o->wake_at <= o->now)
            node_timer_due(o->n);
        one_turns(o);
    }
}

struct block_ref one_put(struct one *o, uint64_t n)
{
    Fs__BlockPut m = FS__BLOCK_PUT__INIT;
    Fs__Block b = FS__BLOCK__INIT;
    uint64_t run;
    uint8_t packed[128];
    struct blob *bytes = blob_new(4096);
    memset(bytes->data, 'a', bytes->size);
    block_run_hashes(bytes->data, bytes->size, &run);
    b.session = 7;
    b.n = n;
    b.size = bytes->size;
    b.runs = &run;
    b.n_runs = 1;
    m.block = &b;
    ck_assert_uint_le(fs__block_put__get_packed_size(&m), sizeof packed);
    one_frame(o, ONE_MOUNT, FRAME_BLOCK_PUT, packed, fs__block_put__pack(&m, packed), bytes);
    one_turns(o);
    struct block_ref ref = {{7, n}, bytes->size, block_digest(bytes->data, bytes->size)};
    blob_unref(bytes);
    return ref;
}
