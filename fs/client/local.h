/* Names changed here before the log has them (RULES D1): under the lease of a directory nobody else
 * sees or changes its names, so this mount answers at once and sends the operations after, in the
 * order in which they were done.
 *
 * dirs.c: the leases. queue.c: the operations on their way. local.c: what is done here, and when.
 */
#ifndef TALLY_FS_CLIENT_LOCAL_H
#define TALLY_FS_CLIENT_LOCAL_H

#include "fs/client/cache.h"

#define QUEUE_MAX     4096u         /* operations not committed yet; who comes then waits */
#define QUEUE_WINDOW  256u          /* of them sent and not answered */
#define QUEUE_DELAY   (4 * TIME_MS) /* nobody waits: many go at once, and take one flush ... */
#define QUEUE_BATCH   64u           /* ... but no more than so many wait for others to come */
#define INODES_WANTED 4096u         /* numbers asked for at once */
#define DIR_BAN       (2 * TIME_S)  /* asked back by another mount: not taken again for so long */
#define DIR_IDLE      (30 * TIME_S) /* then it is given back before anybody asks */

/* ---- dirs.c ---------------------------------------------------------------------------------- */

struct dir {
    struct inode *inode;
    enum lease_state lease;
    uint64_t epoch;
    time_us since, used_at;
    bool used;       /* since it was granted */
    bool complete;   /* every name that is there is known here */
    uint64_t listed; /* ... or those that a listing gives up to this cookie */
    /* Of one that was made for this mount: what apply gives the next name. 0: not known, since
     * names came by way of the leader. As long as it is, `names` are in the order of cookies. */
    uint64_t next_cookie;
    uint32_t strangers; /* goes up when something unknown left it: nothing is private before that */
    bool removed;       /* ahead of the log: the lease stays until that is committed */
    uint64_t inside_q;  /* the last change in the queue of what is private to it */
    struct list lru;    /* client.dir_leases: held, least recently used first */
    struct list waiters; /* operations that wait for the grant */
    struct list
        private_told; /* inodes that the kernel keeps attributes of while they are private */
    vec_of(struct recall *) recalls;
    struct timer hold_timer;
};

enum dir_answer { DIR_LEASED, DIR_WAITS, DIR_SHARED };

static inline bool dir_leased(const struct inode *i)
{
    return i->dir != NULL && i->dir->lease == LEASE_HELD;
}
/* Is the lease of `i` here to be used for one more change? With `ask` it is asked for when it is
 * not, and `op` runs again when it came or was refused. */
enum dir_answer dir_ready(struct client *c, struct inode *i, struct op *op, bool ask);
/* A directory made here: nobody else knows it, and there is nothing in it. */
void dir_made(struct client *c, struct inode *i);
/* Has the mount use for the lease of a directory that the leader makes for it? */
bool dir_wanted(const struct client *c);
/* The leader made it, with its lease. */
void dir_granted(struct client *c, const struct rpc *r, struct inode *i,
                 const struct Fs__Attr *attr);
/* The names behind cookie `after` came, and are known now. */
void dir_listed(struct inode *i, uint64_t after, const struct Fs__ReaddirReply *page);
/* A name of it was forgotten. */
void dir_forgets(struct inode *i);
/* Its removal is committed, and its lease is gone with it. */
void dir_removed(struct client *c, struct inode *i);
/* The pages of names that `op` waits for came, or will not. */
void dir_page_came(struct client *c, struct inode *i);
/* Is it worth to hold the lease of a directory in which names are removed? */
bool dir_worth_leasing(const struct inode *i);
/* True: its names are being asked for under its lease, and `op` runs again when they came. */
bool dir_page_awaited(struct client *c, struct inode *i, struct op *op);
/* The leader asks for it: when everything about the directory is committed. */
void dir_recalled(struct client *c, struct inode *i, struct recall *k);
/* More of the queue is committed: leases that are waited for may go. */
void dirs_release(struct client *c);
void dirs_release_idle(struct client *c);
/* The session ended. */
void dirs_lost(struct client *c);
/* What waits for a lease does so behind changes that are lost. */
void dirs_tell_loss(struct client *c);
void dirs_forget_recalls(struct client *c);
void dir_free(struct client *c, struct inode *i);
/* Made here under a lease that is still held, and nobody else has ever seen its name: only this
 * mount can know the inode, and what is changed of it concerns nobody else. */
