/* One mount: kernel requests in, messages to the nodes out, answers and invalidations back.
 *
 * Holds the session, its token, the cached attributes and names under read promises, the write
 * leases and the write buffer, the COMMITs not yet known committed, and the retry over leader
 * changes. Pure; the driver owns links, clocks and the kernel's descriptor. Sources: RULES B8-B11,
 * B13, L1-L10; FUSE.md for what the kernel needs. */
#ifndef TALLY_FS_CLIENT_CLIENT_H
#define TALLY_FS_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/core/fs.pb-c.h"
#include "repl/base/block.h"
#include "repl/base/mem.h"
#include "repl/base/time.h"
#include "repl/base/trace.h"

struct client;

enum client_consistency { CLIENT_LINEARIZABLE, CLIENT_SESSION };

/* Which reads are recorded, as mount(8) has it. */
enum client_atime { CLIENT_RELATIME, CLIENT_NOATIME, CLIENT_STRICTATIME };

struct client_config {
    uint32_t copies, witnesses; /* masks of node ids */
    uint32_t read_order[32];    /* copies, nearest first */
    uint32_t read_order_count;
    enum client_consistency consistency;
    bool read_only;
    enum client_atime atime;
    bool nodiratime;
    bool local_names;      /* names change here first, under directory leases (RULES D1); else every
                              change is committed before it is answered */
    bool name_cache;       /* the kernel can be told to ask all names again (FUSE_NOTIFY_INC_EPOCH);
                              without it entry_valid is always 0 */
    time_us deadline_us;   /* of every operation: 30 s unless the user says otherwise */
    time_us lease_us;      /* T of RULES L1 until the leader names another */
    uint64_t buffer_bytes; /* cap of the write buffer, dirty and in flight: 64 MiB */
    uint64_t kept_bytes;   /* cap of committed pages kept under write leases; 0: none are */
    uint32_t inline_max;   /* COMMITs with so many bytes travel inside the entry: 64 KiB */
    uint8_t uuid[16];      /* new for each life of the mount */
    char name[128];        /* host:mountpoint, for people */
    /* From the token file of the mount's earlier life; zeros when there was none. */
    uint64_t old_session;
    uint8_t old_uuid[16];
    uint64_t token; /* RULES L10: log index that reads must have applied */
    struct trace trace;
};

struct client *client_new(const struct client_config *config);
void client_free(struct client *c);

/* ---- operations ------------------------------------------------------------------------------ */

enum client_op_kind {
    CLIENT_LOOKUP,  /* parent, name -> attr, entry_valid; ENOENT with entry_valid: negative entry */
    CLIENT_FORGET,  /* ino, nlookup: no answer */
    CLIENT_GETATTR, /* ino */
    CLIENT_SETATTR, /* ino, set: mask FS_SETATTR_* of fs.proto plus CLIENT_SET_SIZE; attr fields */
    CLIENT_READLINK, /* ino -> data */
    CLIENT_MAKE,   /* parent, name, mode, rdev, uid, gid, data = symlink target, flags = open flags
                      when open is set -> attr, fh */
    CLIENT_UNLINK, /* parent, name */
    CLIENT_RMDIR,
    CLIENT_RENAME,   /* parent, name, newparent, newname, flags */
    CLIENT_LINK,     /* ino, newparent, newname -> attr */
    CLIENT_OPEN,     /* ino, flags -> fh, keep_cache, direct_io */
    CLIENT_RELEASE,  /* ino, fh: answered at once */
    CLIENT_READ,     /* ino, fh, offset, size -> slices */
    CLIENT_WRITE,    /* ino, fh, flags (O_APPEND counts), offset, data -> written */
    CLIENT_ALLOCATE, /* ino, fh, offset, size, flags: FALLOC_FL_* of fallocate(2) */
    CLIENT_COPY,  /* ino, fh, offset, size, to_ino, to_fh, to_offset -> written: copy_file_range(2);
                     EOPNOTSUPP: by reading and writing only */
    CLIENT_SEEK,  /* ino, fh, offset, hole: SEEK_HOLE, else SEEK_DATA -> offset; ENXIO: none */
    CLIENT_FLUSH, /* ino, fh, lock.owner: close(2), RULES B9; its POSIX locks end */
    CLIENT_FSYNC, /* ino, fh */
    CLIENT_FSYNCDIR,   /* ino */
    CLIENT_READDIR,    /* ino, fh = any number of the open directory's own, offset = cookie, size =
                          entries wanted, plus -> entries */
    CLIENT_RELEASEDIR, /* fh: answered at once */
    CLIENT_STATFS,
    CLIENT_SETXATTR,  /* ino, name, data, flags */
    CLIENT_GETXATTR,  /* ino, name -> data */
    CLIENT_LISTXATTR, /* ino -> data */
    CLIENT_REMOVEXATTR,
    CLIENT_SETLK,    /* ino, fh, lock: EAGAIN when another's is in the way and it does not wait */
    CLIENT_GETLK,    /* ino, fh, lock -> lock: one that is in its way, or CLIENT_LOCK_NONE */
    CLIENT_SYNC_ALL, /* everything dirty of every file, committed: unmount, SIGTERM */
};

