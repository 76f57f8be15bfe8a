/* tally bench: how fast a directory is, on TallyFS or not. Leaves nothing behind, also when it is
 * interrupted. */
#include "tools/cli/command.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/bench.h"

static const char usage[] =
    "tally bench DIR [--json] [--seconds S]\n"
    "\n"
    "Measures any directory, of a TallyFS mount or not, in a sub-directory that it makes and\n"
    "removes again: a large file written and read, small writes with fsync, small files and names\n"
    "one at a time. One program waits for each operation; P50 and P99 are how long half and 99 of\n"
    "100 of them took at most.\n"
    "  --seconds S   for all rows together at most, 1 to 3600 (default 15); the time that a fast\n"
    "                row leaves is the next ones'\n"
    "  --json        {\"schema\":\"tally/bench/1\",\"rows\":[...]}\n"
    "\n"
    "`read` asks the file system, the kernel's cache being dropped first; `again`, stat and small\n"
    "reads may be answered by it. Takes up to 288 MiB, less where less is free; 64 are needed.\n";

enum {
    SECONDS_DEFAULT = 15,
    SECONDS_MAX = 3600,
    SHOW_EVERY_MS = 100, /* on a terminal */
    SAY_EVERY_MS = 10 * 1000,
    PATIENCE_MS = 1000, /* signals that come sooner after the first one are the same one */
};

struct options {
    const char *dir;
    unsigned seconds;
    bool json;
};

struct progress {
    bool terminal; /* stderr is one */
    bool shown;
    int64_t said_ns;
};

/* ---- interruption ---------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted; /* measure no more, remove what was made */
static volatile sig_atomic_t given_up;    /* a second time: end at once */
static volatile int64_t interrupted_ns;   /* the handler's own */

static void on_signal(int number)
{
    if (!interrupted)
        interrupted_ns = bench_now_ns();
    else if (bench_now_ns() - interrupted_ns > (int64_t)PATIENCE_MS * 1000000)
        given_up = 1;
    interrupted = number;
}

static void catch_signals(void)
{
    struct sigaction catch = {.sa_handler = on_signal}; /* no SA_RESTART: waits end at once */
    (void)sigaction(SIGINT, &catch, NULL);
    (void)sigaction(SIGTERM, &catch, NULL);
    (void)sigaction(SIGHUP, &catch, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* who reads the table may go: there is something to remove */
}

/* ---- options --------------------------------------------------------------------------------- */

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.seconds = SECONDS_DEFAULT};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            char *end;
            unsigned long v = strtoul(argv[++i], &end, 10);
            if (*argv[i] < '0' || *argv[i] > '9' || *end || v < 1 || v > SECONDS_MAX) {
                fprintf(stderr, "tally bench: --seconds %s: a number from 1 to %d is needed\n",
                        argv[i], SECONDS_MAX);
                return false;
            }
            o->seconds = (unsigned)v;
        } else if (!o->dir && argv[i][0] != '-') {
            o->dir = argv[i];
        } else {
            o->dir = NULL;
            break;
        }
    }
    if (!o->dir)
        fprintf(stderr, "usage: %s", usage);
    return o->dir != NULL;
}

/* ---- progress -------------------------------------------------------------------------------- */

/* On a terminal a line that is written over; elsewhere a line now and then. */
static void show_progress(struct progress *p, uint32_t row, uint32_t done)
{
    int64_t now = bench_now_ns();
    int64_t every_ms = p->terminal ? SHOW_EVERY_MS : SAY_EVERY_MS;

    if (now - p->said_ns < every_ms * 1000000)
        return;
    p->said_ns = now;
    fprintf(stderr, "%s", p->terminal ? "\r" : "");
    if (row == BENCH_ROWS)
        fprintf(stderr, "removing what was made: %" PRIu32, done);
    else
        fprintf(stderr, "%" PRIu32 " of %d: %s: %" PRIu32, row + 1, BENCH_ROWS,
                bench_describe(row).text, done);
    fprintf(stderr, "%s", p->terminal ? "\033[K" : "\n");
    p->shown = p->terminal;
}

static void clear_progress(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}

