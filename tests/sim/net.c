/* Links between processes, as repl/io/link.c makes them of sockets: HELLO first, on_up and on_down
 * once each, order within the urgent frames and within the bulk frames, connections made again with
 * a growing back-off. What the network does to them is in the table of wires. */
#include "tests/sim/net.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/list.h"
#include "repl/io/link.h"
#include "repl/io/log.h"
#include "tests/sim/sim_internal.h"

enum {
    PROCESSES = SIM_NODES_MAX + SIM_MOUNTS_MAX + 1,
    SOCKET_BYTES = 1 << 20, /* what the system takes before a backlog is seen */
    WIRE_BYTES_PER_US = 100,
};
#define RETRY_MIN     (10 * TIME_MS)
#define RETRY_MAX     (500 * TIME_MS)
#define HELLO_TIMEOUT (5 * TIME_S)
#define RETRANSMIT    (1 * TIME_S) /* what TCP waits before it tries anew */
#define IN_THE_AIR    (5 * TIME_MS)

/* One frame on its way; control bytes and bulk references follow in the same memory. */
struct parcel {
    struct parcel *next;
    time_us at;
    uint8_t type;
    size_t control_size, bulk_size, bulks_count;
    uint8_t *control;
    struct blob *bulks[];
};

struct queue {
    struct parcel *head, *last;
};

/* One direction of a connection. */
struct stream {
    struct queue urgent, bulk;
    size_t bytes;
    uint64_t sequence;
    struct frame_parser parser;
    time_us last_urgent, last_bulk, wire_free, planned; /* planned 0: no event */
    const char *eof;                                    /* the sender has closed, and why */
    time_us eof_at;
};

enum link_state { LINK_HELLO, LINK_UP, LINK_CLOSED };

struct link {
    struct list item; /* in hub->links */
    struct link_hub *hub;
    struct dialer *dialer;
    struct connection *connection;
    unsigned side;
    enum link_state state;
    struct hello peer;
    void *data;
};

struct connection {
    struct list item;
    uint32_t ids[2]; /* of the processes */
    struct link ends[2];
    struct stream streams[2]; /* [i]: from ends[i] to the other */
    uint32_t refs;            /* open ends, planned events, deliveries under way */
    uint32_t lost_machine;    /* its end there ended without a word; 0: none */
};

struct dialer {
    struct list item;
    struct link_hub *hub;
    char name[HELLO_NAME_MAX + 1];
    uint32_t to;
    struct link *link; /* NULL: waiting to try again */
    time_us wait;
};

struct link_hub {
    struct list item; /* in net.hubs_all */
    struct process *process;
    struct hello self;
    struct link_callbacks callbacks;
    struct list links, dialers;
    bool closing;
};

/* From one process to another. */
struct wire {
    time_us latency, extra;
    uint32_t loss, reorder, duplicate;
    bool cut, clogged;
};

static struct {
    struct wire wires[PROCESSES][PROCESSES];
    struct link_hub *hubs[PROCESSES];
    struct list hubs_all, connections;
} net;

static struct wire *wire_of(const struct connection *c, unsigned from)
{
    return &net.wires[c->ids[from]][c->ids[1 - from]];
}

/* ---- parcels --------------------------------------------------------------------------------- */

static void free_parcel(struct parcel *f)
{
    for (size_t i = 0; i < f->bulks_count; i++)
        blob_unref(f->bulks[i]);
    free(f);
}

static void push(struct queue *q, struct parcel *f)
{
    if (q->head)
        q->last->next = f;
    else
        q->head = f;
    q->last = f;
}

static size_t parcel_bytes(const struct parcel *f)
{
    return FRAME_HEADER_SIZE + f->control_size + f->bulk_size;
}

static struct parcel *pop(struct stream *s, struct queue *q)
{
    struct parcel *f = q->head;
    q->head = f->next;
    s->bytes -= parcel_bytes(f);
    return f;
}

