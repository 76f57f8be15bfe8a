/* Messages for people, cut where the room ends: half a path is better than none. */
#ifndef TALLY_TOOLS_CLI_TEXT_H
#define TALLY_TOOLS_CLI_TEXT_H

#include <stddef.h>

void text_format(char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
