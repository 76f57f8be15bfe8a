/* Attributes and names, the promises they are known under, and what the kernel was told of them. */
#ifndef TALLY_FS_CLIENT_CACHE_H
#define TALLY_FS_CLIENT_CACHE_H

#include "fs/client/internal.h"
#include "fs/client/look_ahead.h"

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

#endif
