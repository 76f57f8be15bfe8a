"""Mounts that change names ahead of the log, under directory leases (-o namespace=lease): what their death leaves, what
an fsync keeps, and what the other mount sees."""
import errno
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import Lab, tree_digest, wait_until
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
DEATHS = 20 if NIGHTLY else 3
FILES = 500
NODES = ('n1', 'n2', 'w1')


def lab_of(**more):
    return Lab(options='namespace=lease', **more)


def content(i):
    return f'content of {i} '.encode() * (1 + i % 7)


def put(path, data, sync=False):
    with open(path, 'xb', buffering=0) as f:
        assert f.write(data) == len(data)
        if sync:
            os.fsync(f.fileno())


def read(path):
    with open(path, 'rb', buffering=0) as f:
        return f.readall()


def sync_dir(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def come_back(lab, mount):
    """A mount that was killed, mounted anew; its old session ends with that."""
    lab.start(mount)
    os.listdir(lab.path(mount))


def killed_while(lab, mount, work, after):
    """Runs `work`, which may fail when its mount has died, and kills the mount meanwhile."""
    def run():
        try:
            work()
        except OSError:
            pass
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(after)
    lab.kill(mount)
    thread.join()


def prefix_length(names, letter):
    """How many of letter0, letter1, ... are there; nothing behind the first that is not."""
    numbers = sorted(int(n[1:]) for n in names if n[0] == letter)
    assert numbers == list(range(len(numbers))), f'a hole: {numbers}'
    return len(numbers)


@test(f'{DEATHS} deaths of a mount that makes files: what is left is a prefix in the order in which it was done')
def _():
    dice = random.Random(SEED)
    with lab_of() as lab:
        for turn in range(DEATHS):
            folder = lab.path('m1', f'd{turn}')

            def work(folder=folder):
                os.mkdir(folder)
                for i in range(FILES):
                    put(os.path.join(folder, f'f{i}'), content(i))

            killed_while(lab, 'm1', work, dice.uniform(0.02, 0.5))
            come_back(lab, 'm1')
            there = lab.path('m2', f'd{turn}')
            names = os.listdir(there) if os.path.isdir(there) else []
            count = prefix_length(names, 'f')
            figure(f'turn {turn}: {count} of {FILES}')
            for i in range(count):  # not synced: its bytes may be missing, others may not be there
                assert read(os.path.join(there, f'f{i}')) in (b'', content(i))
            if names:
                assert sorted(os.listdir(lab.path('m1', f'd{turn}'))) == sorted(names)


@test(f'{DEATHS} deaths of a mount that writes beside and renames: no name without its bytes, none twice')
def _():
    dice = random.Random(SEED + 1)
    with lab_of() as lab:
        for turn in range(DEATHS):
            folder = lab.path('m1', f'd{turn}')

            def work(folder=folder):
                os.mkdir(folder)
                for i in range(FILES):
                    put(os.path.join(folder, 'new'), content(i))
                    os.rename(os.path.join(folder, 'new'), os.path.join(folder, f'a{i}'))
                    os.rename(os.path.join(folder, f'a{i}'), os.path.join(folder, f'b{i}'))

            killed_while(lab, 'm1', work, dice.uniform(0.1, 0.6))
            come_back(lab, 'm1')
            there = lab.path('m2', f'd{turn}')
            names = os.listdir(there) if os.path.isdir(there) else []
            count = prefix_length([n for n in names if n[0] == 'b'], 'b')
            figure(f'turn {turn}: {count} of {FILES}')
            assert set(names) - {f'b{i}' for i in range(count)} <= {'new'} or \
                set(names) - {f'b{i}' for i in range(count)} == {f'a{count}'}, names
            for name in names:
                if name != 'new':
                    assert read(os.path.join(there, name)) == content(int(name[1:])), name


@test('in a directory of its own a mount makes, renames and removes files while no node answers')
def _():
    with lab_of() as lab:
        folder = lab.path('m1', 'd')
        os.mkdir(folder)
        put(os.path.join(folder, 'f0'), content(0), sync=True)
        os.mkdir(os.path.join(folder, 'own'))  # by itself: what is in there is known to it alone
        for node in NODES:
            lab.kill(node, 'STOP')
        began = time.monotonic()
        try:
            for i in range(20):
                put(os.path.join(folder, 'own', f'f{i}'), content(i))
            for i in range(20):
                os.rename(os.path.join(folder, 'own', f'f{i}'), os.path.join(folder, 'own', f'g{i}'))
            os.unlink(os.path.join(folder, 'own', 'g19'))
            took = time.monotonic() - began
        finally:
            for node in NODES:
                lab.kill(node, 'CONT')
        assert took < 1, took
        there = lab.path('m2', 'd', 'own')
        assert prefix_length(os.listdir(there), 'g') == 19
        for i in range(19):
            assert read(os.path.join(there, f'g{i}')) == content(i)


def link_as_git_does(folder, i):
    """Written under one name, linked to the one it is to have, and the first name removed."""
    temporary, name = os.path.join(folder, 'tmp'), os.path.join(folder, f'g{i}')
    put(temporary, content(i))
    os.link(temporary, name)
    assert os.stat(name).st_nlink == 2
    os.unlink(temporary)
    assert os.stat(name).st_nlink == 1


@test('files get their second name and lose the first while no node answers')
def _():
    with lab_of() as lab:
        folder = lab.path('m1', 'd')
        os.mkdir(folder)
        put(os.path.join(folder, 'f0'), content(0), sync=True)
        own = os.path.join(folder, 'own')
        os.mkdir(own)
        for node in NODES:
            lab.kill(node, 'STOP')
        began = time.monotonic()
        try:
            for i in range(20):
                link_as_git_does(own, i)
            os.link(os.path.join(own, 'g0'), os.path.join(own, 'h0'))
            listed = os.listdir(own)
            took = time.monotonic() - began
        finally:
            for node in NODES:
                lab.kill(node, 'CONT')
        assert took < 1, took
        assert listed == [f'g{i}' for i in range(20)] + ['h0'] == os.listdir(lab.path('m2', 'd', 'own'))
        here = os.stat(os.path.join(own, 'h0'))
        there = os.stat(lab.path('m2', 'd', 'own', 'g0'))
        assert (there.st_nlink, there.st_ino, there.st_size) == (2, here.st_ino, len(content(0)))
        for i in range(20):
            assert read(lab.path('m2', 'd', 'own', f'g{i}')) == content(i)
        try:
            os.link(os.path.join(own, 'g1'), os.path.join(own, 'g2'))
            raise AssertionError('g2 was there')
        except FileExistsError:
            pass
        os.link(os.path.join(own, 'g1'), os.path.join(folder, 'out'))
        os.chmod(os.path.join(own, 'g1'), 0o600)
        st = os.stat(lab.path('m2', 'd', 'out'))
        assert (st.st_nlink, st.st_mode & 0o777) == (2, 0o600)


@test(f'{DEATHS} deaths of a mount that links: a prefix is left, with its bytes')
def _():
    dice = random.Random(SEED + 4)
    with lab_of() as lab:
        for turn in range(DEATHS):
            folder = lab.path('m1', f'd{turn}')

            def work(folder=folder):
                os.mkdir(folder)
                for i in range(FILES):
                    link_as_git_does(folder, i)

            killed_while(lab, 'm1', work, dice.uniform(0.1, 0.6))
            come_back(lab, 'm1')
            there = lab.path('m2', f'd{turn}')
            names = os.listdir(there) if os.path.isdir(there) else []
            count = prefix_length([n for n in names if n[0] == 'g'], 'g')
            figure(f'turn {turn}: {count} of {FILES}')
            assert set(names) - {f'g{i}' for i in range(count)} <= {'tmp'}, names
            for i in range(count):
                assert read(os.path.join(there, f'g{i}')) == content(i)


@test('cp -a of a tree of its own is the same at the other mount, modes and ACLs too')
def _():
    dice = random.Random(SEED + 5)
    with lab_of() as lab:
        top, copy = lab.path('m1', 'tree'), lab.path('m1', 'copy')
        for i in range(100):
            folder = os.path.join(top, f's{i % 7}')
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, f'f{i}')
            put(path, dice.randbytes(dice.choice((0, 100, 5000, 40_000, 100_000))))
            os.chmod(path, dice.choice((0o644, 0o600, 0o755, 0o4711)))
        with_acl = os.path.join(top, 's0', 'f0')  # user::rw- user:1234:r-- group::r-- mask::r-- other::---
        acl = b'\2\0\0\0' + b''.join(struct.pack('<HHI', *e) for e in (
            (1, 6, 2**32 - 1), (2, 4, 1234), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)))
        os.setxattr(with_acl, 'system.posix_acl_access', acl)
        subprocess.run(['cp', '-a', top, copy], check=True)
        there = lab.path('m2', 'copy')
        assert tree_digest(there) == tree_digest(lab.path('m2', 'tree'))
        assert os.getxattr(os.path.join(there, 's0', 'f0'), 'system.posix_acl_access') == acl
        for folder, _, names in os.walk(lab.path('m2', 'tree')):
            for name in names + ['.']:
                old = os.stat(os.path.join(folder, name))
                new = os.stat(os.path.join(there, os.path.relpath(folder, lab.path('m2', 'tree')), name))
                assert (old.st_mode, old.st_mtime_ns) == (new.st_mode, new.st_mtime_ns), (folder, name)


