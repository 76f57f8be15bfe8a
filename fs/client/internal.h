/* What the client's files share: the objects they all touch, and each file's calls.
 *
 * Reading order: op (a kernel request and what it waits for), rpc (a request to the nodes), inode
 * (attributes, names, promises), file (write lease, dirty pages, commits). read.h: reads. */
#ifndef TALLY_FS_CLIENT_INTERNAL_H
#define TALLY_FS_CLIENT_INTERNAL_H

#include "fs/client/buffer.h"
#include "fs/client/client.h"
#include "fs/core/state.h"
#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"

#define ROOT_INO       1u
#define NAME_BYTES_MAX 255u
#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX)
#define NODES_MAX      32u

#define ATTRS_MAX          65536u /* cached inodes and names: a cap against growth without end */
#define NAMES_MAX          131072u
#define LEASES_MAX         16384u /* RULES L1 */
#define LEASES_PER_RELEASE 512u
#define RELEASED_MAX       65536u /* remembered ends of leases */
#define SEQ_WINDOW         64u    /* operations of a session outstanding at once */
#define ROOT_LISTING_MAX   4096u

#define BACKOFF_MIN (5 * TIME_MS)
#define BACKOFF_MAX (100 * TIME_MS)
#define HEDGE_DELAY                                                                                \
    (300 * TIME_MS) /* a copy that says nothing for so long: ask the next one too                  \
                     */
#define SILENT_COPY     (5 * TIME_S)
#define LEADER_SILENCE  (300 * TIME_MS)
#define PUT_PATIENCE    (20 * TIME_MS) /* RULES B5: then the leader pushes the bytes itself */
#define COMMIT_DELAY    (1 * TIME_S)   /* RULES B9 */
#define COMMIT_BYTES    (4u << 20)
#define SYNCED_EACH     3 /* so many writes in a row, each with an fsync: the next will have one */
#define WALK_AGAIN      TIME_S /* how long the next try of a call that met ESTALE may take */
#define LEASE_HOLD_MIN  (10 * TIME_MS)  /* RULES L1 */
#define LEASE_HOLD_READ (1 * TIME_S)    /* ... while the first write reads the rest of its page */
#define NEWS_TAKEN_IN   (100 * TIME_MS) /* from an answer to its caller's next instruction */
#define LEASE_IDLE      (2 * TIME_S)    /* then it is given back before anybody asks */
#define ATIME_DELAY     (30 * TIME_S) /* a read is recorded after so long, or with so many others */
#define ATIMES_PER_OP   FS_ATIMES_MAX
#define ATIMES_MAX      16384u /* while nobody can be told; beyond it reads are not recorded */
#define STALE_ROOT_DELAY                                                                           \
    (1 * TIME_S) /* without a leader for so long: df and ls of the root answer anyway */
#define RESERVE_CHUNK   (16u << 20) /* RULES B13 */
#define COMMIT_OVERHEAD FS_PAGE     /* of space, beside whole pages */

/* ---- timers: one list per class, so that setting one of a usual delay is O(1) ---------------- */

enum timer_class {
    TIMER_OP,
    TIMER_ROOT,
    TIMER_HEDGE,
    TIMER_PUT,
    TIMER_DIRTY,
    TIMER_HOLD,
    TIMER_RETRY,
    TIMER_SESSION,
    TIMER_ATIME,
    TIMER_QUEUE,
    TIMER_TAKEN,
    TIMER_CLASSES
};

struct timer {
    struct list link;
    time_us at;
    void (*fire)(struct client *c, struct timer *t);
};

void timer_init(struct timer *t);
void timer_set(struct client *c, enum timer_class k, struct timer *t, time_us at,
               void (*fire)(struct client *, struct timer *));
void timer_clear(struct timer *t);
static inline bool timer_running(const struct timer *t)
{
    return list_linked(&t->link);
}

/* ---- op.c: a kernel request that is not finished --------------------------------------------- */

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

/* ---- rpc.c: requests to nodes, repeated until answered --------------------------------------- */

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
/* One way, not repeated. Takes req. */
void rpc_post(struct client *c, struct Fs__Request *req);
/* The error an answer amounts to: transport, request or operation. */
int rpc_error(const struct rpc *r, const struct Fs__Reply *reply);
/* The oldest request that the leader should have answered soon; NULL: none. */
const struct rpc *rpc_oldest(const struct client *c);
uint64_t rpc_oldest_id(const struct client *c);

