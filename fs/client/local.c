/* What a mount does itself in directories that it has the lease of: exactly what apply will do when
 * the log gets there (fs/core/dir.c), so that nothing looks different afterwards. Whatever needs to
 * know more than is known here goes through the leader. */
#include "fs/client/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/core/acl.h"
#include "fs/core/privs.h"
#include "fs/core/state.h"
#include "repl/base/mutant.h"

#define RENAME_FLAG_NOREPLACE 1u

/* ---- what is known --------------------------------------------------------------------------- */

static bool busy(const struct inode *i)
{
    return i->busy[BUSY_ATTR] != 0 || i->busy[BUSY_NAMES] != 0;
}

/* What `name` is in a leased directory. False: not known here. */
static bool known_name(const struct client *c, const struct inode *dir, const char *name,
                       uint64_t *ret_ino)
{
    const struct name *n = name_find(c, dir->ino, name);
    if (n != NULL && (n->fresh || !queue_reached(c, n->q))) {
        *ret_ino = n->ino;
        return true;
    }
    *ret_ino = 0;
    return dir->dir->complete;
}

/* What `ino` is when only this mount knows it, and it is no directory. */
static struct inode *private_file(const struct client *c, uint64_t ino)
{
    struct inode *i = ino != 0 ? inode_find(c, ino) : NULL;
    return i != NULL && i->known && !busy(i) && i->denied == 0 && !S_ISDIR(i->attr.mode) &&
                   i->attr.nlink != 0 && inode_private(c, i)
               ? i
               : NULL;
}

/* It may lose a name: another one is left, or it is not open here and nobody has to hear that it
 * goes. */
static struct inode *private_victim(const struct client *c, uint64_t ino)
{
    struct inode *i = private_file(c, ino);
    return i != NULL && (i->attr.nlink > 1 || !inode_wanted(c, i)) ? i : NULL;
}

/* For the message: the leader asks who has it open when it goes with this name. */
static uint64_t last_name_of(const struct inode *i)
{
    return i != NULL && !S_ISDIR(i->attr.mode) && i->attr.nlink == 1 ? i->ino : 0;
}

/* The directory's lease, and room for one operation. */
static enum dir_answer ready(struct client *c, struct op *op, struct inode *dir, bool ask)
{
    if (busy(dir)) {
        return DIR_SHARED; /* an own change of it is at the leader: this one comes after it */
    }
    enum dir_answer answer = dir_ready(c, dir, op, ask);
    return answer == DIR_LEASED ? queue_ready(c, op) : answer;
}

/* Not this way after all. */
static bool not_here(struct client *c)
{
    c->space += FS_QUEUED_COST;
    return false;
}

/* ---- what apply does, here ------------------------------------------------------------------- */

static int64_t later(int64_t old, int64_t now)
{
    return now > old ? now : old + 1;
}

/* inode_touch() of fs/core. */
static void touch(const struct client *c, struct inode *i, bool mtime)
{
    i->attr.ctime = later(i->attr.ctime, c->wall_ns);
    if (mtime) {
        i->attr.mtime = later(i->attr.mtime, c->wall_ns);
    }
}

static void set_name(struct client *c, struct inode *dir, const char *name, uint64_t ino,
                     uint64_t q)
{
    const struct name *before = name_find(c, dir->ino, name);
    bool stays = before != NULL && before->ino != 0; /* replace() of fs/core: in its place */
    struct name *n = name_put(c, dir, name, strlen(name), ino);
    n->q = q;
    if (ino != 0 && !stays && dir->dir->next_cookie != 0) { /* add_name() of fs/core */
        n->cookie = dir->dir->next_cookie++;
        list_remove(&n->in_dir);
        list_push_back(&dir->names, &n->in_dir);
    }
}

/* lose_name() of fs/core. */
static void lose_name(struct client *c, struct inode *i)
{
    touch(c, i, false);
    if (--i->attr.nlink != 0) {
        return;
    }
    if (i->told_alone) {
        inode_ends_private(c, i);
    }
    i->home = 0; /* what is done to it must not come behind its end */
    struct file *f = i->file;
    if (f == NULL) {
        return;
    }
    if (i->told_alone && file_busy(f)) {
        return; /* who has it open elsewhere reads it; or the leader says that nobody has */
    }
    if (queue_names(c, i)) {
        (void)file_drop_dirty(c, f); /* but not what it got a name with, which may outlive us */
        return;
    }
    list_each(it, &f->commits) {
        if (container_of(it, struct commit, in_file)->rpc != NULL) {
            return; /* the leader may count it: it ends by itself */
        }
    }
    file_discard(c, f);
}

