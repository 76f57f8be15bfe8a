/* A file's write lease and its data: what is dirty, what is on its way, who has it open. */
#ifndef TALLY_FS_CLIENT_FILE_H
#define TALLY_FS_CLIENT_FILE_H

#include "fs/client/buffer.h"
#include "fs/client/internal.h"

struct lock_owner {
    uint64_t owner;
    bool flock;
};

struct handle {
    uint64_t fh;
    struct list link;
    struct inode *inode;
    uint32_t flags;
    int error;                             /* of a commit; 0: none */
    bool error_told;                       /* by a write, and an fsync has yet to tell it */
    vec_of(struct lock_owner) lock_owners; /* who locked through it and did not close it since */
    bool locks_lost;                       /* with a session: it fails from now on */
};

struct file {
    struct inode *inode;
    enum lease_state lease;
    uint64_t epoch, next_c;
    time_us lease_since, used_at;
    bool written;          /* since the lease was granted */
    bool locks_here;       /* under this lease, locks are decided here (locks_here.c) */
    struct list lease_lru; /* client.leases */
    uint64_t size;         /* local; while the lease is held */
    int64_t mtime, atime;  /* atime 0: unchanged */
    struct layer dirty;
    struct layer kept;    /* committed pages, known under the lease (kept.c) */
    bool meta_dirty;      /* size or times changed */
    uint64_t dirty_space; /* of the reservation */
    struct timer commit_timer, hold_timer;
    struct list commits; /* in flight, oldest first */
    struct list handles;
    struct list queue; /* data operations, in order */
    bool pumping;
    bool atime_dirty;
    bool closing; /* a close asks for the next COMMIT, and goes on when that is accepted */
    unsigned unsynced,
        synced_each; /* writes since the last fsync; fsyncs behind one each, in a row */
    unsigned pins;   /* not freed now: its caller goes on with it */
    vec_of(struct recall *) recalls;
    struct rpc *lease_rpc;
    /* client.dirty_files, .space_waiters, .buffer_waiters, .renew_waiters, .kept_files */
    struct list dirty_link, space_link, buffer_link, renew_link, kept_link;
};

struct file *file_get(struct client *c, struct inode *i);
void file_settle(struct client *c, struct file *f);
bool file_dirty(const struct file *f);
bool file_busy(const struct file *f);
/* Starts a commit of everything dirty. Returns the serial that covers all changes so far, 0: none
 * open. */
uint64_t file_freeze(struct client *c, struct file *f);
/* Pages of another file, or of another place in this one, by reference (RULES B12). */
struct reference {
    uint64_t source_ino, source_page, source_version, first_page, pages;
};
/* A COMMIT of everything dirty, and behind it one of the reference, which takes `space` of the
 * reservation; the file has `size` bytes then. Returns its serial. Until it is done, nothing
 * changes the file's data (file_refers()), for nobody here knows what it brings. */
uint64_t file_refer(struct client *c, struct file *f, const struct reference *ref, uint64_t size,
                    uint64_t space);
bool file_refers(const struct file *f);
/* Some programs sync a file behind each write to it, as logs are. True: `f` was written, and the
 * fsync of it will come. */
bool file_fsync_is_near(struct file *f);
void file_note_fsync(struct file *f);
void file_freeze_all(struct client *c);
void file_mark_dirty(struct client *c, struct file *f);
/* The page as layers not committed yet have it; false: only the committed file knows. */
bool file_find_page(const struct file *f, uint64_t no, struct page *ret);
/* Whether page `no` has data in layers not committed yet, or none there: 1, 0; -1: the committed
 * file knows. The same holds of the pages up to *ret_end. */
int file_data_at(const struct file *f, uint64_t no, uint64_t *ret_end);
void file_enqueue(struct client *c, struct file *f, struct op *op);
void file_pump(struct client *c, struct file *f);
/* `f`'s inode has learned the attributes of the grant. `last_c`: COMMITs go on after it. */
void file_lease_granted(struct client *c, struct file *f, uint64_t epoch, uint64_t last_c);
/* Its inode is gone: nothing of it will be missed. */
void file_discard(struct client *c, struct file *f);
/* The lease is held and may be used for one more change; false: it will be, and the file pumped
 * then. */
bool file_lease_ready(struct client *c, struct file *f, struct op *op);
/* Size and times of a file with nothing uncommitted are those of its attributes. */
void file_follow_attr(struct file *f);
/* The lease may go, or be asked for again; if it was lost meanwhile, what waits for it asks too. */
void file_on_hold_over(struct client *c, struct timer *t);
/* An unlinked file that nothing here has open any more: our hold of it goes (RULES L7). */
void file_drop_hold(struct client *c, struct inode *i);
/* Forgets what is not on its way yet; returns the bytes. */
uint64_t file_drop_dirty(struct client *c, struct file *f);
/* Everything uncommitted is lost: told once per handle. Returns the bytes lost. */
uint64_t file_lost(struct client *c, struct file *f, int err);
/* Accounts for what a change made of the dirty layer, which had `pages_before` pages. */
void file_changed(struct client *c, struct file *f, struct op *op, size_t pages_before,
                  bool was_dirty);
void file_committed(struct client *c, struct commit *k);
void file_touch(struct client *c, struct file *f);
void file_release_idle(struct client *c);
void file_pump_space(struct client *c, int err);
void file_pump_buffer(struct client *c);
void file_pump_renewed(struct client *c);
struct handle *handle_new(struct client *c, struct inode *i, uint32_t flags);
bool handle_is_direct(uint32_t flags);
struct handle *handle_find(const struct client *c, uint64_t fh);
void handle_close(struct client *c, struct handle *h);
/* The error to tell at this descriptor. fsync(2) takes it. close(2) leaves it: also a child that
 * was forked closes the descriptor, at its exec for instance, and the parent's fsync must not find
 * all well. So does a write, once: Linux gives the error of a part of a write(2) that is not the
 * first one to nobody. */
int handle_error(const struct client *c, uint64_t fh);
int handle_take_error(struct client *c, uint64_t fh);
int handle_tell_error(struct client *c, uint64_t fh);
int64_t file_next_mtime(const struct client *c, const struct file *f);

#endif
