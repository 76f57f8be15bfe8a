/* Answers to the kernel: each request is answered exactly once, with an errno or in its form. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include <linux/xattr.h>

#include "fs/core/state.h"
#include "fs/fuse/attr.h"
#include "fs/fuse/dir_offset.h"
#include "fs/fuse/request.h"
#include "repl/base/mem.h"

enum {
    UNKNOWN_INO = 0xffffffff, /* of "..": nobody asks, and 0 would hide the entry */
    REPLY_IOV_MAX = 512, /* pieces of one READ; more are copied together (the kernel takes 1024) */
    ZEROS_SIZE = 64 << 10,
    STATFS_BLOCK = 4096,
};

/* Of a directory that Linux has several inodes of, what was done by one of them does not end what
 * Linux remembers at another: places.h. */
static bool has_many_nodes(const struct request *r, uint64_t ino)
{
    return places_many(&r->kernel->places, ino);
}

static double attr_seconds(const struct request *r, uint64_t ino, time_us valid)
{
    return has_many_nodes(r, ino) ? 0 : (double)time_min(valid, r->kernel->attr_valid_max) / 1e6;
}

static double entry_seconds(const struct request *r, time_us valid)
{
    uint64_t dir = places_ino(&r->kernel->places, r->dir);
    return has_many_nodes(r, dir) ? 0 : (double)time_min(valid, r->kernel->entry_valid_max) / 1e6;
}

/* The kernel never heard of what it was given (the caller was killed meanwhile): take it back. */
static void take_back_open(struct request *r, uint64_t ino, uint64_t fh)
{
    struct client_op op = {.kind = CLIENT_RELEASE, .ino = ino, .fh = fh};
    request_submit_silent(r->kernel, &op);
}

/* One that Linux was not given, or not by a node. */
static void take_back_lookup(struct request *r, uint64_t ino)
{
    struct client_op op = {.kind = CLIENT_FORGET, .ino = ino, .nlookup = 1};
    request_submit_silent(r->kernel, &op);
}

/* The inode's number here and in Linux are two things for a directory. */
static uint64_t entry_node(struct request *r, const struct Fs__Attr *attr)
{
    struct kernel *k = r->kernel;
    if (!S_ISDIR(attr->mode) || attr->ino == FUSE_ROOT_ID)
        return attr->ino;
    bool new = false;
    uint64_t node = places_found(&k->places, attr->ino, r->dir, r->pid, uv_now(k->loop), &new);
    if (!new)
        return node;
    kernel_notify_names(k); /* those that it remembers of the directory's other nodes */
    kernel_notify_attr(k, attr->ino);
    kernel_notify_prune(k, attr->ino);
    return node;
}

static struct fuse_entry_param entry_param(const struct request *r, uint64_t node,
                                           const struct Fs__Attr *attr, time_us attr_valid_us,
                                           time_us entry_valid_us)
{
    struct fuse_entry_param e = {.ino = node,
                                 .attr_timeout = attr_seconds(r, attr->ino, attr_valid_us),
                                 .entry_timeout = entry_seconds(r, entry_valid_us)};
    attr_to_stat(attr, &e.attr);
    return e;
}

static void reply_entry(struct request *r, const struct client_result *result)
{
    uint64_t node = entry_node(r, &result->attr);
    struct fuse_entry_param e =
        entry_param(r, node, &result->attr, result->attr_valid_us, result->entry_valid_us);
    if (fuse_reply_entry(r->req, &e) != -ENOENT)
        return;
    places_forget(&r->kernel->places, node, 1);
    take_back_lookup(r, result->attr.ino);
}

/* A name that is known not to exist may be remembered as such. */
static void reply_no_entry(struct request *r, const struct client_result *result)
{
    struct fuse_entry_param e = {.ino = 0,
                                 .entry_timeout = entry_seconds(r, result->entry_valid_us)};
    (void)fuse_reply_entry(r->req, &e);
}

