/* RULES D1: what a mount did ahead of the log gets there in order, each once, or is lost with its
 * session from some place on; never what an fsync answered for.
 *
 * Model. Per session the place that comes next, from the entries in the order of the log: the same
 * as the state says, and nothing is refused. An operation of the history at a place that never came
 * was lost. That needs a death of its mount or a loss of its session behind it. And no FSYNC of the
 * same file, begun behind it on the same mount in the same session and answered with 0, may have
 * covered it. */
#include "repl/base/map.h"
#include "tests/sim/check.h"
#include "tests/sim/check_history.h"

static struct {
    struct map next; /* session -> place that comes next; missing: 1 */
    struct map ended;
} state;

void check_queue_start(void)
{
    map_clear(&state.next);
    map_clear(&state.ended);
}

static uint64_t next_of(uint64_t session)
{
    uint64_t next = (uintptr_t)map_get(&state.next, session);
    return next ? next : 1;
}

void check_queue_entry(uint64_t session, uint64_t q)
{
    if (session && q == next_of(session) && !map_get(&state.ended, session))
        (void)map_put(&state.next, session, (void *)(uintptr_t)(q + 1));
}

/* "A directory's lease goes back when everything done under it is committed." */
void check_queue_released(uint64_t session, uint64_t dir, uint64_t q)
{
    if (q >= next_of(session) && !map_get(&state.ended, session))
        sim_complain("queue",
                     "session %llu gave the lease of directory %llu back before operation %llu, "
                     "which it did under it, was in the log (RULES D1, B10)",
                     (unsigned long long)session, (unsigned long long)dir, (unsigned long long)q);
}

void check_queue_ended(uint64_t session)
{
    if (session)
        (void)map_put(&state.ended, session, &state);
}

void check_queue_state(uint64_t session, uint64_t next, uint32_t error)
{
    if (error)
        sim_complain("queue", "operation %llu of session %llu was refused: errno %u",
                     (unsigned long long)next, (unsigned long long)session, error);
    if (next < next_of(session))
        sim_complain("queue",
                     "session %llu: operation %llu is in the log, the state waits for %llu",
                     (unsigned long long)session, (unsigned long long)(next_of(session) - 1),
                     (unsigned long long)next);
    if (next > next_of(session)) /* entries that were seen only as a snapshot */
        (void)map_put(&state.next, session, (void *)(uintptr_t)next);
}

static bool covers(const struct history_op *sync, const struct history_op *op)
{
    return sync->kind == H_FSYNC && op_ok(sync) && same_life(sync, op) && op->file &&
           sync->file == op->file && sync->start >= op->end && sync->session == op->q_session;
}

static void check_lost(const struct history *h, const struct history_op *op)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    bool lost = false;
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *o = &h->ops.items[i];
        lost |= o->kind == H_MOUNT_KILLED && same_life(o, op) && o->start >= op->end;
        lost |= o->kind == H_SESSION_LOST && same_life(o, op) && o->session == op->q_session;
        /* It ended by itself, at its deadline, with nobody to commit to. */
        lost |= o->kind == H_MOUNT_STARTED && o->mount == op->mount && o->life > op->life;
        if (covers(o, op))
            sim_complain("queue", "%s is lost, which %s covered", op_text(op, text),
                         op_text(o, other));
    }
    if (!lost)
        sim_complain("queue", "%s never came into the log, and its mount lives", op_text(op, text));
}

void check_queue(struct history *h)
{
    for (size_t i = 0; i < h->ops.count && !sim_failed(); i++) {
        struct history_op *op = &h->ops.items[i];
        if (!op->q || op->kind == H_CLOSE || op->end == 0)
            continue;
        op->reverted = op->q >= next_of(op->q_session);
        if (op->reverted)
            check_lost(h, op);
    }
}
