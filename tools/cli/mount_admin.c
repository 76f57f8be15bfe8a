/* Questions of people to a mount's daemon: one JSON object in, one out. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "repl/io/log.h"
#include "repl/wire/frame.h"
#include "tools/cli/mount.h"
#include "tools/cli/text.h"

static const char *phase_word(enum mount_phase phase)
{
    switch (phase) {
    case MOUNT_STARTING:
        return "starting";
    case MOUNT_RUNNING:
        return "running";
    case MOUNT_DETACHING:
    case MOUNT_FLUSHING:
        return "stopping";
    case MOUNT_OVER:
        return "over";
    }
    return "?";
}

/* Names and paths may hold any bytes, a JSON string only UTF-8. */
static json_t *json_text(const char *bytes)
{
    char *text = xstrdup(bytes);
    text_make_printable(text);
    json_t *j = json_string(text);
    free(text);
    return j;
}

static json_t *answer_ping(const struct mount *m)
{
    return json_pack("{s:o, s:b, s:s}", "name", json_text(m->name), "ready",
                     m->phase == MOUNT_RUNNING, "phase", phase_word(m->phase));
}

static json_t *links_json(const struct mount *m)
{
    json_t *links = json_object();
    for (size_t i = 0; i < m->config->nodes_count; i++) {
        const struct config_node *n = &m->config->nodes[i];
        (void)json_object_set_new(links, n->name, json_boolean(m->links[n->id] != NULL));
    }
    return links;
}

static json_t *stats_json(const struct mount *m)
{
    struct client_stats s = client_stats(m->client, mount_now());
    const struct config_node *leader = s.leader ? config_find_id(m->config, s.leader) : NULL;
    bool settled = s.uncommitted == 0 && s.ops_waiting == 0;
    return json_pack(
        "{s:I, s:I, s:I, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "session",
        (json_int_t)s.session, "token", (json_int_t)s.token, "term", (json_int_t)s.term, "leader",
        leader ? leader->name : NULL, "dirty_bytes", (json_int_t)s.dirty_bytes, "inflight_bytes",
        (json_int_t)s.inflight_bytes, "ops_waiting", (json_int_t)s.ops_waiting, "leases",
        (json_int_t)s.leases, "cached_attrs", (json_int_t)s.cached_attrs, "cached_names",
        (json_int_t)s.cached_names, "open_files", (json_int_t)s.open_files, "oldest_wait_ms",
        (json_int_t)(s.oldest_wait_us / 1000), "lease_valid", s.lease_valid, "settled", settled);
}

static json_t *answer_status(const struct mount *m)
{
    json_t *j = json_pack("{s:s, s:o, s:o, s:s, s:i, s:i, s:b, s:s, s:o}", "schema",
                          "tally/mount-status/1", "name", json_text(m->name), "mountpoint",
                          json_text(m->point), "phase", phase_word(m->phase), "pid", (int)getpid(),
                          "protocol", (int)FRAME_VERSION, "epoch", m->epoch, "consistency",
                          m->options->consistency == CLIENT_SESSION ? "session" : "linearizable",
                          "links", links_json(m));
    if (m->client) {
        json_t *stats = stats_json(m);
        (void)json_object_update(j, stats);
        json_decref(stats);
    }
    return j;
}

static void add_line(void *ctx, const char *text)
{
    (void)json_array_append_new(ctx, json_text(text));
}

/* All waits, or those of one inode. Who wants a path's waits gets them all: looking the path up
 * could wait itself. */
static json_t *answer_explain(const struct mount *m, const json_t *request)
{
    json_t *lines = json_array();
    json_int_t ino = json_integer_value(json_object_get(request, "ino"));
    if (m->client)
        client_explain(m->client, mount_now(), ino > 0 ? (uint64_t)ino : 0, add_line, lines);
    else
        add_line(lines, "the kernel has not said hello yet");
    for (size_t i = 0; i < m->config->nodes_count && json_array_size(lines); i++) {
        char text[128];
        if (m->links[m->config->nodes[i].id])
            continue;
        (void)snprintf(text, sizeof text, "no connection to %s (%.64s)", m->config->nodes[i].name,
                       m->config->nodes[i].address);
        add_line(lines, text);
    }
    return json_pack("{s:s, s:o}", "schema", "tally/explain/1", "lines", lines);
}

/* From now on nothing passes between us and the nodes named (`tally lab cut`); none: all is mended.
 */
static json_t *answer_cuts(struct mount *m, const json_t *request)
{
    const char *names[CONFIG_NODES_MAX * 4];
    size_t count = 0, i;
    json_t *name;
    json_array_foreach(json_object_get(request, "peers"), i, name)
    {
        if (json_string_value(name) && count < sizeof names / sizeof *names)
            names[count++] = json_string_value(name);
    }
    link_hub_set_cuts(m->hub, names, count);
    log_info("cuts", "peers=%zu", count);
    return json_pack("{s:b, s:i}", "ok", 1, "cuts", (int)count);
}

static json_t *answer_stop(struct mount *m)
{
    json_t *answer = answer_ping(m);
    if (m->phase == MOUNT_RUNNING || m->phase == MOUNT_STARTING)
        mount_stop(m, "asked to");
    return answer;
}

static json_t *answer_to(struct mount *m, const json_t *request)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd"));
    if (!cmd)
        return json_pack("{s:s}", "error", "no cmd");
    if (strcmp(cmd, "ping") == 0)
        return answer_ping(m);
    if (strcmp(cmd, "status") == 0)
        return answer_status(m);
    if (strcmp(cmd, "explain") == 0)
        return answer_explain(m, request);
    if (strcmp(cmd, "cuts") == 0)
        return answer_cuts(m, request);
    if (strcmp(cmd, "stop") == 0)
        return answer_stop(m);
    return json_pack("{s:s}", "error", "unknown cmd");
}

void mount_admin_frame(struct mount *m, struct link *link, const uint8_t *control, size_t size)
{
    json_t *request = json_loadb((const char *)control, size, 0, NULL);
    if (!request) {
        link_close(link, "a question that is not JSON");
        return;
    }
    json_t *answer = answer_to(m, request);
    char *text = json_dumps(answer, JSON_COMPACT);
    if (text)
        link_send(link, FRAME_ADMIN_REPLY, text, strlen(text), NULL, 0);
    free(text);
    json_decref(answer);
    json_decref(request);
}