static void reply_attr(struct request *r, const struct client_result *result)
{
    struct stat st;
    attr_to_stat(&result->attr, &st);
    (void)fuse_reply_attr(r->req, &st, attr_seconds(r, result->attr.ino, result->attr_valid_us));
}

static struct fuse_file_info file_info(const struct client_result *result)
{
    return (struct fuse_file_info){
        .fh = result->fh, .keep_cache = result->keep_cache, .direct_io = result->direct_io};
}

static void reply_open(struct request *r, const struct client_result *result)
{
    struct fuse_file_info fi = file_info(result);
    if (fuse_reply_open(r->req, &fi) == -ENOENT)
        take_back_open(r, r->ino, result->fh);
}

static void reply_create(struct request *r, const struct client_result *result)
{
    struct fuse_file_info fi = file_info(result);
    struct fuse_entry_param e = entry_param(r, result->attr.ino, &result->attr,
                                            result->attr_valid_us, result->entry_valid_us);
    if (fuse_reply_create(r->req, &e, &fi) != -ENOENT)
        return;
    take_back_open(r, result->attr.ino, result->fh);
    take_back_lookup(r, result->attr.ino);
}

/* ---- file data ------------------------------------------------------------------------------- */

static const uint8_t zeros[ZEROS_SIZE];

/* Fills `iov` (room for REPLY_IOV_MAX) with the slices, holes as runs of zeros. Returns how many,
 * or REPLY_IOV_MAX + 1 when they are too many. */
static size_t slices_to_iov(const struct client_result *result, struct iovec *iov)
{
    size_t count = 0;
    for (size_t i = 0; i < result->slices_count; i++) {
        const struct client_slice *s = &result->slices[i];
        for (uint32_t done = 0; done < s->size;) {
            if (count == REPLY_IOV_MAX)
                return REPLY_IOV_MAX + 1;
            uint32_t run = s->size - done;
            if (!s->blob && run > ZEROS_SIZE)
                run = ZEROS_SIZE;
            const uint8_t *from = s->blob ? s->blob->data + s->offset + done : zeros;
            iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)from, .iov_len = run};
            done += run;
        }
    }
    return count;
}

static void reply_slices_copied(struct request *r, const struct client_result *result, size_t total)
{
    uint8_t *all = xmalloc(total), *at = all;
    for (size_t i = 0; i < result->slices_count; i++) {
        const struct client_slice *s = &result->slices[i];
        if (s->blob)
            memcpy(at, s->blob->data + s->offset, s->size);
        else
            memset(at, 0, s->size);
        at += s->size;
    }
    (void)fuse_reply_buf(r->req, (const char *)all, total);
    free(all);
}

/* Straight from the buffers they lie in: fuse_reply_data() would copy more than one. */
static void reply_slices(struct request *r, const struct client_result *result)
{
    struct iovec iov[REPLY_IOV_MAX];
    size_t total = 0;
    for (size_t i = 0; i < result->slices_count; i++) {
        const struct client_slice *s = &result->slices[i];
        assert(!s->blob || (s->offset <= s->blob->size && s->size <= s->blob->size - s->offset));
        total += s->size;
    }
    assert(total <= r->size);
    size_t count = slices_to_iov(result, iov);
    if (count <= REPLY_IOV_MAX)
        (void)fuse_reply_iov(r->req, iov, (int)count);
    else
        reply_slices_copied(r, result, total);
}

/* ---- small answers --------------------------------------------------------------------------- */

static void reply_data(struct request *r, const struct client_result *result)
{
    const struct blob *b = result->data;
    (void)fuse_reply_buf(r->req, b ? (const char *)b->data : NULL, b ? b->size : 0);
}

/* xattr(7): room 0 asks for the size. */
static void reply_xattr(struct request *r, const struct client_result *result)
{
    size_t size = result->data ? result->data->size : 0;
    if (r->size == 0)
        (void)fuse_reply_xattr(r->req, size);
    else if (size > r->size)
        (void)fuse_reply_err(r->req, ERANGE);
    else
        reply_data(r, result);
}

