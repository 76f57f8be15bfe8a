/* Listings. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/atime.h"
#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"

#define ROOT_LISTING_MAX 4096u

/* Of names that no listing has given a cookie: above all that are given. */
#define STALE_COOKIES (UINT64_C(1) << 40)

/* ---- the root's names as last seen: for when there is no leader ------------------------------ */

static void root_clear(struct root_listing *l)
{
    for (size_t e = 0; e < l->entries.count; e++) {
        free((char *)(uintptr_t)l->entries.items[e].name);
    }
    vec_clear(&l->entries);
    l->complete = false;
    l->next = 0;
}

static char *name_of(const struct Fs__Entry *e)
{
    char *name = xcalloc(1, e->name.len + 1);
    memcpy(name, e->name.data, e->name.len);
    return name;
}

static void root_note(struct client *c, uint64_t after, const struct Fs__ReaddirReply *page)
{
    struct root_listing *l = &c->root;
    if (after == 0) {
        root_clear(l);
    }
    if (after != l->next || l->complete || l->entries.count + page->n_entries > ROOT_LISTING_MAX) {
        return;
    }
    for (size_t i = 0; i < page->n_entries; i++) {
        const struct Fs__Entry *e = page->entries[i];
        vec_push(&l->entries,
                 (struct client_dirent){
                     .name = name_of(e), .ino = e->ino, .cookie = e->cookie, .type = e->type});
        l->next = e->cookie;
    }
    l->complete = page->end;
}

static bool listed(const struct root_listing *l, const struct name *n)
{
    for (size_t i = 0; i < l->entries.count; i++) {
        const char *name = l->entries.items[i].name;
        if (strlen(name) == n->len && memcmp(name, n->bytes, n->len) == 0) {
            return true;
        }
    }
    return false;
}

static void add_stale(const struct op *op, struct client_result *result,
                      const struct client_dirent *e)
{
    if (e->cookie <= op->a.offset || result->entries_count >= op->a.size) {
        return;
    }
    struct client_dirent *to = &result->entries[result->entries_count++];
    *to = *e;
    to->name = xstrdup(e->name);
}

/* The last listing, without what this mount has removed and with what it has made since. */
bool op_readdir_stale(struct client *c, struct op *op)
{
    const struct root_listing *l = &c->root;
    if (!l->complete) {
        return false;
    }
    struct client_result result = {0};
    struct inode *root = inode_get(c, ROOT_INO);
    uint64_t cookie = STALE_COOKIES;
    result.entries = xcalloc(l->entries.count + c->names_count + 1, sizeof(*result.entries));
    for (size_t i = 0; i < l->entries.count; i++) {
        const struct name *n = name_find(c, ROOT_INO, l->entries.items[i].name);
        if (n == NULL || n->ino != 0) {
            add_stale(op, &result, &l->entries.items[i]);
        }
    }
    list_each(it, &root->names) {
        const struct name *n = container_of(it, struct name, in_dir);
        const struct inode *i = n->ino != 0 ? inode_find(c, n->ino) : NULL;
        cookie++;
        if (n->ino != 0 && !listed(l, n)) {
            add_stale(op, &result,
                      &(struct client_dirent){.name = n->bytes,
                                              .ino = n->ino,
                                              .cookie = cookie,
                                              .type = i != NULL ? i->attr.mode & S_IFMT : 0});
        }
    }
    op_finish(c, op, &result);
    return true;
}

static void finish(struct client *c, struct op *op, struct client_result *result)
{
    listing_answered(c, op, result);
    op_finish(c, op, result);
}

/* ---- of a directory that was made for this mount ----------------------------------------------
 */

/* A listing takes it in whole, once for each page. */
#define LISTED_HERE_MAX 16384u

static bool type_known(const struct client *c, const struct name *n)
{
    const struct inode *i = inode_find(c, n->ino);
    return i != NULL && i->known;
}

/* Every name is known, with the cookie that apply gives it, so that a listing may go on at the
 * leader. */
static bool listed_here(const struct client *c, const struct inode *dir)
{
    if (!dir_leased(dir) || !dir->dir->complete || dir->dir->next_cookie == 0 ||
        dir->dir->next_cookie > LISTED_HERE_MAX || !dir_names_fresh(c, dir)) {
        return false;
    }
    list_each(it, &dir->names) {
        const struct name *n = container_of(it, struct name, in_dir);
        if (n->ino != 0 && !type_known(c, n)) {
            return false;
        }
    }
    return true;
}

static void add_own(struct client *c, const struct op *op, const struct name *n,
                    struct client_dirent *to)
{
    struct inode *i = inode_find(c, n->ino);
    *to = (struct client_dirent){.name = xstrdup(n->bytes),
                                 .ino = n->ino,
                                 .cookie = n->cookie,
                                 .type = i->attr.mode & S_IFMT};
    if (op->a.plus && !op->answered && inode_attr_fresh(c, i)) {
        to->has_attr = true;
        inode_answer_lookup(c, i, &to->attr, &to->attr_valid_us);
        to->entry_valid_us = op_entry_valid(c, op->a.ino);
    }
}

