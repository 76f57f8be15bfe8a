/* COMMITs: checked against what is proposed already, not only against what is applied (RULES B2,
 * B12), and proposed one after another per file, so that a large one is never overtaken by the
 * next. */
#include <errno.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"
#include "repl/core/entry.h"

struct tail {
    uint64_t ino, epoch;
    uint64_t proposed; /* highest c of this epoch */
    bool proposing;    /* it is not in the log yet: the next one waits */
    size_t users;      /* requests that point here, also of epochs before */
    struct list gaps;  /* requests that wait for their predecessor */
};

static struct tail *tail_get(struct fs_app *app, uint64_t ino, uint64_t epoch, uint64_t last_c)
{
    struct tail *t = map_get(&app->tails, ino);
    if (!t) {
        t = xcalloc(1, sizeof *t);
        t->ino = ino;
        list_init(&t->gaps);
        (void)map_put(&app->tails, ino, t);
    }
    if (t->epoch != epoch || t->proposed < last_c) {
        t->proposing = t->proposing && t->epoch == epoch;
        t->epoch = epoch;
        t->proposed = last_c;
    }
    return t;
}

/* Else the lease it was sent under has ended since, and the tail is that of the next. */
static bool of_epoch(const struct request *r, const struct tail *t)
{
    return r->tail == t && r->op->commit->epoch == t->epoch;
}

static void tail_enter(struct request *r, struct tail *t)
{
    if (r->tail == t)
        return;
    r->tail = t;
    t->users++;
}

void commit_leave(struct fs_app *app, struct request *r)
{
    struct tail *t = r->tail;
    if (!t)
        return;
    if (r->waits == WAIT_LOG && !r->appended && of_epoch(r, t)) {
        /* it will not come: what follows must not be proposed on top of it */
        t->proposing = false;
        t->proposed = r->op->commit->c - 1;
        requests_ready(app, &t->gaps); /* the file may be gone, and nobody send it again */
    }
    r->tail = NULL;
    if (--t->users == 0) {
        (void)map_del(&app->tails, t->ino);
        free(t);
    }
}

void commits_free(struct fs_app *app)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->tails, &cursor, NULL, &value))
        free(value);
    map_clear(&app->tails);
}

/* ---- what a COMMIT brings -------------------------------------------------------------------- */

static bool names_before(const Fs__Commit *m, size_t i)
{
    size_t k = 0;
    while (k < i && m->blocks[k]->n != m->blocks[i]->n)
        k++;
    return k < i;
}

/* The blocks it names, checked; NULL and an error when they are not what a mount may send. */
static struct block_ref *blocks_of(const struct request *r, int *ret_err)
{
    const Fs__Commit *m = r->op->commit;
    struct block_ref *refs = xcalloc(m->n_blocks + 1, sizeof *refs);
    uint64_t bytes = 0, highest = 0; /* mounts count up */
    *ret_err = m->n_blocks > ENTRY_BLOCKS_MAX ? E2BIG : 0;
    for (size_t i = 0; i < m->n_blocks && !*ret_err; i++) {
        const Fs__Block *b = m->blocks[i];
        if (b->session != r->session || b->size == 0 || b->size > BLOCK_SIZE_MAX ||
            b->n_runs != block_runs(b->size) ||
            (b->n <= highest && names_before(m, i))) { /* else it would be dropped twice */
            *ret_err = EINVAL;
            break;
        }
        highest = b->n > highest ? b->n : highest;
        refs[i] = (struct block_ref){
            {b->session, b->n}, b->size, block_digest_of_runs(b->runs, (uint32_t)b->n_runs)};
        bytes += b->size;
    }
    if (!*ret_err && r->bulk && (r->bulk->size != bytes || bytes > ENTRY_INLINE_BYTES_MAX))
        *ret_err = EINVAL;
    return refs;
}

/* An inline block that does not hash to its name must not reach the log. */
static bool bulk_fits(const struct request *r, const struct block_ref *refs, size_t count)
{
    uint32_t offset = 0;
    for (size_t i = 0; r->bulk && i < count; i++) {
        if (block_digest(r->bulk->data + offset, refs[i].size) != refs[i].digest)
            return false;
        offset += refs[i].size;
    }
    return true;
}