static void reply_statfs(struct request *r, const struct client_result *result)
{
    struct statvfs st = {.f_bsize = STATFS_BLOCK,
                         .f_frsize = STATFS_BLOCK,
                         .f_blocks = result->total_bytes / STATFS_BLOCK,
                         .f_bfree = result->free_bytes / STATFS_BLOCK,
                         .f_bavail = result->free_bytes / STATFS_BLOCK,
                         .f_files = result->inodes + result->free_bytes / STATFS_BLOCK,
                         .f_ffree = result->free_bytes / STATFS_BLOCK,
                         .f_namemax = KERNEL_NAME_MAX};
    (void)fuse_reply_statfs(r->req, &st);
}

/* The names of trusted attributes are nobody's business but root's: xattr(7). The kernel does not
 * sift what a FUSE daemon lists. */
static void reply_xattr_names(struct request *r, const struct client_result *result)
{
    if (r->uid == 0 || !result->data) {
        reply_xattr(r, result);
        return;
    }
    struct client_result sifted = *result;
    sifted.data = blob_new(result->data->size);
    sifted.data->size = 0;
    for (size_t at = 0, n; at < result->data->size; at += n) {
        const char *name = (const char *)result->data->data + at;
        n = strnlen(name, result->data->size - at) + 1;
        if (strncmp(name, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN) == 0)
            continue;
        memcpy(sifted.data->data + sifted.data->size, name, n);
        sifted.data->size += (uint32_t)n;
    }
    reply_xattr(r, &sifted);
    blob_unref(sifted.data);
}

/* ---- listings -------------------------------------------------------------------------------- */

struct listing {
    struct request *r;
    char *buf;
    size_t used;
    bool plus;
};

/* False when it no longer fits. Without `attr` a plus entry carries the name alone (RULES L4). */
static bool listing_add(struct listing *l, const char *name, const struct fuse_entry_param *e,
                        off_t offset)
{
    size_t room = l->r->size - l->used;
    size_t n = l->plus
                   ? fuse_add_direntry_plus(l->r->req, l->buf + l->used, room, name, e, offset)
                   : fuse_add_direntry(l->r->req, l->buf + l->used, room, name, &e->attr, offset);
    if (n > room)
        return false;
    l->used += n;
    return true;
}

static bool listing_add_name(struct listing *l, const char *name, uint64_t ino, mode_t type,
                             off_t offset)
{
    struct fuse_entry_param e = {.ino = 0, .attr = {.st_ino = ino, .st_mode = type}};
    return listing_add(l, name, &e, offset);
}

/* 0: only its name is told. */
static uint64_t dirent_node(const struct request *r, const struct client_dirent *d)
{
    if (!d->has_attr)
        return 0;
    return S_ISDIR(d->attr.mode) ? places_listed(&r->kernel->places, d->attr.ino, r->dir)
                                 : d->attr.ino;
}

static bool listing_add_entry(struct listing *l, const struct client_dirent *d)
{
    off_t offset = dir_offset_of_cookie(d->cookie);
    uint64_t node = dirent_node(l->r, d);
    if (!l->plus || node == 0)
        return listing_add_name(l, d->name, d->ino, d->type, offset);
    struct fuse_entry_param e =
        entry_param(l->r, node, &d->attr, d->attr_valid_us, d->entry_valid_us);
    return listing_add(l, d->name, &e, offset);
}

static bool listing_add_dots(struct listing *l)
{
    off_t from = l->r->offset;
    return (from >= DIR_OFFSET_DOT ||
            listing_add_name(l, ".", l->r->ino, S_IFDIR, DIR_OFFSET_DOT)) &&
           (from >= DIR_OFFSET_DOTDOT ||
            listing_add_name(l, "..", l->r->ino == FUSE_ROOT_ID ? FUSE_ROOT_ID : UNKNOWN_INO,
                             S_IFDIR, DIR_OFFSET_DOTDOT));
}

