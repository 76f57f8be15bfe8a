#include "tools/cli/mount_state.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "tools/cli/text.h"

static const char file_name[] = "session.tok";

static void hex_put(char *text, const uint8_t bytes[16])
{
    for (size_t i = 0; i < 16; i++)
        (void)sprintf(text + 2 * i, "%02x", bytes[i]);
}

static bool hex_get(const char *text, uint8_t bytes[16])
{
    if (!text || strlen(text) != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        unsigned v;
        if (sscanf(text + 2 * i, "%2x", &v) != 1)
            return false;
        bytes[i] = (uint8_t)v;
    }
    return true;
}

/* mkdir -p, for its owner alone at the end. */
static int make_dirs(const char *dir)
{
    char *path = xstrdup(dir);
    int r = 0;
    for (char *p = path + 1; r == 0; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        bool last = *p == '\0';
        *p = '\0';
        if (mkdir(path, last ? 0700 : 0755) < 0 && errno != EEXIST)
            r = -errno;
        if (last)
            break;
        *p = '/';
    }
    free(path);
    return r;
}

static void file_path(const struct mount_state *s, const char *name, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s/%s", s->dir, name);
}

/* A file that cannot be read, or is of another cluster, is as good as none: this life starts anew,
 * and the session of the one before ends by its time. */
static void load(const struct mount_state *s, struct mount_memory *ret)
{
    char path[4096];
    uint8_t cluster[16], uuid[16];
    json_int_t session = 0, token = 0;
    const char *cluster_hex = NULL, *uuid_hex = NULL;
    file_path(s, file_name, path, sizeof path);
    *ret = (struct mount_memory){0};
    json_t *j = json_load_file(path, 0, NULL);
    if (j &&
        json_unpack(j, "{s:s, s:s, s:I, s:I}", "cluster", &cluster_hex, "uuid", &uuid_hex,
                    "session", &session, "token", &token) == 0 &&
        hex_get(cluster_hex, cluster) && hex_get(uuid_hex, uuid) &&
        memcmp(cluster, s->cluster, sizeof cluster) == 0 && session >= 0 && token >= 0) {
        ret->session = (uint64_t)session;
        ret->token = (uint64_t)token;
        memcpy(ret->uuid, uuid, sizeof uuid);
    }
    json_decref(j);
}

int mount_state_open(struct mount_state *s, const char *dir, const uint8_t cluster[16],
                     struct mount_memory *ret_memory, char *error, size_t error_size)
{
    char path[4096];
    *s = (struct mount_state){.dir = xstrdup(dir), .lock_fd = -1};
    memcpy(s->cluster, cluster, sizeof s->cluster);
    file_path(s, "lock", path, sizeof path);
    int r = make_dirs(dir);
    if (r == 0) {
        s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        r = s->lock_fd < 0 ? -errno : 0;
    }
    if (r == 0 && flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (r == -EBUSY)
        text_format(
            error, error_size,
            "the state directory %s belongs to a mount that runs; give this one another: -o "
            "state=DIR",
            dir);
    else if (r < 0)
        text_format(error, error_size,
                    "cannot use the state directory %s: %s; another: -o state=DIR", dir,
                    strerror(-r));
    if (r < 0) {
        mount_state_close(s);
        return r;
    }
    load(s, ret_memory);
    return 0;
}

int mount_state_keep(const struct mount_state *s, const struct mount_memory *memory)
{
    char path[4096], fresh[4096], cluster[33], uuid[33];
    file_path(s, file_name, path, sizeof path);
    file_path(s, "session.new", fresh, sizeof fresh);
    hex_put(cluster, s->cluster);
    hex_put(uuid, memory->uuid);
    json_t *j = json_pack("{s:s, s:s, s:I, s:I}", "cluster", cluster, "uuid", uuid, "session",
                          (json_int_t)memory->session, "token", (json_int_t)memory->token);
    int r = json_dump_file(j, fresh, JSON_INDENT(2)) == 0 ? 0 : -EIO;
    json_decref(j);
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    return r;
}

void mount_state_close(struct mount_state *s)
{
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    free(s->dir);
    *s = (struct mount_state){.lock_fd = -1};
}
