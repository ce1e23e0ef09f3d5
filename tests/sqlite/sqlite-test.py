#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""sqlite-test.py - examples/sqlite-vfs: a database through the pool says the same as with plain
SQLite, whoever writes it, and after kill -9.

  sqlite-test.py [--only REGEX] BUILD_DIR

Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and a summary as the last
line. Exit status 1 when something failed, 77 if the extension is not there. Plain SQLite is the
program sqlite3: another process.
"""
import argparse
import ctypes
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from databases import EXTENSION, Skipped, cached, plain  # noqa: E402
from entries import Entries  # noqa: E402
from trouble import Trouble, lock_in_a_rollback  # noqa: E402

DONE = {'ok': 0, 'FAIL': 0, 'skip': 0}


def say(kind, name, why=''):
    DONE[kind] += 1
    print(kind, name + (': ' + why if why else ''), flush=True)


def load(build):
    """Registers the VFS. Python's own call for that is missing in some builds."""
    lib = ctypes.CDLL('libsqlite3.so.0')
    db, error = ctypes.c_void_p(), ctypes.c_char_p()
    assert lib.sqlite3_open(b':memory:', ctypes.byref(db)) == 0
    lib.sqlite3_enable_load_extension(db, 1)
    r = lib.sqlite3_load_extension(db, os.path.join(build, EXTENSION).encode(), None,
                                   ctypes.byref(error))
    if r not in (0, 256):
        raise OSError('the extension cannot be loaded: %s' % error.value)
    lib.sqlite3_close(db)


