/* Mounts' requests: decode, hand to fs/app, carry out what it wants; data reads. */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/io/log.h"
#include "repl/wire/frame.h"

enum {
    REPLY_BACKLOG_MAX = 64 << 20, /* a mount that reads nothing is let go */
    READ_NOW_MAX = 128 << 10,     /* more would hold up the loop, also without a disk */
};

/* ---- links ----------------------------------------------------------------------------------- */

void node_client_up(struct node *n, struct link *link, const char *name)
{
    struct node_client *client = xcalloc(1, sizeof *client);
    client->number = ++n->next_client;
    client->link = link;
    (void)snprintf(client->name, sizeof client->name, "%s", name);
    (void)map_put(&n->clients, client->number, client);
    link_set_data(link, client);
    struct node_app_event ev = {.event = {.kind = FS_APP_CLIENT_UP, .client = client->number}};
    node_queue_app(n, &ev);
}

void node_client_down(struct node *n, struct link *link)
{
    struct node_client *client = link_data(link);
    if (!client)
        return;
    link_set_data(link, NULL);
    (void)map_del(&n->clients, client->number);
    struct node_app_event ev = {.event = {.kind = FS_APP_CLIENT_DOWN, .client = client->number}};
    node_queue_app(n, &ev);
    free(client);
}