#define CLIENT_SET_SIZE 0x100u

enum client_lock_type { CLIENT_LOCK_NONE, CLIENT_LOCK_READ, CLIENT_LOCK_WRITE };

struct client_lock {
    uint64_t owner;       /* the kernel's lock_owner */
    uint64_t first, last; /* bytes, both included */
    enum client_lock_type type;
    bool flock; /* flock(2); else POSIX and OFD */
    bool wait;  /* has no deadline */
    uint32_t pid;
};

struct client_op {
    uint64_t id; /* the driver's, unique while unanswered */
    enum client_op_kind kind;
    uint64_t ino, parent, newparent;
    const char *name, *newname; /* borrowed for the call */
    uint32_t mode, umask, uid, gid, flags, set;
    uint64_t rdev;
    uint64_t fh;
    uint64_t offset, size;
    uint64_t to_ino, to_fh, to_offset; /* COPY */
    int64_t atime, mtime, ctime;       /* ns; SETATTR */
    uint64_t nlookup;
    bool plus;
    bool hole;         /* SEEK */
    bool open;         /* MAKE: also open it (FUSE CREATE) */
    bool nameless;     /* MAKE: O_TMPFILE, `name` is empty; LINK gives it one */
    bool kill_sgid;    /* SETXATTR of an access ACL: the caller may not keep the setgid bit */
    bool kill_setid;   /* WRITE, ALLOCATE, COPY, SETATTR: he may not keep set-id bits (privs.c) */
    bool written_back; /* WRITE: of a mapping, by nobody in particular */
    struct client_lock lock;
    struct blob *data; /* borrowed; the client takes a reference when it keeps it */
};

struct client_slice { /* bytes of an answer: blob == NULL means zeros */
    struct blob *blob;
    uint32_t offset, size;
};

struct client_dirent {
    const char *name; /* NUL-terminated, good until the effect is cleared */
    uint64_t ino, cookie;
    uint32_t type; /* mode & S_IFMT */
    bool has_attr;
    struct Fs__Attr attr;
    time_us attr_valid_us, entry_valid_us;
};

struct client_result {
    int err; /* 0 or a positive errno */
    struct Fs__Attr attr;
    time_us attr_valid_us, entry_valid_us;
    uint64_t fh;
    bool keep_cache, direct_io;
    uint64_t moved, moved_back; /* RENAME: the inode; exchanged with this one */
    bool nothing_done; /* RENAME: both names were of one file (only its maker's history asks) */
    /* Not committed yet: done here, at this place of this session's queue (its history asks). For
     * FLUSH: the place of what made the file. */
    uint64_t q, q_session;
    uint64_t written;
    uint64_t offset; /* SEEK */
    struct client_lock lock;
    struct client_slice *slices;
    size_t slices_count;
    struct client_dirent *entries;
    size_t entries_count;
    struct blob *data;
    uint64_t total_bytes, free_bytes, inodes;
};

