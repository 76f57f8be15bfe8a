/* A lab: a whole cluster on one machine, under one directory.
 *
 *     D/tally.conf          the cluster's configuration
 *     D/lab.json            what the lab was started with (mounts, their options, cuts)
 *     D/nodes/NAME          stores            D/mnt/NAME    mount points
 *     D/run/NAME.{sock,pid} sockets, pids     D/log/NAME.log
 *     D/state/NAME          a mount's token and session
 *
 * The interface is fixed (docs/ARCHITECTURE.md, "The lab"): people's scripts lean on it. */
#ifndef TALLY_TOOLS_CLI_LAB_H
#define TALLY_TOOLS_CLI_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tools/cli/config.h"

enum { LAB_MEMBERS_MAX = 24, LAB_PATH_MAX = 4095 };

struct lab_member {
    char name[CONFIG_NAME_MAX + 1];
    bool is_mount;
    bool witness;
};

struct lab {
    char dir[LAB_PATH_MAX + 1]; /* absolute */
    struct config config;
    struct lab_member members[LAB_MEMBERS_MAX];
    size_t count;
    char mount_options[1024];
    json_t *cuts; /* array of [a, b] */
};

/* Reads the lab in `dir`. Errors are printed; -ENOENT when there is none. */
int lab_open(struct lab *lab, const char *dir);
/* Makes a new one: directories, configuration, lab.json. Prints errors. */
int lab_create(struct lab *lab, const char *dir, unsigned copies, unsigned witnesses,
               unsigned mounts, const char *mount_options, const char *election,
               const char *capacity);
void lab_close(struct lab *lab);
/* Writes lab.json anew, atomically. */
int lab_save(const struct lab *lab);

const struct lab_member *lab_find(const struct lab *lab, const char *name);
/* Formats a path below the lab's directory into `buf`; dies when it does not fit. */
const char *lab_path(const struct lab *lab, char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The address a member listens on for questions. */
void lab_address(const struct lab *lab, const struct lab_member *m, char *buf, size_t size);

/* ---- processes (lab_process.c) --------------------------------------------------------------- */

enum lab_process_state { LAB_DOWN, LAB_UP, LAB_FROZEN };
/* The pid file names a process that is alive and the very one we started. */
enum lab_process_state lab_process(const struct lab *lab, const struct lab_member *m,
                                   pid_t *ret_pid);
/* Starts the member's process and returns when it answers, or prints why it did not. */
int lab_spawn(const struct lab *lab, const struct lab_member *m);
/* Waits until the process is gone. -ETIMEDOUT. */
int lab_wait_gone(const struct lab *lab, const struct lab_member *m, pid_t pid, int timeout_ms);
int lab_signal(const struct lab *lab, const struct lab_member *m, int signal_number);
/* True when `path` is a mount point (also a dead one). */
bool lab_is_mounted(const char *path);
/* Detaches whatever is mounted at the member's mount point. */
void lab_detach(const struct lab *lab, const struct lab_member *m);

/* ---- state (lab_status.c) -------------------------------------------------------------------- */

/* The JSON of `lab status`: {"schema", "nodes", "mounts", "leader"}; `verify` has copies recompute
 * their hashes. */
json_t *lab_status(const struct lab *lab, bool verify, int timeout_ms);
void lab_print_status(const struct lab *lab, const json_t *status);
/* NULL when nothing is left to repair, else why not (good until the next call). */
const char *lab_unsettled(const struct lab *lab, const json_t *status);

#endif
