/* Inside the kernel model: inodes, names, pages, system calls under way.
 *
 * What is modelled is what Linux 6.x's fs/fuse does, function by function, where it decides about
 * staleness: attr_version, inval_mask, i_time, epochs of names, pages locked while a READ fills
 * them. The names of the originals stand in the comments.
 *
 * Better than Linux in one thing, which no daemon can mend (docs/consistency.md): there, attributes
 * that arrive while, or were asked before, a write of the same mount ends are ignored
 * (FUSE_I_SIZE_UNSTABLE, attr_version), and a read(2) beside it goes on with the size and the pages
 * from before. Here it asks again. */
#ifndef TALLY_TESTS_SIM_KERNEL_INTERNAL_H
#define TALLY_TESTS_SIM_KERNEL_INTERNAL_H

#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"
#include "tests/sim/kernel.h"
#include "tests/sim/process.h"

enum {
    PAGE = 4096,
    REQUEST_PAGES = 256, /* max_pages: of a READ or a WRITE */
    NAME_SPACE = 48,
    PATH_SPACE = 96,
    ROOT = 1,
};

/* inval_mask, as far as something depends on it */
enum {
    INVALID_SIZE = 1,  /* size, mtime: FUSE_STATX_MODSIZE */
    INVALID_OTHER = 2, /* ctime, atime: stat(2) asks again, read(2) does not */
    INVALID_ALL = 3,
};

/* A page of the cache. READING: locked until a READ is answered. WRITING: holds part of a page
 * whose rest is not known; locked until the WRITE is answered, then gone. */
enum page_state { PAGE_READY, PAGE_READING, PAGE_WRITING };
struct kpage {
    uint64_t no;
    enum page_state state;
    struct blob *blob; /* NULL: zeros */
    uint32_t offset, size;
};

struct knode {
    uint64_t ino, nlookup;
    uint64_t size, nlink;
    int64_t mtime, atime;
    uint32_t mode, uid;
    uint32_t invalid;
    time_us valid_until; /* i_time, by the machine's clock */
    uint64_t attr_version;
    uint64_t own_version; /* the newest of a change made here */
    struct map pages;
    struct list ios;
    struct list waiters;      /* calls that wait for locked pages */
    struct call *owner;       /* of the inode lock; it, or ... */
    unsigned sharers;         /* ... those that hold it shared */
    struct list lock_waiters; /* calls */
    unsigned opens, names, busy;
};

struct dentry {
    uint64_t dir, ino; /* ino 0: negative */
    char name[NAME_SPACE];
    time_us valid_until;
    uint64_t epoch;  /* d_time */
    uint64_t serial; /* of all dentries that ever were: says which one it is */
};

struct open_file {
    uint64_t fd, ino, fh;
    int flags;
    bool direct;
    uint64_t lock_owner; /* who locked through it; 0: nobody */
    unsigned calls;      /* under way on it */
    bool doomed;         /* its process was killed: closed with the last of them */
};

/* What waits for an answer of the daemon. */
struct pending {
    uint64_t id;
    struct client_op op; /* names point into name, newname */
    char name[NAME_SPACE], newname[NAME_SPACE];
    bool sent; /* the daemon's answer is waited for */
    /* The answer is there; in the daemon's context: nothing may be submitted. NULL: nobody cares.
     */
    void (*answered)(struct kernel *k, struct pending *p, const struct client_result *r);
};

struct io { /* a READ under way */
    struct pending pending;
    struct list link;
    struct knode *node;
    uint64_t first;
    uint32_t pages;
    uint64_t attr_version; /* when it was sent */
    bool drop;             /* an invalidation waits for its pages */
};

struct kentry {
    char name[NAME_SPACE];
    uint64_t ino, cookie;
    bool has_attr;
    struct Fs__Attr attr;
    time_us attr_valid, entry_valid;
};

struct answer {
    int err;
    struct Fs__Attr attr;
    time_us attr_valid, entry_valid;
    uint64_t fh, written;
    bool nothing_done;
    bool keep_cache, direct_io;
    struct blob *data;
    vec_of(struct kentry) entries;
};