/* ---- session.c ------------------------------------------------------------------------------- */

enum session_state { SESSION_NONE, SESSION_OPENING, SESSION_LIVE };

void session_start(struct client *c);
/* May promises and leases be relied on now (RULES L9)? */
bool session_lease_valid(const struct client *c);
void session_lost(struct client *c, uint64_t session);
void session_lapse(struct client *c);
/* Ends it: what was done in it can't be relied on any more. */
void session_break(struct client *c);
void session_note_reply(struct client *c, uint32_t node, const struct Fs__Reply *reply);
void session_find_leader(struct client *c);
void session_schedule(struct client *c);
void session_save_token(struct client *c);
bool session_leader_usable(const struct client *c);
/* RULES B13. Takes `bytes` of the reservation; false: not there, ask for more with session_reserve.
 */
bool session_take_space(struct client *c, uint64_t bytes);
void session_reserve(struct client *c, uint64_t bytes);
void session_drop_holds(struct client *c, uint64_t ino);
/* It is being given back: who opens it now comes too late. */
bool session_drops_hold(const struct client *c, uint64_t ino);
void session_stop(struct client *c);
/* Called when something a stop waits for may be done. */
void session_stop_next(struct client *c);

/* ---- cache.c: attributes and names ----------------------------------------------------------- */

struct commit;

/* Of a directory whose names are promised, since then. */
struct look_ahead {
    uint64_t after;      /* the cookie up to which entries came */
    uint32_t page;       /* so many were asked for last */
    uint32_t came, hits; /* entries; look-ups answered without a question */
    uint32_t misses;     /* and those that were not */
    bool asked, over;    /* under way; there are no more, or none that count */
};

struct inode {
    uint64_t ino;
    struct list lru;
    struct Fs__Attr attr; /* newest committed attributes seen */
    bool known;           /* `attr` is filled in */
    bool promised;        /* ATTR */
    bool names_promised;  /* NAMES, of a directory */
    uint32_t busy[2];     /* own changes outstanding, by enum busy_kind */
    uint32_t opening, opens;
    time_us wanted_until; /* counts as open: a path walk that failed before has found it again */
    uint32_t denied;      /* own removals under way that were told that it is not open here */
    uint32_t locks_lost;  /* open files that lost their locks */
    bool orphan;          /* may be kept only by our hold: told when the last handle closes */
    /* RULES D1, local.h */
    struct dir *dir;           /* its lease; NULL: none */
    uint32_t queued;           /* operations on it that are not committed */
    uint64_t last_q, made_q;   /* the last of them; the one that makes it; 0: none ever */
    uint64_t times_q;          /* the last that set atime or mtime */
    uint64_t home, home_epoch; /* made here, in this directory under this lease of it ... */
    uint32_t home_strangers;
    uint64_t from, from_epoch; /* ... or moved there from this one, under that lease; 0: not */
    uint32_t from_strangers;
    struct list private_link; /* of `home`: dir.private_told */
    bool told_alone;          /* not made here, so others may have it open, and be quiet */
    int lost;                 /* changes of it that no descriptor tells: the error to tell once */
    time_us dir_banned;       /* its lease is not asked for until then */
    bool listed;              /* a program read its names here */
    uint32_t removals;        /* of names of it */
    uint64_t nlookup;
    time_us kernel_until; /* the kernel may use attributes it was given until then ... */
    time_us names_until;  /* ... and names of this directory */
    bool unconfirmed;     /* given with a name, and nothing shows yet that the kernel has it */
    bool recheck;         /* they went stale before that */
    bool sent;            /* attributes were given to the kernel: these */
    uint64_t sent_version, sent_size;
    int64_t sent_mtime;
    bool pages_behind;      /* ... but the kernel keeps its pages until it is given others */
    time_us news_until;     /* callers may not have taken in what changed for the kernel ... */
    uint64_t end_before;    /* ... the furthest end of the file among what it had before */
    uint64_t pages_version; /* data version of the pages the kernel may have; 0 none known */
    int disguise;           /* so many ns earlier than it was its time was told last */
    uint64_t lost_end;      /* it may know this end of the file, which went with lost bytes */
    struct file *file;
    struct list names;    /* of this directory: struct name */
    struct list getattrs; /* GETATTRs that the kernel has sent and that wait for the leader */
    struct look_ahead ahead;
    int64_t read_at; /* by a program here, not told to the leader; 0: not */
    uint64_t read_version;
    uint32_t atimes_set;    /* goes up when the access time is set by hand */
    struct list atime_link; /* client.atimes */
};

