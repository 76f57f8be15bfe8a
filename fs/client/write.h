/* Data operations at the head of their file's queue, and what changes of data need first. */
#ifndef TALLY_FS_CLIENT_WRITE_H
#define TALLY_FS_CLIENT_WRITE_H

#include "fs/client/file.h"
#include "fs/client/op.h"

/* One more of them. True: finished (and freed); false: it waits. */
bool op_data_step(struct client *c, struct file *f, struct op *op);
bool copy_step(struct client *c, struct file *f, struct op *op);
bool allocate_step(struct client *c, struct file *f, struct op *op);
/* What changes need; each is false when the operation waits for it. A reservation of so many bytes
 * in op->space: */
bool change_space_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes);
/* ... room for so many in the buffer: */
bool change_room_ready(struct client *c, struct file *f, struct op *op, uint64_t bytes);
/* ... the content of a page that is kept in part, in change_current_page() then. */
bool change_base_ready(struct client *c, struct file *f, struct op *op, uint64_t no);
/* ... all that a write of the range leaves of its first and last page. */
bool change_edges_ready(struct client *c, struct file *f, struct op *op, uint64_t offset,
                        uint64_t size);
/* What page `no` holds now. False: not known yet. */
bool change_current_page(const struct client *c, const struct file *f, const struct op *op,
                         uint64_t no, struct page *ret);
void change_drop_old_base(const struct file *f, struct op *op);
/* Set-id bits and capabilities that do not outlive the change (privs.c). True: they are being
 * dropped, and the operation comes back to the queue. */
bool privs_drop_first(struct client *c, const struct file *f, struct op *op);
/* Out of the queue: it goes on when what it did is committed. */
void change_commit(struct client *c, struct file *f, struct op *op);

#endif
