/* What is left when all has come to rest: the state's records fit each other.
 *
 * Leases and holds belong to sessions that exist (RULES L2: a session's end ends them), an inode
 * without a name is held open by some session (L7), each file has as many names as it says, and
 * each name has its inode. Read from the pairs themselves (fs/core/keys.h), not through fs/core. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/core/inode.h"
#include "fs/core/keys.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"
#include "tests/sim/check_internal.h"

struct inode_seen {
    struct inode inode;
    bool exists;
    uint32_t names, holds;
};

struct pair { /* a lease or a hold */
    uint64_t session, ino;
};

struct rest {
    uint32_t node;
    struct map inodes;   /* number -> struct inode_seen, owned */
    struct map sessions; /* id -> anything */
    vec_of(struct pair) leases, holds, locks;
};

static struct inode_seen *inode_of(struct rest *r, uint64_t ino)
{
    struct inode_seen *i = map_get(&r->inodes, ino);
    if (!i) {
        i = xcalloc(1, sizeof *i);
        (void)map_put(&r->inodes, ino, i);
    }
    return i;
}

static void take_in(struct rest *r, struct bytes key, struct bytes value)
{
    uint64_t a = key.size >= 9 ? be64_get(key.data + 1) : 0;
    uint64_t b = key.size >= 17 ? be64_get(key.data + 9) : 0;
    switch (key.data[0]) {
    case KEY_INODE:
        inode_of(r, a)->exists =
            inode_decode(a, value.data, value.size, &inode_of(r, a)->inode) == 0;
        break;
    case KEY_ENTRY:
        inode_of(r, le64_get(value.data))->names++;
        break;
    case KEY_SESSION:
        (void)map_put(&r->sessions, a, r);
        break;
    case KEY_LEASE:
        vec_push(&r->leases, ((struct pair){a, b}));
        break;
    case KEY_LOCK_OF:
        vec_push(&r->locks, ((struct pair){a, b}));
        break;
    case KEY_HOLD:
        vec_push(&r->holds, ((struct pair){b, a}));
        inode_of(r, a)->holds++;
        break;
    default:
        break;
    }
}

static void check_inode(const struct rest *r, uint64_t ino, const struct inode_seen *i)
{
    if (!i->exists)
        sim_complain("rest", "n%u: inode %llu has %u names and %u holds, and is not there", r->node,
                     (unsigned long long)ino, i->names, i->holds);
    else if (i->inode.nlink == 0 && i->holds == 0)
        sim_complain("rest", "n%u: inode %llu has no name and nobody holds it (RULES L7)", r->node,
                     (unsigned long long)ino);
    else if (!S_ISDIR(i->inode.mode) && i->inode.nlink != i->names)
        sim_complain("rest", "n%u: inode %llu has %u names and says %u", r->node,
                     (unsigned long long)ino, i->names, i->inode.nlink);
}

static void check_pairs(struct rest *r)
{
    for (size_t i = 0; i < r->leases.count; i++) {
        const struct pair *p = &r->leases.items[i];
        if (!map_get(&r->sessions, p->session))
            sim_complain("rest", "n%u: session %llu has ended and has the lease of %llu (RULES L2)",
                         r->node, (unsigned long long)p->session, (unsigned long long)p->ino);
        else if (inode_of(r, p->ino)->inode.lease_session != p->session)
            sim_complain("rest", "n%u: session %llu lists the lease of %llu, whose holder is %llu",
                         r->node, (unsigned long long)p->session, (unsigned long long)p->ino,
                         (unsigned long long)inode_of(r, p->ino)->inode.lease_session);
    }
    for (size_t i = 0; i < r->locks.count; i++) {
        const struct pair *p = &r->locks.items[i];
        if (!map_get(&r->sessions, p->session))
            sim_complain("rest", "n%u: session %llu has ended and has locks of %llu (RULES L2)",
                         r->node, (unsigned long long)p->session, (unsigned long long)p->ino);
    }
    for (size_t i = 0; i < r->holds.count; i++) {
        const struct pair *p = &r->holds.items[i];
        if (!map_get(&r->sessions, p->session))
            sim_complain("rest", "n%u: session %llu has ended and holds %llu open (RULES L2)",
                         r->node, (unsigned long long)p->session, (unsigned long long)p->ino);
    }
}

void check_rest(uint32_t node, struct kv *kv, int table)
{
    struct rest r = {.node = node};
    struct kv_iter *it = kv_iter(kv, table, (struct bytes){0}, (struct bytes){0});
    for (; kv_iter_valid(it); kv_iter_next(it))
        take_in(&r, kv_iter_key(it), kv_iter_value(it));
    kv_iter_free(it);
    check_pairs(&r);
    size_t cursor = 0;
    uint64_t ino;
    void *value;
    while (map_next(&r.inodes, &cursor, &ino, &value)) {
        check_inode(&r, ino, value);
        free(value);
    }
    map_done(&r.inodes);
    map_done(&r.sessions);
    vec_done(&r.leases);
    vec_done(&r.holds);
    vec_done(&r.locks);
}