/* A system call: one step after another, each begun by an answer or a wake-up. */
struct call {
    struct pending pending;
    struct kernel *k;
    sys_done *done;
    void *ctx;
    void (*step)(struct call *c);
    struct list wait; /* in knode.waiters or .lock_waiters */
    struct answer a;
    int flags;
    uint32_t mode;
    struct sys_attr attr; /* SETATTR */
    uint64_t fd, offset, size, progress;
    uint64_t to_ino, to_fh, to_offset; /* copy_file_range(2) */
    struct blob *data, *chunk;         /* WRITE: all, and the part that is on its way */
    uint64_t chunk_size;
    uint64_t attr_version, epoch; /* when the last request was sent */
    int read_err;
    uint64_t update_ino, update_fh; /* of call_update_attributes() */
    bool update_applied;
    void (*updated)(struct call *c);
    /* path walk */
    void (*restart)(struct call *c); /* once, when something was stale (ESTALE) */
    bool reval, reval_last;          /* LOOKUP_REVAL; _EXCL, _RENAME_TARGET */
    char path[PATH_SPACE], path2[PATH_SPACE];
    const char *rest;
    uint64_t dir, ino; /* where it is; what the last component is, 0: nothing */
    char last[NAME_SPACE];
    void (*walked)(struct call *c), (*parent_walked)(struct call *c);
    void (*whole_walked)(struct call *c);
    uint64_t to_dir;
    char to_last[NAME_SPACE];
    uint64_t from_dir, from_ino; /* RENAME, LINK: of the first path */
    char from_last[NAME_SPACE];
    uint64_t listing, cookie; /* READDIR */
    uint64_t dentry;          /* serial of the one that a LOOKUP revalidates */
    uint64_t locked[2];       /* inodes whose lock it owns */
    uint64_t locked_shared;   /* the one whose lock it shares */
    bool wants_shared;        /* while it waits for one */
    uint64_t held[16];        /* inodes it keeps busy */
    vec_of(char *) names;
    struct sys_result result;
};

struct kernel {
    struct mount *mount;
    struct process *process;
    struct map pending;     /* id -> struct pending */
    vec_of(uint64_t) queue; /* ids that the daemon has not read yet */
    uint64_t next_id, next_fd, next_dentry, next_listing;
    struct map nodes, files;
    struct map names; /* hash of directory and name -> struct dentry */
    vec_of(uint64_t) stood_in;
    uint64_t attr_version, epoch;
    bool has_epoch, closing;
    vec_of(uint64_t) notify_data; /* the helper's queue */
    bool notifier_planned, notifier_began;
};

/* ---- kernel.c -------------------------------------------------------------------------------- */

/* NULL: that process's kernel has died. */
struct kernel *kernel_of(uint32_t process);
uint64_t kernel_new_id(struct kernel *k);
/* Sends something whose answer nobody waits for. */
void kernel_submit_silent(struct kernel *k, const struct client_op *op);
void pending_submit(struct kernel *k, struct pending *p, const struct client_op *op);

/* ---- kernel_calls.c -------------------------------------------------------------------------- */

struct call *call_new(struct kernel *k, sys_done *done, void *ctx);
/* Ends it. `err` != 0: of the result only that counts. */
void call_end(struct call *c, int err);
/* Sends `op` to the daemon; goes on with `step` when the caller has heard the answer. */
void call_submit(struct call *c, const struct client_op *op, void (*step)(struct call *c));
/* Goes on with `step` a moment later. */
void call_wake(struct call *c, void (*step)(struct call *c));
void call_wake_at(struct call *c, time_us at, void (*step)(struct call *c));
/* Takes the inode's lock, then goes on with `step`. */
void call_lock(struct call *c, uint64_t ino, void (*step)(struct call *c));
/* False: it is not free, and `c` does not wait for it. */
bool call_lock_now(struct call *c, uint64_t ino);
/* Likewise, together with others that share it. */
void call_lock_shared(struct call *c, uint64_t ino, void (*step)(struct call *c));
bool call_owns(const struct call *c, uint64_t ino);
void call_unlock(struct call *c);
void call_unlock_shared(struct call *c);
/* Keeps an inode in memory until the end of the call. */
void call_hold(struct call *c, struct knode *n);
/* Its answer came; it is heard of a moment later. */
void call_answered(struct kernel *k, struct pending *p, const struct client_result *r);
void call_go_on_later(struct call *c);
void call_free(struct call *c);