struct name {
    struct list in_dir, lru;
    struct name *next; /* same hash */
    struct inode *dir;
    uint64_t hash, ino; /* ino 0: promised to be absent */
    bool fresh;         /* learned under the promise or lease that is held now; else only a hint */
    uint64_t q;         /* changed here: by this operation of the queue */
    uint64_t cookie;    /* given here, local.h */
    size_t len;
    char bytes[];
};

struct inode *inode_get(struct client *c, uint64_t ino); /* made when missing */
struct inode *inode_find(const struct client *c, uint64_t ino);
/* It counts as open when somebody asks: its last name may go, the file is kept. */
bool inode_wanted(const struct client *c, const struct inode *i);
/* Linux opens fifos and devices without asking: one may be open as long as it knows the inode. */
bool inode_opened_unseen(const struct inode *i);
/* Frees it when nothing needs it; else keeps it, the least recently used go first. */
void inode_settle(struct client *c, struct inode *i);
/* Takes newer attributes over; true when they are the newest. */
bool inode_learn(struct client *c, struct inode *i, const struct Fs__Attr *attr);
/* As inode_learn, plus the promise when `granted`. */
struct inode *cache_learn(struct client *c, const struct Fs__Attr *attr, bool granted);
/* Attributes with what is buffered here on top. */
struct Fs__Attr inode_now(const struct client *c, const struct inode *i);
bool inode_attr_fresh(const struct client *c, const struct inode *i);
bool inode_data_fresh(const struct client *c, const struct inode *i);
time_us inode_attr_valid(const struct client *c, const struct inode *i);
/* Does it hold a promise or a lease of its own, which somebody asks back before he changes it? */
bool inode_asked_back(const struct inode *i);
/* What an answer is to the kernel. */
struct inode_told {
    bool news;      /* of other data than it was told of before, or has pages of */
    bool disguised; /* it may have such pages, of a file that looked the same: see to them */
};
/* Fills the answer's attributes and remembers what the kernel now knows (RULES L6). */
struct inode_told inode_answer(struct client *c, struct inode *i, struct Fs__Attr *ret_attr,
                               time_us *ret_valid);
/* The furthest end of the file that the kernel may know. */
uint64_t inode_kernel_end(const struct client *c, const struct inode *i);
/* inode_answer() of an inode that is looked up. */
void inode_answer_lookup(struct client *c, struct inode *i, struct Fs__Attr *ret_attr,
                         time_us *ret_valid);
/* The kernel names it in a request: it has taken in what it was told about it. One that asks for
 * its attributes gets new ones; a notification would make the kernel ignore them. */
void inode_confirm(struct client *c, uint64_t ino, bool asks);
void inode_invalidate_kernel(struct client *c, struct inode *i);
void cache_drop_attr(struct client *c, uint64_t ino);
void cache_drop_names(struct client *c, uint64_t dir);
/* A rename took a name from one directory to another (RULES L6). */
void cache_name_moved(struct client *c, const struct inode *from, struct inode *to);
/* No promise is held any more; the kernel is told. */
void cache_drop_all(struct client *c);
void cache_free(struct client *c);
bool dir_names_fresh(const struct client *c, const struct inode *dir);
time_us dir_entry_valid(const struct client *c, const struct inode *dir);
struct name *name_find(const struct client *c, uint64_t dir, const char *name);
/* From an answer: what was changed here since, and is on its way to the log, stays. */
void name_learn(struct client *c, struct inode *dir, const char *name, size_t len, uint64_t ino);
struct name *name_put(struct client *c, struct inode *dir, const char *name, size_t len,
                      uint64_t ino);
void name_forget(struct client *c, uint64_t dir, const char *name);
/* RULES L5: does this answer's grant count? */
bool grant_counts(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                  Fs__Object__Kind kind, uint64_t ino);
/* The same for one entry of a listing. */
bool grant_counts_entry(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                        const struct Fs__Entry *entry);
/* NAMES of `dir` as this answer grants them. */
void cache_learn_names(struct client *c, const struct rpc *r, const struct Fs__Reply *reply,
                       struct inode *dir);

/* ---- file.c: the write lease and its data ---------------------------------------------------- */

