#include "tests/sim/test_history.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct history h;
time_us led_since, led_until;

void setup(void)
{
    test_run_start();
    led_since = 0;
    led_until = TIME_NEVER;
}

void setup_session(void)
{
    setup();
    h.session_mounts = UINT32_MAX;
}

void teardown(void)
{
    history_done(&h);
}

bool check_election_steady(time_us from, time_us to)
{
    return led_since <= from && to < led_until;
}

/* Mount m; times in any unit. */
struct history_op *add(enum history_kind kind, uint32_t mount, time_us start, time_us end)
{
    struct history_op op = {
        .kind = kind, .mount = mount, .app = 1, .life = 1, .session = 10 + mount};
    op.start = start;
    op.end = end;
    vec_push(&h.ops, op);
    return &h.ops.items[h.ops.count - 1];
}

struct history_op *put(uint32_t mount, time_us start, time_us end, uint32_t unit, uint32_t units,
                       uint64_t stamp)
{
    struct history_op *op = add(H_WRITE, mount, start, end);
    op->file = FILE_A;
    op->page = unit;
    op->pages = units;
    op->stamp = stamp;
    op->bytes = (uint64_t)units * HISTORY_UNIT;
    return op;
}

struct history_op *truncated(uint32_t mount, time_us start, time_us end, uint32_t units)
{
    struct history_op *op = add(H_TRUNCATE, mount, start, end);
    op->file = FILE_A;
    op->pages = units;
    return op;
}

struct history_op *synced(uint32_t mount, time_us start, time_us end)
{
    struct history_op *op = add(H_FSYNC, mount, start, end);
    op->file = FILE_A;
    return op;
}

static struct history_op *with_stamps(struct history_op *op, uint32_t count, va_list values)
{
    op->stamps = xcalloc(count + 1, sizeof *op->stamps);
    op->stamps_count = count;
    for (uint32_t i = 0; i < count; i++)
        op->stamps[i] = (uint64_t)va_arg(values, int);
    return op;
}

/* Reads units unit .. unit + count - 1, with their values as ints. */
struct history_op *got(uint32_t mount, time_us start, time_us end, uint32_t unit, uint32_t count,
                       ...)
{
    va_list values;
    struct history_op *op = add(H_READ, mount, start, end);
    op->file = FILE_A;
    op->page = unit;
    op->pages = count;
    va_start(values, count);
    with_stamps(op, count, values);
    va_end(values);
    return op;
}

struct history_op *appended(uint32_t mount, time_us start, time_us end, uint64_t stamp)
{
    struct history_op *op = add(H_APPEND, mount, start, end);
    op->file = FILE_A;
    op->stamp = stamp;
    op->bytes = HISTORY_RECORD;
    return op;
}

struct history_op *records(uint32_t mount, time_us start, time_us end, uint32_t count, ...)
{
    va_list values;
    struct history_op *op = add(H_READ_ALL, mount, start, end);
    op->file = FILE_A;
    op->pages = 2;
    va_start(values, count);
    with_stamps(op, count, values);
    va_end(values);
    return op;
}

struct history_op *on_path(enum history_kind kind, uint32_t mount, time_us start, time_us end,
                           const char *path, int err)
{
    struct history_op *op = add(kind, mount, start, end);
    op->path = xstrdup(path);
    op->err = err;
    op->exclusive = kind == H_CREATE;
    return op;
}

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Listing of the root, with `count` names of files. */
struct history_op *listed(uint32_t mount, time_us start, time_us end, uint32_t count, ...)
{
    va_list values;
    struct history_op *op = on_path(H_LIST, mount, start, end, "/", 0);
    op->stamps = xcalloc(count + 1, sizeof *op->stamps);
    op->stamps_count = count;
    va_start(values, count);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = va_arg(values, const char *);
        op->stamps[i] = hash64(name, strlen(name));
    }
    va_end(values);
    qsort(op->stamps, count, sizeof *op->stamps, compare);
    return op;
}

void killed(uint32_t mount, time_us at)
{
    add(H_MOUNT_KILLED, mount, at, at)->session = 0;
}

struct history_op *stat_of(uint32_t mount, time_us start, time_us end, int64_t mtime)
{
    struct history_op *op = add(H_STAT, mount, start, end);
    op->file = FILE_A;
    op->mtime = mtime;
    return op;
}
