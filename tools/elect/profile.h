/* What goes wrong during a run: the fault profiles of PROTOCOL 2.3. */
#ifndef TALLY_TOOLS_ELECT_PROFILE_H
#define TALLY_TOOLS_ELECT_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

struct world;

enum profile {
    PROFILE_CRASH = 0,   /* the leader's machine dies; the others notice by its silence */
    PROFILE_TOP_K,       /* the first f in order die at once */
    PROFILE_FLAP,        /* the leader's process dies and comes back, five times */
    PROFILE_PARTITION,   /* the leader and just under half of the nodes are cut off, then not */
    PROFILE_BRIDGE,      /* one node reaches everybody, everybody else only that one */
    PROFILE_DELAY,       /* messages take up to three times the patience of the detector */
    PROFILE_LOSS,        /* one message in a hundred is lost, and the leader dies */
    PROFILE_ALL_AT_ONCE, /* the leader's process dies: everybody sees its connection close */
    PROFILE_ROLLING,     /* the first nodes in order are restarted one after the other */
    PROFILE_COUNT,
};

const char *profile_name(enum profile p);
const char *profile_text(enum profile p); /* one line for people */
bool profile_find(const char *name, enum profile *ret_p);

/* Does step `step` (0, 1, ...) of the profile to the world. Returns the microseconds until the next
 * step, 0 when that was the last and the run is over. */
uint64_t profile_step(struct world *w, enum profile p, uint32_t step);

#endif
