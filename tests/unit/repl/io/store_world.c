#include "tests/unit/repl/io/store_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/io/file.h"

static void on_durable(void *ctx, uint64_t ticket)
{
    ((struct world *)ctx)->durable = ticket;
}

void on_status(void *ctx, int status)
{
    ((struct world *)ctx)->status = status;
}

/* Any thread of any world. */
static pthread_mutex_t wake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;

void wake(void *ctx)
{
    (void)pthread_mutex_lock(&wake_lock);
    ((struct world *)ctx)->wakes++;
    (void)pthread_cond_broadcast(&woken);
    (void)pthread_mutex_unlock(&wake_lock);
}

void wait_wake(struct world *w, unsigned seen)
{
    (void)pthread_mutex_lock(&wake_lock);
    while (w->wakes == seen)
        (void)pthread_cond_wait(&woken, &wake_lock);
    (void)pthread_mutex_unlock(&wake_lock);
}

int open_store(struct world *w)
{
    struct store_config c = {.dir = w->dir,
                             .kind = w->kind,
                             .cluster = {1},
                             .node = 1,
                             .create = true,
                             .wake = wake,
                             .wake_ctx = w,
                             .started = w->started,
                             .log_segment_size = 1 << 20,
                             .block_segment_size = 4 << 20};
    int rc = store_open(&c, &w->store, &w->info, w->error, sizeof w->error);
    if (rc < 0)
        return rc;
    store_on_durable(w->store, on_durable, w);
    w->ticket = w->durable = 0;
    w->txn = w->kind == STORE_COPY ? kv_txn_new(store_kv(w->store)) : NULL;
    return 0;
}

void world_make(struct world *w, enum store_kind kind)
{
    *w = (struct world){.dir = "/tmp/tally-store-XXXXXX", .kind = kind};
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
}

void world_open(struct world *w, enum store_kind kind)
{
    world_make(w, kind);
    ck_assert_int_eq(open_store(w), 0);
    ck_assert(w->info.created);
}

void close_store(struct world *w)
{
    kv_txn_free(w->txn);
    store_close(w->store);
    w->store = NULL;
}

void reopen(struct world *w)
{
    close_store(w);
    ck_assert_msg(open_store(w) == 0, "%s", w->error);
}

void world_close(struct world *w)
{
    if (w->store)
        close_store(w);
    ck_assert_int_eq(file_remove_tree(w->dir), 0);
}

struct blob *bytes_of(uint64_t n, uint32_t size)
{
    struct blob *b = blob_new(size);
    for (uint32_t i = 0; i < size; i++)
        b->data[i] = (uint8_t)(n * 31 + i * 7 + (i >> 12));
    return b;
}

struct block_ref ref_of(uint64_t n, uint32_t size)
{
    struct blob *b = bytes_of(n, size);
    struct block_ref ref = {{5, n}, size, block_digest(b->data, size)};
    blob_unref(b);
    return ref;
}

struct entry *entry_of(uint64_t index, uint64_t term, const struct block_ref *ref, bool inl)
{
    char text[64];
    (void)snprintf(text, sizeof text, "entry %llu of term %llu", (unsigned long long)index,
                   (unsigned long long)term);
    struct blob *payload = blob_copy(text, strlen(text));
    struct blob *bytes = inl && ref ? bytes_of(ref->name.n, ref->size) : NULL;
    struct entry *e = entry_new(term, index, ENTRY_OP, payload, ref, ref != NULL, bytes);
    blob_unref(payload);
    blob_unref(bytes);
    return e;
}

int write_entry(struct world *w, uint64_t index, uint64_t term, const struct block_ref *ref,
                bool inl, uint64_t commit)
{
    struct entry *e = entry_of(index, term, ref, inl);
    int rc = store_write_entries(w->store, ++w->ticket, &e, 1, commit);
    entry_unref(e);
    return rc;
}

void put(struct world *w, const struct block_ref *ref)
{
    struct blob *b = bytes_of(ref->name.n, ref->size);
    w->status = 1;
    store_put(w->store, ref, b, 0, on_status, w);
    ck_assert_int_eq(w->status, 1); /* never from within the call */
    blob_unref(b);
    store_drain(w->store);
}

void apply(struct world *w, uint64_t index)
{
    store_fill_txn(w->store, w->txn, index);
    ck_assert_int_eq(kv_txn_commit(w->txn), 0);
}

int load_found(void *ctx, struct entry *e)
{
    struct found *f = ctx;
    f->last = e->index;
    f->terms[e->index % 64] = e->term;
    f->bytes[e->index % 64] = e->inline_bytes != NULL;
    f->count++;
    return 0;
}

struct read {
    int status;
    struct blob *bytes;
};

static void on_read(void *ctx, int status, struct blob *bytes)
{
    struct read *r = ctx;
    r->status = status;
    r->bytes = blob_ref(bytes);
}

unsigned reads_at_once;

int read_back(struct world *w, const struct block_ref *ref)
{
    struct read r = {.status = 1};
    struct blob *want = bytes_of(ref->name.n, ref->size);
    struct blob *now = store_read_now(w->store, ref->name, 0, ref->size);
    if (now) { /* the right bytes or none */
        ck_assert_uint_eq(now->size, ref->size);
        ck_assert_int_eq(memcmp(now->data, want->data, ref->size), 0);
        reads_at_once++;
    }
    blob_unref(now);
    store_read(w->store, ref->name, 0, ref->size, on_read, &r);
    store_drain(w->store);
    if (r.status == 0) {
        ck_assert_uint_eq(r.bytes->size, ref->size);
        ck_assert_int_eq(memcmp(r.bytes->data, want->data, ref->size), 0);
    }
    blob_unref(r.bytes);
    blob_unref(want);
    return r.status;
}

int each_file(const struct world *w, const char *sub, const char *ending,
              void (*fn)(const char *path, void *ctx), void *ctx)
{
    char *dir = file_path(w->dir, "%s", sub);
    DIR *d = opendir(dir);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        size_t len = strlen(e->d_name), tail = strlen(ending);
        if (len < tail || strcmp(e->d_name + len - tail, ending) != 0 || e->d_name[0] == '.')
            continue;
        char *path = file_path(dir, "%s", e->d_name);
        fn(path, ctx);
        free(path);
        n++;
    }
    (void)closedir(d);
    free(dir);
    return n;
}

void flip(const char *path, void *ctx)
{
    uint8_t byte;
    off_t at = *(const off_t *)ctx;
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    if (pread(fd, &byte, 1, at) == 1) {
        byte ^= 0x40;
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    }
    (void)close(fd);
}
