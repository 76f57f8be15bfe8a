/* In front of a key-value store: what is written waits in memory and goes below as one batch, when
 * kv_settle() says that nobody waits any more, or before a range is read. Of a key that is written
 * again and again meanwhile only the last value does.
 *
 * Writes keep their order and none is split, so what is below is at any time what some write had
 * left: as a store that was not flushed yet. All on one thread, but for the flush. */
#ifndef TALLY_REPL_BASE_KV_BEHIND_H
#define TALLY_REPL_BASE_KV_BEHIND_H

#include "repl/base/kv.h"

enum { KV_BEHIND_OPS_MAX = 256 }; /* more do not wait: who looks them up walks chains */

/* Takes `below`, and closes it when it is closed. */
struct kv *kv_behind_new(struct kv *below);

#endif
