"""A large directory: listings under change see what was there throughout exactly once, and a mount's memory stays bounded."""
import collections
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import at_once
from tests.lib.lab import Lab
from tests.lib.tap import figure, main, test
from tests.posix.dirs import Dir

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
NAMES = int(os.environ.get('NAMES', '1000000' if NIGHTLY else '20000'))
REMOVED = 1 if NIGHTLY else 10  # each so-manieth name is removed in the end
MEMORY_MIB = 160  # of a mount, whatever the directory's size
MOUNTS = ('m1', 'm2')


def memory_kib(pid, field='VmRSS'):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ':'))


def by_four(count, function):
    """Calls function(i) for each i below count in four processes; how many a second."""
    start, pids = time.monotonic(), []
    for part in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for i in range(part, count, 4):
                    function(i)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert all([os.waitpid(pid, 0)[1] == 0 for pid in pids])
    return count / (time.monotonic() - start)


def fill(lab):
    """NAMES names at one mount: two would spend the time on recalls."""
    top = lab.path('m1', 'big')
    return by_four(NAMES, lambda i: os.close(os.open(f'{top}/kept-{i}', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)))


def remove(lab):
    """Each so-manieth at the mount that made them; what is left is the same at both."""
    top, gone = lab.path('m1', 'big'), range(0, NAMES, REMOVED)
    rate = by_four(len(gone), lambda i: os.unlink(f'{top}/kept-{gone[i]}'))
    figure(f'{len(gone)} removed: {rate:.0f} names/s')
    left = {f'kept-{i}' for i in range(NAMES)} - {f'kept-{i}' for i in gone}
    for mount in MOUNTS:
        seen = [name for name in os.listdir(lab.path(mount, 'big')) if name.startswith('kept-')]
        assert len(seen) == len(left) and set(seen) == left, f'{len(seen)} names at {mount}, not {len(left)}'


class Churn:
    """Names that come, go and change, at both mounts, until told to stop. No name is used twice."""

    def __init__(self, lab):
        self.lab, self.stop, self.steps = lab, threading.Event(), 0

    def run(self, mount):
        top, rnd, mine, serial = self.lab.path(mount, 'big'), random.Random(mount), [], 0
        while not self.stop.is_set():
            serial += 1
            what = rnd.randrange(3)
            if what == 0 or len(mine) < 20:
                mine.append(f'{top}/{mount}-{serial}')
                os.close(os.open(mine[-1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            elif what == 1:
                os.unlink(mine.pop(rnd.randrange(len(mine))))
            else:
                old = mine.pop(rnd.randrange(len(mine)))
                mine.append(f'{top}/{mount}-{serial}')
                os.rename(old, mine[-1])
            self.steps += 1

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=(m,)) for m in MOUNTS]
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def check(seen, what):
    """All that was there throughout exactly once, all else once at most."""
    counts = collections.Counter(seen)
    twice = [name for name, n in counts.items() if n > 1]
    assert not twice, f'{what}: {len(twice)} names twice, such as {twice[:5]}'
    kept = sum(name.startswith('kept-') for name in counts)
    assert kept == NAMES, f'{what}: {kept} of {NAMES} names that stay'
    assert counts['.'] == counts['..'] == 1


def in_one_go(lab, mount):
    with Dir(lab.path(mount, 'big')) as d:
        check(d.rest(), f'a listing at {mount}')


def from_places(lab, mount):
    """Here and there it goes back to a place it was told, and on from there."""
    rnd, seen, places = random.Random(mount), [], []
    with Dir(lab.path(mount, 'big')) as d:
        while True:
            if rnd.randrange(NAMES // 20) == 0:
                places.append((d.tell(), len(seen)))
            if places and rnd.randrange(NAMES // 10) == 0:
                place, count = places.pop(rnd.randrange(len(places)))
                places = [p for p in places if p[1] <= count]
                d.seek(place)
                del seen[count:]
            name = d.read()
            if name is None:
                break
            seen.append(name)
    check(seen, f'a listing by places at {mount}')


@test(f'{NAMES} names in one directory: each listing under change has every name that stays exactly once')
def _():
    with Lab() as lab:
        os.mkdir(lab.path('m1', 'big'))
        status = lab.status()
        pids = {m['name']: m['pid'] for m in status['mounts']}
        figure(f'{fill(lab):.0f} names made per second by four processes')
        before = {m: memory_kib(pid) for m, pid in pids.items()}
        with Churn(lab) as churn:
            start = time.monotonic()
            at_once(*(lambda m=m, f=f: f(lab, m) for m in MOUNTS for f in (in_one_go, from_places)))
            took = time.monotonic() - start
        assert churn.steps > 20, churn.steps
        figure(f'4 listings at once under {churn.steps} changes: {took:.1f} s, {4 * NAMES / took:.0f} names/s')
        start = time.monotonic()
        assert sum(e.stat().st_nlink for e in os.scandir(lab.path('m2', 'big')) if e.name.startswith('kept-')) == NAMES
        figure(f'ls -l: {NAMES / (time.monotonic() - start):.0f} names/s')
        for m, pid in pids.items():
            after, peak = memory_kib(pid), memory_kib(pid, 'VmHWM')
            figure(f'memory of {m}: {before[m] / 1024:.0f} MiB before the listings, {after / 1024:.0f} after, {peak / 1024:.0f} at most')
            assert peak < MEMORY_MIB * 1024, (m, peak)
        remove(lab)
        lab.settle(NAMES // 1000 + 60)
        figure('at most, MiB: ' + ', '.join(f'{p["name"]} {memory_kib(p["pid"], "VmHWM") / 1024:.0f}' for p in status['nodes'] + status['mounts']))


@test('a directory that grows while it is listed: the listing ends')
def _():
    with Lab() as lab:
        os.mkdir(lab.path('m1', 'big'))
        with Dir(lab.path('m1', 'big')) as d:
            for i in range(300):
                os.close(os.open(lab.path(MOUNTS[i % 2], 'big', f'kept-{i}'), os.O_CREAT | os.O_WRONLY, 0o644))
            seen, made = [], 300
            while (name := d.read()) is not None:
                seen.append(name)
                if made < 3000:  # as fast as it reads
                    os.close(os.open(lab.path(MOUNTS[made % 2], 'big', f'later-{made}'), os.O_CREAT | os.O_WRONLY, 0o644))
                    made += 1
            assert len(set(seen)) == len(seen) and sum(n.startswith('kept-') for n in seen) == 300, len(seen)


if __name__ == '__main__':
    main()
