/* What the files of fs/core share and nobody else sees. */
#ifndef TALLY_FS_CORE_INTERNAL_H
#define TALLY_FS_CORE_INTERNAL_H

#include "fs/core/inode.h"
#include "fs/core/keys.h"
#include "fs/core/state.h"

/* From `page` on file `ino` has no extents. Known of files that were empty once, in memory only:
 * who does not know looks. */
struct file_end {
    uint64_t ino, page;
};
enum { FILE_ENDS = 64 }; /* one place for each inode number */

struct known; /* known.h */

struct fs_state {
    struct kv *kv;
    int table;
    struct fs_hash hash;
    struct fs_totals totals;
    struct file_end ends[FILE_ENDS];
    struct known *known;
};

/* One operation being applied. Changes gather in `txn`; a refusal drops them all. */
struct apply {
    struct fs_state *s;
    struct kv_txn *txn;
    uint64_t index;
    int64_t time;     /* the entry's, ns */
    uint64_t session; /* who asked */
    uint64_t q;       /* of the session's queue; 0: not in it */
    struct fs_result *result;
    Fs__OpReply *reply;
    struct bytes_writer value; /* for state_get */
};

/* ---- pairs (state.c) ------------------------------------------------------------------------- */
/* 0 with the value in a->value, -ENOENT, -EIO. */
int state_get(struct apply *a, const struct key *k);
void state_put(struct apply *a, const struct key *k, const void *value, size_t size);
/* The same where there is no such pair: it is not looked for. */
void state_put_new(struct apply *a, const struct key *k, const void *value, size_t size);
void state_del(struct apply *a, const struct key *k);
/* The same where the pair has this value: it is not looked for. */
void state_del_known(struct apply *a, const struct key *k, const void *value, size_t size);
/* All pairs whose key begins with `prefix`, as committed before this operation. */
struct kv_iter *state_iter(const struct fs_state *s, const struct key *prefix);
/* The same from `from` on. */
struct kv_iter *state_iter_from(const struct fs_state *s, const struct key *prefix,
                                const struct key *from);

/* ---- inodes (state.c) ------------------------------------------------------------------------ */
/* 0, -ENOENT, -EIO. */
int inode_load(struct apply *a, uint64_t ino, struct inode *ret);
void inode_store(struct apply *a, const struct inode *inode);
/* The first time. */
void inode_store_new(struct apply *a, const struct inode *inode);
int inode_read(const struct fs_state *s, uint64_t ino, struct inode *ret);
/* ctime (and mtime) move with every change, and always forward: a mount's cache is checked by them.
 */
void inode_touch(struct apply *a, struct inode *inode, bool mtime);
uint64_t inode_next_number(struct apply *a);
/* `count` numbers at once, without inodes yet; the first of them. */
uint64_t inode_numbers(struct apply *a, uint64_t count);
/* The inode and all that hangs on it go: no name is left, and no hold. What has names has no holds
 * (RULES L7), and looking for some would be the dearest part of a removal. */
void inode_free(struct apply *a, struct inode *inode);
/* Frees it when it has neither name nor holder; `except` does not count as a holder. */
void inode_free_if_unused(struct apply *a, struct inode *inode, uint64_t except);
/* Nobody holds it open any more as far as the state says. */
void holds_free(struct apply *a, uint64_t ino);
Fs__Attr *attr_new(const struct inode *inode);

/* ---- operations: 0 or a positive errno ------------------------------------------------------- */
int apply_body(struct apply *a, const Fs__Op *op); /* dispatches to the others */
int apply_make(struct apply *a, const Fs__Make *m);
int apply_unlink(struct apply *a, const Fs__Unlink *m);
int apply_rename(struct apply *a, const Fs__Rename *m);
int apply_link(struct apply *a, const Fs__Link *m);
int apply_setattr(struct apply *a, const Fs__Setattr *m);
int apply_atimes(struct apply *a, const Fs__Atimes *m);
int apply_setxattr(struct apply *a, const Fs__Setxattr *m);
int apply_removexattr(struct apply *a, const Fs__Removexattr *m);
int apply_lease(struct apply *a, const Fs__Lease *m);
int apply_release(struct apply *a, const Fs__Release *m);
int apply_commit(struct apply *a, const Fs__Commit *m);
int apply_open_session(struct apply *a, const Fs__OpenSession *m);
int apply_end_session(struct apply *a, uint64_t session);
int apply_reserve(struct apply *a, const Fs__Reserve *m);
int apply_drop_holds(struct apply *a, const Fs__DropHolds *m);
int apply_grant_inodes(struct apply *a, const Fs__GrantInodes *m);
int apply_set_lock(struct apply *a, const Fs__SetLock *m);

/* ---- parts of them --------------------------------------------------------------------------- */
/* Ends the lease of `inode`, if any; the epoch rises so that late COMMITs are refused (RULES B2).
 */
void lease_end(struct apply *a, struct inode *inode);
void lease_grant(struct apply *a, struct inode *inode);
/* All extents of the file go. */
void map_free(struct apply *a, const struct inode *inode);
void xattr_free_all(struct apply *a, const struct inode *inode);
/* Mode and ACLs of a new object: from the default ACL of its directory, else by `umask`. */
int acl_of_new(struct apply *a, const struct inode *parent, struct inode *inode, uint32_t umask);
void locks_free_all(struct apply *a, uint64_t ino);
/* Every lock of the session goes (RULES L2). */
void locks_end_session(struct apply *a, uint64_t session);
int session_load(struct apply *a, uint64_t id, struct fs_session *ret);
void session_store(struct apply *a, const struct fs_session *session);
/* Has (session, seq) been answered? 1: the reply is in a->result as a duplicate; 0: new; or a
 * positive errno that refuses it. */
int session_seen(struct apply *a, uint64_t seq, bool *ret_seen);
void session_keep_reply(struct apply *a, uint64_t seq, uint64_t ack_below);
/* RULES D1: is `q` the next of the session's queue? 0, done before (*ret_done), EAGAIN: one before
 * it is missing; another errno: one before it was refused, or there is no such session. */
int ordered_check(struct apply *a, uint64_t q, bool *ret_done);
/* It was applied (err 0) or refused, and with it everything behind it. */
void ordered_note(struct apply *a, int err);
/* May the session of a queued operation change names of `dir`? All others may. */
bool ordered_may_change(const struct apply *a, const struct inode *dir);
/* The number of the inode that is made: the session's own choice, or the next; 0: not its to give.
 */
uint64_t ordered_inode(struct apply *a, uint64_t wanted);

#endif
