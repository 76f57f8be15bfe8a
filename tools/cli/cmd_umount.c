/* tally umount: takes a mount away and waits until its daemon has committed everything. */
#include "tools/cli/command.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli/admin.h"
#include "tools/cli/mount_table.h"

static const char usage[] = "tally umount [--lazy] [--force] DIR\n"
                            "\n"
                            "Unmounts and waits until all that was written is committed.\n"
                            "  --lazy    also while programs use it: they get errors from then on\n"
                            "  --force   also when its daemon is frozen or hangs: programs that "
                            "wait in it get errors, and\n"
                            "            what it has not committed yet may be lost\n";

enum { POLL_MS = 10, ASK_MS = 2000, SAY_EVERY_MS = 1000 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int complain(const char *point, const char *what)
{
    fprintf(stderr, "tally umount: %s: %s\n", point, what);
    return EXIT_FAILED;
}

/* The daemon's answer, or NULL: it is gone (-ECONNREFUSED, -ENOENT, -EPROTO while closing) or
 * silent. */
static json_t *ask(const struct mount_entry *e, const char *command, int *ret_error)
{
    static const uint8_t any_cluster[16];
    char address[PATH_MAX + 8];
    json_t *answer = NULL;
    (void)snprintf(address, sizeof address, "unix:%s", e->source);
    *ret_error = admin_command(address, any_cluster, command, ASK_MS, &answer);
    return *ret_error == 0 ? answer : NULL;
}

/* Waits until the daemon has gone, and says every second what is left to write. */
static int await_daemon(const struct mount_entry *e)
{
    int64_t start = now_ms(), said = start;
    int error = 0;
    for (;;) {
        json_t *status = ask(e, "status", &error);
        if (error == -ECONNREFUSED || error == -ENOENT)
            return EXIT_DONE;
        if (now_ms() - said >= SAY_EVERY_MS) {
            long long left = json_integer_value(json_object_get(status, "dirty_bytes")) +
                             json_integer_value(json_object_get(status, "inflight_bytes"));
            if (status)
                fprintf(stderr, "unmounted; %lld KiB left to commit, %lld s\n", left / 1024,
                        (long long)(now_ms() - start) / 1000);
            else
                fprintf(stderr, "unmounted; the daemon does not answer (%s)\n", strerror(-error));
            said = now_ms();
        }
        json_decref(status);
        (void)poll(NULL, 0, POLL_MS);
    }
}

static int detach(const struct mount_entry *e, int flags)
{
    if (umount2(e->point, flags | UMOUNT_NOFOLLOW) == 0)
        return EXIT_DONE;
    return complain(
        e->point,
        errno == EBUSY
            ? "in use by a program (fuser -vm names it); --lazy takes it away all the same"
        : errno == EPERM ? "only root may unmount"
                         : strerror(errno));
}

static int unmount(const struct mount_entry *e, bool lazy, bool force)
{
    switch (mount_entry_life(e)) {
    case MOUNT_DEAD:
        fprintf(stderr, "tally umount: the daemon of %s had died\n", e->point);
        return detach(e, MNT_DETACH);
    case MOUNT_SILENT:
        if (!force)
            return complain(
                e->point,
                "its daemon runs but does not answer (frozen?); --force takes the mount away, "
                "and what is not committed may be lost");
        /* Who waits for an answer can't even be killed, and a daemon that was killed while its
         * helper waits for such a page (fs/fuse/notify.h) doesn't die. MNT_FORCE answers them all.
         */
        return detach(e, MNT_DETACH | MNT_FORCE);
    case MOUNT_ALIVE:
        break;
    }
    int r = detach(e, lazy || force ? MNT_DETACH : 0);
    if (r != EXIT_DONE)
        return r;
    if (lazy || force) { /* programs may keep it alive, so the daemon has to be told */
        int error;
        json_decref(ask(e, "stop", &error));
    }
    return await_daemon(e);
}

static int run_umount(int argc, char **argv)
{
    static struct mount_entry e;
    static char point[PATH_MAX + 1];
    const char *dir = NULL;
    bool lazy = false, force = false, wrong = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--lazy") == 0 || strcmp(argv[i], "-l") == 0)
            lazy = true;
        else if (strcmp(argv[i], "--force") == 0 || strcmp(argv[i], "-f") == 0)
            force = true;
        else if (!dir && argv[i][0] != '-')
            dir = argv[i];
        else
            wrong = true;
    }
    if (!dir || wrong) {
        fprintf(stderr, "usage: %s", usage);
        return EXIT_USAGE;
    }
    int r = mount_point_path(dir, point);
    if (r < 0)
        return complain(dir, strerror(-r));
    if (!mount_table_find(point, &e))
        return complain(point,
                        "nothing is mounted there; `findmnt -t fuse.tally` lists tally mounts");
    if (!mount_entry_is_tally(&e))
        return complain(point, "not a tally mount, left alone");
    return unmount(&e, lazy, force);
}

const struct command command_umount = {
    .name = "umount",
    .summary = "unmount, once everything written is committed",
    .usage = usage,
    .run = run_umount,
};
