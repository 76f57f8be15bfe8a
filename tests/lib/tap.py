"""Test programs in Python that speak TAP.

    from tests.lib.tap import test, main
    @test('what must hold')
    def _(): ...assert...
    main()
"""
import signal
import sys
import traceback

_tests = []


def test(name):
    """Registers a function as one test. It fails by raising (assert)."""
    def register(function):
        _tests.append((name, function))
        return function
    return register


def figure(text):
    """A measured value for people to read; never a verdict."""
    print(f'# figure: {text}', flush=True)


def note(text):
    for line in str(text).splitlines():
        print(f'# {line}', flush=True)


def _ended(number, _frame):
    raise SystemExit(f'signal {number}')  # so that context managers take their labs down


def main():
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, _ended)
    print(f'1..{len(_tests)}', flush=True)
    bad = 0
    for number, (name, function) in enumerate(_tests, 1):
        try:
            function()
            print(f'ok {number} - {name}', flush=True)
        except Exception:
            bad += 1
            print(f'not ok {number} - {name}', flush=True)
            note(traceback.format_exc())
    sys.exit(1 if bad else 0)
