/* Sessions as the leader sees them: whom it can reach, until when its promises bind (RULES L2, L8,
 * L9). */
#include <stdio.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/mutant.h"

/* T(1 + rho) + eps: when this much passed here since we last spoke, the mount's own clock says so
 * too. */
time_us session_limit(const struct fs_app *app)
{
    if (MUTANT(promise_forgotten_early))
        return app->config.lease_us / 4;
    return app->config.lease_us + app->config.lease_us / 1000 + 50 * TIME_MS;
}

struct session *session_find(struct fs_app *app, uint64_t id)
{
    return id ? map_get(&app->sessions, id) : NULL;
}

struct session *session_add(struct fs_app *app, uint64_t id, bool unsure)
{
    struct session *s = xcalloc(1, sizeof *s);
    struct fs_session stored;
    s->id = id;
    s->unsure = unsure;
    s->heard = app->now;
    s->silent = app->now + session_limit(app);
    s->expires = unsure ? s->silent : app->now;
    s->next_n = app->term << 32;
    list_init(&s->recalls);
    list_init(&s->behind);
    if (fs_session_get(app->config.state, id, &stored)) {
        (void)snprintf(s->name, sizeof s->name, "%.63s", stored.name);
        s->q_proposed = stored.q_next - 1;
    }
    (void)map_put(&app->sessions, id, s);
    return s;
}

static void session_free(struct fs_app *app, struct session *s)
{
    recalls_free(app, s);
    vec_done(&s->gathering);
    map_done(&s->pending);
    map_done(&s->queued);
    free(s);
}

void session_drop(struct fs_app *app, struct session *s)
{
    (void)map_del(&app->sessions, s->id);
    recalls_expire(app, s);
    objects_forget_session(app, s);
    list_each(it, &app->requests) {
        struct request *r = container_of(it, struct request, all);
        if (r->req && r->session == s->id && r->waits != WAIT_LOG)
            request_ready(app, r); /* finds out by itself */
    }
    requests_ready(app, &app->session_waiters);
    session_free(app, s);
}

void session_bind(struct fs_app *app, struct session *s, uint64_t client)
{
    s->heard = app->now;
    if (s->client == client)
        return;
    s->client = s->newest = client;
    recalls_resend(app, s);
}

bool session_may_hold(const struct fs_app *app, const struct session *s)
{
    return !s->unsure && !s->ending && s->expires > app->now;
}

bool sessions_unsure(const struct fs_app *app, const struct session *except)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        const struct session *s = value;
        if (s != except && s->unsure)
            return true;
    }
    return false;
}

static void now_sure(struct fs_app *app, struct session *s)
{
    if (!s->unsure)
        return;
    s->unsure = false;
    requests_ready(app, &app->session_waiters);
}

/* The answer to this renewal leaves now; the mount counts from its earlier sending (RULES L9). */
void session_renewed(struct fs_app *app, struct session *s)
{
    s->expires = s->silent = app->now + session_limit(app);
    now_sure(app, s);
}

void session_propose_end(struct fs_app *app, struct session *s)
{
    if (s->ending)
        return;
    s->ending = true;
    app->ended_total++;
    trace_printf(&app->config.trace, "session=%llu ended by the leader", (unsigned long long)s->id);
    Fs__Op *op = xmalloc(sizeof *op);
    fs__op__init(op);
    op->body_case = FS__OP__BODY_END_SESSION;
    op->end_session = xmalloc(sizeof *op->end_session);
    fs__end_session__init(op->end_session);
    op->end_session->session = s->id;
    (void)request_propose_own(app, op);
}

static bool load_session(void *ctx, const struct fs_session *stored)
{
    (void)session_add(ctx, stored->id, true);
    return true;
}

/* RULES L8: whatever earlier leaders promised is not known here. */
void sessions_load(struct fs_app *app)
{
    fs_each_session(app->config.state, load_session, app);
}

/* Whatever stopped this node (a suspended machine, SIGSTOP) may have stopped the mounts as well,
 * and what they sent meanwhile has not been looked at (RULES E5). What they were promised is over
 * all the same. */
void sessions_unheard(struct fs_app *app, time_us us)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        struct session *s = value;
        s->heard += us;
        s->silent += us;
    }
}

static void session_tick(struct fs_app *app, struct session *s)
{
    if (s->silent <= app->now && (s->unsure || !list_empty(&s->recalls))) {
        recalls_expire(app, s);
        objects_forget_session(app, s);
        now_sure(app, s);
    }
    if (time_since(app->now, s->heard) >= app->config.session_timeout_us)
        session_propose_end(app, s);
}

void sessions_tick(struct fs_app *app)
{
    vec_of(struct session *) all = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value))
        vec_push(&all, (struct session *)value);
    for (size_t i = 0; i < all.count; i++)
        session_tick(app, all.items[i]);
    vec_done(&all);
}

void sessions_free(struct fs_app *app)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value))
        session_free(app, value);
    map_clear(&app->sessions);
}