/* ---- make ------------------------------------------------------------------------------------ */

static void fill_in(const struct client *c, const struct op *op, const struct inode *dir,
                    struct inode *i)
{
    struct Fs__Attr *a = &i->attr;
    fs__attr__init(a);
    a->ino = i->ino;
    a->mode = op->a.mode & ~(S_ISLNK(op->a.mode) ? 0 : op->a.umask & 0777);
    a->nlink = S_ISDIR(op->a.mode) ? 2 : 1;
    a->uid = op->a.uid;
    a->gid = op->a.gid;
    a->rdev = op->a.rdev;
    a->size = S_ISLNK(op->a.mode) && op->a.data != NULL ? op->a.data->size : 0;
    a->atime = a->mtime = a->ctime = a->btime = c->wall_ns;
    if (dir->attr.mode & S_ISGID) {
        a->gid = dir->attr.gid;
        a->mode |= S_ISDIR(a->mode) ? S_ISGID : 0;
    }
    i->known = true;
}

static bool makes_leased(const struct op *op)
{
    return S_ISREG(op->a.mode) || S_ISDIR(op->a.mode);
}

static uint64_t send_make(struct client *c, struct op *op, struct inode *dir, struct inode *i)
{
    struct rpc *r = queue_rpc(c);
    struct Fs__Make *m = op_make_message(op);
    m->exclusive = true;
    m->lease = makes_leased(op);
    m->ino = i->ino;
    r->req->op->body_case = FS__OP__BODY_MAKE;
    r->req->op->make = m;
    return queue_add(c, r, (struct inode *[]){dir, i}, 2, 0, 0);
}

/* Default ACLs and the like: more than is known here decides what is made. */
static bool plain(const struct inode *dir)
{
    return dir->known && !dir->attr.has_xattrs && S_ISDIR(dir->attr.mode) && dir->attr.nlink != 0 &&
           dir->attr.nlink < FS_NLINK_MAX;
}

bool local_make(struct client *c, struct op *op)
{
    uint64_t there, ino;
    struct inode *dir = inode_get(c, op->a.parent);
    enum dir_answer answer = ready(c, op, dir, true);
    if (answer != DIR_LEASED) {
        return answer == DIR_WAITS;
    }
    if (!plain(dir) || !known_name(c, dir, op->a.name, &there) || there != 0 ||
        (S_ISLNK(op->a.mode) && (op->a.data == NULL || op->a.data->size > FS_SYMLINK_MAX)) ||
        (ino = queue_inode(c)) == 0) {
        return not_here(c);
    }
    struct inode *i = inode_get(c, ino);
    fill_in(c, op, dir, i);
    i->opening++; /* stays while lease and handle are sorted out */
    i->made_q = op->q = send_make(c, op, dir, i);
    touch(c, dir, true);
    dir->attr.nlink += S_ISDIR(op->a.mode) ? 1 : 0;
    set_name(c, dir, op->a.name, ino, i->made_q);
    inode_make_private(c, i, dir);
    if (makes_leased(op)) {
        i->attr.lease_session = c->session;
        i->attr.lease_epoch = 1;
    }
    if (S_ISDIR(op->a.mode)) {
        dir_made(c, i);
    } else if (S_ISREG(op->a.mode)) {
        file_lease_granted(c, file_get(c, i), 1, 0);
    }
    uint64_t fh = op->a.open && !op->answered ? handle_new(c, i, op->a.flags)->fh : 0;
    op_answer_entry(c, op, op->a.parent, i, fh);
    i->opening--;
    inode_settle(c, i);
    return true;
}

/* ---- unlink, rmdir --------------------------------------------------------------------------- */

static bool empty(const struct inode *dir)
{
    list_each(it, &dir->names) {
        if (container_of(it, struct name, in_dir)->ino != 0) {
            return false;
        }
    }
    return dir->dir->complete;
}

