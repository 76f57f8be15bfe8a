/* Applications: each a process on one mount that does one operation after another. */
#ifndef TALLY_TESTS_SIM_WORKLOAD_H
#define TALLY_TESTS_SIM_WORKLOAD_H

#include "tests/sim/history.h"

/* Kinds of an application's next step; sim_swarm.mix has a weight for each. */
enum work {
    WORK_CREATE,
    WORK_WRITE,     /* 1 .. 40 pages of an own or foreign file */
    WORK_WRITE_BIG, /* by parts: more than 64 KiB */
    WORK_READ,
    WORK_FSYNC,
    WORK_CLOSE,
    WORK_TRUNCATE,
    WORK_STAT,
    WORK_APPEND,
    WORK_READ_LOG,
    WORK_UNLINK,
    WORK_UNLINK_OPEN, /* and goes on using the open file */
    WORK_RENAME,      /* replace by rename: write new, rename over old */
    WORK_LINK,
    WORK_MKDIR,
    WORK_RMDIR,
    WORK_LIST,
    WORK_XATTR,
    WORK_EXCLUSIVE, /* several make one name: one wins */
    WORK_COUNT
};

void workload_start(struct history *h);
/* A mount came up, or died: its applications begin again, or end. */
void workload_mount_up(uint32_t mount);
void workload_mount_down(uint32_t mount);
/* For the history: SIGKILL, or an end with commits missing; the session it had is over. */
void workload_mount_killed(uint32_t mount);
void workload_session_lost(uint32_t mount, uint64_t session);
/* No new operations; true when none is under way. */
bool workload_drained(void);
void workload_drain(void);
/* Reads everything back at every mount, into the history, then calls done. */
void workload_read_back(void (*done)(void));
void workload_free(void);

#endif
