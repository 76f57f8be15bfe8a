#include "tools/cli/lab.h"

#include <stdio.h>
#include <string.h>

#include "tools/cli/admin.h"

static const char *process_word(enum lab_process_state s)
{
    switch (s) {
    case LAB_DOWN:
        return "down";
    case LAB_UP:
        return "up";
    case LAB_FROZEN:
        return "frozen";
    }
    return "?";
}

static json_t *ask(const struct lab *lab, const struct lab_member *m, bool verify, int timeout_ms)
{
    char address[LAB_PATH_MAX + 16];
    lab_address(lab, m, address, sizeof address);
    json_t *request = json_pack("{s:s, s:b}", "cmd", "status", "verify", verify ? 1 : 0);
    json_t *answer = NULL;
    int r = admin_ask(address, lab->config.uuid, request, timeout_ms, &answer);
    json_decref(request);
    return r == 0 ? answer : NULL;
}

/* One member's object: what its process is, and what it answers when asked. */
static json_t *member_status(const struct lab *lab, const struct lab_member *m, bool verify,
                             int timeout_ms)
{
    pid_t pid = 0;
    enum lab_process_state process = lab_process(lab, m, &pid);
    json_t *own = process == LAB_UP ? ask(lab, m, verify, timeout_ms) : NULL;
    const char *state = process_word(process);
    if (process == LAB_UP && !own)
        state = "silent";
    json_t *j = json_pack("{s:s, s:s}", "name", m->name, "state", state);
    if (m->is_mount) {
        char path[LAB_PATH_MAX + 1];
        lab_path(lab, path, sizeof path, "mnt/%s", m->name);
        json_object_set_new(j, "path", json_string(path));
    } else {
        json_object_set_new(j, "role", json_string(m->witness ? "witness" : "copy"));
    }
    json_object_set_new(j, "pid", process == LAB_DOWN ? json_null() : json_integer((int)pid));
    if (own) {
        json_object_del(own, "name");
        json_object_update_missing(j, own);
        json_decref(own);
    }
    return j;
}

/* Who says it leads, in the highest term of those who do. */
static const char *leader_of(const json_t *nodes)
{
    const char *leader = NULL;
    json_int_t best = -1;
    size_t i;
    json_t *n;
    json_array_foreach(nodes, i, n)
    {
        const char *raft = json_string_value(json_object_get(n, "election"));
        json_int_t term = json_integer_value(json_object_get(n, "term"));
        if (raft && strcmp(raft, "leader") == 0 && term > best) {
            leader = json_string_value(json_object_get(n, "name"));
            best = term;
        }
    }
    return leader;
}

json_t *lab_status(const struct lab *lab, bool verify, int timeout_ms)
{
    json_t *nodes = json_array(), *mounts = json_array();
    for (size_t i = 0; i < lab->count; i++) {
        const struct lab_member *m = &lab->members[i];
        json_array_append_new(m->is_mount ? mounts : nodes,
                              member_status(lab, m, verify, timeout_ms));
    }
    const char *leader = leader_of(nodes);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:O}", "schema", "tally/lab-status/1", "dir",
                     lab->dir, "leader", leader ? json_string(leader) : json_null(), "nodes", nodes,
                     "mounts", mounts, "cuts", lab->cuts);
}

static json_int_t number(const json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "-";
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        if (strcmp(text(m, "name"), name) == 0)
            return m;
    }
    return NULL;
}

