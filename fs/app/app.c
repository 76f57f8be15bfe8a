/* Events to the files that handle them; what changes with leadership. */
#include <errno.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

/* A question to a copy that has not applied what it asks for yet. */
struct follower_wait {
    struct list link;
    uint64_t client;
    Fs__Request *req;
    time_us since;
};

struct fs_app *fs_app_new(const struct fs_app_config *config)
{
    struct fs_app *app = xcalloc(1, sizeof *app);
    app->config = *config;
    list_init(&app->promises);
    list_init(&app->requests);
    list_init(&app->ready);
    list_init(&app->starting);
    list_init(&app->applied_waiters);
    list_init(&app->session_waiters);
    list_init(&app->followers);
    return app;
}

void fs_app_set_state(struct fs_app *app, struct fs_state *state)
{
    app->config.state = state;
}

/* ---- leadership ------------------------------------------------------------------------------ */

static void stop_leading(struct fs_app *app)
{
    list_each(it, &app->requests)
        request_not_leader(app, container_of(it, struct request, all));
    sessions_free(app);
    objects_free(app);
    commits_free(app);
    map_clear(&app->tickets);
    map_clear(&app->indexes);
    app->reserving = 0;
    app->recalls_out = 0;
    app->serving = false;
}

/* Mounts hear of the new term at once, so that they renew before anybody has to wait for them. */
static void announce(struct fs_app *app)
{
    size_t cursor = 0;
    uint64_t client;
    void *value;
    while (map_next(&app->clients, &cursor, &client, &value))
        app_send(app, client, reply_new(app, 0));
}

static void start_leading(struct fs_app *app)
{
    app->leading_since = app->now;
    app->start_index = UINT64_MAX;
    app->start_ticket = ++app->next_ticket;
    app_effect(app, FS_APP_READ_INDEX)->ticket = app->start_ticket;
    announce(app);
}

/* Whose requests wait is known now: by which links the mounts are reached, and what came late on
 * one that was given up. */
static void bind_sessions(struct fs_app *app)
{
    list_each(it, &app->starting) {
        struct request *r = container_of(it, struct request, wait);
        struct session *s = session_find(app, r->session);
        if (s && r->client < s->newest) {
            request_end(app, r);
        } else if (s) {
            session_bind(app, s, r->client);
            if (!map_get(&app->clients, r->client))
                s->client = 0;
        }
    }
    list_each(it, &app->starting) {
        struct request *r = container_of(it, struct request, wait);
        const struct session *s = session_find(app, r->session);
        if (s && r->client < s->newest && !r->op)
            request_end(app, r); /* as request_start() does later */
    }
}

static void start_serving(struct fs_app *app)
{
    if (!app->leading || app->serving || app->applied < app->start_index)
        return;
    app->serving = true;
    sessions_load(app);
    bind_sessions(app);
    requests_ready(app, &app->starting);
}

static void on_role(struct fs_app *app, const struct fs_app_event *ev)
{
    bool new_reign = ev->leading && (!app->leading || ev->term != app->term);
    bool led = app->leading;
    app->leader = ev->leader;
    app->term = ev->term;
    app->leading = ev->leading;
    if (led && (!ev->leading || new_reign) && !MUTANT(deposed_serves))
        stop_leading(app);
    if (new_reign)
        start_leading(app);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void on_client_down(struct fs_app *app, uint64_t client)
{
    (void)map_del(&app->clients, client);
    requests_drop_questions(app, client);
    list_each(it, &app->followers) {
        struct follower_wait *w = container_of(it, struct follower_wait, link);
        if (w->client != client)
            continue;
        list_remove(&w->link);
        fs__request__free_unpacked(w->req, NULL);
        free(w);
    }
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        struct session *s = value;
        if (s->client == client)
            s->client = 0;
    }
}

static void on_request(struct fs_app *app, const struct fs_app_event *ev)
{
    Fs__Request *req = ev->request;
    if (app->config.witness || !req->follower) {
        request_start(app, ev->client, req, ev->bulk);
        return;
    }
    if (req->min_index <= app->applied || MUTANT(read_below_min_index)) {
        read_follower(app, ev->client, req);
        return;
    }
    struct follower_wait *w = xmalloc(sizeof *w);
    *w = (struct follower_wait){.client = ev->client, .req = req, .since = app->now};
    list_push_back(&app->followers, &w->link);
}

static void run_followers(struct fs_app *app)
{
    list_each(it, &app->followers) {
        struct follower_wait *w = container_of(it, struct follower_wait, link);
        bool late = time_since(app->now, w->since) >= FOLLOWER_PATIENCE;
        if (w->req->min_index > app->applied && !late)
            continue;
        list_remove(&w->link);
        if (w->req->min_index <= app->applied)
            read_follower(app, w->client, w->req);
        else {
            app_send(app, w->client, reply_error(app, w->req->id, EAGAIN, "this copy is behind"));
            fs__request__free_unpacked(w->req, NULL);
        }
        free(w);
    }
}

/* ---- the log --------------------------------------------------------------------------------- */

static void on_applied(struct fs_app *app, const struct fs_app_event *ev)
{
    app->applied = ev->index;
    if (!ev->op)
        return;
    change_noticed(app, ev->op, ev->result);
    struct request *r = map_get(&app->indexes, ev->index);
    if (r && r->op->q)
        queued_applied(app, r, ev->result);
    else if (r)
        change_applied(app, r, ev->result->reply);
}

static void on_advanced(struct fs_app *app, const struct fs_app_event *ev)
{
    app->applied = ev->index;
    start_serving(app);
    requests_ready(app, &app->applied_waiters);
    run_followers(app);
}

