#include "repl/core/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LOG_SLOTS_MIN 64u

void log_init(struct log *l, uint64_t base_index, uint64_t base_term)
{
    memset(l, 0, sizeof(*l));
    l->capacity = LOG_SLOTS_MIN;
    l->slots = xcalloc(l->capacity, sizeof(*l->slots));
    log_reset(l, base_index, base_term);
}

static struct log_slot *slot_at(const struct log *l, uint64_t index)
{
    return &l->slots[index & (l->capacity - 1)];
}

static uint64_t inline_size(const struct entry *e)
{
    return e->inline_bytes != NULL ? e->inline_bytes->size : 0;
}

static void slot_clear(struct log *l, uint64_t index)
{
    struct log_slot *s = slot_at(l, index);
    l->inline_bytes -= inline_size(s->entry);
    entry_unref(s->entry);
    memset(s, 0, sizeof(*s));
}

void log_done(struct log *l)
{
    for (uint64_t i = l->base_index + 1; i <= l->last; i++) {
        slot_clear(l, i);
    }
    free(l->slots);
    memset(l, 0, sizeof(*l));
}

void log_reset(struct log *l, uint64_t index, uint64_t term)
{
    for (uint64_t i = l->base_index + 1; i <= l->last; i++) {
        slot_clear(l, i);
    }
    l->base_index = index;
    l->base_term = term;
    l->durable = l->submitted = l->ensured = l->last = index;
    l->inline_floor = index;
}

struct log_slot *log_slot(const struct log *l, uint64_t index)
{
    return index > l->base_index && index <= l->last ? slot_at(l, index) : NULL;
}

struct entry *log_entry(const struct log *l, uint64_t index)
{
    struct log_slot *s = log_slot(l, index);
    return s != NULL ? s->entry : NULL;
}

bool log_has(const struct log *l, uint64_t index)
{
    return index >= l->base_index && index <= l->last;
}

uint64_t log_term(const struct log *l, uint64_t index)
{
    if (index == l->base_index) {
        return l->base_term;
    }
    struct log_slot *s = log_slot(l, index);
    return s != NULL ? s->entry->term : 0;
}

struct log_position log_position(const struct log *l)
{
    return (struct log_position){.term = log_term(l, l->submitted), .index = l->submitted};
}

static uint64_t size_end(const struct log *l, uint64_t index)
{
    return index <= l->base_index ? l->base_size : slot_at(l, index)->size_end;
}

static void grow(struct log *l)
{
    uint64_t capacity = l->capacity * 2;
    struct log_slot *slots = xcalloc(capacity, sizeof(*slots));
    for (uint64_t i = l->base_index + 1; i <= l->last; i++) {
        slots[i & (capacity - 1)] = *slot_at(l, i);
    }
    free(l->slots);
    l->slots = slots;
    l->capacity = capacity;
}

struct log_slot *log_append(struct log *l, struct entry *e, time_us now)
{
    assert(e->index == l->last + 1);
    assert(e->term >= log_term(l, l->last));
    if (l->last - l->base_index == l->capacity) {
        grow(l);
    }
    uint64_t before = size_end(l, l->last);
    l->last++;
    struct log_slot *s = slot_at(l, l->last);
    *s = (struct log_slot){
        .entry = entry_ref(e), .size_end = before + entry_size(e), .appended_at = now};
    l->inline_bytes += inline_size(e);
    return s;
}

void log_fill(struct log *l, struct entry *e)
{
    struct log_slot *s = log_slot(l, e->index);
    assert(s != NULL);
    assert(s->entry->term == e->term);
    l->inline_bytes += inline_size(e);
    l->inline_bytes -= inline_size(s->entry);
    entry_ref(e);
    entry_unref(s->entry);
    s->entry = e;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void log_cut(struct log *l, uint64_t index)
{
    assert(index > l->base_index);
    while (l->last >= index) {
        slot_clear(l, l->last);
        l->last--;
    }
    l->ensured = least(l->ensured, l->last);
    l->submitted = least(l->submitted, l->last);
    l->durable = least(l->durable, l->last);
    l->inline_floor = least(l->inline_floor, l->last);
}

void log_forget(struct log *l, uint64_t index)
{
    assert(index <= l->durable);
    if (index <= l->base_index) {
        return;
    }
    uint64_t term = log_term(l, index);
    l->base_size = size_end(l, index);
    for (uint64_t i = l->base_index + 1; i <= index; i++) {
        slot_clear(l, i);
    }
    l->base_index = index;
    l->base_term = term;
    if (l->inline_floor < index) {
        l->inline_floor = index;
    }
}

void log_move_ensured(struct log *l)
{
    while (l->ensured < l->last && slot_at(l, l->ensured + 1)->ensured) {
        l->ensured++;
    }
}

uint64_t log_bytes(const struct log *l, uint64_t after, uint64_t upto)
{
    if (after >= upto) {
        return 0;
    }
    return size_end(l, upto) - size_end(l, after);
}

void log_drop_inline(struct log *l, uint64_t upto, uint64_t budget)
{
    while (l->inline_bytes > budget && l->inline_floor < least(upto, l->last)) {
        l->inline_floor++;
        struct log_slot *s = slot_at(l, l->inline_floor);
        if (s->entry->inline_bytes == NULL) {
            continue;
        }
        struct entry *bare = entry_without_bytes(s->entry);
        l->inline_bytes -= inline_size(s->entry);
        entry_unref(s->entry);
        s->entry = bare;
    }
}

uint64_t log_find_conflict(const struct log *l, uint64_t index, uint64_t term)
{
    index = least(index, l->last);
    while (index > l->base_index && log_term(l, index) > term) {
        index--;
    }
    return index;
}

void log_check(const struct log *l)
{
    assert(l->base_index <= l->durable);
    assert(l->durable <= l->submitted);
    assert(l->submitted <= l->ensured);
    assert(l->ensured <= l->last);
    uint64_t term = l->base_term, size = l->base_size, inline_bytes = 0;
    for (uint64_t i = l->base_index + 1; i <= l->last; i++) {
        const struct log_slot *s = slot_at(l, i);
        assert(s->entry != NULL);
        assert(s->entry->index == i);
        assert(s->entry->term >= term);
        assert(s->size_end > size);
        assert(i > l->ensured || s->ensured);
        assert(!s->ensured || s->ensure == 0);
        term = s->entry->term;
        size = s->size_end;
        inline_bytes += inline_size(s->entry);
    }
    assert(inline_bytes == l->inline_bytes);
}
