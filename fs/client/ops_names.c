/* Names: look up, make, remove, rename, link. The leader decides; what it answers is what is known
 * here afterwards, so the own promise on a directory survives own changes of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/look_ahead.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

#define RENAME_FLAG_EXCHANGE 2u

/* ---- what one name means from now on --------------------------------------------------------- */

/* A change that was sent once more may be answered as it was the first time. The promise since then
 * may be another one, and the name another's; under the lease it is not. */
static bool is_old(const struct client *c, const struct rpc *r, uint64_t dir)
{
    const struct inode *d = inode_find(c, dir);
    return r->changes && r->again && !(d != NULL && dir_leased(d));
}

/* Under a promise it is a fact. Without one it is a hint, good for telling the leader what is
 * meant. */
static void set_name(struct client *c, const struct rpc *r, uint64_t dir, const char *name,
                     uint64_t ino)
{
    struct inode *d = inode_find(c, dir);
    bool fact = d != NULL && (d->names_promised || dir_leased(d)) && !is_old(c, r, dir);
    if (d == NULL || (!fact && ino == 0)) {
        name_forget(c, dir, name);
        return;
    }
    name_learn(c, d, name, strlen(name), ino);
    struct name *n = name_find(c, dir, name);
    n->fresh &= fact;
}

/* Beside what the promise covers. */
static void hint_name(struct client *c, struct inode *dir, const char *name, uint64_t ino)
{
    name_learn(c, dir, name, strlen(name), ino);
    name_find(c, dir->ino, name)->fresh = false;
}

static uint64_t name_hint(const struct client *c, uint64_t dir, const char *name)
{
    const struct name *n = name_find(c, dir, name);
    return n != NULL ? n->ino : 0;
}

static void learn_plain(struct client *c, const struct Fs__Attr *attr)
{
    if (attr != NULL) {
        (void)cache_learn(c, attr, false);
    }
}

static void answer_absent(struct client *c, struct op *op, uint64_t dir)
{
    op_finish(c, op,
              &(struct client_result){.err = ENOENT, .entry_valid_us = op_entry_valid(c, dir)});
}

/* An operation that made its answer: what it changes is known again. */
static void settle_busy(struct client *c, struct op *op)
{
    struct inode *inodes[OP_BUSY_MAX];
    size_t count = op_idle(op, inodes);
    for (size_t i = 0; i < count; i++) {
        inode_settle(c, inodes[i]);
    }
}

/* ---- still there ------------------------------------------------------------------------------
 */

static void on_still_there(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                           struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    struct inode *i = op->opening;
    int err = rpc_error(r, reply);
    /* Its name is free again, or another's; or it lives only by our hold, which goes now. */
    if (err == ENOENT || (err == 0 && session_drops_hold(c, i->ino))) {
        op->opening = NULL;
        i->opening--;
        inode_settle(c, i);
        op_run(c, op);
        return;
    }
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_ATTR || reply->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    (void)op_learn(c, r, reply, reply->attr);
    bool made = op->a.kind == CLIENT_MAKE;
    uint64_t fh = made && !op->answered ? handle_new(c, i, op->a.flags)->fh : 0;
    op_answer_entry(c, op, made ? op->a.parent : 0, i, fh); /* found some time ago */
}

/* RULES L7: CREATE, or the LOOKUP of a second walk, has found the file, but its answer carries no
 * promise, so a removal may have asked since whether it is open here: an answer that was lost with
 * a link is given once more as it was. */
static void ask_still_there(struct client *c, struct op *op, struct inode *i)
{
    op->opening = i;
    i->opening++;
    op->why = "the leader, who knows whether the file is being unlinked";
    struct rpc *r = rpc_new(RPC_LEADER, op, on_still_there);
    r->req->body_case = FS__REQUEST__BODY_GETATTR;
    r->req->getattr = xmalloc(sizeof(*r->req->getattr));
    fs__getattr__init(r->req->getattr);
    r->req->getattr->ino = i->ino;
    r->req->getattr->open = true;
    rpc_start(c, r);
}

/* ---- lookup ---------------------------------------------------------------------------------- */

/* What a second walk finds must not be under removal already: there is no third one. False: the
 * operation waits until that is known, and looks again if it was. */
static bool found_to_stay(struct client *c, struct op *op, struct inode *i, bool promised)
{
    bool asks = c->config.consistency != CLIENT_SESSION || session_leader_usable(c);
    if (!op_walks_again(c, op) || op->answered || S_ISDIR(i->attr.mode) || !asks) {
        return true;
    }
    if (promised && i->denied == 0) {
        return true;
    }
    settle_busy(c, op);
    if (!op_open_waits(c, op, i, NULL)) {
        ask_still_there(c, op, i);
    }
    return false;
}

