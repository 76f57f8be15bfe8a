/* Questions of people to a node: one JSON object in, one out. */
#include "node/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/base/hash.h"
#include "repl/io/log.h"
#include "repl/wire/frame.h"

static const char *role_word(enum replica_role role)
{
    switch (role) {
    case REPLICA_FOLLOWER:
        return "follower";
    case REPLICA_CANDIDATE:
        return "candidate";
    case REPLICA_LEADER:
        return "leader";
    case REPLICA_RESCUE_LEADER:
        return "rescue";
    }
    return "?";
}

static const char *lag_word(enum replica_lag lag)
{
    switch (lag) {
    case REPLICA_LAG_NONE:
        return "none";
    case REPLICA_LAG_LINK:
        return "no link";
    case REPLICA_LAG_SLOW:
        return "slow";
    case REPLICA_LAG_SNAPSHOT:
        return "snapshot";
    case REPLICA_LAG_BYTES:
        return "bytes";
    }
    return "?";
}

static json_t *peers_json(const struct node *n, const struct replica_status *s)
{
    json_t *peers = json_array();
    for (uint32_t i = 0; i < s->peers_count; i++) {
        const struct replica_peer_status *p = &s->peers[i];
        (void)json_array_append_new(
            peers, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:s}", "name", node_name_of(n, p->id),
                             "link", p->link_up, "match", (json_int_t)p->match, "applied",
                             (json_int_t)p->applied, "whole", (json_int_t)p->whole_index, "rtt_us",
                             (json_int_t)p->rtt_us, "lag", lag_word(p->lag)));
    }
    return peers;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

struct count {
    const struct node *node;
    bool hash;
    uint64_t blocks, bytes, sum;
};

/* The sum over all blocks held, so that the order does not matter. A copy's are those its maps
 * name. */
static bool count_block(void *ctx, const struct block_ref *ref)
{
    struct count *c = ctx;
    if (c->node->state && !fs_block_named(c->node->state, ref->name, NULL))
        return true;
    c->blocks++;
    c->bytes += ref->size;
    if (c->hash)
        c->sum += hash64_seed(&ref->digest, sizeof ref->digest, block_name_hash(ref->name));
    return true;
}

static void add_copy(struct node *n, json_t *j, bool verify)
{
    char text[64];
    struct fs_totals totals = fs_state_totals(n->state);
    struct fs_hash hash = fs_state_hash(n->state);
    (void)snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, hash.hi, hash.lo);
    (void)json_object_set_new(j, "state_hash", json_string(text));
    (void)json_object_set_new(j, "inodes", json_integer((json_int_t)totals.inodes));
    (void)json_object_set_new(j, "blocks", json_integer((json_int_t)totals.blocks));
    (void)json_object_set_new(j, "data_bytes", json_integer((json_int_t)totals.bytes));
    (void)json_object_set_new(j, "reserved_bytes", json_integer((json_int_t)totals.reserved));
    if (!verify)
        return;
    struct count count = {.node = n, .hash = true};
    store_each_block(n->store, count_block, &count);
    (void)snprintf(text, sizeof text, "%" PRIu64 ":%016" PRIx64, count.blocks, count.sum);
    (void)json_object_set_new(j, "blocks_hash", json_string(text));
    struct fs_hash again = fs_state_rehash(n->state);
    bool same = again.hi == hash.hi && again.lo == hash.lo && count.blocks == totals.blocks;
    (void)json_object_set_new(j, "verified", json_boolean(same));
}

static void add_witness(const struct node *n, json_t *j)
{
    struct count count = {.node = n};
    store_each_block(n->store, count_block, &count);
    (void)json_object_set_new(j, "blocks", json_integer((json_int_t)count.blocks));
    (void)json_object_set_new(j, "held_bytes", json_integer((json_int_t)count.bytes));
    (void)json_object_set_new(j, "demote_index", json_integer((json_int_t)n->demote_index));
}

static const char *note(const struct node *n, bool full)
{
    if (n->install.from)
        return "getting a snapshot";
    if (full)
        return "FULL";
    if (!n->self->witness && store_missing_count(n->store))
        return "fetching blocks";
    if (!n->self->witness && n->applied < n->advance)
        return "catching up";
    if (n->self->witness && (n->draft_mask & 1u << n->self->id))
        return "drafted";
    return "";
}

