/* Messages for people, cut where the room ends: half a path is better than none. */
#ifndef TALLY_TOOLS_CLI_TEXT_H
#define TALLY_TOOLS_CLI_TEXT_H

#include <stddef.h>

void text_format(char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Names may hold any bytes: those that are no UTF-8, or that a terminal would obey, become '?'. */
void text_make_printable(char *text);

#endif
