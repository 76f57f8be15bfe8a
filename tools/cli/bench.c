#include "tools/cli/bench.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "repl/base/mem.h"

enum {
    PAGE = 4096,
    MIB = 1 << 20,
    SYNC_EVERY_MIB = 32, /* so that the fsync at the end of a slow row is not the longest part */
    NAME_SIZE = 16,
    PASSES_MAX = 4,
};

int64_t bench_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int result(int r)
{
    return r < 0 ? -errno : 0;
}

static void name_of(char name[NAME_SIZE], char kind, uint32_t i)
{
    (void)snprintf(name, NAME_SIZE, "%c%u", kind, (unsigned)i);
}

/* xorshift64: the same places each time. */
static uint64_t next_random(struct bench *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* No two pages are ever the same, or a system that stores equal bytes once would do nothing. */
static void stamp(struct bench *b, size_t size)
{
    for (size_t at = 0; at < size; at += PAGE) {
        uint64_t word = next_random(b);
        memcpy(b->chunk + at, &word, sizeof word);
    }
}

static int write_all(int fd, const uint8_t *data, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t n = offset < 0 ? write(fd, data, size) : pwrite(fd, data, size, offset);
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        data += n;
        size -= (size_t)n;
        offset += offset < 0 ? 0 : n;
    }
    return 0;
}

static int read_all(int fd, uint8_t *data, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t n = pread(fd, data, size, offset);
        if (n <= 0)
            return n < 0 ? -errno : -EIO; /* shorter than what was written */
        data += n;
        size -= (size_t)n;
        offset += n;
    }
    return 0;
}

/* ---- operations ------------------------------------------------------------------------------ */

