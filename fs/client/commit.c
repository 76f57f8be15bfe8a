/* COMMITs: the dirty pages of a file as immutable blocks and map edits (RULES B1, B2), their way to
 * the stores and to the leader (RULES B5), and who waits for them (RULES B9). */
#include "fs/client/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/core/state.h"
#include "repl/base/mutant.h"

#define PUT_PATIENCE   (20 * TIME_MS) /* RULES B5: then the leader pushes the bytes itself */
#define BLOCK_PAGES    (BLOCK_SIZE_MAX / FS_PAGE)
#define WHOLE_BLOB_MIN (64u << 10)  /* smaller runs are packed together with others */
#define PUT_AGAIN      (5 * TIME_S) /* a store that says nothing for so long gets its blocks again */

/* ---- what a COMMIT says ---------------------------------------------------------------------- */

static void add_edit(struct Fs__Commit *m, Fs__Edit__Kind kind, uint64_t first, uint64_t pages,
                     uint32_t block, uint32_t block_page)
{
    struct Fs__Edit *last = m->n_edits != 0 ? m->edits[m->n_edits - 1] : NULL;
    if (last != NULL && last->kind == kind && kind != FS__EDIT__KIND__CUT &&
        last->first_page + last->pages == first && last->block == block &&
        (kind == FS__EDIT__KIND__HOLE || last->block_page + last->pages == block_page)) {
        last->pages += pages;
        return;
    }
    struct Fs__Edit *e = xmalloc(sizeof(*e));
    fs__edit__init(e);
    e->kind = kind;
    e->first_page = first;
    e->pages = pages;
    e->block = block;
    e->block_page = block_page;
    if ((m->n_edits & (m->n_edits - 1)) == 0) { /* room is a power of two */
        m->edits = xreallocarray(m->edits, m->n_edits != 0 ? m->n_edits * 2 : 1, sizeof(*m->edits));
    }
    m->edits[m->n_edits++] = e;
}

void block_out_unref(struct block_out *b)
{
    if (b != NULL && --b->refs == 0) {
        blob_unref(b->bytes);
        free(b);
    }
}

/* Takes the reference to `bytes`. */
static void add_block(struct client *c, struct commit *k, uint32_t at, struct blob *bytes)
{
    struct block_out *b = xcalloc(1, sizeof(*b));
    b->refs = 1;
    b->bytes = bytes;
    b->commit = k;
    fs__block__init(&b->pb);
    b->pb.session = c->session;
    b->pb.n = c->next_block++;
    b->pb.size = bytes->size;
    b->pb.runs = b->runs;
    b->pb.n_runs = block_runs(bytes->size);
    block_run_hashes(bytes->data, bytes->size, b->runs);
    fs__block_put__init(&b->put);
    b->put.block = &b->pb;
    k->blocks[at] = b;
    k->cost += (uint64_t)block_pages(bytes->size) * FS_PAGE;
    (void)map_put(&c->blocks, b->pb.n, b);
}

/* Pages from here and there that share a block. */
struct pack {
    struct page pages[BLOCK_PAGES];
    uint32_t count, at;
};

static void pack_close(struct client *c, struct commit *k, struct pack *p)
{
    if (p->count == 0) {
        return;
    }
    const struct page *last = &p->pages[p->count - 1];
    struct blob *bytes = blob_new((p->count - 1) * FS_PAGE + last->size);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct page *page = &p->pages[i];
        uint8_t *to = bytes->data + (size_t)i * FS_PAGE;
        memcpy(to, page->blob->data + page->offset, page->size);
        if (i + 1 < p->count) {
            memset(to + page->size, 0, FS_PAGE - page->size);
        }
    }
    add_block(c, k, p->at, bytes);
    p->count = 0;
}

static void pack_page(struct client *c, struct commit *k, struct pack *p, const struct page *page)
{
    if (p->count == 0) {
        p->at = (uint32_t)k->blocks_count++;
    }
    add_edit(k->message, FS__EDIT__KIND__EXTENT, page->no, 1, p->at, p->count);
    p->pages[p->count++] = *page;
    if (p->count == BLOCK_PAGES) {
        pack_close(c, k, p);
    }
}

/* How many pages from `i` on are exactly one blob: it is the block, without a copy. 0: they are
 * not. */
