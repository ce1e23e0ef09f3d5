# SPDX-License-Identifier: BSD-2-Clause
"""measure.py - what coherence costs, and what a pool serves of files that rarely change.

fleet.py --measure calls it. Node 2 reads FILES files, which node 1 wrote. The first figures are
requests to the servers and time for an open, a read of the whole file and a close: with the cache,
and with the client alone. Then node 2 reads files at random for a while, and node 1 writes one now
and then. Where the blocks came from: the kernel's pages (no request to the mount), the pool, the
servers. In a second round node 2 reads past the pages, as if there was no room for them.
"""
import os
import random
import time

FILES = 200
SIZE = 16 * 4096
OPENS = 2000
SECONDS = 60
PAUSE = 2  # between writes


def read(path):
    with open(path, 'rb', buffering=0) as f:
        return f.read(SIZE)


def cost(server, what, below, directory, names):
    """For one open, read and close of each."""
    server.requests(below)
    began = time.monotonic()
    for n in range(OPENS):
        read(os.path.join(directory, names[n % FILES]))
    each = (time.monotonic() - began) / OPENS
    asked = {k: v / OPENS for k, v in server.requests(below).items() if v > OPENS / 50}
    print('  %s, %s: %.0f us for an open, a read of %d KiB and a close; requests: %s' % (
        server.name, what, each * 1e6, SIZE // 1024,
        ', '.join('%s %.2f' % (k, v) for k, v in sorted(asked.items())) or 'none'))


def mostly_read(fleet, names, chance, flags):
    one, two = fleet.nodes
    data = {}
    before, blocks, reads, writes = two.stats(), 0, 0, 0
    end = time.monotonic() + SECONDS
    due = time.monotonic()
    while time.monotonic() < end:
        if time.monotonic() >= due:
            name = chance.choice(names)
            data[name] = os.urandom(SIZE)
            one.put(name, data[name])
            writes += 1
            due = time.monotonic() + PAUSE
        name = chance.choice(names)
        got = two.read(name, flags)
        assert len(got) == SIZE and got == data.setdefault(name, got), 'old data in ' + name
        blocks += SIZE // 4096
        reads += 1
    after = two.stats()
    hits, misses = (after[k] - before[k] for k in ('hit_blocks', 'miss_blocks'))
    print('  %s: %d reads of whole files by node 2%s, %d writes by node 1; of the blocks came '
          '%.1f %% from pages, %.1f %% from the pool, %.1f %% from the servers' % (
              fleet.server.name, reads, ' past the pages' if flags else '', writes,
              100 * (blocks - hits - misses) / blocks, 100 * hits / blocks,
              100 * misses / blocks))


def measure(fleet, run, seed):
    one, two = fleet.nodes
    below = two.dir + '.below'
    names = ['m%03d' % n for n in range(FILES)]
    for name in names:
        one.put(name, os.urandom(SIZE))
    two.end_cache()
    os.mkdir(below)
    run('mount', '--bind', two.dir, below)
    two.options = ()
    two.begin_cache()
    try:
        time.sleep(fleet.server.trust + 2)
        for _ in range(3):
            for name in names:
                two.read(name)
        cost(fleet.server, 'with the cache', below, two.path(''), names)
        cost(fleet.server, 'the client alone', below, os.path.join(below, 'data'), names)
        for flags in 0, os.O_DIRECT:
            mostly_read(fleet, names, random.Random(seed), flags)
    finally:
        run('umount', '-l', below)
