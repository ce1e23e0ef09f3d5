# SPDX-License-Identifier: BSD-2-Clause
"""entries.py - checks of sqlite-test.py: the files that the VFS knows, as databases come and go."""
import os
import sqlite3

from databases import cached, plain


def deleted_files():
    """Files that this process has open, and that have no name any more."""
    found = []
    for fd in os.listdir('/proc/self/fd'):
        try:
            found.append(os.readlink('/proc/self/fd/' + fd).endswith('x.db (deleted)'))
        except OSError:
            pass
    return sum(found)


def replace(n):
    """Another database of the name, by rename."""
    plain('new.db', 'pragma page_size=4096; create table t(a); insert into t values (%d);' % n)
    os.rename('new.db', 'x.db')


class Entries:
    def test_replaced_by_rename(self):
        """Each database is cached, the last one, too, and no deleted one stays open but the one
        that is in use. That one keeps its own rows."""
        replace(0)
        last, other = cached('x.db'), None
        for n in range(1, 70):
            replace(n)
            db = cached('x.db')
            assert db.execute('select a from t').fetchall() == [(n,)]
            assert last.execute('select a from t').fetchall() == [(n - 1,)], 'rows of another file'
            last.close()
            last = db
        replaced = deleted_files()
        assert replaced <= 1, '%d deleted files are open' % replaced
        other = cached('x.db')
        before = self.stat('hit_blocks')
        other.execute('select a from t').fetchall()
        assert self.stat('hit_blocks') > before, 'the last one is not cached'
        last.close()
        other.close()

    def test_deleted_with_a_lock(self):
        """A connection without the cache has a lock on a deleted database. To close a descriptor of
        it would drop that."""
        replace(1)
        inode = ':%d ' % os.stat('x.db').st_ino

        def locked():
            with open('/proc/locks', encoding='ascii') as f:
                return any(inode in line and ' %d ' % os.getpid() in line for line in f)
        cached('x.db').close()
        without = sqlite3.connect('x.db', isolation_level=None)
        with_cache = cached('x.db')
        with_cache.execute('select a from t').fetchall()
        with_cache.close()
        without.execute('begin')
        without.execute('select a from t').fetchall()
        assert locked(), 'there is no lock: this tests nothing'
        for n in range(3):
            replace(n)
            db = cached('x.db')
            assert db.execute('select a from t').fetchall() == [(n,)]
            db.close()
            assert locked(), 'the lock is gone'
        without.close()
