#include "tests/unit/repl/io/volatile_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "repl/base/mem.h"
#include "repl/base/vec.h"
#include "repl/io/file.h"

enum { FDS_MAX = 4096, SECTOR = 512, SLOW_SYNC_US = 400 };

struct node;

struct name {
    char *name;
    struct node *node;
};
typedef vec_of(struct name) name_vec;

enum change_kind {
    CHANGE_WRITE,
    CHANGE_SIZE,
    CHANGE_HOLE,
    CHANGE_NAME,
    CHANGE_RENAME,
    CHANGE_GONE
};

struct change {
    enum change_kind kind;
    uint64_t number;
    uint64_t offset, size; /* WRITE, HOLE; SIZE: the new one */
    uint8_t *data;         /* WRITE */
    char *name, *old;      /* in a directory; RENAME: old -> name */
    struct node *node;     /* which has the name */
};

struct node {
    bool dir;
    char *path; /* that it was made under, or renamed to */
    name_vec live, kept;
    uint8_t *data; /* a file as the disk surely has it */
    uint64_t size;
    vec_of(struct change) changes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static const char *root;
static struct node *top;
static vec_of(struct node *) nodes;
static struct node *fds[FDS_MAX];
static uint64_t change_number, slow_state;
static unsigned cut_in;
static bool cut;
static const char *cut_when;
static const char *lie;
struct disk_stats disk_stats;

uint64_t disk_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool chance(uint64_t *state, unsigned in)
{
    return disk_random(state) % in == 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

static struct node *node_new(bool dir, const char *path)
{
    struct node *n = xcalloc(1, sizeof *n);
    n->dir = dir;
    n->path = xstrdup(path);
    vec_push(&nodes, n);
    return n;
}

static struct node **names_find(const name_vec *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].name, name) == 0)
            return &names->items[i].node;
    return NULL;
}

static void names_set(name_vec *names, const char *name, struct node *node)
{
    struct node **found = names_find(names, name);
    if (found) {
        *found = node;
        return;
    }
    struct name n = {xstrdup(name), node};
    vec_push(names, n);
}

/* Only when it is still this one's. */
static void names_del(name_vec *names, const char *name, const struct node *node)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].name, name) != 0 || names->items[i].node != node)
            continue;
        free(names->items[i].name);
        names->items[i] = names->items[--names->count];
        return;
    }
}

static void names_done(name_vec *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i].name);
    vec_done(names);
}

