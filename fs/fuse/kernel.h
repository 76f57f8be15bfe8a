/* The kernel's end of a mount: FUSE requests come in as operations of fs/client, its answers and
 * invalidations go out.
 *
 * Translates and decides nothing about the namespace. Everything runs on one libuv loop that polls
 * the FUSE descriptor (FUSE.md §5), except invalidations that may block, which have a thread of
 * their own. */
#ifndef TALLY_FS_FUSE_KERNEL_H
#define TALLY_FS_FUSE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fs/client/client.h"

struct kernel;

/* Operations of the kernel are numbered below this; the driver's own may use numbers from here on.
 */
#define KERNEL_OP_ID_END (UINT64_C(1) << 63)

struct kernel_callbacks {
    void *ctx;
    /* The kernel said hello; requests follow. `epoch`: kernel_notify_names() works here
     * (FUSE 7.44). */
    void (*on_init)(void *ctx, bool epoch);
    /* To be answered with kernel_reply(), now or later; FORGET has no answer. `op` is borrowed. */
    void (*on_op)(void *ctx, const struct client_op *op);
    /* The caller of an unanswered operation is being killed, or was interrupted and has waited
     * long. */
    void (*on_cancel)(void *ctx, uint64_t op_id);
    /* Its caller, who waits for a lock, has a signal. */
    void (*on_interrupt)(void *ctx, uint64_t op_id);
    /* Unmounted, from here or from outside; nothing comes after it. */
    void (*on_end)(void *ctx);
};

struct kernel_config {
    uv_loop_t *loop;
    const char *mountpoint;
    const char *source;  /* first field of the mount table */
    const char *options; /* for mount(2): "ro,noexec"; NULL or empty: none */
    /* Upper bounds of what the kernel may remember, for those who want less than the promises
     * allow. */
    time_us attr_valid_max, entry_valid_max;
    struct kernel_callbacks callbacks;
};

/* Mounts. On failure a negative errno, and `error` holds a line that says what and why. */
int kernel_mount(const struct kernel_config *config, struct kernel **ret_kernel, char *error,
                 size_t error_size);

/* Answers the kernel's operation `op_id`; an id that is not waiting is ignored. `result` is
 * borrowed. */
void kernel_reply(struct kernel *k, uint64_t op_id, const struct client_result *result);

/* Attributes of `ino` are stale. Never blocks (FUSE.md §1). */
void kernel_notify_attr(struct kernel *k, uint64_t ino);
/* Pages of `ino` are stale. Returns at once; happens on the helper thread, nobody waits for it. */
void kernel_notify_data(struct kernel *k, uint64_t ino);
/* Every name is to be asked again. Never blocks. Without epochs names are never cached: nothing to
 * do. */
void kernel_notify_names(struct kernel *k);
void kernel_notify_prune(struct kernel *k, uint64_t ino);

/* Takes the mount point away while requests go on being answered; on_end comes when the last open
 * file is closed. Returns at once; on_detached tells when the mount point is free. Once only. */
void kernel_detach(struct kernel *k, void (*on_detached)(void *ctx, int error));

/* Ends the connection: whoever still uses the mount gets errors. The loop must run its close
 * callbacks afterwards. */
void kernel_close(struct kernel *k);
/* After the loop has run. NULL is fine. */
void kernel_free(struct kernel *k);

/* Requests the kernel waits for. */
size_t kernel_waiting(const struct kernel *k);

#endif
