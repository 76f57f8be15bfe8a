"""What the kernel and a cluster do with bytes together: copies that move none, writes that are to be durable, zeros on copies that were down, limits."""
import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import error_of
from tests.lib.lab import Lab, wait_until
from tests.lib.tap import figure, main, test
from tests.posix.data import KEEP, PUNCH, ZERO, fallocate

PAGE = 4096
MIB = 2**20


def read_file(path):
    with open(path, 'rb', buffering=0) as f:
        return f.readall()


def write_file(path, data):
    with open(path, 'wb', buffering=0) as f:
        f.write(data)
        os.fsync(f.fileno())


def stored(lab):
    """Bytes of blocks, of each copy and as its state counts them. A witness may hold some for a while, when a copy was slow."""
    return [(n['name'], n['block_bytes'], n['blocks'], n['data_bytes']) for n in lab.status()['nodes'] if 'data_bytes' in n]


@test('cp of 100 MiB moves no bytes: files share their blocks, and part from one another when they are written')
def _():
    with Lab() as lab:
        write_file(lab.path('m1', 'a'), os.urandom(100 * MIB))
        wait_until(lambda: len({n[1] for n in stored(lab)[:2]}) == 1, 30, 'both copies have the blocks')
        before = stored(lab)
        start = time.monotonic()
        subprocess.run(['cp', '--reflink=auto', lab.path('m1', 'a'), lab.path('m1', 'b')], check=True)
        took = time.monotonic() - start
        fd = os.open(lab.path('m2', 'a'), os.O_RDONLY)
        to = os.open(lab.path('m2', 'd'), os.O_RDWR | os.O_CREAT)
        calls = []
        for _ in range(5):
            start = time.monotonic()
            assert os.copy_file_range(fd, to, 2**30, 0, 0) == 100 * MIB
            calls.append(time.monotonic() - start)
        os.close(fd)
        figure(f'cp: {took * 1000:.0f} ms, copy_file_range of 100 MiB: {sorted(calls)[2] * 1000:.1f} ms')
        assert took < 5, took
        assert stored(lab) == before, (before, stored(lab))
        subprocess.run(['cp', '--sparse=always', lab.path('m2', 'b'), lab.path('m2', 'c')], check=True)
        for name in 'bcd':
            assert subprocess.run(['cmp', lab.path('m1', 'a'), lab.path('m2', name)]).returncode == 0, name
        os.pwrite(to, b'mine', 7)
        os.fsync(to)
        os.close(to)
        assert subprocess.run(['cmp', lab.path('m1', 'a'), lab.path('m2', 'b')]).returncode == 0
        assert read_file(lab.path('m1', 'd'))[:12] != read_file(lab.path('m1', 'a'))[:12]
        os.unlink(lab.path('m1', 'a'))
        assert subprocess.run(['cmp', lab.path('m1', 'c'), lab.path('m2', 'b')]).returncode == 0
        lab.settle()


@test('O_SYNC and O_DSYNC: a write returns when it is committed, and not before; one without them does not wait')
def _():
    with Lab(mounts=1) as lab:
        leader = lab.leader()  # by number: a child would close descriptors, which waits
        others = [n['pid'] for n in lab.status()['nodes'] if n['name'] != leader]
        flags = {'none': 0, 'O_SYNC': os.O_SYNC, 'O_DSYNC': os.O_DSYNC, 'O_DSYNC, O_APPEND': os.O_DSYNC | os.O_APPEND,
                 'O_SYNC, O_DIRECT': os.O_SYNC | os.O_DIRECT}
        fds = {}
        page = mmap.mmap(-1, PAGE)
        page.write(b'p' * PAGE)
        for name, flag in flags.items():
            fds[name] = os.open(lab.path('m1', name), os.O_RDWR | os.O_CREAT | flag)
            os.write(fds[name], page)  # the lease is here, the space is reserved
        done = {}

        def write(name):
            os.write(fds[name], page)
            done[name] = time.monotonic()
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        threads = [threading.Thread(target=write, args=(name,)) for name in flags]
        for t in threads:
            t.start()
        wait_until(lambda: 'none' in done, 5, 'a write that is not to be durable')
        time.sleep(0.7)
        early = sorted(done)
        for pid in others:
            os.kill(pid, signal.SIGCONT)
        for t in threads:
            t.join()
        assert early == ['none'], early
        for fd in fds.values():
            os.close(fd)
        lab.settle()


