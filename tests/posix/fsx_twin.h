/* The twin of the file that fsx works on: what it must hold, and which operation gave each byte.
 * Also the random numbers, and the story of the last operations, which is told when the file
 * differs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a run is; set before twin_begin. */
extern uint64_t seed, op_no;
extern size_t size_max; /* bytes */
extern off_t base;      /* where in the file the twin's first byte lies */
extern bool verbose;    /* every operation is printed before it is done */

extern unsigned char *twin;
extern unsigned char *scratch; /* room for any one operation, aligned to a page */
extern uint32_t *giver;
extern size_t twin_size;

void twin_begin(void);

uint64_t draw(void);
uint64_t draw_below(uint64_t n); /* 0 for n = 0 */

/* A range below `end`: mostly short, sometimes long, at times on page or block boundaries. */
void draw_range(size_t end, size_t *ret_at, size_t *ret_size);

/* Says what operation op_no does, before it does it. */
__attribute__((format(printf, 1, 2))) void tell(const char *format, ...);

/* Ends the program with exit code 1 and the story. */
__attribute__((format(printf, 1, 2), noreturn)) void differ(const char *format, ...);

/* differ() with errno, unless the call was fine. */
void check_call(bool fine, const char *what);

/* Fills scratch with bytes that tell their operation and their place; sometimes with zeros, which
 * may be stored as holes. */
void make_data(size_t at, size_t size);

/* What the file holds from now on: these bytes at `at`; zeros from `at` to `end`; `size` bytes. */
void twin_put(size_t at, const unsigned char *data, size_t size);
void twin_zero(size_t at, size_t end);
void twin_resize(size_t size);

/* Bytes read from `at` on, as many as the twin has. */
void compare(const unsigned char *got, size_t at, size_t size, const char *what);
