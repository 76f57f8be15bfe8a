/* The network of a run: repl/io/link.h between processes. A link is a pair of streams; a stream
 * keeps its order, except that bulk frames may be overtaken. All frames pass through the encoder
 * and decoder of repl/wire. */
#ifndef TALLY_TESTS_SIM_NET_H
#define TALLY_TESTS_SIM_NET_H

#include "tests/sim/process.h"

void net_start(void);
void net_free(void);
/* All links of a process end: closed (killed: the others hear it) or, with its machine, silent. */
void net_process_down(struct process *p, bool silent);

/* From `a` to `b` alone. */
void net_cut(uint32_t a, uint32_t b, bool cut);        /* silent; mended with or without a reset */
void net_clog(uint32_t a, uint32_t b, bool clogged);   /* delivers nothing, keeps everything */
void net_delay(uint32_t a, uint32_t b, time_us extra); /* each frame may take up to this longer */
void net_loss(uint32_t a, uint32_t b, uint32_t per_million);    /* and the link is reset */
void net_reorder(uint32_t a, uint32_t b, uint32_t per_million); /* bulk frames held back */
/* `a` sees the link end and connects again while what it sent is still to arrive. */
void net_duplicate(uint32_t a, uint32_t b, uint32_t per_million);
void net_reset(uint32_t a, uint32_t b);
void net_heal_all(void);

#endif
