/* tally lab: a whole cluster on one machine. */
#include "tools/cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "election/strategy.h"
#include "tools/cli/admin.h"
#include "tools/cli/lab.h"

static const char usage[] =
    "tally lab start  --dir D [--copies 2] [--witnesses 1] [--mounts 2] [-o MOUNT_OPTIONS]\n"
    "                         [--capacity SIZE]\n"
    "                         [--election candidate|bully|successor|invitation|ring]\n"
    "       tally lab status --dir D [--json] [--verify]\n"
    "       tally lab kill   --dir D NAME [--signal KILL|STOP|CONT|TERM]\n"
    "       tally lab start-node --dir D NAME\n"
    "       tally lab cut    --dir D A B...\n"
    "       tally lab mend   --dir D [A B...]\n"
    "       tally lab settle --dir D [--timeout S]\n"
    "       tally lab stop   --dir D [--wipe]\n";

struct options {
    const char *dir, *mount_options, *election, *signal_name, *capacity;
    unsigned copies, witnesses, mounts, timeout_s;
    bool json, wipe, verify;
    const char *names[LAB_MEMBERS_MAX];
    size_t names_count;
};

static int wrong(const char *what, const char *word)
{
    fprintf(stderr, "tally lab: %s %s\nusage: %s", what, word, usage);
    return EXIT_USAGE;
}

static bool parse_number(const char *text, unsigned *ret)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*end || end == text || v > 100000)
        return false;
    *ret = (unsigned)v;
    return true;
}

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.mount_options = "",
                          .election = "candidate",
                          .signal_name = "KILL",
                          .copies = 2,
                          .witnesses = 1,
                          .mounts = 2,
                          .timeout_s = 60};
    const struct {
        const char *name;
        const char **text;
        unsigned *number;
        bool *flag;
    } known[] = {
        {"--dir", &o->dir, NULL, NULL},
        {"-o", &o->mount_options, NULL, NULL},
        {"--election", &o->election, NULL, NULL},
        {"--capacity", &o->capacity, NULL, NULL},
        {"--signal", &o->signal_name, NULL, NULL},
        {"--copies", NULL, &o->copies, NULL},
        {"--witnesses", NULL, &o->witnesses, NULL},
        {"--mounts", NULL, &o->mounts, NULL},
        {"--timeout", NULL, &o->timeout_s, NULL},
        {"--json", NULL, NULL, &o->json},
        {"--wipe", NULL, NULL, &o->wipe},
        {"--verify", NULL, NULL, &o->verify},
    };
    for (int i = 0; i < argc; i++) {
        size_t k = 0, n = sizeof known / sizeof *known;
        while (k < n && strcmp(known[k].name, argv[i]) != 0)
            k++;
        if (k == n && argv[i][0] == '-')
            return wrong("unknown option", argv[i]);
        if (k == n) {
            if (o->names_count == LAB_MEMBERS_MAX)
                return wrong("too many names from", argv[i]);
            o->names[o->names_count++] = argv[i];
        } else if (known[k].flag) {
            *known[k].flag = true;
        } else if (++i == argc) {
            return wrong("no value for", argv[i - 1]);
        } else if (known[k].text) {
            *known[k].text = argv[i];
        } else if (!parse_number(argv[i], known[k].number)) {
            return wrong("not a number:", argv[i]);
        }
    }
    return o->dir ? 0 : wrong("where? --dir", "D is missing");
}

