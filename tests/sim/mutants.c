/* tally-mutants: does the simulator notice planted bugs?
 *
 *     tally-mutants [--seeds N] [--first S] [--minutes M] [--jobs J] [--only NAME]...
 *                   [--limit MIN] [--all-seeds] [--list]
 *
 * Every mutation of mutants.def runs seed after seed until one objects, at most N (1,000); with
 * --all-seeds always N of them, counting. A run is a child of its own, since an assertion or an
 * endless loop is an objection as well. A seed that objects without any mutation counts for none:
 * when the first one objects in it, it runs once more without. Exit 0 only when all are caught. */
#include "tests/sim/mutants.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "repl/base/vec.h"
#include "tests/sim/sim.h"

enum {
    JOBS_MAX = 64,
    SEED_CPU_S = 20, /* for a virtual minute: a run that needs more does not end */
    WORDS_MAX = 8,
};

struct mutation {
    const char *name, *rule, *text;
};

static const struct mutation table[] = {
    {"none", "", "no planted bug"},
#define M(name, rule, text) {#name, rule, text},
#include "tests/sim/mutants.def"
#undef M
};

enum mutant mutant_active = MUTANT_none;

/* ---- one run in a child ---------------------------------------------------------------------- */

/* What a child tells: memory shared with it, and what it wrote to stderr. */
struct verdict {
    bool ended, failed;
    char checker[32], detail[512];
};

struct job {
    pid_t pid; /* 0: idle */
    enum mutant mutant;
    uint64_t number;      /* of the seed, from 0 */
    struct verdict found; /* of the mutant, when this job runs the seed without it */
    struct verdict *shared;
    int words; /* stderr of the child */
};

static struct {
    uint64_t first, seeds;
    time_us length;
    uint32_t jobs;
    bool all_seeds;
    time_t deadline; /* 0: none */
} options = {.first = 1, .seeds = 1000, .length = 120 * TIME_S};

static void run_child(const struct job *j, enum mutant mutant)
{
    rlim_t limit = SEED_CPU_S * (options.length / (60 * TIME_S));
    struct rlimit cpu = {limit, limit + 1}, core = {0, 0};
    (void)setrlimit(RLIMIT_CPU, &cpu);
    (void)setrlimit(RLIMIT_CORE, &core);
    (void)dup2(j->words, STDERR_FILENO);
    mutant_active = mutant;
    struct sim_options so = {.seed = options.first + j->number, .length = options.length};
    struct sim_result r = sim_run(&so);
    j->shared->failed = r.failed;
    memcpy(j->shared->checker, r.checker, sizeof r.checker);
    memcpy(j->shared->detail, r.detail, sizeof r.detail);
    j->shared->ended = true;
    _exit(0);
}

static void job_start(struct job *j, enum mutant mutant)
{
    memset(j->shared, 0, sizeof *j->shared);
    if (ftruncate(j->words, 0) < 0 || lseek(j->words, 0, SEEK_SET) < 0)
        abort();
    (void)fflush(NULL);
    j->pid = fork();
    if (j->pid < 0) {
        perror("fork");
        exit(2);
    }
    if (j->pid == 0)
        run_child(j, mutant);
}

/* "file.c:12: function: Assertion `...' failed." -> the assertion. */
static void last_words(const struct job *j, struct verdict *v)
{
    char text[4096];
    ssize_t n = pread(j->words, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, "Assertion");
    const char *line = at ? at : text;
    while (line > text && line[-1] != '\n')
        line--;
    (void)snprintf(v->checker, sizeof v->checker, "%s", at ? "assert" : "crash");
    (void)snprintf(v->detail, sizeof v->detail, "%.*s", (int)strcspn(line, "\n"), line);
}

static struct verdict verdict_of(const struct job *j, int status)
{
    struct verdict v = *j->shared;
    if (WIFEXITED(status) && v.ended)
        return v;
    v = (struct verdict){.ended = true, .failed = true};
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL))
        (void)snprintf(v.checker, sizeof v.checker, "endless");
    else
        last_words(j, &v);
    return v;
}

