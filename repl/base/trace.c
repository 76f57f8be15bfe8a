#include "repl/base/trace.h"

#include <stdarg.h>
#include <stdio.h>

void trace_printf(const struct trace *t, const char *format, ...)
{
    if (!trace_on(t)) {
        return;
    }
    char text[TRACE_LINE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    t->line(t->ctx, text);
}
