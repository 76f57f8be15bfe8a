/* A few threads for disk work. Jobs start in order, finish in any, and report on the loop's thread.
 */
#ifndef TALLY_REPL_IO_POOL_H
#define TALLY_REPL_IO_POOL_H

#include <stdbool.h>

#include "repl/base/list.h"

struct pool;

/* Embedded in the job's own data. `work` runs on a pool thread, then `done` in pool_poll. */
struct pool_job {
    struct list link;
    void (*work)(struct pool_job *job);
    void (*done)(struct pool_job *job);
};

/* `wake` is called on a pool thread when a job waits to report. */
struct pool *pool_new(int threads, void (*wake)(void *ctx), void *ctx);
/* Finishes what was submitted; what was not polled is not reported. NULL ok. */
void pool_free(struct pool *p);
void pool_submit(struct pool *p, struct pool_job *job);
void pool_poll(struct pool *p);
/* Jobs submitted and not yet reported. */
bool pool_busy(struct pool *p);

#endif
