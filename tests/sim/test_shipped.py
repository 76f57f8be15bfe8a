#!/usr/bin/env python3
"""No planted bug is in what ships: neither a name nor a word of them, while the mutation build has them.

test_shipped.py TALLY_MUTANTS TALLY
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.tap import main, test  # noqa: E402

MUTANTS, SHIPPED = sys.argv[1:]


def mentions(path):
    with open(path, 'rb') as f:
        return b'mutant' in f.read().lower()


@test('the program knows of no mutation')
def _():
    assert not mentions(SHIPPED)


@test('the mutation build does')
def _():
    assert mentions(MUTANTS)


main()
