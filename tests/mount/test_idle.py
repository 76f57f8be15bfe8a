"""What a cluster costs that nobody uses: processor time of each process, and no byte to any disk, when new and after work."""
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, Lab
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SECONDS = int(os.environ.get('IDLE_SECONDS', '60' if NIGHTLY else '5'))
SHARE = 0.01  # of one processor; a third of it is what the leader takes on a machine that is busy with other things
QUIET_WITHIN_S = 180  # after work: times of reading are told, the log is cut, space given back


class Process:
    """One of a lab, and what the kernel counts of it."""

    def __init__(self, name, pid):
        self.name, self.pid = name, pid

    def cpu_ns(self):
        total = 0
        for task in os.listdir(f'/proc/{self.pid}/task'):
            with open(f'/proc/{self.pid}/task/{task}/schedstat') as f:
                total += int(f.read().split()[0])
        return total

    def written(self):
        with open(f'/proc/{self.pid}/io') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('write_bytes:'))


def processes(lab):
    s = lab.status()
    return [Process(p['name'], p['pid']) for p in s['nodes'] + s['mounts']]


def await_quiet(all_of_them):
    """Until nothing has been written for the time of one measurement."""
    end = time.monotonic() + QUIET_WITHIN_S
    while True:
        before = [p.written() for p in all_of_them]
        time.sleep(SECONDS)  # that nothing happens gives no event
        if before == [p.written() for p in all_of_them]:
            return
        assert time.monotonic() < end, f'{QUIET_WITHIN_S} s after all work something is still written'


def measure(lab, when):
    all_of_them = processes(lab)
    await_quiet(all_of_them)
    cpu, written, start = [p.cpu_ns() for p in all_of_them], [p.written() for p in all_of_them], time.monotonic()
    time.sleep(SECONDS)
    took = time.monotonic() - start
    shares = {p.name: (p.cpu_ns() - c) / 1e9 / took for p, c in zip(all_of_them, cpu)}
    figure(f'{when}: ' + ', '.join(f'{name} {100 * share:.3f} %' for name, share in shares.items()) + f' of a processor in {took:.0f} s')
    wrote = {p.name: p.written() - w for p, w in zip(all_of_them, written) if p.written() != w}
    assert not wrote, f'{when}: bytes written while nobody does anything: {wrote}'
    assert max(shares.values()) < SHARE, f'{when}: {shares}'


@test(f'two mounts and three nodes, idle for {SECONDS} s: no processor time to speak of, nothing written; after work too')
def _():
    with Lab(options='' if NIGHTLY else 'noatime') as lab:  # times of reading are told half a minute later
        lab.settle()
        measure(lab, 'new')
        shutil.copytree(f'{ROOT}/fs', lab.path('m1', 'tree'))
        for folder, _dirs, names in os.walk(lab.path('m2', 'tree')):
            for name in names:
                with open(f'{folder}/{name}', 'rb') as f:
                    f.read()
        shutil.rmtree(lab.path('m2', 'tree', 'client'))
        lab.settle()
        measure(lab, 'after work')


if __name__ == '__main__':
    main()