enum lease_state { LEASE_NONE, LEASE_ASKING, LEASE_HELD };

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

/* ---- look_ahead.c ---------------------------------------------------------------------------- */

/* A look-up in the directory had to ask. */
void look_ahead(struct client *c, uint64_t dir);
/* Names go from a directory that is leased here: true when a page of them is under way. */
bool look_ahead_for_removal(struct client *c, struct inode *dir);

/* ---- atime.c --------------------------------------------------------------------------------- */

/* A program read from it, by a descriptor with `flags`. */
void atime_read(struct client *c, struct inode *i, uint32_t flags);
/* READ begins, and ends well. Linux reads ahead, and the program may long have gone on: when the
 * access time was set by hand in between, that comes behind the read. */
void atime_read_begins(struct op *op, const struct inode *i);
void atime_read_ends(struct client *c, const struct op *op, struct inode *i);
/* It was opened, and the kernel will answer reads from its own pages: taken for the first of them.
 */
void atime_open(struct client *c, struct inode *i, uint32_t flags);
/* Programs at other mounts read. */
void atime_heard(struct client *c, const struct Fs__Atimes *m);
/* The access time is being set by hand, or was: what was read before does not count. */
void atime_set(struct client *c, uint64_t ino);
/* Tells the leader when there is something to tell and time. */
void atime_schedule(struct client *c);
/* Tells the leader now; true: nothing is on its way. */
bool atime_flush(struct client *c);

/* ---- commit.c -------------------------------------------------------------------------------- */

struct block_out {
    uint32_t refs; /* the commit and the effects that name `put` */
    struct Fs__Block pb;
    struct Fs__BlockPut put;
    uint64_t runs[BLOCK_RUNS_MAX];
    struct blob *bytes;
    uint32_t acked, asked; /* masks of nodes */
    struct commit *commit;
};

struct commit {
    struct list all, in_file;
    struct file *file;
    uint64_t serial; /* over all files of this client */
    uint64_t epoch, no_c;
    struct layer layer;
    uint64_t size;
    int64_t mtime, atime;
    struct block_out **blocks;
    size_t blocks_count;
    uint64_t bytes, space; /* of the buffer; of the reservation */
    uint64_t cost;         /* what apply will take of the reservation */
    bool inline_bytes, accepted;
    bool tell_accepted; /* somebody goes on then already */
    bool refers;
    struct reference reference;
    uint64_t after_q;           /* RULES B2: what was done to the inode before it goes first ... */
    struct list held;           /* ... and it waits for that: client.held_commits, in order */
    struct Fs__Commit *message; /* until the request has it */
    struct timer put_timer;
    time_us put_delay;
    struct rpc *rpc;
};

/* Names the blocks and sends them, or everything. */
void commit_start(struct client *c, struct commit *k);
/* Out of all tables. */
void commit_free(struct client *c, struct commit *k);
void commit_on_put_reply(struct client *c, uint32_t node, const struct Fs__BlockPutReply *reply);
void commit_on_link_up(struct client *c, uint32_t node, bool new_store);
void commit_on_targets(struct client *c);
/* More of the queue is sent or committed: sends what waited for it. */
void commit_release_held(struct client *c);
/* Answers the operations whose commits are done. */
void commit_wake(struct client *c);
/* Are the commits that `op` waits for done (for FLUSH: accepted)? */
bool commit_reached(const struct client *c, const struct op *op);
/* Waits for them, then the operation runs again. */
void commit_wait(struct client *c, struct op *op, uint64_t ino, uint64_t until);
void block_out_unref(struct block_out *b);

/* ---- recall.c -------------------------------------------------------------------------------- */

struct recall_object {
    Fs__Object__Kind kind;
    uint64_t ino;
};

