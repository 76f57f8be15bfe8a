/* Pages of a file: what is buffered here over what a copy answers, verified (RULES B8). */
#include "fs/client/read.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "fs/client/ops.h"
#include "fs/client/rpc.h"
#include "repl/base/hash.h"
#include "repl/base/mutant.h"

#define BAD_MAX                                                                                    \
    64u /* answers that don't fit their hashes; then the bytes are lost on all copies              \
         */

void read_free(struct client *c, struct read_job *job)
{
    if (job->rpc != NULL) {
        rpc_cancel(c, job->rpc);
    }
    for (uint32_t i = 0; i < job->pages; i++) {
        blob_unref(job->over[i].blob);
    }
    free(job->over);
    free(job->missing);
    free(job);
}

uint64_t read_min_index(const struct client *c, const struct inode *i)
{
    if (c->config.consistency == CLIENT_SESSION) {
        return c->token;
    }
    return MUTANT(read_older_than_attr) ? 0 : i->attr.data_version;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The runs that came are what the map says. */
static bool verified(const struct Fs__Piece *p, const uint8_t *bytes)
{
    const struct Fs__Block *b = p->block;
    if (block_runs(p->bytes) != b->n_runs) {
        return false;
    }
    for (size_t r = 0; r < b->n_runs; r++) {
        uint32_t at = (uint32_t)r * BLOCK_RUN_SIZE;
        uint32_t size = p->bytes - at < BLOCK_RUN_SIZE ? p->bytes - at : BLOCK_RUN_SIZE;
        if (hash64(bytes + at, size) != b->runs[r]) {
            return false;
        }
    }
    return true;
}

/* Where a piece lies: in the job, in its block, and in the bulk part. */
struct place {
    uint64_t slot;   /* of its first page in the job */
    uint64_t from;   /* in the block: where its pages begin ... */
    uint64_t stored; /* ... and where the bytes stored of them end */
    uint64_t start;  /* ... and where the bytes that came begin */
};

static bool find_place(const struct read_job *job, const struct Fs__Piece *p, struct place *ret)
{
    if (p->block == NULL || p->pages > BLOCK_SIZE_MAX / FS_PAGE || p->first_page < job->first ||
        p->block->size > BLOCK_SIZE_MAX || p->first_page - job->first > job->pages ||
        p->first_page - job->first + p->pages > job->pages) {
        return false;
    }
    ret->slot = p->first_page - job->first;
    ret->from = (uint64_t)p->block_page * FS_PAGE;
    ret->start = (uint64_t)p->run_first * BLOCK_RUN_SIZE;
    ret->stored = ret->from + (uint64_t)p->pages * FS_PAGE;
    if (ret->stored > p->block->size) {
        ret->stored = p->block->size;
    }
    /* Everything that is stored of these pages must be there: less would read as zeros. */
    return ret->start <= ret->from &&
           (ret->stored <= ret->from || ret->start + p->bytes >= ret->stored);
}

/* One piece; its bytes are in `bulk` from `offset` on. False: it does not fit what was asked, or
 * its hashes. */
static bool take_piece(struct read_job *job, const struct Fs__Piece *p, struct blob *bulk,
                       uint64_t offset)
{
    struct place at;
    if (!find_place(job, p, &at)) {
        return false;
    }
    if (p->bytes != 0 &&
        (bulk == NULL || offset + p->bytes > bulk->size || !verified(p, bulk->data + offset))) {
        return false;
    }
    for (uint32_t i = 0; i < p->pages; i++) {
        uint64_t in_block = at.from + (uint64_t)i * FS_PAGE;
        if (!job->missing[at.slot + i] || in_block >= at.stored) {
            continue;
        }
        struct page *page = &job->over[at.slot + i];
        blob_unref(page->blob);
        page->blob = blob_ref(bulk);
        page->offset = (uint32_t)(offset + in_block - at.start);
        page->size = (uint32_t)(at.stored - in_block < FS_PAGE ? at.stored - in_block : FS_PAGE);
    }
    return true;
}

static bool take(struct read_job *job, const struct Fs__ReadReply *read, struct blob *bulk)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < read->n_pieces; i++) {
        if (!take_piece(job, read->pieces[i], bulk, offset)) {
            return false;
        }
        offset += read->pieces[i]->bytes;
    }
    return true;
}

/* The next answer may be of a later version, with nothing where this one had a piece. */
static void drop_pieces(struct read_job *job)
{
    for (uint32_t p = 0; p < job->pages; p++) {
        if (job->missing[p]) {
            blob_unref(job->over[p].blob);
            job->over[p].blob = NULL;
        }
    }
}

static void ask(struct client *c, struct read_job *job, uint64_t min_index, uint32_t position);

/* The log says that the write lease the job relies on is over, though no leader has told us: at
 * consistency=session copies answer also then. What is buffered is of a commit that never comes,
 * and must not be shown beside what others wrote since (RULES B2). */
static void note_lease_over(struct client *c, const struct read_job *job,
                            const struct Fs__Attr *attr)
{
    const struct inode *i = inode_find(c, job->ino);
    struct file *f = i != NULL ? i->file : NULL;
    if (!job->own || f == NULL || f->lease != LEASE_HELD || attr->lease_epoch <= f->epoch) {
        return;
    }
    f->pins++;
    (void)file_lost(c, f, EIO);
    commit_wake(c);
    f->pins--;
    file_settle(c, f);
}

