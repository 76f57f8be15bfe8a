/* What nodes and mounts have in common as processes. */
#ifndef TALLY_TOOLS_CLI_DAEMON_H
#define TALLY_TOOLS_CLI_DAEMON_H

#include <stdint.h>
#include <uv.h>

/* First of all: the process begins anew, as `argv` again, with a heap of large pages. Returns when
 * it has one, or cannot have it. */
void daemon_want_large_pages(char **argv);
/* Before the first thread. Priority: who answers late is taken for dead, or holds up a program, and
 * must not queue behind a busy machine's jobs. Memory: how the allocator keeps it. */
void daemon_prepare(void);

/* Gives memory back to the system once blocks have stopped coming and going. */
struct daemon_memory {
    uv_check_t check;
    uv_timer_t timer; /* runs while they do */
    uint64_t made;    /* bytes of blobs, when it ran out last */
    unsigned seconds; /* since memory was given back last, or not worth it */
};
void daemon_memory_start(struct daemon_memory *m, uv_loop_t *loop);
void daemon_memory_stop(struct daemon_memory *m); /* closes its handles */

#endif
