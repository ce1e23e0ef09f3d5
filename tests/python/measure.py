#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""measure.py - what the pool gains under fsspec on a slow web server, beside fsspec's own caches.

  measure.py [--ms N] [--rate MIB] [--size MIB] [--reads N] [--rounds N] [--least RATIO]

The server waits N milliseconds before each answer, and sends MIB mebibytes a second (serve.py).
Each round has a new pool and new folders, and each file is read twice, in turns: a CSV whole by
pandas, and at random places by 4096 bytes. A read is a new open; so is the file system, as in
another process. The table has the medians of the rounds: seconds, and the ratio to no cache.
--least: the second random read through the pool must be so many times as fast, or the status is 1.
"""
import argparse
import os
import random
import statistics
import sys
import tempfile
import time

import cachemax
import fsspec
import pandas
from serve import Server

READ = 4096
# The other two are told to look whether the file has changed. (As of fsspec 2022.11 they send no
# request for that over HTTP, and serve what is old.)
KINDS = {
    "no cache": lambda work, cache: fsspec.filesystem("http", skip_instance_cache=True),
    "blockcache": lambda work, cache: fsspec.filesystem(
        "blockcache", target_protocol="http", cache_storage=work + "/blockcache", check_files=True,
        skip_instance_cache=True),
    "filecache": lambda work, cache: fsspec.filesystem(
        "filecache", target_protocol="http", cache_storage=work + "/filecache", check_files=True,
        skip_instance_cache=True),
    "cachemax": lambda work, cache: fsspec.filesystem(
        "cachemax", pool=cache, target_protocol="http", skip_instance_cache=True),
}


def csv(size):
    lines = ["a,b,c"]
    length = 0
    while length < size:
        lines.append("%d,%f,text%d" % (len(lines), random.random(), random.getrandbits(40)))
        length += len(lines[-1]) + 1
    return "\n".join(lines).encode()


def read_csv(fs, url, a):
    with fs.open(url) as file:
        return len(pandas.read_csv(file))


def read_random(fs, url, a):
    pick, total = random.Random(7), 0
    with fs.open(url, block_size=READ) as file:
        for _ in range(a.reads):
            file.seek(pick.randrange((a.size << 20) // READ) * READ)
            total += len(file.read(READ))
    return total


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ms", type=float, default=20)
    ap.add_argument("--rate", type=float, default=10)
    ap.add_argument("--size", type=int, default=8)
    ap.add_argument("--reads", type=int, default=100)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--least", type=float, default=0)
    a = ap.parse_args()
    seconds = {}
    with Server(delay=a.ms / 1000, rate=a.rate * (1 << 20)) as server:
        server.files["/data.csv"] = csv(a.size << 20), '"1"'
        server.files["/data"] = random.randbytes(a.size << 20), '"1"'
        for _ in range(a.rounds):
            for what, path, read in (("CSV", "/data.csv", read_csv),
                                     ("random", "/data", read_random)):
                with tempfile.TemporaryDirectory() as work, cachemax.open(
                        work + "/pool", create_size=512 << 20, read_size_max=4 << 20) as cache:
                    for turn in "first", "second":
                        right = None
                        for kind, make in KINDS.items():
                            began = time.perf_counter()
                            result = read(make(work, cache), server.url + path, a)
                            took = time.perf_counter() - began
                            assert right in (None, result)
                            right = result
                            seconds.setdefault((what, turn, kind), []).append(took)
    print("%-8s %-7s %-11s %9s %7s" % ("read", "turn", "cache", "seconds", "ratio"))
    ratio = 0
    for (what, turn, kind), values in seconds.items():
        took = statistics.median(values)
        plain = statistics.median(seconds[what, turn, "no cache"])
        print("%-8s %-7s %-11s %9.4f %7.1f" % (what, turn, kind, took, plain / took))
        if (what, turn, kind) == ("random", "second", "cachemax"):
            ratio = plain / took
    return ratio < a.least


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
