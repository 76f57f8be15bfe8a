/* Attributes, symlinks, extended attributes, space; and what operations answer in common. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/atime.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/core/state.h"

#define SET_ATIMES (FS_SETATTR_ATIME | FS_SETATTR_ATIME_NOW)
#define SET_MTIMES (FS_SETATTR_MTIME | FS_SETATTR_MTIME_NOW)

/* ---- in common ------------------------------------------------------------------------------- */

ProtobufCBinaryData op_bytes(const char *text)
{
    size_t size = strlen(text);
    return (ProtobufCBinaryData){.len = size, .data = xmemdup(text, size)};
}

struct rpc *op_question(struct client *c, struct op *op, Fs__Request__BodyCase what,
                        void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                     struct blob *))
{
    bool near = c->config.consistency == CLIENT_SESSION && handle_locks_hold(c, op->a.fh);
    struct rpc *r = rpc_new(near ? RPC_COPY : RPC_LEADER, op, done);
    if (near) {
        r->req->min_index = c->token;
    }
    r->req->body_case = what;
    if (what == FS__REQUEST__BODY_GETATTR) {
        r->req->getattr = xmalloc(sizeof(*r->req->getattr));
        fs__getattr__init(r->req->getattr);
    }
    return r;
}

struct inode *op_learn(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       const struct Fs__Attr *attr)
{
    return cache_learn(c, attr, grant_counts(c, r, reply, FS__OBJECT__KIND__ATTR, attr->ino));
}

int op_inode_error(const struct rpc *r, const struct Fs__Reply *reply)
{
    int err = rpc_error(r, reply);
    return err == ENOENT ? ESTALE : err;
}

enum { DISGUISES = 8 }; /* ns that a time is told too early, at most */

/* What an operation is answered that names a descriptor, or does not (`reads`), or is a SETATTR. */
static struct client_result attr_result(struct client *c, struct inode *i, bool sets, bool reads)
{
    struct client_result result = {0};
    struct inode_told told = inode_answer(c, i, &result.attr, &result.attr_valid_us);
    i->recheck = false;
    /* The kernel takes the time of the answer to a SETATTR and keeps its pages (fuse_do_setattr()),
     * among them those that others have changed since. They go when the next answer, which it asks
     * for before it reads, says another time. Times grow, so an earlier one it will not be. And who
     * asks before it reads, which names a descriptor as stat(2) does not, must not go on with pages
     * of other data that look the same: another time drops them with this very answer, where a
     * notification might come first, and the answer with the new size be ignored. */
    if (sets || (told.disguised && reads)) {
        result.attr_valid_us = 0; /* as below */
        /* Not the one of last time: Linux may have ignored what it was told in between. */
        i->disguise = i->disguise % DISGUISES + 1;
        result.attr.mtime += result.attr.mtime > 0 ? -i->disguise : i->disguise;
        i->sent_mtime = result.attr.mtime;
        i->pages_behind = sets && told.news;
    } else if (told.disguised) {
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = i->ino;
    }
    return result;
}

void op_answer_attr(struct client *c, struct op *op, struct inode *i)
{
    struct client_result result = {0};
    if (!op->answered) {
        result = attr_result(c, i, op->a.kind == CLIENT_SETATTR, op->a.fh != 0);
    }
    op_finish(c, op, &result);
}

time_us op_entry_valid(struct client *c, uint64_t ino)
{
    struct inode *dir = inode_find(c, ino);
    time_us valid = dir != NULL ? dir_entry_valid(c, dir) : 0;
    time_us until = c->now + valid + NEWS_TAKEN_IN; /* it counts from when it is taken in */
    if (valid != 0 && until > dir->names_until) {
        dir->names_until = until;
    }
    return valid;
}

bool op_walks_again(const struct client *c, const struct op *op)
{
    return op->a.kind == CLIENT_LOOKUP && op->since < c->walk_again_until;
}