static void on_read_point(struct fs_app *app, const struct fs_app_event *ev, bool ready)
{
    if (ev->ticket == app->start_ticket) {
        if (ready)
            app->start_index = ev->index;
        start_serving(app);
        return;
    }
    struct request *r = map_get(&app->tickets, ev->ticket);
    if (!r)
        return;
    (void)map_del(&app->tickets, ev->ticket);
    r->ticket = 0;
    if (!ready) {
        request_not_leader(app, r);
        return;
    }
    r->point = true;
    r->min_index = ev->index;
    request_ready(app, r);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void give_up_old_requests(struct fs_app *app)
{
    list_each(it, &app->requests) {
        struct request *r = container_of(it, struct request, all);
        if (!r->req || r->waits == WAIT_LOG || r->req->body_case == FS__REQUEST__BODY_LOCK_QUERY)
            continue; /* who waits for a lock may wait for ever */
        if (time_since(app->now, r->since) > REQUEST_PATIENCE)
            request_fail(app, r, EAGAIN, "it waited too long");
    }
}

/* More promises than are worth remembering: the oldest come back. */
static void trim_promises(struct fs_app *app)
{
    size_t surplus = app->promises_count > PROMISES_MAX ? app->promises_count - PROMISES_MAX : 0;
    list_each(it, &app->promises) {
        if (surplus-- == 0)
            break;
        struct object *o = container_of(it, struct object, lru);
        for (size_t i = o->promised.count; i-- > 0;)
            recall_ask(app, o->promised.items[i], o);
    }
}

static void on_tick(struct fs_app *app)
{
    run_followers(app);
    if (!app->serving)
        return;
    sessions_tick(app);
    if (app->now < app->housekeeping_at)
        return;
    app->housekeeping_at = app->now + HOUSEKEEPING;
    give_up_old_requests(app);
    locks_tick(app);
    trim_promises(app);
}

static time_us next_wake(const struct fs_app *app)
{
    time_us at = TIME_NEVER;
    const struct follower_wait *w = list_first(&app->followers, struct follower_wait, link);
    if (w)
        at = w->since + FOLLOWER_PATIENCE;
    if (app->serving)
        at = time_min(at, time_max(app->housekeeping_at, app->now + 1));
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        const struct session *s = value;
        if ((s->unsure || !list_empty(&s->recalls)) && s->silent > app->now)
            at = time_min(at, s->silent);
    }
    return at == TIME_NEVER ? 0 : at;
}

/* ---- the step -------------------------------------------------------------------------------- */

void fs_app_step(struct fs_app *app, const struct fs_app_event *ev, struct fs_app_out *out)
{
    app->out = out;
    app->now = ev->now;
    app->wall_ns = ev->wall_ns;
    if (app->serving && app->now > app->wake_at + app->config.lease_us / 4)
        sessions_unheard(app, app->now - app->wake_at);
    switch (ev->kind) {
    case FS_APP_ROLE:
        on_role(app, ev);
        break;
    case FS_APP_CLIENT_UP:
        (void)map_put(&app->clients, ev->client, app);
        if (app->leading)
            app_send(app, ev->client, reply_new(app, 0));
        break;
    case FS_APP_CLIENT_DOWN:
        on_client_down(app, ev->client);
        break;
    case FS_APP_REQUEST:
        on_request(app, ev);
        break;
    case FS_APP_APPENDED:
        requests_appended(app, ev->ticket, ev->index);
        break;
    case FS_APP_DROPPED:
        requests_dropped(app, ev->ticket);
        break;
    case FS_APP_APPLIED:
        on_applied(app, ev);
        break;
    case FS_APP_ADVANCED:
        on_advanced(app, ev);
        break;
    case FS_APP_READ_READY:
        on_read_point(app, ev, true);
        break;
    case FS_APP_READ_FAILED:
        on_read_point(app, ev, false);
        break;
    case FS_APP_SPACE:
        app->free_bytes = ev->free_bytes;
        app->total_bytes = ev->total_bytes;
        app->room_bytes = ev->room_bytes;
        app->targets = ev->targets;
        break;
    case FS_APP_RESTORED:
        app->applied = ev->index;
        run_followers(app);
        break;
    case FS_APP_TICK:
        on_tick(app);
        break;
    }
    requests_run(app);
    recalls_flush(app);
    out->wake_at = next_wake(app);
    app->wake_at = time_max(out->wake_at, app->now);
    app->out = NULL;
}

void fs_app_free(struct fs_app *app)
{
    struct fs_app_out out = {0};
    if (!app)
        return;
    app->out = &out;
    stop_leading(app);
    list_each(it, &app->followers) {
        struct follower_wait *w = container_of(it, struct follower_wait, link);
        fs__request__free_unpacked(w->req, NULL);
        free(w);
    }
    fs_app_out_clear(&out);
    free(out.effects);
    map_done(&app->clients);
    map_done(&app->sessions);
    map_done(&app->objects);
    map_done(&app->tickets);
    map_done(&app->indexes);
    map_done(&app->tails);
    free(app);
}

struct fs_app_stats fs_app_stats(const struct fs_app *app)
{
    struct fs_app_stats stats = {.clients = app->clients.count,
                                 .sessions = app->sessions.count,
                                 .promises = app->promises_count,
                                 .recalls_out = app->recalls_out,
                                 .requests = app->requests_total,
                                 .recalls = app->recalls_total,
                                 .sessions_ended = app->ended_total};
    list_each(it, &app->requests)
        stats.waiting_requests++;
    return stats;
}

void fs_app_explain(const struct fs_app *app, time_us now,
                    void (*line)(void *ctx, const char *text), void *ctx)
{
    char text[256];
    (void)now; /* ages are as of the last step: at most a second ago */
    list_each(it, &app->requests) {
        request_describe(app, container_of(it, struct request, all), text, sizeof text);
        line(ctx, text);
    }
}
