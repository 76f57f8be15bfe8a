/* tally status: am I fine, and what can I still lose. */
#include "tools/cli/command.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/admin.h"
#include "tools/cli/config.h"

static const char usage[] =
    "tally status [--config FILE] [--json] [--check]\n"
    "  --check   only the exit code: 0 healthy, 1 degraded, 2 unavailable, 3 unknown\n";

enum { AGAIN_TRIES = 5, AGAIN_PAUSE_US = 100000 };
enum health { HEALTHY, DEGRADED, UNAVAILABLE, UNKNOWN };
static const char *const health_words[] = {"HEALTHY", "DEGRADED", "UNAVAILABLE", "UNKNOWN"};

struct survey {
    const struct config *config;
    json_t *answers[CONFIG_NODES_MAX]; /* NULL: does not answer */
    int errors[CONFIG_NODES_MAX];
    size_t copies, witnesses, up, whole_copies, majority;
    json_t *leader; /* borrowed: the answer of who leads in the highest term */
    enum health health;
    int can_lose; /* further nodes, any of them */
};

static json_int_t number(const json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "-";
}

static void ask_all(struct survey *s)
{
    for (size_t i = 0; i < s->config->nodes_count; i++) {
        const struct config_node *n = &s->config->nodes[i];
        s->errors[i] = admin_command(n->address, s->config->uuid, "status", 1500, &s->answers[i]);
        if (s->errors[i] < 0)
            s->answers[i] = NULL;
        n->witness ? s->witnesses++ : s->copies++;
        s->up += s->answers[i] != NULL;
        const json_t *a = s->answers[i];
        if (a && strcmp(text(a, "election"), "leader") == 0 &&
            (!s->leader || number(a, "term") > number(s->leader, "term")))
            s->leader = s->answers[i];
    }
}

static bool is_whole(const struct survey *s, const json_t *a)
{
    return a && s->leader && !number(a, "missing") &&
           number(a, "applied") >= number(s->leader, "commit");
}

/* The leader's commit index was told at another moment than what a copy had applied: one that only
 * lacked that moment is asked again. */
static void ask_again(struct survey *s)
{
    for (size_t i = 0; i < s->config->nodes_count; i++) {
        const struct config_node *n = &s->config->nodes[i];
        for (int tries = 0; tries < AGAIN_TRIES && !n->witness && s->leader && s->answers[i] &&
                            s->answers[i] != s->leader && !number(s->answers[i], "missing") &&
                            !is_whole(s, s->answers[i]);
             tries++) {
            json_t *newer;
            (void)usleep(AGAIN_PAUSE_US);
            if (admin_command(n->address, s->config->uuid, "status", 1500, &newer) < 0)
                break;
            json_decref(s->answers[i]);
            s->answers[i] = newer;
        }
    }
}

/* f+1 byte holders must stay among those that are up: RULES B3. A copy that is behind helps to vote
 * but what it lacks must not be lost elsewhere, so it counts as a failure already spent. */
static void judge(struct survey *s)
{
    const struct config *c = s->config;
    s->majority = c->nodes_count / 2 + 1;
    size_t usable = 0;
    for (size_t i = 0; i < c->nodes_count; i++) {
        bool whole = is_whole(s, s->answers[i]);
        s->whole_copies += whole && !c->nodes[i].witness;
        usable += s->answers[i] && (c->nodes[i].witness || whole);
    }
    s->can_lose = usable > s->majority ? (int)(usable - s->majority) : 0;
    if (s->up == 0)
        s->health = UNKNOWN;
    else if (!s->leader || !json_is_true(json_object_get(s->leader, "ready")))
        s->health = UNAVAILABLE;
    else
        s->health = usable == c->nodes_count ? HEALTHY : DEGRADED;
}

