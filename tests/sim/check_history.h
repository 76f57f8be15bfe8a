/* What the checkers of histories share: which operations took effect, which may have, which were
 * lost, and what happened to one unit of a file.
 *
 * Fates. An acknowledged change is DONE. One of unknown outcome (never ended, EIO, ETIMEDOUT, ...)
 * is MAYBE: it takes effect at some moment after its start, or never. One that was acknowledged by
 * a mount that later died, or lost its session, is LOST unless it is covered: by an fsync of that
 * file on that mount that began after it ended and returned 0 (RULES B9), by having been seen from
 * elsewhere (RULES B10), or by preceding one that is covered (RULES B2: a file is as of one commit,
 * so what survives is a prefix). Nobody but the mount's own applications ever saw a LOST change:
 * that is what makes it one. Of a WRITE that the kernel divided, what was not seen is MAYBE. A
 * truncate, or a hole, leaves zeros, of which nobody can say whose they are; when
 * it would be LOST it is MAYBE instead, and view_loss() tells.
 *
 * A precedes B when A ended before B began; what shares a moment is concurrent. */
#ifndef TALLY_TESTS_SIM_CHECK_HISTORY_H
#define TALLY_TESTS_SIM_CHECK_HISTORY_H

#include "repl/base/map.h"
#include "tests/sim/history.h"

enum fate { FATE_NEVER, FATE_DONE, FATE_MAYBE, FATE_LOST };

/* A mount died or lost its session: what it had not synced is gone. */
struct loss {
    uint32_t mount, life;
    uint64_t session; /* only what began under it; 0: everything of this life */
    time_us at;
    bool killed;
};

/* The operations of one file that are about its bytes, in the order of their starts. */
struct file_ops {
    uint64_t file;
    uint32_t units; /* highest unit touched + 1 */
    vec_of(uint32_t) ops;
};

struct view {
    const struct history *h;
    enum fate *fates; /* per operation of the history */
    uint32_t *losses_of;
    bool *unsynced;
    vec_of(struct loss) losses; /* in time order */
    vec_of(struct file_ops) files;
    struct map by_file;  /* file -> index in files + 1 */
    struct map by_stamp; /* stamp -> index of the WRITE or APPEND + 1 */
};

void view_init(struct view *v, const struct history *h);
void view_done(struct view *v);

/* The operation that wrote `stamp`, NULL: none. */
const struct history_op *view_writer(const struct view *v, uint64_t stamp);
/* The loss that `op` fell victim to, NULL: none. */
const struct loss *view_loss(const struct view *v, const struct history_op *op);
enum fate view_fate(const struct view *v, const struct history_op *op);
/* Its mount died or lost its session before an fsync covered it: what is left of it was at best
 * under way, and may have come later. */
bool view_unsynced(const struct view *v, const struct history_op *op);
/* An earlier life of the reader's mount wrote this and had not synced it. At consistency=session
 * that demands nothing: it may be gone, or come when the next life has read. */
bool view_earlier_life(const struct view *v, const struct history_op *reader,
                       const struct history_op *write);
/* A loss of the mount and life of `op` that came after it began, NULL: none. */
const struct loss *view_later_loss(const struct view *v, const struct history_op *op);

static inline bool op_ended(const struct history_op *op)
{
    return op->end != 0 || op->kind == H_MOUNT_KILLED;
}
/* It may or may not have happened. */
bool op_unknown(const struct history_op *op);
/* Ended with 0. */
static inline bool op_ok(const struct history_op *op)
{
    return op->end != 0 && op->err == 0;
}
/* When at the latest it took effect: TIME_NEVER for MAYBE. */
time_us op_latest(const struct view *v, const struct history_op *op);
/* Whole units that a WRITE changed for certain; those behind them are MAYBE when it fell short. */
uint32_t op_units(const struct history_op *op);
/* Not a WRITE that the kernel divides: one too large for one request, one that begins within a page
 * which it does not have, or one into a page that is being read. Parts of those may be in different
 * COMMITs. */
bool op_undivided(const struct history_op *op);
/* A WRITE that took effect in all its units by its end. */
bool op_certain(const struct history_op *op);
static inline bool same_life(const struct history_op *a, const struct history_op *b)
{
    return a->mount == b->mount && a->life == b->life;
}

/* "w12 m1 1.234567..1.300000": for complaints. `text` has room for HISTORY_TEXT. */
enum { HISTORY_TEXT = 96 };
const char *op_text(const struct history_op *op, char text[HISTORY_TEXT]);

/* ---- one unit of a file as a register ---------------------------------------------------------
 */

enum event_kind { EVENT_WRITE, EVENT_READ, EVENT_ZERO /* TRUNCATE, PUNCH */ };

struct event {
    time_us start, end; /* end TIME_NEVER: MAYBE */
    uint64_t value;
    const struct history_op *op;
    const struct history_op *writer; /* of the value; NULL: zeros */
    enum event_kind kind;
    enum fate fate; /* of a change */
};

struct unit {
    uint64_t file;
    uint32_t number;
    const struct event *events; /* in the order of their starts */
    size_t count;
};

/* Calls `each` for every unit of every file. A read of a value that nobody wrote there,
 * or wrote later, is complained about in the name of `checker` and ends the walk. */
typedef void unit_fn(void *ctx, const struct unit *u);
void view_each_unit(const struct view *v, const char *checker, unit_fn *each, void *ctx);

/* Zeros may have been put there after `after` and before `before`. */
bool unit_zeroed(const struct unit *u, time_us after, time_us before);
/* The read shows something that is older than what `write` put there: its own write ended before
 * that began, or it shows zeros that nothing can have put there since. */
bool unit_older(const struct unit *u, const struct event *read, const struct history_op *write);

#endif
