/* Streams: frames on their way in one direction, and the moment the next one arrives. */
#include "tests/sim/net_internal.h"

#include <assert.h>
#include <stdlib.h>

/* ---- parcels --------------------------------------------------------------------------------- */

void net_free_parcel(struct parcel *f)
{
    for (size_t i = 0; i < f->bulks_count; i++)
        blob_unref(f->bulks[i]);
    free(f);
}

void net_push(struct queue *q, struct parcel *f)
{
    if (q->head)
        q->last->next = f;
    else
        q->head = f;
    q->last = f;
}

size_t net_parcel_bytes(const struct parcel *f)
{
    return FRAME_HEADER_SIZE + f->control_size + f->bulk_size;
}

struct parcel *net_pop(struct stream *s, struct queue *q)
{
    struct parcel *f = q->head;
    q->head = f->next;
    s->bytes -= net_parcel_bytes(f);
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
            net_push(&kept, f);
            continue;
        }
        s->bytes -= net_parcel_bytes(f);
        net_free_parcel(f);
    }
    *q = kept;
}

void net_drop_parcels(struct stream *s, time_us from)
{
    drop_queue(s, &s->urgent, from);
    drop_queue(s, &s->bulk, from);
}

void net_release(struct connection *c)
{
    assert(c->refs > 0);
    if (--c->refs > 0)
        return;
    for (unsigned i = 0; i < 2; i++) {
        net_drop_parcels(&c->streams[i], 0);
        frame_parser_done(&c->streams[i].parser);
    }
    list_remove(&c->item);
    free(c);
}

/* ---- when something arrives ------------------------------------------------------------------ */

void net_plan_at(struct connection *c, unsigned from, time_us at)
{
    struct stream *s = &c->streams[from];
    if (s->planned && s->planned <= at)
        return;
    at = time_max(at, sim_now());
    s->planned = at;
    c->refs++;
    sim_at(at, net_on_arrival, c, at << 1 | from);
}

struct queue *net_next_queue(struct stream *s)
{
    const struct parcel *u = s->urgent.head, *b = s->bulk.head;
    if (u && (!b || u->at <= b->at))
        return &s->urgent;
    return b ? &s->bulk : NULL;
}

void net_plan_next(struct connection *c, unsigned from)
{
    struct stream *s = &c->streams[from];
    struct queue *q = net_next_queue(s);
    if (q)
        net_plan_at(c, from, q->head->at);
    else if (s->eof)
        net_plan_at(c, from, s->eof_at);
}

/* The sender's end is closed: what is on its way arrives first, or is lost with it. */
void net_end_stream(struct connection *c, unsigned from, const char *reason, bool keep)
{
    struct stream *s = &c->streams[from];
    if (s->eof)
        return;
    if (!keep)
        net_drop_parcels(s, 0);
    s->eof = reason;
    s->eof_at =
        time_max(time_max(s->last_urgent, s->last_bulk), sim_now() + net_wire_of(c, from)->latency);
    if (!keep)
        s->eof_at = sim_now() + net_wire_of(c, from)->latency;
    net_plan_next(c, from);
}

void net_resume(struct connection *c, unsigned from, time_us within)
{
    struct stream *s = &c->streams[from];
    if (c->ends[1 - from].state != LINK_CLOSED && (net_next_queue(s) || s->eof))
        net_plan_at(c, from, sim_now() + (within ? sim_below(RND_NET, within) : 0));
}
