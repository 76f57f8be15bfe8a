#include "repl/base/kv_mem.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

/* A skip list a table (Pugh 1990). Heights come from a counter's hash, so that a run repeats. */
enum { HEIGHT_MAX = 16 };

/* The key lies behind `next`; its first bytes are in `prefix`, which nearly always decide. */
struct node {
    uint64_t prefix;
    uint8_t *key, *value;
    size_t key_size, value_size;
    int height;
    struct node *next[];
};

struct kv_mem {
    struct kv kv;
    struct node *heads[KV_TABLES_MAX]; /* sentinels of full height */
    uint64_t inserted;
};

/* Eight bytes as a number that is ordered as they are; a shorter key is as if zeros followed. */
static uint64_t prefix_of(struct bytes key)
{
    uint64_t prefix = 0;
    if (key.size)
        memcpy(&prefix, key.data, key.size < sizeof prefix ? key.size : sizeof prefix);
    return be64toh(prefix);
}

static struct node *new_node(int height, struct bytes key)
{
    size_t links = (size_t)height * sizeof(struct node *);
    struct node *n = xcalloc(1, sizeof *n + links + key.size);
    n->height = height;
    n->prefix = prefix_of(key);
    n->key = (uint8_t *)&n->next[height];
    n->key_size = key.size;
    if (key.size)
        memcpy(n->key, key.data, key.size);
    return n;
}

static void free_node(struct node *n)
{
    free(n->value);
    free(n);
}

static int next_height(struct kv_mem *m)
{
    uint64_t z = ++m->inserted * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    int height = 1;
    while (height < HEIGHT_MAX && (z & 3) == 0) {
        height++;
        z >>= 2;
    }
    return height;
}

static bool is_below(const struct node *n, uint64_t prefix, struct bytes key)
{
    if (n->prefix != prefix)
        return n->prefix < prefix;
    return bytes_compare(n->key, n->key_size, key.data, key.size) < 0;
}

/* The first node with a key >= `key`; `before`, when given, gets the predecessors on every level.
 */
static struct node *seek(struct node *head, struct bytes key, struct node **before)
{
    uint64_t prefix = prefix_of(key);
    struct node *at = head;
    for (int level = HEIGHT_MAX - 1; level >= 0; level--) {
        while (at->next[level] && is_below(at->next[level], prefix, key))
            at = at->next[level];
        if (before)
            before[level] = at;
    }
    return at->next[0];
}

static bool has_key(const struct node *n, struct bytes key)
{
    return n && n->key_size == key.size && (!key.size || memcmp(n->key, key.data, key.size) == 0);
}

static int mem_get(struct kv *kv, int table, const void *key, size_t key_size,
                   struct bytes_writer *ret)
{
    struct kv_mem *m = (struct kv_mem *)kv;
    struct bytes wanted = {key, key_size};
    struct node *n = seek(m->heads[table], wanted, NULL);
    bytes_writer_clear(ret);
    if (!has_key(n, wanted))
        return -ENOENT;
    bytes_put(ret, n->value, n->value_size);
    return 0;
}

static void apply(struct kv_mem *m, const struct kv_op *op)
{
    struct node *before[HEIGHT_MAX];
    struct node *n = seek(m->heads[op->table], op->key, before);
    bool found = has_key(n, op->key);
    if (op->del) {
        if (!found)
            return;
        for (int level = 0; level < n->height; level++)
            before[level]->next[level] = n->next[level];
        free_node(n);
        return;
    }
    if (!found) {
        n = new_node(next_height(m), op->key);
        for (int level = 0; level < n->height; level++) {
            n->next[level] = before[level]->next[level];
            before[level]->next[level] = n;
        }
    }
    free(n->value);
    n->value = xmemdup(op->value.data, op->value.size);
    n->value_size = op->value.size;
}

static int mem_write(struct kv *kv, const struct kv_batch *batch)
{
    size_t at = 0;
    struct kv_op op;
    while (kv_batch_next(batch, &at, &op))
        apply((struct kv_mem *)kv, &op);
    return 0;
}

static int mem_flush(struct kv *kv)
{
    (void)kv;
    return 0;
}

static void mem_close(struct kv *kv)
{
    struct kv_mem *m = (struct kv_mem *)kv;
    for (int t = 0; t < KV_TABLES_MAX; t++)
        for (struct node *n = m->heads[t], *next; n; n = next) {
            next = n->next[0];
            free_node(n);
        }
    free(m);
}

/* A stable view by copying the range: ranges are short here. */
struct mem_iter {
    struct kv_iter it;
    struct kv_batch pairs;
    size_t at;
    struct kv_op now;
    bool valid;
};

static bool iter_valid(const struct kv_iter *it)
{
    return ((const struct mem_iter *)it)->valid;
}

static void iter_next(struct kv_iter *it)
{
    struct mem_iter *m = (struct mem_iter *)it;
    m->valid = kv_batch_next(&m->pairs, &m->at, &m->now);
}

static struct bytes iter_key(const struct kv_iter *it)
{
    return ((const struct mem_iter *)it)->now.key;
}

static struct bytes iter_value(const struct kv_iter *it)
{
    return ((const struct mem_iter *)it)->now.value;
}

static void iter_free(struct kv_iter *it)
{
    struct mem_iter *m = (struct mem_iter *)it;
    kv_batch_done(&m->pairs);
    free(m);
}

static const struct kv_iter_ops mem_iter_ops = {iter_valid, iter_next, iter_key, iter_value,
                                                iter_free};

static struct kv_iter *mem_iter(struct kv *kv, int table, struct bytes low, struct bytes from,
                                struct bytes to)
{
    struct kv_mem *m = (struct kv_mem *)kv;
    struct mem_iter *it = xcalloc(1, sizeof *it);
    struct node *head = m->heads[table], *before[HEIGHT_MAX];
    it->it.ops = &mem_iter_ops;
    struct node *n = seek(head, from, before);
    if (!has_key(n, from) && before[0] != head &&
        bytes_compare(before[0]->key, before[0]->key_size, low.data, low.size) >= 0)
        n = before[0];
    for (; n; n = n->next[0]) {
        if (to.size && bytes_compare(n->key, n->key_size, to.data, to.size) >= 0)
            break;
        kv_batch_put(&it->pairs, table, n->key, n->key_size, n->value, n->value_size);
    }
    iter_next(&it->it);
    return &it->it;
}

static const struct kv_ops mem_ops = {
    .get = mem_get, .write = mem_write, .iter = mem_iter, .flush = mem_flush, .close = mem_close};

struct kv *kv_mem_new(void)
{
    struct kv_mem *m = xcalloc(1, sizeof *m);
    m->kv.ops = &mem_ops;
    for (int t = 0; t < KV_TABLES_MAX; t++)
        m->heads[t] = new_node(HEIGHT_MAX, (struct bytes){0});
    return &m->kv;
}

bool kv_mem_equal(struct kv *a, struct kv *b, int table)
{
    const struct node *x = ((struct kv_mem *)a)->heads[table]->next[0];
    const struct node *y = ((struct kv_mem *)b)->heads[table]->next[0];
    while (x && y && bytes_compare(x->key, x->key_size, y->key, y->key_size) == 0 &&
           bytes_compare(x->value, x->value_size, y->value, y->value_size) == 0) {
        x = x->next[0];
        y = y->next[0];
    }
    return !x && !y;
}
