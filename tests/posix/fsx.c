/* fsx: random operations on one file, each through a randomly chosen path of it (the same file at
 * several mounts), compared with a twin in memory. The first difference ends it, with the seed, the
 * operation's number and the last operations before it; the same arguments do the same again.
 *
 *     fsx [-s SEED] [-n OPERATIONS] [-l SIZE_MAX] [-b BASE] [-v] PATH...
 *
 * BASE shifts the whole file to a large offset. What the file system does not support (EOPNOTSUPP
 * at the beginning) is left out and told. With -v every operation is printed before it is done. */
#include "tests/posix/fsx_twin.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VIEWS_MAX = 8, PAGE = 4096, COMPARE_EVERY = 500 };

enum how { PLAIN, APPEND, DSYNC, DIRECT, HOWS };

static const int how_flags[HOWS] = {O_RDWR, O_RDWR | O_APPEND, O_RDWR | O_DSYNC, O_RDWR | O_DIRECT};
static const char *const how_name[HOWS] = {"", " append", " dsync", " direct"};

struct view {
    const char *path;
    int fd[HOWS]; /* -1: not open now; each is opened when it is first needed */
};

static struct view views[VIEWS_MAX];
static unsigned view_count;
static bool can[3]; /* by enum: fallocate, zero range, punch */
enum { CAN_ALLOCATE, CAN_ZERO, CAN_PUNCH };

static uint64_t op_count = 10000;

static void on_bus_error(int number)
{
    (void)number; /* raised by our own access to a map, so anything may be called here */
    differ("SIGBUS in a map");
}

static int view_fd(struct view *v, enum how how)
{
    if (v->fd[how] < 0) {
        v->fd[how] = open(v->path, how_flags[how]);
        check_call(v->fd[how] >= 0, "open");
    }
    return v->fd[how];
}

static void do_read(struct view *v, unsigned i)
{
    size_t at, size;
    enum how how = draw_below(12) == 0 ? DIRECT : PLAIN;
    draw_range(size_max, &at, &size);
    if (how == DIRECT) {
        at -= at % PAGE;
        size = (size + PAGE - 1) / PAGE * PAGE;
    }
    tell("%u: read%s %zu at %zu", i, how_name[how], size, at);
    ssize_t got = pread(view_fd(v, how), scratch, size, base + (off_t)at);
    check_call(got >= 0, "read");
    size_t want = at >= twin_size ? 0 : at + size > twin_size ? twin_size - at : size;
    if ((size_t)got != want) {
        differ("read of %zu bytes at %zu gave %zd, not %zu", size, at, got, want);
    }
    compare(scratch, at, want, "read");
}

static void do_write(struct view *v, unsigned i)
{
    static const enum how hows[] = {PLAIN,  PLAIN,  PLAIN, PLAIN, PLAIN,
                                    APPEND, APPEND, DSYNC, DIRECT};
    enum how how = hows[draw_below(sizeof hows / sizeof hows[0])];
    size_t at, size;
    draw_range(size_max, &at, &size);
    if (how == DIRECT) {
        at -= at % PAGE;
        size = (size + PAGE - 1) / PAGE * PAGE;
    }
    if (how == APPEND) {
        at = twin_size;
    }
    size = at + size > size_max ? size_max - at : size;
    make_data(at, size);
    tell("%u: write%s %zu at %zu%s", i, how_name[how], size, at,
         at + size > twin_size ? " (longer)" : "");
    ssize_t put = pwrite(view_fd(v, how), scratch, size, base + (off_t)at);
    check_call(put >= 0, "write");
    if ((size_t)put != size) {
        differ("write of %zu bytes gave %zd", size, put);
    }
    if (size > 0) {
        twin_put(at, scratch, size);
    }
}