/* Its own lease keeps all others from knowing what it is: whoever asks comes for that first, and it
 * goes back when the removal is committed. Nothing is on its way into it by this mount: Linux owns
 * the directory's lock for a mkdir, link or rename into it and for its rmdir (vfs_rmdir()). */
static struct inode *empty_dir(const struct client *c, uint64_t ino)
{
    struct inode *i = ino != 0 ? inode_find(c, ino) : NULL;
    return i != NULL && i->known && !busy(i) && S_ISDIR(i->attr.mode) && i->opening == 0 &&
                   dir_leased(i) && empty(i)
               ? i
               : NULL;
}

/* A file of a leased directory that others may know, as far as is known here: whether they do comes
 * with the names. */
static bool may_be_alone(const struct client *c, uint64_t ino)
{
    const struct inode *i = ino != 0 ? inode_find(c, ino) : NULL;
    return i == NULL || !i->known || (!S_ISDIR(i->attr.mode) && !inode_private(c, i));
}

bool local_unlink(struct client *c, struct op *op)
{
    uint64_t ino;
    bool directory = op->a.kind == CLIENT_RMDIR;
    struct inode *dir = inode_get(c, op->a.parent), *i = NULL;
    enum dir_answer answer = ready(c, op, dir, dir_worth_leasing(dir));
    if (answer != DIR_LEASED) {
        return answer == DIR_WAITS;
    }
    bool there = known_name(c, dir, op->a.name, &ino);
    if (dir->known && there) {
        i = directory ? empty_dir(c, ino) : private_victim(c, ino);
    }
    if (i == NULL) {
        (void)not_here(c);
        return !directory && may_be_alone(c, ino) && dir_page_awaited(c, dir, op);
    }
    dir->removals++;
    struct rpc *r = queue_rpc(c);
    struct Fs__Unlink *m = xmalloc(sizeof(*m));
    fs__unlink__init(m);
    m->parent = op->a.parent;
    m->name = op_bytes(op->a.name);
    m->directory = directory;
    m->open_ino = last_name_of(i);
    r->req->op->body_case = FS__OP__BODY_UNLINK;
    r->req->op->unlink = m;
    i->opening++; /* stays meanwhile */
    uint64_t q = op->q = queue_add(c, r, (struct inode *[]){dir, i}, 2, 0, 0);
    touch(c, dir, true);
    dir->attr.nlink -= directory ? 1 : 0;
    set_name(c, dir, op->a.name, 0, q);
    if (directory) {
        touch(c, i, false);
        i->attr.nlink = 0;
        inode_ends_private(c, i);
        i->dir->removed = true;
        if (MUTANT(removed_dir_lets_go)) {
            dir_removed(c, i);
        }
    } else {
        lose_name(c, i);
    }
    i->opening--;
    inode_settle(c, i);
    op_fail(c, op, 0);
    return true;
}

/* ---- rename ---------------------------------------------------------------------------------- */

/* RULES B11: a name is given to what is committed, when the log gets there. */
static uint64_t freeze(struct client *c, struct inode *i)
{
    return i->file != NULL && file_busy(i->file) ? file_freeze(c, i->file) : 0;
}

struct move {
    struct inode *from, *to, *source, *target;
};

/* Both directories leased, and all that it concerns known to nobody else. */
static bool can_move(const struct client *c, const struct op *op, struct move *m)
{
    uint64_t source, target;
    if (!m->from->known || !m->to->known || !known_name(c, m->from, op->a.name, &source) ||
        !known_name(c, m->to, op->a.newname, &target)) {
        return false;
    }
    m->source = source != 0 ? inode_find(c, source) : NULL;
    m->target = private_victim(c, target);
    bool known = m->source != NULL && m->source->known && !busy(m->source) &&
                 m->source->opening == 0 && inode_private(c, m->source) &&
                 inode_may_move(m->source, m->to);
    if (!known || (target != 0 && m->target == NULL)) {
        return false;
    }
    /* A directory that moves needs to know what it moves into; what has names in one directory must
     * not get one in another. */
    return S_ISDIR(m->source->attr.mode) ? m->from == m->to && target == 0
                                         : m->from == m->to || m->source->attr.nlink == 1;
}

