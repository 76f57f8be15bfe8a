/* Byte-range locks: never two that exclude each other, and no refusal without a reason.
 *
 * Model. A LOCK that succeeded is held from its end on, until the application's next UNLOCK of the
 * file or CLOSE of that descriptor, or until its mount loses the session. When that was, nobody can
 * see from outside; but I/O through a descriptor whose locks were lost fails (RULES L2: a paused
 * holder must not go on), so a READ, WRITE or TRUNCATE that succeeded there, `guarded`,
 * proves that the lock was held at some moment after it began.
 *
 * A LOCK refused with EAGAIN met another application's that may have been held at that time. */
#include <errno.h>

#include "repl/base/vec.h"
#include "tests/sim/check_history.h"

struct span { /* one LOCK */
    const struct history_op *op;
    time_us until; /* proven to be held; 0: it is not */
    time_us over;  /* surely not held from then on */
};

struct locks {
    const struct history *h;
    vec_of(struct span) spans;
};

static bool same_app(const struct history_op *a, const struct history_op *b)
{
    return a->mount == b->mount && a->app == b->app && a->life == b->life;
}

static bool never_granted(const struct history_op *op)
{
    return op->end && (op->err == EAGAIN || op->err == EDEADLK || op->err == ENOLCK ||
                       op->err == ENOSPC || op->err == EBADF);
}

static bool is_io(const struct history_op *op)
{
    return op->kind == H_READ || op->kind == H_WRITE || op->kind == H_TRUNCATE ||
           op->kind == H_PUNCH;
}

/* Of another range, as after an UNLOCK of unknown outcome, it leaves some of it. */
static bool ends_all(const struct history_op *op, const struct history_op *lock)
{
    return op->end && op->err == 0 &&
           (op->kind == H_CLOSE ||
            (op->page <= lock->page && op->page + op->pages >= lock->page + lock->pages));
}

/* An application does one thing after another, so its operations are in the order of the history.
 */
static struct span span_of(const struct history *h, size_t at)
{
    const struct history_op *lock = &h->ops.items[at];
    struct span s = {.op = lock, .over = never_granted(lock) ? lock->end : TIME_NEVER};
    bool held = lock->end && lock->err == 0;
    for (size_t i = at + 1; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (!same_app(lock, op) || op->file != lock->file)
            continue;
        if (op->kind == H_UNLOCK || (op->kind == H_CLOSE && op->guarded)) {
            held = false; /* also while it is under way */
            if (ends_all(op, lock)) {
                s.over = time_min(s.over, op->end);
                break;
            }
        } else if (op->kind == H_LOCK) {
            held = false;
        } else if (held && op->guarded && is_io(op) && op_ok(op)) {
            s.until = op->start;
        }
    }
    return s;
}

static bool exclude(const struct history_op *a, const struct history_op *b)
{
    return a->file == b->file && !same_app(a, b) && (a->exclusive || b->exclusive) &&
           a->page < b->page + b->pages && b->page < a->page + a->pages;
}

static void check_held(const struct locks *l, const struct span *s)
{
    char one[HISTORY_TEXT], two[HISTORY_TEXT];
    for (size_t i = 0; s->until && i < l->spans.count; i++) {
        const struct span *o = &l->spans.items[i];
        if (o->until && o->op->end >= s->op->end && o->op->end < s->until && exclude(s->op, o->op))
            sim_complain("locks", "held by two: %s, relied on at %llu us, and %s",
                         op_text(s->op, one), (unsigned long long)s->until, op_text(o->op, two));
    }
}

static void check_refused(const struct locks *l, const struct history_op *op)
{
    char text[HISTORY_TEXT];
    for (size_t i = 0; i < l->spans.count; i++) {
        const struct span *o = &l->spans.items[i];
        if (o->op->start <= op->end && o->over >= op->start && exclude(op, o->op))
            return;
    }
    sim_complain("locks", "refused, and nobody had any: %s", op_text(op, text));
}

void check_locks(const struct history *h)
{
    struct locks l = {.h = h};
    for (size_t i = 0; i < h->ops.count; i++)
        if (h->ops.items[i].kind == H_LOCK)
            vec_push(&l.spans, span_of(h, i));
    for (size_t i = 0; i < l.spans.count; i++) {
        const struct span *s = &l.spans.items[i];
        check_held(&l, s);
        if (s->op->end && s->op->err == EAGAIN)
            check_refused(&l, s->op);
    }
    vec_done(&l.spans);
}
