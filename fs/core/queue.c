/* What a session did under its directory leases before the log had it: applied in the order in
 * which it was done, each once, and nothing behind one that was refused (RULES D1). */
#include <errno.h>

#include "fs/core/internal.h"
#include "repl/base/mutant.h"

int ordered_check(struct apply *a, uint64_t q, bool *ret_done)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return ESTALE;
    if (q < s.q_next) {
        a->result->duplicate = true;
        *ret_done = true;
        return 0;
    }
    if (s.q_error)
        return EIO;
    return q == s.q_next || MUTANT(queue_gap) ? 0 : EAGAIN;
}

void ordered_note(struct apply *a, int err)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return;
    if (err)
        s.q_error = (uint32_t)err;
    else {
        uint64_t taken = s.reserved < FS_QUEUED_COST ? s.reserved : FS_QUEUED_COST;
        s.q_next = a->q + 1;
        s.reserved -= taken;
        a->s->totals.reserved -= taken;
    }
    session_store(a, &s);
}

bool ordered_may_change(const struct apply *a, const struct inode *dir)
{
    return !a->q || dir->lease_session == a->session;
}

static bool within(const struct fs_inodes *range, uint64_t ino)
{
    return ino >= range->first && ino < range->end;
}

uint64_t ordered_inode(struct apply *a, uint64_t wanted)
{
    struct fs_session s;
    struct inode there;
    if (!a->q)
        return inode_next_number(a);
    if (session_load(a, a->session, &s) < 0 ||
        !(within(&s.inodes[0], wanted) || within(&s.inodes[1], wanted)) ||
        inode_load(a, wanted, &there) == 0)
        return 0;
    return wanted;
}

/* The grant before stays good: what was made with its numbers may still be on its way. */
int apply_grant_inodes(struct apply *a, const Fs__GrantInodes *m)
{
    struct fs_session s;
    if (session_load(a, a->session, &s) < 0)
        return ESTALE;
    if (m->count == 0 || m->count > FS_INODES_MAX)
        return EINVAL;
    s.inodes[1] = s.inodes[0];
    s.inodes[0].first = inode_numbers(a, m->count);
    s.inodes[0].end = s.inodes[0].first + m->count;
    session_store(a, &s);
    a->reply->value = s.inodes[0].first;
    return 0;
}
