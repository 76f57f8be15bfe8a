/* A key-value store in memory that counts what it is asked and fails when told to: what the cache
 * and the writes that wait stand in front of in their tests. */
#ifndef TALLY_TESTS_UNIT_REPL_BASE_KV_BELOW_H
#define TALLY_TESTS_UNIT_REPL_BASE_KV_BELOW_H

#include <stdbool.h>

#include "repl/base/kv.h"

struct kv_below {
    struct kv kv;
    struct kv *memory; /* outlives it: the test closes it */
    int fails; /* error of the next calls; 0: none. A write may have been done all the same */
    unsigned gets, writes, flushes;
    bool *closed; /* set when it is closed */
};

struct kv_below *kv_below_new(struct kv *memory, bool *closed);

/* NULL: deletes the key. The result is kv_write()'s. */
int kv_write_text(struct kv *kv, const char *key, const char *value);

/* Asserts what the key holds; NULL: nothing. */
void kv_expect_text(struct kv *kv, const char *key, const char *value);

#endif
