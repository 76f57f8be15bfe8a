/* Files under a write lease: asking for it, what is dirty, the handles that hear of losses. */
#include "fs/client/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/internal.h"
#include "fs/client/listing.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/read.h"
#include "fs/client/recall.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/client/write.h"
#include "repl/base/mutant.h"

#define LEASE_IDLE   (2 * TIME_S) /* then it is given back before anybody asks */
#define COMMIT_DELAY (1 * TIME_S) /* RULES B9 */

/* ---- life ------------------------------------------------------------------------------------ */

struct file *file_get(struct client *c, struct inode *i)
{
    (void)c;
    if (i->file != NULL) {
        return i->file;
    }
    struct file *f = xcalloc(1, sizeof(*f));
    f->inode = i;
    i->file = f;
    layer_init(&f->dirty);
    layer_init(&f->kept);
    struct list *links[] = {&f->lease_lru,   &f->commits,    &f->handles,
                            &f->queue,       &f->dirty_link, &f->space_link,
                            &f->buffer_link, &f->renew_link, &f->kept_link};
    for (size_t l = 0; l < sizeof(links) / sizeof(links[0]); l++) {
        list_init(links[l]);
    }
    timer_init(&f->commit_timer);
    timer_init(&f->hold_timer);
    return f;
}

bool file_dirty(const struct file *f)
{
    return f->meta_dirty || !layer_empty(&f->dirty);
}

bool file_busy(const struct file *f)
{
    return file_dirty(f) || !list_empty(&f->commits);
}

void file_settle(struct client *c, struct file *f)
{
    if (f->pins != 0 || f->pumping || f->lease != LEASE_NONE || f->lease_rpc != NULL ||
        file_busy(f) || !list_empty(&f->queue) || !list_empty(&f->handles) ||
        f->recalls.count != 0) {
        return;
    }
    struct inode *i = f->inode;
    list_remove(&f->lease_lru);
    list_remove(&f->dirty_link);
    list_remove(&f->space_link);
    list_remove(&f->buffer_link);
    list_remove(&f->renew_link);
    timer_clear(&f->commit_timer);
    timer_clear(&f->hold_timer);
    layer_done(&f->dirty);
    kept_drop(c, f);
    vec_done(&f->recalls);
    free(f);
    i->file = NULL;
    inode_settle(c, i);
}

/* ---- handles --------------------------------------------------------------------------------- */

struct handle *handle_new(struct client *c, struct inode *i, uint32_t flags)
{
    struct file *f = file_get(c, i);
    struct handle *h = xcalloc(1, sizeof(*h));
    h->fh = c->next_fh++;
    h->inode = i;
    h->flags = flags;
    list_push_back(&f->handles, &h->link);
    (void)map_put(&c->handles, h->fh, h);
    i->opens++;
    i->wanted_until = 0;
    return h;
}

/* RULES L1: an append arrives as one WRITE, so that no other mount's record comes in between. A
 * buffered write(2) may be split (Linux 6.18 does at the first page boundary), a direct one is only
 * above max_write. */
bool handle_is_direct(uint32_t flags)
{
    return (flags & O_APPEND) != 0;
}

struct handle *handle_find(const struct client *c, uint64_t fh)
{
    return map_get(&c->handles, fh);
}

void handle_close(struct client *c, struct handle *h)
{
    struct inode *i = h->inode;
    struct file *f = i->file;
    (void)map_del(&c->handles, h->fh);
    list_remove(&h->link);
    handle_close_locks(c, h);
    free(h);
    i->opens--;
    f->pins++;
    file_drop_hold(c, i);
    f->pins--;
    file_settle(c, f);
}

int handle_error(const struct client *c, uint64_t fh)
{
    const struct handle *h = handle_find(c, fh);
    return h != NULL ? h->error : 0;
}

static void set_error(struct handle *h, int err)
{
    h->error = err;
    h->error_told = false;
}

