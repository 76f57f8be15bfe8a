/* Points in time and durations: microseconds of CLOCK_BOOTTIME, which goes on while the machine
 * sleeps (RULES L9) and never jumps. Always handed in: cores have no clock. Wall time (mtime and
 * the like) is int64_t nanoseconds and named `_ns`. */
#ifndef TALLY_REPL_BASE_TIME_H
#define TALLY_REPL_BASE_TIME_H

#include <stdint.h>

typedef uint64_t time_us;

#define TIME_MS ((time_us)1000)
#define TIME_S  ((time_us)1000000)
/* Later than everything: "no timer". */
#define TIME_NEVER UINT64_MAX

static inline time_us time_min(time_us a, time_us b)
{
    return a < b ? a : b;
}

static inline time_us time_max(time_us a, time_us b)
{
    return a > b ? a : b;
}

/* now - since, and 0 when `since` lies ahead: two clocks readings may arrive out of order. */
static inline time_us time_since(time_us now, time_us since)
{
    return now > since ? now - since : 0;
}

#endif
