# SPDX-License-Identifier: BSD-2-Clause
"""errors-test.py DIR - exceptions of the installed Python package cachemax. python-test.sh runs it.

Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason", and "N passed, N failed, N skipped"."""
import os

import cachemax
from checks import DIR, check, end, new_file, new_pool, raises


@check
def names_with_a_null_byte():
    path, _ = new_file(10000)
    for pool in DIR + "/cut\0off", os.fsencode(DIR + "/cut\0off"):
        raises(ValueError, lambda: cachemax.open(pool, create_size=1 << 20))
    raises(ValueError, lambda: cachemax.open(DIR + "/cut", 1 << 20, key_file=path + "\0"))
    assert not os.path.exists(DIR + "/cut")
    with new_pool() as cache:
        raises(ValueError, lambda: cache.file(path, volume_id="a\0b"))
        raises(ValueError, lambda: cache.file(path + "\0"))
        assert cache.object("a\0b", lambda at, n: b"x"[at:at + n]).read() == b"x"  # not a name


end()
