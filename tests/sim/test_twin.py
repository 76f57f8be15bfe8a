#!/usr/bin/env python3
"""The simulator's disk answers as the store that ships does.

test_twin.py TWIN_REAL TWIN_MODEL [SEED...]
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.tap import main, test  # noqa: E402

REAL, MODEL = sys.argv[1:3]
SEEDS = [int(s) for s in sys.argv[3:]] or range(1, 25 if os.environ.get('TALLY_NIGHTLY') else 7)


def told(program, seed, *more):
    with tempfile.TemporaryDirectory(prefix='tally-twin-') as top:
        run = subprocess.run([program, str(seed), *more], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True, env={**os.environ, 'TMPDIR': top})
    return run.stdout.splitlines() + [f'ends with {run.returncode}']


def difference(a, b):
    """Where they part, and the ten lines before."""
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return '\n'.join(a[max(0, i - 10):i] + ['store: ' + x, 'model: ' + y])
    return '' if len(a) == len(b) else 'one ends before the other'


@test('the model and the store tell the same')
def _():
    for seed in SEEDS:
        real = told(REAL, seed)
        assert real[-1] == 'ends with 0', f'seed {seed}: ' + '\n'.join(real[-5:])
        where = difference(real, told(MODEL, seed))
        assert not where, f'seed {seed}:\n{where}'


@test('a lie shows')
def _():
    for seed in SEEDS:
        assert difference(told(MODEL, seed), told(MODEL, seed, 'lie')), f'seed {seed}'


main()