/* replace() of fs/core, in its order. */
static void move(struct client *c, const struct op *op, struct move *m, uint64_t q)
{
    if (m->target != NULL) {
        touch(c, m->to, true);
    }
    touch(c, m->from, true);
    touch(c, m->to, true);
    if (m->target != NULL) {
        lose_name(c, m->target);
    }
    touch(c, m->source, false);
    set_name(c, m->from, op->a.name, 0, q);
    set_name(c, m->to, op->a.newname, m->source->ino, q);
    inode_make_private(c, m->source, m->to);
}

static struct Fs__Rename *rename_message(const struct op *op, const struct move *m)
{
    struct Fs__Rename *msg = xmalloc(sizeof(*msg));
    fs__rename__init(msg);
    msg->parent = op->a.parent;
    msg->name = op_bytes(op->a.name);
    msg->newparent = op->a.newparent;
    msg->newname = op_bytes(op->a.newname);
    msg->flags = op->a.flags;
    msg->open_ino = last_name_of(m->target);
    return msg;
}

bool local_rename(struct client *c, struct op *op)
{
    struct move m = {.from = inode_get(c, op->a.parent), .to = inode_get(c, op->a.newparent)};
    if ((op->a.flags & ~RENAME_FLAG_NOREPLACE) != 0 || busy(m.to)) {
        return false;
    }
    enum dir_answer answer = dir_ready(c, m.to, op, false);
    if (answer == DIR_LEASED) {
        answer = ready(c, op, m.from, false);
    }
    if (answer != DIR_LEASED) {
        return answer == DIR_WAITS;
    }
    if (!can_move(c, op, &m) || (m.target != NULL && op->a.flags != 0)) {
        return not_here(c);
    }
    if (m.source == m.target) { /* rename(2): two names of one file, nothing is done */
        (void)not_here(c);
        op_finish(c, op, &(struct client_result){.nothing_done = true});
        return true;
    }
    uint64_t until = freeze(c, m.source);
    struct rpc *r = queue_rpc(c);
    r->req->op->body_case = FS__OP__BODY_RENAME;
    r->req->op->rename = rename_message(op, &m);
    m.source->opening++; /* stays meanwhile, as what goes does */
    if (m.target != NULL) {
        m.target->opening++;
    }
    struct inode *touched[] = {m.from, m.to, m.source, m.target};
    uint64_t q = op->q = queue_add(c, r, touched, m.target != NULL ? 4 : 3, m.source->ino, until);
    move(c, op, &m, q);
    cache_name_moved(c, m.from, m.to);
    m.source->opening--;
    inode_settle(c, m.source);
    if (m.target != NULL) {
        m.target->opening--;
        inode_settle(c, m.target);
    }
    op_fail(c, op, 0);
    return true;
}

/* ---- link ------------------------------------------------------------------------------------ */

/* A file of which all names are in `dir`, so that whoever looks for one comes for its lease, may
 * get another one there. */
static struct inode *linkable(const struct client *c, const struct op *op, const struct inode *dir)
{
    struct inode *i = private_file(c, op->a.ino);
    bool stays = i != NULL && (i->home == dir->ino || MUTANT(link_leaves_home));
    return stays && S_ISREG(i->attr.mode) && i->attr.nlink < FS_NLINK_MAX ? i : NULL;
}

