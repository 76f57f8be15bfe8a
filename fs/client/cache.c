#include "fs/client/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/buffer.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/look_ahead.h"
#include "fs/client/op.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/hash.h"
#include "repl/base/mutant.h"

#define ATTRS_MAX 65536u /* cached inodes and names: a cap against growth without end */

/* ---- inodes ---------------------------------------------------------------------------------- */

struct inode *inode_find(const struct client *c, uint64_t ino)
{
    return map_get(&c->inodes, ino);
}

struct inode *inode_get(struct client *c, uint64_t ino)
{
    struct inode *i = map_get(&c->inodes, ino);
    if (i == NULL) {
        i = xcalloc(1, sizeof(*i));
        i->ino = ino;
        fs__attr__init(&i->attr);
        list_init(&i->lru);
        list_init(&i->names);
        list_init(&i->getattrs);
        list_init(&i->atime_link);
        list_init(&i->private_link);
        (void)map_put(&c->inodes, ino, i);
    }
    return i;
}

static void name_free(struct client *c, struct name *n);

static void inode_free(struct client *c, struct inode *i)
{
    while (!list_empty(&i->names)) {
        name_free(c, list_first(&i->names, struct name, in_dir));
    }
    if (list_linked(&i->lru)) {
        list_remove(&i->lru);
        c->lru_count--;
    }
    (void)map_del(&c->inodes, i->ino);
    list_remove(&i->private_link);
    dir_free(c, i);
    free(i);
}

bool inode_opened_unseen(const struct inode *i)
{
    return i->nlookup != 0 && i->known &&
           (S_ISFIFO(i->attr.mode) || S_ISCHR(i->attr.mode) || S_ISBLK(i->attr.mode));
}

static bool inode_needed(const struct inode *i)
{
    return i->file != NULL || inode_opened_unseen(i) || i->busy[0] != 0 || i->busy[1] != 0 ||
           i->opening != 0 || i->opens != 0 || i->denied != 0 || i->queued != 0 || i->dir != NULL ||
           i->ino == ROOT_INO || i->read_at != 0 || !list_empty(&i->getattrs);
}

bool inode_wanted(const struct client *c, const struct inode *i)
{
    return i->opens != 0 || i->opening != 0 || c->now < i->wanted_until || inode_opened_unseen(i);
}

void inode_settle(struct client *c, struct inode *i)
{
    if (inode_needed(i)) {
        if (list_linked(&i->lru)) {
            list_remove(&i->lru);
            c->lru_count--;
        }
        return;
    }
    if (!i->known && list_empty(&i->names) && !i->names_promised) {
        inode_free(c, i);
        return;
    }
    if (!list_linked(&i->lru)) {
        c->lru_count++;
    }
    list_remove(&i->lru);
    list_push_back(&c->inode_lru, &i->lru);
    while (c->lru_count > ATTRS_MAX) {
        struct inode *old = list_first(&c->inode_lru, struct inode, lru);
        if (old == i) {
            break;
        }
        if (inode_needed(old)) { /* by an operation since */
            list_remove(&old->lru);
            c->lru_count--;
            continue;
        }
        cache_drop_names(c, old->ino);
        inode_invalidate_kernel(c, old);
        inode_free(c, old);
    }
}

struct Fs__Attr attr_plain(const struct Fs__Attr *attr)
{
    struct Fs__Attr plain = *attr;
    plain.base.n_unknown_fields = 0;
    plain.base.unknown_fields = NULL;
    return plain;
}

static void learn_data(const struct client *c, struct inode *i, const struct Fs__Attr *attr)
{
    if (!S_ISREG(i->attr.mode)) {
        return;
    }
    i->attr.size = attr->size;
    i->attr.pages = attr->pages;
    /* Else who answered does not know them yet. */
    if (queue_reached(c, i->times_q) || MUTANT(times_put_back)) {
        i->attr.atime = attr->atime;
        i->attr.mtime = attr->mtime;
    }
    i->attr.ctime = attr->ctime > i->attr.ctime ? attr->ctime : i->attr.ctime;
    i->attr.version = attr->version;
    i->attr.data_version = attr->data_version;
}

