#include "tools/elect/queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/mem.h"

enum { NO_ENTRY = UINT32_MAX };

struct queue_entry {
    struct event ev;
    uint32_t next;
};

struct queue_far {
    uint64_t at;
    uint64_t order;
    uint32_t entry;
};

void queue_init(struct queue *q)
{
    memset(q, 0, sizeof *q);
    q->first = xcalloc(QUEUE_SLOTS, sizeof *q->first);
    q->last = xcalloc(QUEUE_SLOTS, sizeof *q->last);
    q->busy = xcalloc(QUEUE_SLOTS / 64, sizeof *q->busy);
    queue_reset(q);
}

void queue_done(struct queue *q)
{
    free(q->entries);
    free(q->first);
    free(q->last);
    free(q->busy);
    free(q->far);
    memset(q, 0, sizeof *q);
}

void queue_reset(struct queue *q)
{
    memset(q->first, 0xff, QUEUE_SLOTS * sizeof *q->first); /* NO_ENTRY */
    memset(q->busy, 0, QUEUE_SLOTS / 64 * sizeof *q->busy);
    q->now = q->count = q->order = 0;
    q->near = q->far_count = q->entry_count = 0;
    q->free = NO_ENTRY;
}

static uint32_t entry_take(struct queue *q)
{
    uint32_t entry = q->free;

    if (entry != NO_ENTRY) {
        q->free = q->entries[entry].next;
        return entry;
    }
    if (q->entry_count == q->entry_room) {
        q->entry_room = q->entry_room ? 2 * q->entry_room : 1024;
        q->entries = xrealloc(q->entries, q->entry_room * sizeof *q->entries);
    }
    return q->entry_count++;
}

static void wheel_add(struct queue *q, uint64_t at, uint32_t entry)
{
    uint32_t slot = (uint32_t)(at % QUEUE_SLOTS);

    q->entries[entry].next = NO_ENTRY;
    if (q->first[slot] == NO_ENTRY) {
        q->first[slot] = entry;
        q->busy[slot / 64] |= (uint64_t)1 << (slot % 64);
    } else {
        q->entries[q->last[slot]].next = entry;
    }
    q->last[slot] = entry;
    q->near++;
}

static bool earlier(const struct queue_far *a, const struct queue_far *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void far_add(struct queue *q, struct queue_far item)
{
    uint32_t i = q->far_count++;

    if (q->far_count > q->far_room) {
        q->far_room = q->far_room ? 2 * q->far_room : 256;
        q->far = xrealloc(q->far, q->far_room * sizeof *q->far);
    }
    for (; i > 0 && earlier(&item, &q->far[(i - 1) / 2]); i = (i - 1) / 2)
        q->far[i] = q->far[(i - 1) / 2];
    q->far[i] = item;
}

static struct queue_far far_take(struct queue *q)
{
    struct queue_far top = q->far[0], item = q->far[--q->far_count];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < q->far_count) {
        if (child + 1 < q->far_count && earlier(&q->far[child + 1], &q->far[child]))
            child++;
        if (!earlier(&q->far[child], &item))
            break;
        q->far[i] = q->far[child];
        i = child;
    }
    q->far[i] = item;
    return top;
}

/* Moves the clock. What comes within the wheel's reach goes into it before anything can be pushed
 * there directly, so that a slot's chain stays in the order of pushing. */
static void advance(struct queue *q, uint64_t now)
{
    q->now = now;
    while (q->far_count > 0 && q->far[0].at - now < QUEUE_SLOTS) {
        struct queue_far item = far_take(q);

        wheel_add(q, item.at, item.entry);
    }
}

void queue_push(struct queue *q, uint64_t at, struct event ev)
{
    uint32_t entry = entry_take(q);

    assert(at >= q->now);
    q->entries[entry].ev = ev;
    q->count++;
    if (at - q->now < QUEUE_SLOTS)
        wheel_add(q, at, entry);
    else
        far_add(q, (struct queue_far){.at = at, .order = q->order++, .entry = entry});
}

/* The first occupied slot's moment, looking from `now` once round the wheel. */
static uint64_t next_near(const struct queue *q)
{
    uint32_t slot = (uint32_t)(q->now % QUEUE_SLOTS);
    uint32_t word = slot / 64;
    uint64_t bits = q->busy[word] & (UINT64_MAX << (slot % 64));

    while (bits == 0) {
        word = (word + 1) % (QUEUE_SLOTS / 64);
        bits = q->busy[word];
    }
    uint32_t found = word * 64 + (uint32_t)__builtin_ctzll(bits);
    return q->now + (found + QUEUE_SLOTS - slot) % QUEUE_SLOTS;
}

bool queue_pop(struct queue *q, struct event *ret_ev)
{
    if (q->count == 0)
        return false;
    advance(q, q->near > 0 ? next_near(q) : q->far[0].at);

    uint32_t slot = (uint32_t)(q->now % QUEUE_SLOTS), entry = q->first[slot];
    assert(entry != NO_ENTRY);
    *ret_ev = q->entries[entry].ev;
    q->first[slot] = q->entries[entry].next;
    if (q->first[slot] == NO_ENTRY)
        q->busy[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    else
        __builtin_prefetch(&q->entries[q->first[slot]]); /* millions of them fit no cache */
    q->entries[entry].next = q->free;
    q->free = entry;
    q->near--;
    q->count--;
    return true;
}
