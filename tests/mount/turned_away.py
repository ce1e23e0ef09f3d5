# SPDX-License-Identifier: BSD-2-Clause
"""turned_away.py - a resize that waits for a long warming turns new commands away: else one after
the other could keep it from the pool. They wait, and are answered. Programs read as always.

  turned_away.py CACHEMAX POOL DIRECTORY

DIRECTORY is mounted with POOL, has a file "a", and gets a file "much" for a while. resize-test.sh
calls it.
"""
import json
import mmap
import os
import subprocess
import sys
import time

CACHEMAX, POOL, A, MUCH = *sys.argv[1:3], *(os.path.join(sys.argv[3], n) for n in ('a', 'much'))
ROUNDS = 10  # a resize waits for 2 s; on a machine that is busy nobody may ask in that time


def run(*words):
    return subprocess.run([CACHEMAX, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=True, timeout=120).stdout.decode()


def direct():
    """The first MiB of "a", past the kernel's pages."""
    fd = os.open(A, os.O_RDONLY | os.O_DIRECT)
    room = mmap.mmap(-1, 1 << 20)
    n = os.preadv(fd, [room], 0)
    os.close(fd)
    return room[:n]


def is_turned_away():
    """Was a command turned away while one resize waited?"""
    with subprocess.Popen([CACHEMAX, 'resize', POOL, '24M'], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as resize:
        told = ''
        while resize.poll() is None and 'its pool gets another size' not in told:
            assert direct() == content
            told = run('cached', A)  # it waits, if it must, and does not fail
            assert ' cached' in told, told
        assert resize.wait() != 0  # the warming goes on
    return 'its pool gets another size' in told


content = direct()
with open(MUCH, 'wb') as f:
    f.write(bytes(8000000))
# For longer than all this takes.
with subprocess.Popen([CACHEMAX, 'warm', '-q', '--rate', '100K', MUCH]) as warm:
    while json.loads(run('cached', '--json', MUCH))['all_cached_bytes'] == 0:
        assert warm.poll() is None
        time.sleep(0.05)
    try:
        assert any(is_turned_away() for _ in range(ROUNDS)), 'nobody was turned away'
        assert warm.poll() is None
    finally:
        warm.kill()
os.unlink(MUCH)
