/* Open files: open, release, read, flush, fsync. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/client/atime.h"
#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

/* ---- open ------------------------------------------------------------------------------------ */

static void opened(struct client *c, struct op *op, struct inode *i)
{
    if (op->answered) { /* nobody would ever close it */
        op_finish(c, op, NULL);
        return;
    }
    const struct handle *h = handle_new(c, i, op->a.flags);
    bool keep = i->pages_version != 0 && i->pages_version == i->attr.data_version;
    if (keep) {
        atime_open(c, i, op->a.flags);
    }
    op_finish(c, op,
              &(struct client_result){
                  .fh = h->fh, .keep_cache = keep, .direct_io = handle_is_direct(op->a.flags)});
}

static void on_open(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    struct op *op = r->op;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_ATTR || reply->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    struct inode *i = op_learn(c, r, reply, reply->attr);
    if (!op->answered && op_open_waits(c, op, i, reply->attr)) {
        return;
    }
    opened(c, op, i);
}

/* RULES L7: without a promise the leader is asked, so that an open can't slip past an unlink under
 * way; and for what has lost its last name, since it is gone unless somebody has it open. What is
 * open here already is known to be. */
void op_open(struct client *c, struct op *op)
{
    struct inode *i = inode_get(c, op->a.ino);
    if (op_open_waits(c, op, i, NULL)) {
        if (op->opening == NULL) {
            op->opening = i;
            i->opening++;
        }
        return;
    }
    bool known_open = i->opens != 0 && inode_data_fresh(c, i);
    bool promised = i->promised && inode_attr_fresh(c, i) && i->attr.nlink != 0;
    bool mine = inode_private(c, i) && inode_attr_fresh(c, i) && i->attr.nlink != 0;
    if (known_open || promised || mine) {
        opened(c, op, i);
        return;
    }
    if (!queue_wait(c, op, i->last_q)) {
        return;
    }
    if (session_drops_hold(c, op->a.ino)) {
        op_fail(c, op, ESTALE);
        return;
    }
    if (op->opening == NULL) {
        op->opening = i;
        i->opening++;
    }
    op->why = "the leader, who knows whether the file is being unlinked";
    bool near = c->config.consistency == CLIENT_SESSION && !session_leader_usable(c);
    struct rpc *r = rpc_new(near ? RPC_COPY : RPC_LEADER, op, on_open);
    r->req->min_index = near ? c->token : 0;
    r->req->body_case = FS__REQUEST__BODY_GETATTR;
    r->req->getattr = xmalloc(sizeof(*r->req->getattr));
    fs__getattr__init(r->req->getattr);
    r->req->getattr->ino = op->a.ino;
    r->req->getattr->open = true;
    rpc_start(c, r);
}

void op_release(struct client *c, struct op *op)
{
    struct handle *h = handle_find(c, op->a.fh);
    if (h != NULL) {
        handle_close(c, h);
    }
    op_fail(c, op, 0);
}

/* ---- read ------------------------------------------------------------------------------------ */

static void add_slice(struct client_result *result, struct blob *blob, uint32_t offset,
                      uint32_t size)
{
    struct client_slice *last =
        result->slices_count != 0 ? &result->slices[result->slices_count - 1] : NULL;
    if (last != NULL && last->blob == blob &&
        (blob == NULL || last->offset + last->size == offset)) {
        last->size += size;
        return;
    }
    result->slices[result->slices_count++] =
        (struct client_slice){.blob = blob_ref(blob), .offset = offset, .size = size};
}

/* Bytes [offset, offset + size) of what the job read. */
static struct client_result cut_slices(const struct read_job *job, uint64_t offset, uint64_t size)
{
    struct client_result result = {0};
    result.slices = xcalloc((size_t)job->pages * 2 + 1, sizeof(*result.slices));
    for (uint64_t done = 0; done < size;) {
        const struct page *p = &job->over[(offset + done) / FS_PAGE - job->first];
        uint32_t at = (uint32_t)((offset + done) % FS_PAGE);
        uint32_t n = size - done < FS_PAGE - at ? (uint32_t)(size - done) : FS_PAGE - at;
        uint32_t stored = p->blob != NULL && p->size > at ? p->size - at : 0;
        if (stored > n) {
            stored = n;
        }
        if (stored != 0) {
            add_slice(&result, p->blob, p->offset + at, stored);
        }
        if (stored < n) {
            add_slice(&result, NULL, 0, n - stored);
        }
        done += n;
    }
    return result;
}

