/* Numbers to bytes and back: fixed widths, no struct casts, every length checked before use.
 *
 * Little-endian for frames and records, big-endian for keys (so that memcmp orders them as
 * numbers). */
#ifndef TALLY_REPL_BASE_BYTES_H
#define TALLY_REPL_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed run of bytes. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

/* memcmp order, the shorter first when one is a prefix of the other: -1, 0, 1. */
int bytes_compare(const void *a, size_t a_size, const void *b, size_t b_size);

static inline void le16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void le32_put(uint8_t *p, uint32_t v)
{
    le16_put(p, (uint16_t)v);
    le16_put(p + 2, (uint16_t)(v >> 16));
}

static inline void le64_put(uint8_t *p, uint64_t v)
{
    le32_put(p, (uint32_t)v);
    le32_put(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t le16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le32_get(const uint8_t *p)
{
    return le16_get(p) | (uint32_t)le16_get(p + 2) << 16;
}

static inline uint64_t le64_get(const uint8_t *p)
{
    return le32_get(p) | (uint64_t)le32_get(p + 4) << 32;
}

static inline void be32_put(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void be64_put(uint8_t *p, uint64_t v)
{
    be32_put(p, (uint32_t)(v >> 32));
    be32_put(p + 4, (uint32_t)v);
}

static inline uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline uint64_t be64_get(const uint8_t *p)
{
    return (uint64_t)be32_get(p) << 32 | be32_get(p + 4);
}

/* A growing buffer. Zero-initialised is empty. */
struct bytes_writer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void bytes_writer_init(struct bytes_writer *w);
void bytes_writer_done(struct bytes_writer *w);
/* Empties it and keeps the memory. */
void bytes_writer_clear(struct bytes_writer *w);
/* Room for `n` more bytes, counted as written, not cleared; good until the next bytes_put. */
uint8_t *bytes_put_room(struct bytes_writer *w, size_t n);
void bytes_put(struct bytes_writer *w, const void *p, size_t n);
void bytes_put_u8(struct bytes_writer *w, uint8_t v);
void bytes_put_u16(struct bytes_writer *w, uint16_t v);
void bytes_put_u32(struct bytes_writer *w, uint32_t v);
void bytes_put_u64(struct bytes_writer *w, uint64_t v);
void bytes_put_be32(struct bytes_writer *w, uint32_t v);
void bytes_put_be64(struct bytes_writer *w, uint64_t v);
/* Length (u32) and bytes. */
void bytes_put_sized(struct bytes_writer *w, const void *p, size_t n);

/* Reads within bounds. Asking for more than is left sets `bad`, and from then on every get gives
 * zero or NULL: read everything, then look at `bad` once. */
struct bytes_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

void bytes_reader_init(struct bytes_reader *r, const void *p, size_t n);
size_t bytes_left(const struct bytes_reader *r);
/* Everything was read and nothing was missing. */
bool bytes_reader_ended(const struct bytes_reader *r);
/* `n` bytes, borrowed from what is being read; NULL when fewer are left. */
const uint8_t *bytes_get(struct bytes_reader *r, size_t n);
uint8_t bytes_get_u8(struct bytes_reader *r);
uint16_t bytes_get_u16(struct bytes_reader *r);
uint32_t bytes_get_u32(struct bytes_reader *r);
uint64_t bytes_get_u64(struct bytes_reader *r);
uint32_t bytes_get_be32(struct bytes_reader *r);
uint64_t bytes_get_be64(struct bytes_reader *r);
/* What bytes_put_sized wrote; a length above `max` counts as bad. */
struct bytes bytes_get_sized(struct bytes_reader *r, size_t max);

#endif