static json_t *status_json(struct node *n, bool verify)
{
    static struct replica_status s; /* large */
    struct store_stats stats;
    uint64_t total, free_bytes;
    struct fs_app_stats app = fs_app_stats(n->app);
    replica_status(n->replica, &s);
    store_stats(n->store, &stats);
    store_space(n->store, &total, &free_bytes);
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:b, s:I, s:s}", "schema",
                          "tally/node-status/1", "name", n->self->name, "role",
                          n->self->witness ? "witness" : "copy", "pid", (int)getpid(), "election",
                          role_word(s.role), "strategy", n->config.election->name, "ready", s.ready,
                          "term", (json_int_t)s.term, "follows", node_name_of(n, s.leader));
    json_t *more = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:s, s:o}", "first",
        (json_int_t)s.first_index, "last", (json_int_t)s.last_index, "commit", (json_int_t)s.commit,
        "applied", (json_int_t)(n->self->witness ? s.commit : n->applied), "durable_applied",
        (json_int_t)n->durable_applied, "missing", (json_int_t)store_missing_count(n->store),
        "total", (json_int_t)total, "free", (json_int_t)free_bytes, "log_bytes",
        (json_int_t)stats.log_bytes, "block_bytes", (json_int_t)stats.block_bytes, "full",
        free_bytes == 0, "flush_p99_us", (json_int_t)stats.flush_p99_us, "loop_max_us",
        (json_int_t)n->loop_max_us, "note", note(n, free_bytes == 0), "peers", peers_json(n, &s));
    (void)json_object_update(j, more);
    json_decref(more);
    json_t *service =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "clients", (json_int_t)app.clients, "sessions",
                  (json_int_t)app.sessions, "promises", (json_int_t)app.promises, "waiting",
                  (json_int_t)app.waiting_requests, "recalls", (json_int_t)app.recalls,
                  "sessions_ended", (json_int_t)app.sessions_ended);
    (void)json_object_update(j, service);
    json_decref(service);
    if (n->state)
        add_copy(n, j, verify);
    else
        add_witness(n, j);
    return j;
}

static void add_line(void *ctx, const char *text)
{
    (void)json_array_append_new(ctx, json_string(text));
}

static json_t *explain_json(const struct node *n)
{
    static struct replica_status s; /* large */
    json_t *lines = json_array();
    replica_status(n->replica, &s);
    if (s.lacks) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "the disk of %s has lost bytes of log entry %" PRIu64
                       ", which may not be committed: all nodes are asked for them%s",
                       n->self->name, s.lacks, s.aside ? ", and others are to lead meanwhile" : "");
        add_line(lines, text);
    }
    fs_app_explain(n->app, n->now, add_line, lines);
    return json_pack("{s:s, s:o}", "name", n->self->name, "lines", lines);
}

/* ---- cuts ------------------------------------------------------------------------------------ */

static json_t *set_cuts(struct node *n, const json_t *request)
{
    const char *names[NODE_IDS * 4];
    size_t count = 0, i;
    json_t *name;
    json_array_foreach(json_object_get(request, "peers"), i, name)
    {
        if (json_is_string(name) && count < sizeof names / sizeof names[0])
            names[count++] = json_string_value(name);
    }
    link_hub_set_cuts(n->hub, names, count);
    log_info("cuts", "peers=%zu", count);
    return json_pack("{s:b}", "ok", 1);
}

/* ---- the exchange ---------------------------------------------------------------------------- */

static json_t *answer(struct node *n, const json_t *request)
{
    const char *cmd = json_string_value(json_object_get(request, "cmd"));
    if (cmd && strcmp(cmd, "ping") == 0)
        return json_pack("{s:s, s:b}", "name", n->self->name, "ready", n->leader != 0);
    if (cmd && strcmp(cmd, "status") == 0)
        return status_json(n, json_is_true(json_object_get(request, "verify")));
    if (cmd && strcmp(cmd, "explain") == 0)
        return explain_json(n);
    if (cmd && strcmp(cmd, "cuts") == 0)
        return set_cuts(n, request);
    return json_pack("{s:s}", "error", "a node answers ping, status, explain and cuts");
}

void node_admin_frame(struct node *n, struct link *link, const uint8_t *control, size_t size)
{
    json_t *request = json_loadb((const char *)control, size, 0, NULL);
    if (!request) {
        link_close(link, "a question that is no JSON");
        return;
    }
    json_t *j = answer(n, request);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (text)
        link_send(link, FRAME_ADMIN_REPLY, text, strlen(text), NULL, 0);
    free(text);
    json_decref(j);
    json_decref(request);
}
