/* What the sources of a mount share. */
#ifndef TALLY_TESTS_SIM_MOUNT_INTERNAL_H
#define TALLY_TESTS_SIM_MOUNT_INTERNAL_H

#include "fs/client/commit.h"
#include "fs/client/local.h"
#include "fs/client/locks.h"
#include "fs/client/op.h"
#include "fs/client/rpc.h"
#include "node/internal.h"
#include "tests/sim/mount.h"

#define DEADLINE (30 * TIME_S)       /* of an operation, and of the last flush */
#define PROBE_ID (UINT64_C(1) << 63) /* the mount's own operations; the kernel's are below */

/* What the token file holds (tools/cli/mount_state.c). Written by rename: whole or not at all. */
struct memory {
    uint64_t session, token;
    uint8_t uuid[16];
};

struct mount {
    struct process *process;
    struct client *client;
    struct kernel *kernel;
    struct link_hub *hub;
    struct link *links[NODE_IDS];
    struct client_out out;
    bool ended_dirty;      /* commits are missing */
    uint64_t session_over; /* this session has ended, whether it knows or not */
    bool feeding, ready, stopping, ended, keep_planned;
    vec_of(struct client_op) later; /* what arose while effects were carried out */
    time_us wake_planned;           /* by the process's clock; 0: none */
    struct memory memory;
    uint64_t token_then; /* that it started with */
};

/* ---- mount.c --------------------------------------------------------------------------------- */

/* Its token file: it stays when the mount ends. */
struct memory *mount_file(const struct mount *m);
/* Mounts are numbered from 1. */
uint32_t mount_number(const struct mount *m);
void mount_feed(struct mount *m, struct client_event *ev);

/* ---- mount_effects.c ------------------------------------------------------------------------- */

void mount_trace_reply(const struct mount *m, uint32_t node, const Fs__Reply *r);
/* Commits are missing: the history learns of the loss. */
void mount_note_losses(struct mount *m);
void mount_finish(struct mount *m);
void mount_carry_out(struct mount *m, const struct client_effect *e);

/* ---- mount_links.c --------------------------------------------------------------------------- */

void mount_connect(struct mount *m);

#endif
