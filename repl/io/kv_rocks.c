#include "repl/io/kv_rocks.h"

#include <assert.h>
#include <errno.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/base/kv_behind.h"
#include "repl/base/kv_cache.h"
#include "repl/base/mem.h"
#include "repl/io/log.h"

enum {
    WRITE_BUFFER_BYTES = 4 << 20,
    CACHE_BYTES = 8 << 20,
    BLOOM_BITS = 10,
    BACKGROUND_JOBS = 2,
};

struct kv_rocks {
    struct kv kv;
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_options;
    rocksdb_writeoptions_t *write_options;
    struct bytes_writer key; /* scratch: table and key */
};

/* Takes RocksDB's malloc'ed error text. */
static int failed(const char *what, char *text)
{
    log_error("TALLY-3001", "key-value store: %s: %s", what, text);
    free(text);
    return -EIO;
}

/* What cannot be read must not pass for what is not there: apply would make another state of it
 * than the other copies do, and blocks that the index seems not to know would be given back. Ends
 * the process, as a failed write does. Takes RocksDB's malloc'ed error text. */
static _Noreturn void unreadable(char *text)
{
    (void)failed("cannot be read, ending", text);
    _exit(EXIT_FAILURE);
}

/* A table is the first byte of the key, not a column family: what one batch wrote then lies in one
 * memtable and is flushed as one (RULES S2). Two families flush together only where RocksDB decides
 * on the flush itself; a flush that is asked for takes the families it is given, and C can give
 * one. */
static void set_key(struct bytes_writer *w, int table, const void *key, size_t size)
{
    bytes_writer_clear(w);
    bytes_put_u8(w, (uint8_t)table);
    bytes_put(w, key, size);
}

static int rocks_get(struct kv *kv, int table, const void *key, size_t key_size,
                     struct bytes_writer *ret)
{
    struct kv_rocks *r = (struct kv_rocks *)kv;
    char *error = NULL;
    set_key(&r->key, table, key, key_size);
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned(r->db, r->read_options, (const char *)r->key.data, r->key.size, &error);
    bytes_writer_clear(ret);
    if (error)
        unreadable(error);
    if (!slice)
        return -ENOENT;
    size_t size;
    const char *value = rocksdb_pinnableslice_value(slice, &size);
    bytes_put(ret, value, size);
    rocksdb_pinnableslice_destroy(slice);
    return 0;
}

static int rocks_write(struct kv *kv, const struct kv_batch *batch)
{
    struct kv_rocks *r = (struct kv_rocks *)kv;
    rocksdb_writebatch_t *wb = rocksdb_writebatch_create();
    char *error = NULL;
    size_t at = 0;
    struct kv_op op;
    while (kv_batch_next(batch, &at, &op)) {
        char table = (char)op.table;
        const char *keys[2] = {&table, (const char *)op.key.data};
        const char *value = (const char *)op.value.data;
        size_t sizes[2] = {1, op.key.size};
        if (op.del)
            rocksdb_writebatch_deletev(wb, 2, keys, sizes);
        else
            rocksdb_writebatch_putv(wb, 2, keys, sizes, 1, &value, &op.value.size);
    }
    rocksdb_write(r->db, r->write_options, wb, &error);
    rocksdb_writebatch_destroy(wb);
    return error ? failed("write", error) : 0;
}

/* Waits until the memtable is in a file. */
static int rocks_flush(struct kv *kv)
{
    struct kv_rocks *r = (struct kv_rocks *)kv;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *error = NULL;
    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush(r->db, options, &error);
    rocksdb_flushoptions_destroy(options);
    return error ? failed("flush", error) : 0;
}

struct rocks_iter {
    struct kv_iter it;
    rocksdb_iterator_t *rocks;
    rocksdb_readoptions_t *options;
    struct bytes_writer from, end; /* RocksDB borrows the upper bound */
};

/* False: it is behind the last one. RocksDB stands nowhere, too, when it could not read. */
static bool stands(const rocksdb_iterator_t *rocks)
{
    char *error = NULL;
    if (rocksdb_iter_valid(rocks))
        return true;
    rocksdb_iter_get_error(rocks, &error);
    if (error)
        unreadable(error);
    return false;
}

static bool iter_valid(const struct kv_iter *it)
{
    return stands(((const struct rocks_iter *)it)->rocks);
}

static void iter_next(struct kv_iter *it)
{
    rocksdb_iter_next(((struct rocks_iter *)it)->rocks);
}

static struct bytes iter_key(const struct kv_iter *it)
{
    struct bytes b;
    b.data = (const uint8_t *)rocksdb_iter_key(((const struct rocks_iter *)it)->rocks, &b.size);
    return (struct bytes){b.data + 1, b.size - 1}; /* without the table */
}

