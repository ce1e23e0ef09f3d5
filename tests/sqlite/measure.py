#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""measure.py - how much faster random reads of a database on a slow origin are through the pool.

  measure.py [--us N] [--rows N] [--reads N] BUILD_DIR

Each read of the origin waits N microseconds (slow_pread.c). Plain SQLite and the VFS do the same
random SELECTs with a page cache of 20 pages. The table has the times as ratios to plain SQLite in
the same run. "restart": another process, after the kernel dropped its page cache (as root).
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def drop():
    subprocess.run(['sync'], check=True)
    try:
        with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as f:
            f.write('3')
    except OSError:
        print('the page cache was not dropped: this needs root')


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--us', type=int, default=500)
    ap.add_argument('--rows', type=int, default=40000)
    ap.add_argument('--reads', type=int, default=1500)
    ap.add_argument('build')
    a = ap.parse_args()
    build = os.path.realpath(a.build)
    work = tempfile.TemporaryDirectory(prefix='cachemax-measure.')  # until the end
    os.chdir(work.name)
    slow = os.path.abspath('slow.so')
    subprocess.run(['cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', slow,
                    os.path.join(HERE, 'slow_pread.c')], check=True)
    subprocess.run([os.path.join(build, 'src/tool/cachemax'), 'create', 'pool', '--size', '64M',
                    '-q'], check=True)
    subprocess.run(['sqlite3', 'x.db', 'create table t(a integer primary key, b); with recursive '
                    'n(i) as (select 1 union all select i + 1 from n where i < %d) insert into t '
                    'select i, hex(randomblob(100)) from n;' % a.rows], check=True)
    reads = 'pragma cache_size=20;\nbegin;\n' + ''.join(
        'select length(b) from t where a=%d;\n' % (i * 7919 % a.rows + 1)
        for i in range(a.reads)) + 'commit;\n'
    start = '.load %s\n.open file:x.db?vfs=cachemax&pool=%s\n' % (
        os.path.join(build, 'examples/sqlite-vfs/sqlite-cachemax'), os.path.abspath('pool'))
    env = dict(os.environ, LD_PRELOAD=slow, SLOW_US=str(a.us))

    def timed(first):
        begun = time.monotonic()
        r = subprocess.run(['sqlite3'], input=first + reads, env=env, text=True, check=True,
                           stdout=subprocess.PIPE)
        assert r.stdout.count('200\n') == a.reads, r.stdout[-200:]
        return time.monotonic() - begun

    plain = timed('.open x.db\n')
    cold = timed(start)
    warm = timed(start)
    drop()
    restart = timed(start)
    print('%d reads, %d us each read of the origin' % (a.reads, a.us))
    for name, t in ('plain', plain), ('cold', cold), ('warm', warm), ('restart', restart):
        print('%-8s %.2f of the time, %.1f times as fast' % (name, t / plain, plain / t))
    os.chdir('/')
    work.cleanup()
    return 0


if __name__ == '__main__':
    sys.exit(main())
