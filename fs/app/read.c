/* Answers from the applied state: at the leader with promises and after foreign write leases came
 * back (RULES L3, L4), at any copy by wanted index (RULES B8, L10). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

/* One answer in the making. Without a session (a follower's answer) nothing is promised and leases
 * do not matter. */
struct answer {
    struct fs_app *app;
    struct session *session;
    Fs__Reply *reply;
    struct object *wait; /* the answer has to wait for this */
    uint64_t asker;      /* the session, also when a copy answers it ... */
    bool leaderless;     /* ... in the leader's stead */
    bool with_blocks;
};

static void grant_number(struct answer *a)
{
    if (!a->reply->grant)
        a->reply->grant = ++a->session->next_n;
}

static bool promise(struct answer *a, enum object_kind kind, uint64_t ino)
{
    if (!a->session || !session_may_hold(a->app, a->session))
        return false;
    struct object *o = object_get(a->app, kind, ino);
    bool calm = object_calm(o);
    if (calm) {
        object_promise(a->app, o, a->session);
        grant_number(a);
    }
    object_settle(a->app, o);
    return calm;
}

static void promise_attr(struct answer *a, const Fs__Attr *attr)
{
    bool foreign = attr->lease_session && a->session && attr->lease_session != a->session->id;
    if (!foreign && promise(a, OBJECT_ATTR, attr->ino))
        a->reply->grant_attr = true;
}

static void promise_names(struct answer *a, uint64_t dir)
{
    if (promise(a, OBJECT_NAMES, dir))
        a->reply->grant_names = true;
}

/* RULES L4: true when nobody else may be writing it. */
static bool settled(struct answer *a, const Fs__Attr *attr)
{
    a->wait = a->session ? lease_in_the_way(a->app, a->session, attr) : NULL;
    return !a->wait;
}

static void put_attr(struct answer *a, const Fs__Attr *attr)
{
    a->reply->body_case = FS__REPLY__BODY_ATTR;
    a->reply->attr = attr_copy(attr);
    promise_attr(a, attr);
}

/* The same of a directory's names (RULES D1). What is no directory says so below. */
static bool names_settled(struct answer *a, uint64_t dir)
{
    Fs__Attr attr = FS__ATTR__INIT;
    return !a->session || MUTANT(dir_lease_read_around) ||
           fs_get_attr(a->app->config.state, dir, &attr) < 0 || settled(a, &attr);
}

/* RULES D1: whoever has the lease of a directory relies on nobody else knowing the inodes that it
 * made there, until the lease is recalled. A copy recalls nothing, so it tells none of them; unless
 * nobody leads, and then the mount has the leader recall the lease before it asks for anything else
 * (fs/client/around.c). A copy whose state has a name has the lease under which it was made. */
static bool told_by_leader(struct answer *a, uint64_t dir)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (a->session || a->leaderless || fs_get_attr(a->app->config.state, dir, &attr) < 0 ||
        !S_ISDIR(attr.mode) || !attr.lease_session || attr.lease_session == a->asker)
        return false;
    a->reply->leader_only = true;
    return true;
}

/* The epoch of the asker's lease of `dir`, when it knows alone what has all its names there; 0: it
 * does not. */
static uint64_t alone(struct answer *a, const Fs__Attr *dir, const Fs__Attr *attr)
{
    bool own = a->session && dir->lease_session == a->session->id && attr->home == dir->ino;
    return own && knows_alone(a->app, a->session, attr->ino) ? dir->lease_epoch : 0;
}

/* RULES L7: an open must not slip past a removal that asked who has it open; nor past one that gave
 * up while a mount had not answered yet, for that answer counts for the next one. */
static bool may_be_opened(struct answer *a, uint64_t ino)
{
    struct object *o = a->session ? object_find(a->app, OBJECT_OPEN, ino) : NULL;
    bool removed = o && (o->shared || o->exclusive || o->asked.count);
    a->wait = removed ? o : NULL;
    return !removed;
}

