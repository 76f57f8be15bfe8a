/* What the service's files share.
 *
 * Reading order: request (what a mount asked and what it waits for), object (what promises and pins
 * are about), session (mounts and their time), recall, then what is answered: read, change, commit.
 */
#ifndef TALLY_FS_APP_INTERNAL_H
#define TALLY_FS_APP_INTERNAL_H

#include "fs/app/app.h"
#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"

enum {
    PINS_MAX = 12,
    TARGETS_MAX = 2,
    PROMISES_MAX =
        1 << 18, /* objects with promises; beyond it the least recently granted is recalled */
    READ_PAGES_MAX = 2048, /* of one READ; FS_APP_READ_BYTES_MAX bounds it further */
    READDIR_MAX = 512,     /* entries of one READDIR */
    EXTENTS_MAX = 512,     /* ranges of one EXTENTS */
};
#define FOLLOWER_PATIENCE (50 * TIME_MS) /* for min_index; then the mount asks another copy */
#define REQUEST_PATIENCE  (60 * TIME_S)  /* longer than any mount waits */
#define HOUSEKEEPING      (1 * TIME_S)

/* ---- object.c: what promises, recalls and changes under way are about ---------------------------
 */

enum object_kind {
    OBJECT_ATTR = 1, /* attributes and data of an inode */
    OBJECT_NAMES,    /* all names of a directory */
    OBJECT_LEASE,    /* the write lease of an inode */
    OBJECT_OPEN,     /* "is it open with you?" */
    OBJECT_NAME,     /* one name of a directory: changes of it go one after another */
    OBJECT_LOCK,     /* the byte-range locks of an inode: who waits for one */
};

struct object {
    uint64_t key; /* kind and inode */
    uint32_t shared;
    bool exclusive;
    bool releasing;                    /* LEASE: its end is proposed */
    vec_of(struct session *) promised; /* who holds the promise */
    vec_of(struct session *) asked;    /* who was asked and did not answer yet */
    vec_of(uint64_t) open;             /* OPEN: sessions that have it open or said nothing */
    struct list waiters;               /* requests, woken at any change */
    struct list lru;                   /* app.promises while promised */
};

static inline enum object_kind object_kind(const struct object *o)
{
    return (enum object_kind)(o->key >> 60);
}
static inline uint64_t object_ino(const struct object *o)
{
    return o->key & ((1ull << 60) - 1);
}

struct object *object_get(struct fs_app *app, enum object_kind kind, uint64_t ino);
struct object *object_find(const struct fs_app *app, enum object_kind kind, uint64_t ino);
struct object *object_of_name(struct fs_app *app, uint64_t dir, const void *name, size_t size);
/* Frees it when nobody cares about it. */
void object_settle(struct fs_app *app, struct object *o);
void object_wake(struct fs_app *app, struct object *o);
/* No change under way, nobody asked to give it back: a promise may be granted (RULES L5). */
bool object_calm(const struct object *o);
void object_promise(struct fs_app *app, struct object *o, struct session *s);
bool object_promised(const struct object *o, const struct session *s);
void object_unpromise(struct fs_app *app, struct object *o, struct session *s);
void objects_forget_session(struct fs_app *app, struct session *s);
void objects_free(struct fs_app *app);

/* ---- session.c ------------------------------------------------------------------------------- */

struct session {
    uint64_t id;
    uint64_t newest; /* of its links */
    uint64_t client; /* the same; 0: it is down */
    char name[64];
    bool unsure;     /* may hold any promise of an earlier term (RULES L8) */
    bool ending;     /* its end is proposed */
    time_us expires; /* what it was promised is over then, by its own clock too (RULES L9) */
    time_us silent;  /* from then on: what the log says that it has ends with it (RULES L2) */
    time_us heard;
    /* Grants and recalls are numbered (RULES L5), those of later terms higher: an answer to a
     * recall of an earlier term, by this node too, is none to a later one. */
    uint64_t next_n;
    uint64_t holds_told; /* of the inodes held for it, up to this; 0: begin anew */
    struct list recalls;
    vec_of(struct object *) gathering; /* of the recall that goes out with this step */
    struct map pending;                /* seq -> request */
    struct map queued;   /* q -> request that is proposed or waits for those before it */
    uint64_t q_proposed; /* its queue is in the log, or on its way there, up to this */
    struct list behind;  /* COMMITs that follow what is not on its way there yet */
};

struct session *session_find(struct fs_app *app, uint64_t id);
struct session *session_add(struct fs_app *app, uint64_t id, bool unsure);
/* It ended: its requests are refused, its promises forgotten. */
void session_drop(struct fs_app *app, struct session *s);
void session_bind(struct fs_app *app, struct session *s, uint64_t client);
void session_renewed(struct fs_app *app, struct session *s);
/* May it be promised something now? */
bool session_may_hold(const struct fs_app *app, const struct session *s);
/* Some session other than `except` may hold anything. */
bool sessions_unsure(const struct fs_app *app, const struct session *except);
void session_propose_end(struct fs_app *app, struct session *s);
void sessions_load(struct fs_app *app);
/* This leader itself stood still for `us`: they were no more silent than it was deaf. */
void sessions_unheard(struct fs_app *app, time_us us);
void sessions_tick(struct fs_app *app);
void sessions_free(struct fs_app *app);
time_us session_limit(const struct fs_app *app);

