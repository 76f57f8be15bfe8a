#include "tools/cli/mount_options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"
#include "tools/cli/nearest.h"
#include "tools/cli/text.h"

/* Fills `error` and is -EINVAL. */
#define wrong(error, size, ...) (text_format((error), (size), __VA_ARGS__), -EINVAL)

/* ---- -o options ---------------------------------------------------------------------------------
 */

/* Accepted and without meaning here: fstab's own, and what is always so. */
static const char *const ignored[] = {"defaults", "_netdev", "nofail",      "auto",
                                      "noauto",   "user",    "nouser",      "users",
                                      "owner",    "group",   "allow_other", "default_permissions",
                                      "rw"};
/* For mount(2). */
static const char *const passed[] = {"ro",   "suid",   "nosuid",  "dev", "nodev",
                                     "exec", "noexec", "noatime", "sync"};
/* Which reads are recorded: by the daemon, so these are no business of the kernel's. */
static const char *const atimes[] = {"relatime", "strictatime", "nodiratime"};
static const char *const valued[] = {"consistency",  "namespace",    "timeout", "buffer",
                                     "kept",         "state",        "socket",  "nearest",
                                     "attr_timeout", "entry_timeout"};

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}
#define IS_ONE_OF(word, list) is_one_of((word), (list), sizeof(list) / sizeof *(list))

static int pass_on(struct mount_options *o, const char *word, char *error, size_t size)
{
    size_t used = strlen(o->kernel);
    int n = snprintf(o->kernel + used, sizeof o->kernel - used, "%s%s", used ? "," : "", word);
    return (size_t)n < sizeof o->kernel - used ? 0 : wrong(error, size, "too many mount options");
}

/* "30s"; a bare number counts seconds, as everywhere else in fstab. */
static int parse_time(const char *value, time_us *ret)
{
    char *end;
    double s = strtod(value, &end);
    if (end != value && *end == '\0') {
        if (!(s >= 0 && s < 1e9))
            return -ERANGE;
        *ret = (time_us)(s * 1e6);
        return 0;
    }
    uint64_t us;
    int r = config_parse_time(value, &us);
    if (r == 0)
        *ret = us;
    return r;
}

static int copy_text(char *to, size_t size, const char *value)
{
    if (!*value || strlen(value) >= size)
        return -EINVAL;
    memcpy(to, value, strlen(value) + 1);
    return 0;
}

static int parse_consistency(struct mount_options *o, const char *value)
{
    if (strcmp(value, "linearizable") == 0)
        o->consistency = CLIENT_LINEARIZABLE;
    else if (strcmp(value, "session") == 0)
        o->consistency = CLIENT_SESSION;
    else
        return -EINVAL;
    return 0;
}

static int parse_namespace(struct mount_options *o, const char *value)
{
    if (strcmp(value, "lease") == 0)
        o->local_names = true;
    else if (strcmp(value, "sync") == 0)
        o->local_names = false;
    else
        return -EINVAL;
    return 0;
}

static int set_value(struct mount_options *o, const char *key, const char *value, char *error,
                     size_t size)
{
    int r = -EINVAL;
    const char *form = "a path";
    if (strcmp(key, "consistency") == 0) {
        form = "linearizable or session";
        r = parse_consistency(o, value);
    } else if (strcmp(key, "namespace") == 0) {
        form = "lease or sync";
        r = parse_namespace(o, value);
    } else if (strcmp(key, "timeout") == 0) {
        form = "a time like 30s";
        r = parse_time(value, &o->timeout_us);
        if (r == 0 && o->timeout_us == 0)
            r = -ERANGE;
    } else if (strcmp(key, "attr_timeout") == 0) {
        form = "a time like 1s";
        r = parse_time(value, &o->attr_valid_max);
    } else if (strcmp(key, "entry_timeout") == 0) {
        form = "a time like 1s";
        r = parse_time(value, &o->entry_valid_max);
    } else if (strcmp(key, "buffer") == 0) {
        form = "a size of at least 4MiB, like 64MiB";
        r = config_parse_size(value, &o->buffer_bytes);
        if (r == 0 && o->buffer_bytes < 4u << 20)
            r = -ERANGE;
    } else if (strcmp(key, "kept") == 0) {
        form = "a size like 8MiB, or 0";
        r = config_parse_size(value, &o->kept_bytes);
    } else if (strcmp(key, "nearest") == 0) {
        form = "the name of a copy";
        r = copy_text(o->nearest, sizeof o->nearest, value);
    } else if (strcmp(key, "state") == 0) {
        r = copy_text(o->state, sizeof o->state, value);
    } else if (strcmp(key, "socket") == 0) {
        r = copy_text(o->socket, sizeof o->socket, value);
    }
    return r == 0 ? 0 : wrong(error, size, "-o %s=%s: expected %s", key, value, form);
}