void lab_print_status(const struct lab *lab, const json_t *status)
{
    const json_t *nodes = json_object_get(status, "nodes");
    const char *leader = json_string_value(json_object_get(status, "leader"));
    const char *why = lab_unsettled(lab, status);
    json_int_t commit = leader ? number(named(nodes, leader), "commit") : 0;
    size_t i;
    json_t *m;
    if (leader)
        printf("lab      %s    leader %s (term %lld)    %s%s\n", lab->dir, leader,
               (long long)number(named(nodes, leader), "term"), why ? "not settled: " : "settled",
               why ? why : "");
    else
        printf("lab      %s    NO LEADER\n", lab->dir);
    printf("\n%-6s %-8s %-8s %-10s %8s %8s %8s  %s\n", "NODE", "ROLE", "STATE", "ELECTION", "PID",
           "LAG", "MISSING", "NOTE");
    json_array_foreach(nodes, i, m)
    {
        json_int_t lag = commit > number(m, "applied") ? commit - number(m, "applied") : 0;
        bool answers = json_object_get(m, "term") != NULL;
        if (strcmp(text(m, "role"), "witness") == 0)
            lag = 0;
        printf("%-6s %-8s %-8s %-10s %8lld ", text(m, "name"), text(m, "role"), text(m, "state"),
               text(m, "election"), (long long)number(m, "pid"));
        if (answers)
            printf("%8lld %8lld  %s\n", (long long)lag, (long long)number(m, "missing"),
                   json_object_get(m, "note") ? text(m, "note") : "");
        else
            printf("%8s %8s\n", "-", "-");
    }
    printf("\n%-6s %-8s %8s %10s %8s  %s\n", "MOUNT", "STATE", "PID", "DIRTY", "WAITING", "PATH");
    json_array_foreach(json_object_get(status, "mounts"), i, m)
        printf("%-6s %-8s %8lld %10lld %8lld  %s\n", text(m, "name"), text(m, "state"),
               (long long)number(m, "pid"), (long long)number(m, "dirty_bytes"),
               (long long)number(m, "ops_waiting"), text(m, "path"));
    if (json_array_size(lab->cuts)) {
        printf("\ncut:");
        json_array_foreach(lab->cuts, i, m)
            printf(" %s|%s", json_string_value(json_array_get(m, 0)),
                   json_string_value(json_array_get(m, 1)));
        printf("\n");
    }
}

static const char *copy_unsettled(const json_t *n, const json_t *leader, char *why, size_t size)
{
    const char *name = text(n, "name");
    if (number(n, "applied") != number(leader, "commit"))
        (void)snprintf(why, size, "%s has applied %lld of %lld entries", name,
                       (long long)number(n, "applied"), (long long)number(leader, "commit"));
    else if (number(n, "missing"))
        (void)snprintf(why, size, "%s still fetches %lld blocks", name,
                       (long long)number(n, "missing"));
    else if (strcmp(text(n, "state_hash"), text(leader, "state_hash")) != 0)
        (void)snprintf(why, size, "%s and %s hold DIFFERENT state at entry %lld", name,
                       text(leader, "name"), (long long)number(leader, "applied"));
    else if (strcmp(text(n, "blocks_hash"), text(leader, "blocks_hash")) != 0)
        (void)snprintf(why, size, "%s and %s hold different blocks", name, text(leader, "name"));
    else if (json_is_false(json_object_get(n, "verified")))
        (void)snprintf(why, size, "%s: its state does not match its own hash", name);
    else
        return NULL;
    return why;
}

static const char *witness_unsettled(const json_t *n, char *why, size_t size)
{
    if (!number(n, "held_bytes"))
        return NULL;
    (void)snprintf(why, size, "%s still holds %lld bytes for a copy", text(n, "name"),
                   (long long)number(n, "held_bytes"));
    return why;
}

const char *lab_unsettled(const struct lab *lab, const json_t *status)
{
    static char why[256];
    (void)lab;
    const json_t *nodes = json_object_get(status, "nodes");
    const char *leader_name = json_string_value(json_object_get(status, "leader"));
    size_t i;
    json_t *m;
    json_array_foreach(nodes, i, m)
    {
        if (strcmp(text(m, "state"), "up") == 0)
            continue;
        (void)snprintf(why, sizeof why, "%s is %s", text(m, "name"), text(m, "state"));
        return why;
    }
    if (!leader_name)
        return "there is no leader";
    const json_t *leader = named(nodes, leader_name);
    json_array_foreach(json_object_get(status, "mounts"), i, m)
    {
        json_int_t left = number(m, "dirty_bytes") + number(m, "inflight_bytes");
        if (!left)
            continue;
        (void)snprintf(why, sizeof why, "%s has %lld bytes to write", text(m, "name"),
                       (long long)left);
        return why;
    }
    json_array_foreach(nodes, i, m)
    {
        const char *r = strcmp(text(m, "role"), "witness") == 0
                            ? witness_unsettled(m, why, sizeof why)
                            : copy_unsettled(m, leader, why, sizeof why);
        if (r)
            return r;
    }
    return NULL;
}
