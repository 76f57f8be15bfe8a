/* One function per operation, called by op_run(), and what they share. */
#ifndef TALLY_FS_CLIENT_OPS_H
#define TALLY_FS_CLIENT_OPS_H

#include "fs/client/internal.h"

void op_lookup(struct client *c, struct op *op);
void op_forget(struct client *c, struct op *op);
void op_make(struct client *c, struct op *op);
void op_unlink(struct client *c, struct op *op);
void op_rename(struct client *c, struct op *op);
void op_link(struct client *c, struct op *op);
void op_readlink(struct client *c, struct op *op);
void op_getattr(struct client *c, struct op *op);
void op_setattr(struct client *c, struct op *op);
void op_setxattr(struct client *c, struct op *op);
void op_getxattr(struct client *c, struct op *op);
void op_listxattr(struct client *c, struct op *op);
void op_removexattr(struct client *c, struct op *op);
void op_statfs(struct client *c, struct op *op);
void op_readdir(struct client *c, struct op *op);
void op_releasedir(struct client *c, struct op *op);
void op_fsyncdir(struct client *c, struct op *op);
void op_open(struct client *c, struct op *op);
void op_release(struct client *c, struct op *op);
void op_read(struct client *c, struct op *op);
/* What it joined is over; `told`: and was answered. */
void op_read_told(struct client *c, struct op *op, bool told);
void op_seek(struct client *c, struct op *op);
void op_write(struct client *c, struct op *op);
void op_copy(struct client *c, struct op *op);
void op_allocate(struct client *c, struct op *op);
void op_flush(struct client *c, struct op *op);
void op_fsync(struct client *c, struct op *op);
void op_sync_all(struct client *c, struct op *op);
void op_setlk(struct client *c, struct op *op);
void op_getlk(struct client *c, struct op *op);
void op_interrupt(struct client *c, struct op *op);
/* The inode that the operation changed, as the reply has it. NULL: it failed, and has ended. */
struct inode *op_changed_inode(struct client *c, struct rpc *r, const struct Fs__Reply *reply);
/* Answers with the inode's attributes; the second one as an entry of `dir`. */
void op_answer_attr(struct client *c, struct op *op, struct inode *i);
/* Until the GETATTRs of the inode are answered, with which `op` is then told to go on. */
void op_join_getattrs(struct op *op, struct inode *i);
/* One of the GETATTRs of inode `ino` is known or over: answers them all if none is waited for. */
void op_answer_getattrs(struct client *c, uint64_t ino);
void op_answer_entry(struct client *c, struct op *op, uint64_t dir, struct inode *i, uint64_t fh);
/* A LOOKUP that may belong to a path walk which Linux makes once more after ESTALE. */
bool op_walks_again(const struct client *c, const struct op *op);
/* How long the kernel may remember names of the directory, which is noted. */
time_us op_entry_valid(struct client *c, uint64_t dir);
/* A question: to the leader, or with consistency=session to the nearest copy. */
struct rpc *op_question(struct client *c, struct op *op, Fs__Request__BodyCase what,
                        void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                     struct blob *));
/* The errno of an operation on an inode number: one that is gone is stale, so that the kernel looks
 * its name up again. */
int op_inode_error(const struct rpc *r, const struct Fs__Reply *reply);
/* Attributes in an answer about `attr`, with the promise when it counts. */
struct inode *op_learn(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       const struct Fs__Attr *attr);
ProtobufCBinaryData op_bytes(const char *text);
struct Fs__Make *op_make_message(const struct op *op);
struct Fs__Link *op_link_message(const struct op *op);
struct Fs__Setattr *op_setattr_message(const struct op *op, uint64_t ino, uint32_t set);
/* The stale answer of the root and statfs, when no leader is to be had. */
bool op_readdir_stale(struct client *c, struct op *op);
void op_root_timeout(struct client *c, struct timer *t);

#endif