/* ---- events and effects ---------------------------------------------------------------------- */

enum client_event_kind {
    CLIENT_EV_OP,     /* op */
    CLIENT_EV_CANCEL, /* op_id: its caller is being killed; answered EINTR at once, work that must
                         go on goes on */
    CLIENT_EV_INTERRUPT, /* op_id: its caller has a signal: who waits for a lock does so no longer
                          */
    CLIENT_EV_LINK_UP,   /* node, store_boot (of its store opening, RULES B9) */
    CLIENT_EV_LINK_DOWN, /* node */
    CLIENT_EV_REPLY,     /* node, reply, bulk */
    CLIENT_EV_PUT_REPLY, /* node, put_reply */
    CLIENT_EV_TICK,
    CLIENT_EV_STOP, /* commit everything, release the leases, end the session, then effect
                       CLIENT_STOPPED */
};

struct client_event {
    enum client_event_kind kind;
    time_us now; /* CLOCK_BOOTTIME */
    int64_t wall_ns;
    const struct client_op *op;
    uint64_t op_id;
    uint32_t node;
    uint64_t store_boot;
    const struct Fs__Reply *reply; /* borrowed */
    const struct Fs__BlockPutReply *put_reply;
    struct blob *bulk; /* borrowed */
};

enum client_effect_kind {
    CLIENT_SEND,         /* request to node; inline bytes in blobs */
    CLIENT_PUT,          /* put to node, its bytes in blobs */
    CLIENT_REPLY,        /* result of op_id */
    CLIENT_NOTIFY_ATTR,  /* attributes of ino are no longer valid in the kernel: FUSE notify off=-1;
                            never blocks */
    CLIENT_NOTIFY_DATA,  /* pages of ino: off=0, on the driver's helper thread; nobody waits */
    CLIENT_NOTIFY_NAMES, /* all names: FUSE_NOTIFY_INC_EPOCH */
    CLIENT_NOTIFY_PRUNE, /* ino: forgotten unless a program has it: FUSE_NOTIFY_PRUNE, where it is
                            known; never blocks */
    CLIENT_TOKEN, /* keep {session, uuid, token} in the mount's token file (atomically, need not be
                     synced) */
    CLIENT_LOG,   /* text, for the log: sessions lost, data dropped, ... */
    CLIENT_STOPPED,
};

struct client_effect {
    enum client_effect_kind kind;
    uint32_t node;
    const struct Fs__Request *request; /* good until client_out_clear: pack it, don't keep it */
    const struct Fs__BlockPut *put;    /* likewise */
    void *hold;                        /* what keeps them alive; the client's own business */
    struct blob **blobs;               /* owned array of owned references: the frame's bulk part */
    size_t blobs_count;
    uint64_t op_id;
    struct client_result result; /* owned */
    uint64_t ino;
    uint64_t session, token;
    char *text; /* owned */
};

struct client_out {
    struct client_effect *effects;
    size_t count, capacity;
    time_us wake_at; /* 0: none */
};
void client_out_clear(struct client_out *out);

/* One step; `out` is appended to. Effects are carried out in order: in particular a NOTIFY that
 * precedes a SEND (the recall's acknowledgement) reaches the kernel first (RULES L6). */
void client_step(struct client *c, const struct client_event *ev, struct client_out *out);

/* For `tally explain` and `tally status`. */
struct client_stats {
    uint64_t session, token, term;
    uint32_t leader;
    uint64_t dirty_bytes, inflight_bytes;
    size_t uncommitted; /* changes of names, and files with changes, with bytes or without */
    size_t ops_waiting, leases, cached_attrs, cached_names, open_files;
    bool lease_valid;
    time_us oldest_wait_us;
};
struct client_stats client_stats(const struct client *c, time_us now);
/* One line per operation that waits (ino != 0: only those on it): what, since when, for whom, until
 * when. */
void client_explain(const struct client *c, time_us now, uint64_t ino,
                    void (*line)(void *ctx, const char *text), void *ctx);

#endif
