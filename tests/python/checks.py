# SPDX-License-Identifier: BSD-2-Clause
"""checks.py - what the tests of the Python package have in common. A test's first argument is a
directory for pools and files. CM_CHECKS=REGEX picks checks."""
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
import traceback

import cachemax

DIR = sys.argv[1]
BLOCK = 4096
count = {"ok": 0, "FAIL": 0, "skip": 0}
pools = []


class Skip(Exception):
    pass


class Said(logging.Handler):
    """Collects warnings of the package in a list."""

    def __enter__(self):
        self.lines = []
        logging.getLogger("cachemax").addHandler(self)
        return self.lines

    def __exit__(self, *exception):
        logging.getLogger("cachemax").removeHandler(self)

    def emit(self, record):
        if record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())


def check(function):
    name = function.__name__.replace("_", " ")
    if not re.search(os.environ.get("CM_CHECKS", ""), name):
        return
    try:
        function()
        result, more = "ok", ""
    except Skip as e:
        result, more = "skip", ": %s" % e
    except BaseException as e:
        result, more = "FAIL", ": %s" % (str(e).split("\n")[0] or repr(e))
        traceback.print_exc()
    count[result] += 1
    print("%s %s%s" % (result, name, more), flush=True)


def new_pool(size=16 << 20, **options):
    pools.append("%s/pool%d" % (DIR, len(pools)))
    return cachemax.open(pools[-1], create_size=size, **options)


def new_file(size, name="file"):
    path = "%s/%s%d" % (DIR, name, random.getrandbits(60))
    content = random.randbytes(size)
    with open(path, "wb") as f:
        f.write(content)
    return path, content


def old(path):
    """Waits until the file's times are old enough to be a proof. False: they never are here."""
    for _ in range(50):
        with new_pool() as cache, cache.file(path) as file:
            if not file.info()["racy"]:
                return True
        time.sleep(0.05)
    return False


def raises(kind, call, name=None):
    try:
        result = call()
    except kind as e:
        assert name is None or e.name == name, "%s instead of %s" % (e, name)
        return e
    raise AssertionError("%s did not come, but %r" % (name or kind, result))


def in_threads(n, function):
    failed = []

    def run(i):
        try:
            function(i)
        except BaseException as e:
            failed.append(e)
            traceback.print_exc()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def child(text, *arguments):
    # Since Python 3.12 a fork() beside threads gives a warning.
    return subprocess.run([sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c",
                           text, *arguments], capture_output=True, text=True)


def end():
    print("%d passed, %d failed, %d skipped" % (count["ok"], count["FAIL"], count["skip"]))
    sys.exit(count["FAIL"] != 0)
