/* Block segments: whatever way the bytes take to the disk, they are read as they were written. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "repl/base/block.h"
#include "repl/base/mem.h"
#include "repl/io/blocks.h"
#include "repl/io/file.h"
#include "tests/unit/lib/run.h"

enum { SEGMENT = 8 << 20 };

static bool no_direct;

/* Takes the place of the C library's: with no_direct, a file system without O_DIRECT. Labels, since
 * headers may rename what is declared. */
int call_open(const char *path, int flags, ...) __asm__("open");
int call_open64(const char *path, int flags, ...) __asm__("open64") __attribute__((alias("open")));
int call_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (no_direct && flags & O_DIRECT) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

struct written {
    struct block_place place;
    struct blob *bytes;
    uint32_t offset, size; /* of `bytes` */
};

struct world {
    char dir[64];
    struct blocks *blocks;
};

static void setup(struct world *w)
{
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/tally-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(w->dir));
    ck_assert_int_eq(blocks_open(w->dir, SEGMENT, &w->blocks), 0);
}

static void teardown(struct world *w)
{
    blocks_free(w->blocks);
    ck_assert_int_eq(file_remove_tree(w->dir), 0);
}

static struct written written_new(uint32_t size, uint32_t offset, uint8_t first)
{
    struct written x = {.bytes = blob_new(offset + size), .offset = offset, .size = size};
    for (uint32_t i = 0; i < x.bytes->size; i++)
        x.bytes->data[i] = (uint8_t)(first + i / 7);
    return x;
}

static struct block_segment *take(struct world *w, struct written *x)
{
    struct block_segment *s;
    ck_assert_int_eq(blocks_take(w->blocks, x->size, &x->place, &s), 0);
    return s;
}

static void write_one(struct block_segment *s, const struct written *x)
{
    ck_assert_int_eq(blocks_write(s, x->place.offset, x->bytes->data + x->offset, x->size), 0);
}

static void check_one(struct world *w, const struct written *x)
{
    struct blob *read = blob_new(x->size);
    struct block_segment *s = blocks_pin(w->blocks, x->place.segment);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(blocks_read(s, x->place.offset, read->data, x->size), 0);
    ck_assert_mem_eq(read->data, x->bytes->data + x->offset, x->size);
    blocks_unpin(w->blocks, s);
    blob_unref(read);
}

/* Bytes written past the page cache are not found in it. Not so on tmpfs, or without O_DIRECT. */
static bool has_direct(const struct world *w)
{
    char *path = file_path(w->dir, "probe");
    struct blob *bytes = blob_new(BLOB_ALIGN_MIN);
    memset(bytes->data, 1, bytes->size);
    int fd = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    int back = open(path, O_RDONLY | O_CLOEXEC);
    bool direct = fd >= 0 && file_write_at(fd, bytes->data, bytes->size, 0) == 0 &&
                  !file_read_now_at(back, bytes->data, bytes->size, 0);
    if (fd >= 0)
        (void)close(fd);
    if (back >= 0)
        (void)close(back);
    (void)unlink(path);
    free(path);
    blob_unref(bytes);
    return direct;
}

static bool has_direct_file(const struct world *w)
{
    char *path = file_path(w->dir, "probe");
    int fd = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    (void)unlink(path);
    free(path);
    return fd >= 0;
}

START_TEST(large_blocks_pass_the_page_cache_by)
{
    struct world w;
    setup(&w);
    struct written large = written_new(BLOCK_SIZE_MAX, 0, 1), small = written_new(5000, 0, 2);
    struct block_segment *s = take(&w, &large);
    ck_assert_ptr_eq(take(&w, &small), s);
    write_one(s, &large);
    write_one(s, &small);
    struct blob *read = blob_new(large.size);
    ck_assert(blocks_read_now(s, small.place.offset, read->data, small.size));
    if (has_direct(&w))
        ck_assert(!blocks_read_now(s, large.place.offset, read->data, large.size));
    check_one(&w, &large);
    check_one(&w, &small);
    ck_assert_int_eq(blocks_sync(s), 0);
    blob_unref(read);
    blob_unref(large.bytes);
    blob_unref(small.bytes);
    teardown(&w);
}
END_TEST