@test('a mount that has listed a directory of others makes what is new there, and meets what they made since')
def _():
    with lab_of() as lab:
        here, there = lab.path('m1', 'd'), lab.path('m2', 'd')
        os.mkdir(there)
        for i in range(300):
            put(os.path.join(there, f'f{i}'), content(i))
        for turn in range(3):
            put(os.path.join(here, f'a{turn}'), content(1))
            assert len(os.listdir(here)) == 300 + 3 * turn + 1
            put(os.path.join(here, f'b{turn}'), content(2))
            put(os.path.join(there, f'c{turn}'), content(3))
            for name in (f'c{turn}', 'f7'):
                try:
                    put(os.path.join(here, name), b'')
                    raise AssertionError(f'{name} was there')
                except FileExistsError:
                    pass
            assert read(os.path.join(here, f'c{turn}')) == content(3)
            assert read(os.path.join(there, f'b{turn}')) == content(2)
            time.sleep(2.1)  # until it may take the lease again


@test('what was synced, as a file or by its directory, outlives its mount')
def _():
    with lab_of() as lab:
        folder = lab.path('m1', 'd')
        os.mkdir(folder)
        for i in range(20):
            put(os.path.join(folder, f'f{i}'), content(i), sync=i == 19)
        lab.kill('m1')
        come_back(lab, 'm1')
        for mount in ('m2', 'm1'):  # what was done before it in the same directory came first
            assert prefix_length(os.listdir(lab.path(mount, 'd')), 'f') == 20
            assert read(lab.path(mount, 'd', 'f19')) == content(19)
        other = lab.path('m1', 'e')
        os.mkdir(other)
        put(os.path.join(other, 'x'), content(1))
        os.rename(os.path.join(other, 'x'), os.path.join(other, 'y'))
        os.mkdir(os.path.join(other, 'sub'))
        sync_dir(other)
        lab.kill('m1')
        come_back(lab, 'm1')
        assert sorted(os.listdir(lab.path('m2', 'e'))) == ['sub', 'y']
        assert read(lab.path('m2', 'e', 'y')) == content(1)


