#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""measure.py - the filter beside nbdkit's own filters cache and cow, over a slow plugin.

  measure.py [--megabytes N] [--delay MS] [--reads N] BUILD_DIR

The origin is a file behind nbdkit's delay filter, which adds MS milliseconds to each read. The same
random 4 KiB reads, from one connection, are timed cold, a second time (warm), and again after
nbdkit was ended and started (restart); and after it was killed with SIGKILL (kill). Each row is
printed as a ratio: how many times faster than the same reads of the plugin without a cache. The
times are medians of the reads. cache runs with cache-on-read=true, cow with cow-on-read=true. Run
it on a machine that does nothing else.
"""
import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import nbd

FILTERS = ('none', 'cache', 'cow', 'cachemax')
EXTRA = {'cache': ['cache-on-read=true'], 'cow': ['cow-on-read=true'],
         'cachemax': ['cachemax-pool=pool', 'cachemax-id=measure']}


class Server:
    def __init__(self, name, args):
        path = os.path.join(args.build, 'examples/nbdkit/nbdkit-cachemax-filter.so')
        top = [] if name == 'none' else ['--filter=' + (path if name == 'cachemax' else name)]
        self.socket = os.path.abspath('socket')
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = subprocess.Popen(
            ['nbdkit', '-f', '-U', self.socket, *top, '--filter=delay', 'file', 'disk',
             'rdelay=%dms' % args.delay, *EXTRA.get(name, [])])
        end = time.monotonic() + 60
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit('nbdkit does not start with %s' % name)
            time.sleep(0.01)
        self.h = nbd.NBD()
        self.h.connect_unix(self.socket)

    def end(self, how):
        if how == signal.SIGTERM:
            self.h.shutdown()
        self.process.send_signal(how)
        self.process.wait(60)


def timed(server, offsets, data):
    """The median time of a read, in microseconds; every read is compared with the image."""
    times = []
    for at in offsets:
        began = time.perf_counter()
        got = server.h.pread(4096, at)
        times.append(time.perf_counter() - began)
        if got != data[at:at + 4096]:
            sys.exit('wrong bytes at %d' % at)
    return statistics.median(times) * 1e6


def measure(name, args, offsets, data):
    result = []
    s = Server(name, args)
    for _ in range(2):
        result.append(timed(s, offsets, data))
    for how in (signal.SIGTERM, signal.SIGKILL):
        s.end(how)
        s = Server(name, args)
        result.append(timed(s, offsets, data))
    s.end(signal.SIGTERM)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--megabytes', type=int, default=64)
    parser.add_argument('--delay', type=int, default=2)
    parser.add_argument('--reads', type=int, default=1000)
    parser.add_argument('build')
    args = parser.parse_args()
    args.build = os.path.realpath(args.build)
    top = tempfile.mkdtemp(prefix='cachemax-nbd.')
    os.chmod(top, 0o700)
    try:
        os.chdir(top)
        r = random.Random(1)
        data = r.randbytes(args.megabytes << 20)
        with open('disk', 'wb') as f:
            f.write(data)
        subprocess.run([os.path.join(args.build, 'src/tool/cachemax'), 'create', 'pool', '--size',
                        '%dM' % (args.megabytes * 2), '-q'], check=True)
        offsets = r.sample(range(0, len(data), 4096), min(args.reads, len(data) // 4096))
        rows = {name: measure(name, args, offsets, data) for name in FILTERS}
    finally:
        os.chdir('/')
        shutil.rmtree(top)
    print('ratios: median of %d reads of 4 KiB without a cache / with it; delay %d ms'
          % (len(offsets), args.delay))
    print('| filter | first read | warm | after a restart | after a kill |')
    print('|---|---|---|---|---|')
    for name in FILTERS[1:]:
        print('| %s | %s |' % (name, ' | '.join('%.1f' % (n / t) for n, t in
                                                zip(rows['none'], rows[name]))))


main()