int handle_take_error(struct client *c, uint64_t fh)
{
    int err = handle_error(c, fh);
    if (err != 0) {
        set_error(handle_find(c, fh), 0);
    }
    return err;
}

int handle_tell_error(struct client *c, uint64_t fh)
{
    struct handle *h = handle_find(c, fh);
    if (h == NULL || h->error_told) {
        return 0;
    }
    h->error_told = h->error != 0;
    return h->error;
}

static void on_hold_known(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                          struct blob *bulk)
{
    (void)bulk;
    uint64_t ino = r->req->getattr->ino;
    struct inode *i = inode_find(c, ino);
    if (rpc_error(r, reply) != 0 || reply->body_case != FS__REPLY__BODY_ATTR ||
        reply->attr->nlink != 0) {
        return; /* gone, or it has a name: nothing is held */
    }
    (void)cache_learn(c, reply->attr, false);
    i = inode_find(c, ino);
    if (i != NULL && inode_wanted(c, i)) {
        i->orphan = true; /* opened again meanwhile */
        return;
    }
    session_drop_holds(c, ino);
}

/* We said "open" to an unlink that may not be applied yet: dropping the hold before it exists would
 * leave it for ever. The leader answers this question after that unlink. */
static void ask_hold(struct client *c, uint64_t ino)
{
    struct rpc *r = rpc_new(RPC_LEADER, NULL, on_hold_known);
    r->req->body_case = FS__REQUEST__BODY_GETATTR;
    r->req->getattr = xmalloc(sizeof(*r->req->getattr));
    fs__getattr__init(r->req->getattr);
    r->req->getattr->ino = ino;
    r->req->getattr->open = true;
    rpc_start(c, r);
}

void file_drop_hold(struct client *c, struct inode *i)
{
    if (!i->orphan || inode_wanted(c, i)) {
        return; /* when it is only wanted, a Renew tells of the hold again */
    }
    struct file *f = i->file;
    if (i->queued != 0 || (f != NULL && file_busy(f))) {
        return; /* what was done to it must not come behind its end, and another mount that has it
                   open reads what was written: again when all is committed */
    }
    i->orphan = false;
    if (i->known && i->attr.nlink == 0) {
        session_drop_holds(c, i->ino);
    } else {
        ask_hold(c, i->ino);
    }
}

/* ---- the lease ------------------------------------------------------------------------------- */

static void fail_queue(struct client *c, struct file *f, int err)
{
    f->pins++;
    while (!list_empty(&f->queue)) {
        op_fail(c, list_first(&f->queue, struct op, wait), err);
    }
    f->pins--;
}

void file_on_hold_over(struct client *c, struct timer *t)
{
    struct file *f = container_of(t, struct file, hold_timer);
    f->pins++;
    recall_try_release(c, f);
    file_pump(c, f);
    f->pins--;
    file_settle(c, f);
}

/* The lease may be void, or be one that we gave back and whose release got lost: then it is asked
 * for again. */
static bool grant_is_good(struct client *c, struct file *f, uint64_t request_id, uint64_t epoch)
{
    return !recall_voids_lease(c, f->inode->ino, request_id) &&
           !recall_release_again(c, f->inode->ino, epoch);
}

static void on_lease(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                     struct blob *bulk)
{
    (void)bulk;
    struct file *f = r->owner;
    f->lease_rpc = NULL;
    f->lease = LEASE_NONE;
    f->pins++;
    int err = rpc_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_OP || reply->op->attr == NULL)) {
        err = EIO;
    }
    if (err == 0) {
        (void)op_learn(c, r, reply, reply->op->attr);
        if (grant_is_good(c, f, r->req->id, reply->op->value)) {
            file_lease_granted(c, f, reply->op->value, reply->op->last_c);
            if (reply->locks_here) {
                locks_granted_here(c, f);
            }
        }
    } else if (err ==
               EAGAIN) { /* somebody was quicker; a pause, then the leader recalls it from them */
        timer_set(c, TIMER_HOLD, &f->hold_timer, c->now + BACKOFF_MIN, file_on_hold_over);
    } else if (reply != NULL) {
        fail_queue(c, f, err);
    } /* else the session ended: asked for again in the new one */
    if (!timer_running(&f->hold_timer)) {
        file_pump(c, f);
    }
    f->pins--;
    file_settle(c, f);
}

