/* What the sources of the workload share: an application, its descriptors, the call under way.
 *
 *     workload.c         turns, beginnings and ends; reading everything back
 *     workload_record.c  operations in the history
 *     workload_calls.c   system calls and their answers
 *     workload_locks.c   byte-range locks
 *     workload_ranges.c  holes, and copies by reference
 *     workload_links.c   files with two names
 *     workload_known.c   what others know by its number only
 *     workload_attrs.c   modes, owners and times
 *     workload_steps.c   what is done next */
#ifndef TALLY_TESTS_SIM_WORKLOAD_INTERNAL_H
#define TALLY_TESTS_SIM_WORKLOAD_INTERNAL_H

#include "repl/base/vec.h"
#include "tests/sim/kernel.h"
#include "tests/sim/mount.h"
#include "tests/sim/process.h"
#include "tests/sim/workload.h"

enum {
    DIRS = 3,
    FILES = 6, /* names in each directory */
    PATH_SPACE = 48,
    FDS = 4,
    NEAR_UNITS = 24, /* where most writes go */
    FAR_UNITS = 128, /* 64 pages */
    BIG_UNITS = 512, /* 1 MiB */
    READ_CHUNK = 128 << 10,
    LOG_AGE = 20,      /* seconds; then another append-only file begins */
    EXCLUSIVE_AGE = 2, /* seconds for which all fight for one name */
    INTERRUPTED = 40,  /* one in so many calls gets a signal, if it takes that long */
    READER_APP = SIM_APPS_MAX + 1,
    SLOTS = SIM_APPS_MAX + 2,
};
enum walk { WALK_DIR = 1, WALK_LINK }; /* what STAT told the one who reads everything back */
#define NONE SIZE_MAX

struct fd {
    uint64_t fd, ino; /* fd 0: free */
    bool writable, log;
    bool locked; /* as far as the application knows */
    uint32_t lock_first, lock_count;
    char path[PATH_SPACE];
};

struct app {
    uint32_t mount, number;
    bool alive;
    uint64_t generation; /* what was planned before its death is dropped */
    size_t op, last_op;  /* under way, NONE; the one before */
    struct fd fds[FDS];
    struct fd opening;
    unsigned slot;      /* of the descriptor that the call is on */
    unsigned growing;   /* step of what it does to the file that grows and shrinks */
    unsigned copying;   /* step of a copy by reference, 0: none */
    unsigned copy_from; /* ... the source's slot */
    size_t copy_op;     /* ... its operation */
    unsigned replacing; /* step of a replace by rename, 0: none */
    unsigned linking;   /* step of what it does to a file with two names, 0: none */
    uint64_t links;     /* ... the names that it has, 0: not known */
    unsigned knowing;   /* step of what it does to what others have open, 0: none */
    uint64_t stands_in; /* a directory; 0: none */
    bool asking;        /* a call that the history does not have is under way, or a pause */
    unsigned setting;   /* step of what it does to a file that loses its name, 0: none */
    bool idling;        /* ... which it leaves alone for a while */
    char target[PATH_SPACE];
    struct blob *read; /* READ_ALL so far */
    uint32_t reads;
    void (*then)(struct app *a); /* what follows at once */
    vec_of(char *) paths;        /* to be read back */
};

struct workload {
    struct history *history;
    struct app apps[SIM_MOUNTS_MAX + 1][SLOTS];
    uint32_t life[SIM_MOUNTS_MAX + 1];
    uint64_t last_stamp, generation;
    bool draining, reading_back;
    unsigned readers;
    void (*read_back_done)(void);
    uint32_t weights[WORK_COUNT], weights_sum;
    char idle[PATH_SPACE]; /* a file that its mount keeps attributes of without a lease; "": none */
};
extern struct workload workload;

/* ---- workload.c ------------------------------------------------------------------------------ */

/* The call is over: what belongs to it follows, or a pause. */
void app_next(struct app *a);
/* The answer of a call of which the history wants no more than the result. */
void app_on_simple(void *ctx, const struct sys_result *r);
void app_read_back_next(struct app *a);

/* ---- workload_record.c ----------------------------------------------------------------------- */

extern const char *const app_kind_names[]; /* by enum history_kind */
struct mount *app_mount(const struct app *a);
struct kernel *app_kernel(const struct app *a);
uint64_t work_below(uint64_t n);
struct history_op *app_new_op(enum history_kind kind, uint32_t mount);
/* A call begins, by descriptor or by path; it is the one under way until it is finished. */
struct history_op *app_begin_fd(struct app *a, enum history_kind kind, unsigned slot);
struct history_op *app_begin_path(struct app *a, enum history_kind kind, const char *path,
                                  const char *path2);
void app_trace_op(const struct history_op *op);
struct history_op *app_finish(struct app *a, const struct sys_result *r);
uint64_t app_new_stamp(void); /* no two writes have the same */

/* ---- workload_calls.c ------------------------------------------------------------------------ */

/* Drawn: names, and of the open descriptors one that fits (FDS: none). */
void app_any_dir(char path[PATH_SPACE]);
void app_any_path(char path[PATH_SPACE]);
void app_log_path(char path[PATH_SPACE]);
unsigned app_any_fd(const struct app *a, bool log, bool writable);
void app_close_fd(struct app *a, unsigned slot);
bool app_open_path(struct app *a, const char *path, int flags);
void app_write_units(struct app *a, unsigned slot, uint32_t first, uint32_t count);
void app_read_units(struct app *a, unsigned slot, uint32_t first, uint32_t count);
void app_on_stat(void *ctx, const struct sys_result *r);
void app_append_record(struct app *a, unsigned slot);
void app_read_all(struct app *a);
void app_list(struct app *a, const char *path);
void app_xattr(struct app *a, const char *path, bool set);
void app_rename_path(struct app *a, const char *from, const char *to, bool exclusive);
void app_replace_step(struct app *a);

/* ---- workload_locks.c ------------------------------------------------------------------------ */

/* Locks, unlocks, or opens something. */
void app_lock_step(struct app *a);

/* ---- workload_ranges.c ----------------------------------------------------------------------- */

/* Makes a hole, copies, or opens something. */
void app_range_step(struct app *a);

/* ---- workload_links.c ------------------------------------------------------------------------ */

/* Makes a file, gives it a second name and takes one away. */
void app_link_step(struct app *a);

/* ---- workload_known.c ------------------------------------------------------------------------ */

/* Makes, changes and removes what others know by number; or is one of the others. */
void app_known_step(struct app *a);

/* ---- workload_attrs.c ------------------------------------------------------------------------ */

/* Sets something, or opens what it could be set of. */
void app_attr_step(struct app *a);
/* Leaves a file of its own alone, or changes one that is left alone. */
void app_idle_step(struct app *a);
/* A mode, of the descriptor or, if it is not NULL, of the path. */
void app_chmod(struct app *a, unsigned slot, const char *path);

/* ---- workload_steps.c ------------------------------------------------------------------------ */

void app_read_link(struct app *a, const char *path);
/* One step, planned; not when the application has died since. */
void app_turn(void *ctx, uint64_t generation);

#endif
