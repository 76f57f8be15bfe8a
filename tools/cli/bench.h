/* What `tally bench` does in a directory, row by row, and how long each operation took. Everything
 * happens in a sub-directory that bench_open makes and bench_remove takes away. */
#ifndef TALLY_TOOLS_CLI_BENCH_H
#define TALLY_TOOLS_CLI_BENCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BENCH_ROWS = 11,
    BENCH_FILES_MAX = 2000,
    BENCH_DIRS_MAX = 1000,
    BENCH_SYNCS_MAX = 4096, /* operations of a row that waits for the disk each time */
    BENCH_BIG_MIB_MAX = 256,
    BENCH_SMALL_MIB = 32,     /* what all but the big file take, at most */
    BENCH_SPACE_MIB_MIN = 64, /* with less free nothing is begun */
};

struct bench_row {
    const char *name; /* for programs; never changes */
    const char *text; /* for people */
    const char *unit; /* of the rate */
    uint32_t count;   /* operations done */
    double seconds, rate, p50_us, p99_us;
};

/* Called before each operation and before each name that is removed; `row` counts from 0 and is
 * BENCH_ROWS while removing. Returns false to end there. */
typedef bool (*bench_tick)(void *ctx, uint32_t row, uint32_t done);

struct bench {
    char path[PATH_MAX + 1]; /* the sub-directory */
    int fd, files_fd, dirs_fd, big_fd, log_fd;
    uint32_t big_mib_max, big_mib, read_mib; /* of the big file: at most, written, read */
    uint32_t files, renamed;
    uint64_t random;
    uint8_t *chunk; /* 1 MiB */
    int64_t *samples;
    bench_tick tick;
    void *ctx;
};

/* What a row is about, without figures. */
struct bench_row bench_describe(uint32_t row);

/* Makes the sub-directory in `dir`. `b` may be given to bench_remove and bench_done in any case.
 * -ENOTDIR, -ENOSPC (ret_free_mib is set then: less than BENCH_SPACE_MIB_MIN), or what mkdir
 * says. */
int bench_open(struct bench *b, const char *dir, bench_tick tick, void *ctx,
               uint64_t *ret_free_mib);

/* Runs one row, for `limit_ns` and one operation at most. Rows build on one another: all of them,
 * in order. -EINTR when the tick said so, or the operation's error. */
int bench_run(struct bench *b, uint32_t row, int64_t limit_ns, struct bench_row *ret);

/* Removes the sub-directory with all that is in it; nothing to do is fine. Ends at the first name
 * that can't be removed. */
int bench_remove(struct bench *b);

void bench_done(struct bench *b);

int64_t bench_now_ns(void);

#endif
