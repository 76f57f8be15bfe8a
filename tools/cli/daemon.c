#include "tools/cli/daemon.h"

#include <malloc.h>
#include <sys/resource.h>

enum {
    NICE = -10,
    /* Blocks of a MiB come and go with every frame. Below this they are taken from the heap, which
     * keeps them: a fresh mapping is 256 page faults, and costs more than copying the bytes. */
    MAP_FROM = 4 << 20,
    KEEP_FREE = 8 << 20, /* what the heap keeps at its end */
};

void daemon_prepare(void)
{
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    (void)mallopt(M_MMAP_THRESHOLD, MAP_FROM);
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
    (void)mallopt(M_TOP_PAD, 1 << 20);
    (void)mallopt(M_ARENA_MAX, 1); /* threads pass memory on to one another here */
}
