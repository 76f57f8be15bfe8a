#include "tests/sim/farm.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BATCH = 8,          /* runs of one worker's life */
    LIMIT_S_LEAST = 60, /* for one seed; more for longer ones */
    BUSY = 20,          /* a machine may be busy with so much else */
};

struct worker {
    pid_t pid;        /* 0: none */
    int fd;           /* results come here */
    size_t next, end; /* runs of its batch not yet answered */
};

void farm_add(struct farm *farm, const struct sim_options *options, bool twice)
{
    struct farm_run run = {.options = *options, .twice = twice};
    vec_push(&farm->runs, run);
}

void farm_done(struct farm *farm)
{
    vec_done(&farm->runs);
}

/* ---- in the worker --------------------------------------------------------------------------- */

/* Of its own time, by SIGPROF: how fast the machine is beside its other work says nothing. And of
 * everybody's, for one that waits for something. 0: none any more. */
static void set_limit(unsigned s)
{
    struct itimerval own = {.it_value.tv_sec = s};
    (void)setitimer(ITIMER_PROF, &own, NULL);
    (void)alarm(BUSY * s);
}

static struct sim_result run(const struct farm_run *r)
{
    unsigned minutes = (unsigned)(r->options.length / (60 * TIME_S)) + 1;
    set_limit(LIMIT_S_LEAST + 20 * minutes);
    struct sim_result result = sim_run(&r->options);
    if (!r->twice || result.failed)
        return result;
    struct sim_result again = sim_run(&r->options);
    if (again.trace_hash != result.trace_hash) {
        result.failed = true;
        (void)strcpy(result.checker, "determinism");
        (void)snprintf(result.detail, sizeof result.detail,
                       "two runs of this seed differ: %016llx and %016llx",
                       (unsigned long long)result.trace_hash, (unsigned long long)again.trace_hash);
    }
    return result;
}

static _Noreturn void work(const struct farm *farm, size_t next, size_t end, int fd)
{
    for (; next < end; next++) {
        struct sim_result result = run(&farm->runs.items[next]);
        if (write(fd, &result, sizeof result) != sizeof result)
            _exit(1);
    }
    set_limit(0);
    exit(0); /* not _exit: a leak checker reports at the end */
}

/* ---- in the parent --------------------------------------------------------------------------- */

static void start_worker(const struct farm *farm, struct worker *w)
{
    int fds[2];
    fflush(NULL);
    if (pipe(fds) < 0 || (w->pid = fork()) < 0) {
        perror("tally-sim: cannot start a worker");
        exit(2);
    }
    if (w->pid == 0) {
        (void)close(fds[0]);
        work(farm, w->next, w->end, fds[1]);
    }
    (void)close(fds[1]);
    w->fd = fds[0];
}

static size_t read_all(int fd, void *to, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(fd, (char *)to + have, size - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return have;
}

/* The worker ended: with its batch, or in the middle of a run. */
static void end_worker(struct farm *farm, struct worker *w,
                       void (*each)(void *ctx, const struct farm_run *), void *ctx)
{
    int status = 0;
    (void)close(w->fd);
    (void)waitpid(w->pid, &status, 0);
    w->pid = 0;
    if (w->next == w->end && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (w->next == w->end)
        w->next--; /* at its very end: leaks, which belong to one of them */
    struct farm_run *r = &farm->runs.items[w->next++];
    bool hung = WIFSIGNALED(status) && (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM);
    r->result.failed = true;
    (void)snprintf(r->result.checker, sizeof r->result.checker, "%s", hung ? "hang" : "crash");
    if (WIFSIGNALED(status))
        (void)snprintf(r->result.detail, sizeof r->result.detail,
                       "the worker died of signal %d: %s", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else
        (void)snprintf(r->result.detail, sizeof r->result.detail, "the worker ended with code %d",
                       WEXITSTATUS(status));
    each(ctx, r);
    if (w->next < w->end)
        start_worker(farm, w);
}

static void on_readable(struct farm *farm, struct worker *w,
                        void (*each)(void *ctx, const struct farm_run *), void *ctx)
{
    struct sim_result result;
    if (read_all(w->fd, &result, sizeof result) != sizeof result) {
        end_worker(farm, w, each, ctx);
        return;
    }
    assert(w->next < w->end);
    struct farm_run *r = &farm->runs.items[w->next++];
    r->result = result;
    each(ctx, r);
}

void farm_work(struct farm *farm, unsigned jobs, void (*each)(void *ctx, const struct farm_run *),
               void *ctx)
{
    struct worker workers[FARM_JOBS_MAX] = {0};
    size_t given = 0;
    assert(jobs >= 1 && jobs <= FARM_JOBS_MAX);
    for (;;) {
        struct pollfd polls[FARM_JOBS_MAX];
        nfds_t count = 0;
        unsigned who[FARM_JOBS_MAX];
        for (unsigned i = 0; i < jobs; i++) {
            struct worker *w = &workers[i];
            if (!w->pid && given < farm->runs.count) {
                w->next = given;
                w->end = given =
                    given + BATCH < farm->runs.count ? given + BATCH : farm->runs.count;
                start_worker(farm, w);
            }
            if (!w->pid)
                continue;
            who[count] = i;
            polls[count++] = (struct pollfd){.fd = w->fd, .events = POLLIN};
        }
        if (!count)
            return;
        if (poll(polls, count, -1) < 0)
            continue;
        for (nfds_t i = 0; i < count; i++)
            if (polls[i].revents)
                on_readable(farm, &workers[who[i]], each, ctx);
    }
}

static void keep(void *ctx, const struct farm_run *run)
{
    *(struct farm_run *)ctx = *run;
}

void farm_run_one(struct farm_run *run)
{
    struct farm farm = {0};
    farm_add(&farm, &run->options, false);
    farm_work(&farm, 1, keep, run);
    farm_done(&farm);
}
