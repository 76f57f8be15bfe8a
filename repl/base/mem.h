/* Memory that cannot fail, and shared byte buffers. Pure: nothing but the allocator.
 *
 * Running out of memory ends the process with a message: no caller could do better than restart,
 * and a restart is what the protocol is built to survive. */
#ifndef TALLY_REPL_BASE_MEM_H
#define TALLY_REPL_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* As malloc, calloc, realloc, strdup, but never NULL. A size of 0 gives a pointer that can be
 * freed. xreallocarray and xcalloc check the product for overflow. */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t count, size_t size);
char *xstrdup(const char *s);
void *xmemdup(const void *p, size_t size);

/* A counted run of bytes, shared instead of copied on its way from socket to disk to socket.
 * Whoever makes a blob may fill it; once a second reference exists the bytes are frozen. The count
 * is atomic, so that a reference may be dropped on another thread (journal, block pool). */
struct blob {
    uint32_t refs;
    uint32_t size; /* bytes in `data`; its maker may lower it while it holds the only reference */
    uint32_t lead; /* bytes of the allocation before this */
    uint32_t zero;
    uint8_t data[];
};

/* Large blobs begin at a page, so that they can go to a disk directly. */
#define BLOB_ALIGN     4096u
#define BLOB_ALIGN_MIN (256u << 10)

/* One reference, `size` bytes, not cleared. */
struct blob *blob_new(size_t size);
struct blob *blob_copy(const void *p, size_t size);
/* One more reference; returns `b`. NULL stays NULL. */
struct blob *blob_ref(struct blob *b);
/* Drops a reference and frees with the last. NULL is fine. */
void blob_unref(struct blob *b);
/* Of all blobs that were made so far, by any thread: how busy the heap is. */
uint64_t blob_bytes_made(void);

#endif
