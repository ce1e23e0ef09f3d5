# SPDX-License-Identifier: BSD-2-Clause
"""special_bits.py - what becomes of set-user-id and set-group-id bits when a file is changed.

  special_bits.py DIR...

In each DIR makes files with such bits, lets several users change each in several ways, and looks at
the mode at once. Prints what differs from the first DIR. Exit status: 0 nothing does, 1 something.
Needs root."""
import ctypes
import mmap
import os
import struct
import sys

FILE_GROUP, USER = 777, 65534
CAP_FSETID = 4
PR_CAPBSET_DROP, PR_SET_SECUREBITS = 24, 28
libc = ctypes.CDLL(None, use_errno=True)


def root():
    pass


def root_without_fsetid():
    """Capabilities that a new program image would get; here the effective ones are dropped."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    data[0] &= ~(1 << CAP_FSETID)
    data[1] &= ~(1 << CAP_FSETID)
    if libc.capset(header, data) != 0:
        os._exit(3)


def other():
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)


def member():
    os.setgroups([FILE_GROUP])
    os.setgid(USER)
    os.setuid(USER)


def write(path):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b'changed')
    os.close(fd)


def write_twice(path):
    """The kernel may remember what it has asked for before the first write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b'changed')
    os.write(fd, b'changed')
    os.close(fd)


def truncate(path):
    os.truncate(path, 2)


def open_truncated(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def allocate(path):
    fd = os.open(path, os.O_WRONLY)
    os.posix_fallocate(fd, 0, 8192)
    os.close(fd)


def copy(path):
    fd, source = os.open(path, os.O_WRONLY), os.open('/proc/self/exe', os.O_RDONLY)
    own = os.open(path, os.O_RDONLY)
    os.copy_file_range(own, fd, 2, 0, 4)
    for n in (fd, source, own):
        os.close(n)


def direct(path):
    page = mmap.mmap(-1, 4096)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.write(fd, page)
    os.close(fd)


def change_group(path):
    os.chown(path, -1, USER)


def change_nothing(path):
    """The mount says that it is done where the origin refuses it."""
    try:
        os.chown(path, -1, -1)
    except PermissionError:
        pass


def capability(path):
    """Of a program: does it still have one?"""
    return 'security.capability' in os.listxattr(path)


def mode_alone(path):
    """All attributes together may be newer: a write makes size and times unknown."""
    at_fdcwd, statx_mode = -100, 2
    buf = ctypes.create_string_buffer(256)
    if libc.statx(at_fdcwd, path.encode(), 0, statx_mode, buf) != 0:
        raise OSError(ctypes.get_errno(), 'statx')
    return int.from_bytes(buf.raw[28:30], sys.byteorder) & 0o7777


class Worker:
    """A process of a user that changes files when it is told to."""

    def __init__(self, who):
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        if os.fork() == 0:
            os.close(self.requests)  # so that it ends with its parent
            who()
            while True:
                line = os.read(requests, 4096).decode()
                if not line:
                    os._exit(0)
                os.write(answers, b'%d' % self.change(*line.split(' ', 1)))
        os.close(requests)
        os.close(answers)

    @staticmethod
    def change(name, path):
        try:
            CHANGES[name](path)
        except PermissionError:
            return 1
        except OSError:
            return 2
        return 0

    def tell(self, change, path):
        os.write(self.requests, ('%s %s' % (change.__name__, path)).encode())
        return int(os.read(self.answers, 16))


def outcome(path, mode, owner, worker, change, capable=False):
    with open(path, 'wb') as f:
        f.write(b'content')
    os.chown(path, owner, FILE_GROUP)
    os.chmod(path, mode)
    if capable:
        os.setxattr(path, 'security.capability', struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0))
    os.stat(path)
    status = worker.tell(change, path)
    left = oct(mode_alone(path)), capability(path)
    os.unlink(path)
    return status, left


EACH = (write, write_twice, truncate, open_truncated, allocate, copy, direct, change_group)
CHANGES = {c.__name__: c for c in EACH + (change_nothing,)}


def main():
    differ = 0
    workers = {who.__name__: Worker(who) for who in (root, root_without_fsetid, other, member)}
    for mode in (0o4777, 0o2777, 0o2767, 0o6777, 0o777):
        for owner in (0, USER):
            for who, worker in workers.items():
                for change in EACH:
                    seen = [outcome(os.path.join(d, 'bits'), mode, owner, worker, change)
                            for d in sys.argv[1:]]
                    for got in seen[1:]:
                        if got != seen[0]:
                            differ = 1
                            print('%s of %o of %d by %s: %s, without the mount %s' % (
                                change.__name__, mode, owner, who, got, seen[0]))
                for change in (change_nothing, write):
                    seen = [outcome(os.path.join(d, 'bits'), mode, owner, worker, change, True)
                            for d in sys.argv[1:]]
                    for got in seen[1:]:
                        if (got[0], got[1][1]) != (seen[0][0], seen[0][1][1]):
                            differ = 1
                            print('%s of %o of %d, with a capability, by %s: %s, not %s' % (
                                change.__name__, mode, owner, who, got, seen[0]))
    sys.exit(differ)


main()
