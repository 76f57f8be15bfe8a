"""What the POSIX tests see: one directory through one mount, or alternating between several, and what they expect of it."""
import errno
import os
import pickle
import traceback


class View:
    """Operations go to the roots in turn: with two mounts of one cluster, each call finds what the call before did at the other."""

    def __init__(self, roots, tally=True):
        self.roots = roots
        self.tally = tally  # what only this filesystem does is expected too
        self.turn = 0
        self.count = 0
        self.failures = []
        self.subject = ''

    def at(self, *parts):
        """A path below the root whose turn it is."""
        self.turn += 1
        return self.here(*parts)

    def both(self, one, other):
        """Two paths of one mount, for calls that take two."""
        return self.at(*one), self.here(*other)

    def here(self, *parts):
        """A path below the root of the last one."""
        return os.path.join(self.roots[self.turn % len(self.roots)], *parts)

    def is_tally(self):
        """What other filesystems may do otherwise is asked of this one alone."""
        with open('/proc/self/mountinfo') as f:
            points = [line.split()[4] for line in f if ' - fuse.tally ' in line]
        return any(os.path.realpath(self.roots[0]).startswith(point) for point in points)

    def check(self, condition, text):
        self.count += 1
        if not condition:
            where = traceback.extract_stack()[:-1]
            line = next((f for f in reversed(where) if not f.filename.endswith('view.py')), where[-1])
            self.failures.append(f'{self.subject}: {os.path.basename(line.filename)}:{line.lineno}: {text}')
        return condition

    def same(self, got, want, text):
        return self.check(got == want, f'{text}: {got!r}, not {want!r}')

    def gives(self, want, function, *args, **more):
        """Expects errno `want` of a call; 0: none, and its result is returned."""
        got, result = 0, None
        try:
            result = function(*args, **more)
        except OSError as e:
            got = e.errno
        shown = ', '.join(repr(a)[:60] for a in args)
        self.check(got == want, f'{function.__name__}({shown}): {name_of(got)}, not {name_of(want)}')
        return result

    def as_user(self, uid, gid, function, groups=()):
        """Runs function(view) as somebody else, in a child; what it expected counts here."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(read)
                self.count, self.failures = 0, []
                os.setgroups(list(groups))
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
                try:
                    function(self)
                except Exception:
                    self.failures.append(f'{self.subject}: as {uid}:{gid}: {traceback.format_exc()}')
                with os.fdopen(write, 'wb') as f:
                    pickle.dump((self.count, self.failures), f)
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read, 'rb') as f:
            data = f.read()
        os.waitpid(pid, 0)
        if self.check(bool(data), 'the child told nothing'):
            count, failures = pickle.loads(data)
            self.count += count
            self.failures += failures

    def make(self, kind, *parts):
        """A new object of a kind of KINDS."""
        path = self.at(*parts)
        KINDS[kind](path)
        return path

    def remove(self, kind, *parts):
        (os.rmdir if kind == 'dir' else os.unlink)(self.at(*parts))


def name_of(code):
    return errno.errorcode.get(code, 'success') if code else 'success'


def make_file(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def make_socket(path):
    os.mknod(path, 0o140644)


KINDS = {
    'file': make_file,
    'dir': lambda path: os.mkdir(path, 0o755),
    'symlink': lambda path: os.symlink('target', path),
    'fifo': lambda path: os.mkfifo(path, 0o644),
    'socket': make_socket,
    'char': lambda path: os.mknod(path, 0o020644, os.makedev(1, 3)),
    'block': lambda path: os.mknod(path, 0o060644, os.makedev(7, 200)),
}
