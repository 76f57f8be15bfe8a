/* Where a pure core tells what it does, one event a line: the simulator compares the lines, the
 * daemon prints them. */
#ifndef TALLY_REPL_BASE_TRACE_H
#define TALLY_REPL_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised: nobody listens. */
struct trace {
    void (*line)(void *ctx, const char *text);
    void *ctx;
};

/* Ask before computing something that only the trace needs. */
static inline bool trace_on(const struct trace *t)
{
    return t != NULL && t->line != NULL;
}

/* Formats one line without newline, "n2 term=7 vote refused to=n1 reason=log_behind". Cut at
 * TRACE_LINE_MAX - 1 bytes. `t` may be NULL. */
#define TRACE_LINE_MAX 512
void trace_printf(const struct trace *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
