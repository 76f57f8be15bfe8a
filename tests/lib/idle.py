"""A lab that nobody uses, when it is new and after work."""
import os
import shutil
import time

from tests.lib.lab import ROOT
from tests.lib.processes import written

QUIET_WITHIN_S = 180  # after work: times of reading are told, the log is cut, space given back


def processes(lab):
    """Their names and pids."""
    s = lab.status()
    return {p['name']: p['pid'] for p in s['nodes'] + s['mounts']}


def await_quiet(pids, seconds):
    """Until nothing has been written for so long."""
    end = time.monotonic() + QUIET_WITHIN_S
    while True:
        before = [written(pid) for pid in pids]
        time.sleep(seconds)  # that nothing happens gives no event
        if before == [written(pid) for pid in pids]:
            return
        assert time.monotonic() < end, f'{QUIET_WITHIN_S} s after all work something is still written'


def work(lab):
    shutil.copytree(f'{ROOT}/fs', lab.path('m1', 'tree'))
    for folder, _dirs, names in os.walk(lab.path('m2', 'tree')):
        for name in names:
            with open(f'{folder}/{name}', 'rb') as f:
                f.read()
    shutil.rmtree(lab.path('m2', 'tree', 'client'))


def quiet_times(lab, seconds):
    """Yields twice ('new', 'after work'), with the processes, once nothing has been written for so long."""
    for when in ('new', 'after work'):
        if when != 'new':
            work(lab)
        lab.settle()
        found = processes(lab)
        await_quiet(found.values(), seconds)
        yield when, found