/* ---- recall.c -------------------------------------------------------------------------------- */

struct recall {
    struct list link;
    uint64_t n;
    size_t count;
    struct object *objects[];
};

/* Asks `s` for the object, once. Goes out at the end of the step. */
void recall_ask(struct fs_app *app, struct session *s, struct object *o);
void recalls_flush(struct fs_app *app);
void recalls_resend(struct fs_app *app, struct session *s);
void recall_on_ack(struct fs_app *app, struct session *s, const Fs__RecallAck *ack);
/* Its time is over: what it was asked counts as given back, leases by its end (RULES L2, L8). */
void recalls_expire(struct fs_app *app, struct session *s);
void recalls_free(struct fs_app *app, struct session *s);
/* True when nobody but `s` has the write lease of `attr`; else it is being recalled, wait for the
 * LEASE object. */
bool lease_is_free(struct fs_app *app, const struct session *s, const Fs__Attr *attr);
/* The same of what `s` may be told of the inode, or do to it: also a lease of the directory that
 * has all its names keeps it to that session (RULES D1). NULL: none is out; else what to wait for.
 */
struct object *lease_in_the_way(struct fs_app *app, const struct session *s, const Fs__Attr *attr);
/* Has nobody but `s` been promised anything about the inode, and is nobody about to change it? */
bool knows_alone(struct fs_app *app, const struct session *s, uint64_t ino);

/* ---- request.c: what a mount asked ----------------------------------------------------------- */

enum request_wait {
    WAIT_NONE,
    WAIT_START,    /* this leader has not applied what came before it */
    WAIT_POINT,    /* leadership is being confirmed */
    WAIT_APPLIED,  /* the state is behind what must be answered from */
    WAIT_OBJECT,   /* a change under way, a recall */
    WAIT_SESSIONS, /* mounts that have not said yet what they hold */
    WAIT_GAP,      /* an earlier COMMIT of the file, or operation of the queue */
    WAIT_LOG,      /* proposed */
};

struct pin {
    struct object *object;
    bool exclusive;
};

struct request {
    struct list all;  /* app.requests */
    struct list wait; /* in what it waits for, or app.ready */
    Fs__Request *req; /* NULL: proposed by the service itself */
    Fs__Op *op;       /* what is or will be proposed: req->op, or its own */
    struct blob *bulk;
    uint64_t client, id; /* whom to answer */
    uint64_t session;
    time_us since;
    enum request_wait waits;
    struct object *waits_for;
    uint64_t ticket, index; /* WAIT_POINT, WAIT_LOG */
    uint64_t min_index;
    bool point; /* has its read point */
    bool pinned;
    bool wants_alone; /* WAIT_OBJECT: for a pin that nobody shares */
    bool appended;
    struct pin pins[PINS_MAX];
    size_t pins_count;
    uint64_t targets[TARGETS_MAX]; /* inodes changed, whose write leases come back first */
    size_t targets_count;
    uint64_t victim; /* the inode that loses a name; 0: none */
    struct tail *tail;
    uint64_t reserving;
};

void request_start(struct fs_app *app, uint64_t client, Fs__Request *req, struct blob *bulk);
/* Of a link that is down, or was given up: nobody hears the answers, and what waited there may have
 * been asked again on the next one. Changes go on. */
void requests_drop_questions(struct fs_app *app, uint64_t client);
struct request *request_new(struct fs_app *app);
void request_end(struct fs_app *app, struct request *r);
void request_run(struct fs_app *app, struct request *r);
void request_wait(struct fs_app *app, struct request *r, enum request_wait what,
                  struct list *queue);
void request_wait_object(struct fs_app *app, struct request *r, struct object *o);
/* Runs again before this step ends. */
void request_ready(struct fs_app *app, struct request *r);
void requests_ready(struct fs_app *app, struct list *queue);
void requests_run(struct fs_app *app);
/* Asks for a read point unless it has one that is applied; false: it waits. */
bool request_has_point(struct fs_app *app, struct request *r);
/* Each answers and frees. */
void request_answer(struct fs_app *app, struct request *r, Fs__Reply *reply);
void request_fail(struct fs_app *app, struct request *r, int err, const char *why);
void request_unknown_session(struct fs_app *app, struct request *r);
void request_not_leader(struct fs_app *app, struct request *r);
void request_pin(struct request *r, struct object *o, bool exclusive);
/* All pins or none; false: it waits. */
bool request_take_pins(struct fs_app *app, struct request *r);
void request_unpin(struct fs_app *app, struct request *r);
void request_propose(struct fs_app *app, struct request *r, struct block_ref *blocks, size_t count,
                     struct blob *inline_bytes, uint32_t holders);
/* Proposes an operation of the service's own. Takes `op`. */
struct request *request_propose_own(struct fs_app *app, Fs__Op *op);
void requests_appended(struct fs_app *app, uint64_t ticket, uint64_t index);
void requests_dropped(struct fs_app *app, uint64_t ticket);
void request_describe(const struct fs_app *app, const struct request *r, char *text, size_t size);

