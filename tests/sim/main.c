/* tally-sim: runs seeds, tells what it found, and makes a failing run smaller.
 *
 * Each seed runs in a forked worker, so that an assertion of the shipping code is a verdict like
 * any other: the seed under way when a worker died is the one to look at. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/tell.h"

enum { EXIT_CLEAN = 0, EXIT_VIOLATION = 1, EXIT_USAGE = 2, SAMPLE = 100, SEEDS_MAX = 10000000 };

static const char usage[] =
    "tally-sim --seed S | --seeds A..B | --file FILE\n"
    "          [--minutes M] [--jobs J] [--json] [--counts] [--hashes] [--trace] [--shrink]\n"
    "          [--off FAULT,..] [--mounts N] [--apps N] [--no-locks] [--no-ranges]\n"
    "          [--no-attrs] [--no-mix] [--no-setid] [--no-known-bytes] [--no-kept]\n"
    "          [--no-late-lists] [--no-idle-files]\n"
    "\n"
    "Runs whole clusters on virtual time, one per seed, and checks them.\n"
    "--seeds A..B  at most 10,000,000 of them\n"
    "--minutes M   virtual minutes with faults (5; fractions are fine)\n"
    "--file FILE   lines of `seed [flags]  # why`\n"
    "--off LIST    faults that are not injected; `all`: none is\n"
    "--shrink      makes a failing seed's run as small as it still fails\n"
    "--counts      what happened in all runs, by kind\n"
    "--hashes      of each run: hash of its trace, events, what cluster it was\n"
    "--trace       one line per event on stderr\n"
    "exit: 0 clean, 1 a violation, 2 usage\n";

struct command {
    struct sim_options options;
    uint64_t first, last;
    const char *file;
    unsigned jobs;
    bool json, counts, hashes, shrink, any_seed;
};

/* ---- arguments ------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return !errno && end != text && !*end && text[0] != '-';
}

static bool parse_seeds(const char *text, uint64_t *first, uint64_t *last)
{
    char left[32];
    const char *dots = strstr(text, "..");
    if (!dots || (size_t)(dots - text) >= sizeof left)
        return false;
    memcpy(left, text, (size_t)(dots - text));
    left[dots - text] = '\0';
    return parse_number(left, first) && parse_number(dots + 2, last) && *first <= *last &&
           *last - *first < SEEDS_MAX; /* each is in memory until it is done */
}

static bool parse_faults(const char *text, uint64_t *mask)
{
    char copy[512], *save, *word;
    (void)snprintf(copy, sizeof copy, "%s", text);
    for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        uint64_t found = strcmp(word, "all") == 0 ? FAULTS_ALL : 0;
        for (uint32_t kind = 0; kind < FAULT_COUNT; kind++)
            if (strcmp(word, sim_fault_name((enum sim_fault)kind)) == 0)
                found = FAULT_BIT(kind);
        if (!found)
            return false;
        *mask |= found;
    }
    return true;
}

static bool parse_minutes(const char *text, time_us *ret)
{
    char *end;
    double minutes = strtod(text, &end);
    *ret = (time_us)(minutes * 60e6);
    return end != text && !*end && minutes > 0 && minutes < 1e6;
}

static bool parse_option(struct command *c, int option, const char *arg)
{
    uint64_t n = 0;
    switch (option) {
    case 's':
        c->any_seed = true;
        return parse_number(arg, &c->first) && parse_number(arg, &c->last);
    case 'r':
        c->any_seed = true;
        return parse_seeds(arg, &c->first, &c->last);
    case 'f':
        c->file = arg;
        return true;
    case 'm':
        return parse_minutes(arg, &c->options.length);
    case 'o':
        return parse_faults(arg, &c->options.faults_off);
    case 'j':
        c->jobs = parse_number(arg, &n) && n <= FARM_JOBS_MAX ? (unsigned)n : 0;
        return c->jobs > 0;
    case 'M':
        c->options.mounts_max = parse_number(arg, &n) && n <= SIM_MOUNTS_MAX ? (uint32_t)n : 0;
        return c->options.mounts_max > 0;
    case 'A':
        c->options.apps_max = parse_number(arg, &n) && n <= SIM_APPS_MAX ? (uint32_t)n : 0;
        return c->options.apps_max > 0;
    case 'L':
        return c->options.no_locks = true;
    case 'R':
        return c->options.no_ranges = true;
    case 'T':
        return c->options.no_attrs = true;
    case 'X':
        return c->options.no_mix = true;
    case 'U':
        return c->options.no_setid = true;
    case 'K':
        return c->options.no_known_bytes = true;
    case 'P':
        return c->options.no_kept = true;
    case 'l':
        return c->options.no_late_lists = true;
    case 'I':
        return c->options.no_idle_files = true;
    case 'J':
        return c->json = true;
    case 'c':
        return c->counts = true;
    case 'H':
        return c->hashes = true;
    case 't':
        return c->options.trace = true;
    case 'S':
        return c->shrink = true;
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct command *c)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},     {"seeds", required_argument, NULL, 'r'},
        {"file", required_argument, NULL, 'f'},     {"minutes", required_argument, NULL, 'm'},
        {"off", required_argument, NULL, 'o'},      {"jobs", required_argument, NULL, 'j'},
        {"mounts", required_argument, NULL, 'M'},   {"apps", required_argument, NULL, 'A'},
        {"no-locks", no_argument, NULL, 'L'},       {"no-ranges", no_argument, NULL, 'R'},
        {"no-attrs", no_argument, NULL, 'T'},       {"json", no_argument, NULL, 'J'},
        {"no-mix", no_argument, NULL, 'X'},         {"no-setid", no_argument, NULL, 'U'},
        {"no-known-bytes", no_argument, NULL, 'K'}, {"no-kept", no_argument, NULL, 'P'},
        {"no-late-lists", no_argument, NULL, 'l'},  {"no-idle-files", no_argument, NULL, 'I'},
        {"counts", no_argument, NULL, 'c'},         {"hashes", no_argument, NULL, 'H'},
        {"trace", no_argument, NULL, 't'},          {"shrink", no_argument, NULL, 'S'},
        {"help", no_argument, NULL, 'h'},           {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (!parse_option(c, option, optarg))
            return false;
    return optind == argc;
}

