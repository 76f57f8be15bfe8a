#include "tests/unit/fs/client/forms.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/lib/run.h"

struct world w;

static void add_two_mounts(void)
{
    world_add_mount(&w, 0, CLIENT_LINEARIZABLE);
    world_add_mount(&w, 1, CLIENT_LINEARIZABLE);
}

void two_mounts(void)
{
    world_open(&w);
    add_two_mounts();
}

void two_keeping_mounts(void)
{
    world_open(&w);
    w.kept_bytes = 64 << 10;
    add_two_mounts();
}

void no_mounts(void)
{
    world_close(&w);
}

struct place create(int m, const char *name)
{
    const struct world_answer *a = world_do(&w, m,
                                            (struct client_op){.kind = CLIENT_MAKE,
                                                               .parent = WORLD_ROOT,
                                                               .name = name,
                                                               .mode = S_IFREG | 0644,
                                                               .open = true,
                                                               .flags = O_RDWR | O_CREAT});
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_ne(a->fh, 0);
    return (struct place){a->attr.ino, a->fh};
}

struct client_op op_of(enum client_op_kind kind, struct place f)
{
    return (struct client_op){.kind = kind, .ino = f.ino, .fh = f.fh};
}

struct client_op write_op(struct place f, uint64_t offset, const void *p, size_t size)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = offset;
    op.size = size;
    op.data = blob_copy(p, size);
    return op;
}

void put_bytes(int m, struct place f, uint64_t offset, const void *p, size_t size)
{
    const struct world_answer *a = world_do(&w, m, write_op(f, offset, p, size));
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->written, size);
}

void put_text(int m, struct place f, uint64_t offset, const char *text)
{
    put_bytes(m, f, offset, text, strlen(text));
}

void write_pages(int m, struct place f, uint64_t first_page, uint32_t pages, int byte)
{
    struct client_op op = op_of(CLIENT_WRITE, f);
    op.offset = first_page * 4096;
    op.size = pages * 4096;
    op.data = blob_new(pages * 4096);
    memset(op.data->data, byte, pages * 4096);
    ck_assert_int_eq(world_do(&w, m, op)->err, 0);
}

int simple(int m, enum client_op_kind kind, struct place f)
{
    return world_do(&w, m, op_of(kind, f))->err;
}

void sync_file(int m, struct place f)
{
    ck_assert_int_eq(world_do(&w, m, op_of(CLIENT_FSYNC, f))->err, 0);
}

const struct world_answer *lookup(int m, const char *name)
{
    return world_do(&w, m,
                    (struct client_op){.kind = CLIENT_LOOKUP, .parent = WORLD_ROOT, .name = name});
}

struct place open_file(int m, uint64_t ino)
{
    const struct world_answer *a =
        world_do(&w, m, (struct client_op){.kind = CLIENT_OPEN, .ino = ino, .flags = O_RDWR});
    ck_assert_int_eq(a->err, 0);
    return (struct place){ino, a->fh};
}

struct place open_name(int m, const char *name)
{
    const struct world_answer *a = lookup(m, name);
    ck_assert_int_eq(a->err, 0);
    return open_file(m, a->attr.ino);
}

struct blob *get_bytes(int m, struct place f, uint64_t offset, uint64_t size)
{
    const struct world_answer *a = world_do(
        &w, m,
        (struct client_op){
            .kind = CLIENT_READ, .ino = f.ino, .fh = f.fh, .offset = offset, .size = size});
    ck_assert_int_eq(a->err, 0);
    return a->bytes;
}

void expect_bytes(int m, struct place f, uint64_t offset, const void *p, size_t size)
{
    const struct blob *b = get_bytes(m, f, offset, size + 100);
    ck_assert_uint_eq(b->size, size);
    ck_assert_int_eq(memcmp(b->data, p, size), 0);
}

void expect_text(int m, struct place f, uint64_t offset, const char *text)
{
    expect_bytes(m, f, offset, text, strlen(text));
}

uint64_t size_of(int m, struct place f)
{
    const struct world_answer *a =
        world_do(&w, m, (struct client_op){.kind = CLIENT_GETATTR, .ino = f.ino});
    ck_assert_int_eq(a->err, 0);
    return a->attr.size;
}

uint64_t pages_of(int m, struct place f)
{
    const struct world_answer *a = world_do(&w, m, op_of(CLIENT_GETATTR, f));
    ck_assert_int_eq(a->err, 0);
    return a->attr.pages;
}

int truncate_to(int m, struct place f, uint64_t size)
{
    return world_do(&w, m,
                    (struct client_op){
                        .kind = CLIENT_SETATTR, .ino = f.ino, .set = CLIENT_SET_SIZE, .size = size})
        ->err;
}

void fill(uint8_t *p, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = (uint8_t)(seed >> 16);
    }
}

int read_by(int m, struct place f)
{
    struct client_op op = op_of(CLIENT_READ, f);
    op.size = 10;
    return world_do(&w, m, op)->err;
}

uint64_t seek(int m, struct place f, bool hole, uint64_t page)
{
    struct client_op op = op_of(CLIENT_SEEK, f);
    op.offset = page * 4096;
    op.hole = hole;
    const struct world_answer *a = world_do(&w, m, op);
    if (a->err == ENXIO)
        return UINT64_MAX;
    ck_assert_int_eq(a->err, 0);
    ck_assert_uint_eq(a->offset % 4096, 0);
    return a->offset / 4096;
}
