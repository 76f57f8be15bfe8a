/* The run: moments in their order, chance, counters, verdicts. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repl/base/vec.h"
#include "repl/io/log.h"
#include "tests/sim/sim_internal.h"

/* Moments are ordered by time, and within one by when they were planned. The low bits of `order`
 * name the event's place in the pool. */
enum { SLOT_BITS = 20 };

struct moment {
    time_us at;
    uint64_t order;
};

struct sim {
    struct sim_options options;
    struct sim_swarm swarm;
    struct sim_result result;
    time_us now;
    uint64_t random[RND_COUNT];
    uint64_t planned;
    vec_of(struct moment) heap;
    vec_of(struct sim_event) pool;
    vec_of(uint32_t) free_slots;
};

struct sim *sim;

/* ---- time and chance ------------------------------------------------------------------------- */

time_us sim_now(void)
{
    return sim->now;
}

const struct sim_swarm *sim_swarm(void)
{
    return &sim->swarm;
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sim_random(enum sim_stream stream)
{
    return splitmix(&sim->random[stream]);
}

uint64_t sim_below(enum sim_stream stream, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)sim_random(stream) * n) >> 64);
}

uint64_t sim_between(enum sim_stream stream, uint64_t low, uint64_t high)
{
    return low + sim_below(stream, high - low + 1);
}

bool sim_chance(enum sim_stream stream, uint32_t per_million)
{
    return sim_below(stream, 1000000) < per_million;
}

/* Without libm, whose last digits differ from machine to machine: -ln(u) from the exponent of u and
 * a straight line between powers of two (at most 6 % off, which nobody notices here). */
time_us sim_exp(enum sim_stream stream, time_us mean)
{
    uint64_t u = sim_random(stream) | 1;
    unsigned zeros = (unsigned)__builtin_clzll(u);
    uint64_t fraction = zeros < 63 ? (u << (zeros + 1)) >> 44 : 0; /* 20 bits below the first one */
    uint64_t log2_20 = ((uint64_t)(zeros + 1) << 20) - fraction;
    return (time_us)((((unsigned __int128)mean * log2_20) >> 20) * 693147 / 1000000) + 1;
}

/* ---- moments --------------------------------------------------------------------------------- */

