/* "Did you mean": the known word nearest to a mistyped one. */
#ifndef TALLY_TOOLS_CLI_NEAREST_H
#define TALLY_TOOLS_CLI_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *word; /* borrowed */
    const char *best; /* NULL while nothing is near enough */
    size_t distance;
};
void nearest_init(struct nearest *n, const char *word);
/* Considers `known` (borrowed until the result is used). */
void nearest_offer(struct nearest *n, const char *known);

#endif
