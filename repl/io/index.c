#include "repl/io/index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/list.h"
#include "repl/base/mem.h"
#include "repl/io/log.h"
#include "repl/io/store.h"

enum {
    NAME_KEY_SIZE = 17,
    PLACE_KEY_SIZE = 10,
};

struct missing {
    struct name_node node;
    struct block_ref ref;
};

/* No name of the session behind `last`, or none at all, is in the table. */
struct names {
    bool any;
    uint64_t last;
};

struct name_node *name_map_get(const struct map *m, struct block_name name)
{
    struct name_node *node = map_get(m, block_name_hash(name));
    while (node != NULL && !block_name_equal(node->name, name))
        node = node->next;
    return node;
}

void name_map_put(struct map *m, struct name_node *node)
{
    node->next = map_put(m, block_name_hash(node->name), node);
}

void name_map_del(struct map *m, struct name_node *node)
{
    uint64_t key = block_name_hash(node->name);
    struct name_node *first = map_del(m, key);
    if (first == node) {
        first = node->next;
    } else {
        struct name_node *before = first;
        while (before->next != node)
            before = before->next;
        before->next = node->next;
    }
    if (first != NULL)
        (void)map_put(m, key, first);
    node->next = NULL;
}

static void name_key(uint8_t out[NAME_KEY_SIZE], char kind, struct block_name name)
{
    out[0] = (uint8_t)kind;
    be64_put(out + 1, name.session);
    be64_put(out + 9, name.n);
}

static void place_key(uint8_t out[PLACE_KEY_SIZE], enum place_kind kind, uint32_t number,
                      uint32_t offset)
{
    out[0] = 'r';
    out[1] = (uint8_t)kind;
    be32_put(out + 2, number);
    be32_put(out + 6, offset);
}

/* What the key-value store cannot write it cannot have: ends the process, as a failed fsync does.
 */
static void written(int rc)
{
    if (rc < 0) {
        log_error("TALLY-3004", "block index: the key-value store cannot be written: ending");
        exit(EXIT_FAILURE);
    }
}

static void batch_write(struct index *ix)
{
    written(kv_write(ix->kv, &ix->batch));
    if (ix->aside)
        written(kv_write(ix->aside, &ix->batch));
    kv_batch_clear(&ix->batch);
}

void index_settle(struct index *ix)
{
    written(kv_settle(ix->kv));
    if (ix->aside)
        written(kv_settle(ix->aside));
}

static bool entry_get(struct bytes key, struct bytes value, struct index_entry *ret)
{
    struct bytes_reader r;
    if (key.size != NAME_KEY_SIZE)
        return false;
    ret->ref.name.session = be64_get(key.data + 1);
    ret->ref.name.n = be64_get(key.data + 9);
    bytes_reader_init(&r, value.data, value.size);
    ret->kind = (enum place_kind)bytes_get_u32(&r);
    ret->number = bytes_get_u32(&r);
    ret->offset = bytes_get_u32(&r);
    ret->ref.size = bytes_get_u32(&r);
    ret->ref.digest = bytes_get_u64(&r);
    if (r.bad || ret->ref.size == 0 || ret->ref.size > BLOCK_SIZE_MAX ||
        (ret->kind != PLACE_BLOCKS && ret->kind != PLACE_LOG))
        return false;
    for (uint32_t i = 0; i < block_runs(ret->ref.size); i++)
        ret->runs[i] = bytes_get_u64(&r);
    return bytes_reader_ended(&r);
}

static void load_missing(struct index *ix)
{
    static const uint8_t from[] = {'m'}, to[] = {'m' + 1};
    struct kv_iter *it =
        kv_iter(ix->kv, STORE_TABLE_LOCAL, (struct bytes){from, 1}, (struct bytes){to, 1});
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes key = kv_iter_key(it), value = kv_iter_value(it);
        if (key.size != NAME_KEY_SIZE || value.size != 12)
            continue;
        struct block_ref ref = {
            .name = {.session = be64_get(key.data + 1), .n = be64_get(key.data + 9)},
            .size = le32_get(value.data),
            .digest = le64_get(value.data + 4),
        };
        index_missing_note(ix, &ref);
    }
    kv_iter_free(it);
}