@test('what returned at one mount is seen at the other, at once')
def _():
    with lab_of() as lab:
        for i in range(30):
            folder = lab.path('m1', f'd{i}')
            os.mkdir(folder)
            put(os.path.join(folder, 'a'), content(i))
            os.rename(os.path.join(folder, 'a'), os.path.join(folder, 'b'))
            os.chmod(os.path.join(folder, 'b'), 0o600)
            put(os.path.join(folder, 'c'), content(i))
            os.unlink(os.path.join(folder, 'c'))
            there = lab.path('m2', f'd{i}')
            if i % 2:
                assert os.listdir(there) == ['b']
            st = os.stat(os.path.join(there, 'b'))
            assert (st.st_mode & 0o777, st.st_size) == (0o600, len(content(i)))
            assert read(os.path.join(there, 'b')) == content(i)
            assert not os.path.exists(os.path.join(there, 'a'))
            assert not os.path.exists(os.path.join(there, 'c'))


@test('two mounts take turns in one directory')
def _():
    dice = random.Random(SEED + 2)
    with lab_of() as lab:
        os.mkdir(lab.path('m1', 'd'))
        names, began = {}, time.monotonic()
        for i in range(60):
            mount = ('m1', 'm2')[i % 2] if i < 40 else dice.choice(('m1', 'm2'))
            at = lab.path(mount, 'd')
            assert sorted(os.listdir(at)) == sorted(names)
            put(os.path.join(at, f'f{i}'), content(i))
            names[f'f{i}'] = content(i)
            if i % 3 == 2:
                old = dice.choice(sorted(names))
                os.rename(os.path.join(at, old), os.path.join(at, f'g{i}'))
                names[f'g{i}'] = names.pop(old)
            if i % 5 == 4:
                old = dice.choice(sorted(names))
                os.unlink(os.path.join(at, old))
                del names[old]
        figure(f'60 turns in {time.monotonic() - began:.1f} s')
        for mount in ('m1', 'm2'):
            assert {n: read(lab.path(mount, 'd', n)) for n in os.listdir(lab.path(mount, 'd'))} == names


