#include "tests/unit/fs/client/world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/hash.h"
#include "repl/base/kv_txn.h"

#define FREE_BYTES (UINT64_C(1) << 30)

struct message {
    struct list link;
    uint64_t number; /* of the link it goes over */
    int mount;
    uint32_t node;
    bool to_node;
    Fs__Request *request;
    Fs__BlockPut *put;
    Fs__Reply *reply;
    Fs__BlockPutReply *put_reply;
    struct blob *bulk;
};

static void message_free(struct message *x)
{
    list_remove(&x->link);
    if (x->request)
        fs__request__free_unpacked(x->request, NULL);
    if (x->put)
        fs__block_put__free_unpacked(x->put, NULL);
    if (x->reply)
        fs__reply__free_unpacked(x->reply, NULL);
    if (x->put_reply)
        fs__block_put_reply__free_unpacked(x->put_reply, NULL);
    blob_unref(x->bulk);
    free(x);
}

static struct blob *join(struct blob **blobs, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += blobs[i]->size;
    if (size == 0)
        return NULL;
    struct blob *all = blob_new(size);
    size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all->data + size, blobs[i]->data, blobs[i]->size);
        size += blobs[i]->size;
    }
    return all;
}

static struct message *post(struct world *w, int mount, uint32_t node, bool to_node)
{
    struct message *x = xcalloc(1, sizeof *x);
    x->mount = mount;
    x->node = node;
    x->to_node = to_node;
    x->number = w->link[mount][node];
    list_push_back(&w->messages, &x->link);
    return x;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void app_step(struct world *w, uint32_t node, struct fs_app_event ev);

static int mount_of(const struct world *w, uint64_t number, uint32_t node)
{
    for (int m = 0; m < WORLD_MOUNTS; m++)
        if (number != 0 && w->link[m][node] == number)
            return m;
    return -1;
}

static void store(struct world *w, struct block_name name, const void *p, size_t size)
{
    blob_unref(map_put(&w->blocks, block_name_hash(name), blob_copy(p, size)));
}

static void answer(struct world *w, uint32_t node, uint64_t number, const Fs__Reply *reply,
                   struct blob *bulk)
{
    int m = mount_of(w, number, node);
    if (m < 0)
        return;
    size_t size = fs__reply__get_packed_size(reply);
    uint8_t *packed = xmalloc(size);
    (void)fs__reply__pack(reply, packed);
    struct message *x = post(w, m, node, false);
    x->reply = fs__reply__unpack(NULL, size, packed);
    x->bulk = blob_ref(bulk);
    free(packed);
}

static void read_blocks(struct world *w, uint32_t node, struct fs_app_effect *e)
{
    Fs__ReadReply *body = e->reply->read;
    vec_of(struct blob *) parts = {0};
    for (size_t i = 0; i < body->n_pieces; i++) {
        Fs__Piece *p = body->pieces[i];
        struct block_name name = {p->block->session, p->block->n};
        uint32_t first = p->block_page / 4;
        uint32_t from = first * BLOCK_RUN_SIZE;
        uint32_t end = (p->block_page + p->pages + 3) / 4 * BLOCK_RUN_SIZE;
        end = end < p->block->size ? end : p->block->size;
        p->run_first = first;
        if (from >= end)
            continue;
        const struct blob *b = map_get(&w->blocks, block_name_hash(name));
        ck_assert_msg(b != NULL, "block %llu is named and not stored", (unsigned long long)name.n);
        uint64_t runs[BLOCK_RUNS_MAX];
        int count = fs_block_runs(w->state, name, runs);
        ck_assert_int_gt(count, 0);
        p->block->n_runs = block_runs(end - from);
        p->block->runs = xmemdup(runs + first, p->block->n_runs * sizeof *runs);
        p->bytes = end - from;
        struct blob *part = blob_copy(b->data + from, end - from);
        if (w->spared) {
            w->spared--;
        } else if (w->corrupt) {
            w->corrupt--;
            part->data[0] ^= 1;
        }
        vec_push(&parts, part);
    }
    struct blob *bulk = join(parts.items, parts.count);
    answer(w, node, e->client, e->reply, bulk);
    blob_unref(bulk);
    for (size_t i = 0; i < parts.count; i++)
        blob_unref(parts.items[i]);
    vec_done(&parts);
}

static void propose(struct world *w, uint32_t node, struct fs_app_effect *e)
{
    uint32_t at = 0;
    for (size_t i = 0; e->inline_bytes && i < e->blocks_count; i++) {
        store(w, e->blocks[i].name, e->inline_bytes->data + at, e->blocks[i].size);
        at += e->blocks[i].size;
    }
    if (node != w->leader) {
        app_step(w, node, (struct fs_app_event){.kind = FS_APP_DROPPED, .ticket = e->ticket});
        return;
    }
    vec_push(&w->pending, (struct world_entry){++w->last_index, blob_ref(e->payload)});
    app_step(w, node,
             (struct fs_app_event){
                 .kind = FS_APP_APPENDED, .ticket = e->ticket, .index = w->last_index});
}

static void app_step(struct world *w, uint32_t node, struct fs_app_event ev)
{
    struct fs_app_out out = {0};
    ev.now = w->now;
    ev.wall_ns = w->wall_ns;
    fs_app_step(w->apps[node], &ev, &out);
    for (size_t i = 0; i < out.count; i++) {
        struct fs_app_effect *e = &out.effects[i];
        switch (e->kind) {
        case FS_APP_REPLY:
            answer(w, node, e->client, e->reply, NULL);
            break;
        case FS_APP_PROPOSE:
            propose(w, node, e);
            break;
        case FS_APP_READ_INDEX:
            app_step(w, node,
                     (struct fs_app_event){.kind = FS_APP_READ_READY,
                                           .ticket = e->ticket,
                                           .index = w->no_commit ? w->applied : w->last_index});
            break;
        case FS_APP_READ_BLOCKS:
            if (!w->no_reads)
                read_blocks(w, node, e);
            break;
        }
    }
    fs_app_out_clear(&out);
    free(out.effects);
}

static void apply_one(struct world *w)
{
    struct world_entry e = w->pending.items[0];
    vec_remove(&w->pending, 0);
    Fs__Op *op = fs__op__unpack(NULL, e.payload->size, e.payload->data);
    struct fs_result result;
    fs_result_init(&result);
    fs_apply(w->state, w->txn, e.index, op, &result);
    ck_assert_int_eq(kv_txn_commit(w->txn), 0);
    if (op->body_case == FS__OP__BODY_COMMIT)
        w->commits_seen++;
    w->applied = e.index;
    for (uint32_t n = 1; n <= WORLD_NODES; n++) {
        app_step(w, n,
                 (struct fs_app_event){
                     .kind = FS_APP_APPLIED, .index = e.index, .op = op, .result = &result});
        app_step(w, n, (struct fs_app_event){.kind = FS_APP_ADVANCED, .index = e.index});
    }
    fs_result_done(&result);
    fs__op__free_unpacked(op, NULL);
    blob_unref(e.payload);
}

/* ---- mounts ---------------------------------------------------------------------------------- */

static uint64_t hash_of_entries(const struct client_result *r)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < r->entries_count; i++) {
        const struct client_dirent *e = &r->entries[i];
        const uint64_t numbers[] = {e->ino, e->cookie, e->type};
        hash = hash64_seed(e->name, strlen(e->name), hash);
        hash = hash64_seed(numbers, sizeof numbers, hash);
    }
    return hash;
}