bool inode_learn(struct client *c, struct inode *i, const struct Fs__Attr *attr)
{
    if (i->known && attr->version < i->attr.version) {
        return false;
    }
    if (i->queued != 0) { /* what was done here is newer, but for what COMMITs do */
        learn_data(c, i, attr);
        return S_ISREG(i->attr.mode);
    }
    int64_t atime = i->known && attr->version == i->attr.version ? i->attr.atime : INT64_MIN;
    i->attr = attr_plain(attr);
    if (i->attr.atime < atime) { /* an answer from before our reads were told */
        i->attr.atime = atime;
    }
    i->known = true;
    return true;
}

struct inode *cache_learn(struct client *c, const struct Fs__Attr *attr, bool granted)
{
    struct inode *i = inode_get(c, attr->ino);
    (void)inode_learn(c, i, attr);
    if (granted) {
        i->promised = true;
    }
    inode_settle(c, i);
    return i;
}

static uint64_t pages_of(uint64_t size)
{
    return size / FS_PAGE + (size % FS_PAGE != 0);
}

/* How many pages have data. Of those buffered below the committed end nobody here knows whether
 * they had some before; no more than there are holes can be new. */
static uint64_t pages_now(const struct inode *i, uint64_t size)
{
    const struct file *f = i->file;
    uint64_t before = pages_of(i->attr.size), below = 0, behind = 0, cut = f->dirty.cut_from;
    layer_count(&f->dirty, before, &below, &behind);
    list_each(it, &f->commits) {
        const struct layer *l = &container_of(it, struct commit, in_file)->layer;
        layer_count(l, before, &below, &behind);
        cut = l->cut_from < cut ? l->cut_from : cut;
    }
    uint64_t pages = i->attr.pages, end = before < cut ? before : cut;
    pages = pages < end ? pages : end; /* a cut takes the last ones */
    pages += below < end - pages ? below : end - pages;
    pages += behind;
    return pages < pages_of(size) ? pages : pages_of(size);
}

static struct Fs__Attr attr_with_writes(const struct inode *i)
{
    struct Fs__Attr attr = i->attr;
    const struct file *f = i->file;
    if (f == NULL || f->lease != LEASE_HELD || !file_busy(f)) {
        return attr;
    }
    attr.size = f->size;
    attr.mtime = f->mtime;
    attr.ctime = f->mtime > attr.ctime ? f->mtime : attr.ctime;
    if (f->atime != 0) {
        attr.atime = f->atime;
    }
    attr.pages = pages_now(i, attr.size);
    return attr;
}

struct Fs__Attr inode_now(const struct client *c, const struct inode *i)
{
    (void)c;
    struct Fs__Attr attr = attr_with_writes(i);
    if (i->read_at != 0 && i->read_at > attr.atime) {
        attr.atime = i->read_at;
    }
    return attr;
}

bool inode_data_fresh(const struct client *c, const struct inode *i)
{
    bool own = (i->file != NULL && i->file->lease == LEASE_HELD) || dir_leased(i);
    if (c->config.consistency == CLIENT_SESSION) {
        return own && i->known;
    }
    own |= inode_private(c, i);
    return i->known && session_lease_valid(c) && (own || (i->promised && i->busy[BUSY_ATTR] == 0));
}

bool inode_attr_fresh(const struct client *c, const struct inode *i)
{
    return inode_data_fresh(c, i) && i->busy[BUSY_ATTR] == 0;
}

bool inode_asked_back(const struct inode *i)
{
    return i->promised || (i->file != NULL && i->file->lease == LEASE_HELD) || dir_leased(i);
}

time_us inode_attr_valid(const struct client *c, const struct inode *i)
{
    /* What was private to two directories when it was moved is not looked for. */
    bool kept = inode_asked_back(i) || i->from == 0;
    if (c->config.consistency == CLIENT_SESSION || !kept || !inode_attr_fresh(c, i) ||
        i->locks_lost != 0) {
        return 0;
    }
    return c->lease_until - c->now;
}

