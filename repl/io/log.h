/* The process's own log: one line per event on stderr, `RFC 3339 UTC  level  code  text`. A line
 * that repeats is counted and not printed again until another comes or a second passes. */
#ifndef TALLY_REPL_IO_LOG_H
#define TALLY_REPL_IO_LOG_H

/* `event` is a short stable word, `format` gives key=value pairs. */
void log_info(const char *event, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warn(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_error(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