int index_init(struct index *ix, struct kv *kv)
{
    memset(ix, 0, sizeof(*ix));
    ix->kv = kv;
    load_missing(ix);
    return 0;
}

static void missing_clear(struct index *ix)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&ix->missing, &cursor, NULL, &value)) {
        for (struct name_node *node = value; node != NULL;) {
            struct name_node *next = node->next;
            free(container_of(node, struct missing, node));
            node = next;
        }
    }
    map_done(&ix->missing);
}

static void names_clear(struct index *ix)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&ix->names, &cursor, NULL, &value))
        free(value);
    map_done(&ix->names);
}

void index_done(struct index *ix)
{
    missing_clear(ix);
    names_clear(ix);
    kv_batch_done(&ix->batch);
    bytes_writer_done(&ix->value);
    bytes_writer_done(&ix->key);
}

bool index_get(struct index *ix, struct block_name name, struct index_entry *ret)
{
    uint8_t key[NAME_KEY_SIZE];
    name_key(key, 'b', name);
    if (kv_get(ix->kv, STORE_TABLE_LOCAL, key, sizeof(key), &ix->value) < 0)
        return false;
    struct index_entry e;
    return entry_get((struct bytes){key, sizeof(key)},
                     (struct bytes){ix->value.data, ix->value.size}, ret ? ret : &e);
}

static void missing_forget(struct index *ix, struct block_name name)
{
    struct name_node *node = name_map_get(&ix->missing, name);
    if (node == NULL)
        return;
    name_map_del(&ix->missing, node);
    free(container_of(node, struct missing, node));
    ix->missing_count--;
}

static void names_load(struct index *ix, uint64_t session, struct names *ret)
{
    uint8_t low[NAME_KEY_SIZE], high[NAME_KEY_SIZE], to[] = {'b' + 1};
    name_key(low, 'b', (struct block_name){.session = session});
    name_key(high, 'b', (struct block_name){.session = session, .n = UINT64_MAX});
    struct kv_iter *it =
        kv_iter_floor(ix->kv, STORE_TABLE_LOCAL, (struct bytes){low, sizeof(low)},
                      (struct bytes){high, sizeof(high)}, (struct bytes){to, sizeof(to)});
    struct bytes key = kv_iter_valid(it) ? kv_iter_key(it) : (struct bytes){0};
    ret->any = key.size == NAME_KEY_SIZE && be64_get(key.data + 1) == session;
    ret->last = ret->any ? be64_get(key.data + 9) : 0;
    kv_iter_free(it);
}

/* A session counts its names up, so that of a block just written was never here, and the dearest of
 * look-ups, that of what is not there, need not be made. */
static bool name_is_new(struct index *ix, struct block_name name)
{
    struct names *names = map_get(&ix->names, name.session);
    if (names == NULL) {
        names = xmalloc(sizeof(*names));
        names_load(ix, name.session, names);
        (void)map_put(&ix->names, name.session, names);
    }
    if (names->any && name.n <= names->last)
        return false;
    *names = (struct names){.any = true, .last = name.n};
    return true;
}

bool index_put(struct index *ix, const struct index_entry *e, struct index_entry *ret_old)
{
    struct index_entry old_here, *old = ret_old ? ret_old : &old_here;
    bool replaced = !name_is_new(ix, e->ref.name) && index_get(ix, e->ref.name, old);
    uint8_t key[NAME_KEY_SIZE], place[PLACE_KEY_SIZE], value[20];
    if (replaced) {
        place_key(place, old->kind, old->number, old->offset);
        kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, place, sizeof(place));
    }
    if (ix->aside || index_is_missing(ix, e->ref.name)) { /* what is missing aside shows later */
        name_key(key, 'm', e->ref.name);
        kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, key, sizeof(key));
        missing_forget(ix, e->ref.name);
    }
    struct bytes_writer *w = &ix->value;
    bytes_writer_clear(w);
    bytes_put_u32(w, e->kind);
    bytes_put_u32(w, e->number);
    bytes_put_u32(w, e->offset);
    bytes_put_u32(w, e->ref.size);
    bytes_put_u64(w, e->ref.digest);
    for (uint32_t i = 0; i < block_runs(e->ref.size); i++)
        bytes_put_u64(w, e->runs[i]);
    name_key(key, 'b', e->ref.name);
    kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, key, sizeof(key), w->data, w->size);
    place_key(place, e->kind, e->number, e->offset);
    le64_put(value, e->ref.name.session);
    le64_put(value + 8, e->ref.name.n);
    le32_put(value + 16, e->ref.size);
    kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, place, sizeof(place), value, sizeof(value));
    batch_write(ix);
    return replaced;
}