static bool tick(void *ctx, uint32_t row, uint32_t done)
{
    show_progress(ctx, row, done);
    return row == BENCH_ROWS ? !given_up : !interrupted;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void complain_open(const char *dir, int error, uint64_t free_mib)
{
    fprintf(stderr, "tally bench: %s: ", dir);
    if (error == -ENOSPC)
        fprintf(stderr, "no space: %d MiB free are needed, there are %" PRIu64 "\n",
                BENCH_SPACE_MIB_MIN, free_mib);
    else if (error == -ENOTDIR)
        fprintf(stderr, "not a directory; it measures in one, with files of its own\n");
    else
        fprintf(stderr, "%s%s\n", strerror(-error),
                error == -EROFS || error == -EACCES
                    ? "; it makes files of its own there, so it needs to write"
                    : "");
}

static void complain_row(const struct bench *b, const char *dir, uint32_t row, int error)
{
    fprintf(stderr, "tally bench: %s: %s: %s", dir, bench_describe(row).text, strerror(-error));
    if (error == -ENOSPC || error == -EDQUOT)
        fprintf(stderr, "; up to %" PRIu32 " MiB and %d files and directories are needed",
                b->big_mib_max + BENCH_SMALL_MIB, BENCH_FILES_MAX + BENCH_DIRS_MAX);
    else if (error == -ETIMEDOUT || error == -EIO)
        fprintf(stderr, "; on a TallyFS mount see: tally explain %s", dir);
    fprintf(stderr, "\n");
}

/* ---- results --------------------------------------------------------------------------------- */

static void print_heading(void)
{
    printf("%-36s %6s %12s %10s %10s\n", "OPERATION", "COUNT", "RATE", "P50", "P99");
}

static void print_row(const struct bench_row *row)
{
    char rate[32];

    (void)snprintf(rate, sizeof rate, "%.*f %s", row->rate < 100 ? 1 : 0, row->rate, row->unit);
    printf("%-36s %6" PRIu32 " %12s %7.3f ms %7.3f ms\n", row->text, row->count, rate,
           row->p50_us / 1e3, row->p99_us / 1e3);
    (void)fflush(stdout);
}

static json_t *row_json(const struct bench_row *row)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f}", "name", row->name, "text",
                     row->text, "unit", row->unit, "count", (json_int_t)row->count, "seconds",
                     row->seconds, "rate", row->rate, "p50_us", row->p50_us, "p99_us", row->p99_us);
}

static void print_json(const struct options *o, const struct bench_row rows[BENCH_ROWS])
{
    json_t *list = json_array(), *all;

    for (uint32_t i = 0; i < BENCH_ROWS; i++)
        json_array_append_new(list, row_json(&rows[i]));
    all = json_pack("{s:s, s:o*, s:I, s:o}", "schema", "tally/bench/1", "directory",
                    json_string(o->dir), "seconds", (json_int_t)o->seconds, "rows", list);
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    printf("\n");
}

/* ---- the run --------------------------------------------------------------------------------- */

/* Each row gets an even share of the time that is left. */
static int run_rows(struct bench *b, const struct options *o, struct progress *p,
                    struct bench_row rows[BENCH_ROWS])
{
    int64_t end = bench_now_ns() + (int64_t)o->seconds * 1000000000;

    if (!o->json)
        print_heading();
    for (uint32_t i = 0; i < BENCH_ROWS; i++) {
        int r = bench_run(b, i, (end - bench_now_ns()) / (BENCH_ROWS - i), &rows[i]);
        clear_progress(p);
        if (r < 0 && !interrupted)
            complain_row(b, o->dir, i, r);
        if (r < 0)
            return r;
        if (!o->json)
            print_row(&rows[i]);
    }
    return 0;
}

static int remove_all(struct bench *b, struct progress *p)
{
    int r;

    do
        r = bench_remove(b);
    while (r == -EINTR && !given_up);
    clear_progress(p);
    if (r < 0)
        fprintf(stderr, "tally bench: %s is left, remove it by hand: %s\n", b->path,
                given_up ? "interrupted twice" : strerror(-r));
    return r;
}

static int run_bench(int argc, char **argv)
{
    struct progress progress = {.terminal = isatty(STDERR_FILENO), .said_ns = bench_now_ns()};
    struct bench_row rows[BENCH_ROWS];
    struct options o;
    struct bench b;
    uint64_t free_mib = 0;

    if (!parse(argc, argv, &o))
        return EXIT_USAGE;
    catch_signals();
    int r = bench_open(&b, o.dir, tick, &progress, &free_mib);
    if (r < 0 && !interrupted)
        complain_open(o.dir, r, free_mib);
    if (r == 0)
        r = run_rows(&b, &o, &progress, rows);
    int removed = remove_all(&b, &progress);
    if (interrupted)
        fprintf(stderr, "tally bench: interrupted%s\n",
                removed == 0 ? "; nothing is left behind" : "");
    if (r == 0 && o.json)
        print_json(&o, rows);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        fprintf(stderr, "tally bench: the output could not be written\n");
        r = -EIO;
    }
    bench_done(&b);
    return r == 0 && removed == 0 && !interrupted ? EXIT_DONE : EXIT_FAILED;
}

const struct command command_bench = {
    .name = "bench",
    .summary = "how fast a directory is: files, names, fsync",
    .usage = usage,
    .run = run_bench,
};