/* Each plus entry with attributes counts as a look-up. Those that the kernel doesn't get are taken
 * back. */
static void reply_listing(struct request *r, const struct client_result *result)
{
    struct listing l = {.r = r, .buf = xmalloc(r->size), .plus = r->form == REPLY_DIRPLUS};
    size_t sent = 0;
    if (listing_add_dots(&l))
        while (sent < result->entries_count && listing_add_entry(&l, &result->entries[sent]))
            sent++;
    if (fuse_reply_buf(r->req, l.buf, l.used) == -ENOENT)
        sent = 0;
    free(l.buf);
    for (size_t i = 0; l.plus && i < result->entries_count; i++) {
        const struct client_dirent *d = &result->entries[i];
        if (d->has_attr && (i >= sent || dirent_node(r, d) == 0))
            take_back_lookup(r, d->attr.ino);
        else if (d->has_attr && S_ISDIR(d->attr.mode))
            places_count_listed(&r->kernel->places, d->attr.ino, r->dir);
    }
}

/* ---- locks ----------------------------------------------------------------------------------- */

/* The pid is the other mount's business when the lock is there; the kernel shows it all the same.
 */
static void reply_lock(struct request *r, const struct client_lock *lock)
{
    struct flock l = {.l_type = lock->type == CLIENT_LOCK_WRITE  ? F_WRLCK
                                : lock->type == CLIENT_LOCK_READ ? F_RDLCK
                                                                 : F_UNLCK,
                      .l_whence = SEEK_SET,
                      .l_start = (off_t)lock->first,
                      .l_len =
                          lock->last == FS_LOCK_END ? 0 : (off_t)(lock->last - lock->first + 1),
                      .l_pid = (pid_t)lock->pid};
    (void)fuse_reply_lock(r->req, &l);
}

/* ---- all --------------------------------------------------------------------------------------
 */

/* What the kernel does with its tree after this answer. */
static void note_place(struct request *r, const struct client_result *result)
{
    struct places *p = &r->kernel->places;
    if (result->err == ESTALE)
        places_walk_again(p, r->pid, uv_now(r->kernel->loop));
    if (result->moved)
        places_renamed(p, result->moved, r->dir, r->newdir);
    if (result->moved_back)
        places_renamed(p, result->moved_back, r->newdir, r->dir);
}

void reply_send(struct request *r, const struct client_result *result)
{
    assert(result->err >= 0);
    note_place(r, result);
    if (result->err == ENOENT && r->form == REPLY_ENTRY && result->entry_valid_us) {
        reply_no_entry(r, result);
        return;
    }
    if (result->err || r->form == REPLY_NOTHING) {
        (void)fuse_reply_err(r->req, result->err);
        return;
    }
    switch (r->form) {
    case REPLY_NOTHING:
        break;
    case REPLY_ENTRY:
        reply_entry(r, result);
        break;
    case REPLY_ATTR:
        reply_attr(r, result);
        break;
    case REPLY_CREATE:
        reply_create(r, result);
        break;
    case REPLY_OPEN:
        reply_open(r, result);
        break;
    case REPLY_SLICES:
        reply_slices(r, result);
        break;
    case REPLY_WRITTEN:
        assert(result->written <= r->size);
        (void)fuse_reply_write(r->req, result->written);
        break;
    case REPLY_DATA:
        reply_data(r, result);
        break;
    case REPLY_XATTR:
        reply_xattr(r, result);
        break;
    case REPLY_XATTR_NAMES:
        reply_xattr_names(r, result);
        break;
    case REPLY_STATFS:
        reply_statfs(r, result);
        break;
    case REPLY_DIR:
    case REPLY_DIRPLUS:
        reply_listing(r, result);
        break;
    case REPLY_LOCK:
        reply_lock(r, &result->lock);
        break;
    case REPLY_OFFSET:
        (void)fuse_reply_lseek(r->req, (off_t)result->offset);
        break;
    }
}
