#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cat.py FILE POOL - writes FILE to standard output, read through the cache POOL.

    python3 examples/python/cat.py FILE POOL >/dev/null

POOL is made if it does not exist, with 64 MiB. Trouble with the cache never fails a read: then the
file is read without it, and standard error says why. The last line there says how many blocks came
from the pool. Read next: README.md.
"""
import contextlib
import os
import sys

PIECE = 1 << 20


def say(text):
    print("cat.py: %s" % text, file=sys.stderr)


def pieces(name, file, stack):
    """All of it from `file`, or without the cache, from where that ends with an error."""
    at, cached = 0, file is not None
    while True:
        try:
            if file is None:
                file = stack.enter_context(open(name, "rb"))
                if at:
                    file.seek(at)
            piece = file.read(PIECE)
        except OSError as e:
            say(e)
            if not cached:
                sys.exit(1)
            file, cached = None, False
            continue
        if not piece:
            return
        at += len(piece)
        yield piece


def cat(name, pool, out, stack):
    cache, file = None, None
    try:
        import cachemax  # fails if it is not installed
        cache = stack.enter_context(cachemax.open(pool, create_size=64 << 20))
        file = stack.enter_context(cache.file(name))
    except (OSError, ImportError) as e:
        say(e)
    try:
        for piece in pieces(name, file, stack):
            out.write(piece)
        out.flush()
    except OSError as e:  # also of a reader that leaves, as `head` does
        say("standard output: %s" % e.strerror)
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # for what Python still has
        return 1
    if cache:
        try:
            say("%d blocks from the pool" % cache.stats()["hit_blocks"])
        except OSError as e:
            say(e)
    return 0


def main():
    if len(sys.argv) != 3:
        say("usage: cat.py FILE POOL")
        return 2
    if sys.stdout is None:
        say("standard output: it is closed")
        return 1
    status = 1
    try:
        with contextlib.ExitStack() as stack:
            status = cat(*sys.argv[1:], sys.stdout.buffer, stack)
    except OSError as e:  # the cache could not be closed; what was read is right
        say(e)
    return status


if __name__ == "__main__":
    sys.exit(main())