/* Only one command changes a lab at a time. The lock ends with this process. */
static int lock_lab(const struct lab *lab)
{
    char path[LAB_PATH_MAX + 1];
    int fd = open(lab_path(lab, path, sizeof path, "run/lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || flock(fd, LOCK_EX) < 0) {
        fprintf(stderr, "tally lab: cannot lock %s: %s\n", path, strerror(errno));
        return -errno;
    }
    return 0;
}

static int open_lab(struct lab *lab, const struct options *o)
{
    int r = lab_open(lab, o->dir);
    if (r == -ENOENT)
        fprintf(stderr, "tally lab: no lab in %s; `tally lab start --dir %s` makes one\n", o->dir,
                o->dir);
    return r;
}

static const struct lab_member *member(const struct lab *lab, const char *name)
{
    const struct lab_member *m = lab_find(lab, name);
    if (m)
        return m;
    fprintf(stderr, "tally lab: no '%s' in this lab; there are", name);
    for (size_t i = 0; i < lab->count; i++)
        fprintf(stderr, " %s", lab->members[i].name);
    fprintf(stderr, "\n");
    return NULL;
}

/* Tells a running member whom it is cut from; one that does not run is told when it starts. */
static int tell_cuts(const struct lab *lab, const struct lab_member *m)
{
    char address[LAB_PATH_MAX + 16];
    lab_address(lab, m, address, sizeof address);
    json_t *peers = json_array(), *pair, *answer = NULL;
    size_t i;
    json_array_foreach(lab->cuts, i, pair)
    {
        const char *a = json_string_value(json_array_get(pair, 0));
        const char *b = json_string_value(json_array_get(pair, 1));
        if (strcmp(a, m->name) == 0)
            json_array_append_new(peers, json_string(b));
        else if (strcmp(b, m->name) == 0)
            json_array_append_new(peers, json_string(a));
    }
    json_t *request = json_pack("{s:s, s:o}", "cmd", "cuts", "peers", peers);
    int r = admin_ask(address, lab->config.uuid, request, 2000, &answer);
    json_decref(request);
    json_decref(answer);
    return r;
}

static int start_member(const struct lab *lab, const struct lab_member *m)
{
    if (lab_process(lab, m, NULL) != LAB_DOWN)
        return 0;
    int r = lab_spawn(lab, m);
    if (r == 0 && json_array_size(lab->cuts))
        r = tell_cuts(lab, m);
    return r;
}

static int lab_start(const struct options *o)
{
    struct lab lab;
    if (!strategy_find(o->election))
        return wrong("--election takes candidate, bully, successor, invitation or ring, not",
                     o->election);
    int r = lab_open(&lab, o->dir);
    if (r == -ENOENT)
        r = lab_create(&lab, o->dir, o->copies, o->witnesses, o->mounts, o->mount_options,
                       o->election, o->capacity);
    if (r == 0)
        r = lock_lab(&lab);
    for (size_t i = 0; i < lab.count && r == 0; i++) /* nodes come before mounts */
        r = start_member(&lab, &lab.members[i]);
    lab_close(&lab);
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int lab_show_status(const struct options *o)
{
    struct lab lab;
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    json_t *status = lab_status(&lab, o->verify, 2000);
    if (o->json) {
        json_dumpf(status, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        lab_print_status(&lab, status);
    }
    json_decref(status);
    lab_close(&lab);
    return EXIT_DONE;
}

static int lab_kill(const struct options *o)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"KILL", SIGKILL}, {"STOP", SIGSTOP}, {"CONT", SIGCONT}, {"TERM", SIGTERM}};
    int number = 0;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (strcmp(signals[i].name, o->signal_name) == 0)
            number = signals[i].number;
    if (!number || o->names_count != 1)
        return wrong(number ? "which one? one NAME" : "unknown signal",
                     number ? "is needed" : o->signal_name);
    struct lab lab;
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    const struct lab_member *m = member(&lab, o->names[0]);
    pid_t pid = 0;
    int r = m ? 0 : -ENOENT;
    if (m && lab_process(&lab, m, &pid) == LAB_DOWN) {
        fprintf(stderr, "tally lab: %s does not run\n", m->name);
        r = -ESRCH;
    }
    if (r == 0)
        r = lab_signal(&lab, m, number);
    if (r == 0 && number == SIGKILL && lab_wait_gone(&lab, m, pid, 10000) < 0) {
        fprintf(stderr,
                "tally lab: %s still is there 10 s after SIGKILL: it waits in the kernel%s\n",
                m->name, m->is_mount ? "; `tally umount --force` its mount point ends that" : "");
        r = -ETIMEDOUT;
    }
    /* It commits, unmounts and ends; start-node would take it for running until then. */
    if (r == 0 && number == SIGTERM && lab_process(&lab, m, NULL) == LAB_UP &&
        lab_wait_gone(&lab, m, pid, 30000) < 0) {
        fprintf(stderr,
                "tally lab: %s still runs 30 s after SIGTERM; its log says what it waits for\n",
                m->name);
        r = -ETIMEDOUT;
    }
    lab_close(&lab);
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int lab_start_node(const struct options *o)
{
    struct lab lab;
    if (o->names_count != 1)
        return wrong("which one? one NAME", "is needed");
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    const struct lab_member *m = member(&lab, o->names[0]);
    int r = m ? lock_lab(&lab) : -ENOENT;
    if (r == 0)
        r = start_member(&lab, m);
    lab_close(&lab);
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

static bool same_cut(const json_t *pair, const char *a, const char *b)
{
    const char *x = json_string_value(json_array_get(pair, 0));
    const char *y = json_string_value(json_array_get(pair, 1));
    return (strcmp(x, a) == 0 && strcmp(y, b) == 0) || (strcmp(x, b) == 0 && strcmp(y, a) == 0);
}

static void set_cut(struct lab *lab, const char *a, const char *b, bool cut)
{
    for (size_t i = json_array_size(lab->cuts); i-- > 0;)
        if (same_cut(json_array_get(lab->cuts, i), a, b))
            json_array_remove(lab->cuts, i);
    if (cut)
        json_array_append_new(lab->cuts, json_pack("[s, s]", a, b));
}

static int tell_everyone(const struct lab *lab)
{
    int r = 0;
    for (size_t i = 0; i < lab->count; i++) {
        const struct lab_member *m = &lab->members[i];
        if (lab_process(lab, m, NULL) == LAB_UP && tell_cuts(lab, m) < 0) {
            fprintf(stderr, "tally lab: %s does not answer, so it may not know its cuts\n",
                    m->name);
            r = -EIO;
        }
    }
    return r;
}

static int lab_cut(const struct options *o, bool cut)
{
    struct lab lab;
    if (cut && o->names_count < 2)
        return wrong("whom from whom? A and at least one B", "are needed");
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    int r = lock_lab(&lab);
    for (size_t i = 0; i < o->names_count && r == 0; i++)
        r = member(&lab, o->names[i]) ? 0 : -ENOENT;
    if (r == 0 && o->names_count == 0)
        json_array_clear(lab.cuts);
    if (r == 0 && o->names_count == 1) /* mend A: from everyone */
        for (size_t i = 0; i < lab.count; i++)
            set_cut(&lab, o->names[0], lab.members[i].name, false);
    for (size_t i = 1; i < o->names_count && r == 0; i++)
        set_cut(&lab, o->names[0], o->names[i], cut);
    if (r == 0)
        r = lab_save(&lab);
    if (r == 0)
        r = tell_everyone(&lab);
    lab_close(&lab);
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int lab_settle(const struct options *o)
{
    enum { POLL_MS = 50, SAY_EVERY_S = 2 };
    struct lab lab;
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    double start = now_s(), said = start;
    const char *why = NULL;
    char last[256] = "";
    do {
        json_t *status = lab_status(&lab, false, 1000);
        why = lab_unsettled(&lab, status);
        json_decref(status);
        if (!why) { /* looks settled: now let every copy recompute its hashes from its bytes */
            status = lab_status(&lab, true, 60000);
            why = lab_unsettled(&lab, status);
            json_decref(status);
        }
        if (!why)
            break;
        (void)snprintf(last, sizeof last, "%s", why);
        if (now_s() - said >= SAY_EVERY_S) {
            fprintf(stderr, "settling, %.0f s: %s\n", now_s() - start, why);
            said = now_s();
        }
        (void)poll(NULL, 0, POLL_MS);
    } while (now_s() - start < o->timeout_s);
    lab_close(&lab);
    if (!why)
        return EXIT_DONE;
    fprintf(stderr, "tally lab: not settled after %u s: %s\n", o->timeout_s, last);
    return EXIT_FAILED;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* Ends one process: politely first, so that leadership and buffered writes are handed over. */
static int stop_member(const struct lab *lab, const struct lab_member *m, int patience_ms)
{
    pid_t pid = 0;
    enum lab_process_state state = lab_process(lab, m, &pid);
    if (state == LAB_DOWN)
        return 0;
    if (state == LAB_FROZEN)
        (void)kill(pid, SIGCONT);
    (void)kill(pid, SIGTERM);
    if (lab_wait_gone(lab, m, pid, patience_ms) == 0)
        return 0;
    fprintf(stderr, "tally lab: %s did not end by itself, killed\n", m->name);
    (void)kill(pid, SIGKILL);
    if (m->is_mount) /* its helper may wait in the kernel for an answer that will never come */
        lab_detach(lab, m);
    return lab_wait_gone(lab, m, pid, 10000);
}

static int lab_stop(const struct options *o)
{
    enum { MOUNT_PATIENCE_MS = 15000, NODE_PATIENCE_MS = 5000 };
    struct lab lab;
    if (open_lab(&lab, o) < 0)
        return EXIT_FAILED;
    int r = lock_lab(&lab), failed = 0;
    for (size_t i = lab.count; i-- > 0 && r == 0;) { /* mounts first: they have bytes to commit */
        const struct lab_member *m = &lab.members[i];
        failed |= stop_member(&lab, m, m->is_mount ? MOUNT_PATIENCE_MS : NODE_PATIENCE_MS);
        if (m->is_mount)
            lab_detach(&lab, m);
    }
    for (size_t i = 0; i < lab.count && r == 0; i++) {
        char path[LAB_PATH_MAX + 1];
        if (lab.members[i].is_mount &&
            lab_is_mounted(lab_path(&lab, path, sizeof path, "mnt/%s", lab.members[i].name)))
            failed = 1;
    }
    if (r == 0 && !failed && o->wipe &&
        nftw(lab.dir, remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0) {
        fprintf(stderr, "tally lab: cannot remove all of %s: %s\n", lab.dir, strerror(errno));
        failed = 1;
    }
    lab_close(&lab);
    return r == 0 && !failed ? EXIT_DONE : EXIT_FAILED;
}

static int run_lab(int argc, char **argv)
{
    struct options o;
    if (argc < 2) {
        fprintf(stderr, "usage: %s", usage);
        return EXIT_USAGE;
    }
    int r = parse(argc - 2, argv + 2, &o);
    if (r)
        return r;
    const char *verb = argv[1];
    if (strcmp(verb, "start") == 0)
        return lab_start(&o);
    if (strcmp(verb, "status") == 0)
        return lab_show_status(&o);
    if (strcmp(verb, "kill") == 0)
        return lab_kill(&o);
    if (strcmp(verb, "start-node") == 0)
        return lab_start_node(&o);
    if (strcmp(verb, "cut") == 0)
        return lab_cut(&o, true);
    if (strcmp(verb, "mend") == 0)
        return lab_cut(&o, false);
    if (strcmp(verb, "settle") == 0)
        return lab_settle(&o);
    if (strcmp(verb, "stop") == 0)
        return lab_stop(&o);
    return wrong("unknown command", verb);
}

const struct command command_lab = {
    .name = "lab",
    .summary = "a whole cluster on this machine, to try, to drill and to measure",
    .usage = usage,
    .run = run_lab,
};
