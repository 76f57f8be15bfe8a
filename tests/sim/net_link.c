/* Links: what is sent, arrives and is answered over a connection, and how it ends; as
 * repl/io/link.c does it over sockets. */
#include "tests/sim/net_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "repl/io/log.h"

enum {
    SOCKET_BYTES = 1 << 20, /* what the system takes before a backlog is seen */
    WIRE_BYTES_PER_US = 100
};

/* ---- closing --------------------------------------------------------------------------------- */
/* The end goes; whether and when the other side hears of it is the caller's business. */
void net_detach(struct link *l)
{
    l->state = LINK_CLOSED;
    list_remove(&l->item);
    net_drop_parcels(&l->connection->streams[1 - l->side], 0);
    if (l->dialer) {
        l->dialer->link = NULL;
        net_retry_later(l->dialer);
        l->dialer = NULL;
    }
}

static void close_link(struct link *l, const char *reason, bool keep)
{
    if (l->state == LINK_CLOSED)
        return;
    bool was_up = l->state == LINK_UP;
    struct link_hub *hub = l->hub;
    struct connection *c = l->connection;
    net_detach(l);
    net_end_stream(c, l->side, "closed by the other side", keep);
    if (!was_up && !hub->closing)
        log_warn("TALLY-2002", "link refused peer=\"%s\" reason=\"%s\"", l->peer.name, reason);
    c->refs++; /* for the callback */
    if (was_up && !hub->closing && hub->callbacks.on_down)
        hub->callbacks.on_down(hub->callbacks.ctx, l, reason);
    net_release(c);
    net_release(c);
}

void link_close(struct link *l, const char *reason)
{
    close_link(l, reason, sim_chance(RND_NET, 500000));
}

void net_close_within(void *ctx, uint64_t arg)
{
    const struct closing *closing = ctx;
    (void)arg;
    close_link(closing->link, closing->reason, closing->keep);
}

/* ---- sending --------------------------------------------------------------------------------- */

static bool is_bulk(uint8_t type, size_t bulk_size)
{
    switch (type) {
    case FRAME_BLOCK_PUT:
    case FRAME_BLOCK_DATA:
    case FRAME_SNAPSHOT_CHUNK:
        return true;
    case FRAME_CLIENT_REPLY:
        return bulk_size > 0;
    default:
        return false;
    }
}

static struct parcel *new_parcel(uint8_t type, const void *control, size_t control_size,
                                 struct blob *const *bulks, size_t bulks_count)
{
    struct parcel *f = xmalloc(sizeof *f + bulks_count * sizeof *bulks + control_size);
    *f = (struct parcel){.type = type, .control_size = control_size};
    f->control = (uint8_t *)&f->bulks[bulks_count];
    if (control_size)
        memcpy(f->control, control, control_size);
    for (size_t i = 0; i < bulks_count; i++) {
        if (!bulks[i] || !bulks[i]->size)
            continue;
        f->bulk_size += bulks[i]->size;
        f->bulks[f->bulks_count++] = blob_ref(bulks[i]);
    }
    return f;
}

/* When it arrives: frames of a class never overtake each other. */
static void set_arrival(struct stream *s, const struct wire *w, struct parcel *f, bool bulk)
{
    time_us at = sim_now() + w->latency + sim_exp(RND_NET, w->latency / 4);
    if (w->extra)
        at += sim_below(RND_NET, w->extra);
    if (bulk) {
        s->wire_free = time_max(s->wire_free, sim_now()) + net_parcel_bytes(f) / WIRE_BYTES_PER_US;
        at += s->wire_free - sim_now();
        if (w->reorder && sim_chance(RND_NET, w->reorder)) {
            sim_count_fault(FAULT_REORDER);
            at += sim_below(RND_NET, 200 * TIME_MS);
        }
    }
    time_us *last = bulk ? &s->last_bulk : &s->last_urgent;
    f->at = *last = time_max(at, *last);
}

