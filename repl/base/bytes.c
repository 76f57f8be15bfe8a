#include "repl/base/bytes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

int bytes_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common != 0 ? memcmp(a, b, common) : 0;
    if (order != 0) {
        return order < 0 ? -1 : 1;
    }
    return (a_size > b_size) - (a_size < b_size);
}

/* ---- writer ---------------------------------------------------------------------------------- */

void bytes_writer_init(struct bytes_writer *w)
{
    *w = (struct bytes_writer){0};
}

void bytes_writer_done(struct bytes_writer *w)
{
    free(w->data);
    *w = (struct bytes_writer){0};
}

void bytes_writer_clear(struct bytes_writer *w)
{
    w->size = 0;
}

uint8_t *bytes_put_room(struct bytes_writer *w, size_t n)
{
    if (w->data == NULL || n > w->capacity - w->size) {
        size_t capacity = w->capacity != 0 ? w->capacity : 64;
        while (n > capacity - w->size) {
            assert(capacity <= SIZE_MAX / 2);
            capacity *= 2;
        }
        w->data = xrealloc(w->data, capacity);
        w->capacity = capacity;
    }
    uint8_t *room = w->data + w->size;
    w->size += n;
    return room;
}

void bytes_put(struct bytes_writer *w, const void *p, size_t n)
{
    if (n != 0) {
        memcpy(bytes_put_room(w, n), p, n);
    }
}

void bytes_put_u8(struct bytes_writer *w, uint8_t v)
{
    *bytes_put_room(w, 1) = v;
}

void bytes_put_u16(struct bytes_writer *w, uint16_t v)
{
    le16_put(bytes_put_room(w, 2), v);
}

void bytes_put_u32(struct bytes_writer *w, uint32_t v)
{
    le32_put(bytes_put_room(w, 4), v);
}

void bytes_put_u64(struct bytes_writer *w, uint64_t v)
{
    le64_put(bytes_put_room(w, 8), v);
}

void bytes_put_be32(struct bytes_writer *w, uint32_t v)
{
    be32_put(bytes_put_room(w, 4), v);
}

void bytes_put_be64(struct bytes_writer *w, uint64_t v)
{
    be64_put(bytes_put_room(w, 8), v);
}

void bytes_put_sized(struct bytes_writer *w, const void *p, size_t n)
{
    assert(n <= UINT32_MAX);
    bytes_put_u32(w, (uint32_t)n);
    bytes_put(w, p, n);
}

/* ---- reader ---------------------------------------------------------------------------------- */

void bytes_reader_init(struct bytes_reader *r, const void *p, size_t n)
{
    r->at = p;
    r->end = n != 0 ? r->at + n : r->at;
    r->bad = false;
}

size_t bytes_left(const struct bytes_reader *r)
{
    return r->bad ? 0 : (size_t)(r->end - r->at);
}

bool bytes_reader_ended(const struct bytes_reader *r)
{
    return !r->bad && r->at == r->end;
}

const uint8_t *bytes_get(struct bytes_reader *r, size_t n)
{
    if (r->bad || n > (size_t)(r->end - r->at)) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at = n != 0 ? r->at + n : r->at;
    return p;
}

uint8_t bytes_get_u8(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 1);
    return p != NULL ? *p : 0;
}

uint16_t bytes_get_u16(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 2);
    return p != NULL ? le16_get(p) : 0;
}

uint32_t bytes_get_u32(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 4);
    return p != NULL ? le32_get(p) : 0;
}

uint64_t bytes_get_u64(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 8);
    return p != NULL ? le64_get(p) : 0;
}

uint32_t bytes_get_be32(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 4);
    return p != NULL ? be32_get(p) : 0;
}

uint64_t bytes_get_be64(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 8);
    return p != NULL ? be64_get(p) : 0;
}

struct bytes bytes_get_sized(struct bytes_reader *r, size_t max)
{
    uint32_t size = bytes_get_u32(r);
    if (size > max) {
        r->bad = true;
    }
    const uint8_t *data = bytes_get(r, size);
    return (struct bytes){.data = data, .size = data != NULL ? size : 0};
}
