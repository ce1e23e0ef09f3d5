# SPDX-License-Identifier: BSD-2-Clause
"""file-test.py DIR - more of cachemax.File. python-test.sh runs it."""
import random

import cachemax
from checks import BLOCK, check, end, new_pool, raises

MIB = 1 << 20


class Recorder:
    """An origin that notes what is read."""

    def __init__(self, size=4 * MIB):
        self.content, self.reads = random.randbytes(size), []

    def __call__(self, offset, length):
        self.reads.append((offset, length))
        return self.content[offset:offset + length]


@check
def advice():
    with new_pool(64 * MIB) as cache:
        read = Recorder()
        file = cache.object("advice", read, size=len(read.content))

        def at(offset):
            """How much of the origin a read of one block takes there, and how much is stored."""
            del read.reads[:]
            assert file.pread(offset, BLOCK) == read.content[offset:offset + BLOCK]
            return sum(length for _, length in read.reads), file.cached(offset, MIB // 2)
        assert at(MIB // 4) == (BLOCK, BLOCK)
        file.advise(cachemax.ADVISE_SEQUENTIAL)
        much, stored = at(MIB)
        assert much == stored == MIB // 4, (much, stored)
        file.advise(cachemax.ADVISE_NOREUSE)
        assert at(2 * MIB) == (BLOCK, 0) and at(2 * MIB) == (BLOCK, 0)
        assert at(MIB)[0] == 0  # hits are served
        for advice, place in (cachemax.ADVISE_KEEP, 5), (cachemax.ADVISE_NORMAL, 6):
            file.advise(advice)
            assert at(place * MIB // 2) == (BLOCK, BLOCK)
        raises(cachemax.Error, lambda: file.advise(99), "CM_EINVAL")
        raises(TypeError, lambda: file.advise("sequential"))
        file.close()
        raises(ValueError, lambda: file.advise(cachemax.ADVISE_NORMAL))

end()