void link_send(struct link *l, uint8_t type, const void *control, size_t control_size,
               struct blob *const *bulks, size_t bulks_count)
{
    assert(control_size <= FRAME_CONTROL_MAX);
    if (l->state == LINK_CLOSED)
        return;
    struct connection *c = l->connection;
    struct stream *s = &c->streams[l->side];
    struct parcel *f = new_parcel(type, control, control_size, bulks, bulks_count);
    assert(f->bulk_size <= FRAME_BULK_MAX);
    bool bulk = is_bulk(type, f->bulk_size);
    set_arrival(s, net_wire_of(c, l->side), f, bulk);
    s->bytes += net_parcel_bytes(f);
    net_push(bulk ? &s->bulk : &s->urgent, f);
    if (c->lost_machine != c->ids[1 - l->side])
        net_plan_at(c, l->side, f->at);
}

size_t link_backlog(const struct link *l)
{
    size_t bytes = l->connection->streams[l->side].bytes;
    return bytes > SOCKET_BYTES ? bytes - SOCKET_BYTES : 0;
}

/* ---- receiving ------------------------------------------------------------------------------- */

void net_send_hello(struct link *l)
{
    struct bytes_writer w;
    bytes_writer_init(&w);
    hello_encode(&l->hub->self, &w);
    link_send(l, FRAME_HELLO, w.data, w.size, NULL, 0);
    bytes_writer_done(&w);
}

static const char *refuse_peer(const struct link *l, const struct hello *peer)
{
    if (memcmp(peer->cluster, l->hub->self.cluster, sizeof peer->cluster) != 0)
        return "belongs to another cluster";
    if (l->dialer && strcmp(peer->name, l->dialer->name) != 0)
        return "another node listens there";
    return NULL;
}

static void close_older(struct link *l)
{
    struct link_hub *hub = l->hub;
    list_each(it, &hub->links) {
        struct link *old = list_entry(it, struct link, item);
        if (old != l && old->state == LINK_UP && old->peer.kind == HELLO_NODE &&
            l->peer.kind == HELLO_NODE && old->peer.node_id == l->peer.node_id) {
            link_close(old, "replaced by a newer connection");
            return;
        }
    }
}

static void on_hello(struct link *l, const struct frame *f)
{
    if (f->type != FRAME_HELLO || hello_decode(f->control, f->control_size, &l->peer) < 0) {
        link_close(l, "no HELLO");
        return;
    }
    const char *reason = refuse_peer(l, &l->peer);
    if (reason) {
        link_close(l, reason);
        return;
    }
    if (!l->dialer)
        net_send_hello(l);
    else
        l->dialer->wait = RETRY_MIN;
    close_older(l);
    l->state = LINK_UP;
    l->hub->callbacks.on_up(l->hub->callbacks.ctx, l, &l->peer);
}

/* Bytes through the parser, as from a socket. */
static bool feed(struct stream *s, const void *bytes, size_t size, struct frame *ret)
{
    for (size_t at = 0; at < size;) {
        size_t room_size;
        const char *reason;
        void *room = frame_parser_room(&s->parser, &room_size);
        room_size = room_size < size - at ? room_size : size - at;
        memcpy(room, (const uint8_t *)bytes + at, room_size);
        at += room_size;
        int r = frame_parser_fed(&s->parser, room_size, ret, &reason);
        if (r < 0)
            sim_complain("frames", "the decoder refuses what the encoder made: %s", reason);
        if (r != 0)
            return true;
    }
    return false;
}

static bool decode(struct stream *s, const struct parcel *p, struct frame *ret)
{
    uint8_t header[FRAME_HEADER_SIZE];
    frame_header(header, p->type, ++s->sequence, p->control, p->control_size, p->bulks,
                 p->bulks_count);
    if (feed(s, header, sizeof header, ret) || feed(s, p->control, p->control_size, ret))
        return true;
    for (size_t i = 0; i < p->bulks_count; i++)
        if (feed(s, p->bulks[i]->data, p->bulks[i]->size, ret))
            return true;
    return false;
}

struct delivery {
    struct link *to;
    struct stream *stream;
    struct parcel *parcel;
};

