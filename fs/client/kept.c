/* Pages that this mount committed under a file's write lease, or read under it: nobody else can
 * have changed them since. Linux drops its own ones when it sees the new time of what it wrote
 * (FUSE.md 1), and asks for them again; and what is left of a page that is written in part need not
 * be read from a copy.
 *
 * They are the file as of the last COMMIT that is done, below what is not committed yet; they say
 * nothing of other pages. They go with the lease, and are not relied on while the session may have
 * ended (RULES L2, L9). */
#include <string.h>

#include "fs/client/buffer.h"
#include "fs/client/cache.h"
#include "fs/client/commit.h"
#include "fs/client/file.h"
#include "fs/client/internal.h"
#include "fs/client/read.h"
#include "fs/client/session.h"
#include "repl/base/mutant.h"

#define READ_KEPT_MAX 16u /* pages of one READ: who reads more has no use for them here */

void kept_drop(struct client *c, struct file *f)
{
    c->kept_bytes -= f->kept.pages.count * FS_PAGE;
    layer_done(&f->kept);
    list_remove(&f->kept_link);
}

bool kept_find(const struct client *c, const struct file *f, uint64_t no, struct page *ret)
{
    if (f->lease != LEASE_HELD || !session_lease_valid(c)) {
        return false;
    }
    const struct page *p = layer_find(&f->kept, no);
    if (p != NULL) {
        *ret = *p;
    }
    return p != NULL;
}

/* A page in a larger blob gets one of its own, which would keep all of it. */
static void put(struct client *c, struct file *f, const struct page *page)
{
    struct page own = *page;
    if (page->size == 0) {
        own.blob = NULL;
    }
    bool part = own.blob != NULL && own.blob->size > FS_PAGE;
    if (part) {
        own.blob = blob_new(page->size);
        own.offset = 0;
        memcpy(own.blob->data, page->blob->data + page->offset, page->size);
    }
    size_t before = f->kept.pages.count;
    layer_put(&f->kept, &own);
    if (part) {
        blob_unref(own.blob);
    }
    c->kept_bytes += (f->kept.pages.count - before) * FS_PAGE;
}

static void forget(struct client *c, struct file *f, uint64_t first, uint64_t end)
{
    size_t before = f->kept.pages.count;
    layer_forget(&f->kept, first, end);
    c->kept_bytes -= (before - f->kept.pages.count) * FS_PAGE;
}

/* It was used last. Those that were used longest ago go first. */
static void settle(struct client *c, struct file *f)
{
    list_remove(&f->kept_link);
    if (f->kept.pages.count != 0) {
        list_push_back(&c->kept_files, &f->kept_link);
    }
    while (c->kept_bytes > c->config.kept_bytes) {
        kept_drop(c, list_first(&c->kept_files, struct file, kept_link));
    }
}

void kept_committed(struct client *c, const struct commit *k)
{
    struct file *f = k->file;
    if (k->refers || !k->inline_bytes || f->lease != LEASE_HELD || c->config.kept_bytes == 0) {
        kept_drop(c, f); /* for a lot of bytes it would be a copy of them all */
        return;
    }
    const struct layer *l = &k->layer;
    if (l->cut_from != PAGE_NONE && !MUTANT(kept_behind_end)) {
        forget(c, f, l->cut_from, PAGE_NONE);
    }
    for (size_t h = 0; h < l->holes.count; h++) {
        forget(c, f, l->holes.items[h].first, l->holes.items[h].end);
    }
    for (size_t p = 0; p < l->pages.count; p++) {
        put(c, f, &l->pages.items[p]);
    }
    settle(c, f);
}

/* It is of no version before that of the last COMMIT that is done, nor of the lease
 * (read_is_new()); what is on its way may be in it or not. */
void kept_read(struct client *c, struct inode *i, const struct read_job *job)
{
    struct file *f = i->file;
    if (!job->own || f == NULL || job->pages > READ_KEPT_MAX || f->lease != LEASE_HELD ||
        !session_lease_valid(c) || c->config.kept_bytes == 0) {
        return;
    }
    for (uint32_t p = 0; p < job->pages; p++) {
        struct page known;
        struct page read = job->over[p];
        read.no = job->first + p;
        if (job->missing[p] && !file_find_page(f, read.no, &known)) {
            put(c, f, &read);
        }
    }
    settle(c, f);
}
