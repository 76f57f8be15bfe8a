/* Frames from a peer that may send anything: nothing damaged is ever handed out, and every refusal
 * has a reason. The messages inside: no byte sequence makes the decoders read beyond it. */
#include <errno.h>
#include <string.h>

#include "repl/base/bytes.h"
#include "repl/wire/codec.h"
#include "repl/wire/frame.h"
#include "repl/wire/hello.h"
#include "tests/unit/lib/run.h"

struct stream {
    struct bytes_writer bytes;
    uint64_t sequence;
};

static void add_frame(struct stream *s, uint8_t type, size_t control_size, size_t bulk_size)
{
    uint8_t header[FRAME_HEADER_SIZE], control[4096];
    struct blob *bulk = blob_new(bulk_size);
    memset(control, type, control_size);
    memset(bulk->data, type + 1, bulk_size);
    frame_header(header, type, ++s->sequence, control, control_size, &bulk, bulk_size ? 1 : 0);
    bytes_put(&s->bytes, header, sizeof header);
    bytes_put(&s->bytes, control, control_size);
    bytes_put(&s->bytes, bulk->data, bulk_size);
    blob_unref(bulk);
}

/* What a parser makes of some bytes, given in pieces of at most `piece`. */
struct outcome {
    int frames, result;
    const char *reason;
    size_t control_total, bulk_total;
};

static struct outcome feed(const uint8_t *p, size_t n, size_t piece)
{
    struct frame_parser parser = {0};
    struct outcome o = {0};
    while (n > 0 && o.result >= 0) {
        struct frame f;
        size_t room;
        void *to = frame_parser_room(&parser, &room);
        ck_assert_uint_gt(room, 0);
        size_t take = room < piece ? room : piece;
        take = take < n ? take : n;
        memcpy(to, p, take);
        p += take;
        n -= take;
        o.result = frame_parser_fed(&parser, take, &f, &o.reason);
        if (o.result == 1) {
            o.frames++;
            o.control_total += f.control_size;
            o.bulk_total += f.bulk ? f.bulk->size : 0;
            for (size_t i = 0; i < f.control_size; i++)
                ck_assert_uint_eq(f.control[i], f.type);
            for (size_t i = 0; f.bulk && i < f.bulk->size; i++)
                ck_assert_uint_eq(f.bulk->data[i], f.type + 1u);
            frame_parser_next(&parser);
        }
    }
    if (o.result < 0)
        ck_assert((o.result == -EBADMSG || o.result == -EPROTONOSUPPORT) && o.reason &&
                  o.reason[0]);
    frame_parser_done(&parser);
    return o;
}

START_TEST(frames_come_out_as_they_went_in)
{
    static const size_t pieces[] = {1, 2, 7, 31, 32, 33, 1000, 1u << 20};
    struct stream s = {0};
    add_frame(&s, FRAME_REPL, 0, 0);
    add_frame(&s, FRAME_HELLO, 10, 0);
    add_frame(&s, FRAME_BLOCK_PUT, 0, 5000);
    add_frame(&s, FRAME_CLIENT_REPLY, 4096, 1);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        struct outcome o = feed(s.bytes.data, s.bytes.size, pieces[i]);
        ck_assert_int_eq(o.frames, 4);
        ck_assert_uint_eq(o.control_total, 4106);
        ck_assert_uint_eq(o.bulk_total, 5001);
    }
    bytes_writer_done(&s.bytes);
}
END_TEST

/* Several blobs make one bulk part. */
START_TEST(bulk_is_gathered)
{
    uint8_t header[FRAME_HEADER_SIZE];
    struct blob *bulks[3] = {blob_copy("\4\4", 2), blob_copy("", 0), blob_copy("\4\4\4", 3)};
    struct bytes_writer w = {0};
    frame_header(header, 3, 1, "\3", 1, bulks, 3);
    bytes_put(&w, header, sizeof header);
    bytes_put(&w, "\3\4\4\4\4\4", 6);
    struct outcome o = feed(w.data, w.size, 4);
    ck_assert_int_eq(o.frames, 1);
    ck_assert_uint_eq(o.bulk_total, 5);
    for (int i = 0; i < 3; i++)
        blob_unref(bulks[i]);
    bytes_writer_done(&w);
}
END_TEST

