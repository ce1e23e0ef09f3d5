#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cat.py POOL FILE - writes FILE to standard output, read through the cache POOL.

    cachemax create POOL --size 64M       # once
    python3 examples/python/cat.py POOL FILE >/dev/null

Trouble with the cache never fails a read: then the file is read without it, and standard error says
why. The last line there says how many blocks came from the pool. Read next: cachemax.py.
"""
import contextlib
import os
import sys

PIECE = 1 << 20


def say(text):
    print("cat.py: %s" % text, file=sys.stderr)


def main():
    if len(sys.argv) != 3:
        say("usage: cat.py POOL FILE")
        return 2
    fd = os.open(sys.argv[2], os.O_RDONLY)

    def origin(offset, length):
        return os.pread(fd, length, offset)  # short only at the end of the file

    with contextlib.ExitStack() as stack:
        cache = file = None
        try:
            import cachemax  # fails if the library is not installed
            cache = stack.enter_context(cachemax.Cache(sys.argv[1], log=lambda _, t: say(t)))
            file = stack.enter_context(cache.open(*cachemax.identify(fd)))
        except (OSError, ImportError, AttributeError) as e:
            say(e)

        def read(at):
            try:
                return file.read(at, PIECE, origin) if file else origin(at, PIECE)
            except OSError as e:  # the cache's; the origin's comes again
                say(e)
                return origin(at, PIECE)

        offset = 0
        while data := read(offset):
            sys.stdout.buffer.write(data)
            offset += len(data)
        sys.stdout.buffer.flush()
        if cache:
            say("%d blocks from the pool" % cache.stats()["hit_blocks"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
