"""tally bench on a mount: what it prints, and that nothing is left, however it ends; and tests/bench/run."""
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import ROOT, TALLY, Lab, process, wait_until
from tests.lib.programs import write_file
from tests.lib.tap import main, test

ROWS = ['write', 'read', 'read_again', 'write_fsync', 'append_fsync', 'create', 'stat', 'read_small', 'mkdir', 'rename', 'delete']


def bench(*args, **kw):
    return subprocess.run([TALLY, 'bench', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, **kw)


@contextlib.contextmanager
def tmpfs(options):
    with tempfile.TemporaryDirectory(prefix='tally-test-') as top:
        subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tally-test', top], check=True)
        try:
            yield top
        finally:
            subprocess.run(['umount', top], check=True)


def works_in(top, *parts):
    """A bench has come as far as having made that below `top`."""
    return any(os.path.exists(os.path.join(top, name, *parts)) for name in os.listdir(top))


@test('on a mount, with names by the leader and under leases: JSON with every row, a table, nothing left')
def _():
    for options in ('namespace=sync', 'namespace=lease'):
        with Lab(mounts=2, options=options) as lab:
            r = bench(lab.path('m1'), '--json', '--seconds', '2')
            assert r.returncode == 0 and r.stderr == '', (r.returncode, r.stderr)
            found = json.loads(r.stdout)
            assert found['schema'] == 'tally/bench/1' and [row['name'] for row in found['rows']] == ROWS, found
            for row in found['rows']:
                assert row['count'] > 0 and row['rate'] > 0 and 0 < row['p50_us'] <= row['p99_us'], row
                assert row['text'] and row['unit'] in ('/s', 'MiB/s'), row
            r = bench(lab.path('m1'), '--seconds', '1')
            assert r.returncode == 0 and r.stderr == '', (r.returncode, r.stderr)
            lines = r.stdout.splitlines()
            assert lines[0].split() == ['OPERATION', 'COUNT', 'RATE', 'P50', 'P99'] and len(lines) == 1 + len(ROWS), r.stdout
            assert os.listdir(lab.path('m1')) == [] and os.listdir(lab.path('m2')) == []


@test('interrupted while it writes and while it makes names: it ends with 1 and says so, nothing is left')
def _():
    with Lab(mounts=1) as lab:
        top = lab.path('m1')
        for number, at in ((signal.SIGINT, 'big'), (signal.SIGTERM, 'files'), (signal.SIGHUP, 'log')):
            with process([TALLY, 'bench', top, '--json', '--seconds', '60'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True) as p:
                wait_until(lambda at=at: works_in(top, at), 60, f'the row that makes {at}')
                p.send_signal(number)
                p.send_signal(number)  # as timeout(1) does, which signals the group too
                out, said = p.communicate(timeout=60)
                assert p.returncode == 1 and out == '' and 'interrupted; nothing is left behind' in said, (p.returncode, out, said)
            assert os.listdir(top) == []


@test('on a terminal it shows how far it is; when nobody reads the table any more it still removes all')
def _():
    with tempfile.TemporaryDirectory(prefix='tally-test-') as top:
        master, slave = pty.openpty()
        with open(master, 'rb', buffering=0) as shown:
            with process([TALLY, 'bench', top, '--seconds', '3'], stdout=subprocess.PIPE, stderr=slave) as p:
                os.close(slave)
                p.stdout.readline()
                p.stdout.close()
                said = b''
                with contextlib.suppress(OSError):  # EIO: the other end is closed
                    while data := shown.read(4096):
                        said += data
                assert p.wait(60) == 1
        assert b'\r1 of 11: write' in said and b'could not be written' in said, said
        assert os.listdir(top) == []


@test('what it can not work with is said plainly: no directory, read only, too little space before and in the middle, wrong usage')
def _():
    with tmpfs('size=200m,nr_inodes=300') as top:
        r = bench(top, '--seconds', '1')
        assert r.returncode == 1 and 'create + write 4 KiB' in r.stderr and 'No space left' in r.stderr, r.stderr
        assert ' MiB and 3000 files and directories are needed' in r.stderr, r.stderr
        assert os.listdir(top) == []
        write_file(f'{top}/file', b'')
        r = bench(f'{top}/file')
        assert r.returncode == 1 and 'not a directory' in r.stderr, r.stderr
        r = bench(f'{top}/none')
        assert r.returncode == 1 and 'No such file or directory' in r.stderr, r.stderr
        subprocess.run(['mount', '-o', 'remount,ro', top], check=True)
        r = bench(top)
        assert r.returncode == 1 and 'Read-only' in r.stderr and 'needs to write' in r.stderr, r.stderr
    with tmpfs('size=8m') as top:
        r = bench(top)
        assert r.returncode == 1 and '64 MiB free are needed, there are 8' in r.stderr, r.stderr
        assert os.listdir(top) == []
        for wrong in (['--seconds', '0', top], ['--seconds', 'x', top], [top, top], [], [top, '--fast']):
            r = bench(*wrong)
            assert r.returncode == 2 and r.stdout == '' and r.stderr, wrong


@test('tests/bench/run, small: figures of all systems as JSON, a table with ratios and a picture, the same from the JSON alone')
def _():
    with tempfile.TemporaryDirectory(prefix='tally-test-') as top:
        command = [sys.executable, f'{ROOT}/tests/bench/run']

        def run(*args):
            r = subprocess.run([*command, *args, '--plot', f'{top}/plot.svg'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               timeout=180)
            assert r.returncode == 0, r.stderr
            bars = [e for e in xml.etree.ElementTree.parse(f'{top}/plot.svg').iter() if e.tag.endswith('rect')]
            assert len(bars) == 1 + 3 + 3 * (len(ROWS) + 1), len(bars)  # the card, the legend, three bars a row
            return r.stdout

        text = run('--small', '--json', f'{top}/figures.json')
        assert len(text.splitlines()) == 2 + len(ROWS) + 1, text
        with open(f'{top}/figures.json', encoding='utf-8') as f:
            found = json.load(f)
        assert found['schema'] == 'tally/bench-run/1' and len(found['rounds']) == 1, found
        for rows in found['medians'].values():
            assert [row['name'] for row in rows] == [*ROWS, 'untar'], rows
        assert run('--from', f'{top}/figures.json') == text


main()