struct recall { /* asked by the leader, not answered yet */
    struct list link;
    uint64_t n;
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

/* ---- around.c: what was read around another mount's lease --------------------------------------
 */

/* A copy answered `req` in the leader's stead. */
void around_note(struct client *c, const struct Fs__Request *req);
/* There is a leader: it is asked first for what was noted. */
void around_settle(struct client *c);
bool around_settled(const struct client *c);
/* Is `r` one that does not have to wait for that? */
bool around_lets(const struct client *c, const struct rpc *r);

/* ---- locks_here.c: locks that are not in the log, under a write lease -------------------------
 */

/* The lease of `f` that was just granted came with word that nobody else has a lock of it. */
void locks_granted_here(struct client *c, struct file *f);
/* Are they kept here now? Then whatever gives one back does that here. */
bool locks_here(const struct client *c, uint64_t ino);
/* And may one more be granted or refused here? */
bool locks_decided_here(const struct client *c, uint64_t ino);
/* Not so many parts yet that the log might not take them. */
bool locks_fit_here(const struct client *c, uint64_t ino);
/* Is one of this mount's in its way? That one in `ret`. */
bool locks_blocker(const struct client *c, uint64_t ino, const struct client_lock *lock,
                   struct client_lock *ret);
/* Sets it, or gives it back. */
void locks_set_here(struct client *c, uint64_t ino, const struct client_lock *lock);
/* The log did. */
void locks_logged(struct client *c, uint64_t ino, const struct client_lock *lock);
/* From now on, until the next lease, none is kept here. True: the log has them all; else they are
 * on their way, and then who waits for locks goes on, and a recall of the lease. */
bool locks_written(struct client *c, uint64_t ino);
bool locks_writing(const struct client *c, uint64_t ino);
/* The lease went without that: so did those that are not in the log. */
void locks_lease_lost(struct client *c, struct file *f);
/* The file has no name and is not open here, so none is held: what the log still has is given back,
 * since elsewhere it may be open. */
void locks_closed(struct client *c, uint64_t ino);
/* They ended with the session. */
void locks_all_gone(struct client *c);
void locks_here_free(struct client *c);

/* ---- ops_*.c: one function per operation, called by op_run ---------------------------------- */

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
/* Its question to the leader is of no interest any more. */
void op_withdraw_lock(struct client *c, const struct op *op);
/* FLUSH: true when it has to wait until the locks of its process are given back. */
bool op_closes_locks(struct client *c, struct op *op);
void handle_close_locks(struct client *c, struct handle *h);
bool handle_lost_locks(const struct client *c, uint64_t fh);
/* No lock was taken through it, or none was given to others yet: the session lives. Else the leader
 * has to be asked before an answer that relies on the lock. */
bool handle_locks_hold(const struct client *c, uint64_t fh);
/* The session that had them ended. */
void locks_lost(struct client *c);
/* So did those of one owner. */
void handles_lose_locks(struct client *c, uint64_t ino, uint64_t owner, bool flock);
void locks_free(struct client *c);
/* What waits for locks under way runs again. */
void lock_wake(struct client *c);
/* A request that sets or gives back a lock. */
struct rpc *lock_rpc(struct op *op, uint64_t ino, const struct client_lock *lock,
                     void (*done)(struct client *, struct rpc *, const struct Fs__Reply *,
                                  struct blob *));
/* Data operations at the head of their file's queue. True: finished (and freed); false: it waits.
 */
bool op_data_step(struct client *c, struct file *f, struct op *op);
bool copy_step(struct client *c, struct file *f, struct op *op);
bool allocate_step(struct client *c, struct file *f, struct op *op);
/* What changes of data need first; each is false when the operation waits for it (write.c). A
 * reservation of so many bytes in op->space: */
bool change_space_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes);
/* ... room for so many in the buffer: */
bool change_room_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes);
/* ... the content of a page that is kept in part, in change_current_page() then. */
bool change_base_ready(struct client *c, struct file *f, struct op *op, uint64_t no);
/* ... all that a write of the range leaves of its first and last page. */
bool change_edges_ready(struct client *c, struct file *f, struct op *op, uint64_t offset,
                        uint64_t size);
/* What page `no` holds now. False: not known yet. */
bool change_current_page(const struct client *c, const struct file *f, const struct op *op,
                         uint64_t no, struct page *ret);
void change_drop_old_base(const struct file *f, struct op *op);
/* Set-id bits and capabilities that do not outlive the change (privs.c). True: they are being
 * dropped, and the operation comes back to the queue. */
bool privs_drop_first(struct client *c, const struct file *f, struct op *op);
/* Out of the queue: it goes on when what it did is committed. */
void change_commit(struct client *c, struct file *f, struct op *op);
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

/* ---- the client ------------------------------------------------------------------------------ */

struct root_listing {
    vec_of(struct client_dirent) entries; /* names owned */
    bool complete;
    uint64_t next; /* cookie up to which it was gathered */
};

struct client {
    struct client_config config;
    /* Of the step under way. */
    time_us now;
    int64_t wall_ns;
    struct client_out *out;
    time_us wake_at;

