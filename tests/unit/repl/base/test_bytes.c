/* Numbers to bytes and back, and what a reader does with too few of them. */
#include <string.h>

#include "repl/base/block.h"
#include "repl/base/bytes.h"
#include "repl/base/hash.h"
#include "repl/base/mem.h"
#include "tests/unit/lib/run.h"

START_TEST(fixed_widths_lie_where_they_should)
{
    uint8_t p[8];
    static const uint8_t little[8] = {8, 7, 6, 5, 4, 3, 2, 1}, big[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    le64_put(p, 0x0102030405060708);
    ck_assert_mem_eq(p, little, 8);
    be64_put(p, 0x0102030405060708);
    ck_assert_mem_eq(p, big, 8);
    le32_put(p, 0x05060708);
    ck_assert_mem_eq(p, little, 4);
    be32_put(p, 0x01020304);
    ck_assert_mem_eq(p, big, 4);
    le16_put(p, 0x0708);
    ck_assert_mem_eq(p, little, 2);
}
END_TEST

/* Every bit pattern with one bit set, and its complement. */
START_TEST(what_is_put_is_got)
{
    for (int bit = 0; bit < 128; bit++) {
        uint64_t v = bit < 64 ? UINT64_C(1) << bit : ~(UINT64_C(1) << (bit - 64));
        struct bytes_writer w = {0};
        struct bytes_reader r;
        bytes_put_u8(&w, (uint8_t)v);
        bytes_put_u16(&w, (uint16_t)v);
        bytes_put_u32(&w, (uint32_t)v);
        bytes_put_u64(&w, v);
        bytes_put_be32(&w, (uint32_t)v);
        bytes_put_be64(&w, v);
        ck_assert_uint_eq(w.size, 27);
        bytes_reader_init(&r, w.data, w.size);
        ck_assert_uint_eq(bytes_get_u8(&r), (uint8_t)v);
        ck_assert_uint_eq(bytes_get_u16(&r), (uint16_t)v);
        ck_assert_uint_eq(bytes_get_u32(&r), (uint32_t)v);
        ck_assert_uint_eq(bytes_get_u64(&r), v);
        ck_assert_uint_eq(bytes_get_be32(&r), (uint32_t)v);
        ck_assert_uint_eq(bytes_get_be64(&r), v);
        ck_assert(bytes_reader_ended(&r));
        bytes_writer_done(&w);
    }
}
END_TEST

/* Cut anywhere, the reader says so, gives zeros from there on, and never looks behind the end (each
 * cut is its own allocation, so ASan would see it). */
START_TEST(short_input_is_bad_and_stays_bad)
{
    struct bytes_writer w = {0};
    bytes_put_u16(&w, 0xffff);
    bytes_put_sized(&w, "abc", 3);
    bytes_put_u64(&w, UINT64_MAX);
    for (size_t cut = 0; cut < w.size; cut++) {
        uint8_t *part = xmemdup(w.data, cut);
        struct bytes_reader r;
        bytes_reader_init(&r, part, cut);
        uint16_t a = bytes_get_u16(&r);
        struct bytes b = bytes_get_sized(&r, 100);
        uint64_t c = bytes_get_u64(&r);
        ck_assert(r.bad && !bytes_reader_ended(&r));
        ck_assert_uint_eq(bytes_left(&r), 0);
        ck_assert_uint_eq(a, cut >= 2 ? 0xffff : 0);
        ck_assert_uint_eq(b.size, cut >= 9 ? 3 : 0);
        ck_assert_uint_eq(c, 0);
        ck_assert_uint_eq(bytes_get_u8(&r), 0);
        ck_assert_ptr_null(bytes_get(&r, 0));
        free(part);
    }
    bytes_writer_done(&w);
}
END_TEST

START_TEST(sized_bytes_have_a_bound)
{
    struct bytes_writer w = {0};
    bytes_put_sized(&w, "abcdef", 6);
    struct bytes_reader r;
    bytes_reader_init(&r, w.data, w.size);
    ck_assert_uint_eq(bytes_get_sized(&r, 6).size, 6);
    ck_assert(bytes_reader_ended(&r));
    bytes_reader_init(&r, w.data, w.size);
    ck_assert_uint_eq(bytes_get_sized(&r, 5).size, 0);
    ck_assert(r.bad);
    le32_put(w.data, UINT32_MAX); /* a length from somebody else */
    bytes_reader_init(&r, w.data, w.size);
    ck_assert_ptr_null(bytes_get_sized(&r, SIZE_MAX).data);
    ck_assert(r.bad);
    bytes_writer_done(&w);
}
END_TEST

START_TEST(writer_grows_and_is_used_again)
{
    struct bytes_writer w = {0};
    for (uint32_t i = 0; i < 10000; i++)
        bytes_put_u32(&w, i);
    ck_assert_uint_eq(w.size, 40000);
    for (uint32_t i = 0; i < 10000; i++)
        ck_assert_uint_eq(le32_get(w.data + 4 * i), i);
    bytes_writer_clear(&w);
    ck_assert_uint_eq(w.size, 0);
    bytes_put(&w, NULL, 0);
    ck_assert_uint_eq(w.size, 0);
    bytes_writer_done(&w);
    ck_assert_ptr_null(w.data);
}
END_TEST

START_TEST(order_is_that_of_memcmp)
{
    static const char *sorted[] = {"", "a", "aa", "ab", "b", "ba"};
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++)
            ck_assert_int_eq(
                bytes_compare(sorted[i], strlen(sorted[i]), sorted[k], strlen(sorted[k])),
                (i > k) - (i < k));
    uint8_t a[8], b[8]; /* big-endian keys order as numbers */
    be64_put(a, 255);
    be64_put(b, 256);
    ck_assert_int_lt(bytes_compare(a, 8, b, 8), 0);
}
END_TEST

