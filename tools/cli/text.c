#include "tools/cli/text.h"

#include <stdarg.h>
#include <stdio.h>

void text_format(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(buf, size, format, args);
    va_end(args);
}