static void ask_lease(struct client *c, struct file *f)
{
    f->lease = LEASE_ASKING;
    struct rpc *r = rpc_new_op(NULL, true, on_lease);
    r->owner = f;
    r->req->op->body_case = FS__OP__BODY_LEASE;
    r->req->op->lease = xmalloc(sizeof(*r->req->op->lease));
    fs__lease__init(r->req->op->lease);
    r->req->op->lease->ino = f->inode->ino;
    f->lease_rpc = r;
    rpc_start(c, r);
}

void file_lease_granted(struct client *c, struct file *f, uint64_t epoch, uint64_t last_c)
{
    assert(f->lease != LEASE_HELD && !file_busy(f));
    f->lease = LEASE_HELD;
    f->epoch = epoch;
    f->next_c = last_c + 1;
    f->lease_since = f->used_at = c->now;
    f->written = f->locks_here = false;
    file_follow_attr(f);
    list_push_back(&c->leases, &f->lease_lru);
    c->leases_count++;
    if (c->leases_count > LEASES_MAX) {
        file_release_idle(c);
    }
}

void file_follow_attr(struct file *f)
{
    if (file_busy(f) || !f->inode->known) {
        return;
    }
    f->size = f->inode->attr.size;
    f->mtime = f->inode->attr.mtime;
    f->atime = 0;
    f->atime_dirty = false;
}

bool file_lease_ready(struct client *c, struct file *f, struct op *op)
{
    switch (f->lease) {
    case LEASE_NONE:
        op->why = "the file's write lease";
        if (!timer_running(&f->hold_timer)) {
            ask_lease(c, f);
        }
        return false;
    case LEASE_ASKING:
        op->why = "the file's write lease";
        return false;
    case LEASE_HELD:
        break;
    }
    if (f->recalls.count != 0 && f->written) {
        op->why = "the file's write lease, which another mount has asked for";
        return false;
    }
    if (!session_lease_valid(c) || c->ending || c->breaking) {
        /* RULES L2: it may have ended, or is about to; then the bytes would be lost */
        op->why = "the leader to renew this mount's session";
        if (!list_linked(&f->renew_link)) {
            list_push_back(&c->renew_waiters, &f->renew_link);
        }
        return false;
    }
    file_touch(c, f);
    file_follow_attr(f);
    return true;
}

void file_touch(struct client *c, struct file *f)
{
    f->used_at = c->now;
    if (f->lease == LEASE_HELD) {
        list_remove(&f->lease_lru);
        list_push_back(&c->leases, &f->lease_lru);
    }
}

/* Nothing needs it. The lease of a file made ahead of the log is given back only once the leader
 * knows of it: asked for again before that, it would be refused. */
static bool lease_idle(const struct client *c, const struct file *f)
{
    return !file_busy(f) && list_empty(&f->queue) && f->recalls.count == 0 &&
           queue_reached(c, f->inode->last_q);
}

/* RULES L1: leases nobody uses go back before somebody has to wait for them; and beyond the cap the
 * least recently used ones whatever their age. */
void file_release_idle(struct client *c)
{
    struct Fs__LeaseEnd ends[LEASES_PER_RELEASE];
    size_t count = 0;
    if (c->state != SESSION_LIVE || !session_leader_usable(c) || !listings_taken_in(c)) {
        return;
    }
    list_each(it, &c->leases) {
        struct file *f = container_of(it, struct file, lease_lru);
        bool too_many = c->leases_count > LEASES_MAX;
        if (count == LEASES_PER_RELEASE ||
            (!too_many && time_since(c->now, f->used_at) < LEASE_IDLE)) {
            break;
        }
        if (!lease_idle(c, f) || !locks_written(c, f->inode->ino)) {
            continue;
        }
        recall_let_go(c, f, &ends[count++]);
        file_settle(c, f);
    }
    if (count != 0) {
        recall_post_ends(c, ends, count);
    }
}

