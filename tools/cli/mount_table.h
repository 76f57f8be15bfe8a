/* The kernel's table of mounts, as far as it concerns us. Nothing here touches a mounted filesystem
 * unless it says so, so it answers beside mounts that hang. */
#ifndef TALLY_TOOLS_CLI_MOUNT_TABLE_H
#define TALLY_TOOLS_CLI_MOUNT_TABLE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct mount_entry {
    char point[PATH_MAX + 1];
    char type[64];
    char source[PATH_MAX + 1]; /* of a tally mount: path of its daemon's socket */
};

/* What is mounted exactly at `point` (absolute), the topmost. */
bool mount_table_find(const char *point, struct mount_entry *ret);
bool mount_entry_is_tally(const struct mount_entry *e);

enum mount_life {
    MOUNT_ALIVE,  /* its daemon answers */
    MOUNT_SILENT, /* there is a daemon, and it does not answer: frozen or busy */
    MOUNT_DEAD    /* there is none any more */
};
enum mount_life mount_entry_life(const struct mount_entry *e);

/* `path` made absolute with links resolved in all but its last part, which may be a dead mount
 * point. 0, or the negative errno of what is wrong with the parent directory. */
int mount_point_path(const char *path, char ret[PATH_MAX + 1]);

#endif