class Tests(Entries, Trouble):
    def __init__(self, build):
        self.build = build
        self.tool = os.path.join(build, 'src/tool/cachemax')

    def new_pool(self, name='pool'):
        if os.path.exists(name):
            os.remove(name)
        subprocess.run([self.tool, 'create', name, '--size', '16M', '-q'], check=True)

    def stat(self, name, pool='pool'):
        """A counter of the session that is open, or of the last one."""
        text = subprocess.run([self.tool, 'stats', pool, '--json'], stdout=subprocess.PIPE,
                              check=True, text=True).stdout
        m = re.search(r'"%s": *([0-9]+)' % name, text)
        assert m, 'no %s in %s' % (name, text[:200])
        return int(m.group(1))

    def same(self, path, db):
        """What the pool says is what the file says, and the file is sound."""
        mine = '\n'.join(db.iterdump())
        other = subprocess.run([sys.executable, '-c', 'import sqlite3, sys\n'
                                'sys.stdout.write("\\n".join(sqlite3.connect(sys.argv[1])'
                                '.iterdump()))', path], stdout=subprocess.PIPE, text=True,
                               timeout=60, check=True).stdout
        assert mine == other, 'the dump differs'
        assert db.execute('pragma integrity_check').fetchall() == [('ok',)], 'integrity'
        assert plain(path, 'pragma integrity_check;') == 'ok\n', 'integrity with plain SQLite'

    @staticmethod
    def counter(path):
        with open(path, 'rb') as f:
            return int.from_bytes(f.read(28)[24:], 'big')

    @staticmethod
    def fill(db, rows=3000, size=60):
        db.execute('create table if not exists t(a integer primary key, b)')
        db.execute('begin')
        db.executemany('insert into t(b) values (?)',
                       ((os.urandom(size).hex(),) for _ in range(rows)))
        db.execute('commit')

    def workload(self, path, pragmas=''):
        db = cached(path)
        db.executescript(pragmas)
        self.fill(db, 1000)
        db.execute('create index i on t(b)')
        for n in range(6):
            db.execute('begin')
            db.execute('update t set b = b || ? where a % 6 = ?', (n, n))
            db.execute('delete from t where a % 29 = ?', (n,))
            db.execute('rollback' if n % 3 == 1 else 'commit')
            db.execute('select count(*), sum(length(b)) from t').fetchall()
        self.same(path, db)
        return db

    def test_page_sizes(self):
        for size in (512, 1024, 4096, 8192, 65536):
            path = 'p%d.db' % size
            db = self.workload(path, 'pragma cache_size=10; pragma page_size=%d' % size)
            self.same(path, db)
            db.close()
            db = cached(path)
            self.same(path, db)
            db.close()
            assert self.stat('attach_kept') > 0, 'cold: %d' % size
            assert self.stat('hit_blocks') > 0, 'no hits: %d' % size

    def test_journal_modes(self):
        for mode in ('truncate', 'persist', 'memory', 'off'):
            db = cached(mode + '.db')
            db.execute('pragma journal_mode=' + mode)
            self.fill(db)
            db.execute('update t set b = 1 where a % 7 = 0')
            self.same(mode + '.db', db)
            db.close()

    def test_rollback_after_spill(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        before = list(db.iterdump())
        db.execute('begin')
        db.execute('update t set b = ?', ('y' * 117,))
        before_reads = self.stat('fill_blocks') + self.stat('buffered')
        # Of pages that were spilled.
        assert db.execute('select sum(length(b)) from t').fetchone() == (117 * 3000,)
        assert self.stat('fill_blocks') + self.stat('buffered') == before_reads, 'stored too early'
        db.execute('rollback')
        assert list(db.iterdump()) == before
        self.same('x.db', db)
        db.close()

    def test_own_commit_stays_warm(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        db.execute('select sum(length(b)) from t').fetchall()
        before = self.stat('miss_blocks')
        db.execute('update t set b = 1 where a = 1000')
        db.execute('select sum(length(b)) from t').fetchall()
        missed = self.stat('miss_blocks') - before
        assert missed < 20, '%d blocks were missed after a commit' % missed
        db.close()

    def test_locks_are_kept(self):
        """To identify the file must not drop the lock (POSIX: by closing a descriptor)."""
        plain('x.db', 'create table t(a integer primary key, b); insert into t values (1, 2);')
        for _ in range(2):
            db = cached('x.db')
            db.execute('begin')
            db.execute('select * from t').fetchall()
            other = cached('x.db')
            other.execute('select * from t').fetchall()
            other.close()
            assert 'locked' in plain('x.db', 'update t set b = 3;'), 'written under a lock'
            db.execute('commit')
            db.close()
            assert plain('x.db', 'update t set b = b + 1;') == ''

    def test_vacuum(self):
        for auto in (0, 1, 2):
            path = 'v%d.db' % auto
            db = cached(path)
            db.execute('pragma auto_vacuum=%d' % auto)
            self.fill(db)
            db.execute('delete from t where a > 500')
            db.execute('pragma incremental_vacuum(20)').fetchall()
            self.fill(db, 100)
            db.execute('vacuum')
            self.fill(db, 500)
            self.same(path, db)
            db.close()

    def test_attach(self):
        db = cached('x.db')
        self.fill(db, 500)
        db.execute("attach 'y.db' as y")
        db.execute('create table y.u as select * from t')
        db.execute('begin')
        db.execute('update t set b = 1')
        db.execute('update u set b = 2')
        db.execute('commit')
        db.execute('detach y')
        self.same('x.db', db)
        other = cached('y.db')
        self.same('y.db', other)
        other.close()
        db.close()

    def test_another_process_writes(self):
        db = cached('x.db')
        self.fill(db)
        for n in range(10):
            db.execute('pragma cache_size=%d' % (1 + n % 2 * 500))
            plain('x.db', 'update t set b = b || %d where a %% 5 = %d;' % (n, n % 5))
            if n % 4 == 0:
                db.execute('update t set b = ? where a = ?', (n, n + 1))
            self.same('x.db', db)
        db.close()
        plain('x.db', 'update t set b = 77;')  # while nobody has the pool
        db = cached('x.db')
        self.same('x.db', db)
        db.close()

    def test_warm_again_after_another_process(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        for n in range(3):
            plain('x.db', 'update t set b = %d where a = 9;' % n)
            for _ in range(2):
                before = self.stat('hit_blocks')
                db.execute('select sum(length(b)) from t').fetchall()
            assert self.stat('hit_blocks') - before > 50, 'no hits after another process wrote'
        self.same('x.db', db)
        db.close()

    def test_rollback_then_another_process(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        db.execute('begin')
        db.execute("update t set b = 'mine' || b")
        db.execute('rollback')
        self.same('x.db', db)
        plain('x.db', "update t set b = 'other' where a < 2000;")
        self.same('x.db', db)
        db.close()

    def test_wal(self):
        db = cached('x.db')
        self.fill(db)
        self.same('x.db', db)
        assert db.execute('pragma journal_mode=wal').fetchall() == [('wal',)]
        for n in range(4):
            plain('x.db', "update t set b = 'w%d' || b where a %% 3 = 1; "
                          'pragma wal_checkpoint;' % n)
            db.execute('update t set b = ? where a = ?', (n, n + 1))
            db.execute('pragma wal_checkpoint(truncate)').fetchall()
            self.same('x.db', db)
        assert db.execute('pragma journal_mode=delete').fetchall() == [('delete',)]
        self.same('x.db', db)
        plain('x.db', "update t set b = 'z';")
        self.same('x.db', db)
        db.close()

    def test_wal_of_others(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma journal_mode=wal').fetchall()
        db.close()
        db = cached('x.db')
        db.execute('pragma cache_size=5')
        for n in range(4):
            plain('x.db', "update t set b = 'v%d' || b where a %% 3 = 1; "
                          'pragma wal_checkpoint(restart);' % n)
            self.same('x.db', db)
        db.close()

    def test_exclusive_locking(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma locking_mode=exclusive')
        for n in range(5):
            db.execute('update t set b = ? where a % 5 = ?', (n, n))
            db.execute('select sum(length(b)) from t').fetchall()
        db.execute('pragma locking_mode=normal')
        db.execute('select 1 from t').fetchall()
        self.same('x.db', db)
        db.close()

    def test_exclusive_locking_of_others(self):
        """All commits under one lock have one number. Nobody reads between them."""
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        for more in (False, True):  # also while nobody has the pool
            self.same('x.db', db)
            if more:
                db.close()
            before = self.counter('x.db')
            said = plain('x.db', 'pragma locking_mode=exclusive;' + ''.join(
                'update t set b = %d where a %% 5 = %d;' % (n + 5 * more, n) for n in range(5)))
            assert self.counter('x.db') == before + 1, (more, before, said)
            if more:
                db = cached('x.db')
            self.same('x.db', db)
        db.close()

    def test_threads(self):
        db = cached('x.db')
        self.fill(db, 1000)
        db.execute('create table sums(n)')
        wrong = []

        def work(seed):
            rnd, mine = random.Random(seed), cached('x.db')
            mine.execute('pragma busy_timeout=60000')
            mine.execute('pragma cache_size=5')
            for n in range(15):
                if rnd.random() < 0.3:
                    a = rnd.randrange(1, 500)
                    mine.execute('begin immediate')
                    mine.execute('update t set b = ? where a in (?, ?)',
                                 ('%d-%d' % (seed, n), a, a + 500))
                    mine.execute('commit')
                    if mine.execute('select count(*) from t').fetchone()[0] != 1000:
                        wrong.append('count')
                mine.execute('select sum(length(b)) from t').fetchall()
            mine.close()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, wrong
        self.same('x.db', db)
        db.close()

    def logged(self, uri, *wanted):
        """What the program sqlite3 does with such a database, and what its log says."""
        r = subprocess.run(['sqlite3', '-cmd', '.log stderr', '-cmd', '.load ' + os.path.join(
            self.build, EXTENSION), '-cmd', '.open ' + uri, ':memory:', 'select 1+1;'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
        for text in wanted:
            assert text in r.stdout, '"%s" is not in: %s' % (text, r.stdout)
        return r.stdout

    def test_sqldiff(self):
        """SQLite's own comparison: of the file, and of a copy that was read through the pool."""
        if not shutil.which('sqldiff'):
            raise Skipped('there is no sqldiff (Debian: sqlite3-tools)')
        db = self.workload('x.db', 'pragma cache_size=10')
        for name in ('cold', 'warm'):
            db.execute('vacuum into ?', (name,))
            r = subprocess.run(['sqldiff', 'x.db', name], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT, timeout=60, check=True)
            assert r.stdout == '', r.stdout[:200]
        db.close()

    def test_log(self):
        plain('x.db', 'create table t(a);')
        here = os.path.abspath('none')
        self.logged('file:x.db?vfs=cachemax', 'no pool is named', 'CACHEMAX_POOL')
        self.logged('file:x.db?vfs=cachemax&pool=' + here,
                    here + ": there is no such file; make it with 'cachemax create'; going on "
                    'without the cache', '\n2\n')
        db = cached('x.db')
        self.logged('file:x.db?vfs=cachemax&pool=' + os.path.abspath('pool'),
                    'pool is open already', '\n2\n')
        db.close()

    def test_log_of_a_pool_that_nobody_could_make(self):
        """The line says what is in the way, and not to make a pool. It is the only one."""
        plain('x.db', 'create table t(a);')
        os.symlink('nowhere', 'dangling')
        os.symlink('circle', 'circle')
        for pool, why in (('dangling', 'is a symbolic link to a file that does not exist'),
                          ('circle', 'symbolic links in this path lead in a circle'),
                          ('circle/pool', 'symbolic links in this path lead in a circle'),
                          ('nowhere/pool', "there is no directory '%s'" %
                           os.path.abspath('nowhere')),
                          ('dangling/pool', 'leads to no directory'),
                          ('x.db/pool', 'there is no directory')):
            path = os.path.abspath(pool)
            said = self.logged('file:x.db?vfs=cachemax&pool=' + path, why,
                               'going on without the cache', '\n2\n')
            assert said.count('cachemax: %s: ' % path) == 1, said
            assert 'create' not in said, said

    def test_refused_write(self):
        """The pool cannot forget any more. Writes fail, and then reads, too: SQLite must roll back.
        When the database is closed and the pool deleted, all is as before the transaction."""
        plain('x.db', 'create table t(a); insert into t values (1);')
        said = self.shell('select a from t;', '.shell truncate -s 4096 pool',
                          'update t set a = 2;', 'select a + 10 from t;')
        assert 'nothing is written' in said, said
        assert '\n11\n' not in said, 'a read does not fail: docs/sqlite.md says that it does'
        assert 'reads fail, too, until you close the database and delete the pool (CM_EFORGET): ' \
            + os.path.abspath('pool') in said, 'it says: ' + said
        os.remove('pool')
        self.new_pool()
        db = cached('x.db')
        assert db.execute('select a from t').fetchall() == [(1,)]
        db.execute('update t set a = 3')
        self.same('x.db', db)
        db.close()

    def test_sealed(self):
        """Warm with the key of the pool; without it the database works without the cache."""
        for name in ('key', 'other'):
            with open(name, 'wb', opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(os.urandom(32))
        made = subprocess.run([self.tool, 'create', 'sealed', '--size', '16M', '--key-file', 'key',
                               '--encrypt'], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              text=True, check=False)
        uri = 'file:x.db?vfs=cachemax&pool=' + os.path.abspath('sealed')
        key = '&key_file=' + os.path.abspath('key')
        if made.returncode != 0:
            self.logged(uri + key, 'built without OpenSSL', 'going on without the cache', '\n2\n')
            raise Skipped(made.stderr.strip())
        db = cached('x.db', 'sealed', key)
        self.fill(db)
        self.same('x.db', db)
        other = cached('y.db', 'sealed')  # the pool is open already
        self.fill(other, 100)
        self.same('y.db', other)
        other.close()
        db.close()
        for more in ('', '&key_file='):
            self.logged(uri + more, 'no seal was given', 'give key_file=FILE', '\n2\n')
        self.logged(uri + '&key_file=' + os.path.abspath('other'), 'another key', '\n2\n')
        self.logged(uri + key + 'x', 'keyx: No such file', 'going on without the cache', '\n2\n')
        self.logged('file:x.db?vfs=cachemax&pool=' + os.path.abspath('pool') + key,
                    'is not sealed', '\n2\n')
        os.environ['CACHEMAX_KEY_FILE'] = os.path.abspath('key')
        db = cached('x.db', 'sealed')
        del os.environ['CACHEMAX_KEY_FILE']
        self.same('x.db', db)
        db.close()
        assert self.stat('attach_kept', 'sealed') > 0, 'cold'
        assert self.stat('hit_blocks', 'sealed') > 0, 'no hits'
        db = cached('x.db', 'sealed')
        self.same('x.db', db)  # without the cache
        plain('x.db', "update t set b = 'z';")
        db.close()
        db = cached('x.db', 'sealed', key)
        self.same('x.db', db)
        db.close()

    def child(self, sql, env=None):
        return subprocess.Popen([sys.executable, os.path.abspath(__file__), '--child', sql,
                                 self.build], stdout=subprocess.PIPE, text=True, env=env)

    def test_kill(self):
        db = cached('x.db')
        self.fill(db)
        db.close()
        for n in range(6):
            p = self.child('update t set b = ? || substr(b, 3) where a % 2 = ?')
            for _ in range(2 + n):
                p.stdout.readline()
            p.kill()  # in the middle of a transaction
            p.wait()
            p.stdout.close()
            if n % 3 == 2:  # plain SQLite rolls back
                plain('x.db', 'select count(*) from t;')
            db = cached('x.db')
            self.same('x.db', db)
            db.close()

    def test_kill_in_a_spilled_transaction(self):
        db = cached('x.db')
        self.fill(db)
        db.execute('select sum(length(b)) from t').fetchall()
        db.close()
        for who in ('plain', 'pool'):
            p = self.child('spill')
            assert p.stdout.readline() == 'spilled\n'
            p.kill()
            p.wait()
            p.stdout.close()
            assert os.path.exists('x.db-journal')
            if who == 'plain':
                plain('x.db', 'select count(*) from t;')
            db = cached('x.db')
            assert db.execute("select count(*) from t where b like 'spill%'").fetchone() == (0,)
            self.same('x.db', db)
            db.close()

    def test_pool_in_use(self):
        db = cached('x.db')
        self.fill(db)
        p = self.child('read')
        assert p.stdout.readline() == '3000\n', 'the second process cannot read'
        p.wait()
        p.stdout.close()
        other = cached('x.db', 'another')  # not there, and this process has one
        assert other.execute('select count(*) from t').fetchone() == (3000,)
        other.execute('delete from t where a < 100')
        self.same('x.db', db)
        other.close()
        db.close()

    def test_pool_missing(self):
        db = cached('x.db', 'none')
        self.fill(db)
        db.execute("attach 'other.db' as o")
        db.execute('create table o.t as select a from t')
        db.execute("vacuum into 'copy.db'")
        self.same('x.db', db)
        db.close()
        for name in 'other.db', 'copy.db':
            assert plain(name, 'select count(*) from t;') == '3000\n', name
        r = subprocess.run(['sqlite3', '-cmd', '.log stderr', '-cmd', '.load ' + os.path.join(
            self.build, EXTENSION), '-cmd', '.open file:x.db?vfs=cachemax&pool=none', '-cmd',
            "attach 'new.db' as n;", ':memory:', 'select 1+1;'], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
        assert r.stdout.count('not cached: no pool is open now') == 1 and '\n2\n' in r.stdout and \
            'no pool is named' not in r.stdout, r.stdout

    def test_wrong_parameters(self):
        uri = 'file:x.db?vfs=cachemax'
        try:
            sqlite3.connect(uri + '&pool=', uri=True).execute('select 1')
        except sqlite3.OperationalError as e:
            assert 'unable to open' in str(e), e
        else:
            raise AssertionError('opened: ' + uri)
        self.logged(uri, 'no pool is named', 'unable to open')  # nor ever was

    def test_environment(self):
        os.environ['CACHEMAX_POOL'] = os.path.abspath('pool')
        db = sqlite3.connect('file:x.db?vfs=cachemax', uri=True, isolation_level=None)
        del os.environ['CACHEMAX_POOL']
        self.fill(db)
        db.close()
        assert self.stat('brackets') > 0

    def test_read_only_and_odd_size(self):
        db = cached('x.db')
        self.fill(db)
        db.close()
        with open('x.db', 'ab') as f:
            f.write(b'tail' * 300 + b'x')
        os.chmod('x.db', 0o444)
        for _ in range(2):
            db = cached('x.db', more='&mode=ro')
            self.same('x.db', db)
            db.close()
        assert self.stat('hit_blocks') > 20

    def test_mmap_size(self):
        db = cached('x.db')
        assert db.execute('pragma mmap_size=100000000').fetchall() in ([(0,)], [])
        self.fill(db)
        plain('x.db', 'update t set b = 5;')
        self.same('x.db', db)
        db.close()

    def test_a_new_file_of_the_name(self):
        db = cached('x.db')
        self.fill(db)
        db.close()
        shutil.copy('x.db', 'copy.db')
        plain('copy.db', 'update t set b = 9;')
        os.rename('copy.db', 'x.db')
        db = cached('x.db')
        self.same('x.db', db)
        db.close()

    def overwrite(self, make_fresh):
        """Another database with the same header, over the one that was cached."""
        for name, letter in (('x.db', 'x'), ('other.db', 'y')):
            plain(name, "create table t(a integer primary key, b); begin; with recursive n(i) as "
                  "(select 1 union all select i + 1 from n where i < 3000) insert into t select i, "
                  "'%s' || substr('%s', 1) from n; commit;" % (letter, 'z' * 90))
        with open('x.db', 'rb') as f, open('other.db', 'rb') as g:
            assert f.read(100) == g.read(100), 'the headers differ: this tests nothing'
        if not make_fresh:
            os.utime('x.db', (1, 1))
        first = cached('x.db')
        self.same('x.db', first)
        return first

    def copy_over(self):
        with open('other.db', 'rb') as f, open('x.db', 'r+b') as g:
            g.write(f.read())

    def test_overwritten_between_sessions(self):
        for fresh in (True, False):
            self.overwrite(fresh).close()
            self.copy_over()
            db = cached('x.db')
            assert db.execute("select count(*) from t where b like 'y%'").fetchone() == (3000,)
            self.same('x.db', db)
            db.close()
            os.remove('x.db')
            os.remove('other.db')

    def test_overwritten_while_nobody_reads(self):
        """The process has it open, but its page cache is empty."""
        idle = self.overwrite(False)
        self.copy_over()
        db = cached('x.db')
        assert db.execute("select count(*) from t where b like 'y%'").fetchone() == (3000,)
        self.same('x.db', db)
        db.close()
        idle.close()

    def test_overwritten_after_an_own_commit(self):
        db = self.overwrite(False)
        plain('other.db', 'update t set b = b where a = 1;')
        db.execute('update t set b = b where a = 1')
        db.close()
        self.copy_over()
        db = cached('x.db')
        assert db.execute("select count(*) from t where b like 'y%'").fetchone() == (3000,)
        db.close()

    def test_warm_after_own_writes(self):
        """What the session wrote, committed and rolled back is no foreign change."""
        db = cached('x.db')
        self.fill(db)
        db.execute('pragma cache_size=5')
        db.execute('select sum(length(b)) from t').fetchall()
        for end in ('commit', 'rollback'):
            db.execute('begin')
            db.execute("update t set b = 'u' || b where a % 200 = 1")  # some is spilled
            db.execute(end)
            before = self.stat('hit_blocks')
            db.execute('select sum(length(b)) from t').fetchall()
            hits = self.stat('hit_blocks') - before
            assert hits > 40, 'only %d hits after a %s' % (hits, end)
            db.execute('select sum(length(b)) from t').fetchall()
        db.close()
        db = cached('x.db')
        self.same('x.db', db)
        db.close()
        assert self.stat('attach_kept') == 1, 'cold in the next session'

    def test_warm_after_a_quick_end(self):
        """The times are as fresh as the last write when the program ends."""
        db = cached('x.db')
        db.execute('pragma synchronous=off')
        self.fill(db)
        db.close()
        db = cached('x.db')
        self.same('x.db', db)
        db.close()
        assert self.stat('attach_kept') == 1, 'cold'

    def test_times_that_never_count(self):
        """No close waits for times of the future, nor for whole seconds if nothing was written."""
        path, asks = os.path.abspath('x.db'), '\nselect count(*) from t;'
        plain(path, 'create table t(a); insert into t values (1);')
        env = {'SLEEPS': os.path.abspath('sleeps'), 'SLEEPS_NS': '10000000'}
        os.utime(path, (time.time() + 86400,) * 2)
        assert self.child_with('../nbd/count_sleeps.c', path + asks, **env) == '(1,)\n'
        assert not os.path.exists('sleeps'), 'waits for the future'
        env['WHOLE_FILE'] = path
        assert self.child_with('../nbd/count_sleeps.c', path + asks, **env,
                               WHOLE_NOW='1') == '(1,)\n'
        assert not os.path.exists('sleeps'), 'waits, and has written nothing'
        self.child_with('../nbd/count_sleeps.c', path + '\ninsert into t values (2)', **env)
        assert self.child_with('../nbd/count_sleeps.c', path + asks, **env) == '(2,)\n'
        assert self.stat('attach_kept') == 1, 'cold after an own write'

    def test_kill_between_transactions(self):
        db = cached('x.db')
        self.fill(db)
        db.close()
        p = self.child('idle')
        assert p.stdout.readline() == 'idle\n'
        p.kill()
        p.wait()
        p.stdout.close()
        db = cached('x.db')
        self.same('x.db', db)
        db.close()
        assert self.stat('attach_kept') == 1, 'cold after the kill'

    @staticmethod
    def env_with(source, **env):
        """The environment of a program that has such a library by LD_PRELOAD."""
        library = os.path.abspath(os.path.basename(source) + '.so')
        subprocess.run(['cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', library, os.path.join(
            os.path.dirname(os.path.abspath(__file__)), source)], check=True)
        return dict(os.environ, **env,
                    LD_PRELOAD=(os.environ.get('LD_PRELOAD', '') + ' ' + library).strip())

    def child_with(self, source, what, **env):
        return subprocess.run([sys.executable, os.path.abspath(__file__), '--child', what,
                               self.build], stdout=subprocess.PIPE, text=True, check=False,
                              timeout=60, env=self.env_with(source, **env)).stdout

    def slow_child(self, what):
        """What a child says whose reads of slow.db wait while there is a file `hold`."""
        said = self.child_with('slow_pread.c', what, SLOW_WHILE='hold')
        if os.path.exists('hold'):
            os.remove('hold')
        return said

    def test_beside_a_slow_database(self):
        """A database whose file does not answer stops no other one of the process."""
        for what in 'slow-read', 'slow-close':
            said = self.slow_child(what)
            assert said == 'held\ndone\n', '%s: it says: %s' % (what, said)

    def test_the_last_look_has_a_lock(self):
        """Else it could see the times of a write of another process before its bytes."""
        said = self.slow_child('locked-close')
        if said == 'never\n':
            raise Skipped('no close found times that were fresh')
        assert said == 'locked\n', said

    def test_a_commit_without_its_times(self):
        """SQLite syncs with fdatasync: after a power cut a commit may have the times from before
        it. So may one that left WAL mode again."""
        sums = "select count(*), sum(b = 'new') from t;"
        for journal in ('persist', 'memory', 'off', 'wal'):
            path = os.path.abspath(journal + '.db')
            db = cached(path)
            self.fill(db)
            db.execute("update t set b = 'old'")
            db.execute('vacuum')
            self.same(path, db)
            db.close()
            was = os.stat(path)
            old = {'OLD_FILE': path, 'OLD_TIMES': '%d %d' % (was.st_mtime_ns, was.st_ctime_ns)}
            os.utime(path, (1, 1))
            said = self.child_with('old_times.c', path + '\n' + sums, **old)
            assert said == '(3000, 0)\n', said
            assert self.stat('attach_kept') == 1, 'cold without a commit: this tests nothing'
            plain(path, "pragma journal_mode=%s; update t set b = 'new'; update t set b = b; "
                        'pragma journal_mode=delete;' % journal)
            assert os.stat(path).st_size == was.st_size, 'another size: this tests nothing'
            said = self.child_with('old_times.c', path + '\n' + sums, **old)
            assert said == '(3000, 3000)\n', '%s: old rows: %s' % (journal, said)

    def test_fork(self):
        """A child opens its own connection. The pool stays with the parent."""
        db = cached('x.db')
        self.fill(db, 100)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                unnamed = sqlite3.connect('file:x.db?vfs=cachemax', uri=True)
                unnamed.execute('select b from t').fetchone()  # the pool was named by the parent
                unnamed.close()
                mine = cached('x.db')
                mine.execute("update t set b = 'child'")
                code = 0 if mine.execute('select b from t').fetchone() == ('child',) else 2
                mine.close()
            except sqlite3.Error:
                code = 4
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, 'the child cannot write'
        assert db.execute("select count(*) from t where b = 'child'").fetchone() == (100,)
        self.same('x.db', db)
        db.close()


def beside(close):
    """Uses other databases while one does not answer a thread: when it is read, or closed."""
    slow, fast = cached('slow.db'), cached('fast.db')
    for db in (slow, fast):
        db.execute('create table if not exists t(x)')
        db.execute('insert into t values (1)')
    if close:
        fast.close()
    with open('hold', 'wb'):
        t = threading.Thread(target=slow.close if close else
                             lambda: slow.execute('select * from t').fetchall())
    t.start()
    time.sleep(0.1)
    print('held' if t.is_alive() or close else 'the file answers', flush=True)
    for name in ('fast.db', 'other.db'):
        db = cached(name)
        db.execute('create table if not exists t(x)')
        db.execute('insert into t values (2)')
        db.execute('select * from t').fetchall()
        db.close()
    if not close:
        fast.execute('select * from t').fetchall()
    os.remove('hold')
    t.join()
    print('done', flush=True)


def close_of_a_fresh_file():
    """Closes a database whose times are still fresh, and holds the last look at it. Can another
    process have the database for itself meanwhile?"""
    for _ in range(50):
        db = cached('slow.db')
        db.execute('pragma synchronous=off')
        db.execute('create table if not exists t(x)')
        db.execute('insert into t values (1)')
        with open('hold', 'wb'):
            t = threading.Thread(target=db.close)
        t.start()
        t.join(0.1)
        held = t.is_alive()
        if held:
            r = subprocess.run([sys.executable, '-c', 'import sqlite3\n'
                                'db = sqlite3.connect("slow.db", timeout=0)\n'
                                'db.execute("begin exclusive")'], stderr=subprocess.PIPE,
                               env=dict(os.environ, LD_PRELOAD=''), text=True, check=False)
        os.remove('hold')
        t.join()
        if held:
            return 'locked' if 'locked' in r.stderr else 'free'
    return 'never'


def child(what):
    if what == 'locked-close':
        print(close_of_a_fresh_file(), flush=True)
        return
    if what == 'locked-rollback':
        print(lock_in_a_rollback(), flush=True)
        return
    if what.startswith('slow-'):
        beside(what == 'slow-close')
        return
    if what.startswith('/'):
        path, sql = what.split('\n', 1)
        db = cached(path)
        print(db.execute(sql).fetchone(), flush=True)
        db.close()
        return
    db = cached('x.db')
    if what == 'read':
        print(db.execute('select count(*) from t').fetchone()[0], flush=True)
        return
    db.execute('pragma cache_size=5')
    if what == 'idle':
        db.execute('update t set b = 1 where a = 7')
        time.sleep(0.1)  # until the time of that is no longer fresh
        db.execute('select sum(length(b)) from t').fetchall()
        print('idle', flush=True)
        signal.pause()
    if what == 'spill':
        db.execute('select sum(length(b)) from t').fetchall()
        db.execute('begin')
        db.execute("update t set b = 'spill' || b")
        db.execute('select sum(length(b)) from t').fetchall()
        print('spilled', flush=True)
        signal.pause()
    n = 0
    while True:
        n += 1
        db.execute(what, (n % 90 + 10, n % 2))
        db.execute('select sum(length(b)) from t').fetchall()
        print('.', flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--only', default='')
    ap.add_argument('--child')
    ap.add_argument('build')
    a = ap.parse_args()
    build = os.path.realpath(a.build)
    if not os.path.exists(os.path.join(build, EXTENSION)) or not shutil.which('sqlite3'):
        print('skip sqlite: the extension is not built, or there is no program sqlite3')
        return 77
    load(build)
    if a.child:
        child(a.child)
        return 0
    t = Tests(build)
    for name in [n for n in dir(t) if n.startswith('test_') and re.search(a.only, n[5:])]:
        work = tempfile.mkdtemp(prefix='cachemax-sqlite.')
        os.chdir(work)
        try:
            t.new_pool()
            getattr(t, name)()
            say('ok', name[5:])
        except Skipped as e:
            say('skip', name[5:], str(e))
        except (AssertionError, sqlite3.Error, OSError, subprocess.SubprocessError) as e:
            say('FAIL', name[5:], '%s: %s' % (type(e).__name__, e))
        os.chdir('/')
        shutil.rmtree(work)
    print('%d passed, %d failed, %d skipped' % (DONE['ok'], DONE['FAIL'], DONE['skip']))
    return 1 if DONE['FAIL'] else 0


if __name__ == '__main__':
    sys.exit(main())