/* ---- dirty ----------------------------------------------------------------------------------- */

int64_t file_next_mtime(const struct client *c, const struct file *f)
{
    return c->wall_ns > f->mtime || MUTANT(mtime_goes_back) ? c->wall_ns : f->mtime + 1;
}

static void on_commit_timer(struct client *c, struct timer *t)
{
    (void)file_freeze(c, container_of(t, struct file, commit_timer));
}

void file_mark_dirty(struct client *c, struct file *f)
{
    if (!list_linked(&f->dirty_link)) {
        list_push_back(&c->dirty_files, &f->dirty_link);
    }
    if (!timer_running(&f->commit_timer)) {
        timer_set(c, TIMER_DIRTY, &f->commit_timer, c->now + COMMIT_DELAY, on_commit_timer);
    }
}

void file_changed(struct client *c, struct file *f, struct op *op, size_t pages_before,
                  bool was_dirty)
{
    size_t pages = f->dirty.pages.count;
    uint64_t cost = was_dirty ? 0 : COMMIT_OVERHEAD;
    if (pages > pages_before) {
        cost += (pages - pages_before) * FS_PAGE;
    }
    if (cost > op->space) {
        cost = op->space;
    }
    op->space -= cost;
    f->dirty_space += cost;
    c->space += op->space; /* what the worst case did not need */
    op->space = 0;
    c->dirty_bytes += pages * FS_PAGE;
    c->dirty_bytes -= pages_before * FS_PAGE;
    f->meta_dirty = true;
    f->written = true;
    file_touch(c, f);
    file_mark_dirty(c, f);
}

/* What MUTANT(commit_split) does: the last page stays behind, for a COMMIT of its own. */
static void leave_last_page(struct client *c, struct file *f, struct commit *k)
{
    if (k->layer.pages.count < 2) {
        return;
    }
    struct page last = vec_pop(&k->layer.pages);
    layer_put(&f->dirty, &last);
    blob_unref(last.blob);
    file_mark_dirty(c, f);
}

static struct commit *commit_new(struct client *c, struct file *f)
{
    struct commit *k = xcalloc(1, sizeof(*k));
    k->file = f;
    k->serial = ++c->commit_serial;
    k->epoch = f->epoch;
    k->no_c = f->next_c++;
    k->after_q = f->inode->last_q;
    list_init(&k->held);
    timer_init(&k->put_timer);
    list_push_back(&f->commits, &k->in_file);
    list_push_back(&c->commits, &k->all);
    return k;
}

uint64_t file_freeze(struct client *c, struct file *f)
{
    if (!file_dirty(f) || f->lease != LEASE_HELD) {
        const struct commit *last = list_last(&f->commits, struct commit, in_file);
        return last != NULL ? last->serial : 0;
    }
    struct commit *k = commit_new(c, f);
    k->layer = f->dirty;
    layer_init(&f->dirty);
    k->size = f->size;
    k->mtime = f->mtime;
    k->atime = f->atime_dirty ? f->atime : 0;
    k->space = f->dirty_space;
    k->tell_accepted = f->closing || MUTANT(fsync_on_acceptance);
    f->dirty_space = 0;
    f->meta_dirty = f->atime_dirty = f->closing = false;
    timer_clear(&f->commit_timer);
    list_remove(&f->dirty_link);
    if (MUTANT(commit_split)) {
        leave_last_page(c, f, k);
    }
    k->bytes = k->layer.pages.count * FS_PAGE;
    c->dirty_bytes -= k->bytes;
    c->inflight_bytes += k->bytes;
    commit_start(c, k);
    return k->serial;
}