void op_answer_entry(struct client *c, struct op *op, uint64_t dir, struct inode *i, uint64_t fh)
{
    struct client_result result = {.fh = fh, .direct_io = fh != 0 && handle_is_direct(op->a.flags)};
    if (!op->answered) {
        result.entry_valid_us = op_entry_valid(c, dir);
        inode_answer_lookup(c, i, &result.attr, &result.attr_valid_us);
    }
    if (op_walks_again(c, op)) {
        /* Linux walks a path once more after ESTALE and then gives up, which no program expects:
         * what this walk finds must not be gone again when the call comes to it. */
        i->wanted_until = c->now + WALK_AGAIN;
    }
    if (op->a.kind != CLIENT_LOOKUP) {
        /* The kernel takes these also when a notification overtakes them (fuse_iget() without a
         * version). A recheck would make it ignore its first question on the new descriptor. */
        result.attr_valid_us = 0;
        i->unconfirmed = i->recheck = false;
    }
    op_finish(c, op, &result);
}

/* ---- getattr --------------------------------------------------------------------------------- */

/* Linux ignores the answer to a GETATTR when it has taken another one since it sent that
 * (fuse_change_attributes() compares versions), and a read(2) then goes on with the size and the
 * pages from before. So all that are on their way are answered at once, when the last of them is
 * known, with the same. */
void op_answer_getattrs(struct client *c, uint64_t ino)
{
    struct inode *i = inode_get(c, ino);
    vec_of(struct op *) ops = {0};
    bool asks = false, reads = false, all = true;
    list_each(it, &i->getattrs) {
        struct op *op = container_of(it, struct op, ask);
        bool getattr = op->a.kind == CLIENT_GETATTR;
        vec_push(&ops, op);
        asks |= getattr;
        reads |= getattr && op->a.fh != 0;
        all &= op->told;
    }
    if (all && ops.count != 0) {
        struct client_result result = {0};
        if (asks) {
            result = attr_result(c, i, false, reads);
        }
        for (size_t k = 0; k < ops.count; k++) { /* all: two READs would wait for each other */
            list_remove(&ops.items[k]->ask);
        }
        for (size_t k = 0; k < ops.count; k++) {
            struct client_result same = result;
            if (ops.items[k]->a.kind == CLIENT_READ) {
                op_read_told(c, ops.items[k], asks);
            } else {
                op_finish(c, ops.items[k], &same);
            }
        }
    }
    vec_done(&ops);
    inode_settle(c, inode_get(c, ino));
}

void op_join_getattrs(struct op *op, struct inode *i)
{
    op->told = true;
    list_push_back(&i->getattrs, &op->ask);
}

/* At consistency=session some may wait for a leader, which others do not need, and a read may be as
 * late as the answer that the kernel took. */
static void ask_together(const struct client *c, struct op *op, struct inode *i)
{
    if (c->config.consistency == CLIENT_SESSION) {
        return;
    }
    list_push_back(&i->getattrs, &op->ask);
}

static void on_attr(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    struct inode *i = inode_find(c, op->a.ino);
    if (rpc_error(r, reply) == ENOENT && i != NULL && i->known && S_ISDIR(i->attr.mode)) {
        /* Removed at another mount: who has it open, or stands in it, sees it go on without a name,
         * as if it had been removed here. */
        i->attr.nlink = 0;
        op_answer_attr(c, op, i);
        return;
    }
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_ATTR || reply->attr == NULL ||
                     handle_lost_locks(c, op->a.fh))) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    i = op_learn(c, r, reply, reply->attr);
    if (!list_linked(&op->ask)) {
        op_answer_attr(c, op, i);
        return;
    }
    op->told = true;
    op_answer_getattrs(c, op->a.ino);
}

/* The leader must know what is known here. */
static bool inode_settled(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    return i == NULL || queue_wait(c, op, i->last_q);
}

void op_getattr(struct client *c, struct op *op)
{
    struct inode *i = inode_find(c, op->a.ino);
    if (handle_lost_locks(c, op->a.fh)) { /* read(2) asks before it uses cached pages */
        op_fail(c, op, EIO);
        return;
    }
    bool removed = i != NULL && i->known && S_ISDIR(i->attr.mode) && i->attr.nlink == 0;
    bool fresh = i != NULL && inode_attr_fresh(c, i) && handle_locks_hold(c, op->a.fh);
    if (removed || /* who has it open goes on seeing that */
        (fresh && list_empty(&i->getattrs))) {
        op_answer_attr(c, op, i);
        return;
    }
    op->why = "the leader, for the newest attributes";
    if (fresh) {
        op->told = true;
        ask_together(c, op, i);
        return;
    }
    if (!inode_settled(c, op)) {
        return;
    }
    ask_together(c, op, inode_get(c, op->a.ino));
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_GETATTR, on_attr);
    r->req->getattr->ino = op->a.ino;
    rpc_start(c, r);
}