/* Of any size and from anywhere in memory, the later place first, as two threads may do it. */
START_TEST(any_block_is_read_as_it_was_written)
{
    static const struct {
        uint32_t size, offset;
    } kinds[] = {
        {BLOCK_SIZE_MAX, 0},
        {BLOCK_SIZE_MAX - 1, 0},
        {BLOCK_SIZE_MAX - BLOCK_PAGE_SIZE, 0},
        {BLOCK_SIZE_MAX, 8},
        {BLOB_ALIGN_MIN, 4096},
        {BLOB_ALIGN_MIN - BLOCK_PAGE_SIZE, 0},
        {1, 0},
    };
    enum { KINDS = sizeof kinds / sizeof *kinds, BLOCKS = 3 * KINDS };
    struct written all[BLOCKS];
    struct block_segment *segments[BLOCKS];
    struct world w;
    setup(&w);
    for (int i = 0; i < BLOCKS; i++) {
        all[i] = written_new(kinds[i % KINDS].size, kinds[i % KINDS].offset, (uint8_t)i);
        segments[i] = take(&w, &all[i]);
    }
    ck_assert_uint_ne(all[0].place.segment, all[BLOCKS - 1].place.segment);
    for (int i = BLOCKS; i-- > 0;)
        write_one(segments[i], &all[i]);
    for (int i = 0; i < BLOCKS; i++) {
        ck_assert_int_eq(blocks_sync(segments[i]), 0);
        blocks_unpin(w.blocks, segments[i]);
        check_one(&w, &all[i]);
    }
    blocks_free(w.blocks);
    ck_assert_int_eq(blocks_open(w.dir, SEGMENT, &w.blocks), 0);
    for (int i = 0; i < BLOCKS; i++) {
        ck_assert_int_eq(blocks_mark_live(w.blocks, all[i].place, all[i].size), 0);
        check_one(&w, &all[i]);
        blob_unref(all[i].bytes);
    }
    teardown(&w);
}
END_TEST

static int refuses_direct(void *ctx, enum file_call call, int fd)
{
    unsigned *refused = ctx;
    bool direct = call == FILE_WRITE && fcntl(fd, F_GETFL) & O_DIRECT;
    *refused += direct;
    return direct ? -EINVAL : 0;
}

/* What the file system gives and then does not want, as with alignments of its own. */
START_TEST(a_direct_write_that_is_refused_goes_by_way_of_the_cache)
{
    struct world w;
    unsigned refused = 0;
    setup(&w);
    struct written large = written_new(BLOCK_SIZE_MAX, 0, 1);
    struct block_segment *s = take(&w, &large);
    file_fault_set(refuses_direct, &refused);
    write_one(s, &large);
    file_fault_set(NULL, NULL);
    ck_assert_uint_eq(refused, has_direct_file(&w));
    ck_assert_int_eq(blocks_sync(s), 0);
    check_one(&w, &large);
    blob_unref(large.bytes);
    teardown(&w);
}
END_TEST

START_TEST(without_direct_files_all_goes_by_way_of_the_cache)
{
    struct world w;
    no_direct = true;
    setup(&w);
    struct written large = written_new(BLOCK_SIZE_MAX, 0, 1);
    struct block_segment *s = take(&w, &large);
    ck_assert(!has_direct_file(&w));
    write_one(s, &large);
    no_direct = false;
    ck_assert_int_eq(blocks_sync(s), 0);
    check_one(&w, &large);
    blob_unref(large.bytes);
    teardown(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/io/blocks");
    TCase *tc = tcase_create("blocks");
    tcase_add_test(tc, large_blocks_pass_the_page_cache_by);
    tcase_add_test(tc, a_direct_write_that_is_refused_goes_by_way_of_the_cache);
    tcase_add_test(tc, without_direct_files_all_goes_by_way_of_the_cache);
    tcase_add_test(tc, any_block_is_read_as_it_was_written);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