static void on_lookup(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    bool found = err == 0 && reply->body_case == FS__REPLY__BODY_ATTR && reply->attr != NULL;
    if (!found && err != ENOENT) {
        op_fail(c, op, err != 0 ? err : EIO);
        return;
    }
    struct inode *dir = inode_get(c, op->a.parent);
    op_busy(op, dir, BUSY_ATTR); /* keeps it */
    cache_learn_names(c, r, reply, dir);
    /* A promise held from before says nothing about an answer that came without one. */
    const struct name *n = name_find(c, dir->ino, op->a.name);
    if (dir_leased(dir) && n != NULL && !queue_reached(c, n->q)) {
        settle_busy(c, op);
        op_run(c, op); /* it was changed here meanwhile */
        return;
    }
    bool fact = grant_counts(c, r, reply, FS__OBJECT__KIND__NAMES, dir->ino) || dir_leased(dir);
    if (fact || !dir->names_promised) {
        set_name(c, r, dir->ino, op->a.name, found ? reply->attr->ino : 0);
    } else if (found && (n == NULL || !n->fresh)) { /* a rename has to know whose bytes go first */
        hint_name(c, dir, op->a.name, reply->attr->ino);
    }
    if (!found) {
        answer_absent(c, op, fact ? dir->ino : 0);
        return;
    }
    struct inode *i = op_learn(c, r, reply, reply->attr);
    inode_told_alone(c, i, dir, reply->alone);
    if (found_to_stay(c, op, i, grant_counts(c, r, reply, FS__OBJECT__KIND__ATTR, i->ino))) {
        op_answer_entry(c, op, fact ? dir->ino : 0, i, 0);
    }
}

void op_lookup(struct client *c, struct op *op)
{
    uint64_t parent = op->a.parent;
    struct inode *dir = inode_find(c, parent);
    const struct name *n = name_find(c, parent, op->a.name);
    if (dir != NULL && n != NULL && n->fresh && dir_names_fresh(c, dir)) {
        struct inode *i = n->ino != 0 ? inode_find(c, n->ino) : NULL;
        if (n->ino == 0) {
            answer_absent(c, op, op->a.parent);
            return;
        }
        if (i != NULL && inode_attr_fresh(c, i)) {
            dir->ahead.hits++;
            op_answer_entry(c, op, op->a.parent, i, 0);
            return;
        }
    }
    if (n == NULL && dir != NULL && dir_leased(dir) && dir->dir->complete &&
        dir_names_fresh(c, dir)) {
        answer_absent(c, op, op->a.parent);
        return;
    }
    if (!queue_wait(c, op, n != NULL ? n->q : 0) ||
        !queue_wait(c, op, dir != NULL ? dir->made_q : 0)) {
        return; /* the leader must know what is known here */
    }
    op->why = "the leader, who looks the name up";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_LOOKUP, on_lookup);
    r->req->lookup = xmalloc(sizeof(*r->req->lookup));
    fs__lookup__init(r->req->lookup);
    r->req->lookup->parent = op->a.parent;
    r->req->lookup->name = op_bytes(op->a.name);
    rpc_start(c, r);
    look_ahead(c, parent);
}

void op_forget(struct client *c, struct op *op)
{
    struct inode *i = inode_find(c, op->a.ino);
    if (i != NULL) {
        i->nlookup -= op->a.nlookup < i->nlookup ? op->a.nlookup : i->nlookup;
        if (i->nlookup == 0) { /* the kernel has nothing of it any more */
            i->sent = false;
            i->kernel_until = 0;
            i->pages_version = 0;
            file_drop_hold(c, i);
        }
        inode_settle(c, i);
    }
    op_fail(c, op, 0);
}

/* ---- make ------------------------------------------------------------------------------------ */

/* RULES L1: CREATE grants the write lease in the same entry. */
static void take_lease(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       struct inode *i, const struct Fs__Attr *attr)
{
    struct file *f = file_get(c, i);
    if (f->lease == LEASE_NONE && attr->lease_session == c->session && c->state == SESSION_LIVE &&
        !recall_voids_lease(c, i->ino, r->req->id)) {
        file_lease_granted(c, f, attr->lease_epoch, 0);
        if (reply->locks_here) {
            locks_granted_here(c, f);
        }
    }
    file_settle(c, f);
}

