#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mount-changes.py - what writes, names and first reads cost in a mount.

  mount-changes.py [--rounds N] [--seconds N] [--files N] [--mib N] BUILD_DIR

Compares a directory alone, the same directory in passthrough_ll (an example of libfuse, which
libfuse3-dev has as source, and which is compiled here) and in cachemax-mount with a pool in
/dev/shm. They take turns in each of N (5) rounds:

  write         4 KiB writes at random places of a file, buffered, by fio for N (2) seconds
  create        a new file of 4 KiB, for each of N (3000) files; stat, rename and unlink of each
  tar           all of these files read by tar, when they are warm
  first, warm   a file of N (256) MiB read in order, when only the disk has it, and once more from
                the pool (with passthrough_ll: from the disk again). As root only.

The directory lies in $TMPDIR. Prints the medians, and their ratios to those of passthrough_ll and
of the directory alone; above 1: faster. Judges nothing. Needs fio and the right to mount.
Exit status: 0 done, 1 something failed, 77 it cannot be run here."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLE = '/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c'
BLOCK = 4096


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def seconds(of):
    begin = time.perf_counter()
    of()
    return time.perf_counter() - begin


def drop_pages():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


def write_iops(path, a):
    out = run('fio', '--name=w', '--filename=' + path, '--rw=randwrite', '--bs=4k',
              '--size=%dm' % min(a.mib, 64), '--runtime=%d' % a.seconds, '--time_based',
              '--output-format=terse', '--terse-version=3', '--randrepeat=0', '--norandommap')
    return float([line for line in out.splitlines() if line.count(';') > 40][-1].split(';')[48])


def names(directory, a):
    """Operations in a second, of each kind."""
    old = ['%s/a%d' % (directory, i) for i in range(a.files)]
    new = ['%s/b%d' % (directory, i) for i in range(a.files)]
    data = b'x' * BLOCK

    def create():
        for path in old:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(fd, data)
            os.close(fd)

    def tar():
        # To a pipe: tar reads nothing if the archive is /dev/null.
        subprocess.run('tar -C %s -cf - . | cat > /dev/null' % directory, shell=True, check=True)

    result = {'create': seconds(create), 'stat': seconds(lambda: [os.stat(p) for p in old])}
    result['rename'] = seconds(lambda: [os.rename(p, q) for p, q in zip(old, new)])
    subprocess.run('cat %s/b* > /dev/null' % directory, shell=True, check=True)
    result['tar'] = seconds(tar)
    result['unlink'] = seconds(lambda: [os.unlink(p) for p in new])
    return {k: a.files / v for k, v in result.items()}


def reads(path, a):
    """Bytes in a second. Root may empty the page cache."""
    result = {}
    for name in ('first', 'warm') if os.geteuid() == 0 else ():
        drop_pages()
        result[name] = (a.mib << 20) / seconds(
            lambda: run('dd', 'if=' + path, 'of=/dev/null', 'bs=1M', 'status=none'))
    return result


def measure(directory, a):
    inner = os.path.join(directory, 'names')
    os.mkdir(inner)
    result = names(inner, a)
    os.rmdir(inner)
    result.update(reads(os.path.join(directory, 'big'), a))
    result['write'] = write_iops(os.path.join(directory, 'data'), a)
    return result


class Mount:
    """In the foreground: its end is seen."""

    def __init__(self, at, words):
        self.at = at
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.ismount(at):
                return
            time.sleep(0.05)
        sys.exit('mount-changes.py: no mount: %s' % ' '.join(words))

    def end(self):
        subprocess.run(['fusermount3', '-u', self.at], check=True)
        self.process.wait()


def find(build, name):
    for directory, _, files in os.walk(build):
        if name in files and os.access(os.path.join(directory, name), os.X_OK):
            return os.path.join(directory, name)
    sys.exit('mount-changes.py: %s is not in %s' % (name, build))


def one_round(a, work, pool, ways):
    org, other = os.path.join(work, 'org'), os.path.join(work, 'other')
    results = {}
    for way, words in ways.items():
        if way == 'cachemax':
            if os.path.exists(pool):
                os.unlink(pool)
            run(find(a.build, 'cachemax'), 'create', pool, '--quiet', '--size',
                '%dM' % (a.mib * 2 + 64), '--max-files', str(max(a.files * 4, 1000)))
        mount = Mount(other if way == 'passthrough_ll' else org, words) if words else None
        results[way] = measure(other if way == 'passthrough_ll' else org, a)
        if mount:
            mount.end()
    return results


def report(rounds):
    print('%-8s %12s %15s %12s %18s %10s' % ('', 'alone', 'passthrough_ll', 'cachemax',
                                             '/ passthrough_ll', '/ alone'))
    for what in rounds[0]['alone']:
        value = {way: statistics.median(r[way][what] for r in rounds) for way in rounds[0]}
        mine, other = value['cachemax'], value.get('passthrough_ll')
        unit = (1 << 20, ' MiB/s') if what in ('first', 'warm') else (1, ' /s')
        print('%-8s' % what, ' '.join('%10.0f%s' % (value[way] / unit[0], unit[1])
                                      if way in value else '%12s' % '-'
                                      for way in ('alone', 'passthrough_ll', 'cachemax')),
              'ratio %.2f' % (mine / other) if other else '-', '%.2f' % (mine / value['alone']))


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--seconds', type=int, default=2)
    p.add_argument('--files', type=int, default=3000)
    p.add_argument('--mib', type=int, default=256)
    p.add_argument('build')
    a = p.parse_args()
    if not shutil.which('fio') or not os.path.exists('/dev/fuse'):
        print('skip mount-changes: no fio, or no FUSE')
        sys.exit(77)
    work, shm = tempfile.mkdtemp(prefix='cachemax-changes.'), tempfile.mkdtemp(dir='/dev/shm')
    try:
        org, other, pool = (os.path.join(work, n) for n in ('org', 'other', 'pool'))
        pool = os.path.join(shm, 'pool')
        os.mkdir(org)
        os.mkdir(other)
        for name, mib in (('big', a.mib), ('data', min(a.mib, 64))):
            with open(os.path.join(org, name), 'wb') as f:
                for _ in range(mib):
                    f.write(os.urandom(1 << 20))
        os.sync()
        ways = {'alone': None}
        if os.path.exists(EXAMPLE):
            flags = run('pkg-config', '--cflags', '--libs', 'fuse3').split()
            rival = os.path.join(shm, 'passthrough_ll')
            run('cc', '-O2', '-w', EXAMPLE, '-o', rival, *flags)
            ways['passthrough_ll'] = [rival, '-f', '-o', 'source=' + org, other]
        ways['cachemax'] = [find(a.build, 'cachemax-mount'), org, '--pool', pool, '-f']
        report([one_round(a, work, pool, ways) for _ in range(a.rounds)])
    finally:
        for at in ('org', 'other'):
            subprocess.run(['fusermount3', '-u', '-z', os.path.join(work, at)],
                           stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(work)
        shutil.rmtree(shm)


main()