/* What comes later than `from` is lost. */
static void drop_queue(struct stream *s, struct queue *q, time_us from)
{
    struct queue kept = {0};
    while (q->head) {
        struct parcel *f = q->head;
        q->head = f->next;
        f->next = NULL;
        if (f->at <= from) {
            push(&kept, f);
            continue;
        }
        s->bytes -= parcel_bytes(f);
        free_parcel(f);
    }
    *q = kept;
}

static void drop_parcels(struct stream *s, time_us from)
{
    drop_queue(s, &s->urgent, from);
    drop_queue(s, &s->bulk, from);
}

static void release(struct connection *c)
{
    assert(c->refs > 0);
    if (--c->refs > 0)
        return;
    for (unsigned i = 0; i < 2; i++) {
        drop_parcels(&c->streams[i], 0);
        frame_parser_done(&c->streams[i].parser);
    }
    list_remove(&c->item);
    free(c);
}

/* ---- when something arrives ------------------------------------------------------------------ */

static void on_arrival(void *ctx, uint64_t arg);

static void plan_at(struct connection *c, unsigned from, time_us at)
{
    struct stream *s = &c->streams[from];
    if (s->planned && s->planned <= at)
        return;
    at = time_max(at, sim_now());
    s->planned = at;
    c->refs++;
    sim_at(at, on_arrival, c, at << 1 | from);
}

static struct queue *next_queue(struct stream *s)
{
    const struct parcel *u = s->urgent.head, *b = s->bulk.head;
    if (u && (!b || u->at <= b->at))
        return &s->urgent;
    return b ? &s->bulk : NULL;
}

static void plan_next(struct connection *c, unsigned from)
{
    struct stream *s = &c->streams[from];
    struct queue *q = next_queue(s);
    if (q)
        plan_at(c, from, q->head->at);
    else if (s->eof)
        plan_at(c, from, s->eof_at);
}

