"""Whoever slept too long changes nothing and is believed by nobody: a frozen leader, a frozen holder of a lease."""
import errno
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.calls import error_of
from tests.lib.disturb import at_once
from tests.lib.lab import Lab, wait_until
from tests.lib.tap import figure, main, test

ROUNDS = 10 if os.environ.get('TALLY_NIGHTLY') else 3
TAKEOVER_LIMIT_S = 10  # a session's lease is 4 s


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def wait_for_other_leader(lab, old, timeout=20):
    def another():
        return lab.status()['leader'] not in (None, '', old)
    wait_until(another, timeout, f'somebody else than {old} leads')
    return lab.status()['leader']


def pid_of(lab, mount):
    """For signals sent without a new process: that would close, hence flush, its copies of our descriptors."""
    return next(m['pid'] for m in lab.status()['mounts'] if m['name'] == mount)


def check_settled(lab):
    lab.settle()
    nodes = {n['name']: n for n in lab.status('--verify')['nodes']}
    assert nodes['n1']['state_hash'] == nodes['n2']['state_hash']
    assert nodes['n1']['blocks_hash'] == nodes['n2']['blocks_hash']
    assert len({n['term'] for n in nodes.values()}) == 1
    return nodes


@test(f'a leader frozen in the middle of writes, woken after another one was elected: it changes nothing ({ROUNDS} rounds)')
def _():
    with Lab() as lab:
        acknowledged, stop = {}, threading.Event()
        for m in ('m1', 'm2'):
            os.mkdir(lab.path(m, m))

        def work(mount):
            number = 0
            while not stop.is_set():
                number += 1
                data = b'%s %08d ' % (mount.encode(), number) * (number * 997 % 7000 + 1)
                name = f'{mount}/{number % 17}'  # overwritten again and again: an old value would show
                put(lab.path(mount, name), data)
                acknowledged[name] = data
            return number

        def freeze():
            try:
                for _ in range(ROUNDS):
                    wait_until(lambda n=len(acknowledged): len(acknowledged) > min(n, 10), 20, 'writes go on')
                    old = lab.leader()
                    term = lab.node(old)['term']
                    lab.kill(old, 'STOP')
                    new = wait_for_other_leader(lab, old)
                    seen = dict(acknowledged)
                    wait_until(lambda seen=seen: any(acknowledged[k] != v for k, v in seen.items()), 20, 'writes go on')
                    assert lab.status()['leader'] == new
                    lab.kill(old, 'CONT')
                    lab.settle_nodes()
                    assert lab.node(old)['term'] > term
            finally:
                stop.set()

        _, *counts = at_once(freeze, lambda: work('m1'), lambda: work('m2'))
        figure(f'{ROUNDS} leaders frozen, {sum(counts)} fsynced files written meanwhile')
        check_settled(lab)
        for name, data in acknowledged.items():
            for mount in ('m1', 'm2'):
                assert read_file(lab.path(mount, name)) == data, f'{name} at {mount}'


@test('a frozen leader that is asked as soon as it wakes answers nothing old')
def _():
    with Lab() as lab:
        for i in range(ROUNDS):
            put(lab.path('m1', 'f'), b'before %d' % i)
            assert read_file(lab.path('m2', 'f')) == b'before %d' % i
            old = lab.leader()
            lab.kill(old, 'STOP')
            wait_for_other_leader(lab, old)
            put(lab.path('m1', 'f'), b'after %d' % i)
            os.mkdir(lab.path('m1', f'd{i}'))
            lab.kill(old, 'CONT')
            assert read_file(lab.path('m2', 'f')) == b'after %d' % i
            assert f'd{i}' in os.listdir(lab.path('m2'))
            lab.settle_nodes()
        check_settled(lab)


@test('a mount frozen with dirty data for longer than its lease: the other takes the file over and its contents stand')
def _():
    with Lab() as lab:
        m1 = pid_of(lab, 'm1')
        for i, size in enumerate((4096, 300_000, 10)):
            old, new = b'old %d' % i * size, b'new %d' % i * size
            a = os.open(lab.path('m1', f'f{i}'), os.O_RDWR | os.O_CREAT)
            os.write(a, b'begin')
            os.fsync(a)
            b = os.open(lab.path('m2', f'f{i}'), os.O_RDWR)
            os.pwrite(a, old, 0)
            os.kill(m1, signal.SIGSTOP)
            start = time.monotonic()
            assert os.pwrite(b, new, 0) == len(new)
            os.fsync(b)
            took = time.monotonic() - start
            found = os.pread(b, len(new) + 10, 0)
            # what m1 had committed by then is under it, whole or not at all
            assert found[:len(new)] == new
            assert took < TAKEOVER_LIMIT_S, f'taken over after {took:.1f} s'
            os.kill(m1, signal.SIGCONT)
            codes = [error_of(os.fsync, a) for _ in range(3)]
            figure(f'{size} x 5 bytes: taken over after {took:.1f} s; fsync of the old holder: {codes}')
            # once, if anything of it was lost: it may have been committed just before the freeze
            assert codes in ([errno.EIO, 0, 0], [0, 0, 0]), codes
            for mount in ('m1', 'm2'):
                assert read_file(lab.path(mount, f'f{i}')) == found, mount
            os.pwrite(a, b'again', 0)  # the descriptor goes on in the mount's next session
            os.fsync(a)
            assert read_file(lab.path('m2', f'f{i}')) == b'again' + found[5:]
            os.close(a)
            os.close(b)
            lost = codes[0] == errno.EIO
            if i == 0:
                assert lost, 'nothing was lost, so nothing was tried: the write was committed before the freeze'
        check_settled(lab)


@test('a mount frozen with clean caches: while it sleeps and when it wakes nobody reads what was overwritten')
def _():
    with Lab() as lab:
        m1 = pid_of(lab, 'm1')
        for i in range(ROUNDS):
            put(lab.path('m2', 'f'), b'old %d' % i)
            a = os.open(lab.path('m1', 'f'), os.O_RDONLY)
            assert os.pread(a, 100, 0) == b'old %d' % i and os.fstat(a).st_size == len(b'old %d' % i)
            os.kill(m1, signal.SIGSTOP)
            put(lab.path('m2', 'f'), b'newer %d' % i)  # waits until m1's promise is over by m1's own clock
            os.mkdir(lab.path('m2', f'd{i}'))
            found = []
            reader = threading.Thread(target=lambda a=a, found=found: found.append(os.pread(a, 100, 0)))
            reader.start()
            lister = threading.Thread(target=lambda i=i, found=found: found.append(os.path.isdir(lab.path('m1', f'd{i}'))))
            lister.start()
            reader.join(0.5)
            assert not found or found == [b'newer %d' % i], found  # kernel pages of before must not do
            os.kill(m1, signal.SIGCONT)
            reader.join(30)
            lister.join(30)
            assert sorted(map(str, found)) == sorted([str(b'newer %d' % i), 'True']), found
            os.close(a)
        check_settled(lab)


main()
