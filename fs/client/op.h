/* A kernel request that is not finished: what it waits for, and its end. */
#ifndef TALLY_FS_CLIENT_OP_H
#define TALLY_FS_CLIENT_OP_H

#include "fs/client/internal.h"

enum busy_kind { BUSY_ATTR, BUSY_NAMES };
#define OP_BUSY_MAX 6

struct op {
    struct list link; /* client.ops, in order of arrival, so of deadlines */
    struct list wait; /* a queue it waits in */
    struct timer deadline;
    struct timer root; /* answers from old knowledge when it runs out; root inode and statfs only */
    struct client_op a; /* names are copies, `data` is a reference */
    time_us since;
    bool answered; /* by deadline or cancel; its work goes on silently */
    const char *why;
    struct rpc *rpc; /* outstanding for it */
    struct read_job *job;
    uint32_t read_begun;   /* READ: inode.atimes_set then, plus 1 */
    struct file *queue_of; /* the file in whose queue it waits */
    unsigned tries;
    uint64_t until;      /* FSYNC, FLUSH, truncate, rename: commits with serials up to this ... */
    uint64_t wait_ino;   /* ... of this inode; 0: of all */
    int lost;            /* those commits were lost: the error to tell */
    bool asked;          /* the leader answered once what the promise could not */
    bool frozen;         /* what it has to commit first is on its way */
    bool locking;        /* SETLK: the lock is asked for */
    bool interrupted;    /* SETLK: must not wait for it any more */
    uint64_t space;      /* bytes of the reservation it took and has not used */
    bool lacks_space;    /* it waits for more */
    struct page base[2]; /* committed content of the pages that a write covers in part */
    size_t base_count;
    uint64_t base_epoch; /* under this lease */
    uint64_t copied;     /* COPY: so much is done */
    uint64_t referring;  /* ... so much more is, when the COMMIT under way is not refused */
    unsigned refusals;
    bool refused, settled; /* ... it was; what this mount wrote to the source is committed */
    uint64_t source_version, source_size; /* ... the source as it is to be copied */
    struct page source;                   /* ... a page of it that is copied in part */
    bool source_known, source_shrank;
    uint64_t seek_page, seek_version; /* SEEK: looked at up to here, of this version; 0: none */
    bool seek_own;                    /* ... under the own lease */
    uint64_t queue_until;             /* waits for the queue up to this */
    uint64_t q;                       /* its own place in it; 0: none */
    bool drained;       /* what was queued before it is behind it: up to queue_until */
    struct list ask;    /* inode.getattrs: answered together with the others there ... */
    bool told;          /* ... and what it asked for is known */
    bool told_after;    /* READ that cuts the file off: they have been answered ... */
    struct timer taken; /* ... and taken in, when it runs out */
    struct inode *opening;
    struct inode *denied; /* its removal was told that it is not open here */
    struct {
        struct inode *inode;
        enum busy_kind kind;
    } busy[OP_BUSY_MAX];
    size_t busy_count;
};

void op_start(struct client *c, const struct client_op *a);
struct op *op_find(struct client *c, uint64_t id);
/* Ends the operation: answers (unless that was done) and frees it. `result` is taken; NULL: only
 * err. */
void op_finish(struct client *c, struct op *op, struct client_result *result);
void op_fail(struct client *c, struct op *op, int err);
/* Answers `err` now. Work that others may already see goes on, the rest is dropped. */
void op_give_up(struct client *c, struct op *op, int err);
/* While it runs the cached attributes (names) of `i` may be behind what others see. */
void op_busy(struct op *op, struct inode *i, enum busy_kind kind);
/* It is over, but for the answer: what it made busy is known again. Returns the inodes, to be
 * settled. */
size_t op_idle(struct op *op, struct inode *ret_inodes[OP_BUSY_MAX]);
/* Runs it from its beginning, or where its own state says. */
void op_run(struct client *c, struct op *op);
/* Whether `ino` is open here, for its removal `op`. If not, nothing opens it until that is over
 * (RULES L7: who has it open is settled before it goes). */
bool op_says_open(struct client *c, struct op *op, uint64_t ino);
/* Some file may have been made and opened here, though the answer that says so got lost with a link
 * and has to come once more. Without that it comes before anything else about the file. */
bool op_makes_unheard(const struct client *c);
/* True: it can't be opened on the strength of `seen` (NULL: what is known). `op` runs again when
 * its own removals are over. */
bool op_open_waits(struct client *c, struct op *op, struct inode *i, const struct Fs__Attr *seen);

#endif
