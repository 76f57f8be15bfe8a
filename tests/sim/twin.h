/* What the two bodies of repl/io/store.h need in order to be driven by twin.c alike (twin_real.c,
 * twin_model.c), and the blocks they are given (twin_blocks.c). */
#ifndef TALLY_TESTS_SIM_TWIN_H
#define TALLY_TESTS_SIM_TWIN_H

#include "repl/io/store.h"

const char *twin_dir(void);
/* Until everything started so far is done and reported. */
void twin_wait(struct store *s);
/* Nothing is under way, and the process falls: what is open is lost, what is on the disk is not.
 * Returns, or main() begins again with `argv` and finds `state` by twin_again(). */
void twin_crash(struct store *s, char **argv, const void *state, size_t size);
bool twin_again(void *state, size_t size);
void twin_end(void);

struct blob *twin_bytes(int n);
/* Of so many, one after another; `size` in all. */
struct blob *twin_join(const int *n, uint32_t count, uint32_t size);
struct block_ref twin_ref(int n);

#endif
