/* What a session did under its directory leases, as it reaches the leader: proposed in the order in
 * which it was done (RULES D1). Nothing has to be recalled for it, since the leases did that; only
 * who has a file open that loses its name is asked, which every mount answers at once. */
#include <errno.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

static bool may_be_queued(const Fs__Op *op)
{
    return op->body_case == FS__OP__BODY_MAKE || op->body_case == FS__OP__BODY_UNLINK ||
           op->body_case == FS__OP__BODY_RENAME || op->body_case == FS__OP__BODY_LINK ||
           op->body_case == FS__OP__BODY_SETATTR;
}

/* The inode that the answer tells the attributes of; 0: none of interest. */
static uint64_t subject_of(const Fs__Op *op)
{
    if (op->body_case == FS__OP__BODY_MAKE)
        return op->make->ino;
    if (op->body_case == FS__OP__BODY_LINK)
        return op->link->ino;
    return op->body_case == FS__OP__BODY_SETATTR ? op->setattr->ino : 0;
}

/* What was made may not be applied yet, so the mount says which inode loses its name. */
static uint64_t victim_of(const Fs__Op *op)
{
    if (op->body_case == FS__OP__BODY_UNLINK)
        return op->unlink->directory ? 0 : op->unlink->open_ino;
    return op->body_case == FS__OP__BODY_RENAME ? op->rename->open_ino : 0;
}

static void fill_in_attr(const struct fs_app *app, const Fs__Op *op, Fs__OpReply *reply)
{
    Fs__Attr attr = FS__ATTR__INIT;
    uint64_t ino = subject_of(op);
    if (ino && !reply->attr && fs_get_attr(app->config.state, ino, &attr) == 0)
        reply->attr = attr_copy(&attr);
}

static void answer_done(struct fs_app *app, struct request *r)
{
    Fs__Reply *reply = reply_new(app, r->id);
    fill_in_attr(app, r->op, reply_op(reply));
    request_answer(app, r, reply);
}

/* It is here already: whoever sent it last is answered. */
static bool joins(struct fs_app *app, struct request *r, const struct session *s)
{
    struct request *first = map_get(&s->queued, r->op->q);
    if (!first || first == r)
        return false;
    first->client = r->client;
    first->id = r->id;
    request_end(app, r);
    return true;
}

uint64_t queued_caught_up(struct session *s, const struct fs_session *stored)
{
    if (s->q_proposed < stored->q_next - 1)
        s->q_proposed = stored->q_next - 1;
    return stored->q_next;
}

/* COMMITs that were to follow `q`. */
static void wake_behind(struct fs_app *app, struct session *s, uint64_t q)
{
    list_each(it, &s->behind) {
        struct request *r = container_of(it, struct request, wait);
        if (r->op->commit->after_q <= q)
            request_ready(app, r);
    }
}

void queued_run(struct fs_app *app, struct request *r, struct session *s)
{
    struct fs_session stored;
    const uint64_t q = r->op->q;
    if (!may_be_queued(r->op) || !fs_session_get(app->config.state, s->id, &stored)) {
        request_fail(app, r, EINVAL, "an operation that can't be queued");
        return;
    }
    if (joins(app, r, s))
        return;
    if (q < queued_caught_up(s, &stored)) {
        answer_done(app, r);
        return;
    }
    (void)map_put(&s->queued, q, r);
    r->victim = victim_of(r->op);
    if (r->victim && !change_asks_open(app, r, s))
        return;
    if (q != s->q_proposed + 1 && !MUTANT(queue_gap)) {
        request_wait(app, r, WAIT_GAP, NULL); /* found by the one before it */
        return;
    }
    s->q_proposed = q;
    request_propose(app, r, NULL, 0, NULL, 0);
    wake_behind(app, s, q);
    struct request *next = map_get(&s->queued, q + 1);
    if (next && next->waits == WAIT_GAP)
        request_ready(app, next);
}

void queued_applied(struct fs_app *app, struct request *r, const struct fs_result *result)
{
    struct session *s = session_find(app, r->session);
    if (!s) {
        request_unknown_session(app, r);
        return;
    }
    if (result->reply->err == EAGAIN) { /* one before it was dropped: it comes again */
        request_fail(app, r, EAGAIN, "an operation before it did not reach the log");
        return;
    }
    (void)map_del(&s->queued, r->op->q); /* it is in the state: q_proposed stands */
    Fs__Reply *reply = reply_new(app, r->id);
    reply->body_case = FS__REPLY__BODY_OP;
    reply->op = op_reply_copy(result->reply);
    if (reply->op->err == 0)
        fill_in_attr(app, r->op, reply->op);
    change_tell_locks(app, r, reply);
    request_unpin(app, r);
    request_answer(app, r, reply);
}

void queued_leave(struct fs_app *app, struct request *r)
{
    struct session *s = session_find(app, r->session);
    const uint64_t q = r->op ? r->op->q : 0;
    if (!s || !q || map_get(&s->queued, q) != r)
        return;
    (void)map_del(&s->queued, q);
    if (s->q_proposed >= q)
        s->q_proposed = q - 1;
}