/* ---- how far each mutation is ---------------------------------------------------------------- */

struct score {
    bool wanted;
    uint64_t next;          /* number of the seed to be run, from 0 */
    uint64_t seeds;         /* that count */
    uint64_t caught, first; /* seeds that objected; number of the first one, from 1 */
    char checkers[WORDS_MAX][32];
    uint64_t by[WORDS_MAX];
    char detail[512];
};

/* What a seed says without any mutation. */
enum bare { BARE_UNKNOWN, BARE_CLEAN, BARE_OBJECTS };

static enum bare *bare; /* per seed */
static uint64_t bare_objects;
static struct score scores[MUTANT_COUNT];
static struct job jobs[JOBS_MAX];
static uint64_t runs;

/* Seeds that object anyway are no use. */
static bool wants_more(struct score *s)
{
    while (s->next < options.seeds && bare[s->next] == BARE_OBJECTS)
        s->next++;
    return s->wanted && s->next < options.seeds && (options.all_seeds || !s->caught);
}

static void note_caught(struct score *s, uint64_t number, const struct verdict *v)
{
    if (!s->caught || number + 1 < s->first) {
        s->first = number + 1;
        memcpy(s->detail, v->detail, sizeof s->detail);
    }
    s->caught++;
    for (size_t i = 0; i < WORDS_MAX; i++) {
        if (s->by[i] && strcmp(s->checkers[i], v->checker) != 0)
            continue;
        memcpy(s->checkers[i], v->checker, sizeof s->checkers[i]);
        s->by[i]++;
        break;
    }
}

/* The mutation that ran the fewest seeds: the easy ones are done with early. */
static enum mutant pick(void)
{
    enum mutant best = MUTANT_none;
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT; m++)
        if (wants_more(&scores[m]) && (best == MUTANT_none || scores[m].next < scores[best].next))
            best = m;
    return best;
}

static bool job_next(struct job *j)
{
    enum mutant m = pick();
    if (m == MUTANT_none || (options.deadline && time(NULL) >= options.deadline))
        return false;
    struct score *s = &scores[m];
    j->mutant = m;
    j->number = s->next++;
    s->seeds++;
    j->found = (struct verdict){0};
    job_start(j, m);
    return true;
}

static void job_ended(struct job *j, int status)
{
    struct verdict v = verdict_of(j, status);
    struct score *s = &scores[j->mutant];
    runs++;
    j->pid = 0;
    if (j->found.failed) { /* that was the run without the mutation */
        bare[j->number] = v.failed ? BARE_OBJECTS : BARE_CLEAN;
        bare_objects += v.failed;
        v = j->found;
    }
    if (v.failed && bare[j->number] == BARE_UNKNOWN) {
        j->found = v;
        job_start(j, MUTANT_none);
        return;
    }
    if (bare[j->number] == BARE_OBJECTS)
        s->seeds--;
    else if (v.failed)
        note_caught(s, j->number, &v);
}

/* ---- what people see ------------------------------------------------------------------------- */

static uint32_t count(bool caught)
{
    uint32_t n = 0;
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT; m++)
        n += scores[m].wanted && (!caught || scores[m].caught);
    return n;
}

static void progress(bool end)
{
    static time_t last;
    if (!isatty(STDERR_FILENO) || (!end && time(NULL) == last))
        return;
    last = time(NULL);
    if (end)
        fprintf(stderr, "\r\033[K");
    else
        fprintf(stderr, "\r\033[K%u of %u caught, %llu runs", count(true), count(false),
                (unsigned long long)runs);
    (void)fflush(stderr);
}

static void print_checkers(const struct score *s)
{
    for (size_t i = 0; i < WORDS_MAX && s->by[i]; i++)
        printf("%s%s", i ? " " : "", s->checkers[i]);
}

