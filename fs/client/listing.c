/* Linux ties the names of a READDIRPLUS answer to the epoch of the moment when it takes them in
 * (fuse_direntplus_link()), those of a LOOKUP to that of when it asked. So a CLIENT_NOTIFY_NAMES
 * that comes between such an answer and its taking in does not reach its names: they would be kept
 * for as long as they were given for. What asks them back waits until the listing has been taken
 * in: its reader asks for more, as every one does until there is no more, or NEWS_TAKEN_IN is over.
 * Nothing of the directory is given to keep meanwhile, so it waits no longer than that. */
#include "fs/client/listing.h"

#include <stdlib.h>

#include "repl/base/mutant.h"

struct listing { /* answered, and perhaps not taken in */
    struct list link;
    uint64_t ino, fh;
    struct timer taken;
    bool voided; /* nothing waited: the names count no more */
};

static void listing_free(struct client *c, struct listing *l)
{
    list_remove(&l->link);
    timer_clear(&l->taken);
    struct inode *dir = inode_find(c, l->ino);
    dir->listings--;
    free(l);
}

/* With the last one, the recalls that waited for it go on. */
static void go_on(struct client *c, struct inode *dir)
{
    for (size_t i = 0; i < c->recalls_held.count && dir->listings == 0;) {
        struct held_recall h = c->recalls_held.items[i];
        if (h.ino != dir->ino) {
            i++;
            continue;
        }
        vec_remove(&c->recalls_held, i);
        recall_go_on(c, &h);
    }
}

static void taken_in(struct client *c, struct listing *l)
{
    struct inode *dir = inode_find(c, l->ino);
    if (l->voided) {
        (void)effect_add(c, CLIENT_NOTIFY_NAMES);
    }
    listing_free(c, l);
    go_on(c, dir);
    inode_settle(c, dir);
}

static void on_taken(struct client *c, struct timer *t)
{
    taken_in(c, container_of(t, struct listing, taken));
}

void listing_given(struct client *c, struct inode *dir, uint64_t fh)
{
    struct listing *l = xcalloc(1, sizeof(*l));
    l->ino = dir->ino;
    l->fh = fh;
    list_push_back(&c->listings, &l->link);
    timer_init(&l->taken);
    timer_set(c, TIMER_TAKEN, &l->taken, c->now + NEWS_TAKEN_IN, on_taken);
    dir->listings++; /* keeps it */
}

void listing_goes_on(struct client *c, uint64_t ino, uint64_t fh)
{
    list_each(it, &c->listings) {
        struct listing *l = container_of(it, struct listing, link);
        if (l->ino == ino && l->fh == fh) {
            taken_in(c, l);
            return;
        }
    }
}

bool listing_holds(struct client *c, struct recall *k, const struct Fs__Object *o)
{
    bool names = o->kind == FS__OBJECT__KIND__NAMES || o->kind == FS__OBJECT__KIND__LEASE;
    const struct inode *i = names ? inode_find(c, o->ino) : NULL;
    if (i == NULL || i->listings == 0 || MUTANT(recall_overtakes_listing)) {
        return false;
    }
    vec_push(&c->recalls_held, (struct held_recall){.recall = k, .kind = o->kind, .ino = o->ino});
    return true;
}

bool listing_awaited(const struct client *c, const struct inode *dir)
{
    for (size_t i = 0; i < c->recalls_held.count; i++) {
        if (c->recalls_held.items[i].ino == dir->ino) {
            return true;
        }
    }
    return false;
}

void listings_void(struct client *c)
{
    list_each(it, &c->listings) {
        container_of(it, struct listing, link)->voided = true;
    }
}

void listings_free(struct client *c)
{
    vec_done(&c->recalls_held);
    while (!list_empty(&c->listings)) {
        listing_free(c, list_first(&c->listings, struct listing, link));
    }
}
