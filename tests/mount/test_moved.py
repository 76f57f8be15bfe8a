"""Directories that another mount moves while programs of this one use them by path, have them open and stand in them."""
import errno
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import RENAME_EXCHANGE, error_of, rename2
from tests.lib.disturb import at_once
from tests.lib.lab import Lab
from tests.lib.tap import figure, main, test

SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
ROUNDS = int(os.environ.get('ROUNDS', '1500'))  # calls per thread of the race
# What a lost race for a name gives. ESTALE is not among them.
RACES = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL}


def put(path, data=b'data', **more):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644, **more)
    os.write(fd, data)
    os.close(fd)


def known(lab, *paths):
    """Made, and known to the kernel at m1."""
    for path in paths:
        os.makedirs(lab.path('m1', path))
        os.stat(lab.path('m1', path))


@test('a rename of a directory that another mount moved a moment ago, from and to it, over it, and in exchange')
def _():
    with Lab() as lab:
        def m1(path):
            return lab.path('m1', path)

        def m2(path):
            return lab.path('m2', path)
        known(lab, 'a/x/in/deep', 'a/y', 'a/z', 'b', 'c')
        os.rename(m2('a/x'), m2('b/x'))
        os.rename(m1('b/x'), m1('c/x'))
        assert os.listdir(m2('c/x')) == ['in'] and os.listdir(m1('c/x/in')) == ['deep']
        os.rename(m2('c/x'), m2('a/x'))
        os.rename(m1('a/x'), m1('b/x'))  # back again
        os.rename(m2('a/y'), m2('c/y'))
        os.rename(m2('b/x/in/deep'), m2('a/deep'))
        os.rename(m1('a/deep'), m1('c/y'))  # both were moved; the second one goes
        assert sorted(os.listdir(m2('c'))) == ['y'] and os.listdir(m1('a')) == ['z']
        os.rename(m2('a/z'), m2('b/z'))
        os.rename(m2('b/x/in'), m2('a/in'))
        rename2(m1('b/z'), m1('a/in'), RENAME_EXCHANGE)
        assert sorted(os.listdir(m2('b'))) == ['x', 'z'] and os.listdir(m2('a')) == ['in']
        os.mkdir(m1('b/z/was-in'))
        assert error_of(os.rmdir, m2('b/z')) == errno.ENOTEMPTY and os.listdir(m2('a/in')) == []
        os.rename(m2('b/z'), m2('z'))  # what was below is above now: to Linux a circle
        os.rename(m2('b'), m2('z/b'))
        os.rename(m1('z/b/x'), m1('a/x'))
        assert sorted(os.listdir(m1('z'))) == ['b', 'was-in'] and os.listdir(m1('z/b')) == []