static bool any_name_kept(const struct client_result *r)
{
    bool kept = false;
    for (size_t i = 0; i < r->entries_count; i++)
        kept |= r->entries[i].entry_valid_us != 0;
    return kept;
}

static struct blob *flatten(const struct client_result *r)
{
    size_t size = 0;
    if (r->data)
        return blob_ref(r->data);
    for (size_t i = 0; i < r->slices_count; i++)
        size += r->slices[i].size;
    struct blob *all = blob_new(size);
    size = 0;
    for (size_t i = 0; i < r->slices_count; i++) {
        const struct client_slice *s = &r->slices[i];
        if (s->blob)
            memcpy(all->data + size, s->blob->data + s->offset, s->size);
        else
            memset(all->data + size, 0, s->size);
        size += s->size;
    }
    return all;
}

static void carry_out(struct world *w, int m, const struct client_effect *e)
{
    struct world_mount *mount = &w->mounts[m];
    switch (e->kind) {
    case CLIENT_SEND: {
        mount->sends++;
        if (e->request->body_case == FS__REQUEST__BODY_RECALL_ACK)
            mount->acked_recall = e->node;
        if (e->node == 0 || e->node > WORLD_NODES || !w->link[m][e->node])
            break;
        size_t size = fs__request__get_packed_size(e->request);
        uint8_t *packed = xmalloc(size);
        (void)fs__request__pack(e->request, packed);
        struct message *x = post(w, m, e->node, true);
        x->request = fs__request__unpack(NULL, size, packed);
        x->bulk = join(e->blobs, e->blobs_count);
        free(packed);
        break;
    }
    case CLIENT_PUT: {
        mount->puts++;
        if (!w->link[m][e->node] || mount->no_puts)
            break;
        size_t size = fs__block_put__get_packed_size(e->put);
        uint8_t *packed = xmalloc(size);
        (void)fs__block_put__pack(e->put, packed);
        struct message *x = post(w, m, e->node, true);
        x->put = fs__block_put__unpack(NULL, size, packed);
        x->bulk = join(e->blobs, e->blobs_count);
        free(packed);
        break;
    }
    case CLIENT_REPLY: {
        for (size_t i = 0; i < mount->answers.count; i++)
            if (mount->answers.items[i].op_id == e->op_id) /* ck_assert writes a file each time */
                ck_abort_msg("operation %llu is answered twice", (unsigned long long)e->op_id);
        const struct client_result *r = &e->result;
        vec_push(&mount->answers, (struct world_answer){.op_id = e->op_id,
                                                        .err = r->err,
                                                        .attr = r->attr,
                                                        .fh = r->fh,
                                                        .written = r->written,
                                                        .offset = r->offset,
                                                        .lock = r->lock,
                                                        .bytes = flatten(r),
                                                        .entries = r->entries_count,
                                                        .listing = hash_of_entries(r),
                                                        .names_kept = any_name_kept(r),
                                                        .entry_valid_us = r->entry_valid_us,
                                                        .attr_valid_us = r->attr_valid_us});
        break;
    }
    case CLIENT_NOTIFY_ATTR:
        mount->notified_attr++;
        break;
    case CLIENT_NOTIFY_DATA:
        mount->notified_data++;
        break;
    case CLIENT_NOTIFY_NAMES:
        mount->notified_names++;
        break;
    case CLIENT_NOTIFY_PRUNE:
        mount->pruned++;
        break;
    case CLIENT_LOG:
        mount->logs++;
        break;
    case CLIENT_STOPPED:
        mount->stopped = true;
        break;
    case CLIENT_TOKEN:
        break;
    }
}