@test('what was cut off, punched or zeroed while a copy was down reads as zeros, also from that copy alone')
def _():
    with Lab() as lab:
        for name in ('cut', 'hole', 'zero', 'copy', 'over'):
            write_file(lab.path('m1', name), b'x' * 5 * PAGE)
        lab.settle()
        leader = lab.leader()
        other = 'n2' if leader == 'n1' else 'n1'
        lab.kill(other)
        for size in (5000, 5 * PAGE):
            os.truncate(lab.path('m1', 'cut'), size)
        with open(lab.path('m2', 'hole'), 'r+b') as f:
            fallocate(f.fileno(), PUNCH | KEEP, 100, 3 * PAGE)
        with open(lab.path('m1', 'zero'), 'r+b') as f:
            fallocate(f.fileno(), ZERO, PAGE, 9 * PAGE)
        with open(lab.path('m2', 'hole'), 'rb') as f, open(lab.path('m2', 'over'), 'r+b') as to:
            assert os.copy_file_range(f.fileno(), to.fileno(), 5 * PAGE, 0, 0) == 5 * PAGE
        want = {'cut': b'x' * 5000 + bytes(5 * PAGE - 5000), 'hole': b'x' * 100 + bytes(3 * PAGE) + b'x' * (2 * PAGE - 100),
                'zero': b'x' * PAGE + bytes(9 * PAGE), 'copy': b'x' * 5 * PAGE}
        want['over'] = want['hole']
        for mount in ('m1', 'm2'):
            for name, data in want.items():
                assert read_file(lab.path(mount, name)) == data, (mount, name)
        lab.start(other)
        lab.settle_nodes()
        lab.kill(leader)
        wait_until(lambda: lab.leader() == other, 20, f'{other} leads')
        subprocess.run(['sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches'], check=True)
        for mount in ('m1', 'm2'):
            for name, data in want.items():
                assert read_file(lab.path(mount, name)) == data, (mount, name, 'of the copy that was down')
        lab.start(leader)
        lab.settle()


@test('offsets up to 8 EiB - 1, EFBIG behind')
def _():
    with Lab(mounts=2) as lab:
        last = 2**63 - 1
        fd = os.open(lab.path('m1', 'f'), os.O_RDWR | os.O_CREAT)
        high = 2**63 - 2 * PAGE
        assert os.pwrite(fd, b'high', high - 4) == 4
        assert os.pread(fd, 10, high - 8) == bytes(4) + b'high'
        assert os.lseek(fd, 0, os.SEEK_DATA) == high - PAGE
        assert os.fstat(fd).st_blocks == 8
        assert os.stat(lab.path('m2', 'f')).st_size == high
        assert error_of(os.pwrite, fd, b'x', last) in (errno.EFBIG, errno.EINVAL)
        assert error_of(os.truncate, lab.path('m2', 'f'), last) in (0, errno.EFBIG)
        assert error_of(os.ftruncate, fd, 100) == 0
        assert os.stat(lab.path('m2', 'f')).st_blocks == 0
        os.close(fd)
        lab.settle()


@test('O_DIRECT: any offset, beside cached reads and mappings of the same file')
def _():
    with Lab() as lab:
        write_file(lab.path('m1', 'f'), b'a' * 4 * PAGE)
        cached = os.open(lab.path('m1', 'f'), os.O_RDWR)
        direct = os.open(lab.path('m1', 'f'), os.O_RDWR | os.O_DIRECT)
        far = os.open(lab.path('m2', 'f'), os.O_RDONLY | os.O_DIRECT)
        page = mmap.mmap(-1, PAGE)
        for step in range(20):
            assert os.pread(cached, 4 * PAGE, 0)[step * 500:] == (b'a' * 4 * PAGE)[step * 500:]
            page[:] = bytes([66 + step]) * PAGE
            at = step * 500
            assert os.pwrite(direct, page[:500], at) == 500
            assert os.pread(cached, 500, at) == page[:500], step
            os.pwrite(cached, b'#', at)
            assert os.pread(direct, 3, at)[:1] == b'#', step
            assert os.pread(far, 500, at) == b'#' + page[1:500], step
        for fd in (cached, direct, far):
            os.close(fd)
        lab.settle()


@test('bytes lost with a silent mount: EIO once at each descriptor that was open, then it works')
def _():
    with Lab() as lab:
        fds = [os.open(lab.path('m1', 'f'), os.O_RDWR | os.O_CREAT) for _ in range(2)]
        os.write(fds[0], b'kept')
        os.fsync(fds[0])
        pid = lab.status()['mounts'][0]['pid']
        os.pwrite(fds[0], b'lost', 0)
        os.kill(pid, signal.SIGSTOP)  # before it commits by itself
        other = []
        reader = threading.Thread(target=lambda: other.append(read_file(lab.path('m2', 'f'))))
        reader.start()
        reader.join(30)
        os.kill(pid, signal.SIGCONT)
        assert other and other[0] in (b'kept', b'lost'), other
        wait_until(lambda: lab.status()['mounts'][0]['lease_valid'], 20, 'a new session')
        if other[0] == b'kept':
            got = [[error_of(os.fsync, fd) for _ in range(3)] for fd in fds]
            assert got == [[errno.EIO, 0, 0]] * 2, got
        assert os.pread(fds[0], 4, 0) == other[0]
        os.pwrite(fds[1], b'more', 0)
        os.fsync(fds[1])
        assert read_file(lab.path('m2', 'f')) == b'more'
        for fd in fds:
            os.close(fd)
        lab.settle()


if __name__ == '__main__':
    main()
