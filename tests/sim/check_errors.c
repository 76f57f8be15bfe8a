/* Errors that must not be.
 *
 * Model. What is open stays readable and writable until it is closed, whoever removes its name
 * (RULES L7), for as long as the session lives. So READ, WRITE, TRUNCATE, FSYNC, APPEND, CLOSE,
 * STAT and what sets attributes of an open descriptor never end with ENOENT, ESTALE or EIO, unless
 * the mount has lost a session in that life by then (RULES L2: "its descriptors get EIO once"); and
 * nothing at all ends with an error that no application can make sense of. At consistency=session,
 * and before the mount has a session, an open may be answered by a late copy: then the file may
 * turn out to be gone. */
#include <errno.h>

#include "tests/sim/check_history.h"

/* A mount whose session was ended while it stood still learns of it later than its applications, or
 * dies before. */
#define NEAR (10 * TIME_S)

static bool on_descriptor(const struct history_op *op)
{
    switch (op->kind) {
    case H_WRITE:
    case H_READ:
    case H_FSYNC:
    case H_CLOSE:
    case H_TRUNCATE:
    case H_PUNCH:
    case H_COPY:
    case H_APPEND:
    case H_READ_ALL:
        return true;
    case H_STAT:
    case H_SETXATTR:
    case H_GETXATTR:
    case H_CHMOD:
    case H_CHOWN:
    case H_UTIMENS:
        return op->path == NULL;
    case H_CREATE:
    case H_UNLINK:
    case H_RENAME:
    case H_LINK:
    case H_MKDIR:
    case H_RMDIR:
    case H_LIST:
    case H_MOUNT_KILLED:
    case H_MOUNT_STARTED:
    case H_OPEN:
    case H_SESSION_LOST:
    case H_NAMED:
    case H_SYMLINK:
    case H_READLINK:
    case H_LOCK: /* EIO after a lost session has its reason there, too */
    case H_UNLOCK:
        break;
    }
    return false;
}

static bool is_damage(const struct history *h, const struct history_op *op)
{
    int err = op->err;
    return ((err == ENOENT || err == ESTALE) && !history_late(h, op)) || err == EIO || err == EBADF;
}

/* E.g. what only nodes say to each other, or a mistake in a table. */
static bool makes_no_sense(int err)
{
    return err < 0 || err == EBADMSG || err == EPROTO || err == EAGAIN || err == ENODEV ||
           err == ENOTCONN || err == EFAULT;
}

static bool lost_session(const struct history *h, const struct history_op *op)
{
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *l = &h->ops.items[i];
        if ((l->kind == H_SESSION_LOST || l->kind == H_MOUNT_KILLED) && same_life(l, op) &&
            (l->start <= op->end + NEAR || (l->session && l->session == op->session)))
            return true;
    }
    return false;
}

/* A lock that came after its caller had been told that it did not: what was held of the range
 * before is not known, and the descriptor fails from then on. */
static bool lost_lock(const struct history *h, const struct history_op *op)
{
    for (size_t i = 0; i < h->ops.count && h->ops.items[i].start < op->start; i++) {
        const struct history_op *l = &h->ops.items[i];
        if (l->kind == H_LOCK && l->end && l->err == ETIMEDOUT && l->file == op->file &&
            l->app == op->app && same_life(l, op))
            return true;
    }
    return false;
}

void check_errors(const struct history *h)
{
    char text[HISTORY_TEXT];
    for (size_t i = 0; i < h->ops.count; i++) {
        const struct history_op *op = &h->ops.items[i];
        if (op->end == 0 || op->err == 0)
            continue;
        bool refused = op->kind == H_LOCK && op->err == EAGAIN;
        if (makes_no_sense(op->err) && !refused)
            sim_complain("errors", "an error that makes no sense: %s", op_text(op, text));
        else if (is_damage(h, op) && on_descriptor(op) && !lost_session(h, op) && !lost_lock(h, op))
            sim_complain("errors", "an open file is gone, and the session lives: %s",
                         op_text(op, text));
    }
}