static int unknown_option(const char *word, char *error, size_t size)
{
    struct nearest near;
    nearest_init(&near, word);
    for (size_t i = 0; i < sizeof valued / sizeof *valued; i++)
        nearest_offer(&near, valued[i]);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        nearest_offer(&near, passed[i]);
    for (size_t i = 0; i < sizeof atimes / sizeof *atimes; i++)
        nearest_offer(&near, atimes[i]);
    if (near.best)
        return wrong(error, size, "-o %s: no such option; did you mean '%s'?", word, near.best);
    return wrong(error, size, "-o %s: no such option; `tally help mount` lists them", word);
}

static void set_atime(struct mount_options *o, const char *word)
{
    if (strcmp(word, "noatime") == 0)
        o->atime = CLIENT_NOATIME;
    else if (strcmp(word, "strictatime") == 0)
        o->atime = CLIENT_STRICTATIME;
    else if (strcmp(word, "relatime") == 0)
        o->atime = CLIENT_RELATIME;
    else if (strcmp(word, "nodiratime") == 0)
        o->nodiratime = true;
}

static int parse_option(struct mount_options *o, char *word, char *error, size_t size)
{
    if (IS_ONE_OF(word, ignored) || strncmp(word, "x-", 2) == 0 ||
        strncmp(word, "comment=", 8) == 0)
        return 0;
    if (strcmp(word, "ro") == 0)
        o->read_only = true;
    set_atime(o, word);
    if (IS_ONE_OF(word, atimes))
        return 0;
    if (IS_ONE_OF(word, passed))
        return pass_on(o, word, error, size);
    char *equals = strchr(word, '=');
    if (equals)
        *equals = '\0';
    if (!IS_ONE_OF(word, valued))
        return unknown_option(word, error, size);
    if (!equals)
        return wrong(error, size, "-o %s: needs a value, -o %s=...", word, word);
    return set_value(o, word, equals + 1, error, size);
}

int mount_options_parse_list(struct mount_options *o, const char *list, char *error,
                             size_t error_size)
{
    char *copy = xstrdup(list), *save = NULL;
    int r = 0;
    for (char *word = strtok_r(copy, ",", &save); word && r == 0; word = strtok_r(NULL, ",", &save))
        r = parse_option(o, word, error, error_size);
    free(copy);
    return r;
}

/* ---- arguments ----------------------------------------------------------------------------------
 */

static void set_defaults(struct mount_options *o)
{
    *o = (struct mount_options){.consistency = CLIENT_LINEARIZABLE,
                                .local_names = true,
                                .timeout_us = 30 * TIME_S,
                                .buffer_bytes = 64u << 20,
                                .kept_bytes = 8u << 20,
                                .attr_valid_max = TIME_NEVER,
                                .entry_valid_max = TIME_NEVER};
}

/* The value of `--config=X` or `--config X`; NULL when argv[*i] is another option. */
static const char *value_of(const char *option, int argc, char **argv, int *i)
{
    size_t n = strlen(option);
    if (strncmp(argv[*i], option, n) != 0)
        return NULL;
    if (argv[*i][n] == '=' && n > 2)
        return argv[*i] + n + 1;
    if (argv[*i][n] == '\0')
        return *i + 1 < argc ? argv[++*i] : "";
    return NULL;
}

int mount_options_parse(struct mount_options *o, int argc, char **argv, char *error,
                        size_t error_size)
{
    const char *words[2], *value;
    size_t count = 0;
    int r = 0;
    set_defaults(o);
    for (int i = 1; i < argc && r == 0; i++) {
        if (strcmp(argv[i], "--foreground") == 0 || strcmp(argv[i], "-f") == 0)
            o->foreground = true;
        else if ((value = value_of("--config", argc, argv, &i)))
            o->config = value;
        else if ((value = value_of("--name", argc, argv, &i)))
            o->name = value;
        else if ((value = value_of("--log", argc, argv, &i)))
            o->log = value;
        else if ((value = value_of("-o", argc, argv, &i)))
            r = mount_options_parse_list(o, value, error, error_size);
        else if (argv[i][0] == '-')
            r = wrong(error, error_size, "unknown option '%s'", argv[i]);
        else if (count == 2)
            r = wrong(error, error_size, "what is '%s'? one directory is enough", argv[i]);
        else
            words[count++] = argv[i];
    }
    if (r < 0)
        return r;
    if (count == 2 && o->config)
        return wrong(error, error_size, "what is '%s'? --config names the cluster already",
                     words[0]);
    if (count == 0)
        return wrong(error, error_size, "mount where? a directory is missing");
    if (count == 2)
        o->config = words[0]; /* as mount(8) calls its helpers: what, where */
    if (!o->config)
        o->config = "/etc/tally/tally.conf";
    o->dir = words[count - 1];
    if (!*o->dir || !*o->config)
        return wrong(error, error_size, "an empty path");
    return 0;
}

void mount_options_name_of(const char *mountpoint, char *ret, size_t size)
{
    size_t n = 0;
    for (const char *p = mountpoint + strspn(mountpoint, "/"); *p && n + 1 < size; p++)
        ret[n++] = isalnum((unsigned char)*p) || *p == '.' || *p == '_' ? *p
                   : *p == '/'                                          ? '-'
                                                                        : '_';
    if (n == 0 && size > 4)
        n = (size_t)sprintf(ret, "root");
    ret[n] = '\0';
}