/* ---- setattr --------------------------------------------------------------------------------- */

struct inode *op_changed_inode(struct client *c, struct rpc *r, const struct Fs__Reply *reply)
{
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, r->op, err);
        return NULL;
    }
    struct inode *i = op_learn(c, r, reply, reply->op->attr);
    if (i->file != NULL) {
        file_follow_attr(i->file);
    }
    return i;
}

static void on_changed(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    struct inode *i = op_changed_inode(c, r, reply);
    if (i == NULL) {
        return;
    }
    if (op->a.kind == CLIENT_SETATTR) {
        if ((op->a.set & SET_ATIMES) != 0) {
            atime_set(c, i->ino);
        }
        struct inode *busy[OP_BUSY_MAX];
        (void)op_idle(op, busy); /* it is over: the answer may be relied on */
        op_answer_attr(c, op, i);
    } else {
        inode_invalidate_kernel(c,
                                i); /* ctime changed, and the kernel does not ask again by itself */
        op_fail(c, op, 0);
    }
}

/* Times of a file with data not committed yet go with the next COMMIT, behind the writes before. */
static uint32_t fold_times(struct client *c, struct file *f, const struct client_op *a,
                           uint32_t set)
{
    if ((set & (SET_ATIMES | SET_MTIMES)) == 0) {
        return set;
    }
    if ((set & SET_ATIMES) != 0) {
        f->atime = (set & FS_SETATTR_ATIME_NOW) != 0 ? c->wall_ns : a->atime;
        f->atime_dirty = true;
    }
    if ((set & SET_MTIMES) != 0) {
        f->mtime = (set & FS_SETATTR_MTIME_NOW) != 0 ? c->wall_ns : a->mtime; /* back, too */
    }
    if (!file_dirty(f) && session_take_space(c, COMMIT_OVERHEAD)) {
        f->dirty_space += COMMIT_OVERHEAD;
    }
    f->meta_dirty = true;
    file_mark_dirty(c, f);
    return set & ~(SET_ATIMES | SET_MTIMES | FS_SETATTR_CTIME);
}

/* As a write: not while the session may have ended, or is about to, for then they would be lost;
 * nor when another mount has asked for the lease, which would have to wait for one COMMIT more. */
static bool may_fold(const struct client *c, const struct file *f)
{
    return session_lease_valid(c) && !c->ending && !c->breaking && f->recalls.count == 0;
}

/* In a COMMIT a time of 0 means none. */
static bool sets_epoch(const struct client_op *a, uint32_t set)
{
    return ((set & SET_ATIMES) != 0 && (set & FS_SETATTR_ATIME_NOW) == 0 && a->atime == 0) ||
           ((set & SET_MTIMES) != 0 && (set & FS_SETATTR_MTIME_NOW) == 0 && a->mtime == 0);
}

struct Fs__Setattr *op_setattr_message(const struct op *op, uint64_t ino, uint32_t set)
{
    struct Fs__Setattr *m = xmalloc(sizeof(*m));
    fs__setattr__init(m);
    m->ino = ino;
    m->valid = set;
    m->mode = op->a.mode;
    m->uid = op->a.uid;
    m->gid = op->a.gid;
    m->atime = op->a.atime;
    m->mtime = op->a.mtime;
    m->ctime = op->a.ctime;
    return m;
}

static void send_setattr(struct client *c, struct op *op, uint32_t set)
{
    if (local_setattr(c, op, set) || !queue_drained(c, op)) {
        return;
    }
    op_busy(op, inode_get(c, op->a.ino), BUSY_ATTR);
    op->why = "the leader, who changes the attributes";
    struct rpc *r = rpc_new_op(op, true, on_changed);
    r->req->op->body_case = FS__OP__BODY_SETATTR;
    r->req->op->setattr = op_setattr_message(op, op->a.ino, set);
    rpc_start(c, r);
}