/* Every single bit of header, control and bulk. */
START_TEST(one_wrong_bit_is_found)
{
    struct stream s = {0};
    add_frame(&s, FRAME_REPL, 40, 60);
    for (size_t bit = 0; bit < s.bytes.size * 8; bit++) {
        s.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct outcome o = feed(s.bytes.data, s.bytes.size, 64);
        /* A larger size makes it wait for bytes that do not come, until the link gives up. */
        ck_assert_int_eq(o.frames, 0);
        s.bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    ck_assert_int_eq(feed(s.bytes.data, s.bytes.size, 64).frames, 1);
    bytes_writer_done(&s.bytes);
}
END_TEST

/* ... but for blocks, which have their own hashes. */
START_TEST(wrong_bits_of_blocks_are_found_by_who_takes_them)
{
    const uint8_t types[] = {FRAME_BLOCK_PUT, FRAME_BLOCK_DATA, FRAME_CLIENT_REPLY};
    for (size_t t = 0; t < sizeof types; t++) {
        struct stream s = {0};
        add_frame(&s, types[t], 40, 60);
        for (size_t byte = 0; byte < s.bytes.size - 60; byte++) {
            s.bytes.data[byte] ^= 1;
            ck_assert_int_eq(feed(s.bytes.data, s.bytes.size, 64).frames, 0);
            s.bytes.data[byte] ^= 1;
        }
        ck_assert_int_eq(feed(s.bytes.data, s.bytes.size, 64).frames, 1);
        bytes_writer_done(&s.bytes);
    }
}
END_TEST

static void expect_refusal(const struct stream *s, int result, const char *part)
{
    struct outcome o = feed(s->bytes.data, s->bytes.size, 1u << 20);
    ck_assert_int_eq(o.result, result);
    ck_assert_msg(strstr(o.reason, part), "%s", o.reason);
}

static void expect_reason(const struct stream *s, const char *part)
{
    expect_refusal(s, -EBADMSG, part);
}

START_TEST(refusals_have_the_right_reason)
{
    struct stream s = {0};
    add_frame(&s, FRAME_REPL, 8, 8);
    s.bytes.data[0] = 'X';
    expect_reason(&s, "not a frame");
    s.bytes.data[0] = 'T';
    s.bytes.data[4]++;
    expect_refusal(&s, -EPROTONOSUPPORT, "version");
    s.bytes.data[4]--;
    s.bytes.data[6] = 1;
    expect_reason(&s, "flags");
    s.bytes.data[6] = 0;
    le32_put(s.bytes.data + 8, FRAME_CONTROL_MAX + 1);
    expect_reason(&s, "oversized");
    le32_put(s.bytes.data + 8, UINT32_MAX);
    expect_reason(&s, "oversized");
    le32_put(s.bytes.data + 8, 8);
    le32_put(s.bytes.data + 12, FRAME_BULK_MAX + 1);
    expect_reason(&s, "oversized");
    le32_put(s.bytes.data + 12, 8);
    s.bytes.data[FRAME_HEADER_SIZE] ^= 1;
    expect_reason(&s, "checksum");
    bytes_writer_done(&s.bytes);
}
END_TEST

/* The same frame twice, one left out, one of another connection. */
START_TEST(sequence_is_kept)
{
    static const uint64_t next[] = {1, 3, 0, UINT64_MAX};
    for (size_t i = 0; i < sizeof next / sizeof next[0]; i++) {
        struct stream s = {0};
        add_frame(&s, FRAME_REPL, 3, 3);
        s.sequence = next[i] - 1;
        add_frame(&s, FRAME_REPL, 3, 3);
        struct outcome o = feed(s.bytes.data, s.bytes.size, 1000);
        ck_assert_int_eq(o.frames, 1);
        ck_assert_int_eq(o.result, -EBADMSG);
        ck_assert_ptr_nonnull(strstr(o.reason, "lost or played again"));
        bytes_writer_done(&s.bytes);
    }
}
END_TEST

/* Cut anywhere: no frame, no complaint, no leak. */
START_TEST(truncated_frame_is_never_handed_out)
{
    struct stream s = {0};
    add_frame(&s, FRAME_REPL, 30, 30);
    for (size_t cut = 0; cut < s.bytes.size; cut++) {
        struct outcome o = feed(s.bytes.data, cut, 9);
        ck_assert_int_eq(o.frames, 0);
        ck_assert_int_eq(o.result, 0);
    }
    bytes_writer_done(&s.bytes);
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

START_TEST(garbage_makes_no_frame)
{
    uint64_t rng = 99;
    for (size_t run = 0; run < 2000; run++) {
        uint8_t bytes[200];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)next_random(&rng);
        if (run % 2) { /* a good beginning */
            memcpy(bytes, "TLY1\1\2\0\0", 8);
            memset(bytes + 8, 0, 16);
            bytes[8] = (uint8_t)(next_random(&rng) % 100);
            bytes[16] = 1;
        }
        ck_assert_int_eq(feed(bytes, sizeof bytes, 1 + run % 50).frames, 0);
    }
}
END_TEST

/* ---- what is inside -------------------------------------------------------------------------- */

static void encode_append(struct bytes_writer *control, struct blob **ret_bulk)
{
    struct block_ref ref = {.name = {5, 6}, .size = 3, .digest = 7};
    struct blob *bytes = blob_copy("abc", 3), *payload = blob_copy("op", 2);
    struct entry *entries[2] = {entry_new(2, 8, ENTRY_OP, payload, &ref, 1, bytes),
                                entry_new(3, 9, ENTRY_NOOP, NULL, NULL, 0, NULL)};
    struct message m = {.kind = MESSAGE_APPEND};
    m.append = (struct message_append){.term = 3,
                                       .prev_index = 7,
                                       .prev_term = 2,
                                       .commit = 6,
                                       .read_round = 4,
                                       .sent_at = 77,
                                       .draft_mask = 8,
                                       .successors_count = 2,
                                       .successors = {2, 1},
                                       .entries_count = 2,
                                       .entries = entries};
    struct codec_bulk bulk = {0};
    message_encode(&m, control, &bulk);
    ck_assert_uint_eq(bulk.count, 1);
    *ret_bulk = blob_ref(bulk.items[0]);
    codec_bulk_done(&bulk);
    entry_unref(entries[0]);
    entry_unref(entries[1]);
    blob_unref(bytes);
    blob_unref(payload);
}

START_TEST(message_survives_the_wire)
{
    struct bytes_writer control = {0};
    struct blob *bulk;
    struct message m;
    encode_append(&control, &bulk);
    ck_assert_int_eq(message_decode(control.data, control.size, bulk, &m), 0);
    ck_assert_int_eq(m.kind, MESSAGE_APPEND);
    ck_assert_uint_eq(m.append.term, 3);
    ck_assert_uint_eq(m.append.prev_index, 7);
    ck_assert_uint_eq(m.append.commit, 6);
    ck_assert_uint_eq(m.append.read_round, 4);
    ck_assert_uint_eq(m.append.sent_at, 77);
    ck_assert_uint_eq(m.append.draft_mask, 8);
    ck_assert_uint_eq(m.append.successors_count, 2);
    ck_assert_uint_eq(m.append.successors[0], 2);
    ck_assert_uint_eq(m.append.entries_count, 2);
    const struct entry *e = m.append.entries[0];
    ck_assert_uint_eq(e->index, 8);
    ck_assert_uint_eq(e->term, 2);
    ck_assert_uint_eq(e->blocks[0].name.n, 6);
    ck_assert_uint_eq(e->blocks[0].digest, 7);
    ck_assert_mem_eq(e->inline_bytes->data, "abc", 3);
    ck_assert_mem_eq(e->payload->data, "op", 2);
    ck_assert_int_eq(m.append.entries[1]->kind, ENTRY_NOOP);
    message_done(&m);
    blob_unref(bulk);
    bytes_writer_done(&control);
}
END_TEST

/* Cut or without its bulk it is refused; with random damage it is refused or at least whole. */
START_TEST(damaged_message_is_refused_or_harmless)
{
    struct bytes_writer control = {0};
    struct blob *bulk, *shorter = blob_copy("ab", 2), *longer = blob_copy("abcd", 4);
    struct message m;
    uint64_t rng = 4242;
    int refused = 0;
    encode_append(&control, &bulk);
    ck_assert_int_eq(message_decode(control.data, control.size, NULL, &m), -EBADMSG);
    ck_assert_int_eq(message_decode(control.data, control.size, shorter, &m), -EBADMSG);
    ck_assert_int_eq(message_decode(control.data, control.size, longer, &m), -EBADMSG);
    for (size_t cut = 0; cut < control.size; cut++) {
        uint8_t *part = xmemdup(control.data, cut);
        if (message_decode(part, cut, bulk, &m) == 0)
            message_done(&m);
        else
            refused++;
        free(part);
    }
    ck_assert_int_ge(refused, (int)control.size / 2);
    for (int run = 0; run < 20000; run++) {
        uint8_t *copy = xmemdup(control.data, control.size);
        for (uint64_t k = 0, n = 1 + next_random(&rng) % 4; k < n; k++)
            copy[next_random(&rng) % control.size] = (uint8_t)next_random(&rng);
        if (message_decode(copy, control.size, bulk, &m) == 0) {
            if (m.kind == MESSAGE_APPEND)
                for (uint32_t i = 0; i < m.append.entries_count; i++)
                    ck_assert_ptr_nonnull(m.append.entries[i]);
            message_done(&m);
        }
        free(copy);
    }
    blob_unref(shorter);
    blob_unref(longer);
    blob_unref(bulk);
    bytes_writer_done(&control);
}
END_TEST

START_TEST(hello_is_checked)
{
    struct hello in = {.kind = HELLO_NODE, .node_id = 3, .features = 5, .store_boot = 9}, out;
    struct bytes_writer w = {0};
    (void)strcpy(in.name, "n3");
    memset(in.cluster, 0xab, sizeof in.cluster);
    hello_encode(&in, &w);
    ck_assert_int_eq(hello_decode(w.data, w.size, &out), 0);
    ck_assert_str_eq(out.name, "n3");
    ck_assert_uint_eq(out.node_id, 3);
    ck_assert_uint_eq(out.store_boot, 9);
    ck_assert_mem_eq(out.cluster, in.cluster, sizeof in.cluster);
    for (size_t cut = 0; cut < w.size; cut++) {
        uint8_t *part = xmemdup(w.data, cut);
        ck_assert_int_eq(hello_decode(part, cut, &out), -EBADMSG);
        free(part);
    }
    in.node_id = 99; /* no node has it */
    bytes_writer_clear(&w);
    hello_encode(&in, &w);
    ck_assert_int_eq(hello_decode(w.data, w.size, &out), -EBADMSG);
    bytes_writer_done(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("repl/wire/frame");
    TCase *tc = tcase_create("frame");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, frames_come_out_as_they_went_in);
    tcase_add_test(tc, bulk_is_gathered);
    tcase_add_test(tc, one_wrong_bit_is_found);
    tcase_add_test(tc, wrong_bits_of_blocks_are_found_by_who_takes_them);
    tcase_add_test(tc, refusals_have_the_right_reason);
    tcase_add_test(tc, sequence_is_kept);
    tcase_add_test(tc, truncated_frame_is_never_handed_out);
    tcase_add_test(tc, garbage_makes_no_frame);
    tcase_add_test(tc, message_survives_the_wire);
    tcase_add_test(tc, damaged_message_is_refused_or_harmless);
    tcase_add_test(tc, hello_is_checked);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