uint64_t file_refer(struct client *c, struct file *f, const struct reference *ref, uint64_t size,
                    uint64_t space)
{
    (void)file_freeze(c, f);
    struct commit *k = commit_new(c, f);
    layer_init(&k->layer);
    k->refers = true;
    k->reference = *ref;
    k->size = size;
    k->mtime = file_next_mtime(c, f);
    k->space = space;
    f->written = true;
    file_touch(c, f);
    commit_start(c, k);
    return k->serial;
}

bool file_refers(const struct file *f)
{
    const struct commit *last = list_last(&f->commits, struct commit, in_file);
    return last != NULL && last->refers; /* none is behind it */
}

bool file_fsync_is_near(struct file *f)
{
    return ++f->unsynced == 1 && f->synced_each >= SYNCED_EACH;
}

void file_note_fsync(struct file *f)
{
    f->synced_each = f->unsynced == 1 ? f->synced_each + 1 : 0;
    f->unsynced = 0;
}

void file_freeze_all(struct client *c)
{
    list_each(it, &c->dirty_files) {
        (void)file_freeze(c, container_of(it, struct file, dirty_link));
    }
}

static void commit_done(struct client *c, struct commit *k)
{
    if (k->space > k->cost) {
        c->space += k->space - k->cost;
    }
    kept_committed(c, k);
    commit_free(c, k);
}

void file_committed(struct client *c, struct commit *k)
{
    struct file *f = k->file;
    bool refers = k->refers;
    struct commit *first;
    f->pins++;
    /* RULES B2: so are those before it, whose answers may come later, since they were sent later: a
     * large one waits for its blocks to be held. What they have of a page is older than this. */
    while ((first = list_first(&f->commits, struct commit, in_file)) != k) {
        commit_done(c, first);
    }
    commit_done(c, k);
    file_follow_attr(f);
    file_touch(c, f);
    queue_pump(c); /* a rename may have waited for it */
    commit_wake(c);
    recall_try_release(c, f);
    file_drop_hold(c, f->inode);
    file_pump_buffer(c);
    if (refers) {
        file_pump(c, f);
    }
    f->pins--;
    file_settle(c, f);
    session_stop_next(c);
}

/* ---- losing it ------------------------------------------------------------------------------- */

static void tell_loss(struct client *c, struct file *f, uint64_t bytes, int err)
{
    struct inode *i = f->inode;
    list_each(it, &f->handles) {
        set_error(container_of(it, struct handle, link), err);
    }
    list_each(it, &c->commit_waiters) {
        struct op *op = container_of(it, struct op, wait);
        if (op->wait_ino == i->ino || op->wait_ino == 0) {
            op->lost = err;
        }
    }
    client_log(c, "ino %llu: %llu bytes that were written and not synced are lost",
               (unsigned long long)i->ino, (unsigned long long)bytes);
    if (i->kernel_until > c->now) {
        effect_add(c, CLIENT_NOTIFY_ATTR)->ino = i->ino;
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = i->ino;
    } /* else it asks before it uses them, and a notification would make it ignore the answer */
    i->kernel_until = 0;
    i->pages_version = i->sent_version = 0;
    i->lost_end = f->size > i->sent_size ? f->size : i->sent_size;
}

uint64_t file_drop_dirty(struct client *c, struct file *f)
{
    uint64_t bytes = f->dirty.pages.count * FS_PAGE;
    c->dirty_bytes -= bytes;
    c->space += f->dirty_space;
    f->dirty_space = 0;
    layer_done(&f->dirty);
    f->meta_dirty = f->atime_dirty = false;
    f->atime = 0;
    timer_clear(&f->commit_timer);
    list_remove(&f->dirty_link);
    return bytes;
}

uint64_t file_lost(struct client *c, struct file *f, int err)
{
    bool busy = file_busy(f);
    uint64_t bytes = file_drop_dirty(c, f);
    list_each(it, &f->commits) {
        struct commit *k = container_of(it, struct commit, in_file);
        bytes += k->bytes;
        c->space += k->space;
        commit_free(c, k);
    }
    kept_drop(c, f);
    if (f->lease == LEASE_HELD && err != 0) {
        locks_lease_lost(c, f);
        f->lease = LEASE_NONE;
        list_remove(&f->lease_lru);
        c->leases_count--;
    }
    if (busy && err != 0) {
        tell_loss(c, f, bytes, err);
    }
    if (f->lease == LEASE_NONE) {
        recall_lease_lost(c, f);
    }
    return busy && err != 0 ? bytes : 0;
}