/* A size goes by COMMIT under the own lease, through the file's queue, and comes back here. */
void op_setattr(struct client *c, struct op *op)
{
    struct inode *i = inode_get(c, op->a.ino);
    if (op->lost != 0) {
        op_fail(c, op, op->lost);
        return;
    }
    uint32_t set = op->a.set & ~CLIENT_SET_SIZE;
    if ((set & SET_ATIMES) != 0) {
        atime_set(c, op->a.ino);
    }
    if ((op->a.set & CLIENT_SET_SIZE) != 0) {
        if (!op->frozen) {
            file_enqueue(c, file_get(c, i), op);
            return;
        }
        set &= ~(SET_MTIMES | FS_SETATTR_CTIME); /* the COMMIT set them */
    } else if (op->a.kill_setid) {
        set |= FS_SETATTR_SETID;
    }
    struct file *f = i->file;
    if (f != NULL && file_refers(f)) { /* no COMMIT goes behind one that may be refused */
        commit_wait(c, op, i->ino, file_freeze(c, f));
        return;
    }
    if (f != NULL && f->lease == LEASE_HELD && file_busy(f)) {
        bool times = (set & (SET_ATIMES | SET_MTIMES)) != 0;
        if (!times || (!sets_epoch(&op->a, set) && may_fold(c, f))) {
            set = fold_times(c, f, &op->a, set);
        } else if (op->wait_ino == 0) { /* once: what is written meanwhile comes behind it */
            commit_wait(c, op, i->ino, file_freeze(c, f));
            return;
        }
    }
    if (set != 0) {
        send_setattr(c, op, set);
    } else {
        op_answer_attr(c, op, i);
    }
}

/* ---- symlinks and extended attributes -------------------------------------------------------- */

static void on_data(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    struct inode *i = inode_find(c, op->a.ino);
    if (i != NULL && op->a.kind == CLIENT_READLINK) {
        atime_read(c, i, 0);
    }
    bool some = reply->body_case == FS__REPLY__BODY_DATA && reply->data.len != 0;
    op_finish(c, op,
              &(struct client_result){.data = some ? blob_copy(reply->data.data, reply->data.len)
                                                   : NULL});
}

void op_readlink(struct client *c, struct op *op)
{
    op->why = "the leader, for the link's target";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_READLINK, on_data);
    r->req->readlink = xmalloc(sizeof(*r->req->readlink));
    fs__readlink__init(r->req->readlink);
    r->req->readlink->ino = op->a.ino;
    rpc_start(c, r);
}

/* FUSE.md 2: the kernel asks for security.capability again and again. */
static bool has_none(const struct client *c, uint64_t ino)
{
    const struct inode *i = inode_find(c, ino);
    return i != NULL && inode_attr_fresh(c, i) && !i->attr.has_xattrs;
}

void op_getxattr(struct client *c, struct op *op)
{
    if (has_none(c, op->a.ino)) {
        op_fail(c, op, ENODATA);
        return;
    }
    if (!inode_settled(c, op)) {
        return;
    }
    op->why = "the leader, for an extended attribute";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_GETXATTR, on_data);
    r->req->getxattr = xmalloc(sizeof(*r->req->getxattr));
    fs__getxattr__init(r->req->getxattr);
    r->req->getxattr->ino = op->a.ino;
    r->req->getxattr->name = xstrdup(op->a.name);
    rpc_start(c, r);
}

void op_listxattr(struct client *c, struct op *op)
{
    if (has_none(c, op->a.ino)) {
        op_fail(c, op, 0);
        return;
    }
    if (!inode_settled(c, op)) {
        return;
    }
    op->why = "the leader, for the extended attributes";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_LISTXATTR, on_data);
    r->req->listxattr = xmalloc(sizeof(*r->req->listxattr));
    fs__listxattr__init(r->req->listxattr);
    r->req->listxattr->ino = op->a.ino;
    rpc_start(c, r);
}

