/* Histories built by hand, for the tests of their checkers. */
#ifndef TALLY_TESTS_SIM_TEST_HISTORY_H
#define TALLY_TESTS_SIM_TEST_HISTORY_H

#include "repl/base/hash.h"
#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/test_run.h"

enum { FILE_A = 5, FILE_B = 6, NEVER = 0 };

extern struct history h;
extern time_us led_since, led_until; /* one leader leads between */

/* Around each test. */
void setup(void);
void setup_session(void); /* consistency=session */
void teardown(void);

/* Each adds an operation by this mount, with times in any unit, and returns it until the next one
 * is added. Of bytes, they are FILE_A's. */
struct history_op *add(enum history_kind kind, uint32_t mount, time_us start, time_us end);
struct history_op *put(uint32_t mount, time_us start, time_us end, uint32_t unit, uint32_t units,
                       uint64_t stamp);
struct history_op *truncated(uint32_t mount, time_us start, time_us end, uint32_t units);
struct history_op *synced(uint32_t mount, time_us start, time_us end);
struct history_op *got(uint32_t mount, time_us start, time_us end, uint32_t unit, uint32_t count,
                       ...);
struct history_op *appended(uint32_t mount, time_us start, time_us end, uint64_t stamp);
struct history_op *records(uint32_t mount, time_us start, time_us end, uint32_t count, ...);
struct history_op *on_path(enum history_kind kind, uint32_t mount, time_us start, time_us end,
                           const char *path, int err);
struct history_op *listed(uint32_t mount, time_us start, time_us end, uint32_t count, ...);
void killed(uint32_t mount, time_us at);
struct history_op *stat_of(uint32_t mount, time_us start, time_us end, int64_t mtime);

#endif