static void client_feed(struct world *w, int m, struct client_event ev)
{
    struct client_out out = {0};
    ev.now = w->now;
    ev.wall_ns = w->wall_ns;
    client_step(w->mounts[m].client, &ev, &out);
    for (size_t i = 0; i < out.count; i++)
        carry_out(w, m, &out.effects[i]);
    w->mounts[m].wake_at = out.wake_at;
    client_out_clear(&out);
}

/* ---- the world ------------------------------------------------------------------------------- */

static void put(struct world *w, struct message *x)
{
    const Fs__Block *b = x->put->block;
    ck_assert(x->bulk && x->bulk->size == b->size);
    store(w, (struct block_name){b->session, b->n}, x->bulk->data, b->size);
    struct message *y = post(w, x->mount, x->node, false);
    y->put_reply = xmalloc(sizeof *y->put_reply);
    fs__block_put_reply__init(y->put_reply);
    y->put_reply->session = b->session;
    y->put_reply->n = b->n;
    y->put_reply->store_boot = x->node;
}

static void deliver(struct world *w, struct message *x)
{
    list_remove(&x->link);
    if (x->number == w->link[x->mount][x->node] && x->request) {
        struct fs_app_event ev = {
            .kind = FS_APP_REQUEST, .client = x->number, .request = x->request, .bulk = x->bulk};
        x->request = NULL;
        app_step(w, x->node, ev);
    } else if (x->number == w->link[x->mount][x->node] && x->put)
        put(w, x);
    else if (x->number == w->link[x->mount][x->node])
        client_feed(w, x->mount,
                    (struct client_event){.kind = x->reply ? CLIENT_EV_REPLY : CLIENT_EV_PUT_REPLY,
                                          .node = x->node,
                                          .reply = x->reply,
                                          .put_reply = x->put_reply,
                                          .bulk = x->bulk});
    message_free(x);
}

