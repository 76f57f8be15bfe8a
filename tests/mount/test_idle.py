"""What a cluster costs that nobody uses: no byte to any disk, when new and after work, and no memory of the work. Processor time: tests/bench/idle.py."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.idle import processes, quiet_times
from tests.lib.lab import Lab, wait_until
from tests.lib.processes import heap_flags, resident, written
from tests.lib.tap import main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SECONDS = int(os.environ.get('IDLE_SECONDS', '60' if NIGHTLY else '5'))


@test(f'two mounts and three nodes, idle for {SECONDS} s: nothing written; after work too')
def _():
    with Lab(options='' if NIGHTLY else 'noatime') as lab:  # times of reading are told half a minute later
        for when, pids in quiet_times(lab, SECONDS):
            before = {name: written(pid) for name, pid in pids.items()}
            time.sleep(SECONDS)  # that nothing happens gives no event
            wrote = {name: written(pid) - before[name] for name, pid in pids.items() if written(pid) != before[name]}
            assert not wrote, f'{when}: bytes written while nobody does anything: {wrote}'


@test('memory that many blocks took is given back when they stop')
def _():
    with Lab() as lab:
        pids = processes(lab)
        new = {name: resident(pid) for name, pid in pids.items()}
        path = lab.path('m1', 'large')
        with open(path, 'wb') as f:
            for _round in range(64):
                f.write(os.urandom(1 << 20))
            os.fsync(f.fileno())
        with open(lab.path('m2', 'large'), 'rb') as f:
            assert sum(len(piece) for piece in iter(lambda: f.read(1 << 20), b'')) == 64 << 20

        def taken():
            return {name: resident(pid) - new[name] >> 20 for name, pid in pids.items()}

        wait_until(lambda: max(taken().values()) < 12, 20, 'less than 12 MiB more than when they were new, in each process')


@test('heaps grow by large pages, where the kernel has them')
def _():
    with open('/sys/kernel/mm/transparent_hugepage/enabled', encoding='ascii') as f:
        has = '[never]' not in f.read()
    with Lab(mounts=1) as lab:
        for name, pid in processes(lab).items():
            assert not has or 'hg' in heap_flags(pid), f'{name}: {heap_flags(pid)}'


if __name__ == '__main__':
    main()
