/* Is the caller of a request being killed? */
#ifndef TALLY_FS_FUSE_INTERRUPT_H
#define TALLY_FS_FUSE_INTERRUPT_H

#include <stdbool.h>
#include <sys/types.h>

/* `status` is the text of /proc/TID/status: SIGKILL waits for the thread or its process. */
bool interrupt_status_is_killed(const char *status);

/* The thread is being killed, or is gone. 0 (a caller from elsewhere) counts as alive. */
bool interrupt_caller_killed(pid_t tid);

#endif