struct inode_told inode_answer(struct client *c, struct inode *i, struct Fs__Attr *ret_attr,
                               time_us *ret_valid)
{
    struct inode_told told = {.news = i->sent &&
                                      (i->attr.data_version != i->sent_version || i->pages_behind)};
    *ret_attr = inode_now(c, i);
    *ret_valid = inode_attr_valid(c, i);
    /* The kernel ignores an answer that a notification overtakes on its way to the caller, and a
     * read(2) then goes on with the pages and the size from before. So what is new to a kernel that
     * has an older version goes without a validity, which needs no notification to end; and so do
     * the answers that follow, until every caller must have taken the first one in. */
    if (told.news) {
        bool known = c->now >= i->news_until || i->end_before < i->sent_size;
        i->end_before = known ? i->sent_size : i->end_before;
        i->news_until = c->now + NEWS_TAKEN_IN;
    }
    i->pages_behind = false;
    if (c->now < i->news_until) {
        *ret_valid = 0;
    }
    time_us until = c->now + *ret_valid + NEWS_TAKEN_IN; /* it counts from when it is taken in */
    if (*ret_valid != 0 && until > i->kernel_until) {
        i->kernel_until = until;
    }
    if (*ret_valid != 0 && !inode_asked_back(i)) {
        inode_private_told(c, i);
    }
    /* Other data under the same size and time would not make the kernel drop its pages. */
    told.disguised = i->sent && i->attr.data_version != i->sent_version &&
                     ret_attr->size == i->sent_size && ret_attr->mtime == i->sent_mtime &&
                     i->pages_version != i->attr.data_version;
    i->sent = true;
    i->sent_size = ret_attr->size;
    i->lost_end = 0;
    i->sent_mtime = ret_attr->mtime;
    if (i->attr.data_version > i->sent_version) {
        i->sent_version = i->attr.data_version;
    }
    return told;
}

uint64_t inode_kernel_end(const struct client *c, const struct inode *i)
{
    return c->now < i->news_until && i->end_before > i->sent_size ? i->end_before : i->sent_size;
}

/* An inode that is new to the kernel exists there once its caller has taken the answer in. A
 * notification that comes before finds nothing, and the attributes count from then on. */
void inode_answer_lookup(struct client *c, struct inode *i, struct Fs__Attr *ret_attr,
                         time_us *ret_valid)
{
    if (inode_answer(c, i, ret_attr, ret_valid).disguised) {
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = i->ino;
    }
    if (i->nlookup++ == 0) {
        i->unconfirmed = *ret_valid != 0;
        i->recheck = false;
    }
}

void inode_confirm(struct client *c, uint64_t ino, bool asks)
{
    struct inode *i = ino != 0 ? inode_find(c, ino) : NULL;
    if (i == NULL) {
        return;
    }
    i->unconfirmed = false;
    if (i->recheck && !asks) {
        effect_add(c, CLIENT_NOTIFY_ATTR)->ino = ino;
        i->recheck = false;
    }
}

/* What may not have reached the kernel yet is told again by the next request for it, and the names
 * being stale, nobody finds it without such a request. */
void inode_invalidate_kernel(struct client *c, struct inode *i)
{
    if (i->kernel_until > c->now) {
        effect_add(c, CLIENT_NOTIFY_ATTR)->ino = i->ino;
        if (i->unconfirmed) {
            i->recheck = true;
            if (c->config.name_cache) {
                (void)effect_add(c, CLIENT_NOTIFY_NAMES);
            }
        }
    }
    /* Without a recall: the one that comes later, after the listing, must not find it done. */
    if (!i->unconfirmed || listings_taken_in(c)) {
        i->kernel_until = 0;
    }
}

/* ---- names ----------------------------------------------------------------------------------- */

static uint64_t name_hash(uint64_t dir, const char *name, size_t len)
{
    return hash64_seed(name, len, dir);
}

