#include "fs/fuse/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool mask_has_sigkill(const char *status, const char *field)
{
    const char *at = strstr(status, field);
    return at && strtoull(at + strlen(field), NULL, 16) & (1ull << (SIGKILL - 1));
}

bool interrupt_status_is_killed(const char *status)
{
    return mask_has_sigkill(status, "\nSigPnd:") || mask_has_sigkill(status, "\nShdPnd:");
}

/* The kernel names the thread, and /proc/TID works for threads too. */
bool interrupt_caller_killed(pid_t tid)
{
    char path[32], text[4096];
    if (tid <= 0)
        return false;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return true; /* ESRCH: it went between open and read */
    text[n] = '\0';
    return interrupt_status_is_killed(text);
}
