"""What a cluster costs that nobody uses: no byte to any disk, when new and after work. Processor time: tests/bench/idle.py."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.idle import quiet_times
from tests.lib.lab import Lab
from tests.lib.processes import written
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


if __name__ == '__main__':
    main()