/* Another mount was faster. Linux, that took the name to be free, takes what CREATE answers for
 * new, and asks neither what it is nor whether the caller may open it. False: it has to look again,
 * as it does after ESTALE. (Nor does it cut the file off for O_TRUNC: as if it had been cut off
 * before the other wrote, which no program can tell apart, both being under way at once.) */
static bool opened_as_new(const struct op *op, const struct Fs__Attr *attr)
{
    static const uint32_t needs[] = {
        [O_RDONLY] = S_IRUSR, [O_WRONLY] = S_IWUSR, [O_RDWR] = S_IRUSR | S_IWUSR};
    uint32_t mode = op->a.flags & O_ACCMODE;
    if (!S_ISREG(attr->mode) || mode > O_RDWR) {
        return false;
    }
    return op->a.uid == 0 || (op->a.uid == attr->uid && (attr->mode & needs[mode]) == needs[mode]);
}

static void on_made(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    const struct Fs__OpReply *made = reply->op;
    learn_plain(c, made->parent);
    struct inode *i = op_learn(c, r, reply, made->attr);
    i->opening++; /* stays while lease and handle are sorted out */
    if (op->a.nameless) {
        i->orphan = true;
    } else {
        set_name(c, r, op->a.parent, op->a.name, i->ino);
    }
    if (made->created && r->req->op->make->lease) {
        if (S_ISDIR(made->attr->mode)) {
            dir_granted(c, r, i, made->attr);
        } else {
            take_lease(c, r, reply, i, made->attr);
        }
    }
    settle_busy(c, op);
    bool open = op->a.open && !op->answered && !made->created;
    if (open && op_open_waits(c, op, i, made->attr)) {
        i->opening--;
        inode_settle(c, i);
        return;
    }
    if (open && !opened_as_new(op, made->attr)) {
        i->opening--;
        inode_settle(c, i);
        op_fail(c, op, ESTALE);
        return;
    }
    if (open && i->opens == 0 && !grant_counts(c, r, reply, FS__OBJECT__KIND__ATTR, i->ino)) {
        ask_still_there(c, op, i);
        i->opening--;
        return;
    }
    uint64_t fh = 0;
    if (op->a.open && !op->answered) {
        fh = handle_new(c, i, op->a.flags)->fh;
    }
    bool known = !op->a.nameless && !is_old(c, r, op->a.parent);
    op_answer_entry(c, op, known ? op->a.parent : 0, i, fh);
    i->opening--;
    file_drop_hold(c, i); /* its opener was killed */
    inode_settle(c, i);
}

struct Fs__Make *op_make_message(const struct op *op)
{
    struct Fs__Make *m = xmalloc(sizeof(*m));
    fs__make__init(m);
    m->parent = op->a.parent;
    m->name = op_bytes(op->a.name);
    m->mode = op->a.mode;
    m->umask = op->a.umask;
    m->nameless = op->a.nameless;
    m->uid = op->a.uid;
    m->gid = op->a.gid;
    m->rdev = op->a.rdev;
    if (op->a.data != NULL) {
        m->target.len = op->a.data->size;
        m->target.data = xmemdup(op->a.data->data, op->a.data->size);
    }
    return m;
}

void op_make(struct client *c, struct op *op)
{
    if (op->lost != 0) { /* what was done before it */
        op_fail(c, op, op->lost);
        return;
    }
    if ((!op->a.nameless && local_make(c, op)) || !queue_drained(c, op)) {
        return;
    }
    struct inode *dir = op->a.nameless ? NULL : inode_get(c, op->a.parent);
    op_busy(op, dir, BUSY_NAMES);
    op_busy(op, dir, BUSY_ATTR);
    op->why = "the leader, who makes it";
    struct rpc *r = rpc_new_op(op, true, on_made);
    struct Fs__Make *m = op_make_message(op);
    m->exclusive = !op->a.open || (op->a.flags & O_EXCL) != 0;
    m->lease = S_ISDIR(op->a.mode)
                   ? dir_wanted(c)
                   : op->a.open && S_ISREG(op->a.mode) && (op->a.flags & O_ACCMODE) != O_RDONLY;
    r->req->op->body_case = FS__OP__BODY_MAKE;
    r->req->op->make = m;
    rpc_start(c, r);
}

/* ---- losing a name --------------------------------------------------------------------------- */

