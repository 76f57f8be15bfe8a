/* What must be dropped of a file before bytes of it change: set-id bits, when the caller may not
 * keep them, and the file capability, whoever the caller is. The kernel leaves it to us
 * (FUSE_HANDLE_KILLPRIV_V2): it looks only until it has found once that there is nothing, which
 * other mounts undo.
 *
 * One look in front of each change of data, under the write lease: as long as that is held, nobody
 * else changes mode or capability, so what is known here is true, and mostly says that nothing has
 * to be done. Else the operation leaves its place in the queue, what is to be dropped goes as a
 * change of attributes, and when that is done it queues again, and is looked at again. Pages
 * written back from a mapping drop nothing, as on local file systems. */
#include "fs/core/privs.h"
#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/client/write.h"
#include "repl/base/mutant.h"

static uint32_t to_drop(const struct inode *i, const struct op *op)
{
    uint32_t set = 0;
    if (op->a.kill_setid && privs_without_setid(i->attr.mode) != i->attr.mode) {
        set |= FS_SETATTR_SETID;
    }
    if (i->attr.has_capability && !op->a.written_back) {
        set |= FS_SETATTR_CAPS;
    }
    return set;
}

static void go_on(struct client *c, struct op *op, struct inode *i)
{
    inode_invalidate_kernel(c, i); /* it does not ask again by itself */
    op_run(c, op);
}

static void on_dropped(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    struct inode *busy[OP_BUSY_MAX];
    struct inode *i = op_changed_inode(c, r, reply);
    if (i == NULL) {
        return;
    }
    if (op->answered) { /* that it failed */
        inode_invalidate_kernel(c, i);
        op_fail(c, op, 0);
        return;
    }
    (void)op_idle(op, busy);
    go_on(c, op, i);
}

static void drop(struct client *c, struct op *op, struct inode *i, uint32_t set)
{
    enum dir_answer here = local_change_attr(c, op, i, set);
    if (here == DIR_LEASED) {
        go_on(c, op, i);
    }
    if (here != DIR_SHARED || !queue_drained(c, op)) {
        return;
    }
    op_busy(op, i, BUSY_ATTR);
    op->why = "the leader, who drops set-id bits and capabilities";
    struct rpc *r = rpc_new_op(op, true, on_dropped);
    r->req->op->body_case = FS__OP__BODY_SETATTR;
    r->req->op->setattr = op_setattr_message(op, i->ino, set);
    rpc_start(c, r);
}

bool privs_drop_first(struct client *c, const struct file *f, struct op *op)
{
    if (f->lease != LEASE_HELD || !session_lease_valid(c)) {
        return false; /* nothing will be changed yet */
    }
    uint32_t set = MUTANT(setid_left) ? 0 : to_drop(f->inode, op);
    if (set == 0) {
        return false;
    }
    op->queue_of = NULL;
    list_remove(&op->wait);
    op->base_epoch = 0; /* others change the file before its next turn */
    drop(c, op, f->inode, set);
    return true;
}
