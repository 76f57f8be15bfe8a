/* Requests to nodes, repeated until they are answered. */
#ifndef TALLY_FS_CLIENT_RPC_H
#define TALLY_FS_CLIENT_RPC_H

#include "fs/client/internal.h"

enum rpc_to { RPC_LEADER, RPC_COPY, RPC_PROBE };

struct rpc {
    uint32_t refs; /* the table and the effects that name `req` */
    struct list link;
    struct list seq_link;
    struct timer timer;
    struct Fs__Request *req;
    struct blob **blobs;
    size_t blobs_count;
    uint64_t id, older_id; /* of the sends that may still be answered; 0 none */
    uint32_t node, older_node;
    enum rpc_to to;
    bool live; /* in the table */
    bool queued, needs_session, needs_seq;
    bool sent_once;
    bool again;   /* it was sent, and waits to be sent once more: it may be done already */
    bool changes; /* others may see its effect: never dropped once sent */
    bool patient; /* its answer may take for ever, and promises nothing */
    bool urgent;  /* part of giving something back: it has a seq, and does not wait for room in the
                   * window, which may be full of what waits for other mounts (RULES B2) */
    bool leader_only; /* a copy said so: another one answers it only while nobody leads */
    uint64_t session;
    uint32_t position, failures;
    uint32_t cache_epoch;
    time_us since, sent_at;
    char why[96];
    struct op *op;
    void *owner;
    void (*prepare)(struct client *c, struct rpc *r);
    /* reply == NULL: it failed with `err` (session lost, client stopped). */
    void (*done)(struct client *c, struct rpc *r, const struct Fs__Reply *reply, struct blob *bulk);
    void (*accepted)(struct client *c, struct rpc *r);
    int err;
};

struct rpc *rpc_new(enum rpc_to to, struct op *op,
                    void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                 struct blob *));
/* A request with an Op of this session; seq counted when `needs_seq`. */
struct rpc *rpc_new_op(struct op *op, bool needs_seq,
                       void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                    struct blob *));
void rpc_start(struct client *c, struct rpc *r);
void rpc_cancel(struct client *c, struct rpc *r);
void rpc_unref(struct rpc *r);
/* Sends what waits for a leader, a session or room in the window. */
void rpc_pump(struct client *c);
void rpc_on_reply(struct client *c, uint32_t node, const struct Fs__Reply *reply,
                  struct blob *bulk);
void rpc_on_link_down(struct client *c, uint32_t node);
void rpc_on_link_up(struct client *c, uint32_t node);
/* What is outstanding elsewhere is sent again. */
void rpc_new_leader(struct client *c);
/* Requests sent under the session that ended fail with EIO, those never sent wait for the new one.
 */
void rpc_session_lost(struct client *c, uint64_t session);
/* One way, not repeated, to this node. Takes req. */
void rpc_post(struct client *c, uint32_t node, struct Fs__Request *req);
/* The error an answer amounts to: transport, request or operation. */
int rpc_error(const struct rpc *r, const struct Fs__Reply *reply);
/* The oldest request that the leader should have answered soon; NULL: none. */
const struct rpc *rpc_oldest(const struct client *c);
uint64_t rpc_oldest_id(const struct client *c);

#endif