static void print_table(void)
{
    printf("%-30s %-8s %6s %11s %6s  %s\n", "mutation", "rule", "seed", "caught in", "share", "by");
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT; m++) {
        const struct score *s = &scores[m];
        char in[32];
        if (!s->wanted)
            continue;
        (void)snprintf(in, sizeof in, "%llu/%llu", (unsigned long long)s->caught,
                       (unsigned long long)s->seeds);
        if (s->caught)
            printf("%-30s %-8s %6llu %11s %5.1f%%  ", table[m].name, table[m].rule,
                   (unsigned long long)s->first, in, 100.0 * (double)s->caught / (double)s->seeds);
        else
            printf("%-30s %-8s %6s %11s %6s  ", table[m].name, table[m].rule, "-", in, "-");
        print_checkers(s);
        puts(s->caught ? "" : "NOT CAUGHT");
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void run_all(void)
{
    uint32_t busy = 0;
    for (uint32_t i = 0; i < options.jobs; i++) {
        jobs[i].shared = mmap(NULL, sizeof *jobs[i].shared, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        jobs[i].words = memfd_create("stderr", MFD_CLOEXEC);
        if (jobs[i].shared == MAP_FAILED || jobs[i].words < 0)
            abort();
        busy += job_next(&jobs[i]);
    }
    while (busy) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0 && errno == EINTR)
            continue;
        for (uint32_t i = 0; i < options.jobs; i++) {
            if (jobs[i].pid != pid)
                continue;
            job_ended(&jobs[i], status);
            if (!jobs[i].pid && !job_next(&jobs[i]))
                busy--;
        }
        progress(false);
    }
    progress(true);
}

/* ---- the command line ------------------------------------------------------------------------ */

static int usage(void)
{
    fprintf(stderr, "usage: tally-mutants [--seeds N] [--first S] [--minutes M] [--jobs J]\n"
                    "                     [--only NAME]... [--limit MIN] [--all-seeds] [--list]\n\n"
                    "--minutes M  virtual minutes with faults per seed (2)\n"
                    "--limit MIN  stops after so many minutes of this machine; what is not caught "
                    "then is not\n");
    return 2;
}

static void list(void)
{
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT; m++)
        printf("%-30s %-8s %s\n", table[m].name, table[m].rule, table[m].text);
}

static bool want(const char *name)
{
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT; m++) {
        if (strcmp(table[m].name, name) != 0)
            continue;
        scores[m].wanted = true;
        return true;
    }
    fprintf(stderr, "tally-mutants: no mutation is called %s (--list names them)\n", name);
    return false;
}

static bool number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seeds", required_argument, NULL, 's'},
        {"first", required_argument, NULL, 'f'},
        {"minutes", required_argument, NULL, 'l'},
        {"jobs", required_argument, NULL, 'j'},
        {"only", required_argument, NULL, 'o'},
        {"limit", required_argument, NULL, 'm'},
        {"all-seeds", no_argument, NULL, 'a'},
        {"list", no_argument, NULL, 'L'},
        {0},
    };
    bool only = false;
    uint64_t n = 0;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    options.jobs = cpus > 0 && cpus < JOBS_MAX ? (uint32_t)cpus : 1;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (strchr("sfljm", c) && (!number(optarg, &n) || n == 0))
            return usage();
        if (c == 's')
            options.seeds = n;
        else if (c == 'f')
            options.first = n;
        else if (c == 'l')
            options.length = n * 60 * TIME_S;
        else if (c == 'j')
            options.jobs = n < JOBS_MAX ? (uint32_t)n : JOBS_MAX;
        else if (c == 'm')
            options.deadline = time(NULL) + (time_t)n * 60;
        else if (c == 'a')
            options.all_seeds = true;
        else if (c == 'o' && want(optarg))
            only = true;
        else if (c == 'L') {
            list();
            return 0;
        } else
            return usage();
    }
    if (optind != argc)
        return usage();
    for (enum mutant m = MUTANT_none + 1; m < MUTANT_COUNT && !only; m++)
        scores[m].wanted = true;
    bare = xcalloc(options.seeds, sizeof *bare);
    run_all();
    print_table();
    if (bare_objects)
        printf("%llu seeds object without any mutation and count for none\n",
               (unsigned long long)bare_objects);
    printf("mutants: %u of %u caught\n", count(true), count(false));
    return count(true) == count(false) ? 0 : 1;
}
