"""Databases that live in one file: SQLite with its journals, from one process and from two, and LMDB, which maps its file."""
import contextlib
import os
import random
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.disturb import at_once, killing
from tests.lib.lab import Lab
from tests.lib.programs import run
from tests.lib.tap import figure, main, note, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
TRANSACTIONS = 2000 if NIGHTLY else 60  # of each process
KILLS = 20 if NIGHTLY else 3

# A process that moves money between accounts, and notes each move: PATH JOURNAL SEED TRANSACTIONS
MOVER = '''
import random, sqlite3, sys
path, journal, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rnd = random.Random(seed)
db = sqlite3.connect(path, timeout=120, isolation_level=None)
db.execute('pragma journal_mode=' + journal)
for i in range(count):
    db.execute('begin immediate')
    a, b, amount = rnd.randrange(20), rnd.randrange(20), rnd.randrange(100)
    db.execute('update account set amount = amount - ? where id = ?', (amount, a))
    db.execute('update account set amount = amount + ? where id = ?', (amount, b))
    db.execute('insert into move values(?, ?, ?)', (seed, i, 'x' * rnd.randrange(3000)))
    db.execute('rollback' if i % 7 == 3 else 'commit')
db.close()
'''


def use_sqlite(path, journal):
    rows = 3000 if NIGHTLY else 300
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db:
        mode = db.execute(f'pragma journal_mode={journal}').fetchone()[0]
        db.execute('create table t(id integer primary key, name text, data blob)')
        db.execute('create index by_name on t(name)')
        for start in range(0, rows, 50):
            with db:
                db.executemany('insert into t values(?,?,?)', [(i, f'name {i}', bytes([i % 251]) * (i * 37 % 9000))
                                                               for i in range(start, start + 50)])
        with contextlib.suppress(ZeroDivisionError), db:
            db.execute('delete from t')
            raise ZeroDivisionError  # rolled back
        with db:
            db.execute('delete from t where id % 3 = 0')
        db.execute('vacuum')
        assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
        assert db.execute('select count(*) from t').fetchone()[0] == rows - (rows + 2) // 3
    return mode, rows - (rows + 2) // 3


for _journal in ('delete', 'truncate', 'persist', 'wal'):
    @test(f'sqlite with journal_mode={_journal} at one mount: inserts, roll back, vacuum, integrity_check, seen at the other')
    def _(journal=_journal):
        with Lab() as lab:
            mode, rows = use_sqlite(lab.path('m1', 'db'), journal)
            assert mode in (journal, 'delete'), mode  # an answer of sqlite's that wal can't be had here is clean
            if mode != journal:
                note(f'sqlite uses {mode} where {journal} was asked')
            with contextlib.closing(sqlite3.connect(lab.path('m2', 'db'))) as db:
                assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
                assert db.execute('select count(*) from t').fetchone()[0] == rows


def bank(path, journal):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(f'pragma journal_mode={journal}')
        with db:
            db.execute('create table account(id integer primary key, amount integer)')
            db.execute('create table move(who integer, number integer, note text, primary key(who, number))')
            db.executemany('insert into account values(?, 1000)', [(i,) for i in range(20)])


def move(path, journal, seed, count):
    r = subprocess.run([sys.executable, '-c', MOVER, path, journal, str(seed), str(count)], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-2000:]


def check_bank(path, movers, count):
    """Nothing was lost, doubled or torn: the money is all there, and every move that was committed."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute('pragma integrity_check').fetchone()[0] == 'ok'
        assert db.execute('select sum(amount), count(*) from account').fetchone() == (20000, 20)
        want = sorted((who, i) for who in movers for i in range(count) if i % 7 != 3)
        assert sorted(db.execute('select who, number from move').fetchall()) == want


@test('sqlite: two processes at two mounts with a rollback journal, two at one mount with a WAL')
def _():
    with Lab() as lab:
        for journal, mounts in (('delete', ('m1', 'm2')), ('wal', ('m1', 'm1'))):
            bank(lab.path('m1', journal), journal)
            at_once(*(lambda m=m, i=i: move(lab.path(m, journal), journal, i, TRANSACTIONS) for i, m in enumerate(mounts)))
            for m in ('m2', 'm1'):
                check_bank(lab.path(m, journal), (0, 1), TRANSACTIONS)


@test('sqlite: the same while nodes are killed and restarted')
def _():
    with Lab() as lab:
        bank(lab.path('m1', 'db'), 'delete')
        movers = 0
        with killing(lab) as kills:
            while movers == 0 or len(kills) < KILLS:
                at_once(*(lambda m=m, i=movers + n: move(lab.path(m, 'db'), 'delete', i, 20) for n, m in enumerate(('m1', 'm2'))))
                movers += 2
        figure(f'{movers} times 20 transactions, {len(kills)} kills')
        check_bank(lab.path('m2', 'db'), range(movers), 20)


def mdb_text(pairs):
    """What mdb_load -T reads."""
    lines = ['VERSION=3', 'format=print', 'type=btree', 'mapsize=67108864', 'HEADER=END']
    for key, value in pairs:
        lines += [f' {key}', f' {value}']
    return '\n'.join(lines + ['DATA=END', ''])


def mdb_pairs(dump):
    """The pairs of what mdb_dump -p printed."""
    lines = [line[1:] for line in dump.split('HEADER=END\n', 1)[1].splitlines() if line.startswith(' ')]
    return dict(zip(lines[::2], lines[1::2]))


@test('LMDB: mdb_load, mdb_dump, mdb_stat and mdb_copy, whose file is mapped; read and changed at the other mount')
def _():
    with Lab() as lab:
        rnd = random.Random(4)
        count = 20000 if NIGHTLY else 2000
        pairs = {f'key{i:06}': f'{i:x}' * rnd.randrange(1, 120) for i in range(count)}
        os.mkdir(lab.path('m1', 'mdb'))

        def load(mount, pairs, *more):
            text = os.path.join(lab.dir, 'text')
            with open(text, 'w') as f:
                f.write(mdb_text(pairs.items()))
            run('mdb_load', '-f', text, *more, lab.path(mount, 'mdb'))

        load('m1', pairs)
        for mount in ('m1', 'm2'):
            assert mdb_pairs(run('mdb_dump', '-p', lab.path(mount, 'mdb'))) == pairs, mount
            assert f'Entries: {count}' in run('mdb_stat', '-e', lab.path(mount, 'mdb'))
        pairs |= {f'more{i}': 'm' * 2000 for i in range(200)}  # larger than half a page: overflow pages
        load('m2', pairs)
        for mount in ('m1', 'm2'):
            assert mdb_pairs(run('mdb_dump', '-p', lab.path(mount, 'mdb'))) == pairs, mount
        os.mkdir(lab.path('m1', 'copy'))
        run('mdb_copy', '-c', lab.path('m1', 'mdb'), lab.path('m1', 'copy'))
        assert mdb_pairs(run('mdb_dump', '-p', lab.path('m2', 'copy'))) == pairs


if __name__ == '__main__':
    main()
