/* One mount's daemon: joins the kernel's end, the client core and the links to the nodes.
 *
 * The core computes, the daemon carries out: every input becomes one event, every event's effects
 * are carried out in order before the next. One libuv loop; no thread but the helpers of fs/fuse.
 *
 *     mount_run.c     life cycle: start, ready, stop; timers
 *     mount_effects.c events in, effects out
 *     mount_links.c   links to the nodes; frames
 *     mount_admin.c   questions of people */
#ifndef TALLY_TOOLS_CLI_MOUNT_H
#define TALLY_TOOLS_CLI_MOUNT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fs/client/client.h"
#include "fs/fuse/kernel.h"
#include "repl/base/vec.h"
#include "repl/io/link.h"
#include "tools/cli/config.h"
#include "tools/cli/daemon.h"
#include "tools/cli/mount_options.h"
#include "tools/cli/mount_state.h"

enum { MOUNT_NODE_IDS = 32 };

/* How a life ended, and exit codes as mount(8) has them. */
enum mount_exit { MOUNT_DONE = 0, MOUNT_USAGE = 1, MOUNT_SYSTEM = 2, MOUNT_FAILED = 32 };

/* Whoever waits for the mount to come up: told once, ready or why not. */
struct mount_waiter {
    void *ctx;
    void (*ready)(void *ctx);
    void (*failed)(void *ctx, enum mount_exit code, const char *why);
};

enum mount_phase {
    MOUNT_STARTING, /* the kernel's INIT is awaited, then an answer for the root */
    MOUNT_RUNNING,
    MOUNT_DETACHING, /* the mount point is being taken away */
    MOUNT_FLUSHING,  /* everything dirty is being committed */
    MOUNT_OVER
};

struct mount {
    const struct mount_options *options;
    const struct config *config;
    char point[PATH_MAX + 1];
    char name[CONFIG_NAME_MAX + 1];
    char socket[CONFIG_PATH_MAX + 1];
    struct mount_waiter waiter;
    enum mount_phase phase;
    enum mount_exit code;
    bool answered; /* the waiter was told */

    uv_loop_t loop;
    struct link_hub *hub;
    struct kernel *kernel;
    struct client *client; /* NULL before INIT */
    bool epoch, kernel_ended;
    struct link *links[MOUNT_NODE_IDS];

    /* events: one at a time, see mount_feed() */
    struct client_out out;
    bool feeding;
    vec_of(struct client_op) later; /* RELEASE and FORGET that arose while carrying out */

    /* time */
    uv_timer_t timer, stop_timer, keep_timer;
    struct daemon_memory memory_use;
    uv_check_t check;
    uv_idle_t idle; /* runs while a tick is due, so that the loop does not sleep before the check */
    bool tick_due;
    uv_signal_t sigterm, sigint;

    struct mount_state state;
    struct mount_memory memory;
};

/* ---- mount_run.c ----------------------------------------------------------------------------- */

/* Mounts and runs until the end. The paths in `m` (point, name, socket) are set. */
enum mount_exit mount_run(struct mount *m);
/* Takes the mount point away, commits, ends. Again: at once, whatever is not committed is lost. */
void mount_stop(struct mount *m, const char *reason);
/* The start has failed, or the end has come. */
void mount_finish(struct mount *m, enum mount_exit code, const char *why);
/* The client core has nothing left to commit. */
void mount_stopped(struct mount *m);
/* The client core wants a tick at `at`; 0: none. */
void mount_set_timer(struct mount *m, time_us at);
time_us mount_now(void);

/* ---- mount_effects.c ------------------------------------------------------------------------- */

/* One event through the core; sets its times. Not from within an effect. */
void mount_feed(struct mount *m, struct client_event *ev);
void mount_feed_kind(struct mount *m, enum client_event_kind kind);
/* From the kernel. */
void mount_on_op(void *ctx, const struct client_op *op);
void mount_on_cancel(void *ctx, uint64_t op_id);
void mount_on_interrupt(void *ctx, uint64_t op_id);
/* Asks for the root's attributes, to see whether the cluster answers. */
void mount_probe_root(struct mount *m);

/* ---- mount_links.c --------------------------------------------------------------------------- */

/* Listens for questions, at `m->socket`. 0 or a negative errno. */
int mount_links_listen(struct mount *m);
/* From now on there are links to the nodes. */
int mount_links_connect(struct mount *m);
/* "n1 answers; n2, w1 do not" into `buf`. */
void mount_links_describe(const struct mount *m, char *buf, size_t size);

/* ---- mount_admin.c --------------------------------------------------------------------------- */
void mount_admin_frame(struct mount *m, struct link *link, const uint8_t *control, size_t size);

#endif