bool disk_watches(const char *path)
{
    size_t n = root ? strlen(root) : 0;
    return n && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The directory a path leads into, and the last name; the root's own name is "". NULL: not there.
 */
static struct node *find_dir(const char *path, char *ret_name, size_t size)
{
    struct node *at = top;
    const char *p = path + strlen(root);
    ret_name[0] = '\0';
    for (;;) {
        while (*p == '/')
            p++;
        size_t n = strcspn(p, "/");
        if (n == 0)
            return at;
        if (ret_name[0]) {
            struct node **next = names_find(&at->live, ret_name);
            if (!next || !(*next)->dir)
                return NULL;
            at = *next;
        }
        assert(n < size);
        memcpy(ret_name, p, n);
        ret_name[n] = '\0';
        p += n;
    }
}

static struct node *find(const char *path)
{
    char name[256];
    struct node *dir = find_dir(path, name, sizeof name);
    if (!dir || !name[0])
        return dir;
    struct node **found = names_find(&dir->live, name);
    return found ? *found : NULL;
}

/* ---- changes --------------------------------------------------------------------------------- */

static void file_grow(struct node *f, uint64_t size)
{
    if (size <= f->size)
        return;
    f->data = xrealloc(f->data, size);
    memset(f->data + f->size, 0, size - f->size);
    f->size = size;
}

static void file_resize(struct node *f, uint64_t size)
{
    file_grow(f, size);
    f->size = size;
}

static void file_hole(struct node *f, uint64_t offset, uint64_t size)
{
    if (offset < f->size)
        memset(f->data + offset, 0, size < f->size - offset ? size : f->size - offset);
}

static void change_do(struct node *n, const struct change *c)
{
    switch (c->kind) {
    case CHANGE_WRITE:
        file_grow(n, c->offset + c->size);
        memcpy(n->data + c->offset, c->data, c->size);
        return;
    case CHANGE_SIZE:
        file_resize(n, c->size);
        return;
    case CHANGE_HOLE:
        file_hole(n, c->offset, c->size);
        return;
    case CHANGE_RENAME:
        names_del(&n->kept, c->old, c->node);
        names_set(&n->kept, c->name, c->node);
        return;
    case CHANGE_NAME:
        names_set(&n->kept, c->name, c->node);
        return;
    case CHANGE_GONE:
        names_del(&n->kept, c->name, c->node);
        return;
    }
}

static void change_done(struct change *c)
{
    free(c->data);
    free(c->name);
    free(c->old);
}

static void change_add(struct node *n, struct change c)
{
    c.number = ++change_number;
    vec_push(&n->changes, c);
}

/* Everything up to `number` is durable. */
static void keep(struct node *n, uint64_t number)
{
    size_t done = 0;
    if (n->changes.count == 0)
        return;
    while (done < n->changes.count && n->changes.items[done].number <= number) {
        change_do(n, &n->changes.items[done]);
        change_done(&n->changes.items[done++]);
    }
    n->changes.count -= done;
    memmove(n->changes.items, n->changes.items + done,
            n->changes.count * sizeof n->changes.items[0]);
}

/* The last write is durable, and what it lies on. */
static void keep_last(struct node *n)
{
    struct change *last = &n->changes.items[n->changes.count - 1];
    size_t left = 0;
    for (size_t i = 0; i < n->changes.count; i++) {
        struct change *c = &n->changes.items[i];
        bool under = c->kind == CHANGE_SIZE ||
                     (c->offset < last->offset + last->size && last->offset < c->offset + c->size);
        if (!under) {
            n->changes.items[left++] = *c;
            continue;
        }
        change_do(n, c);
        if (c != last)
            change_done(c);
    }
    change_done(last);
    n->changes.count = left;
}

/* With the lock, before a call. False: no power, or it went just now. */
static bool call_begins(void)
{
    if (root && !cut) {
        disk_stats.calls++;
        (void)pthread_cond_broadcast(&called); /* who waits sees it when the lock is let go */
        if (cut_in > 0 && --cut_in == 0)
            cut = true;
    }
    return root && !cut;
}

void disk_cut_after(unsigned calls)
{
    (void)pthread_mutex_lock(&lock);
    cut_in = calls;
    (void)pthread_mutex_unlock(&lock);
}

void disk_cut_when_named(const char *ending)
{
    (void)pthread_mutex_lock(&lock);
    cut_when = ending;
    (void)pthread_mutex_unlock(&lock);
}

void disk_cut(void)
{
    (void)pthread_mutex_lock(&lock);
    cut = true;
    (void)pthread_mutex_unlock(&lock);
}

bool disk_is_cut(void)
{
    (void)pthread_mutex_lock(&lock);
    bool is = cut;
    (void)pthread_mutex_unlock(&lock);
    return is;
}

unsigned disk_calls(void)
{
    (void)pthread_mutex_lock(&lock);
    unsigned calls = disk_stats.calls;
    (void)pthread_mutex_unlock(&lock);
    return calls;
}

void disk_wait_call(unsigned seen)
{
    (void)pthread_mutex_lock(&lock);
    while (disk_stats.calls == seen)
        (void)pthread_cond_wait(&called, &lock);
    (void)pthread_mutex_unlock(&lock);
}

bool disk_hold(void)
{
    (void)pthread_mutex_lock(&lock);
    if (!cut)
        return true;
    (void)pthread_mutex_unlock(&lock);
    return false;
}

void disk_let_go(void)
{
    (void)pthread_mutex_unlock(&lock);
}

void disk_lie(const char *in_path)
{
    lie = in_path;
}

static bool lies_about(const struct node *n)
{
    return lie && strstr(n->path, lie);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static struct node *node_of(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? fds[fd] : NULL;
}

bool disk_has(int fd)
{
    (void)pthread_mutex_lock(&lock);
    bool has = node_of(fd) != NULL;
    (void)pthread_mutex_unlock(&lock);
    return has;
}

static void note_open(const char *path, int flags, int fd)
{
    char name[256];
    struct node *n = find(path);
    if (!n) {
        struct node *dir = find_dir(path, name, sizeof name);
        assert(dir && flags & O_CREAT);
        n = node_new(false, path);
        names_set(&dir->live, name, n);
        change_add(dir, (struct change){.kind = CHANGE_NAME, .name = xstrdup(name), .node = n});
    } else if (flags & O_TRUNC) {
        change_add(n, (struct change){.kind = CHANGE_SIZE});
    }
    fds[fd] = n;
}

int disk_open(const char *path, int flags, mode_t mode)
{
    (void)pthread_mutex_lock(&lock);
    bool noted = disk_watches(path) && call_begins();
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), error = errno;
    assert(fd < FDS_MAX);
    if (fd >= 0)
        fds[fd] = NULL;
    if (fd >= 0 && noted)
        note_open(path, flags, fd);
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

int disk_close(int fd)
{
    (void)pthread_mutex_lock(&lock);
    if (node_of(fd))
        fds[fd] = NULL;
    (void)pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_close, fd);
}

static ssize_t write_out(int fd, const void *data, size_t size, off_t offset, bool at)
{
    return at ? syscall(SYS_pwrite64, fd, data, size, offset) : syscall(SYS_write, fd, data, size);
}

ssize_t disk_write(int fd, const void *data, size_t size, off_t offset, bool at, bool durably)
{
    if (!disk_has(fd))
        return write_out(fd, data, size, offset, at);
    (void)pthread_mutex_lock(&lock);
    struct node *n = node_of(fd);
    bool noted = n && call_begins();
    ssize_t done = write_out(fd, data, size, offset, at);
    int error = errno;
    if (done > 0 && noted) {
        if (!at)
            offset = lseek(fd, 0, SEEK_CUR) - done;
        struct change c = {.kind = CHANGE_WRITE,
                           .offset = (uint64_t)offset,
                           .size = (uint64_t)done,
                           .data = xmalloc((size_t)done)};
        memcpy(c.data, data, (size_t)done);
        change_add(n, c);
        if (durably && call_begins() && !lies_about(n))
            keep_last(n);
    }
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int disk_truncate(int fd, off_t size)
{
    (void)pthread_mutex_lock(&lock);
    struct node *n = node_of(fd);
    bool noted = n && call_begins();
    int rc = (int)syscall(SYS_ftruncate, fd, size), error = errno;
    if (rc == 0 && noted)
        change_add(n, (struct change){.kind = CHANGE_SIZE, .size = (uint64_t)size});
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int disk_punch(int fd, off_t offset, off_t size)
{
    (void)pthread_mutex_lock(&lock);
    struct node *n = node_of(fd);
    bool noted = n && call_begins();
    int rc =
        (int)syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
    int error = errno;
    if (rc == 0 && noted)
        change_add(n, (struct change){
                          .kind = CHANGE_HOLE, .offset = (uint64_t)offset, .size = (uint64_t)size});
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

/* Takes a while now and then, in which others go on; it covers what was there when it began. */
int disk_sync(int fd)
{
    (void)pthread_mutex_lock(&lock);
    struct node *n = node_of(fd);
    bool noted = n && call_begins();
    uint64_t number = change_number;
    bool slow = noted && chance(&slow_state, 8);
    if (slow) {
        (void)pthread_mutex_unlock(&lock);
        (void)usleep((useconds_t)(disk_random(&slow_state) % SLOW_SYNC_US));
        (void)pthread_mutex_lock(&lock);
    }
    if (noted && call_begins() && !lies_about(n))
        keep(n, number);
    bool ours = n || (root && cut); /* what is synced after the cut is thrown away */
    (void)pthread_mutex_unlock(&lock);
    return ours ? 0 : (int)syscall(SYS_fdatasync, fd);
}

static void note_rename(const char *from, const char *to)
{
    char old[256], name[256];
    struct node *dir = find_dir(from, old, sizeof old);
    struct node *dir_to = find_dir(to, name, sizeof name);
    assert(dir && dir == dir_to);
    struct node *n = *names_find(&dir->live, old);
    free(n->path);
    n->path = xstrdup(to);
    names_del(&dir->live, old, n);
    names_set(&dir->live, name, n);
    change_add(dir,
               (struct change){
                   .kind = CHANGE_RENAME, .name = xstrdup(name), .old = xstrdup(old), .node = n});
    size_t size = strlen(to), end = cut_when ? strlen(cut_when) : SIZE_MAX;
    if (end <= size && strcmp(to + size - end, cut_when) == 0)
        cut = true;
}

int disk_rename(const char *from, const char *to)
{
    (void)pthread_mutex_lock(&lock);
    bool noted = disk_watches(from) && call_begins();
    int rc = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), error = errno;
    if (rc == 0 && noted)
        note_rename(from, to);
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int disk_unlink(const char *path, bool directory)
{
    char name[256];
    (void)pthread_mutex_lock(&lock);
    bool noted = disk_watches(path) && call_begins();
    int rc = (int)syscall(SYS_unlinkat, AT_FDCWD, path, directory ? AT_REMOVEDIR : 0);
    int error = errno;
    if (rc == 0 && noted) {
        struct node *dir = find_dir(path, name, sizeof name);
        struct node *n = *names_find(&dir->live, name);
        names_del(&dir->live, name, n);
        change_add(dir, (struct change){.kind = CHANGE_GONE, .name = xstrdup(name), .node = n});
    }
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int disk_mkdir(const char *path, mode_t mode)
{
    char name[256];
    (void)pthread_mutex_lock(&lock);
    bool noted = disk_watches(path) && call_begins();
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), error = errno;
    if (rc == 0 && noted) {
        struct node *dir = find_dir(path, name, sizeof name);
        struct node *n = node_new(true, path);
        names_set(&dir->live, name, n);
        change_add(dir, (struct change){.kind = CHANGE_NAME, .name = xstrdup(name), .node = n});
    }
    (void)pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

/* ---- after the cut --------------------------------------------------------------------------- */

/* How one cut treats what no sync covered. */
struct fate {
    uint64_t state;
    unsigned data; /* 0 lost, 1 kept, 2 each write for itself */
    bool in_order; /* changes of directories: those up to a number are kept, else any choice */
    uint64_t names_kept; /* the number */
    bool garbage;        /* lost bytes within the size: those of another file */
};

static void fill(struct fate *f, struct node *n, uint64_t from)
{
    const struct node *other = nodes.items[disk_random(&f->state) % nodes.count];
    if (!f->garbage || other->size == 0)
        return;
    for (uint64_t i = from; i < n->size; i++)
        n->data[i] = other->data[(i - from) % other->size];
}

static void lose_write(struct fate *f, struct node *n, const struct change *c)
{
    disk_stats.writes_lost++;
    uint64_t size = n->size;
    if (c->offset + c->size <= size || f->state == DISK_LOSES_ALL || !chance(&f->state, 2))
        return;
    file_grow(n, c->offset + c->size);
    fill(f, n, size);
}

static void tear_write(struct fate *f, struct node *n, const struct change *c)
{
    disk_stats.writes_torn++;
    uint64_t size = n->size;
    file_grow(n, c->offset + c->size);
    fill(f, n, size);
    for (uint64_t at = 0; at < c->size;) {
        uint64_t part = SECTOR - (c->offset + at) % SECTOR;
        if (part > c->size - at)
            part = c->size - at;
        if (chance(&f->state, 2))
            memcpy(n->data + c->offset + at, c->data + at, part);
        at += part;
    }
}

static bool of_rocksdb(const struct node *n)
{
    return strstr(n->path, "/kv.") != NULL;
}

/* The first changes of a file and a part of the next, as of one that is only appended to. */
static void file_decide_prefix(struct fate *f, struct node *n)
{
    size_t count = n->changes.count, kept = f->data == 1 ? count : 0;
    if (f->data == 2)
        kept = disk_random(&f->state) % (count + 1);
    for (size_t i = 0; i < kept; i++)
        change_do(n, &n->changes.items[i]);
    disk_stats.writes_kept += (unsigned)kept;
    disk_stats.writes_lost += (unsigned)(count - kept);
    if (kept == count || f->data == 0 || n->changes.items[kept].kind != CHANGE_WRITE)
        return;
    struct change part = n->changes.items[kept];
    part.size = disk_random(&f->state) % part.size;
    change_do(n, &part);
}

static void file_change_decide(struct fate *f, struct node *n, const struct change *c)
{
    unsigned how = f->data < 2 ? f->data : (unsigned)(disk_random(&f->state) % 3);
    if (c->kind != CHANGE_WRITE) {
        bool kept = f->data == 2 ? chance(&f->state, 2) : how == 1;
        if (kept)
            change_do(n, c);
        disk_stats.cuts_kept += kept;
        disk_stats.cuts_lost += !kept;
    } else if (how == 0) {
        lose_write(f, n, c);
    } else if (how == 1) {
        change_do(n, c);
        disk_stats.writes_kept++;
    } else {
        tear_write(f, n, c);
    }
}

static void change_decide(struct fate *f, struct node *n, const struct change *c)
{
    if (!n->dir) {
        file_change_decide(f, n, c);
        return;
    }
    bool in_order = f->in_order || of_rocksdb(n);
    bool kept = in_order ? c->number <= f->names_kept : chance(&f->state, 2);
    if (kept)
        change_do(n, c);
    disk_stats.names_kept += kept;
    disk_stats.names_lost += !kept;
}

static void node_decide(struct fate *f, struct node *n)
{
    if (!n->dir && of_rocksdb(n)) {
        file_decide_prefix(f, n);
        return;
    }
    for (size_t i = 0; i < n->changes.count; i++)
        change_decide(f, n, &n->changes.items[i]);
}

static uint64_t first_name_change(void)
{
    uint64_t first = change_number + 1;
    for (size_t i = 0; i < nodes.count; i++)
        if (nodes.items[i]->dir && nodes.items[i]->changes.count &&
            nodes.items[i]->changes.items[0].number < first)
            first = nodes.items[i]->changes.items[0].number;
    return first;
}

static struct fate fate_draw(uint64_t seed)
{
    struct fate f = {.state = seed};
    if (seed == DISK_LOSES_ALL || seed == DISK_KEEPS_ALL) {
        f.in_order = true;
        f.data = seed == DISK_KEEPS_ALL;
        f.names_kept = seed == DISK_KEEPS_ALL ? change_number : 0;
        return f;
    }
    f.data = (unsigned)(disk_random(&f.state) % 4);
    f.data = f.data > 2 ? 2 : f.data;
    f.garbage = chance(&f.state, 4);
    f.in_order = chance(&f.state, 2);
    uint64_t first = first_name_change();
    f.names_kept = first - 1 + disk_random(&f.state) % (change_number - first + 2);
    disk_stats.in_order += f.in_order;
    return f;
}

/* What it holds is written out under `path`, as a tree of new nodes. */
static struct node *write_tree(const struct node *old, const char *path)
{
    struct node *n = node_new(old->dir, path);
    if (!old->dir) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert(fd >= 0);
        for (uint64_t at = 0; at < old->size;) {
            ssize_t done = syscall(SYS_pwrite64, fd, old->data + at, old->size - at, at);
            assert(done > 0);
            at += (uint64_t)done;
        }
        (void)syscall(SYS_close, fd);
        file_grow(n, old->size);
        if (n->size)
            memcpy(n->data, old->data, n->size);
        return n;
    }
    long rc = syscall(SYS_mkdirat, AT_FDCWD, path, 0700);
    assert(rc == 0);
    for (size_t i = 0; i < old->kept.count; i++) {
        char *at = file_path(path, "%s", old->kept.items[i].name);
        struct node *child = write_tree(old->kept.items[i].node, at);
        names_set(&n->kept, old->kept.items[i].name, child);
        names_set(&n->live, old->kept.items[i].name, child);
        free(at);
    }
    return n;
}

static void node_free(struct node *n)
{
    for (size_t i = 0; i < n->changes.count; i++)
        change_done(&n->changes.items[i]);
    vec_done(&n->changes);
    names_done(&n->live);
    names_done(&n->kept);
    free(n->data);
    free(n->path);
    free(n);
}

static void nodes_free(size_t count)
{
    for (size_t i = 0; i < count; i++)
        node_free(nodes.items[i]);
    nodes.count -= count;
    memmove(nodes.items, nodes.items + count, nodes.count * sizeof nodes.items[0]);
}

void disk_power_on(uint64_t seed)
{
    assert(cut);
    struct fate f = fate_draw(seed);
    size_t count = nodes.count;
    for (size_t i = 0; i < count; i++)
        node_decide(&f, nodes.items[i]);
    int rc = file_remove_tree(root);
    assert(rc == 0);
    top = write_tree(top, root);
    nodes_free(count);
    memset(fds, 0, sizeof fds);
    disk_stats.cuts++;
    cut_in = 0;
    cut_when = NULL;
    cut = false;
}

void disk_watch(const char *path)
{
    root = path;
    top = node_new(true, path);
    cut = false;
    cut_in = 0;
    cut_when = NULL;
}

void disk_unwatch(void)
{
    root = NULL; /* its files are closed */
    nodes_free(nodes.count);
    vec_done(&nodes);
    memset(fds, 0, sizeof fds);
}
