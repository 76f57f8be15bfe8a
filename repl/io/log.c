#include "repl/io/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char last[LINE_MAX_BYTES];
static unsigned repeats;
static time_t last_second;

static void print(const struct timespec *now, const char *text)
{
    char line[LINE_MAX_BYTES + 64];
    struct tm tm;
    (void)gmtime_r(&now->tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    int more = snprintf(line + n, sizeof line - n, ".%03ldZ %s\n", now->tv_nsec / 1000000, text);
    /* one write: lines of several processes in one file stay whole */
    if (more > 0)
        (void)!write(STDERR_FILENO, line,
                     n + (size_t)more < sizeof line ? n + (size_t)more : sizeof line - 1);
}

static void print_repeats(const struct timespec *now)
{
    char text[64];
    if (!repeats)
        return;
    (void)snprintf(text, sizeof text, "info  repeated times=%u", repeats);
    repeats = 0;
    print(now, text);
}

static void log_line(const char *level, const char *code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void log_line(const char *level, const char *code, const char *format, va_list args)
{
    char text[LINE_MAX_BYTES];
    struct timespec now;
    int n = snprintf(text, sizeof text, "%-5s %s ", level, code);
    if (n < 0 || (size_t)n >= sizeof text)
        return;
    (void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)pthread_mutex_lock(&mutex);
    if (strcmp(text, last) == 0 && now.tv_sec == last_second) {
        repeats++;
    } else {
        print_repeats(&now);
        memcpy(last, text, sizeof last);
        last_second = now.tv_sec;
        print(&now, text);
    }
    (void)pthread_mutex_unlock(&mutex);
}

#define LOG_AT(level)                                                                              \
    va_list args;                                                                                  \
    va_start(args, format);                                                                        \
    log_line(level, code, format, args);                                                           \
    va_end(args)

void log_info(const char *code, const char *format, ...)
{
    LOG_AT("info");
}

void log_warn(const char *code, const char *format, ...)
{
    LOG_AT("warn");
}

void log_error(const char *code, const char *format, ...)
{
    LOG_AT("error");
}
