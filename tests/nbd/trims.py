# SPDX-License-Identifier: BSD-2-Clause
"""trims.py - checks of nbd-test.py: what a trim does to what is cached elsewhere."""
from serve import SIZE, Server, content, counter, make, put, want

MIB = 1 << 20
GIB = 1 << 30


def check_large_trims():
    """A trim, and a zero, takes nothing that lies outside of it, however large it is: an fstrim in
    a guest passes over all that is free in its disk."""
    put('disk', content())
    with open('disk', 'r+b') as f:
        f.seek(8 * GIB)
        f.write(content(seed=2))
    make()
    s = Server('file', 'disk')
    h = s.connect()

    def read():
        before = counter('origin_bytes')
        for at, seed in (0, 1), (8 * GIB, 2):
            for i in range(0, SIZE, MIB):
                n = min(MIB, SIZE - i)
                want(h.pread(n, at + i) == content(seed=seed)[i:i + n], 'wrong bytes')
        return counter('origin_bytes') - before

    h.cache(SIZE, 0)
    h.cache(SIZE, 8 * GIB)
    want(read() == 0, 'it does not serve from the pool')
    for what, n in ('trim', 64 * MIB), ('trim', 65 * MIB), ('zero', 65 * MIB), \
            ('trim', 4 * GIB - 65536):
        getattr(h, what)(n, 2 * GIB)
        want(read() == 0, 'a %s of %d MiB made what lies elsewhere cold' % (what, n // MIB))
    h.pwrite(b'a' * MIB, 2 * GIB)
    h.cache(MIB, 2 * GIB)
    h.zero(65 * MIB, 2 * GIB)
    want(h.pread(MIB, 2 * GIB) == bytes(MIB), 'old bytes after a large zero')
    want(read() == 0, 'the zero of what is cached made what lies elsewhere cold')
    h.shutdown()
    s.end()