static size_t whole_blob(const struct layer *l, size_t i)
{
    const struct page *first = &l->pages.items[i];
    struct blob *blob = first->blob;
    if (first->offset != 0 || blob->size < WHOLE_BLOB_MIN || blob->size > BLOCK_SIZE_MAX) {
        return 0;
    }
    size_t pages = block_pages(blob->size);
    if (pages > l->pages.count - i) {
        return 0;
    }
    for (size_t j = 0; j < pages; j++) {
        const struct page *p = &l->pages.items[i + j];
        uint32_t at = (uint32_t)j * FS_PAGE;
        uint32_t size = blob->size - at < FS_PAGE ? blob->size - at : FS_PAGE;
        if (p->blob != blob || p->no != first->no + j || p->offset != at || p->size != size) {
            return 0;
        }
    }
    return pages;
}

static void add_reference(struct commit *k)
{
    const struct reference *ref = &k->reference;
    add_edit(k->message, FS__EDIT__KIND__REFERENCE, ref->first_page, ref->pages, 0, 0);
    struct Fs__Edit *e = k->message->edits[k->message->n_edits - 1];
    e->source_ino = ref->source_ino;
    e->source_page = ref->source_page;
    e->source_version = ref->source_version;
    k->cost += fs_reference_cost(ref->pages);
}

static void build(struct client *c, struct commit *k)
{
    struct Fs__Commit *m = xmalloc(sizeof(*m));
    fs__commit__init(m);
    k->message = m;
    k->cost = COMMIT_OVERHEAD;
    m->ino = k->file->inode->ino;
    m->epoch = k->epoch;
    m->c = k->no_c;
    m->size = k->size;
    m->mtime = k->mtime;
    m->atime = k->atime;
    const struct layer *l = &k->layer;
    if (k->refers) {
        add_reference(k);
    }
    k->blocks = xcalloc(l->pages.count + 1, sizeof(struct block_out *));
    if (l->cut_from != PAGE_NONE && !MUTANT(cut_forgotten)) {
        add_edit(m, FS__EDIT__KIND__CUT, l->cut_from, 0, 0, 0);
    }
    for (size_t h = 0; h < l->holes.count && !MUTANT(holes_forgotten); h++) {
        const struct page_range *hole = &l->holes.items[h];
        add_edit(m, FS__EDIT__KIND__HOLE, hole->first, hole->end - hole->first, 0, 0);
    }
    struct pack *pack = xcalloc(1, sizeof(*pack));
    for (size_t i = 0; i < l->pages.count;) {
        const struct page *p = &l->pages.items[i];
        if (p->blob == NULL || p->size == 0) {
            add_edit(m, FS__EDIT__KIND__HOLE, p->no, 1, 0, 0);
            i++;
            continue;
        }
        size_t pages = whole_blob(l, i);
        if (pages == 0) {
            pack_page(c, k, pack, p);
            i++;
            continue;
        }
        uint32_t at = (uint32_t)k->blocks_count++;
        add_edit(m, FS__EDIT__KIND__EXTENT, p->no, pages, at, 0);
        add_block(c, k, at, blob_ref(p->blob));
        i += pages;
    }
    pack_close(c, k, pack);
    free(pack);
    uint64_t bytes = 0;
    m->blocks = xcalloc(k->blocks_count + 1, sizeof(struct Fs__Block *));
    m->n_blocks = k->blocks_count;
    for (size_t b = 0; b < k->blocks_count; b++) {
        const struct block_out *out = k->blocks[b];
        m->blocks[b] = xmemdup(&out->pb, sizeof(out->pb));
        m->blocks[b]->runs = xmemdup(out->runs, out->pb.n_runs * sizeof(out->runs[0]));
        bytes += out->pb.size;
    }
    k->inline_bytes = bytes <= c->config.inline_max;
}

/* ---- to the leader --------------------------------------------------------------------------- */

static uint32_t holders_of(const struct commit *k)
{
    uint32_t holders = k->inline_bytes ? 0 : UINT32_MAX;
    for (size_t b = 0; b < k->blocks_count; b++) {
        holders &= k->blocks[b]->acked;
    }
    return holders;
}

