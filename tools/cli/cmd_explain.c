/* tally explain PATH: what the operations on a file wait for, for whom, and until when.
 *
 * Asks the mount's daemon over its own socket, which the mount's source names, so that it answers
 * also when nothing in the mount does: no path below the mount point is looked up here. */
#include "tools/cli/command.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli/admin.h"

static const char usage[] = "tally explain PATH [--json]\n";

/* Octal escapes of /proc/self/mountinfo: blanks come as \040. In place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        unsigned code;
        if (s[0] == '\\' && s[1] && s[2] && s[3] && sscanf(s + 1, "%3o", &code) == 1) {
            *to++ = (char)code;
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

static bool is_below(const char *path, const char *point)
{
    size_t n = strlen(point);
    return strncmp(path, point, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

/* The tally mount that `path` (absolute, as written) lies in: its mount point and its daemon's
 * socket. */
static bool find_mount(const char *path, char *ret_point, char *ret_socket)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t size = 0, best = 0;
    while (f && getline(&line, &size, f) > 0) {
        char point[PATH_MAX + 1], type[64], source[PATH_MAX + 1];
        char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %*s %4096s", point) != 1 ||
            sscanf(tail, " - %63s %4096s", type, source) != 2 || strcmp(type, "fuse.tally") != 0)
            continue;
        unescape(point);
        unescape(source);
        if (!is_below(path, point) || strlen(point) < best)
            continue;
        best = strlen(point);
        memcpy(ret_point, point, strlen(point) + 1);
        memcpy(ret_socket, source, strlen(source) + 1);
    }
    free(line);
    if (f)
        (void)fclose(f);
    return best > 0;
}

/* Absolute and without ".", ".." or doubled slashes, by text alone: resolving it could block. */
static bool absolute_path(const char *path, char *ret)
{
    char joined[2 * PATH_MAX], cwd[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(cwd, sizeof cwd))
        return false;
    if (strlen(path) >= PATH_MAX)
        return false;
    (void)snprintf(joined, sizeof joined, "%s/%s", cwd, path);
    char *out = ret, *save = NULL;
    *out = '\0';
    for (char *part = strtok_r(joined, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (strcmp(part, ".") == 0)
            continue;
        if (strcmp(part, "..") == 0) {
            char *slash = strrchr(ret, '/');
            out = slash ? slash : ret;
            *out = '\0';
            continue;
        }
        if ((size_t)(out - ret) + strlen(part) + 2 > PATH_MAX)
            return false;
        out += sprintf(out, "/%s", part);
    }
    if (out == ret)
        memcpy(ret, "/", 2);
    return true;
}

static int run_explain(int argc, char **argv)
{
    static const uint8_t any_cluster[16];
    const char *path = NULL;
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (!path && argv[i][0] != '-')
            path = argv[i];
        else
            path = NULL, i = argc;
    }
    if (!path) {
        fprintf(stderr, "usage: %s", usage);
        return EXIT_USAGE;
    }
    static char full[PATH_MAX + 1], point[PATH_MAX + 1], source[PATH_MAX + 1],
        address[PATH_MAX + 8];
    if (!absolute_path(path, full) || !find_mount(full, point, source)) {
        fprintf(
            stderr,
            "tally explain: %s is not inside a tally mount; `findmnt -t fuse.tally` lists them\n",
            path);
        return EXIT_FAILED;
    }
    (void)snprintf(address, sizeof address, "unix:%s", source);
    json_t *answer = NULL;
    int r = admin_command(address, any_cluster, "explain", 3000, &answer);
    if (r < 0) {
        fprintf(stderr, "tally explain: the daemon of %s does not answer on %s: %s%s\n", point,
                source, strerror(-r),
                r == -ETIMEDOUT
                    ? ""
                    : "; if it died, `tally umount` the mount point and mount it again");
        return EXIT_FAILED;
    }
    if (json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        json_t *lines = json_object_get(answer, "lines"), *line;
        size_t i;
        json_array_foreach(lines, i, line)
            printf("%s\n", json_string_value(line) ? json_string_value(line) : "");
        if (json_array_size(lines) == 0)
            printf("%s: nothing waits\n", path);
    }
    json_decref(answer);
    return EXIT_DONE;
}

const struct command command_explain = {
    .name = "explain",
    .summary = "what the operations on a file wait for, and until when",
    .usage = usage,
    .run = run_explain,
};
