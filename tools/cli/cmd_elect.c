/* tally elect: how the ways to elect a leader compare, in simulation. */
#include "tools/cli/command.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "tools/cli/nearest.h"
#include "tools/elect/plot.h"
#include "tools/elect/sweep.h"
#include "tools/elect/table.h"

static const char usage[] =
    "tally elect [--strategy NAME,...] [--nodes N,...] [--profile NAME,...] [--raw]\n"
    "                   [--candidates C] [--voters V] [--runs R] [--seed S]\n"
    "                   [--json] [--plot FILE.svg]\n"
    "\n"
    "Lets simulated clusters elect leaders on a virtual clock and prints what it cost: messages\n"
    "per election, time to leader (detection included), time without one, split brains.\n"
    "  --strategy    candidate, bully, successor, invitation, ring (default: all five)\n"
    "  --nodes       sizes of the cluster, 3 to 4096 (default 3,5,7,25,100)\n"
    "  --profile     crash, top-k, flap, partition, bridge, delay, loss, all-at-once, rolling,\n"
    "                or all (default crash)\n"
    "  --raw         the book's version: who is nominated leads at once, nobody votes\n"
    "  --voters      how many vote: an odd number up to 29, or all nodes up to 31 (default: 7, or\n"
    "                as many as there are); the strategies run on all nodes all the same\n"
    "  --candidates  how many may lead; with ballots only voters (default: all voters; raw all\n"
    "                nodes, except for the strategy candidate)\n"
    "  --runs        runs per row (default: 100, fewer where a row gets long)\n"
    "  --seed        the same seed gives the same output (default 1)\n"
    "  --json        {\"schema\":\"tally/elect/1\",\"rows\":[...]}\n"
    "  --plot        also writes messages and time over the number of nodes as a picture\n"
    "\n"
    "docs/elections.md explains the strategies and reads the figures.\n";

enum {
    SIZES_MAX = 16,
    RUNS_DEFAULT = 100,
    EVENTS_MAX = 10 * 1000 * 1000, /* of a row, unless --runs says how many are wanted */
    SAY_EVERY_S = 10,
};

static const char *const strategy_names[] = {"candidate", "bully", "successor", "invitation",
                                             "ring"};
enum { STRATEGIES = sizeof strategy_names / sizeof *strategy_names };

struct options {
    const struct strategy_ops *strategies[STRATEGIES];
    uint32_t strategy_count;
    uint32_t sizes[SIZES_MAX];
    uint32_t size_count;
    enum profile profiles[PROFILE_COUNT];
    uint32_t profile_count;
    uint32_t candidates, voters, runs; /* 0: not said */
    uint64_t seed;
    bool raw, json;
    const char *plot;
};

/* ---- options --------------------------------------------------------------------------------- */

static bool wrong(const char *option, const char *value, const char *why)
{
    fprintf(stderr, "tally elect: %s %s: %s\n", option, value, why);
    return false;
}

static bool parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
                         uint64_t *ret)
{
    char why[64], *end;

    errno = 0;
    uint64_t v = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && errno == 0 && v >= min && v <= max) {
        *ret = v;
        return true;
    }
    if (max == UINT64_MAX)
        return wrong(option, text, "a whole number is needed");
    (void)snprintf(why, sizeof why, "a number from %" PRIu64 " to %" PRIu64 " is needed", min, max);
    return wrong(option, text, why);
}