static void do_truncate(struct view *v, unsigned i)
{
    size_t size =
        draw_below(4) == 0 ? draw_below(size_max) : draw_below(twin_size + twin_size / 4 + 1);
    size = size > size_max ? size_max : size;
    if (draw_below(3) == 0) {
        size -= size % PAGE;
    }
    bool by_path = draw_below(2);
    tell("%u: %s %s to %zu", i, by_path ? "truncate" : "ftruncate",
         size < twin_size ? "down" : "up", size);
    int r = by_path ? truncate(v->path, base + (off_t)size)
                    : ftruncate(view_fd(v, PLAIN), base + (off_t)size);
    check_call(r == 0, "truncate");
    twin_resize(size);
}

/* Linux asks nobody how long a file is before it maps or copies a range of it: what was written
 * elsewhere counts from the next look at the size, which every program takes anyhow to know what to
 * map or to copy. */
static void learn_size(struct view *v)
{
    struct stat st;
    check_call(fstat(view_fd(v, PLAIN), &st) == 0, "fstat");
}

/* Maps, uses and unmaps; writes end with msync, from which on other mounts see them. */
static void do_map(struct view *v, unsigned i, bool writes)
{
    size_t at, size;
    draw_range(size_max, &at, &size);
    if (at >= twin_size) {
        at = draw_below(twin_size);
    }
    size = at + size > twin_size ? twin_size - at : size;
    if (size == 0) {
        tell("%u: no map of an empty file", i);
        return;
    }
    tell("%u: map %s %zu at %zu", i, writes ? "write" : "read", size, at);
    learn_size(v);
    size_t first = at - at % PAGE;
    unsigned char *map = mmap(NULL, at + size - first, PROT_READ | (writes ? PROT_WRITE : 0),
                              MAP_SHARED, view_fd(v, PLAIN), base + (off_t)first);
    check_call(map != MAP_FAILED, "mmap");
    if (writes) {
        make_data(at, size);
        memcpy(map + (at - first), scratch, size);
        check_call(msync(map, at + size - first, MS_SYNC) == 0, "msync");
        twin_put(at, scratch, size);
    } else {
        memcpy(scratch, map + (at - first), size);
        compare(scratch, at, size, "map read");
        size_t tail = (PAGE - (at + size) % PAGE) % PAGE;
        for (size_t k = 0; at + size == twin_size && k < tail; k++) {
            if (map[at - first + size + k] != 0) {
                differ("byte %zu after the end of the file is 0x%02x in its map", k,
                       map[at - first + size + k]);
            }
        }
    }
    check_call(munmap(map, at + size - first) == 0, "munmap");
}

static void do_allocate(struct view *v, unsigned i)
{
    static const struct {
        const char *name;
        int mode, needs;
    } kinds[] = {{"allocate", 0, CAN_ALLOCATE},
                 {"allocate, size kept", FALLOC_FL_KEEP_SIZE, CAN_ALLOCATE},
                 {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CAN_PUNCH},
                 {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, CAN_PUNCH},
                 {"zero", FALLOC_FL_ZERO_RANGE, CAN_ZERO},
                 {"zero, size kept", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, CAN_ZERO}};
    unsigned kind = (unsigned)draw_below(sizeof kinds / sizeof kinds[0]);
    size_t at, size;
    draw_range(size_max, &at, &size);
    if (!can[kinds[kind].needs]) {
        tell("%u: no %s here", i, kinds[kind].name);
        return;
    }
    tell("%u: %s %zu at %zu", i, kinds[kind].name, size, at);
    check_call(fallocate(view_fd(v, PLAIN), kinds[kind].mode, base + (off_t)at, (off_t)size) == 0,
               kinds[kind].name);
    if (kinds[kind].needs != CAN_ALLOCATE && at < twin_size) {
        twin_zero(at, at + size > twin_size ? twin_size : at + size);
    }
    if (!(kinds[kind].mode & FALLOC_FL_KEEP_SIZE) && at + size > twin_size) {
        twin_resize(at + size);
    }
}