/* An inode lost a name: it is kept while it is open, for us if we said so (RULES L7). */
static void lost_name(struct client *c, const struct Fs__Attr *attr, uint64_t orphan)
{
    if (attr == NULL) {
        return;
    }
    struct inode *i = inode_get(c, attr->ino);
    i->opening++; /* stays meanwhile */
    (void)inode_learn(c, i, attr);
    if ((attr->nlink == 0 || i->attr.nlink == 0) && !MUTANT(nameless_ahead)) {
        inode_ends_private(
            c, i); /* it is found by no name: what is done to it must not come behind its end */
    }
    if (orphan == 0 && attr->nlink == 0 && i->file != NULL) {
        file_discard(c, i->file); /* nobody can ever read what is buffered */
    }
    i->opening--;
    if (orphan == attr->ino) {
        i->orphan = true;
        file_drop_hold(c, i); /* when it is not open here after all */
    }
    inode_settle(c, i);
}

static void on_unlinked(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                        struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && reply->body_case != FS__REPLY__BODY_OP) {
        err = EIO;
    }
    if (err == 0) {
        learn_plain(c, reply->op->parent);
        inode_get(c, op->a.parent)->removals++;
        set_name(c, r, op->a.parent, op->a.name, 0);
        lost_name(c, reply->op->attr, reply->op->orphan);
    }
    op_fail(c, op, err);
}

void op_unlink(struct client *c, struct op *op)
{
    if (op->lost != 0) { /* what was done before it */
        op_fail(c, op, op->lost);
        return;
    }
    if (local_unlink(c, op) || !queue_drained(c, op)) {
        return;
    }
    struct inode *dir = inode_get(c, op->a.parent);
    uint64_t ino = name_hint(c, op->a.parent, op->a.name);
    op_busy(op, dir, BUSY_NAMES);
    op_busy(op, dir, BUSY_ATTR);
    struct inode *i = inode_find(c, ino);
    op_busy(op, i, BUSY_ATTR);
    if (i != NULL && i->told_alone) { /* without a name, no lease of a directory guards it */
        inode_ends_private(c, i);
    }
    op->why = "the leader, who removes the name";
    struct rpc *r = rpc_new_op(op, true, on_unlinked);
    struct Fs__Unlink *m = xmalloc(sizeof(*m));
    fs__unlink__init(m);
    m->parent = op->a.parent;
    m->name = op_bytes(op->a.name);
    m->directory = op->a.kind == CLIENT_RMDIR;
    m->open_ino = ino;
    m->open = op_says_open(c, op, ino);
    r->req->op->body_case = FS__OP__BODY_UNLINK;
    r->req->op->unlink = m;
    rpc_start(c, r);
}

/* ---- rename, link ---------------------------------------------------------------------------- */

/* RULES B11: a name is given only to what is committed. False: the operation waits, once per inode:
 * what is written meanwhile is not part of the bargain. */
static bool committed(struct client *c, struct op *op, uint64_t ino)
{
    const struct inode *i = inode_find(c, ino);
    if (i == NULL || i->file == NULL || !file_busy(i->file) || op->wait_ino == ino ||
        MUTANT(rename_before_commit)) {
        return true;
    }
    commit_wait(c, op, ino, file_freeze(c, i->file));
    return false;
}

/* rename(2): both names are of one file, so neither goes. The kernel saw that too, unless one of
 * them is younger than its look-up. */
static bool nothing_renamed(const struct Fs__OpReply *done)
{
    return done->other != NULL && done->other->ino == done->attr->ino;
}

/* The names after a rename. */
static void rename_names(struct client *c, const struct rpc *r, const struct Fs__OpReply *done)
{
    const struct op *op = r->op;
    bool exchange = (op->a.flags & RENAME_FLAG_EXCHANGE) != 0;
    bool stays = nothing_renamed(done) || (exchange && done->other != NULL);
    set_name(c, r, op->a.parent, op->a.name, stays ? done->other->ino : 0);
    set_name(c, r, op->a.newparent, op->a.newname, done->attr->ino);
    struct inode *from = inode_get(c, op->a.parent), *to = inode_get(c, op->a.newparent);
    cache_name_moved(c, from, to);
    if (exchange) {
        cache_name_moved(c, to, from);
    }
}

