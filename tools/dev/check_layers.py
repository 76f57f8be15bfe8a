#!/usr/bin/env python3
"""Who may include whom: the table of docs/ARCHITECTURE.md, checked on every commit.

check_layers.py [ROOT]     exit 0 clean, 1 with one line per offence
check_layers.py --test     feeds itself offences and expects to object
"""
import os
import re
import sys

# folder -> the project's folders its files may include. Longest matching folder counts.
MAY = {
    'election': ['election'],
    'repl/base': ['repl/base'],
    'repl/core': ['repl/core', 'repl/base', 'election'],
    'repl/wire': ['repl/wire', 'repl/base', 'repl/core', 'election'],
    'repl/io': ['repl/io', 'repl/base', 'repl/core', 'repl/wire', 'election'],
    'fs/core': ['fs/core', 'repl/base'],
    'fs/app': ['fs/app', 'fs/core', 'repl/core', 'repl/base'],
    'fs/client': ['fs/client', 'fs/core', 'repl/core', 'repl/base'],
    'fs/fuse': ['fs/fuse', 'fs/client', 'fs/core', 'repl/base'],
    'node': ['node', 'fs/app', 'fs/core', 'repl', 'election'],
    'tools': ['tools', 'node', 'fs', 'repl', 'election'],
    'tests': ['tests', 'tools', 'node', 'fs', 'repl', 'election'],
}
# One wrapper per library: header pattern -> the only files (prefixes) that may include it.
ONLY = {
    r'xxhash\.h': ['repl/base/hash'],
    r'rocksdb/': ['repl/io/kv_rocks'],
    r'uv\.h': ['repl/io', 'fs/fuse', 'node/node', 'tools', 'tests'],
    r'fuse(_lowlevel)?\.h|fuse3/': ['fs/fuse', 'tests', 'tools/cli/cmd_mount', 'tools/cli/mount'],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    fits = [f for f in MAY if path == f or path.startswith(f + '/')]
    return max(fits, key=len) if fits else None


def check_line(path, line):
    """The offence that `line` of `path` is, or None."""
    m = INCLUDE.match(line)
    if not m:
        return None
    quote, target = m.groups()
    for pattern, files in ONLY.items():
        if re.match(pattern, target) and not any(path.startswith(f) for f in files):
            return f'{path}: <{target}> belongs behind {files[0]}'
    if quote == '<':
        return None
    mine = folder_of(path)
    if '/' not in target:
        return f'{path}: "{target}" is not a path from the root'
    if not any(target == f or target.startswith(f + '/') for f in MAY[mine]):
        return f'{path}: {mine} may not include "{target}"'
    return None


def check_tree(root):
    offences = []
    for top in sorted({f.split('/')[0] for f in MAY}):
        for folder, _, files in os.walk(os.path.join(root, top)):
            for name in sorted(files):
                if not name.endswith(('.c', '.h')):
                    continue
                full = os.path.join(folder, name)
                path = os.path.relpath(full, root)
                with open(full, encoding='utf-8') as f:
                    offences += filter(None, (check_line(path, line) for line in f))
    return offences


def test():
    bad = [('election/a.c', '#include "repl/base/mem.h"'), ('fs/core/a.c', '#include "repl/io/link.h"'),
           ('fs/client/a.c', '#include <uv.h>'), ('repl/core/a.c', '#include "mem.h"'),
           ('repl/io/link.c', '#include <rocksdb/c.h>'), ('tools/cli/a.c', '#include "tests/lib/x.h"'),
           ('repl/core/a.c', '#include "fs/core/state.h"')]
    good = [('election/a.c', '#include "election/quorum.h"'), ('fs/app/a.c', '#include "fs/core/state.h"'),
            ('repl/io/kv_rocks.c', '#include <rocksdb/c.h>'), ('tests/unit/a.c', '#include "fs/app/app.h"')]
    missed = [b for b in bad if not check_line(*b)] + [g for g in good if check_line(*g)]
    for m in missed:
        print('wrong verdict on', m)
    return missed


if __name__ == '__main__':
    if sys.argv[1:] == ['--test']:
        found = test()
    else:
        found = check_tree(sys.argv[1] if len(sys.argv) > 1 else '.')
        print('\n'.join(found) if found else 'layers: clean')
    sys.exit(1 if found else 0)