/* The sender's end is closed: what is on its way arrives first, or is lost with it. */
static void end_stream(struct connection *c, unsigned from, const char *reason, bool keep)
{
    struct stream *s = &c->streams[from];
    if (s->eof)
        return;
    if (!keep)
        drop_parcels(s, 0);
    s->eof = reason;
    s->eof_at =
        time_max(time_max(s->last_urgent, s->last_bulk), sim_now() + wire_of(c, from)->latency);
    if (!keep)
        s->eof_at = sim_now() + wire_of(c, from)->latency;
    plan_next(c, from);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void dial(void *ctx, uint64_t arg);

static void retry_later(struct dialer *d)
{
    if (d->hub->closing)
        return;
    struct process *p = d->hub->process;
    time_us wait = d->wait / 2 + sim_below(RND_NET, d->wait / 2 + 1);
    process_at_clock(p, process_clock(p) + wait, dial, d, 0);
    d->wait = time_min(d->wait * 2, RETRY_MAX);
}

/* The end goes; whether and when the other side hears of it is the caller's business. */
static void detach(struct link *l)
{
    l->state = LINK_CLOSED;
    list_remove(&l->item);
    drop_parcels(&l->connection->streams[1 - l->side], 0);
    if (l->dialer) {
        l->dialer->link = NULL;
        retry_later(l->dialer);
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
    detach(l);
    end_stream(c, l->side, "closed by the other side", keep);
    if (!was_up && !hub->closing)
        log_warn("TALLY-2002", "link refused peer=\"%s\" reason=\"%s\"", l->peer.name, reason);
    c->refs++; /* for the callback */
    if (was_up && !hub->closing && hub->callbacks.on_down)
        hub->callbacks.on_down(hub->callbacks.ctx, l, reason);
    release(c);
    release(c);
}

void link_close(struct link *l, const char *reason)
{
    close_link(l, reason, sim_chance(RND_NET, 500000));
}

struct closing {
    struct link *link;
    const char *reason;
    bool keep;
};

static void close_within(void *ctx, uint64_t arg)
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
        s->wire_free = time_max(s->wire_free, sim_now()) + parcel_bytes(f) / WIRE_BYTES_PER_US;
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
    set_arrival(s, wire_of(c, l->side), f, bulk);
    s->bytes += parcel_bytes(f);
    push(bulk ? &s->bulk : &s->urgent, f);
    if (c->lost_machine != c->ids[1 - l->side])
        plan_at(c, l->side, f->at);
}

size_t link_backlog(const struct link *l)
{
    size_t bytes = l->connection->streams[l->side].bytes;
    return bytes > SOCKET_BYTES ? bytes - SOCKET_BYTES : 0;
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void send_hello(struct link *l)
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
        send_hello(l);
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
    free_parcel(f);
}

/* ---- what the wire does ---------------------------------------------------------------------- */

/* Both sides hear of it by themselves. */
static void reset(struct connection *c, const char *reason)
{
    for (unsigned i = 0; i < 2; i++) {
        c->streams[i].eof = NULL;
        end_stream(c, i, reason, false);
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
    (void)process_enter(p, close_within, &closing, 0);
    return true;
}

/* False: it does not arrive, now or ever. */
static bool survives(struct connection *c, unsigned from)
{
    const struct wire *w = wire_of(c, from);
    if (w->duplicate && sim_chance(RND_NET, w->duplicate) && duplicate(c, from))
        return false;
    if (w->loss && sim_chance(RND_NET, w->loss)) {
        sim_count_fault(FAULT_LOSS);
        reset(c, "connection reset");
        return false;
    }
    return true;
}

static void close_by_peer(struct connection *c, unsigned from)
{
    struct link *to = &c->ends[1 - from];
    struct closing closing = {to, c->streams[from].eof, false};
    (void)process_enter(to->hub->process, close_within, &closing, 0);
}

/* All that is due in this direction. */
static void pump(struct connection *c, unsigned from)
{
    struct stream *s = &c->streams[from];
    const struct wire *w = wire_of(c, from);
    for (;;) {
        const struct link *to = &c->ends[1 - from];
        if (to->state == LINK_CLOSED) {
            drop_parcels(s, 0);
            return;
        }
        if (to->hub->process->frozen || w->cut || w->clogged || sim_failed())
            return;
        struct queue *q = next_queue(s);
        if (!q && s->eof && s->eof_at <= sim_now()) {
            close_by_peer(c, from);
            return;
        }
        if (!q || q->head->at > sim_now() || !survives(c, from)) {
            plan_next(c, from);
            return;
        }
        deliver(c, from, pop(s, q));
    }
}

static void on_arrival(void *ctx, uint64_t arg)
{
    struct connection *c = ctx;
    unsigned from = (unsigned)(arg & 1);
    if (c->streams[from].planned == arg >> 1) {
        c->streams[from].planned = 0;
        pump(c, from);
    }
    release(c);
}

/* ---- making links ---------------------------------------------------------------------------- */

static void on_hello_late(void *ctx, uint64_t arg)
{
    struct connection *c = ctx;
    (void)arg;
    for (unsigned i = 0; i < 2; i++) {
        struct link *l = &c->ends[i];
        if (l->state != LINK_HELLO)
            continue;
        if (l->hub->process->frozen) {
            c->refs++;
            sim_at(sim_now() + HELLO_TIMEOUT, on_hello_late, c, 0);
            break;
        }
        struct closing closing = {l, "no HELLO in time", false};
        (void)process_enter(l->hub->process, close_within, &closing, 0);
    }
    release(c);
}

static void init_end(struct connection *c, unsigned side, struct link_hub *hub)
{
    struct link *l = &c->ends[side];
    l->hub = hub;
    l->connection = c;
    l->side = side;
    l->state = LINK_HELLO;
    c->ids[side] = hub->process->id;
    c->refs++;
    list_push_back(&hub->links, &l->item);
}

static void connect_to(struct dialer *d, struct link_hub *other)
{
    struct connection *c = xcalloc(1, sizeof *c);
    list_push_back(&net.connections, &c->item);
    init_end(c, 0, d->hub);
    init_end(c, 1, other);
    c->ends[0].dialer = d;
    d->link = &c->ends[0];
    (void)snprintf(c->ends[0].peer.name, sizeof c->ends[0].peer.name, "%s", d->name);
    c->refs++;
    sim_at(sim_now() + HELLO_TIMEOUT, on_hello_late, c, 0);
    send_hello(&c->ends[0]);
}

/* The answer to our SYN, or the lack of one. */
static void on_connect(void *ctx, uint64_t arg)
{
    struct dialer *d = ctx;
    uint32_t a = d->hub->process->id, b = d->to;
    struct wire *there = &net.wires[a][b], *back = &net.wires[b][a];
    struct process *p = process_of(b);
    (void)arg;
    if (there->cut || there->clogged || back->cut || back->clogged || process_powerless(p))
        process_at(d->hub->process, sim_now() + RETRANSMIT, on_connect, d, 0);
    else if (!p->up || !net.hubs[b])
        retry_later(d); /* refused */
    else
        connect_to(d, net.hubs[b]);
}

static void dial(void *ctx, uint64_t arg)
{
    struct dialer *d = ctx;
    uint32_t a = d->hub->process->id;
    (void)arg;
    time_us trip = net.wires[a][d->to].latency + net.wires[d->to][a].latency;
    process_at(d->hub->process, sim_now() + trip, on_connect, d, 0);
}

/* ---- the hub --------------------------------------------------------------------------------- */

struct link_hub *link_hub_new(uv_loop_t *loop, const struct hello *self,
                              const struct link_callbacks *callbacks)
{
    struct link_hub *hub = xcalloc(1, sizeof *hub);
    hub->process = (struct process *)(void *)loop;
    hub->self = *self;
    hub->callbacks = *callbacks;
    list_init(&hub->links);
    list_init(&hub->dialers);
    list_push_back(&net.hubs_all, &hub->item);
    if (hub->process->kind == PROCESS_MOUNT)
        net.hubs[hub->process->id] = hub;
    return hub;
}

int link_hub_listen(struct link_hub *hub, const char *address)
{
    (void)address; /* it is the process's */
    net.hubs[hub->process->id] = hub;
    return 0;
}

int link_hub_connect(struct link_hub *hub, const char *name, const char *address)
{
    struct dialer *d = xcalloc(1, sizeof *d);
    d->hub = hub;
    d->wait = RETRY_MIN;
    d->to = (uint32_t)strtoul(address + strlen("sim:"), NULL, 10);
    assert(process_of(d->to));
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    list_push_back(&hub->dialers, &d->item);
    dial(d, 0);
    return 0;
}

void link_hub_set_session(struct link_hub *hub, uint64_t session)
{
    hub->self.session = session;
}

void link_hub_set_cuts(struct link_hub *hub, const char *const *names, size_t count)
{
    (void)hub; /* people's cuts: here the nemesis makes them */
    (void)names;
    (void)count;
}

static void free_hub(struct link_hub *hub)
{
    struct list *it;
    while ((it = list_pop_front(&hub->dialers)))
        free(list_entry(it, struct dialer, item));
    list_remove(&hub->item);
    free(hub);
}

/* Its process ends in this moment, so nothing planned for the dialers comes any more. */
void link_hub_close(struct link_hub *hub)
{
    hub->closing = true;
    while (!list_empty(&hub->links))
        link_close(list_first(&hub->links, struct link, item), "ending");
    if (net.hubs[hub->process->id] == hub)
        net.hubs[hub->process->id] = NULL;
    free_hub(hub);
}

const struct hello *link_peer(const struct link *l)
{
    return &l->peer;
}

void link_set_data(struct link *l, void *data)
{
    l->data = data;
}

void *link_data(const struct link *l)
{
    return l->data;
}

int link_connect_blocking(const char *address, int timeout_ms)
{
    (void)address;
    (void)timeout_ms;
    return -ENOTSUP;
}

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Without its machine a link's end says nothing; what had left is still delivered. */
static void silence(struct link *l)
{
    struct connection *c = l->connection;
    detach(l);
    drop_parcels(&c->streams[l->side], sim_now() + IN_THE_AIR);
    c->lost_machine = c->ids[l->side];
    release(c);
}

void net_process_down(struct process *p, bool silent)
{
    struct link_hub *hub = net.hubs[p->id];
    net.hubs[p->id] = NULL;
    if (!hub)
        return;
    hub->closing = true;
    while (!list_empty(&hub->links)) {
        struct link *l = list_first(&hub->links, struct link, item);
        if (silent)
            silence(l);
        else
            link_close(l, "ending");
    }
}

void net_machine_up(struct process *p)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        if (c->lost_machine != p->id)
            continue;
        unsigned side = c->ids[0] == p->id ? 0 : 1;
        c->lost_machine = 0;
        end_stream(c, side, "connection reset", false);
        c->streams[side].eof_at += sim_below(RND_NET, RETRANSMIT);
    }
}

