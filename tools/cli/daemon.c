#include "tools/cli/daemon.h"

#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

#include "repl/base/mem.h"

#define STARTED_AGAIN "TALLY_STARTED_AGAIN"

enum {
    NICE = -10,
    /* Blocks of a MiB come and go with every frame. Below this they are taken from the heap, which
     * keeps them: a fresh mapping is 256 page faults, and costs more than copying the bytes. */
    MAP_FROM = 4 << 20,
    /* What the heap keeps at its end, for the same reason: more than blocks under way come to. It
     * is given back by daemon_memory. */
    KEEP_FREE = 64 << 20,
    BUSY_BYTES = 1 << 20,  /* made so many bytes of blobs: worth a look when it ends ... */
    QUIET_BYTES = 1 << 16, /* ... which is a second with less than these ... */
    BULK_BYTES = 16 << 20, /* ... or more seldom one with less than these */
    TRIM_AFTER_MS = 1000,
    TRIM_SELDOM = 10,    /* seconds */
    TRIM_FROM = 8 << 20, /* of less there is nothing to be given back */
    TRIM_LEAVES = 2 << 20,
};

/* A heap that has grown is 256 page faults per MiB, where 512 of its pages could come at once. The
 * allocator asks for that only when its environment says so.
 *
 * Once at most: the loader may drop what we set. It does with capabilities of the file, or set-id
 * bits; and called by name with the program as its argument, it is what /proc/self/exe is. */
void daemon_want_large_pages(char **argv)
{
    static const char name[] = "GLIBC_TUNABLES", wish[] = "glibc.malloc.hugetlb=1";
    const char *set = getenv(name);
    char path[PATH_MAX], all[1024];
    bool by_loader = getauxval(AT_BASE) == 0;
    if (getenv(STARTED_AGAIN) || getauxval(AT_SECURE) || by_loader ||
        (set && strstr(set, "glibc.malloc.hugetlb")))
        return;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    int size = snprintf(all, sizeof all, "%s%s%s", set ? set : "", set && *set ? ":" : "", wish);
    if (n < 0 || (size_t)size >= sizeof all || setenv(name, all, 1) < 0 ||
        setenv(STARTED_AGAIN, "1", 1) < 0)
        return;
    path[n] = '\0';
    (void)execv(path, argv); /* else it goes on without */
}

void daemon_prepare(void)
{
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    (void)mallopt(M_MMAP_THRESHOLD, MAP_FROM);
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
    (void)mallopt(M_TOP_PAD, 1 << 20);
    (void)mallopt(M_ARENA_MAX, 1); /* threads pass memory on to one another here */
}

static uint64_t made_since(const struct daemon_memory *m)
{
    return blob_bytes_made() - m->made;
}

/* Memory that is needed again soon must stay: to take it anew costs more than most operations. */
static void on_timer(uv_timer_t *timer)
{
    struct daemon_memory *m = timer->data;
    uint64_t made = made_since(m);
    m->made = blob_bytes_made();
    m->seconds++;
    if (made < QUIET_BYTES)
        (void)uv_timer_stop(timer);
    else if (made >= BULK_BYTES || m->seconds < TRIM_SELDOM)
        return;
    m->seconds = 0;
    if (mallinfo2().fordblks >= TRIM_FROM)
        (void)malloc_trim(TRIM_LEAVES); /* also what lies between other things */
}

static void on_check(uv_check_t *check)
{
    struct daemon_memory *m = check->data;
    if (made_since(m) >= BUSY_BYTES && !uv_is_active((uv_handle_t *)&m->timer))
        (void)uv_timer_start(&m->timer, on_timer, TRIM_AFTER_MS, TRIM_AFTER_MS);
}

void daemon_memory_start(struct daemon_memory *m, uv_loop_t *loop)
{
    m->made = 0;
    m->seconds = 0;
    (void)uv_check_init(loop, &m->check);
    (void)uv_timer_init(loop, &m->timer);
    m->check.data = m->timer.data = m;
    (void)uv_check_start(&m->check, on_check);
}

void daemon_memory_stop(struct daemon_memory *m)
{
    uv_close((uv_handle_t *)&m->check, NULL);
    uv_close((uv_handle_t *)&m->timer, NULL);
}