static bool before(const struct moment *a, const struct moment *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sift_up(size_t i)
{
    struct moment *heap = sim->heap.items, m = heap[i];
    while (i > 0 && before(&m, &heap[(i - 1) / 4])) {
        heap[i] = heap[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    heap[i] = m;
}

static void sift_down(size_t i)
{
    struct moment *heap = sim->heap.items, m = heap[i];
    size_t count = sim->heap.count;
    for (;;) {
        size_t first = 4 * i + 1, least = first;
        if (first >= count)
            break;
        for (size_t c = first + 1; c < first + 4 && c < count; c++)
            if (before(&heap[c], &heap[least]))
                least = c;
        if (!before(&heap[least], &m))
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = m;
}

void sim_plan(time_us at, const struct sim_event *event)
{
    uint32_t slot;
    if (sim->free_slots.count) {
        slot = vec_pop(&sim->free_slots);
        sim->pool.items[slot] = *event;
    } else {
        slot = (uint32_t)sim->pool.count;
        assert(slot < 1u << SLOT_BITS);
        vec_push(&sim->pool, *event);
    }
    struct moment m = {.at = time_max(at, sim->now), .order = sim->planned++ << SLOT_BITS | slot};
    vec_push(&sim->heap, m);
    sift_up(sim->heap.count - 1);
}

void sim_at(time_us at, sim_fn *fn, void *ctx, uint64_t arg)
{
    struct sim_event e = {.fn = fn, .ctx = ctx, .arg = arg};
    sim_plan(at, &e);
}

static struct sim_event next_event(void)
{
    struct moment m = sim->heap.items[0];
    uint32_t slot = (uint32_t)(m.order & ((1u << SLOT_BITS) - 1));
    struct sim_event e = sim->pool.items[slot];
    vec_push(&sim->free_slots, slot);
    sim->heap.items[0] = vec_pop(&sim->heap);
    if (sim->heap.count)
        sift_down(0);
    sim->now = m.at;
    sim->result.counts[COUNT_EVENTS]++;
    sim_mix(m.at, m.order >> SLOT_BITS);
    return e;
}

/* Until this moment is through, or `done` says so. */
void sim_run_until(time_us until, bool (*done)(void))
{
    while (!sim->result.failed && sim->heap.count && sim->heap.items[0].at <= until) {
        struct sim_event e = next_event();
        if (e.process)
            process_event(&e);
        else
            e.fn(e.ctx, e.arg);
        if (done && done())
            return;
    }
    if (!sim->result.failed && sim->now < until)
        sim->now = until;
}

/* ---- verdicts -------------------------------------------------------------------------------- */

void sim_complain(const char *checker, const char *format, ...)
{
    if (sim->result.failed)
        return;
    sim->result.failed = true;
    (void)snprintf(sim->result.checker, sizeof sim->result.checker, "%s", checker);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sim->result.detail, sizeof sim->result.detail, format, args);
    va_end(args);
    sim_trace("VIOLATION %s: %s", sim->result.checker, sim->result.detail);
}

bool sim_failed(void)
{
    return sim->result.failed;
}

bool sim_tracing(void)
{
    return sim->options.trace;
}

static void trace_prefix(void)
{
    fprintf(stderr, "%3llu.%06llu ", (unsigned long long)(sim->now / TIME_S),
            (unsigned long long)(sim->now % TIME_S));
    uint32_t who = process_current();
    if (who)
        fprintf(stderr, "%c%u ", who <= process_nodes() ? 'n' : 'm',
                who <= process_nodes() ? who : who - process_nodes());
}

void sim_trace(const char *format, ...)
{
    if (!sim->options.trace)
        return;
    va_list args;
    va_start(args, format);
    trace_prefix();
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void sim_mix(uint64_t a, uint64_t b)
{
    uint64_t h = sim->result.trace_hash ^ a;
    h = (h ^ (h >> 32)) * 0x9fb21c651e98df25u;
    h = (h ^ b ^ (h >> 29)) * 0xd6e8feb86659fd93u;
    sim->result.trace_hash = h ^ (h >> 31);
}

void sim_count(enum sim_counter counter, uint64_t n)
{
    sim->result.counts[counter] += n;
}

void sim_count_fault(enum sim_fault kind)
{
    sim->result.faults[kind]++;
}

void sim_count_mode(uint32_t role, uint32_t mode)
{
    sim->result.modes[role & 7][mode & 7]++;
}

/* ---- the log of the shipping code ------------------------------------------------------------ */

__attribute__((format(printf, 2, 0))) static void log_line(const char *word, const char *format,
                                                           va_list args)
{
    if (!sim_tracing())
        return;
    trace_prefix();
    fprintf(stderr, "%s ", word);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void log_info(const char *event, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(event, format, args);
    va_end(args);
}

void log_warn(const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(code, format, args);
    va_end(args);
}

void log_error(const char *code, const char *format, ...)
{
    char text[256];
    va_list args, copy;
    va_start(args, format);
    va_copy(copy, args);
    (void)vsnprintf(text, sizeof text, format, copy);
    va_end(copy);
    log_line(code, format, args);
    va_end(args);
    process_last_words(text);
}

/* ---- a run's beginning and end --------------------------------------------------------------- */

void sim_begin(const struct sim_options *options)
{
    assert(!sim);
    sim = xcalloc(1, sizeof *sim);
    sim->options = *options;
    sim->now = 1 * TIME_S; /* 0 means "never" in many places */
    for (uint64_t i = 0; i < RND_COUNT; i++) {
        uint64_t state = options->seed * 0xd1342543de82ef95u + i;
        sim->random[i] = splitmix(&state) ^ splitmix(&state) << 1;
    }
    sim_draw_swarm(options->seed, &sim->swarm);
    if (options->no_locks)
        sim->swarm.locks = false;
    if (options->no_ranges)
        sim->swarm.ranges = false;
    if (options->no_attrs)
        sim->swarm.attrs = false;
    if (options->no_setid)
        sim->swarm.setid = false;
    if (options->no_known_bytes)
        sim->swarm.known_bytes = false;
    if (options->no_late_lists)
        sim->swarm.late_lists = false;
    if (options->no_idle_files)
        sim->swarm.idle_files = false;
    if (options->no_kept)
        sim->swarm.kept_bytes = 0;
    if (sim->swarm.mixed_mounts && !options->no_mix)
        sim->swarm.session_mounts = sim->swarm.mixed_mounts;
    if (options->mounts_max && sim->swarm.mounts > options->mounts_max)
        sim->swarm.mounts = options->mounts_max;
    if (options->apps_max && sim->swarm.apps > options->apps_max)
        sim->swarm.apps = options->apps_max;
    sim->swarm.faults &= ~options->faults_off;
}

struct sim_result sim_end(void)
{
    struct sim_result result = sim->result;
    result.virtual_us = sim->now;
    result.swarm = sim->swarm;
    vec_done(&sim->heap);
    vec_done(&sim->pool);
    vec_done(&sim->free_slots);
    free(sim);
    sim = NULL;
    return result;
}
