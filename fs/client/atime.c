/* When files were last read. Only this mount sees a read, and what it tells of it changes nothing
 * that others rely on: reads are gathered here, seen at once by who asks this mount, and sent in
 * one message for many, without a recall (docs/posix.md). */
#include "fs/client/atime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fs/client/cache.h"
#include "fs/client/internal.h"
#include "fs/client/op.h"
#include "fs/client/rpc.h"
#include "fs/client/session.h"
#include "fs/core/state.h"

#define ATIMES_MAX    16384u /* while nobody can be told; beyond it reads are not recorded */
#define ATIMES_PER_OP FS_ATIMES_MAX
#define ATIME_DELAY   (30 * TIME_S) /* a read is recorded after so long, or with so many others */
#define DAY_NS        (INT64_C(86400) * 1000000000)
#define SKEW_MAX_NS   (INT64_C(10) * 1000000000)

/* ---- which reads count ----------------------------------------------------------------------- */

/* As the kernel's relatime_need_update(): the first read after a change, and one a day. */
static bool is_due(const struct client *c, const struct inode *i)
{
    if (c->config.atime == CLIENT_STRICTATIME) {
        return true;
    }
    const struct Fs__Attr attr = inode_now(c, i);
    return attr.atime <= attr.mtime || attr.atime <= attr.ctime ||
           c->wall_ns - attr.atime >= DAY_NS;
}

static bool counts(const struct client *c, const struct inode *i, uint32_t flags)
{
    return i->known && !c->config.read_only && c->config.atime != CLIENT_NOATIME &&
           (flags & O_NOATIME) == 0 && !(c->config.nodiratime && S_ISDIR(i->attr.mode)) &&
           i->attr.nlink != 0;
}

/* A read is later than the change it saw, whatever this machine's clock says, up to a point. */
static int64_t time_of_read(const struct client *c, const struct inode *i)
{
    const struct Fs__Attr attr = inode_now(c, i);
    int64_t last = attr.mtime > attr.ctime ? attr.mtime : attr.ctime;
    return last >= c->wall_ns && last - c->wall_ns < SKEW_MAX_NS ? last + 1 : c->wall_ns;
}

/* ---- telling the leader ---------------------------------------------------------------------- */

static void send(struct client *c);

static void on_timer(struct client *c, struct timer *t)
{
    (void)t;
    send(c);
}

void atime_schedule(struct client *c)
{
    if (c->atimes_count == 0 || c->atime_rpc != NULL) {
        return;
    }
    if (c->atimes_count >= ATIMES_PER_OP) {
        send(c);
    } else if (!timer_running(&c->atime_timer)) {
        timer_set(c, TIMER_ATIME, &c->atime_timer, c->now + ATIME_DELAY, on_timer);
    }
}

static void forget(struct client *c, struct inode *i)
{
    list_remove(&i->atime_link);
    c->atimes_count--;
    i->read_at = 0;
    inode_settle(c, i);
}

/* Applied; what came of it was heard before (atime_heard). One that was read again stays. */
static void told(struct client *c, const struct Fs__Atime *m)
{
    struct inode *i = inode_find(c, m->ino);
    if (i != NULL && i->read_at == m->atime) {
        forget(c, i);
    }
}

/* Under a promise, or the own lease, nothing but leases has changed since what is known here. */
void atime_heard(struct client *c, const struct Fs__Atimes *m)
{
    for (size_t k = 0; k < m->n_atimes; k++) {
        struct inode *i = inode_find(c, m->atimes[k]->ino);
        if (i == NULL || !i->known || !inode_data_fresh(c, i) ||
            i->attr.version > m->atimes[k]->version || i->attr.atime >= m->atimes[k]->atime) {
            continue;
        }
        i->attr.atime = m->atimes[k]->atime;
        if (i->read_at == 0) {
            inode_invalidate_kernel(c, i);
        }
    }
}

static void on_sent(struct client *c, struct rpc *r, const struct Fs__Reply *reply,
                    struct blob *bulk)
{
    (void)bulk;
    const struct Fs__Atimes *m = r->req->op->atimes;
    c->atime_rpc = NULL;
    for (size_t k = 0; reply != NULL && k < m->n_atimes; k++) { /* else again in the next session */
        told(c, m->atimes[k]);
    }
    atime_schedule(c);
    session_stop_next(c);
}

static struct Fs__Atimes *gather(const struct client *c)
{
    struct Fs__Atimes *m = xmalloc(sizeof(*m));
    fs__atimes__init(m);
    m->atimes = xcalloc(ATIMES_PER_OP, sizeof(*m->atimes));
    for (const struct list *it = c->atimes.next; it != &c->atimes && m->n_atimes < ATIMES_PER_OP;
         it = it->next) {
        const struct inode *i = container_of(it, struct inode, atime_link);
        struct Fs__Atime *a = xmalloc(sizeof(*a));
        fs__atime__init(a);
        a->ino = i->ino;
        a->atime = i->read_at;
        a->version = i->read_version;
        m->atimes[m->n_atimes++] = a;
    }
    return m;
}

static void send(struct client *c)
{
    timer_clear(&c->atime_timer);
    if (c->atimes_count == 0 || c->atime_rpc != NULL || c->state != SESSION_LIVE || c->stopped) {
        return; /* a new session asks again */
    }
    struct rpc *r = rpc_new_op(NULL, false, on_sent);
    r->req->op->body_case = FS__OP__BODY_ATIMES;
    r->req->op->atimes = gather(c);
    c->atime_rpc = r;
    rpc_start(c, r);
}

bool atime_flush(struct client *c)
{
    send(c);
    return c->atime_rpc == NULL;
}

/* ---- reads ----------------------------------------------------------------------------------- */

void atime_read(struct client *c, struct inode *i, uint32_t flags)
{
    if (!counts(c, i, flags) || !is_due(c, i) ||
        (i->read_at == 0 && c->atimes_count >= ATIMES_MAX)) {
        return;
    }
    if (i->read_at == 0) {
        list_push_back(&c->atimes, &i->atime_link);
        c->atimes_count++;
    }
    i->read_at = time_of_read(c, i);
    i->read_version = i->attr.version;
    inode_settle(c, i);
    atime_schedule(c);
}

void atime_read_begins(struct op *op, const struct inode *i)
{
    if (op->read_begun == 0) {
        op->read_begun = (i != NULL ? i->atimes_set : 0) + 1;
    }
}

void atime_read_ends(struct client *c, const struct op *op, struct inode *i)
{
    if (op->read_begun == i->atimes_set + 1) {
        atime_read(c, i, op->a.flags);
    }
}

void atime_open(struct client *c, struct inode *i, uint32_t flags)
{
    int64_t before = i->read_at;
    if ((flags & O_ACCMODE) == O_WRONLY) {
        return;
    }
    atime_read(c, i, flags);
    if (i->read_at != before) {
        inode_invalidate_kernel(c, i);
    }
}

void atime_set(struct client *c, uint64_t ino)
{
    struct inode *i = inode_find(c, ino);
    if (i == NULL) {
        return;
    }
    i->atimes_set++;
    if (i->read_at != 0) {
        forget(c, i);
    }
}
