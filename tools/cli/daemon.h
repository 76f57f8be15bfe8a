/* What nodes and mounts have in common as processes. */
#ifndef TALLY_TOOLS_CLI_DAEMON_H
#define TALLY_TOOLS_CLI_DAEMON_H

/* Before the first thread. Priority: who answers late is taken for dead, or holds up a program, and
 * must not queue behind a busy machine's jobs. Memory: how the allocator keeps it. */
void daemon_prepare(void);

#endif