void node_client_frame(struct node *n, struct node_client *client, const uint8_t *control,
                       size_t size, struct blob *bulk)
{
    Fs__Request *request = fs__request__unpack(NULL, size, control);
    if (!request) {
        link_close(client->link, "request does not decode");
        return;
    }
    struct node_app_event ev = {
        .event = {.kind = FS_APP_REQUEST, .client = client->number, .request = request},
        .bulk = blob_ref(bulk)};
    node_queue_app(n, &ev);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void send_reply(struct node *n, uint64_t number, const Fs__Reply *reply,
                       struct blob *const *bulks, size_t bulks_count)
{
    struct node_client *client = map_get(&n->clients, number);
    if (!client)
        return; /* it will ask again on its next link */
    size_t size = fs__reply__get_packed_size(reply);
    uint8_t stack[4096], *packed = size <= sizeof stack ? stack : xmalloc(size);
    (void)fs__reply__pack(reply, packed);
    if (link_backlog(client->link) > REPLY_BACKLOG_MAX)
        link_close(client->link, "does not read its answers");
    else
        link_send(client->link, FRAME_CLIENT_REPLY, packed, size, bulks, bulks_count);
    if (packed != stack)
        free(packed);
}

/* ---- data reads ------------------------------------------------------------------------------ */

/* One READ on its way: the pieces' bytes come from the block store one by one. */
struct data_read {
    struct node *node;
    uint64_t client;
    Fs__Reply *reply;
    size_t pieces_left;
    int err;
    struct blob **bytes; /* per piece */
};

struct piece_read {
    struct data_read *read;
    size_t index;
};

static void finish_data_read(struct data_read *r)
{
    Fs__ReadReply *body = r->reply->read;
    if (r->err) { /* the mount asks the next copy; this one mends itself meanwhile */
        assert(r->reply->why == protobuf_c_empty_string); /* static: not to be freed */
        r->reply->err = EAGAIN;
        r->reply->why = xstrdup("bytes are missing on this copy");
    }
    size_t count = 0;
    for (size_t i = 0; i < body->n_pieces; i++)
        if (r->bytes[i])
            r->bytes[count++] = r->bytes[i];
    send_reply(r->node, r->client, r->reply, r->bytes, r->err ? 0 : count);
    for (size_t i = 0; i < count; i++)
        blob_unref(r->bytes[i]);
    fs__reply__free_unpacked(r->reply, NULL);
    free(r->bytes);
    free(r);
}

static void piece_done(struct data_read *r)
{
    if (--r->pieces_left == 0)
        finish_data_read(r);
}

static void on_piece(void *ctx, int status, struct blob *bytes)
{
    struct piece_read *p = ctx;
    struct data_read *r = p->read;
    if (status < 0) {
        r->err = status;
        node_blocks_repair(r->node);
    } else {
        r->bytes[p->index] = blob_ref(bytes);
        r->reply->read->pieces[p->index]->bytes = bytes->size;
    }
    free(p);
    piece_done(r);
}

/* The hashes of the runs that are sent, from the map and not from the store: what the file must
 * hold. */
static void add_runs(struct node *n, Fs__Piece *piece, uint32_t first_run, uint32_t runs)
{
    uint64_t hashes[BLOCK_RUNS_MAX];
    struct block_name name = {piece->block->session, piece->block->n};
    int count = fs_block_runs(n->state, name, hashes);
    if (count < 0 || first_run + runs > (uint32_t)count)
        return; /* dead since the map was read: the mount redoes the read (RULES B8) */
    piece->block->runs = xmemdup(hashes + first_run, runs * sizeof *hashes);
    piece->block->n_runs = runs;
}

_Static_assert((int)FS_APP_READ_BYTES_MAX <= (int)FRAME_BULK_MAX, "an answer fits into a frame");

/* Reads whole runs around the wanted pages, so that the mount can verify them (RULES B8). */
static void start_data_read(struct node *n, uint64_t client, Fs__Reply *reply)
{
    assert(reply->body_case == FS__REPLY__BODY_READ);
    Fs__ReadReply *body = reply->read;
    struct data_read *r = xcalloc(1, sizeof *r);
    r->node = n;
    r->client = client;
    r->reply = reply;
    r->pieces_left = body->n_pieces + 1; /* one for this loop: answers may come at once */
    r->bytes = xcalloc(body->n_pieces + 1, sizeof *r->bytes);
    for (size_t i = 0; i < body->n_pieces; i++) {
        Fs__Piece *piece = body->pieces[i];
        const uint32_t run_pages = BLOCK_RUN_SIZE / BLOCK_PAGE_SIZE;
        uint32_t first_run = piece->block_page / run_pages;
        uint32_t end =
            (piece->block_page + piece->pages + run_pages - 1) / run_pages * BLOCK_RUN_SIZE;
        uint32_t from = first_run * BLOCK_RUN_SIZE;
        if (end > piece->block->size)
            end = piece->block->size;
        piece->run_first = first_run;
        if (from >= end) { /* only the zeros behind the stored bytes: nothing to read */
            piece_done(r);
            continue;
        }
        struct block_name name = {piece->block->session, piece->block->n};
        add_runs(n, piece, first_run, block_runs(end - from));
        r->bytes[i] =
            end - from <= READ_NOW_MAX ? store_read_now(n->store, name, from, end - from) : NULL;
        if (r->bytes[i]) {
            piece->bytes = r->bytes[i]->size;
            piece_done(r);
            continue;
        }
        struct piece_read *p = xmalloc(sizeof *p);
        *p = (struct piece_read){r, i};
        store_read(n->store, name, from, end - from, on_piece, p);
    }
    piece_done(r);
}

/* ---- what fs/app wants ----------------------------------------------------------------------- */

static void queue_proposal(struct node *n, struct fs_app_effect *e)
{
    struct node_replica_event ev = {.event = {.kind = REPLICA_PROPOSE},
                                    .payload = e->payload,
                                    .inline_bytes = e->inline_bytes,
                                    .blocks = e->blocks};
    ev.event.propose.ticket = e->ticket;
    ev.event.propose.kind = ENTRY_OP;
    ev.event.propose.payload = e->payload;
    ev.event.propose.blocks = e->blocks;
    ev.event.propose.blocks_count = (uint32_t)e->blocks_count;
    ev.event.propose.inline_bytes = e->inline_bytes;
    ev.event.propose.holders = e->holders;
    e->payload = e->inline_bytes = NULL; /* the queue has them now */
    e->blocks = NULL;
    node_queue_replica(n, &ev);
}

void node_carry_out_app(struct node *n, struct fs_app_out *out)
{
    for (size_t i = 0; i < out->count; i++) {
        struct fs_app_effect *e = &out->effects[i];
        switch (e->kind) {
        case FS_APP_REPLY:
            send_reply(n, e->client, e->reply, NULL, 0);
            break;
        case FS_APP_PROPOSE:
            queue_proposal(n, e);
            break;
        case FS_APP_READ_INDEX: {
            struct node_replica_event ev = {.event = {.kind = REPLICA_READ}};
            ev.event.read.id = e->ticket;
            ev.event.read.aside = e->aside;
            node_queue_replica(n, &ev);
            break;
        }
        case FS_APP_READ_BLOCKS:
            start_data_read(n, e->client, e->reply);
            e->reply = NULL;
            break;
        }
    }
    n->app_wake = out->wake_at;
    fs_app_out_clear(out);
}