START_TEST(hash_does_not_depend_on_the_cuts)
{
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    uint64_t whole = hash64(bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37) {
        struct hash_stream h;
        hash_stream_init(&h);
        hash_stream_add(&h, bytes, cut);
        hash_stream_add(&h, bytes + cut, sizeof bytes - cut);
        ck_assert_uint_eq(hash_stream_end(&h), whole);
    }
    bytes[999] ^= 1;
    ck_assert_uint_ne(hash64(bytes, sizeof bytes), whole);
}
END_TEST

/* The digest covers every byte of every run, the short last one included. */
START_TEST(block_digest_sees_every_run)
{
    uint32_t size = 3 * BLOCK_RUN_SIZE + 5;
    uint8_t *data = xcalloc(1, size);
    uint64_t whole = block_digest(data, size), hashes[BLOCK_RUNS_MAX];
    ck_assert_uint_eq(block_runs(size), 4);
    ck_assert_uint_eq(block_pages(size), 13);
    block_run_hashes(data, size, hashes);
    ck_assert_uint_eq(block_digest_of_runs(hashes, 4), whole);
    for (uint32_t at = 0; at < size; at += BLOCK_RUN_SIZE) {
        data[at] ^= 1;
        ck_assert_uint_ne(block_digest(data, size), whole);
        data[at] ^= 1;
    }
    data[size - 1] ^= 1;
    ck_assert_uint_ne(block_digest(data, size), whole);
    ck_assert_uint_ne(block_digest(data, size - 1), whole);
    free(data);
}
END_TEST

START_TEST(blob_lives_until_its_last_reference)
{
    struct blob *b = blob_copy("xyz", 3);
    ck_assert_ptr_eq(blob_ref(b), b);
    blob_unref(b);
    ck_assert_mem_eq(b->data, "xyz", 3);
    ck_assert_uint_eq(b->refs, 1);
    blob_unref(b);
    blob_unref(NULL);
    ck_assert_ptr_null(blob_ref(NULL));
}
END_TEST

/* O_DIRECT takes nothing else; and the allocation is found again. */
START_TEST(large_blobs_begin_at_a_page)
{
    static const size_t sizes[] = {
        0,       BLOB_ALIGN_MIN - 1, BLOB_ALIGN_MIN, BLOB_ALIGN_MIN + 1, (1 << 20) - 1,
        1 << 20, (4 << 20) + 4095};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct blob *b = blob_new(sizes[i]);
        ck_assert_uint_eq(b->size, sizes[i]);
        ck_assert_uint_eq(b->refs, 1);
        if (sizes[i] >= BLOB_ALIGN_MIN)
            ck_assert_uint_eq((uintptr_t)b->data % BLOB_ALIGN, 0);
        memset(b->data, 0xa5, sizes[i]);
        b->size /= 2; /* as its maker may */
        blob_unref(b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/base/bytes");
    TCase *tc = tcase_create("bytes");
    tcase_add_test(tc, fixed_widths_lie_where_they_should);
    tcase_add_test(tc, what_is_put_is_got);
    tcase_add_test(tc, short_input_is_bad_and_stays_bad);
    tcase_add_test(tc, sized_bytes_have_a_bound);
    tcase_add_test(tc, writer_grows_and_is_used_again);
    tcase_add_test(tc, order_is_that_of_memcmp);
    tcase_add_test(tc, hash_does_not_depend_on_the_cuts);
    tcase_add_test(tc, block_digest_sees_every_run);
    tcase_add_test(tc, blob_lives_until_its_last_reference);
    tcase_add_test(tc, large_blobs_begin_at_a_page);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