static void deliver_within(void *ctx, uint64_t arg)
{
    const struct delivery *d = ctx;
    struct link *l = d->to;
    struct frame f = {0};
    (void)arg;
    bool whole = decode(d->stream, d->parcel, &f);
    assert(whole);
    if (sim_failed())
        return;
    if (l->state == LINK_HELLO)
        on_hello(l, &f);
    else
        l->hub->callbacks.on_frame(l->hub->callbacks.ctx, l, f.type, f.control, f.control_size,
                                   f.bulk);
    frame_parser_next(&d->stream->parser);
}

static void deliver(struct connection *c, unsigned from, struct parcel *f)
{
    struct delivery d = {&c->ends[1 - from], &c->streams[from], f};
    sim_mix((uint64_t)c->ids[from] << 32 | c->ids[1 - from] << 8 | f->type,
            f->control_size << 32 | f->bulk_size);
    (void)process_enter(d.to->hub->process, deliver_within, &d, 0);
    net_free_parcel(f);
}

/* ---- what the wire does ---------------------------------------------------------------------- */

/* Both sides hear of it by themselves. */
void net_break(struct connection *c, const char *reason)
{
    for (unsigned i = 0; i < 2; i++) {
        c->streams[i].eof = NULL;
        net_end_stream(c, i, reason, false);
    }
}

/* The sender loses the link and makes another, on which it asks again, while the old one still
 * brings what it was given. */
static bool duplicate(struct connection *c, unsigned from)
{
    struct link *l = &c->ends[from];
    struct process *p = process_of(c->ids[from]);
    struct stream *s = &c->streams[from];
    if (l->state != LINK_UP || !p->up || p->frozen)
        return false;
    time_us later = sim_below(RND_NET, 1 * TIME_S);
    for (struct parcel *f = s->urgent.head; f; f = f->next)
        f->at += later;
    for (struct parcel *f = s->bulk.head; f; f = f->next)
        f->at += later;
    s->last_urgent += later;
    s->last_bulk += later;
    sim_count_fault(FAULT_DUPLICATE);
    struct closing closing = {l, "connection reset", true};
    (void)process_enter(p, net_close_within, &closing, 0);
    return true;
}

/* False: it does not arrive, now or ever. */
static bool survives(struct connection *c, unsigned from)
{
    const struct wire *w = net_wire_of(c, from);
    if (w->duplicate && sim_chance(RND_NET, w->duplicate) && duplicate(c, from))
        return false;
    if (w->loss && sim_chance(RND_NET, w->loss)) {
        sim_count_fault(FAULT_LOSS);
        net_break(c, "connection reset");
        return false;
    }
    return true;
}

static void close_by_peer(struct connection *c, unsigned from)
{
    struct link *to = &c->ends[1 - from];
    struct closing closing = {to, c->streams[from].eof, false};
    (void)process_enter(to->hub->process, net_close_within, &closing, 0);
}

/* All that is due in this direction. */
static void pump(struct connection *c, unsigned from)
{
    struct stream *s = &c->streams[from];
    const struct wire *w = net_wire_of(c, from);
    for (;;) {
        const struct link *to = &c->ends[1 - from];
        if (to->state == LINK_CLOSED) {
            net_drop_parcels(s, 0);
            return;
        }
        if (to->hub->process->frozen || w->cut || w->clogged || sim_failed())
            return;
        struct queue *q = net_next_queue(s);
        if (!q && s->eof && s->eof_at <= sim_now()) {
            close_by_peer(c, from);
            return;
        }
        if (!q || q->head->at > sim_now() || !survives(c, from)) {
            net_plan_next(c, from);
            return;
        }
        deliver(c, from, net_pop(s, q));
    }
}

void net_on_arrival(void *ctx, uint64_t arg)
{
    struct connection *c = ctx;
    unsigned from = (unsigned)(arg & 1);
    if (c->streams[from].planned == arg >> 1) {
        c->streams[from].planned = 0;
        pump(c, from);
    }
    net_release(c);
}
