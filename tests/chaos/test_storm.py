"""A storm of recalls, reads in flight, unlinks, kills of programs and of nodes: nobody sleeps long where no signal reaches."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import killing
from tests.lib.lab import ROOT, Lab, process, wait_until
from tests.lib.tap import figure, main, test
from tests.lib.uninterruptible import Watch

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SECONDS = 60 if NIGHTLY else 12
LIMIT = 5.0  # seconds
FILES, FILE_SIZE = 4, 4 * 2**20

# One process of the storm, until it is killed: KIND DIRECTORY SEED
WORKER = '''
import contextlib, fcntl, mmap, os, random, sys
kind, top, rnd = sys.argv[1], sys.argv[2], random.Random(int(sys.argv[3]))
FILES, SIZE = int(sys.argv[4]), int(sys.argv[5])

def shared():
    return os.open(f'{top}/shared{rnd.randrange(FILES)}', os.O_RDWR)

def write():  # who reads elsewhere makes the leader take the lease back
    fd = shared()
    os.pwrite(fd, bytes([rnd.randrange(256)]) * rnd.choice((100, 4096, 200_000)), rnd.randrange(SIZE - 200_000))
    if rnd.random() < .3: os.fsync(fd)
    os.close(fd)

def read():
    fd = shared()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(fd, 2**20, rnd.randrange(SIZE))
    os.close(fd)

def fault():  # a page fault waits for its read where no signal reaches it
    fd = shared()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(fd, SIZE, prot=mmap.PROT_READ) as m:
        for _ in range(20): m[rnd.randrange(SIZE)]
    os.close(fd)

def name(): return f'{top}/names/{rnd.randrange(20)}'

def names():
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        rnd.choice((lambda: os.close(os.open(name(), os.O_CREAT | os.O_WRONLY)), lambda: os.unlink(name()), lambda: os.stat(name()),
                    lambda: os.rename(name(), name()), lambda: os.link(name(), name()), lambda: os.listdir(f'{top}/names')))()

def unlinked():  # removed, cut and written while it is open
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(f'{top}/u{rnd.randrange(4)}', os.O_RDWR | os.O_CREAT)
        os.pwrite(fd, b'x' * 300_000, 0)
        if rnd.random() < .5: os.unlink(f'{top}/u{rnd.randrange(4)}')
        os.ftruncate(fd, rnd.randrange(300_000))
        os.pread(fd, 300_000, 0)
        os.close(fd)

def lock():
    fd = shared()
    rnd.choice((fcntl.flock, fcntl.lockf))(fd, fcntl.LOCK_EX)
    os.pread(fd, 100, 0)
    os.close(fd)

while True:
    globals()[kind]()
'''
KINDS = ('write', 'read', 'fault', 'names', 'unlinked', 'lock')


class Storm:
    """One process of each kind at each mount; whoever is killed is followed by another."""

    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        self.running, self.killed, self.serial = {}, 0, 0
        self.dying = []

    def pids(self):
        return [p.pid for p in [*self.running.values(), *self.dying]]

    def begin(self, place):
        kind, mount = place
        self.serial += 1
        command = [sys.executable, '-c', WORKER, kind, self.lab.path(mount), str(self.serial), str(FILES), str(FILE_SIZE)]
        self.running[place] = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def kill(self, place):
        p = self.running.pop(place)
        assert p.poll() is None, f'{place} ended by itself: {p.stderr.read()[-2000:]}'
        p.send_signal(signal.SIGKILL)
        self.dying.append(p)
        self.killed += 1

    def gone(self):
        """All that were killed have ended; SIGKILL waits for nothing."""
        self.dying = [p for p in self.dying if p.poll() is None]
        return not self.dying

    def __enter__(self):
        for place in [(kind, mount) for kind in KINDS for mount in ('m1', 'm2')]:
            self.begin(place)
        return self

    def __exit__(self, *_):
        for p in self.running.values():
            p.kill()
        for p in [*self.running.values(), *self.dying]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(30)


@test('the watch sees who is killed while a stopped mount owes it an answer')
def _():
    nodes = ('n1', 'n2', 'w1')
    with Lab(mounts=1) as lab, contextlib.ExitStack() as awake:
        for name in (*nodes, 'm1'):
            awake.callback(lab.kill, name, 'CONT')
        for name in nodes:
            lab.kill(name, 'STOP')
        with process(['stat', lab.path('m1', 'file')], stderr=subprocess.DEVNULL) as p, Watch(lambda: [p.pid], 0.05) as watch:
            time.sleep(0.5)  # the mount has taken its question
            lab.kill('m1', 'STOP')
            p.kill()
            wait_until(lambda: watch.longest > 0.5 or p.poll() is not None, 10, 'it sleeps on')
            awake.close()
            p.wait(10)
        assert watch.longest > 0.5 and 'fuse' in watch.where, (watch.longest, watch.where)


@test(f'no task sleeps for more than {LIMIT:.0f} s where no signal reaches it')
def _():
    with Lab() as lab:
        os.mkdir(lab.path('m1', 'names'))
        for i in range(FILES):
            with open(lab.path('m1', f'shared{i}'), 'wb') as f:
                f.write(os.urandom(FILE_SIZE))
        with Storm(lab, 1) as storm, Watch(storm.pids) as watch, killing(lab) as kills:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(0.25)  # a life is that long
                place = storm.random.choice(sorted(storm.running))
                storm.kill(place)
                storm.begin(place)
                storm.gone()
            for place in list(storm.running):
                storm.kill(place)
            wait_until(storm.gone, LIMIT, 'all are gone')
        figure(f'{storm.killed} processes and {len(kills)} nodes killed in {SECONDS} s; longest in state D: {watch.longest:.1f} s')
        assert watch.longest <= LIMIT, f'{watch.longest:.1f} s in {watch.where}'
        assert kills
        lab.settle(120)


if __name__ == '__main__':
    main()