@test('who has it open goes on with it: by descriptor and by path it is the same directory')
def _():
    with Lab() as lab:
        def m1(path):
            return lab.path('m1', path)
        known(lab, 'a/x/sub', 'b', 'c')
        put(m1('a/x/early'))
        os.mkdir(m1('a/x/full'))
        put(m1('a/x/full/file'))
        fd = os.open(m1('a/x'), os.O_RDONLY | os.O_DIRECTORY)
        sub = os.open('sub', os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        assert os.stat('early', dir_fd=fd).st_size == 4 and error_of(os.stat, 'late', dir_fd=fd) == errno.ENOENT
        os.rename(lab.path('m2', 'a/x'), lab.path('m2', 'b/x'))
        os.rename(m1('b/x'), m1('c/x'))
        assert os.path.samestat(os.fstat(fd), os.stat(m1('c/x'))) and os.path.samestat(os.fstat(sub), os.stat(m1('c/x/sub')))
        for number in range(20):
            here, there = f'here{number}', f'there{number}'
            assert error_of(os.stat, m1(f'c/x/{here}')) == error_of(os.stat, there, dir_fd=fd) == errno.ENOENT
            put(here, dir_fd=fd)
            put(m1(f'c/x/{there}'), b'more')
            assert os.stat(m1(f'c/x/{here}')).st_size == 4 and os.stat(there, dir_fd=fd).st_size == 4
            os.mkdir(f'dir{number}', dir_fd=fd)
            assert os.fstat(fd).st_nlink == os.stat(m1('c/x')).st_nlink == 5 + number
            assert os.fstat(fd).st_mtime_ns == os.stat(m1('c/x')).st_mtime_ns
            os.rename(m1(f'c/x/{here}'), m1(f'c/x/dir{number}/moved'))
            assert error_of(os.stat, here, dir_fd=fd) == errno.ENOENT
            assert os.stat(f'dir{number}/moved', dir_fd=fd).st_size == 4
            os.unlink(there, dir_fd=fd)
            assert error_of(os.stat, m1(f'c/x/{there}')) == errno.ENOENT
            mode = 0o700 + number
            os.chmod(m1('c/x'), mode)
            assert os.fstat(fd).st_mode & 0o777 == mode
            os.fchmod(fd, 0o755)
            assert os.stat(m1('c/x')).st_mode & 0o777 == 0o755
            put('new', dir_fd=sub)
            os.rename(m1('c/x/sub/new'), m1(f'c/x/sub/{number}'))
            assert sorted(os.listdir(fd)) == sorted(os.listdir(m1('c/x'))) == sorted(os.listdir(lab.path('m2', 'c/x')))
            assert len(os.listdir(sub)) == number + 1
        assert error_of(os.rename, m1('c/x'), f'/proc/self/fd/{sub}/x') == errno.EINVAL  # into itself, by another way
        assert error_of(os.rmdir, 'full', dir_fd=fd) == errno.ENOTEMPTY
        os.unlink(m1('c/x/full/file'))
        os.rmdir('full', dir_fd=fd)
        assert error_of(os.stat, m1('c/x/full')) == errno.ENOENT
        os.close(sub)
        os.close(fd)
        lab.settle()


@test('no call by path fails because another mount moves and removes directories meanwhile')
def _():
    with Lab() as lab:
        tops = [f't{n}' for n in range(4)]
        known(lab, *tops)
        given = {}

        def race(mount, number):
            rand = random.Random(SEED + number)

            def path():
                parts = [rand.choice(tops), *(f'd{rand.randrange(3)}' for _ in range(rand.choice((1, 1, 1, 2, 2, 3))))]
                return lab.path(mount, *parts)
            calls = [('rename', lambda: os.rename(path(), path()))] * 6 + [
                ('exchange', lambda: rename2(path(), path(), RENAME_EXCHANGE)), ('mkdir', lambda: os.mkdir(path())),
                ('mkdir', lambda: os.mkdir(path())), ('rmdir', lambda: os.rmdir(path())), ('stat', lambda: os.stat(path())),
                ('stat', lambda: os.stat(path())), ('list', lambda: os.listdir(path())), ('chmod', lambda: os.chmod(path(), 0o755)),
                ('xattr', lambda: os.listxattr(path())), ('open', lambda: os.close(os.open(path(), os.O_RDONLY)))]
            for _ in range(ROUNDS):
                name, call = rand.choice(calls)
                code = error_of(call)
                assert code == 0 or code in RACES, f'{mount}: {name}: {errno.errorcode[code]}'
                given[name, code] = given.get((name, code), 0) + 1
        at_once(*(lambda n=n: race(f'm{n % 2 + 1}', n) for n in range(4)))
        fine = sum(count for (_, code), count in given.items() if code == 0)
        figure(f'SEED={SEED} ROUNDS={ROUNDS}: {fine} of {4 * ROUNDS} calls succeeded')
        assert fine > ROUNDS / 2

        def tree(mount):
            top = lab.path(mount)
            return sorted(os.path.relpath(os.path.join(folder, name), top) for folder, dirs, _ in os.walk(top) for name in dirs)
        assert tree('m1') == tree('m2')
        lab.settle()


if __name__ == '__main__':
    main()
