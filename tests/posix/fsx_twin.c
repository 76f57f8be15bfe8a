#include "tests/posix/fsx_twin.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORY_LINES = 20, LINE_SIZE = 160, PAGE = 4096 };

uint64_t seed = 1, op_no;
size_t size_max = 1 << 20;
off_t base;
bool verbose;

unsigned char *twin, *scratch;
uint32_t *giver;
size_t twin_size;

static uint64_t random_state;
static char story[STORY_LINES][LINE_SIZE];

void twin_begin(void)
{
    twin = calloc(1, size_max + PAGE);
    giver = calloc(size_max + PAGE, sizeof *giver);
    scratch = aligned_alloc(PAGE, size_max + 65536 * 8);
    assert(twin && giver && scratch);
    random_state = seed;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t draw(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t draw_below(uint64_t n)
{
    return n ? draw() % n : 0;
}

void draw_range(size_t end, size_t *ret_at, size_t *ret_size)
{
    static const size_t longest[] = {64, PAGE, PAGE * 4, 65536, 65536 * 4};
    size_t size = 1 + draw_below(longest[draw_below(5)]), at = draw_below(end);
    switch (draw_below(4)) {
    case 0:
        at -= at % PAGE;
        break;
    case 1:
        at -= at % 65536;
        size = (size + PAGE - 1) / PAGE * PAGE;
        break;
    }
    *ret_at = at;
    *ret_size = at + size > end ? end - at : size;
}

void tell(const char *format, ...)
{
    char *line = story[op_no % STORY_LINES];
    int used = snprintf(line, LINE_SIZE, "%8llu ", (unsigned long long)op_no);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line + used, (size_t)(LINE_SIZE - used), format, args);
    va_end(args);
    if (verbose) {
        (void)fprintf(stderr, "%s\n", line);
    }
}

void differ(const char *format, ...)
{
    (void)printf("DIFFERENCE seed=%llu operation=%llu: ", (unsigned long long)seed,
                 (unsigned long long)op_no);
    va_list args;
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\nthe file should have %zu bytes%s; the last operations:\n", twin_size,
                 base ? " after its base" : "");
    for (uint64_t i = op_no >= STORY_LINES ? op_no - STORY_LINES + 1 : 1; i <= op_no; i++) {
        (void)printf("%s\n", story[i % STORY_LINES]);
    }
    exit(1);
}

void check_call(bool fine, const char *what)
{
    if (!fine) {
        differ("%s: %s", what, strerror(errno));
    }
}

void make_data(size_t at, size_t size)
{
    uint64_t mark = op_no * 0x9e3779b97f4a7c15u >> 32;
    bool zeros = draw_below(16) == 0;
    for (size_t i = 0; i < size; i++) {
        scratch[i] = zeros ? 0 : (unsigned char)(mark + (at + i) * 3 + ((at + i) >> 9));
    }
}

void twin_put(size_t at, const unsigned char *data, size_t size)
{
    memcpy(twin + at, data, size);
    for (size_t i = at; i < at + size; i++) {
        giver[i] = (uint32_t)op_no;
    }
    twin_size = at + size > twin_size ? at + size : twin_size;
}

void twin_zero(size_t at, size_t end)
{
    memset(twin + at, 0, end - at);
    for (size_t i = at; i < end; i++) {
        giver[i] = (uint32_t)op_no;
    }
}

void twin_resize(size_t size)
{
    size_t low = size < twin_size ? size : twin_size, high = size < twin_size ? twin_size : size;
    twin_zero(low, high);
    twin_size = size;
}

void compare(const unsigned char *got, size_t at, size_t size, const char *what)
{
    size_t i = 0;
    if (memcmp(got, twin + at, size) == 0) {
        return;
    }
    while (got[i] == twin[at + i]) {
        i++;
    }
    size_t wrong = 0, last = i;
    for (size_t k = i; k < size; k++) {
        if (got[k] != twin[at + k]) {
            wrong++;
            last = k;
        }
    }
    differ("%s of %zu bytes at %zu: byte %zu is 0x%02x, not 0x%02x as operation %u left it; %zu "
           "bytes differ, the last %zu",
           what, size, at, at + i, got[i], twin[at + i], giver[at + i], wrong, at + last);
}
