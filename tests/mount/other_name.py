# SPDX-License-Identifier: BSD-2-Clause
"""other_name.py - a file that is changed by one name is looked at by another one.

  other_name.py sizes|times BARE

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


{'sizes': sizes, 'times': times}[sys.argv[1]]()
