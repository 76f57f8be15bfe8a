"""Frames as on the wire (repl/wire/frame.h), made by hand so that they can be wrong in any way."""
import ctypes
import json
import socket
import struct

HELLO, REPL, CLIENT_REQUEST, CLIENT_REPLY, BLOCK_PUT, BLOCK_GET, SNAPSHOT_CHUNK, SNAPSHOT_ACK, ADMIN_REQUEST, ADMIN_REPLY = 1, 2, 3, 4, 5, 7, 9, 10, 11, 12
HELLO_NODE, HELLO_MOUNT, HELLO_ADMIN = 1, 2, 3
MAGIC = b'TLY1'
VERSION = 6  # of frames
OWN_HASHES = CLIENT_REPLY, BLOCK_PUT, 8  # (BLOCK_DATA): their bulk is blocks, which have hashes of their own

_xxhash = ctypes.CDLL('libxxhash.so.0')
_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def frame(kind, sequence, control=b'', bulk=b'', magic=MAGIC, version=VERSION, zero=0, sizes=None, checksum=None):
    control_size, bulk_size = sizes or (len(control), len(bulk))
    head = struct.pack('<4sBBHIIQ', magic, version, kind, zero, control_size, bulk_size, sequence)
    body = head + control + (b'' if kind in OWN_HASHES else bulk)
    return head + struct.pack('<Q', _xxhash.XXH3_64bits(body, len(body)) if checksum is None else checksum) + control + bulk


def hello(kind=HELLO_ADMIN, cluster=bytes(16), node=0, name=b'stranger', session=0, version=VERSION):
    control = struct.pack('<B16sIQQQI', kind, cluster, node, 0, 1, session, len(name)) + name
    return frame(HELLO, 1, control, version=version)


def ping(sequence=2):
    return frame(ADMIN_REQUEST, sequence, json.dumps({'cmd': 'ping'}).encode())


class Stranger:
    """A raw connection to a node."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)  # waits for its turn; with a timeout set it would fail when the queue is full
        self.socket.settimeout(15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False when the other side has closed meanwhile."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def closed(self):
        """Reads until the other side closes; False when it stays open for 15 s."""
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def receive(self):
        """(type, sequence, control) of the next frame; None at the end."""
        head = self._exactly(32)
        if not head:
            return None
        magic, _, kind, _, control, bulk, sequence, _ = struct.unpack('<4sBBHIIQQ', head)
        assert magic == MAGIC
        data = self._exactly(control + bulk)
        return kind, sequence, data[:control]

    def _exactly(self, size):
        data = b''
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                return None
            data += part
        return data