static void start_read(struct client *c, struct op *op);
static void on_read_done(struct client *c, struct op *op, int err);

static void on_taken(struct client *c, struct timer *t)
{
    on_read_done(c, container_of(t, struct op, taken), 0);
}

void op_read_told(struct client *c, struct op *op, bool told)
{
    op->told_after = told;
    if (told) {
        timer_set(c, TIMER_TAKEN, &op->taken, c->now + NEWS_TAKEN_IN, on_taken);
    } else {
        on_read_done(c, op, 0);
    }
}

/* The file ends before the kernel thinks. */
static bool cuts_off(const struct client *c, const struct op *op, const struct inode *i)
{
    uint64_t size = op->job->size, asked = op->a.offset + op->a.size;
    uint64_t whole = size + FS_PAGE - 1 - (size + FS_PAGE - 1) % FS_PAGE;
    return !handle_is_direct(op->a.flags) && size < asked &&
           (whole < asked || size < inode_kernel_end(c, i));
}

/* An answer that cuts the file off makes the kernel ignore those to the GETATTRs that it has sent
 * (fuse_read_update_size()), and a read(2) then goes on with the end that this one told and the
 * pages from before. So they come first: once one of them is taken in, the kernel takes no end from
 * a READ that it sent before. They wait for nothing that is locked while a READ is under way. */
static bool waits_for_getattrs(struct client *c, struct op *op, struct inode *i)
{
    bool untaken = c->now < i->news_until;
    if (c->config.consistency == CLIENT_SESSION || op->told_after ||
        (list_empty(&i->getattrs) && !untaken) || !cuts_off(c, op, i)) {
        return false;
    }
    op->why = "what the kernel asks of the file meanwhile";
    if (list_empty(&i->getattrs)) {
        op_read_told(c, op, true);
    } else {
        op_join_getattrs(op, i);
    }
    return true;
}

static void on_read_done(struct client *c, struct op *op, int err)
{
    struct read_job *job = op->job;
    struct inode *i = inode_find(c, op->a.ino);
    if (err == 0 && handle_lost_locks(c, op->a.fh)) {
        err = EIO; /* meanwhile */
    }
    if (err != 0) {
        op_fail(c, op, err);
        return;
    }
    if (!read_is_new(c, job) && !MUTANT(read_older_than_attr)) {
        c->reads_redone++;
        op->job = NULL;
        read_free(c, job);
        start_read(c, op);
        return;
    }
    /* A READ of before bytes were lost. The kernel would not let this answer cut the end that it
     * knows, since a notification came between, and read(2) would give zeros for what was lost. */
    if (i != NULL && job->size < i->lost_end && job->size < op->a.offset + op->a.size) {
        op_fail(c, op, EIO);
        return;
    }
    if (i != NULL && waits_for_getattrs(c, op, i)) {
        return;
    }
    uint64_t end = (job->first + job->pages) * FS_PAGE; /* the file may have grown since */
    end = job->size < end ? job->size : end;
    uint64_t size = op->a.offset < end ? end - op->a.offset : 0;
    if (size > op->a.size) {
        size = op->a.size;
    }
    if (i != NULL) {
        i->pages_version = job->own ? i->attr.data_version : job->data_version;
        atime_read_ends(c, op, i);
        kept_read(c, i, job);
    }
    struct client_result result = cut_slices(job, op->a.offset, size);
    op_finish(c, op, &result);
}

static void start_read(struct client *c, struct op *op)
{
    struct inode *i = inode_get(c, op->a.ino);
    uint64_t end = op->a.offset + op->a.size;
    if (i->file != NULL && i->file->lease == LEASE_HELD) {
        uint64_t size = inode_now(c, i).size;
        end = end < size ? end : size;
    }
    if (op->a.offset >= end) {
        op_fail(c, op, 0);
        return;
    }
    uint64_t first = op->a.offset / FS_PAGE;
    uint64_t min_index = read_min_index(c, i);
    if (i->sent_version > min_index) {
        min_index = i->sent_version;
    }
    op->why = "a copy that has the bytes";
    read_start(c, op, i, first, (uint32_t)((end - 1) / FS_PAGE - first + 1), min_index,
               on_read_done);
}

static void on_read_attr(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
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
    start_read(c, op);
}

