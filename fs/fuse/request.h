/* Inside fs/fuse: the state of the kernel's end and of each request it waits for. */
#ifndef TALLY_FS_FUSE_REQUEST_H
#define TALLY_FS_FUSE_REQUEST_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <sys/types.h>

#include "fs/fuse/kernel.h"
#include "fs/fuse/notify.h"
#include "fs/fuse/places.h"
#include "repl/base/list.h"
#include "repl/base/map.h"

enum { KERNEL_MAX_WRITE = 1 << 20, KERNEL_NAME_MAX = 255 };

/* What the request hears when it went well; when not, it hears the errno. */
enum reply_form {
    REPLY_NOTHING,
    REPLY_ENTRY,
    REPLY_ATTR,
    REPLY_CREATE,
    REPLY_OPEN,
    REPLY_SLICES,
    REPLY_WRITTEN,
    REPLY_DATA,
    REPLY_XATTR,
    REPLY_XATTR_NAMES,
    REPLY_STATFS,
    REPLY_DIR,
    REPLY_DIRPLUS,
    REPLY_LOCK,
    REPLY_OFFSET,
};

struct request {
    uint64_t id;
    fuse_req_t req;
    struct kernel *kernel;
    enum reply_form form;
    uint64_t ino;
    uint64_t dir; /* node (places.h) of the directory that is listed, or whose name is asked for */
    uint64_t newdir; /* RENAME */
    size_t size;     /* room the caller has: READ, READDIR, xattrs */
    off_t offset;    /* READDIR: as the kernel counts (dir_offset.h) */
    pid_t pid;
    uid_t uid;
    uint64_t since_ms;
    bool cancelled;
    bool locks;              /* SETLK: any signal ends its wait, and it has no other patience */
    bool signalled;          /* that was told */
    struct list interrupted; /* in kernel.interrupted while its caller has a signal */
};

struct kernel {
    uv_loop_t *loop;
    struct kernel_callbacks callbacks;
    struct fuse_session *session;
    char *mountpoint;
    uv_poll_t poll;
    struct fuse_buf buf;
    bool many; /* requests came more than one at a time, when that was looked for last */
    unsigned turns;
    struct map requests; /* id -> struct request */
    struct places places;
    uint64_t last_id;
    uint32_t last_listing;
    struct list interrupted;
    uv_timer_t interrupt_timer;

    /* INIT: what the kernel offered, and whether our answer went out */
    uint64_t init_unique;
    uint32_t init_flags, init_minor;
    bool init_done;
    bool acl_kills_sgid; /* of the SETXATTR that is being read: raw.c */
    bool kills_setid;    /* of the WRITE or SETATTR */

    struct notifier notifier;
    uv_work_t detach_work;
    void (*on_detached)(void *ctx, int error);
    int detach_error;
    bool mounted, ended, closed;
    time_us attr_valid_max, entry_valid_max;
};

/* ---- request.c ------------------------------------------------------------------------------- */

/* Hands `op` on: sets its id and remembers how to answer. `size` is the caller's room where that
 * counts. */
void request_submit(fuse_req_t req, struct client_op *op, enum reply_form form, size_t size);
/* The same for a page of a listing that begins at `offset`. */
void request_submit_listing(fuse_req_t req, struct client_op *op, enum reply_form form, size_t size,
                            off_t offset);
/* Hands on an operation that nobody is told the result of. */
void request_submit_silent(struct kernel *k, struct client_op *op);
/* True after having answered ENAMETOOLONG: the kernel lets names of 256 bytes through (FUSE.md §8).
 */
bool request_refuse_name(fuse_req_t req, const char *name);
void requests_init(struct kernel *k);
void requests_close(struct kernel *k);
void request_free(struct request *r);

/* ---- reply.c --------------------------------------------------------------------------------- */
void reply_send(struct request *r, const struct client_result *result);

/* ---- raw.c -----------------------------------------------------------------------------------
 */
/* What of the kernel's protocol libfuse 3.14 does not know is put in terms that it does. */
void raw_request(struct kernel *k);
/* The name in a CREATE that was a TMPFILE. */
#define RAW_NAMELESS "/"

/* ---- init.c ---------------------------------------------------------------------------------- */
extern const struct fuse_custom_io init_hook_io;
/* The kernel takes FUSE_NOTIFY_INC_EPOCH. */
bool init_has_epoch(const struct kernel *k);
void init_negotiate(void *userdata, struct fuse_conn_info *conn);
/* Large windows for sequential readers: the INIT answer alone is capped at 128 KiB (FUSE.md §0.5).
 */
void init_set_read_ahead(const char *device);
/* "MAJOR:MINOR" of what is mounted there. */
bool init_find_device(const char *mountpoint, char *ret, size_t size);

/* ---- ops_*.c ---- */
void ops_fill_names(struct fuse_lowlevel_ops *ops);
void ops_fill_attr(struct fuse_lowlevel_ops *ops);
void ops_fill_data(struct fuse_lowlevel_ops *ops);
void ops_fill_dir(struct fuse_lowlevel_ops *ops);
void ops_fill_lock(struct fuse_lowlevel_ops *ops);

#endif
