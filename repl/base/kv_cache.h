/* In front of a key-value store: the pairs that were used last, and keys that were looked for and
 * are not there, answered from memory.
 *
 * Every write passes through it, so it never differs from what is below. Ranges are read below. */
#ifndef TALLY_REPL_BASE_KV_CACHE_H
#define TALLY_REPL_BASE_KV_CACHE_H

#include "repl/base/kv.h"

enum {
    KV_CACHE_SLOTS = 8192,   /* one pair each: about 1.3 MiB when all are in use */
    KV_CACHE_PAIR_MAX = 256, /* bytes of key and value; longer pairs are not kept */
};

/* Takes `below`, and closes it when it is closed. */
struct kv *kv_cache_new(struct kv *below);

#endif