static void on_read(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    struct read_job *job = r->owner;
    struct op *op = job->op;
    job->rpc = NULL;
    int err = op_inode_error(r, reply);
    if (err == 0 && (reply->body_case != FS__REPLY__BODY_READ || reply->read->attr == NULL)) {
        err = EIO;
    }
    if (err != 0) {
        job->done(c, op, err);
        return;
    }
    if (!take(job, reply->read, bulk)) {
        /* The map may have changed between looking it up and reading, or the copy is damaged:
         * another one (RULES B8). */
        if (job->bad == 0) {
            client_log(c, "ino %llu: bytes from a copy do not fit their hashes, asking another one",
                       (unsigned long long)job->ino);
        }
        if (++job->bad >= BAD_MAX) {
            job->done(c, op, EIO);
        } else {
            drop_pieces(job);
            ask(c, job, r->req->min_index, r->position);
        }
        return;
    }
    const struct Fs__Attr *attr = reply->read->attr;
    job->data_version = attr->data_version;
    if (!job->own) {
        job->size = attr->size;
    }
    (void)cache_learn(c, attr, false);
    note_lease_over(c, job, attr);
    job->done(c, op, 0);
}

/* Asks for the range that is missing. */
static void ask(struct client *c, struct read_job *job, uint64_t min_index, uint32_t position)
{
    uint32_t low = 0, high = job->pages;
    while (!job->missing[low]) {
        low++;
    }
    while (!job->missing[high - 1]) {
        high--;
    }
    struct rpc *r = rpc_new(RPC_COPY, NULL, on_read);
    r->owner = job;
    r->position = position;
    r->req->min_index = min_index;
    r->req->body_case = FS__REQUEST__BODY_READ;
    r->req->read = xmalloc(sizeof(*r->req->read));
    fs__read__init(r->req->read);
    r->req->read->ino = job->ino;
    r->req->read->first_page = job->first + low;
    r->req->read->pages = high - low;
    job->rpc = r;
    rpc_start(c, r);
}

/* What page `no` is: not committed yet, or kept. */
static bool find_known(const struct client *c, const struct file *f, uint64_t no, struct page *ret)
{
    return f != NULL && (file_find_page(f, no, ret) || kept_find(c, f, no, ret));
}

/* What is known here of the pages. Behind the last committed page there is nothing to ask for. */
static bool fill_from_here(const struct client *c, struct read_job *job, const struct inode *i)
{
    bool all = true;
    for (uint32_t p = 0; p < job->pages; p++) {
        uint64_t no = job->first + p;
        struct page page = {.no = no};
        if (find_known(c, i->file, no, &page)) {
            (void)blob_ref(page.blob);
        } else {
            job->missing[p] = !job->own || no * FS_PAGE < i->attr.size;
            all &= !job->missing[p];
        }
        job->over[p] = page;
    }
    return all;
}

/* What is known here now. False: of a page that the copy was not asked for nothing is any more; it
 * was committed meanwhile, perhaps after it had changed again. */
static bool overlay(const struct client *c, struct read_job *job, const struct inode *i)
{
    for (uint32_t p = 0; p < job->pages; p++) {
        struct page page;
        if (find_known(c, i->file, job->first + p, &page)) {
            (void)blob_ref(page.blob);
            blob_unref(job->over[p].blob);
            job->over[p] = page;
        } else if (!job->missing[p] && (job->first + p) * FS_PAGE < i->attr.size) {
            return false;
        }
    }
    return true;
}

void read_start(struct client *c, struct op *op, struct inode *i, uint64_t first, uint32_t pages,
                uint64_t min_index, void (*done)(struct client *, struct op *, int))
{
    assert(op->job == NULL && pages > 0);
    struct read_job *job = xcalloc(1, sizeof(*job));
    job->op = op;
    job->ino = i->ino;
    job->first = first;
    job->pages = pages;
    job->done = done;
    job->over = xcalloc(pages, sizeof(*job->over));
    job->missing = xcalloc(pages, sizeof(*job->missing));
    job->own = i->file != NULL && i->file->lease == LEASE_HELD;
    job->epoch = i->file != NULL ? i->file->epoch : 0;
    job->size = inode_now(c, i).size;
    op->job = job;
    if (fill_from_here(c, job, i)) {
        done(c, op, 0);
    } else {
        ask(c, job, min_index, 0);
    }
}

/* RULES L6: data older than attributes the kernel was given would stay in its cache. So would data
 * older than a WRITE that was answered while a copy was asked: no lock of the kernel keeps a direct
 * one apart from this READ. */
bool read_is_new(const struct client *c, struct read_job *job)
{
    const struct inode *i = inode_find(c, job->ino);
    if (i == NULL || job->data_version == 0) {
        return true; /* nothing was waited for */
    }
    bool own = i->file != NULL && i->file->lease == LEASE_HELD;
    /* The lease is given back, or lost, and there may be the next one: which pages were asked for,
     * what of them was buffered, and how far the file went, was true under it, and what the copy
     * answered may be newer. */
    if (job->own && (!own || job->epoch != i->file->epoch)) {
        return false;
    }
    if (job->data_version < (own ? i->attr.data_version : i->sent_version)) {
        return false;
    }
    if (own) {
        if (!overlay(c, job, i)) {
            return false;
        }
        job->size = inode_now(c, i).size;
    }
    job->own = own;
    return true;
}
