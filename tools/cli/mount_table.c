#include "tools/cli/mount_table.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>

#include "tools/cli/admin.h"

enum { LIFE_TIMEOUT_MS = 3000 };

/* Octal escapes of /proc/self/mountinfo: blanks come as \040. In place. */
static void unescape(char *s)
{
    char *to = s;
    while (*s) {
        unsigned code;
        if (s[0] == '\\' && s[1] && s[2] && s[3] && sscanf(s + 1, "%3o", &code) == 1) {
            *to++ = (char)code;
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}

/* "36 35 98:0 /root POINT OPTIONS ... - TYPE SOURCE OPTIONS" */
static bool parse_line(const char *line, struct mount_entry *ret)
{
    const char *tail = strstr(line, " - ");
    if (!tail || sscanf(line, "%*s %*s %*s %*s %4096s", ret->point) != 1 ||
        sscanf(tail, " - %63s %4096s", ret->type, ret->source) != 2)
        return false;
    unescape(ret->point);
    unescape(ret->source);
    return true;
}

bool mount_table_find(const char *point, struct mount_entry *ret)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    struct mount_entry *e = malloc(sizeof *e);
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (f && e && getline(&line, &size, f) > 0) {
        if (parse_line(line, e) && strcmp(e->point, point) == 0) {
            *ret = *e; /* a later line lies on top */
            found = true;
        }
    }
    free(line);
    free(e);
    if (f)
        (void)fclose(f);
    return found;
}

bool mount_entry_is_tally(const struct mount_entry *e)
{
    return strcmp(e->type, "fuse.tally") == 0;
}

/* Without a socket to ask, the filesystem itself is asked: statfs() is never answered from a cache,
 * and a connection without a daemon refuses it at once. */
static enum mount_life life_of_filesystem(const char *point)
{
    struct statfs st;
    if (statfs(point, &st) == 0)
        return MOUNT_ALIVE;
    return errno == ENOTCONN || errno == ECONNABORTED ? MOUNT_DEAD : MOUNT_SILENT;
}

enum mount_life mount_entry_life(const struct mount_entry *e)
{
    static const uint8_t any_cluster[16];
    char address[PATH_MAX + 8];
    json_t *answer = NULL;
    (void)snprintf(address, sizeof address, "unix:%s", e->source);
    int r = admin_command(address, any_cluster, "ping", LIFE_TIMEOUT_MS, &answer);
    json_decref(answer);
    if (r == 0)
        return MOUNT_ALIVE;
    return r == -ECONNREFUSED || r == -ENOENT ? life_of_filesystem(e->point) : MOUNT_SILENT;
}

int mount_point_path(const char *path, char ret[PATH_MAX + 1])
{
    char copy[PATH_MAX], parent[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof copy)
        return n ? -ENAMETOOLONG : -ENOENT;
    memcpy(copy, path, n);
    copy[n] = '\0';
    char *slash = strrchr(copy, '/');
    const char *last = slash ? slash + 1 : copy;
    if (strcmp(last, "..") == 0 || strcmp(last, ".") == 0 || !*last) /* no last part to spare */
        return realpath(copy, ret) ? 0 : -errno;
    const char *directory = !slash ? "." : slash == copy ? "/" : copy;
    if (slash && slash != copy)
        *slash = '\0';
    if (!realpath(directory, parent))
        return -errno;
    if (snprintf(ret, PATH_MAX + 1, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, last) >
        PATH_MAX)
        return -ENAMETOOLONG;
    return 0;
}
