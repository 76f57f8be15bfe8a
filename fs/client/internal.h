/* What a mount keeps, as its files share it. Each of its parts has a header of its own:
 *
 * op.h (a kernel request and what it waits for), rpc.h (a request to the nodes), session.h, cache.h
 * (inodes: attributes, names, promises), file.h (write lease, dirty pages), commit.h, recall.h,
 * local.h (names under directory leases), read.h, write.h, locks.h, ops.h (the operations). */
#ifndef TALLY_FS_CLIENT_INTERNAL_H
#define TALLY_FS_CLIENT_INTERNAL_H

#include "fs/client/buffer.h"
#include "fs/client/client.h"
#include "fs/core/state.h"
#include "repl/base/list.h"
#include "repl/base/map.h"
#include "repl/base/vec.h"

#define ROOT_INO       1u
#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX)
#define NODES_MAX      32u

#define NAMES_MAX          131072u
#define LEASES_MAX         16384u /* RULES L1 */
#define LEASES_PER_RELEASE 512u
#define SEQ_WINDOW         64u /* operations of a session outstanding at once */

#define BACKOFF_MIN    (5 * TIME_MS)
#define BACKOFF_MAX    (100 * TIME_MS)
#define SYNCED_EACH    3 /* so many writes in a row, each with an fsync: the next will have one */
#define WALK_AGAIN     TIME_S         /* how long the next try of a call that met ESTALE may take */
#define LEASE_HOLD_MIN (10 * TIME_MS) /* RULES L1 */
#define NEWS_TAKEN_IN  (100 * TIME_MS) /* from an answer to its caller's next instruction */
#define STALE_ROOT_DELAY                                                                           \
    (1 * TIME_S) /* without a leader for so long: df and ls of the root answer anyway */
#define COMMIT_OVERHEAD FS_PAGE /* of space, beside whole pages */

struct commit;
struct file;
struct handle;
struct inode;
struct op;
struct recall;
struct rpc;

/* ---- timers: one list per class, so that setting one of a usual delay is O(1) ---------------- */

enum timer_class {
    TIMER_OP,
    TIMER_ROOT,
    TIMER_HEDGE,
    TIMER_PUT,
    TIMER_DIRTY,
    TIMER_HOLD,
    TIMER_RETRY,
    TIMER_SESSION,
    TIMER_ATIME,
    TIMER_QUEUE,
    TIMER_TAKEN,
    TIMER_CLASSES
};

struct timer {
    struct list link;
    time_us at;
    void (*fire)(struct client *c, struct timer *t);
};

void timer_init(struct timer *t);
void timer_set(struct client *c, enum timer_class k, struct timer *t, time_us at,
               void (*fire)(struct client *, struct timer *));
void timer_clear(struct timer *t);
static inline bool timer_running(const struct timer *t)
{
    return list_linked(&t->link);
}

/* ---- the client ------------------------------------------------------------------------------ */

/* Of a file or a directory. */
enum lease_state { LEASE_NONE, LEASE_ASKING, LEASE_HELD };
enum session_state { SESSION_NONE, SESSION_OPENING, SESSION_LIVE };

struct root_listing {
    vec_of(struct client_dirent) entries; /* names owned */
    bool complete;
    uint64_t next; /* cookie up to which it was gathered */
};

struct client {
    struct client_config config;
    /* Of the step under way. */
    time_us now;
    int64_t wall_ns;
    struct client_out *out;
    time_us wake_at;

    struct list timers[TIMER_CLASSES];

    struct {
        bool up;
        uint64_t boot;
        time_us silent_until; /* a copy that said nothing is asked last until then */
    } links[NODES_MAX];

