#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mount-calls.py - how many system calls an operation costs the mount.

  mount-calls.py [--files N] [--names] BUILD_DIR

Counts with strace the system calls of cachemax-mount and of passthrough_ll (an example of libfuse,
which libfuse3-dev has as source, and which is compiled here) for each operation, with N (500)
files. Noise of the machine does not touch these numbers. With --names each kind of call is told.
The directory lies in $TMPDIR, the pool in /dev/shm. Needs strace, and root.
Exit status: 0 done, 1 something failed, 77 it cannot be run here."""
import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from mounted import Mount, compile_rival, find, run  # noqa: E402

DATA = b'x' * 4096


def read_all(path):
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 65536)
    os.close(fd)


def make(path):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(fd, DATA)
    os.close(fd)


class Operations:
    """Each is done N times; what it needs was done before."""

    def __init__(self, directory, n):
        self.old = ['%s/a%d' % (directory, i) for i in range(n)]
        self.new = ['%s/b%d' % (directory, i) for i in range(n)]
        self.fd = os.open(directory + '/data', os.O_CREAT | os.O_RDWR)
        os.write(self.fd, DATA)

    def all(self):
        yield 'create, write, close', lambda i: make(self.old[i])
        yield 'write of 4 KiB', lambda i: os.pwrite(self.fd, DATA, i % 64 * 4096)
        yield 'rename, new file', lambda i: os.rename(self.old[i], self.new[i])
        yield 'first open, read, close', lambda i: read_all(self.new[i])
        yield 'open, read, close', lambda i: read_all(self.new[i])
        yield 'rename', lambda i: os.rename(self.new[i], self.old[i])
        yield 'chmod', lambda i: os.chmod(self.old[i], 0o640)
        yield 'stat after chmod', lambda i: os.stat(self.old[i])
        yield 'unlink', lambda i: os.unlink(self.old[i])
        os.close(self.fd)


def traced(pid, work, operation):
    """Calls of each name while the operation runs."""
    log = os.path.join(work, 'strace')
    with open(os.path.join(work, 'said'), 'w') as said:
        tracer = subprocess.Popen(['strace', '-f', '-q', '-o', log, '-p', str(pid)], stderr=said)
    # It has stopped and listed each thread once.
    while not all(open('/proc/%d/task/%s/status' % (pid, t)).read().find('TracerPid:\t0') < 0
                  for t in os.listdir('/proc/%d/task' % pid)):
        time.sleep(0.01)
    operation()
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = collections.Counter()
    with open(log) as lines:
        for line in lines:
            words = line.split(None, 1)[1]
            if '(' in words and not words.startswith(('<', '+', '-')):
                calls[words.split('(')[0]] += 1
    return calls


def count(directory, pid, work, n):
    os.mkdir(directory + '/d')
    result = {}
    for name, one in Operations(directory + '/d', n).all():
        time.sleep(0.6)  # what is done a little later belongs to the operation before
        result[name] = traced(pid, work, lambda one=one: [one(i) for i in range(n)])
    shutil.rmtree(directory + '/d')
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--files', type=int, default=500)
    p.add_argument('--names', action='store_true')
    p.add_argument('build')
    a = p.parse_args()
    if not shutil.which('strace') or os.geteuid() != 0 or not os.path.exists('/dev/fuse'):
        print('skip mount-calls: no strace, not root, or no FUSE')
        sys.exit(77)
    work, shm = tempfile.mkdtemp(prefix='cachemax-calls.'), tempfile.mkdtemp(dir='/dev/shm')
    org, other, pool = (os.path.join(work, n) for n in ('org', 'other', 'pool'))
    pool = os.path.join(shm, 'pool')
    try:
        os.mkdir(org)
        os.mkdir(other)
        run(find(a.build, 'cachemax'), 'create', pool, '--quiet', '--size', '64M', '--max-files',
            str(max(a.files * 4, 1000)))
        ways = {'cachemax': (org, [find(a.build, 'cachemax-mount'), org, '--pool', pool, '-f'])}
        rival = compile_rival(shm)
        if rival:
            ways['passthrough_ll'] = (other, [rival, '-f', '-o', 'source=' + org, other])
        results = {}
        for way, (at, words) in ways.items():
            mount = Mount(at, words)
            results[way] = count(at, mount.process.pid, work, a.files)
            mount.end()
        print('%-26s' % 'system calls of' + ''.join('%16s' % w for w in results))
        for name in results['cachemax']:
            print('%-26s' % name + ''.join('%16.2f' % (sum(results[w][name].values()) / a.files)
                                           for w in results))
            for way in results if a.names else ():
                print('    %-14s ' % way + ', '.join(
                    '%s %.2f' % (k, v / a.files)
                    for k, v in results[way][name].most_common() if v * 50 >= a.files))
    finally:
        for at in (org, other):
            subprocess.run(['fusermount3', '-u', '-z', at], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(work)
        shutil.rmtree(shm)


main()
