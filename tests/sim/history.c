/* What applications did: bytes made of stamps and back, and the list itself. */
#include "tests/sim/history.h"

#include <stdlib.h>
#include <string.h>

#include "repl/base/bytes.h"

#define UNIT_SALT    UINT64_C(0x9e3779b97f4a7c15)
#define RECORD_MAGIC UINT64_C(0x64726f6365722179)

void history_done(struct history *h)
{
    for (size_t i = 0; i < h->ops.count; i++) {
        free(h->ops.items[i].path);
        free(h->ops.items[i].path2);
        free(h->ops.items[i].stamps);
    }
    vec_done(&h->ops);
}

/* ---- units ----------------------------------------------------------------------------------- */

/* Never equal to the stamp, so that the two ends are not swapped unseen. */
static uint64_t tail_of(uint64_t stamp, uint64_t unit)
{
    return stamp ^ (UNIT_SALT * (unit + 1) | 1);
}

struct blob *history_units(uint64_t stamp, uint32_t first, uint32_t count)
{
    struct blob *b = blob_new((size_t)count * HISTORY_UNIT);
    memset(b->data, 0, b->size);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *p = b->data + (size_t)i * HISTORY_UNIT;
        le64_put(p, stamp);
        le64_put(p + HISTORY_UNIT - 8, tail_of(stamp, first + i));
    }
    return b;
}

uint64_t *history_stamps(const struct blob *b, uint32_t first, uint32_t count)
{
    uint64_t *stamps = xcalloc(count ? count : 1, sizeof *stamps);
    for (uint32_t i = 0; i < count && b && (size_t)i * HISTORY_UNIT < b->size; i++) {
        const uint8_t *p = b->data + (size_t)i * HISTORY_UNIT;
        if ((size_t)(i + 1) * HISTORY_UNIT > b->size) {
            stamps[i] = HISTORY_TORN;
            break;
        }
        uint64_t head = le64_get(p), tail = le64_get(p + HISTORY_UNIT - 8);
        stamps[i] = tail == (head ? tail_of(head, first + i) : 0) ? head : HISTORY_TORN;
    }
    return stamps;
}

/* ---- records --------------------------------------------------------------------------------- */

struct blob *history_record(uint64_t stamp, uint32_t size)
{
    struct blob *b = blob_new(size);
    memset(b->data, 0, size);
    le64_put(b->data, RECORD_MAGIC);
    le64_put(b->data + 8, stamp);
    le64_put(b->data + 16, size);
    le64_put(b->data + size - 8, stamp ^ RECORD_MAGIC);
    return b;
}

size_t history_records(const uint8_t *p, size_t size, uint64_t **ret_stamps, bool *ret_torn)
{
    vec_of(uint64_t) found = {0};
    size_t at = 0;
    *ret_torn = false;
    while (at < size && !*ret_torn) {
        size_t room = size - at;
        uint64_t stamp = room >= HISTORY_RECORD ? le64_get(p + at + 8) : 0;
        uint64_t bytes = room >= HISTORY_RECORD ? le64_get(p + at + 16) : 0;
        *ret_torn = bytes < HISTORY_RECORD || bytes > room || le64_get(p + at) != RECORD_MAGIC ||
                    le64_get(p + at + bytes - 8) != (stamp ^ RECORD_MAGIC);
        if (!*ret_torn)
            vec_push(&found, stamp);
        at += bytes;
    }
    *ret_stamps = found.items;
    return found.count;
}
