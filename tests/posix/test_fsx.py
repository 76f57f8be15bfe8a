"""Random operations on a file, compared with a twin in memory: at one mount, over two, far out, while nodes die.

    SEED=N OPERATIONS=N    what a failure printed, to see it again
"""
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import at_once, killing
from tests.lib.lab import ROOT, Lab
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
FSX = os.path.join(os.environ.get('TALLY_BUILD', os.path.join(ROOT, 'build')), 'tests/posix/fsx')
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(1, 10**9)
OPERATIONS = int(os.environ.get('OPERATIONS', '250000' if NIGHTLY else '5000'))
FAR = 5 * 2**40
KILLS = 12 if NIGHTLY else 3  # at least so many deaths


def fsx(*paths, seed=SEED, operations=OPERATIONS, base=0):
    """One run, which must find no difference."""
    command = [FSX, '-s', str(seed), '-n', str(operations), '-b', str(base), *paths]
    r = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert r.returncode == 0, f'{" ".join(command)}: exit code {r.returncode}:\n{r.stdout}'
    return r.stdout


def both(lab, name):
    return lab.path('m1', name), lab.path('m2', name)


@test('the program objects when the paths are not one file')
def _():
    with tempfile.TemporaryDirectory() as top:
        paths = [f'{top}/{name}' for name in ('a', 'b')]
        open(paths[1], 'w').close()
        r = subprocess.run([FSX, '-n', '1000', *paths], capture_output=True, text=True)
        assert r.returncode == 1 and 'DIFFERENCE seed=1 operation=' in r.stdout, r


@test('no difference at one mount, over two, and far out, all at once')
def _():
    with Lab() as lab:
        said = at_once(lambda: fsx(lab.path('m1', 'one')),
                       lambda: fsx(*both(lab, 'two'), seed=SEED + 1),
                       lambda: fsx(*both(lab, 'three'), seed=SEED + 2),
                       lambda: fsx(*both(lab, 'far'), seed=SEED + 3, base=FAR))
        figure(f'4 times {OPERATIONS} operations: {said[0].splitlines()[0]}')
        lab.settle()


@test('no difference over two mounts while nodes are killed and restarted')
def _():
    with Lab() as lab, killing(lab) as kills:
        done = 0
        while done == 0 or len(kills) < KILLS:
            fsx(*both(lab, f'f{done}'), seed=SEED + 10 + done, operations=500)
            done += 1
        figure(f'{done} times 500 operations, {len(kills)} kills')


if __name__ == '__main__':
    main()