void file_discard(struct client *c, struct file *f)
{
    f->pins++;
    (void)file_lost(c, f, 0);
    if (f->lease == LEASE_HELD) { /* it ended with the inode */
        struct Fs__LeaseEnd end;
        recall_let_go(c, f, &end);
    }
    locks_closed(c, f->inode->ino);
    recall_lease_lost(c, f);
    commit_wake(c);
    file_pump(c, f);
    f->pins--;
    file_settle(c, f);
    file_pump_buffer(c);
}

/* ---- the queue of changes -------------------------------------------------------------------- */

bool file_find_page(const struct file *f, uint64_t no, struct page *ret)
{
    const struct layer *l = &f->dirty;
    const struct list *it = f->commits.prev;
    for (;;) {
        const struct page *p = layer_find(l, no);
        if (p != NULL) {
            *ret = *p;
            return true;
        }
        if (layer_hides(l, no)) {
            *ret = (struct page){.no = no};
            return true;
        }
        if (it == &f->commits) {
            return false;
        }
        l = &container_of(it, struct commit, in_file)->layer;
        it = it->prev;
    }
}

int file_data_at(const struct file *f, uint64_t no, uint64_t *ret_end)
{
    *ret_end = PAGE_NONE;
    int data = layer_data_at(&f->dirty, no, ret_end);
    for (const struct list *it = f->commits.prev; data < 0 && it != &f->commits; it = it->prev) {
        data = layer_data_at(&container_of(it, struct commit, in_file)->layer, no, ret_end);
    }
    return data;
}

void file_enqueue(struct client *c, struct file *f, struct op *op)
{
    op->queue_of = f;
    list_push_back(&f->queue, &op->wait);
    file_pump(c, f);
}

void file_pump(struct client *c, struct file *f)
{
    if (f->pumping) {
        return;
    }
    f->pumping = true;
    for (;;) {
        struct op *op = list_first(&f->queue, struct op, wait);
        if (op == NULL || !op_data_step(c, f, op)) {
            break;
        }
    }
    f->pumping = false;
    f->pins++;
    recall_try_release(c, f);
    f->pins--;
    file_settle(c, f);
}

static size_t count_of(const struct list *head)
{
    size_t n = 0;
    for (const struct list *it = head->next; it != head; it = it->next) {
        n++;
    }
    return n;
}

/* Each file that waits now gets one turn; those that still can't go on are in the list again. */
void file_pump_renewed(struct client *c)
{
    for (size_t n = count_of(&c->renew_waiters); n > 0 && !list_empty(&c->renew_waiters); n--) {
        struct file *f = list_first(&c->renew_waiters, struct file, renew_link);
        list_remove(&f->renew_link);
        file_pump(c, f);
    }
}

void file_pump_space(struct client *c, int err)
{
    for (size_t n = count_of(&c->space_waiters); n > 0 && !list_empty(&c->space_waiters); n--) {
        struct file *f = list_first(&c->space_waiters, struct file, space_link);
        list_remove(&f->space_link);
        struct op *op = list_first(&f->queue, struct op, wait);
        f->pins++;
        if (err != 0 && op != NULL && op->lacks_space) { /* who asked may have given up */
            op_fail(c, op, err);
        }
        file_pump(c, f);
        f->pins--;
        file_settle(c, f);
    }
}

void file_pump_buffer(struct client *c)
{
    for (size_t n = count_of(&c->buffer_waiters); n > 0 && !list_empty(&c->buffer_waiters); n--) {
        struct file *f = list_first(&c->buffer_waiters, struct file, buffer_link);
        list_remove(&f->buffer_link);
        file_pump(c, f);
    }
}