static struct name *find(const struct client *c, uint64_t dir, const char *name, size_t len)
{
    struct name *n = map_get(&c->names, name_hash(dir, name, len));
    while (n != NULL && (n->dir->ino != dir || n->len != len || memcmp(n->bytes, name, len) != 0)) {
        n = n->next;
    }
    return n;
}

struct name *name_find(const struct client *c, uint64_t dir, const char *name)
{
    return find(c, dir, name, strlen(name));
}

static void name_free(struct client *c, struct name *n)
{
    struct name *first = map_get(&c->names, n->hash);
    if (first == n) {
        if (n->next != NULL) {
            (void)map_put(&c->names, n->hash, n->next);
        } else {
            (void)map_del(&c->names, n->hash);
        }
    } else {
        while (first->next != n) {
            first = first->next;
        }
        first->next = n->next;
    }
    list_remove(&n->in_dir);
    list_remove(&n->lru);
    c->names_count--;
    free(n);
}

/* What is on its way to the log must be known until it is there. */
static void forget_oldest(struct client *c)
{
    struct name *old = list_first(&c->name_lru, struct name, lru);
    if (!queue_reached(c, old->q)) {
        list_remove(&old->lru);
        list_push_back(&c->name_lru, &old->lru);
        return;
    }
    dir_forgets(old->dir);
    name_free(c, old);
}

struct name *name_put(struct client *c, struct inode *dir, const char *name, size_t len,
                      uint64_t ino)
{
    struct name *n = find(c, dir->ino, name, len);
    if (n == NULL) {
        if (c->names_count >= NAMES_MAX) {
            forget_oldest(c);
        }
        n = xcalloc(1, sizeof(*n) + len + 1);
        memcpy(n->bytes, name, len);
        n->len = len;
        n->dir = dir;
        n->hash = name_hash(dir->ino, name, len);
        n->next = map_get(&c->names, n->hash);
        (void)map_put(&c->names, n->hash, n);
        list_init(&n->lru);
        list_push_back(&dir->names, &n->in_dir);
        c->names_count++;
    }
    list_remove(&n->lru);
    list_push_back(&c->name_lru, &n->lru);
    n->ino = ino;
    n->fresh = dir->names_promised || dir_leased(dir);
    return n;
}

void name_learn(struct client *c, struct inode *dir, const char *name, size_t len, uint64_t ino)
{
    const struct name *n = find(c, dir->ino, name, len);
    if (n == NULL || queue_reached(c, n->q)) {
        (void)name_put(c, dir, name, len, ino);
    }
}

void name_forget(struct client *c, uint64_t dir, const char *name)
{
    struct name *n = name_find(c, dir, name);
    if (n != NULL) {
        name_free(c, n);
    }
}

bool dir_names_fresh(const struct client *c, const struct inode *dir)
{
    return c->config.consistency == CLIENT_LINEARIZABLE &&
           (dir->names_promised || dir_leased(dir)) && dir->busy[BUSY_NAMES] == 0 &&
           session_lease_valid(c);
}

time_us dir_entry_valid(const struct client *c, const struct inode *dir)
{
    return c->config.name_cache && dir_names_fresh(c, dir) ? c->lease_until - c->now : 0;
}

/* ---- dropping -------------------------------------------------------------------------------- */

void cache_drop_attr(struct client *c, uint64_t ino)
{
    struct inode *i = inode_find(c, ino);
    if (i != NULL) {
        i->promised = false;
        if (!MUTANT(pages_kept_after_recall))
            inode_invalidate_kernel(c, i);
    }
}

static void drop_names(struct inode *dir)
{
    dir->names_promised = false;
    dir->ahead = (struct look_ahead){.asked = dir->ahead.asked};
    if (dir_leased(dir)) {
        return;
    }
    list_each(it, &dir->names) {
        container_of(it, struct name, in_dir)->fresh = false;
    }
}

