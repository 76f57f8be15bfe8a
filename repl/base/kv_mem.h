/* The in-memory body of kv.h: for tests and the simulator. flush does nothing: what is here is gone
 * with the process. */
#ifndef TALLY_REPL_BASE_KV_MEM_H
#define TALLY_REPL_BASE_KV_MEM_H

#include "repl/base/kv.h"

struct kv *kv_mem_new(void);

/* True when both hold the same pairs in `table`. */
bool kv_mem_equal(struct kv *a, struct kv *b, int table);

#endif
