/* The words of `tally mount`: arguments and -o options. */
#ifndef TALLY_TOOLS_CLI_MOUNT_OPTIONS_H
#define TALLY_TOOLS_CLI_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/client/client.h"
#include "tools/cli/config.h"

struct mount_options {
    const char *config; /* file */
    const char *dir;    /* mount point as given */
    const char *name;   /* NULL: made from the mount point */
    const char *log;    /* NULL: stderr, or nowhere once it is a daemon */
    bool foreground;

    enum client_consistency consistency;
    bool local_names; /* namespace=lease */
    time_us timeout_us;
    uint64_t buffer_bytes, kept_bytes;
    bool read_only;
    enum client_atime atime;
    bool nodiratime;
    char state[CONFIG_PATH_MAX + 1];   /* directory; empty: made from the name */
    char socket[CONFIG_PATH_MAX + 1];  /* empty: made from the name */
    char nearest[CONFIG_NAME_MAX + 1]; /* copy to read from first; empty: order of the file */
    time_us attr_valid_max, entry_valid_max;
    char kernel[256]; /* what goes to mount(2) as it is: "ro,noexec" */
};

/* Reads argv (argv[0] is the command's name). 0 or -EINVAL, and `error` says what is wrong. */
int mount_options_parse(struct mount_options *o, int argc, char **argv, char *error,
                        size_t error_size);

/* One -o list, on top of what `o` holds. */
int mount_options_parse_list(struct mount_options *o, const char *list, char *error,
                             size_t error_size);

/* "/mnt/shared files" -> "mnt-shared_files": a name for files. Letters, digits, "." and "_" stay.
 */
void mount_options_name_of(const char *mountpoint, char *ret, size_t size);

#endif
