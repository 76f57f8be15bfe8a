/* What mounts send, count and answer: RULES B9, B11, E1, L6, L9. */
#ifndef TALLY_TESTS_SIM_CHECK_MOUNTS_H
#define TALLY_TESTS_SIM_CHECK_MOUNTS_H

#include "fs/client/client.h"
#include "tests/sim/process.h"

void check_mounts_start(void);
/* A node's store has switched to a snapshot. */
void check_mounts_switched(uint32_t node);
/* Around each turn of a mount's client core. */
void check_mounts_before(const struct client *c, const struct client_event *ev);
void check_mounts_after(const struct process *p, const struct client *c,
                        const struct client_event *ev, const struct client_out *out);

/* Facts. A name is asked for though the inode has uncommitted data. */
void check_mounts_named(uint32_t mount, uint64_t ino);
/* A READ is answered as of `version`, attributes as of `sent` were sent before. */
void check_mounts_read(uint32_t mount, uint64_t ino, uint64_t version, uint64_t sent);
/* The lease is counted from `from`, and was asked for at `sent`, by the mount's clock. */
void check_mounts_lease(uint32_t mount, time_us from, time_us sent);
/* The leader of `term` renewed what was asked for at `asked`; a later leader was elected first at
 * `deposed`. */
void check_mounts_renewed(uint32_t mount, uint64_t term, time_us asked, time_us deposed);
/* A COMMIT says that the node holds block `n`. */
void check_mounts_holder(uint32_t mount, uint32_t node, uint64_t n, bool held);

#endif
