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


def error_of(function, *args):
    try:
        function(*args)
        return 0
    except OSError as e:
        return e.errno


def stored(lab):
    """Bytes of blocks, of each node and as the state counts them."""
    return [(n['name'], n['block_bytes'], n.get('blocks'), n.get('data_bytes')) for n in lab.status()['nodes']]


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