bool inode_private(const struct client *c, const struct inode *i);
/* The kernel is given attributes of `i` to keep, and it is private: nobody would ask them back, so
 * they are taken back when it is private no longer. */
void inode_private_told(const struct client *c, struct inode *i);
/* Somebody else may come to know it. */
void inode_ends_private(struct client *c, struct inode *i);
/* A session that reads while nobody leads may know it from the directory that it was in before, and
 * has the leader recall the lease of that one. Two are remembered. */
bool inode_may_move(const struct inode *i, const struct inode *to);
void inode_make_private(struct client *c, struct inode *i, const struct inode *dir);
/* An answer says that as long as this mount has lease `epoch` of `dir`, nobody else can know `i`,
 * all of whose names are there; 0: it does not. */
void inode_told_alone(struct client *c, struct inode *i, const struct inode *dir, uint64_t epoch);
/* Its place in the queue is `q`: the leases that make it private stay until that is committed. */
void inode_changes_inside(struct client *c, const struct inode *i, uint64_t q);
/* What `name` of `dir` stands for is about to get a name elsewhere, by way of the leader. */
void inode_goes_public(struct client *c, uint64_t dir, const char *name);

/* ---- queue.c --------------------------------------------------------------------------------- */

struct queued {
    struct list link; /* client.queued, in order */
    uint64_t q;
    struct rpc *rpc;
    bool sent;
    struct inode *touched[4];
    size_t touched_count;
    uint64_t ino, until; /* RULES B11: after these commits of that file */
};

/* Is everything of the queue up to `q` committed? */
bool queue_reached(const struct client *c, uint64_t q);
/* True when it is; else `op` runs again then. */
bool queue_wait(struct client *c, struct op *op, uint64_t q);
/* Is it on its way, at least? */
bool queue_sent(const struct client *c, uint64_t q);
/* The same of all that was queued when `op` came here first: what is not queued itself must not
 * reach the log before what was done before it. */
bool queue_drained(struct client *c, struct op *op);
/* Is there room for one more, in the queue and in the reservation? DIR_SHARED: not this way. */
enum dir_answer queue_ready(struct client *c, struct op *op);
/* A request for queue_add: its operation is to be filled in. */
struct rpc *queue_rpc(struct client *c);
/* Takes `r`. Returns its place in the queue. */
uint64_t queue_add(struct client *c, struct rpc *r, struct inode *const *touched, size_t count,
                   uint64_t ino, uint64_t until);
/* Does an operation that gives `i` a name wait for its bytes (RULES B11)? */
bool queue_names(const struct client *c, const struct inode *i);
/* Runs what waited for more of it. */
void queue_wake(struct client *c);
/* Sends what may go. */
void queue_pump(struct client *c);
/* A number for an inode made here; 0: none at hand, they are asked for. */
uint64_t queue_inode(struct client *c);
/* The session ended: what was not committed is lost. */
void queue_lost(struct client *c);
void queue_free(struct client *c);

/* ---- local.c: each true when it is done here, or waits to be ----------------------------------
 */

bool local_make(struct client *c, struct op *op);
bool local_unlink(struct client *c, struct op *op);
bool local_rename(struct client *c, struct op *op);
bool local_link(struct client *c, struct op *op);
bool local_setattr(struct client *c, struct op *op, uint32_t set);
/* The same for a part of `op`, which goes on: LEASED: done. */
enum dir_answer local_change_attr(struct client *c, struct op *op, struct inode *i, uint32_t set);
/* SETXATTR, REMOVEXATTR: of an ACL that says no more than a mode, which cp -a gives to each file.
 */
bool local_setxattr(struct client *c, struct op *op);

#endif
