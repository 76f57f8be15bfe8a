/* Which operation it is. */
#include <errno.h>

#include "fs/core/internal.h"

/* Operations without a number of their own are repeated safely by what they say; all others need a
 * live session, so that they are done once. */
static bool needs_session(const Fs__Op *op)
{
    return op->body_case != FS__OP__BODY_OPEN_SESSION && op->body_case != FS__OP__BODY_END_SESSION;
}

int apply_body(struct apply *a, const Fs__Op *op)
{
    struct fs_session session;
    if (needs_session(op) && session_load(a, op->session, &session) < 0)
        return ESTALE;
    switch (op->body_case) {
    case FS__OP__BODY_OPEN_SESSION:
        return apply_open_session(a, op->open_session);
    case FS__OP__BODY_END_SESSION:
        return apply_end_session(a, op->end_session->session);
    case FS__OP__BODY_MAKE:
        return apply_make(a, op->make);
    case FS__OP__BODY_UNLINK:
        return apply_unlink(a, op->unlink);
    case FS__OP__BODY_RENAME:
        return apply_rename(a, op->rename);
    case FS__OP__BODY_LINK:
        return apply_link(a, op->link);
    case FS__OP__BODY_SETATTR:
        return apply_setattr(a, op->setattr);
    case FS__OP__BODY_SETXATTR:
        return apply_setxattr(a, op->setxattr);
    case FS__OP__BODY_REMOVEXATTR:
        return apply_removexattr(a, op->removexattr);
    case FS__OP__BODY_LEASE:
        return apply_lease(a, op->lease);
    case FS__OP__BODY_RELEASE:
        return apply_release(a, op->release);
    case FS__OP__BODY_COMMIT:
        return apply_commit(a, op->commit);
    case FS__OP__BODY_RESERVE:
        return apply_reserve(a, op->reserve);
    case FS__OP__BODY_DROP_HOLDS:
        return apply_drop_holds(a, op->drop_holds);
    case FS__OP__BODY_SET_LOCK:
        return apply_set_lock(a, op->set_lock);
    case FS__OP__BODY_ATIMES:
        return apply_atimes(a, op->atimes);
    case FS__OP__BODY_GRANT_INODES:
        return apply_grant_inodes(a, op->grant_inodes);
    case FS__OP__BODY__NOT_SET:
    case _FS__OP__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return EINVAL;
}