void op_read(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    if (op->a.size == 0 || op->a.offset > (uint64_t)INT64_MAX - op->a.size) {
        op_fail(c, op, op->a.size == 0 ? 0 : EINVAL);
        return;
    }
    if (handle_lost_locks(c, op->a.fh)) {
        op_fail(c, op, EIO);
        return;
    }
    atime_read_begins(op, i);
    bool sure = c->config.consistency == CLIENT_SESSION || (i != NULL && inode_data_fresh(c, i));
    if (sure && handle_locks_hold(c, op->a.fh)) {
        start_read(c, op);
        return;
    }
    if (i != NULL && !queue_wait(c, op, i->last_q)) {
        return;
    }
    op->why = "the leader, for the file's newest version";
    struct rpc *r = op_question(c, op, FS__REQUEST__BODY_GETATTR, on_read_attr);
    r->req->getattr->ino = op->a.ino;
    rpc_start(c, r);
}

/* ---- flush, fsync ---------------------------------------------------------------------------- */

static int take_lost(struct inode *i)
{
    int lost = i != NULL ? i->lost : 0;
    if (i != NULL) {
        i->lost = 0;
    }
    return lost;
}

/* RULES B9: close when the leader has accepted what is dirty, fsync when it is committed. */
static void flush(struct client *c, struct op *op)
{
    struct inode *i = inode_find(c, op->a.ino);
    if (op->until == 0 && i != NULL && i->file != NULL && file_busy(i->file)) {
        i->file->closing = op->a.kind == CLIENT_FLUSH;
        op->until = file_freeze(c, i->file);
        op->wait_ino = op->a.ino;
    }
    if (op->until != 0 && !commit_reached(c, op)) {
        commit_wait(c, op, op->a.ino, op->until);
        return;
    }
    int err = handle_error(c, op->a.fh);
    if (op->a.kind == CLIENT_FSYNC) {
        int lost = take_lost(i);
        err = handle_take_error(c, op->a.fh);
        err = err != 0 ? err : lost;
    }
    op_fail(c, op, err != 0 ? err : op->lost);
}

void op_flush(struct client *c, struct op *op)
{
    if (op_closes_locks(c, op)) {
        return;
    }
    const struct inode *i = inode_find(c, op->a.ino);
    if (i != NULL && i->made_q != 0 && !queue_reached(c, i->made_q) && op->lost == 0) {
        /* Its name is not committed yet, so its bytes need not be: both come within a second, or
         * with an fsync, the bytes behind the name (RULES D1). */
        if (i->file != NULL) {
            (void)file_freeze(c, i->file);
        }
        op->q = i->made_q;
        op_fail(c, op, handle_error(c, op->a.fh));
        return;
    }
    flush(c, op);
}

/* RULES D1: everything up to the last operation on the inode that was done before `op`. */
static bool queue_settles(struct client *c, struct op *op)
{
    const struct inode *i = inode_find(c, op->a.ino);
    if (!op->drained) {
        op->drained = true;
        op->queue_until = i != NULL ? i->last_q : 0;
    }
    return queue_wait(c, op, op->queue_until);
}

void op_fsync(struct client *c, struct op *op)
{
    if (handle_lost_locks(c, op->a.fh)) {
        op_fail(c, op, EIO);
        return;
    }
    const struct inode *i = inode_find(c, op->a.ino);
    if (!op->drained && i != NULL && i->file != NULL) {
        file_note_fsync(i->file);
        if (file_busy(i->file)) {
            op->until = file_freeze(c, i->file); /* it goes with what is in front of it */
            op->wait_ino = op->a.ino;
        }
    }
    if (queue_settles(c, op)) {
        flush(c, op);
    }
}

/* What was changed here is committed; what went through the leader was when it was answered. */
void op_fsyncdir(struct client *c, struct op *op)
{
    if (!queue_settles(c, op)) {
        return;
    }
    int lost = take_lost(inode_find(c, op->a.ino));
    op_fail(c, op, op->lost != 0 ? op->lost : lost);
}

void op_sync_all(struct client *c, struct op *op)
{
    if (!op->drained) { /* they go with what is in front of them */
        file_freeze_all(c);
        op->until = c->commit_serial;
    }
    if (!queue_drained(c, op)) {
        return;
    }
    if (op->until != 0 && !commit_reached(c, op)) {
        commit_wait(c, op, 0, op->until);
        return;
    }
    op_fail(c, op, op->lost);
}