/* Linux opens these by itself as soon as it has found them. */
static bool opened_when_found(const Fs__Attr *attr)
{
    return S_ISFIFO(attr->mode) || S_ISCHR(attr->mode) || S_ISBLK(attr->mode);
}

static int lookup(struct answer *a, const Fs__Lookup *m)
{
    Fs__Attr attr = FS__ATTR__INIT, dir = FS__ATTR__INIT;
    if (!names_settled(a, m->parent))
        return 0;
    int r = fs_lookup(a->app->config.state, m->parent, m->name.data, m->name.len, &attr);
    if (r == 0 && told_by_leader(a, m->parent))
        return -EAGAIN;
    if (r == 0 && !settled(a, &attr))
        return 0;
    if (r == 0 && opened_when_found(&attr) && !may_be_opened(a, attr.ino))
        return 0;
    if (r == 0 || r == -ENOENT)
        promise_names(a, m->parent);
    if (r == 0)
        put_attr(a, &attr);
    if (r == 0 && fs_get_attr(a->app->config.state, m->parent, &dir) == 0)
        a->reply->alone = alone(a, &dir, &attr);
    return r;
}

static int getattr(struct answer *a, const Fs__Getattr *m)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (m->open && !may_be_opened(a, m->ino))
        return 0;
    int r = fs_get_attr(a->app->config.state, m->ino, &attr);
    /* RULES L7: without a name it lives only for those that held it open then, and only until they
     * close it. Who comes later is told that it is gone. */
    if (r == 0 && m->open && a->session && attr.nlink == 0 &&
        !fs_holds(a->app->config.state, m->ino, a->session->id))
        return -ENOENT;
    if (r == 0 && settled(a, &attr))
        put_attr(a, &attr);
    return r;
}

struct listing {
    struct answer *a;
    Fs__ReaddirReply *reply;
    size_t max;
    Fs__Attr dir;
};

static bool list_entry_of(void *ctx, const Fs__Entry *entry)
{
    struct listing *l = ctx;
    if (l->reply->n_entries == l->max)
        return false;
    Fs__Entry *copy = xmemdup(entry, sizeof *entry);
    copy->name.data = xmemdup(entry->name.data, entry->name.len);
    copy->attr = NULL;
    copy->promised = false;
    copy->alone = 0;
    const Fs__Attr *attr = entry->attr;
    const struct session *s = l->a->session;
    /* RULES L4: no attributes of what somebody else may be writing */
    if (attr && (!s || !attr->lease_session || attr->lease_session == s->id)) {
        copy->attr = attr_copy(attr);
        copy->promised = promise(l->a, OBJECT_ATTR, attr->ino);
        copy->alone = alone(l->a, &l->dir, attr);
    }
    l->reply->entries[l->reply->n_entries++] = copy;
    return true;
}

static int readdir(struct answer *a, const Fs__Readdir *m)
{
    if (!names_settled(a, m->ino))
        return 0;
    if (told_by_leader(a, m->ino))
        return -EAGAIN;
    struct listing l = {a, xmalloc(sizeof(Fs__ReaddirReply)), m->max, FS__ATTR__INIT};
    (void)fs_get_attr(a->app->config.state, m->ino, &l.dir);
    if (l.max == 0 || l.max > READDIR_MAX)
        l.max = READDIR_MAX;
    fs__readdir_reply__init(l.reply);
    l.reply->entries = xcalloc(l.max, sizeof(Fs__Entry *));
    a->reply->body_case = FS__REPLY__BODY_READDIR;
    a->reply->readdir = l.reply;
    int r = fs_readdir(a->app->config.state, m->ino, m->after, m->plus, list_entry_of, &l);
    l.reply->end = r == 1;
    if (r >= 0)
        promise_names(a, m->ino);
    return r < 0 ? r : 0;
}

static int put_data(struct answer *a, int r, struct blob *data)
{
    if (r < 0)
        return r;
    a->reply->body_case = FS__REPLY__BODY_DATA;
    a->reply->data.len = data->size;
    a->reply->data.data = xmemdup(data->data, data->size);
    blob_unref(data);
    return 0;
}