    struct list ops;
    struct map ops_by_id;
    struct list commit_waiters; /* ops that wait for commits */
    struct list open_waiters;   /* ... or for own removals of what they open */
    struct list lock_waiters;   /* ... or for locks asked for by who closes */
    struct list unlocking;      /* locks on their way back: struct unlocking */
    size_t locking;             /* these and the SETLKs on their way */
    struct map locks;           /* ino -> struct locks: this session's, locks_here.c */
    struct list space_waiters;  /* files whose next operation waits for a reservation ... */
    struct list buffer_waiters; /* ... or for room in the buffer */
    struct list renew_waiters;  /* ... or for the session to be sure of its leases again */

    /* rpc */
    struct map rpcs;
    uint64_t next_id;
    struct list queue, queue_seq, sent,
        copies; /* waiting; waiting for room in the window; sent to the leader; sent to copies */
    struct list seqs;
    uint64_t next_seq;
    bool pumping;

    /* session */
    enum session_state state;
    uint64_t session;
    uint64_t term;
    uint32_t leader;
    unsigned bounces;
    time_us lease_until; /* RULES L9; 0: not valid */
    time_us lease_us;
    struct timer session_timer, probe_timer;
    time_us probe_delay;
    uint32_t probe_node;
    struct rpc *renew, *probe, *opening, *reserving, *holding;
    time_us renew_at, heard_at, probed_at;
    time_us leaderless_since; /* 0: there is one */
    uint64_t token, saved_token;
    uint32_t targets;
    uint64_t space, reserve_asked, reserve_need;
    bool space_refused;
    vec_of(uint64_t) drop_inos;
    vec_of(uint64_t) around; /* directories that were read while nobody led */
    struct rpc *settling;    /* asks the leader for one of them */
    bool stopping, stopped, ending;
    struct timer stop_timer;

    /* cache */
    time_us walk_again_until; /* some caller met ESTALE: what it finds now is kept for it */
    uint64_t reads_redone;    /* RULES L6 */
    struct map inodes, names;
    struct list inode_lru, name_lru;
    size_t names_count, lru_count;
    uint32_t cache_epoch;
    struct root_listing root;
    uint64_t total_bytes, free_bytes, total_inodes;
    bool statfs_known;

    /* reads not told yet: inodes, oldest first */
    struct list atimes;
    size_t atimes_count;
    struct timer atime_timer;
    struct rpc *atime_rpc;
    /* names changed here first (RULES D1, local.h) */
    struct list queued, queue_waiters; /* struct queued; ops that wait for some of them */
    size_t queued_count, queue_sent;
    uint64_t queue_last; /* over all sessions, so that a place reached stays so ... */
    uint64_t queue_base; /* ... and in the session's own count the places begin behind this */
    struct timer queue_timer;
    struct list dir_leases; /* held, least recently used first */
    size_t dir_leases_count;
    bool dirs_recalled; /* some are asked back, perhaps */
    struct fs_inodes inodes_now, inodes_later;
    uint64_t inodes_old_q; /* the grant before inodes_now was used up to this place */
    struct rpc *granting;
    struct list held_commits;
    bool breaking;

    /* recalls */
    struct list recalls;  /* not answered yet */
    struct list listings; /* answered, perhaps not taken in: listing.h */
    struct list recalled;
    struct map recalled_by_key;
    struct map released; /* ino -> struct lease_end */
    struct list released_order;

    /* files */
    struct map handles;
    uint64_t next_fh;
    struct list leases; /* held, least recently used first */
    size_t leases_count;
    struct list dirty_files;
    struct list commits; /* all not committed, in order */
    uint64_t commit_serial;
    uint64_t next_block;
    struct map blocks; /* n -> struct block_out */
    uint64_t dirty_bytes, inflight_bytes;
    struct list kept_files; /* with kept pages, least recently used first */
    uint64_t kept_bytes;
    bool sync_failed;
};

/* What statfs(2) answers, as of now. */
void client_learn_space(struct client *c, const struct Fs__StatfsReply *m);
struct client_effect *effect_add(struct client *c, enum client_effect_kind kind);
void client_log(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct Fs__Attr attr_plain(const struct Fs__Attr *attr);

#endif
