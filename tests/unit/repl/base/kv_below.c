#include "tests/unit/repl/base/kv_below.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

static struct kv_below *below_of(struct kv *kv)
{
    return (struct kv_below *)kv;
}

static int below_get(struct kv *kv, int table, const void *key, size_t size,
                     struct bytes_writer *ret)
{
    struct kv_below *b = below_of(kv);
    b->gets++;
    return b->fails ? b->fails : kv_get(b->memory, table, key, size, ret);
}

static int below_write(struct kv *kv, const struct kv_batch *batch)
{
    struct kv_below *b = below_of(kv);
    b->writes++;
    int r = kv_write(b->memory, batch);
    return b->fails ? b->fails : r;
}

static struct kv_iter *below_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                  struct bytes to)
{
    return kv_iter_floor(below_of(kv)->memory, table, low, from, to);
}

static int below_flush(struct kv *kv)
{
    below_of(kv)->flushes++;
    return below_of(kv)->fails;
}

static void below_close(struct kv *kv)
{
    *below_of(kv)->closed = true;
    free(kv);
}

struct kv_below *kv_below_new(struct kv *memory, bool *closed)
{
    static const struct kv_ops ops = {.get = below_get,
                                      .write = below_write,
                                      .iter = below_iter,
                                      .flush = below_flush,
                                      .close = below_close};
    struct kv_below *b = xcalloc(1, sizeof *b);
    b->kv.ops = &ops;
    b->memory = memory;
    b->closed = closed;
    *closed = false;
    return b;
}

int kv_write_text(struct kv *kv, const char *key, const char *value)
{
    struct kv_batch b = {0};
    if (value)
        kv_batch_put(&b, 0, key, strlen(key), value, strlen(value));
    else
        kv_batch_del(&b, 0, key, strlen(key));
    int r = kv_write(kv, &b);
    kv_batch_done(&b);
    return r;
}

void kv_expect_text(struct kv *kv, const char *key, const char *value)
{
    struct bytes_writer got = {0};
    bytes_put(&got, "rest", 4); /* of another answer: it must go */
    int r = kv_get(kv, 0, key, strlen(key), &got);
    ck_assert_int_eq(r, value ? 0 : -ENOENT);
    ck_assert_uint_eq(got.size, value ? strlen(value) : 0);
    if (got.size)
        ck_assert_mem_eq(got.data, value, got.size);
    bytes_writer_done(&got);
}
