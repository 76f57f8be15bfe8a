/* Rows as a picture: messages per election and time to leader over the size of the cluster. */
#ifndef TALLY_TOOLS_ELECT_PLOT_H
#define TALLY_TOOLS_ELECT_PLOT_H

#include <stddef.h>
#include <stdio.h>

#include "tools/elect/sweep.h"

/* Writes an SVG with two panels per (profile, raw) found in `rows`, one below the other, both axes
 * logarithmic. Rows of one strategy make one line, in the order they are given. */
void plot_write(FILE *out, const struct elect_row *rows, size_t count);

#endif