static void list_here(struct client *c, struct op *op, struct inode *dir)
{
    struct client_result result = {0};
    uint64_t all = dir->dir->next_cookie, wanted = op->a.size;
    uint64_t max = wanted != 0 && wanted < all ? wanted : all;
    result.entries = xcalloc((size_t)max + 1, sizeof(*result.entries));
    list_each(it, &dir->names) {
        const struct name *n = container_of(it, struct name, in_dir);
        if (n->ino != 0 && n->cookie > op->a.offset && result.entries_count < max) {
            add_own(c, op, n, &result.entries[result.entries_count++]);
        }
    }
    atime_read(c, dir, op->a.flags);
    finish(c, op, &result);
}

/* ---- readdir --------------------------------------------------------------------------------- */

/* RULES L4: no attributes come of what somebody else may be writing. */
static void add_entry(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                      const struct Fs__Entry *e, struct client_dirent *to)
{
    const struct op *op = r->op;
    *to = (struct client_dirent){
        .name = name_of(e), .ino = e->ino, .cookie = e->cookie, .type = e->type};
    if (e->attr == NULL || e->attr->ino != e->ino) {
        return;
    }
    struct inode *i = cache_learn(c, e->attr, grant_counts_entry(c, r, reply, e));
    inode_told_alone(c, i, inode_get(c, op->a.ino), e->alone);
    if (op->a.plus && !op->answered) {
        to->has_attr = true;
        inode_answer_lookup(c, i, &to->attr, &to->attr_valid_us);
    }
}

/* The kernel gets the name alone, without an inode to keep. */
static void forget_entry(struct client *c, struct client_dirent *e)
{
    struct inode *i = e->has_attr ? inode_find(c, e->ino) : NULL;
    e->has_attr = false;
    if (i != NULL) {
        i->nlookup--;
        inode_settle(c, i);
    }
}

static void on_readdir(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    /* Who lists has it open. Linux answers ENOENT as well when a directory is gone by then, which
     * readdir(3) takes for the end: it is empty. */
    int err = rpc_error(r, reply);
    if (err == 0 && reply->body_case != FS__REPLY__BODY_READDIR) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    const struct Fs__ReaddirReply *page = reply->readdir;
    struct inode *dir = inode_get(c, op->a.ino);
    op_busy(op, dir, BUSY_ATTR); /* keeps it */
    cache_learn_names(c, r, reply, dir);
    bool fact = grant_counts(c, r, reply, FS__OBJECT__KIND__NAMES, dir->ino) || dir_leased(dir);
    atime_read(c, dir, op->a.flags);
    if (op->a.ino == ROOT_INO) {
        root_note(c, op->a.offset, page);
    }
    struct client_result result = {0};
    result.entries = xcalloc(page->n_entries + 1, sizeof(*result.entries));
    for (size_t i = 0; i < page->n_entries; i++) {
        struct client_dirent *to = &result.entries[result.entries_count++];
        add_entry(c, r, reply, page->entries[i], to);
        const struct name *n = name_find(c, dir->ino, to->name);
        if (n != NULL && !queue_reached(c, n->q)) {
            forget_entry(c, to); /* it was changed here since */
        } else if (fact) {
            name_learn(c, dir, to->name, strlen(to->name), to->ino);
            to->entry_valid_us = to->has_attr ? op_entry_valid(c, dir->ino) : 0;
        }
    }
    dir_listed(dir, op->a.offset, page);
    finish(c, op, &result);
}

void op_releasedir(struct client *c, struct op *op)
{
    listing_goes_on(c, op->a.fh);
    op_fail(c, op, 0);
}

void op_readdir(struct client *c, struct op *op)
{
    listing_goes_on(c, op->a.fh);
    struct inode *dir = inode_find(c, op->a.ino);
    if (dir != NULL) {
        dir->listed = true;
    }
    if (dir != NULL && listed_here(c, dir)) {
        list_here(c, op, dir);
        return;
    }
    if (dir != NULL && !queue_wait(c, op, dir->last_q)) {
        return; /* cookies are given in the log's order */
    }
    op->why = "the leader, for the directory's names";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_READDIR, on_readdir);
    r->req->readdir = xmalloc(sizeof(*r->req->readdir));
    fs__readdir__init(r->req->readdir);
    r->req->readdir->ino = op->a.ino;
    r->req->readdir->after = op->a.offset;
    r->req->readdir->max = op->a.size > UINT32_MAX ? UINT32_MAX : (uint32_t)op->a.size;
    r->req->readdir->plus = op->a.plus;
    rpc_start(c, r);
}
