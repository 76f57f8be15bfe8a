#include "tools/cli/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

void text_format(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(buf, size, format, args);
    va_end(args);
}

/* Bytes of the UTF-8 character at `p`, which ends with a NUL; 0: it is none. */
static size_t character(const unsigned char *p)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000}; /* of so many bytes */
    size_t n = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
    unsigned code = n < 2 ? *p : *p & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff,
         control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    return n == 0 || code < least[n] || code > 0x10ffff || surrogate || control ? 0 : n;
}

void text_make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p;) {
        size_t n = character(p);
        if (n == 0)
            *p = '?';
        p += n ? n : 1;
    }
}
