/* What a mount keeps between its lives: session, uuid and token, in one small file of its state
 * directory. One process at a time owns the directory. */
#ifndef TALLY_TOOLS_CLI_MOUNT_STATE_H
#define TALLY_TOOLS_CLI_MOUNT_STATE_H

#include <stddef.h>
#include <stdint.h>

struct mount_memory {
    uint64_t session;
    uint8_t uuid[16];
    uint64_t token; /* RULES L10 */
};

struct mount_state {
    char *dir;
    int lock_fd; /* flock'ed while we live */
    uint8_t cluster[16];
};

/* Makes the directory, takes its lock, reads what the earlier life left (zeros: nothing, or another
 * cluster's). On failure a negative errno (-EBUSY: another mount runs on it), and `error` says what
 * and where. */
int mount_state_open(struct mount_state *s, const char *dir, const uint8_t cluster[16],
                     struct mount_memory *ret_memory, char *error, size_t error_size);
/* Atomic; not synced: after a power cut the older content is as good (its session has ended
 * anyway). */
int mount_state_keep(const struct mount_state *s, const struct mount_memory *memory);
void mount_state_close(struct mount_state *s);

#endif
