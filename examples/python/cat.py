#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cat.py FILE POOL - writes FILE to standard output, read through the cache POOL.

    python3 examples/python/cat.py FILE POOL >/dev/null

POOL is made if it does not exist, with 64 MiB. Trouble with the cache never fails a read: then the
file is read without it, and standard error says why. The last line there says how many blocks came
from the pool. Read next: README.md.
"""
import contextlib
import shutil
import sys

PIECE = 1 << 20


def say(text):
    print("cat.py: %s" % text, file=sys.stderr)


def main():
    if len(sys.argv) != 3:
        say("usage: cat.py FILE POOL")
        return 2
    with contextlib.ExitStack() as stack:
        cache, out = None, sys.stdout.buffer
        try:
            import cachemax  # fails if it is not installed
            cache = stack.enter_context(cachemax.open(sys.argv[2], create_size=64 << 20))
            file = stack.enter_context(cache.file(sys.argv[1]))
        except (OSError, ImportError) as e:
            say(e)
            try:
                file = stack.enter_context(open(sys.argv[1], "rb"))
            except OSError as missing:
                say(missing)
                return 1
        shutil.copyfileobj(file, out, PIECE)
        out.flush()
        if cache:
            say("%d blocks from the pool" % cache.stats()["hit_blocks"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