void cache_drop_names(struct client *c, uint64_t ino)
{
    struct inode *dir = inode_find(c, ino);
    if (dir == NULL) {
        return;
    }
    drop_names(dir);
    if (dir->names_until > c->now && !MUTANT(names_kept_after_recall)) {
        (void)effect_add(c, CLIENT_NOTIFY_NAMES);
    }
    dir->names_until = 0;
}

/* d_move() keeps how long Linux may remember the name, which was promised of `from`. */
void cache_name_moved(struct client *c, const struct inode *from, struct inode *to)
{
    bool told = to->names_promised || dir_leased(to); /* when a name of it changes */
    if (from == to || from->names_until <= c->now) {
        return;
    }
    if (!told) {
        (void)effect_add(c, CLIENT_NOTIFY_NAMES);
    } else if (to->names_until < from->names_until) {
        to->names_until = from->names_until;
    }
}

void cache_drop_all(struct client *c)
{
    c->cache_epoch++; /* grants under way count no more */
    listings_void(c);
    bool names = false;
    size_t cursor = 0;
    void *value;
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        struct inode *i = value;
        i->promised = false;
        inode_invalidate_kernel(c, i);
        if (i->names_promised) {
            drop_names(i);
        }
        names |= i->names_until > c->now;
        i->names_until = 0;
    }
    if (names) {
        (void)effect_add(c, CLIENT_NOTIFY_NAMES);
    }
}

/* RULES L5: of an earlier term, asked for before all was dropped, or numbered below a recall. */
static bool grant_is_late(const struct client *c, const struct rpc *r,
                          const struct Fs__Reply *reply, Fs__Object__Kind kind, uint64_t ino)
{
    return reply->term != c->term || r->cache_epoch != c->cache_epoch ||
           reply->grant <= recall_last(c, kind, ino);
}

/* Without the lease it is nothing to rely on later either: who forgets it when the session goes
 * silent for him does not tell, and the Renew that brings the lease back may reach him after that.
 */
static bool grant_valid(const struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                        Fs__Object__Kind kind, uint64_t ino)
{
    return reply->grant != 0 && c->config.consistency == CLIENT_LINEARIZABLE &&
           session_lease_valid(c) &&
           (MUTANT(grant_crosses_recall) || !grant_is_late(c, r, reply, kind, ino));
}

bool grant_counts(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                  Fs__Object__Kind kind, uint64_t ino)
{
    bool covered = kind == FS__OBJECT__KIND__NAMES ? reply->grant_names : reply->grant_attr;
    return covered && grant_valid(c, r, reply, kind, ino);
}

bool grant_counts_entry(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                        const struct Fs__Entry *entry)
{
    return entry->promised && grant_valid(c, r, reply, FS__OBJECT__KIND__ATTR, entry->ino);
}

void cache_learn_names(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       struct inode *dir)
{
    if (grant_counts(c, r, reply, FS__OBJECT__KIND__NAMES, dir->ino)) {
        dir->names_promised = true;
    }
}

void cache_free(struct client *c)
{
    while (c->inodes.count != 0) {
        size_t cursor = 0;
        void *value;
        (void)map_next(&c->inodes, &cursor, NULL, &value);
        struct inode *i = value;
        if (i->file != NULL) {
            struct file *f = i->file;
            (void)file_lost(c, f, EIO);
            while (!list_empty(&f->handles)) {
                struct handle *h = list_first(&f->handles, struct handle, link);
                list_remove(&h->link);
                vec_done(&h->lock_owners);
                free(h);
            }
            i->file = NULL;
            list_remove(&f->lease_lru);
            list_remove(&f->dirty_link);
            list_remove(&f->space_link);
            list_remove(&f->buffer_link);
            list_remove(&f->renew_link);
            timer_clear(&f->commit_timer);
            timer_clear(&f->hold_timer);
            vec_done(&f->recalls);
            free(f);
        }
        inode_free(c, i);
    }
    map_done(&c->inodes);
    map_done(&c->names);
    for (size_t e = 0; e < c->root.entries.count; e++) {
        free((char *)(uintptr_t)c->root.entries.items[e].name);
    }
    vec_done(&c->root.entries);
}
