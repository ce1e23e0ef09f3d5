# SPDX-License-Identifier: BSD-2-Clause
"""databases.py - for sqlite-test.py: databases with the cache, and with plain SQLite."""
import os
import sqlite3
import subprocess

EXTENSION = 'examples/sqlite-vfs/sqlite-cachemax.so'


class Skipped(Exception):
    pass


def cached(path, pool='pool', more=''):
    return sqlite3.connect('file:%s?vfs=cachemax&pool=%s%s' % (path, os.path.abspath(pool), more),
                           uri=True, isolation_level=None, check_same_thread=False)


def plain(path, sql):
    """What another process with plain SQLite does and says."""
    r = subprocess.run(['sqlite3', path], input=sql, stdout=subprocess.PIPE, text=True,
                       stderr=subprocess.STDOUT, timeout=60, check=False)
    return r.stdout