static void resume(struct connection *c, unsigned from, time_us within)
{
    struct stream *s = &c->streams[from];
    if (c->ends[1 - from].state != LINK_CLOSED && (next_queue(s) || s->eof))
        plan_at(c, from, sim_now() + (within ? sim_below(RND_NET, within) : 0));
}

void net_thawed(struct process *p)
{
    struct link_hub *hub = net.hubs[p->id];
    if (!hub)
        return;
    list_each(it, &hub->links) {
        struct link *l = list_entry(it, struct link, item);
        resume(l->connection, 1 - l->side, 0);
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* After a silence a sender tries again a while later, or has given up. */
static void mend(uint32_t a, uint32_t b, bool may_reset)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        for (unsigned from = 0; from < 2; from++) {
            if (c->ids[from] != a || c->ids[1 - from] != b)
                continue;
            if (may_reset && next_queue(&c->streams[from]) && sim_chance(RND_NET, 500000))
                reset(c, "connection timed out");
            else
                resume(c, from, RETRANSMIT);
        }
    }
}

void net_cut(uint32_t a, uint32_t b, bool cut)
{
    struct wire *w = &net.wires[a][b];
    if (w->cut && !cut) {
        w->cut = false;
        mend(a, b, true);
    }
    w->cut = cut;
}