/* ---- making it smaller ----------------------------------------------------------------------- */

static bool still_fails(const struct sim_options *o, struct farm_run *best)
{
    struct farm_run run = {.options = *o};
    farm_run_one(&run);
    printf("  %s %s\n", run.result.failed ? "fails" : "clean", tell_replay(o));
    fflush(stdout);
    if (!run.result.failed)
        return false;
    *best = run;
    if (run.result.virtual_us < best->options.length) /* what comes later plays no part */
        best->options.length = run.result.virtual_us;
    return true;
}

/* Drops halves of the kinds of faults, then single ones, then mounts and applications, then time;
 * as long as anything still fails, whatever it is that fails. */
static struct farm_run shrink(const struct farm_run *failed)
{
    struct farm_run best = *failed;
    for (uint32_t width = FAULT_COUNT / 2; width > 0; width /= 2)
        for (uint32_t from = 0; from < FAULT_COUNT; from += width) {
            struct sim_options o = best.options;
            o.faults_off |= (FAULT_BIT(width) - 1) << from & FAULTS_ALL;
            if (o.faults_off != best.options.faults_off)
                (void)still_fails(&o, &best);
        }
    for (uint32_t mounts = 1; mounts < SIM_MOUNTS_MAX; mounts++) {
        struct sim_options o = best.options;
        o.mounts_max = mounts;
        if (still_fails(&o, &best))
            break;
    }
    for (uint32_t apps = 1; apps < SIM_APPS_MAX; apps++) {
        struct sim_options o = best.options;
        o.apps_max = apps;
        if (still_fails(&o, &best))
            break;
    }
    for (struct sim_options o = best.options; o.length > 5 * TIME_S;) {
        o.length /= 2;
        if (!still_fails(&o, &best))
            break;
        o = best.options;
    }
    return best;
}

/* ---- running --------------------------------------------------------------------------------- */

struct sweep {
    const struct command *command;
    struct totals totals;
};

static void on_result(void *ctx, const struct farm_run *run)
{
    struct sweep *s = ctx;
    tell_add(&s->totals, &run->result);
    if (s->command->hashes)
        tell_hash(run);
    if (run->result.failed)
        tell_violation(run, s->command->json);
    if (!run->result.failed || !s->command->shrink)
        return;
    printf("shrinking\n");
    struct farm_run small = shrink(run);
    printf("smallest: %s: %s\n  replay: %s\n", small.result.checker, small.result.detail,
           tell_replay(&small.options));
    fflush(stdout);
}

/* A line of a seeds file: `seed [flags]  # why`. */
static bool parse_line(char *line, const struct sim_options *defaults, struct sim_options *ret)
{
    char *words[16] = {(char *)(uintptr_t) "tally-sim", (char *)(uintptr_t) "--seed"}, *save;
    int count = 2;
    line[strcspn(line, "#\n")] = '\0';
    for (char *w = strtok_r(line, " \t", &save); w && count < 15; w = strtok_r(NULL, " \t", &save))
        words[count++] = w;
    if (count == 2)
        return true;
    struct command c = {.options = *defaults};
    optind = 0;
    if (!parse(count, words, &c))
        return false;
    *ret = c.options;
    ret->seed = c.first;
    return true;
}

static bool add_file(struct farm *farm, const char *path, const struct sim_options *defaults)
{
    char line[512];
    unsigned number = 0;
    bool ok = true;
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "tally-sim: %s: %s\n", path, strerror(errno));
        return false;
    }
    while (ok && fgets(line, sizeof line, f)) {
        struct sim_options o = {.length = 0};
        number++;
        ok = parse_line(line, defaults, &o);
        if (!ok)
            fprintf(stderr, "tally-sim: %s:%u is not `seed [flags]`\n", path, number);
        else if (o.length)
            farm_add(farm, &o, false);
    }
    (void)fclose(f);
    return ok;
}

static bool fill(struct farm *farm, const struct command *c)
{
    struct sim_options o = c->options;
    for (uint64_t seed = c->first; c->any_seed && seed <= c->last; seed++) {
        o.seed = seed;
        farm_add(farm, &o, (seed - c->first) % SAMPLE == 0 && !c->options.trace);
        if (seed == UINT64_MAX)
            break;
    }
    return !c->file || add_file(farm, c->file, &c->options);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct command c = {.options = {.length = 5 * 60 * TIME_S}, .jobs = 1};
    struct sweep sweep = {.command = &c};
    struct farm farm = {0};
    if (!parse(argc, argv, &c) || (!c.any_seed && !c.file)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (!fill(&farm, &c)) {
        farm_done(&farm);
        return EXIT_USAGE;
    }
    if (!c.json) {
        for (int i = 0; i < argc; i++)
            printf("%s%c", argv[i], i + 1 < argc ? ' ' : '\n');
        fflush(stdout);
    }
    double begun = seconds_now();
    farm_work(&farm, c.jobs, on_result, &sweep);
    farm_done(&farm);
    if (c.counts)
        tell_counts(&sweep.totals);
    tell_totals(&sweep.totals, seconds_now() - begun);
    return sweep.totals.violations ? EXIT_VIOLATION : EXIT_CLEAN;
}
