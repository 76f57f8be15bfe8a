/* What mounts tell of reads changes nothing that others rely on, so nothing is recalled for it. Who
 * was promised the attributes, or may know them alone (RULES D1), hears of the new time, unasked,
 * and answers nothing. */
#include <stdlib.h>

#include "fs/app/internal.h"

static bool relies(const struct fs_app *app, const struct session *s, const Fs__Attr *attr)
{
    Fs__Attr home = FS__ATTR__INIT;
    const struct object *o = object_find(app, OBJECT_ATTR, attr->ino);
    return (o && object_promised(o, s)) ||
           (attr->home && fs_get_attr(app->config.state, attr->home, &home) == 0 &&
            home.lease_session == s->id);
}

static void add(Fs__Atimes *news, const Fs__Attr *attr)
{
    Fs__Atime *m = xmalloc(sizeof *m);
    fs__atime__init(m);
    m->ino = attr->ino;
    m->atime = attr->atime;
    m->version = attr->version;
    news->atimes[news->n_atimes++] = m;
}

/* Those of `m` that concern `s`, as they are now; NULL: none. */
static Fs__Atimes *news_for(const struct fs_app *app, const Fs__Atimes *m, const struct session *s)
{
    Fs__Atimes *news = NULL;
    for (size_t i = 0; i < m->n_atimes; i++) {
        Fs__Attr attr = FS__ATTR__INIT;
        uint64_t ino = m->atimes[i]->ino;
        if (fs_get_attr(app->config.state, ino, &attr) < 0 || !relies(app, s, &attr))
            continue;
        if (!news) {
            news = xmalloc(sizeof *news);
            fs__atimes__init(news);
            news->atimes = xcalloc(m->n_atimes, sizeof(Fs__Atime *));
        }
        add(news, &attr);
    }
    return news;
}

void atimes_tell(struct fs_app *app, const Fs__Atimes *m)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&app->sessions, &cursor, NULL, &value)) {
        const struct session *s = value;
        Fs__Atimes *news = s->client ? news_for(app, m, s) : NULL;
        if (!news)
            continue;
        Fs__Reply *reply = reply_new(app, 0);
        reply->body_case = FS__REPLY__BODY_ATIMES;
        reply->atimes = news;
        app_send(app, s->client, reply);
    }
}