static struct message *next_message(struct world *w)
{
    list_each(it, &w->messages) {
        struct message *x = container_of(it, struct message, link);
        const struct world_mount *m = &w->mounts[x->mount];
        bool late = m->late && x->reply && x->reply->body_case == FS__REPLY__BODY_OP;
        if (x->to_node ? !m->silent : !m->held && !late && x->node != w->mute)
            return x;
    }
    return NULL;
}

bool world_step(struct world *w)
{
    struct message *x = next_message(w);
    if (x)
        deliver(w, x);
    return x != NULL;
}

void world_settle(struct world *w)
{
    for (unsigned turns = 0; turns < 100000; turns++) {
        if (world_step(w))
            continue;
        if (w->pending.count && !w->no_commit)
            apply_one(w);
        else
            return;
    }
    ck_abort_msg("it never settles");
}

static void tick(struct world *w)
{
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        app_step(w, n, (struct fs_app_event){.kind = FS_APP_TICK});
    for (int m = 0; m < WORLD_MOUNTS; m++)
        if (w->mounts[m].client)
            client_feed(w, m, (struct client_event){.kind = CLIENT_EV_TICK});
    world_settle(w);
}

void world_pass(struct world *w, time_us us)
{
    time_us until = w->now + us;
    world_settle(w);
    while (w->now < until) {
        time_us at = time_min(until, w->now + 100 * TIME_MS);
        for (int m = 0; m < WORLD_MOUNTS; m++)
            if (w->mounts[m].wake_at)
                at = time_min(at, time_max(w->mounts[m].wake_at, w->now + 1));
        w->wall_ns += (int64_t)(at - w->now) * 1000;
        w->now = at;
        tick(w);
    }
}

void world_link_down(struct world *w, int m, uint32_t node)
{
    uint64_t number = w->link[m][node];
    w->link[m][node] = 0;
    app_step(w, node, (struct fs_app_event){.kind = FS_APP_CLIENT_DOWN, .client = number});
    client_feed(w, m, (struct client_event){.kind = CLIENT_EV_LINK_DOWN, .node = node});
}

void world_link_up(struct world *w, int m, uint32_t node, uint64_t store_boot)
{
    w->link[m][node] = ++w->next_link;
    app_step(w, node, (struct fs_app_event){.kind = FS_APP_CLIENT_UP, .client = w->link[m][node]});
    client_feed(
        w, m,
        (struct client_event){.kind = CLIENT_EV_LINK_UP, .node = node, .store_boot = store_boot});
}

void world_new_leader(struct world *w, uint32_t node, bool keep)
{
    w->leader = node;
    w->term++;
    while (!keep && w->pending.count) {
        struct world_entry e = vec_pop(&w->pending);
        blob_unref(e.payload);
        w->last_index--;
    }
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        if (n != node)
            app_step(w, n,
                     (struct fs_app_event){.kind = FS_APP_ROLE, .leader = node, .term = w->term});
    app_step(w, node,
             (struct fs_app_event){
                 .kind = FS_APP_ROLE, .leading = true, .leader = node, .term = w->term});
}

void world_campaigns(struct world *w, uint32_t node, uint64_t term)
{
    app_step(w, node, (struct fs_app_event){.kind = FS_APP_ROLE, .term = term});
}

void world_stop(struct world *w, int m)
{
    client_feed(w, m, (struct client_event){.kind = CLIENT_EV_STOP});
}

void world_cancel(struct world *w, int m, uint64_t id)
{
    client_feed(w, m, (struct client_event){.kind = CLIENT_EV_CANCEL, .op_id = id});
}

void world_append(struct world *w, const Fs__Op *op)
{
    struct blob *payload = blob_new(fs__op__get_packed_size(op));
    (void)fs__op__pack(op, payload->data);
    vec_push(&w->pending, (struct world_entry){++w->last_index, payload});
}

void world_end_session(struct world *w, uint64_t session)
{
    Fs__Op op = FS__OP__INIT;
    Fs__EndSession end = FS__END_SESSION__INIT;
    end.session = session;
    op.body_case = FS__OP__BODY_END_SESSION;
    op.end_session = &end;
    world_append(w, &op);
}

