/* Write leases as state: who may COMMIT to a file, in which epoch (RULES L1, B2), and who may
 * change the names of a directory before the log has them (RULES D1). */
#include <errno.h>

#include "fs/core/internal.h"
#include "repl/base/mutant.h"

void lease_grant(struct apply *a, struct inode *inode)
{
    uint8_t value[8];
    inode->lease_session = a->session;
    inode->lease_epoch++;
    inode->last_c = 0;
    struct key k = key_of2(KEY_LEASE, a->session, inode->ino);
    le64_put(value, inode->lease_epoch);
    state_put_new(a, &k, value, sizeof value);
}

void lease_end(struct apply *a, struct inode *inode)
{
    if (!inode->lease_session)
        return;
    uint8_t value[8];
    struct key k = key_of2(KEY_LEASE, inode->lease_session, inode->ino);
    le64_put(value, inode->lease_epoch);
    state_del_known(a, &k, value, sizeof value);
    inode->lease_session = 0;
    inode->lease_epoch++;
    inode->last_c = 0;
}

int apply_lease(struct apply *a, const Fs__Lease *m)
{
    struct inode inode;
    if (inode_load(a, m->ino, &inode) < 0)
        return ESTALE;
    if (!S_ISREG(inode.mode) && !S_ISDIR(inode.mode))
        return EINVAL;
    /* RULES L7: without a name it lives for those that held it open then. A session that came later
     * would lose what it writes as soon as they close it. */
    struct key hold = key_of2(KEY_HOLD, m->ino, a->session);
    if (inode.nlink == 0 && inode.lease_session != a->session && state_get(a, &hold) < 0)
        return ESTALE;
    if (inode.lease_session && inode.lease_session != a->session && !MUTANT(lease_taken_away))
        return EAGAIN; /* the leader recalls it first; apply never takes a lease away */
    if (!inode.lease_session || MUTANT(lease_taken_away)) {
        lease_grant(a, &inode);
        inode.version = a->index;
        inode_store(a, &inode);
    }
    a->reply->value = inode.lease_epoch;
    a->reply->last_c = inode.last_c;
    a->reply->attr = attr_new(&inode);
    return 0;
}

/* What does not fit (another epoch, COMMITs still to come) is left as it is and not counted. */
int apply_release(struct apply *a, const Fs__Release *m)
{
    if (m->n_leases > FS_RELEASE_MAX)
        return EINVAL;
    for (size_t i = 0; i < m->n_leases; i++) {
        const Fs__LeaseEnd *end = m->leases[i];
        struct inode inode;
        if (inode_load(a, end->ino, &inode) < 0 || inode.lease_session != a->session ||
            inode.lease_epoch != end->epoch || inode.last_c != end->last_c)
            continue;
        lease_end(a, &inode);
        inode.version = a->index;
        inode_store(a, &inode);
        a->reply->value++;
    }
    return 0;
}

int fs_lease_last_c(const struct fs_state *s, uint64_t ino, uint64_t *ret_last_c)
{
    struct inode inode;
    int r = inode_read(s, ino, &inode);
    if (r == 0)
        *ret_last_c = inode.last_c;
    return r;
}

void fs_each_lease(const struct fs_state *s, uint64_t id, fs_lease_fn *each, void *ctx)
{
    struct key prefix = key_of1(KEY_LEASE, id);
    struct kv_iter *it = state_iter(s, &prefix);
    for (bool more = true; more && kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes v = kv_iter_value(it);
        if (v.size == 8)
            more = each(ctx, be64_get(kv_iter_key(it).data + 9), le64_get(v.data));
    }
    kv_iter_free(it);
}
