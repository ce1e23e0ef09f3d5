# SPDX-License-Identifier: BSD-2-Clause
"""idle.py - checks of nbd-test.py: files that no client has any more."""
import os

from serve import (
    BLOCK, ENV, Server, content, counter, eventually, make, not_sanitized, put, read_all, want,
    works)

FILES = 100
KEPT = 64  # of those that no client has


def open_files(s):
    """Which files of the folder `dir` the server has open."""
    found = []
    for fd in os.listdir('/proc/%d/fd' % s.process.pid):
        try:
            found.append(os.readlink('/proc/%d/fd/%s' % (s.process.pid, fd)))
        except OSError:
            pass  # closed just now
    return [path for path in found if path.startswith(os.path.abspath('dir') + '/')]


def check_many_files():
    """Each of many files is written once: the server has only the last ones open, and all are warm
    for the next client, and after its end. Also the first, whose times prove nothing so soon."""
    not_sanitized()
    works('cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', 'count.so', os.path.join(
        os.path.dirname(os.path.abspath(__file__)), 'count_sleeps.c'))
    os.mkdir('dir')
    make()
    data = [content(2 * BLOCK, seed=n) for n in range(FILES)]
    for n in range(FILES):
        put('dir/%d' % n, data[n])
    ENV.update(LD_PRELOAD=os.path.abspath('count.so'), WHOLE_FILE=os.path.abspath('dir/0'))
    try:
        s = Server('file', 'dir=dir')
        for n in range(FILES):
            h = s.connect(str(n))
            data[n][:BLOCK] = bytes([n]) * BLOCK
            h.pwrite(data[n][:BLOCK], 0)
            read_all(h, data[n])
            h.shutdown()
        eventually(lambda: len(open_files(s)) <= KEPT + 1,
                   'open: %d files' % len(open_files(s)))
        want(len(open_files(s)) >= KEPT, 'only %d files are open' % len(open_files(s)))
        for turn in 'the next client', 'the next server':
            before = counter('hit_blocks') if turn == 'the next client' else 0
            for n in range(FILES):
                h = s.connect(str(n))
                read_all(h, data[n])
                h.shutdown()
            s.end()
            want(counter('hit_blocks') - before == 2 * FILES, '%s: %d of %d blocks are warm'
                 % (turn, counter('hit_blocks') - before, 2 * FILES))
            if turn == 'the next client':
                s = Server('file', 'dir=dir')
    finally:
        for name in 'LD_PRELOAD', 'WHOLE_FILE':
            ENV.pop(name)


def check_replaced():
    """An image that is replaced by rename: the old one does not keep its room on the disk, and
    the new one is cached."""
    os.mkdir('dir')
    make()
    s = Server('file', 'dir=dir')
    for n in range(4):
        data = content(2 * BLOCK, seed=n)
        put('dir/new', data)
        os.rename('dir/new', 'dir/disk')
        h = s.connect('disk')
        eventually(lambda: not [f for f in open_files(s) if f.endswith('(deleted)')],
                   'a deleted file is open: %s' % open_files(s))
        read_all(h, data)
        data[:BLOCK] = b'x' * BLOCK
        h.pwrite(data[:BLOCK], 0)
        read_all(h, data)
        h.shutdown()
    put('dir/other', bytes(BLOCK))
    os.unlink('dir/disk')
    s.connect('other').shutdown()
    eventually(lambda: not [f for f in open_files(s) if f.endswith('(deleted)')],
               'a deleted file is open: %s' % open_files(s))
    s.end()
