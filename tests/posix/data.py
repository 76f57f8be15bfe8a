"""Bytes of files: how they are opened, holes, truncation, appending, unlinked files, mappings, limits."""
import ctypes
import errno
import mmap
import os
import random
import time

PAGE = 4096


def contents(v, *parts):
    with open(v.at(*parts), 'rb') as f:
        return f.read()


def put(v, data, *parts):
    with open(v.at(*parts), 'wb') as f:
        f.write(data)


def opening(v, d):
    v.gives(errno.ENOENT, os.open, v.at(d, 'f'), os.O_RDWR)
    fd = v.gives(0, os.open, v.at(d, 'f'), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    v.gives(0, os.write, fd, b'12345')
    v.gives(0, os.close, fd)
    v.gives(errno.EEXIST, os.open, v.at(d, 'f'), os.O_RDWR | os.O_CREAT | os.O_EXCL)
    v.same(contents(v, d, 'f'), b'12345', 'O_CREAT without O_EXCL')
    fd = v.gives(0, os.open, v.at(d, 'f'), os.O_RDONLY)
    v.gives(errno.EBADF, os.write, fd, b'x')
    v.gives(errno.EINVAL, os.ftruncate, fd, 0)
    os.close(fd)
    fd = v.gives(0, os.open, v.at(d, 'f'), os.O_WRONLY)
    v.gives(errno.EBADF, os.read, fd, 1)
    os.close(fd)
    fd = v.gives(0, os.open, v.at(d, 'f'), os.O_PATH)
    v.gives(errno.EBADF, os.read, fd, 1)
    v.same(os.fstat(fd).st_size, 5, 'fstat of O_PATH')
    os.close(fd)
    os.close(os.open(v.at(d, 'f'), os.O_WRONLY | os.O_TRUNC))
    v.same(contents(v, d, 'f'), b'', 'O_TRUNC')
    v.gives(errno.ENOTDIR, os.open, v.at(d, 'f'), os.O_RDONLY | os.O_DIRECTORY)
    for extra in (os.O_SYNC, os.O_DSYNC, os.O_APPEND, os.O_NONBLOCK, os.O_NOATIME, os.O_CLOEXEC):
        fd = v.gives(0, os.open, v.at(d, 'f'), os.O_RDWR | os.O_TRUNC | extra)
        v.same(os.write(fd, b'abc'), 3, 'written')
        os.close(fd)
        v.same(contents(v, d, 'f'), b'abc', f'with flag {extra:o}')


def random_writes(v, d):
    """Against a copy in memory: writes, truncations, reads of any part, each by another way."""
    rnd = random.Random(5)
    twin = bytearray()
    put(v, b'', d, 'f')
    for step in range(150):
        what = rnd.randrange(4)
        at = rnd.randrange(0, 40 * PAGE) if rnd.random() < 0.5 else rnd.randrange(0, 3 * PAGE)
        if what < 2:
            data = bytes([rnd.randrange(1, 256)]) * rnd.choice((1, 7, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 20000))
            fd = os.open(v.at(d, 'f'), os.O_WRONLY)
            v.same(os.pwrite(fd, data, at), len(data), 'written')
            os.close(fd)
            if at > len(twin):
                twin += bytes(at - len(twin))
            twin[at:at + len(data)] = data
        elif what == 2:
            v.gives(0, os.truncate, v.at(d, 'f'), at)
            twin = twin[:at] if at < len(twin) else twin + bytes(at - len(twin))
        else:
            fd = os.open(v.at(d, 'f'), os.O_RDONLY)
            size = rnd.choice((1, 100, PAGE, 50000))
            v.check(os.pread(fd, size, at) == bytes(twin[at:at + size]), f'step {step}: {size} bytes at {at}')
            os.close(fd)
        v.same(os.stat(v.at(d, 'f')).st_size, len(twin), f'size after step {step}')
    v.check(contents(v, d, 'f') == bytes(twin), 'all bytes')


def holes(v, d):
    fd = os.open(v.at(d, 'f'), os.O_RDWR | os.O_CREAT)
    for at in (10 * PAGE, 2**20, 2**32, 2**40):
        v.gives(0, os.pwrite, fd, b'x', at)
        v.gives(0, os.fsync, fd)
        st = os.stat(v.at(d, 'f'))
        v.same(st.st_size, at + 1, 'size')
        v.check(st.st_blocks * 512 < 2**20, 'a hole takes no space')
        v.same(os.pread(fd, PAGE, at - PAGE), bytes(PAGE), 'zeros before it')
    v.gives(0, os.ftruncate, fd, 0)
    v.same(os.stat(v.at(d, 'f')).st_blocks, 0, 'blocks of an empty file')
    v.gives(0, os.ftruncate, fd, 3 * PAGE + 5)
    v.same(contents(v, d, 'f'), bytes(3 * PAGE + 5), 'extended by zeros')
    v.gives(0, os.pwrite, fd, b'y' * 2 * PAGE, 0)
    for size in (PAGE + 1, 1, 0):  # what was cut off does not come back
        v.gives(0, os.truncate, v.at(d, 'f'), size)
        v.gives(0, os.truncate, v.at(d, 'f'), 2 * PAGE)
        v.same(contents(v, d, 'f'), b'y' * size + bytes(2 * PAGE - size), f'cut to {size} and extended')
    v.gives(errno.EINVAL, os.truncate, v.at(d, 'f'), -1)
    v.gives(errno.EINVAL, os.pwrite, fd, b'x', -1)
    os.close(fd)


def seek(fd, at, whence):
    """Where SEEK_DATA or SEEK_HOLE leads; 'none' when it is ENXIO."""
    try:
        return os.lseek(fd, at, whence)
    except OSError as e:
        return 'none' if e.errno == errno.ENXIO else e


def seeking(v, d):
    """SEEK_DATA and SEEK_HOLE, and st_blocks, of what is buffered, and again of what is committed."""
    fds = [os.open(v.at(d, 'f'), os.O_RDWR | os.O_CREAT) for _ in range(2)]  # alternating: one at each mount
    v.same(seek(fds[0], 0, os.SEEK_DATA), 'none', 'no data in an empty file')
    v.same(seek(fds[1], 0, os.SEEK_HOLE), 'none', 'nor a hole')
    data = []
    for page, size in ((3, PAGE), (10, 3 * PAGE), (50, 100), (2**20, PAGE)):
        v.gives(0, os.pwrite, fds[page % 2], b'd' * size, page * PAGE)
        data.append((page * PAGE, (page + (size + PAGE - 1) // PAGE) * PAGE))
        for synced in (False, True):
            if synced:
                v.gives(0, os.fsync, fds[0])
                v.gives(0, os.fsync, fds[1])
            size_now = page * PAGE + size
            for fd in fds:
                at, found = 0, []
                while True:
                    begin = seek(fd, at, os.SEEK_DATA)
                    if begin == 'none':
                        break
                    at = seek(fd, begin, os.SEEK_HOLE)
                    found.append((begin, at))
                want = [(b, min(e, size_now)) for b, e in data]
                v.same(found, want, f'data after page {page}, synced {synced}')
                v.same(seek(fd, size_now, os.SEEK_DATA), 'none', 'from the end')
                v.same(seek(fd, size_now - 1, os.SEEK_HOLE), size_now, 'the end is a hole')
                v.same(seek(fd, 1, os.SEEK_HOLE), 1, 'within a hole')
                v.same(seek(fd, 3 * PAGE + 7, os.SEEK_DATA), 3 * PAGE + 7, 'within data')
            if synced:
                v.same(os.stat(v.at(d, 'f')).st_blocks * 512, sum(e - b for b, e in data), 'st_blocks')
    v.gives(0, os.ftruncate, fds[1], 11 * PAGE)
    v.same(seek(fds[0], 11 * PAGE - 1, os.SEEK_HOLE), 11 * PAGE, 'cut off')
    v.gives(0, os.ftruncate, fds[0], 2**30)
    v.same(seek(fds[1], 11 * PAGE, os.SEEK_DATA), 'none', 'and extended by a hole')
    v.same(os.stat(v.at(d, 'f')).st_blocks * 512, 2 * PAGE, 'st_blocks after the cut')
    for fd in fds:
        v.gives(0, os.close, fd)


KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32  # linux/falloc.h
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, at, size):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(size)) != 0:
        raise OSError(ctypes.get_errno(), 'fallocate')


def allocating(v, d):
    fd = os.open(v.at(d, 'f'), os.O_RDWR | os.O_CREAT)
    v.gives(0, fallocate, fd, 0, 0, 3 * PAGE)
    v.same(os.stat(v.at(d, 'f')).st_size, 3 * PAGE, 'extended')
    v.gives(0, fallocate, fd, KEEP, 0, 10 * PAGE)
    v.same(os.stat(v.at(d, 'f')).st_size, 3 * PAGE, 'kept')
    v.same(contents(v, d, 'f'), bytes(3 * PAGE), 'zeros')
    v.gives(0, os.pwrite, fd, b'a' * 3 * PAGE, 0)
    v.gives(0, fallocate, fd, 0, PAGE, PAGE)
    v.same(contents(v, d, 'f'), b'a' * 3 * PAGE, 'what is there stays')
    v.gives(0, os.posix_fallocate, fd, 0, 4 * PAGE + 1)
    v.same(os.stat(v.at(d, 'f')).st_size, 4 * PAGE + 1, 'posix_fallocate')
    for mode in (0, KEEP, PUNCH | KEEP, ZERO, ZERO | KEEP):
        v.gives(errno.EINVAL, fallocate, fd, mode, 0, 0)
        v.gives(errno.EINVAL, fallocate, fd, mode, -1, PAGE)
    v.gives(errno.EFBIG, fallocate, fd, 0, 2**63 - PAGE, PAGE)
    v.gives(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, PAGE)
    other = os.open(v.at(d, 'f'), os.O_RDONLY)
    v.gives(errno.EBADF, fallocate, other, 0, 0, PAGE)
    os.close(other)
    if v.tally:
        for mode in (COLLAPSE, INSERT):
            v.gives(errno.EOPNOTSUPP, fallocate, fd, mode, 0, PAGE)
        v.gives(errno.ENOSPC, fallocate, fd, 0, 0, 2**50)
        v.gives(errno.ENOSPC, fallocate, fd, KEEP, 0, 2**50)
    v.same(os.stat(v.at(d, 'f')).st_size, 4 * PAGE + 1, 'refused ones change nothing')
    os.close(fd)


def punching(v, d):
    """Holes and zeros of any range against a copy in memory, over bytes that are dirty, committed, mapped or cached."""
    rnd = random.Random(9)
    twin = bytearray(b'e' * 16 * PAGE)
    put(v, bytes(twin), d, 'f')
    fds = [os.open(v.at(d, 'f'), os.O_RDWR) for _ in range(2)]
    for step in range(120):
        at, size = rnd.randrange(0, 20 * PAGE), rnd.choice((1, 100, PAGE, PAGE + 1, 3 * PAGE, 9 * PAGE))
        if rnd.random() < 0.4:
            at -= at % PAGE
        what = rnd.choice(('punch', 'zero', 'zero keep', 'write', 'write', 'sync', 'read'))
        fd = fds[rnd.randrange(2)]
        if what == 'write':
            at %= 16 * PAGE
            data = bytes([rnd.randrange(1, 256)]) * size
            os.pwrite(fd, data, at)
            twin += bytes(max(0, at + size - len(twin)))
            twin[at:at + size] = data
        elif what == 'sync':
            os.fsync(fd)
        elif what == 'read':
            v.check(os.pread(fd, size, at) == bytes(twin[at:at + size]), f'step {step}: {size} bytes at {at}')
        else:
            v.gives(0, fallocate, fd, {'punch': PUNCH | KEEP, 'zero': ZERO, 'zero keep': ZERO | KEEP}[what], at, size)
            if what == 'zero':
                twin += bytes(max(0, at + size - len(twin)))
            end = min(at + size, len(twin))
            twin[at:max(at, end)] = bytes(max(0, end - at))
            v.check(os.pread(fd, size + 200, max(0, at - 100)) == bytes(twin[max(0, at - 100):max(0, at - 100) + size + 200]),
                    f'step {step}: {what} {size} bytes at {at}')
        v.same(os.stat(v.at(d, 'f')).st_size, len(twin), f'size after step {step}')
    v.check(contents(v, d, 'f') == bytes(twin), 'all bytes')
    v.gives(0, os.pwrite, fds[0], b'x' * 20 * PAGE, 0)
    v.gives(0, os.fsync, fds[0])
    blocks = os.stat(v.at(d, 'f')).st_blocks
    before = os.stat(v.at(d, 'f')).st_mtime_ns
    v.gives(0, fallocate, fds[1], PUNCH | KEEP, PAGE // 2, 3 * PAGE)
    now = os.stat(v.at(d, 'f')).st_blocks
    v.check(now == blocks - 16 if v.tally else now < blocks, f'two pages less: {blocks}, {now}')
    v.check(os.stat(v.at(d, 'f')).st_mtime_ns > before, 'it is a change')
    v.same(seek(fds[0], 0, os.SEEK_HOLE), PAGE, 'the hole')
    v.same(seek(fds[0], PAGE, os.SEEK_DATA), 3 * PAGE, 'and data behind it')
    with mmap.mmap(fds[0], 20 * PAGE) as m:
        v.same(m[10 * PAGE:10 * PAGE + 4], b'xxxx', 'mapped')
        m[11 * PAGE:11 * PAGE + 4] = b'map!'
        v.gives(0, fallocate, fds[0], PUNCH | KEEP, 10 * PAGE + 2, 2 * PAGE)
        v.same(m[10 * PAGE:10 * PAGE + 4], b'xx\0\0', 'the mapping sees it')
        v.same(m[11 * PAGE:11 * PAGE + 4], bytes(4), 'also where it was written')
    v.same(os.pread(fds[1], 4, 12 * PAGE), b'\0\0xx', 'and the other descriptor')
    for fd in fds:
        v.gives(0, os.close, fd)


def copy_range(fd, to, size, at, to_at):
    """All of it: one call may copy less."""
    done = 0
    while done < size:
        n = os.copy_file_range(fd, to, size - done, at + done, to_at + done)
        if n == 0:
            break
        done += n
    return done


def copying(v, d):
    """copy_file_range of any range between two files, and within one, against copies in memory."""
    rnd = random.Random(11)
    twins = [bytearray(rnd.randbytes(24 * PAGE + 777)), bytearray(rnd.randbytes(3 * PAGE))]
    for i, twin in enumerate(twins):
        put(v, bytes(twin), d, f'f{i}')
    for step in range(80):
        fds = [os.open(v.here(d, f'f{i}'), os.O_RDWR) for i in range(2)]  # both through one mount
        v.at()
        one, other = rnd.choice(((0, 1), (1, 0), (0, 0), (1, 1)))
        size = rnd.choice((1, 500, PAGE, 3 * PAGE, 3 * PAGE + 99, 40 * PAGE))
        at, to_at = (rnd.randrange(0, 20 * PAGE) for _ in range(2))
        kind = rnd.random()
        if kind < 0.4:
            at, to_at = at - at % PAGE, to_at - to_at % PAGE
        elif kind < 0.7:
            to_at = to_at - to_at % PAGE + at % PAGE
        os.fstat(fds[0]), os.fstat(fds[1])  # Linux copies no further than it thinks the file goes
        want = max(0, min(size, len(twins[one]) - at))
        if one == other and abs(at - to_at) < want:
            v.gives(errno.EINVAL, os.copy_file_range, fds[one], fds[other], size, at, to_at)
        elif rnd.random() < 0.3:  # and a write, so that something is dirty
            data = rnd.randbytes(rnd.choice((1, 100, 2 * PAGE)))
            os.pwrite(fds[one], data, at)
            twins[one] += bytes(max(0, at + len(data) - len(twins[one])))
            twins[one][at:at + len(data)] = data
        else:
            v.same(copy_range(fds[one], fds[other], size, at, to_at), want, f'step {step}: {size} from {at} to {to_at}')
            if want:
                twins[other] += bytes(max(0, to_at + want - len(twins[other])))
                twins[other][to_at:to_at + want] = bytes(twins[one][at:at + want])
        for i in range(2):
            v.check(contents(v, d, f'f{i}') == bytes(twins[i]), f'step {step}: bytes of {i}')
            os.close(fds[i])
    fd = os.open(v.here(d, 'f0'), os.O_RDONLY)
    to = os.open(v.here(d, 'f1'), os.O_RDWR | os.O_TRUNC)
    v.gives(errno.EBADF, os.copy_file_range, to, fd, 10, 0, 0)
    size = os.fstat(fd).st_size
    v.same(os.copy_file_range(fd, to, 2**30, 0, 0), size, 'all in one call')
    v.gives(0, os.ftruncate, to, size + PAGE)
    os.close(fd)
    os.close(to)
    v.check(contents(v, d, 'f1') == bytes(twins[0]) + bytes(PAGE), 'zeros behind a copy')
    holes = os.open(v.here(d, 'f0'), os.O_RDWR)
    v.gives(0, fallocate, holes, PUNCH | KEEP, PAGE, 9 * PAGE)
    to = os.open(v.here(d, 'f1'), os.O_RDWR | os.O_TRUNC)
    v.same(os.copy_file_range(holes, to, size, 0, 0), size, 'with a hole')
    v.same(os.pread(to, 10 * PAGE, 0), bytes(twins[0][:PAGE]) + bytes(9 * PAGE), 'which is copied')
    if v.tally:
        v.same(seek(to, 0, os.SEEK_HOLE), PAGE, 'as a hole')
        v.same(os.fstat(to).st_blocks, os.fstat(holes).st_blocks, 'st_blocks')
    os.close(holes)
    os.close(to)


def appending(v, d):
    want = b''
    fds = [os.open(v.at(d, 'f'), os.O_WRONLY | os.O_APPEND | os.O_CREAT) for _ in range(4)]
    for i in range(40):
        record = bytes([65 + i % 26]) * (1 + i * 37 % 900)
        v.same(os.write(fds[i % 4], record), len(record), 'appended')
        want += record
    for fd in fds:
        v.gives(0, os.close, fd)
    v.check(contents(v, d, 'f') == want, 'records of four descriptors in order')


def unlinked(v, d):
    for size in (0, 10, 100000):
        put(v, b'z' * size, d, 'f')
        fds = [os.open(v.at(d, 'f'), os.O_RDWR) for _ in range(2)]  # alternating: one at each mount
        v.gives(0, os.unlink, v.at(d, 'f'))
        v.gives(errno.ENOENT, os.stat, v.at(d, 'f'))
        for fd in fds:
            v.same(os.pread(fd, size + 1, 0), b'z' * size, 'read after the unlink')
            v.same(os.fstat(fd).st_nlink, 0, 'links')
        v.gives(0, os.pwrite, fds[0], b'more', size)
        v.same(os.pread(fds[1], 10, size), b'more', 'what one writes the other reads')
        v.gives(0, os.ftruncate, fds[1], 3)
        v.same(os.fstat(fds[0]).st_size, 3, 'and what it cuts off')
        put(v, b'another', d, 'f')
        v.same(os.fstat(fds[0]).st_size, 3, 'a new file of that name is another')
        for fd in fds:
            v.gives(0, os.close, fd)
        os.unlink(v.at(d, 'f'))


def unlinked_fifo(v, d):
    """Linux opens fifos by itself: nobody tells the file system that they are open."""
    v.make('fifo', d, 'p')
    ends = [os.open(v.at(d, 'p'), os.O_RDWR | os.O_NONBLOCK) for _ in range(2)]  # of two mounts: two pipes
    v.gives(0, os.unlink, v.at(d, 'p'))
    v.gives(errno.ENOENT, os.stat, v.at(d, 'p'))
    for fd in ends:
        v.same(os.fstat(fd).st_nlink, 0, 'links')
        v.same(v.gives(0, os.write, fd, b'through'), 7, 'written after the unlink')
    v.same(v.gives(0, os.read, ends[0], 7), b'through', 'read after the unlink')
    v.gives(0, os.fchmod, ends[0], 0o600)
    v.same(os.fstat(ends[1]).st_mode & 0o777, 0o600, 'its mode')
    for fd in ends:
        v.gives(0, os.close, fd)
    used = files_used(v)
    v.make('fifo', d, 'p')
    for _ in v.roots:
        os.stat(v.at(d, 'p'))
    v.gives(0, os.unlink, v.at(d, 'p'))
    deadline = time.monotonic() + 10
    while files_used(v) > used and time.monotonic() < deadline:
        time.sleep(0.05)
    v.check(files_used(v) <= used, 'it is freed when no program has it open, though other mounts have seen it')


def files_used(v):
    st = os.statvfs(v.at())
    return st.f_files - st.f_ffree


def mappings(v, d):
    put(v, b'a' * 3 * PAGE, d, 'f')
    fd = os.open(v.at(d, 'f'), os.O_RDWR)
    with mmap.mmap(fd, 3 * PAGE) as m:
        v.same(m[:4], b'aaaa', 'mapped')
        m[PAGE:PAGE + 4] = b'map!'
        v.same(os.pread(fd, 4, PAGE), b'map!', 'read sees the mapping')
        v.gives(0, os.pwrite, fd, b'file', 2 * PAGE)
        v.same(m[2 * PAGE:2 * PAGE + 4], b'file', 'the mapping sees a write')
        m.flush()
    v.gives(0, os.fsync, fd)
    os.close(fd)
    v.same(contents(v, d, 'f')[PAGE:PAGE + 4], b'map!', 'written back')
    with open(v.at(d, 'f'), 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m:
        m[:4] = b'mine'
    v.same(contents(v, d, 'f')[:4], b'aaaa', 'a private mapping is')


subjects = [opening, random_writes, holes, seeking, allocating, punching, copying, appending, unlinked, unlinked_fifo, mappings]
