/* A mount of a run: the client core, its links, its token file, and the kernel's side before it. */
#ifndef TALLY_TESTS_SIM_MOUNT_H
#define TALLY_TESTS_SIM_MOUNT_H

#include "fs/client/client.h"
#include "tests/sim/kernel.h"
#include "tests/sim/process.h"

struct mount;

/* Starts with the token file that its earlier life left. */
struct mount *mount_start(struct process *p);
/* SIGKILL: nobody is called back; the token file stays. */
void mount_killed(struct mount *m);
/* SIGTERM: commits everything, releases, ends; calls process's end by itself. */
void mount_stop(struct mount *m);
/* A copy has applied something. */
void mount_see_state(struct mount *m, const struct node *n);
struct kernel *mount_kernel(struct mount *m);
struct client *mount_client(struct mount *m);
uint64_t mount_session(const struct mount *m); /* 0: none yet */
struct process *mount_process(struct mount *m);
/* A kernel request; its answer comes by kernel_reply(). */
void mount_op(struct mount *m, const struct client_op *op);
void mount_cancel(struct mount *m, uint64_t op_id);
void mount_interrupt(struct mount *m, uint64_t op_id);

#endif
