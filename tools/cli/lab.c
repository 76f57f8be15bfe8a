#include "tools/cli/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

const char *lab_path(const struct lab *lab, char *buf, size_t size, const char *format, ...)
{
    int used = snprintf(buf, size, "%s/", lab->dir);
    if (used > 0 && (size_t)used < size) {
        va_list args;
        va_start(args, format);
        int more = vsnprintf(buf + used, size - (size_t)used, format, args);
        va_end(args);
        if (more >= 0 && (size_t)(used + more) < size)
            return buf;
    }
    fprintf(stderr, "tally lab: a path below %s is too long\n", lab->dir);
    exit(1);
}

const struct lab_member *lab_find(const struct lab *lab, const char *name)
{
    for (size_t i = 0; i < lab->count; i++)
        if (strcmp(lab->members[i].name, name) == 0)
            return &lab->members[i];
    return NULL;
}

void lab_address(const struct lab *lab, const struct lab_member *m, char *buf, size_t size)
{
    const struct config_node *n = config_find(&lab->config, m->name);
    if (n)
        (void)snprintf(buf, size, "%s", n->address);
    else
        (void)snprintf(buf, size, "unix:%s/run/%s.sock", lab->dir, m->name);
}

static int add_member(struct lab *lab, const char *name, bool is_mount, bool witness)
{
    if (lab->count == LAB_MEMBERS_MAX) {
        fprintf(stderr, "tally lab: more than %d nodes and mounts\n", LAB_MEMBERS_MAX);
        return -E2BIG;
    }
    struct lab_member *m = &lab->members[lab->count++];
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    m->is_mount = is_mount;
    m->witness = witness;
    return 0;
}

static int make_dir(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return 0;
    int e = errno;
    fprintf(stderr, "tally lab: cannot make %s: %s\n", path, strerror(e));
    return -e;
}

static int write_config(const struct lab *lab, unsigned copies, unsigned witnesses,
                        const char *election, const char *capacity)
{
    char path[LAB_PATH_MAX + 1];
    FILE *f = fopen(lab_path(lab, path, sizeof path, "tally.conf"), "we");
    if (!f) {
        int e = errno;
        fprintf(stderr, "tally lab: cannot write %s: %s\n", path, strerror(e));
        return -e;
    }
    uint8_t uuid[16];
    if (getrandom(uuid, sizeof uuid, 0) != (ssize_t)sizeof uuid)
        abort();
    fprintf(f, "[cluster]\nname = lab\nuuid = ");
    for (size_t i = 0; i < sizeof uuid; i++)
        fprintf(f, "%02x", uuid[i]);
    fprintf(f, "\nelection = %s\n", election);
    for (unsigned i = 0; i < copies + witnesses; i++) {
        bool witness = i >= copies;
        char name[16];
        (void)snprintf(name, sizeof name, "%c%u", witness ? 'w' : 'n',
                       witness ? i - copies + 1 : i + 1);
        fprintf(f, "\n[node %s]\nid = %u\nkind = %s\naddress = unix:%s/run/%s.sock\n", name, i + 1,
                witness ? "witness" : "copy", lab->dir, name);
        fprintf(f, "store = %s/nodes/%s\n", lab->dir, name);
        if (capacity)
            fprintf(f, "capacity = %s\n", capacity);
    }
    if (fclose(f) != 0) {
        int e = errno;
        fprintf(stderr, "tally lab: cannot write %s: %s\n", path, strerror(e));
        return -e;
    }
    return 0;
}

static int load_config(struct lab *lab)
{
    char path[LAB_PATH_MAX + 1], error[1024];
    int r = config_load(lab_path(lab, path, sizeof path, "tally.conf"), &lab->config, error,
                        sizeof error);
    if (r < 0) {
        fprintf(stderr, "tally lab: %s\n", error);
        return r;
    }
    for (size_t i = 0; i < lab->config.nodes_count && r == 0; i++)
        r = add_member(lab, lab->config.nodes[i].name, false, lab->config.nodes[i].witness);
    return r;
}