/* RULES B12: whatever this session named below is in a map or dead. */
static uint64_t lowest_wanted(const struct client *c)
{
    list_each(it, &c->commits) {
        const struct commit *k = container_of(it, struct commit, all);
        uint64_t lowest = UINT64_MAX;
        for (size_t b = 0; b < k->blocks_count; b++) { /* in no order: a packed one closes late */
            lowest = k->blocks[b]->pb.n < lowest ? k->blocks[b]->pb.n : lowest;
        }
        if (k->blocks_count != 0 && !MUTANT(wanted_blocks_dropped)) {
            return lowest;
        }
    }
    return c->next_block;
}

static void prepare_commit(struct client *c, struct rpc *r)
{
    struct commit *k = r->owner;
    k->accepted = false; /* by a leader before this one, at most */
    r->req->holders = holders_of(k);
    r->req->op->commit->lowest_wanted = lowest_wanted(c);
}

static void on_accepted(struct client *c, struct rpc *r)
{
    struct commit *k = r->owner;
    if (!k->accepted) {
        k->accepted = true;
        commit_wake(c);
    }
}

/* The copy that waits for it hears how it went. Without one, its caller was told something else,
 * and the kernel keeps pages that are not of the file any more. */
static void tell_reference(struct client *c, const struct commit *k, bool refused)
{
    list_each(it, &c->commit_waiters) {
        struct op *op = container_of(it, struct op, wait);
        if (op->a.kind == CLIENT_COPY && op->referring != 0 && op->until == k->serial) {
            op->refused = refused;
            return;
        }
    }
    if (!refused) {
        inode_invalidate_kernel(c, k->file->inode);
        effect_add(c, CLIENT_NOTIFY_DATA)->ino = k->file->inode->ino;
    }
}

/* A leader refuses what this mount wrote under a lease only when both disagree on what there is. A
 * name that was to follow the bytes must not go without them, nor what was done after it: the
 * session ends (RULES B11, D1).
 *
 * Or nothing is lost: the file is gone, and the leader that committed this before died before it
 * said so. */
static void commit_refused(struct client *c, const struct commit *k, int err)
{
    struct file *f = k->file;
    bool awaited = queue_names(c, f->inode);
    if (f->inode->attr.nlink == 0 && list_empty(&f->handles) && !awaited) {
        file_discard(c, f);
    } else {
        client_log(c, "ino %llu: commit %llu of epoch %llu was refused: %s",
                   (unsigned long long)f->inode->ino, (unsigned long long)k->no_c,
                   (unsigned long long)k->epoch, strerror(err));
        f->pins++;
        (void)file_lost(c, f, EIO);
        if (awaited) {
            session_break(c);
        }
        commit_wake(c);
        file_pump(c, f);
        f->pins--;
        file_settle(c, f);
        file_pump_buffer(c);
    }
    session_stop_next(c);
}

static void on_committed(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                         struct blob *bulk)
{
    (void)bulk;
    struct commit *k = r->owner;
    struct file *f = k->file;
    k->rpc = NULL;
    int err = rpc_error(r, reply);
    if (err == 0) {
        struct inode *i = f->inode;
        uint64_t before = i->attr.data_version;
        if (reply->body_case == FS__REPLY__BODY_OP && reply->op->attr != NULL) {
            (void)op_learn(c, r, reply, reply->op->attr);
        }
        if (k->refers) {
            f->size = k->size;
            f->mtime = k->mtime;
            tell_reference(c, k, false);
        } else if (i->pages_version == before) { /* which have our own writes already */
            i->pages_version = i->attr.data_version;
            i->sent_version = i->sent_version == before ? i->attr.data_version : i->sent_version;
        }
        file_committed(c, k);
        return;
    }
    if (k->refers && err == EAGAIN) { /* RULES B12: the source has changed, nothing was done */
        assert(f->next_c == k->no_c + 1);
        f->next_c = k->no_c;
        k->cost = 0;
        tell_reference(c, k, true);
        file_committed(c, k);
        return;
    }
    commit_refused(c, k, err);
}

/* What was done to the inode before is not on its way yet; it may not even be there. In the order
 * of their beginning, so that none waits behind one that waits for more than what it holds up
 * itself.
 */
static void hold(struct client *c, struct commit *k)
{
    if (list_linked(&k->held)) {
        return;
    }
    struct list *place = c->held_commits.prev;
    while (place != &c->held_commits &&
           container_of(place, struct commit, held)->serial > k->serial) {
        place = place->prev;
    }
    list_insert_before(place->next, &k->held);
}

