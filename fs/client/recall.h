/* What the leader asks back, and leases on their way back to it. */
#ifndef TALLY_FS_CLIENT_RECALL_H
#define TALLY_FS_CLIENT_RECALL_H

#include "fs/client/internal.h"

struct recall_object {
    Fs__Object__Kind kind;
    uint64_t ino;
};

struct recall { /* asked by the leader, not answered yet */
    struct list link;
    uint64_t n;
    uint32_t from;    /* who leads there may not be known when it is answered */
    unsigned waiting; /* leases not let go yet, and one while the message is walked */
    bool held;        /* it is not, before listings are taken in ... */
    vec_of(struct recall_object) objects; /* ... and these are asked for */
    vec_of(struct Fs__LeaseEnd) ends;
    vec_of(uint64_t) open_inos;
};

struct recalled { /* remembered until requests outstanding then are answered: RULES L5 */
    struct list link;
    uint64_t key, n, barrier;
};

struct lease_end { /* a lease given back: its release may not have reached the leader */
    struct list link;
    uint64_t ino, epoch, last_c;
};

void recall_on(struct client *c, const struct Fs__Recall *msg);
/* Lets the lease go when everything is committed; answers the recalls. The file stays: settle it
 * after. */
void recall_try_release(struct client *c, struct file *f);
/* The lease is gone without a release: whoever asked for it is answered. */
void recall_lease_lost(struct client *c, struct file *f);
void recall_forget(struct client *c); /* new term: old numbers mean nothing */
void recall_expire(struct client *c);
uint64_t recall_last(const struct client *c, Fs__Object__Kind kind, uint64_t ino);
/* Was the lease asked back after request `id` was sent? Then a grant in its answer does not count:
 * the leader was told that there is no such lease here, and has ended it. */
bool recall_voids_lease(const struct client *c, uint64_t ino, uint64_t id);
/* The lease ends here; `ret_end` is for the leader. */
void recall_let_go(struct client *c, struct file *f, struct Fs__LeaseEnd *ret_end);
/* Leases given back unasked. */
void recall_post_ends(struct client *c, const struct Fs__LeaseEnd *ends, size_t count);
/* One object of the recall is given back; `end` (may be NULL): a lease. */
void recall_done(struct client *c, struct recall *k, const struct Fs__LeaseEnd *end);
/* Recalls that waited for listings are taken up, when there are none (listing.h). */
void recall_go_on(struct client *c);
bool recall_under_way(const struct client *c);
/* Its release may get lost. */
void recall_note_end(struct client *c, const struct Fs__LeaseEnd *end);
/* True when the grant of `epoch` shows that our release of it was never applied; it is sent again.
 */
bool recall_release_again(struct client *c, uint64_t ino, uint64_t epoch);
void recall_free(struct client *c);

#endif
