#include "tests/unit/repl/io/power_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/repl/io/volatile_disk.h"

enum { KEYS = 16, SESSION = 5, WHY_SIZE = 256 };

static char why[WHY_SIZE];

__attribute__((format(printf, 1, 2))) static const char *wrong(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return why;
}

struct model *model_new(enum store_kind kind)
{
    struct model *m = xcalloc(1, sizeof *m);
    m->kind = kind;
    return m;
}

void model_free(struct model *m)
{
    for (size_t i = 0; i < m->pasts.count; i++) {
        vec_done(&m->pasts.items[i]->kills);
        vec_done(&m->pasts.items[i]->needs);
        free(m->pasts.items[i]);
    }
    vec_done(&m->pasts);
    vec_done(&m->steps);
    free(m);
}

/* ---- blocks and entries ---------------------------------------------------------------------- */

static struct blob *bytes_of(uint64_t name, uint32_t size)
{
    struct blob *b = blob_new(size);
    uint64_t state = name, word = 0;
    for (uint32_t i = 0; i < size; i++, word >>= 8) {
        if (i % 8 == 0)
            word = disk_random(&state);
        b->data[i] = (uint8_t)word;
    }
    return b;
}

uint64_t model_name_new(struct model *m, uint64_t *random)
{
    static const uint32_t most[] = {700, 5000, 5000, 20000, 30000, 70000, 600000};
    uint32_t size = 1 + (uint32_t)(disk_random(random) % most[disk_random(random) % 7]);
    if (size > 262144)
        size = size / 4096 * 4096; /* goes past the page cache */
    uint64_t name = ++m->names;
    struct blob *b = bytes_of(name, size);
    m->refs[name] = (struct block_ref){{SESSION, name}, size, block_digest(b->data, size)};
    blob_unref(b);
    return name;
}

struct blob *model_bytes(const struct model *m, uint64_t name)
{
    return bytes_of(name, m->refs[name].size);
}

struct past *model_past_new(struct model *m, uint64_t index, uint64_t term)
{
    struct past *p = xcalloc(1, sizeof *p);
    p->index = index;
    p->term = term;
    vec_push(&m->pasts, p);
    return p;
}