static void on_renamed(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err == 0) {
        const struct Fs__OpReply *done = reply->op;
        learn_plain(c, done->parent);
        learn_plain(c, done->newparent);
        (void)op_learn(c, r, reply, done->attr);
        rename_names(c, r, done);
        if ((op->a.flags & RENAME_FLAG_EXCHANGE) != 0) {
            learn_plain(c, done->other);
        } else if (!nothing_renamed(done)) {
            lost_name(c, done->other, done->orphan);
        }
    }
    struct client_result result = {.err = err,
                                   .nothing_done = err == 0 && nothing_renamed(reply->op)};
    if (err == 0 && !result.nothing_done) {
        bool exchange = (op->a.flags & RENAME_FLAG_EXCHANGE) != 0 && reply->op->other != NULL;
        result.moved = reply->op->attr->ino;
        result.moved_back = exchange ? reply->op->other->ino : 0;
    }
    op_finish(c, op, &result);
}

/* What was done to it ahead of the log, also since `op` began to wait: behind the end of the inode
 * it would be refused, and with it all that is on its way. */
static bool changes_reached(struct client *c, struct op *op, uint64_t ino)
{
    const struct inode *i = inode_find(c, ino);
    return i == NULL || queue_wait(c, op, i->last_q);
}

void op_rename(struct client *c, struct op *op)
{
    uint64_t ino = name_hint(c, op->a.parent, op->a.name);
    uint64_t victim = name_hint(c, op->a.newparent, op->a.newname);
    if (op->lost != 0) {
        op_fail(c, op, op->lost);
        return;
    }
    if (!op->frozen && (local_rename(c, op) || !queue_drained(c, op))) {
        return;
    }
    if (!op->frozen && !committed(c, op, ino)) {
        return;
    }
    op->frozen = true; /* that one; exchanging gives the other one a name as well */
    if ((op->a.flags & RENAME_FLAG_EXCHANGE) != 0 && !committed(c, op, victim)) {
        return;
    }
    if (!changes_reached(c, op, victim)) {
        return;
    }
    struct inode *from = inode_get(c, op->a.parent), *to = inode_get(c, op->a.newparent);
    op_busy(op, from, BUSY_NAMES);
    op_busy(op, from, BUSY_ATTR);
    op_busy(op, to, BUSY_NAMES);
    op_busy(op, to, BUSY_ATTR);
    op_busy(op, inode_find(c, ino), BUSY_ATTR);
    op_busy(op, inode_find(c, victim), BUSY_ATTR);
    inode_goes_public(c, op->a.parent, op->a.name);
    inode_goes_public(c, op->a.newparent, op->a.newname);
    op->why = "the leader, who renames it";
    struct rpc *r = rpc_new_op(op, true, on_renamed);
    struct Fs__Rename *m = xmalloc(sizeof(*m));
    fs__rename__init(m);
    m->parent = op->a.parent;
    m->name = op_bytes(op->a.name);
    m->newparent = op->a.newparent;
    m->newname = op_bytes(op->a.newname);
    m->flags = op->a.flags;
    m->open_ino = victim;
    m->open = op_says_open(c, op, victim);
    r->req->op->body_case = FS__OP__BODY_RENAME;
    r->req->op->rename = m;
    rpc_start(c, r);
}

static void on_linked(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                      struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = rpc_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    learn_plain(c, reply->op->parent);
    struct inode *i = op_learn(c, r, reply, reply->op->attr);
    i->orphan = i->orphan && i->attr.nlink == 0; /* O_TMPFILE: it has a name now */
    set_name(c, r, op->a.newparent, op->a.newname, i->ino);
    settle_busy(c, op);
    op_answer_entry(c, op, is_old(c, r, op->a.newparent) ? 0 : op->a.newparent, i, 0);
}

struct Fs__Link *op_link_message(const struct op *op)
{
    struct Fs__Link *m = xmalloc(sizeof(*m));
    fs__link__init(m);
    m->ino = op->a.ino;
    m->parent = op->a.newparent;
    m->name = op_bytes(op->a.newname);
    return m;
}

void op_link(struct client *c, struct op *op)
{
    if (op->lost != 0) {
        op_fail(c, op, op->lost);
        return;
    }
    if (local_link(c, op) || !queue_drained(c, op) || !committed(c, op, op->a.ino)) {
        return;
    }
    struct inode *dir = inode_get(c, op->a.newparent);
    inode_ends_private(c, inode_get(c, op->a.ino)); /* another name of it may be seen by others */
    op_busy(op, dir, BUSY_NAMES);
    op_busy(op, dir, BUSY_ATTR);
    op_busy(op, inode_get(c, op->a.ino), BUSY_ATTR);
    op->why = "the leader, who links it";
    struct rpc *r = rpc_new_op(op, true, on_linked);
    r->req->op->body_case = FS__OP__BODY_LINK;
    r->req->op->link = op_link_message(op);
    rpc_start(c, r);
}