    struct list timers[TIMER_CLASSES];

    struct {
        bool up;
        uint64_t boot;
        time_us silent_until; /* a copy that said nothing is asked last until then */
    } links[NODES_MAX];

    struct list ops;
    struct map ops_by_id;
    struct list commit_waiters; /* ops that wait for commits */
    struct list open_waiters;   /* ... or for own removals of what they open */
    struct list lock_waiters;   /* ... or for locks asked for by who closes */
    struct list unlocking;      /* locks on their way back: struct unlocking */
    size_t locking;             /* these and the SETLKs on their way */
    struct map locks;           /* ino -> struct locks: this session's, locks_here.c */
    struct list space_waiters;  /* files whose next operation waits for a reservation ... */
    struct list buffer_waiters; /* ... or for room in the buffer */
    struct list renew_waiters;  /* ... or for the session to be sure of its leases again */

    /* rpc */
    struct map rpcs;
    uint64_t next_id;
    struct list queue, queue_seq, sent,
        copies; /* waiting; waiting for room in the window; sent to the leader; sent to copies */
    struct list seqs;
    uint64_t next_seq;
    bool pumping;

    /* session */
    enum session_state state;
    uint64_t session;
    uint64_t term;
    uint32_t leader;
    unsigned bounces;
    time_us lease_until; /* RULES L9; 0: not valid */
    time_us lease_us;
    struct timer session_timer, probe_timer;
    time_us probe_delay;
    uint32_t probe_node;
    struct rpc *renew, *probe, *opening, *reserving, *holding;
    time_us renew_at, heard_at, probed_at;
    time_us leaderless_since; /* 0: there is one */
    uint64_t token, saved_token;
    uint32_t targets;
    uint64_t space, reserve_asked, reserve_need;
    bool space_refused;
    vec_of(uint64_t) drop_inos;
    vec_of(uint64_t) around; /* directories that were read while nobody led */
    struct rpc *settling;    /* asks the leader for one of them */
    bool stopping, stopped, ending;
    struct timer stop_timer;

    /* cache */
    time_us walk_again_until; /* some caller met ESTALE: what it finds now is kept for it */
    uint64_t reads_redone;    /* RULES L6 */
    struct map inodes, names;
    struct list inode_lru, name_lru;
    size_t names_count, lru_count;
    uint32_t cache_epoch;
    struct root_listing root;
    uint64_t total_bytes, free_bytes, total_inodes;
    bool statfs_known;

    /* reads not told yet: inodes, oldest first */
    struct list atimes;
    size_t atimes_count;
    struct timer atime_timer;
    struct rpc *atime_rpc;
    /* names changed here first (RULES D1, local.h) */
    struct list queued, queue_waiters; /* struct queued; ops that wait for some of them */
    size_t queued_count, queue_sent;
    uint64_t queue_last; /* over all sessions, so that a place reached stays so ... */
    uint64_t queue_base; /* ... and in the session's own count the places begin behind this */
    struct timer queue_timer;
    struct list dir_leases; /* held, least recently used first */
    size_t dir_leases_count;
    bool dirs_recalled; /* some are asked back, perhaps */
    struct fs_inodes inodes_now, inodes_later;
    uint64_t inodes_old_q; /* the grant before inodes_now was used up to this place */
    struct rpc *granting;
    struct list held_commits;
    bool breaking;

    /* recalls */
    struct list recalls;  /* not answered yet */
    struct list listings; /* answered, perhaps not taken in: listing.h */
    struct list recalled;
    struct map recalled_by_key;
    struct map released; /* ino -> struct lease_end */
    struct list released_order;

    /* files */
    struct map handles;
    uint64_t next_fh;
    struct list leases; /* held, least recently used first */
    size_t leases_count;
    struct list dirty_files;
    struct list commits; /* all not committed, in order */
    uint64_t commit_serial;
    uint64_t next_block;
    struct map blocks; /* n -> struct block_out */
    uint64_t dirty_bytes, inflight_bytes;
    struct list kept_files; /* with kept pages, least recently used first */
    uint64_t kept_bytes;
    bool sync_failed;
};

/* What statfs(2) answers, as of now. */
void client_learn_space(struct client *c, const struct Fs__StatfsReply *m);
struct client_effect *effect_add(struct client *c, enum client_effect_kind kind);
void client_log(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct Fs__Attr attr_plain(const struct Fs__Attr *attr);

#endif