bool local_link(struct client *c, struct op *op)
{
    uint64_t there;
    struct inode *dir = inode_get(c, op->a.newparent), *i = linkable(c, op, dir);
    if (i == NULL) {
        return false;
    }
    enum dir_answer answer = ready(c, op, dir, false);
    if (answer != DIR_LEASED) {
        return answer == DIR_WAITS;
    }
    if (!dir->known || !known_name(c, dir, op->a.newname, &there) || there != 0) {
        return not_here(c);
    }
    uint64_t until = freeze(c, i);
    struct rpc *r = queue_rpc(c);
    r->req->op->body_case = FS__OP__BODY_LINK;
    r->req->op->link = op_link_message(op);
    i->opening++; /* stays meanwhile */
    uint64_t q = op->q = queue_add(c, r, (struct inode *[]){dir, i}, 2, i->ino, until);
    i->attr.nlink += MUTANT(link_not_counted) ? 0 : 1;
    touch(c, i, false);
    touch(c, dir, true);
    set_name(c, dir, op->a.newname, i->ino, q);
    i->opening--;
    op_answer_entry(c, op, dir->ino, i, 0);
    inode_settle(c, i);
    return true;
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* apply_setattr() of fs/core. */
static void set_attr(const struct client *c, struct inode *i, const struct client_op *a,
                     uint32_t set)
{
    if (set & FS_SETATTR_MODE) {
        i->attr.mode = (i->attr.mode & S_IFMT) | (a->mode & 07777);
    }
    if (set & FS_SETATTR_SETID) {
        i->attr.mode = privs_without_setid(i->attr.mode);
    }
    if (set & FS_SETATTR_UID) {
        i->attr.uid = a->uid;
    }
    if (set & FS_SETATTR_GID) {
        i->attr.gid = a->gid;
    }
    touch(c, i, false);
    if (set & (FS_SETATTR_ATIME | FS_SETATTR_ATIME_NOW)) {
        i->attr.atime = set & FS_SETATTR_ATIME_NOW ? c->wall_ns : a->atime;
    }
    if (set & (FS_SETATTR_MTIME | FS_SETATTR_MTIME_NOW)) {
        i->attr.mtime = set & FS_SETATTR_MTIME_NOW ? c->wall_ns : a->mtime;
    }
}

enum dir_answer local_change_attr(struct client *c, struct op *op, struct inode *i, uint32_t set)
{
    struct inode *home = i->home != 0 ? inode_find(c, i->home) : NULL;
    if (home == NULL || !i->known || busy(i) || i->attr.has_xattrs || !inode_private(c, i)) {
        return DIR_SHARED;
    }
    enum dir_answer answer = ready(c, op, home, false);
    if (answer != DIR_LEASED) {
        return answer;
    }
    struct rpc *r = queue_rpc(c);
    r->req->op->body_case = FS__OP__BODY_SETATTR;
    r->req->op->setattr = op_setattr_message(op, i->ino, set);
    uint64_t q = queue_add(c, r, (struct inode *[]){i}, 1, 0, 0);
    if (set & ~(FS_SETATTR_MODE | FS_SETATTR_UID | FS_SETATTR_GID | FS_SETATTR_SETID)) {
        i->times_q = q;
    }
    set_attr(c, i, &op->a, set);
    if (i->file != NULL) {
        file_follow_attr(i->file);
    }
    return DIR_LEASED;
}

bool local_setattr(struct client *c, struct op *op, uint32_t set)
{
    struct inode *i = inode_get(c, op->a.ino);
    enum dir_answer answer = local_change_attr(c, op, i, set);
    if (answer != DIR_LEASED) {
        return answer == DIR_WAITS;
    }
    op->q = i->last_q;
    if (op->a.kind == CLIENT_SETATTR) {
        op_answer_attr(c, op, i);
    } else {
        inode_invalidate_kernel(c, i); /* it does not ask again by itself */
        op_fail(c, op, 0);
    }
    return true;
}

/* set_acl() of fs/core: where there are no extended attributes it is a chmod. False: it is more. */
static bool mode_of_acl(const struct inode *i, const struct client_op *a, uint32_t *ret_mode)
{
    struct acl acl;
    if (strcmp(a->name, ACL_XATTR_ACCESS) != 0 || a->flags != 0 || a->data == NULL ||
        S_ISLNK(i->attr.mode) || acl_decode(a->data->data, a->data->size, &acl) != 0 ||
        !acl_is_minimal(&acl)) {
        return false;
    }
    *ret_mode = (i->attr.mode & ~(a->kill_sgid ? S_ISGID | 0777u : 0777u)) | acl_mode(&acl);
    return true;
}

bool local_setxattr(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    if (i == NULL || !i->known || i->attr.has_xattrs) {
        return false;
    }
    if (op->a.kind == CLIENT_REMOVEXATTR) { /* there is none: only ctime tells */
        bool acl =
            strcmp(op->a.name, ACL_XATTR_ACCESS) == 0 || strcmp(op->a.name, ACL_XATTR_DEFAULT) == 0;
        return acl && local_setattr(c, op, 0);
    }
    return mode_of_acl(i, &op->a, &op->a.mode) && local_setattr(c, op, FS_SETATTR_MODE);
}
