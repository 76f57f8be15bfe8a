/* Objects: who was promised what, who is asked to give it back, which changes are under way. */
#include <assert.h>
#include <stdlib.h>

#include "fs/app/internal.h"
#include "repl/base/hash.h"
#include "repl/base/mutant.h"

static uint64_t key_of(enum object_kind kind, uint64_t ino)
{
    return (uint64_t)kind << 60 | (ino & ((1ull << 60) - 1));
}

struct object *object_find(const struct fs_app *app, enum object_kind kind, uint64_t ino)
{
    return map_get(&app->objects, key_of(kind, ino));
}

struct object *object_get(struct fs_app *app, enum object_kind kind, uint64_t ino)
{
    struct object *o = object_find(app, kind, ino);
    if (o)
        return o;
    o = xcalloc(1, sizeof *o);
    o->key = key_of(kind, ino);
    list_init(&o->waiters);
    list_init(&o->lru);
    (void)map_put(&app->objects, o->key, o);
    return o;
}

/* Two names may share an object by their hash: their changes then wait for one another, no more. */
struct object *object_of_name(struct fs_app *app, uint64_t dir, const void *name, size_t size)
{
    return object_get(app, OBJECT_NAME, hash64_seed(name, size, dir));
}

static void object_free(struct object *o)
{
    vec_done(&o->promised);
    vec_done(&o->asked);
    vec_done(&o->open);
    free(o);
}

void object_settle(struct fs_app *app, struct object *o)
{
    if (o->shared || o->exclusive || o->releasing || o->promised.count || o->asked.count ||
        !list_empty(&o->waiters))
        return;
    list_remove(&o->lru);
    (void)map_del(&app->objects, o->key);
    object_free(o);
}

void object_wake(struct fs_app *app, struct object *o)
{
    requests_ready(app, &o->waiters);
}

bool object_calm(const struct object *o)
{
    return (!o->shared && !o->exclusive && !o->asked.count) || MUTANT(promise_during_recall);
}

bool object_promised(const struct object *o, const struct session *s)
{
    for (size_t i = 0; i < o->promised.count; i++)
        if (o->promised.items[i] == s)
            return true;
    return false;
}

void object_promise(struct fs_app *app, struct object *o, struct session *s)
{
    if (list_linked(&o->lru))
        list_remove(&o->lru);
    else
        app->promises_count++;
    list_push_back(&app->promises, &o->lru);
    if (!object_promised(o, s))
        vec_push(&o->promised, s);
}

void object_unpromise(struct fs_app *app, struct object *o, struct session *s)
{
    for (size_t i = 0; i < o->promised.count; i++) {
        if (o->promised.items[i] != s)
            continue;
        vec_remove(&o->promised, i);
        break;
    }
    if (!o->promised.count && list_linked(&o->lru)) {
        list_remove(&o->lru);
        app->promises_count--;
    }
}

void objects_forget_session(struct fs_app *app, struct session *s)
{
    vec_of(struct object *) held = {0};
    size_t cursor = 0;
    void *value;
    while (map_next(&app->objects, &cursor, NULL, &value))
        vec_push(&held, (struct object *)value);
    for (size_t i = 0; i < held.count; i++) {
        object_unpromise(app, held.items[i], s);
        /* Who came for a lease while its holder's session was ending waits without having asked. */
        if (object_kind(held.items[i]) == OBJECT_LEASE)
            object_wake(app, held.items[i]);
        object_settle(app, held.items[i]);
    }
    vec_done(&held);
}

void objects_free(struct fs_app *app)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->objects, &cursor, NULL, &value))
        object_free(value);
    map_clear(&app->objects);
    list_init(&app->promises);
    app->promises_count = 0;
}
