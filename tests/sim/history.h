/* What applications did and saw: the input of the checkers that know nothing of the inside.
 *
 * Applications are sequential: an app's operations don't overlap. An operation whose mount was
 * killed has no end (`end` 0) and may or may not have happened. */
#ifndef TALLY_TESTS_SIM_HISTORY_H
#define TALLY_TESTS_SIM_HISTORY_H

#include "repl/base/vec.h"
#include "tests/sim/sim.h"

enum history_kind {
    H_CREATE,   /* path, O_EXCL: 0 or EEXIST; `stamp` is the file's number, written into it later */
    H_WRITE,    /* file, page .. page + pages - 1 get `stamp` */
    H_READ,     /* file, page, pages -> stamps */
    H_FSYNC,    /* file */
    H_CLOSE,    /* file: flush */
    H_TRUNCATE, /* file, to `pages` pages */
    H_STAT,     /* path or file -> ino, size, nlink, mtime */
    H_APPEND,   /* file, record `stamp` of `bytes` bytes */
    H_READ_ALL, /* append-only file -> the records found, in order, `torn` when bytes fit no record
                 */
    H_UNLINK,
    H_RENAME, /* path -> path2 */
    H_LINK,
    H_MKDIR,
    H_RMDIR,
    H_LIST,          /* path -> names */
    H_SETXATTR,      /* path, stamp */
    H_GETXATTR,      /* path -> stamp */
    H_MOUNT_KILLED,  /* mount; `end` == `start` */
    H_MOUNT_STARTED, /* mount */
};

struct history_op {
    enum history_kind kind;
    uint32_t mount, app; /* from 1 */
    time_us start, end;  /* true time; end 0: never ended */
    int err;
    uint64_t
        file; /* number of the file (not its inode): given by the CREATE that made it, 0: none */
    uint64_t ino;
    uint32_t page, pages;
    uint64_t stamp, bytes; /* stamps are unique over the run, never 0 */
    uint64_t size, nlink;
    int64_t mtime;
    bool torn;
    bool exclusive;     /* RENAME: NOREPLACE; CREATE: O_EXCL */
    char *path, *path2; /* owned */
    uint64_t *stamps;   /* READ: per page; READ_ALL: per record; LIST: file numbers or hashes of the
                           names; owned */
    size_t stamps_count;
};

struct history {
    vec_of(struct history_op) ops; /* in order of their starts */
    bool session_consistency;
};

void history_done(struct history *h);

/* The checkers. Each complains by sim_complain() with its own name, at the end of a run. */
void check_registers(const struct history *h);  /* every page of every file is one register */
void check_one_commit(const struct history *h); /* after a mount's death: a prefix of its writes */
void check_durability(const struct history *h); /* fsynced bytes are never lost */
void check_appends(const struct history *h);    /* no record lost, torn, doubled, out of order */
void check_names(const struct history *h);      /* names are linearizable, operations happen once */
void check_sessions(const struct history *h);   /* RYW, MR, MW, WFR at consistency=session */
void check_times(const struct history *h);      /* mtime never goes back while bytes change */

#endif
