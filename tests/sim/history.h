/* What applications did and saw: the input of the checkers that know nothing of the inside.
 *
 * Applications are sequential: an app's operations don't overlap. An operation whose mount was
 * killed has no end (`end` 0) and may or may not have happened. So may one that ended with EIO,
 * ETIMEDOUT or EINTR. A file is known by its inode number (`file`), which is never used again.
 *
 * Pages of a history are units of 2 KiB, half of the filesystem's pages, so that writes of an odd
 * number of them, or from an odd one on, change a part of a page. A unit carries its stamp at its
 * start and its end, the latter mixed with its number in the file: a torn or misplaced one is seen
 * and reads as HISTORY_TORN. A read behind the end of the file reads zeros here. */
#ifndef TALLY_TESTS_SIM_HISTORY_H
#define TALLY_TESTS_SIM_HISTORY_H

#include "repl/base/mem.h"
#include "repl/base/vec.h"
#include "tests/sim/sim.h"

enum { HISTORY_UNIT = 2048, HISTORY_RECORD = 64 /* bytes, the least of a record */ };
#define HISTORY_TORN UINT64_MAX

enum history_kind {
    H_CREATE, /* path: made (O_EXCL) or, when not exclusive, made or opened -> file */
    H_WRITE,  /* file, units page .. page + pages - 1 get `stamp`; `bytes`: how much was written */
    H_READ,   /* file, page, pages -> `pages` stamps; `bytes` were there */
    H_FSYNC,  /* file */
    H_CLOSE,  /* file: flush; the descriptor is gone whatever it answers */
    H_TRUNCATE, /* file, to `pages` pages */
    H_STAT,     /* path or file -> ino, size, nlink, mtime, atime, mode (07777), uid */
    H_APPEND,   /* file, record `stamp` of `bytes` bytes, by O_APPEND */
    H_READ_ALL, /* append-only file -> the records found, in order, `torn` when bytes fit no record;
                   several read(2), each atomic, so what is appended meanwhile may be there in part:
                   `pages` says how many read(2) it took */
    H_UNLINK,
    H_RENAME, /* path -> path2 */
    H_LINK,
    H_MKDIR,
    H_RMDIR,
    H_LIST,          /* path -> stamps: hash64() of the names, sorted; `pages` READDIRs */
    H_SETXATTR,      /* path, stamp */
    H_GETXATTR,      /* path -> stamp */
    H_MOUNT_KILLED,  /* mount; `end` == `start` */
    H_MOUNT_STARTED, /* mount */
    H_OPEN,          /* path -> file: the name was resolved, nothing was made */
    H_SESSION_LOST,  /* mount has learned that its session has ended, `session`: what it had written
                        and not synced is lost since some moment before */
    H_NAMED,   /* file got a name by a RENAME from `start` to `end`: what had been written to it was
                  committed first (RULES B11) */
    H_SYMLINK, /* path, stamp: its target says it -> file */
    H_READLINK, /* path -> file, stamp */
    H_LOCK,     /* file, units page .. page + pages - 1, of bytes; exclusive: for writing */
    H_UNLOCK,   /* the same */
    H_PUNCH,    /* file, units page .. page + pages - 1 become zeros; the size stays */
    H_COPY,  /* file, page, pages -> `bytes`: they went to a file of the application's own. Once it
                has read them there this is a READ: it tells what they were meanwhile */
    H_CHMOD, /* path or file -> file; `mode` */
    H_CHOWN, /* ... `uid` */
    H_UTIMENS, /* ... `sets` and the times given */
};
/* What a UTIMENS sets; a time that is not given is the time of day. */
enum { SETS_MTIME = 1, SETS_ATIME = 2, GIVEN_MTIME = 4, GIVEN_ATIME = 8 };

struct history_op {
    enum history_kind kind;
    uint32_t mount, app; /* from 1; app 0: the mount itself */
    uint32_t life;       /* of the mount: another life, another process of that number */
    uint64_t session;    /* of the mount when it began, 0: none yet */
    time_us start, end;  /* true time; end 0: never ended */
    int err;
    uint64_t file; /* inode number, 0: not known */
    uint32_t page, pages;
    uint64_t stamp, bytes; /* stamps are unique over the run, never 0 */
    uint64_t size, nlink;
    uint64_t links; /* STAT: the names that only its application has given it; 0: not known */
    int64_t mtime, atime;
    uint32_t mode, uid, sets;
    uint64_t q,
        q_session; /* done by the mount alone, at this place of this session's queue; 0: no */
    bool reverted; /* it never got into the log: to be set by check_queue */
    bool torn;
    bool divided;       /* WRITE: the kernel made more than one request of it */
    bool leaderless;    /* LIST: the mount knew of no leader when it began */
    bool idle;          /* RENAME: both names were of one file, so nothing was done */
    bool exclusive;     /* RENAME: NOREPLACE; CREATE: O_EXCL; LOCK */
    bool guarded;       /* through a descriptor by which its application has a lock */
    char *path, *path2; /* owned */
    uint64_t *stamps;   /* READ: per unit; READ_ALL: per record; LIST: per name; owned */
    size_t stamps_count;
};

struct history {
    vec_of(struct history_op) ops; /* in order of their starts */
    uint32_t session_mounts; /* mask: those at consistency=session; the others: linearizable */
    time_us settled;         /* from here on nothing changes, and everybody knows it; 0: never */
};

void history_done(struct history *h);

/* What the operation saw may be late: its mount reads from any copy. */
static inline bool history_late(const struct history *h, const struct history_op *op)
{
    return (h->session_mounts >> op->mount & 1) != 0;
}

/* The bytes of units, and the stamps in bytes (owned by the caller): those behind the end are 0. */
struct blob *history_units(uint64_t stamp, uint32_t first, uint32_t count);
uint64_t *history_stamps(const struct blob *b, uint32_t first, uint32_t count);
/* The same for records. Returns how many; *ret_torn: the rest is none. */
struct blob *history_record(uint64_t stamp, uint32_t size);
size_t history_records(const uint8_t *p, size_t size, uint64_t **ret_stamps, bool *ret_torn);

/* The checkers. Each complains by sim_complain() with its own name, at the end of a run. */
void check_registers(const struct history *h);  /* every page of every file is one register */
void check_one_commit(const struct history *h); /* after a mount's death: a prefix of its writes */
void check_durability(const struct history *h); /* fsynced bytes are never lost */
void check_appends(const struct history *h);    /* no record lost, torn, doubled, out of order */
void check_names(const struct history *h);      /* names are linearizable, operations happen once */
void check_sessions(const struct history *h);   /* RYW, MR, MW, WFR at consistency=session */
void check_sizes(const struct history *h);      /* no size that nobody made, none too old */
void check_errors(const struct history *h);     /* open files stay, errors make sense */
void check_times(const struct history *h);      /* mtime never goes back while bytes change */
void check_attrs(const struct history *h);      /* modes, owners and times that were set stay */
void check_locks(const struct history *h);      /* no two locks that exclude each other */
/* What mounts did ahead of the log is lost only with them, and not what an fsync covered. Before
 * all others: says what was lost. */
void check_queue(struct history *h);

#endif
