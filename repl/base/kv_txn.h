/* A transaction over any kv: writes gather, reads see them, one batch commits them.
 *
 * Iterators of the kv do NOT see what is pending: walk a range before writing to it. */
#ifndef TALLY_REPL_BASE_KV_TXN_H
#define TALLY_REPL_BASE_KV_TXN_H

#include "repl/base/kv.h"

struct kv_txn;

/* One may be used again and again: it is empty after commit and abort. `kv` must outlive it. */
struct kv_txn *kv_txn_new(struct kv *kv);
void kv_txn_free(struct kv_txn *t); /* drops what is pending; NULL is fine */

struct kv *kv_txn_kv(const struct kv_txn *t);

/* As kv_get, but sees what is pending. */
int kv_txn_get(struct kv_txn *t, int table, const void *key, size_t key_size,
               struct bytes_writer *ret);
void kv_txn_put(struct kv_txn *t, int table, const void *key, size_t key_size, const void *value,
                size_t value_size);
void kv_txn_del(struct kv_txn *t, int table, const void *key, size_t key_size);

/* Writes all that is pending as one batch. 0 or -EIO; empty afterwards in both cases. */
int kv_txn_commit(struct kv_txn *t);
void kv_txn_abort(struct kv_txn *t);

#endif
