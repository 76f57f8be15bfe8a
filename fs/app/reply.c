/* Making answers. */
#include <stdlib.h>
#include <string.h>

#include "fs/app/internal.h"

Fs__Reply *reply_new(const struct fs_app *app, uint64_t id)
{
    Fs__Reply *reply = xmalloc(sizeof *reply);
    fs__reply__init(reply);
    reply->id = id;
    reply->term = app->term;
    reply->leader = app->leader;
    reply->index = app->applied;
    reply->targets = app->leading ? app->targets : 0;
    return reply;
}

Fs__Reply *reply_error(const struct fs_app *app, uint64_t id, int err, const char *why)
{
    Fs__Reply *reply = reply_new(app, id);
    reply->err = err;
    if (why)
        reply->why = xstrdup(why);
    return reply;
}

Fs__OpReply *reply_op(Fs__Reply *reply)
{
    reply->body_case = FS__REPLY__BODY_OP;
    reply->op = xmalloc(sizeof *reply->op);
    fs__op_reply__init(reply->op);
    return reply->op;
}

struct fs_app_effect *app_effect(struct fs_app *app, enum fs_app_effect_kind kind)
{
    struct fs_app_out *out = app->out;
    if (out->count == out->capacity) {
        out->capacity = out->capacity ? out->capacity * 2 : 16;
        out->effects = xreallocarray(out->effects, out->capacity, sizeof *out->effects);
    }
    struct fs_app_effect *e = &out->effects[out->count++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    return e;
}

void app_send(struct fs_app *app, uint64_t client, Fs__Reply *reply)
{
    if (!map_get(&app->clients, client)) { /* gone: it will ask again */
        fs__reply__free_unpacked(reply, NULL);
        return;
    }
    struct fs_app_effect *e = app_effect(app, FS_APP_REPLY);
    e->client = client;
    e->reply = reply;
}

Fs__Attr *attr_copy(const Fs__Attr *attr)
{
    return attr ? xmemdup(attr, sizeof *attr) : NULL;
}

Fs__OpReply *op_reply_copy(const Fs__OpReply *from)
{
    Fs__OpReply *to = xmemdup(from, sizeof *from);
    to->attr = attr_copy(from->attr);
    to->parent = attr_copy(from->parent);
    to->newparent = attr_copy(from->newparent);
    to->other = attr_copy(from->other);
    return to;
}

void fs_app_out_clear(struct fs_app_out *out)
{
    for (size_t i = 0; i < out->count; i++) {
        struct fs_app_effect *e = &out->effects[i];
        if (e->reply)
            fs__reply__free_unpacked(e->reply, NULL);
        blob_unref(e->payload);
        free(e->blocks);
        blob_unref(e->inline_bytes);
    }
    out->count = 0;
}
