"""Tools that copy, watch, edit and build: what they leave at one mount is there at the other, to the last attribute."""
import contextlib
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, Lab, process, tree_digest, wait_until
from tests.lib.programs import read_file, run, write_file
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
TREE = os.environ.get('TREE', os.path.join(ROOT, 'fs'))  # a real tree of some hundred kilobytes
UNITS, PARTS = (400, 10) if NIGHTLY else (60, 6)  # C files, in so many directories
VIM = shutil.which('vim') or shutil.which('vim.tiny') or 'vim'


def rich_tree(top):
    """A tree with everything that copying tools can carry over."""
    shutil.copytree(TREE, top)
    os.symlink('../no where', f'{top}/dangling')
    os.link(f'{top}/core/state.h', f'{top}/hard')
    os.mkfifo(f'{top}/fifo')
    run('truncate', '-s', '3M', f'{top}/sparse')
    with open(f'{top}/sparse', 'r+b') as f:
        f.seek(2 * 2**20)
        f.write(b'in the middle')
    write_file(f'{top}/odd \n name', b'x' * 70_000)
    os.chown(f'{top}/sparse', 12345, 54321)
    os.chmod(f'{top}/sparse', 0o2755)
    os.setxattr(f'{top}/hard', 'user.note', b'\0binary\xff' * 20)
    os.setxattr(f'{top}/core', 'user.of a directory', b'd')
    os.setxattr(f'{top}/fifo', 'trusted.of', b'a fifo')
    run('setfacl', '-m', 'u:1001:rw,g:1002:r,m::rwx', f'{top}/sparse')
    run('setfacl', '-m', 'u:1003:rwx,d:u:1004:rx,d:g::r', f'{top}/client')
    os.utime(f'{top}/client', ns=(10**18 + 7, -10**9 + 3))
    return top


def described(top):
    """Access lists and attributes of all that is in a tree."""
    lines = run('getfacl', '-R', '-n', '-p', '.', cwd=top)
    xattrs = {}
    for folder, dirs, files in os.walk(top):
        for path in (os.path.join(folder, name) for name in dirs + files):
            xattrs[os.path.relpath(path, top)] = {n: os.getxattr(path, n, follow_symlinks=False)
                                                  for n in os.listxattr(path, follow_symlinks=False)}
    return sorted(lines.split('\n\n')), xattrs


@test('rsync -aHAX to one mount and, after changes, back from the other: nothing differs by checksum, owner, time, link, xattr or ACL')
def _():
    with Lab() as lab:
        source, a, b = rich_tree(f'{lab.dir}/source'), lab.path('m1', 'copy'), lab.path('m2', 'copy')
        everything = ('rsync', '-aHAX', '--numeric-ids', '--checksum', '--delete')
        run(*everything, '--sparse', f'{source}/', f'{a}/')
        for mounted in (a, b):
            assert run(*everything, '-ni', f'{source}/', f'{mounted}/') == ''
            assert described(mounted) == described(source)
        os.rename(f'{b}/core', f'{b}/moved')
        write_file(f'{b}/new', b'new')
        run('setfacl', '-b', f'{b}/sparse')
        run(*everything, f'{a}/', f'{source}/')  # takes the changes that were made at the other mount
        assert run(*everything, '-ni', f'{source}/', f'{b}/') == '' and described(source) == described(b)
        with open(f'{source}/sparse', 'r+b') as f:
            f.seek(100_000)
            f.write(b'a little change in place')
        run(*everything, '--inplace', '--no-whole-file', f'{source}/', f'{b}/')
        assert run(*everything, '-ni', f'{source}/', f'{a}/') == ''