void op_setxattr(struct client *c, struct op *op)
{
    if (op->lost != 0) { /* what was done before it */
        op_fail(c, op, op->lost);
        return;
    }
    if (local_setxattr(c, op) || !queue_drained(c, op)) {
        return;
    }
    op_busy(op, inode_get(c, op->a.ino), BUSY_ATTR);
    op->why = "the leader, who sets the extended attribute";
    struct rpc *r = rpc_new_op(op, true, on_changed);
    struct Fs__Setxattr *m = xmalloc(sizeof(*m));
    fs__setxattr__init(m);
    m->ino = op->a.ino;
    m->name = xstrdup(op->a.name);
    if (op->a.data != NULL) {
        m->value.len = op->a.data->size;
        m->value.data = xmemdup(op->a.data->data, op->a.data->size);
    }
    m->flags = op->a.flags;
    m->kill_sgid = op->a.kill_sgid;
    r->req->op->body_case = FS__OP__BODY_SETXATTR;
    r->req->op->setxattr = m;
    rpc_start(c, r);
}

void op_removexattr(struct client *c, struct op *op)
{
    if (op->lost != 0) { /* what was done before it */
        op_fail(c, op, op->lost);
        return;
    }
    if (local_setxattr(c, op) || !queue_drained(c, op)) {
        return;
    }
    op_busy(op, inode_get(c, op->a.ino), BUSY_ATTR);
    op->why = "the leader, who removes the extended attribute";
    struct rpc *r = rpc_new_op(op, true, on_changed);
    struct Fs__Removexattr *m = xmalloc(sizeof(*m));
    fs__removexattr__init(m);
    m->ino = op->a.ino;
    m->name = xstrdup(op->a.name);
    r->req->op->body_case = FS__OP__BODY_REMOVEXATTR;
    r->req->op->removexattr = m;
    rpc_start(c, r);
}

/* ---- statfs ---------------------------------------------------------------------------------- */

static void answer_statfs(struct client *c, struct op *op)
{
    op_finish(c, op,
              &(struct client_result){.total_bytes = c->total_bytes,
                                      .free_bytes = c->free_bytes,
                                      .inodes = c->total_inodes});
}

void client_learn_space(struct client *c, const struct Fs__StatfsReply *m)
{
    c->total_bytes = m->total;
    c->free_bytes = m->free;
    c->total_inodes = m->inodes;
    c->statfs_known = true;
}

static void on_statfs(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && reply->body_case != FS__REPLY__BODY_STATFS) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    client_learn_space(c, reply->statfs);
    answer_statfs(c, op);
}

/* Only the leader hears how full the others are. */
void op_statfs(struct client *c, struct op *op)
{
    op->why = "the leader, for the free space";
    struct rpc *r = rpc_new(RPC_LEADER, op, on_statfs);
    r->req->body_case = FS__REQUEST__BODY_STATFS;
    r->req->statfs = xmalloc(sizeof(*r->req->statfs));
    fs__statfs__init(r->req->statfs);
    rpc_start(c, r);
}

/* ---- without a leader ------------------------------------------------------------------------ */

static bool answer_stale(struct client *c, struct op *op)
{
    struct inode *root = inode_find(c, ROOT_INO);
    if (op->a.kind == CLIENT_STATFS && c->statfs_known) {
        answer_statfs(c, op);
        return true;
    }
    if (op->a.kind == CLIENT_GETATTR && root != NULL && root->known) {
        op_answer_attr(c, op, root);
        return true;
    }
    bool no_xattrs = root != NULL && root->known && !root->attr.has_xattrs;
    if (op->a.kind == CLIENT_GETXATTR && no_xattrs) {
        op_fail(c, op, ENODATA);
        return true;
    }
    if (op->a.kind == CLIENT_LISTXATTR && no_xattrs) {
        op_finish(c, op, NULL);
        return true;
    }
    return op->a.kind == CLIENT_READDIR && op_readdir_stale(c, op);
}

/* `df` and `ls` of the mount point must not hang with the cluster: after a while they get what was
 * true last. */
void op_root_timeout(struct client *c, struct timer *t)
{
    struct op *op = container_of(t, struct op, root);
    bool leaderless =
        c->leaderless_since != 0 && time_since(c->now, c->leaderless_since) >= STALE_ROOT_DELAY;
    if (!leaderless || !answer_stale(c, op)) {
        timer_set(c, TIMER_ROOT, &op->root, c->now + STALE_ROOT_DELAY, op_root_timeout);
    }
}