void world_set_room(struct world *w, uint64_t bytes)
{
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        app_step(w, n,
                 (struct fs_app_event){.kind = FS_APP_SPACE,
                                       .free_bytes = FREE_BYTES,
                                       .room_bytes = bytes,
                                       .total_bytes = FREE_BYTES,
                                       .targets = 6});
}

void world_open(struct world *w)
{
    *w = (struct world){.now = 100 * TIME_S, .wall_ns = 1000000000, .leader = 1};
    w->kv = kv_mem_new();
    w->txn = kv_txn_new(w->kv);
    w->state = fs_state_new(w->kv, 0);
    fs_state_format(w->state, w->txn);
    ck_assert_int_eq(kv_txn_commit(w->txn), 0);
    list_init(&w->messages);
    for (uint32_t n = 1; n <= WORLD_NODES; n++) {
        struct fs_app_config config = {.self = n,
                                       .state = w->state,
                                       .lease_us = 4 * TIME_S,
                                       .session_timeout_us = 60 * TIME_S};
        w->apps[n] = fs_app_new(&config);
    }
    world_set_room(w, FREE_BYTES);
    world_new_leader(w, 1, true);
}

void world_close(struct world *w)
{
    for (int m = 0; m < WORLD_MOUNTS; m++) {
        client_free(w->mounts[m].client);
        for (size_t i = 0; i < w->mounts[m].answers.count; i++)
            blob_unref(w->mounts[m].answers.items[i].bytes);
        vec_done(&w->mounts[m].answers);
    }
    while (!list_empty(&w->messages))
        message_free(container_of(w->messages.next, struct message, link));
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        fs_app_free(w->apps[n]);
    for (size_t i = 0; i < w->pending.count; i++)
        blob_unref(w->pending.items[i].payload);
    vec_done(&w->pending);
    size_t cursor = 0;
    void *value;
    while (map_next(&w->blocks, &cursor, NULL, &value))
        blob_unref(value);
    map_done(&w->blocks);
    fs_state_free(w->state);
    kv_txn_free(w->txn);
    kv_close(w->kv);
}

void world_add_mount(struct world *w, int m, enum client_consistency consistency)
{
    struct client_config config = {.copies = 6,
                                   .read_order = {1, 2},
                                   .read_order_count = 2,
                                   .consistency = consistency,
                                   .local_names = w->local_names,
                                   .name_cache = true,
                                   .deadline_us = 30 * TIME_S,
                                   .lease_us = 4 * TIME_S,
                                   .buffer_bytes = 8 << 20,
                                   .kept_bytes = w->kept_bytes,
                                   .inline_max = 64 << 10,
                                   .uuid = {(uint8_t)(m + 1)},
                                   .name = "test:mount"};
    w->mounts[m].client = client_new(&config);
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        world_link_up(w, m, n, n);
    world_settle(w);
}

uint64_t world_start(struct world *w, int m, struct client_op op)
{
    op.id = ++w->mounts[m].next_id;
    client_feed(w, m, (struct client_event){.kind = CLIENT_EV_OP, .op = &op});
    blob_unref(op.data);
    return op.id;
}

const struct world_answer *world_find(struct world *w, int m, uint64_t id)
{
    for (size_t i = 0; i < w->mounts[m].answers.count; i++)
        if (w->mounts[m].answers.items[i].op_id == id)
            return &w->mounts[m].answers.items[i];
    return NULL;
}

static void print(void *ctx, const char *text)
{
    (void)fprintf(stderr, "# %s: %s\n", (const char *)ctx, text);
}

/* What everybody waits for, into the test's log. */
static void explain(struct world *w)
{
    for (int m = 0; m < WORLD_MOUNTS; m++)
        if (w->mounts[m].client)
            client_explain(w->mounts[m].client, w->now, 0, print, m ? "mount 1" : "mount 0");
    for (uint32_t n = 1; n <= WORLD_NODES; n++)
        fs_app_explain(w->apps[n], w->now, print, n == 1 ? "node 1" : "node 2");
}

const struct world_answer *world_do(struct world *w, int m, struct client_op op)
{
    uint64_t id = world_start(w, m, op);
    world_settle(w);
    for (int i = 0; i < 600 && !world_find(w, m, id); i++) {
        world_pass(w, 100 * TIME_MS);
        if (i == 250)
            explain(w);
    }
    const struct world_answer *a = world_find(w, m, id);
    ck_assert_msg(a != NULL, "operation of kind %d was never answered", (int)op.kind);
    return a;
}
