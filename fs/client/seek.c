/* Where a file has data and where it has holes: what is buffered here over the committed map. */
#include <errno.h>
#include <stdlib.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"

/* Data of page `no` as `m` says, which knows the pages below m->until; *ret_end is lowered to where
 * that ends. */
static int committed_data_at(const struct Fs__ExtentsReply *m, uint64_t no, uint64_t *ret_end)
{
    uint64_t end = m->until;
    for (size_t i = 0; i < m->n_ranges; i++) {
        const struct Fs__Range *r = m->ranges[i];
        if (no < r->first_page) {
            end = r->first_page < end ? r->first_page : end;
            break;
        }
        if (no - r->first_page < r->pages) {
            end = r->first_page + r->pages;
            *ret_end = end < *ret_end ? end : *ret_end;
            return 1;
        }
    }
    *ret_end = end < *ret_end ? end : *ret_end;
    return 0;
}

static void answer(struct client *c, struct op *op, uint64_t page, uint64_t size)
{
    uint64_t offset = page * FS_PAGE > op->a.offset ? page * FS_PAGE : op->a.offset;
    op_finish(c, op, &(struct client_result){.offset = offset < size ? offset : size});
}

/* Walks on from op->seek_page; the committed map from there on is `m` (NULL: not known yet).
 * True: answered; false: more of the map is needed. */
static bool walk(struct client *c, struct op *op, const struct file *own, uint64_t size,
                 const struct Fs__ExtentsReply *m)
{
    uint64_t pages = size / FS_PAGE + (size % FS_PAGE != 0);
    if (op->a.offset >= size) {
        op_fail(c, op, ENXIO);
        return true;
    }
    while (op->seek_page < pages) {
        uint64_t end = PAGE_NONE;
        int data = own != NULL ? file_data_at(own, op->seek_page, &end) : -1;
        if (data < 0) {
            if (m == NULL || op->seek_page >= m->until) {
                return false;
            }
            data = committed_data_at(m, op->seek_page, &end);
        }
        if ((data != 0) != op->a.hole) {
            answer(c, op, op->seek_page, size);
            return true;
        }
        op->seek_page = end;
    }
    if (op->a.hole) { /* the end of the file is one */
        answer(c, op, pages, size);
    } else {
        op_fail(c, op, ENXIO);
    }
    return true;
}

static void ask(struct client *c, struct op *op);

static void on_extents(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 &&
        (reply->body_case != FS__REPLY__BODY_EXTENTS || reply->extents->attr == NULL ||
         reply->extents->until <= r->req->extents->first_page || handle_lost_locks(c, op->a.fh))) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    const struct Fs__ExtentsReply *m = reply->extents;
    struct inode *i = cache_learn(c, m->attr, false);
    const struct file *own = i->file != NULL && i->file->lease == LEASE_HELD ? i->file : NULL;
    /* As a READ (read_is_new()): what is committed since is not in the layers any more. And what
     * was looked at before must be of the same file. */
    bool older = m->attr->data_version < i->attr.data_version;
    bool other = op->seek_version != 0 && op->seek_version != m->attr->data_version;
    if ((own != NULL && older) || other || op->seek_own != (own != NULL)) {
        op->seek_version = 0;
        op->seek_page = op->a.offset / FS_PAGE;
        ask(c, op);
        return;
    }
    op->seek_version = m->attr->data_version;
    if (!walk(c, op, own, own != NULL ? own->size : m->attr->size, m)) {
        ask(c, op);
    }
}

static void ask(struct client *c, struct op *op)
{
    struct inode *i = inode_get(c, op->a.ino);
    op->seek_own = i->file != NULL && i->file->lease == LEASE_HELD;
    op->why = "a copy that has the file's map";
    struct rpc *r = rpc_new(RPC_COPY, op, on_extents);
    uint64_t min_index = read_min_index(c, i);
    r->req->min_index = i->sent_version > min_index ? i->sent_version : min_index;
    r->req->body_case = FS__REQUEST__BODY_EXTENTS;
    r->req->extents = xmalloc(sizeof(*r->req->extents));
    fs__extents__init(r->req->extents);
    r->req->extents->ino = op->a.ino;
    r->req->extents->first_page = op->seek_page;
    rpc_start(c, r);
}

static void start(struct client *c, struct op *op)
{
    struct inode *i = inode_get(c, op->a.ino);
    op->seek_page = op->a.offset / FS_PAGE;
    const struct file *own = i->file != NULL && i->file->lease == LEASE_HELD ? i->file : NULL;
    if (own == NULL || !walk(c, op, own, inode_now(c, i).size, NULL)) {
        ask(c, op);
    }
}

static void on_attr(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_ATTR || reply->attr == NULL ||
                     handle_lost_locks(c, op->a.fh))) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    (void)op_learn(c, r, reply, reply->attr);
    start(c, op);
}

/* As a READ: RULES L4, B8. */
void op_seek(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    if (handle_lost_locks(c, op->a.fh)) {
        op_fail(c, op, EIO);
        return;
    }
    bool sure = c->config.consistency == CLIENT_SESSION || (i != NULL && inode_data_fresh(c, i));
    if (sure && handle_locks_hold(c, op->a.fh)) {
        start(c, op);
        return;
    }
    op->why = "the leader, for the file's newest version";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_GETATTR, on_attr);
    r->req->getattr->ino = op->a.ino;
    rpc_start(c, r);
}
