#include "tools/cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli/admin.h"
#include "tools/cli/mount_table.h"

enum { START_TIMEOUT_MS = 40000, POLL_MS = 10 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* State letter and start time of a process; the start time tells it from a later one with its pid.
 * The letter is the main thread's: with more threads than that one it is not yet dead, and holds
 * its files open. */
static bool read_stat(pid_t pid, char *ret_state, long *ret_threads, unsigned long long *ret_start)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    char *after_name = strrchr(text, ')');
    if (!after_name)
        return false;
    return sscanf(
               after_name + 1,
               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu",
               ret_state, ret_threads, ret_start) == 3;
}

enum lab_process_state lab_process(const struct lab *lab, const struct lab_member *m,
                                   pid_t *ret_pid)
{
    char path[LAB_PATH_MAX + 1], state;
    FILE *f = fopen(lab_path(lab, path, sizeof path, "run/%s.pid", m->name), "re");
    int pid = 0;
    long threads = 0;
    unsigned long long start = 0, started;
    if (f) {
        if (fscanf(f, "%d %llu", &pid, &started) != 2)
            pid = 0;
        (void)fclose(f);
    }
    if (pid <= 0 || !read_stat(pid, &state, &threads, &start) || start != started)
        return LAB_DOWN;
    if ((state == 'Z' || state == 'X') && threads <= 1)
        return LAB_DOWN;
    if (ret_pid)
        *ret_pid = pid;
    return state == 'T' || state == 't' ? LAB_FROZEN : LAB_UP;
}

static int keep_pid(const struct lab *lab, const struct lab_member *m, pid_t pid)
{
    char path[LAB_PATH_MAX + 1], state;
    long threads;
    unsigned long long start;
    if (!read_stat(pid, &state, &threads, &start))
        return -ESRCH;
    FILE *f = fopen(lab_path(lab, path, sizeof path, "run/%s.pid", m->name), "we");
    if (!f)
        return -errno;
    fprintf(f, "%d %llu\n", (int)pid, start);
    return fclose(f) == 0 ? 0 : -EIO;
}

/* A node makes its store at its first start only (RULES B7): remembered beside the lab's other
 * state. */
static bool was_created(const struct lab *lab, const struct lab_member *m)
{
    char path[LAB_PATH_MAX + 1];
    return access(lab_path(lab, path, sizeof path, "state/%s.created", m->name), F_OK) == 0;
}

static int note_created(const struct lab *lab, const struct lab_member *m)
{
    char path[LAB_PATH_MAX + 1];
    int fd = open(lab_path(lab, path, sizeof path, "state/%s.created", m->name),
                  O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    (void)close(fd);
    return 0;
}

static void exec_member(const struct lab *lab, const struct lab_member *m)
{
    char config[LAB_PATH_MAX + 1], mount[LAB_PATH_MAX + 1], options[4 * LAB_PATH_MAX];
    lab_path(lab, config, sizeof config, "tally.conf");
    if (!m->is_mount) {
        execl("/proc/self/exe", "tally", "node", "--config", config, "--name", m->name,
              was_created(lab, m) ? (char *)NULL : "--create", (char *)NULL);
    } else {
        lab_path(lab, mount, sizeof mount, "mnt/%s", m->name);
        (void)snprintf(options, sizeof options, "state=%s/state/%s,socket=%s/run/%s.sock%s%s",
                       lab->dir, m->name, lab->dir, m->name, lab->mount_options[0] ? "," : "",
                       lab->mount_options);
        execl("/proc/self/exe", "tally", "mount", "--config", config, "--name", m->name,
              "--foreground", "-o", options, mount, (char *)NULL);
    }
    fprintf(stderr, "tally lab: cannot start %s: %s\n", m->name, strerror(errno));
    _exit(127);
}

/* In the child: a session of its own, nothing inherited but the log. */
static void become_daemon(const struct lab *lab, const struct lab_member *m)
{
    char path[LAB_PATH_MAX + 1];
    (void)setsid();
    int log = open(lab_path(lab, path, sizeof path, "log/%s.log", m->name),
                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    (void)syscall(SYS_close_range, 3u, ~0u, 0u);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/") < 0)
        _exit(126);
}

/* The last line of the member's log says why it did not come up. */
static void print_log_tail(const struct lab *lab, const struct lab_member *m)
{
    char path[LAB_PATH_MAX + 1], line[1024], last[1024] = "(its log is empty)\n";
    FILE *f = fopen(lab_path(lab, path, sizeof path, "log/%s.log", m->name), "re");
    while (f && fgets(line, sizeof line, f))
        memcpy(last, line, sizeof last);
    if (f)
        (void)fclose(f);
    fprintf(stderr, "tally lab: %s did not start: %s  see %s\n", m->name, last, path);
}

/* A mount answers when its root does; a node when its socket does. */
static bool answers(const struct lab *lab, const struct lab_member *m)
{
    char address[LAB_PATH_MAX + 16];
    json_t *answer;
    lab_address(lab, m, address, sizeof address);
    if (admin_command(address, lab->config.uuid, "ping", 1000, &answer) < 0)
        return false;
    bool ready = !m->is_mount || json_is_true(json_object_get(answer, "ready"));
    json_decref(answer);
    return ready;
}

int lab_spawn(const struct lab *lab, const struct lab_member *m)
{
    if (m->is_mount)
        lab_detach(lab, m);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "tally lab: cannot start %s: %s\n", m->name, strerror(errno));
        return -errno;
    }
    if (pid == 0) {
        become_daemon(lab, m);
        exec_member(lab, m);
    }
    int r = keep_pid(lab, m, pid);
    for (int64_t end = now_ms() + START_TIMEOUT_MS; r == 0 && !answers(lab, m);) {
        if (waitpid(pid, NULL, WNOHANG) == pid) {
            print_log_tail(lab, m);
            return -ECHILD;
        }
        if (now_ms() > end) {
            fprintf(stderr, "tally lab: %s runs but does not answer after %d s\n", m->name,
                    START_TIMEOUT_MS / 1000);
            return -ETIMEDOUT;
        }
        (void)poll(NULL, 0, POLL_MS);
    }
    return r == 0 && !m->is_mount ? note_created(lab, m) : r;
}

int lab_wait_gone(const struct lab *lab, const struct lab_member *m, pid_t pid, int timeout_ms)
{
    pid_t now_pid = pid;
    for (int64_t end = now_ms() + timeout_ms; now_ms() < end;) {
        (void)waitpid(pid, NULL, WNOHANG); /* ours when this very command started it */
        if (lab_process(lab, m, &now_pid) == LAB_DOWN)
            return 0;
        (void)poll(NULL, 0, POLL_MS);
    }
    return -ETIMEDOUT;
}

int lab_signal(const struct lab *lab, const struct lab_member *m, int signal_number)
{
    pid_t pid;
    if (lab_process(lab, m, &pid) == LAB_DOWN)
        return -ESRCH;
    return kill(pid, signal_number) == 0 ? 0 : -errno;
}

bool lab_is_mounted(const char *path)
{
    struct mount_entry e;
    return mount_table_find(path, &e);
}

/* MNT_FORCE: nobody is left to answer, and who waits for that could not be killed. */
void lab_detach(const struct lab *lab, const struct lab_member *m)
{
    char path[LAB_PATH_MAX + 1];
    lab_path(lab, path, sizeof path, "mnt/%s", m->name);
    while (lab_is_mounted(path))
        if (umount2(path, MNT_DETACH | MNT_FORCE) < 0)
            break;
}
