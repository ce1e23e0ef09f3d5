#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mount-changes.py - what writes, names and first reads cost in a mount.

  mount-changes.py [--rounds N] [--seconds N] [--files N] [--tarred N] [--mib N] BUILD_DIR

Compares these ways to reach a directory. They take turns in each of N (5) rounds:

  alone           without a mount
  passthrough_ll  an example of libfuse that passes all on and caches nothing. libfuse3-dev has its
                  source, which is compiled here. It checks no permissions, and it has no extended
                  attributes, so the kernel sends it fewer requests
  same service    passthrough_ll with both: -o default_permissions,xattr
  cachemax        cachemax-mount with a pool in /dev/shm
  read-only       the same with -o ro; tar only

What is done there:

  write, direct   4 KiB writes at random places of a file by fio for N (2) seconds, buffered, and
                  with O_DIRECT; each has a file of its own, because a direct write takes longer
                  where the kernel may hold pages of the file (examples/mount/direct.c)
  create          a new file of 4 KiB, for each of N (3000) files; stat, rename and unlink of each
  tar             N (10000) files of 4 KiB read by tar, when it has just read them. So the kernel
                  has their names, attributes and pages wherever it may keep them. The mount has a
                  descriptor for each name, so there are fewer files where it may have few of them
  first, warm     a file of N (256) MiB read in order, when only the disk has it, and once more from
                  the pool (with passthrough_ll: from the disk again). As root only.

The directory lies in $TMPDIR. Prints the medians, and ratios of speeds: above 1, cachemax is
faster. Judges nothing. Needs fio and the right to mount.
Exit status: 0 done, 1 something failed, 77 it cannot be run here."""
import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from mounted import Mount, compile_rival, find, run  # noqa: E402

RIVALS = {'passthrough_ll': '', 'same service': ',default_permissions,xattr'}
BLOCK = 4096


def seconds(of):
    begin = time.perf_counter()
    of()
    return time.perf_counter() - begin


def drop_pages():
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')


def write_iops(path, direct, a):
    out = run('fio', '--name=w', '--filename=' + path, '--rw=randwrite', '--bs=4k',
              '--direct=%d' % direct,
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

    result = {'create': seconds(create), 'stat': seconds(lambda: [os.stat(p) for p in old])}
    result['rename'] = seconds(lambda: [os.rename(p, q) for p, q in zip(old, new)])
    result['unlink'] = seconds(lambda: [os.unlink(p) for p in new])
    return {k: a.files / v for k, v in result.items()}


def tar(directory, a):
    """Files in a second."""
    def once():
        # To a pipe: tar reads nothing if the archive is /dev/null.
        subprocess.run('tar -C %s -cf - . | cat > /dev/null' % directory, shell=True, check=True)

    for _ in range(3):  # a block comes to the pool when it is read again
        once()
    return a.tarred / statistics.median(seconds(once) for _ in range(3))


def reads(path, a):
    """Bytes in a second. Root may empty the page cache."""
    result = {}
    for name in ('first', 'warm') if os.geteuid() == 0 else ():
        drop_pages()
        result[name] = (a.mib << 20) / seconds(
            lambda: run('dd', 'if=' + path, 'of=/dev/null', 'bs=1M', 'status=none'))
    return result


def measure(directory, way, a):
    result = {'tar': tar(os.path.join(directory, 'tarred'), a)}
    if way == 'read-only':
        return result
    inner = os.path.join(directory, 'names')
    os.mkdir(inner)
    result.update(names(inner, a))
    os.rmdir(inner)
    result.update(reads(os.path.join(directory, 'big'), a))
    for name, direct in (('write', 0), ('direct', 1)):
        result[name] = write_iops(os.path.join(directory, name), direct, a)
    return result


def descriptors():
    """How many the mount may have. Root raises the limit, unless it lacks CAP_SYS_RESOURCE."""
    with open('/proc/sys/fs/nr_open') as f:
        most = int(f.read())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return most
    except (PermissionError, ValueError):
        return hard


def one_round(a, work, pool, ways):
    results = {}
    for way, words in ways.items():
        if 'cachemax-mount' in ' '.join(words[:1]):
            if os.path.exists(pool):
                os.unlink(pool)
            run(find(a.build, 'cachemax'), 'create', pool, '--quiet', '--size',
                '%dM' % (a.mib * 2 + a.tarred // 128 + 64), '--max-files',
                str((a.files + a.tarred) * 4 + 1000))
        at = os.path.join(work, 'other' if way in RIVALS else 'org')
        mount = Mount(at, words) if words else None
        results[way] = measure(at, way, a)
        if mount:
            mount.end()
    return results


def report(rounds, tarred):
    ways = list(rounds[0])
    print('%-8s' % '' + ''.join('%15s' % way for way in ways), ' cachemax / each')
    for what in rounds[0]['alone']:
        value = {way: statistics.median(r[way][what] for r in rounds)
                 for way in ways if what in rounds[0][way]}
        unit = 1 << 20 if what in ('first', 'warm') else 1
        print('%-8s' % what + ''.join('%15.0f' % (value[way] / unit) if way in value else ' ' * 15
                                      for way in ways),
              ' '.join('%6.2f' % (value['cachemax'] / value[way]) for way in ways
                       if way in value and way != 'cachemax'))
    print('tar: %d files' % tarred)
    print('first and warm: MiB/s; all others: operations or files in a second')


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--seconds', type=int, default=2)
    p.add_argument('--files', type=int, default=3000)
    p.add_argument('--tarred', type=int, default=10000)
    p.add_argument('--mib', type=int, default=256)
    p.add_argument('build')
    a = p.parse_args()
    a.tarred = min(a.tarred, descriptors() // 4)
    if not shutil.which('fio') or not os.path.exists('/dev/fuse'):
        print('skip mount-changes: no fio, or no FUSE')
        sys.exit(77)
    work, shm = tempfile.mkdtemp(prefix='cachemax-changes.'), tempfile.mkdtemp(dir='/dev/shm')
    try:
        org, other, pool = (os.path.join(work, n) for n in ('org', 'other', 'pool'))
        pool = os.path.join(shm, 'pool')
        os.mkdir(org)
        os.mkdir(other)
        for name, mib in (('big', a.mib), ('write', min(a.mib, 64)), ('direct', min(a.mib, 64))):
            with open(os.path.join(org, name), 'wb') as f:
                for _ in range(mib):
                    f.write(os.urandom(1 << 20))
        os.mkdir(os.path.join(org, 'tarred'))
        for i in range(a.tarred):
            with open('%s/tarred/%d' % (org, i), 'wb') as f:
                f.write(b'x' * BLOCK)
        os.sync()
        ways = {'alone': []}
        rival = compile_rival(shm)
        if rival:
            for way, options in RIVALS.items():
                ways[way] = [rival, '-f', '-o', 'source=' + org + options, other]
        ways['cachemax'] = [find(a.build, 'cachemax-mount'), org, '--pool', pool, '-f']
        ways['read-only'] = ways['cachemax'] + ['-o', 'ro']
        report([one_round(a, work, pool, ways) for _ in range(a.rounds)], a.tarred)
    finally:
        for at in ('org', 'other'):
            subprocess.run(['fusermount3', '-u', '-z', os.path.join(work, at)],
                           stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(work)
        shutil.rmtree(shm)


main()
