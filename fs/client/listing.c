/* Linux ties the names of a READDIRPLUS answer to the epoch of the moment when it takes them in
 * (fuse_direntplus_link()), those of a LOOKUP to that of when it asked. So a CLIENT_NOTIFY_NAMES
 * that comes between such an answer and its taking in does not reach its names, nor the attributes
 * of those inodes that are new to the kernel with them: they would be kept for as long as they were
 * given for. So nothing is given back while a listing is on its way, and nothing of a listing is
 * given to keep while something is being given back: one waits for the other, and no longer than
 * until the reader asks for more, as every one does until there is no more, or closes the
 * directory, or NEWS_TAKEN_IN is over. */
#include "fs/client/listing.h"

#include <stdlib.h>

#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"

struct listing { /* answered, and perhaps not taken in */
    struct list link;
    uint64_t fh;
    struct timer taken;
    bool voided; /* nothing waited: the names count no more */
};

static void listing_free(struct listing *l)
{
    list_remove(&l->link);
    timer_clear(&l->taken);
    free(l);
}

static void taken_in(struct client *c, struct listing *l)
{
    bool voided = l->voided;
    listing_free(l);
    if (voided) {
        (void)effect_add(c, CLIENT_NOTIFY_NAMES);
        rpc_pump(c);
    }
    recall_go_on(c);
}

static void on_taken(struct client *c, struct timer *t)
{
    taken_in(c, container_of(t, struct listing, taken));
}

static void await(struct client *c, struct listing *l)
{
    timer_set(c, TIMER_TAKEN, &l->taken, c->now + NEWS_TAKEN_IN, on_taken);
}

static bool names_kept(const struct client_result *listing)
{
    for (size_t i = 0; i < listing->entries_count; i++) {
        if (listing->entries[i].entry_valid_us != 0) {
            return true;
        }
    }
    return false;
}

void listing_answered(struct client *c, const struct op *op, struct client_result *ret)
{
    for (size_t i = 0; i < ret->entries_count && recall_under_way(c); i++) {
        ret->entries[i].entry_valid_us = 0;
    }
    if (!names_kept(ret)) {
        return;
    }
    struct listing *l = xcalloc(1, sizeof(*l));
    l->fh = op->a.fh;
    list_push_back(&c->listings, &l->link);
    timer_init(&l->taken);
    await(c, l);
}

void listing_goes_on(struct client *c, uint64_t fh)
{
    list_each(it, &c->listings) {
        struct listing *l = container_of(it, struct listing, link);
        if (l->fh == fh) {
            taken_in(c, l);
            return;
        }
    }
}

bool listings_taken_in(const struct client *c)
{
    return list_empty(&c->listings);
}

void listings_await(struct client *c)
{
    list_each(it, &c->listings) {
        await(c, container_of(it, struct listing, link));
    }
}

void listings_void(struct client *c)
{
    list_each(it, &c->listings) {
        container_of(it, struct listing, link)->voided = true;
    }
    listings_await(c);
}

bool listings_let(const struct client *c, const struct rpc *r)
{
    if (r->req->body_case != FS__REQUEST__BODY_RENEW) {
        return true;
    }
    list_each(it, &c->listings) {
        if (container_of(it, struct listing, link)->voided) {
            return false;
        }
    }
    return true;
}

void listings_free(struct client *c)
{
    while (!list_empty(&c->listings)) {
        listing_free(list_first(&c->listings, struct listing, link));
    }
}