/* ---- kernel_inodes.c ------------------------------------------------------------------------- */

struct knode *node_find(struct kernel *k, uint64_t ino);
struct knode *node_get(struct kernel *k, uint64_t ino);
/* Forgets it when nothing refers to it. */
void node_settle(struct kernel *k, struct knode *n);
/* fuse_change_attributes_common(), but for the size. */
void node_take_attributes(struct kernel *k, struct knode *n, const struct Fs__Attr *attr,
                          time_us valid);
/* What stat(2) tells: of the answer, if it asked, else of the inode. */
void call_tell_attributes(struct call *c);
/* fuse_change_attributes(); version 0: whatever happened meanwhile. */
void node_change_attributes(struct kernel *k, struct knode *n, const struct Fs__Attr *attr,
                            time_us valid, uint64_t version);
/* A write, truncate or unlink of this mount is over. */
void node_changed_here(struct kernel *k, struct knode *n);
bool node_attr_valid(const struct kernel *k, const struct knode *n, uint32_t mask);
/* fuse_update_attributes(): GETATTR when a part of `mask` is not valid; then `step`, with a.err. */
void call_update_attributes(struct call *c, uint64_t ino, uint64_t fh, uint32_t mask,
                            void (*step)(struct call *c));
/* invalidate_inode_pages2(). Locked ones go when their READ is answered. */
void node_drop_pages(struct knode *n);
/* A READ whose pages must go is still under way: whoever drops them waits. */
bool node_dropping(const struct knode *n);
void call_wait_pages(struct call *c, struct knode *n, void (*step)(struct call *c));
void node_wake_waiters(struct kernel *k, struct knode *n);
void page_free(struct knode *n, struct kpage *p);
void node_free(struct kernel *k, struct knode *n);

/* ---- kernel_files.c -------------------------------------------------------------------------- */

/* The file is there (c->ino): OPEN, then a descriptor. */
void data_open(struct call *c);
/* The descriptor goes: RELEASE, before it FLUSH when nobody waits for that. */
void data_close(struct kernel *k, struct open_file *f, bool flush);
struct open_file *data_new_file(struct call *c, uint64_t ino);
/* A call on a descriptor, whose inode it holds. */
struct call *call_on_file(struct kernel *k, uint64_t fd, sys_done *done, void *ctx);
struct open_file *call_file(struct call *c);

/* ---- kernel_read.c --------------------------------------------------------------------------- */

uint64_t data_pages_of(uint64_t size);

/* ---- kernel_names.c -------------------------------------------------------------------------- */

/* Resolves `path` up to its last component, which is not looked up: c->dir, c->last. */
void names_parent(struct call *c, const char *path, void (*walked)(struct call *c));
/* Looks c->last up in c->dir: c->ino, 0 when there is none. */
void names_last(struct call *c, void (*walked)(struct call *c));
/* Both. */
void names_walk(struct call *c, const char *path, void (*walked)(struct call *c));
/* A name as an answer of the daemon tells it (fuse_iget, d_splice_alias). */
void names_learn(struct kernel *k, uint64_t dir, const char *name, uint64_t ino, time_us valid,
                 uint64_t epoch);
void names_free(struct kernel *k);
struct dentry *dentry_find(const struct kernel *k, uint64_t dir, const char *name);
void dentry_drop(struct kernel *k, uint64_t dir, const char *name);
void names_dir_changed(struct kernel *k, uint64_t dir);
struct knode *names_take_entry(struct call *c, const char *name, uint64_t version);
/* A call that begins with `begin`, and does so once more when something was stale. */
struct call *call_on_path(struct kernel *k, const char *path, const char *path2, sys_done *done,
                          void *ctx, void (*begin)(struct call *c));

#endif
