/* Rows for people. */
#ifndef TALLY_TOOLS_ELECT_TABLE_H
#define TALLY_TOOLS_ELECT_TABLE_H

#include <stdio.h>

#include "tools/elect/sweep.h"

/* What the rows under it have in common, and the names of the columns. */
void table_heading(FILE *out, enum profile profile, bool raw);
void table_row(FILE *out, const struct elect_row *row);

#endif
