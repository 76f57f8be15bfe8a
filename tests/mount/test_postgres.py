"""PostgreSQL with its data directory on a mount: the leader dies under pgbench, then the server does; it recovers at the other mount.

    sudo python3 tests/mount/test_postgres.py        needs Debian's postgresql (tools/dev/install-deps nightly)
"""
import glob
import os
import pwd
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tests.lib.lab import Lab, process, wait_until
from tests.lib.tap import figure, main, test

NIGHTLY = bool(os.environ.get('TALLY_NIGHTLY'))
SECONDS = 60 if NIGHTLY else 8
BIN = next(iter(sorted(glob.glob('/usr/lib/postgresql/*/bin'), reverse=True)), '/usr/bin')


class Server:
    """Run by user postgres, who owns its directory; reached through a socket that is no part of the mount."""

    def __init__(self, lab):
        self.user = pwd.getpwnam('postgres')
        self.sockets = os.path.join(lab.dir, 'sockets')
        self.log = os.path.join(self.sockets, 'log')
        os.mkdir(self.sockets)
        os.chown(self.sockets, self.user.pw_uid, self.user.pw_gid)
        for path in (lab.dir, f'{lab.dir}/mnt'):
            os.chmod(path, 0o755)
        os.mkdir(lab.path('m1', 'pg'), 0o700)
        os.chown(lab.path('m1', 'pg'), self.user.pw_uid, self.user.pw_gid)

    def command(self, name, *args):
        return [f'{BIN}/{name}', *map(str, args)]

    def options(self):
        return {'user': 'postgres', 'group': 'postgres', 'extra_groups': [], 'cwd': '/',
                'env': {'PATH': f'{BIN}:{os.environ["PATH"]}', 'PGHOST': self.sockets, 'LC_ALL': 'C', 'HOME': self.sockets}}

    def run(self, name, *args, timeout=300):
        r = subprocess.run(self.command(name, *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=timeout, **self.options())
        assert r.returncode == 0, f'{name}: exit code {r.returncode}: {r.stdout[-2000:]}{self.said()}'
        return r.stdout

    def said(self):
        if not os.path.exists(self.log):
            return ''
        with open(self.log, errors='replace') as f:
            return '\nserver: ' + f.read()[-2000:]

    def start(self, directory):
        self.run('pg_ctl', '-D', directory, '-w', '-t', '120', '-l', self.log, '-o', f"-c listen_addresses='' -k {self.sockets}", 'start')

    def query(self, text):
        return self.run('psql', '-XAtq', '-d', 'bench', '-c', text).strip()

    def fall(self, directory):
        """As if its machine lost power: SIGKILL to all of its processes."""
        with open(f'{directory}/postmaster.pid') as f:
            pid = int(f.readline())
        below = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(pid)], capture_output=True, text=True).stdout.split()
        for each in (pid, *map(int, below)):
            os.kill(each, 9)
        wait_until(lambda: not any(os.path.exists(f'/proc/{p}/fd') and is_running(p) for p in (pid, *below)), 30, 'its processes are gone')


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def check_sums(server, transactions):
    """Each transaction adds one number in three tables and notes it in a fourth: the sums agree, and none that was acknowledged is missing."""
    sums = server.query('select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches),'
                        '(select sum(tbalance) from pgbench_tellers), (select sum(delta) from pgbench_history)').split('|')
    assert len(set(sums)) == 1, sums
    noted = int(server.query('select count(*) from pgbench_history'))
    assert noted >= transactions, f'{noted} noted, {transactions} acknowledged'
    assert server.query('select count(*) from pgbench_accounts') == '100000'


@test('initdb, pgbench while the leader is killed, sums; the server is killed and recovers at the other mount; all pages are whole')
def _():
    with Lab() as lab:
        server = Server(lab)
        here, there = lab.path('m1', 'pg', 'data'), lab.path('m2', 'pg', 'data')
        begin = time.monotonic()
        server.run('initdb', '-D', here, '--data-checksums', '--no-locale', '-E', 'UTF8', '-A', 'trust', '-U', 'postgres')
        figure(f'initdb: {time.monotonic() - begin:.1f} s')
        at = here
        server.start(here)
        try:
            server.run('createdb', 'bench')
            server.run('pgbench', '-i', '-q', 'bench')
            with process(server.command('pgbench', '-c', '4', '-j', '2', '-T', SECONDS, '-n', 'bench'), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, **server.options()) as bench:
                time.sleep(SECONDS / 3)  # in the middle of it
                leader = lab.leader()
                lab.kill(leader)
                time.sleep(SECONDS / 3)
                lab.start(leader)
                said = bench.communicate(timeout=SECONDS + 120)[0]
            assert bench.returncode == 0 and 'aborted' not in said, said + server.said()
            done = int(re.search(r'actually processed: (\d+)', said).group(1))
            figure(f'pgbench -c 4: {done / SECONDS:.0f} transactions/s, its leader {leader} killed')
            assert int(re.search(r'failed transactions: (\d+)', said).group(1)) == 0, said
            check_sums(server, done)
            server.fall(here)
            os.unlink(f'{here}/postmaster.pid')
            os.unlink(f'{server.sockets}/.s.PGSQL.5432.lock')
            at = there
            server.start(there)
            check_sums(server, done)
            server.query('vacuum full')
            check_sums(server, done)
        finally:
            subprocess.run(server.command('pg_ctl', '-D', at, '-m', 'fast', '-w', 'stop'), stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=120, **server.options())
        assert 'Bad checksums:  0' in server.run('pg_checksums', '--check', '-D', there)
        lab.settle(120)


if __name__ == '__main__':
    if not shutil.which(f'{BIN}/initdb'):
        sys.exit('PostgreSQL is not installed: tools/dev/install-deps nightly')
    main()