static int begin_write(struct bench *b)
{
    b->big_fd = openat(b->fd, "big", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return result(b->big_fd);
}

static int write_mib(struct bench *b, uint32_t i)
{
    stamp(b, MIB);
    int r = write_all(b->big_fd, b->chunk, MIB, (off_t)i * MIB);
    if (r < 0)
        return r;
    b->big_mib = i + 1;
    return b->big_mib % SYNC_EVERY_MIB == 0 ? result(fsync(b->big_fd)) : 0;
}

static int end_write(struct bench *b)
{
    return result(fsync(b->big_fd));
}

/* Reads reach the file system and are not answered from the kernel's cache. */
static int begin_read(struct bench *b)
{
    return -posix_fadvise(b->big_fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int read_mib(struct bench *b, uint32_t i)
{
    return read_all(b->big_fd, b->chunk, MIB, (off_t)i * MIB);
}

static int read_first(struct bench *b, uint32_t i)
{
    int r = read_mib(b, i);
    b->read_mib = r == 0 ? i + 1 : b->read_mib;
    return r;
}

static int write_random(struct bench *b, uint32_t i)
{
    (void)i;
    uint64_t page = next_random(b) % ((uint64_t)b->big_mib * (MIB / PAGE));
    stamp(b, PAGE);
    int r = write_all(b->big_fd, b->chunk, PAGE, (off_t)page * PAGE);
    return r < 0 ? r : result(fsync(b->big_fd));
}

static int begin_append(struct bench *b)
{
    b->log_fd = openat(b->fd, "log", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    return result(b->log_fd);
}

static int append(struct bench *b, uint32_t i)
{
    (void)i;
    stamp(b, PAGE);
    int r = write_all(b->log_fd, b->chunk, PAGE, -1);
    return r < 0 ? r : result(fsync(b->log_fd));
}

static int make_and_open(const struct bench *b, const char *name, int *ret_fd)
{
    if (mkdirat(b->fd, name, 0700) < 0)
        return -errno;
    *ret_fd = openat(b->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return result(*ret_fd);
}

static int begin_create(struct bench *b)
{
    return make_and_open(b, "files", &b->files_fd);
}

static int create(struct bench *b, uint32_t i)
{
    char name[NAME_SIZE];
    name_of(name, 'f', i);
    int fd = openat(b->files_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    stamp(b, PAGE);
    int r = write_all(fd, b->chunk, PAGE, -1);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    b->files += r == 0;
    return r;
}

static int stat_file(struct bench *b, uint32_t i)
{
    char name[NAME_SIZE];
    struct stat st;
    name_of(name, 'f', i);
    return result(fstatat(b->files_fd, name, &st, AT_SYMLINK_NOFOLLOW));
}

static int read_file(struct bench *b, uint32_t i)
{
    char name[NAME_SIZE];
    name_of(name, 'f', i);
    int fd = openat(b->files_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = read_all(fd, b->chunk, PAGE, 0);
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

static int begin_mkdir(struct bench *b)
{
    return make_and_open(b, "dirs", &b->dirs_fd);
}

static int make_dir(struct bench *b, uint32_t i)
{
    char name[NAME_SIZE];
    name_of(name, 'd', i);
    return result(mkdirat(b->dirs_fd, name, 0700));
}

static int move(struct bench *b, uint32_t i)
{
    char from[NAME_SIZE], to[NAME_SIZE];
    name_of(from, 'f', i);
    name_of(to, 'r', i);
    int r = result(renameat(b->files_fd, from, b->files_fd, to));
    b->renamed += r == 0;
    return r;
}

static int delete_file(struct bench *b, uint32_t i)
{
    char name[NAME_SIZE];
    name_of(name, i < b->renamed ? 'r' : 'f', i);
    return result(unlinkat(b->files_fd, name, 0));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static uint32_t big_max(const struct bench *b)
{
    return b->big_mib_max;
}

static uint32_t big_written(const struct bench *b)
{
    return b->big_mib;
}

static uint32_t big_read(const struct bench *b)
{
    return b->read_mib;
}

static uint32_t syncs_max(const struct bench *b)
{
    (void)b;
    return BENCH_SYNCS_MAX;
}

static uint32_t files_max(const struct bench *b)
{
    (void)b;
    return BENCH_FILES_MAX;
}

static uint32_t files_made(const struct bench *b)
{
    return b->files;
}

static uint32_t dirs_max(const struct bench *b)
{
    (void)b;
    return BENCH_DIRS_MAX;
}

static const struct {
    const char *name, *text, *unit;
    int (*begin)(struct bench *b); /* not timed; may be NULL */
    int (*op)(struct bench *b, uint32_t i);
    int (*end)(struct bench *b);                  /* timed; may be NULL */
    uint32_t (*count_max)(const struct bench *b); /* asked before the first operation */
} rows[] = {
    {"write", "write 1 MiB in order, fsync every 32", "MiB/s", begin_write, write_mib, end_write,
     big_max},
    {"read", "read 1 MiB in order", "MiB/s", begin_read, read_first, NULL, big_written},
    {"read_again", "read 1 MiB in order, again", "MiB/s", NULL, read_mib, NULL, big_read},
    {"write_fsync", "write 4 KiB at random + fsync", "/s", NULL, write_random, NULL, syncs_max},
    {"append_fsync", "append 4 KiB + fsync", "/s", begin_append, append, NULL, syncs_max},
    {"create", "create + write 4 KiB + close", "/s", begin_create, create, NULL, files_max},
    {"stat", "stat", "/s", NULL, stat_file, NULL, files_made},
    {"read_small", "open + read 4 KiB + close", "/s", NULL, read_file, NULL, files_made},
    {"mkdir", "mkdir", "/s", begin_mkdir, make_dir, NULL, dirs_max},
    {"rename", "rename", "/s", NULL, move, NULL, files_made},
    {"delete", "delete", "/s", NULL, delete_file, NULL, files_made},
};
_Static_assert(sizeof rows / sizeof *rows == BENCH_ROWS, "BENCH_ROWS counts the rows");

struct bench_row bench_describe(uint32_t row)
{
    return (struct bench_row){
        .name = rows[row].name, .text = rows[row].text, .unit = rows[row].unit};
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest sample that `percent` of all do not exceed. */
static double percentile_us(const int64_t *sorted, uint32_t count, uint32_t percent)
{
    return (double)sorted[(count * percent + 99) / 100 - 1] / 1e3;
}

int bench_run(struct bench *b, uint32_t row, int64_t limit_ns, struct bench_row *ret)
{
    int r = rows[row].begin ? rows[row].begin(b) : 0;
    uint32_t count_max = rows[row].count_max(b), count = 0;
    int64_t start = bench_now_ns(), now = start;

    while (r == 0 && count < count_max && (count == 0 || now - start < limit_ns)) {
        if (!b->tick(b->ctx, row, count))
            return -EINTR;
        int64_t before = bench_now_ns();
        r = rows[row].op(b, count);
        now = bench_now_ns();
        b->samples[count++] = now - before;
    }
    if (r == 0 && rows[row].end)
        r = rows[row].end(b);
    if (r < 0)
        return r;
    assert(count > 0 && count <= BENCH_SYNCS_MAX);
    *ret = bench_describe(row);
    ret->count = count;
    ret->seconds = (double)(bench_now_ns() - start) / 1e9;
    ret->rate = count / ret->seconds;
    qsort(b->samples, count, sizeof *b->samples, compare);
    ret->p50_us = percentile_us(b->samples, count, 50);
    ret->p99_us = percentile_us(b->samples, count, 99);
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* How large the big file may get: half of what is free beyond what all else takes. */
static int look_for_space(struct bench *b, const char *dir, uint64_t *ret_free_mib)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) < 0)
        return -errno;
    if (fs.f_flag & ST_RDONLY)
        return -EROFS;
    uint64_t free_mib = (uint64_t)fs.f_bavail * fs.f_frsize / MIB;
    if (fs.f_blocks == 0) { /* it does not say */
        b->big_mib_max = BENCH_BIG_MIB_MAX;
        return 0;
    }
    if (free_mib < BENCH_SPACE_MIB_MIN) {
        *ret_free_mib = free_mib;
        return -ENOSPC;
    }
    uint64_t big = (free_mib - BENCH_SMALL_MIB) / 2;
    b->big_mib_max = big < BENCH_BIG_MIB_MAX ? (uint32_t)big : BENCH_BIG_MIB_MAX;
    return 0;
}

/* Makes the sub-directory, with a name that nobody else has; it is kept where it may be there. */
static int make_top(struct bench *b, const char *dir)
{
    uint64_t word;
    if (getrandom(&word, sizeof word, 0) != sizeof word)
        return -EIO;
    int n = snprintf(b->path, sizeof b->path, "%s/tally-bench-%016" PRIx64, dir, word);
    int r = n < (int)sizeof b->path ? result(mkdir(b->path, 0700)) : -ENAMETOOLONG;
    if (r < 0 && r != -EINTR && r != -ETIMEDOUT) /* these two: outcome unknown */
        b->path[0] = '\0';
    return r;
}

int bench_open(struct bench *b, const char *dir, bench_tick tick, void *ctx, uint64_t *ret_free_mib)
{
    struct stat st;

    *b = (struct bench){.fd = -1,
                        .files_fd = -1,
                        .dirs_fd = -1,
                        .big_fd = -1,
                        .log_fd = -1,
                        .random = 0x9e3779b97f4a7c15,
                        .tick = tick,
                        .ctx = ctx};
    if (stat(dir, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    int r = look_for_space(b, dir, ret_free_mib);
    if (r < 0)
        return r;
    r = make_top(b, dir);
    if (r < 0)
        return r;
    b->samples = xcalloc(BENCH_SYNCS_MAX, sizeof *b->samples);
    b->chunk = xmalloc(MIB);
    for (size_t at = 0; at < MIB; at += sizeof(uint64_t)) {
        uint64_t word = next_random(b);
        memcpy(b->chunk + at, &word, sizeof word);
    }
    b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return result(b->fd);
}

static void close_all(struct bench *b)
{
    int *const fds[] = {&b->fd, &b->files_fd, &b->dirs_fd, &b->big_fd, &b->log_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            (void)close(*fds[i]);
        *fds[i] = -1;
    }
}

static int remove_below(struct bench *b, int parent, const char *name);

/* Removes every name that one reading of the directory shows. */
static int remove_names(struct bench *b, DIR *d)
{
    struct dirent *e;
    for (uint32_t removed = 0; (errno = 0, e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (!b->tick(b->ctx, BENCH_ROWS, removed++))
            return -EINTR;
        int r = result(unlinkat(dirfd(d), e->d_name, 0));
        if (r == -EISDIR || r == -EPERM)
            r = remove_below(b, dirfd(d), e->d_name);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return -errno;
}

/* A directory that changes while it is read may hide names: it is read again. */
static int remove_below(struct bench *b, int parent, const char *name)
{
    int r = result(unlinkat(parent, name, AT_REMOVEDIR));
    for (int pass = 0; pass < PASSES_MAX && (r == -ENOTEMPTY || r == -EEXIST); pass++) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        r = d ? remove_names(b, d) : -errno;
        if (d)
            (void)closedir(d);
        else if (fd >= 0)
            (void)close(fd);
        if (r == 0)
            r = result(unlinkat(parent, name, AT_REMOVEDIR));
    }
    return r;
}

int bench_remove(struct bench *b)
{
    close_all(b);
    int r = b->path[0] ? remove_below(b, AT_FDCWD, b->path) : 0;
    return r == -ENOENT ? 0 : r;
}

void bench_done(struct bench *b)
{
    close_all(b);
    free(b->samples);
    free(b->chunk);
}