/* RULES B2: the log has it behind what was done to the inode before, also when both are on their
 * way at once: the leader keeps that order, and apply refuses what lacks it. A COMMIT by reference
 * may be refused for another reason, and would not know for which. */
static bool may_go(const struct client *c, const struct commit *k)
{
    return queue_reached(c, k->after_q) || (!k->refers && queue_sent(c, k->after_q)) ||
           MUTANT(commit_before_name);
}

static void send_commit(struct client *c, struct commit *k)
{
    assert(k->rpc == NULL && k->message != NULL);
    if (!may_go(c, k)) {
        hold(c, k);
        return;
    }
    list_remove(&k->held);
    if (!queue_reached(c, k->after_q) && !MUTANT(commit_before_name)) {
        k->message->after_q = k->after_q - c->queue_base;
    }
    struct rpc *r = rpc_new_op(NULL, false, on_committed);
    r->owner = k;
    r->prepare = prepare_commit;
    r->accepted = on_accepted;
    r->req->want_accepted = k->tell_accepted;
    r->req->op->body_case = FS__OP__BODY_COMMIT;
    r->req->op->commit = k->message;
    k->message = NULL;
    if (k->inline_bytes && k->blocks_count != 0) {
        r->blobs = xcalloc(k->blocks_count, sizeof(struct blob *));
        for (size_t b = 0; b < k->blocks_count; b++) {
            r->blobs[b] = blob_ref(k->blocks[b]->bytes);
        }
        r->blobs_count = k->blocks_count;
    }
    k->rpc = r;
    rpc_start(c, r);
}

void commit_release_held(struct client *c)
{
    while (!list_empty(&c->held_commits)) {
        struct commit *k = list_first(&c->held_commits, struct commit, held);
        if (!may_go(c, k)) {
            return;
        }
        send_commit(c, k);
    }
}

/* ---- to the stores --------------------------------------------------------------------------- */

static uint32_t targets_of(const struct client *c)
{
    return c->targets != 0 ? c->targets : c->config.copies;
}

static void put(struct client *c, struct block_out *b, uint32_t node)
{
    struct client_effect *e = effect_add(c, CLIENT_PUT);
    e->node = node;
    e->put = &b->put;
    e->hold = b;
    b->refs++;
    e->blobs = xcalloc(1, sizeof(struct blob *));
    e->blobs[0] = blob_ref(b->bytes);
    e->blobs_count = 1;
    b->asked |= 1u << node;
}

/* To every target that has not been asked since its link came up. */
static void put_missing(struct client *c, struct commit *k)
{
    uint32_t targets = targets_of(c);
    for (size_t i = 0; i < k->blocks_count; i++) {
        struct block_out *b = k->blocks[i];
        for (uint32_t node = 1; node < NODES_MAX; node++) {
            bool wants = (targets & ~b->acked & ~b->asked) >> node & 1;
            if (wants && c->links[node].up) {
                put(c, b, node);
            }
        }
    }
}

static unsigned bits(uint32_t mask)
{
    unsigned n = 0;
    for (; mask != 0; mask &= mask - 1) {
        n++;
    }
    return n;
}

/* RULES B5: when all that should hold the blocks do, or f+1 of them, or patience ran out and
 * somebody does: the leader fetches and pushes the rest. */
static void try_send(struct client *c, struct commit *k, bool patience_over)
{
    uint32_t holders = holders_of(k);
    if (k->rpc != NULL || holders == 0) {
        return;
    }
    if (patience_over || bits(holders) >= bits(c->config.copies) ||
        (targets_of(c) & ~holders) == 0) {
        send_commit(c, k);
    }
}

static void on_put_timer(struct client *c, struct timer *t)
{
    struct commit *k = container_of(t, struct commit, put_timer);
    if (k->put_delay >= PUT_AGAIN) {
        for (size_t i = 0; i < k->blocks_count; i++) {
            k->blocks[i]->asked = 0;
            if (k->rpc != NULL && !MUTANT(store_boot_ignored)) {
                k->blocks[i]->acked =
                    0; /* not committed for so long: perhaps they were thrown away */
            }
        }
        put_missing(c, k);
    }
    k->put_delay = PUT_AGAIN;
    timer_set(c, TIMER_PUT, &k->put_timer, c->now + k->put_delay, on_put_timer);
    try_send(c, k, true);
}

