/* tally mount: mounts a cluster's filesystem and leaves a daemon behind. */
#include "tools/cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "repl/io/log.h"
#include "tools/cli/daemon.h"
#include "tools/cli/mount.h"
#include "tools/cli/mount_table.h"
#include "tools/cli/text.h"

static const char usage[] =
    "tally mount [--config FILE] DIR [-o OPTIONS] [--name NAME] [--foreground] [--log FILE]\n"
    "\n"
    "Returns when the root of the mount answers; then a daemon serves it until `tally umount "
    "DIR`.\n"
    "\n"
    "  consistency=linearizable  or session: reads from the nearest copy, never older than what\n"
    "                            this mount has seen\n"
    "  namespace=lease           names made under the lease of their directory are there at "
    "once\n"
    "                            and committed soon after, fsync waits for that; or sync: each\n"
    "                            operation is committed before it returns\n"
    "  timeout=30s       limit of every operation; then ETIMEDOUT, with data kept and retried\n"
    "  buffer=64MiB      written data not yet committed\n"
    "  kept=8MiB         committed data of files written here, kept while nobody else asks; 0: "
    "none\n"
    "  nearest=NAME      the copy to read from first\n"
    "  state=DIR         where session and token are kept (/var/lib/tally/mount-NAME)\n"
    "  socket=PATH       where the daemon answers questions (/run/tally/mount-NAME.sock)\n"
    "  attr_timeout=T, entry_timeout=T   shorter kernel caches than the promises allow\n"
    "  relatime          or noatime, strictatime, nodiratime: which reads are recorded\n"
    "  ro, noexec, nosuid, nodev, ... as in mount(8)\n"
    "\n"
    "Exit codes are mount(8)'s: 0 mounted, 1 wrong usage, 2 system error, 32 mount failed.\n";

/* ---- telling whoever waits --------------------------------------------------------------------
 */

/* The foreground process of a daemon learns the outcome through a pipe: one byte of exit code, then
 * the reason. */
static void pipe_tell(int fd, enum mount_exit code, const char *why)
{
    char message[2048];
    message[0] = (char)code;
    int n = snprintf(message + 1, sizeof message - 1, "%s", why);
    (void)!write(fd, message, (size_t)n + 1 < sizeof message ? (size_t)n + 1 : sizeof message);
    (void)close(fd);
}

struct teller {
    int pipe; /* -1: in the foreground */
    const char *log;
};

static void tell_ready(void *ctx)
{
    struct teller *t = ctx;
    if (t->pipe < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0 && !t->log)
        (void)dup2(null, 2); /* the terminal is the caller's again */
    if (null > 2)
        (void)close(null);
    pipe_tell(t->pipe, MOUNT_DONE, "");
}

static void tell_failed(void *ctx, enum mount_exit code, const char *why)
{
    const struct teller *t = ctx;
    if (t->pipe < 0)
        fprintf(stderr, "tally mount: %s\n", why);
    else
        pipe_tell(t->pipe, code, why);
}

static int failed(enum mount_exit code, const char *why)
{
    fprintf(stderr, "tally mount: %s\n", why);
    return (int)code;
}

/* ---- before mounting --------------------------------------------------------------------------
 */

/* A mount point whose daemon died says "Transport endpoint is not connected" to everyone: taken
 * away. */
static int clean_dead_mount(const char *point, char *why, size_t size)
{
    static struct mount_entry e;
    while (mount_table_find(point, &e) && mount_entry_is_tally(&e)) {
        enum mount_life life = mount_entry_life(&e);
        if (life != MOUNT_DEAD) {
            text_format(
                why, size,
                "%s is a tally mount already (its daemon %s at %.512s); `tally umount %s` first",
                point, life == MOUNT_ALIVE ? "answers" : "runs but is silent", e.source, point);
            return -EBUSY;
        }
        if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
            text_format(why, size, "%s is a mount whose daemon died, and cannot be taken away: %s",
                        point, strerror(errno));
            return -errno;
        }
        fprintf(stderr, "tally mount: took away the dead mount on %s\n", point);
    }
    return 0;
}

static int check_fuse(char *why, size_t size)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return close(fd);
    int r = -errno;
    const char *next = r == -ENOENT || r == -ENODEV
                           ? "load it: modprobe fuse; in a container: --device /dev/fuse"
                       : r == -EACCES || r == -EPERM ? "mount as root"
                                                     : "see dmesg";
    text_format(why, size, "cannot open /dev/fuse: %s; %s", strerror(-r), next);
    return r;
}

static int check_point(const char *dir, char point[PATH_MAX + 1], char *why, size_t size)
{
    struct stat st;
    int r = mount_point_path(dir, point);
    if (r == 0)
        r = clean_dead_mount(point, why, size);
    if (r == -EBUSY)
        return r;
    if (r == 0 && stat(point, &st) < 0)
        r = -errno;
    if (r == 0 && !S_ISDIR(st.st_mode))
        r = -ENOTDIR;
    if (r < 0)
        text_format(why, size, "cannot mount on %s: %s%s%s", dir, strerror(-r),
                    r == -ENOENT ? "; make it: mkdir -p " : "", r == -ENOENT ? dir : "");
    return r;
}