int lab_save(const struct lab *lab)
{
    char path[LAB_PATH_MAX + 1], temp[LAB_PATH_MAX + 1];
    unsigned mounts = 0;
    for (size_t i = 0; i < lab->count; i++)
        mounts += lab->members[i].is_mount;
    json_t *j = json_pack("{s:i, s:s, s:O}", "mounts", (int)mounts, "mount_options",
                          lab->mount_options, "cuts", lab->cuts);
    int r = json_dump_file(j, lab_path(lab, temp, sizeof temp, "lab.json.new"), JSON_INDENT(2));
    json_decref(j);
    if (r < 0 || rename(temp, lab_path(lab, path, sizeof path, "lab.json")) < 0) {
        fprintf(stderr, "tally lab: cannot write %s: %s\n", temp, strerror(errno));
        return -EIO;
    }
    return 0;
}

static void set_dir(struct lab *lab, const char *dir)
{
    memset(lab, 0, sizeof *lab);
    if (!realpath(dir, lab->dir))
        (void)snprintf(lab->dir, sizeof lab->dir, "%s", dir);
}

static int add_mounts(struct lab *lab, unsigned mounts)
{
    int r = 0;
    for (unsigned i = 1; i <= mounts && r == 0; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%u", i);
        r = add_member(lab, name, true, false);
    }
    return r;
}

int lab_create(struct lab *lab, const char *dir, unsigned copies, unsigned witnesses,
               unsigned mounts, const char *mount_options, const char *election,
               const char *capacity)
{
    char path[LAB_PATH_MAX + 1];
    int r = make_dir(dir);
    if (r < 0)
        return r;
    set_dir(lab, dir);
    static const char *const below[] = {"nodes", "mnt", "run", "log", "state"};
    for (size_t i = 0; i < sizeof below / sizeof *below && r == 0; i++)
        r = make_dir(lab_path(lab, path, sizeof path, "%s", below[i]));
    (void)snprintf(lab->mount_options, sizeof lab->mount_options, "%s", mount_options);
    lab->cuts = json_array();
    if (r == 0)
        r = write_config(lab, copies, witnesses, election, capacity);
    if (r == 0)
        r = load_config(lab);
    if (r == 0)
        r = add_mounts(lab, mounts);
    for (size_t i = 0; i < lab->count && r == 0; i++)
        if (lab->members[i].is_mount)
            r = make_dir(lab_path(lab, path, sizeof path, "mnt/%s", lab->members[i].name));
    return r == 0 ? lab_save(lab) : r;
}

int lab_open(struct lab *lab, const char *dir)
{
    char path[LAB_PATH_MAX + 1];
    set_dir(lab, dir);
    json_error_t error;
    if (access(lab_path(lab, path, sizeof path, "lab.json"), F_OK) < 0)
        return -ENOENT;
    json_t *j = json_load_file(path, 0, &error);
    if (!j) {
        fprintf(stderr, "tally lab: %s:%d: %s\n", path, error.line, error.text);
        return -EINVAL;
    }
    int mounts = 0;
    const char *options = "";
    json_t *cuts = NULL;
    int r = json_unpack(j, "{s:i, s:s, s:o}", "mounts", &mounts, "mount_options", &options, "cuts",
                        &cuts);
    if (r < 0 || mounts < 0) {
        fprintf(stderr, "tally lab: %s was not written by `tally lab start`\n", path);
        json_decref(j);
        return -EINVAL;
    }
    (void)snprintf(lab->mount_options, sizeof lab->mount_options, "%s", options);
    lab->cuts = json_deep_copy(cuts);
    json_decref(j);
    r = load_config(lab);
    return r == 0 ? add_mounts(lab, (unsigned)mounts) : r;
}

void lab_close(struct lab *lab)
{
    json_decref(lab->cuts);
    lab->cuts = NULL;
}