@test('tar with xattrs, ACLs and holes: packed at one mount, unpacked at the other, equal at both')
def _():
    with Lab() as lab:
        source = rich_tree(f'{lab.dir}/source')
        keep = ('--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '--sparse')
        run('tar', *keep, '-C', source, '-cf', lab.path('m1', 'a.tar'), '.')
        os.mkdir(lab.path('m2', 'out'))
        run('tar', *keep, '-C', lab.path('m2', 'out'), '-xpf', lab.path('m2', 'a.tar'))
        for mount in ('m1', 'm2'):
            assert described(lab.path(mount, 'out')) == described(source)
            assert run('rsync', '-aHAXnic', '--numeric-ids', '--delete', f'{source}/', lab.path(mount, 'out/')) == ''
            assert os.stat(lab.path(mount, 'out/sparse')).st_blocks * 512 < 2**20


def edit(path, *commands):
    run(VIM, '-N', '-u', 'NONE', '-i', 'NONE', '-es', *(word for c in commands for word in ('-c', c)), path)


@test('vim saves with a backup made by renaming and by copying; links, owner and mode as asked; no swap file is left')
def _():
    with Lab() as lab:
        os.mkdir(lab.path('m1', 'd'))
        a, b = lab.path('m1', 'd/text'), lab.path('m2', 'd/text')
        text = ''.join(f'line {i} is old\n' for i in range(3000))
        for copied, mount_path, other_path in (('no', a, b), ('yes', b, a)):
            for at in ('text', 'text~', 'link'):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(lab.path('m1', 'd'), at))
            write_file(other_path, text.encode())
            os.chown(other_path, 777, 778)
            os.chmod(other_path, 0o640)
            os.link(other_path, os.path.join(os.path.dirname(other_path), 'link'))
            edit(mount_path, 'set backup backupskip=', f'set backupcopy={copied}', '%s/old/new/', 'w', '1d', 'wq')
            want = text.replace('old', 'new').split('\n', 1)[1]
            for path in (a, b):
                assert read_file(path).decode() == want
                assert read_file(path + '~').decode().splitlines()[1:] == want.splitlines()  # as it was before the last save
                st = os.stat(path)
                assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (777, 778, 0o640), st
            assert os.path.samefile(lab.path('m2', 'd/link'), b) == (copied == 'yes')
            assert sorted(os.listdir(lab.path('m2', 'd'))) == ['link', 'text', 'text~']


@test('tail -f follows at one mount what is appended at the other, also when the file is cut, and tail -F when it is replaced')
def _():
    with Lab() as lab:
        here, there = lab.path('m1', 'log'), lab.path('m2', 'log')
        write_file(here, b'first\n')
        outs = {flag: os.path.join(lab.dir, f'tail{flag}') for flag in ('-f', '-F')}
        with contextlib.ExitStack() as stack:
            for flag, out in outs.items():
                f = stack.enter_context(open(out, 'wb'))
                stack.enter_context(process(['tail', '-n', '+1', '-s', '0.05', flag, there], stdout=f, stderr=subprocess.DEVNULL))

            def seen(text, *flags):
                wait_until(lambda: all(read_file(outs[flag]).endswith(text) for flag in flags), 20, f'{text} is seen by tail {flags}')

            seen(b'first\n', '-f', '-F')
            with open(here, 'ab', buffering=0) as log:
                for i in range(200):
                    log.write(b'record %d\n' % i)
                seen(b'record 199\n', '-f', '-F')
                os.truncate(here, 0)
                wait_until(lambda: os.path.getsize(there) == 0, 20, 'it is cut')
                log.write(b'from the top\n')
            seen(b'from the top\n', '-f', '-F')
            os.rename(here, here + '.1')
            write_file(here, b'another file\n')
            seen(b'another file\n', '-F')
            with open(there + '.1', 'ab') as f:
                f.write(b'to the old one\n')
            seen(b'to the old one\n', '-f')
        lines = read_file(outs['-f']).splitlines()
        records = [line for line in lines if line.startswith(b'record')]
        assert records == [b'record %d' % i for i in range(200)], lines[:5]