@test('the leader dies while an archive is unpacked: the tree is whole at both mounts')
def _():
    dice = random.Random(SEED + 3)
    with tempfile.TemporaryDirectory(prefix='tally-test-') as local, lab_of() as lab:
        top = os.path.join(local, 'tree')
        for i in range(600):
            folder = os.path.join(top, f's{i % 20}', f't{i % 7}')
            os.makedirs(folder, exist_ok=True)
            put(os.path.join(folder, f'f{i}'), dice.randbytes(dice.choice((0, 100, 5000, 40_000))))
        subprocess.run(['tar', 'cf', f'{local}/a.tar', '-C', local, 'tree'], check=True)
        tar = subprocess.Popen(['tar', 'xf', f'{local}/a.tar', '-C', lab.path('m1')], stdin=subprocess.DEVNULL)
        wait_until(lambda: os.path.isdir(lab.path('m1', 'tree')) or tar.poll() is not None, 20, 'tar has begun')
        leader = lab.leader()
        lab.kill(leader)
        assert tar.wait(timeout=60) == 0
        lab.start(leader)
        lab.settle()
        expected = tree_digest(top)
        assert tree_digest(lab.path('m2', 'tree')) == expected
        assert tree_digest(lab.path('m1', 'tree')) == expected


def remounted(lab, mount):
    """What a mount knew is gone; what it made is any file to it from now on."""
    lab.kill(mount, 'TERM')
    lab.start(mount)
    os.listdir(lab.path(mount))


@test('files of an earlier mount are removed ahead of the log, and the other mount sees each as gone')
def _():
    with lab_of() as lab:
        for i in range(6):
            os.mkdir(lab.path('m1', f'd{i}'))
            for k in range(20):
                put(lab.path('m1', f'd{i}', f'f{k}'), content(k))
        remounted(lab, 'm1')
        for i in range(6):
            here, there = lab.path('m1', f'd{i}'), lab.path('m2', f'd{i}')
            assert len(os.listdir(here)) == 20
            for k in range(20):
                os.unlink(os.path.join(here, f'f{k}'))
                assert k % 7 or not os.path.exists(os.path.join(there, f'f{k}'))
            assert os.listdir(there) == []
            os.rmdir(here)
            assert not os.path.exists(there)


@test('files that the other mount has open, mapped, or under another name are removed')
def _():
    with lab_of() as lab:
        os.mkdir(lab.path('m1', 'd'))
        for k in range(24):
            put(lab.path('m1', 'd', f'f{k}'), content(k))
        os.link(lab.path('m1', 'd', 'f3'), lab.path('m1', 'other'))
        remounted(lab, 'm1')
        fd = os.open(lab.path('m2', 'd', 'f1'), os.O_RDONLY)
        path_only = os.open(lab.path('m2', 'd', 'f4'), os.O_PATH)
        with open(lab.path('m2', 'd', 'f2'), 'rb') as f:
            pages = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        os.chmod(lab.path('m1', 'd', 'f1'), 0o640)  # what m2 was promised of it is over
        os.chmod(lab.path('m1', 'd', 'f4'), 0o640)
        assert len(os.listdir(lab.path('m1', 'd'))) == 24
        for k in (10, 11, 1, 2, 3, 4):
            os.unlink(lab.path('m1', 'd', f'f{k}'))
            if k == 1:
                assert os.fstat(fd).st_nlink == 0
            if k == 3:
                assert os.stat(lab.path('m2', 'other')).st_nlink == 1
        try:
            assert os.fstat(path_only).st_nlink == 0
        except OSError as e:
            assert e.errno in (errno.ENOENT, errno.ESTALE)
        assert os.pread(fd, 10_000, 0) == content(1)
        assert pages[:] == content(2)
        assert read(lab.path('m2', 'other')) == content(3)
        assert len(os.listdir(lab.path('m2', 'd'))) == 18
        pages.close()
        os.close(fd)
        os.close(path_only)


@test('a directory of an earlier mount in which the other one stands is removed')
def _():
    with lab_of() as lab:
        os.makedirs(lab.path('m1', 'd', 'e'))
        for k in range(5):
            put(lab.path('m1', 'd', 'e', f'f{k}'), content(k))
        remounted(lab, 'm1')
        fd = os.open(lab.path('m2', 'd', 'e'), os.O_RDONLY | os.O_DIRECTORY)
        subprocess.run(['rm', '-r', lab.path('m1', 'd')], check=True)
        assert os.listdir(lab.path('m2')) == []
        try:
            os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            raise AssertionError('a name in a directory that is gone')
        except OSError as e:
            assert e.errno in (errno.ENOENT, errno.ESTALE)
        os.close(fd)


if __name__ == '__main__':
    figure(f'SEED={SEED}')
    main()
