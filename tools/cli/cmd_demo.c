/* tally demo: the first five minutes. A cluster on this machine, a tree copied in while nodes are
 * killed, and a verdict. Leaves nothing behind, also when interrupted. */
#include "tools/cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "tally demo [--tree DIR] [--dir DIR]\n"
    "  --tree DIR   what is copied in (default /usr/include)\n"
    "  --dir DIR    where the demo's cluster lives meanwhile (default: a new one below /tmp)\n";

enum { WRITE_EVERY_MS = 10, WRITE_BYTES = 4096, PATH_SIZE = 4096 };

/* What the writer process tells while it runs. Shared memory; the writer alone writes it. */
struct pulse {
    volatile int64_t writes, errors, longest_us, longest_at_us, last_us;
    volatile int first_errno;
};

struct demo {
    char dir[PATH_SIZE], tree[PATH_SIZE];
    struct pulse *pulse;
    pid_t writer, copier;
    bool lab_started, made_dir;
    int failures;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

/* One line of the verdict. */
__attribute__((format(printf, 3, 4))) static void judge(struct demo *d, bool ok, const char *format,
                                                        ...)
{
    va_list args;
    printf("  %s  ", ok ? "ok    " : "FAILED");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    d->failures += !ok;
}

static pid_t spawn(char *const argv[], bool quiet)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    (void)setpgid(0, 0); /* a Ctrl-C is for the demo, which ends its children itself */
    if (quiet) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, 1) < 0)
            _exit(126);
    }
    execvp(argv[0], argv);
    fprintf(stderr, "tally demo: cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Exit code of the child, 128 + signal, or -1 when we were interrupted meanwhile. */
static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 127;
        else if (interrupted)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int lab(const struct demo *d, const char *verb, const char *a, const char *b)
{
    char *argv[] = {"/proc/self/exe", "lab",     (char *)verb, "--dir",
                    (char *)d->dir,   (char *)a, (char *)b,    NULL};
    pid_t pid = spawn(argv, true);
    if (pid < 0)
        return 127;
    int status; /* a lab command is short and never left half done */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static json_t *lab_state(const struct demo *d)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return NULL;
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(out[1], 1) < 0)
            _exit(126);
        execl("/proc/self/exe", "tally", "lab", "status", "--dir", d->dir, "--json", (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    FILE *f = fdopen(out[0], "r");
    json_t *j = f ? json_loadf(f, 0, NULL) : NULL;
    if (f)
        (void)fclose(f);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return j;
}

/* The leader's name into `ret`; waits a little for there to be one. */
static bool find_leader(const struct demo *d, char *ret, size_t size)
{
    for (int64_t end = now_us() + 20000000; now_us() < end && !interrupted;) {
        json_t *state = lab_state(d);
        const char *name = json_string_value(json_object_get(state, "leader"));
        if (name)
            (void)snprintf(ret, size, "%s", name);
        json_decref(state);
        if (name)
            return true;
        (void)poll(NULL, 0, 20);
    }
    return false;
}

/* The application that must notice nothing: writes and fsyncs 4 KiB every 10 ms until told to end.
 */
static void run_writer(const struct demo *d)
{
    char path[PATH_SIZE + 32], page[WRITE_BYTES];
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, SIG_IGN);
    (void)snprintf(path, sizeof path, "%s/mnt/m1/pulse", d->dir);
    memset(page, 'x', sizeof page);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct pulse *p = d->pulse;
    int64_t last = now_us();
    while (!interrupted) {
        bool ok = fd >= 0 &&
                  pwrite(fd, page, sizeof page, (off_t)(p->writes % 64) * WRITE_BYTES) ==
                      (ssize_t)sizeof page &&
                  fsync(fd) == 0;
        int64_t now = now_us();
        if (!ok) {
            if (!p->errors)
                p->first_errno = errno;
            p->errors++;
        } else {
            p->writes++;
            if (now - last > p->longest_us) {
                p->longest_us = now - last;
                p->longest_at_us = now;
            }
            last = now;
            p->last_us = now;
        }
        (void)poll(NULL, 0, WRITE_EVERY_MS);
    }
    _exit(fd >= 0 && close(fd) == 0 ? 0 : 1);
}

static void pause_ms(int ms)
{
    for (int64_t end = now_us() + (int64_t)ms * 1000; now_us() < end && !interrupted;)
        (void)poll(NULL, 0, 20);
}

/* Kills one node, lets the work go on without it, brings it back. */
static bool strike(struct demo *d, const char *what, const char *name)
{
    say("  kill -9 %s (%s) ...", name, what);
    int64_t before = d->pulse->longest_us;
    d->pulse->longest_us = 0;
    if (lab(d, "kill", name, NULL) != 0)
        return false;
    pause_ms(1500);
    say("      longest pause of a write + fsync loop: %.0f ms", (double)d->pulse->longest_us / 1e3);
    if (d->pulse->longest_us < before)
        d->pulse->longest_us = before;
    return lab(d, "start-node", name, NULL) == 0;
}

static bool start_work(struct demo *d)
{
    d->pulse->last_us = now_us();
    d->writer = fork();
    if (d->writer == 0)
        run_writer(d);
    char to[PATH_SIZE + 16];
    (void)snprintf(to, sizeof to, "%s/mnt/m1/tree", d->dir);
    char *copy[] = {"cp", "-a", d->tree, to, NULL};
    d->copier = spawn(copy, false);
    return d->writer > 0 && d->copier > 0;
}

static bool strike_all(struct demo *d)
{
    char leader[64], other[64];
    if (!find_leader(d, leader, sizeof leader) || !strike(d, "the leader", leader))
        return false;
    pause_ms(500);
    if (!find_leader(d, leader, sizeof leader))
        return false;
    (void)snprintf(other, sizeof other, "%s", strcmp(leader, "n1") == 0 ? "n2" : "n1");
    return strike(d, "the other copy", other) && !interrupted;
}

static void finish_work(struct demo *d)
{
    int copied = wait_for(d->copier);
    if (interrupted)
        return;
    d->copier = 0;
    (void)kill(d->writer, SIGTERM);
    int written = wait_for(d->writer);
    d->writer = 0;
    judge(d, copied == 0, "cp -a of %s into m1, through both kills: exit code %d", d->tree, copied);
    judge(d, written == 0 && d->pulse->errors == 0,
          "%lld writes with fsync meanwhile, %lld errors%s%s", (long long)d->pulse->writes,
          (long long)d->pulse->errors, d->pulse->errors ? ": " : "",
          d->pulse->errors ? strerror(d->pulse->first_errno) : "");
    judge(d, d->pulse->longest_us < 5000000, "longest pause: %.0f ms",
          (double)d->pulse->longest_us / 1e3);
}

static void compare(struct demo *d)
{
    char there[PATH_SIZE + 16];
    (void)snprintf(there, sizeof there, "%s/mnt/m2/tree", d->dir);
    char *diff[] = {"diff", "-r", "--no-dereference", d->tree, there, NULL};
    int r = wait_for(spawn(diff, false));
    judge(d, r == 0, "the tree at m2 equals %s", d->tree);
    if (interrupted)
        return;
    judge(d, lab(d, "settle", NULL, NULL) == 0,
          "nodes back, caught up, both copies hold identical state and blocks");
}

static bool run_steps(struct demo *d)
{
    say("[1/4] a cluster in %s: copies n1 and n2, witness w1, mounts m1 and m2", d->dir);
    d->lab_started = true;
    if (lab(d, "start", NULL, NULL) != 0)
        return false;
    say("[2/4] copying %s into m1; beside it a loop of 4 KiB write + fsync every 10 ms", d->tree);
    if (!start_work(d))
        return false;
    pause_ms(700);
    say("[3/4] failures");
    if (!strike_all(d))
        return false;
    say("[4/4] finishing the copy, comparing at m2, waiting for repair");
    finish_work(d);
    if (!interrupted)
        compare(d);
    return !interrupted;
}

static void clean_up(struct demo *d)
{
    pid_t children[] = {d->copier, d->writer};
    for (size_t i = 0; i < 2; i++)
        if (children[i] > 0) {
            (void)kill(children[i], SIGKILL);
            while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
                ;
        }
    if (d->lab_started && lab(d, "stop", "--wipe", NULL) != 0)
        fprintf(
            stderr,
            "tally demo: could not take everything down; try `tally lab stop --dir %s --wipe`\n",
            d->dir);
}

static void print_verdict(const struct demo *d, bool ran)
{
    if (interrupted)
        say("\nInterrupted. Everything was taken down.");
    else if (!ran)
        say("\nVERDICT: the demo could not run to its end (see above).");
    else if (d->failures)
        say("\nVERDICT: FAILED, %d of the checks above.", d->failures);
    else
        say("\nVERDICT: fine. Two nodes were killed in turn while files were written: nothing was "
            "lost, no "
            "program saw an error.\n\nNext, by hand:\n"
            "  tally lab start --dir /tmp/lab          a cluster that stays; mounts in "
            "/tmp/lab/mnt\n"
            "  tally lab kill --dir /tmp/lab n1        and keep working in them\n"
            "  tally status --config /tmp/lab/tally.conf\n"
            "  tally explain /tmp/lab/mnt/m1           what waits, for whom\n"
            "  tally lab stop --dir /tmp/lab --wipe\n"
            "  (tally is build/tools/cli/tally)");
}

static int prepare(struct demo *d, int argc, char **argv)
{
    (void)snprintf(d->tree, sizeof d->tree, "/usr/include");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tree") == 0 && i + 1 < argc)
            (void)snprintf(d->tree, sizeof d->tree, "%s", argv[++i]);
        else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc)
            (void)snprintf(d->dir, sizeof d->dir, "%s", argv[++i]);
        else {
            fprintf(stderr, "tally demo: what is '%s'?\nusage: %s", argv[i], usage);
            return EXIT_USAGE;
        }
    }
    struct stat st;
    if (stat(d->tree, &st) < 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "tally demo: %s is no directory to copy; name one with --tree\n", d->tree);
        return EXIT_FAILED;
    }
    if (d->dir[0] && access(d->dir, F_OK) == 0) {
        fprintf(
            stderr,
            "tally demo: %s exists; the demo removes its directory at the end, so name a new one\n",
            d->dir);
        return EXIT_FAILED;
    }
    if (!d->dir[0]) {
        (void)snprintf(d->dir, sizeof d->dir, "/tmp/tally-demo.XXXXXX");
        if (!mkdtemp(d->dir)) {
            fprintf(stderr, "tally demo: cannot make %s: %s\n", d->dir, strerror(errno));
            return EXIT_FAILED;
        }
    }
    d->pulse =
        mmap(NULL, sizeof *d->pulse, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return d->pulse == MAP_FAILED ? EXIT_FAILED : EXIT_DONE;
}

static int run_demo(int argc, char **argv)
{
    static struct demo d;
    int r = prepare(&d, argc, argv);
    if (r)
        return r;
    struct sigaction catch = {.sa_handler = on_signal}; /* no SA_RESTART: waits end at once */
    (void)sigaction(SIGINT, &catch, NULL);
    (void)sigaction(SIGTERM, &catch, NULL);
    (void)sigaction(SIGHUP, &catch, NULL);
    bool ran = run_steps(&d);
    clean_up(&d);
    print_verdict(&d, ran);
    return ran && !d.failures ? EXIT_DONE : EXIT_FAILED;
}

const struct command command_demo = {
    .name = "demo",
    .summary = "a cluster, a tree, two kills, a verdict: five minutes on this machine",
    .usage = usage,
    .run = run_demo,
};