void net_clog(uint32_t a, uint32_t b, bool clogged)
{
    struct wire *w = &net.wires[a][b];
    if (w->clogged && !clogged) {
        w->clogged = false;
        mend(a, b, false);
    }
    w->clogged = clogged;
}

void net_delay(uint32_t a, uint32_t b, time_us extra)
{
    net.wires[a][b].extra = extra;
}

void net_loss(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].loss = per_million;
}

void net_reorder(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].reorder = per_million;
}

void net_duplicate(uint32_t a, uint32_t b, uint32_t per_million)
{
    net.wires[a][b].duplicate = per_million;
}

void net_reset(uint32_t a, uint32_t b)
{
    list_each(it, &net.connections) {
        struct connection *c = list_entry(it, struct connection, item);
        if ((c->ids[0] == a && c->ids[1] == b) || (c->ids[0] == b && c->ids[1] == a))
            reset(c, "connection reset");
    }
}

void net_heal_all(void)
{
    for (uint32_t a = 1; a <= process_count(); a++)
        for (uint32_t b = 1; b <= process_count(); b++) {
            struct wire *w = &net.wires[a][b];
            w->extra = 0;
            w->loss = w->reorder = w->duplicate = 0;
            net_cut(a, b, false);
            net_clog(a, b, false);
        }
}

/* ---- the run --------------------------------------------------------------------------------- */

void net_start(void)
{
    memset(&net, 0, sizeof net);
    list_init(&net.hubs_all);
    list_init(&net.connections);
    const struct sim_swarm *s = sim_swarm();
    for (uint32_t a = 1; a <= process_count(); a++)
        for (uint32_t b = 1; b <= process_count(); b++)
            net.wires[a][b].latency = sim_between(RND_NET, s->net_min_us, s->net_max_us);
}

/* Planned events are dropped with the run, and with them their references. */
void net_free(void)
{
    while (!list_empty(&net.connections)) {
        struct connection *c = list_first(&net.connections, struct connection, item);
        c->refs = 1;
        release(c);
    }
    while (!list_empty(&net.hubs_all))
        free_hub(list_first(&net.hubs_all, struct link_hub, item));
}
