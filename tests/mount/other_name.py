# SPDX-License-Identifier: BSD-2-Clause
"""other_name.py - a file that is changed by one name is looked at by another one.

  other_name.py sizes|times|appends

Makes files in the working directory, which is one where the mount takes each name for a file."""
import os
import sys
import time

TICK = 0.02  # of the clock that times of files come from


def sizes():
    """What is written behind the end is there at the first look."""
    with open('by-one', 'w', encoding='ascii') as f:
        f.write('short')
    os.link('by-one', 'by-two')
    reader, writer = os.open('by-one', os.O_RDONLY), os.open('by-two', os.O_RDWR)
    size = 5
    for n in range(20):
        assert os.fstat(reader).st_size == size
        os.pread(reader, 10000, 0)  # the kernel has pages of it
        os.pwrite(writer, b'longer', size)
        size += 6
        got = os.pread(reader, 10, size - 6) if n % 2 else os.fstat(reader).st_size
        assert got == (b'longer' if n % 2 else size), (n, got)


def times():
    """The kernel sees neither another size nor another time."""
    with open('same-one', 'wb') as f:
        f.write(b'old!' * 4096)
    os.link('same-one', 'same-two')
    was = os.stat('same-one')
    reader = os.open('same-two', os.O_RDONLY)
    for n in range(20):
        new = b'%04d' % n
        for _ in range(3):
            os.pread(reader, 8, 0)
            os.fstat(reader)
        time.sleep(TICK)
        with open('same-one', 'r+b', 0) as f:
            f.write(new * 4096)
            os.utime(f.fileno(), ns=(was.st_atime_ns, was.st_mtime_ns))
        got = os.pread(reader, 8, 0)
        assert got == new * 2, (n, got)


def appends():
    """The file was made longer by one name, and then something is appended by the other one."""
    for n in range(30):
        one, two = 'append-one-%d' % n, 'append-two-%d' % n
        with open(one, 'wb') as f:
            f.write(b'x' * 5000)
        os.link(one, two)
        longer = os.open(one, os.O_RDWR)
        appender, reader = os.open(two, os.O_WRONLY | os.O_APPEND), os.open(two, os.O_RDONLY)
        os.lseek(reader, 0, os.SEEK_END)
        os.ftruncate(longer, 13807)
        os.write(appender, b'y' * 7368)
        got = (os.lseek(reader, 0, os.SEEK_END), os.fstat(reader).st_size,
               len(os.pread(reader, 100000, 0)))[n % 3]
        assert got == 21175, (n, got)
        for fd in reader, longer:
            assert os.pread(fd, 100000, 0) == b'x' * 5000 + bytes(8807) + b'y' * 7368, (n, fd)
        for fd in longer, appender, reader:
            os.close(fd)


{'sizes': sizes, 'times': times, 'appends': appends}[sys.argv[1]]()
