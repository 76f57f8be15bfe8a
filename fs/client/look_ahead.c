/* Look-ups that follow one another in a directory: the names and attributes of its other entries
 * come in pages, so that a stat() of each of its files costs no question of its own, and under its
 * lease neither does the making of new ones. */
#include "fs/client/look_ahead.h"

#include <stdlib.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/rpc.h"

enum {
    MISSES_BEFORE = 2, /* one look-up says nothing about the next */
    PAGE_MIN = 32,     /* and each page is twice the one before */
    PAGE_MAX = 512,
    USE_SHARE = 4, /* of the entries that came a fourth must be wanted, or no more are asked for */
    REMOVAL_SHARE = 64, /* while names go: so many for each that went */
    LEASED_SHARE = 16,  /* under the directory's lease: so many a look-up, until all are known */
};

static void learn_page(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       struct inode *dir)
{
    const struct Fs__ReaddirReply *page = reply->readdir;
    bool fact = grant_counts(c, r, reply, FS__OBJECT__KIND__NAMES, dir->ino) || dir_leased(dir);
    cache_learn_names(c, r, reply, dir);
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct Fs__Entry *e = page->entries[i];
        if (e->attr != NULL && e->attr->ino == e->ino) {
            struct inode *of = cache_learn(c, e->attr, grant_counts_entry(c, r, reply, e));
            inode_told_alone(c, of, dir, e->alone);
        }
        if (fact) {
            name_learn(c, dir, (const char *)e->name.data, e->name.len, e->ino);
        }
        dir->ahead.after = e->cookie;
    }
    dir_listed(dir, r->req->readdir->after, page);
    dir->ahead.came += (uint32_t)page->n_entries;
    dir->ahead.over = dir_leased(dir) ? dir->dir->complete : page->end || !fact;
}

static void on_page(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct inode *dir = inode_get(c, r->req->readdir->ino);
    dir->opening++; /* stays while its entries come */
    dir->ahead.asked = false;
    if (rpc_error(r, reply) == 0 && reply->body_case == FS__REPLY__BODY_READDIR) {
        learn_page(c, r, reply, dir);
    } else {
        dir->ahead.over = true;
    }
    dir_page_came(c, dir);
    dir->opening--;
    inode_settle(c, dir);
}

static void ask_page(struct client *c, struct inode *dir)
{
    struct rpc *r = rpc_new(RPC_LEADER, NULL, on_page);
    r->req->body_case = FS__REQUEST__BODY_READDIR;
    r->req->readdir = xmalloc(sizeof(*r->req->readdir));
    fs__readdir__init(r->req->readdir);
    r->req->readdir->ino = dir->ino;
    r->req->readdir->after = dir_leased(dir) ? dir->dir->listed : dir->ahead.after;
    r->req->readdir->max = dir->ahead.page;
    r->req->readdir->plus = true;
    dir->ahead.asked = true;
    rpc_start(c, r);
}

/* Under the lease also what is not there is worth to be known: with all names at hand no look-up
 * has to ask. */
static bool worth_it(const struct inode *dir)
{
    const struct look_ahead *a = &dir->ahead;
    return a->misses >= MISSES_BEFORE &&
           (dir_leased(dir) ? a->hits + a->misses >= a->came / LEASED_SHARE
                            : a->hits >= a->came / USE_SHARE);
}

static void ask_next_page(struct client *c, struct inode *dir)
{
    uint32_t page = dir->ahead.page * 2;
    dir->ahead.page = page < PAGE_MIN ? PAGE_MIN : page > PAGE_MAX ? PAGE_MAX : page;
    ask_page(c, dir);
}

bool look_ahead_for_removal(struct client *c, struct inode *dir)
{
    struct look_ahead *a = &dir->ahead;
    if (!a->asked && !a->over && a->came <= PAGE_MIN + REMOVAL_SHARE * dir->removals) {
        ask_next_page(c, dir);
    }
    return a->asked;
}

void look_ahead(struct client *c, uint64_t ino)
{
    struct inode *dir = inode_find(c, ino);
    if (dir == NULL || !dir_names_fresh(c, dir) || dir->ahead.asked || dir->ahead.over) {
        return;
    }
    dir->ahead.misses++;
    if (worth_it(dir)) {
        ask_next_page(c, dir);
    }
}