/* Within the file; from one mount to another at times. */
static void do_copy(struct view *v, unsigned i)
{
    struct view *from = draw_below(4) == 0 ? &views[draw_below(view_count)] : v;
    size_t at, size, to = draw_below(size_max);
    draw_range(size_max, &at, &size);
    if (draw_below(2) == 0) {
        at -= at % PAGE;
        to -= to % PAGE;
    }
    size = to + size > size_max ? size_max - to : size;
    size = at >= twin_size         ? 0
           : at + size > twin_size ? twin_size - at
                                   : size; /* behind it, the copy would follow itself */
    if ((at < to ? at + size > to : to + size > at) || size == 0) {
        tell("%u: no copy of nothing or over itself", i);
        return;
    }
    tell("%u: copy_file_range %zu at %zu of %u to %zu", i, size, at, (unsigned)(from - views), to);
    loff_t off_in = base + (off_t)at, off_out = base + (off_t)to;
    size_t done = 0;
    learn_size(from);
    while (done < size) {
        ssize_t n = copy_file_range(view_fd(from, PLAIN), &off_in, view_fd(v, PLAIN), &off_out,
                                    size - done, 0);
        check_call(n >= 0, "copy_file_range");
        if (n == 0) {
            differ("copy_file_range of %zu bytes ended after %zu", size, done);
        }
        done += (size_t)n;
    }
    memcpy(scratch, twin + at, size);
    twin_put(to, scratch, size);
}

static void do_sync(struct view *v, unsigned i)
{
    bool data_only = draw_below(2);
    tell("%u: %s", i, data_only ? "fdatasync" : "fsync");
    check_call((data_only ? fdatasync : fsync)(view_fd(v, PLAIN)) == 0, "fsync");
}

static void do_reopen(struct view *v, unsigned i)
{
    enum how how = (enum how)draw_below(HOWS);
    tell("%u: close%s", i, how_name[how]);
    if (v->fd[how] >= 0) {
        check_call(close(v->fd[how]) == 0, "close");
        v->fd[how] = -1;
    }
}

static void do_stat(struct view *v, unsigned i)
{
    struct stat st;
    bool by_path = draw_below(2);
    tell("%u: %s", i, by_path ? "stat" : "fstat");
    check_call((by_path ? stat(v->path, &st) : fstat(view_fd(v, PLAIN), &st)) == 0, "stat");
    if (st.st_size != base + (off_t)twin_size) {
        differ("st_size is %lld, not %lld", (long long)st.st_size,
               (long long)(base + (off_t)twin_size));
    }
}

/* What lies in a hole is zeros; where holes lie exactly is the file system's choice. */
static void do_seek(struct view *v, unsigned i)
{
    size_t at = draw_below(size_max), end = twin_size;
    tell("%u: SEEK_DATA at %zu", i, at);
    off_t data = lseek(view_fd(v, PLAIN), base + (off_t)at, SEEK_DATA);
    if (data < 0) {
        check_call(errno == ENXIO, "SEEK_DATA");
    } else if (at >= twin_size || data < base + (off_t)at || data >= base + (off_t)twin_size) {
        differ("SEEK_DATA gave %lld", (long long)(data - base));
    } else {
        end = (size_t)(data - base);
    }
    for (size_t k = at; k < end; k++) {
        if (twin[k] != 0) {
            differ("SEEK_DATA at %zu passed over byte %zu, 0x%02x of operation %u", at, k, twin[k],
                   giver[k]);
        }
    }
    off_t hole = lseek(view_fd(v, PLAIN), base + (off_t)at, SEEK_HOLE);
    if (at >= twin_size ? hole >= 0 || errno != ENXIO
                        : hole < base + (off_t)at || hole > base + (off_t)twin_size) {
        differ("SEEK_HOLE at %zu gave %lld (%s)", at, (long long)(hole - base),
               hole < 0 ? strerror(errno) : "");
    }
}

static void do_forget(struct view *v, unsigned i)
{
    tell("%u: drop what is cached", i);
    check_call(posix_fadvise(view_fd(v, PLAIN), 0, 0, POSIX_FADV_DONTNEED) == 0, "posix_fadvise");
}

