#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mount-rclone.py - 4 KiB random reads of a warm file: cachemax-mount beside rclone.

  mount-rclone.py [--rounds N] [--seconds N] [--mib N] BUILD_DIR

Both serve the same directory (in $TMPDIR) and cache it on the same volume (/dev/shm). rclone runs
with --vfs-cache-mode full. The third is nullfuse, which answers from memory and does nothing. They
take turns in each of N (5) rounds: fio reads a file of N (64) MiB past the kernel's pages for N (2)
seconds, with one job and with two. All files were read before. Prints the medians in MB/s, and how
much faster cachemax is. Judges nothing. Needs fio, rclone (Debian's packages) and the right to
mount. Exit status: 0 done, 1 something failed, 77 it cannot be run here."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from mounted import Mount, find, run  # noqa: E402


def read_rate(path, jobs, a):
    """MB/s."""
    out = run('fio', '--name=r', '--filename=' + path, '--readonly', '--rw=randread', '--bs=4k',
              '--direct=1', '--numjobs=%d' % jobs, '--group_reporting', '--norandommap',
              '--runtime=%d' % a.seconds, '--time_based', '--randrepeat=0',
              '--output-format=terse', '--terse-version=3')
    line = [line for line in out.splitlines() if line.count(';') > 40][-1]
    return float(line.split(';')[7]) * 4096 / 1e6


def read_all(path):
    with open(path, 'rb', buffering=0) as f:
        while f.read(1 << 20):
            pass


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--seconds', type=int, default=2)
    p.add_argument('--mib', type=int, default=64)
    p.add_argument('build')
    a = p.parse_args()
    if not shutil.which('fio') or not shutil.which('rclone') or not os.path.exists('/dev/fuse'):
        print('skip mount-rclone: no fio, no rclone, or no FUSE')
        sys.exit(77)
    work, shm = tempfile.mkdtemp(prefix='cachemax-rclone.'), tempfile.mkdtemp(dir='/dev/shm')
    at = {n: os.path.join(work, n) for n in ('cachemax', 'rclone', 'null')}
    mounts = []
    try:
        for directory in at.values():
            os.mkdir(directory)
        with open(at['cachemax'] + '/data', 'wb') as f:
            for _ in range(a.mib):
                f.write(os.urandom(1 << 20))
        os.sync()
        pool = shm + '/pool'
        run(find(a.build, 'cachemax'), 'create', pool, '--quiet', '--size',
            '%dM' % (a.mib * 2 + 64))
        # Not below the other mount: both read the files themselves.
        mounts.append(Mount(at['rclone'], [
            'rclone', 'mount', at['cachemax'], at['rclone'], '--vfs-cache-mode', 'full',
            '--cache-dir', shm + '/rclone', '--config', shm + '/none', '--vfs-read-chunk-size',
            '64M']))
        read_all(at['rclone'] + '/data')
        mounts.append(Mount(at['null'], [find(a.build, 'nullfuse'), at['null'],
                                         str(a.mib << 20), '2']))
        mounts.append(Mount(at['cachemax'], [find(a.build, 'cachemax-mount'), at['cachemax'],
                                             '--pool', pool, '-f']))
        for _ in range(3):
            read_all(at['cachemax'] + '/data')
        found = {(way, jobs): [] for jobs in (1, 2) for way in at}
        for _ in range(a.rounds):
            for way, jobs in found:
                found[way, jobs].append(read_rate(at[way] + '/data', jobs, a))
        for jobs in (1, 2):
            rate = {way: statistics.median(found[way, jobs]) for way in at}
            print('%d job%s  ' % (jobs, 's' if jobs > 1 else ' ') +
                  '   '.join('%s %.0f MB/s' % pair for pair in rate.items()) +
                  '   of null %.2f   of rclone %.1f' % (rate['cachemax'] / rate['null'],
                                                       rate['cachemax'] / rate['rclone']))
    finally:
        for mount in reversed(mounts):
            subprocess.run(['fusermount3', '-u', '-z', mount.at], stderr=subprocess.DEVNULL,
                           check=False)
            mount.process.wait()
        shutil.rmtree(work)
        shutil.rmtree(shm)


main()