static struct bytes iter_value(const struct kv_iter *it)
{
    struct bytes b;
    b.data = (const uint8_t *)rocksdb_iter_value(((const struct rocks_iter *)it)->rocks, &b.size);
    return b;
}

static void iter_free(struct kv_iter *it)
{
    struct rocks_iter *r = (struct rocks_iter *)it;
    rocksdb_iter_destroy(r->rocks);
    rocksdb_readoptions_destroy(r->options);
    bytes_writer_done(&r->from);
    bytes_writer_done(&r->end);
    free(r);
}

static const struct kv_iter_ops rocks_iter_ops = {iter_valid, iter_next, iter_key, iter_value,
                                                  iter_free};

/* False: it stands nowhere, or below `low`. */
static bool seek_back(struct rocks_iter *it, int table, struct bytes low)
{
    size_t size;
    rocksdb_iter_seek_for_prev(it->rocks, (const char *)it->from.data, it->from.size);
    if (!stands(it->rocks))
        return false;
    const uint8_t *key = (const uint8_t *)rocksdb_iter_key(it->rocks, &size);
    return key[0] == table && bytes_compare(key + 1, size - 1, low.data, low.size) >= 0;
}

static struct kv_iter *rocks_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                  struct bytes to)
{
    struct kv_rocks *r = (struct kv_rocks *)kv;
    struct rocks_iter *it = xcalloc(1, sizeof *it);
    it->it.ops = &rocks_iter_ops;
    it->options = rocksdb_readoptions_create();
    set_key(&it->from, table, from.data, from.size);
    set_key(&it->end, to.size ? table : table + 1, to.data, to.size);
    rocksdb_readoptions_set_iterate_upper_bound(it->options, (const char *)it->end.data,
                                                it->end.size);
    it->rocks = rocksdb_create_iterator(r->db, it->options);
    bool back = bytes_compare(low.data, low.size, from.data, from.size) < 0;
    if (!back || !seek_back(it, table, low))
        rocksdb_iter_seek(it->rocks, (const char *)it->from.data, it->from.size);
    return &it->it;
}

static void rocks_close(struct kv *kv)
{
    struct kv_rocks *r = (struct kv_rocks *)kv;
    if (r->db)
        rocksdb_close(r->db);
    rocksdb_readoptions_destroy(r->read_options);
    rocksdb_writeoptions_destroy(r->write_options);
    rocksdb_options_destroy(r->options);
    rocksdb_cache_destroy(r->cache);
    bytes_writer_done(&r->key);
    free(r);
}

static const struct kv_ops rocks_ops = {.get = rocks_get,
                                        .write = rocks_write,
                                        .iter = rocks_iter,
                                        .flush = rocks_flush,
                                        .close = rocks_close};

static rocksdb_options_t *make_options(bool create, rocksdb_cache_t *cache)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom(BLOOM_BITS));
    /* In small parts: the filter of a whole file is larger than what one shard of the cache holds,
     * and was read anew for each look-up. */
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_create_if_missing(o, create);
    rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER_BYTES);
    rocksdb_options_set_max_background_jobs(o, BACKGROUND_JOBS);
    rocksdb_options_set_max_open_files(o, 256);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_info_log_level(o, 2); /* warnings */
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_max_manifest_file_size(o, 4 << 20);
    rocksdb_options_set_stats_dump_period_sec(o, 0); /* an idle node does nothing */
    rocksdb_options_set_use_fsync(o, 0);
    return o;
}

int kv_rocks_open(const char *dir, int tables, bool create, struct kv **ret, char *error,
                  size_t error_size)
{
    assert(tables >= 1 && tables <= KV_TABLES_MAX);
    struct kv_rocks *r = xcalloc(1, sizeof *r);
    char *text = NULL;
    r->kv.ops = &rocks_ops;
    r->cache = rocksdb_cache_create_lru(CACHE_BYTES);
    r->options = make_options(create, r->cache);
    r->read_options = rocksdb_readoptions_create();
    r->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write_options, 1);
    r->db = rocksdb_open(r->options, dir, &text);
    if (text) {
        (void)snprintf(error, error_size, "cannot open the key-value store %s: %s", dir, text);
        free(text);
        rocks_close(&r->kv);
        return -EIO;
    }
    *ret = kv_behind_new(kv_cache_new(&r->kv));
    return 0;
}

int kv_rocks_destroy(const char *dir)
{
    rocksdb_options_t *o = rocksdb_options_create();
    char *text = NULL;
    rocksdb_destroy_db(o, dir, &text);
    rocksdb_options_destroy(o);
    return text ? failed("remove", text) : 0;
}