bool index_del(struct index *ix, struct kv_txn *txn, struct block_name name,
               struct index_entry *ret_old)
{
    struct index_entry old_here, *old = ret_old ? ret_old : &old_here;
    bool held = index_get(ix, name, old);
    uint8_t keys[2][NAME_KEY_SIZE], place[PLACE_KEY_SIZE];
    name_key(keys[0], 'b', name);
    name_key(keys[1], 'm', name);
    bool was_missing = index_is_missing(ix, name);
    missing_forget(ix, name);
    if (held)
        place_key(place, old->kind, old->number, old->offset);
    /* Twice when a snapshot is being switched: the transaction only knows the old tables. */
    if (held && txn)
        kv_txn_del(txn, STORE_TABLE_LOCAL, place, sizeof(place));
    if (held && txn)
        kv_txn_del(txn, STORE_TABLE_LOCAL, keys[0], NAME_KEY_SIZE);
    if (was_missing && txn)
        kv_txn_del(txn, STORE_TABLE_LOCAL, keys[1], NAME_KEY_SIZE);
    if (!txn || ix->aside) {
        if (held) {
            kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, place, sizeof(place));
            kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, keys[0], NAME_KEY_SIZE);
        }
        kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, keys[1], NAME_KEY_SIZE);
        if (!txn)
            written(kv_write(ix->kv, &ix->batch));
        if (ix->aside)
            written(kv_write(ix->aside, &ix->batch));
        kv_batch_clear(&ix->batch);
    }
    return held;
}

bool index_is_missing(const struct index *ix, struct block_name name)
{
    return ix->missing_count > 0 && name_map_get(&ix->missing, name) != NULL;
}

const struct block_ref *index_missing_get(const struct index *ix, struct block_name name)
{
    struct name_node *node = ix->missing_count > 0 ? name_map_get(&ix->missing, name) : NULL;
    return node ? &container_of(node, struct missing, node)->ref : NULL;
}

void index_missing_note(struct index *ix, const struct block_ref *ref)
{
    if (index_is_missing(ix, ref->name))
        return;
    struct missing *m = xcalloc(1, sizeof(*m));
    m->ref = *ref;
    m->node.name = ref->name;
    name_map_put(&ix->missing, &m->node);
    ix->missing_count++;
}

static void missing_key(uint8_t key[NAME_KEY_SIZE], uint8_t value[12], const struct block_ref *ref)
{
    name_key(key, 'm', ref->name);
    le32_put(value, ref->size);
    le64_put(value + 4, ref->digest);
}

void index_missing_save(struct index *ix, struct block_name name)
{
    struct name_node *node = name_map_get(&ix->missing, name);
    if (node == NULL)
        return;
    uint8_t key[NAME_KEY_SIZE], value[12];
    missing_key(key, value, &container_of(node, struct missing, node)->ref);
    kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, key, sizeof(key), value, sizeof(value));
    batch_write(ix);
}

void index_each_missing(const struct index *ix,
                        bool (*each)(void *ctx, const struct block_ref *ref), void *ctx)
{
    size_t cursor = 0;
    void *value;
    while (map_next(&ix->missing, &cursor, NULL, &value))
        for (const struct name_node *node = value; node; node = node->next)
            if (!each(ctx, &container_of(node, struct missing, node)->ref))
                return;
}

void index_each(struct index *ix, index_fn *each, void *ctx)
{
    static const uint8_t from[] = {'b'}, to[] = {'b' + 1};
    struct kv_iter *it =
        kv_iter(ix->kv, STORE_TABLE_LOCAL, (struct bytes){from, 1}, (struct bytes){to, 1});
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct index_entry e;
        if (entry_get(kv_iter_key(it), kv_iter_value(it), &e) && !each(ctx, &e))
            break;
    }
    kv_iter_free(it);
}