def generate(top):
    """A project in the manner of a kernel: directories, each linked into one object; dependencies as found by the compiler."""
    per = UNITS // PARTS
    for part in range(PARTS):
        os.makedirs(f'{top}/p{part}')
        write_file(f'{top}/p{part}/part.h', b'#define PART %d\n' % part)
        for unit in range(per):
            write_file(f'{top}/p{part}/u{unit}.c', b'#include "../all.h"\n#include "part.h"\nint f_%d_%d(void) { return COMMON + PART * %d; }\n' % (part, unit, unit))
    names = [f'f_{part}_{unit}' for part in range(PARTS) for unit in range(per)]
    write_file(f'{top}/all.h', ('#define COMMON 1\n' + ''.join(f'int {n}(void);\n' for n in names)).encode())
    write_file(f'{top}/main.c', ('#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%d\\n", ' + ' + '.join(f'{n}()' for n in names)
                                 + '); return 0; }\n').encode())
    write_file(f'{top}/Makefile', b'''PARTS := $(wildcard p[0-9]*)
prog: main.o $(PARTS:%=%/built-in.a)
\t$(CC) -o $@.tmp $^ && mv $@.tmp $@
define part
$(1)/built-in.a: $(patsubst %.c,%.o,$(wildcard $(1)/*.c))
\trm -f $$@; $(AR) rcsP $$@ $$^
endef
$(foreach p,$(PARTS),$(eval $(call part,$(p))))
%.o: %.c
\t@echo CC $@
\t@$(CC) -O0 -w -MMD -MF $(@D)/.$(@F).d.tmp -c -o $@.tmp $< && mv $@.tmp $@ && mv $(@D)/.$(@F).d.tmp $(@D)/.$(@F).d && sed -i 's/\\.tmp:/:/' $(@D)/.$(@F).d
-include $(wildcard .*.d p[0-9]*/.*.d)
''')
    return per


@test('a parallel build in the manner of a kernel: whole, nothing to do at the other mount, then only what depends on a header')
def _():
    with Lab() as lab:
        a, b = lab.path('m1', 'project'), lab.path('m2', 'project')
        per = generate(a)
        built = run('make', '-j4', cwd=a, timeout=300)
        assert built.count('CC ') == UNITS + 1
        want = UNITS + sum(part * unit for part in range(PARTS) for unit in range(per))
        for project in (a, b):
            assert int(run(f'{project}/prog')) == want
            run('make', '-q', cwd=project)
        write_file(f'{b}/p1/part.h', b'#define PART 1001\n')
        assert run('make', '-j4', cwd=a).count('CC ') == per
        assert int(run(f'{b}/prog')) == want + 1000 * sum(range(per))
        write_file(f'{a}/p2/u1.c', b'int f_2_1(void) { return 0; }\n')
        assert run('make', '-j4', cwd=b).count('CC ') == 1
        assert tree_digest(a) == tree_digest(b)
        local = f'{lab.dir}/project'  # the same sources built beside the mount
        shutil.copytree(a, local)
        run('sh', '-c', "rm prog; find . -name '*.[oa]' -delete; make -j4", cwd=local, timeout=300)
        assert tree_digest(a) == tree_digest(local)
        figure(f'{UNITS} C files')


TARGETS = ('tools/cli/tally',) if NIGHTLY else ('repl/wire/librepl_wire.a',)


def build_tally(source):
    """Every object, without debug information, which names directories."""
    run('meson', 'setup', 'build', '-Dbuildtype=plain', cwd=source, timeout=600)
    run('ninja', '-C', 'build', '-j2', *TARGETS, cwd=source, timeout=3000)
    built = {path: what for path, what in tree_digest(f'{source}/build').items() if path.endswith(('.o', '.a', '.c', '.h')) or path in TARGETS}
    assert len(built) > (150 if NIGHTLY else 5), len(built)
    return built


@test('meson and ninja build this project on a mount: every object as beside it, nothing left to do, the same at the other mount')
def _():
    with Lab() as lab:
        mounted, beside = lab.path('m1', 'source'), f'{lab.dir}/source'
        for top in (mounted, beside):
            for path in run('git', 'ls-files', cwd=ROOT).split():
                os.makedirs(os.path.dirname(f'{top}/{path}'), exist_ok=True)
                shutil.copy2(f'{ROOT}/{path}', f'{top}/{path}')
        start = time.monotonic()
        built = build_tally(mounted)
        took = time.monotonic() - start
        start = time.monotonic()
        want = build_tally(beside)
        figure(f'{len(built)} objects on the mount in {took:.0f} s, beside it in {time.monotonic() - start:.0f} s')
        assert built == want, [path for path in {*built, *want} if built.get(path) != want.get(path)][:5]
        assert 'no work to do' in run('ninja', '-C', 'build', '-n', *TARGETS, cwd=mounted)
        assert tree_digest(mounted) == tree_digest(lab.path('m2', 'source'))
        lab.settle()


if __name__ == '__main__':
    main()