static bool parse_small(const char *option, const char *text, uint64_t min, uint64_t max,
                        uint32_t *ret)
{
    uint64_t v;

    if (!parse_number(option, text, min, max, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

static bool add_size(struct options *o, const char *word)
{
    if (o->size_count == SIZES_MAX)
        return wrong("--nodes", word, "too many sizes");
    return parse_small("--nodes", word, ELECT_NODES_MIN, ELECT_NODES_MAX,
                       &o->sizes[o->size_count++]);
}

static bool unknown_word(const char *option, const char *word, const struct nearest *near)
{
    char why[80];

    if (near->best)
        (void)snprintf(why, sizeof why, "unknown; did you mean '%s'?", near->best);
    return wrong(option, word, near->best ? why : "unknown; `tally elect --help` lists them");
}

static bool add_strategy(struct options *o, const char *word)
{
    const struct strategy_ops *found = strategy_find(word);
    struct nearest near;

    if (!found) {
        nearest_init(&near, word);
        for (size_t i = 0; i < STRATEGIES; i++)
            nearest_offer(&near, strategy_names[i]);
        return unknown_word("--strategy", word, &near);
    }
    for (uint32_t i = 0; i < o->strategy_count; i++)
        if (o->strategies[i] == found)
            return wrong("--strategy", word, "named twice");
    o->strategies[o->strategy_count++] = found;
    return true;
}

static bool add_profile(struct options *o, const char *word)
{
    enum profile found;
    struct nearest near;

    if (!profile_find(word, &found)) {
        nearest_init(&near, word);
        for (enum profile p = PROFILE_CRASH; p < PROFILE_COUNT; p++)
            nearest_offer(&near, profile_name(p));
        return unknown_word("--profile", word, &near);
    }
    for (uint32_t i = 0; i < o->profile_count; i++)
        if (o->profiles[i] == found)
            return wrong("--profile", word, "named twice");
    o->profiles[o->profile_count++] = found;
    return true;
}

/* Every word of "a,b,c". */
static bool parse_list(struct options *o, const char *text,
                       bool (*add)(struct options *o, const char *word))
{
    char *words = xstrdup(text), *rest = words, *word;
    bool fine = true;

    while (fine && (word = strsep(&rest, ",")) != NULL)
        fine = add(o, word);
    free(words);
    return fine;
}

static bool parse_value(struct options *o, const char *name, const char *value)
{
    if (strcmp(name, "--strategy") == 0)
        return strcmp(value, "all") == 0 || parse_list(o, value, add_strategy);
    if (strcmp(name, "--nodes") == 0)
        return parse_list(o, value, add_size);
    if (strcmp(name, "--profile") == 0 && strcmp(value, "all") == 0)
        return parse_list(o, "crash,top-k,flap,partition,bridge,delay,loss,all-at-once,rolling",
                          add_profile);
    if (strcmp(name, "--profile") == 0)
        return parse_list(o, value, add_profile);
    if (strcmp(name, "--candidates") == 0)
        return parse_small(name, value, 1, ELECT_NODES_MAX, &o->candidates);
    if (strcmp(name, "--runs") == 0)
        return parse_small(name, value, 1, ELECT_RUNS_MAX, &o->runs);
    if (strcmp(name, "--seed") == 0)
        return parse_number(name, value, 0, UINT64_MAX, &o->seed);
    if (strcmp(name, "--plot") == 0) {
        o->plot = value;
        return true;
    }
    if (!parse_small(name, value, 1, NODE_ID_MAX, &o->voters)) /* --voters */
        return false;
    return o->voters % 2 == 1 ||
           wrong(name, value, "an odd number is needed: one more survives no more failures");
}

/* What does not depend on a single option. */
static bool check(struct options *o)
{
    char value[16];

    for (uint32_t i = 0; i < o->size_count; i++) {
        uint32_t voters = o->voters < o->sizes[i] ? o->voters : o->sizes[i];

        (void)snprintf(value, sizeof value, "%" PRIu32, o->voters);
        if (!o->raw && voters > ELECT_VOTERS_MAX && voters != o->sizes[i])
            return wrong("--voters", value, "at most 29, or as many as there are nodes");
        (void)snprintf(value, sizeof value, "%" PRIu32, o->candidates);
        voters = voters != 0 ? voters : elect_voters_default(o->sizes[i]);
        if (!o->raw && o->candidates > voters)
            return wrong("--candidates", value, "with ballots a candidate must be a voter");
        if (o->candidates > o->sizes[i])
            return wrong("--candidates", value, "more than there are nodes");
    }
    return true;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const char *const with_value[] = {"--strategy", "--nodes", "--profile", "--candidates",
                                             "--runs",     "--seed",  "--plot",    "--voters"};
    *o = (struct options){.seed = 1};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, count = sizeof with_value / sizeof *with_value;

        if (strcmp(argv[i], "--raw") == 0 || strcmp(argv[i], "--json") == 0) {
            *(argv[i][2] == 'r' ? &o->raw : &o->json) = true;
            continue;
        }
        while (k < count && strcmp(argv[i], with_value[k]) != 0)
            k++;
        if (k == count)
            return wrong("what is", argv[i], "`tally elect --help` lists the options");
        if (++i == argc)
            return wrong(argv[i - 1], "", "a value is missing");
        if (!parse_value(o, argv[i - 1], argv[i]))
            return false;
    }
    if (o->size_count == 0)
        (void)parse_list(o, "3,5,7,25,100", add_size);
    if (o->profile_count == 0)
        (void)add_profile(o, "crash");
    bool all_strategies = o->strategy_count == 0;
    for (size_t i = 0; all_strategies && i < STRATEGIES; i++)
        (void)add_strategy(o, strategy_names[i]);
    return check(o);
}

/* ---- progress -------------------------------------------------------------------------------- */

struct progress {
    bool terminal; /* stderr is one */
    bool shown;
    time_t said;
};

/* On a terminal a line that is written over; elsewhere a line now and then. */
static void show_progress(void *ctx, const struct elect_config *c, uint32_t done)
{
    struct progress *p = ctx;
    time_t now = time(NULL);

    if (!p->terminal && now < p->said + SAY_EVERY_S)
        return;
    fprintf(stderr, "%s%s: %s, %" PRIu32 " nodes, run %" PRIu32 " of %" PRIu32 "%s",
            p->terminal ? "\r" : "", profile_name(c->profile), c->strategy->name, c->nodes, done,
            c->runs, p->terminal ? "\033[K" : "\n");
    p->said = now;
    p->shown = p->terminal;
}

static void clear_progress(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}

/* ---- results --------------------------------------------------------------------------------- */

static json_t *figure(double v)
{
    return v < 0 ? json_null() : json_real(v);
}

static json_t *row_json(const struct elect_row *row)
{
    const struct elect_config *c = &row->config;
    const struct stats_summary *f = &row->figures;

    return json_pack(
        "{s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:f, s:I, s:I, "
        "s:I, "
        "s:I}",
        "strategy", c->strategy->name, "nodes", (json_int_t)c->nodes, "profile",
        profile_name(c->profile), "raw", c->raw, "candidates", (json_int_t)c->candidates, "voters",
        (json_int_t)(c->raw ? 0 : c->voters), "runs", (json_int_t)row->runs,
        "messages_per_election", figure(f->messages_per_election), "busiest_node",
        figure(f->busiest_node), "leader_ms_p50", figure(f->leader_ms_p50), "leader_ms_p99",
        figure(f->leader_ms_p99), "elections_per_failure", figure(f->elections_per_failure),
        "leaderless_share", figure(f->leaderless_share), "split_brains",
        (json_int_t)row->split_brains, "split_ms", row->split_ms, "stale_leaders",
        (json_int_t)row->stale_leaders, "unresolved", (json_int_t)row->unresolved, "elections",
        (json_int_t)row->elections, "failures", (json_int_t)row->failures);
}

static int print_json(const struct elect_row *rows, size_t count)
{
    json_t *list = json_array(), *all;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, row_json(&rows[i]));
    all = json_pack("{s:s, s:o}", "schema", "tally/elect/1", "rows", list);
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    printf("\n");
    return EXIT_DONE;
}

static int write_plot(const char *path, const struct elect_row *rows, size_t count)
{
    FILE *out = fopen(path, "w");
    bool fine = out != NULL;

    if (out) {
        plot_write(out, rows, count);
        fine = !ferror(out);
        if (fclose(out) != 0)
            fine = false;
    }
    if (fine)
        return EXIT_DONE;
    fprintf(stderr, "tally elect: %s: %s\n", path, strerror(errno));
    return EXIT_FAILED;
}

/* ---- the sweep ------------------------------------------------------------------------------- */

static struct elect_config config_for(const struct options *o, enum profile profile, uint32_t nodes,
                                      const struct strategy_ops *strategy)
{
    uint32_t odd = nodes - (nodes % 2 == 0);
    uint32_t voters = o->voters == 0      ? elect_voters_default(nodes)
                      : o->voters < nodes ? o->voters
                                          : odd;
    bool anybody = o->raw && strcmp(strategy->name, "candidate") != 0;

    return (struct elect_config){
        .strategy = strategy,
        .profile = profile,
        .nodes = nodes,
        .voters = voters,
        .candidates = o->candidates != 0 ? o->candidates
                      : anybody          ? nodes
                                         : voters,
        .raw = o->raw,
        .runs = o->runs != 0 ? o->runs : RUNS_DEFAULT,
        .events_max = o->runs != 0 ? 0 : EVENTS_MAX,
        .seed = o->seed,
    };
}

static void sweep_size(const struct options *o, enum profile profile, uint32_t nodes,
                       struct elect_row *rows, struct progress *progress)
{
    for (uint32_t i = 0; i < o->strategy_count; i++) {
        struct elect_config config = config_for(o, profile, nodes, o->strategies[i]);

        elect_sweep(&config, show_progress, progress, &rows[i]);
        clear_progress(progress);
        if (!o->json)
            table_row(stdout, &rows[i]);
        (void)fflush(stdout);
    }
}

static size_t sweep(const struct options *o, struct elect_row *rows)
{
    struct progress progress = {.terminal = isatty(STDERR_FILENO), .said = time(NULL)};
    size_t count = 0;

    for (uint32_t p = 0; p < o->profile_count; p++) {
        if (!o->json)
            table_heading(stdout, o->profiles[p], o->raw);
        for (uint32_t s = 0; s < o->size_count; s++) {
            sweep_size(o, o->profiles[p], o->sizes[s], &rows[count], &progress);
            count += o->strategy_count;
        }
        if (!o->json)
            printf("\n");
    }
    return count;
}

static void print_notes(const struct elect_row *rows, size_t count)
{
    bool cut = false;

    for (size_t i = 0; i < count; i++)
        cut = cut || rows[i].runs < rows[i].config.runs;
    if (cut)
        printf("fewer than %d runs where a row took %d million events; --runs sets the number\n",
               RUNS_DEFAULT, EVENTS_MAX / (1000 * 1000));
}

static int run_elect(int argc, char **argv)
{
    struct options o;
    int r = EXIT_DONE;

    if (!parse(argc, argv, &o))
        return EXIT_USAGE;
    struct elect_row *rows =
        xcalloc((size_t)o.profile_count * o.size_count * o.strategy_count, sizeof *rows);
    size_t count = sweep(&o, rows);
    if (o.json)
        r = print_json(rows, count);
    else
        print_notes(rows, count);
    if (o.plot)
        r = write_plot(o.plot, rows, count);
    free(rows);
    return r;
}

const struct command command_elect = {
    .name = "elect",
    .summary = "compares five ways to elect a leader, in simulation",
    .usage = usage,
    .run = run_elect,
};
