/* What mounts send, count and answer, turn by turn: RULES B9, B11, E1, L6, L9.
 *
 * Each is judged by what came in and what went out in one turn of the client core, beside what the
 * checkers know of the cluster. */
#include "tests/sim/check_mounts.h"

#include <string.h>

#include "fs/client/cache.h"
#include "fs/client/file.h"
#include "fs/client/op.h"
#include "fs/client/read.h"
#include "fs/client/rpc.h"
#include "fs/core/state.h"
#include "node/internal.h"
#include "tests/sim/check_internal.h"
#include "tests/sim/disk.h"

/* The turn under way: as it was before. */
static struct {
    uint64_t uncommitted; /* inode that RENAME or LINK gives a name, with uncommitted data */
    uint64_t read_op, read_ino, read_version, sent_version;
    time_us lease_until;
} before;

static time_us renewed_at[SIM_NODES_MAX + SIM_MOUNTS_MAX + 1]; /* RENEW sent, by their clocks */

/* The opening of each node's store in which a snapshot was switched to. */
static uint64_t switched_boot[SIM_NODES_MAX + 1];

void check_mounts_start(void)
{
    memset(renewed_at, 0, sizeof renewed_at);
    memset(switched_boot, 0, sizeof switched_boot);
}

/* ---- facts ----------------------------------------------------------------------------------- */

void check_mounts_named(uint32_t mount, uint64_t ino)
{
    sim_complain("mounts", "mount %u gives inode %llu a name before its data are committed (B11)",
                 mount, (unsigned long long)ino);
}

void check_mounts_read(uint32_t mount, uint64_t ino, uint64_t version, uint64_t sent)
{
    if (version < sent)
        sim_complain("mounts",
                     "mount %u answers a READ of inode %llu as of %llu, attributes of %llu were "
                     "sent before (RULES L6)",
                     mount, (unsigned long long)ino, (unsigned long long)version,
                     (unsigned long long)sent);
}

void check_mounts_lease(uint32_t mount, time_us from, time_us sent)
{
    if (from > sent)
        sim_complain("mounts",
                     "mount %u counts its lease from %llu us after it asked for it (RULES L9)",
                     mount, (unsigned long long)(from - sent));
}

void check_mounts_renewed(uint32_t mount, uint64_t term, time_us asked, time_us deposed)
{
    if (asked > deposed)
        sim_complain("mounts",
                     "the leader of term %llu renewed the lease of mount %u, which asked %llu us "
                     "after a later one was elected (RULES E1)",
                     (unsigned long long)term, mount, (unsigned long long)(asked - deposed));
}

void check_mounts_holder(uint32_t mount, uint32_t node, uint64_t n, bool held)
{
    if (!held)
        sim_complain("mounts",
                     "mount %u says that n%u holds its block %llu, which went with an earlier "
                     "opening of the store (RULES B9)",
                     mount, node, (unsigned long long)n);
}

/* ---- before the turn ------------------------------------------------------------------------- */

static uint64_t named_inode(const struct client *c, const struct client_op *op)
{
    const struct name *n = op->kind == CLIENT_RENAME ? name_find(c, op->parent, op->name) : NULL;
    uint64_t ino = n ? n->ino : op->kind == CLIENT_LINK ? op->ino : 0;
    const struct inode *i = inode_find(c, ino);
    return i && i->file && file_busy(i->file) ? ino : 0;
}

static void read_arrives(const struct client *c, const struct Fs__Reply *reply)
{
    const struct rpc *r = map_get(&c->rpcs, reply->id);
    if (!r || r->req->body_case != FS__REQUEST__BODY_READ ||
        reply->body_case != FS__REPLY__BODY_READ || !reply->read->attr)
        return;
    const struct read_job *job = r->owner;
    const struct inode *i = inode_find(c, job->ino);
    if (job->op->a.kind != CLIENT_READ) /* what copy_file_range reads the kernel does not keep */
        return;
    if (!i || job->own || (i->file && i->file->lease == LEASE_HELD))
        return;
    before.read_op = job->op->a.id;
    before.read_ino = job->ino;
    before.read_version = reply->read->attr->data_version;
    before.sent_version = i->sent_version;
}