static int readlink_of(struct answer *a, uint64_t ino)
{
    struct blob *data = NULL;
    int r = fs_readlink(a->app->config.state, ino, &data);
    return put_data(a, r, data);
}

/* Attributes that carry data of the inode: RULES L4 holds for them too. */
static int xattr_of(struct answer *a, uint64_t ino, const char *name)
{
    Fs__Attr attr = FS__ATTR__INIT;
    struct blob *data = NULL;
    int r = fs_get_attr(a->app->config.state, ino, &attr);
    if (r < 0 || !settled(a, &attr))
        return r;
    r = name ? fs_getxattr(a->app->config.state, ino, name, &data)
             : fs_listxattr(a->app->config.state, ino, &data);
    return put_data(a, r, data);
}

static Fs__Piece *piece_of(const struct fs_extent *x)
{
    Fs__Piece *p = xmalloc(sizeof *p);
    fs__piece__init(p);
    p->first_page = x->first_page;
    p->pages = x->pages;
    p->block_page = x->block_page;
    p->block = xmalloc(sizeof *p->block);
    fs__block__init(p->block);
    p->block->session = x->block.name.session;
    p->block->n = x->block.name.n;
    p->block->size = x->block.size;
    return p;
}

/* What is sent of it: the stored part of the whole runs around its pages (RULES B8). */
static uint64_t bytes_of(const struct fs_extent *x)
{
    const uint64_t run_pages = BLOCK_RUN_SIZE / BLOCK_PAGE_SIZE;
    uint64_t from = x->block_page / run_pages * BLOCK_RUN_SIZE;
    uint64_t end =
        ((uint64_t)x->block_page + x->pages + run_pages - 1) / run_pages * BLOCK_RUN_SIZE;
    if (end > x->block.size)
        end = x->block.size;
    return end > from ? end - from : 0;
}

/* A file written in small pieces makes each of them a run of its own. */
static bool too_large(const struct fs_extent *extents, int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += bytes_of(&extents[i]);
    return bytes > FS_APP_READ_BYTES_MAX;
}

static int read_data(struct answer *a, const Fs__Read *m)
{
    Fs__Attr attr = FS__ATTR__INIT;
    if (m->pages > READ_PAGES_MAX)
        return -EINVAL;
    int r = fs_get_attr(a->app->config.state, m->ino, &attr);
    if (r < 0 || !settled(a, &attr))
        return r;
    struct fs_extent *extents = xcalloc(m->pages + 1, sizeof *extents);
    int count =
        fs_read_map(a->app->config.state, m->ino, m->first_page, m->pages, extents, m->pages + 1);
    if (too_large(extents, count))
        count = -EINVAL; /* less than asked for would be taken for all there is */
    if (count >= 0) {
        Fs__ReadReply *body = xmalloc(sizeof *body);
        fs__read_reply__init(body);
        body->attr = attr_copy(&attr);
        body->pieces = xcalloc((size_t)count + 1, sizeof(Fs__Piece *));
        body->n_pieces = (size_t)count;
        for (int i = 0; i < count; i++)
            body->pieces[i] = piece_of(&extents[i]);
        a->reply->body_case = FS__REPLY__BODY_READ;
        a->reply->read = body;
        a->with_blocks = count > 0;
        promise_attr(a, &attr);
    }
    free(extents);
    return count < 0 ? count : 0;
}