/* ---- reply.c --------------------------------------------------------------------------------- */

Fs__Reply *reply_new(const struct fs_app *app, uint64_t id);
Fs__Reply *reply_error(const struct fs_app *app, uint64_t id, int err, const char *why);
Fs__OpReply *reply_op(Fs__Reply *reply);
struct fs_app_effect *app_effect(struct fs_app *app, enum fs_app_effect_kind kind);
void app_send(struct fs_app *app, uint64_t client, Fs__Reply *reply);
Fs__Attr *attr_copy(const Fs__Attr *attr);
Fs__OpReply *op_reply_copy(const Fs__OpReply *from);

/* ---- read.c, change.c, commit.c -------------------------------------------------------------- */

/* Whole answers from the applied state. `s` NULL: of a follower, nothing is promised. False: the
 * request waits (write leases are respected only with `s`). */
void read_run(struct fs_app *app, struct request *r, struct session *s);
void read_follower(struct fs_app *app, uint64_t client, Fs__Request *req);
Fs__StatfsReply *statfs_reply(const struct fs_app *app);

void change_run(struct fs_app *app, struct request *r, struct session *s);
void change_check_lease(const struct fs_app *app, const struct request *r, Fs__OpReply *reply);
/* An answer that grants a file's write lease tells whether its mount may keep its locks. */
void change_tell_locks(const struct fs_app *app, const struct request *r, Fs__Reply *reply);
/* Asks all others whether they have the file open that `r` takes a name from (RULES L7); false: `r`
 * waits for their answers. Then who has it open is in the operation. */
bool change_asks_open(struct fs_app *app, struct request *r, const struct session *s);
void change_applied(struct fs_app *app, struct request *r, const Fs__OpReply *result);
/* Whatever an applied entry means for the service's own memory, whoever proposed it. */
void change_noticed(struct fs_app *app, const Fs__Op *op, const struct fs_result *result);

/* atime.c: the sessions that cache the attributes hear of these times. */
void atimes_tell(struct fs_app *app, const Fs__Atimes *m);

/* lock.c: questions about byte-range locks, which may wait until there is none in the way. */
void lock_query_run(struct fs_app *app, struct request *r, struct session *s);
/* SETLOCK: false when it waits for another's write lease, under which there may be locks that are
 * not in the log, or for the end of a session that is in its way and silent. */
bool lock_way_is_free(struct fs_app *app, struct request *r, const struct session *s);
/* Nobody but `session` has a lock of `ino`, or is about to, or waits for one. While it has the
 * write lease it stays so, and its mount may decide by itself. */
bool locks_may_be_kept(const struct fs_app *app, uint64_t session, uint64_t ino);
void locks_tick(struct fs_app *app);
/* What waits looks again: the locks of `ino` are others now; or those of a session have ended. */
void locks_changed(struct fs_app *app, uint64_t ino);
void locks_of_session_ended(struct fs_app *app);

/* queue.c: what sessions did under directory leases (RULES D1). */
void queued_run(struct fs_app *app, struct request *r, struct session *s);
/* It was applied. */
void queued_applied(struct fs_app *app, struct request *r, const struct fs_result *result);
/* The request goes; what follows it must not be proposed as if it were in the log. */
void queued_leave(struct fs_app *app, struct request *r);
/* Its queue is in the state up to before the result; what was proposed counts from there on. */
uint64_t queued_caught_up(struct session *s, const struct fs_session *stored);

struct tail; /* of a file's COMMITs: proposed and not applied */
void commit_run(struct fs_app *app, struct request *r, struct session *s);
void commit_appended(struct fs_app *app, struct request *r);
/* False: it came without what it follows, nothing was done, and the mount sends it again. */
bool commit_applied(struct fs_app *app, struct request *r, const Fs__OpReply *result);
void commit_leave(struct fs_app *app, struct request *r);
void commits_free(struct fs_app *app);

struct fs_app {
    struct fs_app_config config;
    /* of the step */
    time_us now;
    int64_t wall_ns;
    struct fs_app_out *out;

    bool leading, serving; /* serving: everything before this leadership is applied */
    uint32_t leader;
    uint64_t term, applied;
    time_us leading_since;
    uint64_t start_ticket, start_index;

    struct map clients; /* number -> itself: links that are up */
    struct map sessions;
    struct map objects;
    struct list promises; /* objects with promises, oldest grant first */
    size_t promises_count;
    struct list requests; /* of this leadership, oldest first */
    struct list ready;
    struct list starting, applied_waiters, session_waiters;
    struct list followers; /* struct follower_wait, by deadline */
    struct map tickets, indexes;
    struct map tails;
    uint64_t next_ticket;
    time_us housekeeping_at;
    time_us wake_at; /* the next step is to come then, at the latest */

    uint64_t free_bytes, total_bytes, room_bytes, reserving;
    uint32_t targets;
    uint64_t requests_total, recalls_total, ended_total;
    size_t recalls_out;
};

#endif
