#include "repl/io/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repl/base/vec.h"
#include "repl/io/file.h"
#include "repl/io/record.h"

char *segment_path(const char *dir, uint32_t generation)
{
    return file_path(dir, "%08x.log", generation);
}

static char *spare_path(const char *dir, uint32_t generation)
{
    return file_path(dir, "%08x.spare", generation);
}

static int compare_generations(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int segment_list(const char *dir, uint32_t **ret)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return -errno;
    vec_of(uint32_t) found = {0};
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        uint32_t generation;
        int end = 0;
        if (sscanf(e->d_name, "%8x.log%n", &generation, &end) == 1 && end == 12 &&
            e->d_name[12] == '\0') {
            vec_push(&found, generation);
        } else if (e->d_name[0] != '.') {
            /* A spare or a half-made segment of the last run. */
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    if (found.count > 0)
        qsort(found.items, found.count, sizeof(uint32_t), compare_generations);
    *ret = found.items;
    return (int)found.count;
}

int segment_make(const struct journal_config *config, uint32_t generation, uint32_t size,
                 uint32_t spare, struct segment *ret)
{
    char *path = segment_path(config->dir, generation);
    char *aside = spare != 0 ? spare_path(config->dir, spare) : file_path(config->dir, "new");
    int fd = open(aside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : 0;
    struct stat st = {0};
    if (rc == 0 && fstat(fd, &st) < 0)
        rc = -errno;
    if (rc == 0 && (uint64_t)st.st_size < size)
        rc = file_write_zeros(fd, (uint64_t)st.st_size, size - (uint64_t)st.st_size);
    uint8_t header[SEGMENT_HEADER_SIZE];
    segment_header_put(header, config->cluster, config->node, generation, size);
    if (rc == 0)
        rc = file_write_at(fd, header, sizeof(header), 0);
    /* fsync and not fdatasync: the size and the extents must be on disk before the first use. */
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (rc == 0 && rename(aside, path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = file_sync_dir(config->dir);
    if (rc == 0) {
        *ret = (struct segment){.generation = generation, .size = size, .fd = fd};
    } else {
        (void)unlink(aside);
        if (fd >= 0)
            (void)close(fd);
    }
    free(path);
    free(aside);
    return rc;
}

int segment_remove(const char *dir, uint32_t generation)
{
    char *path = segment_path(dir, generation);
    int rc = unlink(path) < 0 ? -errno : 0;
    free(path);
    return rc;
}

int segment_set_aside(const char *dir, uint32_t generation)
{
    char *path = segment_path(dir, generation);
    char *aside = spare_path(dir, generation);
    int rc = rename(path, aside) < 0 ? -errno : 0;
    free(path);
    free(aside);
    return rc;
}
