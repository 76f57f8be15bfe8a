#include "fs/fuse/keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { DAEMON_DIED = SIGUSR2 };

/* Of fusectl. Once open it means this connection, though the number be another's one day: when the
 * connection ends Linux takes it from the file. */
static int abort_fd = -1;

static int open_abort(const char *number)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/sys/fs/fuse/connections/%.32s/abort", number);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    /* It is not mounted here, and need not be. */
    int fs = fsopen("fusectl", FSOPEN_CLOEXEC), root = -1;
    if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    (void)snprintf(path, sizeof path, "%.32s/abort", number);
    if (root >= 0) {
        fd = openat(root, path, O_WRONLY | O_CLOEXEC);
        (void)close(root);
    }
    if (fs >= 0)
        (void)close(fs);
    return fd;
}

static void end_connection(void)
{
    (void)!write(abort_fd, "1", 1);
}

/* A crash first waits for all threads, to write them down. */
static void on_crash(int number)
{
    (void)number;
    end_connection();
}

/* In the child, of a process that had threads: nothing but system calls. */
static _Noreturn void keep(pid_t daemon)
{
    sigset_t died;
    sigemptyset(&died);
    sigaddset(&died, DAEMON_DIED);
    (void)prctl(PR_SET_NAME, "tally-keeper", 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, DAEMON_DIED, 0, 0, 0);
    if (abort_fd > 0)
        (void)close_range(0, (unsigned)abort_fd - 1, 0);
    (void)close_range((unsigned)abort_fd + 1, ~0u, 0);
    while (getppid() == daemon && sigwaitinfo(&died, NULL) != DAEMON_DIED)
        ;
    end_connection();
    _exit(0);
}

void keeper_start(const char *device)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    const char *minor = strchr(device, ':');
    abort_fd = minor ? open_abort(minor + 1) : -1;
    if (abort_fd < 0)
        return;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};
        (void)sigaction(crashes[i], &action, NULL);
    }
    sigset_t all, old;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &old);
    pid_t daemon = getpid();
    if (fork() == 0)
        keep(daemon);
    (void)sigprocmask(SIG_SETMASK, &old, NULL);
}