void commit_start(struct client *c, struct commit *k)
{
    build(c, k);
    if (k->inline_bytes) {
        send_commit(c, k);
        return;
    }
    put_missing(c, k);
    k->put_delay = PUT_PATIENCE;
    timer_set(c, TIMER_PUT, &k->put_timer, c->now + k->put_delay, on_put_timer);
}

void commit_on_put_reply(struct client *c, uint32_t node, const struct Fs__BlockPutReply *reply)
{
    struct block_out *b = map_get(&c->blocks, reply->n);
    if (node >= NODES_MAX || b == NULL || b->pb.session != reply->session) {
        return;
    }
    if (reply->store_boot != c->links[node].boot) {
        return; /* written under an opening of the store that is over: RULES B9 */
    }
    if (reply->err != 0) {
        return; /* asked again by the timer; the leader pushes it meanwhile */
    }
    b->acked |= 1u << node;
    struct commit *k = b->commit;
    try_send(c, k, k->put_delay >= PUT_AGAIN);
}

void commit_on_link_up(struct client *c, uint32_t node, bool new_store)
{
    list_each(it, &c->commits) {
        struct commit *k = container_of(it, struct commit, all);
        if (k->inline_bytes) {
            continue;
        }
        for (size_t i = 0; i < k->blocks_count; i++) {
            k->blocks[i]->asked &= ~(1u << node);
            if (new_store && !MUTANT(store_boot_ignored)) { /* RULES B9: what was written and not
                                                               synced may be gone */
                k->blocks[i]->acked &= ~(1u << node);
            }
        }
        put_missing(c, k);
    }
}

void commit_on_targets(struct client *c)
{
    list_each(it, &c->commits) {
        struct commit *k = container_of(it, struct commit, all);
        if (!k->inline_bytes) {
            put_missing(c, k);
            try_send(c, k, false);
        }
    }
}

void commit_free(struct client *c, struct commit *k)
{
    list_remove(&k->all);
    list_remove(&k->in_file);
    list_remove(&k->held);
    timer_clear(&k->put_timer);
    if (k->rpc != NULL) {
        rpc_cancel(c, k->rpc);
    }
    if (k->message != NULL) {
        fs__commit__free_unpacked(k->message, NULL);
    }
    c->inflight_bytes -= k->bytes;
    for (size_t i = 0; i < k->blocks_count; i++) {
        (void)map_del(&c->blocks, k->blocks[i]->pb.n);
        k->blocks[i]->commit = NULL;
        block_out_unref(k->blocks[i]);
    }
    free(k->blocks);
    layer_done(&k->layer);
    free(k);
}

/* ---- who waits ------------------------------------------------------------------------------- */

/* RULES B9: by the leader it was sent to, if that one is still there. */
static bool accepted_now(const struct commit *k)
{
    return k->accepted && k->rpc != NULL && !k->rpc->queued;
}

bool commit_reached(const struct client *c, const struct op *op)
{
    list_each(it, &c->commits) {
        const struct commit *k = container_of(it, struct commit, all);
        if (k->serial > op->until) {
            return true; /* they are in order */
        }
        bool concerned = op->wait_ino == 0 || op->wait_ino == k->file->inode->ino;
        bool enough = op->a.kind == CLIENT_FLUSH || MUTANT(fsync_on_acceptance);
        if (concerned && !(enough && accepted_now(k))) {
            return false;
        }
    }
    return true;
}

void commit_wait(struct client *c, struct op *op, uint64_t ino, uint64_t until)
{
    op->wait_ino = ino;
    op->until = until;
    op->why = "the commit of what was written";
    list_remove(&op->wait);
    list_push_back(&c->commit_waiters, &op->wait);
}

void commit_wake(struct client *c)
{
    bool again = true;
    while (again) {
        again = false;
        list_each(it, &c->commit_waiters) {
            struct op *op = container_of(it, struct op, wait);
            if (!commit_reached(c, op)) {
                continue;
            }
            list_remove(&op->wait);
            op_run(c, op);
            again = true; /* others may have come or gone */
            break;
        }
    }
}
