"""System calls that Python lacks, and the errno of those it has."""
import ctypes
import os

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4

libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Raises OSError for a call of `libc` that failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rename2(old, new, flags):
    checked(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))


def error_of(function, *args, **more):
    """The errno with which a call fails; 0 when it succeeds."""
    try:
        function(*args, **more)
        return 0
    except OSError as e:
        return e.errno