static void print_bytes(char *buf, size_t size, json_int_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    (void)snprintf(buf, size, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

static const char *unreachable_word(int error)
{
    return error == -ETIMEDOUT         ? "silent"
           : error == -EPROTO          ? "stranger"
           : error == -EPROTONOSUPPORT ? "other build"
                                       : "down";
}

static void print_node(const struct survey *s, size_t i)
{
    const struct config_node *n = &s->config->nodes[i];
    const json_t *a = s->answers[i];
    const char *role = n->witness ? "witness" : "copy";
    if (!a) {
        printf("%-6s %-8s %-12s %8s %10s  %s\n", n->name, role, unreachable_word(s->errors[i]), "-",
               "-", n->address);
        return;
    }
    char data[32];
    print_bytes(data, sizeof data, number(a, "data_bytes"));
    json_int_t commit = s->leader ? number(s->leader, "commit") : number(a, "commit");
    json_int_t lag = commit > number(a, "applied") ? commit - number(a, "applied") : 0;
    const char *state = "up";
    if (!n->witness && s->leader && !is_whole(s, a))
        state = "catching up";
    char lag_text[32] = "-";
    if (!n->witness && lag)
        (void)snprintf(lag_text, sizeof lag_text, "%lld", (long long)lag);
    printf("%-6s %-8s %-12s %8s %10s  %s\n", n->name, role, state, lag_text, data,
           a == s->leader               ? "leader"
           : json_object_get(a, "note") ? text(a, "note")
                                        : "");
}

static void print_warnings(const struct survey *s)
{
    for (size_t i = 0; i < s->config->nodes_count; i++) {
        const struct config_node *n = &s->config->nodes[i];
        const json_t *a = s->answers[i];
        if (!a && s->errors[i] == -EPROTONOSUPPORT)
            printf("\nWARN TALLY-1005  %s runs another build of TallyFS, which does not talk to "
                   "this one: use one build for all nodes, mounts and commands\n",
                   n->name);
        else if (!a)
            printf("\nWARN TALLY-1001  %s does not answer (%s): start it, or see its log\n",
                   n->name, strerror(-s->errors[i]));
        else if (!n->witness && number(a, "missing"))
            printf(
                "\nWARN TALLY-1003  %s still fetches %lld blocks: until then losing the node that "
                "has them makes their files unreadable\n",
                n->name, (long long)number(a, "missing"));
        if (a && json_is_true(json_object_get(a, "full")))
            printf("\nWARN TALLY-1004  %s is full (%s): writers get ENOSPC; give it space\n",
                   n->name, text(a, "store"));
    }
}

static void print_survey(const struct survey *s)
{
    char lose[48];
    if (s->health >= UNAVAILABLE)
        (void)snprintf(lose, sizeof lose, "no service now");
    else if (s->can_lose == 0)
        (void)snprintf(lose, sizeof lose, "can lose: no further node");
    else
        (void)snprintf(lose, sizeof lose, "can lose: any %d node%s", s->can_lose,
                       s->can_lose == 1 ? "" : "s");
    printf("cluster  %-10s %-12s %s\n", s->config->name, health_words[s->health], lose);
    if (s->leader)
        printf("leader   %-10s term %-7lld election %s\n", text(s->leader, "name"),
               (long long)number(s->leader, "term"), text(s->leader, "strategy"));
    else
        printf("leader   none: %zu of %zu nodes answer, a majority is %zu\n", s->up,
               s->config->nodes_count, s->majority);
    printf("\n%-6s %-8s %-12s %8s %10s  %s\n", "NODE", "ROLE", "STATE", "LAG", "DATA", "NOTE");
    for (size_t i = 0; i < s->config->nodes_count; i++)
        print_node(s, i);
    print_warnings(s);
}

static json_t *survey_json(const struct survey *s)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < s->config->nodes_count; i++) {
        const struct config_node *n = &s->config->nodes[i];
        json_t *j =
            json_pack("{s:s, s:s, s:s}", "name", n->name, "role", n->witness ? "witness" : "copy",
                      "state", s->answers[i] ? "up" : unreachable_word(s->errors[i]));
        if (s->answers[i])
            json_object_update_missing(j, s->answers[i]);
        json_array_append_new(nodes, j);
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:o, s:o}", "schema", "tally/status/1", "cluster",
                     s->config->name, "health", health_words[s->health], "can_lose", s->can_lose,
                     "leader", s->leader ? json_string(text(s->leader, "name")) : json_null(),
                     "nodes", nodes);
}

static int run_status(int argc, char **argv)
{
    const char *path = "/etc/tally/tally.conf";
    bool json = false, check = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--check") == 0)
            check = true;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[++i];
        else {
            fprintf(stderr, "tally status: what is '%s'?\nusage: %s", argv[i], usage);
            return check ? UNKNOWN : EXIT_USAGE;
        }
    }
    static struct config config;
    char error[1024];
    if (config_load(path, &config, error, sizeof error) < 0) {
        fprintf(stderr, "tally status: %s\n", error);
        return check ? UNKNOWN : EXIT_FAILED;
    }
    struct survey s = {.config = &config};
    ask_all(&s);
    ask_again(&s);
    judge(&s);
    if (json) {
        json_t *j = survey_json(&s);
        json_dumpf(j, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(j);
    } else if (!check) {
        print_survey(&s);
    }
    for (size_t i = 0; i < config.nodes_count; i++)
        json_decref(s.answers[i]);
    return check ? (int)s.health : EXIT_DONE;
}

const struct command command_status = {
    .name = "status",
    .summary = "am I fine, and what can I still lose",
    .usage = usage,
    .run = run_status,
};