static void set_paths(struct mount *m, struct mount_options *o)
{
    if (o->name)
        (void)snprintf(m->name, sizeof m->name, "%s", o->name);
    else
        mount_options_name_of(m->point, m->name, sizeof m->name);
    if (o->socket[0])
        (void)snprintf(m->socket, sizeof m->socket, "%s", o->socket);
    else
        (void)snprintf(m->socket, sizeof m->socket, "/run/tally/mount-%s.sock", m->name);
    if (!o->state[0])
        (void)snprintf(o->state, sizeof o->state, "/var/lib/tally/mount-%s", m->name);
    if (!o->socket[0])
        (void)mkdir("/run/tally", 0755); /* listening says when that did not do */
}

/* Relative paths would change their meaning once the daemon is in "/". */
static int make_absolute(char *path, size_t size)
{
    char cwd[PATH_MAX], *copy;
    if (!*path || *path == '/')
        return 0;
    if (!getcwd(cwd, sizeof cwd))
        return -errno;
    copy = strdup(path);
    int n = copy ? snprintf(path, size, "%s/%s", cwd, copy) : -1;
    free(copy);
    return n >= 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* ---- the daemon -------------------------------------------------------------------------------
 */

static int open_log(const char *path, char *why, size_t size)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (!path)
        return 0;
    if (fd < 0) {
        int r = -errno;
        text_format(why, size, "cannot write the log %s: %s", path, strerror(-r));
        return r;
    }
    (void)dup2(fd, 2);
    return close(fd);
}

/* In the parent: passes on what the child tells. A child that dies without a word has failed. */
static int await_child(pid_t child, int fd)
{
    char message[2048];
    size_t have = 0;
    ssize_t n;
    while ((n = read(fd, message + have, sizeof message - 1 - have)) > 0 ||
           (n < 0 && errno == EINTR))
        have += n > 0 ? (size_t)n : 0;
    (void)close(fd);
    if (have == 0) {
        int status = 0;
        (void)waitpid(child, &status, 0);
        fprintf(stderr, "tally mount: the daemon ended with %s %d before the mount was ready\n",
                WIFSIGNALED(status) ? "signal" : "code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return MOUNT_SYSTEM;
    }
    message[have] = '\0';
    if (message[0] != MOUNT_DONE)
        fprintf(stderr, "tally mount: %s\n", message + 1);
    return message[0];
}

static int run_daemon(struct mount *m, struct teller *t)
{
    char why[1024];
    int r = open_log(m->options->log, why, sizeof why);
    if (r == 0)
        r = mount_state_open(&m->state, m->options->state, m->config->uuid, &m->memory, why,
                             sizeof why);
    if (r < 0) {
        tell_failed(t, MOUNT_SYSTEM, why);
        return MOUNT_SYSTEM;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    daemon_prepare();
    m->waiter = (struct mount_waiter){.ctx = t, .ready = tell_ready, .failed = tell_failed};
    enum mount_exit code = mount_run(m);
    mount_state_close(&m->state);
    return (int)code;
}

static int run_in_background(struct mount *m, struct teller *t)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return failed(MOUNT_SYSTEM, strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return failed(MOUNT_SYSTEM, strerror(errno));
    if (child > 0) {
        (void)close(fds[1]);
        return await_child(child, fds[0]);
    }
    (void)close(fds[0]);
    t->pipe = fds[1];
    (void)setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, 0);
        (void)dup2(null, 1);
    }
    if (chdir("/") < 0)
        _exit(MOUNT_SYSTEM);
    exit(run_daemon(m, t));
}

static int run_mount(int argc, char **argv)
{
    static struct mount_options o;
    static struct config config;
    static struct mount m = {.state = {.lock_fd = -1}};
    static struct teller teller = {.pipe = -1};
    static char why[2048];
    if (mount_options_parse(&o, argc, argv, why, sizeof why) < 0) {
        fprintf(stderr, "tally mount: %s\nusage: %.*s", why, (int)strcspn(usage, "\n") + 1, usage);
        return MOUNT_USAGE;
    }
    if (config_load(o.config, &config, why, sizeof why) < 0)
        return failed(MOUNT_USAGE, why);
    if (o.nearest[0] && !config_find(&config, o.nearest)) {
        text_format(why, sizeof why, "-o nearest=%s: %s has no such node", o.nearest, o.config);
        return failed(MOUNT_USAGE, why);
    }
    if (check_fuse(why, sizeof why) < 0)
        return failed(MOUNT_SYSTEM, why);
    if (check_point(o.dir, m.point, why, sizeof why) < 0)
        return failed(MOUNT_FAILED, why);
    if (make_absolute(o.state, sizeof o.state) < 0 || make_absolute(o.socket, sizeof o.socket) < 0)
        return failed(MOUNT_USAGE, "a path in -o is too long");
    m.options = &o;
    m.config = &config;
    set_paths(&m, &o);
    teller.log = o.log;
    return o.foreground ? run_daemon(&m, &teller) : run_in_background(&m, &teller);
}

const struct command command_mount = {
    .name = "mount",
    .summary = "mount a cluster's filesystem on a directory",
    .usage = usage,
    .run = run_mount,
};
