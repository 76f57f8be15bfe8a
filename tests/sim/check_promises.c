/* What mounts rely on: RULES L3, L5, L8, L9 as one invariant.
 *
 * "A conflicting change recalls them before it is appended", and "from the start of a recall to the
 * apply no promise on it is granted". So at the moment when the first node applies an entry that
 * changes an inode, no mount but its author's believes in a promise of what the inode was before,
 * by its own clock and its own lease, whoever leads and however late or many the messages are. A
 * frozen mount counts as well: it would answer when it goes on, its clock has gone on with it. */
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/rpc.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/mount.h"

/* ---- facts ----------------------------------------------------------------------------------- */

void check_promises_relied(uint32_t mount, uint64_t session, uint64_t author, uint64_t ino,
                           uint64_t version, uint64_t index)
{
    if (session != author && version < index)
        sim_complain("promises",
                     "entry %llu of session %llu changed inode %llu, mount %u relies on what it "
                     "was at %llu (RULES L3)",
                     (unsigned long long)index, (unsigned long long)author, (unsigned long long)ino,
                     mount, (unsigned long long)version);
}

void check_promises_kept_locks(uint32_t mount, uint64_t session, uint64_t author, uint64_t ino,
                               uint64_t index)
{
    if (session != author)
        sim_complain("promises",
                     "entry %llu gave session %llu a lock of inode %llu, mount %u decides its own "
                     "by itself (RULES L2)",
                     (unsigned long long)index, (unsigned long long)author, (unsigned long long)ino,
                     mount);
}

void check_promises_recorded(uint32_t mount, uint64_t ino, bool recorded)
{
    if (!recorded)
        sim_complain("promises",
                     "mount %u relies on a promise of inode %llu that its leader knows nothing of "
                     "(RULES L5)",
                     mount, (unsigned long long)ino);
}

void check_promises_alone(uint32_t mount, uint64_t ino, uint32_t other, bool promised)
{
    if (promised)
        sim_complain("promises",
                     "mount %u takes inode %llu for its own, of which mount %u relies on a promise "
                     "(RULES D1)",
                     mount, (unsigned long long)ino, other);
}

void check_promises_token(uint32_t mount, uint64_t min_index, uint64_t kept)
{
    if (min_index < kept)
        sim_complain(
            "promises",
            "mount %u asks a copy for %llu, its token was %llu when it started (RULES L10)", mount,
            (unsigned long long)min_index, (unsigned long long)kept);
}

/* ---- what a mount shows ------------------------------------------------------------------------
 */

/* The client of process `id` that relies on what it was promised; NULL: it is no mount, or knows
 * that it must not. */
static const struct client *relying(uint32_t id)
{
    const struct process *p = process_of(id);
    const struct client *c = p->up && p->mount ? mount_client(p->mount) : NULL;
    if (!c || c->state != SESSION_LIVE || process_clock(p) >= c->lease_until)
        return NULL;
    /* Unmounted, and its session's end is on its way: nobody can ask it. */
    return c->ending ? NULL : c;
}

void check_promises_changed(uint64_t ino, uint64_t author, uint64_t index)
{
    for (uint32_t id = process_nodes() + 1; id <= process_count(); id++) {
        const struct client *c = relying(id);
        const struct inode *i = c ? inode_find(c, ino) : NULL;
        /* What only it can know, since it has a directory's lease, nobody else changes (D1). */
        if (i && i->known && (i->promised || (i->attr.nlink && inode_private(c, i))))
            check_promises_relied(id, c->session, author, ino, i->attr.version, index);
        else if (i && i->names_promised)
            check_promises_relied(id, c->session, author, ino, 0, index);
    }
}

/* Was it done under the lease of directory `ino`: in it, or was that removed? */
static bool done_under(const struct queued *e, uint64_t ino)
{
    const Fs__Op *op = e->rpc ? e->rpc->req->op : NULL;
    switch (op ? (int)op->body_case : 0) {
    case FS__OP__BODY_MAKE:
        return op->make->parent == ino;
    case FS__OP__BODY_UNLINK:
        return op->unlink->parent == ino || (op->unlink->directory && e->touched[1]->ino == ino);
    case FS__OP__BODY_RENAME:
        return op->rename->parent == ino || op->rename->newparent == ino;
    case FS__OP__BODY_LINK:
        return op->link->parent == ino;
    default:
        return false;
    }
}

void check_promises_released(uint64_t ino, uint64_t session)
{
    for (uint32_t id = process_nodes() + 1; id <= process_count(); id++) {
        const struct client *c = relying(id);
        if (!c || c->session != session)
            continue;
        list_each(it, &c->queued) {
            const struct queued *e = container_of(it, struct queued, link);
            if (done_under(e, ino))
                check_queue_released(session, ino, e->q - c->queue_base);
        }
    }
}

void check_promises_locked(uint64_t ino, uint64_t author, uint64_t index)
{
    for (uint32_t id = process_nodes() + 1; id <= process_count(); id++) {
        const struct client *c = relying(id);
        if (c && locks_here(c, ino))
            check_promises_kept_locks(id, c->session, author, ino, index);
    }
}

static void nobody_else(uint32_t id, uint64_t ino)
{
    for (uint32_t other = process_nodes() + 1; other <= process_count(); other++) {
        const struct client *c = other != id ? relying(other) : NULL;
        const struct inode *i = c ? inode_find(c, ino) : NULL;
        check_promises_alone(id, ino, other, i && i->known && i->promised);
    }
}

void check_promises_sweep(const struct process *p, const struct client *c)
{
    size_t cursor = 0;
    void *value;
    if (c->state != SESSION_LIVE || c->ending || process_clock(p) >= c->lease_until)
        return;
    while (map_next(&c->inodes, &cursor, NULL, &value)) {
        const struct inode *i = value;
        if (i->promised)
            check_promises_recorded(p->id, i->ino,
                                    check_leases_recorded(c->term, c->session, i->ino));
        if (i->known && i->attr.nlink && inode_private(c, i))
            nobody_else(p->id, i->ino);
    }
}