struct entry *model_entry(const struct model *m, const struct past *p)
{
    char text[64];
    struct block_ref refs[PAST_BLOCKS];
    struct blob *bytes = NULL;
    uint32_t size = 0;
    (void)snprintf(text, sizeof text, "entry %llu of term %llu", (unsigned long long)p->index,
                   (unsigned long long)p->term);
    for (unsigned i = 0; i < p->count; i++) {
        refs[i] = m->refs[p->names[i]];
        size += refs[i].size;
    }
    if (p->inl) {
        uint32_t at = 0;
        bytes = blob_new(size);
        for (unsigned i = 0; i < p->count; i++) {
            struct blob *b = model_bytes(m, p->names[i]);
            memcpy(bytes->data + at, b->data, b->size);
            at += (uint32_t)b->size;
            blob_unref(b);
        }
    }
    struct blob *payload = blob_copy(text, strlen(text));
    struct entry *e = entry_new(p->term, p->index, ENTRY_OP, payload, refs, p->count, bytes);
    blob_unref(payload);
    blob_unref(bytes);
    return e;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void cut_above(struct state *s, uint64_t index)
{
    for (uint64_t i = index + 1; i <= s->last; i++)
        s->at[i] = NULL;
    s->last = index;
}

static void state_step(struct state *s, const struct step *step)
{
    switch (step->kind) {
    case STEP_ENTRY:
        cut_above(s, step->past->index - 1);
        s->at[step->past->index] = step->past;
        s->last = step->past->index;
        return;
    case STEP_VOTE:
        s->term = step->term;
        s->vote = step->vote;
        return;
    case STEP_BASE:
    case STEP_SWITCH:
        if (!step->keeps) {
            if (step->index < s->last)
                cut_above(s, step->index);
            s->last = step->index;
        }
        if (step->past)
            s->at[step->index] = step->past;
        s->base = step->index;
        s->base_term = step->term;
        return;
    }
}

void model_step(struct model *m, struct step step)
{
    vec_push(&m->steps, step);
    state_step(&m->now, &step);
}

static void acked(struct model *m, size_t count)
{
    for (size_t i = 0; i < count; i++)
        state_step(&m->surely, &m->steps.items[i]);
    m->steps.count -= count;
    if (m->steps.count)
        memmove(m->steps.items, m->steps.items + count, m->steps.count * sizeof m->steps.items[0]);
}

void model_acked(struct model *m, uint64_t ticket)
{
    size_t count = 0;
    for (size_t i = 0; i < m->steps.count; i++)
        if (m->steps.items[i].ticket && m->steps.items[i].ticket <= ticket)
            count = i + 1;
    acked(m, count);
}

void model_acked_all(struct model *m)
{
    acked(m, m->steps.count);
}

void model_dead(const struct state *s, uint64_t applied, bool *dead)
{
    memset(dead, 0, NAMES_MAX);
    for (uint64_t i = 1; i <= applied && i <= s->last; i++)
        for (size_t k = 0; s->at[i] && k < s->at[i]->kills.count; k++)
            dead[s->at[i]->kills.items[k]] = true;
}

void model_apply_keys(struct kv_batch *batch, uint64_t index)
{
    for (uint64_t i = index > KEYS ? index - KEYS + 1 : 1; i <= index; i++) {
        uint8_t key[2] = {'k', (uint8_t)(i % KEYS)};
        kv_batch_put(batch, STORE_TABLE_STATE, key, sizeof key, &i, sizeof i);
    }
}

/* ---- checks ---------------------------------------------------------------------------------- */

struct loaded {
    struct model *m;
    struct past *at[INDEX_MAX];
    const char *wrong;
};

static struct past *past_find(struct model *m, uint64_t index, uint64_t term)
{
    for (size_t i = 0; i < m->pasts.count; i++) {
        struct past *p = m->pasts.items[i];
        if (p->index == index && p->term == term && !p->snapshot)
            return p;
    }
    return NULL;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
    if (a->payload->size != b->payload->size || a->blocks_count != b->blocks_count ||
        memcmp(a->payload->data, b->payload->data, a->payload->size) != 0)
        return false;
    for (uint32_t i = 0; i < a->blocks_count; i++)
        if (!block_name_equal(a->blocks[i].name, b->blocks[i].name) ||
            a->blocks[i].size != b->blocks[i].size || a->blocks[i].digest != b->blocks[i].digest)
            return false;
    return true;
}

static int on_loaded(void *ctx, struct entry *e)
{
    struct loaded *l = ctx;
    struct past *p = past_find(l->m, e->index, e->term);
    if (!p) {
        l->wrong = wrong("entry %llu of term %llu was never written", (unsigned long long)e->index,
                         (unsigned long long)e->term);
        return -1;
    }
    struct entry *want = model_entry(l->m, p);
    bool same = same_entry(want, e);
    if (e->inline_bytes)
        same &=
            want->inline_bytes && want->inline_bytes->size == e->inline_bytes->size &&
            memcmp(want->inline_bytes->data, e->inline_bytes->data, want->inline_bytes->size) == 0;
    else
        same &= !want->inline_bytes || (l->m->kind == STORE_WITNESS && e->index <= l->m->demoted);
    entry_unref(want);
    if (!same) {
        l->wrong = wrong("entry %llu is not what was written", (unsigned long long)e->index);
        return -1;
    }
    l->at[e->index] = p;
    return 0;
}

/* Is the log as after these steps? */
static bool fits(const struct model *m, const struct state *s, const struct store_recovered *info,
                 const struct loaded *l)
{
    uint64_t base = info->base_index;
    if (info->term != s->term || info->vote != s->vote || info->last_index != s->last ||
        base < s->base || (base > s->base && base > m->truncated) || base > s->last)
        return false;
    uint64_t base_term = base == s->base ? s->base_term : s->at[base] ? s->at[base]->term : 0;
    if (info->base_term != base_term)
        return false;
    for (uint64_t i = base + 1; i <= s->last; i++)
        if (l->at[i] != s->at[i])
            return false;
    return true;
}

struct reading {
    const struct model *m;
    struct store *s;
    const char *wrong;
    uint64_t name;
    int status;
    bool same;
    bool held[NAMES_MAX];
};

static void on_read(void *ctx, int status, struct blob *bytes)
{
    struct reading *r = ctx;
    struct blob *want = model_bytes(r->m, r->name);
    r->status = status;
    r->same =
        bytes && bytes->size == want->size && memcmp(bytes->data, want->data, want->size) == 0;
    blob_unref(want);
}

static bool on_held(void *ctx, const struct block_ref *ref)
{
    struct reading *r = ctx;
    uint64_t n = ref->name.n;
    if (ref->name.session != SESSION || n == 0 || n > r->m->names ||
        r->m->refs[n].size != ref->size || r->m->refs[n].digest != ref->digest) {
        r->wrong = wrong("it holds block %llu that nobody made", (unsigned long long)n);
        return false;
    }
    r->held[n] = true;
    return true;
}

/* Each name it says it holds can be read. */
static const char *check_held(struct reading *r)
{
    store_each_block(r->s, on_held, r);
    if (r->wrong)
        return r->wrong;
    for (uint64_t n = 1; n <= r->m->names; n++) {
        if (!r->held[n])
            continue;
        r->name = n;
        store_read(r->s, r->m->refs[n].name, 0, r->m->refs[n].size, on_read, r);
        store_drain(r->s);
        if (r->status < 0 || !r->same)
            return wrong("block %llu is said to be held, and read as %d%s", (unsigned long long)n,
                         r->status, r->status == 0 ? ", other bytes" : "");
        if (store_is_missing(r->s, r->m->refs[n].name))
            return wrong("block %llu is held and missing", (unsigned long long)n);
        if (r->m->gone[n])
            return wrong("block %llu was dropped durably and is back", (unsigned long long)n);
    }
    return NULL;
}

static const char *check_names(struct model *m, const struct state *s, struct reading *r,
                               uint64_t applied, uint64_t base)
{
    bool dead[NAMES_MAX], named[NAMES_MAX] = {0};
    /* Their bytes may be gone before the state that drops them is durable: nobody needs them, as
     * the log has the entry that drops them again. */
    model_dead(s, m->applied_max, dead);
    for (uint64_t n = 1; n <= m->names; n++)
        m->dying[n] |= dead[n];
    model_dead(s, applied, dead);
    for (uint64_t i = 1; i <= s->last; i++) {
        const struct past *p = s->at[i];
        if (!p)
            continue;
        for (size_t k = 0; k < p->needs.count + p->count; k++) {
            bool need = k < p->needs.count;
            uint64_t n = need ? p->needs.items[k] : p->names[k - p->needs.count];
            bool bytes = m->promised[n] || (!need && p->held[k - p->needs.count]);
            if (m->kind == STORE_WITNESS && (i <= base || i <= m->demoted))
                continue;
            named[n] = true;
            if (dead[n] || m->dying[n])
                continue;
            if (bytes && !r->held[n])
                return wrong("block %llu of entry %llu is lost%s", (unsigned long long)n,
                             (unsigned long long)i,
                             store_is_missing(r->s, m->refs[n].name) ? " (missing)" : "");
            if (m->kind == STORE_COPY && !r->held[n] && !store_is_missing(r->s, m->refs[n].name))
                return wrong("block %llu of entry %llu is neither held nor missing",
                             (unsigned long long)n, (unsigned long long)i);
        }
    }
    for (uint64_t n = 1; n <= m->names; n++) {
        bool there = r->held[n] || store_is_missing(r->s, m->refs[n].name);
        if (there && dead[n] && !m->left[n])
            return wrong("block %llu died at or below entry %llu and is back (%s)",
                         (unsigned long long)n, (unsigned long long)applied,
                         r->held[n] ? "held" : "missing");
        if (!r->held[n] && there && !named[n] && !m->left[n])
            return wrong("block %llu is missing and no entry names it", (unsigned long long)n);
    }
    return NULL;
}

static const char *check_state(const struct model *m, struct store *s, uint64_t applied)
{
    struct bytes_writer value = {0};
    const char *bad = NULL;
    if (applied < m->applied_min || applied > m->applied_max)
        bad = wrong("applied is %llu, and was %llu durably, %llu at most",
                    (unsigned long long)applied, (unsigned long long)m->applied_min,
                    (unsigned long long)m->applied_max);
    for (uint64_t k = 0; k < KEYS && !bad; k++) {
        uint8_t key[2] = {'k', (uint8_t)k};
        uint64_t want = applied - (applied + KEYS - k) % KEYS, have = 0;
        if (applied < (applied + KEYS - k) % KEYS)
            want = 0;
        if (kv_get(store_kv(s), STORE_TABLE_STATE, key, sizeof key, &value) == 0 &&
            value.size == sizeof have)
            memcpy(&have, value.data, sizeof have);
        if (have != want)
            bad =
                wrong("the state is not that of entry %llu: key %llu says %llu",
                      (unsigned long long)applied, (unsigned long long)k, (unsigned long long)have);
    }
    bytes_writer_done(&value);
    return bad;
}

static const char *check_log(struct model *m, struct store *s, const struct store_recovered *info,
                             size_t *ret_steps, struct state *state)
{
    struct loaded *l = xcalloc(1, sizeof *l);
    l->m = m;
    int rc = store_load_entries(s, on_loaded, l);
    const char *bad = l->wrong;
    *state = m->surely;
    *ret_steps = 0;
    while (rc == 0 && !fits(m, state, info, l)) {
        if (*ret_steps == m->steps.count) {
            bad =
                wrong("the log (%llu..%llu, term %llu, vote %u) is as after no step; the last was "
                      "%llu, %llu surely",
                      (unsigned long long)info->base_index, (unsigned long long)info->last_index,
                      (unsigned long long)info->term, info->vote, (unsigned long long)m->now.last,
                      (unsigned long long)m->surely.last);
            break;
        }
        state_step(state, &m->steps.items[(*ret_steps)++]);
    }
    if (rc < 0 && !bad)
        bad = wrong("an entry cannot be read: %d", rc);
    free(l);
    return bad;
}

/* Their entries were lost; a place or a missing mark may have come before them. */
static void leave_lost(struct model *m, size_t steps)
{
    for (size_t i = steps; i < m->steps.count; i++) {
        const struct past *p = m->steps.items[i].past;
        for (unsigned k = 0; p && k < p->count; k++)
            m->left[p->names[k]] = true;
        for (size_t k = 0; p && k < p->needs.count; k++)
            m->left[p->needs.items[k]] = true;
    }
}

const char *model_check(struct model *m, struct store *s, const struct store_recovered *info,
                        bool settled)
{
    struct state *state = xmalloc(sizeof *state);
    struct reading *r = xcalloc(1, sizeof *r);
    struct store_stats stats;
    size_t steps;
    *r = (struct reading){.m = m, .s = s};
    const char *bad = check_log(m, s, info, &steps, state);
    if (!bad && m->kind == STORE_COPY)
        bad = check_state(m, s, info->applied);
    if (!bad && m->kind == STORE_COPY && info->applied > state->last)
        bad = wrong("applied is above the log");
    if (!bad && info->whole_index > m->whole_max)
        bad = wrong("whole_index was never said");
    leave_lost(m, steps);
    if (!bad)
        bad = check_held(r);
    if (!bad)
        bad = check_names(m, state, r, info->applied, info->base_index);
    store_stats(s, &stats);
    if (!bad && (info->entries_damaged || stats.damaged))
        bad = wrong("something is damaged");
    if (!bad && settled) {
        acked(m, steps);
        m->steps.count = 0;
        m->now = m->surely;
        m->applied_min = m->applied_max = info->applied;
    }
    free(r);
    free(state);
    return bad ? bad : "";
}
