#!/usr/bin/env python3
"""The pure cores call nothing but memory, strings and hashes: no clock, no I/O, no threads, no randomness.

Also: no two libraries define the same name, or the program would call whichever was linked first.

check_pure.py LIBRARY.a...    exit 0 clean, 1 with one line per symbol that has no business there
check_pure.py --test          feeds itself a bad list and expects to object
"""
import re
import subprocess
import sys

# What libc (and compilers) may give: memory, strings, sorting, formatting into a buffer, assert.
LIBC = re.compile(r'''^(malloc|calloc|realloc|reallocarray|free|abort|qsort|bsearch|
    mem(cpy|move|set|cmp|chr|rchr|mem|pcpy)|str(len|nlen|cmp|ncmp|chr|rchr|str|dup|ndup|cpy|ncpy|cat|spn|cspn)|stpcpy|
    (v?snprintf)|__(memcpy|memmove|memset|strcpy|strcat|v?snprintf|strncpy)_chk|
    __assert_fail|__stack_chk_fail|__stack_chk_guard|_GLOBAL_OFFSET_TABLE_|
    __popcount[dst]i2|strerror|__ctype_b_loc|
    stderr|fwrite|fputs|fputc|fprintf|__fprintf_chk|vfprintf|fflush   # the last words before abort() in mem.c
    )$''', re.X)
# Libraries that only compute, and what sanitizers and coverage add.
LIBS = re.compile(r'^(protobuf_c_|fs__|repl__|XXH|_?_?(asan|ubsan|gcov|sanitizer|llvm)_)')
# The last words of mem.c go to stderr; nobody else may print.
PRINTING = re.compile(r'^(stderr|fwrite|fputs|fputc|v?fprintf|__fprintf_chk|fflush)$')


def undefined(library):
    """[(object, symbol)] that `library` needs from outside itself."""
    out = subprocess.run(['nm', '-A', '-P', library], check=True, capture_output=True, text=True).stdout
    need, have = [], set()
    for line in out.splitlines():
        where, _, rest = line.partition(': ')
        name, kind = rest.split()[:2]
        if kind == 'U':
            need.append((re.sub(r'.*[\[/]([^\]/]*)\]?$', r'\1', where), name))
        elif kind.isupper() or kind in 'wv':
            have.add(name)
    return need, have


def offences(need, have):
    bad = []
    for where, name in need:
        if name in have or LIBS.match(name):
            continue
        if not LIBC.match(name) or (PRINTING.match(name) and not where.startswith('mem.c')):
            bad.append(f'{where}: calls {name}')
    return bad


def twice(names):
    """`names`: [(library, set of symbols it defines)]."""
    first, bad = {}, []
    for library, symbols in names:
        for symbol in sorted(symbols):
            if symbol in first:
                bad.append(f'{symbol} is defined in {first[symbol]} and in {library}')
            first[symbol] = library
    return bad


def check(libraries):
    need, have, names = [], set(), []
    for library in libraries:
        n, h = undefined(library)
        need += n
        have |= h
        names.append((library.rsplit('/', 1)[-1], {s for s in h if not s.startswith(('_', '.'))}))
    return offences(need, have) + twice(names)


def test():
    bad = [('a.c.o', s) for s in ('clock_gettime', 'time', 'rand', 'getrandom', 'write', 'open', 'printf', 'uv_run',
                                  'pthread_create', 'rocksdb_put', 'fprintf', 'getenv', 'usleep')]
    good = [('a.c.o', s) for s in ('memcpy', 'qsort', 'snprintf', 'protobuf_c_message_pack', 'log_append')]
    found = offences(bad + good + [('mem.c.o', 'fprintf')], {'log_append'})
    clash = twice([('liba.a', {'x', 'y'}), ('libb.a', {'z', 'y'})])
    return len(found) != len(bad) or len(clash) != 1


if __name__ == '__main__':
    if sys.argv[1:] == ['--test']:
        sys.exit(1 if test() else 0)
    found = check(sys.argv[1:])
    print('\n'.join(found) if found else 'purity: clean')
    sys.exit(1 if found else 0)
