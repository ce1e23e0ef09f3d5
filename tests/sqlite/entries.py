# SPDX-License-Identifier: BSD-2-Clause
"""entries.py - checks of sqlite-test.py: the files that the VFS knows, as databases come and go."""
import os
import sqlite3
import subprocess

from databases import EXTENSION, Skipped, cached, plain


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
    def test_not_identified(self):
        """A container: the log says once what to do, the database is not asked for again and again,
        and with a name of its volume it is cached."""
        path = os.path.abspath('x.db')
        env = self.env_with('overlay.c', ASKED=os.path.abspath('asked'))
        uri = 'file:%s?vfs=cachemax&pool=%s' % (path, os.path.abspath('pool'))

        def says(more, times, opens=1):
            lines = ['.log stderr', '.load ' + os.path.join(self.build, EXTENSION)] + opens * (
                ['.open ' + uri + more] + ['select a from t;', 'update t set a = 1;'] * times)
            return subprocess.run(['sqlite3'], input='\n'.join(lines), stdout=subprocess.PIPE,
                                  text=True, stderr=subprocess.STDOUT, env=env, check=False,
                                  timeout=60).stdout
        plain(path, 'create table t(a); insert into t values (1);')
        asked = []
        for times, opens in (1, 1), (20, 1), (1, 5):
            said = says('', times, opens)
            lines = [line for line in said.splitlines() if 'not cached' in line]
            assert len(lines) == 1, said
            assert 'volume_id=NAME' in lines[0] and lines[0].endswith(path), said
            asked.append(os.path.getsize('asked'))
        assert asked[1] == 2 * asked[0], 'asked for at each lock: %s' % asked
        for _ in range(2):
            said = says('&volume_id=box', 1)
            assert 'not cached' not in said and '1\n' in said, said
        assert self.stat('attach_kept') == 1, 'cold'

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

    def test_one_number_on_two_volumes(self):
        """The first files of two new volumes have the same inode number, and these here the same
        header: each has its own rows all the same."""
        names = 'a', 'b'
        mounted = []
        try:
            for name in names:
                os.mkdir(name)
                r = subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', name], stderr=subprocess.PIPE,
                                   text=True, check=False)
                if r.returncode:
                    raise Skipped(r.stderr.strip())
                mounted.append(name)
                plain(name + '/x.db', 'create table t(a integer primary key, b); begin; '
                      'with recursive n(i) as (select 1 union all select i + 1 from n where '
                      "i < 1000) insert into t select i, '%s%090d' from n; commit;" % (name, 0))
            files = [os.stat(name + '/x.db') for name in names]
            if files[0].st_ino != files[1].st_ino:
                raise Skipped('a new tmpfs begins with another number each time')
            dbs = [cached(name + '/x.db', more='&volume_id=' + name) for name in names]
            for _ in range(3):
                for name, db in zip(names, dbs):
                    db.execute('pragma cache_size=5')
                    said = db.execute('select distinct substr(b, 1, 1) from t').fetchall()
                    assert said == [(name,)], 'rows of another file: %s' % said
            assert self.stat('hit_blocks') > 20, 'nothing is cached: this tests nothing'
            for db in dbs:
                db.close()
        finally:
            for name in mounted:
                subprocess.run(['umount', '-l', name], check=True)