static void compare_all(void)
{
    for (unsigned i = 0; i < view_count; i++) {
        struct stat st;
        check_call(fstat(view_fd(&views[i], PLAIN), &st) == 0, "fstat");
        if (st.st_size != base + (off_t)twin_size) {
            differ("view %u has %lld bytes, not %lld", i, (long long)st.st_size,
                   (long long)(base + (off_t)twin_size));
        }
        ssize_t got = pread(view_fd(&views[i], PLAIN), scratch, twin_size + 1, base);
        if (got != (ssize_t)twin_size) {
            differ("view %u: a read of all gave %zd", i, got);
        }
        compare(scratch, 0, twin_size, "read of all");
    }
}

static void step(void)
{
    unsigned i = (unsigned)draw_below(view_count);
    struct view *v = &views[i];
    uint64_t dice = draw_below(100);
    if (dice < 26) {
        do_read(v, i);
    } else if (dice < 52) {
        do_write(v, i);
    } else if (dice < 60) {
        do_truncate(v, i);
    } else if (dice < 66) {
        do_map(v, i, false);
    } else if (dice < 72) {
        do_map(v, i, true);
    } else if (dice < 80) {
        do_allocate(v, i);
    } else if (dice < 84) {
        do_copy(v, i);
    } else if (dice < 86) {
        do_sync(v, i);
    } else if (dice < 91) {
        do_reopen(v, i);
    } else if (dice < 95) {
        do_stat(v, i);
    } else if (dice < 98) {
        do_seek(v, i);
    } else {
        do_forget(v, i);
    }
    if (op_no % COMPARE_EVERY == 0) {
        compare_all();
    }
}

static bool supports(int mode)
{
    int fd = view_fd(&views[0], PLAIN);
    bool fine = fallocate(fd, mode, 0, 1) == 0;
    if (!fine && errno != EOPNOTSUPP) {
        differ("fallocate: %s", strerror(errno));
    }
    return fine;
}

static void begin(void)
{
    int fd = open(views[0].path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    check_call(fd >= 0, "create");
    (void)close(fd);
    can[CAN_ALLOCATE] = supports(0);
    can[CAN_ZERO] = supports(FALLOC_FL_ZERO_RANGE);
    can[CAN_PUNCH] = supports(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    check_call(ftruncate(view_fd(&views[0], PLAIN), 0) == 0 &&
                   ftruncate(view_fd(&views[0], PLAIN), base) == 0,
               "ftruncate");
    (void)printf("seed=%llu views=%u%s%s%s\n", (unsigned long long)seed, view_count,
                 can[CAN_ALLOCATE] ? "" : " without=allocate", can[CAN_ZERO] ? "" : " without=zero",
                 can[CAN_PUNCH] ? "" : " without=punch");
    (void)fflush(stdout);
}

static void usage(void)
{
    (void)fprintf(stderr,
                  "usage: fsx [-s SEED] [-n OPERATIONS] [-l SIZE_MAX] [-b BASE] [-v] PATH...\n");
    exit(2);
}

int main(int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "s:n:l:b:v")) != -1) {
        switch (c) {
        case 's':
            seed = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            op_count = strtoull(optarg, NULL, 0);
            break;
        case 'l':
            size_max = strtoull(optarg, NULL, 0) / PAGE * PAGE;
            break;
        case 'b':
            base = (off_t)(strtoull(optarg, NULL, 0) / PAGE * PAGE);
            break;
        case 'v':
            verbose = true;
            break;
        default:
            usage();
        }
    }
    if (optind == argc || argc - optind > VIEWS_MAX || size_max < PAGE) {
        usage();
    }
    for (; optind < argc; optind++) {
        views[view_count++] = (struct view){.path = argv[optind], .fd = {-1, -1, -1, -1}};
    }
    twin_begin();
    (void)signal(SIGBUS, on_bus_error);
    begin();
    for (op_no = 1; op_no <= op_count; op_no++) {
        step();
    }
    op_no--;
    compare_all();
    (void)printf("no difference in %llu operations\n", (unsigned long long)op_count);
    return 0;
}
