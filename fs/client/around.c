/* A session reads on while nobody leads (RULES L10), also names of a directory that another mount
 * has the lease of. That mount takes inodes that it made there for its own, since whoever looks for
 * one comes for the lease first (RULES D1, inode_private()). So when there is a leader again it is
 * asked for these directories, which makes it recall their leases, before it is asked for anything
 * else: until then no request can be about such an inode. */
#include "fs/client/around.h"

#include <stdlib.h>

#include "fs/client/internal.h"
#include "fs/client/local.h"
#include "fs/client/rpc.h"

bool around_settled(const struct client *c)
{
    return c->around.count == 0 && c->settling == NULL;
}

bool around_lets(const struct client *c, const struct rpc *r)
{
    return around_settled(c) || r == c->settling || !r->needs_session ||
           r->req->body_case == FS__REQUEST__BODY_RENEW;
}

void around_note(struct client *c, const struct Fs__Request *req)
{
    uint64_t dir = 0;
    if (req->body_case == FS__REQUEST__BODY_LOOKUP) {
        dir = req->lookup->parent;
    } else if (req->body_case == FS__REQUEST__BODY_READDIR) {
        dir = req->readdir->ino;
    }
    bool noted = dir == 0; /* the one that is being settled counts anew */
    for (size_t i = 0; i < c->around.count && !noted; i++) {
        noted = c->around.items[i] == dir;
    }
    if (!noted) {
        vec_push(&c->around, dir);
    }
}

static void on_settled(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                       struct blob *bulk)
{
    (void)r, (void)reply, (void)bulk; /* gone is as good: its lease went with it */
    c->settling = NULL;
    rpc_pump(c);
}

void around_settle(struct client *c)
{
    if (c->around.count == 0 || c->settling != NULL || c->state != SESSION_LIVE) {
        return;
    }
    struct rpc *r = rpc_new(RPC_LEADER, NULL, on_settled);
    r->req->body_case = FS__REQUEST__BODY_GETATTR;
    r->req->getattr = xmalloc(sizeof(*r->req->getattr));
    fs__getattr__init(r->req->getattr);
    r->req->getattr->ino = vec_pop(&c->around);
    c->settling = r;
    rpc_start(c, r);
}