static int extents_of(struct answer *a, const Fs__Extents *m)
{
    struct fs_range ranges[EXTENTS_MAX];
    Fs__Attr attr = FS__ATTR__INIT;
    uint64_t until = 0;
    int r = fs_get_attr(a->app->config.state, m->ino, &attr);
    if (r < 0 || !settled(a, &attr))
        return r;
    size_t max = m->max && m->max < EXTENTS_MAX ? m->max : EXTENTS_MAX;
    int count = fs_data_ranges(a->app->config.state, m->ino, m->first_page, ranges, max, &until);
    if (count < 0)
        return count;
    Fs__ExtentsReply *body = xmalloc(sizeof *body);
    fs__extents_reply__init(body);
    body->attr = attr_copy(&attr);
    body->until = until;
    body->ranges = xcalloc((size_t)count + 1, sizeof(Fs__Range *));
    body->n_ranges = (size_t)count;
    for (int i = 0; i < count; i++) {
        body->ranges[i] = xmalloc(sizeof(Fs__Range));
        fs__range__init(body->ranges[i]);
        body->ranges[i]->first_page = ranges[i].first_page;
        body->ranges[i]->pages = ranges[i].pages;
    }
    a->reply->body_case = FS__REPLY__BODY_EXTENTS;
    a->reply->extents = body;
    promise_attr(a, &attr);
    return 0;
}

Fs__StatfsReply *statfs_reply(const struct fs_app *app)
{
    struct fs_totals totals = fs_state_totals(app->config.state);
    Fs__StatfsReply *body = xmalloc(sizeof *body);
    fs__statfs_reply__init(body);
    body->total = app->total_bytes;
    body->free = app->free_bytes > totals.reserved ? app->free_bytes - totals.reserved : 0;
    body->inodes = totals.inodes;
    return body;
}

static int answer(struct answer *a, const Fs__Request *req)
{
    switch (req->body_case) {
    case FS__REQUEST__BODY_LOOKUP:
        return lookup(a, req->lookup);
    case FS__REQUEST__BODY_GETATTR:
        return getattr(a, req->getattr);
    case FS__REQUEST__BODY_READDIR:
        return readdir(a, req->readdir);
    case FS__REQUEST__BODY_READLINK:
        return readlink_of(a, req->readlink->ino);
    case FS__REQUEST__BODY_GETXATTR:
        return xattr_of(a, req->getxattr->ino, req->getxattr->name);
    case FS__REQUEST__BODY_LISTXATTR:
        return xattr_of(a, req->listxattr->ino, NULL);
    case FS__REQUEST__BODY_STATFS:
        a->reply->body_case = FS__REPLY__BODY_STATFS;
        a->reply->statfs = statfs_reply(a->app);
        return 0;
    case FS__REQUEST__BODY_READ:
        return read_data(a, req->read);
    case FS__REQUEST__BODY_EXTENTS:
        return extents_of(a, req->extents);
    case FS__REQUEST__BODY_OP:
    case FS__REQUEST__BODY_RENEW:
    case FS__REQUEST__BODY_RECALL_ACK:
    case FS__REQUEST__BODY_LOCK_QUERY:
    case FS__REQUEST__BODY__NOT_SET:
    case _FS__REQUEST__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return -EINVAL;
}

static void send(struct answer *a, uint64_t client)
{
    if (!a->with_blocks) {
        app_send(a->app, client, a->reply);
        return;
    }
    struct fs_app_effect *e = app_effect(a->app, FS_APP_READ_BLOCKS);
    e->client = client;
    e->reply = a->reply;
}

void read_run(struct fs_app *app, struct request *r, struct session *s)
{
    if (!request_has_point(app, r))
        return;
    struct answer a = {.app = app, .session = s, .reply = reply_new(app, r->id)};
    int err = answer(&a, r->req);
    if (a.wait) {
        fs__reply__free_unpacked(a.reply, NULL);
        request_wait_object(app, r, a.wait);
        return;
    }
    a.reply->err = -err;
    send(&a, r->client);
    request_end(app, r);
}

/* Takes req. */
void read_follower(struct fs_app *app, uint64_t client, Fs__Request *req)
{
    if (!app->config.state) {
        app_send(app, client,
                 reply_error(app, req->id, EAGAIN, "this copy is taking in a snapshot"));
        fs__request__free_unpacked(req, NULL);
        return;
    }
    struct answer a = {.app = app,
                       .reply = reply_new(app, req->id),
                       .asker = req->session,
                       .leaderless = req->leaderless};
    a.reply->err = -answer(&a, req);
    send(&a, client);
    fs__request__free_unpacked(req, NULL);
}