void check_mounts_before(const struct client *c, const struct client_event *ev)
{
    memset(&before, 0, sizeof before);
    before.lease_until = c->lease_until;
    if (ev->kind == CLIENT_EV_OP)
        before.uncommitted = named_inode(c, ev->op);
    else if (ev->kind == CLIENT_EV_REPLY)
        read_arrives(c, ev->reply);
}

/* ---- after it -------------------------------------------------------------------------------- */

/* With it the blocks go that it does not name. The mount sends them again when the COMMIT takes
 * long, and until then nobody acknowledges what he lacks (RULES B3). */
void check_mounts_switched(uint32_t node)
{
    const struct process *p = process_of(node);
    if (p->node)
        switched_boot[node] = p->node->store_boot;
}

/* A copy whose present opening of the store the mount knows, which has switched to no snapshot in
 * it and has not applied the COMMIT: nothing can have thrown its blocks away since. */
static bool must_hold(const struct client *c, uint32_t id, const struct Fs__Commit *m)
{
    const struct process *p = process_of(id);
    uint64_t last_c = 0;
    Fs__Attr attr = FS__ATTR__INIT;
    return p && p->up && p->node && p->node->state && c->links[id].up &&
           c->links[id].boot == p->node->store_boot && switched_boot[id] != p->node->store_boot &&
           fs_get_attr(p->node->state, m->ino, &attr) == 0 && attr.lease_session == c->session &&
           attr.lease_epoch == m->epoch && fs_lease_last_c(p->node->state, m->ino, &last_c) == 0 &&
           last_c < m->c;
}

static void see_holders(uint32_t mount, const struct client *c, const struct Fs__Request *req)
{
    const struct Fs__Commit *m = req->op->commit;
    for (uint32_t id = 1; id <= sim_swarm()->copies; id++) {
        if (!(req->holders >> id & 1) || !must_hold(c, id, m))
            continue;
        for (size_t i = 0; i < m->n_blocks; i++) {
            const Fs__Block *b = m->blocks[i];
            struct block_ref ref = {
                {b->session, b->n}, b->size, block_digest_of_runs(b->runs, (uint32_t)b->n_runs)};
            const struct disk *d = disk_of(id);
            check_mounts_holder(mount, id, b->n,
                                disk_written_block(d, &ref) || disk_damaged(d, ref.name));
        }
    }
}

static void see_request(const struct process *p, const struct client *c,
                        const struct client_event *ev, const struct client_effect *e)
{
    const struct Fs__Request *req = e->request;
    const struct rpc *r = e->hold;
    if (req->body_case == FS__REQUEST__BODY_RENEW)
        renewed_at[p->id] = process_clock(p);
    if (req->body_case != FS__REQUEST__BODY_OP)
        return;
    if (req->op->body_case == FS__OP__BODY_COMMIT)
        see_holders(p->id, c, req);
    bool names =
        req->op->body_case == FS__OP__BODY_RENAME || req->op->body_case == FS__OP__BODY_LINK;
    if (names && before.uncommitted && r->op && r->op->a.id == ev->op->id)
        check_mounts_named(p->id, before.uncommitted);
}

static void see_lease(const struct process *p, const struct client *c)
{
    time_us from = time_since(c->lease_until, c->lease_us), clock = process_clock(p);
    check_mounts_lease(p->id, from, renewed_at[p->id]);
    /* Rounded to what is certain: it was asked for no later. */
    time_us ago = time_since(clock, from) * 1000 / 999 + 1;
    check_mounts_renewed(p->id, c->term, time_since(sim_now(), ago),
                         check_election_deposed(c->term));
}

void check_mounts_after(const struct process *p, const struct client *c,
                        const struct client_event *ev, const struct client_out *out)
{
    for (size_t i = 0; i < out->count; i++) {
        const struct client_effect *e = &out->effects[i];
        if (e->kind == CLIENT_SEND)
            see_request(p, c, ev, e);
        else if (e->kind == CLIENT_REPLY && before.read_op == e->op_id && !e->result.err)
            check_mounts_read(p->id, before.read_ino, before.read_version, before.sent_version);
    }
    if (c->lease_until > before.lease_until) {
        see_lease(p, c);
        check_promises_sweep(p, c); /* what was believed too early counts from now on */
    }
}