static void propose(struct fs_app *app, struct request *r, struct tail *t)
{
    int err;
    size_t count = r->op->commit->n_blocks;
    struct block_ref *refs = blocks_of(r, &err);
    if (!err && !bulk_fits(r, refs, count))
        err = EBADMSG;
    if (err) {
        free(refs);
        request_fail(app, r, err, "a COMMIT that does not fit its blocks");
        return;
    }
    tail_enter(r, t);
    t->proposed = r->op->commit->c;
    t->proposing = true;
    request_propose(app, r, refs, count, r->bulk, r->req->holders);
}

/* ---- numbering ------------------------------------------------------------------------------- */

static void answer_accepted(struct fs_app *app, const struct request *r)
{
    if (!r->req->want_accepted)
        return;
    Fs__Reply *reply = reply_new(app, r->id);
    reply->accepted = true;
    app_send(app, r->client, reply);
}

/* The same COMMIT that is on its way; NULL: none is. */
static struct request *on_its_way(struct fs_app *app, const struct request *r, const struct tail *t)
{
    list_each(it, &app->requests) {
        struct request *first = container_of(it, struct request, all);
        if (of_epoch(first, t) && first != r && first->waits == WAIT_LOG &&
            first->op->commit->c == r->op->commit->c)
            return first;
    }
    return NULL;
}

/* Whoever asks last is answered. */
static void join(struct fs_app *app, struct request *r, struct request *first)
{
    first->client = r->client;
    first->id = r->id;
    first->req->want_accepted = r->req->want_accepted;
    if (first->appended)
        answer_accepted(app, first);
    request_end(app, r);
}

static void answer_done(struct fs_app *app, struct request *r, const Fs__Attr *attr)
{
    Fs__Reply *reply = reply_new(app, r->id);
    reply_op(reply)->attr = attr_copy(attr);
    request_answer(app, r, reply);
}

/* Is what it follows still on its way, so that the file may be one that nothing here knows yet? */
static bool follows_some(struct fs_app *app, const struct request *r, struct session *s)
{
    struct fs_session stored;
    uint64_t after_q = r->op->commit->after_q;
    return after_q && fs_session_get(app->config.state, s->id, &stored) &&
           after_q >= queued_caught_up(s, &stored);
}

void commit_run(struct fs_app *app, struct request *r, struct session *s)
{
    const Fs__Commit *m = r->op->commit;
    const uint64_t ino = m->ino; /* the request may be gone at the end */
    Fs__Attr attr = FS__ATTR__INIT;
    uint64_t last_c = 0;
    bool follows = follows_some(app, r, s);
    if (follows && m->after_q > s->q_proposed) {
        request_wait(app, r, WAIT_GAP, &s->behind);
        return;
    }
    bool there = fs_get_attr(app->config.state, m->ino, &attr) == 0 &&
                 fs_lease_last_c(app->config.state, m->ino, &last_c) == 0;
    bool fenced = attr.lease_session != s->id || attr.lease_epoch != m->epoch;
    if (there ? fenced && !MUTANT(stale_epoch) : !follows) {
        request_fail(app, r, EIO, "the write lease of the file ended (fenced)");
        return;
    }
    if (m->c <= last_c) {
        answer_done(app, r, &attr);
        return;
    }
    struct tail *t = tail_get(app, m->ino, m->epoch, last_c);
    struct request *first = m->c <= t->proposed ? on_its_way(app, r, t) : NULL;
    if (m->c <= t->proposed && !first)
        t->proposed = m->c - 1; /* by reference, and refused: its number is free (RULES B12) */
    if (first) {
        join(app, r, first);
    } else if ((m->c == t->proposed + 1 && !t->proposing) || MUTANT(commit_gap))
        propose(app, r, t);
    else {
        tail_enter(r, t);
        request_wait(app, r, WAIT_GAP, &t->gaps);
    }
    t = map_get(&app->tails, ino);
    if (t && t->users == 0) { /* a COMMIT refused before it was proposed */
        (void)map_del(&app->tails, t->ino);
        free(t);
    }
}

bool commit_applied(struct fs_app *app, struct request *r, const Fs__OpReply *result)
{
    const Fs__Commit *m = r->op->commit;
    if (result->err != EAGAIN || !m->after_q)
        return true;
    if (r->tail && of_epoch(r, r->tail) && r->tail->proposed >= m->c)
        r->tail->proposed = m->c - 1;
    request_fail(app, r, EAGAIN, "an operation before it did not reach the log");
    return false;
}

void commit_appended(struct fs_app *app, struct request *r)
{
    if (of_epoch(r, r->tail)) {
        r->tail->proposing = false;
        requests_ready(app, &r->tail->gaps);
    }
    answer_accepted(app, r);
}