void index_each_at(struct index *ix, enum place_kind kind, uint32_t number, index_fn *each,
                   void *ctx)
{
    uint8_t from[PLACE_KEY_SIZE], to[PLACE_KEY_SIZE];
    place_key(from, kind, number, 0);
    place_key(to, kind, number + 1, 0);
    struct kv_iter *it = kv_iter(ix->kv, STORE_TABLE_LOCAL, (struct bytes){from, sizeof(from)},
                                 (struct bytes){to, sizeof(to)});
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes value = kv_iter_value(it);
        if (value.size != 20)
            continue;
        struct block_name name = {.session = le64_get(value.data), .n = le64_get(value.data + 8)};
        struct index_entry e;
        if (index_get(ix, name, &e) && e.kind == kind && e.number == number && !each(ctx, &e))
            break;
    }
    kv_iter_free(it);
}

uint32_t index_first_log_generation(struct index *ix)
{
    uint8_t from[PLACE_KEY_SIZE], to[PLACE_KEY_SIZE];
    place_key(from, PLACE_LOG, 0, 0);
    place_key(to, (enum place_kind)(PLACE_LOG + 1), 0, 0);
    struct kv_iter *it = kv_iter(ix->kv, STORE_TABLE_LOCAL, (struct bytes){from, sizeof(from)},
                                 (struct bytes){to, sizeof(to)});
    uint32_t generation = kv_iter_valid(it) ? be32_get(kv_iter_key(it).data + 2) : 0;
    kv_iter_free(it);
    return generation;
}

void index_get_state(struct index *ix, uint64_t *ret_applied, uint64_t *ret_scan_from)
{
    *ret_applied = 0;
    *ret_scan_from = 0;
    if (kv_get(ix->kv, STORE_TABLE_LOCAL, "s", 1, &ix->value) < 0 || ix->value.size != 16)
        return;
    *ret_applied = le64_get(ix->value.data);
    *ret_scan_from = le64_get(ix->value.data + 8);
}

void index_put_state(struct index *ix, struct kv_txn *txn, uint64_t applied, uint64_t scan_from)
{
    uint8_t value[16];
    le64_put(value, applied);
    le64_put(value + 8, scan_from);
    if (txn) {
        kv_txn_put(txn, STORE_TABLE_LOCAL, "s", 1, value, sizeof(value));
        return;
    }
    kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, "s", 1, value, sizeof(value));
    written(kv_write(ix->kv, &ix->batch));
    kv_batch_clear(&ix->batch);
}

void index_copy(struct index *ix)
{
    assert(ix->aside != NULL);
    struct kv_iter *it = kv_iter(ix->kv, STORE_TABLE_LOCAL, (struct bytes){0}, (struct bytes){0});
    for (; kv_iter_valid(it); kv_iter_next(it)) {
        struct bytes key = kv_iter_key(it), value = kv_iter_value(it);
        if (key.size == 1)
            continue;
        kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, key.data, key.size, value.data, value.size);
        if (ix->batch.count >= 1024) {
            written(kv_write(ix->aside, &ix->batch));
            kv_batch_clear(&ix->batch);
        }
    }
    kv_iter_free(it);
    written(kv_write(ix->aside, &ix->batch));
    kv_batch_clear(&ix->batch);
}

void index_aside_missing(struct index *ix, const struct block_ref *ref)
{
    uint8_t key[NAME_KEY_SIZE], place[PLACE_KEY_SIZE], value[12];
    struct index_entry held;
    if (index_get(ix, ref->name, &held)) {
        name_key(key, 'b', ref->name);
        place_key(place, held.kind, held.number, held.offset);
        kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, key, sizeof(key));
        kv_batch_del(&ix->batch, STORE_TABLE_LOCAL, place, sizeof(place));
    }
    missing_key(key, value, ref);
    kv_batch_put(&ix->batch, STORE_TABLE_LOCAL, key, sizeof(key), value, sizeof(value));
    written(kv_write(ix->aside, &ix->batch));
    kv_batch_clear(&ix->batch);
}

void index_switch(struct index *ix)
{
    ix->kv = ix->aside;
    ix->aside = NULL;
    load_missing(ix);
}
